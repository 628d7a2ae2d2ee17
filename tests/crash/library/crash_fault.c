/* crash_fault.c - crash_fault.so: stands before the C library's calls on files and lets some of
 * them fail, without having been done. See crash_fault.h. */
#include "crash/library/crash_fault.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

uint64_t crash_fault_set(const struct fault *f);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct fault fault;
static char call_name[16], pattern[256];
static uint64_t met, hits;

EXPORT uint64_t crash_fault_set(const struct fault *f)
{
    pthread_mutex_lock(&lock);
    uint64_t before = hits;
    fault = f ? *f : (struct fault){0};
    snprintf(call_name, sizeof(call_name), "%s", fault.call ? fault.call : "");
    snprintf(pattern, sizeof(pattern), "%s", fault.pattern ? fault.pattern : "");
    met = hits = 0;
    pthread_mutex_unlock(&lock);
    return before;
}

static bool path_fails(const char *call, const char *path)
{
    pthread_mutex_lock(&lock);
    bool fails = call_name[0] && !strcmp(call, call_name) && strstr(path, pattern) != NULL &&
                 met++ >= fault.skip && hits < fault.count;
    int error = fault.error;
    if (fails)
        hits++;
    pthread_mutex_unlock(&lock);
    if (fails)
        errno = error;
    return fails;
}

static bool fails(const char *call, int fd)
{
    char link[64], path[PATH_MAX];
    if (!call_name[0]) /* a stale look costs one call that goes well */
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    if (n < 0)
        return false;
    path[n] = '\0';
    return path_fails(call, path);
}

EXPORT int fsync(int fd)
{
    return fails("sync", fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

EXPORT int fdatasync(int fd)
{
    return fails("sync", fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

EXPORT ssize_t write(int fd, const void *data, size_t len)
{
    return fails("write", fd) ? -1 : syscall(SYS_write, fd, data, len);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int n)
{
    return fails("write", fd) ? -1 : syscall(SYS_writev, fd, iov, n);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    return fails("write", fd) ? -1 : syscall(SYS_pwrite64, fd, data, len, at);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return pwrite64(fd, data, len, at);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t at)
{
    return fails("write", fd) ? -1 : syscall(SYS_pwritev2, fd, iov, (long)n, (long)at, 0L, 0L);
}

EXPORT int open64(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
    va_end(args);
    return path_fails("open", path) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

EXPORT int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, int) : 0;
    va_end(args);
    return path_fails("open", path) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

EXPORT int rename(const char *from, const char *to)
{
    return path_fails("name", from) ? -1 : (int)syscall(SYS_rename, from, to);
}

EXPORT int link(const char *from, const char *to)
{
    return path_fails("name", from) ? -1 : (int)syscall(SYS_link, from, to);
}

EXPORT int unlink(const char *path)
{
    return path_fails("name", path) ? -1 : (int)syscall(SYS_unlink, path);
}
