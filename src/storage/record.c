#include "storage/record.h"

#include "base/assert.h"

enum { FLAG_EXPIRY = 1 << 4, FLAG_WRITER = 1 << 5, FLAG_PARENT = 1 << 6, FLAG_ORIGIN = 1 << 7 };

enum status record_encode(struct buf *out, const struct record *r, unsigned flags)
{
    ASSERT(r->kind >= RECORD_PUT && r->kind <= RECORD_FLOOR && r->type <= RECORD_CRDT);
    ASSERT(r->writer.len <= RECORD_WRITER_MAX && r->parent.hlc <= r->version.hlc);
    bool has_parent = !version_is_none(r->parent);
    bool origin = r->version.origin != 0 || r->parent.origin != 0;
    size_t start = out->len;
    uint8_t head[3] = {0, 0, (uint8_t)(r->kind | (r->type << 2))};
    if (r->expires_ms)
        head[2] |= FLAG_EXPIRY;
    if (r->writer.len)
        head[2] |= FLAG_WRITER;
    if (has_parent)
        head[2] |= FLAG_PARENT;
    if (origin)
        head[2] |= FLAG_ORIGIN;

    enum status st = buf_append(out, head, sizeof(head));
    if (st == ST_OK && (flags & RECORD_WITH_VERSION))
        st = buf_append_be64(out, r->version.hlc);
    if (st == ST_OK && (flags & RECORD_WITH_VERSION) && origin)
        st = buf_append_varint(out, r->version.origin);
    if (st == ST_OK && has_parent)
        st = buf_append_varint(out, r->version.hlc - r->parent.hlc);
    if (st == ST_OK && has_parent && origin)
        st = buf_append_varint(out, r->parent.origin);
    if (st == ST_OK && r->expires_ms)
        st = buf_append_varint(out, r->expires_ms);
    if (st == ST_OK && r->writer.len)
        st = buf_append_varint(out, r->writer.len);
    if (st == ST_OK && r->writer.len)
        st = buf_append(out, r->writer.data, r->writer.len);
    if (st == ST_OK)
        st = buf_append(out, r->value.data, r->value.len);
    if (st != ST_OK)
        out->len = start;
    return st;
}

/* The encoder writes the shortest form; a longer one was not made by it. */
static bool read_shortest(struct reader *r, uint64_t *ret)
{
    struct reader ahead = *r;
    uint64_t v;
    if (!read_varint(&ahead, &v) || (ahead.p - r->p > 1 && ahead.p[-1] == 0))
        return false;
    *r = ahead;
    *ret = v;
    return true;
}

static bool read_origin(struct reader *r, uint32_t *ret)
{
    uint64_t v;
    if (!read_shortest(r, &v) || v > UINT32_MAX)
        return false;
    *ret = (uint32_t)v;
    return true;
}

bool record_decode(struct bytes in, unsigned flags, struct record *ret)
{
    struct reader r = reader_of(in);
    struct record out = {.version = ret->version, .writer = BYTES_EMPTY};
    uint8_t codec, key_id, head;
    if (!read_u8(&r, &codec) || !read_u8(&r, &key_id) || !read_u8(&r, &head))
        return false;
    out.kind = head & 3;
    out.type = (head >> 2) & 3;
    if (codec != 0 || key_id != 0 || out.kind == 0 || out.type > RECORD_CRDT)
        return false;
    bool origin = head & FLAG_ORIGIN;
    if (flags & RECORD_WITH_VERSION) {
        out.version.origin = 0;
        if (!read_be64(&r, &out.version.hlc) || (origin && !read_origin(&r, &out.version.origin)))
            return false;
    }
    if (head & FLAG_PARENT) {
        uint64_t delta;
        if (!read_shortest(&r, &delta) || delta > out.version.hlc)
            return false;
        out.parent.hlc = out.version.hlc - delta;
        if (origin && !read_origin(&r, &out.parent.origin))
            return false;
        if (version_is_none(out.parent))
            return false;
    }
    if ((head & FLAG_EXPIRY) && (!read_shortest(&r, &out.expires_ms) || out.expires_ms == 0))
        return false;
    if (head & FLAG_WRITER) {
        uint64_t n;
        if (!read_shortest(&r, &n) || n == 0 || n > RECORD_WRITER_MAX ||
            !read_bytes(&r, (size_t)n, &out.writer))
            return false;
    }
    if (origin != (out.version.origin != 0 || out.parent.origin != 0))
        return false;
    out.value = (struct bytes){r.p, reader_left(&r)};
    *ret = out;
    return true;
}
