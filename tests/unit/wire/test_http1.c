/* Requests and responses, whole, split and broken. */
#include "base/alloc.h"
#include "base/buf.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "wire/http1/http1.h"

#include <stdio.h>
#include <stdlib.h>

/* What a server was told, as text: "METHOD target (n headers) [body]" for each request. */
struct seen {
    struct h1_conn *c;
    struct buf log;
    bool answer; /* each request at its end, with its target */
    unsigned ends;
};

static void log_text(struct seen *s, const char *text, struct bytes more)
{
    assert_int_equal(buf_append(&s->log, text, strlen(text)), ST_OK);
    assert_int_equal(buf_append(&s->log, more.data, more.len), ST_OK);
}

static void on_headers(void *arg, struct h1_conn *c)
{
    struct seen *s = arg;
    char count[20];
    size_t n;
    (void)h1_headers(c, &n);
    (void)snprintf(count, sizeof count, " %zu ", n);
    log_text(s, "", h1_method(c));
    log_text(s, " ", h1_target(c));
    log_text(s, count, BYTES_LIT("["));
}

static void on_data(void *arg, struct h1_conn *c, struct bytes data)
{
    struct seen *s = arg;
    (void)c;
    assert_true(data.len > 0);
    log_text(s, "", data);
}

static void on_end(void *arg, struct h1_conn *c)
{
    struct seen *s = arg;
    log_text(s, "]", BYTES_EMPTY);
    s->ends++;
    if (!s->answer)
        return;
    struct bytes target = h1_target(c);
    assert_int_equal(h1_respond(c, 200, NULL, 0, (int64_t)target.len), ST_OK);
    assert_int_equal(h1_write(c, target), ST_OK);
    assert_int_equal(h1_end(c), ST_OK);
}

static const struct h1_events events = {.headers = on_headers, .data = on_data, .end = on_end};

static void open_server(struct seen *s, const struct h1_options *o, bool answer)
{
    *s = (struct seen){.answer = answer};
    assert_int_equal(h1_server_new(o, &events, s, 0, &s->c), ST_OK);
}

static void close_server(struct seen *s)
{
    h1_conn_free(s->c);
    buf_deinit(&s->log);
}

static enum status give(struct seen *s, struct bytes in, struct err *err)
{
    size_t used;
    err_init(err);
    enum status st = h1_recv(s->c, in, 0, &used, err);
    assert_true(used <= in.len);
    assert_true(st != ST_OK || used == in.len || !h1_wants_input(s->c));
    return st;
}

struct good {
    const char *in, *log;
};

static const struct good goods[] = {
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / 1 []"},
    {"\r\nGET /x HTTP/1.1\r\nhost:a\r\nA:  b \t\r\n\r\n", "GET /x 2 []"},
    {"GET /?q=%20 HTTP/1.0\r\n\r\n", "GET /?q=%20 0 []"},
    {"PUT /k HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "PUT /k 2 [hello]"},
    {"PUT /k HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "PUT /k 2 []"},
    {"POST /k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
     "POST /k 2 [hello!]"},
    {"POST /k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
     "Chunked\r\n\r\n00A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
     "POST /k 2 [0123456789]"},
    {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * 1 []"},
    {"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n", "GET http://a/b 1 []"},
    {"GET / HTTP/1.1\r\nHost: [fe80::1%25lo]:7878\r\n\r\n", "GET / 1 []"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", "GET / 1 []"},
    {"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
     "GET / 1 []GET /2 1 []"},
    {"PUT /k HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhiDELETE /k HTTP/1.1\r\nHost: "
     "a\r\n\r\n",
     "PUT /k 2 [hi]DELETE /k 1 []"},
};

static void requests_are_read_however_they_are_split(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goods / sizeof goods[0]; i++) {
        struct bytes in = BYTES_STR(goods[i].in);
        for (size_t cut = 0; cut <= in.len; cut++) {
            struct seen s;
            struct err err;
            open_server(&s, NULL, true);
            if (give(&s, BYTES(in.data, cut), &err) != ST_OK ||
                give(&s, BYTES(in.data + cut, in.len - cut), &err) != ST_OK)
                fail_msg("%s: %s", goods[i].in, err.detail);
            assert_string_equal(buf_cstr(&s.log), goods[i].log);
            close_server(&s);
        }
        struct seen s;
        struct err err;
        open_server(&s, NULL, true);
        for (size_t at = 0; at < in.len; at++)
            assert_int_equal(give(&s, BYTES(in.data + at, 1), &err), ST_OK);
        assert_string_equal(buf_cstr(&s.log), goods[i].log);
        close_server(&s);
    }
}

struct wrong {
    unsigned http;
    const char *in;
};

#define HEAD "POST / HTTP/1.1\r\nHost: a\r\n"
#define TE   HEAD "Transfer-Encoding: chunked\r\n\r\n"
static const struct wrong wrongs[] = {
    /* two lengths, or none that is sure */
    {400, HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {400, HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"},
    {400, HEAD "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"},
    {400, HEAD "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"},
    {400, HEAD "Content-Length: 5, 5\r\n\r\n"},
    {400, HEAD "Content-Length: +5\r\n\r\n"},
    {400, HEAD "Content-Length: -5\r\n\r\n"},
    {400, HEAD "Content-Length: 0x5\r\n\r\n"},
    {400, HEAD "Content-Length: 5 5\r\n\r\n"},
    {400, HEAD "Content-Length:\r\n\r\n"},
    {400, HEAD "Content-Length: 99999999999999999999\r\n\r\n"},
    {400, HEAD "Transfer-Encoding: chunked, gzip\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: xchunked\r\n\r\n"},
    {400, HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {501, HEAD "Transfer-Encoding: identity\r\n\r\n"},
    {400, "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
    /* lines and names */
    {400, HEAD "A: b\r\n c\r\n\r\n"},
    {400, HEAD "A: b\r\n\tc\r\n\r\n"},
    {400, HEAD "A: b\n\n"},
    {400, HEAD "A: b\nB: c\r\n\r\n"},
    {400, HEAD "A: b\rB: c\r\n\r\n"},
    {400, HEAD "A : b\r\n\r\n"},
    {400, HEAD "Content-Length : 5\r\n\r\n"},
    {400, HEAD " A: b\r\n\r\n"},
    {400, HEAD ": b\r\n\r\n"},
    {400, HEAD "A\r\n\r\n"},
    {400, HEAD "A\x01: b\r\n\r\n"},
    {400, HEAD "A: b\x7f\r\n\r\n"},
    {400, HEAD "(A): b\r\n\r\n"},
    {400, "POST / HTTP/1.1\r\n A: b\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\n\n"},
    {400, "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    /* the first line */
    {400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n"},
    {400, "GET /\r\nHost: a\r\n\r\n"},
    {400, "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, "FROB / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {501, "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/2.0\r\nHost: a\r\n\r\n"},
    {505, "GET / HTTP/9.9\r\nHost: a\r\n\r\n"},
    /* Host */
    {400, "GET / HTTP/1.1\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a\r\nhOst: b\r\n\r\n"},
    {400, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "GET / HTTP/1.1\r\nHost: me@a\r\n\r\n"},
    {400, "GET / HTTP/1.0\r\nHost: a\xc3\xa4\r\n\r\n"},
    {417, HEAD "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n"},
    /* chunks */
    {400, TE "5;a=b\r\nhello\r\n0\r\n\r\n"},
    {400, TE "5 \r\nhello\r\n0\r\n\r\n"},
    {400, TE " 5\r\nhello\r\n0\r\n\r\n"},
    {400, TE "5\nhello\r\n0\r\n\r\n"},
    {400, TE "5\r\nhello\n0\r\n\r\n"},
    {400, TE "5\r\nhelloX\r\n0\r\n\r\n"},
    {400, TE "0x5\r\nhello\r\n0\r\n\r\n"},
    {400, TE "-5\r\nhello\r\n0\r\n\r\n"},
    {400, TE "\r\nhello\r\n0\r\n\r\n"},
    {400, TE "000000005\r\nhello\r\n0\r\n\r\n"},
    {400, TE "0\r\n\nGET / HTTP/1.1\r\n"},
    {400, TE "0\r\nA: b\n\r\n"},
    {400, TE "0\r\nA: b\r\n c\r\n\r\n"},
    {400, TE "0\r\nA: b\rc\r\n\r\n"},
    {413, TE "7fffffff\r\n"},
};

static void what_could_be_read_two_ways_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof wrongs[0]; i++) {
        struct bytes in = BYTES_STR(wrongs[i].in);
        struct seen s;
        struct err err;
        struct h1_options o = {.body_bytes = 1 << 20};
        for (size_t step = 1; step <= in.len; step += in.len - 1) {
            open_server(&s, &o, true);
            enum status st = ST_OK;
            for (size_t at = 0; st == ST_OK && at < in.len; at += step)
                st = give(&s, BYTES(in.data + at, step < in.len - at ? step : in.len - at), &err);
            if (wrongs[i].http == 413) { /* known only when so much has come */
                static uint8_t zeros[(1 << 20) + 1];
                assert_int_equal(st, ST_OK);
                st = give(&s, BYTES(zeros, sizeof zeros), &err);
            }
            if (st == ST_OK || h1_error_status(s.c) != wrongs[i].http)
                fail_msg("%s: status %u %s", wrongs[i].in, h1_error_status(s.c), err.detail);
            assert_int_equal(give(&s, BYTES_LIT("GET / HTTP/1.1\r\n"), &err), ST_CLOSED);
            /* The refusal can be told, and then it is over. */
            assert_false(h1_finished(s.c));
            assert_int_equal(h1_respond(s.c, wrongs[i].http, NULL, 0, 2), ST_OK);
            assert_int_equal(h1_write(s.c, BYTES_LIT("no")), ST_OK);
            assert_int_equal(h1_end(s.c), ST_OK);
            struct bytes out = h1_output(s.c);
            assert_non_null(memmem(out.data, out.len, "Connection: close\r\n\r\nno", 23));
            h1_output_done(s.c, out.len);
            assert_true(h1_finished(s.c));
            assert_int_equal(s.ends, 0);
            close_server(&s);
        }
    }
}

static void a_nul_is_refused_anywhere(void **state)
{
    (void)state;
    char text[] = "POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n";
    for (size_t i = 0; i + 1 < sizeof text - 4; i++) {
        struct seen s;
        struct err err;
        char with[sizeof text];
        memcpy(with, text, sizeof text);
        with[i] = '\0';
        open_server(&s, NULL, true);
        assert_int_not_equal(give(&s, BYTES(with, sizeof with - 1), &err), ST_OK);
        close_server(&s);
    }
}

static void limits_have_names(void **state)
{
    (void)state;
    struct h1_options o = {
        .request_line = 50, .header_bytes = 200, .header_count = 5, .body_bytes = 10};
    static const struct {
        unsigned http;
        const char *name, *in;
    } cases[] = {
        {414, "request_line", "GET /0123456789012345678901234567890123456789 HTTP/1.1\r\n"},
        {414, "request_line", "GET /012345678901234567890123456789012345678901234567890123456789"},
        {431, "header_count",
         "GET / HTTP/1.1\r\nHost: a\r\nA:b\r\nA:b\r\nA:b\r\nA:b\r\nA:b\r\n\r\n"},
        {431, "header_bytes",
         "GET / HTTP/1.1\r\nHost: a\r\nA: "
         "0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456789012345678901234567890123456789"},
        {413, "body_bytes", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"},
        {413, "body_bytes",
         "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n"},
        {431, "header_bytes",
         "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: "
         "0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456789012345678901234567890123456789"
         "0123456789012345678901234567890123456789012345678901234567890123456789"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seen s;
        struct err err;
        open_server(&s, &o, true);
        assert_int_equal(give(&s, BYTES_STR(cases[i].in), &err), ST_TOO_LARGE);
        assert_int_equal(h1_error_status(s.c), cases[i].http);
        assert_non_null(strstr(err.detail, cases[i].name));
        close_server(&s);
    }
    struct seen s;
    struct err err;
    open_server(&s, &o, true);
    assert_int_equal(give(&s,
                          BYTES_LIT("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
                                    "0123456789"),
                          &err),
                     ST_OK);
    close_server(&s);
}

static void pipelined_requests_wait_for_their_turn(void **state)
{
    (void)state;
    struct seen s;
    struct err err;
    size_t used;
    struct bytes in =
        BYTES_LIT("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    open_server(&s, NULL, false);
    assert_int_equal(h1_recv(s.c, in, 0, &used, &err), ST_OK);
    assert_int_equal(used, in.len / 2);
    assert_false(h1_wants_input(s.c));
    assert_string_equal(buf_cstr(&s.log), "GET /1 1 []");
    assert_int_equal(h1_write(s.c, BYTES_LIT("x")), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_end(s.c), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_respond(s.c, 204, NULL, 0, H1_NO_CONTENT), ST_OK);
    assert_int_equal(h1_respond(s.c, 204, NULL, 0, H1_NO_CONTENT), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_end(s.c), ST_OK);
    assert_true(h1_wants_input(s.c));
    struct bytes rest = BYTES(in.data + used, in.len - used);
    assert_int_equal(h1_recv(s.c, rest, 0, &used, &err), ST_OK);
    assert_int_equal(used, rest.len);
    h1_close_after(s.c);
    assert_int_equal(h1_respond(s.c, 200, NULL, 0, H1_CHUNKED), ST_OK);
    assert_int_equal(h1_write(s.c, BYTES_LIT("0123456789abcdefg")), ST_OK);
    assert_int_equal(h1_end(s.c), ST_OK);
    struct bytes out = h1_output(s.c);
    assert_true(bytes_eq(out, BYTES_LIT("HTTP/1.1 204 No Content\r\n\r\n"
                                        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                                        "Connection: close\r\n\r\n"
                                        "11\r\n0123456789abcdefg\r\n0\r\n\r\n")));
    assert_false(h1_finished(s.c));
    h1_output_done(s.c, out.len);
    assert_true(h1_finished(s.c));
    close_server(&s);
}

static void connections_are_kept_as_asked(void **state)
{
    (void)state;
    static const struct {
        const char *in, *line; /* in the answer; NULL: no Connection line */
        bool kept;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", NULL, true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "Connection: close\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", "Connection: close\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "Connection: keep-alive\r\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seen s;
        struct err err;
        open_server(&s, NULL, true);
        assert_int_equal(give(&s, BYTES_STR(cases[i].in), &err), ST_OK);
        struct bytes out = h1_output(s.c);
        const char *line = cases[i].line ? cases[i].line : "Connection:";
        assert_int_equal(memmem(out.data, out.len, line, strlen(line)) != NULL,
                         cases[i].line != NULL);
        h1_output_done(s.c, out.len);
        assert_int_equal(h1_finished(s.c), !cases[i].kept);
        assert_int_equal(h1_wants_input(s.c), cases[i].kept);
        close_server(&s);
    }
}

static void answers_to_old_and_to_head(void **state)
{
    (void)state;
    struct seen s;
    struct err err;
    open_server(&s, NULL, false);
    assert_int_equal(give(&s, BYTES_LIT("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), &err), ST_OK);
    assert_int_equal(h1_respond(s.c, 200, NULL, 0, 5), ST_OK);
    assert_int_equal(h1_write(s.c, BYTES_LIT("hello")), ST_OK);
    assert_int_equal(h1_end(s.c), ST_OK);
    struct bytes out = h1_output(s.c);
    assert_true(bytes_eq(out, BYTES_LIT("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")));
    h1_output_done(s.c, out.len);
    assert_int_equal(give(&s, BYTES_LIT("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"), &err),
                     ST_OK);
    assert_int_equal(h1_respond(s.c, 200, NULL, 0, H1_CHUNKED), ST_OK);
    assert_int_equal(h1_write(s.c, BYTES_LIT("hello")), ST_OK);
    assert_int_equal(h1_end(s.c), ST_OK);
    out = h1_output(s.c);
    assert_true(bytes_eq(out, BYTES_LIT("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")));
    h1_output_done(s.c, out.len);
    assert_true(h1_finished(s.c));
    close_server(&s);
}

static void what_may_not_be_sent(void **state)
{
    (void)state;
    struct seen s;
    struct err err;
    open_server(&s, NULL, false);
    assert_int_equal(h1_respond(s.c, 200, NULL, 0, 0), ST_INVALID_ARGUMENT); /* to nothing */
    assert_int_equal(give(&s, BYTES_LIT("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &err), ST_OK);
    static const struct wire_header bad[] = {
        {BYTES_LIT("a b"), BYTES_LIT("c"), false, false},
        {BYTES_LIT(""), BYTES_LIT("c"), false, false},
        {BYTES_LIT("a:"), BYTES_LIT("c"), false, false},
        {BYTES_LIT("a"), BYTES_LIT("c\r\nd: e"), false, false},
        {BYTES_LIT("a"), BYTES("c\0", 2), false, false},
        {BYTES_LIT("Content-length"), BYTES_LIT("1"), false, false},
        {BYTES_LIT("Transfer-Encoding"), BYTES_LIT("chunked"), false, false},
        {BYTES_LIT("connection"), BYTES_LIT("close"), false, false},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(h1_respond(s.c, 200, &bad[i], 1, 0), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_respond(s.c, 200, NULL, 0, H1_NO_CONTENT), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_respond(s.c, 204, NULL, 0, 0), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_respond(s.c, 99, NULL, 0, 0), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_output(s.c).len, 0);
    assert_int_equal(h1_respond(s.c, 200, NULL, 0, 3), ST_OK);
    assert_int_equal(h1_write(s.c, BYTES_LIT("four")), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_write(s.c, BYTES_LIT("tw")), ST_OK);
    assert_int_equal(h1_end(s.c), ST_INVALID_ARGUMENT);
    assert_int_equal(h1_write(s.c, BYTES_LIT("o")), ST_OK);
    assert_int_equal(h1_end(s.c), ST_OK);
    close_server(&s);
}

static void a_body_is_asked_for(void **state)
{
    (void)state;
    struct seen s;
    struct err err;
    uint64_t next;
    struct bytes head =
        BYTES_LIT("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    open_server(&s, NULL, false);
    assert_int_equal(give(&s, head, &err), ST_OK);
    assert_true(h1_expects_continue(s.c));
    assert_int_equal(h1_tick(s.c, 1000000, &next, &err), ST_OK); /* we let it wait */
    assert_int_equal(h1_continue(s.c), ST_OK);
    assert_int_equal(h1_continue(s.c), ST_OK);
    assert_true(bytes_eq(h1_output(s.c), BYTES_LIT("HTTP/1.1 100 Continue\r\n\r\n")));
    h1_output_done(s.c, h1_output(s.c).len);
    assert_int_equal(give(&s, BYTES_LIT("hi"), &err), ST_OK);
    assert_int_equal(s.ends, 1);
    close_server(&s);

    open_server(&s, NULL, false); /* not wanted: the connection cannot go on */
    assert_int_equal(give(&s, head, &err), ST_OK);
    assert_int_equal(h1_respond(s.c, 412, NULL, 0, 0), ST_OK);
    assert_int_equal(h1_end(s.c), ST_OK);
    assert_false(h1_wants_input(s.c));
    h1_output_done(s.c, h1_output(s.c).len);
    assert_true(h1_finished(s.c));
    close_server(&s);
}

static void slow_ones_are_reported(void **state)
{
    (void)state;
    struct h1_options o = {
        .headers_timeout_ms = 100, .idle_timeout_ms = 1000, .body_timeout_ms = 300};
    struct seen s;
    struct err err;
    uint64_t next;
    size_t used;
    open_server(&s, &o, true);
    assert_int_equal(h1_tick(s.c, 999, &next, &err), ST_OK);
    assert_int_equal(next, 1000);
    assert_int_equal(h1_tick(s.c, 1000, &next, &err), ST_TIMED_OUT);
    assert_true(h1_finished(s.c)); /* without a word */
    close_server(&s);

    open_server(&s, &o, true); /* an empty line begins no request */
    assert_int_equal(h1_recv(s.c, BYTES_LIT("\r\n"), 500, &used, &err), ST_OK);
    assert_int_equal(h1_tick(s.c, 1499, &next, &err), ST_OK);
    assert_int_equal(next, 1500);
    assert_int_equal(h1_tick(s.c, 1500, &next, &err), ST_TIMED_OUT);
    assert_int_equal(h1_error_status(s.c), 0);
    close_server(&s);

    open_server(&s, &o, true);
    for (uint64_t t = 0; t < 100; t += 10) /* a byte now and then does not help */
        assert_int_equal(h1_recv(s.c, BYTES_LIT("G"), t, &used, &err), ST_OK);
    assert_int_equal(h1_tick(s.c, 99, &next, &err), ST_OK);
    assert_int_equal(next, 100);
    assert_int_equal(h1_tick(s.c, 100, &next, &err), ST_TIMED_OUT);
    assert_int_equal(h1_error_status(s.c), 408);
    assert_non_null(strstr(err.detail, "headers_timeout_ms"));
    close_server(&s);

    open_server(&s, &o, true);
    struct bytes put = BYTES_LIT("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1");
    assert_int_equal(h1_recv(s.c, put, 0, &used, &err), ST_OK);
    assert_int_equal(h1_recv(s.c, BYTES_LIT("2"), 200, &used, &err), ST_OK);
    h1_pause(s.c, true);
    assert_false(h1_wants_input(s.c));
    assert_int_equal(h1_recv(s.c, BYTES_LIT("3"), 250, &used, &err), ST_OK);
    assert_int_equal(used, 0);
    assert_int_equal(h1_tick(s.c, 900, &next, &err), ST_OK); /* we do not read */
    h1_pause(s.c, false);
    assert_int_equal(h1_tick(s.c, 1199, &next, &err), ST_OK);
    assert_int_equal(h1_tick(s.c, 1200, &next, &err), ST_TIMED_OUT);
    assert_non_null(strstr(err.detail, "body_timeout_ms"));
    close_server(&s);
}

/* A client and a server, joined by pipes that split at random. */
enum { EXCHANGES = 8 };
struct flow {
    struct test_rng r;
    struct h1_conn *client, *server;
    struct buf up, down; /* in flight */
    uint64_t seed;
    size_t at; /* exchange */
    size_t up_len[EXCHANGES], down_len[EXCHANGES];
    bool up_chunked[EXCHANGES], down_chunked[EXCHANGES];
    size_t up_sent, up_got, down_sent, down_got;
    bool client_read, server_began, server_read, server_refused, client_refused, client_ended,
        server_ended;
};

static uint8_t body_byte(const struct flow *f, bool up, size_t i)
{
    return (uint8_t)((f->seed + f->at * 7 + up) * 31 + i * 131 + i / 256);
}

static void flow_headers(void *arg, struct h1_conn *c)
{
    struct flow *f = arg;
    struct bytes v;
    if (c == f->server) {
        f->server_began = true;
        assert_true(h1_header(c, BYTES_LIT("X-EXCHANGE"), &v));
        assert_int_equal(v.data[0] - '0', f->at);
    } else {
        assert_int_equal(h1_status(c), 200);
    }
}

static void flow_data(void *arg, struct h1_conn *c, struct bytes data)
{
    struct flow *f = arg;
    const bool up = c == f->server;
    size_t *got = up ? &f->up_got : &f->down_got;
    for (size_t i = 0; i < data.len; i++)
        assert_int_equal(data.data[i], body_byte(f, up, *got + i));
    *got += data.len;
}

static void flow_end(void *arg, struct h1_conn *c)
{
    struct flow *f = arg;
    if (c == f->server) {
        assert_int_equal(f->up_got, f->up_len[f->at]);
        f->server_read = true;
    } else {
        assert_int_equal(f->down_got, f->down_len[f->at]);
        f->client_read = true;
    }
}

static void flow_writable(void *arg, struct h1_conn *c)
{
    struct flow *f = arg;
    *(c == f->server ? &f->server_refused : &f->client_refused) = false;
}

static const struct h1_events flow_events = {
    .headers = flow_headers, .data = flow_data, .end = flow_end, .writable = flow_writable};

static void flow_write(struct flow *f, struct h1_conn *c, bool up, size_t *sent, size_t total,
                       bool *refused, bool *ended)
{
    uint8_t data[700];
    size_t n = (size_t)test_rng_between(&f->r, 1, sizeof data);
    if (*refused || *ended)
        return;
    if (*sent == total) {
        assert_int_equal(h1_end(c), ST_OK);
        *ended = true;
        return;
    }
    if (n > total - *sent)
        n = total - *sent;
    for (size_t i = 0; i < n; i++)
        data[i] = body_byte(f, up, *sent + i);
    enum status st = h1_write(c, BYTES(data, n));
    *refused = st == ST_OVERLOADED;
    assert_true(*refused || st == ST_OK);
    *sent += *refused ? 0 : n;
}

/* A message of known length has arrived before its sender says that it has ended. */
static void flow_next(struct flow *f)
{
    if (!f->client_read || !f->server_ended || !f->client_ended)
        return;
    f->at++;
    f->up_sent = f->up_got = f->down_sent = f->down_got = 0;
    f->client_read = f->server_began = f->server_read = false;
    f->client_ended = f->server_ended = f->server_refused = f->client_refused = false;
}

static void flow_send(struct flow *f, bool up)
{
    if (f->at == EXCHANGES)
        return;
    size_t i = f->at;
    char number[2] = {(char)('0' + i), 0};
    struct wire_header h[] = {WIRE_HEADER(BYTES_LIT("Host"), BYTES_LIT("varve")),
                              WIRE_HEADER(BYTES_LIT("X-Exchange"), BYTES_STR(number))};
    if (up) {
        if (f->up_sent == 0 && !f->client_ended && !h1_writable(f->client) && !f->client_refused)
            assert_int_equal(h1_request(f->client, BYTES_LIT("PUT"), BYTES_LIT("/k"), h, 2,
                                        f->up_chunked[i] ? H1_CHUNKED : (int64_t)f->up_len[i]),
                             ST_OK);
        flow_write(f, f->client, true, &f->up_sent, f->up_len[i], &f->client_refused,
                   &f->client_ended);
    } else if (f->server_read && !f->server_ended) {
        if (f->down_sent == 0 && !h1_writable(f->server) && !f->server_refused)
            assert_int_equal(h1_respond(f->server, 200, h + 1, 1,
                                        f->down_chunked[i] ? H1_CHUNKED : (int64_t)f->down_len[i]),
                             ST_OK);
        flow_write(f, f->server, false, &f->down_sent, f->down_len[i], &f->server_refused,
                   &f->server_ended);
    }
}

static void flow_move(struct flow *f, struct h1_conn *from, struct h1_conn *to, struct buf *pipe)
{
    struct bytes out = h1_output(from);
    assert_true(out.len < 1000 + 800 + 200);
    if (out.len) {
        size_t n = (size_t)test_rng_between(&f->r, 1, out.len);
        assert_int_equal(buf_append(pipe, out.data, n), ST_OK);
        h1_output_done(from, n);
    }
    if (pipe->len && test_rng_chance(&f->r, 1, 2)) {
        size_t used, n = (size_t)test_rng_between(&f->r, 1, pipe->len);
        struct err err;
        if (h1_recv(to, BYTES(pipe->data, n), 0, &used, &err) != ST_OK)
            fail_msg("%s", err.detail);
        memmove(pipe->data, pipe->data + used, pipe->len - used);
        pipe->len -= used;
    }
}

static void what_is_sent_arrives(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 200)
    {
        struct flow f = {.seed = seed};
        struct h1_options o = {.output_bytes = 1000};
        test_rng_init(&f.r, seed);
        for (size_t i = 0; i < EXCHANGES; i++) {
            f.up_len[i] = (size_t)test_rng_below(&f.r, test_rng_chance(&f.r, 1, 3) ? 5000 : 3);
            f.down_len[i] = (size_t)test_rng_below(&f.r, test_rng_chance(&f.r, 1, 3) ? 5000 : 3);
            f.up_chunked[i] = test_rng_chance(&f.r, 1, 2);
            f.down_chunked[i] = test_rng_chance(&f.r, 1, 2);
        }
        assert_int_equal(h1_client_new(&o, &flow_events, &f, 0, &f.client), ST_OK);
        assert_int_equal(h1_server_new(&o, &flow_events, &f, 0, &f.server), ST_OK);
        for (size_t steps = 0; f.at < EXCHANGES; steps++) {
            assert_true(steps < 200000);
            flow_send(&f, test_rng_chance(&f.r, 1, 2));
            flow_move(&f, f.client, f.server, &f.up);
            flow_move(&f, f.server, f.client, &f.down);
            flow_next(&f);
        }
        assert_true(h1_keep_alive(f.client) && h1_keep_alive(f.server));
        h1_conn_free(f.client);
        h1_conn_free(f.server);
        buf_deinit(&f.up);
        buf_deinit(&f.down);
    }
}

static void responses_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *method, *in, *body;
        bool eof, kept;
    } cases[] = {
        {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", false, true},
        {"GET", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
         "", false, true},
        {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "", false, true},
        {"GET", "HTTP/1.1 304\r\nContent-Length: 2\r\n\r\n", "", false, true},
        {"GET", "HTTP/1.1 204 \r\n\r\n", "", false, true},
        {"GET", "HTTP/1.1 200 OK\r\n\r\nall of it", "all of it", true, false},
        {"GET", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", "x", false, false},
        {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "x",
         false, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct seen s = {0};
        struct err err;
        assert_int_equal(h1_client_new(NULL, &events, &s, 0, &s.c), ST_OK);
        assert_int_equal(
            h1_request(s.c, BYTES_STR(cases[i].method), BYTES_LIT("/"), NULL, 0, H1_NO_CONTENT),
            ST_OK);
        assert_int_equal(h1_request(s.c, BYTES_LIT("GET"), BYTES_LIT("/"), NULL, 0, H1_NO_CONTENT),
                         ST_INVALID_ARGUMENT);
        h1_output_done(s.c, h1_output(s.c).len);
        struct bytes in = BYTES_STR(cases[i].in);
        for (size_t at = 0; at < in.len; at++)
            if (give(&s, BYTES(in.data + at, 1), &err) != ST_OK)
                fail_msg("%s: %s", cases[i].in, err.detail);
        if (cases[i].eof)
            assert_int_equal(h1_recv_eof(s.c, &err), ST_OK);
        assert_int_equal(s.ends, 1);
        char want[64];
        const char *log = buf_cstr(&s.log);
        (void)snprintf(want, sizeof want, "[%s]", cases[i].body);
        assert_string_equal(strchr(log, '['), want);
        assert_int_equal(h1_keep_alive(s.c), cases[i].kept);
        assert_int_equal(h1_request(s.c, BYTES_LIT("GET"), BYTES_LIT("/"), NULL, 0, H1_NO_CONTENT),
                         cases[i].kept ? ST_OK : ST_CLOSED);
        close_server(&s);
    }
}

static void an_end_in_the_middle_is_an_error(void **state)
{
    (void)state;
    static const char *const cut[] = {
        "G", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"};
    struct seen s;
    struct err err;
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        open_server(&s, NULL, true);
        assert_int_equal(give(&s, BYTES_STR(cut[i]), &err), ST_OK);
        assert_int_equal(h1_recv_eof(s.c, &err), ST_INVALID_ARGUMENT);
        assert_true(h1_finished(s.c));
        close_server(&s);
    }
    open_server(&s, NULL, true);
    assert_int_equal(h1_recv_eof(s.c, &err), ST_OK);
    assert_true(h1_finished(s.c));
    close_server(&s);
    open_server(&s, NULL, false); /* its request is still answered */
    assert_int_equal(give(&s, BYTES_LIT("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &err), ST_OK);
    assert_int_equal(h1_recv_eof(s.c, &err), ST_OK);
    assert_false(h1_finished(s.c));
    assert_int_equal(h1_respond(s.c, 200, NULL, 0, 0), ST_OK);
    assert_int_equal(h1_end(s.c), ST_OK);
    h1_output_done(s.c, h1_output(s.c).len);
    assert_true(h1_finished(s.c));
    close_server(&s);
}

static void ignore_headers(void *arg, struct h1_conn *c)
{
    (void)arg;
    (void)c;
}

static void ignore_data(void *arg, struct h1_conn *c, struct bytes data)
{
    (void)arg;
    (void)c;
    (void)data;
}

static const struct h1_events deaf = {
    .headers = ignore_headers, .data = ignore_data, .end = ignore_headers};

static void without_memory_it_says_so(void **state)
{
    (void)state;
    char in[3000];
    int len = snprintf(in, sizeof in, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n");
    for (int i = 0; i < 60; i++)
        len += snprintf(in + len, sizeof in - (size_t)len, "X-%d: some value\r\n", i);
    len += snprintf(in + len, sizeof in - (size_t)len, "\r\nhi");
    for (uint64_t n = 1;; n++) {
        struct h1_conn *c = NULL;
        size_t used;
        mem_fail_at(n, 0);
        enum status st = h1_server_new(NULL, &deaf, NULL, 0, &c);
        if (st == ST_OK)
            st = h1_recv(c, BYTES(in, (size_t)len), 0, &used, NULL);
        if (st == ST_OK)
            st = h1_respond(c, 200, NULL, 0, 1000);
        for (int i = 0; i < 10 && st == ST_OK; i++)
            st = h1_write(c, BYTES(in, 100));
        if (st == ST_OK)
            st = h1_end(c);
        mem_fail_at(0, 0);
        h1_conn_free(c);
        if (!mem_fail_hits()) {
            assert_int_equal(st, ST_OK);
            assert_true(n > 5);
            break;
        }
        assert_int_equal(st, ST_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_read_however_they_are_split),
        cmocka_unit_test(what_could_be_read_two_ways_is_refused),
        cmocka_unit_test(a_nul_is_refused_anywhere),
        cmocka_unit_test(limits_have_names),
        cmocka_unit_test(pipelined_requests_wait_for_their_turn),
        cmocka_unit_test(connections_are_kept_as_asked),
        cmocka_unit_test(answers_to_old_and_to_head),
        cmocka_unit_test(what_may_not_be_sent),
        cmocka_unit_test(a_body_is_asked_for),
        cmocka_unit_test(slow_ones_are_reported),
        cmocka_unit_test(what_is_sent_arrives),
        cmocka_unit_test(responses_are_read),
        cmocka_unit_test(an_end_in_the_middle_is_an_error),
        cmocka_unit_test(without_memory_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
