#include "node/store/cluster.h"

#include "base/alloc.h"
#include "base/log.h"
#include <inttypes.h>

enum {
    DEFAULT_SYNC_MS = 1000,
    DEFAULT_CHECKPOINT_MS = 300000,
    DEFAULT_ABSENT_MISSES = 20000,
    DEFAULT_ABSENT_SLICE = 50000,
};

enum status store__path(const struct store *s, const char *name, struct buf *out, struct err *err)
{
    buf_clear(out);
    if (buf_printf(out, "%s/%s", s->dir, name) != ST_OK || !buf_cstr(out))
        return err_set(err, ST_NO_MEMORY, "no memory for a path");
    return ST_OK;
}

static void locks_init(struct store *s)
{
    env_mutex_init(&s->queue_lock);
    env_mutex_init(&s->checkpoint_lock);
    env_mutex_init(&s->state_lock);
    env_mutex_init(&s->view_change);
    env_mutex_init(&s->maintain_lock);
    env_mutex_init(&s->watch_lock);
    env_cond_init(&s->state_cond);
    list_init(&s->watching);
    list_init(&s->watching_all);
}

static void locks_deinit(struct store *s)
{
    env_cond_deinit(&s->state_cond);
    env_mutex_deinit(&s->watch_lock);
    env_mutex_deinit(&s->maintain_lock);
    env_mutex_deinit(&s->view_change);
    env_mutex_deinit(&s->state_lock);
    env_mutex_deinit(&s->checkpoint_lock);
    env_mutex_deinit(&s->queue_lock);
}

static enum status make_metrics(struct store *s, struct err *err)
{
    s->metrics = metrics_new();
    if (!s->metrics)
        return err_set(err, ST_NO_MEMORY, "no memory for metrics");
    struct metrics *m = s->metrics;
    s->m_writes = metrics_counter(m, "varve_writes_total", NULL, "Puts and deletes applied.");
    s->m_commits = metrics_counter(m, "varve_commits_total", NULL, "Log entries committed.");
    s->m_groups = metrics_counter(m, "varve_commit_groups_total", NULL,
                                  "Groups of entries that shared one append.");
    s->m_checkpoints =
        metrics_counter(m, "varve_checkpoints_total", NULL, "Tables drained into the engine.");
    s->m_sync_ns = metrics_histogram(m, "varve_log_sync_seconds", NULL,
                                     "Time of log syncs that a commit waited for.");
    s->m_apply_ns = metrics_histogram(m, "varve_apply_seconds", NULL,
                                      "Time to apply what was committed at once.");
    s->m_drain_ns = metrics_histogram(m, "varve_drain_seconds", NULL,
                                      "Time in which the engine took in a table.");
    s->m_hits =
        metrics_counter(m, "varve_cache_hits_total", NULL, "Gets that the hot cache answered.");
    s->m_misses =
        metrics_counter(m, "varve_cache_misses_total", NULL, "Gets that it could not answer.");
    s->m_wakes = metrics_counter(m, "varve_watch_wakes_total", NULL,
                                 "Watchers that a commit woke from waiting for changes.");
    s->m_changes_read =
        metrics_counter(m, "varve_changes_read_total", NULL,
                        "Changes read for watchers, those that their filters held back included.");
    bool all = s->m_hits && s->m_misses && s->m_wakes && s->m_changes_read && s->m_writes &&
               s->m_commits && s->m_groups && s->m_checkpoints && s->m_sync_ns && s->m_apply_ns &&
               s->m_drain_ns;
    static const struct {
        const char *name, *help;
    } gauges[STORE_GAUGES] = {
#define X(id, text, about) {text, about},
        STORE_GAUGE_TABLE(X)
#undef X
    };
    for (int i = 0; i < STORE_GAUGES; i++) {
        s->m_gauges[i] = metrics_gauge(m, gauges[i].name, NULL, gauges[i].help);
        all = all && s->m_gauges[i];
    }
    return all ? ST_OK : err_set(err, ST_NO_MEMORY, "no memory for metrics");
}

static void store_free(struct store *s)
{
    if (!s)
        return;
    absent__deinit(s);
    cluster_snapshots_forget(s);
    store__install_view(s, NULL);
    table_pages_unref(s->pages);
    home_unref(s->home);
    store__tidy(s, false);
    cache_free(s->cache);
    catalog_deinit(&s->catalog);
    range_scratch_deinit(&s->scratch);
    metrics_free(s->metrics);
    cluster_free(s);
    replicas_free(s->replicas);
    env_close(s->lock_file);
    locks_deinit(s);
    mem_free(s->dir);
    mem_free(s);
}

/* ---- opening ---- */

/* Data without its format file is not a new folder, and must not become one; nor is it none. */
static enum status refuse_leftovers(struct store *s, struct buf *path, struct err *err)
{
    static const char *const parts[] = {"log", "engine", "engine.2"};
    enum status st = ST_OK;
    for (int i = 0; st == ST_OK && i < 3; i++) {
        st = store__path(s, parts[i], path, err);
        if (st == ST_OK && env_exists(s->env, buf_cstr(path)))
            st = err_set(err, ST_CORRUPT,
                         "%s/VARVE: offset 0: the file is missing, but %s/%s is there", s->dir,
                         s->dir, parts[i]);
    }
    return st;
}

enum status store__take_folder(struct store *s, bool *ret_fresh, struct err *err)
{
    struct buf path = BUF_INIT;
    enum status st = ST_OK;
    if (!s->o.must_exist && !s->o.read_only)
        st = env_mkdirs(s->env, s->dir, err);
    else if (!env_exists(s->env, s->dir))
        st = err_set(err, ST_NOT_FOUND, "there is no database in %s", s->dir);
    if (st == ST_OK && (s->o.must_exist || s->o.read_only)) {
        st = store__path(s, "VARVE", &path, err);
        if (st == ST_OK && !env_exists(s->env, buf_cstr(&path))) {
            st = refuse_leftovers(s, &path, err);
            if (st == ST_OK)
                st = err_set(err, ST_NOT_FOUND, "there is no database in %s", s->dir);
        }
    }
    if (st == ST_OK)
        st = store__path(s, "LOCK", &path, err);
    if (st == ST_OK) {
        st = env_lock(s->env, buf_cstr(&path), &s->lock_file, err);
        if (st == ST_LOCKED)
            err_set(err, ST_LOCKED,
                    "%s is open in another process, and one process owns a folder at a time; "
                    "`varve serve` is the way to share it",
                    s->dir);
        /* A folder that nobody can write to has nobody to be kept out. */
        if (s->o.read_only &&
            (st == ST_READ_ONLY || st == ST_PERMISSION_DENIED || st == ST_NOT_FOUND))
            st = ST_OK;
    }
    if (st == ST_OK)
        st = store__format_check(s, ret_fresh, err);
    if (st == ST_OK && *ret_fresh)
        st = refuse_leftovers(s, &path, err);
    if (st == ST_OK && *ret_fresh)
        st = store__format_write(s, err);
    buf_deinit(&path);
    return st;
}

/* An engine that was installed is not made anew where it is missing. */
static enum status check_engine_folder(struct store *s, struct err *err)
{
    struct buf path = BUF_INIT;
    bool plain = s->folder == 0 && s->void_before.epoch == 0;
    enum status st = plain ? ST_OK : store__path(s, store__folder_name(s->folder), &path, err);
    if (st == ST_OK && !plain && !env_exists(s->env, buf_cstr(&path)))
        st = err_set(err, ST_CORRUPT, "%s/VARVE: offset 0: it names %s, which is not there", s->dir,
                     store__folder_name(s->folder));
    buf_deinit(&path);
    return st;
}

static enum status open_engine(struct store *s, struct err *err)
{
    struct snap *snap = NULL;
    struct table *table = NULL;
    enum status st = check_engine_folder(s, err);
    s->o.engine.read_only = s->o.read_only;
    s->o.engine.drain_bytes = s->o.table_bytes;
    s->o.engine.hurry = &s->hurry;
    if (st == ST_OK)
        st = home_open(s, s->folder, &s->home, err);
    if (st == ST_OK) {
        s->engine = s->home->engine;
        st = s->engine->ops->persisted(s->engine, RANGE_FIRST, &s->persisted, err);
    }
    if (st == ST_OK && s->cluster)
        st = cluster_conf_of(s, &s->persisted, &s->cluster->conf, err);
    if (st == ST_OK)
        st = store__snap_new(s, &snap, err);
    struct view *v = NULL;
    if (st == ST_OK && (!(s->pages = table_pages_new(s->o.table_bytes)) ||
                        !(table = table_new_on(s->pages)) || !(v = view_new(table, NULL, snap))))
        st = err_set(err, ST_NO_MEMORY, "no memory for a table");
    if (v)
        store__install_view(s, v);
    if (st == ST_OK) {
        s->range = (struct range){.id = RANGE_FIRST,
                                  .term = s->persisted.term,
                                  .applied = s->persisted.index,
                                  .newest = s->persisted.version};
        atomic_store(&s->written_floor, s->persisted.version.hlc);
        atomic_store(&s->visible_hlc, s->persisted.version.hlc);
        atomic_store(&s->applied_index, s->persisted.index);
        atomic_store(&s->persisted_index, s->persisted.index);
        atomic_store(&s->keep_log, s->engine->unsure);
        hlc_observe(&s->clock, s->persisted.version.hlc);
        st = store__catalog_load(s, err);
    }
    table_unref(table);
    snap_unref(snap);
    return st;
}

static void set_defaults(struct store_options *o)
{
    if (o->sync == STORE_SYNC_DEFAULT)
        o->sync = STORE_SYNC_ALWAYS;
    if (!o->sync_interval_ms)
        o->sync_interval_ms = DEFAULT_SYNC_MS;
    if (!o->table_bytes)
        o->table_bytes = (size_t)128 << 20;
    if (!o->log_bytes)
        o->log_bytes = UINT64_C(1) << 30;
    if (!o->checkpoint_interval_ms)
        o->checkpoint_interval_ms = DEFAULT_CHECKPOINT_MS;
    if (!o->absent_misses)
        o->absent_misses = DEFAULT_ABSENT_MISSES;
    if (!o->absent_slice)
        o->absent_slice = DEFAULT_ABSENT_SLICE;
}

static void stop_threads(struct store *s)
{
    env_mutex_lock(&s->state_lock);
    s->stopping = true;
    env_cond_broadcast(&s->state_cond);
    if (s->cluster)
        env_cond_signal(&s->cluster->poke);
    env_mutex_unlock(&s->state_lock);
    cluster_stop(s);
    if (s->log_thread_runs)
        env_thread_join(&s->log_thread);
    if (s->engine_thread_runs)
        env_thread_join(&s->engine_thread);
}

enum status store_open(struct env *env, const char *dir, const struct store_options *o,
                       struct store **ret, struct err *err)
{
    struct store *s = mem_aligned(64, sizeof(*s));
    if (!s)
        return err_set(err, ST_NO_MEMORY, "no memory for a store");
    memset(s, 0, sizeof(*s));
    bool fresh;
    s->env = env;
    s->o = *o;
    set_defaults(&s->o);
    locks_init(s);
    list_init(&s->in_log);
    enum status st = ST_OK;
    if (s->o.cluster)
        st = cluster_new(s, err);
    if (st == ST_OK && (!(s->dir = mem_strdup(dir)) || catalog_init(&s->catalog) != ST_OK))
        st = err_set(err, ST_NO_MEMORY, "no memory for a store");
    if (st == ST_OK && s->o.cache_bytes && !(s->cache = cache_new(s->o.cache_bytes)))
        st = err_set(err, ST_NO_MEMORY, "no memory for a cache of %zu bytes", s->o.cache_bytes);
    if (st == ST_OK)
        st = make_metrics(s, err);
    if (st == ST_OK && s->cluster)
        st = cluster_metrics(s, err);
    if (st == ST_OK)
        st = store__take_folder(s, &fresh, err);
    if (st == ST_OK && !s->o.read_only)
        st = store__folder_settle(s, fresh, err);
    if (st == ST_OK)
        st = open_engine(s, err);
    if (st == ST_OK)
        st = s->o.cluster ? cluster_file_check(s, err) : cluster_none(s, err);
    bool threads = !s->o.no_thread && !s->o.read_only;
    s->last_checkpoint_ns = s->last_sync_ns = env_mono_ns(env);
    s->spare_ns = UINT64_MAX;
    atomic_store(&s->replaying, true);
    if (st == ST_OK && threads) { /* first, so that it drains what the replay fills */
        st = env_thread_start(&s->engine_thread, "varve-engine", store__keep_engine, s, err);
        s->engine_thread_runs = st == ST_OK;
    }
    if (st == ST_OK)
        st = store__recover(s, err);
    if (st == ST_OK && threads) {
        st = env_thread_start(&s->log_thread, "varve-log", store__keep_log, s, err);
        s->log_thread_runs = st == ST_OK;
    }
    if (st == ST_OK && s->cluster)
        st = cluster_start(s, err);
    if (st != ST_OK) {
        struct err ignored;
        stop_threads(s);
        if (s->wal && wal_close(s->wal, &ignored) != ST_OK)
            log_at(LOG_WARN, "store", "closing the log after a failed open failed too",
                   LOG_FSTR("detail", ignored.detail));
        store_free(s);
        return st;
    }
    *ret = s;
    return ST_OK;
}

void store_halt(struct store *s)
{
    store__poison(s, ST_POISONED);
    if (s->cluster)
        cluster_drive(s, NULL);
}

void store_abandon(struct store *s)
{
    if (!s)
        return;
    stop_threads(s);
    wal_abandon(s->wal);
    store_free(s);
}

enum status store_close(struct store *s, struct err *err)
{
    if (!s)
        return ST_OK;
    stop_threads(s);
    struct err later;
    err_init(&later);
    enum status st = ST_OK;
    if (!s->o.read_only && !atomic_load(&s->poisoned)) {
        atomic_store_explicit(&s->hurry, true, memory_order_relaxed);
        st = store_checkpoint(s, err);
        if (st == ST_DISK_FULL) {
            /* What was acknowledged is in the log, and the log is still to be synced and closed: if
             * that goes well, nothing is lost but time at the next opening. */
            log_at(LOG_WARN, "store", "no room for the checkpoint on closing; the log keeps it all",
                   LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err ? err->detail : ""));
            st = ST_OK;
        }
    }
    enum status closed = wal_close(s->wal, st == ST_OK ? err : &later);
    if (st == ST_OK)
        st = closed;
    store_free(s);
    return st;
}
