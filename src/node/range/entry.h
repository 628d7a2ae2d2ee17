/* entry.h - what one log entry says: the payload of WAL_ENTRY records.
 *
 * Format 1: u8 format, u8 codec (0), u8 encryption key id (0), u8 zero | u64 LE hlc | u32 LE origin
 * | u32 LE op count | u8 writer length, writer | ops An op:    u8 kind (bits 0-1), type (2-3), has
 * expiry (4) | varint key length, key | [varint expires_ms] | varint value length, value (no value
 * length for a delete) The version stands at a fixed place, so that the caller encodes an entry on
 * its own thread and the leader stamps it. Keys in an entry are distinct and rise. Without ops an entry only says that its version has passed: later
 * entries have higher ones.
 *
 * Owns:     an encoded entry is a blob; large values are later moved by reference to it.
 * Promises: decoding accepts nothing that encoding could not have made. Never: interprets keys or
 * values. Threads:  pure functions.
 */
#ifndef VARVE_NODE_RANGE_ENTRY_H
#define VARVE_NODE_RANGE_ENTRY_H

#include "base/blob.h"
#include "storage/record.h"

enum { ENTRY_MAX = 32 * 1024 * 1024, ENTRY_FORMAT = 1 };

struct entry_op {
    struct bytes key; /* routing key */
    uint8_t kind, type;
    uint64_t expires_ms;
    struct bytes value;
};

/* Sorts `ops` by key and encodes them. Errors: TOO_LARGE (over ENTRY_MAX; names it),
 * INVALID_ARGUMENT (a key twice), NO_MEMORY. */
enum status entry_encode(struct entry_op *ops, size_t n, struct bytes writer, struct blob **ret,
                         struct err *err) WARN_UNUSED;
/* An entry without ops: it only says that its version has passed. */
enum status entry_moment(struct blob **ret, struct err *err) WARN_UNUSED;
void entry_stamp(struct blob *entry, struct version v);

struct entry_reader {
    struct reader r;
    struct version version;
    struct bytes writer;
    uint32_t left;
    struct bytes last_key;
};
/* false: malformed. */
bool entry_open(struct bytes payload, struct entry_reader *ret) WARN_UNUSED;
/* The op on a key, of an entry that may have no version yet. false: none, or malformed. */
bool entry_find(struct bytes payload, struct bytes key, struct entry_op *ret) WARN_UNUSED;
/* Whether it would decode once it has a version: for what comes from other nodes. */
bool entry_sound(struct bytes payload) WARN_UNUSED;
/* 1: an op (borrowed from the payload); 0: the end; -1: malformed. */
int entry_next(struct entry_reader *r, struct entry_op *ret) WARN_UNUSED;

#endif
