/* hlc.h - versions, and the hybrid logical clock that mints them.
 *
 * A clock value is 48 bits of Unix milliseconds above 16 bits of counter, so it sorts by time and
 * never repeats.
 * Source: Kulkarni, Demirbas et al., "Logical Physical Clocks" (2014). The counter overflows into
 *         the milliseconds.
 *
 * Owns:     nothing. Promises: hlc_next is above every value seen, also when the wall clock jumps
 *           back.
 * Never:    reads a clock itself. Threads: one owner of a struct hlc.
 */
#ifndef VARVE_BASE_HLC_H
#define VARVE_BASE_HLC_H

#include "base/bytes.h"

/* Names one write. `origin` is the region that made it (0 until there are regions). {0,0} means
 * "none". */
struct version {
    uint64_t hlc;
    uint32_t origin;
};

#define VERSION_NONE ((struct version){0, 0})
#define VERSION_MAX  ((struct version){UINT64_MAX, UINT32_MAX})
enum { HLC_LOGICAL_BITS = 16, VERSION_TEXT_MAX = 32 };

static inline int version_cmp(struct version a, struct version b)
{
    if (a.hlc != b.hlc)
        return a.hlc < b.hlc ? -1 : 1;
    return (a.origin > b.origin) - (a.origin < b.origin);
}
static inline bool version_is_none(struct version v)
{
    return v.hlc == 0 && v.origin == 0;
}
static inline uint64_t version_ms(struct version v)
{
    return v.hlc >> HLC_LOGICAL_BITS;
}
/* The largest version of a millisecond: a read "at ms" sees all that was written in it. */
static inline struct version version_at_ms(uint64_t unix_ms)
{
    return (struct version){(unix_ms << HLC_LOGICAL_BITS) | 0xffff, UINT32_MAX};
}

struct hlc {
    uint64_t last;
};
uint64_t hlc_next(struct hlc *h, uint64_t now_ms);
/* Later values will be above `seen`. Whoever takes it from outside bounds it first: after
 * UINT64_MAX comes nothing. */
void hlc_observe(struct hlc *h, uint64_t seen);

/* "018f3a2b4c5d0001" or, with a nonzero origin, "018f3a2b4c5d0001-7" (hex, decimal). Returns the
 * length. */
size_t version_format(struct version v, char out[VERSION_TEXT_MAX]);
bool version_parse(struct bytes text, struct version *ret);

/* For messages: "2026-11-20T15:51:12.020Z" (UTC; past the year 9999 the milliseconds as they are).
 */
enum { TIME_TEXT_MAX = 32 };
void time_format(uint64_t unix_ms, char out[TIME_TEXT_MAX]);

#endif
