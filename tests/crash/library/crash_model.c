/* crash_model.c - see crash_model.h. */
#include "crash/library/crash_model.h"

#include "support/rng.h"
#include "varve/varve.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *grow(void *v, size_t count, size_t *room, size_t each)
{
    if (count < *room)
        return v;
    *room = *room ? *room * 2 : 8;
    v = realloc(v, *room * each);
    if (!v)
        abort();
    return v;
}

/* ---- steps ---- */

static void any_op(struct test_rng *r, uint64_t number, struct step_op *op)
{
    *op = (struct step_op){.place = (enum model_place)test_rng_below(r, PLACES),
                           .block = (uint32_t)(number / MODEL_BLOCK),
                           .key = (uint32_t)test_rng_below(r, MODEL_KEYS),
                           .is_json = test_rng_chance(r, 1, 6),
                           .value_seed = test_rng_u64(r)};
    uint64_t size = test_rng_below(r, 200);
    op->value_len = size < 3    ? (uint32_t)test_rng_between(r, 20000, MODEL_VALUE_MAX)
                    : size < 15 ? (uint32_t)test_rng_between(r, 3000, 20000)
                                : (uint32_t)test_rng_below(r, 700);
    if (op->place == PLACE_TTL && test_rng_chance(r, 2, 3))
        op->ttl_ms = test_rng_chance(r, 1, 2) ? 1 : 3600 * 1000;
}

static bool same_cell(const struct step_op *a, const struct step_op *b)
{
    return a->place == b->place && a->key == b->key &&
           (a->place != PLACE_NEW || a->block == b->block);
}

static void make_batch(struct test_rng *r, uint64_t number, struct step *s)
{
    size_t want = (size_t)test_rng_between(r, 2, MODEL_OPS_MAX);
    s->kind = STEP_BATCH;
    s->wrong = test_rng_chance(r, 1, 12);
    for (s->n = 0; s->n < want;) {
        struct step_op *op = &s->ops[s->n];
        bool twice = false;
        any_op(r, number, op);
        op->is_delete = test_rng_chance(r, 1, 6);
        for (size_t i = 0; i < s->n; i++)
            twice = twice || same_cell(&s->ops[i], op);
        s->n += twice ? 0 : 1;
    }
}

static void make_single(struct test_rng *r, uint64_t number, struct step *s)
{
    static const enum step_kind kinds[] = {STEP_PUT, STEP_PUT, STEP_PUT, STEP_DELETE,
                                           STEP_COMPARE_AND_SET};
    s->kind = kinds[test_rng_below(r, 5)];
    s->wrong = s->kind == STEP_COMPARE_AND_SET && test_rng_chance(r, 1, 4);
    s->n = 1;
    any_op(r, number, &s->ops[0]);
    /* What has expired is absent, and when it does is not ours to say. */
    if (s->kind != STEP_PUT && s->ops[0].place == PLACE_TTL) {
        s->ops[0].place = PLACE_FULL;
        s->ops[0].ttl_ms = 0;
    }
    s->ops[0].is_delete = s->kind == STEP_DELETE;
}

void step_make(uint64_t seed, unsigned stream, uint64_t number, struct step *ret)
{
    struct test_rng r;
    test_rng_init(&r, seed * 0x9e3779b97f4a7c15u + stream * 0xbf58476d1ce4e5b9u + number);
    *ret = (struct step){.sync = VARVE_SYNC_ALWAYS};
    if (number < MODEL_SETTLED - 1) { /* retention wants its collections there */
        ret->kind = STEP_PUT;
        ret->n = 1;
        any_op(&r, number, &ret->ops[0]);
        ret->ops[0].place = number == 0 ? PLACE_COUNT : PLACE_AGE;
        ret->ops[0].ttl_ms = 0;
        return;
    }
    if (number == MODEL_SETTLED - 1) {
        ret->kind = STEP_RETENTION;
        return;
    }
    uint64_t what = test_rng_below(&r, 1000), sync = test_rng_below(&r, 10);
    ret->sync = sync < 7 ? VARVE_SYNC_ALWAYS : sync < 9 ? VARVE_SYNC_OFF : VARVE_SYNC_INTERVAL;
    if (what < 620)
        make_single(&r, number, ret);
    else if (what < 920)
        make_batch(&r, number, ret);
    else if (what < 935)
        ret->kind = STEP_SNAPSHOT;
    else if (what < 950)
        ret->kind = STEP_UNSNAPSHOT;
    else if (what < 970)
        ret->kind = STEP_CHECKPOINT;
    else if (what < 985)
        ret->kind = STEP_VACUUM;
    else if (what < 990)
        ret->kind = STEP_COMPACT;
    else
        ret->kind = STEP_SYNC;
}

void step_collection(unsigned stream, const struct step_op *op, char out[MODEL_NAME_MAX])
{
    static const char *const names[PLACES] = {"full", "count", "age", "ttl", "new"};
    if (op->place == PLACE_NEW)
        snprintf(out, MODEL_NAME_MAX, "new-%u-%" PRIu32, stream, op->block);
    else
        snprintf(out, MODEL_NAME_MAX, "%s-%u", names[op->place], stream);
}

size_t step_key(const struct step_op *op, unsigned char out[MODEL_KEY_MAX])
{
    /* Some are a prefix of another; zero bytes and 0xff stand where an encoding could trip. */
    size_t len = 1 + (size_t)(op->key % 3) * 2 + (op->key == 7 ? 250u : 0);
    memset(out, op->key % 2 ? 0xff : 0, len);
    out[0] = (unsigned char)(op->key / 3 * 29);
    if (len > 1)
        out[1] = (unsigned char)(op->key % 3 * 100);
    return len;
}

void step_snapshot(unsigned stream, uint64_t number, char out[MODEL_NAME_MAX])
{
    snprintf(out, MODEL_NAME_MAX, "snap-%u-%" PRIu64, stream, number);
}

void step_writer(unsigned stream, uint64_t number, char out[MODEL_NAME_MAX])
{
    snprintf(out, MODEL_NAME_MAX, "s%u.%" PRIu64, stream, number);
}

size_t step_value(const struct step_op *op, unsigned char *out)
{
    struct test_rng r;
    if (op->is_json)
        return (size_t)snprintf((char *)out, MODEL_VALUE_MAX,
                                "{\"seed\":\"%" PRIx64 "\",\"n\":%" PRIu32
                                ",\"list\":[1,{\"a\":%d}]}",
                                op->value_seed, op->value_len, (int)(op->value_seed % 1000));
    test_rng_init(&r, op->value_seed);
    /* Half of a value repeats, so that compression has something to do. */
    size_t random = op->value_len / 2;
    test_rng_bytes(&r, out, random);
    memset(out + random, (int)(op->value_seed & 0xff), op->value_len - random);
    return op->value_len;
}

/* ---- the model ---- */

void model_init(struct model *m, uint64_t seed, unsigned stream)
{
    *m = (struct model){.seed = seed, .stream = stream};
}

void model_deinit(struct model *m)
{
    for (size_t i = 0; i < m->cell_count; i++)
        free(m->cells[i].entries);
    free(m->cells);
    free(m->snapshots);
}

struct model_cell *model_cell(struct model *m, const struct step_op *op)
{
    for (size_t i = 0; i < m->cell_count; i++)
        if (same_cell(&m->cells[i].at, op))
            return &m->cells[i];
    m->cells = grow(m->cells, m->cell_count, &m->cell_room, sizeof(*m->cells));
    struct model_cell *c = &m->cells[m->cell_count++];
    *c = (struct model_cell){.at = *op};
    return c;
}

bool model_alive(const struct model_cell *c)
{
    return c->count && !c->entries[c->count - 1].op.is_delete;
}

struct model_snapshot *model_oldest_snapshot(struct model *m)
{
    for (size_t i = 0; i < m->snapshot_count; i++)
        if (!m->snapshots[i].gone)
            return &m->snapshots[i];
    return NULL;
}

bool model_may_settle(const struct model *m)
{
    bool count = false, age = false;
    for (size_t i = 0; i < m->cell_count; i++) {
        count = count || (m->cells[i].at.place == PLACE_COUNT && m->cells[i].count);
        age = age || (m->cells[i].at.place == PLACE_AGE && m->cells[i].count);
    }
    return count && age;
}

bool model_writes(struct model *m, const struct step *s)
{
    switch (s->kind) {
    case STEP_PUT:
        return true;
    case STEP_DELETE:
        return model_alive(model_cell(m, &s->ops[0]));
    case STEP_COMPARE_AND_SET:
    case STEP_BATCH:
        return !s->wrong;
    case STEP_RETENTION:
    case STEP_SNAPSHOT:
    case STEP_UNSNAPSHOT:
    case STEP_CHECKPOINT:
    case STEP_VACUUM:
    case STEP_COMPACT:
    case STEP_SYNC:
        return false;
    }
    return false;
}

void model_apply(struct model *m, const struct step *s, uint64_t number)
{
    if (s->kind == STEP_RETENTION)
        m->settled = model_may_settle(m);
    if (s->kind == STEP_SNAPSHOT) {
        m->snapshots =
            grow(m->snapshots, m->snapshot_count, &m->snapshot_room, sizeof(*m->snapshots));
        m->snapshots[m->snapshot_count++] = (struct model_snapshot){.step = number};
    }
    struct model_snapshot *oldest = model_oldest_snapshot(m);
    if (s->kind == STEP_UNSNAPSHOT && oldest) {
        oldest->gone = true;
        oldest->gone_step = number;
    }
    if (!model_writes(m, s))
        return;
    for (size_t i = 0; i < s->n; i++) {
        struct model_cell *c = model_cell(m, &s->ops[i]);
        c->entries = grow(c->entries, c->count, &c->room, sizeof(*c->entries));
        c->entries[c->count++] = (struct model_entry){.step = number, .op = s->ops[i]};
        c->hlc = 0;
    }
}
