/* load_protocol.h - what load_run and a protocol say to each other.
 *
 * A connection has `in_flight` slots, each carries one request at a time. The runner gives a slot to
 * `send`, which queues bytes; `recv` finds out which slots are answered and calls load_answered for
 * each, at any time within recv, send or output.
 *
 * Owns:     the protocol its state and each slot's, which the runner allocates, zeroed.
 * Promises: load_answered only marks: the slot is sent again after the call has returned.
 * Never:    a protocol touches a socket or a clock but by `now_ms`.
 * Threads:  load_run's.
 */
#ifndef VARVE_SERVE_LOAD_LOAD_PROTOCOL_H
#define VARVE_SERVE_LOAD_LOAD_PROTOCOL_H

#include "serve/load/load.h"

struct load_conn;
struct load_run;

struct load_op {
    enum load_kind kind;
    bool write;         /* the second half of a read-modify-write */
    uint64_t key, turn; /* first number; what makes values of one key differ */
    uint32_t rows;      /* of a scan or a batch */
    uint64_t start_ns;  /* when it was due */
    bool measured;
};

struct load_slot {
    struct load_conn *conn;
    struct load_op op;
    void *state; /* the protocol's slot_bytes */
    /* Private to the runner. */
    struct load_slot *next;
    bool busy;
};

/* What the runner lends to protocols. */
struct load_context {
    const void *arg; /* protocol_arg */
    const struct load_values *values;
    uint32_t in_flight;
    bool secure;
    struct h2_pool *h2_pool; /* memory of all HTTP/2 connections */
    struct load_run *run;
};

struct load_protocol {
    const char *name;
    size_t conn_bytes, slot_bytes;
    uint32_t in_flight_max; /* of a connection; 0: no bound of its own */
    uint32_t kinds;         /* set of 1 << enum load_kind that it can carry */
    /* The connection is there. NO_MEMORY. `state` is zeroed. */
    enum status (*open)(void *state, const struct load_context *c, uint64_t now_ms,
                        struct err *err);
    /* Takes a zeroed state too. Requests without an answer are the runner's to count. */
    void (*close)(void *state);
    /* Frees what a slot's request holds when the connection has ended under it. May be NULL. */
    void (*drop)(struct load_slot *slot);
    /* Queues the request of slot->op. OVERLOADED: the peer takes no more now, ask again after an
     * answer. Other errors end the connection. */
    enum status (*send)(void *state, struct load_slot *slot, struct err *err);
    enum status (*recv)(void *state, struct bytes in, uint64_t now_ms, struct err *err);
    enum status (*output)(void *state, struct bytes *ret, struct err *err); /* until it is empty */
    void (*output_done)(void *state, size_t n);
};

/* The slot's request is answered. `error`: NULL, or a kind of error that lives for ever, with a
 * detail (may be empty). `sum`: something made of the answer, for the checksum; `rows` read. */
void load_answered(struct load_slot *slot, const char *error, struct bytes detail, uint64_t rows,
                   uint64_t sum);
extern const char load_wrong_value[]; /* a kind of error: an answer with another key's value */

/* It asks for one value: a get, or the first half of a read-modify-write. */
static inline bool load_op_reads(const struct load_op *op)
{
    return op->kind == LOAD_GET || (op->kind == LOAD_RMW && !op->write);
}

static inline uint64_t load_mix64(uint64_t h, uint64_t v)
{
    return (h ^ v) * 0x9e3779b97f4a7c15u;
}
/* The sum of a value that was read: its number (already checked) and its length. */
static inline uint64_t load_value_sum(uint64_t key, struct bytes value)
{
    return load_mix64(load_mix64(key, value.len), 1);
}

#endif
