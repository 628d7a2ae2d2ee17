/* Three and five stores as one, from seeds: clients write, compare and read anywhere while machines
 * lose power, the network loses, doubles, reorders and parts. Held against what clients were told. By
 * name it looks for: an acknowledged write that is gone or there twice; a vote or an answer before its
 * sync; a deposed leader's proposal taken for done; versions that fall with a new leader; a forwarded
 * write that its node does not read; replicas that differ. */
#include "base/log.h"
#include "cluster_world.h"
#include "support/cmocka.h"
#include "support/seeds.h"

static struct cluster_world w; /* too large for a stack */

static void disturb(unsigned what)
{
    uint64_t id = 1 + test_rng_below(&w.rng, w.n);
    switch (what) {
    case 0:
        cw_crash(&w, id, SIM_CRASH_POWER, test_rng_below(&w.rng, 2000));
        break;
    case 1:
        cw_crash(&w, id, SIM_CRASH_PROCESS_ONLY, test_rng_below(&w.rng, 300));
        break;
    case 2: /* all at once */
        for (uint64_t k = 1; k <= w.n; k++)
            cw_crash(&w, k, SIM_CRASH_POWER, test_rng_below(&w.rng, 500));
        break;
    case 3: /* the leader */
        if (cw_leader(&w))
            cw_crash(&w, cw_leader(&w), SIM_CRASH_POWER, test_rng_below(&w.rng, 2000));
        break;
    case 4: /* one is cut off */
        for (uint64_t k = 1; k <= w.n; k++)
            w.cut[id][k] = w.cut[k][id] = true;
        break;
    case 5: /* in one direction */
        w.cut[id][1 + test_rng_below(&w.rng, w.n)] = true;
        break;
    case 6:
    case 7:
        memset(w.cut, 0, sizeof w.cut);
        break;
    case 8:
        w.loss = (unsigned)test_rng_below(&w.rng, 200);
        w.dup = (unsigned)test_rng_below(&w.rng, 200);
        break;
    default:
        w.loss = w.dup = 0;
        w.delay_ms = 1 + (unsigned)test_rng_below(&w.rng, 60);
        break;
    }
}

static void test_random_clusters(void **state)
{
    (void)state;
    uint64_t seed, done = 0, unknown = 0, reads = 0, crashes = 0, leaders = 0;
    FOR_EACH_SEED(seed, 60)
    {
        cw_init(&w, seed, seed % 4 == 3 ? 5 : 3);
        cw_collection(&w);
        size_t clients = 1 + test_rng_below(&w.rng, 12);
        for (size_t i = 0; i < clients; i++)
            cw_client_start(&w);
        size_t rounds = 5 + test_rng_below(&w.rng, 25);
        for (size_t i = 0; i < rounds; i++) {
            cw_run(&w, 50 + test_rng_below(&w.rng, 500));
            disturb((unsigned)test_rng_below(&w.rng, 10));
        }
        cw_judge(&w);
        done += w.done;
        unknown += w.unknown;
        reads += w.reads;
        crashes += w.crashes;
        leaders += w.leaders;
        cw_deinit(&w);
    }
    print_message("%llu writes done, %llu unknown, %llu reads, %llu crashes, %llu leaders\n",
                  (unsigned long long)done, (unsigned long long)unknown, (unsigned long long)reads,
                  (unsigned long long)crashes, (unsigned long long)leaders);
    assert_true(done > 0 && reads > 0 && crashes > 0 && leaders > 0);
}

static void test_a_quiet_cluster_agrees(void **state)
{
    (void)state;
    cw_init(&w, 1, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    for (int i = 0; i < 4; i++)
        cw_client_start(&w);
    cw_run(&w, 3000);
    assert_true(w.done > 100);
    assert_int_equal(w.unknown, 0);
    assert_int_equal(w.leaders, 1);
    cw_judge(&w);
    cw_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_quiet_cluster_agrees),
        cmocka_unit_test(test_random_clusters),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
