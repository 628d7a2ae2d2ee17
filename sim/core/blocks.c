/* Lists of free blocks over chunks that only grow. Half of malloc's time went into joining and
 * splitting blocks, which sizes that come again and again do not need. */
#include "sim/core/blocks.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

void *blocks_take(size_t size)
{
    return malloc(size);
}

void blocks_give(void *p, size_t size)
{
    (void)size;
    free(p);
}

size_t blocks_room(size_t size)
{
    return size;
}

#else

/* Up to FINE bytes a class each 16 bytes, then four in each doubling up to LARGE; what is larger is
 * malloc's. */
enum { UNIT = 16, FINE = 1024, LARGE = 1 << 20, FINE_CLASSES = FINE / UNIT + 1, CLASSES = 128 };
#define CHUNK_BYTES ((size_t)4 << 20)
#define HUGE_PAGE   ((size_t)2 << 20)

struct block {
    struct block *next;
};

static struct block *waiting[CLASSES];
static char *chunk;
static size_t chunk_left;

/* Which class, and how many bytes its blocks have. */
static size_t class_of(size_t size, size_t *ret_bytes)
{
    if (size <= FINE) {
        size_t n = size ? (size + UNIT - 1) / UNIT : 1;
        *ret_bytes = n * UNIT;
        return n;
    }
    unsigned log = 63u - (unsigned)__builtin_clzll(size - 1); /* 2^log <= size - 1 */
    size_t step = (size_t)1 << (log - 2);
    size_t n = (size - ((size_t)1 << log) + step - 1) / step; /* 1 to 4 */
    *ret_bytes = ((size_t)1 << log) + n * step;
    return FINE_CLASSES + (log - 10) * 4 + n - 1;
}

/* Large pages: a run touches all of its memory, and each small one would be a fault of its own. */
static bool new_chunk(void)
{
    chunk = aligned_alloc(HUGE_PAGE, CHUNK_BYTES);
    chunk_left = chunk ? CHUNK_BYTES : 0;
    if (chunk)
        (void)madvise(chunk, CHUNK_BYTES, MADV_HUGEPAGE);
    return chunk;
}

void *blocks_take(size_t size)
{
    size_t bytes;
    if (size > LARGE)
        return malloc(size);
    size_t class = class_of(size, &bytes);
    struct block *b = waiting[class];
    if (b) {
        waiting[class] = b->next;
        return b;
    }
    if (chunk_left < bytes && !new_chunk())
        return NULL;
    void *p = chunk;
    chunk += bytes;
    chunk_left -= bytes;
    return p;
}

void blocks_give(void *p, size_t size)
{
    size_t bytes;
    if (!p)
        return;
    if (size > LARGE) {
        free(p);
        return;
    }
    struct block *b = p;
    size_t class = class_of(size, &bytes);
    b->next = waiting[class];
    waiting[class] = b;
}

size_t blocks_room(size_t size)
{
    size_t bytes = size;
    if (size <= LARGE)
        (void)class_of(size, &bytes);
    return bytes;
}

#endif
