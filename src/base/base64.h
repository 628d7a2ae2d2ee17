/* base64.h - bytes as text, the common alphabet with padding: RFC 4648 section 4. (For URLs and
 * headers: base64url.h.)
 *
 * Owns:     nothing. Promises: one text for each run of bytes; decoding refuses every other.
 * Never:    skips line ends. Threads: pure functions.
 */
#ifndef VARVE_BASE_BASE64_H
#define VARVE_BASE_BASE64_H

#include "base/buf.h"

/* Appends. NO_MEMORY, TOO_LARGE. */
enum status base64_encode(struct buf *out, struct bytes b) WARN_UNUSED;
/* Appends. INVALID_ARGUMENT: it is not base64. On failure `out` is as it was. */
enum status base64_decode(struct bytes text, struct buf *out) WARN_UNUSED;

#endif
