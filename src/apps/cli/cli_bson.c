#include "apps/cli/cli_bson.h"
#include "apps/cli/cli_out.h"

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The length of a value of this type; SIZE_MAX when it does not fit into what is left. */
static size_t value_len(uint8_t type, struct bytes left)
{
    size_t len = SIZE_MAX, prefix = left.len >= 4 ? le32(left.data) : 0;
    const uint8_t *nul;
    switch (type) {
    case 0x01: /* double */
    case 0x09: /* date */
    case 0x11: /* timestamp */
    case 0x12: /* int64 */
        len = 8;
        break;
    case 0x02: /* string */
    case 0x0d: /* code */
    case 0x0e: /* symbol */
        len = 4 + prefix;
        break;
    case 0x03: /* document */
    case 0x04: /* array */
    case 0x0f: /* code with scope */
        len = prefix;
        break;
    case 0x05: /* binary */
        len = 5 + prefix;
        break;
    case 0x07: /* ObjectId */
        len = 12;
        break;
    case 0x08: /* boolean */
        len = 1;
        break;
    case 0x06: /* undefined */
    case 0x0a: /* null */
    case 0xff: /* smallest */
    case 0x7f: /* greatest */
        len = 0;
        break;
    case 0x0b: /* pattern and options of a regular expression */
        nul = left.len ? memchr(left.data, 0, left.len) : NULL;
        if (nul)
            nul = memchr(nul + 1, 0, (size_t)(left.data + left.len - nul - 1));
        len = nul ? (size_t)(nul + 1 - left.data) : SIZE_MAX;
        break;
    case 0x0c: /* DBPointer */
        len = 16 + prefix;
        break;
    case 0x10: /* int32 */
        len = 4;
        break;
    case 0x13: /* decimal128 */
        len = 16;
        break;
    default:
        break;
    }
    return len <= left.len ? len : SIZE_MAX;
}

int cli_bson_next(struct bytes doc, size_t *pos, struct cli_bson_field *ret)
{
    if (doc.len < 5 || le32(doc.data) != doc.len || doc.data[doc.len - 1] != 0)
        return -1;
    size_t at = *pos ? *pos : 4, end = doc.len - 1;
    if (at >= end)
        return 0;
    const uint8_t *name = doc.data + at + 1;
    const uint8_t *nul = memchr(name, 0, end - at - 1);
    if (!nul)
        return -1;
    struct bytes left = BYTES(nul + 1, (size_t)(doc.data + end - nul - 1));
    size_t len = value_len(doc.data[at], left);
    if (len == SIZE_MAX)
        return -1;
    *ret = (struct cli_bson_field){
        .type = doc.data[at],
        .name = BYTES(name, (size_t)(nul - name)),
        .value = BYTES(left.data, len),
        .element = BYTES(doc.data + at, (size_t)(left.data + len - doc.data) - at)};
    if (ret->type == CLI_BSON_STRING) {
        if (len < 5)
            return -1;
        ret->value = BYTES(left.data + 4, len - 5);
    } else if (ret->type == CLI_BSON_BINARY) {
        if (len < 5)
            return -1;
        ret->value = BYTES(left.data + 5, len - 5);
    }
    *pos = at + ret->element.len;
    return 1;
}

int cli_bson_find(struct bytes doc, struct bytes name, struct cli_bson_field *ret)
{
    struct cli_bson_field f;
    size_t pos = 0;
    int got;
    while ((got = cli_bson_next(doc, &pos, &f)) == 1)
        if (bytes_eq(f.name, name)) {
            *ret = f;
            return 1;
        }
    return got;
}

bool cli_bson_int(const struct cli_bson_field *f, int64_t *ret)
{
    if (f->type == CLI_BSON_INT32) {
        *ret = (int32_t)le32(f->value.data);
        return true;
    }
    if (f->type != CLI_BSON_INT64)
        return false;
    *ret = (int64_t)((uint64_t)le32(f->value.data) | (uint64_t)le32(f->value.data + 4) << 32);
    return true;
}

enum status cli_bson_begin(struct buf *out, size_t *at)
{
    *at = out->len;
    return buf_append_le32(out, 0);
}

enum status cli_bson_end(struct buf *out, size_t at)
{
    enum status st = buf_append_u8(out, 0);
    uint64_t len = out->len - at;
    for (size_t i = 0; st == ST_OK && i < 4; i++)
        out->data[at + i] = (uint8_t)(len >> (8 * i));
    return st;
}

static enum status head(struct buf *out, uint8_t type, struct bytes name)
{
    enum status st = buf_append_u8(out, type);
    if (st == ST_OK)
        st = buf_append(out, name.data, name.len);
    return st == ST_OK ? buf_append_u8(out, 0) : st;
}

enum status cli_bson_str(struct buf *out, struct bytes name, struct bytes text)
{
    enum status st = head(out, CLI_BSON_STRING, name);
    if (st == ST_OK)
        st = buf_append_le32(out, (uint32_t)text.len + 1);
    if (st == ST_OK)
        st = buf_append(out, text.data, text.len);
    return st == ST_OK ? buf_append_u8(out, 0) : st;
}

enum status cli_bson_binary(struct buf *out, struct bytes name, struct bytes content)
{
    enum status st = head(out, CLI_BSON_BINARY, name);
    if (st == ST_OK)
        st = buf_append_le32(out, (uint32_t)content.len);
    if (st == ST_OK)
        st = buf_append_u8(out, 0);
    return st == ST_OK ? buf_append(out, content.data, content.len) : st;
}

enum status cli_bson_i64(struct buf *out, struct bytes name, int64_t v)
{
    bool narrow = v >= INT32_MIN && v <= INT32_MAX;
    enum status st = head(out, narrow ? CLI_BSON_INT32 : CLI_BSON_INT64, name);
    if (st != ST_OK)
        return st;
    return narrow ? buf_append_le32(out, (uint32_t)v) : buf_append_le64(out, (uint64_t)v);
}

enum status cli_bson_double(struct buf *out, struct bytes name, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    enum status st = head(out, CLI_BSON_DOUBLE, name);
    return st == ST_OK ? buf_append_le64(out, bits) : st;
}

enum status cli_bson_bool(struct buf *out, struct bytes name, bool v)
{
    enum status st = head(out, CLI_BSON_BOOL, name);
    return st == ST_OK ? buf_append_u8(out, v) : st;
}

enum status cli_bson_key(struct buf *out, struct bytes name, struct bytes key)
{
    return cli_is_utf8(key) ? cli_bson_str(out, name, key) : cli_bson_binary(out, name, key);
}
