#include "base/alloc.h"
#include "doc_gen.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_doc_key_text_finds(void **state)
{
    static const struct {
        const char *path, *text, *why;
        enum status st;
    } CASES[] = {
        {"s", "x y", NULL, ST_OK},
        {"i", "-5", NULL, ST_OK},
        {"l", "-9223372036854775808", NULL, ST_OK},
        {"o", "56e1fc72e0c917e9c4714161", NULL, ST_OK},
        {"address.zip", "1010", NULL, ST_OK},
        {"tags.0", "a", NULL, ST_OK},
        {"tags.1.k", "7", NULL, ST_OK},
        {"dot.ted", "itself", NULL, ST_OK},
        {"", "", NULL, ST_OK},
        {"e.", "empty", NULL, ST_OK},
        {"tags.2", NULL, "no field \"tags.2\"", ST_NOT_FOUND},
        {"tags.00", NULL, "tags.00", ST_NOT_FOUND},
        {"tags.x", NULL, "tags.x", ST_NOT_FOUND},
        {"s.x", NULL, "s.x", ST_NOT_FOUND},
        {"address.", NULL, "address.", ST_NOT_FOUND},
        {".zip", NULL, ".zip", ST_NOT_FOUND},
        {"nope", NULL, "nope", ST_NOT_FOUND},
        {"d", NULL, "field \"d\" is a double", ST_INVALID_ARGUMENT},
        {"address", NULL, "is a document", ST_INVALID_ARGUMENT},
        {"tags", NULL, "is an array", ST_INVALID_ARGUMENT},
        {"n", NULL, "is null", ST_INVALID_ARGUMENT},
        {"m", NULL, "MinKey", ST_INVALID_ARGUMENT},
    };
    struct buf b = doc_of(
        "{\"s\":\"x "
        "y\",\"i\":-5,\"l\":-9223372036854775808,\"o\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"},"
        "\"address\":{\"zip\":\"1010\"},\"tags\":[\"a\",{\"k\":7}],\"\":\"\",\"e\":{\"\":\"empty\"}"
        ","
        "\"dot\":{\"ted\":\"path\"},\"dot.ted\":\"itself\",\"d\":1.5,\"n\":null,\"m\":{\"$minKey\":"
        "1}}");
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(*CASES); i++) {
        struct buf out = BUF_INIT;
        struct err err;
        err_init(&err);
        enum status st = doc_key_text(buf_bytes(&b), BYTES_STR(CASES[i].path), &out, &err);
        if (st != CASES[i].st)
            fail_msg("%s: %s %s", CASES[i].path, status_name(st), err.detail);
        if (st)
            assert_non_null(strstr(err.detail, CASES[i].why));
        assert_true(bytes_eq(buf_bytes(&out), BYTES_STR(CASES[i].text ? CASES[i].text : "")));
        buf_deinit(&out);
    }
    buf_deinit(&b);
}

static void test_doc_next_field_as_text(void **state)
{
    static const char *const WANTED[][2] = {
        {"s", "a,\"b\"\n"},
        {"i", "-5"},
        {"l", "5"},
        {"d", "1.0"},
        {"nan", "NaN"},
        {"dec", "1.50"},
        {"t", "true"},
        {"f", "false"},
        {"n", ""},
        {"o", "{\"$oid\":\"56e1fc72e0c917e9c4714161\"}"},
        {"doc", "{\"x\":[1,2.5,\"y\"]}"},
        {"arr", "[1,{}]"},
        {"", "{\"$date\":\"1970-01-01T00:00:00Z\"}"},
    };
    struct buf b = doc_of("{\"s\":\"a,\\\"b\\\"\\n\",\"i\":-5,\"l\":{\"$numberLong\":\"5\"},\"d\":"
                          "1.0,\"nan\":{\"$numberDouble\":\"NaN\"},"
                          "\"dec\":{\"$numberDecimal\":\"1.50\"},\"t\":true,\"f\":false,\"n\":null,"
                          "\"o\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"},"
                          "\"doc\":{\"x\":[1,2.5,\"y\"]},\"arr\":[1,{}],\"\":{\"$date\":0}}");
    struct buf text = BUF_INIT;
    struct bytes name;
    struct err err;
    size_t pos = 0;
    (void)state;
    for (size_t i = 0; i < sizeof(WANTED) / sizeof(*WANTED); i++) {
        assert_int_equal(doc_next_field(buf_bytes(&b), &pos, &name, &text, &err), 1);
        assert_true(bytes_eq(name, BYTES_STR(WANTED[i][0])));
        if (!bytes_eq(buf_bytes(&text), BYTES_STR(WANTED[i][1])))
            fail_msg("%s: %s", WANTED[i][0], buf_cstr(&text));
    }
    assert_int_equal(doc_next_field(buf_bytes(&b), &pos, &name, &text, &err), 0);
    assert_int_equal(doc_next_field(buf_bytes(&b), &pos, &name, &text, &err), 0);
    pos = b.len;
    assert_int_equal(doc_next_field(buf_bytes(&b), &pos, &name, &text, &err), -ST_INVALID_ARGUMENT);
    pos = 2;
    assert_int_equal(doc_next_field(buf_bytes(&b), &pos, &name, &text, &err), -ST_INVALID_ARGUMENT);
    pos = 0;
    assert_int_equal(doc_next_field(BYTES_LIT("\x05"), &pos, &name, &text, &err),
                     -ST_INVALID_ARGUMENT);
    buf_deinit(&b);
    buf_deinit(&text);
}

static void test_doc_builder_builds(void **state)
{
    struct doc_builder *b = doc_builder_new();
    struct err err;
    (void)state;
    assert_non_null(b);
    doc_builder_free(NULL);
    for (int round = 0; round < 2; round++) {
        struct bytes empty = doc_builder_bson(b);
        assert_true(bytes_eq(empty, BYTES_LIT("\5\0\0\0\0")));
        assert_int_equal(doc_builder_str(b, BYTES_LIT("s"), BYTES_LIT("x\0y"), &err), ST_OK);
        assert_int_equal(doc_builder_i64(b, BYTES_LIT("i"), INT64_MIN, &err), ST_OK);
        assert_int_equal(doc_builder_double(b, BYTES_LIT("d"), 1.5, &err), ST_OK);
        assert_int_equal(doc_builder_bool(b, BYTES_LIT("t"), true, &err), ST_OK);
        assert_int_equal(doc_builder_null(b, BYTES_LIT(""), &err), ST_OK);
        struct bytes bson = doc_builder_bson(b);
        assert_int_equal(doc_check(bson, &err), ST_OK);
        char *json = json_of(bson, DOC_JSON_CANONICAL);
        assert_string_equal(json,
                            "{\"s\":\"x\\u0000y\",\"i\":{\"$numberLong\":\"-9223372036854775808\"},"
                            "\"d\":{\"$numberDouble\":\"1.5\"},\"t\":true,\"\":null}");
        mem_free(json);
        assert_int_equal(doc_builder_bool(b, BYTES_LIT("i"), true, &err), ST_INVALID_ARGUMENT);
        assert_string_equal(err.detail, "duplicate name \"i\"");
        assert_int_equal(doc_builder_null(b, BYTES_LIT("a\0b"), &err), ST_INVALID_ARGUMENT);
        assert_int_equal(doc_builder_null(b, BYTES_LIT("\xff"), &err), ST_INVALID_ARGUMENT);
        assert_int_equal(doc_builder_str(b, BYTES_LIT("u"), BYTES_LIT("\xc0\x80"), &err),
                         ST_INVALID_ARGUMENT);
        assert_int_equal(doc_builder_bson(b).len,
                         bson.len); /* refused fields leave nothing behind */
        doc_builder_clear(b);
    }
    doc_builder_free(b);
}

static void test_doc_builder_wide(void **state)
{
    struct doc_builder *b = doc_builder_new();
    struct err err;
    char name[32];
    (void)state;
    assert_non_null(b);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 20000; i++) {
            int n = snprintf(name, sizeof(name), "column %d", i);
            assert_int_equal(doc_builder_i64(b, BYTES(name, (size_t)n), i, &err), ST_OK);
        }
        assert_int_equal(doc_builder_null(b, BYTES_LIT("column 0"), &err), ST_INVALID_ARGUMENT);
        assert_int_equal(doc_builder_null(b, BYTES_LIT("column 19999"), &err), ST_INVALID_ARGUMENT);
        assert_int_equal(doc_check(doc_builder_bson(b), &err), ST_OK);
        doc_builder_clear(b);
    }
    doc_builder_free(b);
}

static void test_doc_builder_limit(void **state)
{
    struct doc_builder *b = doc_builder_new();
    struct err err;
    size_t most = DOC_MAX_BYTES - 5 - 3 - 5;
    char *text = mem_alloc(most + 1);
    (void)state;
    assert_non_null(b);
    assert_non_null(text);
    memset(text, 'x', most + 1);
    assert_int_equal(doc_builder_str(b, BYTES_LIT("s"), BYTES(text, most + 1), &err), ST_TOO_LARGE);
    assert_non_null(strstr(err.detail, "over the limit of 16777216 bytes"));
    assert_int_equal(doc_builder_str(b, BYTES_LIT("s"), BYTES(text, most), &err), ST_OK);
    assert_int_equal(doc_builder_bson(b).len, DOC_MAX_BYTES);
    assert_int_equal(doc_check(doc_builder_bson(b), &err), ST_OK);
    assert_int_equal(doc_builder_null(b, BYTES_LIT(""), &err), ST_TOO_LARGE);
    assert_int_equal(doc_builder_bson(b).len, DOC_MAX_BYTES);
    mem_free(text);
    doc_builder_free(b);
}

static void test_doc_builder_without_memory(void **state)
{
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct err err;
        mem_fail_at(n, 0);
        struct doc_builder *b = doc_builder_new();
        int added = 0;
        for (int i = 0; b && i < 100; i++) {
            char name[16];
            int len = snprintf(name, sizeof(name), "f%d", i);
            enum status st =
                doc_builder_str(b, BYTES(name, (size_t)len), BYTES_LIT("some text"), &err);
            assert_true(st == ST_OK || st == ST_NO_MEMORY);
            added += st == ST_OK;
        }
        mem_fail_at(0, 0);
        bool hit = mem_fail_hits() > 0;
        if (b) {
            assert_int_equal(added, hit ? 99 : 100);
            assert_int_equal(doc_check(doc_builder_bson(b), &err), ST_OK);
        }
        doc_builder_free(b);
        if (!hit) {
            assert_true(n > 4);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doc_key_text_finds),
        cmocka_unit_test(test_doc_next_field_as_text),
        cmocka_unit_test(test_doc_builder_builds),
        cmocka_unit_test(test_doc_builder_wide),
        cmocka_unit_test(test_doc_builder_limit),
        cmocka_unit_test(test_doc_builder_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
