/* rng.h - seeded random numbers for tests.
 *
 * Owns:     nothing; the state is the caller's.
 * Promises: the same seed gives the same numbers everywhere. xoshiro256** seeded by splitmix64
 * (Blackman, Vigna 2018). Never:    asks the system for randomness. Threads:  one owner of a struct
 * test_rng.
 */
#ifndef VARVE_SUPPORT_RNG_H
#define VARVE_SUPPORT_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test_rng {
    uint64_t s[4];
};

void test_rng_init(struct test_rng *r, uint64_t seed);
uint64_t test_rng_u64(struct test_rng *r);
uint64_t test_rng_below(struct test_rng *r, uint64_t n); /* 0 .. n-1, uniform; n > 0 */
uint64_t test_rng_between(struct test_rng *r, uint64_t lo, uint64_t hi); /* both included */
bool test_rng_chance(struct test_rng *r, uint32_t num, uint32_t den); /* true in num of den cases */
/* A number of a random bit width: as often below 16 as above 2^60. Good for lengths and edge
 * values. */
uint64_t test_rng_any_width(struct test_rng *r);
void test_rng_bytes(struct test_rng *r, void *out, size_t len);

#endif
