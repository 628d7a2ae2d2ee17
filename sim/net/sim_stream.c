/* Streams: what TCP does, as far as one can see it from above. */
#include "sim/net/sim_net_internal.h"

#include <errno.h>
#include <string.h>

static void flow_step(void *sock);

/* --- the table --- */

struct sock *sock__new(struct sim_host *h, enum sock_state state)
{
    struct sim_net *n = h->net;
    size_t fd = 0;
    while (fd < n->n_socks && n->socks[fd])
        fd++;
    if (fd == n->n_socks) {
        n->socks = sim_grow(n->socks, &n->cap_socks, fd + 1, sizeof(struct sock *));
        n->n_socks++;
    }
    struct sock *k = sim_zalloc(sizeof *k);
    *k = (struct sock){.net = n,
                       .host = h,
                       .fd = (int)fd,
                       .id = n->next_id++,
                       .state = state,
                       .owned = true,
                       .flow = {.fn = flow_step, .arg = k}};
    list_init(&k->ready);
    list_init(&k->backlog);
    list_init(&k->out);
    list_init(&k->in);
    n->socks[fd] = k;
    return k;
}

struct sock *sock__at(struct sim_net *n, int fd)
{
    ASSERT(fd >= 0 && (size_t)fd < n->n_socks && n->socks[fd]);
    return n->socks[fd];
}

struct sock *sock__find(struct sim_net *n, int fd, uint64_t id)
{
    struct sock *k = fd >= 0 && (size_t)fd < n->n_socks ? n->socks[fd] : NULL;
    return k && k->id == id ? k : NULL;
}

struct sock *sock__listener(struct sim_host *h, uint16_t port)
{
    for (size_t i = 0; i < h->net->n_socks; i++) {
        struct sock *k = h->net->socks[i];
        if (k && k->host == h && k->state == SOCK_LISTEN && k->owned && k->local.port == port)
            return k;
    }
    return NULL;
}

static void drop_pieces(struct list *from)
{
    list_foreach_safe (it, from) {
        list_remove(it);
        sim_free(container_of(it, struct piece, node));
    }
}

void sock__leave_backlog(struct sock *k)
{
    if (!k->waits_at)
        return;
    list_remove(&k->backlog);
    k->waits_at->n_backlog--;
    k->waits_at = NULL;
}

static void sock_free(struct sock *k)
{
    sim_queue_drop(k->net->o.queue, &k->flow);
    drop_pieces(&k->out);
    drop_pieces(&k->in);
    list_remove(&k->ready);
    sock__leave_backlog(k);
    k->net->socks[k->fd] = NULL;
    sim_free(k);
}

void sock__mark_ready(struct sock *k)
{
    if (!k->owned || !k->user)
        return;
    if (list_empty(&k->ready))
        list_push_back(&k->host->ready, &k->ready);
    k->host->on_ready(k->host->arg);
}

/* --- the sending side --- */

static void flow_start(struct sock *k)
{
    if (list_empty(&k->out) || k->flow.place)
        return;
    const struct piece *p = container_of(k->out.next, struct piece, node);
    k->tries = 0;
    sim_queue_add(k->net->o.queue, &k->flow, p->at_ns);
}

static void push_piece(struct sock *k, enum piece_kind kind, size_t len, struct piece **ret)
{
    struct piece *p = sim_zalloc(sizeof *p + len);
    struct sim_net *n = k->net;
    p->kind = kind;
    p->len = len;
    const struct sim_link *l = sim_net_link(n, k->host->id, k->peer.ip[3]);
    uint64_t at = net__arrival(n, l);
    if (dice_ppm(&n->dice, l->loss_ppm)) {
        at += RTO_FIRST_MS * MS;
        n->stats.stalled++;
    }
    p->at_ns = at > k->last_ns ? at : k->last_ns;
    k->last_ns = p->at_ns;
    n->stats.pieces++;
    list_push_back(&k->out, &p->node);
    *ret = p;
}

static void send_piece(struct sock *k, enum piece_kind kind)
{
    struct piece *p;
    push_piece(k, kind, 0, &p);
    flow_start(k);
}

void sock__connect(struct sock *k)
{
    k->net->stats.connects++;
    send_piece(k, PIECE_SYN);
}

size_t sock__room(const struct sock *k)
{
    return k->unread < k->net->o.window_bytes ? k->net->o.window_bytes - k->unread : 0;
}

void sock__write(struct sock *k, const struct iovec *iov, int n, size_t len)
{
    struct piece *p;
    push_piece(k, PIECE_DATA, len, &p);
    size_t at = 0;
    for (int i = 0; i < n && at < len; i++) {
        size_t part = iov[i].iov_len < len - at ? iov[i].iov_len : len - at;
        memcpy(p->data + at, iov[i].iov_base, part);
        at += part;
    }
    ASSERT(at == len);
    k->unread += len;
    k->net->stats.bytes += len;
    flow_start(k);
}

void sock__finish(struct sock *k)
{
    if (k->fin_out || k->error || k->state != SOCK_OPEN)
        return;
    k->fin_out = true;
    send_piece(k, PIECE_FIN);
}

/* The stream is over: nothing more goes out, and its owner is told. */
static void sock_break(struct sock *k, int error)
{
    sim_queue_drop(k->net->o.queue, &k->flow);
    drop_pieces(&k->out);
    k->net->stats.resets++;
    if (!k->owned) {
        sock_free(k);
        return;
    }
    k->error = error;
    if (!k->user && k->state == SOCK_OPEN) { /* nobody has accepted it yet */
        sock_free(k);
        return;
    }
    sock__mark_ready(k);
}

/* A reset from the machine at the other end; it comes or it does not. */
static void answer_reset(struct sock *k, int error)
{
    if (sim_net_link(k->net, k->peer.ip[3], k->host->id)->cut)
        return; /* the next try will ask again */
    sock_break(k, error);
}

/* --- the receiving side --- */

static void accept_syn(struct sock *from, struct sim_host *h)
{
    struct sock *li = sock__listener(h, from->peer.port);
    if (!li) {
        h->net->stats.refused++;
        answer_reset(from, ECONNREFUSED);
        return;
    }
    if (li->n_backlog >= BACKLOG_MAX)
        return; /* tried again */
    struct sock *k = sock__new(h, SOCK_OPEN);
    k->local = from->peer;
    k->peer = from->local;
    k->peer_fd = from->fd;
    k->peer_id = from->id;
    k->connected = true;
    list_push_back(&li->backlog, &k->backlog);
    li->n_backlog++;
    k->waits_at = li;
    from->peer_fd = k->fd;
    from->peer_id = k->id;
    send_piece(k, PIECE_SYN_ACK);
    sock__mark_ready(li);
}

static void arrive(struct sock *to, struct piece *p)
{
    switch (p->kind) {
    case PIECE_SYN:
        break;
    case PIECE_SYN_ACK:
        if (to->state == SOCK_CONNECTING) {
            to->state = SOCK_OPEN;
            to->connected = true;
        }
        break;
    case PIECE_DATA:
        list_push_back(&to->in, &p->node);
        to->in_bytes += p->len;
        sock__mark_ready(to);
        return;
    case PIECE_FIN:
        to->eof = true;
        break;
    }
    sim_free(p);
    sock__mark_ready(to);
}

/* Whether the piece reached the machine of the other end, whatever it does with it. */
static bool passes(struct sock *k, struct sim_host *to)
{
    const struct sim_link *l = sim_net_link(k->net, k->host->id, k->peer.ip[3]);
    return to && to->on && k->host->on && !l->cut;
}

static void try_again(struct sock *k)
{
    struct sim_net *n = k->net;
    uint64_t now = sim_queue_now(n->o.queue);
    if (k->tries == 0)
        k->stalled_ns = now;
    n->stats.stalled++;
    if (now - k->stalled_ns > n->o.give_up_ms * MS) {
        sock_break(k, ETIMEDOUT);
        return;
    }
    uint64_t rto = (uint64_t)RTO_FIRST_MS << (k->tries < 4 ? k->tries : 4);
    k->tries++;
    rto = rto < RTO_MAX_MS ? rto : RTO_MAX_MS;
    sim_queue_add(n->o.queue, &k->flow, now + rto * MS + dice_below(&n->dice, 20 * MS));
}

/* The first piece of a direction has come, or would have. */
static void flow_step(void *sock)
{
    struct sock *k = sock;
    struct sim_net *n = k->net;
    struct sim_host *h = sim_net_host(n, k->peer.ip[3]);
    struct piece *p = container_of(k->out.next, struct piece, node);
    if (!passes(k, h)) {
        try_again(k);
        return;
    }
    if (p->kind == PIECE_SYN) {
        uint64_t id = k->id;
        int fd = k->fd;
        accept_syn(k, h);
        if (!sock__find(n, fd, id) || k->error)
            return;
        if (k->peer_id == 0) {
            try_again(k);
            return;
        }
    }
    struct sock *to = sock__find(n, k->peer_fd, k->peer_id);
    bool nobody = !to || (p->kind == PIECE_DATA && !to->owned);
    if (nobody && p->kind != PIECE_FIN) {
        uint64_t id = k->id;
        int fd = k->fd;
        answer_reset(k, ECONNRESET);
        if (sock__find(n, fd, id) && !k->error)
            try_again(k);
        return;
    }
    list_remove(&p->node);
    k->tries = 0;
    if (to)
        arrive(to, p);
    else
        sim_free(p);
    if (list_empty(&k->out) && !k->owned) {
        sock_free(k);
        return;
    }
    flow_start(k);
}

size_t sock__read(struct sock *k, uint8_t *to, size_t cap)
{
    size_t n = 0;
    while (n < cap && !list_empty(&k->in)) {
        struct piece *p = container_of(k->in.next, struct piece, node);
        size_t part = p->len - p->at < cap - n ? p->len - p->at : cap - n;
        memcpy(to + n, p->data + p->at, part);
        n += part;
        p->at += part;
        if (p->at == p->len) {
            list_remove(&p->node);
            sim_free(p);
        }
    }
    k->in_bytes -= n;
    struct sock *peer = sock__find(k->net, k->peer_fd, k->peer_id);
    if (peer) {
        bool was_full = sock__room(peer) == 0;
        peer->unread -= n;
        if (was_full)
            sock__mark_ready(peer);
    }
    return n;
}

/* --- the end --- */

void sock__vanish(struct sock *k)
{
    if (k->state == SOCK_LISTEN)
        while (!list_empty(&k->backlog)) {
            struct sock *child = container_of(k->backlog.next, struct sock, backlog);
            sock_free(child);
        }
    sock_free(k);
}

/* What leaves at once reaches the peer as a reset, with what was under way lost. */
static void tell_reset(struct sock *k)
{
    struct sock *peer = sock__find(k->net, k->peer_fd, k->peer_id);
    if (peer && !sim_net_link(k->net, k->host->id, peer->host->id)->cut && !peer->error)
        sock_break(peer, ECONNRESET);
}

void sock__disown(struct sock *k)
{
    k->owned = false;
    k->user = NULL;
    list_remove(&k->ready);
    if (k->state == SOCK_LISTEN) {
        while (!list_empty(&k->backlog)) {
            struct sock *child = container_of(k->backlog.next, struct sock, backlog);
            tell_reset(child);
            sock_free(child);
        }
        sock_free(k);
        return;
    }
    if (k->state == SOCK_CONNECTING || k->error) {
        sock_free(k);
        return;
    }
    if (k->reset_wanted || k->in_bytes > 0) { /* unread bytes: as Linux does */
        tell_reset(k);
        sock_free(k);
        return;
    }
    drop_pieces(&k->in);
    sock__finish(k);
    if (list_empty(&k->out))
        sock_free(k);
}
