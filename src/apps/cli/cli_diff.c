/* What diff shows to people: one line for each path that was set or unset. */
#include "apps/cli/cli.h"
#include "apps/cli/cli_bson.h"
#include "apps/cli/cli_out.h"
#include "model/doc/doc.h"

static enum status line(struct cli *c, const char *color, const char *what, struct bytes path)
{
    enum status st = buf_printf(&c->scratch, "%s%-5s%s  ", color, what, cli_plain(c->color));
    return st == ST_OK ? cli_text_bytes(&c->scratch, path) : st;
}

static enum status set_lines(struct cli *c, struct bytes set, struct err *e)
{
    struct cli_bson_field f;
    struct buf text = BUF_INIT;
    struct bytes name;
    size_t pos = 0, doc_pos = 0;
    enum status st = ST_OK;
    while (st == ST_OK && cli_bson_next(set, &pos, &f) == 1) {
        buf_clear(&text);
        int got = doc_next_field(set, &doc_pos, &name, &text, e);
        if (got < 0)
            st = (enum status) - got;
        if (st == ST_OK)
            st = line(c, cli_yellow(c->color), "set", f.name);
        if (st == ST_OK)
            st = buf_printf(&c->scratch, " = ");
        if (st == ST_OK)
            st = f.type == CLI_BSON_STRING ? cli_json_bytes(&c->scratch, f.value)
                 : f.type == CLI_BSON_NULL ? buf_printf(&c->scratch, "null")
                                           : buf_append(&c->scratch, text.data, text.len);
        if (st == ST_OK)
            st = buf_append_u8(&c->scratch, '\n');
    }
    buf_deinit(&text);
    return st;
}

static enum status unset_lines(struct cli *c, struct bytes unset)
{
    struct cli_bson_field f;
    size_t pos = 0;
    enum status st = ST_OK;
    while (st == ST_OK && cli_bson_next(unset, &pos, &f) == 1) {
        st = line(c, cli_red(c->color), "unset", f.value);
        if (st == ST_OK)
            st = buf_append_u8(&c->scratch, '\n');
    }
    return st;
}

int cli_diff_text(struct cli *c, const char *json)
{
    void *bson = NULL;
    size_t len = 0;
    struct cli_bson_field set, unset;
    struct err e;
    err_init(&e);
    varve_status vst = varve_json_to_bson(json, strlen(json), &bson, &len);
    if (vst != VARVE_OK)
        return cli_fail(c, vst, "diff");
    struct bytes doc = BYTES(bson, len);
    int code = CLI_OK;
    if (cli_bson_find(doc, BYTES_LIT("set"), &set) == 1 &&
        cli_bson_find(doc, BYTES_LIT("unset"), &unset) == 1) {
        enum status st = set_lines(c, set.value, &e);
        if (st == ST_OK)
            st = unset_lines(c, unset.value);
        if (st != ST_OK)
            code = cli_error(c, CLI_FAILED, "diff: %s", *e.detail ? e.detail : "out of memory");
        cli_put_scratch(c);
    } else {
        code = cli_error(c, CLI_FAILED, "diff: the library's answer has no set and unset");
    }
    varve_free(bson);
    return code;
}
