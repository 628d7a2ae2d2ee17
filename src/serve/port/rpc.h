/* rpc.h - one gRPC call, as a handler sees it.
 *
 *     unary:  rpc_recv(r, &message, ...);  rpc_respond(r, answer)   or  rpc_finish_status(r, st, &err)
 *     stream: while (rpc_send(r, row) == ST_OK) ...;  rpc_finish(r, ...)
 *
 * Owns:     the call's bytes: what is borrowed here lives until the handler returns, messages until
 *           the next rpc_recv.
 * Promises: what can wait says so; compressed messages come inflated.
 * Never:    knows protobuf.
 * Threads:  the request's fiber.
 */
#ifndef VARVE_SERVE_PORT_RPC_H
#define VARVE_SERVE_PORT_RPC_H

#include "serve/port/request.h"
#include "wire/grpc/grpc.h"

struct rpc {
    struct request req; /* &r->req for request.h; deadline_ns is the client's */
    /* Readable. */
    struct bytes path;    /* "/varve.v1.KV/Get" */
    struct bytes service; /* "varve.v1.KV" */
    struct bytes method;  /* "Get" */
    struct bytes authority;
};

/* The next message; waits for it. *ret_end: the client has sent its last one and there is none.
 * Errors: TOO_LARGE (port_options.message_bytes), CORRUPT, OVERLOADED, CANCELLED, TIMED_OUT,
 * NO_MEMORY. */
enum status rpc_recv(struct rpc *r, struct bytes *ret, bool *ret_end, struct err *err) WARN_UNUSED;
bool rpc_ready(const struct rpc *r); /* a message is there: rpc_recv would not wait for it */
/* For a call that takes one message: that one, once the client has ended. UNIMPLEMENTED: there is none, or
 * another one (so the table of gRPC's doc/statuscodes.md). Other errors: those of rpc_recv. */
enum status rpc_recv_one(struct rpc *r, struct bytes *ret, struct err *err) WARN_UNUSED;

/* Sends a message; waits for room while the peer is slow. Errors: CANCELLED (the peer is gone),
 * TIMED_OUT (the deadline), CLOSED (finished), OVERLOADED (memory), TOO_LARGE, NO_MEMORY. */
enum status rpc_send(struct rpc *r, struct bytes message) WARN_UNUSED;
/* One message of several parts, of which blobs are not copied; at most GRPC_PARTS_MAX. */
enum status rpc_send_parts(struct rpc *r, const struct h2_part *parts, size_t n) WARN_UNUSED;
/* Initial metadata now, rather than with the first message. Errors as rpc_send. */
enum status rpc_send_headers(struct rpc *r, const struct wire_header *metadata,
                             size_t n) WARN_UNUSED;
bool rpc_sends_gzip(const struct rpc *r); /* the client says that it deflates */
void rpc_use_gzip(struct rpc *r);         /* deflate from here on, if the client takes that */

/* A message and OK, never waiting: the end of a unary call. */
enum status rpc_respond(struct rpc *r, struct bytes message) WARN_UNUSED;
enum status rpc_respond_parts(struct rpc *r, const struct h2_part *parts, size_t n) WARN_UNUSED;
/* The end. Once; a second is CLOSED. */
enum status rpc_finish(struct rpc *r, const struct grpc_finish *f) WARN_UNUSED;
enum status rpc_finish_status(struct rpc *r, enum status st, const struct err *err) WARN_UNUSED;
bool rpc_finished(const struct rpc *r);

/* The client's custom metadata, one by one; *at begins with 0. One by name: request_header. */
bool rpc_metadata_next(const struct rpc *r, size_t *at, struct wire_header *ret);

#endif
