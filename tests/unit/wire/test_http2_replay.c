/* Heads and trailers of responses that nghttp2 does not compress (http2_replay.c), as a client sees them
 * that is nghttp2 itself, and so refuses a reference into HPACK's tables that means nothing, or a
 * table's size not said. */
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "wire/http2/http2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>

enum { CALLS = 120, BODY_MAX = 40000, NOW = 1000 };

/* What a request asks for by its path, these with "/" before each. */
struct wanted {
    unsigned
        trailer; /* which of `trailers` below; ALL: all of them; OWN: one that is not fixed; NONE */
    unsigned body;
    unsigned new_header; /* not 0: a header that the table has not seen */
    unsigned early;      /* answered and released before the request has ended */
    unsigned late;       /* the trailer waits: the stream is kept in world.late */
    unsigned type;       /* which of `types` below */
    unsigned status;     /* 200 or another */
};

struct got {
    struct wanted wanted;
    size_t body;
    bool closed, continued;
    unsigned trailers;
    char head[96], trailer[32];
};

struct world {
    struct h2_conn *server;
    nghttp2_session *client;
    struct got got[CALLS];
    unsigned opened, closed;
    struct h2_stream *late;
    bool continues; /* the server says 100 first */
};

static const struct wire_header trailers[] = {
    {BYTES_LIT("grpc-status"), BYTES_LIT("0"), false, true},
    {BYTES_LIT("grpc-status"), BYTES_LIT("5"), false, true},
    {BYTES_LIT("other-stats"), BYTES_LIT("0"), false, true},
};
static const struct wire_header types[] = {
    {BYTES_LIT("content-type"), BYTES_LIT("application/grpc"), false, true},
    {BYTES_LIT("content-type"), BYTES_LIT("application/json"), false, true},
    {BYTES_LIT("content-type"), BYTES_LIT("text/plain"), false, false}, /* kept nowhere */
};
enum { TYPES = sizeof types / sizeof types[0] };
enum { ALL = sizeof trailers / sizeof trailers[0], OWN, NONE, KINDS };

static void trailer_text(const struct wanted *a, char out[32])
{
    const struct wire_header *last = &trailers[a->trailer < ALL ? a->trailer : ALL - 1];
    out[0] = 0;
    if (a->trailer < OWN)
        (void)snprintf(out, 32, "%.*s=%.*s", (int)last->name.len, (const char *)last->name.data,
                       (int)last->value.len, (const char *)last->value.data);
    else if (a->trailer == OWN)
        (void)snprintf(out, 32, "body=%u", a->body);
}

static void head_text(const struct wanted *a, char out[96])
{
    const struct bytes type = types[a->type].value;
    int n = snprintf(out, 96, ":status=%u;content-type=%.*s;", a->status, (int)type.len,
                     (const char *)type.data);
    if (a->new_header)
        (void)snprintf(out + n, 96 - (size_t)n, "x-new=%u;", a->new_header);
}

/* --- the server --- */

static void answer(struct h2_stream *s, struct h2_stream **late)
{
    static const uint8_t body[BODY_MAX];
    struct wanted a;
    char text[48];
    struct bytes path = h2_path(s);
    assert_true(path.len < sizeof text);
    memcpy(text, path.data, path.len);
    text[path.len] = 0;
    assert_int_equal(sscanf(text, "/%u/%u/%u/%u/%u/%u/%u", &a.trailer, &a.body, &a.new_header,
                            &a.early, &a.late, &a.type, &a.status),
                     7);
    struct wire_header head[2] = {types[a.type]};
    (void)snprintf(text, sizeof text, "%u", a.new_header);
    head[1] = WIRE_HEADER(BYTES_LIT("x-new"), BYTES_STR(text));
    assert_int_equal(h2_respond(s, a.status, head, a.new_header ? 2 : 1, false), ST_OK);
    assert_int_equal(h2_write(s, BYTES(body, a.body), false), ST_OK);
    if (a.late) {
        *late = s;
        return;
    }
    if (a.trailer < ALL) {
        assert_int_equal(h2_trailers(s, &trailers[a.trailer], 1), ST_OK);
    } else if (a.trailer == ALL) {
        assert_int_equal(h2_trailers(s, trailers, ALL), ST_OK);
    } else if (a.trailer == NONE) {
        assert_int_equal(h2_write(s, BYTES_EMPTY, true), ST_OK);
    } else {
        (void)snprintf(text, sizeof text, "%u", a.body);
        struct wire_header own = WIRE_HEADER(BYTES_LIT("body"), BYTES_STR(text));
        assert_int_equal(h2_trailers(s, &own, 1), ST_OK);
    }
    h2_release(s);
}

static void server_headers(void *arg, struct h2_stream *s, bool end)
{
    struct world *w = arg;
    (void)end;
    if (w->continues)
        assert_int_equal(h2_continue(s), ST_OK);
    answer(s, &w->late);
}

static void server_data(void *arg, struct h2_stream *s, struct bytes data)
{
    (void)arg;
    h2_consume(s, data.len);
}

static void server_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    (void)arg;
    (void)s;
    (void)code;
}

static const struct h2_events events = {
    .headers = server_headers, .data = server_data, .closed = server_closed};

/* --- the client --- */

static int client_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                         size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                         void *arg)
{
    (void)arg;
    (void)flags;
    struct got *g = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (name[0] == ':' && memcmp(value, "100", 3) == 0) {
        g->continued = true;
    } else if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        g->trailers++;
        (void)snprintf(g->trailer, sizeof g->trailer, "%.*s=%.*s", (int)name_len,
                       (const char *)name, (int)value_len, (const char *)value);
    } else {
        const size_t n = strlen(g->head);
        (void)snprintf(g->head + n, sizeof g->head - n, "%.*s=%.*s;", (int)name_len,
                       (const char *)name, (int)value_len, (const char *)value);
    }
    return 0;
}

static int client_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                       size_t len, void *arg)
{
    (void)arg;
    (void)flags;
    (void)data;
    struct got *g = nghttp2_session_get_stream_user_data(session, id);
    assert_int_equal(g->trailers, 0);
    g->body += len;
    return 0;
}

static int client_closed(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
    struct world *w = arg;
    struct got *g = nghttp2_session_get_stream_user_data(session, id);
    char want[32], head[96];
    trailer_text(&g->wanted, want);
    head_text(&g->wanted, head);
    assert_int_equal(code, NGHTTP2_NO_ERROR);
    assert_false(g->closed);
    assert_string_equal(g->head, head);
    assert_int_equal(g->body, g->wanted.body);
    assert_int_equal(g->trailers, g->wanted.trailer == ALL ? ALL : g->wanted.trailer != NONE);
    assert_string_equal(g->trailer, want);
    g->closed = true;
    w->closed++;
    return 0;
}

static ssize_t never_ready(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
                           uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)session;
    (void)id;
    (void)buf;
    (void)len;
    (void)flags;
    (void)source;
    (void)arg;
    return NGHTTP2_ERR_DEFERRED;
}

static void begin(struct world *w, const struct h2_options *o)
{
    nghttp2_session_callbacks *cb;
    *w = (struct world){0};
    assert_int_equal(nghttp2_session_callbacks_new(&cb), 0);
    nghttp2_session_callbacks_set_on_header_callback(cb, client_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, client_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, client_closed);
    assert_int_equal(nghttp2_session_client_new(&w->client, cb, w), 0);
    nghttp2_session_callbacks_del(cb);
    assert_int_equal(nghttp2_submit_settings(w->client, NGHTTP2_FLAG_NONE, NULL, 0), 0);
    assert_int_equal(h2_server_new(o, &events, w, NOW, &w->server), ST_OK);
}

/* The client sends; the answers wait. */
static void send(struct world *w)
{
    const uint8_t *data;
    struct err err;
    ssize_t n;
    while ((n = nghttp2_session_mem_send(w->client, &data)) > 0)
        assert_int_equal(h2_recv(w->server, BYTES(data, (size_t)n), NOW, &err), ST_OK);
}

static void pump(struct world *w)
{
    struct bytes out = BYTES_EMPTY;
    do {
        send(w);
        assert_int_equal(h2_output(w->server, &out), ST_OK);
        if (out.len)
            assert_int_equal(nghttp2_session_mem_recv(w->client, out.data, out.len), out.len);
        h2_output_done(w->server, out.len);
        /* A client that finds a mistake says GOAWAY with it. */
        assert_true(nghttp2_session_check_request_allowed(w->client));
    } while (out.len || nghttp2_session_want_write(w->client));
}

static void end(struct world *w)
{
    assert_int_equal(w->closed, w->opened);
    h2_conn_free(w->server);
    nghttp2_session_del(w->client);
}

#define NV(n, v)                                                                                   \
    (nghttp2_nv)                                                                                   \
    {                                                                                              \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0              \
    }

static void call(struct world *w, struct wanted a)
{
    char path[48];
    struct got *g = &w->got[w->opened++];
    if (!a.status)
        a.status = 200;
    g->wanted = a;
    (void)snprintf(path, sizeof path, "/%u/%u/%u/%u/%u/%u/%u", a.trailer, a.body, a.new_header,
                   a.early, a.late, a.type, a.status);
    nghttp2_nv nv[] = {NV(":method", "POST"), NV(":scheme", "http"), NV(":authority", "a"),
                       NV(":path", path)};
    nghttp2_data_provider body = {.read_callback = never_ready};
    assert_true(nghttp2_submit_request(w->client, NULL, nv, 4, a.early ? &body : NULL, g) > 0);
}

/* --- the tests --- */

/* Any mix of trailers, of headers that shift the table, of table sizes and of windows. */
static void any_mix_is_understood(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 60)
    {
        static struct world w;
        struct test_rng r;
        test_rng_init(&r, seed);
        begin(&w, &(struct h2_options){.output_bytes = test_rng_below(&r, 2) ? 3000 : 0});
        while (w.opened < CALLS) {
            if (test_rng_below(&r, 12) == 0) {
                static const uint32_t sizes[] = {0, 45, 100, 4096};
                nghttp2_settings_entry e[] = {
                    {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, sizes[test_rng_below(&r, 4)]},
                    {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, test_rng_below(&r, 2) ? 1000 : 65535}};
                assert_int_equal(nghttp2_submit_settings(w.client, NGHTTP2_FLAG_NONE, e, 2), 0);
            }
            call(&w, (struct wanted){
                         .trailer = test_rng_below(&r, 4) ? 0 : (unsigned)test_rng_below(&r, KINDS),
                         .body = test_rng_below(&r, 3) ? (unsigned)test_rng_below(&r, 600)
                                                       : (unsigned)test_rng_below(&r, 4) * 9000,
                         .new_header = test_rng_below(&r, 5) ? 0 : w.opened + 1,
                         .early = test_rng_below(&r, 4) == 0,
                         .type = test_rng_below(&r, 4) ? 0 : (unsigned)test_rng_below(&r, TYPES),
                         .status = test_rng_below(&r, 9) ? 200 : 203});
            if (test_rng_below(&r, 3) == 0)
                send(&w);
            if (test_rng_below(&r, 3) == 0)
                pump(&w);
        }
        pump(&w);
        end(&w);
    }
}

/* A response that has begun before the peer changed the table's size, and ends after it. */
static void settings_between_headers_and_trailer(void **state)
{
    (void)state;
    static struct world w;
    const nghttp2_settings_entry small = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0};
    begin(&w, NULL);
    for (unsigned i = 0; i < 4; i++) {
        call(&w, (struct wanted){.body = 10});
        pump(&w);
    }
    call(&w, (struct wanted){.body = 10, .late = 1});
    pump(&w);
    assert_non_null(w.late);
    assert_int_equal(nghttp2_submit_settings(w.client, NGHTTP2_FLAG_NONE, &small, 1), 0);
    pump(&w);
    assert_int_equal(h2_trailers(w.late, &trailers[0], 1), ST_OK);
    h2_release(w.late);
    pump(&w);
    end(&w);
}

/* A head that was submitted as none, and means something else before it goes out: the table's size has
 * changed, or another response has put a header into the table. */
static void the_table_changes_while_a_head_waits(void **state)
{
    (void)state;
    static struct world w;
    static const uint32_t sizes[] = {0, 4096, 60};
    begin(&w, NULL);
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned k = 0; k < 4; k++) {
            call(&w, (struct wanted){.body = 10});
            pump(&w);
        }
        call(&w, (struct wanted){.body = 10, .new_header = i + 1});
        call(&w, (struct wanted){.body = 10});
        send(&w);
        const nghttp2_settings_entry e = {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, sizes[i]};
        if (i)
            assert_int_equal(nghttp2_submit_settings(w.client, NGHTTP2_FLAG_NONE, &e, 1), 0);
        send(&w);
        call(&w, (struct wanted){.body = 10});
        pump(&w);
    }
    end(&w);
}

/* Of a stream that was told to go on the first block is that. */
static void continue_is_no_head(void **state)
{
    (void)state;
    static struct world w;
    begin(&w, NULL);
    for (unsigned i = 0; i < 6; i++) {
        w.continues = i % 2;
        call(&w, (struct wanted){.body = 10});
        pump(&w);
        assert_int_equal(w.got[i].continued, i % 2);
    }
    end(&w);
}

/* They count as frames that let a client send PINGs, as those of nghttp2 do. */
static void pings_are_given_back(void **state)
{
    (void)state;
    static struct world w;
    begin(&w, &(struct h2_options){.pings = {3, 1}});
    for (unsigned i = 0; i < CALLS; i++) {
        for (unsigned k = 0; k < 3; k++)
            assert_int_equal(nghttp2_submit_ping(w.client, NGHTTP2_FLAG_NONE, NULL), 0);
        pump(&w);
        call(&w, (struct wanted){.body = 10});
        pump(&w);
    }
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_mix_is_understood),
                                       cmocka_unit_test(settings_between_headers_and_trailer),
                                       cmocka_unit_test(the_table_changes_while_a_head_waits),
                                       cmocka_unit_test(continue_is_no_head),
                                       cmocka_unit_test(pings_are_given_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
