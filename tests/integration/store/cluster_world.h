/* cluster_world.h - several stores, each on a simulated disk of its own, joined by a network in memory
 * that loses, doubles, delays and parts, driven by one seed; clients are fibers.
 *
 * Owns: all of it. Promises: a failed expectation fails the running cmocka test and names the seed.
 * Threads: one.
 */
#ifndef VARVE_TESTS_CLUSTER_WORLD_H
#define VARVE_TESTS_CLUSTER_WORLD_H

#include "base/env/fiber.h"
#include "node/store/store.h"
#include "sim/env/sim_env.h"
#include "support/rng.h"

enum { CW_NODES_MAX = 5, CW_KEYS = 12, CW_OPS_MAX = 8000, CW_CLIENTS_MAX = 16 };

enum cw_outcome { CW_PENDING, CW_DONE, CW_NOT_DONE, CW_UNKNOWN };
struct cw_op { /* a put; its value begins with its number */
    unsigned key;
    enum cw_outcome outcome;
    struct version version;  /* DONE */
    struct version required; /* not none: a compare-and-set on that version */
    char request_id[16];     /* empty: none */
    bool is_cas;
};

struct cw_packet {
    uint64_t from, to, due_ms;
    size_t len;
    uint8_t *data;
};

struct cluster_world;
struct cw_node {
    struct cluster_world *w;
    uint64_t id;
    struct env *env;
    struct store_options o;
    struct store_cluster cluster;
    struct store *s; /* NULL: down */
    unsigned in_calls;
    uint64_t up_at_ms, tick_at_ms;
    bool dying, wiped;
};

struct cluster_world {
    uint64_t seed, now_ms;
    struct test_rng rng;
    size_t n;
    struct cw_node node[CW_NODES_MAX + 1]; /* by id, from 1 */
    struct cw_packet *net;
    size_t n_net, cap_net;
    unsigned loss, dup, delay_ms; /* per mille, per mille, at most */
    bool cut[CW_NODES_MAX + 1][CW_NODES_MAX + 1];
    struct fiber_sched *fibers;
    struct raft_checker *checker;
    bool stop; /* clients end */
    unsigned clients;
    struct cw_op ops[CW_OPS_MAX];
    size_t n_ops;
    struct version acked[CW_KEYS], acked_max; /* the newest acknowledged */
    uint32_t collection;
    /* what happened, for tests that want it to */
    uint64_t done, unknown, not_done, reads, crashes, leaders, duplicates, lost_packets;
    uint64_t last_term;
};

void cw_init(struct cluster_world *w, uint64_t seed, size_t n);
void cw_init_on(struct cluster_world *w, uint64_t seed, size_t n, uint64_t not_open);
void cw_deinit(struct cluster_world *w);
void cw_open(struct cluster_world *w, uint64_t id);
/* The node's machine dies, and is back after `down_ms`. */
void cw_crash(struct cluster_world *w, uint64_t id, enum sim_crash how, uint64_t down_ms);
/* Time passes: packets arrive, nodes tick, fibers run, the dead come back; invariants hold. */
void cw_step(struct cluster_world *w, uint64_t ms);
void cw_run(struct cluster_world *w, uint64_t ms);
void cw_heal(struct cluster_world *w);
/* Until `done` says so; fails after `limit_ms`. */
void cw_until(struct cluster_world *w, bool (*done)(struct cluster_world *w), uint64_t limit_ms,
              const char *what);
bool cw_has_leader(struct cluster_world *w);
uint64_t cw_leader(struct cluster_world *w); /* 0: none that a majority follows */
bool cw_converged(struct cluster_world *w);
/* Makes the collection that clients write to. */
void cw_collection(struct cluster_world *w);
void cw_client_start(struct cluster_world *w);
/* Writes to that collection at a node, on a fiber: a key of at most 59 bytes. */
enum status cw_put(struct cluster_world *w, struct cw_node *n, const char *key, struct version *ret,
                   struct err *err);
/* Runs fn as a fiber until it returns, while time passes. */
void cw_call(struct cluster_world *w, void (*fn)(void *arg), void *arg);
bool cw_clients_gone(struct cluster_world *w);
/* Heals, ends the clients, waits until all nodes have the same, and holds it against what was
 * acknowledged. */
void cw_judge(struct cluster_world *w);

#endif
