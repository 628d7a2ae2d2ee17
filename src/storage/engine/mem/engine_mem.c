/* engine_mem.c - the engine's operations over states. */
#include "base/alloc.h"
#include "storage/engine/mem/engine_mem_internal.h"

#include <stdio.h>

struct engine_snapshot *mem__current(struct mem_engine *e)
{
    env_mutex_lock(&e->lock);
    struct engine_snapshot *s = mem__state_ref(e->current);
    env_mutex_unlock(&e->lock);
    return s;
}

static void mem_close(struct engine *engine)
{
    struct mem_engine *e = (struct mem_engine *)engine;
    if (!e)
        return;
    mem__state_unref(e->current);
    env_mutex_deinit(&e->lock);
    mem_free(e->path);
    mem_free(e->dir);
    mem_free(e);
}

static enum status persisted(struct engine *engine, uint64_t range, struct engine_mark *ret,
                             struct err *err)
{
    (void)err;
    struct engine_snapshot *s = mem__current((struct mem_engine *)engine);
    const struct engine_mark_row *m = engine_view_mark(&s->view, range);
    *ret = m ? m->mark : (struct engine_mark){0};
    mem__state_unref(s);
    return ST_OK;
}

struct writing {
    struct engine_snapshot *s;
    struct engine_sink *sink;
};

static enum status write_begin(struct mem_engine *e, struct writing *w, struct err *err)
{
    *w = (struct writing){0};
    if (e->read_only)
        return err_set(err, ST_READ_ONLY, "%s was opened read-only", e->dir);
    w->sink = mem__sink_new(e);
    if (!w->sink)
        return err_set(err, ST_NO_MEMORY, "mem: rows");
    w->s = mem__current(e);
    return ST_OK;
}

static enum status write_end(struct writing *w, enum status st)
{
    mem__sink_free(w->sink);
    mem__state_unref(w->s);
    return st;
}

static enum status drain(struct engine *engine, uint64_t range, const struct table *t,
                         const struct engine_mark *mark, struct err *err)
{
    struct writing w;
    enum status st = write_begin((struct mem_engine *)engine, &w, err);
    if (st == ST_OK)
        st = engine_drain_rows(&w.s->view, range, t, mark, w.sink, &engine->drained, err);
    return write_end(&w, st);
}

static enum status vacuum(struct engine *engine, uint64_t range, const struct engine_vacuum *v,
                          struct engine_vacuum_result *ret, struct err *err)
{
    struct writing w;
    enum status st = write_begin((struct mem_engine *)engine, &w, err);
    if (st == ST_OK)
        st = engine_vacuum_rows(&w.s->view, range, v, w.sink, ret, err);
    return write_end(&w, st);
}

static enum status ingest(struct engine *engine, uint64_t range, const struct engine_interval *in,
                          engine_ingest_fn next, void *arg, const struct engine_mark *mark,
                          struct err *err)
{
    struct writing w;
    enum status st = write_begin((struct mem_engine *)engine, &w, err);
    if (st == ST_OK)
        st = engine_ingest_rows(&w.s->view, range, in, next, arg, mark, w.sink, err);
    return write_end(&w, st);
}

static enum status snapshot(struct engine *engine, struct engine_snapshot **ret, struct err *err)
{
    (void)err;
    *ret = mem__current((struct mem_engine *)engine);
    return ST_OK;
}

static void snapshot_release(struct engine *engine, struct engine_snapshot *s)
{
    (void)engine;
    mem__state_unref(s);
}

static char *dump_path(const char *dir)
{
    size_t n = strlen(dir) + sizeof("/mem.dump");
    char *path = mem_alloc(n);
    if (path)
        snprintf(path, n, "%s/mem.dump", dir);
    return path;
}

static enum status copy(struct engine *engine, const char *dir, struct err *err)
{
    struct mem_engine *e = (struct mem_engine *)engine;
    char *path = dump_path(dir);
    if (!path)
        return err_set(err, ST_NO_MEMORY, "mem: copy");
    struct engine_snapshot *s = mem__current(e);
    enum status st = env_mkdirs(e->env, dir, err);
    if (st == ST_OK && env_exists(e->env, path))
        st = err_set(err, ST_ALREADY_EXISTS, "%s is there already", path);
    if (st == ST_OK)
        st = mem__dump(e->env, path, (struct mem_file_id){.epoch = 1}, s, 0, NULL, err);
    mem__state_unref(s);
    mem_free(path);
    return st;
}

/* The files' checksums by loading them anew, then the rows in memory. */
static enum status verify(struct engine *engine, uint64_t range,
                          void (*report)(void *arg, const struct engine_finding *f),
                          bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                          struct err *err)
{
    struct mem_engine *e = (struct mem_engine *)engine;
    struct engine_snapshot *s = mem__current(e), *again = mem__state_new();
    struct engine_verify q = {.range = range, .report = report, .progress = progress, .arg = arg};
    struct mem_files files;
    struct err own;
    err = err ? err : &own;
    enum status st = again ? ST_OK : err_set(err, ST_NO_MEMORY, "mem: verify");
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        q.total += s->view.rows[f];
    if (st == ST_OK && env_exists(e->env, e->path))
        st = mem__load(e->env, e->path, e->dir, again, &files, err);
    if (st == ST_CORRUPT) {
        engine_verify_finding(&q, e->path, 0, "%s", err->detail);
        st = ST_OK;
    }
    bool sound = false;
    if (st == ST_OK)
        st = engine_view_sound(&s->view, &q, &sound, err);
    if (st == ST_OK && !sound) {
        q.total += q.done;
        st = engine_view_verify(&s->view, &q, err);
    }
    mem__state_unref(s);
    mem__state_unref(again);
    if (st == ST_OK && q.findings)
        st = err_set(err, ST_CORRUPT, "verify: %llu findings", (unsigned long long)q.findings);
    return st;
}

static void stats(struct engine *engine, struct engine_stats *ret)
{
    struct engine_snapshot *s = mem__current((struct mem_engine *)engine);
    uint64_t bytes[ENGINE_FAMILIES] = {0};
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        for (size_t r = 0; r < s->rows[f].n_runs; r++)
            for (size_t i = 0; i < s->rows[f].run[r]->n; i++) {
                const struct mem_row *row = s->rows[f].run[r]->row[i];
                bytes[f] += row->key_len + row->value_len;
            }
    }
    *ret = (struct engine_stats){.live_rows = s->rows[ENGINE_LIVE].n - s->view.n_marks,
                                 .past_rows = s->rows[ENGINE_PAST].n,
                                 .when_rows = s->rows[ENGINE_WHEN].n,
                                 .live_bytes = bytes[ENGINE_LIVE],
                                 .past_bytes = bytes[ENGINE_PAST],
                                 .when_bytes = bytes[ENGINE_WHEN],
                                 .memory_bytes = bytes[0] + bytes[1] + bytes[2],
                                 .files = 1 + s->changes};
    mem__state_unref(s);
}

static enum status compact(struct engine *engine, struct err *err)
{
    struct mem_engine *e = (struct mem_engine *)engine;
    return e->read_only ? err_set(err, ST_READ_ONLY, "%s was opened read-only", e->dir) : ST_OK;
}

static const struct engine_ops mem_ops = {
    .name = "mem",
    .close = mem_close,
    .persisted = persisted,
    .drain = drain,
    .snapshot = snapshot,
    .snapshot_release = snapshot_release,
    .get = engine_snapshot_get,
    .scan = engine_snapshot_scan,
    .history = engine_snapshot_history,
    .changes = engine_snapshot_changes,
    .vacuum = vacuum,
    .export_rows = engine_snapshot_export,
    .export_open = engine_snapshot_export_open,
    .ingest = ingest,
    .copy = copy,
    .verify = verify,
    .stats = stats,
    .compact = compact,
};

enum status engine_mem_open(struct env *env, const char *dir, const struct engine_options *o,
                            struct engine **ret, struct err *err)
{
    struct mem_engine *e = mem_zalloc(sizeof(*e));
    if (!e)
        return err_set(err, ST_NO_MEMORY, "engine");
    enum status st = ST_OK;
    e->base.ops = &mem_ops;
    e->env = env;
    e->read_only = o && o->read_only;
    e->whole_next = true;
    env_mutex_init(&e->lock);
    e->dir = mem_strdup(dir);
    e->path = dump_path(dir);
    e->current = mem__state_new();
    if (!e->dir || !e->path || !e->current)
        st = err_set(err, ST_NO_MEMORY, "engine");
    if (st == ST_OK && !e->read_only)
        st = env_mkdirs(env, dir, err);
    enum status loaded =
        st == ST_OK ? mem__load(env, e->path, e->dir, e->current, &e->files, err) : st;
    if (loaded == ST_NOT_FOUND && e->read_only)
        st = err_set(err, ST_NOT_FOUND, "%s: no engine here, and it may not be made (read-only)",
                     dir);
    else if (loaded != ST_NOT_FOUND)
        st = loaded;
    if (st == ST_OK)
        st = mem__state_finish(e->current, err);
    /* What can be read need not be durable: the sync of whoever wrote it may have failed, and be why it
     * ended. Its mark lets logs go, so it is written again before it is believed. */
    if (st == ST_OK && loaded == ST_OK && !e->read_only) {
        st = mem__write_whole(e, e->current, err);
        e->current->changes = e->files.last.change;
        e->base.unsure = st == ST_DISK_FULL;
        st = st == ST_DISK_FULL ? ST_OK : st;
    }
    if (st != ST_OK) {
        mem_close(&e->base);
        return st;
    }
    *ret = &e->base;
    return ST_OK;
}
