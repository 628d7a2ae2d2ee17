/* The port over HTTP/2 and gRPC, with the client side of src/wire on real sockets. */
#include "port_world.h"
#include "support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void body_is(const struct answer *a, const char *text)
{
    if (!bytes_eq(buf_bytes(&a->body), BYTES_STR(text)))
        fail_msg("the body is \"%.*s\", not \"%s\"", (int)a->body.len, (const char *)a->body.data,
                 text);
}

static void test_http(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    struct answer a;
    peer_request(p, &a, "GET", "/hello", BYTES_EMPTY, true);
    peer_until(p, &a.closed);
    assert_int_equal(a.status, 200);
    body_is(&a, "hello");
    struct bytes v;
    assert_true(h2_header(a.stream, BYTES_LIT("content-length"), &v));
    assert_true(bytes_eq(v, BYTES_LIT("5")));
    assert_true(h2_header(a.stream, BYTES_LIT("x-request-id"), &v));
    assert_int_equal(v.len, 16);
    assert_true(h2_header(a.stream, BYTES_LIT("date"), &v));
    assert_int_equal(v.len, 29);
    answer_free(&a);
    peer_request(p, &a, "HEAD", "/hello", BYTES_EMPTY, true);
    peer_until(p, &a.closed);
    assert_true(h2_header(a.stream, BYTES_LIT("content-length"), &v) &&
                bytes_eq(v, BYTES_LIT("5")));
    assert_int_equal(a.body.len, 0);
    answer_free(&a);
    peer_request(p, &a, "POST", "/echo", BYTES_LIT("a body"), true);
    peer_until(p, &a.closed);
    body_is(&a, "a body");
    answer_free(&a);
    peer_request(p, &a, "GET", "/none", BYTES_EMPTY, true);
    peer_until(p, &a.closed);
    assert_int_equal(a.status, 500);
    answer_free(&a);
    peer_request(p, &a, "GET", "/half", BYTES_EMPTY, true);
    peer_until(p, &a.closed);
    assert_int_equal(a.code, H2_INTERNAL_ERROR);
    answer_free(&a);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* All requests of one round are at work together, and their answers come in any order of need. */
static void test_a_port_without_http(void **state)
{
    (void)state;
    struct world w;
    const struct world_options o = {.no_http = true};
    struct answer a = {0}, call = {0};
    world_start(&w, &o);
    struct peer *p = peer_dial(&w, NULL);
    peer_request(p, &a, "GET", "/hello", BYTES_EMPTY, true);
    peer_until(p, &a.closed);
    assert_int_equal(a.status, 404);
    peer_call(p, &call, "Echo", 0);
    assert_int_equal(grpc_send(&call.call, BYTES_LIT("still there"), true), ST_OK);
    peer_until(p, &call.closed);
    assert_int_equal(call.result.code, GRPC_OK);
    peer_close(p);
    answer_free(&a);
    answer_free(&call);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* Channels of gRPC connect ahead of their first call. */
static void test_a_late_first_request(void **state)
{
    (void)state;
    struct world_options o = {.reactor = {.setup_timeout_ms = 100}};
    struct world w;
    struct answer a;
    world_start(&w, &o);
    struct peer *p = peer_dial(&w, NULL);
    env_sleep_ms(env_linux(), 400);
    peer_request(p, &a, "GET", "/hello", BYTES_EMPTY, true);
    peer_until(p, &a.closed);
    assert_int_equal(a.status, 200);
    answer_free(&a);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* At a port that never ends what is idle, a greeting alone holds no connection. */
static void test_a_greeting_alone(void **state)
{
    (void)state;
    struct world_options o = {.reactor = {.setup_timeout_ms = 100},
                              .port = {.idle_timeout_ms = UINT32_MAX}};
    struct world w;
    world_start(&w, &o);
    struct peer *p = peer_dial(&w, NULL);
    while (peer_turn(p))
        ;
    assert_int_equal(world_reactor(&w).timed_out, 1);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_multiplexing(void **state)
{
    (void)state;
    enum { N = 100 };
    struct world w;
    struct answer a[N], wait;
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    peer_request(p, &wait, "GET", "/wait", BYTES_EMPTY, true);
    for (int i = 0; i < N; i++)
        peer_request(p, &a[i], "GET", "/group", BYTES_EMPTY, true);
    for (int i = 0; i < N; i++) {
        peer_until(p, &a[i].closed);
        assert_int_equal(a[i].status, 200);
        body_is(&a[i], "together");
        answer_free(&a[i]);
    }
    assert_true(atomic_load(&w.group) > 1);
    assert_false(wait.closed);
    h2_reset(wait.stream, H2_CANCEL);
    peer_send(p);
    world_until(&w.cancelled, 1);
    answer_free(&wait);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_unary_calls(void **state)
{
    (void)state;
    enum { N = 200 };
    struct world w;
    static struct answer a[N];
    char text[32];
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    for (int i = 0; i < N; i++) {
        peer_call(p, &a[i], "Echo", 0);
        (void)snprintf(text, sizeof text, "message %d", i);
        assert_int_equal(grpc_send(&a[i].call, BYTES_STR(text), true), ST_OK);
    }
    for (int i = 0; i < N; i++) {
        peer_until(p, &a[i].closed);
        assert_int_equal(a[i].result.code, GRPC_OK);
        (void)snprintf(text, sizeof text, "message %d", i);
        body_is(&a[i], text);
        answer_free(&a[i]);
    }
    static const struct {
        const char *method;
        enum grpc_code code;
    } others[] = {{"None", GRPC_INTERNAL}, {"Nonsense", GRPC_UNIMPLEMENTED}};
    for (size_t i = 0; i < 2; i++) {
        peer_call(p, &a[0], others[i].method, 0);
        assert_int_equal(grpc_send(&a[0].call, BYTES_LIT("m"), true), ST_OK);
        peer_until(p, &a[0].closed);
        assert_int_equal(a[0].result.code, others[i].code);
        answer_free(&a[0]);
    }
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* Which code: the table of gRPC's doc/statuscodes.md, "request cardinality violation". */
static void test_none_or_two_messages_where_one_is_taken(void **state)
{
    (void)state;
    static const char *const methods[] = {"Echo", "One"};
    struct world w;
    struct answer a;
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    for (size_t i = 0; i < 2; i++) {
        peer_call(p, &a, methods[i], 0);
        assert_int_equal(grpc_send_end(&a.call), ST_OK);
        peer_until(p, &a.closed);
        assert_int_equal(a.result.code, GRPC_UNIMPLEMENTED);
        answer_free(&a);
        for (int later = 0; later < 2; later++) { /* the second comes by itself */
            peer_call(p, &a, methods[i], 0);
            assert_int_equal(grpc_send(&a.call, BYTES_LIT("first"), false), ST_OK);
            if (later)
                peer_send(p);
            assert_int_equal(grpc_send(&a.call, BYTES_LIT("second"), true), ST_OK);
            peer_until(p, &a.closed);
            assert_int_equal(a.result.code, GRPC_UNIMPLEMENTED);
            assert_int_equal(a.body.len, 0);
            answer_free(&a);
        }
        /* The end by itself is the usual one of some clients. */
        peer_call(p, &a, methods[i], 0);
        assert_int_equal(grpc_send(&a.call, BYTES_LIT("one"), false), ST_OK);
        peer_send(p);
        assert_int_equal(grpc_send_end(&a.call), ST_OK);
        peer_until(p, &a.closed);
        assert_int_equal(a.result.code, GRPC_OK);
        body_is(&a, "one");
        answer_free(&a);
        /* A message, and behind it what is none. */
        peer_call(p, &a, methods[i], 0);
        assert_int_equal(grpc_send(&a.call, BYTES_LIT("one"), false), ST_OK);
        assert_int_equal(h2_write(a.call.stream, BYTES_LIT("\7xxxx"), true), ST_OK);
        peer_until(p, &a.closed);
        assert_int_equal(a.result.code, GRPC_INTERNAL);
        answer_free(&a);
    }
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* Who sends the one message and no end has no handler that waits for it. */
static void test_one_message_without_an_end(void **state)
{
    (void)state;
    struct world w;
    struct world_options o = {.port.body_timeout_ms = 100};
    struct answer a;
    world_start(&w, &o);
    struct peer *p = peer_dial(&w, NULL);
    peer_call(p, &a, "One", 0);
    assert_int_equal(grpc_send(&a.call, BYTES_LIT("one"), false), ST_OK);
    peer_until(p, &a.closed);
    assert_int_equal(a.code, H2_CANCEL);
    assert_int_equal(atomic_load(&w.done), 0);
    answer_free(&a);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_big_messages(void **state)
{
    (void)state;
    enum { LEN = 5 * 1024 * 1024 };
    struct world w;
    struct answer a;
    uint8_t *m = malloc(LEN);
    for (size_t i = 0; i < LEN; i++)
        m[i] = (uint8_t)(i * 7 + i / 1000);
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    peer_call(p, &a, "Echo", 0);
    assert_int_equal(grpc_send(&a.call, BYTES(m, LEN), true), ST_OK);
    peer_until(p, &a.closed);
    assert_int_equal(a.result.code, GRPC_OK);
    assert_int_equal(a.body.len, LEN);
    assert_memory_equal(a.body.data, m, LEN);
    answer_free(&a);
    free(m);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_body_budget(void **state)
{
    (void)state;
    struct world w;
    struct world_options o = {.port.conn_body_bytes = 100000, .port.message_bytes = 1 << 20};
    struct answer a;
    uint8_t *m = calloc(1, 2 << 20);
    world_start(&w, &o);
    struct peer *p = peer_dial(&w, NULL);
    peer_call(p, &a, "Echo", 0);
    assert_int_equal(grpc_send(&a.call, BYTES(m, 300000), true), ST_OK);
    peer_until(p, &a.closed);
    assert_int_equal(a.result.code, GRPC_RESOURCE_EXHAUSTED);
    answer_free(&a);
    peer_request(p, &a, "POST", "/echo", BYTES(m, 300000), true);
    peer_until(p, &a.headers);
    assert_int_equal(a.status, status_http(ST_OVERLOADED));
    answer_free(&a);
    peer_call(p, &a, "Echo", 0);
    assert_int_equal(grpc_send(&a.call, BYTES(m, 2 << 20), true), ST_OK);
    peer_until(p, &a.closed);
    assert_true(a.result.code == GRPC_RESOURCE_EXHAUSTED || a.result.code == GRPC_INVALID_ARGUMENT);
    answer_free(&a);
    peer_call(p, &a, "Echo", 0); /* and the connection is as good as ever */
    assert_int_equal(grpc_send(&a.call, BYTES_LIT("small"), true), ST_OK);
    peer_until(p, &a.closed);
    body_is(&a, "small");
    answer_free(&a);
    free(m);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_streams_both_ways(void **state)
{
    (void)state;
    struct world w;
    struct answer a;
    static const uint8_t block[10000];
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    peer_call(p, &a, "Sum", 0);
    for (int i = 0; i < 300; i++) {
        while (grpc_send(&a.call, BYTES(block, sizeof block), i == 299) == ST_OVERLOADED)
            peer_turn(p);
        peer_send(p);
    }
    peer_until(p, &a.closed);
    assert_int_equal(a.result.code, GRPC_OK);
    body_is(&a, "3000000");
    answer_free(&a);
    peer_call(p, &a, "Stream", 0);
    assert_int_equal(grpc_send(&a.call, BYTES_LIT("20000000"), true), ST_OK);
    peer_until(p, &a.closed);
    assert_int_equal(a.result.code, GRPC_OK);
    assert_int_equal(a.body.len, 20000000);
    answer_free(&a);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* One stream's reader does not read; the others on its connection do not notice. */
static void test_slow_stream(void **state)
{
    (void)state;
    struct world w;
    struct answer slow, quick;
    struct h2_options o = {.stream_window = 70000, .conn_window = 10 << 20};
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, &o);
    peer_call(p, &slow, "Stream", 0);
    slow.hold = true;
    /* Nothing is taken out of the call, so its window is not opened again. */
    assert_int_equal(grpc_send(&slow.call, BYTES_LIT("1000000000"), true), ST_OK);
    peer_until(p, &slow.headers);
    for (int i = 0; i < 20; i++) {
        peer_call(p, &quick, "Echo", 0);
        assert_int_equal(grpc_send(&quick.call, BYTES_LIT("quick"), true), ST_OK);
        peer_until(p, &quick.closed);
        body_is(&quick, "quick");
        answer_free(&quick);
    }
    assert_true(atomic_load(&w.streamed) < 1u << 20);
    grpc_cancel(&slow.call);
    peer_send(p);
    world_until(&w.cancelled, 1);
    answer_free(&slow);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_deadlines(void **state)
{
    (void)state;
    struct world w;
    struct answer a;
    struct h2_options o = {.stream_window = 70000};
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, &o);
    peer_call(p, &a, "Wait", 30 * 1000000);
    assert_int_equal(grpc_send(&a.call, BYTES_LIT("m"), true), ST_OK);
    peer_until(p, &a.closed);
    assert_int_equal(a.result.code, GRPC_DEADLINE_EXCEEDED);
    assert_int_equal(atomic_load(&w.timed_out), 1);
    answer_free(&a);
    peer_call(p, &a, "Stream", 30 * 1000000); /* while it waits for room */
    a.hold = true;
    assert_int_equal(grpc_send(&a.call, BYTES_LIT("1000000000"), true), ST_OK);
    peer_until(p, &a.headers);
    world_until(&w.timed_out, 2);
    answer_free(&a);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_closed_socket_cancels_all(void **state)
{
    (void)state;
    enum { N = 20 };
    struct world w;
    struct answer a[N];
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    for (int i = 0; i < N; i++) {
        peer_call(p, &a[i], "Wait", 0);
        assert_int_equal(grpc_send(&a[i].call, BYTES_LIT("m"), true), ST_OK);
    }
    peer_send(p);
    world_until(&w.running, N);
    for (int i = 0; i < N; i++) /* resets, and then the end of the connection, in one go */
        if (i % 2)
            grpc_cancel(&a[i].call);
    peer_send(p);
    for (int i = 0; i < N; i++)
        answer_free(&a[i]);
    peer_close(p);
    world_until(&w.cancelled, N);
    assert_int_equal(atomic_load(&w.stop_hooks), N);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_rapid_resets(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    unsigned opened = 0;
    struct port_stats ps = {.http2_conns = 1};
    for (int i = 0; i < 20000; i++) {
        struct wire_header h[] = {
            WIRE_HEADER(BYTES_LIT(":method"), BYTES_LIT("GET")),
            WIRE_HEADER(BYTES_LIT(":scheme"), BYTES_LIT("http")),
            WIRE_HEADER(BYTES_LIT(":authority"), BYTES_LIT("here")),
            WIRE_HEADER(BYTES_LIT(":path"), BYTES_LIT("/wait")),
        };
        struct answer a = {0};
        struct h2_stream *s;
        if (h2_request(peer_h2(p), h, 4, true, &a, &s) != ST_OK)
            break;
        peer_send(p);
        h2_reset(s, H2_CANCEL);
        h2_release(s);
        peer_send(p);
        opened++;
    }
    for (int i = 0; i < 20000 && ps.http2_conns > 0; i++) {
        usleep(1000);
        port_stats_of(w.port, &ps);
    }
    assert_int_equal(ps.http2_conns, 0); /* cut off, with a name for the limit */
    assert_true(opened >= 1000);
    peer_close(p);
    p = peer_dial(&w, NULL);
    struct answer a;
    peer_request(p, &a, "GET", "/hello", BYTES_EMPTY, true);
    peer_until(p, &a.closed);
    body_is(&a, "hello");
    answer_free(&a);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_garbage_and_halves(void **state)
{
    (void)state;
    struct world w;
    struct answer a;
    world_start(&w, NULL);
    int fd = dial(&w); /* the preface, then nonsense */
    say(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    uint8_t junk[1000];
    for (size_t i = 0; i < sizeof junk; i++)
        junk[i] = (uint8_t)(i * 37 + 11);
    say_bytes(fd, junk, sizeof junk);
    size_t len;
    free(hear_all(fd, &len)); /* it ends */
    close(fd);
    fd = dial(&w); /* half a frame, and gone */
    say(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    say_bytes(fd, "\x00\x00\x12\x04\x00", 5);
    close(fd);
    struct peer *p = peer_dial(&w, NULL); /* byte by byte */
    struct bytes out;
    peer_request(p, &a, "POST", "/echo", BYTES_LIT("slowly"), true);
    while (h2_output(peer_h2(p), &out) == ST_OK && out.len) {
        for (size_t i = 0; i < out.len; i++)
            say_bytes(peer_fd(p), out.data + i, 1);
        h2_output_done(peer_h2(p), out.len);
    }
    peer_until(p, &a.closed);
    body_is(&a, "slowly");
    answer_free(&a);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_silent_streams_are_reset(void **state)
{
    (void)state;
    struct world w;
    struct world_options o = {.port.body_timeout_ms = 50};
    struct answer a, b;
    world_start(&w, &o);
    struct peer *p = peer_dial(&w, NULL);
    peer_call(p, &a, "Echo", 0);
    peer_request(p, &b, "POST", "/echo", BYTES_LIT("begun"), false);
    peer_until(p, &a.closed);
    peer_until(p, &b.closed);
    assert_int_equal(a.code, H2_CANCEL);
    assert_int_equal(b.code, H2_CANCEL);
    answer_free(&a);
    answer_free(&b);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void call_joined(struct peer *p, struct answer *a, const char *message)
{
    peer_call(p, a, "Joined", 0);
    assert_int_equal(grpc_send(&a->call, BYTES_STR(message), true), ST_OK);
    peer_send(p);
}

/* Who comes while a join is under way is not answered by it. */
static void test_a_join_is_for_who_came_before(void **state)
{
    (void)state;
    struct world w;
    struct answer a, b, alone;
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    call_joined(p, &a, "a");
    world_until(&w.joins, 1);
    call_joined(p, &b, "b");
    world_until(&w.joins, 2);
    call_joined(p, &alone, "alone");
    peer_until(p, &alone.closed);
    assert_int_equal(atomic_load(&w.running), 1);
    atomic_store(&w.joins_may_end, 1);
    peer_until(p, &a.closed);
    body_is(&a, "a");
    assert_false(b.closed);
    assert_int_equal(atomic_load(&w.running), 2);
    atomic_store(&w.joins_fail, 1);
    atomic_store(&w.joins_may_end, 2);
    peer_until(p, &b.closed);
    assert_int_equal(b.result.code, GRPC_UNAVAILABLE);
    assert_string_equal(buf_cstr(&b.result.message), "nobody leads");
    answer_free(&a);
    answer_free(&b);
    answer_free(&alone);
    peer_close(p);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_joined_calls_have_no_fibers(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct answer a[2][N];
    struct world w;
    struct port_stats ps = {0};
    struct world_options o = {.reactor.max_fibers = 390};
    world_start(&w, &o);
    struct peer *p[2] = {peer_dial(&w, NULL), peer_dial(&w, NULL)};
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N; i++) {
            peer_call(p[k], &a[k][i], "Joined", 0);
            assert_int_equal(grpc_send(&a[k][i].call, BYTES_LIT("m"), true), ST_OK);
        }
    peer_send(p[0]);
    peer_send(p[1]);
    for (int i = 0; i < 20000 && ps.requests_active < (uint64_t)2 * N; i++) {
        usleep(1000);
        port_stats_of(w.port, &ps);
    }
    assert_int_equal(ps.requests_active, 2 * N);
    assert_int_equal(world_reactor(&w).fibers, atomic_load(&w.joins));
    assert_int_equal(atomic_load(&w.running), 0);
    grpc_cancel(&a[0][0].call); /* one resets its call, the other goes away */
    peer_send(p[0]);
    for (int i = 0; i < N; i++)
        answer_free(&a[1][i]);
    peer_close(p[1]);
    atomic_store(&w.joins_may_end, UINT32_MAX);
    for (int i = 1; i < N; i++) {
        peer_until(p[0], &a[0][i].closed);
        body_is(&a[0][i], "m");
    }
    for (int i = 0; i < N; i++)
        answer_free(&a[0][i]);
    peer_close(p[0]);
    assert_int_equal(world_stop(&w, 5000), 0);
    assert_int_equal(atomic_load(&w.running), 2 * N);
}

static void test_drain(void **state)
{
    (void)state;
    struct world w;
    struct answer a;
    world_start(&w, NULL);
    struct peer *p = peer_dial(&w, NULL);
    peer_call(p, &a, "Wait", 0);
    assert_int_equal(grpc_send(&a.call, BYTES_LIT("m"), true), ST_OK);
    peer_send(p);
    world_until(&w.running, 1);
    assert_int_equal(world_stop(&w, 10000), 0);
    peer_until(p, &a.closed);
    assert_int_equal(a.result.code, status_grpc(ST_CLOSED));
    assert_true(h2_shutting_down(peer_h2(p)));
    answer_free(&a);
    peer_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_http),
        cmocka_unit_test(test_a_port_without_http),
        cmocka_unit_test(test_a_late_first_request),
        cmocka_unit_test(test_a_greeting_alone),
        cmocka_unit_test(test_multiplexing),
        cmocka_unit_test(test_unary_calls),
        cmocka_unit_test(test_none_or_two_messages_where_one_is_taken),
        cmocka_unit_test(test_one_message_without_an_end),
        cmocka_unit_test(test_big_messages),
        cmocka_unit_test(test_body_budget),
        cmocka_unit_test(test_streams_both_ways),
        cmocka_unit_test(test_slow_stream),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_closed_socket_cancels_all),
        cmocka_unit_test(test_rapid_resets),
        cmocka_unit_test(test_garbage_and_halves),
        cmocka_unit_test(test_silent_streams_are_reset),
        cmocka_unit_test(test_a_join_is_for_who_came_before),
        cmocka_unit_test(test_joined_calls_have_no_fibers),
        cmocka_unit_test(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
