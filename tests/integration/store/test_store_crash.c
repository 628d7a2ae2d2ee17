/* The store on the simulated disk: random writes, checkpoints, crashes and reopenings from seeds,
 * held against a model. By name it looks for: data gone after reopen; a write acknowledged before
 * its sync; a compaction that shifts indexes; a change feed that writes bypass; an index of
 * versions that is empty if it was built after the data. */
#include "store_world.h"
#include "support/cmocka.h"
#include "support/seeds.h"

static void step(struct world *w)
{
    enum store_sync modes[] = {STORE_SYNC_ALWAYS, STORE_SYNC_OFF, STORE_SYNC_INTERVAL};
    unsigned what = (unsigned)test_rng_below(&w->rng, 100);
    if (what < 70) {
        enum store_sync sync = modes[test_rng_below(&w->rng, 3)];
        if (!world_write(w, sync))
            world_checkpoint(w);
        else if (sync == STORE_SYNC_ALWAYS)
            world_durable_so_far(w);
    } else if (what < 78) {
        world_checkpoint(w);
    } else if (what < 84) {
        /* What is absent is asked for, so that filters are made between writes. */
        model_check_present(&w->m, w->s, w->env);
        (void)store_tick(w->s);
        (void)store_tick(w->s);
        model_check_present(&w->m, w->s, w->env);
    } else if (what < 88) {
        sim_advance_ms(w->env, test_rng_below(&w->rng, 100));
    } else if (what < 90) {
        sim_set_wall_ms(w->env, env_now_ms(w->env) -
                                    test_rng_below(&w->rng, 3600000)); /* the clock jumps back */
    } else if (what < 94) {
        model_check(&w->m, w->s, w->env, &w->rng);
    } else {
        world_crash(w, test_rng_chance(&w->rng, 3, 4) ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
    }
}

static void test_random_crashes_lose_nothing_acknowledged(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 400)
    {
        struct world w;
        world_init(&w, seed);
        size_t steps = 30 + test_rng_below(&w.rng, 90);
        for (size_t i = 0; i < steps; i++)
            step(&w);
        world_crash(&w, SIM_CRASH_POWER);
        model_check(&w.m, w.s, w.env, &w.rng);
        world_deinit(&w);
    }
}

static void test_replaying_the_log_alone_gives_the_same_state(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 50)
    {
        struct world w;
        world_init(&w, seed);
        w.o.table_bytes = 64 << 20; /* nothing is drained on the way */
        world_crash(&w, SIM_CRASH_PROCESS_ONLY);
        for (size_t i = 0; i < 100; i++)
            (void)!world_write(&w, STORE_SYNC_ALWAYS);
        struct store_stats before, after;
        store_stats(w.s, &before);
        assert_int_equal(before.persisted_index, 0); /* the engine never saw any of it */
        world_crash(&w, SIM_CRASH_PROCESS_ONLY);
        store_stats(w.s, &after);
        assert_int_equal(after.persisted_index, 0);
        assert_int_equal(after.applied_index, before.applied_index);
        assert_int_equal(after.table_versions, before.table_versions);
        model_check(&w.m, w.s, w.env, &w.rng);
        world_deinit(&w);
    }
}

static void test_segments_are_recycled_and_indexes_do_not_shift(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 7);
    uint64_t index = 0;
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 40; i++)
            (void)!world_write(&w, STORE_SYNC_ALWAYS);
        world_checkpoint(&w);
        struct store_stats st;
        store_stats(w.s, &st);
        assert_true(st.applied_index > index);
        assert_int_equal(st.persisted_index, st.applied_index);
        index = st.applied_index;
        assert_true(st.wal.segments <= 8);
        world_crash(&w, SIM_CRASH_POWER);
        store_stats(w.s, &st);
        assert_int_equal(st.applied_index, index);
    }
    model_check(&w.m, w.s, w.env, &w.rng);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_crashes_lose_nothing_acknowledged),
        cmocka_unit_test(test_replaying_the_log_alone_gives_the_same_state),
        cmocka_unit_test(test_segments_are_recycled_and_indexes_do_not_shift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
