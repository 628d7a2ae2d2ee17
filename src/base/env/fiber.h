/* fiber.h - straight-line code that waits: cooperative fibers with their own guarded stacks.
 *
 * A scheduler belongs to one thread. fiber_spawn makes a fiber runnable; fiber_sched_run runs all
 * that are, until none is. A fiber that waits (fiber_park) is made runnable again by fiber_wake,
 * from any thread, or by its deadline.
 *
 * Owns:     stacks (mmap with a guard page, pooled in the scheduler).
 * Promises: works under AddressSanitizer, ThreadSanitizer and valgrind (each is told of every
 * switch and stack); a stack overflow hits the guard page instead of another fiber's memory. First
 * in, first out. Never:    preempts; switches inside malloc or a library call. Threads:  everything
 * but fiber_wake belongs to the scheduler's thread.
 */
#ifndef VARVE_BASE_ENV_FIBER_H
#define VARVE_BASE_ENV_FIBER_H

#include "base/status.h"
#include <stdint.h>

struct fiber;
struct fiber_sched;

enum { FIBER_STACK_DEFAULT = 64 * 1024 };

/* max_fibers bounds how many live at once; past it fiber_spawn answers OVERLOADED. */
struct fiber_sched *fiber_sched_new(size_t max_fibers, size_t stack_bytes, struct err *err);
void fiber_sched_free(struct fiber_sched *s); /* no fiber may be alive */
/* For a process whose death is simulated: unmaps all stacks, also of fibers that live, which never
 * go on and release nothing of what they hold. The scheduler must not be used again, nor freed. */
void fiber_sched_abandon(struct fiber_sched *s);
/* Called, from any thread, when a fiber becomes runnable while the scheduler may be idle (e.g.
 * writes an eventfd). A call may still be under way after another is
 * set: `arg` lives until fiber_sched_free has returned. */
void fiber_sched_on_wake(struct fiber_sched *s, void (*fn)(void *arg), void *arg);
enum status fiber_spawn(struct fiber_sched *s, void (*fn)(void *arg), void *arg,
                        struct err *err) WARN_UNUSED;
size_t fiber_sched_run(
    struct fiber_sched *s); /* runs until none is runnable; returns how many switches it made */
/* Starts those that were spawned and have not run yet, `most` of them at most, the oldest first, and
 * runs each until it waits, yields or ends; those that could go on stay for fiber_sched_run. Returns
 * how many it started. */
size_t fiber_sched_run_fresh(struct fiber_sched *s, size_t most);
size_t fiber_sched_fresh(const struct fiber_sched *s); /* spawned and not started */
size_t fiber_sched_alive(const struct fiber_sched *s);
/* When, by the scheduler's clock, the first of its sleepers must run again; UINT64_MAX: none
 * sleeps. Whoever waits between two runs must not wait past it. The clock is CLOCK_MONOTONIC unless
 * another is set before any fiber lives. */
uint64_t fiber_sched_deadline(const struct fiber_sched *s);
void fiber_sched_clock(struct fiber_sched *s, uint64_t (*mono_ns)(void *arg), void *arg);

struct fiber *fiber_current(void); /* NULL outside a fiber */
void fiber_yield(void);            /* to the back of the queue */
/* Parks the current fiber until fiber_wake. A wake-up that came first makes it return at once. */
void fiber_park(void);
bool fiber_park_until(
    uint64_t deadline_ns);   /* false when fiber_now_ns() reached the deadline first */
uint64_t fiber_now_ns(void); /* the clock of the current fiber's scheduler */
void fiber_wake(struct fiber *f);

#endif
