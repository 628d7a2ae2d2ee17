/* crash_check.c - opens what a crash left and holds it against what was acknowledged.
 *
 *     crash_check DIR JOURNAL SEED power|kill [STEPS]
 *
 * Opens, checks everything, verifies; then goes on with STEPS steps of each stream (all kinds of
 * them), checks again, closes, opens, checks again. What it found and did is added to JOURNAL.
 * Exits 0 when nothing was wrong.
 */
#include "crash/library/crash_exec.h"
#include "crash/library/crash_hold.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct check {
    const char *dir, *journal_path;
    uint64_t seed, steps;
    bool killed;
    varve *db;
};

static FILE *journal_file; /* exec_step's note has no argument */

static void note(const char *line)
{
    fprintf(journal_file, "%s\n", line);
}

static bool failed(const char *what, varve_status st)
{
    fprintf(stderr, "check: %s: %s: %s\n", what, varve_status_name(st), varve_last_error());
    return false;
}

static bool open_db(struct check *c, uint64_t salt)
{
    varve_options o = exec_options(c->seed + salt);
    varve_status st = varve_open(c->dir, &o, &c->db);
    return st == VARVE_OK || failed("open", st);
}

static bool close_db(struct check *c)
{
    varve_status st = varve_close(c->db);
    c->db = NULL;
    return st == VARVE_OK || failed("close", st);
}

/* Every verb that a step does not do, on a collection of its own. */
static bool more_verbs(varve *db)
{
    static const char *const texts[] = {"{\"a\":1}", "{\"a\":2,\"b\":true}"};
    varve_version v[3] = {{0, 0}};
    varve_iter *it = NULL;
    varve_watch *w = NULL;
    const varve_iter *row;
    char *diff = NULL;
    varve_status st = VARVE_OK;
    for (int i = 0; st == VARVE_OK && i < 2; i++)
        st = varve_put(db, "verbs", "k", 1, VARVE_JSON, texts[i], strlen(texts[i]), NULL, &v[i]);
    if (st != VARVE_OK)
        return failed("put", st);
    st = varve_diff(db, "verbs", "k", 1, v[0], v[1], VARVE_DIFF_PATHS, &diff);
    varve_free(diff);
    if (st != VARVE_OK)
        return failed("diff", st);
    st = varve_watch_open(db, "now", NULL, &w);
    varve_at at = {.kind = VARVE_AT_VERSION, .version = v[0]};
    if (st == VARVE_OK)
        st = varve_restore(db, "verbs", "k", 1, &at, NULL, &v[2]);
    if (st != VARVE_OK)
        return failed("watch or restore", st);
    int rc = varve_watch_next(w, 10000, &row);
    bool ok = rc == 1 && !varve_version_compare(varve_iter_version(row), v[2]);
    varve_watch_close(w);
    if (!ok)
        return failed("the watch told something else", (varve_status)-rc);
    st = varve_collections(db, &it);
    bool found = false;
    while (st == VARVE_OK && (rc = varve_iter_next(it)) > 0)
        found =
            found || (varve_iter_key(it).len == 5 && !memcmp(varve_iter_key(it).data, "verbs", 5));
    varve_iter_close(it);
    if (!found || rc)
        return failed("collections", st);
    st = varve_collection_drop(db, "verbs", NULL);
    return st == VARVE_OK || failed("drop", st);
}

/* Checks an open folder, notes what is there, and does `steps` more. */
static bool hold_and_go_on(struct check *c, uint64_t steps)
{
    struct journal j;
    struct hold h = {.db = c->db, .j = &j, .killed = c->killed};
    char line[96];
    journal_init(&j);
    bool ok = journal_read(&j, c->journal_path) && hold_all(&h, c->seed);
    journal_file = ok ? fopen(c->journal_path, "a") : NULL;
    for (unsigned i = 0; ok && i < j.stream_count; i++) {
        uint64_t begun = j.streams[i].begun;
        snprintf(line, sizeof(line), "k %u %" PRIu64, i, h.there[i]);
        note(line);
        snprintf(line, sizeof(line), "x %u %" PRIu64 " %" PRIu64, i, h.there[i], begun);
        if (h.there[i] < begun)
            note(line);
        for (uint64_t n = 0; ok && n < steps; n++) {
            varve_status st = exec_step(c->db, &h.models[i], begun + n, note);
            ok = st == VARVE_OK || failed("a step afterwards", st);
        }
    }
    if (journal_file)
        fclose(journal_file);
    hold_deinit(&h);
    journal_deinit(&j);
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc > 6)
        return 2;
    struct check c = {.dir = argv[1],
                      .journal_path = argv[2],
                      .seed = strtoull(argv[3], NULL, 0),
                      .killed = !strcmp(argv[4], "kill"),
                      .steps = argc == 6 ? strtoull(argv[5], NULL, 0) : 0};
    bool ok = open_db(&c, 1) && hold_and_go_on(&c, c.steps) && hold_verify(c.db);
    if (ok && c.steps)
        ok = hold_and_go_on(&c, 0) && more_verbs(c.db);
    ok = ok && close_db(&c);
    ok = ok && open_db(&c, 2) && hold_and_go_on(&c, 0) && hold_verify(c.db) && close_db(&c);
    if (!ok)
        fprintf(stderr, "check: %s with %s, seed %" PRIu64 ", %s: NOT as it must be\n", c.dir,
                c.journal_path, c.seed, argv[4]);
    fflush(NULL);
    /* The database may still be open; RocksDB's threads do not bear the destructors of exit. */
    _exit(ok ? 0 : 1);
}
