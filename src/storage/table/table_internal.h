/* table_internal.h - how a table lies in memory.
 *
 *   key node  next[h-1] .. next[0] | struct table_key | key, zero-padded to KEY_INLINE at least |
 *             first version
 *   version   struct table_entry | writer | value, or a pointer to the value inside a blob
 *
 * A node's links lie below its address, so that its fixed fields and the head of its key share a
 * cache line. The first KEY_INLINE bytes of a key are compared as two big-endian words. Zero
 * padding keeps that exact: where the padded words differ, the keys differ the same way or the
 * shorter one is a prefix of the other; where they are equal, the rest and then the lengths decide.
 *
 * Invariants:
 *   1. A node is linked at level l before it is linked at level l + 1, and never unlinked. The
 *      index learns of it last.
 *   2. A node has at least one version before it is linked.
 *   3. Down a chain of versions, versions fall strictly. Entry n of the order has no smaller
 *      version than entry n - 1.
 *   4. The finger: prev[l] is before `last` and has a link at level l. Where prev[l]'s successor
 *      lies after `last`, prev[l] is the true predecessor of `last` on level l, and so are the
 *      finger's nodes on all levels above.
 */
#ifndef VARVE_STORAGE_TABLE_INTERNAL_H
#define VARVE_STORAGE_TABLE_INTERNAL_H

#include "storage/table/table.h"
#include <stdatomic.h>

enum {
    TABLE_MAX_HEIGHT = 16,  /* branching 4: enough for 4^16 keys */
    KEY_INLINE = 16,        /* key bytes that are compared as words */
    ORDER_CHUNK = 1024,     /* entries of one chunk of the order */
    TABLE_CHUNK_MIN = 8192, /* bytes of a region's first chunk; they grow with the region */
    TABLE_CHUNK_MAX = 2 << 20,
};

struct table_key {
    struct table_entry *_Atomic newest;
    uint32_t hash;
    uint32_t len : 24;
    uint32_t height : 8;
    /* the key's bytes follow, then the first version */
};

struct table_entry {
    struct table_key *key;
    struct table_entry *older; /* the next older version; NULL: none */
    struct table_entry *jump;  /* an older one further away; the oldest points to itself */
    uint64_t hlc;
    uint64_t expires_ms;
    uint32_t origin;
    uint32_t depth; /* versions from here to the oldest, both counted */
    uint32_t value_len;
    uint8_t kind, type, writer_len;
    bool by_ref;
    uint8_t data[];
};

/* A bump region. reserve() takes what the next allocations may need, so that they cannot fail. */
struct table_chunk;
struct table_mem {
    struct table_chunk *chunks;
    uint8_t *p, *end;
    uint8_t *spare, *spare_end; /* a chunk already taken that follows the current one */
    size_t next_bytes;
    size_t total_bytes;
    struct table_pages *pages; /* NULL: all from the system */
};

struct table_blob {
    struct table_blob *next;
    struct blob *blob;
};

/* Entries in put order: a directory of chunks. A grown directory replaces the old one, which stays
 * readable. */
struct table_order {
    struct table_entry ***_Atomic dir;
    _Atomic uint64_t count;
    uint64_t dir_cap; /* chunks that the directory has room for */
};

/* Nodes by hash; see table_hash.c. */
struct table_dir;
struct table_index {
    struct table_dir *_Atomic dir;
    _Atomic bool complete; /* it knows every key */
    struct table_mem mem;
};

struct table_finger {
    struct table_key *prev[TABLE_MAX_HEIGHT];
    struct table_key *last; /* the key of the last put; NULL: none yet */
};

struct table_spill; /* see table_spill.c */

struct table {
    _Atomic uint32_t refs;
    _Atomic uint32_t height; /* levels in use, at least 1 */
    struct table_key *head;
    _Atomic uint64_t keys;
    _Atomic size_t bytes;
    struct table_order order;
    struct table_index index;
    struct table *below;       /* holds a reference; NULL: none */
    struct table_spill *spill; /* where its nodes and versions lie; NULL: in `mem` */

    /* The writer's alone. */
    struct table_mem mem;
    struct table_finger finger;
    struct table_pages *pages;
    struct table_blob *blobs;
    size_t blob_bytes;
    uint64_t rng;
};

/* A key to look for, its head already turned into words. */
struct table_probe {
    uint64_t hi, lo;
    struct bytes key;
};

static inline uint64_t table__be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline struct table_probe table__probe(struct bytes key)
{
    uint8_t head[KEY_INLINE] = {0};
    const uint8_t *p = key.data;
    if (key.len < KEY_INLINE) {
        if (key.len)
            memcpy(head, key.data, key.len);
        p = head;
    }
    return (struct table_probe){table__be64(p), table__be64(p + 8), key};
}

static inline const uint8_t *table__key_data(const struct table_key *n)
{
    return (const uint8_t *)(n + 1);
}

/* <0: the node's key is before the probe's; 0: equal; >0: after. */
static inline int table__cmp(const struct table_key *n, const struct table_probe *p)
{
    const uint8_t *k = table__key_data(n);
    uint64_t w = table__be64(k);
    if (w != p->hi)
        return w < p->hi ? -1 : 1;
    w = table__be64(k + 8);
    if (w != p->lo)
        return w < p->lo ? -1 : 1;
    if (n->len > KEY_INLINE && p->key.len > KEY_INLINE) {
        size_t len = n->len < p->key.len ? n->len : p->key.len;
        int c = memcmp(k + KEY_INLINE, p->key.data + KEY_INLINE, len - KEY_INLINE);
        if (c)
            return c;
    }
    return (n->len > p->key.len) - (n->len < p->key.len);
}

static inline struct table_key *_Atomic *table__link(const struct table_key *n, unsigned level)
{
    return (struct table_key * _Atomic *)n - 1 - level;
}

static inline struct table_key *table__next(const struct table_key *n, unsigned level)
{
    return atomic_load_explicit(table__link(n, level), memory_order_acquire);
}

static inline struct version table__version(const struct table_entry *e)
{
    return (struct version){e->hlc, e->origin};
}

/* A node that has no version yet, in table__node_bytes(height, key.len) bytes of memory. */
size_t table__node_bytes(unsigned height, size_t key_len);
struct table_key *table__make_node(uint8_t *mem, unsigned height, struct bytes key, uint32_t hash);
/* A version that is not linked yet, in table__entry_bytes(rec, owner) bytes of memory. */
size_t table__entry_bytes(const struct record *rec, const struct blob *owner);
struct table_entry *table__make_entry(uint8_t *mem, const struct record *rec,
                                      const struct blob *owner);
void table__spill_free(struct table_spill *s); /* takes NULL */

/* The node with the key; NULL: none. */
const struct table_key *table__find_key(const struct table *t, struct bytes key);

uint32_t table__hash(struct bytes key);
/* Room for n keys from the start, and then as they come. false: no memory. */
bool table__index_init(struct table_index *x, struct table_pages *pages, size_t n);
bool table__index_reserve(struct table_index *x,
                          size_t n); /* takes memory for n more keys; false: no memory */
void table__index_add(struct table_index *x,
                      struct table_key *n); /* the node is complete; it has a version */
/* The same of a node that cannot be read yet. Where its segment is full the index
 * is given up. */
void table__index_add_at(struct table_index *x, uint32_t hash, const struct table_key *n);
/* NULL: not in the index; *ret_sure then says whether it is not in the table either. */
struct table_key *table__index_find(const struct table_index *x, uint32_t hash, struct bytes key,
                                    bool *ret_sure);
const void *table__index_place(const struct table_index *x, uint32_t hash); /* where to prefetch */
/* The node that a key of this hash has, if it has one: to prefetch, too. May be NULL, or another's. */
const void *table__index_peek(const struct table_index *x, uint32_t hash);

/* After a successful reserve of n bytes, allocations of up to n bytes in all (each rounded up to 8)
 * succeed. */
bool table__mem_reserve(struct table_mem *m, size_t n);
void *table__mem_take(struct table_mem *m, size_t n); /* 8-byte aligned; never NULL */
size_t table__mem_bytes(const struct table_mem *m);   /* in use */
void table__mem_init(struct table_mem *m, struct table_pages *pages);
void table__mem_deinit(struct table_mem *m);

size_t table__order_need(const struct table_order *o,
                         size_t n); /* bytes that n appends may take from a region */
void table__order_append(struct table_order *o, struct table_mem *m, struct table_entry *e);
struct table_entry *table__order_at(const struct table_order *o,
                                    uint64_t n); /* n < count, by the caller's duty */

#endif
