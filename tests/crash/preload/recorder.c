/* recorder.c - the trace, the table of descriptors, and the question whether a path is ours.
 *
 * The real calls are made as system calls, never through the C library's names, since those are
 * replaced here.
 */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 65536, TRACE_FD_MIN = 900 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct recorder_fd fds[FDS];
static _Atomic bool in_use[FDS]; /* so that strangers' descriptors pass without the lock */
static char root[PATH_MAX];      /* "" when nothing is recorded */
static int trace_fd = -1;
static uint64_t records;
static uint32_t next_handle = 1;

void recorder_die(const char *what, const char *detail)
{
    char text[PATH_MAX + 256];
    int n = snprintf(text, sizeof text, "crash_recorder: %s: %s\n", what, detail);
    if (n > 0)
        syscall(SYS_write, 2, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    abort();
}

/* The number of records that an earlier process left in the trace. */
static uint64_t count_records(const char *path)
{
    struct crash_record r;
    uint64_t n = 0;
    off_t at = 0;
    for (;;) {
        long got = syscall(SYS_pread64, trace_fd, &r, sizeof r, at);
        if (got == 0)
            return n;
        if (got != (long)sizeof r || r.magic != CRASH_TRACE_MAGIC)
            recorder_die("not a trace", path);
        at += (off_t)(sizeof r + r.path_len + r.path2_len + r.data_len);
        n++;
    }
}

static void in_child(void)
{
    root[0] = '\0';
    memset(fds, 0, sizeof fds);
    for (size_t i = 0; i < FDS; i++)
        atomic_store_explicit(&in_use[i], false, memory_order_relaxed);
}

static void start(void)
{
    const char *folder = getenv("CRASH_ROOT"), *trace = getenv("CRASH_TRACE");
    char parent[PATH_MAX], real[PATH_MAX];
    if (!folder || !trace)
        return;
    if (!realpath(folder, root)) { /* not made yet: its parent must be there */
        snprintf(parent, sizeof parent, "%s", folder);
        char *slash = strrchr(parent, '/');
        if (!slash || slash == parent || !slash[1])
            recorder_die("CRASH_ROOT must be an absolute path", folder);
        *slash = '\0';
        if (!realpath(parent, real) || strlen(real) + strlen(slash + 1) + 2 > sizeof root)
            recorder_die("no folder to make CRASH_ROOT in", parent);
        memcpy(root, real, strlen(real) + 1);
        strcat(strcat(root, "/"), slash + 1);
    }
    int fd =
        (int)syscall(SYS_openat, AT_FDCWD, trace, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    trace_fd = fd < 0 ? -1 : (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, TRACE_FD_MIN);
    if (trace_fd < 0)
        recorder_die("cannot open CRASH_TRACE", trace);
    syscall(SYS_close, fd);
    records = count_records(trace);
    pthread_atfork(NULL, NULL, in_child);
    recorder_put(CRASH_PROCESS, 0, 0, 0, "", "", NULL, 0);
}

__attribute__((constructor)) static void begin(void)
{
    pthread_once(&once, start);
}

void recorder_lock(void)
{
    pthread_mutex_lock(&lock);
}

void recorder_unlock(void)
{
    pthread_mutex_unlock(&lock);
}

uint64_t recorder_put(enum crash_kind kind, uint32_t handle, uint64_t offset, uint64_t size,
                      const char *path, const char *path2, const void *data, size_t len)
{
    int saved = errno;
    struct crash_record r = {.magic = CRASH_TRACE_MAGIC,
                             .kind = kind,
                             .handle = handle,
                             .path_len = (uint32_t)strlen(path),
                             .path2_len = (uint32_t)strlen(path2),
                             .offset = offset,
                             .size = size,
                             .data_len = len};
    /* The system call wants mutable pointers and does not write through them. */
    union {
        const void *in;
        void *out;
    } parts[3] = {{path}, {path2}, {data}};
    struct iovec iov[4] = {{&r, sizeof r},
                           {parts[0].out, r.path_len},
                           {parts[1].out, r.path2_len},
                           {parts[2].out, len}};
    long want = (long)(sizeof r + r.path_len + r.path2_len + len);
    if (syscall(SYS_writev, trace_fd, iov, 4) != want)
        recorder_die("cannot write the trace", strerror(errno));
    errno = saved;
    return records++;
}

struct recorder_fd *recorder_fd(int fd)
{
    if (fd < 0 || fd >= FDS || !atomic_load_explicit(&in_use[fd], memory_order_acquire))
        return NULL;
    return &fds[fd];
}

void recorder_fd_open(int fd, const char *rel, int flags, bool stdio)
{
    if (fd >= FDS)
        recorder_die("a descriptor too high to be followed", rel);
    fds[fd] =
        (struct recorder_fd){.handle = next_handle++, .sync_each = flags & O_DSYNC, .stdio = stdio};
    recorder_put(CRASH_OPEN, fds[fd].handle, 0, 0, rel, "", NULL, 0);
    atomic_store_explicit(&in_use[fd], true, memory_order_release);
}

void recorder_fd_copy(int from, int to)
{
    if (to < 0 || to >= FDS)
        recorder_die("a descriptor too high to be followed", "dup");
    fds[to] = fds[from];
    atomic_store_explicit(&in_use[to], true, memory_order_release);
}

void recorder_fd_forget(int fd)
{
    struct recorder_fd *f = recorder_fd(fd);
    if (!f)
        return;
    uint32_t handle = f->handle;
    *f = (struct recorder_fd){0};
    atomic_store_explicit(&in_use[fd], false, memory_order_release);
    for (size_t i = 0; i < FDS; i++)
        if (fds[i].handle == handle)
            return;
    recorder_put(CRASH_CLOSE, handle, 0, 0, "", "", NULL, 0);
}

/* Makes an absolute path of a name relative to a descriptor. */
static bool absolute(int dirfd, const char *path, char out[PATH_MAX])
{
    char base[PATH_MAX] = "", link[64];
    if (path[0] != '/') {
        if (dirfd == AT_FDCWD) {
            if (syscall(SYS_getcwd, base, sizeof base) < 0)
                return false;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
            long n = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
            if (n <= 0)
                return false;
            base[n] = '\0';
        }
    }
    int n = snprintf(out, PATH_MAX, "%s/%s", base, path);
    return n > 0 && n < PATH_MAX;
}

bool recorder_path(int dirfd, const char *path, char rel[PATH_MAX])
{
    char full[PATH_MAX], real[PATH_MAX];
    int saved = errno;
    bool ours = false;
    pthread_once(&once, start);
    if (!root[0] || !path || !path[0] || !absolute(dirfd, path, full))
        goto out;
    size_t len = strlen(full);
    while (len > 1 && full[len - 1] == '/')
        full[--len] = '\0';
    char *slash = strrchr(full, '/');
    const char *name = slash + 1;
    if (!strcmp(name, ".") || !strcmp(name, "..")) {
        if (!realpath(full, real))
            goto out;
    } else { /* the last part may not be there yet, or may be about to be replaced */
        char last[NAME_MAX + 1];
        if (strlen(name) > NAME_MAX)
            goto out;
        memcpy(last, name, strlen(name) + 1);
        slash[slash == full] = '\0';
        if (!realpath(full, real) || strlen(real) + strlen(last) + 2 > sizeof real)
            goto out;
        if (strcmp(real, "/") != 0)
            strcat(real, "/");
        strcat(real, last);
    }
    size_t root_len = strlen(root);
    if (!strncmp(real, root, root_len) && (real[root_len] == '/' || !real[root_len])) {
        const char *below = real + root_len + (real[root_len] == '/');
        memcpy(rel, below, strlen(below) + 1);
        ours = true;
    }
out:
    errno = saved;
    return ours;
}

RECORDER_API void crash_recorder_mark(const char *text);
RECORDER_API void crash_recorder_mark(const char *text)
{
    if (!root[0])
        return;
    recorder_lock();
    recorder_put(CRASH_MARK, 0, 0, 0, "", "", text, strlen(text));
    recorder_unlock();
}
