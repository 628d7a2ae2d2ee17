/* cache_slots.c - where records lie, and which of them leave: slabs and S3-FIFO. All under a
 * shard's lock. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/cache/cache_internal.h"
#include <sys/mman.h>

/* As many to a slab as fit, in steps of a cache line: at most an eighth is lost from 512 bytes on.
 */
static const uint16_t class_size[CACHE_CLASSES] = {128,  192,  256,  320,  384,  448,  512,  576,
                                                   640,  768,  896,  1024, 1152, 1344, 1600, 1984,
                                                   2304, 2688, 3264, 4032, 5440, 8128};

enum { EVICT_TRIES = 8, EVICT_ROUNDS = 256, STEAL_SAMPLE = 8 };

static unsigned class_of(size_t bytes)
{
    unsigned c = 0;
    while (class_size[c] < bytes)
        c++;
    return c;
}

bool cache__fits(const cache_word *r, size_t bytes)
{
    return bytes <= CACHE_RECORD_MAX && cache__slab_of(r)->class == class_of(bytes);
}

static uint64_t as_word(const cache_word *r)
{
    return (uint64_t)(uintptr_t)r;
}

static enum cache_where where_is(const cache_word *r)
{
    return cache__meta(cache__get(&r[W_META])).where;
}

static void set_where(cache_word *r, enum cache_where where)
{
    cache__set(&r[W_META], (cache__get(&r[W_META]) & ~(3ull << 48)) | (uint64_t)where << 48);
}

/* Memory. */

enum { HUGE_INDEX = 8 << 20 };

static uint8_t *take_slab(struct cache *c)
{
    uint8_t *ret = NULL;
    env_spin_lock(&c->region_lock);
    if (c->region_next == c->region_end && c->n_regions < c->regions_max) {
        size_t align = c->region_bytes == CACHE_REGION_MAX ? CACHE_REGION_MAX : CACHE_SLAB;
        uint8_t *mem = mem_aligned(align, c->region_bytes);
        if (mem) {
            if (align == CACHE_REGION_MAX)
                (void)madvise(mem, c->region_bytes, MADV_HUGEPAGE); /* only faster */
            c->regions[c->n_regions++] = mem;
            c->region_next = mem;
            c->region_end = mem + c->region_bytes;
            atomic_fetch_add_explicit(&c->region_total, c->region_bytes, memory_order_relaxed);
        }
    }
    if (c->region_next != c->region_end) {
        ret = c->region_next;
        c->region_next += CACHE_SLAB;
    }
    env_spin_unlock(&c->region_lock);
    return ret;
}

static void push_free(struct cache_shard *s, struct cache_slab *slab, cache_word *r)
{
    cache__set(&r[W_META], 0);
    cache__set(&r[W_NEXT], as_word(s->free[slab->class]));
    s->free[slab->class] = r;
}

static cache_word *piece_at(struct cache_slab *slab, unsigned i)
{
    return (cache_word *)(void *)((uint8_t *)slab + CACHE_SLAB_HEAD + (size_t)i * slab->size);
}

static void cut(struct cache_shard *s, struct cache_slab *slab, unsigned class)
{
    size_t size = class_size[class];
    *slab = (struct cache_slab){.size = (uint16_t)size,
                                .pieces = (uint16_t)((CACHE_SLAB - CACHE_SLAB_HEAD) / size),
                                .class = (uint8_t) class};
    for (unsigned i = slab->pieces; i-- > 0;)
        push_free(s, slab, piece_at(slab, i));
}

static bool add_slab(struct cache_shard *s, unsigned class)
{
    if (s->slabs_taken == s->slabs_max)
        return false;
    struct cache_slab *slab = (struct cache_slab *)(void *)take_slab(s->cache);
    if (!slab)
        return false;
    s->slabs[s->slabs_taken++] = slab;
    cut(s, slab, class);
    return true;
}

void cache__free_piece(struct cache_shard *s, cache_word *r)
{
    struct cache_slab *slab = cache__slab_of(r);
    slab->live--;
    push_free(s, slab, r);
}

/* Queues. */

static struct cache_queue *queue_of(struct cache_shard *s, enum cache_where where)
{
    return where == WHERE_SMALL ? &s->small : &s->main;
}

static void push(struct cache_shard *s, cache_word *r, enum cache_where where)
{
    struct cache_queue *q = queue_of(s, where);
    cache__set(&r[W_PREV], 0);
    cache__set(&r[W_NEXT], as_word(q->head));
    if (q->head)
        cache__set(&q->head[W_PREV], as_word(r));
    else
        q->tail = r;
    q->head = r;
    q->bytes += cache__slab_of(r)->size;
    set_where(r, where);
}

static void unlink_record(struct cache_shard *s, cache_word *r)
{
    struct cache_queue *q = queue_of(s, where_is(r));
    cache_word *next = cache__ptr(cache__get(&r[W_NEXT])),
               *prev = cache__ptr(cache__get(&r[W_PREV]));
    if (prev)
        cache__set(&prev[W_NEXT], as_word(next));
    else
        q->head = next;
    if (next)
        cache__set(&next[W_PREV], as_word(prev));
    else
        q->tail = prev;
    q->bytes -= cache__slab_of(r)->size;
}

static uint32_t *ghost_place(const struct cache_shard *s, uint64_t hash)
{
    return &s->ghost[((hash >> 32) * s->n_ghost) >> 32];
}

static uint32_t ghost_mark(uint64_t hash)
{
    return (uint32_t)hash | 1; /* 0: empty */
}

void cache__enqueue(struct cache_shard *s, cache_word *r)
{
    uint64_t hash = cache__get(&r[W_HASH]);
    uint32_t *g = ghost_place(s, hash);
    bool seen = *g == ghost_mark(hash);
    if (seen)
        *g = 0;
    push(s, r, seen ? WHERE_MAIN : WHERE_SMALL);
    atomic_fetch_add_explicit(&s->entries, 1, memory_order_relaxed);
}

int cache__slot_with(const struct cache_bucket *b, const cache_word *r)
{
    for (int i = 0; i < CACHE_SLOTS; i++)
        if (cache__ptr(atomic_load_explicit(&b->slot[i], memory_order_relaxed)) == r)
            return i;
    return -1;
}

void cache__remove(struct cache_shard *s, struct cache_bucket *b, int slot)
{
    cache_word *r = cache__ptr(atomic_load_explicit(&b->slot[slot], memory_order_relaxed));
    cache__change(b);
    atomic_store_explicit(&b->slot[slot], 0, memory_order_release);
    cache__change(b);
    unlink_record(s, r);
    atomic_fetch_sub_explicit(&s->entries, 1, memory_order_relaxed);
    cache__free_piece(s, r);
}

/* What an eviction needs to tell the fill that caused it. */
struct eviction {
    const struct cache_bucket *watched;
    uint64_t moves;
};

static void evict_record(struct cache_shard *s, cache_word *r, struct eviction *ev)
{
    uint64_t hash = cache__get(&r[W_HASH]);
    struct cache_bucket *b = cache__bucket(s, hash);
    int slot = cache__slot_with(b, r);
    ASSERT(slot >= 0);
    if (where_is(r) == WHERE_SMALL)
        *ghost_place(s, hash) = ghost_mark(hash);
    cache__remove(s, b, slot);
    if (b == ev->watched)
        ev->moves += 2;
    atomic_fetch_add_explicit(&s->evictions, 1, memory_order_relaxed);
}

/* S3-FIFO: the small queue holds a tenth; what was used more than once in it moves to main, the
 * rest leaves a ghost. Main gives what was used another round. Ends, because each round takes a use
 * away. */
static bool evict_one(struct cache_shard *s, struct eviction *ev)
{
    for (int round = 0;; round++) {
        bool small = s->small.tail &&
                     (!s->main.tail || s->small.bytes * 10 > s->small.bytes + s->main.bytes);
        cache_word *r = small ? s->small.tail : s->main.tail;
        if (!r)
            return false;
        struct cache_bucket *b = cache__bucket(s, cache__get(&r[W_HASH]));
        int slot = cache__slot_with(b, r);
        ASSERT(slot >= 0);
        unsigned uses = cache__uses(b, slot);
        if (uses <= (small ? 1u : 0u) || round == EVICT_ROUNDS) {
            evict_record(s, r, ev);
            return true;
        }
        cache__set_uses(b, slot, small ? 0 : uses - 1);
        unlink_record(s, r);
        push(s, r, WHERE_MAIN);
    }
}

static void forget_free(struct cache_shard *s, const struct cache_slab *slab)
{
    cache_word *kept = NULL, *next;
    for (cache_word *r = s->free[slab->class]; r; r = next) {
        next = cache__ptr(cache__get(&r[W_NEXT]));
        if (cache__slab_of(r) == slab)
            continue;
        cache__set(&r[W_NEXT], as_word(kept));
        kept = r;
    }
    s->free[slab->class] = kept;
}

/* Empties the slab with the fewest live bytes among the next few and cuts it for another class, so
 * that memory follows the sizes that are asked for. */
static bool steal_slab(struct cache_shard *s, unsigned class, struct eviction *ev)
{
    struct cache_slab *best = NULL;
    for (unsigned i = 0; i < STEAL_SAMPLE && s->slabs_taken; i++) {
        struct cache_slab *slab = s->slabs[s->hand++ % s->slabs_taken];
        if (slab->class != class && (!best || slab->live * slab->size < best->live * best->size))
            best = slab;
    }
    if (!best)
        return false;
    for (unsigned i = 0; i < best->pieces; i++)
        if (where_is(piece_at(best, i)) != WHERE_FREE)
            evict_record(s, piece_at(best, i), ev);
    forget_free(s, best);
    cut(s, best, class);
    return true;
}

cache_word *cache__piece(struct cache_shard *s, size_t bytes, const struct cache_bucket *b,
                         uint64_t *ret_moves)
{
    struct eviction ev = {.watched = b};
    unsigned class = class_of(bytes);
    if (!s->free[class])
        add_slab(s, class);
    for (int i = 0; !s->free[class] && i < EVICT_TRIES; i++)
        if (!evict_one(s, &ev))
            break;
    if (!s->free[class])
        steal_slab(s, class, &ev);
    *ret_moves = ev.moves;
    cache_word *r = s->free[class];
    if (!r)
        return NULL;
    s->free[class] = cache__ptr(cache__get(&r[W_NEXT]));
    cache__slab_of(r)->live++;
    return r;
}

void cache__remove_all(struct cache_shard *s)
{
    for (cache_word *r; (r = s->small.tail ? s->small.tail : s->main.tail);) {
        struct cache_bucket *b = cache__bucket(s, cache__get(&r[W_HASH]));
        int slot = cache__slot_with(b, r);
        ASSERT(slot >= 0);
        cache__remove(s, b, slot);
    }
}

/* One zeroed run for all buckets, slab lists and ghosts, which the kernel backs only where it is
 * touched. */
/* A lookup's first miss is its bucket, and half of that was address translation: 40 MB of buckets
 * are 10,000 small pages. Small indexes stay on small pages, so that an idle cache takes little. */
static void on_huge_pages(void *mem, size_t bytes)
{
    uintptr_t from = ((uintptr_t)mem + CACHE_REGION_MAX - 1) & ~(uintptr_t)(CACHE_REGION_MAX - 1);
    uintptr_t to = ((uintptr_t)mem + bytes) & ~(uintptr_t)(CACHE_REGION_MAX - 1);
    if (bytes >= HUGE_INDEX && to > from)
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE); /* only faster */
}

bool cache__take_index(struct cache *c)
{
    uint64_t buckets = c->max_bytes / CACHE_BYTES_PER_BUCKET / c->n_shards;
    uint64_t ghosts = buckets * CACHE_SLOTS / 2;
    size_t bucket_bytes = (size_t)buckets * sizeof(struct cache_bucket),
           ghost_bytes = (size_t)ghosts * sizeof(uint32_t);
    size_t slab_bytes = c->max_bytes / CACHE_SLAB / c->n_shards * sizeof(struct cache_slab *);
    size_t shard_index = (bucket_bytes + slab_bytes + ghost_bytes + 127) & ~(size_t)127;
    size_t index = shard_index * c->n_shards + 128;
    c->fixed_bytes = sizeof(*c) + sizeof(struct cache_shard) * c->n_shards + index +
                     c->max_bytes / CACHE_SLAB * sizeof(void *);
    if (c->fixed_bytes >= c->max_bytes)
        return false;
    size_t room = c->max_bytes - c->fixed_bytes;
    c->region_bytes = CACHE_REGION_MAX;
    while (c->region_bytes > CACHE_SLAB && room / c->region_bytes < 32)
        c->region_bytes /= 2;
    c->regions_max = (uint32_t)(room / c->region_bytes);
    uint32_t per_shard = (uint32_t)(c->regions_max * (c->region_bytes / CACHE_SLAB) / c->n_shards);
    if (per_shard == 0)
        return false;
    c->index = mem_zalloc(index);
    c->regions = mem_zalloc(c->regions_max * sizeof(void *));
    if (!c->index || !c->regions)
        return false;
    on_huge_pages(c->index, index);
    uint8_t *p = (uint8_t *)(((uintptr_t)c->index + 127) & ~(uintptr_t)127);
    for (uint32_t i = 0; i < c->n_shards; i++, p += shard_index) {
        struct cache_shard *s = &c->shards[i];
        s->cache = c;
        s->buckets = (struct cache_bucket *)(void *)p;
        s->slabs = (struct cache_slab **)(void *)(p + bucket_bytes);
        s->ghost = (uint32_t *)(void *)(p + bucket_bytes + slab_bytes);
        s->n_buckets = buckets;
        s->n_ghost = (uint32_t)ghosts;
        s->slabs_max = per_shard;
    }
    return true;
}

void cache__drop_index(struct cache *c)
{
    for (uint32_t i = 0; i < c->n_regions; i++)
        mem_free(c->regions[i]);
    mem_free(c->regions);
    mem_free(c->index);
    mem_free(c->shards);
    c->shards = NULL;
}
