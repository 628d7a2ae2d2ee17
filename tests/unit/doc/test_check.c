#include "base/alloc.h"
#include "doc_gen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define HEX_MAX 256

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = 0;
    for (; *hex; hex++) {
        unsigned v;
        if (*hex == ' ')
            continue;
        assert_int_equal(sscanf(hex, "%2x", &v), 1);
        out[n++] = (uint8_t)v;
        hex++;
    }
    return n;
}

static enum status check_hex(const char *hex, struct err *err)
{
    uint8_t data[HEX_MAX];
    size_t n = unhex(hex, data);
    uint8_t *exact = mem_memdup(data, n ? n : 1); /* so that ASan sees a read past the end */
    assert_non_null(exact);
    err_init(err);
    enum status st = doc_check(BYTES(exact, n), err);
    mem_free(exact);
    return st;
}

static void test_doc_check_accepts_every_type(void **state)
{
    static const char *const GOOD[] = {
        "05000000 00",
        "10000000 01 6100 000000000000f03f 00",
        "0e000000 02 6100 02000000 6200 00",
        "0d000000 03 6100 05000000 00 00",
        "0d000000 04 6100 05000000 00 00",
        "0f000000 05 6100 02000000 80 ffff 00",
        "13000000 05 6100 06000000 02 02000000 ffff 00",
        "08000000 06 6100 00",
        "14000000 07 6100 000102030405060708090a0b 00",
        "09000000 08 6100 01 00",
        "10000000 09 6100 0000000000000080 00",
        "08000000 0a 6100 00",
        "0c000000 0b 6100 6200 6900 00",
        "1a000000 0c 6100 02000000 6200 000102030405060708090a0b 00",
        "0e000000 0d 6100 02000000 6200 00",
        "0e000000 0e 6100 02000000 6200 00",
        "17000000 0f 6100 0f000000 02000000 6200 05000000 00 00",
        "0c000000 10 6100 01000000 00",
        "10000000 11 6100 0100000002000000 00",
        "10000000 12 6100 0100000000000000 00",
        "18000000 13 6100 00000000000000000000000000000000 00",
        "08000000 ff 6100 00",
        "08000000 7f 6100 00",
        "0f000000 02 6100 03000000 620000 00",             /* a NUL inside text is text */
        "13000000 04 6100 0b000000 0a 6100 0a 6100 00 00", /* an array's names mean nothing */
        "07000000 0a 00 00",                               /* the empty name */
    };
    struct err err;
    (void)state;
    for (size_t i = 0; i < sizeof(GOOD) / sizeof(*GOOD); i++) {
        enum status st = check_hex(GOOD[i], &err);
        if (st)
            fail_msg("%s: %s", GOOD[i], err.detail);
    }
}

static void test_doc_check_refuses_bad_bson(void **state)
{
    static const struct {
        const char *hex, *why;
    } BAD[] = {
        {"", "length or terminator"},
        {"05", "length or terminator"},
        {"05000000", "length or terminator"},
        {"05000000 01", "length or terminator"},
        {"06000000 00", "length or terminator"},
        {"05000000 00 00", "length or terminator"},
        {"04000000 00", "length or terminator"},
        {"ffffffff 00", "length or terminator"},
        {"06000000 00 00", "terminator before the end"},
        {"06000000 0a 00", "name without an end"},
        {"08000000 0a 6161 00", "name without an end"},
        {"0f000000 01 6100 0000000000f03f 00", "past the end"},
        {"0e000000 02 6100 03000000 6200 00", "string length"},
        {"0e000000 02 6100 00000000 6200 00", "string length"},
        {"0e000000 02 6100 ffffffff 6200 00", "string length"},
        {"0e000000 02 6100 02000000 6263 00", "string length"},
        {"0e000000 02 6100 02000000 ff00 00", "not UTF-8"},
        {"0f000000 02 6100 03000000 c08000 00", "not UTF-8"},
        {"10000000 02 6100 04000000 eda08000 00", "not UTF-8"},
        {"11000000 02 6100 05000000 f490808000 00", "not UTF-8"},
        {"0f000000 02 6100 03000000 c3c300 00", "not UTF-8"},
        {"0e000000 02 6100 02000000 c300 00", "not UTF-8"},
        {"08000000 0a ff00 00", "name is not UTF-8"},
        {"10000000 04 6100 08000000 0a ff00 00 00", "name is not UTF-8"},
        {"0d000000 03 6100 06000000 00 00", "embedded document"},
        {"0d000000 03 6100 04000000 00 00", "embedded document"},
        {"0d000000 03 6100 05000000 01 00", "embedded document"},
        {"0d000000 03 6100 ffffffff 00 00", "embedded document"},
        {"0f000000 05 6100 03000000 80 ffff 00", "binary"},
        {"0f000000 05 6100 ffffffff 80 ffff 00", "binary"},
        {"13000000 05 6100 06000000 02 03000000 ffff 00", "binary"},
        {"13000000 05 6100 06000000 02 01000000 ffff 00", "binary"},
        {"0f000000 05 6100 02000000 02 ffff 00", "binary"},
        {"13000000 07 6100 000102030405060708090a 00", "past the end"},
        {"09000000 08 6100 02 00", "boolean"},
        {"09000000 08 6100 ff 00", "boolean"},
        {"0a000000 0b 6100 6200 00", "regular expression"},
        {"0c000000 0b 6100 ff00 6900 00", "regular expression is not UTF-8"},
        {"0c000000 0b 6100 6200 ff00 00", "regular expression is not UTF-8"},
        {"19000000 0c 6100 02000000 6200 000102030405060708090a 00", "DBPointer"},
        {"1a000000 0c 6100 02000000 ff00 000102030405060708090a0b 00", "namespace is not UTF-8"},
        {"0e000000 0d 6100 03000000 6200 00", "string length"},
        {"0e000000 0d 6100 02000000 ff00 00", "not UTF-8"},
        {"17000000 0f 6100 0e000000 02000000 6200 05000000 00 00", "code with scope"},
        {"17000000 0f 6100 10000000 02000000 6200 05000000 00 00", "code with scope"},
        {"17000000 0f 6100 0f000000 03000000 6200 05000000 00 00", "code with scope"},
        {"17000000 0f 6100 0f000000 02000000 6200 06000000 00 00", "code with scope"},
        {"17000000 0f 6100 0f000000 02000000 6200 04000000 00 00", "code with scope"},
        {"17000000 0f 6100 0f000000 02000000 ff00 05000000 00 00", "code is not UTF-8"},
        {"0b000000 10 6100 010000 00", "past the end"},
        {"08000000 14 6100 00", "unknown element type"},
        {"08000000 80 6100 00", "unknown element type"},
        {"08000000 fe 6100 00", "unknown element type"},
        {"0b000000 0a 6100 0a 6100 00", "duplicate name at byte 7, field \"a\""},
        {"13000000 03 6200 0b000000 0a 6100 0a 6100 00 00",
         "duplicate name at byte 14, field \"b.a\""},
        {"11000000 03 6100 09000000 08 6300 07 00 00",
         "boolean is neither 0 nor 1 at byte 14, field \"a.c\""},
    };
    struct err err;
    (void)state;
    for (size_t i = 0; i < sizeof(BAD) / sizeof(*BAD); i++) {
        enum status st = check_hex(BAD[i].hex, &err);
        if (st != ST_INVALID_ARGUMENT || !strstr(err.detail, BAD[i].why))
            fail_msg("%s: %s: %s", BAD[i].hex, status_name(st), err.detail);
    }
}

/* A document in a document ... `levels` levels in all. */
static void nest(bson_t *ret, int levels, bool arrays)
{
    bson_init(ret);
    for (int i = 1; i < levels; i++) {
        bson_t outer;
        bson_init(&outer);
        if (arrays && i + 1 < levels)
            bson_append_array(&outer, "0", 1, ret);
        else
            bson_append_document(&outer, "0", 1, ret);
        bson_destroy(ret);
        bson_copy_to(&outer, ret);
        bson_destroy(&outer);
    }
}

static void test_doc_check_depth(void **state)
{
    struct err err;
    bson_t b;
    (void)state;
    for (int arrays = 0; arrays < 2; arrays++) {
        nest(&b, DOC_MAX_DEPTH, arrays);
        assert_int_equal(doc_check(bson_bytes(&b), &err), ST_OK);
        bson_destroy(&b);
        nest(&b, DOC_MAX_DEPTH + 1, arrays);
        assert_int_equal(doc_check(bson_bytes(&b), &err), ST_TOO_LARGE);
        assert_non_null(strstr(err.detail, "100 levels"));
        bson_destroy(&b);
    }
}

static void test_doc_check_scope_is_a_level(void **state)
{
    bson_t b, scope;
    struct err err;
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        nest(&scope, DOC_MAX_DEPTH - 1 + extra, false);
        bson_init(&b);
        bson_append_code_with_scope(&b, "f", 1, "x", &scope);
        assert_int_equal(doc_check(bson_bytes(&b), &err), extra ? ST_TOO_LARGE : ST_OK);
        bson_destroy(&scope);
        bson_destroy(&b);
    }
}

static void test_doc_check_size(void **state)
{
    struct err err;
    bson_t b = BSON_INITIALIZER;
    (void)state;
    size_t len = DOC_MAX_BYTES - 5 - 3 - 5; /* around it: the document, type and name, the binary */
    uint8_t *data = mem_zalloc(len + 1);
    assert_non_null(data);
    bson_append_binary(&b, "b", 1, BSON_SUBTYPE_BINARY, data, (uint32_t)len);
    assert_int_equal(b.len, DOC_MAX_BYTES);
    assert_int_equal(doc_check(bson_bytes(&b), &err), ST_OK);
    bson_reinit(&b);
    bson_append_binary(&b, "b", 1, BSON_SUBTYPE_BINARY, data, (uint32_t)len + 1);
    assert_int_equal(doc_check(bson_bytes(&b), &err), ST_TOO_LARGE);
    assert_non_null(strstr(err.detail, "over the limit of 16777216 bytes"));
    bson_destroy(&b);
    mem_free(data);
}

/* In no order, so that no short cut for ordered names helps. */
static void make_wide(bson_t *b, uint64_t n)
{
    bson_init(b);
    for (uint64_t i = 0; i < n; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%llu", (unsigned long long)(i * 7919 % n));
        bson_append_int32(b, name, -1, (int32_t)i);
    }
}

static void test_doc_check_wide(void **state)
{
    struct err err;
    bson_t b;
    (void)state;
    for (uint64_t n = 40; n < 60; n++) { /* around the change of method */
        make_wide(&b, n);
        assert_int_equal(doc_check(bson_bytes(&b), &err), ST_OK);
        bson_append_null(&b, "f3", -1);
        assert_int_equal(doc_check(bson_bytes(&b), &err), ST_INVALID_ARGUMENT);
        assert_non_null(strstr(err.detail, "duplicate name"));
        assert_non_null(strstr(err.detail, "\"f3\""));
        bson_destroy(&b);
    }
    make_wide(&b, 100000);
    assert_int_equal(doc_check(bson_bytes(&b), &err), ST_OK);
    uint32_t at = b.len - 1;
    bson_append_null(&b, "f77777", -1);
    assert_int_equal(doc_check(bson_bytes(&b), &err), ST_INVALID_ARGUMENT);
    char place[64];
    snprintf(place, sizeof(place), "duplicate name at byte %u, field \"f77777\"", at);
    assert_string_equal(err.detail, place);
    bson_destroy(&b);
}

static void test_doc_check_agrees_with_libbson_on_good(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++) {
        struct gen g = {.state = seed, .odd_names = true};
        struct err err;
        bson_t b;
        gen_document(&g, &b, 4);
        if (doc_check(bson_bytes(&b), &err))
            fail_msg("seed %llu: %s", (unsigned long long)seed, err.detail);
        bson_destroy(&b);
    }
}

/* Whatever passes after damage must be valid for libbson too, and every function must bear what
 * does not pass. */
static void test_doc_check_mutated(void **state)
{
    size_t passed = 0, refused = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 10000; seed++) {
        struct gen g = {.state = seed, .odd_names = true};
        struct err err;
        struct buf out = BUF_INIT;
        bson_t b, view;
        gen_document(&g, &b, 3);
        struct bytes good = bson_bytes(&b);
        size_t len = gen_below(&g, 4) ? good.len : gen_below(&g, good.len + 1);
        uint8_t *bad = mem_memdup(good.data, len ? len : 1);
        assert_non_null(bad);
        for (uint64_t i = 0; len && i < 1 + gen_below(&g, 3); i++)
            bad[gen_below(&g, len)] =
                gen_below(&g, 2) ? (uint8_t)gen_below(&g, 20) : (uint8_t)gen_next(&g);
        struct bytes m = BYTES(bad, len);
        size_t at = 0;
        bool ok = doc_check(m, &err) == ST_OK;
        passed += ok;
        refused += !ok;
        if (ok) {
            assert_true(bson_init_static(&view, m.data, m.len));
            if (!bson_validate(&view, BSON_VALIDATE_UTF8 | BSON_VALIDATE_UTF8_ALLOW_NULL, &at))
                fail_msg("seed %llu: libbson refuses byte %zu", (unsigned long long)seed, at);
        }
        /* outcomes of the unchecked are of no interest here, only that ASan sees nothing */
        (void)doc_equal(m, good);
        bool printed = doc_to_json(m, DOC_JSON_CANONICAL, true, &out, &err) == ST_OK;
        assert_true(printed || !ok);
        bool compared = doc_diff(m, good, DOC_DIFF_PATHS, &out, &err) == ST_OK;
        assert_true(compared || !ok);
        compared = doc_diff(good, m, DOC_DIFF_JSON_PATCH, &out, &err) == ST_OK;
        assert_true(compared || !ok);
        buf_deinit(&out);
        mem_free(bad);
        bson_destroy(&b);
    }
    assert_true(passed > 100 && refused > 100);
}

static void test_doc_check_without_memory(void **state)
{
    struct err err;
    bson_t b;
    (void)state;
    make_wide(&b, 1000);
    for (uint64_t n = 1;; n++) {
        mem_fail_at(n, 0);
        enum status st = doc_check(bson_bytes(&b), &err);
        mem_fail_at(0, 0);
        if (!mem_fail_hits()) {
            assert_int_equal(st, ST_OK);
            assert_true(n > 1);
            break;
        }
        assert_int_equal(st, ST_NO_MEMORY);
    }
    bson_destroy(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doc_check_accepts_every_type),
        cmocka_unit_test(test_doc_check_refuses_bad_bson),
        cmocka_unit_test(test_doc_check_depth),
        cmocka_unit_test(test_doc_check_scope_is_a_level),
        cmocka_unit_test(test_doc_check_size),
        cmocka_unit_test(test_doc_check_wide),
        cmocka_unit_test(test_doc_check_agrees_with_libbson_on_good),
        cmocka_unit_test(test_doc_check_mutated),
        cmocka_unit_test(test_doc_check_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
