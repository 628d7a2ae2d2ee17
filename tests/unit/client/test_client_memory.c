/* Each allocation of the client fails once, and all from there on: it answers, and leaks nothing. */
#include "tests/unit/client/fake_server.h"

#include "tests/support/cmocka.h"

#include "base/alloc.h"

static struct fake server;

static enum status call_once(struct client *c, const char *text, struct client_failure *f)
{
    struct buf answer = BUF_INIT;
    struct client_request q = {"test.Fake/Do", BYTES_STR(text), CLIENT_READ, 5000};
    enum status st = client_call(c, &q, &answer, f);
    if (st == ST_OK)
        assert_true(bytes_eq(buf_bytes(&answer), BYTES_LIT("late")));
    buf_deinit(&answer);
    return st;
}

static enum status stream_once(struct client *c, struct client_failure *f)
{
    struct client_request q = {"test.Fake/Do", BYTES_LIT("many 50"), CLIENT_READ, 5000};
    struct client_stream *s = NULL;
    struct bytes m;
    int n = 0;
    enum client_next next;
    enum status st = client_stream_open(c, &q, &s, f);
    if (st != ST_OK)
        return st;
    while ((next = client_stream_next(s, UINT64_MAX, &m, f)) == CLIENT_MESSAGE)
        n++;
    if (next == CLIENT_END)
        assert_int_equal(n, 50);
    client_stream_close(s);
    return next == CLIENT_END ? ST_OK : f->err.status;
}

static enum status whole(void)
{
    struct client_options o = {
        .servers = server.address, .user = "alice", .password = "secret", .patience_ms = 2000};
    struct client_failure f = {0};
    struct client *c = NULL;
    struct err e;
    err_init(&e);
    fake_forget(&server);
    enum status st = client_open(env_linux(), &o, &c, &e);
    if (st != ST_OK) {
        assert_true(*e.detail);
        return st;
    }
    st = call_once(c, "busy 1", &f);
    if (st == ST_OK)
        st = call_once(c, "lose 2", &f);
    if (st == ST_OK)
        st = stream_once(c, &f);
    if (st == ST_OK) {
        st = call_once(c, "field", &f);
        if (st == ST_TOO_LARGE || st == ST_INVALID_ARGUMENT)
            st = ST_OK; /* without memory for the details it is the code's */
    }
    if (st != ST_OK)
        assert_true(*f.err.detail);
    client_close(c);
    return st;
}

static void memory_fails(void **state)
{
    (void)state;
    assert_int_equal(whole(), ST_OK);
    for (int sticky = 0; sticky < 2; sticky++) {
        uint64_t hits = 1;
        for (uint64_t n = 1; hits > 0; n++) {
            (void)mem_fail_hits();
            mem_fail_at(n, sticky);
            enum status st = whole();
            mem_fail_at(0, 0);
            hits = mem_fail_hits();
            if (st != ST_OK && st != ST_NO_MEMORY && st != ST_IO_ERROR && st != ST_INTERNAL &&
                st != ST_OVERLOADED)
                fail_msg("allocation %llu: %s", (unsigned long long)n, status_name(st));
        }
    }
    assert_int_equal(whole(), ST_OK);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_fails)};
    return cmocka_run_group_tests(tests, begin, end);
}
