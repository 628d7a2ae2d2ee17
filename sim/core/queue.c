/* A binary heap that knows where each event stands. */
#include "sim/core/queue.h"

#include "sim/core/memory.h"

struct sim_queue {
    struct sim_event **heap; /* from 1 */
    size_t len, cap;
    uint64_t now_ns, seq, ran;
};

struct sim_queue *sim_queue_new(void)
{
    return sim_zalloc(sizeof(struct sim_queue));
}

void sim_queue_free(struct sim_queue *q)
{
    if (!q)
        return;
    sim_free(q->heap);
    sim_free(q);
}

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->seq < b->seq;
}

static void put(struct sim_queue *q, size_t at, struct sim_event *e)
{
    q->heap[at] = e;
    e->place = at;
}

static void up(struct sim_queue *q, size_t at, struct sim_event *e)
{
    for (; at > 1 && before(e, q->heap[at / 2]); at /= 2)
        put(q, at, q->heap[at / 2]);
    put(q, at, e);
}

static void down(struct sim_queue *q, size_t at, struct sim_event *e)
{
    for (;;) {
        size_t child = 2 * at;
        if (child < q->len && before(q->heap[child + 1], q->heap[child]))
            child++;
        if (child > q->len || !before(q->heap[child], e))
            break;
        put(q, at, q->heap[child]);
        at = child;
    }
    put(q, at, e);
}

void sim_queue_add(struct sim_queue *q, struct sim_event *e, uint64_t at_ns)
{
    sim_queue_drop(q, e);
    e->at_ns = at_ns > q->now_ns ? at_ns : q->now_ns;
    e->seq = q->seq++;
    q->heap = sim_grow(q->heap, &q->cap, q->len + 2, sizeof *q->heap);
    up(q, ++q->len, e);
}

void sim_queue_drop(struct sim_queue *q, struct sim_event *e)
{
    size_t at = e->place;
    if (at == 0)
        return;
    e->place = 0;
    struct sim_event *last = q->heap[q->len--];
    if (last == e)
        return;
    if (at > 1 && before(last, q->heap[at / 2]))
        up(q, at, last);
    else
        down(q, at, last);
}

bool sim_queue_step(struct sim_queue *q, uint64_t until_ns)
{
    if (q->len == 0 || q->heap[1]->at_ns > until_ns) {
        if (until_ns != UINT64_MAX && until_ns > q->now_ns)
            q->now_ns = until_ns;
        return false;
    }
    struct sim_event *e = q->heap[1];
    sim_queue_drop(q, e);
    q->now_ns = e->at_ns;
    q->ran++;
    e->fn(e->arg);
    return true;
}

uint64_t sim_queue_now(const struct sim_queue *q)
{
    return q->now_ns;
}

uint64_t sim_queue_next(const struct sim_queue *q)
{
    return q->len ? q->heap[1]->at_ns : UINT64_MAX;
}

uint64_t sim_queue_ran(const struct sim_queue *q)
{
    return q->ran;
}
