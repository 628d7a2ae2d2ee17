/* fuzz_wal_record.c - the decoders of groups and records take any bytes.
 *
 * The input is a group (header, records, padding). Checksums are made right first, from the inside
 * out, so that the lengths behind them are reached; odd inputs keep theirs. Whatever passes the
 * checks encodes to the same bytes.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "storage/wal/wal_format.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_crc(uint8_t *at, uint32_t crc)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(crc >> (8 * i));
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void repair(uint8_t *g, size_t size)
{
    uint32_t headers = 0, count = get32(g + 32);
    size_t at = WAL_GROUP_HEADER;
    for (uint32_t i = 0; i < count && size - at >= WAL_RECORD_HEADER; i++) {
        uint32_t len = get32(g + at + 8);
        if (len > size - at - WAL_RECORD_HEADER)
            break;
        put_crc(g + at + 4, crc32c(0, g + at + WAL_RECORD_HEADER, len));
        put_crc(g + at, crc32c(0, g + at + 4, WAL_RECORD_HEADER - 4));
        headers = crc32c(headers, g + at, WAL_RECORD_HEADER);
        at += WAL_RECORD_HEADER + len;
    }
    put_crc(g + 36, headers);
    put_crc(g + 4, crc32c(0, g + 8, WAL_GROUP_HEADER - 8));
}

static void check_records(const struct wal_group_header *g, const uint8_t *body)
{
    struct wal_record r;
    uint64_t at = 0, place, end = 0;
    uint32_t n = 0;
    while (wal__group_next(g, body, &at, &r, &place)) {
        uint8_t again[WAL_RECORD_HEADER];
        ASSERT(place == end && at <= g->length);
        ASSERT(r.payload.data == body + place + WAL_RECORD_HEADER &&
               r.payload.len <= WAL_GROUP_MAX);
        if (r.payload.len <= WAL_PAYLOAD_MAX) {
            uint32_t headers_crc = 0;
            wal__record_encode(&r, crc32c(0, r.payload.data, r.payload.len), &headers_crc, again);
            ASSERT(again[15] != body[place + 15] || memcmp(again, body + place, sizeof again) == 0);
        }
        end = at;
        n++;
    }
    ASSERT(n == g->count && at == g->length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct wal_seg_header seg;
    if (size >= WAL_SEG_HEADER && wal__seg_decode(data, &seg) == WAL_HEAD_OK) {
        uint8_t again[WAL_SEG_HEADER];
        struct wal_seg_header back;
        wal__seg_encode(&seg, again);
        ASSERT(wal__seg_decode(again, &back) == WAL_HEAD_OK && back.epoch == seg.epoch &&
               back.bytes == seg.bytes);
    }
    if (size < WAL_GROUP_HEADER)
        return 0;
    uint8_t *g = malloc(size);
    ASSERT(g);
    memcpy(g, data, size);
    if (size % 2 == 0)
        repair(g, size);
    struct wal_group_header h;
    if (wal__group_decode(g, &h) && wal__group_bytes(&h) <= size) {
        struct wal_flaw flaw;
        uint8_t again[WAL_GROUP_HEADER];
        wal__group_encode(&h, again);
        ASSERT(memcmp(again, g, sizeof again) == 0);
        if (wal__group_check(&h, g + WAL_GROUP_HEADER, &flaw))
            check_records(&h, g + WAL_GROUP_HEADER);
        else
            ASSERT(flaw.text && flaw.offset >= h.offset &&
                   flaw.offset <= h.offset + wal__group_bytes(&h));
    }
    free(g);
    return 0;
}
