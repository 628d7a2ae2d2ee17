/* port.h - the one port of the clients: HTTP/1.x, HTTP/2 and gRPC told apart, a fiber for each
 * request.
 *
 * A connection says by ALPN or by its first bytes what it speaks. The sans-I/O connections of
 * src/wire are driven on a reactor; a request that has come far enough (a small one: whole) gets a
 * fiber, on which a door's handler runs as straight-line code: exchange.h is what it sees of HTTP,
 * rpc.h of gRPC, request.h is what the two have in common.
 *
 * Owns:     the connections' protocol state, the requests and their arenas (pooled).
 * Promises: bounded, each bound named in port_options. A request whose bytes are there runs in the
 *           round that brought them, and the answers of a round leave together. A peer that does not
 *           read holds its own handler, nobody else.
 * Never:    knows routes, messages, users or the store.
 * Threads:  handlers and hooks run on the threads of the reactors, several at once with several
 *           reactors; new, listen and free belong to the owner.
 */
#ifndef VARVE_SERVE_PORT_PORT_H
#define VARVE_SERVE_PORT_PORT_H

#include "base/metrics.h"
#include "serve/port/exchange.h"
#include "serve/port/rpc.h"
#include "serve/reactor/conn.h"

struct port;

/* Either may be NULL: that kind of request is then refused (404; UNIMPLEMENTED). When a handler
 * returns its request ends: what was not answered is answered 500 or INTERNAL, a body that was not
 * ended is cut off (so that nobody takes it for whole). */
struct port_handlers {
    void (*http)(struct exchange *x, void *arg);
    void (*grpc)(struct rpc *r, void *arg);
    void *arg;
    /* Whether the call takes one message: then it begins when the client has ended, so that one with
     * more of them is not half done before they come (and who does not end costs no fiber). NULL: none
     * does, each begins with its first message. */
    bool (*grpc_takes_one)(const struct rpc *r, void *arg);
    /* May be NULL. A call with this first message starts soon, after what came with it and the bytes
     * of a few more connections were read: what it will read can be asked of memory meanwhile. Must not
     * wait, change or answer. */
    void (*grpc_ahead)(const struct rpc *r, struct bytes first, void *arg);
    /* Calls that have to wait for the same thing can do so as one, before they have a fiber and a
     * stack each. Whether this one, whose first message is there, is such a call; must not wait.
     * NULL: none is. */
    bool (*grpc_joins)(const struct rpc *r, struct bytes first, void *arg);
    /* That waiting, on a fiber of its own; begins after all have come that it is for. Their handlers
     * run when it is over, and find in the request how it ended. */
    enum status (*join)(void *arg, struct err *err);
};

/* How a request ended; for access log and slow-request log. Borrowed until the hook returns. */
struct port_done {
    struct request *request;      /* ids, peer, route, user, note: request.h */
    struct bytes method;          /* "GET"; gRPC: "POST" */
    struct bytes path;            /* as it came, without the query */
    unsigned http_status;         /* gRPC: 200; 0: the peer was gone before an answer */
    int grpc_code;                /* -1: was HTTP */
    uint64_t bytes_in, bytes_out; /* of bodies and messages */
    uint64_t us;                  /* from its dispatch to the handler's return */
};

/* A field that is 0 has the default said beside it. */
struct port_options {
    /* wire/http2: streams at once of one connection (256); bytes queued to send by one stream
     * (64 KiB); bytes received and not taken: of a stream (256 KiB), of a connection (1 MiB). */
    uint32_t streams, send_queue_bytes, stream_window, conn_window;
    uint32_t header_bytes; /* of a request's head, its first line too: 32 KiB. 431 */
    uint32_t header_count; /* 128. 431 */
    uint64_t body_bytes;   /* of an HTTP request's body: 64 MiB. 413 */
    size_t message_bytes;  /* of a gRPC message, inflated: 32 MiB. RESOURCE_EXHAUSTED */
    /* Bodies and messages being put together or waiting for their handler: of one connection
     * (64 MiB), of one reactor (256 MiB). 503, RESOURCE_EXHAUSTED. */
    size_t conn_body_bytes, reactor_body_bytes;
    /* Held by the requests at work of one connection (request_charge, bodies, big answers until they
     * are sent): 64 MiB. 503, RESOURCE_EXHAUSTED. At most reactor_options.request_conn_bytes: the
     * pause there would keep HTTP/2 from hearing of room to send. That of all is the reactor's
     * request_bytes. */
    size_t conn_request_bytes;
    /* HTTP requests' deadline for whatever waits; 0: 60 s; UINT64_MAX: none. A handler may move it
     * (request.deadline_ns). gRPC: what the client says; nothing said: none. */
    uint64_t http_timeout_ms;
    uint64_t max_deadline_ms; /* a client's gRPC deadline is cut to it; 0: not */
    uint32_t head_timeout_ms; /* from the first byte of a head to its last; 10 s */
    uint32_t body_timeout_ms; /* HTTP/1: between two bytes of a body that is awaited; 30 s */
    uint32_t keepalive_ms;    /* HTTP/2: PING after such a silence; 60 s.
                                   UINT32_MAX: never */
    /* HTTP/2: a PING so often while bodies come in. A sender on a slow link, whose own PING waits behind
     * what it sends, so knows that it is heard. 0: none. */
    uint32_t heard_ms;
    uint32_t idle_timeout_ms; /* without a request: closed politely; 4 min. UINT32_MAX: never */
    struct metrics *metrics;  /* requests are counted there; NULL: nowhere */
    /* Called on the reactor's thread when a request has ended; must not wait. NULL: not. */
    void (*done)(void *arg, const struct port_done *d);
    void *done_arg;
};

/* `reactors` has been started; handlers and options are copied. NO_MEMORY. */
enum status port_new(struct reactors *reactors, const struct port_options *options,
                     const struct port_handlers *handlers, struct port **ret,
                     struct err *err) WARN_UNUSED;
/* Listens there too; may be called several times. filter: TLS (tls_filter), or NULL. *ret_addr (may
 * be NULL): with the real port. Errors: those of reactors_listen. */
enum status port_listen(struct port *p, const struct net_addr *addr, enum reactors_spread spread,
                        const struct conn_filter_maker *filter, struct net_addr *ret_addr,
                        struct err *err) WARN_UNUSED;
/* After reactors_stop, which drains: no new requests (GOAWAY, Connection: close), those at work see
 * request_stop say CLOSED and may end their way. Takes NULL. */
void port_free(struct port *p);

struct port_stats {
    uint64_t http1_conns, http2_conns;              /* now */
    uint64_t requests_active;                       /* now */
    uint64_t http_requests, grpc_requests, refused; /* since the start */
};
void port_stats_of(const struct port *p, struct port_stats *ret); /* any thread */

#endif
