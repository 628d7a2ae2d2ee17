/* The pieces of the HTTP door by themselves: paths and routes, queries, entity tags, Accept, events,
 * bodies of batches, problems, the OpenAPI document. */
#include "serve/http/http_internal.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdio.h>

static struct arena arena;
static struct err err;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    err_init(&err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static void percent_signs_of_every_byte(void **state)
{
    (void)state;
    uint64_t seed;
    struct bytes back;
    FOR_EACH_SEED(seed, 200)
    {
        struct test_rng r;
        uint8_t raw[64];
        char text[3 * sizeof raw + 1];
        size_t n, len = 0;
        test_rng_init(&r, seed);
        n = test_rng_below(&r, sizeof raw);
        test_rng_bytes(&r, raw, n);
        for (size_t i = 0; i < n; i++) {
            bool plain = raw[i] != '%' && raw[i] != '/' && test_rng_chance(&r, 1, 2);
            if (plain)
                text[len++] = (char)raw[i];
            else if (test_rng_chance(&r, 1, 2))
                len += (size_t)snprintf(text + len, sizeof text - len, "%%%02X", raw[i]);
            else
                len += (size_t)snprintf(text + len, sizeof text - len, "%%%02x", raw[i]);
        }
        assert_int_equal(http_percent_decode(BYTES(text, len), &arena, &back, &err), ST_OK);
        assert_true(bytes_eq(back, BYTES(raw, n)));
        struct buf b = BUF_INIT;
        assert_int_equal(http_percent_encode(&b, BYTES(raw, n)), ST_OK);
        assert_int_equal(http_percent_decode(buf_bytes(&b), &arena, &back, &err), ST_OK);
        assert_true(bytes_eq(back, BYTES(raw, n)));
        buf_deinit(&b);
    }
    static const char *const bad[] = {"%", "%4", "a%", "%zz", "%4g", "%%41"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(http_percent_decode(BYTES_STR(bad[i]), &arena, &back, &err),
                         ST_INVALID_ARGUMENT);
}

static const struct http_route *route(const char *method, const char *path,
                                      struct http_names *names, unsigned *allow)
{
    struct http_target t;
    *allow = 0;
    if (http_target_parse(BYTES_STR(path), &arena, &t, &err) != ST_OK)
        return NULL;
    return http_route_find(BYTES_STR(method), &t, names, allow);
}

static void routes_are_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *method, *path, *id, *collection, *key;
    } rows[] = {
        {"GET", "/", "getRoot", "", ""},
        {"GET", "/v1/users/alice", "getRecord", "users", "alice"},
        {"HEAD", "/v1/users/alice", "getRecord", "users", "alice"},
        {"PUT", "/v1/users/alice", "putRecord", "users", "alice"},
        {"GET", "/v1/users/alice/history", "getHistory", "users", "alice"},
        {"GET", "/v1/users/alice%2Fhistory", "getRecord", "users", "alice/history"},
        {"GET", "/v1/users/history", "getRecord", "users", "history"},
        {"GET", "/v1/users/history/history", "getHistory", "users", "history"},
        {"GET", "/v1/users", "scanCollection", "users", ""},
        {"POST", "/v1/batch", "writeBatch", "", ""},
        {"GET", "/v1/=batch", "scanCollection", "batch", ""},
        {"GET", "/v1/=batch/k", "getRecord", "batch", "k"},
        {"GET", "/v1/==x/k", "getRecord", "=x", "k"},
        {"GET", "/v1/%3Dx/k", "getRecord", "=x", "k"},
        {"GET", "/v1/%62atch/k", "getRecord", "batch", "k"},
        {"GET", "/v1/collections", "listCollections", "", ""},
        {"DELETE", "/v1/collections/batch", "dropCollection", "batch", ""},
        {"GET", "/v1/collections/=x/retention", "getRetention", "=x", ""},
        {"GET", "/metrics", "getMetrics", "", ""},
    };
    struct http_names names;
    unsigned allow;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct http_route *r = route(rows[i].method, rows[i].path, &names, &allow);
        if (!r || strcmp(r->id, rows[i].id) != 0 ||
            !bytes_eq(names.collection, BYTES_STR(rows[i].collection)) ||
            !bytes_eq(names.key, BYTES_STR(rows[i].key)))
            fail_msg("%s %s went to %s", rows[i].method, rows[i].path, r ? r->id : "nothing");
    }
    static const char *const none[] = {
        "",       "v1",          "/v1",           "/v1/",      "//",        "/v1/a/",
        "/v1//a", "/v1/batch/k", "/v1/changes/k", "/v1/admin", "/v1/a/b/c", "/v1/a/b/c/d/e/f/g",
        "/V1/a/b"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        if (route("GET", none[i], &names, &allow) || allow)
            fail_msg("%s went somewhere", none[i]);
    assert_null(route("POST", "/v1/users/alice", &names, &allow));
    assert_int_equal(allow, 1U << METHOD_GET | 1U << METHOD_PUT | 1U << METHOD_DELETE);
    assert_null(route("get", "/v1/users/alice", &names, &allow));
    assert_null(route("GET", "/v1/batch", &names, &allow));
    assert_int_equal(allow, 1U << METHOD_POST);
    /* No two routes fit one request. */
    for (size_t i = 0; i < http_route_count; i++)
        for (size_t j = 0; j < i; j++)
            assert_false(http_routes[i].method == http_routes[j].method &&
                         strcmp(http_routes[i].path, http_routes[j].path) == 0);
}

static void queries(void **state)
{
    (void)state;
    struct http_query q;
    uint32_t all = UINT32_MAX;
    assert_int_equal(http_query_parse(BYTES_LIT("prefix=a%2Fb&reverse&limit=&from=%00%ff=+"), all,
                                      &arena, &q, &err),
                     ST_OK);
    assert_true(bytes_eq(q.value[PARAM_PREFIX], BYTES_LIT("a/b")));
    assert_true(bytes_eq(q.value[PARAM_FROM], BYTES_LIT("\0\xff=+")));
    assert_int_equal(q.set, PARAM(PREFIX) | PARAM(REVERSE) | PARAM(LIMIT) | PARAM(FROM));
    assert_int_equal(http_query_parse(BYTES_LIT("&&to=x&"), all, &arena, &q, &err), ST_OK);
    assert_int_equal(q.set, PARAM(TO));
    assert_int_equal(http_query_parse(BYTES_EMPTY, 0, &arena, &q, &err), ST_OK);
    static const char *const bad[] = {"else=1", "to=1&to=2", "to=%", "t%", "=", "TO=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(http_query_parse(BYTES_STR(bad[i]), all, &arena, &q, &err),
                         ST_INVALID_ARGUMENT);
    assert_int_equal(http_query_parse(BYTES_LIT("to=1"), PARAM(AT), &arena, &q, &err),
                     ST_INVALID_ARGUMENT);
}

static void entity_tags(void **state)
{
    (void)state;
    struct version v;
    assert_true(etag_parse(BYTES_LIT("\"018f3a2b4c5d0001\""), &v));
    assert_int_equal(v.hlc, 0x018f3a2b4c5d0001);
    assert_true(etag_parse(BYTES_LIT(" \"018f3a2b4c5d0001-7\"\t"), &v));
    assert_int_equal(v.origin, 7);
    static const char *const bad[] = {"",
                                      "\"",
                                      "\"\"",
                                      "018f3a2b4c5d0001",
                                      "W/\"018f3a2b4c5d0001\"",
                                      "\"018f3a2b4c5d000\"",
                                      "\"018f3a2b4c5d0001",
                                      "*",
                                      "\"0000000000000000\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (etag_parse(BYTES_STR(bad[i]), &v))
            fail_msg("%s was taken", bad[i]);
}

static void what_a_client_would_rather_have(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum http_media m;
        unsigned q;
    } rows[] = {
        {"", MEDIA_JSON, 1000},
        {"*/*", MEDIA_JSON, 1000},
        {"application/json", MEDIA_JSON, 1000},
        {"Application/JSON ; charset=utf-8;q=0.5", MEDIA_JSON, 500},
        {"application/*;q=0.25, */*;q=0.1", MEDIA_JSON, 250},
        {"application/*;q=0.25, */*;q=0.1", MEDIA_EVENTS, 100},
        {"application/json;q=0, */*", MEDIA_JSON, 0},
        {"application/json;q=0, */*", MEDIA_BYTES, 1000},
        {"text/html", MEDIA_JSON, 0},
        {"text/event-stream", MEDIA_EVENTS, 1000},
        {"text/plain", MEDIA_TEXT, 1000},
        {",,;,", MEDIA_JSON, 0},
        {"application/json;q=2", MEDIA_JSON, 1000},
        {"application/json;q=0.0001", MEDIA_JSON, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        unsigned q;
        bool yes = http_accepts(BYTES_STR(rows[i].accept), rows[i].m, &q);
        if (yes != (rows[i].q > 0) || q != rows[i].q)
            fail_msg("%s: %u for %s", rows[i].accept, q, http_media_type(rows[i].m));
    }
}

/* As the HTML Standard takes an event apart: lines end with CR LF, LF or CR. */
static void events(void **state)
{
    (void)state;
    static const struct {
        const char *data, *want;
    } rows[] = {
        {"{}", "id: t\nevent: put\ndata: {}\n\n"},
        {"", "id: t\nevent: put\ndata: \n\n"},
        {"a\nb", "id: t\nevent: put\ndata: a\ndata: b\n\n"},
        {"a\r\nb\rc", "id: t\nevent: put\ndata: a\ndata: b\ndata: c\n\n"},
        {"a\n", "id: t\nevent: put\ndata: a\ndata: \n\n"},
        {":x\nid: y", "id: t\nevent: put\ndata: :x\ndata: id: y\n\n"},
    };
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        buf_clear(&b);
        assert_int_equal(sse_event(&b, BYTES_LIT("t"), "put", BYTES_STR(rows[i].data)), ST_OK);
        if (!bytes_eq(buf_bytes(&b), BYTES_STR(rows[i].want)))
            fail_msg("\"%s\" became \"%s\"", rows[i].data, buf_cstr(&b));
    }
    buf_deinit(&b);
}

static void batches(void **state)
{
    (void)state;
    struct command_batch *b = command_batch_new();
    struct batch_in in;
    struct keys_in keys;
    struct collection_settings settings;
    struct bytes name;
    bool written;
    assert_non_null(b);
    const char *text =
        "{\"writes\":[{\"collection\":\"a\",\"key\":\"k\",\"value\":{\"x\":{\"$oid\":"
        "\"507f1f77bcf86cd799439011\"}},\"if_absent\":true},"
        "{\"collection\":\"b\",\"key\":{\"$binary\":{\"base64\":\"AP8=\",\"subType\":\"00\"}},"
        "\"delete\":true}],\"require\":[{\"collection\":\"c\",\"key\":\"r\",\"present\":true}],"
        "\"sync\":\"interval\",\"writer\":\"w\"}";
    assert_int_equal(batch_in_decode(BYTES_STR(text), 10, &arena, b, &in, &err), ST_OK);
    assert_int_equal(command_batch_count(b), 2);
    assert_int_equal(in.n_requires, 2);
    assert_int_equal(in.options.sync, STORE_SYNC_INTERVAL);
    assert_true(bytes_eq(in.options.writer, BYTES_LIT("w")));
    assert_true(bytes_eq(in.require_keys[0], BYTES_LIT("k")));
    assert_true(bytes_eq(in.require_keys[1], BYTES_LIT("r")));
    assert_true(command_batch_name(b, 0, &name, &written) && bytes_eq(name, BYTES_LIT("a")) &&
                written);
    assert_true(command_batch_name(b, 2, &name, &written) && bytes_eq(name, BYTES_LIT("c")) &&
                !written);
    command_batch_clear(b);
    assert_int_equal(batch_in_decode(BYTES_STR(text), 1, &arena, b, &in, &err), ST_TOO_LARGE);
    assert_non_null(strstr(err.detail, "writes"));
    command_batch_free(b);
    text = "{\"keys\":[{\"collection\":\"a\",\"key\":\"\"},{\"key\":\"k\",\"collection\":\"b\"}],"
           "\"at\":\"-5m\",\"canonical\":true}";
    assert_int_equal(keys_in_decode(BYTES_STR(text), 10, &arena, &keys, &err), ST_OK);
    assert_int_equal(keys.n, 2);
    assert_true(keys.canonical && bytes_eq(keys.keys[1].collection, BYTES_LIT("b")));
    assert_string_equal(keys.at, "-5m");
    assert_int_equal(retention_in_decode(BYTES_LIT("{\"max_age\":\"1h30m\",\"max_count\":3}"),
                                         &arena, &settings, &err),
                     ST_OK);
    assert_int_equal(settings.max_age_ms, 5400000);
    assert_int_equal(settings.max_count, 3);
}

static void problems(void **state)
{
    (void)state;
    struct http_call c = {0};
    struct buf b = BUF_INIT, bson = BUF_INIT;
    (void)!err_set(&c.err, ST_TOO_LARGE,
                   "options.ttl_ms: \"x\"\n is over the limit of 123 (units)");
    assert_int_equal(http_problem_json(&c, ST_TOO_LARGE, 413, "id", &b), ST_OK);
    assert_non_null(strstr(buf_cstr(&b), "\"field\":\"ttl\",\"limit\":123,\"request_id\":\"id\"}"));
    assert_non_null(strstr(buf_cstr(&b), "urn:varve:problem:over-a-named-limit"));
    assert_int_equal(doc_from_json(buf_bytes(&b), &bson, &err), ST_OK);
    buf_deinit(&bson);
    /* Every status there is makes a problem that is JSON, whatever the detail. */
#define X(name, number, text, grpc, http, retry)                                                   \
    if (ST_##name != ST_OK) {                                                                      \
        buf_clear(&b);                                                                             \
        buf_clear(&bson);                                                                          \
        (void)!err_set(&c.err, ST_##name, "\xff\x01 %s", "detail");                                \
        assert_int_equal(http_problem_json(&c, ST_##name, (http), "id", &b), ST_OK);               \
        assert_int_equal(doc_from_json(buf_bytes(&b), &bson, &err), ST_OK);                        \
    }
    STATUS_TABLE(X)
#undef X
    buf_deinit(&bson);
    buf_deinit(&b);
}

/* That it is JSON and true is tested from outside (tests/integration/http). */
static void the_document_names_every_route(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    assert_int_equal(http_openapi(&b), ST_OK);
    assert_true(utf8_valid(buf_bytes(&b)));
    for (size_t i = 0; i < http_route_count; i++) {
        char id[80];
        snprintf(id, sizeof id, "\"operationId\":\"%s\"", http_routes[i].id);
        assert_non_null(strstr(buf_cstr(&b), id));
    }
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(percent_signs_of_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(routes_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(queries, setup, teardown),
        cmocka_unit_test_setup_teardown(entity_tags, setup, teardown),
        cmocka_unit_test_setup_teardown(what_a_client_would_rather_have, setup, teardown),
        cmocka_unit_test_setup_teardown(events, setup, teardown),
        cmocka_unit_test_setup_teardown(batches, setup, teardown),
        cmocka_unit_test_setup_teardown(problems, setup, teardown),
        cmocka_unit_test_setup_teardown(the_document_names_every_route, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
