#include "serve/load/load_grpc.h"

#include "wire/grpc/grpc.h"

enum {
    STREAM_WINDOW = 4 * 1024 * 1024,
    CONN_WINDOW = 64 * 1024 * 1024,
};

struct conn {
    const struct load_context *context;
    const struct load_grpc *o;
    struct h2_conn *h2;
    struct wire_header metadata;
    struct buf message;
};

struct call {
    struct grpc_call call;
    uint64_t rows, sum;
    const char *wrong;
};

/* --- answers --- */

static struct call *call_of(struct h2_stream *s)
{
    struct load_slot *slot = h2_user(s);
    return slot->state;
}

static void take_messages(struct load_slot *slot, const struct load_grpc *o)
{
    struct call *k = slot->state;
    struct bytes m;
    struct err err;
    while (grpc_next(&k->call, &m, &err) == GRPC_MESSAGE) {
        const char *wrong = o->codec->decode(o->codec_arg, &slot->op, m, &k->rows, &k->sum);
        k->wrong = k->wrong ? k->wrong : wrong;
    }
}

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    (void)arg;
    grpc_on_headers(&call_of(s)->call, end);
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    struct conn *c = arg;
    grpc_on_data(&call_of(s)->call, data);
    take_messages(h2_user(s), c->o);
}

static void on_end(void *arg, struct h2_stream *s)
{
    (void)arg;
    grpc_on_end(&call_of(s)->call);
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct conn *c = arg;
    struct load_slot *slot = h2_user(s);
    struct call *k = slot->state;
    struct grpc_result r = {.code = GRPC_UNKNOWN};
    grpc_on_closed(&k->call, code);
    take_messages(slot, c->o);
    const char *error = grpc_result(&k->call, &r) != ST_OK ? "NO_MEMORY" : NULL;
    if (!error && r.code != GRPC_OK)
        error = grpc_code_name(r.code);
    if (!error)
        error = k->wrong;
    uint64_t rows = k->rows, sum = k->sum;
    grpc_deinit(&k->call);
    load_answered(slot, error, buf_bytes(&r.message), rows, sum);
    grpc_result_deinit(&r);
}

static const struct h2_events events = {
    .headers = on_headers, .data = on_data, .end = on_end, .closed = on_closed};

/* --- the protocol --- */

static enum status conn_open(void *state, const struct load_context *context, uint64_t now_ms,
                             struct err *err)
{
    struct conn *c = state;
    const struct h2_options o = {
        .stream_window = STREAM_WINDOW, .conn_window = CONN_WINDOW, .pool = context->h2_pool};
    c->context = context;
    c->o = context->arg;
    c->metadata = WIRE_HEADER(BYTES_LIT("authorization"), c->o->authorization);
    c->metadata.secret = true;
    enum status st = h2_client_new(&o, &events, c, now_ms, &c->h2);
    return st == ST_OK ? ST_OK : err_set(err, st, "no memory for a connection");
}

static void conn_close(void *state)
{
    struct conn *c = state;
    h2_conn_free(c->h2);
    buf_deinit(&c->message);
}

static void drop(struct load_slot *slot)
{
    struct call *k = slot->state;
    grpc_deinit(&k->call);
}

static enum status conn_send(void *state, struct load_slot *slot, struct err *err)
{
    struct conn *c = state;
    struct call *k = slot->state;
    const struct grpc_start start = {.path = c->o->codec->path(&slot->op),
                                     .authority = c->o->authority,
                                     .https = c->context->secure,
                                     .metadata = &c->metadata,
                                     .metadata_count = c->o->authorization.len != 0,
                                     .user_agent = BYTES_LIT("varve-bench"),
                                     .lasting = true};
    buf_clear(&c->message);
    enum status st = c->o->codec->encode(c->o->codec_arg, c->context, &slot->op, &c->message);
    if (st != ST_OK)
        return err_set(err, st, "a request's message: %s", status_text(st));
    k->rows = k->sum = 0;
    k->wrong = NULL;
    st = grpc_start(&k->call, c->h2, &start, NULL, slot, err);
    if (st != ST_OK)
        return st;
    st = grpc_send(&k->call, buf_bytes(&c->message), true);
    return st == ST_OK ? ST_OK : err_set(err, ST_IO_ERROR, "a request: %s", status_text(st));
}

static enum status conn_recv(void *state, struct bytes in, uint64_t now_ms, struct err *err)
{
    return h2_recv(((struct conn *)state)->h2, in, now_ms, err);
}

static enum status conn_output(void *state, struct bytes *ret, struct err *err)
{
    struct conn *c = state;
    enum status st = h2_output(c->h2, ret);
    if (st == ST_OK && ret->len == 0 && h2_finished(c->h2))
        return err_set(err, ST_CLOSED, "the server has ended the connection");
    return st == ST_OK ? ST_OK : err_set(err, st, "HTTP/2: %s", status_text(st));
}

static void conn_output_done(void *state, size_t n)
{
    h2_output_done(((struct conn *)state)->h2, n);
}

const struct load_protocol load_grpc_protocol = {.name = "grpc",
                                                 .conn_bytes = sizeof(struct conn),
                                                 .slot_bytes = sizeof(struct call),
                                                 .kinds = (1u << LOAD_KINDS) - 1,
                                                 .open = conn_open,
                                                 .close = conn_close,
                                                 .drop = drop,
                                                 .send = conn_send,
                                                 .recv = conn_recv,
                                                 .output = conn_output,
                                                 .output_done = conn_output_done};
