/* suite_verify_random.c - random sound states, and one row changed at random: the pass that sums
 * never calls well what the walk that looks everything up would name. */
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "support/tempdir.h"
#include "unit/engine/suite_engine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { RANGE = 7, OTHER = 9, KEYS = 12, ROUNDS = 5, CHANGES = 40, ROWS_MAX = 4096 };

struct rows {
    struct {
        enum engine_family family;
        struct buf key, value;
    } row[ROWS_MAX];
    size_t n;
};

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

/* Writes of one range; keys of ranges do not overlap. */
static void drain(struct engine *e, struct test_rng *r, uint64_t range, uint64_t *clock)
{
    struct table *t = table_new();
    struct err err;
    char key[16], value[16];
    assert_non_null(t);
    for (uint64_t i = 0, n = test_rng_between(r, 1, 30); i < n; i++) {
        int k = snprintf(key, sizeof(key), "%c%" PRIu64, range == RANGE ? 'a' : 'b',
                         test_rng_below(r, KEYS));
        int v = snprintf(value, sizeof(value), "%" PRIu64, *clock);
        bool put = !test_rng_chance(r, 1, 4);
        *clock += test_rng_between(r, 1, 3);
        struct record rec = {.version = {*clock, (uint32_t)test_rng_below(r, 2)},
                             .kind = put ? RECORD_PUT : RECORD_DELETE,
                             .writer = BYTES_EMPTY,
                             .value = put ? BYTES(value, (size_t)v) : BYTES_EMPTY};
        assert_int_equal(table_put(t, BYTES(key, (size_t)k), &rec, NULL), ST_OK);
    }
    *clock += 1;
    struct engine_mark mark = {.index = *clock, .term = 1, .version = {*clock, 0}};
    must(e->ops->drain(e, range, t, &mark, &err), &err);
    table_unref(t);
}

static void vacuum(struct engine *e, struct test_rng *r, uint64_t clock)
{
    struct engine_vacuum q = {.in = {BYTES_LIT("a"), BYTES_LIT("b")}};
    struct engine_vacuum_result ret;
    struct err err;
    if (test_rng_chance(r, 1, 2))
        q.horizon = (struct version){test_rng_below(r, clock), 0};
    else
        q.keep_count = test_rng_between(r, 1, 3);
    must(e->ops->vacuum(e, RANGE, &q, &ret, &err), &err);
}

static void sound_state(struct engine *e, struct test_rng *r)
{
    uint64_t clock = 1000, other = 1000;
    for (int i = 0; i < ROUNDS; i++) {
        drain(e, r, RANGE, &clock);
        if (test_rng_chance(r, 1, 3))
            drain(e, r, OTHER, &other);
        if (test_rng_chance(r, 1, 3))
            vacuum(e, r, clock);
    }
}

static void judge(struct engine *e, bool *ret_sound, uint64_t *ret_findings)
{
    struct engine_snapshot *s;
    struct err err;
    struct engine_verify pass = {.range = RANGE}, walk = {.range = RANGE};
    must(e->ops->snapshot(e, &s, &err), &err);
    must(engine_view_sound(engine_snapshot_view(s), &pass, ret_sound, &err), &err);
    must(engine_view_verify(engine_snapshot_view(s), &walk, &err), &err);
    /* Ranges are looked at one by one there. */
    struct engine_verify second = {.range = OTHER};
    must(engine_view_verify(engine_snapshot_view(s), &second, &err), &err);
    e->ops->snapshot_release(e, s);
    *ret_findings = walk.findings + second.findings;
    bool sound = e->ops->verify(e, RANGE, NULL, NULL, NULL, &err) == ST_OK;
    assert_int_equal(sound, walk.findings == 0);
}

static void read_rows(struct engine *e, struct rows *rows)
{
    struct engine_snapshot *s;
    struct err err;
    rows->n = 0;
    must(e->ops->snapshot(e, &s, &err), &err);
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        struct engine_view *v = engine_snapshot_view(s);
        struct engine_cursor *c = NULL;
        must(v->ops->cursor(v, (enum engine_family)f, 0, NULL, &c, &err), &err);
        must(c->ops->seek(c, BYTES_EMPTY, &err), &err);
        for (; c->valid; rows->n++) {
            assert_true(rows->n < ROWS_MAX);
            rows->row[rows->n].family = (enum engine_family)f;
            buf_init(&rows->row[rows->n].key, 0);
            buf_init(&rows->row[rows->n].value, 0);
            assert_int_equal(buf_append(&rows->row[rows->n].key, c->key.data, c->key.len), ST_OK);
            assert_int_equal(buf_append(&rows->row[rows->n].value, c->value.data, c->value.len),
                             ST_OK);
            must(c->ops->next(c, &err), &err);
        }
        engine_cursor_close(c);
    }
    e->ops->snapshot_release(e, s);
}

static void rows_free(struct rows *rows)
{
    for (size_t i = 0; i < rows->n; i++) {
        buf_deinit(&rows->row[i].key);
        buf_deinit(&rows->row[i].value);
    }
}

static void raw(struct engine *e, enum engine_family f, struct bytes key, const struct bytes *value)
{
    struct err err;
    must(suite_backend.raw(e, f, key, value, &err), &err);
}

static bool turn_bit(struct test_rng *r, struct bytes b, struct buf *out)
{
    buf_clear(out);
    assert_int_equal(buf_append(out, b.data, b.len), ST_OK);
    if (!b.len)
        return false;
    out->data[test_rng_below(r, b.len)] ^= (uint8_t)(1u << test_rng_below(r, 8));
    return true;
}

static bool is_row(const struct rows *rows, enum engine_family f, struct bytes key)
{
    for (size_t i = 0; i < rows->n; i++)
        if (rows->row[i].family == f && bytes_eq(buf_bytes(&rows->row[i].key), key))
            return true;
    return false;
}

/* Changes one row; *ret_found: any verify must find it. Answers how to undo it: *extra is the key of
 * a row that came. */
static bool change(struct engine *e, struct test_rng *r, const struct rows *rows, size_t i,
                   struct buf *extra, bool *ret_found)
{
    enum engine_family f = rows->row[i].family;
    struct bytes key = buf_bytes(&rows->row[i].key), value = buf_bytes(&rows->row[i].value);
    struct buf other = BUF_INIT;
    size_t j = (size_t)test_rng_below(r, rows->n);
    struct bytes theirs = buf_bytes(&rows->row[j].value), prefix;
    struct version version = {1, 1};
    bool done = true;
    buf_clear(extra);
    *ret_found = false;
    switch (test_rng_below(r, 4)) {
    case 0: /* it is gone; a floor may, and nothing tells */
        if (f == ENGINE_LIVE && engine_key_reserved(key))
            return false;
        *ret_found = f != ENGINE_PAST ||
                     (engine_past_split(key, &prefix, &version) && !version_is_none(version));
        raw(e, f, key, NULL);
        break;
    case 1: /* it says something else */
        done = turn_bit(r, value, &other) && !(f == ENGINE_LIVE && engine_key_reserved(key));
        theirs = buf_bytes(&other);
        if (done)
            raw(e, f, key, &theirs);
        break;
    case 2: /* what another says */
        done = f == rows->row[j].family && !bytes_eq(theirs, value) && !engine_key_reserved(key) &&
               !engine_key_reserved(buf_bytes(&rows->row[j].key));
        if (done)
            raw(e, f, key, &theirs);
        break;
    default: /* there is one more like it */
        done = turn_bit(r, key, extra) && !is_row(rows, f, buf_bytes(extra)) &&
               !engine_key_reserved(key) && !engine_key_reserved(buf_bytes(extra));
        if (done)
            raw(e, f, buf_bytes(extra), &value);
        else
            buf_clear(extra);
    }
    buf_deinit(&other);
    return done;
}

void suite_verify_random(void **state)
{
    (void)state;
    uint64_t seed, found = 0, legal = 0;
    struct rows *rows = calloc(1, sizeof(*rows));
    assert_non_null(rows);
    FOR_EACH_SEED(seed, suite_backend.seeds / 2)
    {
        struct test_rng r;
        char dir[TEMP_DIR_MAX];
        struct engine *e = NULL;
        struct err err;
        struct buf extra = BUF_INIT;
        bool sound, must_find;
        uint64_t findings;
        test_rng_init(&r, seed);
        assert_true(temp_dir_make(dir, "sound"));
        must(suite_backend.open(env_linux(), dir, NULL, &e, &err), &err);
        sound_state(e, &r);
        judge(e, &sound, &findings);
        assert_int_equal(findings, 0);
        assert_true(sound);
        read_rows(e, rows);
        for (int n = 0; n < CHANGES; n++) {
            size_t i = (size_t)test_rng_below(&r, rows->n);
            if (!change(e, &r, rows, i, &extra, &must_find))
                continue;
            judge(e, &sound, &findings);
            if (sound && findings)
                fail_msg("seed %" PRIu64
                         ", change %d of a row of %s: the sums are equal, yet %" PRIu64 " findings",
                         seed, n, engine_family_name(rows->row[i].family), findings);
            if (must_find && !findings)
                fail_msg("seed %" PRIu64 ", change %d: a row of %s is gone, and nothing tells",
                         seed, n, engine_family_name(rows->row[i].family));
            found += findings > 0;
            legal += findings == 0;
            struct bytes value = buf_bytes(&rows->row[i].value);
            raw(e, rows->row[i].family, buf_bytes(&rows->row[i].key), &value);
            if (extra.len)
                raw(e, rows->row[i].family, buf_bytes(&extra), NULL);
        }
        judge(e, &sound, &findings);
        assert_true(sound && findings == 0);
        rows_free(rows);
        buf_deinit(&extra);
        e->ops->close(e);
        assert_true(temp_dir_remove(dir));
    }
    printf("%" PRIu64 " changes were found, %" PRIu64 " said nothing that verify could know\n",
           found, legal);
    free(rows);
    assert_true(found > legal);
}
