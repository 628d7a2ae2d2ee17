/* model_wal.h - a naive log to hold the real one against: every record ever appended, in order, and
 * what must survive.
 *
 * Each record has a serial number, kept in its `term`, so that whatever comes back can be
 * recognised; its payload follows from the serial. Owns: its records. Threads: one.
 */
#ifndef VARVE_TEST_MODEL_WAL_H
#define VARVE_TEST_MODEL_WAL_H

#include "sim/env/sim_env.h"
#include "storage/wal/wal.h"
#include "support/rng.h"

enum { MODEL_RANGES = 4, MODEL_PAYLOAD_MAX = 300 * 1024, MODEL_GROUP_MAX = 8 };

struct model_rec {
    uint64_t serial, range, index;
    size_t len;
    uint8_t kind;
    bool last; /* of its group */
};

struct model {
    struct model_rec *recs; /* the chain: groups whose append answered OK */
    size_t n, cap;
    size_t durable; /* the first so many must survive */
    struct model_rec
        maybe[64 * MODEL_GROUP_MAX]; /* failed groups that a crash may still bring back */
    size_t n_maybe;
    uint64_t serial;
    uint64_t next_index[MODEL_RANGES + 1]; /* by range, from 1 */
    uint64_t released[MODEL_RANGES + 1];
    struct model_rec *seen; /* what the last replay gave */
    size_t n_seen, cap_seen;
    uint64_t crashes;
};

void model_init(struct model *m);
void model_deinit(struct model *m);

struct bytes model_payload(uint64_t serial, size_t len);
bool model_payload_is(uint64_t serial, struct bytes payload);

/* A random group of 1 to MODEL_GROUP_MAX records, not in the chain yet. */
size_t model_make_group(struct model *m, struct test_rng *r, size_t payload_max,
                        struct wal_record out[MODEL_GROUP_MAX]);
void model_appended(struct model *m, const struct wal_record *r, size_t n);
void model_may_return(struct model *m, const struct wal_record *r, size_t n);
void model_synced(struct model *m); /* all that was appended */
/* Releases something durable; returns the range, 0 when there is nothing. */
uint64_t model_release(struct model *m, struct test_rng *r, uint64_t *ret_index);

void model_replay_begin(struct model *m);
enum status model_replay(void *arg, const struct wal_record *rec, struct wal_pos pos,
                         struct err *err);
/* Holds what was replayed against the chain (assert_true on a difference) and takes it as the chain
 * from now on. */
void model_check(struct model *m);

#endif
