/* door_internal.h - what the files of the door share: one call, its arguments, its answers.
 *
 * A method is a function that answers OK when it has responded, and otherwise the status that
 * door.c turns into the end of the call.
 */
#ifndef VARVE_SERVE_GRPC_DOOR_INTERNAL_H
#define VARVE_SERVE_GRPC_DOOR_INTERNAL_H

#include "serve/grpc/descriptors.h"
#include "serve/grpc/grpc_door.h"
#include "serve/port/rpc.h"
#include "serve/work/work.h"
#include "wire/proto/pb.h"

struct grpc_door {
    struct command_db db;
    struct work *work;
    struct grpc_gate gate;
    const char *address, *version;
    struct topology_source topology;
    bool (*ready)(void *arg);
    void *ready_arg;
    uint64_t started_ns;
    struct descriptors descriptors;
};

enum {
    DOOR_IN_PLACE = 64 * 1024,   /* a write up to so many bytes is done on the reactor's thread */
    DOOR_PAGE_FIRST = 32 * 1024, /* bytes of a stream's first message */
    DOOR_PAGE_MAX = 256 * 1024,  /* and of the next ones, while the client keeps up */
    DOOR_ANSWER_MAX = 32 * 1024 * 1024, /* values of a BatchGet */
    DOOR_KEYS_MAX = 100000,             /* of a BatchGet */
    DOOR_PRESENT_UNKNOWN = 0,
    DOOR_PRESENT_ABSENT = 1,
    DOOR_PRESENT_VERSION = 2,
};

struct method;
struct call {
    struct grpc_door *door;
    struct rpc *rpc;
    const struct method *method;
    struct command_db db; /* the door's, with the caller's writer */
    void *who;
    struct err err;
    /* Of a precondition that did not hold. */
    const char *required;   /* "VERSION" */
    const char *subject;    /* "operations[3].precondition"; of the arena */
    int present;            /* DOOR_PRESENT_... */
    struct version version; /* what is there, when DOOR_PRESENT_VERSION */
};

typedef enum status (*method_fn)(struct call *c, const void *request);
struct method {
    const char *name;
    const char *route;                         /* "varve.v1.KV/Get", for logs */
    const ProtobufCMessageDescriptor *request; /* NULL: a stream, which the method takes itself */
    method_fn run;
    enum command_verb verb;
    bool gated;
    /* NULL, or tried first: answers a message that is of the plainest kind, and false (having done
     * nothing) when it is not, or is malformed. */
    bool (*plain)(struct call *c, struct bytes message, enum status *ret);
};
struct service {
    const char *name;
    const struct method *methods;
    size_t n;
};
extern const struct service door__kv, door__changes, door__admin, door__health, door__reflection,
    door__reflection_alpha;

#define METHOD(service, name, message, fn, verb)                                                   \
    {                                                                                              \
#name, service "/" #name, &varve__v1__##message##_request__descriptor, fn, COMMAND_##verb, \
            true, NULL                                                                             \
    }

static inline struct request *call_request(struct call *c)
{
    return &c->rpc->req;
}

/* ---- door.c ---- */

/* Whether the caller may use the method's verb on a collection (empty: it names none). */
enum status call_allow(struct call *c, struct bytes collection) WARN_UNUSED;
/* Runs fn(arg) on the pool and waits; OVERLOADED, NO_MEMORY: it was not run. */
enum status call_work(struct call *c, enum work_kind kind, void (*fn)(void *arg),
                      void *arg) WARN_UNUSED;
/* OK: go on. TIMED_OUT, CANCELLED: not worth it any more; CLOSED is no reason for what ends. */
enum status call_alive(struct call *c) WARN_UNUSED;
/* Responds and ends. */
enum status call_respond(struct call *c, const ProtobufCMessage *m) WARN_UNUSED;
enum status call_respond_version(struct call *c, struct version v) WARN_UNUSED; /* as field 1 */
/* Sends a message of a stream, packed. */
enum status call_send(struct call *c, const ProtobufCMessage *m) WARN_UNUSED;
enum status call_end(struct call *c) WARN_UNUSED; /* of a stream: OK */
void *call_alloc(struct call *c, size_t n); /* of the arena; NULL: no memory, and err says so */

/* ---- door_error.c ---- */

/* Ends the call with st, c->err and the details. */
void door__fail(struct call *c, enum status st);
/* Renames the fields of the verbs' structs to those of the contracts. */
struct bytes door__field(struct bytes field);
/* Where a request has another name for a field than most: what `from` was refused for is told of `to`. */
void door__rename(struct err *err, const char *from, const char *to);
/* An encoded google.rpc.Status, appended; `code` as it is in the trailer. */
enum status door__details(struct call *c, enum status st, int code, struct bytes message,
                          struct buf *out) WARN_UNUSED;

/* ---- args.c: from the contracts' messages to the verbs' arguments. Refusals name the field. ---- */

static inline struct bytes text_bytes(const char *s)
{
    return BYTES_STR(s);
}
/* NULL or empty: the present. */
enum status args_at(struct call *c, const Varve__V1__At *m, const char *field,
                    struct command_at *ret) WARN_UNUSED;
/* Which present c->db reads. */
enum status args_consistency(struct call *c, Varve__V1__Consistency m) WARN_UNUSED;
enum status args_value(struct call *c, const Varve__V1__Value *m, const char *field,
                       struct command_value *ret) WARN_UNUSED;
enum status args_options(struct call *c, const Varve__V1__WriteOptions *m,
                         struct command_options *ret) WARN_UNUSED;
/* ret->what 0: nothing is required. Sets c->required and c->subject for the case that it fails. */
enum status args_precondition(struct call *c, const Varve__V1__Precondition *m, const char *field,
                              struct command_require *ret) WARN_UNUSED;
struct version args_version(const Varve__V1__Version *m);   /* NULL: none */
const char *args_required(const struct command_require *r); /* "ABSENT" */

enum doc_out { DOC_OUT_BSON, DOC_OUT_JSON, DOC_OUT_CANONICAL };
enum status args_format(struct call *c, Varve__V1__DocumentFormat f, enum doc_out *ret) WARN_UNUSED;

/* ---- record_out.c: varve.v1.Record by hand ---- */

/* The parts of a record's message, borrowed, and their sizes. */
struct record_out {
    struct bytes key, value, writer;
    struct version version, parent;
    uint64_t expires_ms;
    uint32_t value_kind; /* field of Value; 0: there is none */
    bool deleted;
    size_t value_size, parent_size, version_size, size; /* of the messages; size: all of it */
    uint8_t writer_text[RECORD_WRITER_MAX];
};
enum { RECORD_OUT_KEY = 1, RECORD_OUT_VALUE = 2, RECORD_OUT_PAST = 4 /* deleted and parent */ };
/* Takes `what` of it; documents as JSON are made in `json` (cleared first), which lives as long. */
enum status record_out_of(struct record_out *o, const struct record *rec, struct bytes key,
                          unsigned what, enum doc_out format, struct buf *json,
                          struct err *err) WARN_UNUSED;
/* All but the value's bytes, which lie between: up to them, and after them. */
enum { RECORD_OUT_HEAD_MAX = 64, RECORD_OUT_TAIL_MAX = 350 }; /* without the key */
uint8_t *record_out_head(const struct record_out *o, uint8_t *p);
uint8_t *record_out_tail(const struct record_out *o, uint8_t *p);
/* Appends it as field `number` of the message around it. */
enum status record_out_append(const struct record_out *o, uint32_t number,
                              struct buf *out) WARN_UNUSED;
size_t version_out_size(struct version v);
uint8_t *version_out(struct version v, uint8_t *p);
enum { VERSION_OUT_MAX = 16 };

#endif
