/* blocks.h - blocks of memory by size class, for what a run takes and gives back all the time.
 *
 * Owns:     what it took from malloc, for good: a block that is given back waits for the next of its
 *           class. Promises: aligned to 16. Never: is asked by a simulated process (heap.h); hands
 *           out a block twice. Under AddressSanitizer each block is malloc's own, so that it sees
 *           who uses what was freed.
 * Threads:  one.
 */
#ifndef VARVE_SIM_CORE_BLOCKS_H
#define VARVE_SIM_CORE_BLOCKS_H

#include <stddef.h>

void *blocks_take(size_t size); /* not zeroed; NULL: no memory */
/* `size` as it was asked for, or anything up to blocks_room of that. */
void blocks_give(void *p, size_t size);
/* How many bytes a block of `size` really has. */
size_t blocks_room(size_t size);

#endif
