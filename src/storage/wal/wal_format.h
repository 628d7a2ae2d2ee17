/* wal_format.h - the log's bytes on disk: segment headers, group headers, records. Little-endian.
 *
 * Segment file (NNNNNNNN.seg, the number is its slot and means nothing): a page of 4096 bytes, then
 * groups. The page:
 *    0 u8[8] magic "VARVEWAL"      24 u64 epoch (0 = spare)      56 u64 mark epoch
 *    8 u32 CRC32C of 12..96        32 u64 size of the segment    64 u64 mark offset
 *   12 u32 format version          40 u64 stamp, random per use  72 u64 end of the segment before
 *   16 u16 codec, 18 u16 key id    48 u64 low: the oldest epoch  80 .. 4096 zero
 *   20 u32 slot                           the log needs
 * The first 96 bytes keep this layout and their CRC in every later version, so that an old program
 * can tell a newer format from rot. They lie in one sector: a power cut leaves the old header or
 * the new one.
 *
 * Group, at a multiple of 8, then its records back to back, then zeros up to a multiple of 8:
 *    0 u32 magic                   24 u32 own offset / 8         40 u32 incarnation
 *    4 u32 CRC32C of 8..64         28 u32 length of the records  44 u32 epoch - low
 *    8 u64 epoch                   32 u32 number of records      48 u32 epoch - mark epoch
 *   16 u64 stamp of the segment    36 u32 CRC32C of all record   52 u32 zero
 *                                         headers, in order      56 u64 mark offset
 * Record:
 *    0 u32 CRC32C of 4..40         12 u8 kind, u8 codec          16 u64 range
 *    4 u32 CRC32C of the payload   14 u8 key id, u8 zero         24 u64 term
 *    8 u32 payload length          40 payload                    32 u64 index
 *
 * Why it holds:
 *  1. A group is live only where it says it is (epoch, stamp, offset). The stamp is random for each
 *     use of a segment, so neither stale bytes nor a user's value that happens to hold a copy of a
 *     log can pass for a group.
 *  2. The group's CRC covers the record headers' CRC, and those cover the payloads: a group header
 *     that reached the disk beside the old bytes of another group in the same place is no group.
 *  3. Incarnations never fall along the log and rise with each opening. What a recovery dropped
 *     behind the torn place has a lower one than whatever is appended there next, so it can never
 *     become live again. Right at the end a recovery writes zeros.
 *  4. `low` is in every group: the group that raises it is synced before the segments below it are
 *     reused. A segment header can be durable before the groups ahead of it, so it claims only a
 *     low and a mark that are durable already.
 *  5. A bad group below the highest mark in any group or header is rot, above it a torn tail.
 *     Between the last sync and the idle marker behind it the two cannot be told apart.
 *
 * Owns: nothing. Promises: decoders take any bytes. Never: reads past what it is given.
 * Threads: pure functions.
 */
#ifndef VARVE_STORAGE_WAL_FORMAT_H
#define VARVE_STORAGE_WAL_FORMAT_H

#include "storage/wal/wal.h"

enum {
    WAL_SEG_PAGE = 4096, /* bytes before the first group */
    WAL_SEG_HEADER = 96, /* of which these carry something */
    WAL_GROUP_HEADER = 64,
    WAL_RECORD_HEADER = 40,
    WAL_ALIGN = 8,
    WAL_GROUP_MAGIC = 0x70726756, /* "Vgrp" */
};
#define WAL_SEG_BYTES_MAX                                                                          \
    ((uint64_t)UINT32_MAX * WAL_ALIGN) /* group offsets are kept in 32 bits of 8 */

struct wal_seg_header {
    uint32_t slot;
    uint32_t version; /* when decoding; encoding writes WAL_FORMAT_VERSION */
    uint64_t epoch, bytes, stamp, low;
    struct wal_pos mark;
    uint64_t prev_end;
};

enum wal_head {
    WAL_HEAD_OK,
    WAL_HEAD_BAD,   /* not a header, or its CRC is wrong */
    WAL_HEAD_NEWER, /* a good header of a format this program does not know; only `version` is set
                     */
};

struct wal_group_header {
    uint64_t epoch, stamp, offset, low;
    struct wal_pos mark;
    uint32_t length, count, records_crc, incarnation;
};

struct wal_record_header {
    uint64_t range, term, index;
    uint32_t payload_crc, length;
    uint8_t kind, codec, key;
};

void wal__seg_encode(const struct wal_seg_header *h, uint8_t out[WAL_SEG_HEADER]);
enum wal_head wal__seg_decode(const uint8_t in[WAL_SEG_HEADER], struct wal_seg_header *ret);

void wal__group_encode(const struct wal_group_header *h, uint8_t out[WAL_GROUP_HEADER]);
/* false: not a group header, or damaged. Does not look at where it was found: wal__group_is_live
 * does. */
bool wal__group_decode(const uint8_t in[WAL_GROUP_HEADER], struct wal_group_header *ret);

/* Continues `headers_crc` (start with 0) over the header: the group carries it. */
void wal__record_encode(const struct wal_record *r, uint32_t payload_crc, uint32_t *headers_crc,
                        uint8_t out[WAL_RECORD_HEADER]);
bool wal__record_decode(const uint8_t in[WAL_RECORD_HEADER], struct wal_record_header *ret);

static inline uint64_t wal__align(uint64_t n)
{
    return (n + WAL_ALIGN - 1) & ~(uint64_t)(WAL_ALIGN - 1);
}
static inline uint64_t wal__group_bytes(const struct wal_group_header *h)
{
    return WAL_GROUP_HEADER + wal__align(h->length);
}
/* Does the header belong to this use of this segment, at this offset, and fit? */
bool wal__group_is_live(const struct wal_group_header *g, const struct wal_seg_header *seg,
                        uint64_t offset);

/* What is wrong with a group's body (its `length` bytes and the padding behind them). */
struct wal_flaw {
    uint64_t offset; /* from the start of the segment */
    uint64_t range;  /* 0: not known */
    const char *text;
    bool newer;   /* the checksums are right, but the meaning is not known to this program */
    bool payload; /* all headers are sound and known: wal__group_next steps through the records */
};
/* Checks every checksum of a group's body. false: *ret says the first flaw. */
bool wal__group_check(const struct wal_group_header *g, const uint8_t *body, struct wal_flaw *ret);

/* Steps through the records of a checked body. false: no more. `*at` starts at 0; *ret_at is the
 * record's place in it. */
bool wal__group_next(const struct wal_group_header *g, const uint8_t *body, uint64_t *at,
                     struct wal_record *ret, uint64_t *ret_at);

#endif
