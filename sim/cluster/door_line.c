/* Connections of the clients' machine: protocol states of src/wire over conns of a reactor. */
#include "sim/cluster/door_line_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/env/fiber.h"

#include <stdio.h>
#include <string.h>

enum { NS_PER_MS = 1000000, HEARD_MAX = 256 * 1024 };

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
void line__give_up(struct line *l)
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
        line__give_up(l);
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
    line__give_up(l);
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
            line__give_up(l);
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
        line__give_up(l);
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
