#include "base/zipf.h"

#include <math.h>

static double zeta(uint64_t n, double theta)
{
    double sum = 0;
    for (uint64_t i = 1; i <= n; i++)
        sum += 1.0 / pow((double)i, theta);
    return sum;
}

void zipf_init(struct zipf *z, uint64_t n, double theta, uint64_t seed)
{
    z->n = n;
    z->state = seed;
    z->alpha = 1.0 / (1.0 - theta);
    z->zeta_n = zeta(n, theta);
    z->half_pow_theta = 1.0 + pow(0.5, theta);
    z->eta = (1.0 - pow(2.0 / (double)n, 1.0 - theta)) / (1.0 - zeta(2, theta) / z->zeta_n);
}

void zipf_fork(const struct zipf *from, struct zipf *ret, uint64_t seed)
{
    *ret = *from;
    ret->state = seed;
}

static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t zipf_rank(struct zipf *z)
{
    z->state += 0x9e3779b97f4a7c15u;
    double u = (double)(mix(z->state) >> 11) * 0x1p-53, uz = u * z->zeta_n;
    if (uz < 1.0)
        return 0;
    if (uz < z->half_pow_theta)
        return 1;
    uint64_t rank = (uint64_t)((double)z->n * pow(z->eta * u - z->eta + 1.0, z->alpha));
    return rank < z->n ? rank : z->n - 1;
}

/* Two ranks may meet in one number, as in YCSB: the law stays close to Zipf's. */
uint64_t zipf_next(struct zipf *z)
{
    return mix(zipf_rank(z) + 0x9e3779b97f4a7c15u) % z->n;
}
