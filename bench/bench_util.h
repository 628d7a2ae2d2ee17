/* bench_util.h - what every measuring program needs: who ran it, time, keys, threads, printing.
 *
 * Owns:     nothing.
 * Promises: a bench prints the machine, what it ran, the rate, and a checksum of what it read, so
 *           that the compiler cannot drop the work and a reader can repeat it.
 * Never:    part of the product or of the tests.
 * Threads:  bench_threads starts and joins its own; the rest are pure functions.
 */
#ifndef VARVE_BENCH_UTIL_H
#define VARVE_BENCH_UTIL_H

#include "base/bytes.h"

void bench_machine(const char *program); /* one line: processor, cores, memory, compiler, build */
uint64_t bench_ns(void);                 /* monotonic */

/* A seeded generator (splitmix64); any state is good. */
static inline uint64_t bench_rnd(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* The 16-byte key of number n: 4 bytes of collection id 1, then 12 that are scattered (bench_key)
 * or rise with n (bench_key_rising). */
enum { BENCH_KEY = 16 };
void bench_key(uint64_t n, uint8_t out[BENCH_KEY]);
void bench_key_rising(uint64_t n, uint8_t out[BENCH_KEY]);
void bench_value(uint64_t seed, uint8_t *out,
                 size_t len); /* half random, half repeating, like text */

/* Runs fn(arg, i) for i < n on n threads at once and returns the wall time from start to the last
 * one's end. */
uint64_t bench_threads(unsigned n, void (*fn)(void *arg, unsigned i), void *arg);

/* "what ............ 1.23 M/s  813 ns each  (1000000 in 0.81 s)" */
void bench_rate(const char *what, uint64_t ops, uint64_t ns);
double bench_median(double *v, size_t n); /* sorts them */
/* "what ............ 1.93x" and, with a goal above 0, whether it was met. */
void bench_ratio(const char *what, double ratio, double goal);
void bench_checksum(uint64_t sum);
/* Sorts the samples; prints p50, p99, p99.9 and the maximum. */
void bench_quantiles(const char *what, uint64_t *samples_ns, size_t n);

/* What all processors together have done since the machine started, in ticks (/proc/stat). */
struct bench_ticks {
    uint64_t busy, all;
};
struct bench_ticks bench_ticks(void);

/* The number in argv[i], or `otherwise` when there is none; exits with a message when it is not a
 * number. */
uint64_t bench_arg(int argc, char **argv, int i, uint64_t otherwise);
/* A new folder on the disk that $BENCH_DIR (default: the working directory) names; free with
 * bench_scratch_remove, which removes all that is in it. */
char *bench_scratch(const char *tag);
void bench_scratch_remove(char *dir);
/* Ends the program: a bench that cannot go on has nothing to print. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *fmt, ...);

#endif
