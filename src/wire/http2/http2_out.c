/* http2_out.c - what is queued to send, and how it becomes frames.
 *
 * Body bytes are copied once, from the queue (or a blob) into the output: nghttp2 is told NO_COPY
 * and calls on_send_data with the frame's head.
 */
#include "wire/http2/http2_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

static struct h2_piece *piece_new(struct h2_conn *c, size_t room)
{
    struct h2_piece *p = h2__alloc(c, sizeof *p + room);
    if (p)
        *p = (struct h2_piece){
            .data = (uint8_t *)(p + 1), .start = (uint8_t *)(p + 1), .room = room};
    return p;
}

static void piece_free(struct h2_stream *s, struct h2_piece *p)
{
    if (p->blob)
        blob_unref(p->blob);
    if (p != &s->inline_piece)
        h2__free(s->conn, p);
}

static void queue_push(struct h2_stream *s, struct h2_piece *p)
{
    if (s->tail)
        s->tail->next = p;
    else
        s->head = p;
    s->tail = p;
}

void h2__queue_clear(struct h2_stream *s)
{
    while (s->head) {
        struct h2_piece *p = s->head;
        s->head = p->next;
        piece_free(s, p);
    }
    s->tail = NULL;
    s->conn->queued -= s->queued;
    s->queued = 0;
}

static void queue_add(struct h2_stream *s, size_t n)
{
    s->queued += n;
    s->conn->queued += n;
}

/* A piece with room for at least one byte at its end; NULL: no memory. */
static struct h2_piece *tail_with_room(struct h2_stream *s, size_t wanted)
{
    struct h2_piece *p = s->tail;
    if (p && p->room && p->data + p->len < p->start + p->room)
        return p;
    if (!s->head) {
        p = &s->inline_piece;
        *p = (struct h2_piece){
            .data = s->inline_body, .start = s->inline_body, .room = H2_INLINE_BODY};
    } else {
        p = piece_new(s->conn, wanted > H2_PIECE_BYTES ? wanted : H2_PIECE_BYTES);
    }
    if (p)
        queue_push(s, p);
    return p;
}

static size_t room_left(const struct h2_piece *p)
{
    return (size_t)(p->start + p->room - (p->data + p->len));
}

static enum status queue_copy(struct h2_stream *s, struct bytes data)
{
    /* What does not fit beside the tail goes to one new piece, made first: all or nothing. */
    struct h2_piece *p = data.len ? tail_with_room(s, data.len) : NULL;
    if (data.len == 0)
        return ST_OK;
    if (!p)
        return ST_NO_MEMORY;
    size_t n = room_left(p) < data.len ? room_left(p) : data.len;
    struct h2_piece *more = NULL;
    if (n < data.len) {
        size_t rest = data.len - n;
        more = piece_new(s->conn, rest > H2_PIECE_BYTES ? rest : H2_PIECE_BYTES);
        if (!more)
            return ST_NO_MEMORY;
        memcpy(more->data, data.data + n, rest);
        more->len = rest;
        queue_push(s, more);
    }
    memcpy(p->data + p->len, data.data, n);
    p->len += n;
    queue_add(s, data.len);
    return ST_OK;
}

static enum status queue_blob(struct h2_stream *s, struct blob *blob, size_t offset, size_t len)
{
    struct h2_piece *p = piece_new(s->conn, 0);
    if (!p)
        return ST_NO_MEMORY;
    p->blob = blob_ref(blob);
    p->data = blob->data + offset;
    p->len = len;
    queue_push(s, p);
    queue_add(s, len);
    return ST_OK;
}

/* Moves the first n queued bytes to `to`. */
static void queue_take(struct h2_stream *s, uint8_t *to, size_t n)
{
    ASSERT(n <= s->queued);
    s->queued -= n;
    s->conn->queued -= n;
    while (n) {
        struct h2_piece *p = s->head;
        size_t part = p->len < n ? p->len : n;
        memcpy(to, p->data, part);
        to += part;
        n -= part;
        p->data += part;
        p->len -= part;
        if (p->len)
            break;
        s->head = p->next;
        if (!s->head)
            s->tail = NULL;
        piece_free(s, p);
    }
}

static enum status output_room(struct h2_conn *c, size_t n)
{
    if (n <= c->out_cap - c->out_len)
        return ST_OK;
    if (c->out_off) {
        memmove(c->out, c->out + c->out_off, c->out_len - c->out_off);
        c->out_len -= c->out_off;
        c->out_off = 0;
        if (n <= c->out_cap - c->out_len)
            return ST_OK;
    }
    size_t cap = c->out_cap ? c->out_cap : 1024;
    while (cap - c->out_len < n)
        cap *= 2;
    uint8_t *out = h2__realloc(c, c->out, cap);
    if (!out)
        return ST_NO_MEMORY;
    c->out = out;
    c->out_cap = cap;
    return ST_OK;
}

static bool output_full(const struct h2_conn *c)
{
    return c->out_len - c->out_off >= c->o.output_bytes;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
                       uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)buf;
    struct h2_conn *c = arg;
    struct h2_stream *s = source->ptr;
    /* Here rather than in on_send_data: between the two calls an owner could reset the stream. */
    if (output_full(c))
        return NGHTTP2_ERR_PAUSE;
    if (s->queued == 0 && !s->send_ended) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t n = s->queued < length ? s->queued : length;
    if (n < s->queued && n < H2_TINY_DATA &&
        h2__count(c, &c->tiny_windows, c->o.tiny_windows, H2_BREACH_TINY_WINDOWS) != 0) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags = NGHTTP2_DATA_FLAG_NO_COPY;
    if (n == s->queued && s->send_ended) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->out_trailers) {
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            if (nghttp2_submit_trailer(session, id, s->out_trailers, s->out_trailers_n) != 0)
                return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* no memory: this stream ends */
        }
    }
    return (ssize_t)n;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t length, nghttp2_data_source *source, void *arg)
{
    (void)session;
    struct h2_conn *c = arg;
    struct h2_stream *s = source->ptr;
    ASSERT(frame->data.padlen == 0); /* nobody selects padding */
    if (output_room(c, H2_FRAME_HEAD + length) != ST_OK) {
        c->mute = true;
        (void)h2__fail(c, ST_NO_MEMORY, H2_INTERNAL_ERROR, "no memory for output");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    memcpy(c->out + c->out_len, head, H2_FRAME_HEAD);
    queue_take(s, c->out + c->out_len + H2_FRAME_HEAD, length);
    c->out_len += H2_FRAME_HEAD + length;
    if (s->wants_writable && s->queued <= c->o.send_queue_bytes / 2 && list_empty(&s->ready))
        list_push_back(&c->ready, &s->ready);
    return 0;
}

/* A released stream has sent its last: what the peer still has to say is not wanted. */
static void stop_request(struct h2_conn *c, struct h2_stream *s)
{
    if (!c->server || !s || s->ended || (s->announced && !s->released))
        return;
    if (nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, (int32_t)s->id, H2_NO_ERROR) != 0)
        (void)h2__fail(c, ST_NO_MEMORY, H2_INTERNAL_ERROR, "no memory for RST_STREAM");
    s->reset_by_us = true;
}

static void reset_sent(struct h2_conn *c, const struct h2_stream *s, uint32_t code)
{
    if (s && s->reset_by_us)
        return;
    if (code == H2_REFUSED_STREAM)
        (void)h2__count(c, &c->refused, c->o.refused, H2_BREACH_REFUSED);
    else
        (void)h2__count(c, &c->resets, c->o.resets, H2_BREACH_RESETS);
}

static void goaway_sent(struct h2_conn *c, uint32_t code)
{
    if (code == H2_NO_ERROR || c->status != ST_OK)
        return;
    /* nghttp2 ends the connection by itself only when the peer broke the protocol. */
    (void)h2__fail(c, ST_INVALID_ARGUMENT, code, "the peer broke HTTP/2: %s%s%s",
                   h2_code_name(code), c->last_invalid ? ": " : "",
                   c->last_invalid ? nghttp2_strerror(c->last_invalid) : "");
}

static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_conn *c = arg;
    struct h2_stream *s = frame->hd.stream_id
                              ? nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)
                              : NULL;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        wire_bucket_give(&c->window_updates, c->o.window_updates, 2);
        /* fall through */
    case NGHTTP2_HEADERS:
        wire_bucket_give(&c->pings, c->o.pings, 1);
        if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
            stop_request(c, s);
        break;
    case NGHTTP2_RST_STREAM:
        reset_sent(c, s, frame->rst_stream.error_code);
        break;
    case NGHTTP2_GOAWAY:
        goaway_sent(c, frame->goaway.error_code);
        break;
    default:
        break;
    }
    return 0; /* anything else would keep even GOAWAY from going out */
}

void h2__callbacks_out(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_send_data_callback(cb, on_send_data);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_sent);
}

static enum status fill(struct h2_conn *c)
{
    while (!output_full(c)) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(c->session, &data);
        if (n == 0)
            return ST_OK;
        if (n < 0 || output_room(c, (size_t)n) != ST_OK) {
            enum status st = n < 0 ? h2__status_of((int)n) : ST_NO_MEMORY;
            c->mute = true;
            (void)h2__fail(c, st, H2_INTERNAL_ERROR, "cannot make frames: %s",
                           n < 0 ? nghttp2_strerror((int)n) : status_text(st));
            return c->status;
        }
        memcpy(c->out + c->out_len, data, (size_t)n);
        c->out_len += (size_t)n;
    }
    return ST_OK;
}

/* True when someone was told. */
static bool tell_writable(struct h2_conn *c)
{
    bool any = false;
    while (!list_empty(&c->ready)) {
        struct h2_stream *s = container_of(c->ready.next, struct h2_stream, ready);
        list_remove(&s->ready);
        s->wants_writable = false;
        if (!s->closed && !s->released && c->events->writable) {
            any = true;
            c->events->writable(c->arg, s);
        }
    }
    return any;
}

enum status h2_output(struct h2_conn *c, struct bytes *ret)
{
    ASSERT(!c->calling && !c->freed);
    if (c->out_off == c->out_len)
        c->out_off = c->out_len = 0;
    if (!c->mute) {
        c->calling = true;
        size_t before = c->out_len;
        enum status st = fill(c);
        while (st == ST_OK && tell_writable(c) && !output_full(c))
            st = fill(c);
        c->calling = false;
        c->stats.bytes_out += c->out_len >= before ? c->out_len - before : c->out_len;
        if (st != ST_OK)
            return st;
    }
    *ret = BYTES(c->out + c->out_off, c->out_len - c->out_off);
    if (ret->len)
        c->last_traffic_ms = c->now_ms;
    return ST_OK;
}

void h2_output_done(struct h2_conn *c, size_t n)
{
    ASSERT(n <= c->out_len - c->out_off);
    c->out_off += n;
}

bool h2_has_output(const struct h2_conn *c)
{
    return c->out_len > c->out_off || (!c->mute && nghttp2_session_want_write(c->session));
}

static bool gone(const struct h2_stream *s)
{
    return s->closed || s->reset_by_us || s->conn->freed || s->conn->status != ST_OK;
}

/* Room for the pseudo-header and `n` others; the caller's, or from the heap. */
static nghttp2_nv *nv_room(struct h2_conn *c, size_t n, nghttp2_nv on_stack[H2_SUBMIT_HEADERS])
{
    return n < H2_SUBMIT_HEADERS ? on_stack : h2__alloc(c, (n + 1) * sizeof(nghttp2_nv));
}

/* HTTP/2 allows neither upper case in names nor controls that would end a line elsewhere. */
static bool sendable(const struct wire_header *h)
{
    for (size_t i = 0; i < h->name.len; i++)
        if (h->name.data[i] >= 'A' && h->name.data[i] <= 'Z')
            return false;
    return h->name.len && nghttp2_check_header_value_rfc9113(h->value.data, h->value.len) &&
           (nghttp2_check_header_name(h->name.data, h->name.len) || h->name.data[0] == ':');
}

static nghttp2_nv nv_of(const struct wire_header *h)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)h->name.data, (uint8_t *)(uintptr_t)h->value.data,
                        h->name.len, h->value.len,
                        h->secret ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE};
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
    nghttp2_data_provider body = {{.ptr = s}, on_read};
    int rc = nghttp2_submit_response(c->session, (int32_t)s->id, nv, n + 1, end ? NULL : &body);
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
    nghttp2_data_provider body = {{.ptr = s}, on_read};
    int32_t id = nghttp2_submit_request(c->session, NULL, nv, n, end ? NULL : &body, s);
    if (nv != on_stack)
        h2__free(c, nv);
    if (id < 0) {
        h2__stream_free(s);
        return id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? ST_CLOSED : h2__status_of(id);
    }
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

enum status h2_write(struct h2_stream *s, struct bytes data, bool end)
{
    enum status st = may_write(s);
    /* Without room an empty end may still be said. */
    if (st == ST_OVERLOADED && data.len == 0 && end)
        st = ST_OK;
    if (st == ST_OK && (data.len || end))
        st = wake(s);
    if (st == ST_OK)
        st = queue_copy(s, data);
    if (st == ST_OK)
        s->send_ended = end;
    return st;
}

enum status h2_write_blob(struct h2_stream *s, struct blob *blob, size_t offset, size_t len,
                          bool end)
{
    if (offset > blob->len || len > blob->len - offset)
        return ST_INVALID_ARGUMENT;
    if (len == 0)
        return h2_write(s, BYTES_EMPTY, end);
    enum status st = may_write(s);
    if (st == ST_OK)
        st = wake(s);
    if (st == ST_OK)
        st = queue_blob(s, blob, offset, len);
    if (st == ST_OK)
        s->send_ended = end;
    return st;
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
        struct wire_header h = {
            .name = keep(s, headers[i].name),
            .value = keep(s, headers[i].value),
            .secret = headers[i].secret,
        };
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
