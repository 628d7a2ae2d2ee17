/* peers.c - the links together: making, starting, sending, looking at them, the end. */
#include "serve/peer/peer_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>

/* --- making --- */

static void or_size(size_t *v, size_t otherwise)
{
    *v = *v ? *v : otherwise;
}

static void or32(uint32_t *v, uint32_t otherwise)
{
    *v = *v ? *v : otherwise;
}

static enum status check(const struct peer_options *o, struct err *err)
{
    bool own = false;
    if (o->n_nodes == 0 || o->n_nodes > PEER_NODES_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "nodes: %zu of them, 1 to %d are possible",
                       o->n_nodes, (int)PEER_NODES_MAX);
    if (strlen(o->cluster) > PEER_CLUSTER_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "cluster: the name is longer than %d bytes",
                       (int)PEER_CLUSTER_MAX);
    for (size_t i = 0; i < o->n_nodes; i++) {
        if (o->nodes[i].id == 0)
            return err_set(err, ST_INVALID_ARGUMENT, "nodes: 0 is no id");
        for (size_t j = 0; j < i; j++)
            if (o->nodes[i].id == o->nodes[j].id)
                return err_set(err, ST_INVALID_ARGUMENT, "nodes: %" PRIu64 " is there twice",
                               o->nodes[i].id);
        own = own || o->nodes[i].id == o->node;
    }
    return own ? ST_OK
               : err_set(err, ST_INVALID_ARGUMENT,
                         "nodes: this node, %" PRIu64 ", is not among them", o->node);
}

static void copy_options(struct peers *p, const struct peer_options *o)
{
    p->o = *o;
    memcpy(p->nodes, o->nodes, o->n_nodes * sizeof p->nodes[0]);
    (void)snprintf(p->cluster, sizeof p->cluster, "%s", o->cluster);
    (void)snprintf(p->version, sizeof p->version, "%s", o->version ? o->version : "");
    p->o.nodes = p->nodes;
    p->o.cluster = p->cluster;
    p->o.version = p->version;
    or_size(&p->o.outbox_bytes, (size_t)32 << 20);
    or32(&p->o.backoff_min_ms, 50);
    or32(&p->o.backoff_max_ms, 1000);
    or32(&p->o.keepalive_ms, 1000);
    or32(&p->o.keepalive_timeout_ms, 2000);
}

static enum status make_port(struct peers *p, struct err *err)
{
    const struct port_options po = {
        .stream_window = 4 << 20,
        .conn_window = 8 << 20,
        .message_bytes = PEER_BUNDLE_MAX + 64,
        .conn_body_bytes = (size_t)2 * PEER_BUNDLE_MAX,
        .reactor_body_bytes = (size_t)2 * PEER_BUNDLE_MAX + p->n_links * ((size_t)8 << 20),
        .conn_request_bytes = (size_t)2 * PEER_BUNDLE_MAX,
        .keepalive_ms = p->o.keepalive_ms * 4, /* the dialler asks first */
        .heard_ms = p->o.keepalive_ms / 2,
        .idle_timeout_ms = UINT32_MAX,
    };
    const struct port_handlers handlers = {.grpc = service__call, .arg = p};
    return port_new(p->reactors, &po, &handlers, &p->port, err);
}

static enum status make_links(struct peers *p, struct err *err)
{
    for (size_t i = 0, n = 0; i < p->o.n_nodes; i++) {
        if (p->nodes[i].id == p->o.node)
            continue;
        struct peer_link *l = &p->links[n++];
        l->p = p;
        l->node = p->nodes[i];
        l->stats.node = l->node.id;
        l->stats.addr = l->node.addr;
        l->tick_ms = UINT64_MAX;
        (void)net_addr_text(&l->node.addr, l->addr);
        env_mutex_init(&l->mutex);
        link__init(l);
        p->n_links = n;
        if (outbox__init(&l->out, p->o.outbox_bytes) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "peers: no memory");
    }
    return ST_OK;
}

enum status peers_new(struct env *env, struct reactors *reactors,
                      const struct peer_options *options, struct peers **ret, struct err *err)
{
    ASSERT(options->receive);
    enum status st = check(options, err);
    if (st)
        return st;
    struct peers *p = mem_zalloc(sizeof *p + (options->n_nodes - 1) * sizeof p->links[0]);
    if (!p)
        return err_set(err, ST_NO_MEMORY, "peers: no memory");
    p->env = env;
    p->reactors = reactors;
    p->reactor = reactors_at(reactors, 0);
    copy_options(p, options);
    st = make_links(p, err);
    if (!st)
        st = make_port(p, err);
    if (st) {
        peers_free(p);
        return st;
    }
    *ret = p;
    return ST_OK;
}

enum status peers_listen(struct peers *p, const struct net_addr *addr,
                         const struct conn_filter_maker *filter, struct net_addr *ret_addr,
                         struct err *err)
{
    return port_listen(p->port, addr, REACTORS_HAND_OUT, filter, ret_addr, err);
}

static void dial_all(void *peers)
{
    struct peers *p = peers;
    for (size_t i = 0; i < p->n_links; i++)
        link__dial(&p->links[i]);
}

enum status peers_start(struct peers *p, struct err *err)
{
    if (reactor_post(p->reactor, dial_all, p) == ST_OK)
        return ST_OK;
    return err_set(err, ST_OVERLOADED, "peers: the reactor's messages are full");
}

void peers_stop(struct peers *p)
{
    atomic_store(&p->stopped, true);
}

void peers_free(struct peers *p)
{
    if (!p)
        return;
    port_free(p->port);
    for (size_t i = 0; i < p->n_links; i++) {
        ASSERT(!p->links[i].c);
        outbox__deinit(&p->links[i].out);
        env_mutex_deinit(&p->links[i].mutex);
    }
    mem_free(p);
}

/* --- sending --- */

struct peer_link *peers__link(struct peers *p, uint64_t node)
{
    for (size_t i = 0; i < p->n_links; i++)
        if (p->links[i].node.id == node)
            return &p->links[i];
    return NULL;
}

static void on_kick(void *link)
{
    struct peer_link *l = link;
    if (l->c)
        conn_want_output(l->c);
}

/* The reactor learns that there is something. On one of its fibers it leaves now, so that it does
 * not wait for whatever the fiber does next (a sync). */
static void kick(struct peer_link *l)
{
    struct reactor *r = l->p->reactor;
    if (reactor_current() == r && fiber_current()) {
        link__output(l);
        loop_flush(reactor_loop(r));
        return;
    }
    if (reactor_post(r, on_kick, l) == ST_OK)
        return;
    env_mutex_lock(&l->mutex);
    l->kicked = false; /* the next one tries again */
    env_mutex_unlock(&l->mutex);
}

static bool put(struct peer_link *l, struct blob *b)
{
    env_mutex_lock(&l->mutex);
    bool taken = l->open && outbox__push(&l->out, b);
    bool tell = taken && !l->kicked;
    l->kicked = l->kicked || tell;
    l->stats.dropped_out += !taken;
    env_mutex_unlock(&l->mutex);
    if (tell)
        kick(l);
    return taken;
}

static bool drop(struct peer_link *l)
{
    env_mutex_lock(&l->mutex);
    l->stats.dropped_out++;
    env_mutex_unlock(&l->mutex);
    return false;
}

static bool is_open(struct peer_link *l)
{
    env_mutex_lock(&l->mutex);
    bool open = l->open;
    env_mutex_unlock(&l->mutex);
    return open;
}

bool peers_send(void *peers, uint64_t to, struct bytes bundle)
{
    struct peers *p = peers;
    struct peer_link *l = peers__link(p, to);
    if (!l || atomic_load(&p->stopped))
        return false;
    if (bundle.len == 0 || bundle.len > PEER_BUNDLE_MAX || !is_open(l))
        return drop(l);
    struct blob *b = message__bundle(bundle);
    if (!b)
        return drop(l);
    bool taken = put(l, b);
    if (!taken)
        blob_unref(b);
    return taken;
}

/* --- looking --- */

const char *peer_state_name(enum peer_state state)
{
    switch (state) {
    case PEER_DOWN:
        return "down";
    case PEER_CONNECTING:
        return "connecting";
    case PEER_UP:
        return "up";
    }
    return "unknown";
}

void peers__reason(struct peer_link *l, const char *text)
{
    env_mutex_lock(&l->mutex);
    (void)snprintf(l->stats.reason, sizeof l->stats.reason, "%s", text);
    env_mutex_unlock(&l->mutex);
}

void peers__heard(struct peer_link *l, const struct hello_heard *h)
{
    env_mutex_lock(&l->mutex);
    memcpy(l->stats.version, h->version, sizeof h->version);
    memcpy(l->stats.client_address, h->client_address, sizeof h->client_address);
    env_mutex_unlock(&l->mutex);
}

size_t peers_count(const struct peers *p)
{
    return p->n_links;
}

void peers_stats(struct peers *p, size_t i, struct peer_stats *ret)
{
    ASSERT(i < p->n_links);
    struct peer_link *l = &p->links[i];
    env_mutex_lock(&l->mutex);
    *ret = l->stats;
    ret->outbox_bytes = l->out.bytes;
    ret->outbox_bundles = l->out.n;
    env_mutex_unlock(&l->mutex);
}

struct figure {
    const char *name, *type, *help;
    uint64_t (*of)(const struct peer_stats *s);
};

#define FIGURE(field)                                                                              \
    static uint64_t of_##field(const struct peer_stats *s)                                         \
    {                                                                                              \
        return s->field;                                                                           \
    }
FIGURE(outbox_bytes)
FIGURE(sent_bundles)
FIGURE(sent_bytes)
FIGURE(received_bundles)
FIGURE(received_bytes)
FIGURE(dropped_out)
FIGURE(dropped_in)
FIGURE(connects)
FIGURE(refusals)
#undef FIGURE

static uint64_t of_up(const struct peer_stats *s)
{
    return s->state == PEER_UP;
}

static const struct figure figures[] = {
    {"varve_peer_up", "gauge", "The link to the node is there.", of_up},
    {"varve_peer_outbox_bytes", "gauge", "Bytes that wait for the node.", of_outbox_bytes},
    {"varve_peer_sent_bundles_total", "counter", "Bundles sent to the node.", of_sent_bundles},
    {"varve_peer_sent_bytes_total", "counter", "Bytes of them.", of_sent_bytes},
    {"varve_peer_received_bundles_total", "counter", "Bundles from the node.", of_received_bundles},
    {"varve_peer_received_bytes_total", "counter", "Bytes of them.", of_received_bytes},
    {"varve_peer_dropped_out_total", "counter", "Bundles that were not sent: no link, or no room.",
     of_dropped_out},
    {"varve_peer_dropped_in_total", "counter", "Bundles that came and were not taken.",
     of_dropped_in},
    {"varve_peer_connects_total", "counter", "How often a link was made.", of_connects},
    {"varve_peer_refusals_total", "counter", "Links refused by either side.", of_refusals},
};

enum status peers_metrics(struct peers *p, struct buf *out)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < sizeof figures / sizeof figures[0] && !st; i++) {
        const struct figure *f = &figures[i];
        if (p->n_links)
            st =
                buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, f->type);
        for (size_t j = 0; j < p->n_links && !st; j++) {
            struct peer_stats s;
            peers_stats(p, j, &s);
            st = buf_printf(out, "%s{node=\"%" PRIu64 "\"} %" PRIu64 "\n", f->name, s.node,
                            f->of(&s));
        }
    }
    return st;
}
