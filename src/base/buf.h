/* buf.h - an owned, growing run of bytes with a named maximum.
 *
 * Owns:     its memory (base/alloc.h); buf_deinit frees it and takes a zeroed buf too.
 * Promises: on failure the content is as it was. Growth is by doubling, so appends cost O(1)
 *           amortized.
 * Never:    grows past `max` (0 = no maximum): that is ST_TOO_LARGE, not a silent cut.
 * Threads:  one owner.
 */
#ifndef VARVE_BASE_BUF_H
#define VARVE_BASE_BUF_H

#include "base/bytes.h"
#include "base/status.h"

struct buf {
    uint8_t *data;
    size_t len, cap, max;
};

#define BUF_INIT ((struct buf){0})

void buf_init(struct buf *b, size_t max);
void buf_deinit(struct buf *b);
void buf_clear(struct buf *b);                                    /* keeps the memory */
enum status buf_reserve(struct buf *b, size_t extra) WARN_UNUSED; /* ST_NO_MEMORY, ST_TOO_LARGE */
enum status buf_append(struct buf *b, const void *data, size_t len) WARN_UNUSED;
enum status buf_append_u8(struct buf *b, uint8_t v) WARN_UNUSED;
enum status buf_append_le32(struct buf *b, uint32_t v) WARN_UNUSED;
enum status buf_append_le64(struct buf *b, uint64_t v) WARN_UNUSED;
enum status buf_append_be32(struct buf *b, uint32_t v) WARN_UNUSED;
enum status buf_append_be64(struct buf *b, uint64_t v) WARN_UNUSED;
enum status buf_append_varint(struct buf *b, uint64_t v) WARN_UNUSED; /* LEB128, at most 10 bytes */
enum status buf_printf(struct buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))) WARN_UNUSED;
/* The NUL-terminated content, valid until the next change; NULL when there is no memory for the
 * NUL. */
const char *buf_cstr(struct buf *b);
/* Hands the memory to the caller (mem_free) and leaves the buf empty. NULL when nothing was ever
 * appended. */
uint8_t *buf_steal(struct buf *b, size_t *ret_len);

static inline struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){b->data ? b->data : (const uint8_t *)"", b->len};
}

/* A reading cursor over borrowed bytes; every read checks what is left and fails without moving. */
struct reader {
    const uint8_t *p, *end;
};

static inline struct reader reader_of(struct bytes b)
{
    return (struct reader){b.data, b.len ? b.data + b.len : b.data}; /* it may be NULL then */
}
static inline size_t reader_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}
bool read_be32(struct reader *r, uint32_t *ret);
bool read_be64(struct reader *r, uint64_t *ret);
bool read_varint_long(struct reader *r, uint64_t *ret);
/* False on more than 10 bytes or overflow. */
static inline bool read_varint(struct reader *r, uint64_t *ret)
{
    if (r->p == r->end || *r->p >= 0x80)
        return read_varint_long(r, ret);
    *ret = *r->p++;
    return true;
}
/* Inline, because a put reads some hundred of them, three times its entry among that. */
static inline bool read_bytes(struct reader *r, size_t len, struct bytes *ret)
{
    if (reader_left(r) < len)
        return false;
    *ret = (struct bytes){r->p, len};
    if (len)
        r->p += len;
    return true;
}
static inline bool read_u8(struct reader *r, uint8_t *ret)
{
    if (reader_left(r) < 1)
        return false;
    *ret = *r->p++;
    return true;
}
static inline uint32_t buf__le32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline bool read_le32(struct reader *r, uint32_t *ret)
{
    struct bytes raw;
    if (!read_bytes(r, 4, &raw))
        return false;
    *ret = buf__le32(raw.data);
    return true;
}
static inline bool read_le64(struct reader *r, uint64_t *ret)
{
    struct bytes raw;
    if (!read_bytes(r, 8, &raw))
        return false;
    *ret = buf__le32(raw.data) | (uint64_t)buf__le32(raw.data + 4) << 32;
    return true;
}

#endif
