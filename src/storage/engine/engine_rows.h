/* engine_rows.h - how the rows of an engine are keyed and encoded; the same in every engine.
 *
 *   live  key    the routing key as it is
 *         value  record_encode(WITH_VERSION), parent included
 *   past  key    keyenc_bytes(key) | u64 hlc descending | u32 origin descending: newest first, keys
 * never interleave value  record_encode without version. Kind FLOOR lies at version none, so below
 * every version of its key; the version it speaks of is its value, 12 bytes (u64 BE hlc, u32 BE
 * origin). when  key    u64 BE range | u64 BE hlc | u32 BE origin | routing key value  u8 kind |
 * bit 2 has parent | bit 3 has origin; [varint hlc - parent.hlc; [varint parent.origin]] mark  one
 * a range, in `live` under the reserved key ff ff ff ff | u64 BE range. No routing key starts with
 *         ff ff ff ff: that collection id is never given out. Value: u8 format, u8 flags, u64 BE index,
 * u64 BE term, u64 BE hlc, u32 BE origin; in format 2 also the range's rows of live, past and when,
 * u64 BE each. Format 1 is what wrote no counts, and stays so. Format 3 is for a mark with a note: as
 * format 2, but a byte says whether the counts are known (1) or zeros (0), and the note follows.
 *
 * Owns: nothing. Promises: decode accepts only what encode makes. Never: does I/O. Threads: pure
 * functions.
 */
#ifndef VARVE_STORAGE_ENGINE_ENGINE_ROWS_H
#define VARVE_STORAGE_ENGINE_ENGINE_ROWS_H

#include "storage/engine/engine.h"

enum engine_family { ENGINE_LIVE = 0, ENGINE_PAST = 1, ENGINE_WHEN = 2 };
enum {
    ENGINE_FAMILIES = 3,
    ENGINE_VERSION_BYTES = 12, /* the end of a past key */
    ENGINE_WHEN_HEAD = 20,     /* the start of a when key, range and version */
    ENGINE_MARK_KEY_BYTES = 12,
    ENGINE_MARK_DELETES =
        1, /* mark flag: a delete was drained once, so past may hold a key's newest version */
    ENGINE_MARK_CUT = 2, /* a vacuum is under way or was cut: past may hold versions without their
                          * when rows */
};

const char *engine_family_name(enum engine_family f);

/* How many rows of each family a range has, marks and leftovers of half drains apart. `live` is
 * exact; the others are but for a vacuum that was cut between two families, which leaves them too
 * high by what it had removed of that batch. */
struct engine_counts {
    bool known;
    uint64_t rows[ENGINE_FAMILIES];
};

/* The mark of one range with its flags, as a snapshot lists it. */
struct engine_mark_row {
    uint64_t range;
    struct engine_mark mark;
    uint8_t flags;
    struct engine_counts counts;
};

static inline bool engine_key_reserved(struct bytes key)
{
    return bytes_has_prefix(key, BYTES_LIT("\xff\xff\xff\xff"));
}
static inline bool engine_interval_has(const struct engine_interval *in, struct bytes key)
{
    return bytes_cmp(in->lower, key) <= 0 && (in->upper.len == 0 || bytes_cmp(key, in->upper) < 0);
}
/* The next higher version; VERSION_MAX stays. */
struct version engine_version_next(struct version v);

/* Each replaces what is in `out`. Errors: NO_MEMORY. */
enum status engine_past_prefix(struct buf *out, struct bytes key) WARN_UNUSED;
/* The version behind a prefix: appends. */
enum status engine_past_append(struct buf *out, struct version v) WARN_UNUSED;
enum status engine_past_key(struct buf *out, struct bytes key, struct version v) WARN_UNUSED;
enum status engine_when_key(struct buf *out, uint64_t range, struct version v,
                            struct bytes key) WARN_UNUSED;
enum status engine_when_value(struct buf *out, uint8_t kind, struct version v,
                              struct version parent) WARN_UNUSED;
enum status engine_mark_value(struct buf *out, const struct engine_mark *m, uint8_t flags,
                              const struct engine_counts *counts) WARN_UNUSED;
void engine_mark_key(uint64_t range, uint8_t out[ENGINE_MARK_KEY_BYTES]);
/* The value of a FLOOR record (see above), to be encoded with version none. */
void engine_floor_value(struct version v, uint8_t out[ENGINE_VERSION_BYTES]);

/* false: malformed, outputs untouched. */
bool engine_past_split(struct bytes row_key, struct bytes *ret_prefix, struct version *ret);
/* As record_decode of a past value; a floor comes back with its version moved into rec->version,
 * value empty. */
bool engine_past_decode(struct bytes value, struct version v, struct record *ret);
bool engine_live_decode(struct bytes value, struct record *ret); /* refuses what is not a put */
bool engine_when_split(struct bytes row_key, uint64_t *ret_range, struct version *ret,
                       struct bytes *ret_key);
bool engine_when_decode(struct bytes value, struct version v, uint8_t *ret_kind,
                        struct version *ret_parent);
bool engine_mark_decode(struct bytes row_key, struct bytes value, struct engine_mark_row *ret);
/* The routing key of a past prefix, into `out` (cleared first). NO_MEMORY, CORRUPT. */
enum status engine_past_unprefix(struct bytes prefix, struct buf *out) WARN_UNUSED;

#endif
