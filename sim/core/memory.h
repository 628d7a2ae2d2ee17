/* memory.h - the simulator's own memory, apart from that of the processes it simulates.
 *
 * Owns:     nothing. Promises: never NULL: the test machine itself out of memory is not simulated.
 * Never:    goes through base/alloc.h, whose allocations belong to a simulated process (heap.h).
 * Threads:  any.
 */
#ifndef VARVE_SIM_CORE_MEMORY_H
#define VARVE_SIM_CORE_MEMORY_H

#include <stddef.h>

void *sim_zalloc(size_t size);
void *sim_realloc(void *p, size_t size);
/* Room for `want` elements; *cap is how many there is room for. The new ones are not zeroed. */
void *sim_grow(void *p, size_t *cap, size_t want, size_t elem);
void *sim_memdup(const void *p, size_t len);
char *sim_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
void sim_free(void *p);

#endif
