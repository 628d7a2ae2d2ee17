/* members.h - who belongs to the cluster: voters, learners, and nodes of its list that are out.
 *
 * The nodes of a cluster are those of store_cluster.nodes; at first all of them vote. The leader's
 * node changes that, one change at a time, through a joint configuration that is left by itself
 * (raft.h). What is in force lies in the log as an entry, and beside the mark of every drain, so that
 * it outlives the log; it goes along with a state that is sent to another node. Where it says
 * something it counts, and the options do not.
 *
 * A learner gets everything and counts for nothing: it reads, waits in store_barrier and sends writes
 * to the leader as a voter does. A node that is out gets nothing: its writes and barriers are
 * UNAVAILABLE unless it is brought back in time; what it has stays readable.
 *
 * Who is to vote has to have what is committed before anything more can be: let a new or late one learn
 * first, or writes wait for it (dissertation, 4.2.1).
 *
 * Nothing outside of node/ calls this: nodes that join by themselves, and a command for operators,
 * are steps to come. `varve serve` knows a static cluster.
 *
 * Owns:     nothing. Promises: an answer says "done", "surely not done" or "unknown", and is right.
 * Never:    lets a replica whose disk is new go on as the one before: it has an id of its own.
 * Threads:  any.
 */
#ifndef VARVE_NODE_STORE_MEMBERS_H
#define VARVE_NODE_STORE_MEMBERS_H

#include "node/store/store.h"

struct store_member {
    uint64_t node;
    uint64_t
        replica; /* 0: the node's newest that is a member now, or else the one called as the node */
    bool learner; /* else it votes */
};

/* From now on exactly these belong to the cluster; returns when the change is committed, left and
 * applied here. Errors: INVALID_ARGUMENT (no voter, a node that the cluster has not, twice the same),
 * PRECONDITION_FAILED (another node leads; another change is under way; nothing of this leader is
 * committed yet), OVERLOADED, TOO_LARGE, UNAVAILABLE: surely nothing was changed. UNKNOWN_OUTCOME: it
 * was begun, and may come about. POISONED: as for a write. */
enum status store_members_change(struct store *s, const struct store_member *members, size_t n,
                                 uint64_t timeout_ms, struct err *err) WARN_UNUSED;

#endif
