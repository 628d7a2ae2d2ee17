/* raft_pool.c - blocks for payloads, nodes for messages, scratch for updates: all used again. */
#include "consensus/raft/raft_internal.h"

enum { SCRATCH_CHUNK = 64 * 1024, EVICT_TRIES = 64, EVICT_BLOCKS = 16 };

static size_t class_bytes(unsigned c)
{
    return (size_t)RAFT__BLOCK << c;
}

static unsigned class_of(size_t total)
{
    unsigned c = 0;
    while (c < RAFT__CLASSES && class_bytes(c) < total)
        c++;
    return c;
}

static void trim_pool(struct raft_store *s, size_t need)
{
    for (unsigned c = 0; c < RAFT__CLASSES; c++)
        while (s->free_blocks[c] && s->cache_used + s->pool_free + need > s->o.cache_bytes) {
            struct raft__block *b = s->free_blocks[c];
            s->free_blocks[c] = b->next;
            s->pool_free -= sizeof *b + b->size;
            mem_free(b);
        }
}

bool raft__make_room(struct raft_store *s, size_t size)
{
    /* What is applied goes first; what is only durable can still be fetched from the log. */
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned tries = 0; s->cache_used + size > s->o.cache_bytes && tries < EVICT_TRIES;) {
            if (list_empty(&s->cached))
                return false;
            struct raft *r = container_of(s->cached.next, struct raft, cache_link);
            uint64_t to = pass == 0 ? r->apply_sent : UINT64_MAX;
            if (r->busy || raft__log_evict(r, to, EVICT_BLOCKS) == 0) {
                tries++;
                if (r->is_cached) {
                    list_remove(&r->cache_link);
                    list_push_back(&s->cached, &r->cache_link);
                }
            }
        }
        if (s->cache_used + size <= s->o.cache_bytes)
            return true;
    }
    return false;
}

enum status raft__block_get(struct raft_store *s, size_t size, bool force, struct raft__block **ret)
{
    size_t total = sizeof(struct raft__block) + size;
    unsigned c = class_of(total);
    if (c < RAFT__CLASSES)
        total = class_bytes(c);
    if (s->cache_used + total > s->o.cache_bytes && !raft__make_room(s, total) && !force)
        return ST_OVERLOADED;
    struct raft__block *b = c < RAFT__CLASSES ? s->free_blocks[c] : NULL;
    if (b) {
        s->free_blocks[c] = b->next;
        s->pool_free -= total;
    } else {
        trim_pool(s, total);
        b = mem_alloc(total);
        if (!b)
            return ST_NO_MEMORY;
        b->size = total - sizeof *b;
    }
    s->cache_used += total;
    b->next = NULL;
    b->live = b->used = 0;
    *ret = b;
    return ST_OK;
}

void raft__block_put(struct raft_store *s, struct raft__block *b)
{
    if (!b)
        return;
    size_t total = sizeof *b + b->size;
    unsigned c = class_of(total);
    ASSERT(s->cache_used >= total);
    s->cache_used -= total;
    if (c >= RAFT__CLASSES || s->cache_used + s->pool_free + total > s->o.cache_bytes) {
        mem_free(b);
        return;
    }
    b->next = s->free_blocks[c];
    s->free_blocks[c] = b;
    s->pool_free += total;
}

struct raft__block *raft__block_copy(struct raft_store *s, struct bytes payload, bool force)
{
    struct raft__block *b;
    if (raft__block_get(s, payload.len ? payload.len : 1, force, &b) != ST_OK)
        return NULL;
    if (payload.len)
        memcpy(b->data, payload.data, payload.len);
    return b;
}

struct raft__node *raft__node_get(struct raft_store *s)
{
    struct raft__node *n = s->free_nodes;
    if (n)
        s->free_nodes = n->next;
    else
        n = mem_alloc(sizeof *n);
    if (n)
        memset(n, 0, sizeof *n);
    return n;
}

void raft__node_put(struct raft_store *s, struct raft__node *n)
{
    n->next = s->free_nodes;
    s->free_nodes = n;
}

static bool scratch_chunk(struct raft__scratch *x)
{
    if (x->n == x->cap) {
        size_t cap = x->cap ? x->cap * 2 : 4;
        uint8_t **v = mem_realloc(x->chunk, cap * sizeof *v);
        if (!v)
            return false;
        x->chunk = v;
        x->cap = cap;
    }
    x->chunk[x->n] = mem_alloc(SCRATCH_CHUNK);
    if (!x->chunk[x->n])
        return false;
    x->n++;
    return true;
}

void *raft__scratch_get(struct raft_store *s, size_t size)
{
    struct raft__scratch *x = &s->scratch;
    ASSERT(size <= SCRATCH_CHUNK);
    size = (size + 15) & ~(size_t)15;
    if (x->at < x->n && SCRATCH_CHUNK - x->used < size) {
        x->at++;
        x->used = 0;
    }
    if (x->at >= x->n && !scratch_chunk(x))
        return NULL;
    void *p = x->chunk[x->at] + x->used;
    x->used += size;
    return p;
}

void raft__scratch_trim(struct raft_store *s, const void *end)
{
    struct raft__scratch *x = &s->scratch;
    const uint8_t *e = end;
    if (x->at < x->n && e >= x->chunk[x->at] && e <= x->chunk[x->at] + x->used)
        x->used = ((size_t)(e - x->chunk[x->at]) + 15) & ~(size_t)15;
}

void raft__pool_deinit(struct raft_store *s)
{
    for (unsigned c = 0; c < RAFT__CLASSES; c++)
        while (s->free_blocks[c]) {
            struct raft__block *b = s->free_blocks[c];
            s->free_blocks[c] = b->next;
            mem_free(b);
        }
    while (s->free_nodes) {
        struct raft__node *n = s->free_nodes;
        s->free_nodes = n->next;
        mem_free(n);
    }
    for (size_t i = 0; i < s->scratch.n; i++)
        mem_free(s->scratch.chunk[i]);
    mem_free(s->scratch.chunk);
}

uint64_t raft__random(struct raft_store *s)
{
    uint64_t z = s->rng += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 (Vigna) */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}
