/* cache_internal.h - how a cache lies in memory, and who may touch what.
 *
 *   cache -> shards (by the hash's low bits) -> buckets of two cache lines (by its high bits)
 *   bucket: sequence | 14 use counts of 4 bits | 14 slots: 16-bit tag, 48-bit address of a record
 *   record: 8 words of head, then key, writer and value, each zero-padded to whole words
 *   slab:   16 KiB, cut into pieces of one size for records; it may be emptied and cut anew
 *
 * The sequence. A writer makes it odd while it changes what the bucket points to, or a record that
 * it points to. It does so under the shard's lock, by additions of 1 before and after. cache_update
 * adds 2 without the lock: that voids open fills and leaves the parity alone. A reader that saw the
 * same even sequence before and after its copy has copied one record.
 *
 * Why a racing reader is safe: slab memory stays mapped until cache_free, so that a stale address
 * can be read; lengths found there are held against the end of the slab; and before a record's
 * memory is used again, its bucket's sequence moves on. All words of a slab are read with acquire
 * and written with release order: who sees a word of the new use sees the moved sequence too.
 * (Fences would do with relaxed copies, but ThreadSanitizer knows none, and x86 gives these away.)
 * Readers never write to slabs: use counts live in the bucket, where a late one can harm nothing
 * but a count.
 *
 * Invariants, under the shard's lock:
 *   1. A record is in exactly one queue (small or main) and in exactly one slot of its hash's
 *      bucket, or it is free.
 *   2. A bucket holds a key at most once.
 *   3. slabs_taken never exceeds slabs_max: max_bytes holds with all metadata.
 */
#ifndef VARVE_STORAGE_CACHE_INTERNAL_H
#define VARVE_STORAGE_CACHE_INTERNAL_H

#include "base/env/thread.h"
#include "storage/cache/cache.h"

enum {
    CACHE_SLAB = 16 * 1024,
    CACHE_SLAB_HEAD = 64,
    CACHE_REGION_MAX = 2 << 20, /* slabs are taken from the heap by the region: one huge page */
    CACHE_SLOTS = 14,
    CACHE_BYTES_PER_BUCKET = 1400, /* sizes the index: 6 to 10 records of 100 to 200 bytes */
    CACHE_SHARDS_MAX = 64,
    CACHE_SHARD_MIN = 4 << 20, /* a cache is cut into shards of at least this many bytes */
    CACHE_CLASSES = 22,
    CACHE_RECORD_MAX = 8128, /* head included; larger ones are not kept */
    CACHE_STRIPES = 16,
};

enum { W_HASH, W_META, W_HLC, W_PARENT, W_ORIGINS, W_EXPIRES, W_NEXT, W_PREV, W_BODY };

/* One word of slab memory. */
typedef _Atomic uint64_t cache_word;

struct cache_bucket {
    _Atomic uint64_t seq;
    _Atomic uint64_t uses;
    _Atomic uint64_t slot[CACHE_SLOTS]; /* tag << 48 | address; 0: empty */
};

enum cache_where { WHERE_FREE, WHERE_SMALL, WHERE_MAIN };

/* The meta word, taken apart. */
struct cache_meta {
    size_t key_len, value_len, writer_len;
    uint8_t kind, type;
    enum cache_where where;
};

struct cache_slab {
    uint16_t size; /* bytes of each piece */
    uint16_t pieces, live;
    uint8_t class;
};

struct cache_queue {
    cache_word *head, *tail; /* head: the newest */
    uint64_t bytes;
};

struct cache_shard {
    /* Read by all, never written after cache_new. */
    struct cache *cache;
    struct cache_bucket *buckets;
    uint32_t *ghost; /* hashes of what left the small queue lately, directly mapped; touched under
                        the lock */
    uint64_t n_buckets;
    uint32_t n_ghost;
    uint32_t slabs_max;

    _Alignas(64) struct env_spin lock;
    _Atomic uint32_t epoch; /* cache_clear moves it: voids all fills */
    struct cache_queue small, main;
    cache_word *free[CACHE_CLASSES];
    struct cache_slab **slabs;
    uint32_t slabs_taken, hand;
    _Atomic uint64_t fills, evictions, entries;
};

struct cache_stripe {
    _Alignas(64) _Atomic uint64_t hits;
    _Atomic uint64_t misses, updates;
};

struct cache {
    struct cache_shard *shards; /* NULL: holds nothing */
    uint32_t n_shards;
    size_t max_bytes, fixed_bytes;
    void *index;         /* all buckets, slab lists and ghosts */
    _Atomic bool paused; /* takes no fills */

    _Alignas(64) struct env_spin region_lock;
    void **regions;
    uint32_t n_regions, regions_max;
    size_t region_bytes;
    uint8_t *region_next, *region_end;
    _Atomic uint64_t region_total;

    struct cache_stripe stripes[CACHE_STRIPES];
};

static inline uint64_t cache__get(const cache_word *w)
{
    return atomic_load_explicit(w, memory_order_acquire);
}
static inline void cache__set(cache_word *w, uint64_t v)
{
    atomic_store_explicit(w, v, memory_order_release);
}
static inline cache_word *cache__ptr(uint64_t word)
{
    return (cache_word *)(uintptr_t)(word & 0xffffffffffffu);
}
static inline struct cache_slab *cache__slab_of(const cache_word *r)
{
    return (struct cache_slab *)((uintptr_t)r & ~(uintptr_t)(CACHE_SLAB - 1));
}
static inline uint64_t cache__words(size_t bytes)
{
    return (bytes + 7) / 8;
}
static inline struct cache_meta cache__meta(uint64_t w)
{
    return (struct cache_meta){
        .value_len = w & 0xffff,
        .key_len = (w >> 16) & 0xffff,
        .writer_len = (w >> 32) & 0xff,
        .kind = (uint8_t)((w >> 40) & 0xf),
        .type = (uint8_t)((w >> 44) & 0xf),
        .where = (enum cache_where)((w >> 48) & 3),
    };
}
static inline size_t cache__record_bytes(size_t key_len, size_t writer_len, size_t value_len)
{
    return 8 *
           (W_BODY + cache__words(key_len) + cache__words(writer_len) + cache__words(value_len));
}
static inline uint64_t cache__tag(uint64_t hash)
{
    return ((hash >> 8) & 0xffff) << 48;
}
static inline struct cache_bucket *cache__bucket(const struct cache_shard *s, uint64_t hash)
{
    return &s->buckets[((hash >> 32) * s->n_buckets) >> 32];
}
static inline void
cache__change(struct cache_bucket *b) /* before and after a change, under the lock */
{
    atomic_fetch_add_explicit(&b->seq, 1, memory_order_acq_rel);
}
static inline unsigned cache__uses(const struct cache_bucket *b, int slot)
{
    return (unsigned)(atomic_load_explicit(&b->uses, memory_order_relaxed) >> (4 * slot)) & 15;
}
static inline void cache__set_uses(struct cache_bucket *b, int slot, unsigned n)
{
    uint64_t old = atomic_load_explicit(&b->uses, memory_order_relaxed);
    uint64_t new = (old & ~(15ull << (4 * slot))) | (uint64_t)n << (4 * slot);
    atomic_store_explicit(&b->uses, new, memory_order_relaxed);
}

/* cache_slots.c; all under the shard's lock. */
bool cache__take_index(struct cache *c);
void cache__drop_index(struct cache *c);
/* A free piece for a record of so many bytes, evicting if it must. NULL: none to be had. *ret_moves
 * counts the changes that evictions made to bucket `b`'s sequence. */
cache_word *cache__piece(struct cache_shard *s, size_t bytes, const struct cache_bucket *b,
                         uint64_t *ret_moves);
void cache__free_piece(struct cache_shard *s, cache_word *r);
bool cache__fits(const cache_word *r,
                 size_t bytes); /* its piece's class is the one for so many bytes */
/* Puts a record that its bucket holds already into the queue that the ghost says. */
void cache__enqueue(struct cache_shard *s, cache_word *r);
/* Takes the record out of its bucket's slot (moving the sequence by 2) and its queue, and frees the
 * piece. */
void cache__remove(struct cache_shard *s, struct cache_bucket *b, int slot);
void cache__remove_all(struct cache_shard *s);
int cache__slot_with(const struct cache_bucket *b, const cache_word *r); /* -1: none */

#endif
