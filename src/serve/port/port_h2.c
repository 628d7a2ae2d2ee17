/* port_h2.c - HTTP/2 on a reactor: bytes to wire/http2, its events to slots, its frames to the
 * socket. */
#include "serve/port/port_internal.h"

#include "base/log.h"

/* --- requests --- */

void port__split_target(struct bytes target, struct exchange *x)
{
    const uint8_t *mark = target.len ? memchr(target.data, '?', target.len) : NULL;
    x->path = target;
    x->query = BYTES_EMPTY;
    if (mark) {
        x->path.len = (size_t)(mark - target.data);
        x->query = BYTES(mark + 1, target.len - x->path.len - 1);
    }
}

static uint64_t length_of(const struct exchange *x)
{
    const struct wire_header *h =
        wire_header_find(x->headers, x->n_headers, BYTES_LIT("content-length"));
    uint64_t n = 0;
    if (!h || h->value.len == 0 || h->value.len > 18)
        return UINT64_MAX;
    for (size_t i = 0; i < h->value.len; i++) {
        if (h->value.data[i] < '0' || h->value.data[i] > '9')
            return UINT64_MAX;
        n = n * 10 + (uint64_t)(h->value.data[i] - '0');
    }
    return n;
}

static void new_exchange(struct port_conn *pc, struct h2_stream *stream, bool end)
{
    struct slot *s = slot__new(pc, REQUEST_HTTP2);
    if (!s) {
        h2_reset(stream, H2_REFUSED_STREAM);
        h2_release(stream);
        return;
    }
    struct exchange *x = &s->as.x;
    port__count(&pc->pr->count.http, 1);
    s->stream = stream;
    h2_set_user(stream, s);
    x->method = h2_method(stream);
    port__split_target(h2_path(stream), x);
    x->authority = h2_authority(stream);
    x->headers = h2_headers(stream, &x->n_headers);
    if (x->authority.len == 0)
        (void)request_header(&x->req, BYTES_LIT("host"), &x->authority);
    x->has_body = !end;
    x->head = bytes_eq(x->method, BYTES_LIT("HEAD"));
    if (end)
        return; /* the event that follows starts it */
    s->body_length = length_of(x);
    if (wire_header_find(x->headers, x->n_headers, BYTES_LIT("expect"))) {
        s->gather = false;
        slot__dispatch(s);
    }
}

static void new_rpc(struct port_conn *pc, struct h2_stream *stream)
{
    struct slot *s = slot__new(pc, REQUEST_GRPC);
    struct err err;
    if (!s) {
        h2_reset(stream, H2_REFUSED_STREAM);
        h2_release(stream);
        return;
    }
    const struct port_options *o = &pc->pr->port->o;
    struct grpc_limits limits = {.message_max = o->message_bytes, .budget = &pc->budget};
    err_init(&err);
    port__count(&pc->pr->count.grpc, 1);
    if (grpc_accept(&s->call, stream, &limits, &err) != ST_OK) { /* and said so */
        s->grpc_code = status_grpc(err.status);
        port__done(s);
        slot__free(s);
        return;
    }
    h2_set_user(stream, s);
    struct rpc *r = &s->as.r;
    r->path = s->call.path;
    r->service = s->call.service;
    r->method = s->call.method;
    r->authority = s->call.authority;
    uint64_t timeout = s->call.timeout_ns, most = o->max_deadline_ms * 1000000;
    if (most && (timeout == 0 || timeout > most))
        timeout = most;
    uint64_t now = loop_now_ns(reactor_loop(pc->pr->reactor));
    if (timeout)
        r->req.deadline_ns = timeout > UINT64_MAX - now ? UINT64_MAX : now + timeout;
}

static void on_headers(void *arg, struct h2_stream *stream, bool end)
{
    struct port_conn *pc = arg;
    const struct port_handlers *h = &pc->pr->port->handlers;
    if (h->grpc && grpc_is_request(stream))
        new_rpc(pc, stream);
    else
        new_exchange(pc, stream, end);
    (void)h;
}

/* An rpc gets its fiber with its first message, or with the end behind it; without a message, with the
 * end or the failure. */
static void feed_rpc(struct slot *s)
{
    const struct port_handlers *h = &s->pc->pr->port->handlers;
    struct err err;
    if (s->state != SLOT_WAITING) {
        slot__wake(s);
        return;
    }
    if (!s->have_first) {
        enum grpc_next next = grpc_next(&s->call, &s->first, &err);
        if (next == GRPC_WAIT)
            return;
        s->have_first = next == GRPC_MESSAGE;
    }
    if (s->have_first && !rpc__is_over(s) && h->grpc_takes_one &&
        h->grpc_takes_one(&s->as.r, h->arg))
        return;
    if (s->have_first && h->grpc_ahead)
        h->grpc_ahead(&s->as.r, s->first, h->arg);
    slot__dispatch(s);
}

/* One message may take so long that nothing else would be said meanwhile. */
static void tell_heard(struct port_conn *pc)
{
    uint64_t now = port__now_ms(pc), pause = pc->pr->port->o.heard_ms;
    if (pause == 0 || now < pc->told_ms + pause)
        return;
    pc->told_ms = now;
    if (h2_ping(pc->h2, 0) != ST_OK)
        pc->told_ms = 0; /* with the next bytes */
}

static void on_data(void *arg, struct h2_stream *stream, struct bytes data)
{
    tell_heard(arg);
    struct slot *s = h2_user(stream);
    if (!s)
        return;
    if (s->as.q.door != REQUEST_GRPC) {
        body__data(s, data);
        return;
    }
    s->bytes_in += data.len;
    s->seen_ms = port__now_ms(s->pc);
    grpc_on_data(&s->call, data);
    feed_rpc(s);
}

static void on_end(void *arg, struct h2_stream *stream)
{
    (void)arg;
    struct slot *s = h2_user(stream);
    if (!s)
        return;
    if (s->as.q.door != REQUEST_GRPC) {
        body__end(s);
        return;
    }
    grpc_on_end(&s->call);
    feed_rpc(s);
}

static void on_writable(void *arg, struct h2_stream *stream)
{
    (void)arg;
    struct slot *s = h2_user(stream);
    if (!s)
        return;
    slot__answer_gone(s);
    slot__wake(s);
}

static void on_closed(void *arg, struct h2_stream *stream, uint32_t code)
{
    (void)arg;
    struct slot *s = h2_user(stream);
    if (!s)
        return;
    h2_set_user(stream, NULL);
    if (s->as.q.door == REQUEST_GRPC)
        grpc_on_closed(&s->call, code);
    slot__gone(s);
}

const struct h2_events port__h2_events = {
    .headers = on_headers,
    .data = on_data,
    .end = on_end,
    .writable = on_writable,
    .closed = on_closed,
};

/* --- the connection --- */

enum status h2__begin(struct port_conn *pc)
{
    struct h2_options o = pc->pr->port->h2;
    o.pool = pc->pr->h2_pool;
    enum status st = h2_server_new(&o, &port__h2_events, pc, port__now_ms(pc), &pc->h2);
    if (st)
        return st;
    conn_want_output(pc->c); /* SETTINGS */
    port__arm(pc, h2_tick(pc->h2, port__now_ms(pc)));
    return ST_OK;
}

static void end_streams(struct port_conn *pc)
{
    struct h2_conn *h2 = pc->h2;
    pc->closed = true;
    if (h2) {
        h2_conn_free(h2); /* tells every stream */
        pc->h2 = NULL;
    }
    /* Those whose stream had ended before. */
    list_foreach_safe (it, &pc->slots) {
        struct slot *s = container_of(it, struct slot, node);
        if (s->state == SLOT_RUNNING)
            slot__gone(s);
    }
}

static size_t conn_on_data(struct conn *c, struct bytes data)
{
    struct port_conn *pc = conn_state(c);
    struct err err;
    if (!pc->h2)
        return data.len;
    err_init(&err);
    uint64_t now = port__now_ms(pc);
    port__budget_before(pc);
    enum status st = h2_recv(pc->h2, data, now, &err);
    port__budget_after(pc);
    if (st && log_enabled(LOG_DEBUG))
        log_at(LOG_DEBUG, "port", "an HTTP/2 connection ends", LOG_FU64("conn", conn_id(c)),
               LOG_FSTR("because", err.detail));
    if (h2_greeted(pc->h2)) /* the first request may be late: channels of gRPC connect ahead */
        port__greeted(pc);
    uint64_t next = h2_tick(pc->h2, now);
    if (pc->waiting) {
        uint64_t late = now + pc->pr->port->o.body_timeout_ms;
        next = late < next ? late : next;
    }
    port__arm(pc, next);
    if (!h2_wants_input(pc->h2) && !pc->paused && st == ST_OK) {
        pc->paused = true;
        conn_pause(c);
    }
    conn_want_output(c);
    return data.len;
}

static void conn_on_output(struct conn *c)
{
    struct port_conn *pc = conn_state(c);
    while (pc->h2 && conn_writable(c)) {
        struct bytes out;
        if (h2_output(pc->h2, &out) != ST_OK || out.len == 0)
            break;
        if (port__send(pc, out) != ST_OK)
            return;
        h2_output_done(pc->h2, out.len);
    }
    if (!pc->h2)
        return;
    if (pc->paused && h2_wants_input(pc->h2)) {
        pc->paused = false;
        conn_resume(c);
    }
    if (h2_finished(pc->h2))
        conn_finish(c);
}

static void conn_on_writable(struct conn *c)
{
    conn_want_output(c);
}

/* Streams that say nothing without having asked for anything yet. */
static uint64_t reset_silent(struct port_conn *pc, uint64_t now)
{
    uint64_t next = UINT64_MAX, patience = pc->pr->port->o.body_timeout_ms;
    list_foreach_safe (it, &pc->slots) {
        struct slot *s = container_of(it, struct slot, node);
        if (s->state != SLOT_WAITING)
            continue;
        if (s->seen_ms + patience > now) {
            next = s->seen_ms + patience < next ? s->seen_ms + patience : next;
            continue;
        }
        struct h2_stream *stream = s->stream ? s->stream : s->call.stream;
        h2_set_user(stream, NULL);
        h2_reset(stream, H2_CANCEL);
        slot__free(s);
    }
    return next;
}

static void conn_on_tick(struct conn *c, uint64_t now_ns)
{
    struct port_conn *pc = conn_state(c);
    uint64_t now = now_ns / 1000000;
    pc->tick_ms = UINT64_MAX;
    if (!pc->h2)
        return;
    uint64_t next = h2_tick(pc->h2, now);
    if (pc->waiting) {
        uint64_t silent = reset_silent(pc, now);
        next = silent < next ? silent : next;
    }
    port__arm(pc, next);
    conn_want_output(c);
}

static void conn_on_eof(struct conn *c)
{
    end_streams(conn_state(c));
    conn_finish(c);
}

static void conn_on_drain(struct conn *c)
{
    struct port_conn *pc = conn_state(c);
    pc->draining = true;
    if (pc->h2) {
        h2_shutdown(pc->h2);
        port__arm(pc, h2_tick(pc->h2, port__now_ms(pc)));
    }
    list_foreach_safe (it, &pc->slots) {
        struct slot *s = container_of(it, struct slot, node);
        if (s->state == SLOT_RUNNING)
            slot__stop(s);
    }
    conn_want_output(c);
}

static void conn_on_closed(struct conn *c, enum status why)
{
    (void)why;
    struct port_conn *pc = conn_state(c);
    port__count(&pc->pr->count.http2_conns, -1);
    end_streams(pc);
    pc->over = true;
    port__conn_release(pc);
}

const struct conn_proto port__h2_proto = {
    .name = "http/2",
    .on_data = conn_on_data,
    .on_eof = conn_on_eof,
    .on_writable = conn_on_writable,
    .on_output = conn_on_output,
    .on_tick = conn_on_tick,
    .on_drain = conn_on_drain,
    .on_closed = conn_on_closed,
};
