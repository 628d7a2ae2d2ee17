/* How far an import is, as a document of its own. */
#include "apps/cli/cli_bson.h"
#include "apps/cli/cli_import.h"
#include "apps/cli/cli_out.h"
#include "base/hash.h"

enum status cli_import_key(const char *collection, const struct cli_file_id *id, struct buf *out)
{
    uint64_t parts[3] = {id->size, id->mtime_ns, id->head_hash};
    return buf_printf(out, "%s/%016llx", collection,
                      (unsigned long long)hash_xxh64(parts, sizeof parts, 0));
}

static enum status field_hex(struct buf *out, const char *name, uint64_t v)
{
    char text[17];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)v);
    return cli_bson_str(out, BYTES_STR(name), BYTES_STR(text));
}

static enum status field_int(struct buf *out, const char *name, uint64_t v)
{
    return cli_bson_i64(out, BYTES_STR(name), (int64_t)v);
}

enum status cli_import_encode(const struct cli_import_state *s, const struct cli_file_id *id,
                              const char *file, struct bytes key_field, bool csv, struct buf *out)
{
    size_t at;
    enum status st;
    struct bytes name = cli_is_utf8(BYTES_STR(file)) ? BYTES_STR(file) : BYTES_LIT("?");
    if ((st = cli_bson_begin(out, &at)) != ST_OK ||
        (st = cli_bson_str(out, BYTES_LIT("file"), name)) != ST_OK ||
        (st = field_int(out, "size", id->size)) != ST_OK ||
        (st = field_int(out, "mtime_ns", id->mtime_ns)) != ST_OK ||
        (st = field_hex(out, "head", id->head_hash)) != ST_OK ||
        (st = cli_bson_str(out, BYTES_LIT("key"), key_field)) != ST_OK ||
        (st = cli_bson_str(out, BYTES_LIT("format"), BYTES_STR(csv ? "csv" : "ndjson"))) != ST_OK ||
        (st = field_int(out, "offset", s->offset)) != ST_OK ||
        (st = field_int(out, "line", s->line)) != ST_OK ||
        (st = field_int(out, "rows", s->rows)) != ST_OK ||
        (st = field_int(out, "unchanged", s->unchanged)) != ST_OK ||
        (st = field_int(out, "skipped", s->skipped)) != ST_OK ||
        (st = cli_bson_bool(out, BYTES_LIT("done"), s->done)) != ST_OK)
        return st;
    return cli_bson_end(out, at);
}

static bool get_int(struct bytes doc, const char *name, uint64_t *ret)
{
    struct cli_bson_field f;
    int64_t v;
    if (cli_bson_find(doc, BYTES_STR(name), &f) != 1 || !cli_bson_int(&f, &v) || v < 0)
        return false;
    *ret = (uint64_t)v;
    return true;
}

static bool same_text(struct bytes doc, const char *name, struct bytes text)
{
    struct cli_bson_field f;
    return cli_bson_find(doc, BYTES_STR(name), &f) == 1 && f.type == CLI_BSON_STRING &&
           bytes_eq(f.value, text);
}

enum status cli_import_decode(struct bytes doc, const struct cli_file_id *id,
                              struct bytes key_field, bool csv, struct cli_import_state *ret,
                              struct err *err)
{
    struct cli_import_state s = {0};
    struct cli_bson_field done;
    uint64_t size, mtime_ns;
    if (!get_int(doc, "size", &size) || !get_int(doc, "mtime_ns", &mtime_ns) ||
        !get_int(doc, "offset", &s.offset) || !get_int(doc, "line", &s.line) ||
        !get_int(doc, "rows", &s.rows) || !get_int(doc, "unchanged", &s.unchanged) ||
        !get_int(doc, "skipped", &s.skipped) || cli_bson_find(doc, BYTES_LIT("done"), &done) != 1 ||
        done.type != CLI_BSON_BOOL)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "the record of the earlier import in " CLI_IMPORTS " is not readable");
    char head[17];
    snprintf(head, sizeof head, "%016llx", (unsigned long long)id->head_hash);
    if (size != id->size || mtime_ns != id->mtime_ns || !same_text(doc, "head", BYTES_STR(head)))
        return err_set(err, ST_INVALID_ARGUMENT, "the earlier import was of another file");
    if (!same_text(doc, "key", key_field))
        return err_set(err, ST_INVALID_ARGUMENT, "the earlier import had another --key");
    if (!same_text(doc, "format", BYTES_STR(csv ? "csv" : "ndjson")))
        return err_set(err, ST_INVALID_ARGUMENT, "the earlier import had another --format");
    s.done = done.value.data[0] != 0;
    *ret = s;
    return ST_OK;
}
