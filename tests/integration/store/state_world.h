/* state_world.h - worlds whose stores hand their whole state to one another.
 *
 * Owns: nothing beside the worlds. Promises: a failed expectation fails the running cmocka test.
 * Threads: one.
 */
#ifndef VARVE_TESTS_STATE_WORLD_H
#define VARVE_TESTS_STATE_WORLD_H

#include "node/store/state.h"
#include "store_world.h"

void must(enum status st, const struct err *err); /* OK, or the test fails with its detail */
void check(struct world *w);                      /* the store answers as the model does */
void write_n(struct world *w, int n); /* durable writes, with checkpoints as they fall */
/* A store that has seen some life: drains, other collections, a dropped one, snapshots' names. */
void live(struct world *w, int writes);
/* What live() left in the catalog, and nothing else, is there. */
void check_catalog(struct world *w);

/* The whole state as bytes, and how far it reaches. */
struct engine_mark take_state(struct world *w, struct buf *ret);
/* Takes it in: begin, append in pieces, build, install. */
enum status try_receive(struct world *w, struct bytes state, bool keep_log,
                        struct err *err) WARN_UNUSED;
/* With faults only while it is installed, where `late` is not NULL. */
enum status try_receive_faulty(struct world *w, struct bytes state, bool keep_log,
                               const struct sim_faults *late, struct err *err) WARN_UNUSED;
void receive(struct world *w, const struct buf *state); /* must succeed; the log is void */
/* `to` has from now on what `from` has. */
void same_model(struct world *to, const struct world *from);
/* A store alone goes on from another state only once it was opened anew. */
void again(struct world *w);

#endif
