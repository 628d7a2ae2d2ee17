/* crash_exec.h - does steps of the model on a real folder and tells how it went.
 *
 * Owns: nothing. Threads: as the handle; one model per thread.
 */
#ifndef VARVE_TESTS_CRASH_EXEC_H
#define VARVE_TESTS_CRASH_EXEC_H

#include "crash/library/crash_model.h"
#include "varve/varve.h"

/* Options that make drains, new files and recycled segments happen often; they differ by seed. */
varve_options exec_options(uint64_t seed);

typedef void (*exec_note)(const char *line); /* a line of the journal, without its end */

/* Does one step, notes its begin and acknowledgement, and applies it to the model. What it answers
 * when that is not what the model foresees: the status (model and journal are not told), or
 * VARVE_INTERNAL with a message on stderr when the answer was OK and wrong. */
varve_status exec_step(varve *db, struct model *m, uint64_t number, exec_note note);

#endif
