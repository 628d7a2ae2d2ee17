/* crash_judge.c - opens a folder in which one bit was turned, and tells what became of it.
 *
 *     crash_judge DIR JOURNAL SEED NAME
 *
 * Everything in JOURNAL was there before. Prints one line; exit codes: JUDGE_*.
 */
#include "crash/library/crash_judge.h"
#include "crash/library/crash_exec.h"
#include "crash/library/crash_hold_internal.h"

#include <stdlib.h>
#include <string.h>

struct judging {
    varve *db;
    const char *name; /* of the file with the bit */
    bool refused, named, wrong;
    char why[400];
};

static void refused(struct judging *g, varve_status st)
{
    g->refused = true;
    if (st != VARVE_CORRUPT && st != VARVE_IO_ERROR && st != VARVE_NOT_FOUND) {
        g->wrong = true;
        snprintf(g->why, sizeof(g->why), "answers %s: %s", varve_status_name(st),
                 varve_last_error());
    }
    g->named = g->named || strstr(varve_last_error(), g->name) != NULL;
}

/* Each row that is told must be the model's. Retention may have taken old ones of two places. */
static void judge_history(struct judging *g, const struct model_cell *c)
{
    char name[MODEL_NAME_MAX], text[MODEL_NAME_MAX];
    unsigned char key[MODEL_KEY_MAX];
    varve_iter *it;
    size_t n = c->count;
    int rc;
    step_collection(0, &c->at, name);
    varve_status st = varve_history(g->db, name, key, step_key(&c->at, key), 0, &it);
    if (st != VARVE_OK) {
        refused(g, st);
        return;
    }
    while ((rc = varve_iter_next(it)) > 0) {
        varve_bytes writer = varve_iter_writer(it);
        if (writer.len == 3 && !memcmp(writer.data, "ttl", 3))
            continue;
        const struct model_entry *e = n ? &c->entries[--n] : NULL;
        step_writer(0, e ? e->step : 0, text);
        if (!e || writer.len != strlen(text) || memcmp(writer.data, text, writer.len) ||
            varve_iter_is_delete(it) != e->op.is_delete ||
            (!e->op.is_delete &&
             !hold__value_is(&e->op, varve_iter_type(it), varve_iter_value(it)))) {
            g->wrong = true;
            snprintf(g->why, sizeof(g->why), "%s key %u: another row than that of %s", name,
                     c->at.key, text);
        }
    }
    varve_iter_close(it);
    if (rc < 0)
        refused(g, (varve_status)-rc);
    else if (n && c->at.place != PLACE_COUNT && c->at.place != PLACE_AGE) {
        g->wrong = true;
        snprintf(g->why, sizeof(g->why), "%s key %u: %zu rows are missing", name, c->at.key, n);
    }
}

static void judge_get(struct judging *g, const struct model_cell *c, varve_value *v)
{
    char name[MODEL_NAME_MAX];
    unsigned char key[MODEL_KEY_MAX];
    const struct model_entry *e = c->count ? &c->entries[c->count - 1] : NULL;
    step_collection(0, &c->at, name);
    varve_status st = varve_get(g->db, name, key, step_key(&c->at, key), NULL, v);
    bool alive = e && !e->op.is_delete, short_lived = e && e->op.ttl_ms;
    if (st == VARVE_NOT_FOUND && (!alive || short_lived))
        return;
    if (st == VARVE_OK && alive &&
        hold__value_is(&e->op, varve_value_type(v), varve_value_bytes(v)))
        return;
    if (st == VARVE_OK || st == VARVE_NOT_FOUND) {
        g->wrong = true;
        snprintf(g->why, sizeof(g->why), "%s key %u: a get answers %s", name, c->at.key,
                 st == VARVE_OK ? "another record" : "that it is absent");
    } else {
        refused(g, st);
    }
}

static void on_finding(void *arg, const varve_finding *f)
{
    struct judging *g = arg;
    g->named = g->named || strstr(f->file, g->name) || strstr(f->text, g->name);
}

static enum judge judge(struct judging *g, const char *dir, uint64_t seed, struct model *m)
{
    varve_options o = exec_options(seed);
    o.checkpoint_interval_ms = UINT32_MAX;
    o.table_bytes = 64 << 20; /* what is in the log stays in memory: opening writes no files */
    varve_value *v = varve_value_new();
    varve_status st = v ? varve_open(dir, &o, &g->db) : VARVE_NO_MEMORY;
    if (st != VARVE_OK) {
        snprintf(g->why, sizeof(g->why), "%s: %s", varve_status_name(st), varve_last_error());
        g->named = strstr(varve_last_error(), g->name) != NULL;
        varve_value_free(v);
        return g->named ? JUDGE_OPEN : JUDGE_OPEN_UNNAMED;
    }
    for (size_t i = 0; i < m->cell_count; i++) {
        judge_get(g, &m->cells[i], v);
        judge_history(g, &m->cells[i]);
    }
    varve_value_free(v);
    bool read_named = g->named;
    g->named = false;
    st = varve_verify(g->db, on_finding, NULL, g);
    (void)!varve_close(g->db);
    if (g->wrong)
        return JUDGE_WRONG;
    if (st == VARVE_OK)
        return g->refused ? JUDGE_READS_ONLY : JUDGE_HARMLESS;
    if (!g->why[0])
        snprintf(g->why, sizeof(g->why), "%s: %s", varve_status_name(st), varve_last_error());
    return g->named && (read_named || !g->refused) ? JUDGE_VERIFY : JUDGE_VERIFY_UNNAMED;
}

int main(int argc, char **argv)
{
    struct journal j;
    struct model m;
    if (argc != 5)
        return 2;
    uint64_t seed = strtoull(argv[3], NULL, 0);
    journal_init(&j);
    if (!journal_read(&j, argv[2]))
        return 2;
    model_init(&m, seed, 0);
    for (uint64_t i = 0; i < j.streams[0].begun; i++) {
        struct step s;
        step_make(seed, 0, i, &s);
        if (!j.streams[0].steps[i].dead)
            model_apply(&m, &s, i);
    }
    struct judging g = {.name = argv[4]};
    enum judge what = judge(&g, argv[1], seed, &m);
    if (g.why[0])
        printf("    %s\n", g.why);
    model_deinit(&m);
    journal_deinit(&j);
    return (int)what;
}
