#include "sim/core/memory.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *sim_zalloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    ASSERT(p);
    return p;
}

void *sim_realloc(void *p, size_t size)
{
    p = realloc(p, size ? size : 1);
    ASSERT(p);
    return p;
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
    void *copy = sim_zalloc(len);
    if (len)
        memcpy(copy, p, len);
    return copy;
}

char *sim_printf(const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    int n = vasprintf(&text, format, args);
    va_end(args);
    ASSERT(n >= 0);
    return text;
}

void sim_free(void *p)
{
    free(p);
}
