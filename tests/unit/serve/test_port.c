/* The port over HTTP/1.1, by raw bytes on real sockets. */
#include "port_world.h"

#include "base/alloc.h"
#include "support/cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned count_of(const char *in, const char *what)
{
    unsigned n = 0;
    for (const char *p = in; (p = strstr(p, what)) != NULL; p += strlen(what))
        n++;
    return n;
}

/* Says it and hears until the server ends the connection. */
static void expect(const struct world *w, const char *request, const char *status,
                   const char *inside)
{
    int fd = dial(w);
    say(fd, request);
    char *got = hear_all(fd, NULL);
    if (strncmp(got, status, strlen(status)) != 0 || !strstr(got, inside))
        fail_msg("to \"%s\" came \"%s\"", request, got);
    free(got);
    close(fd);
}

static void test_answers(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    expect(&w, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n",
           "\r\n\r\nhello");
    expect(&w, "GET /hello HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nhello");
    expect(&w, "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 404",
           "no such path");
    expect(&w, "GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 500",
           "was not answered");
    expect(&w,
           "GET /headers?a=1&b HTTP/1.1\r\nHost: me:7\r\nX-THING: thing\r\nX-Request-Id: id-1\r\n"
           "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"
           "Connection: close\r\n\r\n",
           "HTTP/1.1 200",
           "GET|/headers|a=1&b|me:7|thing|id-1|"
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    expect(&w,
           "GET /headers HTTP/1.1\r\nHost: a\r\nX-Request-Id: not sane\r\n"
           "traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01\r\n"
           "Connection: close\r\n\r\n",
           "HTTP/1.1 200", "|none|");
    expect(&w,
           "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfour",
           "HTTP/1.1 200", "\r\n\r\nfour");
    expect(&w,
           "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
           "\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
           "HTTP/1.1 200", "\r\n\r\nabcde");
    world_until(&w.done, 8);
    struct buf m = BUF_INIT;
    assert_int_equal(metrics_print(w.metrics, &m), ST_OK);
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"200\"} 6"));
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"404\"} 1"));
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"500\"} 1"));
    buf_deinit(&m);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* Where only gRPC is spoken, who asks in plain HTTP is refused. */
static void test_a_port_without_http(void **state)
{
    (void)state;
    struct world w;
    const struct world_options o = {.no_http = true};
    world_start(&w, &o);
    expect(&w, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 404",
           "gRPC");
    expect(&w,
           "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfour",
           "HTTP/1.1 404", "gRPC");
    world_until(&w.done, 2);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* RFC 9112, 3.2.2. */
static void test_absolute_targets(void **state)
{
    (void)state;
    static const char *const refused_paths[] = {"http:///headers", "http://u@b/headers",
                                                "ftp://b/headers", "http:/headers"};
    struct world w;
    char request[200];
    world_start(&w, NULL);
    expect(&w,
           "GET http://b:7/headers?a=http://c/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
           "HTTP/1.1 200", "GET|/headers|a=http://c/|b:7|");
    expect(&w, "GET HTTPS://[::1]/headers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
           "HTTP/1.1 200", "GET|/headers||[::1]|");
    expect(&w, "GET http://b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 404",
           "no such path");
    for (size_t i = 0; i < sizeof refused_paths / sizeof refused_paths[0]; i++) {
        (void)snprintf(request, sizeof request,
                       "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", refused_paths[i]);
        expect(&w, request, "HTTP/1.1 4", "");
    }
    /* Host is still to be there, once. */
    expect(&w, "GET http://b/headers HTTP/1.1\r\n\r\n", "HTTP/1.1 400", "Host");
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_head_has_no_body(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    int fd = dial(&w);
    say(fd, "HEAD /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    char *got = hear_all(fd, NULL);
    assert_non_null(strstr(got, "Content-Length: 5\r\n"));
    assert_null(strstr(got, "hello"));
    free(got);
    close(fd);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_pipelining_and_halves(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    int fd = dial(&w);
    for (int i = 0; i < 50; i++)
        say(fd, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
                "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nhello, ");
    /* One more, byte by byte. */
    const char *last = "GET /late HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for (const char *p = last; *p; p++)
        say_bytes(fd, p, 1);
    char *got = hear_all(fd, NULL);
    assert_int_equal(count_of(got, "HTTP/1.1 200 OK"), 101);
    assert_int_equal(count_of(got, "\r\n\r\nhello"), 100);
    free(got);
    close(fd);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* A preface that turns out to be none. */
static void test_garbage(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    expect(&w, "PRI * HTTP/1.1\r\n\r\n", "HTTP/1.1 400", "problem");
    expect(&w, "\x16\x03\x01\x02\x01garbage\r\n\r\n", "HTTP/1.1 400", "");
    expect(&w, "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400", "");
    expect(&w, "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
           "HTTP/1.1 400", "");
    expect(&w, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
           "HTTP/1.1 413", "");
    int fd = dial(&w);
    char *line = malloc(200000);
    memset(line, 'a', 200000);
    say(fd, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    say_bytes(fd, line, 200000);
    free(line);
    char *got = hear_all(fd, NULL); /* the answer, unless the reset was faster */
    assert_true(strncmp(got, "HTTP/1.1 431", 12) == 0 || *got == '\0');
    free(got);
    close(fd);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* What the parser refuses is told as by the HTTP door: docs/http.md, "What goes wrong". */
static void refused(const struct world *w, const char *request, unsigned status, const char *kind,
                    const char *detail, const char *id)
{
    char line[32], type[100], member[100], header[100];
    int fd = dial(w);
    say(fd, request);
    char *got = hear_all(fd, NULL);
    (void)snprintf(line, sizeof line, "HTTP/1.1 %u ", status);
    (void)snprintf(type, sizeof type, "{\"type\":\"urn:varve:problem:%s\",\"title\":\"", kind);
    (void)snprintf(member, sizeof member, "\"request_id\":\"%s", id);
    (void)snprintf(header, sizeof header, "\r\nx-request-id: %s", id);
    if (strncmp(got, line, strlen(line)) != 0 || !strstr(got, type) || !strstr(got, detail) ||
        !strstr(got, member) || !strstr(got, header) || !strstr(got, "\"detail\":\"HTTP/1.1: ") ||
        !strstr(got, "\r\ncontent-type: application/problem+json\r\n"))
        fail_msg("to \"%.100s\" came \"%s\"", request, got);
    free(got);
    close(fd);
}

static void test_refusals_are_problems(void **state)
{
    (void)state;
    struct world w;
    struct world_options o = {.port = {.header_bytes = 9000, .head_timeout_ms = 50}};
    char line[9100];
    world_start(&w, &o);
    refused(&w, "GET / HTTP/1.1\r\n\r\n", 400, "invalid-argument", "not one Host", "");
    refused(&w, "\x16\x03\x01\x02\x01g\r\n\r\n", 400, "invalid-argument", "line", "");
    refused(&w, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "not-implemented", "", "");
    refused(&w, "GET / HT", 408, "timed-out", "headers_timeout_ms", "");
    refused(&w,
            "POST /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nContent-Length: "
            "99999999999\r\n\r\n",
            413, "over-a-named-limit",
            "body_bytes: over the limit of 67108864\",\"limit\":67108864,", "mine");
    refused(&w,
            "POST /echo HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nTransfer-Encoding: "
            "chunked\r\n\r\nzz\r\n",
            400, "invalid-argument", "hexadecimal", "mine");
    refused(&w, "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "invalid-argument", "version", "");
    refused(&w, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: luck\r\n\r\n", 417, "invalid-argument",
            "Expect", "");
    /* A path is bounded by what bounds the head, as over HTTP/2. */
    (void)snprintf(line, sizeof line, "GET /%08900d HTTP/1.1\r\n\r\n", 0);
    refused(&w, line, 400, "invalid-argument", "not one Host", "");
    (void)snprintf(line, sizeof line, "GET /%09000d", 0);
    line[9001] = '\0';
    refused(&w, line, 431, "over-a-named-limit", "header_bytes", "");
    (void)snprintf(line, sizeof line, "GET / HTTP/1.1\r\nX: %09000d", 0);
    line[9001] = '\0';
    refused(&w, line, 431, "over-a-named-limit",
            "header_bytes: over the limit of 9000\",\"limit\":9000,", "");
    int fd = dial(&w); /* to HEAD no body is sent, to a refused one neither */
    say(fd, "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n");
    char *got = hear_all(fd, NULL);
    assert_memory_equal(got, "HTTP/1.1 413 ", 13);
    assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
    free(got);
    close(fd);
    world_until(&w.done, 12);
    struct buf m = BUF_INIT;
    assert_int_equal(metrics_print(w.metrics, &m), ST_OK);
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"413\"} 2"));
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"417\"} 1"));
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"431\"} 2"));
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"505\"} 1"));
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"other\"} 0"));
    buf_deinit(&m);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_bodies(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    enum { LEN = 3 * 1024 * 1024 };
    uint8_t *body = malloc(LEN);
    uint64_t sum = 0;
    char want[64], head[200];
    for (size_t i = 0; i < LEN; i++)
        sum += body[i] = (uint8_t)(i * 31);
    int fd = dial(&w);
    (void)snprintf(head, sizeof head,
                   "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", LEN);
    say(fd, head);
    say_bytes(fd, body, LEN);
    (void)snprintf(want, sizeof want, "%d %llu", LEN, (unsigned long long)sum);
    free(hear_until(fd, want));
    /* The same connection goes on; larger than the handler takes whole. */
    (void)snprintf(
        head, sizeof head,
        "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: %d\r\n"
        "\r\n",
        LEN);
    say(fd, head);
    free(hear_until(fd, "HTTP/1.1 413"));
    close(fd);
    fd = dial(&w);
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    free(hear_until(fd, "HTTP/1.1 100 Continue\r\n\r\n"));
    say(fd, "ok");
    free(hear_until(fd, "\r\n\r\nok"));
    close(fd);
    free(body);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_stream_and_break_off(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    int fd = dial(&w);
    size_t len;
    say(fd, "GET /stream?1000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    char *got = hear_all(fd, &len);
    assert_non_null(strstr(got, "Transfer-Encoding: chunked"));
    assert_memory_equal(got + len - 5, "0\r\n\r\n", 5);
    assert_true(len > 1000000);
    free(got);
    close(fd);
    fd = dial(&w);
    say(fd, "GET /half HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    got = hear_all(fd, &len);
    assert_null(strstr(got, "0\r\n\r\n"));
    free(got);
    close(fd);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* A gigabyte for who does not read costs no more than the queues. */
static void test_slow_reader(void **state)
{
    (void)state;
    struct world w;
    struct world_options o = {.reactor.send_timeout_ms = UINT64_MAX};
    world_start(&w, &o);
    int fd = dial(&w);
    say(fd, "GET /stream?1000000000 HTTP/1.1\r\nHost: a\r\n\r\n");
    free(hear_until(fd, "xxx"));
    uint64_t before = 0, now = 1;
    while (before != now) { /* until it stands still: what the kernel takes, and the queues */
        before = now;
        usleep(100000);
        now = atomic_load(&w.streamed);
    }
    assert_true(now < 64u << 20);
    assert_true(world_reactor(&w).output_bytes < 1u << 20);
    assert_int_equal(atomic_load(&w.running), 0);
    close(fd); /* and its handler is told */
    world_until(&w.write_closed, 1);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_closed_socket_cancels(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    int fd = dial(&w);
    say(fd, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    world_until(&w.running, 1);
    close(fd);
    world_until(&w.cancelled, 1);
    assert_int_equal(atomic_load(&w.stop_hooks), 1);
    /* In the middle of a body. */
    fd = dial(&w);
    say(fd, "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
    char *body = calloc(1, 200000);
    say_bytes(fd, body, 200000);
    free(body);
    world_until(&w.running, 2);
    close(fd);
    world_until(&w.cancelled, 2);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_deadline(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    int fd = dial(&w);
    say(fd, "POST /late HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n");
    free(hear_until(fd, "HTTP/1.1 504"));
    close(fd);
    assert_int_equal(atomic_load(&w.timed_out), 1);
    world_until(&w.done, 1);
    struct buf m = BUF_INIT;
    assert_int_equal(metrics_print(w.metrics, &m), ST_OK);
    assert_non_null(strstr(buf_cstr(&m), "varve_http_requests_total{code=\"504\"} 1"));
    buf_deinit(&m);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_slow_head_is_cut(void **state)
{
    (void)state;
    struct world w;
    struct world_options o = {.port.head_timeout_ms = 50, .port.body_timeout_ms = 50};
    world_start(&w, &o);
    expect(&w, "GET / HT", "HTTP/1.1 408", "");
    expect(&w, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc", "HTTP/1.1 408",
           "");
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* The setup timeout is over with the head, however slowly the body comes. */
static void test_slow_body_goes_on(void **state)
{
    (void)state;
    struct world_options o = {.reactor = {.setup_timeout_ms = 100}};
    struct world w;
    world_start(&w, &o);
    int fd = dial(&w);
    say(fd, "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n");
    for (const char *p = "four"; *p; p++) {
        usleep(100 * 1000);
        say_bytes(fd, p, 1);
    }
    char *got = hear_until(fd, "four");
    assert_non_null(strstr(got, "HTTP/1.1 200"));
    free(got);
    close(fd);
    assert_int_equal(world_stop(&w, 5000), 0);
}

static void test_drain(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    int idle = dial(&w), busy = dial(&w);
    say(idle, "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    free(hear_until(idle, "\r\n\r\nhello"));
    say(busy, "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    world_until(&w.running, 1);
    assert_int_equal(world_stop(&w, 10000), 0);
    char *got = hear_all(busy, NULL);
    assert_non_null(strstr(got, "\r\n\r\nstopped"));
    free(got);
    got = hear_all(idle, NULL);
    assert_string_equal(got, "");
    free(got);
    assert_int_equal(atomic_load(&w.closed), 1);
    close(idle);
    close(busy);
}

static void test_out_of_fibers(void **state)
{
    (void)state;
    struct world w;
    struct world_options o = {.reactor.max_fibers = 2};
    world_start(&w, &o);
    int fd[3];
    for (int i = 0; i < 2; i++) {
        fd[i] = dial(&w);
        say(fd[i], "GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    world_until(&w.running, 2);
    fd[2] = dial(&w);
    say(fd[2], "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    free(hear_until(fd[2], "HTTP/1.1 503"));
    for (int i = 0; i < 3; i++)
        close(fd[i]);
    world_until(&w.cancelled, 2);
    assert_int_equal(world_stop(&w, 5000), 0);
}

/* Without memory a request is refused or its connection ends; nothing is lost or used twice. */
static void starve(const struct world *w, const void *bytes, size_t len, unsigned upto)
{
    for (unsigned n = 1; n <= upto; n++) {
        mem_fail_at(n, 0);
        int fd = dial(w);
        say_bytes(fd, bytes, len);
        shutdown(fd, SHUT_WR);
        free(hear_all(fd, NULL));
        close(fd);
        mem_fail_at(0, 0);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct world w;
    world_start(&w, NULL);
    const char *http1 = "GET /headers HTTP/1.1\r\nHost: a\r\n\r\n"
                        "POST /pieces HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
                        "GET /stream?100000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    starve(&w, http1, strlen(http1), 60);
    struct h2_conn *c; /* what a client would say, made while there is memory */
    struct buf said = BUF_INIT;
    struct bytes out;
    struct answer a[3];
    c = peer_alone();
    alone_request(c, &a[0], "/headers", BYTES_EMPTY);
    alone_request(c, &a[1], "/pieces", BYTES_LIT("hello"));
    alone_request(c, &a[2], "/stream?100000", BYTES_EMPTY);
    while (h2_output(c, &out) == ST_OK && out.len) {
        assert_int_equal(buf_append(&said, out.data, out.len), ST_OK);
        h2_output_done(c, out.len);
    }
    starve(&w, said.data, said.len, 200);
    for (int i = 0; i < 3; i++)
        h2_release(a[i].stream);
    h2_conn_free(c);
    buf_deinit(&said);
    expect(&w, "GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n",
           "\r\n\r\nhello");
    assert_int_equal(world_stop(&w, 5000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_a_port_without_http),
        cmocka_unit_test(test_absolute_targets),
        cmocka_unit_test(test_head_has_no_body),
        cmocka_unit_test(test_pipelining_and_halves),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_refusals_are_problems),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_stream_and_break_off),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_closed_socket_cancels),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_slow_head_is_cut),
        cmocka_unit_test(test_slow_body_goes_on),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_out_of_fibers),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
