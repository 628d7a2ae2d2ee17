/* The codec of varve.v1.KV against the real door: every mix, and what it counts as wrong. */
#include "base/alloc.h"
#include "door_world.h"
#include "serve/load/load_grpc.h"
#include "support/cmocka.h"

static struct load_result *result;

struct world {
    struct door_world door;
    struct load_varve varve;
    struct load_grpc grpc;
};

static int start(void **state)
{
    struct world *w = mem_zalloc(sizeof *w);
    assert_non_null(w);
    door_start(&w->door, NULL);
    w->varve = (struct load_varve){.collection = BYTES_LIT("bench"), .page_rows = 7};
    w->grpc = (struct load_grpc){.authority = BYTES_LIT("localhost:7878"),
                                 .codec = &load_varve_codec,
                                 .codec_arg = &w->varve};
    *state = w;
    return 0;
}

static int stop(void **state)
{
    struct world *w = *state;
    door_stop(&w->door);
    mem_free(w);
    return 0;
}

static struct load_settings settings(struct world *w, const char *mix)
{
    return (struct load_settings){.env = env_linux(),
                                  .protocol = &load_grpc_protocol,
                                  .protocol_arg = &w->grpc,
                                  .to = w->door.addr,
                                  .connections = 2,
                                  .in_flight = 8,
                                  .mix = load_mix_find(mix),
                                  .theta = ZIPF_THETA,
                                  .keys = 500,
                                  .value_bytes = 100,
                                  .batch = 30,
                                  .count = 300};
}

static void run(const struct load_settings *s)
{
    struct err err;
    err_init(&err);
    if (load_run(s, result, &err) != ST_OK)
        fail_msg("load_run: %s", err.detail);
}

static void fill(struct world *w)
{
    struct load_settings s = settings(w, "batch");
    s.fill = true;
    run(&s);
    assert_int_equal(result->failed, 0);
    assert_int_equal(result->rows, 500);
}

static void test_every_mix(void **state)
{
    struct world *w = *state;
    fill(w);
    for (size_t i = 0; i < load_mix_count; i++) {
        struct load_settings s = settings(w, load_mixes[i].name);
        s.choice = load_mixes[i].choice;
        s.count = load_mixes[i].percent[LOAD_BATCH] ? 5 : 300;
        run(&s);
        if (result->errors_n)
            fail_msg("%s: %s: %s", s.mix->name, result->errors[0].kind, result->errors[0].detail);
        assert_int_equal(result->done, s.count);
        assert_true(result->rows >= s.count);
    }
}

/* 500 keys of which each scan reads up to 100 from anywhere, in pages of 7; the last ones read less. */
static void test_scans_count_their_rows(void **state)
{
    struct world *w = *state;
    fill(w);
    struct load_settings s = settings(w, "scan");
    s.scan_rows = 100;
    s.count = 50;
    run(&s);
    assert_int_equal(result->failed, 0);
    assert_in_range(result->rows, 50 * 60, 50 * 100);
    s.scan_rows = 1;
    run(&s);
    assert_int_equal(result->rows, 50);
}

static void test_failures_are_counted_by_kind(void **state)
{
    struct world *w = *state;
    fill(w);
    struct load_settings s = settings(w, "get");
    s.keys = 1000; /* half of them are not there */
    run(&s);
    assert_int_equal(result->done, 300);
    assert_in_range(result->failed, 100, 200);
    assert_int_equal(result->errors_n, 1);
    assert_string_equal(result->errors[0].kind, "NOT_FOUND");
    assert_int_equal(result->rows, 300 - result->failed);
    assert_int_equal(result->all.count, 300 - result->failed);
    w->varve.collection = BYTES_LIT("a/b"); /* no name */
    run(&s);
    assert_int_equal(result->failed, 300);
    assert_string_equal(result->errors[0].kind, "INVALID_ARGUMENT");
    assert_true(result->errors[0].detail[0] != '\0');
}

/* More at once than the server's streams: the others wait for a place. */
static void test_more_than_the_server_takes_at_once(void **state)
{
    struct world *w = *state;
    fill(w);
    struct load_settings s = settings(w, "get");
    s.connections = 1;
    s.in_flight = 1000;
    s.count = 5000;
    run(&s);
    assert_int_equal(result->done, 5000);
    assert_int_equal(result->failed, 0);
}

static int make_result(void **state)
{
    (void)state;
    result = mem_zalloc(sizeof *result);
    return result ? 0 : -1;
}

static int free_result(void **state)
{
    (void)state;
    mem_free(result);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_every_mix, start, stop),
        cmocka_unit_test_setup_teardown(test_scans_count_their_rows, start, stop),
        cmocka_unit_test_setup_teardown(test_failures_are_counted_by_kind, start, stop),
        cmocka_unit_test_setup_teardown(test_more_than_the_server_takes_at_once, start, stop),
    };
    return cmocka_run_group_tests(tests, make_result, free_result);
}
