/* Threads, mutexes, conditions and events: that no wake-up is lost and none is spurious, in any
 * order of set and wait. */
#include "base/alloc.h"
#include "base/env/env.h"
#include "base/env/fiber.h"
#include "base/env/thread.h"
#include "support/cmocka.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void start(struct env_thread *t, void (*fn)(void *), void *arg)
{
    assert_int_equal(env_thread_start(t, "test", fn, arg, NULL), ST_OK);
}

/* --- threads --- */

struct seen {
    char name[32];
    bool term_blocked, segv_blocked;
};

static void look_around(void *arg)
{
    struct seen *s = arg;
    pthread_getname_np(pthread_self(), s->name, sizeof s->name);
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, NULL, &set);
    s->term_blocked = sigismember(&set, SIGTERM) == 1;
    s->segv_blocked = sigismember(&set, SIGSEGV) == 1;
}

static void test_env_thread(void **state)
{
    (void)state;
    struct env_thread t;
    struct seen seen = {0};
    assert_int_equal(env_thread_start(&t, "sixteen-letters-", look_around, &seen, NULL), ST_OK);
    env_thread_join(&t);
    assert_string_equal(seen.name, "sixteen-letters");
    assert_true(seen.term_blocked);
    assert_false(seen.segv_blocked);
    sigset_t mine;
    pthread_sigmask(SIG_BLOCK, NULL, &mine);
    assert_int_equal(sigismember(&mine, SIGTERM), 0); /* the starter's own mask is as it was */
    assert_true(env_cpu_count() >= 1);

    struct err err;
    err_init(&err);
    mem_fail_at(1, 0);
    assert_int_equal(env_thread_start(&t, "none", look_around, &seen, &err), ST_NO_MEMORY);
    mem_fail_at(0, 0);
    assert_non_null(strstr(err.detail, "none"));
}

/* --- mutex, condition, spin lock --- */

enum { ADDERS = 4, ADDITIONS = 20000 };

struct counter {
    struct env_mutex mutex;
    struct env_cond cond;
    struct env_spin spin;
    unsigned long by_mutex, by_spin;
    unsigned done;
};

static void add_up(void *arg)
{
    struct counter *c = arg;
    for (int i = 0; i < ADDITIONS; i++) {
        env_spin_lock(&c->spin);
        c->by_spin++;
        env_spin_unlock(&c->spin);
        env_mutex_lock(&c->mutex);
        c->by_mutex++;
        env_mutex_unlock(&c->mutex);
    }
    env_mutex_lock(&c->mutex);
    c->done++;
    env_cond_signal(&c->cond);
    env_mutex_unlock(&c->mutex);
}

static void test_env_locks(void **state)
{
    (void)state;
    struct counter c = {0};
    struct env_thread t[ADDERS];
    env_mutex_init(&c.mutex);
    env_cond_init(&c.cond);
    for (int i = 0; i < ADDERS; i++)
        start(&t[i], add_up, &c);
    env_mutex_lock(&c.mutex);
    while (c.done < ADDERS)
        env_cond_wait(&c.cond, &c.mutex);
    assert_int_equal(c.by_mutex, ADDERS * ADDITIONS);
    assert_int_equal(c.by_spin, ADDERS * ADDITIONS);
    bool woken = true;
    for (int i = 0; i < 100 && woken; i++) /* the standard allows spurious wake-ups */
        woken = env_cond_wait_ms(&c.cond, &c.mutex, 2);
    assert_false(woken);
    env_mutex_unlock(&c.mutex);
    for (int i = 0; i < ADDERS; i++)
        env_thread_join(&t[i]);
    env_cond_broadcast(&c.cond);
    env_cond_deinit(&c.cond);
    env_mutex_deinit(&c.mutex);
}

/* --- events --- */

static void test_env_event_alone(void **state)
{
    (void)state;
    struct env_event e;
    env_event_init(&e);
    assert_false(env_event_is_set(&e));
    assert_false(env_wait(&e, 0));
    uint64_t before = env_mono_ns(env_linux());
    assert_false(env_wait(&e, 3000000));
    assert_true(env_mono_ns(env_linux()) - before >= 3000000);
    env_event_set(&e);
    assert_true(env_event_is_set(&e));
    assert_true(env_wait(&e, 0));
    assert_true(env_wait(&e, UINT64_MAX));
    env_event_set(&e); /* again: nothing happens */
    assert_true(env_wait(&e, UINT64_MAX));
}

struct late {
    struct env_event e;
    uint64_t after_ms;
    _Atomic bool did;
};

static void set_late(void *arg)
{
    struct late *l = arg;
    struct env_mutex m;
    struct env_cond c;
    env_mutex_init(&m);
    env_cond_init(&c);
    env_mutex_lock(&m);
    while (l->after_ms > 0 && env_cond_wait_ms(&c, &m, l->after_ms))
        continue;
    env_mutex_unlock(&m);
    env_cond_deinit(&c);
    env_mutex_deinit(&m);
    atomic_store(&l->did, true);
    env_event_set(&l->e);
}

/* It may come while the thread is awake still, after that, or have come before. */
static void test_env_event_awake(void **state)
{
    (void)state;
    const uint64_t soon_ns[] = {0, 100000, 1000000000};
    for (size_t i = 0; i < 6; i++) {
        struct late l = {.after_ms = i < 3 ? 0 : 3};
        struct env_thread t;
        env_event_init(&l.e);
        start(&t, set_late, &l);
        env_wait_awake(&l.e, soon_ns[i % 3]);
        assert_true(atomic_load(&l.did));
        env_wait_awake(&l.e, soon_ns[i % 3]);
        env_thread_join(&t);
    }
}

/* The waiter owns the event, on its stack, and it is gone the moment the wait returns: the setter
 * must not touch it then (ASan and TSan look on). */
struct post {
    struct env_event *_Atomic request;
    _Atomic bool stop;
    unsigned answered;
};

static void answer(void *arg)
{
    struct post *p = arg;
    for (;;) {
        struct env_event *e = atomic_exchange(&p->request, NULL);
        if (e) {
            p->answered++;
            env_event_set(e);
        } else if (atomic_load(&p->stop)) {
            return;
        }
    }
}

static __attribute__((noinline)) bool ask(struct post *p, unsigned i, unsigned *answered)
{
    struct env_event e;
    env_event_init(&e);
    atomic_store(&p->request, &e);
    for (volatile unsigned spin = 0; spin < i % 97; spin++)
        ;
    bool ok;
    if (i % 3 == 0)
        while (!(ok = env_wait(&e, 1000))) /* short, to race the timeout with the set */
            ;
    else
        ok = env_wait(&e, UINT64_MAX);
    *answered = p->answered; /* ordered by the event */
    memset(&e, 0xff, sizeof e);
    return ok;
}

enum { ROUNDS = 5000 };

static void test_env_event_on_a_stack(void **state)
{
    (void)state;
    struct post p = {0};
    struct env_thread t;
    start(&t, answer, &p);
    unsigned wrong = 0, answered;
    for (unsigned i = 0; i < ROUNDS; i++)
        wrong += !ask(&p, i, &answered) || answered != i + 1;
    atomic_store(&p.stop, true);
    env_thread_join(&t);
    assert_int_equal(wrong, 0);
    assert_int_equal(p.answered, ROUNDS);
}

/* Many waiters on threads and fibers, one set; nobody returns before it, everybody after. */
enum { CROWD = 4, FIBERS = 20, CROWD_ROUNDS = 150 };

struct crowd {
    struct env_event go;
    _Atomic unsigned value;
    _Atomic unsigned wrong, returned;
};

static void wait_in_crowd(void *arg)
{
    struct crowd *c = arg;
    if (!env_wait(&c->go, UINT64_MAX) || atomic_load_explicit(&c->value, memory_order_relaxed) != 1)
        atomic_fetch_add(&c->wrong, 1);
    atomic_fetch_add(&c->returned, 1);
}

/* One that gives up early and tries again, so that unlinking races with pushing and setting. */
static void wait_in_bits(void *arg)
{
    struct crowd *c = arg;
    while (!env_wait(&c->go, 5000))
        ;
    if (atomic_load_explicit(&c->value, memory_order_relaxed) != 1)
        atomic_fetch_add(&c->wrong, 1);
    atomic_fetch_add(&c->returned, 1);
}

/* What a reactor does: run, then sleep until a wake-up from elsewhere or the first deadline. */
struct doorbell {
    struct env_mutex mutex;
    struct env_cond cond;
    bool rung;
};

static void ring(void *arg)
{
    struct doorbell *d = arg;
    env_mutex_lock(&d->mutex);
    d->rung = true;
    env_cond_signal(&d->cond);
    env_mutex_unlock(&d->mutex);
}

static void drive(struct fiber_sched *s, struct doorbell *d)
{
    for (;;) {
        fiber_sched_run(s);
        if (fiber_sched_alive(s) == 0)
            return;
        uint64_t until = fiber_sched_deadline(s), now = env_mono_ns(env_linux());
        env_mutex_lock(&d->mutex);
        while (!d->rung && until == UINT64_MAX)
            env_cond_wait(&d->cond, &d->mutex); /* a lost wake-up would hang here */
        if (!d->rung && until > now)
            env_cond_wait_ms(&d->cond, &d->mutex, (until - now) / 1000000 + 1);
        d->rung = false;
        env_mutex_unlock(&d->mutex);
    }
}

static void fibers_in_crowd(void *arg)
{
    struct crowd *c = arg;
    struct fiber_sched *s = fiber_sched_new(FIBERS, FIBER_STACK_DEFAULT, NULL);
    unsigned refused = s ? 0 : 1;
    for (int i = 0; s && i < FIBERS; i++)
        refused += fiber_spawn(s, i % 2 ? wait_in_crowd : wait_in_bits, c, NULL) != ST_OK;
    while (s && fiber_sched_alive(s) > 0)
        fiber_sched_run(s); /* spins: the setter comes at any moment */
    fiber_sched_free(s);
    atomic_fetch_add(&c->wrong, refused);
}

static void test_env_event_crowd(void **state)
{
    (void)state;
    for (int round = 0; round < CROWD_ROUNDS; round++) {
        struct crowd c = {0};
        struct env_thread t[CROWD];
        env_event_init(&c.go);
        for (int i = 0; i < CROWD; i++)
            start(&t[i], i < 2 ? fibers_in_crowd : i == 2 ? wait_in_bits : wait_in_crowd, &c);
        for (volatile int spin = 0; spin < round * 1000; spin++)
            ;
        atomic_store_explicit(&c.value, 1, memory_order_relaxed); /* the event orders it */
        env_event_set(&c.go);
        for (int i = 0; i < CROWD; i++)
            env_thread_join(&t[i]);
        assert_int_equal(atomic_load(&c.wrong), 0);
        assert_int_equal(atomic_load(&c.returned), 2 * FIBERS + 2);
    }
}

/* --- fibers that ask another thread, with events on their own stacks --- */

struct asker {
    struct post *post;
    unsigned wrong;
};

static void ask_from_fiber(void *arg)
{
    struct asker *a = arg;
    for (unsigned i = 0; i < 500; i++) {
        unsigned answered;
        a->wrong += !ask(a->post, i, &answered);
    }
}

static void test_env_event_on_a_fiber_stack(void **state)
{
    (void)state;
    struct post p[3] = {0};
    struct asker a[3];
    struct env_thread t[3];
    struct fiber_sched *s = fiber_sched_new(3, FIBER_STACK_DEFAULT, NULL);
    assert_non_null(s);
    for (int i = 0; i < 3; i++) {
        a[i] = (struct asker){&p[i], 0};
        start(&t[i], answer, &p[i]);
        assert_int_equal(fiber_spawn(s, ask_from_fiber, &a[i], NULL), ST_OK);
    }
    while (fiber_sched_alive(s) > 0)
        fiber_sched_run(s);
    for (int i = 0; i < 3; i++) {
        atomic_store(&p[i].stop, true);
        env_thread_join(&t[i]);
        assert_int_equal(a[i].wrong, 0);
        assert_int_equal(p[i].answered, 500);
    }
    fiber_sched_free(s);
}

/* The same under a loop that sleeps between wake-ups, as a reactor's does. */
static void test_env_event_idle_scheduler(void **state)
{
    (void)state;
    struct post p = {0};
    struct asker a = {&p, 0};
    struct env_thread t;
    struct doorbell bell = {.rung = false};
    struct fiber_sched *s = fiber_sched_new(1, FIBER_STACK_DEFAULT, NULL);
    assert_non_null(s);
    start(&t, answer, &p);
    assert_int_equal(fiber_spawn(s, ask_from_fiber, &a, NULL), ST_OK);
    env_mutex_init(&bell.mutex);
    env_cond_init(&bell.cond);
    fiber_sched_on_wake(s, ring, &bell);
    drive(s, &bell);
    atomic_store(&p.stop, true);
    env_thread_join(&t);
    fiber_sched_free(s);
    env_cond_deinit(&bell.cond);
    env_mutex_deinit(&bell.mutex);
    assert_int_equal(a.wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env_thread),
        cmocka_unit_test(test_env_locks),
        cmocka_unit_test(test_env_event_alone),
        cmocka_unit_test(test_env_event_awake),
        cmocka_unit_test(test_env_event_on_a_stack),
        cmocka_unit_test(test_env_event_crowd),
        cmocka_unit_test(test_env_event_on_a_fiber_stack),
        cmocka_unit_test(test_env_event_idle_scheduler),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
