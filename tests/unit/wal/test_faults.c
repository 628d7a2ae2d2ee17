/* Every disk operation and every allocation fails in turn; full disks; failing syncs. */
#include "base/alloc.h"
#include "model_wal.h"
#include "storage/wal/wal_internal.h"
#include "support/cmocka.h"
#include <stdio.h>

static const struct wal_options small = {.segment_bytes = 64 * 1024,
                                         .first_segment_bytes = 64 * 1024};

static struct wal *open_ok(struct env *env, const struct wal_options *o, struct model *m)
{
    struct wal *w = NULL;
    struct err err;
    err_init(&err);
    model_replay_begin(m);
    enum status st = wal_open(env, "/log", o, model_replay, m, &w, &err);
    if (st != ST_OK)
        fail_msg("open: %s: %s", status_name(st), err.detail);
    model_check(m);
    return w;
}

static bool try_append(struct wal *w, struct model *m, struct test_rng *r)
{
    struct wal_record recs[MODEL_GROUP_MAX];
    size_t n = model_make_group(m, r, 9000, recs);
    enum status st = wal_append(w, recs, n, NULL, NULL);
    if (st == ST_OK)
        model_appended(m, recs, n);
    else if (w->erase)
        model_may_return(m, recs, n);
    return st == ST_OK;
}

/* A life that rolls, releases, recycles and syncs. Stops at the first failure. */
static bool script(struct wal *w, struct model *m, struct test_rng *r)
{
    for (int i = 0; i < 80; i++) {
        w->piece_bytes = i % 4 ? WAL__PIECE : 2000; /* in pieces now and then */
        if (!try_append(w, m, r))
            return false;
        if (i % 4 == 3) {
            size_t n = m->n;
            if (wal_sync(w, NULL) != ST_OK)
                return false;
            m->durable = n;
            uint64_t index, range = model_release(m, r, &index);
            if (range)
                wal_release(w, range, index);
        }
        if (i % 9 == 8 && wal_maintain(w, NULL) != ST_OK)
            return false;
    }
    return true;
}

static void every_disk_operation_fails_in_turn(void **state)
{
    (void)state;
    bool done = false;
    uint64_t at = 1;
    for (; !done && at < 3000; at++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = at});
        struct model m;
        struct test_rng r;
        struct wal *w = NULL;
        model_init(&m);
        test_rng_init(&r, 77);
        assert_int_equal(env_mkdirs(env, "/log", NULL), ST_OK);
        sim_set_faults(env, &(struct sim_faults){.fail_after_ops = at, .partial_on_error = at % 2});
        model_replay_begin(&m);
        enum status st = wal_open(env, "/log", &small, model_replay, &m, &w, NULL);
        if (st == ST_OK) {
            done = script(w, &m, &r);
            enum status closed = wal_close(w, NULL);
            if (closed == ST_OK)
                model_synced(&m);
            done = done && closed == ST_OK;
        } else {
            assert_int_equal(st, ST_IO_ERROR);
            assert_null(w);
        }
        sim_set_faults(env, &(struct sim_faults){0});
        sim_crash(env, at % 3 ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY, at % 5 ? 512 : 4096);
        w = open_ok(env, &small, &m);
        assert_int_equal(wal_close(w, NULL), ST_OK);
        model_deinit(&m);
        sim_env_free(env);
    }
    assert_true(done && at > 60);
    print_message("%llu disk operations failed in turn\n", (unsigned long long)at - 1);
}

static void every_allocation_fails_in_turn(void **state)
{
    (void)state;
    bool done = false;
    uint64_t at = 1;
    for (; !done && at < 5000; at++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = at});
        struct model m;
        struct test_rng r;
        struct wal *w = NULL;
        model_init(&m);
        test_rng_init(&r, 78);
        assert_int_equal(env_mkdirs(env, "/log", NULL), ST_OK);
        /* A log to recover first, so that replay's allocations fail too. */
        w = open_ok(env, &small, &m);
        assert_true(script(w, &m, &r));
        (void)mem_fail_hits();
        mem_fail_at(at, 0);
        enum status st = wal_close(w, NULL);
        assert_true(st == ST_OK || st == ST_NO_MEMORY);
        model_synced(&m); /* closing syncs before it allocates anything */
        model_replay_begin(&m);
        w = NULL;
        st = wal_open(env, "/log", &small, model_replay, &m, &w, NULL);
        if (st == ST_OK) {
            model_check(&m);
            bool went = script(w, &m, &r);
            st = wal_close(w, NULL);
            assert_true(st == ST_OK || st == ST_NO_MEMORY);
            model_synced(&m);
            done = went && mem_fail_hits() == 0;
        } else {
            assert_int_equal(st, ST_NO_MEMORY);
            assert_null(w);
        }
        mem_fail_at(0, 0);
        w = open_ok(env, &small, &m);
        assert_true(try_append(w, &m, &r));
        assert_int_equal(wal_close(w, NULL), ST_OK);
        struct err err;
        err_init(&err);
        mem_fail_at(at % 5 + 1, 1);
        st = wal_verify(env, "/log", NULL, NULL, NULL, &err);
        assert_true(st == ST_OK || st == ST_NO_MEMORY);
        mem_fail_at(0, 0);
        assert_int_equal(wal_verify(env, "/log", NULL, NULL, NULL, &err), ST_OK);
        model_deinit(&m);
        sim_env_free(env);
    }
    assert_true(done && at > 20);
    print_message("%llu allocations failed in turn\n", (unsigned long long)at - 1);
}

static void a_full_disk_refuses_and_recovers(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 9, .disk_bytes = 600 * 1024});
    struct model m;
    struct test_rng r;
    struct err err;
    err_init(&err);
    model_init(&m);
    test_rng_init(&r, 5);
    struct wal *w = open_ok(env, &small, &m);
    struct wal_record rec = {.range = 1, .kind = WAL_ENTRY};
    enum status st;
    for (;;) {
        rec.term = m.serial++;
        rec.index = m.next_index[1];
        rec.payload = model_payload(rec.term, 3000);
        st = wal_append(w, &rec, 1, NULL, &err);
        if (st != ST_OK)
            break;
        model_appended(&m, &rec, 1);
    }
    assert_int_equal(st, ST_DISK_FULL);
    assert_int_equal(wal_append(w, &rec, 1, NULL, &err), ST_DISK_FULL);
    assert_int_equal(wal_sync(w, NULL), ST_OK); /* what was accepted can still be made durable */
    model_synced(&m);
    assert_false(wal_poisoned(w));
    /* Releases can be written on a full disk, and they make room. */
    m.released[1] = m.next_index[1] - 10;
    wal_release(w, 1, m.released[1]);
    st = wal_maintain(w, &err);
    assert_true(st == ST_OK || st == ST_DISK_FULL);
    struct wal_stats s;
    wal_stats(w, &s);
    assert_true(s.first.epoch > 4);
    assert_int_equal(wal_append(w, &rec, 1, NULL, NULL), ST_OK);
    model_appended(&m, &rec, 1);
    /* Full again; this time somebody else gives space back. */
    for (;;) {
        rec.term = m.serial++;
        rec.index = m.next_index[1];
        rec.payload = model_payload(rec.term, 3000);
        st = wal_append(w, &rec, 1, NULL, &err);
        if (st != ST_OK)
            break;
        model_appended(&m, &rec, 1);
    }
    assert_int_equal(st, ST_DISK_FULL);
    sim_set_disk_bytes(env, 2 * 1024 * 1024);
    assert_int_equal(wal_append(w, &rec, 1, NULL, NULL), ST_OK);
    model_appended(&m, &rec, 1);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    model_synced(&m);
    w = open_ok(env, &small, &m);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    model_deinit(&m);
    sim_env_free(env);
}

static void a_failed_write_leaves_nothing_of_itself(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
        struct model m;
        struct test_rng r;
        model_init(&m);
        test_rng_init(&r, seed);
        struct wal *w = open_ok(env, &small, &m);
        for (int i = 0; i < 40; i++) {
            sim_set_faults(env,
                           &(struct sim_faults){.write_eio_ppm = 300000, .partial_on_error = true});
            w->piece_bytes = seed % 3 ? WAL__PIECE : 1000;
            bool ok = try_append(w, &m, &r);
            sim_set_faults(env, &(struct sim_faults){0});
            if (ok || wal_poisoned(w))
                continue;
            /* The disk is well again: the next append erases what the failed one left, then it may
             * crash. */
            assert_true(try_append(w, &m, &r));
            assert_false(w->erase);
        }
        sim_crash(env, seed % 2 ? SIM_CRASH_PROCESS_ONLY : SIM_CRASH_POWER, 512);
        (void)wal_close(w, NULL);
        w = open_ok(env, &small, &m);
        assert_int_equal(wal_close(w, NULL), ST_OK);
        model_deinit(&m);
        sim_env_free(env);
    }
}

static void a_failed_sync_poisons_for_good(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 10});
    struct model m;
    struct test_rng r;
    struct err err;
    err_init(&err);
    model_init(&m);
    test_rng_init(&r, 5);
    struct wal *w = open_ok(env, &small, &m);
    assert_true(try_append(w, &m, &r));
    assert_int_equal(wal_sync(w, NULL), ST_OK);
    model_synced(&m);
    assert_true(try_append(w, &m, &r));
    sim_set_faults(env, &(struct sim_faults){.sync_eio_ppm = 1000000});
    assert_int_equal(wal_sync(w, &err), ST_POISONED);
    assert_non_null(strstr(err.detail, "simulated")); /* names the cause */
    sim_set_faults(env, &(struct sim_faults){0});
    uint64_t ops = sim_ops(env);
    struct wal_record rec = {.range = 1, .index = 1, .kind = WAL_ENTRY, .payload = BYTES_EMPTY};
    assert_int_equal(wal_append(w, &rec, 1, NULL, NULL), ST_POISONED);
    assert_int_equal(wal_sync(w, NULL), ST_POISONED);
    assert_int_equal(wal_maintain(w, NULL), ST_POISONED);
    assert_true(wal_poisoned(w));
    assert_int_equal(sim_ops(env), ops); /* nothing is tried again */
    assert_int_equal(wal_close(w, NULL), ST_POISONED);
    /* A new process on the same machine sees the pages as if they were fine; what it replays it
     * must write anew, or the next power cut takes it back. */
    sim_crash(env, SIM_CRASH_PROCESS_ONLY, 512);
    w = open_ok(env, &small, &m);
    sim_crash(env, SIM_CRASH_POWER, 512);
    (void)wal_close(w, NULL);
    w = open_ok(env, &small, &m);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    model_deinit(&m);
    sim_env_free(env);
}

static void too_many_open_files_is_an_answer(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 11, .max_open_files = 3});
    struct model m;
    struct test_rng r;
    model_init(&m);
    test_rng_init(&r, 5);
    struct wal *w = open_ok(env, &small, &m);
    struct wal_record rec = {.range = 1, .kind = WAL_ENTRY};
    enum status st;
    do {
        rec.term = m.serial++;
        rec.index = m.next_index[1];
        rec.payload = model_payload(rec.term, 9000);
        st = wal_append(w, &rec, 1, NULL, NULL);
        if (st == ST_OK)
            model_appended(&m, &rec, 1);
    } while (st == ST_OK);
    assert_int_equal(st, ST_TOO_MANY_FILES);
    assert_int_equal(wal_sync(w, NULL), ST_OK);
    model_synced(&m);
    m.released[1] = m.next_index[1] - 1;
    wal_release(w, 1, m.released[1]);
    assert_int_equal(wal_maintain(w, NULL), ST_OK);
    assert_int_equal(wal_append(w, &rec, 1, NULL, NULL), ST_OK);
    model_appended(&m, &rec, 1);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    model_synced(&m);
    w = open_ok(env, &small, &m);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    model_deinit(&m);
    sim_env_free(env);
}

/* What was appended is made durable, though a failed group behind it cannot be erased; of which closing
 * tells, for it may come back. */
static void closing_syncs_on_a_disk_that_takes_nothing(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 5});
    struct model m;
    struct test_rng r;
    model_init(&m);
    test_rng_init(&r, 79);
    struct wal *w = open_ok(env, &small, &m);
    assert_true(try_append(w, &m, &r));
    sim_set_faults(env, &(struct sim_faults){.write_enospc_ppm = 1000000});
    assert_false(try_append(w, &m, &r));
    assert_true(w->erase);
    enum status st = wal_close(w, NULL);
    sim_set_faults(env, &(struct sim_faults){0});
    sim_crash(env, SIM_CRASH_POWER, 512);
    model_synced(&m);
    w = open_ok(env, &small, &m);
    assert_int_equal(st, ST_DISK_FULL);
    assert_int_equal(wal_close(w, NULL), ST_OK);
    model_deinit(&m);
    sim_env_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_disk_operation_fails_in_turn),
        cmocka_unit_test(every_allocation_fails_in_turn),
        cmocka_unit_test(a_full_disk_refuses_and_recovers),
        cmocka_unit_test(a_failed_write_leaves_nothing_of_itself),
        cmocka_unit_test(a_failed_sync_poisons_for_good),
        cmocka_unit_test(too_many_open_files_is_an_answer),
        cmocka_unit_test(closing_syncs_on_a_disk_that_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
