/* One appender, a syncer, housekeeping, verification and readers side by side, on real files. */
#include "model_wal.h"
#include "storage/wal/wal_internal.h"
#include "support/cmocka.h"
#include "support/tempdir.h"
#include <stdio.h>

enum { RECORDS = 4000, PAYLOAD = 700 };

struct shared {
    struct wal *w;
    atomic_bool stop;
    atomic_uint_fast64_t appended, synced; /* indexes */
    atomic_uint_fast64_t read;
    atomic_uint trouble;
};

static void appender(void *arg)
{
    struct shared *s = arg;
    for (uint64_t i = 1; i <= RECORDS; i++) {
        struct wal_record r = {.range = 1,
                               .term = i,
                               .index = i,
                               .kind = WAL_ENTRY,
                               .payload = model_payload(i, PAYLOAD)};
        if (wal_append(s->w, &r, 1, NULL, NULL) != ST_OK)
            s->trouble++;
        atomic_store(&s->appended, i);
        if (i % 50 == 0 && wal_sync(s->w, NULL) != ST_OK)
            s->trouble++;
    }
    atomic_store(&s->stop, true);
}

static void syncer(void *arg)
{
    struct shared *s = arg;
    while (!atomic_load(&s->stop)) {
        uint64_t upto = atomic_load(&s->appended);
        if (wal_sync(s->w, NULL) != ST_OK)
            s->trouble++;
        atomic_store(&s->synced, upto);
        env_sleep_ms(env_linux(), 1);
    }
}

static void housekeeper(void *arg)
{
    struct shared *s = arg;
    while (!atomic_load(&s->stop)) {
        uint64_t synced = atomic_load(&s->synced);
        struct wal_stats stats;
        if (synced > 100)
            wal_release(s->w, 1, synced - 100);
        if (wal_maintain(s->w, NULL) != ST_OK)
            s->trouble++;
        wal_stats(s->w, &stats);
        if (wal_pos_cmp(stats.synced, stats.end) > 0)
            s->trouble++;
        env_sleep_ms(env_linux(), 2);
    }
}

static void verifier(void *arg)
{
    struct shared *s = arg;
    while (!atomic_load(&s->stop)) {
        if (wal_verify_open(s->w, NULL, NULL, NULL, NULL) != ST_OK)
            s->trouble++;
        env_sleep_ms(env_linux(), 1);
    }
}

/* Two that catch up, and one that looks here and there. */
static void reader(void *arg)
{
    struct shared *s = arg;
    struct wal_entries e = {0};
    uint64_t next = 1, n = 0;
    for (; !atomic_load(&s->stop); n++) {
        uint64_t appended = atomic_load(&s->appended);
        if (appended == 0)
            continue;
        uint64_t from = n % 7 == 6 ? appended / 2 + 1 : next;
        enum status st = wal_read_entries(s->w, 1, from, UINT64_MAX, 20000, &e, NULL);
        for (size_t i = 0; st == ST_OK && i < e.n; i++) {
            if (e.v[i].index != from + i || !model_payload_is(from + i, e.v[i].payload))
                s->trouble++;
        }
        if (st != ST_OK && st != ST_NOT_FOUND)
            s->trouble++;
        if (st == ST_OK)
            s->read += e.n;
        if (n % 7 != 6) /* recycled, or at the end */
            next = st == ST_OK ? from + e.n : atomic_load(&s->appended);
    }
    wal_entries_deinit(&e);
}

struct last {
    uint64_t first, index;
};

static enum status keep(void *arg, const struct wal_record *rec, struct wal_pos pos,
                        struct err *err)
{
    struct last *l = arg;
    (void)pos;
    (void)err;
    if (rec->kind != WAL_ENTRY)
        return ST_OK;
    assert_true(model_payload_is(rec->index, rec->payload));
    if (l->first == 0)
        l->first = rec->index;
    else
        assert_int_equal(rec->index, l->index + 1);
    l->index = rec->index;
    return ST_OK;
}

static void side_by_side(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], log[TEMP_DIR_MAX + 8];
    assert_true(temp_dir_make(dir, "wal"));
    snprintf(log, sizeof log, "%s/log", dir);
    const struct wal_options o = {.segment_bytes = 128 * 1024, .first_segment_bytes = 64 * 1024};
    (void)model_payload(1, 1); /* fills the pool before there are threads */
    struct shared s = {0};
    assert_int_equal(wal_open(env_linux(), log, &o, NULL, NULL, &s.w, NULL), ST_OK);
    void (*const roles[])(void *) = {appender, syncer, housekeeper, verifier, reader, reader};
    enum { ROLES = sizeof roles / sizeof *roles };
    struct env_thread t[ROLES];
    for (size_t i = 0; i < ROLES; i++)
        assert_int_equal(env_thread_start(&t[i], "wal", roles[i], &s, NULL), ST_OK);
    for (size_t i = 0; i < ROLES; i++)
        env_thread_join(&t[i]);
    assert_int_equal(s.trouble, 0);
    assert_true(s.read > 0);
    struct wal_stats stats;
    wal_stats(s.w, &stats);
    assert_true(stats.records >= RECORDS);
    assert_int_equal(wal_close(s.w, NULL), ST_OK);
    struct last l = {0};
    assert_int_equal(wal_open(env_linux(), log, &o, keep, &l, &s.w, NULL), ST_OK);
    assert_int_equal(l.index, RECORDS);
    assert_int_equal(wal_close(s.w, NULL), ST_OK);
    assert_int_equal(wal_verify(env_linux(), log, NULL, NULL, NULL, NULL), ST_OK);
    assert_true(temp_dir_remove(dir));
}

/* ---- a disk that fails, and tells one of those who sync at the same time, as Linux does ---- */

static struct {
    struct env env;
    struct env_ops ops;
    atomic_bool writes_fail, lost; /* what was written is lost, and nobody was told yet */
    atomic_int syncing;
} bad;

static enum status bad_pwritev(struct env_file *file, uint64_t off, const struct bytes *parts,
                               size_t n, struct err *err)
{
    if (atomic_exchange(&bad.writes_fail, false))
        return err_set(err, ST_IO_ERROR, "a write that fails");
    return env_linux()->ops->pwritev(file, off, parts, n, err);
}

/* The first to come is the last to look: as long as it waits another one may. */
static enum status bad_sync(struct env_file *file, struct err *err)
{
    bool first = atomic_fetch_add(&bad.syncing, 1) == 0;
    for (int i = 0; i < 300 && first && atomic_load(&bad.lost); i++)
        env_sleep_ms(env_linux(), 1);
    enum status st = atomic_exchange(&bad.lost, false)
                         ? err_set(err, ST_IO_ERROR, "a sync that fails")
                         : env_linux()->ops->sync(file, err);
    atomic_fetch_sub(&bad.syncing, 1);
    return st;
}

static enum status bad_open(struct env *env, const char *path, unsigned flags,
                            struct env_file **ret, struct err *err)
{
    (void)env;
    enum status st = env_linux()->ops->open(env_linux(), path, flags, ret, err);
    if (st == ST_OK)
        (*ret)->ops = &bad.ops;
    return st;
}

struct syncing {
    struct wal *w;
    enum status st;
};

static void sync_once(void *arg)
{
    struct syncing *s = arg;
    s->st = wal_sync(s->w, NULL);
}

/* A failed append is erased, and that is synced: a sync beside it must not miss what this one met. */
static void a_sync_beside_an_erasure_hears_of_the_failure(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX];
    struct syncing s = {0};
    struct env_thread t;
    struct wal_record r = {
        .range = 1, .term = 1, .index = 1, .kind = WAL_ENTRY, .payload = model_payload(1, 100)};
    struct err err;
    err_init(&err);
    bad.ops = *env_linux()->ops;
    bad.ops.open = bad_open;
    bad.ops.pwritev = bad_pwritev;
    bad.ops.sync = bad_sync;
    bad.env.ops = &bad.ops;
    assert_true(temp_dir_make(dir, "wal"));
    assert_int_equal(wal_open(&bad.env, dir, NULL, NULL, NULL, &s.w, &err), ST_OK);
    assert_int_equal(wal_append(s.w, &r, 1, NULL, &err), ST_OK);
    atomic_store(&bad.lost, true);
    assert_int_equal(env_thread_start(&t, "syncer", sync_once, &s, &err), ST_OK);
    while (atomic_load(&bad.syncing) == 0)
        env_sleep_ms(env_linux(), 1);
    atomic_store(&bad.writes_fail, true);
    r.index = 2;
    assert_int_equal(wal_append(s.w, &r, 1, NULL, &err), ST_POISONED);
    env_thread_join(&t);
    assert_int_equal(s.st, ST_POISONED);
    wal_abandon(s.w);
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(side_by_side),
        cmocka_unit_test(a_sync_beside_an_erasure_hears_of_the_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
