/* replica_codec.h - what replicas keep in the log beside entries, and what travels between nodes.
 *
 * Hard state (payload of WAL_HARD_STATE): u8 format (1) | u64 LE term | u64 LE vote | u64 LE commit.
 *
 * Entries of the group (payload of WAL_ENTRY): empty: the first of a leader; 0x80 | configuration
 * (raft_conf_encode); else the owner's own, whose first byte is its format, below 0x80.
 *
 * Bundle, all that one node says to another in one go: u8 format (1) | u64 LE incarnation of the
 * sender | items. An item: u8 kind | varint length | body. Kinds below REPLICA_ITEM_OWN are raft's
 * (raft_codec.h), the rest belongs to the owner.
 *
 * Owns:     nothing. Promises: decoders take any bytes; what decodes encodes to the same.
 * Never:    reads past what it is given. Threads:  pure functions.
 */
#ifndef VARVE_NODE_RANGE_REPLICA_CODEC_H
#define VARVE_NODE_RANGE_REPLICA_CODEC_H

#include "base/buf.h"
#include "consensus/raft/raft.h"
#include "storage/wal/wal.h"

enum {
    REPLICA_HARD_BYTES = 1 + 3 * 8,
    REPLICA_CONF_BYTES_MAX = 1 + RAFT_CONF_BYTES_MAX,
    REPLICA_CONF_MARK = 0x80, /* first byte of a configuration */
    REPLICA_ITEM_OWN = 16,
    REPLICA_BUNDLE_HEAD = 1 + 8,
    REPLICA_BUNDLE_MAX = 40 * 1024 * 1024,
};

void replica_hard_encode(const struct raft_hard_state *h, uint8_t out[REPLICA_HARD_BYTES]);
bool replica_hard_decode(struct bytes in, struct raft_hard_state *ret) WARN_UNUSED;

/* A record of the log as an entry of the group; the payload is borrowed. false: malformed. */
bool replica_entry_of(const struct wal_record *rec, struct raft_entry *ret) WARN_UNUSED;
/* And back; a configuration is put into `room`. */
void replica_record_of(const struct raft_entry *e, uint64_t range,
                       uint8_t room[REPLICA_CONF_BYTES_MAX], struct wal_record *ret);

/* NO_MEMORY, TOO_LARGE: nothing is appended. */
enum status replica_bundle_begin(struct buf *out, uint64_t incarnation) WARN_UNUSED;
enum status replica_item_encode(struct buf *out, uint8_t kind, struct bytes body) WARN_UNUSED;
/* The head; leaves the reader before the first item. false: malformed. */
bool replica_bundle_open(struct reader *in, uint64_t *ret_incarnation) WARN_UNUSED;
/* The kind of the next item; 0: no more. */
uint8_t replica_item_kind(const struct reader *in);
/* The next item, of a kind that is the owner's. false: malformed. */
bool replica_item_next(struct reader *in, uint8_t *ret_kind, struct bytes *ret_body) WARN_UNUSED;

#endif
