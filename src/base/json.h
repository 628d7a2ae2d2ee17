/* json.h - writing JSON (RFC 8259), piece by piece, into a buf.
 *
 * Owns:     nothing.
 * Promises: whatever the bytes, what is written is valid JSON and valid UTF-8.
 * Never:    parses (model/doc does); puts commas or brackets: the caller does.
 * Threads:  pure functions.
 */
#ifndef VARVE_BASE_JSON_H
#define VARVE_BASE_JSON_H

#include "base/buf.h"

/* The bytes of the character that b begins with; 0: it begins with none (RFC 3629). */
size_t utf8_len(struct bytes b);
bool utf8_valid(struct bytes b);

/* A string; what is not UTF-8 is written as U+FFFD. For messages and names. */
enum status json_text(struct buf *out, struct bytes text) WARN_UNUSED;
/* Keys and values, which are bytes: a string when they are UTF-8, else
 * {"$binary":{"base64":"...","subType":"00"}} as Extended JSON has it. */
enum status json_bytes(struct buf *out, struct bytes b) WARN_UNUSED;
static inline enum status json_put(struct buf *out, const char *literal)
{
    return buf_append(out, literal, strlen(literal));
}

#endif
