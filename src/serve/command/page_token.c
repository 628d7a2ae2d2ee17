#include "serve/command/page_token.h"

#include "base/base64url.h"
#include "base/hash.h"
#include "serve/command/command.h"

enum {
    PAGE_TOKEN_FORMAT = 1,
    FIXED_MAX = 2 + 8 + 12 + 7 + 10 + 12 + 3 + 4, /* all but the key */
};
_Static_assert(((FIXED_MAX + STORE_KEY_MAX) * 4 + 2) / 3 <= COMMAND_TOKEN_MAX,
               "the longest key has a token");

static enum status put_version(struct buf *b, struct version v)
{
    enum status st = buf_append_be64(b, v.hlc);
    return st == ST_OK ? buf_append_be32(b, v.origin) : st;
}

enum status page_token_encode(const struct page_token *t, struct buf *out)
{
    /* The bytes are laid down behind the room for their text. */
    size_t room = base64url_len(FIXED_MAX + t->key.len) + 1;
    struct buf fresh = BUF_INIT; /* t->key may lie in `out` */
    enum status st = buf_reserve(&fresh, room + FIXED_MAX + t->key.len);
    if (st != ST_OK)
        return st;
    struct buf raw = {.data = fresh.data + room, .cap = fresh.cap - room};
    raw.max = raw.cap;
    if (buf_append_u8(&raw, PAGE_TOKEN_FORMAT) != ST_OK ||
        buf_append_u8(&raw, (uint8_t)t->kind) != ST_OK ||
        buf_append_be64(&raw, t->query) != ST_OK || put_version(&raw, t->at) != ST_OK ||
        buf_append_varint(&raw, t->at_ms) != ST_OK || buf_append_varint(&raw, t->left) != ST_OK ||
        put_version(&raw, t->below) != ST_OK || buf_append_varint(&raw, t->key.len) != ST_OK ||
        buf_append(&raw, t->key.data, t->key.len) != ST_OK ||
        buf_append_be32(&raw, crc32c(0, raw.data, raw.len)) != ST_OK) {
        buf_deinit(&fresh);
        return ST_INTERNAL;
    }
    fresh.len = base64url_put(raw.data, raw.len, fresh.data);
    fresh.data[fresh.len] = 0;
    buf_deinit(out);
    *out = fresh;
    return ST_OK;
}

static enum status not_one(struct err *err, const char *why)
{
    return err_set(err, ST_INVALID_ARGUMENT, "page.token: this is not a token of a page (%s)", why);
}

/* A varint has one shortest form, and only that is accepted. */
static bool read_shortest_varint(struct reader *r, uint64_t *ret)
{
    const uint8_t *from = r->p;
    return read_varint(r, ret) && (r->p - from == 1 || r->p[-1] != 0);
}

static bool read_version(struct reader *r, struct version *ret)
{
    return read_be64(r, &ret->hlc) && read_be32(r, &ret->origin);
}

/* What no page has made, whatever its checksum says. An empty key, or no version, is the beginning:
 * of a page whose first row was not taken. */
static bool makes_sense(const struct page_token *t)
{
    switch (t->kind) {
    case PAGE_SCAN:
        return version_is_none(t->below) && !(t->at_ms >> COMMAND_TIME_BITS);
    case PAGE_HISTORY:
        return t->key.len == 0 && t->at_ms == 0 && version_cmp(t->below, t->at) <= 0;
    case PAGE_COLLECTIONS:
    case PAGE_SNAPSHOTS:
        return version_is_none(t->below) && version_is_none(t->at) && t->at_ms == 0 &&
               t->left == 0 && t->key.len <= STORE_NAME_MAX;
    }
    return false;
}

enum status page_token_decode(struct bytes text, struct buf *scratch, struct page_token *ret,
                              struct err *err)
{
    if (text.len > COMMAND_TOKEN_MAX)
        return not_one(err, "too long");
    buf_clear(scratch);
    if (buf_reserve(scratch, text.len + 1) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a token of %zu bytes", text.len);
    if (!base64url_get(text, scratch->data))
        return not_one(err, "not base64url");
    scratch->len = text.len * 3 / 4;

    struct reader r = reader_of(buf_bytes(scratch));
    struct page_token t;
    uint8_t format, kind;
    uint32_t crc;
    uint64_t key_len;
    if (!read_u8(&r, &format))
        return not_one(err, "empty");
    if (format != PAGE_TOKEN_FORMAT)
        return not_one(err, "another format");
    if (!read_u8(&r, &kind) || kind < PAGE_SCAN || kind > PAGE_SNAPSHOTS)
        return not_one(err, "of no kind known");
    t.kind = (enum page_kind)kind;
    if (!read_be64(&r, &t.query) || !read_version(&r, &t.at) ||
        !read_shortest_varint(&r, &t.at_ms) || !read_shortest_varint(&r, &t.left) ||
        !read_version(&r, &t.below) || !read_shortest_varint(&r, &key_len) ||
        key_len > STORE_KEY_MAX || !read_bytes(&r, (size_t)key_len, &t.key) ||
        reader_left(&r) != sizeof(crc))
        return not_one(err, "cut short or too long");
    if (crc32c(0, scratch->data, scratch->len - sizeof(crc)) != (read_be32(&r, &crc) ? crc : 0))
        return not_one(err, "its checksum does not hold");
    if (!makes_sense(&t))
        return not_one(err, "it contradicts itself");
    *ret = t;
    return ST_OK;
}
