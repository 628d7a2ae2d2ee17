/* test_engine_rocks_manifest.c - what a power cut, a failed write or rot leaves of RocksDB's
 * manifest: torn ends are taken off, rot is told, nothing that was reported as done is lost. */
#include "storage/engine/engine_testing.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANGE = 1, KEYS = 30, PLACE_MAX = TEMP_DIR_MAX + 300 };

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

static void drain_round(struct engine *e, unsigned r)
{
    struct table *t = table_new();
    struct err err;
    assert_non_null(t);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[24];
        int n = snprintf(key, sizeof(key), "key%05u", i);
        struct record rec = {.version = {(uint64_t)r * 1000 + i, 0},
                             .kind = RECORD_PUT,
                             .writer = BYTES_EMPTY,
                             .value = BYTES(key, (size_t)n)};
        assert_int_equal(table_put(t, BYTES(key, (size_t)n), &rec, NULL), ST_OK);
    }
    struct engine_mark mark = {.index = r, .term = 1, .version = {(uint64_t)r * 1000 + KEYS, 0}};
    must(e->ops->drain(e, RANGE, t, &mark, &err), &err);
    table_unref(t);
}

static struct engine *opened(const char *dir)
{
    struct engine *e = NULL;
    struct err err;
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    return e;
}

static void closed(struct engine *e)
{
    e->ops->close(e);
}

/* Opens; all of rounds 1 to r is there. Closes. */
static void holds(const char *dir, unsigned r)
{
    struct engine *e = opened(dir);
    struct engine_mark mark;
    struct engine_snapshot *s;
    struct engine_stats stats;
    struct err err;
    must(e->ops->persisted(e, RANGE, &mark, &err), &err);
    assert_int_equal(mark.index, r);
    e->ops->stats(e, &stats);
    assert_int_equal(stats.live_rows, r ? KEYS : 0);
    must(e->ops->snapshot(e, &s, &err), &err);
    for (unsigned past = 1; past <= r; past++) {
        struct record rec;
        struct engine_pin pin = {0};
        must(e->ops->get(e, s, BYTES_LIT("key00007"), (struct version){past * 1000 + 999, 0}, false,
                         &rec, &pin, &err),
             &err);
        assert_int_equal(rec.version.hlc, past * 1000 + 7);
        engine_pin_release(&pin);
    }
    e->ops->snapshot_release(e, s);
    must(e->ops->verify(e, RANGE, NULL, NULL, NULL, &err), &err);
    closed(e);
}

/* It is refused as CORRUPT, and the message names `what`. */
static void refused(const char *dir, const char *what)
{
    for (int reads = 0; reads < 2; reads++) {
        struct engine_options o = {.read_only = reads};
        struct engine *e = NULL;
        struct err err;
        assert_int_equal(engine_rocks_open(env_linux(), dir, &o, &e, &err), ST_CORRUPT);
        if (!strstr(err.detail, what))
            fail_msg("this names no %s: %s", what, err.detail);
    }
}

static struct buf content(const char *path)
{
    struct buf b = BUF_INIT;
    struct err err;
    must(env_read_file(env_linux(), path, 1 << 20, &b, &err), &err);
    return b;
}

static void put_back(const char *path, struct bytes with)
{
    struct err err;
    must(env_write_file(env_linux(), path, with, &err), &err);
}

static void manifest(const char *dir, char out[PLACE_MAX])
{
    char path[PLACE_MAX];
    snprintf(path, sizeof(path), "%s/rocks/CURRENT", dir);
    struct buf b = content(path);
    snprintf(out, PLACE_MAX, "%s/rocks/%.*s", dir, (int)b.len - 1, (const char *)b.data);
    buf_deinit(&b);
}

static void note(const char *dir, char out[PLACE_MAX])
{
    snprintf(out, PLACE_MAX, "%s/manifest.end", dir);
}

static void append(const char *path, const void *data, size_t len)
{
    FILE *f = fopen(path, "a");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

/* A record whose checksum does not hold. */
static void append_torn(const char *path)
{
    unsigned char torn[300];
    memset(torn, 1, sizeof(torn));
    append(path, torn, sizeof(torn));
}

/* What a cut leaves of a change: a part that holds, a part that never came. */
static void torn_ends(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[PLACE_MAX];
    unsigned char torn[4096];
    struct test_rng rng;
    assert_true(temp_dir_make(dir, "torn"));
    test_rng_init(&rng, 5);
    struct engine *e = opened(dir);
    drain_round(e, 1);
    drain_round(e, 2);
    closed(e);
    for (size_t len = 1; len <= sizeof(torn); len = len * 3 + 1) {
        for (int how = 0; how < 3; how++) {
            manifest(dir, path);
            struct buf before = content(path);
            test_rng_bytes(&rng, torn, len);
            if (how == 1)
                memset(torn, 0, len / 2);
            if (how == 2) { /* a record that does not hold, then one that does */
                memset(torn, 0xff, len / 2);
                memcpy(torn + len / 2, before.data, len / 2 < before.len ? len / 2 : before.len);
            }
            append(path, torn, len);
            holds(dir, 2);
            buf_deinit(&before);
        }
    }
    assert_true(temp_dir_remove(dir));
}

/* Below what was synced nothing is taken for a torn end, at whatever place and in whatever way. */
static void rot(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[PLACE_MAX];
    struct test_rng rng;
    assert_true(temp_dir_make(dir, "rot"));
    test_rng_init(&rng, 6);
    struct engine *e = opened(dir);
    drain_round(e, 1);
    drain_round(e, 2);
    closed(e);
    manifest(dir, path);
    struct buf sound = content(path);
    for (int i = 0; i < 60; i++) {
        struct buf bad = content(path);
        size_t at = (size_t)test_rng_below(&rng, bad.len);
        if (i % 3 == 2)
            bad.len = at; /* the end is missing */
        else
            bad.data[at] ^= (uint8_t)(1u << test_rng_below(&rng, 8));
        put_back(path, buf_bytes(&bad));
        refused(dir, "MANIFEST-");
        buf_deinit(&bad);
        put_back(path, buf_bytes(&sound));
    }
    holds(dir, 2);
    buf_deinit(&sound);
    assert_true(temp_dir_remove(dir));
}

/* RocksDB began a new manifest, and the power was cut before that was noted. */
static void a_manifest_that_is_not_noted(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[PLACE_MAX], end[PLACE_MAX];
    assert_true(temp_dir_make(dir, "newer"));
    struct engine *e = opened(dir);
    drain_round(e, 1);
    closed(e);
    note(dir, end);
    struct buf old = content(end);
    holds(dir, 1); /* with a new manifest */
    manifest(dir, path);
    append_torn(path);
    put_back(end, buf_bytes(&old));
    holds(dir, 1);
    /* But the state it begins with must be whole. */
    manifest(dir, path);
    put_back(end, buf_bytes(&old));
    struct buf bad = content(path);
    bad.data[100] ^= 1;
    put_back(path, buf_bytes(&bad));
    refused(dir, "MANIFEST-");
    buf_deinit(&bad);
    buf_deinit(&old);
    assert_true(temp_dir_remove(dir));
}

static void remove_newest_table(const char *dir)
{
    char path[PLACE_MAX], newest[PLACE_MAX] = "";
    unsigned long best = 0;
    snprintf(path, sizeof(path), "%s/rocks", dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        if (!strstr(f->d_name, ".sst") || strtoul(f->d_name, NULL, 10) < best)
            continue;
        best = strtoul(f->d_name, NULL, 10);
        snprintf(newest, sizeof(newest), "%s/rocks/%.200s", dir, f->d_name);
    }
    closedir(d);
    assert_int_equal(unlink(newest), 0);
}

/* Two drains in a process that is then killed; `first` becomes the note after the first. The
 * snapshot keeps RocksDB from merging meanwhile. */
static void drain_twice(const char *dir, const char *first)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct engine_snapshot *s;
        struct err err;
        char end[PLACE_MAX];
        struct engine *e = opened(dir);
        must(e->ops->snapshot(e, &s, &err), &err);
        drain_round(e, 1);
        note(dir, end);
        struct buf b = content(end);
        put_back(first, buf_bytes(&b));
        drain_round(e, 2);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A change that failed, yet reached the disk: its files are gone. What was reported as done must not
 * be excused so, and a refused opening changes nothing. */
static void files_that_are_gone(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[PLACE_MAX], end[PLACE_MAX], kept[PLACE_MAX];
    struct engine_mark mark;
    struct err err;
    assert_true(temp_dir_make(dir, "gone"));
    note(dir, end);
    snprintf(kept, sizeof(kept), "%s/first", dir);
    drain_twice(dir, kept);
    remove_newest_table(dir);
    manifest(dir, path);
    struct buf before = content(path);
    refused(dir, "No such file");
    struct buf after = content(path);
    assert_true(bytes_eq(buf_bytes(&before), buf_bytes(&after)));
    struct buf first = content(kept);
    put_back(end, buf_bytes(&first));
    /* As if the second drain had never come to an end: the log repeats it. */
    struct engine *e = opened(dir);
    must(e->ops->persisted(e, RANGE, &mark, &err), &err);
    assert_int_equal(mark.index, 1);
    drain_round(e, 2);
    closed(e);
    holds(dir, 2);
    buf_deinit(&first);
    buf_deinit(&before);
    buf_deinit(&after);
    assert_true(temp_dir_remove(dir));
}

/* The note helps, but nothing hangs on it. */
static void a_note_that_is_damaged(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], copy[PLACE_MAX], path[PLACE_MAX], end[PLACE_MAX];
    struct err err;
    assert_true(temp_dir_make(dir, "note"));
    note(dir, end);
    struct engine *e = opened(dir);
    drain_round(e, 1);
    snprintf(copy, sizeof(copy), "%s/copy", dir);
    must(e->ops->copy(e, copy, &err), &err);
    closed(e);
    struct buf sound = content(end);
    for (size_t i = 0; i < sound.len; i++) {
        struct buf bad = content(end);
        bad.data[i] ^= 4;
        put_back(end, buf_bytes(&bad));
        holds(dir, 1);
        buf_deinit(&bad);
    }
    assert_int_equal(unlink(end), 0);
    manifest(dir, path);
    append_torn(path);
    refused(dir, "MANIFEST-"); /* it may be rot */
    /* A copy has its own. */
    manifest(copy, path);
    append_torn(path);
    holds(copy, 1);
    buf_deinit(&sound);
    assert_true(temp_dir_remove(dir));
}

/* The very first opening was cut: there is no note yet, and nothing to lose. */
static void a_first_opening_that_was_cut(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[PLACE_MAX], end[PLACE_MAX];
    assert_true(temp_dir_make(dir, "first"));
    note(dir, end);
    closed(opened(dir));
    for (size_t less = 1; less < 60; less += 5) {
        manifest(dir, path);
        struct buf part = content(path);
        assert_true(part.len > less);
        part.len -= less;
        put_back(path, buf_bytes(&part));
        append_torn(path);
        assert_int_equal(unlink(end), 0);
        holds(dir, 0);
        buf_deinit(&part);
    }
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_that_are_gone), /* first: it forks, and threads do not follow */
        cmocka_unit_test(torn_ends),
        cmocka_unit_test(rot),
        cmocka_unit_test(a_manifest_that_is_not_noted),
        cmocka_unit_test(a_note_that_is_damaged),
        cmocka_unit_test(a_first_opening_that_was_cut),
    };
    if (getenv("ENGINE_TEST"))
        cmocka_set_test_filter(getenv("ENGINE_TEST"));
    return cmocka_run_group_tests_name("engine_rocks_manifest", tests, NULL, NULL);
}
