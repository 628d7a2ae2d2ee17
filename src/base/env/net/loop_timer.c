/* Timers: a hierarchical wheel (Varghese, Lauck: "Hashed and Hierarchical Timing Wheels", SOSP '87)
 * of four levels of 64 slots, a millisecond a slot in the first. Starting and stopping is a list
 * operation; time jumps from one slot that holds something to the next.
 *
 * A timer stands on the lowest level whose span reaches it. When time comes to a slot of a higher
 * level, what is in it is put in again, further down. What lies beyond the last level (4.6 hours)
 * waits in its last slot and is put in again from there.
 */
#include "base/env/net/loop_internal.h"

#include "base/assert.h"

enum { SLOT_BITS = 6 };

void wheel__init(struct wheel *w, uint64_t now_ms)
{
    w->now_ms = now_ms;
    list_init(&w->due);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        w->used[level] = 0;
        for (unsigned i = 0; i < WHEEL_SLOTS; i++)
            list_init(&w->slot[level][i]);
    }
}

static void put(struct wheel *w, struct loop_timer *t)
{
    if (t->at_ms <= w->now_ms) {
        list_push_back(&w->due, &t->node);
        return;
    }
    uint64_t ahead = t->at_ms - w->now_ms;
    unsigned level = 0;
    while (level < WHEEL_LEVELS - 1 && ahead >> (SLOT_BITS * (level + 1)) != 0)
        level++;
    uint64_t last = ((uint64_t)WHEEL_SLOTS << (SLOT_BITS * level)) - 1;
    uint64_t at = ahead > last ? w->now_ms + last : t->at_ms;
    unsigned i = (unsigned)(at >> (SLOT_BITS * level)) % WHEEL_SLOTS;
    list_push_back(&w->slot[level][i], &t->node);
    w->used[level] |= (uint64_t)1 << i;
}

/* The next moment after now at which a slot of this level comes up; stale bits of slots that were
 * emptied by stopping timers only cost a look. */
static uint64_t next_of_level(const struct wheel *w, unsigned level)
{
    if (w->used[level] == 0)
        return UINT64_MAX;
    uint64_t turn = w->now_ms >> (SLOT_BITS * level);
    unsigned from = (unsigned)(turn + 1) % WHEEL_SLOTS;
    uint64_t bits = w->used[level];
    uint64_t rotated = from ? bits >> from | bits << (WHEEL_SLOTS - from) : bits;
    return (turn + 1 + (uint64_t)__builtin_ctzll(rotated)) << (SLOT_BITS * level);
}

static uint64_t next_slot(const struct wheel *w)
{
    uint64_t next = UINT64_MAX;
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t at = next_of_level(w, level);
        next = at < next ? at : next;
    }
    return next;
}

uint64_t wheel__next_ms(const struct wheel *w)
{
    return list_empty(&w->due) ? next_slot(w) : w->now_ms;
}

static void take(struct list *from, struct list *to)
{
    list_init(to);
    if (list_empty(from))
        return;
    *to = *from;
    to->next->prev = to->prev->next = to;
    list_init(from);
}

static void empty_slot(struct wheel *w, unsigned level)
{
    unsigned i = (unsigned)(w->now_ms >> (SLOT_BITS * level)) % WHEEL_SLOTS;
    if (!(w->used[level] & (uint64_t)1 << i))
        return;
    w->used[level] &= ~((uint64_t)1 << i);
    struct list moved;
    take(&w->slot[level][i], &moved);
    while (!list_empty(&moved)) {
        struct loop_timer *t = container_of(moved.next, struct loop_timer, node);
        list_remove(&t->node);
        put(w, t);
    }
}

size_t wheel__run(struct wheel *w, uint64_t now_ms)
{
    while (w->now_ms < now_ms) {
        uint64_t next = next_slot(w);
        w->now_ms = next < now_ms ? next : now_ms;
        for (unsigned level = WHEEL_LEVELS; level-- > 0;)
            if (w->now_ms % ((uint64_t)1 << (SLOT_BITS * level)) == 0)
                empty_slot(w, level);
    }
    /* What a callback starts for now waits for the next round, or it might never end. */
    size_t ran = 0;
    struct list due;
    take(&w->due, &due);
    while (!list_empty(&due)) {
        struct loop_timer *t = container_of(due.next, struct loop_timer, node);
        list_remove(&t->node);
        t->active = false;
        t->fn(t->arg);
        ran++;
    }
    return ran;
}

void loop_timer_init(struct loop_timer *t, void (*fn)(void *arg), void *arg)
{
    *t = (struct loop_timer){.fn = fn, .arg = arg};
    list_init(&t->node);
}

void loop_timer_start(struct loop *l, struct loop_timer *t, uint64_t at_ns)
{
    ASSERT(t->fn);
    loop_timer_stop(l, t);
    t->at_ms = at_ns / 1000000u + (at_ns % 1000000u != 0); /* never early */
    t->active = true;
    put(&l->wheel, t);
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
    (void)l;
    if (!t->active)
        return;
    list_remove(&t->node);
    t->active = false;
}
