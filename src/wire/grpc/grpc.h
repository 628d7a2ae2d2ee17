/* grpc.h - gRPC calls over HTTP/2 streams, the server's and the client's side.
 *
 * Follows the gRPC project's PROTOCOL-HTTP2 document. A call sits on one stream of wire/http2; its
 * owner gets the stream's events and hands them on (grpc_on_*), then takes whole messages out with
 * grpc_next. grpc_codec.h has the parts below: framing, timeouts, percent and base64 coding, codes.
 *
 *     server: `headers` and grpc_is_request -> grpc_accept; grpc_next ...; grpc_send ...; grpc_finish
 *     client: grpc_start; grpc_send ...; grpc_next ...; after the end grpc_result
 *
 * Owns:     messages being put together and those not taken yet. The stream: grpc_deinit releases it.
 * Promises: a call holds at most message_max bytes of messages, the window of its stream and one
 *           inflated message; all of it out of `budget`, if given. A message that is not taken
 *           holds the peer back.
 * Never:    inflates past message_max; blocks; waits: GRPC_WAIT and OVERLOADED say when to.
 * Threads:  those of the connection.
 */
#ifndef VARVE_WIRE_GRPC_GRPC_H
#define VARVE_WIRE_GRPC_GRPC_H

#include "base/buf.h"
#include "wire/grpc/grpc_codec.h"
#include "wire/http2/http2.h"

enum {
    GRPC_METADATA_MAX = 32, /* of one call's own, each way */
    GRPC_PARTS_MAX = 15,
    GRPC_OWN_BYTES = 512, /* a message of some 450 bytes needs no memory of its own */
};

struct grpc_limits {
    size_t message_max;         /* a message, also once inflated; 0 = 32 MiB */
    size_t gzip_min;            /* smaller ones are not worth deflating; 0 = 1 KiB */
    struct wire_budget *budget; /* NULL: none; must outlive the call */
};

/* Fill nothing in; read what is said to be readable. Does not move once it is in use. */
struct grpc_call {
    struct h2_stream *stream;
    /* From grpc_accept; lent by the stream. path is "/package.Service/Method". */
    struct bytes path, service, method, authority;
    uint64_t timeout_ns; /* 0: none was given */
    bool peer_ended;     /* the peer has sent all its messages */
    bool finished;       /* server: grpc_finish was called; client: the stream has closed */
    uint32_t closed_code;
    /* Private from here on. */
    struct grpc_decoder decoder;
    struct grpc_limits limits;
    bool client, closed, headers_sent, send_ended, peer_takes_gzip, send_gzip, not_grpc, reset;
    struct err failure; /* of the receiving side; the first stays */
    _Alignas(16) uint8_t own[GRPC_OWN_BYTES];
};

/* Content-type application/grpc, with or without +proto or parameters. */
bool grpc_is_request(const struct h2_stream *s);

/* Server: reads the request's headers. When it is not OK, the refusal has been sent already (an HTTP
 * status, or Trailers-Only with a gRPC one): only grpc_deinit is left to do. Errors:
 * INVALID_ARGUMENT (method, path, content-type, timeout), UNIMPLEMENTED (an unknown encoding). */
enum status grpc_accept(struct grpc_call *call, struct h2_stream *s,
                        const struct grpc_limits *limits, struct err *err) WARN_UNUSED;

struct grpc_start {
    struct bytes path;      /* "/package.Service/Method" */
    struct bytes authority; /* host:port */
    bool https;
    uint64_t timeout_ns; /* 0: none */
    bool gzip;           /* deflate what is sent, and take answers deflated */
    const struct wire_header *metadata;
    size_t metadata_count;
    struct bytes user_agent; /* empty: left out */
    bool lasting; /* path, authority and user_agent are fit to be sent and outlive the connection */
};
/* Client: opens a stream on `c`. Errors: those of h2_request. */
enum status grpc_start(struct grpc_call *call, struct h2_conn *c, const struct grpc_start *start,
                       const struct grpc_limits *limits, void *user, struct err *err) WARN_UNUSED;
/* Takes a zeroed call too. Releases the stream: an unfinished call is reset. */
void grpc_deinit(struct grpc_call *call);

/* The stream's events. A failure stays in the call: grpc_next answers it once the messages before it
 * have been taken. */
void grpc_on_headers(struct grpc_call *call, bool end); /* client only */
void grpc_on_data(struct grpc_call *call, struct bytes data);
void grpc_on_end(struct grpc_call *call);
void grpc_on_closed(struct grpc_call *call, uint32_t code);

enum grpc_next {
    GRPC_WAIT,    /* nothing yet */
    GRPC_MESSAGE, /* *ret is one */
    GRPC_END,     /* no more will come */
    GRPC_FAILED,  /* err says why: TOO_LARGE, INTERNAL, OVERLOADED (budget), CANCELLED, NO_MEMORY */
};
/* The next message, lent until the next grpc_next or grpc_deinit. */
enum grpc_next grpc_next(struct grpc_call *call, struct bytes *ret, struct err *err) WARN_UNUSED;

bool grpc_has_message(const struct grpc_call *call); /* grpc_next would answer a message */

/* Server: initial metadata now rather than with the first message. */
enum status grpc_send_headers(struct grpc_call *call, const struct wire_header *metadata,
                              size_t n) WARN_UNUSED;
/* Sends one message. `last` (client only): no more will follow. Errors: OVERLOADED (the stream's
 * queue is full: wait for `writable`; a message is never sent in part), CLOSED (the call has ended or
 * was cancelled), TOO_LARGE (4 GiB), NO_MEMORY. */
enum status grpc_send(struct grpc_call *call, struct bytes message, bool last) WARN_UNUSED;
enum status grpc_send_parts(struct grpc_call *call, const struct h2_part *parts, size_t n,
                            bool last) WARN_UNUSED;            /* at most GRPC_PARTS_MAX */
enum status grpc_send_end(struct grpc_call *call) WARN_UNUSED; /* client: no more messages */
/* Server: deflate messages from here on, if the peer takes that; before the first message. */
void grpc_use_gzip(struct grpc_call *call);
bool grpc_writable(const struct grpc_call *call);

struct grpc_finish {
    enum grpc_code code;
    struct bytes message;               /* UTF-8; percent-encoded on the way */
    struct bytes details;               /* an encoded google.rpc.Status, or empty */
    const struct wire_header *metadata; /* names that end in -bin: values are encoded on the way */
    size_t metadata_count;
};
/* Server: ends the call; only grpc_deinit follows. Without headers sent: Trailers-Only. Errors:
 * CLOSED, INVALID_ARGUMENT (metadata), NO_MEMORY. */
enum status grpc_finish(struct grpc_call *call, const struct grpc_finish *f) WARN_UNUSED;
/* The same from a status; `err` (may be NULL) is the message. */
enum status grpc_finish_status(struct grpc_call *call, enum status st,
                               const struct err *err) WARN_UNUSED;
/* Gives the call up: RST_STREAM with CANCEL. */
void grpc_cancel(struct grpc_call *call);

/* Client, once grpc_next answered GRPC_END or GRPC_FAILED, or the stream has closed: how the call
 * ended. From the trailers; without them from the HTTP status or from how the stream was reset. */
struct grpc_result {
    enum grpc_code code;
    bool not_processed; /* the server has surely done nothing: REFUSED_STREAM, or past GOAWAY */
    struct buf message; /* decoded */
    struct buf details; /* decoded; empty when there are none */
};
enum status grpc_result(const struct grpc_call *call, struct grpc_result *ret) WARN_UNUSED;
void grpc_result_deinit(struct grpc_result *r);

/* Custom metadata of the peer, reserved names left out. `*at` begins with 0. False: no more. Values
 * of -bin names are still base64: grpc_base64_decode. */
bool grpc_metadata_next(const struct grpc_call *call, size_t *at, struct wire_header *ret);
bool grpc_trailing_metadata_next(const struct grpc_call *call, size_t *at, struct wire_header *ret);

#endif
