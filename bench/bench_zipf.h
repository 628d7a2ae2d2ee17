/* bench_zipf.h - numbers drawn from Zipf's law, as YCSB draws them.
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
#ifndef VARVE_BENCH_ZIPF_H
#define VARVE_BENCH_ZIPF_H

#include <stdint.h>

struct bench_zipf {
    uint64_t n, state;
    double alpha, zeta_n, eta, half_pow_theta;
};

#define BENCH_ZIPF_THETA 0.99

/* O(n) once: it sums the zeta series. */
void bench_zipf_init(struct bench_zipf *z, uint64_t n, double theta, uint64_t seed);
void bench_zipf_fork(const struct bench_zipf *from, struct bench_zipf *ret,
                     uint64_t seed);            /* O(1) */
uint64_t bench_zipf_rank(struct bench_zipf *z); /* 0 .. n-1, 0 the most popular */
uint64_t bench_zipf_next(struct bench_zipf *z); /* 0 .. n-1, the popular ones scattered */

#endif
