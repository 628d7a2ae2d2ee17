#include "apps/cli/cli_csv.h"
#include "base/alloc.h"
#include <stdio.h>
#include <stdlib.h>

void cli_csv_init(struct cli_csv *csv, struct cli_input *in)
{
    *csv = (struct cli_csv){.in = in};
    buf_init(&csv->text, CLI_LINE_MAX);
}

void cli_csv_deinit(struct cli_csv *csv)
{
    buf_deinit(&csv->text);
    mem_free(csv->field);
    *csv = (struct cli_csv){0};
}

struct bytes cli_csv_field(const struct cli_csv *csv, size_t i)
{
    const uint8_t *base = csv->text.data ? csv->text.data : (const uint8_t *)"";
    return BYTES(base + csv->field[i].at, csv->field[i].len);
}

static enum status field_begin(struct cli_csv *csv, struct err *err)
{
    if (csv->nfields == csv->cap) {
        size_t cap = csv->cap ? csv->cap * 2 : 16;
        void *grown = mem_realloc(csv->field, cap * sizeof *csv->field);
        if (!grown)
            return err_set(err, ST_NO_MEMORY, "no memory for the fields of line %llu",
                           (unsigned long long)csv->line);
        csv->field = grown;
        csv->cap = cap;
    }
    csv->field[csv->nfields++] = (struct cli_csv_field){csv->text.len, 0, false};
    return ST_OK;
}

static enum status keep(struct cli_csv *csv, uint8_t byte, struct err *err)
{
    enum status st = buf_append_u8(&csv->text, byte);
    if (st == ST_TOO_LARGE)
        return err_set(err, st, "line %llu: the row is longer than 192 MiB",
                       (unsigned long long)csv->line);
    if (st != ST_OK)
        return err_set(err, st, "no memory for line %llu", (unsigned long long)csv->line);
    return ST_OK;
}

/* After a bad row: on to the next physical line, so that the caller may skip the row. `last` is the
 * byte last read. */
static int bad_row(struct cli_csv *csv, uint8_t last, const char *what, struct err *err)
{
    unsigned long long line = (unsigned long long)csv->in->line - (last == '\n');
    int got = 1;
    for (uint8_t byte = last; got == 1 && byte != '\n';)
        got = cli_input_byte(csv->in, &byte, err);
    if (got < 0)
        return got;
    return -(int)err_set(err, ST_INVALID_ARGUMENT, "line %llu, field %zu: %s", line, csv->nfields,
                         what);
}

/* The rows between two quotes that do not belong together go with them: both are named. */
static int behind_quote(struct cli_csv *csv, uint8_t last, uint64_t line, struct err *err)
{
    char what[96] = "text after the closing quote";
    if (line != csv->in->line - (last == '\n'))
        (void)snprintf(what, sizeof what, "text after the closing quote of what line %llu opened",
                       (unsigned long long)line);
    return bad_row(csv, last, what, err);
}

/* Where the quote that is missing should have been nobody can tell, nor where the next row begins: to go
 * on at any line would make rows of what is text, or pass over rows as if they were one. */
static int unclosed(const struct cli_csv *csv, uint64_t line, const char *what, struct err *err)
{
    return -(int)err_set(err, ST_CORRUPT,
                         "line %llu, field %zu: %s, so that no row behind it can be told",
                         (unsigned long long)line, csv->nfields, what);
}

/* Reads what follows the opening quote, up to and with the byte behind the closing one. 1: that
 * byte is in *ret (',', LF or CR); 0: the input ended behind the quote. */
static int quoted_field(struct cli_csv *csv, uint8_t *ret, struct err *err)
{
    const uint64_t line = csv->in->line;
    uint8_t byte = 0;
    int got;
    while ((got = cli_input_byte(csv->in, &byte, err)) == 1) {
        if (byte == '"') {
            got = cli_input_byte(csv->in, &byte, err);
            if (got < 0)
                return got;
            if (got == 0 || byte == ',' || byte == '\n') {
                *ret = byte;
                return got;
            }
            uint8_t next;
            if (byte == '\r' && cli_input_peek(csv->in, &next, err) == 1 && next == '\n')
                return cli_input_byte(csv->in, ret, err);
            if (byte != '"')
                return behind_quote(csv, byte, line, err);
        }
        enum status st = keep(csv, byte, err);
        if (st == ST_TOO_LARGE)
            return unclosed(csv, line, "the quote is not closed within 192 MiB of the row", err);
        if (st != ST_OK)
            return -(int)st;
    }
    csv->torn = got == 0;
    return got < 0 ? got : unclosed(csv, line, "the quote is never closed", err);
}

/* An unquoted field whose first byte was read; returns as quoted_field does. */
static int plain_field(struct cli_csv *csv, uint8_t byte, uint8_t *ret, struct err *err)
{
    int got = 1;
    for (; got == 1 && byte != ',' && byte != '\n'; got = cli_input_byte(csv->in, &byte, err)) {
        uint8_t next;
        if (byte == '"')
            return bad_row(csv, byte, "a quote inside an unquoted field", err);
        if (byte == '\r' && cli_input_peek(csv->in, &next, err) == 1 && next == '\n')
            continue;
        enum status st = keep(csv, byte, err);
        if (st == ST_TOO_LARGE) {
            struct err ignored;
            (void)bad_row(csv, byte, "", &ignored);
        }
        if (st != ST_OK)
            return -(int)st;
    }
    if (got == 1)
        *ret = byte;
    return got;
}

/* One field. 1: *ret is the comma or LF behind it; 0: the input ended behind it; *ret_any:
 * something stood there. */
static int one_field(struct cli_csv *csv, uint8_t *ret, bool *ret_any, struct err *err)
{
    uint8_t byte;
    enum status st = field_begin(csv, err);
    if (st != ST_OK)
        return -(int)st;
    struct cli_csv_field *f = &csv->field[csv->nfields - 1];
    int got = cli_input_byte(csv->in, &byte, err);
    *ret_any = got == 1;
    if (got == 1 && byte == '"') {
        f->quoted = true;
        got = quoted_field(csv, ret, err);
    } else if (got == 1) {
        got = plain_field(csv, byte, ret, err);
    }
    if (got >= 0)
        f->len = csv->text.len - f->at;
    return got;
}

static int skip_mark(struct cli_csv *csv, struct err *err)
{
    static const uint8_t mark[3] = {0xef, 0xbb, 0xbf};
    uint8_t byte;
    for (size_t i = 0; i < sizeof mark; i++) {
        int got = cli_input_peek(csv->in, &byte, err);
        if (got < 0)
            return got;
        if (got == 0 || byte != mark[i])
            return i ? -(int)err_set(err, ST_INVALID_ARGUMENT,
                                     "line 1: the file begins with part of a byte order mark")
                     : 0;
        got = cli_input_byte(csv->in, &byte, err);
        if (got < 0)
            return got;
    }
    return 0;
}

int cli_csv_next(struct cli_csv *csv, struct err *err)
{
    if (csv->in->offset == 0) {
        int got = skip_mark(csv, err);
        if (got < 0)
            return got;
    }
    for (;;) {
        uint8_t behind = ',';
        bool any = true;
        int got = 1;
        csv->nfields = 0;
        buf_clear(&csv->text);
        csv->line = csv->in->line;
        while (got == 1 && behind == ',')
            got = one_field(csv, &behind, &any, err);
        if (got < 0)
            return got;
        bool blank = csv->nfields == 1 && csv->field[0].len == 0 && !csv->field[0].quoted;
        if (got == 0 && blank)
            return 0;
        csv->ended = got == 1;
        if (!blank)
            return 1;
    }
}

enum status cli_csv_write(struct buf *out, bool first, struct bytes text, bool quote)
{
    enum status st = first ? ST_OK : buf_append_u8(out, ',');
    for (size_t i = 0; !quote && i < text.len; i++) {
        uint8_t c = text.data[i];
        quote = c == ',' || c == '"' || c == '\n' || c == '\r';
    }
    /* At the front of a file this would be taken for a byte order mark. */
    quote = quote || (text.len && text.data[0] == 0xef);
    if (!quote)
        return st == ST_OK ? buf_append(out, text.data, text.len) : st;
    if (st == ST_OK)
        st = buf_append_u8(out, '"');
    for (size_t i = 0; st == ST_OK && i < text.len; i++) {
        if (text.data[i] == '"')
            st = buf_append_u8(out, '"');
        if (st == ST_OK)
            st = buf_append_u8(out, text.data[i]);
    }
    return st == ST_OK ? buf_append_u8(out, '"') : st;
}

enum status cli_csv_write_end(struct buf *out, size_t start)
{
    enum status st = ST_OK;
    if (out->len == start) /* one empty field would read as a blank line */
        st = buf_append(out, "\"\"", 2);
    return st == ST_OK ? buf_append_u8(out, '\n') : st;
}

static size_t skip_digits(struct bytes t, size_t i)
{
    while (i < t.len && t.data[i] >= '0' && t.data[i] <= '9')
        i++;
    return i;
}

/* JSON's number: -? (0|[1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?  0: none, 1: whole, 2: with
 * fraction or exponent. */
static int number_form(struct bytes t)
{
    size_t i = t.len && t.data[0] == '-', from = i;
    int form = 1;
    i = skip_digits(t, i);
    if (i == from || (i > from + 1 && t.data[from] == '0'))
        return 0;
    if (i < t.len && t.data[i] == '.') {
        from = ++i;
        form = 2;
        if ((i = skip_digits(t, i)) == from)
            return 0;
    }
    if (i < t.len && (t.data[i] | 0x20) == 'e') {
        i++;
        form = 2;
        i += i < t.len && (t.data[i] == '+' || t.data[i] == '-');
        from = i;
        if ((i = skip_digits(t, i)) == from)
            return 0;
    }
    return i == t.len ? form : 0;
}

static bool to_int64(struct bytes t, int64_t *ret)
{
    bool negative = t.data[0] == '-';
    int64_t v = 0;
    for (size_t i = negative; i < t.len; i++) {
        int64_t digit = t.data[i] - '0';
        if (__builtin_mul_overflow(v, 10, &v) ||
            __builtin_add_overflow(v, negative ? -digit : digit, &v))
            return false;
    }
    *ret = v;
    return true;
}

enum cli_csv_type cli_csv_infer(struct bytes text, bool *ret_bool, int64_t *ret_int,
                                double *ret_double)
{
    char number[64];
    if (bytes_eq(text, BYTES_LIT("true")) || bytes_eq(text, BYTES_LIT("false"))) {
        *ret_bool = text.data[0] == 't';
        return CLI_CSV_BOOL;
    }
    int form = text.len < sizeof number ? number_form(text) : 0;
    if (form == 0)
        return CLI_CSV_STRING;
    if (form == 1)
        return to_int64(text, ret_int) ? CLI_CSV_INT : CLI_CSV_STRING;
    memcpy(number, text.data, text.len);
    number[text.len] = '\0';
    double v = strtod(number, NULL);
    if (v > 1.7976931348623157e308 || v < -1.7976931348623157e308)
        return CLI_CSV_STRING;
    *ret_double = v;
    return CLI_CSV_DOUBLE;
}
