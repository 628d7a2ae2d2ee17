/* peer_internal.h - what the files of peer share.
 *
 * A link is down (no conn, its retry timer runs), connecting (a conn, `agreed` false), or up. A new
 * conn is made only when the last one's on_closed has come, so there is never a second.
 *
 * Threads:  a link's `mutex` guards what stands below it, for any thread; all else is the reactor's.
 */
#ifndef VARVE_SERVE_PEER_INTERNAL_H
#define VARVE_SERVE_PEER_INTERNAL_H

#include "base/blob.h"
#include "serve/peer/peer.h"

enum {
    OUTBOX_SLOTS = 4096,      /* bundles that wait for one node; a power of two */
    SMALL_BUNDLE = 4096,      /* up to here a bundle may use the last eighth of an outbox */
    LINK_QUEUE = 1024 * 1024, /* given to HTTP/2 ahead of the socket */
    LINK_OUTPUT = 256 * 1024,
    LINK_STALL_MS = 20, /* until output is tried again when the reactor's bound was reached */
    HELLO_MAX = 4096,
    NS_PER_MS = 1000000,
};

struct outbox {
    struct blob **ring; /* OUTBOX_SLOTS */
    size_t at, n, bytes, max_bytes;
};

struct peer_link {
    struct peers *p;
    struct peer_node node;
    char addr[NET_ADDR_TEXT];

    struct conn *c; /* no reference: until its on_closed */
    struct h2_conn *h2;
    struct grpc_call call;
    bool calling, agreed, refused, over;
    unsigned failures; /* in a row, without a hello agreed on */
    uint64_t tick_ms;
    struct loop_timer retry;

    struct env_mutex mutex;
    struct outbox out;
    bool open;   /* bundles are taken */
    bool kicked; /* the reactor knows that the outbox is not empty */
    struct peer_stats stats;
};

struct peers {
    struct env *env;
    struct reactors *reactors;
    struct reactor *reactor;
    struct port *port;
    struct peer_options o;                  /* nodes, cluster and version point into what follows */
    struct peer_node nodes[PEER_NODES_MAX]; /* as given: the hello tells their order */
    char cluster[PEER_CLUSTER_MAX + 1];
    char version[32];
    _Atomic bool stopped;
    size_t n_links;
    struct peer_link links[];
};

struct hello_heard {
    uint64_t from;
    char version[32], client_address[NET_ADDR_TEXT];
};

/* --- peers.c --- */
struct peer_link *peers__link(struct peers *p, uint64_t node); /* NULL: no other node of ours */
void peers__reason(struct peer_link *l, const char *text);
void peers__heard(struct peer_link *l, const struct hello_heard *h);

/* --- outbox.c: a ring of encoded messages; the caller locks --- */
enum status outbox__init(struct outbox *o, size_t max_bytes);
void outbox__deinit(struct outbox *o); /* takes a zeroed one */
/* Takes over the reference; false: no room, the reference stays the caller's. */
bool outbox__push(struct outbox *o, struct blob *b);
struct blob *outbox__pop(struct outbox *o); /* its reference; NULL: empty */
size_t outbox__clear(struct outbox *o);     /* how many there were */

/* --- message.c --- */
struct blob *message__bundle(struct bytes bundle); /* a LinkRequest; NULL: no memory */
size_t message__bundle_len(const struct blob *b);  /* of the bundle in what that made */
enum status message__read_bundle(struct bytes message, struct bytes *ret,
                                 struct err *err) WARN_UNUSED;
/* Appends a LinkRequest or a LinkResponse with our hello to that node. */
enum status message__hello(const struct peers *p, uint64_t to, bool answer,
                           struct buf *out) WARN_UNUSED;
/* Reads and judges the other side's. `from`: who it has to be; 0: any other node of ours. Errors:
 * INVALID_ARGUMENT (malformed), PRECONDITION_FAILED (the detail begins with the reason's name, see
 * the contract), NO_MEMORY. */
enum status message__judge(const struct peers *p, struct bytes message, bool answer, uint64_t from,
                           struct hello_heard *ret, struct err *err) WARN_UNUSED;

/* --- link.c --- */
void link__init(struct peer_link *l);
void link__dial(struct peer_link *l);
/* The other side has just called us: no reason to wait on. */
void link__nudge(struct peer_link *l);
/* What waits goes out; on a fiber or in on_output. */
void link__output(struct peer_link *l);

/* --- service.c --- */
void service__call(struct rpc *r, void *peers);

#endif
