/* rocks_view.c - cursors and point reads of one snapshot. */
#include "base/alloc.h"
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

const struct engine_view_ops rocks__view_ops = {view_cursor, view_row, rocks__lookup};
