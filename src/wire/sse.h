/* sse.h - Server-Sent Events: the text format of an event stream (WHATWG HTML, 9.2), over any HTTP.
 *
 * Owns:     nothing; appends to the caller's buf.
 * Promises: each call appends one whole event or nothing. Data of several lines becomes several
 *           `data:` fields; CR, LF and CRLF all end a line.
 * Never:    lets `id` or `event` forge a field: INVALID_ARGUMENT when one has CR, LF or NUL.
 * Threads:  pure functions.
 */
#ifndef VARVE_WIRE_SSE_H
#define VARVE_WIRE_SSE_H

#include "base/buf.h"

#define SSE_CONTENT_TYPE "text/event-stream"

/* id and event: an empty one is left out. Errors: INVALID_ARGUMENT, NO_MEMORY, TOO_LARGE (the
 * buf's). */
enum status sse_event(struct buf *out, struct bytes id, struct bytes event,
                      struct bytes data) WARN_UNUSED;
/* A line that clients ignore: a heartbeat. INVALID_ARGUMENT when it has CR or LF. */
enum status sse_comment(struct buf *out, struct bytes text) WARN_UNUSED;
/* How long a client waits before it comes back. */
enum status sse_retry(struct buf *out, uint32_t ms) WARN_UNUSED;

#endif
