/* The store when the disk, the memory or the clock fails: an error says so, nothing acknowledged is
 * lost, nothing half applied, and what can go on goes on. */
#include "base/alloc.h"
#include "base/log.h"
#include "store_world.h"
#include "support/cmocka.h"
#include "support/seeds.h"

#include <stdio.h>

static void check(struct world *w)
{
    model_check(&w->m, w->s, w->env, &w->rng);
}

static void write_n(struct world *w, int n)
{
    for (int i = 0; i < n; i++)
        if (!world_write(w, STORE_SYNC_ALWAYS))
            world_checkpoint(w);
    world_durable_so_far(w);
}

static void test_full_disk_refuses_writes_serves_reads_and_recovers(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 30)
    {
        struct world w;
        struct err err;
        err_init(&err);
        world_init(&w, seed);
        write_n(&w, 50);
        sim_set_faults(w.env, &(struct sim_faults){.write_enospc_ppm = 1000000});
        for (int i = 0; i < 20; i++) {
            enum status st = world_try_write(&w, STORE_SYNC_ALWAYS, &err);
            assert_true(st == ST_DISK_FULL || st == ST_OVERLOADED);
        }
        struct store_stats stats;
        store_stats(w.s, &stats);
        enum status full = store_checkpoint(w.s, &err);
        assert_int_equal(full, stats.table_versions ? ST_DISK_FULL : ST_OK);
        check(&w);
        /* Opened anew on the full disk it has all of it, also what fits no table. */
        world_abandon(&w);
        sim_crash(w.env, SIM_CRASH_PROCESS_ONLY, 512);
        sim_set_disk_bytes(w.env, 1);
        world_open(&w);
        check(&w);
        sim_set_disk_bytes(w.env, 0);
        write_n(&w, 50);
        world_checkpoint(&w);
        check(&w);
        world_crash(&w, SIM_CRASH_POWER);
        check(&w);
        world_deinit(&w);
    }
}

static void test_closing_on_a_full_disk_keeps_what_is_in_the_log(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 30)
    {
        struct world w;
        struct err err;
        err_init(&err);
        world_init(&w, seed);
        write_n(&w, 50);
        sim_set_faults(w.env, &(struct sim_faults){.write_enospc_ppm = 1000000});
        assert_int_equal(store_close(w.s, &err), ST_OK);
        sim_set_faults(w.env, &(struct sim_faults){0});
        world_open(&w);
        assert_int_equal(model_surviving(&w.m, w.s), w.m.n);
        check(&w);
        world_deinit(&w);
    }
}

static void test_write_errors_lose_nothing(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 60)
    {
        struct world w;
        struct err err;
        err_init(&err);
        world_init(&w, seed);
        for (int round = 0; round < 3; round++) {
            sim_set_faults(w.env, &(struct sim_faults){.write_eio_ppm = 100000,
                                                       .write_enospc_ppm = 50000,
                                                       .partial_on_error = true});
            for (int i = 0; i < 40; i++) {
                enum status st = world_try_write(&w, STORE_SYNC_ALWAYS, &err);
                if (st == ST_OK)
                    world_durable_so_far(&w);
                else if (st == ST_OVERLOADED || i % 10 == 0)
                    (void)!store_checkpoint(w.s, &err);
            }
            sim_set_faults(w.env, &(struct sim_faults){0});
            check(&w);
            world_crash(&w, SIM_CRASH_POWER);
            check(&w);
        }
        world_deinit(&w);
    }
}

static void test_failed_sync_poisons_the_handle_and_reopening_is_right(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 60)
    {
        struct world w;
        struct err err;
        err_init(&err);
        world_init(&w, seed);
        write_n(&w, 20);
        /* Room in the table, and a spare for the log: the next write reaches its sync. */
        world_checkpoint(&w);
        (void)store_tick(w.s);
        sim_set_faults(w.env, &(struct sim_faults){.sync_eio_ppm = 1000000});
        enum status st = world_try_write(&w, STORE_SYNC_ALWAYS, &err);
        assert_int_not_equal(st, ST_OK);
        sim_set_faults(w.env, &(struct sim_faults){0});
        /* The disk is well again, but nobody knows what it dropped: no write may succeed on this
         * handle. */
        for (int i = 0; i < 5; i++)
            assert_int_equal(world_try_write(&w, STORE_SYNC_ALWAYS, &err), ST_POISONED);
        check(&w); /* reads go on, without the write that was refused */
        struct store_stats stats;
        store_stats(w.s, &stats);
        assert_true(stats.poisoned);
        /* The refused write may turn up after reopening, as one more at the end, or not: both are
         * right. */
        world_abandon(&w);
        sim_crash(w.env, test_rng_chance(&w.rng, 1, 2) ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY,
                  512);
        world_open(&w);
        assert_int_equal(model_surviving(&w.m, w.s), w.m.n);
        world_deinit(&w);
    }
}

/* One disk operation after the other fails, and all after it: the process dies there. */
static void test_dying_at_every_disk_operation(void **state)
{
    (void)state;
    for (uint64_t at = 1; at < 400; at += 1 + at / 40) {
        struct world w;
        struct err err;
        err_init(&err);
        world_init(&w, at);
        write_n(&w, 10);
        sim_set_faults(w.env, &(struct sim_faults){.fail_after_ops = at, .partial_on_error = true});
        for (int i = 0; i < 30; i++) {
            if (world_try_write(&w, STORE_SYNC_ALWAYS, &err) == ST_OK)
                world_durable_so_far(&w);
            if (i % 8 == 7)
                (void)!store_checkpoint(w.s, &err);
            if (i % 5 == 4)
                (void)store_tick(w.s);
        }
        struct store *dead = w.s;
        (void)!store_close(dead, &err);
        sim_set_faults(w.env, &(struct sim_faults){0});
        sim_crash(w.env, at % 2 ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY,
                  at % 4 < 2 ? 512 : 4096);
        world_open(&w);
        size_t n = w.m.n;
        assert_int_equal(model_surviving(&w.m, w.s), n);
        world_deinit(&w);
    }
}

static void test_every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t hits = 1;
    for (uint64_t at = 1; hits > 0; at++) {
        struct world w;
        struct err err;
        err_init(&err);
        world_init(&w, 3);
        write_n(&w, 5);
        (void)mem_fail_hits();
        mem_fail_at(at, at % 2 == 0); /* once, or from then on */
        for (int i = 0; i < 6; i++) {
            enum status st = world_try_write(&w, STORE_SYNC_ALWAYS, &err);
            if (st == ST_OK)
                world_durable_so_far(&w);
            else
                assert_int_equal(st, ST_NO_MEMORY);
        }
        enum status st = store_checkpoint(w.s, &err);
        assert_true(st == ST_OK || st == ST_NO_MEMORY);
        mem_fail_at(0, 0);
        hits = mem_fail_hits();
        check(&w); /* the same handle goes on */
        write_n(&w, 3);
        world_crash(&w, SIM_CRASH_POWER);
        check(&w);
        world_deinit(&w);
    }
}

static void test_opening_with_failing_allocations(void **state)
{
    (void)state;
    struct world w;
    struct err err;
    uint64_t hits = 1;
    err_init(&err);
    world_init(&w, 5);
    write_n(&w, 30);
    for (uint64_t at = 1; hits > 0; at++) {
        world_abandon(&w);
        sim_crash(w.env, SIM_CRASH_PROCESS_ONLY, 512);
        (void)mem_fail_hits();
        mem_fail_at(at, 1);
        enum status st = store_open(w.env, "/db", &w.o, &w.s, &err);
        mem_fail_at(0, 0);
        hits = mem_fail_hits();
        if (st != ST_OK) {
            assert_int_equal(st, ST_NO_MEMORY);
            world_open(&w);
        }
        assert_int_equal(model_surviving(&w.m, w.s), w.m.n);
    }
    check(&w);
    world_deinit(&w);
}

/* Flips a bit of a file of the folder: opening or verifying says CORRUPT and names the file, or
 * nothing is wrong. */
static void test_flipped_bits_never_give_a_wrong_answer(void **state)
{
    (void)state;
    uint64_t seed, found = 0;
    FOR_EACH_SEED(seed, 300)
    {
        static const char *const files[] = {"/db/VARVE", "/db/engine/mem.dump",
                                            "/db/log/00000000.seg", "/db/log/00000001.seg"};
        struct world w;
        struct err err;
        struct bytes content;
        err_init(&err);
        world_init(&w, seed);
        write_n(&w, 20);
        world_checkpoint(&w);
        write_n(&w, 20);
        (void)store_tick(w.s); /* the idle marker: all of the log is known synced */
        (void)store_tick(w.s);
        (void)store_tick(w.s);
        const char *file = files[test_rng_below(&w.rng, 4)];
        if (!sim_file(w.env, file, &content) || content.len == 0) {
            world_deinit(&w);
            continue;
        }
        world_abandon(&w);
        sim_crash(w.env, SIM_CRASH_PROCESS_ONLY, 512);
        assert_true(sim_file(w.env, file, &content));
        assert_true(sim_flip_bit(w.env, file, test_rng_below(&w.rng, content.len),
                                 (unsigned)test_rng_below(&w.rng, 8)));
        enum status st = store_open(w.env, "/db", &w.o, &w.s, &err);
        if (st == ST_OK) {
            check(&w); /* the bit was in nobody's data */
            assert_int_equal(store_close(w.s, &err), ST_OK);
        } else {
            found++;
            if (st != ST_CORRUPT && st != ST_FORMAT_NEWER)
                fail_msg("%s: %s: %s", file, status_name(st), err.detail);
            if (!strstr(err.detail, strrchr(file, '/') + 1))
                fail_msg("%s is not named: %s", file, err.detail);
        }
        model_deinit(&w.m);
        sim_env_free(w.env);
    }
    assert_true(found > 0);
}

static void test_versions_rise_when_the_clock_jumps_back(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 11);
    write_n(&w, 5); /* world_write asserts that versions rise */
    sim_set_wall_ms(w.env, 1000);
    write_n(&w, 5);
    world_crash(&w, SIM_CRASH_POWER);
    write_n(&w, 5);
    world_deinit(&w);
}

static void test_missing_format_file_is_not_a_new_folder(void **state)
{
    (void)state;
    struct world w;
    struct err err;
    err_init(&err);
    world_init(&w, 12);
    write_n(&w, 5);
    assert_int_equal(store_close(w.s, &err), ST_OK);
    assert_int_equal(env_unlink(w.env, "/db/VARVE", &err), ST_OK);
    assert_int_equal(store_open(w.env, "/db", &w.o, &w.s, &err), ST_CORRUPT);
    assert_non_null(strstr(err.detail, "VARVE"));
    model_deinit(&w.m);
    sim_env_free(w.env);
}

static void test_a_newer_format_is_refused_by_name(void **state)
{
    (void)state;
    struct world w;
    struct err err;
    err_init(&err);
    world_init(&w, 13);
    assert_int_equal(store_close(w.s, &err), ST_OK);
    struct bytes newer = BYTES_LIT("varve\nformat 3\nlayers yes\n");
    assert_int_equal(env_write_file(w.env, "/db/VARVE", newer, &err), ST_OK);
    assert_int_equal(store_open(w.env, "/db", &w.o, &w.s, &err), ST_FORMAT_NEWER);
    assert_non_null(strstr(err.detail, "format version 3"));
    model_deinit(&w.m);
    sim_env_free(w.env);
}

/* An old engine beside a newer log: what the log still has is replayed; what it gave up, because the
 * engine had it, is missed and said so, never passed over. An engine that was removed counts as one. */
static void test_an_engine_older_than_its_log_is_found(void **state)
{
    (void)state;
    unsigned whole = 0, missed = 0;
    uint64_t seed;
    FOR_EACH_SEED(seed, 80)
    {
        struct world w;
        struct err err;
        struct buf old = BUF_INIT;
        err_init(&err);
        world_init(&w, seed);
        write_n(&w, 10);
        world_checkpoint(&w);
        bool removed = seed % 4 == 0;
        const char *dump = "/db/engine/mem.dump";
        assert_int_equal(env_read_file(w.env, dump, 64 << 20, &old, &err), ST_OK);
        /* Enough to recycle segments, or not; with entries behind the last release, or without. */
        int more = (int)test_rng_below(&w.rng, 120);
        for (int i = 0; i < more; i++) {
            write_n(&w, 1);
            if (test_rng_chance(&w.rng, 1, 10))
                world_checkpoint(&w);
        }
        bool closed = test_rng_chance(&w.rng, 1, 2);
        if (closed) {
            assert_int_equal(store_close(w.s, &err), ST_OK);
        } else {
            world_abandon(&w);
            sim_crash(w.env, SIM_CRASH_PROCESS_ONLY, 512);
        }
        for (int i = 1; i < 200; i++) { /* nor are there changes that came after it */
            char beside[40];
            (void)snprintf(beside, sizeof beside, "/db/engine/mem.%d", i);
            (void)env_unlink(w.env, beside, NULL);
        }
        if (removed)
            assert_int_equal(env_unlink(w.env, dump, &err), ST_OK);
        else
            assert_int_equal(env_write_file(w.env, dump, buf_bytes(&old), &err), ST_OK);
        for (int again = 0; again < 2; again++) { /* the first attempt changes nothing about it */
            enum status st = store_open(w.env, "/db", &w.o, &w.s, &err);
            if (st == ST_OK) {
                assert_int_equal(model_surviving(&w.m, w.s), w.m.n);
                check(&w);
                assert_int_equal(store_close(w.s, &err), ST_OK);
                whole++;
            } else {
                assert_int_equal(st, ST_CORRUPT);
                assert_non_null(strstr(err.detail, "engine is older than its log"));
                missed++;
            }
        }
        buf_deinit(&old);
        model_deinit(&w.m);
        sim_env_free(w.env);
    }
    assert_true(whole > 0 && missed > 0);
}

static void open_new(struct world *w, uint64_t at, const char *when, struct store **ret)
{
    struct err err;
    err_init(&err);
    if (store_open(w->env, "/new", &w->o, ret, &err) != ST_OK)
        fail_msg("at %d, %s: %s", (int)at, when, err.detail);
}

/* False: it lived long enough to make more than the file VARVE. */
static bool dies_while_varve_is_written(uint64_t seed, uint64_t at)
{
    struct world w;
    struct store *s;
    struct collection *c;
    struct err err;
    err_init(&err);
    world_init(&w, seed);
    assert_int_equal(env_mkdirs(w.env, "/new", &err), ST_OK);
    sim_set_faults(w.env, &(struct sim_faults){.fail_after_ops = at, .partial_on_error = true});
    assert_int_not_equal(store_open(w.env, "/new", &w.o, &s, &err), ST_OK);
    sim_set_faults(w.env, &(struct sim_faults){0});
    bool early = !env_exists(w.env, "/new/engine");
    world_abandon(&w);
    sim_crash(w.env, SIM_CRASH_PROCESS_ONLY, 512);
    if (early) {
        open_new(&w, at, "anew", &s);
        assert_int_equal(store_collection_open(s, BYTES_LIT("kept"), BYTES_EMPTY, &c, &err), ST_OK);
        assert_int_equal(store_close(s, &err), ST_OK);
        sim_crash(w.env, SIM_CRASH_POWER, 512);
        open_new(&w, at, "after the power cut", &s);
        assert_int_equal(store_collection_find(s, BYTES_LIT("kept"), &c, &err), ST_OK);
        assert_int_equal(store_close(s, &err), ST_OK);
    }
    world_open(&w);
    world_deinit(&w);
    return early;
}

/* The disk is gone while a folder is made, and the process ends; the next one can read the file VARVE,
 * which is not on the disk. What it acknowledges is not without that file after a power cut. */
static void test_dying_while_a_folder_is_made(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 40)
    {
        uint64_t at = 1;
        while (dies_while_varve_is_written(1000 * seed + at, at))
            at++;
        assert_true(at > 5);
    }
}

static enum status open_deep(struct env *env, struct store **ret, struct err *err)
{
    const struct store_options o = {.engine_name = "mem",
                                    .engine_open = engine_mem_open,
                                    .wal = {.segment_bytes = 64 * 1024},
                                    .no_thread = true};
    return store_open(env, "/deep/db", &o, ret, err);
}

/* A sync of a folder that fails leaves the new names in it to luck, whatever is synced later: what an opening
 * that failed has made goes again. Seed 120006998 of varve-sim: a power cut could have taken the whole folder. */
static void test_failed_syncs_while_a_folder_is_made(void **state)
{
    (void)state;
    uint64_t seed;
    unsigned failed = 0;
    FOR_EACH_SEED(seed, 300)
    {
        struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
        struct store *s = NULL;
        struct collection *c;
        struct err err;
        err_init(&err);
        assert_non_null(env);
        for (int i = 0; i < 4 && !s; i++) {
            sim_set_faults(env, &(struct sim_faults){.sync_eio_ppm = i < 3 ? 200000 : 0});
            failed += open_deep(env, &s, &err) != ST_OK;
        }
        if (!s)
            fail_msg("seed %llu: %s", (unsigned long long)seed, err.detail);
        sim_set_faults(env, &(struct sim_faults){0});
        bool kept = store_collection_open(s, BYTES_LIT("t"), BYTES_EMPTY, &c, &err) == ST_OK;
        sim_crash(env, SIM_CRASH_POWER, 512);
        (void)!store_close(s, &err);
        if (open_deep(env, &s, &err) != ST_OK)
            fail_msg("seed %llu: %s", (unsigned long long)seed, err.detail);
        if (kept)
            assert_int_equal(store_collection_find(s, BYTES_LIT("t"), &c, &err), ST_OK);
        assert_int_equal(store_close(s, &err), ST_OK);
        sim_env_free(env);
    }
    assert_true(failed > 0);
}

/* What is in a file already goes into the engine next: written into another file, unread against its
 * checksums, it would only get new ones. */
static void test_a_spilled_table_whose_drain_failed_is_drained(void **state)
{
    (void)state;
    struct world w;
    struct store_stats stats;
    struct err err;
    err_init(&err);
    world_init(&w, 1);
    assert_true(w.o.spill_always);
    write_n(&w, 20);
    for (int i = 0; i < 2; i++) { /* the second time of what was spilled behind the first */
        sim_set_faults(w.env, &(struct sim_faults){.write_enospc_ppm = 1000000});
        assert_int_equal(store_checkpoint(w.s, &err), ST_DISK_FULL);
        sim_set_faults(w.env, &(struct sim_faults){0});
        (void)store_tick(w.s);
        store_stats(w.s, &stats);
        assert_int_equal(stats.persisted_index == stats.applied_index, i == 1);
        check(&w);
    }
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk_refuses_writes_serves_reads_and_recovers),
        cmocka_unit_test(test_closing_on_a_full_disk_keeps_what_is_in_the_log),
        cmocka_unit_test(test_dying_while_a_folder_is_made),
        cmocka_unit_test(test_failed_syncs_while_a_folder_is_made),
        cmocka_unit_test(test_write_errors_lose_nothing),
        cmocka_unit_test(test_a_spilled_table_whose_drain_failed_is_drained),
        cmocka_unit_test(test_failed_sync_poisons_the_handle_and_reopening_is_right),
        cmocka_unit_test(test_dying_at_every_disk_operation),
        cmocka_unit_test(test_every_allocation_may_fail),
        cmocka_unit_test(test_opening_with_failing_allocations),
        cmocka_unit_test(test_flipped_bits_never_give_a_wrong_answer),
        cmocka_unit_test(test_versions_rise_when_the_clock_jumps_back),
        cmocka_unit_test(test_an_engine_older_than_its_log_is_found),
        cmocka_unit_test(test_missing_format_file_is_not_a_new_folder),
        cmocka_unit_test(test_a_newer_format_is_refused_by_name),
    };
    log_configure(LOG_OFF, LOG_HUMAN); /* it has much to complain about here */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
