/* Hosts, links and messages. */
#include "sim/net/sim_net_internal.h"

#include <string.h>

struct message {
    struct list node;
    struct sim_event event;
    struct sim_net *net;
    unsigned from, to;
    size_t len;
    uint8_t data[];
};

struct sim_net *sim_net_new(const struct sim_net_options *o)
{
    struct sim_net *n = sim_zalloc(sizeof *n);
    n->o = *o;
    n->o.window_bytes = o->window_bytes ? o->window_bytes : (size_t)256 << 10;
    n->o.give_up_ms = o->give_up_ms ? o->give_up_ms : 20000;
    n->dice = dice_fork(o->seed, 'n');
    n->common = (struct sim_link){.delay_ns = 50000, .spread_ns = 100000};
    n->next_id = 1;
    list_init(&n->flying);
    return n;
}

void sim_net_free(struct sim_net *n)
{
    if (!n)
        return;
    for (size_t i = 0; i < n->n_socks; i++)
        if (n->socks[i])
            sock__vanish(n->socks[i]);
    list_foreach_safe (it, &n->flying) {
        struct message *m = container_of(it, struct message, node);
        sim_queue_drop(n->o.queue, &m->event);
        sim_free(m);
    }
    for (unsigned i = 0; i <= HOSTS_MAX; i++) {
        sim_free(n->hosts[i]);
        sim_free(n->links[i]);
    }
    sim_free(n->socks);
    sim_free(n);
}

/* --- links --- */

void sim_net_default_link(struct sim_net *n, const struct sim_link *l)
{
    n->common = *l;
    for (unsigned i = 0; i <= HOSTS_MAX; i++)
        for (unsigned j = 0; n->links[i] && j <= HOSTS_MAX; j++)
            n->links[i][j] = *l;
}

struct sim_link *sim_net_link(struct sim_net *n, unsigned from, unsigned to)
{
    ASSERT(from <= HOSTS_MAX && to <= HOSTS_MAX);
    if (!n->links[from]) {
        n->links[from] = sim_zalloc((HOSTS_MAX + 1) * sizeof *n->links[from]);
        for (unsigned j = 0; j <= HOSTS_MAX; j++)
            n->links[from][j] = n->common;
    }
    return &n->links[from][to];
}

uint64_t net__arrival(struct sim_net *n, const struct sim_link *l)
{
    uint64_t at = net__now(n) + l->delay_ns + dice_tail(&n->dice, l->spread_ns);
    return at > l->clogged_until_ns ? at : l->clogged_until_ns + dice_tail(&n->dice, l->spread_ns);
}

/* --- hosts --- */

struct sim_host *sim_host_new(struct sim_net *n, unsigned id, void (*on_ready)(void *arg),
                              void *arg)
{
    ASSERT(id > 0 && id <= HOSTS_MAX && !n->hosts[id]);
    struct sim_host *h = sim_zalloc(sizeof *h);
    *h = (struct sim_host){
        .net = n, .id = id, .on = true, .on_ready = on_ready, .arg = arg, .next_port = 20000};
    list_init(&h->ready);
    n->hosts[id] = h;
    return h;
}

unsigned sim_host_id(const struct sim_host *h)
{
    return h->id;
}

struct sim_host *sim_net_host(struct sim_net *n, unsigned id)
{
    return id <= HOSTS_MAX ? n->hosts[id] : NULL;
}

void sim_host_addr(const struct sim_host *h, uint16_t port, struct net_addr *ret)
{
    *ret = (struct net_addr){.family = NET_IP4, .port = port, .ip = {10, 0, 0, (uint8_t)h->id}};
}

void sim_host_kill(struct sim_host *h, enum sim_host_end how)
{
    struct sim_net *n = h->net;
    for (size_t i = 0; i < n->n_socks; i++) {
        struct sock *k = n->socks[i];
        if (!k || k->host != h)
            continue;
        if (how == SIM_HOST_POWER)
            sock__vanish(k);
        else if (k->owned)
            sock__disown(k); /* the machine goes on sending what was written */
    }
    ASSERT(list_empty(&h->ready));
}

void sim_host_power(struct sim_host *h, bool on)
{
    h->on = on;
}

bool sim_host_is_on(const struct sim_host *h)
{
    return h->on;
}

/* --- messages --- */

static void message_arrives(void *arg)
{
    struct message *m = arg;
    struct sim_net *n = m->net;
    struct sim_host *to = n->hosts[m->to];
    list_remove(&m->node);
    if (sim_net_link(n, m->from, m->to)->cut)
        n->stats.cut++;
    else if (to && to->on)
        n->o.on_message(n->o.arg, to, m->from, BYTES(m->data, m->len));
    sim_free(m);
}

static void message_leaves(struct sim_net *n, const struct sim_link *l, unsigned from, unsigned to,
                           struct bytes bytes)
{
    struct message *m = sim_zalloc(sizeof *m + bytes.len);
    m->net = n;
    m->from = from;
    m->to = to;
    m->len = bytes.len;
    if (bytes.len)
        memcpy(m->data, bytes.data, bytes.len);
    m->event = (struct sim_event){.fn = message_arrives, .arg = m};
    uint64_t at = net__arrival(n, l);
    if (dice_ppm(&n->dice, l->late_ppm)) {
        at += dice_below(&n->dice, l->late_ns + 1);
        n->stats.late++;
    }
    list_push_back(&n->flying, &m->node);
    sim_queue_add(n->o.queue, &m->event, at);
}

void sim_net_send(struct sim_net *n, unsigned from, unsigned to, struct bytes bytes)
{
    const struct sim_link *l = sim_net_link(n, from, to);
    n->stats.messages++;
    if (l->cut) {
        n->stats.cut++;
        return;
    }
    if (dice_ppm(&n->dice, l->loss_ppm)) {
        n->stats.lost++;
        return;
    }
    message_leaves(n, l, from, to, bytes);
    if (dice_ppm(&n->dice, l->twice_ppm)) {
        n->stats.twice++;
        message_leaves(n, l, from, to, bytes);
    }
}

void sim_net_stats(const struct sim_net *n, struct sim_net_stats *ret)
{
    *ret = n->stats;
}
