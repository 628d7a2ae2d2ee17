/* le.h - integers at any address, as little-endian bytes: what lies on disk and goes over wires.
 *
 * One move each where the machine is little-endian; loops over bytes are not made into that by every
 * compiler, and cost more than the checksum of a log record's header.
 *
 * Owns: nothing. Promises: the same bytes on every machine. Never: checks a length. Threads: any.
 */
#ifndef VARVE_BASE_LE_H
#define VARVE_BASE_LE_H

#include <stdint.h>
#include <string.h>

static inline uint32_t le32(uint32_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t le64(uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void put_le16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void put_le32(uint8_t *p, uint32_t v)
{
    v = le32(v);
    memcpy(p, &v, sizeof v);
}

static inline void put_le64(uint8_t *p, uint64_t v)
{
    v = le64(v);
    memcpy(p, &v, sizeof v);
}

static inline uint32_t get_le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return le32(v);
}

static inline uint64_t get_le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return le64(v);
}

#endif
