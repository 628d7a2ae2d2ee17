/* history.c - recording: bytes are interned into an arena, events go to arrays that only grow. */
#include "sim/check/history.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/hash.h"
#include "sim/check/history_internal.h"

enum status history__grow(void **p, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return ST_OK;
    if (n >= HISTORY_EVENTS_MAX)
        return ST_TOO_LARGE;
    size_t wanted = *cap ? *cap * 2 : 64;
    void *q = mem_realloc(*p, wanted * size);
    if (!q)
        return ST_NO_MEMORY;
    *p = q;
    *cap = wanted;
    return ST_OK;
}

static enum status slots_double(struct interned *t)
{
    size_t n = t->slots_n ? t->slots_n * 2 : 256;
    uint32_t *slots = mem_zalloc(n * sizeof *slots);
    if (!slots)
        return ST_NO_MEMORY;
    for (uint32_t id = 0; id < t->n; id++) {
        size_t i = t->hashes[id] & (n - 1);
        while (slots[i])
            i = (i + 1) & (n - 1);
        slots[i] = id + 1;
    }
    mem_free(t->slots);
    t->slots = slots;
    t->slots_n = n;
    return ST_OK;
}

static enum status numbers_double(struct interned *t)
{
    uint32_t cap = t->cap ? t->cap * 2 : 128;
    struct bytes *of = mem_realloc(t->of, cap * sizeof *of);
    if (!of)
        return ST_NO_MEMORY;
    t->of = of; /* larger than it says until both are */
    uint64_t *hashes = mem_realloc(t->hashes, cap * sizeof *hashes);
    if (!hashes)
        return ST_NO_MEMORY;
    t->hashes = hashes;
    t->cap = cap;
    return ST_OK;
}

static enum status intern(struct history *h, struct interned *t, struct bytes b, uint32_t *ret)
{
    uint64_t hash = hash_xxh64(b.data, b.len, 0);
    if (t->n * 2 >= t->slots_n && slots_double(t) != ST_OK)
        return ST_NO_MEMORY;
    size_t i = hash & (t->slots_n - 1);
    for (; t->slots[i]; i = (i + 1) & (t->slots_n - 1)) {
        uint32_t id = t->slots[i] - 1;
        if (t->hashes[id] == hash && bytes_eq(t->of[id], b)) {
            *ret = id;
            return ST_OK;
        }
    }
    if (t->n >= HISTORY_EVENTS_MAX)
        return ST_TOO_LARGE;
    if (t->n == t->cap && numbers_double(t) != ST_OK)
        return ST_NO_MEMORY;
    void *copy = b.len ? arena_memdup(&h->arena, b.data, b.len) : arena_alloc(&h->arena, 1);
    if (!copy)
        return ST_NO_MEMORY;
    t->of[t->n] = BYTES(copy, b.len);
    t->hashes[t->n] = hash;
    t->slots[i] = t->n + 1;
    *ret = t->n++;
    return ST_OK;
}

static enum status intern_both(struct history *h, struct bytes *key, struct bytes *value,
                               uint32_t *key_id, uint32_t *value_id)
{
    uint32_t k, v;
    enum status st = intern(h, &h->keys, *key, &k);
    if (st == ST_OK)
        st = intern(h, &h->values, *value, &v);
    if (st != ST_OK)
        return st;
    *key = h->keys.of[k];
    *value = h->values.of[v];
    *key_id = k;
    *value_id = v;
    return ST_OK;
}

struct history *history_new(void)
{
    struct history *h = mem_zalloc(sizeof *h);
    if (!h)
        return NULL;
    arena_init(&h->arena, 0);
    uint32_t empty;
    if (intern(h, &h->values, BYTES_EMPTY, &empty) != ST_OK) {
        history_free(h);
        return NULL;
    }
    ASSERT(empty == 0);
    return h;
}

static void interned_deinit(struct interned *t)
{
    mem_free(t->of);
    mem_free(t->hashes);
    mem_free(t->slots);
}

void history_free(struct history *h)
{
    if (!h)
        return;
    interned_deinit(&h->keys);
    interned_deinit(&h->values);
    mem_free(h->ops);
    mem_free(h->watches);
    mem_free(h->rows);
    mem_free(h->notes);
    arena_deinit(&h->arena);
    mem_free(h);
}

static enum status keep_steps(struct history *h, const struct history_step *steps, size_t n,
                              struct history_step **ret)
{
    if (n > HISTORY_STEPS_MAX)
        return ST_TOO_LARGE;
    struct history_step *kept = arena_alloc(&h->arena, (n ? n : 1) * sizeof *kept);
    if (!kept)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        struct history_step *s = &kept[i];
        *s = steps[i];
        ASSERT(s->verb < HISTORY_VERBS && s->require < HISTORY_REQUIRES);
        enum status st = intern_both(h, &s->key, &s->value, &s->key_id, &s->value_id);
        if (st != ST_OK)
            return st;
    }
    *ret = kept;
    return ST_OK;
}

enum status history_invoke(struct history *h, uint64_t now_ns, const struct history_call *call,
                           uint32_t *ret_op)
{
    ASSERT(call->family < HISTORY_FAMILIES);
    struct history_step *steps;
    enum status st = history__grow((void **)&h->ops, &h->ops_cap, h->ops_n, sizeof *h->ops);
    if (st == ST_OK)
        st = keep_steps(h, call->steps, call->n, &steps);
    if (st != ST_OK)
        return st;
    h->ops[h->ops_n] = (struct history_op){
        .id = (uint32_t)h->ops_n,
        .client = call->client,
        .node = call->node,
        .family = call->family,
        .outcome = HISTORY_UNKNOWN,
        .at = call->at,
        .weak = call->weak,
        .invoked = ++h->place,
        .completed = UINT64_MAX,
        .invoked_ns = now_ns,
        .steps = steps,
        .n = (uint32_t)call->n,
    };
    *ret_op = (uint32_t)h->ops_n++;
    return ST_OK;
}

enum status history_complete(struct history *h, uint64_t now_ns, uint32_t op,
                             enum history_outcome outcome, const struct history_step *steps,
                             size_t n)
{
    ASSERT(op < h->ops_n && outcome < HISTORY_OUTCOMES);
    struct history_op *o = &h->ops[op];
    ASSERT(o->completed == UINT64_MAX && o->completed_ns == 0);
    if (n) {
        struct history_step *kept;
        enum status st = keep_steps(h, steps, n, &kept);
        if (st != ST_OK)
            return st;
        o->steps = kept;
        o->n = (uint32_t)n;
    }
    o->outcome = outcome;
    o->completed_ns = now_ns;
    h->place++;
    if (outcome != HISTORY_UNKNOWN)
        o->completed = h->place;
    return ST_OK;
}

enum status history_watch(struct history *h, uint64_t now_ns, const struct history_watch *w)
{
    ASSERT(w->kind < HISTORY_WATCH_KINDS);
    enum status st =
        history__grow((void **)&h->watches, &h->watches_cap, h->watches_n, sizeof *h->watches);
    if (st != ST_OK)
        return st;
    struct history_watch kept = *w;
    uint32_t prefix;
    st = intern_both(h, &kept.key, &kept.value, &kept.key_id, &kept.value_id);
    if (st == ST_OK)
        st = intern(h, &h->values, kept.prefix, &prefix);
    if (st != ST_OK)
        return st;
    kept.prefix = h->values.of[prefix];
    kept.place = ++h->place;
    kept.now_ns = now_ns;
    h->watches[h->watches_n++] = kept;
    return ST_OK;
}

enum status history_final(struct history *h, const struct history_row *row)
{
    ASSERT(row->verb == HISTORY_PUT || row->verb == HISTORY_DELETE);
    enum status st = history__grow((void **)&h->rows, &h->rows_cap, h->rows_n, sizeof *h->rows);
    struct history_row kept = *row;
    if (st == ST_OK)
        st = intern_both(h, &kept.key, &kept.value, &kept.key_id, &kept.value_id);
    if (st != ST_OK)
        return st;
    h->rows[h->rows_n++] = kept;
    return ST_OK;
}

void history_final_done(struct history *h, uint64_t horizon)
{
    h->complete = true;
    h->horizon = horizon;
}

enum status history_note(struct history *h, uint64_t now_ns, const struct history_note *note)
{
    ASSERT(note->fact < HISTORY_FACTS);
    enum status st = history__grow((void **)&h->notes, &h->notes_cap, h->notes_n, sizeof *h->notes);
    if (st != ST_OK)
        return st;
    h->notes[h->notes_n] = *note;
    h->notes[h->notes_n].place = ++h->place;
    h->notes[h->notes_n++].now_ns = now_ns;
    return ST_OK;
}

const struct history_op *history_ops(const struct history *h, size_t *ret_n)
{
    *ret_n = h->ops_n;
    return h->ops;
}

const struct history_watch *history_watches(const struct history *h, size_t *ret_n)
{
    *ret_n = h->watches_n;
    return h->watches;
}

const struct history_row *history_rows(const struct history *h, size_t *ret_n, bool *ret_complete,
                                       uint64_t *ret_horizon)
{
    *ret_n = h->rows_n;
    *ret_complete = h->complete;
    *ret_horizon = h->horizon;
    return h->rows;
}

const struct history_note *history_notes(const struct history *h, size_t *ret_n)
{
    *ret_n = h->notes_n;
    return h->notes;
}

uint32_t history_key_count(const struct history *h)
{
    return h->keys.n;
}

uint32_t history_value_count(const struct history *h)
{
    return h->values.n;
}

struct bytes history_key(const struct history *h, uint32_t key_id)
{
    ASSERT(key_id < h->keys.n);
    return h->keys.of[key_id];
}

struct bytes history_value(const struct history *h, uint32_t value_id)
{
    ASSERT(value_id < h->values.n);
    return h->values.of[value_id];
}
