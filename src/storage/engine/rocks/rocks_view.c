/* rocks_view.c - cursors, point reads and many point reads of one snapshot. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>

uint64_t rocks__property(const struct rocks *e, enum engine_family f, const char *name)
{
    uint64_t v = 0;
    return rocksdb_property_int_cf(e->db, e->cf[f], name, &v) == 0 ? v : 0;
}

struct cursor {
    struct engine_cursor base;
    struct rocks *e;
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *own; /* when it has bounds */
};

/* Takes over where RocksDB's iterator stands. */
static enum status settle(struct cursor *c, struct err *err)
{
    c->base.valid = rocksdb_iter_valid(c->it);
    if (c->base.valid) {
        c->base.key.data = (const uint8_t *)rocksdb_iter_key(c->it, &c->base.key.len);
        c->base.value.data = (const uint8_t *)rocksdb_iter_value(c->it, &c->base.value.len);
        return ST_OK;
    }
    char *message = NULL;
    rocksdb_iter_get_error(c->it, &message);
    return message ? rocks__error(message, "read", err) : ST_OK;
}

static enum status cursor_seek(struct engine_cursor *base, struct bytes key, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    rocksdb_iter_seek(c->it, (const char *)key.data, key.len);
    return settle(c, err);
}

static enum status cursor_seek_before(struct engine_cursor *base, struct bytes key, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    if (key.len == 0)
        rocksdb_iter_seek_to_last(c->it);
    else
        rocksdb_iter_seek_for_prev(c->it, (const char *)key.data, key.len);
    enum status st = settle(c, err);
    if (st != ST_OK || key.len == 0 || !base->valid || !bytes_eq(base->key, key))
        return st;
    rocksdb_iter_prev(c->it);
    return settle(c, err);
}

static enum status cursor_next(struct engine_cursor *base, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    rocksdb_iter_next(c->it);
    return settle(c, err);
}

static enum status cursor_prev(struct engine_cursor *base, struct err *err)
{
    struct cursor *c = (struct cursor *)base;
    rocksdb_iter_prev(c->it);
    return settle(c, err);
}

static void cursor_close(struct engine_cursor *base)
{
    struct cursor *c = (struct cursor *)base;
    rocksdb_iter_destroy(c->it);
    if (c->own)
        rocksdb_readoptions_destroy(c->own);
    rocks__let_go(c->e);
    mem_free(c);
}

static const struct engine_cursor_ops cursor_ops = {cursor_seek, cursor_seek_before, cursor_next,
                                                    cursor_prev, cursor_close};

static enum rocks_read read_use(enum engine_family f, unsigned flags)
{
    bool cache = flags & ENGINE_CACHE_ONLY;
    if (f == ENGINE_PAST && (flags & ENGINE_ONE_KEY))
        return cache ? ROCKS_READ_ONE_CACHE : ROCKS_READ_ONE;
    if (flags & ENGINE_BULK)
        return ROCKS_READ_BULK;
    return cache ? ROCKS_READ_CACHE : ROCKS_READ;
}

static enum status view_cursor(struct engine_view *v, enum engine_family f, unsigned flags,
                               const struct engine_interval *in, struct engine_cursor **ret,
                               struct err *err)
{
    struct engine_snapshot *s = (struct engine_snapshot *)v;
    enum rocks_read use = read_use(f, flags);
    struct cursor *c = mem_zalloc(sizeof(*c));
    if (!c)
        return err_set(err, ST_NO_MEMORY, "cursor");
    c->base.ops = &cursor_ops;
    c->base.key = c->base.value = BYTES_EMPTY;
    c->e = s->e;
    rocksdb_readoptions_t *read = s->read[use];
    if (in && (in->lower.len || in->upper.len)) {
        read = c->own = rocks__read_options(s, use);
        if (in->lower.len)
            rocksdb_readoptions_set_iterate_lower_bound(read, (const char *)in->lower.data,
                                                        in->lower.len);
        if (in->upper.len)
            rocksdb_readoptions_set_iterate_upper_bound(read, (const char *)in->upper.data,
                                                        in->upper.len);
    }
    rocks__hold(s->e);
    c->it = rocksdb_create_iterator_cf(s->e->db, read, s->e->cf[f]);
    *ret = &c->base;
    return ST_OK;
}

static void release_slice(void *handle)
{
    rocksdb_pinnableslice_destroy(handle);
}

static enum status view_row(struct engine_view *v, enum engine_family f, struct bytes key,
                            unsigned flags, struct bytes *ret, struct engine_pin *ret_pin,
                            struct err *err)
{
    struct engine_snapshot *s = (struct engine_snapshot *)v;
    char *message = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(
        s->e->db, s->read[flags & ENGINE_CACHE_ONLY ? ROCKS_READ_CACHE : ROCKS_READ], s->e->cf[f],
        (const char *)key.data, key.len, &message);
    if (message)
        return rocks__error(message, "get", err);
    if (!slice)
        return ST_NOT_FOUND;
    size_t len;
    const char *data = rocksdb_pinnableslice_value(slice, &len);
    if (len == 0 && (flags & ENGINE_CACHE_ONLY)) {
        /* No row of ours is empty: RocksDB says "maybe" this way when the file is not open. */
        rocksdb_pinnableslice_destroy(slice);
        return err_set(err, ST_TIMED_OUT, "not in the block cache");
    }
    *ret = BYTES(data, len);
    *ret_pin = (struct engine_pin){release_slice, slice};
    return ST_OK;
}

/* Two ways to many live rows: walking along with the keys when they lie dense among the rows, else
 * batched gets, which the bloom filters keep cheap for new keys. */
enum { DENSE = 8, WALK_STEPS = 12, LOOKUP_BYTES = 4 << 20 };

struct lookup {
    struct engine_lookup base;
    struct engine_snapshot *s;
    struct engine_cursor *walk; /* NULL: batched gets */
    bool started, empty;
    size_t batch;
    struct buf bytes;
    rocksdb_pinnableslice_t *slices[ENGINE_LOOKUP_MAX];
    size_t n_slices;
};

static void drop_slices(struct lookup *l)
{
    for (size_t i = 0; i < l->n_slices; i++) {
        if (l->slices[i])
            rocksdb_pinnableslice_destroy(l->slices[i]);
    }
    l->n_slices = 0;
}

static enum status walk_to(struct lookup *l, struct bytes key, struct err *err)
{
    struct engine_cursor *c = l->walk;
    int steps = l->started ? WALK_STEPS : 0;
    while (l->started && steps > 0 && c->valid && bytes_cmp(c->key, key) < 0) {
        enum status st = c->ops->next(c, err);
        if (st != ST_OK)
            return st;
        steps--;
    }
    if (l->started && (!c->valid || bytes_cmp(c->key, key) >= 0))
        return ST_OK;
    l->started = true;
    return c->ops->seek(c, key, err);
}

static enum status walk_rows(struct lookup *l, const struct bytes *keys, size_t n,
                             struct bytes *ret, size_t *ret_n, struct err *err)
{
    size_t at[ENGINE_LOOKUP_MAX], i;
    buf_clear(&l->bytes);
    for (i = 0; i < n && l->bytes.len < LOOKUP_BYTES; i++) {
        enum status st = walk_to(l, keys[i], err);
        if (st != ST_OK)
            return st;
        ret[i] = (struct bytes){0};
        at[i] = SIZE_MAX;
        if (!l->walk->valid || !bytes_eq(l->walk->key, keys[i]))
            continue;
        at[i] = l->bytes.len;
        ret[i].len = l->walk->value.len;
        st = buf_append(&l->bytes, l->walk->value.data, l->walk->value.len);
        if (st != ST_OK)
            return err_set(err, st, "live rows");
    }
    for (size_t j = 0; j < i; j++) {
        if (at[j] != SIZE_MAX)
            ret[j].data = l->bytes.data + at[j];
    }
    *ret_n = i;
    return ST_OK;
}

static enum status batch_rows(struct lookup *l, const struct bytes *keys, size_t n,
                              struct bytes *ret, size_t *ret_n, struct err *err)
{
    const char *ptrs[ENGINE_LOOKUP_MAX];
    size_t sizes[ENGINE_LOOKUP_MAX];
    char *errs[ENGINE_LOOKUP_MAX];
    enum status st = ST_OK;
    drop_slices(l);
    n = n < l->batch ? n : l->batch;
    for (size_t i = 0; i < n; i++) {
        ptrs[i] = (const char *)keys[i].data;
        sizes[i] = keys[i].len;
    }
    rocksdb_batched_multi_get_cf(l->s->e->db, l->s->read[ROCKS_READ], l->s->e->cf[ENGINE_LIVE], n,
                                 ptrs, sizes, l->slices, errs, true);
    l->n_slices = n;
    for (size_t i = 0; i < n; i++) {
        ret[i] = (struct bytes){0};
        if (errs[i] && st == ST_OK)
            st = rocks__error(errs[i], "get of many", err);
        else if (errs[i])
            rocksdb_free(errs[i]);
        if (!l->slices[i])
            continue;
        const char *data = rocksdb_pinnableslice_value(l->slices[i], &ret[i].len);
        ret[i].data = (const uint8_t *)data;
    }
    *ret_n = n;
    return st;
}

static enum status lookup_rows(struct engine_lookup *base, const struct bytes *keys, size_t n,
                               struct bytes *ret, size_t *ret_n, struct err *err)
{
    struct lookup *l = (struct lookup *)base;
    ASSERT(n > 0 && n <= ENGINE_LOOKUP_MAX);
    if (l->empty) {
        memset(ret, 0, n * sizeof(*ret));
        *ret_n = n;
        return ST_OK;
    }
    return l->walk ? walk_rows(l, keys, n, ret, ret_n, err)
                   : batch_rows(l, keys, n, ret, ret_n, err);
}

static void lookup_close(struct engine_lookup *base)
{
    struct lookup *l = (struct lookup *)base;
    drop_slices(l);
    engine_cursor_close(l->walk);
    buf_deinit(&l->bytes);
    rocks__let_go(l->s->e);
    mem_free(l);
}

static const struct engine_lookup_ops lookup_ops = {lookup_rows, lookup_close};

static enum status view_lookup(struct engine_view *v, uint64_t expected, struct engine_lookup **ret,
                               struct err *err)
{
    struct engine_snapshot *s = (struct engine_snapshot *)v;
    struct lookup *l = mem_zalloc(sizeof(*l));
    if (!l)
        return err_set(err, ST_NO_MEMORY, "live rows");
    l->base.ops = &lookup_ops;
    l->s = s;
    uint64_t rows = v->rows[ENGINE_LIVE];
    uint64_t bytes = rocks__property(s->e, ENGINE_LIVE, "rocksdb.live-sst-files-size");
    uint64_t fit = LOOKUP_BYTES / (bytes / (rows + 1) + 1);
    l->batch = fit == 0 ? 1 : fit < ENGINE_LOOKUP_MAX ? (size_t)fit : ENGINE_LOOKUP_MAX;
    l->empty = v->n_marks == 0 && bytes == 0;
    enum status st = ST_OK;
    if (!l->empty && rows / DENSE <= expected)
        st = view_cursor(v, ENGINE_LIVE, ENGINE_BULK, NULL, &l->walk, err);
    if (st != ST_OK) {
        mem_free(l);
        return st;
    }
    rocks__hold(s->e);
    *ret = &l->base;
    return ST_OK;
}

const struct engine_view_ops rocks__view_ops = {view_cursor, view_row, view_lookup};
