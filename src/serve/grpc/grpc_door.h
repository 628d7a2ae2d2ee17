/* grpc_door.h - the database over gRPC: varve.v1.KV, Changes and Admin, health and reflection.
 *
 * proto/ has the contracts, docs/grpc.md tells them to users. A call is straight-line code on the
 * fiber that serve/port gave it: decode, ask the gate, run the verb, encode.
 *
 * Owns:     nothing beyond one call; the door itself belongs to the app.
 * Promises: every failure is a status of gRPC with google.rpc details; no iterator of the engine is
 *           held while a client is slow (pages); what may block for long runs on the pool. A write
 *           does not begin once its deadline has passed, and is not broken off once it has begun.
 * Never:    frames, sockets, TLS (port/, wire/); who may do what (the gate).
 * Threads:  grpc_door_handle runs on fibers of reactors, for many calls at once. The door is read
 *           only once made.
 */
#ifndef VARVE_SERVE_GRPC_GRPC_DOOR_H
#define VARVE_SERVE_GRPC_GRPC_DOOR_H

#include "serve/command/command.h"
#include "serve/command/topology.h"

struct grpc_door;
struct request;
struct rpc;
struct work;

/* Who asks, and may they. Calls of KV, Changes and Admin go through it, health and reflection do
 * not. Any function may be NULL: then it is as if it allowed. */
struct grpc_gate {
    void *arg;
    /* Once a call, on its fiber; may wait. *ret_who is handed to the others. UNAUTHENTICATED, ... */
    enum status (*open)(void *arg, struct request *q, void **ret_who, struct err *err);
    /* For each collection that the verb names (empty where it names none), each once or more. Must
     * not wait. PERMISSION_DENIED. */
    enum status (*check)(void *arg, void *who, struct request *q, enum command_verb verb,
                         struct bytes collection, struct err *err);
    enum status (*check_batch)(void *arg, void *who, struct request *q,
                               const struct command_batch *b, struct err *err);
    /* The writer of what they write when the request names none; empty: the database's. Lives until
     * close. */
    struct bytes (*writer)(void *arg, void *who);
    void (*close)(void *arg, void *who);
};

struct grpc_door_options {
    const struct command_db *db; /* the caller's, as are work, gate and strings, until free */
    struct work *work;
    const struct grpc_gate *gate; /* NULL: everybody may everything */
    const char *address;          /* host:port that the topology tells; NULL: "" */
    const char *version;          /* of the program; NULL: "" */
    struct topology_source topology;
    /* For health: whether requests are served. NULL: yes, until the server stops. Any thread. */
    bool (*ready)(void *arg);
    void *ready_arg;
};

/* NO_MEMORY; INTERNAL: the descriptors in the binary are not whole. */
enum status grpc_door_new(const struct grpc_door_options *o, struct grpc_door **ret,
                          struct err *err) WARN_UNUSED;
void grpc_door_free(struct grpc_door *d); /* no call is at work; takes NULL */
/* Serves one call. `arg` is the struct grpc_door. */
void grpc_door_handle(struct rpc *r, void *arg);
/* For port_handlers: whatever is not reflection takes one message. */
bool grpc_door_takes_one(const struct rpc *r, void *arg);
/* The call comes next, after others: see port_handlers. `message` is its first. */
void grpc_door_ahead(const struct rpc *r, struct bytes message, void *arg);
/* For port_handlers: in a cluster, gets of the present ask the leader together. `arg` as above. */
bool grpc_door_joins(const struct rpc *r, struct bytes first, void *arg);
enum status grpc_door_join(void *arg, struct err *err) WARN_UNUSED;

#endif
