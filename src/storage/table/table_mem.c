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

/* Only whole huge pages: they are nearly all of a large table. */
struct table_pages {
    _Atomic uint32_t refs;
    struct table_chunk *_Atomic kept;
    _Atomic size_t bytes;
    size_t max_bytes;
};

static void push(struct table_pages *p, struct table_chunk *first)
{
    struct table_chunk *last = first;
    while (last->next)
        last = last->next;
    last->next = atomic_load_explicit(&p->kept, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&p->kept, &last->next, first,
                                                  memory_order_release, memory_order_relaxed))
        ;
}

/* All are taken and the rest put back: so nobody looks into a chunk that another takes meanwhile. Who
 * comes in between finds none, and goes to the system. */
static struct table_chunk *take_kept(struct table_pages *p)
{
    struct table_chunk *c =
        p ? atomic_exchange_explicit(&p->kept, NULL, memory_order_acquire) : NULL;
    if (!c)
        return NULL;
    atomic_fetch_sub_explicit(&p->bytes, c->mapped, memory_order_relaxed);
    if (c->next)
        push(p, c->next);
    return c;
}

static bool keep(struct table_pages *p, struct table_chunk *c)
{
    if (!p || c->mapped != HUGE_PAGE)
        return false;
    if (atomic_fetch_add_explicit(&p->bytes, HUGE_PAGE, memory_order_relaxed) + HUGE_PAGE >
        p->max_bytes) {
        atomic_fetch_sub_explicit(&p->bytes, HUGE_PAGE, memory_order_relaxed);
        return false;
    }
    c->next = NULL;
    push(p, c);
    return true;
}

struct table_pages *table_pages_new(size_t max_bytes)
{
    struct table_pages *p = mem_zalloc(sizeof(*p));
    if (!p)
        return NULL;
    atomic_init(&p->refs, 1);
    p->max_bytes = max_bytes;
    return p;
}

struct table_pages *table_pages_ref(struct table_pages *p)
{
    if (p)
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    return p;
}

void table_pages_trim(struct table_pages *p)
{
    struct table_chunk *c = atomic_exchange_explicit(&p->kept, NULL, memory_order_acquire);
    for (struct table_chunk *next; c; c = next) {
        next = c->next;
        atomic_fetch_sub_explicit(&p->bytes, c->mapped, memory_order_relaxed);
        mem_pages_free(c, c->mapped);
    }
}

void table_pages_unref(struct table_pages *p)
{
    if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
        return;
    table_pages_trim(p);
    mem_free(p);
}

size_t table_pages_bytes(const struct table_pages *p)
{
    return atomic_load_explicit(&p->bytes, memory_order_relaxed);
}

void table__mem_init(struct table_mem *m, struct table_pages *pages)
{
    *m = (struct table_mem){.next_bytes = TABLE_CHUNK_MIN, .pages = pages};
}

void table__mem_deinit(struct table_mem *m)
{
    for (struct table_chunk *c = m->chunks, *next; c; c = next) {
        next = c->next;
        if (keep(m->pages, c))
            continue;
        if (c->mapped)
            mem_pages_free(c, c->mapped);
        else
            mem_free(c);
    }
    table__mem_init(m, m->pages);
}

static struct table_chunk *new_chunk(struct table_pages *from, size_t *size)
{
    bool pages = *size >= MAPPED_MIN;
    if (pages)
        *size = (*size + MAPPED_STEP - 1) / MAPPED_STEP * MAPPED_STEP;
    struct table_chunk *kept = *size == HUGE_PAGE ? take_kept(from) : NULL;
    if (kept)
        return kept;
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
    struct table_chunk *c = new_chunk(m->pages, &size);
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
