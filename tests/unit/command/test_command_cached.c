/* Reads from memory alone: what hot cache, tables and block cache have they answer as command_get
 * does; else they say so and never answer wrong. On both engines. */
#include "serve/command/command.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 3000 };

struct world {
    char dir[TEMP_DIR_MAX], folder[TEMP_DIR_MAX + 8];
    struct command_db db;
    struct store_options o;
    struct err err;
    struct version first[KEYS];
};

static struct bytes key_of(int i, char out[16])
{
    return BYTES(out, (size_t)snprintf(out, 16, "key%06d", i * 7));
}

static void open_store(struct world *w)
{
    enum status st = store_open(w->db.env, w->folder, &w->o, &w->db.store, &w->err);
    if (st != ST_OK)
        fail_msg("open: %s", w->err.detail);
}

static void write_all(struct world *w, int round)
{
    char key[16], value[200];
    memset(value, 'a' + round, sizeof(value));
    for (int i = 0; i < KEYS; i++) {
        struct command_put p = {.collection = BYTES_LIT("c"),
                                .key = key_of(i, key),
                                .value = {COMMAND_RAW, BYTES(value, sizeof(value))}};
        struct version v;
        assert_int_equal(command_put(&w->db, &p, &v, &w->err), ST_OK);
        if (round == 0)
            w->first[i] = v;
    }
}

static int setup(void **state, const char *name, store_engine_open_fn engine_open, size_t cache)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    assert_true(temp_dir_make(w->dir, "cached"));
    snprintf(w->folder, sizeof(w->folder), "%s/db", w->dir);
    w->db = (struct command_db){.env = env_linux(), .writer = BYTES_EMPTY};
    w->o = (struct store_options){.engine_name = name,
                                  .engine_open = engine_open,
                                  .sync = STORE_SYNC_OFF,
                                  .cache_bytes = cache,
                                  .checkpoint_interval_ms = UINT32_MAX,
                                  .engine.cache_bytes = 8 << 20};
    open_store(w);
    *state = w;
    return 0;
}
static int setup_mem(void **state)
{
    return setup(state, "mem", engine_mem_open, 0);
}
static int setup_rocks(void **state)
{
    return setup(state, "rocks", engine_rocks_open, 0);
}
static int setup_hot(void **state)
{
    return setup(state, "rocks", engine_rocks_open, 16 << 20);
}

static int teardown(void **state)
{
    struct world *w = *state;
    assert_int_equal(store_close(w->db.store, &w->err), ST_OK);
    bool gone = temp_dir_remove(w->dir);
    free(w);
    return gone ? 0 : -1;
}

/* How many of the keys memory could answer; those answers are held against command_get's. */
static int ask(struct world *w, bool past)
{
    struct buf a = BUF_INIT, b = BUF_INIT;
    int answered = 0;
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        struct record got, want;
        struct command_at at = {.kind = COMMAND_AT_VERSION, .version = w->first[i]};
        struct command_get c = {
            .collection = BYTES_LIT("c"), .key = key_of(i, key), .at = past ? &at : NULL};
        w->err.detail[0] = 0;
        enum status st = command_get_cached(&w->db, &c, &a, &got, &w->err);
        if (st == ST_TIMED_OUT) {
            assert_string_equal(w->err.detail, "not in memory");
            continue;
        }
        assert_int_equal(st, ST_OK);
        assert_int_equal(command_get(&w->db, &c, &b, &want, &w->err), ST_OK);
        assert_int_equal(version_cmp(got.version, want.version), 0);
        assert_true(bytes_eq(got.value, want.value));
        answered++;
    }
    buf_deinit(&a);
    buf_deinit(&b);
    return answered;
}

static void read_all(struct world *w, bool past)
{
    struct buf buf = BUF_INIT;
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        struct record rec;
        struct command_at at = {.kind = COMMAND_AT_VERSION, .version = w->first[i]};
        struct command_get c = {
            .collection = BYTES_LIT("c"), .key = key_of(i, key), .at = past ? &at : NULL};
        assert_int_equal(command_get(&w->db, &c, &buf, &rec, &w->err), ST_OK);
    }
    buf_deinit(&buf);
}

static enum status cached(struct world *w, const char *collection, const char *key,
                          const struct command_at *at)
{
    struct buf buf = BUF_INIT;
    struct record rec;
    struct command_get c = {BYTES_STR(collection), BYTES_STR(key), at};
    enum status st = command_get_cached(&w->db, &c, &buf, &rec, &w->err);
    buf_deinit(&buf);
    return st;
}

static void reopen(struct world *w)
{
    assert_int_equal(store_close(w->db.store, &w->err), ST_OK);
    open_store(w);
}

static void tables_and_memory_engines_always_answer(void **state)
{
    struct world *w = *state;
    write_all(w, 0);
    write_all(w, 1);
    assert_int_equal(ask(w, false), KEYS);
    assert_int_equal(ask(w, true), KEYS);
    assert_int_equal(cached(w, "c", "nothing", NULL), ST_NOT_FOUND);
    assert_int_equal(cached(w, "none", "nothing", NULL), ST_NOT_FOUND);
    assert_int_equal(cached(w, "c", "", NULL), ST_INVALID_ARGUMENT);
    assert_int_equal(cached(w, "", "k", NULL), ST_INVALID_ARGUMENT);
    struct version v;
    assert_int_equal(command_snapshot_create(&w->db, BYTES_LIT("s"), NULL, &v, &w->err), ST_OK);
    struct command_at at = {.kind = COMMAND_AT_SNAPSHOT, .snapshot = BYTES_LIT("s")};
    assert_int_equal(cached(w, "c", "key000000", &at), ST_TIMED_OUT);
    at = (struct command_at){.kind = COMMAND_AT_VERSION, .version = {1, 0}};
    assert_int_equal(cached(w, "c", "key000000", &at), ST_TIMED_OUT); /* before it was made */
    if (strcmp(w->o.engine_name, "mem") == 0) {
        reopen(w);
        assert_int_equal(ask(w, false), KEYS);
    }
}

/* From the engine's files: cold nothing, and what was read since is answered. */
static void a_cold_engine_is_not_entered(void **state)
{
    struct world *w = *state;
    write_all(w, 0);
    write_all(w, 1);
    reopen(w);
    int cold = ask(w, false);
    if (cold > KEYS / 2)
        fail_msg("%d of %d keys are said to be in memory after opening", cold, KEYS);
    read_all(w, false);
    assert_int_equal(ask(w, false), KEYS);
    assert_true(ask(w, true) < KEYS);
    read_all(w, true);
    assert_int_equal(ask(w, true), KEYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tables_and_memory_engines_always_answer, setup_mem,
                                        teardown),
        cmocka_unit_test_setup_teardown(tables_and_memory_engines_always_answer, setup_rocks,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_cold_engine_is_not_entered, setup_rocks, teardown),
        cmocka_unit_test_setup_teardown(a_cold_engine_is_not_entered, setup_hot, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
