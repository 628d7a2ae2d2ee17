/* peer.h - how bundles of bytes go from this node to the others of its cluster, and come in.
 *
 * To each other node one link: a connection of ours with one gRPC call on it (proto/varve/peer/v1),
 * dialled again and again while it is down. What others send comes in on their links to us, through
 * the service on the peers' port. Before the first bundle both sides judge the other's hello.
 *
 * Owns:     the links and their outboxes, the peers' port.
 * Promises: bounded: an outbox by bytes and by bundles, what comes in by the port's windows; a node
 *           that does not read, or is away, holds up nobody else. Bundles of one link arrive in
 *           order or not at all. Never waits in peers_send.
 * Never:    knows what is in a bundle; keeps one for a node that cannot be reached; makes threads;
 *           reads another clock than its reactor's; draws randomness but from the env.
 * Threads:  links and service live on the group's first reactor. peers_send, peers_stats and
 *           peers_metrics are for any thread, until peers_free; the rest is its owner's.
 */
#ifndef VARVE_SERVE_PEER_PEER_H
#define VARVE_SERVE_PEER_PEER_H

#include "serve/port/port.h"

struct peers;

enum {
    PEER_PROTOCOL = 1,
    PEER_NODES_MAX = 16,
    PEER_CLUSTER_MAX = 64,              /* bytes of a cluster's name */
    PEER_BUNDLE_MAX = 40 * 1024 * 1024, /* bytes of one bundle; what is larger never gets through */
    PEER_BATCH_MAX = 64,                /* bundles given to `receive` at once */
    PEER_REASON_MAX = 200,
};

struct peer_node {
    uint64_t id; /* not 0 */
    struct net_addr addr;
};

struct peer_options {
    const char *cluster; /* name; "" is one too */
    const char *version; /* of the software, told to the others; NULL: "" */
    /* Where this node serves clients, told to the others; NULL: "". Not copied: it is read when a
     * hello is sent, which is after peers_start. */
    const char *client_address;
    uint64_t node;                 /* this one: among `nodes` */
    const struct peer_node *nodes; /* all of the cluster, in the order that all have; copied */
    size_t n_nodes;
    const struct conn_filter_maker *filter; /* of our links: tls_filter of a client; NULL: plain */
    /* Bytes and bundles that wait for one node; 0: 32 MiB. A bundle over 4 KiB is refused from 7/8 of
     * it on, so that what is small (votes, beats, acknowledgements) still finds room; one bundle
     * always finds room in an empty outbox. */
    size_t outbox_bytes;
    /* Between two attempts, growing from the first to the second, the half of it drawn by lot; 0:
     * 50 ms, 1 s. A refused hello waits the second at once. */
    uint32_t backoff_min_ms, backoff_max_ms;
    /* After keepalive_ms of silence a PING, and keepalive_timeout_ms for its answer; 0: 1 s, 2 s. */
    uint32_t keepalive_ms, keepalive_timeout_ms;
    /* Bundles that came from a node, n of 1 to PEER_BATCH_MAX in their order; on a fiber of the
     * reactor, one call at a time for each link. *ret_taken: how many of them were taken; an error
     * says why the others were not, which count as lost. */
    enum status (*receive)(void *arg, uint64_t from, const struct bytes *bundles, size_t n,
                           size_t *ret_taken, struct err *err);
    /* A link came up, or went down. On the reactor's thread, must not wait. May be NULL. */
    void (*changed)(void *arg, uint64_t node, bool up);
    /* The cluster whose data this node has, told to the others; 0: not known yet. And what another one
     * says of itself: an error refuses it. On the reactor's thread. May be NULL, both. */
    uint64_t (*cluster_id)(void *arg);
    enum status (*meet)(void *arg, uint64_t id, struct err *err);
    void *arg;
};

/* `reactors` has been started; links and service live on its first. Errors: INVALID_ARGUMENT (ids,
 * a name too long), NO_MEMORY. */
enum status peers_new(struct env *env, struct reactors *reactors,
                      const struct peer_options *options, struct peers **ret,
                      struct err *err) WARN_UNUSED;
/* Serves the others there. filter: tls_filter of a server that requires certificates, or NULL. */
enum status peers_listen(struct peers *p, const struct net_addr *addr,
                         const struct conn_filter_maker *filter, struct net_addr *ret_addr,
                         struct err *err) WARN_UNUSED;
/* Begins to dial. OVERLOADED: the reactor's messages are full. */
enum status peers_start(struct peers *p, struct err *err) WARN_UNUSED;
/* From here on nothing is sent or handed to `receive` that has not begun to be; the connections end
 * with reactors_stop, which is called next. */
void peers_stop(struct peers *p);
void peers_free(struct peers *p); /* after reactors_stop; takes NULL */

/* Copies `bundle` for the node, or drops it: false (unknown, unreachable, no room, no memory, over
 * PEER_BUNDLE_MAX). On a fiber of the reactor it leaves at once, else with the reactor's next round;
 * what waits by then leaves together. The form of store_transport.send. */
bool peers_send(void *peers, uint64_t to, struct bytes bundle);

enum peer_state {
    PEER_DOWN,       /* waits for its next attempt */
    PEER_CONNECTING, /* dialled, no hello yet */
    PEER_UP,
};
const char *peer_state_name(enum peer_state state); /* "down", "connecting", "up" */

struct peer_stats {
    uint64_t node;
    struct net_addr addr;
    enum peer_state state;
    char version[32], client_address[NET_ADDR_TEXT]; /* of its last hello; "" before */
    char reason[PEER_REASON_MAX]; /* why the last attempt or connection ended; "" when none has */
    uint64_t outbox_bytes, outbox_bundles;     /* now */
    uint64_t sent_bundles, sent_bytes;         /* handed to the connection; since the start */
    uint64_t received_bundles, received_bytes; /* from it */
    uint64_t dropped_out, dropped_in;          /* bundles: not sent; refused by `receive` */
    uint64_t connects, refusals;               /* hellos agreed on; refused, by either side */
};
size_t peers_count(const struct peers *p); /* without this node */
void peers_stats(struct peers *p, size_t i, struct peer_stats *ret);
/* Appends the same in Prometheus' text format. */
enum status peers_metrics(struct peers *p, struct buf *out) WARN_UNUSED;

#endif
