/* The store on the simulated disk: random writes, checkpoints, crashes and reopenings from seeds, held against a model.
 * By name it looks for: data gone after reopen; a write acknowledged before its sync; a compaction that shifts indexes; a
 * change feed that writes bypass; an index of versions that is empty if it was built after the data. */
#include "sim/env/sim_env.h"
#include "store_model.h"
#include "support/cmocka.h"
#include "support/seeds.h"

struct world {
    struct env *env;
    struct store *s;
    struct model m;
    struct test_rng rng;
    struct store_options o;
};

static void open_store(struct world *w)
{
    struct err err;
    struct collection *c;
    err_init(&err);
    enum status st = store_open(w->env, "/db", &w->o, &w->s, &err);
    if (st != ST_OK)
        fail_msg("open: %s: %s", status_name(st), err.detail);
    st = store_collection_open(w->s, BYTES_LIT("things"), BYTES_EMPTY, &c, &err);
    if (st != ST_OK)
        fail_msg("collection: %s: %s", status_name(st), err.detail);
    w->m.collection = collection_id(c);
}

static void world_init(struct world *w, uint64_t seed)
{
    test_rng_init(&w->rng, seed);
    w->env = sim_env_new(&(struct sim_options){.seed = seed});
    assert_non_null(w->env);
    w->o = (struct store_options){
        .engine_name = "mem",
        .engine_open = engine_mem_open,
        .cache_bytes = test_rng_chance(&w->rng, 1, 2) ? 1 << 20 : 0,
        .table_bytes = test_rng_chance(&w->rng, 1, 3) ? 32 * 1024 : 1 << 20,
        .wal = {.segment_bytes = 128 * 1024, .first_segment_bytes = 64 * 1024},
        .checkpoint_interval_ms = UINT32_MAX,
        .no_thread = true,
    };
    model_init(&w->m);
    open_store(w);
}

static void world_deinit(struct world *w)
{
    struct err err;
    err_init(&err);
    assert_int_equal(store_close(w->s, &err), ST_OK);
    model_deinit(&w->m);
    sim_env_free(w->env);
}

/* A random write; true when it was acknowledged. */
static bool write_some(struct world *w, enum store_sync sync)
{
    static uint8_t values[MODEL_OPS_MAX][1 << 14];
    uint8_t keys[MODEL_OPS_MAX][256];
    struct entry_op ops[MODEL_OPS_MAX];
    struct err err;
    err_init(&err);
    assert_true(w->m.n < MODEL_WRITES_MAX);
    struct model_write *mw = &w->m.writes[w->m.n];
    *mw = (struct model_write){.acknowledged_durable = sync == STORE_SYNC_ALWAYS};
    uint32_t picked = 0;
    size_t want = 1 + test_rng_below(&w->rng, MODEL_OPS_MAX);
    uint64_t now = env_now_ms(w->env);
    for (size_t i = 0; i < want; i++) {
        uint8_t key = (uint8_t)test_rng_below(&w->rng, MODEL_KEYS);
        if (picked & (1u << key))
            continue;
        picked |= 1u << key;
        struct model_op *op = &mw->ops[mw->n];
        *op = (struct model_op){.key = key, .kind = test_rng_chance(&w->rng, 1, 5) ? RECORD_DELETE : RECORD_PUT};
        if (op->kind == RECORD_PUT) {
            op->value_seed = (uint32_t)test_rng_u64(&w->rng);
            op->value_len = (uint32_t)test_rng_below(&w->rng, test_rng_chance(&w->rng, 1, 10) ? 1 << 14 : 64);
            op->expires_ms = test_rng_chance(&w->rng, 1, 8) ? now + 1 + test_rng_below(&w->rng, 50) : 0;
            model_value(op->value_seed, op->value_len, values[mw->n]);
        }
        ops[mw->n] = (struct entry_op){.key = model_key(&w->m, key, keys[mw->n]),
                                       .kind = op->kind,
                                       .expires_ms = op->expires_ms,
                                       .value = BYTES(values[mw->n], op->value_len)};
        mw->n++;
    }
    struct store_write sw = {.sync = sync};
    assert_int_equal(entry_encode(ops, mw->n, BYTES_LIT("tester"), &sw.entry, &err), ST_OK);
    enum status st = store_propose(w->s, &sw, &err);
    blob_unref(sw.entry);
    if (st == ST_OVERLOADED) /* the table is full and nobody drains beside us */
        return false;
    if (st != ST_OK)
        fail_msg("write: %s: %s", status_name(st), err.detail);
    /* entry_encode sorted by key; the model wants the same order */
    for (size_t i = 1; i < mw->n; i++)
        for (size_t j = i; j > 0; j--) {
            uint8_t a[256], b[256];
            if (bytes_cmp(model_key(&w->m, mw->ops[j - 1].key, a), model_key(&w->m, mw->ops[j].key, b)) <= 0)
                break;
            struct model_op t = mw->ops[j];
            mw->ops[j] = mw->ops[j - 1];
            mw->ops[j - 1] = t;
        }
    if (w->m.n)
        assert_true(version_cmp(sw.version, w->m.writes[w->m.n - 1].version) > 0);
    mw->version = sw.version;
    w->m.n++;
    return true;
}

static void durable_so_far(struct world *w)
{
    for (size_t i = 0; i < w->m.n; i++)
        w->m.writes[i].acknowledged_durable = true;
}

static void checkpoint(struct world *w)
{
    struct err err;
    err_init(&err);
    enum status st = store_checkpoint(w->s, &err);
    if (st != ST_OK)
        fail_msg("checkpoint: %s: %s", status_name(st), err.detail);
    durable_so_far(w);
}

/* The machine dies and comes back: what was promised is there, the rest went from the end. */
static void crash(struct world *w, enum sim_crash how)
{
    struct err ignored;
    err_init(&ignored);
    /* The dead process does no more I/O; closing only gives its memory back. */
    sim_set_faults(w->env, &(struct sim_faults){.fail_after_ops = 1});
    (void)!store_close(w->s, &ignored);
    sim_set_faults(w->env, &(struct sim_faults){0});
    sim_crash(w->env, how, test_rng_chance(&w->rng, 1, 2) ? 512 : 4096);
    open_store(w);
    size_t left = model_surviving(&w->m, w->s);
    for (size_t i = left; i < w->m.n; i++)
        if (how == SIM_CRASH_PROCESS_ONLY || w->m.writes[i].acknowledged_durable)
            fail_msg("write %zu of %zu was acknowledged and is gone", i, w->m.n);
    w->m.n = left;
    durable_so_far(w); /* opening synced what it found */
}

static void step(struct world *w)
{
    enum store_sync modes[] = {STORE_SYNC_ALWAYS, STORE_SYNC_OFF, STORE_SYNC_INTERVAL};
    unsigned what = (unsigned)test_rng_below(&w->rng, 100);
    if (what < 70) {
        enum store_sync sync = modes[test_rng_below(&w->rng, 3)];
        if (!write_some(w, sync))
            checkpoint(w);
        else if (sync == STORE_SYNC_ALWAYS)
            durable_so_far(w);
    } else if (what < 78) {
        checkpoint(w);
    } else if (what < 84) {
        (void)store_tick(w->s);
    } else if (what < 88) {
        sim_advance_ms(w->env, test_rng_below(&w->rng, 100));
    } else if (what < 90) {
        sim_set_wall_ms(w->env, env_now_ms(w->env) - test_rng_below(&w->rng, 3600000)); /* the clock jumps back */
    } else if (what < 94) {
        model_check(&w->m, w->s, w->env, &w->rng);
    } else {
        crash(w, test_rng_chance(&w->rng, 3, 4) ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
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
        crash(&w, SIM_CRASH_POWER);
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
        crash(&w, SIM_CRASH_PROCESS_ONLY);
        for (size_t i = 0; i < 100; i++)
            (void)!write_some(&w, STORE_SYNC_ALWAYS);
        struct store_stats before, after;
        store_stats(w.s, &before);
        assert_int_equal(before.persisted_index, 0); /* the engine never saw any of it */
        crash(&w, SIM_CRASH_PROCESS_ONLY);
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
            (void)!write_some(&w, STORE_SYNC_ALWAYS);
        checkpoint(&w);
        struct store_stats st;
        store_stats(w.s, &st);
        assert_true(st.applied_index > index);
        assert_int_equal(st.persisted_index, st.applied_index);
        index = st.applied_index;
        assert_true(st.wal.segments <= 8);
        crash(&w, SIM_CRASH_POWER);
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
