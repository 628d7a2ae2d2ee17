/* rocks_engine.c - the engine's operations, each a few lines over the parts. */
#include "base/alloc.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>

enum { L0_TIMES = 2, L0_WAIT_MS = 10, L0_WAITS_MAX = 3000, REOPEN_FREE_BYTES = 64 << 20 };

static enum status persisted(struct engine *engine, uint64_t range, struct engine_mark *ret,
                             struct err *err)
{
    struct engine_snapshot *s;
    enum status st = rocks__snapshot(engine, &s, err);
    if (st != ST_OK)
        return st;
    const struct engine_mark_row *m = engine_view_mark(&s->view, range);
    *ret = m ? m->mark : (struct engine_mark){0};
    rocks__snapshot_release(engine, s);
    return ST_OK;
}

/* Drains can outrun the merging of files; then reads would pay, so drains wait, for half a minute
 * at most. */
static bool many_files(struct rocks *e)
{
    bool many = false;
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        char *v = rocksdb_property_value_cf(e->db, e->cf[f], "rocksdb.num-files-at-level0");
        many |= v && strtoull(v, NULL, 10) >
                         (uint64_t)(L0_TIMES * rocks__files_to_merge(e, (enum engine_family)f));
        rocksdb_free(v);
    }
    return many;
}

static void wait_for_merges(struct rocks *e)
{
    static const char threads[] = "rocksdb:";
    const _Atomic bool *hurry = e->options.hurry;
    bool raised = false;
    for (int i = 0; i < L0_WAITS_MAX && many_files(e) &&
                    !rocks__property(e, ENGINE_LIVE, "rocksdb.background-errors");
         i++) {
        if (e->options.behind && !raised && hurry &&
            atomic_load_explicit(hurry, memory_order_relaxed)) {
            raised = true;
            env_raise_named(threads, true);
        }
        env_sleep_ms(e->env, L0_WAIT_MS);
    }
    if (raised)
        env_raise_named(threads, false);
}

struct writing {
    struct engine_snapshot *snapshot;
    struct engine_sink *sink;
};

/* Before the next write after one that the disk refused. Not while the disk is full: opening needs
 * some room, and what is open still serves reads. */
static void recover(struct rocks *e)
{
    uint64_t room = 0;
    struct err ignored;
    if (e->env->ops->free_space(e->env, e->dir, &room, &ignored) == ST_OK &&
        room < REOPEN_FREE_BYTES)
        return;
    rocks__try_reopen(e);
}

/* A write that failed left some of its rows, and maybe a newer mark, which must be sure before it is
 * shown. */
static enum status see_all(struct rocks *e, struct err *err)
{
    if (!e->unseen || !e->current)
        return ST_OK;
    enum status st = rocks__manifest_note(e, e->dir, err);
    return st == ST_OK ? rocks__publish(e, err) : st;
}

static enum status write_begin(struct rocks *e, struct writing *w, struct err *err)
{
    *w = (struct writing){0};
    if (e->options.read_only)
        return err_set(err, ST_READ_ONLY, "%s was opened read-only", e->dir);
    if (e->suspect || !e->current)
        recover(e);
    if (e->stopped)
        return rocks__stopped(e, "an earlier disk error", err);
    enum status st = see_all(e, err);
    if (st == ST_OK)
        st = rocks__snapshot(&e->base, &w->snapshot, err);
    if (st != ST_OK)
        return st;
    w->sink = rocks__sink_new(e);
    if (!w->sink)
        return err_set(err, ST_NO_MEMORY, "sorted files");
    return ST_OK;
}

/* Readers see what was written when all of it succeeded, and also when a vacuum was stopped in the
 * middle. */
static enum status write_end(struct rocks *e, struct writing *w, enum status st, struct err *err)
{
    rocks__sink_free(w->sink);
    rocks__snapshot_release(&e->base, w->snapshot);
    if (st == ST_OK) {
        e->suspect = false;
        return rocks__publish(e, err);
    }
    if (rocks__disk_error(st))
        e->suspect = true;
    return st;
}

/* What takes long is done behind those who read and write meanwhile; so are the merges, by RocksDB's
 * own threads. */
struct job {
    struct rocks *e;
    uint64_t range;
    const struct table *table;
    const struct engine_mark *mark;
    const struct engine_vacuum *vacuum;
    struct engine_vacuum_result *ret;
    enum status st;
    struct err *err;
};

static enum status run(struct job *j, const char *name, void (*fn)(void *arg))
{
    if (j->e->options.behind)
        env_run_behind(name, j->e->options.hurry, fn, j);
    else
        fn(j);
    return j->st;
}

static void drain_job(void *arg)
{
    struct job *j = arg;
    struct writing w;
    enum status st = write_begin(j->e, &w, j->err);
    if (st == ST_OK)
        wait_for_merges(j->e);
    if (st == ST_OK)
        st = engine_drain_rows(&w.snapshot->view, j->range, j->table, j->mark, w.sink,
                               &j->e->base.drained, j->err);
    j->st = write_end(j->e, &w, st, j->err);
}

static enum status drain(struct engine *engine, uint64_t range, const struct table *t,
                         const struct engine_mark *mark, struct err *err)
{
    struct job j = {
        .e = (struct rocks *)engine, .range = range, .table = t, .mark = mark, .err = err};
    return run(&j, "varve-drain", drain_job);
}

static void vacuum_job(void *arg)
{
    struct job *j = arg;
    struct writing w;
    enum status st = write_begin(j->e, &w, j->err);
    if (st == ST_OK)
        st = engine_vacuum_rows(&w.snapshot->view, j->range, j->vacuum, w.sink, j->ret, j->err);
    bool stopped = st == ST_CANCELLED;
    struct err late;
    enum status end = write_end(j->e, &w, stopped ? ST_OK : st, stopped ? &late : j->err);
    j->st = stopped && end == ST_OK ? ST_CANCELLED : end;
}

static enum status vacuum(struct engine *engine, uint64_t range, const struct engine_vacuum *v,
                          struct engine_vacuum_result *ret, struct err *err)
{
    struct job j = {
        .e = (struct rocks *)engine, .range = range, .vacuum = v, .ret = ret, .err = err};
    return run(&j, "varve-vacuum", vacuum_job);
}

static enum status ingest(struct engine *engine, uint64_t range, const struct engine_interval *in,
                          engine_ingest_fn next, void *arg, const struct engine_mark *mark,
                          struct err *err)
{
    struct rocks *e = (struct rocks *)engine;
    struct writing w;
    enum status st = write_begin(e, &w, err);
    if (st == ST_OK)
        st = engine_ingest_rows(&w.snapshot->view, range, in, next, arg, mark, w.sink, err);
    return write_end(e, &w, st, err);
}

/* The format file comes last: a copy that was cut does not open. */
static enum status copy(struct engine *engine, const char *dir, struct err *err)
{
    struct rocks *e = (struct rocks *)engine;
    char path[ROCKS_DIR_MAX];
    char *message = NULL;
    struct buf format = BUF_INIT;
    if (strlen(dir) > ROCKS_DIR_MAX - 64)
        return err_set(err, ST_TOO_LARGE, "folder name of %zu bytes; the limit is %d", strlen(dir),
                       ROCKS_DIR_MAX - 64);
    snprintf(path, sizeof(path), "%s/rocks", dir);
    if (env_exists(e->env, path))
        return err_set(err, ST_ALREADY_EXISTS, "%s is there already", path);
    struct engine_snapshot *s; /* holds on to the DB, if it is open */
    enum status st = env_mkdirs(e->env, dir, err);
    if (st == ST_OK)
        st = rocks__snapshot(engine, &s, err);
    if (st != ST_OK)
        return st;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(e->db, &message);
    if (!message) {
        rocksdb_checkpoint_create(checkpoint, path, 0, &message);
        rocksdb_checkpoint_object_destroy(checkpoint);
    }
    rocks__snapshot_release(engine, s);
    if (message)
        return rocks__error(message, "copy", err);
    st = rocks__manifest_note(e, dir, err);
    if (st != ST_OK)
        return st;
    snprintf(path, sizeof(path), "%s/engine.format", e->dir);
    st = env_read_file(e->env, path, 64, &format, err);
    snprintf(path, sizeof(path), "%s/engine.format", dir);
    if (st == ST_OK)
        st = env_write_file(e->env, path, buf_bytes(&format), err);
    buf_deinit(&format);
    return st;
}

static void stats(struct engine *engine, struct engine_stats *ret)
{
    struct rocks *e = (struct rocks *)engine;
    uint64_t *rows[] = {&ret->live_rows, &ret->past_rows, &ret->when_rows};
    uint64_t *bytes[] = {&ret->live_bytes, &ret->past_bytes, &ret->when_bytes};
    *ret = (struct engine_stats){0};
    env_mutex_lock(&e->lock);
    bool open = e->current != NULL;
    for (int f = 0; open && f < ENGINE_FAMILIES; f++)
        *rows[f] = e->current->view.rows[f];
    if (open)
        e->handles++;
    env_mutex_unlock(&e->lock);
    if (!open)
        return;
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        *bytes[f] = rocks__property(e, (enum engine_family)f, "rocksdb.live-sst-files-size");
        ret->memory_bytes +=
            rocks__property(e, (enum engine_family)f, "rocksdb.estimate-table-readers-mem") +
            rocks__property(e, (enum engine_family)f, "rocksdb.cur-size-all-mem-tables");
    }
    ret->cache_bytes = rocksdb_cache_get_usage(e->cache);
    ret->memory_bytes += ret->cache_bytes;
    const rocksdb_livefiles_t *files = rocksdb_livefiles(e->db);
    ret->files = (uint64_t)rocksdb_livefiles_count(files);
    rocksdb_livefiles_destroy(files);
    rocks__let_go(e);
}

/* RocksDB does not say why. */
static enum status merging_failed(struct rocks *e, struct err *err)
{
    uint64_t room = 0;
    struct err ignored;
    if (e->env->ops->free_space(e->env, e->dir, &room, &ignored) == ST_OK &&
        room < REOPEN_FREE_BYTES)
        return err_set(err, ST_DISK_FULL, "merging the files of %s failed; %llu bytes are free",
                       e->dir, (unsigned long long)room);
    return err_set(err, ST_IO_ERROR,
                   "merging the files of %s failed; verify says whether they can be read", e->dir);
}

static void compact_job(void *arg)
{
    struct job *j = arg;
    struct rocks *e = j->e;
    rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(o, 3); /* kForceOptimized */
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        rocksdb_compact_range_cf_opt(e->db, e->cf[f], o, NULL, 0, NULL, 0);
    rocksdb_compactoptions_destroy(o);
}

static enum status compact(struct engine *engine, struct err *err)
{
    struct rocks *e = (struct rocks *)engine;
    struct engine_snapshot *s;
    struct job j = {.e = e};
    if (e->options.read_only)
        return err_set(err, ST_READ_ONLY, "%s was opened read-only", e->dir);
    enum status st = rocks__snapshot(engine, &s, err);
    if (st != ST_OK)
        return st;
    uint64_t failed = rocks__property(e, ENGINE_LIVE, "rocksdb.background-errors");
    (void)run(&j, "varve-compact", compact_job);
    /* The C API's compact says nothing of failures, and this counts all there ever were. */
    st = rocks__still_writes(e, err);
    if (st == ST_OK && rocks__property(e, ENGINE_LIVE, "rocksdb.background-errors") > failed)
        st = merging_failed(e, err);
    rocks__snapshot_release(engine, s);
    return st;
}

const struct engine_ops rocks__ops = {
    .name = "rocks",
    .close = rocks__close,
    .persisted = persisted,
    .drain = drain,
    .snapshot = rocks__snapshot,
    .snapshot_release = rocks__snapshot_release,
    .get = engine_snapshot_get,
    .scan = engine_snapshot_scan,
    .history = engine_snapshot_history,
    .changes = engine_snapshot_changes,
    .vacuum = vacuum,
    .export_rows = engine_snapshot_export,
    .export_open = engine_snapshot_export_open,
    .ingest = ingest,
    .copy = copy,
    .verify = rocks__verify,
    .stats = stats,
    .compact = compact,
};
