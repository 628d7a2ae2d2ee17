/* The runner against a toy server: counts, schedules, stalls, lost connections, silence, memory. */
#include "base/alloc.h"
#include "echo_world.h"
#include "support/cmocka.h"

#include <stdlib.h>

static struct load_result *result;

static struct load_settings settings(struct echo_world *w, const char *mix)
{
    return (struct load_settings){.env = env_linux(),
                                  .protocol = &echo_protocol,
                                  .to = w->addr,
                                  .connections = 3,
                                  .in_flight = 4,
                                  .mix = load_mix_find(mix),
                                  .theta = ZIPF_THETA,
                                  .keys = 1000,
                                  .value_bytes = 100,
                                  .batch = 10,
                                  .count = 500};
}

static void run(const struct load_settings *s)
{
    struct err err;
    err_init(&err);
    if (load_run(s, result, &err) != ST_OK)
        fail_msg("load_run: %s", err.detail);
}

static void test_counts(void **state)
{
    struct echo_world w = {0};
    (void)state;
    echo_start(&w);
    for (size_t i = 0; i < load_mix_count; i++) {
        uint64_t sum = 0;
        struct load_settings s = settings(&w, load_mixes[i].name);
        s.choice = load_mixes[i].choice;
        for (int turn = 0; turn < 2; turn++) {
            uint64_t before = w.requests;
            run(&s);
            assert_int_equal(result->done, 500);
            assert_int_equal(result->failed, 0);
            assert_int_equal(result->all.count, 500);
            uint64_t more = result->kind[LOAD_RMW].count; /* they are two requests */
            assert_int_equal(w.requests - before, 500 + more);
            assert_true(result->elapsed_ns > 0);
            /* The same seed, the same work; the latest are a matter of time. */
            assert_true(turn == 0 || s.choice == LOAD_LATEST || result->checksum == sum);
            sum = result->checksum;
            for (int k = 0; k < LOAD_KINDS; k++)
                assert_true((s.mix->percent[k] == 0) == (result->kind[k].count == 0));
        }
        s.seed = 2;
        run(&s);
        assert_true(result->checksum != sum || s.mix->percent[LOAD_INSERT] == 100 ||
                    s.mix->percent[LOAD_BATCH] == 100);
    }
    echo_stop(&w);
}

static void test_filling_writes_every_key_once(void **state)
{
    struct echo_world w = {0};
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "batch");
    s.fill = true;
    s.count = 0;
    s.keys = 1003; /* the last batch is smaller */
    run(&s);
    assert_int_equal(result->done, 101);
    assert_int_equal(w.requests, 101);
    echo_stop(&w);
}

static void test_warm_up_is_not_measured(void **state)
{
    struct echo_world w = {0};
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "get");
    s.count = 0;
    s.warmup_ms = 100;
    s.duration_ms = 100;
    run(&s);
    assert_true(result->done > 0 && w.requests > result->done);
    assert_int_equal(result->done, result->all.count);
    assert_in_range(result->elapsed_ns, 50000000, UINT64_C(2000000000));
    echo_stop(&w);
}

/* At 1,000 a second a stall of 400 ms holds up 400 requests, each for less than the one before. The
 * closed loop has one request in it that waited. */
static void test_open_loop_shows_a_stall_that_a_closed_one_hides(void **state)
{
    struct echo_world w = {.stall_after = 300, .stall_ms = 400};
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "get");
    s.connections = s.in_flight = 1;
    s.rate = 1000;
    s.count = 1000;
    run(&s);
    assert_int_equal(result->done, 1000);
    assert_true(load_hist_quantile(&result->all, 0.90) > 150 * 1000000u);
    assert_true(load_hist_quantile(&result->all, 0.70) > 20 * 1000000u);
    assert_true(result->late_ns > 350 * 1000000u);
    assert_in_range(result->elapsed_ns, UINT64_C(900000000), UINT64_C(5000000000));
    echo_stop(&w);

    w = (struct echo_world){.stall_after = 300, .stall_ms = 400};
    echo_start(&w);
    s.to = w.addr;
    s.rate = 0;
    run(&s);
    assert_true(result->all.high >= 400 * 1000000u);
    assert_true(load_hist_quantile(&result->all, 0.99) < 100 * 1000000u);      /* hidden */
    assert_true(load_hist_quantile(&result->corrected, 0.90) > 50 * 1000000u); /* put back */
    echo_stop(&w);
}

/* What fell due and could not be sent any more waited until the end at least. */
static void test_open_loop_tells_what_was_never_sent(void **state)
{
    struct echo_world w = {.stall_after = 50, .stall_ms = 600};
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "get");
    s.connections = s.in_flight = 1;
    s.rate = 1000;
    s.count = 0;
    s.duration_ms = 300;
    run(&s);
    assert_true(result->unsent > 200);
    assert_int_equal(result->done + result->unsent, 300);
    assert_int_equal(result->all.count, 300);
    assert_true(load_hist_quantile(&result->all, 0.5) > 200 * 1000000u);
    echo_stop(&w);
}

static void test_lost_connections_are_counted_and_made_again(void **state)
{
    struct echo_world w = {.cut_after = 100};
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "F");
    run(&s);
    assert_int_equal(result->done, 500);
    assert_true(result->failed > 0 && result->failed < 250);
    assert_int_equal(result->errors_n, 1);
    assert_string_equal(result->errors[0].kind, "CONNECTION_LOST");
    assert_int_equal(result->errors[0].count, result->failed);
    assert_true(result->errors[0].detail[0] != '\0');
    assert_int_equal(result->all.count, 500 - result->failed);
    echo_stop(&w);
}

static void test_silence_ends_it(void **state)
{
    struct echo_world w = {.silent = true};
    struct err err;
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "get");
    s.timeout_ms = 300;
    assert_int_equal(load_run(&s, result, &err), ST_TIMED_OUT);
    assert_non_null(strstr(err.detail, "12 requests"));
    echo_stop(&w);
    assert_int_equal(load_run(&s, result, &err), ST_IO_ERROR); /* nobody listens any more */
    assert_non_null(strstr(err.detail, "127.0.0.1:"));
}

static void test_silence_leaves_what_was_measured(void **state)
{
    struct echo_world w = {.stall_after = 100, .stall_ms = 1500};
    struct err err;
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "get");
    s.timeout_ms = 300;
    *result = (struct load_result){0};
    assert_int_equal(load_run(&s, result, &err), ST_TIMED_OUT);
    assert_true(result->cut);
    assert_in_range(result->done, 1, 99);
    assert_int_equal(result->all.count, result->done);
    echo_stop(&w);
}

static bool three_times(void *arg, uint64_t done, double part)
{
    int *left = arg;
    (void)done;
    assert_true(part >= 0 && part <= 1);
    return --*left > 0;
}

static void test_its_owner_ends_it(void **state)
{
    struct echo_world w = {0};
    int left = 3;
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "get");
    s.count = UINT64_MAX;
    s.goes_on = three_times;
    s.arg = &left;
    run(&s);
    assert_true(result->cut);
    assert_int_equal(left, 0);
    assert_true(result->done > 0);
    echo_stop(&w);
}

static void test_settings_are_checked(void **state)
{
    struct echo_world w = {0};
    struct err err;
    (void)state;
    const struct load_settings good = settings(&w, "get");
    struct load_settings bad[15];
    for (size_t i = 0; i < 15; i++)
        bad[i] = good;
    bad[0].connections = 0;
    bad[1].connections = LOAD_CONNECTIONS_MAX + 1;
    bad[2].in_flight = 0;
    bad[3].in_flight = LOAD_IN_FLIGHT_MAX;
    bad[4].keys = 0;
    bad[5].value_bytes = LOAD_VALUE_MIN - 1;
    bad[6].value_bytes = LOAD_VALUE_MAX + 1;
    bad[7].batch = 0;
    bad[8].scan_rows = LOAD_ROWS_MAX + 1;
    bad[9].theta = 1;
    bad[10].rate = -1;
    bad[11].count = 0;
    bad[12].fill = true; /* not with gets */
    bad[13].choice = LOAD_LATEST;
    bad[13].first_new = good.keys + 1;
    bad[14].choice = LOAD_LATEST;
    bad[14].first_new = good.keys - 1;
    for (size_t i = 0; i < 15; i++)
        assert_int_equal(load_run(&bad[i], result, &err), ST_INVALID_ARGUMENT);
}

static void test_memory_fails_cleanly(void **state)
{
    struct echo_world w = {0};
    struct err err;
    uint64_t hits = 1;
    size_t refused = 0;
    (void)state;
    echo_start(&w);
    struct load_settings s = settings(&w, "A");
    s.connections = 2;
    s.count = 20;
    for (uint64_t n = 1; hits; n++) {
        mem_fail_at(n, 0);
        enum status st = load_run(&s, result, &err);
        mem_fail_at(0, 0);
        hits = mem_fail_hits();
        assert_true(st == ST_OK || st == ST_NO_MEMORY || st == ST_IO_ERROR);
        refused += st == ST_NO_MEMORY;
        /* Once it runs, a connection is lost to it, and counted. */
        assert_true(st != ST_OK || result->done == 20);
        assert_true(n < 1000);
    }
    assert_true(refused > 5);
    echo_stop(&w);
}

static int make_result(void **state)
{
    (void)state;
    result = calloc(1, sizeof *result);
    return result ? 0 : -1;
}

static int free_result(void **state)
{
    (void)state;
    free(result);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_filling_writes_every_key_once),
        cmocka_unit_test(test_warm_up_is_not_measured),
        cmocka_unit_test(test_open_loop_shows_a_stall_that_a_closed_one_hides),
        cmocka_unit_test(test_open_loop_tells_what_was_never_sent),
        cmocka_unit_test(test_lost_connections_are_counted_and_made_again),
        cmocka_unit_test(test_silence_ends_it),
        cmocka_unit_test(test_silence_leaves_what_was_measured),
        cmocka_unit_test(test_its_owner_ends_it),
        cmocka_unit_test(test_settings_are_checked),
        cmocka_unit_test(test_memory_fails_cleanly),
    };
    return cmocka_run_group_tests(tests, make_result, free_result);
}
