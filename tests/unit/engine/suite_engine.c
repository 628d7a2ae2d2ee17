#include "unit/engine/suite_engine.h"

#include "base/alloc.h"
#include "base/keyenc.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "support/tempdir.h"
#include "unit/engine/model_engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { RANGE = 7, KEYS = 24, POOL = 8 << 20, FILL = 1 << 20 };

/* A world: an engine in a folder, its model, and what they are fed from. */
struct world {
    struct test_rng rng;
    char dir[TEMP_DIR_MAX];
    struct engine *e;
    struct model m;
    uint8_t *pool; /* keys, values and writers live here to the end */
    size_t pool_used;
    struct bytes keys[KEYS];
    uint64_t clock, index;
    bool big;
    bool cut_vacuum;
    uint8_t *fill; /* what big values are made of */
};

#define check_ok(st, err)                                                                          \
    do {                                                                                           \
        enum status check_st = (st);                                                               \
        if (check_st != ST_OK)                                                                     \
            fail_msg("%s: %s", status_name(check_st), (err)->detail);                              \
    } while (0)

static struct bytes pool_bytes(struct world *w, size_t n)
{
    assert_true(w->pool_used + n <= POOL);
    uint8_t *p = w->pool + w->pool_used;
    w->pool_used += n;
    return (struct bytes){p, n};
}

static struct bytes random_bytes(struct world *w, size_t n)
{
    static const uint8_t alphabet[] = {0x00, 0x01, 0xff, 'a', 'b'};
    struct bytes b = pool_bytes(w, n);
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)(uintptr_t)b.data)[i] = alphabet[test_rng_below(&w->rng, sizeof(alphabet))];
    return b;
}

static void reopen(struct world *w)
{
    struct err err;
    if (w->e)
        w->e->ops->close(w->e);
    w->e = NULL;
    check_ok(suite_backend.open(env_linux(), w->dir, NULL, &w->e, &err), &err);
}

static void world_init(struct world *w, uint64_t seed)
{
    *w = (struct world){.clock = UINT64_C(0x10000), .index = 1};
    test_rng_init(&w->rng, seed);
    w->pool = malloc(POOL);
    assert_true(temp_dir_make(w->dir, "engine"));
    for (int i = 0; i < KEYS;) {
        size_t len = test_rng_chance(&w->rng, 1, 20) ? test_rng_between(&w->rng, 1, 300)
                                                     : test_rng_between(&w->rng, 1, 6);
        struct bytes k = random_bytes(w, len);
        if (!engine_key_reserved(k))
            w->keys[i++] = k;
    }
    reopen(w);
}

static void world_deinit(struct world *w)
{
    if (w->e)
        w->e->ops->close(w->e);
    model_deinit(&w->m);
    free(w->pool);
    free(w->fill);
    assert_true(temp_dir_remove(w->dir));
}

struct write {
    struct bytes key;
    struct record rec;
};

/* n writes with rising versions, some sharing one; keys of one version differ. */
static void make_writes(struct world *w, struct write *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        bool same = i > 0 && test_rng_chance(&w->rng, 1, 3);
        struct bytes key = w->keys[test_rng_below(&w->rng, KEYS)];
        for (size_t j = i; same && j-- > 0 && list[j].rec.version.hlc == w->clock;)
            same = !bytes_eq(list[j].key, key);
        if (!same)
            w->clock += test_rng_between(&w->rng, 1, 5);
        struct record *r = &list[i].rec;
        *r = (struct record){.version = {w->clock, 0},
                             .kind = RECORD_PUT,
                             .writer = BYTES_EMPTY,
                             .value = BYTES_EMPTY};
        if (test_rng_chance(&w->rng, 1, 4))
            r->kind = RECORD_DELETE;
        else
            r->value = random_bytes(w, test_rng_below(&w->rng, 40));
        if (r->kind == RECORD_PUT && w->big && test_rng_chance(&w->rng, 1, 3))
            r->value = (struct bytes){w->fill, test_rng_below(&w->rng, FILL)};
        if (r->kind == RECORD_PUT && test_rng_chance(&w->rng, 1, 4))
            r->expires_ms = test_rng_between(&w->rng, 1, 100000);
        if (r->kind == RECORD_PUT && test_rng_chance(&w->rng, 1, 4))
            r->type = RECORD_DOC;
        if (test_rng_chance(&w->rng, 1, 3))
            r->writer = random_bytes(w, test_rng_between(&w->rng, 1, 20));
        list[i].key = key;
    }
}

static struct table *make_table(const struct write *list, size_t n)
{
    struct table *t = table_new();
    assert_non_null(t);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(table_put(t, list[i].key, &list[i].rec, NULL), ST_OK);
    return t;
}

/* The same as tables upon one another, parted where a version ends, some of them spilled. */
static struct table *make_stack(struct world *w, const struct write *list, size_t n)
{
    struct table *below = NULL;
    char path[TEMP_DIR_MAX + 16];
    struct err err;
    snprintf(path, sizeof(path), "%s/spilled-test", w->dir);
    for (size_t from = 0, to = 0; from < n || !below; from = to) {
        to = test_rng_chance(&w->rng, 1, 2) ? n : from + test_rng_below(&w->rng, n - from + 1);
        while (to > 0 && to < n && version_cmp(list[to].rec.version, list[to - 1].rec.version) == 0)
            to++;
        struct table *t = make_table(list + from, to - from), *spilled = NULL;
        if (test_rng_chance(&w->rng, 1, 3)) {
            check_ok(table_spill(t, env_linux(), test_rng_chance(&w->rng, 1, 2) ? path : NULL,
                                 &spilled, &err),
                     &err);
            table_unref(t);
            t = spilled;
        }
        table_put_on(t, below);
        table_unref(below);
        below = t;
    }
    return below;
}

static void model_apply(struct world *w, const struct write *list, size_t n,
                        const struct engine_mark *mark)
{
    for (size_t i = 0; i < n; i++)
        model_put(&w->m, list[i].key, &list[i].rec);
    w->m.mark = *mark;
}

static struct engine_mark next_mark(struct world *w)
{
    w->index += 100; /* room for marks between */
    return (struct engine_mark){.index = w->index, .term = 3, .version = {w->clock, 0}};
}

static void drain_random(struct world *w, size_t n)
{
    struct err err;
    struct write *list = calloc(n + 1, sizeof(*list));
    make_writes(w, list, n);
    struct table *t = make_stack(w, list, n);
    struct engine_mark mark = next_mark(w);
    check_ok(w->e->ops->drain(w->e, RANGE, t, &mark, &err), &err);
    model_apply(w, list, n, &mark);
    table_unref(t);
    free(list);
}

static void same_record(const struct record *a, const struct model_version *b)
{
    assert_int_equal(a->version.hlc, b->version.hlc);
    assert_int_equal(a->version.origin, b->version.origin);
    assert_int_equal(a->parent.hlc, b->parent.hlc);
    assert_int_equal(a->parent.origin, b->parent.origin);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->expires_ms, b->expires_ms);
    assert_true(bytes_eq(a->writer, (struct bytes){b->writer, b->writer_len}));
    assert_true(bytes_eq(a->value, (struct bytes){b->value, b->value_len}));
}

static struct version random_time(struct world *w, const struct model *m)
{
    if (test_rng_chance(&w->rng, 1, 5))
        return VERSION_MAX;
    uint64_t top = m->mark.version.hlc + 10;
    return (struct version){
        test_rng_between(&w->rng, UINT64_C(0x10000) - 5, top > 0x10000 ? top : 0x10000), 0};
}

static struct bytes random_key(struct world *w)
{
    if (test_rng_chance(&w->rng, 1, 4))
        return random_bytes(w, test_rng_between(&w->rng, 0, 4));
    return w->keys[test_rng_below(&w->rng, KEYS)];
}

static void check_get(struct world *w, struct engine_snapshot *s, const struct model *m,
                      struct bytes key, struct version at, bool cache_only)
{
    const struct model_version *want = NULL;
    struct record rec;
    struct engine_pin pin = {0};
    struct err err;
    err_init(&err);
    enum status expect = model_get(model_find(m, key), at, &want);
    enum status st = w->e->ops->get(w->e, s, key, at, cache_only, &rec, &pin, &err);
    if (cache_only && st == ST_TIMED_OUT)
        return;
    if (st != expect)
        fail_msg("get: %s instead of %s: %s", status_name(st), status_name(expect), err.detail);
    if (st == ST_OK)
        same_record(&rec, want);
    engine_pin_release(&pin);
}

static void check_scan(struct world *w, struct engine_snapshot *s, const struct model *m)
{
    struct engine_scan q = {.at = random_time(w, m), .reverse = test_rng_chance(&w->rng, 1, 2)};
    struct engine_iter *it = NULL;
    struct engine_row row;
    struct err err;
    q.keys_only = test_rng_chance(&w->rng, 1, 4);
    q.in.lower = test_rng_chance(&w->rng, 1, 3) ? BYTES_EMPTY : random_key(w);
    q.in.upper = test_rng_chance(&w->rng, 1, 3) ? BYTES_EMPTY : random_key(w);
    check_ok(w->e->ops->scan(w->e, s, &q, &it, &err), &err);
    for (size_t i = 0; i < m->n; i++) {
        const struct model_key *k = &m->keys[q.reverse ? m->n - 1 - i : i];
        const struct model_version *want;
        if (!engine_interval_has(&q.in, model_key_bytes(k)))
            continue;
        enum status expect = model_get(k, q.at, &want);
        if (expect == ST_NOT_FOUND || (expect == ST_OK && want->kind != RECORD_PUT))
            continue;
        int n = engine_iter_next(it, &row, &err);
        if (expect == ST_BELOW_HORIZON) {
            assert_int_equal(n, -(int)ST_BELOW_HORIZON);
            engine_iter_close(it);
            return;
        }
        if (n < 0)
            fail_msg("scan: %s", err.detail);
        assert_int_equal(n, 1);
        assert_true(bytes_eq(row.key, model_key_bytes(k)));
        struct model_version v = *want;
        if (q.keys_only)
            v.value_len = 0;
        same_record(&row.rec, &v);
    }
    assert_int_equal(engine_iter_next(it, &row, &err), 0);
    assert_int_equal(engine_iter_next(it, &row, &err), 0);
    engine_iter_close(it);
}

static void check_history(struct world *w, struct engine_snapshot *s, const struct model *m,
                          struct bytes key, struct version from)
{
    const struct model_key *k = model_find(m, key);
    struct engine_iter *it = NULL;
    struct engine_row row;
    struct err err;
    check_ok(w->e->ops->history(w->e, s, key, from, &it, &err), &err);
    for (size_t i = k ? k->n : 0; i-- > 0;) {
        if (version_cmp(k->v[i].version, from) > 0)
            continue;
        int n = engine_iter_next(it, &row, &err);
        if (n < 0)
            fail_msg("history: %s", err.detail);
        assert_int_equal(n, 1);
        assert_true(bytes_eq(row.key, key));
        same_record(&row.rec, &k->v[i]);
    }
    if (k && !version_is_none(k->floor)) {
        assert_int_equal(engine_iter_next(it, &row, &err), 1);
        assert_int_equal(row.rec.kind, RECORD_FLOOR);
        assert_int_equal(row.rec.version.hlc, k->floor.hlc);
    }
    assert_int_equal(engine_iter_next(it, &row, &err), 0);
    engine_iter_close(it);
}

struct change {
    const struct model_key *k;
    const struct model_version *v;
};

static int change_cmp(const void *pa, const void *pb)
{
    const struct change *a = pa, *b = pb;
    int c = version_cmp(a->v->version, b->v->version);
    return c ? c : bytes_cmp(model_key_bytes(a->k), model_key_bytes(b->k));
}

static void check_changes(struct world *w, struct engine_snapshot *s, const struct model *m)
{
    size_t n = 0, cap = 1;
    for (size_t i = 0; i < m->n; i++)
        cap += m->keys[i].n;
    struct change *all = calloc(cap, sizeof(*all));
    for (size_t i = 0; i < m->n; i++) {
        for (size_t j = 0; j < m->keys[i].n; j++)
            all[n++] = (struct change){&m->keys[i], &m->keys[i].v[j]};
    }
    qsort(all, n, sizeof(*all), change_cmp);
    struct version after = test_rng_chance(&w->rng, 1, 4) ? VERSION_NONE : random_time(w, m);
    struct bytes after_key = test_rng_chance(&w->rng, 1, 3) ? BYTES_EMPTY : random_key(w);
    struct engine_iter *it = NULL;
    struct engine_row row;
    struct err err;
    check_ok(w->e->ops->changes(w->e, s, RANGE, after, after_key, &it, &err), &err);
    for (size_t i = 0; i < n; i++) {
        int c = version_cmp(all[i].v->version, after);
        if (c < 0 || (c == 0 && bytes_cmp(model_key_bytes(all[i].k), after_key) <= 0))
            continue;
        int got = engine_iter_next(it, &row, &err);
        if (got < 0)
            fail_msg("changes: %s", err.detail);
        assert_int_equal(got, 1);
        assert_true(bytes_eq(row.key, model_key_bytes(all[i].k)));
        assert_int_equal(row.rec.version.hlc, all[i].v->version.hlc);
        assert_int_equal(row.rec.parent.hlc, all[i].v->parent.hlc);
        assert_int_equal(row.rec.kind, all[i].v->kind);
        assert_int_equal(row.rec.value.len, 0);
    }
    assert_int_equal(engine_iter_next(it, &row, &err), 0);
    engine_iter_close(it);
    free(all);
}

static void check_snapshot(struct world *w, struct engine_snapshot *s, const struct model *m)
{
    for (int i = 0; i < KEYS; i++) {
        check_get(w, s, m, w->keys[i], VERSION_MAX, false);
        check_get(w, s, m, w->keys[i], random_time(w, m), false);
        check_get(w, s, m, random_key(w), random_time(w, m), test_rng_chance(&w->rng, 1, 2));
        check_history(w, s, m, w->keys[i], random_time(w, m));
    }
    for (int i = 0; i < 12; i++)
        check_scan(w, s, m);
    for (int i = 0; i < 4; i++)
        check_changes(w, s, m);
}

static void report(void *arg, const struct engine_finding *f)
{
    (void)arg;
    printf("finding: %s %llu: %s\n", f->file, (unsigned long long)f->offset, f->text);
}

static void check_clean(struct world *w)
{
    struct err err;
    check_ok(w->e->ops->verify(w->e, RANGE, report, NULL, NULL, &err), &err);
}

/* Reads alone: while a drain or a vacuum is half done, verify is the callers' to judge. */
static void check_reads(struct world *w)
{
    struct engine_snapshot *s;
    struct err err;
    struct engine_mark mark;
    check_ok(w->e->ops->persisted(w->e, RANGE, &mark, &err), &err);
    assert_int_equal(mark.index, w->m.mark.index);
    assert_int_equal(mark.term, w->m.mark.term);
    assert_int_equal(mark.version.hlc, w->m.mark.version.hlc);
    check_ok(w->e->ops->persisted(w->e, RANGE + 1, &mark, &err), &err);
    assert_int_equal(mark.index, 0);
    check_ok(w->e->ops->snapshot(w->e, &s, &err), &err);
    check_snapshot(w, s, &w->m);
    w->e->ops->snapshot_release(w->e, s);
}

static enum status count_one(void *arg, uint8_t family, struct bytes key, struct bytes value,
                             struct err *err)
{
    (void)key, (void)value, (void)err;
    ((uint64_t *)arg)[family]++;
    return ST_OK;
}

/* What the statistics say are the rows there are. */
static void check_counts(struct world *w)
{
    uint64_t rows[ENGINE_FAMILIES] = {0};
    struct engine_interval all = {BYTES_EMPTY, BYTES_EMPTY};
    struct engine_stats stats;
    struct engine_snapshot *s;
    struct err err;
    check_ok(w->e->ops->snapshot(w->e, &s, &err), &err);
    check_ok(w->e->ops->export_rows(w->e, s, RANGE, &all, count_one, rows, &err), &err);
    w->e->ops->snapshot_release(w->e, s);
    w->e->ops->stats(w->e, &stats);
    assert_int_equal(stats.live_rows, rows[ENGINE_LIVE]);
    if (w->cut_vacuum) { /* may have removed more than it could say */
        assert_true(stats.past_rows >= rows[ENGINE_PAST]);
        assert_true(stats.when_rows >= rows[ENGINE_WHEN]);
        return;
    }
    assert_int_equal(stats.past_rows, rows[ENGINE_PAST]);
    assert_int_equal(stats.when_rows, rows[ENGINE_WHEN]);
}

static void check_all(struct world *w)
{
    check_reads(w);
    check_clean(w);
    check_counts(w);
}

static struct engine_vacuum random_vacuum(struct world *w)
{
    struct engine_vacuum q = {0};
    q.in.lower = test_rng_chance(&w->rng, 2, 3) ? BYTES_EMPTY : random_key(w);
    q.in.upper = test_rng_chance(&w->rng, 2, 3) ? BYTES_EMPTY : random_key(w);
    if (test_rng_chance(&w->rng, 2, 3))
        q.horizon =
            (struct version){test_rng_between(&w->rng, 0x10000, w->m.mark.version.hlc + 1), 0};
    if (test_rng_chance(&w->rng, 1, 2))
        q.keep_count = test_rng_between(&w->rng, 1, 4);
    if (q.in.upper.len && bytes_cmp(q.in.lower, q.in.upper) > 0) {
        struct bytes lower = q.in.lower;
        q.in.lower = q.in.upper;
        q.in.upper = lower;
    }
    return q;
}

static void vacuum_random(struct world *w)
{
    struct engine_vacuum_result res;
    struct err err;
    uint64_t removed;
    struct engine_vacuum q = random_vacuum(w);
    check_ok(w->e->ops->vacuum(w->e, RANGE, &q, &res, &err), &err);
    model_vacuum(&w->m, &q, &removed);
    assert_int_equal(res.versions_removed, removed);
    assert_int_equal(res.bytes_removed > 0, removed > 0);
}

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

/* A vacuum is cut between families: what is left verifies clean, and the same vacuum brings it to
 * its end. */
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

struct rows {
    struct {
        uint8_t family;
        struct buf key, value;
    } * list;
    size_t n, cap, at;
};

static enum status rows_add(void *arg, uint8_t family, struct bytes key, struct bytes value,
                            struct err *err)
{
    struct rows *r = arg;
    (void)err;
    if (r->n == r->cap) {
        r->cap = r->cap ? r->cap * 2 : 64;
        r->list = realloc(r->list, r->cap * sizeof(*r->list));
    }
    memset(&r->list[r->n], 0, sizeof(r->list[r->n]));
    r->list[r->n].family = family;
    assert_int_equal(buf_append(&r->list[r->n].key, key.data, key.len), ST_OK);
    assert_int_equal(buf_append(&r->list[r->n].value, value.data, value.len), ST_OK);
    r->n++;
    return ST_OK;
}

static enum status rows_next(void *arg, uint8_t *family, struct bytes *key, struct bytes *value,
                             bool *end, struct err *err)
{
    struct rows *r = arg;
    (void)err;
    if (r->at == r->n) {
        *end = true;
        return ST_OK;
    }
    *family = r->list[r->at].family;
    *key = buf_bytes(&r->list[r->at].key);
    *value = buf_bytes(&r->list[r->at].value);
    r->at++;
    return ST_OK;
}

static void rows_deinit(struct rows *r)
{
    for (size_t i = 0; i < r->n; i++) {
        buf_deinit(&r->list[i].key);
        buf_deinit(&r->list[i].value);
    }
    free(r->list);
    *r = (struct rows){0};
}

/* Taken up anywhere, a walk gives what followed there before. */
static void export_from_anywhere(struct engine *e, struct engine_snapshot *s, uint64_t range,
                                 const struct engine_interval *in, const struct rows *all)
{
    struct engine_export *x;
    struct engine_export_row row;
    struct err err;
    check_ok(e->ops->export_open(e, s, range, in, &x, &err), &err);
    for (size_t k = 0; k < 6 && all->n > 0; k++) {
        size_t i = (k * 7919 + all->n / 2) % all->n;
        check_ok(engine_export_seek(x, all->list[i].family, buf_bytes(&all->list[i].key), &err),
                 &err);
        for (size_t n = 0; i < all->n && n < 40; i++, n++) {
            assert_int_equal(engine_export_next(x, &row, &err), 1);
            assert_int_equal(row.family, all->list[i].family);
            assert_true(bytes_eq(row.key, buf_bytes(&all->list[i].key)));
            assert_true(bytes_eq(row.value, buf_bytes(&all->list[i].value)));
        }
        if (i == all->n) {
            assert_int_equal(engine_export_next(x, &row, &err), 0);
            assert_int_equal(engine_export_next(x, &row, &err), 0);
        }
    }
    engine_export_close(x);
}

static void export_all(struct engine *e, uint64_t range, const struct engine_interval *in,
                       struct rows *ret)
{
    struct engine_snapshot *s;
    struct err err;
    check_ok(e->ops->snapshot(e, &s, &err), &err);
    check_ok(e->ops->export_rows(e, s, range, in, rows_add, ret, &err), &err);
    export_from_anywhere(e, s, range, in, ret);
    e->ops->snapshot_release(e, s);
}

static void same_rows(const struct rows *a, const struct rows *b)
{
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++) {
        assert_int_equal(a->list[i].family, b->list[i].family);
        assert_true(bytes_eq(buf_bytes(&a->list[i].key), buf_bytes(&b->list[i].key)));
        assert_true(bytes_eq(buf_bytes(&a->list[i].value), buf_bytes(&b->list[i].value)));
    }
}

void suite_move(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, suite_backend.seeds)
    {
        struct world w;
        struct err err;
        char dir[TEMP_DIR_MAX];
        struct engine *to = NULL;
        world_init(&w, seed);
        for (int i = 0; i < 3; i++)
            drain_random(&w, 40);
        vacuum_random(&w);
        struct rows before = {0}, again = {0}, after = {0};
        struct engine_interval in = {BYTES_EMPTY, BYTES_EMPTY};
        if (test_rng_chance(&w.rng, 1, 2)) {
            in.lower = BYTES_LIT("\x01");
            in.upper = BYTES_LIT("b");
        }
        export_all(w.e, RANGE, &in, &before);
        export_all(w.e, RANGE, &in, &again);
        same_rows(&before, &again);
        assert_true(temp_dir_make(dir, "ingest"));
        check_ok(suite_backend.open(env_linux(), dir, NULL, &to, &err), &err);
        if (suite_backend.fail_step && before.n && test_rng_chance(&w.rng, 1, 2)) {
            suite_backend.fail_step(to, (int)test_rng_between(&w.rng, 1, 3));
            enum status st = to->ops->ingest(to, RANGE, &in, rows_next, &before, &w.m.mark, &err);
            suite_backend.fail_step(to, 0);
            before.at = 0;
            to->ops->close(to);
            check_ok(suite_backend.open(env_linux(), dir, NULL, &to, &err), &err);
            if (st == ST_OK)
                goto taken;
            assert_int_equal(st, ST_IO_ERROR);
        }
        check_ok(to->ops->ingest(to, RANGE, &in, rows_next, &before, &w.m.mark, &err), &err);
    taken:
        export_all(to, RANGE, &in, &after);
        same_rows(&before, &after);
        check_ok(to->ops->verify(to, RANGE, report, NULL, NULL, &err), &err);
        before.at = 0;
        if (before.n)
            assert_int_equal(to->ops->ingest(to, RANGE, &in, rows_next, &before, &w.m.mark, &err),
                             ST_PRECONDITION_FAILED);
        if (in.upper.len == 0) {
            w.e->ops->close(w.e);
            w.e = to;
            check_all(&w);
            drain_random(&w, 20);
            check_all(&w);
            w.e->ops->close(w.e);
            w.e = to = NULL;
        }
        if (to)
            to->ops->close(to);
        assert_true(temp_dir_remove(dir));
        rows_deinit(&before);
        rows_deinit(&again);
        rows_deinit(&after);
        world_deinit(&w);
    }
}

void suite_copy(void **state)
{
    (void)state;
    struct world w;
    struct err err;
    char dir[TEMP_DIR_MAX], to[TEMP_DIR_MAX + 8], own[TEMP_DIR_MAX];
    world_init(&w, 11);
    for (int i = 0; i < 3; i++)
        drain_random(&w, 40);
    assert_true(temp_dir_make(dir, "copy"));
    snprintf(to, sizeof(to), "%s/c", dir);
    check_ok(w.e->ops->copy(w.e, to, &err), &err);
    assert_int_equal(w.e->ops->copy(w.e, to, &err), ST_ALREADY_EXISTS);
    struct model then;
    model_copy(&w.m, &then);
    drain_random(&w, 40);
    check_all(&w);
    w.e->ops->close(w.e);
    struct model now = w.m;
    w.m = then;
    check_ok(suite_backend.open(env_linux(), to, NULL, &w.e, &err), &err);
    check_all(&w);
    w.e->ops->close(w.e);
    struct engine_options read_only = {.read_only = true};
    check_ok(suite_backend.open(env_linux(), to, &read_only, &w.e, &err), &err);
    check_all(&w);
    struct table *t = table_new();
    struct engine_mark mark = {.index = w.index + 9, .term = 3, .version = {w.clock + 9, 0}};
    assert_int_equal(w.e->ops->drain(w.e, RANGE, t, &mark, &err), ST_READ_ONLY);
    assert_int_equal(w.e->ops->compact(w.e, &err), ST_READ_ONLY);
    table_unref(t);
    w.e->ops->close(w.e);
    w.e = NULL;
    memcpy(own, w.dir, sizeof(own));
    model_deinit(&w.m);
    w.m = now;
    reopen(&w);
    check_all(&w);
    assert_true(temp_dir_remove(dir));
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
