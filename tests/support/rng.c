/* rng.c - see rng.h. */
#include "support/rng.h"

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void test_rng_init(struct test_rng *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        r->s[i] = splitmix64(&seed);
}

static inline uint64_t rotl(uint64_t v, int n)
{
    return v << n | v >> (64 - n);
}

uint64_t test_rng_u64(struct test_rng *r)
{
    uint64_t result = rotl(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t test_rng_below(struct test_rng *r, uint64_t n)
{
    /* The first 2^64 mod n numbers would make the low results likelier, so they are drawn again. */
    uint64_t v, skewed = -n % n;
    do
        v = test_rng_u64(r);
    while (v < skewed);
    return v % n;
}

uint64_t test_rng_between(struct test_rng *r, uint64_t lo, uint64_t hi)
{
    return hi - lo == UINT64_MAX ? test_rng_u64(r) : lo + test_rng_below(r, hi - lo + 1);
}

bool test_rng_chance(struct test_rng *r, uint32_t num, uint32_t den)
{
    return test_rng_below(r, den) < num;
}

uint64_t test_rng_any_width(struct test_rng *r)
{
    uint64_t bits = test_rng_below(r, 65);
    return bits == 0 ? 0 : test_rng_u64(r) >> (64 - bits);
}

void test_rng_bytes(struct test_rng *r, void *out, size_t len)
{
    uint8_t *p = out;
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)(test_rng_u64(r) >> 56);
}
