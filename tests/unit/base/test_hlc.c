/* test_hlc.c - the clock only goes up; versions and their texts map one to one. */
#include "base/hlc.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdio.h>
#include <string.h>

static void the_clock_follows_the_wall(void **state)
{
    (void)state;
    struct hlc h = {0};
    assert_true(hlc_next(&h, 0) == 1); /* never 0, which means "none" */
    assert_true(hlc_next(&h, 1000) == (UINT64_C(1000) << 16));
    assert_true(hlc_next(&h, 1000) == (UINT64_C(1000) << 16 | 1));
    assert_true(hlc_next(&h, 1001) == (UINT64_C(1001) << 16));
}

static void the_clock_rises_under_jumps_and_strangers(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 200)
    {
        struct test_rng rng;
        struct hlc h = {0};
        uint64_t now = UINT64_C(1700000000000), highest = 0;
        test_rng_init(&rng, seed);
        for (int i = 0; i < 1000; i++) {
            if (test_rng_chance(&rng, 1, 20))
                now += test_rng_below(&rng, 100000);
            if (test_rng_chance(&rng, 1, 20))
                now -= test_rng_below(&rng, 100000);
            if (test_rng_chance(&rng, 1, 10)) {
                uint64_t seen =
                    ((now + test_rng_below(&rng, 500) - 250) << 16) + test_rng_below(&rng, 65536);
                hlc_observe(&h, seen);
                highest = seen > highest ? seen : highest;
            }
            uint64_t t = hlc_next(&h, now);
            assert_true(t > highest);
            assert_true(t >> 16 >= now);
            highest = t;
        }
    }
}

static void the_counter_overflows_into_the_milliseconds(void **state)
{
    (void)state;
    struct hlc h = {0};
    uint64_t last = hlc_next(&h, 5000);
    for (int i = 0; i < 70000; i++) {
        uint64_t t = hlc_next(&h, 5000);
        assert_true(t == last + 1);
        last = t;
    }
    assert_true(last >> 16 == 5001);
    assert_true(hlc_next(&h, 5001) == last + 1); /* the wall has not passed it yet */
    assert_true(hlc_next(&h, 5002) == UINT64_C(5002) << 16);
}

static void a_wall_clock_beyond_48_bits_is_capped(void **state)
{
    (void)state;
    struct hlc h = {0};
    assert_true(hlc_next(&h, UINT64_MAX) == UINT64_MAX << 16);
    assert_true(hlc_next(&h, UINT64_C(1) << 48) == (UINT64_MAX << 16 | 1));
}

static void versions_order_by_clock_then_origin(void **state)
{
    (void)state;
    struct version a = {10, 5}, b = {11, 0}, c = {11, 1};
    assert_true(version_cmp(a, b) < 0 && version_cmp(b, c) < 0 && version_cmp(c, a) > 0);
    assert_true(version_cmp(c, c) == 0);
    assert_true(version_is_none(VERSION_NONE));
    assert_false(version_is_none((struct version){0, 1}));
    struct version ms = version_at_ms(77);
    assert_true(version_ms(ms) == 77);
    assert_true(version_cmp(ms, (struct version){(UINT64_C(77) << 16) | 0xffff, UINT32_MAX}) == 0);
    assert_true(version_cmp(ms, (struct version){UINT64_C(78) << 16, 0}) < 0);
}

static void check_text(struct version v, const char *want)
{
    char text[VERSION_TEXT_MAX];
    struct version back = {99, 99};
    assert_int_equal(version_format(v, text), strlen(want));
    assert_string_equal(text, want);
    assert_true(version_parse(BYTES_STR(text), &back));
    assert_int_equal(version_cmp(v, back), 0);
}

static void texts_are_as_documented(void **state)
{
    (void)state;
    check_text((struct version){UINT64_C(0x018f3a2b4c5d0001), 0}, "018f3a2b4c5d0001");
    check_text((struct version){UINT64_C(0x018f3a2b4c5d0001), 7}, "018f3a2b4c5d0001-7");
    check_text(VERSION_NONE, "0000000000000000");
    check_text(VERSION_MAX, "ffffffffffffffff-4294967295");
    struct version v;
    assert_true(version_parse(BYTES_LIT("018F3A2B4C5D0001"), &v));
    assert_true(v.hlc == UINT64_C(0x018f3a2b4c5d0001));
}

static void texts_round_trip(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 5000)
    {
        struct test_rng rng;
        char text[VERSION_TEXT_MAX], again[VERSION_TEXT_MAX];
        test_rng_init(&rng, seed);
        struct version v = {test_rng_any_width(&rng), (uint32_t)test_rng_any_width(&rng)}, back;
        version_format(v, text);
        assert_true(version_parse(BYTES_STR(text), &back));
        assert_int_equal(version_cmp(v, back), 0);
        /* Whatever else parses must be the same text but for the case of its letters. */
        size_t at = (size_t)test_rng_below(&rng, strlen(text));
        text[at] = (char)test_rng_between(&rng, 32, 126);
        if (version_parse(BYTES_STR(text), &back)) {
            version_format(back, again);
            for (char *p = text; *p; p++)
                *p = (char)(*p >= 'A' && *p <= 'F' ? *p + 32 : *p);
            assert_string_equal(again, text);
        }
    }
}

static void malformed_texts_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "0",
                                      "018f3a2b4c5d000",
                                      "018f3a2b4c5d0001-",
                                      "018f3a2b4c5d00017",
                                      "018f3a2b4c5d0001-0",
                                      "018f3a2b4c5d0001-07",
                                      "018f3a2b4c5d0001-+7",
                                      "018f3a2b4c5d0001--7",
                                      "018f3a2b4c5d0001-4294967296",
                                      "018f3a2b4c5d0001-99999999999",
                                      "018f3a2b4c5d0001-7 ",
                                      " 18f3a2b4c5d0001",
                                      "0x8f3a2b4c5d0001",
                                      "g18f3a2b4c5d0001"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct version v = {99, 99};
        assert_false(version_parse(BYTES_STR(bad[i]), &v));
        assert_true(v.hlc == 99 && v.origin == 99);
    }
}

static void test_times_as_text(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } times[] = {{0, "1970-01-01T00:00:00.000Z"},
                 {951782400000 - 1, "2000-02-28T23:59:59.999Z"},
                 {951782400000, "2000-02-29T00:00:00.000Z"},
                 {951868800000, "2000-03-01T00:00:00.000Z"},
                 {1893456000000, "2030-01-01T00:00:00.000Z"},
                 {4107542399999, "2100-02-28T23:59:59.999Z"},
                 {4107542400000, "2100-03-01T00:00:00.000Z"},
                 {253402300799999, "9999-12-31T23:59:59.999Z"},
                 {253402300800000, "253402300800000 ms"},
                 {UINT64_MAX, "18446744073709551615 ms"}};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        char text[TIME_TEXT_MAX];
        time_format(times[i].ms, text);
        assert_string_equal(text, times[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_follows_the_wall),
        cmocka_unit_test(the_clock_rises_under_jumps_and_strangers),
        cmocka_unit_test(the_counter_overflows_into_the_milliseconds),
        cmocka_unit_test(a_wall_clock_beyond_48_bits_is_capped),
        cmocka_unit_test(versions_order_by_clock_then_origin),
        cmocka_unit_test(texts_are_as_documented),
        cmocka_unit_test(texts_round_trip),
        cmocka_unit_test(test_times_as_text),
        cmocka_unit_test(malformed_texts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
