#include "serve/security/limit.h"

#include "base/alloc.h"
#include "base/env/thread.h"
#include "base/hash.h"

struct bucket {
    uint64_t name; /* keyed hash */
    uint64_t forgiven_us;
};
struct limit {
    struct env_spin lock;
    uint64_t seed, step_us, window_us;
    struct bucket slots[LIMIT_SLOTS];
};

struct limit *limit_new(uint32_t failures, uint64_t window_ms, uint64_t seed)
{
    struct limit *l = mem_zalloc(sizeof *l);
    if (!l)
        return NULL;
    l->seed = seed;
    l->window_us = window_ms * 1000;
    l->step_us = l->window_us / (failures ? failures : 1);
    return l;
}

void limit_free(struct limit *l)
{
    mem_free(l);
}

static struct bucket *set_of(struct limit *l, uint64_t hash)
{
    return &l->slots[hash % (LIMIT_SLOTS / LIMIT_WAYS) * LIMIT_WAYS];
}

uint64_t limit_wait_ms(struct limit *l, struct bytes name, uint64_t now_ms)
{
    uint64_t hash = hash_xxh64(name.data, name.len, l->seed), wait = 0, now = now_ms * 1000;
    env_spin_lock(&l->lock);
    const struct bucket *set = set_of(l, hash);
    for (size_t i = 0; i < LIMIT_WAYS; i++)
        if (set[i].name == hash && set[i].forgiven_us + l->step_us > now + l->window_us)
            wait = set[i].forgiven_us + l->step_us - now - l->window_us;
    env_spin_unlock(&l->lock);
    return (wait + 999) / 1000;
}

void limit_failed(struct limit *l, struct bytes name, uint64_t now_ms)
{
    uint64_t hash = hash_xxh64(name.data, name.len, l->seed), now = now_ms * 1000;
    env_spin_lock(&l->lock);
    struct bucket *set = set_of(l, hash), *b = &set[0];
    for (size_t i = 0; i < LIMIT_WAYS; i++) {
        if (set[i].name == hash) {
            b = &set[i];
            break;
        }
        if (set[i].forgiven_us < b->forgiven_us)
            b = &set[i];
    }
    if (b->name != hash)
        *b = (struct bucket){.name = hash};
    if (b->forgiven_us < now)
        b->forgiven_us = now;
    b->forgiven_us += l->step_us;
    if (b->forgiven_us > now + l->window_us + l->step_us) /* those under way at once */
        b->forgiven_us = now + l->window_us + l->step_us;
    env_spin_unlock(&l->lock);
}
