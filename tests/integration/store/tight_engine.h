/* tight_engine.h - an engine in memory that takes no table while it is to be full.
 *
 * Owns: one at a time. Threads: one.
 */
#ifndef VARVE_TESTS_TIGHT_ENGINE_H
#define VARVE_TESTS_TIGHT_ENGINE_H

#include "node/store/store.h"

struct tight_engine {
    bool full;                 /* drains answer DISK_FULL */
    unsigned hurried;          /* drains that somebody waited for */
    const _Atomic bool *hurry; /* of the store that has it open */
};
extern struct tight_engine tight;

enum status tight_open(struct env *env, const char *dir, const struct engine_options *o,
                       struct engine **ret, struct err *err);

#endif
