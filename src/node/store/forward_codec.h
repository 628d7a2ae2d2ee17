/* forward_codec.h - a write on its way from the node that has it to the one that leads, and back.
 *
 * A forward: varint number, incarnation of the node it is for, term it is for, hlc to be above;
 * varint count (at most FORWARD_OLDER_MAX), numbers it was sent under before: those are void from now
 * on | varint length, request id | varint count of collections, each: varint id, varint length, name |
 * varint count of requirements, each: u8 what, varint hlc, varint origin, varint length, key | varint
 * length, entry (entry.h, without a version).
 * An answer: varint number, incarnation of the asking node, status, index, hlc, origin, failed; u8
 * duplicate; varint length, message.
 *
 * Owns:     nothing. Promises: decoders take any bytes; what decodes encodes to the same.
 * Never:    reads past what it is given; believes a count that the bytes cannot hold.
 * Threads:  pure functions.
 */
#ifndef VARVE_NODE_STORE_FORWARD_CODEC_H
#define VARVE_NODE_STORE_FORWARD_CODEC_H

#include "node/store/store.h"

enum { FORWARD_OLDER_MAX = 8 };
struct forward {
    uint64_t number, incarnation, term, at_least;
    uint64_t n_older, older[FORWARD_OLDER_MAX];
    struct bytes request_id;
    uint64_t n_collections, n_requires; /* still to be read */
    struct reader in;
};
struct forward_collection {
    uint32_t id;
    struct bytes name;
};

/* The parts in this order, each as often as the head says. NO_MEMORY, TOO_LARGE: append part of it. */
enum status forward_encode(struct buf *out, const struct forward *f) WARN_UNUSED;
enum status forward_encode_collection(struct buf *out,
                                      const struct forward_collection *c) WARN_UNUSED;
enum status forward_encode_require(struct buf *out, const struct store_require *r) WARN_UNUSED;
enum status forward_encode_entry(struct buf *out, struct bytes entry) WARN_UNUSED;

/* The same, taken off; what is returned is borrowed from the input. false: malformed. */
bool forward_open(struct bytes in, struct forward *ret) WARN_UNUSED;
bool forward_collection_next(struct forward *f, struct forward_collection *ret) WARN_UNUSED;
bool forward_require_next(struct forward *f, struct store_require *ret) WARN_UNUSED;
bool forward_entry(struct forward *f, struct bytes *ret) WARN_UNUSED; /* last; nothing follows */

struct forward_answer {
    uint64_t number, incarnation;
    enum status status;
    uint64_t index, failed;
    struct version version;
    bool duplicate;
    struct bytes message; /* shorter than ERR_DETAIL_MAX */
};
enum status forward_encode_answer(struct buf *out, const struct forward_answer *a) WARN_UNUSED;
bool forward_decode_answer(struct bytes in, struct forward_answer *ret) WARN_UNUSED;

#endif
