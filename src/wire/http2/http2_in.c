/* http2_in.c - what nghttp2 tells about received frames: limits are counted, streams told.
 *
 * A callback that returns NGHTTP2_ERR_CALLBACK_FAILURE stops nghttp2 for good; h2_recv then finds
 * the reason in the connection.
 */
#include "wire/http2/http2_internal.h"

#include "base/assert.h"

enum { STATUS_TOO_LARGE_HEADERS = 431 };

static int no_memory(struct h2_conn *c)
{
    return h2__fail(c, ST_NO_MEMORY, H2_INTERNAL_ERROR, "no memory for a stream");
}

/* Frames that may come at any rate as long as they carry something are not counted here. */
static int count_frame(struct h2_conn *c, const nghttp2_frame_hd *hd)
{
    const bool ack = hd->flags & NGHTTP2_FLAG_ACK;
    switch (hd->type) {
    case NGHTTP2_HEADERS:
        return 0;
    case NGHTTP2_DATA:
        if (hd->length || (hd->flags & NGHTTP2_FLAG_END_STREAM))
            return 0;
        return h2__count(c, &c->empty_frames, c->o.empty_frames, H2_BREACH_EMPTY_FRAMES);
    case NGHTTP2_SETTINGS:
        return ack ? 0 : h2__count(c, &c->settings, c->o.settings, H2_BREACH_SETTINGS);
    case NGHTTP2_PING:
        return ack ? 0 : h2__count(c, &c->pings, c->o.pings, H2_BREACH_PINGS);
    case NGHTTP2_RST_STREAM:
        return h2__count(c, &c->resets, c->o.resets, H2_BREACH_RESETS);
    case NGHTTP2_WINDOW_UPDATE:
        return h2__count(c, &c->window_updates, c->o.window_updates, H2_BREACH_WINDOW_UPDATES);
    case NGHTTP2_CONTINUATION:
        return ++c->block_continuations > c->o.continuation_frames
                   ? h2__breach(c, H2_BREACH_CONTINUATIONS, H2_ENHANCE_YOUR_CALM)
                   : 0;
    default: /* PRIORITY, PRIORITY_UPDATE, GOAWAY, PUSH_PROMISE, what we do not know */
        return h2__count(c, &c->empty_frames, c->o.empty_frames, H2_BREACH_EMPTY_FRAMES);
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *arg)
{
    struct h2_conn *c = arg;
    c->stats.frames_in++;
    if (hd->type == NGHTTP2_HEADERS) {
        c->block_continuations = c->block_fields = 0;
        c->block_bytes = 0;
        if ((uint32_t)hd->stream_id > c->repeats.last)
            c->repeats.last = (uint32_t)hd->stream_id;
    }
    if (nghttp2_session_get_outbound_queue_size(session) >
        (size_t)c->o.output_frames + c->o.max_streams)
        return h2__breach(c, H2_BREACH_OUTPUT_FRAMES, H2_ENHANCE_YOUR_CALM);
    return count_frame(c, hd);
}

static int refuse(struct h2_conn *c, int32_t id)
{
    if (nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, id, H2_REFUSED_STREAM) != 0)
        return no_memory(c);
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct h2_conn *c = arg;
    const int32_t id = frame->hd.stream_id;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        struct h2_stream *s = h2__stream_of(c, id);
        if (s)
            s->in_trailers = s->headers_done;
        if (s && s->in_trailers)
            h2__message_begin_trailers(s);
        return 0;
    }
    /* The peer takes what the last GOAWAY does not speak of for never done, also while that waits to be
     * sent. */
    if (c->held >= c->o.max_held_streams || (c->shutdown_final && id > c->last_served))
        return refuse(c, id);
    struct h2_stream *s = h2__stream_new(c, (uint32_t)id);
    if (!s)
        return no_memory(c);
    int rc = nghttp2_session_set_stream_user_data(session, id, s);
    ASSERT(rc == 0);
    c->recent = s;
    c->open++;
    c->stats.streams_opened++;
    if (c->repeats.applies)
        h2__repeat_apply(c, s);
    return 0;
}

/* Counted among the resets that the peer provokes. */
static int malformed(struct h2_conn *c, struct h2_stream *s)
{
    s->malformed = true;
    if (nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, (int32_t)s->id,
                                  H2_PROTOCOL_ERROR) != 0)
        return no_memory(c);
    return 0;
}

static struct h2_rule rule_of(const struct h2_conn *c, nghttp2_rcbuf *name, nghttp2_vec value)
{
    nghttp2_vec n = nghttp2_rcbuf_get_buf(name);
    return h2__rule_of(c->server, BYTES(n.base, n.len), BYTES(value.base, value.len));
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *arg)
{
    (void)session;
    struct h2_conn *c = arg;
    struct h2_stream *s = h2__stream_of(c, frame->hd.stream_id);
    const struct h2_known *known = h2__known(c, name, value, flags);
    nghttp2_vec text;
    uint64_t size;
    if (known) {
        text = (nghttp2_vec){(uint8_t *)(uintptr_t)known->h.value.data, known->h.value.len};
        size = known->size;
    } else {
        text = nghttp2_rcbuf_get_buf(value);
        size = nghttp2_rcbuf_get_buf(name).len + text.len + H2_HEADER_OVERHEAD;
    }
    c->block_bytes += size;
    if (c->block_bytes > (uint64_t)c->o.header_list_bytes * H2_HARD_FACTOR)
        return h2__breach(c, H2_BREACH_HEADER_BLOCK, H2_ENHANCE_YOUR_CALM);
    if (!s || s->malformed)
        return 0;
    const struct h2_rule rule = known ? known->rule : rule_of(c, name, text);
    const enum h2_verdict verdict = h2__rule_apply(s, &rule, BYTES(text.base, text.len));
    if (verdict == H2_MALFORMED) /* nghttp2 then passes over the rest of the block */
        return malformed(c, s) ? NGHTTP2_ERR_CALLBACK_FAILURE
                               : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    if (verdict == H2_PASSED_OVER || s->released || s->too_large)
        return 0;
    s->list_bytes += size;
    if (s->list_bytes > c->o.header_list_bytes ||
        s->headers.n + s->trailers.n >= c->o.header_count) {
        s->too_large = true;
        return 0;
    }
    enum status st = known ? h2__store_known(s, known) : h2__store_header(s, &rule, name, value);
    return st == ST_OK ? 0 : no_memory(c);
}

/* The sending side ends with this response; the owner never hears of the request. */
static int answer_too_large(struct h2_conn *c, struct h2_stream *s)
{
    nghttp2_nv status = {(uint8_t *)(uintptr_t) ":status", (uint8_t *)(uintptr_t) "431", 7, 3,
                         NGHTTP2_NV_FLAG_NONE};
    _Static_assert(STATUS_TOO_LARGE_HEADERS == 431, "the text above");
    s->responded = s->send_ended = true;
    if (nghttp2_submit_response(c->session, (int32_t)s->id, &status, 1, NULL) != 0)
        return no_memory(c);
    return 0;
}

static void tell_end(struct h2_conn *c, struct h2_stream *s)
{
    s->ended = true;
    if (s->announced && !s->released && c->events->end)
        c->events->end(c->arg, s);
}

static int first_headers(struct h2_conn *c, struct h2_stream *s, bool end)
{
    if (s->too_large && c->server) {
        s->ended = end;
        return answer_too_large(c, s);
    }
    if (s->too_large) {
        h2_reset(s, H2_ENHANCE_YOUR_CALM);
        return 0;
    }
    if (s->reset_by_us)
        return 0;
    if (!c->server && s->status < 200) {
        h2__forget_headers(s);
        return 0;
    }
    s->headers_done = true;
    if (c->server) {
        s->announced = true;
        c->held++;
    }
    if (!s->released)
        c->events->headers(c->arg, s, end);
    return 0;
}

static int on_headers(struct h2_conn *c, const nghttp2_frame *frame)
{
    struct h2_stream *s = h2__stream_of(c, frame->hd.stream_id);
    const bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (!s || s->malformed)
        return 0;
    if (c->repeats.learns.len && !s->in_trailers && !s->too_large)
        h2__repeat_learn(c, s);
    if (!h2__message_headers(s, end))
        return malformed(c, s);
    int rc = 0;
    if (!s->in_trailers)
        rc = first_headers(c, s, end);
    else if (s->too_large)
        h2_reset(s, H2_ENHANCE_YOUR_CALM);
    else if (s->announced && !s->released && c->events->trailers)
        c->events->trailers(c->arg, s);
    if (rc == 0 && end && s->headers_done && !s->reset_by_us)
        tell_end(c, s);
    return rc;
}

static int on_data_frame(struct h2_conn *c, const nghttp2_frame *frame)
{
    struct h2_stream *s = h2__stream_of(c, frame->hd.stream_id);
    const bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    /* Padding alone carries nothing. */
    if (!end && frame->hd.length && frame->hd.length == frame->data.padlen)
        return h2__count(c, &c->empty_frames, c->o.empty_frames, H2_BREACH_EMPTY_FRAMES);
    if (!end || !s || s->malformed)
        return 0;
    if (!h2__message_end(s))
        return malformed(c, s);
    if (!s->reset_by_us)
        tell_end(c, s);
    return 0;
}

static int on_ping(struct h2_conn *c, const nghttp2_frame *frame)
{
    uint64_t payload = 0;
    if (!(frame->hd.flags & NGHTTP2_FLAG_ACK))
        return 0;
    for (size_t i = 0; i < sizeof frame->ping.opaque_data; i++)
        payload = payload << 8 | frame->ping.opaque_data[i];
    if (payload == H2_PING_KEEPALIVE)
        c->keepalive_out = false;
    else if (payload == H2_PING_SHUTDOWN)
        h2__finish_shutdown(c);
    else if (c->events->pong)
        c->events->pong(c->arg, payload);
    return 0;
}

static int take_frame(struct h2_conn *c, const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        return on_headers(c, frame);
    case NGHTTP2_DATA:
        return on_data_frame(c, frame);
    case NGHTTP2_SETTINGS:
        if (!(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
            c->peer_settings = true;
            h2__replay_forget(c);
        }
        return 0;
    case NGHTTP2_PING:
        return on_ping(c, frame);
    case NGHTTP2_GOAWAY:
        c->goaway_received = true;
        if (c->events->goaway)
            c->events->goaway(c->arg, (uint32_t)frame->goaway.last_stream_id,
                              frame->goaway.error_code);
        return 0;
    default:
        return 0;
    }
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    struct h2_conn *c = arg;
    int rc = take_frame(c, frame);
    return c->status == ST_OK ? rc : NGHTTP2_ERR_CALLBACK_FAILURE; /* an event may have aborted */
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t len, void *arg)
{
    (void)flags;
    struct h2_conn *c = arg;
    struct h2_stream *s = h2__stream_of(c, id);
    if (len == 0)
        return 0;
    if (s && !s->malformed && !h2__message_data(s, len) && malformed(c, s) != 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (!s || s->malformed || !s->announced || s->released || s->reset_by_us) {
        if (nghttp2_session_consume(session, id, len) != 0)
            return no_memory(c);
        return 0;
    }
    s->unconsumed += len;
    c->unconsumed += len;
    c->events->data(c->arg, s, BYTES(data, len));
    return c->status == ST_OK ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    (void)session;
    struct h2_conn *c = arg;
    struct h2_stream *s = h2__stream_of(c, id);
    if (!s)
        return 0;
    c->open--;
    c->stats.streams_reset += code != H2_NO_ERROR;
    if (c->open == 0)
        c->idle_since_ms = c->now_ms;
    h2__stream_closed(s, s->reset_by_us && s->code ? s->code : code);
    return 0;
}

static int on_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
    (void)session;
    (void)frame;
    struct h2_conn *c = arg;
    /* Kept in case that nghttp2 ends the connection for it (on_sent in http2_out.c). */
    c->last_invalid = error;
    return 0;
}

static int on_extension_bytes(nghttp2_session *session, const nghttp2_frame_hd *hd,
                              const uint8_t *data, size_t len, void *arg)
{
    (void)session;
    (void)hd;
    (void)data;
    (void)len;
    (void)arg;
    return 0;
}

static int on_extension(nghttp2_session *session, void **payload, const nghttp2_frame_hd *hd,
                        void *arg)
{
    (void)session;
    (void)payload;
    (void)hd;
    (void)arg;
    return NGHTTP2_ERR_CANCEL; /* thrown away (RFC 9113, 5.5) */
}

void h2__callbacks_in(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_extension_chunk_recv_callback(cb, on_extension_bytes);
    nghttp2_session_callbacks_set_unpack_extension_callback(cb, on_extension);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid);
}
