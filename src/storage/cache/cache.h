/* cache.h - the hot cache of live records, bounded in bytes.
 *
 * Sharded buckets of slots with inline tags; readers take no lock: they copy under a bucket's
 * sequence count and try again, or miss, when a writer was there (Lamport 1977, seqlock); memory
 * stays mapped, so a racing read sees stale bytes at worst and then the sequence tells. Eviction is
 * S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP '23): small queue,
 * main queue, ghost.
 *
 * Owns:     its memory, taken lazily up to the limit. Records above 8 KiB in all, or with a value
 *           above RECORD_BY_REF bytes, are not kept (a write of one removes the smaller one before
 *           it); nor is anything below 128 KiB of limit.
 * Promises: max_bytes holds with all metadata; an empty cache touches little of it. A hit is a
 *           record that was the newest of its key when it was cached, with its version: a reader at
 *           an older time compares and falls through. A fill is dropped when its key's bucket
 *           changed since cache_begin_fill, so a slow reader never puts back an old value.
 * Never:    answers for a key that it does not hold (absence is not cached); blocks a reader.
 * Threads:  any; cache_update and cache_fill take a shard's short spin lock.
 */
#ifndef VARVE_STORAGE_CACHE_CACHE_H
#define VARVE_STORAGE_CACHE_CACHE_H

#include "base/blob.h"
#include "storage/record.h"

struct cache;
struct cache *cache_new(size_t max_bytes); /* NULL: no memory. 0 bytes: never holds anything */
void cache_free(struct cache *c);

uint64_t cache_hash(struct bytes key);

/* true: a hit. The record's writer and value are copied into `out` (cleared first; kept memory is
 * reused), and ret's slices point into it. false also when `out` could not grow (then a miss is
 * safe). */
bool cache_get(struct cache *c, uint64_t hash, struct bytes key, struct buf *out,
               struct record *ret);

/* A cache_get follows, after those of some keys that were told before: their memory is asked for side
 * by side. Changes nothing. */
void cache_ahead(const struct cache *c, uint64_t hash);

/* Fill after a miss: begin before reading table or engine, fill after. */
uint64_t cache_begin_fill(struct cache *c, uint64_t hash);
void cache_fill(struct cache *c, uint64_t hash, uint64_t ticket, struct bytes key,
                const struct record *rec);
/* A write was applied: replaces the record when the key is cached, removes it on a delete, voids
 * open fills of the bucket. Without memory it removes instead. */
void cache_update(struct cache *c, uint64_t hash, struct bytes key, const struct record *rec);
void cache_clear(struct cache *c);
/* Paused, the cache is empty and takes no fills; ending the pause voids those that began in it. For
 * when what lies below the cache is replaced. */
void cache_pause(struct cache *c, bool pause);

struct cache_stats {
    uint64_t hits, misses, fills, evictions, updates, bytes, max_bytes, entries;
};
void cache_stats(const struct cache *c, struct cache_stats *ret);

#endif
