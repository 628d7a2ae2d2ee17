/* test_args.c - every form of an option, what is refused, and which name is near which. */
#include "apps/cli/cli_args.h"
#include "base/alloc.h"
#include "support/cmocka.h"

#include <string.h>

static const cli_opts ALLOWED = CLI_OPT(JSON) | CLI_OPT(LIMIT) | CLI_OPT(AT) | CLI_OPT(QUIET) |
                                CLI_OPT(REVERSE) | CLI_OPT(DATA);

/* Parses words up to NULL. */
static enum status parse(struct cli_args *a, struct err *err, const char *first, ...)
{
    char *argv[16];
    int argc = 0;
    va_list args;
    va_start(args, first);
    for (const char *w = first; w; w = va_arg(args, const char *))
        argv[argc++] = (char *)(uintptr_t)w;
    va_end(args);
    cli_args_init(a);
    err_init(err);
    return cli_args_parse(a, ALLOWED, "scan", argc, argv, false, NULL, err);
}

static void every_form(void **state)
{
    (void)state;
    struct cli_args a;
    struct err e;
    assert_int_equal(parse(&a, &e, "users", "--limit", "5", "--at=-5m", "-jq", "x", NULL), ST_OK);
    assert_int_equal(a.nargs, 2);
    assert_string_equal(a.arg[0], "users");
    assert_string_equal(a.arg[1], "x");
    assert_string_equal(a.value[OPT_LIMIT], "5");
    assert_string_equal(a.value[OPT_AT], "-5m");
    assert_true(cli_has(&a, OPT_JSON) && cli_has(&a, OPT_QUIET));
    assert_false(cli_has(&a, OPT_REVERSE));
    cli_args_deinit(&a);

    assert_int_equal(parse(&a, &e, "-n7", "-rn", "8", "-a", "-2h", "-", "-5m", NULL), ST_OK);
    assert_string_equal(a.value[OPT_LIMIT], "8"); /* the last one counts */
    assert_string_equal(a.value[OPT_AT], "-2h");
    assert_int_equal(a.nargs, 2);
    assert_string_equal(a.arg[0], "-");
    assert_string_equal(a.arg[1], "-5m");
    cli_args_deinit(&a);

    assert_int_equal(parse(&a, &e, "--json", "--", "--limit", "-j", NULL), ST_OK);
    assert_int_equal(a.nargs, 2);
    assert_string_equal(a.arg[0], "--limit");
    assert_false(cli_has(&a, OPT_LIMIT));
    cli_args_deinit(&a);

    assert_int_equal(parse(&a, &e, "--at=", "", NULL), ST_OK);
    assert_string_equal(a.value[OPT_AT], "");
    assert_int_equal(a.nargs, 1);
    cli_args_deinit(&a);
}

static void refusals_say_why(void **state)
{
    (void)state;
    static const struct {
        const char *word, *says;
    } cases[] = {
        {"--limti", "did you mean --limit?"},  {"--jsno", "did you mean --json?"},
        {"--zzzzz", "unknown option --zzzzz"}, {"--json=yes", "takes no value"},
        {"--limit", "needs a value"},          {"-n", "needs a value"},
        {"-z", "unknown option -z"},           {"--raw", "not an option of 'scan'"},
        {"--rev", "did you mean --reverse?"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct cli_args a;
        struct err e;
        assert_int_equal(parse(&a, &e, cases[i].word, NULL), ST_INVALID_ARGUMENT);
        assert_non_null(strstr(e.detail, cases[i].says));
        cli_args_deinit(&a);
    }
}

static void options_before_the_verb(void **state)
{
    (void)state;
    char *argv[] = {(char[]){"--data"}, (char[]){"x"}, (char[]){"get"}, (char[]){"--limit"}};
    struct cli_args a;
    struct err e;
    int used = 0;
    cli_args_init(&a);
    assert_int_equal(cli_args_parse(&a, CLI_OPTS_COMMON, "varve", 4, argv, true, &used, &e), ST_OK);
    assert_int_equal(used, 2);
    assert_string_equal(a.value[OPT_DATA], "x");
    assert_int_equal(a.nargs, 0);
    cli_args_deinit(&a);
}

static void distances(void **state)
{
    (void)state;
    assert_int_equal(cli_edit_distance("", ""), 0);
    assert_int_equal(cli_edit_distance("", "abc"), 3);
    assert_int_equal(cli_edit_distance("scan", "scan"), 0);
    assert_int_equal(cli_edit_distance("sacn", "scan"), 1);
    assert_int_equal(cli_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(cli_edit_distance("ab", "ba"), 1);
    char longer[200];
    memset(longer, 'x', sizeof longer);
    longer[199] = '\0';
    assert_int_equal(cli_edit_distance(longer, "a"), 199);
    const char *const names[] = {"put", "get", "restore"};
    assert_string_equal(cli_nearest("gte", names, 3), "get");
    assert_string_equal(cli_nearest("rest", names, 3), "restore");
    assert_null(cli_nearest("frobnicate", names, 3));
    assert_null(cli_nearest("", names, 3));
}

static void numbers(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_true(cli_number_parse("18446744073709551615", &v) && v == UINT64_MAX);
    assert_true(cli_number_parse("0", &v) && v == 0);
    v = 7;
    assert_false(cli_number_parse("18446744073709551616", &v));
    assert_false(cli_number_parse("99999999999999999999", &v));
    assert_false(cli_number_parse("", &v));
    assert_false(cli_number_parse("-1", &v));
    assert_false(cli_number_parse("1 ", &v));
    assert_false(cli_number_parse("0x1", &v));
    assert_int_equal(v, 7);
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    struct cli_args a;
    struct err e;
    mem_fail_at(1, 0);
    assert_int_equal(parse(&a, &e, "users", NULL), ST_NO_MEMORY);
    mem_fail_at(0, 0);
    cli_args_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form),
        cmocka_unit_test(refusals_say_why),
        cmocka_unit_test(options_before_the_verb),
        cmocka_unit_test(distances),
        cmocka_unit_test(numbers),
        cmocka_unit_test(no_memory_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
