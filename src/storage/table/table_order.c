/* table_order.c - every version in the order it was put, readable beside the writer. */
#include "base/assert.h"
#include "storage/table/table_internal.h"

size_t table__order_need(const struct table_order *o, size_t n)
{
    uint64_t count = atomic_load_explicit(&o->count, memory_order_relaxed);
    uint64_t have = (count + ORDER_CHUNK - 1) / ORDER_CHUNK;
    uint64_t want = (count + n + ORDER_CHUNK - 1) / ORDER_CHUNK;
    size_t need = (size_t)(want - have) * ORDER_CHUNK * sizeof(struct table_entry *);
    for (uint64_t cap = o->dir_cap; cap < want;) {
        cap = cap ? cap * 2 : 8;
        need += (size_t)cap * sizeof(struct table_entry **);
    }
    return need;
}

/* A directory only ever grows by being replaced; readers may go on using the old one for the chunks
 * it knows. */
static void grow(struct table_order *o, struct table_mem *m)
{
    uint64_t cap = o->dir_cap ? o->dir_cap * 2 : 8;
    struct table_entry ***old = atomic_load_explicit(&o->dir, memory_order_relaxed);
    struct table_entry ***dir = table__mem_take(m, (size_t)cap * sizeof(*dir));
    if (o->dir_cap)
        memcpy(dir, old, (size_t)o->dir_cap * sizeof(*dir));
    o->dir_cap = cap;
    atomic_store_explicit(&o->dir, dir, memory_order_release);
}

void table__order_append(struct table_order *o, struct table_mem *m, struct table_entry *e)
{
    uint64_t n = atomic_load_explicit(&o->count, memory_order_relaxed);
    uint64_t chunk = n / ORDER_CHUNK;
    if (n % ORDER_CHUNK == 0) {
        if (chunk == o->dir_cap)
            grow(o, m);
        struct table_entry ***dir = atomic_load_explicit(&o->dir, memory_order_relaxed);
        dir[chunk] = table__mem_take(m, ORDER_CHUNK * sizeof(struct table_entry *));
    }
    atomic_load_explicit(&o->dir, memory_order_relaxed)[chunk][n % ORDER_CHUNK] = e;
    atomic_store_explicit(&o->count, n + 1, memory_order_release);
}

struct table_entry *table__order_at(const struct table_order *o, uint64_t n)
{
    return atomic_load_explicit(&o->dir, memory_order_acquire)[n / ORDER_CHUNK][n % ORDER_CHUNK];
}

uint64_t table_count(const struct table *t)
{
    return atomic_load_explicit(&t->order.count, memory_order_acquire);
}

const struct table_entry *table_entry_nth(const struct table *t, uint64_t n)
{
    return n < table_count(t) ? table__order_at(&t->order, n) : NULL;
}

uint64_t table_entry_after(const struct table *t, struct version after)
{
    uint64_t low = 0, high = table_count(t);
    while (low < high) {
        uint64_t mid = low + (high - low) / 2;
        if (version_cmp(table__version(table__order_at(&t->order, mid)), after) > 0)
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

struct version table_newest(const struct table *t)
{
    uint64_t n = table_count(t);
    return n ? table__version(table__order_at(&t->order, n - 1)) : VERSION_NONE;
}
