/* sim_net_internal.h - hosts, links, sockets and what is under way.
 *
 * A socket lives in the network's table at its number; whoever is under way to it knows number and
 * id, and finds nobody when the number has another owner by then. A stream's direction is a queue of
 * pieces at the sender's socket, of which the first has an event running (`flow`): so pieces keep
 * their order, and one that is held up holds up all behind it. The sender counts what the receiver
 * has not read (`unread`), which bounds both.
 *
 * A socket whose owner closed it stays until its last piece has arrived, or been given up.
 */
#ifndef VARVE_SIM_NET_INTERNAL_H
#define VARVE_SIM_NET_INTERNAL_H

#include "base/assert.h"
#include "base/env/net/loop_internal.h"
#include "sim/core/dice.h"
#include "sim/core/memory.h"
#include "sim/net/sim_net.h"

enum { HOSTS_MAX = 250, BACKLOG_MAX = 128, RTO_FIRST_MS = 200, RTO_MAX_MS = 2000 };
#define MS UINT64_C(1000000)

struct sim_host {
    struct sim_net *net;
    unsigned id;
    bool on;
    void (*on_ready)(void *arg);
    void *arg;
    struct list ready; /* sockets its loop is to look at, in the order of what happened */
    uint16_t next_port;
};

struct piece {
    struct list node;
    enum piece_kind { PIECE_SYN, PIECE_SYN_ACK, PIECE_DATA, PIECE_FIN } kind;
    uint64_t at_ns; /* when it arrives, if it does */
    size_t at, len; /* data: [at, len) is not read yet */
    uint8_t data[];
};

enum sock_state { SOCK_LISTEN, SOCK_CONNECTING, SOCK_OPEN };

struct sock {
    struct sim_net *net;
    struct sim_host *host;
    int fd;
    uint64_t id;
    enum sock_state state;
    struct net_addr local, peer;
    bool owned;          /* by a loop's connection or listener, or a caller's number */
    void *user;          /* struct loop_conn or loop_listener */
    struct list ready;   /* in host->ready */
    struct list backlog; /* listener: accepted by the machine; else: its place there */
    size_t n_backlog;
    struct sock *waits_at; /* the listener in whose backlog it stands */

    int peer_fd;
    uint64_t peer_id; /* 0: not known yet */
    struct list out;
    struct sim_event flow;
    uint64_t last_ns, stalled_ns; /* the last piece's arrival; since when the first is held up */
    unsigned tries;
    size_t unread;

    struct list in;
    size_t in_bytes;
    bool connected, eof, fin_out, reset_wanted;
    int error; /* the stream is broken */
};

struct sim_net {
    struct sim_net_options o;
    struct dice dice;
    struct sim_host *hosts[HOSTS_MAX + 1];
    struct sim_link common, *links[HOSTS_MAX + 1]; /* by from; NULL: all common */
    struct list flying;                            /* struct message, struct reset */
    struct sock **socks;                           /* by number */
    size_t n_socks, cap_socks;
    uint64_t next_id;
    struct sim_net_stats stats;
};

static inline uint64_t net__now(struct sim_net *n)
{
    return n->o.now_ns(n->o.arg);
}
/* When what leaves now arrives, cuts apart. */
uint64_t net__arrival(struct sim_net *n, const struct sim_link *l);

/* sim_stream.c */
struct sock *sock__new(struct sim_host *h, enum sock_state state);
struct sock *sock__at(struct sim_net *n, int fd);
struct sock *sock__find(struct sim_net *n, int fd, uint64_t id); /* NULL: gone */
struct sock *sock__listener(struct sim_host *h, uint16_t port);
void sock__connect(struct sock *k);
size_t sock__room(const struct sock *k); /* how many bytes it takes now */
void sock__write(struct sock *k, const struct iovec *iov, int n, size_t len);
void sock__finish(struct sock *k);
size_t sock__read(struct sock *k, uint8_t *to, size_t cap);
void sock__disown(struct sock *k); /* its owner closed it */
void sock__vanish(struct sock *k); /* without a word */
void sock__mark_ready(struct sock *k);
void sock__leave_backlog(struct sock *k); /* when it stands in one */

#endif
