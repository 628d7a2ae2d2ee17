/* base64url.h - bytes as text that needs no quoting in URLs, headers and shells: RFC 4648 section 5,
 * without padding.
 *
 * Owns:     nothing. Promises: one text for each run of bytes; decoding refuses every other.
 * Never:    allocates. Threads:  pure functions.
 */
#ifndef VARVE_BASE_BASE64URL_H
#define VARVE_BASE_BASE64URL_H

#include "base/bytes.h"

static inline size_t base64url_len(size_t n) /* characters for n bytes */
{
    return (n * 4 + 2) / 3;
}
/* Writes base64url_len(n) characters, no NUL; returns how many. */
size_t base64url_put(const uint8_t *in, size_t n, uint8_t *out);
/* Writes text.len * 3 / 4 bytes. False for a foreign character, an impossible length, or bits that
 * would be lost; then `out` holds whatever. */
bool base64url_get(struct bytes text, uint8_t *out);

#endif
