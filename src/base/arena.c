/* arena.c - chunks in a list; the head is the one being filled.
 *
 * A piece larger than half a chunk gets a chunk of its own, put behind the head, so that the head's
 * free space is not lost. Ordinary chunks double up to CHUNK_GROWTH_MAX, so that a big request
 * makes few of them.
 */
#include "base/arena.h"

#include "base/alloc.h"
#include "base/assert.h"

enum { CHUNK_DEFAULT = 64 * 1024, CHUNK_GROWTH_MAX = 1024 * 1024, ALIGN_DEFAULT = 8 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* of data */
    _Alignas(16) uint8_t data[];
};

void arena_init(struct arena *a, size_t chunk_bytes)
{
    *a = (struct arena){.chunk_bytes = chunk_bytes ? chunk_bytes : CHUNK_DEFAULT};
}

static void chunks_free(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;
        mem_free(c);
        c = next;
    }
}

void arena_deinit(struct arena *a)
{
    if (!a)
        return;
    chunks_free(a->head);
    arena_init(a, a->chunk_bytes);
}

void arena_reset(struct arena *a)
{
    struct arena_chunk *keep = a->head;
    if (!keep)
        return;
    /* A chunk made for one oversized piece is not worth keeping between requests. */
    if (keep->size > a->chunk_bytes) {
        arena_deinit(a);
        return;
    }
    chunks_free(keep->next);
    keep->next = NULL;
    a->p = keep->data;
    a->end = keep->data + keep->size;
    a->total_bytes = sizeof *keep + keep->size;
}

static struct arena_chunk *chunk_new(struct arena *a, size_t size)
{
    struct arena_chunk *c = mem_alloc(sizeof *c + size);
    if (!c)
        return NULL;
    c->size = size;
    c->next = NULL;
    a->total_bytes += sizeof *c + size;
    return c;
}

static inline uint8_t *align_up(uint8_t *p, size_t align)
{
    return p + (-(uintptr_t)p & (align - 1));
}

static void *alloc_alone(struct arena *a, size_t room, size_t align)
{
    struct arena_chunk *c = chunk_new(a, room);
    if (!c)
        return NULL;
    if (a->head) {
        c->next = a->head->next;
        a->head->next = c;
    } else {
        a->head = c;
        a->p = a->end = c->data + c->size;
    }
    return align_up(c->data, align);
}

static void *alloc_slow(struct arena *a, size_t size, size_t align)
{
    if (size > PTRDIFF_MAX - align - sizeof(struct arena_chunk))
        return NULL;
    size_t room = size + align - 1;
    if (room > a->chunk_bytes / 2)
        return alloc_alone(a, room, align);
    struct arena_chunk *c = chunk_new(a, a->chunk_bytes);
    if (!c)
        return NULL;
    c->next = a->head;
    a->head = c;
    a->end = c->data + c->size;
    uint8_t *piece = align_up(c->data, align);
    a->p = piece + size;
    if (a->chunk_bytes <= CHUNK_GROWTH_MAX / 2)
        a->chunk_bytes *= 2;
    return piece;
}

void *arena_alloc_align(struct arena *a, size_t size, size_t align)
{
    DASSERT(align && (align & (align - 1)) == 0);
    if (size == 0)
        size = 1;
    if (a->p) {
        size_t pad = -(uintptr_t)a->p & (align - 1);
        size_t left = (size_t)(a->end - a->p);
        if (pad <= left && size <= left - pad) {
            uint8_t *piece = a->p + pad;
            a->p = piece + size;
            return piece;
        }
    }
    return alloc_slow(a, size, align);
}

void *arena_alloc(struct arena *a, size_t size)
{
    return arena_alloc_align(a, size, ALIGN_DEFAULT);
}

void *arena_memdup(struct arena *a, const void *p, size_t len)
{
    void *copy = arena_alloc(a, len);
    if (copy && len)
        memcpy(copy, p, len);
    return copy;
}

char *arena_strdup(struct arena *a, const char *s)
{
    size_t size = strlen(s) + 1;
    char *copy = arena_alloc_align(a, size, 1);
    if (copy)
        memcpy(copy, s, size);
    return copy;
}
