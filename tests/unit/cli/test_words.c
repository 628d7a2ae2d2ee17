/* test_words.c - how the shell splits a line. */
#include "apps/cli/cli_shell.h"
#include "base/alloc.h"
#include "support/cmocka.h"

#include <string.h>

static void splits(const char *line, const char *expected)
{
    struct cli_words w;
    struct err e;
    struct buf out = BUF_INIT;
    err_init(&e);
    if (cli_words_split(line, &w, &e) != ST_OK)
        fail_msg("%s: %s", line, e.detail);
    for (size_t i = 0; i < w.n; i++)
        assert_int_equal(buf_printf(&out, "[%s]", w.word[i]), ST_OK);
    assert_string_equal(buf_cstr(&out), expected);
    buf_deinit(&out);
    cli_words_deinit(&w);
}

static void words(void **state)
{
    (void)state;
    splits("", "");
    splits("  \t ", "");
    splits("# all of it", "");
    splits("get users/alice", "[get][users/alice]");
    splits("  get\tusers/alice  # why", "[get][users/alice]");
    splits("a#b", "[a#b]");
    splits("put k '{\"a\": 1}'", "[put][k][{\"a\": 1}]");
    splits("put k {\"a\": {\"b\": \"}\"}} -q", "[put][k][{\"a\": {\"b\": \"}\"}}][-q]");
    splits("put k {\"a\":\"\\\"}\"}", "[put][k][{\"a\":\"\\\"}\"}]");
    splits("\"a \\\"b\\\" \\\\ \\n\"", "[a \"b\" \\ \\n]");
    splits("'it'\\''s'", "[it's]");
    splits("a\\ b c\\\\", "[a b][c\\]");
    splits("'' \"\"", "[][]");
    splits("x'y'\"z\"", "[xyz]");
}

static void refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {"'a", "a \"b",    "\"a\\\"",    "a\\",
                                      "{",  "{\"a\":1", "{\"a\":\"}", "{}x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct cli_words w;
        struct err e;
        err_init(&e);
        if (cli_words_split(bad[i], &w, &e) != ST_INVALID_ARGUMENT)
            fail_msg("'%s' was taken", bad[i]);
    }
    for (uint64_t nth = 1; nth < 3; nth++) {
        struct cli_words w;
        struct err e;
        mem_fail_at(nth, 1);
        enum status st = cli_words_split("a b", &w, &e);
        mem_fail_at(0, 0);
        assert_int_equal(st, ST_NO_MEMORY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(words), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
