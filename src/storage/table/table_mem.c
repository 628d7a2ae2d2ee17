/* table_mem.c - bump regions that can promise memory before it is used. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/table/table_internal.h"
#include <sys/mman.h>

struct table_chunk {
    struct table_chunk *next;
    uint64_t pad; /* keeps what follows 16-byte aligned */
};

enum { HUGE_PAGE = 2 << 20 };

void table__mem_init(struct table_mem *m)
{
    *m = (struct table_mem){.next_bytes = TABLE_CHUNK_MIN};
}

void table__mem_deinit(struct table_mem *m)
{
    for (struct table_chunk *c = m->chunks, *next; c; c = next) {
        next = c->next;
        mem_free(c);
    }
    table__mem_init(m);
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
    /* Large chunks lie on huge-page borders: a search's cost is mostly address translation
     * otherwise. */
    struct table_chunk *c = size == HUGE_PAGE ? mem_aligned(HUGE_PAGE, size) : mem_alloc(size);
    if (!c)
        return false;
    if (size == HUGE_PAGE)
        (void)madvise(c, size, MADV_HUGEPAGE); /* only faster: refusing it changes nothing */
    c->next = m->chunks;
    m->chunks = c;
    m->spare = (uint8_t *)(c + 1);
    m->spare_end = (uint8_t *)c + size;
    m->total_bytes += size;
    if (m->next_bytes < TABLE_CHUNK_MAX)
        m->next_bytes *= 2;
    return true;
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
