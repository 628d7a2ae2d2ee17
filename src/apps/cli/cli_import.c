/* import: rows in batches, and with each batch the place behind its last row, all or nothing. */
#include "apps/cli/cli_import_stage.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_time.h"
#include <string.h>
#include <strings.h>

enum {
    BATCH_DEFAULT = 1000,
    BATCH_MAX = 100000,
    ERRORS_SHOWN = 20,
    RATE_MIN_MS = 100, /* over less time a rate says nothing */
};

static int no_memory(struct import *im)
{
    return cli_error(im->c, CLI_FAILED, "out of memory");
}

/* ---- options ---- */

static int parse_options(struct import *im)
{
    const struct cli_args *a = im->a;
    uint64_t batch = BATCH_DEFAULT;
    const char *on_error = cli_has(a, OPT_ON_ERROR) ? a->value[OPT_ON_ERROR] : "stop";
    int code = cli_number_arg(im->c, a, OPT_BATCH, &batch);
    if (code != CLI_OK)
        return code;
    if (batch < 1 || batch > BATCH_MAX)
        return cli_usage(im->c, a, "--batch: from 1 to 100000");
    im->batch_max = (size_t)batch;
    im->skip_errors = strcmp(on_error, "skip") == 0;
    if (!im->skip_errors && strcmp(on_error, "stop") != 0)
        return cli_usage(im->c, a, "--on-error: '%s' is not stop or skip", on_error);
    if (cli_has(a, OPT_KEY) && !*a->value[OPT_KEY])
        return cli_usage(im->c, a, "--key: the field's name is empty");
    if (strchr(im->collection, '/') || !*im->collection)
        return cli_usage(im->c, a, "'%s' is no name of a collection", im->collection);
    if (cli_hidden(im->collection))
        return cli_usage(im->c, a, "%s* is where the command keeps its own records",
                         CLI_HIDDEN_PREFIX);
    im->changed_only = cli_has(a, OPT_CHANGED_ONLY);
    return cli_write_args(im->c, a, &im->o);
}

int cli_format_arg(struct cli *c, const struct cli_args *a, const char *path, bool *ret)
{
    const char *format = cli_has(a, OPT_FORMAT) ? a->value[OPT_FORMAT] : NULL;
    size_t len = path ? strlen(path) : 0;
    if (!format)
        format = len > 4 && strcasecmp(path + len - 4, ".csv") == 0 ? "csv" : "ndjson";
    *ret = strcmp(format, "csv") == 0;
    if (!*ret && strcmp(format, "ndjson") != 0)
        return cli_usage(c, a, "--format: '%s' is not ndjson or csv", format);
    return CLI_OK;
}

static int open_rows(struct import *im)
{
    const struct cli_args *a = im->a;
    struct err e;
    bool csv;
    err_init(&e);
    int code = cli_format_arg(im->c, a, im->path, &csv);
    if (code != CLI_OK)
        return code;
    const char *key = cli_has(a, OPT_KEY) ? a->value[OPT_KEY] : CLI_KEY_FIELD;
    if (cli_rows_open(&im->rows, im->path, csv, BYTES_STR(key), &e) != ST_OK)
        return cli_signalled() ? cli_stop_code(im->c)
                               : cli_error(im->c, CLI_FAILED, "%s", e.detail);
    im->rows.envelope = true;
    im->rows.drop_key = cli_has(a, OPT_DROP_KEY) || !cli_has(a, OPT_KEY);
    im->rows.infer = cli_has(a, OPT_INFER);
    if (cli_input_id(&im->rows.in, &im->id, &e) != ST_OK)
        return cli_error(im->c, CLI_FAILED, "%s: %s", im->path, e.detail);
    if (!im->id.known && cli_has(a, OPT_RESUME))
        return cli_usage(im->c, a, "--resume needs a file: a pipe cannot be taken up again");
    if (im->id.known && cli_import_key(im->collection, &im->id, &im->state_key) != ST_OK)
        return no_memory(im);
    return CLI_OK;
}

/* ---- taking up an earlier run ---- */

static int take_up(struct import *im, const struct db_row *row)
{
    struct err e;
    struct cli_import_state s;
    err_init(&e);
    bool resume = cli_has(im->a, OPT_RESUME);
    enum status st =
        cli_import_decode(row->value, &im->id, im->rows.key_field, im->rows.csv, &s, &e);
    if (st != ST_OK)
        return resume ? cli_error(im->c, CLI_USAGE, "--resume: %s", e.detail) : CLI_OK;
    if (!resume) {
        if (!s.done)
            cli_note(im->c, im->a,
                     "an earlier import of this file stopped before line %llu; this one begins at "
                     "the start (--resume goes on there)",
                     (unsigned long long)s.line);
        return CLI_OK;
    }
    if (cli_input_seek(&im->rows.in, s.offset, s.line, &e) != ST_OK)
        return cli_error(im->c, CLI_FAILED, "%s: %s", im->path, e.detail);
    im->state = s;
    im->start_rows = s.rows + s.unchanged + s.skipped;
    if (s.done)
        cli_note(im->c, im->a, "this file was imported in full already");
    else
        cli_note(im->c, im->a, "going on at line %llu", (unsigned long long)s.line);
    return CLI_OK;
}

static int find_earlier(struct import *im)
{
    im->state = (struct cli_import_state){.offset = im->rows.in.offset, .line = im->rows.in.line};
    if (!im->id.known)
        return CLI_OK;
    const struct db_row *row;
    struct db *db = im->c->db;
    varve_status st = db->read->get(db, CLI_IMPORTS, buf_bytes(&im->state_key), NULL, &row);
    if (st == VARVE_NOT_FOUND)
        return CLI_OK;
    if (st == VARVE_PERMISSION_DENIED && !cli_has(im->a, OPT_RESUME)) {
        cli_note(im->c, im->a,
                 "--resume will not be possible: that takes the grant write:" CLI_IMPORTS);
        im->id.known = false;
        return CLI_OK;
    }
    if (st != VARVE_OK)
        return cli_fail(im->c, st, "reading " CLI_IMPORTS);
    im->mark_version = row->version;
    return take_up(im, row);
}

/* ---- the run ---- */

static uint64_t rows_read(const struct import *im)
{
    return im->state.rows + im->state.unchanged + im->state.skipped + im->stage->n - im->start_rows;
}

static void skip_row(struct import *im, const char *why)
{
    if (im->state.skipped++ < ERRORS_SHOWN) {
        cli_progress_hide(&im->progress);
        fputs("skipped: ", im->c->err);
        cli_print_message(im->c->err, why);
        fputc('\n', im->c->err);
    }
}

static int bad_row(struct import *im, enum status st, const struct err *e)
{
    bool of_row = st == ST_INVALID_ARGUMENT || st == ST_TOO_LARGE;
    if (of_row && im->skip_errors) {
        skip_row(im, e->detail);
        return CLI_OK;
    }
    int code = cli_import_flush(im, false);
    if (code == CLI_OK)
        code = cli_import_settle(im);
    if (code != CLI_OK)
        return code;
    cli_progress_end(&im->progress);
    cli_error(im->c, CLI_FAILED, "%s: %s", im->path, e->detail);
    if (of_row)
        fprintf(im->c->err, "All rows before it are imported.%s\n",
                im->id.known ? " --resume --on-error skip goes on behind it." : "");
    else if (st == ST_CORRUPT) /* of the file: what is behind cannot be told, nor skipped */
        fprintf(im->c->err, "All rows before it are imported: %llu.\n",
                (unsigned long long)im->state.rows + im->state.unchanged);
    return CLI_FAILED;
}

static int run(struct import *im)
{
    struct cli_row row = {0};
    struct err e;
    int code = CLI_OK, got = 1;
    err_init(&e);
    while (code == CLI_OK && got != 0 && !cli_signalled()) {
        got = cli_rows_next(&im->rows, &row, &e);
        if (got == 1)
            code = cli_import_stage(im, &row);
        else if (got < 0 && cli_signalled())
            break;
        else if (got < 0)
            code = bad_row(im, (enum status) - got, &e);
        if (code != CLI_OK)
            break;
        /* Only now: a batch that stage() wrote because of this row must not count it. */
        im->state.offset = im->rows.in.offset;
        im->state.line = im->rows.in.line;
        if (rows_read(im) % 16 != 0)
            continue;
        im->c->db->write->step(im->c->db);
        cli_progress_update(&im->progress, im->rows.in.offset, im->id.size, rows_read(im),
                            cli_mono_ms());
    }
    buf_deinit(&row.key);
    buf_deinit(&row.value);
    if (code != CLI_OK) {
        (void)im->c->db->write->settle(im->c->db); /* what it says came after what was told */
        return code;
    }
    code = cli_import_flush(im, got == 0);
    if (code == CLI_OK)
        code = cli_import_settle(im);
    cli_progress_end(&im->progress);
    if (code == CLI_OK && got != 0) {
        code = CLI_SIGNALLED + SIGINT;
        cli_error(im->c, code, "stopped before line %llu; everything before it is imported%s",
                  (unsigned long long)im->state.line,
                  im->id.known ? ", and --resume goes on there" : "");
        code = cli_stop_code(im->c);
    }
    return code;
}

static int tell(struct import *im, const struct cli_import_state *start, uint64_t ms)
{
    struct cli *c = im->c;
    uint64_t rows = im->state.rows - start->rows, same = im->state.unchanged - start->unchanged;
    uint64_t skipped = im->state.skipped - start->skipped, all = rows + same + skipped;
    uint64_t rate = all * 1000 / (ms ? ms : 1);
    enum status st;
    if (cli_has(im->a, OPT_JSON)) {
        st = buf_printf(&c->scratch,
                        "{\"rows\":%llu,\"unchanged\":%llu,\"skipped\":%llu,\"ms\":%llu,"
                        "\"rows_per_s\":%llu}\n",
                        (unsigned long long)rows, (unsigned long long)same,
                        (unsigned long long)skipped, (unsigned long long)ms,
                        (unsigned long long)rate);
    } else if (cli_has(im->a, OPT_QUIET)) {
        return CLI_OK;
    } else {
        char n[CLI_NUMBER_TEXT_MAX], per[CLI_NUMBER_TEXT_MAX], took[CLI_TIME_TEXT_MAX];
        cli_count_format(rows, n);
        cli_count_format(rate, per);
        cli_duration_format(ms, took);
        st = buf_printf(&c->scratch, "%s row%s imported in %s", n, rows == 1 ? "" : "s", took);
        if (st == ST_OK && ms >= RATE_MIN_MS)
            st = buf_printf(&c->scratch, " (%s rows/s)", per);
        cli_count_format(same, n);
        if (st == ST_OK && im->changed_only)
            st = buf_printf(&c->scratch, ", %s unchanged", n);
        cli_count_format(skipped, n);
        if (st == ST_OK && skipped)
            st = buf_printf(&c->scratch, ", %s skipped", n);
        if (st == ST_OK)
            st = buf_append_u8(&c->scratch, '\n');
    }
    if (st != ST_OK)
        return no_memory(im);
    cli_put_scratch(c);
    return cli_stop_code(c);
}

int cli_import(struct cli *c, const struct cli_args *a)
{
    struct import im = {.c = c, .a = a, .collection = a->arg[0], .path = a->arg[1]};
    im.rows.in.fd = -1;
    if (c->shell && strcmp(im.path, "-") == 0)
        return cli_usage(c, a, "in the shell, standard input is where the commands come from");
    int code = parse_options(&im);
    if (code != CLI_OK || (code = open_rows(&im)) != CLI_OK || (code = cli_open(c, a)) != CLI_OK ||
        (code = find_earlier(&im)) != CLI_OK)
        goto out;
    if (!cli_import_stage_init(&im)) {
        code = no_memory(&im);
        goto out;
    }
    struct cli_import_state start = im.in = im.state;
    uint64_t start_ms = cli_mono_ms();
    cli_progress_begin(&im.progress, c->err, c->err_tty, cli_has(a, OPT_PROGRESS),
                       cli_has(a, OPT_QUIET), "import", "rows", im.state.offset, start_ms);
    code = im.state.done ? CLI_OK : run(&im);
    uint64_t ms = cli_mono_ms() - start_ms;
    if (code == CLI_OK)
        code = tell(&im, &start, ms);
out:
    cli_import_stage_deinit(&im);
    cli_rows_close(&im.rows);
    buf_deinit(&im.state_key);
    return code;
}
