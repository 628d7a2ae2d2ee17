/* store_world.h - a store on the simulated disk beside a model of it, and the ways to write, crash
 * and reopen both.
 *
 * Owns: env, store and model. Promises: a failed expectation fails the running cmocka test.
 * Threads: one.
 */
#ifndef VARVE_TESTS_STORE_WORLD_H
#define VARVE_TESTS_STORE_WORLD_H

#include "sim/env/sim_env.h"
#include "store_model.h"

struct world {
    struct env *env;
    struct store *s;
    struct model m;
    struct test_rng rng;
    struct store_options o;
};

void world_init(struct world *w, uint64_t seed);
void world_deinit(struct world *w);
void world_open(struct world *w);
/* A random write; ST_OK when it was acknowledged (and the model has it), else what the store
 * answered. */
enum status world_try_write(struct world *w, enum store_sync sync, struct err *err);
/* The same; fails the test on anything but OK (true) and a table that nobody drains beside us
 * (false). */
bool world_write(struct world *w, enum store_sync sync);
void world_checkpoint(struct world *w);
void world_durable_so_far(
    struct world *w); /* all of the model must survive a power cut from now on */
/* The machine dies and comes back: what was promised is there, the rest went from the end. */
void world_crash(struct world *w, enum sim_crash how);
/* The process ends without another I/O; the handle's memory is given back. */
void world_abandon(struct world *w);

#endif
