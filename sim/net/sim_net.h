/* sim_net.h - a network made of one seed: streams that are what a loop knows (base/env/net/loop.h),
 * and messages.
 *
 * A host is a machine with one address, 10.0.0.ID. Each ordered pair of hosts is a link with a delay
 * of its own. A stream behaves as TCP does seen from above: bytes come in order, in pieces of any
 * size, or not at all; what is lost on the way costs time, and after long silence the connection.
 * A message (sim_net_send) is what a datagram would be: it comes late, out of order, twice or never.
 *
 * Owns:     what is under way. Promises: the same seed and calls give the same network; buffers are
 *           bounded by `window_bytes` a direction. Never: looks at a real socket or clock.
 * Threads:  one.
 */
#ifndef VARVE_SIM_NET_H
#define VARVE_SIM_NET_H

#include "base/env/net/loop.h"
#include "sim/core/queue.h"

struct sim_net;
struct sim_host;

struct sim_net_options {
    uint64_t seed;
    struct sim_queue *queue; /* outlives the network */
    /* The moment at which a call is made: a host that works runs ahead of the queue. */
    uint64_t (*now_ns)(void *arg);
    /* A message has come to a host that is on; `bytes` are borrowed. */
    void (*on_message)(void *arg, struct sim_host *to, unsigned from, struct bytes bytes);
    void *arg;
    size_t window_bytes; /* of a stream: on its way or not read yet; 0: 256 KiB */
    uint64_t give_up_ms; /* so long a stream tries to reach a silent peer; 0: 20,000 */
};
struct sim_net *sim_net_new(const struct sim_net_options *o);
void sim_net_free(struct sim_net *n); /* takes NULL; no loop may be alive */

/* One direction between two hosts. */
struct sim_link {
    uint64_t delay_ns, spread_ns; /* at least, and a heavy tail behind it */
    uint32_t loss_ppm;            /* of a message; of a stream's piece: it comes an RTO later */
    uint32_t twice_ppm;           /* of a message */
    uint32_t late_ppm;            /* a message takes up to late_ns more: it is overtaken */
    uint64_t late_ns;
    bool cut;                  /* nothing passes: a partition in this direction */
    uint64_t clogged_until_ns; /* nothing arrives before */
};
void sim_net_default_link(struct sim_net *n, const struct sim_link *l); /* of pairs without own */
struct sim_link *sim_net_link(struct sim_net *n, unsigned from, unsigned to);

/* A machine, on and silent. `id` from 1 to 250. on_ready: something is to be done by its loop. */
struct sim_host *sim_host_new(struct sim_net *n, unsigned id, void (*on_ready)(void *arg),
                              void *arg);
unsigned sim_host_id(const struct sim_host *h);
struct sim_host *sim_net_host(struct sim_net *n, unsigned id); /* NULL: there is none */
void sim_host_addr(const struct sim_host *h, uint16_t port, struct net_addr *ret);
/* The process on it is gone, with its loops (which are not told). PROCESS: the machine says goodbye
 * for its streams. POWER: nobody says anything: the peers' ends are half open, and learn it when
 * they write and the machine is on again, or after long silence. */
enum sim_host_end { SIM_HOST_PROCESS, SIM_HOST_POWER };
void sim_host_kill(struct sim_host *h, enum sim_host_end how);
void sim_host_power(struct sim_host *h, bool on);
bool sim_host_is_on(const struct sim_host *h);

/* For loop_options: .kind = LOOP_GIVEN, .backend = sim_net_backend(), .backend_arg = the host. A
 * loop over it never waits: whoever drives it polls with deadline 0, when on_ready said so and when
 * loop_due_ns has come. */
const struct loop_backend *sim_net_backend(void);

/* Sends a copy; what becomes of it is luck. */
void sim_net_send(struct sim_net *n, unsigned from, unsigned to, struct bytes bytes);

struct sim_net_stats {
    uint64_t messages, lost, twice, late, cut; /* messages */
    uint64_t pieces, stalled, resets, refused, connects, bytes;
};
void sim_net_stats(const struct sim_net *n, struct sim_net_stats *ret);

#endif
