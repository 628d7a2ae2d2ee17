/* test_crash_images.c - records crash_sample and holds the images against what its calls promise.
 */
#include "crash/preload/crash_images.h"
#include "support/cmocka.h"
#include "support/seeds.h"
#include "support/tempdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A recorded run: `dir`/root is the folder, `dir`/trace the trace, `image` the last image. */
struct run {
    char dir[TEMP_DIR_MAX];
    char root[TEMP_DIR_MAX + 16], trace[TEMP_DIR_MAX + 16], image[TEMP_DIR_MAX + 32],
        snaps[TEMP_DIR_MAX + 16];
    int images;
    struct crash_images *c;
};

static int run_sample(struct run *r, const char *what, const char *seed)
{
    char root_env[TEMP_DIR_MAX + 64], trace_env[TEMP_DIR_MAX + 64], path_env[4096];
    assert_true(temp_dir_make(r->dir, "crash"));
    snprintf(r->root, sizeof r->root, "%s/root", r->dir);
    snprintf(r->trace, sizeof r->trace, "%s/trace", r->dir);
    r->images = 0;
    snprintf(r->snaps, sizeof r->snaps, "%s/snaps", r->dir);
    r->c = NULL;
    assert_int_equal(mkdir(r->root, 0755), 0);
    assert_int_equal(mkdir(r->snaps, 0755), 0);
    snprintf(root_env, sizeof root_env, "CRASH_ROOT=%s", r->root);
    snprintf(trace_env, sizeof trace_env, "CRASH_TRACE=%s", r->trace);
    snprintf(path_env, sizeof path_env, "PATH=%s", getenv("PATH"));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char *argv[] = {(char[]){CRASH_SAMPLE}, strdup(what), r->root,
                        strdup(seed),           r->snaps,     NULL};
        char *envp[] = {(char[]){"LD_PRELOAD=" CRASH_RECORDER}, root_env, trace_env, path_env,
                        NULL};
        if (seed[0] == '\0')
            argv[3] = NULL;
        execve(CRASH_SAMPLE, argv, envp);
        _exit(99);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void run_ok(struct run *r, const char *what, const char *seed)
{
    int status = run_sample(r, what, seed);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void run_end(struct run *r)
{
    crash_images_close(r->c);
    assert_true(temp_dir_remove(r->dir));
}

static void rewind_to_start(struct run *r, enum crash_model model)
{
    char err[CRASH_ERROR_MAX] = "";
    crash_images_close(r->c);
    r->c = NULL;
    if (!crash_images_open(r->trace, model, &r->c, err))
        fail_msg("%s", err);
}

static void advance(struct run *r, size_t upto)
{
    char err[CRASH_ERROR_MAX] = "";
    if (!crash_images_advance(r->c, upto, err))
        fail_msg("%s", err);
}

static void to_mark(struct run *r, enum crash_model model, const char *mark)
{
    rewind_to_start(r, model);
    for (size_t i = 0; i < crash_images_count(r->c); i++) {
        size_t len;
        advance(r, i + 1);
        size_t n = crash_images_marks(r->c);
        const char *text = n ? crash_images_mark(r->c, n - 1, &len) : NULL;
        if (text && len == strlen(mark) && !memcmp(text, mark, len))
            return;
    }
    fail_msg("no mark \"%s\"", mark);
}

/* The number in the last mark; -1: none yet. */
static int acknowledged(const struct run *r)
{
    size_t len, n = crash_images_marks(r->c);
    char text[32] = "-1";
    if (n) {
        const char *mark = crash_images_mark(r->c, n - 1, &len);
        snprintf(text, sizeof text, "%.*s", (int)len, mark);
    }
    return atoi(text);
}

static void image(struct run *r, enum crash_loss loss, unsigned unit, uint64_t seed)
{
    struct crash_cut cut = {.seed = seed, .unit = unit, .loss = loss};
    char err[CRASH_ERROR_MAX] = "";
    snprintf(r->image, sizeof r->image, "%s/image-%d", r->dir, r->images++);
    if (!crash_images_write(r->c, &cut, r->image, err))
        fail_msg("%s", err);
}

/* The bytes of a file of the image; SIZE_MAX: it is not there. */
static size_t read_image(const struct run *r, const char *name, char *out, size_t room)
{
    char path[TEMP_DIR_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", r->image, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return SIZE_MAX;
    ssize_t n = read(fd, out, room);
    assert_true(n >= 0 && (size_t)n < room);
    close(fd);
    return (size_t)n;
}

/* expected NULL: the file must not be there. */
static void expect_file(const struct run *r, const char *name, const char *expected)
{
    char bytes[64];
    size_t n = read_image(r, name, bytes, sizeof bytes);
    if (!expected) {
        if (n != SIZE_MAX)
            fail_msg("%s is there", name);
        return;
    }
    if (n == SIZE_MAX)
        fail_msg("%s is not there", name);
    assert_int_equal(n, strlen(expected));
    assert_memory_equal(bytes, expected, n);
}

/* What synced names and bytes leave at least (LOSE_ALL) and what a kill leaves (KEEP_ALL), spelled
 * out by hand. */
static void test_script(void **state)
{
    (void)state;
    static const struct {
        const char *mark;
        enum crash_model model;
        enum crash_loss loss;
        const char *a, *b, *c, *e, *x;
    } cases[] = {
        {"both", CRASH_POSIX, CRASH_LOSE_ALL, "AAAA", "BBBB", NULL, NULL, NULL},
        {"both", CRASH_EXT4, CRASH_LOSE_ALL, "AAAA", "BBBB", NULL, NULL, NULL},
        {"changed", CRASH_POSIX, CRASH_LOSE_ALL, "AAAA", "BBBB", NULL, NULL, NULL},
        {"changed", CRASH_EXT4, CRASH_LOSE_ALL, "AAAA", "BBBB", "CCCC", NULL, NULL},
        {"changed", CRASH_POSIX, CRASH_KEEP_ALL, "XXAA", "BBBB", "CCCC", NULL, NULL},
        {"moved", CRASH_POSIX, CRASH_LOSE_ALL, "AAAA", "BBBB", NULL, NULL, NULL},
        {"moved", CRASH_EXT4, CRASH_LOSE_ALL, "AAAA", "BBBB", "CCCC", NULL, NULL},
        {"moved", CRASH_POSIX, CRASH_KEEP_ALL, NULL, NULL, "CCCC", "BBBB", NULL},
        {"moved and synced", CRASH_POSIX, CRASH_LOSE_ALL, NULL, NULL, "CCCC", "BBBB", NULL},
        {"moved and synced", CRASH_EXT4, CRASH_LOSE_ALL, NULL, NULL, "CCCC", "BBBB", NULL},
        {"in a folder whose name is not synced", CRASH_POSIX, CRASH_LOSE_ALL, NULL, NULL, "CCCC",
         "BBBB", NULL},
        {"in a folder whose name is not synced", CRASH_EXT4, CRASH_LOSE_ALL, NULL, NULL, "CCCC",
         "BBBB", "x"},
        {"in a folder whose name is not synced", CRASH_POSIX, CRASH_KEEP_ALL, NULL, NULL, "CCCC",
         "BBBB", "x"},
    };
    struct run r;
    run_ok(&r, "script", "");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("case %zu: %s\n", i, cases[i].mark);
        to_mark(&r, cases[i].model, cases[i].mark);
        image(&r, cases[i].loss, 512, i);
        expect_file(&r, "d/a", cases[i].a);
        expect_file(&r, "d/b", cases[i].b);
        expect_file(&r, "d/c", cases[i].c);
        expect_file(&r, "d/e", cases[i].e);
        expect_file(&r, "f/x", cases[i].x);
    }
    run_end(&r);
}

/* Each unit is old or new as a whole, both come up, and the size is one that the file had. */
static void test_units(void **state)
{
    (void)state;
    struct run r;
    static char bytes[32 * 1024];
    run_ok(&r, "overwrite", "");
    for (unsigned unit = 512; unit <= 4096; unit += 4096 - 512) {
        size_t olds = 0, news = 0, shorts = 0, longs = 0;
        to_mark(&r, CRASH_POSIX, "new");
        for (uint64_t seed = 0; seed < 50; seed++) {
            image(&r, CRASH_SCATTERED, unit, seed);
            size_t n = read_image(&r, "file", bytes, sizeof bytes);
            assert_true(n == 16 * 1024 || n == 24 * 1024);
            shorts += n == 16 * 1024;
            longs += n == 24 * 1024;
            for (size_t off = 0; off < n; off += unit) {
                char first = bytes[off];
                assert_true(off < 16 * 1024 ? first == 'o' || first == 'n'
                                            : first == '\0' || first == 'n');
                for (size_t i = 1; i < unit; i++)
                    assert_int_equal(bytes[off + i], first);
                olds += first != 'n';
                news += first == 'n';
            }
        }
        assert_true(olds > 100 && news > 100 && shorts > 5 && longs > 5);

        size_t torn = 0; /* ordered: new, then old, parted anywhere */
        for (uint64_t seed = 0; seed < 50; seed++) {
            image(&r, CRASH_ORDERED, unit, seed);
            size_t n = read_image(&r, "file", bytes, sizeof bytes), at = 0;
            assert_true(n >= 16 * 1024 && n <= 24 * 1024 && n % unit == 0);
            while (at < n && bytes[at] == 'n')
                at++;
            assert_int_equal(at % unit, 0);
            torn += at > 0 && at < 24 * 1024;
            for (; at < n; at++)
                assert_int_equal(bytes[at], 'o');
        }
        assert_true(torn > 10);

        to_mark(&r, CRASH_EXT4, "new"); /* what the file grew by is there with its bytes */
        for (uint64_t seed = 0; seed < 50; seed++) {
            image(&r, CRASH_SCATTERED, unit, seed);
            size_t n = read_image(&r, "file", bytes, sizeof bytes);
            for (size_t i = 16 * 1024; i < n; i++)
                assert_int_equal(bytes[i], 'n');
        }
        to_mark(&r, CRASH_POSIX, "synced");
        image(&r, CRASH_LOSE_ALL, unit, 0);
        assert_int_equal(read_image(&r, "file", bytes, sizeof bytes), 24 * 1024);
        for (size_t i = 0; i < 24 * 1024; i++)
            assert_int_equal(bytes[i], 'n');
    }
    run_end(&r);
}

/* How many whole records the image's journal begins with. */
static int records_there(const struct run *r)
{
    static char bytes[32 * 1024];
    size_t n = read_image(r, "journal", bytes, sizeof bytes);
    int count = 0;
    if (n == SIZE_MAX)
        return -1;
    for (; (size_t)(count + 1) * 700 <= n; count++)
        for (size_t i = 0; i < 700; i++)
            if (bytes[(size_t)count * 700 + i] != 'a' + count)
                return count;
    return count;
}

/* Over all positions and several seeds: images in which an acknowledged record is missing. */
static size_t losses(struct run *r, enum crash_model model, size_t *ret_images)
{
    size_t lost = 0;
    *ret_images = 0;
    rewind_to_start(r, model);
    for (size_t at = 0; at <= crash_images_count(r->c); at++) {
        advance(r, at);
        for (uint64_t seed = 0; seed < 6; seed++) {
            image(r, (enum crash_loss)(seed % 5), seed % 2 ? 512 : 4096, seed * 1000 + at);
            int want = acknowledged(r), got = records_there(r);
            lost += want > 0 && got < want;
            ++*ret_images;
        }
    }
    return lost;
}

/* A journal that syncs loses nothing anywhere; the wrong forms are caught, each under the model
 * that it offends. */
static void test_journal(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        enum crash_model model;
        bool loses;
    } cases[] = {
        {"journal", CRASH_POSIX, false},         {"journal", CRASH_EXT4, false},
        {"journal-unsynced", CRASH_POSIX, true}, {"journal-unsynced", CRASH_EXT4, true},
        {"journal-unnamed", CRASH_POSIX, true},  {"journal-unnamed", CRASH_EXT4, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run r;
        size_t images = 0;
        run_ok(&r, cases[i].what, "");
        size_t lost = losses(&r, cases[i].model, &images);
        print_message("%s: %zu of %zu images lost something\n", cases[i].what, lost, images);
        assert_true(images > 250);
        if (cases[i].loses)
            assert_true(lost > 10);
        else
            assert_int_equal(lost, 0);
        run_end(&r);
    }
}

/* A file that is replaced by a move is, in every image, one of its whole states, and not older than
 * acknowledged. */
static void test_replace(void **state)
{
    (void)state;
    struct run r;
    static char bytes[8192];
    run_ok(&r, "replace", "");
    for (int model = 0; model < 2; model++) {
        rewind_to_start(&r, (enum crash_model)model);
        for (size_t at = 0; at <= crash_images_count(r.c); at++) {
            advance(&r, at);
            for (uint64_t seed = 0; seed < 5; seed++) {
                image(&r, (enum crash_loss)seed, 512, seed + at * 7);
                int want = acknowledged(&r);
                size_t n = read_image(&r, "state", bytes, sizeof bytes);
                if (n == SIZE_MAX) {
                    assert_int_equal(want, -1);
                    continue;
                }
                int which = bytes[0] - '0';
                assert_in_range(which, want < 0 ? 0 : want, 9);
                assert_int_equal(n, 1000 + which * 300);
                for (size_t i = 0; i < n; i++)
                    assert_int_equal(bytes[i], '0' + which);
            }
        }
    }
    run_end(&r);
}

/* Whatever calls were made: with nothing lost the image is the folder as it was, byte for byte. */
static void test_any_calls(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 6)
    {
        struct run r;
        char text[32], first[TEMP_DIR_MAX + 32], command[4 * TEMP_DIR_MAX];
        snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
        run_ok(&r, "any", text);
        for (int mark = 0; mark < 8; mark++) {
            snprintf(text, sizeof text, "%d", mark);
            to_mark(&r, mark % 2 ? CRASH_POSIX : CRASH_EXT4, text);
            image(&r, CRASH_KEEP_ALL, 512, seed);
            snprintf(command, sizeof command, "diff -r '%s/%d' '%s'", r.snaps, mark, r.image);
            assert_int_equal(system(command), 0);
            /* Other cuts must at least be possible, and the same again when asked again. */
            for (int loss = CRASH_LOSE_ALL; loss <= CRASH_MIXED; loss++) {
                image(&r, (enum crash_loss)loss, 4096, seed);
                snprintf(first, sizeof first, "%s", r.image);
                image(&r, (enum crash_loss)loss, 4096, seed);
                snprintf(command, sizeof command, "diff -r '%s' '%s'", first, r.image);
                assert_int_equal(system(command), 0);
            }
        }
        run_end(&r);
    }
}

/* What cannot be followed is not passed over. */
static void test_refusals(void **state)
{
    (void)state;
    static const char *const aborting[] = {"map", "stdio-sync"};
    struct run r;
    for (size_t i = 0; i < 2; i++) {
        int status = run_sample(&r, aborting[i], "");
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
        run_end(&r);
    }
    run_ok(&r, "stdio", "");
    to_mark(&r, CRASH_POSIX, "done");
    image(&r, CRASH_KEEP_ALL, 512, 0);
    expect_file(&r, "text", "");
    run_end(&r);
}

/* A trace that is cut off or does not fit itself is an error. */
static void test_bad_traces(void **state)
{
    (void)state;
    struct run r;
    struct crash_images *c = NULL;
    char err[CRASH_ERROR_MAX] = "";
    struct stat st;
    run_ok(&r, "script", "");
    assert_int_equal(stat(r.trace, &st), 0);
    assert_int_equal(truncate(r.trace, st.st_size - 1), 0);
    assert_false(crash_images_open(r.trace, CRASH_POSIX, &c, err));
    assert_non_null(strstr(err, "no record at byte"));
    assert_null(c);
    assert_int_equal(truncate(r.trace, 0), 0);
    assert_false(crash_images_open(r.trace, CRASH_POSIX, &c, err));
    int fd = open(r.trace, O_WRONLY);
    struct crash_record open_absent = {
        .magic = CRASH_TRACE_MAGIC, .kind = CRASH_OPEN, .handle = 1, .path_len = 1};
    assert_int_equal(write(fd, &open_absent, sizeof open_absent), sizeof open_absent);
    assert_int_equal(write(fd, "a", 1), 1);
    close(fd);
    assert_true(crash_images_open(r.trace, CRASH_POSIX, &r.c, err));
    assert_false(crash_images_advance(r.c, 1, err));
    assert_non_null(strstr(err, "a is opened but not there"));
    run_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_script),     cmocka_unit_test(test_units),
        cmocka_unit_test(test_journal),    cmocka_unit_test(test_replace),
        cmocka_unit_test(test_any_calls),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_bad_traces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
