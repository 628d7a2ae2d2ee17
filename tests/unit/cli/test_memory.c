/* test_memory.c - every verb with each allocation failing in turn: an exit code that is one of the command's,
 * a message that says "memory", no crash, no leak (asan), and no write lost that was answered. */
#include "apps/cli/cli.h"
#include "apps/cli/cli_shell.h"
#include "base/alloc.h"
#include "base/log.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* %u is another number each time, %s the folder that the test works in. */
static const char *const lines[] = {
    "put users/a%u '{\"name\":\"Alice\",\"age\":30,\"tags\":[1,2]}'",
    "put raw/k%u --raw some-bytes",
    "put users/kept '{\"n\":%u}' --ttl 1h",
    "get users/kept",
    "get users/kept --json --pretty",
    "get users/kept --at -0s",
    "get users/none%u",
    "log users/kept --json",
    "log users/kept",
    "diff users/kept",
    "diff users/kept --patch",
    "scan users/ --limit 5 --json",
    "scan users/ --prefix k --reverse",
    "delete users/a1%u",
    "restore users/kept --at -0s",
    "snapshot create s%u",
    "snapshot list --json",
    "changes --json",
    "changes users --values",
    "collections --json",
    "stats",
    "stats --json",
    "retention users --max-count %u000",
    "verify --json",
    "vacuum",
    "checkpoint",
    "import people %s/rows.ndjson --key id --quiet",
    "import sheet %s/rows.csv --key id --quiet",
    "export people %s/out%u.ndjson --quiet",
    "export people --format csv",
    "help put",
    "completion bash",
    "nonsense --at %u",
};

struct run {
    char dir[TEMP_DIR_MAX];
    struct cli c;
    char *out, *err;
    size_t out_len, err_len;
};

static void start(struct run *r)
{
    r->c = (struct cli){.in = stdin, .program = "varve", .shell = true};
    r->c.out = open_memstream(&r->out, &r->out_len);
    r->c.err = open_memstream(&r->err, &r->err_len);
    assert_true(r->c.out && r->c.err);
}

static void end(struct run *r)
{
    assert_int_equal(cli_close(&r->c), CLI_OK);
    cli_deinit(&r->c);
    fclose(r->c.out);
    fclose(r->c.err);
    free(r->out);
    free(r->err);
}

static void line_of(const struct run *r, size_t which, unsigned n, char *out, size_t cap)
{
    const char *p = lines[which];
    size_t at = 0;
    for (; *p; p++) {
        int len = 1;
        if (p[0] == '%' && p[1] == 'u')
            len = snprintf(out + at, cap - at, "%u", n);
        else if (p[0] == '%' && p[1] == 's')
            len = snprintf(out + at, cap - at, "%s", r->dir);
        else
            out[at] = *p;
        p += p[0] == '%';
        at += (size_t)len;
        assert_true(at < cap);
    }
    out[at] = 0;
}

/* Splits and runs it with the nth allocation failing (0: none). */
static int run_line(struct run *r, const char *line, uint64_t nth)
{
    struct cli_words w;
    struct err e;
    rewind(r->c.out);
    rewind(r->c.err);
    assert_int_equal(cli_words_split(line, &w, &e), ST_OK);
    mem_fail_at(nth, 0);
    int code = cli_run(&r->c, (int)w.n, w.word);
    mem_fail_at(0, 0);
    fflush(r->c.out);
    fflush(r->c.err);
    cli_words_deinit(&w);
    return code;
}

static void must_run(struct run *r, const char *line)
{
    int code = run_line(r, line, 0);
    if (code != CLI_OK)
        fail_msg("%s: %d: %s", line, code, r->err);
}

static void put_file(struct run *r, const char *name, const char *text)
{
    char path[TEMP_DIR_MAX + 32];
    snprintf(path, sizeof(path), "%s/%s", r->dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void every_verb(void **state)
{
    (void)state;
    struct run r;
    char line[TEMP_DIR_MAX + 200], data[TEMP_DIR_MAX + 32];
    unsigned refused = 0, wrong = 0, n = 0;
    assert_true(temp_dir_make(r.dir, "climem"));
    snprintf(data, sizeof(data), "%s/db", r.dir);
    assert_int_equal(setenv("VARVE_DATA", data, 1), 0);
    put_file(&r, "rows.ndjson",
             "{\"id\":\"x\",\"v\":[1,{\"b\":null}]}\n{\"id\":\"y\",\"v\":2.5}\n");
    put_file(&r, "rows.csv", "id,v\nx,1\ny,\"a,b\"\n");
    start(&r);
    r.c.data = data;
    must_run(&r, "put users/kept '{\"n\":0}'");
    must_run(&r, "put users/kept '{\"n\":1}'");
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        line_of(&r, i, ++n, line, sizeof(line));
        int usual = run_line(&r, line, 0);
        for (uint64_t nth = 1; nth < 20000; nth += nth < 150 ? 1 : 17) {
            line_of(&r, i, ++n, line, sizeof(line));
            mem_fail_hits();
            int code = run_line(&r, line, nth);
            if (mem_fail_hits() == 0)
                break;
            if (code == usual)
                continue; /* it could do without */
            refused++;
            if (code != CLI_FAILED || !strstr(r.err, "memory")) {
                wrong++;
                print_message("%s, allocation %lu: exit %d: %.*s", line, (unsigned long)nth, code,
                              (int)r.err_len, r.err);
            }
        }
        /* Whatever failed, the next command works. */
        must_run(&r, "get users/kept");
    }
    assert_int_equal(wrong, 0);
    assert_true(refused > 200);
    must_run(&r, "verify");
    end(&r);
    assert_true(temp_dir_remove(r.dir));
}

/* Opening and closing the folder are part of each command that stands alone. */
static void opening_and_closing(void **state)
{
    (void)state;
    struct run r;
    char data[TEMP_DIR_MAX + 32], line[64];
    assert_true(temp_dir_make(r.dir, "climem"));
    snprintf(data, sizeof(data), "%s/db", r.dir);
    assert_int_equal(setenv("VARVE_DATA", data, 1), 0);
    unsigned answered = 0, refused = 0;
    for (unsigned nth = 1; nth < 4000; nth += nth < 40 ? 1 : 37) {
        start(&r);
        r.c.shell = false;
        snprintf(line, sizeof(line), "put things/k --raw v%u", nth);
        mem_fail_hits();
        int code = run_line(&r, line, nth);
        bool reached = mem_fail_hits() > 0;
        if (code == CLI_OK)
            answered = nth;
        else if (code != CLI_FAILED || !strstr(r.err, "memory"))
            fail_msg("%s, allocation %u: exit %d: %s", line, nth, code, r.err);
        refused += code != CLI_OK;
        if (answered) {
            must_run(&r, "get things/k");
            snprintf(line, sizeof(line), "v%u", nth);
            if (code == CLI_OK && !strstr(r.out, line))
                fail_msg("%s was answered, and read back as %s", line, r.out);
        }
        end(&r);
        if (!reached)
            break;
    }
    assert_true(answered && refused > 20);
    assert_true(temp_dir_remove(r.dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_verb),
        cmocka_unit_test(opening_and_closing),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
