/* crash_rig.h - a folder, its journal and its model in one hand, for tests that let single calls
 * and resources fail under an open handle.
 *
 * Owns: the folder. Promises: every helper fails the running cmocka test at what must not be.
 * Threads: one rig at a time.
 */
#ifndef VARVE_TESTS_CRASH_RIG_H
#define VARVE_TESTS_CRASH_RIG_H

#include "crash/library/crash_exec.h"
#include "crash/library/crash_hold.h"
#include <limits.h>

struct rig {
    char folder[512], dir[PATH_MAX], journal[PATH_MAX];
    uint64_t seed, next;
    varve *db;
    struct model model;
    bool foreign; /* the folder is somebody else's to remove */
};

/* `folder` NULL: a fresh one. Nothing is opened. */
void rig_init(struct rig *r, uint64_t seed, const char *folder);
void rig_deinit(struct rig *r);
varve_status rig_open(struct rig *r, bool read_only);
void rig_must_open(struct rig *r);
varve_status rig_close(struct rig *r);
/* Up to n steps; ends early at the first that fails, and answers its status. A step that failed is
 * not part of the model, unless the handle is poisoned: then it may be there. */
varve_status rig_steps(struct rig *r, uint64_t n);
void rig_must_steps(struct rig *r, uint64_t n);
bool rig_poisoned(struct rig *r);
/* After a fault is over: true when writes and checkpoints work on this handle. When a merge of
 * RocksDB's own, or its manifest, met the fault, it has stopped for good: then the handle must say
 * that the folder is to be opened anew, and this does so. It must work after that. */
bool rig_works_again(struct rig *r, uint64_t steps);
void rig_hold(struct rig *r);                 /* the open handle against the model */
void rig_check_in_new_process(struct rig *r); /* the closed folder; goes on with it too */

#endif
