/* Small drains: their runs are merged with one another, and their keys looked up by several threads. The
 * same suite, and what is particular to them. */
#include "base/alloc.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"
#include "unit/engine/suite_engine.h"

#include <stdio.h>
#include <stdlib.h>

enum { SMALL = 1 << 20, LARGE = 128 << 20 };

static enum status open_for(size_t drain_bytes, const char *dir, struct engine **ret,
                            struct err *err)
{
    struct engine_options o = {.drain_bytes = drain_bytes};
    return engine_rocks_open(env_linux(), dir, &o, ret, err);
}

static enum status open_small(struct env *env, const char *dir, const struct engine_options *from,
                              struct engine **ret, struct err *err)
{
    struct engine_options o = from ? *from : (struct engine_options){0};
    o.drain_bytes = SMALL;
    return engine_rocks_open(env, dir, &o, ret, err);
}

const struct backend suite_backend = {"rocks, small drains", 6, open_small, engine_rocks_test_raw,
                                      engine_rocks_test_fail_step};

static void must(enum status st, const struct err *err)
{
    if (st != ST_OK)
        fail_msg("%s: %s", status_name(st), err->detail);
}

/* Keys by number; what each held last, and before. */
enum { KEYS = 60000 };
struct world {
    char dir[TEMP_DIR_MAX];
    struct engine *e;
    struct test_rng rng;
    uint64_t fail_at; /* this allocation of a drain */
    unsigned refused; /* drains, for want of memory; they were repeated */
    uint64_t clock, index, newest[KEYS], before[KEYS];
};

static struct bytes key_of(unsigned i, char out[16])
{
    int n = snprintf(out, 16, "%07u", i * 13);
    return BYTES(out, (size_t)n);
}

/* Every step-th key from `from` on, `n` of them. */
static enum status drain_some(struct world *w, unsigned from, unsigned step, unsigned n,
                              struct err *err)
{
    struct table *t = table_new();
    uint64_t clock = w->clock;
    for (unsigned i = 0; i < n; i++) {
        char key[16];
        uint8_t value[40];
        test_rng_bytes(&w->rng, value, sizeof(value));
        struct record r = {.version = {++clock, 0},
                           .kind = RECORD_PUT,
                           .writer = BYTES_EMPTY,
                           .value = BYTES(value, sizeof(value))};
        assert_int_equal(table_put(t, key_of(from + i * step, key), &r, NULL), ST_OK);
    }
    struct engine_mark mark = {.index = w->index + 1, .term = 1, .version = {clock, 0}};
    mem_fail_at(w->fail_at, 0);
    enum status st = w->e->ops->drain(w->e, 1, t, &mark, err);
    mem_fail_at(0, 0);
    w->refused += st == ST_NO_MEMORY;
    if (st == ST_NO_MEMORY)
        st = w->e->ops->drain(w->e, 1, t, &mark, err);
    table_unref(t);
    if (st != ST_OK)
        return st;
    for (unsigned i = 0; i < n; i++) {
        unsigned k = from + i * step;
        w->before[k] = w->newest[k];
        w->newest[k] = w->clock + 1 + i;
    }
    w->clock = clock;
    w->index++;
    return ST_OK;
}

static uint64_t version_at(struct world *w, struct engine_snapshot *s, unsigned k, uint64_t at)
{
    char key[16];
    struct record rec = {0};
    struct engine_pin pin = {0};
    struct err err;
    enum status st =
        w->e->ops->get(w->e, s, key_of(k, key), (struct version){at, 0}, false, &rec, &pin, &err);
    if (st == ST_NOT_FOUND)
        return 0;
    must(st, &err);
    engine_pin_release(&pin);
    return rec.version.hlc;
}

static void check(struct world *w)
{
    struct engine_snapshot *s;
    struct err err;
    must(w->e->ops->snapshot(w->e, &s, &err), &err);
    for (unsigned k = 0; k < KEYS; k += 7) {
        assert_int_equal(version_at(w, s, k, UINT64_MAX), w->newest[k]);
        if (w->newest[k])
            assert_int_equal(version_at(w, s, k, w->newest[k] - 1), w->before[k]);
    }
    w->e->ops->snapshot_release(w->e, s);
    must(w->e->ops->verify(w->e, 1, NULL, NULL, NULL, &err), &err);
}

static void world_open(struct world *w, size_t drain_bytes)
{
    struct err err;
    if (w->e)
        w->e->ops->close(w->e);
    must(open_for(drain_bytes, w->dir, &w->e, &err), &err);
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    test_rng_init(&w->rng, 3);
    assert_true(temp_dir_make(w->dir, "tiers"));
    return w;
}

static void world_end(struct world *w)
{
    w->e->ops->close(w->e);
    assert_true(temp_dir_remove(w->dir));
    free(w);
}

/* What one way of merging left, the other opens and goes on with, to and fro, with enough drains for both
 * to merge: the rows stay as they were. */
static void both_ways(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct err err;
    for (unsigned round = 0; round < 4; round++) {
        world_open(w, round % 2 ? LARGE : SMALL);
        for (unsigned i = 0; i < 30; i++)
            must(drain_some(w, (unsigned)test_rng_below(&w->rng, 1000), 20, 2000, &err), &err);
        if (round == 2)
            must(w->e->ops->compact(w->e, &err), &err);
        check(w);
    }
    world_open(w, SMALL);
    check(w);
    world_end(w);
}

/* Rising keys: each run lies behind all others. */
static void rising(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct err err;
    world_open(w, SMALL);
    for (unsigned i = 0; i < 40; i++)
        must(drain_some(w, i * (KEYS / 40), 1, KEYS / 40, &err), &err);
    for (unsigned i = 0; i < 15; i++)
        must(drain_some(w, i, 3000, 20, &err), &err);
    check(w);
    world_open(w, SMALL);
    check(w);
    world_end(w);
}

/* A few thousand keys among many rows are looked up by several threads, and by one where there is no
 * memory to start more. */
static void helped(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct err err;
    world_open(w, SMALL);
    must(drain_some(w, 0, 1, KEYS, &err), &err);
    for (unsigned i = 0; i < 8; i++)
        must(drain_some(w, i, 10, KEYS / 10 - 1, &err), &err);
    check(w);
    /* Without memory, at each point in turn. */
    unsigned slower = 0;
    for (uint64_t hits = 1; hits;) {
        unsigned refused = w->refused, n = (unsigned)++w->fail_at;
        must(drain_some(w, n % 10, 10, KEYS / 10 - 1, &err), &err);
        hits = mem_fail_hits();
        slower += hits && w->refused == refused;
    }
    w->fail_at = 0;
    assert_true(w->refused > 5 && slower > 0);
    check(w);
    world_end(w);
}

/* A block that cannot be read fails the drain, whoever of the threads met it, and nothing of it is seen. */
static void helped_rot(void **state)
{
    (void)state;
    struct world *w = world_new();
    struct err err;
    struct buf names = BUF_INIT;
    char path[TEMP_DIR_MAX + 300];
    world_open(w, SMALL);
    must(drain_some(w, 0, 1, KEYS, &err), &err);
    must(w->e->ops->compact(w->e, &err), &err);
    w->e->ops->close(w->e);
    w->e = NULL;
    snprintf(path, sizeof(path), "%s/rocks", w->dir);
    must(env_list(env_linux(), path, &names, &err), &err);
    uint64_t size = 0;
    char largest[TEMP_DIR_MAX + 300] = "";
    for (size_t at = 0; at < names.len; at += strlen((const char *)names.data + at) + 1) {
        const char *name = (const char *)names.data + at;
        snprintf(path, sizeof(path), "%s/rocks/%s", w->dir, name);
        FILE *f = strstr(name, ".sst") ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        assert_int_equal(fseek(f, 0, SEEK_END), 0);
        if ((uint64_t)ftell(f) > size) {
            size = (uint64_t)ftell(f);
            memcpy(largest, path, sizeof(path));
        }
        fclose(f);
    }
    buf_deinit(&names);
    assert_true(size > 100000);
    FILE *f = fopen(largest, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, (long)(size / 2), SEEK_SET), 0);
    int c = fgetc(f);
    assert_int_equal(fseek(f, (long)(size / 2), SEEK_SET), 0);
    fputc(c ^ 0x10, f);
    fclose(f);
    world_open(w, SMALL);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(drain_some(w, i, 10, KEYS / 10 - 1, &err), ST_CORRUPT);
    assert_non_null(strstr(err.detail, ".sst"));
    struct engine_mark have;
    must(w->e->ops->persisted(w->e, 1, &have, &err), &err);
    assert_int_equal(have.index, 1);
    world_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways),
        cmocka_unit_test(rising),
        cmocka_unit_test(helped),
        cmocka_unit_test(helped_rot),
        cmocka_unit_test(suite_random),
        cmocka_unit_test(suite_half_drains),
        cmocka_unit_test(suite_cut_vacuum),
        cmocka_unit_test(suite_long_history),
        cmocka_unit_test(suite_move),
        cmocka_unit_test(suite_no_memory),
        cmocka_unit_test(suite_verify_planted),
    };
    return cmocka_run_group_tests(tests, suite_setup, NULL);
}
