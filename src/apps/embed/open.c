/* open.c - a handle's beginning and end. */
#include "apps/embed/embed_internal.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>

enum {
    CACHE_DEFAULT = 64 * 1024 * 1024,
    TABLE_MIN = 64 * 1024,
    SEGMENT_MIN = 64 * 1024,
};
static const uint64_t SEGMENT_END = UINT64_C(32)
                                    << 30; /* the log says where things are in 35 bits */

static enum status pick_engine(const char *name, struct store_options *so, struct err *err)
{
    if (!name)
        name = "rocks";
    /* Before anything is made: a folder belongs to the engine it was made with. */
    if (strcmp(name, "rocks") == 0 && !engine_rocks_built())
        return err_set(err, ST_UNIMPLEMENTED,
                       "option engine: this build has no RocksDB (VARVE_ROCKS is off), so engine "
                       "\"rocks\", the default, is not there; \"mem\" is");
    if (strcmp(name, "rocks") == 0)
        so->engine_open = engine_rocks_open;
    else if (strcmp(name, "mem") == 0)
        so->engine_open = engine_mem_open;
    else
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option engine: there is no engine \"%.40s\" (rocks, mem)", name);
    so->engine_name = name;
    return ST_OK;
}

static enum status translate(const varve_options *o, struct store_options *so, struct err *err)
{
    if ((unsigned)o->sync > (unsigned)VARVE_SYNC_OFF)
        return err_set(err, ST_INVALID_ARGUMENT, "option sync: %d is no sync mode", (int)o->sync);
    if (o->table_bytes && o->table_bytes < TABLE_MIN)
        return err_set(err, ST_INVALID_ARGUMENT, "option table_bytes: %zu is below the least, %d",
                       o->table_bytes, TABLE_MIN);
    if (o->segment_bytes && o->segment_bytes < SEGMENT_MIN)
        return err_set(err, ST_INVALID_ARGUMENT, "option segment_bytes: %zu is below the least, %d",
                       o->segment_bytes, SEGMENT_MIN);
    if (o->segment_bytes >= SEGMENT_END)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option segment_bytes: %zu is over the limit; it is to be below 32 GiB",
                       o->segment_bytes);
    *so = (struct store_options){
        .engine = {.cache_bytes = o->block_cache_bytes},
        .wal = {.segment_bytes = o->segment_bytes},
        .sync = (enum store_sync)o->sync,
        .sync_interval_ms = o->sync_interval_ms,
        .cache_bytes = o->cache_bytes == SIZE_MAX ? 0
                       : o->cache_bytes           ? o->cache_bytes
                                                  : CACHE_DEFAULT,
        .table_bytes = o->table_bytes,
        .log_bytes = o->log_bytes,
        .checkpoint_interval_ms = o->checkpoint_interval_ms,
        .read_only = o->read_only,
        .must_exist = o->must_exist,
    };
    return pick_engine(o->engine, so, err);
}
static void handle_free(struct varve *db)
{
    if (!db)
        return;
    if (db->on.writer.len)
        mem_free((void *)(uintptr_t)db->on.writer.data);
    mem_free(db);
}

/* Files of the folder are opened as long as the handle lives, and meanwhile the program may go to
 * another working folder: so the name is made to begin at the root. */
static enum status absolute(const char *dir, struct buf *ret, struct err *err)
{
    char cwd[PATH_MAX] = "";
    if (*dir != '/' && !getcwd(cwd, sizeof(cwd)))
        return err_errno(err, errno, "find the working folder, where %s is", dir);
    while (dir[0] == '.' && dir[1] == '/')
        dir += 2;
    enum status st = buf_printf(ret, "%s%s%s", cwd, *cwd ? "/" : "", dir);
    return st == ST_OK && buf_cstr(ret) ? ST_OK
                                        : err_set(err, ST_NO_MEMORY, "no memory for a handle");
}

static enum status open_folder(const char *dir, const varve_options *options, varve **ret,
                               struct err *err)
{
    varve_options o;
    struct store_options so;
    if (!dir || !ret)
        return embed__null(dir ? "ret" : "dir", err);
    if (!*dir)
        return err_set(err, ST_INVALID_ARGUMENT, "dir: the name is empty");
    enum status st = embed__sized(&o, sizeof(o), options, "options", err);
    if (st == ST_OK)
        st = translate(&o, &so, err);
    if (st != ST_OK)
        return st;

    struct varve *db = mem_zalloc(sizeof(*db));
    if (!db)
        return err_set(err, ST_NO_MEMORY, "no memory for a handle");
    db->on.env = env_linux();
    db->on.writer = BYTES_EMPTY;
    db->on.system = true; /* who calls has the folder's files anyway */
    struct bytes writer = o.writer ? BYTES_STR(o.writer) : BYTES_EMPTY;
    if (writer.len > RECORD_WRITER_MAX)
        st = err_set(err, ST_TOO_LARGE, "writer: it has %zu bytes, over the limit of %d",
                     writer.len, RECORD_WRITER_MAX);
    if (st == ST_OK && writer.len) {
        void *copy = mem_memdup(writer.data, writer.len);
        if (copy)
            db->on.writer = BYTES(copy, writer.len);
        else
            st = err_set(err, ST_NO_MEMORY, "no memory for a handle");
    }
    struct buf path = BUF_INIT;
    if (st == ST_OK)
        st = absolute(dir, &path, err);
    if (st == ST_OK)
        st = store_open(db->on.env, (const char *)path.data, &so, &db->on.store, err);
    buf_deinit(&path);
    if (st != ST_OK) {
        handle_free(db);
        return st;
    }
    *ret = db;
    return ST_OK;
}

varve_status varve_open(const char *dir, const varve_options *o, varve **ret)
{
    return embed__done(open_folder(dir, o, ret, embed__err()));
}

varve_status varve_close(varve *db)
{
    if (!db)
        return VARVE_OK;
    DASSERT(atomic_load(&db->open) ==
            0); /* an iterator or watcher is still open: the caller's error */
    enum status st = store_close(db->on.store, embed__err());
    handle_free(db);
    return embed__done(st);
}
