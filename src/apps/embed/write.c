/* write.c - one record at a time. */
#include "apps/embed/embed_internal.h"

enum status embed__settings(struct varve *db, const varve_write_options *given,
                            struct write_settings *ret, struct err *err)
{
    struct write_settings s = {.writer = db->writer};
    varve_write_options o;
    if (!given) {
        *ret = s;
        return ST_OK;
    }
    enum status st = embed__sized(&o, sizeof(o), given, "options", err);
    if (st == ST_OK)
        st = embed__check_sync(o.sync, "options.sync", err);
    if (st == ST_OK && o.writer)
        st = embed__check_writer(o.writer, &s.writer, err);
    if (st != ST_OK)
        return st;
    s.sync = (enum store_sync)o.sync;
    s.ttl_ms = o.ttl_ms;
    *ret = s;
    return ST_OK;
}

struct one {
    const char *collection;
    const void *key;
    size_t key_len;
    struct entry_op op;           /* all but the key */
    struct store_require require; /* all but the key; what 0: none */
    bool make;                    /* the collection, when there is none; else NOT_FOUND */
};

static enum status find_or_make(struct varve *db, const struct one *w, struct bytes writer,
                                struct collection **ret, struct err *err)
{
    struct bytes name = BYTES_STR(w->collection);
    enum status st = store_collection_find(db->store, name, ret, NULL);
    if (st == ST_OK)
        return ST_OK;
    if ((st = embed__check_name(w->collection, "collection", err)) != ST_OK)
        return st;
    if (!w->make)
        return err_set(err, ST_NOT_FOUND, "no collection %s", w->collection);
    st = store_collection_open(db->store, name, writer, ret, err);
    return st == ST_NOT_FOUND ? ST_CANCELLED : st; /* dropped again at once */
}

static enum status try_one(struct varve *db, struct one *w, const struct write_settings *s,
                           struct version *ret_version, struct err *err)
{
    struct collection *c = NULL;
    struct route r;
    struct store_write write = {.collections = &c, .n_collections = 1, .sync = s->sync};
    enum status st = find_or_make(db, w, s->writer, &c, err);
    if (st == ST_OK)
        st = route_init(&r, collection_id(c), w->key, w->key_len, err);
    if (st != ST_OK)
        return st;
    w->op.key = w->require.key = r.key;
    if (w->require.what) {
        write.requires = &w->require;
        write.n_requires = 1;
    }
    st = entry_encode(&w->op, 1, s->writer, &write.entry, err);
    if (st == ST_OK) {
        st = store_propose(db->store, &write, err);
        *ret_version = write.version;
    }
    blob_unref(write.entry);
    route_deinit(&r);
    return st;
}

/* *ret_version: the write's; on PRECONDITION_FAILED the present one (none when absent). */
static enum status write_one(struct varve *db, struct one *w, const struct write_settings *s,
                             struct version *ret_version, struct err *err)
{
    enum status st = ST_OK;
    for (int i = 0; i < WRITE_TRIES; i++)
        if ((st = try_one(db, w, s, ret_version, err)) != ST_CANCELLED)
            return st;
    return err_set(err, st, "collection %s is dropped again and again while it is written to",
                   w->collection);
}

static enum status check_one(struct varve *db, const char *collection, const void *key,
                             size_t key_len, const varve_write_options *o,
                             struct write_settings *ret, struct err *err)
{
    if (!db || !collection)
        return embed__null(db ? "collection" : "db", err);
    enum status st = embed__check_key(key, key_len, err);
    return st == ST_OK ? embed__settings(db, o, ret, err) : st;
}

/* ---- put and compare-and-set ---- */

static enum status put(struct varve *db, const char *collection, const void *key, size_t key_len,
                       struct store_require require, bool make, varve_type type, const void *data,
                       size_t len, const varve_write_options *o, struct version *ret_version,
                       struct err *err)
{
    struct write_settings s;
    struct buf scratch = BUF_INIT;
    struct one w = {.collection = collection,
                    .key = key,
                    .key_len = key_len,
                    .op = {.kind = RECORD_PUT},
                    .require = require,
                    .make = make};
    enum status st = check_one(db, collection, key, key_len, o, &s, err);
    if (st == ST_OK)
        st = embed__check_value(type, data, len, &scratch, &w.op.type, &w.op.value, err);
    if (st == ST_OK && s.ttl_ms)
        st = embed__expiry(db, s.ttl_ms, &w.op.expires_ms, err);
    if (st == ST_OK)
        st = write_one(db, &w, &s, ret_version, err);
    buf_deinit(&scratch);
    return st;
}

varve_status varve_put(varve *db, const char *collection, const void *key, size_t key_len,
                       varve_type type, const void *data, size_t len, const varve_write_options *o,
                       varve_version *ret_version)
{
    struct version v;
    enum status st = put(db, collection, key, key_len, (struct store_require){0}, true, type, data,
                         len, o, &v, embed__err());
    if (st == ST_OK && ret_version)
        *ret_version = embed__public(v);
    return embed__done(st);
}

varve_status varve_compare_and_set(varve *db, const char *collection, const void *key,
                                   size_t key_len, varve_version expected, varve_type type,
                                   const void *data, size_t len, const varve_write_options *o,
                                   varve_version *ret_version)
{
    struct err *err = embed__err();
    struct version v = VERSION_NONE;
    struct store_require require = {.what = STORE_REQUIRE_ABSENT};
    bool absent = version_is_none(embed__version(expected));
    if (!absent)
        require = (struct store_require){.what = STORE_REQUIRE_VERSION,
                                         .version = embed__version(expected)};
    enum status st =
        put(db, collection, key, key_len, require, absent, type, data, len, o, &v, err);
    if (st == ST_NOT_FOUND && !absent) { /* the collection, and so the key */
        v = VERSION_NONE;
        st =
            err_set(err, ST_PRECONDITION_FAILED, "the key is absent, not at the version asked for");
    }
    if ((st == ST_OK || st == ST_PRECONDITION_FAILED) && ret_version)
        *ret_version = embed__public(v);
    return embed__done(st);
}

/* ---- delete ---- */

static enum status delete_one(struct varve *db, const char *collection, const void *key,
                              size_t key_len, const struct write_settings *s,
                              struct version *ret_version, struct err *err)
{
    struct one w = {.collection = collection,
                    .key = key,
                    .key_len = key_len,
                    .op = {.kind = RECORD_DELETE, .value = BYTES_EMPTY},
                    .require = {.what = STORE_REQUIRE_PRESENT}};
    enum status st = write_one(db, &w, s, ret_version, err);
    return st == ST_PRECONDITION_FAILED ? err_set(err, ST_NOT_FOUND, "no such key") : st;
}

static enum status check_delete(struct varve *db, const char *collection, const void *key,
                                size_t key_len, const varve_write_options *o,
                                struct write_settings *ret, struct err *err)
{
    enum status st = check_one(db, collection, key, key_len, o, ret, err);
    if (st == ST_OK && ret->ttl_ms)
        return err_set(err, ST_INVALID_ARGUMENT, "options.ttl_ms: a delete does not expire");
    return st;
}

varve_status varve_delete(varve *db, const char *collection, const void *key, size_t key_len,
                          const varve_write_options *o, varve_version *ret_version)
{
    struct err *err = embed__err();
    struct write_settings s;
    struct version v;
    enum status st = check_delete(db, collection, key, key_len, o, &s, err);
    if (st == ST_OK)
        st = delete_one(db, collection, key, key_len, &s, &v, err);
    if (st == ST_OK && ret_version)
        *ret_version = embed__public(v);
    return embed__done(st);
}

/* ---- restore ---- */

static enum status restore(struct varve *db, const char *collection, const void *key,
                           size_t key_len, const varve_at *at, const varve_write_options *o,
                           struct version *ret_version, struct err *err)
{
    struct write_settings s;
    struct version when;
    struct varve_value old = {0};
    enum status st = check_one(db, collection, key, key_len, o, &s, err);
    if (st == ST_OK)
        st = embed__moment(db, at, &when, err);
    if (st == ST_OK && version_is_none(when))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "at: the present cannot be restored; name a version, a time or a snapshot");
    if (st != ST_OK)
        return st;
    st = embed__read_key(db, collection, key, key_len, when, &old, err);
    if (st == ST_OK) {
        struct one w = {.collection = collection,
                        .key = key,
                        .key_len = key_len,
                        .op = {.kind = RECORD_PUT, .type = old.rec.type, .value = old.rec.value},
                        .make = true};
        if (s.ttl_ms)
            st = embed__expiry(db, s.ttl_ms, &w.op.expires_ms, err);
        if (st == ST_OK)
            st = write_one(db, &w, &s, ret_version, err);
    } else if (st == ST_NOT_FOUND) {
        st = s.ttl_ms
                 ? err_set(err, ST_INVALID_ARGUMENT,
                           "options.ttl_ms: the key was absent then, and a delete does not expire")
                 : delete_one(db, collection, key, key_len, &s, ret_version, err);
    }
    buf_deinit(&old.bufs[0]);
    buf_deinit(&old.bufs[1]);
    return st;
}

varve_status varve_restore(varve *db, const char *collection, const void *key, size_t key_len,
                           const varve_at *at, const varve_write_options *o,
                           varve_version *ret_version)
{
    struct version v;
    enum status st = restore(db, collection, key, key_len, at, o, &v, embed__err());
    if (st == ST_OK && ret_version)
        *ret_version = embed__public(v);
    return embed__done(st);
}

varve_status varve_sync_now(varve *db)
{
    struct err *err = embed__err();
    return embed__done(db ? store_sync_now(db->store, err) : embed__null("db", err));
}
