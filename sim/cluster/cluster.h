/* cluster.h - one run: a cluster of simulated nodes under load and trouble, then healed, then judged.
 *
 * Owns:     the run. Promises: one plan, one run, to the byte of its story. Never: prints.
 * Threads:  one, and one run at a time (it takes the log's sink).
 */
#ifndef VARVE_SIM_CLUSTER_CLUSTER_H
#define VARVE_SIM_CLUSTER_CLUSTER_H

#include "sim/check/check.h"
#include "sim/cluster/plan.h"
#include "sim/core/points.h"

struct run;

struct run_options {
    /* Told line by line (each ended) what happens; NULL: nobody. */
    void (*story)(void *arg, const char *line, size_t len);
    void *arg;
    bool wants_ops; /* operations too, not only trouble */
};

struct run_result {
    uint64_t digest;     /* of everything that happened */
    uint64_t operations; /* of clients, with an answer */
    uint64_t unknown, failed;
    uint64_t faults[FAULT_KINDS]; /* how often each struck */
    unsigned fault_kinds;         /* that struck */
    uint64_t leader_changes;
    uint64_t starts, events, virtual_ns;
    uint64_t violations, undecided;
    uint64_t points[POINTS_MAX]; /* how often each was passed (probe: reached), or fired */
    bool counts;        /* >= 1,000 operations, >= 3 kinds of fault, >= 1 change of leader */
    char failure[4000]; /* what is wrong; empty: nothing */
};

/* Makes the cluster of `p`, lets it run to its end and judges it. ret_history (may be NULL): what
 * the clients saw, to be freed by the caller. */
void run_whole(const struct plan *p, const struct run_options *o, struct run_result *ret,
               struct history **ret_history);

#endif
