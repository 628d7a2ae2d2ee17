/* rows.c - a record as JSON:
 *
 *   {"key":...,"version":"...","time":"...","writer":...,"expires":"...","type":"document","value":{}}
 *
 * Keys, writers and values of type "bytes" are strings when they are UTF-8, else
 * {"$binary":{"base64":"...","subType":"00"}}. */
#include "serve/http/http_internal.h"

enum status version_json(struct buf *out, const char *name, struct version v)
{
    char text[VERSION_TEXT_MAX], time[TIME_TEXT_MAX];
    version_format(v, text);
    time_format(version_ms(v), time);
    return buf_printf(out, "\"%s\":\"%s\",\"time\":\"%s\"", name, text, time);
}

static enum status bytes_field(struct buf *out, const char *name, struct bytes b)
{
    enum status st = buf_printf(out, "\"%s\":", name);
    if (st == ST_OK)
        st = json_bytes(out, b);
    return st == ST_OK ? buf_append_u8(out, ',') : st;
}

static enum status past(struct buf *out, const struct record *r)
{
    char text[VERSION_TEXT_MAX];
    enum status st = buf_printf(out, ",\"kind\":\"%s\"", r->kind == RECORD_PUT ? "put" : "delete");
    if (st != ST_OK || version_is_none(r->parent))
        return st;
    version_format(r->parent, text);
    return buf_printf(out, ",\"parent\":\"%s\"", text);
}

static enum status value(struct buf *out, const struct record *r, bool canonical, struct err *err)
{
    bool document = r->type == RECORD_DOC;
    enum status st =
        buf_printf(out, ",\"type\":\"%s\",\"value\":", document ? "document" : "bytes");
    if (st != ST_OK)
        return st;
    return document ? doc_to_json(r->value, canonical ? DOC_JSON_CANONICAL : DOC_JSON_RELAXED,
                                  false, out, err)
                    : json_bytes(out, r->value);
}

static enum status origin(struct buf *out, const struct record *r)
{
    char time[TIME_TEXT_MAX];
    enum status st = ST_OK;
    if (r->writer.len) {
        st = json_put(out, ",\"writer\":");
        if (st == ST_OK)
            st = json_bytes(out, r->writer);
    }
    if (st == ST_OK && r->expires_ms) {
        time_format(r->expires_ms, time);
        st = buf_printf(out, ",\"expires\":\"%s\"", time);
    }
    return st;
}

enum status row_json(struct buf *out, const struct command_row *row, unsigned what, struct err *err)
{
    const struct record *r = &row->rec;
    enum status st = buf_append_u8(out, '{');
    if (st == ST_OK && what & ROW_COLLECTION)
        st = bytes_field(out, "collection", row->collection);
    if (st == ST_OK && what & ROW_KEY)
        st = bytes_field(out, "key", row->key);
    if (st == ST_OK)
        st = version_json(out, "version", r->version);
    if (st == ST_OK && what & ROW_KIND)
        st = past(out, r);
    if (st == ST_OK)
        st = origin(out, r);
    if (st == ST_OK && what & ROW_VALUE && r->kind == RECORD_PUT)
        st = value(out, r, what & ROW_CANONICAL, err);
    if (st == ST_OK && what & ROW_TOKEN) {
        st = json_put(out, ",\"token\":");
        if (st == ST_OK)
            st = json_text(out, row->token);
    }
    if (st == ST_OK)
        st = buf_append_u8(out, '}');
    return st == ST_NO_MEMORY ? err_set(err, st, "no memory for the answer") : st;
}
