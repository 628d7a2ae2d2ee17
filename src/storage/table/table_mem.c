/* table_mem.c - bump regions that can promise memory before it is used. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/table/table_internal.h"
#include <sys/mman.h>

struct table_chunk {
    struct table_chunk *next;
    uint64_t mapped; /* its size when it is pages of its own; also keeps what follows aligned */
};

/* A chunk is no more than about an eighth of what is there, so that little lies idle in a small
 * table; and mapped as soon as that pays, so that a table's end gives back all of it. */
enum { HUGE_PAGE = 2 << 20, MAPPED_MIN = 256 << 10, MAPPED_STEP = 64 << 10, GROWTH = 8 };

void table__mem_init(struct table_mem *m)
{
    *m = (struct table_mem){.next_bytes = TABLE_CHUNK_MIN};
}

void table__mem_deinit(struct table_mem *m)
{
    for (struct table_chunk *c = m->chunks, *next; c; c = next) {
        next = c->next;
        if (c->mapped)
            mem_pages_free(c, c->mapped);
        else
            mem_free(c);
    }
    table__mem_init(m);
}

static struct table_chunk *new_chunk(size_t *size)
{
    bool pages = *size >= MAPPED_MIN;
    if (pages)
        *size = (*size + MAPPED_STEP - 1) / MAPPED_STEP * MAPPED_STEP;
    /* Large chunks lie on huge-page borders: a search's cost is mostly address translation
     * otherwise. */
    struct table_chunk *c =
        pages ? mem_pages(*size == HUGE_PAGE ? HUGE_PAGE : MAPPED_STEP, *size) : mem_alloc(*size);
    if (!c)
        return NULL;
    if (*size == HUGE_PAGE)
        (void)madvise(c, *size, MADV_HUGEPAGE); /* only faster: refusing it changes nothing */
    c->mapped = pages ? *size : 0;
    return c;
}

/* All of n bytes go into the current chunk, or all of it fits the spare one: then nothing can fail
 * however the pieces fall, and at most the tail of one chunk, shorter than one piece, is left
 * unused. */
bool table__mem_reserve(struct table_mem *m, size_t n)
{
    if ((size_t)(m->end - m->p) >= n || (size_t)(m->spare_end - m->spare) >= n)
        return true;
    size_t size = m->next_bytes;
    if (n + sizeof(struct table_chunk) > size)
        size = n + sizeof(struct table_chunk);
    struct table_chunk *c = new_chunk(&size);
    if (!c)
        return false;
    c->next = m->chunks;
    m->chunks = c;
    m->spare = (uint8_t *)(c + 1);
    m->spare_end = (uint8_t *)c + size;
    m->total_bytes += size;
    while (m->next_bytes < TABLE_CHUNK_MAX && m->next_bytes * 2 * GROWTH <= m->total_bytes)
        m->next_bytes *= 2;
    return true;
}

/* Without what is still to be given out, which has not been touched yet. */
size_t table__mem_bytes(const struct table_mem *m)
{
    return m->total_bytes - (size_t)(m->end - m->p) - (size_t)(m->spare_end - m->spare);
}

void *table__mem_take(struct table_mem *m, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    if ((size_t)(m->end - m->p) < n) {
        m->p = m->spare;
        m->end = m->spare_end;
        m->spare = m->spare_end = NULL;
        ASSERT((size_t)(m->end - m->p) >= n); /* the caller reserved */
    }
    void *ret = m->p;
    m->p += n;
    return ret;
}
