/* run.h - what the files of sim/cluster share. Read cluster.h first.
 *
 * A node is a machine, and what is known of the process on it. Everything here is the simulator's
 * own memory, and outlives processes; what a process made lies in its machine's heap and is gone
 * with it. So a fiber's client or inbox goes on being true after the fiber died.
 */
#ifndef VARVE_SIM_CLUSTER_RUN_H
#define VARVE_SIM_CLUSTER_RUN_H

#include "base/assert.h"
#include "base/env/thread.h"
#include "node/store/store.h"
#include "sim/cluster/cluster.h"
#include "sim/core/dice.h"
#include "sim/core/memory.h"
#include "sim/machine/machine.h"

#define MS   UINT64_C(1000000)
#define NONE UINT32_MAX

enum node_state {
    NODE_DOWN,
    NODE_OPENING,
    NODE_UP,
    NODE_LOST, /* never comes back: its disk is gone, or can not be trusted any more */
};

struct parcel {
    struct list node;
    unsigned from;
    size_t len;
    uint8_t data[];
};

struct node {
    struct run *run;
    unsigned id;
    uint64_t replica; /* of its disk: as the node, and another one for each new disk */
    struct sim_machine *machine;
    enum node_state state;
    struct store *store;    /* of the process that runs */
    struct peers *peers;    /* its links: plan.streams */
    struct node_door *door; /* plan.doors; NULL: not open yet */
    struct env_event wake_tick, wake_inbox;
    struct list inbox, taking;
    size_t inbox_bytes;
    struct sim_event start, dies; /* to come */
    bool replays;                 /* alone, and not open yet */
    bool stopping, closing;       /* cleanly: serves no new clients; its fibers are to end */
    unsigned fibers;              /* of its own that may be in a call of its store */
    uint64_t away_ns;             /* how long it stays away after that */
    bool rotten;                  /* something of its disk was damaged: the atlas counts it */
    bool cut_off;                 /* phase 2 leaves it out */
    uint64_t led_term;            /* the last in which it was seen to lead */
    unsigned failed_opens;
    uint64_t seen_commit, seen_term, spoke_as_leader; /* when it spoke last; its last term as one */
    unsigned acks_left;                               /* until one is looked at again */
    struct sim_faults faults;                         /* its disk's present mood */

    struct collection
        *collections[8]; /* of the process, by enum workload; NULL: not looked up yet */
};

struct client;
struct watcher;
struct keeper;
struct nemesis;
struct members;
struct node_door;
struct door_host;
struct door_rogue;

struct run {
    struct plan plan;
    struct run_options o;
    struct sim_world *world;
    struct node *nodes; /* [1 .. plan.nodes] */
    struct dice dice;
    struct client *clients;
    struct watcher *watchers;
    struct keeper *keeper; /* NULL: none */
    struct nemesis *nemesis;
    struct members *members;     /* NULL: all nodes vote for good */
    struct door_host *door_host; /* NULL: not plan.doors */
    struct door_rogue *rogues;
    unsigned n_rogues;
    struct history *history;
    struct raft_checker *raft_checker;
    struct run_result *result;

    bool stop_clients, stop_watchers, healing;
    uint64_t leader_term; /* the highest seen */
    unsigned leader_node;
    uint64_t *versions; /* of acknowledged writes: for reads of the past */
    size_t n_versions, cap_versions;
    uint32_t next_history_client;
    struct applied *applied; /* by index: the digest of what was applied there, and by whom first */
    size_t cap_applied;
};

static inline uint64_t run_now(const struct run *r)
{
    return sim_world_now(r->world);
}

/* --- run.c: the story, the digest, failure --- */
bool run_tells(const struct run *r); /* somebody listens */
void run_say(struct run *r, const char *who, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void run_digest(struct run *r, uint64_t a, uint64_t b);
/* Something is wrong. The first reason stays; the run ends soon. */
void run_fail(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool run_failed(const struct run *r);

/* --- alone.c: plan.alone --- */
void run_alone(const struct plan *p, struct run_result *ret);

/* --- node.c --- */
void node_init(struct run *r, unsigned id);
void node_start(struct node *n);
void node_start_after(struct node *n, uint64_t ns);
void node_kill(struct node *n, enum sim_crash how);  /* not from its own round */
void node_die_soon(struct node *n, const char *why); /* from its own round too */
void node_lose(struct node *n, const char *why);     /* kills it if it runs; for ever */
void node_wipe(struct node *n); /* its disk is empty, and it comes back as who it was */
enum { REPLICA_STEP = 100 };
/* Its disk is empty, and it comes back so much later as another replica. */
void node_renew(struct node *n, uint64_t ns);
void node_receive(struct node *n, unsigned from, struct bytes bundle);
bool node_usable(const struct node *n); /* UP */
bool node_serves(const struct node *n); /* and takes clients */
/* Begins a clean stop; it comes back so long after. false: not now. */
bool node_stop(struct node *n, uint64_t away_ns);
/* Its disk put something elsewhere, so short ago that nothing behind it shows that. */
bool node_lied(const struct node *n);
const char *node_name(const struct node *n);
struct raft *node_raft(const struct node *n); /* only to be looked at; NULL: it has none now */
void node_watch(struct run *r);               /* notes who leads, holds raft's invariants */
/* It is about to send: holds raft's invariants when it committed something, for what it committed a
 * moment ago may be lost before the next look. In its own round. */
void node_speaks(struct node *n);

/* --- streams.c: plan.streams --- */
enum { PEER_PORT = 7879 };
enum status streams_open(struct node *n, struct store_transport *ret, struct err *err);

/* --- clients.c --- */
enum workload { WORK_REGISTER, WORK_LIST, WORK_BANK, WORK_SET, WORK_COUNTER, WORKS };
void clients_start(struct run *r);
void clients_free(struct run *r);
void clients_node_died(struct run *r, const struct node *n);
bool clients_idle(const struct run *r);
bool clients_at(const struct node *n); /* some are in a call there */
/* How many were answered since `ns`, and wrote something. */
unsigned clients_active_since(const struct run *r, uint64_t ns);

/* --- watchers.c --- */
void watchers_start(struct run *r);
void watchers_free(struct run *r);
void watchers_node_died(struct run *r, const struct node *n);
bool watchers_at(const struct node *n);
/* Whether all have come to this version; else the first that has not. */
bool watchers_reached(const struct run *r, uint64_t version, unsigned *ret_behind);

/* --- keeper.c: plan.keeper --- */
void keeper_start(struct run *r);
void keeper_free(struct run *r);
void keeper_node_died(struct run *r, const struct node *n);
bool keeper_at(const struct run *r, const struct node *n); /* in a call there; NULL: anywhere */
void keeper_clock(struct run *r, const struct node *n);    /* a clock leaps: before it, and after */

/* --- nemesis.c --- */
void nemesis_start(struct run *r);
void nemesis_stop(struct run *r); /* no new faults; those under way end by nemesis_heal */
/* Ends every fault, and leaves out a minority for good when `majority`. */
void nemesis_heal(struct run *r, bool majority);
void nemesis_sees_leader(struct run *r, unsigned node, uint64_t term); /* it has just begun */
void nemesis_free(struct run *r);

/* --- promises.c --- */
/* A bundle leaves: notes the votes and some of the acknowledgements in it, beside what is durable. */
void promises_note(struct node *n, uint64_t to_node, struct bytes bundle);
/* Raft took a message in: for store_options.stepped, with a node as its argument. */
void promises_heard(void *node, const struct raft *r, const struct raft_msg *m);

/* --- same.c --- */
/* What replicas apply at one index is the same, whoever applies it, when, and how often: for
 * store_options.applied, with a node as its argument. */
void same_applied(void *node, const struct raft_entry *e);
/* What it applies between the two counts only if it gets that far. */
void same_opening(struct node *n);
void same_opened(struct node *n);

/* --- judge.c --- */
/* The nodes that take part are equal byte for byte, and tell the history its end. Runs the world on
 * until it is known; false: it failed (and run_fail was told why). */
bool judge_replicas(struct run *r);
void judge_history(struct run *r);

#endif
