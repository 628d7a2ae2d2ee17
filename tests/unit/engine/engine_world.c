#include "unit/engine/engine_world.h"

#include "base/alloc.h"
#include "base/keyenc.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>

struct bytes pool_bytes(struct world *w, size_t n)
{
    assert_true(w->pool_used + n <= POOL);
    uint8_t *p = w->pool + w->pool_used;
    w->pool_used += n;
    return (struct bytes){p, n};
}

struct bytes random_bytes(struct world *w, size_t n)
{
    static const uint8_t alphabet[] = {0x00, 0x01, 0xff, 'a', 'b'};
    struct bytes b = pool_bytes(w, n);
    for (size_t i = 0; i < n; i++)
        ((uint8_t *)(uintptr_t)b.data)[i] = alphabet[test_rng_below(&w->rng, sizeof(alphabet))];
    return b;
}

void reopen(struct world *w)
{
    struct err err;
    if (w->e)
        w->e->ops->close(w->e);
    w->e = NULL;
    check_ok(suite_backend.open(env_linux(), w->dir, NULL, &w->e, &err), &err);
}

void world_init(struct world *w, uint64_t seed)
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

void world_deinit(struct world *w)
{
    if (w->e)
        w->e->ops->close(w->e);
    model_deinit(&w->m);
    free(w->pool);
    free(w->fill);
    assert_true(temp_dir_remove(w->dir));
}

void make_writes(struct world *w, struct write *list, size_t n)
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

struct table *make_table(const struct write *list, size_t n)
{
    struct table *t = table_new();
    assert_non_null(t);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(table_put(t, list[i].key, &list[i].rec, NULL), ST_OK);
    return t;
}

struct table *make_stack(struct world *w, const struct write *list, size_t n)
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

void model_apply(struct world *w, const struct write *list, size_t n,
                 const struct engine_mark *mark)
{
    for (size_t i = 0; i < n; i++)
        model_put(&w->m, list[i].key, &list[i].rec);
    w->m.mark = *mark;
}

struct engine_mark next_mark(struct world *w)
{
    w->index += 100; /* room for marks between */
    return (struct engine_mark){.index = w->index, .term = 3, .version = {w->clock, 0}};
}

void drain_random(struct world *w, size_t n)
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

void check_snapshot(struct world *w, struct engine_snapshot *s, const struct model *m)
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

void report(void *arg, const struct engine_finding *f)
{
    (void)arg;
    printf("finding: %s %llu: %s\n", f->file, (unsigned long long)f->offset, f->text);
}

void check_clean(struct world *w)
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

void check_all(struct world *w)
{
    check_reads(w);
    check_clean(w);
    check_counts(w);
}

struct engine_vacuum random_vacuum(struct world *w)
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

void vacuum_random(struct world *w)
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
