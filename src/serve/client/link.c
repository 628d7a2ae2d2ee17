/* link.c - bytes from the loop through TLS to HTTP/2 and back. */
#include "serve/client/link.h"

#include "base/alloc.h"
#include "base/assert.h"

enum {
    CLEAR_BYTES = 16 * 1024,
    SEND_HIGH = 256 * 1024,
    NS_PER_MS = 1000000,
    FRAME_TYPE_AT = 3, /* of HTTP/2; a server's first frame is SETTINGS (RFC 9113, 3.4) */
    FRAME_SETTINGS = 4,
    TLS_ALERT = 0x15, /* the first byte of a record by which a server with TLS refuses us */
};

enum link_state { LINK_CONNECTING, LINK_GREETING, LINK_READY, LINK_CLOSED };

struct link {
    struct env *env;
    struct loop *loop;
    struct loop_conn *conn; /* NULL once it is gone */
    const struct link_ops *ops;
    void *ctx;
    struct link_options o;
    struct loop_conn_limits limits;
    const struct conn_filter_maker *maker;
    void *filter;
    struct h2_conn *h2;
    struct loop_timer tick;
    enum link_state state;
    struct err why; /* the first reason, of several */
    size_t calls;
    bool freed; /* by its owner: goes with its socket */
    bool heard; /* a byte came */
    struct buf sealed;
    uint8_t *clear;
};

/* ---- the end ---- */

static void link_delete(struct link *k)
{
    if (k->filter)
        k->maker->ops->free(k->filter);
    buf_deinit(&k->sealed);
    mem_free(k->clear);
    mem_free(k);
}

/* Remembers why, and lets the socket go; on_close follows. */
static void fail(struct link *k, const struct err *why)
{
    if (k->why.status == ST_OK)
        k->why = *why;
    if (k->conn)
        loop_conn_close(k->conn);
}

static void fail_with(struct link *k, enum status st, const char *text)
{
    struct err e;
    err_init(&e);
    (void)err_set(&e, st, "%s", text);
    fail(k, &e);
}

static void explain_end(struct link *k, enum status why, int error)
{
    if (k->why.status != ST_OK)
        return;
    if (error)
        (void)err_errno(&k->why, error,
                        k->state == LINK_CONNECTING ? "cannot connect" : "connection lost");
    else
        (void)err_set(&k->why, ST_IO_ERROR, "the server closed the connection");
    k->why.status = why == ST_OK ? ST_IO_ERROR : why;
}

static void on_close(void *ctx, enum status why, int error)
{
    struct link *k = ctx;
    k->conn = NULL;
    loop_timer_stop(k->loop, &k->tick);
    if (!k->freed)
        explain_end(k, why, error);
    k->state = LINK_CLOSED;
    struct h2_conn *h2 = k->h2;
    k->h2 = NULL;
    h2_conn_free(h2); /* its calls hear of it */
    if (k->freed)
        link_delete(k);
    else
        k->ops->on_closed(k->ctx, &k->why);
}

void link_free(struct link *k)
{
    if (!k)
        return;
    k->freed = true;
    if (!k->conn) {
        link_delete(k);
        return;
    }
    if (k->h2 && k->state == LINK_READY) {
        h2_abort(k->h2, H2_NO_ERROR);
        link_flush(k);
        if (k->filter && k->conn && k->maker->ops->finish(k->filter, &k->sealed) == ST_OK)
            (void)!loop_conn_send(k->conn, buf_bytes(&k->sealed));
        loop_flush(k->loop);
    }
    if (k->conn)
        loop_conn_close(k->conn);
}

/* ---- out ---- */

static void tick_again(struct link *k)
{
    uint64_t now_ms = loop_clock_ns(k->loop) / NS_PER_MS, at_ms = h2_tick(k->h2, now_ms);
    if (at_ms != UINT64_MAX)
        loop_timer_start(k->loop, &k->tick, at_ms * NS_PER_MS);
}

/* False: the socket has been let go. */
static bool send_clear(struct link *k, struct bytes out)
{
    struct err e;
    enum status st;
    err_init(&e);
    if (!k->filter) {
        st = loop_conn_send(k->conn, out);
    } else {
        buf_clear(&k->sealed);
        st = k->maker->ops->seal(k->filter, out, &k->sealed, &e);
        if (st == ST_OK)
            st = loop_conn_send(k->conn, buf_bytes(&k->sealed));
    }
    if (st == ST_OK)
        return true;
    if (!e.detail[0])
        (void)err_set(&e, st, "cannot send: %s", status_text(st));
    fail(k, &e);
    return false;
}

void link_flush(struct link *k)
{
    struct bytes out;
    if (!k->h2 || !k->conn)
        return;
    while (loop_conn_writable(k->conn)) {
        enum status st = h2_output(k->h2, &out);
        if (st != ST_OK) {
            fail_with(k, st, "no memory for what is to be sent");
            return;
        }
        if (out.len == 0)
            break;
        if (!send_clear(k, out))
            return;
        h2_output_done(k->h2, out.len);
    }
    if (h2_finished(k->h2)) {
        struct err e;
        err_init(&e);
        if (h2_conn_status(k->h2, &e) == ST_OK)
            (void)err_set(&e, ST_IO_ERROR, "the server closed the connection");
        fail(k, &e);
    }
}

static void on_drained(void *ctx)
{
    link_flush(ctx);
}

static void on_tick(void *ctx)
{
    struct link *k = ctx;
    if (!k->h2 || !k->conn)
        return;
    tick_again(k);
    link_flush(k);
}

/* ---- the events of HTTP/2 ---- */

static struct link_call *call_of(struct h2_stream *s)
{
    return h2_user(s);
}

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    (void)arg;
    grpc_on_headers(&call_of(s)->grpc, end);
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    (void)arg;
    grpc_on_data(&call_of(s)->grpc, data);
    call_of(s)->on_event(call_of(s));
}

static void on_end(void *arg, struct h2_stream *s)
{
    (void)arg;
    grpc_on_end(&call_of(s)->grpc);
}

static void on_writable(void *arg, struct h2_stream *s)
{
    (void)arg;
    call_of(s)->on_event(call_of(s));
}

static void on_stream_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    (void)arg;
    grpc_on_closed(&call_of(s)->grpc, code);
    call_of(s)->on_event(call_of(s));
}

static const struct h2_events events = {
    .headers = on_headers,
    .data = on_data,
    .end = on_end,
    .writable = on_writable,
    .closed = on_stream_closed,
};

/* ---- in ---- */

static void begin_h2(struct link *k)
{
    uint64_t now_ms = loop_clock_ns(k->loop) / NS_PER_MS;
    enum status st = h2_client_new(k->o.h2, &events, k, now_ms, &k->h2);
    if (st != ST_OK) {
        fail_with(k, st, "no memory for a connection");
        return;
    }
    k->state = LINK_READY;
    tick_again(k);
    if (k->ops->on_ready)
        k->ops->on_ready(k->ctx);
    link_flush(k);
}

/* TLS that fails before it is there is about who is who, or no TLS at all: another try is no use. */
static void fail_filter(struct link *k, enum status st, struct err *e)
{
    if (st == ST_IO_ERROR && k->state == LINK_GREETING)
        e->status = ST_UNAUTHENTICATED;
    /* The alert that says why goes out before the end. */
    if (k->sealed.len == 0 || k->why.status != ST_OK ||
        loop_conn_send(k->conn, buf_bytes(&k->sealed)) != ST_OK) {
        fail(k, e);
        return;
    }
    k->why = *e;
    loop_conn_finish(k->conn);
}

static void on_connect(void *ctx)
{
    struct link *k = ctx;
    struct err e;
    err_init(&e);
    k->state = LINK_GREETING;
    if (!k->maker) {
        begin_h2(k);
        return;
    }
    buf_clear(&k->sealed);
    enum status st = k->maker->make(k->maker->arg, &k->sealed, &k->filter, &e);
    if (st == ST_OK)
        st = loop_conn_send(k->conn, buf_bytes(&k->sealed));
    if (st != ST_OK) {
        if (!e.detail[0])
            (void)err_set(&e, st, "cannot send: %s", status_text(st));
        fail(k, &e);
    }
}

static void take_clear(struct link *k, struct bytes in)
{
    struct err e;
    err_init(&e);
    if (!k->heard && in.len > FRAME_TYPE_AT && in.data[FRAME_TYPE_AT] != FRAME_SETTINGS) {
        bool tls = !k->filter && in.data[0] == TLS_ALERT;
        fail_with(k, ST_UNIMPLEMENTED,
                  tls ? "the server speaks TLS" : "the server does not speak HTTP/2");
        return;
    }
    k->heard = true;
    enum status st = h2_recv(k->h2, in, loop_clock_ns(k->loop) / NS_PER_MS, &e);
    if (st == ST_OK || k->why.status != ST_OK)
        return;
    link_flush(k);
    if (st == ST_INVALID_ARGUMENT) /* of us, not of who called */
        e.status = ST_UNIMPLEMENTED;
    fail(k, &e);
}

/* Everything that the filter can give of what it was fed. */
static void draw(struct link *k)
{
    const struct conn_filter_ops *f = k->maker->ops;
    struct err e;
    size_t n = 1;
    bool eof = false;
    err_init(&e);
    while (n > 0 && !eof && k->conn && k->why.status == ST_OK) {
        buf_clear(&k->sealed);
        enum status st = f->read(k->filter, k->clear, CLEAR_BYTES, &n, &eof, &k->sealed, &e);
        if (st != ST_OK) {
            fail_filter(k, st, &e);
            return;
        }
        if (k->sealed.len && loop_conn_send(k->conn, buf_bytes(&k->sealed)) != ST_OK) {
            fail_with(k, ST_IO_ERROR, "cannot send");
            return;
        }
        if (n > 0)
            take_clear(k, BYTES(k->clear, n));
    }
    if (eof)
        fail_with(k, ST_IO_ERROR, "the server closed the connection");
}

static void through_filter(struct link *k, struct bytes data)
{
    const struct conn_filter_ops *f = k->maker->ops;
    struct err e;
    err_init(&e);
    buf_clear(&k->sealed);
    enum status st = f->feed(k->filter, data, &k->sealed, &e);
    if (st != ST_OK) {
        fail_filter(k, st, &e);
        return;
    }
    if (k->sealed.len && loop_conn_send(k->conn, buf_bytes(&k->sealed)) != ST_OK) {
        fail_with(k, ST_IO_ERROR, "cannot send");
        return;
    }
    if (!f->ready(k->filter))
        return;
    if (!k->h2) {
        if (strcmp(f->alpn(k->filter), "h2") != 0) {
            fail_with(k, ST_UNIMPLEMENTED, "the server does not speak HTTP/2 over TLS");
            return;
        }
        begin_h2(k);
    }
    draw(k);
}

static size_t on_recv(void *ctx, struct bytes data)
{
    struct link *k = ctx;
    if (k->why.status != ST_OK)
        return data.len;
    if (k->maker)
        through_filter(k, data);
    else
        take_clear(k, data);
    if (k->why.status == ST_OK)
        link_flush(k);
    return data.len;
}

static void on_eof(void *ctx)
{
    struct link *k = ctx;
    fail_with(k, ST_IO_ERROR,
              k->state == LINK_GREETING ? "the server closed the connection in the TLS handshake"
              : !k->heard && !k->maker
                  ? "the server closed the connection without a word: it may want TLS"
                  : "the server closed the connection");
}

static const struct loop_conn_ops conn_ops = {
    .on_connect = on_connect,
    .on_recv = on_recv,
    .on_eof = on_eof,
    .on_drained = on_drained,
    .on_close = on_close,
};

/* ---- for the owner ---- */

enum status link_open(struct loop *l, struct env *env, const struct link_options *o,
                      const struct link_ops *ops, void *ctx, struct link **ret, struct err *err)
{
    struct link *k = mem_zalloc(sizeof *k);
    if (!k)
        return err_set(err, ST_NO_MEMORY, "no memory for a connection");
    k->env = env;
    k->loop = l;
    k->ops = ops;
    k->ctx = ctx;
    k->o = *o;
    k->limits = (struct loop_conn_limits){.send_high_bytes = SEND_HIGH};
    loop_timer_init(&k->tick, on_tick, k);
    if (o->tls) {
        k->maker = tls_filter(o->tls);
        k->clear = mem_alloc(CLEAR_BYTES);
        if (!k->clear) {
            link_delete(k);
            return err_set(err, ST_NO_MEMORY, "no memory for a connection");
        }
    }
    enum status st = loop_connect(l, &o->to, &conn_ops, k, &k->limits, &k->conn, err);
    if (st != ST_OK) {
        link_delete(k);
        return st;
    }
    *ret = k;
    return ST_OK;
}

bool link_ready(const struct link *k)
{
    return k->state == LINK_READY && k->why.status == ST_OK && !h2_shutting_down(k->h2);
}

bool link_heard(const struct link *k)
{
    return k->heard;
}

bool link_closed(const struct link *k)
{
    return k->state == LINK_CLOSED;
}

size_t link_calls(const struct link *k)
{
    return k->calls;
}

bool link_secure(const struct link *k)
{
    return k->maker != NULL;
}

enum status link_start(struct link *k, struct link_call *call, const struct link_start *start,
                       struct err *err)
{
    if (!link_ready(k))
        return err_set(err, ST_CLOSED, "the connection is not there");
    struct wire_header authorization = {
        .name = BYTES_LIT("authorization"), .value = start->authorization, .secret = true};
    struct grpc_start s = {.path = start->path,
                           .authority = k->o.authority,
                           .https = k->maker != NULL,
                           .timeout_ns = start->timeout_ns,
                           .metadata = &authorization,
                           .metadata_count = start->authorization.len ? 1 : 0,
                           .user_agent = BYTES_LIT("varve/" VARVE_VERSION)};
    enum status st = grpc_start(&call->grpc, k->h2, &s, &start->limits, call, err);
    if (st != ST_OK)
        return st;
    call->link = k;
    k->calls++;
    return ST_OK;
}

void link_end(struct link_call *call)
{
    if (!call->link)
        return;
    if (!call->grpc.finished)
        grpc_cancel(&call->grpc);
    grpc_deinit(&call->grpc);
    call->grpc = (struct grpc_call){0};
    call->link->calls--;
    call->link = NULL;
}
