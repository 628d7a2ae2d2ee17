/* http1.c - a connection: its input, its exchanges, its deadlines. */
#include "wire/http1/http1_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>

static void set_options(struct h1_options *o, const struct h1_options *from)
{
    *o = from ? *from : (struct h1_options){0};
    if (o->request_line == 0)
        o->request_line = 8 * 1024;
    if (o->header_bytes == 0)
        o->header_bytes = 32 * 1024;
    if (o->header_count == 0)
        o->header_count = 128;
    if (o->body_bytes == 0)
        o->body_bytes = 64 * 1024 * 1024;
    if (o->output_bytes == 0)
        o->output_bytes = 64 * 1024;
    if (o->headers_timeout_ms == 0)
        o->headers_timeout_ms = 10000;
    if (o->idle_timeout_ms == 0)
        o->idle_timeout_ms = 60000;
    if (o->body_timeout_ms == 0)
        o->body_timeout_ms = 30000;
}

static enum status conn_new(bool server, const struct h1_options *options,
                            const struct h1_events *events, void *arg, uint64_t now_ms,
                            struct h1_conn **ret)
{
    ASSERT(events->headers && events->data && events->end);
    struct h1_conn *c = mem_zalloc(sizeof *c);
    if (!c)
        return ST_NO_MEMORY;
    c->server = server;
    c->events = events;
    c->arg = arg;
    c->keep_alive = true;
    set_options(&c->o, options);
    buf_init(&c->head, 0);
    buf_init(&c->out, 0);
    c->now_ms = c->since_ms = now_ms;
    *ret = c;
    return ST_OK;
}

enum status h1_server_new(const struct h1_options *options, const struct h1_events *events,
                          void *arg, uint64_t now_ms, struct h1_conn **ret)
{
    return conn_new(true, options, events, arg, now_ms, ret);
}

enum status h1_client_new(const struct h1_options *options, const struct h1_events *events,
                          void *arg, uint64_t now_ms, struct h1_conn **ret)
{
    return conn_new(false, options, events, arg, now_ms, ret);
}

void h1_conn_free(struct h1_conn *c)
{
    if (!c)
        return;
    ASSERT(!c->in_recv);
    buf_deinit(&c->head);
    buf_deinit(&c->out);
    mem_free(c->headers);
    mem_free(c);
}

enum status h1__refuse(struct h1_conn *c, enum status st, unsigned http, const char *fmt, ...)
{
    va_list ap;
    if (c->status != ST_OK)
        return c->status;
    va_start(ap, fmt);
    (void)vsnprintf(c->detail, sizeof c->detail, fmt, ap);
    va_end(ap);
    c->status = st;
    c->error_status = http;
    c->keep_alive = false;
    c->closing = true;
    return st;
}

/* The next message begins with nothing of this one; memory that was needed for an unusual one goes. */
void h1__exchange_done(struct h1_conn *c)
{
    enum { KEEP = 4096 };
    if (c->reading != H1_READ || !c->ended)
        return;
    c->exchange++;
    c->reading = H1_IDLE;
    c->since_ms = c->now_ms;
    c->skipped_empty_line = false;
    c->responded = c->ended = c->chunked = c->close_delimited = c->body_dropped = false;
    c->headers_n = 0;
    c->method = c->target = BYTES_EMPTY;
    c->code = 0;
    c->paused = false;
    if (c->server)
        c->is_head = false;
    if (c->head.cap > KEEP)
        buf_deinit(&c->head);
    buf_clear(&c->head);
    if (!c->keep_alive || c->close_after)
        c->closing = true;
}

void h1__read_done(struct h1_conn *c)
{
    const uint64_t exchange = c->exchange;
    c->events->end(c->arg, c);
    if (exchange == c->exchange)
        h1__exchange_done(c);
}

static enum status head_whole(struct h1_conn *c)
{
    enum status st = h1__head_parse(c);
    if (st != ST_OK)
        return st;
    if (!c->server && c->code < 200) { /* 100 Continue and its kind: the real one follows */
        buf_clear(&c->head);
        c->scanned = 0;
        return ST_OK;
    }
    st = h1__body_begin(c);
    if (st != ST_OK)
        return st;
    if (c->reading == H1_BODY_CLOSE)
        c->keep_alive = false;
    c->since_ms = c->now_ms;
    const uint64_t exchange = c->exchange;
    c->events->headers(c->arg, c);
    if (exchange == c->exchange && c->reading == H1_READ)
        h1__read_done(c);
    return c->status;
}

static enum status take_head(struct h1_conn *c, struct bytes in, size_t *used)
{
    bool whole = false;
    if (c->reading == H1_IDLE) {
        if (!c->server && !c->responded) {
            *used = 0;
            return h1__refuse(c, ST_INVALID_ARGUMENT, 0, "a response to no request");
        }
        c->reading = H1_HEAD;
        c->since_ms = c->now_ms;
        c->scanned = 0;
    }
    enum status st = h1__head_add(c, in, used, &whole);
    if (st == ST_OK && c->head.len == 0) /* an empty line was passed over: no request has begun */
        c->reading = H1_IDLE;
    return st == ST_OK && whole ? head_whole(c) : st;
}

static enum status take_body(struct h1_conn *c, struct bytes in, size_t *used)
{
    const uint64_t exchange = c->exchange;
    c->since_ms = c->now_ms;
    enum status st = h1__body(c, in, used);
    if (st == ST_OK && exchange == c->exchange && c->reading == H1_READ)
        h1__read_done(c);
    return st;
}

bool h1_wants_input(const struct h1_conn *c)
{
    if (c->status != ST_OK || c->closing || c->reading == H1_READ)
        return false;
    return !c->paused || c->reading == H1_IDLE || c->reading == H1_HEAD;
}

enum status h1_recv(struct h1_conn *c, struct bytes in, uint64_t now_ms, size_t *ret_used,
                    struct err *err)
{
    size_t at = 0;
    ASSERT(!c->in_recv);
    *ret_used = 0;
    if (c->status != ST_OK)
        return err_set(err, ST_CLOSED, "the HTTP/1.1 connection has ended: %s", c->detail);
    c->now_ms = now_ms;
    c->in_recv = true;
    enum status st = ST_OK;
    while (st == ST_OK && at < in.len && h1_wants_input(c)) {
        size_t used = 0;
        struct bytes rest = BYTES(in.data + at, in.len - at);
        st = c->reading <= H1_HEAD ? take_head(c, rest, &used) : take_body(c, rest, &used);
        at += used;
    }
    c->in_recv = false;
    *ret_used = at;
    return st == ST_OK ? ST_OK : err_set(err, st, "HTTP/1.1: %s", c->detail);
}

enum status h1_recv_eof(struct h1_conn *c, struct err *err)
{
    if (c->status != ST_OK)
        return err_set(err, ST_CLOSED, "the HTTP/1.1 connection has ended: %s", c->detail);
    c->keep_alive = false;
    if (c->reading == H1_BODY_CLOSE) {
        c->reading = H1_READ;
        c->in_recv = true;
        h1__read_done(c);
        c->in_recv = false;
        c->closing = true;
        return ST_OK;
    }
    bool between = c->reading == H1_IDLE && (c->server || !c->responded);
    if (between || c->reading == H1_READ) {
        c->close_after = true;
        if (between)
            c->closing = true;
        return ST_OK;
    }
    (void)h1__refuse(c, ST_INVALID_ARGUMENT, 0, "the peer closed in the middle of a message");
    return err_set(err, c->status, "HTTP/1.1: %s", c->detail);
}

void h1_pause(struct h1_conn *c, bool paused)
{
    if (c->paused && !paused)
        c->since_ms = c->now_ms;
    c->paused = paused;
}

unsigned h1_error_status(const struct h1_conn *c)
{
    return c->error_status;
}

bool h1_finished(const struct h1_conn *c)
{
    if (c->out.len > c->out_off || !c->closing)
        return false;
    /* An error is answered, and an answer that was begun is ended; nothing else is waited for. */
    if (c->status != ST_OK)
        return c->error_status == 0 || !c->server || c->ended;
    return true;
}

/* When the state the connection is in has lasted too long; UINT64_MAX: it may last. */
static uint64_t deadline(const struct h1_conn *c)
{
    switch (c->reading) {
    case H1_IDLE:
        return !c->server && c->responded ? UINT64_MAX : c->since_ms + c->o.idle_timeout_ms;
    case H1_HEAD:
        return c->since_ms + c->o.headers_timeout_ms;
    case H1_READ:
        return UINT64_MAX;
    case H1_BODY_LENGTH:
    case H1_BODY_CHUNK_SIZE:
    case H1_BODY_CHUNK_DATA:
    case H1_BODY_CHUNK_END:
    case H1_BODY_TRAILERS:
    case H1_BODY_CLOSE:
        break;
    }
    bool not_asked = c->expects_continue && !c->continued && c->body == 0;
    return c->paused || not_asked ? UINT64_MAX : c->since_ms + c->o.body_timeout_ms;
}

enum status h1_tick(struct h1_conn *c, uint64_t now_ms, uint64_t *ret_next, struct err *err)
{
    if (now_ms > c->now_ms)
        c->now_ms = now_ms;
    *ret_next = UINT64_MAX;
    if (c->status != ST_OK || c->closing)
        return ST_OK;
    uint64_t at = deadline(c);
    if (c->now_ms < at) {
        *ret_next = at;
        return ST_OK;
    }
    if (c->reading == H1_IDLE)
        (void)h1__refuse(c, ST_TIMED_OUT, 0, "idle_timeout_ms: nothing for %u ms",
                         c->o.idle_timeout_ms);
    else if (c->reading == H1_HEAD)
        (void)h1__refuse(c, ST_TIMED_OUT, 408, "headers_timeout_ms: no whole head in %u ms",
                         c->o.headers_timeout_ms);
    else
        (void)h1__refuse(c, ST_TIMED_OUT, 408, "body_timeout_ms: no byte for %u ms",
                         c->o.body_timeout_ms);
    return err_set(err, c->status, "HTTP/1.1: %s", c->detail);
}

void h1_set_user(struct h1_conn *c, void *user)
{
    c->user = user;
}

void *h1_user(const struct h1_conn *c)
{
    return c->user;
}

struct bytes h1_method(const struct h1_conn *c)
{
    return c->method;
}

struct bytes h1_target(const struct h1_conn *c)
{
    return c->target;
}

unsigned h1_status(const struct h1_conn *c)
{
    return c->code;
}

unsigned h1_minor(const struct h1_conn *c)
{
    return c->minor;
}

const struct wire_header *h1_headers(const struct h1_conn *c, size_t *ret_n)
{
    *ret_n = c->headers_n;
    return c->headers;
}

bool h1_header(const struct h1_conn *c, struct bytes name, struct bytes *ret)
{
    const struct wire_header *h = wire_header_find(c->headers, c->headers_n, name);
    if (h)
        *ret = h->value;
    return h != NULL;
}

bool h1_expects_continue(const struct h1_conn *c)
{
    return c->expects_continue && !c->continued && !c->responded && c->body == 0 &&
           c->reading != H1_READ;
}

bool h1_keep_alive(const struct h1_conn *c)
{
    return c->keep_alive && !c->close_after && !c->closing && c->status == ST_OK;
}
