/* wire.c - see wire.h. */
#include "wire/wire.h"

#include "base/assert.h"

static inline uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

bool wire_eq_nocase(struct bytes a, struct bytes b)
{
    if (a.len != b.len)
        return false;
    if (a.len == 0 || memcmp(a.data, b.data, a.len) == 0)
        return true;
    for (size_t i = 0; i < a.len; i++)
        if (lower(a.data[i]) != lower(b.data[i]))
            return false;
    return true;
}

bool wire_is_of(struct bytes b, const char *others)
{
    for (size_t i = 0; i < b.len; i++) {
        const uint8_t c = b.data[i], low = c | 0x20;
        bool alnum = (low >= 'a' && low <= 'z') || (c >= '0' && c <= '9');
        if (!alnum && (!c || !strchr(others, c)))
            return false;
    }
    return true;
}

const struct wire_header *wire_header_find(const struct wire_header *headers, size_t n,
                                           struct bytes name)
{
    for (size_t i = 0; i < n; i++) /* names have few lengths in common */
        if (headers[i].name.len == name.len && wire_eq_nocase(headers[i].name, name))
            return &headers[i];
    return NULL;
}

void wire_budget_give(struct wire_budget *b, size_t n)
{
    ASSERT(n <= b->used);
    b->used -= n;
}

enum { MILLI = 1000 };

void wire_bucket_init(struct wire_bucket *b, struct wire_rate rate, uint64_t now_ms)
{
    *b = (struct wire_bucket){now_ms, (uint64_t)rate.burst * MILLI};
}

static void refill(struct wire_bucket *b, struct wire_rate rate, uint64_t now_ms)
{
    const uint64_t full = (uint64_t)rate.burst * MILLI;
    if (now_ms <= b->since_ms)
        return;
    /* A token a second is one thousandth a millisecond. */
    uint64_t passed = now_ms - b->since_ms, missing = full - b->milli;
    b->since_ms = now_ms;
    b->milli =
        rate.per_s && passed >= missing / rate.per_s + 1 ? full : b->milli + passed * rate.per_s;
    if (b->milli > full)
        b->milli = full;
}

bool wire_bucket_take(struct wire_bucket *b, struct wire_rate rate, uint64_t now_ms)
{
    refill(b, rate, now_ms);
    if (b->milli < MILLI)
        return false;
    b->milli -= MILLI;
    return true;
}

void wire_bucket_give(struct wire_bucket *b, struct wire_rate rate, uint32_t n)
{
    const uint64_t full = (uint64_t)rate.burst * MILLI;
    b->milli += (uint64_t)n * MILLI;
    if (b->milli > full)
        b->milli = full;
}

enum wire_protocol wire_detect(struct bytes first)
{
    static const char preface[WIRE_PREFACE + 1] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    size_t n = first.len < WIRE_PREFACE ? first.len : WIRE_PREFACE;
    if (n && memcmp(first.data, preface, n) != 0)
        return WIRE_HTTP1;
    return n == WIRE_PREFACE ? WIRE_HTTP2 : WIRE_UNDECIDED;
}
