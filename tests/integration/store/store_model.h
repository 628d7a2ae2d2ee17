/* store_model.h - a naive model of a store: every write in order, searched from end to end.
 *
 * Owns: its writes. Promises: simple enough to be right by reading. Threads: one.
 */
#ifndef VARVE_TESTS_STORE_MODEL_H
#define VARVE_TESTS_STORE_MODEL_H

#include "node/store/store.h"
#include "support/rng.h"

enum { MODEL_KEYS = 24, MODEL_OPS_MAX = 8, MODEL_WRITES_MAX = 4096 };

struct model_op {
    uint8_t key; /* number of a key */
    uint8_t kind;
    uint32_t value_seed, value_len;
    uint64_t expires_ms;
};
struct model_write {
    struct version version;
    bool acknowledged_durable; /* must survive a power cut */
    size_t n;
    struct model_op ops[MODEL_OPS_MAX]; /* by rising key */
};
struct model {
    struct model_write *writes;
    size_t n;
    uint32_t collection;
};

void model_init(struct model *m);
void model_deinit(struct model *m);
/* Routing key of a key's number: lengths 1 to 200 bytes, with zero and 0xff bytes, in the order of
 * the numbers or not. */
struct bytes model_key(const struct model *m, uint8_t key, uint8_t out[256]);
void model_value(uint32_t seed, uint32_t len, uint8_t *out);

/* The newest op on a key at or below a version; NULL: none. */
const struct model_op *model_find(const struct model *m, uint8_t key, struct version at,
                                  struct version *ret_version);

/* Holds the store against the model, all of it: gets now and at past versions, scans both ways,
 * histories with parents, the change feed. Fails the running cmocka test at the first difference.
 */
void model_check(const struct model *m, struct store *s, struct env *env, struct test_rng *rng);
/* Every key, by gets of the present alone. */
void model_check_present(const struct model *m, struct store *s, struct env *env);
/* How many of the model's writes, from the start, the store has; fails when it has one that follows
 * a missing one. */
size_t model_surviving(const struct model *m, struct store *s);

#endif
