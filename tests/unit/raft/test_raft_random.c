/* Many groups under everything at once (sim/raft/weather.h). */
#include "sim/raft/weather.h"
#include "support/cmocka.h"
#include "support/seeds.h"

typedef unsigned long long ull;

static void everything_at_once(void **state)
{
    (void)state;
    struct weather_result sum = {0};
    uint64_t seed;
    FOR_EACH_SEED(seed, 300)
    {
        if (!weather_run(seed, &sum))
            fail_msg("%s", sum.failure);
    }
    print_message("%llu commits, %llu elections, %llu reads (%llu failed), %llu snapshots, %llu "
                  "changes, %llu repairs, %llu ticks asleep\n",
                  (ull)sum.commits, (ull)sum.elections, (ull)sum.reads_ok, (ull)sum.reads_failed,
                  (ull)sum.snapshots, (ull)sum.changes, (ull)sum.repaired, (ull)sum.slept);
    assert_true(sum.commits > 0 && sum.elections > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
