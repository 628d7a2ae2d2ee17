/* request.h - what every request has, whatever its protocol: memory, deadline, an end that may come
 * early, who asks, what is logged of it.
 *
 * Owns:     its arena and what was charged for it; both go when the handler returns.
 * Promises: every call here that waits parks the fiber and ends with the peer (CANCELLED) or with
 *           the deadline (TIMED_OUT).
 * Never:    stops a handler by force.
 * Threads:  the request's fiber, that is its reactor's thread. While the fiber waits for a job of
 *           the pool (serve/work) that job may use the arena and read what is readable.
 */
#ifndef VARVE_SERVE_PORT_REQUEST_H
#define VARVE_SERVE_PORT_REQUEST_H

#include "base/arena.h"
#include "base/env/net/net.h"
#include "base/status.h"
#include <stdatomic.h>

enum request_door { REQUEST_HTTP1, REQUEST_HTTP2, REQUEST_GRPC };

enum { REQUEST_ID_MAX = 64, REQUEST_TRACEPARENT = 55 };

struct request {
    /* Readable. */
    struct arena *arena; /* for whatever lives as long as the request */
    enum request_door door;
    bool secure;       /* came over TLS */
    uint64_t start_ns; /* loop_clock_ns when it was dispatched */
    /* It has waited as one of several (port_handlers.join), and why that failed; NULL: it did not. */
    bool joined;
    const struct err *join_failed;

    /* The handler's to change. */
    uint64_t deadline_ns; /* of fiber_now_ns; UINT64_MAX: none. Streams without end set it so. */
    /* For logs: static text or of the arena; NULL: not known. */
    const char *route; /* "GET /v1/{collection}/{key}", "varve.v1.KV/Get" */
    const char *user;  /* whom the gate let in */
    const char *note;  /* what went wrong, where the code alone does not say */
    /* How long to wait before it is worth sending again; 0: as for others that end so. */
    uint64_t retry_ms;
};

/* OK: go on. CANCELLED: nobody waits for the answer any more. TIMED_OUT: the deadline has passed.
 * CLOSED: the server stops, so what has no end of its own (a watch) ends now; the rest may finish. */
enum status request_stop(const struct request *q);
/* Set once request_stop is CANCELLED or CLOSED (a deadline does not set it), or the peer of HTTP/1 has
 * closed its side: it may be gone, or wait for its answer, so what has no end of its own ends. For loops
 * and jobs that look now and then, also from another thread; lives as long as the request. */
const _Atomic bool *request_stop_flag(const struct request *q);
/* fn(arg) is called once, outside the fiber on the reactor's thread, when the flag is set (e.g. to
 * wake what the fiber waits in); at once if it is set already. Must not wait. One hook at a time;
 * NULL takes it away. */
void request_on_stop(struct request *q, void (*fn)(void *arg), void *arg);
/* Until the deadline, from now; 0: passed; UINT64_MAX: none. */
uint64_t request_left_ns(const struct request *q);
/* Parks the fiber for so long, at most until stop or deadline; answers as request_stop, and CANCELLED where
 * the peer has closed its side. */
enum status request_sleep(struct request *q, uint64_t ns) WARN_UNUSED;

/* The handler holds so much memory until it returns (results, pages): against the reactor's bounds
 * (conn_charge). OVERLOADED: nothing is charged. Small answers (under 64 KiB) need none, and what is
 * handed to respond, write or send is charged there. */
enum status request_charge(struct request *q, size_t bytes, struct err *err) WARN_UNUSED;
void request_uncharge(struct request *q, size_t bytes); /* earlier than by itself */

/* The client's x-request-id if it is sane (at most 64 of A-Z a-z 0-9 . _ -), else one of ours (16 hex
 * digits). Made when first asked for; lives as long as the request. */
const char *request_id(struct request *q);
/* The client's traceparent (W3C Trace Context, checked for its form); "" when there is not one. */
const char *request_traceparent(struct request *q);
void request_peer(const struct request *q, struct net_addr *ret);
const char *request_peer_text(struct request *q); /* "127.0.0.1:53412" */
/* Who the peer proved to be by its TLS certificate (RFC 2253 subject); "" when nobody. */
const char *request_tls_name(const struct request *q);
uint64_t request_conn_id(const struct request *q); /* of the connection: unique in the process */
/* The value of the first header (gRPC: metadata) of that name, in any case; false: there is none.
 * Several of a name: exchange.h, rpc.h. */
bool request_header(const struct request *q, struct bytes name, struct bytes *ret);
/* Whether there are several of that name: for those that may be there once. */
bool request_header_repeats(const struct request *q, struct bytes name);

#endif
