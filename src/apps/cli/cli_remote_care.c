/* Care of a server's database: lists, snapshots, retention, figures, long work. */
#include "apps/cli/cli_remote.h"
#include "base/alloc.h"
#include <string.h>

#define NO_DEADLINE UINT64_MAX /* of what may take long */

/* ---- lists: held whole, as their names are few ---- */

struct name {
    struct bytes text;
    varve_version version;
};
struct list_rows {
    struct db_rows rows; /* first */
    struct arena arena;
    struct buf names; /* of struct name */
    size_t at;
    struct db_row row;
};

static int list_next(struct db_rows *rows, int64_t timeout_ms, const struct db_row **ret)
{
    struct list_rows *r = (struct list_rows *)rows;
    struct name n;
    (void)timeout_ms;
    if ((r->at + 1) * sizeof n > r->names.len)
        return 0;
    memcpy(&n, r->names.data + r->at++ * sizeof n, sizeof n);
    r->row = (struct db_row){.key = n.text, .version = n.version};
    *ret = &r->row;
    return 1;
}

static void list_close(struct db_rows *rows)
{
    struct list_rows *r = (struct list_rows *)rows;
    arena_deinit(&r->arena);
    buf_deinit(&r->names);
    mem_free(r);
}

static const struct db_rows_ops list_ops = {list_next, NULL, list_close};

static bool list_add(struct list_rows *r, const char *name, const Varve__V1__Version *version)
{
    struct name n = {BYTES(arena_strdup(&r->arena, name), strlen(name)),
                     remote__version_of(version)};
    return n.text.data && buf_append(&r->names, &n, sizeof n) == ST_OK;
}

/* One page of either; *ret_token lies in the arena of the call. */
static varve_status list_page(struct remote *r, struct list_rows *rows, bool snapshots, char *token,
                              const char **ret_token)
{
    static const struct remote_method how_collections = {
        "varve.v1.Admin/ListCollections", &varve__v1__list_collections_response__descriptor,
        CLIENT_READ, 0};
    static const struct remote_method how_snapshots = {
        "varve.v1.Admin/ListSnapshots", &varve__v1__list_snapshots_response__descriptor,
        CLIENT_READ, 0};
    bool ok = true;
    varve_status st;
    if (snapshots) {
        Varve__V1__ListSnapshotsRequest m = VARVE__V1__LIST_SNAPSHOTS_REQUEST__INIT;
        const Varve__V1__ListSnapshotsResponse *answer;
        m.page_token = token;
        if ((st = remote__call(r, &how_snapshots, &m.base, &answer)) != VARVE_OK)
            return st;
        for (size_t i = 0; ok && i < answer->n_snapshots; i++)
            ok = list_add(rows, answer->snapshots[i]->name, answer->snapshots[i]->version);
        *ret_token = answer->next_page_token;
    } else {
        Varve__V1__ListCollectionsRequest m = VARVE__V1__LIST_COLLECTIONS_REQUEST__INIT;
        const Varve__V1__ListCollectionsResponse *answer;
        m.page_token = token;
        if ((st = remote__call(r, &how_collections, &m.base, &answer)) != VARVE_OK)
            return st;
        for (size_t i = 0; ok && i < answer->n_collections; i++)
            ok = list_add(rows, answer->collections[i]->name, answer->collections[i]->created);
        *ret_token = answer->next_page_token;
    }
    return ok ? VARVE_OK : remote__no_memory(r);
}

static varve_status list(struct remote *r, bool snapshots, struct db_rows **ret)
{
    struct list_rows *rows = mem_zalloc(sizeof *rows);
    const char *next = "";
    (void)remote__begin(r);
    if (!rows)
        return remote__no_memory(r);
    rows->rows.ops = &list_ops;
    arena_init(&rows->arena, 4096);
    varve_status st;
    do {
        char *token = remote__text(&rows->arena, next);
        st = token ? list_page(r, rows, snapshots, token, &next) : remote__no_memory(r);
    } while (st == VARVE_OK && *next);
    if (st != VARVE_OK) {
        list_close(&rows->rows);
        return st;
    }
    *ret = &rows->rows;
    return VARVE_OK;
}

varve_status remote__collections(struct db *db, struct db_rows **ret)
{
    return list(remote__of(db), false, ret);
}

varve_status remote__snapshots(struct db *db, struct db_rows **ret)
{
    return list(remote__of(db), true, ret);
}

/* ---- collections, snapshots, retention ---- */

static varve_status remote_drop(struct db *db, const char *collection, const varve_write_options *o)
{
    static const struct remote_method how = {"varve.v1.Admin/DropCollection",
                                             &varve__v1__drop_collection_response__descriptor,
                                             CLIENT_WRITE, 0};
    struct remote *r = remote__of(db);
    Varve__V1__DropCollectionRequest m = VARVE__V1__DROP_COLLECTION_REQUEST__INIT;
    const Varve__V1__DropCollectionResponse *answer;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    m.options = remote__options(&r->arena, o);
    return m.collection && m.options ? remote__call(r, &how, &m.base, &answer)
                                     : remote__no_memory(r);
}

static varve_status remote_snapshot_create(struct db *db, const char *name, const varve_at *at,
                                           varve_version *ret)
{
    static const struct remote_method how = {"varve.v1.Admin/CreateSnapshot",
                                             &varve__v1__create_snapshot_response__descriptor,
                                             CLIENT_WRITE, 0};
    struct remote *r = remote__of(db);
    Varve__V1__CreateSnapshotRequest m = VARVE__V1__CREATE_SNAPSHOT_REQUEST__INIT;
    const Varve__V1__CreateSnapshotResponse *answer;
    (void)remote__begin(r);
    m.name = remote__text(&r->arena, name);
    m.at = remote__at(&r->arena, at);
    if (!m.name || !m.at)
        return remote__no_memory(r);
    varve_status st = remote__call(r, &how, &m.base, &answer);
    if (st == VARVE_OK && answer->snapshot)
        *ret = remote__version_of(answer->snapshot->version);
    return st;
}

static varve_status remote_snapshot_delete(struct db *db, const char *name)
{
    static const struct remote_method how = {"varve.v1.Admin/DeleteSnapshot",
                                             &varve__v1__delete_snapshot_response__descriptor,
                                             CLIENT_WRITE, 0};
    struct remote *r = remote__of(db);
    Varve__V1__DeleteSnapshotRequest m = VARVE__V1__DELETE_SNAPSHOT_REQUEST__INIT;
    const Varve__V1__DeleteSnapshotResponse *answer;
    (void)remote__begin(r);
    m.name = remote__text(&r->arena, name);
    return m.name ? remote__call(r, &how, &m.base, &answer) : remote__no_memory(r);
}

static varve_status remote_retention_get(struct db *db, const char *collection,
                                         varve_retention *ret)
{
    static const struct remote_method how = {"varve.v1.Admin/GetRetention",
                                             &varve__v1__get_retention_response__descriptor,
                                             CLIENT_READ, 0};
    struct remote *r = remote__of(db);
    Varve__V1__GetRetentionRequest m = VARVE__V1__GET_RETENTION_REQUEST__INIT;
    const Varve__V1__GetRetentionResponse *answer;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    if (!m.collection)
        return remote__no_memory(r);
    varve_status st = remote__call(r, &how, &m.base, &answer);
    if (st == VARVE_OK && answer->retention)
        *ret = (varve_retention){answer->retention->max_age_ms, answer->retention->max_count};
    return st;
}

/* Setting the same twice is setting it once. */
static varve_status remote_retention_set(struct db *db, const char *collection,
                                         const varve_retention *retention)
{
    static const struct remote_method how = {"varve.v1.Admin/SetRetention",
                                             &varve__v1__set_retention_response__descriptor,
                                             CLIENT_READ, 0};
    struct remote *r = remote__of(db);
    Varve__V1__SetRetentionRequest m = VARVE__V1__SET_RETENTION_REQUEST__INIT;
    Varve__V1__Retention inner = VARVE__V1__RETENTION__INIT;
    const Varve__V1__SetRetentionResponse *answer;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    inner.max_age_ms = retention->max_age_ms;
    inner.max_count = retention->max_count;
    m.retention = &inner;
    return m.collection ? remote__call(r, &how, &m.base, &answer) : remote__no_memory(r);
}

/* ---- long work: its messages until the result ---- */

/* Reads one stream to its end. `take` sees each message; false stops the work. */
static varve_status work(struct remote *r, const char *method, const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *d,
                         bool (*take)(void *arg, const void *m), void *arg)
{
    struct client_request q = {.method = method, .deadline_ms = NO_DEADLINE};
    struct client_stream *s = NULL;
    struct bytes message;
    enum client_next next = CLIENT_FAILED;
    struct err e;
    err_init(&e);
    (void)remote__begin(r);
    if (pb_encode(request, &r->request) != ST_OK)
        return remote__no_memory(r);
    q.message = buf_bytes(&r->request);
    varve_status st = (varve_status)client_stream_open(r->client, &q, &s, &r->failure);
    while (st == VARVE_OK &&
           (next = client_stream_next(s, UINT64_MAX, &message, &r->failure)) == CLIENT_MESSAGE) {
        void *m = NULL;
        arena_reset(&r->arena);
        if (pb_decode(d, message, &r->arena, &m, NULL, &e) != ST_OK)
            st = remote__broken(r, &e);
        else if (!take(arg, m))
            st = (varve_status)err_set(&r->failure.err, ST_CANCELLED, "stopped");
    }
    if (st == VARVE_OK && next == CLIENT_FAILED)
        st = (varve_status)r->failure.err.status;
    client_stream_close(s);
    return st;
}

struct work_state {
    void (*report)(void *arg, const varve_finding *f);
    varve_progress_fn progress;
    void *arg;
    bool ended;
    uint64_t findings, left_out;
    varve_vacuum_result vacuumed;
};

static bool tell_progress(struct work_state *w, const Varve__V1__Progress *p)
{
    return !w->progress || w->progress(w->arg, p->done, p->total);
}

static bool take_vacuum(void *arg, const void *message)
{
    struct work_state *w = arg;
    const Varve__V1__VacuumResponse *m = message;
    if (m->event_case == VARVE__V1__VACUUM_RESPONSE__EVENT_PROGRESS)
        return tell_progress(w, m->progress);
    if (m->event_case == VARVE__V1__VACUUM_RESPONSE__EVENT_RESULT) {
        w->ended = true;
        w->vacuumed = (varve_vacuum_result){m->result->rows_seen, m->result->versions_removed,
                                            m->result->bytes_removed, m->result->expired};
    }
    return true;
}

static varve_status no_result(struct remote *r)
{
    return (varve_status)err_set(&r->failure.err, ST_INTERNAL, "the result is missing");
}

static varve_status remote_vacuum(struct db *db, const char *collection, varve_progress_fn progress,
                                  void *arg, varve_vacuum_result *ret)
{
    struct remote *r = remote__of(db);
    struct work_state w = {.progress = progress, .arg = arg};
    Varve__V1__VacuumRequest m = VARVE__V1__VACUUM_REQUEST__INIT;
    m.collection = (char *)(uintptr_t)(collection ? collection : "");
    varve_status st = work(r, "varve.v1.Admin/Vacuum", &m.base,
                           &varve__v1__vacuum_response__descriptor, take_vacuum, &w);
    if (st == VARVE_OK && !w.ended)
        st = no_result(r);
    if (st == VARVE_OK)
        *ret = w.vacuumed;
    return st;
}

static bool take_verify(void *arg, const void *message)
{
    struct work_state *w = arg;
    const Varve__V1__VerifyResponse *m = message;
    if (m->event_case == VARVE__V1__VERIFY_RESPONSE__EVENT_PROGRESS)
        return tell_progress(w, m->progress);
    if (m->event_case == VARVE__V1__VERIFY_RESPONSE__EVENT_FINDING && w->report)
        w->report(w->arg, &(varve_finding){m->finding->file, m->finding->offset, m->finding->range,
                                           m->finding->text});
    if (m->event_case == VARVE__V1__VERIFY_RESPONSE__EVENT_RESULT) {
        w->ended = true;
        w->findings = m->result->findings;
        w->left_out = m->result->left_out;
    }
    return true;
}

static varve_status remote_verify(struct db *db, void (*report)(void *arg, const varve_finding *f),
                                  varve_progress_fn progress, void *arg)
{
    struct remote *r = remote__of(db);
    struct work_state w = {.report = report, .progress = progress, .arg = arg};
    Varve__V1__VerifyRequest m = VARVE__V1__VERIFY_REQUEST__INIT;
    varve_status st = work(r, "varve.v1.Admin/Verify", &m.base,
                           &varve__v1__verify_response__descriptor, take_verify, &w);
    if (st == VARVE_OK && !w.ended)
        st = no_result(r);
    if (st == VARVE_OK && w.left_out && report)
        report(arg, &(varve_finding){"", 0, 0, "more was found than could be sent"});
    if (st == VARVE_OK && w.findings)
        st = (varve_status)err_set(&r->failure.err, ST_CORRUPT, "verify found faults");
    return st;
}

static varve_status remote_checkpoint(struct db *db)
{
    static const struct remote_method how = {"varve.v1.Admin/Checkpoint",
                                             &varve__v1__checkpoint_response__descriptor,
                                             CLIENT_READ, NO_DEADLINE};
    Varve__V1__CheckpointRequest m = VARVE__V1__CHECKPOINT_REQUEST__INIT;
    const Varve__V1__CheckpointResponse *answer;
    (void)remote__begin(remote__of(db));
    return remote__call(remote__of(db), &how, &m.base, &answer);
}

static varve_status remote_compact(struct db *db)
{
    static const struct remote_method how = {"varve.v1.Admin/Compact",
                                             &varve__v1__compact_response__descriptor, CLIENT_READ,
                                             NO_DEADLINE};
    Varve__V1__CompactRequest m = VARVE__V1__COMPACT_REQUEST__INIT;
    const Varve__V1__CompactResponse *answer;
    (void)remote__begin(remote__of(db));
    return remote__call(remote__of(db), &how, &m.base, &answer);
}

/* X(field): the same name in both. */
#define STATS(X)                                                                                   \
    X(reads)                                                                                       \
    X(cache_hits)                                                                                  \
    X(writes)                                                                                      \
    X(commits)                                                                                     \
    X(log_syncs)                                                                                   \
    X(cache_bytes)                                                                                 \
    X(cache_entries)                                                                               \
    X(table_bytes)                                                                                 \
    X(table_versions)                                                                              \
    X(live_rows)                                                                                   \
    X(past_rows)                                                                                   \
    X(when_rows)                                                                                   \
    X(live_bytes)                                                                                  \
    X(past_bytes)                                                                                  \
    X(when_bytes)                                                                                  \
    X(log_bytes)                                                                                   \
    X(log_live_bytes)                                                                              \
    X(log_segments)                                                                                \
    X(checkpoints)                                                                                 \
    X(applied_index)                                                                               \
    X(persisted_index)                                                                             \
    X(watchers)                                                                                    \
    X(collections)                                                                                 \
    X(poisoned)

static varve_status remote_stats(struct db *db, varve_stats *ret)
{
    static const struct remote_method how = {
        "varve.v1.Admin/GetStats", &varve__v1__get_stats_response__descriptor, CLIENT_READ, 0};
    Varve__V1__GetStatsRequest m = VARVE__V1__GET_STATS_REQUEST__INIT;
    const Varve__V1__GetStatsResponse *answer;
    (void)remote__begin(remote__of(db));
    varve_status st = remote__call(remote__of(db), &how, &m.base, &answer);
    if (st != VARVE_OK)
        return st;
    if (!answer->stats)
        return no_result(remote__of(db));
#define X(field) ret->field = answer->stats->field;
    STATS(X)
#undef X
    ret->newest = remote__version_of(answer->stats->newest);
    return VARVE_OK;
}

const struct db_care_ops remote__care = {
    .drop = remote_drop,
    .snapshot_create = remote_snapshot_create,
    .snapshot_delete = remote_snapshot_delete,
    .retention_get = remote_retention_get,
    .retention_set = remote_retention_set,
    .vacuum = remote_vacuum,
    .verify = remote_verify,
    .checkpoint = remote_checkpoint,
    .compact = remote_compact,
    .stats = remote_stats,
};
