/* server_cluster.c - one node of several: its peers, and what is seen of who leads. */
#include "apps/server/server_internal.h"

#include "base/alloc.h"
#include "base/log.h"
#include "serve/peer/peer.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    LOOK_MS = 100,                  /* how often the role is looked at, for the log */
    PEER_FIBER_STACK = 1024 * 1024, /* they drive the store, into the engine */
    PEER_OUTPUT_HIGH = 1024 * 1024,
    NS_PER_MS = 1000000,
};

struct server_cluster {
    struct server *server;
    struct settings_node nodes[SETTINGS_NODES_MAX];
    size_t n;
    struct reactors *reactors;
    struct tls_context *tls_server, *tls_client;
    struct peers *peers;
    struct loop_timer look;
    struct store_role seen; /* zeroed: no leader */
};

/* --- what comes in, and who leads --- */

static enum status receive(void *arg, uint64_t from, const struct bytes *bundles, size_t n,
                           size_t *ret_taken, struct err *err)
{
    struct server *s = arg;
    return store_receive_all(s->db.store, from, bundles, n, ret_taken, err);
}

static void changed(void *arg, uint64_t node, bool up)
{
    struct server *s = arg;
    if (!up)
        store_unreachable(s->db.store, node);
}

static uint64_t cluster_id(void *arg)
{
    struct server *s = arg;
    return store_cluster_id(s->db.store);
}

static enum status meet(void *arg, uint64_t id, struct err *err)
{
    struct server *s = arg;
    return store_cluster_meet(s->db.store, id, err);
}

static void tell_role(const struct store_role *r)
{
    if (r->is_leader)
        log_at(LOG_INFO, "cluster", "this node leads", LOG_FU64("node", r->node),
               LOG_FU64("term", r->term));
    else if (r->leader)
        log_at(LOG_INFO, "cluster", "another node leads", LOG_FU64("node", r->node),
               LOG_FU64("leader", r->leader), LOG_FU64("term", r->term));
    else
        log_at(LOG_WARN, "cluster", "there is no leader", LOG_FU64("node", r->node),
               LOG_FU64("term", r->term));
}

static void look(void *arg)
{
    struct server_cluster *c = arg;
    struct loop *loop = reactor_loop(reactors_at(c->reactors, 0));
    struct store_role r;
    store_role(c->server->db.store, &r);
    if (r.leader != c->seen.leader || (r.leader && r.term != c->seen.term))
        tell_role(&r);
    c->seen = r;
    loop_timer_start(loop, &c->look, loop_clock_ns(loop) + (uint64_t)LOOK_MS * NS_PER_MS);
}

/* --- beginning --- */

static enum status open_tls(struct server_cluster *c, struct err *err)
{
    const struct settings *o = &c->server->now;
    static const char *const alpn[] = {"h2", NULL};
    const struct tls_options to = {
        .cert_file = o->peer_cert,
        .key_file = o->peer_key,
        .ca_file = o->peer_ca,
        .client_certificate = TLS_CLIENT_REQUIRED,
        .only_1_3 = true,
        .alpn = alpn,
    };
    if (!*o->peer_cert)
        return ST_OK;
    enum status st = tls_server_new(c->server->env, &to, &c->tls_server, err);
    if (!st)
        st = tls_client_new(c->server->env, &to, NULL, &c->tls_client, err);
    if (st)
        err_prefix(err, "cluster");
    return st;
}

static enum status start_reactor(struct server_cluster *c, struct err *err)
{
    const struct reactor_options ro = {
        .loop = LOOP_EPOLL,
        .max_conns = 256,
        .max_fibers = 256,
        .fiber_stack_bytes = PEER_FIBER_STACK,
        .request_conn_bytes = (size_t)4 * PEER_BUNDLE_MAX,
        .output = {.send_high_bytes = PEER_OUTPUT_HIGH},
        .idle_timeout_ms = UINT64_MAX,
        .setup_timeout_ms = 5000,
        .name = "peers",
    };
    return reactors_start(c->server->env, 1, &ro, &c->reactors, err);
}

static enum status make_peers(struct server_cluster *c, struct err *err)
{
    struct server *s = c->server;
    struct peer_node nodes[SETTINGS_NODES_MAX];
    for (size_t i = 0; i < c->n; i++)
        nodes[i] = (struct peer_node){c->nodes[i].id, c->nodes[i].addr};
    const struct peer_options po = {
        .cluster = s->now.cluster_name,
        .version = VARVE_VERSION,
        .client_address = s->address,
        .node = s->now.node_id,
        .nodes = nodes,
        .n_nodes = c->n,
        .filter = c->tls_client ? tls_filter(c->tls_client) : NULL,
        .receive = receive,
        .changed = changed,
        .cluster_id = cluster_id,
        .meet = meet,
        .arg = s,
    };
    return peers_new(s->env, c->reactors, &po, &c->peers, err);
}

enum status cluster__new(struct server *s, struct err *err)
{
    struct settings_node nodes[SETTINGS_NODES_MAX];
    size_t n;
    enum status st = settings_nodes(&s->now, nodes, &n, err);
    if (st || n == 0)
        return st;
    struct server_cluster *c = mem_zalloc(sizeof *c);
    if (!c)
        return err_set(err, ST_NO_MEMORY, "cluster: no memory");
    s->cluster = c;
    c->server = s;
    c->n = n;
    memcpy(c->nodes, nodes, n * sizeof nodes[0]);
    loop_timer_init(&c->look, look, c);
    st = open_tls(c, err);
    if (!st)
        st = start_reactor(c, err);
    if (!st)
        st = make_peers(c, err);
    return st; /* cluster__free takes what there is */
}

void cluster__store_options(const struct server *s, struct store_cluster *ret)
{
    const struct server_cluster *c = s->cluster;
    *ret = (struct store_cluster){
        .node = s->now.node_id,
        .n = c->n,
        .transport = {peers_send, c->peers},
        .heartbeat_ms = (uint32_t)s->now.heartbeat,
        .election_ms = (uint32_t)s->now.election,
        .propose_timeout_ms = (uint32_t)s->now.patience,
    };
    for (size_t i = 0; i < c->n; i++)
        ret->nodes[i] = c->nodes[i].id;
    while (ret->new_id == 0)
        env_random(s->env, &ret->new_id, sizeof ret->new_id);
}

enum status cluster__start(struct server *s, struct err *err)
{
    struct server_cluster *c = s->cluster;
    struct net_addr addr;
    char text[NET_ADDR_TEXT];
    if (!c)
        return ST_OK;
    enum status st = settings_peer_listen(&s->now, &addr, err);
    if (!st)
        st = peers_listen(c->peers, &addr, c->tls_server ? tls_filter(c->tls_server) : NULL, &addr,
                          err);
    if (!st)
        st = peers_start(c->peers, err);
    if (!st && reactor_post(reactors_at(c->reactors, 0), look, c) != ST_OK)
        st = err_set(err, ST_OVERLOADED, "cluster: the reactor's messages are full");
    if (!st)
        log_at(LOG_INFO, "cluster", "listening to the other nodes",
               LOG_FU64("node", s->now.node_id), LOG_FSTR("cluster", s->now.cluster_name),
               LOG_FU64("nodes", c->n), LOG_FSTR("address", net_addr_text(&addr, text)),
               LOG_FBOOL("tls", c->tls_server != NULL));
    return st;
}

enum status cluster__certificates(struct server *s, server_certificate_fn *each, struct err *err)
{
    struct server_cluster *c = s->cluster;
    if (!c || !c->tls_server)
        return ST_OK;
    enum status st = each(c->tls_server, err);
    if (!st)
        st = each(c->tls_client, err);
    if (st)
        err_prefix(err, "cluster");
    return st;
}

/* --- end --- */

void cluster__hand_over(struct server *s)
{
    struct err err;
    err_init(&err);
    if (s->cluster && s->db.store &&
        store_hand_over(s->db.store, 2 * (uint64_t)s->now.election, &err) != ST_OK)
        log_at(LOG_WARN, "cluster", "stopping while this node leads: the others will elect",
               LOG_FSTR("detail", err.detail));
}

void cluster__stop(struct server *s)
{
    struct server_cluster *c = s->cluster;
    if (!c || !c->peers)
        return;
    peers_stop(c->peers);
    (void)reactors_stop(c->reactors, 0); /* links are cut: they have nothing to finish */
}

void cluster__free(struct server *s)
{
    struct server_cluster *c = s->cluster;
    if (!c)
        return;
    reactors_free(c->reactors);
    peers_free(c->peers);
    tls_free(c->tls_server);
    tls_free(c->tls_client);
    mem_free(c);
    s->cluster = NULL;
}

/* --- looking --- */

bool cluster__ready(struct server *s, struct err *err)
{
    struct store_role r;
    if (!s->cluster)
        return true;
    if (store_log_takes(s->db.store, err) != ST_OK) {
        err_prefix(err, "the log of this node takes nothing");
        return false;
    }
    store_role(s->db.store, &r);
    if (r.leader)
        return true;
    err_set(err, ST_UNAVAILABLE, "there is no leader");
    return false;
}

static void fill_own(struct server *s, struct topology_node *ret)
{
    ret->answering = ret->reachable = true;
    (void)snprintf(ret->address, sizeof ret->address, "%s", s->address);
    (void)snprintf(ret->version, sizeof ret->version, "%s", VARVE_VERSION);
}

static void fill_other(const struct server_cluster *c, struct topology_node *ret)
{
    for (size_t i = 0; i < peers_count(c->peers); i++) {
        struct peer_stats p;
        peers_stats(c->peers, i, &p);
        if (p.node != ret->id)
            continue;
        ret->reachable = p.state == PEER_UP;
        (void)snprintf(ret->address, sizeof ret->address, "%s", p.client_address);
        (void)snprintf(ret->version, sizeof ret->version, "%s", p.version);
    }
}

void cluster__topology(void *server, struct topology *ret)
{
    struct server *s = server;
    const struct server_cluster *c = s->cluster;
    struct store_role r;
    store_role(s->db.store, &r);
    memset(ret, 0, sizeof *ret);
    ret->cluster = s->now.cluster_name;
    ret->leader = r.leader;
    ret->term = r.term;
    ret->commit = r.commit;
    ret->applied = r.applied;
    ret->n = c->n;
    for (size_t i = 0; i < c->n; i++) {
        struct topology_node *n = &ret->nodes[i];
        char text[NET_ADDR_TEXT];
        n->id = c->nodes[i].id;
        n->leader = n->id == r.leader;
        (void)snprintf(n->peer_address, sizeof n->peer_address, "%s",
                       net_addr_text(&c->nodes[i].addr, text));
        if (n->id == s->now.node_id)
            fill_own(s, n);
        else
            fill_other(c, n);
    }
}

enum status cluster__metrics(struct server *s, struct buf *out)
{
    struct store_role r;
    if (!s->cluster)
        return ST_OK;
    store_role(s->db.store, &r);
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } all[] = {
        {"varve_cluster_node", "gauge", "The id of this node.", s->now.node_id},
        {"varve_cluster_leader", "gauge", "The id of the leader, as this node knows; 0: none.",
         r.leader},
        {"varve_cluster_leads", "gauge", "This node leads.", r.is_leader},
        {"varve_cluster_term", "gauge", "The term of the newest election seen.", r.term},
        {"varve_cluster_commit_index", "gauge", "The last entry known to be committed.", r.commit},
        {"varve_cluster_applied_index", "gauge", "The last entry that reads here see.", r.applied},
    };
    enum status st = ST_OK;
    for (size_t i = 0; i < sizeof all / sizeof all[0] && !st; i++)
        st = buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", all[i].name,
                        all[i].help, all[i].name, all[i].type, all[i].name, all[i].value);
    return st ? st : peers_metrics(s->cluster->peers, out);
}
