/* snapshot, collections, drop, retention, vacuum, verify, stats, checkpoint, compact */
#include "apps/cli/cli.h"
#include "apps/cli/cli_out.h"
#include "apps/cli/cli_progress.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"
#include <string.h>

static int no_memory(struct cli *c)
{
    return cli_error(c, CLI_FAILED, "out of memory");
}

/* Writes what stands in scratch, unless building it failed. */
static int finish(struct cli *c, enum status st)
{
    if (st != ST_OK)
        return no_memory(c);
    cli_put_scratch(c);
    return cli_stop_code(c);
}

/* ---- lists of names: snapshots and collections ---- */

static enum status name_json(struct buf *b, const struct db_row *row)
{
    enum status st = buf_printf(b, "{\"name\":");
    if (st == ST_OK)
        st = cli_json_bytes(b, row->key);
    if (st == ST_OK)
        st = buf_append_u8(b, ',');
    if (st == ST_OK)
        st = cli_json_version(b, "version", row->version);
    return st == ST_OK ? buf_append(b, "}\n", 2) : st;
}

static enum status name_cells(struct cli_table *t, const struct db_row *row)
{
    char version[VARVE_VERSION_TEXT_MAX], time[CLI_TIME_TEXT_MAX];
    varve_version_format(row->version, version);
    cli_time_format(varve_version_time_ms(row->version), time);
    enum status st = cli_table_cell(t, row->key);
    if (st == ST_OK)
        st = cli_table_str(t, version);
    return st == ST_OK ? cli_table_str(t, time) : st;
}

static bool hidden_row(const struct cli_args *a, const struct db_row *row)
{
    struct bytes name = row->key;
    return !cli_has(a, OPT_ALL) && bytes_has_prefix(name, BYTES_LIT(CLI_HIDDEN_PREFIX));
}

/* Closes the rows. `hide` leaves out what is the command's own. */
static int list_names(struct cli *c, const struct cli_args *a, struct db_rows *rows, bool hide,
                      const char *what, const char *when)
{
    struct cli_table t;
    bool json = cli_has(a, OPT_JSON);
    const struct db_row *row;
    int got = 0;
    cli_table_init(&t, 3);
    enum status st = cli_table_str(&t, "NAME");
    if (st == ST_OK)
        st = cli_table_str(&t, "VERSION");
    if (st == ST_OK)
        st = cli_table_str(&t, when);
    while (st == ST_OK && !cli_stopped(c) && (got = db_next(rows, &row)) == 1) {
        if (hide && hidden_row(a, row))
            continue;
        st = json ? name_json(&c->scratch, row) : name_cells(&t, row);
        if (st == ST_OK && json)
            cli_put_scratch(c);
    }
    db_rows_close(rows);
    if (st == ST_OK && got == 0 && !json && t.rows > 3)
        st = cli_table_format(&t, c->color, &c->scratch);
    if (st == ST_OK && got == 0 && !json && t.rows == 3)
        cli_note(c, a, "there are none");
    cli_table_deinit(&t);
    if (got < 0)
        return cli_fail(c, (varve_status)-got, what);
    return finish(c, st);
}

int cli_collections(struct cli *c, const struct cli_args *a)
{
    struct db_rows *rows = NULL;
    int code = cli_open(c, a);
    if (code != CLI_OK)
        return code;
    varve_status st = c->db->read->collections(c->db, &rows);
    if (st != VARVE_OK)
        return cli_fail(c, st, "collections");
    return list_names(c, a, rows, true, "collections", "MADE");
}

static int snapshot_create(struct cli *c, const struct cli_args *a, const char *name)
{
    varve_at at;
    varve_version v = {0, 0};
    int code = cli_at_arg(c, a, &at);
    if (code != CLI_OK || (code = cli_open(c, a)) != CLI_OK)
        return code;
    varve_status vst =
        c->db->care->snapshot_create(c->db, name, cli_has(a, OPT_AT) ? &at : NULL, &v);
    if (vst != VARVE_OK)
        return cli_fail(c, vst, name);
    enum status st = ST_OK;
    if (cli_has(a, OPT_JSON)) {
        st = buf_printf(&c->scratch, "{\"name\":");
        if (st == ST_OK)
            st = cli_json_bytes(&c->scratch, BYTES_STR(name));
        if (st == ST_OK)
            st = buf_append_u8(&c->scratch, ',');
        if (st == ST_OK)
            st = cli_json_version(&c->scratch, "version", v);
        if (st == ST_OK)
            st = buf_append(&c->scratch, "}\n", 2);
    } else if (!cli_has(a, OPT_QUIET)) {
        char text[VARVE_VERSION_TEXT_MAX];
        varve_version_format(v, text);
        st = buf_printf(&c->scratch, "%s\n", text);
    }
    return finish(c, st);
}

int cli_snapshot(struct cli *c, const struct cli_args *a)
{
    const char *what = a->arg[0], *name = a->nargs > 1 ? a->arg[1] : NULL;
    int code;
    if (strcmp(what, "list") == 0) {
        struct db_rows *rows = NULL;
        if (name)
            return cli_usage(c, a, "snapshot list takes no name");
        if ((code = cli_open(c, a)) != CLI_OK)
            return code;
        varve_status st = c->db->read->snapshots(c->db, &rows);
        return st == VARVE_OK ? list_names(c, a, rows, false, "snapshots", "MOMENT")
                              : cli_fail(c, st, "snapshots");
    }
    bool create = strcmp(what, "create") == 0;
    if (!create && strcmp(what, "delete") != 0)
        return cli_usage(c, a, "'%s' is not create, list or delete", what);
    if (!name)
        return cli_usage(c, a, "snapshot %s needs a NAME", what);
    if (create)
        return snapshot_create(c, a, name);
    if ((code = cli_open(c, a)) != CLI_OK)
        return code;
    varve_status st = c->db->care->snapshot_delete(c->db, name);
    return st == VARVE_OK ? CLI_OK : cli_fail(c, st, name);
}

int cli_drop(struct cli *c, const struct cli_args *a)
{
    varve_write_options o;
    int code = cli_write_args(c, a, &o);
    if (code != CLI_OK || (code = cli_open(c, a)) != CLI_OK)
        return code;
    varve_status st = c->db->care->drop(c->db, a->arg[0], &o);
    if (st != VARVE_OK)
        return cli_fail(c, st, a->arg[0]);
    cli_note(c, a, "%s is gone from the present; its past can still be read with --at", a->arg[0]);
    return CLI_OK;
}

int cli_retention(struct cli *c, const struct cli_args *a)
{
    varve_retention r = {0, 0};
    uint64_t age = 0, count = 0;
    int code;
    if ((code = cli_duration_arg(c, a, OPT_MAX_AGE, &age)) != CLI_OK ||
        (code = cli_number_arg(c, a, OPT_MAX_COUNT, &count)) != CLI_OK ||
        (code = cli_open(c, a)) != CLI_OK)
        return code;
    varve_status vst = c->db->care->retention_get(c->db, a->arg[0], &r);
    if (vst == VARVE_OK && (cli_has(a, OPT_MAX_AGE) || cli_has(a, OPT_MAX_COUNT))) {
        r.max_age_ms = cli_has(a, OPT_MAX_AGE) ? age : r.max_age_ms;
        r.max_count = cli_has(a, OPT_MAX_COUNT) ? count : r.max_count;
        vst = c->db->care->retention_set(c->db, a->arg[0], &r);
    }
    if (vst != VARVE_OK)
        return cli_fail(c, vst, a->arg[0]);
    char since[CLI_TIME_TEXT_MAX] = "no limit", number[CLI_NUMBER_TEXT_MAX] = "no limit";
    if (cli_has(a, OPT_JSON))
        return finish(c, buf_printf(&c->scratch, "{\"max_age_ms\":%llu,\"max_count\":%llu}\n",
                                    (unsigned long long)r.max_age_ms,
                                    (unsigned long long)r.max_count));
    if (r.max_age_ms)
        cli_duration_exact(r.max_age_ms, since);
    if (r.max_count)
        cli_count_format(r.max_count, number);
    return finish(c, buf_printf(&c->scratch, "max-age    %s\nmax-count  %s\n", since, number));
}

/* ---- vacuum and verify: long work with progress ---- */

struct work {
    struct cli *c;
    const struct cli_args *a;
    struct cli_progress progress;
    uint64_t findings;
    bool failed; /* a finding could not be written */
};

static void work_begin(struct work *w, struct cli *c, const struct cli_args *a, const char *label,
                       const char *unit)
{
    *w = (struct work){.c = c, .a = a};
    cli_progress_begin(&w->progress, c->err, c->err_tty, cli_has(a, OPT_PROGRESS),
                       cli_has(a, OPT_QUIET), label, unit, 0, cli_mono_ms());
}

static bool work_goes_on(void *arg, uint64_t done, uint64_t total)
{
    struct work *w = arg;
    cli_progress_update(&w->progress, done, total, done, cli_mono_ms());
    return cli_progress_goes_on();
}

int cli_vacuum(struct cli *c, const struct cli_args *a)
{
    struct work w;
    varve_vacuum_result r = {0};
    if (a->nargs && !*a->arg[0]) /* for a server it would be all of them */
        return cli_usage(c, a, "the collection's name is empty; without one it is all of them");
    int code = cli_open(c, a);
    if (code != CLI_OK)
        return code;
    work_begin(&w, c, a, "vacuum", "rows");
    varve_status st = c->db->care->vacuum(c->db, a->nargs ? a->arg[0] : NULL, work_goes_on, &w, &r);
    cli_progress_end(&w.progress);
    if (st != VARVE_OK)
        return cli_fail(c, st, "vacuum");
    if (cli_has(a, OPT_JSON))
        return finish(
            c, buf_printf(&c->scratch,
                          "{\"rows_seen\":%llu,\"versions_removed\":%llu,"
                          "\"bytes_removed\":%llu,\"expired\":%llu}\n",
                          (unsigned long long)r.rows_seen, (unsigned long long)r.versions_removed,
                          (unsigned long long)r.bytes_removed, (unsigned long long)r.expired));
    if (cli_has(a, OPT_QUIET))
        return CLI_OK;
    char seen[CLI_NUMBER_TEXT_MAX], removed[CLI_NUMBER_TEXT_MAX], bytes[CLI_NUMBER_TEXT_MAX],
        expired[CLI_NUMBER_TEXT_MAX];
    cli_count_format(r.rows_seen, seen);
    cli_count_format(r.versions_removed, removed);
    cli_count_format(r.expired, expired);
    cli_bytes_format(r.bytes_removed, bytes);
    return finish(c, buf_printf(&c->scratch,
                                "%s row%s seen, %s version%s removed (%s), %s record%s expired\n",
                                seen, r.rows_seen == 1 ? "" : "s", removed,
                                r.versions_removed == 1 ? "" : "s", bytes, expired,
                                r.expired == 1 ? "" : "s"));
}

static enum status finding_text(struct buf *b, const varve_finding *f)
{
    enum status st = ST_OK;
    if (*f->file && !strstr(f->text, f->file)) /* else it is told there */
        st = buf_printf(b, "%s, offset %llu: ", f->file, (unsigned long long)f->offset);
    if (st == ST_OK && f->range)
        st = buf_printf(b, "range %llu: ", (unsigned long long)f->range);
    return st == ST_OK ? buf_printf(b, "%s\n", f->text) : st;
}

static enum status finding_json(struct buf *b, const varve_finding *f)
{
    enum status st = buf_printf(b, "{\"finding\":");
    if (st == ST_OK)
        st = cli_json_bytes(b, BYTES_STR(f->text));
    if (st == ST_OK)
        st = buf_printf(b, ",\"file\":");
    if (st == ST_OK)
        st = cli_json_bytes(b, BYTES_STR(f->file));
    if (st != ST_OK)
        return st;
    return buf_printf(b, ",\"offset\":%llu,\"range\":%llu}\n", (unsigned long long)f->offset,
                      (unsigned long long)f->range);
}

static void hear_finding(void *arg, const varve_finding *f)
{
    struct work *w = arg;
    struct buf *b = &w->c->scratch;
    enum status st = cli_has(w->a, OPT_JSON) ? finding_json(b, f) : finding_text(b, f);
    w->findings++;
    if (st == ST_OK)
        cli_put_scratch(w->c);
    else
        w->failed = true;
}

/* Opens the folder, or tells that it is refused as damaged. Whatever else is in the way, cli_open
 * comes upon it too and has the words for it. */
static bool opens_as_corrupt(struct cli *c)
{
    varve_options o = {.size = sizeof o, .must_exist = true};
    varve *handle = NULL;
    if (c->db || c->remote)
        return false;
    varve_status st = varve_open(c->data, &o, &handle);
    if (st == VARVE_OK && !(c->db = db_folder_new(handle)))
        (void)!varve_close(handle); /* cli_open tells of the memory */
    return st == VARVE_CORRUPT;
}

int cli_verify(struct cli *c, const struct cli_args *a)
{
    struct work w;
    varve_status st;
    int code;
    work_begin(&w, c, a, "verify", "rows");
    if (opens_as_corrupt(c)) { /* then what can be read is looked at all the same */
        st = varve_verify_dir(c->data, hear_finding, work_goes_on, &w);
    } else {
        if ((code = cli_open(c, a)) != CLI_OK)
            return code;
        st = c->db->care->verify(c->db, hear_finding, work_goes_on, &w);
    }
    cli_progress_end(&w.progress);
    if (w.failed)
        return no_memory(c);
    if (st != VARVE_OK && st != VARVE_CORRUPT)
        return cli_fail(c, st, "verify");
    if (cli_has(a, OPT_JSON)) {
        code = finish(c, buf_printf(&c->scratch, "{\"ok\":%s,\"findings\":%llu}\n",
                                    st == VARVE_OK ? "true" : "false",
                                    (unsigned long long)w.findings));
        return st == VARVE_CORRUPT ? CLI_CORRUPT : code;
    }
    if (st == VARVE_CORRUPT)
        return cli_error(c, CLI_CORRUPT, "verify found %llu fault%s in %s",
                         (unsigned long long)w.findings, w.findings == 1 ? "" : "s", cli_where(c));
    if (!cli_has(a, OPT_QUIET))
        return finish(c, buf_printf(&c->scratch, "nothing is wrong\n"));
    return CLI_OK;
}

/* ---- stats, checkpoint, compact ---- */

enum stat_kind { STAT_COUNT, STAT_BYTES };
struct stat_row {
    const char *name, *label;
    size_t at;
    enum stat_kind kind;
};
#define STAT(field, label, kind)                                                                   \
    {                                                                                              \
#field, label, offsetof(varve_stats, field), STAT_##kind                                   \
    }
static const struct stat_row stat_rows[] = {
    STAT(collections, "collections", COUNT),
    STAT(live_rows, "records (estimate, on disk)", COUNT),
    STAT(past_rows, "past versions (estimate, on disk)", COUNT),
    STAT(when_rows, "times (estimate, on disk)", COUNT),
    STAT(live_bytes, "records, size on disk", BYTES),
    STAT(past_bytes, "past versions, size on disk", BYTES),
    STAT(when_bytes, "times, size on disk", BYTES),
    STAT(table_versions, "versions in memory", COUNT),
    STAT(table_bytes, "versions in memory, size", BYTES),
    STAT(log_bytes, "log", BYTES),
    STAT(log_live_bytes, "log in use", BYTES),
    STAT(log_segments, "log segments, without spares", COUNT),
    STAT(cache_entries, "cached records", COUNT),
    STAT(cache_bytes, "cache, memory set aside", BYTES),
    STAT(reads, "reads", COUNT),
    STAT(cache_hits, "reads served by the cache", COUNT),
    STAT(writes, "writes", COUNT),
    STAT(commits, "commits", COUNT),
    STAT(log_syncs, "log syncs", COUNT),
    STAT(checkpoints, "checkpoints", COUNT),
    STAT(applied_index, "last log entry applied", COUNT),
    STAT(persisted_index, "last log entry on disk in the engine", COUNT),
    STAT(watchers, "watchers", COUNT),
};
enum { STAT_ROWS = sizeof stat_rows / sizeof stat_rows[0] };

static uint64_t stat_value(const varve_stats *s, const struct stat_row *r)
{
    uint64_t v;
    memcpy(&v, (const char *)s + r->at, sizeof v);
    return v;
}

static enum status stats_json(struct buf *b, const varve_stats *s)
{
    enum status st = buf_append_u8(b, '{');
    for (size_t i = 0; st == ST_OK && i < STAT_ROWS; i++)
        st = buf_printf(b, "\"%s\":%llu,", stat_rows[i].name,
                        (unsigned long long)stat_value(s, &stat_rows[i]));
    if (st == ST_OK)
        st = cli_json_version(b, "newest", s->newest);
    return st == ST_OK ? buf_printf(b, ",\"poisoned\":%s}\n", s->poisoned ? "true" : "false") : st;
}

static enum status stats_text(struct buf *b, const varve_stats *s)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < STAT_ROWS; i++) {
        char text[CLI_NUMBER_TEXT_MAX];
        if (stat_rows[i].kind == STAT_BYTES)
            cli_bytes_format(stat_value(s, &stat_rows[i]), text);
        else
            cli_count_format(stat_value(s, &stat_rows[i]), text);
        st = buf_printf(b, "%-38s%16s\n", stat_rows[i].label, text);
    }
    char version[VARVE_VERSION_TEXT_MAX];
    varve_version_format(s->newest, version);
    if (st == ST_OK)
        st = buf_printf(b, "%-38s%16s\n", "newest version", version);
    if (st == ST_OK && s->poisoned)
        st = buf_printf(b, "a sync has failed: no writes until the folder is opened anew\n");
    return st;
}

/* The count is of what `collections` lists. */
static varve_status count_listed(struct cli *c, varve_stats *s)
{
    struct db_rows *rows = NULL;
    const struct db_row *row;
    varve_status st = c->db->read->collections(c->db, &rows);
    int got;
    if (st != VARVE_OK)
        return st;
    s->collections = 0;
    while ((got = db_next(rows, &row)) == 1)
        s->collections += !bytes_has_prefix(row->key, BYTES_LIT(CLI_HIDDEN_PREFIX));
    db_rows_close(rows);
    return got < 0 ? (varve_status)-got : VARVE_OK;
}

int cli_stats(struct cli *c, const struct cli_args *a)
{
    varve_stats s = {.size = sizeof s};
    int code = cli_open(c, a);
    if (code != CLI_OK)
        return code;
    varve_status st = c->db->care->stats(c->db, &s);
    if (st == VARVE_OK)
        st = count_listed(c, &s);
    if (st != VARVE_OK)
        return cli_fail(c, st, "stats");
    return finish(c,
                  cli_has(a, OPT_JSON) ? stats_json(&c->scratch, &s) : stats_text(&c->scratch, &s));
}

static int timed(struct cli *c, const struct cli_args *a, bool compact)
{
    char took[CLI_TIME_TEXT_MAX];
    int code = cli_open(c, a);
    if (code != CLI_OK)
        return code;
    uint64_t start = cli_mono_ms();
    varve_status st = compact ? c->db->care->compact(c->db) : c->db->care->checkpoint(c->db);
    if (st != VARVE_OK)
        return cli_fail(c, st, a->verb->name);
    uint64_t ms = cli_mono_ms() - start;
    if (cli_has(a, OPT_JSON))
        return finish(
            c, buf_printf(&c->scratch, "{\"ok\":true,\"ms\":%llu}\n", (unsigned long long)ms));
    cli_duration_format(ms, took);
    cli_note(c, a, "%s done in %s", a->verb->name, took);
    return CLI_OK;
}

int cli_checkpoint(struct cli *c, const struct cli_args *a)
{
    return timed(c, a, false);
}

int cli_compact(struct cli *c, const struct cli_args *a)
{
    return timed(c, a, true);
}
