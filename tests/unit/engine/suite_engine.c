#include "unit/engine/engine_world.h"

#include "base/alloc.h"
#include "support/seeds.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Many small syncs, none of which matters here: in memory where there is such a folder. */
int suite_setup(void **state)
{
    (void)state;
    if (access("/dev/shm", W_OK) == 0)
        setenv("TMPDIR", "/dev/shm", 0);
    return 0;
}

void suite_random(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, suite_backend.seeds)
    {
        struct world w;
        struct err err;
        struct engine_snapshot *old = NULL;
        struct model old_model = {0};
        world_init(&w, seed);
        check_all(&w);
        for (int round = 0; round < 8; round++) {
            if (round > 1 && test_rng_chance(&w.rng, 1, 3))
                vacuum_random(&w);
            else
                drain_random(&w, test_rng_below(&w.rng, 60));
            check_all(&w);
            if (old)
                check_snapshot(&w, old, &old_model);
            if (test_rng_chance(&w.rng, 1, 2)) {
                w.e->ops->snapshot_release(w.e, old);
                old = NULL;
                model_deinit(&old_model);
            }
            if (!old && test_rng_chance(&w.rng, 1, 3)) {
                reopen(&w);
                check_all(&w);
            }
            if (test_rng_chance(&w.rng, 1, 4)) {
                check_ok(w.e->ops->compact(w.e, &err), &err);
                check_all(&w);
            }
            if (!old && test_rng_chance(&w.rng, 1, 2)) {
                check_ok(w.e->ops->snapshot(w.e, &old, &err), &err);
                model_copy(&w.m, &old_model);
            }
        }
        w.e->ops->snapshot_release(w.e, old);
        model_deinit(&old_model);
        world_deinit(&w);
    }
}

/* A drain is cut after its nth family; readers see nothing of it, before and after reopening; the
 * log is then replayed into tables with other bounds. */
void suite_half_drains(void **state)
{
    (void)state;
    if (!suite_backend.fail_step)
        skip();
    uint64_t seed;
    FOR_EACH_SEED(seed, suite_backend.seeds)
    {
        struct world w;
        struct err err;
        world_init(&w, seed);
        if (test_rng_chance(&w.rng, 3, 4))
            drain_random(&w, test_rng_between(&w.rng, 1, 40));
        for (int round = 0; round < 3; round++) {
            struct write list[40];
            size_t n = test_rng_between(&w.rng, 1, 40);
            make_writes(&w, list, n);
            struct engine_mark mark = next_mark(&w);
            struct table *t = make_stack(&w, list, n);
            suite_backend.fail_step(w.e, (int)test_rng_between(&w.rng, 1, 3));
            enum status st = w.e->ops->drain(w.e, RANGE, t, &mark, &err);
            suite_backend.fail_step(w.e, 0);
            table_unref(t);
            if (st == ST_OK) { /* fewer families than that: nothing was superseded */
                model_apply(&w, list, n, &mark);
                check_all(&w);
                continue;
            }
            assert_int_equal(st, ST_IO_ERROR);
            check_all(&w);
            if (test_rng_chance(&w.rng, 2, 3)) {
                reopen(&w);
                check_all(&w);
            }
            if (test_rng_chance(&w.rng, 1, 3)) {
                vacuum_random(&w);
                check_all(&w);
            }
            for (size_t from = 0; from < n;) {
                size_t to = test_rng_between(&w.rng, from + 1, n);
                while (to < n && version_cmp(list[to].rec.version, list[to - 1].rec.version) == 0)
                    to++; /* a version is one log entry */
                struct engine_mark part = {.index = mark.index - (n - to),
                                           .term = mark.term,
                                           .version = list[to - 1].rec.version};
                if (to == n)
                    part = mark;
                t = make_table(list + from, to - from);
                check_ok(w.e->ops->drain(w.e, RANGE, t, &part, &err), &err);
                table_unref(t);
                model_apply(&w, list + from, to - from, &part);
                check_all(&w);
                from = to;
            }
        }
        reopen(&w);
        check_all(&w);
        world_deinit(&w);
    }
}

/* Versions far apart and of many origins, in no order of keys: changes come by version, then key. */
void suite_changes_order(void **state)
{
    (void)state;
    enum { N = 3000 };
    char dir[TEMP_DIR_MAX];
    struct engine *e = NULL;
    struct engine_snapshot *s;
    struct engine_iter *it;
    struct engine_row row;
    struct test_rng rng;
    struct version last = VERSION_NONE;
    struct buf last_key = BUF_INIT;
    struct err err;
    int got;
    unsigned n = 0;
    test_rng_init(&rng, 11);
    assert_true(temp_dir_make(dir, "order"));
    check_ok(suite_backend.open(env_linux(), dir, NULL, &e, &err), &err);
    struct table *t = table_new();
    struct version v = {1, 0};
    for (unsigned i = 0; i < N; i++) {
        char key[16];
        int len = snprintf(key, sizeof(key), "k%04u", i * 1337 % N);
        if (test_rng_chance(&rng, 1, 3))
            v = (struct version){v.hlc + (test_rng_below(&rng, 99) << test_rng_below(&rng, 40)),
                                 v.origin + (uint32_t)test_rng_below(&rng, 1 << 20)};
        else if (test_rng_chance(&rng, 1, 2))
            v = (struct version){v.hlc + 1, (uint32_t)test_rng_below(&rng, 9)};
        struct record r = {.version = v,
                           .kind = RECORD_PUT,
                           .writer = BYTES_EMPTY,
                           .value = BYTES(key, (size_t)len)};
        assert_int_equal(table_put(t, BYTES(key, (size_t)len), &r, NULL), ST_OK);
    }
    struct engine_mark mark = {.index = 1, .term = 1, .version = {UINT64_MAX >> 1, 0}};
    check_ok(e->ops->drain(e, RANGE, t, &mark, &err), &err);
    table_unref(t);
    check_ok(e->ops->snapshot(e, &s, &err), &err);
    check_ok(e->ops->changes(e, s, RANGE, VERSION_NONE, BYTES_EMPTY, &it, &err), &err);
    for (; (got = engine_iter_next(it, &row, &err)) == 1; n++) {
        int c = version_cmp(last, row.rec.version);
        assert_true(c < 0 || (c == 0 && bytes_cmp(buf_bytes(&last_key), row.key) < 0));
        last = row.rec.version;
        buf_clear(&last_key);
        assert_int_equal(buf_append(&last_key, row.key.data, row.key.len), ST_OK);
    }
    assert_int_equal(got, 0);
    assert_int_equal(n, N);
    engine_iter_close(it);
    e->ops->snapshot_release(e, s);
    check_ok(e->ops->verify(e, RANGE, report, NULL, NULL, &err), &err);
    e->ops->close(e);
    buf_deinit(&last_key);
    assert_true(temp_dir_remove(dir));
}

/* Whether the mark says that a vacuum may have been cut. */
static bool says_cut(struct world *w)
{
    struct engine_snapshot *s;
    struct err err;
    check_ok(w->e->ops->snapshot(w->e, &s, &err), &err);
    const struct engine_mark_row *m = engine_view_mark(engine_snapshot_view(s), RANGE);
    bool cut = m && m->flags & ENGINE_MARK_CUT;
    w->e->ops->snapshot_release(w->e, s);
    return cut;
}

/* A vacuum is cut between families: what is left verifies clean, and the same vacuum brings it to
 * its end. */
void suite_cut_vacuum(void **state)
{
    (void)state;
    if (!suite_backend.fail_step)
        skip();
    uint64_t seed, cuts = 0;
    FOR_EACH_SEED(seed, suite_backend.seeds)
    {
        struct world w;
        struct err err;
        struct engine_vacuum_result res;
        uint64_t removed;
        world_init(&w, seed);
        for (int i = 0; i < 3; i++)
            drain_random(&w, 50);
        struct engine_vacuum q = random_vacuum(&w);
        w.cut_vacuum = true;
        suite_backend.fail_step(w.e, (int)test_rng_between(&w.rng, 1, 3));
        enum status st = w.e->ops->vacuum(w.e, RANGE, &q, &res, &err);
        suite_backend.fail_step(w.e, 0);
        if (st != ST_OK)
            assert_int_equal(st, ST_IO_ERROR);
        check_clean(&w);
        reopen(&w);
        check_clean(&w);
        cuts += says_cut(&w);
        check_ok(w.e->ops->vacuum(w.e, RANGE, &q, &res, &err), &err);
        model_vacuum(&w.m, &q, &removed);
        check_all(&w);
        /* One that finds nothing left of it; from then on a when row that is gone was lost. */
        check_ok(w.e->ops->vacuum(w.e, RANGE, &q, &res, &err), &err);
        assert_false(says_cut(&w));
        check_all(&w);
        world_deinit(&w);
    }
    assert_true(cuts > 0);
}

static bool stop_soon(void *arg, uint64_t done, uint64_t estimate)
{
    (void)estimate;
    return done < *(uint64_t *)arg;
}

/* One key with more versions than a vacuum's batch holds, among others. */
void suite_long_history(void **state)
{
    (void)state;
    enum { VERSIONS = 10000 };
    struct world w;
    struct err err;
    struct engine_vacuum_result res;
    uint64_t removed, stop_at = 2000;
    world_init(&w, 99);
    struct bytes key = BYTES_LIT("long");
    for (int part = 0; part < 2; part++) {
        struct table *t = table_new();
        for (int i = 0; i < VERSIONS / 2; i++) {
            struct record r = {.version = {++w.clock, 0},
                               .kind = i % 10 == 3 ? RECORD_DELETE : RECORD_PUT,
                               .writer = BYTES_EMPTY,
                               .value = random_bytes(&w, 5)};
            if (r.kind == RECORD_DELETE)
                r.value = BYTES_EMPTY;
            assert_int_equal(table_put(t, key, &r, NULL), ST_OK);
            model_put(&w.m, key, &r);
        }
        struct engine_mark mark = next_mark(&w);
        check_ok(w.e->ops->drain(w.e, RANGE, t, &mark, &err), &err);
        w.m.mark = mark;
        table_unref(t);
    }
    w.keys[0] = key;
    check_all(&w);
    struct engine_vacuum q = {
        .horizon = {w.clock - 50, 0}, .keep_count = 100, .progress = stop_soon, .arg = &stop_at};
    assert_int_equal(w.e->ops->vacuum(w.e, RANGE, &q, &res, &err), ST_CANCELLED);
    check_all(&w);
    q.progress = NULL;
    check_ok(w.e->ops->vacuum(w.e, RANGE, &q, &res, &err), &err);
    model_vacuum(&w.m, &q, &removed);
    assert_int_equal(res.versions_removed, removed);
    check_all(&w);
    q.horizon = VERSION_NONE;
    q.keep_count = 3;
    check_ok(w.e->ops->vacuum(w.e, RANGE, &q, &res, &err), &err);
    model_vacuum(&w.m, &q, &removed);
    assert_int_equal(res.versions_removed, removed);
    check_all(&w);
    world_deinit(&w);
}

/* Keys of 64 KiB, values of 1 MiB. */
void suite_large(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 5);
    w.big = true;
    w.fill = malloc(FILL);
    for (size_t i = 0; i < FILL; i++)
        w.fill[i] = (uint8_t)(i * i >> 7);
    for (int i = 0; i < 3; i++) {
        uint8_t *k = (uint8_t *)(uintptr_t)pool_bytes(&w, 64 * 1024).data;
        memset(k, i, 64 * 1024);
        w.keys[i] = (struct bytes){k, 64 * 1024 - (size_t)i};
    }
    for (int round = 0; round < 3; round++) {
        drain_random(&w, 30);
        check_all(&w);
        reopen(&w);
        check_all(&w);
    }
    world_deinit(&w);
}

void suite_refusals(void **state)
{
    (void)state;
    struct world w;
    struct err err;
    world_init(&w, 3);
    drain_random(&w, 20);
    struct record r = {.version = {w.clock + 5, 0},
                       .kind = RECORD_PUT,
                       .writer = BYTES_EMPTY,
                       .value = BYTES_LIT("v")};
    struct table *t = table_new();
    assert_int_equal(table_put(t, BYTES_LIT("\xff\xff\xff\xff\x01"), &r, NULL), ST_OK);
    struct engine_mark mark = {.index = w.index + 1, .term = 3, .version = r.version};
    assert_int_equal(w.e->ops->drain(w.e, RANGE, t, &mark, &err), ST_INVALID_ARGUMENT);
    mark.version.hlc--;
    assert_int_equal(w.e->ops->drain(w.e, RANGE, t, &mark, &err), ST_INVALID_ARGUMENT);
    mark.index = w.m.mark.index; /* nothing new by its index: a drain already done */
    check_ok(w.e->ops->drain(w.e, RANGE, t, &mark, &err), &err);
    check_all(&w);
    table_unref(t);

    /* An empty table still raises the mark. */
    t = table_new();
    w.index += 4;
    mark = (struct engine_mark){.index = w.index, .term = 4, .version = w.m.mark.version};
    check_ok(w.e->ops->drain(w.e, RANGE, t, &mark, &err), &err);
    w.m.mark = mark;
    check_all(&w);
    reopen(&w);
    check_all(&w);
    table_unref(t);

    char dir[TEMP_DIR_MAX];
    struct engine *e = NULL;
    struct engine_options read_only = {.read_only = true};
    assert_true(temp_dir_make(dir, "none"));
    assert_int_equal(suite_backend.open(env_linux(), dir, &read_only, &e, &err), ST_NOT_FOUND);
    assert_null(e);
    assert_true(temp_dir_remove(dir));
    world_deinit(&w);
}

/* Every allocation of a drain, the reads and a vacuum fails once; nothing is lost, nothing half
 * shown. */
void suite_no_memory(void **state)
{
    (void)state;
    struct world w;
    struct err err;
    world_init(&w, 8);
    drain_random(&w, 30);
    struct write list[30];
    make_writes(&w, list, 30);
    struct engine_mark mark = next_mark(&w);
    struct table *t = make_table(list, 30);
    uint64_t step = suite_backend.fail_step ? 3 : 1;
    enum status st = ST_NO_MEMORY;
    for (uint64_t n = 1; st != ST_OK; n += step) {
        (void)mem_fail_hits();
        mem_fail_at(n, 0);
        st = w.e->ops->drain(w.e, RANGE, t, &mark, &err);
        mem_fail_at(0, 0);
        /* After the commit only the new snapshot can fail, and the repeated drain then has nothing
         * to do. */
        if (st != ST_OK)
            assert_int_equal(st, ST_NO_MEMORY);
        if (mem_fail_hits() == 0)
            assert_int_equal(st, ST_OK);
    }
    table_unref(t);
    model_apply(&w, list, 30, &mark);
    check_all(&w);

    struct engine_snapshot *s;
    check_ok(w.e->ops->snapshot(w.e, &s, &err), &err);
    for (uint64_t n = 1, hits = 1; hits; n++) {
        struct record rec;
        struct engine_pin pin = {0};
        struct engine_row row;
        struct engine_iter *it = NULL;
        (void)mem_fail_hits();
        mem_fail_at(n, 0);
        st = w.e->ops->get(w.e, s, w.keys[n % KEYS], (struct version){w.clock - 20, 0}, false, &rec,
                           &pin, &err);
        engine_pin_release(&pin);
        assert_true(st == ST_OK || st == ST_NOT_FOUND || st == ST_NO_MEMORY);
        struct engine_scan q = {.at = {w.clock - 20, 0}};
        if (w.e->ops->scan(w.e, s, &q, &it, &err) == ST_OK) {
            int got;
            while ((got = engine_iter_next(it, &row, &err)) == 1)
                ;
            assert_true(got == 0 || got == -(int)ST_NO_MEMORY);
            engine_iter_close(it);
        }
        if (w.e->ops->history(w.e, s, w.keys[1], VERSION_MAX, &it, &err) == ST_OK) {
            int got;
            while ((got = engine_iter_next(it, &row, &err)) == 1)
                ;
            assert_true(got == 0 || got == -(int)ST_NO_MEMORY);
            engine_iter_close(it);
        }
        if (w.e->ops->changes(w.e, s, RANGE, VERSION_NONE, BYTES_EMPTY, &it, &err) == ST_OK) {
            int got;
            while ((got = engine_iter_next(it, &row, &err)) == 1)
                ;
            assert_true(got == 0 || got == -(int)ST_NO_MEMORY);
            engine_iter_close(it);
        }
        mem_fail_at(0, 0);
        hits = mem_fail_hits();
    }
    w.e->ops->snapshot_release(w.e, s);

    struct engine_vacuum q = {.horizon = {w.clock - 10, 0}, .keep_count = 3};
    struct engine_vacuum_result res;
    uint64_t removed;
    st = ST_NO_MEMORY;
    for (uint64_t n = 1; st != ST_OK; n += step) {
        mem_fail_at(n, 0);
        st = w.e->ops->vacuum(w.e, RANGE, &q, &res, &err);
        mem_fail_at(0, 0);
        if (st != ST_OK)
            assert_int_equal(st, ST_NO_MEMORY);
    }
    model_vacuum(&w.m, &q, &removed);
    check_all(&w);
    world_deinit(&w);
}
