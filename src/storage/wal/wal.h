/* wal.h - the shared log: the only write-ahead log of a store, for all of its ranges.
 *
 * Files: DIR/NNNNNNNN.seg, slots of `segment_bytes`, zero-filled when made and recycled afterwards.
 * A segment's header carries magic, format version, codec id, encryption-key id, its size and an
 * epoch that grows with every (re)use; groups carry the epoch too, so stale bytes of an earlier use
 * never parse as live. The order of segments is that of epochs. One wal_append makes one group:
 * header {magic, own CRC32C, epoch, length, mark} and records, each with a header of its own CRC32C
 * {length, range, kind, term, index} and a payload CRC32C. `mark` is the position known synced when
 * the group was written: at recovery a bad group or record below the highest mark seen is rot
 * (CORRUPT, never cut off), above it a torn tail (dropped: it was never acknowledged). An idle
 * marker (a group without records) follows the last sync, so that only rot between the last sync
 * and its marker can be mistaken for a tail. The format is written out in wal_format.h.
 * Sources: ARIES (Mohan 1992) for the log as truth; Protocol-Aware Recovery (Alagappan, FAST '18)
 * for telling rot from a torn tail; RocksDB and etcd for recycled, pre-zeroed segments.
 *
 * Owns:     its folder and files. Promises: after wal_sync answers OK everything appended before it
 *           survives a power cut. A failed append leaves nothing of itself (the tail is overwritten
 *           by the next). Recycling never touches a segment with an entry above some range's
 *           released index.
 * Never:    retries a failed sync: from then on every call answers POISONED. Never changes term or
 *           index. Never gives out a payload whose checksum is wrong.
 * Threads:  wal_append, wal_release, wal_tidy (and wal_maintain) want one caller at a time each but may run
 *           beside one another and beside wal_sync; the rest from any thread.
 */
#ifndef VARVE_STORAGE_WAL_WAL_H
#define VARVE_STORAGE_WAL_WAL_H

#include "base/buf.h"
#include "base/env/env.h"

struct wal;

/* A place in the log. Ordered by epoch, then offset. */
struct wal_pos {
    uint64_t epoch;
    uint64_t offset; /* bytes from the start of that segment */
};
static inline int wal_pos_cmp(struct wal_pos a, struct wal_pos b)
{
    if (a.epoch != b.epoch)
        return a.epoch < b.epoch ? -1 : 1;
    return (a.offset > b.offset) - (a.offset < b.offset);
}

enum wal_kind {
    /* Payload is the range's business. One at an index that is there already voids that and all
     * behind it. */
    WAL_ENTRY = 1,
    WAL_HARD_STATE = 2, /* term, vote, commit of a range's consensus; the newest wins */
    WAL_TRUNCATE = 3,   /* entries of the range with an index >= this one are void */
    WAL_RELEASE = 4,    /* entries of the range with an index <= this one are in the engine */
};

struct wal_record {
    uint64_t range;
    uint64_t term;
    uint64_t index;       /* absolute: compaction never shifts it */
    uint8_t kind;         /* enum wal_kind */
    bool rotten;          /* replay with `keep_rotten`: the payload is damaged and left out */
    struct bytes payload; /* at most 32 MiB + 64 KiB */
};

struct wal_options {
    size_t segment_bytes; /* 0 = 64 MiB; at least 64 KiB, below 32 GiB */
    /* the first segment of a new log, doubling up to segment_bytes; 0 = 256 KiB */
    size_t first_segment_bytes;
    uint64_t
        max_bytes; /* all segments together; past it wal_append answers OVERLOADED; 0 = unlimited.
                                 * Segments are then at most a quarter of it (but 64 KiB) */
    unsigned spare_segments; /* zeroed ahead by wal_make_spare; 0 = 1 */
    bool read_only;          /* recover and verify only; append answers READ_ONLY */
    /* An entry whose payload is rotten, in a group whose headers are sound, is replayed with
     * wal_record.rotten instead of stopping the opening: for ranges that others have copies of. So is
     * a hard state that a later one replaces; the newest must be sound. Rot in headers stops it
     * still. */
    bool keep_rotten;
};

enum {
    WAL_PAYLOAD_MAX = 32 * 1024 * 1024 + 64 * 1024,
    WAL_GROUP_MAX = 256 * 1024 * 1024, /* records of one wal_append with their headers */
    WAL_FORMAT_VERSION = 1,
};
/* wal_release of this index: the range is gone from this store, its hard state too. */
#define WAL_RELEASE_ALL UINT64_MAX

/* Called for every surviving record in log order while opening; the record is borrowed until it
 * returns, `pos` is where it begins. Entries at or below a released index, and hard states that a
 * later one replaces, may come again: the caller skips by index. Anything but ST_OK stops the
 * opening with that status. */
typedef enum status (*wal_replay_fn)(void *arg, const struct wal_record *rec, struct wal_pos pos,
                                     struct err *err);

/* Opens or makes the log. Errors: CORRUPT (rot: names file, offset, range), FORMAT_NEWER (names the
 * version), IO_ERROR, DISK_FULL, NO_MEMORY, TOO_MANY_FILES, what `replay` answered. */
enum status wal_open(struct env *env, const char *dir, const struct wal_options *o,
                     wal_replay_fn replay, void *arg, struct wal **ret,
                     struct err *err) WARN_UNUSED;
/* Syncs what was appended, writes the idle marker and closes. The handle is gone whatever it
 * answers. DISK_FULL: a failed append could not be erased and may come back; the rest is safe. */
enum status wal_close(struct wal *w, struct err *err);
/* Gives the memory back and closes the files, without any input or output: as if the process had
 * died. Takes NULL. */
void wal_abandon(struct wal *w);

/* Writes the records as one group (atomic at recovery: all or none). Not durable before wal_sync.
 * Payloads are not copied (pwritev).
 * Errors: DISK_FULL (nothing written; may be tried again), OVERLOADED (max_bytes), TOO_LARGE
 * (WAL_PAYLOAD_MAX, WAL_GROUP_MAX), INVALID_ARGUMENT (kind), NO_MEMORY, READ_ONLY, IO_ERROR
 * (nothing of it will be replayed; later appends may succeed), POISONED. A failed write is erased
 * on the spot; when the disk refuses even that, it is erased before the next append, and only a
 * crash in between may still bring the group back. */
enum status wal_append(struct wal *w, const struct wal_record *records, size_t n,
                       struct wal_pos *ret_end, struct err *err) WARN_UNUSED;
/* Makes all that was appended before the call durable. On failure the log is poisoned for good. */
enum status wal_sync(struct wal *w, struct err *err) WARN_UNUSED;
struct wal_pos wal_synced(struct wal *w);
bool wal_poisoned(struct wal *w);

/* The range needs nothing at or below `index` any more (it is durable in the engine). Segments that
 * no range needs become spares (in wal_tidy). Never fails: without memory the release is
 * forgotten and the segment kept. */
void wal_release(struct wal *w, uint64_t range, uint64_t index);

/* The least index whose release lets go of as many segments as that of `index` would, 0: of none. What lies
 * behind it may as well be kept. */
uint64_t wal_worth_releasing(struct wal *w, uint64_t range, uint64_t index);

/* Entries as read; zeroed before the first use, kept from call to call, then deinit. */
struct wal_entries {
    struct wal_record *v;
    size_t n;
    size_t cap; /* the rest is the log's own */
    struct buf bytes;
};
void wal_entries_deinit(struct wal_entries *e);
/* Reads entries of a range, synced or not, from `from` to `to` (both included), following one
 * another, without those that are void. Stops before more than `max_bytes` (payloads and 40 bytes
 * each), but reads at least one; fewer come when the rest is not there or became void meanwhile. In
 * order of index it costs one walk along the log, from anywhere else up to 256 KiB of the range's
 * entries more. What was released may still be there.
 * Errors: NOT_FOUND (`from` is not in the log), CORRUPT (names file and offset: the entry behind the
 * `n` good ones that were read is rotten), IO_ERROR, NO_MEMORY (n = 0), INVALID_ARGUMENT (to < from). */
enum status wal_read_entries(struct wal *w, uint64_t range, uint64_t from, uint64_t to,
                             size_t max_bytes, struct wal_entries *ret,
                             struct err *err) WARN_UNUSED;
/* Writes a rotten entry's payload anew in its place, durable when this returns; nothing else
 * changes. It must be the same entry: what the header says of term, length and checksum is still
 * known. Errors: NOT_FOUND, PRECONDITION_FAILED (another entry), CORRUPT (headers are rotten: cannot
 * be mended), DISK_FULL, IO_ERROR, READ_ONLY, NO_MEMORY, POISONED. */
enum status wal_repair(struct wal *w, const struct wal_record *entry, struct err *err) WARN_UNUSED;

/* Housekeeping, meant for a background thread: recycles what no range needs (carrying over the
 * newest hard state of each range), writes down releases, writes the idle marker when nothing was
 * appended since the last sync, shrinks surplus spares. Errors: those of append and sync; all but POISONED
 * may be tried again. */
enum status wal_tidy(struct wal *w, struct err *err) WARN_UNUSED;
/* Zeroes spares ahead, a step of about 1 MiB a call. *ret_pause_ms: how long to leave the disk to others
 * before the next call, 0 when the log may need the spare soon; UINT64_MAX: all are there. Without the
 * pauses each sync of the log would wait behind a step, for as long as a whole segment takes to write. Errors:
 * DISK_FULL, IO_ERROR, NO_MEMORY: what was made so far is given up, later calls begin anew. */
enum status wal_make_spare(struct wal *w, uint64_t *ret_pause_ms, struct err *err) WARN_UNUSED;
/* Both, all spares without a pause. */
enum status wal_maintain(struct wal *w, struct err *err) WARN_UNUSED;

struct wal_stats {
    uint64_t segments, spare_segments, bytes, live_bytes; /* live: not yet released */
    uint64_t appends, records, appended_bytes, syncs, sync_ns;
    struct wal_pos first, end, synced;
    uint64_t dropped_tail_bytes; /* torn tail dropped at opening */
};
void wal_stats(struct wal *w, struct wal_stats *ret);

/* Reads every record of a log that no handle has open and checks every checksum. Calls `report` for
 * each finding (file, offset, range or 0, text) and goes on. Answers CORRUPT when there was one.
 * `progress` may be NULL. */
struct wal_finding {
    const char *file;
    uint64_t offset, range;
    const char *text;
};
enum status wal_verify(struct env *env, const char *dir,
                       void (*report)(void *arg, const struct wal_finding *f),
                       void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                       struct err *err) WARN_UNUSED;
/* The same for the log of an open handle, up to what is synced. Runs beside appends. */
enum status wal_verify_open(struct wal *w, void (*report)(void *arg, const struct wal_finding *f),
                            void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                            struct err *err) WARN_UNUSED;

#endif
