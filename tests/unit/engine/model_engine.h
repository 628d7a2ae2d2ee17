/* model_engine.h - an engine as an array of keys with all their versions; slow and plain on
 * purpose. */
#ifndef VARVE_TESTS_MODEL_ENGINE_H
#define VARVE_TESTS_MODEL_ENGINE_H

#include "storage/engine/engine.h"

struct model_version {
    struct version version, parent;
    uint8_t kind, type;
    uint64_t expires_ms;
    uint8_t *writer,
        *value; /* shared between copies, freed by nobody: they live in the test's pool */
    size_t writer_len, value_len;
};
struct model_key {
    uint8_t *key;
    size_t len;
    struct model_version *v; /* oldest first */
    size_t n, cap;
    struct version floor; /* none: no floor */
    struct version last;  /* newest ever, also when it was vacuumed: the parent of what comes */
};
struct model {
    struct model_key *keys; /* ascending */
    size_t n, cap;
    struct engine_mark mark;
};

void model_deinit(struct model *m);
void model_copy(const struct model *from, struct model *to);
/* The parent is filled in. Bytes are borrowed for good. */
void model_put(struct model *m, struct bytes key, const struct record *rec);
const struct model_key *model_find(const struct model *m, struct bytes key);
/* OK with *ret (deletes included), NOT_FOUND or BELOW_HORIZON. */
enum status model_get(const struct model_key *k, struct version at,
                      const struct model_version **ret);
void model_vacuum(struct model *m, const struct engine_vacuum *q, uint64_t *ret_removed);
static inline struct bytes model_key_bytes(const struct model_key *k)
{
    return (struct bytes){k->key, k->len};
}

#endif
