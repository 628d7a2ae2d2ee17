/* env.h - the world: clock, randomness and files. The only door to them for our code.
 *
 * Two implementations: Linux (env_linux, here) and the simulator's (sim/env/sim_env.h: virtual
 * time, a disk that tears, loses and corrupts, all from one seed). Everything above runs unchanged
 * on both.
 *
 * Owns:     the implementation's state. Files belong to whoever opened them.
 * Promises: short reads and writes never reach the caller; EINTR is retried; an error names the
 * path. Never:    retries a failed sync: what it lost is unknown (Rebello et al., "Can Applications
 * Recover from fsync Failures?", ATC '20). Threads:  an env is for any thread; one file may be read
 * by many threads; writes to one file want one owner.
 */
#ifndef VARVE_BASE_ENV_ENV_H
#define VARVE_BASE_ENV_ENV_H

#include "base/buf.h"

struct env;
struct env_file;

enum env_open_flags {
    ENV_READ = 1, /* always readable */
    ENV_WRITE = 2,
    ENV_CREATE = 4, /* make it when absent */
    ENV_EXCL = 8,   /* with CREATE: ALREADY_EXISTS when present */
    ENV_TRUNC = 16, /* this and CREATE need WRITE */
    ENV_DIRECT =
        32, /* bypass the page cache where the file system can; offsets, sizes, memory at 4 KiB */
};

struct env_ops {
    uint64_t (*now_ms)(struct env *env);  /* Unix milliseconds; may jump either way */
    uint64_t (*mono_ns)(struct env *env); /* never goes back */
    void (*sleep_ms)(struct env *env, uint64_t ms);
    void (*random)(struct env *env, void *out, size_t len);

    /* NOT_FOUND, ALREADY_EXISTS, PERMISSION_DENIED, READ_ONLY (file system), TOO_MANY_FILES,
     * DISK_FULL, NO_MEMORY, INVALID_ARGUMENT (a folder, a bad name), IO_ERROR: so for all that take
     * a path. */
    enum status (*open)(struct env *env, const char *path, unsigned flags, struct env_file **ret,
                        struct err *err);
    void (*close)(struct env_file *f);
    /* Reads up to len; *ret_len < len only at the end of the file. */
    enum status (*pread)(struct env_file *f, uint64_t off, void *out, size_t len, size_t *ret_len,
                         struct err *err);
    /* Writes all of the n parts back to back, or fails (what reached the file is then unknown). */
    enum status (*pwritev)(struct env_file *f, uint64_t off, const struct bytes *parts, size_t n,
                           struct err *err);
    enum status (*sync)(struct env_file *f,
                        struct err *err); /* fdatasync: data and the size that reaches it */
    /* Begins to write out what lies there, so that a later sync finds less to do. Promises nothing.
     */
    void (*write_behind)(struct env_file *f, uint64_t off, uint64_t len);
    enum status (*truncate)(struct env_file *f, uint64_t size, struct err *err);
    enum status (*size)(struct env_file *f, uint64_t *ret, struct err *err);
    /* The file's first `len` bytes as memory to be read here and there: the system reads nothing ahead
     * by itself. Its length is at least that. NULL: this world has none. Reading what the disk has lost
     * ends the process (SIGBUS). */
    enum status (*map)(struct env_file *f, size_t len, const void **ret, struct err *err);
    void (*map_ahead)(const void *memory, size_t len);
    void (*unmap)(const void *memory, size_t len);

    enum status (*rename)(struct env *env, const char *from, const char *to,
                          struct err *err); /* replaces `to` */
    enum status (*unlink)(struct env *env, const char *path,
                          struct err *err); /* NOT_FOUND when absent */
    enum status (*mkdir)(struct env *env, const char *path,
                         struct err *err); /* ALREADY_EXISTS when present */
    /* Removes an empty folder. INVALID_ARGUMENT: it is not empty, or no folder. */
    enum status (*rmdir)(struct env *env, const char *path, struct err *err);
    enum status (*sync_dir)(struct env *env, const char *path,
                            struct err *err); /* names made, moved, removed in it */
    /* Appends the names in a folder, each NUL-terminated, sorted, without "." and "..". */
    enum status (*list)(struct env *env, const char *path, struct buf *ret_names, struct err *err);
    enum status (*free_space)(struct env *env, const char *path, uint64_t *ret_bytes,
                              struct err *err);
    /* Takes an exclusive lock on a file (made when absent) that dies with the process, however it
     * ends; held until env_close of *ret. LOCKED when another process, or this one by another call,
     * has it. */
    enum status (*lock)(struct env *env, const char *path, struct env_file **ret, struct err *err);
};

struct env {
    const struct env_ops *ops;
};
struct env_file {
    const struct env_ops *ops;
};

struct env *env_linux(void); /* the one real world; never freed */

static inline uint64_t env_now_ms(struct env *e)
{
    return e->ops->now_ms(e);
}
static inline uint64_t env_mono_ns(struct env *e)
{
    return e->ops->mono_ns(e);
}
static inline void env_sleep_ms(struct env *e, uint64_t ms)
{
    e->ops->sleep_ms(e, ms);
}
static inline void env_random(struct env *e, void *out, size_t len)
{
    e->ops->random(e, out, len);
}
static inline enum status env_open(struct env *e, const char *path, unsigned flags,
                                   struct env_file **ret, struct err *err)
{
    return e->ops->open(e, path, flags, ret, err);
}
static inline void env_close(struct env_file *f)
{
    if (f)
        f->ops->close(f);
}
static inline enum status env_pread(struct env_file *f, uint64_t off, void *out, size_t len,
                                    size_t *ret_len, struct err *err)
{
    return f->ops->pread(f, off, out, len, ret_len, err);
}
static inline enum status env_pwritev(struct env_file *f, uint64_t off, const struct bytes *parts,
                                      size_t n, struct err *err)
{
    return f->ops->pwritev(f, off, parts, n, err);
}
static inline enum status env_pwrite(struct env_file *f, uint64_t off, const void *data, size_t len,
                                     struct err *err)
{
    struct bytes part = BYTES(data, len);
    return f->ops->pwritev(f, off, &part, 1, err);
}
static inline enum status env_sync(struct env_file *f, struct err *err)
{
    return f->ops->sync(f, err);
}
static inline void env_write_behind(struct env_file *f, uint64_t off, uint64_t len)
{
    f->ops->write_behind(f, off, len);
}
static inline enum status env_truncate(struct env_file *f, uint64_t size, struct err *err)
{
    return f->ops->truncate(f, size, err);
}
static inline enum status env_size(struct env_file *f, uint64_t *ret, struct err *err)
{
    return f->ops->size(f, ret, err);
}
/* UNIMPLEMENTED: not in this world. */
static inline enum status env_map(struct env_file *f, size_t len, const void **ret, struct err *err)
{
    if (!f->ops->map)
        return err_set(err, ST_UNIMPLEMENTED, "files as memory");
    return f->ops->map(f, len, ret, err);
}
/* Begins to read a part of mapped memory that is going to be needed. Only faster. */
static inline void env_map_ahead(struct env_file *f, const void *memory, size_t len)
{
    f->ops->map_ahead(memory, len);
}
static inline void env_unmap(struct env_file *f, const void *memory, size_t len)
{
    f->ops->unmap(memory, len);
}
static inline enum status env_rename(struct env *e, const char *from, const char *to,
                                     struct err *err)
{
    return e->ops->rename(e, from, to, err);
}
static inline enum status env_unlink(struct env *e, const char *path, struct err *err)
{
    return e->ops->unlink(e, path, err);
}
static inline enum status env_mkdir(struct env *e, const char *path, struct err *err)
{
    return e->ops->mkdir(e, path, err);
}
static inline enum status env_rmdir(struct env *e, const char *path, struct err *err)
{
    return e->ops->rmdir(e, path, err);
}
static inline enum status env_sync_dir(struct env *e, const char *path, struct err *err)
{
    return e->ops->sync_dir(e, path, err);
}
static inline enum status env_list(struct env *e, const char *path, struct buf *ret_names,
                                   struct err *err)
{
    return e->ops->list(e, path, ret_names, err);
}
static inline enum status env_free_space(struct env *e, const char *path, uint64_t *ret,
                                         struct err *err)
{
    return e->ops->free_space(e, path, ret, err);
}
static inline enum status env_lock(struct env *e, const char *path, struct env_file **ret,
                                   struct err *err)
{
    return e->ops->lock(e, path, ret, err);
}

/* Whole files, for small ones. read_file appends; TOO_LARGE over `max`. write_file: written beside,
 * synced, renamed over, folder synced, so that after a crash it is the old or the new content. Where that last
 * sync fails a file that was not there before is not there after. */
enum status env_read_file(struct env *e, const char *path, size_t max, struct buf *ret,
                          struct err *err) WARN_UNUSED;
enum status env_write_file(struct env *e, const char *path, struct bytes content,
                           struct err *err) WARN_UNUSED;
enum status env_mkdirs(struct env *e, const char *path,
                       struct err *err) WARN_UNUSED; /* like mkdir -p, synced */
/* false only when it is surely absent: what cannot be looked at counts as there. */
bool env_exists(struct env *e, const char *path);

#endif
