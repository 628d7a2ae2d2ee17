/* Reactors on both loops, against blocking sockets of the test's own thread: rounds, back-pressure,
 * bounds, timeouts, stopping. */
#include "base/alloc.h"
#include "support/cmocka.h"
#include "unit/serve/reactor_world.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- tests --- */

static void test_serve_reactor_requests(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){0});
    int fd = dial(&sv.addr);
    say(fd, "hello\nwor");
    hear(fd, "<hello>");
    say(fd, "ld\n");
    hear(fd, "<world>");
    /* All of one read are in the group of the fiber that yields once. */
    say(fd, "group\ngroup\ngroup\ngroup\ngroup\n");
    for (unsigned i = 0; i < 5; i++)
        hear(fd, "<group>");
    assert_int_equal(atomic_load(&sv.group), 5);
    AWAIT(stats(&sv, 0).bytes_in == 12 + 30);
    assert_int_equal(stats(&sv, 0).accepted, 1);
    say(fd, "bye\nignored\n");
    hear(fd, "<bye>");
    hear_end(fd);
    until(&sv.closed, 1);
    assert_int_equal(atomic_load(&sv.last_why), ST_OK);
    fd = dial(&sv.addr);
    say(fd, "other\nx");
    hear(fd, "other:x");
    shutdown(fd, SHUT_WR); /* no on_eof: it finishes */
    hear_end(fd);
    fd = dial(&sv.addr);
    say(fd, "abort\n");
    hear_end(fd);
    until(&sv.closed, 3);
    assert_int_equal(atomic_load(&sv.last_why), ST_CORRUPT);
    down(&sv);
}

/* Few requests of many connections start a little behind the reading, and all in the same round. */
static void test_serve_reactor_many_with_one_each(void **state)
{
    (void)state;
    enum { MANY = 7 };
    struct server sv = {0};
    struct reactor_options o = {.loop = kind_now};
    struct net_addr any;
    int fd[MANY];
    victim = NULL;
    assert_int_equal(reactors_by_hand(env_linux(), &o, &sv.g, NULL), ST_OK);
    struct reactor *r = reactors_at(sv.g, 0);
    reactors_set_ctx(sv.g, 0, &sv);
    assert_int_equal(net_addr_parse("127.0.0.1:0", &any, NULL), ST_OK);
    assert_int_equal(
        reactors_listen(sv.g, &any, REACTORS_REUSEPORT, &lines, &sv, NULL, &sv.addr, NULL), ST_OK);
    for (unsigned i = 0; i < MANY; i++)
        fd[i] = dial(&sv.addr);
    while (atomic_load(&sv.opened) < MANY)
        (void)reactor_round(r);
    for (unsigned n = 1; n <= MANY; n++) {
        for (unsigned i = 0; i < n; i++)
            say(fd[i], "group\n");
        for (unsigned done = atomic_load(&sv.fibers_done); atomic_load(&sv.fibers_done) < done + n;)
            (void)reactor_round(r);
        assert_int_equal(atomic_load(&sv.group), n);
        (void)reactor_round(r); /* io_uring sends with the next */
        for (unsigned i = 0; i < n; i++)
            hear(fd[i], "<group>");
    }
    /* Whose requests have not started yet may be cut off by those of another. */
    say(fd[1], "victim\n");
    while (!victim)
        (void)reactor_round(r);
    (void)reactor_round(r);
    hear(fd[1], "<victim>");
    say(fd[0], "kill\n");
    say(fd[1], "a\nb\n");
    while (atomic_load(&sv.closed) < 1 || stats(&sv, 0).fibers)
        (void)reactor_round(r);
    hear(fd[0], "<kill>");
    hear_end(fd[1]);
    for (unsigned i = 0; i < MANY; i++)
        if (i != 1)
            close(fd[i]);
    while (atomic_load(&sv.closed) < MANY)
        (void)reactor_round(r);
    reactors_stop_begin(sv.g, 0);
    while (!reactors_is_over(sv.g))
        (void)reactor_round(r);
    assert_int_equal(stats(&sv, 0).request_bytes, 0);
    reactors_free(sv.g);
}

static void test_serve_reactor_yield(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){0});
    int busy = dial(&sv.addr), fd = dial(&sv.addr);
    say(busy, "wait\n"); /* runs in every round from now on */
    for (unsigned i = 0; i < 50; i++) {
        say(fd, "quick\n");
        hear(fd, "<quick>");
    }
    atomic_store(&sv.gate, true);
    hear(busy, "<wait>");
    close(busy);
    close(fd);
    down(&sv);
}

static void test_serve_reactor_slow_reader(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){.output = {.send_high_bytes = 100000}});
    sv.stream_bytes = 20000000;
    int fd = dial(&sv.addr), quick = dial(&sv.addr);
    say(fd, "stream\n");
    for (unsigned i = 0; i < 50; i++) { /* nobody else waits */
        say(quick, "quick\n");
        hear(quick, "<quick>");
    }
    static char in[100000];
    size_t got = 0;
    while (got < sv.stream_bytes) {
        ssize_t n = raw_recv(fd, in, sizeof in);
        assert_true(n > 0);
        got += (size_t)n;
    }
    if (got == sv.stream_bytes)
        hear(fd, "<stream>");
    assert_true(atomic_load(&sv.most_queued) <= 110000);
    assert_true(atomic_load(&sv.most_queued) >= 100000);
    /* A stream whose reader goes away ends. */
    say(fd, "stream\n");
    hear(fd, "");
    close(fd);
    close(quick);
    until(&sv.fibers_done, 52);
    down(&sv);
}

/* One that asks and never reads: the answers stop at the bound, then its questions wait. */
static void test_serve_reactor_deaf(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){.output = {.send_high_bytes = 50000}});
    int fd = dial(&sv.addr);
    static char q[32 * 1000];
    for (size_t i = 0; i < sizeof q; i++)
        q[i] = i % 32 == 31 ? '\n' : 'q';
    size_t sent = 0;
    for (;;) {
        size_t at = sent % sizeof q;
        ssize_t n = send(fd, q + at, sizeof q - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        if (errno == EINTR)
            continue;
        assert_int_equal(errno, EAGAIN);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (poll(&p, 1, 500) == 0)
            break; /* it takes no more */
    }
    struct reactor_stats st = stats(&sv, 0);
    assert_true(st.output_bytes > 12500); /* above the low-water mark, or it would read on */
    assert_true(st.output_bytes < 1000000);
    shutdown(fd, SHUT_WR);
    static char in[65536];
    size_t got = 0;
    while (got < sent / 32 * 32) {
        ssize_t n = raw_recv(fd, in, sizeof in);
        assert_true(n > 0);
        got += (size_t)n;
    }
    assert_int_equal(got, sent / 32 * 32);
    hear_end(fd);
    down(&sv);
}

static void test_serve_reactor_bounds(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){.max_conns = 2, .max_fibers = 2, .request_bytes = 300});
    int a = dial(&sv.addr), b = dial(&sv.addr);
    until(&sv.opened, 2);
    int c = dial(&sv.addr);
    hear_end(c);
    AWAIT(stats(&sv, 0).refused_full == 1);
    say(a, "wait\nwait\n");
    say(a, "third\n");
    hear(a, "<busy>");
    AWAIT(stats(&sv, 0).request_bytes == 200);
    atomic_store(&sv.gate, true);
    hear(a, "<wait><wait>");
    say(b, "again\n");
    hear(b, "<again>");
    close(a);
    close(b);
    down(&sv);

    up(&sv, (struct reactor_options){.request_bytes = 150});
    a = dial(&sv.addr);
    say(a, "wait\n");
    say(a, "more\n");
    hear(a, "<full>");
    atomic_store(&sv.gate, true);
    hear(a, "<wait>");
    close(a);
    down(&sv);

    /* Of one connection: reading waits, nothing is refused. */
    up(&sv, (struct reactor_options){.request_conn_bytes = 99});
    a = dial(&sv.addr);
    b = dial(&sv.addr);
    say(a, "wait\n");
    until(&sv.opened, 2);
    AWAIT(!(stats(&sv, 0).request_bytes < 100));
    say(a, "later\n");
    for (unsigned i = 0; i < 20; i++) {
        say(b, "quick\n");
        hear(b, "<quick>");
    }
    assert_int_equal(atomic_load(&sv.fibers_done), 20);
    atomic_store(&sv.gate, true);
    hear(a, "<wait><later>");
    close(a);
    close(b);
    down(&sv);
}

/* A server that has slept longer than a connection may take to set up does not cut off the next. */
static void test_serve_reactor_first_after_sleep(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){.setup_timeout_ms = 1000});
    usleep(1200000);
    int fd = dial(&sv.addr);
    usleep(20000);
    say(fd, "x\n");
    hear(fd, "<x>");
    close(fd);
    down(&sv);
}

static void test_serve_reactor_timeouts(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){.setup_timeout_ms = 30, .idle_timeout_ms = 60000});
    int silent = dial(&sv.addr), slow = dial(&sv.addr);
    say(slow, "incompl");
    hear_end(silent);
    hear_end(slow);
    until(&sv.closed, 2);
    assert_int_equal(atomic_load(&sv.last_why), ST_TIMED_OUT);
    AWAIT(stats(&sv, 0).timed_out == 2);
    down(&sv);

    up(&sv, (struct reactor_options){.idle_timeout_ms = 40});
    int idle = dial(&sv.addr), busy = dial(&sv.addr);
    say(busy, "wait\n");
    say(idle, "x\n");
    hear(idle, "<x>");
    hear_end(idle);
    until(&sv.closed, 1); /* not the one at work */
    atomic_store(&sv.gate, true);
    hear(busy, "<wait>");
    hear_end(busy);
    down(&sv);

    up(&sv, (struct reactor_options){.send_timeout_ms = 50, .output = {.send_high_bytes = 50000}});
    sv.stream_bytes = (size_t)1 << 30;
    slow = dial(&sv.addr);
    say(slow, "stream\n"); /* and reads nothing */
    until(&sv.fibers_done, 1);
    AWAIT(stats(&sv, 0).cut_slow == 1);
    hear_end(slow);
    down(&sv);

    up(&sv, (struct reactor_options){.linger_ms = 30});
    int lingers = dial(&sv.addr);
    say(lingers, "bye\n");
    hear(lingers, "<bye>");
    char byte;
    assert_int_equal(raw_recv(lingers, &byte, 1), 0);
    until(&sv.closed, 1); /* although this side is never closed */
    close(lingers);
    down(&sv);

    up(&sv, (struct reactor_options){.linger_ms = 3600 * 1000, .linger_bytes = 100000});
    int floods = dial(&sv.addr);
    say(floods, "bye\n");
    hear(floods, "<bye>");
    static const char nonsense[10000];
    bool cut = false;
    for (int i = 0; i < 100000 && !cut; i++)
        cut = send(floods, nonsense, sizeof nonsense, MSG_NOSIGNAL) < 0;
    assert_true(cut);
    until(&sv.closed, 1); /* long before linger_ms */
    close(floods);
    down(&sv);
}

static void test_serve_reactor_stop(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){.linger_ms = 100});
    int idle = dial(&sv.addr), busy = dial(&sv.addr);
    say(idle, "x\n");
    hear(idle, "<x>");
    say(busy, "wait\n");
    AWAIT(!(stats(&sv, 0).fibers == 0));
    atomic_store(&sv.gate, true);
    assert_int_equal(reactors_stop(sv.g, 20000), 0);
    assert_int_equal(atomic_load(&sv.drained), 2);
    hear(busy, "<wait>"); /* it was let finish */
    hear_end(busy);
    hear_end(idle);
    down(&sv);

    /* Past the deadline connections are cut, and fibers waited for. */
    up(&sv, (struct reactor_options){.output = {.send_high_bytes = 50000}});
    sv.stream_bytes = (size_t)1 << 30;
    busy = dial(&sv.addr);
    say(busy, "stream\n");
    AWAIT(!(stats(&sv, 0).output_bytes <= 12500));
    assert_int_equal(reactors_stop(sv.g, 20), 1);
    assert_int_equal(atomic_load(&sv.last_why), ST_CANCELLED);
    assert_int_equal(atomic_load(&sv.fibers_done), 1);
    hear_end(busy);
    down(&sv);
}

static void test_serve_reactor_group(void **state)
{
    (void)state;
    struct server sv = {0};
    up_with(&sv, 3, REACTORS_HAND_OUT, &lines, (struct reactor_options){0});
    int fd[12];
    for (unsigned i = 0; i < 12; i++) {
        fd[i] = dial(&sv.addr);
        say(fd[i], "x\n");
        hear(fd[i], "<x>");
    }
    for (unsigned i = 0; i < 3; i++)
        AWAIT(stats(&sv, i).accepted == 4);
    for (unsigned i = 0; i < 12; i++)
        close(fd[i]);
    down(&sv);

    sv = (struct server){0};
    up_with(&sv, 2, REACTORS_REUSEPORT, &lines, (struct reactor_options){0});
    struct net_addr taken = sv.addr;
    struct err err;
    err_init(&err);
    for (unsigned i = 0; i < 12; i++) {
        fd[i] = dial(&sv.addr);
        say(fd[i], "x\n");
        hear(fd[i], "<x>");
    }
    assert_int_equal(stats(&sv, 0).accepted + stats(&sv, 1).accepted, 12);
    assert_int_equal(
        reactors_listen(sv.g, &taken, REACTORS_HAND_OUT, &lines, &sv, NULL, NULL, &err),
        ST_IO_ERROR);
    for (unsigned i = 0; i < 12; i++)
        close(fd[i]);
    down(&sv);
}

/* --- our own connections --- */

struct caller {
    struct server *sv;
    struct net_addr to;
    char got[64];
    size_t len;
    _Atomic unsigned done;
    _Atomic int st, why;
};

static enum status call_open(struct conn *c, void *arg)
{
    conn_set_state(c, arg);
    conn_settled(c);
    return conn_send(c, BYTES_LIT("called\n"));
}

static size_t call_data(struct conn *c, struct bytes data)
{
    struct caller *k = conn_state(c);
    assert_true(k->len + data.len < sizeof k->got);
    memcpy(k->got + k->len, data.data, data.len);
    k->len += data.len;
    if (k->len == 8)
        conn_finish(c);
    return data.len;
}

static void call_closed(struct conn *c, enum status why)
{
    struct caller *k = conn_state(c);
    if (!k)
        return; /* it never opened; see call_refused */
    atomic_store(&k->why, (int)why);
    atomic_fetch_add(&k->done, 1);
}

static const struct conn_proto calls = {
    .name = "calls", .on_open = call_open, .on_data = call_data, .on_closed = call_closed};

static void call_now(void *arg)
{
    struct caller *k = arg;
    struct conn *c = NULL;
    atomic_store(&k->st,
                 (int)reactor_connect(reactors_at(k->sv->g, 0), &k->to, &calls, k, NULL, &c, NULL));
    if (c)
        conn_set_state(c, k);
    else
        atomic_fetch_add(&k->done, 1);
}

static void test_serve_reactor_connect(void **state)
{
    (void)state;
    struct server sv;
    up(&sv, (struct reactor_options){0});
    struct caller k = {.sv = &sv, .to = sv.addr};
    assert_int_equal(reactor_post(reactors_at(sv.g, 0), call_now, &k), ST_OK);
    until(&k.done, 1);
    assert_int_equal(k.why, ST_OK);
    assert_memory_equal(k.got, "<called>", 8);
    k = (struct caller){.sv = &sv, .to = sv.addr};
    k.to.port = 1; /* nobody there */
    assert_int_equal(reactor_post(reactors_at(sv.g, 0), call_now, &k), ST_OK);
    until(&k.done, 1);
    assert_int_equal(k.st ? k.st : k.why, ST_IO_ERROR);
    down(&sv);
}

static void test_serve_reactor_no_memory(void **state)
{
    (void)state;
    struct reactor_options o = {.loop = kind_now};
    for (uint64_t nth = 1;; nth++) {
        struct reactors *g = NULL;
        mem_fail_at(nth, 0);
        enum status st = reactors_start(env_linux(), 2, &o, &g, NULL);
        mem_fail_at(0, 0);
        if (mem_fail_hits() == 0) {
            assert_int_equal(st, ST_OK);
            reactors_free(g);
            break;
        }
        assert_int_equal(st, ST_NO_MEMORY);
        assert_null(g);
    }
    reactors_free(NULL);
}

#define ON(kind, name)                                                                             \
    {                                                                                              \
#name " " kind, name, NULL, NULL, NULL                                                     \
    }
#define TESTS(kind)                                                                                \
    ON(kind, test_serve_reactor_requests), ON(kind, test_serve_reactor_many_with_one_each),        \
        ON(kind, test_serve_reactor_yield), ON(kind, test_serve_reactor_slow_reader),              \
        ON(kind, test_serve_reactor_deaf), ON(kind, test_serve_reactor_bounds),                    \
        ON(kind, test_serve_reactor_timeouts), ON(kind, test_serve_reactor_first_after_sleep),     \
        ON(kind, test_serve_reactor_stop), ON(kind, test_serve_reactor_group),                     \
        ON(kind, test_serve_reactor_connect), ON(kind, test_serve_reactor_no_memory)

int main(void)
{
    const struct CMUnitTest on_epoll[] = {TESTS("epoll")};
    const struct CMUnitTest on_uring[] = {TESTS("io_uring")};
    kind_now = LOOP_EPOLL;
    int failed = cmocka_run_group_tests_name("epoll", on_epoll, NULL, NULL);
    struct loop *l = NULL;
    struct loop_options o = {.kind = LOOP_URING};
    if (loop_new(env_linux(), &o, &l, NULL) == ST_OK) {
        loop_free(l);
        kind_now = LOOP_URING;
        failed += cmocka_run_group_tests_name("io_uring", on_uring, NULL, NULL);
    }
    return failed;
}
