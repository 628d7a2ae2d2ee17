#include "node/store/cluster.h"

#include "base/alloc.h"

/* ---- verify ---- */

struct verifying {
    struct store *s;
    void (*report)(void *arg, const struct store_finding *f);
    bool (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    bool stopped;
};

static void on_wal_finding(void *arg, const struct wal_finding *f)
{
    struct verifying *v = arg;
    if (v->report)
        v->report(v->arg, &(struct store_finding){f->file, f->offset, f->range, f->text});
}

static void on_wal_progress(void *arg, uint64_t done, uint64_t total)
{
    struct verifying *v = arg;
    if (v->progress && !v->progress(v->arg, done, total))
        v->stopped = true;
}

static void on_engine_finding(void *arg, const struct engine_finding *f)
{
    struct verifying *v = arg;
    if (v->report)
        v->report(v->arg, &(struct store_finding){f->file, f->offset, v->s->range.id, f->text});
}

static bool on_engine_progress(void *arg, uint64_t done, uint64_t total)
{
    struct verifying *v = arg;
    if (v->progress && !v->progress(v->arg, done, total))
        v->stopped = true;
    return !v->stopped;
}

enum status store_verify(struct store *s, void (*report)(void *arg, const struct store_finding *f),
                         bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                         struct err *err)
{
    struct verifying v = {s, report, progress, arg, false};
    enum status log = wal_verify_open(s->wal, on_wal_finding, on_wal_progress, &v, err);
    enum status st = log;
    if (!v.stopped && (log == ST_OK || log == ST_CORRUPT)) {
        struct err engine_err;
        err_init(&engine_err);
        struct home *h = store__home(s);
        st = h->engine->ops->verify(h->engine, s->range.id, on_engine_finding, on_engine_progress,
                                    &v, &engine_err);
        home_unref(h);
        if (st != ST_OK && err)
            *err = engine_err;
        if (st == ST_OK)
            st = log;
    }
    return v.stopped ? err_set(err, ST_CANCELLED, "verify was stopped") : st;
}

/* A part that cannot even be looked into is a finding of its own. */
static enum status as_finding(struct verifying *v, const char *file, enum status st,
                              const struct err *why)
{
    if (st == ST_CORRUPT && v->report)
        v->report(v->arg, &(struct store_finding){file, 0, 0, why->detail});
    return st;
}

static enum status verify_engine_of(struct verifying *v, const char *dir, struct err *err)
{
    struct store *s = v->s;
    struct engine_options o = s->o.engine;
    struct err why;
    err_init(&why);
    o.read_only = true;
    enum status st = s->o.engine_open(s->env, dir, &o, &s->engine, &why);
    if (st != ST_OK) {
        as_finding(v, dir, st, &why);
    } else {
        st = s->engine->ops->verify(s->engine, s->range.id, on_engine_finding, on_engine_progress,
                                    v, &why);
        s->engine->ops->close(s->engine);
    }
    if (st != ST_OK && err)
        *err = why;
    return st;
}

/* The worse of two: CORRUPT is told even when another part could not be looked at. */
static enum status worse(enum status a, enum status b)
{
    return a == ST_OK || b == ST_CORRUPT ? b : a;
}

enum status store_verify_dir(struct env *env, const char *dir, const struct store_options *o,
                             void (*report)(void *arg, const struct store_finding *f),
                             bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                             struct err *err)
{
    struct store s = {.env = env, .o = *o, .range = {.id = RANGE_FIRST}};
    struct verifying v = {&s, report, progress, arg, false};
    struct buf log = BUF_INIT, engine = BUF_INIT;
    struct err why;
    bool fresh = false;
    err_init(&why);
    s.o.read_only = s.o.must_exist = true;
    enum status st = ST_OK;
    if (!(s.dir = mem_strdup(dir)))
        st = err_set(&why, ST_NO_MEMORY, "no memory to verify %s", dir);
    if (st == ST_OK) {
        st = store__take_folder(&s, &fresh, &why);
        as_finding(&v, "", st, &why); /* its text begins with the file */
    }
    if ((st == ST_OK || st == ST_CORRUPT) &&
        (buf_printf(&log, "%s/log", dir) != ST_OK ||
         buf_printf(&engine, "%s/%s", dir, store__folder_name(s.folder)) != ST_OK ||
         !buf_cstr(&log) || !buf_cstr(&engine)))
        st = err_set(&why, ST_NO_MEMORY, "no memory to verify %s", dir);
    if (st == ST_OK || st == ST_CORRUPT) {
        struct err later;
        err_init(&later);
        enum status part = wal_verify(env, buf_cstr(&log), on_wal_finding, on_wal_progress, &v,
                                      st == ST_OK ? &why : &later);
        st = worse(st, part);
        if (!v.stopped) {
            part = verify_engine_of(&v, buf_cstr(&engine), st == ST_OK ? &why : &later);
            st = worse(st, part);
        }
    }
    env_close(s.lock_file);
    mem_free(s.dir);
    buf_deinit(&log);
    buf_deinit(&engine);
    if (v.stopped)
        return err_set(err, ST_CANCELLED, "verify was stopped");
    if (st != ST_OK)
        err_set(err, st, "%s", why.status == st ? why.detail : "verify found faults");
    return st;
}

/* ---- statistics ---- */

static void set_gauges(struct store *s, const struct store_stats *st)
{
    const uint64_t now[STORE_GAUGES] = {
        [STORE_GAUGE_TABLE_BYTES] = st->table_bytes,
        [STORE_GAUGE_LOG_BYTES] = st->wal.bytes,
        [STORE_GAUGE_LOG_LIVE_BYTES] = st->wal.live_bytes,
        [STORE_GAUGE_APPLIED] = st->applied_index,
        [STORE_GAUGE_RANGES] = 1, /* more come with splitting */
        [STORE_GAUGE_COLLECTIONS] = st->collections,
        [STORE_GAUGE_CACHE_BYTES] = st->cache.bytes,
        [STORE_GAUGE_CACHE_RECORDS] = st->cache.entries,
        [STORE_GAUGE_FILTER_BYTES] = st->filter_bytes,
        [STORE_GAUGE_ENGINE_BYTES] =
            st->engine.live_bytes + st->engine.past_bytes + st->engine.when_bytes,
        [STORE_GAUGE_ENGINE_FILES] = st->engine.files,
        [STORE_GAUGE_ENGINE_MEMORY] = st->engine.memory_bytes,
    };
    /* Counted in the cache, stripe by stripe. */
    atomic_store_explicit(&s->m_hits->value, st->cache.hits, memory_order_relaxed);
    atomic_store_explicit(&s->m_misses->value, st->cache.misses, memory_order_relaxed);
    for (int i = 0; i < STORE_GAUGES; i++)
        gauge_set(s->m_gauges[i], (int64_t)now[i]);
}

void store_stats(struct store *s, struct store_stats *ret)
{
    struct store_stats st = {0};
    if (s->cache)
        cache_stats(s->cache, &st.cache);
    struct home *h = store__home(s);
    h->engine->ops->stats(h->engine, &st.engine);
    home_unref(h);
    wal_stats(s->wal, &st.wal);
    struct view *v = store__view(s);
    st.table_bytes = view_bytes(v);
    st.table_versions = view_versions(v);
    view_unref(v);
    st.writes = atomic_load(&s->m_writes->value);
    st.commits = atomic_load(&s->m_commits->value);
    st.groups = atomic_load(&s->m_groups->value);
    st.checkpoints = atomic_load(&s->m_checkpoints->value);
    st.applied_index = atomic_load(&s->applied_index);
    st.filter_bytes = atomic_load_explicit(&s->absent.bytes, memory_order_relaxed);
    st.persisted_index = atomic_load(&s->persisted_index);
    st.watchers = (uint64_t)atomic_load(&s->watchers);
    st.wakes = atomic_load(&s->m_wakes->value);
    st.changes_read = atomic_load(&s->m_changes_read->value);
    st.collections = store_collection_count(s);
    st.newest = store_visible(s);
    st.poisoned = atomic_load(&s->poisoned) != 0;
    set_gauges(s, &st);
    if (s->cluster)
        cluster_gauges(s);
    *ret = st;
}

struct metrics *store_metrics(struct store *s)
{
    return s->metrics;
}
