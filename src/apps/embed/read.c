/* read.c - records of the present and of the past. */
#include "apps/embed/embed_internal.h"

#include <inttypes.h>

/* ---- when and where ---- */

enum status embed__moment(struct varve *db, const varve_at *at, struct version *ret,
                          struct err *err)
{
    struct version v = VERSION_NONE;
    enum status st = ST_OK;
    switch (at ? (int)at->kind : VARVE_AT_NOW) {
    case VARVE_AT_NOW:
        *ret = VERSION_NONE;
        return ST_OK;
    case VARVE_AT_VERSION:
        v = embed__version(at->version);
        if (version_is_none(v))
            return err_set(err, ST_INVALID_ARGUMENT, "at.version: it is none");
        break;
    case VARVE_AT_TIME:
        if (at->time_ms >> EMBED_TIME_BITS)
            return err_set(err, ST_FUTURE_TIME,
                           "at.time_ms: %" PRIu64 " is past the end of time (48 bits)",
                           at->time_ms);
        v = version_at_ms(at->time_ms);
        break;
    case VARVE_AT_SNAPSHOT:
        st = embed__check_name(at->snapshot, "at.snapshot", err);
        if (st == ST_OK)
            st = store_snapshot_find(db->store, BYTES_STR(at->snapshot), &v, err);
        break;
    default:
        return err_set(err, ST_INVALID_ARGUMENT, "at.kind: %d is no kind of moment", (int)at->kind);
    }
    if (st == ST_OK)
        st = store_fix_moment(db->store, v, err);
    if (st == ST_OK)
        *ret = v;
    return st;
}

enum status embed__collection(struct varve *db, const char *name, struct version at,
                              uint32_t *ret_id, struct err *err)
{
    if (!name)
        return embed__null("collection", err);
    struct bytes bytes = BYTES_STR(name);
    if (__builtin_expect(version_is_none(at), 1)) {
        struct collection *c;
        if (__builtin_expect(store_collection_find(db->store, bytes, &c, NULL) == ST_OK, 1)) {
            *ret_id = collection_id(c);
            return ST_OK;
        }
    }
    /* A name that no collection can have is the caller's mistake, told as one. */
    enum status st = embed__check_name(name, "collection", err);
    if (st != ST_OK)
        return st;
    if (version_is_none(at))
        return err_set(err, ST_NOT_FOUND, "no collection %s", name);
    return store_collection_at(db->store, bytes, at, ret_id, err);
}

/* ---- one record ---- */

static enum status no_key(struct err *err)
{
    /* By hand: misses are as hot as hits, and formatting would be the most of them. */
    static const char text[] = "no such key";
    if (err) {
        err->status = ST_NOT_FOUND;
        memcpy(err->detail, text, sizeof(text));
    }
    return ST_NOT_FOUND;
}

enum status embed__read(struct varve *db, struct bytes route, struct version at,
                        struct varve_value *v, struct err *err)
{
    struct record rec;
    struct buf *into = &v->bufs[v->shown ^ 1];
    enum status st = store_get(db->store, route, at, into, &rec, NULL);
    if (st == ST_NOT_FOUND)
        return no_key(err);
    if (__builtin_expect(st != ST_OK, 0)) {
        /* Without an error context nothing was formatted. What failed is read once more for its
         * detail. */
        st = store_get(db->store, route, at, into, &rec, err);
        if (st != ST_OK)
            return st;
    }
    v->shown ^= 1;
    v->rec = rec;
    return ST_OK;
}

enum status embed__read_key(struct varve *db, const char *collection, const void *key,
                            size_t key_len, struct version at, struct varve_value *v,
                            struct err *err)
{
    uint32_t id;
    struct route r;
    enum status st = embed__check_key(key, key_len, err);
    if (st == ST_OK)
        st = embed__collection(db, collection, at, &id, err);
    if (st == ST_OK)
        st = route_init(&r, id, key, key_len, err);
    if (st != ST_OK)
        return st;
    st = embed__read(db, r.key, at, v, err);
    route_deinit(&r);
    return st;
}

varve_status varve_get(varve *db, const char *collection, const void *key, size_t key_len,
                       const varve_at *at, varve_value *ret)
{
    struct err *err = embed__err();
    struct version when = VERSION_NONE;
    if (!db || !ret)
        return embed__done(embed__null(db ? "ret" : "db", err));
    if (at) {
        enum status st = embed__moment(db, at, &when, err);
        if (st != ST_OK)
            return embed__done(st);
    }
    return embed__done(embed__read_key(db, collection, key, key_len, when, ret, err));
}

/* ---- many records at one moment ---- */

/* The present goes by way of the cache as long as what it finds is not newer than `moment`: then it
 * was the newest at that moment too. Expiry is judged by the clock and not at the moment, which may
 * be the time of a write long ago. */
static enum status read_at_present(struct varve *db, const varve_key *k, struct version moment,
                                   struct varve_value *v, struct err *err)
{
    uint32_t id;
    struct route r;
    struct record rec;
    enum status st = embed__collection(db, k->collection, VERSION_NONE, &id, NULL);
    if (st == ST_NOT_FOUND) /* it may have been dropped since */
        st = embed__collection(db, k->collection, moment, &id, err);
    if (st == ST_OK)
        st = route_init(&r, id, k->key, k->key_len, err);
    if (st != ST_OK)
        return st;
    struct buf *into = &v->bufs[v->shown ^ 1];
    st = store_get(db->store, r.key, VERSION_NONE, into, &rec, NULL);
    if (st != ST_OK || rec.version.hlc > moment.hlc)
        st = store_get(db->store, r.key, moment, into, &rec, err);
    if (st == ST_OK && rec.expires_ms && rec.expires_ms <= env_now_ms(db->env))
        st = ST_NOT_FOUND;
    if (st == ST_OK) {
        v->shown ^= 1;
        v->rec = rec;
    }
    route_deinit(&r);
    return st;
}

static enum status read_each(struct varve *db, const varve_key *keys, size_t n, struct version at,
                             bool present, varve_value *const *ret, varve_status *ret_status,
                             struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        enum status st = present ? read_at_present(db, &keys[i], at, ret[i], err)
                                 : embed__read_key(db, keys[i].collection, keys[i].key,
                                                   keys[i].key_len, at, ret[i], err);
        if (st != ST_OK && st != ST_NOT_FOUND)
            return st;
        ret_status[i] = (varve_status)st;
    }
    return ST_OK;
}

static enum status get_many(struct varve *db, const varve_key *keys, size_t n, const varve_at *at,
                            varve_value *const *ret, varve_status *ret_status, struct err *err)
{
    struct version moment;
    if (!db)
        return embed__null("db", err);
    if (n > 0 && (!keys || !ret || !ret_status))
        return embed__null(!keys ? "keys" : !ret ? "ret" : "ret_status", err);
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        if (!ret[i])
            st = embed__null("ret", err);
        else if ((st = embed__check_key(keys[i].key, keys[i].key_len, err)) == ST_OK)
            st = embed__check_name(keys[i].collection, "collection", err);
        if (st != ST_OK)
            err_prefix(err, "keys[%zu]", i);
    }
    if (st == ST_OK)
        st = embed__moment(db, at, &moment, err);
    if (st != ST_OK)
        return st;
    if (!version_is_none(moment))
        return read_each(db, keys, n, moment, false, ret, ret_status, err);
    /* A vacuum may overtake the moment while it is read; a later one is as good. */
    for (int i = 0; i < WRITE_TRIES; i++) {
        moment = (struct version){store_visible(db->store).hlc, UINT32_MAX};
        st = read_each(db, keys, n, moment, true, ret, ret_status, err);
        if (st != ST_BELOW_HORIZON)
            break;
    }
    return st;
}

varve_status varve_get_many(varve *db, const varve_key *keys, size_t n, const varve_at *at,
                            varve_value *const *ret, varve_status *ret_status)
{
    return embed__done(get_many(db, keys, n, at, ret, ret_status, embed__err()));
}

/* ---- the difference of two versions ---- */

static enum status read_document(struct varve *db, const char *collection, const void *key,
                                 size_t key_len, varve_version at, const char *which,
                                 struct varve_value *v, struct err *err)
{
    struct version when = embed__version(at);
    enum status st = version_is_none(when) ? ST_OK : store_fix_moment(db->store, when, err);
    if (st == ST_OK)
        st = embed__read_key(db, collection, key, key_len, when, v, err);
    if (st == ST_OK && v->rec.type == RECORD_DOC)
        return ST_OK;
    char text[VERSION_TEXT_MAX] = "(the present)";
    if (st == ST_OK)
        when = v->rec.version;
    if (!version_is_none(when))
        version_format(when, text);
    if (st == ST_OK)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "version %s %s: the value is raw bytes, not a document", which, text);
    err_prefix(err, "version %s %s", which, text);
    return st;
}

static enum status diff(struct varve *db, const char *collection, const void *key, size_t key_len,
                        varve_version a, varve_version b, varve_diff_format format, char **ret,
                        struct err *err)
{
    struct varve_value va = {0}, vb = {0};
    struct buf out = BUF_INIT;
    size_t len;
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    if (format != VARVE_DIFF_PATHS && format != VARVE_DIFF_JSON_PATCH)
        return err_set(err, ST_INVALID_ARGUMENT, "format: %d is no format of a difference",
                       (int)format);
    if (version_is_none(embed__version(a)))
        return err_set(err, ST_INVALID_ARGUMENT, "a: the version is none");
    enum status st = read_document(db, collection, key, key_len, a, "a", &va, err);
    if (st == ST_OK)
        st = read_document(db, collection, key, key_len, b, "b", &vb, err);
    if (st == ST_OK)
        st = doc_diff(va.rec.value, vb.rec.value,
                      format == VARVE_DIFF_PATHS ? DOC_DIFF_PATHS : DOC_DIFF_JSON_PATCH, &out, err);
    if (st == ST_OK && !buf_cstr(&out))
        st = err_set(err, ST_NO_MEMORY, "no memory for a difference of %zu bytes", out.len);
    if (st == ST_OK)
        *ret = (char *)buf_steal(&out, &len);
    for (int i = 0; i < 2; i++) {
        buf_deinit(&va.bufs[i]);
        buf_deinit(&vb.bufs[i]);
    }
    buf_deinit(&out);
    return st;
}

varve_status varve_diff(varve *db, const char *collection, const void *key, size_t key_len,
                        varve_version a, varve_version b, varve_diff_format format, char **ret)
{
    return embed__done(diff(db, collection, key, key_len, a, b, format, ret, embed__err()));
}
