/* A record as a line of NDJSON or CSV. */
#include "apps/cli/cli_bson.h"
#include "apps/cli/cli_export.h"
#include "apps/cli/cli_out.h"
#include "base/alloc.h"
#include "base/hash.h"
#include "model/doc/doc.h"
#include <string.h>

enum { COLUMNS_MAX = 16384 };

void cli_export_rows_deinit(struct cli_export_rows *r)
{
    buf_deinit(&r->names);
    buf_deinit(&r->text);
    buf_deinit(&r->field);
    buf_deinit(&r->wrapped);
    mem_free(r->column);
    mem_free(r->slot);
    r->column = NULL;
    r->slot = NULL;
}

static enum status refuse(const struct db_row *row, struct err *err, const char *why)
{
    struct buf key = BUF_INIT;
    enum status st = cli_text_bytes(&key, row->key);
    const char *text = st == ST_OK ? buf_cstr(&key) : NULL;
    st = err_set(err, ST_INVALID_ARGUMENT, "record '%.200s': %s", text ? text : "?", why);
    buf_deinit(&key);
    return st;
}

/* Whether a document already has the key in the key's field (1), nothing there (0), or something
 * else (-1). A dotted path that leads to something else is nothing: a field of that name goes before
 * it. */
static int key_inside(const struct cli_export_rows *r, struct bytes doc, struct bytes key)
{
    struct cli_bson_field f;
    struct buf text = BUF_INIT;
    struct err ignored;
    bool there = cli_bson_find(doc, r->key_field, &f) == 1;
    bool same = cli_json_key(doc, r->key_field, &text, &ignored) == ST_OK &&
                bytes_eq(buf_bytes(&text), key);
    buf_deinit(&text);
    return same ? 1 : there ? -1 : 0;
}

/* ---- NDJSON ---- */

/* Has the document a field that import would take for the envelope's? */
static bool needs_wrapping(struct bytes doc)
{
    struct cli_bson_field f;
    return cli_bson_find(doc, BYTES_LIT(CLI_KEY_FIELD), &f) != 0 ||
           cli_bson_find(doc, BYTES_LIT(CLI_RAW_FIELD), &f) != 0 ||
           cli_bson_find(doc, BYTES_LIT(CLI_DOC_FIELD), &f) != 0;
}

/* *ret_doc: the document itself is to come into a field of its own. */
static enum status wrap(struct cli_export_rows *r, const struct db_row *row, bool *ret_doc,
                        struct err *err)
{
    struct bytes key = row->key, value = row->value;
    bool doc = row->type == VARVE_DOC;
    struct buf *b = &r->wrapped;
    size_t at;
    int inside = doc && !r->envelope ? key_inside(r, value, key) : 0;
    buf_clear(b);
    if (inside < 0)
        return refuse(row, err,
                      "its field of the key's name holds something else; choose another --key");
    if (inside > 0)
        return buf_append(b, value.data, value.len);
    enum status st = cli_bson_begin(b, &at);
    if (st == ST_OK)
        st = cli_bson_key(b, r->key_field, key);
    if (st != ST_OK)
        return st;
    if (!doc)
        st = cli_bson_key(b, BYTES_LIT(CLI_RAW_FIELD), value);
    else if (r->envelope && needs_wrapping(value))
        *ret_doc = true;
    else
        st = buf_append(b, value.data + 4, value.len - 5); /* the fields themselves */
    return st == ST_OK ? cli_bson_end(b, at) : st;
}

static enum status ndjson_row(struct cli_export_rows *r, const struct db_row *row, struct buf *out,
                              struct err *err)
{
    enum doc_json mode = r->canonical ? DOC_JSON_CANONICAL : DOC_JSON_RELAXED;
    bool inner = false;
    /* Checked before the key comes to it: the limits are those of the document alone. */
    enum status st = row->type == VARVE_DOC ? doc_check(row->value, err) : ST_OK;
    if (st == ST_OK)
        st = wrap(r, row, &inner, err);
    if (st == ST_OK)
        st = doc_to_json(buf_bytes(&r->wrapped), mode, false, out, err);
    if (st == ST_OK && inner) {
        out->len--; /* the brace: it comes behind the document */
        st = buf_printf(out, ",\"" CLI_DOC_FIELD "\":");
        if (st == ST_OK)
            st = doc_to_json(row->value, mode, false, out, err);
        if (st == ST_OK)
            st = buf_append_u8(out, '}');
    }
    return st == ST_OK ? buf_append_u8(out, '\n') : st;
}

/* ---- CSV ---- */

static struct bytes column_name(const struct cli_export_rows *r, size_t i)
{
    return BYTES(r->names.data + r->column[i].name_at, r->column[i].name_len);
}

/* The slot of a name: its own, or the free one where it belongs. */
static size_t *slot_of(const struct cli_export_rows *r, struct bytes name)
{
    size_t i = (size_t)hash_xxh64(name.data, name.len, 0) & r->slot_mask;
    while (r->slot[i] && !bytes_eq(column_name(r, r->slot[i] - 1), name))
        i = (i + 1) & r->slot_mask;
    return &r->slot[i];
}

static enum status add_column(struct cli_export_rows *r, struct bytes name, struct err *err)
{
    if (!r->slot) {
        r->slot_mask = COLUMNS_MAX * 2 - 1;
        r->slot = mem_zalloc((r->slot_mask + 1) * sizeof *r->slot);
        r->column = mem_zalloc(COLUMNS_MAX * sizeof *r->column);
        if (!r->slot || !r->column)
            return err_set(err, ST_NO_MEMORY, "no memory for the columns");
    }
    size_t *slot = slot_of(r, name);
    if (*slot)
        return ST_OK;
    if (r->columns == COLUMNS_MAX)
        return err_set(err, ST_TOO_LARGE, "more than %d columns; use --format ndjson", COLUMNS_MAX);
    r->column[r->columns] =
        (struct cli_export_column){.name_at = r->names.len, .name_len = name.len};
    enum status st = buf_append(&r->names, name.data, name.len);
    if (st != ST_OK)
        return err_set(err, st, "no memory for the columns");
    *slot = ++r->columns;
    return ST_OK;
}

enum status cli_export_note_columns(struct cli_export_rows *r, const struct db_row *row,
                                    struct err *err)
{
    struct bytes key = row->key, doc = row->value;
    struct cli_bson_field f;
    size_t pos = 0;
    if (row->type != VARVE_DOC)
        return refuse(row, err, "raw bytes cannot be written as CSV; use --format ndjson");
    if (!cli_is_utf8(key))
        return refuse(row, err, "its key is not text, as CSV needs it; use --format ndjson");
    if (key_inside(r, doc, key) < 0 || (r->envelope && key_inside(r, doc, key)))
        return refuse(row, err, "it has a field of the key's name itself; choose another --key");
    enum status st = add_column(r, r->key_field, err);
    while (st == ST_OK && cli_bson_next(doc, &pos, &f) == 1) {
        if (f.name.len == 0)
            return refuse(row, err,
                          "a field without a name cannot be a column; use --format ndjson");
        st = add_column(r, f.name, err);
    }
    return st;
}

enum status cli_export_heading(struct cli_export_rows *r, struct buf *out)
{
    size_t start = out->len;
    struct err ignored;
    enum status st = add_column(r, r->key_field, &ignored); /* an empty collection has this one */
    for (size_t i = 0; st == ST_OK && i < r->columns; i++)
        st = cli_csv_write(out, i == 0, column_name(r, i), false);
    return st == ST_OK ? cli_csv_write_end(out, start) : st;
}

/* A string is quoted where, without quotes, it would come back as nothing, a number or a boolean.
 */
static bool needs_quotes(uint8_t type, struct bytes text)
{
    bool boolean;
    int64_t whole;
    double number;
    return type == CLI_BSON_STRING &&
           (text.len == 0 || cli_csv_infer(text, &boolean, &whole, &number) != CLI_CSV_STRING);
}

/* The text of one field, kept behind those of the fields before it. */
static enum status keep_text(struct cli_export_rows *r, const struct cli_bson_field *f,
                             struct err *err)
{
    size_t *slot = slot_of(r, f->name);
    if (!*slot) /* both passes read the same moment */
        return err_set(err, ST_INTERNAL, "a field appeared between two scans of one moment");
    struct cli_export_column *col = &r->column[*slot - 1];
    col->text_at = r->text.len;
    col->text_len = r->field.len;
    col->present = true;
    col->quote = needs_quotes(f->type, buf_bytes(&r->field));
    return buf_append(&r->text, buf_bytes(&r->field).data, r->field.len);
}

static enum status csv_fields(struct cli_export_rows *r, struct bytes doc, struct err *err)
{
    struct cli_bson_field f;
    struct bytes name;
    size_t pos = 0, text_pos = 0;
    enum status st = ST_OK;
    while (st == ST_OK && cli_bson_next(doc, &pos, &f) == 1) {
        buf_clear(&r->field);
        int got = doc_next_field(doc, &text_pos, &name, &r->field, err);
        if (got == 1)
            st = keep_text(r, &f, err);
        else
            st = got < 0 ? (enum status) - got : err_set(err, ST_INTERNAL, "a field went missing");
    }
    return st;
}

static enum status csv_row(struct cli_export_rows *r, const struct db_row *row, struct buf *out,
                           struct err *err)
{
    struct bytes key = row->key;
    size_t start = out->len;
    buf_clear(&r->text);
    for (size_t i = 0; i < r->columns; i++)
        r->column[i].present = false;
    enum status st = csv_fields(r, row->value, err);
    for (size_t i = 0; st == ST_OK && i < r->columns; i++) {
        const struct cli_export_column *col = &r->column[i];
        struct bytes text = BYTES_EMPTY;
        if (i == 0 && !col->present)
            text = key;
        else if (col->present)
            text = BYTES(r->text.data + col->text_at, col->text_len);
        st = cli_csv_write(out, i == 0, text, col->present && col->quote);
    }
    return st == ST_OK ? cli_csv_write_end(out, start) : st;
}

enum status cli_export_row(struct cli_export_rows *r, const struct db_row *row, struct buf *out,
                           struct err *err)
{
    return r->csv ? csv_row(r, row, out, err) : ndjson_row(r, row, out, err);
}
