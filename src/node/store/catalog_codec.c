#include "node/store/catalog.h"

enum { CODEC_FORMAT = 1 };

enum status descriptor_encode(struct buf *out, const struct descriptor *d)
{
    const uint64_t fields[] = {d->id,   d->partitioning,        d->replicas,
                               d->sync, d->settings.max_age_ms, d->settings.max_count};
    enum status st = buf_append_u8(out, CODEC_FORMAT);
    for (size_t i = 0; st == ST_OK && i < sizeof(fields) / sizeof(fields[0]); i++)
        st = buf_append_varint(out, fields[i]);
    return st;
}

bool descriptor_decode(struct bytes in, struct descriptor *ret)
{
    struct reader r = reader_of(in);
    struct descriptor d;
    uint8_t format;
    uint64_t id;
    if (!read_u8(&r, &format) || format != CODEC_FORMAT || !read_varint(&r, &id) ||
        !read_varint(&r, &d.partitioning) || !read_varint(&r, &d.replicas) ||
        !read_varint(&r, &d.sync) || !read_varint(&r, &d.settings.max_age_ms) ||
        !read_varint(&r, &d.settings.max_count) || reader_left(&r) != 0)
        return false;
    if (id < STORE_FIRST_ID || id > UINT32_MAX - 1 || d.partitioning != PARTITION_RANGE)
        return false;
    d.id = (uint32_t)id;
    *ret = d;
    return true;
}

enum status horizons_encode(struct buf *out, const struct horizons *h)
{
    enum status st = buf_append_u8(out, CODEC_FORMAT);
    if (st == ST_OK)
        st = buf_append_varint(out, h->read_hlc);
    return st == ST_OK ? buf_append_varint(out, h->feed_hlc) : st;
}

bool horizons_decode(struct bytes in, struct horizons *ret)
{
    struct reader r = reader_of(in);
    struct horizons h;
    uint8_t format;
    if (!read_u8(&r, &format) || format != CODEC_FORMAT || !read_varint(&r, &h.read_hlc) ||
        !read_varint(&r, &h.feed_hlc) || reader_left(&r) != 0)
        return false;
    *ret = h;
    return true;
}

enum status catalog_key(struct buf *out, const char *prefix, struct bytes rest)
{
    enum status st = buf_append_be32(out, STORE_CATALOG_ID);
    if (st == ST_OK)
        st = buf_append(out, prefix, strlen(prefix));
    return st == ST_OK ? buf_append(out, rest.data, rest.len) : st;
}
