/* crash_workload.c - a process that works on a folder, to be recorded or killed.
 *
 *     crash_workload DIR SEED STREAMS STEPS [JOURNAL]
 *
 * Opens the folder and runs so many steps of each stream (0: for ever), one thread each, going on
 * behind those that JOURNAL knows. Lines of the journal go to standard output and, as marks, to the
 * recorder. Closes and opens anew now and then. Exits 0 when all went as
 * the model says.
 */
#include "crash/library/crash_exec.h"
#include "crash/library/crash_journal.h"
#include "crash/preload/crash_mark.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct worker {
    struct model model;
    varve *db;
    uint64_t next, end;
    varve_status st;
    pthread_t thread;
};

static bool recorded;

static void note(const char *text)
{
    char line[128];
    int n = snprintf(line, sizeof(line), "%s\n", text);
    /* One write, so that lines of several threads stay whole. A closed pipe ends us. */
    if (!recorded && write(STDOUT_FILENO, line, (size_t)n) != n)
        _exit(3);
    (void)crash_mark(text);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    while (w->st == VARVE_OK && w->next < w->end)
        w->st = exec_step(w->db, &w->model, w->next++, note);
    if (w->st != VARVE_OK)
        fprintf(stderr, "workload: stream %u step %" PRIu64 ": %s: %s\n", w->model.stream,
                w->next - 1, varve_status_name(w->st), varve_last_error());
    return NULL;
}

static bool open_db(const char *dir, uint64_t seed, varve **ret)
{
    varve_options o = exec_options(seed);
    varve_status st = varve_open(dir, &o, ret);
    if (st != VARVE_OK)
        fprintf(stderr, "workload: open: %s: %s\n", varve_status_name(st), varve_last_error());
    else
        note("o 0 0");
    return st == VARVE_OK;
}

static bool close_db(varve *db)
{
    varve_status st = varve_close(db);
    if (st != VARVE_OK)
        fprintf(stderr, "workload: close: %s: %s\n", varve_status_name(st), varve_last_error());
    return st == VARVE_OK;
}

static void restore(struct worker *w, const struct journal *j, uint64_t seed, unsigned stream)
{
    const struct journal_stream *js = &j->streams[stream];
    model_init(&w->model, seed, stream);
    for (uint64_t i = 0; i < js->begun; i++) {
        struct step s;
        if (js->steps[i].dead)
            continue;
        step_make(seed, stream, i, &s);
        model_apply(&w->model, &s, i);
    }
    w->next = js->begun;
}

/* A part of the steps of each stream, each on a thread of its own. */
static bool run(struct worker *w, unsigned n, varve *db, uint64_t steps)
{
    bool ok = true;
    for (unsigned i = 0; i < n; i++) {
        w[i].db = db;
        w[i].end = steps ? w[i].next + steps : UINT64_MAX;
        if (pthread_create(&w[i].thread, NULL, work, &w[i]))
            abort();
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(w[i].thread, NULL);
        ok = ok && w[i].st == VARVE_OK;
    }
    return ok;
}

int main(int argc, char **argv)
{
    static struct worker workers[MODEL_STREAMS_MAX];
    struct journal j;
    varve *db;
    if (argc < 5 || argc > 6)
        return 2;
    recorded = getenv("CRASH_TRACE") != NULL;
    uint64_t seed = strtoull(argv[2], NULL, 0), steps = strtoull(argv[4], NULL, 0);
    unsigned n = (unsigned)strtoul(argv[3], NULL, 0);
    journal_init(&j);
    if (n < 1 || n > MODEL_STREAMS_MAX || (argc == 6 && !journal_read(&j, argv[5])))
        return 2;
    for (unsigned i = 0; i < n; i++)
        restore(&workers[i], &j, seed, i);
    journal_deinit(&j);
    uint64_t parts = steps ? 4 : UINT64_MAX, done = 0;
    bool ok = open_db(argv[1], seed, &db);
    for (uint64_t part = 0; ok && part < parts; part++) {
        /* For ever means: until killed, and closing and opening are moments for that too. */
        uint64_t now = steps ? steps * (part + 1) / parts - done : 150;
        ok = run(workers, n, db, now);
        done += now;
        note("c 0 0");
        ok = close_db(db) && ok;
        if (ok && part + 1 < parts)
            ok = open_db(argv[1], seed + part, &db);
    }
    for (unsigned i = 0; i < n; i++)
        model_deinit(&workers[i].model);
    return ok ? 0 : 1;
}
