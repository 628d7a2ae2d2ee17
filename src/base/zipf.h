/* zipf.h - numbers drawn from Zipf's law, as YCSB draws them.
 *
 * Source: Gray, Sundaresan, Englert, Baclawski, Weinberger, "Quickly Generating Billion-Record
 * Synthetic Databases", SIGMOD '94, section 4. YCSB uses it with theta 0.99 and scatters the ranks
 * by a hash.
 *
 * Owns:     nothing.
 * Promises: the same seed draws the same numbers.
 * Never:    allocates.
 * Threads:  one owner of a generator.
 */
#ifndef VARVE_BASE_ZIPF_H
#define VARVE_BASE_ZIPF_H

#include <stdint.h>

struct zipf {
    uint64_t n, state;
    double alpha, zeta_n, eta, half_pow_theta;
};

#define ZIPF_THETA 0.99

/* O(n) once: it sums the zeta series. */
void zipf_init(struct zipf *z, uint64_t n, double theta, uint64_t seed);
void zipf_fork(const struct zipf *from, struct zipf *ret, uint64_t seed); /* O(1) */
uint64_t zipf_rank(struct zipf *z); /* 0 .. n-1, 0 the most popular */
uint64_t zipf_next(struct zipf *z); /* 0 .. n-1, the popular ones scattered */

#endif
