/* engine_mem_dump.c - a state to a file and back; the format is in README.md. */
#include "base/hash.h"
#include "storage/engine/mem/engine_mem_internal.h"

#define MAGIC "VARVEMEM"
enum { FORMAT = 1, HEAD_BYTES = 12, TRAILER_BYTES = 13, END = 0xff };

static enum status add_row(struct buf *b, uint8_t family, const struct mem_row *r)
{
    enum status st = buf_append_u8(b, family);
    if (st == ST_OK)
        st = buf_append_le32(b, (uint32_t)r->key_len);
    if (st == ST_OK)
        st = buf_append_le32(b, (uint32_t)r->value_len);
    return st == ST_OK ? buf_append(b, r->data, r->key_len + r->value_len) : st;
}

enum status mem__dump(struct env *env, const char *path, const struct engine_snapshot *s,
                      struct err *err)
{
    struct buf b = BUF_INIT;
    uint64_t n = 0;
    enum status st = buf_append(&b, MAGIC, 8);
    if (st == ST_OK)
        st = buf_append_le32(&b, FORMAT);
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        for (size_t i = 0; st == ST_OK && i < s->rows[f].n; i++, n++)
            st = add_row(&b, (uint8_t)f, s->rows[f].list[i]);
    }
    if (st == ST_OK)
        st = buf_append_u8(&b, END);
    if (st == ST_OK)
        st = buf_append_le64(&b, n);
    if (st == ST_OK)
        st = buf_append_le32(&b, crc32c(0, b.data, b.len));
    if (st == ST_OK)
        st = env_write_file(env, path, buf_bytes(&b), err);
    else
        err_set(err, st, "%s: memory for %zu bytes", path, b.len);
    buf_deinit(&b);
    return st;
}

static enum status corrupt(const char *path, size_t offset, const char *why, struct err *err)
{
    return err_set(err, ST_CORRUPT, "%s offset %zu: %s", path, offset, why);
}

static enum status load_row(const char *path, size_t offset, struct reader *r, uint8_t family,
                            struct engine_snapshot *s, struct err *err)
{
    uint32_t key_len, value_len;
    struct bytes key, value;
    if (family >= ENGINE_FAMILIES || !read_le32(r, &key_len) || !read_le32(r, &value_len) ||
        !read_bytes(r, key_len, &key) || !read_bytes(r, value_len, &value))
        return corrupt(path, offset, "malformed row", err);
    struct mem_rows *rows = &s->rows[family];
    if (rows->n && bytes_cmp(mem_row_key(rows->list[rows->n - 1]), key) >= 0)
        return corrupt(path, offset, "rows out of order", err);
    struct mem_row *row = mem__row_new(key, value);
    if (!row || mem__rows_add(rows, row) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "%s", path);
    return ST_OK;
}

static enum status load(const char *path, struct bytes content, struct engine_snapshot *s,
                        struct err *err)
{
    struct reader r = reader_of(content), tail;
    uint32_t format, crc;
    uint64_t want, n = 0;
    struct bytes magic;
    if (!read_bytes(&r, 8, &magic) || !bytes_eq(magic, BYTES_LIT(MAGIC)) || !read_le32(&r, &format))
        return corrupt(path, 0, "not a mem engine's dump", err);
    if (format > FORMAT)
        return err_set(err, ST_FORMAT_NEWER, "%s: format %u, this program knows up to %d", path,
                       format, FORMAT);
    if (content.len < HEAD_BYTES + TRAILER_BYTES)
        return corrupt(path, content.len, "cut short", err);
    tail = reader_of((struct bytes){content.data + content.len - 4, 4});
    if (!read_le32(&tail, &crc) || crc != crc32c(0, content.data, content.len - 4))
        return corrupt(path, content.len - 4, "checksum", err);
    for (;;) {
        size_t offset = content.len - reader_left(&r);
        uint8_t family;
        if (!read_u8(&r, &family))
            return corrupt(path, offset, "no end", err);
        if (family == END)
            break;
        enum status st = load_row(path, offset, &r, family, s, err);
        if (st != ST_OK)
            return st;
        n++;
    }
    if (!read_le64(&r, &want) || want != n || reader_left(&r) != 4)
        return corrupt(path, content.len, "row count", err);
    return ST_OK;
}

enum status mem__load(struct env *env, const char *path, struct engine_snapshot *s, struct err *err)
{
    struct buf content = BUF_INIT;
    enum status st = env_read_file(env, path, SIZE_MAX / 4, &content, err);
    if (st == ST_OK)
        st = load(path, buf_bytes(&content), s, err);
    buf_deinit(&content);
    return st;
}
