#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"
#include "unit/engine/suite_engine.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
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
        struct engine_mark mark = {.index = (uint64_t)part + 1, .term = 1, .version = {clock, 0}};
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
        struct engine_mark mark = {
            .index = part + 1, .term = 1, .version = {1199 + part * 1000, 0}};
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

/* What verifying says while the byte at `at` is another: of an engine that is open, or (NULL) one that is
 * opened for it. */
static enum status with_rot(const char *dir, struct engine *e, int fd, off_t at)
{
    struct engine_options read_only = {.read_only = true}; /* or merging would rewrite files */
    struct engine *own = NULL;
    struct err err;
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    enum status st = e ? ST_OK : engine_rocks_open(env_linux(), dir, &read_only, &own, &err);
    e = e ? e : own;
    if (st == ST_OK)
        st = e->ops->verify(e, 1, NULL, NULL, NULL, &err);
    if (own)
        own->ops->close(own);
    byte ^= 0x40;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    return st;
}

/* Where it lies in the file; behind the file's end when it has none. */
static off_t number_of(const char *path)
{
    struct err err;
    struct buf file = BUF_INIT;
    must(env_read_file(env_linux(), path, 64 << 20, &file, &err), &err);
    const uint8_t *at = memmem(file.data, file.len, "global_seqno", 12);
    off_t number = (off_t)(at ? (size_t)(at - file.data) + 12 : file.len);
    buf_deinit(&file);
    return number;
}

/* At places all over each sorted file: among rows, in an index, in one of several pieces of a filter. What
 * an open engine has read before is read again; but for the number that linking a file in gave it. */
static void rot_all_over(const char *dir, struct engine *open_one)
{
    enum { PLACES = 11, ABOUT_ITSELF = 2048, STEP = 61 };
    char path[TEMP_DIR_MAX + 300];
    struct err err;
    struct buf names = BUF_INIT;
    snprintf(path, sizeof(path), "%s/rocks", dir);
    must(env_list(env_linux(), path, &names, &err), &err);
    for (size_t at = 0; at < names.len;) {
        const char *name = (const char *)names.data + at;
        at += strlen(name) + 1;
        if (!strstr(name, ".sst"))
            continue;
        snprintf(path, sizeof(path), "%s/rocks/%s", dir, name);
        int fd = open(path, O_RDWR);
        off_t size = lseek(fd, 0, SEEK_END), place = 0, number = number_of(path);
        while (place < size) {
            bool unknown = open_one && place >= number && place < number + 8;
            if (!unknown && with_rot(dir, open_one, fd, place) != ST_CORRUPT)
                fail_msg("%s: a turned bit at %lld of %lld was not found", name, (long long)place,
                         (long long)size);
            place += place < size - ABOUT_ITSELF ? size / PLACES : STEP;
        }
        close(fd);
    }
    buf_deinit(&names);
}

static void bad_anywhere(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct engine_options read_only = {.read_only = true};
    char dir[TEMP_DIR_MAX];
    struct engine *e = NULL;
    struct err err;
    assert_true(temp_dir_make(dir, "rot"));
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    struct table *t = table_new();
    for (uint64_t v = 1; v <= 2 * (uint64_t)MANY; v++) {
        char key[16];
        int n = snprintf(key, sizeof(key), "key%05u", (unsigned)(v % MANY));
        struct record r = {.version = {v, 0}, .kind = RECORD_PUT, .writer = BYTES_EMPTY};
        assert_int_equal(table_put(t, BYTES(key, (size_t)n), &r, NULL), ST_OK);
    }
    struct engine_mark mark = {.index = 1, .term = 1, .version = {2 * (uint64_t)MANY, 0}};
    must(e->ops->drain(e, 1, t, &mark, &err), &err);
    table_unref(t);
    e->ops->close(e);
    rot_all_over(dir, NULL);
    must(engine_rocks_open(env_linux(), dir, &read_only, &e, &err), &err);
    must(e->ops->verify(e, 1, NULL, NULL, NULL, &err), &err);
    rot_all_over(dir, e);
    must(e->ops->verify(e, 1, NULL, NULL, NULL, &err), &err);
    e->ops->close(e);
    assert_true(temp_dir_remove(dir));
}

/* A row that a reader has had in memory ever since. */
static void bad_beneath(void **state)
{
    (void)state;
    struct engine_options read_only = {.read_only = true};
    char dir[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 300];
    struct engine *e = NULL;
    struct err err;
    struct buf names = BUF_INIT;
    struct engine_snapshot *s;
    struct record rec;
    struct engine_pin pin = {0};
    assert_true(temp_dir_make(dir, "beneath"));
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    struct table *t = table_new();
    struct record r = {.version = {1, 0}, .kind = RECORD_PUT, .writer = BYTES_EMPTY};
    assert_int_equal(table_put(t, BYTES_LIT("k"), &r, NULL), ST_OK);
    struct engine_mark mark = {.index = 1, .term = 1, .version = {1, 0}};
    must(e->ops->drain(e, 1, t, &mark, &err), &err);
    table_unref(t);
    e->ops->close(e);
    must(engine_rocks_open(env_linux(), dir, &read_only, &e, &err), &err);
    must(e->ops->snapshot(e, &s, &err), &err);
    must(e->ops->get(e, s, BYTES_LIT("k"), VERSION_MAX, false, &rec, &pin, &err), &err);
    engine_pin_release(&pin);
    e->ops->snapshot_release(e, s);
    snprintf(path, sizeof(path), "%s/rocks", dir);
    must(env_list(env_linux(), path, &names, &err), &err);
    for (size_t at = 0; at < names.len; at += strlen((const char *)names.data + at) + 1) {
        const char *name = (const char *)names.data + at;
        if (!strstr(name, ".sst"))
            continue;
        snprintf(path, sizeof(path), "%s/rocks/%s", dir, name);
        int fd = open(path, O_RDWR);
        assert_int_equal(with_rot(dir, e, fd, 20), ST_CORRUPT);
        close(fd);
    }
    buf_deinit(&names);
    e->ops->close(e);
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
    put_file(dir, "engine.format", "varve-rocks 3\n");
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

static struct table *bulk_table(unsigned n, uint64_t *clock, struct test_rng *rng)
{
    static uint8_t value[4096];
    struct table *t = table_new();
    for (unsigned i = 0; i < n; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "key%05u", i);
        test_rng_bytes(rng, value, sizeof(value));
        struct record r = {.version = {++*clock, 0},
                           .kind = RECORD_PUT,
                           .writer = BYTES_EMPTY,
                           .value = BYTES(value, sizeof(value))};
        assert_int_equal(table_put(t, BYTES(key, (size_t)len), &r, NULL), ST_OK);
    }
    return t;
}

static void newest_is(struct engine *e, const char *key, uint64_t hlc)
{
    struct engine_snapshot *s;
    struct record rec;
    struct engine_pin pin = {0};
    struct err err;
    must(e->ops->snapshot(e, &s, &err), &err);
    must(e->ops->get(e, s, BYTES_STR(key), VERSION_MAX, false, &rec, &pin, &err), &err);
    assert_int_equal(rec.version.hlc, hlc);
    engine_pin_release(&pin);
    e->ops->snapshot_release(e, s);
}

/* A disk of its own, 96 MiB: drains fill it until one is refused; reads go on; with room again, so
 * do drains. First of all tests, because RocksDB's threads must see the disk as well. Needs the
 * right to mount. */
static void full_disk(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], filler[TEMP_DIR_MAX + 16], own[TEMP_DIR_MAX + 16];
    struct engine *e = NULL;
    struct err err;
    struct test_rng rng;
    test_rng_init(&rng, 4);
    assert_true(temp_dir_make(dir, "full"));
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", dir, "tmpfs", 0, "size=96m") != 0) {
        assert_true(temp_dir_remove(dir));
        skip();
    }
    snprintf(filler, sizeof(filler), "%s/filler", dir);
    snprintf(own, sizeof(own), "%s/engine", dir);
    must(engine_rocks_open(env_linux(), own, NULL, &e, &err), &err);
    uint64_t clock = 1 << 20, index = 0;
    for (int round = 0; round < 4; round++) {
        struct table *t = bulk_table(500, &clock, &rng);
        struct engine_mark mark = {.index = ++index, .term = 1, .version = {clock, 0}};
        must(e->ops->drain(e, 1, t, &mark, &err), &err);
        table_unref(t);
        newest_is(e, "key00499", clock);
        uint64_t before = clock;
        must(e->ops->compact(e, &err), &err); /* so that no merging gives room back meanwhile */

        /* Fill it up but for a little that differs by round, so that other steps of the drain fail.
         */
        uint64_t room;
        must(env_linux()->ops->free_space(env_linux(), dir, &room, &err), &err);
        int fd = open(filler, O_RDWR | O_CREAT, 0600);
        assert_true(fd >= 0);
        uint64_t leave = (uint64_t)round * (700 << 10);
        assert_int_equal(posix_fallocate(fd, 0, (off_t)(room - leave)), 0);
        close(fd);
        t = bulk_table(500, &clock, &rng);
        mark = (struct engine_mark){.index = ++index, .term = 1, .version = {clock, 0}};
        for (int i = 0; i < 3; i++) {
            enum status st = e->ops->drain(e, 1, t, &mark, &err);
            if (st != ST_DISK_FULL)
                fail_msg("round %d, %d: %s: %s", round, i, status_name(st), err.detail);
            newest_is(e, "key00499", before);
        }
        struct engine_mark have;
        must(e->ops->persisted(e, 1, &have, &err), &err);
        assert_int_equal(have.index, index - 1);
        if (round % 2) { /* it may also be closed and opened on a full disk, or refuse to, but
                            nothing is lost */
            e->ops->close(e);
            e = NULL;
            enum status st = engine_rocks_open(env_linux(), own, NULL, &e, &err);
            if (st == ST_OK)
                newest_is(e, "key00499", before);
            else
                assert_int_equal(st, ST_DISK_FULL);
        }
        assert_int_equal(unlink(filler), 0);
        if (!e)
            must(engine_rocks_open(env_linux(), own, NULL, &e, &err), &err);
        must(e->ops->drain(e, 1, t, &mark, &err), &err);
        newest_is(e, "key00499", clock);
        table_unref(t);
        must(e->ops->verify(e, 1, NULL, NULL, NULL, &err), &err);
    }
    e->ops->close(e);
    must(engine_rocks_open(env_linux(), own, NULL, &e, &err), &err);
    newest_is(e, "key00499", clock);
    e->ops->close(e);
    assert_int_equal(umount(dir), 0);
    assert_true(temp_dir_remove(dir));
}

/* Enough keys for several pieces of each filter: none of them may hide a row. */
static void many_keys(void **state)
{
    (void)state;
    enum { MANY = 40000 };
    struct test_rng rng;
    test_rng_init(&rng, 9);
    char dir[TEMP_DIR_MAX];
    struct engine *e = NULL;
    struct engine_snapshot *s;
    struct err err;
    assert_true(temp_dir_make(dir, "many"));
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    for (uint64_t part = 0; part < 2; part++) {
        struct table *t = table_new();
        for (unsigned i = 0; i < MANY; i++) {
            char key[16];
            int n = snprintf(key, sizeof(key), "%07u", i * 7);
            struct record r = {.version = {1 + part * MANY + i, 0},
                               .kind = part && i % 3 == 0 ? RECORD_DELETE : RECORD_PUT,
                               .writer = BYTES_EMPTY,
                               .value = BYTES_EMPTY};
            assert_int_equal(table_put(t, BYTES(key, (size_t)n), &r, NULL), ST_OK);
        }
        struct engine_mark mark = {.index = part + 1, .term = 1, .version = {(part + 1) * MANY, 0}};
        must(e->ops->drain(e, 1, t, &mark, &err), &err);
        table_unref(t);
    }
    for (int compacted = 0; compacted < 2; compacted++) {
        must(e->ops->snapshot(e, &s, &err), &err);
        for (unsigned i = 0; i < MANY; i++) {
            char key[16];
            struct record rec;
            struct engine_pin pin = {0};
            int n = snprintf(key, sizeof(key), "%07u", i * 7);
            must(e->ops->get(e, s, BYTES(key, (size_t)n), (struct version){MANY, 0}, false, &rec,
                             &pin, &err),
                 &err);
            assert_int_equal(rec.version.hlc, 1 + i);
            engine_pin_release(&pin);
            must(e->ops->get(e, s, BYTES(key, (size_t)n), VERSION_MAX, false, &rec, &pin, &err),
                 &err);
            assert_int_equal(rec.version.hlc, MANY + 1 + i);
            assert_int_equal(rec.kind, i % 3 == 0 ? RECORD_DELETE : RECORD_PUT);
            engine_pin_release(&pin);
        }
        e->ops->snapshot_release(e, s);
        must(e->ops->compact(e, &err), &err);
    }
    /* From a cold cache that warms up key by key, a cached read says TIMED_OUT or the truth, never
     * "not found". */
    e->ops->close(e);
    must(engine_rocks_open(env_linux(), dir, NULL, &e, &err), &err);
    must(e->ops->snapshot(e, &s, &err), &err);
    unsigned timed_out = 0, answered = 0;
    for (unsigned i = 0; i < MANY; i++) {
        char key[16];
        struct record rec;
        struct engine_pin pin = {0};
        uint64_t at = test_rng_chance(&rng, 1, 2) ? MANY : UINT64_MAX;
        unsigned k = (unsigned)test_rng_below(&rng, MANY);
        int n = snprintf(key, sizeof(key), "%07u", k * 7);
        enum status st = e->ops->get(e, s, BYTES(key, (size_t)n), (struct version){at, 0}, true,
                                     &rec, &pin, &err);
        timed_out += st == ST_TIMED_OUT;
        answered += st == ST_OK;
        if (st != ST_TIMED_OUT && st != ST_OK)
            fail_msg("cached read: %s after %u answers: %s", status_name(st), answered, err.detail);
        if (st == ST_OK)
            assert_int_equal(rec.version.hlc, at == MANY ? 1 + k : MANY + 1 + k);
        engine_pin_release(&pin);
        if (i % 50 == 0) {
            must(e->ops->get(e, s, BYTES(key, (size_t)n), (struct version){at, 0}, false, &rec,
                             &pin, &err),
                 &err);
            engine_pin_release(&pin);
        }
    }
    assert_true(timed_out > 0 && answered > 0);
    e->ops->snapshot_release(e, s);
    e->ops->close(e);
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_disk),
        cmocka_unit_test(many_keys),
        cmocka_unit_test(suite_random),
        cmocka_unit_test(suite_half_drains),
        cmocka_unit_test(suite_changes_order),
        cmocka_unit_test(suite_cut_vacuum),
        cmocka_unit_test(suite_long_history),
        cmocka_unit_test(suite_large),
        cmocka_unit_test(suite_move),
        cmocka_unit_test(suite_copy),
        cmocka_unit_test(suite_refusals),
        cmocka_unit_test(suite_no_memory),
        cmocka_unit_test(suite_verify_planted),
        cmocka_unit_test(suite_verify_random),
        cmocka_unit_test(disk_budget),
        cmocka_unit_test(bad_blocks),
        cmocka_unit_test(bad_anywhere),
        cmocka_unit_test(bad_beneath),
        cmocka_unit_test(formats),
    };
    if (getenv("ENGINE_TEST"))
        cmocka_set_test_filter(getenv("ENGINE_TEST"));
    return cmocka_run_group_tests_name("engine_rocks", tests, suite_setup, NULL);
}
