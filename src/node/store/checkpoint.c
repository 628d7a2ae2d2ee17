#include "node/store/cluster.h"

#include "base/buggify.h"
#include "base/env/fiber.h"
#include "base/log.h"
#include "base/planted.h"
#include <inttypes.h>

/* A checkpoint: freeze the table (a moment, by the leader), sync the log, drain the frozen table
 * into the engine (long, beside readers and writers), let readers see the engine instead, release
 * the log. There is one frozen table at most; a writer that fills the next one before the drain is
 * done waits. Where it pays frozen tables are spilled first, and drained together (spill.c). */

enum { TICK_MS = 100, RETRY_MS = 1000, LOOK_MS = 500, QUIET_MS = 5000 };

/* At most once a second: what fails once fails at every try. */
static void complain(struct store *s, const char *what, const struct err *err)
{
    uint64_t now = env_mono_ns(s->env), last = atomic_exchange(&s->complained_ns, now);
    if (last != 0 && now - last < RETRY_MS * UINT64_C(1000000))
        return;
    log_at(LOG_WARN, "store", what, LOG_FSTR("dir", s->dir),
           LOG_FSTR("status", status_name(err->status)), LOG_FSTR("detail", err->detail));
}

void store__poke(struct store *s)
{
    env_mutex_lock(&s->state_lock);
    s->log_poked = s->drain_poked = true;
    env_cond_broadcast(&s->state_cond);
    env_mutex_unlock(&s->state_lock);
}

uint64_t store__log_end(struct store *s)
{
    struct wal_stats w;
    if (atomic_load(&s->replaying))
        return 0; /* there is none yet */
    wal_stats(s->wal, &w);
    return s->log_opened + w.appended_bytes;
}

/* By the leader: the active table becomes the frozen one. *ret_done false: another is frozen. The leader
 * alone freezes, but what rested when it looked may be about to be drained by now (take_frozen). */
static enum status freeze(struct store *s, bool *ret_done, struct err *err)
{
    env_mutex_lock(&s->view_change);
    struct view *now = store__view(s);
    *ret_done = !view_frozen(now);
    if (!*ret_done) {
        view_unref(now);
        env_mutex_unlock(&s->view_change);
        return ST_OK;
    }
    struct table *fresh = table_new_on(s->pages);
    struct view *v = fresh ? view_new(fresh, now->active, now->snap) : NULL;
    uint64_t base = now->base_hlc;
    table_unref(fresh);
    if (v)
        table_put_on(now->active, now->frozen);
    view_unref(now);
    if (v) {
        v->base_hlc = base;
        s->frozen_mark = (struct engine_mark){
            .index = s->range.applied, .term = s->range.term, .version = s->range.newest};
        cluster_conf_note(s, &s->frozen_mark);
        s->log_frozen = store__log_end(s);
        if (PLANTED(MARK_ONE_AHEAD))
            s->frozen_mark.index++;
        if (PLANTED(MARK_ONE_BEHIND) && s->frozen_mark.index > 1)
            s->frozen_mark.index--;
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
    uint64_t visible = store_visible(s).hlc;
    if (next) {
        next->base_hlc = visible > now->base_hlc ? visible : now->base_hlc;
        next->resting = next->frozen && now->resting;
        store__install_view(s, next);
    }
    view_unref(now);
    env_mutex_unlock(&s->view_change);
    return next ? ST_OK : err_set(err, ST_NO_MEMORY, "no memory for a view");
}

/* What is to be drained, with its mark; NULL: nothing. What rested does so no more: from now on no table
 * is frozen upon it. */
static enum status take_frozen(struct store *s, bool all, struct table **ret,
                               struct engine_mark *ret_mark, uint64_t *ret_log, struct err *err)
{
    enum status st = ST_OK;
    env_mutex_lock(&s->view_change);
    struct view *now = store__view(s);
    bool wanted = view_frozen(now) || (all && now->frozen);
    if (wanted && now->resting) {
        struct view *next = view_new(now->active, now->frozen, now->snap);
        if (next) {
            next->base_hlc = now->base_hlc;
            store__install_view(s, next);
        } else {
            st = err_set(err, ST_NO_MEMORY, "no memory for a view");
        }
    }
    *ret = st == ST_OK && wanted ? table_ref(now->frozen) : NULL;
    *ret_mark = s->frozen_mark;
    *ret_log = s->log_frozen;
    view_unref(now);
    env_mutex_unlock(&s->view_change);
    return st;
}

/* Puts the frozen table into the engine. The caller holds checkpoint_lock; with none frozen it has
 * nothing to do. */
enum status store__drain(struct store *s, bool all, struct err *err)
{
    /* As long as this table is frozen no other can be; once it is drained the next may be at once,
     * with a mark of its own. */
    struct table *frozen;
    struct engine_mark mark;
    uint64_t log_frozen;
    enum status st = take_frozen(s, all, &frozen, &mark, &log_frozen, err);
    if (!frozen)
        return st;
    bool replaying = atomic_load(&s->replaying);
    if (!all && !replaying && store__spill(s, frozen)) {
        table_unref(frozen);
        return ST_OK;
    }

    uint64_t t0 = env_mono_ns(s->env);
    struct snap *snap = NULL;
    /* The engine must not be ahead of the log: a power cut now would leave entries that no log
     * tells of. While the log is replayed they come from there, and if a power cut takes its
     * un-synced end they live on in the engine: opening goes on behind whichever is further. */
    st = replaying ? ST_OK : store_sync_now(s, err);
    if (st == ST_OK)
        st = s->engine->ops->drain(s->engine, RANGE_FIRST, frozen, &mark, err);
    if (st == ST_OK && !replaying)
        store__keep(s);
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

    s->persisted = mark;
    atomic_store(&s->persisted_index, mark.index);
    atomic_store(&s->log_drained, log_frozen);
    atomic_store(&s->keep_log, false);
    if (!replaying && !s->cluster) /* a cluster's log may be wanted by peers: cluster_compact */
        wal_release(s->wal, RANGE_FIRST, mark.index);
    counter_add(s->m_checkpoints, 1);
    histogram_add(s->m_drain_ns, env_mono_ns(s->env) - t0);
    s->last_checkpoint_ns = env_mono_ns(s->env);
    return ST_OK;
}

static bool has_frozen(struct store *s)
{
    struct view *v = store__view(s);
    bool frozen = view_frozen(v);
    view_unref(v);
    return frozen;
}

static enum status drain_locking(struct store *s, bool all, struct err *err)
{
    struct err own;
    err_init(&own);
    err = err ? err : &own;
    env_mutex_lock(&s->checkpoint_lock);
    enum status st = store__drain(s, all, err);
    if (s->cluster)
        cluster_drained(s, st, err);
    env_mutex_unlock(&s->checkpoint_lock);
    return st;
}

struct draining {
    struct store *s;
    enum status st;
    struct err *err;
};

static void drain_aside(void *arg)
{
    struct draining *d = arg;
    d->st = drain_locking(d->s, false, d->err);
}

/* On a fiber the thread has others to serve meanwhile, reads among them. */
static enum status drain_for_room(struct store *s, struct err *err)
{
    struct draining d = {.s = s, .err = err};
    atomic_store_explicit(&s->hurry, true, memory_order_relaxed);
    if (fiber_current() && !s->o.no_thread)
        env_run_aside("varve-room", drain_aside, &d);
    else
        drain_aside(&d);
    atomic_store_explicit(&s->hurry, false, memory_order_relaxed);
    return d.st;
}

/* By the leader, before it appends: room for a group in the active table. When the frozen one is
 * not drained yet, the leader waits for whoever drains it, or does so itself: never for the thread,
 * which may be waiting to lead. A failure is answered at once, so that a full disk refuses instead
 * of hanging. */
enum status store__make_room(struct store *s, struct err *err)
{
    struct view *v = store__view(s);
    size_t bytes = table_bytes(v->active);
    bool frozen = view_frozen(v), done = false;
    view_unref(v);
    if (bytes < s->o.table_bytes)
        return ST_OK;
    enum status st = ST_OK;
    while (st == ST_OK && !done) {
        if (frozen)
            st = drain_for_room(s, err);
        if (st == ST_OK)
            st = freeze(s, &done, err);
        frozen = !done;
    }
    if (st == ST_OK)
        store__poke(s);
    return st;
}

bool store__has_room(struct store *s)
{
    struct view *v = store__view(s);
    bool room = table_bytes(v->active) < s->o.table_bytes || !view_frozen(v);
    room = room && !(view_frozen(v) && BUGGIFY("store: a write waits for the drain"));
    view_unref(v);
    return room;
}

void store__make_room_beside(struct store *s)
{
    struct view *v = store__view(s);
    size_t bytes = table_bytes(v->active);
    bool frozen = view_frozen(v), done;
    view_unref(v);
    bool early =
        bytes > s->o.table_bytes / 2 && !frozen && BUGGIFY("store: a table is frozen early");
    if ((bytes < s->o.table_bytes && !early) || (frozen && bytes < 2 * s->o.table_bytes))
        return;
    if (frozen)
        PROBE("store: who drives drains, for the table is twice its size");
    struct err err;
    err_init(&err);
    enum status st = frozen ? drain_for_room(s, &err) : ST_OK;
    if (st == ST_OK)
        st = freeze(s, &done, &err); /* or the next time */
    if (st == ST_OK)
        store__poke(s);
    else /* what is committed is applied all the same, as long as there is memory */
        complain(s, "the table is over its size, and cannot be drained", &err);
}

/* Drains all that was applied before the call. Leads without checkpoint_lock, for a leader may wait
 * for that one. When another table was frozen already, that goes first and this takes a second
 * round. */
enum status store__drain_all(struct store *s, struct err *err)
{
    enum status st;
    bool again;
    do {
        if ((st = store__lead_begin(s, err)) != ST_OK)
            return st;
        struct view *v = store__view(s);
        bool empty = table_count(v->active) == 0, done = false;
        again = view_frozen(v);
        view_unref(v);
        if (!empty && !again) {
            st = freeze(s, &done, err);
            again = st == ST_OK && !done;
        }
        store__lead_end(s);
        if (st == ST_OK)
            st = drain_locking(s, true, err);
    } while (st == ST_OK && again);
    return st;
}

/* Spares of the log are left to its thread: it makes them in steps. */
static enum status tidy_log(struct store *s, struct err *err)
{
    env_mutex_lock(&s->maintain_lock);
    enum status st = wal_tidy(s->wal, err);
    if (st == ST_POISONED) /* a sync of its own failed */
        store__poison(s, ST_POISONED);
    env_mutex_unlock(&s->maintain_lock);
    return st;
}

enum status store_checkpoint(struct store *s, struct err *err)
{
    if (s->o.read_only)
        return err_set(err, ST_READ_ONLY, "%s was opened read-only", s->dir);
    enum status st = store__drain_all(s, err);
    if (st == ST_OK)
        st = tidy_log(s, err);
    return st;
}

enum status store_compact(struct store *s, struct err *err)
{
    enum status st = store_checkpoint(s, err);
    if (st != ST_OK)
        return st;
    struct home *h = store__home(s);
    st = h->engine->ops->compact(h->engine, err);
    home_unref(h);
    return st;
}

/* ---- housekeeping ---- */

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
    bool due = view_frozen(v), empty = table_count(v->active) == 0 && !v->frozen;
    view_unref(v);
    if (due || empty || atomic_load(&s->replaying))
        return due;
    return store__log_end(s) - atomic_load(&s->log_drained) > s->o.log_bytes ||
           (s->o.checkpoint_interval_ms != UINT32_MAX &&
            now >= s->last_checkpoint_ns + s->o.checkpoint_interval_ms * UINT64_C(1000000));
}

/* Interval syncs. Returns in how many ms the next one is due. */
static uint64_t sync_in_time(struct store *s, uint64_t now, struct err *err)
{
    uint64_t interval_ns = s->o.sync_interval_ms * UINT64_C(1000000);
    if (!atomic_load(&s->unsynced))
        return UINT64_MAX;
    uint64_t since = now - s->last_sync_ns;
    if (since >= interval_ns) {
        s->last_sync_ns = now;
        since = 0;
        if (store_sync_now(s, err) != ST_OK)
            complain(s, "interval sync failed", err);
    }
    return (interval_ns - since) / 1000000 + 1;
}

/* A step of a spare segment, when it is due. Returns in how many ms the next one is. */
static uint64_t spare_in_steps(struct store *s, uint64_t now, struct err *err)
{
    uint64_t pause_ms;
    if (now < s->spare_ns)
        return (s->spare_ns - now) / 1000000 + 1;
    enum status st = wal_make_spare(s->wal, &pause_ms, err);
    atomic_store(&s->no_spare, st == ST_DISK_FULL);
    if (st != ST_OK) {
        complain(s, "a log segment cannot be made ahead; it will be tried again", err);
        pause_ms = RETRY_MS;
    }
    s->spare_ns =
        pause_ms == UINT64_MAX ? UINT64_MAX : env_mono_ns(s->env) + pause_ms * UINT64_C(1000000);
    return pause_ms;
}

static uint64_t min_ms(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Interval syncs, the idle marker, spare segments: what must not wait for a drain. */
static uint64_t tick_log(struct store *s)
{
    struct err err;
    err_init(&err);
    atomic_store(&s->log_idle, false);
    uint64_t now = env_mono_ns(s->env), wait = sync_in_time(s, now, &err);
    if (s->spare_ns != UINT64_MAX)
        wait = min_ms(wait, spare_in_steps(s, now, &err));
    if (now < s->tidy_ns)
        return min_ms(wait, (s->tidy_ns - now) / 1000000 + 1);
    bool busy = atomic_exchange(&s->dirty, false);
    if (!busy && !s->mark_due) {
        if (s->spare_ns != UINT64_MAX)
            return wait;
        atomic_store(&s->log_idle, true);
        /* What came meanwhile found nobody to wake. */
        bool came = atomic_load(&s->dirty) || (wait == UINT64_MAX && atomic_load(&s->unsynced));
        return came ? 0 : wait;
    }
    s->mark_due = busy; /* once more after the last write: then the idle marker is due */
    if (tidy_log(s, &err) != ST_OK) {
        complain(s, "log maintenance failed; it will be tried again", &err);
        s->mark_due = true;
        return min_ms(wait, RETRY_MS);
    }
    s->tidy_ns = now + TICK_MS * UINT64_C(1000000);
    if (s->spare_ns == UINT64_MAX) { /* it may have been used since */
        s->spare_ns = now;
        wait = min_ms(wait, spare_in_steps(s, now, &err));
    }
    return min_ms(wait, TICK_MS);
}

/* Pages that drained tables left are for the next ones, as long as there are writes. */
static void trim_pages(struct store *s, uint64_t wait)
{
    uint64_t now = env_mono_ns(s->env), applied = atomic_load(&s->applied_index);
    if (applied != s->quiet_index) {
        s->quiet_index = applied;
        s->quiet_ns = now;
    }
    if (wait == UINT64_MAX || now - s->quiet_ns >= QUIET_MS * UINT64_C(1000000))
        table_pages_trim(s->pages);
}

/* With nothing to drain the next append pokes; else time and the log's size are looked at. What was
 * appended a moment ago may not be in the table yet: so nothing has to be found twice. */
static uint64_t next_look(struct store *s)
{
    bool again = atomic_exchange(&s->drain_rests, true);
    if (checkpoint_pending(s))
        atomic_store(&s->drain_rests, false);
    else if (again)
        atomic_store(&s->drain_idle, true);
    /* What was appended meanwhile has not poked, or has: it is looked at in any case. */
    return again && atomic_load(&s->drain_rests) ? UINT64_MAX : LOOK_MS;
}

static uint64_t tick_drain(struct store *s)
{
    struct err err;
    err_init(&err);
    atomic_store(&s->drain_idle, false);
    store__tidy(s, true);
    if (s->cluster && cluster_snapshot_due(s) && !atomic_load(&s->replaying))
        cluster_snapshot_work(s);
    if (checkpoint_due(s, env_mono_ns(s->env)) && BUGGIFY("store: a drain comes late"))
        return TICK_MS;
    if (checkpoint_due(s, env_mono_ns(s->env))) {
        /* A frozen table is the common case: then the active one goes on filling. */
        enum status st = has_frozen(s) ? drain_locking(s, false, &err) : store__drain_all(s, &err);
        if (st != ST_OK) {
            complain(s, "checkpoint failed; it will be tried again", &err);
            PROBE("store: a checkpoint fails");
            return RETRY_MS;
        }
    }
    if (absent__tick(s))
        return 0;
    if (s->cluster && cluster_snapshot_due(s)) /* it could not be answered yet */
        return TICK_MS;
    uint64_t wait = next_look(s);
    trim_pages(s, wait);
    return wait;
}

uint64_t store_tick(struct store *s)
{
    if (s->o.read_only || atomic_load(&s->poisoned))
        return UINT64_MAX;
    uint64_t wait = s->cluster ? cluster_tick(s) : UINT64_MAX;
    uint64_t log = tick_log(s), drain = tick_drain(s);
    return min_ms(wait, min_ms(log, drain));
}

/* Sleeps until poked, or until `wait` ms have passed, whoever else is poked meanwhile. */
static void rest(struct store *s, bool *poked, uint64_t wait)
{
    uint64_t begun = env_mono_ns(s->env);
    while (!s->stopping && !*poked) {
        uint64_t slept = (env_mono_ns(s->env) - begun) / 1000000;
        if (wait == UINT64_MAX)
            env_cond_wait(&s->state_cond, &s->state_lock);
        else if (slept >= wait || !env_cond_wait_ms(&s->state_cond, &s->state_lock, wait - slept))
            break;
    }
}

static void housekeep(struct store *s, bool *poked, uint64_t (*tick)(struct store *s))
{
    env_mutex_lock(&s->state_lock);
    while (!s->stopping) {
        *poked = false;
        env_mutex_unlock(&s->state_lock);
        uint64_t wait = atomic_load(&s->poisoned) ? UINT64_MAX : tick(s);
        env_mutex_lock(&s->state_lock);
        rest(s, poked, wait);
    }
    env_mutex_unlock(&s->state_lock);
}

void store__keep_log(void *arg)
{
    struct store *s = arg;
    housekeep(s, &s->log_poked, tick_log);
}

void store__keep_engine(void *arg)
{
    struct store *s = arg;
    housekeep(s, &s->drain_poked, tick_drain);
}
