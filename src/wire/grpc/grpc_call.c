/* grpc_call.c - what both sides of a call do: take messages, send messages, read metadata. */
#include "wire/grpc/grpc_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

enum { GZIP_MIN = 1024 };

void grpc__call_init(struct grpc_call *call, struct h2_stream *s, const struct grpc_limits *limits,
                     bool client)
{
    memset(call, 0, offsetof(struct grpc_call, failure)); /* its text is long, and seldom needed */
    err_init(&call->failure);
    call->stream = s;
    call->client = client;
    if (limits)
        call->limits = *limits;
    if (call->limits.message_max == 0)
        call->limits.message_max = GRPC_MESSAGE_MAX;
    if (call->limits.gzip_min == 0)
        call->limits.gzip_min = GZIP_MIN;
    grpc_decoder_init(&call->decoder, call->limits.message_max, call->limits.budget);
    grpc_decoder_lend(&call->decoder, call->own, sizeof call->own);
}

void grpc_deinit(struct grpc_call *call)
{
    if (!call)
        return;
    grpc_decoder_deinit(&call->decoder);
    h2_release(call->stream);
    memset(call, 0, offsetof(struct grpc_call, failure));
}

void grpc__fail(struct grpc_call *call, const struct err *err)
{
    if (call->failure.status == ST_OK)
        call->failure = *err;
}

bool grpc__is_grpc_content(const struct h2_stream *s)
{
    static const char type[] = "application/grpc";
    const size_t n = sizeof type - 1;
    struct bytes v;
    if (!h2_header(s, BYTES_LIT("content-type"), &v) || v.len < n ||
        !wire_eq_nocase(BYTES(v.data, n), BYTES(type, n)))
        return false;
    return v.len == n || v.data[n] == '+' || v.data[n] == ';';
}

enum status grpc__take_encoding(struct grpc_call *call, struct bytes v, struct err *err)
{
    if (bytes_eq(v, BYTES_LIT("identity")))
        return ST_OK;
    if (!bytes_eq(v, BYTES_LIT("gzip")))
        return err_set(err, ST_UNIMPLEMENTED, "grpc-encoding %.*s is not known",
                       (int)(v.len < 40 ? v.len : 40), (const char *)v.data);
    call->decoder.encoding = GRPC_GZIP;
    return ST_OK;
}

/* What has come and is not needed any more goes back to the peer's window. */
static void give(struct grpc_call *call, size_t n)
{
    if (n && !call->closed)
        h2_consume(call->stream, n);
}

void grpc_on_data(struct grpc_call *call, struct bytes data)
{
    struct err err;
    if (call->failure.status != ST_OK || call->not_grpc) { /* thrown away */
        give(call, data.len);
        return;
    }
    if (grpc_decoder_feed(&call->decoder, data, &err) != ST_OK)
        grpc__fail(call, &err);
    give(call, grpc_decoder_owed(&call->decoder));
}

void grpc_on_end(struct grpc_call *call)
{
    struct err err;
    call->peer_ended = true;
    if (grpc_decoder_between(&call->decoder) || call->failure.status != ST_OK)
        return;
    err_set(&err, ST_INTERNAL, "the stream ended in the middle of a message");
    grpc__fail(call, &err);
}

void grpc_on_closed(struct grpc_call *call, uint32_t code)
{
    struct err err;
    call->closed = true;
    call->closed_code = code;
    if (call->client)
        call->finished = true;
    if (call->peer_ended || code == H2_NO_ERROR)
        return;
    enum status st = grpc_status_of(grpc_code_of_h2(code));
    err_set(&err, call->client ? st : ST_CANCELLED, "the stream was reset: %s", h2_code_name(code));
    call->reset = call->failure.status == ST_OK;
    grpc__fail(call, &err);
}

enum grpc_next grpc_next(struct grpc_call *call, struct bytes *ret, struct err *err)
{
    struct err trouble;
    bool any;
    size_t owed = 0;
    if (grpc_decoder_next(&call->decoder, &any, ret, &owed, &trouble) != ST_OK) {
        grpc__fail(call, &trouble);
        any = false;
    } else {
        give(call, owed + grpc_decoder_owed(&call->decoder));
        if (any)
            return GRPC_MESSAGE;
    }
    if (call->failure.status != ST_OK) {
        err_set(err, call->failure.status, "%s", call->failure.detail);
        return GRPC_FAILED;
    }
    return call->peer_ended || call->closed ? GRPC_END : GRPC_WAIT;
}

bool grpc_has_message(const struct grpc_call *call)
{
    return !list_empty(&call->decoder.ready);
}

static enum status send_gzip(struct grpc_call *call, const struct h2_part *parts, size_t n,
                             bool last)
{
    uint8_t prefix[GRPC_PREFIX];
    struct buf out;
    buf_init(&out, UINT32_MAX);
    enum status st = grpc__gzip_parts(parts, n, &out);
    if (st == ST_OK) {
        grpc_prefix(prefix, true, (uint32_t)out.len);
        struct h2_part framed[2] = {{.bytes = BYTES(prefix, GRPC_PREFIX)},
                                    {.bytes = buf_bytes(&out)}};
        st = h2_write_parts(call->stream, framed, 2, last);
    }
    buf_deinit(&out);
    return st;
}

static enum status send_plain(struct grpc_call *call, const struct h2_part *parts, size_t n,
                              size_t total, bool last)
{
    uint8_t prefix[GRPC_PREFIX];
    struct h2_part framed[1 + GRPC_PARTS_MAX];
    grpc_prefix(prefix, false, (uint32_t)total);
    framed[0] = (struct h2_part){.bytes = BYTES(prefix, GRPC_PREFIX)};
    for (size_t i = 0; i < n; i++)
        framed[1 + i] = parts[i];
    return h2_write_parts(call->stream, framed, 1 + n, last);
}

enum status grpc_send_parts(struct grpc_call *call, const struct h2_part *parts, size_t n,
                            bool last)
{
    size_t total = 0;
    if (n > GRPC_PARTS_MAX || (last && !call->client))
        return ST_INVALID_ARGUMENT;
    for (size_t i = 0; i < n; i++)
        total += parts[i].bytes.len;
    if (total > UINT32_MAX)
        return ST_TOO_LARGE;
    if (call->finished || call->send_ended)
        return ST_CLOSED;
    enum status st = call->headers_sent ? ST_OK : grpc_send_headers(call, NULL, 0);
    if (st != ST_OK)
        return st;
    if (call->send_gzip && total >= call->limits.gzip_min)
        /* Not deflated for nothing when it would be refused. */
        st = h2_writable(call->stream) ? send_gzip(call, parts, n, last)
                                       : send_plain(call, parts, n, total, last);
    else
        st = send_plain(call, parts, n, total, last);
    if (st == ST_OK && last)
        call->send_ended = true;
    return st;
}

enum status grpc_send(struct grpc_call *call, struct bytes message, bool last)
{
    return grpc_send_parts(call, &(struct h2_part){.bytes = message}, 1, last);
}

bool grpc_writable(const struct grpc_call *call)
{
    return !call->finished && !call->send_ended &&
           (h2_writable(call->stream) || (!call->headers_sent && !call->closed));
}

void grpc_cancel(struct grpc_call *call)
{
    if (!call->closed)
        h2_reset(call->stream, H2_CANCEL);
}

static bool reserved(struct bytes name)
{
    return bytes_has_prefix(name, BYTES_LIT("grpc-")) ||
           bytes_eq(name, BYTES_LIT("content-type")) || bytes_eq(name, BYTES_LIT("te"));
}

static bool next_custom(const struct wire_header *v, size_t n, size_t *at, struct wire_header *ret)
{
    while (*at < n) {
        const struct wire_header *h = &v[(*at)++];
        if (!reserved(h->name)) {
            *ret = *h;
            return true;
        }
    }
    return false;
}

bool grpc_metadata_next(const struct grpc_call *call, size_t *at, struct wire_header *ret)
{
    size_t n;
    const struct wire_header *v = h2_headers(call->stream, &n);
    return next_custom(v, n, at, ret);
}

bool grpc_trailing_metadata_next(const struct grpc_call *call, size_t *at, struct wire_header *ret)
{
    size_t n;
    const struct wire_header *v = h2_trailer_fields(call->stream, &n);
    return next_custom(v, n, at, ret);
}

void grpc__fields_add(struct grpc_fields *f, struct bytes name, struct bytes value)
{
    ASSERT(f->n < GRPC_FIELDS_MAX);
    f->offset[f->n] = 0;
    f->v[f->n++] = WIRE_HEADER(name, value);
}

enum status grpc__fields_encoded(struct grpc_fields *f, struct bytes name, struct bytes value,
                                 enum status (*encode)(struct bytes, struct buf *))
{
    const size_t before = f->text.len;
    enum status st = encode(value, &f->text);
    if (st != ST_OK)
        return st;
    grpc__fields_add(f, name, (struct bytes){NULL, f->text.len - before});
    f->offset[f->n - 1] = before + 1;
    return ST_OK;
}

enum status grpc__fields_metadata(struct grpc_fields *f, const struct wire_header *metadata,
                                  size_t n)
{
    if (n > GRPC_METADATA_MAX)
        return ST_INVALID_ARGUMENT;
    for (size_t i = 0; i < n; i++) {
        struct bytes name = metadata[i].name;
        bool binary = name.len >= 4 && memcmp(name.data + name.len - 4, "-bin", 4) == 0;
        if (reserved(name) || (name.len && name.data[0] == ':'))
            return ST_INVALID_ARGUMENT;
        enum status st = ST_OK;
        if (binary)
            st = grpc__fields_encoded(f, name, metadata[i].value, grpc_base64_encode);
        else
            grpc__fields_add(f, name, metadata[i].value);
        if (st != ST_OK)
            return st;
        f->v[f->n - 1].secret = metadata[i].secret;
    }
    return ST_OK;
}

void grpc__fields_end(struct grpc_fields *f)
{
    struct bytes text = buf_bytes(&f->text);
    for (size_t i = 0; i < f->n; i++)
        if (f->offset[i])
            f->v[i].value.data = text.data + (f->offset[i] - 1);
}
