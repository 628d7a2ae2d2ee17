/* link.c - one link: dialled, greeted, fed from its outbox, dialled again. */
#include "serve/peer/peer_internal.h"

#include "base/log.h"

#include <stdio.h>

static const char path[] = "/varve.peer.v1.Peer/Link";

static uint64_t now_ms(const struct peer_link *l)
{
    return loop_now_ns(reactor_loop(l->p->reactor)) / NS_PER_MS;
}

static void set_state(struct peer_link *l, enum peer_state state)
{
    env_mutex_lock(&l->mutex);
    l->stats.state = state;
    l->open = state != PEER_DOWN;
    if (!l->open)
        l->stats.dropped_out += outbox__clear(&l->out);
    env_mutex_unlock(&l->mutex);
}

/* --- down --- */

static uint64_t draw(const struct peer_link *l, uint64_t below)
{
    uint64_t v;
    env_random(l->p->env, &v, sizeof v);
    return below ? v % below : 0;
}

static void wait_and_dial(struct peer_link *l)
{
    if (reactor_stopping(l->p->reactor) || atomic_load(&l->p->stopped))
        return;
    uint64_t least = l->p->o.backoff_min_ms, most = l->p->o.backoff_max_ms;
    unsigned doublings = l->failures < 20 ? l->failures : 20;
    uint64_t ms = l->refused || least << doublings > most ? most : least << doublings;
    ms -= draw(l, ms / 2 + 1);
    struct loop *loop = reactor_loop(l->p->reactor);
    loop_timer_start(loop, &l->retry, loop_clock_ns(loop) + ms * NS_PER_MS);
}

/* Of attempts that fail one after the other the 1st, 2nd, 4th, ... are told. */
static void tell_down(const struct peer_link *l, bool was_up)
{
    unsigned n = l->failures;
    if (was_up)
        log_at(LOG_WARN, "peer", "a node is lost", LOG_FU64("node", l->node.id),
               LOG_FSTR("address", l->addr), LOG_FSTR("because", l->stats.reason));
    else if ((n & (n - 1)) == 0)
        log_at(l->refused ? LOG_WARN : LOG_INFO, "peer", "a node cannot be reached",
               LOG_FU64("node", l->node.id), LOG_FSTR("address", l->addr),
               LOG_FSTR("because", l->stats.reason), LOG_FU64("attempts", n));
}

static void down(struct peer_link *l)
{
    bool was_up = l->agreed;
    l->agreed = false;
    set_state(l, PEER_DOWN);
    if (!was_up)
        l->failures++;
    if (!reactor_stopping(l->p->reactor))
        tell_down(l, was_up);
    if (was_up && l->p->o.changed)
        l->p->o.changed(l->p->o.arg, l->node.id, false);
    wait_and_dial(l);
}

/* The connection is no use any more; on_closed follows. The first reason stays. */
static void give_up(struct peer_link *l, const char *reason)
{
    if (!l->over)
        peers__reason(l, reason);
    l->over = true;
    if (l->c)
        conn_abort(l->c, ST_CLOSED);
}

static void refuse(struct peer_link *l, const char *reason)
{
    l->refused = true;
    give_up(l, reason);
    env_mutex_lock(&l->mutex);
    l->stats.refusals++; /* last: who sees it sees the reason too */
    env_mutex_unlock(&l->mutex);
}

/* --- the call --- */

static void agree(struct peer_link *l)
{
    l->agreed = true;
    l->refused = false;
    l->failures = 0;
    conn_settled(l->c);
    env_mutex_lock(&l->mutex);
    l->stats.connects++;
    env_mutex_unlock(&l->mutex);
    set_state(l, PEER_UP);
    log_at(LOG_INFO, "peer", "a node is connected", LOG_FU64("node", l->node.id),
           LOG_FSTR("address", l->addr), LOG_FBOOL("tls", conn_is_secure(l->c)));
    if (l->p->o.changed)
        l->p->o.changed(l->p->o.arg, l->node.id, true);
    conn_want_output(l->c);
}

static void on_answer(struct peer_link *l, struct bytes message)
{
    struct err err;
    struct hello_heard heard;
    if (l->agreed)
        return; /* a later version may say more */
    err_init(&err);
    if (message__judge(l->p, message, true, l->node.id, &heard, &err) != ST_OK) {
        refuse(l, err.detail);
        return;
    }
    peers__heard(l, &heard);
    agree(l);
}

static void on_call_end(struct peer_link *l)
{
    struct grpc_result result;
    char text[PEER_REASON_MAX] = "the other side has ended the link";
    if (l->over)
        return;
    if (grpc_result(&l->call, &result) != ST_OK) {
        give_up(l, text);
        return;
    }
    bool refused = result.code == GRPC_FAILED_PRECONDITION;
    if (buf_cstr(&result.message) && result.message.len)
        (void)snprintf(text, sizeof text, "%s", buf_cstr(&result.message));
    grpc_result_deinit(&result);
    if (refused && !l->agreed)
        refuse(l, text);
    else
        give_up(l, text);
}

static void read_answers(struct peer_link *l)
{
    struct bytes message;
    struct err err;
    while (!l->over) {
        switch (grpc_next(&l->call, &message, &err)) {
        case GRPC_MESSAGE:
            on_answer(l, message);
            break;
        case GRPC_END:
        case GRPC_FAILED:
            if (l->call.finished)
                on_call_end(l);
            return; /* `closed` follows, and the trailers say why */
        case GRPC_WAIT:
            return;
        }
    }
}

static void on_headers(void *link, struct h2_stream *s, bool end)
{
    (void)s;
    struct peer_link *l = link;
    if (l->calling)
        grpc_on_headers(&l->call, end);
}

static void on_data(void *link, struct h2_stream *s, struct bytes data)
{
    (void)s;
    struct peer_link *l = link;
    if (!l->calling)
        return;
    grpc_on_data(&l->call, data);
    read_answers(l);
}

static void on_end(void *link, struct h2_stream *s)
{
    (void)s;
    struct peer_link *l = link;
    if (l->calling)
        grpc_on_end(&l->call);
    if (l->calling && !l->over)
        on_call_end(l);
}

static void on_writable(void *link, struct h2_stream *s)
{
    (void)s;
    struct peer_link *l = link;
    if (l->c)
        conn_want_output(l->c);
}

static void on_stream_closed(void *link, struct h2_stream *s, uint32_t code)
{
    (void)s;
    struct peer_link *l = link;
    if (!l->calling)
        return;
    grpc_on_closed(&l->call, code);
    on_call_end(l);
}

static const struct h2_events events = {
    .headers = on_headers,
    .data = on_data,
    .end = on_end,
    .writable = on_writable,
    .closed = on_stream_closed,
};

/* --- output --- */

static struct blob *take(struct peer_link *l)
{
    env_mutex_lock(&l->mutex);
    struct blob *b = outbox__pop(&l->out);
    l->kicked = b != NULL; /* whoever finds it empty has to be told of the next */
    env_mutex_unlock(&l->mutex);
    return b;
}

static void count_sent(struct peer_link *l, size_t n, size_t bytes)
{
    env_mutex_lock(&l->mutex);
    l->stats.sent_bundles += n;
    l->stats.sent_bytes += bytes;
    env_mutex_unlock(&l->mutex);
}

/* From the outbox to HTTP/2's queue, as long as it has room. */
static void feed(struct peer_link *l)
{
    size_t n = 0, bytes = 0;
    while (!l->over && l->agreed && grpc_writable(&l->call)) {
        struct blob *b = take(l);
        if (!b)
            break;
        struct h2_part part = {.bytes = BYTES(b->data, b->len), .blob = b};
        enum status st = grpc_send_parts(&l->call, &part, 1, false);
        n++;
        bytes += message__bundle_len(b);
        blob_unref(b);
        if (st)
            give_up(l, status_text(st));
    }
    if (n)
        count_sent(l, n, bytes);
}

static void arm(struct peer_link *l, uint64_t at_ms)
{
    if (at_ms >= l->tick_ms || !l->c)
        return;
    l->tick_ms = at_ms;
    conn_set_tick(l->c, at_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : at_ms * NS_PER_MS);
}

/* false: nothing more can go now. */
static bool send_some(struct peer_link *l)
{
    struct bytes out;
    enum status st = h2_output(l->h2, &out);
    if (st || l->over || out.len == 0)
        return false;
    st = conn_send(l->c, out);
    if (st == ST_OVERLOADED) /* the bound of all connections; others will have sent by then */
        arm(l, now_ms(l) + LINK_STALL_MS);
    else if (st)
        give_up(l, status_text(st));
    if (st)
        return false;
    h2_output_done(l->h2, out.len);
    return true;
}

void link__output(struct peer_link *l)
{
    if (!l->h2 || l->over)
        return;
    do {
        feed(l);
    } while (!l->over && conn_writable(l->c) && send_some(l));
    if (!l->over && h2_finished(l->h2))
        give_up(l, "the connection has ended");
}

/* --- the connection --- */

static enum status begin_call(struct peer_link *l, struct err *err)
{
    const struct grpc_start start = {
        .path = BYTES(path, sizeof path - 1),
        .authority = BYTES(l->addr, strlen(l->addr)),
        .https = conn_is_secure(l->c),
    };
    const struct grpc_limits limits = {.message_max = HELLO_MAX};
    struct buf hello;
    enum status st = grpc_start(&l->call, l->h2, &start, &limits, l, err);
    if (st)
        return st;
    l->calling = true;
    buf_init(&hello, HELLO_MAX);
    st = message__hello(l->p, l->node.id, false, &hello);
    if (!st)
        st = grpc_send(&l->call, buf_bytes(&hello), false);
    buf_deinit(&hello);
    return st ? err_set(err, st, "hello: %s", status_text(st)) : ST_OK;
}

static void end_call(struct peer_link *l)
{
    l->over = true;
    if (l->calling)
        grpc_deinit(&l->call);
    l->calling = false;
    h2_conn_free(l->h2);
    l->h2 = NULL;
}

static enum status on_open(struct conn *c, void *link)
{
    struct peer_link *l = link;
    const struct h2_options o = {
        .send_queue_bytes = LINK_QUEUE,
        .output_bytes = LINK_OUTPUT,
        .keepalive_ms = l->p->o.keepalive_ms,
        .keepalive_timeout_ms = l->p->o.keepalive_timeout_ms,
    };
    struct err err;
    err_init(&err);
    conn_set_state(c, l);
    conn_busy(c, 1); /* for the reactor's idle timeout: the call is at work */
    l->tick_ms = UINT64_MAX;
    enum status st = h2_client_new(&o, &events, l, now_ms(l), &l->h2);
    if (!st)
        st = begin_call(l, &err);
    if (st) {
        give_up(l, err.detail[0] ? err.detail : status_text(st));
        return ST_OK; /* so that on_closed comes, which dials again */
    }
    arm(l, h2_tick(l->h2, now_ms(l)));
    conn_want_output(c);
    return ST_OK;
}

static size_t on_conn_data(struct conn *c, struct bytes data)
{
    struct peer_link *l = conn_state(c);
    struct err err;
    if (l->over)
        return data.len;
    err_init(&err);
    enum status st = h2_recv(l->h2, data, now_ms(l), &err);
    if (st)
        give_up(l, err.detail);
    if (l->over)
        return data.len;
    arm(l, h2_tick(l->h2, now_ms(l)));
    conn_want_output(c);
    return data.len;
}

static void on_conn_eof(struct conn *c)
{
    give_up(conn_state(c), "the other side has closed the connection");
}

static void on_output(struct conn *c)
{
    link__output(conn_state(c));
}

static void on_conn_writable(struct conn *c)
{
    conn_want_output(c);
}

static void on_tick(struct conn *c, uint64_t now_ns)
{
    struct peer_link *l = conn_state(c);
    struct err err;
    l->tick_ms = UINT64_MAX;
    if (l->over)
        return;
    uint64_t next = h2_tick(l->h2, now_ns / NS_PER_MS);
    err_init(&err);
    if (h2_conn_status(l->h2, &err) != ST_OK)
        give_up(l, err.detail);
    arm(l, next);
    conn_want_output(c);
}

static void on_drain(struct conn *c)
{
    give_up(conn_state(c), "this node stops");
}

/* `c` had no on_open when the dialling or the handshake failed. */
static void on_closed(struct conn *c, enum status why)
{
    struct peer_link *l = conn_state(c);
    char text[PEER_REASON_MAX];
    if (!l->over) {
        const char *failure = conn_failure(c); /* of TLS */
        (void)snprintf(text, sizeof text, "%s",
                       *failure              ? failure
                       : why == ST_IO_ERROR  ? "no connection"
                       : why == ST_TIMED_OUT ? "no answer in time"
                                             : status_text(why));
        peers__reason(l, text);
    }
    end_call(l);
    l->c = NULL;
    down(l);
}

static const struct conn_proto proto = {
    .name = "peer",
    .on_open = on_open,
    .on_data = on_conn_data,
    .on_eof = on_conn_eof,
    .on_writable = on_conn_writable,
    .on_output = on_output,
    .on_tick = on_tick,
    .on_drain = on_drain,
    .on_closed = on_closed,
};

void link__dial(struct peer_link *l)
{
    struct err err;
    if (l->c || reactor_stopping(l->p->reactor) || atomic_load(&l->p->stopped))
        return;
    err_init(&err);
    l->over = false;
    set_state(l, PEER_CONNECTING);
    if (reactor_connect(l->p->reactor, &l->node.addr, &proto, l, l->p->o.filter, &l->c, &err) ==
        ST_OK) {
        conn_set_state(l->c, l); /* on_closed may come without on_open */
        return;
    }
    peers__reason(l, err.detail);
    down(l);
}

static void on_retry(void *link)
{
    link__dial(link);
}

void link__nudge(struct peer_link *l)
{
    if (l->c || l->refused)
        return;
    struct loop *loop = reactor_loop(l->p->reactor);
    loop_timer_start(loop, &l->retry, loop_clock_ns(loop));
}

void link__init(struct peer_link *l)
{
    loop_timer_init(&l->retry, on_retry, l);
}
