/* port_h1.c - HTTP/1.x on a reactor: one exchange at a time, pipelined ones wait in the kernel. */
#include "serve/port/port_internal.h"

#include "base/log.h"

/* "http://host/path" (RFC 9112, 3.2.2): its authority counts, whatever Host says. What is no such
 * target stays as it is, and is refused as a path. */
static void take_absolute(struct exchange *x)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(schemes[i]);
        if (x->path.len <= n || !wire_eq_nocase(BYTES(x->path.data, n), BYTES_STR(schemes[i])))
            continue;
        struct bytes rest = BYTES(x->path.data + n, x->path.len - n);
        const uint8_t *slash = memchr(rest.data, '/', rest.len);
        struct bytes who = BYTES(rest.data, slash ? (size_t)(slash - rest.data) : rest.len);
        if (who.len == 0 || memchr(who.data, '@', who.len))
            return;
        x->authority = who;
        x->path = slash ? BYTES(slash, rest.len - who.len) : BYTES_LIT("/");
        return;
    }
}

/* What the request says of itself; of one that was refused, what is known by then. */
static void fill(struct exchange *x, const struct h1_conn *h1)
{
    struct bytes v;
    x->method = h1_method(h1);
    port__split_target(h1_target(h1), x);
    x->headers = h1_headers(h1, &x->n_headers);
    x->authority = h1_header(h1, BYTES_LIT("host"), &v) ? v : BYTES_EMPTY;
    take_absolute(x);
    x->head = bytes_eq(x->method, BYTES_LIT("HEAD"));
}

static void on_headers(void *arg, struct h1_conn *h1)
{
    struct port_conn *pc = arg;
    struct slot *s = slot__new(pc, REQUEST_HTTP1);
    if (!s) {
        conn_abort(pc->c, ST_NO_MEMORY);
        return;
    }
    struct exchange *x = &s->as.x;
    struct bytes v;
    pc->turn = s;
    port__greeted(pc); /* from here on it is the body that must not stand still */
    port__count(&pc->pr->count.http, 1);
    fill(x, h1);
    if (h1_header(h1, BYTES_LIT("content-length"), &v)) {
        s->body_length = 0;
        for (size_t i = 0; i < v.len;
             i++) /* digits, at most body_bytes: llhttp and http1 saw to it */
            s->body_length = s->body_length * 10 + (uint64_t)(v.data[i] - '0');
        x->has_body = s->body_length > 0;
    } else {
        x->has_body = h1_header(h1, BYTES_LIT("transfer-encoding"), &v);
    }
    if (h1_expects_continue(h1)) {
        s->gather = false;
        slot__dispatch(s);
    }
}

static void on_data(void *arg, struct h1_conn *h1, struct bytes data)
{
    (void)h1;
    struct port_conn *pc = arg;
    if (pc->turn)
        body__data(pc->turn, data);
}

static void on_end(void *arg, struct h1_conn *h1)
{
    (void)h1;
    struct port_conn *pc = arg;
    if (pc->turn)
        body__end(pc->turn);
}

static void on_writable(void *arg, struct h1_conn *h1)
{
    (void)h1;
    struct port_conn *pc = arg;
    if (pc->turn) {
        slot__answer_gone(pc->turn);
        slot__wake(pc->turn);
    }
}

const struct h1_events port__h1_events = {on_headers, on_data, on_end, on_writable};

enum status h1__begin(struct port_conn *pc)
{
    enum status st =
        h1_server_new(&pc->pr->port->h1, &port__h1_events, pc, port__now_ms(pc), &pc->h1);
    return st;
}

void h1__want_body(struct slot *s, bool wanted)
{
    struct port_conn *pc = s->pc;
    if (!pc->h1 || pc->closed || pc->turn != s)
        return;
    h1_pause(pc->h1, !wanted);
    if (wanted)
        conn_resume(pc->c);
}

/* What the parser refused is answered, if nothing has been, and the connection ends. */
static void refuse(struct port_conn *pc, const struct err *err)
{
    unsigned status = h1_error_status(pc->h1);
    if (log_enabled(LOG_DEBUG))
        log_at(LOG_DEBUG, "port", "an HTTP/1 connection ends", LOG_FU64("conn", conn_id(pc->c)),
               LOG_FSTR("because", err->detail));
    pc->h1_refused = true;
    port__count(&pc->pr->count.refused, 1);
    conn_want_output(pc->c);
    struct slot *s = pc->turn;
    if (s && s->state == SLOT_RUNNING) { /* in its body: the handler answers */
        body__fail(s, err->status, err->detail);
        return;
    }
    if (status == 0) {
        if (s)
            slot__free(s);
        conn_finish(pc->c);
        return;
    }
    if (!s) { /* its head was refused */
        s = slot__new(pc, REQUEST_HTTP1);
        if (!s) {
            conn_abort(pc->c, ST_NO_MEMORY);
            return;
        }
        fill(&s->as.x, pc->h1);
    }
    exchange__refuse(s, status, err->status, err->detail);
}

static void watch_clock(struct port_conn *pc, uint64_t now)
{
    struct err err;
    uint64_t next;
    err_init(&err);
    if (pc->h1_refused)
        return;
    if (h1_tick(pc->h1, now, &next, &err) != ST_OK)
        refuse(pc, &err);
    else
        port__arm(pc, next);
}

static size_t conn_on_data(struct conn *c, struct bytes data)
{
    struct port_conn *pc = conn_state(c);
    struct err err;
    size_t used = 0;
    if (pc->h1_refused)
        return data.len;
    if (pc->draining && !pc->turn) { /* a request that was never begun */
        conn_finish(c);
        return data.len;
    }
    if (pc->turn && pc->turn->state == SLOT_LINGERING)
        return 0; /* until the answer before has gone */
    err_init(&err);
    port__budget_before(pc);
    enum status st = h1_recv(pc->h1, data, port__now_ms(pc), &used, &err);
    port__budget_after(pc);
    conn_want_output(c);
    if (st) {
        refuse(pc, &err);
        return data.len;
    }
    watch_clock(pc, port__now_ms(pc));
    return used;
}

/* True when all that was queued has been handed on. */
static bool push(struct port_conn *pc)
{
    for (;;) {
        struct bytes out = h1_output(pc->h1);
        if (out.len == 0)
            return true;
        if (!conn_writable(pc->c))
            return false;
        if (out.len > PORT_BIG)
            out.len = PORT_BIG;
        if (port__send(pc, out) != ST_OK)
            return false;
        h1_output_done(pc->h1, out.len);
    }
}

static void conn_on_output(struct conn *c)
{
    struct port_conn *pc = conn_state(c);
    if (!push(pc))
        return;
    if (pc->turn && pc->turn->state == SLOT_LINGERING) {
        slot__free(pc->turn);
        conn_resume(c);
    }
    if (h1_finished(pc->h1) && !pc->turn)
        conn_finish(c);
}

void h1__turn_done(struct slot *s)
{
    struct port_conn *pc = s->pc;
    if (!pc->closed && s->answer_charged && h1_output(pc->h1).len > PORT_BIG) {
        s->state = SLOT_LINGERING;
        conn_want_output(pc->c);
        return;
    }
    pc->turn = NULL;
    if (!pc->closed) {
        conn_want_output(pc->c);
        conn_resume(pc->c);
        watch_clock(pc, port__now_ms(pc));
    }
    slot__free(s); /* and perhaps the connection's state with it */
}

static void conn_on_writable(struct conn *c)
{
    conn_want_output(c);
}

static void conn_on_tick(struct conn *c, uint64_t now_ns)
{
    struct port_conn *pc = conn_state(c);
    pc->tick_ms = UINT64_MAX;
    watch_clock(pc, now_ns / 1000000);
    conn_want_output(c);
}

/* The peer may only have closed its side and still read; whoever streams without end stops. */
static void conn_on_eof(struct conn *c)
{
    struct port_conn *pc = conn_state(c);
    struct err err;
    err_init(&err);
    enum status st = pc->h1_refused ? ST_OK : h1_recv_eof(pc->h1, &err);
    struct slot *s = pc->turn;
    if (!s || s->state == SLOT_WAITING) {
        if (s)
            slot__free(s);
        if (push(pc)) /* the rest cannot come */
            conn_finish(c);
        return;
    }
    s->half_closed = true;
    if (st)
        body__fail(s, ST_CANCELLED, "the client closed in the middle of the body");
    if (s->state == SLOT_RUNNING)
        slot__stop(s);
    conn_want_output(c);
}

static void conn_on_drain(struct conn *c)
{
    struct port_conn *pc = conn_state(c);
    pc->draining = true;
    h1_close_after(pc->h1);
    if (!pc->turn && push(pc))
        conn_finish(c);
    else if (pc->turn && pc->turn->state == SLOT_RUNNING)
        slot__stop(pc->turn);
    conn_want_output(c);
}

static void conn_on_closed(struct conn *c, enum status why)
{
    (void)why;
    struct port_conn *pc = conn_state(c);
    port__count(&pc->pr->count.http1_conns, -1);
    pc->closed = pc->over = true;
    if (pc->turn)
        slot__gone(pc->turn);
    else
        port__conn_release(pc);
}

const struct conn_proto port__h1_proto = {
    .name = "http/1",
    .on_data = conn_on_data,
    .on_eof = conn_on_eof,
    .on_writable = conn_on_writable,
    .on_output = conn_on_output,
    .on_tick = conn_on_tick,
    .on_drain = conn_on_drain,
    .on_closed = conn_on_closed,
};
