/* write.c - one record at a time. */
#include "serve/command/command_internal.h"

struct one {
    struct bytes collection, key;
    struct entry_op op;           /* all but the key */
    struct store_require require; /* all but the key; what 0: none */
    bool make;                    /* the collection, when there is none; else NOT_FOUND */
};

/* `once`: of a write with a request id, else NULL. *ret NULL: it was done before, when there was a
 * collection, as *ret_done. */
static enum status find_or_make(const struct command_db *db, const struct one *w,
                                const struct command_options *o, const struct store_request *once,
                                struct collection **ret, struct version *ret_done, struct err *err)
{
    enum status st = command__is_refused(db, w->collection)
                         ? command__refuse_system("collection", err)
                         : store_collection_find(db->store, w->collection, ret, NULL);
    if (st == ST_OK || st == ST_PERMISSION_DENIED)
        return st;
    if ((st = command__check_name(w->collection, "collection", err)) != ST_OK)
        return st;
    if ((!w->make || once) && command__look_again(db, err, &st) &&
        store_collection_find(db->store, w->collection, ret, NULL) == ST_OK)
        return ST_OK;
    if (st == ST_OK && once) {
        st = store_request_find(db->store, once, o->sync, ret_done, err);
        *ret = NULL;
        if (st != ST_NOT_FOUND)
            return st;
        st = ST_OK;
    }
    if (st != ST_OK)
        return st;
    if (!w->make)
        return err_set(err, ST_NOT_FOUND, "no collection %.*s", (int)w->collection.len,
                       (const char *)w->collection.data);
    st = store_collection_open(db->store, w->collection, o->writer, ret, err);
    return st == ST_NOT_FOUND ? ST_CANCELLED : st; /* dropped again at once */
}

static void digest(const struct command_db *db, const struct one *w,
                   const struct command_options *o, struct store_request *ret)
{
    struct request_digest d;
    request_begin(&d);
    request_add_op(&d, w->collection, w->key, &w->op, o->ttl_ms);
    if (w->require.what)
        request_add_require(&d, w->collection, w->key, &w->require);
    request_end(db, &d, o->request_id, ret);
}

static enum status try_one(const struct command_db *db, struct one *w,
                           const struct command_options *o, struct version *ret_version,
                           struct err *err)
{
    struct collection *c = NULL;
    struct route r;
    struct store_write write = {.collections = &c, .n_collections = 1, .sync = o->sync};
    struct store_request request;
    bool once = o->request_id.len > 0;
    if (once)
        digest(db, w, o, &request);
    enum status st = find_or_make(db, w, o, once ? &request : NULL, &c, ret_version, err);
    if (st == ST_OK && !c)
        return st;
    if (st == ST_OK)
        st = route_init(&r, collection_id(c), w->key, err);
    if (st != ST_OK)
        return st;
    w->op.key = w->require.key = r.key;
    if (w->require.what) {
        write.requires = &w->require;
        write.n_requires = 1;
    }
    struct entry_op ops[2] = {w->op};
    if (once) {
        ops[1] = request.op;
        write.request_id = o->request_id;
    }
    st = entry_encode(ops, once ? 2 : 1, o->writer, &write.entry, err);
    if (st == ST_OK) {
        st = store_propose(db->store, &write, err);
        *ret_version = write.version;
    }
    blob_unref(write.entry);
    route_deinit(&r);
    return st;
}

/* *ret_version: the write's; on PRECONDITION_FAILED the present one (none when absent). */
static enum status write_one(const struct command_db *db, struct one *w,
                             const struct command_options *o, struct version *ret_version,
                             struct err *err)
{
    for (int i = 0; i < COMMAND_TRIES; i++) {
        enum status st = try_one(db, w, o, ret_version, err);
        if (st != ST_CANCELLED || (st = command__catch_up(db, err)) != ST_OK)
            return st;
    }
    return err_set(err, ST_UNAVAILABLE,
                   "collection %.*s is dropped again and again while it is written to",
                   (int)w->collection.len, (const char *)w->collection.data);
}

static enum status check_one(const struct command_db *db, struct bytes collection, struct bytes key,
                             const struct command_options *o, struct command_options *ret,
                             struct err *err)
{
    if (!collection.data)
        return command__null("collection", err);
    enum status st = command__check_key(key, err);
    return st == ST_OK ? command__options(db, o, ret, err) : st;
}

/* The outcome of a write under a requirement, for the caller: a missing collection is a missing key. */
static enum status told(enum status st, const struct command_require *r, struct version *v,
                        struct version *ret, struct err *err)
{
    if (st == ST_NOT_FOUND &&
        (r->what == STORE_REQUIRE_VERSION || r->what == STORE_REQUIRE_PRESENT)) {
        *v = VERSION_NONE;
        st = err_set(err, ST_PRECONDITION_FAILED, "the key is absent%s",
                     r->what == STORE_REQUIRE_VERSION ? ", not at the version asked for" : "");
    }
    if ((st == ST_OK || (st == ST_PRECONDITION_FAILED && r->what)) && ret)
        *ret = *v;
    return st;
}

static enum status check_require(const struct command_require *r, struct err *err)
{
    enum status st = r->what ? command__check_require(r, err) : ST_OK;
    if (st != ST_OK)
        err_prefix(err, "require");
    return st;
}

enum status command_put(const struct command_db *db, const struct command_put *c,
                        struct version *ret, struct err *err)
{
    struct command_options o;
    struct version v = VERSION_NONE;
    struct buf scratch = BUF_INIT;
    struct one w = {.collection = c->collection,
                    .key = c->key,
                    .op = {.kind = RECORD_PUT},
                    .require = {.what = c->require.what, .version = c->require.version},
                    .make = !c->require.what || c->require.what == STORE_REQUIRE_ABSENT};
    enum status st = check_one(db, c->collection, c->key, &c->options, &o, err);
    if (st == ST_OK)
        st = check_require(&c->require, err);
    if (st == ST_OK)
        st = command__check_value(c->value, &scratch, &w.op.type, &w.op.value, err);
    if (st == ST_OK && o.ttl_ms)
        st = command__expiry(env_now_ms(db->env), o.ttl_ms, &w.op.expires_ms, err);
    if (st == ST_OK)
        st = told(write_one(db, &w, &o, &v, err), &c->require, &v, ret, err);
    buf_deinit(&scratch);
    return st;
}

/* ---- delete ---- */

static enum status delete_one(const struct command_db *db, struct bytes collection,
                              struct bytes key, const struct command_require *r,
                              const struct command_options *o, struct version *ret_version,
                              struct err *err)
{
    struct one w = {.collection = collection,
                    .key = key,
                    .op = {.kind = RECORD_DELETE, .value = BYTES_EMPTY},
                    .require = {.what = STORE_REQUIRE_PRESENT}};
    if (r->what)
        w.require = (struct store_require){.what = r->what, .version = r->version};
    enum status st = write_one(db, &w, o, ret_version, err);
    return st == ST_PRECONDITION_FAILED && !r->what ? err_set(err, ST_NOT_FOUND, "no such key")
                                                    : st;
}

enum status command_delete(const struct command_db *db, const struct command_delete *c,
                           struct version *ret, struct err *err)
{
    struct command_options o;
    struct version v = VERSION_NONE;
    enum status st = check_one(db, c->collection, c->key, &c->options, &o, err);
    if (st == ST_OK && o.ttl_ms)
        return err_set(err, ST_INVALID_ARGUMENT, "options.ttl_ms: a delete does not expire");
    if (st == ST_OK && c->require.what == STORE_REQUIRE_ABSENT)
        return err_set(err, ST_INVALID_ARGUMENT, "require.what: what is absent cannot be deleted");
    if (st == ST_OK)
        st = check_require(&c->require, err);
    if (st != ST_OK)
        return st;
    st = delete_one(db, c->collection, c->key, &c->require, &o, &v, err);
    return told(st, &c->require, &v, ret, err);
}

/* ---- restore ---- */

static enum status put_back(const struct command_db *db, const struct command_restore *c,
                            const struct command_options *o, const struct record *old,
                            struct version *ret_version, struct err *err)
{
    struct one w = {.collection = c->collection,
                    .key = c->key,
                    .op = {.kind = RECORD_PUT, .type = old->type, .value = old->value},
                    .make = true};
    enum status st = ST_OK;
    if (o->ttl_ms)
        st = command__expiry(env_now_ms(db->env), o->ttl_ms, &w.op.expires_ms, err);
    return st == ST_OK ? write_one(db, &w, o, ret_version, err) : st;
}

enum status command_restore(const struct command_db *db, const struct command_restore *c,
                            struct version *ret, struct err *err)
{
    struct command_options o;
    struct command_require none = {0};
    struct version when, v;
    struct buf buf = BUF_INIT;
    struct record old;
    enum status st = check_one(db, c->collection, c->key, &c->options, &o, err);
    if (st == ST_OK)
        st = command_moment(db, &c->at, &when, err);
    if (st == ST_OK && version_is_none(when))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "at: the present cannot be restored; name a version, a time or a snapshot");
    if (st != ST_OK)
        return st;
    st = command__read(db, c->collection, c->key, when, &buf, &old, err);
    if (st == ST_OK)
        st = put_back(db, c, &o, &old, &v, err);
    else if (st == ST_NOT_FOUND && o.ttl_ms)
        st = err_set(err, ST_INVALID_ARGUMENT,
                     "options.ttl_ms: the key was absent then, and a delete does not expire");
    else if (st == ST_NOT_FOUND)
        st = delete_one(db, c->collection, c->key, &none, &o, &v, err);
    buf_deinit(&buf);
    if (st == ST_OK && ret)
        *ret = v;
    return st;
}
