/* token.h - a place in the change feed as text.
 *
 * A token is base64url (RFC 4648, section 5, without padding) of
 *     u8 format (1) | u8 count of ranges (1) | per range: varint range id, u64 BE hlc, u32 BE
 * origin, varint key length, key | u32 BE CRC32C of all before it and names the last change that
 * was delivered, (version, routing key) of each range. An empty key stands before all keys of the
 * version. There is one range today; the vector is in the format so that tokens outlive the first
 * split.
 *
 * Owns: nothing. Promises: decoding accepts nothing that encoding could not have made. Never: shows
 * a token's inside. Threads: pure functions.
 */
#ifndef VARVE_NODE_FEED_TOKEN_H
#define VARVE_NODE_FEED_TOKEN_H

#include "base/buf.h"
#include "base/hlc.h"

struct token {
    uint64_t range;
    struct version version;
    struct bytes key; /* at most RECORD_KEY_MAX bytes */
};

/* The longest text for a key of so many bytes, with its NUL. */
size_t token_text_max(size_t key_len);
/* Replaces the content of `out`, NUL-terminated after its length. NO_MEMORY. */
enum status token_encode(const struct token *t, struct buf *out) WARN_UNUSED;
/* ret->key is borrowed from `scratch`. INVALID_ARGUMENT (says what is wrong), NO_MEMORY. */
enum status token_decode(struct bytes text, struct buf *scratch, struct token *ret,
                         struct err *err) WARN_UNUSED;

#endif
