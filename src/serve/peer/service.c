/* service.c - what comes in: the others' links to us. */
#include "serve/peer/peer_internal.h"

#include "base/log.h"

#include <inttypes.h>

enum { BATCH_BYTES = 1024 * 1024 /* copied together; one bundle alone is not copied */ };

static enum status greet(struct peers *p, struct rpc *r, struct peer_link **ret, struct err *err)
{
    struct bytes message;
    struct buf answer;
    struct hello_heard heard;
    bool end;
    enum status st = rpc_recv(r, &message, &end, err);
    if (!st && end)
        st = err_set(err, ST_INVALID_ARGUMENT, "the link came without a hello");
    if (!st)
        st = message__judge(p, message, false, 0, &heard, err);
    if (st)
        return st;
    buf_init(&answer, HELLO_MAX);
    st = message__hello(p, heard.from, true, &answer);
    if (!st)
        st = rpc_send(r, buf_bytes(&answer));
    buf_deinit(&answer);
    if (st)
        return err_set(err, st, "the hello's answer: %s", status_text(st));
    *ret = peers__link(p, heard.from);
    peers__heard(*ret, &heard);
    return ST_OK;
}

static void count(struct peer_link *l, size_t n, size_t bytes, size_t taken)
{
    env_mutex_lock(&l->mutex);
    l->stats.received_bundles += n;
    l->stats.received_bytes += bytes;
    l->stats.dropped_in += n - taken;
    env_mutex_unlock(&l->mutex);
}

static void deliver(struct peer_link *l, const struct bytes *bundles, size_t n, size_t bytes)
{
    struct peers *p = l->p;
    struct err err;
    err_init(&err);
    size_t taken = 0;
    enum status st = ST_CLOSED;
    if (!atomic_load(&p->stopped))
        st = p->o.receive(p->o.arg, l->node.id, bundles, n, &taken, &err);
    count(l, n, bytes, taken);
    if (st && log_enabled(LOG_DEBUG))
        log_at(LOG_DEBUG, "peer", "bundles are dropped", LOG_FU64("node", l->node.id),
               LOG_FU64("bundles", n), LOG_FSTR("because", err.detail));
}

/* Several have come: copied one behind the other, since each is lent only until the next is taken. */
static enum status gather(struct peer_link *l, struct rpc *r, struct bytes first, struct buf *kept,
                          struct err *err)
{
    size_t ends[PEER_BATCH_MAX];
    struct bytes bundles[PEER_BATCH_MAX];
    struct bytes bundle = first;
    size_t n = 0;
    enum status st;
    buf_clear(kept);
    for (;;) {
        st = buf_append(kept, bundle.data, bundle.len);
        if (st) {
            count(l, 1, bundle.len, 0);
            st = ST_OK; /* lost, as any may be */
        } else {
            ends[n++] = kept->len;
        }
        if (n == PEER_BATCH_MAX || kept->len >= BATCH_BYTES || !rpc_ready(r))
            break;
        struct bytes message;
        bool end;
        st = rpc_recv(r, &message, &end, err);
        if (!st && end)
            break; /* found again by the next rpc_recv */
        if (!st)
            st = message__read_bundle(message, &bundle, err);
        if (st)
            break;
    }
    for (size_t i = 0, at = 0; i < n; at = ends[i++])
        bundles[i] = BYTES(kept->data + at, ends[i] - at);
    if (n)
        deliver(l, bundles, n, kept->len);
    return st;
}

static enum status listen_to(struct peer_link *l, struct rpc *r, struct err *err)
{
    struct buf kept;
    struct bytes message, bundle;
    bool end = false;
    enum status st;
    buf_init(&kept, 0);
    while ((st = rpc_recv(r, &message, &end, err)) == ST_OK && !end) {
        st = message__read_bundle(message, &bundle, err);
        if (st)
            break;
        if (!rpc_ready(r)) {
            deliver(l, &bundle, 1, bundle.len);
            continue;
        }
        st = gather(l, r, bundle, &kept, err);
        if (st)
            break;
        if (kept.cap > 2 * BATCH_BYTES)
            buf_deinit(&kept);
        if (rpc_ready(r)) /* others' turn */
            reactor_yield(l->p->reactor);
    }
    buf_deinit(&kept);
    return st;
}

static void finish(struct rpc *r, enum status st, const struct err *err)
{
    if (rpc_finish_status(r, st, err) != ST_OK)
        return; /* nobody hears it */
}

void service__call(struct rpc *r, void *peers)
{
    struct peers *p = peers;
    struct peer_link *l;
    struct err err;
    err_init(&err);
    if (!bytes_eq(r->path, BYTES_LIT("/varve.peer.v1.Peer/Link"))) {
        finish(r, err_set(&err, ST_UNIMPLEMENTED, "there is only varve.peer.v1.Peer/Link"), &err);
        return;
    }
    r->req.deadline_ns = UINT64_MAX;
    enum status st = greet(p, r, &l, &err);
    if (st) {
        log_at(LOG_WARN, "peer", "a link is refused", LOG_FSTR("peer", request_peer_text(&r->req)),
               LOG_FSTR("because", err.detail));
        finish(r, st, &err);
        return;
    }
    link__nudge(l);
    st = listen_to(l, r, &err);
    finish(r, st, &err);
}
