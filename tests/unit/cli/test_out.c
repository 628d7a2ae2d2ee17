/* test_out.c - bytes as JSON and as text, base64, counts and tables. */
#include "apps/cli/cli_out.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdlib.h>
#include <string.h>

static void shown(enum status (*fn)(struct buf *out, struct bytes b), struct bytes in,
                  const char *expected)
{
    struct buf out = BUF_INIT;
    assert_int_equal(fn(&out, in), ST_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_deinit(&out);
}

static void json(void **state)
{
    (void)state;
    shown(cli_json_bytes, BYTES_LIT("a\"b\\c\n\t\x01"), "\"a\\\"b\\\\c\\n\\t\\u0001\"");
    shown(cli_json_bytes, BYTES_LIT("J\xc3\xbcrgen"), "\"J\xc3\xbcrgen\"");
    shown(cli_json_bytes, BYTES_LIT("\0"), "\"\\u0000\"");
    shown(cli_json_bytes, BYTES_LIT("\xff\0"),
          "{\"$binary\":{\"base64\":\"/wA=\",\"subType\":\"00\"}}");
    shown(cli_json_bytes, BYTES_EMPTY, "\"\"");
}

static void text(void **state)
{
    (void)state;
    shown(cli_text_bytes, BYTES_LIT("a\\b\n\x1b[31m\x7f"), "a\\\\b\\x0a\\x1b[31m\\x7f");
    shown(cli_text_bytes, BYTES_LIT("J\xc3\xbcrgen \xe6\x9c\xa8"), "J\xc3\xbcrgen \xe6\x9c\xa8");
    shown(cli_text_bytes,
          BYTES_LIT("\xc2\x9b"
                    "1m\xff"),
          "\\xc2\\x9b1m\\xff"); /* a control character of C1 */
}

static void utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xe2\x82",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "a\xfe",
                                      "\xc2\x41"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(cli_is_utf8(BYTES_STR(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(cli_is_utf8(BYTES_STR(bad[i])));
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 2000)
    {
        struct test_rng r;
        uint8_t in[64];
        struct buf shown_text = BUF_INIT, back = BUF_INIT, coded = BUF_INIT;
        struct err e;
        test_rng_init(&r, seed);
        size_t len = test_rng_below(&r, sizeof in + 1);
        test_rng_bytes(&r, in, len);
        for (size_t i = 0; i < len; i++)
            if (test_rng_chance(&r, 1, 3))
                in[i] = (uint8_t) "\\x0\xc3\xa4"[test_rng_below(&r, 5)];
        assert_int_equal(cli_text_bytes(&shown_text, BYTES(in, len)), ST_OK);
        assert_true(cli_is_utf8(buf_bytes(&shown_text)));
        assert_int_equal(cli_text_unescape(&back, buf_bytes(&shown_text), &e), ST_OK);
        assert_true(bytes_eq(buf_bytes(&back), BYTES(in, len)));
        buf_clear(&back);
        assert_int_equal(cli_base64(&coded, BYTES(in, len)), ST_OK);
        assert_true(cli_base64_decode(buf_bytes(&coded), &back));
        assert_true(bytes_eq(buf_bytes(&back), BYTES(in, len)));
        buf_deinit(&shown_text);
        buf_deinit(&back);
        buf_deinit(&coded);
    }
}

static void broken_escapes_and_base64(void **state)
{
    (void)state;
    static const char *const escapes[] = {"\\", "a\\", "\\x", "\\x1", "\\xg0", "\\n", "\\x0g"};
    static const char *const codes[] = {"A", "AAA", "A===", "AA=A", "AA==AAAA", "AA!A", "===="};
    for (size_t i = 0; i < sizeof escapes / sizeof escapes[0]; i++) {
        struct buf b = BUF_INIT;
        struct err e;
        assert_int_equal(cli_text_unescape(&b, BYTES_STR(escapes[i]), &e), ST_INVALID_ARGUMENT);
        buf_deinit(&b);
    }
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct buf b = BUF_INIT;
        assert_false(cli_base64_decode(BYTES_STR(codes[i]), &b));
        buf_deinit(&b);
    }
}

static void counts(void **state)
{
    (void)state;
    char out[CLI_NUMBER_TEXT_MAX];
    cli_count_format(0, out);
    assert_string_equal(out, "0");
    cli_count_format(999, out);
    assert_string_equal(out, "999");
    cli_count_format(1234567, out);
    assert_string_equal(out, "1,234,567");
    cli_count_format(UINT64_MAX, out);
    assert_string_equal(out, "18,446,744,073,709,551,615");
    cli_bytes_format(1023, out);
    assert_string_equal(out, "1023 B");
    cli_bytes_format(1536, out);
    assert_string_equal(out, "1.5 KiB");
    cli_bytes_format(UINT64_MAX, out);
    assert_string_equal(out, "16.0 EiB");
}

static void tables(void **state)
{
    (void)state;
    static const char *const cells[] = {"NAME", "N", "a", "1", "J\xc3\xbcrgen", "22"};
    struct cli_table t;
    struct buf out = BUF_INIT;
    cli_table_init(&t, 2);
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(cli_table_str(&t, cells[i]), ST_OK);
    assert_int_equal(cli_table_format(&t, false, &out), ST_OK);
    assert_string_equal(buf_cstr(&out), "NAME    N\na       1\nJ\xc3\xbcrgen  22\n");
    buf_clear(&out);
    assert_int_equal(cli_table_format(&t, true, &out), ST_OK);
    assert_non_null(strstr(buf_cstr(&out), "\033[1mNAME\033[0m    "));
    buf_deinit(&out);
    cli_table_deinit(&t);
}

/* A document or a server may put into an error what a terminal would obey. */
static void messages_have_no_controls(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    assert_non_null(f);
    cli_print_message(f, "duplicate name \"\x1b]0;x\x07\"\n\xc2\x9b"
                         "31m \xff J\xc3\xbcrgen \\");
    assert_int_equal(fclose(f), 0);
    assert_string_equal(text, "duplicate name \"\\x1b]0;x\\x07\"\n\\xc2\\x9b"
                              "31m \\xff J\xc3\xbcrgen \\");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json),
        cmocka_unit_test(text),
        cmocka_unit_test(utf8),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(broken_escapes_and_base64),
        cmocka_unit_test(counts),
        cmocka_unit_test(tables),
        cmocka_unit_test(messages_have_no_controls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
