/* suite_verify.c - inconsistencies planted one at a time among good rows; verify must name each. */
#include "support/cmocka.h"
#include "support/tempdir.h"
#include "unit/engine/suite_engine.h"

#include <stdio.h>
#include <stdlib.h>

enum { RANGE = 7 };

struct plant {
    const char *what; /* part of the finding expected */
    void (*plant)(struct engine *e);
};

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

static void raw(struct engine *e, enum engine_family f, struct bytes key, struct bytes value)
{
    struct err err;
    must(suite_backend.raw(e, f, key, &value, &err), &err);
}

static void raw_del(struct engine *e, enum engine_family f, struct bytes key)
{
    struct err err;
    must(suite_backend.raw(e, f, key, NULL, &err), &err);
}

static struct version at(uint64_t n)
{
    return (struct version){1000 + n, 0};
}

static void put_live(struct engine *e, const char *key, uint64_t v, uint64_t parent, uint8_t kind)
{
    struct buf b = BUF_INIT;
    struct record r = {
        .version = at(v), .kind = kind, .writer = BYTES_EMPTY, .value = BYTES_LIT("x")};
    if (parent)
        r.parent = at(parent);
    assert_int_equal(record_encode(&b, &r, RECORD_WITH_VERSION), ST_OK);
    raw(e, ENGINE_LIVE, BYTES_STR(key), buf_bytes(&b));
    buf_deinit(&b);
}

static void put_past(struct engine *e, const char *key, uint64_t v, uint64_t parent, uint8_t kind)
{
    struct buf k = BUF_INIT, b = BUF_INIT;
    struct record r = {
        .version = at(v), .kind = kind, .writer = BYTES_EMPTY, .value = BYTES_LIT("x")};
    if (parent)
        r.parent = at(parent);
    assert_int_equal(engine_past_key(&k, BYTES_STR(key), r.version), ST_OK);
    assert_int_equal(record_encode(&b, &r, 0), ST_OK);
    raw(e, ENGINE_PAST, buf_bytes(&k), buf_bytes(&b));
    buf_deinit(&k);
    buf_deinit(&b);
}

static void del_past(struct engine *e, const char *key, uint64_t v)
{
    struct buf k = BUF_INIT;
    assert_int_equal(engine_past_key(&k, BYTES_STR(key), at(v)), ST_OK);
    raw_del(e, ENGINE_PAST, buf_bytes(&k));
    buf_deinit(&k);
}

static void put_when(struct engine *e, const char *key, uint64_t v, uint64_t parent, uint8_t kind)
{
    struct buf k = BUF_INIT, b = BUF_INIT;
    assert_int_equal(engine_when_key(&k, RANGE, at(v), BYTES_STR(key)), ST_OK);
    assert_int_equal(engine_when_value(&b, kind, at(v), parent ? at(parent) : VERSION_NONE), ST_OK);
    raw(e, ENGINE_WHEN, buf_bytes(&k), buf_bytes(&b));
    buf_deinit(&k);
    buf_deinit(&b);
}

static void del_when(struct engine *e, const char *key, uint64_t v)
{
    struct buf k = BUF_INIT;
    assert_int_equal(engine_when_key(&k, RANGE, at(v), BYTES_STR(key)), ST_OK);
    raw_del(e, ENGINE_WHEN, buf_bytes(&k));
    buf_deinit(&k);
}

/* The good rows: a = 1 put, 4 put, 7 put; b = 2 put, 5 delete; c = 3 put. Mark at 9. */
static struct engine *base(const char *dir)
{
    static const struct {
        const char *key;
        uint64_t v;
        uint8_t kind;
    } writes[] = {{"a", 1, RECORD_PUT}, {"b", 2, RECORD_PUT},    {"c", 3, RECORD_PUT},
                  {"a", 4, RECORD_PUT}, {"b", 5, RECORD_DELETE}, {"a", 7, RECORD_PUT}};
    struct engine *e = NULL;
    struct err err;
    must(suite_backend.open(env_linux(), dir, NULL, &e, &err), &err);
    struct table *t = table_new();
    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        struct record r = {.version = at(writes[i].v),
                           .kind = writes[i].kind,
                           .writer = BYTES_EMPTY,
                           .value = writes[i].kind == RECORD_PUT ? BYTES_LIT("x") : BYTES_EMPTY};
        assert_int_equal(table_put(t, BYTES_STR(writes[i].key), &r, NULL), ST_OK);
    }
    struct engine_mark mark = {.index = 5, .term = 1, .version = at(9)};
    must(e->ops->drain(e, RANGE, t, &mark, &err), &err);
    table_unref(t);
    return e;
}

static void no_when(struct engine *e)
{
    del_when(e, "c", 3);
}
static void no_when_of_past(struct engine *e)
{
    del_when(e, "a", 1);
}
static void when_alone(struct engine *e)
{
    put_when(e, "zz", 6, 0, RECORD_PUT);
}
static void past_lost(struct engine *e)
{
    del_past(e, "a", 4);
}
static void oldest_lost(struct engine *e)
{
    del_past(e, "a", 1);
}
static void live_lost(struct engine *e)
{
    raw_del(e, ENGINE_LIVE, BYTES_LIT("c"));
}
static void live_lost_with_past(struct engine *e)
{
    raw_del(e, ENGINE_LIVE, BYTES_LIT("a"));
}
static void live_garbage(struct engine *e)
{
    raw(e, ENGINE_LIVE, BYTES_LIT("c"), BYTES_LIT("\x01"));
}
static void live_delete(struct engine *e)
{
    put_live(e, "c", 3, 0, RECORD_DELETE);
}
static void live_above_mark(struct engine *e)
{
    put_live(e, "d", 20, 0, RECORD_PUT);
    put_when(e, "d", 20, 0, RECORD_PUT);
}
static void live_wrong_parent(struct engine *e)
{
    put_live(e, "a", 7, 1, RECORD_PUT);
}
static void live_own_parent(struct engine *e)
{
    put_live(e, "c", 3, 3, RECORD_PUT);
}
static void past_above_live(struct engine *e)
{
    put_past(e, "c", 6, 3, RECORD_PUT);
}
static void past_delete_live(struct engine *e)
{
    put_past(e, "c", 3, 0, RECORD_DELETE);
}
static void past_inserted(struct engine *e)
{
    put_past(e, "a", 3, 1, RECORD_PUT);
}
static void past_garbage(struct engine *e)
{
    struct buf k = BUF_INIT;
    assert_int_equal(engine_past_key(&k, BYTES_LIT("a"), at(4)), ST_OK);
    raw(e, ENGINE_PAST, buf_bytes(&k), BYTES_LIT("\x00"));
    buf_deinit(&k);
}
static void past_short_key(struct engine *e)
{
    raw(e, ENGINE_PAST, BYTES_LIT("a\x00\x01zzz"), BYTES_LIT("\x00\x00\x01"));
}
static void past_bad_key(struct engine *e)
{
    raw(e, ENGINE_PAST, BYTES_LIT("a\x00\x07q\x00\x01......version"), BYTES_LIT("\x00\x00\x01"));
}
static void past_undeleted(struct engine *e)
{
    put_past(e, "b", 5, 2, RECORD_PUT);
}
static void floor_alone(struct engine *e)
{
    struct buf k = BUF_INIT, b = BUF_INIT;
    uint8_t v[ENGINE_VERSION_BYTES];
    engine_floor_value(at(2), v);
    struct record r = {.kind = RECORD_FLOOR, .writer = BYTES_EMPTY, .value = BYTES(v, sizeof(v))};
    assert_int_equal(engine_past_key(&k, BYTES_LIT("nokey"), VERSION_NONE), ST_OK);
    assert_int_equal(record_encode(&b, &r, 0), ST_OK);
    raw(e, ENGINE_PAST, buf_bytes(&k), buf_bytes(&b));
    buf_deinit(&k);
    buf_deinit(&b);
}
static void floor_above(struct engine *e)
{
    struct buf k = BUF_INIT, b = BUF_INIT;
    uint8_t v[ENGINE_VERSION_BYTES];
    engine_floor_value(at(6), v);
    struct record r = {.kind = RECORD_FLOOR, .writer = BYTES_EMPTY, .value = BYTES(v, sizeof(v))};
    assert_int_equal(engine_past_key(&k, BYTES_LIT("a"), VERSION_NONE), ST_OK);
    assert_int_equal(record_encode(&b, &r, 0), ST_OK);
    raw(e, ENGINE_PAST, buf_bytes(&k), buf_bytes(&b));
    buf_deinit(&k);
    buf_deinit(&b);
}
/* A record lost with all that speaks of it: only the count tells. */
static void live_uncounted(struct engine *e)
{
    raw_del(e, ENGINE_LIVE, BYTES_LIT("c"));
    del_when(e, "c", 3);
}
static void when_kind(struct engine *e)
{
    put_when(e, "a", 4, 1, RECORD_DELETE);
}
static void when_parent(struct engine *e)
{
    put_when(e, "a", 7, 1, RECORD_PUT);
}
static void when_garbage(struct engine *e)
{
    struct buf k = BUF_INIT;
    assert_int_equal(engine_when_key(&k, RANGE, at(4), BYTES_LIT("a")), ST_OK);
    raw(e, ENGINE_WHEN, buf_bytes(&k), BYTES_LIT("\xf0"));
    buf_deinit(&k);
}
static void when_short_key(struct engine *e)
{
    raw(e, ENGINE_WHEN, BYTES_LIT("\0\0\0\0\0\0\0\x07\x01"), BYTES_LIT("\x01"));
}

static const struct plant plants[] = {
    {"has no when row", no_when},
    {"past: key a version", no_when_of_past},
    {"resolves to no live or past", when_alone},
    {"not the next older", past_lost},
    {"resolves to no live or past", oldest_lost},
    {"resolves to no live or past", live_lost},
    {"newest of a key without a live row", live_lost_with_past},
    {"live: key c", live_garbage},
    {"live: key c", live_delete},
    {"above its range's mark", live_above_mark},
    {"its parent is not", live_wrong_parent},
    {"its parent is not older", live_own_parent},
    {"newer than the live row", past_above_live},
    {"is a delete, yet", past_delete_live},
    {"not the next older", past_inserted},
    {"its value cannot be decoded", past_garbage},
    {"the row's key cannot be decoded", past_short_key},
    {"the row's key cannot be decoded", past_bad_key},
    {"yet no delete", past_undeleted},
    {"a floor without any version", floor_alone},
    {"a floor lies above", floor_above},
    {"yet the marks count", live_uncounted},
    {"its kind is not", when_kind},
    {"its parent is not the version's", when_parent},
    {"its value cannot be decoded", when_garbage},
    {"the row's key cannot be decoded", when_short_key},
};

struct seen {
    const char *what;
    unsigned findings;
    bool named;
};

static void see(void *arg, const struct engine_finding *f)
{
    struct seen *s = arg;
    s->findings++;
    s->named |= strstr(f->text, s->what) != NULL;
}

void suite_verify_planted(void **state)
{
    (void)state;
    struct err err;
    for (size_t i = 0; i < sizeof(plants) / sizeof(plants[0]); i++) {
        char dir[TEMP_DIR_MAX];
        assert_true(temp_dir_make(dir, "plant"));
        struct engine *e = base(dir);
        struct seen s = {.what = plants[i].what};
        must(e->ops->verify(e, RANGE, see, NULL, &s, &err), &err);
        assert_int_equal(s.findings, 0);
        plants[i].plant(e);
        enum status st = e->ops->verify(e, RANGE, see, NULL, &s, &err);
        if (st != ST_CORRUPT || !s.named)
            fail_msg("plant %zu (%s): %s, %u findings, named: %d", i, plants[i].what,
                     status_name(st), s.findings, s.named);
        e->ops->close(e);
        assert_true(temp_dir_remove(dir));
    }
}
