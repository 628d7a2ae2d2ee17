/* test_progress.c - the line's text, and when it is drawn at all. */
#include "apps/cli/cli_progress.h"
#include "support/cmocka.h"

#include <string.h>

static void formats(void **state)
{
    (void)state;
    struct cli_progress p = {.label = "import", .unit = "rows"};
    char line[CLI_PROGRESS_TEXT_MAX];
    cli_progress_format(&p, 50, 100, 1000, 2000, 200, line);
    assert_string_equal(line,
                        "import [##########..........]  50%  1,000 rows  500 rows/s  ETA 2.0 s");
    cli_progress_format(&p, 0, 100, 0, 1500, 200, line);
    assert_string_equal(line, "import [....................]   0%  0 rows  0 rows/s");
    cli_progress_format(&p, 100, 100, 7, 1000, 200, line);
    assert_string_equal(line, "import [####################] 100%  7 rows  7 rows/s");
    cli_progress_format(&p, 300, 100, 7, 0, 200, line);
    assert_string_equal(line, "import [####################] 100%  7 rows");
    cli_progress_format(&p, 5, 0, 1234567, 1000, 200, line);
    assert_string_equal(line, "import 1,234,567 rows  1,234,567 rows/s");
    p.start_done = 50; /* a resumed run: half of what is left was done in two seconds */
    cli_progress_format(&p, 75, 100, 10, 2000, 200, line);
    assert_non_null(strstr(line, "ETA 2.0 s"));
    cli_progress_format(&p, 50, 100, 1000, 2000, 20, line);
    assert_int_equal(strlen(line), 20);
    cli_progress_format(&p, 1, UINT64_MAX, UINT64_MAX, 1, 255, line);
    assert_true(strlen(line) < CLI_PROGRESS_TEXT_MAX);
}

/* What a run of updates, one every 50 ms for 12 s, writes. */
static size_t lines_of(bool tty, bool asked, bool quiet, char *out, size_t cap)
{
    FILE *f = tmpfile();
    struct cli_progress p;
    assert_non_null(f);
    cli_progress_begin(&p, f, tty, asked, quiet, "import", "rows", 0, 1000);
    for (uint64_t ms = 1000; ms < 1999; ms += 50)
        cli_progress_update(&p, ms, 14000, ms, ms);
    assert_int_equal(ftell(f), 0); /* nothing in the first second */
    for (uint64_t ms = 2000; ms <= 13000; ms += 50)
        cli_progress_update(&p, ms, 14000, ms, ms);
    cli_progress_end(&p);
    cli_progress_update(&p, 1, 2, 3, 99999);
    rewind(f);
    size_t n = fread(out, 1, cap - 1, f), lines = 0;
    out[n] = '\0';
    fclose(f);
    for (size_t i = 0; i < n; i++)
        lines += out[i] == (tty ? '\r' : '\n');
    return lines;
}

static void draws(void **state)
{
    (void)state;
    static char out[1 << 16];
    assert_int_equal(lines_of(false, false, false, out, sizeof out), 0);
    assert_int_equal(lines_of(true, true, true, out, sizeof out), 0);
    assert_int_equal(lines_of(false, true, false, out, sizeof out), 3);
    assert_null(strchr(out, '\r'));
    assert_null(strchr(out, '\033'));
    size_t redraws = lines_of(true, false, false, out, sizeof out);
    assert_true(redraws > 50 && redraws < 130);
    assert_string_equal(out + strlen(out) - 4, "\r\033[K"); /* wiped at the end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats), cmocka_unit_test(draws)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
