#include "sim/core/points.h"

#include "base/assert.h"
#include "base/buggify.h"
#include "sim/core/dice.h"

#include <string.h>

/* Made by the linker around the section of buggify.h; absent when there is no point. */
extern const struct buggify_point __start_varve_points[] __attribute__((weak));
extern const struct buggify_point __stop_varve_points[] __attribute__((weak));

static struct {
    struct dice dice[POINTS_MAX]; /* each its own, by name: a new point leaves the others' luck */
    uint32_t one_in[POINTS_MAX];  /* 0: not active */
    uint64_t passed[POINTS_MAX], fired[POINTS_MAX];
} now;

size_t points_count(void)
{
    size_t n = (size_t)(__stop_varve_points - __start_varve_points);
    return n < POINTS_MAX ? n : POINTS_MAX;
}

static uint64_t name_hash(const char *name)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    return h;
}

void points_begin(uint64_t seed, bool on)
{
    memset(&now, 0, sizeof now);
    for (size_t i = 0; i < points_count(); i++) {
        struct dice *d = &now.dice[i];
        *d = dice_fork(seed, name_hash(points_name(i)));
        if (on && dice_one_in(d, 3))
            now.one_in[i] = dice_one_in(d, 3) ? 2 : (uint32_t)dice_between(d, 2, 50);
    }
}

void points_rest(void)
{
    memset(now.one_in, 0, sizeof now.one_in);
}

const char *points_name(size_t i)
{
    return __start_varve_points[i].name;
}

bool points_is_probe(size_t i)
{
    return __start_varve_points[i].probe;
}

uint64_t points_passed(size_t i)
{
    return now.passed[i];
}

uint64_t points_fired(size_t i)
{
    return now.fired[i];
}

bool buggify_hook(const struct buggify_point *p)
{
    size_t i = (size_t)(p - __start_varve_points);
    ASSERT(p >= __start_varve_points && p < __stop_varve_points);
    if (i >= POINTS_MAX)
        return false;
    now.passed[i]++;
    if (p->probe || now.one_in[i] == 0 || !dice_one_in(&now.dice[i], now.one_in[i]))
        return false;
    now.fired[i]++;
    return true;
}
