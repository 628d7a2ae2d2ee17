/* crash_sample.c - what test_crash_images records: small programs with one folder. crash_sample
 * WHAT DIR [SEED SNAPSHOTS]
 *
 * Exits 0 when all its calls went well. Whoever runs it knows what its images must and may hold.
 */
#include "crash/preload/crash_mark.h"
#include "support/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if (!(call)) {                                                                             \
            fprintf(stderr, "crash_sample:%d: %s: %s\n", __LINE__, #call, strerror(errno));        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static void mark(const char *text)
{
    MUST(crash_mark(text));
}

static void sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    MUST(fd >= 0 && fsync(fd) == 0 && close(fd) == 0);
}

static void store(const char *path, const char *text, bool sync)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    MUST(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    MUST((!sync || fdatasync(fd) == 0) && close(fd) == 0);
}

/* Names and bytes, step by step; test_script knows what is left at each mark. */
static void script(void)
{
    MUST(mkdir("d", 0755) == 0);
    sync_dir(".");
    store("d/a", "AAAA", true);
    store("d/b", "BBBB", true);
    sync_dir("d");
    mark("both");
    int fd = open("d/a", O_WRONLY);
    MUST(fd >= 0 && pwrite(fd, "XX", 2, 0) == 2 && close(fd) == 0);
    store("d/c", "CCCC", true);
    mark("changed");
    MUST(rename("d/b", "d/e") == 0 && unlink("d/a") == 0);
    mark("moved");
    sync_dir("d");
    mark("moved and synced");
    MUST(mkdir("f", 0755) == 0);
    store("f/x", "x", true);
    sync_dir("f");
    mark("in a folder whose name is not synced");
}

/* 16 KiB of 'o' made durable, 'n' over it, and 8 KiB of 'n' behind it. */
static void overwrite(void)
{
    static char bytes[24 * 1024];
    int fd = open("file", O_RDWR | O_CREAT | O_EXCL, 0644);
    memset(bytes, 'o', sizeof bytes);
    MUST(fd >= 0 && pwrite(fd, bytes, 16 * 1024, 0) == 16 * 1024 && fsync(fd) == 0);
    sync_dir(".");
    mark("old");
    memset(bytes, 'n', sizeof bytes);
    MUST(pwrite(fd, bytes, sizeof bytes, 0) == (ssize_t)sizeof bytes);
    mark("new");
    MUST(fdatasync(fd) == 0 && close(fd) == 0);
    mark("synced");
}

/* Records of 700 bytes, each acknowledged by a mark when it should be durable. The wrong forms
 * leave out one step. */
static void journal(bool sync_file, bool sync_name)
{
    char record[700], text[32];
    int fd = open("journal", O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0644);
    MUST(fd >= 0);
    if (sync_name)
        sync_dir(".");
    for (int i = 0; i < 20; i++) {
        memset(record, 'a' + i, sizeof record);
        MUST(write(fd, record, sizeof record) == (ssize_t)sizeof record);
        MUST(!sync_file || fdatasync(fd) == 0);
        snprintf(text, sizeof text, "%d", i + 1);
        mark(text);
    }
    MUST(close(fd) == 0);
}

/* A file replaced as a whole, again and again. */
static void replace(void)
{
    char text[4000], note[32];
    for (int i = 0; i < 10; i++) {
        memset(text, '0' + i, sizeof text);
        text[1000 + i * 300] = '\0';
        store("state.tmp", text, true);
        MUST(rename("state.tmp", "state") == 0);
        sync_dir(".");
        snprintf(note, sizeof note, "%d", i);
        mark(note);
    }
}

/* ---- every call that is followed, at random ---- */

enum { NAMES = 6, OPEN = 4 };

static void snapshot(const char *to, int n)
{
    char command[4096], text[32];
    snprintf(command, sizeof command, "cp -a . '%s/%d'", to, n);
    MUST(system(command) == 0);
    snprintf(text, sizeof text, "%d", n);
    mark(text);
}

static void any_write(struct test_rng *r, int fd, bool append)
{
    unsigned char a[5000], b[3000];
    size_t la = (size_t)test_rng_below(r, sizeof a), lb = (size_t)test_rng_below(r, sizeof b);
    struct iovec iov[2] = {{a, la}, {b, lb}};
    off_t at = (off_t)test_rng_below(r, 20000);
    test_rng_bytes(r, a, la);
    test_rng_bytes(r, b, lb);
    switch (append ? test_rng_below(r, 2) : test_rng_below(r, 8)) {
    case 0:
        MUST(write(fd, a, la) == (ssize_t)la);
        break;
    case 1:
        MUST(writev(fd, iov, 2) == (ssize_t)(la + lb));
        break;
    case 2:
        MUST(pwrite(fd, a, la, at) == (ssize_t)la);
        break;
    case 3:
        MUST(pwritev(fd, iov, 2, at) == (ssize_t)(la + lb));
        break;
    case 4:
        MUST(pwritev2(fd, iov, 2, test_rng_chance(r, 1, 2) ? at : -1, 0) == (ssize_t)(la + lb));
        break;
    case 5:
        MUST(ftruncate(fd, at) == 0);
        break;
    case 6:
        MUST(posix_fallocate(fd, at, 3000) == 0);
        break;
    default:
        MUST(lseek(fd, at, SEEK_SET) == at);
        break;
    }
}

static void any_name(struct test_rng *r)
{
    char a[32], b[32];
    snprintf(a, sizeof a, "%s%c", test_rng_chance(r, 1, 3) ? "sub/" : "",
             (char)('a' + test_rng_below(r, NAMES)));
    snprintf(b, sizeof b, "%s%c", test_rng_chance(r, 1, 3) ? "./sub//" : "",
             (char)('a' + test_rng_below(r, NAMES)));
    int rc = 0;
    switch (test_rng_below(r, 6)) {
    case 0:
        rc = rename(a, b);
        break;
    case 1:
        rc = link(a, b);
        break;
    case 2:
        rc = unlink(a);
        break;
    case 3:
        rc = remove(a);
        break;
    case 4:
        rc = truncate(a, (off_t)test_rng_below(r, 9000));
        break;
    default:
        sync_dir(test_rng_chance(r, 1, 2) ? "." : "sub");
        break;
    }
    MUST(rc == 0 || errno == ENOENT || errno == EEXIST);
}

static int any_open(struct test_rng *r, bool *ret_append)
{
    char name[32];
    int dir = open("sub", O_RDONLY | O_DIRECTORY), fd = -1;
    snprintf(name, sizeof name, "%c", (char)('a' + test_rng_below(r, NAMES)));
    *ret_append = test_rng_chance(r, 1, 4);
    int how = O_RDWR | O_CREAT | (*ret_append ? O_APPEND : 0) |
              (test_rng_chance(r, 1, 6) ? O_TRUNC : 0) | (test_rng_chance(r, 1, 8) ? O_DSYNC : 0);
    switch (test_rng_below(r, 3)) {
    case 0:
        fd = open(name, how, 0644);
        break;
    case 1:
        fd = openat(dir, name, how, 0644);
        break;
    default:
        fd = creat(name, 0644);
        *ret_append = false;
        break;
    }
    MUST(dir >= 0 && fd >= 0 && close(dir) == 0);
    return fd;
}

static void any(uint64_t seed, const char *snapshots)
{
    struct test_rng r;
    int fds[OPEN] = {-1, -1, -1, -1}, marks = 0;
    bool append[OPEN] = {false};
    test_rng_init(&r, seed);
    MUST(mkdir("sub", 0755) == 0);
    for (int i = 0; i < 400; i++) {
        size_t k = (size_t)test_rng_below(&r, OPEN);
        uint64_t what = test_rng_below(&r, 20);
        if (fds[k] < 0) {
            fds[k] = any_open(&r, &append[k]);
        } else if (what < 10) {
            any_write(&r, fds[k], append[k]);
        } else if (what < 13) {
            MUST((test_rng_chance(&r, 1, 2) ? fsync(fds[k]) : fdatasync(fds[k])) == 0);
        } else if (what == 13) {
            int other =
                test_rng_chance(&r, 1, 2) ? dup(fds[k]) : fcntl(fds[k], F_DUPFD_CLOEXEC, 50);
            MUST(other >= 0 && close(fds[k]) == 0);
            fds[k] = other;
        } else if (what < 16) {
            MUST(close(fds[k]) == 0);
            fds[k] = -1;
        } else {
            any_name(&r);
        }
        if (i % 50 == 49)
            snapshot(snapshots, marks++);
    }
}

static void map(void)
{
    store("mapped", "0123456789", true);
    int fd = open("mapped", O_RDWR);
    MUST(fd >= 0 &&
         mmap(NULL, 10, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED); /* reading is fine */
    void *p = mmap(NULL, 10, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    MUST(p != MAP_FAILED);
}

static void stdio(bool sync)
{
    FILE *f = fopen("text", "w");
    MUST(f && fputs("for people", f) >= 0 && fflush(f) == 0);
    MUST(!sync || fsync(fileno(f)) == 0);
    MUST(fclose(f) == 0);
    mark("done");
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const char *what = argv[1];
    unsetenv("LD_PRELOAD"); /* children are not part of it */
    unsetenv("CRASH_ROOT");
    unsetenv("CRASH_TRACE");
    MUST(chdir(argv[2]) == 0);
    if (!strcmp(what, "script"))
        script();
    else if (!strcmp(what, "overwrite"))
        overwrite();
    else if (!strcmp(what, "journal"))
        journal(true, true);
    else if (!strcmp(what, "journal-unsynced"))
        journal(false, true);
    else if (!strcmp(what, "journal-unnamed"))
        journal(true, false);
    else if (!strcmp(what, "replace"))
        replace();
    else if (!strcmp(what, "any") && argc == 5)
        any(strtoull(argv[3], NULL, 10), argv[4]);
    else if (!strcmp(what, "map"))
        map();
    else if (!strcmp(what, "stdio"))
        stdio(false);
    else if (!strcmp(what, "stdio-sync"))
        stdio(true);
    else
        return 2;
    return 0;
}
