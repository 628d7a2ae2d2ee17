/* import: rows in batches, and with each batch the place behind its last row, all or nothing. */
#include "apps/cli/cli_import.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_progress.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"
#include "base/arena.h"
#include "base/hash.h"
#include "model/doc/doc.h"
#include <string.h>
#include <strings.h>

enum {
    BATCH_DEFAULT = 1000,
    BATCH_MAX = 100000,
    BATCH_BYTES = 8 * 1024 * 1024, /* staged rows; with one largest row on top a batch stays below
                                      the library's 32 MiB */
    ERRORS_SHOWN = 20,
    RATE_MIN_MS = 100, /* over less time a rate says nothing */
};

struct staged {
    struct bytes key, value;
    varve_type type;
};

struct import {
    struct cli *c;
    const struct cli_args *a;
    const char *collection, *path;
    struct cli_rows rows;
    struct cli_file_id id;
    struct buf state_key;
    struct cli_import_state state;
    uint64_t start_rows; /* read by earlier runs */
    varve_write_options o;
    varve_batch *batch;
    size_t batch_max;
    bool changed_only, skip_errors;

    struct arena arena;
    struct staged *staged;
    size_t nstaged, staged_bytes;
    uint64_t *seen; /* hashes of the staged keys, open addressing; 0 is free */
    size_t seen_mask;
    varve_value **present; /* with changed_only: what is stored of each staged key */
    varve_key *keys;
    varve_status *statuses;
    size_t npresent;
    struct cli_progress progress;
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
        return cli_error(im->c, CLI_FAILED, "%s", e.detail);
    im->rows.in.stopped = cli_signalled;
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

static int take_up(struct import *im, const varve_value *v)
{
    struct err e;
    struct cli_import_state s;
    err_init(&e);
    bool resume = cli_has(im->a, OPT_RESUME);
    enum status st = cli_import_decode(cli_bytes(varve_value_bytes(v)), &im->id, im->rows.key_field,
                                       im->rows.csv, &s, &e);
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
    varve_value *v = varve_value_new();
    if (!v)
        return no_memory(im);
    varve_status st =
        varve_get(im->c->db, CLI_IMPORTS, im->state_key.data, im->state_key.len, NULL, v);
    int code = st == VARVE_OK          ? take_up(im, v)
               : st == VARVE_NOT_FOUND ? CLI_OK
                                       : cli_fail(im->c, st, "reading " CLI_IMPORTS);
    varve_value_free(v);
    return code;
}

/* ---- staging and writing ---- */

static bool stage_init(struct import *im)
{
    size_t slots = 16;
    while (slots < im->batch_max * 2)
        slots *= 2;
    arena_init(&im->arena, 1024 * 1024);
    im->seen_mask = slots - 1;
    im->seen = mem_zalloc(slots * sizeof *im->seen);
    im->staged = mem_alloc(im->batch_max * sizeof *im->staged);
    im->batch = varve_batch_new();
    if (!im->seen || !im->staged || !im->batch)
        return false;
    if (!im->changed_only)
        return true;
    im->present = mem_zalloc(im->batch_max * sizeof(varve_value *));
    im->keys = mem_zalloc(im->batch_max * sizeof *im->keys);
    im->statuses = mem_zalloc(im->batch_max * sizeof *im->statuses);
    return im->present && im->keys && im->statuses;
}

static void stage_deinit(struct import *im)
{
    for (size_t i = 0; i < im->npresent; i++)
        varve_value_free(im->present[i]);
    mem_free(im->present);
    mem_free(im->keys);
    mem_free(im->statuses);
    mem_free(im->seen);
    mem_free(im->staged);
    varve_batch_free(im->batch);
    arena_deinit(&im->arena);
}

static void stage_clear(struct import *im)
{
    arena_reset(&im->arena);
    memset(im->seen, 0, (im->seen_mask + 1) * sizeof *im->seen);
    im->nstaged = im->staged_bytes = 0;
}

/* A batch names a key once. Two keys with one hash only make a batch end early. */
static bool note_key(struct import *im, const struct buf *key)
{
    uint64_t hash = hash_xxh64(key->data, key->len, 0) | 1;
    size_t i = (size_t)(hash >> 1) & im->seen_mask;
    for (; im->seen[i]; i = (i + 1) & im->seen_mask)
        if (im->seen[i] == hash)
            return false;
    im->seen[i] = hash;
    return true;
}

static bool is_unchanged(const struct staged *s, const varve_value *v)
{
    struct bytes stored = cli_bytes(varve_value_bytes(v));
    if (varve_value_type(v) != s->type)
        return false;
    return bytes_eq(stored, s->value) || (s->type == VARVE_DOC && doc_equal(stored, s->value));
}

/* Takes out of the stage what is stored already. */
static varve_status drop_unchanged(struct import *im)
{
    for (size_t i = 0; i < im->nstaged; i++) {
        if (i >= im->npresent) {
            if (!(im->present[i] = varve_value_new()))
                return VARVE_NO_MEMORY;
            im->npresent++;
        }
        im->keys[i] = (varve_key){im->collection, im->staged[i].key.data, im->staged[i].key.len};
    }
    if (im->nstaged == 0)
        return VARVE_OK;
    varve_status st =
        varve_get_many(im->c->db, im->keys, im->nstaged, NULL, im->present, im->statuses);
    if (st != VARVE_OK)
        return st;
    size_t kept = 0;
    for (size_t i = 0; i < im->nstaged; i++) {
        if (im->statuses[i] == VARVE_OK && is_unchanged(&im->staged[i], im->present[i]))
            im->state.unchanged++;
        else
            im->staged[kept++] = im->staged[i];
    }
    im->nstaged = kept;
    return VARVE_OK;
}

static varve_status fill_batch(struct import *im)
{
    varve_status st = VARVE_OK;
    varve_batch_clear(im->batch);
    for (size_t i = 0; st == VARVE_OK && i < im->nstaged; i++) {
        const struct staged *s = &im->staged[i];
        st = varve_batch_put(im->batch, im->collection, s->key.data, s->key.len, s->type,
                             s->value.data, s->value.len, 0);
    }
    im->state.rows += im->nstaged;
    if (st != VARVE_OK || !im->id.known)
        return st;
    struct buf doc = BUF_INIT;
    if (cli_import_encode(&im->state, &im->id, im->path, im->rows.key_field, im->rows.csv, &doc) !=
        ST_OK)
        st = VARVE_NO_MEMORY;
    else
        st = varve_batch_put(im->batch, CLI_IMPORTS, im->state_key.data, im->state_key.len,
                             VARVE_DOC, doc.data, doc.len, 0);
    buf_deinit(&doc);
    return st;
}

static void tell_what_is_in(struct import *im)
{
    char n[CLI_NUMBER_TEXT_MAX];
    cli_count_format(im->state.rows, n);
    fprintf(im->c->err, "%s row%s %s imported.%s\n", n, im->state.rows == 1 ? "" : "s",
            im->state.rows == 1 ? "is" : "are",
            im->id.known ? " --resume goes on behind them." : "");
}

/* Writes what is staged, with the place behind it. */
static int flush(struct import *im, bool done)
{
    struct cli_import_state before = im->state;
    im->state.done = done;
    varve_status st = im->changed_only ? drop_unchanged(im) : VARVE_OK;
    if (st == VARVE_OK)
        st = fill_batch(im);
    if (st == VARVE_OK && varve_batch_count(im->batch))
        st = varve_commit(im->c->db, im->batch, &im->o, NULL, NULL);
    if (st != VARVE_OK) {
        im->state = before;
        cli_progress_end(&im->progress);
        int code = cli_fail(im->c, st, st == VARVE_DISK_FULL ? "disk full" : "import");
        tell_what_is_in(im);
        return code;
    }
    stage_clear(im);
    return CLI_OK;
}

static int stage(struct import *im, const struct cli_row *row)
{
    bool again = !note_key(im, &row->key);
    if (again || im->nstaged == im->batch_max || im->staged_bytes > BATCH_BYTES) {
        int code = flush(im, false);
        if (code != CLI_OK)
            return code;
        (void)note_key(im, &row->key); /* the stage is empty: it cannot be there */
    }
    struct staged *s = &im->staged[im->nstaged];
    s->key = BYTES(arena_memdup(&im->arena, row->key.data, row->key.len), row->key.len);
    const void *value = row->value.len ? (const void *)row->value.data : "";
    s->value =
        BYTES(arena_memdup(&im->arena, value, row->value.len ? row->value.len : 1), row->value.len);
    s->type = row->type;
    if (!s->key.data || !s->value.data)
        return no_memory(im);
    im->nstaged++;
    im->staged_bytes += row->key.len + row->value.len;
    return CLI_OK;
}

/* ---- the run ---- */

static uint64_t rows_read(const struct import *im)
{
    return im->state.rows + im->state.unchanged + im->state.skipped + im->nstaged - im->start_rows;
}

static void skip_row(struct import *im, const char *why)
{
    if (im->state.skipped++ < ERRORS_SHOWN) {
        cli_progress_hide(&im->progress);
        fprintf(im->c->err, "skipped: %s\n", why);
    }
}

static int bad_row(struct import *im, enum status st, const struct err *e)
{
    bool of_row = st == ST_INVALID_ARGUMENT || st == ST_TOO_LARGE;
    if (of_row && im->skip_errors) {
        skip_row(im, e->detail);
        return CLI_OK;
    }
    int code = flush(im, false);
    if (code != CLI_OK)
        return code;
    cli_progress_end(&im->progress);
    cli_error(im->c, CLI_FAILED, "%s: %s", im->path, e->detail);
    if (of_row)
        fprintf(im->c->err, "All rows before it are imported.%s\n",
                im->id.known ? " --resume --on-error skip goes on behind it." : "");
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
            code = stage(im, &row);
        else if (got < 0 && cli_signalled())
            break;
        else if (got < 0)
            code = bad_row(im, (enum status) - got, &e);
        if (code != CLI_OK)
            break;
        /* Only now: a batch that stage() wrote because of this row must not count it. */
        im->state.offset = im->rows.in.offset;
        im->state.line = im->rows.in.line;
        if (rows_read(im) % 16 == 0)
            cli_progress_update(&im->progress, im->rows.in.offset, im->id.size, rows_read(im),
                                cli_mono_ms());
    }
    buf_deinit(&row.key);
    buf_deinit(&row.value);
    if (code != CLI_OK)
        return code;
    code = flush(im, got == 0);
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
    if (!stage_init(&im)) {
        code = no_memory(&im);
        goto out;
    }
    struct cli_import_state start = im.state;
    uint64_t start_ms = cli_mono_ms();
    cli_progress_begin(&im.progress, c->err, c->err_tty, cli_has(a, OPT_PROGRESS),
                       cli_has(a, OPT_QUIET), "import", "rows", im.state.offset, start_ms);
    code = im.state.done ? CLI_OK : run(&im);
    uint64_t ms = cli_mono_ms() - start_ms;
    if (code == CLI_OK)
        code = tell(&im, &start, ms);
out:
    stage_deinit(&im);
    cli_rows_close(&im.rows);
    buf_deinit(&im.state_key);
    return code;
}
