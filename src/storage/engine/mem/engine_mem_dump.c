/* engine_mem_dump.c - a state to a file and back; the format is in README.md. */
#include "base/hash.h"
#include "storage/engine/mem/engine_mem_internal.h"

#define MAGIC "VARVEMEM"
enum { FORMAT = 1, HEAD_BYTES = 12, ROW_HEAD_BYTES = 9, TRAILER_BYTES = 13, END = 0xff };

static uint8_t *put_le32(uint8_t *to, size_t v)
{
    for (int i = 0; i < 4; i++)
        *to++ = (uint8_t)(v >> 8 * i);
    return to;
}

static enum status add_row(struct buf *b, uint8_t family, const struct mem_row *r)
{
    size_t len = r->key_len + r->value_len;
    enum status st = buf_reserve(b, ROW_HEAD_BYTES + len);
    if (st != ST_OK)
        return st;
    uint8_t *to = b->data + b->len;
    *to++ = family;
    to = put_le32(put_le32(to, r->key_len), r->value_len);
    memcpy(to, r->data, len);
    b->len += ROW_HEAD_BYTES + len;
    return ST_OK;
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
        for (size_t r = 0; st == ST_OK && r < s->rows[f].n_runs; r++)
            for (size_t i = 0; st == ST_OK && i < s->rows[f].run[r]->n; i++, n++)
                st = add_row(&b, (uint8_t)f, s->rows[f].run[r]->row[i]);
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
                            struct mem_change *rows, struct err *err)
{
    uint32_t key_len, value_len;
    struct bytes key, value;
    if (family >= ENGINE_FAMILIES || !read_le32(r, &key_len) || !read_le32(r, &value_len) ||
        !read_bytes(r, key_len, &key) || !read_bytes(r, value_len, &value))
        return corrupt(path, offset, "malformed row", err);
    struct mem_change *c = &rows[family];
    if (c->n && bytes_cmp(mem_row_key(c->row[c->n - 1]), key) >= 0)
        return corrupt(path, offset, "rows out of order", err);
    struct mem_row *row = mem__row_new(key, value);
    if (!row || mem__change_add(c, row, false) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "%s", path);
    return ST_OK;
}

static enum status load(const char *path, struct bytes content, struct mem_change *rows,
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
        enum status st = load_row(path, offset, &r, family, rows, err);
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
    struct mem_change rows[ENGINE_FAMILIES] = {0};
    enum status st = env_read_file(env, path, SIZE_MAX / 4, &content, err);
    if (st == ST_OK)
        st = load(path, buf_bytes(&content), rows, err);
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        struct mem_rows none = {0};
        if (st == ST_OK && mem__rows_merge(&none, &rows[f], &s->rows[f]) != ST_OK)
            st = err_set(err, ST_NO_MEMORY, "%s", path);
        mem__change_deinit(&rows[f]);
    }
    buf_deinit(&content);
    return st;
}
