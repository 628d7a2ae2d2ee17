/* admin.c - collections, snapshots, retention, figures, topology; and the table of the service. All
 * of it may ask the engine or the disk, so it runs on the pool. */
#include "serve/grpc/admin.h"

#include "base/env/env.h"

#include <stdio.h>

/* One call on the pool. */
struct admin_job {
    struct call *c;
    enum status (*fn)(struct admin_job *j, struct err *err);
    struct bytes name;
    struct command_options options;
    struct command_at at;
    struct collection_settings settings;
    struct version version;
    struct store_stats *stats;
    enum status st;
};

static void on_pool(void *arg)
{
    struct admin_job *j = arg;
    j->st = j->fn(j, &j->c->err);
}

static enum status run(struct admin_job *j, enum work_kind kind)
{
    enum status st = call_work(j->c, kind, on_pool, j);
    return st == ST_OK ? j->st : st;
}

/* ---- lists ---- */

struct list_job {
    struct call *c;
    bool snapshots;
    struct command_page page;
    struct command_page_end end;
    struct buf out, token;
    enum status st;
};

/* Collection and Snapshot { name = 1, version = 2 } as field 1 of the lists' answers. */
static int take_name(void *arg, const struct command_row *row, struct err *err)
{
    struct list_job *j = arg;
    struct version v = row->rec.version;
    char *name = pb_text(row->key, call_request(j->c)->arena);
    if (!name || buf_reserve(&j->out, 64 + row->key.len) != ST_OK)
        return -(int)err_set(err, ST_NO_MEMORY, "no memory for a list");
    size_t size = pb_field_size(row->key.len) + pb_field_size(version_out_size(v));
    uint8_t *begin = j->out.data + j->out.len, *p = pb_w_head(begin, 1, size);
    p = pb_w_bytes(p, 1, BYTES(name, row->key.len));
    p = version_out(v, pb_w_head(p, 2, version_out_size(v)));
    j->out.len += (size_t)(p - begin);
    return 1;
}

static void list_on_pool(void *arg)
{
    struct list_job *j = arg;
    j->st = (j->snapshots ? command_snapshots_page : command_collections_page)(
        &j->c->db, &j->page, take_name, j, &j->end, &j->token, &j->c->err);
}

static enum status list(struct call *c, bool snapshots, uint32_t size, const char *token)
{
    struct list_job j = {
        .c = c, .snapshots = snapshots, .page = {.max_rows = size, .token = text_bytes(token)}};
    enum status st = call_allow(c, BYTES_EMPTY);
    if (st == ST_OK)
        st = call_work(c, WORK_READ, list_on_pool, &j);
    if (st == ST_OK && (st = j.st) != ST_OK) {
        door__rename(&c->err, "page.token", "page_token");
        door__rename(&c->err, "page.max_rows", "page_size");
    }
    if (st == ST_OK && j.end.more) {
        struct bytes next = text_bytes((const char *)j.token.data);
        st = buf_reserve(&j.out, 1 + PB_VARINT_MAX + next.len);
        if (st == ST_OK) {
            uint8_t *begin = j.out.data + j.out.len;
            j.out.len += (size_t)(pb_w_bytes(begin, 2, next) - begin);
        }
    }
    if (st == ST_OK)
        st = rpc_respond(c->rpc, buf_bytes(&j.out));
    buf_deinit(&j.out);
    buf_deinit(&j.token);
    return st;
}

static enum status list_collections(struct call *c, const void *request)
{
    const Varve__V1__ListCollectionsRequest *m = request;
    return list(c, false, m->page_size, m->page_token);
}

static enum status list_snapshots(struct call *c, const void *request)
{
    const Varve__V1__ListSnapshotsRequest *m = request;
    return list(c, true, m->page_size, m->page_token);
}

/* ---- collections and retention ---- */

static enum status drop_fn(struct admin_job *j, struct err *err)
{
    return command_collection_drop(&j->c->db, j->name, &j->options, err);
}

static enum status drop_collection(struct call *c, const void *request)
{
    const Varve__V1__DropCollectionRequest *m = request;
    struct admin_job j = {.c = c, .fn = drop_fn, .name = text_bytes(m->collection)};
    Varve__V1__DropCollectionResponse answer = VARVE__V1__DROP_COLLECTION_RESPONSE__INIT;
    enum status st = call_allow(c, j.name);
    if (st == ST_OK)
        st = args_options(c, m->options, &j.options);
    if (st == ST_OK)
        st = run(&j, WORK_READ);
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

static enum status get_retention_fn(struct admin_job *j, struct err *err)
{
    return command_retention_get(&j->c->db, j->name, &j->settings, err);
}

static enum status get_retention(struct call *c, const void *request)
{
    const Varve__V1__GetRetentionRequest *m = request;
    struct admin_job j = {.c = c, .fn = get_retention_fn, .name = text_bytes(m->collection)};
    Varve__V1__GetRetentionResponse answer = VARVE__V1__GET_RETENTION_RESPONSE__INIT;
    Varve__V1__Retention retention = VARVE__V1__RETENTION__INIT;
    enum status st = call_allow(c, j.name);
    if (st == ST_OK)
        st = run(&j, WORK_READ);
    retention.max_age_ms = j.settings.max_age_ms;
    retention.max_count = j.settings.max_count;
    answer.retention = &retention;
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

static enum status set_retention_fn(struct admin_job *j, struct err *err)
{
    return command_retention_set(&j->c->db, j->name, &j->settings, err);
}

static enum status set_retention(struct call *c, const void *request)
{
    const Varve__V1__SetRetentionRequest *m = request;
    struct admin_job j = {.c = c, .fn = set_retention_fn, .name = text_bytes(m->collection)};
    Varve__V1__SetRetentionResponse answer = VARVE__V1__SET_RETENTION_RESPONSE__INIT;
    enum status st = call_allow(c, j.name);
    if (st == ST_OK && !m->retention)
        st = err_set(&c->err, ST_INVALID_ARGUMENT, "retention: it must be set");
    if (st == ST_OK) {
        j.settings.max_age_ms = m->retention->max_age_ms;
        j.settings.max_count = m->retention->max_count;
        st = run(&j, WORK_READ);
    }
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

/* ---- snapshots ---- */

static enum status create_snapshot_fn(struct admin_job *j, struct err *err)
{
    return command_snapshot_create(&j->c->db, j->name, &j->at, &j->version, err);
}

static enum status create_snapshot(struct call *c, const void *request)
{
    const Varve__V1__CreateSnapshotRequest *m = request;
    struct admin_job j = {.c = c, .fn = create_snapshot_fn, .name = text_bytes(m->name)};
    Varve__V1__CreateSnapshotResponse answer = VARVE__V1__CREATE_SNAPSHOT_RESPONSE__INIT;
    Varve__V1__Snapshot snapshot = VARVE__V1__SNAPSHOT__INIT;
    Varve__V1__Version version = VARVE__V1__VERSION__INIT;
    enum status st = call_allow(c, BYTES_EMPTY);
    if (st == ST_OK)
        st = args_at(c, m->at, "at", &j.at);
    if (st == ST_OK)
        st = run(&j, WORK_READ);
    version.hlc = j.version.hlc;
    version.origin = j.version.origin;
    snapshot.name = m->name;
    snapshot.version = &version;
    answer.snapshot = &snapshot;
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

static enum status delete_snapshot_fn(struct admin_job *j, struct err *err)
{
    return command_snapshot_delete(&j->c->db, j->name, err);
}

static enum status delete_snapshot(struct call *c, const void *request)
{
    const Varve__V1__DeleteSnapshotRequest *m = request;
    struct admin_job j = {.c = c, .fn = delete_snapshot_fn, .name = text_bytes(m->name)};
    Varve__V1__DeleteSnapshotResponse answer = VARVE__V1__DELETE_SNAPSHOT_RESPONSE__INIT;
    enum status st = call_allow(c, BYTES_EMPTY);
    if (st == ST_OK)
        st = run(&j, WORK_READ);
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

/* ---- care without progress ---- */

static enum status checkpoint_fn(struct admin_job *j, struct err *err)
{
    return store_checkpoint(j->c->db.store, err);
}

static enum status checkpoint(struct call *c, const void *request)
{
    struct admin_job j = {.c = c, .fn = checkpoint_fn};
    Varve__V1__CheckpointResponse answer = VARVE__V1__CHECKPOINT_RESPONSE__INIT;
    enum status st = call_allow(c, BYTES_EMPTY);
    (void)request;
    if (st == ST_OK)
        st = run(&j, WORK_CARE);
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

static enum status compact_fn(struct admin_job *j, struct err *err)
{
    return store_compact(j->c->db.store, err);
}

static enum status compact(struct call *c, const void *request)
{
    struct admin_job j = {.c = c, .fn = compact_fn};
    Varve__V1__CompactResponse answer = VARVE__V1__COMPACT_RESPONSE__INIT;
    enum status st = call_allow(c, BYTES_EMPTY);
    (void)request;
    if (st == ST_OK)
        st = run(&j, WORK_CARE);
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

static enum status sync_fn(struct admin_job *j, struct err *err)
{
    return store_sync_now(j->c->db.store, err);
}

static enum status sync_all(struct call *c, const void *request)
{
    struct admin_job j = {.c = c, .fn = sync_fn};
    Varve__V1__SyncResponse answer = VARVE__V1__SYNC_RESPONSE__INIT;
    enum status st = call_allow(c, BYTES_EMPTY);
    (void)request;
    if (st == ST_OK)
        st = run(&j, WORK_READ);
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

/* ---- figures ---- */

static enum status stats_fn(struct admin_job *j, struct err *err)
{
    (void)err;
    store_stats(j->c->db.store, j->stats);
    return ST_OK;
}

static void fill_stats(Varve__V1__Stats *m, const struct store_stats *s)
{
    m->reads = s->cache.hits + s->cache.misses;
    m->cache_hits = s->cache.hits;
    m->writes = s->writes;
    m->commits = s->commits;
    m->log_syncs = s->wal.syncs;
    m->cache_bytes = s->cache.bytes;
    m->cache_entries = s->cache.entries;
    m->table_bytes = s->table_bytes;
    m->table_versions = s->table_versions;
    m->live_rows = s->engine.live_rows;
    m->past_rows = s->engine.past_rows;
    m->when_rows = s->engine.when_rows;
    m->live_bytes = s->engine.live_bytes;
    m->past_bytes = s->engine.past_bytes;
    m->when_bytes = s->engine.when_bytes;
    m->log_bytes = s->wal.bytes;
    m->log_live_bytes = s->wal.live_bytes;
    m->log_segments = s->wal.segments;
    m->checkpoints = s->checkpoints;
    m->applied_index = s->applied_index;
    m->persisted_index = s->persisted_index;
    m->watchers = s->watchers;
    m->collections = s->collections;
    m->poisoned = s->poisoned;
}

static enum status get_stats(struct call *c, const void *request)
{
    struct store_stats figures = {0};
    struct admin_job j = {.c = c, .fn = stats_fn, .stats = &figures};
    Varve__V1__GetStatsResponse answer = VARVE__V1__GET_STATS_RESPONSE__INIT;
    Varve__V1__Stats stats = VARVE__V1__STATS__INIT;
    Varve__V1__Version newest = VARVE__V1__VERSION__INIT;
    enum status st = call_allow(c, BYTES_EMPTY);
    (void)request;
    if (st == ST_OK)
        st = run(&j, WORK_READ);
    fill_stats(&stats, &figures);
    newest.hlc = figures.newest.hlc;
    newest.origin = figures.newest.origin;
    stats.newest = &newest;
    answer.stats = &stats;
    return st == ST_OK ? call_respond(c, &answer.base) : st;
}

/* ---- topology ---- */

static char *lend(const char *text)
{
    return (char *)(uintptr_t)text; /* packing only reads it */
}

static void look(const struct grpc_door *d, struct topology *ret)
{
    *ret = (struct topology){.cluster = "", .n = 1};
    if (d->topology.look) {
        d->topology.look(d->topology.arg, ret);
        return;
    }
    struct store_role role;
    store_role(d->db.store, &role);
    ret->commit = role.commit;
    ret->applied = role.applied;
    struct topology_node *only = &ret->nodes[0];
    only->id = 1;
    only->answering = only->reachable = only->leader = true;
    (void)snprintf(only->address, sizeof only->address, "%s", d->address);
    (void)snprintf(only->version, sizeof only->version, "%s", d->version);
}

static void fill_node(struct call *c, const struct topology_node *from, Varve__V1__Node *m)
{
    varve__v1__node__init(m);
    m->id = from->id;
    m->address = lend(from->address);
    m->peer_address = lend(from->peer_address);
    m->software_version = lend(from->version);
    m->leader = from->leader;
    m->reachable = from->reachable;
    m->answering = from->answering;
    if (from->answering)
        m->uptime_ms = (env_mono_ns(c->db.env) - c->door->started_ns) / 1000000;
}

static enum status get_topology(struct call *c, const void *request)
{
    Varve__V1__GetTopologyResponse answer = VARVE__V1__GET_TOPOLOGY_RESPONSE__INIT;
    Varve__V1__Node nodes[TOPOLOGY_NODES_MAX], *list[TOPOLOGY_NODES_MAX];
    enum status st = call_allow(c, BYTES_EMPTY);
    (void)request;
    if (st != ST_OK)
        return st;
    struct topology *t = call_alloc(c, sizeof *t);
    if (!t)
        return ST_NO_MEMORY;
    look(c->door, t);
    for (size_t i = 0; i < t->n; i++) {
        fill_node(c, &t->nodes[i], &nodes[i]);
        list[i] = &nodes[i];
    }
    answer.epoch = 1 + t->term; /* the members stay; who leads changes with the term */
    answer.nodes = list;
    answer.n_nodes = t->n;
    answer.cluster = lend(t->cluster);
    answer.leader = t->leader;
    answer.term = t->term;
    answer.commit_index = t->commit;
    answer.applied_index = t->applied;
    return call_respond(c, &answer.base);
}

#define ADMIN "varve.v1.Admin"
static const struct method methods[] = {
    METHOD(ADMIN, ListCollections, list_collections, list_collections, COLLECTIONS),
    METHOD(ADMIN, DropCollection, drop_collection, drop_collection, COLLECTION_DROP),
    METHOD(ADMIN, GetRetention, get_retention, get_retention, RETENTION_GET),
    METHOD(ADMIN, SetRetention, set_retention, set_retention, RETENTION_SET),
    METHOD(ADMIN, CreateSnapshot, create_snapshot, create_snapshot, SNAPSHOT_CREATE),
    METHOD(ADMIN, DeleteSnapshot, delete_snapshot, delete_snapshot, SNAPSHOT_DELETE),
    METHOD(ADMIN, ListSnapshots, list_snapshots, list_snapshots, SNAPSHOTS),
    METHOD(ADMIN, GetStats, get_stats, get_stats, STATS),
    METHOD(ADMIN, Verify, verify, admin_verify, VERIFY),
    METHOD(ADMIN, Vacuum, vacuum, admin_vacuum, VACUUM),
    METHOD(ADMIN, Checkpoint, checkpoint, checkpoint, CHECKPOINT),
    METHOD(ADMIN, Compact, compact, compact, COMPACT),
    METHOD(ADMIN, Sync, sync, sync_all, SYNC),
    /* Whoever may see what there is may know where it is. */
    METHOD(ADMIN, GetTopology, get_topology, get_topology, COLLECTIONS),
};
const struct service door__admin = {ADMIN, methods, sizeof methods / sizeof methods[0]};
