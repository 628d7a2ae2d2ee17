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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
