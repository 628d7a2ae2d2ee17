/* Both event loops by one suite: what arrives, in which order, and how connections end. */
#include "base/alloc.h"
#include "base/env/thread.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "unit/env/loop_world.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- echo --- */

struct talker {
    struct peer *p;
    struct buf text;
    size_t sent;
};

static bool all_echoed(void *arg)
{
    struct talker *t = arg;
    for (; t->p; t++)
        if (t->p->received < t->text.len)
            return false;
    return true;
}

static bool all_closed(void *arg)
{
    for (struct talker *t = arg; t->p; t++)
        if (!t->p->closed)
            return false;
    return true;
}

static void speak_on(struct talker *t, struct test_rng *r)
{
    if (!t->p->connected || t->sent == t->text.len)
        return;
    size_t n = test_rng_between(r, 1, 40000);
    n = n < t->text.len - t->sent ? n : t->text.len - t->sent;
    assert_int_equal(loop_conn_send(t->p->c, BYTES(t->text.data + t->sent, n)), ST_OK);
    t->sent += n;
}

/* Servers that take what they like, pause and resume; clients that speak in pieces of any size. */
static void echo_round(uint64_t seed)
{
    enum { TALKERS = 12 };
    struct test_rng r;
    test_rng_init(&r, seed);
    struct world w;
    world_open(&w, &(struct loop_options){.recv_buf_bytes = 512 << test_rng_below(&r, 5),
                                          .recv_bufs = (size_t)1 << test_rng_below(&r, 6),
                                          .look_ns = test_rng_below(&r, 2) * 50000});
    w.model = (struct peer){.echo = true, .finish_at_eof = true};
    struct talker t[TALKERS + 1] = {0};
    for (size_t i = 0; i < TALKERS; i++) {
        t[i].p = world_connect(&w);
        t[i].p->records = true;
        size_t len = test_rng_between(&r, 1, 300000);
        assert_int_equal(buf_reserve(&t[i].text, len), ST_OK);
        test_rng_bytes(&r, t[i].text.data, len);
        t[i].text.len = len;
    }
    while (!all_echoed(t)) {
        for (size_t i = 0; i < TALKERS; i++)
            speak_on(&t[i], &r);
        loop_poll(w.l, loop_clock_ns(w.l) + 2000000u);
        for (size_t i = 0; i < w.n_accepted; i++) {
            w.accepted[i]->take_max = test_rng_below(&r, 3) ? 0 : test_rng_between(&r, 1, 5000);
            loop_conn_read(w.accepted[i]->c, test_rng_below(&r, 4) != 0);
        }
    }
    for (size_t i = 0; i < TALKERS; i++) {
        assert_int_equal(t[i].p->received, t[i].text.len);
        assert_memory_equal(t[i].p->got.data, t[i].text.data, t[i].text.len);
        assert_int_equal(loop_conn_sent(t[i].p->c), t[i].text.len);
        loop_conn_finish(t[i].p->c);
    }
    for (size_t i = 0; i < w.n_accepted; i++)
        loop_conn_read(w.accepted[i]->c, true);
    world_until(&w, all_closed, t); /* both ends finish: nobody has to close */
    for (size_t i = 0; i < TALKERS; i++) {
        assert_int_equal(t[i].p->why, ST_OK);
        assert_true(t[i].p->eof);
        buf_deinit(&t[i].text);
        world_drop(t[i].p);
    }
    world_close(&w);
}

static void test_env_loop_echo(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        echo_round(seed);
    }
}

/* --- many --- */

static size_t many(void)
{
    struct rlimit lim;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
    if (lim.rlim_cur < lim.rlim_max) {
        lim.rlim_cur = lim.rlim_max < 8192 ? lim.rlim_max : 8192;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
    }
    size_t n = (lim.rlim_cur - 64) / 2;
    return n < 2000 ? n : 2000;
}

static bool all_got_one(void *arg)
{
    for (struct talker *t = arg; t->p; t++)
        if (t->p->received != t->sent)
            return false;
    return true;
}

static void test_env_loop_many(void **state)
{
    (void)state;
    size_t n = many();
    struct world w;
    world_open(&w, NULL);
    w.model.echo = true;
    struct talker *t = calloc(n + 1, sizeof *t);
    assert_non_null(t);
    for (size_t i = 0; i < n; i++) {
        t[i].p = world_connect(&w);
        if (i % 256 == 255)
            loop_poll(w.l, 0);
    }
    world_accepts(&w, n);
    assert_int_equal(loop_conns(w.l), 2 * n);
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(loop_conn_send(t[i].p->c, BYTES_LIT("hello")), ST_OK);
            t[i].sent += 5;
        }
        world_until(&w, all_got_one, t);
    }
    assert_int_equal(loop_queued_bytes(w.l), 0);
    for (size_t i = 0; i < n; i++)
        loop_conn_close(t[i].p->c);
    world_until(&w, all_closed, t);
    for (size_t i = 0; i < n; i++)
        world_drop(t[i].p);
    free(t);
    world_close(&w);
}

/* --- time --- */

static void note_time(struct peer *p, struct bytes data)
{
    uint64_t *at = p->arg;
    (void)data;
    *at = loop_now_ns(p->w->l);
}

static bool is_set(void *arg)
{
    return *(uint64_t *)arg != 0;
}

/* Whoever comes to a loop that has slept comes now, not when it went to sleep: otherwise the deadline
 * of a first request, or of a new connection, would have passed before it began. */
static void test_env_loop_time_after_sleep(void **state)
{
    (void)state;
    struct world w;
    uint64_t came = 0;
    world_open(&w, NULL);
    w.model.on_recv = note_time;
    w.model.arg = &came;
    loop_poll(w.l, 0);
    usleep(50000);
    uint64_t spoke = loop_clock_ns(w.l);
    int fd = world_raw(&w);
    assert_int_equal(write(fd, "x", 1), 1);
    world_until(&w, is_set, &came);
    assert_true(came >= spoke);
    usleep(50000);
    came = 0;
    spoke = loop_clock_ns(w.l);
    assert_int_equal(write(fd, "x", 1), 1);
    world_until(&w, is_set, &came);
    assert_true(came >= spoke);
    close(fd);
    world_close(&w);
}

/* --- timers --- */

struct alarm {
    struct loop_timer timer;
    struct loop *l;
    uint64_t at_ns;
    unsigned rang, *order, place;
    struct alarm *stops;
    unsigned again;
};

static void ring(void *arg)
{
    struct alarm *a = arg;
    assert_true(loop_clock_ns(a->l) >= a->at_ns);
    a->rang++;
    a->place = ++*a->order;
    if (a->stops)
        loop_timer_stop(a->l, &a->stops->timer);
    if (a->again) {
        a->again--;
        loop_timer_start(a->l, &a->timer, 0);
    }
}

static bool has_rung(void *arg)
{
    return ((struct alarm *)arg)->rang > 0;
}

static void test_env_loop_timers(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    unsigned order = 0;
    struct alarm a[6];
    uint64_t now = loop_clock_ns(w.l);
    static const uint64_t in_us[6] = {30000, 10000, 70500, 10000, 3600000000u, 50000};
    for (size_t i = 0; i < 6; i++) {
        a[i] = (struct alarm){.l = w.l, .at_ns = now + in_us[i] * 1000, .order = &order};
        loop_timer_init(&a[i].timer, ring, &a[i]);
        loop_timer_start(w.l, &a[i].timer, a[i].at_ns);
    }
    a[1].stops = &a[3];                                              /* of the same moment */
    loop_timer_start(w.l, &a[5].timer, a[5].at_ns = now + 20000000); /* moved forward */
    world_until(&w, has_rung, &a[2]);
    assert_int_equal(a[1].place, 1);
    assert_int_equal(a[5].place, 2);
    assert_int_equal(a[0].place, 3);
    assert_int_equal(a[2].place, 4);
    assert_int_equal(a[3].rang, 0);
    assert_int_equal(a[4].rang, 0);
    loop_timer_stop(w.l, &a[4].timer);
    loop_timer_stop(w.l, &a[4].timer);

    /* One that starts itself for a time gone by runs once a round, not for ever. */
    a[0].at_ns = 0;
    a[0].rang = 0;
    a[0].again = 3;
    loop_timer_start(w.l, &a[0].timer, 0);
    for (unsigned i = 1; i <= 4; i++) {
        loop_poll(w.l, UINT64_MAX);
        assert_int_equal(a[0].rang, i);
    }
    world_close(&w);
}

/* --- messages --- */

enum { POSTERS = 3, POSTS = 20000 };
struct poster {
    struct loop *l;
    struct env_thread thread;
    unsigned next_sent, next_seen, refused;
    _Atomic bool *go;
};
struct message {
    struct poster *from;
    unsigned number;
};

static void take_message(void *arg)
{
    struct message *m = arg;
    assert_int_equal(m->number, m->from->next_seen);
    m->from->next_seen++;
    free(m);
}

static void post_many(void *arg)
{
    struct poster *p = arg;
    while (p->next_sent < POSTS) {
        struct message *m = malloc(sizeof *m);
        if (!m)
            abort();
        *m = (struct message){p, p->next_sent};
        if (loop_post(p->l, take_message, m) == ST_OK) {
            p->next_sent++;
        } else {
            p->refused++;
            free(m);
            sched_yield();
        }
    }
}

static bool all_posted(void *arg)
{
    struct poster *p = arg;
    for (size_t i = 0; i < POSTERS; i++)
        if (p[i].next_seen < POSTS)
            return false;
    return true;
}

static void test_env_loop_posts(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &(struct loop_options){.post_slots = 64});
    struct poster p[POSTERS] = {0};
    for (size_t i = 0; i < POSTERS; i++) {
        p[i].l = w.l;
        assert_int_equal(env_thread_start(&p[i].thread, "poster", post_many, &p[i], NULL), ST_OK);
    }
    world_until(&w, all_posted, p);
    for (size_t i = 0; i < POSTERS; i++)
        env_thread_join(&p[i].thread);
    world_close(&w);
}

static void nothing(void *arg)
{
    ++*(unsigned *)arg;
}

static void test_env_loop_post_bound(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, &(struct loop_options){.post_slots = 8});
    unsigned ran = 0;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 8; i++)
            assert_int_equal(loop_post(w.l, nothing, &ran), ST_OK);
        assert_int_equal(loop_post(w.l, nothing, &ran), ST_OVERLOADED);
        loop_poll(w.l, UINT64_MAX);
        assert_int_equal(ran, 8 * (round + 1));
    }
    world_close(&w);
}

static void wake_often(void *arg)
{
    struct poster *p = arg;
    for (unsigned i = 0; i < 2000; i++) {
        loop_wake(p->l);
        while (!atomic_exchange(p->go, false)) /* until the loop came round */
            sched_yield();
    }
}

static void wake_while(uint64_t look_ns)
{
    struct world w;
    world_open(&w, &(struct loop_options){.look_ns = look_ns});
    _Atomic bool go = false;
    struct poster p = {.l = w.l, .go = &go};
    assert_int_equal(env_thread_start(&p.thread, "waker", wake_often, &p, NULL), ST_OK);
    for (unsigned i = 0; i < 2000; i++) {
        loop_poll(w.l, UINT64_MAX); /* a lost wake-up hangs here */
        atomic_store(&go, true);
        while (i < 1999 && atomic_load(&go))
            sched_yield();
    }
    env_thread_join(&p.thread);
    world_close(&w);
}

static void test_env_loop_wake(void **state)
{
    (void)state;
    wake_while(0);
    wake_while(20000);   /* now and then it looks in vain, and sleeps */
    wake_while(1000000); /* it is hardly ever asleep */
}

enum { LONG_BYTES = 8 << 20 };

static void take_later(void *arg)
{
    static uint8_t room[64 * 1024];
    int fd = *(const int *)arg;
    ssize_t n = 1;
    for (size_t got = 0; got < LONG_BYTES && n > 0; got += (size_t)n) {
        usleep(200); /* so that room for more comes while the loop looks */
        n = recv(fd, room, sizeof room, 0);
    }
    assert_true(n > 0);
}

/* Room to write is nothing that a callback tells of: who looks for input must not sleep over it. */
static void test_env_loop_sends_on_after_a_look(void **state)
{
    (void)state;
    const uint64_t patience = UINT64_C(10) * 1000 * 1000 * 1000;
    struct world w;
    world_open(&w, &(struct loop_options){.look_ns = 300 * 1000000});
    int fd = world_raw(&w);
    while (w.n_accepted == 0)
        world_rounds(&w, 1);
    uint8_t *bytes = calloc(1, LONG_BYTES);
    assert_non_null(bytes);
    assert_int_equal(loop_conn_send(w.accepted[0]->c, BYTES(bytes, LONG_BYTES)), ST_OK);
    free(bytes);
    world_rounds(&w, 1);
    struct env_thread t;
    assert_int_equal(env_thread_start(&t, "taker", take_later, &fd, NULL), ST_OK);
    while (loop_queued_bytes(w.l) > 0) {
        uint64_t began = loop_clock_ns(w.l);
        loop_poll(w.l, began + patience);
        if (loop_clock_ns(w.l) - began >= patience)
            fail_msg("it sleeps, and %zu bytes are left", loop_queued_bytes(w.l));
    }
    env_thread_join(&t);
    close(fd);
    world_close(&w);
}

/* --- ends --- */

static bool is_closed(void *arg)
{
    return ((struct peer *)arg)->closed;
}

static bool has_eof(void *arg)
{
    return ((struct peer *)arg)->eof;
}

static void test_env_loop_half_close(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    struct peer *c = world_connect(&w);
    c->records = true;
    world_accepts(&w, 1);
    struct peer *s = w.accepted[0];
    assert_int_equal(loop_conn_send(c->c, BYTES_LIT("question")), ST_OK);
    loop_conn_finish(c->c);
    assert_int_equal(loop_conn_send(c->c, BYTES_LIT("more")), ST_CLOSED);
    world_until(&w, has_eof, s);
    assert_int_equal(s->received, 8);
    assert_false(s->closed || c->closed);
    static uint8_t answer[1000000];
    memset(answer, 'a', sizeof answer);
    assert_int_equal(loop_conn_send(s->c, BYTES(answer, sizeof answer)), ST_OK);
    loop_conn_finish(s->c);
    world_until(&w, is_closed, s);
    world_until(&w, is_closed, c);
    assert_int_equal(c->received, sizeof answer);
    assert_int_equal(c->why, ST_OK);
    assert_int_equal(s->why, ST_OK);
    world_drop(c);
    world_close(&w);
}

static void test_env_loop_reset(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    /* By the peer. */
    int fd = world_raw(&w);
    world_accepts(&w, 1);
    struct linger now = {.l_onoff = 1};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
    world_until(&w, is_closed, w.accepted[0]);
    assert_int_equal(w.accepted[0]->why, ST_IO_ERROR);
    assert_int_equal(w.accepted[0]->error, ECONNRESET);
    /* By us. */
    fd = world_raw(&w);
    world_accepts(&w, 2);
    loop_conn_reset(w.accepted[1]->c);
    world_until(&w, is_closed, w.accepted[1]);
    assert_int_equal(w.accepted[1]->why, ST_OK);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(fd);
    /* While sending to a peer that is gone. */
    fd = world_raw(&w);
    world_accepts(&w, 3);
    loop_conn_read(w.accepted[2]->c, false);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(fd);
    while (!w.accepted[2]->closed) {
        enum status st = loop_conn_send(w.accepted[2]->c, BYTES_LIT("is anybody there?"));
        assert_true(st == ST_OK || st == ST_CLOSED);
        world_rounds(&w, 1);
    }
    assert_int_equal(w.accepted[2]->why, ST_IO_ERROR);
    world_close(&w);
}

static void test_env_loop_refused(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    loop_listener_close(w.li);
    w.li = NULL;
    world_rounds(&w, 5);
    struct peer *c = world_peer(&w);
    enum status st = loop_connect(w.l, &w.addr, &world_ops, c, NULL, &c->c, NULL);
    if (st == ST_OK) { /* else the kernel said so at once */
        w.alive++;
        assert_int_equal(loop_conn_send(c->c, BYTES_LIT("never sent")), ST_OK);
        world_until(&w, is_closed, c);
        assert_int_equal(c->why, ST_IO_ERROR);
        assert_int_equal(c->error, ECONNREFUSED);
        assert_false(c->connected);
    } else {
        assert_int_equal(st, ST_IO_ERROR);
        c->closed = true;
    }
    world_drop(c);
    world_close(&w);
}

static void close_self(struct peer *p, struct bytes data)
{
    (void)data;
    loop_conn_close(p->c);
    loop_conn_close(p->c);
    assert_int_equal(loop_conn_send(p->c, BYTES_LIT("x")), ST_CLOSED);
}

static void close_other(struct peer *p, struct bytes data)
{
    (void)data;
    struct peer *other = p->arg;
    if (other->c)
        loop_conn_close(other->c);
}

static void close_at_eof(struct peer *p)
{
    loop_conn_close(p->c);
}

static void close_when_drained(struct peer *p)
{
    if (p->c)
        loop_conn_close(p->c);
}

static void test_env_loop_close_in_callbacks(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    w.limits = (struct loop_conn_limits){.send_high_bytes = 1000};
    enum { N = 40 };
    struct peer *c[N];
    for (size_t i = 0; i < N; i++)
        c[i] = world_connect(&w);
    world_accepts(&w, N);
    for (size_t i = 0; i < N; i++) {
        struct peer *s = w.accepted[i];
        switch (i % 4) {
        case 0:
            s->on_recv = close_self;
            s->take_max = 1 + i % 3; /* also when something is left */
            break;
        case 1:
            s->on_recv = close_other;
            s->arg = w.accepted[(i + 4) % N];
            break;
        case 2:
            s->on_eof = close_at_eof;
            break;
        default:
            s->on_drained = close_when_drained;
        }
    }
    static uint8_t some[5000];
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(loop_conn_send(c[i]->c, BYTES(some, 700)), ST_OK);
        if (w.accepted[i]->on_drained)
            assert_int_equal(loop_conn_send(w.accepted[i]->c, BYTES(some, sizeof some)), ST_OK);
        if (i % 4 == 2)
            loop_conn_finish(c[i]->c);
    }
    for (size_t i = 0; i < N; i++) {
        if (i % 4 != 1)
            world_until(&w, is_closed, w.accepted[i]);
        world_close_peer(c[i]);
        world_drop(c[i]);
    }
    w.close_accepted = true;
    int fd = world_raw(&w);
    world_rounds(&w, 5);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    world_close(&w);
}

#define ON(kind, name)                                                                             \
    {                                                                                              \
#name " " kind, name, NULL, NULL, NULL                                                     \
    }
#define TESTS(kind)                                                                                \
    ON(kind, test_env_loop_echo), ON(kind, test_env_loop_many), ON(kind, test_env_loop_timers),    \
        ON(kind, test_env_loop_time_after_sleep), ON(kind, test_env_loop_posts),                   \
        ON(kind, test_env_loop_post_bound), ON(kind, test_env_loop_wake),                          \
        ON(kind, test_env_loop_half_close), ON(kind, test_env_loop_reset),                         \
        ON(kind, test_env_loop_sends_on_after_a_look), ON(kind, test_env_loop_refused),            \
        ON(kind, test_env_loop_close_in_callbacks)

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
