/* Both event loops by one suite: bounds, slow readers, want of descriptors and memory. */
#include "base/alloc.h"
#include "base/log.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "unit/env/loop_world.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static uint8_t block[100000];

static bool is_closed(void *arg)
{
    return ((struct peer *)arg)->closed;
}

/* --- slow readers --- */

static void test_env_loop_slow_reader(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    w.limits = (struct loop_conn_limits){
        .send_max_bytes = 2000000, .send_high_bytes = 500000, .send_low_bytes = 100000};
    int fd = world_raw(&w);
    world_accepts(&w, 1);
    struct peer *s = w.accepted[0];
    test_rng_bytes(&(struct test_rng){{1, 2, 3, 4}}, block, sizeof block);
    size_t accepted = 0, refused = 0;
    while (refused < 20) { /* the kernel's buffers fill, then ours */
        enum status st = loop_conn_send(s->c, BYTES(block, sizeof block));
        accepted += st == ST_OK ? sizeof block : 0;
        refused += st == ST_OVERLOADED;
        assert_true(st == ST_OK || st == ST_OVERLOADED);
        assert_true(loop_conn_queued(s->c) <= 2000000);
        world_rounds(&w, 1);
    }
    assert_false(loop_conn_writable(s->c));
    assert_int_equal(s->drained, 0);
    assert_int_equal(loop_conn_sent(s->c) + loop_conn_queued(s->c), accepted);
    assert_int_equal(loop_queued_bytes(w.l), loop_conn_queued(s->c));
    loop_conn_finish(s->c);
    size_t got = 0;
    assert_true(fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
    static uint8_t in[50000];
    for (;;) {
        ssize_t n = recv(fd, in, sizeof in, 0);
        if (n == 0)
            break;
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            world_rounds(&w, 1);
            continue;
        }
        for (ssize_t i = 0; i < n; i++, got++)
            if (in[i] != block[got % sizeof block])
                fail_msg("byte %zu is another", got);
    }
    assert_int_equal(got, accepted);
    world_rounds(&w, 2);
    assert_int_equal(s->drained, 1);
    close(fd);
    world_until(&w, is_closed, s);
    assert_int_equal(s->why, ST_OK);
    world_close(&w);
}

static void count_release(void *arg)
{
    ++*(unsigned *)arg;
}

static bool released_all(void *arg)
{
    return *(unsigned *)arg == 1000;
}

static void test_env_loop_send_ref(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    struct peer *c = world_connect(&w);
    c->records = true;
    world_accepts(&w, 1);
    struct peer *s = w.accepted[0];
    unsigned released = 0;
    struct buf want = BUF_INIT;
    for (unsigned i = 0; i < 1000; i++) { /* copies and references, more than one call takes */
        size_t at = i * 90 % 9000, len = 1 + i % 700;
        assert_int_equal(loop_conn_send_ref(s->c, BYTES(block + at, len), count_release, &released),
                         ST_OK);
        assert_int_equal(buf_append(&want, block + at, len), ST_OK);
        if (i % 3 == 0) {
            assert_int_equal(loop_conn_send(s->c, BYTES_LIT("between")), ST_OK);
            assert_int_equal(buf_append(&want, "between", 7), ST_OK);
        }
        if (i % 7 == 0) {
            uint8_t *at_end;
            size_t room;
            assert_int_equal(loop_conn_reserve(s->c, 10, &at_end, &room), ST_OK);
            assert_true(room >= 10);
            memcpy(at_end, "reserved", 8);
            loop_conn_commit(s->c, i % 2 ? 8 : 0);
            assert_int_equal(buf_append(&want, "reserved", i % 2 ? 8 : 0), ST_OK);
        }
    }
    assert_int_equal(released, 0);
    world_until(&w, released_all, &released);
    while (c->received < want.len)
        world_rounds(&w, 1);
    assert_int_equal(c->got.len, want.len);
    assert_memory_equal(c->got.data, want.data, want.len);
    buf_deinit(&want);
    /* Dropped and refused ones are released too. */
    loop_conn_read(c->c, false);
    released = 0;
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(
            loop_conn_send_ref(s->c, BYTES(block, sizeof block), count_release, &released), ST_OK);
    world_rounds(&w, 3);
    assert_true(released < 300);
    world_close_peer(s);
    assert_int_equal(released, 300);
    world_close_peer(c);
    world_drop(c);
    world_close(&w);
}

/* --- bounds --- */

static void test_env_loop_bounds(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &(struct loop_options){.max_conns = 4, .send_total_bytes = 1000});
    struct peer *a = world_connect(&w), *b = world_connect(&w);
    world_accepts(&w, 2);
    struct err err;
    err_init(&err);
    struct loop_conn *none = NULL;
    assert_int_equal(loop_connect(w.l, &w.addr, &world_ops, NULL, NULL, &none, &err),
                     ST_OVERLOADED);
    assert_non_null(strstr(err.detail, "max_conns"));
    assert_null(none);
    /* The total binds before a connection's own. */
    assert_int_equal(loop_conn_send(a->c, BYTES(block, 600)), ST_OK);
    assert_int_equal(loop_conn_send(b->c, BYTES(block, 600)), ST_OVERLOADED);
    unsigned released = 0;
    assert_int_equal(loop_conn_send_ref(b->c, BYTES(block, 600), count_release, &released),
                     ST_OVERLOADED);
    assert_int_equal(released, 1);
    uint8_t *at;
    size_t room;
    assert_int_equal(loop_conn_reserve(b->c, 600, &at, &room), ST_OVERLOADED);
    assert_int_equal(loop_conn_send(b->c, BYTES(block, 400)), ST_OK);
    world_rounds(&w, 3);
    assert_int_equal(loop_conn_send(b->c, BYTES(block, 1000)), ST_OK);
    world_close_peer(a);
    world_close_peer(b);
    world_drop(a);
    world_drop(b);
    world_close(&w);

    struct loop *l = NULL;
    struct loop_options bad = {.kind = LOOP_EPOLL, .post_slots = 100};
    assert_int_equal(loop_new(env_linux(), &bad, &l, NULL), ST_INVALID_ARGUMENT);
    bad = (struct loop_options){.kind = LOOP_EPOLL, .recv_bufs = 3};
    assert_int_equal(loop_new(env_linux(), &bad, &l, NULL), ST_INVALID_ARGUMENT);
    assert_null(l);
    loop_free(NULL);
}

static void pause_now(struct peer *p, struct bytes data)
{
    (void)data;
    loop_conn_read(p->c, false);
}

static bool got_all(void *arg)
{
    return ((struct peer *)arg)->received == sizeof block;
}

static void test_env_loop_kept(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &(struct loop_options){.kept_max_bytes = 300000});
    struct peer *c = world_connect(&w);
    world_accepts(&w, 1);
    struct peer *s = w.accepted[0];
    s->records = true;
    s->take_max = 1000;
    s->on_recv = pause_now;
    test_rng_bytes(&(struct test_rng){{5, 6, 7, 8}}, block, sizeof block);
    assert_int_equal(loop_conn_send(c->c, BYTES(block, sizeof block)), ST_OK);
    loop_conn_finish(c->c);
    while (s->received == 0)
        world_rounds(&w, 1);
    world_rounds(&w, 10);
    assert_int_equal(s->received, 1000); /* no more while it does not want */
    assert_true(loop_kept_bytes(w.l) > 0);
    assert_true(loop_kept_bytes(w.l) < sizeof block);
    for (unsigned i = 0; i < 10; i++) {
        loop_conn_read(s->c, true);
        world_rounds(&w, 2);
        assert_int_equal(s->received, 1000 * (i + 2));
    }
    assert_false(s->eof);
    s->on_recv = NULL;
    s->take_max = 0;
    loop_conn_read(s->c, true);
    world_until(&w, got_all, s);
    assert_memory_equal(s->got.data, block, sizeof block);
    assert_int_equal(loop_kept_bytes(w.l), 0);
    world_rounds(&w, 3);
    assert_true(s->eof); /* after the last byte */
    world_close_peer(c);
    world_drop(c);
    world_close(&w);
}

static void test_env_loop_kept_bound(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &(struct loop_options){.kept_max_bytes = 2000});
    struct peer *c = world_connect(&w), *d = world_connect(&w);
    world_accepts(&w, 2);
    for (unsigned i = 0; i < 2; i++) {
        w.accepted[i]->take_max = 1;
        w.accepted[i]->on_recv = pause_now;
    }
    assert_int_equal(loop_conn_send(c->c, BYTES(block, 1500)), ST_OK);
    world_rounds(&w, 5);
    assert_int_equal(loop_kept_bytes(w.l), 1499);
    assert_int_equal(loop_conn_send(d->c, BYTES(block, 1500)), ST_OK);
    struct peer *second = w.accepted[0]->received ? w.accepted[1] : w.accepted[0];
    world_until(&w, is_closed, second);
    assert_int_equal(second->why, ST_OVERLOADED);
    assert_int_equal(loop_kept_bytes(w.l), 1499);
    world_close_peer(c);
    world_close_peer(d);
    world_drop(c);
    world_drop(d);
    world_close(&w);
}

/* --- want of descriptors and memory --- */

static unsigned pauses;

static void watch_log(void *arg, const char *line, unsigned long len)
{
    (void)arg;
    pauses += memmem(line, len, "accepting pauses", 16) != NULL;
}

static bool has_paused(void *arg)
{
    (void)arg;
    return pauses > 0;
}

static void test_env_loop_accept_emfile(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    /* No round yet: io_uring keeps the limit that held when a request was made. */
    enum { N = 12, ALLOWED = 3 };
    int fd[N];
    for (size_t i = 0; i < N; i++)
        fd[i] = world_raw(&w);
    struct rlimit before, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    low = before;
    low.rlim_cur = (rlim_t)fd[N - 1] + 1 + ALLOWED;
    pauses = 0;
    log_set_sink(watch_log, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    world_accepts(&w, ALLOWED);
    world_until(&w, has_paused, NULL);
    world_rounds(&w, 20);
    assert_int_equal(w.n_accepted, ALLOWED);
    assert_true(pauses < 10); /* it does not spin */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    world_accepts(&w, N);
    log_set_sink(NULL, NULL);
    for (size_t i = 0; i < N; i++)
        close(fd[i]);
    world_close(&w);
}

static void test_env_loop_no_memory(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    enum loop_kind kind = loop_kind_of(w.l);
    struct loop_options o = {.kind = kind};
    for (uint64_t nth = 1;; nth++) {
        struct loop *l = NULL;
        mem_fail_at(nth, 0);
        enum status st = loop_new(env_linux(), &o, &l, NULL);
        mem_fail_at(0, 0);
        if (mem_fail_hits() == 0) {
            assert_int_equal(st, ST_OK);
            loop_free(l);
            break;
        }
        assert_int_equal(st, ST_NO_MEMORY);
        assert_null(l);
    }
    struct peer *c = world_connect(&w);
    world_accepts(&w, 1);
    struct peer *s = w.accepted[0];
    unsigned released = 0;
    uint8_t *at;
    size_t room;
    mem_fail_at(1, 1);
    assert_int_equal(loop_conn_send(c->c, BYTES(block, 100)), ST_NO_MEMORY);
    assert_int_equal(loop_conn_reserve(c->c, 100, &at, &room), ST_NO_MEMORY);
    assert_int_equal(loop_conn_send_ref(c->c, BYTES(block, 100), count_release, &released),
                     ST_NO_MEMORY);
    struct loop_conn *none = NULL;
    w.close_accepted = true;
    assert_int_equal(loop_connect(w.l, &w.addr, &world_ops, NULL, NULL, &none, NULL), ST_NO_MEMORY);
    mem_fail_at(0, 0);
    assert_int_equal(released, 1);
    assert_int_equal(loop_conn_queued(c->c), 0);
    /* What cannot be kept ends the connection, and only that. */
    s->take_max = 1;
    assert_int_equal(loop_conn_send(c->c, BYTES(block, 100)), ST_OK);
    loop_flush(w.l);
    mem_fail_at(1, 1);
    world_until(&w, is_closed, s);
    mem_fail_at(0, 0);
    assert_int_equal(s->why, ST_NO_MEMORY);
    world_close_peer(c);
    world_drop(c);
    world_close(&w);
}

/* --- listeners --- */

static void test_env_loop_listen(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    struct loop_listen_options o = {
        .addr = w.addr, .on_accept = (void (*)(void *, int, const struct net_addr *))abort};
    struct loop_listener *li = NULL;
    struct err err;
    err_init(&err);
    assert_int_equal(loop_listen(w.l, &o, &li, &err), ST_IO_ERROR);
    char text[NET_ADDR_TEXT];
    assert_non_null(strstr(err.detail, net_addr_text(&w.addr, text)));
    assert_null(li);
    o.reuseport = true;
    o.addr.port = 0;
    struct loop_listener *one = NULL, *two = NULL;
    assert_int_equal(loop_listen(w.l, &o, &one, NULL), ST_OK);
    loop_listener_addr(one, &o.addr);
    assert_int_equal(loop_listen(w.l, &o, &two, NULL), ST_OK);
    world_rounds(&w, 2);
    loop_listener_close(one);
    loop_listener_close(two);
    loop_listener_close(NULL);
    world_rounds(&w, 5);
    assert_int_equal(net_addr_parse("[::1]:0", &o.addr, NULL), ST_OK);
    if (loop_listen(w.l, &o, &one, NULL) == ST_OK) { /* where there is IPv6 */
        loop_listener_addr(one, &o.addr);
        assert_int_equal(o.addr.family, NET_IP6);
        assert_true(net_addr_is_loopback(&o.addr));
        loop_listener_close(one);
    }
    world_close(&w);
}

#define ON(kind, name)                                                                             \
    {                                                                                              \
#name " " kind, name, NULL, NULL, NULL                                                     \
    }
#define TESTS(kind)                                                                                \
    ON(kind, test_env_loop_slow_reader), ON(kind, test_env_loop_send_ref),                         \
        ON(kind, test_env_loop_bounds), ON(kind, test_env_loop_kept),                              \
        ON(kind, test_env_loop_kept_bound), ON(kind, test_env_loop_accept_emfile),                 \
        ON(kind, test_env_loop_no_memory), ON(kind, test_env_loop_listen)

int main(void)
{
    const struct CMUnitTest on_epoll[] = {TESTS("epoll")};
    const struct CMUnitTest on_uring[] = {TESTS("io_uring")};
    world_use(LOOP_EPOLL);
    int failed = cmocka_run_group_tests_name("epoll", on_epoll, NULL, NULL);
    if (world_has(LOOP_URING)) {
        world_use(LOOP_URING);
        failed += cmocka_run_group_tests_name("io_uring", on_uring, NULL, NULL);
    }
    return failed;
}
