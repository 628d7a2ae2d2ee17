/* get, scan, log, diff */
#include "apps/cli/cli.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_time.h"
#include <string.h>

static int no_memory(struct cli *c)
{
    return cli_error(c, CLI_FAILED, "out of memory");
}

/* {"collection":...,"key":...,"version":...,"time":...,"writer":...,"type":...,"value":...} */
static enum status envelope(struct cli *c, const struct cli_path *p, const struct db_row *v,
                            bool canonical, struct err *e)
{
    struct buf *b = &c->scratch;
    enum status st;
    varve_type type = v->type;
    if ((st = buf_printf(b, "{\"collection\":")) != ST_OK ||
        (st = cli_json_bytes(b, BYTES_STR(p->collection))) != ST_OK ||
        (st = buf_printf(b, ",\"key\":")) != ST_OK ||
        (st = cli_json_bytes(b, buf_bytes(&p->key))) != ST_OK ||
        (st = buf_append_u8(b, ',')) != ST_OK ||
        (st = cli_json_version(b, "version", v->version)) != ST_OK ||
        (st = buf_printf(b, ",\"writer\":")) != ST_OK ||
        (st = cli_json_bytes(b, v->writer)) != ST_OK)
        return err_set(e, st, "out of memory");
    if (v->expires_ms) {
        char time[CLI_TIME_TEXT_MAX];
        cli_time_format(v->expires_ms, time);
        if ((st = buf_printf(b, ",\"expires\":\"%s\"", time)) != ST_OK)
            return err_set(e, st, "out of memory");
    }
    st = buf_printf(b, ",\"type\":\"%s\",\"value\":", type == VARVE_DOC ? "document" : "raw");
    if (st == ST_OK)
        st = cli_json_value(b, type, v->value, canonical, e);
    return st == ST_OK ? buf_printf(b, "}\n") : st;
}

static int show(struct cli *c, const struct cli_args *a, const struct cli_path *p,
                const struct db_row *v)
{
    struct bytes bytes = v->value;
    bool canonical = cli_has(a, OPT_CANONICAL);
    struct err e;
    err_init(&e);
    if (cli_has(a, OPT_JSON)) {
        enum status st = envelope(c, p, v, canonical, &e);
        if (st != ST_OK)
            return *e.detail ? cli_fail_local(c, st, &e) : no_memory(c);
        cli_put_scratch(c);
    } else if (v->type == VARVE_DOC) {
        char *json = NULL;
        varve_status vst =
            varve_bson_to_json(bytes.data, bytes.len, canonical, cli_has(a, OPT_PRETTY), &json);
        if (vst != VARVE_OK)
            return cli_fail_lib(c, vst, a->arg[0]);
        cli_put_bytes(c, BYTES_STR(json));
        cli_put_bytes(c, BYTES_LIT("\n"));
        varve_free(json);
    } else {
        cli_put_bytes(c, bytes);
        if (c->out_tty && bytes.len && bytes.data[bytes.len - 1] != '\n')
            cli_put_bytes(c, BYTES_LIT("\n")); /* or the prompt would stand behind it */
    }
    return cli_stop_code(c);
}

int cli_get(struct cli *c, const struct cli_args *a)
{
    struct cli_path p;
    varve_at at;
    const struct db_row *v;
    int code = cli_path_parse(c, a, a->arg[0], true, &p);
    if (code != CLI_OK)
        return code;
    if ((code = cli_at_arg(c, a, &at)) != CLI_OK || (code = cli_open(c, a)) != CLI_OK)
        goto out;
    varve_status st = c->db->read->get(c->db, p.collection, buf_bytes(&p.key), &at, &v);
    code = st == VARVE_OK ? show(c, a, &p, v) : cli_fail(c, st, a->arg[0]);
out:
    cli_path_deinit(&p);
    return code;
}

static enum status scan_row(struct cli *c, const struct cli_args *a, const struct db_row *row,
                            struct err *e)
{
    struct buf *b = &c->scratch;
    struct bytes key = row->key, value = row->value;
    bool keys_only = cli_has(a, OPT_KEYS_ONLY);
    enum status st;
    if (!cli_has(a, OPT_JSON)) {
        st = buf_printf(b, "%s", cli_bold(c->color && !keys_only));
        if (st == ST_OK)
            st = cli_text_bytes(b, key);
        if (st == ST_OK)
            st = buf_printf(b, "%s", cli_plain(c->color && !keys_only));
        if (st == ST_OK && !keys_only)
            st = buf_printf(b, "\t");
        if (st == ST_OK && !keys_only)
            st = row->type == VARVE_DOC
                     ? cli_json_value(b, VARVE_DOC, value, cli_has(a, OPT_CANONICAL), e)
                     : cli_text_bytes(b, value);
        return st == ST_OK ? buf_append_u8(b, '\n') : st;
    }
    char version[VARVE_VERSION_TEXT_MAX];
    varve_version_format(row->version, version);
    if ((st = buf_printf(b, "{\"key\":")) != ST_OK || (st = cli_json_bytes(b, key)) != ST_OK ||
        (st = buf_printf(b, ",\"version\":\"%s\"", version)) != ST_OK)
        return st;
    if (!keys_only) {
        if ((st = buf_printf(b, ",\"value\":")) != ST_OK)
            return st;
        st = cli_json_value(b, row->type, value, cli_has(a, OPT_CANONICAL), e);
    }
    return st == ST_OK ? buf_append(b, "}\n", 2) : st;
}

/* Writes every row with `write`, and closes them; before the first, `head` (may be NULL), so that
 * none stands above nothing. */
typedef enum status (*row_fn)(struct cli *c, const struct cli_args *a, const struct db_row *row,
                              struct err *e);
typedef void (*head_fn)(struct cli *c, const struct cli_args *a);
static int all_rows(struct cli *c, const struct cli_args *a, struct db_rows *rows, row_fn write,
                    head_fn head, const char *what, uint64_t *ret_rows)
{
    const struct db_row *row;
    int got = 0, code = CLI_OK;
    struct err e;
    err_init(&e);
    while (!cli_stopped(c) && (got = db_next(rows, &row)) == 1) {
        enum status st = write(c, a, row, &e);
        if (st != ST_OK) {
            code = *e.detail ? cli_fail_local(c, st, &e) : no_memory(c);
            break;
        }
        if (*ret_rows == 0 && head)
            head(c, a);
        if (!cli_put_scratch(c))
            break;
        ++*ret_rows;
    }
    if (code == CLI_OK && got < 0)
        code = cli_fail(c, (varve_status)-got, what);
    db_rows_close(rows);
    return code == CLI_OK ? cli_stop_code(c) : code;
}

int cli_scan(struct cli *c, const struct cli_args *a)
{
    struct cli_path p;
    struct buf prefix = BUF_INIT, from = BUF_INIT, to = BUF_INIT;
    varve_scan_options o = {.size = sizeof o,
                            .reverse = cli_has(a, OPT_REVERSE),
                            .keys_only = cli_has(a, OPT_KEYS_ONLY)};
    uint64_t rows = 0;
    int code = cli_path_parse(c, a, a->arg[0], false, &p);
    if (code != CLI_OK)
        return code;
    if (p.key.len && cli_has(a, OPT_PREFIX)) {
        code = cli_usage(c, a, "the prefix stands both in '%s' and in --prefix", a->arg[0]);
        goto out;
    }
    const struct {
        enum cli_opt opt;
        struct buf *ret;
    } texts[] = {{OPT_PREFIX, &prefix}, {OPT_FROM, &from}, {OPT_TO, &to}};
    for (size_t i = 0; i < 3; i++)
        if (cli_has(a, texts[i].opt) &&
            (code = cli_bytes_arg(c, a, a->value[texts[i].opt], texts[i].ret)) != CLI_OK)
            goto out;
    struct buf *in_force = p.key.len ? &p.key : &prefix;
    o.prefix = (varve_bytes){in_force->data, in_force->len};
    o.from = (varve_bytes){from.data, from.len};
    o.to = (varve_bytes){to.data, to.len};
    if ((code = cli_at_arg(c, a, &o.at)) != CLI_OK ||
        (code = cli_number_arg(c, a, OPT_LIMIT, &o.limit)) != CLI_OK)
        goto out;
    if (cli_has(a, OPT_LIMIT) && o.limit == 0)
        goto out; /* to the library 0 is no limit */
    if ((code = cli_open(c, a)) != CLI_OK)
        goto out;
    struct db_rows *found = NULL;
    varve_status st = c->db->read->scan(c->db, p.collection, &o, &found);
    code = st == VARVE_OK ? all_rows(c, a, found, scan_row, NULL, "scan", &rows)
                          : cli_fail(c, st, p.collection);
out:
    buf_deinit(&prefix);
    buf_deinit(&from);
    buf_deinit(&to);
    cli_path_deinit(&p);
    return code;
}

static enum status log_row_json(struct cli *c, const struct cli_args *a, const struct db_row *row,
                                struct err *e)
{
    struct buf *b = &c->scratch;
    char parent[VARVE_VERSION_TEXT_MAX] = "";
    varve_version from = row->parent;
    bool deleted = row->deleted;
    enum status st;
    if ((st = buf_printf(b, "{")) != ST_OK ||
        (st = cli_json_version(b, "version", row->version)) != ST_OK ||
        (st = buf_printf(b, ",\"writer\":")) != ST_OK ||
        (st = cli_json_bytes(b, row->writer)) != ST_OK ||
        (st = buf_printf(b, ",\"kind\":\"%s\",\"parent\":", deleted ? "delete" : "put")) != ST_OK)
        return st;
    if (from.hlc || from.origin) {
        varve_version_format(from, parent);
        st = buf_printf(b, "\"%s\"", parent);
    } else {
        st = buf_printf(b, "null");
    }
    if (st == ST_OK && row->expires_ms) {
        char time[CLI_TIME_TEXT_MAX];
        cli_time_format(row->expires_ms, time);
        st = buf_printf(b, ",\"expires\":\"%s\"", time);
    }
    if (st == ST_OK && cli_has(a, OPT_VALUES) && !deleted) {
        if ((st = buf_printf(b, ",\"value\":")) != ST_OK)
            return st;
        st = cli_json_value(b, row->type, row->value, false, e);
    }
    return st == ST_OK ? buf_append(b, "}\n", 2) : st;
}

static enum status log_row(struct cli *c, const struct cli_args *a, const struct db_row *row,
                           struct err *e)
{
    if (cli_has(a, OPT_JSON))
        return log_row_json(c, a, row, e);
    struct buf *b = &c->scratch;
    char version[VARVE_VERSION_TEXT_MAX], parent[VARVE_VERSION_TEXT_MAX] = "-",
                                          time[CLI_TIME_TEXT_MAX];
    varve_version from = row->parent;
    bool deleted = row->deleted;
    varve_version_format(row->version, version);
    cli_time_format(varve_version_time_ms(row->version), time);
    if (from.hlc || from.origin)
        varve_version_format(from, parent);
    enum status st = buf_printf(b, "%s%-16s%s  %-24s  %s%-6s%s  %-16s  ", cli_yellow(c->color),
                                version, cli_plain(c->color), time, cli_red(c->color && deleted),
                                deleted ? "delete" : "put", cli_plain(c->color && deleted), parent);
    if (st == ST_OK)
        st = cli_text_bytes(b, row->writer);
    if (st == ST_OK && cli_has(a, OPT_VALUES) && !deleted) {
        if ((st = buf_printf(b, "\n    ")) != ST_OK)
            return st;
        st = cli_text_value(b, row->type, row->value, e);
    }
    return st == ST_OK ? buf_append_u8(b, '\n') : st;
}

static void log_head(struct cli *c, const struct cli_args *a)
{
    char head[128];
    if (cli_has(a, OPT_JSON) || cli_has(a, OPT_QUIET))
        return;
    snprintf(head, sizeof head, "%s%-16s  %-24s  %-6s  %-16s  %s%s\n", cli_bold(c->color),
             "VERSION", "TIME", "KIND", "PARENT", "WRITER", cli_plain(c->color));
    cli_put_bytes(c, BYTES_STR(head));
}

int cli_log(struct cli *c, const struct cli_args *a)
{
    struct cli_path p;
    uint64_t limit = 0, rows = 0;
    struct db_rows *found = NULL;
    int code = cli_path_parse(c, a, a->arg[0], true, &p);
    if (code != CLI_OK)
        return code;
    if ((code = cli_number_arg(c, a, OPT_LIMIT, &limit)) != CLI_OK)
        goto out;
    if (cli_has(a, OPT_LIMIT) && limit == 0) {
        code = cli_usage(c, a, "--limit: at least 1");
        goto out;
    }
    if ((code = cli_open(c, a)) != CLI_OK)
        goto out;
    varve_status st = c->db->read->history(c->db, p.collection, buf_bytes(&p.key), limit, &found);
    if (st != VARVE_OK) {
        code = cli_fail(c, st, a->arg[0]);
        goto out;
    }
    code = all_rows(c, a, found, log_row, log_head, a->arg[0], &rows);
    if (code == CLI_OK && rows == 0) {
        char name[CLI_NAME_TEXT_MAX];
        cli_name_text(a->arg[0], name);
        code = cli_error(c, CLI_ABSENT, "%s: there is no such record, and there was none", name);
    }
out:
    cli_path_deinit(&p);
    return code;
}

/* A moment at which there is such a record. */
static int diff_moment(struct cli *c, const struct cli_args *a, const struct cli_path *p,
                       const char *text, varve_at *ret)
{
    struct err e;
    err_init(&e);
    if (cli_time_parse(text, cli_now_ms(), ret, &e) != ST_OK)
        return cli_usage(c, a, "%s", e.detail);
    int code = cli_open(c, a);
    if (code != CLI_OK || ret->kind == VARVE_AT_NOW || ret->kind == VARVE_AT_VERSION)
        return code;
    const struct db_row *v;
    varve_status st = c->db->read->get(c->db, p->collection, buf_bytes(&p->key), ret, &v);
    return st == VARVE_OK ? CLI_OK : cli_fail(c, st, text);
}

int cli_diff(struct cli *c, const struct cli_args *a)
{
    struct cli_path p;
    varve_at from, to;
    char *text = NULL;
    int code = cli_path_parse(c, a, a->arg[0], true, &p);
    if (code != CLI_OK)
        return code;
    if ((code = diff_moment(c, a, &p, a->arg[1], &from)) != CLI_OK ||
        (code = diff_moment(c, a, &p, a->nargs > 2 ? a->arg[2] : "now", &to)) != CLI_OK)
        goto out;
    if (from.kind == VARVE_AT_NOW) {
        code = cli_usage(c, a, "FROM is a moment of the past; put the present last");
        goto out;
    }
    varve_diff_format format = cli_has(a, OPT_PATCH) ? VARVE_DIFF_JSON_PATCH : VARVE_DIFF_PATHS;
    varve_status st =
        c->db->read->diff(c->db, p.collection, buf_bytes(&p.key), &from, &to, format, &text);
    if (st != VARVE_OK) {
        code = cli_fail(c, st, a->arg[0]);
        goto out;
    }
    if (cli_has(a, OPT_JSON) || cli_has(a, OPT_PATCH)) {
        cli_put_bytes(c, BYTES_STR(text));
        cli_put_bytes(c, BYTES_LIT("\n"));
    } else {
        code = cli_diff_text(c, text);
    }
    if (code == CLI_OK)
        code = cli_stop_code(c);
out:
    varve_free(text);
    cli_path_deinit(&p);
    return code;
}
