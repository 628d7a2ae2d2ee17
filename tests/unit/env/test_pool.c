/* The pool: everything is run once, elsewhere; bounds; waiting from fibers and threads. */
#include "base/alloc.h"
#include "base/env/fiber.h"
#include "base/env/pool.h"
#include "support/cmocka.h"

#include <sched.h>
#include <string.h>

struct work {
    pthread_t by;
    unsigned ran;
    _Atomic bool *gate;
};

static void work(void *arg)
{
    struct work *w = arg;
    w->by = pthread_self();
    while (w->gate && !atomic_load(w->gate))
        sched_yield();
    w->ran++;
}

static void test_env_pool_run(void **state)
{
    (void)state;
    struct pool *p = pool_new(&(struct pool_options){.threads = 2}, NULL);
    assert_non_null(p);
    for (unsigned i = 0; i < 200; i++) {
        struct work w = {0};
        assert_int_equal(pool_run(p, work, &w, NULL), ST_OK);
        assert_int_equal(w.ran, 1);
        assert_false(pthread_equal(w.by, pthread_self()));
    }
    pool_free(p);
    pool_free(NULL);
}

static void test_env_pool_bound(void **state)
{
    (void)state;
    struct pool *p =
        pool_new(&(struct pool_options){.threads = 1, .queue_max = 2, .name = "cold"}, NULL);
    assert_non_null(p);
    _Atomic bool gate = false;
    struct work w[4] = {0};
    struct pool_job job[4];
    for (size_t i = 0; i < 4; i++)
        w[i].gate = &gate;
    assert_int_equal(pool_start(p, &job[0], work, &w[0], NULL), ST_OK);
    while (pool_waiting(p) > 0)
        sched_yield(); /* the thread has it */
    assert_int_equal(pool_start(p, &job[1], work, &w[1], NULL), ST_OK);
    assert_int_equal(pool_start(p, &job[2], work, &w[2], NULL), ST_OK);
    struct err err;
    err_init(&err);
    assert_int_equal(pool_start(p, &job[3], work, &w[3], &err), ST_OVERLOADED);
    assert_non_null(strstr(err.detail, "queue_max"));
    assert_int_equal(pool_waiting(p), 2);
    atomic_store(&gate, true);
    for (size_t i = 0; i < 3; i++) {
        assert_true(env_wait(&job[i].done, UINT64_MAX));
        assert_int_equal(w[i].ran, 1);
    }
    assert_int_equal(w[3].ran, 0);
    pool_free(p);
}

static void test_env_pool_free_finishes(void **state)
{
    (void)state;
    struct pool *p = pool_new(&(struct pool_options){.threads = 2}, NULL);
    assert_non_null(p);
    struct work w[50] = {0};
    struct pool_job job[50];
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(pool_start(p, &job[i], work, &w[i], NULL), ST_OK);
    pool_free(p);
    for (size_t i = 0; i < 50; i++)
        assert_int_equal(w[i].ran, 1);
}

static void test_env_pool_no_memory(void **state)
{
    (void)state;
    mem_fail_at(1, 0);
    assert_null(pool_new(&(struct pool_options){0}, NULL));
    mem_fail_at(0, 0);
    struct pool *p = pool_new(&(struct pool_options){.threads = 2}, NULL);
    assert_non_null(p);
    struct work w = {0};
    mem_fail_at(1, 1); /* no thread can start */
    assert_int_equal(pool_run(p, work, &w, NULL), ST_NO_MEMORY);
    mem_fail_at(0, 0);
    assert_int_equal(w.ran, 0);
    assert_int_equal(pool_waiting(p), 0);
    assert_int_equal(pool_run(p, work, &w, NULL), ST_OK);
    pool_free(p);
}

struct fiber_work {
    struct pool *p;
    struct work w;
    unsigned *done;
};

static void run_on_fiber(void *arg)
{
    struct fiber_work *f = arg;
    assert_int_equal(pool_run(f->p, work, &f->w, NULL), ST_OK);
    ++*f->done;
}

static void test_env_pool_fibers(void **state)
{
    (void)state;
    struct pool *p = pool_new(&(struct pool_options){.threads = 3}, NULL);
    struct fiber_sched *s = fiber_sched_new(64, 0, NULL);
    assert_non_null(p);
    assert_non_null(s);
    _Atomic bool gate = false;
    unsigned done = 0;
    struct fiber_work f[64];
    for (size_t i = 0; i < 64; i++) {
        f[i] = (struct fiber_work){p, {.gate = &gate}, &done};
        assert_int_equal(fiber_spawn(s, run_on_fiber, &f[i], NULL), ST_OK);
    }
    fiber_sched_run(s); /* all of them wait, this thread goes on */
    assert_int_equal(done, 0);
    assert_int_equal(fiber_sched_alive(s), 64);
    atomic_store(&gate, true);
    while (done < 64)
        if (fiber_sched_run(s) == 0)
            sched_yield();
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(f[i].w.ran, 1);
    fiber_sched_free(s);
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env_pool_run),           cmocka_unit_test(test_env_pool_bound),
        cmocka_unit_test(test_env_pool_free_finishes), cmocka_unit_test(test_env_pool_no_memory),
        cmocka_unit_test(test_env_pool_fibers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
