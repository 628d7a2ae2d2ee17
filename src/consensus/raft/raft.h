/* raft.h - the consensus core of many groups: events in, one update value out; no I/O, no clock.
 *
 * A `raft_store` is what the replicas of one store share: options, time, randomness, the budget of
 * the entry cache, the beats between stores. A `raft` is one replica of one group. The caller feeds
 * messages, ticks, proposals, reads and completions; groups that then have something to say come
 * out of raft_store_ready, and raft_update says all of it at once (README.md: the ordering rules).
 * Sources: Ongaro's dissertation (2014) incl. 3.10 transfer, 4.3 joint consensus, 6.4 ReadIndex,
 * 9.6 pre-vote, 10.2 the leader's disk in parallel, 11 flow control; etcd-io/raft's asynchronous
 * storage; Protocol-Aware Recovery (Alagappan, FAST '18) for corrupt entries.
 *
 * Owns:     its memory (base/alloc.h): bounded by `cache_bytes`, the log's number of entries in the
 *           cache and the number of groups.
 * Promises: nothing is voted, acknowledged or counted before the ticket that covers it is done; the
 *           same inputs give the same outputs; no allocation once buffers have grown to the load.
 * Never:    reads a clock, does I/O, logs, draws randomness that is not from `seed`, reuses the id
 *           of a read round, trusts a message (replica ids, terms and indexes are checked).
 * Threads:  one owner of a raft_store and all its groups.
 */
#ifndef VARVE_CONSENSUS_RAFT_RAFT_H
#define VARVE_CONSENSUS_RAFT_RAFT_H

#include "base/bytes.h"
#include "base/status.h"

enum {
    RAFT_MEMBERS_MAX = 16,             /* members of one configuration, old and new together */
    RAFT_INFLIGHT_MAX = 32,            /* append messages to one peer without an answer */
    RAFT_BAD_MAX = 16,                 /* quarantined entries of one replica */
    RAFT_ENTRY_MAX = 32 * 1024 * 1024, /* bytes of one entry's payload */
    RAFT_CONF_BYTES_MAX = 8 + RAFT_MEMBERS_MAX * 17, /* an encoded configuration */
};

/* Who belongs to a group. Replica ids are never reused; of two replicas of the same store the newer
 * has the higher id. In a joint configuration decisions need a majority of RAFT_VOTER and one of
 * RAFT_VOTER_OLD; leaving it drops RAFT_VOTER_OLD, and the members that have no flag left. */
enum {
    RAFT_VOTER = 1,     /* votes and counts, in the (new) configuration */
    RAFT_VOTER_OLD = 2, /* joint only: votes and counts in the configuration that is being left */
    RAFT_LEARNER = 4,   /* receives entries, never counts */
};
struct raft_member {
    uint64_t replica; /* not 0 */
    uint64_t store;   /* where messages to it go; not 0 */
    uint8_t flags;
};
struct raft_conf {
    uint8_t n;
    bool auto_leave; /* joint: the leader leaves it as soon as it is committed */
    struct raft_member member[RAFT_MEMBERS_MAX]; /* by rising replica id */
};
bool raft_conf_joint(const struct raft_conf *c);
/* The payload of an entry of kind RAFT_ENTRY_CONF, and of snapshots' metadata. */
size_t raft_conf_encode(const struct raft_conf *c, uint8_t out[RAFT_CONF_BYTES_MAX]);
/* INVALID_ARGUMENT: malformed, unordered, no voter, unknown flags. An empty one (n = 0) is valid. */
enum status raft_conf_decode(struct bytes in, struct raft_conf *ret, struct err *err) WARN_UNUSED;

enum raft_entry_kind {
    RAFT_ENTRY_DATA = 1,  /* the caller's */
    RAFT_ENTRY_EMPTY = 2, /* a new leader's first */
    RAFT_ENTRY_CONF = 3,  /* a configuration; in force from when it is in the log */
};
struct raft_entry {
    uint64_t term, index; /* absolute: compaction never shifts an index */
    struct bytes payload;
    uint8_t kind; /* enum raft_entry_kind */
};

struct raft_hard_state {
    uint64_t term, vote; /* vote: a replica id, 0 = none in this term */
    uint64_t commit;     /* a lower bound; need not be durable */
};

/* What a snapshot covers. The same id means the same bytes: an interrupted transfer goes on. */
struct raft_snapshot {
    uint64_t id; /* not 0 */
    uint64_t index, term;
    uint64_t bytes;        /* of all chunks, 0 = not known yet */
    struct raft_conf conf; /* in force at `index` */
};

/* ---- messages ---- */
enum raft_msg_type {
    RAFT_MSG_PREVOTE = 1,
    RAFT_MSG_PREVOTE_RESP,
    RAFT_MSG_VOTE,
    RAFT_MSG_VOTE_RESP,
    RAFT_MSG_APPEND,
    RAFT_MSG_APPEND_RESP,
    RAFT_MSG_HEARTBEAT,
    RAFT_MSG_HEARTBEAT_RESP,
    RAFT_MSG_SNAPSHOT, /* one chunk */
    RAFT_MSG_SNAPSHOT_RESP,
    RAFT_MSG_TIMEOUT_NOW,
    RAFT_MSG_READ, /* a follower asks the leader for a read index */
    RAFT_MSG_READ_RESP,
    RAFT_MSG_REPAIR, /* who has the entry (index, log_term)? */
    RAFT_MSG_REPAIR_RESP,
    RAFT_MSG_TYPES,
};
enum {
    RAFT_MSG_REJECT = 1,  /* a response that refuses */
    RAFT_MSG_FORCE = 2,   /* vote: the leader itself asked for this election */
    RAFT_MSG_QUIESCE = 4, /* heartbeat: sleep until somebody has something to say; and its answer */
    RAFT_MSG_LAST = 8,    /* snapshot: the last chunk; its answer: installed */
    RAFT_MSG_DAMAGED = 16, /* append reject: my log has a corrupt entry behind `hint` */
};
struct raft_msg {
    uint8_t type, flags;
    uint64_t group;
    uint64_t from, to;             /* replica ids */
    uint64_t from_store, to_store; /* messages to one store travel together: bundle them */
    uint64_t term;
    uint64_t index;    /* append: what precedes the entries; its answer: what is stored up to here,
                        * or was refused; vote: last of the log; repair, read: the index asked for */
    uint64_t log_term; /* the term of the entry at `index`; of `hint` in a refusal */
    uint64_t commit;   /* heartbeat, append: the leader's; answers: the sender's */
    uint64_t hint;     /* append refused: go on behind this index */
    uint64_t round;    /* append, heartbeat and answers: the round of reads; read: the asker's id */
    const struct raft_entry *entries;
    size_t n_entries;
    const struct raft_snapshot *snapshot; /* RAFT_MSG_SNAPSHOT; its answer has the id in `hint` */
    uint64_t offset;                      /* chunk: its place; answer: how much is there */
    struct bytes data;                    /* chunk */
};
const char *raft_msg_name(uint8_t type);

/* One per pair of stores and interval, whatever the number of groups: stands for the heartbeats of
 * all sleeping groups between the two. */
struct raft_beat {
    uint64_t from_store, to_store;
    uint64_t incarnation; /* of the sending process */
    uint64_t generation;  /* rises when a sleeping group was taken away there */
};

/* ---- the store ---- */
struct raft_options {      /* 0 = the default in brackets */
    uint64_t store;        /* this store's id; required */
    uint64_t incarnation;  /* higher at each start of the store; required. The lower half is of use
                              * here, and rises with each start of the same replicas */
    uint64_t seed;         /* of the jitter of elections */
    uint32_t heartbeat_ms; /* [100] */
    uint32_t election_ms;  /* [1000]; elections start after 1x to 2x of it */
    uint32_t quiesce_ms;   /* idle for so long, a group sleeps [3 * heartbeat_ms] */
    size_t cache_bytes;    /* entry cache of all groups [64 MiB] */
    size_t max_append_bytes; /* payload of one append message; at least one entry goes [1 MiB] */
    uint32_t max_append_entries;  /* [65536] */
    uint32_t max_inflight_msgs;   /* to one peer, at most RAFT_INFLIGHT_MAX [RAFT_INFLIGHT_MAX] */
    size_t max_inflight_bytes;    /* to one peer [16 MiB] */
    size_t max_uncommitted_bytes; /* proposals of one group; one always goes [32 MiB] */
    size_t max_apply_bytes; /* handed out to apply in one update; one entry always goes [4 MiB] */
    size_t max_chunk_bytes; /* of a snapshot [256 KiB] */
    uint32_t max_reads;     /* waiting in one group [4096] */
    uint32_t max_tickets;   /* not done, of one group [32] */
    bool no_quiesce;        /* groups never sleep */
    bool apply_unsynced;    /* hand out committed entries before they are durable here: only for a
                          * state machine that is lost with the process, or waits by itself */
};
struct raft_store;
struct raft;
/* Errors: INVALID_ARGUMENT (names the option), NO_MEMORY. */
enum status raft_store_new(const struct raft_options *o, struct raft_store **ret,
                           struct err *err) WARN_UNUSED;
void raft_store_free(struct raft_store *s); /* after its groups; takes NULL */
/* Time, in ms on any scale that does not go back (an earlier `now` is ignored). Runs the timers of
 * groups that are awake; sleeping ones cost nothing. */
void raft_store_tick(struct raft_store *s, uint64_t now_ms);
/* Beats due since the last call; at most `max`, the rest comes with the next call. */
size_t raft_store_beats(struct raft_store *s, struct raft_beat *out, size_t max);
/* A beat came in. One for another store is refused: PRECONDITION_FAILED. NO_MEMORY: as if lost. */
enum status raft_store_beat(struct raft_store *s, const struct raft_beat *b) WARN_UNUSED;
/* A group that has an update to give, in turn; NULL when none has. */
struct raft *raft_store_ready(struct raft_store *s);
struct raft_store_stats {
    uint64_t groups, awake, cache_bytes, pool_bytes, dropped_msgs, evicted_entries;
};
void raft_store_stats(const struct raft_store *s, struct raft_store_stats *ret);

/* ---- a replica's life ---- */
struct raft_init {
    uint64_t group, replica;
    void *user;                  /* raft_user */
    struct raft_hard_state hard; /* as last made durable; zeros for a new replica */
    /* Where the log begins; zeros when nothing was compacted yet. */
    uint64_t compacted, compacted_term;
    /* What the state machine has durably, and the configuration in force there: the first members' of
     * a new group, an empty one for a replica that will be told. */
    uint64_t applied; /* >= compacted */
    struct raft_conf conf;
    /* The only voter goes on as the leader of hard.term, without an election and without an entry of
     * its own: nobody else can have voted or led in it. All of its log is applied. */
    bool alone;
    /* Does not campaign as long as its log is empty: of a group whose first log is elsewhere. */
    bool waits;
};
/* A stopped replica: raft_load brings its log, raft_start lets it take part.
 * Errors: INVALID_ARGUMENT (names the field), NO_MEMORY. */
enum status raft_new(struct raft_store *s, const struct raft_init *init, struct raft **ret,
                     struct err *err) WARN_UNUSED;
/* An entry as recovered, in the order of the log; an index that is there already voids it and all
 * behind it. At or below `compacted`: skipped. The payload is copied if the cache has room.
 * Errors: CORRUPT (a gap, a falling term, a malformed configuration), NO_MEMORY. */
enum status raft_load(struct raft *r, const struct raft_entry *e, struct err *err) WARN_UNUSED;
/* The same for an entry whose header is sound and whose payload is not: it is quarantined. TOO_LARGE:
 * more than RAFT_BAD_MAX (the replica cannot be started from this log). */
enum status raft_load_bad(struct raft *r, uint64_t term, uint64_t index,
                          struct err *err) WARN_UNUSED;
/* The same for one whose payload is not needed in memory: it is fetched if it is. */
enum status raft_load_term(struct raft *r, uint64_t term, uint64_t index,
                           struct err *err) WARN_UNUSED;
/* CORRUPT: the log ends before hard.commit or `applied` says. */
enum status raft_start(struct raft *r, struct err *err) WARN_UNUSED;
void raft_free(struct raft *r); /* takes NULL */
void *raft_user(const struct raft *r);

/* ---- input ---- */
/* Takes a message. Borrowed for the call. Errors: PRECONDITION_FAILED (not for this replica, or from
 * one that was replaced), INVALID_ARGUMENT (malformed), OVERLOADED and NO_MEMORY (as if lost). */
enum status raft_step(struct raft *r, const struct raft_msg *m) WARN_UNUSED;
/* Appends an entry at the leader; the payload is copied. Where the entry will be if it commits is
 * returned. Errors: PRECONDITION_FAILED (not leader, or handing over), OVERLOADED (quota, cache:
 * try again when entries have been committed), TOO_LARGE (RAFT_ENTRY_MAX), NO_MEMORY. */
enum status raft_propose(struct raft *r, struct bytes payload, uint64_t *ret_index,
                         uint64_t *ret_term) WARN_UNUSED;
/* Changes who belongs to the group: `target` has RAFT_VOTER and RAFT_LEARNER only. Goes through a
 * joint configuration when voters change. Errors: PRECONDITION_FAILED (not leader, nothing of this
 * term is committed yet, a change is under way), INVALID_ARGUMENT, TOO_LARGE (old and new together
 * exceed RAFT_MEMBERS_MAX), OVERLOADED, NO_MEMORY. */
enum status raft_change(struct raft *r, const struct raft_conf *target, bool auto_leave,
                        uint64_t *ret_index, struct err *err) WARN_UNUSED;
/* The only voter could not write what it was handed out: entries that are not durable are void as if
 * never proposed, term and vote will be handed out again. Errors: PRECONDITION_FAILED (there are
 * others, who may know of them). */
enum status raft_withdraw(struct raft *r) WARN_UNUSED;
/* Leaves a committed joint configuration that does not leave by itself. */
enum status raft_leave(struct raft *r, uint64_t *ret_index) WARN_UNUSED;
/* Asks for a linearizable read; `id` is the caller's and comes back in raft_update.reads. A follower
 * asks its leader. Errors: PRECONDITION_FAILED (no leader known), OVERLOADED, NO_MEMORY. */
enum status raft_read(struct raft *r, uint64_t id) WARN_UNUSED;
/* Hands leadership to a voter, once it has the whole log; given up after an election timeout.
 * Errors: PRECONDITION_FAILED (not leader, not a voter, a transfer is under way). */
enum status raft_transfer(struct raft *r, uint64_t to_replica) WARN_UNUSED;
/* Campaigns now (through pre-vote), for tests and operators. PRECONDITION_FAILED: may not. */
enum status raft_campaign(struct raft *r) WARN_UNUSED;
/* A peer is known to be unreachable: stop pipelining to it until it answers. Of the leader: unless it
 * is heard of again, an election begins sooner, after 2 heartbeats and up to half an election timeout;
 * those who still hear it refuse the pre-vote, so that a majority has to be told. */
void raft_unreachable(struct raft *r, uint64_t replica);
/* The peer waits for what is committed by now: it is told with the next update, and not only with
 * the next append or beat. */
void raft_tell(struct raft *r, uint64_t replica);

/* ---- completions ---- */
/* All that was handed out with tickets up to this one is durable. */
void raft_appended(struct raft *r, uint64_t ticket);
/* The state machine has applied everything up to `index`. */
void raft_applied(struct raft *r, uint64_t index);
/* Answers raft_update.fetch. OK: `entries` follow one another from fetch.from; they stay the caller's
 * and valid until the next raft_done. NOT_FOUND: not readable (peers get a snapshot). CORRUPT: the
 * entry at fetch.from + n is rotten and is quarantined. Others: tried again after a while. */
void raft_fetched(struct raft *r, uint64_t id, enum status st, const struct raft_entry *entries,
                  size_t n);
/* Answers want_snapshot. What `snap` says lies at or behind the index wanted, and is applied. */
void raft_snapshot_made(struct raft *r, enum status st, const struct raft_snapshot *snap);
/* Answers want_chunk; `data` is copied; `last`: nothing follows. Errors are tried again later. */
void raft_snapshot_chunk(struct raft *r, uint64_t id, enum status st, uint64_t offset,
                         struct bytes data, bool last);
/* Answers raft_update.chunk. A failure gives the snapshot up; the leader begins again. */
void raft_chunk_written(struct raft *r, uint64_t id, enum status st);
/* Answers raft_update.install. OK: state, index, term and configuration are durable, and the log
 * up to the index, or all of it, is void. */
void raft_installed(struct raft *r, uint64_t id, enum status st);
/* The log up to `index` is not needed: it is applied and durable in the state machine. More than
 * that is ignored. */
void raft_compact(struct raft *r, uint64_t index);
/* The lowest index that a live peer still wants from this log; what lies below may be compacted
 * without costing it a snapshot. */
uint64_t raft_compact_hint(const struct raft *r);

/* ---- output ---- */
enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };
const char *raft_role_name(enum raft_role role);

struct raft_read_done {
    uint64_t id;
    uint64_t index; /* applied here */
    bool ok;        /* false: leadership was lost or the asking timed out; ask again */
};
struct raft_fetch {
    uint64_t id;       /* 0 = nothing is wanted */
    uint64_t from, to; /* both included; fewer may be answered, at least one */
    size_t max_bytes;
};
struct raft_chunk {
    const struct raft_snapshot *snapshot; /* NULL = none */
    uint64_t offset;
    struct bytes data;
    bool last;
};
/* All that follows from the inputs so far. Borrowed until raft_done. See README.md for the order. */
struct raft_update {
    /* To be made durable, in the order of tickets; 0 = nothing. Appending at an index voids what was
     * at it and behind. `repaired` are entries written anew in place. */
    uint64_t ticket;
    bool hard_changed; /* term or vote: `hard` must be durable with this ticket */
    struct raft_hard_state hard;
    const struct raft_entry *entries;
    size_t n_entries;
    const struct raft_entry *repaired;
    size_t n_repaired;

    const struct raft_msg *now; /* may leave at once, beside the write */
    size_t n_now;
    const struct raft_msg *after; /* only when the ticket is done; never carry entries or chunks, so
                                   * they may be copied as they are */
    size_t n_after;

    const struct raft_entry *committed; /* to be applied in order; raft_applied answers */
    size_t n_committed;
    const struct raft_read_done *reads;
    size_t n_reads;

    bool role_changed; /* role, term or leader */
    enum raft_role role;
    uint64_t term, leader; /* leader: replica id, 0 = not known */
    uint64_t commit;

    struct raft_fetch fetch; /* entries that are not cached */
    uint64_t want_snapshot;  /* not 0: make one that reaches at least this index */
    uint64_t drop_snapshot;  /* not 0: the snapshot of this id is not sent, or received, any more;
                             * wanting another one says the same of all before */
    struct raft_want_chunk { /* id 0 = none */
        uint64_t id, offset;
        size_t max_bytes;
    } want_chunk;
    struct raft_chunk chunk; /* store it; raft_chunk_written answers */
    /* All chunks are there: replace the state, after all that was handed out to apply before;
     * raft_installed answers. `install_keeps_log`: entries behind it stay, else the log is void. */
    const struct raft_snapshot *install;
    bool install_keeps_log;
};
/* Fills `ret` and answers true, or answers false when there is nothing. Nothing else may be called
 * on this group between this and raft_done. */
bool raft_update(struct raft *r, struct raft_update *ret);
/* The update's contents have been taken over (written, encoded, copied). */
void raft_done(struct raft *r);

/* ---- looking ---- */
struct raft_peer_status {
    uint64_t replica, store, match, next;
    uint8_t flags; /* RAFT_VOTER ... */
    enum raft_peer_state { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT } state;
    bool active; /* heard of within an election timeout; if the group sleeps: its store has been */
};
struct raft_status {
    uint64_t group, replica, term, vote, leader, commit, applied, compacted, last, last_term,
        durable;
    uint64_t uncommitted_bytes, bad; /* bad: quarantined entries */
    enum raft_role role;
    bool asleep, transferring;
    uint64_t leader_store; /* where `leader` is; 0: not known */
    uint64_t conf_index;   /* of the configuration in force, or where the replica began */
};
void raft_status(const struct raft *r, struct raft_status *ret);
/* Of this group alone, cache blocks included; walks over the cached entries. */
size_t raft_memory_bytes(const struct raft *r);
const struct raft_conf *raft_configuration(const struct raft *r);
size_t raft_peers(const struct raft *r, struct raft_peer_status *out, size_t max); /* leader only */
/* The term of the entry at `index`, 0 when it is not between compacted and last. */
uint64_t raft_term_at(const struct raft *r, uint64_t index);
/* The entry if it is cached, else NULL; borrowed until the next input. */
const struct raft_entry *raft_entry_at(const struct raft *r, uint64_t index);

/* ---- checking ---- */
/* Remembers what was seen of a group over all steps; for tests and the simulator. */
struct raft_checker;
enum status raft_checker_new(struct raft_checker **ret) WARN_UNUSED;
void raft_checker_free(struct raft_checker *c);
/* Holds all invariants over the replicas of one group (NULLs are skipped) as of now and against what
 * was seen before: election safety, log matching, leader completeness, state machine safety, commit
 * and term never fall. ST_INTERNAL names what is broken. A replica that restarted is announced. */
enum status raft_check(struct raft_checker *c, struct raft *const *replicas, size_t n,
                       struct err *err) WARN_UNUSED;
/* What is committed is safe already, and not only until the next election: nobody without the newest
 * committed entry that raft_check has seen would get enough votes by the logs as they are in memory.
 * `replicas` are those whose disks kept what they acknowledged; who is missing votes for nobody. */
enum status raft_check_electable(struct raft_checker *c, struct raft *const *replicas, size_t n,
                                 struct err *err) WARN_UNUSED;
void raft_check_restarted(struct raft_checker *c, uint64_t replica, uint64_t durable_term);
/* Whoever took in a message of a later term is of that term (figure 2, all servers); `m` is what
 * raft_step has just answered ST_OK. ST_INTERNAL: it is not. Terms that only would be (pre-votes), of
 * candidates that disturb a leader who is alive, and of repairs say nothing. */
enum status raft_check_heard(const struct raft *r, const struct raft_msg *m,
                             struct err *err) WARN_UNUSED;
/* Who is told to campaign at once has all that its leader has (3.10), or all that is committed when the
 * leader is out: of a RAFT_MSG_TIMEOUT_NOW that leaves `leader` for `target`. ST_INTERNAL: it lacks
 * something. */
enum status raft_check_hand_over(const struct raft *leader, const struct raft *target,
                                 struct err *err) WARN_UNUSED;

#endif
