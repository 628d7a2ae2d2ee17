/* The real world: files, clocks and randomness through Linux system calls. */
#include "base/env/env.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_MODE = 0600, /* what a database holds is its owner's */
    DIR_MODE = 0700,
    DIRECT_ALIGN = 512,      /* the least any disk asks of O_DIRECT */
    READ_CALL_MAX = 1 << 30, /* one read(2) moves at most 2 GiB - 4 KiB anyway */
    WRITE_PARTS =
        256, /* parts handed over in one pwritev: 4 KiB of a fiber stack; IOV_MAX would be 16 */
    DIR_READ_BYTES = 4096,
};

struct linux_file {
    struct env_file file;
    int fd;
    bool direct, locked;
    char path[];
};

static struct linux_file *linux_of(struct env_file *f)
{
    return (struct linux_file *)(void *)f;
}

static enum status status_of(int e)
{
    switch (e) {
    case ENOENT:
    case ENOTDIR:
        return ST_NOT_FOUND;
    case EEXIST:
    case ENOTEMPTY:
        return ST_ALREADY_EXISTS;
    case EACCES:
    case EPERM:
        return ST_PERMISSION_DENIED;
    case EROFS:
        return ST_READ_ONLY;
    case ENOSPC:
    case EDQUOT:
        return ST_DISK_FULL;
    case EMFILE:
    case ENFILE:
        return ST_TOO_MANY_FILES;
    case ENOMEM:
        return ST_NO_MEMORY;
    case EFBIG:
        return ST_TOO_LARGE;
    case EBADF: /* written through a handle opened for reading */
    case EINVAL:
    case EISDIR:
    case ENAMETOOLONG:
        return ST_INVALID_ARGUMENT;
    default:
        return ST_IO_ERROR;
    }
}

/* status_from_errno() knows only what every caller shares; a path's errors have more kinds than
 * that. */
static enum status fail(struct err *err, int e, const char *what, const char *path)
{
    enum status st = status_of(e);
    err_errno(err, e, "%s %s", what, path);
    if (err)
        err->status = st;
    return st;
}

static uint64_t clock_ns(clockid_t id)
{
    struct timespec ts;
    int rc = clock_gettime(id, &ts);
    ASSERT(rc == 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t linux_now_ms(struct env *env)
{
    (void)env;
    return clock_ns(CLOCK_REALTIME) / 1000000u;
}

static uint64_t linux_mono_ns(struct env *env)
{
    (void)env;
    return clock_ns(CLOCK_MONOTONIC);
}

static void linux_sleep_ms(struct env *env, uint64_t ms)
{
    (void)env;
    struct timespec ts;
    int rc = clock_gettime(CLOCK_MONOTONIC, &ts);
    ASSERT(rc == 0);
    ts.tv_sec += (time_t)(ms / 1000);
    ts.tv_nsec += (long)(ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}

static void linux_random(struct env *env, void *out, size_t len)
{
    (void)env;
    uint8_t *p = out;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        /* Linux has had it since 3.17; without it there is no safe way on. */
        ASSERT(n >= 0 || errno == EINTR);
        if (n > 0) {
            p += n;
            len -= (size_t)n;
        }
    }
}

static int open_retry(const char *path, int flags)
{
    int fd;
    do
        fd = open(path, flags | O_CLOEXEC | O_NOCTTY, FILE_MODE);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* Wraps an open descriptor; closes it when there is no memory. */
static enum status file_new(const struct env_ops *ops, int fd, bool direct, const char *path,
                            struct env_file **ret, struct err *err)
{
    size_t len = strlen(path) + 1;
    struct linux_file *f = mem_alloc(sizeof *f + len);
    if (!f) {
        close(fd);
        return err_set(err, ST_NO_MEMORY, "open %s: no memory for the handle", path);
    }
    f->file.ops = ops;
    f->fd = fd;
    f->direct = direct;
    f->locked = false;
    memcpy(f->path, path, len);
    *ret = &f->file;
    return ST_OK;
}

static enum status linux_open(struct env *env, const char *path, unsigned flags,
                              struct env_file **ret, struct err *err)
{
    int how = flags & ENV_WRITE ? O_RDWR : O_RDONLY;
    if (flags & ENV_CREATE)
        how |= O_CREAT | (flags & ENV_EXCL ? O_EXCL : 0);
    if (flags & ENV_TRUNC)
        how |= O_TRUNC;
    if ((flags & (ENV_CREATE | ENV_TRUNC)) && !(flags & ENV_WRITE))
        return err_set(err, ST_INVALID_ARGUMENT, "open %s: CREATE and TRUNC need WRITE", path);

    bool direct = flags & ENV_DIRECT;
    int fd = open_retry(path, how | (direct ? O_DIRECT : 0));
    if (fd < 0 && direct && errno == EINVAL) {
        /* This file system has no direct access. The refused open may have made the file already.
         */
        direct = false;
        fd = open_retry(path, how & ~O_EXCL);
    }
    if (fd < 0)
        return fail(err, errno, "open", path);
    struct stat sb;
    if (fstat(fd, &sb) < 0) {
        int e = errno;
        close(fd);
        return fail(err, e, "stat", path);
    }
    if (S_ISDIR(sb.st_mode)) {
        close(fd);
        return fail(err, EISDIR, "open", path);
    }
    return file_new(env->ops, fd, direct, path, ret, err);
}

static void linux_close(struct env_file *file)
{
    struct linux_file *f = linux_of(file);
    struct flock none = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (f->locked) /* else a forked child would keep it */
        (void)fcntl(f->fd, F_OFD_SETLK, &none);
    /* What matters was synced before; Linux frees the descriptor even when close fails, EINTR
     * included. */
    close(f->fd);
    mem_free(f);
}

static bool range_ok(uint64_t off, size_t len)
{
    return off <= INT64_MAX && len <= (uint64_t)INT64_MAX - off;
}

static enum status linux_pread(struct env_file *file, uint64_t off, void *out, size_t len,
                               size_t *ret_len, struct err *err)
{
    struct linux_file *f = linux_of(file);
    if (!range_ok(off, len))
        return fail(err, EINVAL, "read", f->path);
    size_t done = 0;
    while (done < len) {
        size_t want = len - done < READ_CALL_MAX ? len - done : READ_CALL_MAX;
        ssize_t n = pread(f->fd, (uint8_t *)out + done, want, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return fail(err, errno, "read", f->path);
        done += (size_t)n;
        /* Under O_DIRECT the next offset would be refused; only the file's end stops off a
         * boundary. */
        if (n == 0 || (f->direct && (size_t)n % DIRECT_ALIGN != 0))
            break;
    }
    *ret_len = done;
    return ST_OK;
}

/* Fills iov with what is left of the parts after *first and `skip` bytes of it; leaves out empty
 * parts. */
static int gather(struct iovec *iov, const struct bytes *parts, size_t n, size_t first, size_t skip)
{
    int count = 0;
    for (size_t i = first; i < n && count < WRITE_PARTS; i++, skip = 0) {
        if (parts[i].len == skip)
            continue;
        union {
            const uint8_t *in;
            void *out;
        } base = {.in = parts[i].data + skip}; /* writev's iov_base is not const */
        iov[count++] = (struct iovec){base.out, parts[i].len - skip};
    }
    return count;
}

static enum status linux_pwritev(struct env_file *file, uint64_t off, const struct bytes *parts,
                                 size_t n, struct err *err)
{
    _Static_assert(WRITE_PARTS <= IOV_MAX, "one call takes at most IOV_MAX parts");
    struct linux_file *f = linux_of(file);
    struct iovec iov[WRITE_PARTS];
    size_t first = 0, skip = 0;
    for (;;) {
        int count = gather(iov, parts, n, first, skip);
        if (count == 0)
            return ST_OK;
        if (off > INT64_MAX)
            return fail(err, EFBIG, "write", f->path);
        ssize_t wrote = pwritev(f->fd, iov, count, (off_t)off);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return fail(err, wrote < 0 ? errno : EIO, "write", f->path);
        off += (uint64_t)wrote;
        size_t left = (size_t)wrote;
        while (left > 0) {
            size_t rest = parts[first].len - skip;
            if (left < rest) {
                skip += left;
                break;
            }
            left -= rest;
            first++;
            skip = 0;
        }
    }
}

static enum status linux_sync(struct env_file *file, struct err *err)
{
    struct linux_file *f = linux_of(file);
    int rc;
    do
        rc = fdatasync(f->fd); /* EINTR reports no loss, only that the wait was cut short */
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? fail(err, errno, "sync", f->path) : ST_OK;
}

static void linux_write_behind(struct env_file *file, uint64_t off, uint64_t len)
{
    /* A failed write-back is kept for the next sync to report; waiting for none, this call reports
     * nothing of its own that matters. */
    (void)sync_file_range(linux_of(file)->fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE);
}

static enum status linux_truncate(struct env_file *file, uint64_t size, struct err *err)
{
    struct linux_file *f = linux_of(file);
    if (size > INT64_MAX)
        return fail(err, EFBIG, "truncate", f->path);
    int rc;
    do
        rc = ftruncate(f->fd, (off_t)size);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? fail(err, errno, "truncate", f->path) : ST_OK;
}

static enum status linux_size(struct env_file *file, uint64_t *ret, struct err *err)
{
    struct linux_file *f = linux_of(file);
    struct stat sb;
    if (fstat(f->fd, &sb) < 0)
        return fail(err, errno, "stat", f->path);
    *ret = (uint64_t)sb.st_size;
    return ST_OK;
}

static enum status linux_rename(struct env *env, const char *from, const char *to, struct err *err)
{
    (void)env;
    if (rename(from, to) == 0)
        return ST_OK;
    int e = errno;
    enum status st = fail(err, e, "rename", from);
    err_prefix(err, "to %s", to);
    return st;
}

static enum status linux_unlink(struct env *env, const char *path, struct err *err)
{
    (void)env;
    return unlink(path) < 0 ? fail(err, errno, "remove", path) : ST_OK;
}

static enum status linux_mkdir(struct env *env, const char *path, struct err *err)
{
    (void)env;
    return mkdir(path, DIR_MODE) < 0 ? fail(err, errno, "make folder", path) : ST_OK;
}

static enum status linux_rmdir(struct env *env, const char *path, struct err *err)
{
    (void)env;
    if (rmdir(path) == 0)
        return ST_OK;
    bool wrong = errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR;
    enum status st = fail(err, errno, "remove folder", path);
    if (wrong && err)
        err->status = ST_INVALID_ARGUMENT;
    return wrong ? ST_INVALID_ARGUMENT : st;
}

static enum status linux_map(struct env_file *file, size_t len, const void **ret, struct err *err)
{
    struct linux_file *f = linux_of(file);
    void *memory = mmap(NULL, len, PROT_READ, MAP_SHARED, f->fd, 0);
    if (memory == MAP_FAILED)
        return fail(err, errno, "map", f->path);
    /* Or each page that is missed would bring the system's whole read-ahead, 8 MiB on some machines, and
     * drive out what is needed. */
    (void)madvise(memory, len, MADV_RANDOM);
    (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM); /* so with reads by calls */
    *ret = memory;
    return ST_OK;
}

static void linux_map_ahead(const void *memory, size_t len)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)memory,
              from = at & ~(page - 1);
    (void)madvise((void *)from, at + len - from, MADV_WILLNEED);
}

static void linux_unmap(const void *memory, size_t len)
{
    munmap((void *)(uintptr_t)memory, len);
}

static enum status linux_sync_dir(struct env *env, const char *path, struct err *err)
{
    (void)env;
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fail(err, errno, "open folder", path);
    int rc;
    do
        rc = fsync(fd);
    while (rc < 0 && errno == EINTR);
    enum status st = rc < 0 ? fail(err, errno, "sync folder", path) : ST_OK;
    close(fd);
    return st;
}

/* Appends every name of an open folder, unsorted. */
static enum status read_names(int fd, const char *path, struct buf *names, size_t *ret_count,
                              struct err *err)
{
    _Alignas(struct dirent64) char chunk[DIR_READ_BYTES];
    for (;;) {
        ssize_t n = getdents64(fd, chunk, sizeof chunk);
        if (n < 0)
            return fail(err, errno, "list", path);
        if (n == 0)
            return ST_OK;
        for (ssize_t at = 0; at < n;) {
            const struct dirent64 *d = (const struct dirent64 *)(const void *)(chunk + at);
            at += d->d_reclen;
            if (!strcmp(d->d_name, ".") || !strcmp(d->d_name, ".."))
                continue;
            enum status st = buf_append(names, d->d_name, strlen(d->d_name) + 1);
            if (st)
                return err_set(err, st, "list %s: no room for the names", path);
            ++*ret_count;
        }
    }
}

static int name_cmp(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Appends the names to `out` in byte order, all or nothing. */
static enum status append_sorted(const struct buf *names, size_t count, const char *path,
                                 struct buf *out, struct err *err)
{
    enum status st = buf_reserve(out, names->len);
    if (st)
        return err_set(err, st, "list %s: no room for the names", path);
    const char **order = mem_alloc((count ? count : 1) * sizeof *order);
    if (!order)
        return err_set(err, ST_NO_MEMORY, "list %s: no memory to sort the names", path);
    const char *p = (const char *)names->data;
    for (size_t i = 0; i < count; i++, p += strlen(p) + 1)
        order[i] = p;
    qsort(order, count, sizeof *order, name_cmp);
    for (size_t i = 0; i < count && !st; i++)
        st = buf_append(out, order[i], strlen(order[i]) + 1); /* reserved above: cannot fail */
    mem_free(order);
    return st;
}

static enum status linux_list(struct env *env, const char *path, struct buf *ret_names,
                              struct err *err)
{
    (void)env;
    struct buf names = BUF_INIT;
    size_t count = 0;
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        return fail(err, errno, "open folder", path);
    enum status st = read_names(fd, path, &names, &count, err);
    if (!st)
        st = append_sorted(&names, count, path, ret_names, err);
    close(fd);
    buf_deinit(&names);
    return st;
}

static enum status linux_free_space(struct env *env, const char *path, uint64_t *ret_bytes,
                                    struct err *err)
{
    (void)env;
    struct statvfs vfs;
    int rc;
    do
        rc = statvfs(path, &vfs);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return fail(err, errno, "free space of", path);
    *ret_bytes = (uint64_t)vfs.f_bavail * (uint64_t)vfs.f_frsize;
    return ST_OK;
}

/* The lock belongs to the open file description: it conflicts within this process too, and the
 * kernel drops it with the last descriptor, however the process ends. (A child forked without exec
 * shares it while it lives, unless it is closed before.) */
static enum status linux_lock(struct env *env, const char *path, struct env_file **ret,
                              struct err *err)
{
    int fd = open_retry(path, O_RDWR | O_CREAT);
    if (fd < 0)
        return fail(err, errno, "open lock", path);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int rc;
    do
        rc = fcntl(fd, F_OFD_SETLK, &whole);
    while (rc < 0 && errno == EINTR);
    if (rc < 0) {
        int e = errno;
        close(fd);
        if (e == EAGAIN || e == EACCES)
            return err_set(err, ST_LOCKED, "lock %s: held by another process or handle", path);
        return fail(err, e, "lock", path);
    }
    enum status st = file_new(env->ops, fd, false, path, ret, err);
    if (st == ST_OK)
        linux_of(*ret)->locked = true;
    return st;
}

static uint64_t log_clock(void *env)
{
    return linux_now_ms(env);
}

struct env *env_linux(void)
{
    static const struct env_ops ops = {
        .now_ms = linux_now_ms,
        .mono_ns = linux_mono_ns,
        .sleep_ms = linux_sleep_ms,
        .random = linux_random,
        .open = linux_open,
        .close = linux_close,
        .pread = linux_pread,
        .pwritev = linux_pwritev,
        .sync = linux_sync,
        .write_behind = linux_write_behind,
        .truncate = linux_truncate,
        .size = linux_size,
        .map = linux_map,
        .map_ahead = linux_map_ahead,
        .unmap = linux_unmap,
        .rename = linux_rename,
        .unlink = linux_unlink,
        .mkdir = linux_mkdir,
        .rmdir = linux_rmdir,
        .sync_dir = linux_sync_dir,
        .list = linux_list,
        .free_space = linux_free_space,
        .lock = linux_lock,
    };
    static struct env real = {.ops = &ops};
    static atomic_flag clock_set = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&clock_set))
        log_set_clock(log_clock, &real);
    return &real;
}
