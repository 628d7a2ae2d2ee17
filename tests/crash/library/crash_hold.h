/* crash_hold.h - holds an open folder against what is known of it.
 *
 * First it reads the history of every key and finds how many steps of each stream are there: the
 * first so many, or the check fails. Then all other ways of reading must tell the same as the
 * histories.
 *
 * Owns: the models that it makes. Promises: prints what is wrong, with stream, step and key.
 * Threads: one.
 */
#ifndef VARVE_TESTS_CRASH_HOLD_H
#define VARVE_TESTS_CRASH_HOLD_H

#include "crash/library/crash_journal.h"
#include "varve/varve.h"

struct hold {
    varve *db;
    const struct journal *j;
    bool killed; /* no power cut: what was acknowledged is there, whatever its sync mode */
    struct model models[MODEL_STREAMS_MAX]; /* of what is there; out */
    uint64_t there[MODEL_STREAMS_MAX];      /* so many steps of each stream; out */
};

/* Makes the models up and checks everything. hold_deinit is wanted whatever it answers. */
bool hold_all(struct hold *h, uint64_t seed);
void hold_deinit(struct hold *h);
/* varve_verify, its findings printed. */
bool hold_verify(varve *db);

#endif
