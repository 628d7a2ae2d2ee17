/* load_keys.h - which key an operation takes, and what lies under it.
 *
 * Key number n is 16 hexadecimal digits of a scattered n, so that numbers that rise lie all over the
 * keyspace. A value begins with its key's number, so that every answer can be checked.
 *
 * Owns:     nothing.
 * Promises: the same seed draws the same keys; different numbers have different keys.
 * Never:    allocates.
 * Threads:  one owner of a chooser.
 */
#ifndef VARVE_SERVE_LOAD_LOAD_KEYS_H
#define VARVE_SERVE_LOAD_LOAD_KEYS_H

#include "base/bytes.h"
#include "base/zipf.h"

enum { LOAD_KEY = 16, LOAD_VALUE_MIN = 8, LOAD_VALUE_MAX = 4 * 1024 * 1024 };

enum load_choice {
    LOAD_UNIFORM,
    LOAD_ZIPF,     /* the popular ones scattered */
    LOAD_LATEST,   /* the newest are the most popular */
    LOAD_SEQUENCE, /* each in turn, by number: all over the keyspace */
    LOAD_CHOICES
};
const char *load_choice_name(enum load_choice c); /* "uniform" */

struct load_keys {
    enum load_choice choice;
    uint64_t n; /* keys there are; inserts add to it */
    uint64_t state, turn;
    struct zipf zipf; /* of the first n */
};

/* n: at least 1. Takes O(n) for the two that follow Zipf's law. */
void load_keys_init(struct load_keys *k, enum load_choice choice, uint64_t n, double theta,
                    uint64_t seed);
uint64_t load_keys_next(struct load_keys *k);                   /* 0 .. n-1 */
uint64_t load_keys_random(struct load_keys *k, uint64_t below); /* 0 .. below-1 */
void load_key_text(uint64_t number, uint8_t out[LOAD_KEY]);

/* Bytes out of which values are cut: half of them random, half repeating, like text. */
struct load_values {
    uint8_t *pool;
    size_t pool_bytes, value_bytes;
};
/* The pool has `pool_bytes` >= 2 * value_bytes, LOAD_VALUE_MIN <= value_bytes, and is the caller's. */
void load_values_init(struct load_values *v, uint8_t *pool, size_t pool_bytes, size_t value_bytes);
/* A value is a head and a body; `turn` makes writes of one key differ. */
struct load_value {
    uint8_t head[LOAD_VALUE_MIN];
    struct bytes body;
};
void load_value_make(const struct load_values *v, uint64_t number, uint64_t turn,
                     struct load_value *ret);
/* Whether it was written under that number. */
bool load_value_is_of(struct bytes value, uint64_t number);

#endif
