/* reactor.h - a thread with its event loop, its fibers and its connections; and a group of them.
 *
 * One round: wait for input; hand each connection's to its protocol, start the fibers that it spawns
 * and turn what they answer into bytes; then run every fiber that waited and can go on; send each
 * connection's output with one call. So a fiber that leads a group commit and yields once
 * (fiber_yield) has every request of the round in its group, and the answers of a round leave
 * together.
 *
 * Owns:     its loop, scheduler and connections (conn.h).
 * Promises: bounded, each bound named in reactor_options. Idle it does not wake up.
 * Never:    knows a protocol, or what a request means.
 * Threads:  a reactor's calls belong to its own thread, except reactor_post, reactor_stop and
 *           reactor_stats_of. The group's calls belong to its owner.
 */
#ifndef VARVE_SERVE_REACTOR_REACTOR_H
#define VARVE_SERVE_REACTOR_REACTOR_H

#include "base/env/fiber.h"
#include "base/env/net/loop.h"
#include "base/env/thread.h"

struct conn;
struct conn_proto;
struct conn_filter_maker;
struct reactor;
struct reactors;

struct reactor_options {
    enum loop_kind loop;
    const struct loop_backend *backend; /* with LOOP_GIVEN, as in loop_options */
    void *backend_arg;
    size_t max_conns;          /* 0: 16,384. Beyond: closed at once, counted */
    size_t max_fibers;         /* 0: 4,096. Beyond: reactor_spawn answers OVERLOADED */
    size_t fiber_stack_bytes;  /* 0: 64 KiB */
    size_t request_conn_bytes; /* in flight of one connection; 0: 64 MiB. Beyond: reading pauses */
    size_t request_bytes;      /* in flight of all; 0: 256 MiB. Beyond: conn_charge: OVERLOADED */
    struct loop_conn_limits output; /* of one connection; above high, reading pauses too */
    size_t output_bytes;            /* of all; 0: 256 MiB. Beyond: conn_send: OVERLOADED */
    size_t kept_bytes;              /* input kept by paused connections, all together; 0: 64 MiB */
    /* Nothing came and nothing went, and the protocol has no request: closed. 0: 5 min;
     * UINT64_MAX: never. */
    uint64_t idle_timeout_ms;
    /* Output waits and the peer took nothing for so long, at most twice that: cut. 0: 30 s. */
    uint64_t send_timeout_ms;
    /* From the accept until the filter's handshake is done and the protocol has called conn_settled
     * (its first request's head, or preface). 0: 10 s. */
    uint64_t setup_timeout_ms;
    uint64_t linger_ms; /* conn_finish waits so long for the peer to close its side; 0: 2 s */
    uint64_t look_ns;   /* as in loop_options */
    const char *name;   /* of its threads, before their number; NULL: "reactor" */
    size_t
        linger_bytes; /* and throws away so much of what it still sends, then cuts it; 0: 24 MiB */
};

/* Counters are since the start. */
struct reactor_stats {
    uint64_t conns, fibers, request_bytes, output_bytes, kept_bytes; /* now */
    uint64_t accepted, refused_full, timed_out, cut_slow, rounds, bytes_in, bytes_out;
};

/* --- one reactor, on its own thread --- */

struct loop *reactor_loop(struct reactor *r); /* for timers, loop_now_ns, loop_connect */
struct fiber_sched *reactor_fibers(struct reactor *r);
unsigned reactor_index(const struct reactor *r); /* in its group */
void *reactor_ctx(const struct reactor *r);      /* what reactors_set_ctx gave it; NULL before */
struct reactor *reactor_current(void);           /* of this thread; NULL elsewhere */
/* OVERLOADED: max_fibers; NO_MEMORY. fn runs in this round. */
enum status reactor_spawn(struct reactor *r, void (*fn)(void *arg), void *arg,
                          struct err *err) WARN_UNUSED;
/* The current fiber goes on in the next round, after new input was looked at and other fibers ran:
 * long work calls it every millisecond or so. (fiber_yield comes back within this round.) */
void reactor_yield(struct reactor *r);
/* From any thread; see loop_post. */
enum status reactor_post(struct reactor *r, void (*fn)(void *arg), void *arg) WARN_UNUSED;
void reactor_stats_of(const struct reactor *r, struct reactor_stats *ret);
bool reactor_stopping(const struct reactor *r);

/* A connection of our own to elsewhere (a peer, a test). on_open comes when it is there. The errors
 * of loop_connect; later ones reach on_closed, also when on_open never came. */
enum status reactor_connect(struct reactor *r, const struct net_addr *to,
                            const struct conn_proto *proto, void *arg,
                            const struct conn_filter_maker *filter, struct conn **ret,
                            struct err *err) WARN_UNUSED;

/* --- the group --- */

enum reactors_spread {
    REACTORS_REUSEPORT, /* each listens, the kernel spreads */
    REACTORS_HAND_OUT,  /* the first accepts and gives to the one with the fewest connections */
};

/* Starts n threads ("reactor 0"...). The errors of loop_new, fibers and threads; on an error none is
 * left. `env` outlives the group. */
enum status reactors_start(struct env *env, unsigned n, const struct reactor_options *options,
                           struct reactors **ret, struct err *err) WARN_UNUSED;
/* One reactor without a thread: whoever made it drives its rounds, and is its thread in what this
 * header says of threads (the simulator; a test). */
enum status reactors_by_hand(struct env *env, const struct reactor_options *options,
                             struct reactors **ret, struct err *err) WARN_UNUSED;
/* One round of a reactor made by hand, without waiting. Returns when, by loop_clock_ns, it wants the
 * next one even if nothing comes in: 0: at once; UINT64_MAX: never. */
uint64_t reactor_round(struct reactor *r);
unsigned reactors_count(const struct reactors *g);
struct env *reactors_env(const struct reactors *g); /* what reactors_start was given */
struct reactor *reactors_at(struct reactors *g, unsigned i);
void reactors_set_ctx(struct reactors *g, unsigned i, void *ctx); /* before the first listen */
/* Begins to accept. proto, filter (NULL: none) and arg (given to on_open) live until reactors_free.
 * *ret_addr (may be NULL) is the address with its real port. The errors of loop_listen. */
enum status reactors_listen(struct reactors *g, const struct net_addr *addr,
                            enum reactors_spread spread, const struct conn_proto *proto, void *arg,
                            const struct conn_filter_maker *filter, struct net_addr *ret_addr,
                            struct err *err) WARN_UNUSED;
/* Stops accepting, asks every connection to finish (on_drain), waits at most drain_ms until they
 * and all fibers are gone, and cuts the rest. Fibers are not cut: their connections are closed under
 * them (conn_is_open), and this waits for them to return. Blocks; returns how many connections were
 * cut. */
size_t reactors_stop(struct reactors *g, uint64_t drain_ms);
/* The same of a reactor made by hand, whose rounds go on: true once it is over. */
void reactors_stop_begin(struct reactors *g, uint64_t drain_ms);
bool reactors_is_over(const struct reactors *g);
void reactors_free(struct reactors *g); /* after reactors_stop, or calls it with 0; takes NULL */

#endif
