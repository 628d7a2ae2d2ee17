/* replica.h - the replicas of a store over its one log: rounds of receive, send, log, sync, apply.
 *
 * A replica joins a group of consensus/raft with the shared log. Inputs (proposals, reads, bundles,
 * ticks) only change memory; replicas_round then does for all groups at once what follows from them:
 * messages that may leave at once, what is committed to its owner to be applied, one append and one
 * sync, messages that wait for it. One voter is the same with nobody to send to.
 * Sources: raft.h; Ongaro's dissertation 10.2 (the leader writes while followers do).
 *
 * Owns:     the raft groups, what waits to be sent. Not the log.
 * Promises: nothing that tells of term, vote or entries leaves before its sync; entries are handed
 *           out to be applied in order, each once, and only when a majority has them durably; after a
 *           failed sync nothing leaves any more. While an append fails for want of room the replica is
 *           silent, as if its disk was slow, and tries again with the next round; the only voter
 *           takes back what was not logged instead.
 * Never:    starts threads, reads a clock, interprets what entries say.
 * Threads:  one owner at a time: whoever drives the store.
 */
#ifndef VARVE_NODE_RANGE_REPLICA_H
#define VARVE_NODE_RANGE_REPLICA_H

#include "consensus/raft/raft.h"
#include "node/range/replica_codec.h"
#include "storage/wal/wal.h"

struct replicas; /* those of one store */
struct replica;  /* of one range */

/* What a round asks of its owner. None of them may give the replicas any input. */
struct replicas_calls {
    /* Copies or drops. */
    bool (*send)(void *arg, uint64_t to_node, struct bytes bundle);
    /* Entries that are committed, in order. Not ST_OK: the state behind this is unknown, and the
     * replicas stop (they are broken). */
    enum status (*apply)(void *arg, struct replica *r, const struct raft_entry *entries, size_t n);
    void (*read_done)(void *arg, struct replica *r, uint64_t id, bool ok);
    void (*role_changed)(void *arg, struct replica *r);
    /* Snapshots. What takes long is only begun, and answered between rounds, by replica_snapshot_made
     * and replica_installed. One to send is wanted that reaches at least `index`. */
    void (*snapshot_wanted)(void *arg, struct replica *r, uint64_t index);
    /* Bytes of the one that was made last; borrowed until the next call. */
    enum status (*snapshot_read)(void *arg, struct replica *r, uint64_t id, uint64_t offset,
                                 size_t max_bytes, struct bytes *ret, bool *ret_last);
    /* Bytes of one that comes in; offset 0 begins it. */
    enum status (*snapshot_write)(void *arg, struct replica *r, const struct raft_chunk *chunk);
    /* All of it has come: it is to replace the state. */
    void (*snapshot_install)(void *arg, struct replica *r, const struct raft_snapshot *snap,
                             bool keep_log);
    /* It is not sent, or received, any more. */
    void (*snapshot_drop)(void *arg, struct replica *r, uint64_t id);

    void (*logged)(void *arg, size_t n_entries); /* appended; not synced yet */
    void (*synced)(void *arg, uint64_t ns);
    uint64_t (*mono_ns)(void *arg);
    void *arg;
};
struct replicas_options {
    uint64_t node, incarnation, seed;   /* incarnation: as raft.h's */
    uint32_t heartbeat_ms, election_ms; /* 0 = raft.h's, */
    size_t append_bytes;                /* as its max_append_bytes */
    uint32_t append_messages;           /* and max_inflight_msgs */
    /* For checkers: told of each message that a replica has taken in. NULL: nobody. */
    void (*stepped)(void *arg, const struct raft *r, const struct raft_msg *m);
    void *stepped_arg;
    struct replicas_calls calls;
};
/* Errors: those of raft_store_new. */
enum status replicas_new(const struct replicas_options *o, struct replicas **ret,
                         struct err *err) WARN_UNUSED;
void replicas_free(struct replicas *rs); /* with its replicas; takes NULL */
/* The log that rounds append to; given before the first. */
void replicas_use_log(struct replicas *rs, struct wal *wal);

/* A stopped replica of range init->group; what it has in the log is brought by raft_load on
 * replica_raft, and raft_start lets it take part. Errors: those of raft_new. */
enum status replica_new(struct replicas *rs, const struct raft_init *init, struct replica **ret,
                        struct err *err) WARN_UNUSED;
/* Takes part from now on. Errors: those of raft_start. */
enum status replica_start(struct replica *r, struct err *err) WARN_UNUSED;
struct raft *replica_raft(struct replica *r);
static inline bool replica_leads(struct replica *r)
{
    struct raft_status st;
    raft_status(replica_raft(r), &st);
    return st.role == RAFT_LEADER;
}

/* ---- input ---- */

/* Bytes of another node. Raft's items are taken in; others are handed to `other` (borrowed).
 * INVALID_ARGUMENT: malformed: what came before that was taken in. */
enum status replicas_receive(struct replicas *rs, uint64_t from_node, struct bytes bundle,
                             void (*other)(void *arg, uint64_t from_node, uint64_t incarnation,
                                           uint8_t kind, struct bytes body),
                             void *arg, struct err *err) WARN_UNUSED;
void replicas_tick(struct replicas *rs, uint64_t now_ms);
/* As raft_propose. OVERLOADED also while a log append is being tried again. */
enum status replica_propose(struct replica *r, struct bytes payload, uint64_t *ret_index,
                            uint64_t *ret_term) WARN_UNUSED;
enum status replica_read(struct replica *r, uint64_t id) WARN_UNUSED; /* as raft_read */
/* Changes who belongs to the group: as raft_change, and a joint configuration is left by itself.
 * Where it will be in the log if it commits is returned. OVERLOADED also while a log append is being
 * tried again. */
enum status replica_change(struct replica *r, const struct raft_conf *target, uint64_t *ret_index,
                           uint64_t *ret_term, struct err *err) WARN_UNUSED;
/* Whether it is among the members of the configuration in force. */
bool replica_belongs(struct replica *r);
void replica_unreachable(struct replica *r, uint64_t node);
void replica_tell(struct replica *r, uint64_t node); /* of what is committed, with the next round */
/* As raft_transfer, to the voter heard of lately that has most of the log; of several the one at the
 * next higher node, and behind the highest comes the lowest: nodes that all hand over ask each in
 * turn. PRECONDITION_FAILED also when there is none; NOT_FOUND: this one leads, and there is no other
 * voter at all. */
enum status replica_hand_over(struct replica *r) WARN_UNUSED;
/* An item of the owner's in the next bundle to a node. NO_MEMORY, TOO_LARGE: nothing is sent. */
enum status replicas_say(struct replicas *rs, uint64_t to_node, uint8_t kind,
                         struct bytes body) WARN_UNUSED;
/* Answer snapshot_wanted and snapshot_install, as raft_snapshot_made and raft_installed. false: not
 * now (a log append is being tried again); later. */
bool replica_snapshot_made(struct replica *r, enum status st,
                           const struct raft_snapshot *snap) WARN_UNUSED;
bool replica_installed(struct replica *r, uint64_t id, uint64_t term, enum status st) WARN_UNUSED;
/* Takes back what the only voter proposed and could not log. */
void replica_withdraw(struct replica *r);

/* ---- output ---- */

/* One append and, with `sync`, one sync for all that is ready. *ret_any: something was done, look
 * again. Errors: those of wal_append and wal_sync; POISONED and CORRUPT are for good. */
enum status replicas_round(struct replicas *rs, bool sync, bool *ret_any,
                           struct err *err) WARN_UNUSED;
/* What waits to be sent leaves. */
void replicas_flush(struct replicas *rs);
bool replicas_broken(const struct replicas *rs);  /* a failure stopped them for good */
bool replicas_stalled(const struct replicas *rs); /* an append failed and is to be tried again */
/* The log up to `index` is not needed by this replica: as raft_compact. */
void replica_compact(struct replica *r, uint64_t index);
/* The term of the newest entry handed out to apply. */
uint64_t replica_applied_term(const struct replica *r);

#endif
