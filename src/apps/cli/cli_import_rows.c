/* Rows of a file as keys and values. */
#include "apps/cli/cli_bson.h"
#include "apps/cli/cli_import.h"
#include "apps/cli/cli_out.h"
#include "base/alloc.h"
#include "model/doc/doc.h"
#include <string.h>

static enum status read_heading(struct cli_rows *r, struct err *err)
{
    int got = cli_csv_next(&r->parser, err);
    if (got < 0)
        return (enum status) - got;
    if (got == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "the file has no heading line");
    r->columns = r->parser.nfields;
    r->key_column = SIZE_MAX;
    r->name_at = mem_alloc(r->columns * sizeof *r->name_at);
    if (!r->name_at)
        return err_set(err, ST_NO_MEMORY, "no memory for the heading");
    for (size_t i = 0; i < r->columns; i++) {
        struct bytes name = cli_csv_field(&r->parser, i);
        if (name.len == 0 || memchr(name.data, 0, name.len) || !cli_is_utf8(name))
            return err_set(err, ST_INVALID_ARGUMENT,
                           "line 1, field %zu: a heading must be text that is not empty", i + 1);
        /* A file all of whose lines end so is one line: nothing but a heading. */
        if (!r->parser.field[i].quoted && memchr(name.data, '\r', name.len))
            return err_set(err, ST_INVALID_ARGUMENT,
                           "line 1, field %zu: a CR in the heading; lines end with LF or CRLF",
                           i + 1);
        for (size_t j = 0; j < i; j++)
            if (bytes_eq(BYTES_STR((char *)r->names.data + r->name_at[j]), name))
                return err_set(err, ST_INVALID_ARGUMENT,
                               "line 1: fields %zu and %zu have the same heading", j + 1, i + 1);
        if (bytes_eq(name, r->key_field))
            r->key_column = i;
        r->name_at[i] = r->names.len;
        if (buf_append(&r->names, name.data, name.len) != ST_OK ||
            buf_append_u8(&r->names, 0) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "no memory for the heading");
    }
    if (r->key_column == SIZE_MAX)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "line 1: no field is headed '%.*s'; name the key's field with --key",
                       (int)r->key_field.len, (const char *)r->key_field.data);
    return ST_OK;
}

enum status cli_rows_open(struct cli_rows *r, const char *path, bool csv, struct bytes key_field,
                          struct err *err)
{
    *r = (struct cli_rows){.csv = csv, .key_field = key_field};
    enum status st = cli_input_open(&r->in, path, err);
    if (st != ST_OK)
        return st;
    r->in.stopped = cli_signalled;
    cli_csv_init(&r->parser, &r->in);
    st = csv ? read_heading(r, err) : ST_OK;
    if (st != ST_OK)
        cli_rows_close(r);
    return st;
}

void cli_rows_close(struct cli_rows *r)
{
    cli_csv_deinit(&r->parser);
    cli_input_deinit(&r->in);
    buf_deinit(&r->line);
    buf_deinit(&r->names);
    mem_free(r->name_at);
    r->name_at = NULL;
}

static enum status bad(const struct cli_row *row, enum status st, struct err *err)
{
    err_prefix(err, "line %llu", (unsigned long long)row->line);
    return st;
}

/* The limits that the library has for one record; named here so that the line is named too. */
static enum status check_limits(const struct cli_row *row, struct err *err)
{
    if (row->key.len == 0)
        return bad(row, err_set(err, ST_INVALID_ARGUMENT, "the key is empty"), err);
    if (row->key.len > CLI_KEY_MAX)
        return bad(
            row, err_set(err, ST_TOO_LARGE, "the key has %zu bytes (limit: 64 KiB)", row->key.len),
            err);
    if (row->value.len > CLI_VALUE_MAX)
        return bad(row,
                   err_set(err, ST_TOO_LARGE, "the document has %zu bytes (limit: 16 MiB)",
                           row->value.len),
                   err);
    return ST_OK;
}

/* ---- NDJSON ---- */

/* The document without the field at a path. An array keeps its elements: they are no fields. */
static enum status without(struct bytes doc, struct bytes path, bool dotted, struct buf *out)
{
    struct cli_bson_field f;
    size_t pos = 0, at;
    const uint8_t *dot = dotted ? memchr(path.data, '.', path.len) : NULL;
    struct bytes name = dot ? BYTES(path.data, (size_t)(dot - path.data)) : path;
    enum status st = cli_bson_begin(out, &at);
    while (st == ST_OK && cli_bson_next(doc, &pos, &f) == 1) {
        bool here = bytes_eq(f.name, name);
        if (here && dot && f.type == CLI_BSON_DOCUMENT) {
            st = buf_append(out, f.element.data, f.element.len - f.value.len);
            if (st == ST_OK)
                st = without(f.value, BYTES(dot + 1, path.len - name.len - 1), true, out);
        } else if (!here || dot) {
            st = buf_append(out, f.element.data, f.element.len);
        }
    }
    return st == ST_OK ? cli_bson_end(out, at) : st;
}

static bool is_binary(const struct cli_bson_field *f)
{
    return f->type == CLI_BSON_BINARY || f->type == CLI_BSON_STRING;
}

/* What export put around a value that is no plain document: exactly {_key, _raw} or {_key, _doc}.
 */
static bool unwrap(struct bytes doc, struct bytes key_field, struct cli_bson_field *ret)
{
    struct cli_bson_field f;
    size_t pos = 0, n = 0;
    bool found = false;
    while (cli_bson_next(doc, &pos, &f) == 1) {
        n++;
        bool raw = bytes_eq(f.name, BYTES_LIT(CLI_RAW_FIELD)) && is_binary(&f);
        bool inner = bytes_eq(f.name, BYTES_LIT(CLI_DOC_FIELD)) && f.type == CLI_BSON_DOCUMENT;
        if (raw || inner) {
            *ret = f;
            found = true;
        } else if (!bytes_eq(f.name, key_field)) {
            return false;
        }
    }
    return found && n == 2;
}

enum status cli_json_line(struct bytes line, struct buf *ret, bool *ret_around, struct err *err)
{
    struct err ignored;
    err_init(&ignored);
    *ret_around = false;
    enum status st = doc_from_json(line, ret, err);
    if (st != ST_TOO_LARGE || doc_from_json_around(line, ret, &ignored) != ST_OK)
        return st;
    *ret_around = true;
    return ST_OK;
}

enum status cli_json_key(struct bytes doc, struct bytes key_field, struct buf *ret, struct err *err)
{
    struct cli_bson_field f;
    if (cli_bson_find(doc, key_field, &f) == 1 && f.type == CLI_BSON_BINARY)
        return buf_append(ret, f.value.data, f.value.len);
    return doc_key_text(doc, key_field, ret, err);
}

static enum status json_key(const struct cli_rows *r, struct bytes doc, struct cli_row *ret,
                            struct err *err)
{
    enum status st = cli_json_key(doc, r->key_field, &ret->key, err);
    if (st == ST_NOT_FOUND)
        return err_set(err, ST_INVALID_ARGUMENT, "the document has no field '%.*s' for its key",
                       (int)r->key_field.len, (const char *)r->key_field.data);
    if (st == ST_INVALID_ARGUMENT)
        err_prefix(err, "field '%.*s'", (int)r->key_field.len, (const char *)r->key_field.data);
    return st;
}

static enum status json_row(const struct cli_rows *r, struct cli_row *ret, struct err *err)
{
    struct cli_bson_field inner;
    struct buf bson = BUF_INIT;
    bool around;
    enum status st = cli_json_line(buf_bytes(&r->line), &bson, &around, err);
    struct bytes doc = buf_bytes(&bson);
    if (st == ST_OK)
        st = json_key(r, doc, ret, err);
    ret->type = VARVE_DOC;
    if (st != ST_OK) {
        ;
    } else if (r->envelope && unwrap(doc, r->key_field, &inner)) {
        ret->type = inner.type == CLI_BSON_DOCUMENT ? VARVE_DOC : VARVE_RAW;
        st = buf_append(&ret->value, inner.value.data, inner.value.len);
    } else if (r->drop_key) {
        bool dotted = cli_bson_find(doc, r->key_field, &inner) == 0;
        st = without(doc, r->key_field, dotted, &ret->value);
    } else {
        st = buf_append(&ret->value, doc.data, doc.len);
    }
    buf_deinit(&bson);
    if (st == ST_OK && around && ret->type == VARVE_DOC)
        st = doc_check(buf_bytes(&ret->value), err);
    return st;
}

static bool only_blanks(const struct buf *b)
{
    for (size_t i = 0; i < b->len; i++)
        if (b->data[i] != ' ' && b->data[i] != '\t' && b->data[i] != '\r')
            return false;
    return true;
}

/* A byte order mark before the first line says nothing of UTF-8. */
static void skip_mark(struct cli_rows *r)
{
    static const uint8_t mark[3] = {0xef, 0xbb, 0xbf};
    if (r->line.len < sizeof mark || memcmp(r->line.data, mark, sizeof mark) != 0)
        return;
    r->line.len -= sizeof mark;
    memmove(r->line.data, r->line.data + sizeof mark, r->line.len);
}

static int next_json(struct cli_rows *r, struct cli_row *ret, struct err *err)
{
    bool ended;
    int got;
    do {
        ret->line = r->in.line;
        got = cli_input_line(&r->in, &r->line, &ended, err);
        if (got <= 0)
            return got == -(int)ST_TOO_LARGE ? -(int)ST_IO_ERROR : got;
        if (ret->line == 1)
            skip_mark(r);
    } while (only_blanks(&r->line));
    enum status st = json_row(r, ret, err);
    return st == ST_OK ? 1 : -(int)bad(ret, st, err);
}

/* ---- CSV ---- */

static enum status csv_value(const struct cli_rows *r, size_t i, struct buf *out)
{
    struct bytes text = cli_csv_field(&r->parser, i);
    struct bytes name = BYTES_STR((char *)r->names.data + r->name_at[i]);
    bool quoted = r->parser.field[i].quoted, boolean = false;
    int64_t whole = 0;
    double number = 0;
    if (text.len == 0 && !quoted)
        return ST_OK; /* nothing stands there */
    switch (r->infer && !quoted ? cli_csv_infer(text, &boolean, &whole, &number) : CLI_CSV_STRING) {
    case CLI_CSV_BOOL:
        return cli_bson_bool(out, name, boolean);
    case CLI_CSV_INT:
        return cli_bson_i64(out, name, whole);
    case CLI_CSV_DOUBLE:
        return cli_bson_double(out, name, number);
    case CLI_CSV_STRING:
        break;
    }
    return cli_bson_str(out, name, text);
}

static int next_csv(struct cli_rows *r, struct cli_row *ret, struct err *err)
{
    size_t at;
    int got = cli_csv_next(&r->parser, err);
    if (got <= 0)
        return got;
    ret->line = r->parser.line;
    ret->type = VARVE_DOC;
    if (r->parser.nfields != r->columns)
        return -(int)err_set(err, ST_INVALID_ARGUMENT,
                             "line %llu: %zu fields, but the heading has %zu",
                             (unsigned long long)ret->line, r->parser.nfields, r->columns);
    for (size_t i = 0; i < r->columns; i++)
        if (!cli_is_utf8(cli_csv_field(&r->parser, i)))
            return -(int)err_set(
                err, ST_INVALID_ARGUMENT, "line %llu, field '%s': the text is not UTF-8",
                (unsigned long long)ret->line, (char *)r->names.data + r->name_at[i]);
    struct bytes key = cli_csv_field(&r->parser, r->key_column);
    enum status st = buf_append(&ret->key, key.data, key.len);
    if (st == ST_OK)
        st = cli_bson_begin(&ret->value, &at);
    for (size_t i = 0; st == ST_OK && i < r->columns; i++)
        if (!(r->drop_key && i == r->key_column))
            st = csv_value(r, i, &ret->value);
    if (st == ST_OK)
        st = cli_bson_end(&ret->value, at);
    return st == ST_OK ? 1 : -(int)err_set(err, st, "no memory for a row");
}

int cli_rows_next(struct cli_rows *r, struct cli_row *ret, struct err *err)
{
    buf_clear(&ret->key);
    buf_clear(&ret->value);
    int got = r->csv ? next_csv(r, ret, err) : next_json(r, ret, err);
    if (got != 1)
        return got;
    enum status st = check_limits(ret, err);
    return st == ST_OK ? 1 : -(int)st;
}
