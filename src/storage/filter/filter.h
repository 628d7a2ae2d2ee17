/* filter.h - which keys are certainly not there.
 *
 * A blocked Bloom filter: F. Putze, P. Sanders, J. Singler, "Cache-, Hash- and Space-Efficient
 * Bloom Filters", WEA 2007. Each key has one block of 32 bytes and one bit in each of the block's
 * eight words, so that asking costs one cache line.
 *
 * Owns:     its bits; the size is fixed.
 * Promises: what was added before is never denied, if the add happened before the question. At
 *           FILTER_BITS_PER_KEY about one answer in a hundred is a wrong "maybe".
 * Never:    takes a key out.
 * Threads:  any.
 */
#ifndef VARVE_STORAGE_FILTER_FILTER_H
#define VARVE_STORAGE_FILTER_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct filter;

enum { FILTER_BITS_PER_KEY = 12 };

/* For this many keys: FILTER_BITS_PER_KEY bits each, at least one block. NULL: no memory. */
struct filter *filter_new(uint64_t keys);
void filter_free(struct filter *f); /* takes NULL */
/* A good 64-bit hash of the key: all of its bits are used. */
void filter_add(struct filter *f, uint64_t hash);
bool filter_may_have(const struct filter *f, uint64_t hash);
size_t filter_bytes(uint64_t keys); /* the memory of one for so many keys */

#endif
