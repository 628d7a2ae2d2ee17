/* Jobs that block, from a thread and beside each other. */
#include "base/env/thread.h"
#include "serve/work/work.h"
#include "support/cmocka.h"

struct gate {
    struct env_event begun, open;
};

static void hold(void *arg)
{
    struct gate *g = arg;
    env_event_set(&g->begun);
    (void)env_wait(&g->open, UINT64_MAX);
}

static void touch(void *arg)
{
    ++*(unsigned *)arg;
}

struct holder {
    struct work *w;
    struct gate gate;
};

static void hold_care(void *arg)
{
    struct holder *h = arg;
    struct err err;
    assert_int_equal(work_run(h->w, WORK_CARE, hold, &h->gate, &err), ST_OK);
}

static void test_care_does_not_hold_up_reads(void **state)
{
    (void)state;
    struct err err;
    struct metrics *m = metrics_new();
    struct work_options o = {.threads = 1, .care_threads = 1, .queue_max = 1, .metrics = m};
    struct holder h;
    struct env_thread t;
    unsigned touched = 0;
    assert_int_equal(work_new(&o, &h.w, &err), ST_OK);
    env_event_init(&h.gate.begun);
    env_event_init(&h.gate.open);
    assert_int_equal(env_thread_start(&t, "holder", hold_care, &h, &err), ST_OK);
    (void)env_wait(&h.gate.begun, UINT64_MAX);
    for (int i = 0; i < 100; i++)
        assert_int_equal(work_run(h.w, WORK_READ, touch, &touched, &err), ST_OK);
    assert_int_equal(touched, 100);
    env_event_set(&h.gate.open);
    env_thread_join(&t);
    struct buf text = BUF_INIT;
    assert_int_equal(metrics_print(m, &text), ST_OK);
    assert_non_null(strstr(buf_cstr(&text), "varve_work_jobs_total{kind=\"read\"} 100"));
    assert_non_null(strstr(buf_cstr(&text), "varve_work_jobs_total{kind=\"care\"} 1"));
    buf_deinit(&text);
    work_free(h.w);
    work_free(NULL);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_care_does_not_hold_up_reads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
