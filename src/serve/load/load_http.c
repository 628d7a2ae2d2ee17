#include "serve/load/load_http.h"

#include "wire/http1/http1.h"

#include <stdio.h>

enum { TARGET_MAX = LOAD_HTTP_PATH_MAX + 128, HEADERS_MAX = 4, STATUS_MAX = 600 };

struct conn {
    const struct load_context *context;
    const struct load_http *o;
    struct h1_conn *h1;
    struct load_slot *slot; /* whose answer is awaited */
    uint64_t got, lines;    /* bytes and line ends of the body */
    uint8_t head[LOAD_VALUE_MIN];
};

enum status load_http_path(const char *collection, char out[LOAD_HTTP_PATH_MAX], struct err *err)
{
    static const char plain[] = "-._~";
    char text[LOAD_HTTP_PATH_MAX];
    size_t n = (size_t)snprintf(text, sizeof text, "/v1/");
    for (const char *p = collection; *p; p++) {
        bool as_is = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr(plain, *p);
        if (n + 4 > sizeof text)
            return err_set(err, ST_INVALID_ARGUMENT, "collection: the name is too long for a path");
        n +=
            (size_t)snprintf(text + n, sizeof text - n, as_is ? "%c" : "%%%02X", (unsigned char)*p);
    }
    memcpy(out, text, n + 1);
    return ST_OK;
}

/* --- answers --- */

static void on_headers(void *arg, struct h1_conn *h)
{
    struct conn *c = arg;
    (void)h;
    c->got = c->lines = 0;
}

static void on_data(void *arg, struct h1_conn *h, struct bytes data)
{
    struct conn *c = arg;
    (void)h;
    for (size_t i = 0; c->got + i < LOAD_VALUE_MIN && i < data.len; i++)
        c->head[c->got + i] = data.data[i];
    c->got += data.len;
    if (c->slot && c->slot->op.kind == LOAD_SCAN)
        for (size_t i = 0; i < data.len; i++)
            c->lines += data.data[i] == '\n';
}

/* "HTTP 404"; the texts live for ever. */
static const char *status_kind(unsigned status)
{
    static const struct {
        unsigned status;
        const char *kind;
    } kinds[] = {{400, "HTTP 400"}, {401, "HTTP 401"}, {403, "HTTP 403"}, {404, "HTTP 404"},
                 {408, "HTTP 408"}, {409, "HTTP 409"}, {412, "HTTP 412"}, {413, "HTTP 413"},
                 {429, "HTTP 429"}, {500, "HTTP 500"}, {501, "HTTP 501"}, {503, "HTTP 503"},
                 {504, "HTTP 504"}, {507, "HTTP 507"}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].status == status)
            return kinds[i].kind;
    return "HTTP, another status";
}

static void on_end(void *arg, struct h1_conn *h)
{
    struct conn *c = arg;
    struct load_slot *slot = c->slot;
    unsigned status = h1_status(h);
    uint64_t rows = 1, sum = 0;
    const char *error = status / 100 == 2 ? NULL : status_kind(status);
    if (!slot)
        return; /* an answer that nobody asked for: h1 refuses it */
    c->slot = NULL;
    if (!error && load_op_reads(&slot->op)) {
        if (c->got < LOAD_VALUE_MIN ||
            !load_value_is_of(BYTES(c->head, LOAD_VALUE_MIN), slot->op.key))
            error = load_wrong_value;
        sum = load_value_sum(slot->op.key, BYTES(c->head, (size_t)c->got));
    } else if (!error && slot->op.kind == LOAD_SCAN) {
        rows = c->lines;
        sum = load_mix64(c->lines, c->got);
    }
    load_answered(slot, error, BYTES_EMPTY, rows, sum);
}

static const struct h1_events events = {.headers = on_headers, .data = on_data, .end = on_end};

/* --- the protocol --- */

static enum status conn_open(void *state, const struct load_context *context, uint64_t now_ms,
                             struct err *err)
{
    struct conn *c = state;
    /* Bodies are counted, not kept. The runner gives up on silence itself. */
    const struct h1_options o = {.body_bytes = UINT64_C(1) << 40};
    c->context = context;
    c->o = context->arg;
    enum status st = h1_client_new(&o, &events, c, now_ms, &c->h1);
    return st == ST_OK ? ST_OK : err_set(err, st, "no memory for a connection");
}

static void conn_close(void *state)
{
    h1_conn_free(((struct conn *)state)->h1);
}

static size_t target_of(const struct load_http *o, const struct load_op *op, char out[TARGET_MAX])
{
    uint8_t key[LOAD_KEY];
    load_key_text(op->key, key);
    int n;
    if (op->kind == LOAD_SCAN)
        n = snprintf(out, TARGET_MAX, "%.*s?from=%.*s&limit=%u", (int)o->path.len,
                     (const char *)o->path.data, LOAD_KEY, (const char *)key, op->rows);
    else
        n = snprintf(out, TARGET_MAX, "%.*s/%.*s%.*s", (int)o->path.len, (const char *)o->path.data,
                     LOAD_KEY, (const char *)key, load_op_reads(op) ? 0 : (int)o->query.len,
                     (const char *)o->query.data);
    return (size_t)n;
}

static enum status send_body(struct conn *c, const struct load_op *op)
{
    struct load_value v;
    load_value_make(c->context->values, op->key, op->turn, &v);
    enum status st = h1_write(c->h1, BYTES(v.head, LOAD_VALUE_MIN));
    if (st == ST_OK && v.body.len)
        st = h1_write(c->h1, v.body);
    if (st == ST_OK)
        st = h1_end(c->h1);
    return st;
}

static enum status conn_send(void *state, struct load_slot *slot, struct err *err)
{
    struct conn *c = state;
    const struct load_op *op = &slot->op;
    bool reads = load_op_reads(op) || op->kind == LOAD_SCAN;
    char target[TARGET_MAX];
    struct wire_header h[HEADERS_MAX];
    size_t n = 0;
    h[n++] = WIRE_HEADER(BYTES_LIT("Host"), c->o->host);
    if (c->o->authorization.len)
        h[n++] = WIRE_HEADER(BYTES_LIT("Authorization"), c->o->authorization);
    if (op->kind == LOAD_SCAN)
        h[n++] = WIRE_HEADER(BYTES_LIT("Accept"), BYTES_LIT("application/x-ndjson"));
    if (!reads)
        h[n++] = WIRE_HEADER(BYTES_LIT("Content-Type"), BYTES_LIT("application/octet-stream"));
    c->slot = slot;
    enum status st = h1_request(c->h1, reads ? BYTES_LIT("GET") : BYTES_LIT("PUT"),
                                BYTES(target, target_of(c->o, op, target)), h, n,
                                reads ? H1_NO_CONTENT : (int64_t)c->context->values->value_bytes);
    if (st == ST_OK && !reads)
        st = send_body(c, op);
    return st == ST_OK ? ST_OK : err_set(err, ST_IO_ERROR, "a request: %s", status_text(st));
}

static enum status conn_recv(void *state, struct bytes in, uint64_t now_ms, struct err *err)
{
    struct conn *c = state;
    size_t used = 0;
    enum status st = h1_recv(c->h1, in, now_ms, &used, err);
    if (st == ST_OK && used < in.len)
        return err_set(err, ST_INVALID_ARGUMENT, "the server sent more than it was asked for");
    return st;
}

static enum status conn_output(void *state, struct bytes *ret, struct err *err)
{
    struct conn *c = state;
    *ret = h1_output(c->h1);
    if (ret->len == 0 && h1_finished(c->h1))
        return err_set(err, ST_CLOSED, "the server has ended the connection");
    return ST_OK;
}

static void conn_output_done(void *state, size_t n)
{
    h1_output_done(((struct conn *)state)->h1, n);
}

const struct load_protocol load_http_protocol = {
    .name = "http",
    .conn_bytes = sizeof(struct conn),
    .slot_bytes = 1,
    .in_flight_max = 1,
    .kinds = 1u << LOAD_GET | 1u << LOAD_PUT | 1u << LOAD_INSERT | 1u << LOAD_RMW | 1u << LOAD_SCAN,
    .open = conn_open,
    .close = conn_close,
    .send = conn_send,
    .recv = conn_recv,
    .output = conn_output,
    .output_done = conn_output_done};
