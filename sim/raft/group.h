/* group.h - one Raft group alone, in memory: replicas, their disks, the network between them, and a state
 * machine, all driven step by step from one seed.
 *
 * A disk keeps what was written in order and forgets what was not synced when its node crashes. The
 * state machine is a hash over everything applied, so replicas agree iff their hashes at an index
 * do. What left a node is held against its disk: votes and acknowledgements without a sync, two
 * votes in a term, and commits that no durable majority stands behind are failures.
 */
#ifndef VARVE_SIM_RAFT_GROUP_H
#define VARVE_SIM_RAFT_GROUP_H

#include "consensus/raft/raft.h"
#include "sim/core/dice.h"

enum { STORES_MAX = 9, LOG_MAX = 6000, FETCH_MAX = 64 };

struct d_entry {
    uint64_t term;
    uint8_t kind, bad;
    uint32_t len;
    uint8_t *data;
};

/* A state of the state machine that survives. */
struct ckpt {
    uint64_t index, term, hash;
    struct raft_conf conf;
};

struct d_op { /* written, not synced */
    uint64_t ticket;
    bool hard;
    struct raft_hard_state hs;
    uint64_t from; /* entries at and behind it are void first; 0: no entries */
    bool in_place;
    struct d_entry *e;
    size_t n;
};

struct disk {
    struct raft_hard_state hs;
    uint64_t compacted, compacted_term;
    uint64_t last;
    struct d_entry *e; /* by index */
    struct ckpt ckpt, older;
    struct d_op *ops;
    size_t n_ops, cap_ops;
};

struct held { /* waits for its ticket */
    uint64_t ticket;
    struct raft_msg m;
};

struct ask { /* a read on its way */
    uint64_t id, floor;
};

struct node {
    struct group *c;
    uint64_t store, replica;
    bool up, exists;
    uint64_t now, incarnation;
    struct raft_store *rs;
    struct raft *r;
    struct disk d;
    struct held *held;
    size_t n_held, cap_held;
    uint64_t applied, hash; /* the state machine, in memory */
    uint64_t to_apply;      /* handed out; the state has it, raft has not been told */
    struct raft_conf conf;  /* at `applied` */
    struct ask *asks;
    size_t n_asks, cap_asks;
    /* snapshots */
    struct raft_snapshot out;
    uint8_t *out_bytes;
    size_t out_len;
    uint8_t *in_bytes;
    size_t in_len;
    uint64_t chunk_id, install_id, fetch_id, fetch_from, fetch_to, want_made;
    struct raft_snapshot install;
    bool install_keeps;
    uint64_t want_chunk_id, want_chunk_offset;
    size_t want_chunk_max;
    struct raft_entry *fetched;
    enum raft_role role;
    uint64_t term;
};

struct packet {
    struct raft_msg m;
    bool is_beat;
    struct raft_beat beat;
    struct raft_entry *entries;
    uint8_t *bytes;
    struct raft_snapshot snap;
};

struct group {
    struct dice dice;
    struct raft_options o;
    unsigned n; /* nodes[1 .. n], store s is nodes[s] */
    struct node nodes[STORES_MAX + 1];
    bool cut[STORES_MAX + 1][STORES_MAX + 1];
    uint32_t loss, dup; /* per 1000 */
    bool no_fetch;      /* old entries cannot be read: peers need snapshots */
    bool drained;       /* a snapshot is the last durable state, wherever that reaches far enough */
    bool delay;         /* completions wait until they are driven one by one */
    struct packet *net;
    size_t n_net, cap_net;
    uint64_t next_replica, next_payload, next_read;
    struct raft_checker *checker;
    uint64_t commit_max; /* the highest that a leader has committed */
    uint64_t hash_at[LOG_MAX], applied_max, applied_term[LOG_MAX];
    struct raft_conf conf_at_max;
    /* grants that left: voter's replica and term -> candidate */
    struct grant {
        uint64_t replica, term, to;
    } * grants;
    size_t n_grants, cap_grants;
    /* Told of what is wrong, and does not return. NULL: it is printed, and the process ends. */
    void (*failed)(struct group *c, const char *what);
    uint64_t steps, elections, reads_ok, reads_failed, snapshots, changes, commits, repaired, slept;
    uint64_t crashes, cuts, rots; /* counted by who makes them */
    uint64_t msgs[RAFT_MSG_TYPES];
};

/* Stores 1..n hold replicas 1..n, the first `voters` of them voters. Default: 10 ms heartbeats,
 * elections after 100 ms. `o` may be NULL. */
void group_init(struct group *c, uint64_t seed, unsigned n, unsigned voters,
                const struct raft_options *o);
void group_deinit(struct group *c);

/* Small steps. */
bool node_update(struct node *n);           /* takes one update, if there is one */
void node_sync(struct node *n, size_t ops); /* completes up to so many writes */
void node_apply(struct node *n);            /* tells raft what was applied */
void node_slow(struct node *n);             /* one other completion: fetch, snapshot parts */
void node_tick(struct node *n, uint64_t ms);
void net_deliver(struct group *c, size_t at); /* and removes it */
void net_drop(struct group *c, size_t at);
void node_crash(struct node *n, size_t ops_that_survive);
void node_restart(struct node *n);
void node_start_new(struct node *n, uint64_t replica, const struct raft_conf *conf);
void node_checkpoint(struct node *n, bool compact);
bool node_propose(struct node *n, uint64_t *ret_index);
bool node_read(struct node *n);
bool group_rot(struct group *c, struct node *n,
               uint64_t index); /* on its disk; false: no such entry */
void group_check(struct group *c);

/* Large steps. */
void group_settle(struct group *c); /* until no message and no completion is left, no time passes */
void group_run(struct group *c, uint64_t ms); /* time passes everywhere, everything is settled */
struct node *group_leader(struct group *c);   /* of the highest term; NULL: none */
struct node *group_elect(struct group *c);    /* runs until there is one */
void group_isolate(struct group *c, uint64_t store, bool on);
void group_heal(struct group *c);
/* Heals it and starts who is down: soon everybody follows one leader and has what it proposes. */
void group_agree(struct group *c);
struct raft_conf conf_of(const struct group *c, const uint64_t *voters, size_t n,
                         const uint64_t *learners,
                         size_t n_learners); /* stores' present replicas */
struct raft_status status_of(const struct node *n);
/* For what may be refused. */
static inline void tried(enum status st)
{
    (void)st;
}
bool in_conf(const struct raft_conf *conf, uint64_t replica);

#endif
