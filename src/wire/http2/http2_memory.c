/* http2_memory.c - the heap of connections: small blocks, streams and output buffers are kept for
 * the next request, of a connection alone or of all that share a pool.
 *
 * nghttp2 allocates some ten small blocks for each request and frees them with its end. With many
 * requests in flight the C library's own caches overflow; these lists do not. What is kept belongs to
 * the pool and is not counted as the connection's. Idle connections give it back (h2_tick). Before each
 * block stands its size: asking the C library takes longer.
 */
#include "wire/http2/http2_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

enum { STEP = 32, OWN_BYTES_MAX = 128 * 1024, SHARED_BYTES_MAX = 512 * 1024 };

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

static size_t bytes_of(void *p)
{
    return sizeof(struct block) + block_of(p)->size;
}

static void to_pool(struct h2_conn *c, void *p)
{
    c->memory -= bytes_of(p);
    c->pool->memory += bytes_of(p);
}

static void from_pool(struct h2_conn *c, void *p)
{
    c->memory += bytes_of(p);
    c->pool->memory -= bytes_of(p);
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

static void block_free(struct h2_conn *c, void *p)
{
    c->memory -= bytes_of(p);
    mem_free(block_of(p));
}

void *h2__alloc(struct h2_conn *c, size_t size)
{
    if (size > SIZE_MAX - sizeof(struct block))
        return NULL;
    size_t class = size ? (size - 1) / STEP : 0;
    if (class >= H2_POOL_CLASSES)
        return block_new(c, size);
    struct h2_block_free *kept = c->pool->blocks[class];
    if (kept) {
        c->pool->blocks[class] = kept->next;
        c->pool->block_bytes -= (class + 1) * STEP;
        from_pool(c, kept);
        return kept;
    }
    return block_new(c, (class + 1) * STEP);
}

void h2__free(struct h2_conn *c, void *p)
{
    if (!p)
        return;
    /* Of whatever size it is, it holds this many whole steps. */
    size_t class = block_of(p)->size / STEP - 1;
    struct h2_pool *pool = c->pool;
    if (class < H2_POOL_CLASSES && H2_POOLING && pool->block_bytes < pool->block_bytes_max) {
        struct h2_block_free *kept = p;
        kept->next = pool->blocks[class];
        pool->blocks[class] = kept;
        pool->block_bytes += (class + 1) * STEP;
        to_pool(c, p);
        return;
    }
    block_free(c, p);
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

/* --- streams and output --- */

struct h2_stream *h2__spare_take(struct h2_conn *c)
{
    if (list_empty(&c->pool->spare))
        return h2__alloc(c, sizeof(struct h2_stream));
    struct h2_stream *s = container_of(c->pool->spare.next, struct h2_stream, link);
    list_remove(&s->link);
    c->pool->spare_n--;
    from_pool(c, s);
    return s;
}

void h2__spare_give(struct h2_conn *c, struct h2_stream *s)
{
    if (!H2_POOLING || c->freed || c->pool->spare_n >= c->pool->spare_max) {
        h2__free(c, s);
        return;
    }
    list_push_front(&c->pool->spare, &s->link);
    c->pool->spare_n++;
    to_pool(c, s);
}

void h2__out_take(struct h2_conn *c)
{
    ASSERT(!c->out);
    if (!c->pool->out)
        return;
    c->out = c->pool->out;
    c->out_cap = block_of(c->out)->size;
    c->pool->out = NULL;
    from_pool(c, c->out);
}

void h2__out_give(struct h2_conn *c)
{
    if (c->out && H2_POOLING && !c->freed && !c->pool->out) {
        c->pool->out = c->out;
        to_pool(c, c->out);
    } else {
        h2__free(c, c->out);
    }
    c->out = NULL;
    c->out_off = c->out_len = c->out_cap = 0;
}

/* --- pools --- */

static void kept_free(struct h2_pool *pool, void *p)
{
    pool->memory -= bytes_of(p);
    mem_free(block_of(p));
}

void h2__pool_trim(struct h2_pool *pool)
{
    for (size_t i = 0; i < H2_POOL_CLASSES; i++)
        while (pool->blocks[i]) {
            struct h2_block_free *p = pool->blocks[i];
            pool->blocks[i] = p->next;
            kept_free(pool, p);
        }
    pool->block_bytes = 0;
    list_foreach_safe (it, &pool->spare) {
        list_remove(it);
        kept_free(pool, container_of(it, struct h2_stream, link));
    }
    pool->spare_n = 0;
    if (pool->out)
        kept_free(pool, pool->out);
    pool->out = NULL;
    ASSERT(pool->memory == 0);
}

static void pool_init(struct h2_pool *pool, bool shared)
{
    list_init(&pool->spare);
    pool->spare_max = shared ? H2_SPARE_SHARED : H2_SPARE_STREAMS;
    pool->block_bytes_max = shared ? SHARED_BYTES_MAX : OWN_BYTES_MAX;
}

struct h2_pool *h2_pool_new(void)
{
    struct h2_pool *pool = mem_zalloc(sizeof *pool);
    if (pool)
        pool_init(pool, true);
    return pool;
}

void h2_pool_free(struct h2_pool *pool)
{
    if (!pool)
        return;
    ASSERT(pool->conns == 0);
    h2__pool_trim(pool);
    mem_free(pool);
}

void h2__pool_join(struct h2_conn *c)
{
    pool_init(&c->own_pool, false);
    c->pool = c->o.pool ? c->o.pool : &c->own_pool;
    c->pool->conns++;
}

/* The last connection leaves nothing behind. */
void h2__pool_leave(struct h2_conn *c)
{
    if (--c->pool->conns == 0)
        h2__pool_trim(c->pool);
}
