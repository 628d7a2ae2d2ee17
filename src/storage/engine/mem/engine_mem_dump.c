/* engine_mem_dump.c - a state to a file and back; the format is in README.md. */
#include "base/alloc.h"
#include "base/hash.h"
#include "storage/engine/mem/engine_mem_internal.h"

#include <stdio.h>

#define MAGIC "VARVEMEM"
enum {
    FORMAT = 2,
    FORMAT_ALONE = 1, /* before there were changes beside: without an id */
    HEAD_BYTES = 24,
    HEAD_BYTES_ALONE = 12,
    ROW_HEAD_BYTES = 9,
    TRAILER_BYTES = 13,
    REMOVED = 0x40, /* with a row's family, in a change */
    END = 0xff
};

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

/* A file of `id` begun, with room for about `bytes`. */
static enum status begin(struct buf *b, struct mem_file_id id, size_t bytes)
{
    enum status st = buf_reserve(b, bytes + HEAD_BYTES + TRAILER_BYTES);
    if (st == ST_OK)
        st = buf_append(b, MAGIC, 8);
    if (st == ST_OK)
        st = buf_append_le32(b, FORMAT);
    if (st == ST_OK)
        st = buf_append_le64(b, id.epoch);
    if (st == ST_OK)
        st = buf_append_le32(b, id.change);
    return st;
}

/* Ended after `n` rows, or given up with `st`; and written. */
static enum status finish(struct env *env, const char *path, struct buf *b, uint64_t n,
                          enum status st, size_t *ret_bytes, struct err *err)
{
    if (st == ST_OK)
        st = buf_append_u8(b, END);
    if (st == ST_OK)
        st = buf_append_le64(b, n);
    if (st == ST_OK)
        st = buf_append_le32(b, crc32c(0, b->data, b->len));
    if (st == ST_OK)
        st = env_write_file(env, path, buf_bytes(b), err);
    else
        err_set(err, st, "%s: memory for %zu bytes", path, b->len);
    if (st == ST_OK && ret_bytes)
        *ret_bytes = b->len;
    buf_deinit(b);
    return st;
}

enum status mem__dump(struct env *env, const char *path, struct mem_file_id id,
                      const struct engine_snapshot *s, size_t about, size_t *ret_bytes,
                      struct err *err)
{
    struct buf b = BUF_INIT;
    uint64_t n = 0;
    enum status st = begin(&b, id, about);
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        for (size_t r = 0; st == ST_OK && r < s->rows[f].n_runs; r++)
            for (size_t i = 0; st == ST_OK && i < s->rows[f].run[r]->n; i++, n++)
                st = add_row(&b, (uint8_t)f, s->rows[f].run[r]->row[i]);
    }
    return finish(env, path, &b, n, st, ret_bytes, err);
}

static char *change_path(const char *dir, uint32_t change)
{
    size_t n = strlen(dir) + sizeof("/mem.4294967295");
    char *path = mem_alloc(n);
    if (path)
        (void)snprintf(path, n, "%s/mem.%u", dir, change);
    return path;
}

enum status mem__dump_change(struct env *env, const char *dir, struct mem_file_id id,
                             const struct mem_change *given, size_t *ret_bytes, struct err *err)
{
    struct buf b = BUF_INIT;
    uint64_t n = 0;
    char *path = change_path(dir, id.change);
    if (!path)
        return err_set(err, ST_NO_MEMORY, "%s: a change's name", dir);
    enum status st = begin(&b, id, 0);
    for (int f = 0; f < ENGINE_FAMILIES; f++)
        for (size_t i = 0; st == ST_OK && i < given[f].n; i++, n++)
            st = add_row(&b, (uint8_t)(f | (given[f].removes.data[i] ? REMOVED : 0)),
                         given[f].row[i]);
    st = finish(env, path, &b, n, st, ret_bytes, err);
    mem_free(path);
    return st;
}

void mem__forget_changes(struct env *env, const char *dir)
{
    enum status st = ST_OK;
    for (uint32_t change = 1; st == ST_OK; change++) {
        char *path = change_path(dir, change);
        st = path ? env_unlink(env, path, NULL) : ST_NO_MEMORY;
        mem_free(path);
    }
}

static enum status corrupt(const char *path, size_t offset, const char *why, struct err *err)
{
    return err_set(err, ST_CORRUPT, "%s offset %zu: %s", path, offset, why);
}

static enum status load_row(const char *path, size_t offset, struct reader *r, uint8_t kind,
                            struct mem_change *rows, struct err *err)
{
    uint32_t key_len, value_len;
    struct bytes key, value;
    uint8_t family = kind & (uint8_t)~REMOVED;
    if (family >= ENGINE_FAMILIES || !read_le32(r, &key_len) || !read_le32(r, &value_len) ||
        !read_bytes(r, key_len, &key) || !read_bytes(r, value_len, &value))
        return corrupt(path, offset, "malformed row", err);
    struct mem_change *c = &rows[family];
    if (c->n && bytes_cmp(mem_row_key(c->row[c->n - 1]), key) >= 0)
        return corrupt(path, offset, "rows out of order", err);
    struct mem_row *row = mem__row_new(key, value);
    if (!row || mem__change_add(c, row, kind & REMOVED) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "%s", path);
    return ST_OK;
}

/* The checksum first: what it does not cover is not believed, the id least of all. */
static enum status load_head(const char *path, struct bytes content, struct reader *r,
                             struct mem_file_id *ret, struct err *err)
{
    uint32_t format, crc;
    struct bytes magic;
    struct mem_file_id id = {0};
    if (!read_bytes(r, 8, &magic) || !bytes_eq(magic, BYTES_LIT(MAGIC)) || !read_le32(r, &format))
        return corrupt(path, 0, "not a mem engine's dump", err);
    if (format > FORMAT)
        return err_set(err, ST_FORMAT_NEWER, "%s: format %u, this program knows up to %d", path,
                       format, FORMAT);
    size_t head = format == FORMAT_ALONE ? HEAD_BYTES_ALONE : HEAD_BYTES;
    if (content.len < head + TRAILER_BYTES)
        return corrupt(path, content.len, "cut short", err);
    struct reader tail = reader_of((struct bytes){content.data + content.len - 4, 4});
    if (!read_le32(&tail, &crc) || crc != crc32c(0, content.data, content.len - 4))
        return corrupt(path, content.len - 4, "checksum", err);
    if (format != FORMAT_ALONE && (!read_le64(r, &id.epoch) || !read_le32(r, &id.change)))
        return corrupt(path, content.len, "cut short", err);
    *ret = id;
    return ST_OK;
}

static enum status load(const char *path, struct bytes content, struct mem_change *rows,
                        struct mem_file_id *ret, struct err *err)
{
    struct reader r = reader_of(content);
    struct mem_file_id id;
    uint64_t want, n = 0;
    enum status st = load_head(path, content, &r, &id, err);
    if (st != ST_OK)
        return st;
    for (;;) {
        size_t offset = content.len - reader_left(&r);
        uint8_t kind;
        if (!read_u8(&r, &kind))
            return corrupt(path, offset, "no end", err);
        if (kind == END)
            break;
        st = load_row(path, offset, &r, kind, rows, err);
        if (st != ST_OK)
            return st;
        n++;
    }
    if (!read_le64(&r, &want) || want != n || reader_left(&r) != 4)
        return corrupt(path, content.len, "row count", err);
    *ret = id;
    return ST_OK;
}

/* Merges what the file says into `s` if it is the one that comes next: `want`, of any epoch when it is
 * the first. NOT_FOUND: it is not there, or was left from before. */
static enum status load_file(struct env *env, const char *path, struct mem_file_id *want,
                             struct engine_snapshot *s, size_t *ret_bytes, struct err *err)
{
    struct buf content = BUF_INIT;
    struct mem_change rows[ENGINE_FAMILIES] = {0};
    struct mem_file_id id = *want;
    enum status st = env_read_file(env, path, SIZE_MAX / 4, &content, err);
    if (st == ST_OK)
        st = load(path, buf_bytes(&content), rows, &id, err);
    if (st == ST_OK && (id.change != want->change || (id.change && id.epoch != want->epoch)))
        st = ST_NOT_FOUND;
    for (int f = 0; f < ENGINE_FAMILIES; f++) {
        struct mem_rows after = {0};
        if (st == ST_OK && rows[f].n) {
            if (mem__rows_merge(&s->rows[f], &rows[f], &after) != ST_OK)
                st = err_set(err, ST_NO_MEMORY, "%s", path);
            mem__rows_deinit(&s->rows[f]);
            s->rows[f] = after;
        }
        mem__change_deinit(&rows[f]);
    }
    if (st == ST_OK) {
        *want = id;
        *ret_bytes = content.len;
    }
    buf_deinit(&content);
    return st;
}

/* NOT_FOUND: it is not there. */
static enum status read_id(struct env *env, const char *path, struct mem_file_id *ret,
                           struct err *err)
{
    struct buf content = BUF_INIT;
    enum status st = env_read_file(env, path, SIZE_MAX / 4, &content, err);
    struct reader r = reader_of(buf_bytes(&content));
    if (st == ST_OK)
        st = load_head(path, buf_bytes(&content), &r, ret, err);
    buf_deinit(&content);
    return st;
}

static bool change_of_name(const char *name, uint32_t *ret)
{
    char again[sizeof("mem.4294967295")];
    unsigned change;
    if (sscanf(name, "mem.%u", &change) != 1)
        return false;
    (void)snprintf(again, sizeof(again), "mem.%u", change);
    *ret = change;
    return strcmp(name, again) == 0;
}

/* Whether there are changes of the epoch above `change`. */
static enum status later_changes(struct env *env, const char *dir, struct mem_file_id change,
                                 bool *ret, struct err *err)
{
    struct buf names = BUF_INIT;
    enum status st = env_list(env, dir, &names, err);
    *ret = false;
    for (size_t at = 0; st == ST_OK && !*ret && at < names.len;) {
        const char *name = (const char *)names.data + at;
        uint32_t n;
        at += strlen(name) + 1;
        if (!change_of_name(name, &n) || n <= change.change)
            continue;
        struct mem_file_id id = {0};
        char *path = change_path(dir, n);
        st = path ? read_id(env, path, &id, err) : err_set(err, ST_NO_MEMORY, "%s: a name", dir);
        mem_free(path);
        *ret = st == ST_OK && id.epoch == change.epoch && id.change == n;
        st = st == ST_NOT_FOUND ? ST_OK : st; /* forgotten meanwhile */
    }
    buf_deinit(&names);
    return st;
}

/* The next change; ret->change stays as it is when there is none. One that is missing below others is
 * lost, unless it came, or the epoch went, while this looked: a verify runs beside drains. */
static enum status load_next(struct env *env, const char *path, const char *dir,
                             struct mem_file_id *ret, struct engine_snapshot *s, size_t *ret_bytes,
                             struct err *err)
{
    struct mem_file_id next = {ret->epoch, ret->change + 1}, now = {0};
    bool later = false;
    char *beside = change_path(dir, next.change);
    if (!beside)
        return err_set(err, ST_NO_MEMORY, "%s: a change's name", dir);
    enum status st = load_file(env, beside, &next, s, ret_bytes, err);
    if (st == ST_NOT_FOUND) {
        st = later_changes(env, dir, next, &later, err);
        if (st == ST_OK && later)
            st = load_file(env, beside, &next, s, ret_bytes, err);
        else if (st == ST_OK)
            next = *ret;
    }
    if (st == ST_NOT_FOUND) {
        next = *ret;
        st = read_id(env, path, &now, err);
        if (st == ST_OK && now.epoch == ret->epoch)
            st = corrupt(beside, 0, "missing, and later changes are there", err);
    }
    mem_free(beside);
    if (st == ST_OK)
        *ret = next;
    return st;
}

enum status mem__load(struct env *env, const char *path, const char *dir, struct engine_snapshot *s,
                      struct mem_files *ret, struct err *err)
{
    struct mem_files files = {0};
    struct mem_file_id id = {0};
    uint32_t change;
    enum status st = load_file(env, path, &id, s, &files.whole_bytes, err);
    if (st != ST_OK)
        return st;
    do {
        size_t bytes = 0;
        struct err own;
        err_init(&own);
        change = id.change;
        st = load_next(env, path, dir, &id, s, &bytes, &own);
        if (st != ST_OK)
            return err_set(err, st, "%s", own.detail);
        files.change_bytes += bytes;
    } while (id.change != change);
    files.last = id;
    *ret = files;
    return ST_OK;
}
