#include "node/store/cluster.h"
#include "node/store/state.h"

#include "base/hash.h"
#include "base/log.h"

/* Bringing up a node that needs what the log has no more: its leader sends the state as of a drain, and
 * it replaces its own by that. Pinning (which may want a drain) and building take long, and are done by
 * whoever keeps the engine; the rest by who drives. */

/* ---- sending ---- */

void cluster_snapshot_wanted(void *arg, struct replica *r, uint64_t index)
{
    struct store *s = arg;
    (void)r;
    env_mutex_lock(&s->state_lock);
    s->cluster->snap_wanted = index;
    env_mutex_unlock(&s->state_lock);
    store__poke(s);
}

static void forget_out(struct cluster *c)
{
    store_state_release(c->snap_out);
    c->snap_out = NULL;
    c->snap_out_id = 0;
    buf_deinit(&c->snap_bytes);
}

enum status cluster_snapshot_read(void *arg, struct replica *r, uint64_t id, uint64_t offset,
                                  size_t max_bytes, struct bytes *ret, bool *ret_last)
{
    struct store *s = arg;
    struct cluster *c = s->cluster;
    struct err err;
    (void)r;
    err_init(&err);
    if (!c->snap_out || c->snap_out_id != id)
        return ST_NOT_FOUND;
    enum status st =
        store_state_read(c->snap_out, offset, max_bytes, &c->snap_bytes, ret_last, &err);
    if (st == ST_OK)
        *ret = buf_bytes(&c->snap_bytes);
    else
        log_at(LOG_WARN, "cluster", "a state cannot be read for another node",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err.detail));
    return st;
}

/* The state as of a drain that reaches `index`. */
static enum status pin(struct store *s, uint64_t index, struct store_state **ret, struct err *err)
{
    enum status st = ST_PRECONDITION_FAILED;
    for (int tries = 0; st == ST_PRECONDITION_FAILED && tries < 2; tries++) {
        st = tries ? store__drain_all(s, err) : ST_OK;
        if (st != ST_OK)
            return st;
        st = store_state_pin(s, ret, err);
        if (st == ST_OK && store_state_mark(*ret).index < index) {
            store_state_release(*ret);
            *ret = NULL;
            st =
                err_set(err, ST_PRECONDITION_FAILED, "nothing was drained that reaches far enough");
        }
    }
    return st;
}

static void make(struct store *s, uint64_t index)
{
    struct cluster *c = s->cluster;
    struct store_state *state = NULL;
    struct raft_snapshot snap = {0};
    struct err err;
    err_init(&err);
    enum status st = pin(s, index, &state, &err);
    if (st != ST_OK)
        log_at(LOG_WARN, "cluster", "no state can be made for another node",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err.detail));
    cluster_lead_begin(s);
    if (st == ST_OK) {
        const uint64_t name[] = {c->o.node, c->incarnation, ++c->snap_no};
        struct engine_mark mark = store_state_mark(state);
        snap = (struct raft_snapshot){
            .id = hash_xxh64(name, sizeof name, 0) | 1, .index = mark.index, .term = mark.term};
        st = cluster_conf_of(s, &mark, &snap.conf, &err);
        if (snap.conf.n == 0)
            snap.conf = cluster_first_conf(s);
    }
    if (replica_snapshot_made(s->replica, st, &snap)) {
        env_mutex_lock(&s->state_lock);
        c->snap_wanted = 0;
        env_mutex_unlock(&s->state_lock);
        if (st == ST_OK) {
            forget_out(c);
            c->snap_out = state;
            c->snap_out_id = snap.id;
            state = NULL;
            counter_add(c->m_snapshots_sent, 1);
        }
    }
    store_state_release(state);
    cluster_lead_end(s);
}

/* ---- receiving ---- */

static void forget_in(struct cluster *c)
{
    store_incoming_end(c->snap_in);
    c->snap_in = NULL;
    c->snap_in_id = 0;
    c->snap_built = false;
}

enum status cluster_snapshot_write(void *arg, struct replica *r, const struct raft_chunk *chunk)
{
    struct store *s = arg;
    struct cluster *c = s->cluster;
    struct err err;
    enum status st = ST_OK;
    (void)r;
    err_init(&err);
    if (chunk->offset == 0) {
        forget_in(c);
        st = store_incoming_begin(s, &c->snap_in, &err);
        if (st == ST_OK)
            c->snap_in_id = chunk->snapshot->id;
    }
    if (st == ST_OK && (!c->snap_in || c->snap_in_id != chunk->snapshot->id))
        st = err_set(&err, ST_INVALID_ARGUMENT, "a part of a state that was given up");
    if (st == ST_OK && chunk->data.len)
        st = store_incoming_append(c->snap_in, chunk->offset, chunk->data, &err);
    if (st != ST_OK) {
        log_at(LOG_WARN, "cluster", "a state does not come in", LOG_FSTR("dir", s->dir),
               LOG_FSTR("detail", err.detail));
        forget_in(c);
    }
    return st;
}

void cluster_snapshot_install(void *arg, struct replica *r, const struct raft_snapshot *snap,
                              bool keep_log)
{
    struct store *s = arg;
    struct cluster *c = s->cluster;
    (void)r;
    env_mutex_lock(&s->state_lock);
    c->snap_install = *snap;
    c->snap_keep_log = keep_log;
    env_mutex_unlock(&s->state_lock);
    store__poke(s);
}

/* What was proposed here, and lies in what the state covers, cannot be told from others' any more. */
static void settle(struct store *s)
{
    struct list none;
    list_foreach_safe (it, &s->in_log) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (p->index <= s->range.applied)
            cluster_unknown(s, p, "the state of another node came over it");
    }
    list_init(&none);
    cluster_complete(s, &none);
}

static void install(struct store *s, const struct raft_snapshot *snap, bool keep_log)
{
    struct cluster *c = s->cluster;
    struct engine_mark mark = {0};
    struct err err;
    enum status st = ST_OK;
    err_init(&err);
    if (!c->snap_in || c->snap_in_id != snap->id)
        st = err_set(&err, ST_NOT_FOUND, "the state that came in is gone");
    if (st == ST_OK && !c->snap_built) {
        uint8_t conf[RAFT_CONF_BYTES_MAX];
        store_incoming_note(c->snap_in, BYTES(conf, raft_conf_encode(&snap->conf, conf)));
        st = store_incoming_build(c->snap_in, &mark, &err);
        c->snap_built = st == ST_OK;
        if (st == ST_OK && (mark.index != snap->index || mark.term != snap->term))
            st = err_set(&err, ST_CORRUPT, "the state that came in is not the one that was said");
    }
    cluster_lead_begin(s);
    if (replicas_stalled(s->replicas)) { /* later; it stays built */
        cluster_lead_end(s);
        return;
    }
    if (st == ST_OK)
        st = store_incoming_install(c->snap_in, keep_log, &err);
    bool told = replica_installed(s->replica, snap->id, snap->term, st);
    ASSERT(told);
    if (st == ST_OK) {
        wal_release(s->wal, RANGE_FIRST, snap->index);
        cluster_conf_installed(s, &snap->conf);
        settle(s);
        counter_add(c->m_snapshots_installed, 1);
    } else {
        log_at(LOG_WARN, "cluster", "the state of another node cannot be taken over",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err.detail));
    }
    forget_in(c);
    env_mutex_lock(&s->state_lock);
    c->snap_install.id = 0;
    env_mutex_unlock(&s->state_lock);
    cluster_lead_end(s);
}

/* ---- both ---- */

void cluster_snapshot_drop(void *arg, struct replica *r, uint64_t id)
{
    struct store *s = arg;
    struct cluster *c = s->cluster;
    (void)r;
    if (c->snap_out_id == id)
        forget_out(c);
    if (c->snap_in_id == id)
        forget_in(c);
}

void cluster_snapshot_work(struct store *s)
{
    struct cluster *c = s->cluster;
    env_mutex_lock(&s->state_lock);
    uint64_t wanted = c->snap_wanted;
    struct raft_snapshot snap = c->snap_install;
    bool keep_log = c->snap_keep_log;
    env_mutex_unlock(&s->state_lock);
    if (wanted)
        make(s, wanted);
    if (snap.id)
        install(s, &snap, keep_log);
}

bool cluster_snapshot_due(struct store *s)
{
    struct cluster *c = s->cluster;
    env_mutex_lock(&s->state_lock);
    bool due = c->snap_wanted || c->snap_install.id;
    env_mutex_unlock(&s->state_lock);
    return due;
}

void cluster_snapshots_forget(struct store *s)
{
    if (!s->cluster)
        return;
    forget_out(s->cluster);
    forget_in(s->cluster);
}
