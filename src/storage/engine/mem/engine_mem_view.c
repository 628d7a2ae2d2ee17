/* engine_mem_view.c - states, and cursors and point reads over them. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/mem/engine_mem_internal.h"

struct mem_row *mem__row_new(struct bytes key, struct bytes value)
{
    struct mem_row *r = mem_alloc(sizeof(*r) + key.len + value.len);
    if (!r)
        return NULL;
    r->refs = 1;
    r->key_len = key.len;
    r->value_len = value.len;
    if (key.len)
        memcpy(r->data, key.data, key.len);
    if (value.len)
        memcpy(r->data + key.len, value.data, value.len);
    return r;
}

struct mem_row *mem__row_ref(struct mem_row *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void mem__row_unref(struct mem_row *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        mem_free(r);
}

enum status mem__rows_add(struct mem_rows *l, struct mem_row *r)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct mem_row **list = mem_realloc(l->list, cap * sizeof(struct mem_row *));
        if (!list) {
            mem__row_unref(r);
            return ST_NO_MEMORY;
        }
        l->list = list;
        l->cap = cap;
    }
    l->list[l->n++] = r;
    return ST_OK;
}

void mem__rows_deinit(struct mem_rows *l)
{
    for (size_t i = 0; i < l->n; i++)
        mem__row_unref(l->list[i]);
    mem_free(l->list);
    *l = (struct mem_rows){0};
}

size_t mem__rows_find(const struct mem_rows *l, struct bytes key)
{
    size_t lo = 0, hi = l->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (bytes_cmp(mem_row_key(l->list[mid]), key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Rows lo .. hi-1 are what the cursor sees; `at` == hi: the end. */
struct cursor {
    struct engine_cursor base;
    struct engine_snapshot *s;
    const struct mem_rows *rows;
    size_t lo, hi, at;
};

static enum status settle(struct cursor *c, bool valid)
{
    c->base.valid = valid;
    if (valid) {
        c->base.key = mem_row_key(c->rows->list[c->at]);
        c->base.value = mem_row_value(c->rows->list[c->at]);
    }
    return ST_OK;
}

static enum status cursor_seek(struct engine_cursor *base, struct bytes key, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    (void)err;
    size_t at = mem__rows_find(c->rows, key);
    c->at = at < c->lo ? c->lo : at;
    return settle(c, c->at < c->hi);
}

static enum status cursor_seek_before(struct engine_cursor *base, struct bytes key, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    (void)err;
    size_t at = key.len ? mem__rows_find(c->rows, key) : c->rows->n;
    if (at > c->hi)
        at = c->hi;
    c->at = at - 1; /* wraps when there is none; not valid then */
    return settle(c, at > c->lo);
}

static enum status cursor_next(struct engine_cursor *base, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    (void)err;
    ASSERT(base->valid);
    c->at++;
    return settle(c, c->at < c->hi);
}

static enum status cursor_prev(struct engine_cursor *base, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    (void)err;
    ASSERT(base->valid);
    bool more = c->at > c->lo;
    c->at--;
    return settle(c, more);
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
    c->lo = in && in->lower.len ? mem__rows_find(c->rows, in->lower) : 0;
    c->hi = in && in->upper.len ? mem__rows_find(c->rows, in->upper) : c->rows->n;
    if (c->hi < c->lo)
        c->hi = c->lo;
    *ret = &c->base;
    return ST_OK;
}

static void release_row(void *handle)
{
    mem__row_unref(handle);
}

static enum status view_row(struct engine_view *v, enum engine_family f, struct bytes key,
                            unsigned flags, struct bytes *ret, struct engine_pin *ret_pin,
                            struct err *err)
{
    struct engine_snapshot *s = (struct engine_snapshot *)v;
    (void)flags, (void)err;
    size_t at = mem__rows_find(&s->rows[f], key);
    if (at == s->rows[f].n || !bytes_eq(mem_row_key(s->rows[f].list[at]), key))
        return ST_NOT_FOUND;
    *ret = mem_row_value(s->rows[f].list[at]);
    *ret_pin = (struct engine_pin){release_row, mem__row_ref(s->rows[f].list[at])};
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
        size_t at = mem__rows_find(rows, l->keys[i]);
        bool found = at < rows->n && bytes_eq(mem_row_key(rows->list[at]), l->keys[i]);
        ret[i] = found ? mem_row_value(rows->list[at]) : (struct bytes){0};
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
                               struct engine_lookup **ret, struct err *err)
{
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
