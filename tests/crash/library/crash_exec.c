/* crash_exec.c - see crash_exec.h. */
#include "crash/library/crash_exec.h"

#include "support/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct doing {
    varve *db;
    struct model *m;
    const struct step *s;
    uint64_t number;
    unsigned char *value;
    varve_version version;
    bool durable; /* what was written before is, whatever its mode */
};

varve_options exec_options(uint64_t seed)
{
    struct test_rng r;
    test_rng_init(&r, seed ^ 0x5eed);
    return (varve_options){
        .size = sizeof(varve_options),
        .sync_interval_ms = 20,
        .cache_bytes = test_rng_chance(&r, 1, 3) ? SIZE_MAX : 1 << 20,
        .block_cache_bytes = 1 << 20,
        .table_bytes = (size_t)64 << (10 + test_rng_below(&r, 3)),
        .segment_bytes = (size_t)64 << (10 + test_rng_below(&r, 4)),
        .log_bytes = (uint64_t)256 << (10 + test_rng_below(&r, 4)),
        .checkpoint_interval_ms = test_rng_chance(&r, 1, 2) ? 30 : UINT32_MAX,
    };
}

static varve_status wrong(const struct doing *d, const char *what)
{
    fprintf(stderr, "stream %u step %" PRIu64 ": %s: %s\n", d->m->stream, d->number, what,
            varve_last_error());
    return VARVE_INTERNAL;
}

static varve_write_options write_options(const struct doing *d, const char *writer)
{
    return (varve_write_options){
        .size = sizeof(varve_write_options), .sync = (varve_sync)d->s->sync, .writer = writer};
}

static varve_status do_single(struct doing *d)
{
    const struct step_op *op = &d->s->ops[0];
    char name[MODEL_NAME_MAX], writer[MODEL_NAME_MAX];
    unsigned char key[MODEL_KEY_MAX];
    size_t key_len = step_key(op, key);
    bool alive = model_alive(model_cell(d->m, op));
    step_collection(d->m->stream, op, name);
    step_writer(d->m->stream, d->number, writer);
    varve_write_options o = write_options(d, writer);
    o.ttl_ms = op->ttl_ms;
    size_t len = step_value(op, d->value);
    varve_type type = op->is_json ? VARVE_JSON : VARVE_RAW;
    if (d->s->kind == STEP_PUT)
        return varve_put(d->db, name, key, key_len, type, d->value, len, &o, &d->version);
    if (d->s->kind == STEP_DELETE) {
        varve_status st = varve_delete(d->db, name, key, key_len, &o, &d->version);
        if (st == VARVE_NOT_FOUND && !alive)
            return VARVE_OK;
        return st == VARVE_OK && !alive ? wrong(d, "deleted what was absent") : st;
    }

    varve_version expected = {0, 0}, found = {0, 0};
    varve_value *v = varve_value_new();
    if (!v)
        return VARVE_NO_MEMORY;
    varve_status st = varve_get(d->db, name, key, key_len, NULL, v);
    if (st == VARVE_OK)
        found = expected = varve_value_version(v);
    varve_value_free(v);
    if (st == VARVE_OK ? !alive : st == VARVE_NOT_FOUND && alive)
        return wrong(d, "present and absent changed places");
    if (st != VARVE_OK && st != VARVE_NOT_FOUND)
        return st;
    if (d->s->wrong)
        expected = (varve_version){1, 0};
    st = varve_compare_and_set(d->db, name, key, key_len, expected, type, d->value, len, &o,
                               &d->version);
    if (!d->s->wrong)
        return st;
    if (st == VARVE_OK)
        return wrong(d, "a wrong expectation was taken");
    if (st != VARVE_PRECONDITION_FAILED)
        return st;
    if (varve_version_compare(d->version, found) != 0)
        return wrong(d, "a refused expectation names another version than a read");
    d->version = (varve_version){0, 0};
    return VARVE_OK;
}

static varve_status fill_batch(struct doing *d, varve_batch *b, size_t *ret_conditions)
{
    varve_status st = VARVE_OK;
    char name[MODEL_NAME_MAX];
    unsigned char key[MODEL_KEY_MAX];
    const struct step_op *op = NULL;
    size_t key_len = 0;
    for (size_t i = 0; st == VARVE_OK && i < d->s->n; i++) {
        op = &d->s->ops[i];
        key_len = step_key(op, key);
        step_collection(d->m->stream, op, name);
        size_t len = step_value(op, d->value);
        if (op->is_delete)
            st = varve_batch_delete(b, name, key, key_len);
        else
            st = varve_batch_put(b, name, key, key_len, op->is_json ? VARVE_JSON : VARVE_RAW,
                                 d->value, len, op->ttl_ms);
    }
    *ret_conditions = 0;
    if (st == VARVE_OK && op && op->place != PLACE_TTL) {
        bool alive = model_alive(model_cell(d->m, op));
        st = varve_batch_require(b, name, key, key_len,
                                 alive ? VARVE_REQUIRE_PRESENT : VARVE_REQUIRE_ABSENT,
                                 (varve_version){0, 0});
        *ret_conditions = 1;
    }
    if (st == VARVE_OK && op && d->s->wrong)
        st = varve_batch_require(b, name, key, key_len, VARVE_REQUIRE_VERSION,
                                 (varve_version){1, 0});
    return st;
}

static varve_status do_batch(struct doing *d)
{
    char writer[MODEL_NAME_MAX];
    size_t conditions = 0, failed = SIZE_MAX;
    varve_batch *b = varve_batch_new();
    if (!b)
        return VARVE_NO_MEMORY;
    step_writer(d->m->stream, d->number, writer);
    varve_write_options o = write_options(d, writer);
    varve_status st = fill_batch(d, b, &conditions);
    if (st == VARVE_OK)
        st = varve_commit(d->db, b, &o, &d->version, &failed);
    varve_batch_free(b);
    if (!d->s->wrong)
        return st == VARVE_PRECONDITION_FAILED ? wrong(d, "a condition that holds failed") : st;
    if (st == VARVE_OK)
        return wrong(d, "a batch was written against its condition");
    if (st != VARVE_PRECONDITION_FAILED)
        return st;
    return failed == conditions ? VARVE_OK : wrong(d, "another condition failed");
}

static varve_status do_retention(struct doing *d)
{
    char name[MODEL_NAME_MAX];
    struct step_op op = {.place = PLACE_COUNT};
    varve_retention count = {.max_count = MODEL_COUNT_KEPT},
                    age = {.max_age_ms = MODEL_AGE_KEPT_MS};
    if (!model_may_settle(d->m))
        return VARVE_OK;
    step_collection(d->m->stream, &op, name);
    varve_status st = varve_retention_set(d->db, name, &count);
    op.place = PLACE_AGE;
    step_collection(d->m->stream, &op, name);
    if (st == VARVE_OK)
        st = varve_retention_set(d->db, name, &age);
    d->durable = true;
    return st;
}

static varve_status do_snapshot(struct doing *d)
{
    char name[MODEL_NAME_MAX];
    varve_version v;
    const struct model_snapshot *oldest = model_oldest_snapshot(d->m);
    d->durable = true;
    if (d->s->kind == STEP_SNAPSHOT) {
        step_snapshot(d->m->stream, d->number, name);
        return varve_snapshot_create(d->db, name, NULL, &v);
    }
    if (!oldest) {
        d->durable = false;
        return VARVE_OK;
    }
    step_snapshot(d->m->stream, oldest->step, name);
    return varve_snapshot_delete(d->db, name);
}

/* Where retention has taken versions, no feed begins at the beginning any more, not even that of
 * another collection; so with every other seed only expiry is vacuumed, and feeds stay whole. */
static varve_status do_vacuum(struct doing *d)
{
    char name[MODEL_NAME_MAX];
    struct step_op op = {.place = PLACE_TTL};
    step_collection(d->m->stream, &op, name);
    if (d->m->seed % 2 == 0)
        return varve_vacuum(d->db, NULL, NULL, NULL, NULL);
    varve_status st = varve_vacuum(d->db, name, NULL, NULL, NULL);
    return st == VARVE_NOT_FOUND ? VARVE_OK : st; /* nothing was ever written to it */
}

static varve_status dispatch(struct doing *d)
{
    switch (d->s->kind) {
    case STEP_PUT:
    case STEP_DELETE:
    case STEP_COMPARE_AND_SET:
        return do_single(d);
    case STEP_BATCH:
        return do_batch(d);
    case STEP_RETENTION:
        return do_retention(d);
    case STEP_SNAPSHOT:
    case STEP_UNSNAPSHOT:
        return do_snapshot(d);
    case STEP_CHECKPOINT:
        d->durable = true;
        return varve_checkpoint(d->db);
    case STEP_COMPACT:
        d->durable = true;
        return varve_compact(d->db);
    case STEP_SYNC:
        d->durable = true;
        return varve_sync_now(d->db);
    case STEP_VACUUM:
        return do_vacuum(d);
    }
    return VARVE_INTERNAL;
}

varve_status exec_step(varve *db, struct model *m, uint64_t number, exec_note note)
{
    struct step s;
    char line[96];
    step_make(m->seed, m->stream, number, &s);
    struct doing d = {
        .db = db, .m = m, .s = &s, .number = number, .value = malloc(MODEL_VALUE_MAX)};
    if (!d.value)
        return VARVE_NO_MEMORY;
    snprintf(line, sizeof(line), "b %u %" PRIu64, m->stream, number);
    note(line);
    varve_status st = dispatch(&d);
    free(d.value);
    if (st != VARVE_OK)
        return st;
    bool writes = model_writes(m, &s);
    bool durable = d.durable || (writes && s.sync == VARVE_SYNC_ALWAYS);
    snprintf(line, sizeof(line), "a %u %" PRIu64 " %" PRIu64 " %d", m->stream, number,
             writes ? d.version.hlc : 0, durable);
    note(line);
    model_apply(m, &s, number);
    return VARVE_OK;
}
