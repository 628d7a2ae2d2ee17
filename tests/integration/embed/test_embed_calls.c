/* Single records: every call on them, every refusal by name, limits, values of every size. */
#include "embed_util.h"

#include <stdio.h>

static void stores_and_reads_back(void **state)
{
    struct world *w = *state;
    db_open(w);
    varve_write_options o = {.size = sizeof(o), .writer = "bob"};
    varve_version a, b;
    assert_ok(varve_put(w->db, "users", "alice", 5, VARVE_RAW, "hello", 5, &o, &a));
    expect(w, "users", "alice", NULL, "hello");
    assert_true(bytes_are(varve_value_writer(w->v), "bob"));
    assert_int_equal(varve_value_type(w->v), VARVE_RAW);
    assert_true(same_version(varve_value_version(w->v), a));
    assert_int_equal(varve_value_expires_ms(w->v), 0);
    b = put(w, "users", "alice", "world");
    assert_true(varve_version_compare(a, b) < 0);
    expect(w, "users", "alice", NULL, "world");
    assert_true(bytes_are(varve_value_writer(w->v), ""));
    expect(w, "users", "bob", NULL, NULL);
    expect(w, "nobody", "bob", NULL, NULL);
    /* A failed read leaves the value as it was. */
    expect(w, "users", "alice", NULL, "world");
    assert_int_equal(varve_get(w->db, "users", "absent", 6, NULL, w->v), VARVE_NOT_FOUND);
    assert_string_equal(varve_last_error(), "no such key");
    assert_true(bytes_are(varve_value_bytes(w->v), "world"));
    assert_true(same_version(varve_value_version(w->v), b));
    del(w, "users", "alice");
    expect(w, "users", "alice", NULL, NULL);
    assert_fails(varve_delete(w->db, "users", "alice", 5, NULL, NULL), VARVE_NOT_FOUND,
                 "no such key");
    assert_fails(varve_delete(w->db, "nobody", "alice", 5, NULL, NULL), VARVE_NOT_FOUND, "nobody");
    db_end(w);
}

static void keeps_the_writer_of_the_handle(void **state)
{
    struct world *w = *state;
    w->o.writer = "importer";
    db_open(w);
    put(w, "c", "k", "1");
    expect(w, "c", "k", NULL, "1");
    assert_true(bytes_are(varve_value_writer(w->v), "importer"));
    varve_write_options o = {.size = sizeof(o), .writer = ""};
    assert_ok(varve_put(w->db, "c", "k", 1, VARVE_RAW, "2", 1, &o, NULL));
    expect(w, "c", "k", NULL, "2");
    assert_true(bytes_are(varve_value_writer(w->v), ""));
    db_end(w);
}

static void takes_keys_of_every_byte_and_length(void **state)
{
    struct world *w = *state;
    db_open(w);
    char *key = malloc(65537);
    for (int pass = 0; pass < 3; pass++) {
        for (unsigned i = 0; i < 256; i++) {
            uint8_t one = (uint8_t)i, two[] = {0, one}, three[] = {one, 0xff, 0};
            const struct {
                const uint8_t *p;
                size_t len;
            } keys[] = {{&one, 1}, {two, 2}, {three, 3}};
            for (size_t k = 0; k < 3; k++) {
                if (pass == 0)
                    assert_ok(varve_put(w->db, "bytes", keys[k].p, keys[k].len, VARVE_RAW,
                                        keys[k].p, keys[k].len, NULL, NULL));
                assert_ok(varve_get(w->db, "bytes", keys[k].p, keys[k].len, NULL, w->v));
                assert_int_equal(varve_value_bytes(w->v).len, keys[k].len);
                assert_memory_equal(varve_value_bytes(w->v).data, keys[k].p, keys[k].len);
            }
        }
        const size_t lens[] = {1, 507, 508, 511, 512, 513, 4096, 65535, 65536};
        for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
            memset(key, 'k', lens[i]);
            if (pass == 0)
                assert_ok(varve_put(w->db, "long", key, lens[i], VARVE_RAW, &lens[i],
                                    sizeof(lens[i]), NULL, NULL));
            assert_ok(varve_get(w->db, "long", key, lens[i], NULL, w->v));
            assert_memory_equal(varve_value_bytes(w->v).data, &lens[i], sizeof(lens[i]));
        }
        if (pass == 0)
            assert_ok(varve_checkpoint(w->db));
        else
            db_reopen(w);
    }
    memset(key, 'k', 65537);
    assert_fails(varve_put(w->db, "long", key, 65537, VARVE_RAW, "", 0, NULL, NULL),
                 VARVE_TOO_LARGE, "65536");
    assert_fails(varve_get(w->db, "long", key, 65537, NULL, w->v), VARVE_TOO_LARGE, "65536");
    assert_fails(varve_put(w->db, "long", "", 0, VARVE_RAW, "", 0, NULL, NULL),
                 VARVE_INVALID_ARGUMENT, "key: it is empty");
    assert_fails(varve_put(w->db, "long", NULL, 1, VARVE_RAW, "", 0, NULL, NULL),
                 VARVE_INVALID_ARGUMENT, "key");
    free(key);
    db_end(w);
}

static void takes_values_of_every_size(void **state)
{
    struct world *w = *state;
    db_open(w);
    const size_t max = 16 * 1024 * 1024;
    uint8_t *data = malloc(max + 1);
    struct test_rng r;
    test_rng_init(&r, 7);
    test_rng_bytes(&r, data, max + 1);
    const size_t lens[] = {0, 1, 4095, 4096, 4097, 65536, 1 << 20, max - 1, max};
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
            if (pass == 0)
                assert_ok(varve_put(w->db, "big", &i, sizeof(i), VARVE_RAW, lens[i] ? data : NULL,
                                    lens[i], NULL, NULL));
            assert_ok(varve_get(w->db, "big", &i, sizeof(i), NULL, w->v));
            assert_int_equal(varve_value_bytes(w->v).len, lens[i]);
            if (memcmp(varve_value_bytes(w->v).data, data, lens[i]) != 0)
                fail_msg("a value of %zu bytes came back otherwise", lens[i]);
        }
        if (pass == 0)
            db_reopen(w);
    }
    assert_fails(varve_put(w->db, "big", "k", 1, VARVE_RAW, data, max + 1, NULL, NULL),
                 VARVE_TOO_LARGE, "16777216 (16 MiB)");
    assert_fails(varve_put(w->db, "big", "k", 1, VARVE_RAW, NULL, 1, NULL, NULL),
                 VARVE_INVALID_ARGUMENT, "value");
    free(data);
    db_end(w);
}

static void keeps_documents(void **state)
{
    struct world *w = *state;
    db_open(w);
    put_json(w, "users", "alice", "{\"name\":\"Alice\",\"age\":30}");
    assert_ok(varve_get(w->db, "users", "alice", 5, NULL, w->v));
    assert_int_equal(varve_value_type(w->v), VARVE_DOC);
    const char *json;
    assert_ok(varve_value_json(w->v, false, &json));
    assert_string_equal(json, "{\"name\":\"Alice\",\"age\":30}");
    assert_ok(varve_value_json(w->v, true, &json));
    assert_non_null(strstr(json, "$numberInt"));
    /* BSON goes in as it came out. */
    varve_bytes bson = varve_value_bytes(w->v);
    assert_ok(varve_put(w->db, "users", "copy", 4, VARVE_DOC, bson.data, bson.len, NULL, NULL));
    char *text;
    assert_ok(varve_bson_to_json(bson.data, bson.len, false, true, &text));
    void *back;
    size_t back_len;
    assert_ok(varve_json_to_bson(text, strlen(text), &back, &back_len));
    assert_int_equal(back_len, bson.len);
    assert_memory_equal(back, bson.data, bson.len);
    varve_free(text);
    /* A document cut short, bad JSON, text for a value of raw bytes. */
    assert_fails(varve_put(w->db, "users", "bad", 3, VARVE_DOC, back, back_len - 1, NULL, NULL),
                 VARVE_INVALID_ARGUMENT, "value");
    assert_fails(varve_bson_to_json(back, back_len - 1, false, false, &text),
                 VARVE_INVALID_ARGUMENT, "");
    assert_fails(varve_put(w->db, "users", "bad", 3, VARVE_JSON, "{\"a\":", 5, NULL, NULL),
                 VARVE_INVALID_ARGUMENT, "line 1");
    assert_fails(varve_json_to_bson("[1]", 3, &back, &back_len), VARVE_INVALID_ARGUMENT, "");
    varve_free(back);
    expect(w, "users", "bad", NULL, NULL);
    put(w, "users", "raw", "{}");
    expect(w, "users", "raw", NULL, "{}");
    assert_fails(varve_value_json(w->v, false, &json), VARVE_INVALID_ARGUMENT, "raw bytes");
    varve_value *fresh = varve_value_new();
    assert_fails(varve_value_json(fresh, false, &json), VARVE_INVALID_ARGUMENT, "nothing was read");
    varve_value_free(fresh);
    db_end(w);
}

static void refuses_deep_documents_by_the_limit(void **state)
{
    struct world *w = *state;
    db_open(w);
    for (int levels = 100; levels <= 101; levels++) {
        char json[101 * 6 + 8], *p = json;
        for (int i = 1; i < levels; i++)
            p += sprintf(p, "{\"a\":");
        p += sprintf(p, "{}");
        for (int i = 1; i < levels; i++)
            *p++ = '}';
        *p = 0;
        varve_status st =
            varve_put(w->db, "deep", "k", 1, VARVE_JSON, json, strlen(json), NULL, NULL);
        assert_int_equal(st, levels == 100 ? VARVE_OK : VARVE_TOO_LARGE);
    }
    assert_non_null(strstr(varve_last_error(), "100"));
    db_end(w);
}

static void refuses_wrong_arguments_by_name(void **state)
{
    struct world *w = *state;
    char name[122], writer[257];
    memset(name, 'n', sizeof(name));
    memset(writer, 'w', sizeof(writer));
    name[121] = writer[256] = 0;
    db_open(w);
    assert_fails(varve_put(w->db, name, "k", 1, VARVE_RAW, "", 0, NULL, NULL), VARVE_TOO_LARGE,
                 "121 bytes, over the limit of 120");
    assert_fails(varve_get(w->db, name, "k", 1, NULL, w->v), VARVE_TOO_LARGE, "limit of 120");
    name[120] = 0;
    put(w, name, "k", "longest name");
    expect(w, name, "k", NULL, "longest name");
    static const char *const bad[] = {"", "a/b", "a\nb", "\x7f"};
    for (size_t i = 0; i < 4; i++) {
        assert_fails(varve_put(w->db, bad[i], "k", 1, VARVE_RAW, "", 0, NULL, NULL),
                     VARVE_INVALID_ARGUMENT, "collection");
        assert_fails(varve_get(w->db, bad[i], "k", 1, NULL, w->v), VARVE_INVALID_ARGUMENT,
                     "collection");
    }
    assert_fails(varve_put(w->db, NULL, "k", 1, VARVE_RAW, "", 0, NULL, NULL),
                 VARVE_INVALID_ARGUMENT, "collection");
    assert_fails(varve_put(w->db, "c", "k", 1, (varve_type)9, "", 0, NULL, NULL),
                 VARVE_INVALID_ARGUMENT, "type");

    varve_write_options o = {.size = sizeof(o), .writer = writer};
    assert_fails(varve_put(w->db, "c", "k", 1, VARVE_RAW, "", 0, &o, NULL), VARVE_TOO_LARGE,
                 "writer: it has 256 bytes, over the limit of 255");
    writer[255] = 0;
    assert_ok(varve_put(w->db, "c", "k", 1, VARVE_RAW, "", 0, &o, NULL));
    o = (varve_write_options){.size = sizeof(o), .ttl_ms = UINT64_MAX};
    assert_fails(varve_put(w->db, "c", "k", 1, VARVE_RAW, "", 0, &o, NULL), VARVE_TOO_LARGE,
                 "ttl_ms");
    o = (varve_write_options){.size = sizeof(o), .sync = (varve_sync)7};
    assert_fails(varve_put(w->db, "c", "k", 1, VARVE_RAW, "", 0, &o, NULL), VARVE_INVALID_ARGUMENT,
                 "sync");
    o = (varve_write_options){0};
    assert_fails(varve_put(w->db, "c", "k", 1, VARVE_RAW, "", 0, &o, NULL), VARVE_INVALID_ARGUMENT,
                 "size");
    o = (varve_write_options){.size = sizeof(o), .ttl_ms = 5};
    assert_fails(varve_delete(w->db, "c", "k", 1, &o, NULL), VARVE_INVALID_ARGUMENT, "ttl_ms");
    /* From a newer header: what is unknown must not be asked for. */
    struct {
        varve_write_options o;
        uint64_t more;
    } newer = {{.size = sizeof(newer)}, 0};
    assert_ok(varve_put(w->db, "c", "k", 1, VARVE_RAW, "", 0, &newer.o, NULL));
    newer.more = 1;
    assert_fails(varve_put(w->db, "c", "k", 1, VARVE_RAW, "", 0, &newer.o, NULL),
                 VARVE_INVALID_ARGUMENT, "does not know");

    varve_at at = {.kind = (varve_at_kind)9};
    assert_fails(varve_get(w->db, "c", "k", 1, &at, w->v), VARVE_INVALID_ARGUMENT, "at.kind");
    at = at_snapshot(NULL);
    assert_fails(varve_get(w->db, "c", "k", 1, &at, w->v), VARVE_INVALID_ARGUMENT, "at.snapshot");
    at = at_snapshot("none such");
    assert_fails(varve_get(w->db, "c", "k", 1, &at, w->v), VARVE_NOT_FOUND, "none such");
    at = at_version((varve_version){0, 0});
    assert_fails(varve_get(w->db, "c", "k", 1, &at, w->v), VARVE_INVALID_ARGUMENT, "at.version");
    at = at_time(clock_ms() + 3600000);
    assert_fails(varve_get(w->db, "c", "k", 1, &at, w->v), VARVE_FUTURE_TIME, "future");
    at = at_time(UINT64_MAX);
    assert_fails(varve_get(w->db, "c", "k", 1, &at, w->v), VARVE_FUTURE_TIME, "48 bits");
    db_end(w);
}

static void refuses_null_handles(void **state)
{
    struct world *w = *state;
    varve_iter *it;
    varve_watch *watch;
    char *text;
    varve_retention r = {0};
    varve_stats s = {.size = sizeof(s)};
    varve_at past = at_time(1);
    varve_key key = {"c", "k", 1};
    varve_batch *b = varve_batch_new();
    const struct {
        varve_status st;
    } calls[] = {
        {varve_open(NULL, NULL, &w->db)},
        {varve_open("", NULL, &w->db)},
        {varve_open(w->folder, NULL, NULL)},
        {varve_get(NULL, "c", "k", 1, NULL, w->v)},
        {varve_get_many(NULL, &key, 1, NULL, &w->v, &(varve_status){VARVE_OK})},
        {varve_put(NULL, "c", "k", 1, VARVE_RAW, "", 0, NULL, NULL)},
        {varve_delete(NULL, "c", "k", 1, NULL, NULL)},
        {varve_compare_and_set(NULL, "c", "k", 1, (varve_version){0, 0}, VARVE_RAW, "", 0, NULL,
                               NULL)},
        {varve_restore(NULL, "c", "k", 1, &past, NULL, NULL)},
        {varve_scan(NULL, "c", NULL, &it)},
        {varve_history(NULL, "c", "k", 1, 0, &it)},
        {varve_diff(NULL, "c", "k", 1, (varve_version){1, 0}, (varve_version){0, 0},
                    VARVE_DIFF_PATHS, &text)},
        {varve_commit(NULL, b, NULL, NULL, NULL)},
        {varve_batch_put(NULL, "c", "k", 1, VARVE_RAW, "", 0, 0)},
        {varve_batch_delete(NULL, "c", "k", 1)},
        {varve_batch_require(NULL, "c", "k", 1, VARVE_REQUIRE_ABSENT, (varve_version){0, 0})},
        {varve_sync_now(NULL)},
        {varve_collections(NULL, &it)},
        {varve_collection_drop(NULL, "c", NULL)},
        {varve_snapshot_create(NULL, "s", NULL, NULL)},
        {varve_snapshot_delete(NULL, "s")},
        {varve_snapshots(NULL, &it)},
        {varve_retention_set(NULL, "c", &r)},
        {varve_retention_get(NULL, "c", &r)},
        {varve_changes(NULL, NULL, NULL, &it)},
        {varve_watch_open(NULL, NULL, NULL, &watch)},
        {varve_verify(NULL, NULL, NULL, NULL)},
        {varve_verify_dir(NULL, NULL, NULL, NULL)},
        {varve_vacuum(NULL, NULL, NULL, NULL, NULL)},
        {varve_checkpoint(NULL)},
        {varve_compact(NULL)},
        {varve_get_stats(NULL, &s)},
        {varve_metrics(NULL, &text)},
        {varve_bson_to_json(NULL, 0, false, false, &text)},
        {varve_version_parse(NULL, NULL)},
        {(varve_status)-varve_iter_next(NULL)},
        {(varve_status)-varve_watch_next(NULL, 0, NULL)},
    };
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        if (calls[i].st != VARVE_INVALID_ARGUMENT)
            fail_msg("call %zu answered %s", i, varve_status_name(calls[i].st));
    varve_iter_close(NULL);
    varve_watch_close(NULL);
    varve_watch_cancel(NULL);
    varve_batch_clear(NULL);
    varve_batch_free(NULL);
    varve_value_free(NULL);
    varve_free(NULL);
    assert_ok(varve_close(NULL));
    assert_int_equal(varve_batch_count(NULL), 0);
    assert_int_equal(varve_value_bytes(NULL).len, 0);
    assert_string_equal(varve_iter_collection(NULL), "");
    varve_batch_free(b);
}

static void compares_and_sets(void **state)
{
    struct world *w = *state;
    const varve_version none = {0, 0};
    varve_version v = {5, 5};
    db_open(w);
    /* Asking for a version in a collection that is not there must not make it. */
    assert_fails(varve_compare_and_set(w->db, "c", "k", 1, (varve_version){77, 0}, VARVE_RAW, "x",
                                       1, NULL, &v),
                 VARVE_PRECONDITION_FAILED, "absent");
    assert_true(same_version(v, none));
    varve_stats s = {.size = sizeof(s)};
    assert_ok(varve_get_stats(w->db, &s));
    assert_int_equal(s.collections, 0);

    varve_version first;
    assert_ok(varve_compare_and_set(w->db, "c", "k", 1, none, VARVE_RAW, "1", 1, NULL, &first));
    assert_fails(varve_compare_and_set(w->db, "c", "k", 1, none, VARVE_RAW, "x", 1, NULL, &v),
                 VARVE_PRECONDITION_FAILED, "not absent");
    assert_true(same_version(v, first));
    varve_version second;
    assert_ok(varve_compare_and_set(w->db, "c", "k", 1, first, VARVE_RAW, "2", 1, NULL, &second));
    assert_fails(varve_compare_and_set(w->db, "c", "k", 1, first, VARVE_RAW, "x", 1, NULL, &v),
                 VARVE_PRECONDITION_FAILED, "version");
    assert_true(same_version(v, second));
    del(w, "c", "k");
    assert_fails(varve_compare_and_set(w->db, "c", "k", 1, second, VARVE_RAW, "x", 1, NULL, &v),
                 VARVE_PRECONDITION_FAILED, "version");
    assert_true(same_version(v, none));
    assert_ok(varve_compare_and_set(w->db, "c", "k", 1, none, VARVE_RAW, "3", 1, NULL, NULL));
    expect(w, "c", "k", NULL, "3");
    db_end(w);
}

static void gets_many_at_once(void **state)
{
    struct world *w = *state;
    enum { N = 20 };
    varve_value *values[N];
    varve_status sts[N];
    varve_key keys[N];
    char names[N][16];
    db_open(w);
    varve_version middle = {0, 0};
    for (int i = 0; i < N; i++) {
        values[i] = varve_value_new();
        snprintf(names[i], sizeof(names[i]), "k%02d", i);
        keys[i] = (varve_key){i % 3 ? "c" : "d", names[i], strlen(names[i])};
        if (i % 4 != 3)
            middle = put(w, keys[i].collection, names[i], names[i]);
    }
    keys[5].collection = "none such";
    for (int pass = 0; pass < 4; pass++) {
        varve_at at = at_version(middle);
        assert_ok(varve_get_many(w->db, keys, N, pass & 1 ? &at : NULL, values, sts));
        for (int i = 0; i < N; i++) {
            bool there = i % 4 != 3 && i != 5;
            assert_int_equal(sts[i], there ? VARVE_OK : VARVE_NOT_FOUND);
            if (there)
                assert_true(bytes_are(varve_value_bytes(values[i]), names[i]));
        }
        if (pass == 1)
            assert_ok(varve_checkpoint(w->db));
    }
    /* Expiry is judged by the clock, however long ago the last write was. */
    varve_write_options o = {.size = sizeof(o), .ttl_ms = 30};
    assert_ok(varve_put(w->db, "c", "k01", 3, VARVE_RAW, "short", 5, &o, NULL));
    nap_ms(60);
    assert_ok(varve_get_many(w->db, keys, N, NULL, values, sts));
    assert_int_equal(sts[1], VARVE_NOT_FOUND);
    assert_int_equal(sts[2], VARVE_OK);
    assert_ok(varve_get_many(w->db, NULL, 0, NULL, NULL, NULL));
    keys[7].key_len = 0;
    assert_fails(varve_get_many(w->db, keys, N, NULL, values, sts), VARVE_INVALID_ARGUMENT,
                 "keys[7]: key");
    for (int i = 0; i < N; i++)
        varve_value_free(values[i]);
    db_end(w);
}

/* It could hold but one of the records. */
static void refuses_one_value_for_two_keys(void **state)
{
    struct world *w = *state;
    const varve_key keys[] = {{"c", "a", 1}, {"c", "b", 1}, {"c", "a", 1}};
    varve_value *values[] = {w->v, varve_value_new(), w->v};
    varve_status sts[3];
    db_open(w);
    put(w, "c", "a", "1");
    put(w, "c", "b", "2");
    expect(w, "c", "b", NULL, "2");
    assert_fails(varve_get_many(w->db, keys, 3, NULL, values, sts), VARVE_INVALID_ARGUMENT,
                 "keys[2]: ret: ");
    assert_true(bytes_are(varve_value_bytes(w->v), "2"));
    /* Both are good for the next read. */
    for (int i = 0; i < 3; i++)
        assert_ok(varve_get_many(w->db, keys, 2, NULL, values, sts));
    assert_true(bytes_are(varve_value_bytes(w->v), "1"));
    assert_true(bytes_are(varve_value_bytes(values[1]), "2"));
    varve_value_free(values[1]);
    db_end(w);
}

static void drops_collections_but_not_their_past(void **state)
{
    struct world *w = *state;
    db_open(w);
    put(w, "c", "k", "1");
    varve_version before = put(w, "c", "l", "2");
    varve_version other = put(w, "other", "k", "o");
    varve_at at = at_version(other);
    assert_ok(varve_collection_drop(w->db, "c", NULL));
    assert_fails(varve_collection_drop(w->db, "c", NULL), VARVE_NOT_FOUND, "no collection c");
    expect(w, "c", "k", NULL, NULL);
    expect(w, "other", "k", NULL, "o");
    expect(w, "c", "k", &at, "1");
    put(w, "c", "k", "anew");
    expect(w, "c", "k", NULL, "anew");
    expect(w, "c", "l", NULL, NULL);
    expect(w, "c", "l", &at, "2");
    db_reopen(w);
    expect(w, "c", "k", NULL, "anew");
    expect(w, "c", "l", NULL, NULL);
    expect(w, "c", "l", &at, "2");

    varve_iter *it;
    assert_ok(varve_collections(w->db, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "c"));
    assert_true(varve_version_compare(varve_iter_version(it), other) > 0);
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(bytes_are(varve_iter_key(it), "other"));
    varve_version made = varve_iter_version(it);
    assert_true(varve_version_compare(made, before) > 0 && varve_version_compare(made, other) < 0);
    assert_int_equal(varve_iter_next(it), 0);
    varve_iter_close(it);
    /* When a collection was made does not change with its settings. */
    varve_retention r = {.max_count = 5}, got;
    assert_ok(varve_retention_set(w->db, "other", &r));
    assert_ok(varve_retention_get(w->db, "other", &got));
    assert_int_equal(got.max_count, 5);
    assert_int_equal(got.max_age_ms, 0);
    assert_ok(varve_collections(w->db, &it));
    assert_int_equal(varve_iter_next(it), 1);
    assert_int_equal(varve_iter_next(it), 1);
    assert_true(same_version(varve_iter_version(it), made));
    varve_iter_close(it);
    assert_fails(varve_retention_set(w->db, "none", &r), VARVE_NOT_FOUND, "none");
    assert_fails(varve_retention_get(w->db, "none", &got), VARVE_NOT_FOUND, "none");
    db_end(w);
}

static void tells_versions_and_statuses(void **state)
{
    (void)state;
    char text[VARVE_VERSION_TEXT_MAX];
    varve_version v = {0x018f3a2b4c5d0001, 0}, back;
    varve_version_format(v, text);
    assert_string_equal(text, "018f3a2b4c5d0001");
    assert_ok(varve_version_parse(text, &back));
    assert_true(same_version(v, back));
    assert_int_equal(varve_version_time_ms(v), 0x018f3a2b4c5d);
    v.origin = 7;
    varve_version_format(v, text);
    assert_ok(varve_version_parse(text, &back));
    assert_true(same_version(v, back));
    assert_true(varve_version_compare((varve_version){1, 2}, (varve_version){1, 3}) < 0);
    assert_fails(varve_version_parse("xyz", &back), VARVE_INVALID_ARGUMENT, "xyz");
    assert_string_equal(varve_status_name(VARVE_BELOW_HORIZON), "BELOW_HORIZON");
    assert_string_equal(varve_status_text(VARVE_NOT_FOUND), "not found");
    assert_non_null(varve_status_name((varve_status)999));
    assert_string_equal(varve_version_string(), VARVE_VERSION_STRING);
}

static void counts(void **state)
{
    struct world *w = *state;
    db_open(w);
    put(w, "c", "k", "1");
    put(w, "c", "l", "1");
    expect(w, "c", "k", NULL, "1");
    expect(w, "c", "k", NULL, "1");
    varve_stats s = {.size = sizeof(s)};
    assert_ok(varve_get_stats(w->db, &s));
    assert_int_equal(s.size, sizeof(s));
    assert_true(s.writes >= 2 && s.commits >= 2 && s.reads >= 2 && s.cache_hits >= 1);
    assert_int_equal(s.collections, 1);
    assert_false(s.poisoned);
    assert_true(s.table_versions >= 2 && s.log_segments >= 1);
    assert_ok(varve_checkpoint(w->db));
    assert_ok(varve_compact(w->db));
    assert_ok(varve_get_stats(w->db, &s));
    assert_true(s.checkpoints >= 1 && s.persisted_index == s.applied_index && s.live_rows >= 2);
    /* An older caller's smaller structure is not written past. */
    struct {
        varve_stats s;
    } small;
    memset(&small, 0x5a, sizeof(small));
    small.s.size = offsetof(varve_stats, writes);
    assert_ok(varve_get_stats(w->db, &small.s));
    assert_int_equal(small.s.writes, 0x5a5a5a5a5a5a5a5a);
    char *text;
    assert_ok(varve_metrics(w->db, &text));
    assert_non_null(strstr(text, "varve_commits_total"));
    varve_free(text);
    db_end(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(stores_and_reads_back),
        WORLD_TEST(keeps_the_writer_of_the_handle),
        WORLD_TEST(takes_keys_of_every_byte_and_length),
        WORLD_TEST(takes_values_of_every_size),
        WORLD_TEST(keeps_documents),
        WORLD_TEST(refuses_deep_documents_by_the_limit),
        WORLD_TEST(refuses_wrong_arguments_by_name),
        WORLD_TEST(refuses_null_handles),
        WORLD_TEST(compares_and_sets),
        WORLD_TEST(gets_many_at_once),
        WORLD_TEST(refuses_one_value_for_two_keys),
        WORLD_TEST(drops_collections_but_not_their_past),
        WORLD_TEST(tells_versions_and_statuses),
        WORLD_TEST(counts),
    };
    return RUN_ON(tests, "mem", "rocks");
}
