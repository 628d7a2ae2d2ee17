/* Requests on a line: gRPC calls, and requests of HTTP by either version. */
#include "sim/cluster/door_line_internal.h"

#include "base/assert.h"
#include "base/env/fiber.h"

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
            line__give_up(l); /* HTTP/1 has no other way */
    }
    buf_deinit(&q->body);
    if (l->c && !l->over)
        conn_want_output(l->c);
    q->line = NULL;
}
