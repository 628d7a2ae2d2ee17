/* test_csv.c - what is written reads back, whatever the pieces it arrives in; malformed rows are
 * named and passed over. */
#include "apps/cli/cli_csv.h"
#include "base/alloc.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <string.h>

struct source {
    struct bytes left;
    struct test_rng *rng; /* pieces of random length; NULL: all at once */
};

static enum status from_memory(void *arg, void *out, size_t cap, size_t *ret_len, struct err *err)
{
    struct source *s = arg;
    (void)err;
    size_t n = s->left.len < cap ? s->left.len : cap;
    if (s->rng && n)
        n = test_rng_between(s->rng, 1, n < 7 ? n : 7);
    memcpy(out, s->left.data, n);
    s->left = BYTES(s->left.data + n, s->left.len - n);
    *ret_len = n;
    return ST_OK;
}

/* Reads all rows as "a|b" lines, errors as "!"; quoted fields in brackets. */
static void read_as(const char *text, const char *expected)
{
    struct source s = {BYTES_STR(text), NULL};
    struct cli_input in;
    struct cli_csv csv;
    struct buf out = BUF_INIT;
    struct err e;
    int got;
    err_init(&e);
    assert_int_equal(cli_input_init(&in, from_memory, &s, &e), ST_OK);
    cli_csv_init(&csv, &in);
    while ((got = cli_csv_next(&csv, &e)) != 0) {
        if (got < 0) {
            assert_true(got == -(int)ST_INVALID_ARGUMENT || got == -(int)ST_CORRUPT);
            assert_int_equal(buf_printf(&out, "!%s;", strstr(e.detail, "line")), ST_OK);
            if (got == -(int)ST_CORRUPT)
                break;
            continue;
        }
        for (size_t i = 0; i < csv.nfields; i++) {
            struct bytes f = cli_csv_field(&csv, i);
            bool q = csv.field[i].quoted;
            assert_int_equal(buf_printf(&out, "%s%s%.*s%s", i ? "|" : "", q ? "<" : "", (int)f.len,
                                        (const char *)f.data, q ? ">" : ""),
                             ST_OK);
        }
        assert_int_equal(buf_printf(&out, "%s;", csv.ended ? "" : "~"), ST_OK);
    }
    assert_string_equal(buf_cstr(&out), expected);
    buf_deinit(&out);
    cli_csv_deinit(&csv);
    cli_input_deinit(&in);
}

static void rows(void **state)
{
    (void)state;
    read_as("", "");
    read_as("\n\r\n\n", "");
    read_as("a,b\nc,d\n", "a|b;c|d;");
    read_as("a,b\r\nc,d", "a|b;c|d~;");
    read_as("a,,\n,\n", "a||;|;");
    read_as("\"a\",\"\"\n", "<a>|<>;");
    read_as("\"a\"\"b\",\"c,d\",\"e\nf\"\r\n", "<a\"b>|<c,d>|<e\nf>;");
    read_as("\"a\r\nb\"\n", "<a\r\nb>;");
    read_as("\"a\"", "<a>~;");
    read_as("a\rb,c\n", "a\rb|c;");
    read_as("a\r", "a\r~;");
    read_as("\xef\xbb\xbf"
            "a\n\xef\xbb\xbf"
            "b\n",
            "a;\xef\xbb\xbf"
            "b;");
    read_as("\"\"\n", "<>;");
    read_as(" a , b \n", " a | b ;");
    read_as(",", "|~;");
}

static void malformed_rows(void **state)
{
    (void)state;
    read_as("a\"b,c\nd\n", "!line 1, field 1: a quote inside an unquoted field;d;");
    read_as("a\n\"b\"c,d\ne\n", "a;!line 2, field 1: text after the closing quote;e;");
    read_as("a\n\"b\nc",
            "a;!line 2, field 1: the quote is never closed, so that no row behind it can be told;");
    read_as("\"a\nb\",c,\"d\nf,g\n",
            "!line 2, field 3: the quote is never closed, so that no row behind it can be told;");
    read_as("a,\"b\nc\"d\ne\n",
            "!line 2, field 2: text after the closing quote of what line 1 opened;e;");
    read_as("\"a\" \nb\n", "!line 1, field 1: text after the closing quote;b;");
    read_as("\"a\"\rb\nc\n", "!line 1, field 1: text after the closing quote;c;");
    read_as("\xef\xbb"
            "a\nb\n",
            "!line 1: the file begins with part of a byte order mark;a;b;");
}

/* ---- random rows, written and read back ---- */

enum { ROWS_MAX = 8, FIELDS_MAX = 6, FIELD_BYTES_MAX = 12 };
struct table {
    size_t rows, fields[ROWS_MAX];
    uint8_t text[ROWS_MAX][FIELDS_MAX][FIELD_BYTES_MAX];
    size_t len[ROWS_MAX][FIELDS_MAX];
    bool quote[ROWS_MAX][FIELDS_MAX];
};

static void random_table(struct test_rng *r, struct table *t)
{
    static const char spice[] = ",\"\n\r\r\n  ab\xef\xbb\xbf\xff";
    t->rows = test_rng_between(r, 1, ROWS_MAX);
    for (size_t i = 0; i < t->rows; i++) {
        t->fields[i] = test_rng_between(r, 1, FIELDS_MAX);
        for (size_t j = 0; j < t->fields[i]; j++) {
            t->len[i][j] = test_rng_below(r, FIELD_BYTES_MAX + 1);
            t->quote[i][j] = test_rng_chance(r, 1, 3);
            for (size_t k = 0; k < t->len[i][j]; k++)
                t->text[i][j][k] = test_rng_chance(r, 1, 2)
                                       ? (uint8_t)spice[test_rng_below(r, sizeof spice - 1)]
                                       : (uint8_t)test_rng_below(r, 256);
        }
    }
}

static void write_table(const struct table *t, struct buf *out)
{
    for (size_t i = 0; i < t->rows; i++) {
        size_t start = out->len;
        for (size_t j = 0; j < t->fields[i]; j++)
            assert_int_equal(
                cli_csv_write(out, j == 0, BYTES(t->text[i][j], t->len[i][j]), t->quote[i][j]),
                ST_OK);
        assert_int_equal(cli_csv_write_end(out, start), ST_OK);
    }
}

static void check_table(const struct table *t, struct cli_csv *csv)
{
    struct err e;
    err_init(&e);
    for (size_t i = 0; i < t->rows; i++) {
        assert_int_equal(cli_csv_next(csv, &e), 1);
        assert_true(csv->ended);
        assert_int_equal(csv->nfields, t->fields[i]);
        for (size_t j = 0; j < t->fields[i]; j++) {
            struct bytes f = cli_csv_field(csv, j);
            assert_true(bytes_eq(f, BYTES(t->text[i][j], t->len[i][j])));
            if (t->quote[i][j])
                assert_true(csv->field[j].quoted);
        }
    }
    assert_int_equal(cli_csv_next(csv, &e), 0);
    assert_int_equal(cli_csv_next(csv, &e), 0);
}

static void written_reads_back(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 3000)
    {
        struct test_rng r;
        static struct table t;
        struct buf text = BUF_INIT;
        struct cli_input in;
        struct cli_csv csv;
        struct err e;
        test_rng_init(&r, seed);
        random_table(&r, &t);
        write_table(&t, &text);
        struct source s = {buf_bytes(&text), &r};
        assert_int_equal(cli_input_init(&in, from_memory, &s, &e), ST_OK);
        cli_csv_init(&csv, &in);
        check_table(&t, &csv);
        assert_int_equal(in.offset, text.len);
        cli_csv_deinit(&csv);
        cli_input_deinit(&in);
        buf_deinit(&text);
    }
}

static void lines_and_offsets(void **state)
{
    (void)state;
    struct source s = {BYTES_LIT("ab\r\n\nc"), NULL};
    struct cli_input in;
    struct buf line = BUF_INIT;
    struct err e;
    bool ended;
    assert_int_equal(cli_input_init(&in, from_memory, &s, &e), ST_OK);
    assert_int_equal(cli_input_line(&in, &line, &ended, &e), 1);
    assert_string_equal(buf_cstr(&line), "ab");
    assert_true(ended && in.offset == 4 && in.line == 2);
    assert_int_equal(cli_input_line(&in, &line, &ended, &e), 1);
    assert_true(ended && line.len == 0 && in.offset == 5 && in.line == 3);
    assert_int_equal(cli_input_line(&in, &line, &ended, &e), 1);
    assert_true(!ended && line.len == 1 && in.offset == 6);
    assert_int_equal(cli_input_line(&in, &line, &ended, &e), 0);
    buf_deinit(&line);
    cli_input_deinit(&in);
}

static void infer(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum cli_csv_type type;
        double value;
    } cases[] = {
        {"", CLI_CSV_STRING, 0},
        {"true", CLI_CSV_BOOL, 1},
        {"false", CLI_CSV_BOOL, 0},
        {"True", CLI_CSV_STRING, 0},
        {"0", CLI_CSV_INT, 0},
        {"-12", CLI_CSV_INT, -12},
        {"007", CLI_CSV_STRING, 0},
        {"-0", CLI_CSV_INT, 0},
        {"+1", CLI_CSV_STRING, 0},
        {"1.", CLI_CSV_STRING, 0},
        {".5", CLI_CSV_STRING, 0},
        {"1.5", CLI_CSV_DOUBLE, 1.5},
        {"-1e3", CLI_CSV_DOUBLE, -1000},
        {"1e", CLI_CSV_STRING, 0},
        {"1e400", CLI_CSV_STRING, 0},
        {"NaN", CLI_CSV_STRING, 0},
        {"0x10", CLI_CSV_STRING, 0},
        {"1 ", CLI_CSV_STRING, 0},
        {"9223372036854775808", CLI_CSV_STRING, 0},
        {"-", CLI_CSV_STRING, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool b = false;
        int64_t n = 0;
        double d = 0;
        enum cli_csv_type type = cli_csv_infer(BYTES_STR(cases[i].text), &b, &n, &d);
        if (type != cases[i].type)
            fail_msg("'%s'", cases[i].text);
        double got = type == CLI_CSV_BOOL ? b : type == CLI_CSV_INT ? (double)n : d;
        assert_true(got >= cases[i].value && got <= cases[i].value);
    }
    bool b;
    int64_t n;
    double d;
    assert_int_equal(cli_csv_infer(BYTES_LIT("-9223372036854775808"), &b, &n, &d), CLI_CSV_INT);
    assert_true(n == INT64_MIN);
}

static void no_memory_is_an_answer(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth < 10; nth++) {
        struct source s = {BYTES_LIT("a,b,c\n"), NULL};
        struct cli_input in;
        struct cli_csv csv;
        struct err e;
        int got = 1;
        mem_fail_at(nth, 1);
        enum status st = cli_input_init(&in, from_memory, &s, &e);
        if (st == ST_OK) {
            cli_csv_init(&csv, &in);
            got = cli_csv_next(&csv, &e);
            cli_csv_deinit(&csv);
            cli_input_deinit(&in);
        }
        uint64_t hits = mem_fail_hits();
        mem_fail_at(0, 0);
        if (hits == 0) {
            assert_int_equal(got, 1);
            return;
        }
        assert_true(st == ST_NO_MEMORY || got == -(int)ST_NO_MEMORY);
    }
    fail_msg("never ran through");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows),
        cmocka_unit_test(malformed_rows),
        cmocka_unit_test(written_reads_back),
        cmocka_unit_test(lines_and_offsets),
        cmocka_unit_test(infer),
        cmocka_unit_test(no_memory_is_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
