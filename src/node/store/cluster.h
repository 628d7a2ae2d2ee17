/* cluster.h - a store as one of several nodes: who drives, what waits for what.
 *
 * Inputs (proposals, bundles, barriers, ticks) are queued under queue_lock. Whoever adds one and finds
 * nobody driving drives: takes all that came, gives it to the replicas, lets them do a round, until
 * nothing is left. A proposal goes queued -> in_log -> answered at the leader; elsewhere queued ->
 * sent -> awaiting (its index is to be applied here) -> answered. One whose requirements do not hold
 * goes queued -> refused -> answered, when a read has shown that what was looked at was the present:
 * a leader that was paused, or is cut off, does not know that another one leads. It is on one list
 * at a time.
 *
 * Owns:     what waits. Promises: nobody waits past its deadline as long as somebody ticks; an answer
 *           says "done", "surely not done" or "unknown", and is right.
 * Threads:  the lists from `queued` on belong to who drives; the others are under queue_lock.
 */
#ifndef VARVE_NODE_STORE_CLUSTER_H
#define VARVE_NODE_STORE_CLUSTER_H

#include "node/store/catalog.h"
#include "node/store/latch.h"

enum {
    CLUSTER_FORWARD = REPLICA_ITEM_OWN, /* items of bundles: forward_codec.h */
    CLUSTER_ANSWER,
    CLUSTER_SEEN = 4096, /* forwards of one node that may overtake one another */
};

struct inbox_item {
    struct list node;
    uint64_t from;
    size_t len;
    uint8_t data[];
};

/* One that waits in store_barrier, on its stack. */
struct barrier {
    struct list node;
    uint64_t read, deadline_ns; /* read 0: not asked yet */
    enum status st;
    struct env_event done;
};

/* One that waits in store_members_change, on its stack. */
struct member_change {
    struct list node;
    uint64_t index, term; /* where it is in the log */
    bool taken;           /* it was applied: what it leads to comes about */
    uint64_t deadline_ns;
    enum status st;
    struct env_event done;
};

struct lead_waiter {
    struct list node;
    struct env_event turn;
};

/* What is known of another node. */
struct cluster_peer {
    uint64_t node, incarnation; /* 0: not heard of yet */
    bool waits;                 /* was told of a write of its own that it cannot see yet */
    uint64_t seen_max;          /* forwards of it: the highest number, and which below were seen */
    uint64_t seen[CLUSTER_SEEN / 64];
};

struct cluster {
    struct store_cluster o; /* with defaults */
    uint64_t incarnation;   /* the upper half: of the disk; the lower: of the process */
    bool fresh;             /* the folder had no CLUSTER file */
    uint64_t id;            /* the cluster's; 0: not known. By who calls store_cluster_meet */

    /* under queue_lock */
    bool driving;
    struct list came, barriers, inbox, leads;
    size_t inbox_bytes;
    uint64_t unreachable[RAFT_MEMBERS_MAX];
    size_t n_unreachable;

    /* the driver's */
    struct list queued, sent, awaiting; /* proposals; store.in_log too */
    struct list refused; /* proposals whose requirements do not hold, if this is still the leader */
    struct list reading; /* barriers */
    struct list changes; /* of members, under way */
    struct raft_conf conf; /* in force at what is applied; n 0: that of the options */
    uint64_t read_no, number;
    uint64_t tick_ns, ticked_ns;
    bool role_dirty, led;
    bool hurries;     /* writes wait for a drain */
    uint64_t gave_ns; /* when it last gave the lead away for want of room; 0: never */
    struct latches *latches;
    struct cluster_peer peers[RAFT_MEMBERS_MAX];
    struct buf scratch;
    struct raft_status now; /* of the replica, brought up to date before proposals are looked at */
    /* Why the log takes nothing now; status OK: it does. Others read it: written under state_lock. */
    struct err stall;
    uint64_t let_go;      /* entries up to it are given up, as soon as the replica can be told */
    struct err undrained; /* why the last drain failed; status OK: it did not; under state_lock */

    /* snapshot.c: states on their way out and in */
    struct store_state *snap_out;
    struct store_incoming *snap_in; /* who keeps the engine has it from snap_install.id on */
    uint64_t snap_out_id, snap_in_id, snap_no;
    struct buf snap_bytes;
    bool snap_built;
    uint64_t snap_wanted;              /* index to reach; under state_lock */
    struct raft_snapshot snap_install; /* id 0: none; under state_lock */
    bool snap_keep_log;                /* the same */

    _Atomic uint64_t term, leader, commit, uncommitted;
    struct gauge *m_term, *m_leader, *m_commit, *m_waiting;
    struct counter *m_elections, *m_forwarded, *m_snapshots_sent, *m_snapshots_installed;
    struct env_thread thread;
    _Atomic bool thread_runs;
    struct env_cond poke; /* wakes the thread, and nobody else; with state_lock */
    bool poked;           /* under it */
};

/* cluster.c */
enum status cluster_new(struct store *s, struct err *err) WARN_UNUSED;
void cluster_free(struct store *s);
void cluster_gauges(struct store *s); /* brings them up to date */
enum status cluster_metrics(struct store *s, struct err *err) WARN_UNUSED;
/* The CLUSTER file: held against the options; and written with this process' incarnation. */
enum status cluster_file_check(struct store *s, struct err *err) WARN_UNUSED;
enum status cluster_file_write(struct store *s, struct err *err) WARN_UNUSED;
/* Refuses a folder that is a cluster's node to a store alone. */
enum status cluster_none(struct store *s, struct err *err) WARN_UNUSED;
enum status cluster_start(struct store *s, struct err *err) WARN_UNUSED;
void cluster_stop(struct store *s); /* its thread */
/* A bundle of this process of a node has come; false: of an earlier one. */
bool cluster_heard(struct store *s, uint64_t node, uint64_t incarnation);
struct cluster_peer *cluster_peer(struct store *s, uint64_t node); /* NULL: none of the cluster */
/* Gives up what no peer needs of the log, within its budget. By who drives. */
void cluster_compact(struct store *s);

/* members.c, by who drives or opens */
struct raft_conf cluster_conf(const struct store *s);       /* in force at what is applied */
struct raft_conf cluster_first_conf(const struct store *s); /* before any change */
/* Puts it beside a mark that is about to be drained; and reads it there (n 0: it says nothing). */
void cluster_conf_note(const struct store *s, struct engine_mark *mark);
enum status cluster_conf_of(const struct store *s, const struct engine_mark *mark,
                            struct raft_conf *ret, struct err *err) WARN_UNUSED;
/* An entry of kind RAFT_ENTRY_CONF is applied; a state of another node is installed. */
enum status cluster_conf_applied(struct store *s, const struct raft_entry *e, struct bytes payload,
                                 struct err *err) WARN_UNUSED;
void cluster_conf_installed(struct store *s, const struct raft_conf *conf);
/* Those who wait for a change that is through, or surely not, are woken. */
void cluster_changes_look(struct store *s);
void cluster_changes_expire(struct store *s, uint64_t now_ns);
void cluster_changes_fail(struct store *s, enum status st);

/* hand_over.c, by who drives: asks another node to lead while this one does and lacks room for
 * writes. */
void cluster_give_lead_away(struct store *s, uint64_t now_ns);

/* drive.c */
/* Waits until p has its outcome. */
void cluster_propose(struct store *s, struct proposal *p);
/* Drives unless somebody does; `mine` (may be NULL): until that has its outcome. */
void cluster_drive(struct store *s, struct proposal *mine);
/* Becomes the only one to drive, without doing so. */
void cluster_lead_begin(struct store *s);
void cluster_lead_end(struct store *s);
uint64_t cluster_tick(struct store *s); /* ms until it wants to be called again */
void cluster_poke(struct store *s);     /* the thread drives */
void cluster_keep(void *arg);           /* the thread */
void cluster_read_done(void *arg, struct replica *r, uint64_t id, bool ok);

/* write.c, by who drives */
/* Proposes, forwards, or leaves waiting what is queued. */
void cluster_write(struct store *s);
/* How a drain ended: while none goes well, writes that find no room are refused for that reason. With
 * checkpoint_lock, from any thread. */
void cluster_drained(struct store *s, enum status st, const struct err *err);
/* Has its outcome: a local one is woken, of another node's that node is told. */
void cluster_answer(struct store *s, struct proposal *p, enum status st);
void cluster_lost(struct store *s, struct proposal *p);    /* surely not done */
void cluster_complete(struct store *s, struct list *done); /* applied */
void cluster_applied(struct store *s, const struct raft_entry *e);
void cluster_expire(struct store *s, uint64_t now_ns);
/* The read that refusals wait for is done. */
void cluster_refused(struct store *s, uint64_t id, bool ok);
void cluster_fail_all(struct store *s, enum status st, const char *why);
/* The leader or its term has changed. */
void cluster_new_leader(struct store *s);

void cluster_unknown(struct store *s, struct proposal *p, const char *why);
/* It is refused with `st`, as its err says, without a look at whether an earlier copy of it was done:
 * who sent one before, for the sake of its request id, does not know then. */
void cluster_not_done(struct store *s, struct proposal *p, enum status st);

/* snapshot.c: of replicas_calls */
void cluster_snapshot_wanted(void *arg, struct replica *r, uint64_t index);
enum status cluster_snapshot_read(void *arg, struct replica *r, uint64_t id, uint64_t offset,
                                  size_t max_bytes, struct bytes *ret, bool *ret_last);
enum status cluster_snapshot_write(void *arg, struct replica *r, const struct raft_chunk *chunk);
void cluster_snapshot_install(void *arg, struct replica *r, const struct raft_snapshot *snap,
                              bool keep_log);
void cluster_snapshot_drop(void *arg, struct replica *r, uint64_t id);
/* What takes long of them, by who keeps the engine. */
void cluster_snapshot_work(struct store *s);
bool cluster_snapshot_due(struct store *s);
void cluster_snapshots_forget(struct store *s); /* before the engine is closed */

/* forward.c, by who drives */
/* Sends a queued proposal to the leader. */
enum status cluster_forward(struct store *s, struct proposal *p) WARN_UNUSED;
void cluster_tell(struct store *s, struct proposal *p); /* answers another node's */
void cluster_item(void *arg, uint64_t from, uint64_t incarnation, uint8_t kind, struct bytes body);
bool remote_is_of_term(const struct proposal *p, uint64_t term); /* was sent to its leader */
/* The collections that it is for, by a leader that has applied all of before. false: the one of that
 * name (borrowed) is not there, and so one that was dropped meanwhile. */
bool remote_find_collections(struct store *s, struct proposal *p,
                             struct bytes *ret_gone) WARN_UNUSED;
void remote_free(struct proposal *p);

#endif
