/* buf.c - see buf.h. */
#include "base/buf.h"

#include "base/alloc.h"
#include "base/assert.h"
#include <stdarg.h>
#include <stdio.h>

enum { BUF_CAP_MIN = 64, VARINT_MAX = 10 };

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_deinit(struct buf *b)
{
    if (!b)
        return;
    mem_free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
}

/* Makes cap at least `need`, without regard to max: buf_cstr and buf_printf may need one byte above
 * it for a NUL. */
static enum status grow(struct buf *b, size_t need)
{
    size_t cap = b->cap > SIZE_MAX / 2 ? SIZE_MAX : b->cap * 2;
    if (cap < BUF_CAP_MIN)
        cap = BUF_CAP_MIN;
    if (b->max && cap > b->max)
        cap = b->max;
    if (cap < need)
        cap = need;
    uint8_t *data = mem_realloc(b->data, cap);
    if (!data)
        return ST_NO_MEMORY;
    b->data = data;
    b->cap = cap;
    return ST_OK;
}

static inline enum status check_max(const struct buf *b, size_t extra)
{
    if (b->max && (b->len > b->max || extra > b->max - b->len))
        return ST_TOO_LARGE;
    return extra > SIZE_MAX - 1 - b->len ? ST_NO_MEMORY : ST_OK;
}

enum status buf_reserve(struct buf *b, size_t extra)
{
    enum status st = check_max(b, extra);
    if (st != ST_OK)
        return st;
    return extra <= b->cap - b->len ? ST_OK : grow(b, b->len + extra);
}

enum status buf_append(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return ST_OK;
    /* The bytes may lie in this very buf, which growing would move. */
    bool inside = b->data && (uintptr_t)data - (uintptr_t)b->data < b->len;
    size_t offset = inside ? (size_t)((const uint8_t *)data - b->data) : 0;
    enum status st = buf_reserve(b, len);
    if (st != ST_OK)
        return st;
    memcpy(b->data + b->len, inside ? b->data + offset : data, len);
    b->len += len;
    return ST_OK;
}

enum status buf_append_u8(struct buf *b, uint8_t v)
{
    enum status st = buf_reserve(b, 1);
    if (st == ST_OK)
        b->data[b->len++] = v;
    return st;
}

static inline void put_le(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static inline void put_be(uint8_t *p, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[n - 1 - i] = (uint8_t)(v >> (8 * i));
}

static inline uint64_t get_be(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

enum status buf_append_le32(struct buf *b, uint32_t v)
{
    uint8_t raw[4];
    put_le(raw, v, sizeof raw);
    return buf_append(b, raw, sizeof raw);
}

enum status buf_append_le64(struct buf *b, uint64_t v)
{
    uint8_t raw[8];
    put_le(raw, v, sizeof raw);
    return buf_append(b, raw, sizeof raw);
}

enum status buf_append_be32(struct buf *b, uint32_t v)
{
    uint8_t raw[4];
    put_be(raw, v, sizeof raw);
    return buf_append(b, raw, sizeof raw);
}

enum status buf_append_be64(struct buf *b, uint64_t v)
{
    uint8_t raw[8];
    put_be(raw, v, sizeof raw);
    return buf_append(b, raw, sizeof raw);
}

enum status buf_append_varint(struct buf *b, uint64_t v)
{
    uint8_t raw[VARINT_MAX];
    size_t n = 0;
    while (v >= 0x80) {
        raw[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    raw[n++] = (uint8_t)v;
    return buf_append(b, raw, n);
}

enum status buf_printf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        return ST_INVALID_ARGUMENT;
    size_t len = (size_t)n;
    enum status st = check_max(b, len);
    if (st == ST_OK && len + 1 > b->cap - b->len)
        st = grow(b, b->len + len + 1);
    if (st != ST_OK)
        return st;
    va_start(ap, fmt);
    n = vsnprintf((char *)b->data + b->len, len + 1, fmt, ap);
    va_end(ap);
    ASSERT(n >= 0 && (size_t)n == len);
    b->len += len;
    return ST_OK;
}

const char *buf_cstr(struct buf *b)
{
    if (b->len == b->cap && grow(b, b->len + 1) != ST_OK)
        return NULL;
    b->data[b->len] = '\0';
    return (const char *)b->data;
}

uint8_t *buf_steal(struct buf *b, size_t *ret_len)
{
    uint8_t *data = b->data;
    *ret_len = b->len;
    b->data = NULL;
    b->len = b->cap = 0;
    return data;
}

bool read_be32(struct reader *r, uint32_t *ret)
{
    struct bytes raw;
    if (!read_bytes(r, 4, &raw))
        return false;
    *ret = (uint32_t)get_be(raw.data, 4);
    return true;
}

bool read_be64(struct reader *r, uint64_t *ret)
{
    struct bytes raw;
    if (!read_bytes(r, 8, &raw))
        return false;
    *ret = get_be(raw.data, 8);
    return true;
}

bool read_varint_long(struct reader *r, uint64_t *ret)
{
    uint64_t v = 0;
    size_t left = reader_left(r);
    for (size_t i = 0; i < left && i < VARINT_MAX; i++) {
        uint64_t bits = r->p[i] & 0x7f;
        if (i == VARINT_MAX - 1 && r->p[i] > 1)
            return false;
        v |= bits << (7 * i);
        if (!(r->p[i] & 0x80)) {
            r->p += i + 1;
            *ret = v;
            return true;
        }
    }
    return false;
}
