#include "base/hash.h"
#include "base/le.h"
#include "node/store/state_internal.h"

static const uint8_t magic[8] = {'V', 'A', 'R', 'V', 'E', 'S', 'T', 'A'};

void state__header_encode(const struct engine_mark *mark, uint8_t out[STATE_HEADER])
{
    memset(out, 0, STATE_HEADER);
    memcpy(out, magic, sizeof(magic));
    put_le32(out + 12, STATE_FORMAT_VERSION);
    put_le64(out + 16, RANGE_FIRST);
    put_le64(out + 24, mark->index);
    put_le64(out + 32, mark->term);
    put_le64(out + 40, mark->version.hlc);
    put_le32(out + 48, mark->version.origin);
    put_le32(out + 8, crc32c(0, out + 12, STATE_HEADER - 12));
}

enum status state__header_decode(const uint8_t in[STATE_HEADER], struct engine_mark *ret,
                                 struct err *err)
{
    if (memcmp(in, magic, sizeof(magic)) != 0 ||
        get_le32(in + 8) != crc32c(0, in + 12, STATE_HEADER - 12))
        return err_set(err, ST_CORRUPT, "state, offset 0: the header's checksum does not hold");
    if (get_le32(in + 12) != STATE_FORMAT_VERSION)
        return err_set(err, ST_FORMAT_NEWER, "state: format version %u, this program knows %d",
                       get_le32(in + 12), STATE_FORMAT_VERSION);
    *ret = (struct engine_mark){
        .index = get_le64(in + 24),
        .term = get_le64(in + 32),
        .version = {get_le64(in + 40), get_le32(in + 48)},
    };
    if (get_le64(in + 16) != RANGE_FIRST || ret->index == 0 || ret->term == 0)
        return err_set(err, ST_CORRUPT, "state, offset 16: of another range, or of nothing");
    return ST_OK;
}

void state__block_seal(uint8_t *block, size_t len, uint32_t rows, uint32_t kind)
{
    ASSERT(len >= STATE_BLOCK_HEADER && len - STATE_BLOCK_HEADER <= STATE_BLOCK_MAX);
    put_le32(block + 4, (uint32_t)(len - STATE_BLOCK_HEADER));
    put_le32(block + 8, rows);
    put_le32(block + 12, kind);
    put_le32(block, crc32c(0, block + 4, len - 4));
}

bool state__block_decode(const uint8_t in[STATE_BLOCK_HEADER], struct state_block *ret)
{
    struct state_block b = {get_le32(in), get_le32(in + 4), get_le32(in + 8), get_le32(in + 12)};
    bool rows = b.kind == STATE_ROWS && b.rows > 0 && b.length <= STATE_BLOCK_MAX &&
                b.length / STATE_ROW_HEADER >= b.rows;
    bool end = b.kind == STATE_END && b.rows == 0 && b.length == STATE_END_BYTES;
    if (!rows && !end)
        return false;
    *ret = b;
    return true;
}

bool state__block_sound(const uint8_t *block, const struct state_block *b)
{
    return crc32c(0, block + 4, STATE_BLOCK_HEADER - 4 + b->length) == b->crc;
}

bool state__row_next(struct bytes rows, size_t *at, uint8_t *ret_family, struct bytes *ret_key,
                     struct bytes *ret_value)
{
    struct reader r = reader_of(BYTES(rows.data + *at, rows.len - *at));
    uint8_t family;
    uint32_t key_len, value_len;
    struct bytes key, value;
    if (!read_u8(&r, &family) || !read_le32(&r, &key_len) || !read_le32(&r, &value_len) ||
        !read_bytes(&r, key_len, &key) || !read_bytes(&r, value_len, &value))
        return false;
    *ret_family = family;
    *ret_key = key;
    *ret_value = value;
    *at = rows.len - reader_left(&r);
    return true;
}

bool state__end_decode(struct bytes in, uint64_t *ret_rows, uint64_t *ret_bytes, uint32_t *ret_crc)
{
    struct reader r = reader_of(in);
    return read_le64(&r, ret_rows) && read_le64(&r, ret_bytes) && read_le32(&r, ret_crc) &&
           reader_left(&r) == 0;
}
