/* Fibers and their scheduler: queues of the runnable, a heap of the sleepers, an inbox for wake-ups
 * from elsewhere.
 *
 * A fiber gets its stack when it starts, and gives it back when it ends: those that end without
 * having waited share the one stack that the processor's cache holds. There are as many stacks as
 * fibers, so that starting cannot fail.
 *
 * A fiber runs, is parked, or is runnable (in the queue or the inbox). `parked`, `bits` and the
 * inbox change under the scheduler's lock only, so a wake-up either finds the fiber parked and
 * moves it, or leaves its bit for the park to find; it cannot fall between. The queue, the heap and
 * the pool belong to the scheduler's thread.
 */
#include "base/env/fiber.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/env/fiber_internal.h"
#include "base/env/thread.h"

#include <sched.h>
#include <time.h>

enum { NOT_SLEEPING = -1, SWITCHES_PER_CLOCK = 64, STACK_MIN = 16 * 1024 };

struct stack {
    struct stack *next;  /* in the pool */
    struct stack *older; /* made before it, by the same scheduler */
    struct fiber_context context;
};

struct fiber {
    struct fiber_sched *sched;
    struct fiber *next;       /* in a queue, the inbox or the pool */
    struct fiber *event_next; /* in an event's stack (thread.c) */
    struct stack *stack;      /* NULL: not started */
    uint64_t turn;            /* when it became runnable: first in, first out */
    void (*fn)(void *arg);
    void *arg;
    bool parked;
    unsigned bits;      /* wake-ups not yet consumed */
    unsigned listening; /* while parked: the bit that resumes it */
    bool timed_out;
    ptrdiff_t heap_at; /* its place among the sleepers, or NOT_SLEEPING */
    uint64_t deadline_ns;
};

struct queue {
    struct fiber *first, *last;
};

struct fiber_sched {
    struct fiber_context thread; /* of fiber_sched_run's caller */
    struct queue fresh;          /* spawned and not started */
    size_t n_fresh;
    struct queue queue; /* the other runnable ones */
    uint64_t turns;
    struct fiber *pool;
    struct stack *stacks, *youngest; /* those that no fiber has; all */
    struct fiber *current;
    size_t alive, made, max_fibers, stack_bytes;
    struct fiber **heap; /* sleepers by deadline; room for all fibers made */
    size_t heap_len, heap_cap;
    uint64_t (*clock)(void *arg);
    void *clock_arg;
    bool ended; /* the current fiber returned from its function */

    struct env_spin lock;
    struct queue inbox;
    _Atomic bool inbox_full; /* a hint, so that an empty inbox costs no lock */
    void (*on_wake)(void *arg);
    void *on_wake_arg;
    _Atomic uint32_t wakers; /* calls of on_wake under way */
};

static _Thread_local struct fiber_sched *t_running;

static void queue_push(struct queue *q, struct fiber *f)
{
    f->next = NULL;
    if (q->last)
        q->last->next = f;
    else
        q->first = f;
    q->last = f;
}

/* Runnable again, behind all that are. */
static void queue_again(struct fiber_sched *s, struct fiber *f)
{
    f->turn = s->turns++;
    queue_push(&s->queue, f);
}

static struct fiber *queue_pop(struct queue *q)
{
    struct fiber *f = q->first;
    if (f) {
        q->first = f->next;
        if (!q->first)
            q->last = NULL;
    }
    return f;
}

static uint64_t monotonic(void *arg)
{
    (void)arg;
    struct timespec ts;
    int rc = clock_gettime(CLOCK_MONOTONIC, &ts);
    ASSERT(rc == 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- sleepers: a binary heap that knows where each fiber stands --- */

static void heap_put(struct fiber_sched *s, size_t at, struct fiber *f)
{
    s->heap[at] = f;
    f->heap_at = (ptrdiff_t)at;
}

static void heap_up(struct fiber_sched *s, size_t at, struct fiber *f)
{
    while (at > 0 && s->heap[(at - 1) / 2]->deadline_ns > f->deadline_ns) {
        heap_put(s, at, s->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(s, at, f);
}

static void heap_down(struct fiber_sched *s, size_t at, struct fiber *f)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child + 1 < s->heap_len &&
            s->heap[child + 1]->deadline_ns < s->heap[child]->deadline_ns)
            child++;
        if (child >= s->heap_len || s->heap[child]->deadline_ns >= f->deadline_ns)
            break;
        heap_put(s, at, s->heap[child]);
        at = child;
    }
    heap_put(s, at, f);
}

static void heap_add(struct fiber_sched *s, struct fiber *f)
{
    ASSERT(s->heap_len < s->heap_cap && f->heap_at == NOT_SLEEPING);
    heap_up(s, s->heap_len++, f);
}

static void heap_remove(struct fiber_sched *s, struct fiber *f)
{
    if (f->heap_at == NOT_SLEEPING)
        return;
    size_t at = (size_t)f->heap_at;
    f->heap_at = NOT_SLEEPING;
    struct fiber *last = s->heap[--s->heap_len];
    if (last == f)
        return;
    if (at > 0 && s->heap[(at - 1) / 2]->deadline_ns > last->deadline_ns)
        heap_up(s, at, last);
    else
        heap_down(s, at, last);
}

/* --- the scheduler --- */

struct fiber_sched *fiber_sched_new(size_t max_fibers, size_t stack_bytes, struct err *err)
{
    struct fiber_sched *s = mem_zalloc(sizeof *s);
    if (!s) {
        err_set(err, ST_NO_MEMORY, "fibers: no memory for a scheduler");
        return NULL;
    }
    s->max_fibers = max_fibers;
    s->stack_bytes = stack_bytes < STACK_MIN ? STACK_MIN : stack_bytes;
    s->clock = monotonic;
    return s;
}

void fiber_sched_free(struct fiber_sched *s)
{
    if (!s)
        return;
    ASSERT(s->alive == 0);
    while (atomic_load_explicit(&s->wakers, memory_order_acquire) != 0)
        sched_yield();
    for (struct fiber *f = s->pool, *next; f; f = next) {
        next = f->next;
        mem_free(f);
    }
    for (struct stack *k = s->stacks, *next; k; k = next) {
        next = k->next;
        fiber__context_unmap(&k->context);
        mem_free(k);
    }
    mem_free(s->heap);
    mem_free(s);
}

void fiber_sched_abandon(struct fiber_sched *s)
{
    ASSERT(t_running != s);
    for (struct stack *k = s->youngest; k; k = k->older)
        fiber__context_unmap(&k->context);
    s->youngest = NULL;
}

void fiber_sched_on_wake(struct fiber_sched *s, void (*fn)(void *arg), void *arg)
{
    env_spin_lock(&s->lock);
    s->on_wake = fn;
    s->on_wake_arg = arg;
    env_spin_unlock(&s->lock);
}

void fiber_sched_clock(struct fiber_sched *s, uint64_t (*mono_ns)(void *arg), void *arg)
{
    ASSERT(s->alive == 0);
    s->clock = mono_ns;
    s->clock_arg = arg;
}

size_t fiber_sched_alive(const struct fiber_sched *s)
{
    return s->alive;
}

uint64_t fiber_sched_deadline(const struct fiber_sched *s)
{
    return s->heap_len ? s->heap[0]->deadline_ns : UINT64_MAX;
}

/* The first code on a fiber's stack. */
static void fiber_main(void)
{
    struct fiber_sched *s = t_running;
    struct fiber *f = s->current;
    fiber__context_arrived(&s->thread);
    f->fn(f->arg);
    s->ended = true;
    fiber__context_exit(&f->stack->context, &s->thread);
}

/* Room among the sleepers for one fiber more, so that parking can never fail. */
static enum status heap_reserve(struct fiber_sched *s, struct err *err)
{
    if (s->made < s->heap_cap)
        return ST_OK;
    size_t cap = s->heap_cap ? 2 * s->heap_cap : 16;
    struct fiber **heap = mem_realloc(s->heap, cap * sizeof *heap);
    if (!heap)
        return err_set(err, ST_NO_MEMORY, "fibers: no memory for %zu sleepers", cap);
    s->heap = heap;
    s->heap_cap = cap;
    return ST_OK;
}

static enum status fiber_make(struct fiber_sched *s, struct fiber **ret, struct err *err)
{
    enum status st = heap_reserve(s, err);
    if (st)
        return st;
    struct fiber *f = mem_zalloc(sizeof *f);
    struct stack *k = mem_zalloc(sizeof *k);
    st = f && k ? fiber__context_map(&k->context, s->stack_bytes, err)
                : err_set(err, ST_NO_MEMORY, "fibers: no memory for one more");
    if (st) {
        mem_free(f);
        mem_free(k);
        return st;
    }
    s->made++;
    k->older = s->youngest;
    s->youngest = k;
    k->next = s->stacks;
    s->stacks = k;
    *ret = f;
    return ST_OK;
}

enum status fiber_spawn(struct fiber_sched *s, void (*fn)(void *arg), void *arg, struct err *err)
{
    if (s->alive >= s->max_fibers)
        return err_set(err, ST_OVERLOADED, "fibers: all %zu are in use", s->max_fibers);
    struct fiber *f = s->pool;
    if (f) {
        s->pool = f->next;
    } else {
        enum status st = fiber_make(s, &f, err);
        if (st)
            return st;
    }
    f->sched = s;
    f->fn = fn;
    f->arg = arg;
    f->parked = false;
    f->bits = f->listening = 0;
    f->timed_out = false;
    f->heap_at = NOT_SLEEPING;
    f->deadline_ns = UINT64_MAX;
    s->alive++;
    f->turn = s->turns++;
    queue_push(&s->fresh, f);
    s->n_fresh++;
    return ST_OK;
}

static void take_inbox(struct fiber_sched *s)
{
    if (!atomic_load_explicit(&s->inbox_full, memory_order_acquire))
        return;
    env_spin_lock(&s->lock);
    struct queue in = s->inbox;
    s->inbox = (struct queue){0};
    atomic_store_explicit(&s->inbox_full, false, memory_order_relaxed);
    env_spin_unlock(&s->lock);
    for (struct fiber *f = queue_pop(&in); f; f = queue_pop(&in))
        queue_again(s, f);
}

static void wake_sleepers(struct fiber_sched *s)
{
    if (s->heap_len == 0)
        return;
    uint64_t now = s->clock(s->clock_arg);
    while (s->heap_len > 0 && s->heap[0]->deadline_ns <= now) {
        struct fiber *f = s->heap[0];
        heap_remove(s, f);
        env_spin_lock(&s->lock);
        bool still = f->parked; /* else a wake-up was faster */
        if (still) {
            f->timed_out = true;
            f->parked = false;
        }
        env_spin_unlock(&s->lock);
        if (still)
            queue_again(s, f);
    }
}

static struct fiber *next_runnable(struct fiber_sched *s, size_t switches)
{
    take_inbox(s);
    if ((!s->queue.first && !s->fresh.first) || switches % SWITCHES_PER_CLOCK == 0)
        wake_sleepers(s);
    bool fresh = s->fresh.first && (!s->queue.first || s->fresh.first->turn < s->queue.first->turn);
    s->n_fresh -= fresh;
    return queue_pop(fresh ? &s->fresh : &s->queue);
}

static void retire(struct fiber_sched *s, struct fiber *f)
{
    struct stack *k = f->stack;
    fiber__context_ended(&k->context);
    f->stack = NULL;
    k->next = s->stacks;
    s->stacks = k;
    f->next = s->pool;
    s->pool = f;
    s->alive--;
}

static void start(struct fiber_sched *s, struct fiber *f)
{
    struct stack *k = s->stacks;
    ASSERT(k);
    s->stacks = k->next;
    f->stack = k;
    fiber__context_start(&k->context, fiber_main);
}

/* Runs it until it ends or waits. */
static void resume(struct fiber_sched *s, struct fiber *f)
{
    if (!f->stack)
        start(s, f);
    s->current = f;
    s->ended = false;
    fiber__context_switch(&s->thread, &f->stack->context);
    s->current = NULL;
    if (s->ended)
        retire(s, f);
}

size_t fiber_sched_run(struct fiber_sched *s)
{
    ASSERT(!t_running); /* neither from a fiber nor within another scheduler */
    t_running = s;
    fiber__context_adopt(&s->thread);
    size_t switches = 0;
    struct fiber *f;
    while ((f = next_runnable(s, switches)) != NULL) {
        heap_remove(s, f);
        resume(s, f);
        switches++;
    }
    t_running = NULL;
    return switches;
}

size_t fiber_sched_fresh(const struct fiber_sched *s)
{
    return s->n_fresh;
}

size_t fiber_sched_run_fresh(struct fiber_sched *s, size_t most)
{
    ASSERT(!t_running);
    if (!s->fresh.first)
        return 0;
    t_running = s;
    fiber__context_adopt(&s->thread);
    size_t started = 0;
    for (; started < most && s->fresh.first; started++) {
        s->n_fresh--;
        resume(s, queue_pop(&s->fresh));
    }
    t_running = NULL;
    return started;
}

/* --- called on a fiber --- */

struct fiber *fiber_current(void)
{
    return t_running ? t_running->current : NULL;
}

uint64_t fiber_now_ns(void)
{
    ASSERT(t_running);
    return t_running->clock(t_running->clock_arg);
}

static void switch_out(struct fiber *f)
{
    fiber__context_switch(&f->stack->context, &f->sched->thread);
}

void fiber_yield(void)
{
    struct fiber *f = fiber_current();
    ASSERT(f);
    /* What others woke before stands before it in the queue. */
    take_inbox(f->sched);
    queue_again(f->sched, f);
    switch_out(f);
}

bool fiber__park(unsigned bit, uint64_t deadline_ns)
{
    struct fiber *f = fiber_current();
    ASSERT(f);
    struct fiber_sched *s = f->sched;
    env_spin_lock(&s->lock);
    bool came = f->bits & bit;
    if (came) {
        f->bits &= ~bit;
    } else {
        f->parked = true;
        f->listening = bit;
        f->timed_out = false;
    }
    env_spin_unlock(&s->lock);
    if (came)
        return true;

    /* From here a wake-up may put it in the inbox; only this thread empties that. */
    if (deadline_ns != UINT64_MAX) {
        f->deadline_ns = deadline_ns;
        heap_add(s, f);
    }
    switch_out(f);
    return !f->timed_out;
}

void fiber_park(void)
{
    (void)fiber__park(FIBER_WAKE_PERMIT, UINT64_MAX);
}

bool fiber_park_until(uint64_t deadline_ns)
{
    return fiber__park(FIBER_WAKE_PERMIT, deadline_ns);
}

struct fiber **fiber__event_next(struct fiber *f)
{
    return &f->event_next;
}

/* --- called from anywhere --- */

void fiber__wake(struct fiber *f, unsigned bit)
{
    struct fiber_sched *s = f->sched;
    bool here = t_running == s;
    void (*notify)(void *arg) = NULL;
    void *arg = NULL;

    env_spin_lock(&s->lock);
    if (!f->parked || f->listening != bit) {
        f->bits |= bit;
    } else {
        f->parked = false; /* and the bit is consumed */
        if (here) {
            queue_again(s, f);
        } else {
            if (!s->inbox.first)
                notify = s->on_wake;
            arg = s->on_wake_arg;
            queue_push(&s->inbox, f);
            atomic_store_explicit(&s->inbox_full, true, memory_order_release);
            if (notify)
                atomic_fetch_add_explicit(&s->wakers, 1, memory_order_relaxed);
        }
    }
    env_spin_unlock(&s->lock);
    /* The fiber may be gone by now; the scheduler stays while `wakers` says so. */
    if (notify) {
        notify(arg);
        atomic_fetch_sub_explicit(&s->wakers, 1, memory_order_release);
    }
}

void fiber_wake(struct fiber *f)
{
    fiber__wake(f, FIBER_WAKE_PERMIT);
}
