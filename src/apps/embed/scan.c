/* scan.c - everything that answers with an iterator over the store's rows. */
#include "apps/embed/embed_internal.h"

struct varve_iter *embed__iter_new(struct varve *db, struct err *err)
{
    struct varve_iter *it = mem_zalloc(sizeof(*it));
    if (!it) {
        err_set(err, ST_NO_MEMORY, "no memory for an iterator");
        return NULL;
    }
    it->db = db;
    it->collection = it->name;
    it->key = it->rec.value = it->rec.writer = BYTES_EMPTY;
    atomic_fetch_add_explicit(&db->open, 1, memory_order_relaxed);
    return it;
}

void varve_iter_close(varve_iter *it)
{
    if (!it)
        return;
    store_iter_close(it->rows);
    feed_close(it->feed);
    atomic_fetch_sub_explicit(&it->db->open, 1, memory_order_relaxed);
    mem_free(it);
}

/* ---- rows ---- */

static int next_of_store(varve_iter *it, struct err *err)
{
    struct store_row row;
    int rc = store_iter_next(it->rows, &row, err);
    if (rc <= 0)
        return rc;
    it->key = BYTES(row.key.data + it->skip, row.key.len - it->skip);
    it->rec = row.rec;
    if (it->keys_only)
        it->rec.value = BYTES_EMPTY;
    return 1;
}

static int next_of_feed(varve_iter *it, struct err *err)
{
    struct feed_row row;
    int rc = feed_next(it->feed, &row, err);
    if (rc <= 0)
        return rc;
    it->collection = row.collection;
    it->key = row.key;
    it->rec = row.rec;
    return 1;
}

int varve_iter_next(varve_iter *it)
{
    struct err *err = embed__err();
    if (!it)
        return -(int)embed__done(embed__null("it", err));
    if (it->failed != ST_OK)
        return -(int)embed__done(
            err_set(err, it->failed, "the iterator failed before: %s", status_text(it->failed)));
    int rc = it->rows ? next_of_store(it, err) : it->feed && !it->ended ? next_of_feed(it, err) : 0;
    it->has_row = rc > 0;
    if (rc > 0)
        return 1;
    it->key = it->rec.value = it->rec.writer = BYTES_EMPTY;
    it->ended = true;
    if (rc < 0) {
        it->failed = (enum status) - rc;
        return -(int)embed__done(it->failed);
    }
    return 0;
}

const char *varve_iter_collection(const varve_iter *it)
{
    return it && it->has_row ? it->collection : "";
}

varve_bytes varve_iter_key(const varve_iter *it)
{
    return it && it->has_row ? embed__bytes(it->key) : (varve_bytes){"", 0};
}

varve_bytes varve_iter_value(const varve_iter *it)
{
    return it && it->has_row ? embed__bytes(it->rec.value) : (varve_bytes){"", 0};
}

varve_type varve_iter_type(const varve_iter *it)
{
    return it && it->has_row ? (varve_type)it->rec.type : VARVE_RAW;
}

varve_version varve_iter_version(const varve_iter *it)
{
    return it && it->has_row ? embed__public(it->rec.version) : (varve_version){0, 0};
}

varve_version varve_iter_parent(const varve_iter *it)
{
    return it && it->has_row ? embed__public(it->rec.parent) : (varve_version){0, 0};
}

varve_bytes varve_iter_writer(const varve_iter *it)
{
    return it && it->has_row ? embed__bytes(it->rec.writer) : (varve_bytes){"", 0};
}

bool varve_iter_is_delete(const varve_iter *it)
{
    return it && it->has_row && it->rec.kind == RECORD_DELETE;
}

uint64_t varve_iter_expires_ms(const varve_iter *it)
{
    return it && it->has_row ? it->rec.expires_ms : 0;
}

const char *varve_iter_token(const varve_iter *it)
{
    return it && it->feed ? feed_token(it->feed) : "";
}

/* ---- bounds ---- */

struct bounds {
    struct buf lower, upper; /* routing keys */
    bool empty;
};

static void bounds_deinit(struct bounds *b)
{
    buf_deinit(&b->lower);
    buf_deinit(&b->upper);
}

static enum status bound(struct buf *out, uint32_t id, struct bytes key, struct err *err)
{
    uint8_t route[STORE_ROUTE_BYTES];
    embed__put_id(route, id);
    buf_clear(out);
    if (buf_append(out, route, sizeof(route)) != ST_OK ||
        buf_append(out, key.data, key.len) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a scan");
    return ST_OK;
}

/* One more than a key may have, so that "behind this key" can always be said: the key with a zero
 * byte after it. */
static enum status check_bound(varve_bytes b, const char *what, struct err *err)
{
    if (b.len > STORE_KEY_MAX + 1)
        return err_set(err, ST_TOO_LARGE, "%s: it has %zu bytes, over the limit of %d (64 KiB)",
                       what, b.len, STORE_KEY_MAX);
    return b.data || !b.len ? ST_OK : embed__null(what, err);
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

static enum status bounds_make(const varve_scan_options *o, uint32_t id, struct bounds *b,
                               struct err *err)
{
    struct bytes prefix = BYTES(o->prefix.data, o->prefix.len);
    struct bytes from = BYTES(o->from.data, o->from.len), to = BYTES(o->to.data, o->to.len);
    enum status st = bound(&b->lower, id, bytes_cmp(from, prefix) > 0 ? from : prefix, err);
    if (st == ST_OK)
        st = bound(&b->upper, id, prefix, err);
    if (st != ST_OK)
        return st;
    successor(&b->upper);
    if (to.len > 0) {
        struct bytes end = {b->upper.data, b->upper.len};
        struct buf stop = BUF_INIT;
        st = bound(&stop, id, to, err);
        if (st == ST_OK && bytes_cmp(buf_bytes(&stop), end) < 0) {
            buf_deinit(&b->upper);
            b->upper = stop;
        } else {
            buf_deinit(&stop);
        }
    }
    b->empty = bytes_cmp(buf_bytes(&b->lower), buf_bytes(&b->upper)) >= 0;
    return st;
}

/* ---- openers ---- */

static enum status check_scan(struct varve *db, const char *collection,
                              const varve_scan_options *given, varve_iter **ret,
                              varve_scan_options *o, struct err *err)
{
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    enum status st = embed__check_name(collection, "collection", err);
    if (st == ST_OK)
        st = embed__sized(o, sizeof(*o), given, "options", err);
    if (st == ST_OK)
        st = check_bound(o->prefix, "options.prefix", err);
    if (st == ST_OK)
        st = check_bound(o->from, "options.from", err);
    if (st == ST_OK)
        st = check_bound(o->to, "options.to", err);
    return st;
}

static enum status scan(struct varve *db, const char *collection, const varve_scan_options *given,
                        varve_iter **ret, struct err *err)
{
    varve_scan_options o;
    struct version at;
    struct bounds b = {0};
    uint32_t id;
    enum status st = check_scan(db, collection, given, ret, &o, err);
    if (st == ST_OK)
        st = embed__moment(db, &o.at, &at, err);
    if (st != ST_OK)
        return st;
    varve_iter *it = embed__iter_new(db, err);
    if (!it)
        return ST_NO_MEMORY;
    memcpy(it->name, collection, strlen(collection));
    it->skip = STORE_ROUTE_BYTES;
    it->keys_only = o.keys_only;
    st = embed__collection(db, collection, at, &id, err);
    if (st == ST_NOT_FOUND) {
        st = ST_OK; /* no rows */
    } else if (st == ST_OK) {
        st = bounds_make(&o, id, &b, err);
        struct store_scan q = {.in = {buf_bytes(&b.lower), buf_bytes(&b.upper)},
                               .at = at,
                               .reverse = o.reverse,
                               .keys_only = o.keys_only,
                               .limit = o.limit};
        if (st == ST_OK && !b.empty)
            st = store_scan(db->store, &q, &it->rows, err);
    }
    bounds_deinit(&b);
    if (st != ST_OK) {
        varve_iter_close(it);
        return st;
    }
    *ret = it;
    return ST_OK;
}

varve_status varve_scan(varve *db, const char *collection, const varve_scan_options *o,
                        varve_iter **ret)
{
    return embed__done(scan(db, collection, o, ret, embed__err()));
}

static enum status history(struct varve *db, const char *collection, const void *key,
                           size_t key_len, uint64_t limit, varve_iter **ret, struct err *err)
{
    uint32_t id;
    struct route r;
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    enum status st = embed__check_key(key, key_len, err);
    if (st == ST_OK)
        st = embed__check_name(collection, "collection", err);
    if (st != ST_OK)
        return st;
    varve_iter *it = embed__iter_new(db, err);
    if (!it)
        return ST_NO_MEMORY;
    memcpy(it->name, collection, strlen(collection));
    it->skip = STORE_ROUTE_BYTES;
    st = embed__collection(db, collection, VERSION_NONE, &id, err);
    if (st == ST_NOT_FOUND) {
        st = ST_OK; /* no rows */
    } else if (st == ST_OK && (st = route_init(&r, id, key, key_len, err)) == ST_OK) {
        st = store_history(db->store, r.key, limit, &it->rows, err);
        route_deinit(&r);
    }
    if (st != ST_OK) {
        varve_iter_close(it);
        return st;
    }
    *ret = it;
    return ST_OK;
}

varve_status varve_history(varve *db, const char *collection, const void *key, size_t key_len,
                           uint64_t limit, varve_iter **ret)
{
    return embed__done(history(db, collection, key, key_len, limit, ret, embed__err()));
}

static enum status list(struct varve *db,
                        enum status (*open)(struct store *s, struct store_iter **ret,
                                            struct err *err),
                        varve_iter **ret, struct err *err)
{
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    varve_iter *it = embed__iter_new(db, err);
    if (!it)
        return ST_NO_MEMORY;
    it->keys_only = true;
    enum status st = open(db->store, &it->rows, err);
    if (st != ST_OK) {
        varve_iter_close(it);
        return st;
    }
    *ret = it;
    return ST_OK;
}

varve_status varve_collections(varve *db, varve_iter **ret)
{
    return embed__done(list(db, store_collections, ret, embed__err()));
}

varve_status varve_snapshots(varve *db, varve_iter **ret)
{
    return embed__done(list(db, store_snapshots, ret, embed__err()));
}
