/* arena.h - memory that is given back all at once.
 *
 * Owns:     its chunks; arena_deinit frees them all.
 * Promises: pointers stay put until arena_deinit or arena_reset; 8-byte alignment unless asked
 *           otherwise.
 * Never:    frees a single piece.
 * Threads:  one owner; memory handed out may be read by any thread that was given it.
 */
#ifndef VARVE_BASE_ARENA_H
#define VARVE_BASE_ARENA_H

#include "base/bytes.h"

struct arena_chunk;
struct arena {
    struct arena_chunk *head;
    uint8_t *p, *end;
    size_t chunk_bytes; /* size of the next ordinary chunk */
    size_t total_bytes; /* taken from the heap so far */
};

void arena_init(struct arena *a, size_t chunk_bytes); /* 0 = 64 KiB */
void arena_deinit(struct arena *a);
/* keeps the newest chunk, if ordinary */
void arena_reset(struct arena *a);
void *arena_alloc(struct arena *a, size_t size);                     /* NULL: no memory */
void *arena_alloc_align(struct arena *a, size_t size, size_t align); /* power of two */
void *arena_memdup(struct arena *a, const void *p, size_t len);
char *arena_strdup(struct arena *a, const char *s);

#endif
