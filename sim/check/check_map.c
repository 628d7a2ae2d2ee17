/* check_map.c - open addressing, at most half full. */
#include "base/alloc.h"
#include "sim/check/check_internal.h"

uint64_t check__mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static size_t start_of(const struct check_map *m, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t x = check__mix(a + 0x9e3779b97f4a7c15u);
    x = check__mix(x ^ (b + 0x7f4a7c159e3779b9u));
    return check__mix(x ^ c) & (m->size - 1);
}

static struct check_map_slot *slot_of(const struct check_map *m, uint64_t a, uint64_t b, uint64_t c)
{
    size_t i = start_of(m, a, b, c);
    for (;; i = (i + 1) & (m->size - 1)) {
        struct check_map_slot *s = &m->slots[i];
        if (!s->used || (s->a == a && s->b == b && s->c == c))
            return s;
    }
}

static enum status map_double(struct check_map *m)
{
    struct check_map next = {.n = m->n, .size = m->size ? m->size * 2 : 64};
    next.slots = mem_zalloc(next.size * sizeof *next.slots);
    if (!next.slots)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < m->size; i++) {
        const struct check_map_slot *s = &m->slots[i];
        if (s->used)
            *slot_of(&next, s->a, s->b, s->c) = *s;
    }
    mem_free(m->slots);
    *m = next;
    return ST_OK;
}

void check__map_deinit(struct check_map *m)
{
    mem_free(m->slots);
    *m = (struct check_map){0};
}

uint32_t *check__map_put(struct check_map *m, uint64_t a, uint64_t b, uint64_t c,
                         uint32_t otherwise)
{
    if (m->n * 2 >= m->size && map_double(m) != ST_OK)
        return NULL;
    struct check_map_slot *s = slot_of(m, a, b, c);
    if (!s->used) {
        *s = (struct check_map_slot){a, b, c, otherwise, true};
        m->n++;
    }
    return &s->value;
}

uint32_t *check__map_get(const struct check_map *m, uint64_t a, uint64_t b, uint64_t c)
{
    if (m->size == 0)
        return NULL;
    struct check_map_slot *s = slot_of(m, a, b, c);
    return s->used ? &s->value : NULL;
}
