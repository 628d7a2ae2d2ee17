/* crash_journal.h - what the world outside knows of a workload, as lines of text.
 *
 *     o 0 0                      the folder is open
 *     c 0 0                      it is about to be closed
 *     b STREAM STEP              it was begun
 *     a STREAM STEP HLC DURABLE  it was acknowledged: the version it got (0: it wrote nothing), and
 *                                whether it, and so all before it, must survive a power cut
 *     k STREAM STEP              a check found all before STEP there: they may not go any more
 *     x STREAM FROM TO           a check found these steps not there (never acknowledged, or not
 *                                durable): they are no part of the model
 *
 * Owns: what it read. Promises: a line cut short at the end is left out. Threads: one.
 */
#ifndef VARVE_TESTS_CRASH_JOURNAL_H
#define VARVE_TESTS_CRASH_JOURNAL_H

#include "crash/library/crash_model.h"
#include <stdio.h>

struct journal_step {
    bool acknowledged, dead;
    uint64_t hlc;
};
struct journal_stream {
    struct journal_step *steps;
    size_t room;
    uint64_t begun;   /* so many */
    uint64_t acked;   /* all before it returned */
    uint64_t durable; /* all before it must be there after a power cut */
    uint64_t known;   /* all before it (but the dead) must be there in any case */
};
struct journal {
    struct journal_stream streams[MODEL_STREAMS_MAX];
    unsigned stream_count;
};

void journal_init(struct journal *j);
void journal_deinit(struct journal *j);
bool journal_line(struct journal *j, const char *line); /* false: not a line of ours */
bool journal_read(struct journal *j, const char *path); /* false: says why on stderr */

#endif
