/* http2_memory.c - the heap of one connection: small blocks are kept for the next request.
 *
 * nghttp2 allocates some ten small blocks for each request and frees them with its end. With many
 * requests in flight the C library's own caches overflow; these lists do not. An idle connection
 * gives them back (h2_tick). Before each block stands its size: asking the C library takes longer.
 */
#include "wire/http2/http2_internal.h"

#include "base/alloc.h"

enum { STEP = 32, POOL_BYTES_MAX = 128 * 1024 };

struct h2_block_free {
    struct h2_block_free *next;
};

struct block {
    size_t size; /* of `data` */
    _Alignas(16) uint8_t data[];
};

static struct block *block_of(void *p)
{
    return (struct block *)(void *)((uint8_t *)p - sizeof(struct block));
}

static void *block_new(struct h2_conn *c, size_t size)
{
    struct block *b = mem_alloc(sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    c->memory += sizeof *b + size;
    return b->data;
}

static void block_free(struct h2_conn *c, struct block *b)
{
    c->memory -= sizeof *b + b->size;
    mem_free(b);
}

void *h2__alloc(struct h2_conn *c, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct block))
        return NULL;
    size_t class = size ? (size - 1) / STEP : 0;
    if (class >= H2_POOL_CLASSES)
        return block_new(c, size);
    struct h2_block_free *kept = c->pool[class];
    if (kept) {
        c->pool[class] = kept->next;
        c->pool_bytes -= (class + 1) * STEP;
        return kept;
    }
    return block_new(c, (class + 1) * STEP);
}

void h2__free(struct h2_conn *c, void *p)
{
    if (!p)
        return;
    struct block *b = block_of(p);
    size_t class = b->size / STEP - 1; /* of whatever size it is, it holds this many whole steps */
    if (class < H2_POOL_CLASSES && H2_POOLING && c->pool_bytes < POOL_BYTES_MAX) {
        struct h2_block_free *kept = p;
        kept->next = c->pool[class];
        c->pool[class] = kept;
        c->pool_bytes += (class + 1) * STEP;
        return;
    }
    block_free(c, b);
}

void *h2__realloc(struct h2_conn *c, void *p, size_t size)
{
    if (!p)
        return h2__alloc(c, size);
    if (size > SIZE_MAX - sizeof(struct block))
        return NULL;
    struct block *b = block_of(p);
    size_t before = b->size;
    b = mem_realloc(b, sizeof *b + size);
    if (!b)
        return NULL;
    b->size = size;
    c->memory += size;
    c->memory -= before;
    return b->data;
}

void h2__pool_free(struct h2_conn *c)
{
    for (size_t i = 0; i < H2_POOL_CLASSES; i++)
        while (c->pool[i]) {
            struct h2_block_free *p = c->pool[i];
            c->pool[i] = p->next;
            block_free(c, block_of(p));
        }
    c->pool_bytes = 0;
}
