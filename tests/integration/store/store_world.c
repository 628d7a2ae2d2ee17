#include "store_world.h"

#include "support/cmocka.h"

void world_open(struct world *w)
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

void world_init(struct world *w, uint64_t seed)
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
        .absent_misses = 1 + (uint32_t)test_rng_below(&w->rng, 20),
        .absent_slice = 1 + (uint32_t)test_rng_below(&w->rng, 8),
        .spill_always = seed % 3 == 1,
        .no_thread = true,
    };
    model_init(&w->m);
    world_open(w);
}

void world_deinit(struct world *w)
{
    struct err err;
    err_init(&err);
    assert_int_equal(store_close(w->s, &err), ST_OK);
    model_deinit(&w->m);
    sim_env_free(w->env);
}

enum status world_try_write(struct world *w, enum store_sync sync, struct err *err)
{
    static uint8_t values[MODEL_OPS_MAX][1 << 14];
    uint8_t keys[MODEL_OPS_MAX][256];
    struct entry_op ops[MODEL_OPS_MAX];
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
        *op = (struct model_op){
            .key = key, .kind = test_rng_chance(&w->rng, 1, 5) ? RECORD_DELETE : RECORD_PUT};
        if (op->kind == RECORD_PUT) {
            op->value_seed = (uint32_t)test_rng_u64(&w->rng);
            op->value_len =
                (uint32_t)test_rng_below(&w->rng, test_rng_chance(&w->rng, 1, 10) ? 1 << 14 : 64);
            op->expires_ms =
                test_rng_chance(&w->rng, 1, 8) ? now + 1 + test_rng_below(&w->rng, 50) : 0;
            model_value(op->value_seed, op->value_len, values[mw->n]);
        }
        ops[mw->n] = (struct entry_op){.key = model_key(&w->m, key, keys[mw->n]),
                                       .kind = op->kind,
                                       .expires_ms = op->expires_ms,
                                       .value = BYTES(values[mw->n], op->value_len)};
        mw->n++;
    }
    struct store_write sw = {.sync = sync};
    enum status st = entry_encode(ops, mw->n, BYTES_LIT("tester"), &sw.entry, err);
    if (st == ST_OK)
        st = store_propose(w->s, &sw, err);
    blob_unref(sw.entry);
    if (st != ST_OK)
        return st;
    /* entry_encode sorted by key; the model wants the same order */
    for (size_t i = 1; i < mw->n; i++)
        for (size_t j = i; j > 0; j--) {
            uint8_t a[256], b[256];
            if (bytes_cmp(model_key(&w->m, mw->ops[j - 1].key, a),
                          model_key(&w->m, mw->ops[j].key, b)) <= 0)
                break;
            struct model_op t = mw->ops[j];
            mw->ops[j] = mw->ops[j - 1];
            mw->ops[j - 1] = t;
        }
    if (w->m.n)
        assert_true(version_cmp(sw.version, w->m.writes[w->m.n - 1].version) > 0);
    mw->version = sw.version;
    w->m.n++;
    return ST_OK;
}

bool world_write(struct world *w, enum store_sync sync)
{
    struct err err;
    err_init(&err);
    enum status st = world_try_write(w, sync, &err);
    if (st != ST_OK && st != ST_OVERLOADED)
        fail_msg("write: %s: %s", status_name(st), err.detail);
    return st == ST_OK;
}

void world_durable_so_far(struct world *w)
{
    for (size_t i = 0; i < w->m.n; i++)
        w->m.writes[i].acknowledged_durable = true;
}

void world_checkpoint(struct world *w)
{
    struct err err;
    err_init(&err);
    enum status st = store_checkpoint(w->s, &err);
    if (st != ST_OK)
        fail_msg("checkpoint: %s: %s", status_name(st), err.detail);
    world_durable_so_far(w);
}

void world_abandon(struct world *w)
{
    struct err ignored;
    err_init(&ignored);
    sim_set_faults(w->env, &(struct sim_faults){.fail_after_ops = 1});
    (void)!store_close(w->s, &ignored);
    sim_set_faults(w->env, &(struct sim_faults){0});
    w->s = NULL;
}

void world_crash(struct world *w, enum sim_crash how)
{
    world_abandon(w);
    sim_crash(w->env, how, test_rng_chance(&w->rng, 1, 2) ? 512 : 4096);
    world_open(w);
    size_t left = model_surviving(&w->m, w->s);
    for (size_t i = left; i < w->m.n; i++)
        if (how == SIM_CRASH_PROCESS_ONLY || w->m.writes[i].acknowledged_durable)
            fail_msg("write %zu of %zu was acknowledged and is gone", i, w->m.n);
    w->m.n = left;
    world_durable_so_far(w); /* opening synced what it found */
}
