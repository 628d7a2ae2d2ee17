/* http2_send.c - what owners say on streams: requests, responses, bodies, trailers, resets. */
#include "wire/http2/http2_internal.h"

#include "base/assert.h"

static bool gone(const struct h2_stream *s)
{
    return s->closed || s->reset_by_us || s->conn->freed || s->conn->status != ST_OK;
}

/* Room for the pseudo-header and `n` others; the caller's, or from the heap. */
static nghttp2_nv *nv_room(struct h2_conn *c, size_t n, nghttp2_nv on_stack[H2_SUBMIT_HEADERS])
{
    return n < H2_SUBMIT_HEADERS ? on_stack : h2__alloc(c, (n + 1) * sizeof(nghttp2_nv));
}

enum { IN_NAME = 1, IN_VALUE = 2 };
/* RFC 9113, 8.2.1: names of lower-case token characters; no control in values. */
static const uint8_t allowed[256] = {
    ['\t'] = IN_VALUE,
    [' '] = IN_VALUE,
    ['!'] = IN_NAME | IN_VALUE,
    ['"'] = IN_VALUE,
    ['#' ... '\''] = IN_NAME | IN_VALUE,
    ['(' ... ')'] = IN_VALUE,
    ['*' ... '+'] = IN_NAME | IN_VALUE,
    [','] = IN_VALUE,
    ['-' ... '.'] = IN_NAME | IN_VALUE,
    ['/'] = IN_VALUE,
    ['0' ... '9'] = IN_NAME | IN_VALUE,
    [':' ... ']'] = IN_VALUE,
    ['^' ... 'z'] = IN_NAME | IN_VALUE,
    ['{'] = IN_VALUE,
    ['|'] = IN_NAME | IN_VALUE,
    ['}'] = IN_VALUE,
    ['~'] = IN_NAME | IN_VALUE,
    [0x80 ... 0xff] = IN_VALUE,
};

static bool all_in(const uint8_t *p, size_t n, uint8_t kind)
{
    uint8_t bits = kind;
    for (size_t i = 0; i < n; i++)
        bits &= allowed[p[i]];
    return bits != 0;
}

static bool is_space(uint8_t b)
{
    return b == ' ' || b == '\t';
}

static bool sendable(const struct wire_header *h)
{
    struct bytes name = h->name, value = h->value;
    if (h->fixed)
        return true;
    if (name.len && name.data[0] == ':')
        name = BYTES(name.data + 1, name.len - 1);
    if (name.len == 0 || !all_in(name.data, name.len, IN_NAME))
        return false;
    return value.len == 0 || (!is_space(value.data[0]) && !is_space(value.data[value.len - 1]) &&
                              all_in(value.data, value.len, IN_VALUE));
}

static nghttp2_nv nv_of(const struct wire_header *h)
{
    uint8_t flags = h->secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
    if (h->fixed)
        flags |= NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    return (nghttp2_nv){(uint8_t *)(uintptr_t)h->name.data, (uint8_t *)(uintptr_t)h->value.data,
                        h->name.len, h->value.len, flags};
}

static bool all_sendable(const struct wire_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!sendable(&headers[i]))
            return false;
    return true;
}

enum status h2_respond(struct h2_stream *s, unsigned status, const struct wire_header *headers,
                       size_t n, bool end)
{
    struct h2_conn *c = s->conn;
    nghttp2_nv on_stack[H2_SUBMIT_HEADERS], *nv;
    if (gone(s))
        return ST_CLOSED;
    if (!c->server || s->responded || status < 200 || status > 599 || !all_sendable(headers, n))
        return ST_INVALID_ARGUMENT;
    uint8_t text[3] = {(uint8_t)('0' + status / 100), (uint8_t)('0' + status / 10 % 10),
                       (uint8_t)('0' + status % 10)};
    nv = nv_room(c, n, on_stack);
    if (!nv)
        return ST_NO_MEMORY;
    nv[0] =
        (nghttp2_nv){(uint8_t *)(uintptr_t) ":status", text, 7, 3, NGHTTP2_NV_FLAG_NO_COPY_NAME};
    for (size_t i = 0; i < n; i++)
        nv[i + 1] = nv_of(&headers[i]);
    const bool one = status == 200 && n == 1 && headers[0].fixed && !end && !s->continued;
    s->out_head = one ? nv[1] : (nghttp2_nv){0}; /* not what failed to be submitted before */
    s->head_replays = h2__replay_head(c, s);
    nghttp2_data_provider body = {{.ptr = s}, h2__on_read};
    int rc = nghttp2_submit_response(c->session, (int32_t)s->id, nv, s->head_replays ? 0 : n + 1,
                                     end ? NULL : &body);
    if (nv != on_stack)
        h2__free(c, nv);
    if (rc != 0)
        return h2__status_of(rc);
    s->responded = true;
    s->send_ended = end;
    return ST_OK;
}

enum status h2_continue(struct h2_stream *s)
{
    nghttp2_nv nv = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "100", 7, 3,
                     NGHTTP2_NV_FLAG_NONE};
    if (gone(s))
        return ST_CLOSED;
    if (!s->conn->server || s->responded)
        return ST_INVALID_ARGUMENT;
    s->continued = true;
    return h2__status_of(nghttp2_submit_headers(s->conn->session, NGHTTP2_FLAG_NONE, (int32_t)s->id,
                                                NULL, &nv, 1, NULL));
}

/* Whether a new stream may be opened now. */
static enum status may_open(const struct h2_conn *c)
{
    if (c->freed || c->status != ST_OK || c->shutdown_started || c->goaway_received ||
        !nghttp2_session_check_request_allowed(c->session))
        return ST_CLOSED;
    uint32_t most =
        nghttp2_session_get_remote_settings(c->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    if (most > c->o.max_streams)
        most = c->o.max_streams;
    return c->open >= most || c->held >= c->o.max_held_streams ? ST_OVERLOADED : ST_OK;
}

enum status h2_request(struct h2_conn *c, const struct wire_header *headers, size_t n, bool end,
                       void *user, struct h2_stream **ret)
{
    nghttp2_nv on_stack[H2_SUBMIT_HEADERS], *nv;
    enum status st = may_open(c);
    if (st != ST_OK)
        return st;
    if (c->server || n == 0 || !all_sendable(headers, n))
        return ST_INVALID_ARGUMENT;
    struct h2_stream *s = h2__stream_new(c, 0);
    if (!s)
        return ST_NO_MEMORY;
    nv = nv_room(c, n, on_stack);
    if (!nv) {
        h2__stream_free(s);
        return ST_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++)
        nv[i] = nv_of(&headers[i]);
    nghttp2_data_provider body = {{.ptr = s}, h2__on_read};
    int32_t id = nghttp2_submit_request(c->session, NULL, nv, n, end ? NULL : &body, s);
    if (nv != on_stack)
        h2__free(c, nv);
    if (id < 0) {
        h2__stream_free(s);
        return id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? ST_CLOSED : h2__status_of(id);
    }
    h2__message_asks(s, headers, n);
    s->id = (uint32_t)id;
    s->user = user;
    s->announced = s->responded = true;
    s->send_ended = end;
    c->held++;
    c->open++;
    c->stats.streams_opened++;
    *ret = s;
    return ST_OK;
}

/* nghttp2 was told that there was nothing to send. */
static enum status wake(struct h2_stream *s)
{
    if (!s->deferred)
        return ST_OK;
    int rc = nghttp2_session_resume_data(s->conn->session, (int32_t)s->id);
    if (rc == NGHTTP2_ERR_NOMEM)
        return ST_NO_MEMORY;
    s->deferred = false;
    return ST_OK;
}

static enum status may_write(struct h2_stream *s)
{
    if (gone(s) || s->send_ended)
        return ST_CLOSED;
    if (!s->responded)
        return ST_INVALID_ARGUMENT;
    if (s->queued >= s->conn->o.send_queue_bytes) {
        s->wants_writable = true;
        return ST_OVERLOADED;
    }
    return ST_OK;
}

enum status h2_write_parts(struct h2_stream *s, const struct h2_part *parts, size_t n, bool end)
{
    size_t total = 0;
    for (size_t i = 0; i < n; i++)
        total += parts[i].bytes.len;
    enum status st = may_write(s);
    /* An empty end takes no room. */
    if (st == ST_OVERLOADED && total == 0 && end)
        st = ST_OK;
    if (st == ST_OK && (total || end))
        st = wake(s);
    if (st == ST_OK)
        st = h2__queue_parts(s, parts, n);
    if (st == ST_OK)
        s->send_ended = end;
    return st;
}

enum status h2_write(struct h2_stream *s, struct bytes data, bool end)
{
    return h2_write_parts(s, &(struct h2_part){.bytes = data}, 1, end);
}

static struct bytes keep(struct h2_stream *s, struct bytes b)
{
    uint8_t *p = h2__stream_alloc(s, b.len, 1);
    if (p && b.len)
        memcpy(p, b.data, b.len);
    return (struct bytes){p, b.len};
}

enum status h2_trailers(struct h2_stream *s, const struct wire_header *headers, size_t n)
{
    if (gone(s) || s->send_ended)
        return ST_CLOSED;
    if (!s->responded || n == 0 || !all_sendable(headers, n))
        return ST_INVALID_ARGUMENT;
    nghttp2_nv *nv = n <= H2_INLINE_TRAILERS
                         ? s->inline_trailers
                         : h2__stream_alloc(s, n * sizeof *nv, _Alignof(nghttp2_nv));
    if (!nv)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        struct wire_header h = headers[i];
        if (!h.fixed) {
            h.name = keep(s, h.name);
            h.value = keep(s, h.value);
        }
        if (!h.name.data || !h.value.data)
            return ST_NO_MEMORY;
        nv[i] = nv_of(&h);
        /* The stream keeps them until nghttp2 has done with it. */
        nv[i].flags |= NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    }
    enum status st = wake(s);
    if (st != ST_OK)
        return st;
    s->out_trailers = nv;
    s->out_trailers_n = n;
    s->fixed_trailer = n == 1 && headers[0].fixed;
    s->send_ended = true;
    return ST_OK;
}

bool h2_writable(const struct h2_stream *s)
{
    return !gone(s) && s->responded && !s->send_ended && s->queued < s->conn->o.send_queue_bytes;
}

void h2_consume(struct h2_stream *s, size_t n)
{
    struct h2_conn *c = s->conn;
    ASSERT(n <= s->unconsumed || s->closed);
    if (n > s->unconsumed)
        n = (size_t)s->unconsumed; /* closing gave the rest back already */
    s->unconsumed -= n;
    c->unconsumed -= n;
    if (n == 0 || c->freed || c->status != ST_OK)
        return;
    int rc = s->closed ? nghttp2_session_consume_connection(c->session, n)
                       : nghttp2_session_consume(c->session, (int32_t)s->id, n);
    if (rc != 0)
        (void)h2__fail(c, ST_NO_MEMORY, H2_INTERNAL_ERROR, "no memory for a WINDOW_UPDATE");
}

void h2_reset(struct h2_stream *s, uint32_t code)
{
    struct h2_conn *c = s->conn;
    if (gone(s))
        return;
    s->reset_by_us = true;
    s->code = code;
    s->wants_writable = false;
    list_remove(&s->ready);
    h2__queue_clear(s);
    if (nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, (int32_t)s->id, code) != 0)
        (void)h2__fail(c, ST_NO_MEMORY, H2_INTERNAL_ERROR, "no memory for RST_STREAM");
}
