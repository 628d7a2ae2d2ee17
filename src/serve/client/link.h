/* link.h - a client's connection to a server, without waiting: HTTP/2 over a loop's connection, with
 * TLS between if asked for, and the calls on it.
 *
 * It stands on a loop that its owner polls (base/env/net/loop.h), so that one thread can drive a
 * single call (client.h) or many connections full of calls (a load generator).
 *
 *     link_open -> on_ready; link_start ... grpc_send(&call->grpc, ...); link_flush
 *     loop_poll -> call->on_event: grpc_next, grpc_result; link_end
 *
 * Owns:     the socket, the TLS session, the HTTP/2 connection; a call belongs to who started it.
 * Promises: on_closed comes exactly once and last, unless link_free was called before. Memory is
 *           bounded by the options of HTTP/2, the messages of its calls and SEND_HIGH.
 * Never:    blocks, resolves names, tries again.
 * Threads:  the loop's.
 */
#ifndef VARVE_SERVE_CLIENT_LINK_H
#define VARVE_SERVE_CLIENT_LINK_H

#include "base/env/net/loop.h"
#include "serve/tls/tls.h"
#include "wire/grpc/grpc.h"

struct link;

struct link_ops {
    void (*on_ready)(void *ctx); /* calls may be started. May be NULL */
    /* why: IO_ERROR (refused, reset, ended by the server), UNIMPLEMENTED (what came is no
     * HTTP/2), UNAUTHENTICATED (TLS: the server could not show who it is, or wants to see who we
     * are), OVERLOADED, NO_MEMORY. All calls have ended before. `link` is the owner's until
     * link_free. */
    void (*on_closed)(void *ctx, const struct err *why);
};

struct link_options {
    struct net_addr to;
    struct bytes authority;      /* host:port, as the user wrote it; lives as long as the link */
    struct tls_context *tls;     /* NULL: in the clear */
    const struct h2_options *h2; /* may be NULL */
};

/* Begins to connect. Errors: those of loop_connect; NO_MEMORY. `ops` and `tls` outlive the link. */
enum status link_open(struct loop *l, struct env *env, const struct link_options *o,
                      const struct link_ops *ops, void *ctx, struct link **ret,
                      struct err *err) WARN_UNUSED;
/* Ends what is open (its calls see CANCELLED) and lets go; on_closed does not come any more. The
 * socket is gone after a coming round of the loop. Takes NULL. */
void link_free(struct link *k);

bool link_ready(const struct link *k); /* connected, and no goodbye was said */
bool link_heard(const struct link *k); /* the server has said something */
bool link_closed(const struct link *k);
size_t link_calls(const struct link *k); /* under way */
bool link_secure(const struct link *k);

/* Lives with its owner, zeroed; does not move while it is under way. */
struct link_call {
    struct grpc_call grpc;
    /* Something came, the queue has room again, or the stream has closed. May start and end calls,
     * but not free the link. */
    void (*on_event)(struct link_call *call);
    struct link *link;
};

/* What every call carries. */
struct link_start {
    struct bytes path;          /* "/varve.v1.KV/Get" */
    uint64_t timeout_ns;        /* 0: none */
    struct bytes authorization; /* empty: none */
    struct grpc_limits limits;
};
/* Opens the call's stream; then grpc_send, and link_flush. Errors: those of grpc_start, CLOSED where
 * the link is not ready. */
enum status link_start(struct link *k, struct link_call *call, const struct link_start *start,
                       struct err *err) WARN_UNUSED;
/* The owner is done with it, or gives it up (then it is cancelled). Takes a zeroed call. */
void link_end(struct link_call *call);
/* Hands what calls have queued to the loop. Each loop_poll does it too, after what came. */
void link_flush(struct link *k);

#endif
