/* heap.h - the memory of one simulated process, so that its death frees all of it.
 *
 * Programs that link varve_sim_wrap have every mem_* of base/alloc.h come here (the linker's --wrap):
 * production code is unchanged. What is allocated while a heap is current belongs to it.
 *
 * Owns:     what was allocated and not freed. Promises: sim_heap_drop frees what a killed process
 *           left, whoever pointed to it. Never: mixes with the simulator's own memory (memory.h).
 * Threads:  one.
 */
#ifndef VARVE_SIM_CORE_HEAP_H
#define VARVE_SIM_CORE_HEAP_H

#include "base/list.h"

struct sim_heap {
    struct list blocks;
    size_t bytes, count;
};

void sim_heap_init(struct sim_heap *h);
/* From now on allocations belong to `h` (NULL: to nobody); returns what was current before. */
struct sim_heap *sim_heap_enter(struct sim_heap *h);
void sim_heap_drop(struct sim_heap *h);
/* Memory in which the heaps stand, for mem_* (wrap.c). NULL: no memory. */
void *sim_heap_alloc(size_t align, size_t size);
void *sim_heap_realloc(void *p, size_t size);
void sim_heap_free(void *p);
size_t sim_heap_size(void *p); /* of what sim_heap_alloc gave; 0 for NULL */

#endif
