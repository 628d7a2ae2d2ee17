/* http2_out.c - what is queued to send, and how it becomes frames.
 *
 * Body bytes are copied once, from the queue (or a blob) into the output: nghttp2 is told NO_COPY
 * and calls on_send_data with the frame's head.
 */
#include "wire/http2/http2_internal.h"

#include "base/assert.h"

static enum status output_room(struct h2_conn *c, size_t n)
{
    if (!c->out)
        h2__out_take(c);
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

ssize_t h2__on_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length,
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
        s->replays = s->out_trailers && h2__replay_fits(c, s);
        if (s->out_trailers && !s->replays) {
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
    const size_t trailer = s->replays ? H2_FRAME_HEAD + c->replay.trailer.len : 0;
    if (output_room(c, H2_FRAME_HEAD + length + trailer) != ST_OK) {
        c->mute = true;
        (void)h2__fail(c, ST_NO_MEMORY, H2_INTERNAL_ERROR, "no memory for output");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (length || !trailer) {
        uint8_t *to = c->out + c->out_len;
        memcpy(to, head, H2_FRAME_HEAD);
        if (trailer)
            to[H2_FRAME_FLAGS] &= (uint8_t)~NGHTTP2_FLAG_END_STREAM;
        h2__queue_take(s, to + H2_FRAME_HEAD, length);
        c->out_len += H2_FRAME_HEAD + length;
    }
    if (trailer) {
        h2__replay_put(c, s->id, c->out + c->out_len);
        c->out_len += trailer;
        wire_bucket_give(&c->pings, c->o.pings, 1); /* as on_sent does for a frame */
    }
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

static void message_sent(struct h2_conn *c, const nghttp2_frame *frame)
{
    const bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    const bool headers = c->server && frame->hd.type == NGHTTP2_HEADERS;
    if (!end && !headers)
        return;
    struct h2_stream *s = h2__stream_of(c, frame->hd.stream_id);
    if (headers)
        h2__replay_sent(c, s, end);
    if (end)
        stop_request(c, s);
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
    (void)session;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        wire_bucket_give(&c->window_updates, c->o.window_updates, 2);
        /* fall through */
    case NGHTTP2_HEADERS:
        wire_bucket_give(&c->pings, c->o.pings, 1);
        message_sent(c, frame);
        break;
    case NGHTTP2_RST_STREAM:
        reset_sent(c, h2__stream_of(c, frame->hd.stream_id), frame->rst_stream.error_code);
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
        if (n < 0 || output_room(c, (size_t)n + h2__replay_room(c)) != ST_OK) {
            enum status st = n < 0 ? h2__status_of((int)n) : ST_NO_MEMORY;
            c->mute = true;
            (void)h2__fail(c, st, H2_INTERNAL_ERROR, "cannot make frames: %s",
                           n < 0 ? nghttp2_strerror((int)n) : status_text(st));
            return c->status;
        }
        uint8_t *frame = c->out + c->out_len;
        memcpy(frame, data, (size_t)n);
        c->out_len += (size_t)n;
        if (c->server && frame[H2_FRAME_TYPE] == NGHTTP2_HEADERS)
            c->out_len += h2__replay_made(c, frame, (size_t)n);
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
    *ret = c->out ? BYTES(c->out + c->out_off, c->out_len - c->out_off) : BYTES_EMPTY;
    if (ret->len)
        c->last_traffic_ms = c->pool->used_ms = c->now_ms;
    return ST_OK;
}

void h2_output_done(struct h2_conn *c, size_t n)
{
    ASSERT(n <= c->out_len - c->out_off);
    c->out_off += n;
    if (c->out_off == c->out_len)
        h2__out_give(c);
}

bool h2_has_output(const struct h2_conn *c)
{
    return c->out_len > c->out_off || (!c->mute && nghttp2_session_want_write(c->session));
}
