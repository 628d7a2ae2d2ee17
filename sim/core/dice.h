/* dice.h - luck from a seed, in integers only.
 *
 * Owns:     nothing; a stream of luck is a plain value. Promises: the same seed gives the same luck
 *           on any machine; streams forked by name do not disturb each other, so that one more throw
 *           in one place leaves the others as they were. Never: uses floating point.
 * Threads:  pure functions.
 */
#ifndef VARVE_SIM_CORE_DICE_H
#define VARVE_SIM_CORE_DICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dice {
    uint64_t state;
};

/* SplitMix64 (Steele, Lea and Flood, OOPSLA '14): any seed is as good as any other. */
static inline uint64_t dice_next(struct dice *d)
{
    uint64_t z = d->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t dice_below(struct dice *d, uint64_t n) /* n > 0, and small */
{
    return dice_next(d) % n;
}

static inline uint64_t dice_between(struct dice *d, uint64_t lo, uint64_t hi) /* both included */
{
    return lo + dice_below(d, hi - lo + 1);
}

/* Nothing is thrown for 0, so that a fault that is switched off costs no luck. */
static inline bool dice_ppm(struct dice *d, uint32_t ppm)
{
    return ppm != 0 && dice_below(d, 1000000) < ppm;
}

static inline bool dice_one_in(struct dice *d, uint64_t n)
{
    return dice_below(d, n) == 0;
}

static inline bool dice_chance(struct dice *d, uint32_t num, uint32_t den) /* in num of den cases */
{
    return dice_below(d, den) < num;
}

static inline void dice_bytes(struct dice *d, void *out, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)out)[i] = (uint8_t)(dice_next(d) >> 56);
}

/* A delay as networks have it: mostly little of `spread`, now and then several times as much. */
enum { DICE_TAIL_MOST = 32 }; /* times `spread` */
static inline uint64_t dice_tail(struct dice *d, uint64_t spread)
{
    if (spread == 0)
        return 0;
    uint64_t r = dice_next(d);
    unsigned doubled = (unsigned)__builtin_ctzll(r | 1u << 6); /* 0 half of the time, up to 6 */
    return dice_below(d, (spread << doubled) + 1) >> 1;
}

/* A stream of its own for `what`. */
static inline struct dice dice_fork(uint64_t seed, uint64_t what)
{
    struct dice d = {seed ^ what * 0xd6e8feb86659fd93u};
    return (struct dice){dice_next(&d)};
}

#endif
