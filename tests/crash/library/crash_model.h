/* crash_model.h - writes that follow from (seed, stream, step), and what a folder must hold after
 * them.
 *
 * A stream is a sequence of steps on collections of its own, so several threads may run one each. A
 * step's content follows from its numbers alone; whether it writes (a delete of an absent key, a
 * failing condition) follows from the model before it. Every write of step n carries the writer
 * "sSTREAM.n", so that a row tells where it came from.
 *
 * Owns: the model's cells and snapshots. Promises: simple enough to be right by reading.
 * Never: opens a database. Threads: one per struct model.
 */
#ifndef VARVE_TESTS_CRASH_MODEL_H
#define VARVE_TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    MODEL_KEYS = 24,
    MODEL_OPS_MAX = 10,
    MODEL_NAME_MAX = 48,
    MODEL_KEY_MAX = 300,
    MODEL_VALUE_MAX = 200 * 1024,
    MODEL_STREAMS_MAX = 8,
    MODEL_COUNT_KEPT = 3,   /* retention of the collections "count" */
    MODEL_AGE_KEPT_MS = 40, /* and of "age" */
    MODEL_SETTLED = 3,      /* after so many steps retention is set */
    MODEL_BLOCK = 60,       /* so many steps share an implicit collection */
};

enum model_place { PLACE_FULL, PLACE_COUNT, PLACE_AGE, PLACE_TTL, PLACE_NEW, PLACES };

enum step_kind {
    STEP_PUT,
    STEP_DELETE,
    STEP_COMPARE_AND_SET,
    STEP_BATCH,
    STEP_RETENTION,
    STEP_SNAPSHOT,
    STEP_UNSNAPSHOT, /* the oldest one */
    STEP_CHECKPOINT,
    STEP_VACUUM,
    STEP_COMPACT,
    STEP_SYNC,
};

struct step_op {
    enum model_place place;
    uint32_t block; /* PLACE_NEW: which of them */
    uint32_t key;
    bool is_delete, is_json;
    uint32_t value_len; /* raw values */
    uint64_t value_seed, ttl_ms;
};

struct step {
    enum step_kind kind;
    int sync;   /* a varve_sync */
    bool wrong; /* a condition that must fail */
    size_t n;
    struct step_op ops[MODEL_OPS_MAX];
};

void step_make(uint64_t seed, unsigned stream, uint64_t number, struct step *ret);
void step_collection(unsigned stream, const struct step_op *op, char out[MODEL_NAME_MAX]);
size_t step_key(const struct step_op *op, unsigned char out[MODEL_KEY_MAX]);
void step_snapshot(unsigned stream, uint64_t number, char out[MODEL_NAME_MAX]);
void step_writer(unsigned stream, uint64_t number, char out[MODEL_NAME_MAX]);
/* The bytes to write: raw, or JSON text. `out` has room for MODEL_VALUE_MAX. */
size_t step_value(const struct step_op *op, unsigned char *out);

/* A write that a key has seen. */
struct model_entry {
    uint64_t step;
    struct step_op op;
};

struct model_cell {
    struct step_op at; /* place, block and key */
    struct model_entry *entries;
    size_t count, room;
    uint64_t hlc; /* of the newest entry, as far as known; 0 */
    uint32_t origin;
};

struct model_snapshot {
    uint64_t step;
    bool gone;
    uint64_t gone_step;
};

struct model {
    uint64_t seed;
    unsigned stream;
    struct model_cell *cells;
    size_t cell_count, cell_room;
    struct model_snapshot *snapshots;
    size_t snapshot_count, snapshot_room;
    bool settled; /* retention was set */
};

void model_init(struct model *m, uint64_t seed, unsigned stream);
void model_deinit(struct model *m);
struct model_cell *model_cell(struct model *m,
                              const struct step_op *op); /* made when there is none */
bool model_alive(const struct model_cell *c); /* its newest entry is a put; times to live aside */
struct model_snapshot *model_oldest_snapshot(struct model *m); /* NULL: none */
bool model_may_settle(
    const struct model *m); /* the collections that retention is set for are there */
/* Whether the step, done now, writes anything to a key. */
bool model_writes(struct model *m, const struct step *s);
/* Notes that the step was done. */
void model_apply(struct model *m, const struct step *s, uint64_t number);

#endif
