/* machine.h - a simulated machine: disk and clock (sim/env), network (sim/net), and one process made
 * of production objects on a reactor that is driven by hand.
 *
 * Time: the world's is that of the queue. A machine has its own clock, which drifts. A round of its
 * reactor takes the time that its disk operations take; until then the machine is busy, and nothing
 * else happens on it. What it sends leaves at the moment within the round.
 *
 * Owns:     env, host, the process's memory and fibers. Promises: a killed process leaves nothing
 *           behind but what its disk kept; the same seed and calls give the same life. Never: knows
 *           what runs on it. Threads: one.
 */
#ifndef VARVE_SIM_MACHINE_H
#define VARVE_SIM_MACHINE_H

#include "serve/reactor/reactor.h"
#include "sim/core/dice.h"
#include "sim/core/heap.h"
#include "sim/env/sim_env.h"
#include "sim/net/sim_net.h"

struct sim_world; /* what machines share: queue, network, whose turn it is */
struct sim_machine;

struct sim_world_options {
    uint64_t seed;
    void (*on_message)(void *arg, struct sim_machine *to, unsigned from, struct bytes bytes);
    void *arg;
};
struct sim_world *sim_world_new(const struct sim_world_options *o);
void sim_world_free(struct sim_world *w); /* with its machines; takes NULL */
struct sim_queue *sim_world_queue(struct sim_world *w);
struct sim_net *sim_world_net(struct sim_world *w);
uint64_t sim_world_now(const struct sim_world *w); /* within a round: as far as that has come */
/* Lets time pass until `until_ns`. */
void sim_world_run(struct sim_world *w, uint64_t until_ns);

/* `disk` as in sim_env_new, its seed apart. */
struct sim_machine *sim_machine_new(struct sim_world *w, unsigned id,
                                    const struct sim_options *disk);
unsigned sim_machine_id(const struct sim_machine *m);
struct env *sim_machine_env(struct sim_machine *m);
struct sim_host *sim_machine_host(struct sim_machine *m);
void *sim_machine_user(const struct sim_machine *m); /* what start was told */

/* Starts a process: `main_fn(user)` is its first fiber. The machine must have none. */
void sim_machine_start(struct sim_machine *m, const struct reactor_options *o,
                       void (*main_fn)(void *user), void *user);
bool sim_machine_runs(const struct sim_machine *m);
struct reactor *sim_machine_reactor(struct sim_machine *m);   /* NULL: no process */
struct reactors *sim_machine_reactors(struct sim_machine *m); /* of one */
uint64_t sim_machine_life(const struct sim_machine *m);       /* how many processes it has had */
/* Another fiber of the process, from outside of it. false: too many. */
bool sim_machine_spawn(struct sim_machine *m, void (*fn)(void *arg), void *arg);
void sim_machine_poke(struct sim_machine *m); /* a round, soon */
/* kill -9, or with POWER the plug is pulled: un-synced writes and names are luck's. Not within the
 * machine's own round. */
void sim_machine_kill(struct sim_machine *m, enum sim_crash how, uint32_t torn_bytes);
/* The process gets no processor until then (SIGSTOP, a virtual machine that is moved, swapping). */
void sim_machine_pause(struct sim_machine *m, uint64_t until_ns);
/* The clock gains so much a second from now on. */
void sim_machine_drift(struct sim_machine *m, int32_t ppm);
size_t sim_machine_memory(const struct sim_machine *m); /* bytes that the process has */

#endif
