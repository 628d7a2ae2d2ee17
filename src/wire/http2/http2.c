/* http2.c - a connection: its beginning, its input, its deadlines and its end. */
#include "wire/http2/http2_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

static void *hook_malloc(size_t size, void *arg)
{
    return h2__alloc(arg, size);
}

static void hook_free(void *p, void *arg)
{
    h2__free(arg, p);
}

static void *hook_calloc(size_t n, size_t size, void *arg)
{
    size_t total;
    if (__builtin_mul_overflow(n, size, &total))
        return NULL;
    void *p = h2__alloc(arg, total);
    if (p)
        memset(p, 0, total);
    return p;
}

static void *hook_realloc(void *p, size_t size, void *arg)
{
    return h2__realloc(arg, p, size);
}

enum status h2__status_of(int error)
{
    switch (error) {
    case 0:
        return ST_OK;
    case NGHTTP2_ERR_NOMEM:
        return ST_NO_MEMORY;
    case NGHTTP2_ERR_INVALID_ARGUMENT:
    case NGHTTP2_ERR_INVALID_STATE:
    case NGHTTP2_ERR_DATA_EXIST:
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        return ST_INVALID_ARGUMENT;
    case NGHTTP2_ERR_FLOODED:
        return ST_OVERLOADED;
    default:
        return ST_INTERNAL;
    }
}

static void set_options(nghttp2_option *o, const struct h2_conn *c)
{
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_no_http_messaging(o, 1); /* http2_rules.c */
    nghttp2_option_set_max_outbound_ack(o, c->o.output_frames);
    /* Those of nghttp2 come after ours, which have names. */
    nghttp2_option_set_stream_reset_rate_limit(o, UINT32_MAX, UINT32_MAX);
    /* Frames of types that nghttp2 does not know are thrown away; asked for, they are counted. */
    for (unsigned type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
        nghttp2_option_set_user_recv_extension_type(o, (uint8_t)type);
    nghttp2_option_set_max_continuations(o, (size_t)c->o.continuation_frames + 1);
}

static enum status make_session(struct h2_conn *c)
{
    nghttp2_mem mem = {c, hook_malloc, hook_free, hook_calloc, hook_realloc};
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);
    if (rc == 0)
        rc = nghttp2_option_new(&option);
    if (rc == 0) {
        h2__callbacks_in(callbacks);
        h2__callbacks_out(callbacks);
        set_options(option, c);
        rc = c->server ? nghttp2_session_server_new3(&c->session, callbacks, c, option, &mem)
                       : nghttp2_session_client_new3(&c->session, callbacks, c, option, &mem);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return h2__status_of(rc);
}

/* SETTINGS_NO_RFC7540_PRIORITIES is left out: with it, nghttp2 1.52 frees a frame twice when memory
 * runs out (found by tests/unit/wire/test_grpc_call.c). */
static enum status say_settings(struct h2_conn *c)
{
    nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->o.stream_window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, c->o.header_list_bytes},
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->o.max_streams},
    };
    const size_t n = sizeof entries / sizeof entries[0];
    if (!c->server) /* a server may open none, and must not push */
        entries[2] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    int rc = nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, entries, n);
    if (rc == 0)
        rc = nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0,
                                                   (int32_t)c->o.conn_window);
    return h2__status_of(rc);
}

static enum status conn_new(bool server, const struct h2_options *options,
                            const struct h2_events *events, void *arg, uint64_t now_ms,
                            struct h2_conn **ret)
{
    ASSERT(events->headers && events->data && events->closed);
    struct h2_conn *c = mem_zalloc(sizeof *c);
    if (!c)
        return ST_NO_MEMORY;
    c->server = server;
    c->events = events;
    c->arg = arg;
    h2__options(&c->o, options);
    h2__frames_begin(c);
    c->now_ms = c->created_ms = c->last_in_ms = c->idle_since_ms = c->last_traffic_ms = now_ms;
    h2__buckets(c);
    list_init(&c->streams);
    h2__pool_join(c);
    list_init(&c->ready);
    enum status st = make_session(c);
    if (st == ST_OK)
        st = say_settings(c);
    if (st != ST_OK) {
        nghttp2_session_del(c->session);
        h2__pool_leave(c);
        mem_free(c);
        return st;
    }
    *ret = c;
    return ST_OK;
}

enum status h2_server_new(const struct h2_options *options, const struct h2_events *events,
                          void *arg, uint64_t now_ms, struct h2_conn **ret)
{
    return conn_new(true, options, events, arg, now_ms, ret);
}

enum status h2_client_new(const struct h2_options *options, const struct h2_events *events,
                          void *arg, uint64_t now_ms, struct h2_conn **ret)
{
    return conn_new(false, options, events, arg, now_ms, ret);
}

void h2__conn_release(struct h2_conn *c)
{
    if (!c->freed || !list_empty(&c->streams) || c->closing)
        return;
    h2__known_free(c);
    h2__repeat_forget(c);
    h2__pool_leave(c);
    mem_free(c);
}

void h2_conn_free(struct h2_conn *c)
{
    if (!c)
        return;
    ASSERT(!c->calling && !c->freed);
    c->freed = c->closing = true;
    list_foreach_safe (it, &c->streams) {
        struct h2_stream *s = container_of(it, struct h2_stream, link);
        if (!s->closed)
            h2__stream_closed(s, H2_CANCEL);
    }
    nghttp2_session_del(c->session);
    c->session = NULL;
    h2__out_give(c);
    if (c->pool == &c->own_pool)
        h2__pool_trim(c->pool);
    c->closing = false;
    h2__conn_release(c);
}

enum status h2_recv(struct h2_conn *c, struct bytes in, uint64_t now_ms, struct err *err)
{
    ASSERT(!c->calling && !c->freed);
    if (c->status != ST_OK)
        return err_set(err, ST_CLOSED, "the HTTP/2 connection has ended: %s", c->detail);
    c->now_ms = now_ms;
    if (in.len == 0)
        return ST_OK;
    c->last_in_ms = c->last_traffic_ms = c->pool->used_ms = now_ms;
    c->stats.bytes_in += in.len;
    c->calling = true;
    ssize_t n =
        c->server ? h2__repeat_recv(c, in) : nghttp2_session_mem_recv(c->session, in.data, in.len);
    c->calling = false;
    h2__frames_pass(c, in);
    if (n < 0 && c->status == ST_OK) {
        if (n == NGHTTP2_ERR_FLOODED)
            (void)h2__breach(c, H2_BREACH_OUTPUT_FRAMES, H2_ENHANCE_YOUR_CALM);
        else
            (void)h2__fail(c, h2__status_of((int)n), H2_PROTOCOL_ERROR, "HTTP/2 input: %s",
                           nghttp2_strerror((int)n));
    }
    return c->status == ST_OK ? ST_OK : err_set(err, c->status, "%s", c->detail);
}

bool h2_wants_input(const struct h2_conn *c)
{
    return c->status == ST_OK && nghttp2_session_want_read(c->session) &&
           nghttp2_session_get_outbound_queue_size(c->session) <=
               (size_t)c->o.output_frames / 2 + c->o.max_streams;
}

bool h2_finished(const struct h2_conn *c)
{
    if (c->out_len > c->out_off)
        return false;
    if (c->mute)
        return true;
    if (c->shutdown_started && !c->shutdown_final && c->status == ST_OK)
        return false;
    return !nghttp2_session_want_write(c->session) &&
           (c->status != ST_OK || !nghttp2_session_want_read(c->session));
}

enum status h2_conn_status(const struct h2_conn *c, struct err *err)
{
    return c->status == ST_OK ? ST_OK : err_set(err, c->status, "%s", c->detail);
}

enum h2_breach h2_conn_breach(const struct h2_conn *c)
{
    return c->breach;
}

enum status h2_ping(struct h2_conn *c, uint64_t payload)
{
    uint8_t raw[8];
    if (c->freed || c->status != ST_OK)
        return ST_CLOSED;
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)(payload >> (56 - 8 * i));
    return h2__status_of(nghttp2_submit_ping(c->session, NGHTTP2_FLAG_NONE, raw));
}

static void no_memory(struct h2_conn *c)
{
    (void)h2__fail(c, ST_NO_MEMORY, H2_INTERNAL_ERROR, "no memory for a control frame");
}

/* A server says twice that it goes: streams that were on their way when it said so the first time
 * are still served (RFC 9113, 6.8). A client opens the streams itself: once is enough. */
void h2_shutdown(struct h2_conn *c)
{
    if (c->freed || c->status != ST_OK || c->shutdown_started)
        return;
    c->shutdown_started = true;
    c->shutdown_sent_ms = c->now_ms;
    if (!c->server)
        h2__finish_shutdown(c);
    else if (nghttp2_submit_shutdown_notice(c->session) != 0 ||
             h2_ping(c, H2_PING_SHUTDOWN) != ST_OK)
        no_memory(c);
}

void h2__finish_shutdown(struct h2_conn *c)
{
    if (c->shutdown_final || !c->shutdown_started)
        return;
    c->shutdown_final = true;
    c->last_served = nghttp2_session_get_last_proc_stream_id(c->session);
    if (nghttp2_submit_goaway(c->session, NGHTTP2_FLAG_NONE, c->last_served, H2_NO_ERROR, NULL,
                              0) != 0)
        no_memory(c);
}

bool h2_greeted(const struct h2_conn *c)
{
    return c->peer_settings;
}

bool h2_shutting_down(const struct h2_conn *c)
{
    return c->shutdown_started || c->goaway_received || c->status != ST_OK;
}

void h2_abort(struct h2_conn *c, uint32_t code)
{
    if (!c->freed)
        (void)h2__fail(c, ST_CLOSED, code, "ended here: %s", h2_code_name(code));
}

static void earlier(uint64_t *next, uint64_t at)
{
    if (at < *next)
        *next = at;
}

static void tick_opening(struct h2_conn *c, uint64_t *next)
{
    uint64_t at;
    if (!c->peer_settings) {
        at = c->created_ms + c->o.preface_timeout_ms;
        if (c->now_ms >= at)
            (void)h2__breach(c, H2_BREACH_PREFACE_TIMEOUT, H2_SETTINGS_TIMEOUT);
        earlier(next, at);
    }
    if (c->block_since_ms) {
        at = c->block_since_ms + c->o.headers_timeout_ms;
        if (c->now_ms >= at)
            (void)h2__breach(c, H2_BREACH_HEADERS_TIMEOUT, H2_ENHANCE_YOUR_CALM);
        earlier(next, at);
    }
}

static void tick_keepalive(struct h2_conn *c, uint64_t *next)
{
    uint64_t at;
    if (c->o.keepalive_ms == 0)
        return;
    if (c->keepalive_out && c->last_in_ms > c->ping_sent_ms)
        c->keepalive_out = false; /* anything shows that it lives */
    if (!c->keepalive_out) {
        at = c->last_in_ms + c->o.keepalive_ms;
        if (c->now_ms < at) {
            earlier(next, at);
            return;
        }
        c->keepalive_out = true;
        c->ping_sent_ms = c->now_ms;
        if (h2_ping(c, H2_PING_KEEPALIVE) != ST_OK)
            no_memory(c);
    }
    at = c->ping_sent_ms + c->o.keepalive_timeout_ms;
    if (c->now_ms >= at)
        (void)h2__breach(c, H2_BREACH_KEEPALIVE_TIMEOUT, H2_NO_ERROR);
    earlier(next, at);
}

static void tick_closing(struct h2_conn *c, uint64_t *next)
{
    uint64_t at;
    if (c->shutdown_started && !c->shutdown_final) {
        at = c->shutdown_sent_ms + H2_SHUTDOWN_PING_MS;
        if (c->now_ms >= at)
            h2__finish_shutdown(c);
        else
            earlier(next, at);
    } else if (c->o.idle_timeout_ms && !c->shutdown_started && c->open == 0 && c->held == 0) {
        at = c->idle_since_ms + c->o.idle_timeout_ms;
        if (c->now_ms >= at) {
            c->breach = H2_BREACH_IDLE_TIMEOUT;
            h2_shutdown(c);
            h2__finish_shutdown(c);
        } else {
            earlier(next, at);
        }
    }
}

/* Rooms that the next request would need again are kept while there is traffic. */
static void tick_trim(struct h2_conn *c, uint64_t *next)
{
    if (c->pool->memory == 0 && c->out_cap == 0 && !c->known && c->repeats.n == 0)
        return;
    uint64_t at = c->last_traffic_ms + H2_TRIM_MS;
    if (c->now_ms < at) {
        earlier(next, at);
        return;
    }
    if (list_empty(&c->streams)) {
        h2__known_free(c);
        h2__repeat_forget(c);
    }
    if (c->now_ms >= c->pool->used_ms + H2_TRIM_MS) /* else whoever used it last will */
        h2__pool_trim(c->pool);
}

uint64_t h2_tick(struct h2_conn *c, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;
    ASSERT(!c->calling && !c->freed);
    if (now_ms > c->now_ms)
        c->now_ms = now_ms;
    if (c->status == ST_OK)
        tick_opening(c, &next);
    if (c->status == ST_OK)
        tick_keepalive(c, &next);
    if (c->status == ST_OK)
        tick_closing(c, &next);
    tick_trim(c, &next);
    return next;
}

void h2_conn_stats(const struct h2_conn *c, struct h2_stats *ret)
{
    *ret = c->stats;
    ret->streams_open = c->open;
    ret->streams_held = c->held;
    ret->unconsumed = c->unconsumed;
    ret->queued = c->queued;
    ret->memory = sizeof *c + c->memory + c->own_pool.memory;
    list_foreach (it, &c->streams)
        ret->memory += container_of(it, struct h2_stream, link)->arena.total_bytes;
}
