/* fiber_internal.h - what env_wait needs of fibers beyond fiber.h, and the switch between stacks.
 *
 * A parked fiber names the wake-ups it listens to. fiber_wake gives FIBER_WAKE_PERMIT,
 * env_event_set gives FIBER_WAKE_EVENT; one that comes while the fiber listens to the other is kept
 * for its next turn.
 *
 * Threads:  fiber__wake from any; the rest on the scheduler's own.
 */
#ifndef VARVE_BASE_ENV_FIBER_INTERNAL_H
#define VARVE_BASE_ENV_FIBER_INTERNAL_H

#include "base/env/fiber.h"

enum { FIBER_WAKE_PERMIT = 1, FIBER_WAKE_EVENT = 2 };

void fiber__wake(struct fiber *f, unsigned bit);
/* Parks the current fiber until `bit` comes (true; consumes it) or the scheduler's clock reaches
 * the deadline. */
bool fiber__park(unsigned bit, uint64_t deadline_ns);
/* The link of the stack of fibers that wait for one event; belongs to thread.c while the fiber
 * waits. */
struct fiber **fiber__event_next(struct fiber *f);

#if !defined(VARVE_FIBER_UCONTEXT) && !defined(__x86_64__) && !defined(__aarch64__)
#define VARVE_FIBER_UCONTEXT 1
#endif
#ifdef VARVE_FIBER_UCONTEXT
#include <ucontext.h>
#endif

/* fiber_switch.c: a suspended flow of control and its stack, as the processor and the tools see it.
 */
struct fiber_context {
    void *sp;    /* where the callee-saved registers lie while suspended */
    void *stack; /* lowest usable byte; of the thread's own stack known under ASan only */
    size_t stack_bytes;
    void *tool; /* ASan's fake stack or TSan's fiber */
    unsigned valgrind_id;
#ifdef VARVE_FIBER_UCONTEXT
    ucontext_t ucontext;
#endif
};

/* Maps a stack with its guard below. ST_NO_MEMORY. */
enum status fiber__context_map(struct fiber_context *c, size_t stack_bytes, struct err *err);
void fiber__context_unmap(struct fiber_context *c);
/* Readies a mapped context to run `entry` from its start. entry calls fiber__context_arrived first
 * and ends in fiber__context_exit. */
void fiber__context_start(struct fiber_context *c, void (*entry)(void));
/* Makes `c` stand for the flow that runs now, on the thread's own stack. */
void fiber__context_adopt(struct fiber_context *c);
/* Suspends `from`, which runs, and resumes `to`. */
void fiber__context_switch(struct fiber_context *from, struct fiber_context *to);
void fiber__context_arrived(struct fiber_context *from);
/* As switch, for good: whoever runs next calls fiber__context_ended on `from`. */
__attribute__((noreturn)) void fiber__context_exit(struct fiber_context *from,
                                                   struct fiber_context *to);
void fiber__context_ended(struct fiber_context *c);

#endif
