#include "node/store/latch.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "node/range/entry.h"
#include "storage/cache/cache.h"

enum { SLOTS = 1 << 17 };

struct latches {
    uint64_t term;
    uint32_t count[SLOTS];
};

struct latches *latches_new(void)
{
    return mem_zalloc(sizeof(struct latches));
}

void latches_free(struct latches *l)
{
    mem_free(l);
}

void latches_reset(struct latches *l, uint64_t term)
{
    memset(l, 0, sizeof *l);
    l->term = term;
}

uint64_t latches_term(const struct latches *l)
{
    return l->term;
}

static uint32_t slot_of(struct bytes key)
{
    return (uint32_t)(cache_hash(key) % SLOTS);
}

static void add(struct latches *l, struct bytes payload, int by)
{
    struct entry_reader e;
    struct entry_op op;
    if (!entry_open(payload, &e))
        return;
    while (entry_next(&e, &op) > 0) {
        uint32_t *n = &l->count[slot_of(op.key)];
        ASSERT(by > 0 || *n > 0);
        *n += (uint32_t)by;
    }
}

void latches_take(struct latches *l, struct bytes payload)
{
    add(l, payload, 1);
}

void latches_give(struct latches *l, struct bytes payload)
{
    add(l, payload, -1);
}

bool latches_has(const struct latches *l, struct bytes key)
{
    return l->count[slot_of(key)] > 0;
}
