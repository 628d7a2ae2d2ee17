/* Blocks with a header that links them into their heap. */
#include "sim/core/heap.h"

#include "sim/core/blocks.h"

#include <stdint.h>
#include <string.h>

struct block {
    struct list node;
    struct sim_heap *heap;
    size_t size;
    void *start; /* what blocks_take gave, and how much was asked of it */
    size_t total;
};
_Static_assert(sizeof(struct block) % 16 == 0, "what follows is aligned as malloc aligns");

static struct sim_heap *current;

void sim_heap_init(struct sim_heap *h)
{
    *h = (struct sim_heap){0};
    list_init(&h->blocks);
}

struct sim_heap *sim_heap_enter(struct sim_heap *h)
{
    struct sim_heap *before = current;
    current = h;
    return before;
}

static struct block *of(void *p)
{
    return (struct block *)p - 1;
}

static void link_in(struct block *b, struct sim_heap *h)
{
    b->heap = h;
    list_init(&b->node);
    if (!h)
        return;
    list_push_back(&h->blocks, &b->node);
    h->bytes += b->size;
    h->count++;
}

static void link_out(struct block *b)
{
    list_remove(&b->node);
    if (!b->heap)
        return;
    b->heap->bytes -= b->size;
    b->heap->count--;
}

void *sim_heap_alloc(size_t align, size_t size)
{
    if (size > PTRDIFF_MAX - sizeof(struct block) - align)
        return NULL;
    size_t extra = align > 16 ? align : 0, total = sizeof(struct block) + extra + size;
    char *start = blocks_take(total);
    if (!start)
        return NULL;
    uintptr_t at = (uintptr_t)start + sizeof(struct block);
    size_t skip = extra ? (align - at % align) % align : 0;
    struct block *b = (struct block *)(void *)(start + skip);
    *b = (struct block){.size = size, .start = start, .total = total};
    link_in(b, current);
    return b + 1;
}

/* Whether the block has room for that where it is. */
static bool stretch(struct block *b, size_t size)
{
    size_t before = b->total - b->size; /* what lies in front of the caller's */
    if (size > PTRDIFF_MAX - before || before + size > blocks_room(b->total) ||
        blocks_room(before + size) != blocks_room(b->total))
        return false;
    if (b->heap)
        b->heap->bytes += size - b->size;
    b->total = before + size;
    b->size = size;
    return true;
}

void *sim_heap_realloc(void *p, size_t size)
{
    if (p && stretch(of(p), size))
        return p;
    void *to = sim_heap_alloc(0, size);
    if (!to || !p)
        return to;
    struct block *b = of(p);
    memcpy(to, p, b->size < size ? b->size : size);
    if (b->heap != of(to)->heap) { /* it stays whose it was */
        link_out(of(to));
        link_in(of(to), b->heap);
    }
    sim_heap_free(p);
    return to;
}

void sim_heap_free(void *p)
{
    if (!p)
        return;
    struct block *b = of(p);
    link_out(b);
    blocks_give(b->start, b->total);
}

size_t sim_heap_size(void *p)
{
    return p ? of(p)->size : 0;
}

void sim_heap_drop(struct sim_heap *h)
{
    list_foreach_safe (it, &h->blocks)
        sim_heap_free(container_of(it, struct block, node) + 1);
}
