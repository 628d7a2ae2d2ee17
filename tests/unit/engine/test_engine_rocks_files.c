/* test_engine_rocks_files.c - what a folder holds after many short lives, closed or killed. */
#include "storage/engine/engine_testing.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RANGE = 1, KEYS = 40, ROUNDS = 50, KILLED = 12 };

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

/* Round r (from 1) writes every key at versions of its own, and a key that is only its. */
static enum status drain_round(struct engine *e, unsigned r, struct err *err)
{
    struct table *t = table_new();
    enum status st = t ? ST_OK : ST_NO_MEMORY;
    for (unsigned i = 0; st == ST_OK && i <= KEYS; i++) {
        char key[24];
        int n = snprintf(key, sizeof(key), i < KEYS ? "key%05u" : "only%05u", i < KEYS ? i : r);
        struct record rec = {.version = {(uint64_t)r * 1000 + i, 0},
                             .kind = RECORD_PUT,
                             .writer = BYTES_EMPTY,
                             .value = BYTES(key, (size_t)n)};
        st = table_put(t, BYTES(key, (size_t)n), &rec, NULL);
    }
    struct engine_mark mark = {.index = r, .term = 1, .version = {(uint64_t)r * 1000 + KEYS, 0}};
    if (st == ST_OK)
        st = e->ops->drain(e, RANGE, t, &mark, err);
    table_unref(t);
    return st;
}

static void check_round(struct engine *e, unsigned r)
{
    struct engine_mark mark;
    struct engine_snapshot *s;
    struct engine_stats stats;
    struct err err;
    e->ops->stats(e, &stats);
    assert_int_equal(stats.live_rows, r ? KEYS + r : 0);
    assert_int_equal(stats.past_rows, r ? KEYS * (r - 1) : 0);
    assert_int_equal(stats.when_rows, (KEYS + 1) * r);
    must(e->ops->persisted(e, RANGE, &mark, &err), &err);
    assert_int_equal(mark.index, r);
    must(e->ops->snapshot(e, &s, &err), &err);
    for (unsigned past = 1; past <= r; past++) {
        struct record rec;
        struct engine_pin pin = {0};
        char key[24];
        int n = snprintf(key, sizeof(key), "only%05u", past);
        must(e->ops->get(e, s, BYTES(key, (size_t)n), VERSION_MAX, false, &rec, &pin, &err), &err);
        assert_int_equal(rec.version.hlc, past * 1000 + KEYS);
        engine_pin_release(&pin);
        must(e->ops->get(e, s, BYTES_LIT("key00007"), (struct version){past * 1000 + 999, 0}, false,
                         &rec, &pin, &err),
             &err);
        assert_int_equal(rec.version.hlc, past * 1000 + 7);
        engine_pin_release(&pin);
    }
    e->ops->snapshot_release(e, s);
}

struct count {
    unsigned logs, filled_logs, tables, options, infos, manifests, others;
};

static bool ends(const char *name, const char *with)
{
    size_t n = strlen(name), m = strlen(with);
    return n >= m && strcmp(name + n - m, with) == 0;
}

static struct count count_files(const char *dir)
{
    struct count c = {0};
    char path[TEMP_DIR_MAX + 300];
    snprintf(path, sizeof(path), "%s/rocks", dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *f; (f = readdir(d)) != NULL;) {
        struct stat st;
        snprintf(path, sizeof(path), "%s/rocks/%s", dir, f->d_name);
        if (*f->d_name == '.' || stat(path, &st) != 0)
            continue;
        if (ends(f->d_name, ".log")) {
            c.logs++;
            c.filled_logs += st.st_size != 0;
        } else if (ends(f->d_name, ".sst")) {
            c.tables++;
        } else if (strncmp(f->d_name, "OPTIONS", 7) == 0) {
            c.options++;
        } else if (strncmp(f->d_name, "LOG", 3) == 0 && strcmp(f->d_name, "LOCK") != 0) {
            c.infos++;
        } else if (strncmp(f->d_name, "MANIFEST", 8) == 0) {
            c.manifests++;
        } else {
            c.others++; /* CURRENT, IDENTITY, LOCK */
        }
    }
    closedir(d);
    return c;
}

static void check_files(const char *dir, unsigned tables_max)
{
    struct count c = count_files(dir);
    if (c.logs != 1 || c.filled_logs != 0 || c.options > 2 || c.infos > 2 || c.manifests != 1 ||
        c.tables > tables_max || c.others != 3)
        fail_msg("logs %u (%u not empty), tables %u of at most %u, options %u, infos %u, "
                 "manifests %u, others %u",
                 c.logs, c.filled_logs, c.tables, tables_max, c.options, c.infos, c.manifests,
                 c.others);
}

/* Sorted files on disk are those of the DB: none is left behind. Merging is awaited by compact. */
static void check_no_leftover(const char *dir, struct engine *e)
{
    struct engine_stats s;
    struct err err;
    must(e->ops->compact(e, &err), &err);
    e->ops->stats(e, &s);
    check_files(dir, (unsigned)s.files);
    assert_true(s.files <= 12);
}

static void short_lives(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX];
    struct engine *e = NULL;
    struct err err;
    assert_true(temp_dir_make(dir, "lives"));
    for (unsigned r = 1; r <= ROUNDS; r++) {
        must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
        check_round(e, r - 1);
        must(drain_round(e, r, &err), &err);
        e->ops->close(e);
        check_files(dir, 120); /* four a drain; merging may lag behind by 24 drains */
    }
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    check_round(e, ROUNDS);
    check_no_leftover(dir, e);
    check_round(e, ROUNDS);
    must(e->ops->verify(e, RANGE, NULL, NULL, NULL, &err), &err);
    e->ops->close(e);
    assert_true(temp_dir_remove(dir));
}

/* A process of its own, which ends without closing, as if killed, or comes and reads. A failed
 * assertion ends it with the other tests, and not with 0. */
static void live(const char *dir, unsigned round, bool reads)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct engine_options read_only = {.read_only = true};
        struct engine *e = NULL;
        struct err err;
        must(engine_rocks_open(env_linux(), dir, reads ? &read_only : NULL, &e, &err), &err);
        if (reads) {
            check_round(e, round);
            e->ops->close(e);
        } else {
            must(drain_round(e, round, &err), &err);
        }
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* This process has no engine before the last fork: threads of RocksDB that a child does not have,
 * and believes in, are waited for without end. */
static void killed_lives(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX];
    struct engine *e = NULL;
    struct err err;
    assert_true(temp_dir_make(dir, "killed"));
    for (unsigned r = 1; r <= KILLED; r++) {
        live(dir, r, false);
        assert_int_equal(count_files(dir).logs, 1);
        live(dir, r, true);
    }
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    check_round(e, KILLED);
    check_no_leftover(dir, e);
    must(e->ops->verify(e, RANGE, NULL, NULL, NULL, &err), &err);
    e->ops->close(e);
    assert_true(temp_dir_remove(dir));
}

/* What an older build left: many empty logs. A log with something in it is RocksDB's to judge; in
 * any case nothing is lost. */
static void old_logs(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 32];
    struct engine *e = NULL;
    struct err err;
    assert_true(temp_dir_make(dir, "logs"));
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    must(drain_round(e, 1, &err), &err);
    e->ops->close(e);
    for (unsigned i = 1; i <= 12; i++) {
        snprintf(path, sizeof(path), "%s/rocks/%06u.log", dir, 100 + i);
        must(env_write_file(env_linux(), path, i == 3 ? BYTES_LIT("x") : BYTES_EMPTY, &err), &err);
    }
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    check_round(e, 1);
    struct count c = count_files(dir);
    assert_int_equal(c.logs - c.filled_logs, 1);
    assert_true(c.filled_logs <= 1);
    must(drain_round(e, 2, &err), &err);
    e->ops->close(e);
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    check_round(e, 2);
    must(e->ops->verify(e, RANGE, NULL, NULL, NULL, &err), &err);
    e->ops->close(e);
    assert_true(temp_dir_remove(dir));
}

/* A folder of format 1, whose marks count nothing: it opens, takes drains, and counts no more than
 * it knows. Writing makes it format 2. */
static void old_marks(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 32];
    uint8_t key[ENGINE_MARK_KEY_BYTES];
    struct engine *e = NULL;
    struct engine_stats stats;
    struct engine_mark mark = {.index = 1, .term = 1, .version = {1000 + KEYS, 0}}, have;
    struct engine_counts unknown = {0};
    struct buf value = BUF_INIT;
    struct err err;
    assert_true(temp_dir_make(dir, "old"));
    snprintf(path, sizeof(path), "%s/engine.format", dir);
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    must(drain_round(e, 1, &err), &err);
    engine_mark_key(RANGE, key);
    assert_int_equal(engine_mark_value(&value, &mark, 0, &unknown), ST_OK);
    struct bytes row = buf_bytes(&value);
    must(engine_rocks_test_raw(e, ENGINE_LIVE, BYTES(key, sizeof(key)), &row, &err), &err);
    e->ops->close(e);
    must(env_write_file(env_linux(), path, BYTES_LIT("varve-rocks 1\n"), &err), &err);
    struct engine_options read_only = {.read_only = true};
    for (int i = 0; i < 2; i++) {
        must(engine_rocks_open(env_linux(), dir, i ? NULL : &read_only, &e, &err), &err);
        must(e->ops->persisted(e, RANGE, &have, &err), &err);
        assert_int_equal(have.index, 1);
        must(e->ops->verify(e, RANGE, NULL, NULL, NULL, &err), &err);
        if (i)
            must(drain_round(e, 2, &err), &err);
        e->ops->close(e);
        buf_clear(&value);
        assert_int_equal(env_read_file(env_linux(), path, 64, &value, &err), ST_OK);
        assert_true(bytes_eq(buf_bytes(&value),
                             i ? BYTES_LIT("varve-rocks 2\n") : BYTES_LIT("varve-rocks 1\n")));
    }
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    must(e->ops->persisted(e, RANGE, &have, &err), &err);
    assert_int_equal(have.index, 2);
    must(e->ops->verify(e, RANGE, NULL, NULL, NULL, &err), &err);
    e->ops->stats(e, &stats);
    assert_true(stats.live_rows <= 4 * KEYS);
    e->ops->close(e);
    buf_deinit(&value);
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_lives), /* first: it forks, and RocksDB's threads do not follow */
        cmocka_unit_test(short_lives),
        cmocka_unit_test(old_logs),
        cmocka_unit_test(old_marks),
    };
    if (getenv("ENGINE_TEST"))
        cmocka_set_test_filter(getenv("ENGINE_TEST"));
    return cmocka_run_group_tests_name("engine_rocks_files", tests, NULL, NULL);
}
