/* crash_rig.c - see crash_rig.h. */
#include "crash/library/crash_rig.h"

#include "crash/library/crash_process.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

static FILE *journal_file; /* exec_step's note has no argument */

static void note(const char *line)
{
    fprintf(journal_file, "%s\n", line);
    fflush(journal_file);
}

void rig_init(struct rig *r, uint64_t seed, const char *folder)
{
    *r = (struct rig){.seed = seed, .foreign = folder != NULL};
    if (folder)
        snprintf(r->folder, sizeof(r->folder), "%s", folder);
    else
        assert_true(process_folder(r->folder, "rig"));
    snprintf(r->dir, sizeof(r->dir), "%s/db", r->folder);
    /* Beside, where a full or read-only disk does not matter. */
    snprintf(r->journal, sizeof(r->journal), "%s.journal", r->folder);
    journal_file = fopen(r->journal, "w");
    assert_non_null(journal_file);
    model_init(&r->model, seed, 0);
}

void rig_deinit(struct rig *r)
{
    if (r->db)
        (void)!varve_close(r->db);
    fclose(journal_file);
    unlink(r->journal);
    model_deinit(&r->model);
    if (!r->foreign)
        assert_true(temp_dir_remove(r->folder));
}

varve_status rig_open(struct rig *r, bool read_only)
{
    varve_options o = exec_options(r->seed);
    o.read_only = read_only;
    return varve_open(r->dir, &o, &r->db);
}

void rig_must_open(struct rig *r)
{
    varve_status st = rig_open(r, false);
    if (st != VARVE_OK)
        fail_msg("seed %" PRIu64 ": open: %s: %s", r->seed, varve_status_name(st),
                 varve_last_error());
}

varve_status rig_close(struct rig *r)
{
    varve_status st = varve_close(r->db);
    r->db = NULL;
    return st;
}

bool rig_poisoned(struct rig *r)
{
    varve_stats st = {.size = sizeof(st)};
    assert_int_equal(varve_get_stats(r->db, &st), VARVE_OK);
    return st.poisoned;
}

varve_status rig_steps(struct rig *r, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        char line[96];
        uint64_t number = r->next++;
        varve_status st = exec_step(r->db, &r->model, number, note);
        if (st == VARVE_OK)
            continue;
        snprintf(line, sizeof(line), "x 0 %" PRIu64 " %" PRIu64, number, number + 1);
        if (!rig_poisoned(r))
            note(line);
        return st;
    }
    return VARVE_OK;
}

void rig_must_steps(struct rig *r, uint64_t n)
{
    varve_status st = rig_steps(r, n);
    if (st != VARVE_OK)
        fail_msg("seed %" PRIu64 " step %" PRIu64 ": %s: %s", r->seed, r->next - 1,
                 varve_status_name(st), varve_last_error());
}

bool rig_works_again(struct rig *r, uint64_t steps)
{
    varve_status st = VARVE_OK;
    for (uint64_t i = 0; st == VARVE_OK && i < steps; i++)
        st = rig_steps(r, 1);
    if (st == VARVE_OK)
        st = varve_checkpoint(r->db);
    if (st == VARVE_OK)
        return true;
    printf("  opened anew after %s: %s\n", varve_status_name(st), varve_last_error());
    assert_int_equal(st, VARVE_IO_ERROR);
    assert_non_null(strstr(varve_last_error(), "closed and opened anew"));
    rig_hold(r);
    (void)!rig_close(r);
    rig_must_open(r);
    rig_must_steps(r, steps);
    assert_int_equal(varve_checkpoint(r->db), VARVE_OK);
    return false;
}

void rig_hold(struct rig *r)
{
    struct journal j;
    struct hold h = {.db = r->db, .j = &j, .killed = true};
    journal_init(&j);
    assert_true(journal_read(&j, r->journal));
    bool ok = hold_all(&h, r->seed);
    hold_deinit(&h);
    journal_deinit(&j);
    if (!ok)
        fail_msg("seed %" PRIu64 ": the open handle tells something else than the model", r->seed);
}

void rig_check_in_new_process(struct rig *r)
{
    char seed[24];
    snprintf(seed, sizeof(seed), "%" PRIu64, r->seed);
    char *argv[] = {(char[]){CRASH_CHECK}, r->dir,         r->journal, seed,
                    (char[]){"kill"},      (char[]){"12"}, NULL};
    const char *env[] = {"LD_PRELOAD=", NULL};
    int rc = process_run(argv, env, NULL, 120);
    if (rc != 0)
        fail_msg("seed %" PRIu64 ": the check in a new process ended with %d", r->seed, rc);
}
