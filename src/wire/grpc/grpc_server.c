/* grpc_server.c - accepting a call and ending it. */
#include "wire/grpc/grpc_internal.h"

enum { MESSAGE_MAX = 2048 /* of grpc-message before encoding; peers limit their header lists */ };

#define CONTENT_TYPE WIRE_FIXED("content-type", "application/grpc")

bool grpc_is_request(const struct h2_stream *s)
{
    return grpc__is_grpc_content(s);
}

/* The peer does not speak gRPC, or not well enough to read a gRPC status. */
static enum status refuse_http(struct grpc_call *call, unsigned http_status, struct err *err,
                               const char *text)
{
    enum status st = h2_respond(call->stream, http_status, NULL, 0, true);
    call->finished = true;
    /* A stream that is gone already needs no refusal. */
    if (st != ST_OK && st != ST_CLOSED)
        h2_reset(call->stream, H2_INTERNAL_ERROR);
    return err_set(err, ST_INVALID_ARGUMENT, "%s", text);
}

static enum status refuse(struct grpc_call *call, const struct err *err)
{
    enum status st = grpc_finish_status(call, err->status, err);
    if (st != ST_OK && st != ST_CLOSED)
        h2_reset(call->stream, H2_INTERNAL_ERROR);
    return err->status;
}

static bool split_path(struct grpc_call *call)
{
    struct bytes p = call->path;
    size_t slash = p.len;
    while (slash > 0 && p.data[slash - 1] != '/')
        slash--;
    if (p.len < 4 || p.data[0] != '/' || slash < 3 || slash == p.len)
        return false;
    call->service = BYTES(p.data + 1, slash - 2);
    call->method = BYTES(p.data + slash, p.len - slash);
    return true;
}

/* Whether a grpc-accept-encoding has gzip in it. */
static bool takes_gzip(struct bytes v)
{
    while (v.len) {
        const uint8_t *comma = memchr(v.data, ',', v.len);
        size_t n = comma ? (size_t)(comma - v.data) : v.len, from = 0, to = n;
        while (from < to && v.data[from] == ' ')
            from++;
        while (to > from && v.data[to - 1] == ' ')
            to--;
        if (bytes_eq(BYTES(v.data + from, to - from), BYTES_LIT("gzip")))
            return true;
        n += comma ? 1 : 0;
        v = BYTES(v.data + n, v.len - n);
    }
    return false;
}

/* Of the request's headers those that say how to talk; of each name the first counts. */
struct accepted {
    struct bytes timeout, encoding, accept_encoding; /* no data: was not there */
};

static void first(struct bytes *to, const struct wire_header *h, struct bytes name)
{
    if (!to->data && bytes_eq(h->name, name))
        *to = h->value;
}

static void look_at_headers(const struct h2_stream *s, struct accepted *ret)
{
    size_t n;
    const struct wire_header *v = h2_headers(s, &n);
    *ret = (struct accepted){0};
    for (size_t i = 0; i < n; i++) {
        if (v[i].name.len < 12 || v[i].name.data[0] != 'g')
            continue;
        first(&ret->timeout, &v[i], BYTES_LIT("grpc-timeout"));
        first(&ret->encoding, &v[i], BYTES_LIT("grpc-encoding"));
        first(&ret->accept_encoding, &v[i], BYTES_LIT("grpc-accept-encoding"));
    }
}

enum status grpc_accept(struct grpc_call *call, struct h2_stream *s,
                        const struct grpc_limits *limits, struct err *err)
{
    struct err own;
    struct accepted a;
    if (!err)
        err = &own;
    grpc__call_init(call, s, limits, false);
    call->path = h2_path(s);
    call->authority = h2_authority(s);
    if (!bytes_eq(h2_method(s), BYTES_LIT("POST")))
        return refuse_http(call, 405, err, "gRPC: the method is not POST");
    if (!grpc__is_grpc_content(s))
        return refuse_http(call, 415, err, "gRPC: the content-type is not application/grpc");
    if (!split_path(call)) {
        err_set(err, ST_UNIMPLEMENTED, "the path is not /package.Service/Method");
        return refuse(call, err);
    }
    look_at_headers(s, &a);
    if (a.timeout.data && !grpc_timeout_parse(a.timeout, &call->timeout_ns)) {
        err_set(err, ST_INVALID_ARGUMENT, "grpc-timeout is malformed");
        return refuse(call, err);
    }
    if (a.timeout.data && call->timeout_ns == 0) /* no time at all, where 0 stands for all of it */
        call->timeout_ns = 1;
    if (a.encoding.data && grpc__take_encoding(call, a.encoding, err) != ST_OK)
        return refuse(call, err);
    call->peer_takes_gzip = a.accept_encoding.data && takes_gzip(a.accept_encoding);
    return ST_OK;
}

void grpc_use_gzip(struct grpc_call *call)
{
    if (call->peer_takes_gzip && !call->headers_sent)
        call->send_gzip = true;
}

enum status grpc_send_headers(struct grpc_call *call, const struct wire_header *metadata, size_t n)
{
    if (call->client || call->headers_sent)
        return ST_INVALID_ARGUMENT;
    if (call->finished)
        return ST_CLOSED;
    if (n == 0 && !call->send_gzip) { /* the common case */
        struct wire_header type = CONTENT_TYPE;
        enum status plain = h2_respond(call->stream, 200, &type, 1, false);
        call->headers_sent = plain == ST_OK;
        return plain;
    }
    struct grpc_fields f;
    f.n = 0;
    buf_init(&f.text, 0);
    f.v[f.n] = CONTENT_TYPE;
    f.offset[f.n++] = 0;
    if (call->send_gzip)
        grpc__fields_add(&f, BYTES_LIT("grpc-encoding"), BYTES_LIT("gzip"));
    enum status st = grpc__fields_metadata(&f, metadata, n);
    if (st == ST_OK) {
        grpc__fields_end(&f);
        st = h2_respond(call->stream, 200, f.v, f.n, false);
    }
    buf_deinit(&f.text);
    call->headers_sent = st == ST_OK;
    return st;
}

static enum status end_with(struct grpc_call *call, const struct wire_header *v, size_t n)
{
    return call->headers_sent ? h2_trailers(call->stream, v, n)
                              : h2_respond(call->stream, 200, v, n, true);
}

static enum status put_finish(struct grpc_fields *f, const struct grpc_finish *from)
{
    enum status st = ST_OK;
    struct bytes message = from->message;
    if (message.len > MESSAGE_MAX)
        message.len = MESSAGE_MAX;
    if (message.len)
        st = grpc__fields_encoded(f, BYTES_LIT("grpc-message"), message, grpc_percent_encode);
    if (st == ST_OK && from->details.len)
        st = grpc__fields_encoded(f, BYTES_LIT("grpc-status-details-bin"), from->details,
                                  grpc_base64_encode);
    if (st == ST_OK && from->code == GRPC_UNIMPLEMENTED) /* perhaps of an encoding */
        grpc__fields_add(f, BYTES_LIT("grpc-accept-encoding"), BYTES_LIT("identity,gzip"));
    return st == ST_OK ? grpc__fields_metadata(f, from->metadata, from->metadata_count) : st;
}

static struct wire_header status_of(enum grpc_code code)
{
    static const char digits[] = "0123456789";
    static const char teens[] = "10111213141516";
    struct wire_header h = WIRE_FIXED("grpc-status", "");
    unsigned n = (unsigned)code;
    h.value = n < 10 ? BYTES(digits + n, 1) : BYTES(teens + 2 * (n - 10), 2);
    return h;
}

enum status grpc_finish(struct grpc_call *call, const struct grpc_finish *from)
{
    if (call->client || (unsigned)from->code > GRPC_UNAUTHENTICATED)
        return ST_INVALID_ARGUMENT;
    if (call->finished)
        return ST_CLOSED;
    struct wire_header status = status_of(from->code);
    enum status st;
    if (call->headers_sent && !from->message.len && !from->details.len && !from->metadata_count) {
        st = end_with(call, &status, 1);
    } else {
        struct grpc_fields f;
        f.n = 0;
        buf_init(&f.text, 0);
        if (!call->headers_sent) {
            f.v[f.n] = CONTENT_TYPE;
            f.offset[f.n++] = 0;
        }
        grpc__fields_add(&f, status.name, status.value);
        st = put_finish(&f, from);
        if (st == ST_OK) {
            grpc__fields_end(&f);
            st = end_with(call, f.v, f.n);
        }
        buf_deinit(&f.text);
    }
    if (st == ST_OK || st == ST_CLOSED)
        call->finished = call->send_ended = true;
    return st;
}

enum status grpc_finish_status(struct grpc_call *call, enum status st, const struct err *err)
{
    struct grpc_finish f = {.code = (enum grpc_code)status_grpc(st)};
    if (st != ST_OK)
        f.message = BYTES_STR(err && err->detail[0] ? err->detail : status_text(st));
    return grpc_finish(call, &f);
}
