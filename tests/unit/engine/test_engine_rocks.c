#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"
#include "unit/engine/suite_engine.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const struct backend suite_backend = {"rocks", 8, engine_rocks_open, engine_rocks_test_raw,
                                      engine_rocks_test_fail_step};

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

/* 100 documents of 2 KiB, 200 versions each, 20 bytes changed from one to the next: 15 % of the sum
 * at most. */
static void disk_budget(void **state)
{
    (void)state;
    enum { DOCS = 100, VERSIONS = 200, BYTES_EACH = 2048, PER_DRAIN = 20 };
    static uint8_t docs[DOCS][BYTES_EACH];
    char dir[TEMP_DIR_MAX];
    struct engine *e = NULL;
    struct err err;
    struct test_rng rng;
    test_rng_init(&rng, 1);
    test_rng_bytes(&rng, docs, sizeof(docs));
    assert_true(temp_dir_make(dir, "budget"));
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    uint64_t clock = 1 << 20;
    for (int part = 0; part < VERSIONS / PER_DRAIN; part++) {
        struct table *t = table_new();
        for (int v = 0; v < PER_DRAIN; v++) {
            for (int d = 0; d < DOCS; d++) {
                char key[16];
                size_t at = test_rng_below(&rng, BYTES_EACH - 20);
                test_rng_bytes(&rng, &docs[d][at], 20);
                int n = snprintf(key, sizeof(key), "doc%05d", d);
                struct record r = {.version = {++clock, 0},
                                   .kind = RECORD_PUT,
                                   .type = RECORD_DOC,
                                   .writer = BYTES_EMPTY,
                                   .value = BYTES(docs[d], BYTES_EACH)};
                assert_int_equal(table_put(t, BYTES(key, (size_t)n), &r, NULL), ST_OK);
            }
        }
        struct engine_mark mark = {(uint64_t)part + 1, 1, {clock, 0}};
        must(e->ops->drain(e, 1, t, &mark, &err), &err);
        table_unref(t);
    }
    must(e->ops->compact(e, &err), &err);
    struct engine_stats s;
    e->ops->stats(e, &s);
    uint64_t disk = s.live_bytes + s.past_bytes + s.when_bytes,
             sum = (uint64_t)DOCS * VERSIONS * BYTES_EACH;
    printf("disk budget: %llu of %llu bytes, %.1f %%\n", (unsigned long long)disk,
           (unsigned long long)sum, 100.0 * (double)disk / (double)sum);
    assert_true(disk > 0);
    assert_true(disk * 100 <= sum * 15);
    e->ops->close(e);
    assert_true(temp_dir_remove(dir));
}

struct seen {
    unsigned findings;
    bool named;
};

static void see(void *arg, const struct engine_finding *f)
{
    struct seen *s = arg;
    s->findings++;
    s->named |= strstr(f->file, ".sst") != NULL;
}

/* A byte turned in every sorted file in turn: each is found, and the file is named. */
static void bad_blocks(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 300];
    struct engine *e = NULL;
    struct err err;
    struct buf names = BUF_INIT;
    assert_true(temp_dir_make(dir, "rot"));
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    for (unsigned part = 0; part < 2; part++) {
        struct table *t = table_new();
        for (unsigned i = 0; i < 200; i++) {
            char key[16];
            int n = snprintf(key, sizeof(key), "key%05u", i);
            struct record r = {.version = {1000 + part * 1000 + i, 0},
                               .kind = RECORD_PUT,
                               .writer = BYTES_EMPTY,
                               .value = BYTES(key, (size_t)n)};
            assert_int_equal(table_put(t, BYTES(key, (size_t)n), &r, NULL), ST_OK);
        }
        struct engine_mark mark = {part + 1, 1, {1199 + part * 1000, 0}};
        must(e->ops->drain(e, 1, t, &mark, &err), &err);
        table_unref(t);
    }
    e->ops->close(e);
    snprintf(path, sizeof(path), "%s/rocks", dir);
    must(env_list(env_linux(), path, &names, &err), &err);
    unsigned files = 0;
    for (size_t at = 0; at < names.len;) {
        const char *name = (const char *)names.data + at;
        at += strlen(name) + 1;
        if (!strstr(name, ".sst"))
            continue;
        files++;
        uint8_t byte;
        snprintf(path, sizeof(path), "%s/rocks/%s", dir, name);
        int fd = open(path, O_RDWR);
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, &byte, 1, 20), 1);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, 20), 1);
        struct seen s = {0};
        struct engine_options read_only = {.read_only = true}; /* or merging would rewrite files */
        enum status st = engine_rocks_open(env_linux(), dir, &read_only, &e, &err);
        if (st == ST_OK) {
            st = e->ops->verify(e, 1, see, NULL, &s, &err);
            e->ops->close(e);
            assert_int_equal(s.findings, 1);
            assert_true(s.named);
        } else {
            assert_non_null(strstr(err.detail, name)); /* read at open already */
        }
        assert_int_equal(st, ST_CORRUPT);
        byte ^= 0x40;
        assert_int_equal(pwrite(fd, &byte, 1, 20), 1);
        close(fd);
    }
    assert_true(files >= 5);
    buf_deinit(&names);
    assert_true(temp_dir_remove(dir));
}

static void put_file(const char *dir, const char *name, const char *text)
{
    struct err err;
    char path[TEMP_DIR_MAX + 32];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    must(env_write_file(env_linux(), path, BYTES_STR(text), &err), &err);
}

static void formats(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 32];
    struct engine *e = NULL, *second = NULL;
    struct err err;
    assert_true(temp_dir_make(dir, "format"));
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    assert_int_equal(engine_rocks_open(env_linux(), dir, NULL, &second, &err), ST_LOCKED);
    assert_null(second);
    e->ops->close(e);
    put_file(dir, "engine.format", "varve-rocks 2\n");
    assert_int_equal(engine_rocks_open(env_linux(), dir, NULL, &second, &err), ST_FORMAT_NEWER);
    put_file(dir, "engine.format", "something\n");
    assert_int_equal(engine_rocks_open(env_linux(), dir, NULL, &second, &err), ST_CORRUPT);
    snprintf(path, sizeof(path), "%s/engine.format", dir);
    must(env_unlink(env_linux(), path, &err), &err);
    assert_int_equal(engine_rocks_open(env_linux(), dir, NULL, &second, &err), ST_CORRUPT);
    put_file(dir, "engine.format", "varve-rocks 1\n");
    put_file(dir, "incoming/live-000001.sst", "a leftover");
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    snprintf(path, sizeof(path), "%s/incoming/live-000001.sst", dir);
    assert_false(env_exists(env_linux(), path));
    e->ops->close(e);
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suite_random),     cmocka_unit_test(suite_half_drains),
        cmocka_unit_test(suite_cut_vacuum), cmocka_unit_test(suite_long_history),
        cmocka_unit_test(suite_large),      cmocka_unit_test(suite_move),
        cmocka_unit_test(suite_copy),       cmocka_unit_test(suite_refusals),
        cmocka_unit_test(suite_no_memory),  cmocka_unit_test(suite_verify_planted),
        cmocka_unit_test(disk_budget),      cmocka_unit_test(bad_blocks),
        cmocka_unit_test(formats),
    };
    return cmocka_run_group_tests_name("engine_rocks", tests, suite_setup, NULL);
}
