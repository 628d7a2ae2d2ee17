/* alloc.h - the only door to the heap for our own code.
 *
 * Owns:     nothing.
 * Promises: every allocation can be made to fail by number, so tests walk through all of them.
 * Never:    aborts; a failed allocation returns NULL and the caller answers ST_NO_MEMORY.
 * Threads:  any.
 */
#ifndef VARVE_BASE_ALLOC_H
#define VARVE_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>

void *mem_alloc(size_t size) __attribute__((malloc));
void *mem_zalloc(size_t size) __attribute__((malloc));
void *mem_aligned(size_t align, size_t size) __attribute__((malloc)); /* align: power of two */
void *mem_realloc(void *ptr, size_t size); /* on failure ptr stays valid */
char *mem_strdup(const char *s);
void *mem_memdup(const void *p, size_t len);
void mem_free(void *ptr); /* takes NULL */
/* Whole pages from the system, which are its again at once: for what is large and goes all together.
 * `align`: power of two; `size`: a multiple of 64 KiB, also for mem_pages_free, which takes NULL. */
void *mem_pages(size_t align, size_t size);
void mem_pages_free(void *ptr, size_t size);

/* Tests only: the nth allocation from now (1 = the next), and when `sticky` every one after it,
 * returns NULL. n = 0 switches it off. Process-wide. mem_fail_hits counts how many were refused
 * since the last call. */
void mem_fail_at(uint64_t n, int sticky);
uint64_t mem_fail_hits(void);

#endif
