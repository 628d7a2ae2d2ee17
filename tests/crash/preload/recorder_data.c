/* recorder_data.c - the calls on descriptors: write, size, sync, close, copies; and those that
 * cannot be followed. */
#include "recorder.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Records `n` bytes that were just written at `at`, of which `iov` holds the parts. */
static void wrote(struct recorder_fd *f, off_t at, const struct iovec *iov, int parts, ssize_t n)
{
    size_t left = (size_t)n;
    uint64_t off = (uint64_t)at;
    for (int i = 0; i < parts && left; i++) {
        size_t len = iov[i].iov_len < left ? iov[i].iov_len : left;
        if (len)
            recorder_put(CRASH_WRITE, f->handle, off, 0, "", "", iov[i].iov_base, len);
        off += len;
        left -= len;
    }
    if (f->sync_each) {
        uint64_t begin = recorder_put(CRASH_SYNC_BEGIN, f->handle, 0, 0, "", "", NULL, 0);
        recorder_put(CRASH_SYNC_END, f->handle, begin, 0, "", "", NULL, 0);
    }
}

static ssize_t write_any(int fd, const struct iovec *iov, int parts, off_t at, int flags)
{
    bool here = at < 0; /* at the descriptor's own position */
    struct recorder_fd *f = recorder_fd(fd);
    if (f)
        recorder_lock();
    ssize_t n = syscall(SYS_pwritev2, fd, iov, (long)parts, here ? -1L : (long)at, 0L, (long)flags);
    if (f) {
        int saved = errno;
        if (n > 0) {
            /* After an appending write the position is its end. */
            int how = (int)syscall(SYS_fcntl, fd, F_GETFL);
            if (here)
                at = (off_t)syscall(SYS_lseek, fd, 0L, (long)SEEK_CUR) - (off_t)n;
            else if (how & O_APPEND)
                recorder_die("a positioned write to an appending descriptor", "pwrite");
            wrote(f, at, iov, parts, n);
        }
        recorder_unlock();
        errno = saved;
    }
    return n;
}

static ssize_t write_one(int fd, const void *data, size_t len, off_t at)
{
    union {
        const void *in;
        void *out;
    } p = {data};
    struct iovec iov = {p.out, len};
    if (!recorder_fd(fd)) /* sockets, pipes: as they came */
        return at < 0 ? (ssize_t)syscall(SYS_write, fd, data, len)
                      : (ssize_t)syscall(SYS_pwrite64, fd, data, len, at);
    return write_any(fd, &iov, 1, at, 0);
}

RECORDER_API ssize_t write(int fd, const void *data, size_t len)
{
    return write_one(fd, data, len, -1);
}

static bool bad_offset(off_t at)
{
    if (at < 0)
        errno = EINVAL;
    return at < 0;
}

RECORDER_API ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return bad_offset(at) ? -1 : write_one(fd, data, len, at);
}

RECORDER_API ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    return bad_offset(at) ? -1 : write_one(fd, data, len, at);
}

RECORDER_API ssize_t writev(int fd, const struct iovec *iov, int parts)
{
    if (!recorder_fd(fd))
        return (ssize_t)syscall(SYS_writev, fd, iov, (long)parts);
    return write_any(fd, iov, parts, -1, 0);
}

RECORDER_API ssize_t pwritev(int fd, const struct iovec *iov, int parts, off_t at)
{
    return bad_offset(at) ? -1 : write_any(fd, iov, parts, at, 0);
}

RECORDER_API ssize_t pwritev64(int fd, const struct iovec *iov, int parts, off64_t at)
{
    return bad_offset(at) ? -1 : write_any(fd, iov, parts, at, 0);
}

static ssize_t write_flags(int fd, const struct iovec *iov, int parts, off_t at, int flags)
{
    if (recorder_fd(fd) && flags & ~(RWF_HIPRI | RWF_NOWAIT))
        recorder_die("write flags that are not followed", "pwritev2");
    return write_any(fd, iov, parts, at, flags);
}

RECORDER_API ssize_t pwritev2(int fd, const struct iovec *iov, int parts, off_t at, int flags)
{
    return write_flags(fd, iov, parts, at, flags);
}

RECORDER_API ssize_t pwritev64v2(int fd, const struct iovec *iov, int parts, off64_t at, int flags)
{
    return write_flags(fd, iov, parts, at, flags);
}

RECORDER_API int ftruncate(int fd, off_t size)
{
    struct recorder_fd *f = recorder_fd(fd);
    if (f)
        recorder_lock();
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (f) {
        if (rc == 0)
            recorder_put(CRASH_TRUNCATE, f->handle, 0, (uint64_t)size, "", "", NULL, 0);
        recorder_unlock();
    }
    return rc;
}

RECORDER_API int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

static void allocated(struct recorder_fd *f, int mode, off_t at, off_t len)
{
    uint64_t off = (uint64_t)at, size = (uint64_t)len;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        recorder_die("a mode that is not followed", "fallocate");
    if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        recorder_put(CRASH_ZERO, f->handle, off, size, "", "", NULL, 0);
    if (!(mode & FALLOC_FL_KEEP_SIZE))
        recorder_put(CRASH_GROW, f->handle, 0, off + size, "", "", NULL, 0);
}

RECORDER_API int fallocate(int fd, int mode, off_t at, off_t len)
{
    struct recorder_fd *f = recorder_fd(fd);
    if (f)
        recorder_lock();
    int rc = (int)syscall(SYS_fallocate, fd, mode, at, len);
    if (f) {
        if (rc == 0)
            allocated(f, mode, at, len);
        recorder_unlock();
    }
    return rc;
}

RECORDER_API int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    return fallocate(fd, mode, at, len);
}

RECORDER_API int posix_fallocate(int fd, off_t at, off_t len)
{
    int saved = errno;
    int rc = fallocate(fd, 0, at, len) == 0 ? 0 : errno;
    errno = saved;
    return rc;
}

RECORDER_API int posix_fallocate64(int fd, off64_t at, off64_t len)
{
    return posix_fallocate(fd, at, len);
}

/* The lock is not held over the sync itself: other threads write meanwhile, and BEGIN parts what
 * they wrote. */
static int sync_any(int fd, long number)
{
    struct recorder_fd *f = recorder_fd(fd);
    uint32_t handle = 0;
    uint64_t begin = 0;
    if (f) {
        recorder_lock();
        if (f->stdio)
            recorder_die("a sync of a file written through stdio, whose bytes are not known",
                         "fsync");
        handle = f->handle;
        begin = recorder_put(CRASH_SYNC_BEGIN, handle, 0, 0, "", "", NULL, 0);
        recorder_unlock();
    }
    int rc = (int)syscall(number, fd);
    if (f && rc == 0) {
        recorder_lock();
        recorder_put(CRASH_SYNC_END, handle, begin, 0, "", "", NULL, 0);
        recorder_unlock();
    }
    return rc;
}

RECORDER_API int fsync(int fd)
{
    return sync_any(fd, SYS_fsync);
}

RECORDER_API int fdatasync(int fd)
{
    return sync_any(fd, SYS_fdatasync);
}

/* sync_file_range promises nothing about metadata or the disk's own cache, so it is neither
 * recorded nor replaced. sync is not recorded either: images may then lose more than a real power
 * cut could, never less. */
RECORDER_API int syncfs(int fd)
{
    if (recorder_fd(fd))
        recorder_die("a call that is not followed", "syncfs");
    return (int)syscall(SYS_syncfs, fd);
}

RECORDER_API int close(int fd)
{
    bool ours = recorder_fd(fd) != NULL;
    if (ours) {
        recorder_lock();
        recorder_fd_forget(fd);
    }
    int rc = (int)syscall(SYS_close, fd);
    if (ours)
        recorder_unlock();
    return rc;
}

static int copied(int from, int to)
{
    if (to >= 0) {
        recorder_lock();
        if (to != from)
            recorder_fd_forget(to);
        if (recorder_fd(from) && to != from)
            recorder_fd_copy(from, to);
        recorder_unlock();
    }
    return to;
}

RECORDER_API int dup(int fd)
{
    return copied(fd, (int)syscall(SYS_dup, fd));
}

RECORDER_API int dup2(int fd, int to)
{
    return copied(fd, (int)syscall(SYS_dup2, fd, to));
}

RECORDER_API int dup3(int fd, int to, int flags)
{
    return copied(fd, (int)syscall(SYS_dup3, fd, to, flags));
}

static int control(int fd, int what, long arg)
{
    int rc = (int)syscall(SYS_fcntl, fd, what, arg);
    return what == F_DUPFD || what == F_DUPFD_CLOEXEC ? copied(fd, rc) : rc;
}

RECORDER_API int fcntl(int fd, int what, ...)
{
    va_list ap;
    va_start(ap, what);
    long arg = va_arg(ap, long); /* an int or a pointer: both come in a register of this width */
    va_end(ap);
    return control(fd, what, arg);
}

RECORDER_API int fcntl64(int fd, int what, ...)
{
    va_list ap;
    va_start(ap, what);
    long arg = va_arg(ap, long);
    va_end(ap);
    return control(fd, what, arg);
}

RECORDER_API void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t at)
{
    if (fd >= 0 && prot & PROT_WRITE && flags & MAP_SHARED && recorder_fd(fd))
        recorder_die("writes through memory cannot be recorded", "mmap");
    return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, at);
}

RECORDER_API void *mmap64(void *addr, size_t len, int prot, int flags, int fd, off64_t at)
{
    return mmap(addr, len, prot, flags, fd, at);
}

RECORDER_API ssize_t copy_file_range(int in, off64_t *in_at, int out, off64_t *out_at, size_t len,
                                     unsigned flags)
{
    if (recorder_fd(out))
        recorder_die("a call that is not followed", "copy_file_range");
    return (ssize_t)syscall(SYS_copy_file_range, in, in_at, out, out_at, len, flags);
}

RECORDER_API ssize_t sendfile(int out, int in, off_t *at, size_t len)
{
    if (recorder_fd(out))
        recorder_die("a call that is not followed", "sendfile");
    return (ssize_t)syscall(SYS_sendfile, out, in, at, len);
}
