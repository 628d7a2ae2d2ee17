/* hlc.c - see hlc.h for the clock and its source. */
#include "base/hlc.h"

#include "base/assert.h"
#include <inttypes.h>
#include <stdio.h>

enum { HLC_HEX_DIGITS = 16 };
static const uint64_t ms_max = UINT64_MAX >> HLC_LOGICAL_BITS;

uint64_t hlc_next(struct hlc *h, uint64_t now_ms)
{
    ASSERT(h->last < UINT64_MAX);
    uint64_t wall = (now_ms < ms_max ? now_ms : ms_max) << HLC_LOGICAL_BITS;
    /* The +1 carries from the counter into the milliseconds by itself. */
    h->last = wall > h->last ? wall : h->last + 1;
    return h->last;
}

void hlc_observe(struct hlc *h, uint64_t seen)
{
    if (seen > h->last)
        h->last = seen;
}

size_t version_format(struct version v, char out[VERSION_TEXT_MAX])
{
    int n = v.origin ? snprintf(out, VERSION_TEXT_MAX, "%016llx-%lu", (unsigned long long)v.hlc,
                                (unsigned long)v.origin)
                     : snprintf(out, VERSION_TEXT_MAX, "%016llx", (unsigned long long)v.hlc);
    ASSERT(n > 0 && n < VERSION_TEXT_MAX);
    return (size_t)n;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* A nonzero decimal without leading zeros, so that a version has one text only (letter case apart).
 */
static bool parse_origin(struct bytes text, uint32_t *ret)
{
    uint64_t v = 0;
    if (text.len == 0 || text.len > 10 || text.data[0] == '0')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

bool version_parse(struct bytes text, struct version *ret)
{
    struct version v = VERSION_NONE;
    if (text.len < HLC_HEX_DIGITS)
        return false;
    for (size_t i = 0; i < HLC_HEX_DIGITS; i++) {
        int digit = hex_digit(text.data[i]);
        if (digit < 0)
            return false;
        v.hlc = v.hlc << 4 | (uint64_t)digit;
    }
    if (text.len > HLC_HEX_DIGITS) {
        struct bytes rest = {text.data + HLC_HEX_DIGITS + 1, text.len - HLC_HEX_DIGITS - 1};
        if (text.data[HLC_HEX_DIGITS] != '-' || !parse_origin(rest, &v.origin))
            return false;
    }
    *ret = v;
    return true;
}

/* Days to a date by eras of 400 years that begin in March, so that the leap day is their last
 * (Hinnant, "chrono-Compatible Low-Level Date Algorithms"). */
void time_format(uint64_t unix_ms, char out[TIME_TEXT_MAX])
{
    enum { DAY_MS = 86400000, ERA_DAYS = 146097, MARCH_0000 = 719468 };
    if (unix_ms >= UINT64_C(253402300800000)) {
        snprintf(out, TIME_TEXT_MAX, "%" PRIu64 " ms", unix_ms);
        return;
    }
    unsigned days = (unsigned)(unix_ms / DAY_MS) + MARCH_0000, ms = (unsigned)(unix_ms % DAY_MS);
    unsigned era = days / ERA_DAYS, of_era = days % ERA_DAYS;
    unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year + year / 4 - year / 100);
    unsigned from_march = (5 * of_year + 2) / 153;
    unsigned day = of_year - (153 * from_march + 2) / 5 + 1;
    unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;
    year += era * 400 + (month <= 2);
    snprintf(out, TIME_TEXT_MAX, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", year % 10000, month % 100,
             day % 100, ms / 3600000, ms / 60000 % 60, ms / 1000 % 60, ms % 1000);
}
