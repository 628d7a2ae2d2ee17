/* replica_internal.h - what the files of the replica share. Read replica.h first.
 *
 * A round: updates of all ready groups are taken (`open`), their `now` messages and committed entries
 * go out, one append and one sync make the rest durable, then `after` messages leave and the groups
 * are told. While an append fails the updates stay open: raft allows no input then, so ticks and
 * bundles are dropped and proposals refused.
 */
#ifndef VARVE_NODE_RANGE_REPLICA_INTERNAL_H
#define VARVE_NODE_RANGE_REPLICA_INTERNAL_H

#include "base/alloc.h"
#include "base/assert.h"
#include "consensus/raft/raft_codec.h"
#include "node/range/replica.h"

enum { REPLICA__ROUND_MAX = 64 }; /* groups in one append */

struct replica {
    struct replicas *owner;
    struct raft *raft;
    uint64_t range;
    bool alone;
    struct wal_entries read; /* old entries, as raft has them until its next update is done */
    struct raft_entry *fetched;
    size_t cap_fetched;
    uint64_t applied_term; /* of the newest entry handed out to apply */
};

struct replica__open {
    struct replica *r;
    struct raft_update u;
    uint8_t hard[REPLICA_HARD_BYTES];
    enum status chunk_written;
};

/* What waits to leave for one node. */
struct replica__out {
    uint64_t node;
    struct buf bundle;
    bool refused; /* raft is told when it may be */
};

struct replicas {
    struct replicas_options o;
    struct raft_store *store;
    struct wal *wal;
    struct replica **v;
    size_t n, cap;

    struct replica__open open[REPLICA__ROUND_MAX];
    size_t n_open;
    bool stalled; /* the open updates are not in the log yet */
    enum status broken;

    struct wal_record *records;
    size_t cap_records;
    uint8_t (*conf_room)[REPLICA_CONF_BYTES_MAX];
    size_t cap_conf_room;

    struct replica__out out[RAFT_MEMBERS_MAX];
    size_t n_out;
    struct raft_decoded decoded;
};

/* replica.c */
/* The bundle to a node with its head; NULL: no memory. */
struct buf *replicas__out(struct replicas *rs, uint64_t node);
/* Sends what has grown large. */
void replicas__out_full(struct replicas *rs, uint64_t node);
/* Peers whose bundles were dropped are unreachable. With no update open. */
void replicas__tell_refused(struct replicas *rs);

/* replica_log.c */
/* Puts the open updates into the log. */
enum status replicas__log(struct replicas *rs, bool sync, struct err *err) WARN_UNUSED;

#endif
