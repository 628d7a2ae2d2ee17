/* engine_mem_sink.c - rows gathered, merged into a new state, dumped, and shown. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/engine_testing.h"
#include "storage/engine/mem/engine_mem_internal.h"

/* What each family is given, in key order. */
struct sink {
    struct engine_sink base;
    struct mem_engine *e;
    struct mem_change given[ENGINE_FAMILIES];
};

static enum status add(struct engine_sink *base, enum engine_family f, struct bytes key,
                       struct bytes value, bool remove, struct err *err)
{
    struct sink *s = (struct sink *)base;
    struct mem_change *given = &s->given[f];
    ASSERT(given->n == 0 || bytes_cmp(mem_row_key(given->row[given->n - 1]), key) < 0);
    struct mem_row *r = mem__row_new(key, value);
    if (!r)
        return err_set(err, ST_NO_MEMORY, "mem: a row of %zu bytes", key.len + value.len);
    if (mem__change_add(given, r, remove) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "mem: rows");
    return ST_OK;
}

static enum status sink_put(struct engine_sink *s, enum engine_family f, struct bytes key,
                            struct bytes value, struct err *err)
{
    return add(s, f, key, value, false, err);
}

static enum status sink_del(struct engine_sink *s, enum engine_family f, struct bytes key,
                            struct err *err)
{
    return add(s, f, key, BYTES_EMPTY, true, err);
}

static enum status sink_commit(struct engine_sink *base, struct err *err)
{
    struct sink *s = (struct sink *)base;
    struct mem_engine *e = s->e;
    enum status st = ST_OK;
    struct engine_snapshot *before = mem__current(e), *after = mem__state_new();
    if (!after)
        st = ST_NO_MEMORY;
    for (int f = 0; st == ST_OK && f < ENGINE_FAMILIES; f++)
        st = mem__rows_merge(&before->rows[f], &s->given[f], &after->rows[f]);
    if (st == ST_NO_MEMORY)
        err_set(err, st, "mem: a new state");
    if (st == ST_OK)
        st = mem__state_finish(after, err);
    if (st == ST_OK)
        st = mem__dump(e->env, e->path, after, err);
    mem__state_unref(before);
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        mem__change_clear(&s->given[f]);
    if (st != ST_OK) {
        mem__state_unref(after);
        return st;
    }
    env_mutex_lock(&e->lock);
    before = e->current;
    e->current = after;
    env_mutex_unlock(&e->lock);
    mem__state_unref(before);
    return ST_OK;
}

static const struct engine_sink_ops sink_ops = {sink_put, sink_del, sink_commit};

struct engine_sink *mem__sink_new(struct mem_engine *e)
{
    struct sink *s = mem_zalloc(sizeof(*s));
    if (!s)
        return NULL;
    s->base.ops = &sink_ops;
    s->e = e;
    return &s->base;
}

void mem__sink_free(struct engine_sink *base)
{
    struct sink *s = (struct sink *)base;
    if (!s)
        return;
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        mem__change_deinit(&s->given[f]);
    mem_free(s);
}

enum status engine_mem_test_raw(struct engine *e, enum engine_family f, struct bytes key,
                                const struct bytes *value, struct err *err)
{
    struct engine_sink *s = mem__sink_new((struct mem_engine *)e);
    if (!s)
        return err_set(err, ST_NO_MEMORY, "mem: rows");
    enum status st = engine_sink_raw(s, f, key, value, err);
    mem__sink_free(s);
    return st;
}
