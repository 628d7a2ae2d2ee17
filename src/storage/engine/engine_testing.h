/* engine_testing.h - what only tests may do to an engine: write raw rows, and make a commit fail
 * half way.
 *
 * Owns: nothing. Promises: the rows go the same way as a drain's. Never: called by the product.
 * Threads: as drain.
 */
#ifndef VARVE_STORAGE_ENGINE_ENGINE_TESTING_H
#define VARVE_STORAGE_ENGINE_ENGINE_TESTING_H

#include "storage/engine/engine_view.h"

/* value NULL: removes the row. */
enum status engine_mem_test_raw(struct engine *e, enum engine_family f, struct bytes key,
                                const struct bytes *value, struct err *err) WARN_UNUSED;
enum status engine_rocks_test_raw(struct engine *e, enum engine_family f, struct bytes key,
                                  const struct bytes *value, struct err *err) WARN_UNUSED;
/* From now on the nth family that a commit links in fails with IO_ERROR; 0 = none. */
void engine_rocks_test_fail_step(struct engine *e, int n);

#endif
