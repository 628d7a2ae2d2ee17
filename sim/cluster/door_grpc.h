/* door_grpc.h - what a client's calls of gRPC have in common: door_grpc.c (reads), door_grpc_write.c.
 *
 * Owns: nothing; a call belongs to its fiber's stack. Promises: see door.h. Threads: one.
 */
#ifndef VARVE_SIM_CLUSTER_DOOR_GRPC_H
#define VARVE_SIM_CLUSTER_DOOR_GRPC_H

#include "sim/cluster/door.h"
#include "wire/proto/pb.h"

/* A call from its beginning to its end. */
struct call {
    struct client *c;
    struct ask ask;
    struct arena arena;
    uint64_t until;
    bool writes;
    enum status st;
    struct bytes details; /* of a failure; lies in the arena */
};

/* Sends it; what went wrong is told by grpc__answer. */
void grpc__begin(struct call *k, struct client *c, const char *method, const ProtobufCMessage *m,
                 struct err *err);
/* The one answer; it lies in the call's arena, until grpc__over. */
enum status grpc__answer(struct call *k, const ProtobufCMessageDescriptor *type, void **ret,
                         struct err *err);
/* A detail of the failure's google.rpc.Status, of this type; NULL: it has none. */
void *grpc__detail(struct call *k, const ProtobufCMessageDescriptor *type);
void grpc__over(struct call *k);
char *grpc__collection(const struct client *c);
ProtobufCBinaryData grpc__key(const char *key);

#endif
