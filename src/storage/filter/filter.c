#include "storage/filter/filter.h"

#include "base/alloc.h"

#include <stdatomic.h>
#include <string.h>

enum { BLOCK_BYTES = 32, BLOCK_LONGS = 4 };

struct filter {
    uint32_t blocks;
    _Alignas(BLOCK_BYTES) _Atomic uint64_t bits[];
};

static uint32_t blocks_for(uint64_t keys)
{
    uint64_t n = keys / (BLOCK_BYTES * 8 / FILTER_BITS_PER_KEY) + 1;
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

size_t filter_bytes(uint64_t keys)
{
    return sizeof(struct filter) + (size_t)blocks_for(keys) * BLOCK_BYTES;
}

struct filter *filter_new(uint64_t keys)
{
    size_t bytes = filter_bytes(keys);
    struct filter *f = mem_aligned(64, (bytes + 63) / 64 * 64);
    if (!f)
        return NULL;
    memset(f, 0, bytes);
    f->blocks = blocks_for(keys);
    return f;
}

void filter_free(struct filter *f)
{
    mem_free(f);
}

/* The hash's upper half chooses the block; the lower, multiplied by eight odd numbers, a bit of
 * each 32-bit word. Two words lie in one long. */
static size_t first_long(const struct filter *f, uint64_t hash)
{
    return (size_t)(((hash >> 32) * f->blocks) >> 32) * BLOCK_LONGS;
}

static uint64_t mask_of(uint64_t hash, int i)
{
    static const uint32_t odd[2 * BLOCK_LONGS] = {0x9e3779b1u, 0x85ebca77u, 0xc2b2ae3du,
                                                  0x27d4eb2fu, 0x165667b1u, 0xd3a2646du,
                                                  0xfd7046c5u, 0xb55a4f09u};
    uint32_t low = (uint32_t)hash;
    return UINT64_C(1) << ((low * odd[2 * i]) >> 27) | UINT64_C(1)
                                                           << (32 + ((low * odd[2 * i + 1]) >> 27));
}

void filter_add(struct filter *f, uint64_t hash)
{
    _Atomic uint64_t *block = &f->bits[first_long(f, hash)];
    for (int i = 0; i < BLOCK_LONGS; i++) {
        uint64_t mask = mask_of(hash, i);
        /* Mostly it is there already: a plain read leaves the line shared. */
        if ((atomic_load_explicit(&block[i], memory_order_relaxed) & mask) != mask)
            atomic_fetch_or_explicit(&block[i], mask, memory_order_relaxed);
    }
}

bool filter_may_have(const struct filter *f, uint64_t hash)
{
    const _Atomic uint64_t *block = &f->bits[first_long(f, hash)];
    uint64_t lacking = 0;
    for (int i = 0; i < BLOCK_LONGS; i++) {
        uint64_t mask = mask_of(hash, i);
        lacking |= mask & ~atomic_load_explicit(&block[i], memory_order_relaxed);
    }
    return lacking == 0;
}
