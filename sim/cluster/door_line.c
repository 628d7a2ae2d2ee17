/* Connections of the clients' machine: protocol states of src/wire over conns of a reactor. */
#include "sim/cluster/door_line.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/env/fiber.h"

#include <stdio.h>
#include <string.h>

enum { NS_PER_MS = 1000000, HEARD_MAX = 256 * 1024 };

struct line {
    struct line_options o;
    struct conn *c; /* NULL: gone */
    struct h2_conn *h2;
    struct h1_conn *h1;
    struct ask *at;         /* HTTP/1: the one under way */
    struct env_event *wake; /* of who waits for the line itself */
    struct buf out, heard;  /* LINE_RAW */
    uint64_t tick_ms;
    bool up, over, left; /* left: its fiber has let go */
};

static uint64_t now_ms(const struct line *l)
{
    return loop_clock_ns(reactor_loop(conn_reactor(l->c))) / NS_PER_MS;
}

static void wake(struct line *l)
{
    if (l->wake)
        env_event_set(l->wake);
    if (l->at)
        env_event_set(&l->at->wake);
}

static void arm(struct line *l, uint64_t at_ms)
{
    if (!l->c || at_ms >= l->tick_ms)
        return;
    l->tick_ms = at_ms;
    conn_set_tick(l->c, at_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : at_ms * NS_PER_MS);
}

/* No use any more; on_closed follows. */
static void give_up(struct line *l)
{
    l->over = true;
    if (l->c)
        conn_abort(l->c, ST_CLOSED);
}

/* --- HTTP/2 --- */

static struct ask *ask_of(struct h2_stream *s)
{
    return h2_user(s);
}

static void take_etag(struct ask *q, struct bytes tag)
{
    (void)snprintf(q->etag, sizeof q->etag, "%.*s", (int)tag.len, (const char *)tag.data);
}

static void h2_on_headers(void *line, struct h2_stream *s, bool end)
{
    (void)line;
    struct ask *q = ask_of(s);
    struct bytes tag;
    if (q->grpc) {
        grpc_on_headers(&q->call, end);
    } else {
        q->status = h2_status(s);
        if (h2_header(s, BYTES_LIT("etag"), &tag))
            take_etag(q, tag);
    }
    env_event_set(&q->wake);
}

static void h2_on_data(void *line, struct h2_stream *s, struct bytes data)
{
    (void)line;
    struct ask *q = ask_of(s);
    if (q->grpc) {
        grpc_on_data(&q->call, data);
    } else {
        enum status st = buf_append(&q->body, data.data, data.len);
        ASSERT(st == ST_OK);
        if (q->slow)
            q->holds += data.len;
        else
            h2_consume(s, data.len);
    }
    env_event_set(&q->wake);
}

static void h2_on_end(void *line, struct h2_stream *s)
{
    (void)line;
    struct ask *q = ask_of(s);
    if (q->grpc)
        grpc_on_end(&q->call);
    q->done = true;
    env_event_set(&q->wake);
}

static void h2_on_closed(void *line, struct h2_stream *s, uint32_t code)
{
    (void)line;
    struct ask *q = ask_of(s);
    if (q->grpc)
        grpc_on_closed(&q->call, code);
    q->broken |= code != H2_NO_ERROR && !q->done;
    q->refused |= code == H2_REFUSED_STREAM;
    q->done = true;
    env_event_set(&q->wake);
}

static void h2_on_writable(void *line, struct h2_stream *s)
{
    (void)line;
    env_event_set(&ask_of(s)->wake);
}

static const struct h2_events h2_events = {.headers = h2_on_headers,
                                           .data = h2_on_data,
                                           .end = h2_on_end,
                                           .closed = h2_on_closed,
                                           .writable = h2_on_writable};

/* --- HTTP/1 --- */

static void h1_on_headers(void *line, struct h1_conn *c)
{
    struct line *l = line;
    struct bytes tag;
    if (!l->at)
        return;
    l->at->status = h1_status(c);
    if (h1_header(c, BYTES_LIT("etag"), &tag))
        take_etag(l->at, tag);
}

static void h1_on_data(void *line, struct h1_conn *c, struct bytes data)
{
    (void)c;
    struct line *l = line;
    if (!l->at)
        return;
    enum status st = buf_append(&l->at->body, data.data, data.len);
    ASSERT(st == ST_OK);
    if (l->at->slow)
        h1_pause(c, true);
    wake(l);
}

static void h1_on_end(void *line, struct h1_conn *c)
{
    (void)c;
    struct line *l = line;
    if (l->at)
        l->at->done = true;
    wake(l);
}

static const struct h1_events h1_events = {
    .headers = h1_on_headers, .data = h1_on_data, .end = h1_on_end};

/* --- the connection --- */

static enum status on_open(struct conn *c, void *line)
{
    struct line *l = line;
    enum status st = ST_OK;
    conn_set_state(c, l);
    conn_settled(c);
    conn_busy(c, 1);
    l->up = true;
    l->tick_ms = UINT64_MAX;
    if (l->o.kind == LINE_HTTP2)
        st = h2_client_new(&l->o.h2, &h2_events, l, now_ms(l), &l->h2);
    else if (l->o.kind == LINE_HTTP1)
        st = h1_client_new(&l->o.h1, &h1_events, l, now_ms(l), &l->h1);
    ASSERT(st == ST_OK);
    wake(l);
    conn_want_output(c);
    return ST_OK;
}

static size_t on_data(struct conn *c, struct bytes data)
{
    struct line *l = conn_state(c);
    size_t used = data.len;
    enum status st = ST_OK;
    if (l->over)
        return data.len;
    if (l->h2)
        st = h2_recv(l->h2, data, now_ms(l), NULL);
    else if (l->h1)
        st = h1_recv(l->h1, data, now_ms(l), &used, NULL);
    else if (l->heard.len < HEARD_MAX)
        st = buf_append(&l->heard, data.data, data.len);
    wake(l);
    if (st)
        give_up(l);
    if (l->over)
        return data.len;
    if (l->h2)
        arm(l, h2_tick(l->h2, now_ms(l)));
    conn_want_output(c);
    return used;
}

static void on_eof(struct conn *c)
{
    struct line *l = conn_state(c);
    if (l->h1 && !l->over && h1_recv_eof(l->h1, NULL) != ST_OK && l->at)
        l->at->broken = true;
    give_up(l);
}

static struct bytes made(struct line *l)
{
    struct bytes out = BYTES_EMPTY;
    if (l->h2)
        return h2_output(l->h2, &out) == ST_OK ? out : BYTES_EMPTY;
    return l->h1 ? h1_output(l->h1) : buf_bytes(&l->out);
}

static void on_output(struct conn *c)
{
    struct line *l = conn_state(c);
    while (!l->over && l->up && conn_writable(c)) {
        struct bytes out = made(l);
        if (out.len == 0)
            break;
        if (conn_send(c, out) != ST_OK) {
            give_up(l);
            return;
        }
        if (l->h2)
            h2_output_done(l->h2, out.len);
        else if (l->h1)
            h1_output_done(l->h1, out.len);
        else
            buf_clear(&l->out);
    }
    if (!l->over && ((l->h2 && h2_finished(l->h2)) || (l->h1 && h1_finished(l->h1))))
        give_up(l);
}

static void on_writable(struct conn *c)
{
    conn_want_output(c);
}

static void on_tick(struct conn *c, uint64_t now_ns)
{
    struct line *l = conn_state(c);
    l->tick_ms = UINT64_MAX;
    if (l->over || !l->h2)
        return;
    arm(l, h2_tick(l->h2, now_ns / NS_PER_MS));
    conn_want_output(c);
}

static void line_free(struct line *l)
{
    h1_conn_free(l->h1);
    buf_deinit(&l->out);
    buf_deinit(&l->heard);
    mem_free(l);
}

static void on_closed(struct conn *c, enum status why)
{
    (void)why;
    struct line *l = conn_state(c);
    struct h2_conn *h2 = l->h2;
    l->c = NULL;
    l->over = true;
    l->h2 = NULL;
    h2_conn_free(h2); /* its asks hear of it */
    if (l->at && !l->at->done)
        l->at->done = l->at->broken = true;
    wake(l);
    if (l->left)
        line_free(l);
}

static const struct conn_proto proto = {.name = "line",
                                        .on_open = on_open,
                                        .on_data = on_data,
                                        .on_eof = on_eof,
                                        .on_writable = on_writable,
                                        .on_output = on_output,
                                        .on_tick = on_tick,
                                        .on_closed = on_closed};

/* --- for fibers --- */

struct line *line_open(const struct line_options *o)
{
    struct line *l = mem_zalloc(sizeof *l);
    ASSERT(l);
    l->o = *o;
    buf_init(&l->out, 0);
    buf_init(&l->heard, 0);
    if (reactor_connect(reactor_current(), &o->to, &proto, l, NULL, &l->c, NULL) == ST_OK)
        conn_set_state(l->c, l); /* on_closed may come without on_open */
    else
        l->over = true;
    return l;
}

void line_close(struct line *l, bool polite)
{
    if (!l)
        return;
    ASSERT(!l->at);
    l->left = l->over = true;
    l->wake = NULL;
    if (!l->c) {
        line_free(l);
    } else if (polite && l->up) {
        conn_busy(l->c, -1);
        conn_finish(l->c);
    } else {
        conn_abort(l->c, ST_CLOSED);
    }
}

bool line_usable(const struct line *l)
{
    return !l->over && l->c && (!l->h2 || !h2_shutting_down(l->h2)) && (!l->h1 || !l->at);
}

bool line_gone(const struct line *l)
{
    return l->over || !l->c;
}

/* Until something happens on the line; false: nothing did. */
static bool line_pause(struct line *l, uint64_t timeout_ns)
{
    struct env_event e;
    env_event_init(&e);
    l->wake = &e;
    bool woken = env_wait(&e, timeout_ns);
    l->wake = NULL;
    return woken;
}

bool line_wait(struct line *l, uint64_t timeout_ns)
{
    uint64_t until = fiber_now_ns() + timeout_ns;
    while (!l->up && !line_gone(l) && fiber_now_ns() < until)
        (void)line_pause(l, until - fiber_now_ns());
    return l->up && !line_gone(l);
}

void line_send(struct line *l, struct bytes data)
{
    if (line_gone(l))
        return;
    enum status st = buf_append(&l->out, data.data, data.len);
    ASSERT(st == ST_OK);
    conn_want_output(l->c);
}

struct bytes line_heard(const struct line *l)
{
    return buf_bytes(&l->heard);
}

bool line_wait_more(struct line *l, uint64_t timeout_ns)
{
    size_t had = l->heard.len;
    uint64_t until = fiber_now_ns() + timeout_ns;
    while (l->heard.len == had && !line_gone(l) && fiber_now_ns() < until)
        (void)line_pause(l, until - fiber_now_ns());
    return l->heard.len > had;
}

void line_ping(struct line *l)
{
    if (line_gone(l) || !l->h2)
        return;
    if (h2_ping(l->h2, 7) == ST_OK)
        conn_want_output(l->c);
}

/* --- asks --- */

static enum status not_there(struct err *err)
{
    return err_set(err, ST_CLOSED, "there is no connection");
}

enum status ask_grpc(struct ask *q, struct line *l, const struct ask_grpc *o, struct bytes message,
                     struct err *err)
{
    q->line = l;
    q->grpc = true;
    env_event_init(&q->wake);
    if (!line_usable(l) || !l->h2)
        return not_there(err);
    struct wire_header about = WIRE_HEADER(BYTES_LIT("x-request-id"), BYTES_LIT("simulated"));
    struct grpc_start start = {.path = o->path,
                               .authority = BYTES_LIT("node:7878"),
                               .timeout_ns = o->timeout_ns,
                               .gzip = o->gzip,
                               .metadata = &about,
                               .metadata_count = o->gzip};
    struct grpc_limits limits = {.gzip_min = 64};
    enum status st = grpc_start(&q->call, l->h2, &start, &limits, q, err);
    if (st)
        return st;
    q->began = true;
    st = grpc_send(&q->call, message, true);
    conn_want_output(l->c);
    return st ? err_set(err, st, "cannot send: %s", status_text(st)) : ST_OK;
}

enum grpc_next ask_next(struct ask *q, uint64_t until_ns, struct bytes *ret, struct err *err)
{
    for (;;) {
        env_event_init(&q->wake);
        enum grpc_next next = grpc_next(&q->call, ret, err);
        if (q->line->c)
            conn_want_output(q->line->c); /* room is given back */
        if (next != GRPC_WAIT)
            return next;
        uint64_t now = fiber_now_ns();
        if (now >= until_ns || q->done)
            return q->done ? GRPC_FAILED : GRPC_WAIT;
        (void)env_wait(&q->wake, until_ns - now);
    }
}

static enum status send_h2(struct ask *q, struct line *l, const struct ask_http *o)
{
    struct wire_header headers[16] = {
        WIRE_HEADER(BYTES_LIT(":method"), BYTES_STR(o->method)),
        WIRE_HEADER(BYTES_LIT(":scheme"), BYTES_LIT("http")),
        WIRE_HEADER(BYTES_LIT(":authority"), BYTES_LIT("node:7878")),
        WIRE_HEADER(BYTES_LIT(":path"), BYTES_STR(o->target)),
    };
    size_t n = 4;
    for (size_t i = 0; i < o->n_headers && n < 16; i++)
        headers[n++] = o->headers[i];
    enum status st = h2_request(l->h2, headers, n, o->body.len == 0, q, &q->stream);
    if (st)
        return st;
    q->began = true;
    return o->body.len ? h2_write(q->stream, o->body, true) : ST_OK;
}

static enum status send_h1(struct ask *q, struct line *l, const struct ask_http *o)
{
    struct wire_header headers[12];
    size_t n = 0;
    headers[n++] = WIRE_HEADER(BYTES_LIT("host"), BYTES_LIT("node:7878"));
    for (size_t i = 0; i < o->n_headers && n < 12; i++)
        headers[n++] = o->headers[i];
    int64_t length = o->body.len == 0 ? H1_NO_CONTENT
                     : o->chunked     ? H1_CHUNKED
                                      : (int64_t)o->body.len;
    enum status st =
        h1_request(l->h1, BYTES_STR(o->method), BYTES_STR(o->target), headers, n, length);
    if (st)
        return st;
    l->at = q;
    q->began = true;
    if (o->body.len == 0)
        return ST_OK; /* it has ended */
    st = h1_write(l->h1, o->body);
    return st ? st : h1_end(l->h1);
}

enum status ask_http(struct ask *q, struct line *l, const struct ask_http *o, struct err *err)
{
    q->line = l;
    buf_init(&q->body, 0);
    env_event_init(&q->wake);
    if (!line_usable(l) || !(l->h2 || l->h1))
        return not_there(err);
    enum status st = l->h2 ? send_h2(q, l, o) : send_h1(q, l, o);
    conn_want_output(l->c);
    return st ? err_set(err, st, "cannot send: %s", status_text(st)) : ST_OK;
}

bool ask_wait(struct ask *q, uint64_t until_ns)
{
    while (!q->done) {
        uint64_t now = fiber_now_ns();
        if (now >= until_ns)
            return false;
        env_event_init(&q->wake);
        (void)env_wait(&q->wake, until_ns - now);
    }
    return true;
}

void ask_take(struct ask *q)
{
    struct line *l = q->line;
    if (!l->c || l->over)
        return;
    if (q->stream && q->holds)
        h2_consume(q->stream, q->holds);
    q->holds = 0;
    if (l->h1 && l->at == q) {
        h1_pause(l->h1, false);
        conn_resume(l->c);
    }
    conn_want_output(l->c);
}

void ask_end(struct ask *q)
{
    struct line *l = q->line;
    if (!l)
        return;
    if (q->grpc) {
        if (q->began && !q->call.finished)
            grpc_cancel(&q->call);
        grpc_deinit(&q->call);
    }
    if (q->stream) {
        if (!q->done)
            h2_reset(q->stream, H2_CANCEL);
        h2_release(q->stream);
    }
    if (l->at == q) {
        l->at = NULL;
        if (!q->done)
            give_up(l); /* HTTP/1 has no other way */
    }
    buf_deinit(&q->body);
    if (l->c && !l->over)
        conn_want_output(l->c);
    q->line = NULL;
}
