/* door.h - clients that reach their node as users do: over streams of the simulated network, through
 * serve/port and the doors (gRPC; HTTP/1.1 and HTTP/2), in the seeds whose plan says so.
 *
 * Each node then listens on DOOR_PORT. The clients that go through doors are fibers of a machine of
 * their own, which has no disk and never dies: what breaks is the way to a node, and the node. Half of
 * all clients and watchers are such; the others are fibers on the nodes, as ever.
 *
 * An operation whose connection broke has an unknown outcome, and so has a write whose failure the
 * node did not tell itself; a request that never left was not done.
 *
 * Owns:     the machine of the clients; doors are their node's process's. Promises: the same seed, the
 *           same bytes. Never: a real socket, clock or thread. Threads: one.
 */
#ifndef VARVE_SIM_CLUSTER_DOOR_H
#define VARVE_SIM_CLUSTER_DOOR_H

#include "sim/cluster/clients.h"
#include "sim/cluster/door_line.h"

enum { DOOR_PORT = 7878, DOOR_HOST = PLAN_NODES_MAX + 4 };

/* --- door.c: the node's side --- */

/* Its store is open: takes clients in. */
enum status door_open(struct node *n, struct err *err);
/* Ends what has no end of its own, says goodbye, and waits until nobody is in a call of the store;
 * false: somebody does not let go. On a fiber of the node. */
bool door_let_go(struct node *n);

/* --- door_hosts.c: the clients' side --- */

void door_start(
    struct run *r);            /* plan.doors: makes the clients' machine, and trouble on its ways */
void door_heal(struct run *r); /* all ways are open, for good */
void door_free(struct run *r);
struct sim_machine *door_machine(const struct run *r);
void door_addr(const struct node *n, struct net_addr *ret);

/* What a client has that goes through doors. */
struct door {
    enum door_way { DOOR_GRPC, DOOR_HTTP1, DOOR_HTTP2, DOOR_WAYS } way;
    bool gzip;
    bool
        empty; /* its collection was not there at the last barrier: nor are its keys at that moment */
    struct line *line; /* of the clients' machine's heap; NULL: none */
    struct dice dice;
};
/* A connection to the client's node, the one it has or a new one. NULL: none within seconds. */
struct line *door_line(struct client *c);
/* When, by the fiber's clock, an answer is not waited for any more. */
uint64_t door_patience(struct client *c);

/* Makes `c` one that goes through doors, by luck. */
void door_draw(struct client *c);
void door_leave(struct client *c); /* it goes elsewhere */
void door_client_free(struct client *c);

/* --- door_watch.c: a watcher's visit to a node, through its door --- */

struct door_visit {
    struct run *run;
    struct node *node;
    struct dice *dice;
    const char *token;   /* where it goes on; "": from the beginning */
    struct bytes prefix; /* of keys; empty: all */
    bool all;            /* of all collections; those of others are passed over */
    bool by_http;
    void *arg; /* of the following: */
    void (*opened)(void *arg);
    void (*row)(void *arg, struct bytes token, const struct history_watch *what);
    void (*progress)(void *arg, uint64_t version); /* all up to here has been delivered */
    void (*place)(void *arg, struct bytes token); /* told without a row: behind all that it names */
};
/* Returns when it has seen enough, or the node goes. false: it was not let in. */
bool door_visit(const struct door_visit *v);

/* --- door_rogue.c: clients that misbehave, in a collection of their own --- */
#define ROGUES_COLLECTION "rogue"
void rogues_start(struct run *r);
void rogues_free(struct run *r);

/* --- what clients do, as the calls of clients.h by the same names --- */
enum status door_barrier(struct client *c, struct version *ret_at, struct err *err);
enum status door_get(struct client *c, struct history_step *s, struct version at, struct err *err);
enum status door_propose(struct client *c, const struct work_write *w, size_t n,
                         uint64_t *ret_version, size_t *ret_failed, uint64_t *ret_present,
                         struct err *err);
void door_look_again(struct client *c, struct version at);

/* The same by one protocol: door_grpc.c, door_http.c. `id` (may be empty): the request's. */
struct door_write {
    const struct work_write *w;
    size_t n;
    struct bytes id;
    uint64_t version; /* what came of it */
    size_t failed;
    uint64_t present;
};
enum status door_grpc_barrier(struct client *c, struct version *ret_at, struct err *err);
enum status door_grpc_get(struct client *c, struct history_step *s, struct version at,
                          struct err *err);
enum status door_grpc_write(struct client *c, struct door_write *w, struct err *err);
void door_grpc_scan(struct client *c, struct version at, uint64_t shown[STEPS_MAX], bool *ret_all);
void door_grpc_history(struct client *c, struct history_step *s, struct version at);
enum status door_http_barrier(struct client *c, struct version *ret_at, struct err *err);
enum status door_http_get(struct client *c, struct history_step *s, struct version at,
                          struct err *err);
enum status door_http_write(struct client *c, struct door_write *w, struct err *err);
void door_http_scan(struct client *c, struct version at, uint64_t shown[STEPS_MAX], bool *ret_all);
void door_http_history(struct client *c, struct history_step *s, struct version at);

#endif
