/* seeds.h - the loop of a property test over its seeds.
 *
 *     uint64_t seed;
 *     FOR_EACH_SEED(seed, 200) { struct test_rng r; test_rng_init(&r, seed); ... }
 *
 * VARVE_SEEDS=N (a factor, fractions allowed) scales the count; VARVE_SEED=S runs only seed S. When
 * a test ends inside the loop (a failed assertion, a sanitizer, an abort) the seed is printed with
 * the way to run it again. Do not `break` out.
 *
 * Owns: one static record of the running seed. Threads: one loop at a time.
 */
#ifndef VARVE_SUPPORT_SEEDS_H
#define VARVE_SUPPORT_SEEDS_H

#include <stdbool.h>
#include <stdint.h>

struct seed_loop {
    const char *name;
    uint64_t next, end;
};

struct seed_loop seed_loop_begin(const char *name, uint64_t count);
bool seed_loop_next(struct seed_loop *l, uint64_t *ret_seed);
uint64_t
seeds_scaled(uint64_t count); /* count times VARVE_SEEDS, at least 1: for loops of other kinds */

#define FOR_EACH_SEED(seed, count)                                                                 \
    for (struct seed_loop seed##_loop = seed_loop_begin(__func__, (count));                        \
         seed_loop_next(&seed##_loop, &(seed));)

#endif
