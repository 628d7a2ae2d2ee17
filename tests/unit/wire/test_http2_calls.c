/* What a connection's owner may rely on, call by call. */
#include "base/alloc.h"
#include "pair.h"
#include "support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>

struct world {
    struct pair p;
    struct h2_stream *client, *server;
    size_t data, headers;
    bool ended, closed;
    uint32_t code;
    uint64_t pong;
    bool release_in_closed;
    struct h2_stream *again; /* opened from inside of an event */
};

static const struct wire_header get[] = {
    {BYTES_LIT(":method"), BYTES_LIT("GET"), false, false},
    {BYTES_LIT(":scheme"), BYTES_LIT("http"), false, false},
    {BYTES_LIT(":authority"), BYTES_LIT("a"), false, false},
    {BYTES_LIT(":path"), BYTES_LIT("/"), false, false},
};

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    struct world *w = arg;
    (void)end;
    w->headers++;
    if (h2_conn_of(s) == w->p.server)
        w->server = s;
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    struct world *w = arg;
    (void)s;
    w->data += data.len;
}

static void on_end(void *arg, struct h2_stream *s)
{
    struct world *w = arg;
    (void)s;
    w->ended = true;
}

static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct world *w = arg;
    if (s != w->client)
        return;
    w->closed = true;
    w->code = code;
    if (w->release_in_closed) {
        h2_release(s);
        w->client = NULL;
        (void)!h2_request(w->p.client, get, 4, true, NULL, &w->again);
    }
}

static void on_pong(void *arg, uint64_t payload)
{
    struct world *w = arg;
    w->pong = payload;
}

static const struct h2_events events = {
    .headers = on_headers, .data = on_data, .end = on_end, .closed = on_closed, .pong = on_pong};

static void begin(struct world *w, const struct h2_options *o, bool end)
{
    *w = (struct world){0};
    assert_true(pair_open(&w->p, o, &events, o, &events, w));
    assert_int_equal(h2_request(w->p.client, get, 4, end, NULL, &w->client), ST_OK);
    assert_true(pair_pump(&w->p));
    assert_non_null(w->server);
}

static void end(struct world *w)
{
    h2_release(w->client);
    h2_release(w->server);
    pair_close(&w->p);
}

static void a_body_that_is_not_consumed_stops_at_the_window(void **state)
{
    (void)state;
    struct h2_options o = {.stream_window = 10000, .send_queue_bytes = 100000};
    struct world w;
    struct h2_stats st;
    static uint8_t body[90000];
    begin(&w, &o, false);
    assert_int_equal(h2_write(w.client, BYTES(body, sizeof body), true), ST_OK);
    assert_int_equal(h2_write(w.client, BYTES(body, 1), true), ST_CLOSED);
    assert_true(pair_pump(&w.p));
    assert_int_equal(w.data, 10000);
    h2_conn_stats(w.p.client, &st);
    assert_int_equal(st.queued, 80000);
    h2_consume(w.server, 6000);
    assert_true(pair_pump(&w.p));
    assert_int_equal(w.data, 16000);
    h2_release(w.server); /* nobody wants it: the rest is thrown away or stopped */
    w.server = NULL;
    assert_true(pair_pump(&w.p));
    assert_int_equal(w.data, 16000);
    assert_true(w.closed);
    h2_conn_stats(w.p.server, &st);
    assert_int_equal(st.unconsumed, 0);
    end(&w);
}

static void other_streams_go_on_beside_one_that_is_stuck(void **state)
{
    (void)state;
    struct h2_options o = {.stream_window = 10000, .send_queue_bytes = 100000};
    struct world w;
    static uint8_t body[50000];
    begin(&w, &o, false);
    struct h2_stream *stuck = w.server, *second;
    assert_int_equal(h2_write(w.client, BYTES(body, sizeof body), true), ST_OK);
    assert_true(pair_pump(&w.p));
    assert_int_equal(h2_request(w.p.client, get, 4, false, NULL, &second), ST_OK);
    assert_int_equal(h2_write(second, BYTES(body, 5000), true), ST_OK);
    assert_true(pair_pump(&w.p));
    assert_int_equal(w.data, 15000);
    assert_true(w.ended && w.server != stuck);
    h2_release(second);
    h2_release(stuck);
    end(&w);
}

static void streams_outlive_their_connection(void **state)
{
    (void)state;
    struct world w;
    struct bytes path;
    begin(&w, NULL, false);
    pair_close(&w.p);
    assert_true(w.closed && w.code == H2_CANCEL && h2_closed(w.server));
    assert_null(h2_conn_of(w.server));
    path = h2_path(w.server);
    assert_true(bytes_eq(path, BYTES_LIT("/")));
    assert_int_equal(h2_respond(w.server, 200, NULL, 0, true), ST_CLOSED);
    assert_int_equal(h2_write(w.client, BYTES_LIT("x"), false), ST_CLOSED);
    assert_int_equal(h2_trailers(w.client, get, 1), ST_CLOSED);
    h2_reset(w.server, H2_CANCEL);
    h2_consume(w.server, 0);
    h2_release(w.server);
    h2_release(w.client);
}

static void an_event_may_let_go_and_ask_again(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, true);
    w.release_in_closed = true;
    assert_int_equal(h2_respond(w.server, 204, NULL, 0, true), ST_OK);
    struct h2_stream *first = w.server;
    assert_true(pair_pump(&w.p));
    assert_non_null(w.again);
    assert_true(w.server != first);
    assert_int_equal(h2_id(w.again), 3);
    h2_release(first);
    w.release_in_closed = false;
    w.client = w.again;
    end(&w);
}

static void a_released_response_still_goes_out(void **state)
{
    (void)state;
    struct world w;
    static uint8_t body[200000];
    begin(&w, &(struct h2_options){.send_queue_bytes = 300000}, false);
    assert_int_equal(h2_respond(w.server, 200, NULL, 0, false), ST_OK);
    assert_int_equal(h2_write(w.server, BYTES(body, sizeof body), true), ST_OK);
    h2_release(w.server);
    w.server = NULL;
    assert_true(pair_pump(&w.p));
    assert_int_equal(w.data, sizeof body);
    assert_true(w.ended && w.closed); /* and the request, not ended, was stopped */
    assert_int_equal(w.code, H2_NO_ERROR);
    struct h2_stats st;
    h2_conn_stats(w.p.server, &st);
    assert_int_equal(st.streams_open + st.streams_held, 0);
    end(&w);
}

static void a_held_stream_counts(void **state)
{
    (void)state;
    /* The rapid reset: streams go, their work stays. */
    struct h2_options o = {.max_streams = 4, .max_held_streams = 6};
    struct world w;
    struct h2_stream *held[6] = {0};
    begin(&w, &o, false);
    held[0] = w.server;
    for (size_t i = 1; i < 8; i++) {
        h2_reset(w.client, H2_CANCEL);
        assert_true(pair_pump(&w.p));
        h2_release(w.client);
        w.closed = false;
        w.server = NULL;
        assert_int_equal(h2_request(w.p.client, get, 4, false, NULL, &w.client), ST_OK);
        assert_true(pair_pump(&w.p));
        assert_int_equal(w.server != NULL, i < 6);
        if (w.server)
            held[i] = w.server;
        else
            assert_int_equal(w.code, H2_REFUSED_STREAM);
    }
    for (size_t i = 0; i < 6; i++)
        h2_release(held[i]);
    w.server = NULL;
    end(&w);
}

static void many_and_long_headers_fit(void **state)
{
    (void)state;
    struct world w;
    static char long_value[9000];
    struct wire_header h[60];
    char names[60][8];
    memset(long_value, 'v', sizeof long_value);
    begin(&w, NULL, false);
    for (size_t i = 0; i < 60; i++) {
        (void)snprintf(names[i], sizeof names[i], "x-%zu", i);
        h[i] = WIRE_HEADER(BYTES_STR(names[i]), BYTES(long_value, i == 30 ? 9000 : i));
    }
    assert_int_equal(h2_respond(w.server, 200, h, 60, false), ST_OK);
    assert_int_equal(h2_trailers(w.server, h, 60), ST_OK);
    assert_true(pair_pump(&w.p));
    size_t n;
    const struct wire_header *got = h2_headers(w.client, &n);
    for (int trailers = 0; trailers < 2; trailers++) {
        assert_int_equal(n, 60);
        for (size_t i = 0; i < 60; i++)
            assert_true(bytes_eq(got[i].name, h[i].name) && bytes_eq(got[i].value, h[i].value));
        got = h2_trailer_fields(w.client, &n);
    }
    end(&w);
}

static void pings_come_back(void **state)
{
    (void)state;
    struct world w;
    begin(&w, NULL, true);
    assert_int_equal(h2_ping(w.p.client, UINT64_C(0x1122334455667788)), ST_OK);
    assert_true(pair_pump(&w.p));
    assert_int_equal(w.pong, UINT64_C(0x1122334455667788));
    end(&w);
}

static void an_aborted_connection_says_so_once(void **state)
{
    (void)state;
    struct world w;
    struct bytes out;
    begin(&w, NULL, true);
    h2_abort(w.p.server, H2_INTERNAL_ERROR);
    h2_abort(w.p.server, H2_NO_ERROR);
    assert_false(h2_finished(w.p.server));
    assert_int_equal(h2_output(w.p.server, &out), ST_OK);
    assert_int_equal(out.len, 9 + 8);
    h2_output_done(w.p.server, out.len);
    assert_true(h2_finished(w.p.server));
    assert_int_equal(h2_conn_status(w.p.server, NULL), ST_CLOSED);
    end(&w);
}

static void an_idle_connection_gives_memory_back(void **state)
{
    (void)state;
    struct world w;
    struct h2_stats busy, idle;
    static uint8_t body[60000];
    begin(&w, NULL, true);
    assert_int_equal(h2_respond(w.server, 200, NULL, 0, false), ST_OK);
    assert_int_equal(h2_write(w.server, BYTES(body, sizeof body), true), ST_OK);
    assert_true(pair_pump(&w.p));
    h2_release(w.server);
    w.server = NULL;
    h2_conn_stats(w.p.server, &busy);
    uint64_t next = h2_tick(w.p.server, w.p.now + 999);
    assert_int_equal(next, w.p.now + 1000);
    assert_int_equal(h2_tick(w.p.server, w.p.now + 1000), UINT64_MAX);
    h2_conn_stats(w.p.server, &idle);
    assert_true(idle.memory < busy.memory);
    /* 16 KiB of it are nghttp2's room for one frame, seldom touched. */
    assert_in_range(idle.memory, 1000, 28 * 1024);
    end(&w);
}

/* --- headers that come again --- */

enum { SETS = 600, HELD = 8 };

struct set {
    char path[16], turn[256];
    struct wire_header h[7];
    size_t n;
};

/* Some come with each request, some with each third, one is never the same, and long ones drive
 * others out of HPACK's tables. */
static void make_set(struct set *x, unsigned i)
{
    memcpy(x->h, get, sizeof get);
    x->n = 3;
    size_t len = (size_t)snprintf(x->path, sizeof x->path, "/p%u", i % 50 == 49 ? i : i % 3);
    x->h[x->n++] = WIRE_HEADER(BYTES_LIT(":path"), BYTES(x->path, len));
    if (i % 4 == 3) /* those after it stand elsewhere then */
        x->h[x->n++] = WIRE_HEADER(BYTES_LIT("x-extra"), BYTES_LIT("yes"));
    x->h[x->n++] = WIRE_HEADER(BYTES_LIT("x-kind"), i % 2 ? BYTES_LIT("odd") : BYTES_LIT("even"));
    len = (size_t)snprintf(x->turn, sizeof x->turn, "%0200u", i / 20 % 7);
    x->h[x->n++] = WIRE_HEADER(BYTES_LIT("x-turn"), BYTES(x->turn, len));
}

static void assert_bytes(struct bytes a, struct bytes b)
{
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len);
}

static void check_set(const struct h2_stream *s, unsigned i)
{
    struct set x;
    size_t n;
    make_set(&x, i);
    const struct wire_header *h = h2_headers(s, &n);
    assert_bytes(h2_method(s), BYTES_LIT("GET"));
    assert_bytes(h2_authority(s), BYTES_LIT("a"));
    assert_bytes(h2_path(s), x.h[3].value);
    assert_int_equal(n, x.n - 4);
    for (size_t k = 0; k < n; k++) {
        assert_bytes(h[k].name, x.h[4 + k].name);
        assert_bytes(h[k].value, x.h[4 + k].value);
    }
}

static void headers_that_come_again_are_those_that_were_sent(void **state)
{
    (void)state;
    struct world w = {0};
    struct h2_stream *held[HELD] = {0};
    assert_true(pair_open(&w.p, NULL, &events, NULL, &events, &w));
    for (unsigned i = 0; i < SETS; i++) {
        struct set x;
        struct wire_header answer =
            WIRE_HEADER(BYTES_LIT("x-answer"), i % 5 ? BYTES_LIT("a") : BYTES_LIT("b"));
        make_set(&x, i);
        if (held[i % HELD])
            check_set(held[i % HELD], i - HELD);
        h2_release(held[i % HELD]);
        held[i % HELD] = NULL;
        if (i % 150 == 149) /* a time without streams: what is known may be forgotten */
            for (unsigned k = 0; k < HELD; k++) {
                h2_release(held[k]);
                held[k] = NULL;
            }
        assert_int_equal(h2_request(w.p.client, x.h, x.n, true, NULL, &w.client), ST_OK);
        assert_true(pair_pump(&w.p));
        held[i % HELD] = w.server;
        check_set(w.server, i);
        assert_int_equal(h2_respond(w.server, i % 9 ? 200 : 404, &answer, 1, true), ST_OK);
        assert_true(pair_pump(&w.p));
        struct bytes said;
        assert_int_equal(h2_status(w.client), i % 9 ? 200 : 404);
        assert_true(h2_header(w.client, BYTES_LIT("x-answer"), &said));
        assert_bytes(said, answer.value);
        h2_release(w.client);
    }
    h2_conn_free(w.p.server); /* those held stay readable */
    w.p.server = NULL;
    for (unsigned i = SETS - HELD; i < SETS; i++) {
        if (held[i % HELD])
            check_set(held[i % HELD], i);
        h2_release(held[i % HELD]);
    }
    pair_close(&w.p);
}

/* One request on each, one after the other and at once; the pool outlives them all. */
static void connections_may_share_a_pool(void **state)
{
    (void)state;
    enum { PAIRS = 3, ROUNDS = 4 };
    struct h2_options o = {.pool = h2_pool_new()};
    struct world w[PAIRS];
    static uint8_t body[3000];
    assert_non_null(o.pool);
    for (size_t i = 0; i < PAIRS; i++)
        begin(&w[i], &o, true);
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < PAIRS; i++) {
            assert_int_equal(h2_respond(w[i].server, 200, NULL, 0, false), ST_OK);
            assert_int_equal(h2_write(w[i].server, BYTES(body, sizeof body), true), ST_OK);
            assert_true(pair_pump(&w[i].p));
            assert_true(w[i].ended && w[i].closed);
            assert_int_equal(w[i].data, (round + 1) * sizeof body);
            h2_release(w[i].client);
            h2_release(w[i].server);
            w[i].closed = false;
            assert_int_equal(h2_request(w[i].p.client, get, 4, true, NULL, &w[i].client), ST_OK);
            assert_true(pair_pump(&w[i].p));
        }
    /* Whoever used it last gives back what is kept; who was idle before does not take it away. */
    struct h2_stats st;
    w[0].p.now += 500;
    assert_int_equal(h2_respond(w[0].server, 204, NULL, 0, true), ST_OK);
    assert_true(pair_pump(&w[0].p));
    (void)h2_tick(w[1].p.server, w[1].p.now + 1000);
    (void)h2_tick(w[0].p.server, w[0].p.now + 1000);
    h2_conn_stats(w[0].p.server, &st);
    assert_in_range(st.memory, 1000, 36 * 1024); /* with a stream that is not released */
    /* Streams that outlive their connection still know the pool. */
    pair_close(&w[1].p);
    assert_int_equal(h2_respond(w[2].server, 204, NULL, 0, true), ST_OK);
    assert_true(pair_pump(&w[2].p));
    end(&w[0]);
    end(&w[2]);
    h2_release(w[1].client);
    h2_release(w[1].server);
    h2_pool_free(o.pool);
    h2_pool_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_that_is_not_consumed_stops_at_the_window),
        cmocka_unit_test(other_streams_go_on_beside_one_that_is_stuck),
        cmocka_unit_test(streams_outlive_their_connection),
        cmocka_unit_test(an_event_may_let_go_and_ask_again),
        cmocka_unit_test(a_released_response_still_goes_out),
        cmocka_unit_test(a_held_stream_counts),
        cmocka_unit_test(many_and_long_headers_fit),
        cmocka_unit_test(headers_that_come_again_are_those_that_were_sent),
        cmocka_unit_test(pings_come_back),
        cmocka_unit_test(an_aborted_connection_says_so_once),
        cmocka_unit_test(an_idle_connection_gives_memory_back),
        cmocka_unit_test(connections_may_share_a_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
