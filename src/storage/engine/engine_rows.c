#include "storage/engine/engine_rows.h"

#include "base/assert.h"
#include "base/keyenc.h"

enum {
    MARK_FORMAT = 1,
    MARK_FORMAT_COUNTS = 2,
    MARK_FORMAT_NOTE = 3,
    MARK_VALUE_BYTES = 30,
    MARK_COUNTS_BYTES = MARK_VALUE_BYTES + 8 * ENGINE_FAMILIES,
    MARK_NOTE_AT = MARK_COUNTS_BYTES + 1,
};
enum { WHEN_KIND = 3, WHEN_PARENT = 4, WHEN_ORIGIN = 8 };

const char *engine_family_name(enum engine_family f)
{
    return f == ENGINE_LIVE ? "live" : f == ENGINE_PAST ? "past" : "when";
}

struct version engine_version_next(struct version v)
{
    if (v.origin != UINT32_MAX)
        v.origin++;
    else if (v.hlc != UINT64_MAX)
        v = (struct version){v.hlc + 1, 0};
    return v;
}

static uint64_t be64_at(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static uint32_t be32_at(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

static void put_version(uint8_t *p, struct version v)
{
    put_be64(p, v.hlc);
    for (int i = 0; i < 4; i++)
        p[8 + i] = (uint8_t)(v.origin >> (24 - 8 * i));
}

enum status engine_past_prefix(struct buf *out, struct bytes key)
{
    buf_clear(out);
    return keyenc_bytes(out, key);
}

enum status engine_past_append(struct buf *out, struct version v)
{
    uint8_t tail[ENGINE_VERSION_BYTES];
    put_version(tail, (struct version){~v.hlc, ~v.origin});
    return buf_append(out, tail, sizeof(tail));
}

enum status engine_past_key(struct buf *out, struct bytes key, struct version v)
{
    enum status st = engine_past_prefix(out, key);
    return st != ST_OK ? st : engine_past_append(out, v);
}

enum status engine_when_key(struct buf *out, uint64_t range, struct version v, struct bytes key)
{
    uint8_t head[ENGINE_WHEN_HEAD];
    put_be64(head, range);
    put_version(head + 8, v);
    buf_clear(out);
    enum status st = buf_append(out, head, sizeof(head));
    return st != ST_OK ? st : buf_append(out, key.data, key.len);
}

enum status engine_when_value(struct buf *out, uint8_t kind, struct version v,
                              struct version parent)
{
    bool has_parent = !version_is_none(parent);
    uint8_t head = kind;
    if (has_parent)
        head |= WHEN_PARENT;
    if (has_parent && parent.origin)
        head |= WHEN_ORIGIN;
    buf_clear(out);
    enum status st = buf_append_u8(out, head);
    if (st == ST_OK && has_parent)
        st = buf_append_varint(out, v.hlc - parent.hlc);
    if (st == ST_OK && (head & WHEN_ORIGIN))
        st = buf_append_varint(out, parent.origin);
    return st;
}

enum status engine_mark_value(struct buf *out, const struct engine_mark *m, uint8_t flags,
                              const struct engine_counts *counts)
{
    uint8_t v[MARK_NOTE_AT + ENGINE_NOTE_MAX] = {counts->known ? MARK_FORMAT_COUNTS : MARK_FORMAT,
                                                 flags};
    ASSERT(m->note_len <= ENGINE_NOTE_MAX);
    put_be64(v + 2, m->index);
    put_be64(v + 10, m->term);
    put_version(v + 18, m->version);
    for (int f = 0; counts->known && f < ENGINE_FAMILIES; f++)
        put_be64(v + MARK_VALUE_BYTES + 8 * f, counts->rows[f]);
    buf_clear(out);
    if (m->note_len) {
        v[0] = MARK_FORMAT_NOTE;
        v[MARK_COUNTS_BYTES] = counts->known;
        memcpy(v + MARK_NOTE_AT, m->note, m->note_len);
        return buf_append(out, v, MARK_NOTE_AT + (size_t)m->note_len);
    }
    return buf_append(out, v, counts->known ? MARK_COUNTS_BYTES : MARK_VALUE_BYTES);
}

void engine_mark_key(uint64_t range, uint8_t out[ENGINE_MARK_KEY_BYTES])
{
    memset(out, 0xff, 4);
    put_be64(out + 4, range);
}

void engine_floor_value(struct version v, uint8_t out[ENGINE_VERSION_BYTES])
{
    put_version(out, v);
}

bool engine_past_split(struct bytes row_key, struct bytes *ret_prefix, struct version *ret)
{
    /* The shortest prefix is the encoding of the empty key, 00 01. */
    if (row_key.len < ENGINE_VERSION_BYTES + 2)
        return false;
    size_t n = row_key.len - ENGINE_VERSION_BYTES;
    if (row_key.data[n - 2] != 0x00 || row_key.data[n - 1] != 0x01)
        return false;
    *ret_prefix = (struct bytes){row_key.data, n};
    *ret = (struct version){~be64_at(row_key.data + n), ~be32_at(row_key.data + n + 8)};
    return true;
}

bool engine_past_decode(struct bytes value, struct version v, struct record *ret)
{
    struct record r = {.version = v};
    if (!record_decode(value, 0, &r))
        return false;
    if ((r.kind == RECORD_FLOOR) != version_is_none(v))
        return false;
    if (r.kind == RECORD_FLOOR) {
        if (r.value.len != ENGINE_VERSION_BYTES || !version_is_none(r.parent))
            return false;
        r.version = (struct version){be64_at(r.value.data), be32_at(r.value.data + 8)};
        r.value = BYTES_EMPTY;
    }
    *ret = r;
    return true;
}

bool engine_live_decode(struct bytes value, struct record *ret)
{
    struct record r = {0};
    if (!record_decode(value, RECORD_WITH_VERSION, &r) || r.kind != RECORD_PUT ||
        version_is_none(r.version))
        return false;
    *ret = r;
    return true;
}

bool engine_when_split(struct bytes row_key, uint64_t *ret_range, struct version *ret,
                       struct bytes *ret_key)
{
    if (row_key.len < ENGINE_WHEN_HEAD)
        return false;
    *ret_range = be64_at(row_key.data);
    *ret = (struct version){be64_at(row_key.data + 8), be32_at(row_key.data + 16)};
    *ret_key = (struct bytes){row_key.data + ENGINE_WHEN_HEAD, row_key.len - ENGINE_WHEN_HEAD};
    return true;
}

bool engine_when_decode(struct bytes value, struct version v, uint8_t *ret_kind,
                        struct version *ret_parent)
{
    struct reader r = reader_of(value);
    struct version parent = VERSION_NONE;
    uint8_t head;
    uint64_t delta, origin;
    if (!read_u8(&r, &head) || (head & ~(WHEN_KIND | WHEN_PARENT | WHEN_ORIGIN)))
        return false;
    uint8_t kind = head & WHEN_KIND;
    if (kind != RECORD_PUT && kind != RECORD_DELETE)
        return false;
    if (head & WHEN_PARENT) {
        if (!read_varint(&r, &delta) || delta > v.hlc)
            return false;
        parent.hlc = v.hlc - delta;
    }
    if (head & WHEN_ORIGIN) {
        if (!(head & WHEN_PARENT) || !read_varint(&r, &origin) || origin == 0 ||
            origin > UINT32_MAX)
            return false;
        parent.origin = (uint32_t)origin;
    }
    if (reader_left(&r) || ((head & WHEN_PARENT) && version_is_none(parent)))
        return false;
    *ret_kind = kind;
    *ret_parent = parent;
    return true;
}

bool engine_mark_decode(struct bytes row_key, struct bytes value, struct engine_mark_row *ret)
{
    const uint8_t *p = value.data;
    bool plain = value.len == MARK_VALUE_BYTES && p[0] == MARK_FORMAT;
    bool note = value.len > MARK_NOTE_AT && value.len <= MARK_NOTE_AT + ENGINE_NOTE_MAX &&
                p[0] == MARK_FORMAT_NOTE && p[MARK_COUNTS_BYTES] <= 1;
    bool counts = (value.len == MARK_COUNTS_BYTES && p[0] == MARK_FORMAT_COUNTS) ||
                  (note && p[MARK_COUNTS_BYTES]);
    if (row_key.len != ENGINE_MARK_KEY_BYTES || !engine_key_reserved(row_key) ||
        (!plain && !counts && !note))
        return false;
    for (size_t i = MARK_VALUE_BYTES; note && !counts && i < MARK_COUNTS_BYTES; i++)
        if (p[i] != 0)
            return false;
    *ret = (struct engine_mark_row){
        .range = be64_at(row_key.data + 4),
        .flags = p[1],
        .mark = {.index = be64_at(p + 2),
                 .term = be64_at(p + 10),
                 .version = {be64_at(p + 18), be32_at(p + 26)}},
        .counts.known = counts,
    };
    if (note) {
        ret->mark.note_len = (uint16_t)(value.len - MARK_NOTE_AT);
        memcpy(ret->mark.note, p + MARK_NOTE_AT, ret->mark.note_len);
    }
    for (int f = 0; counts && f < ENGINE_FAMILIES; f++)
        ret->counts.rows[f] = be64_at(p + MARK_VALUE_BYTES + 8 * f);
    return true;
}

enum status engine_past_unprefix(struct bytes prefix, struct buf *out)
{
    struct reader r = reader_of(prefix);
    buf_clear(out);
    /* Memory first, so that a false below can only mean malformed. */
    enum status st = buf_reserve(out, prefix.len);
    if (st != ST_OK)
        return st;
    if (!keydec_bytes(&r, out) || reader_left(&r))
        return ST_CORRUPT;
    return ST_OK;
}
