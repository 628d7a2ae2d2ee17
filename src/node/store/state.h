/* state.h - a whole store's state as a stream of bytes: out of one store, into another.
 *
 * What a peer gets that is too far behind for the log: all rows of an engine snapshot (every version
 * of every collection, the catalog, the mark), as engine_export gives them. The sender pins a
 * snapshot and makes any part of the stream when asked; the receiver keeps the bytes in
 * DIR/incoming, builds an engine of them in the folder beside the present one, and changes over by
 * one synced write of DIR/VARVE.
 *
 * The stream, little-endian. Header, 64 bytes:
 *    0 u8[8] magic "VARVESTA"      16 u64 range     40 u64 newest version: hlc
 *    8 u32 CRC32C of 12..64        24 u64 index     48 u32 its origin
 *   12 u32 format version (1)      32 u64 term      52 .. 64 zero
 * Blocks, until the one that ends it:
 *    0 u32 CRC32C of 4..16+length   8 u32 number of rows, in the last block 0
 *    4 u32 length behind these 16  12 u32 kind: 1 rows, 2 the end
 *   rows: u8 family, u32 length of the key, u32 length of the value, key, value
 *   end:  u64 number of all rows, u64 bytes before this block, u32 CRC32C of all of them
 * The same snapshot gives the same bytes.
 *
 * Owns:     a pinned snapshot, or DIR/incoming and the folder that is being filled. Promises: after
 *           any crash the store is the old one or the new one, whole; nothing is installed that did
 *           not pass every checksum; readers that began before go on with what they began with.
 * Never:    takes back what was applied; blocks writers (sender) or readers (both).
 * Threads:  a store_state and a store_incoming belong to one thread at a time. All are to be
 *           released before store_close.
 */
#ifndef VARVE_NODE_STORE_STATE_H
#define VARVE_NODE_STORE_STATE_H

#include "node/store/store.h"

enum {
    STATE_FORMAT_VERSION = 1,
    STATE_HEADER = 64,
    STATE_BLOCK_HEADER = 16,
    STATE_ROW_HEADER = 9,
    STATE_END_BYTES = 20,
    STATE_BLOCK_BYTES = 64 * 1024,       /* a block ends with the row that reaches it */
    STATE_BLOCK_MAX = 48 * 1024 * 1024,  /* with the largest of all rows */
    STATE_FREE_BYTES = 16 * 1024 * 1024, /* of the disk that incoming leaves alone */
};

/* ---- sending ---- */

struct store_state;
/* Pins the state as of the last drain; does not drain. PRECONDITION_FAILED: nothing was ever drained.
 * NO_MEMORY, and what the engine answers. */
enum status store_state_pin(struct store *s, struct store_state **ret, struct err *err) WARN_UNUSED;
struct engine_mark store_state_mark(const struct store_state *st);
/* The stream from `offset` on, at most `max_bytes` of it, into `ret` (cleared first). Cheap where the
 * last call ended; elsewhere up to 8 MiB of the stream are made again. *ret_last: the stream ends
 * with these bytes. Errors: INVALID_ARGUMENT (offset behind the end; max_bytes 0), CORRUPT, IO_ERROR,
 * NO_MEMORY: may be tried again. */
enum status store_state_read(struct store_state *st, uint64_t offset, size_t max_bytes,
                             struct buf *ret, bool *ret_last, struct err *err) WARN_UNUSED;
void store_state_release(struct store_state *st); /* takes NULL */

/* ---- receiving: begin, append ..., build, install; end at any time. One at a time. ---- */

struct store_incoming;
/* OVERLOADED: readers still use the engine before the present one, whose folder is needed. READ_ONLY,
 * DISK_FULL, IO_ERROR, NO_MEMORY. */
enum status store_incoming_begin(struct store *s, struct store_incoming **ret,
                                 struct err *err) WARN_UNUSED;
/* The next bytes. Errors: INVALID_ARGUMENT (not where the last ones ended), DISK_FULL (less than
 * STATE_FREE_BYTES would be left), IO_ERROR. After one, end it. */
enum status store_incoming_append(struct store_incoming *in, uint64_t offset, struct bytes data,
                                  struct err *err) WARN_UNUSED;
/* What is to lie beside the mark of the engine (engine.h): it is no part of the stream. Copied; at most
 * ENGINE_NOTE_MAX bytes. */
void store_incoming_note(struct store_incoming *in, struct bytes note);
/* Checks all of it and builds the engine, durably: long, and beside everything else, needs no lock.
 * Errors: CORRUPT (of the stream: names the offset), FORMAT_NEWER, DISK_FULL, IO_ERROR, NO_MEMORY. */
enum status store_incoming_build(struct store_incoming *in, struct engine_mark *ret,
                                 struct err *err) WARN_UNUSED;
/* The store's state is the one that was built, for good, when this answers OK. By whoever leads, or
 * drives (store__lead_begin), short. `keep_log`: entries of the log stay, which must be of the same
 * history; else all entries that are in it are void, also at the next opening. The caller tells the
 * replica; a store alone is to be opened anew before it is written to.
 * Errors: PRECONDITION_FAILED (it does not reach further than what is applied here), NO_MEMORY,
 * DISK_FULL, IO_ERROR: the store is as it was. POISONED: which of the two is on the disk is not
 * known; the store is as it was, and refuses writes. */
enum status store_incoming_install(struct store_incoming *in, bool keep_log,
                                   struct err *err) WARN_UNUSED;
/* Forgets it and removes what it left on the disk. Takes NULL. */
void store_incoming_end(struct store_incoming *in);

#endif
