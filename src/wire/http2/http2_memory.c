/* http2_memory.c - the heap of one connection: small blocks are kept for the next request.
 *
 * nghttp2 allocates some ten small blocks for each request and frees them with its end. With many
 * requests in flight the C library's own caches overflow; these lists do not. An idle connection
 * gives them back (h2_tick).
 */
#include "wire/http2/http2_internal.h"

#include "base/alloc.h"

#include <malloc.h>

enum { STEP = 32, POOL_BYTES_MAX = 128 * 1024 };

struct h2_block_free {
    struct h2_block_free *next;
};

void *h2__alloc(struct h2_conn *c, size_t size)
{
    size_t class = size ? (size - 1) / STEP : 0;
    if (class >= H2_POOL_CLASSES) {
        void *large = mem_alloc(size);
        c->memory += malloc_usable_size(large);
        return large;
    }
    struct h2_block_free *kept = c->pool[class];
    if (kept) {
        c->pool[class] = kept->next;
        c->pool_bytes -= (class + 1) * STEP;
        return kept;
    }
    void *p = mem_alloc((class + 1) * STEP);
    c->memory += malloc_usable_size(p);
    return p;
}

void h2__free(struct h2_conn *c, void *p)
{
    size_t size = malloc_usable_size(p), blocks = size / STEP;
    if (blocks && blocks <= H2_POOL_CLASSES && H2_POOLING && c->pool_bytes < POOL_BYTES_MAX) {
        /* Of whatever size it was asked for, it holds this many whole steps. */
        struct h2_block_free *kept = p;
        kept->next = c->pool[blocks - 1];
        c->pool[blocks - 1] = kept;
        c->pool_bytes += blocks * STEP;
        return;
    }
    c->memory -= size;
    mem_free(p);
}

void *h2__realloc(struct h2_conn *c, void *p, size_t size)
{
    size_t before = malloc_usable_size(p);
    void *q = mem_realloc(p, size);
    if (q)
        c->memory += malloc_usable_size(q) - before;
    return q;
}

void h2__pool_free(struct h2_conn *c)
{
    for (size_t i = 0; i < H2_POOL_CLASSES; i++)
        while (c->pool[i]) {
            struct h2_block_free *p = c->pool[i];
            c->pool[i] = p->next;
            c->memory -= malloc_usable_size(p);
            mem_free(p);
        }
    c->pool_bytes = 0;
}
