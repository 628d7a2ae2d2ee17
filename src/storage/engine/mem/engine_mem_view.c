/* engine_mem_view.c - states, and cursors and point reads over them. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/mem/engine_mem_internal.h"

/* Rows lo .. hi-1 are what the cursor sees; `at` == hi: the end. */
struct cursor {
    struct engine_cursor base;
    struct engine_snapshot *s;
    const struct mem_rows *rows;
    struct mem_at lo, hi, at;
};

static enum status settle(struct cursor *c, bool valid)
{
    c->base.valid = valid;
    if (valid) {
        const struct mem_row *row = mem_row_at(c->rows, c->at);
        c->base.key = mem_row_key(row);
        c->base.value = mem_row_value(row);
    }
    return ST_OK;
}

/* false: there is nothing before, and the cursor is not valid any more. */
static bool step_back(struct cursor *c)
{
    if (!mem_at_before(c->lo, c->at))
        return false;
    if (c->at.i > 0)
        c->at.i--;
    else
        c->at = (struct mem_at){c->at.run - 1, c->rows->run[c->at.run - 1]->n - 1};
    return true;
}

static enum status cursor_seek(struct engine_cursor *base, struct bytes key, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    (void)err;
    struct mem_at at = mem__rows_find(c->rows, key);
    c->at = mem_at_before(at, c->lo) ? c->lo : at;
    return settle(c, mem_at_before(c->at, c->hi));
}

static enum status cursor_seek_before(struct engine_cursor *base, struct bytes key, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    (void)err;
    struct mem_at at = key.len ? mem__rows_find(c->rows, key) : mem_at_end(c->rows);
    c->at = mem_at_before(c->hi, at) ? c->hi : at;
    return settle(c, step_back(c));
}

static enum status cursor_next(struct engine_cursor *base, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    (void)err;
    ASSERT(base->valid);
    if (++c->at.i == c->rows->run[c->at.run]->n)
        c->at = (struct mem_at){c->at.run + 1, 0};
    return settle(c, mem_at_before(c->at, c->hi));
}

static enum status cursor_prev(struct engine_cursor *base, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    (void)err;
    ASSERT(base->valid);
    return settle(c, step_back(c));
}

static void cursor_close(struct engine_cursor *base)
{
    struct cursor *c = (struct cursor *)base;
    mem__state_unref(c->s);
    mem_free(c);
}

static const struct engine_cursor_ops cursor_ops = {cursor_seek, cursor_seek_before, cursor_next,
                                                    cursor_prev, cursor_close};

static enum status view_cursor(struct engine_view *v, enum engine_family f, unsigned flags,
                               const struct engine_interval *in, struct engine_cursor **ret,
                               struct err *err)
{
    struct engine_snapshot *s = (struct engine_snapshot *)v;
    (void)flags;
    struct cursor *c = mem_zalloc(sizeof(*c));
    if (!c)
        return err_set(err, ST_NO_MEMORY, "cursor");
    c->base.ops = &cursor_ops;
    c->base.key = c->base.value = BYTES_EMPTY;
    c->s = mem__state_ref(s);
    c->rows = &s->rows[f];
    if (in && in->lower.len)
        c->lo = mem__rows_find(c->rows, in->lower);
    c->hi = in && in->upper.len ? mem__rows_find(c->rows, in->upper) : mem_at_end(c->rows);
    if (mem_at_before(c->hi, c->lo))
        c->hi = c->lo;
    *ret = &c->base;
    return ST_OK;
}

static void release_row(void *handle)
{
    mem__row_unref(handle);
}

/* NULL: none has that key. */
static struct mem_row *row_of(const struct mem_rows *rows, struct bytes key)
{
    struct mem_at at = mem__rows_find(rows, key);
    struct mem_row *row = at.run < rows->n_runs ? mem_row_at(rows, at) : NULL;
    return row && bytes_eq(mem_row_key(row), key) ? row : NULL;
}

static enum status view_row(struct engine_view *v, enum engine_family f, struct bytes key,
                            unsigned flags, struct bytes *ret, struct engine_pin *ret_pin,
                            struct err *err)
{
    struct engine_snapshot *s = (struct engine_snapshot *)v;
    (void)flags, (void)err;
    struct mem_row *row = row_of(&s->rows[f], key);
    if (!row)
        return ST_NOT_FOUND;
    *ret = mem_row_value(row);
    *ret_pin = (struct engine_pin){release_row, mem__row_ref(row)};
    return ST_OK;
}

struct lookup {
    struct engine_lookup base;
    struct engine_snapshot *s;
    const struct bytes *keys;
    size_t n; /* of them are not answered yet */
};

static enum status lookup_rows(struct engine_lookup *base, struct bytes *ret, size_t *ret_n,
                               struct err *err)
{
    struct lookup *l = (struct lookup *)base;
    const struct mem_rows *rows = &l->s->rows[ENGINE_LIVE];
    size_t n = l->n < ENGINE_LOOKUP_MAX ? l->n : ENGINE_LOOKUP_MAX;
    (void)err;
    for (size_t i = 0; i < n; i++) {
        const struct mem_row *row = row_of(rows, l->keys[i]);
        ret[i] = row ? mem_row_value(row) : (struct bytes){0};
    }
    l->keys += n;
    l->n -= n;
    *ret_n = n;
    return ST_OK;
}

static void lookup_close(struct engine_lookup *base)
{
    mem__state_unref(((struct lookup *)base)->s);
    mem_free(base);
}

static const struct engine_lookup_ops lookup_ops = {lookup_rows, lookup_close};

static enum status view_lookup(struct engine_view *v, const struct bytes *keys, size_t n,
                               uint64_t all, struct engine_lookup **ret, struct err *err)
{
    (void)all;
    struct lookup *l = mem_zalloc(sizeof(*l));
    if (!l)
        return err_set(err, ST_NO_MEMORY, "live rows");
    l->base.ops = &lookup_ops;
    l->s = mem__state_ref((struct engine_snapshot *)v);
    l->keys = keys;
    l->n = n;
    *ret = &l->base;
    return ST_OK;
}

static const struct engine_view_ops view_ops = {view_cursor, view_row, view_lookup};

struct engine_snapshot *mem__state_new(void)
{
    struct engine_snapshot *s = mem_zalloc(sizeof(*s));
    if (!s)
        return NULL;
    s->view.ops = &view_ops;
    s->refs = 1;
    return s;
}

struct engine_snapshot *mem__state_ref(struct engine_snapshot *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void mem__state_unref(struct engine_snapshot *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        mem__rows_deinit(&s->rows[f]);
    mem_free(s->marks);
    mem_free(s->halves);
    mem_free(s);
}

enum status mem__state_finish(struct engine_snapshot *s, struct err *err)
{
    struct engine_view *v = &s->view;
    enum status st = engine_view_load(v, &s->marks, &v->n_marks, &s->halves, &v->n_halves, err);
    if (st != ST_OK)
        return st;
    v->marks = s->marks;
    v->halves = s->halves;
    for (size_t i = 0; i < v->n_marks; i++)
        v->deletes |= (s->marks[i].flags & ENGINE_MARK_DELETES) != 0;
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        v->rows[f] = s->rows[f].n;
    return ST_OK;
}
