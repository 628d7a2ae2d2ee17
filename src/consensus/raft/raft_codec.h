/* raft_codec.h - messages and beats as bytes, for one packet between two stores.
 *
 * A packet is a run of items, each with its own length: messages of many groups and beats travel
 * together. Integers are LEB128 varints; the stores of sender and receiver are the packet's business
 * and are not repeated. Format 1, written out in raft_codec.c.
 *
 * Owns:     nothing. Promises: whatever decodes encodes to the same message; decoding borrows from
 *           the input and never reads past it. Never: trusts a length or a count.
 * Threads:  pure functions.
 */
#ifndef VARVE_CONSENSUS_RAFT_RAFT_CODEC_H
#define VARVE_CONSENSUS_RAFT_RAFT_CODEC_H

#include "base/buf.h"
#include "consensus/raft/raft.h"

/* Appends the item. Errors: NO_MEMORY, TOO_LARGE (the buffer's maximum); nothing is appended then. */
enum status raft_encode(struct buf *out, const struct raft_msg *m) WARN_UNUSED;
enum status raft_encode_beat(struct buf *out, const struct raft_beat *b) WARN_UNUSED;

/* Where decoded parts live besides the input: the caller's, used again for the next item. */
struct raft_decoded {
    enum { RAFT_ITEM_MSG = 1, RAFT_ITEM_BEAT = 2 } kind;
    struct raft_msg msg; /* from_store and to_store as given */
    struct raft_beat beat;
    struct raft_snapshot snapshot;
    struct raft_entry *entries; /* owned; raft_decoded_deinit */
    size_t cap;
};
/* Takes the next item off the reader; payloads are borrowed from it. Errors: INVALID_ARGUMENT
 * (malformed; names what), NO_MEMORY. */
enum status raft_decode(struct reader *in, uint64_t from_store, uint64_t to_store,
                        struct raft_decoded *ret, struct err *err) WARN_UNUSED;
void raft_decoded_deinit(struct raft_decoded *d); /* takes a zeroed one too */

#endif
