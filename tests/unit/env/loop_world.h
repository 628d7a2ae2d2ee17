/* loop_world.h - a loop, a listener and a recording connection for the tests of both event loops.
 *
 * Owns:     what world_open made; world_close checks that nothing was left behind.
 * Promises: each test runs on epoll and, where the kernel allows it, on io_uring.
 * Never:    waits without a limit: a test that hangs fails.
 * Threads:  one, but for what a test starts itself.
 */
#ifndef VARVE_TESTS_LOOP_WORLD_H
#define VARVE_TESTS_LOOP_WORLD_H

#include "base/buf.h"
#include "base/env/net/loop.h"

enum { WORLD_PEERS = 4096 };

struct world;
struct peer {
    struct world *w;
    struct loop_conn *c; /* NULL once closed */
    bool connected, eof, closed;
    enum status why;
    int error;
    unsigned drained;
    size_t received;
    struct buf got;  /* when `records` */
    bool records;    /* keep what comes */
    size_t take_max; /* takes at most so many bytes of one delivery; 0: all */
    bool echo;       /* sends back what it takes */
    bool finish_at_eof;
    void (*on_recv)(struct peer *p, struct bytes data);
    void (*on_eof)(struct peer *p);
    void (*on_drained)(struct peer *p);
    void *arg;
};

struct world {
    struct loop *l;
    struct loop_listener *li;
    struct net_addr addr;
    struct peer *accepted[WORLD_PEERS];
    size_t n_accepted, alive;
    struct loop_conn_limits limits;
    struct peer model; /* what accepted ones are copies of */
    bool close_accepted;
};

extern const struct loop_conn_ops world_ops;

/* The kind that the group's tests run on now; false when it cannot be had here. */
bool world_has(enum loop_kind kind);
void world_use(enum loop_kind kind);
void world_open(struct world *w, const struct loop_options *options); /* NULL: defaults */
void world_close(struct world *w);
struct peer *world_peer(struct world *w);
struct peer *world_connect(struct world *w);
int world_raw(const struct world *w); /* a blocking socket, connected */
void world_drop(struct peer *p);      /* frees it; it must be closed */
/* Rounds until done(arg); fails after some seconds. */
void world_until(struct world *w, bool (*done)(void *arg), void *arg);
void world_rounds(struct world *w, unsigned n); /* rounds that do not wait */
void world_accepts(struct world *w, size_t n);  /* until so many were accepted */
void world_close_peer(struct peer *p);          /* closes and waits for the end */

#endif
