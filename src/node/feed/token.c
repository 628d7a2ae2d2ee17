#include "node/feed/token.h"

#include "base/base64url.h"
#include "base/hash.h"
#include "storage/record.h"

enum { TOKEN_FORMAT = 1, TOKEN_FIXED_MAX = 1 + 1 + 10 + 8 + 4 + 10 + 4 };

size_t token_text_max(size_t key_len)
{
    /* The bytes are laid down behind the room for their text, see token_encode. */
    return base64url_len(TOKEN_FIXED_MAX + key_len) + 1 + TOKEN_FIXED_MAX + key_len;
}

enum status token_encode(const struct token *t, struct buf *out)
{
    size_t room = base64url_len(TOKEN_FIXED_MAX + t->key.len) + 1;
    buf_clear(out);
    enum status st = buf_reserve(out, token_text_max(t->key.len));
    if (st != ST_OK)
        return st;
    /* The bytes go behind the place of the text, so that one reservation serves both and nothing
     * below can fail. */
    struct buf raw = {.data = out->data + room, .cap = out->cap - room};
    raw.max = raw.cap;
    if (buf_append_u8(&raw, TOKEN_FORMAT) != ST_OK || buf_append_u8(&raw, 1) != ST_OK ||
        buf_append_varint(&raw, t->range) != ST_OK ||
        buf_append_be64(&raw, t->version.hlc) != ST_OK ||
        buf_append_be32(&raw, t->version.origin) != ST_OK ||
        buf_append_varint(&raw, t->key.len) != ST_OK ||
        buf_append(&raw, t->key.data, t->key.len) != ST_OK ||
        buf_append_be32(&raw, crc32c(0, raw.data, raw.len)) != ST_OK)
        return ST_INTERNAL;
    out->len = base64url_put(raw.data, raw.len, out->data);
    out->data[out->len] = 0;
    return ST_OK;
}

static enum status not_one(struct err *err, const char *why)
{
    return err_set(err, ST_INVALID_ARGUMENT, "token: this is not a token of a change feed (%s)",
                   why);
}

/* A varint has one shortest form, and only that is accepted: two texts never name the same place.
 */
static bool read_shortest_varint(struct reader *r, uint64_t *ret)
{
    const uint8_t *from = r->p;
    return read_varint(r, ret) && (r->p - from == 1 || r->p[-1] != 0);
}

enum status token_decode(struct bytes text, struct buf *scratch, struct token *ret, struct err *err)
{
    if (text.len > base64url_len(TOKEN_FIXED_MAX + RECORD_KEY_MAX))
        return not_one(err, "too long");
    buf_clear(scratch);
    if (buf_reserve(scratch, text.len + 1) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a token of %zu bytes", text.len);
    if (!base64url_get(text, scratch->data))
        return not_one(err, "not base64url");
    scratch->len = text.len * 3 / 4;

    struct reader r = reader_of(buf_bytes(scratch));
    struct token t;
    uint8_t format, count;
    uint32_t crc;
    uint64_t key_len;
    if (!read_u8(&r, &format))
        return not_one(err, "empty");
    if (format != TOKEN_FORMAT)
        return not_one(err, "another format");
    if (!read_u8(&r, &count) || count != 1)
        return not_one(err, "it has more than one range");
    if (!read_shortest_varint(&r, &t.range) || !read_be64(&r, &t.version.hlc) ||
        !read_be32(&r, &t.version.origin) || !read_shortest_varint(&r, &key_len) ||
        key_len > RECORD_KEY_MAX || !read_bytes(&r, (size_t)key_len, &t.key) ||
        reader_left(&r) != sizeof(crc))
        return not_one(err, "cut short or too long");
    if (crc32c(0, scratch->data, scratch->len - sizeof(crc)) != (read_be32(&r, &crc) ? crc : 0))
        return not_one(err, "its checksum does not hold");
    *ret = t;
    return ST_OK;
}
