#include "storage/wal/wal_internal.h"

#include "base/alloc.h"

static size_t slot_of(const struct wal__map *m, uint64_t key)
{
    size_t mask = m->cap - 1, i = (size_t)((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & mask;
    while (m->slots[i].used && m->slots[i].key != key)
        i = (i + 1) & mask;
    return i;
}

uint64_t *wal__map_find(const struct wal__map *m, uint64_t key)
{
    if (m->cap == 0)
        return NULL;
    size_t i = slot_of(m, key);
    return m->slots[i].used ? &m->slots[i].val : NULL;
}

static bool map_grow(struct wal__map *m)
{
    struct wal__map bigger = {.cap = m->cap ? m->cap * 2 : 8, .n = m->n};
    bigger.slots = mem_zalloc(bigger.cap * sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].used)
            bigger.slots[slot_of(&bigger, m->slots[i].key)] = m->slots[i];
    }
    mem_free(m->slots);
    *m = bigger;
    return true;
}

uint64_t *wal__map_put(struct wal__map *m, uint64_t key)
{
    uint64_t *found = wal__map_find(m, key);
    if (found)
        return found;
    if (m->n + 1 > m->cap / 2 && !map_grow(m))
        return NULL;
    struct wal__slot *s = &m->slots[slot_of(m, key)];
    *s = (struct wal__slot){.key = key, .used = true};
    m->n++;
    return &s->val;
}

void wal__map_deinit(struct wal__map *m)
{
    mem_free(m->slots);
    *m = (struct wal__map){0};
}

struct wal__range *wal__range_find(struct wal *w, uint64_t range)
{
    uint64_t *at = wal__map_find(&w->range_at, range);
    return at && *at ? &w->ranges[*at - 1] : NULL;
}

struct wal__range *wal__range_get(struct wal *w, uint64_t range)
{
    uint64_t *at = wal__map_put(&w->range_at, range);
    if (!at)
        return NULL;
    if (*at)
        return &w->ranges[*at - 1];
    if (w->n_ranges == w->cap_ranges) {
        size_t cap = w->cap_ranges ? w->cap_ranges * 2 : 8;
        struct wal__range *v = mem_realloc(w->ranges, cap * sizeof *v);
        if (!v)
            return NULL; /* the map's 0 means "none yet" */
        w->ranges = v;
        w->cap_ranges = cap;
    }
    w->ranges[w->n_ranges] = (struct wal__range){.range = range};
    *at = ++w->n_ranges;
    return &w->ranges[w->n_ranges - 1];
}

void wal__ranges_deinit(struct wal *w)
{
    for (size_t i = 0; i < w->n_ranges; i++) {
        buf_deinit(&w->ranges[i].hs);
        mem_free(w->ranges[i].samples);
    }
    mem_free(w->ranges);
    wal__map_deinit(&w->range_at);
}

/* Groups hold runs of one range, or those of a few in turn: what was found for the last record of a
 * range serves the next, without the tables. By the low bits of the range's id. */
enum { RECENT = 16 };

enum status wal__note_reserve(struct wal *w, struct wal__seg *seg, const struct wal_record *r,
                              size_t n, struct err *err)
{
    uint32_t recent[RECENT] = {0}; /* place in ranges[] + 1: ranges[] may move */
    uint64_t plan = ++w->plans;
    for (size_t i = 0; i < n; i++) {
        uint32_t *at = &recent[r[i].range % RECENT];
        struct wal__range *range = *at ? &w->ranges[*at - 1] : NULL;
        if (!range || r[i].range != range->range) {
            range = wal__range_get(w, r[i].range);
            if (!range || !wal__map_put(&seg->top, r[i].range))
                return err_set(err, ST_NO_MEMORY, "log: bookkeeping of range %llu",
                               (unsigned long long)r[i].range);
            *at = (uint32_t)(range - w->ranges) + 1;
        }
        if (wal__index_reserve(range, plan, seg->h.epoch, &r[i]) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "log: index of range %llu",
                           (unsigned long long)r[i].range);
        /* A hard state that is carried over is our own copy: growing would pull it from under the
         * record. */
        if (r[i].kind == WAL_HARD_STATE && r[i].payload.data != range->hs.data &&
            buf_reserve(&range->hs, r[i].payload.len) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "log: hard state of range %llu",
                           (unsigned long long)r[i].range);
    }
    return ST_OK;
}

static uint64_t above(uint64_t index)
{
    return index == UINT64_MAX ? index : index + 1;
}

static void note_hard_state(struct wal__range *range, uint64_t epoch, const struct wal_record *r)
{
    if (r->payload.data != range->hs.data) {
        buf_clear(&range->hs);
        enum status st =
            r->payload.len ? buf_append(&range->hs, r->payload.data, r->payload.len) : ST_OK;
        ASSERT(st == ST_OK); /* reserved */
    }
    range->hs_epoch = epoch;
    range->hs_rotten = r->rotten;
    range->hs_term = r->term;
    range->hs_index = r->index;
}

/* Entries that are void need no segment to stay. */
static void note_void(struct wal *w, const struct wal_record *r)
{
    for (size_t i = 0; i < w->segs.n; i++) {
        uint64_t *top = wal__map_find(&w->segs.v[i]->top, r->range);
        if (top && *top > r->index)
            *top = r->index;
    }
}

static void note_release(struct wal__range *range, uint64_t epoch, const struct wal_record *r)
{
    if (range->released < above(r->index))
        range->released = above(r->index);
    if (range->written <= above(r->index)) {
        range->written = above(r->index);
        range->written_epoch = epoch;
    }
}

void wal__note(struct wal *w, struct wal__seg *seg, uint64_t group, uint32_t at,
               const struct wal_record *r, size_t n)
{
    struct {
        struct wal__range *range;
        uint64_t *top;
    } recent[RECENT] = {0};
    for (size_t i = 0; i < n; i++) {
        struct wal__range *range = recent[r[i].range % RECENT].range;
        uint64_t *top = recent[r[i].range % RECENT].top;
        if (!range || r[i].range != range->range) {
            range = wal__range_find(w, r[i].range);
            top = wal__map_find(&seg->top, r[i].range);
            ASSERT(range && top); /* reserved */
            recent[r[i].range % RECENT].range = range;
            recent[r[i].range % RECENT].top = top;
        }
        switch ((enum wal_kind)r[i].kind) {
        case WAL_ENTRY:
            if (r[i].index < range->track.next)
                note_void(w, &r[i]);
            if (*top < above(r[i].index))
                *top = above(r[i].index);
            break;
        case WAL_HARD_STATE:
            note_hard_state(range, seg->h.epoch, &r[i]);
            break;
        case WAL_TRUNCATE:
            note_void(w, &r[i]);
            break;
        case WAL_RELEASE:
            note_release(range, seg->h.epoch, &r[i]);
            break;
        }
        wal__index_note(range, seg->h.epoch, group, at, &r[i]);
        at += WAL_RECORD_HEADER + (uint32_t)r[i].payload.len;
    }
}

bool wal__seg_needed(struct wal *w, const struct wal__seg *seg)
{
    for (size_t i = 0; i < seg->top.cap; i++) {
        const struct wal__slot *s = &seg->top.slots[i];
        if (!s->used || s->val == 0)
            continue;
        const struct wal__range *range = wal__range_find(w, s->key);
        if (!range || range->released < s->val)
            return true;
    }
    return false;
}
