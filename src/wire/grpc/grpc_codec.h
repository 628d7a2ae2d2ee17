/* grpc_codec.h - the parts of gRPC that know no connection: framing, compression, timeouts, the
 * coding of trailers, codes.
 *
 * A message on the wire: one byte (1 = compressed), its length as 4 bytes big-endian, the message.
 *
 * Owns:     a decoder its messages (base/alloc.h), paid for out of the budget, if there is one.
 * Promises: never inflates past the limit; outputs untouched on failure.
 * Never:    trusts a length: memory grows with the bytes that have come, not with what was announced.
 * Threads:  pure functions; one owner for a decoder.
 */
#ifndef VARVE_WIRE_GRPC_GRPC_CODEC_H
#define VARVE_WIRE_GRPC_GRPC_CODEC_H

#include "base/buf.h"
#include "base/list.h"
#include "wire/wire.h"

enum { GRPC_PREFIX = 5, GRPC_MESSAGE_MAX = 32 * 1024 * 1024 };

enum grpc_code {
    GRPC_OK = 0,
    GRPC_CANCELLED = 1,
    GRPC_UNKNOWN = 2,
    GRPC_INVALID_ARGUMENT = 3,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_NOT_FOUND = 5,
    GRPC_ALREADY_EXISTS = 6,
    GRPC_PERMISSION_DENIED = 7,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_FAILED_PRECONDITION = 9,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNIMPLEMENTED = 12,
    GRPC_INTERNAL = 13,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15,
    GRPC_UNAUTHENTICATED = 16,
};
const char *grpc_code_name(enum grpc_code code); /* "NOT_FOUND"; "UNKNOWN" for any other number */
/* The other way is status_grpc. Several statuses share a code; this answers the plainest of them. */
enum status grpc_status_of(enum grpc_code code);
enum grpc_code grpc_code_of_http(unsigned http_status);
enum grpc_code grpc_code_of_h2(uint32_t h2_code);             /* for a stream that was reset */
bool grpc_code_parse(struct bytes text, enum grpc_code *ret); /* above 16: UNKNOWN */

enum grpc_encoding { GRPC_IDENTITY, GRPC_GZIP };

/* grpc-timeout: at most 8 digits and a unit of H M S m u n. More than 2^63 ns counts as that. */
bool grpc_timeout_parse(struct bytes text, uint64_t *ret_ns);
enum { GRPC_TIMEOUT_TEXT = 10 };
/* The shortest unit that holds it, rounded up; returns the length. */
size_t grpc_timeout_format(uint64_t ns, char out[GRPC_TIMEOUT_TEXT]);

/* grpc-message. Decoding takes what is no valid escape as it stands. */
enum status grpc_percent_encode(struct bytes in, struct buf *out) WARN_UNUSED;
enum status grpc_percent_decode(struct bytes in, struct buf *out) WARN_UNUSED;
/* -bin values: written without padding, read with or without. INVALID_ARGUMENT: not base64. */
enum status grpc_base64_encode(struct bytes in, struct buf *out) WARN_UNUSED;
enum status grpc_base64_decode(struct bytes in, struct buf *out) WARN_UNUSED;

void grpc_prefix(uint8_t out[GRPC_PREFIX], bool compressed, uint32_t len);
/* Append to `out`. inflate: TOO_LARGE past `max` (stops there, so a bomb costs `max`), INTERNAL,
 * NO_MEMORY. */
enum status grpc_gzip(struct bytes in, struct buf *out) WARN_UNUSED;
enum status grpc_gunzip(struct bytes in, size_t max, struct buf *out, struct err *err) WARN_UNUSED;

struct grpc_message;
/* Cuts a stream of bytes into messages; queues those that are complete. */
struct grpc_decoder {
    size_t message_max;
    struct wire_budget *budget;
    enum grpc_encoding encoding; /* what a compressed message is compressed with */
    uint8_t prefix[GRPC_PREFIX];
    uint8_t prefix_len;
    struct grpc_message *partial, *taken;
    struct grpc_message
        *own; /* room for a message of at most own_len bytes, NULL: none, or in use */
    size_t own_len;
    struct list ready;
    size_t prefix_owed;
    struct buf inflated;
    size_t inflated_paid;
};
void grpc_decoder_init(struct grpc_decoder *d, size_t message_max, struct wire_budget *budget);
/* Lends it room, aligned like a pointer, for one small message at a time: most calls have no other. It
 * must outlive the decoder. */
void grpc_decoder_lend(struct grpc_decoder *d, void *room, size_t size);
void grpc_decoder_deinit(struct grpc_decoder *d); /* takes a zeroed one */
/* Takes all of `in`. Errors: TOO_LARGE (message_max), OVERLOADED (budget), INTERNAL (flag),
 * NO_MEMORY: the stream cannot go on, complete messages before it can still be taken. */
enum status grpc_decoder_feed(struct grpc_decoder *d, struct bytes in, struct err *err) WARN_UNUSED;
/* The next complete message, inflated, lent until the next call of this or deinit; *ret_any false:
 * none is there. *ret_owed: how many received bytes may now be given back to the peer's window.
 * Errors: TOO_LARGE, INTERNAL, OVERLOADED, NO_MEMORY. */
enum status grpc_decoder_next(struct grpc_decoder *d, bool *ret_any, struct bytes *ret,
                              size_t *ret_owed, struct err *err) WARN_UNUSED;
/* After feed and next: how many bytes of the message being put together may be given back: all, so
 * that it can be larger than the window, unless others wait to be taken. */
size_t grpc_decoder_owed(struct grpc_decoder *d);
bool grpc_decoder_between(const struct grpc_decoder *d); /* not in the middle of a message */

#endif
