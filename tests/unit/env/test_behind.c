/* Work on a thread of its own: who waits for it, how it stands to the others, and that it gets on where
 * somebody is in a hurry for it. */
#include "base/env/env.h"
#include "base/env/fiber.h"
#include "base/env/thread.h"
#include "support/cmocka.h"

#include <sched.h>

struct seen {
    pthread_t self;
    int policy, child_policy;
    _Atomic bool raised, stop, hurry;
};

static void look_as_child(void *arg)
{
    ((struct seen *)arg)->child_policy = sched_getscheduler(0);
}

static void look(void *arg)
{
    struct seen *s = arg;
    struct env_thread t;
    struct err err;
    s->self = pthread_self();
    s->policy = sched_getscheduler(0);
    if (env_thread_start(&t, "child", look_as_child, s, &err) == ST_OK)
        env_thread_join(&t);
}

static void test_it_gives_way_and_so_do_its_threads(void **state)
{
    (void)state;
    struct seen s = {.child_policy = -1};
    env_run_behind("behind", NULL, look, &s);
    assert_false(pthread_equal(s.self, pthread_self()));
    assert_true(s.policy == SCHED_IDLE || s.policy == SCHED_BATCH);
    assert_int_equal(s.child_policy, s.policy);
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
    env_run_aside("aside", look, &s);
    assert_false(pthread_equal(s.self, pthread_self()));
    assert_int_equal(s.policy, SCHED_OTHER);
    assert_int_equal(s.child_policy, SCHED_OTHER);
}

static void spin(void *arg)
{
    struct seen *s = arg;
    while (!atomic_load(&s->stop))
        ;
}

static void until_raised(void *arg)
{
    struct seen *s = arg;
    struct env *env = env_linux();
    uint64_t until = env_mono_ns(env) + UINT64_C(20000000000);
    s->policy = sched_getscheduler(0);
    atomic_store(&s->hurry, true); /* as from elsewhere: by now it is behind */
    while (!atomic_load(&s->raised) && env_mono_ns(env) < until)
        atomic_store(&s->raised, sched_getscheduler(0) == SCHED_OTHER);
}

/* Beside more threads than there are processors, none of which ever waits. */
static void test_it_is_raised_in_a_hurry(void **state)
{
    (void)state;
    enum { SPINNERS_MAX = 64 };
    struct seen s = {0};
    struct env_thread t[SPINNERS_MAX];
    struct err err;
    unsigned n = 2 * env_cpu_count();
    n = n < SPINNERS_MAX ? n : SPINNERS_MAX;
    env_run_behind("behind", NULL, look, &s);
    if (s.policy != SCHED_IDLE) { /* without the privilege it has a share from the beginning */
        assert_int_equal(s.policy, SCHED_BATCH);
        return;
    }
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(env_thread_start(&t[i], "spin", spin, &s, &err), ST_OK);
    env_run_behind("behind", &s.hurry, until_raised, &s);
    int first = s.policy;
    env_run_behind("behind", &s.hurry, look, &s); /* the hurry is there already */
    atomic_store(&s.stop, true);
    for (unsigned i = 0; i < n; i++)
        env_thread_join(&t[i]);
    assert_int_equal(first, SCHED_IDLE);
    assert_true(s.raised);
    assert_int_equal(s.policy, SCHED_OTHER);
}

static bool comes_back(struct seen *s)
{
    struct env *env = env_linux();
    uint64_t until = env_mono_ns(env) + UINT64_C(20000000000);
    while (sched_getscheduler(0) != SCHED_OTHER && env_mono_ns(env) < until)
        sched_yield();
    s->policy = sched_getscheduler(0);
    return s->policy == SCHED_OTHER;
}

/* As when the hurry comes between the look at it and the step behind the others. */
static void lowered_late(void *arg)
{
    struct seen *s = arg;
    const struct sched_param none = {0};
    atomic_store(&s->hurry, true);
    if (comes_back(s) && sched_setscheduler(0, SCHED_IDLE, &none) == 0)
        (void)comes_back(s);
}

static void test_it_is_raised_though_it_steps_back_late(void **state)
{
    (void)state;
    struct seen s = {0};
    env_run_behind("behind", NULL, look, &s);
    if (s.policy != SCHED_IDLE)
        skip(); /* without the privilege nobody is put behind, or raised */
    env_run_behind("behind", &s.hurry, lowered_late, &s);
    assert_int_equal(s.policy, SCHED_OTHER);
}

/* ---- on a fiber ---- */

struct round {
    struct env_event go;
    unsigned done;
};

static void wait_for_go(void *arg)
{
    env_wait(&((struct round *)arg)->go, UINT64_MAX);
}

static void first(void *arg)
{
    env_run_aside("aside", wait_for_go, arg);
    ((struct round *)arg)->done++;
}

static void second(void *arg)
{
    struct round *r = arg;
    env_event_set(&r->go);
    r->done++;
}

static void test_a_fiber_is_parked(void **state)
{
    (void)state;
    struct err err;
    struct round r = {0};
    struct fiber_sched *f = fiber_sched_new(2, FIBER_STACK_DEFAULT, &err);
    assert_non_null(f);
    env_event_init(&r.go);
    assert_int_equal(fiber_spawn(f, first, &r, &err), ST_OK);
    assert_int_equal(fiber_spawn(f, second, &r, &err), ST_OK);
    while (r.done < 2)
        if (fiber_sched_run(f) == 0)
            sched_yield();
    assert_int_equal(fiber_sched_alive(f), 0);
    fiber_sched_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_it_gives_way_and_so_do_its_threads),
        cmocka_unit_test(test_it_is_raised_in_a_hurry),
        cmocka_unit_test(test_it_is_raised_though_it_steps_back_late),
        cmocka_unit_test(test_a_fiber_is_parked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
