/* work.h - where requests do what blocks: cold reads, pages of scans, verification.
 *
 * Two pools (base/env/pool.h): one for work that a client waits for, one of few threads for care
 * that may take minutes, so that the second cannot hold up the first.
 *
 * Owns:     the pools.
 * Promises: bounded: past the queue OVERLOADED at once. The fiber is parked meanwhile.
 * Never:    stops a job that runs: jobs look at request_stop_flag themselves.
 * Threads:  work_run from any.
 */
#ifndef VARVE_SERVE_WORK_WORK_H
#define VARVE_SERVE_WORK_WORK_H

#include "base/metrics.h"
#include "base/status.h"

struct work;
struct work_options {
    unsigned threads, care_threads; /* 0: 4 and 2 */
    size_t queue_max;               /* of each; 0: 1,024 */
    struct metrics *metrics;        /* NULL: nothing is counted */
};
enum work_kind {
    WORK_READ, /* milliseconds: a cold get, a page, a write that may wait long */
    WORK_CARE, /* vacuum, verify, checkpoint, compact */
};

enum status work_new(const struct work_options *options, struct work **ret,
                     struct err *err) WARN_UNUSED;
void work_free(struct work *w); /* does what is queued first; takes NULL */
/* Runs fn(arg) on a thread of the pool and returns when it is done; under a reactor the fiber waits,
 * elsewhere the thread. OVERLOADED, NO_MEMORY: fn was not run. It must not use what belongs to the
 * reactor (conn, exchange, rpc), but for what request.h allows. */
enum status work_run(struct work *w, enum work_kind kind, void (*fn)(void *arg), void *arg,
                     struct err *err) WARN_UNUSED;

#endif
