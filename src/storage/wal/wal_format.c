#include "storage/wal/wal_format.h"

#include "base/assert.h"
#include "base/hash.h"
#include "base/le.h"

/* Far beyond what any log reaches; what is larger was not written by us. They leave room to count
 * on. */
#define EPOCH_MAX       ((uint64_t)1 << 62)
#define DISTANCE_MAX    ((uint64_t)1 << 31)
#define INCARNATION_MAX ((uint32_t)1 << 31)

static const uint8_t seg_magic[8] = {'V', 'A', 'R', 'V', 'E', 'W', 'A', 'L'};

void wal__seg_encode(const struct wal_seg_header *h, uint8_t out[WAL_SEG_HEADER])
{
    memset(out, 0, WAL_SEG_HEADER);
    memcpy(out, seg_magic, sizeof seg_magic);
    put_le32(out + 12, WAL_FORMAT_VERSION);
    put_le16(out + 16, 0); /* codec: plain */
    put_le16(out + 18, 0); /* not encrypted */
    put_le32(out + 20, h->slot);
    put_le64(out + 24, h->epoch);
    put_le64(out + 32, h->bytes);
    put_le64(out + 40, h->stamp);
    put_le64(out + 48, h->low);
    put_le64(out + 56, h->mark.epoch);
    put_le64(out + 64, h->mark.offset);
    put_le64(out + 72, h->prev_end);
    put_le32(out + 8, crc32c(0, out + 12, WAL_SEG_HEADER - 12));
}

enum wal_head wal__seg_decode(const uint8_t in[WAL_SEG_HEADER], struct wal_seg_header *ret)
{
    if (memcmp(in, seg_magic, sizeof seg_magic) != 0 ||
        get_le32(in + 8) != crc32c(0, in + 12, WAL_SEG_HEADER - 12))
        return WAL_HEAD_BAD;
    struct wal_seg_header h = {.version = get_le32(in + 12)};
    /* A codec or key that is not ours is a newer format even under our version number. */
    if (h.version != WAL_FORMAT_VERSION || get_le32(in + 16) != 0) {
        ret->version = h.version;
        return WAL_HEAD_NEWER;
    }
    h.slot = get_le32(in + 20);
    h.epoch = get_le64(in + 24);
    h.bytes = get_le64(in + 32);
    h.stamp = get_le64(in + 40);
    h.low = get_le64(in + 48);
    h.mark = (struct wal_pos){get_le64(in + 56), get_le64(in + 64)};
    h.prev_end = get_le64(in + 72);
    bool sane = h.bytes >= WAL_SEG_PAGE && h.bytes <= WAL_SEG_BYTES_MAX && h.epoch < EPOCH_MAX &&
                h.low <= h.epoch && h.epoch - h.low < DISTANCE_MAX && h.mark.epoch <= h.epoch &&
                h.epoch - h.mark.epoch < DISTANCE_MAX && h.prev_end <= WAL_SEG_BYTES_MAX &&
                h.prev_end % WAL_ALIGN == 0;
    if (!sane)
        return WAL_HEAD_BAD;
    *ret = h;
    return WAL_HEAD_OK;
}

void wal__group_encode(const struct wal_group_header *h, uint8_t out[WAL_GROUP_HEADER])
{
    ASSERT(h->offset % WAL_ALIGN == 0 && h->offset / WAL_ALIGN <= UINT32_MAX);
    ASSERT(h->low <= h->epoch && h->epoch - h->low <= UINT32_MAX);
    ASSERT(h->mark.epoch <= h->epoch && h->epoch - h->mark.epoch <= UINT32_MAX);
    put_le32(out, WAL_GROUP_MAGIC);
    put_le64(out + 8, h->epoch);
    put_le64(out + 16, h->stamp);
    put_le32(out + 24, (uint32_t)(h->offset / WAL_ALIGN));
    put_le32(out + 28, h->length);
    put_le32(out + 32, h->count);
    put_le32(out + 36, h->records_crc);
    put_le32(out + 40, h->incarnation);
    put_le32(out + 44, (uint32_t)(h->epoch - h->low));
    put_le32(out + 48, (uint32_t)(h->epoch - h->mark.epoch));
    put_le32(out + 52, 0);
    put_le64(out + 56, h->mark.offset);
    put_le32(out + 4, crc32c(0, out + 8, WAL_GROUP_HEADER - 8));
}

bool wal__group_decode(const uint8_t in[WAL_GROUP_HEADER], struct wal_group_header *ret)
{
    if (get_le32(in) != WAL_GROUP_MAGIC ||
        get_le32(in + 4) != crc32c(0, in + 8, WAL_GROUP_HEADER - 8))
        return false;
    struct wal_group_header h = {
        .epoch = get_le64(in + 8),
        .stamp = get_le64(in + 16),
        .offset = (uint64_t)get_le32(in + 24) * WAL_ALIGN,
        .length = get_le32(in + 28),
        .count = get_le32(in + 32),
        .records_crc = get_le32(in + 36),
        .incarnation = get_le32(in + 40),
    };
    uint64_t low_back = get_le32(in + 44), mark_back = get_le32(in + 48);
    if (h.epoch >= EPOCH_MAX || h.incarnation >= INCARNATION_MAX || low_back > h.epoch ||
        mark_back > h.epoch || get_le32(in + 52) != 0 || h.length > WAL_GROUP_MAX ||
        h.length / WAL_RECORD_HEADER < h.count)
        return false;
    h.low = h.epoch - low_back;
    h.mark = (struct wal_pos){h.epoch - mark_back, get_le64(in + 56)};
    *ret = h;
    return true;
}

/* The checksums are made from registers: a load that spans two fresh stores waits until both have left
 * the core, and with it the records behind, which would else be worked on meanwhile. */
void wal__record_encode(const struct wal_record *r, uint32_t payload_crc, uint32_t *headers_crc,
                        uint8_t out[WAL_RECORD_HEADER])
{
    ASSERT(r->payload.len <= WAL_PAYLOAD_MAX);
    /* codec, key id and the spare byte are 0 */
    uint64_t what = r->payload.len | (uint64_t)r->kind << 32;
    uint64_t range = r->range, term = r->term, index = r->index;
    /* Its own place in front is not covered: four zeros from an inner state of 0 change nothing, and
     * then the state that a checksum starts from is as good as flipped bits of what comes first. */
    uint32_t crc =
        crc32c_words(~UINT32_C(0), (uint64_t)~payload_crc << 32, what, range, term, index);
    uint64_t first = crc | (uint64_t)payload_crc << 32;
    *headers_crc = crc32c_words(*headers_crc, first, what, range, term, index);
    put_le64(out, first);
    put_le64(out + 8, what);
    put_le64(out + 16, range);
    put_le64(out + 24, term);
    put_le64(out + 32, index);
}

bool wal__record_decode(const uint8_t in[WAL_RECORD_HEADER], struct wal_record_header *ret)
{
    if (get_le32(in) != crc32c(0, in + 4, WAL_RECORD_HEADER - 4))
        return false;
    *ret = (struct wal_record_header){
        .payload_crc = get_le32(in + 4),
        .length = get_le32(in + 8),
        .kind = in[12],
        .codec = in[13],
        .key = in[14],
        .range = get_le64(in + 16),
        .term = get_le64(in + 24),
        .index = get_le64(in + 32),
    };
    return true;
}

bool wal__group_is_live(const struct wal_group_header *g, const struct wal_seg_header *seg,
                        uint64_t offset)
{
    return g->epoch == seg->epoch && g->stamp == seg->stamp && g->offset == offset &&
           offset + wal__group_bytes(g) <= seg->bytes;
}

static bool flaw(struct wal_flaw *ret, uint64_t offset, uint64_t range, const char *text)
{
    *ret = (struct wal_flaw){.offset = offset, .range = range, .text = text};
    return false;
}

static bool newer(struct wal_flaw *ret, uint64_t offset, uint64_t range, const char *text)
{
    *ret = (struct wal_flaw){.offset = offset, .range = range, .text = text, .newer = true};
    return false;
}

static bool known(const struct wal_record_header *r)
{
    return r->codec == 0 && r->key == 0 && r->kind >= WAL_ENTRY && r->kind <= WAL_RELEASE;
}

/* Only what belongs to single records is damaged, or nothing that means anything. */
static bool damaged(struct wal_flaw *ret, const struct wal_group_header *g, const uint8_t *body,
                    uint64_t offset, uint64_t range, const char *text)
{
    struct wal_record_header r;
    uint64_t at = 0;
    (void)flaw(ret, offset, range, text);
    ret->payload = true;
    for (uint32_t i = 0; i < g->count && ret->payload; i++) {
        ret->payload = wal__record_decode(body + at, &r) && known(&r);
        at += WAL_RECORD_HEADER + r.length;
    }
    return false;
}

bool wal__group_check(const struct wal_group_header *g, const uint8_t *body, struct wal_flaw *ret)
{
    uint64_t base = g->offset + WAL_GROUP_HEADER, at = 0;
    uint32_t headers_crc = 0;
    struct wal_record_header r;
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->length - at < WAL_RECORD_HEADER)
            return flaw(ret, base + at, 0, "the group ends inside a record header");
        if (!wal__record_decode(body + at, &r))
            return flaw(ret, base + at, 0, "record header checksum");
        headers_crc = crc32c(headers_crc, body + at, WAL_RECORD_HEADER);
        if (r.length > g->length - at - WAL_RECORD_HEADER)
            return flaw(ret, base + at, r.range, "the record is longer than its group");
        at += WAL_RECORD_HEADER + r.length;
    }
    if (headers_crc != g->records_crc)
        return flaw(ret, base, 0, "the records are not those of the group");
    if (at != g->length)
        return flaw(ret, base + at, 0, "bytes behind the last record");
    at = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        if (!wal__record_decode(body + at, &r))
            return flaw(ret, base + at, 0, "record header checksum");
        if (crc32c(0, body + at + WAL_RECORD_HEADER, r.length) != r.payload_crc)
            return damaged(ret, g, body, base + at, r.range, "payload checksum");
        if (!known(&r))
            return newer(ret, base + at, r.range, "unknown kind, codec or key of a record");
        at += WAL_RECORD_HEADER + r.length;
    }
    for (; at < wal__align(g->length); at++) {
        if (body[at] != 0)
            return damaged(ret, g, body, base + at, 0, "padding is not zero");
    }
    return true;
}

bool wal__group_next(const struct wal_group_header *g, const uint8_t *body, uint64_t *at,
                     struct wal_record *ret, uint64_t *ret_at)
{
    struct wal_record_header r;
    if (g->length - *at < WAL_RECORD_HEADER || !wal__record_decode(body + *at, &r) ||
        r.length > g->length - *at - WAL_RECORD_HEADER)
        return false;
    *ret_at = *at;
    *ret = (struct wal_record){
        .range = r.range,
        .term = r.term,
        .index = r.index,
        .kind = r.kind,
        .payload = BYTES(body + *at + WAL_RECORD_HEADER, r.length),
    };
    *at += WAL_RECORD_HEADER + r.length;
    return true;
}
