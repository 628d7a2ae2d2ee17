/* Random appends, syncs, releases and housekeeping on the simulated disk, cut short by power cuts
 * and kills. */
#include "model_wal.h"
#include "storage/wal/wal_internal.h"
#include "support/cmocka.h"
#include "support/seeds.h"
#include <stdio.h>

static const struct wal_options small = {.segment_bytes = 128 * 1024,
                                         .first_segment_bytes = 64 * 1024};

struct world {
    struct env *env;
    struct model m;
    struct test_rng r;
    struct wal *w;
    bool faulty;
    uint64_t crashes, poisoned, failed_opens, dropped, recycled;
};

static void crash(struct world *t)
{
    sim_crash(t->env, test_rng_chance(&t->r, 2, 3) ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY,
              test_rng_chance(&t->r, 1, 2) ? 512 : 4096);
    t->crashes++;
    (void)wal_close(t->w, NULL); /* only frees: its files are closed */
    t->w = NULL;
}

static void reopen(struct world *t)
{
    struct err err;
    err_init(&err);
    /* Now and then the machine dies while it opens, even more than once. */
    while (t->faulty && test_rng_chance(&t->r, 1, 3)) {
        sim_set_faults(t->env,
                       &(struct sim_faults){.fail_after_ops = test_rng_between(&t->r, 1, 40)});
        model_replay_begin(&t->m);
        enum status st = wal_open(t->env, "/log", &small, model_replay, &t->m, &t->w, &err);
        sim_set_faults(t->env, &(struct sim_faults){0});
        if (st == ST_OK) {
            model_check(&t->m);
        } else {
            if (st != ST_IO_ERROR)
                fail_msg("open: %s: %s", status_name(st), err.detail);
            t->failed_opens++;
        }
        crash(t);
    }
    model_replay_begin(&t->m);
    enum status st = wal_open(t->env, "/log", &small, model_replay, &t->m, &t->w, &err);
    if (st != ST_OK)
        fail_msg("open: %s: %s", status_name(st), err.detail);
    struct wal_stats s;
    wal_stats(t->w, &s);
    t->dropped += s.dropped_tail_bytes != 0;
    t->recycled += s.first.epoch > 1;
    model_check(&t->m);
    /* Often groups go in pieces, and are cut short between them. */
    if (test_rng_chance(&t->r, 1, 2))
        t->w->piece_bytes = test_rng_between(&t->r, 100, 3000);
    for (uint64_t range = 1; range <= MODEL_RANGES; range++) {
        if (t->m.released[range] && test_rng_chance(&t->r, 1, 2))
            wal_release(t->w, range, t->m.released[range]);
    }
}

static void append(struct world *t)
{
    struct wal_record recs[MODEL_GROUP_MAX];
    size_t max = test_rng_chance(&t->r, 1, 50)  ? 200 * 1024
                 : test_rng_chance(&t->r, 1, 6) ? 20000
                                                : 3000;
    size_t n = model_make_group(&t->m, &t->r, max, recs);
    struct wal_pos end;
    bool was_poisoned = wal_poisoned(t->w);
    enum status st = wal_append(t->w, recs, n, &end, NULL);
    if (st == ST_OK) {
        assert_false(was_poisoned);
        model_appended(&t->m, recs, n);
        return;
    }
    assert_true(t->faulty);
    if (was_poisoned)
        assert_int_equal(st, ST_POISONED);
    else if (t->w->erase)
        model_may_return(&t->m, recs, n);
}

static void sync_it(struct world *t)
{
    size_t n = t->m.n;
    bool was_poisoned = wal_poisoned(t->w);
    enum status st = wal_sync(t->w, NULL);
    if (st == ST_OK) {
        assert_false(was_poisoned);
        t->m.durable = n;
        assert_int_equal(wal_pos_cmp(wal_synced(t->w), t->w->end), 0);
    } else {
        assert_true(t->faulty && st == ST_POISONED && wal_poisoned(t->w));
    }
}

static void maintain(struct world *t)
{
    enum status st = wal_maintain(t->w, NULL);
    assert_true(st == ST_OK || t->faulty);
}

static void release(struct world *t)
{
    uint64_t index, range = model_release(&t->m, &t->r, &index);
    if (range)
        wal_release(t->w, range, index);
}

static void live(struct world *t)
{
    uint64_t steps =
        test_rng_chance(&t->r, 1, 3) ? test_rng_below(&t->r, 4) : test_rng_below(&t->r, 60);
    if (t->faulty && test_rng_chance(&t->r, 2, 3)) {
        struct sim_faults f = {.partial_on_error = test_rng_chance(&t->r, 1, 2)};
        uint32_t often = test_rng_chance(&t->r, 1, 4) ? 300000 : 30000;
        unsigned which = (unsigned)test_rng_below(&t->r, 8);
        f.write_eio_ppm = which & 1 ? often : 0;
        f.sync_eio_ppm = which & 2 ? often / 4 : 0;
        f.write_enospc_ppm = which & 4 ? often : 0;
        if (test_rng_chance(&t->r, 1, 5))
            f.fail_after_ops = test_rng_between(&t->r, 1, 100);
        sim_set_faults(t->env, &f);
    }
    while (steps--) {
        switch (test_rng_below(&t->r, 10)) {
        case 0:
        case 1:
            sync_it(t);
            break;
        case 2:
            maintain(t);
            break;
        case 3:
            release(t);
            break;
        default:
            append(t);
            break;
        }
        t->poisoned += wal_poisoned(t->w);
    }
    sim_set_faults(t->env, &(struct sim_faults){0});
}

static void close_it(struct world *t)
{
    enum status st = wal_close(t->w, NULL);
    t->w = NULL;
    if (st == ST_OK)
        model_synced(&t->m);
    else
        assert_true(t->faulty);
    if (test_rng_chance(&t->r, 1, 2))
        sim_crash(t->env, SIM_CRASH_POWER, 512);
}

static void run_seed(uint64_t seed, bool faulty, struct world *sum)
{
    struct world t = {.faulty = faulty, .env = sim_env_new(&(struct sim_options){.seed = seed})};
    model_init(&t.m);
    test_rng_init(&t.r, seed);
    /* The folder's own name is its parent's business: whether its sync can fail is not what is
     * tested here. */
    assert_int_equal(env_mkdirs(t.env, "/log", NULL), ST_OK);
    for (int lives = 0; lives < 8; lives++) {
        reopen(&t);
        live(&t);
        if (test_rng_chance(&t.r, 1, 5))
            close_it(&t);
        else
            crash(&t);
    }
    reopen(&t);
    assert_int_equal(wal_close(t.w, NULL), ST_OK);
    assert_int_equal(wal_verify(t.env, "/log", NULL, NULL, NULL, NULL), ST_OK);
    sum->crashes += t.crashes;
    sum->poisoned += t.poisoned;
    sum->failed_opens += t.failed_opens;
    sum->dropped += t.dropped;
    sum->recycled += t.recycled;
    model_deinit(&t.m);
    sim_env_free(t.env);
}

static void print_sum(const char *what, const struct world *s)
{
    print_message(
        "%s: %llu crashes, %llu openings that died, %llu dropped a tail, %llu began after epoch 1, "
        "%llu calls on a poisoned log\n",
        what, (unsigned long long)s->crashes, (unsigned long long)s->failed_opens,
        (unsigned long long)s->dropped, (unsigned long long)s->recycled,
        (unsigned long long)s->poisoned);
}

static void what_was_synced_survives_every_crash(void **state)
{
    (void)state;
    struct world sum = {0};
    uint64_t seed;
    FOR_EACH_SEED(seed, 300)
    run_seed(seed, false, &sum);
    print_sum("power cuts and kills", &sum);
    assert_true(sum.crashes > 0);
}

static void and_with_failing_writes_and_syncs(void **state)
{
    (void)state;
    struct world sum = {0};
    uint64_t seed;
    FOR_EACH_SEED(seed, 400)
    run_seed(seed + 1000000, true, &sum);
    print_sum("with faults", &sum);
    assert_true(sum.crashes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_survives_every_crash),
        cmocka_unit_test(and_with_failing_writes_and_syncs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
