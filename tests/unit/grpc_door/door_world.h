/* door_world.h - a server with a store behind the door of gRPC, and a client of it on a blocking
 * socket: messages by protobuf-c, calls by src/wire.
 *
 * Owns: all of it, from door_start to door_stop. Promises: what is unexpected fails the test.
 * Threads: the client's calls belong to the test's.
 */
#ifndef VARVE_TESTS_DOOR_WORLD_H
#define VARVE_TESTS_DOOR_WORLD_H

#include "serve/grpc/grpc_door.h"
#include "serve/port/port.h"
#include "serve/work/work.h"
#include "support/cmocka.h"
#include "support/tempdir.h"
#include "wire/proto/pb.h"

struct door_world {
    char dir[TEMP_DIR_MAX], folder[TEMP_DIR_MAX + 8];
    struct command_db db;
    struct store_options store;
    struct work *work;
    struct grpc_door *door;
    struct reactors *reactors;
    struct port *port;
    struct net_addr addr;
    struct arena arena; /* of decoded messages and details; emptied by door_stop */
    struct client *client;
    bool gzip; /* of the calls that are started from here on */
    /* The server may cut the connection, as it does where memory fails under HTTP/2 itself: then
     * `cut` is set, the call ends, and the next one connects anew. Else that fails the test. */
    bool may_cut, cut;
    struct err err;
};
void door_start(struct door_world *w, const struct grpc_gate *gate);
void door_start_with(struct door_world *w, const struct grpc_gate *gate,
                     const struct work_options *work);
void door_stop(struct door_world *w);
void door_stop_server(struct door_world *w); /* the client may still hear the end; then door_stop */

/* How a call ended. */
struct ended {
    enum grpc_code code;
    const char *message, *reason, *field, *present, *required,
        *subject; /* "" where there is none */
    unsigned retry_ms;
};
/* One call in a stream of answers. Does not move. */
struct tcall {
    struct door_world *w;
    struct grpc_call call;
    const ProtobufCMessageDescriptor *answer;
    bool closed;
    struct list node;
};
void tcall_start(struct tcall *t, struct door_world *w, const char *method, uint64_t timeout_ms,
                 const ProtobufCMessageDescriptor *answer);
void tcall_say(struct tcall *t, const ProtobufCMessage *m, bool last);
/* The next answer; NULL: the call has ended. */
void *tcall_hear(struct tcall *t);
struct ended tcall_end(struct tcall *t); /* hears the rest, and lets go */
void tcall_cancel(struct tcall *t);      /* and lets go */

/* A unary call: *ret (may be NULL) is the answer when the code is OK. */
struct ended ask(struct door_world *w, const char *method, const ProtobufCMessage *m,
                 const ProtobufCMessageDescriptor *answer, void **ret);
/* The bytes as they are, as a message. */
struct ended ask_bytes(struct door_world *w, const char *method, struct bytes m,
                       const ProtobufCMessageDescriptor *answer, void **ret);

/* KV.Put of raw bytes or JSON; returns the version. */
Varve__V1__Version *put_raw(struct door_world *w, const char *collection, const char *key,
                            const char *value);
Varve__V1__Version *put_json(struct door_world *w, const char *collection, const char *key,
                             const char *json);
ProtobufCBinaryData data_of(const char *text);

#define assert_code(e, want)                                                                       \
    do {                                                                                           \
        struct ended e_ = (e);                                                                     \
        if (e_.code != (want))                                                                     \
            fail_msg("%s: %s (wanted %s)", grpc_code_name(e_.code), e_.message,                    \
                     grpc_code_name(want));                                                        \
    } while (0)

#endif
