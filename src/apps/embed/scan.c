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

/* ---- openers ---- */

static enum status opened(struct varve *db, const char *collection, struct store_iter *rows,
                          bool keys_only, varve_iter **ret, struct err *err)
{
    varve_iter *it = embed__iter_new(db, err);
    if (!it) {
        store_iter_close(rows);
        return ST_NO_MEMORY;
    }
    memcpy(it->name, collection, strlen(collection));
    it->skip = STORE_ROUTE_BYTES;
    it->keys_only = keys_only;
    it->rows = rows;
    *ret = it;
    return ST_OK;
}

static enum status scan(struct varve *db, const char *collection, const varve_scan_options *given,
                        varve_iter **ret, struct err *err)
{
    varve_scan_options o;
    struct store_iter *rows;
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    enum status st = embed__sized(&o, sizeof(o), given, "options", err);
    if (st != ST_OK)
        return st;
    struct command_at at = embed__at(&o.at);
    struct command_scan c = {.collection = embed__name(collection),
                             .at = &at,
                             .options = {.prefix = BYTES(o.prefix.data, o.prefix.len),
                                         .from = BYTES(o.from.data, o.from.len),
                                         .to = BYTES(o.to.data, o.to.len),
                                         .reverse = o.reverse,
                                         .keys_only = o.keys_only,
                                         .limit = o.limit}};
    st = command_scan(&db->on, &c, &rows, err);
    return st == ST_OK ? opened(db, collection, rows, o.keys_only, ret, err) : st;
}

varve_status varve_scan(varve *db, const char *collection, const varve_scan_options *o,
                        varve_iter **ret)
{
    return embed__done(scan(db, collection, o, ret, embed__err()));
}

static enum status history(struct varve *db, const char *collection, const void *key,
                           size_t key_len, uint64_t limit, varve_iter **ret, struct err *err)
{
    struct store_iter *rows;
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    struct command_history c = {
        .collection = embed__name(collection), .key = BYTES(key, key_len), .limit = limit};
    enum status st = command_history(&db->on, &c, &rows, err);
    return st == ST_OK ? opened(db, collection, rows, false, ret, err) : st;
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
    enum status st = open(db->on.store, &it->rows, err);
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
