/* hlc.c - see hlc.h for the clock and its source. */
#include "base/hlc.h"

#include "base/assert.h"
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
