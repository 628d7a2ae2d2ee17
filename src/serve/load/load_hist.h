/* load_hist.h - a histogram of times that keeps every value to within 0.4 %.
 *
 * As HdrHistogram does: values below 512 each have a bucket, and every power of two above is cut
 * into 256 buckets of equal width. One addition is a shift and an increment.
 *
 * Owns:     nothing; a histogram is a plain value of 70 KiB.
 * Promises: a quantile is at most 1/256 above the exact one and never below it; count, sum, lowest
 *           and highest value are exact.
 * Never:    allocates; loses a value: those above LOAD_HIST_MAX count in the last bucket.
 * Threads:  one owner.
 */
#ifndef VARVE_SERVE_LOAD_LOAD_HIST_H
#define VARVE_SERVE_LOAD_LOAD_HIST_H

#include <stdint.h>

enum { LOAD_HIST_BITS = 8, LOAD_HIST_SHIFTS = 33 };
enum { LOAD_HIST_BUCKETS = (LOAD_HIST_SHIFTS + 2) << LOAD_HIST_BITS };
#define LOAD_HIST_MAX                                                                              \
    ((UINT64_C(1) << (LOAD_HIST_BITS + LOAD_HIST_SHIFTS + 1)) - 1) /* 73 min of ns */

struct load_hist {
    uint64_t count, sum, low, high;
    uint64_t bucket[LOAD_HIST_BUCKETS];
};

void load_hist_clear(struct load_hist *h);
void load_hist_add(struct load_hist *h, uint64_t value);
void load_hist_add_many(struct load_hist *h, uint64_t value, uint64_t n);
void load_hist_merge(struct load_hist *to, const struct load_hist *from);
/* The smallest value that at least `q` (0 to 1) of all values do not exceed; 0 when there is none. */
uint64_t load_hist_quantile(const struct load_hist *h, double q);
double load_hist_mean(const struct load_hist *h);
/* Adds to `to` what a client that asks every `interval` would have seen: beside a value above it
 * also value - interval, value - 2 interval, ... which a client that waits for each answer leaves
 * out (coordinated omission; Gil Tene, HdrHistogram). `interval` 0: adds the values alone. */
void load_hist_correct(struct load_hist *to, const struct load_hist *from, uint64_t interval);

#endif
