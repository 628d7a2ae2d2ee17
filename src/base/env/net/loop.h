/* loop.h - an event loop: connections, listeners, timers and messages of one thread.
 *
 * Completion style: the loop hands over bytes that have arrived and takes bytes to send. Behind it
 * stand epoll (loop_epoll.c) or io_uring (loop_uring.c), chosen at run time, or what the maker
 * brings (LOOP_GIVEN: the simulated network). One round of its owner is: loop_poll (wait, hand over
 * all that is ready), its own work, loop_flush (each connection's output in one system call).
 *
 * Owns:     connections, listeners, receive buffers, output queues.
 * Promises: bounded, each bound named in loop_options. An idle connection holds no receive or send
 *           buffer. EINTR, partial writes and spurious readiness never reach the caller. Callbacks
 *           run within loop_poll only, never within another call of this header (release functions
 *           excepted). on_close comes exactly once, last.
 * Never:    blocks outside loop_poll; raises SIGPIPE; handles signals.
 * Threads:  everything belongs to the thread that runs loop_poll, before its first round to whoever
 *           made the loop; loop_post and loop_wake are for any thread.
 */
#ifndef VARVE_BASE_ENV_NET_LOOP_H
#define VARVE_BASE_ENV_NET_LOOP_H

#include "base/env/env.h"
#include "base/env/net/net.h"
#include "base/list.h"

struct loop;
struct loop_conn;
struct loop_listener;

enum loop_kind {
    LOOP_EPOLL,
    LOOP_URING, /* Linux 6.1 and a kernel that allows it, else loop_new says why not */
    LOOP_AUTO,  /* io_uring where it can be had, else epoll, which is logged */
    LOOP_GIVEN, /* loop_options.backend */
};
const char *loop_kind_name(enum loop_kind kind); /* "epoll", "io_uring", "auto", "given" */

struct loop_backend; /* loop_internal.h */

struct loop_options {
    enum loop_kind kind;
    /* With LOOP_GIVEN: the network below, and what it is told (struct loop's options). Both outlive
     * the loop. */
    const struct loop_backend *backend;
    void *backend_arg;
    size_t max_conns; /* alive at once; 0: 16,384. Beyond: OVERLOADED */
    /* One receive buffer, and how many (a power of two; epoll needs one and ignores this).
     * 0: 64 KiB on epoll, 512 of 4 KiB on io_uring. */
    size_t recv_buf_bytes, recv_bufs;
    /* What connections that paused amid a delivery may keep of it, all together; 0: 64 MiB. The
     * connection that goes beyond is closed with OVERLOADED. */
    size_t kept_max_bytes;
    /* Queued output of all connections; 0: 256 MiB. Beyond: OVERLOADED. */
    size_t send_total_bytes;
    size_t post_slots; /* messages waiting, a power of two; 0: 1,024. Beyond: OVERLOADED */
    /* Looks for input for so long before it sleeps, in ns; seldom when it looked in vain of late. 0:
     * never. To wake another processor takes some 25 us in a virtual machine, more than a get. Nothing
     * with LOOP_GIVEN. */
    uint64_t look_ns;
};

/* INVALID_ARGUMENT, NO_MEMORY, TOO_MANY_FILES; for LOOP_URING also UNIMPLEMENTED (the kernel is too
 * old, or this build has no liburing) and PERMISSION_DENIED (the kernel or a sandbox forbids it).
 * `env` gives the clock and outlives the loop. */
enum status loop_new(struct env *env, const struct loop_options *options, struct loop **ret,
                     struct err *err) WARN_UNUSED;
/* No connection or listener may be alive; messages not yet taken are dropped. Takes NULL. */
void loop_free(struct loop *l);
enum loop_kind loop_kind_of(const struct loop *l); /* EPOLL, URING or GIVEN, never AUTO */

/* Waits for something to do, at most until `deadline_ns` of loop_clock_ns (0: does not wait;
 * UINT64_MAX: no limit), and does it: messages, timers, arrived bytes, new connections. Returns how
 * many callbacks ran. Output queued before is flushed first. */
size_t loop_poll(struct loop *l, uint64_t deadline_ns);
/* Hands all queued output to the kernel (on io_uring: with the next loop_poll, in the same call). */
void loop_flush(struct loop *l);
/* When, by loop_clock_ns, a loop_poll has something to do even if nothing comes in: 0: now;
 * UINT64_MAX: never. For whoever drives a loop by hand. */
uint64_t loop_due_ns(const struct loop *l);
uint64_t loop_now_ns(const struct loop *l);     /* since the loop last waited; costs nothing */
uint64_t loop_clock_ns(const struct loop *l);   /* now, from the env */
size_t loop_conns(const struct loop *l);        /* connections alive */
size_t loop_queued_bytes(const struct loop *l); /* output of all connections not yet sent */
size_t loop_kept_bytes(const struct loop *l);   /* input that paused connections keep */

size_t loop_listeners(const struct loop *l); /* alive, those that are closing too */

/* --- messages from other threads --- */

/* Runs fn(arg) on the loop's thread in a coming round, in order for one sender. Never blocks.
 * OVERLOADED: post_slots messages wait already. */
enum status loop_post(struct loop *l, void (*fn)(void *arg), void *arg) WARN_UNUSED;
/* Makes the loop_poll under way, or else the next one, return without waiting. Cheap when the loop
 * is awake. */
void loop_wake(struct loop *l);

/* --- timers: a millisecond's resolution, never early; starting one cannot fail --- */

struct loop_timer {
    struct list node;
    uint64_t at_ms;
    void (*fn)(void *arg);
    void *arg;
    bool active;
};
void loop_timer_init(struct loop_timer *t, void (*fn)(void *arg), void *arg);
/* Calls t->fn once, in the first loop_poll after at_ns of loop_clock_ns; started again it moves. */
void loop_timer_start(struct loop *l, struct loop_timer *t, uint64_t at_ns);
void loop_timer_stop(struct loop *l, struct loop_timer *t); /* also when it is not running */

/* --- connections --- */

struct loop_conn_ops {
    /* A connection that loop_connect began is there. May be NULL for accepted ones. */
    void (*on_connect)(void *ctx);
    /* Bytes came; they are borrowed until the return. Returns how many it took. When it left some,
     * reading stops, the rest is kept and comes again, with what came after it, once
     * loop_conn_read(c, true) was called. */
    size_t (*on_recv)(void *ctx, struct bytes data);
    /* The peer sends no more (it may still read). Comes after all bytes were taken. */
    void (*on_eof)(void *ctx);
    /* The output queue is at or below its low-water mark after it was above. May be NULL. */
    void (*on_drained)(void *ctx);
    /* The connection is gone; `c` is invalid when this returns. why: OK (the owner closed it, or
     * both directions ended), IO_ERROR (errno_value: ECONNRESET, ECONNREFUSED, ETIMEDOUT, ...),
     * NO_MEMORY, OVERLOADED (kept_max_bytes). */
    void (*on_close)(void *ctx, enum status why, int errno_value);
};

struct loop_conn_limits {
    size_t send_max_bytes;  /* queued at once; 0: 32 MiB. Beyond: OVERLOADED */
    size_t send_high_bytes; /* above this loop_conn_writable says no; 0: 256 KiB */
    size_t send_low_bytes;  /* at or below this on_drained; 0: a quarter of high */
};

/* Makes a connection of a socket from on_accept, which it then owns; reading begins at once. Pass
 * the socket to another loop's thread to balance. OVERLOADED (max_conns), NO_MEMORY, IO_ERROR: the
 * socket stays the caller's (loop_socket_close). ops, ctx and limits live as long as the connection;
 * limits may be NULL. */
enum status loop_adopt(struct loop *l, int sock, const struct loop_conn_ops *ops, void *ctx,
                       const struct loop_conn_limits *limits, struct loop_conn **ret,
                       struct err *err) WARN_UNUSED;
/* Begins a connection; on_connect or on_close follows. What is sent before is kept for it. */
enum status loop_connect(struct loop *l, const struct net_addr *to, const struct loop_conn_ops *ops,
                         void *ctx, const struct loop_conn_limits *limits, struct loop_conn **ret,
                         struct err *err) WARN_UNUSED;
void loop_socket_close(struct loop *l, int sock); /* of a socket that no connection owns */

/* Queues a copy, all or nothing. OVERLOADED: send_max_bytes or send_total_bytes; NO_MEMORY; CLOSED:
 * after loop_conn_finish or loop_conn_close. */
enum status loop_conn_send(struct loop_conn *c, struct bytes data) WARN_UNUSED;
/* Queues the bytes themselves; release(arg) is called on this thread once they are sent or dropped,
 * also when this call fails. */
enum status loop_conn_send_ref(struct loop_conn *c, struct bytes data, void (*release)(void *arg),
                               void *arg) WARN_UNUSED;
/* Room for at least `min` bytes at the end of the queue, to be written in place; *ret_room says how
 * many there are. Nothing else is queued before loop_conn_commit(c, used). Errors as
 * loop_conn_send. */
enum status loop_conn_reserve(struct loop_conn *c, size_t min, uint8_t **ret,
                              size_t *ret_room) WARN_UNUSED;
void loop_conn_commit(struct loop_conn *c, size_t used);
size_t loop_conn_queued(const struct loop_conn *c);    /* bytes not yet taken by the kernel */
bool loop_conn_writable(const struct loop_conn *c);    /* queued <= send_high_bytes, and open */
uint64_t loop_conn_sent(const struct loop_conn *c);    /* bytes the kernel took so far */
void loop_conn_read(struct loop_conn *c, bool wanted); /* pauses and resumes receiving */
/* After what is queued the peer sees the end (half close). When both directions have ended the
 * connection closes itself. */
void loop_conn_finish(struct loop_conn *c);
/* Drops the connection and what is queued; on_close(OK) follows in a coming round. May be called in
 * any callback, and again. */
void loop_conn_close(struct loop_conn *c);
/* As close, and the peer sees a reset instead of an end (it may have bytes missing). */
void loop_conn_reset(struct loop_conn *c);
void loop_conn_peer(const struct loop_conn *c, struct net_addr *ret);
void loop_conn_local(const struct loop_conn *c, struct net_addr *ret); /* NET_NONE when unknown */

/* --- listeners --- */

struct loop_listen_options {
    struct net_addr addr;
    int backlog;    /* 0: 4,096, cut by the system to its own limit */
    bool reuseport; /* several loops listen on the same address, the kernel spreads connections */
    bool v6only;    /* "[::]" without IPv4 */
    /* A new connection: a socket the callee owns, to be given to loop_adopt of this or another
     * loop, or to loop_socket_close. */
    void (*on_accept)(void *arg, int sock, const struct net_addr *peer);
    void *arg;
};
/* IO_ERROR (the address is taken, not of this machine, ...), PERMISSION_DENIED (a port below 1024),
 * TOO_MANY_FILES, NO_MEMORY; the detail names the address. When descriptors or memory run out while
 * accepting, it is logged and accepting pauses for LOOP_ACCEPT_PAUSE_MS. */
enum { LOOP_ACCEPT_PAUSE_MS = 100 };
enum status loop_listen(struct loop *l, const struct loop_listen_options *options,
                        struct loop_listener **ret, struct err *err) WARN_UNUSED;
void loop_listener_addr(const struct loop_listener *li, struct net_addr *ret); /* the real port */
/* Stops accepting and closes the socket: connections in its queue are refused. Takes NULL. `li` is
 * invalid from here on. */
void loop_listener_close(struct loop_listener *li);

#endif
