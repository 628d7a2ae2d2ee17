#include "unit/engine/engine_world.h"

#include "support/seeds.h"

#include <stdio.h>
#include <stdlib.h>

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
