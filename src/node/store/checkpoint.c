#include "node/store/store_internal.h"

#include "base/log.h"
#include <inttypes.h>

/* A checkpoint: freeze the table (a moment, by the leader), sync the log, drain the frozen table
 * into the engine (long, beside readers and writers), let readers see the engine instead, release
 * the log. There is one frozen table at most; a writer that fills the next one before the drain is
 * done waits. */

void store__poke(struct store *s)
{
    env_mutex_lock(&s->state_lock);
    s->poked = true;
    env_cond_broadcast(&s->state_cond);
    env_mutex_unlock(&s->state_lock);
}

/* By the leader: the active table becomes the frozen one. */
static enum status freeze(struct store *s, struct err *err)
{
    env_mutex_lock(&s->view_change);
    struct view *now = store__view(s);
    ASSERT(!now->frozen);
    struct table *fresh = table_new();
    struct view *v = fresh ? view_new(fresh, now->active, now->snap) : NULL;
    table_unref(fresh);
    view_unref(now);
    if (v) {
        s->frozen_mark = (struct engine_mark){s->range.applied, s->range.term, s->range.newest};
        store__install_view(s, v);
    }
    env_mutex_unlock(&s->view_change);
    return v ? ST_OK : err_set(err, ST_NO_MEMORY, "no memory for a new table");
}

enum status store__install_snap(struct store *s, struct snap *snap, bool drained, struct err *err)
{
    env_mutex_lock(&s->view_change);
    struct view *now = store__view(s);
    struct view *next = view_new(now->active, drained ? NULL : now->frozen, snap);
    view_unref(now);
    if (next)
        store__install_view(s, next);
    env_mutex_unlock(&s->view_change);
    return next ? ST_OK : err_set(err, ST_NO_MEMORY, "no memory for a view");
}

/* Puts the frozen table into the engine. The caller holds checkpoint_lock; with none frozen it has
 * nothing to do. */
enum status store__drain(struct store *s, struct err *err)
{
    struct view *v = store__view(s);
    struct table *frozen = v->frozen ? table_ref(v->frozen) : NULL;
    view_unref(v);
    if (!frozen)
        return ST_OK;

    uint64_t t0 = env_mono_ns(s->env);
    struct snap *snap = NULL;
    /* The engine must never be ahead of the log: a power cut now would leave entries that no log
     * tells of. */
    enum status st = s->wal ? store_sync_now(s, err) : ST_OK;
    if (st == ST_OK)
        st = s->engine->ops->drain(s->engine, s->range.id, frozen, &s->frozen_mark, err);
    if (st == ST_OK)
        st = store__snap_new(s, &snap, err);
    table_unref(frozen);
    if (st != ST_OK) {
        err_prefix(err, "checkpoint of %s", s->dir);
        return st;
    }

    st = store__install_snap(s, snap, true, err);
    snap_unref(snap);
    if (st != ST_OK)
        return st;

    s->persisted = s->frozen_mark;
    atomic_store(&s->persisted_index, s->persisted.index);
    if (s->wal)
        wal_release(s->wal, s->range.id, s->persisted.index);
    counter_add(s->m_checkpoints, 1);
    histogram_add(s->m_drain_ns, env_mono_ns(s->env) - t0);
    s->last_checkpoint_ns = env_mono_ns(s->env);
    return ST_OK;
}

/* Tells those who wait for room how it went. */
static void drained(struct store *s, enum status st, const struct err *err)
{
    env_mutex_lock(&s->state_lock);
    s->drain_status = st;
    s->drain_err = *err;
    s->drain_wanted = false;
    env_cond_broadcast(&s->state_cond);
    env_mutex_unlock(&s->state_lock);
}

static enum status drain_and_tell(struct store *s, struct err *err)
{
    struct err local;
    err_init(&local);
    enum status st = store__drain(s, &local);
    drained(s, st, &local);
    if (st != ST_OK && err)
        *err = local;
    return st;
}

static bool has_frozen(struct store *s)
{
    struct view *v = store__view(s);
    bool frozen = v->frozen != NULL;
    view_unref(v);
    return frozen;
}

/* By the leader, before it appends: room for a group in the active table. */
enum status store__make_room(struct store *s, struct err *err)
{
    struct view *v = store__view(s);
    size_t bytes = table_bytes(v->active);
    bool frozen = v->frozen != NULL;
    view_unref(v);
    if (bytes < s->o.table_bytes)
        return ST_OK;
    if (frozen && !s->o.no_thread) {
        /* The thread drains; a failure is answered at once, so that a full disk refuses instead of
         * hanging. */
        env_mutex_lock(&s->state_lock);
        s->drain_status = ST_OK;
        s->drain_wanted = s->poked = true;
        env_cond_broadcast(&s->state_cond);
        while (s->drain_wanted && !s->stopping)
            env_cond_wait(&s->state_cond, &s->state_lock);
        enum status st = s->drain_status;
        if (st != ST_OK && err)
            *err = s->drain_err;
        env_mutex_unlock(&s->state_lock);
        if (st != ST_OK)
            return st;
    } else if (frozen) {
        return err_set(err, ST_OVERLOADED,
                       "the table is full and its predecessor not yet drained (limit %zu bytes)",
                       s->o.table_bytes);
    }
    if (has_frozen(s))
        return err_set(err, ST_OVERLOADED,
                       "the table is full and its predecessor not yet drained (limit %zu bytes)",
                       s->o.table_bytes);
    enum status st = freeze(s, err);
    if (st == ST_OK)
        store__poke(s);
    return st;
}

enum status store__make_room_replaying(struct store *s, struct err *err)
{
    if (table_bytes(s->view->active) < s->o.table_bytes)
        return ST_OK;
    enum status st = freeze(s, err);
    return st == ST_OK ? store__drain(s, err) : st;
}

/* Freezes what the active table holds and drains it. The caller holds checkpoint_lock. */
static enum status checkpoint_locked(struct store *s, struct err *err)
{
    enum status st = drain_and_tell(s, err);
    if (st == ST_OK)
        st = store__lead_begin(s, err);
    if (st != ST_OK)
        return st;
    struct view *v = store__view(s);
    bool empty = table_count(v->active) == 0, frozen = v->frozen != NULL;
    view_unref(v);
    if (!empty && !frozen)
        st = freeze(s, err);
    store__lead_end(s);
    return st == ST_OK ? drain_and_tell(s, err) : st;
}

enum status store_checkpoint(struct store *s, struct err *err)
{
    if (s->o.read_only)
        return err_set(err, ST_READ_ONLY, "%s was opened read-only", s->dir);
    env_mutex_lock(&s->checkpoint_lock);
    enum status st = checkpoint_locked(s, err);
    if (st == ST_OK)
        st = wal_maintain(s->wal, err);
    env_mutex_unlock(&s->checkpoint_lock);
    return st;
}

enum status store_compact(struct store *s, struct err *err)
{
    enum status st = store_checkpoint(s, err);
    if (st != ST_OK)
        return st;
    env_mutex_lock(&s->checkpoint_lock);
    st = s->engine->ops->compact(s->engine, err);
    env_mutex_unlock(&s->checkpoint_lock);
    return st;
}

/* ---- housekeeping ---- */

enum { TICK_MS = 100, RETRY_MS = 1000 };

static void complain(struct store *s, const char *what, const struct err *err)
{
    log_at(LOG_WARN, "store", what, LOG_FSTR("dir", s->dir),
           LOG_FSTR("status", status_name(err->status)), LOG_FSTR("detail", err->detail));
}

static bool checkpoint_pending(struct store *s)
{
    struct view *v = store__view(s);
    bool pending = v->frozen != NULL || table_count(v->active) > 0;
    view_unref(v);
    return pending;
}

static bool checkpoint_due(struct store *s, uint64_t now)
{
    struct view *v = store__view(s);
    bool due = v->frozen != NULL, empty = table_count(v->active) == 0;
    view_unref(v);
    if (due || empty)
        return due;
    struct wal_stats w;
    wal_stats(s->wal, &w);
    return w.live_bytes > s->o.log_bytes ||
           (s->o.checkpoint_interval_ms != UINT32_MAX &&
            now - s->last_checkpoint_ns >= s->o.checkpoint_interval_ms * UINT64_C(1000000));
}

uint64_t store_tick(struct store *s)
{
    struct err err;
    err_init(&err);
    uint64_t now = env_mono_ns(s->env);
    uint64_t wait = UINT64_MAX;
    if (s->o.read_only || atomic_load(&s->poisoned)) {
        drained(s, ST_POISONED, &err);
        return wait;
    }
    if (atomic_load(&s->unsynced)) {
        if (now - s->last_sync_ns >= s->o.sync_interval_ms * UINT64_C(1000000)) {
            s->last_sync_ns = now;
            if (store_sync_now(s, &err) != ST_OK)
                complain(s, "interval sync failed", &err);
        }
        wait = s->o.sync_interval_ms < TICK_MS ? s->o.sync_interval_ms : TICK_MS;
    }
    if (checkpoint_due(s, now)) {
        env_mutex_lock(&s->checkpoint_lock);
        /* A frozen table is the common case: then the active one goes on filling. */
        enum status st = has_frozen(s) ? drain_and_tell(s, &err) : checkpoint_locked(s, &err);
        env_mutex_unlock(&s->checkpoint_lock);
        if (st != ST_OK) {
            complain(s, "checkpoint failed; it will be tried again", &err);
            wait = RETRY_MS;
        }
    } else {
        env_mutex_lock(&s->state_lock);
        if (s->drain_wanted) {
            s->drain_wanted = false;
            env_cond_broadcast(&s->state_cond);
        }
        env_mutex_unlock(&s->state_lock);
    }
    if (atomic_exchange(&s->dirty, false))
        s->mark_due = true;
    else if (s->mark_due)
        s->mark_due = false;
    else if (wait == UINT64_MAX && s->o.checkpoint_interval_ms != UINT32_MAX &&
             checkpoint_pending(s))
        return s->o.checkpoint_interval_ms;
    else
        return wait;
    if (wal_maintain(s->wal, &err) != ST_OK)
        complain(s, "log maintenance failed; it will be tried again", &err);
    return wait < TICK_MS ? wait : TICK_MS;
}

void store__housekeeping(void *arg)
{
    struct store *s = arg;
    env_mutex_lock(&s->state_lock);
    while (!s->stopping) {
        s->poked = false;
        env_mutex_unlock(&s->state_lock);
        uint64_t wait = store_tick(s);
        env_mutex_lock(&s->state_lock);
        while (!s->stopping && !s->poked && wait > 0) {
            if (wait == UINT64_MAX)
                env_cond_wait(&s->state_cond, &s->state_lock);
            else if (!env_cond_wait_ms(&s->state_cond, &s->state_lock, wait))
                break;
        }
    }
    /* Nobody may go on waiting for a drain that will not come. */
    s->drain_wanted = false;
    env_cond_broadcast(&s->state_cond);
    env_mutex_unlock(&s->state_lock);
}
