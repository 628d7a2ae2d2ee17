/* What the client makes of answers, losses, refusals and waits. */
#include "tests/unit/client/fake_server.h"

#include "tests/support/cmocka.h"

#include <stdio.h>

static struct fake server;

static struct client *connect_to(const char *servers, const struct client_options *more)
{
    struct client_options o = more ? *more : (struct client_options){.patience_ms = 5000};
    struct client *c = NULL;
    struct err e;
    err_init(&e);
    o.servers = servers;
    enum status st = client_open(env_linux(), &o, &c, &e);
    if (st != ST_OK)
        fail_msg("%s", e.detail);
    return c;
}

static enum status ask(struct client *c, const char *text, enum client_repeat repeat,
                       uint64_t deadline_ms, struct buf *answer, struct client_failure *f)
{
    struct client_request q = {"test.Fake/Do", BYTES_STR(text), repeat, deadline_ms};
    buf_clear(answer);
    return client_call(c, &q, answer, f);
}

/* One question to a new client. */
static enum status once(const char *text, enum client_repeat repeat, uint64_t deadline_ms,
                        struct client_failure *f)
{
    struct buf answer = BUF_INIT;
    struct client *c = connect_to(server.address, NULL);
    fake_forget(&server);
    enum status warm = ask(c, "echo .", CLIENT_READ, 0, &answer, f); /* somebody is there */
    assert_int_equal(warm, ST_OK);
    enum status st = ask(c, text, repeat, deadline_ms, &answer, f);
    if (st == ST_OK)
        assert_true(bytes_eq(buf_bytes(&answer), BYTES_LIT("late")) ||
                    strncmp(text, "echo", 4) == 0);
    else
        assert_int_equal(answer.len, 0);
    buf_deinit(&answer);
    client_close(c);
    return st;
}

static int requests(void)
{
    return atomic_load(&server.counts->requests) - 1; /* without the one before */
}

static void answers_and_one_connection(void **state)
{
    (void)state;
    struct buf answer = BUF_INIT, text = BUF_INIT;
    struct client_failure f;
    struct client *c = connect_to(server.address, NULL);
    fake_forget(&server);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(ask(c, "echo hello", CLIENT_READ, 0, &answer, &f), ST_OK);
        assert_true(bytes_eq(buf_bytes(&answer), BYTES_LIT("hello")));
    }
    /* Larger than every window and queue. */
    assert_int_equal(buf_append(&text, "echo ", 5), ST_OK);
    for (int i = 0; i < 300000; i++)
        assert_int_equal(buf_append(&text, "0123456789", 10), ST_OK);
    struct client_request q = {"test.Fake/Do", buf_bytes(&text), CLIENT_WRITE, 0};
    buf_clear(&answer);
    assert_int_equal(client_call(c, &q, &answer, &f), ST_OK);
    assert_int_equal(answer.len, 3000000);
    assert_int_equal(atomic_load(&server.counts->connections), 1);
    buf_deinit(&answer);
    buf_deinit(&text);
    client_close(c);
}

static void failures_in_the_servers_words(void **state)
{
    (void)state;
    struct client_failure f;
    static const struct {
        const char *text;
        enum status st;
    } cases[] = {
        {"fail 5 NOT_FOUND 0", ST_NOT_FOUND},      {"fail 5 - 0", ST_NOT_FOUND},
        {"fail 3 TOO_LARGE 0", ST_TOO_LARGE},      {"fail 9 READ_ONLY 0", ST_READ_ONLY},
        {"fail 11 FUTURE_TIME 0", ST_FUTURE_TIME}, {"fail 15 - 0", ST_CORRUPT},
        {"fail 16 - 0", ST_UNAUTHENTICATED},       {"fail 8 DISK_FULL 1", ST_DISK_FULL},
        {"fail 14 POISONED 1", ST_POISONED},       {"fail 13 NO_SUCH_REASON 0", ST_INTERNAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum status st = once(cases[i].text, CLIENT_WRITE, 0, &f);
        if (st != cases[i].st)
            fail_msg("%s: %s", cases[i].text, status_name(st));
        assert_string_equal(f.err.detail, "so it was said");
        assert_int_equal(requests(), 1);
    }
    assert_int_equal(once("field", CLIENT_WRITE, 0, &f), ST_TOO_LARGE);
    assert_string_equal(f.field, "options.writer");
    assert_int_equal(once("changed", CLIENT_CONDITIONAL, 0, &f), ST_PRECONDITION_FAILED);
    assert_true(f.has_present && !f.unsure);
    assert_string_equal(f.present, "00000000000000a1");
}

static void what_is_tried_again(void **state)
{
    (void)state;
    struct client_failure f;
    static const char *const words[] = {"refuse 3", "busy 3"};
    for (size_t i = 0; i < 2; i++) /* surely not done: everything is */
        for (enum client_repeat r = CLIENT_READ; r <= CLIENT_CONDITIONAL; r++) {
            assert_int_equal(once(words[i], r, 0, &f), ST_OK);
            assert_int_equal(requests(), 4);
        }
    static const char *const unknown[] = {"lose 2", "stop 2"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(once(unknown[i], CLIENT_READ, 0, &f), ST_OK);
        assert_int_equal(requests(), 3);
        assert_int_equal(once(unknown[i], CLIENT_CONDITIONAL, 0, &f), ST_OK);
        assert_int_equal(requests(), 3);
        assert_int_not_equal(once(unknown[i], CLIENT_WRITE, 0, &f), ST_OK);
        assert_int_equal(requests(), 1);
        assert_true(f.unsure);
        assert_non_null(strstr(f.err.detail, "(whether it was written is not known)"));
    }
    assert_int_equal(once("fail 14 - 0", CLIENT_WRITE, 0, &f), ST_IO_ERROR);
    assert_int_equal(requests(), 1);
    assert_true(f.unsure);
}

static void patience_ends(void **state)
{
    (void)state;
    struct buf answer = BUF_INIT;
    struct client_failure f;
    struct client *c = connect_to(server.address, &(struct client_options){.patience_ms = 300});
    fake_forget(&server);
    assert_int_equal(ask(c, "busy 1000", CLIENT_READ, 0, &answer, &f), ST_OVERLOADED);
    assert_true(atomic_load(&server.counts->requests) > 1);
    fake_forget(&server);
    /* What it was told last, or that not even the first answer came in time. */
    enum status st = ask(c, "busy 1000", CLIENT_READ, 50, &answer, &f);
    assert_true(st == ST_OVERLOADED || st == ST_TIMED_OUT);
    assert_true(atomic_load(&server.counts->requests) < 4);
    client_close(c);
    buf_deinit(&answer);
}

static void deadlines(void **state)
{
    (void)state;
    struct client_failure f;
    assert_int_equal(once("silent", CLIENT_READ, 150, &f), ST_TIMED_OUT);
    assert_string_equal(f.err.detail, "Do: no answer before the deadline");
    assert_int_equal(once("silent", CLIENT_WRITE, 150, &f), ST_TIMED_OUT);
    assert_non_null(strstr(f.err.detail, "not known"));
}

static bool stop_soon(void *arg)
{
    return ++*(int *)arg > 3;
}

static void stopping(void **state)
{
    (void)state;
    int asked = 0;
    struct buf answer = BUF_INIT;
    struct client_failure f;
    struct client *c = connect_to(
        server.address, &(struct client_options){.stopped = stop_soon, .stopped_arg = &asked});
    assert_int_equal(ask(c, "silent", CLIENT_READ, 0, &answer, &f), ST_CANCELLED);
    assert_int_equal(ask(c, "busy 1000", CLIENT_READ, 0, &answer, &f), ST_CANCELLED);
    client_close(c);
    buf_deinit(&answer);
}

static void streams(void **state)
{
    (void)state;
    struct client *c = connect_to(server.address, NULL);
    struct client_failure f;
    struct client_stream *s = NULL;
    struct bytes m;
    char want[24];
    struct client_request q = {"test.Fake/Do", BYTES_LIT("many 1000"), CLIENT_READ, 0};
    assert_int_equal(client_stream_open(c, &q, &s, &f), ST_OK);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(client_stream_next(s, UINT64_MAX, &m, &f), CLIENT_MESSAGE);
        snprintf(want, sizeof want, "%d", i);
        assert_true(bytes_eq(m, BYTES_STR(want)));
    }
    assert_int_equal(client_stream_next(s, UINT64_MAX, &m, &f), CLIENT_END);
    client_stream_close(s);

    q.message = BYTES_LIT("silent");
    assert_int_equal(client_stream_open(c, &q, &s, &f), ST_OK);
    assert_int_equal(client_stream_next(s, 0, &m, &f), CLIENT_QUIET);
    assert_int_equal(client_stream_next(s, 20, &m, &f), CLIENT_QUIET);
    client_stream_close(s); /* cancels */
    q.deadline_ms = 50;
    assert_int_equal(client_stream_open(c, &q, &s, &f), ST_OK);
    assert_int_equal(client_stream_next(s, UINT64_MAX, &m, &f), CLIENT_FAILED);
    assert_int_equal(f.err.status, ST_TIMED_OUT);
    client_stream_close(s);

    q = (struct client_request){"test.Fake/Do", BYTES_LIT("half"), CLIENT_READ, 0};
    assert_int_equal(client_stream_open(c, &q, &s, &f), ST_OK);
    assert_int_equal(client_stream_next(s, UINT64_MAX, &m, &f), CLIENT_MESSAGE);
    assert_int_equal(client_stream_next(s, UINT64_MAX, &m, &f), CLIENT_FAILED);
    assert_true(f.lost && f.repeatable && !f.undone);
    client_stream_close(s);
    client_close(c);
}

static void two_halves(void **state)
{
    (void)state;
    struct client *c = connect_to(server.address, NULL);
    struct client_failure f;
    struct buf answer = BUF_INIT;
    struct client_request q = {"test.Fake/Do", BYTES_LIT("echo one"), CLIENT_WRITE, 0};
    struct client_pending *first = client_begin(c, &q);
    q.message = BYTES_LIT("echo two");
    struct client_pending *second = client_begin(c, &q);
    assert_true(first && second);
    client_step(c);
    assert_int_equal(client_finish(second, &answer, &f), ST_OK);
    assert_int_equal(client_finish(first, &answer, &f), ST_OK);
    assert_true(bytes_eq(buf_bytes(&answer), BYTES_LIT("twoone")));
    buf_deinit(&answer);
    client_close(c);
}

static void credentials(void **state)
{
    (void)state;
    struct buf answer = BUF_INIT;
    struct client_failure f;
    struct client *c = connect_to(server.address, NULL);
    assert_int_equal(ask(c, "who", CLIENT_READ, 0, &answer, &f), ST_OK);
    assert_true(bytes_eq(buf_bytes(&answer), BYTES_LIT("nobody")));
    client_close(c);
    c = connect_to(server.address,
                   &(struct client_options){.user = "Aladdin", .password = "open sesame"});
    assert_int_equal(ask(c, "who", CLIENT_READ, 0, &answer, &f), ST_OK);
    assert_true(bytes_eq(buf_bytes(&answer), BYTES_LIT("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")));
    client_close(c);
    c = connect_to(server.address, &(struct client_options){.token = "varve_x"});
    assert_int_equal(ask(c, "who", CLIENT_READ, 0, &answer, &f), ST_OK);
    assert_true(bytes_eq(buf_bytes(&answer), BYTES_LIT("Bearer varve_x")));
    client_close(c);
    buf_deinit(&answer);
}

static void the_next_server(void **state)
{
    (void)state;
    struct fake other;
    char both[80];
    struct buf answer = BUF_INIT;
    struct client_failure f;
    fake_start(&other);
    snprintf(both, sizeof both, "%s,%s", other.address, server.address);
    struct client *c = connect_to(both, NULL);
    assert_int_equal(ask(c, "echo a", CLIENT_READ, 0, &answer, &f), ST_OK);
    assert_string_equal(client_server(c), other.address);
    fake_forget(&server);
    assert_int_equal(ask(c, "stop 1", CLIENT_READ, 0, &answer, &f), ST_OK); /* each stops once */
    fake_stop(&other);
    assert_int_equal(ask(c, "echo b", CLIENT_READ, 0, &answer, &f), ST_OK);
    assert_string_equal(client_server(c), server.address);
    client_close(c);
    buf_deinit(&answer);
}

static void bad_options(void **state)
{
    (void)state;
    static const struct {
        struct client_options o;
        const char *says;
    } cases[] = {
        {{.servers = ""}, "is not HOST:PORT"},
        {{.servers = "a:1,,b:2"}, "is not HOST:PORT"},
        {{.servers = "a", .token = "t", .user = "u", .password = "p"}, "one of both"},
        {{.servers = "a", .user = "u"}, "password is missing"},
        {{.servers = "a", .user = "u:v", .password = "p"}, "colon"},
        {{.servers = "a", .ca_file = "/nowhere/ca.pem"}, "/nowhere/ca.pem"},
        {{.servers = "a", .tls = true, .cert_file = "/nowhere/c.pem"}, "key are both needed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct client *c = NULL;
        struct err e;
        err_init(&e);
        assert_int_not_equal(client_open(env_linux(), &cases[i].o, &c, &e), ST_OK);
        assert_null(c);
        if (!strstr(e.detail, cases[i].says))
            fail_msg("%s", e.detail);
    }
    struct client *c = connect_to("example.org", NULL);
    assert_string_equal(client_server(c), "example.org:7878");
    client_close(c);
    c = connect_to("[::1]", NULL);
    assert_string_equal(client_server(c), "[::1]:7878");
    client_close(c);
}

static int begin(void **state)
{
    (void)state;
    fake_start(&server);
    return 0;
}

static int end(void **state)
{
    (void)state;
    fake_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_and_one_connection),
        cmocka_unit_test(failures_in_the_servers_words),
        cmocka_unit_test(what_is_tried_again),
        cmocka_unit_test(patience_ends),
        cmocka_unit_test(deadlines),
        cmocka_unit_test(stopping),
        cmocka_unit_test(streams),
        cmocka_unit_test(two_halves),
        cmocka_unit_test(credentials),
        cmocka_unit_test(the_next_server),
        cmocka_unit_test(bad_options),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
