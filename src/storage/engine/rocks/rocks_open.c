/* rocks_open.c - opening, closing, and opening again after the disk failed. */
#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"
#include "storage/engine/rocks/rocks_internal.h"

#include <rocksdb/c.h>
#include <stdio.h>

#define FORMAT_TEXT "varve-rocks "
enum { FORMAT = 2, OPEN_FREE_BYTES = 1 << 20 };

static enum status format_path(const struct rocks *e, char out[ROCKS_DIR_MAX], const char *name)
{
    snprintf(out, ROCKS_DIR_MAX, "%s/%s", e->dir, name);
    return ST_OK;
}

/* Reads DIR/engine.format; writes it into a folder that has no DB yet. */
static enum status check_format(struct rocks *e, struct err *err)
{
    char path[ROCKS_DIR_MAX], db[ROCKS_DIR_MAX];
    struct buf content = BUF_INIT;
    unsigned number = 0;
    enum status st = format_path(e, path, "engine.format");
    if (st == ST_OK)
        st = format_path(e, db, "rocks");
    if (st != ST_OK)
        return st;
    if (!env_exists(e->env, path)) {
        if (env_exists(e->env, db))
            return err_set(err, ST_CORRUPT, "%s is missing, yet there is %s", path, db);
        if (e->options.read_only)
            return err_set(err, ST_NOT_FOUND,
                           "%s: no engine here, and it may not be made (read-only)", e->dir);
        return env_write_file(e->env, path, BYTES_LIT(FORMAT_TEXT "2\n"), err);
    }
    st = env_read_file(e->env, path, 64, &content, err);
    const char *text = st == ST_OK ? buf_cstr(&content) : NULL;
    if (st == ST_OK && !text)
        st = err_set(err, ST_NO_MEMORY, "%s", path);
    if (st == ST_OK && sscanf(text, FORMAT_TEXT "%u\n", &number) != 1)
        st = err_set(err, ST_CORRUPT, "%s: not a rocks engine's format file", path);
    else if (st == ST_OK && number > FORMAT)
        st = err_set(err, ST_FORMAT_NEWER, "%s: format %u, this program knows up to %d", path,
                     number, FORMAT);
    else if (st == ST_OK && number == 0)
        st = err_set(err, ST_CORRUPT, "%s: format 0", path);
    /* Before a mark with counts is written, which format 1 did not know. */
    if (st == ST_OK && number < FORMAT && !e->options.read_only)
        st = env_write_file(e->env, path, BYTES_LIT(FORMAT_TEXT "2\n"), err);
    buf_deinit(&content);
    return st;
}

/* RocksDB's own threads merge and remove files, all of it behind those who read and write. They inherit
 * their standing from who starts them; at the first open the process has none. */
static void start_threads(void *arg)
{
    const struct rocks *e = arg;
    rocksdb_env_t *env = rocksdb_create_default_env();
    int n = (int)e->options.background_threads, there = rocksdb_env_get_background_threads(env);
    rocksdb_env_set_background_threads(env,
                                       n > there ? n : there); /* another store's may be more */
    there = rocksdb_env_get_high_priority_background_threads(env);
    rocksdb_env_set_high_priority_background_threads(env, there > 1 ? there : 1);
    rocksdb_env_destroy(env);
}

static void open_now(struct rocks *e, const char *path, const char *const *names,
                     const rocksdb_options_t *const *options, char **message)
{
    if (e->options.read_only)
        e->db = rocksdb_open_for_read_only_column_families(e->db_options, path, ENGINE_FAMILIES,
                                                           names, options, e->cf, 0, message);
    else
        e->db = rocksdb_open_column_families(e->db_options, path, ENGINE_FAMILIES, names, options,
                                             e->cf, message);
}

/* Again and again while changes that never came to an end can be taken off the manifest. Of several
 * messages the first counts: later ones would tell of what was left out. */
static void open_somehow(struct rocks *e, const char *path, const char *const *names,
                         const rocksdb_options_t *const *options, char **ret_message)
{
    struct rocks_cut cut = {0};
    char *message = NULL, *first = NULL;
    open_now(e, path, names, options, &message);
    while (message && !e->options.read_only && rocks__manifest_cut(e, &cut, message)) {
        if (!first)
            first = message;
        else
            rocksdb_free(message);
        message = NULL;
        open_now(e, path, names, options, &message);
    }
    rocks__manifest_settle(e, &cut, message == NULL);
    if (message && first) {
        rocksdb_free(message);
        *ret_message = first;
    } else {
        rocksdb_free(first);
        *ret_message = message;
    }
}

/* Reads alone may not mend anything. */
static enum status open_failed(struct rocks *e, char *message, struct err *err)
{
    char detail[ERR_DETAIL_MAX];
    bool torn = e->options.read_only && strstr(message, "MANIFEST-");
    e->db = NULL;
    enum status st = rocks__error(message, "open", err);
    if (!torn)
        return st;
    snprintf(detail, sizeof(detail), "%s", err->detail);
    return err_set(err, st, "%s (if a power cut left it so, opening for writing mends it)", detail);
}

enum status rocks__db_open(struct rocks *e, struct err *err)
{
    static const char *const names[ENGINE_FAMILIES] = {"default", "past", "when"};
    char path[ROCKS_DIR_MAX];
    char *message = NULL;
    enum status st = format_path(e, path, "rocks");
    if (st == ST_OK)
        st = rocks__manifest_check(e, err);
    if (st != ST_OK)
        return st;
    const rocksdb_options_t *options[ENGINE_FAMILIES];
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        options[f] = e->cf_options[f];
    if (e->options.behind && !e->options.read_only)
        env_run_behind("varve-start", NULL, start_threads, e);
    open_somehow(e, path, names, options, &message);
    if (message)
        return open_failed(e, message, err);
    if (e->options.read_only)
        return ST_OK;
    rocks__logs_clear(e);
    st = rocks__manifest_note(e, e->dir, err);
    if (st != ST_OK)
        rocks__db_close(e);
    return st;
}

void rocks__db_close(struct rocks *e)
{
    if (!e->db)
        return;
    rocksdb_cancel_all_background_work(e->db, 1);
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        rocksdb_column_family_handle_destroy(e->cf[f]);
    rocksdb_close(e->db);
    e->db = NULL;
}

void rocks__close(struct engine *engine)
{
    struct rocks *e = (struct rocks *)engine;
    if (!e)
        return;
    bool alone = rocks__unpublish(e);
    ASSERT(alone); /* snapshots, iterators and pins go before their engine */
    rocks__db_close(e);
    rocks__options_free(e);
    env_mutex_deinit(&e->lock);
    mem_free(e->dir);
    mem_free(e);
}

/* RocksDB stops taking writes after a failed one; opening it anew is the way back the C API leaves.
 * Everything durable is in files that the manifest names, so nothing is lost by it. */
void rocks__try_reopen(struct rocks *e)
{
    if (!rocks__unpublish(e))
        return;
    rocks__db_close(e);
    struct err err;
    err_init(&err);
    enum status st = rocks__db_open(e, &err);
    if (st == ST_OK)
        st = rocks__publish(e, &err);
    e->suspect = st != ST_OK;
    e->stopped = false;
    if (st != ST_OK)
        log_at(LOG_WARN, "engine", "opening again after a disk error failed",
               LOG_FSTR("why", err.detail));
}

static void fill_options(struct engine_options *o, const struct engine_options *from)
{
    if (from)
        *o = *from;
    if (o->cache_bytes == 0)
        o->cache_bytes = ROCKS_CACHE_DEFAULT;
    if (o->max_open_files == 0)
        o->max_open_files = ROCKS_FILES_DEFAULT;
    if (o->background_threads == 0)
        o->background_threads = 1;
}

/* What RocksDB does when it cannot write while opening is not to be relied on (it may abort). */
static enum status check_room(struct rocks *e, struct err *err)
{
    uint64_t room = 0;
    struct err ignored;
    if (e->env->ops->free_space(e->env, e->dir, &room, &ignored) != ST_OK ||
        room >= OPEN_FREE_BYTES)
        return ST_OK;
    return err_set(err, ST_DISK_FULL,
                   "%s: %llu bytes are free, and opening wants %d; read-only it opens", e->dir,
                   (unsigned long long)room, OPEN_FREE_BYTES);
}

bool engine_rocks_built(void)
{
    return true;
}

enum status engine_rocks_open(struct env *env, const char *dir, const struct engine_options *o,
                              struct engine **ret, struct err *err)
{
    if (strlen(dir) > ROCKS_DIR_MAX - 64)
        return err_set(err, ST_TOO_LARGE, "folder name of %zu bytes; the limit is %d", strlen(dir),
                       ROCKS_DIR_MAX - 64);
    struct rocks *e = mem_zalloc(sizeof(*e));
    if (!e)
        return err_set(err, ST_NO_MEMORY, "engine");
    env_mutex_init(&e->lock);
    e->base.ops = &rocks__ops;
    e->env = env;
    fill_options(&e->options, o);
    enum status st = ST_OK;
    e->dir = mem_strdup(dir);
    if (!e->dir)
        st = err_set(err, ST_NO_MEMORY, "engine");
    if (st == ST_OK && !e->options.read_only)
        st = env_mkdirs(env, dir, err);
    if (st == ST_OK)
        st = check_format(e, err);
    if (st == ST_OK && !e->options.read_only)
        st = check_room(e, err);
    if (st == ST_OK)
        rocks__options_make(e);
    if (st == ST_OK)
        st = rocks__db_open(e, err);
    /* After the open, so that the folder's lock is ours. */
    if (st == ST_OK && !e->options.read_only)
        st = rocks__incoming_clear(e, err);
    if (st == ST_OK)
        st = rocks__publish(e, err);
    if (st != ST_OK) {
        rocks__close(&e->base);
        return st;
    }
    *ret = &e->base;
    return ST_OK;
}
