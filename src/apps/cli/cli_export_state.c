/* Taking up an export that was interrupted. */
#include "apps/cli/cli_bson.h"
#include "apps/cli/cli_export.h"
#include "apps/cli/cli_out.h"
#include "base/alloc.h"
#include "base/env/env.h"
#include "model/doc/doc.h"
#include <string.h>

enum { NOTE_BYTES_MAX = 64 * 1024 };

void cli_export_note_deinit(struct cli_export_note *n)
{
    mem_free(n->collection);
    mem_free(n->key_field);
    mem_free(n->at);
    *n = (struct cli_export_note){0};
}

enum status cli_export_note_write(const char *path, const struct cli_export_note *n,
                                  struct err *err)
{
    struct buf b = BUF_INIT;
    enum status st;
    if ((st = buf_printf(&b, "{\"collection\":")) == ST_OK &&
        (st = cli_json_bytes(&b, BYTES_STR(n->collection))) == ST_OK &&
        (st = buf_printf(&b, ",\"key\":")) == ST_OK &&
        (st = cli_json_bytes(&b, BYTES_STR(n->key_field))) == ST_OK &&
        (st = buf_printf(&b, ",\"at\":")) == ST_OK &&
        (st = cli_json_bytes(&b, BYTES_STR(n->at))) == ST_OK)
        st = buf_printf(&b, ",\"format\":\"%s\",\"canonical\":%s%s}\n", n->csv ? "csv" : "ndjson",
                        n->canonical ? "true" : "false", n->over ? ",\"over\":true" : "");
    st = st == ST_OK ? env_write_file(env_linux(), path, buf_bytes(&b), err)
                     : err_set(err, st, "out of memory");
    buf_deinit(&b);
    return st;
}

static char *text_field(struct bytes doc, const char *name)
{
    struct cli_bson_field f;
    if (cli_bson_find(doc, BYTES_STR(name), &f) != 1 || f.type != CLI_BSON_STRING ||
        memchr(f.value.data, 0, f.value.len))
        return NULL;
    char *copy = mem_alloc(f.value.len + 1);
    if (copy) {
        memcpy(copy, f.value.data, f.value.len);
        copy[f.value.len] = '\0';
    }
    return copy;
}

enum status cli_export_note_read(const char *path, struct cli_export_note *ret, struct err *err)
{
    struct buf b = BUF_INIT;
    void *bson = NULL;
    size_t len;
    enum status st = env_read_file(env_linux(), path, NOTE_BYTES_MAX, &b, err);
    if (st != ST_OK)
        goto out;
    struct cli_export_note n = {0};
    bool read = varve_json_to_bson((const char *)b.data, b.len, &bson, &len) == VARVE_OK;
    char *format = read ? text_field(BYTES(bson, len), "format") : NULL;
    struct cli_bson_field canonical, over;
    if (format) {
        n.collection = text_field(BYTES(bson, len), "collection");
        n.key_field = text_field(BYTES(bson, len), "key");
        n.at = text_field(BYTES(bson, len), "at");
        n.csv = strcmp(format, "csv") == 0;
        read = cli_bson_find(BYTES(bson, len), BYTES_LIT("canonical"), &canonical) == 1 &&
               canonical.type == CLI_BSON_BOOL;
        n.canonical = read && canonical.value.data[0];
        n.over = cli_bson_find(BYTES(bson, len), BYTES_LIT("over"), &over) == 1 &&
                 over.type == CLI_BSON_BOOL && over.value.data[0];
    }
    mem_free(format);
    if (read && n.collection && n.key_field && n.at) {
        *ret = n;
    } else {
        cli_export_note_deinit(&n);
        st = err_set(err, ST_INVALID_ARGUMENT, "%s is not readable as the note of an export", path);
    }
out:
    varve_free(bson);
    buf_deinit(&b);
    return st;
}

static enum status key_of_json(const struct buf *line, struct bytes key_field, struct buf *ret,
                               struct err *err)
{
    struct buf bson = BUF_INIT;
    bool around;
    enum status st = cli_json_line(buf_bytes(line), &bson, &around, err);
    buf_clear(ret);
    if (st == ST_OK)
        st = cli_json_key(buf_bytes(&bson), key_field, ret, err);
    else
        err_prefix(err, "the last line");
    buf_deinit(&bson);
    return st;
}

static enum status end_of_ndjson(struct cli_input *in, struct bytes key_field, uint64_t *ret_end,
                                 struct buf *ret_key, struct err *err)
{
    struct buf line = BUF_INIT, last = BUF_INIT;
    uint64_t end = 0;
    bool ended = true;
    int got;
    while ((got = cli_input_line(in, &line, &ended, err)) == 1 && ended) {
        struct buf swap = last;
        last = line;
        line = swap;
        end = in->offset;
    }
    enum status st = got < 0 ? (enum status) - got : ST_OK;
    if (st == ST_OK && end)
        st = key_of_json(&last, key_field, ret_key, err);
    if (st == ST_OK)
        *ret_end = end;
    buf_deinit(&line);
    buf_deinit(&last);
    return st;
}

/* The key is the first column; the heading counts as a row without a key. A torn row may look
 * malformed: it is the last. */
static enum status end_of_csv(struct cli_input *in, uint64_t *ret_end, struct buf *ret_key,
                              struct err *err)
{
    struct cli_csv csv;
    uint64_t end = 0;
    bool heading = true;
    int got;
    cli_csv_init(&csv, in);
    enum status st = ST_OK;
    while (st == ST_OK && (got = cli_csv_next(&csv, err)) != 0) {
        if (got < 0 && got != -(int)ST_INVALID_ARGUMENT && !csv.torn) {
            st = (enum status) - got;
        } else if (got < 0 || !csv.ended) {
            break;
        } else {
            struct bytes key = cli_csv_field(&csv, 0);
            buf_clear(ret_key);
            st = heading ? ST_OK : buf_append(ret_key, key.data, key.len);
            heading = false;
            end = in->offset;
        }
    }
    if (st == ST_OK)
        *ret_end = ret_key->len ? end : 0; /* the heading alone is written anew */
    cli_csv_deinit(&csv);
    return st;
}

enum status cli_export_find_end(const char *path, struct bytes key_field, bool csv,
                                uint64_t *ret_end, struct buf *ret_key, struct err *err)
{
    struct cli_input in;
    enum status st = cli_input_open(&in, path, err);
    if (st != ST_OK)
        return st;
    st = csv ? end_of_csv(&in, ret_end, ret_key, err)
             : end_of_ndjson(&in, key_field, ret_end, ret_key, err);
    cli_input_deinit(&in);
    return st;
}
