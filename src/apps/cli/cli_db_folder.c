/* Verbs in a folder: include/varve/varve.h behind the seam. */
#include "apps/cli/cli_db.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"

struct folder {
    struct db db; /* first */
    varve *handle;
    varve_value *value;
    struct db_row row;
};

static varve *of(struct db *db)
{
    return ((struct folder *)db)->handle;
}

/* ---- rows ---- */

struct folder_rows {
    struct db_rows rows; /* first */
    varve_iter *it;
    varve_watch *watch;
    bool named, tokens; /* rows have a collection; a token */
    struct db_row row;
};

static void fill(struct folder_rows *r, const varve_iter *it)
{
    r->row = (struct db_row){.key = cli_bytes(varve_iter_key(it)),
                             .value = cli_bytes(varve_iter_value(it)),
                             .writer = cli_bytes(varve_iter_writer(it)),
                             .type = varve_iter_type(it),
                             .version = varve_iter_version(it),
                             .parent = varve_iter_parent(it),
                             .deleted = varve_iter_is_delete(it),
                             .expires_ms = varve_iter_expires_ms(it)};
    if (r->named)
        r->row.collection = varve_iter_collection(it);
    if (r->tokens)
        r->row.token = varve_iter_token(it);
}

static int rows_next(struct db_rows *rows, int64_t timeout_ms, const struct db_row **ret)
{
    struct folder_rows *r = (struct folder_rows *)rows;
    const varve_iter *it = r->it;
    int got = r->watch ? varve_watch_next(r->watch, timeout_ms, &it) : varve_iter_next(r->it);
    if (got != 1)
        return got;
    fill(r, it);
    *ret = &r->row;
    return 1;
}

static const char *rows_token(struct db_rows *rows)
{
    const struct folder_rows *r = (const struct folder_rows *)rows;
    return r->watch ? varve_watch_token(r->watch) : varve_iter_token(r->it);
}

static void rows_close(struct db_rows *rows)
{
    struct folder_rows *r = (struct folder_rows *)rows;
    varve_iter_close(r->it);
    if (r->watch)
        varve_watch_close(r->watch);
    mem_free(r);
}

static const struct db_rows_ops rows_ops = {rows_next, rows_token, rows_close};

/* Takes the iterator or the watch over; `st` is how their opening went. */
static varve_status make_rows(varve_status st, varve_iter *it, varve_watch *watch, bool changes,
                              struct db_rows **ret)
{
    if (st != VARVE_OK)
        return st;
    struct folder_rows *r = mem_alloc(sizeof *r);
    if (!r) {
        varve_iter_close(it);
        if (watch)
            varve_watch_close(watch);
        return VARVE_NO_MEMORY;
    }
    *r = (struct folder_rows){
        .rows = {&rows_ops}, .it = it, .watch = watch, .named = changes, .tokens = changes};
    *ret = &r->rows;
    return VARVE_OK;
}

/* ---- reading ---- */

static void row_of_value(const varve_value *v, struct db_row *row)
{
    *row = (struct db_row){.value = cli_bytes(varve_value_bytes(v)),
                           .writer = cli_bytes(varve_value_writer(v)),
                           .type = varve_value_type(v),
                           .version = varve_value_version(v),
                           .expires_ms = varve_value_expires_ms(v)};
}

static varve_status folder_get(struct db *db, const char *collection, struct bytes key,
                               const varve_at *at, const struct db_row **ret)
{
    struct folder *f = (struct folder *)db;
    if (!f->value && !(f->value = varve_value_new()))
        return VARVE_NO_MEMORY;
    varve_status st = varve_get(f->handle, collection, key.data, key.len, at, f->value);
    if (st != VARVE_OK)
        return st;
    row_of_value(f->value, &f->row);
    *ret = &f->row;
    return VARVE_OK;
}

static varve_status folder_get_many(struct db *db, const char *collection, const struct bytes *keys,
                                    size_t n,
                                    void (*tell)(void *arg, size_t i, const struct db_row *row),
                                    void *arg)
{
    varve_value **values = mem_zalloc(n * sizeof(varve_value *));
    varve_key *named = mem_alloc(n * sizeof *named);
    varve_status *statuses = mem_alloc(n * sizeof *statuses), st = VARVE_OK;
    if (!values || !named || !statuses)
        st = VARVE_NO_MEMORY;
    for (size_t i = 0; st == VARVE_OK && i < n; i++) {
        named[i] = (varve_key){collection, keys[i].data, keys[i].len};
        if (!(values[i] = varve_value_new()))
            st = VARVE_NO_MEMORY;
    }
    if (st == VARVE_OK)
        st = varve_get_many(of(db), named, n, NULL, values, statuses);
    for (size_t i = 0; values && i < n; i++) {
        struct db_row row;
        bool there = st == VARVE_OK && statuses[i] == VARVE_OK;
        if (there)
            row_of_value(values[i], &row);
        if (st == VARVE_OK)
            tell(arg, i, there ? &row : NULL);
        varve_value_free(values[i]);
    }
    mem_free(values);
    mem_free(named);
    mem_free(statuses);
    return st;
}

static varve_status folder_scan(struct db *db, const char *collection, const varve_scan_options *o,
                                struct db_rows **ret)
{
    varve_iter *it = NULL;
    varve_status st = varve_scan(of(db), collection, o, &it);
    return make_rows(st, it, NULL, false, ret);
}

static varve_status folder_history(struct db *db, const char *collection, struct bytes key,
                                   uint64_t limit, struct db_rows **ret)
{
    varve_iter *it = NULL;
    varve_status st = varve_history(of(db), collection, key.data, key.len, limit, &it);
    return make_rows(st, it, NULL, false, ret);
}

static varve_status snapshot_version(struct db *db, const char *name, varve_version *ret)
{
    varve_iter *it = NULL;
    varve_status st = varve_snapshots(of(db), &it);
    if (st != VARVE_OK)
        return st;
    int got;
    while ((got = varve_iter_next(it)) == 1 &&
           !bytes_eq(cli_bytes(varve_iter_key(it)), BYTES_STR(name)))
        ;
    if (got == 1)
        *ret = varve_iter_version(it);
    varve_iter_close(it);
    return got < 0 ? (varve_status)-got : got == 1 ? VARVE_OK : VARVE_NOT_FOUND;
}

/* The moment itself as a version, {0,0} for the present. Not the version of the record that was in force
 * then: that may lie below what retention keeps, where the moment does not. */
static varve_status moment_version(struct db *db, const varve_at *at, varve_version *ret)
{
    switch (at->kind) {
    case VARVE_AT_VERSION:
        *ret = at->version;
        return VARVE_OK;
    case VARVE_AT_TIME:
        *ret = cli_version_at(at->time_ms);
        return VARVE_OK;
    case VARVE_AT_SNAPSHOT:
        return snapshot_version(db, at->snapshot, ret);
    case VARVE_AT_NOW:
        break;
    }
    *ret = (varve_version){0, 0};
    return VARVE_OK;
}

static varve_status folder_diff(struct db *db, const char *collection, struct bytes key,
                                const varve_at *a, const varve_at *b, varve_diff_format format,
                                char **ret)
{
    varve_version from, to;
    varve_status st = moment_version(db, a, &from);
    if (st == VARVE_OK)
        st = moment_version(db, b, &to);
    if (st == VARVE_OK)
        st = varve_diff(of(db), collection, key.data, key.len, from, to, format, ret);
    return st;
}

static varve_status folder_changes(struct db *db, const struct db_changes *o, struct db_rows **ret)
{
    varve_iter *it = NULL;
    varve_watch *watch = NULL;
    varve_status st = o->follow ? varve_watch_open(of(db), o->token, &o->o, &watch)
                                : varve_changes(of(db), o->token, &o->o, &it);
    return make_rows(st, it, watch, true, ret);
}

static varve_status folder_collections(struct db *db, struct db_rows **ret)
{
    varve_iter *it = NULL;
    varve_status st = varve_collections(of(db), &it);
    return make_rows(st, it, NULL, false, ret);
}

static varve_status folder_snapshots(struct db *db, struct db_rows **ret)
{
    varve_iter *it = NULL;
    varve_status st = varve_snapshots(of(db), &it);
    return make_rows(st, it, NULL, false, ret);
}

static varve_status folder_newest(struct db *db, const char *collection, uint64_t now_ms,
                                  varve_version *ret)
{
    varve_stats s = {.size = sizeof s};
    varve_status st = varve_get_stats(of(db), &s);
    (void)collection;
    if (st != VARVE_OK)
        return st;
    varve_version now = cli_version_at(now_ms);
    bool later = s.newest.hlc && varve_version_compare(now, s.newest) > 0;
    *ret = later ? now : s.newest;
    return VARVE_OK;
}

static const struct db_read_ops folder_read = {
    .get = folder_get,
    .get_many = folder_get_many,
    .scan = folder_scan,
    .history = folder_history,
    .diff = folder_diff,
    .changes = folder_changes,
    .collections = folder_collections,
    .snapshots = folder_snapshots,
    .newest = folder_newest,
};

/* ---- writing ---- */

static varve_status folder_put(struct db *db, const struct db_put *p, const varve_version *expected,
                               const varve_write_options *o, varve_version *ret)
{
    if (expected)
        return varve_compare_and_set(of(db), p->collection, p->key.data, p->key.len, *expected,
                                     p->type, p->data.data, p->data.len, o, ret);
    return varve_put(of(db), p->collection, p->key.data, p->key.len, p->type, p->data.data,
                     p->data.len, o, ret);
}

/* Deletes only if the present version is the expected one: a batch of one, with its requirement. */
static varve_status folder_erase(struct db *db, const char *collection, struct bytes key,
                                 const varve_version *expected, const varve_write_options *o,
                                 varve_version *ret)
{
    if (!expected)
        return varve_delete(of(db), collection, key.data, key.len, o, ret);
    varve_batch *b = varve_batch_new();
    if (!b)
        return VARVE_NO_MEMORY;
    varve_status st =
        varve_batch_require(b, collection, key.data, key.len, VARVE_REQUIRE_VERSION, *expected);
    if (st == VARVE_OK)
        st = varve_batch_delete(b, collection, key.data, key.len);
    if (st == VARVE_OK)
        st = varve_commit(of(db), b, o, ret, NULL);
    varve_batch_free(b);
    return st;
}

static varve_status folder_restore(struct db *db, const char *collection, struct bytes key,
                                   const varve_at *at, const varve_write_options *o,
                                   varve_version *ret)
{
    return varve_restore(of(db), collection, key.data, key.len, at, o, ret);
}

static varve_status add_put(varve_batch *b, const struct db_put *p)
{
    return varve_batch_put(b, p->collection, p->key.data, p->key.len, p->type, p->data.data,
                           p->data.len, 0);
}

static varve_status folder_commit(struct db *db, const struct db_put *puts, size_t n,
                                  const struct db_put *mark, varve_version *mark_version,
                                  const varve_write_options *o)
{
    varve_batch *b = varve_batch_new();
    varve_status st = b ? VARVE_OK : VARVE_NO_MEMORY;
    for (size_t i = 0; st == VARVE_OK && i < n; i++)
        st = add_put(b, &puts[i]);
    if (st == VARVE_OK && mark)
        st = add_put(b, mark);
    if (st == VARVE_OK)
        st = varve_commit(of(db), b, o, mark_version, NULL);
    varve_batch_free(b);
    return st;
}

static varve_status folder_settle(struct db *db)
{
    (void)db;
    return VARVE_OK;
}

static void folder_step(struct db *db)
{
    (void)db;
}

static const struct db_write_ops folder_write = {
    .put = folder_put,
    .erase = folder_erase,
    .restore = folder_restore,
    .commit = folder_commit,
    .settle = folder_settle,
    .step = folder_step,
};

/* ---- care ---- */

static varve_status folder_drop(struct db *db, const char *collection, const varve_write_options *o)
{
    return varve_collection_drop(of(db), collection, o);
}

static varve_status folder_snapshot_create(struct db *db, const char *name, const varve_at *at,
                                           varve_version *ret)
{
    return varve_snapshot_create(of(db), name, at, ret);
}

static varve_status folder_snapshot_delete(struct db *db, const char *name)
{
    return varve_snapshot_delete(of(db), name);
}

static varve_status folder_retention_get(struct db *db, const char *collection,
                                         varve_retention *ret)
{
    return varve_retention_get(of(db), collection, ret);
}

static varve_status folder_retention_set(struct db *db, const char *collection,
                                         const varve_retention *r)
{
    return varve_retention_set(of(db), collection, r);
}

static varve_status folder_vacuum(struct db *db, const char *collection, varve_progress_fn progress,
                                  void *arg, varve_vacuum_result *ret)
{
    return varve_vacuum(of(db), collection, progress, arg, ret);
}

static varve_status folder_verify(struct db *db, void (*report)(void *arg, const varve_finding *f),
                                  varve_progress_fn progress, void *arg)
{
    return varve_verify(of(db), report, progress, arg);
}

static varve_status folder_checkpoint(struct db *db)
{
    return varve_checkpoint(of(db));
}

static varve_status folder_compact(struct db *db)
{
    return varve_compact(of(db));
}

static varve_status folder_stats(struct db *db, varve_stats *ret)
{
    return varve_get_stats(of(db), ret);
}

static const struct db_care_ops folder_care = {
    .drop = folder_drop,
    .snapshot_create = folder_snapshot_create,
    .snapshot_delete = folder_snapshot_delete,
    .retention_get = folder_retention_get,
    .retention_set = folder_retention_set,
    .vacuum = folder_vacuum,
    .verify = folder_verify,
    .checkpoint = folder_checkpoint,
    .compact = folder_compact,
    .stats = folder_stats,
};

/* ---- life ---- */

static const char *folder_error(struct db *db)
{
    (void)db;
    return varve_last_error();
}

static varve_status folder_close(struct db *db)
{
    struct folder *f = (struct folder *)db;
    varve_value_free(f->value);
    varve *handle = f->handle;
    mem_free(f);
    return varve_close(handle);
}

struct db *db_folder_new(varve *folder)
{
    struct folder *f = mem_alloc(sizeof *f);
    if (!f)
        return NULL;
    *f = (struct folder){.db = {.read = &folder_read,
                                .write = &folder_write,
                                .care = &folder_care,
                                .error = folder_error,
                                .close = folder_close},
                         .handle = folder};
    return &f->db;
}

varve *db_folder(struct db *db)
{
    return db && db->read == &folder_read ? of(db) : NULL;
}
