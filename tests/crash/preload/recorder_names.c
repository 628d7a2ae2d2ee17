/* recorder_names.c - the calls on names: open, make, move, remove; and stdio, which is followed by
 * name only. */
#include "recorder.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void forget(int fd)
{
    if (recorder_fd(fd)) { /* closed behind our back, and the number is in use again */
        recorder_lock();
        recorder_fd_forget(fd);
        recorder_unlock();
    }
}

static bool is_there(int dirfd, const char *path)
{
    struct stat st;
    int saved = errno;
    bool there = fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
    errno = saved;
    return there;
}

/* What a successful open did, in records. */
static void opened(int fd, const char *rel, int flags, bool was_there, bool stdio)
{
    forget(fd);
    recorder_lock();
    if (!was_there)
        recorder_put(CRASH_CREATE, 0, 0, 0, rel, "", NULL, 0);
    recorder_fd_open(fd, rel, flags, stdio);
    if (was_there && flags & O_TRUNC)
        recorder_put(CRASH_TRUNCATE, recorder_fd(fd)->handle, 0, 0, "", "", NULL, 0);
    recorder_unlock();
}

/* Opening and recording are not one step, so two threads that open one name at once may be recorded
 * in either order; names that are made by two threads at once are not what is tested with this. */
static int open_any(int dirfd, const char *path, int flags, mode_t mode)
{
    char rel[PATH_MAX];
    bool ours = recorder_path(dirfd, path, rel);
    if (ours && (flags & O_TMPFILE) == O_TMPFILE)
        recorder_die("a file without a name is not followed", path);
    bool was_there = ours && is_there(dirfd, path);
    int fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
    if (fd < 0)
        return fd;
    if (ours)
        opened(fd, rel, flags, was_there, false);
    else
        forget(fd);
    return fd;
}

#define MODE_OF(flags, mode)                                                                       \
    do {                                                                                           \
        va_list ap;                                                                                \
        va_start(ap, flags);                                                                       \
        if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE)                                   \
            (mode) = va_arg(ap, mode_t);                                                           \
        va_end(ap);                                                                                \
    } while (0)

RECORDER_API int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    MODE_OF(flags, mode);
    return open_any(AT_FDCWD, path, flags, mode);
}

RECORDER_API int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    MODE_OF(flags, mode);
    return open_any(AT_FDCWD, path, flags, mode);
}

RECORDER_API int openat(int dirfd, const char *path, int flags, ...)
{
    mode_t mode = 0;
    MODE_OF(flags, mode);
    return open_any(dirfd, path, flags, mode);
}

RECORDER_API int openat64(int dirfd, const char *path, int flags, ...)
{
    mode_t mode = 0;
    MODE_OF(flags, mode);
    return open_any(dirfd, path, flags, mode);
}

/* What _FORTIFY_SOURCE makes of open without a mode. */
RECORDER_API int __open_2(const char *path, int flags);
RECORDER_API int __open64_2(const char *path, int flags);
RECORDER_API int __openat_2(int dirfd, const char *path, int flags);
RECORDER_API int __openat64_2(int dirfd, const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}
int __open64_2(const char *path, int flags)
{
    return open_any(AT_FDCWD, path, flags, 0);
}
int __openat_2(int dirfd, const char *path, int flags)
{
    return open_any(dirfd, path, flags, 0);
}
int __openat64_2(int dirfd, const char *path, int flags)
{
    return open_any(dirfd, path, flags, 0);
}

RECORDER_API int creat(const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

RECORDER_API int creat64(const char *path, mode_t mode)
{
    return open_any(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* A call that changes names: both paths or none must be ours. */
static int names(enum crash_kind kind, int dir1, const char *path1, int dir2, const char *path2,
                 long number, long flags)
{
    char rel1[PATH_MAX], rel2[PATH_MAX] = "";
    bool ours = recorder_path(dir1, path1, rel1);
    if (path2 && ours != recorder_path(dir2, path2, rel2))
        recorder_die("a name crosses the border of the recorded folder", path2);
    if (ours)
        recorder_lock();
    int rc = path2 ? (int)syscall(number, dir1, path1, dir2, path2, flags)
                   : (int)syscall(number, dir1, path1, flags);
    if (ours) {
        if (rc == 0)
            recorder_put(kind, 0, 0, 0, rel1, rel2, NULL, 0);
        recorder_unlock();
    }
    return rc;
}

RECORDER_API int rename(const char *from, const char *to)
{
    return names(CRASH_RENAME, AT_FDCWD, from, AT_FDCWD, to, SYS_renameat2, 0);
}

RECORDER_API int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return names(CRASH_RENAME, from_dir, from, to_dir, to, SYS_renameat2, 0);
}

RECORDER_API int renameat2(int from_dir, const char *from, int to_dir, const char *to,
                           unsigned flags)
{
    char rel[PATH_MAX];
    if (flags & ~(unsigned)RENAME_NOREPLACE && recorder_path(from_dir, from, rel))
        recorder_die("a flag that is not followed", "renameat2");
    return names(CRASH_RENAME, from_dir, from, to_dir, to, SYS_renameat2, (long)flags);
}

RECORDER_API int link(const char *from, const char *to)
{
    return names(CRASH_LINK, AT_FDCWD, from, AT_FDCWD, to, SYS_linkat, 0);
}

RECORDER_API int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return names(CRASH_LINK, from_dir, from, to_dir, to, SYS_linkat, flags);
}

RECORDER_API int unlink(const char *path)
{
    return names(CRASH_UNLINK, AT_FDCWD, path, 0, NULL, SYS_unlinkat, 0);
}

RECORDER_API int unlinkat(int dirfd, const char *path, int flags)
{
    return names(flags & AT_REMOVEDIR ? CRASH_RMDIR : CRASH_UNLINK, dirfd, path, 0, NULL,
                 SYS_unlinkat, flags);
}

RECORDER_API int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

RECORDER_API int remove(const char *path)
{
    int rc = unlink(path);
    return rc < 0 && errno == EISDIR ? rmdir(path) : rc;
}

RECORDER_API int mkdir(const char *path, mode_t mode)
{
    return names(CRASH_MKDIR, AT_FDCWD, path, 0, NULL, SYS_mkdirat, (long)mode);
}

RECORDER_API int mkdirat(int dirfd, const char *path, mode_t mode)
{
    return names(CRASH_MKDIR, dirfd, path, 0, NULL, SYS_mkdirat, (long)mode);
}

RECORDER_API int symlink(const char *target, const char *path)
{
    char rel[PATH_MAX];
    if (recorder_path(AT_FDCWD, path, rel))
        recorder_die("a call that is not followed", "symlink");
    return (int)syscall(SYS_symlinkat, target, AT_FDCWD, path);
}

RECORDER_API int truncate(const char *path, off_t size)
{
    char rel[PATH_MAX];
    if (!recorder_path(AT_FDCWD, path, rel))
        return (int)syscall(SYS_truncate, path, size);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = ftruncate(fd, size), saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

RECORDER_API int truncate64(const char *path, off64_t size)
{
    return truncate(path, size);
}

/* stdio writes without calling write by its name. Its files are followed by name, their bytes are
 * not: in an image they are empty, as if nothing had been written back. That suits logs meant for
 * people; a sync of such a file aborts. */
static void *real(const char *name)
{
    void *f = dlsym(RTLD_NEXT, name);
    if (!f)
        recorder_die("the C library has no such function", name);
    return f;
}

static FILE *fopen_any(const char *path, const char *mode, const char *which)
{
    char rel[PATH_MAX];
    FILE *(*open_file)(const char *, const char *);
    void *found = real(which);
    memcpy(&open_file, &found, sizeof open_file);
    bool ours = recorder_path(AT_FDCWD, path, rel) && strpbrk(mode, "wa+");
    bool was_there = ours && is_there(AT_FDCWD, path);
    FILE *f = open_file(path, mode);
    if (f && ours)
        opened(fileno(f), rel, mode[0] == 'w' ? O_TRUNC : 0, was_there, true);
    else if (f)
        forget(fileno(f));
    return f;
}

RECORDER_API FILE *fopen(const char *path, const char *mode)
{
    return fopen_any(path, mode, "fopen");
}

RECORDER_API FILE *fopen64(const char *path, const char *mode)
{
    return fopen_any(path, mode, "fopen64");
}

RECORDER_API FILE *fdopen(int fd, const char *mode)
{
    FILE *(*open_file)(int, const char *);
    void *found = real("fdopen");
    memcpy(&open_file, &found, sizeof open_file);
    FILE *f = open_file(fd, mode);
    if (f && recorder_fd(fd) && strpbrk(mode, "wa+")) {
        recorder_lock();
        recorder_fd(fd)->stdio = true;
        recorder_unlock();
    }
    return f;
}

RECORDER_API int fclose(FILE *f)
{
    int (*close_file)(FILE *);
    void *found = real("fclose");
    memcpy(&close_file, &found, sizeof close_file);
    forget(fileno(f));
    return close_file(f);
}
