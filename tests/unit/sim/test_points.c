/* Rare paths: one seed makes the same ones likely; probes are counted and never say yes. */
#include "base/buggify.h"
#include "sim/core/points.h"
#include "support/cmocka.h"

#include <string.h>

static bool rare(void)
{
    return BUGGIFY("test: rare");
}

static void reached(void)
{
    PROBE("test: reached");
}

static size_t find(const char *name)
{
    size_t i = 0;
    while (i < points_count() && strcmp(points_name(i), name) != 0)
        i++;
    assert_true(i < points_count());
    return i;
}

static uint64_t yes(uint64_t seed, bool on)
{
    uint64_t n = 0;
    points_begin(seed, on);
    for (int i = 0; i < 1000; i++)
        n += rare();
    assert_int_equal(points_passed(find("test: rare")), 1000);
    assert_int_equal(points_fired(find("test: rare")), n);
    return n;
}

static void test_points_rare(void **state)
{
    (void)state;
    unsigned active = 0;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        uint64_t n = yes(seed, true);
        assert_int_equal(yes(seed, true), n);
        assert_int_equal(yes(seed, false), 0);
        active += n > 0;
        if (n > 0)
            assert_in_range(n, 3, 600);
    }
    assert_in_range(active, 60, 140); /* a third */
}

static void test_points_probe(void **state)
{
    (void)state;
    size_t i = find("test: reached");
    points_begin(1, true);
    assert_true(points_is_probe(i));
    assert_int_equal(points_passed(i), 0);
    reached();
    reached();
    assert_int_equal(points_passed(i), 2);
    assert_int_equal(points_fired(i), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points_rare),
        cmocka_unit_test(test_points_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
