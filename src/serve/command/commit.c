/* commit.c - a batch becomes one entry.
 *
 * Names are looked up when the batch is committed, and the store checks again when it is applied:
 * collections that are there must still be, and for one that is missing its own record in the
 * catalog must still be absent. When that has changed on the way nothing is written, and all is
 * looked up anew. */
#include "serve/command/batch.h"

/* ---- names to collections ---- */

static bool look_up(const struct command_db *db, struct command_batch *b)
{
    bool all = true;
    for (size_t i = 0; i < b->n_names; i++) {
        struct batch_name *n = &b->names[i];
        if (store_collection_find(db->store, n->text, &n->collection, NULL) != ST_OK) {
            n->collection = NULL;
            all = false;
        }
    }
    return all;
}

static enum status make_missing(const struct command_db *db, struct command_batch *b,
                                struct bytes writer, struct err *err)
{
    for (size_t i = 0; i < b->n_names; i++) {
        struct batch_name *n = &b->names[i];
        if (n->collection || !n->written)
            continue;
        enum status st = store_collection_open(db->store, n->text, writer, &n->collection, err);
        if (st != ST_OK)
            return st == ST_NOT_FOUND ? ST_CANCELLED : st; /* dropped again at once */
    }
    return ST_OK;
}

static void set_prefix(struct bytes key, const struct collection *c)
{
    /* The arena is the batch's own; a batch has one owner, and its keys are whole only while it is
     * committed. */
    command__put_id((uint8_t *)(uintptr_t)key.data, collection_id(c));
}

/* ---- requirements, before anything is made for them ---- */

static enum status holds(const struct command_db *db, const struct batch_require *r,
                         const struct batch_name *n, struct buf *scratch, bool *ret,
                         struct err *err)
{
    struct record rec;
    enum status st = ST_NOT_FOUND;
    if (n->collection) {
        set_prefix(r->require.key, n->collection);
        st = store_get(db->store, r->require.key, VERSION_NONE, scratch, &rec, err);
    }
    if (st != ST_OK && st != ST_NOT_FOUND)
        return st;
    bool present = st == ST_OK;
    *ret = r->require.what == STORE_REQUIRE_ABSENT ? !present
           : r->require.what == STORE_REQUIRE_PRESENT
               ? present
               : present && version_cmp(rec.version, r->require.version) == 0;
    return ST_OK;
}

/* A batch that cannot be written must not leave collections behind. */
static enum status check_before(const struct command_db *db, struct command_batch *b,
                                size_t *ret_failed, struct err *err)
{
    struct buf scratch = BUF_INIT;
    enum status st = ST_OK;
    for (size_t i = 0; i < b->n_requires && st == ST_OK; i++) {
        static const char *const wanted[] = {"", "absent", "present", "at the version asked for"};
        const struct batch_require *r = &b->requires[i];
        bool fine;
        st = holds(db, r, &b->names[r->name], &scratch, &fine, err);
        if (st == ST_OK && !fine) {
            *ret_failed = i;
            st = err_set(err, ST_PRECONDITION_FAILED, "requirement %zu: the key is not %s", i,
                         wanted[r->require.what]);
        }
    }
    buf_deinit(&scratch);
    return st;
}

/* ---- what the store is asked to write ---- */

static enum status room(struct command_batch *b, struct err *err)
{
    if (batch__grow((void **)&b->entry_ops, &b->cap_entry_ops, b->n_ops + 1,
                    sizeof(*b->entry_ops)) != ST_OK ||
        batch__grow((void **)&b->store_requires, &b->cap_store_requires, b->n_requires,
                    sizeof(*b->store_requires)) != ST_OK ||
        batch__grow((void **)&b->collections, &b->cap_collections, b->n_names,
                    sizeof(*b->collections)) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to commit a batch");
    return ST_OK;
}

/* What makes an entry refused (a key twice, too many bytes) before anything is made for it, with ids
 * that no collection has in place of those that are missing. */
static enum status check_entry(struct command_batch *b, const struct command_options *o,
                               struct err *err)
{
    struct blob *entry = NULL;
    enum status st = room(b, err);
    for (size_t i = 0; i < b->n_ops && st == ST_OK; i++) {
        const struct batch_op *op = &b->ops[i];
        if (b->names[op->name].collection)
            set_prefix(op->op.key, b->names[op->name].collection);
        else
            command__put_id((uint8_t *)(uintptr_t)op->op.key.data, UINT32_MAX - (uint32_t)op->name);
        b->entry_ops[i] = op->op;
    }
    if (st == ST_OK)
        st = entry_encode(b->entry_ops, b->n_ops, o->writer, &entry, err);
    blob_unref(entry);
    return st;
}

static enum status put_ops(const struct command_db *db, struct command_batch *b, struct err *err)
{
    uint64_t now = 0;
    for (size_t i = 0; i < b->n_ops; i++) {
        const struct batch_op *op = &b->ops[i];
        set_prefix(op->op.key, b->names[op->name].collection);
        b->entry_ops[i] = op->op;
        if (!op->op.expires_ms)
            continue;
        if (!now)
            now = env_now_ms(db->env);
        b->entry_ops[i].expires_ms += now;
        if (b->entry_ops[i].expires_ms > COMMAND_EXPIRES_MAX) { /* let the check find the words */
            enum status st =
                command__expiry(now, op->op.expires_ms, &b->entry_ops[i].expires_ms, err);
            if (st != ST_OK)
                return st;
        }
    }
    return ST_OK;
}

/* The key of a missing collection's record in the catalog, in the arena. */
static enum status guard(struct command_batch *b, struct batch_name *n, struct err *err)
{
    struct buf key = BUF_INIT;
    if (n->guard.len)
        return ST_OK;
    enum status st = store_collection_key(n->text, &key);
    void *copy = st == ST_OK ? arena_memdup(&b->arena, key.data, key.len) : NULL;
    if (copy)
        n->guard = BYTES(copy, key.len);
    else
        st = err_set(err, ST_NO_MEMORY, "no memory to commit a batch");
    buf_deinit(&key);
    return st;
}

static enum status put_requires(struct command_batch *b, struct err *err)
{
    for (size_t i = 0; i < b->n_requires; i++) {
        const struct batch_require *r = &b->requires[i];
        struct batch_name *n = &b->names[r->name];
        b->store_requires[i] = r->require;
        if (n->collection) {
            set_prefix(r->require.key, n->collection);
            continue;
        }
        /* It passed check_before, so it asks for absence: held as long as the collection is not
         * made. */
        enum status st = guard(b, n, err);
        if (st != ST_OK)
            return st;
        b->store_requires[i] =
            (struct store_require){.key = n->guard, .what = STORE_REQUIRE_ABSENT};
    }
    return ST_OK;
}

static struct bytes user_key(struct bytes key)
{
    return BYTES(key.data + STORE_ROUTE_BYTES, key.len - STORE_ROUTE_BYTES);
}

/* In the order in which it was gathered: a copy of the request is gathered alike. */
static void put_request(const struct command_db *db, const struct command_batch *b, struct bytes id,
                        struct store_request *ret)
{
    struct request_digest d;
    request_begin(&d);
    for (size_t i = 0; i < b->n_ops; i++)
        request_add_op(&d, b->names[b->ops[i].name].text, user_key(b->ops[i].op.key), &b->ops[i].op,
                       b->ops[i].op.expires_ms);
    for (size_t i = 0; i < b->n_requires; i++)
        request_add_require(&d, b->names[b->requires[i].name].text,
                            user_key(b->requires[i].require.key), &b->requires[i].require);
    request_end(db, &d, id, ret);
}

static enum status propose(const struct command_db *db, struct command_batch *b,
                           const struct command_options *o, struct store_write *w, struct err *err)
{
    enum status st = room(b, err);
    if (st == ST_OK)
        st = put_ops(db, b, err);
    if (st == ST_OK)
        st = put_requires(b, err);
    if (st != ST_OK)
        return st;
    size_t n = 0;
    for (size_t i = 0; i < b->n_names; i++)
        if (b->names[i].collection)
            b->collections[n++] = b->names[i].collection;
    *w = (struct store_write){.requires = b->store_requires,
                              .n_requires = b->n_requires,
                              .collections = b->collections,
                              .n_collections = n,
                              .sync = o->sync,
                              .request_id = o->request_id};
    struct store_request request;
    size_t n_ops = b->n_ops;
    if (o->request_id.len) {
        put_request(db, b, o->request_id, &request);
        b->entry_ops[n_ops++] = request.op;
    }
    st = entry_encode(b->entry_ops, n_ops, o->writer, &w->entry, err);
    if (st == ST_OK)
        st = store_propose(db->store, w, err);
    blob_unref(w->entry);
    w->entry = NULL;
    /* A guard that no longer holds is not the caller's requirement. */
    if (st == ST_PRECONDITION_FAILED && !b->names[b->requires[w->failed].name].collection)
        return ST_CANCELLED;
    return st;
}

/* NOT_FOUND: it was not, as far as a request id can tell. */
static enum status done_before(const struct command_db *db, const struct command_batch *b,
                               const struct command_options *o, struct version *ret,
                               struct err *err)
{
    struct store_request request;
    if (!o->request_id.len)
        return ST_NOT_FOUND;
    put_request(db, b, o->request_id, &request);
    return store_request_find(db->store, &request, o->sync, ret, err);
}

/* Names are missing. *ret_done: the batch was done already, when they were there. */
static enum status for_missing(const struct command_db *db, struct command_batch *b,
                               const struct command_options *o, bool *ret_done,
                               struct version *ret_version, size_t *ret_failed, struct err *err)
{
    enum status st = done_before(db, b, o, ret_version, err);
    *ret_done = st == ST_OK;
    if (st != ST_NOT_FOUND)
        return st;
    st = check_entry(b, o, err);
    if (st == ST_OK)
        st = check_before(db, b, ret_failed, err);
    return st == ST_OK ? make_missing(db, b, o->writer, err) : st;
}

static enum status try_commit(const struct command_db *db, struct command_batch *b,
                              const struct command_options *o, struct version *ret_version,
                              size_t *ret_failed, struct err *err)
{
    struct store_write w = {0};
    size_t failed = 0;
    bool done = false;
    enum status st = ST_OK;
    bool all = look_up(db, b);
    if (!all && command__look_again(db, err, &st))
        all = look_up(db, b);
    if (!all && st == ST_OK)
        st = for_missing(db, b, o, &done, &w.version, &failed, err);
    if (st == ST_OK && !done) {
        st = propose(db, b, o, &w, err);
        failed = w.failed;
    }
    if (st == ST_OK && ret_version)
        *ret_version = w.version;
    if (st == ST_PRECONDITION_FAILED && ret_failed)
        *ret_failed = failed;
    return st;
}

enum status command_commit(const struct command_db *db, struct command_batch *b,
                           const struct command_options *given, struct version *ret_version,
                           size_t *ret_failed, struct err *err)
{
    struct command_options o;
    if (b->n_ops == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "b: the batch writes nothing");
    enum status st = command__options(db, given, &o, err);
    if (st == ST_OK && o.ttl_ms)
        return err_set(err, ST_INVALID_ARGUMENT, "options.ttl_ms: in a batch each put has its own");
    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < b->n_names; i++) /* a batch is gathered without a db */
        if (command__is_refused(db, b->names[i].text))
            return command__refuse_system("collection", err);
    for (int i = 0; i < COMMAND_TRIES; i++) {
        st = try_commit(db, b, &o, ret_version, ret_failed, err);
        if (st != ST_CANCELLED || (st = command__catch_up(db, err)) != ST_OK)
            return st;
    }
    return err_set(
        err, ST_UNAVAILABLE,
        "a collection of the batch is dropped or made again and again while it is committed");
}
