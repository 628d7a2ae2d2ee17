/* The store under many threads: counters by compare-and-set reach their sum, batches are seen
 * whole, versions rise along every reader, and a slow sync stands in nobody's way who only reads.
 * Runs under ThreadSanitizer (engine mem). */
#include "base/env/thread.h"
#include "node/store/store.h"
#include "support/cmocka.h"
#include "support/tempdir.h"
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 8, ROUNDS = 200, PAIRS = 16 };

struct fixture {
    char dir[TEMP_DIR_MAX];
    struct store *s;
    uint32_t id;
    struct collection *c;
    _Atomic bool stop;
    _Atomic unsigned failures;
    _Atomic uint64_t reads;
};

static void open_it(struct fixture *f, struct env *env, enum store_sync sync, const char *tag)
{
    struct err err;
    err_init(&err);
    assert_true(temp_dir_make(f->dir, tag));
    struct store_options o = {.engine_name = "mem",
                              .engine_open = engine_mem_open,
                              .cache_bytes = 1 << 20,
                              .table_bytes = 256 * 1024,
                              .spill_always = sync == STORE_SYNC_OFF,
                              .absent_misses = 100,
                              .absent_slice = 20,
                              .wal = {.segment_bytes = 1 << 20},
                              .sync = sync};
    enum status st = store_open(env, f->dir, &o, &f->s, &err);
    if (st != ST_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(store_collection_open(f->s, BYTES_LIT("t"), BYTES_EMPTY, &f->c, &err), ST_OK);
    f->id = collection_id(f->c);
}

static void close_it(struct fixture *f)
{
    struct err err;
    err_init(&err);
    assert_int_equal(store_close(f->s, &err), ST_OK);
    assert_true(temp_dir_remove(f->dir));
    assert_int_equal(f->failures, 0);
}

static struct bytes key_of(const struct fixture *f, const char *name, uint8_t out[64])
{
    out[0] = (uint8_t)(f->id >> 24);
    out[1] = (uint8_t)(f->id >> 16);
    out[2] = (uint8_t)(f->id >> 8);
    out[3] = (uint8_t)f->id;
    size_t len = strlen(name);
    memcpy(out + 4, name, len);
    return BYTES(out, 4 + len);
}

static enum status put(struct fixture *f, struct entry_op *ops, size_t n,
                       const struct store_require *req, struct version *ret)
{
    struct store_write w = {
        .requires = req, .n_requires = req ? 1 : 0, .collections = &f->c, .n_collections = 1};
    struct err err;
    err_init(&err);
    enum status st = entry_encode(ops, n, BYTES_EMPTY, &w.entry, &err);
    if (st == ST_OK)
        st = store_propose(f->s, &w, &err);
    blob_unref(w.entry);
    *ret = w.version;
    return st;
}

#define EXPECT(f, cond)                                                                            \
    ((cond) ? (void)0                                                                              \
            : (void)(atomic_fetch_add(&(f)->failures, 1),                                          \
                     fprintf(stderr, "line %d: %s\n", __LINE__, #cond)))

/* ---- a counter ---- */

static void count_up(void *arg)
{
    struct fixture *f = arg;
    uint8_t space[64];
    struct bytes key = key_of(f, "counter", space);
    struct buf buf = BUF_INIT;
    struct err err;
    err_init(&err);
    for (int i = 0; i < ROUNDS;) {
        struct record rec;
        struct version v;
        uint64_t n = 0;
        struct store_require req = {.key = key, .what = STORE_REQUIRE_ABSENT};
        enum status st = store_get(f->s, key, VERSION_NONE, &buf, &rec, &err);
        if (st == ST_OK) {
            memcpy(&n, rec.value.data, sizeof(n));
            req = (struct store_require){key, STORE_REQUIRE_VERSION, rec.version};
        }
        EXPECT(f, st == ST_OK || st == ST_NOT_FOUND);
        n++;
        struct entry_op op = {.key = key, .kind = RECORD_PUT, .value = BYTES(&n, sizeof(n))};
        st = put(f, &op, 1, &req, &v);
        EXPECT(f, st == ST_OK || st == ST_PRECONDITION_FAILED);
        i += st == ST_OK;
    }
    buf_deinit(&buf);
}

static void run(struct fixture *f, void (*fn)(void *), struct env_thread *threads, int n)
{
    struct err err;
    err_init(&err);
    for (int i = 0; i < n; i++)
        assert_int_equal(env_thread_start(&threads[i], "test", fn, f, &err), ST_OK);
}

static void join(struct env_thread *threads, int n)
{
    for (int i = 0; i < n; i++)
        env_thread_join(&threads[i]);
}

static void test_compare_and_set_counts_exactly(void **state)
{
    (void)state;
    static struct fixture f;
    f = (struct fixture){0};
    struct env_thread threads[THREADS];
    open_it(&f, env_linux(), STORE_SYNC_OFF, "cas");
    run(&f, count_up, threads, THREADS);
    join(threads, THREADS);
    uint8_t space[64];
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    err_init(&err);
    uint64_t n;
    assert_int_equal(store_get(f.s, key_of(&f, "counter", space), VERSION_NONE, &buf, &rec, &err),
                     ST_OK);
    memcpy(&n, rec.value.data, sizeof(n));
    assert_int_equal(n, THREADS * ROUNDS);
    buf_deinit(&buf);
    close_it(&f);
}

/* ---- batches are seen whole, versions never go back, checkpoints run beside ---- */

static void write_pairs(void *arg)
{
    struct fixture *f = arg;
    uint8_t space[PAIRS][64];
    char name[16];
    for (uint64_t n = 1; n <= ROUNDS; n++) {
        struct entry_op ops[PAIRS];
        struct version v;
        for (int i = 0; i < PAIRS; i++) {
            snprintf(name, sizeof(name), "p%02d", i);
            ops[i] = (struct entry_op){.key = key_of(f, name, space[i]),
                                       .kind = RECORD_PUT,
                                       .value = BYTES(&n, sizeof(n))};
        }
        EXPECT(f, put(f, ops, PAIRS, NULL, &v) == ST_OK);
    }
}

static void read_pairs(void *arg)
{
    struct fixture *f = arg;
    struct err err;
    struct buf buf = BUF_INIT;
    uint8_t lower[64], upper[64];
    struct version newest = VERSION_NONE;
    err_init(&err);
    struct store_scan q = {.in = {key_of(f, "p", lower), key_of(f, "q", upper)}};
    while (!atomic_load(&f->stop)) {
        struct store_iter *it;
        struct store_row row;
        struct version seen = VERSION_NONE;
        int rows = 0;
        EXPECT(f, store_scan(f->s, &q, &it, &err) == ST_OK);
        while (store_iter_next(it, &row, &err) > 0) {
            EXPECT(f, rows == 0 || version_cmp(row.rec.version, seen) == 0);
            seen = row.rec.version;
            rows++;
        }
        store_iter_close(it);
        EXPECT(f, rows == 0 || rows == PAIRS);
        EXPECT(f, version_cmp(seen, newest) >= 0);
        newest = seen;
        struct record rec;
        uint8_t space[64];
        enum status st = store_get(f->s, key_of(f, "p03", space), VERSION_NONE, &buf, &rec, &err);
        EXPECT(f, st == ST_OK ? version_cmp(rec.version, newest) >= 0 : rows == 0);
        if (st == ST_OK)
            newest = rec.version;
        atomic_fetch_add(&f->reads, 1);
    }
    buf_deinit(&buf);
}

static void checkpoint_often(void *arg)
{
    struct fixture *f = arg;
    struct err err;
    err_init(&err);
    while (!atomic_load(&f->stop)) {
        EXPECT(f, store_checkpoint(f->s, &err) == ST_OK);
        EXPECT(f, store_verify(f->s, NULL, NULL, NULL, &err) == ST_OK);
        env_sleep_ms(env_linux(), 2);
    }
}

/* Every change exactly once, in order, while writers and checkpoints run. */
static void follow(void *arg)
{
    struct fixture *f = arg;
    struct err err;
    struct version after = VERSION_NONE;
    struct buf after_key = BUF_INIT;
    uint64_t got = 0;
    err_init(&err);
    while (got < 2 * ROUNDS * PAIRS) {
        struct store_iter *it;
        struct store_row row;
        if (!store_wait_changes(f->s, BYTES_EMPTY, after, 100000, NULL))
            break; /* the writers died: the count below says so */
        EXPECT(f,
               store_changes(f->s, BYTES_EMPTY, after, buf_bytes(&after_key), &it, &err) == ST_OK);
        while (store_iter_next(it, &row, &err) > 0) {
            int c = version_cmp(row.rec.version, after);
            EXPECT(f, c > 0 || (c == 0 && bytes_cmp(row.key, buf_bytes(&after_key)) > 0));
            after = row.rec.version;
            buf_clear(&after_key);
            EXPECT(f, buf_append(&after_key, row.key.data, row.key.len) == ST_OK);
            got++;
        }
        store_iter_close(it);
    }
    EXPECT(f, got == 2 * ROUNDS * PAIRS);
    buf_deinit(&after_key);
}

static void test_batches_are_seen_whole_beside_checkpoints(void **state)
{
    (void)state;
    static struct fixture f;
    f = (struct fixture){0};
    struct env_thread writers[2], readers[2], checkpointer, follower;
    open_it(&f, env_linux(), STORE_SYNC_OFF, "pairs");
    run(&f, follow, &follower, 1);
    run(&f, read_pairs, readers, 2);
    run(&f, checkpoint_often, &checkpointer, 1);
    run(&f, write_pairs, writers, 2);
    join(writers, 2);
    join(&follower, 1);
    atomic_store(&f.stop, true);
    join(readers, 2);
    join(&checkpointer, 1);
    assert_true(f.reads > 0);
    close_it(&f);
}

/* ---- absent keys, while filters of them are made ---- */

/* Keys that were asked for in vain are put, and from then on are there. */
static void look_then_put(void *arg)
{
    struct fixture *f = arg;
    static _Atomic unsigned next;
    unsigned me = atomic_fetch_add(&next, 1);
    struct buf buf = BUF_INIT;
    struct err err;
    char name[32];
    uint8_t space[64];
    err_init(&err);
    for (unsigned i = 0; i < 40 * ROUNDS; i++) {
        struct record rec;
        struct version v;
        snprintf(name, sizeof(name), "k%u-%u", me, i % (10 * ROUNDS));
        struct bytes key = key_of(f, name, space);
        bool put_before = i >= 10 * ROUNDS;
        enum status st = store_get(f->s, key, VERSION_NONE, &buf, &rec, &err);
        EXPECT(f, st == (put_before ? ST_OK : ST_NOT_FOUND));
        if (!put_before) {
            struct entry_op op = {.key = key, .kind = RECORD_PUT, .value = BYTES_LIT("v")};
            EXPECT(f, put(f, &op, 1, NULL, &v) == ST_OK);
            EXPECT(f, store_get(f->s, key, VERSION_NONE, &buf, &rec, &err) == ST_OK);
        }
    }
    buf_deinit(&buf);
}

static void test_what_was_put_is_never_absent(void **state)
{
    (void)state;
    static struct fixture f;
    f = (struct fixture){0};
    struct env_thread threads[THREADS];
    open_it(&f, env_linux(), STORE_SYNC_OFF, "absent");
    run(&f, look_then_put, threads, THREADS);
    join(threads, THREADS);
    struct store_stats stats;
    store_stats(f.s, &stats);
    assert_true(stats.filter_bytes > 0); /* or nothing was tested */
    close_it(&f);
}

/* ---- a world whose syncs take a second ---- */

struct slow_env {
    struct env env;
    struct env_ops ops;
    _Atomic bool slow;
    _Atomic int syncing;
};
static struct slow_env slow;

static enum status slow_sync(struct env_file *file, struct err *err)
{
    atomic_fetch_add(&slow.syncing, 1);
    if (atomic_load(&slow.slow))
        env_sleep_ms(env_linux(), 1000);
    enum status st = env_linux()->ops->sync(file, err);
    atomic_fetch_sub(&slow.syncing, 1);
    return st;
}

static enum status slow_open(struct env *env, const char *path, unsigned flags,
                             struct env_file **ret, struct err *err)
{
    (void)env;
    enum status st = env_linux()->ops->open(env_linux(), path, flags, ret, err);
    if (st == ST_OK)
        (*ret)->ops = &slow.ops;
    return st;
}

static void put_one(void *arg)
{
    struct fixture *f = arg;
    uint8_t space[64];
    struct version v;
    struct entry_op op = {
        .key = key_of(f, "slow", space), .kind = RECORD_PUT, .value = BYTES_LIT("x")};
    EXPECT(f, put(f, &op, 1, NULL, &v) == ST_OK);
}

static void test_cached_gets_do_not_wait_for_a_sync(void **state)
{
    (void)state;
    static struct fixture f;
    f = (struct fixture){0};
    struct env_thread writer;
    uint8_t space[64], other[64];
    struct buf buf = BUF_INIT;
    struct record rec;
    struct err err;
    struct version v;
    err_init(&err);
    slow.ops = *env_linux()->ops;
    slow.ops.open = slow_open;
    slow.ops.sync = slow_sync;
    slow.env.ops = &slow.ops;
    open_it(&f, &slow.env, STORE_SYNC_ALWAYS, "slow");
    struct entry_op op = {
        .key = key_of(&f, "fast", space), .kind = RECORD_PUT, .value = BYTES_LIT("y")};
    assert_int_equal(put(&f, &op, 1, NULL, &v), ST_OK);
    assert_int_equal(store_get(f.s, op.key, VERSION_NONE, &buf, &rec, &err), ST_OK);
    atomic_store(&slow.slow, true);
    run(&f, put_one, &writer, 1);
    while (atomic_load(&slow.syncing) == 0)
        env_sleep_ms(env_linux(), 1);
    /* While that sync sleeps, thousands of reads of every kind come back; not one of them may have
     * waited for it. How long each takes is the bench's to say; that they finish before the sync
     * does is what this holds. */
    uint64_t reads = 0;
    for (; reads < 2000; reads++) {
        assert_int_equal(store_get(f.s, op.key, VERSION_NONE, &buf, &rec, &err), ST_OK);
        assert_int_equal(store_get(f.s, key_of(&f, "none", other), VERSION_NONE, &buf, &rec, &err),
                         ST_NOT_FOUND);
    }
    assert_true(atomic_load(&slow.syncing) > 0);
    assert_int_equal(store_get(f.s, key_of(&f, "slow", other), VERSION_NONE, &buf, &rec, &err),
                     ST_NOT_FOUND); /* not yet acknowledged */
    join(&writer, 1);
    assert_int_equal(store_get(f.s, key_of(&f, "slow", other), VERSION_NONE, &buf, &rec, &err),
                     ST_OK);
    atomic_store(&slow.slow, false);
    buf_deinit(&buf);
    close_it(&f);
}

/* 300 puts and a checkpoint; then all are read. How many gets found nothing in the cache. */
static uint64_t misses_after_checkpoint(struct fixture *f, unsigned gets_before)
{
    enum { KEYS = 300 };
    uint8_t space[64];
    char name[16];
    struct buf buf = BUF_INIT;
    struct record rec;
    struct version v;
    struct err err;
    struct store_stats before, after;
    err_init(&err);
    for (unsigned i = 0; i < KEYS; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        struct entry_op op = {
            .key = key_of(f, name, space), .kind = RECORD_PUT, .value = BYTES_STR(name)};
        assert_int_equal(put(f, &op, 1, NULL, &v), ST_OK);
        enum status st =
            i < gets_before ? store_get(f->s, op.key, VERSION_NONE, &buf, &rec, &err) : ST_OK;
        assert_int_equal(st, ST_OK);
    }
    assert_int_equal(store_checkpoint(f->s, &err), ST_OK);
    store_stats(f->s, &before);
    for (unsigned i = 0; i < KEYS; i++) {
        (void)snprintf(name, sizeof name, "%u", i);
        assert_int_equal(store_get(f->s, key_of(f, name, space), VERSION_NONE, &buf, &rec, &err),
                         ST_OK);
        assert_true(bytes_eq(rec.value, BYTES_STR(name)));
    }
    store_stats(f->s, &after);
    buf_deinit(&buf);
    return after.cache.misses - before.cache.misses;
}

static void test_what_is_drained_stays_in_memory_where_gets_come(void **state)
{
    (void)state;
    static struct fixture f;
    f = (struct fixture){0};
    open_it(&f, env_linux(), STORE_SYNC_OFF, "keep");
    assert_int_equal(misses_after_checkpoint(&f, 0), 300);
    close_it(&f);
    f = (struct fixture){0};
    open_it(&f, env_linux(), STORE_SYNC_OFF, "keep");
    assert_int_equal(misses_after_checkpoint(&f, 10), 0);
    close_it(&f);
}

/* ---- syncs that were promised within some time ---- */

/* Longer than the log's keeper looks again by itself. */
static void apply_slowly(void *arg, const struct raft_entry *e)
{
    const _Atomic bool *slowly = arg;
    (void)e;
    if (atomic_load(slowly))
        env_sleep_ms(env_linux(), 600);
}

static void test_what_is_long_applied_is_synced_in_time(void **state)
{
    (void)state;
    static struct fixture f;
    static _Atomic bool slow_apply;
    f = (struct fixture){0};
    uint8_t space[64];
    struct store_stats stats;
    struct version v;
    struct err err;
    err_init(&err);
    assert_true(temp_dir_make(f.dir, "interval"));
    struct store_options o = {.engine_name = "mem",
                              .engine_open = engine_mem_open,
                              .sync = STORE_SYNC_INTERVAL,
                              .sync_interval_ms = 50,
                              .applied = apply_slowly,
                              .applied_arg = &slow_apply};
    assert_int_equal(store_open(env_linux(), f.dir, &o, &f.s, &err), ST_OK);
    assert_int_equal(store_collection_open(f.s, BYTES_LIT("t"), BYTES_EMPTY, &f.c, &err), ST_OK);
    f.id = collection_id(f.c);
    env_sleep_ms(env_linux(), 600); /* nothing is left to do */
    atomic_store(&slow_apply, true);
    struct entry_op op = {
        .key = key_of(&f, "long", space), .kind = RECORD_PUT, .value = BYTES_LIT("x")};
    assert_int_equal(put(&f, &op, 1, NULL, &v), ST_OK);
    atomic_store(&slow_apply, false);
    for (int i = 0; i < 200; i++) {
        store_stats(f.s, &stats);
        if (wal_pos_cmp(stats.wal.synced, stats.wal.end) == 0)
            break;
        env_sleep_ms(env_linux(), 10);
    }
    assert_int_equal(wal_pos_cmp(stats.wal.synced, stats.wal.end), 0);
    close_it(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare_and_set_counts_exactly),
        cmocka_unit_test(test_batches_are_seen_whole_beside_checkpoints),
        cmocka_unit_test(test_what_was_put_is_never_absent),
        cmocka_unit_test(test_cached_gets_do_not_wait_for_a_sync),
        cmocka_unit_test(test_what_is_drained_stays_in_memory_where_gets_come),
        cmocka_unit_test(test_what_is_long_applied_is_synced_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
