#include "node/range/entry.h"

#include "base/assert.h"
#include <stdlib.h>

enum { OP_EXPIRY = 1 << 4, STAMP_AT = 4, HEAD_BYTES = 4 + 8 + 4 + 4 + 1 };

static int op_cmp(const void *a, const void *b)
{
    return bytes_cmp(((const struct entry_op *)a)->key, ((const struct entry_op *)b)->key);
}

static size_t varint_len(uint64_t v)
{
    size_t n = 1;
    for (; v >= 0x80; v >>= 7)
        n++;
    return n;
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *p++ = (uint8_t)(v | 0x80);
    *p++ = (uint8_t)v;
    return p;
}

static uint8_t *put_bytes(uint8_t *p, struct bytes b)
{
    if (b.len)
        memcpy(p, b.data, b.len);
    return p + b.len;
}

static void put_le(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static size_t op_len(const struct entry_op *op)
{
    size_t n = 1 + varint_len(op->key.len) + op->key.len;
    if (op->expires_ms)
        n += varint_len(op->expires_ms);
    if (op->kind == RECORD_PUT)
        n += varint_len(op->value.len) + op->value.len;
    return n;
}

enum status entry_encode(struct entry_op *ops, size_t n, struct bytes writer, struct blob **ret,
                         struct err *err)
{
    ASSERT(n > 0 && n <= UINT32_MAX && writer.len <= RECORD_WRITER_MAX);
    bool sorted = true;
    for (size_t i = 1; sorted && i < n; i++)
        sorted = op_cmp(&ops[i - 1], &ops[i]) <= 0;
    if (!sorted)
        qsort(ops, n, sizeof(*ops), op_cmp);
    size_t total = HEAD_BYTES + writer.len;
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && bytes_eq(ops[i].key, ops[i - 1].key))
            return err_set(
                err, ST_INVALID_ARGUMENT,
                "a batch may write a key only once, and this one writes a key of %zu bytes twice",
                ops[i].key.len - 4);
        total += op_len(&ops[i]);
        if (total > ENTRY_MAX)
            return err_set(err, ST_TOO_LARGE, "the batch is over the limit of %d bytes (32 MiB)",
                           (int)ENTRY_MAX);
    }
    struct blob *b = blob_new(total);
    if (!b)
        return err_set(err, ST_NO_MEMORY, "no memory for an entry of %zu bytes", total);

    uint8_t *p = b->data;
    memset(p, 0, HEAD_BYTES);
    p[0] = ENTRY_FORMAT;
    put_le(p + 16, n, 4);
    p[20] = (uint8_t)writer.len;
    p = put_bytes(p + HEAD_BYTES, writer);
    for (size_t i = 0; i < n; i++) {
        const struct entry_op *op = &ops[i];
        *p++ = (uint8_t)(op->kind | (op->type << 2) | (op->expires_ms ? OP_EXPIRY : 0));
        p = put_varint(p, op->key.len);
        p = put_bytes(p, op->key);
        if (op->expires_ms)
            p = put_varint(p, op->expires_ms);
        if (op->kind == RECORD_PUT) {
            p = put_varint(p, op->value.len);
            p = put_bytes(p, op->value);
        }
    }
    ASSERT(p == b->data + total);
    *ret = b;
    return ST_OK;
}

enum status entry_moment(struct blob **ret, struct err *err)
{
    struct blob *b = blob_new(HEAD_BYTES);
    if (!b)
        return err_set(err, ST_NO_MEMORY, "no memory for an entry");
    memset(b->data, 0, HEAD_BYTES);
    b->data[0] = ENTRY_FORMAT;
    *ret = b;
    return ST_OK;
}

void entry_stamp(struct blob *entry, struct version v)
{
    ASSERT(entry->len >= HEAD_BYTES);
    put_le(entry->data + STAMP_AT, v.hlc, 8);
    put_le(entry->data + STAMP_AT + 8, v.origin, 4);
}

static bool open_head(struct bytes payload, struct entry_reader *ret)
{
    struct entry_reader e = {.r = reader_of(payload), .last_key = BYTES_EMPTY};
    uint8_t format, codec, key_id, zero, writer_len;
    if (!read_u8(&e.r, &format) || !read_u8(&e.r, &codec) || !read_u8(&e.r, &key_id) ||
        !read_u8(&e.r, &zero))
        return false;
    if (format != ENTRY_FORMAT || codec != 0 || key_id != 0 || zero != 0)
        return false;
    if (!read_le64(&e.r, &e.version.hlc) || !read_le32(&e.r, &e.version.origin) ||
        !read_le32(&e.r, &e.left) || !read_u8(&e.r, &writer_len) ||
        !read_bytes(&e.r, writer_len, &e.writer))
        return false;
    *ret = e;
    return true;
}

bool entry_open(struct bytes payload, struct entry_reader *ret)
{
    struct entry_reader e;
    if (!open_head(payload, &e) || version_is_none(e.version))
        return false;
    *ret = e;
    return true;
}

bool entry_find(struct bytes payload, struct bytes key, struct entry_op *ret)
{
    struct entry_reader e;
    struct entry_op op;
    if (!open_head(payload, &e))
        return false;
    while (entry_next(&e, &op) > 0) {
        int c = bytes_cmp(op.key, key);
        if (c == 0)
            *ret = op;
        if (c >= 0)
            return c == 0; /* keys rise */
    }
    return false;
}

bool entry_sound(struct bytes payload)
{
    struct entry_reader e;
    struct entry_op op;
    int rc = -1;
    if (!open_head(payload, &e))
        return false;
    while ((rc = entry_next(&e, &op)) > 0)
        if (op.key.len <= 4) /* not a routing key */
            return false;
    return rc == 0;
}

int entry_next(struct entry_reader *e, struct entry_op *ret)
{
    if (e->left == 0)
        return reader_left(&e->r) == 0 ? 0 : -1;
    struct entry_op op = {.value = BYTES_EMPTY};
    uint8_t head;
    uint64_t n;
    if (!read_u8(&e->r, &head) || (head >> 5) != 0)
        return -1;
    op.kind = head & 3;
    op.type = (head >> 2) & 3;
    if ((op.kind != RECORD_PUT && op.kind != RECORD_DELETE) || op.type > RECORD_CRDT)
        return -1;
    if (!read_varint(&e->r, &n) || n == 0 || n > RECORD_KEY_MAX ||
        !read_bytes(&e->r, (size_t)n, &op.key))
        return -1;
    if (e->last_key.len && bytes_cmp(op.key, e->last_key) <= 0)
        return -1;
    if ((head & OP_EXPIRY) && (!read_varint(&e->r, &op.expires_ms) || op.expires_ms == 0))
        return -1;
    if (op.kind == RECORD_PUT && (!read_varint(&e->r, &n) || n > RECORD_VALUE_MAX ||
                                  !read_bytes(&e->r, (size_t)n, &op.value)))
        return -1;
    e->left--;
    e->last_key = op.key;
    *ret = op;
    return 1;
}
