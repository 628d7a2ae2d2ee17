/* http2_limits.c - defaults, and how a connection is cut off. */
#include "wire/http2/http2_internal.h"

#include <stdio.h>

static void or32(uint32_t *field, uint32_t otherwise)
{
    if (*field == 0)
        *field = otherwise;
}

static void or_rate(struct wire_rate *field, uint32_t burst, uint32_t per_s)
{
    if (field->burst == 0 && field->per_s == 0)
        *field = (struct wire_rate){burst, per_s};
}

void h2__options(struct h2_options *o, const struct h2_options *from)
{
    const uint32_t window_max = INT32_MAX, window_first = 65535;
    *o = from ? *from : (struct h2_options){0};
    or32(&o->max_streams, 256);
    or32(&o->max_held_streams, o->max_streams > UINT32_MAX / 2 ? UINT32_MAX : 2 * o->max_streams);
    or32(&o->stream_window, 256 * 1024);
    or32(&o->conn_window, 1024 * 1024);
    if (o->stream_window > window_max)
        o->stream_window = window_max;
    if (o->conn_window < o->stream_window)
        o->conn_window = o->stream_window;
    if (o->conn_window < window_first) /* what every peer may send at once (RFC 9113, 6.9.2) */
        o->conn_window = window_first;
    if (o->conn_window > window_max)
        o->conn_window = window_max;
    or32(&o->send_queue_bytes, 64 * 1024);
    or32(&o->output_bytes, 64 * 1024);
    or32(&o->output_frames, 1000);
    or32(&o->header_list_bytes, 32 * 1024);
    or32(&o->header_count, 128);
    or32(&o->continuation_frames, 8);
    or32(&o->preface_timeout_ms, 10000);
    or32(&o->headers_timeout_ms, 10000);
    or32(&o->keepalive_timeout_ms, 20000);
    or_rate(&o->resets, 1000, 100);
    or_rate(&o->refused, 1000, 100);
    or_rate(&o->settings, 32, 4);
    or_rate(&o->pings, 100, 20);
    or_rate(&o->empty_frames, 1000, 100);
    or_rate(&o->window_updates, 10000, 2000);
    or_rate(&o->tiny_windows, 1000, 100);
}

void h2__buckets(struct h2_conn *c)
{
    wire_bucket_init(&c->resets, c->o.resets, c->now_ms);
    wire_bucket_init(&c->refused, c->o.refused, c->now_ms);
    wire_bucket_init(&c->settings, c->o.settings, c->now_ms);
    wire_bucket_init(&c->pings, c->o.pings, c->now_ms);
    wire_bucket_init(&c->empty_frames, c->o.empty_frames, c->now_ms);
    wire_bucket_init(&c->window_updates, c->o.window_updates, c->now_ms);
    wire_bucket_init(&c->tiny_windows, c->o.tiny_windows, c->now_ms);
}

int h2__fail(struct h2_conn *c, enum status st, uint32_t code, const char *fmt, ...)
{
    if (c->status == ST_OK) {
        va_list ap;
        va_start(ap, fmt);
        (void)vsnprintf(c->detail, sizeof c->detail, fmt, ap);
        va_end(ap);
        c->status = st;
        int32_t last = nghttp2_session_get_last_proc_stream_id(c->session);
        /* Without memory the GOAWAY is lost; h2_finished is true all the same. */
        if (nghttp2_session_terminate_session2(c->session, last, code) != 0)
            c->mute = true;
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

int h2__breach(struct h2_conn *c, enum h2_breach breach, uint32_t code)
{
    static const char *const texts[] = {[H2_BREACH_NONE] = "none",
#define X(name, text) [H2_BREACH_##name] = text,
                                        H2_BREACHES(X)
#undef X
    };
    if (c->status == ST_OK)
        c->breach = breach;
    return h2__fail(c, ST_OVERLOADED, code, "%s", texts[breach]);
}

int h2__count(struct h2_conn *c, struct wire_bucket *b, struct wire_rate rate,
              enum h2_breach breach)
{
    if (wire_bucket_take(b, rate, c->now_ms))
        return 0;
    return h2__breach(c, breach, H2_ENHANCE_YOUR_CALM);
}

const char *h2_code_name(uint32_t code)
{
    static const char *const names[] = {"NO_ERROR",
                                        "PROTOCOL_ERROR",
                                        "INTERNAL_ERROR",
                                        "FLOW_CONTROL_ERROR",
                                        "SETTINGS_TIMEOUT",
                                        "STREAM_CLOSED",
                                        "FRAME_SIZE_ERROR",
                                        "REFUSED_STREAM",
                                        "CANCEL",
                                        "COMPRESSION_ERROR",
                                        "CONNECT_ERROR",
                                        "ENHANCE_YOUR_CALM",
                                        "INADEQUATE_SECURITY",
                                        "HTTP_1_1_REQUIRED"};
    return code < sizeof names / sizeof names[0] ? names[code] : "UNKNOWN";
}
