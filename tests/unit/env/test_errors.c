/* What Linux answers when it will not or cannot, and locks between processes. */
#include "base/alloc.h"
#include "base/env/env.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RWC (ENV_READ | ENV_WRITE | ENV_CREATE)

static char dir[TEMP_DIR_MAX];

static int set_up(void **state)
{
    (void)state;
    return temp_dir_make(dir, "enverr") ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return temp_dir_remove(dir) ? 0 : -1;
}

static const char *in(char out[TEMP_DIR_MAX + 32], const char *name)
{
    snprintf(out, TEMP_DIR_MAX + 32, "%s/%s", dir, name);
    return out;
}

static void test_env_too_many_files(void **state)
{
    (void)state;
    char path[TEMP_DIR_MAX + 32];
    struct env *e = env_linux();
    struct env_file *f = NULL, *g = NULL;
    struct rlimit was;
    assert_int_equal(env_open(e, in(path, "a"), RWC, &g, NULL), ST_OK);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    int next = dup(0);
    assert_true(next >= 0);
    close(next);
    struct rlimit none = {.rlim_cur = (rlim_t)next, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct err err;
    err_init(&err);
    struct buf names = BUF_INIT;
    enum status st[] = {
        env_open(e, path, RWC, &f, &err),
        env_lock(e, path, &f, NULL),
        env_sync_dir(e, dir, NULL),
        env_list(e, dir, &names, NULL),
        env_read_file(e, path, 10, &names, NULL),
        env_write_file(e, path, BYTES_EMPTY, NULL),
    };
    bool there = env_exists(e, "surely-not-there");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    for (size_t i = 0; i < sizeof st / sizeof *st; i++)
        assert_int_equal(st[i], ST_TOO_MANY_FILES);
    assert_int_equal(err.status, ST_TOO_MANY_FILES);
    assert_non_null(strstr(err.detail, path));
    assert_true(there); /* cannot be known, so not denied */
    assert_int_equal(env_open(e, path, RWC, &f, NULL), ST_OK);
    env_close(f);
    env_close(g);
    buf_deinit(&names);
}

static void test_env_disk_full(void **state)
{
    (void)state;
    struct env_file *f = NULL;
    struct err err;
    err_init(&err);
    if (env_open(env_linux(), "/dev/full", ENV_READ | ENV_WRITE, &f, NULL) != ST_OK)
        skip();
    assert_int_equal(env_pwrite(f, 0, "x", 1, &err), ST_DISK_FULL);
    assert_int_equal(err.status, ST_DISK_FULL);
    assert_non_null(strstr(err.detail, "/dev/full"));
    env_close(f);
}

/* The limit falls inside the write: Linux first writes short, then refuses the rest. */
static void test_env_short_write(void **state)
{
    (void)state;
    char path[TEMP_DIR_MAX + 32];
    struct env_file *f = NULL;
    struct rlimit was;
    char data[3000];
    memset(data, 'x', sizeof data);
    struct bytes parts[3] = {BYTES(data, 3000), BYTES(data, 3000), BYTES(data, 3000)};
    assert_int_equal(env_open(env_linux(), in(path, "a"), RWC, &f, NULL), ST_OK);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit small = {.rlim_cur = 5000, .rlim_max = was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum status st = env_pwritev(f, 0, parts, 3, NULL);
    enum status st_truncate = env_truncate(f, 6000, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(st, ST_TOO_LARGE);
    assert_int_equal(st_truncate, ST_TOO_LARGE);
    uint64_t size = 0;
    assert_int_equal(env_size(f, &size, NULL), ST_OK);
    assert_int_equal(size, 5000);
    assert_int_equal(env_pwritev(f, 0, parts, 3, NULL), ST_OK);
    assert_int_equal(env_size(f, &size, NULL), ST_OK);
    assert_int_equal(size, 9000);
    env_close(f);
}

/* Runs fn in a child and returns its exit code; 200 + signal when it was killed. */
static int in_child(int (*fn)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(fn());
    int how = 0;
    assert_int_equal(waitpid(pid, &how, 0), pid);
    return WIFEXITED(how) ? WEXITSTATUS(how) : 200 + WTERMSIG(how);
}

enum { CHILD_CANNOT = 100, CHILD_WRONG = 101 };

static int without_rights(void)
{
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
        return CHILD_CANNOT;
    char path[TEMP_DIR_MAX + 32];
    struct env *e = env_linux();
    struct env_file *f = NULL;
    struct buf names = BUF_INIT;
    struct err err;
    err_init(&err);
    if (env_open(e, in(path, "a"), RWC, &f, &err) != ST_PERMISSION_DENIED ||
        err.status != ST_PERMISSION_DENIED || !strstr(err.detail, path))
        return CHILD_WRONG;
    bool all = env_mkdir(e, in(path, "d"), NULL) == ST_PERMISSION_DENIED &&
               env_list(e, dir, &names, NULL) == ST_PERMISSION_DENIED &&
               env_sync_dir(e, dir, NULL) == ST_PERMISSION_DENIED &&
               env_lock(e, in(path, "L"), &f, NULL) == ST_PERMISSION_DENIED &&
               env_unlink(e, in(path, "a"), NULL) == ST_PERMISSION_DENIED && env_exists(e, path);
    buf_deinit(&names);
    return all ? 0 : CHILD_WRONG;
}

static void test_env_permission_denied(void **state)
{
    (void)state;
    assert_int_equal(chmod(dir, 0), 0);
    int code = in_child(without_rights);
    assert_int_equal(chmod(dir, 0700), 0);
    if (code == CHILD_CANNOT)
        skip();
    assert_int_equal(code, 0);
}

static int on_read_only_mount(void)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", dir, "tmpfs", MS_RDONLY, NULL) != 0)
        return CHILD_CANNOT;
    char path[TEMP_DIR_MAX + 32];
    struct env *e = env_linux();
    struct env_file *f = NULL;
    struct err err;
    err_init(&err);
    bool all = env_open(e, in(path, "a"), RWC, &f, &err) == ST_READ_ONLY &&
               err.status == ST_READ_ONLY && env_mkdir(e, path, NULL) == ST_READ_ONLY &&
               env_lock(e, path, &f, NULL) == ST_READ_ONLY &&
               env_write_file(e, path, BYTES_EMPTY, NULL) == ST_READ_ONLY &&
               env_mkdirs(e, dir, NULL) == ST_OK;
    umount(dir);
    return all ? 0 : CHILD_WRONG;
}

static void test_env_read_only(void **state)
{
    (void)state;
    int code = in_child(on_read_only_mount);
    if (code == CHILD_CANNOT)
        skip(); /* needs the right to mount */
    assert_int_equal(code, 0);
}

static int try_lock(void)
{
    char path[TEMP_DIR_MAX + 32];
    struct env_file *f = NULL;
    enum status st = env_lock(env_linux(), in(path, "LOCK"), &f, NULL);
    env_close(f);
    return (int)st;
}

static void test_env_lock_against_child(void **state)
{
    (void)state;
    char path[TEMP_DIR_MAX + 32];
    struct env_file *f = NULL;
    assert_int_equal(in_child(try_lock), ST_OK);
    assert_int_equal(env_lock(env_linux(), in(path, "LOCK"), &f, NULL), ST_OK);
    assert_int_equal(in_child(try_lock), ST_LOCKED);
    env_close(f);
    assert_int_equal(in_child(try_lock), ST_OK);
}

static void test_env_lock_dies_with_kill_9(void **state)
{
    (void)state;
    char path[TEMP_DIR_MAX + 32], byte;
    struct env_file *f = NULL;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool ok = env_lock(env_linux(), in(path, "LOCK"), &f, NULL) == ST_OK;
        if (write(ready[1], ok ? "y" : "n", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(env_lock(env_linux(), in(path, "LOCK"), &f, NULL), ST_LOCKED);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(env_lock(env_linux(), path, &f, NULL), ST_OK);
    env_close(f);
    close(ready[0]);
    close(ready[1]);
}

static int open_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Every allocation of every call fails once: a status, no leak of memory or descriptors, outputs
 * untouched. */
static void test_env_no_memory(void **state)
{
    (void)state;
    char path[TEMP_DIR_MAX + 32], deep[TEMP_DIR_MAX + 32];
    struct env *e = env_linux();
    in(deep, "x/y");
    in(path, "a");
    int before = open_descriptors();
    bool refused = true;
    for (uint64_t nth = 1; refused; nth++) {
        struct env_file *f = NULL, *l = NULL;
        struct buf names = BUF_INIT;
        mem_fail_at(nth, 1);
        (void)mem_fail_hits();
        enum status st = env_write_file(e, path, BYTES_LIT("content"), NULL);
        st = st ? st : env_mkdirs(e, deep, NULL);
        st = st ? st : env_list(e, dir, &names, NULL);
        st = st ? st : env_read_file(e, path, 100, &names, NULL);
        st = st ? st : env_lock(e, path, &l, NULL);
        st = st ? st : env_open(e, path, ENV_READ, &f, NULL);
        mem_fail_at(0, 0);
        refused = mem_fail_hits() > 0;
        assert_int_equal(st, refused ? ST_NO_MEMORY : ST_OK);
        env_close(f);
        env_close(l);
        buf_deinit(&names);
        assert_int_equal(open_descriptors(), before);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(test_env_##name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(too_many_files), T(disk_full),          T(short_write),           T(permission_denied),
        T(read_only),      T(lock_against_child), T(lock_dies_with_kill_9), T(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
