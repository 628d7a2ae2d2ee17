/* queue.h - what is to happen, by virtual time; what comes for the same moment keeps its order.
 *
 * Owns:     the order, not the events: an event is part of whoever waits for it. Promises: the same
 *           calls give the same order; nothing depends on addresses. Never: looks at a real clock.
 * Threads:  one.
 */
#ifndef VARVE_SIM_CORE_QUEUE_H
#define VARVE_SIM_CORE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_event {
    uint64_t at_ns, seq;
    void (*fn)(void *arg);
    void *arg;
    size_t place; /* in the heap, from 1; 0: not queued */
};
struct sim_queue;

struct sim_queue *sim_queue_new(void);
void sim_queue_free(struct sim_queue *q); /* forgets what is queued; takes NULL */
/* Once at at_ns; started again it moves. A moment that has passed means now. */
void sim_queue_add(struct sim_queue *q, struct sim_event *e, uint64_t at_ns);
void sim_queue_drop(struct sim_queue *q, struct sim_event *e); /* also when it is not queued */
/* Runs the next event if it comes at or before until_ns; false: there is none, and it is until_ns
 * now (but for UINT64_MAX). */
bool sim_queue_step(struct sim_queue *q, uint64_t until_ns);
uint64_t sim_queue_now(const struct sim_queue *q);
uint64_t sim_queue_next(const struct sim_queue *q); /* UINT64_MAX: nothing waits */
uint64_t sim_queue_ran(const struct sim_queue *q);

#endif
