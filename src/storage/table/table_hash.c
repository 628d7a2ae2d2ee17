/* table_hash.c - keys by hash, so that a get does not pay for a search, and a miss costs one cache
 * line.
 *
 * Extendible hashing (Fagin et al., TODS 1979): a directory, indexed by the hash's top bits, of
 * segments of 8-byte slots. A full segment is split into two new ones, so that growth never stops
 * the writer for long. What was replaced stays readable: a reader that still holds it misses only
 * keys put after it began. Slots are set once and never cleared.
 *
 * The skip list is the truth. When an index cannot be split further (no memory in the middle of a
 * batch, or too many equal hashes), it is given up, and whatever it does not know is searched for.
 */
#include "base/hash.h"
#include "storage/table/table_internal.h"

enum {
    SEGMENT_BITS = 9,
    SEGMENT_SLOTS = 1 << SEGMENT_BITS,
    SEGMENT_FULL = SEGMENT_SLOTS * 7 / 10,
    DEPTH_MAX = 22
};

struct table_segment {
    uint32_t depth; /* top bits of the hash that all its keys share */
    uint32_t used;
    _Atomic uint64_t slot[SEGMENT_SLOTS]; /* tag << 48 | node; 0: empty */
};

struct table_dir {
    uint32_t depth;
    struct table_segment *_Atomic segment[];
};

uint32_t table__hash(struct bytes key)
{
    return (uint32_t)hash_xxh64(key.data, key.len, 0);
}

static size_t dir_bytes(uint32_t depth)
{
    return sizeof(struct table_dir) + (sizeof(struct table_segment *) << depth);
}

static uint32_t dir_index(const struct table_dir *d, uint32_t hash)
{
    return d->depth ? hash >> (32 - d->depth) : 0;
}

static uint64_t tag_of(uint32_t hash)
{
    return (uint64_t)((hash >> SEGMENT_BITS) & 0xffff) << 48;
}

static struct table_segment *segment_of(const struct table_index *x, uint32_t hash)
{
    const struct table_dir *d = atomic_load_explicit(&x->dir, memory_order_acquire);
    return atomic_load_explicit(&d->segment[dir_index(d, hash)], memory_order_acquire);
}

static struct table_segment *new_segment(struct table_index *x, uint32_t depth)
{
    struct table_segment *s = table__mem_take(&x->mem, sizeof(*s));
    s->depth = depth;
    s->used = 0;
    for (size_t i = 0; i < SEGMENT_SLOTS; i++)
        atomic_init(&s->slot[i], 0);
    return s;
}

/* Segments of a table whose keys are all known are three quarters full at most. */
bool table__index_init(struct table_index *x, struct table_pages *pages, size_t n)
{
    uint32_t depth = 0;
    while (depth < DEPTH_MAX && n >> depth > SEGMENT_FULL * 3 / 4)
        depth++;
    size_t segments = (size_t)1 << depth;
    table__mem_init(&x->mem, pages);
    if (!table__mem_reserve(&x->mem, segments * sizeof(struct table_segment) + dir_bytes(depth)))
        return false;
    struct table_dir *d = table__mem_take(&x->mem, dir_bytes(depth));
    d->depth = depth;
    for (size_t i = 0; i < segments; i++)
        atomic_init(&d->segment[i], new_segment(x, depth));
    atomic_init(&x->dir, d);
    atomic_init(&x->complete, true);
    return true;
}

static size_t split_bytes(const struct table_index *x)
{
    return 2 * sizeof(struct table_segment) +
           dir_bytes(atomic_load_explicit(&x->dir, memory_order_relaxed)->depth + 1);
}

/* Segments fill up about together; one split for 64 keys is several times what a batch meets, and
 * where it is not enough the index asks for more. */
bool table__index_reserve(struct table_index *x, size_t n)
{
    size_t splits = n == 1 ? 1 : n / 64 + 8;
    return table__mem_reserve(&x->mem,
                              split_bytes(x) + (splits - 1) * 2 * sizeof(struct table_segment));
}

static struct table_key *node_of(uint64_t word)
{
    return (struct table_key *)(uintptr_t)(word & 0xffffffffffffu);
}

static void add(struct table_segment *s, uint32_t hash, const struct table_key *n)
{
    uint32_t i = hash % SEGMENT_SLOTS;
    while (atomic_load_explicit(&s->slot[i], memory_order_relaxed))
        i = (i + 1) % SEGMENT_SLOTS;
    atomic_store_explicit(&s->slot[i], tag_of(hash) | (uint64_t)(uintptr_t)n, memory_order_release);
    s->used++;
}

static struct table_dir *grow_dir(struct table_index *x, const struct table_dir *old)
{
    struct table_dir *d = table__mem_take(&x->mem, dir_bytes(old->depth + 1));
    d->depth = old->depth + 1;
    for (size_t i = 0; i < (size_t)1 << d->depth; i++)
        atomic_init(&d->segment[i],
                    atomic_load_explicit(&old->segment[i / 2], memory_order_relaxed));
    atomic_store_explicit(&x->dir, d, memory_order_release);
    return d;
}

static bool split(struct table_index *x, struct table_segment *old, uint32_t hash)
{
    struct table_dir *d = atomic_load_explicit(&x->dir, memory_order_relaxed);
    if (old->depth == DEPTH_MAX || !table__mem_reserve(&x->mem, split_bytes(x)))
        return false;
    if (old->depth == d->depth)
        d = grow_dir(x, d);
    struct table_segment *half[2] = {new_segment(x, old->depth + 1),
                                     new_segment(x, old->depth + 1)};
    for (size_t i = 0; i < SEGMENT_SLOTS; i++)
        __builtin_prefetch(node_of(atomic_load_explicit(&old->slot[i], memory_order_relaxed)));
    for (size_t i = 0; i < SEGMENT_SLOTS; i++) {
        struct table_key *n = node_of(atomic_load_explicit(&old->slot[i], memory_order_relaxed));
        if (n)
            add(half[(n->hash >> (31 - old->depth)) & 1], n->hash, n);
    }
    size_t span = (size_t)1 << (d->depth - old->depth), first = dir_index(d, hash) & ~(span - 1);
    for (size_t i = 0; i < span; i++)
        atomic_store_explicit(&d->segment[first + i], half[i >= span / 2], memory_order_release);
    return true;
}

void table__index_add(struct table_index *x, struct table_key *n)
{
    if (!atomic_load_explicit(&x->complete, memory_order_relaxed))
        return;
    struct table_segment *s;
    while ((s = segment_of(x, n->hash))->used >= SEGMENT_FULL)
        if (!split(x, s, n->hash)) {
            atomic_store_explicit(&x->complete, false, memory_order_release);
            return;
        }
    add(s, n->hash, n);
}

void table__index_add_at(struct table_index *x, uint32_t hash, const struct table_key *n)
{
    struct table_segment *s = segment_of(x, hash);
    if (s->used < SEGMENT_FULL)
        add(s, hash, n);
    else
        atomic_store_explicit(&x->complete, false, memory_order_release);
}

const void *table__index_place(const struct table_index *x, uint32_t hash)
{
    return &segment_of(x, hash)->slot[hash % SEGMENT_SLOTS];
}

const void *table__index_peek(const struct table_index *x, uint32_t hash)
{
    const struct table_segment *s = segment_of(x, hash);
    uint64_t tag = tag_of(hash), word;
    uint32_t i = hash % SEGMENT_SLOTS;
    while ((word = atomic_load_explicit(&s->slot[i], memory_order_acquire)) != 0 &&
           (word ^ tag) >> 48)
        i = (i + 1) % SEGMENT_SLOTS;
    return node_of(word);
}

static bool same_key(const struct table_key *n, uint32_t hash, struct bytes key)
{
    return n->hash == hash && n->len == key.len &&
           (key.len == 0 || memcmp(table__key_data(n), key.data, key.len) == 0);
}

struct table_key *table__index_find(const struct table_index *x, uint32_t hash, struct bytes key,
                                    bool *ret_sure)
{
    /* Before the segment: a key put after the index was given up is then searched for. */
    *ret_sure = atomic_load_explicit(&x->complete, memory_order_acquire);
    const struct table_segment *s = segment_of(x, hash);
    uint64_t tag = tag_of(hash);
    for (uint32_t i = hash % SEGMENT_SLOTS;; i = (i + 1) % SEGMENT_SLOTS) {
        uint64_t word = atomic_load_explicit(&s->slot[i], memory_order_acquire);
        if (word == 0)
            return NULL;
        if ((word ^ tag) >> 48)
            continue;
        struct table_key *n = node_of(word);
        __builtin_prefetch((const char *)n + 64);
        __builtin_prefetch((const char *)n + 128);
        if (same_key(n, hash, key))
            return n;
    }
}
