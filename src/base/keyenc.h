/* keyenc.h - order-preserving ("memcomparable") encoding of key parts.
 *
 * Encoded parts laid end to end compare with memcmp as the tuple of parts compares. Byte strings:
 * 0x00 becomes 0x00 0xff and the end is 0x00 0x01, so that no string is a prefix of another.
 * Integers: big-endian, sign bit flipped. Doubles: IEEE 754 total order, with -0 equal to 0 and
 * every NaN equal to the one NaN below -infinity (where BSON's order has it); the decoder refuses
 * the bit patterns that are never written. `desc` variants sort downwards (all bits flipped).
 * Source of the idea: FoundationDB's tuple layer and MyRocks' memcomparable format.
 *
 * Owns: nothing. Promises: decode(encode(x)) = x. Never: reads past the end. Threads: any.
 */
#ifndef VARVE_BASE_KEYENC_H
#define VARVE_BASE_KEYENC_H

#include "base/buf.h"

enum status keyenc_bytes(struct buf *b, struct bytes v) WARN_UNUSED;
enum status keyenc_u64(struct buf *b, uint64_t v) WARN_UNUSED;
enum status keyenc_u64_desc(struct buf *b, uint64_t v) WARN_UNUSED;
enum status keyenc_u32(struct buf *b, uint32_t v) WARN_UNUSED;
enum status keyenc_u32_desc(struct buf *b, uint32_t v) WARN_UNUSED;
enum status keyenc_i64(struct buf *b, int64_t v) WARN_UNUSED;
enum status keyenc_double(struct buf *b, double v) WARN_UNUSED;

/* Each returns false and leaves the reader where it was on malformed input. keydec_bytes appends to
 * `out`, and also returns false, with `out` as it was, when there is no room for that (no memory,
 * or over out->max). */
bool keydec_bytes(struct reader *r, struct buf *out);
/* the encoded form incl. its end, borrowed */
bool keydec_skip_bytes(struct reader *r, struct bytes *ret_raw);
bool keydec_u64(struct reader *r, uint64_t *ret);
bool keydec_u64_desc(struct reader *r, uint64_t *ret);
bool keydec_u32(struct reader *r, uint32_t *ret);
bool keydec_u32_desc(struct reader *r, uint32_t *ret);
bool keydec_i64(struct reader *r, int64_t *ret);
bool keydec_double(struct reader *r, double *ret);

#endif
