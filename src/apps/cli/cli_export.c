/* export: a collection at one moment, in the order of its keys, to a file or standard output. */
#include "apps/cli/cli_export.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_progress.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_BUFFER = 256 * 1024 };

struct export
{
    struct cli *c;
    const struct cli_args *a;
    const char *path; /* NULL: standard output */
    bool stream;      /* a pipe or a device: what went into it is gone, and cannot be taken up */
    struct cli_export_note note;
    char *note_path;
    varve_at at;
    struct cli_export_rows rows;
    struct buf from;   /* where a resumed export goes on */
    uint64_t start_at; /* bytes of the file kept from the earlier run */
    FILE *out;
    struct cli_progress progress;
    uint64_t total, done;
};

static int no_memory(struct cli *c)
{
    return cli_error(c, CLI_FAILED, "out of memory");
}

static int out_failed(struct export *ex, const char *what)
{
    int error = errno;
    if (ex->path)
        return cli_error(ex->c, CLI_FAILED, "%s: %s: %s", ex->path, what, strerror(error));
    ex->c->out_failed = true;
    ex->c->out_errno = error;
    return cli_stop_code(ex->c);
}

/* ---- the moment, and what an earlier run left ---- */

/* Two passes and a later --resume must see the same moment. */
static int pin_moment(struct export *ex)
{
    char text[CLI_TIME_TEXT_MAX + VARVE_VERSION_TEXT_MAX];
    if (ex->at.kind == VARVE_AT_NOW) {
        varve_version newest = {0, 0};
        varve_status st =
            ex->c->db->read->newest(ex->c->db, ex->note.collection, cli_now_ms(), &newest);
        if (st != VARVE_OK)
            return cli_fail(ex->c, st, "export");
        if (newest.hlc || newest.origin)
            ex->at = (varve_at){.kind = VARVE_AT_VERSION, .version = newest};
    }
    switch (ex->at.kind) {
    case VARVE_AT_VERSION:
        varve_version_format(ex->at.version, text);
        break;
    case VARVE_AT_TIME:
        cli_time_format(ex->at.time_ms, text);
        break;
    case VARVE_AT_SNAPSHOT:
    case VARVE_AT_NOW:
        strcpy(text, "now"); /* of an empty database; a snapshot's text is what was typed */
        break;
    }
    bool named = ex->at.kind == VARVE_AT_SNAPSHOT;
    ex->note.at = mem_strdup(named ? ex->a->value[OPT_AT] : text);
    return ex->note.at ? CLI_OK : no_memory(ex->c);
}

static int describe(struct export *ex, bool csv)
{
    const struct cli_args *a = ex->a;
    const char *key = cli_has(a, OPT_KEY) ? a->value[OPT_KEY] : CLI_KEY_FIELD;
    ex->note.csv = csv;
    ex->note.canonical = cli_has(a, OPT_CANONICAL);
    ex->note.collection = mem_strdup(a->arg[0]);
    ex->note.key_field = mem_strdup(key);
    return ex->note.collection && ex->note.key_field ? CLI_OK : no_memory(ex->c);
}

/* What the file was being made with must be what is asked for now. */
static int check_note(struct export *ex, const struct cli_export_note *earlier)
{
    const struct cli_export_note *n = &ex->note;
    const char *differs = strcmp(earlier->collection, n->collection) != 0 ? "collection"
                          : strcmp(earlier->key_field, n->key_field) != 0 ? "--key"
                          : earlier->csv != n->csv                        ? "--format"
                          : earlier->canonical != n->canonical            ? "--canonical"
                                                                          : NULL;
    if (differs)
        return cli_usage(ex->c, ex->a, "--resume: the earlier export had another %s", differs);
    return CLI_OK;
}

/* *ret_nothing: there is nothing left to do. */
static int resume(struct export *ex, bool *ret_nothing)
{
    struct err e;
    struct cli_export_note earlier = {0};
    err_init(&e);
    enum status st = cli_export_note_read(ex->note_path, &earlier, &e);
    if (st == ST_NOT_FOUND && access(ex->path, F_OK) == 0) {
        cli_note(ex->c, ex->a, "%s was exported in full already (there is no %s)", ex->path,
                 ex->note_path);
        *ret_nothing = true;
        return CLI_OK;
    }
    if (st == ST_NOT_FOUND)
        return CLI_OK;
    if (st != ST_OK)
        return cli_error(ex->c, CLI_FAILED, "--resume: %s", e.detail);
    int code = check_note(ex, &earlier);
    if (code == CLI_OK && cli_time_parse(earlier.at, cli_now_ms(), &ex->at, &e) != ST_OK)
        code = cli_error(ex->c, CLI_FAILED, "%s: %s", ex->note_path, e.detail);
    if (code == CLI_OK && !earlier.over && access(ex->path, F_OK) == 0 &&
        cli_export_find_end(ex->path, BYTES_STR(ex->note.key_field), ex->note.csv, &ex->start_at,
                            &ex->from, &e) != ST_OK)
        code = cli_error(ex->c, CLI_FAILED, "--resume: %s: %s", ex->path, e.detail);
    if (code == CLI_OK) {
        ex->note.at = earlier.at; /* a snapshot's name lives there */
        earlier.at = NULL;
    }
    cli_export_note_deinit(&earlier);
    if (code == CLI_OK && ex->from.len && buf_append_u8(&ex->from, 0) != ST_OK)
        code = no_memory(ex->c); /* the next possible key */
    return code;
}

/* ---- the file ---- */

static int write_note(struct export *ex, bool over)
{
    struct err e;
    err_init(&e);
    ex->note.over = over;
    return cli_export_note_write(ex->note_path, &ex->note, &e) == ST_OK
               ? CLI_OK
               : cli_error(ex->c, CLI_FAILED, "%s", e.detail);
}

/* Rows of an earlier export must not be taken for rows of this one, whatever comes between: until they
 * are surely gone the note says that they may be there. */
static int open_file(struct export *ex)
{
    struct stat at;
    ex->out = ex->c->out;
    if (!ex->path)
        return CLI_OK;
    bool over = !ex->stream && ex->start_at == 0 && stat(ex->path, &at) == 0 && at.st_size > 0;
    int code = ex->stream ? CLI_OK : write_note(ex, over);
    if (code != CLI_OK)
        return code;
    ex->out = NULL;
    int fd = open(ex->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return out_failed(ex, "cannot open it");
    bool at_end =
        ex->stream || (ftruncate(fd, (off_t)ex->start_at) == 0 && lseek(fd, 0, SEEK_END) >= 0);
    if (at_end && over)
        at_end = fsync(fd) == 0 || errno == EINVAL;
    code = !at_end ? out_failed(ex, "cannot write it") : over ? write_note(ex, false) : CLI_OK;
    if (code == CLI_OK && !(ex->out = fdopen(fd, "w")))
        code = out_failed(ex, "cannot write it");
    if (code != CLI_OK) {
        close(fd);
        return code;
    }
    setvbuf(ex->out, NULL, _IOFBF, FILE_BUFFER);
    return CLI_OK;
}

/* The note goes only when the file is whole and on disk. */
static int close_file(struct export *ex, int code)
{
    if (!ex->path || !ex->out)
        return code;
    bool failed =
        fflush(ex->out) != 0 || (code == CLI_OK && fsync(fileno(ex->out)) != 0 && errno != EINVAL);
    if (failed && code == CLI_OK)
        code = out_failed(ex, "cannot write it");
    if (fclose(ex->out) != 0 && code == CLI_OK)
        code = out_failed(ex, "cannot write it");
    ex->out = NULL;
    if (code == CLI_OK && !ex->stream && unlink(ex->note_path) != 0)
        code = cli_error(ex->c, CLI_FAILED, "%s: %s", ex->note_path, strerror(errno));
    return code;
}

/* ---- the passes ---- */

typedef int (*pass_fn)(struct export *ex, const struct db_row *row);

static int pass(struct export *ex, bool keys_only, pass_fn fn)
{
    varve_scan_options o = {.size = sizeof o, .keys_only = keys_only, .at = ex->at};
    struct db_rows *rows = NULL;
    const struct db_row *row;
    int got = 0, code = CLI_OK;
    o.from = (varve_bytes){ex->from.data, ex->from.len};
    varve_status st = ex->c->db->read->scan(ex->c->db, ex->note.collection, &o, &rows);
    if (st != VARVE_OK)
        return cli_fail(ex->c, st, "export");
    while (code == CLI_OK && !cli_stopped(ex->c) && (got = db_next(rows, &row)) == 1)
        code = fn(ex, row);
    db_rows_close(rows);
    if (code == CLI_OK && got < 0)
        code = cli_fail(ex->c, (varve_status)-got, "export");
    return code == CLI_OK ? cli_stop_code(ex->c) : code;
}

static int pass_count(struct export *ex, const struct db_row *row)
{
    (void)row;
    ex->total++;
    return CLI_OK;
}

static int pass_columns(struct export *ex, const struct db_row *row)
{
    struct err e;
    err_init(&e);
    ex->total++;
    if (cli_export_note_columns(&ex->rows, row, &e) != ST_OK)
        return cli_error(ex->c, CLI_FAILED, "export: %s", *e.detail ? e.detail : "out of memory");
    return CLI_OK;
}

static int write_scratch(struct export *ex)
{
    struct buf *b = &ex->c->scratch;
    bool ok = fwrite(b->data, 1, b->len, ex->out) == b->len;
    buf_clear(b);
    return ok ? CLI_OK : out_failed(ex, "cannot write it");
}

static int pass_write(struct export *ex, const struct db_row *row)
{
    struct err e;
    err_init(&e);
    if (cli_export_row(&ex->rows, row, &ex->c->scratch, &e) != ST_OK) {
        buf_clear(&ex->c->scratch);
        return cli_error(ex->c, CLI_FAILED, "export: %s", *e.detail ? e.detail : "out of memory");
    }
    if (++ex->done % 64 == 0)
        cli_progress_update(&ex->progress, ex->done, ex->total, ex->done, cli_mono_ms());
    return write_scratch(ex);
}

/* The columns are those of the whole collection, so that a resumed file keeps its heading. */
static int prepare(struct export *ex)
{
    struct buf from = ex->from;
    bool shows_progress = !ex->progress.off;
    if (!ex->note.csv)
        return shows_progress ? pass(ex, true, pass_count) : CLI_OK;
    ex->from = BUF_INIT;
    int code = pass(ex, false, pass_columns);
    ex->from = from;
    return code;
}

static int run(struct export *ex)
{
    int code = prepare(ex);
    if (code != CLI_OK || (code = open_file(ex)) != CLI_OK)
        return code;
    if (ex->note.csv && ex->start_at == 0) {
        if (cli_export_heading(&ex->rows, &ex->c->scratch) != ST_OK)
            code = no_memory(ex->c);
        else
            code = write_scratch(ex);
    }
    if (code == CLI_OK)
        code = pass(ex, false, pass_write);
    cli_progress_end(&ex->progress);
    code = close_file(ex, code);
    if (code > CLI_SIGNALLED && ex->path && !ex->stream)
        cli_note(ex->c, ex->a, "stopped; --resume goes on behind the last whole row");
    return code;
}

static int tell(struct export *ex, uint64_t ms)
{
    char n[CLI_NUMBER_TEXT_MAX], per[CLI_NUMBER_TEXT_MAX], took[CLI_TIME_TEXT_MAX];
    uint64_t rate = ex->done * 1000 / (ms ? ms : 1);
    if (!ex->path)
        return CLI_OK; /* the rows themselves are the answer */
    if (cli_has(ex->a, OPT_JSON)) {
        if (buf_printf(&ex->c->scratch, "{\"rows\":%llu,\"ms\":%llu,\"rows_per_s\":%llu}\n",
                       (unsigned long long)ex->done, (unsigned long long)ms,
                       (unsigned long long)rate) != ST_OK)
            return no_memory(ex->c);
        cli_put_scratch(ex->c);
        return cli_stop_code(ex->c);
    }
    cli_count_format(ex->done, n);
    cli_count_format(rate, per);
    cli_duration_format(ms, took);
    const char *s = ex->done == 1 ? "" : "s";
    if (ms < 100) /* over so little time a rate says nothing */
        cli_note(ex->c, ex->a, "%s row%s exported to %s in %s", n, s, ex->path, took);
    else
        cli_note(ex->c, ex->a, "%s row%s exported to %s in %s (%s rows/s)", n, s, ex->path, took,
                 per);
    return CLI_OK;
}

static int begin(struct export *ex, bool *ret_nothing)
{
    struct cli *c = ex->c;
    const struct cli_args *a = ex->a;
    struct stat at;
    bool csv;
    ex->stream =
        ex->path && stat(ex->path, &at) == 0 && !S_ISREG(at.st_mode) && !S_ISDIR(at.st_mode);
    int code = cli_format_arg(c, a, ex->path, &csv);
    if (code != CLI_OK || (code = cli_at_arg(c, a, &ex->at)) != CLI_OK ||
        (code = describe(ex, csv)) != CLI_OK)
        return code;
    if (cli_has(a, OPT_RESUME) && (!ex->path || ex->stream))
        return cli_usage(c, a, "--resume needs a FILE%s",
                         ex->path ? ": a pipe cannot be taken up again" : "");
    if (cli_has(a, OPT_RESUME) && cli_has(a, OPT_AT))
        return cli_usage(c, a,
                         "--resume keeps to the moment of the earlier export; leave --at out");
    if (ex->path) {
        struct buf name = BUF_INIT;
        if (buf_printf(&name, "%s.varve-export", ex->path) != ST_OK || !buf_cstr(&name)) {
            buf_deinit(&name);
            return no_memory(c);
        }
        size_t len;
        ex->note_path = (char *)buf_steal(&name, &len);
    }
    if ((code = cli_open(c, a)) != CLI_OK)
        return code;
    if (cli_has(a, OPT_RESUME))
        code = resume(ex, ret_nothing);
    if (code == CLI_OK && !*ret_nothing && !ex->note.at)
        code = pin_moment(ex);
    return code;
}

int cli_export(struct cli *c, const struct cli_args *a)
{
    struct export ex = {.c = c, .a = a};
    bool nothing = false;
    if (a->nargs > 1 && strcmp(a->arg[1], "-") != 0)
        ex.path = a->arg[1];
    int code = begin(&ex, &nothing);
    if (code == CLI_OK && !nothing) {
        uint64_t start_ms = cli_mono_ms();
        ex.rows = (struct cli_export_rows){.key_field = BYTES_STR(ex.note.key_field),
                                           .csv = ex.note.csv,
                                           .canonical = ex.note.canonical,
                                           .envelope = !cli_has(a, OPT_KEY)};
        cli_progress_begin(&ex.progress, c->err, c->err_tty, cli_has(a, OPT_PROGRESS),
                           cli_has(a, OPT_QUIET), "export", "rows", 0, start_ms);
        code = run(&ex);
        if (code == CLI_OK)
            code = tell(&ex, cli_mono_ms() - start_ms);
    }
    cli_export_rows_deinit(&ex.rows);
    cli_export_note_deinit(&ex.note);
    buf_deinit(&ex.from);
    mem_free(ex.note_path);
    return code;
}
