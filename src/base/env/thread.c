/* Threads, and waiting for an event on a fiber or a thread.
 *
 * An event often lives on the stack of the one who waits for it and is gone as soon as that one
 * returns. Hence the order in env_event_set: first the stack of fibers is taken and closed, then
 * `state` becomes 2, and from there on the event is not touched again (the futex call uses its
 * address as a name only). Whoever finds the stack closed waits for that 2 before it believes the
 * event is set.
 *
 * The low bit of `fibers` is a lock, taken only by a fiber that timed out and unlinks itself;
 * pushes are one CAS.
 */
#include "base/env/thread.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/env/fiber.h"
#include "base/env/fiber_internal.h"
#include "base/env/thread_internal.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NAME_MAX_BYTES = 15, SPINS_BEFORE_YIELD = 128 };
enum { EVENT_CLEAR = 0, EVENT_WAITED = 1, EVENT_SET = 2 };

/* --- mutexes and conditions: on Linux these calls fail only on misuse --- */

void env_mutex_init(struct env_mutex *m)
{
    int rc = pthread_mutex_init(&m->m, NULL);
    ASSERT(rc == 0);
}

void env_mutex_deinit(struct env_mutex *m)
{
    int rc = pthread_mutex_destroy(&m->m);
    ASSERT(rc == 0);
}

void env_mutex_lock(struct env_mutex *m)
{
    int rc = pthread_mutex_lock(&m->m);
    ASSERT(rc == 0);
}

void env_mutex_unlock(struct env_mutex *m)
{
    int rc = pthread_mutex_unlock(&m->m);
    ASSERT(rc == 0);
}

void env_cond_init(struct env_cond *c)
{
    pthread_condattr_t attr;
    int rc = pthread_condattr_init(&attr);
    ASSERT(rc == 0);
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    ASSERT(rc == 0);
    rc = pthread_cond_init(&c->c, &attr);
    ASSERT(rc == 0);
    pthread_condattr_destroy(&attr);
}

void env_cond_deinit(struct env_cond *c)
{
    int rc = pthread_cond_destroy(&c->c);
    ASSERT(rc == 0);
}

void env_cond_wait(struct env_cond *c, struct env_mutex *m)
{
    int rc = pthread_cond_wait(&c->c, &m->m);
    ASSERT(rc == 0);
}

static uint64_t mono_ns(void)
{
    struct timespec ts;
    int rc = clock_gettime(CLOCK_MONOTONIC, &ts);
    ASSERT(rc == 0);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The point on the clock `ns` from now; UINT64_MAX when that is beyond counting. */
static uint64_t deadline_in(uint64_t now_ns, uint64_t ns)
{
    return ns > UINT64_MAX - now_ns ? UINT64_MAX : now_ns + ns;
}

static struct timespec timespec_of(uint64_t ns)
{
    return (struct timespec){(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
}

bool env_cond_wait_ms(struct env_cond *c, struct env_mutex *m, uint64_t timeout_ms)
{
    uint64_t ns = timeout_ms > UINT64_MAX / 1000000u ? UINT64_MAX : timeout_ms * 1000000u;
    struct timespec until = timespec_of(deadline_in(mono_ns(), ns));
    int rc = pthread_cond_timedwait(&c->c, &m->m, &until);
    ASSERT(rc == 0 || rc == ETIMEDOUT);
    return rc == 0;
}

void env_cond_signal(struct env_cond *c)
{
    int rc = pthread_cond_signal(&c->c);
    ASSERT(rc == 0);
}

void env_cond_broadcast(struct env_cond *c)
{
    int rc = pthread_cond_broadcast(&c->c);
    ASSERT(rc == 0);
}

/* --- threads --- */

struct start {
    void (*fn)(void *arg);
    void *arg;
    struct thread_family *family;
    char name[NAME_MAX_BYTES + 1];
};

static void *thread_main(void *p)
{
    struct start start = *(struct start *)p;
    mem_free(p);
    pthread_setname_np(pthread_self(), start.name); /* for people only; nothing hangs on it */
    thread__join_family(start.family);
    start.fn(start.arg);
    thread__leave_family();
    return NULL;
}

/* Faults stay deliverable: blocked, they would kill without a word (and without the sanitizer's
 * report). */
static void all_signals_but_faults(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigfillset(set);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(set, faults[i]);
}

enum status env_thread_start(struct env_thread *t, const char *name, void (*fn)(void *arg),
                             void *arg, struct err *err)
{
    struct start *start = mem_alloc(sizeof *start);
    if (!start)
        return err_set(err, ST_NO_MEMORY, "thread %s: no memory to start it", name);
    start->fn = fn;
    start->arg = arg;
    start->family = thread__family();
    snprintf(start->name, sizeof start->name, "%.*s", (int)NAME_MAX_BYTES, name);
    sigset_t blocked, before;
    all_signals_but_faults(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before); /* a new thread inherits the mask */
    pthread_t made;
    int rc = pthread_create(&made, NULL, thread_main, start);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0) {
        mem_free(start);
        err_errno(err, rc, "thread %s", name);
        if (err)
            err->status =
                ST_NO_MEMORY; /* EAGAIN: a limit on threads or memory; there is no other cause */
        return ST_NO_MEMORY;
    }
    t->t = made;
    return ST_OK;
}

void env_thread_join(struct env_thread *t)
{
    int rc = pthread_join(t->t, NULL);
    ASSERT(rc == 0);
}

/* --- spinning --- */

static void spin_once(unsigned *rounds)
{
    if (++*rounds % SPINS_BEFORE_YIELD == 0) {
        sched_yield(); /* the holder may have lost its CPU to us */
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}

void env_spin_lock(struct env_spin *s)
{
    unsigned rounds = 0;
    while (atomic_exchange_explicit(&s->locked, 1, memory_order_acquire) != 0)
        while (atomic_load_explicit(&s->locked, memory_order_relaxed) != 0)
            spin_once(&rounds);
}

void env_spin_unlock(struct env_spin *s)
{
    atomic_store_explicit(&s->locked, 0, memory_order_release);
}

/* --- events --- */

/* Stands in `fibers` once the stack is closed. It is never followed. */
#define FIBERS_CLOSED   ((struct fiber *)~(uintptr_t)1)
#define FIBERS_LOCK_BIT ((uintptr_t)1)

static bool is_locked(const struct fiber *head)
{
    return (uintptr_t)head & FIBERS_LOCK_BIT;
}

static struct fiber *with_lock(struct fiber *head)
{
    return (struct fiber *)((uintptr_t)head | FIBERS_LOCK_BIT);
}

void env_event_init(struct env_event *e)
{
    atomic_init(&e->state, EVENT_CLEAR);
    atomic_init(&e->fibers, NULL);
}

bool env_event_is_set(const struct env_event *e)
{
    return atomic_load_explicit(&e->state, memory_order_acquire) == EVENT_SET;
}

/* Replaces the head of the unlocked stack, waiting out a lock holder; false when it is closed. */
static bool swap_head(struct env_event *e, struct fiber **ret_head,
                      struct fiber *(*next)(struct fiber *head, struct fiber *arg),
                      struct fiber *arg)
{
    unsigned rounds = 0;
    struct fiber *head = atomic_load_explicit(&e->fibers, memory_order_acquire);
    for (;;) {
        if (head == FIBERS_CLOSED)
            return false;
        if (is_locked(head)) {
            spin_once(&rounds);
            head = atomic_load_explicit(&e->fibers, memory_order_acquire);
            continue;
        }
        if (atomic_compare_exchange_weak_explicit(&e->fibers, &head, next(head, arg),
                                                  memory_order_acq_rel, memory_order_acquire)) {
            *ret_head = head;
            return true;
        }
    }
}

static struct fiber *link_before(struct fiber *head, struct fiber *f)
{
    *fiber__event_next(f) = head;
    return f;
}

static struct fiber *lock_head(struct fiber *head, struct fiber *unused)
{
    (void)unused;
    return with_lock(head);
}

static struct fiber *close_stack(struct fiber *head, struct fiber *unused)
{
    (void)head;
    (void)unused;
    return FIBERS_CLOSED;
}

/* Takes a fiber that timed out off the stack; false when env_event_set has it already and will wake
 * it. */
static bool unlink_fiber(struct env_event *e, struct fiber *f)
{
    struct fiber *head;
    if (!swap_head(e, &head, lock_head, NULL))
        return false;
    struct fiber **at = &head;
    while (*at != f) {
        ASSERT(*at);
        at = fiber__event_next(*at);
    }
    *at = *fiber__event_next(f);
    atomic_store_explicit(&e->fibers, head, memory_order_release);
    return true;
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, NULL, NULL, 0);
}

/* Sleeps while *word is `expected`; false when the deadline came. */
static bool futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
    struct timespec until = timespec_of(deadline_ns);
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected,
                      deadline_ns == UINT64_MAX ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    ASSERT(rc == 0 || errno == EAGAIN || errno == EINTR || errno == ETIMEDOUT);
    return rc == 0 || errno != ETIMEDOUT;
}

void env_event_set(struct env_event *e)
{
    struct fiber *parked = NULL;
    if (!swap_head(e, &parked, close_stack, NULL))
        parked = NULL; /* set before */
    uint32_t old = atomic_exchange_explicit(&e->state, EVENT_SET, memory_order_acq_rel);
    if (old == EVENT_WAITED)
        futex_wake_all(&e->state);
    while (parked) {
        struct fiber *next = *fiber__event_next(parked); /* once woken it may be gone */
        fiber__wake(parked, FIBER_WAKE_EVENT);
        parked = next;
    }
}

static bool wait_on_fiber(struct env_event *e, struct fiber *f, uint64_t timeout_ns)
{
    struct fiber *before;
    if (!swap_head(e, &before, link_before, f)) {
        unsigned rounds = 0;
        while (!env_event_is_set(e))
            spin_once(&rounds); /* the setter is between two instructions */
        return true;
    }
    uint64_t deadline = deadline_in(fiber_now_ns(), timeout_ns);
    if (fiber__park(FIBER_WAKE_EVENT, deadline))
        return true;
    if (unlink_fiber(e, f))
        return false;
    return fiber__park(FIBER_WAKE_EVENT, UINT64_MAX);
}

static bool wait_on_thread(struct env_event *e, uint64_t timeout_ns)
{
    uint64_t deadline = timeout_ns == UINT64_MAX ? UINT64_MAX : deadline_in(mono_ns(), timeout_ns);
    for (;;) {
        uint32_t state = atomic_load_explicit(&e->state, memory_order_acquire);
        if (state == EVENT_SET)
            return true;
        if (state == EVENT_CLEAR &&
            !atomic_compare_exchange_weak_explicit(&e->state, &state, EVENT_WAITED,
                                                   memory_order_relaxed, memory_order_relaxed))
            continue;
        if (!futex_wait(&e->state, EVENT_WAITED, deadline))
            return env_event_is_set(e);
    }
}

bool env_wait(struct env_event *e, uint64_t timeout_ns)
{
    if (env_event_is_set(e))
        return true;
    if (timeout_ns == 0)
        return false;
    struct fiber *f = fiber_current();
    return f ? wait_on_fiber(e, f, timeout_ns) : wait_on_thread(e, timeout_ns);
}

static bool many_cpus(void)
{
    static _Atomic unsigned n; /* asked once */
    unsigned cpus = atomic_load_explicit(&n, memory_order_relaxed);
    if (cpus == 0) {
        cpus = env_cpu_count();
        atomic_store_explicit(&n, cpus, memory_order_relaxed);
    }
    return cpus > 1;
}

void env_wait_awake(struct env_event *e, uint64_t soon_ns)
{
    if (!fiber_current() && many_cpus()) {
        uint64_t until = deadline_in(mono_ns(), soon_ns);
        while (!env_event_is_set(e) && mono_ns() < until)
            sched_yield();
    }
    (void)env_wait(e, UINT64_MAX);
}

/* --- locks held across waits --- */

struct env_lock_waiter {
    struct env_event turn;
    struct env_lock_waiter *next;
};

void env_lock_init(struct env_lock *l)
{
    env_mutex_init(&l->mutex);
    l->held = false;
    l->first = NULL;
    l->last = &l->first;
}

void env_lock_deinit(struct env_lock *l)
{
    ASSERT(!l->held && !l->first);
    env_mutex_deinit(&l->mutex);
}

void env_lock_take(struct env_lock *l)
{
    struct env_lock_waiter me;
    env_mutex_lock(&l->mutex);
    bool mine = !l->held;
    l->held = true;
    if (!mine) {
        env_event_init(&me.turn);
        me.next = NULL;
        *l->last = &me;
        l->last = &me.next;
    }
    env_mutex_unlock(&l->mutex);
    if (!mine)
        (void)env_wait(&me.turn, UINT64_MAX);
}

/* Handed over, not let go: nobody can come in between. */
void env_lock_give(struct env_lock *l)
{
    env_mutex_lock(&l->mutex);
    ASSERT(l->held);
    struct env_lock_waiter *next = l->first;
    if (next) {
        l->first = next->next;
        if (!l->first)
            l->last = &l->first;
    } else {
        l->held = false;
    }
    env_mutex_unlock(&l->mutex);
    if (next)
        env_event_set(&next->turn); /* it may be gone from here on */
}
