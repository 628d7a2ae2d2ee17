#include "node/store/cluster.h"

#include "base/alloc.h"
#include <inttypes.h>

/* Opening the log. Alone everything in it is committed, and is applied while it is read. In a cluster
 * the hard states on the way say up to where it is; the rest waits, may be overwritten by what follows,
 * and at the end goes to raft, which will hear from the others what becomes of it. What the engine has
 * already is skipped by index; a full table is drained on the way. */

struct tail_entry {
    struct list node;
    uint64_t index, term;
    uint8_t kind;
    bool rotten;
    struct blob *payload; /* NULL: rotten, or empty */
};
struct run { /* entries from `first` on have this term */
    uint64_t first, term;
};
struct recovery {
    struct store *s;
    bool all_committed;
    struct raft_hard_state hard;
    bool has_hard;
    uint64_t released;    /* the log was told that the engine has these */
    uint64_t first, last; /* entries that lie in the log one behind the other; first 0: none */
    struct run *runs;
    size_t n_runs, cap_runs;
    struct list tail; /* above what is applied */
};

static void tail_drop(struct recovery *rc, uint64_t from)
{
    while (!list_empty(&rc->tail)) {
        struct tail_entry *e = container_of(rc->tail.prev, struct tail_entry, node);
        if (e->index < from)
            return;
        list_remove(&e->node);
        blob_unref(e->payload);
        mem_free(e);
    }
}

static void recovery_deinit(struct recovery *rc)
{
    tail_drop(rc, 0);
    mem_free(rc->runs);
}

/* Entries from `index` on are void. */
static void cut(struct recovery *rc, uint64_t index)
{
    tail_drop(rc, index);
    if (rc->first == 0 || index > rc->last)
        return;
    while (rc->n_runs > 0 && rc->runs[rc->n_runs - 1].first >= index)
        rc->n_runs--;
    rc->last = index - 1;
    if (rc->n_runs == 0)
        rc->first = 0;
}

static enum status note_place(struct recovery *rc, const struct raft_entry *e)
{
    cut(rc, e->index);
    if (rc->first != 0 && e->index != rc->last + 1)
        rc->n_runs = rc->first = 0; /* what lies before was given up: a snapshot came between */
    if (rc->first == 0)
        rc->first = e->index;
    rc->last = e->index;
    if (rc->n_runs > 0 && rc->runs[rc->n_runs - 1].term == e->term)
        return ST_OK;
    if (rc->n_runs == rc->cap_runs) {
        size_t cap = rc->cap_runs ? rc->cap_runs * 2 : 16;
        struct run *v = mem_realloc(rc->runs, cap * sizeof *v);
        if (!v)
            return ST_NO_MEMORY;
        rc->runs = v;
        rc->cap_runs = cap;
    }
    rc->runs[rc->n_runs++] = (struct run){e->index, e->term};
    return ST_OK;
}

/* ---- applying ---- */

static enum status make_room(struct store *s, struct err *err)
{
    if (s->o.read_only || s->replay_grows)
        return ST_OK;
    enum status st = store__make_room(s, err);
    if (st != ST_DISK_FULL)
        return st;
    /* What is there must be readable on a full disk too: the rest of the log, which has a bound of its
     * own, stays in memory. */
    s->replay_grows = true;
    return ST_OK;
}

static enum status apply(struct recovery *rc, const struct raft_entry *e, struct err *err)
{
    struct store *s = rc->s;
    enum status st = make_room(s, err);
    if (st != ST_OK)
        return st;
    struct view *v = store__view(s);
    st = store__apply_foreign(s, e, v->active, err);
    view_unref(v);
    if (st != ST_OK)
        return st;
    hlc_observe(&s->clock, s->range.newest.hlc);
    store__publish(s, s->range.newest);
    return ST_OK;
}

static enum status apply_committed(struct recovery *rc, struct err *err)
{
    enum status st = ST_OK;
    while (st == ST_OK && !list_empty(&rc->tail)) {
        struct tail_entry *t = container_of(rc->tail.next, struct tail_entry, node);
        if (t->index > rc->hard.commit || t->rotten)
            break;
        struct raft_entry e = {.term = t->term,
                               .index = t->index,
                               .kind = t->kind,
                               .payload = t->payload ? BYTES(t->payload->data, t->payload->len)
                                                     : BYTES_EMPTY};
        st = apply(rc, &e, err);
        if (st != ST_OK)
            break;
        list_remove(&t->node);
        blob_unref(t->payload);
        mem_free(t);
    }
    return st;
}

/* ---- reading ---- */

static enum status push_tail(struct recovery *rc, const struct raft_entry *e, bool rotten)
{
    struct tail_entry *t = mem_zalloc(sizeof *t);
    if (!t)
        return ST_NO_MEMORY;
    *t = (struct tail_entry){.index = e->index, .term = e->term, .kind = e->kind, .rotten = rotten};
    if (!rotten && e->payload.len) {
        if (!(t->payload = blob_new(e->payload.len))) {
            mem_free(t);
            return ST_NO_MEMORY;
        }
        memcpy(t->payload->data, e->payload.data, e->payload.len);
    }
    list_push_back(&rc->tail, &t->node);
    return ST_OK;
}

static enum status no_memory(struct err *err)
{
    return err_set(err, ST_NO_MEMORY, "no memory to replay an entry");
}

/* The log gave up entries because the engine had them, and now it does not: going on would lose them
 * without a word. */
static enum status engine_is_older(const struct store *s, uint64_t log_has_not, struct err *err)
{
    return err_set(err, ST_CORRUPT,
                   "%s/engine is older than its log: entries up to %" PRIu64
                   " are there, and those up to %" PRIu64
                   " the log gave up because the engine had them (was an old copy put back, or the "
                   "folder removed?)",
                   s->dir, s->range.applied, log_has_not);
}

static enum status on_entry(struct recovery *rc, const struct wal_record *rec, struct err *err)
{
    struct raft_entry e = {.term = rec->term, .index = rec->index, .kind = RAFT_ENTRY_DATA};
    if (!rec->rotten && !replica_entry_of(rec, &e))
        return err_set(err, ST_CORRUPT, "entry %" PRIu64 " of the log does not decode", rec->index);
    if (note_place(rc, &e) != ST_OK)
        return no_memory(err);
    if (e.index <= rc->s->range.applied)
        return ST_OK;
    if (rc->all_committed && e.index > rc->s->range.applied + 1)
        return engine_is_older(rc->s, e.index - 1, err);
    if (rc->all_committed)
        return apply(rc, &e, err);
    if (push_tail(rc, &e, rec->rotten) != ST_OK)
        return no_memory(err);
    return apply_committed(rc, err);
}

static enum status replay(void *arg, const struct wal_record *rec, struct wal_pos pos,
                          struct err *err)
{
    struct recovery *rc = arg;
    struct store *s = rc->s;
    if (rec->range != s->range.id)
        return err_set(err, ST_CORRUPT,
                       "the log has an entry of range %" PRIu64 ", which this store does not have",
                       rec->range);
    switch ((enum wal_kind)rec->kind) {
    case WAL_ENTRY:
        return store__is_void(s, pos) ? ST_OK : on_entry(rc, rec, err);
    case WAL_HARD_STATE:
        if (rec->rotten)
            return ST_OK; /* a later one follows */
        if (!replica_hard_decode(rec->payload, &rc->hard))
            return err_set(err, ST_CORRUPT, "a hard state in the log does not decode");
        rc->has_hard = true;
        return apply_committed(rc, err);
    case WAL_TRUNCATE:
        cut(rc, rec->index);
        return ST_OK;
    case WAL_RELEASE:
        if (rec->index > rc->released)
            rc->released = rec->index;
        break;
    }
    return ST_OK;
}

/* ---- the replica ---- */

static uint64_t term_at(const struct recovery *rc, uint64_t index)
{
    for (size_t i = rc->n_runs; i-- > 0;)
        if (rc->runs[i].first <= index)
            return rc->runs[i].term;
    return 0;
}

static enum status load(struct recovery *rc, struct raft *raft, uint64_t compacted, struct err *err)
{
    enum status st = ST_OK;
    uint64_t applied = rc->s->range.applied;
    for (uint64_t i = compacted + 1; st == ST_OK && i <= applied; i++)
        st = raft_load_term(raft, term_at(rc, i), i, err);
    list_foreach (it, &rc->tail) {
        const struct tail_entry *t = container_of(it, struct tail_entry, node);
        struct raft_entry e = {.term = t->term,
                               .index = t->index,
                               .kind = t->kind,
                               .payload = t->payload ? BYTES(t->payload->data, t->payload->len)
                                                     : BYTES_EMPTY};
        if (st == ST_OK)
            st = t->rotten ? raft_load_bad(raft, t->term, t->index, err) : raft_load(raft, &e, err);
    }
    return st;
}

static void on_role(void *arg, struct replica *r)
{
    struct store *s = arg;
    (void)r;
    if (s->cluster)
        s->cluster->role_dirty = true;
}

static void on_logged(void *arg, size_t n_entries)
{
    struct store *s = arg;
    counter_add(s->m_groups, n_entries > 0);
    atomic_store(&s->dirty, true);
    atomic_store(&s->drain_rests, false);
    if (!atomic_load(&s->log_idle) && !atomic_load(&s->drain_idle))
        return;
    bool log = atomic_exchange(&s->log_idle, false);
    if (atomic_exchange(&s->drain_idle, false) || log)
        store__poke(s);
}

static void on_synced(void *arg, uint64_t ns)
{
    struct store *s = arg;
    histogram_add(s->m_sync_ns, ns);
}

static uint64_t mono_ns(void *arg)
{
    struct store *s = arg;
    return env_mono_ns(s->env);
}

static bool on_send(void *arg, uint64_t node, struct bytes bundle)
{
    struct store *s = arg;
    const struct store_transport *t = &s->cluster->o.transport;
    return t->send(t->arg, node, bundle);
}

static enum status make_replicas(struct store *s, struct err *err)
{
    struct cluster *c = s->cluster;
    struct replicas_options o = {.node = 1,
                                 .incarnation = 1,
                                 .seed = 1,
                                 .stepped = s->o.stepped,
                                 .stepped_arg = s->o.stepped_arg,
                                 .calls = {.send = on_send,
                                           .apply = store__apply_committed,
                                           .read_done = cluster_read_done,
                                           .role_changed = on_role,
                                           .snapshot_wanted = cluster_snapshot_wanted,
                                           .snapshot_read = cluster_snapshot_read,
                                           .snapshot_write = cluster_snapshot_write,
                                           .snapshot_install = cluster_snapshot_install,
                                           .snapshot_drop = cluster_snapshot_drop,
                                           .logged = on_logged,
                                           .synced = on_synced,
                                           .mono_ns = mono_ns,
                                           .arg = s}};
    if (c) {
        o.node = c->o.node;
        o.incarnation = c->incarnation;
        o.seed = c->o.seed;
        o.heartbeat_ms = c->o.heartbeat_ms;
        o.election_ms = c->o.election_ms;
        o.append_bytes = c->o.append_bytes;
        o.append_messages = c->o.append_messages;
    }
    enum status st = replicas_new(&o, &s->replicas, err);
    if (st == ST_OK)
        replicas_use_log(s->replicas, s->wal);
    return st;
}

/* Goes on as the leader of the last term: nobody else can have led in it. */
static enum status start_alone(struct store *s, struct err *err)
{
    const struct range *r = &s->range;
    struct raft_init i = {.group = r->id,
                          .replica = 1,
                          .hard = {.term = r->term ? r->term : 1, .vote = 1, .commit = r->applied},
                          .compacted = r->applied,
                          .compacted_term = r->applied ? r->term : 0,
                          .applied = r->applied,
                          .conf = {.n = 1, .member = {{1, 1, RAFT_VOTER}}},
                          .alone = true};
    enum status st = replica_new(s->replicas, &i, &s->replica, err);
    return st == ST_OK ? replica_start(s->replica, err) : st;
}

static enum status check_fresh(struct recovery *rc, struct err *err)
{
    struct store *s = rc->s;
    const struct store_cluster *o = &s->cluster->o;
    if (!s->cluster->fresh || s->range.applied == 0)
        return ST_OK;
    if (o->node != o->nodes[0])
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option cluster: %s has data, and only the first node may bring some along",
                       s->dir);
    return ST_OK;
}

static enum status start_member(struct recovery *rc, struct err *err)
{
    struct store *s = rc->s;
    struct cluster *c = s->cluster;
    uint64_t applied = s->range.applied;
    struct raft_init i = {.group = s->range.id,
                          .replica = c->o.replica,
                          .hard = rc->hard,
                          .compacted = s->persisted.index,
                          .compacted_term = s->persisted.term,
                          .applied = applied,
                          .conf = cluster_conf(s),
                          .waits = c->o.replica != c->o.nodes[0]};
    if (rc->first != 0 && rc->first <= s->persisted.index && rc->last >= s->persisted.index) {
        /* What is below is in the engine, and serves peers that are behind. */
        i.compacted = rc->first;
        i.compacted_term = term_at(rc, rc->first);
    }
    if (!rc->has_hard && (applied || rc->first != 0)) {
        /* It was alone before, and led in its last term. All of its log may lie above what is applied: it
         * has been a cluster's node before, which died before it had anything to tell the log. */
        uint64_t last = rc->first != 0 ? term_at(rc, rc->last) : 0;
        i.hard = (struct raft_hard_state){last > s->range.term ? last : s->range.term, c->o.replica,
                                          applied};
    }
    if (rc->has_hard && i.hard.term < s->persisted.term) {
        /* What a killed process had not synced was replayed and drained, and then a power cut took it from
         * the log. Whatever vote was told of had been synced, so none was given in that term; and none is
         * from now on, should the disk have lied. */
        i.hard.term = s->persisted.term;
        i.hard.vote = c->o.replica;
    }
    enum status st = check_fresh(rc, err);
    if (st == ST_OK)
        st = cluster_file_write(s, err);
    if (st == ST_OK)
        st = replica_new(s->replicas, &i, &s->replica, err);
    if (st == ST_OK)
        st = load(rc, replica_raft(s->replica), i.compacted, err);
    if (st == ST_OK)
        st = replica_start(s->replica, err);
    if (st != ST_OK)
        err_prefix(err, "%s", s->dir);
    return st;
}

enum status store__recover(struct store *s, struct err *err)
{
    struct recovery rc = {.s = s};
    struct buf path = BUF_INIT;
    list_init(&rc.tail);
    rc.all_committed = !s->cluster || s->cluster->fresh;
    s->o.wal.read_only = s->o.read_only;
    s->o.wal.keep_rotten = !rc.all_committed;
    enum status st = store__path(s, "log", &path, err);
    if (st == ST_OK)
        st = wal_open(s->env, buf_cstr(&path), &s->o.wal, replay, &rc, &s->wal, err);
    buf_deinit(&path);
    if (st == ST_OK && rc.released > s->range.applied)
        st = engine_is_older(s, rc.released, err);
    if (st == ST_OK) {
        s->assigned = s->range.newest;
        env_mutex_lock(&s->checkpoint_lock); /* a table may be draining still */
        if (!s->cluster && !atomic_load(&s->keep_log))
            wal_release(s->wal, RANGE_FIRST, s->persisted.index);
        struct wal_stats w;
        wal_stats(s->wal, &w);
        s->log_opened = w.live_bytes;
        atomic_store(&s->replaying, false);
        env_mutex_unlock(&s->checkpoint_lock);
    }
    if (st == ST_OK && !s->o.read_only)
        st = make_replicas(s, err);
    if (st == ST_OK && !s->o.read_only)
        st = s->cluster ? start_member(&rc, err) : start_alone(s, err);
    recovery_deinit(&rc);
    return st;
}
