/* alloc.c - the heap, with a switch that makes the nth allocation fail. */
#include "base/alloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Off is the common case and costs one relaxed load of `armed`. */
static _Atomic int armed;
static _Atomic int64_t fail_left;
static _Atomic int fail_sticky;
static _Atomic uint64_t fail_hits;

static __attribute__((noinline, cold)) bool refuse_armed(void)
{
    int64_t before = atomic_fetch_sub(&fail_left, 1);
    if (before > 1 || (before < 1 && !atomic_load(&fail_sticky)))
        return false;
    atomic_fetch_add(&fail_hits, 1);
    return true;
}

static inline bool refuse(size_t size)
{
    if (size > PTRDIFF_MAX)
        return true;
    return __builtin_expect(atomic_load_explicit(&armed, memory_order_relaxed), 0) &&
           refuse_armed();
}

/* Zero bytes get an address of their own, so that NULL always means failure. */
static inline size_t at_least_one(size_t size)
{
    return size ? size : 1;
}

void *mem_alloc(size_t size)
{
    return refuse(size) ? NULL : malloc(at_least_one(size));
}

void *mem_zalloc(size_t size)
{
    return refuse(size) ? NULL : calloc(1, at_least_one(size));
}

void *mem_aligned(size_t align, size_t size)
{
    void *p = NULL;
    if (align < sizeof(void *))
        align = sizeof(void *);
    if (refuse(size) || posix_memalign(&p, align, at_least_one(size)) != 0)
        return NULL;
    return p;
}

void *mem_realloc(void *ptr, size_t size)
{
    return refuse(size) ? NULL : realloc(ptr, at_least_one(size));
}

char *mem_strdup(const char *s)
{
    return mem_memdup(s, strlen(s) + 1);
}

void *mem_memdup(const void *p, size_t len)
{
    void *copy = mem_alloc(len);
    if (copy && len)
        memcpy(copy, p, len);
    return copy;
}

void mem_free(void *ptr)
{
    free(ptr);
}

/* Sanitizers watch over the heap, not over mappings. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void *mem_pages(size_t align, size_t size)
{
    return mem_aligned(align, size);
}

void mem_pages_free(void *ptr, size_t size)
{
    (void)size;
    mem_free(ptr);
}
#else
void *mem_pages(size_t align, size_t size)
{
    size_t page = 4096, room = size + (align > page ? align : 0);
    if (refuse(size) || room < size)
        return NULL;
    uint8_t *p = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    size_t before = align > page ? (size_t)(-(uintptr_t)p & (align - 1)) : 0;
    if (before)
        munmap(p, before);
    if (room - before > size)
        munmap(p + before + size, room - before - size);
    return p + before;
}

void mem_pages_free(void *ptr, size_t size)
{
    if (ptr)
        munmap(ptr, size);
}
#endif

void mem_fail_at(uint64_t n, int sticky)
{
    atomic_store(&armed, 0);
    atomic_store(&fail_left, n > INT64_MAX ? INT64_MAX : (int64_t)n);
    atomic_store(&fail_sticky, sticky);
    atomic_store(&armed, n != 0);
}

uint64_t mem_fail_hits(void)
{
    return atomic_exchange(&fail_hits, 0);
}
