/* Fibers: order, parking and waking from here and elsewhere, sleeping, bounds, guards, and what a
 * switch preserves. */
#include "base/alloc.h"
#include "base/env/fiber.h"
#include "base/env/thread.h"
#include "support/cmocka.h"
#include "support/rng.h"

#include <fenv.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
enum { MANY = 500 }; /* TSan keeps much for each */
#else
enum { MANY = 5000 };
#endif

static struct fiber_sched *sched(size_t max)
{
    struct fiber_sched *s = fiber_sched_new(max, 0, NULL);
    assert_non_null(s);
    return s;
}

static void spawn(struct fiber_sched *s, void (*fn)(void *), void *arg)
{
    assert_int_equal(fiber_spawn(s, fn, arg, NULL), ST_OK);
}

/* --- order --- */

struct log {
    char text[64];
    size_t len;
};
struct speaker {
    struct log *log;
    char name;
    int times;
};

static void speak(void *arg)
{
    struct speaker *s = arg;
    for (int i = 0; i < s->times; i++) {
        s->log->text[s->log->len++] = s->name;
        fiber_yield();
    }
}

static void test_env_fiber_order(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(3);
    struct log log = {0};
    struct speaker who[3] = {{&log, 'a', 3}, {&log, 'b', 1}, {&log, 'c', 2}};
    assert_null(fiber_current());
    assert_int_equal(fiber_sched_run(s), 0);
    for (int i = 0; i < 3; i++)
        spawn(s, speak, &who[i]);
    assert_int_equal(fiber_sched_alive(s), 3);
    assert_int_equal(log.len, 0); /* spawning runs nothing */
    assert_int_equal(fiber_sched_run(s), 6 + 3);
    assert_string_equal(log.text, "abcaca");
    assert_int_equal(fiber_sched_alive(s), 0);
    fiber_sched_free(s);
}

/* Those that were spawned start, one after the other, and run until they yield; what waits is left
 * for the full run, in the order of old. Those that end share a stack. */
static uintptr_t stack_seen; /* a place on it, as a number: it is gone by then */
static size_t stacks_differ;

static void end_at_once(void *arg)
{
    char here;
    (void)arg;
    stacks_differ += stack_seen && stack_seen != (uintptr_t)&here;
    stack_seen = (uintptr_t)&here;
}

static void test_env_fiber_fresh_first(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(8);
    struct log log = {0};
    struct speaker a = {&log, 'a', 2}, b = {&log, 'b', 2}, c = {&log, 'c', 1};
    assert_int_equal(fiber_sched_run_fresh(s, SIZE_MAX), 0);
    spawn(s, speak, &a);
    spawn(s, speak, &b);
    assert_int_equal(fiber_sched_run_fresh(s, SIZE_MAX), 2);
    spawn(s, speak, &c);
    assert_int_equal(fiber_sched_run_fresh(s, SIZE_MAX), 1);
    assert_int_equal(fiber_sched_run_fresh(s, SIZE_MAX), 0);
    assert_int_equal(log.len, 3);
    assert_memory_equal(log.text, "abc", 3);
    spawn(s, speak, &(struct speaker){&log, 'd', 1}); /* behind those that yielded */
    (void)fiber_sched_run(s);
    assert_int_equal(log.len, 6);
    assert_memory_equal(log.text, "abcabd", 6);
    assert_int_equal(fiber_sched_alive(s), 0);
    for (int i = 0; i < 5; i++)
        spawn(s, end_at_once, NULL);
    assert_int_equal(fiber_sched_fresh(s), 5);
    assert_int_equal(fiber_sched_run_fresh(s, 2), 2);
    assert_int_equal(fiber_sched_fresh(s), 3);
    assert_int_equal(fiber_sched_alive(s), 3);
    assert_int_equal(fiber_sched_run_fresh(s, 0), 0);
    assert_int_equal(fiber_sched_run_fresh(s, SIZE_MAX), 3);
    spawn(s, end_at_once, NULL);
    assert_int_equal(fiber_sched_run(s), 1);
    assert_int_equal(fiber_sched_fresh(s), 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_int_equal(stacks_differ, 0);
#endif
    fiber_sched_free(s);
}

static void test_env_fiber_max(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(2);
    struct log log = {0};
    struct speaker who = {&log, 'x', 1};
    struct err err;
    err_init(&err);
    for (int round = 0; round < 3; round++) {
        spawn(s, speak, &who);
        spawn(s, speak, &who);
        assert_int_equal(fiber_spawn(s, speak, &who, &err), ST_OVERLOADED);
        assert_non_null(strstr(err.detail, "2"));
        fiber_sched_run(s);
    }
    assert_int_equal(log.len, 6);
    fiber_sched_free(s);
    fiber_sched_free(NULL);
}

static void test_env_fiber_no_memory(void **state)
{
    (void)state;
    struct err err;
    err_init(&err);
    mem_fail_at(1, 1);
    assert_null(fiber_sched_new(2, 0, &err));
    mem_fail_at(0, 0);
    assert_int_equal(err.status, ST_NO_MEMORY);
    struct fiber_sched *s = sched(2);
    struct log log = {0};
    struct speaker who = {&log, 'x', 1};
    for (uint64_t nth = 1; nth <= 2; nth++) {
        mem_fail_at(nth, 0);
        assert_int_equal(fiber_spawn(s, speak, &who, NULL), ST_NO_MEMORY);
        mem_fail_at(0, 0);
        assert_int_equal(fiber_sched_alive(s), 0);
    }
    spawn(s, speak, &who);
    fiber_sched_run(s);
    assert_int_equal(log.len, 1);
    fiber_sched_free(s);
    s = fiber_sched_new(1, (size_t)1 << 60, NULL); /* no such stack can be mapped */
    assert_non_null(s);
    assert_int_equal(fiber_spawn(s, speak, &who, &err), ST_NO_MEMORY);
    fiber_sched_free(s);
}

/* --- many --- */

struct worker {
    uint64_t seed, sum;
    size_t steps;
};

static uint64_t work_out(uint64_t seed, size_t steps, bool yields)
{
    struct test_rng r;
    test_rng_init(&r, seed);
    uint64_t local[16] = {0}; /* lives on the stack across switches */
    for (size_t i = 0; i < steps; i++) {
        local[i % 16] += test_rng_u64(&r);
        if (yields)
            fiber_yield();
    }
    uint64_t sum = 0;
    for (int i = 0; i < 16; i++)
        sum = sum * 31 + local[i];
    return sum;
}

static void work(void *arg)
{
    struct worker *w = arg;
    w->sum = work_out(w->seed, w->steps, true);
}

static void test_env_fiber_many(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(MANY);
    struct worker *w = calloc(MANY, sizeof *w);
    size_t total = 0;
    for (int round = 0; round < 2; round++) { /* the second runs on pooled stacks */
        for (size_t i = 0; i < MANY; i++) {
            w[i] = (struct worker){.seed = i, .steps = i % 40};
            spawn(s, work, &w[i]);
            total += w[i].steps + 1;
        }
        assert_int_equal(fiber_sched_run(s), total);
        total = 0;
        for (size_t i = 0; i < MANY; i++)
            assert_int_equal(w[i].sum, work_out(i, i % 40, false));
    }
    free(w);
    fiber_sched_free(s);
}

static void spawn_next(void *arg)
{
    struct worker *w = arg;
    if (++w->sum < w->steps &&
        fiber_spawn((struct fiber_sched *)(uintptr_t)w->seed, spawn_next, w, NULL) != ST_OK)
        abort();
}

static void test_env_fiber_spawns_fibers(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(2);
    struct worker w = {.seed = (uintptr_t)s, .steps = 1000};
    spawn(s, spawn_next, &w);
    fiber_sched_run(s);
    assert_int_equal(w.sum, 1000);
    fiber_sched_free(s);
}

/* --- parking --- */

struct pair {
    struct fiber *fiber[2];
    unsigned turns;
};

static void ping_pong(void *arg)
{
    struct pair *p = arg;
    int me = p->fiber[0] ? 1 : 0;
    p->fiber[me] = fiber_current();
    while (p->turns < 1000) {
        if (p->turns % 2 == (unsigned)me) {
            p->turns++;
            if (p->fiber[!me])
                fiber_wake(p->fiber[!me]);
        } else {
            fiber_park();
        }
    }
}

static void test_env_fiber_ping_pong(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(2);
    struct pair p = {0};
    spawn(s, ping_pong, &p);
    spawn(s, ping_pong, &p);
    fiber_sched_run(s);
    assert_int_equal(p.turns, 1000);
    assert_int_equal(fiber_sched_alive(s), 0);
    fiber_sched_free(s);
}

struct early {
    struct fiber *fiber;
    unsigned parks;
};

static void early_wake(void *arg)
{
    struct early *e = arg;
    e->fiber = fiber_current();
    fiber_wake(e->fiber);
    fiber_wake(e->fiber); /* wake-ups do not add up */
    fiber_park();
    e->parks++;
    fiber_park();
    e->parks++;
}

static void test_env_fiber_wake_first(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(1);
    struct early e = {0};
    spawn(s, early_wake, &e);
    fiber_sched_run(s);
    assert_int_equal(e.parks, 1);
    assert_int_equal(fiber_sched_alive(s), 1);
    fiber_wake(e.fiber); /* from the scheduler's thread, outside of a run */
    assert_int_equal(fiber_sched_run(s), 1);
    assert_int_equal(e.parks, 2);
    assert_int_equal(fiber_sched_alive(s), 0);
    fiber_sched_free(s);
}

/* A wake-up meant for fiber_park that comes while the fiber waits for an event is kept for
 * fiber_park. */
struct two_waits {
    struct env_event event;
    struct fiber *fiber;
    unsigned stage;
};

static void wait_twice(void *arg)
{
    struct two_waits *w = arg;
    w->fiber = fiber_current();
    w->stage = env_wait(&w->event, UINT64_MAX) ? 1 : 100;
    fiber_park();
    w->stage++;
}

static void test_env_fiber_wakes_do_not_mix(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(1);
    struct two_waits w = {0};
    env_event_init(&w.event);
    spawn(s, wait_twice, &w);
    fiber_sched_run(s);
    fiber_wake(w.fiber);
    fiber_sched_run(s);
    assert_int_equal(w.stage, 0); /* the event is not set: still waiting */
    env_event_set(&w.event);
    fiber_sched_run(s);
    assert_int_equal(w.stage, 2); /* and fiber_park found its wake-up */
    fiber_sched_free(s);
}

/* --- sleeping, on a clock of our own --- */

static uint64_t fake_now(void *arg)
{
    return *(uint64_t *)arg;
}

struct sleeper {
    uint64_t until;
    struct log *log;
    char name;
    bool woken;
    struct fiber *fiber;
};

static void sleep_until(void *arg)
{
    struct sleeper *s = arg;
    s->fiber = fiber_current();
    s->woken = fiber_park_until(s->until);
    if (s->log)
        s->log->text[s->log->len++] = s->name;
}

static void test_env_fiber_deadlines(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(100);
    uint64_t now = 1000;
    struct log log = {0};
    struct sleeper z[5] = {{30, &log, 'c', 0, 0},
                           {10, &log, 'a', 0, 0},
                           {50, &log, 'e', 0, 0},
                           {20, &log, 'b', 0, 0},
                           {40, &log, 'd', 0, 0}};
    fiber_sched_clock(s, fake_now, &now);
    assert_true(fiber_sched_deadline(s) == UINT64_MAX);
    for (int i = 0; i < 5; i++) {
        z[i].until += now;
        spawn(s, sleep_until, &z[i]);
    }
    fiber_sched_run(s);
    assert_int_equal(fiber_sched_deadline(s), 1010);
    assert_int_equal(log.len, 0);
    now = 1020;
    fiber_sched_run(s);
    assert_string_equal(log.text, "ab");
    assert_int_equal(fiber_sched_deadline(s), 1030);
    fiber_wake(z[4].fiber);
    fiber_sched_run(s);
    assert_string_equal(log.text, "abd");
    now = 5000;
    fiber_sched_run(s);
    assert_string_equal(log.text, "abdce");
    for (int i = 0; i < 5; i++)
        assert_int_equal(z[i].woken, i == 4);
    assert_true(fiber_sched_deadline(s) == UINT64_MAX);
    fiber_sched_free(s);
}

/* Any number of sleepers, woken early or late: none is forgotten, none early without a wake-up. */
static void test_env_fiber_sleepers_model(void **state)
{
    (void)state;
    enum { N = 200 };
    static struct sleeper z[N];
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct test_rng r;
        test_rng_init(&r, seed);
        uint64_t now = 0;
        struct fiber_sched *s = sched(N);
        fiber_sched_clock(s, fake_now, &now);
        for (int i = 0; i < N; i++) {
            z[i] = (struct sleeper){1 + test_rng_below(&r, 50), NULL, 'x', false, NULL};
            spawn(s, sleep_until, &z[i]);
        }
        bool early[N] = {false}, gone[N] = {false};
        for (; now <= 51; now++) {
            fiber_sched_run(s);
            uint64_t first = UINT64_MAX;
            for (int i = 0; i < N; i++) {
                gone[i] |= z[i].until <= now;
                first = !gone[i] && z[i].until < first ? z[i].until : first;
            }
            assert_true(fiber_sched_deadline(s) == first);
            int pick = (int)test_rng_below(&r, N);
            if (!gone[pick]) {
                early[pick] = gone[pick] = true;
                fiber_wake(z[pick].fiber);
            }
        }
        assert_int_equal(fiber_sched_alive(s), 0);
        for (int i = 0; i < N; i++)
            assert_int_equal(z[i].woken, early[i]);
        fiber_sched_free(s);
    }
}

static void wait_a_while(void *arg)
{
    struct two_waits *w = arg;
    w->stage = env_wait(&w->event, 1000000) ? 100 : 1;
    w->stage += env_wait(&w->event, 2000000) ? 100 : 1;
}

static void test_env_fiber_event_timeout(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(1);
    struct two_waits w = {0};
    env_event_init(&w.event);
    spawn(s, wait_a_while, &w);
    while (fiber_sched_alive(s) > 0)
        fiber_sched_run(s);
    assert_int_equal(w.stage, 2);
    env_event_set(&w.event);
    fiber_sched_free(s);
}

/* --- waking from other threads --- */

enum { CROSS_FIBERS = 50, CROSS_ROUNDS = 200 };

struct cross {
    struct fiber *_Atomic slot[CROSS_FIBERS]; /* a parked or soon parked fiber to be woken */
    _Atomic unsigned left, pokes;
};

struct cross_fiber {
    struct cross *cross;
    size_t index;
};

static void park_often(void *arg)
{
    struct cross_fiber *f = arg;
    for (int i = 0; i < CROSS_ROUNDS; i++) {
        atomic_store(&f->cross->slot[f->index], fiber_current());
        fiber_park();
    }
    atomic_fetch_sub(&f->cross->left, 1);
}

static void wake_all(void *arg)
{
    struct cross *c = arg;
    while (atomic_load(&c->left) > 0) {
        for (size_t i = 0; i < CROSS_FIBERS; i++) {
            struct fiber *f = atomic_exchange(&c->slot[i], NULL);
            if (f)
                fiber_wake(f);
        }
        sched_yield();
    }
}

static void poke(void *arg)
{
    atomic_fetch_add(&((struct cross *)arg)->pokes, 1);
}

static void test_env_fiber_cross_thread(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(CROSS_FIBERS);
    struct cross c = {.left = CROSS_FIBERS};
    struct cross_fiber f[CROSS_FIBERS];
    struct env_thread t[2];
    fiber_sched_on_wake(s, poke, &c);
    for (size_t i = 0; i < CROSS_FIBERS; i++) {
        f[i] = (struct cross_fiber){&c, i};
        spawn(s, park_often, &f[i]);
    }
    for (int i = 0; i < 2; i++)
        assert_int_equal(env_thread_start(&t[i], "waker", wake_all, &c, NULL), ST_OK);
    size_t switches = 0;
    while (fiber_sched_alive(s) > 0)
        switches += fiber_sched_run(s);
    for (int i = 0; i < 2; i++)
        env_thread_join(&t[i]);
    assert_in_range(switches, CROSS_FIBERS, CROSS_FIBERS * (CROSS_ROUNDS + 1));
    assert_true(atomic_load(&c.pokes) > 0);
    fiber_sched_free(s);
}

/* --- what a switch preserves --- */

static void round_up(void *arg)
{
    int *wrong = arg;
    fesetround(FE_UPWARD);
    fiber_yield();
    *wrong += fegetround() != FE_UPWARD;
}

static void doubles(void *arg)
{
    int *wrong = arg;
    volatile double one = 1.0;
    double a = one / 3, b = one / 7, c = one * 11, d = a * b;
    fiber_yield();
    *wrong += fegetround() != FE_TONEAREST;
    *wrong += a != one / 3 || b != one / 7 || c != one * 11 || d != a * b;
}

static void test_env_fiber_float_state(void **state)
{
    (void)state;
    struct fiber_sched *s = sched(2);
    int wrong = 0;
#if defined(__x86_64__)
    spawn(s, round_up, &wrong);
#else
    (void)round_up; /* elsewhere the rounding mode belongs to the thread */
#endif
    spawn(s, doubles, &wrong);
    fiber_sched_run(s);
    assert_int_equal(wrong, 0);
    assert_int_equal(fegetround(), FE_TONEAREST);
    fiber_sched_free(s);
}

/* --- the guard --- */

static __attribute__((noinline)) unsigned recurse(unsigned depth)
{
    volatile char frame[512];
    memset((char *)(uintptr_t)frame, (int)depth, sizeof frame);
    if (depth == 0)
        return (unsigned char)frame[17];
    return recurse(depth - 1) + (unsigned char)frame[depth % sizeof frame];
}

static void recurse_to(void *arg)
{
    unsigned *depth = arg;
    *depth = recurse(*depth);
}

static void test_env_fiber_deep_enough(void **state)
{
    (void)state;
    struct fiber_sched *s = fiber_sched_new(1, 1 << 20, NULL);
    assert_non_null(s);
    unsigned depth = 500, want = recurse(500);
    spawn(s, recurse_to, &depth);
    fiber_sched_run(s);
    assert_int_equal(depth, want);
    fiber_sched_free(s);
}

static __attribute__((noreturn)) void overflow(void)
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGSEGV, SIG_DFL); /* cmocka's handler has no stack to run on */
    signal(SIGBUS, SIG_DFL);
    struct fiber_sched *s = fiber_sched_new(3, FIBER_STACK_DEFAULT, NULL);
    unsigned depth[3] = {10, 1000000, 10};
    for (int i = 0; s && i < 3; i++)
        if (fiber_spawn(s, recurse_to, &depth[i], NULL) != ST_OK)
            _exit(3);
    fiber_sched_run(s);
    _exit(4); /* it ran over something else */
}

static void test_env_fiber_overflow_hits_guard(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        overflow();
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how));
    assert_true(WTERMSIG(how) == SIGSEGV || WTERMSIG(how) == SIGBUS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env_fiber_order),
        cmocka_unit_test(test_env_fiber_fresh_first),
        cmocka_unit_test(test_env_fiber_max),
        cmocka_unit_test(test_env_fiber_no_memory),
        cmocka_unit_test(test_env_fiber_many),
        cmocka_unit_test(test_env_fiber_spawns_fibers),
        cmocka_unit_test(test_env_fiber_ping_pong),
        cmocka_unit_test(test_env_fiber_wake_first),
        cmocka_unit_test(test_env_fiber_wakes_do_not_mix),
        cmocka_unit_test(test_env_fiber_deadlines),
        cmocka_unit_test(test_env_fiber_sleepers_model),
        cmocka_unit_test(test_env_fiber_event_timeout),
        cmocka_unit_test(test_env_fiber_cross_thread),
        cmocka_unit_test(test_env_fiber_float_state),
        cmocka_unit_test(test_env_fiber_deep_enough),
        cmocka_unit_test(test_env_fiber_overflow_hits_guard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
