/* Batches: all or nothing, one version, requirements of each kind and which failed, limits,
 * compare-and-set races. */
#include "embed_util.h"

#include <pthread.h>
#include <stdio.h>

static const varve_version none = {0, 0};

static void add(varve_batch *b, const char *collection, const char *key, const char *value)
{
    if (value)
        assert_ok(
            varve_batch_put(b, collection, key, strlen(key), VARVE_RAW, value, strlen(value), 0));
    else
        assert_ok(varve_batch_delete(b, collection, key, strlen(key)));
}

static void require(varve_batch *b, const char *collection, const char *key, varve_require what,
                    varve_version v)
{
    assert_ok(varve_batch_require(b, collection, key, strlen(key), what, v));
}

static uint64_t collections(struct world *w)
{
    varve_stats s = {.size = sizeof(s)};
    assert_ok(varve_get_stats(w->db, &s));
    return s.collections;
}

static void writes_all_with_one_version(void **state)
{
    struct world *w = *state;
    db_open(w);
    put(w, "a", "gone", "x");
    varve_batch *b = varve_batch_new();
    assert_int_equal(varve_batch_bytes(b), 0);
    add(b, "a", "k", "1");
    add(b, "b", "k", "2");
    add(b, "a", "j", "3");
    add(b, "a", "gone", NULL);
    add(b, "b", "never", NULL); /* deleting what is absent is no error here */
    assert_int_equal(varve_batch_count(b), 5);
    assert_true(varve_batch_bytes(b) > 5);
    varve_write_options o = {.size = sizeof(o), .writer = "batcher"};
    varve_version v, again;
    assert_ok(varve_commit(w->db, b, &o, &v, NULL));
    expect(w, "a", "k", NULL, "1");
    assert_true(same_version(varve_value_version(w->v), v));
    assert_true(bytes_are(varve_value_writer(w->v), "batcher"));
    expect(w, "b", "k", NULL, "2");
    assert_true(same_version(varve_value_version(w->v), v));
    expect(w, "a", "j", NULL, "3");
    expect(w, "a", "gone", NULL, NULL);
    /* Unchanged, and may be committed again; also after its collections were dropped and made anew.
     */
    assert_ok(varve_collection_drop(w->db, "a", NULL));
    assert_ok(varve_commit(w->db, b, NULL, &again, NULL));
    assert_true(varve_version_compare(again, v) > 0);
    expect(w, "a", "j", NULL, "3");
    assert_true(same_version(varve_value_version(w->v), again));
    varve_batch_clear(b);
    assert_int_equal(varve_batch_count(b), 0);
    assert_fails(varve_commit(w->db, b, NULL, NULL, NULL), VARVE_INVALID_ARGUMENT,
                 "writes nothing");
    add(b, "c", "k", "after clear");
    assert_ok(varve_commit(w->db, b, NULL, NULL, NULL));
    expect(w, "c", "k", NULL, "after clear");
    varve_batch_free(b);
    db_reopen(w);
    expect(w, "a", "j", NULL, "3");
    expect(w, "c", "k", NULL, "after clear");
    db_end(w);
}

static void refuses_and_writes_nothing(void **state)
{
    struct world *w = *state;
    db_open(w);
    varve_version present = put(w, "c", "there", "x"), stale = present;
    present = put(w, "c", "there", "y");
    uint64_t before = collections(w);
    const struct {
        const char *collection, *key;
        varve_require what;
        varve_version v;
        bool holds;
    } cases[] = {
        {"c", "there", VARVE_REQUIRE_ABSENT, none, false},
        {"c", "gone", VARVE_REQUIRE_ABSENT, none, true},
        {"c", "there", VARVE_REQUIRE_PRESENT, none, true},
        {"c", "gone", VARVE_REQUIRE_PRESENT, none, false},
        {"c", "there", VARVE_REQUIRE_VERSION, present, true},
        {"c", "there", VARVE_REQUIRE_VERSION, stale, false},
        {"c", "gone", VARVE_REQUIRE_VERSION, present, false},
        {"none", "k", VARVE_REQUIRE_ABSENT, none, true},
        {"none", "k", VARVE_REQUIRE_PRESENT, none, false},
        {"none", "k", VARVE_REQUIRE_VERSION, present, false},
    };
    enum { N = sizeof(cases) / sizeof(cases[0]) };
    varve_batch *b = varve_batch_new();
    /* Every pair: the first that does not hold is told, whatever stands around it. */
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
            for (int fresh = 0; fresh < 2; fresh++) {
                const char *target = fresh ? "new" : "c";
                varve_batch_clear(b);
                add(b, target, "written", "1");
                require(b, cases[i].collection, cases[i].key, cases[i].what, cases[i].v);
                add(b, target, "other", "2");
                require(b, cases[j].collection, cases[j].key, cases[j].what, cases[j].v);
                size_t failed = 99;
                varve_version v = none;
                varve_status st = varve_commit(w->db, b, NULL, &v, &failed);
                bool holds = cases[i].holds && cases[j].holds;
                if (st != (holds ? VARVE_OK : VARVE_PRECONDITION_FAILED))
                    fail_msg("%d and %d (%s): %s: %s", i, j, target, varve_status_name(st),
                             varve_last_error());
                if (!holds) {
                    assert_int_equal(failed, cases[i].holds ? 1 : 0);
                    assert_true(same_version(v, none));
                    expect(w, target, "written", NULL, NULL);
                    expect(w, target, "other", NULL, NULL);
                    assert_int_equal(collections(w), before);
                } else {
                    expect(w, target, "written", NULL, "1");
                    assert_int_equal(collections(w), before + (uint64_t)fresh);
                    del(w, target, "written");
                    del(w, target, "other");
                    if (fresh)
                        assert_ok(varve_collection_drop(w->db, "new", NULL));
                }
            }
        }
    }
    varve_batch_free(b);
    db_end(w);
}

static void names_its_limits(void **state)
{
    struct world *w = *state;
    db_open(w);
    const size_t max = 16 * 1024 * 1024;
    uint8_t *big = calloc(1, max + 1);
    char *key = calloc(1, 65537);
    varve_batch *b = varve_batch_new();
    assert_fails(varve_batch_put(b, "c", key, 0, VARVE_RAW, "", 0, 0), VARVE_INVALID_ARGUMENT,
                 "key: it is empty");
    assert_fails(varve_batch_put(b, "c", key, 65537, VARVE_RAW, "", 0, 0), VARVE_TOO_LARGE,
                 "65536");
    assert_fails(varve_batch_put(b, "c", "k", 1, VARVE_RAW, big, max + 1, 0), VARVE_TOO_LARGE,
                 "16777216");
    assert_fails(varve_batch_put(b, "", "k", 1, VARVE_RAW, "", 0, 0), VARVE_INVALID_ARGUMENT,
                 "collection");
    assert_fails(varve_batch_put(b, "c", "k", 1, VARVE_JSON, "{", 1, 0), VARVE_INVALID_ARGUMENT,
                 "line 1");
    assert_fails(varve_batch_put(b, "c", "k", 1, VARVE_RAW, "", 0, UINT64_MAX), VARVE_TOO_LARGE,
                 "ttl_ms");
    assert_fails(varve_batch_delete(b, "c", key, 0), VARVE_INVALID_ARGUMENT, "key");
    assert_fails(varve_batch_require(b, "c", "k", 1, (varve_require)0, none),
                 VARVE_INVALID_ARGUMENT, "what");
    assert_fails(varve_batch_require(b, "c", "k", 1, VARVE_REQUIRE_VERSION, none),
                 VARVE_INVALID_ARGUMENT, "version");
    assert_int_equal(varve_batch_count(b), 0);
    /* Filled to the last byte it still commits; one more is refused when it is added. */
    assert_ok(varve_batch_put(b, "c", "a", 1, VARVE_RAW, big, max, 0));
    size_t one = varve_batch_bytes(b) - max, left = 32 * 1024 * 1024 - 276 - varve_batch_bytes(b);
    assert_fails(varve_batch_put(b, "c", "b", 1, VARVE_RAW, big, left - one + 1, 0),
                 VARVE_TOO_LARGE, "33554432 (32 MiB)");
    assert_int_equal(varve_batch_count(b), 1);
    assert_ok(varve_batch_put(b, "c", "b", 1, VARVE_RAW, big, left - one, 0));
    char writer[256];
    memset(writer, 'w', 255);
    writer[255] = 0;
    varve_write_options o = {.size = sizeof(o), .writer = writer};
    assert_ok(varve_commit(w->db, b, &o, NULL, NULL));
    assert_ok(varve_get(w->db, "c", "a", 1, NULL, w->v));
    assert_int_equal(varve_value_bytes(w->v).len, max);
    o = (varve_write_options){.size = sizeof(o), .ttl_ms = 5};
    assert_fails(varve_commit(w->db, b, &o, NULL, NULL), VARVE_INVALID_ARGUMENT, "ttl_ms");
    varve_batch_clear(b);
    add(b, "c", "twice", "1");
    add(b, "d", "twice", "1");
    add(b, "c", "twice", NULL);
    assert_fails(varve_commit(w->db, b, NULL, NULL, NULL), VARVE_INVALID_ARGUMENT, "twice");
    varve_batch_free(b);
    free(big);
    free(key);
    db_end(w);
}

static void takes_many_collections_and_ops(void **state)
{
    struct world *w = *state;
    db_open(w);
    varve_batch *b = varve_batch_new();
    char name[16], key[16];
    for (int round = 0; round < 3; round++) {
        varve_batch_clear(b);
        for (int i = 0; i < 3000; i++) {
            snprintf(name, sizeof(name), "c%d", (i * 7) % 150);
            snprintf(key, sizeof(key), "%d", i);
            assert_ok(
                varve_batch_put(b, name, key, strlen(key), VARVE_RAW, &round, sizeof(round), 0));
        }
        assert_ok(varve_commit(w->db, b, NULL, NULL, NULL));
    }
    assert_int_equal(collections(w), 150);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "c%d", (i * 7) % 150);
        snprintf(key, sizeof(key), "%d", i);
        assert_ok(varve_get(w->db, name, key, strlen(key), NULL, w->v));
        assert_int_equal(*(const int *)varve_value_bytes(w->v).data, 2);
    }
    varve_batch_free(b);
    db_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(writes_all_with_one_version),
        WORLD_TEST(refuses_and_writes_nothing),
        WORLD_TEST(names_its_limits),
        WORLD_TEST(takes_many_collections_and_ops),
    };
    return RUN_ON(tests, "mem", "rocks");
}
