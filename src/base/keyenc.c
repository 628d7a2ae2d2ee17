/* keyenc.c - see keyenc.h for the format. */
#include "base/keyenc.h"

enum { ESCAPE = 0x00, ESCAPED_ZERO = 0xff, END = 0x01 };
static const uint64_t sign_bit = (uint64_t)1 << 63;

static size_t count_zeros(struct bytes v)
{
    size_t zeros = 0;
    for (size_t i = 0; i < v.len; i++)
        zeros += v.data[i] == 0;
    return zeros;
}

enum status keyenc_bytes(struct buf *b, struct bytes v)
{
    size_t zeros = count_zeros(v);
    if (zeros > SIZE_MAX - 2 - v.len)
        return ST_NO_MEMORY;
    enum status st = buf_reserve(b, v.len + zeros + 2);
    if (st != ST_OK)
        return st;
    uint8_t *out = b->data + b->len;
    if (zeros == 0) {
        if (v.len)
            memcpy(out, v.data, v.len);
        out += v.len;
    } else {
        for (size_t i = 0; i < v.len; i++) {
            *out++ = v.data[i];
            if (v.data[i] == ESCAPE)
                *out++ = ESCAPED_ZERO;
        }
    }
    *out++ = ESCAPE;
    *out++ = END;
    b->len = (size_t)(out - b->data);
    return ST_OK;
}

enum status keyenc_u64(struct buf *b, uint64_t v)
{
    return buf_append_be64(b, v);
}

enum status keyenc_u64_desc(struct buf *b, uint64_t v)
{
    return buf_append_be64(b, ~v);
}

enum status keyenc_u32(struct buf *b, uint32_t v)
{
    return buf_append_be32(b, v);
}

enum status keyenc_u32_desc(struct buf *b, uint32_t v)
{
    return buf_append_be32(b, ~v);
}

enum status keyenc_i64(struct buf *b, int64_t v)
{
    return buf_append_be64(b, (uint64_t)v ^ sign_bit);
}

/* The bits of a double, with one zero and one NaN; that NaN is negative, so it sorts below
 * -infinity. */
static uint64_t double_bits(double v)
{
    uint64_t bits;
    if (v != v)
        return UINT64_C(0xfff8000000000000);
    if (v == 0)
        return 0;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static uint64_t double_to_ordered(double v)
{
    uint64_t bits = double_bits(v);
    return bits & sign_bit ? ~bits : bits ^ sign_bit;
}

enum status keyenc_double(struct buf *b, double v)
{
    return buf_append_be64(b, double_to_ordered(v));
}

/* Finds the end of an encoded string: its length in encoded bytes (end included) and the zeros that
 * it holds. */
static bool scan_bytes(const struct reader *r, size_t *ret_raw_len, size_t *ret_zeros)
{
    size_t zeros = 0;
    for (const uint8_t *p = r->p; p < r->end;) {
        p = memchr(p, ESCAPE, (size_t)(r->end - p));
        if (!p || r->end - p < 2)
            return false;
        if (p[1] == END) {
            *ret_raw_len = (size_t)(p + 2 - r->p);
            *ret_zeros = zeros;
            return true;
        }
        if (p[1] != ESCAPED_ZERO)
            return false;
        zeros++;
        p += 2;
    }
    return false;
}

bool keydec_bytes(struct reader *r, struct buf *out)
{
    size_t raw_len, zeros;
    if (!scan_bytes(r, &raw_len, &zeros))
        return false;
    size_t len = raw_len - 2 - zeros;
    if (buf_reserve(out, len) != ST_OK)
        return false;
    const uint8_t *in = r->p;
    if (zeros == 0) {
        if (len)
            memcpy(out->data + out->len, in, len);
    } else {
        for (size_t i = 0; i < len; i++) {
            out->data[out->len + i] = *in;
            in += *in == ESCAPE ? 2 : 1;
        }
    }
    out->len += len;
    r->p += raw_len;
    return true;
}

bool keydec_skip_bytes(struct reader *r, struct bytes *ret_raw)
{
    size_t raw_len, zeros;
    return scan_bytes(r, &raw_len, &zeros) && read_bytes(r, raw_len, ret_raw);
}

bool keydec_u64(struct reader *r, uint64_t *ret)
{
    return read_be64(r, ret);
}

bool keydec_u64_desc(struct reader *r, uint64_t *ret)
{
    uint64_t flipped;
    if (!read_be64(r, &flipped))
        return false;
    *ret = ~flipped;
    return true;
}

bool keydec_u32(struct reader *r, uint32_t *ret)
{
    return read_be32(r, ret);
}

bool keydec_u32_desc(struct reader *r, uint32_t *ret)
{
    uint32_t flipped;
    if (!read_be32(r, &flipped))
        return false;
    *ret = ~flipped;
    return true;
}

bool keydec_i64(struct reader *r, int64_t *ret)
{
    uint64_t flipped;
    if (!read_be64(r, &flipped))
        return false;
    *ret = (int64_t)(flipped ^ sign_bit);
    return true;
}

bool keydec_double(struct reader *r, double *ret)
{
    struct reader ahead = *r;
    uint64_t ordered;
    double v;
    if (!read_be64(&ahead, &ordered))
        return false;
    uint64_t bits = ordered & sign_bit ? ordered ^ sign_bit : ~ordered;
    memcpy(&v, &bits, sizeof v);
    /* -0 and the other NaNs are never written, so that equal values have equal keys. */
    if (double_to_ordered(v) != ordered)
        return false;
    *ret = v;
    *r = ahead;
    return true;
}
