#include "serve/load/load_hist.h"

#include "base/assert.h"
#include <string.h>

enum { EXACT = 2 << LOAD_HIST_BITS }; /* values below have a bucket of their own */

static unsigned index_of(uint64_t value)
{
    if (value < EXACT)
        return (unsigned)value;
    if (value > LOAD_HIST_MAX)
        value = LOAD_HIST_MAX;
    unsigned shift = 63 - (unsigned)__builtin_clzll(value) - LOAD_HIST_BITS;
    return (shift << LOAD_HIST_BITS) + (unsigned)(value >> shift);
}

static uint64_t top_of(unsigned index)
{
    if (index < EXACT)
        return index;
    unsigned shift = (index >> LOAD_HIST_BITS) - 1;
    uint64_t lead = (index & ((1u << LOAD_HIST_BITS) - 1)) + (1u << LOAD_HIST_BITS);
    return ((lead + 1) << shift) - 1;
}

void load_hist_clear(struct load_hist *h)
{
    memset(h, 0, sizeof *h);
}

void load_hist_add_many(struct load_hist *h, uint64_t value, uint64_t n)
{
    if (n == 0)
        return;
    unsigned i = index_of(value);
    DASSERT(i < LOAD_HIST_BUCKETS && (value > LOAD_HIST_MAX || top_of(i) >= value));
    h->bucket[i] += n;
    h->low = h->count == 0 || value < h->low ? value : h->low;
    h->high = value > h->high ? value : h->high;
    h->count += n;
    h->sum += value * n;
}

void load_hist_add(struct load_hist *h, uint64_t value)
{
    load_hist_add_many(h, value, 1);
}

void load_hist_merge(struct load_hist *to, const struct load_hist *from)
{
    if (from->count == 0)
        return;
    for (unsigned i = 0; i < LOAD_HIST_BUCKETS; i++)
        to->bucket[i] += from->bucket[i];
    to->low = to->count == 0 || from->low < to->low ? from->low : to->low;
    to->high = from->high > to->high ? from->high : to->high;
    to->count += from->count;
    to->sum += from->sum;
}

uint64_t load_hist_quantile(const struct load_hist *h, double q)
{
    if (h->count == 0)
        return 0;
    double exact = q * (double)h->count;
    uint64_t rank = (uint64_t)exact, seen = 0;
    if ((double)rank < exact)
        rank++;
    rank = rank < 1 ? 1 : rank > h->count ? h->count : rank;
    for (unsigned i = 0; i < LOAD_HIST_BUCKETS - 1; i++) {
        seen += h->bucket[i];
        if (seen >= rank)
            return top_of(i) < h->high ? top_of(i) : h->high;
    }
    return h->high;
}

double load_hist_mean(const struct load_hist *h)
{
    return h->count ? (double)h->sum / (double)h->count : 0;
}

void load_hist_correct(struct load_hist *to, const struct load_hist *from, uint64_t interval)
{
    for (unsigned i = 0; i < LOAD_HIST_BUCKETS; i++) {
        uint64_t n = from->bucket[i], value = top_of(i);
        if (n == 0)
            continue;
        value = value < from->high ? value : from->high;
        load_hist_add_many(to, value, n);
        if (interval == 0)
            continue;
        while (value >= 2 * interval) {
            value -= interval;
            load_hist_add_many(to, value, n);
        }
    }
}
