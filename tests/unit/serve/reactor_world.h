/* reactor_world.h - a server of lines on reactors, and blocking clients, for the tests of reactors.
 *
 * A line is answered as "<line>" by a fiber of its own. Some do more: "group" (the first of a round
 * yields once and counts those with it), "wait" (until the gate is open), "stream", "victim" and
 * "kill" (that one), and without a fiber "other", "abort", "bye", "qq...".
 *
 * Owns:     what `up` started; `down` stops it and checks that nothing was left behind.
 * Never:    waits without a limit.
 * Threads:  the test's, beside the reactors'.
 */
#ifndef VARVE_TESTS_REACTOR_WORLD_H
#define VARVE_TESTS_REACTOR_WORLD_H

#include "base/env/env.h"
#include "serve/reactor/conn.h"

#include <stdatomic.h>
#include <sys/types.h>

struct server {
    struct reactors *g;
    struct net_addr addr;
    _Atomic unsigned opened, closed, fibers_done, drained;
    _Atomic unsigned group; /* requests that stood with the first when it went on */
    _Atomic int last_why;
    _Atomic bool gate;
    _Atomic size_t stream_bytes;
    _Atomic size_t most_queued;
};

extern enum loop_kind kind_now;       /* that reactors are started on */
extern const struct conn_proto lines; /* of a struct server */
extern struct conn *victim;           /* of "kill"; one reactor's thread only */

int dial(const struct net_addr *a); /* a blocking socket that gives up after 20 s */
void say(int fd, const char *text);
void hear(int fd, const char *text);
void hear_end(int fd);                          /* the connection ends, politely or not */
ssize_t raw_recv(int fd, void *to, size_t len); /* recv, begun again when a signal interrupted it */

void up(struct server *sv, struct reactor_options o); /* one reactor */
void up_with(struct server *sv, unsigned n, enum reactors_spread spread,
             const struct conn_proto *proto, struct reactor_options o);
void down(struct server *sv);
struct reactor_stats stats(struct server *sv, unsigned i);
void until(_Atomic unsigned *v, unsigned n); /* v is n at least */

#define AWAIT(cond)                                                                                \
    for (unsigned ms_ = 0; !(cond); ms_++) {                                                       \
        if (ms_ > 20000)                                                                           \
            fail_msg("not in 20 s: %s", #cond);                                                    \
        env_sleep_ms(env_linux(), 1);                                                              \
    }

#endif
