/* pool.h - a few threads for work that blocks: cold engine reads, scans, verification, name look-up.
 *
 * Owns:     its threads, started when there is work for them, and the queue.
 * Promises: bounded: past queue_max a call answers OVERLOADED at once. First in, first out. A fiber
 *           that waits is parked and its reactor goes on; a thread without fibers blocks.
 * Never:    drops work it took; runs a job on the caller's thread.
 * Threads:  pool_run and pool_start from any; new and free belong to the owner.
 */
#ifndef VARVE_BASE_ENV_POOL_H
#define VARVE_BASE_ENV_POOL_H

#include "base/env/thread.h"
#include "base/list.h"

struct pool;
struct pool_options {
    const char *name; /* of the threads, at most 12 bytes; NULL: "pool" */
    unsigned threads; /* 0: 4 */
    size_t queue_max; /* jobs that wait for a thread; 0: 1,024 */
};

/* NULL: no memory. */
struct pool *pool_new(const struct pool_options *options, struct err *err);
void pool_free(struct pool *p); /* does what is queued, then ends the threads; takes NULL */

/* Runs fn(arg) on a thread of the pool and returns when it is done. OVERLOADED: queue_max jobs wait;
 * NO_MEMORY: no thread could be started. On an error fn was not and will not be run. */
enum status pool_run(struct pool *p, void (*fn)(void *arg), void *arg, struct err *err) WARN_UNUSED;

/* The same in two steps, so that one caller can have several at work: pool_start, then env_wait on
 * job->done (set after fn returned; the job may go as soon as the wait is over). */
struct pool_job {
    struct list node;
    void (*fn)(void *arg);
    void *arg;
    struct env_event done;
};
enum status pool_start(struct pool *p, struct pool_job *job, void (*fn)(void *arg), void *arg,
                       struct err *err) WARN_UNUSED;
size_t pool_waiting(struct pool *p); /* jobs in the queue now */

#endif
