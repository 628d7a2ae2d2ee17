/* scan.c - what lies between bounds, and the iterators. */
#include "serve/command/command_internal.h"

/* ---- bounds ---- */

void bounds_deinit(struct bounds *b)
{
    buf_deinit(&b->lower);
    buf_deinit(&b->upper);
}

static enum status bound(struct buf *out, uint32_t id, struct bytes key, struct err *err)
{
    uint8_t route[STORE_ROUTE_BYTES];
    command__put_id(route, id);
    buf_clear(out);
    if (buf_append(out, route, sizeof(route)) != ST_OK ||
        buf_append(out, key.data, key.len) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a scan");
    return ST_OK;
}

/* The first key behind all that start with `prefix` (routing key and all: the id itself never is
 * all 0xff). */
static void successor(struct buf *prefix)
{
    while (prefix->len > 0 && prefix->data[prefix->len - 1] == 0xff)
        prefix->len--;
    ASSERT(prefix->len > 0);
    prefix->data[prefix->len - 1]++;
}

/* The upper bound is `key` (exclusive) if that is nearer. */
static enum status lower_the_upper(struct bounds *b, uint32_t id, struct bytes key, struct err *err)
{
    struct buf stop = BUF_INIT;
    enum status st = bound(&stop, id, key, err);
    if (st == ST_OK && bytes_cmp(buf_bytes(&stop), buf_bytes(&b->upper)) < 0) {
        buf_deinit(&b->upper);
        b->upper = stop;
    } else {
        buf_deinit(&stop);
    }
    return st;
}

enum status bounds_make(const struct command_scan_options *o, struct bytes after, uint32_t id,
                        struct bounds *b, struct err *err)
{
    struct bytes lower = bytes_cmp(o->from, o->prefix) > 0 ? o->from : o->prefix;
    bool narrow = after.len > 0 && !o->reverse && bytes_cmp(after, lower) >= 0;
    enum status st = bound(&b->lower, id, narrow ? after : lower, err);
    if (st == ST_OK && narrow && buf_append_u8(&b->lower, 0) != ST_OK) /* right behind it */
        st = err_set(err, ST_NO_MEMORY, "no memory for a scan");
    if (st == ST_OK)
        st = bound(&b->upper, id, o->prefix, err);
    if (st != ST_OK)
        return st;
    successor(&b->upper);
    if (o->to.len > 0)
        st = lower_the_upper(b, id, o->to, err);
    if (st == ST_OK && after.len > 0 && o->reverse)
        st = lower_the_upper(b, id, after, err);
    b->empty = bytes_cmp(buf_bytes(&b->lower), buf_bytes(&b->upper)) >= 0;
    return st;
}

enum status command__check_scan(const struct command_db *db, const struct command_scan *c,
                                struct err *err)
{
    enum status st = command__check_collection(db, c->collection, "collection", err);
    if (st == ST_OK)
        st = command__check_bound(c->options.prefix, "options.prefix", err);
    if (st == ST_OK)
        st = command__check_bound(c->options.from, "options.from", err);
    if (st == ST_OK)
        st = command__check_bound(c->options.to, "options.to", err);
    return st;
}

/* ---- iterators ---- */

enum status command_scan(const struct command_db *db, const struct command_scan *c,
                         struct store_iter **ret, struct err *err)
{
    struct version at;
    struct bounds b = {0};
    struct store_iter *it = NULL;
    uint32_t id;
    enum status st = command__check_scan(db, c, err);
    if (st == ST_OK)
        st = command_moment(db, c->at, &at, err);
    if (st != ST_OK)
        return st;
    st = command__collection(db, c->collection, at, &id, err);
    if (st == ST_NOT_FOUND) {
        st = ST_OK; /* no rows */
    } else if (st == ST_OK) {
        st = bounds_make(&c->options, BYTES_EMPTY, id, &b, err);
        struct store_scan q = {.in = {buf_bytes(&b.lower), buf_bytes(&b.upper)},
                               .at = at,
                               .reverse = c->options.reverse,
                               .keys_only = c->options.keys_only,
                               .limit = c->options.limit};
        if (st == ST_OK && !b.empty)
            st = store_scan(db->store, &q, &it, err);
    }
    bounds_deinit(&b);
    if (st == ST_OK)
        *ret = it;
    return st;
}

enum status command_history(const struct command_db *db, const struct command_history *c,
                            struct store_iter **ret, struct err *err)
{
    uint32_t id;
    struct route r;
    struct store_iter *it = NULL;
    enum status st = command__check_key(c->key, err);
    if (st == ST_OK)
        st = command__check_collection(db, c->collection, "collection", err);
    if (st == ST_OK)
        st = command__present(db, err);
    if (st != ST_OK)
        return st;
    st = command__collection(db, c->collection, VERSION_NONE, &id, err);
    if (st == ST_NOT_FOUND) {
        st = ST_OK; /* no rows */
    } else if (st == ST_OK && (st = route_init(&r, id, c->key, err)) == ST_OK) {
        st = store_history(db->store, r.key, c->limit, &it, err);
        route_deinit(&r);
    }
    if (st == ST_OK)
        *ret = it;
    return st;
}
