/* reactor_internal.h - what reactor.c, reactors.c, conn.c and conn_io.c share.
 *
 * A connection is open (proto->on_open was called), finishing (no more output is taken, input is
 * thrown away), aborted (on_close is on its way), gone (lc is NULL). Reading is on while none of its
 * reasons to pause holds.
 *
 * Threads:  the reactor's own, but for the atomics.
 */
#ifndef VARVE_SERVE_REACTOR_INTERNAL_H
#define VARVE_SERVE_REACTOR_INTERNAL_H

#include "base/buf.h"
#include "serve/reactor/conn.h"

#include <stdatomic.h>

enum {
    CLEAR_BYTES = 16 * 1024 + 512, /* what a filter gives at once: a TLS record */
    SEAL_SLICE = 128 * 1024,       /* clear bytes sealed at once */
    SEAL_SLACK = 1024, /* what sealing may add beyond its records: tickets, key updates */
    SEAL_RECORD = 16 * 1024,
    SEAL_RECORD_EXTRA = 128,
    OUT_KEEP_BYTES = 1024 * 1024, /* scratch above this is given back */
    PAUSED_BY_PROTO = 1,
    PAUSED_BY_OUTPUT = 2,
    PAUSED_BY_BYTES = 4,
    BEHIND = 2, /* connections that are read before the requests of the one before them start */
};

struct acceptor {
    struct reactors *group;
    struct reactor *r;
    struct loop_listener *li;
    enum reactors_spread spread;
    const struct conn_proto *proto;
    void *arg;
    const struct conn_filter_maker *filter;
    struct acceptor *next;
};

struct conn {
    struct reactor *r;
    struct loop_conn *lc;
    const struct conn_proto *proto;
    void *state;
    void *open_arg;
    uint64_t id;
    unsigned refs;
    struct list node;      /* among the reactor's connections */
    struct list attention; /* kept clear bytes to deliver, in the next round */
    struct list output;    /* wants on_output */
    struct list behind;    /* was read, and its requests have not started */
    size_t began;          /* those requests */

    const struct conn_filter_maker *maker;
    void *filter;
    uint8_t *kept; /* clear bytes not taken: [kept_at, kept_end) */
    size_t kept_at, kept_end;
    size_t held; /* what the filter keeps unread, at most */

    bool client, opened, open_failed, finishing, aborted, settled, eof_told, drain_told;
    unsigned paused;
    enum status why;
    char *failure; /* what the filter said when it failed; may be NULL */
    size_t charged;
    size_t thrown_away; /* of what came while finishing */
    int busy;
    uint64_t born_ns, active_ns, finish_ns, sent_seen, sent_ns;
    struct loop_timer watch, tick;
    struct env_event *writable_waiter;
};

struct reactor_counters {
    _Atomic uint64_t conns, fibers, request_bytes, output_bytes, kept_bytes;
    _Atomic uint64_t accepted, refused_full, timed_out, cut_slow, rounds, bytes_in, bytes_out;
};

struct reactor {
    struct reactors *group;
    unsigned index;
    void *ctx;
    struct env *env;
    struct loop *loop;
    struct fiber_sched *fibers;
    struct reactor_options options;
    struct env_thread thread;
    bool started;
    struct acceptor *acceptors;
    struct list conns, attention, output, behind;
    size_t n_behind;
    struct list yielded; /* struct yielded on fibers' stacks */
    size_t request_bytes, kept_bytes;
    uint8_t *clear; /* CLEAR_BYTES of scratch */
    struct buf out; /* scratch for what a filter wants sent */
    bool stopping;
    bool rerun; /* a fiber became runnable, on this thread, since the fibers last ran */
    size_t cut;
    struct loop_timer drain_end;
    _Atomic uint64_t handed_out; /* connections given to it that it has not taken yet */
    struct reactor_counters count;
};

struct reactors {
    struct env *env;
    unsigned n;
    bool by_hand, stopped;
    struct reactor *at[];
};

/* --- reactor.c --- */
enum status reactor__new(struct env *env, struct reactors *g, unsigned index,
                         const struct reactor_options *o, struct reactor **ret, struct err *err);
void reactor__free(struct reactor *r);
void reactor__run(void *reactor); /* the thread: until stopping and empty */
bool reactor__is_over(const struct reactor *r);
void reactor__stop_accepting(struct reactor *r);
void reactor__drain(struct reactor *r, uint64_t drain_ms);

/* --- conn.c --- */
void conn__count(_Atomic uint64_t *counter, uint64_t n);
uint64_t conn__after_ms(uint64_t from_ns, uint64_t ms); /* UINT64_MAX: never */
void conn__watch(struct conn *c, uint64_t at_ns);       /* looks at its timeouts then, or before */
void conn__apply_reading(struct conn *c);
void conn__start_finish(struct conn *c);
void conn__drain(struct conn *c); /* asks it to finish, once */
enum status conn__send_raw(struct conn *c, struct bytes data);
void conn__wake_writer(struct conn *c);
bool conn__alive(const struct conn *c); /* on the socket, and not about to be dropped */
void conn__on_watch(void *conn);
void conn__on_tick(void *conn);

/* --- conn_io.c --- */
/* Makes a connection of an accepted socket, or refuses and closes it. */
void conn__accept(struct reactor *r, const struct acceptor *a, int sock);
void conn__attend(struct reactor *r);     /* delivers what was kept to those that resumed */
void conn__serve_rest(struct reactor *r); /* starts the requests that were read last */
void conn__make_output(struct reactor *r);
extern const struct loop_conn_ops conn__loop_ops;
struct conn *conn__new(struct reactor *r, const struct conn_proto *proto, void *arg,
                       const struct conn_filter_maker *filter, bool client);
void conn__free(struct conn *c);

#endif
