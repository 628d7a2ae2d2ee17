/* thread.h - threads, mutexes and waiting.
 *
 * Owns:     what each struct holds. Promises: env_wait parks the fiber it runs on, or blocks the
 * thread when it runs on none, so store code is written once (architecture, section 2). No spurious
 * returns from env_wait. Never:    used under the simulator from more than one thread. Threads:
 * that is the point.
 */
#ifndef VARVE_BASE_ENV_THREAD_H
#define VARVE_BASE_ENV_THREAD_H

#include "base/status.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct env_mutex {
    pthread_mutex_t m;
};
struct env_cond {
    pthread_cond_t c;
};
void env_mutex_init(struct env_mutex *m);
void env_mutex_deinit(struct env_mutex *m);
void env_mutex_lock(struct env_mutex *m);
void env_mutex_unlock(struct env_mutex *m);
void env_cond_init(struct env_cond *c);
void env_cond_deinit(struct env_cond *c);
void env_cond_wait(struct env_cond *c, struct env_mutex *m);
/* false when `timeout_ms` passed first (monotonic clock). */
bool env_cond_wait_ms(struct env_cond *c, struct env_mutex *m, uint64_t timeout_ms);
void env_cond_signal(struct env_cond *c);
void env_cond_broadcast(struct env_cond *c);

struct env_thread {
    pthread_t t;
};
/* `name` is cut to 15 bytes (what Linux shows). All signals but those a fault raises are blocked in
 * the new thread. NO_MEMORY: no memory, or a limit on threads. */
enum status env_thread_start(struct env_thread *t, const char *name, void (*fn)(void *arg),
                             void *arg, struct err *err) WARN_UNUSED;
void env_thread_join(struct env_thread *t);

/* Runs fn(arg) on a thread of its own and returns when it is done: a fiber is parked meanwhile, and its
 * thread goes on with others. Where no thread can be had fn runs on the caller's. Not under the
 * simulator. */
void env_run_aside(const char *name, void (*fn)(void *arg), void *arg);
/* The same, behind.c: that thread, and those that it starts, come after all others, for long work that
 * nobody waits for by the millisecond: they have what the others leave, which may be next to nothing.
 * They are raised within a tenth of a second once *hurry is set (NULL: never). fn must not hold long what
 * others wait for. */
void env_run_behind(const char *name, const _Atomic bool *hurry, void (*fn)(void *arg), void *arg);
/* Threads that a library started in such an fn, their names begin with `prefix`: raises them, or puts
 * them behind the others again. */
void env_raise_named(const char *prefix, bool raise);
/* How many processors' time this process may use, at least 1: those that it may run on, or fewer where a
 * control group limits it, rounded up. */
unsigned env_cpu_count(void);

/* An event that happens once: any number of waiters, one wake-up call for all of them. On Linux a
 * futex word: env_event_set is one system call, and none when nobody waits. Fibers wait without
 * blocking their thread. */
struct fiber;
struct env_event {
    _Atomic uint32_t state;       /* 0 clear, 1 clear with waiters, 2 set */
    struct fiber *_Atomic fibers; /* parked fibers, a stack linked through the fiber */
};
void env_event_init(struct env_event *e);
void env_event_set(struct env_event *e);
bool env_event_is_set(const struct env_event *e);
/* true: set; false: the timeout passed. timeout_ns UINT64_MAX: none. */
bool env_wait(struct env_event *e, uint64_t timeout_ns);
/* env_wait without a timeout, for what is likely to come within `soon_ns`: a thread stays awake that
 * long, and gives its processor to whoever can run, because to be woken takes longer than what it
 * waits for. Fibers, and threads with one processor for all, just wait. */
void env_wait_awake(struct env_event *e, uint64_t soon_ns);

/* A lock that may be held while its holder waits: who cannot have it parks its fiber (or blocks its
 * thread), where a mutex would block the thread on which the holder's fiber has to go on. First
 * come, first served. */
struct env_lock_waiter;
struct env_lock {
    struct env_mutex mutex; /* of the fields below, for moments */
    bool held;
    struct env_lock_waiter *first, **last;
};
void env_lock_init(struct env_lock *l);
void env_lock_deinit(struct env_lock *l);
void env_lock_take(struct env_lock *l);
void env_lock_give(struct env_lock *l); /* by whatever thread or fiber */

/* A short critical section that never sleeps inside (tens of nanoseconds); spins, then yields. */
struct env_spin {
    _Atomic uint32_t locked;
};
void env_spin_lock(struct env_spin *s);
void env_spin_unlock(struct env_spin *s);

#endif
