/* test_time.c - moments and durations: known values, refusals, and that what is printed reads back.
 */
#include "apps/cli/cli_time.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdio.h>
#include <string.h>

static const uint64_t NOW = UINT64_C(1769904000000); /* 2026-02-01T00:00:00Z */

static uint64_t ms_of(const char *text)
{
    varve_at at;
    struct err e;
    err_init(&e);
    if (cli_time_parse(text, NOW, &at, &e) != ST_OK)
        fail_msg("%s: %s", text, e.detail);
    assert_int_equal(at.kind, VARVE_AT_TIME);
    return at.time_ms;
}

static void times(void **state)
{
    (void)state;
    assert_int_equal(ms_of("1970-01-01"), 0);
    assert_int_equal(ms_of("2026-02-01"), NOW);
    assert_int_equal(ms_of("2026-02-01T00:00:00Z"), NOW);
    assert_int_equal(ms_of("2026-02-01 00:00"), NOW);
    assert_int_equal(ms_of("2026-02-01t00:00:00z"), NOW);
    assert_int_equal(ms_of("2026-02-01T01:30:00+01:30"), NOW);
    assert_int_equal(ms_of("2026-01-31T19:00:00-05:00"), NOW);
    assert_int_equal(ms_of("2026-02-01T00:00:00.1Z"), NOW + 100);
    assert_int_equal(ms_of("2026-02-01T00:00:00.123456789Z"), NOW + 123);
    assert_int_equal(ms_of("2000-02-29T12:00:00Z"), UINT64_C(951825600000));
    assert_int_equal(ms_of("2016-12-31T23:59:60Z"), UINT64_C(1483228799999));
    assert_int_equal(ms_of("9999-12-31T23:59:59.999Z"), UINT64_C(253402300799999));
    assert_int_equal(ms_of("-5m"), NOW - 300000);
    assert_int_equal(ms_of("-1h30m"), NOW - 5400000);
    assert_int_equal(ms_of("-2w"), NOW - UINT64_C(1209600000));
    assert_int_equal(ms_of("-0"), NOW);
}

static void other_moments(void **state)
{
    (void)state;
    varve_at at;
    struct err e;
    assert_int_equal(cli_time_parse("now", NOW, &at, &e), ST_OK);
    assert_int_equal(at.kind, VARVE_AT_NOW);
    assert_int_equal(cli_time_parse("@my snapshot", NOW, &at, &e), ST_OK);
    assert_int_equal(at.kind, VARVE_AT_SNAPSHOT);
    assert_string_equal(at.snapshot, "my snapshot");
    assert_int_equal(cli_time_parse("018f3a2b4c5d0001", NOW, &at, &e), ST_OK);
    assert_int_equal(at.kind, VARVE_AT_VERSION);
    assert_true(at.version.hlc == UINT64_C(0x018f3a2b4c5d0001) && at.version.origin == 0);
    assert_int_equal(cli_time_parse("018f3a2b4c5d0001-7", NOW, &at, &e), ST_OK);
    assert_int_equal(at.version.origin, 7);
    assert_int_equal(cli_time_parse("2026020100000000", NOW, &at, &e), ST_OK);
    assert_int_equal(at.kind, VARVE_AT_VERSION);
}

static void refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "@",
        "yesterday",
        "2026",
        "2026-2-1",
        "2026-00-01",
        "2026-13-01",
        "2026-02-29",
        "2026-04-31",
        "2026-02-00",
        "1969-12-31",
        "0000-01-01",
        "-",
        "-5",
        "-m",
        "-5y",
        "-5m3",
        "- 5m",
        "018f",
        "018f3a2b4c5d000g",
        "2026-02-01T",
        "2026-02-01T1:00Z",
        "2026-02-01T24:00Z",
        "2026-02-01T00:60Z",
        "2026-02-01T00:00:61Z",
        "2026-02-01T00:00:00.Z",
        "2026-02-01T00:00:00+25:00",
        "2026-02-01T00:00:00+1",
        "2026-02-01T00:00:00+0100",
        "2026-02-01Z",
        "2026-02-01x",
        "2026-02-01T00:00:00Z ",
        "1970-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "-99999999999999999999d",
        "-999999w",
        " now",
        "Now",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        varve_at at = {.kind = VARVE_AT_VERSION, .time_ms = 42};
        struct err e;
        err_init(&e);
        if (cli_time_parse(bad[i], NOW, &at, &e) != ST_INVALID_ARGUMENT)
            fail_msg("'%s' was taken", bad[i]);
        assert_true(e.detail[0] != '\0');
        assert_true(at.kind == VARVE_AT_VERSION && at.time_ms == 42); /* untouched */
    }
}

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"0", 0},           {"1ms", 1},      {"500ms", 500},    {"30s", 30000},
                {"10m", 600000},    {"2h", 7200000}, {"7d", 604800000}, {"1w", 604800000},
                {"1h30m", 5400000}, {"1m1ms", 60001}};
    struct err e;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t ms = 1;
        assert_int_equal(cli_duration_parse(good[i].text, &ms, &e), ST_OK);
        assert_int_equal(ms, good[i].ms);
    }
    static const char *const bad[] = {
        "", "5", "s", "-5s", "5 s", "5x", "1.5h", "00", "9999999999999999s"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t ms = 77;
        assert_int_equal(cli_duration_parse(bad[i], &ms, &e), ST_INVALID_ARGUMENT);
        assert_int_equal(ms, 77);
    }
}

static void printed_times_read_back(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 2000)
    {
        struct test_rng r;
        char text[CLI_TIME_TEXT_MAX];
        test_rng_init(&r, seed);
        uint64_t ms = test_rng_below(&r, UINT64_C(253402300800000));
        cli_time_format(ms, text);
        assert_int_equal(strlen(text), 24);
        assert_int_equal(ms_of(text), ms);
        uint64_t back, span = test_rng_below(&r, UINT64_C(253402300800000));
        struct err e;
        cli_duration_exact(span, text);
        assert_int_equal(cli_duration_parse(text, &back, &e), ST_OK);
        assert_int_equal(back, span);
    }
}

/* Every day of four centuries, against a calendar that is counted day by day. */
static void every_day(void **state)
{
    (void)state;
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    uint64_t day = 0;
    for (unsigned y = 1970; y < 2370; y++)
        for (unsigned m = 1; m <= 12; m++) {
            unsigned n = days[m - 1] + (m == 2 && ((y % 4 == 0 && y % 100 != 0) || y % 400 == 0));
            for (unsigned d = 1; d <= n; d++, day++) {
                char text[40], shown[CLI_TIME_TEXT_MAX];
                snprintf(text, sizeof text, "%04u-%02u-%02u", y, m, d);
                assert_int_equal(ms_of(text), day * 86400000);
                cli_time_format(day * 86400000, shown);
                assert_memory_equal(shown, text, 10);
            }
        }
}

static void for_people(void **state)
{
    (void)state;
    char text[CLI_TIME_TEXT_MAX];
    cli_duration_format(999, text);
    assert_string_equal(text, "999 ms");
    cli_duration_format(1540, text);
    assert_string_equal(text, "1.5 s");
    cli_duration_format(123000, text);
    assert_string_equal(text, "2 min 03 s");
    cli_duration_format(4800000, text);
    assert_string_equal(text, "1 h 20 min");
    cli_time_format(UINT64_C(253402300800000), text);
    assert_string_equal(text, "253402300800000ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times),
        cmocka_unit_test(other_moments),
        cmocka_unit_test(refusals),
        cmocka_unit_test(durations),
        cmocka_unit_test(printed_times_read_back),
        cmocka_unit_test(every_day),
        cmocka_unit_test(for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
