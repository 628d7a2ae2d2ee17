/* engine_mem_sink.c - rows gathered, merged into a new state, written, and shown. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/engine_testing.h"
#include "storage/engine/mem/engine_mem_internal.h"

enum { SMALL_BYTES = 16 << 10 }; /* so much in changes is never too much */

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

/* An epoch is used once, whatever becomes of the file: changes of another one are not taken for its. */
enum status mem__write_whole(struct mem_engine *e, const struct engine_snapshot *s, struct err *err)
{
    struct mem_files next = {.last = {e->files.last.epoch + 1, 0}};
    e->files.last.epoch++;
    e->whole_next = true;
    enum status st =
        mem__dump(e->env, e->path, next.last, s, e->files.whole_bytes + e->files.change_bytes,
                  &next.whole_bytes, err);
    if (st != ST_OK)
        return st;
    e->files = next;
    e->whole_next = false;
    mem__forget_changes(e->env, e->dir);
    return ST_OK;
}

/* Only what changed, until that is as much as the whole: so writing costs what is written, some
 * times over, and not all that is kept each time. */
static enum status write_state(struct mem_engine *e, const struct engine_snapshot *s,
                               const struct mem_change *given, struct err *err)
{
    const struct mem_files *files = &e->files;
    size_t bytes = 0, enough = files->whole_bytes;
    if (e->whole_next || files->change_bytes >= (enough > SMALL_BYTES ? enough : SMALL_BYTES))
        return mem__write_whole(e, s, err);
    struct mem_file_id id = {files->last.epoch, files->last.change + 1};
    enum status st = mem__dump_change(e->env, e->dir, id, given, &bytes, err);
    e->whole_next = st != ST_OK;
    if (st == ST_OK) {
        e->files.last = id;
        e->files.change_bytes += bytes;
    }
    return st;
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
        st = write_state(e, after, s->given, err);
    if (st == ST_OK)
        after->changes = e->files.last.change;
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
