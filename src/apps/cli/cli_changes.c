/* changes and watch: the same rows, once to the end and once onwards. */
#include "apps/cli/cli.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"
#include <string.h>

/* How long watch sleeps before it looks for a signal. */
enum { WATCH_SLICE_MS = 200 };

struct feed {
    struct cli *c;
    const struct cli_args *a;
    struct db_changes o;
    struct buf prefix;
    uint64_t limit, shown;
    char *token; /* behind the last row, shown or passed over */
    bool at_end; /* nothing more was there: the rows' own token is further on */
};

static int feed_init(struct feed *f, struct cli *c, const struct cli_args *a)
{
    *f = (struct feed){.c = c, .a = a, .o.o.size = sizeof f->o.o};
    f->o.token = cli_has(a, OPT_SINCE) ? a->value[OPT_SINCE] : "";
    f->o.o.collection = cli_has(a, OPT_COLLECTION) ? a->value[OPT_COLLECTION] : NULL;
    f->o.o.values = cli_has(a, OPT_VALUES);
    if (f->o.o.collection && !*f->o.o.collection) /* for a server it would be all of them */
        return cli_usage(c, a, "--collection: the name is empty");
    int code = cli_number_arg(c, a, OPT_LIMIT, &f->limit);
    if (code != CLI_OK)
        return code;
    if (cli_has(a, OPT_LIMIT) && f->limit == 0)
        return cli_usage(c, a, "--limit: at least 1");
    if (!cli_has(a, OPT_PREFIX))
        return CLI_OK;
    if (!f->o.o.collection)
        return cli_usage(c, a, "--prefix is one of keys: it needs --collection");
    code = cli_bytes_arg(c, a, a->value[OPT_PREFIX], &f->prefix);
    f->o.o.prefix = (varve_bytes){f->prefix.data, f->prefix.len};
    return code;
}

static void feed_deinit(struct feed *f)
{
    buf_deinit(&f->prefix);
    mem_free(f->token);
}

static enum status row_json(struct feed *f, const struct db_row *row, struct err *e)
{
    struct buf *b = &f->c->scratch;
    char parent[VARVE_VERSION_TEXT_MAX];
    varve_version from = row->parent;
    bool deleted = row->deleted;
    enum status st;
    if ((st = buf_printf(b, "{\"token\":")) != ST_OK ||
        (st = cli_json_bytes(b, BYTES_STR(row->token))) != ST_OK ||
        (st = buf_printf(b, ",\"collection\":")) != ST_OK ||
        (st = cli_json_bytes(b, BYTES_STR(row->collection))) != ST_OK ||
        (st = buf_printf(b, ",\"key\":")) != ST_OK || (st = cli_json_bytes(b, row->key)) != ST_OK ||
        (st = buf_append_u8(b, ',')) != ST_OK ||
        (st = cli_json_version(b, "version", row->version)) != ST_OK ||
        (st = buf_printf(b, ",\"kind\":\"%s\"", deleted ? "delete" : "put")) != ST_OK)
        return st;
    if (from.hlc || from.origin) {
        varve_version_format(from, parent);
        st = buf_printf(b, ",\"parent\":\"%s\"", parent);
    } else {
        st = buf_printf(b, ",\"parent\":null");
    }
    if (st == ST_OK && f->o.o.values && !deleted) {
        if ((st = buf_printf(b, ",\"value\":")) != ST_OK)
            return st;
        st = cli_json_value(b, row->type, row->value, cli_has(f->a, OPT_CANONICAL), e);
    }
    return st == ST_OK ? buf_append(b, "}\n", 2) : st;
}

static enum status row_text(struct feed *f, const struct db_row *row, struct err *e)
{
    struct buf *b = &f->c->scratch;
    bool color = f->c->color, deleted = row->deleted;
    char version[VARVE_VERSION_TEXT_MAX], time[CLI_TIME_TEXT_MAX];
    varve_version_format(row->version, version);
    cli_time_format(varve_version_time_ms(row->version), time);
    enum status st = buf_printf(b, "%s%-16s%s  %-24s  %s%-6s%s  ", cli_yellow(color), version,
                                cli_plain(color), time, cli_red(color && deleted),
                                deleted ? "delete" : "put", cli_plain(color && deleted));
    if (st == ST_OK)
        st = cli_text_bytes(b, BYTES_STR(row->collection));
    if (st == ST_OK)
        st = buf_append_u8(b, '/');
    if (st == ST_OK)
        st = cli_text_bytes(b, row->key);
    if (st == ST_OK && f->o.o.values && !deleted) {
        if ((st = buf_append_u8(b, '\t')) != ST_OK)
            return st;
        st = cli_text_value(b, row->type, row->value, e);
    }
    return st == ST_OK ? buf_append_u8(b, '\n') : st;
}

static int feed_row(struct feed *f, const struct db_row *row)
{
    struct err e;
    err_init(&e);
    f->at_end = false;
    if (row->token) {
        char *token = mem_strdup(row->token);
        if (!token)
            return cli_error(f->c, CLI_FAILED, "out of memory");
        mem_free(f->token);
        f->token = token;
    }
    bool hidden = cli_hidden(row->collection) && !f->o.o.collection;
    if (hidden && !cli_has(f->a, OPT_ALL))
        return CLI_OK;
    enum status st = cli_has(f->a, OPT_JSON) ? row_json(f, row, &e) : row_text(f, row, &e);
    if (st != ST_OK)
        return *e.detail ? cli_fail_local(f->c, st, &e)
                         : cli_error(f->c, CLI_FAILED, "out of memory");
    cli_put_scratch(f->c);
    f->shown++;
    return CLI_OK;
}

static bool feed_full(const struct feed *f)
{
    return f->limit && f->shown >= f->limit;
}

/* People learn where to go on; programs have a token on each line, and where there is no line, one
 * of it alone. `place` is where the rows stand: at the end of what is visible behind all of it, also of
 * what the filter held back. */
static int tell_token(struct feed *f, const char *place)
{
    const char *token = f->token && !f->at_end ? f->token : place;
    if (!cli_has(f->a, OPT_JSON)) {
        cli_note(f->c, f->a, f->shown ? "token: %s" : "nothing new; token: %s", token);
        return CLI_OK;
    }
    if (f->shown)
        return CLI_OK;
    if (buf_printf(&f->c->scratch, "{\"token\":") != ST_OK ||
        cli_json_bytes(&f->c->scratch, BYTES_STR(token)) != ST_OK ||
        buf_printf(&f->c->scratch, "}\n") != ST_OK)
        return cli_error(f->c, CLI_FAILED, "out of memory");
    cli_put_scratch(f->c);
    return cli_stop_code(f->c);
}

int cli_changes(struct cli *c, const struct cli_args *a)
{
    struct feed f;
    struct db_rows *rows = NULL;
    const struct db_row *row;
    int got = 0;
    if (cli_has(a, OPT_FOLLOW) && c->remote)
        return cli_watch(c, a);
    if (cli_has(a, OPT_FOLLOW))
        return cli_usage(
            c, a,
            "--follow needs the server: one process owns a folder, so nothing else can "
            "write while this command has it open. 'varve serve' shares "
            "it; without it, repeat 'varve changes --since TOKEN'");
    int code = feed_init(&f, c, a);
    if (code != CLI_OK || (code = cli_open(c, a)) != CLI_OK)
        goto out;
    varve_status st = c->db->read->changes(c->db, &f.o, &rows);
    if (st != VARVE_OK) {
        code = cli_fail(c, st, "changes");
        goto out;
    }
    while (code == CLI_OK && !feed_full(&f) && !cli_stopped(c) && (got = db_next(rows, &row)) == 1)
        code = feed_row(&f, row);
    f.at_end = got == 0;
    if (code == CLI_OK && got < 0)
        code = cli_fail(c, (varve_status)-got, "changes");
    if (code == CLI_OK)
        code = cli_stop_code(c);
    if (code == CLI_OK)
        code = tell_token(&f, rows->ops->token(rows));
out:
    db_rows_close(rows);
    feed_deinit(&f);
    return code;
}

static int watch_rows(struct feed *f, struct db_rows *rows, uint64_t timeout_ms)
{
    const struct db_row *row;
    uint64_t quiet_since = cli_mono_ms();
    int code = CLI_OK;
    while (code == CLI_OK && !feed_full(f) && !cli_stopped(f->c)) {
        int got = rows->ops->next(rows, 0, &row);
        if (got == 0) {
            f->at_end = true;
            fflush(f->c->out); /* what came is seen before the wait */
            uint64_t waited = cli_mono_ms() - quiet_since;
            if (timeout_ms && waited >= timeout_ms)
                return CLI_OK;
            uint64_t left = timeout_ms ? timeout_ms - waited : WATCH_SLICE_MS;
            got =
                rows->ops->next(rows, left < WATCH_SLICE_MS ? (int64_t)left : WATCH_SLICE_MS, &row);
        }
        if (got < 0 && cli_stopped(f->c))
            return CLI_OK;
        if (got < 0)
            return cli_fail(f->c, (varve_status)-got, "watch");
        if (got == 1) {
            code = feed_row(f, row);
            quiet_since = cli_mono_ms();
        }
    }
    return code;
}

int cli_watch(struct cli *c, const struct cli_args *a)
{
    struct feed f;
    struct db_rows *rows = NULL;
    uint64_t timeout_ms = 0;
    int code = feed_init(&f, c, a);
    if (code != CLI_OK || (code = cli_duration_arg(c, a, OPT_TIMEOUT, &timeout_ms)) != CLI_OK ||
        (code = cli_open(c, a)) != CLI_OK)
        goto out;
    if (!timeout_ms && !c->remote)
        cli_note(c, a,
                 "waiting for changes of this process; other processes cannot write while it "
                 "has the folder ('varve serve' shares it). Ctrl-C ends it.");
    f.o.follow = true;
    varve_status st = c->db->read->changes(c->db, &f.o, &rows);
    if (st != VARVE_OK) {
        code = cli_fail(c, st, "watch");
        goto out;
    }
    code = watch_rows(&f, rows, timeout_ms);
    if (code == CLI_OK)
        code = tell_token(&f, rows->ops->token(rows));
    db_rows_close(rows);
    if (code == CLI_OK)
        code = cli_stop_code(c);
out:
    feed_deinit(&f);
    return code;
}
