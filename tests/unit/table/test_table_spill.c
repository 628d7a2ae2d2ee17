/* A table that was spilled to a file: what is wrong with the file, the disk or memory is noticed. */
#include "base/alloc.h"
#include "storage/table/table_spill.h"
#include "support/tempdir.h"
#include "unit/table/check_table.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* A disk on which a byte at `rot_at` of what is written changes on the way, or all writes fail. */
static uint64_t rot_at;
static bool full;

static enum status bad_pwritev(struct env_file *f, uint64_t off, const struct bytes *parts,
                               size_t n, struct err *err)
{
    assert_int_equal(n, 1);
    if (full)
        return err_set(err, ST_DISK_FULL, "no room");
    uint8_t *copy = malloc(parts->len);
    assert_non_null(copy);
    memcpy(copy, parts->data, parts->len);
    if (rot_at >= off && rot_at - off < parts->len)
        copy[rot_at - off] ^= 0x10;
    struct bytes part = BYTES(copy, parts->len);
    enum status st = env_linux()->ops->pwritev(f, off, &part, 1, err);
    free(copy);
    return st;
}

static enum status bad_pread(struct env_file *f, uint64_t off, void *out, size_t len, size_t *ret,
                             struct err *err)
{
    (void)f, (void)off, (void)out, (void)len, (void)ret;
    return err_set(err, ST_IO_ERROR, "the disk is gone");
}

static enum status bad_open(struct env *env, const char *path, unsigned flags,
                            struct env_file **ret, struct err *err)
{
    enum status st = env_linux()->ops->open(env_linux(), path, flags, ret, err);
    if (st == ST_OK)
        (*ret)->ops = env->ops;
    return st;
}

/* As a drain reads it. */
static enum status whole(const struct table *t)
{
    struct table_walk w;
    struct table_briefs briefs;
    struct table_brief b;
    struct arena arena;
    struct err err;
    const struct table_entry *e;
    bool more = true;
    err_init(&err);
    arena_init(&arena, 0);
    enum status st = table_walk_first(&w, t, &err);
    while (st == ST_OK && table_walk_valid(&w))
        st = table_walk_take(&w, &arena, &e, &err);
    table_walk_deinit(&w);
    arena_deinit(&arena);
    table_briefs_init(&briefs, t);
    while (st == ST_OK && more)
        st = table_briefs_next(&briefs, &more, &b, &err);
    table_briefs_deinit(&briefs);
    return st;
}

/* A full disk is an error and leaves nothing; what changed on the disk is noticed wherever it lies. */
static void test_table_spill_faults(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 16];
    struct env_ops ops = *env_linux()->ops;
    struct env bad = {.ops = &ops};
    struct table *t = check_filled(NULL, 0), *spilled = NULL;
    struct buf names = BUF_INIT;
    struct err err;
    err_init(&err);
    ops.open = bad_open;
    ops.pwritev = bad_pwritev;
    assert_true(temp_dir_make(dir, "table"));
    snprintf(path, sizeof(path), "%s/spilled", dir);
    rot_at = UINT64_MAX;
    full = true;
    assert_int_equal(table_spill(t, &bad, path, &spilled, &err), ST_DISK_FULL);
    assert_null(spilled);
    full = false;
    assert_int_equal(table_spill(t, &bad, path, &spilled, &err), ST_OK);
    assert_int_equal(whole(spilled), ST_OK);
    ops.pread = bad_pread;
    assert_int_equal(whole(spilled), ST_IO_ERROR);
    ops.pread = env_linux()->ops->pread;
    /* Memory: the index, and the rest is the system's to drop. */
    assert_true(table_bytes(spilled) < table_bytes(t) / 8);
    uint64_t bytes = table_bytes(t) * 9 / 10;
    table_unref(spilled);
    for (rot_at = 5; rot_at < bytes; rot_at += bytes / 7) {
        assert_int_equal(table_spill(t, &bad, path, &spilled, &err), ST_OK);
        assert_int_equal(whole(spilled), ST_CORRUPT);
        table_unref(spilled);
    }
    assert_int_equal(env_list(env_linux(), dir, &names, &err), ST_OK);
    assert_int_equal(names.len, 0); /* no file is left */
    buf_deinit(&names);
    assert_true(temp_dir_remove(dir));
    table_unref(t);
}

/* The file of a table, short of its second half, is what a disk is that cannot give it back. */
static __attribute__((noreturn)) void get_of_lost(const struct table *t)
{
    struct rlimit no_core = {0, 0};
    struct record rec;
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGBUS, SIG_DFL);
    for (uint64_t n = 0; n < table_count(t); n++) {
        const struct table_entry *e = table_entry_nth(t, n);
        (void)table_get(t, table_entry_key(e), VERSION_MAX, &rec);
    }
    _exit(4); /* it was answered something */
}

static void test_table_spill_lost(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 16];
    struct table *t = check_filled(NULL, 0), *spilled = NULL;
    struct err err;
    int how = 0;
    err_init(&err);
    assert_true(temp_dir_make(dir, "table"));
    snprintf(path, sizeof(path), "%s/spilled", dir);
    assert_int_equal(table_spill(t, env_linux(), path, &spilled, &err), ST_OK);
    assert_int_equal(env_truncate(spilled->spill->file, spilled->spill->bytes / 2, &err), ST_OK);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        get_of_lost(spilled);
    assert_int_equal(waitpid(pid, &how, 0), pid);
    assert_true(WIFSIGNALED(how));
    assert_int_equal(WTERMSIG(how), SIGBUS);
    assert_int_equal(whole(spilled), ST_CORRUPT); /* a drain is told */
    table_unref(spilled);
    table_unref(t);
    assert_true(temp_dir_remove(dir));
}

/* Each allocation fails in turn; values that lay in blobs, and a key of many versions. */
static void test_table_spill_no_memory(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 16];
    struct table *t = table_new(), *spilled = NULL;
    struct blob *b = blob_new(3 << 20);
    assert_true(t && b);
    memset(b->data, 'v', b->len);
    assert_true(temp_dir_make(dir, "table"));
    snprintf(path, sizeof(path), "%s/spilled", dir);
    for (uint64_t i = 1; i <= 3000; i++) {
        size_t len = i % 1000 == 0 ? b->len : i % 100;
        struct record rec = {.version = {i, 0}, .kind = RECORD_PUT, .value = BYTES(b->data, len)};
        uint64_t key = i % 3 ? 7 : i;
        assert_int_equal(table_put(t, BYTES((uint8_t *)&key, sizeof(key)), &rec, b), ST_OK);
    }
    enum status st = ST_NO_MEMORY;
    for (int n = 1; st == ST_NO_MEMORY; n++) {
        struct err err;
        err_init(&err);
        mem_fail_at((uint64_t)n, 0);
        st = table_spill(t, env_linux(), path, &spilled, &err);
        mem_fail_at(0, 0);
        assert_true(st == ST_OK || !spilled);
        assert_true(n < 100);
    }
    assert_int_equal(st, ST_OK);
    assert_int_equal(table_count(spilled), table_count(t));
    for (uint64_t i = 0; i < table_count(t); i++) {
        struct record was, is;
        table_entry_record(table_entry_nth(t, i), &was);
        table_entry_record(table_entry_nth(spilled, i), &is);
        check_record(&is, &was);
        assert_true(table_get(spilled, table_entry_key(table_entry_nth(t, i)), was.version, &is));
        check_record(&is, &was);
    }
    check_walk(spilled); /* pieces that are as large as what lies in them */
    st = ST_NO_MEMORY;
    for (int n = 1; st == ST_NO_MEMORY; n++) {
        mem_fail_at((uint64_t)n, 0);
        st = whole(spilled);
        mem_fail_at(0, 0);
        assert_true(n < 100);
    }
    assert_int_equal(st, ST_OK);
    table_unref(spilled);
    table_unref(t);
    blob_unref(b);
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_spill_faults),
        cmocka_unit_test(test_table_spill_lost),
        cmocka_unit_test(test_table_spill_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
