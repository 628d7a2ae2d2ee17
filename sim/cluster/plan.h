/* plan.h - what a seed stands for: how large the cluster is, how it is set up, and which faults meet
 * it how often (swarm testing: Groce, Zhang, Eide, Chen, Regehr, ISSTA '12: each run leaves most
 * kinds of fault out, so that none hides what another would show).
 *
 * Owns:     nothing. Promises: one seed, one plan. Threads: pure functions.
 */
#ifndef VARVE_SIM_CLUSTER_PLAN_H
#define VARVE_SIM_CLUSTER_PLAN_H

#include "base/buf.h"
#include "sim/net/sim_net.h"

enum { PLAN_NODES_MAX = 5 };

#define PLAN_FAULTS(X)                                                                             \
    X(KILL, "kill")             /* kill -9, and back */                                            \
    X(POWER, "power")           /* the plug is pulled: un-synced writes lost, torn, kept */        \
    X(PAUSE, "pause")           /* no processor for longer than an election timeout */             \
    X(PARTITION, "partition")   /* two groups that do not hear each other */                       \
    X(ISOLATE, "isolate")       /* the leader, or another, alone */                                \
    X(ONE_WAY, "one-way")       /* one does not reach another, which reaches it */                 \
    X(CLOG, "clog")             /* nothing arrives for a while, then everything */                 \
    X(LOSS, "loss")             /* messages get lost, late, doubled; streams stall */              \
    X(CLOCK_JUMP, "clock-jump") /* the wall clock leaps, either way */                             \
    X(DRIFT, "drift")           /* clocks run fast or slow */                                      \
    X(WRITE_ERROR, "write-error")                                                                  \
    X(SYNC_ERROR, "sync-error")                                                                    \
    X(READ_ERROR, "read-error")                                                                    \
    X(DISK_FULL, "disk-full")                                                                      \
    X(SLOW_DISK, "slow-disk")                                                                      \
    X(ROT, "rot")     /* a bit of the log flips while the process is down */                       \
    X(WIPE, "wipe")   /* a disk is gone: its node never comes back */                              \
    X(STORM, "storm") /* one leader after the other falls, each soon after it was elected */       \
    X(MISDIRECT, "misdirect")   /* writes land in another place of their file */                   \
    X(STALE_READ, "stale-read") /* reads show what was there before */                             \
    X(STOP, "stop")             /* SIGTERM: hands over, closes its folder, comes back */           \
    X(MEMBERS, "members")       /* voters become learners, leave, come back (members.h) */

enum plan_fault {
#define X(name, text) FAULT_##name,
    PLAN_FAULTS(X)
#undef X
        FAULT_KINDS
};
const char *plan_fault_name(enum plan_fault f);

struct plan {
    uint64_t seed;
    bool alone; /* no nodes: Raft groups alone (sim/raft), and nothing below but buggify holds */
    unsigned nodes, clients, watchers;
    bool keeper;               /* somebody keeps house: names, retention, vacuum */
    bool buggify;              /* rare paths are made likely */
    bool streams;              /* nodes talk by serve/peer over streams, else by messages */
    bool vain;                 /* clients ask for keys that nobody ever wrote, too */
    bool doors;                /* some clients come through serve/port and the doors (door.h) */
    uint64_t busy_ms, heal_ms; /* phase 1; phase 2 at most */
    uint64_t more_ms;          /* phase 1 is so much longer at most, for the run to count */
    uint64_t ops_max;          /* operations, then phase 1 ends */
    uint32_t think_us;         /* between two operations of a client, on the average */
    uint32_t every_ms[FAULT_KINDS]; /* mean time between two; 0: never */
    unsigned down_max;              /* nodes without a process at once */
    uint64_t outage_ms;             /* how long faults last, about */

    uint32_t heartbeat_ms, election_ms, propose_timeout_ms;
    size_t append_bytes;      /* of entries in one message; 0: as many as there are */
    uint32_t append_messages; /* to one node under way; 0: as many as raft lets */
    size_t segment_bytes, first_segment_bytes, table_bytes, cache_bytes;
    uint64_t log_bytes;
    uint32_t checkpoint_ms;
    uint32_t sync_us, torn_bytes;
    struct sim_link link;

    unsigned keys, value_bytes;
    unsigned weight[8]; /* of the workloads, by enum workload (clients.h) */
};

void plan_draw(struct plan *p, uint64_t seed);
/* Another size; what makes no sense in it is left out. */
void plan_nodes(struct plan *p, unsigned nodes);
/* Whether some fault of it may make a disk answer with an error, or with what is wrong. */
bool plan_disks_fail(const struct plan *p);
/* Narrows a plan down: "quiet", "kills", "partitions", ... false: no such scenario. */
bool plan_scenario(struct plan *p, const char *name);
/* The names, each ended by a newline. */
const char *plan_scenarios(void);
/* One line for people. */
enum status plan_text(const struct plan *p, struct buf *out) WARN_UNUSED;

#endif
