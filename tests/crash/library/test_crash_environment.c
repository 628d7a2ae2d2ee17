/* What surrounds a folder gives out: descriptors, room, the right to write, the format's age. The
 * real engine on real file systems; what needs root and a mount of its own says SKIP without. */
#include "crash/library/crash_process.h"
#include "crash/library/crash_rig.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool may_mount; /* in a namespace of our own */

/* ---- descriptors ---- */

enum { HOARD_MAX = 512 };

/* Takes all descriptors below the limit but `leave`. */
static size_t hoard(int fds[HOARD_MAX], size_t leave)
{
    struct rlimit l;
    size_t n = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &l), 0);
    l.rlim_cur = HOARD_MAX;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
    while (n < HOARD_MAX && (fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        n++;
    assert_int_equal(errno, EMFILE);
    assert_true(n > leave);
    while (leave-- > 0)
        close(fds[--n]);
    return n;
}

/* A merge of RocksDB's own met the fault. */
static bool engine_stopped(varve_status st)
{
    return st == VARVE_IO_ERROR && (strstr(varve_last_error(), "has stopped the engine") ||
                                    strstr(varve_last_error(), "merging the files"));
}

static void test_out_of_descriptors(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct rig r;
        uint64_t refusals = 0;
        int fds[HOARD_MAX];
        rig_init(&r, seed, NULL);
        rig_must_open(&r);
        rig_must_steps(&r, 40);
        size_t n = hoard(fds, (size_t)seed - 1);
        for (int i = 0; i < 60; i++) {
            varve_status st = rig_steps(&r, 1);
            if (st == VARVE_OK)
                continue;
            refusals++;
            if (st != VARVE_TOO_MANY_FILES && !engine_stopped(st))
                fail_msg("seed %" PRIu64 ": %s: %s", seed, varve_status_name(st),
                         varve_last_error());
        }
        varve *second;
        assert_int_equal(varve_open(r.folder, NULL, &second), VARVE_TOO_MANY_FILES);
        printf("seed %" PRIu64 ": %" PRIu64 " refusals; opening another: %s\n", seed, refusals,
               varve_last_error());
        while (n > 0)
            close(fds[--n]);
        rig_hold(&r);
        (void)rig_works_again(&r, 20);
        rig_hold(&r);
        assert_true(hold_verify(r.db));
        assert_int_equal(rig_close(&r), VARVE_OK);
        rig_check_in_new_process(&r);
        rig_deinit(&r);
    }
}

/* ---- a folder of one's own, on a small or read-only file system ---- */

static void mount_at(char folder[512], const char *size)
{
    char options[64];
    assert_true(process_folder(folder, "mount"));
    snprintf(options, sizeof(options), "size=%s,mode=0755", size);
    assert_int_equal(mount("varve-test", folder, "tmpfs", 0, options), 0);
}

static void unmount(const char *folder)
{
    assert_int_equal(umount(folder), 0);
    assert_true(temp_dir_remove(folder));
}

static void test_a_read_only_file_system(void **state)
{
    (void)state;
    char folder[512];
    struct rig r;
    if (!may_mount) {
        printf("SKIP: mounting needs root\n");
        skip();
    }
    mount_at(folder, "64m");
    rig_init(&r, 5, folder);
    rig_must_open(&r);
    rig_must_steps(&r, 60);
    assert_int_equal(rig_close(&r), VARVE_OK);
    assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    varve_status st = rig_open(&r, false);
    printf("%s: %s\n", varve_status_name(st), varve_last_error());
    assert_int_equal(st, VARVE_READ_ONLY);
    assert_non_null(strstr(varve_last_error(), r.dir));
    r.db = NULL;
    assert_int_equal(rig_open(&r, true), VARVE_OK);
    rig_hold(&r);
    assert_true(hold_verify(r.db));
    assert_int_equal(varve_put(r.db, "full-0", "k", 1, VARVE_RAW, "v", 1, NULL, NULL),
                     VARVE_READ_ONLY);
    assert_int_equal(rig_close(&r), VARVE_OK);
    assert_int_equal(mount(NULL, folder, NULL, MS_REMOUNT, NULL), 0);
    rig_check_in_new_process(&r);
    rig_deinit(&r);
    unmount(folder);
}

/* In a child that is nobody. Exit codes: 0, or the line. */
static int as_nobody(struct rig *r)
{
    if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
        return 1;
    varve_status st = rig_open(r, false);
    fprintf(stderr, "as nobody: %s: %s\n", varve_status_name(st), varve_last_error());
    if (st != VARVE_PERMISSION_DENIED || !strstr(varve_last_error(), r->dir))
        return 2;
    st = rig_open(r, true);
    if (st != VARVE_OK) {
        fprintf(stderr, "read-only: %s: %s\n", varve_status_name(st), varve_last_error());
        return 3;
    }
    if (varve_put(r->db, "full-0", "k", 1, VARVE_RAW, "v", 1, NULL, NULL) != VARVE_READ_ONLY)
        return 4;
    varve_iter *it;
    if (varve_scan(r->db, "full-0", NULL, &it) != VARVE_OK)
        return 5;
    int rows = 0, rc;
    while ((rc = varve_iter_next(it)) > 0)
        rows++;
    varve_iter_close(it);
    return rc || !rows || varve_close(r->db) != VARVE_OK ? 6 : 0;
}

static void test_a_folder_of_somebody_else(void **state)
{
    (void)state;
    struct rig r;
    int status;
    if (geteuid() != 0) {
        printf("SKIP: becoming nobody needs root\n");
        skip();
    }
    rig_init(&r, 6, NULL);
    assert_int_equal(chmod(r.folder, 0755), 0);
    rig_must_open(&r);
    rig_must_steps(&r, 60);
    assert_int_equal(rig_close(&r), VARVE_OK);
    char *argv[] = {(char[]){"/bin/chmod"}, (char[]){"-R"}, (char[]){"a+rX"}, r.folder, NULL};
    assert_int_equal(process_run(argv, NULL, NULL, 10), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(as_nobody(&r));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    rig_check_in_new_process(&r);
    rig_deinit(&r);
}

/* ---- a full disk ---- */

static void fill_up(const char *path, bool leave)
{
    static char bytes[65536];
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    assert_true(fd >= 0);
    memset(bytes, 'x', sizeof(bytes));
    size_t step = sizeof(bytes);
    while (step >= 4096)
        if (write(fd, bytes, step) < 0)
            step /= 2;
    if (leave) { /* a little room, so that things fail half way */
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(ftruncate(fd, st.st_size > 300000 ? st.st_size - 300000 : 0), 0);
    }
    close(fd);
}

static void full_and_back(struct rig *r, bool leave)
{
    char ballast[PATH_MAX];
    uint64_t refusals = 0;
    snprintf(ballast, sizeof(ballast), "%s/ballast", r->folder);
    fill_up(ballast, leave);
    for (int i = 0; i < 400 && refusals < 20; i++) {
        varve_status st = rig_steps(r, 1);
        if (st == VARVE_OK)
            continue;
        if (st != VARVE_DISK_FULL && !engine_stopped(st))
            fail_msg("seed %" PRIu64 ": %s: %s", r->seed, varve_status_name(st),
                     varve_last_error());
        refusals++;
    }
    printf("seed %" PRIu64 ": %" PRIu64 " refusals: %s\n", r->seed, refusals, varve_last_error());
    assert_true(refusals > 0);
    rig_hold(r); /* reads go on */
    assert_int_equal(unlink(ballast), 0);
    (void)rig_works_again(r, 60);
    rig_hold(r);
    assert_true(hold_verify(r->db));
}

static void test_a_full_disk(void **state)
{
    (void)state;
    if (!may_mount) {
        printf("SKIP: mounting needs root\n");
        skip();
    }
    for (uint64_t seed = 10; seed < 16; seed++) {
        char folder[512];
        struct rig r;
        mount_at(folder, "40m");
        rig_init(&r, seed, folder);
        rig_must_open(&r);
        rig_must_steps(&r, 60);
        full_and_back(&r, seed % 2);
        full_and_back(&r, seed % 2 == 0);
        assert_int_equal(rig_close(&r), VARVE_OK);
        rig_check_in_new_process(&r);
        rig_deinit(&r);
        unmount(folder);
    }
}

static void test_opening_on_a_full_disk(void **state)
{
    (void)state;
    char folder[512], ballast[PATH_MAX];
    struct rig r;
    if (!may_mount) {
        printf("SKIP: mounting needs root\n");
        skip();
    }
    mount_at(folder, "24m");
    rig_init(&r, 21, folder);
    rig_must_open(&r);
    rig_must_steps(&r, 60);
    assert_int_equal(rig_close(&r), VARVE_OK);
    snprintf(ballast, sizeof(ballast), "%s/ballast", folder);
    fill_up(ballast, false);
    varve_status st = rig_open(&r, false);
    printf("%s: %s\n", varve_status_name(st), varve_last_error());
    assert_int_equal(st, VARVE_DISK_FULL);
    r.db = NULL;
    assert_int_equal(rig_open(&r, true), VARVE_OK);
    rig_hold(&r);
    assert_int_equal(rig_close(&r), VARVE_OK);
    assert_int_equal(unlink(ballast), 0);
    rig_check_in_new_process(&r);
    rig_deinit(&r);
    unmount(folder);
}

/* ---- format, lock ---- */

static void test_a_newer_format_is_refused_by_name(void **state)
{
    (void)state;
    struct rig r;
    char path[PATH_MAX + 8], text[256];
    rig_init(&r, 7, NULL);
    rig_must_open(&r);
    rig_must_steps(&r, 10);
    assert_int_equal(rig_close(&r), VARVE_OK);
    snprintf(path, sizeof(path), "%s/VARVE", r.dir);
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    text[n] = '\0';
    char *at = strstr(text, "format 1");
    assert_non_null(at);
    at[7] = '9';
    rewind(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
    for (int read_only = 0; read_only < 2; read_only++) {
        assert_int_equal(rig_open(&r, read_only), VARVE_FORMAT_NEWER);
        assert_non_null(strstr(varve_last_error(), path));
    }
    printf("%s\n", varve_last_error());
    r.db = NULL;
    rig_deinit(&r);
}

/* The lock is the process's: it goes with it, however that ends. */
static void test_the_lock_dies_with_its_process(void **state)
{
    (void)state;
    struct rig r;
    char seed[8] = "8";
    int pipe_fd, status;
    rig_init(&r, 8, NULL);
    char *argv[] = {(char[]){CRASH_WORKLOAD}, r.dir, seed, (char[]){"1"}, (char[]){"0"}, NULL};
    pid_t pid = process_start(argv, NULL, NULL, &pipe_fd);
    char byte;
    assert_true(pid > 0);
    assert_int_equal(read(pipe_fd, &byte, 1), 1); /* it is open */
    assert_int_equal(rig_open(&r, false), VARVE_LOCKED);
    assert_non_null(strstr(varve_last_error(), r.dir));
    assert_non_null(strstr(varve_last_error(), "varve serve"));
    assert_int_equal(rig_open(&r, true), VARVE_LOCKED);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    close(pipe_fd);
    rig_must_open(&r);
    assert_int_equal(rig_close(&r), VARVE_OK);
    rig_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_out_of_descriptors),
        cmocka_unit_test(test_a_read_only_file_system),
        cmocka_unit_test(test_a_folder_of_somebody_else),
        cmocka_unit_test(test_a_full_disk),
        cmocka_unit_test(test_opening_on_a_full_disk),
        cmocka_unit_test(test_a_newer_format_is_refused_by_name),
        cmocka_unit_test(test_the_lock_dies_with_its_process),
    };
    may_mount = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
