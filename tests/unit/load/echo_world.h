/* echo_world.h - a server of a toy protocol, to put load_run under: every request is 16 bytes and
 * comes back as it is. It can stall, cut a connection, or say nothing.
 *
 * Owns: its thread and sockets, from echo_start to echo_stop. It allocates nothing, so that failing
 * allocations hit the client alone. Threads: the test's, and the server's own.
 */
#ifndef VARVE_TESTS_ECHO_WORLD_H
#define VARVE_TESTS_ECHO_WORLD_H

#include "base/env/thread.h"
#include "serve/load/load_protocol.h"

enum { ECHO_CONNS_MAX = 16 };

struct echo_world {
    uint64_t stall_after, stall_ms; /* once, before answering that request (0: never) */
    uint64_t cut_after; /* closes the connection of every so many-th request; 0: never */
    bool silent;
    struct net_addr addr;
    _Atomic uint64_t requests;
    /* Private. */
    int listener, stop[2];
    struct env_thread thread;
};

void echo_start(struct echo_world *w);
void echo_stop(struct echo_world *w);
extern const struct load_protocol echo_protocol; /* all kinds; no argument */

#endif
