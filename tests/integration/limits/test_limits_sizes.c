/* Every size that varve.h names: at the limit it is taken and comes back as it was, past it the
 * answer is TOO_LARGE and the message names what is too large. */
#include "limits_util.h"

#include <stdio.h>

#define MIB ((size_t)1 << 20)
enum { KEY_MAX = 64 * 1024, NAME_MAX_BYTES = 120, DEPTH = 100 };

static uint8_t *noise(size_t len)
{
    struct test_rng r;
    uint8_t *p = malloc(len + 1);
    assert_non_null(p);
    test_rng_init(&r, len);
    test_rng_bytes(&r, p, len);
    return p;
}

static varve_status put_raw(struct world *w, const void *key, size_t key_len, const void *value,
                            size_t len)
{
    return varve_put(w->db, "c", key, key_len, VARVE_RAW, value, len, NULL, NULL);
}

static void expect_raw(struct world *w, const void *key, size_t key_len, const void *value,
                       size_t len)
{
    assert_ok(varve_get(w->db, "c", key, key_len, NULL, w->v));
    assert_int_equal(varve_value_bytes(w->v).len, len);
    if (len)
        assert_memory_equal(varve_value_bytes(w->v).data, value, len);
}

/* In memory, in the engine, and from the folder. */
#define EACH_HOME(w, call)                                                                         \
    do {                                                                                           \
        call;                                                                                      \
        assert_ok(varve_checkpoint((w)->db));                                                      \
        call;                                                                                      \
        db_reopen(w);                                                                              \
        call;                                                                                      \
    } while (0)

/* ---- documents ---- */

/* Levels of nesting, objects and arrays in turn when `arrays`; the outermost document is one. */
static char *nested(int levels, bool arrays)
{
    char *s = malloc((size_t)levels * 8 + 8), *p = s;
    assert_non_null(s);
    for (int i = 0; i < levels; i++)
        p = stpcpy(p, arrays && i % 2 ? "[" : "{\"a\":");
    p = stpcpy(p, "1");
    for (int i = levels; i-- > 0;)
        p = stpcpy(p, arrays && i % 2 ? "]" : "}");
    return s;
}

static varve_status put_as(struct world *w, const char *key, varve_type type, const void *data,
                           size_t len)
{
    return varve_put(w->db, "c", key, strlen(key), type, data, len, NULL, NULL);
}

static void deep_documents(void **state)
{
    struct world *w = *state;
    db_open(w);
    for (int arrays = 0; arrays < 2; arrays++) {
        char *ok = nested(DEPTH, arrays), *over = nested(DEPTH + 1, arrays);
        const char *back;
        assert_ok(put_as(w, "deep", VARVE_JSON, ok, strlen(ok)));
        assert_ok(varve_checkpoint(w->db));
        assert_ok(varve_get(w->db, "c", "deep", 4, NULL, w->v));
        assert_ok(varve_value_json(w->v, false, &back));
        /* What comes out goes in again, and is the same document. */
        void *bson;
        size_t len;
        assert_ok(varve_json_to_bson(back, strlen(back), &bson, &len));
        assert_ok(put_as(w, "again", VARVE_DOC, bson, len));
        assert_int_equal(varve_value_bytes(w->v).len, len);
        assert_memory_equal(varve_value_bytes(w->v).data, bson, len);
        assert_fails(put_as(w, "over", VARVE_JSON, over, strlen(over)), VARVE_TOO_LARGE, "100");
        /* The same as BSON: one more document around the deepest. */
        uint8_t *wrap = malloc(len + 8);
        assert_non_null(wrap);
        uint32_t total = (uint32_t)len + 8;
        memcpy(wrap, &total, 4);
        memcpy(wrap + 4, "\x03w", 3);
        memcpy(wrap + 7, bson, len);
        wrap[len + 7] = 0;
        assert_fails(put_as(w, "over", VARVE_DOC, wrap, len + 8), VARVE_TOO_LARGE, "100");
        expect(w, "c", "over", NULL, NULL);
        free(wrap);
        varve_free(bson);
        free(ok);
        free(over);
    }
    char *abyss = nested(100000, false); /* no recursion to run out of stack in */
    assert_fails(put_as(w, "over", VARVE_JSON, abyss, strlen(abyss)), VARVE_TOO_LARGE, "100");
    free(abyss);
    db_end(w);
}

static void wide_documents(void **state)
{
    struct world *w = *state;
    enum { FIELDS = 100000 };
    char *json = malloc((size_t)FIELDS * 24 + 8), *p = json;
    assert_non_null(json);
    db_open(w);
    for (int i = 0; i < FIELDS; i++)
        p += sprintf(p, "%s\"f%d\":%d", i ? "," : "{", i, i);
    strcpy(p, "}");
    varve_version a, b;
    assert_ok(varve_put(w->db, "c", "wide", 4, VARVE_JSON, json, strlen(json), NULL, &a));
    strcpy(p, ",\"last\":true}");
    assert_ok(varve_put(w->db, "c", "wide", 4, VARVE_JSON, json, strlen(json), NULL, &b));
    assert_ok(varve_checkpoint(w->db));
    const char *back;
    assert_ok(varve_get(w->db, "c", "wide", 4, NULL, w->v));
    assert_ok(varve_value_json(w->v, false, &back));
    void *x, *y;
    size_t x_len, y_len;
    assert_ok(varve_json_to_bson(json, strlen(json), &x, &x_len));
    assert_ok(varve_json_to_bson(back, strlen(back), &y, &y_len));
    assert_int_equal(x_len, y_len);
    assert_memory_equal(x, y, x_len);
    varve_free(x);
    varve_free(y);
    char *diff;
    assert_ok(varve_diff(w->db, "c", "wide", 4, a, b, VARVE_DIFF_PATHS, &diff));
    assert_true(strlen(diff) < 200);
    assert_non_null(strstr(diff, "\"last\""));
    varve_free(diff);
    strcpy(p, ",\"f0\":0}"); /* a name twice, a hundred thousand fields apart */
    assert_fails(put_as(w, "wide", VARVE_JSON, json, strlen(json)), VARVE_INVALID_ARGUMENT, "f0");
    free(json);
    db_end(w);
}

/* {"s":"xx...x"} is 13 bytes and the text. */
static char *document_of(size_t bson_len)
{
    size_t text = bson_len - 13;
    char *json = malloc(text + 16);
    assert_non_null(json);
    char *p = stpcpy(json, "{\"s\":\"");
    memset(p, 'x', text);
    strcpy(p + text, "\"}");
    return json;
}

static void expect_large(struct world *w)
{
    assert_ok(varve_get(w->db, "c", "large", 5, NULL, w->v));
    assert_int_equal(varve_value_bytes(w->v).len, 16 * MIB);
    const uint8_t *p = varve_value_bytes(w->v).data;
    for (size_t i = 11; i < 16 * MIB - 2; i++)
        if (p[i] != 'x')
            fail_msg("byte %zu is 0x%02x", i, p[i]);
}

static void large_documents(void **state)
{
    struct world *w = *state;
    db_open(w);
    char *ok = document_of(16 * MIB), *over = document_of(16 * MIB + 1);
    assert_ok(put_as(w, "large", VARVE_JSON, ok, strlen(ok)));
    EACH_HOME(w, expect_large(w));
    assert_fails(put_as(w, "large", VARVE_JSON, over, strlen(over)), VARVE_TOO_LARGE, "16777216");
    expect_large(w);
    free(ok);
    free(over);
    db_end(w);
}

/* ---- keys and values ---- */

static void check_keys(struct world *w, const uint8_t *key)
{
    expect_raw(w, key, 1, "one", 3);
    expect_raw(w, key, KEY_MAX - 1, "less", 4);
    expect_raw(w, key, KEY_MAX, "most", 4);
    for (unsigned b = 0; b < 256; b++) {
        uint8_t k[4] = {0xf0, (uint8_t)b, 0xf0, 0};
        uint8_t v = (uint8_t)b;
        expect_raw(w, k, 2, &v, 1);
        expect_raw(w, k, 3, &v, 1);
        expect_raw(w, k, 4, &v, 1);
    }
    /* In order, byte by byte: F0 bb, F0 bb F0, F0 bb F0 00; then F0 ff ... */
    varve_scan_options o = {.size = sizeof(o), .prefix = {"\xf0", 1}};
    varve_iter *it;
    assert_ok(varve_scan(w->db, "c", &o, &it));
    for (unsigned i = 0; i < 3 * 256; i++) {
        assert_int_equal(varve_iter_next(it), 1);
        varve_bytes k = varve_iter_key(it);
        assert_int_equal(k.len, 2 + i % 3);
        assert_int_equal(((const uint8_t *)k.data)[1], i / 3);
    }
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    varve_iter *h;
    assert_ok(varve_history(w->db, "c", key, KEY_MAX, 0, &h));
    assert_int_equal(varve_iter_next(h), 1);
    assert_int_equal(varve_iter_key(h).len, KEY_MAX);
    assert_int_equal(varve_iter_next(h), 0);
    varve_iter_close(h);
}

static void keys(void **state)
{
    struct world *w = *state;
    uint8_t *key = noise(KEY_MAX + 1);
    key[0] = 0x01; /* not among those of check_keys */
    db_open(w);
    assert_fails(put_raw(w, key, 0, "x", 1), VARVE_INVALID_ARGUMENT, "key");
    assert_fails(put_raw(w, key, KEY_MAX + 1, "x", 1), VARVE_TOO_LARGE, "key");
    assert_non_null(strstr(varve_last_error(), "64 KiB"));
    assert_fails(varve_get(w->db, "c", key, KEY_MAX + 1, NULL, w->v), VARVE_TOO_LARGE, "key");
    assert_fails(varve_delete(w->db, "c", key, KEY_MAX + 1, NULL, NULL), VARVE_TOO_LARGE, "key");
    varve_batch *b = varve_batch_new();
    assert_fails(varve_batch_put(b, "c", key, KEY_MAX + 1, VARVE_RAW, "x", 1, 0), VARVE_TOO_LARGE,
                 "key");
    assert_fails(varve_batch_delete(b, "c", key, 0), VARVE_INVALID_ARGUMENT, "key");
    assert_int_equal(varve_batch_count(b), 0);
    varve_batch_free(b);
    assert_ok(put_raw(w, key, 1, "one", 3));
    assert_ok(put_raw(w, key, KEY_MAX - 1, "less", 4));
    assert_ok(put_raw(w, key, KEY_MAX, "most", 4));
    for (unsigned i = 0; i < 256; i++) {
        uint8_t k[4] = {0xf0, (uint8_t)i, 0xf0, 0};
        uint8_t v = (uint8_t)i;
        for (size_t len = 2; len <= 4; len++)
            assert_ok(put_raw(w, k, len, &v, 1));
    }
    EACH_HOME(w, check_keys(w, key));
    free(key);
    db_end(w);
}

static const size_t value_sizes[] = {0,     1,    127,     128,     4095,      4096,    65535,
                                     65536, 1000, 1 << 20, 5 << 20, 16777215u, 1u << 24};
enum { VALUES = sizeof(value_sizes) / sizeof(value_sizes[0]) };

static void check_values(struct world *w, const uint8_t *value)
{
    for (uint8_t i = 0; i < VALUES; i++)
        expect_raw(w, &i, 1, value, value_sizes[i]);
}

static void values(void **state)
{
    struct world *w = *state;
    uint8_t *value = noise(16 * MIB + 1), full = VALUES - 1;
    db_open(w);
    for (uint8_t i = 0; i < VALUES; i++)
        assert_ok(put_raw(w, &i, 1, value, value_sizes[i]));
    EACH_HOME(w, check_values(w, value));
    assert_fails(put_raw(w, &full, 1, value, 16 * MIB + 1), VARVE_TOO_LARGE, "value");
    assert_non_null(strstr(varve_last_error(), "16 MiB"));
    check_values(w, value);
    free(value);
    db_end(w);
}

/* ---- batches ---- */

static void check_batch(struct world *w, const uint8_t *value, unsigned n, size_t last)
{
    for (unsigned i = 0; i < n; i++)
        expect_raw(w, &i, sizeof(i), value, i + 1 == n ? last : MIB);
}

static void batches(void **state)
{
    struct world *w = *state;
    uint8_t *value = noise(MIB);
    unsigned n = 0;
    varve_batch *b = varve_batch_new();
    assert_non_null(b);
    db_open(w);
    for (; n < 31; n++)
        assert_ok(varve_batch_put(b, "c", &n, sizeof(n), VARVE_RAW, value, MIB, 0));
    /* Over the limit by a value, then filled to the byte: what a refused write leaves is as before. */
    size_t before = varve_batch_bytes(b);
    assert_fails(varve_batch_put(b, "c", &n, sizeof(n), VARVE_RAW, value, MIB, 0), VARVE_TOO_LARGE,
                 "32 MiB");
    assert_int_equal(varve_batch_bytes(b), before);
    assert_int_equal(varve_batch_count(b), n);
    size_t last = 32 * MIB - before;
    while (varve_batch_put(b, "c", &n, sizeof(n), VARVE_RAW, value, last, 0) != VARVE_OK)
        last--;
    assert_true(last > MIB - 8192);
    n++;
    assert_true(varve_batch_bytes(b) <= 32 * MIB);
    assert_fails(varve_batch_put(b, "c", "more", 4, VARVE_RAW, value, 100, 0), VARVE_TOO_LARGE,
                 "batch");
    assert_ok(varve_commit(w->db, b, NULL, NULL, NULL));
    EACH_HOME(w, check_batch(w, value, n, last));
    varve_batch_free(b);
    free(value);
    db_end(w);
}

static void tiny_batches(void **state)
{
    struct world *w = *state;
    enum { N = 10000 };
    varve_batch *b = varve_batch_new();
    assert_non_null(b);
    db_open(w);
    varve_version last = {0}, v;
    for (unsigned i = 0; i < N; i++) {
        unsigned key = i % 100, other = 1000 + i;
        varve_batch_clear(b);
        assert_ok(varve_batch_put(b, "c", &key, sizeof(key), VARVE_RAW, &i, sizeof(i), 0));
        assert_ok(varve_batch_put(b, "c", &other, sizeof(other), VARVE_RAW, "", 0, 0));
        assert_ok(varve_commit(w->db, b, NULL, &v, NULL));
        assert_true(varve_version_compare(v, last) > 0);
        last = v;
    }
    varve_batch_free(b);
    db_reopen(w);
    varve_iter *it;
    uint64_t rows = 0;
    int rc;
    assert_ok(varve_changes(w->db, NULL, NULL, &it));
    while ((rc = varve_iter_next(it)) == 1)
        rows++;
    assert_int_equal(rc, 0);
    varve_iter_close(it);
    assert_int_equal(rows, 2 * N);
    for (unsigned key = 0; key < 100; key++) {
        unsigned want = N - 100 + key;
        expect_raw(w, &key, sizeof(key), &want, sizeof(want));
    }
    db_end(w);
}

/* ---- collections and names ---- */

static void many_collections(void **state)
{
    struct world *w = *state;
    enum { N = 1000 };
    char name[32];
    db_open(w);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "collection-%04d", i);
        put(w, name, "k", name);
    }
    for (int i = 0; i < N; i += 7) {
        snprintf(name, sizeof(name), "collection-%04d", i);
        assert_ok(varve_collection_drop(w->db, name, NULL));
    }
    for (int pass = 0; pass < 2; pass++) {
        varve_iter *it;
        assert_ok(varve_collections(w->db, &it));
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof(name), "collection-%04d", i);
            expect(w, name, "k", NULL, i % 7 ? name : NULL);
            if (i % 7 == 0)
                continue;
            assert_int_equal(varve_iter_next(it), 1);
            assert_true(bytes_are(varve_iter_key(it), name));
        }
        assert_int_equal(varve_iter_next(it), 0);
        varve_iter_close(it);
        db_reopen(w);
    }
    db_end(w);
}

static void names(void **state)
{
    struct world *w = *state;
    char name[NAME_MAX_BYTES + 2];
    memset(name, 'n', sizeof(name));
    name[NAME_MAX_BYTES + 1] = 0;
    db_open(w);
    put(w, "c", "k", "v");
    assert_fails(varve_put(w->db, name, "k", 1, VARVE_RAW, "v", 1, NULL, NULL), VARVE_TOO_LARGE,
                 "120");
    assert_non_null(strstr(varve_last_error(), "collection"));
    assert_fails(varve_snapshot_create(w->db, name, NULL, NULL), VARVE_TOO_LARGE, "120");
    assert_non_null(strstr(varve_last_error(), "snapshot"));
    assert_fails(varve_put(w->db, "", "k", 1, VARVE_RAW, "v", 1, NULL, NULL),
                 VARVE_INVALID_ARGUMENT, "collection");
    name[NAME_MAX_BYTES] = 0;
    put(w, name, "k", "longest");
    assert_ok(varve_snapshot_create(w->db, name, NULL, NULL));
    put(w, name, "k", "later");
    for (int pass = 0; pass < 2; pass++) {
        varve_at at = at_snapshot(name);
        expect(w, name, "k", &at, "longest");
        expect(w, name, "k", NULL, "later");
        db_reopen(w);
    }
    char writer[257];
    memset(writer, 'w', sizeof(writer));
    writer[256] = 0;
    varve_write_options o = {.size = sizeof(o), .writer = writer};
    assert_fails(varve_put(w->db, "c", "k", 1, VARVE_RAW, "v", 1, &o, NULL), VARVE_TOO_LARGE,
                 "writer");
    writer[255] = 0;
    assert_ok(varve_put(w->db, "c", "k", 1, VARVE_RAW, "v", 1, &o, NULL));
    assert_ok(varve_get(w->db, "c", "k", 1, NULL, w->v));
    assert_int_equal(varve_value_writer(w->v).len, 255);
    db_end(w);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(deep_documents), WORLD_TEST(wide_documents),   WORLD_TEST(large_documents),
        WORLD_TEST(keys),           WORLD_TEST(values),           WORLD_TEST(batches),
        WORLD_TEST(tiny_batches),   WORLD_TEST(many_collections), WORLD_TEST(names),
    };
    limits_begin(argc, argv);
    return RUN_ON(tests, "rocks");
}
