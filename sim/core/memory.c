#include "sim/core/memory.h"

#include "base/assert.h"
#include "sim/core/blocks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* In front of each block, so that it can be given back. */
struct head {
    size_t total, pad;
};

static void *take(size_t size)
{
    size_t total = sizeof(struct head) + size;
    struct head *h = blocks_take(total);
    ASSERT(h);
    h->total = total;
    return h + 1;
}

static struct head *head_of(void *p)
{
    return (struct head *)p - 1;
}

void *sim_zalloc(size_t size)
{
    return memset(take(size), 0, size);
}

void *sim_realloc(void *p, size_t size)
{
    void *to = take(size);
    size_t before = p ? head_of(p)->total - sizeof(struct head) : 0;
    if (p)
        memcpy(to, p, before < size ? before : size);
    sim_free(p);
    return to;
}

void *sim_grow(void *p, size_t *cap, size_t want, size_t elem)
{
    if (want <= *cap)
        return p;
    size_t n = *cap ? 2 * *cap : 8;
    n = n < want ? want : n;
    p = sim_realloc(p, n * elem);
    *cap = n;
    return p;
}

void *sim_memdup(const void *p, size_t len)
{
    void *copy = take(len);
    if (len)
        memcpy(copy, p, len);
    return copy;
}

char *sim_printf(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(n >= 0);
    char *text = take((size_t)n + 1);
    va_start(args, format);
    (void)vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    return text;
}

void sim_free(void *p)
{
    if (p)
        blocks_give(head_of(p), head_of(p)->total);
}
