/* read.c - records of the present and of the past. */
#include "serve/command/command_internal.h"

#include <inttypes.h>

/* ---- when and where ---- */

static enum status named_moment(const struct command_db *db, const struct command_at *at,
                                struct version *ret, struct err *err)
{
    enum status st = ST_OK;
    switch (at->kind) {
    case COMMAND_AT_VERSION:
        if (version_is_none(at->version))
            return err_set(err, ST_INVALID_ARGUMENT, "at.version: it is none");
        *ret = at->version;
        return ST_OK;
    case COMMAND_AT_TIME:
        if (at->time_ms >> COMMAND_TIME_BITS)
            return err_set(err, ST_FUTURE_TIME,
                           "at.time_ms: %" PRIu64 " is past the end of time (48 bits)",
                           at->time_ms);
        *ret = version_at_ms(at->time_ms);
        return ST_OK;
    case COMMAND_AT_SNAPSHOT:
        st = command__check_name(at->snapshot, "at.snapshot", err);
        if (st == ST_OK)
            st = command__present(db, err); /* the name is looked up in the present */
        return st == ST_OK ? store_snapshot_find(db->store, at->snapshot, ret, err) : st;
    case COMMAND_AT_NOW:
        break;
    }
    return err_set(err, ST_INVALID_ARGUMENT, "at.kind: %d is no kind of moment", (int)at->kind);
}

enum status command_present(const struct command_db *db, struct err *err)
{
    return command__present(db, err);
}

enum status command_moment(const struct command_db *db, const struct command_at *at,
                           struct version *ret, struct err *err)
{
    struct version v = VERSION_NONE;
    enum status st = ST_OK;
    if (at && at->kind != COMMAND_AT_NOW)
        st = named_moment(db, at, &v, err);
    else
        st = command__present(db, err);
    /* What lies at or below what is visible stands; waiting for the writers of today would gain
     * nothing. */
    if (st == ST_OK && v.hlc > store_visible(db->store).hlc)
        st = store_fix_moment(db->store, v, err);
    if (st == ST_OK)
        *ret = v;
    return st;
}

static enum status would_wait(struct err *err)
{
    /* By hand: formatting would cost more than the read that is saved. */
    static const char text[] = "not in memory";
    if (err) {
        err->status = ST_TIMED_OUT;
        memcpy(err->detail, text, sizeof(text));
    }
    return ST_TIMED_OUT;
}

static enum status collection_then(const struct command_db *db, struct bytes name,
                                   struct version at, bool cached, uint32_t *ret_id,
                                   struct err *err)
{
    /* A name that no collection can have is the caller's mistake, told as one. */
    enum status st = command__check_collection(db, name, "collection", err);
    if (st != ST_OK)
        return st;
    if (version_is_none(at))
        return err_set(err, ST_NOT_FOUND, "no collection %.*s", (int)name.len,
                       (const char *)name.data);
    if (store_collection_known_at(db->store, name, at, ret_id))
        return ST_OK;
    return cached ? would_wait(err) : store_collection_at(db->store, name, at, ret_id, err);
}

static inline enum status collection_of(const struct command_db *db, struct bytes name,
                                        struct version at, bool cached, uint32_t *ret_id,
                                        struct err *err)
{
    if (__builtin_expect(version_is_none(at) && name.data && !command__is_refused(db, name), 1)) {
        struct collection *c;
        if (__builtin_expect(store_collection_find(db->store, name, &c, NULL) == ST_OK, 1)) {
            *ret_id = collection_id(c);
            return ST_OK;
        }
    }
    return collection_then(db, name, at, cached, ret_id, err);
}

enum status command__collection(const struct command_db *db, struct bytes name, struct version at,
                                uint32_t *ret_id, struct err *err)
{
    return collection_of(db, name, at, false, ret_id, err);
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

static inline enum status read_route(const struct command_db *db, struct bytes route,
                                     struct version at, bool cached, struct buf *buf,
                                     struct record *ret, struct err *err)
{
    enum status st = cached ? store_get_cached(db->store, route, at, buf, ret, NULL)
                            : store_get(db->store, route, at, buf, ret, NULL);
    if (__builtin_expect(st == ST_OK, 1))
        return st;
    if (st == ST_NOT_FOUND)
        return no_key(err);
    /* Without an error context nothing was formatted. What failed is read once more for its detail,
     * by one who may ask the disk. */
    return cached ? would_wait(err) : store_get(db->store, route, at, buf, ret, err);
}

static inline enum status read_key(const struct command_db *db, struct bytes collection,
                                   struct bytes key, struct version at, bool cached,
                                   struct buf *buf, struct record *ret, struct err *err)
{
    uint32_t id;
    struct route r;
    enum status st = command__check_key(key, err);
    if (st == ST_OK)
        st = collection_of(db, collection, at, cached, &id, err);
    if (st == ST_OK)
        st = route_init(&r, id, key, err);
    if (st != ST_OK)
        return st;
    st = read_route(db, r.key, at, cached, buf, ret, err);
    route_deinit(&r);
    return st;
}

enum status command__read(const struct command_db *db, struct bytes collection, struct bytes key,
                          struct version at, struct buf *buf, struct record *ret, struct err *err)
{
    return read_key(db, collection, key, at, false, buf, ret, err);
}

enum status command_get(const struct command_db *db, const struct command_get *c, struct buf *buf,
                        struct record *ret, struct err *err)
{
    struct version when = VERSION_NONE;
    enum status st = c->at ? command_moment(db, c->at, &when, err) : command__present(db, err);
    if (st != ST_OK)
        return st;
    return read_key(db, c->collection, c->key, when, false, buf, ret, err);
}

enum status command_get_cached(const struct command_db *db, const struct command_get *c,
                               struct buf *buf, struct record *ret, struct err *err)
{
    struct version when = VERSION_NONE;
    if (c->at && c->at->kind == COMMAND_AT_SNAPSHOT)
        return would_wait(err);
    enum status st = c->at ? command_moment(db, c->at, &when, err) : command__present(db, err);
    if (st != ST_OK)
        return st;
    return read_key(db, c->collection, c->key, when, true, buf, ret, err);
}

void command_ahead(const struct command_db *db, struct bytes collection, struct bytes key)
{
    struct collection *c;
    struct route r;
    if (!collection.data || command__check_key(key, NULL) != ST_OK ||
        store_collection_find(db->store, collection, &c, NULL) != ST_OK ||
        route_init(&r, collection_id(c), key, NULL) != ST_OK)
        return;
    store_ahead(db->store, r.key);
    route_deinit(&r);
}

/* ---- many records at one moment ---- */

/* The present goes by way of the cache as long as what it finds is not newer than `moment`: then it
 * was the newest at that moment too. Expiry is judged by the clock and not at the moment, which may
 * be the time of a write long ago. */
static enum status read_at_present(const struct command_db *db, const struct command_key *k,
                                   struct version moment, struct command_got *ret, struct err *err)
{
    uint32_t id;
    struct route r;
    enum status st = ST_OK;
    if (!store_collection_known_at(db->store, k->collection, moment, &id))
        st = command__collection(db, k->collection, moment, &id, err); /* dropped since, or made */
    if (st == ST_OK)
        st = route_init(&r, id, k->key, err);
    if (st != ST_OK)
        return st;
    st = store_get(db->store, r.key, VERSION_NONE, &ret->buf, &ret->rec, NULL);
    if (st != ST_OK || ret->rec.version.hlc > moment.hlc)
        st = store_get(db->store, r.key, moment, &ret->buf, &ret->rec, err);
    if (st == ST_OK && ret->rec.expires_ms && ret->rec.expires_ms <= env_now_ms(db->env))
        st = ST_NOT_FOUND;
    route_deinit(&r);
    return st;
}

static enum status read_each(const struct command_db *db, const struct command_get_many *c,
                             struct version at, bool present, struct command_got *ret,
                             struct err *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < c->n; i++) {
        const struct command_key *k = &c->keys[i];
        enum status st =
            present ? read_at_present(db, k, at, &ret[i], err)
                    : command__read(db, k->collection, k->key, at, &ret[i].buf, &ret[i].rec, err);
        if (st != ST_OK && st != ST_NOT_FOUND)
            return st;
        ret[i].st = st;
        if (st == ST_OK)
            bytes += ret[i].rec.value.len + ret[i].rec.writer.len;
        if (c->max_bytes && bytes > c->max_bytes)
            return err_set(err, ST_TOO_LARGE,
                           "keys: the first %zu of %zu have %zu bytes, over the limit of %zu",
                           i + 1, c->n, bytes, c->max_bytes);
    }
    return ST_OK;
}

enum status command_get_many(const struct command_db *db, const struct command_get_many *c,
                             struct command_got *ret, struct err *err)
{
    struct version moment;
    enum status st = ST_OK;
    for (size_t i = 0; i < c->n && st == ST_OK; i++) {
        if ((st = command__check_key(c->keys[i].key, err)) == ST_OK)
            st = command__check_collection(db, c->keys[i].collection, "collection", err);
        if (st != ST_OK)
            err_prefix(err, "keys[%zu]", i);
    }
    if (st == ST_OK)
        st = command_moment(db, c->at, &moment, err);
    if (st != ST_OK)
        return st;
    if (!version_is_none(moment))
        return read_each(db, c, moment, false, ret, err);
    /* A vacuum may overtake the moment while it is read; a later one is as good. */
    for (int i = 0; i < COMMAND_TRIES; i++) {
        moment = (struct version){store_visible(db->store).hlc, UINT32_MAX};
        st = read_each(db, c, moment, true, ret, err);
        if (st != ST_BELOW_HORIZON)
            break;
    }
    return st;
}

/* ---- the difference of two versions ---- */

static enum status read_document(const struct command_db *db, const struct command_diff *c,
                                 struct version when, const char *which, struct buf *buf,
                                 struct bytes *ret, struct err *err)
{
    struct record rec;
    struct command_at at = {.kind = COMMAND_AT_VERSION, .version = when};
    enum status st =
        version_is_none(when) ? command__present(db, err) : command_moment(db, &at, &when, err);
    if (st == ST_OK)
        st = command__read(db, c->collection, c->key, when, buf, &rec, err);
    if (st == ST_OK && rec.type == RECORD_DOC) {
        *ret = rec.value;
        return ST_OK;
    }
    char text[VERSION_TEXT_MAX] = "(the present)";
    if (st == ST_OK)
        when = rec.version;
    if (!version_is_none(when))
        version_format(when, text);
    if (st == ST_OK)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "version %s %s: the value is raw bytes, not a document", which, text);
    err_prefix(err, "version %s %s", which, text);
    return st;
}

enum status command_diff(const struct command_db *db, const struct command_diff *c, struct buf *ret,
                         struct err *err)
{
    struct buf bufs[2] = {BUF_INIT, BUF_INIT};
    struct bytes a, b;
    if (c->format != DOC_DIFF_PATHS && c->format != DOC_DIFF_JSON_PATCH)
        return err_set(err, ST_INVALID_ARGUMENT, "format: %d is no format of a difference",
                       (int)c->format);
    if (version_is_none(c->a))
        return err_set(err, ST_INVALID_ARGUMENT, "a: the version is none");
    enum status st = read_document(db, c, c->a, "a", &bufs[0], &a, err);
    if (st == ST_OK)
        st = read_document(db, c, c->b, "b", &bufs[1], &b, err);
    if (st == ST_OK)
        st = doc_diff(a, b, c->format, ret, err);
    buf_deinit(&bufs[0]);
    buf_deinit(&bufs[1]);
    return st;
}
