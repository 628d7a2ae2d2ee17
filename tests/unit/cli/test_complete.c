/* test_complete.c - the table of verbs is whole, and every completion script has every verb and
 * option of it. */
#include "apps/cli/cli.h"
#include "apps/cli/cli_complete.h"
#include "base/alloc.h"
#include "support/cmocka.h"

#include <string.h>

static char *script(const char *shell)
{
    static char text[1 << 18];
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_true(cli_complete(f, shell));
    rewind(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    assert_true(n < sizeof text - 1);
    fclose(f);
    return text;
}

static void every_verb_and_option(void **state)
{
    (void)state;
    static const char *const shells[] = {"bash", "zsh", "fish"};
    for (size_t s = 0; s < 3; s++) {
        const char *text = script(shells[s]);
        for (size_t v = 0; v < cli_verb_count; v++)
            assert_non_null(strstr(text, cli_verbs[v].name));
        for (size_t o = 0; o < OPT_COUNT; o++) {
            char flag[64];
            snprintf(flag, sizeof flag, s == 2 ? "-l %s " : "--%s", cli_options[o].name);
            if (!strstr(text, flag))
                fail_msg("%s lacks %s", shells[s], flag);
        }
    }
    assert_false(cli_complete(stdout, "tcsh"));
}

static void the_table_is_whole(void **state)
{
    (void)state;
    cli_opts used = CLI_OPTS_COMMON;
    for (size_t i = 0; i < cli_verb_count; i++) {
        const struct cli_verb *v = &cli_verbs[i];
        assert_non_null(v->fn);
        assert_true(*v->summary && *v->examples && v->min_args <= v->max_args);
        assert_true(v->examples[strlen(v->examples) - 1] == '\n');
        assert_non_null(strstr(v->examples, "varve "));
        assert_ptr_equal(cli_verb_find(v->name), v);
        assert_string_equal(cli_verb_suggest(v->name), v->name);
        assert_true((v->options & CLI_OPTS_COMMON) == 0);
        used |= cli_verb_options(v);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(cli_verbs[j].name, v->name);
    }
    assert_true(used == (UINT64_C(1) << OPT_COUNT) - 1); /* no option without a verb */
    for (size_t i = 0; i < OPT_COUNT; i++)
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(cli_options[i].name, cli_options[j].name);
            assert_true(!cli_options[i].letter || cli_options[i].letter != cli_options[j].letter);
        }
    assert_null(cli_verb_find("frobnicate"));
}

static void exit_codes(void **state)
{
    (void)state;
    assert_int_equal(cli_exit_code(VARVE_OK), 0);
    assert_int_equal(cli_exit_code(VARVE_NOT_FOUND), 1);
    assert_int_equal(cli_exit_code(VARVE_PRECONDITION_FAILED), 1);
    assert_int_equal(cli_exit_code(VARVE_INVALID_ARGUMENT), 2);
    assert_int_equal(cli_exit_code(VARVE_TOO_LARGE), 2);
    assert_int_equal(cli_exit_code(VARVE_LOCKED), 3);
    assert_int_equal(cli_exit_code(VARVE_CORRUPT), 4);
    assert_int_equal(cli_exit_code(VARVE_DISK_FULL), 5);
    assert_int_equal(cli_exit_code((varve_status)9999), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb_and_option),
        cmocka_unit_test(the_table_is_whole),
        cmocka_unit_test(exit_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
