#include "base/alloc.h"
#include "doc_gen.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void expect_json(const char *from, enum doc_json mode, const char *to)
{
    struct buf b = doc_of(from);
    struct err err;
    if (doc_check(buf_bytes(&b), &err))
        fail_msg("%s: %s", from, err.detail);
    char *text = json_of(buf_bytes(&b), mode);
    assert_string_equal(text, to);
    mem_free(text);
    buf_deinit(&b);
}

static void test_doc_json_relaxed(void **state)
{
    static const char *const PAIRS[][2] = {
        {"{}", "{}"},
        {" {\t\"a\" :\r\n [ ] , \"b\":{ } } ", "{\"a\":[],\"b\":{}}"},
        {"{\"a\":1}", "{\"a\":1}"},
        {"{\"a\":1.0}", "{\"a\":1.0}"},
        {"{\"a\":-0}", "{\"a\":0}"},
        {"{\"a\":-0.0}", "{\"a\":-0.0}"},
        {"{\"a\":0.1,\"b\":1e2,\"c\":1e22,\"d\":1E-7}",
         "{\"a\":0.1,\"b\":100.0,\"c\":1e+22,\"d\":1e-07}"},
        {"{\"a\":2147483648,\"b\":-9223372036854775808}",
         "{\"a\":2147483648,\"b\":-9223372036854775808}"},
        {"{\"a\":9223372036854775808}", "{\"a\":9.223372036854776e+18}"},
        {"{\"a\":18446744073709551616}", "{\"a\":1.8446744073709552e+19}"},
        {"{\"a\":{\"$numberDouble\":\"NaN\"}}", "{\"a\":{\"$numberDouble\":\"NaN\"}}"},
        {"{\"a\":{\"$numberDouble\":\"-Infinity\"}}", "{\"a\":{\"$numberDouble\":\"-Infinity\"}}"},
        {"{\"a\":{\"$numberLong\":\"5\"}}", "{\"a\":5}"},
        {"{\"a\":{\"$date\":{\"$numberLong\":\"1356351330501\"}}}",
         "{\"a\":{\"$date\":\"2012-12-24T12:15:30.501Z\"}}"},
        {"{\"a\":{\"$date\":{\"$numberLong\":\"1356351330000\"}}}",
         "{\"a\":{\"$date\":\"2012-12-24T12:15:30Z\"}}"},
        {"{\"a\":{\"$date\":\"2012-12-24T13:15:30.5+01:00\"}}",
         "{\"a\":{\"$date\":\"2012-12-24T12:15:30.500Z\"}}"},
        {"{\"a\":{\"$date\":\"1960-12-24T12:15:30.499Z\"}}",
         "{\"a\":{\"$date\":{\"$numberLong\":\"-284643869501\"}}}"},
        {"{\"a\":{\"$date\":\"9999-12-31T23:59:59.999Z\"}}",
         "{\"a\":{\"$date\":\"9999-12-31T23:59:59.999Z\"}}"},
        {"{\"a\":{\"$date\":{\"$numberLong\":\"253402300800000\"}}}",
         "{\"a\":{\"$date\":{\"$numberLong\":\"253402300800000\"}}}"},
        {"{\"a\":{\"$date\":0}}", "{\"a\":{\"$date\":\"1970-01-01T00:00:00Z\"}}"},
        {"{\"a\":{\"$uuid\":\"73ffd264-44b3-4c69-90e8-e7d1dfc035d4\"}}",
         "{\"a\":{\"$binary\":{\"base64\":\"c//SZESzTGmQ6OfR38A11A==\",\"subType\":\"04\"}}}"},
        {"{\"a\":{\"$binary\":\"aGk=\",\"$type\":\"80\"}}",
         "{\"a\":{\"$binary\":{\"base64\":\"aGk=\",\"subType\":\"80\"}}}"},
        {"{\"a\":{\"$binary\":{\"subType\":\"2\",\"base64\":\"//8=\"}}}",
         "{\"a\":{\"$binary\":{\"base64\":\"//8=\",\"subType\":\"02\"}}}"},
        {"{\"a\":\"\\u00e9\\ud83d\\ude00\\u0000\\/\"}",
         "{\"a\":\"\xc3\xa9\xf0\x9f\x98\x80\\u0000/\"}"},
        {"{\"\xc2\x85\":\"\x7f\xc2\x80\xc2\x9f\xc2\xa0\xc3\x9b\"}",
         "{\"\\u0085\":\"\\u007f\\u0080\\u009f\xc2\xa0\xc3\x9b\"}"},
        {"{\"a\":{\"$regex\":\"x\",\"$options\":\"i\"}}",
         "{\"a\":{\"$regex\":\"x\",\"$options\":\"i\"}}"},
        {"{\"a\":{\"$type\":\"string\"}}", "{\"a\":{\"$type\":\"string\"}}"},
        {"{\"a\":{\"$ref\":\"c\",\"$id\":1}}", "{\"a\":{\"$ref\":\"c\",\"$id\":1}}"},
        {"{\"a\":{\"b\":1,\"$oid\":2}}", "{\"a\":{\"b\":1,\"$oid\":2}}"},
        {"{\"a\":{\"$minKey\":{\"$numberInt\":\"1\"}}}", "{\"a\":{\"$minKey\":1}}"},
        {"{\"a\":true,\"b\":false,\"c\":null}", "{\"a\":true,\"b\":false,\"c\":null}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(PAIRS) / sizeof(*PAIRS); i++) {
        expect_json(PAIRS[i][0], DOC_JSON_RELAXED, PAIRS[i][1]);
    }
}

static void test_doc_json_canonical(void **state)
{
    static const char *const SAME[] = {
        "{\"a\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"}}",
        "{\"a\":{\"$symbol\":\"s\"}}",
        "{\"a\":{\"$numberInt\":\"-1\"},\"b\":{\"$numberLong\":\"-1\"},\"c\":{\"$numberDouble\":\"-"
        "1.0\"}}",
        "{\"a\":{\"$numberDecimal\":\"1.50E+10\"},\"b\":{\"$numberDecimal\":\"NaN\"},\"c\":{\"$"
        "numberDecimal\":\"-Infinity\"}}",
        "{\"a\":{\"$binary\":{\"base64\":\"\",\"subType\":\"00\"}}}",
        "{\"a\":{\"$code\":\"f()\"}}",
        "{\"a\":{\"$code\":\"f()\",\"$scope\":{\"x\":{\"$code\":\"g\",\"$scope\":{}}}},\"b\":[{\"$"
        "code\":\"h\",\"$scope\":{\"y\":[]}}]}",
        "{\"a\":{\"$timestamp\":{\"t\":4294967295,\"i\":1}}}",
        "{\"a\":{\"$regularExpression\":{\"pattern\":\"^a\\\"\",\"options\":\"im\"}}}",
        "{\"a\":{\"$dbPointer\":{\"$ref\":\"db.c\",\"$id\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"}}"
        "}}",
        "{\"a\":{\"$date\":{\"$numberLong\":\"-9223372036854775808\"}}}",
        "{\"a\":{\"$minKey\":1},\"b\":{\"$maxKey\":1},\"c\":{\"$undefined\":true}}",
        "{\"a\":[[{\"$numberInt\":\"1\"},[]],{\"b\":{}}]}",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(SAME) / sizeof(*SAME); i++)
        expect_json(SAME[i], DOC_JSON_CANONICAL, SAME[i]);
    expect_json("{\"a\":{\"$timestamp\":{\"i\":1,\"t\":2}},\"b\":{\"$regularExpression\":{"
                "\"options\":\"x\",\"pattern\":\"longer\"}}}",
                DOC_JSON_CANONICAL,
                "{\"a\":{\"$timestamp\":{\"t\":2,\"i\":1}},\"b\":{\"$regularExpression\":{"
                "\"pattern\":\"longer\",\"options\":\"x\"}}}");
}

/* Encodings that IEEE 754 calls not canonical have the value 0 and not 35 digits; JSON keeps the
 * value. */
static void test_doc_json_decimal_not_canonical(void **state)
{
    static const struct {
        uint64_t high, low;
        const char *text;
    } CASES[] = {
        {0x3041ed09bead87c0, 0x378d8e63ffffffff, "9999999999999999999999999999999999"},
        {0x3041ed09bead87c0, 0x378d8e6400000000, "0"},
        {0x3041ffffffffffff, 0xffffffffffffffff, "0"},
        {0x6c10000000000000, 1, "0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(*CASES); i++) {
        bson_t b = BSON_INITIALIZER;
        char wanted[128];
        bson_decimal128_t d = {.high = CASES[i].high, .low = CASES[i].low};
        bson_append_decimal128(&b, "a", 1, &d);
        char *json = json_of(bson_bytes(&b), DOC_JSON_CANONICAL);
        snprintf(wanted, sizeof(wanted), "{\"a\":{\"$numberDecimal\":\"%s\"}}", CASES[i].text);
        assert_string_equal(json, wanted);
        struct buf back = doc_of(json);
        buf_deinit(&back);
        mem_free(json);
        bson_destroy(&b);
    }
}

static void test_doc_json_pretty(void **state)
{
    struct buf b = doc_of(
        "{\"a\":1,\"e\":{},\"l\":[1,{\"x\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"}}],\"n\":[]}");
    struct buf out = BUF_INIT;
    struct err err;
    (void)state;
    assert_int_equal(doc_to_json(buf_bytes(&b), DOC_JSON_RELAXED, true, &out, &err), ST_OK);
    assert_string_equal(buf_cstr(&out),
                        "{\n  \"a\": 1,\n  \"e\": {},\n  \"l\": [\n    1,\n    {\n      \"x\": "
                        "{\"$oid\":\"56e1fc72e0c917e9c4714161\"}\n    }\n  ],\n  \"n\": []\n}");
    struct buf again = doc_of(buf_cstr(&out));
    assert_true(bytes_eq(buf_bytes(&b), buf_bytes(&again)));
    buf_deinit(&again);
    buf_deinit(&out);
    buf_deinit(&b);
}

static void test_doc_json_errors(void **state)
{
    static const struct {
        const char *json, *why;
    } BAD[] = {
        {"", "line 1 column 1: the text ends where '{' of a document"},
        {"[1]", "line 1 column 1: '[' where '{'"},
        {"1", "line 1 column 1: '1' where '{'"},
        {"{} x", "line 1 column 4: text after the end"},
        {"{}{}", "line 1 column 3: text after the end"},
        {"{", "line 1 column 2: the text ends where a field's name"},
        {"{\n  \"a\": 1,\n  \"b\": 2,\n  \"a\": 3\n}", "line 4 column 3: duplicate name \"a\""},
        {"{\"x\":[{\"k\":1,\"s\":\"}{,\\\"\",\"k\":2}]}", "line 1 column 26: duplicate name \"k\""},
        {"{\"a\":1,\"\\u0061\":2}", "line 1 column 8: duplicate name \"a\""},
        {"{\"\xc3\xa9\":\"\xf0\x9f\x98\x80\",}", "line 1 column 10: '}' where a field's name"},
        {"{\"a\":[1,]}", "line 1 column 9: ']' where a value"},
        {"{\"a\" 1}", "line 1 column 6: '1' where ':' after"},
        {"{a:1}", "line 1 column 2: 'a' where a field's name"},
        {"{'a':1}", "line 1 column 2: ''' where"},
        {"{\"a\":1 \"b\":2}", "where ',' or '}'"},
        {"{\"a\":[1 2]}", "where ',' or ']'"},
        {"{\"a\":tru}", "line 1 column 6: 't' where a value"},
        {"{\"a\":NaN}", "line 1 column 6: 'N' where a value"},
        {"{\"a\":truex}", "'x' where ',' or '}'"},
        {"{\"a\":01}", "line 1 column 6: a number must not begin with a zero"},
        {"{\"a\":1.}", "line 1 column 6: malformed number"},
        {"{\"a\":-}", "malformed number"},
        {"{\"a\":1e}", "malformed number"},
        {"{\"a\":+1}", "'+' where a value"},
        {"{\"a\":1e400}", "line 1 column 6: number is beyond the range"},
        {"{\"a\":\"\\ud800\"}", "line 1 column 7: lone surrogate \\ud800"},
        {"{\"a\":\"\\ude00\"}", "lone surrogate \\ude00"},
        {"{\"a\":\"\\ud83d\\u0041\"}", "lone surrogate \\ud83d"},
        {"{\"a\":\"\\u12g4\"}", "\\u needs four"},
        {"{\"a\":\"\\u12", "\\u needs four"},
        {"{\"a\":\"\\x\"}", "line 1 column 7: unknown escape"},
        {"{\"a\":\"\n\"}", "control character 0x0a"},
        {"{\"a\":\"abc", "line 1 column 6: this string has no end"},
        {"{\"a\":\"abc\\", "unknown escape"},
        {"{\"a\":\"ok\xc3\xa9x\xff\"}", "line 1 column 11: text is not UTF-8"},
        {"{\"a\":\"\xed\xa0\x80\"}", "line 1 column 7: text is not UTF-8"},
        {"{\"a\xc0\x80\":1}", "text is not UTF-8"},
        {"{\"a\\u0000b\":1}", "line 1 column 4: a field's name cannot hold a NUL"},
        {"\xef\xbb\xbf{}", "byte 0xef where '{'"},
        {"{\"$oid\":\"56e1fc72e0c917e9c4714161\"}",
         "line 1 column 1: the outermost value must be a document"},
        {"{\"a\":{\"$oid\":\"56e1\"}}", "line 1 column 14: $oid must be a string of 24"},
        {"{\"a\":{\"$oid\":\"56e1fc72e0c917e9c471416g\"}}", "$oid must be"},
        {"{\"a\":{\"$oid\":5}}", "'5' where $oid must be"},
        {"{\"a\":{\"$oid\":\"56e1fc72e0c917e9c4714161\",\"b\":1}}", "$oid must be the only name"},
        {"{\"a\":{\"$numberInt\":\"2147483648\"}}", "$numberInt must be"},
        {"{\"a\":{\"$numberInt\":\" 5\"}}", "$numberInt must be"},
        {"{\"a\":{\"$numberInt\":5}}", "$numberInt must be"},
        {"{\"a\":{\"$numberLong\":\"9223372036854775808\"}}", "$numberLong must be"},
        {"{\"a\":{\"$numberLong\":\"\"}}", "$numberLong must be"},
        {"{\"a\":{\"$numberDouble\":\"1x\"}}", "$numberDouble must be"},
        {"{\"a\":{\"$numberDouble\":\"nan\"}}", "$numberDouble must be"},
        {"{\"a\":{\"$numberDecimal\":\"1x\"}}", "$numberDecimal must be"},
        {"{\"a\":{\"$numberDecimal\":\"12345678901234567890123456789012345\"}}",
         "$numberDecimal must be"},
        {"{\"a\":{\"$numberDecimal\":\"1E+6145\"}}", "$numberDecimal must be"},
        {"{\"a\":{\"$numberDecimal\":\"1E4294967297\"}}", "$numberDecimal must be"},
        {"{\"a\":{\"$numberDecimal\":\"1E-99999999999999999999\"}}", "and 6 of its exponent"},
        {"{\"a\":{\"$numberDecimal\":\"0E1000000\"}}", "and 6 of its exponent"},
        {"{\"a\":{\"$numberDecimal\":\"1E 5\"}}", "$numberDecimal must be"},
        {"{\"a\":{\"$numberDecimal\":\"1E\\t5\"}}", "$numberDecimal must be"},
        {"{\"a\":{\"$numberDecimal\":\"1E+ 5\"}}", "$numberDecimal must be"},
        {"{\"a\":{\"$numberDecimal\":\"1\\u0000\"}}", "$numberDecimal must be"},
        {"{\"a\":{\"$numberDecimal\":\"\"}}", "$numberDecimal must be"},
        {"{\"a\":{\"$binary\":{\"base64\":\"aGk\",\"subType\":\"00\"}}}", "base64 of $binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"aGl=\",\"subType\":\"00\"}}}", "base64 of $binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"====\",\"subType\":\"00\"}}}", "base64 of $binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"aG=k\",\"subType\":\"00\"}}}", "base64 of $binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"\",\"subType\":\"xyz\"}}}", "subType of $binary"},
        {"{\"a\":{\"$binary\":{\"base64\":\"\",\"base64\":\"\"}}}", "$binary must have"},
        {"{\"a\":{\"$binary\":{\"base64\":\"\"}}}", "in $binary"},
        {"{\"a\":{\"$uuid\":\"73ffd264-44b3-4c69-90e8-e7d1dfc035d\"}}", "$uuid must be"},
        {"{\"a\":{\"$uuid\":\"73ffd264+44b3-4c69-90e8-e7d1dfc035d4\"}}", "$uuid must be"},
        {"{\"a\":{\"$timestamp\":{\"t\":1,\"t\":2}}}", "$timestamp must have"},
        {"{\"a\":{\"$timestamp\":{\"t\":-1,\"i\":2}}}", "$timestamp must have"},
        {"{\"a\":{\"$timestamp\":{\"t\":4294967296,\"i\":2}}}", "$timestamp must have"},
        {"{\"a\":{\"$timestamp\":{\"t\":1}}}", "in $timestamp"},
        {"{\"a\":{\"$regularExpression\":{\"pattern\":\"a\\u0000\",\"options\":\"\"}}}",
         "cannot hold a NUL"},
        {"{\"a\":{\"$regularExpression\":{\"pattern\":\"a\"}}}", "in $regularExpression"},
        {"{\"a\":{\"$dbPointer\":{\"$ref\":\"c\"}}}", "after $ref"},
        {"{\"a\":{\"$date\":\"2020-02-30T00:00:00Z\"}}", "$date must be"},
        {"{\"a\":{\"$date\":\"1900-02-29T00:00:00Z\"}}", "$date must be"},
        {"{\"a\":{\"$date\":\"2020-01-01T24:00:00Z\"}}", "$date must be"},
        {"{\"a\":{\"$date\":\"2020-01-01T00:00:00\"}}", "$date must be"},
        {"{\"a\":{\"$date\":\"2020-01-01T00:00:00.1234Z\"}}", "$date must be"},
        {"{\"a\":{\"$date\":\"2020-01-01\"}}", "$date must be"},
        {"{\"a\":{\"$date\":1.5}}", "$date must be"},
        {"{\"a\":{\"$minKey\":2}}", "$minKey must be 1"},
        {"{\"a\":{\"$undefined\":false}}", "$undefined must be true"},
        {"{\"a\":{\"$code\":1}}", "where the string of $code"},
        {"{\"a\":{\"$code\":\"x\",\"y\":1}}", "only $scope may follow"},
        {"{\"a\":{\"$code\":\"x\",\"$scope\":1}}", "where the document of $scope"},
        {"{\"a\":{\"$code\":\"x\",\"$scope\":{},\"y\":1}}", "after the $scope"},
        {"{\"a\":{\"$code\":\"x\",\"$scope\":{\"$oid\":\"56e1fc72e0c917e9c4714161\"}}}",
         "$scope must be a document"},
        {"{\"a\":{\"$scope\":{},\"$code\":\"x\"}}", "$code must come before"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(*BAD); i++) {
        struct buf out = BUF_INIT;
        struct err err;
        size_t len = strlen(BAD[i].json);
        char *exact = mem_memdup(BAD[i].json, len ? len : 1);
        assert_non_null(exact);
        err_init(&err);
        assert_int_equal(buf_append(&out, "kept", 4), ST_OK);
        enum status st = doc_from_json(BYTES(exact, len), &out, &err);
        if (st != ST_INVALID_ARGUMENT || !strstr(err.detail, BAD[i].why))
            fail_msg("%s: %s: %s", BAD[i].json, status_name(st), err.detail);
        assert_true(bytes_eq(buf_bytes(&out), BYTES_LIT("kept")));
        buf_deinit(&out);
        mem_free(exact);
    }
}

static enum status nested(const char *open, const char *inside, const char *close, int levels,
                          struct err *err)
{
    struct buf json = BUF_INIT, out = BUF_INIT;
    enum status st = ST_OK;
    for (int i = 0; i < levels; i++)
        st = st ? st : buf_append(&json, open, strlen(open));
    st = st ? st : buf_append(&json, inside, strlen(inside));
    for (int i = 0; i < levels; i++)
        st = st ? st : buf_append(&json, close, strlen(close));
    assert_int_equal(st, ST_OK);
    st = doc_from_json(buf_bytes(&json), &out, err);
    if (!st) {
        char *text = json_of(buf_bytes(&out), DOC_JSON_RELAXED);
        assert_true(bytes_eq(BYTES_STR(text), buf_bytes(&json)));
        assert_int_equal(doc_check(buf_bytes(&out), err), ST_OK);
        mem_free(text);
    }
    buf_deinit(&json);
    buf_deinit(&out);
    return st;
}

static void test_doc_json_depth(void **state)
{
    struct err err;
    (void)state;
    assert_int_equal(nested("{\"a\":", "1", "}", DOC_MAX_DEPTH, &err), ST_OK);
    assert_int_equal(nested("{\"a\":", "{}", "}", DOC_MAX_DEPTH - 1, &err), ST_OK);
    assert_int_equal(
        nested("{\"a\":", "{\"$oid\":\"56e1fc72e0c917e9c4714161\"}", "}", DOC_MAX_DEPTH, &err),
        ST_OK);
    assert_int_equal(nested("{\"a\":", "{}", "}", DOC_MAX_DEPTH, &err), ST_TOO_LARGE);
    assert_string_equal(err.detail,
                        "line 1 column 501: nested deeper than the limit of 100 levels");
    assert_int_equal(nested("{\"a\":", "[]", "}", DOC_MAX_DEPTH, &err), ST_TOO_LARGE);
    assert_int_equal(nested("{\"a\":", "[1]", "}", DOC_MAX_DEPTH, &err), ST_TOO_LARGE);
    assert_int_equal(nested("{\"a\":", "1", "}", DOC_MAX_DEPTH + 1, &err), ST_TOO_LARGE);
    assert_int_equal(nested("{\"a\":[", "1", "]}", 5000, &err), ST_TOO_LARGE);
    assert_int_equal(nested("{\"a\":{\"$code\":\"\",\"$scope\":", "{}", "}}", 49, &err), ST_OK);
    assert_int_equal(
        nested("{\"a\":{\"$code\":\"\",\"$scope\":", "{}", "}}", DOC_MAX_DEPTH - 1, &err), ST_OK);
    assert_int_equal(nested("{\"a\":{\"$code\":\"\",\"$scope\":", "{}", "}}", DOC_MAX_DEPTH, &err),
                     ST_TOO_LARGE);
}

static void test_doc_json_size(void **state)
{
    struct buf json = BUF_INIT, out = BUF_INIT;
    struct err err;
    size_t len = DOC_MAX_BYTES - 5 - 3 - 5;
    (void)state;
    char *text = mem_alloc(len + 1);
    assert_non_null(text);
    memset(text, 'x', len + 1);
    for (size_t more = 0; more < 2; more++) {
        buf_clear(&json);
        buf_clear(&out);
        assert_int_equal(buf_append(&json, "{\"b\":\"", 6), ST_OK);
        assert_int_equal(buf_append(&json, text, len + more), ST_OK);
        assert_int_equal(buf_append(&json, "\"}", 2), ST_OK);
        enum status st = doc_from_json(buf_bytes(&json), &out, &err);
        assert_int_equal(st, more ? ST_TOO_LARGE : ST_OK);
        assert_int_equal(out.len, more ? 0 : DOC_MAX_BYTES);
        if (more)
            assert_non_null(strstr(err.detail, "over the limit of 16777216 bytes"));
    }
    mem_free(text);
    buf_deinit(&json);
    buf_deinit(&out);
}

/* What may stand around a document: one level, and some bytes, where names are still told apart. */
static void test_doc_json_around(void **state)
{
    struct buf json = BUF_INIT, out = BUF_INIT;
    struct err err;
    (void)state;
    for (size_t levels = DOC_MAX_DEPTH; levels < DOC_MAX_DEPTH + 3; levels++) {
        buf_clear(&json);
        for (size_t i = 0; i < levels; i++)
            assert_int_equal(buf_append(&json, "{\"a\":", 5), ST_OK);
        assert_int_equal(buf_append(&json, "1", 1), ST_OK);
        for (size_t i = 0; i < levels; i++)
            assert_int_equal(buf_append(&json, "}", 1), ST_OK);
        assert_int_equal(doc_from_json_around(buf_bytes(&json), &out, &err),
                         levels <= DOC_MAX_DEPTH + 1 ? ST_OK : ST_TOO_LARGE);
    }
    char *text = mem_alloc(DOC_MAX_BYTES);
    assert_non_null(text);
    memset(text, 'x', DOC_MAX_BYTES);
    for (int last = 60; last >= 59; last--) { /* n0 to n59 stand before it */
        buf_clear(&json);
        assert_int_equal(buf_append(&json, "{\"b\":\"", 6), ST_OK);
        assert_int_equal(buf_append(&json, text, DOC_MAX_BYTES), ST_OK);
        assert_int_equal(buf_append(&json, "\"", 1), ST_OK);
        for (int i = 61; i-- > 0;)
            assert_int_equal(buf_printf(&json, ",\"n%d\":1", i ? i - 1 : last), ST_OK);
        assert_int_equal(buf_append(&json, "}", 1), ST_OK);
        assert_int_equal(doc_from_json(buf_bytes(&json), &out, &err), ST_TOO_LARGE);
        assert_non_null(strstr(err.detail, "over the limit of 16777216 bytes"));
        enum status st = doc_from_json_around(buf_bytes(&json), &out, &err);
        assert_int_equal(st, last == 60 ? ST_OK : ST_INVALID_ARGUMENT);
        if (last < 60)
            assert_non_null(strstr(err.detail, "duplicate name \"n59\""));
    }
    mem_free(text);
    buf_deinit(&json);
    buf_deinit(&out);
}

static void test_doc_json_output_maximum(void **state)
{
    struct buf b = doc_of("{\"a\":\"0123456789\"}"), out;
    struct err err;
    (void)state;
    for (size_t max = 1; max < 18; max++) {
        buf_init(&out, max);
        assert_int_equal(doc_to_json(buf_bytes(&b), DOC_JSON_RELAXED, false, &out, &err),
                         ST_TOO_LARGE);
        assert_int_equal(out.len, 0);
        assert_int_equal(doc_from_json(BYTES_LIT("{\"a\":\"0123456789\"}"), &out, &err),
                         ST_TOO_LARGE);
        assert_int_equal(out.len, 0);
        buf_deinit(&out);
    }
    buf_deinit(&b);
}

static void test_doc_json_wide(void **state)
{
    struct buf json = BUF_INIT, out = BUF_INIT;
    struct err err;
    enum status st = buf_append_u8(&json, '{');
    (void)state;
    for (int i = 0; !st && i < 100000; i++)
        st = buf_printf(&json, "\"f%d\":%d,\n", (int)((int64_t)i * 7919 % 100000), i);
    assert_int_equal(st, ST_OK);
    size_t len = json.len;
    assert_int_equal(buf_printf(&json, "\"x\":0}"), ST_OK);
    assert_int_equal(doc_from_json(buf_bytes(&json), &out, &err), ST_OK);
    json.len = len;
    assert_int_equal(buf_printf(&json, "\"f4242\":0}"), ST_OK);
    assert_int_equal(doc_from_json(buf_bytes(&json), &out, &err), ST_INVALID_ARGUMENT);
    assert_string_equal(err.detail, "line 100001 column 1: duplicate name \"f4242\"");
    buf_deinit(&json);
    buf_deinit(&out);
}

/* Canonical JSON keeps the bytes; libbson's own reader sees the same document in our text. */
static void test_doc_json_round_trip(void **state)
{
    size_t compared = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 4000; seed++) {
        struct gen g = {.state = seed, .odd_names = seed % 2};
        struct buf json = BUF_INIT, back = BUF_INIT, plain = BUF_INIT;
        struct err err;
        bson_t b, other;
        bson_error_t error;
        gen_document(&g, &b, 4);
        struct bytes doc = bson_bytes(&b);
        if (doc_to_json(doc, DOC_JSON_CANONICAL, seed % 3 == 0, &json, &err) ||
            doc_from_json(buf_bytes(&json), &back, &err))
            fail_msg("seed %llu: %s", (unsigned long long)seed, err.detail);
        if (!bytes_eq(doc, buf_bytes(&back)))
            fail_msg("seed %llu: %s", (unsigned long long)seed, buf_cstr(&json));
        assert_true(doc_equal(doc, buf_bytes(&back)));
        if (!g.odd_names && libbson_reads(buf_cstr(&json))) {
            if (!bson_init_from_json(&other, buf_cstr(&json), (ssize_t)json.len, &error))
                fail_msg("seed %llu: libbson: %s in %s", (unsigned long long)seed, error.message,
                         buf_cstr(&json));
            if (!doc_equal(doc, bson_bytes(&other)))
                fail_msg("seed %llu: libbson differs on %s", (unsigned long long)seed,
                         buf_cstr(&json));
            bson_destroy(&other);
            compared++;
        }
        buf_clear(&back);
        assert_int_equal(doc_to_json(doc, DOC_JSON_RELAXED, false, &plain, &err), ST_OK);
        assert_int_equal(doc_from_json(buf_bytes(&plain), &back, &err), ST_OK);
        char *again = json_of(buf_bytes(&back), DOC_JSON_RELAXED);
        assert_true(bytes_eq(buf_bytes(&plain), BYTES_STR(again)));
        mem_free(again);
        buf_deinit(&json);
        buf_deinit(&back);
        buf_deinit(&plain);
        bson_destroy(&b);
    }
    assert_true(compared > 500);
}

/* Our reader sees the same document in libbson's text, but where libbson's text is not exact. */
static void test_doc_json_reads_libbson(void **state)
{
    size_t same = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        struct gen g = {.state = seed};
        struct buf back = BUF_INIT;
        struct err err;
        size_t len;
        bson_t b;
        gen_document(&g, &b, 3);
        char *json = bson_as_canonical_extended_json(&b, &len);
        assert_non_null(json);
        if (doc_from_json(BYTES(json, len), &back, &err))
            fail_msg("seed %llu: %s in %s", (unsigned long long)seed, err.detail, json);
        if (!doc_equal(bson_bytes(&b), buf_bytes(&back)))
            fail_msg("seed %llu: %s", (unsigned long long)seed, json);
        same++;
        bson_free(json);
        buf_deinit(&back);
        bson_destroy(&b);
    }
    assert_int_equal(same, 1000);
}

static void expect_double(double v)
{
    bson_t b = BSON_INITIALIZER;
    bson_iter_t it;
    struct buf back = BUF_INIT;
    struct err err;
    bson_append_double(&b, "a", 1, v);
    char *json = json_of(bson_bytes(&b), DOC_JSON_RELAXED);
    assert_true(strpbrk(json + 5, ".e") != NULL);
    assert_int_equal(doc_from_json(BYTES_STR(json), &back, &err), ST_OK);
    bson_t view;
    assert_true(bson_init_static(&view, back.data, back.len));
    assert_true(bson_iter_init_find(&it, &view, "a") && BSON_ITER_HOLDS_DOUBLE(&it));
    double read = bson_iter_double(&it);
    if (memcmp(&read, &v, sizeof(v)) != 0)
        fail_msg("%a became %s", v, json);
    mem_free(json);
    buf_deinit(&back);
    bson_destroy(&b);
}

static void test_doc_json_doubles_exact(void **state)
{
    struct gen g = {.state = 7};
    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = gen_next(&g);
        double d;
        memcpy(&d, &bits, sizeof(d));
        if (isfinite(d))
            expect_double(d);
        expect_double((double)(int64_t)gen_below(&g, 1000000000) / 1000);
        expect_double((double)(int64_t)gen_next(&g));
    }
    expect_double(9007199254740993.0);
    expect_double(4503599627370496.5);
    expect_double(2.2250738585072011e-308);
    expect_double(1.7976931348623157e308);
    expect_double(999999999.9999999);
}

static void test_doc_json_ignores_locale(void **state)
{
    static const char *const COMMAS[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE",
                                         "de_AT.UTF-8"};
    bool found = false;
    (void)state;
    for (size_t i = 0; !found && i < sizeof(COMMAS) / sizeof(*COMMAS); i++)
        found = setlocale(LC_NUMERIC, COMMAS[i]) != NULL;
    if (!found)
        skip();
    expect_json("{\"a\":1.5e-10,\"b\":0.30000000000000004}", DOC_JSON_RELAXED,
                "{\"a\":1.5e-10,\"b\":0.30000000000000004}");
    assert_non_null(setlocale(LC_NUMERIC, "C"));
}

static void test_doc_json_without_memory(void **state)
{
    static const char JSON[] = "{\"a\":{\"$binary\":{\"base64\":\"aGk=\",\"subType\":\"02\"}},"
                               "\"b\":{\"$numberDecimal\":\"1\"},"
                               "\"c\":{\"$regularExpression\":{\"options\":\"i\",\"pattern\":\"a "
                               "long enough pattern for growth\"}},"
                               "\"d\":{\"$code\":\"f\",\"$scope\":{\"x\":[1,2,3,\"\\u00e9\"]}}}";
    (void)state;
    for (uint64_t n = 1;; n++) {
        struct buf bson = BUF_INIT, json = BUF_INIT;
        struct err err;
        err_init(&err);
        mem_fail_at(n, 0);
        enum status st = doc_from_json(BYTES_LIT(JSON), &bson, &err);
        if (!st)
            st = doc_to_json(buf_bytes(&bson), DOC_JSON_CANONICAL, true, &json, &err);
        mem_fail_at(0, 0);
        bool hit = mem_fail_hits() > 0;
        assert_int_equal(st, hit ? ST_NO_MEMORY : ST_OK);
        assert_int_equal(err.status, st);
        if (st)
            assert_int_equal(json.len, 0);
        buf_deinit(&bson);
        buf_deinit(&json);
        if (!hit) {
            assert_true(n > 5);
            break;
        }
    }
}

/* Any text, cut or changed anywhere, is refused or makes a valid document. */
static void test_doc_json_mutated(void **state)
{
    size_t passed = 0, refused = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        static const char BITS[] = "{}[]\",:\\u0123456789aeE+-.$ \n";
        struct gen g = {.state = seed};
        struct buf out = BUF_INIT;
        struct err err;
        bson_t b;
        gen_document(&g, &b, 3);
        char *json = json_of(bson_bytes(&b), seed % 2 ? DOC_JSON_RELAXED : DOC_JSON_CANONICAL);
        size_t len = strlen(json);
        for (uint64_t i = 0; i < 1 + gen_below(&g, 2); i++)
            json[gen_below(&g, len)] =
                gen_below(&g, 8) ? BITS[gen_below(&g, sizeof(BITS) - 1)] : (char)gen_next(&g);
        if (gen_below(&g, 4) == 0)
            len = gen_below(&g, len + 1);
        char *exact = mem_memdup(json, len ? len : 1);
        assert_non_null(exact);
        if (doc_from_json(BYTES(exact, len), &out, &err)) {
            refused++;
            assert_int_equal(out.len, 0);
        } else {
            passed++;
            if (doc_check(buf_bytes(&out), &err))
                fail_msg("seed %llu: %s", (unsigned long long)seed, err.detail);
        }
        mem_free(exact);
        mem_free(json);
        buf_deinit(&out);
        bson_destroy(&b);
    }
    assert_true(passed > 100 && refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doc_json_relaxed),
        cmocka_unit_test(test_doc_json_canonical),
        cmocka_unit_test(test_doc_json_decimal_not_canonical),
        cmocka_unit_test(test_doc_json_pretty),
        cmocka_unit_test(test_doc_json_errors),
        cmocka_unit_test(test_doc_json_depth),
        cmocka_unit_test(test_doc_json_size),
        cmocka_unit_test(test_doc_json_around),
        cmocka_unit_test(test_doc_json_output_maximum),
        cmocka_unit_test(test_doc_json_wide),
        cmocka_unit_test(test_doc_json_round_trip),
        cmocka_unit_test(test_doc_json_reads_libbson),
        cmocka_unit_test(test_doc_json_doubles_exact),
        cmocka_unit_test(test_doc_json_ignores_locale),
        cmocka_unit_test(test_doc_json_without_memory),
        cmocka_unit_test(test_doc_json_mutated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
