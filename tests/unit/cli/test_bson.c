/* test_bson.c - walking and building the top level of a document, beside the library's own reading;
 * broken ones are refused. */
#include "apps/cli/cli_bson.h"
#include "model/doc/doc.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <string.h>

static void from_json(const char *json, struct buf *out)
{
    struct err e;
    err_init(&e);
    if (doc_from_json(BYTES_STR(json), out, &e) != ST_OK)
        fail_msg("%s", e.detail);
}

/* One field of every type that Extended JSON can write. */
static const char every_type[] =
    "{\"d\":1.5,\"s\":\"text\",\"o\":{\"a\":1},\"a\":[1,2],\"b\":{\"$binary\":{\"base64\":\"AAE=\","
    "\"subType\":\"05\"}},"
    "\"u\":{\"$undefined\":true},\"i\":{\"$oid\":\"0123456789abcdef01234567\"},\"t\":true,"
    "\"w\":{\"$date\":\"2026-02-01T00:00:00Z\"},\"z\":null,\"r\":{\"$regularExpression\":{"
    "\"pattern\":\"x\",\"options\":\"i\"}},"
    "\"p\":{\"$dbPointer\":{\"$ref\":\"x\",\"$id\":{\"$oid\":\"0123456789abcdef01234567\"}}},\"c\":"
    "{\"$code\":\"x\"},"
    "\"y\":{\"$symbol\":\"x\"},\"cs\":{\"$code\":\"x\",\"$scope\":{}},\"n\":7,\"ts\":{\"$"
    "timestamp\":{\"t\":1,\"i\":2}},"
    "\"l\":{\"$numberLong\":\"7000000000\"},\"m\":{\"$numberDecimal\":\"1.5\"},\"lo\":{\"$minKey\":"
    "1},\"hi\":{\"$maxKey\":1}}";

static void walks_every_type(void **state)
{
    (void)state;
    static const uint8_t types[] = {1,  2,  3,  4,  5,  6,  7,  8,  9,    10,  11,
                                    12, 13, 14, 15, 16, 17, 18, 19, 0xff, 0x7f};
    struct buf doc = BUF_INIT, again = BUF_INIT;
    struct cli_bson_field f;
    size_t pos = 0, n = 0, at;
    from_json(every_type, &doc);
    assert_int_equal(cli_bson_begin(&again, &at), ST_OK);
    while (cli_bson_next(buf_bytes(&doc), &pos, &f) == 1) {
        assert_true(n < sizeof types);
        assert_int_equal(f.type, types[n++]);
        assert_int_equal(buf_append(&again, f.element.data, f.element.len), ST_OK);
    }
    assert_int_equal(n, sizeof types);
    assert_int_equal(cli_bson_end(&again, at), ST_OK);
    assert_true(bytes_eq(buf_bytes(&doc), buf_bytes(&again)));
    assert_int_equal(cli_bson_find(buf_bytes(&doc), BYTES_LIT("s"), &f), 1);
    assert_true(bytes_eq(f.value, BYTES_LIT("text")));
    assert_int_equal(cli_bson_find(buf_bytes(&doc), BYTES_LIT("b"), &f), 1);
    assert_true(bytes_eq(f.value, BYTES_LIT("\0\1")));
    assert_int_equal(cli_bson_find(buf_bytes(&doc), BYTES_LIT("nothing"), &f), 0);
    int64_t v;
    assert_int_equal(cli_bson_find(buf_bytes(&doc), BYTES_LIT("l"), &f), 1);
    assert_true(cli_bson_int(&f, &v) && v == 7000000000);
    assert_int_equal(cli_bson_find(buf_bytes(&doc), BYTES_LIT("n"), &f), 1);
    assert_true(cli_bson_int(&f, &v) && v == 7);
    assert_int_equal(cli_bson_find(buf_bytes(&doc), BYTES_LIT("d"), &f), 1);
    assert_false(cli_bson_int(&f, &v));
    buf_deinit(&doc);
    buf_deinit(&again);
}

static void builds_what_json_builds(void **state)
{
    (void)state;
    struct buf a = BUF_INIT, b = BUF_INIT;
    size_t at;
    assert_int_equal(cli_bson_begin(&a, &at), ST_OK);
    assert_int_equal(cli_bson_str(&a, BYTES_LIT("s"), BYTES_LIT("text")), ST_OK);
    assert_int_equal(cli_bson_i64(&a, BYTES_LIT("i"), -5), ST_OK);
    assert_int_equal(cli_bson_i64(&a, BYTES_LIT("l"), INT64_MIN), ST_OK);
    assert_int_equal(cli_bson_double(&a, BYTES_LIT("d"), 1.5), ST_OK);
    assert_int_equal(cli_bson_bool(&a, BYTES_LIT("t"), true), ST_OK);
    assert_int_equal(cli_bson_key(&a, BYTES_LIT("k"), BYTES_LIT("\xff")), ST_OK);
    assert_int_equal(cli_bson_end(&a, at), ST_OK);
    from_json("{\"s\":\"text\",\"i\":-5,\"l\":-9223372036854775808,\"d\":1.5,\"t\":true,"
              "\"k\":{\"$binary\":{\"base64\":\"/w==\",\"subType\":\"00\"}}}",
              &b);
    assert_true(bytes_eq(buf_bytes(&a), buf_bytes(&b)));
    buf_deinit(&a);
    buf_deinit(&b);
}

/* A walk over anything ends, and stays inside (the sanitizer watches an exact copy). */
static void broken_documents(void **state)
{
    (void)state;
    struct buf doc = BUF_INIT;
    from_json(every_type, &doc);
    uint64_t seed;
    FOR_EACH_SEED(seed, 3000)
    {
        struct test_rng r;
        struct buf copy = BUF_INIT;
        test_rng_init(&r, seed);
        size_t len = test_rng_chance(&r, 1, 3) ? test_rng_below(&r, doc.len) : doc.len;
        assert_int_equal(buf_append(&copy, doc.data, len), ST_OK);
        for (size_t n = test_rng_below(&r, 4); len && n; n--)
            copy.data[test_rng_below(&r, len)] = (uint8_t)test_rng_below(&r, 256);
        if (len >= 4) /* keep the length plausible, so that the walk goes inside */
            for (size_t i = 0; i < 4; i++)
                copy.data[i] = (uint8_t)(len >> (8 * i));
        struct cli_bson_field f;
        size_t pos = 0, fields = 0;
        int got;
        while ((got = cli_bson_next(buf_bytes(&copy), &pos, &f)) == 1) {
            assert_true(f.element.data >= copy.data &&
                        f.element.data + f.element.len <= copy.data + len);
            assert_true(f.value.data >= copy.data && f.value.data + f.value.len <= copy.data + len);
            assert_true(++fields <= len);
        }
        assert_true(got == 0 || got == -1);
        buf_deinit(&copy);
    }
    buf_deinit(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_every_type),
        cmocka_unit_test(builds_what_json_builds),
        cmocka_unit_test(broken_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
