/* command_world.h - a store on the simulated disk, the verbs over it, and a naive model of what they
 * wrote: every write in order, searched from end to end.
 *
 * Owns: env, store and model. Promises: simple enough to be right by reading; an unexpected answer
 * fails the running cmocka test. Threads: one.
 */
#ifndef VARVE_TESTS_COMMAND_WORLD_H
#define VARVE_TESTS_COMMAND_WORLD_H

#include "serve/command/command.h"
#include "sim/env/sim_env.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

enum { WORLD_KEYS = 4 + 16 + 64, WORLD_EVENTS = 4096, WORLD_COLLECTIONS = 2 };

enum event_kind { EVENT_PUT, EVENT_DELETE, EVENT_DROP };
struct event {
    enum event_kind kind;
    int collection, key; /* numbers */
    uint32_t value;      /* the text of this number, `pad` bytes after it */
    uint32_t pad;
    uint64_t expires_ms;
    struct version version;
};
struct world {
    struct env *env;
    struct command_db db;
    struct store_options o;
    struct test_rng rng;
    struct err err;
    struct event *events;
    size_t n;
    unsigned vacuums; /* how often retention may have removed something */
};

void world_init(struct world *w, uint64_t seed);
void world_deinit(struct world *w);
void world_reopen(struct world *w);
struct bytes world_name(int collection);
/* Keys of 1 to 3 bytes of 0x00, 'a', 'b' and 0xff. */
struct bytes world_key(int key);
/* A random write by one of the verbs; its collection may be made, or dropped. */
void world_write(struct world *w);
/* Writes, checkpoints, time that passes, a reopening, and where asked for a vacuum. */
void world_meanwhile(struct world *w, bool vacuum);
/* What a get at that moment finds; NULL: nothing. Expiry is judged at at_ms. */
const struct event *world_find(const struct world *w, int collection, int key, struct version at,
                               uint64_t at_ms);
/* Whether the write was dropped with its collection at or below a version. */
bool world_dropped(const struct world *w, size_t event, struct version at);
void world_value(const struct event *e, struct buf *out); /* replaces what it holds */

#define assert_ok(w, call)                                                                         \
    do {                                                                                           \
        enum status st_ = (call);                                                                  \
        if (st_ != ST_OK)                                                                          \
            fail_msg("%s: %s: %s", #call, status_name(st_), (w)->err.detail);                      \
    } while (0)
/* The status, and that the message contains `part`. */
#define assert_fails(w, call, want, part)                                                          \
    do {                                                                                           \
        err_init(&(w)->err);                                                                       \
        enum status st_ = (call);                                                                  \
        if (st_ != (want) || !strstr((w)->err.detail, (part)))                                     \
            fail_msg("%s: %s: %s (wanted %s and \"%s\")", #call, status_name(st_),                 \
                     (w)->err.detail, status_name(want), (part));                                  \
    } while (0)

#endif
