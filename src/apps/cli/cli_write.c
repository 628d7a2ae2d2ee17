/* put, delete, restore */
#include "apps/cli/cli.h"
#include "apps/cli/cli_input.h"
#include "apps/cli/cli_out.h"
#include <string.h>

/* One more than the library's limit, so that it is the library that names it. */
enum { VALUE_READ_MAX = 16 * 1024 * 1024 + 1, JSON_READ_MAX = 128 * 1024 * 1024 };

static int read_all(struct cli *c, const char *path, size_t max, struct buf *ret)
{
    struct cli_input in;
    struct err e;
    int got = 0;
    err_init(&e);
    enum status st = cli_input_open(&in, path, &e);
    if (st != ST_OK)
        return cli_error(c, CLI_FAILED, "%s", e.detail);
    in.stopped = cli_signalled;
    while (st == ST_OK && ret->len < max && (got = cli_input_fill(&in, &e)) == 1) {
        size_t n = in.len < max - ret->len ? in.len : max - ret->len;
        st = buf_append(ret, in.chunk, n);
    }
    cli_input_deinit(&in);
    if (cli_signalled()) /* what was read may be a part of it */
        return cli_stop_code(c);
    if (got < 0)
        return cli_error(c, CLI_FAILED, "%s: %s", path, e.detail);
    return st == ST_OK ? CLI_OK : cli_error(c, CLI_FAILED, "out of memory");
}

/* Where the value comes from, and what it is. */
static int value_of(struct cli *c, const struct cli_args *a, struct buf *ret, varve_type *ret_type)
{
    bool file = cli_has(a, OPT_FILE), inline_value = a->nargs > 1;
    if (file && inline_value)
        return cli_usage(c, a, "the value is given twice: as VALUE and with --file");
    if (!file && !inline_value)
        return cli_usage(c, a, "the value is missing: a JSON document, '-' or --file FILE");
    if (cli_has(a, OPT_DOC) && cli_has(a, OPT_RAW))
        return cli_usage(c, a, "--doc and --raw exclude each other");
    bool raw = cli_has(a, OPT_RAW) || (file && !cli_has(a, OPT_DOC));
    *ret_type = raw ? VARVE_RAW : VARVE_JSON;
    const char *path = file ? a->value[OPT_FILE] : "-";
    if (!file && strcmp(a->arg[1], "-") != 0) {
        if (buf_append(ret, a->arg[1], strlen(a->arg[1])) != ST_OK)
            return cli_error(c, CLI_FAILED, "out of memory");
        return CLI_OK;
    }
    if (c->shell && strcmp(path, "-") == 0)
        return cli_usage(c, a, "in the shell, standard input is where the commands come from");
    return read_all(c, path, raw ? VALUE_READ_MAX : JSON_READ_MAX, ret);
}

/* `kind` is told in JSON where there is a choice; NULL: there is none. */
static int tell_version(struct cli *c, const struct cli_args *a, varve_version v, const char *kind)
{
    char text[VARVE_VERSION_TEXT_MAX];
    enum status st;
    varve_version_format(v, text);
    if (cli_has(a, OPT_JSON)) {
        st = buf_printf(&c->scratch, "{");
        if (st == ST_OK)
            st = cli_json_version(&c->scratch, "version", v);
        if (st == ST_OK && kind)
            st = buf_printf(&c->scratch, ",\"kind\":\"%s\"", kind);
        if (st == ST_OK)
            st = buf_printf(&c->scratch, "}\n");
    } else if (cli_has(a, OPT_QUIET)) {
        st = ST_OK;
    } else {
        st = buf_printf(&c->scratch, "%s%s%s\n", cli_yellow(c->color), text, cli_plain(c->color));
    }
    if (st != ST_OK)
        return cli_error(c, CLI_FAILED, "out of memory (the write was done, as version %s)", text);
    cli_put_scratch(c);
    return cli_stop_code(c);
}

static int tell_conflict(struct cli *c, const char *path, varve_version present)
{
    char text[VARVE_VERSION_TEXT_MAX], name[CLI_NAME_TEXT_MAX];
    cli_name_text(path, name);
    if (present.hlc == 0 && present.origin == 0)
        return cli_error(c, CLI_ABSENT, "%s: not written: there is no such record", name);
    varve_version_format(present, text);
    return cli_error(c, CLI_ABSENT, "%s: not written: its present version is %s", name, text);
}

static int put_value(struct cli *c, const struct cli_args *a, const struct cli_path *p,
                     varve_type type, const struct buf *value)
{
    varve_write_options o;
    varve_version expected = {0, 0}, written = {0, 0};
    varve_status st;
    bool conditional = cli_has(a, OPT_IF_ABSENT) || cli_has(a, OPT_IF_VERSION);
    int code = cli_write_args(c, a, &o);
    if (code != CLI_OK)
        return code;
    if (cli_has(a, OPT_IF_ABSENT) && cli_has(a, OPT_IF_VERSION))
        return cli_usage(c, a, "--if-absent and --if-version exclude each other");
    if (cli_has(a, OPT_IF_VERSION) &&
        (code = cli_version_arg(c, a, a->value[OPT_IF_VERSION], &expected)) != CLI_OK)
        return code;
    if (type == VARVE_JSON) { /* a document that is none shall not make a folder */
        void *bson = NULL;
        size_t bson_len;
        const char *json = value->len ? (const char *)value->data : "";
        st = varve_json_to_bson(json, value->len, &bson, &bson_len);
        varve_free(bson);
        if (st == VARVE_INVALID_ARGUMENT) {
            code = cli_fail_lib(c, st, "the value is not a JSON document");
            fprintf(c->err, "--raw stores it as bytes.\n");
            return code;
        }
        if (st != VARVE_OK)
            return cli_fail_lib(c, st, a->arg[0]);
    }
    if ((code = cli_open(c, a)) != CLI_OK)
        return code;
    struct db_put put = {p->collection, buf_bytes(&p->key), buf_bytes(value), type};
    st = c->db->write->put(c->db, &put, conditional ? &expected : NULL, &o, &written);
    if (st == VARVE_PRECONDITION_FAILED && conditional)
        return tell_conflict(c, a->arg[0], written);
    return st == VARVE_OK ? tell_version(c, a, written, NULL) : cli_fail(c, st, a->arg[0]);
}

int cli_put(struct cli *c, const struct cli_args *a)
{
    struct cli_path p;
    struct buf value = BUF_INIT;
    varve_type type;
    int code = cli_path_parse(c, a, a->arg[0], true, &p);
    if (code != CLI_OK)
        return code;
    code = value_of(c, a, &value, &type);
    if (code == CLI_OK)
        code = put_value(c, a, &p, type, &value);
    buf_deinit(&value);
    cli_path_deinit(&p);
    return code;
}

int cli_delete(struct cli *c, const struct cli_args *a)
{
    struct cli_path p;
    varve_write_options o;
    varve_version expected = {0, 0}, written = {0, 0};
    int code = cli_path_parse(c, a, a->arg[0], true, &p);
    if (code != CLI_OK)
        return code;
    if ((code = cli_write_args(c, a, &o)) != CLI_OK)
        goto out;
    if (cli_has(a, OPT_IF_VERSION) &&
        (code = cli_version_arg(c, a, a->value[OPT_IF_VERSION], &expected)) != CLI_OK)
        goto out;
    if ((code = cli_open(c, a)) != CLI_OK)
        goto out;
    varve_status st =
        c->db->write->erase(c->db, p.collection, buf_bytes(&p.key),
                            cli_has(a, OPT_IF_VERSION) ? &expected : NULL, &o, &written);
    char name[CLI_NAME_TEXT_MAX];
    cli_name_text(a->arg[0], name);
    if (st == VARVE_PRECONDITION_FAILED)
        code =
            cli_error(c, CLI_ABSENT, "%s: not deleted: its present version is another one", name);
    else
        code = st == VARVE_OK ? tell_version(c, a, written, NULL) : cli_fail(c, st, a->arg[0]);
out:
    cli_path_deinit(&p);
    return code;
}

/* What a restore has written: a delete, when there was nothing at that time. */
static int tell_restored(struct cli *c, const struct cli_args *a, const struct cli_path *p,
                         varve_version written)
{
    varve_at at = {.kind = VARVE_AT_VERSION, .version = written};
    const struct db_row *v;
    varve_status st = c->db->read->get(c->db, p->collection, buf_bytes(&p->key), &at, &v);
    bool deleted = st == VARVE_NOT_FOUND;
    if (st != VARVE_OK && !deleted)
        return cli_fail(c, st, a->arg[0]);
    int code = tell_version(c, a, written, deleted ? "delete" : "put");
    if (code == CLI_OK && deleted && !cli_has(a, OPT_JSON)) {
        char name[CLI_NAME_TEXT_MAX];
        cli_name_text(a->arg[0], name);
        cli_note(c, a, "%s: deleted: it did not exist at %s", name, a->value[OPT_AT]);
    }
    return code;
}

int cli_restore(struct cli *c, const struct cli_args *a)
{
    struct cli_path p;
    varve_write_options o;
    varve_version written;
    varve_at at;
    if (!cli_has(a, OPT_AT))
        return cli_usage(c, a, "restore needs --at WHEN: the moment to go back to");
    int code = cli_path_parse(c, a, a->arg[0], true, &p);
    if (code != CLI_OK)
        return code;
    if ((code = cli_write_args(c, a, &o)) != CLI_OK || (code = cli_at_arg(c, a, &at)) != CLI_OK ||
        (code = cli_open(c, a)) != CLI_OK)
        goto out;
    varve_status st =
        c->db->write->restore(c->db, p.collection, buf_bytes(&p.key), &at, &o, &written);
    code = st == VARVE_OK ? tell_restored(c, a, &p, written) : cli_fail(c, st, a->arg[0]);
out:
    cli_path_deinit(&p);
    return code;
}
