/* door_line.h - one connection of a client to a node's door, for fibers that wait: HTTP/2 (with gRPC
 * calls or plain requests on it), HTTP/1.1, or bytes as they are.
 *
 * Owns:     the connection and its protocol's state; an ask belongs to its fiber's stack. Promises: an
 *           ask ends when the connection does. Never: tries again. Threads: one; the fibers of the
 *           clients' machine.
 */
#ifndef VARVE_SIM_CLUSTER_DOOR_LINE_H
#define VARVE_SIM_CLUSTER_DOOR_LINE_H

#include "base/buf.h"
#include "serve/reactor/conn.h"
#include "wire/grpc/grpc.h"
#include "wire/http1/http1.h"

struct line;
struct ask;

enum line_kind { LINE_HTTP2, LINE_HTTP1, LINE_RAW };

struct line_options {
    enum line_kind kind;
    struct net_addr to;
    struct h2_options h2;
    struct h1_options h1;
};
/* Begins to connect, from the reactor of the fiber that calls. */
struct line *line_open(const struct line_options *o);
/* Asks on it must have ended. polite: what is queued goes out before. Takes NULL. */
void line_close(struct line *l, bool polite);
bool line_usable(const struct line *l); /* connected, or on its way there; takes requests */
bool line_gone(const struct line *l);
/* Waits until it is there. false: it will not be, or not in time. */
bool line_wait(struct line *l, uint64_t timeout_ns);

/* LINE_RAW: sends bytes; what came is in line_heard, and line_wait_more waits for more of it. */
void line_send(struct line *l, struct bytes data);
struct bytes line_heard(const struct line *l);
bool line_wait_more(struct line *l, uint64_t timeout_ns); /* false: nothing came, or it is gone */
/* LINE_HTTP2: a frame of no stream. */
void line_ping(struct line *l);

/* A request on its way. Does not move; zeroed before, and ask_end after. */
struct ask {
    struct line *line;
    bool grpc, began; /* began: some of it may have left */
    bool done;        /* ended by either side, or with its connection */
    bool broken;      /* its connection went, or it was reset */
    bool refused;     /* surely not looked at */
    struct env_event wake;
    struct grpc_call call;
    /* not gRPC: what came */
    struct h2_stream *stream;
    unsigned status;
    char etag[40];
    struct buf body;
    uint64_t holds; /* bytes of it that are not given back to the node's window: a slow reader */
    bool slow;
};

struct ask_grpc {
    struct bytes path; /* "/varve.v1.KV/Get" */
    bool gzip;
    uint64_t timeout_ns; /* told to the node; 0: none */
};
enum status ask_grpc(struct ask *q, struct line *l, const struct ask_grpc *o, struct bytes message,
                     struct err *err);
/* Waits for the next message until the fiber's clock says `until_ns`; GRPC_WAIT: none by then. */
enum grpc_next ask_next(struct ask *q, uint64_t until_ns, struct bytes *ret, struct err *err);

struct ask_http {
    const char *method, *target;
    const struct wire_header *headers; /* names in lower case */
    size_t n_headers;
    struct bytes body;
    bool chunked; /* HTTP/1: its length is not told */
};
enum status ask_http(struct ask *q, struct line *l, const struct ask_http *o, struct err *err);
/* Waits for its end until then; false: it has not ended. */
bool ask_wait(struct ask *q, uint64_t until_ns);
void ask_take(struct ask *q); /* a slow reader takes what it held up */
void ask_end(struct ask *q);  /* what has not ended is cancelled */

#endif
