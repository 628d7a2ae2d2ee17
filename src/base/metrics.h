/* metrics.h - named counters, gauges and histograms, printed in the Prometheus text format 0.0.4.
 *
 * Owns:     a registry and its metrics; metrics_free frees them.
 * Promises: adding to a metric is one relaxed atomic; names follow Prometheus' rules (checked at
 *           registration).
 * Never:    allocates after registration.
 * Threads:  any thread may add; registration and free belong to the owner.
 */
#ifndef VARVE_BASE_METRICS_H
#define VARVE_BASE_METRICS_H

#include "base/buf.h"
#include <stdatomic.h>

struct metrics;
struct counter {
    _Atomic uint64_t value;
};
struct gauge {
    _Atomic int64_t value;
};
/* Log-linear buckets (HdrHistogram style): 4 per power of two, relative error at most 25 %. Values are
 * nanoseconds where the name ends in "_seconds" (and are printed as seconds), else what the name
 * says: bytes, rows. */
enum { HISTOGRAM_BUCKETS = 256 };
struct histogram {
    _Atomic uint64_t count, sum, bucket[HISTOGRAM_BUCKETS];
};

struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* NULL: no memory, a bad name, or the name is taken. `labels` e.g. "mode=\"always\"" or NULL. */
struct counter *metrics_counter(struct metrics *m, const char *name, const char *labels,
                                const char *help);
struct gauge *metrics_gauge(struct metrics *m, const char *name, const char *labels,
                            const char *help);
struct histogram *metrics_histogram(struct metrics *m, const char *name, const char *labels,
                                    const char *help);
enum status metrics_print(const struct metrics *m, struct buf *out) WARN_UNUSED;

static inline void counter_add(struct counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(&c->value, n, memory_order_relaxed);
}
static inline void gauge_set(struct gauge *g, int64_t v)
{
    atomic_store_explicit(&g->value, v, memory_order_relaxed);
}
void histogram_add(struct histogram *h, uint64_t value);
/* upper bound of the bucket; 0 when empty */
uint64_t histogram_quantile(const struct histogram *h, double q);

#endif
