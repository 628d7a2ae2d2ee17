/* clients.h - the clients of a run, and what the workloads share.
 *
 * A client does one operation after the other, as a fiber on the node that it asks; after some, or
 * when that node dies, it goes to another. An operation whose process died under it stays unknown
 * for ever, and the client takes a new name in the history.
 */
#ifndef VARVE_SIM_CLUSTER_CLIENTS_H
#define VARVE_SIM_CLUSTER_CLIENTS_H

#include "sim/cluster/run.h"

enum { STEPS_MAX = 8, KEY_MAX = 24, BATCH_MAX = 8 };

struct step_memory { /* what a step's bytes lie in, until it is recorded */
    char key[KEY_MAX];
    uint8_t *value; /* sim memory */
    size_t len;
};

struct client {
    struct run *run;
    unsigned number;
    uint32_t name; /* in the history */
    struct node *node;
    bool running; /* a fiber of its lives */
    struct dice dice;
    struct sim_event hop;
    uint64_t done_ns;  /* when its last operation was answered */
    uint64_t wrote_ns; /* when it was last told that something is written */
    uint64_t serial;   /* of the values it makes */
    uint64_t *seen;    /* versions of register keys as last seen, by key */
    struct door *door; /* NULL: its fiber runs on the node; else it goes through doors (door.h) */

    /* the operation under way */
    uint32_t op; /* NONE: none */
    enum workload work;
    struct history_step steps[STEPS_MAX];
    struct step_memory memory[STEPS_MAX];
    size_t n;
    uint64_t at;
    bool weak, beaten; /* beaten: what it read had changed, so its write was refused */
};

/* Adds a step to the operation; its key is "LETTERnumber" (history keys are users' keys). */
struct history_step *op_step(struct client *c, enum history_verb verb, char letter, uint64_t key);
void op_value(struct client *c, struct history_step *s, const void *data, size_t len); /* copies */
void op_invoke(struct client *c);
/* Records the answer. A status says which outcome; `err` tells why, where it is a failure. */
void op_done(struct client *c, enum status st, const struct err *err);
void op_outcome(struct client *c, enum history_outcome outcome);

/* The collection of the client's work on its node; makes it when it is not there. */
enum status work_collection(struct client *c, struct collection **ret, struct err *err);
/* Routing key of a step. `out` of STORE_ROUTE_BYTES + KEY_MAX. */
struct bytes work_route(const struct collection *col, const char *key,
                        uint8_t out[STORE_ROUTE_BYTES + KEY_MAX]);
/* Waits until reads here are as new as anywhere, and says which moment that is. */
enum status work_barrier(struct client *c, struct version *ret_at, struct err *err);
/* The record at a moment (none: the present), as a result in `s`; bytes are copied. */
enum status work_get(struct client *c, struct collection *col, struct history_step *s,
                     struct version at, struct err *err);
/* One batch: the PUT and DELETE steps, with their requirements; `values` beside for other verbs. */
struct work_write {
    const char *key;
    bool remove;
    struct bytes value;
    enum history_require require;
    uint64_t want;
};
/* What *ret_present is where a requirement failed and nobody said what is there instead. */
#define WORK_NOT_TOLD UINT64_MAX
enum status work_propose(struct client *c, struct collection *col, const struct work_write *w,
                         size_t n, uint64_t *ret_version, size_t *ret_failed, uint64_t *ret_present,
                         struct err *err);

/* What the GET steps showed as of `at`, once more by a scan or by history: it has to be the same. */
void work_look_again(struct client *c, const struct collection *col, struct version at);

/* Keys that nobody writes are not there, whatever is asked (plan.vain). */
void work_ask_in_vain(struct client *c);

/* The workloads: one operation each, recorded. */
void work_register(struct client *c);
void work_list(struct client *c);
void work_bank(struct client *c);
void work_set(struct client *c);
void work_counter(struct client *c);

#endif
