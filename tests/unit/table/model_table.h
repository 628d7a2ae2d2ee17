/* model_table.h - a table the naive way: a sorted array of keys, each with an array of versions.
 *
 * Owns: copies of all it is given. Promises: obviously right. Never: fast. Threads: one owner.
 */
#ifndef VARVE_TESTS_MODEL_TABLE_H
#define VARVE_TESTS_MODEL_TABLE_H

#include "storage/record.h"

struct model_put {
    uint8_t key[48];
    size_t key_len;
    uint8_t value[32];
    size_t value_len;
    uint8_t writer[8];
    size_t writer_len;
    struct record rec; /* its slices point into this struct; the parent is what the table says */
};

struct model_key {
    struct model_put **puts; /* oldest first */
    size_t n;
};

struct model {
    struct model_key *keys; /* sorted */
    size_t n_keys;
    struct model_put **puts; /* in put order */
    size_t n_puts;
};

void model_deinit(struct model *m);
void model_put(struct model *m, struct bytes key, const struct record *rec);
struct bytes model_key_bytes(const struct model *m, size_t i);
size_t model_lower(const struct model *m,
                   struct bytes key); /* index of the first key >= key; n_keys: none */
/* The newest put of keys[i] at or below `at`; -1: none. */
long model_find(const struct model *m, size_t i, struct version at);

#endif
