/* wal_internal.h - the open log, and how its parts call each other.
 *
 * Locks, in the order they are taken: `append_mutex` (one group at a time; held over its write),
 * `sync_mutex` (one sync of a live segment at a time, for of two at once the system tells only one
 * that it failed; held over fdatasync, so that those who wait find their work done), `state`
 * (nanoseconds; never over I/O). wal_append takes append and state, wal_sync takes sync and state:
 * neither waits for the other's I/O, but for an append that failed and is erased. `make_mutex` is held over
 * one step of a spare that is being made; an append that needs a new segment takes it (behind append_mutex)
 * only when no spare is there.
 *
 * Invariants: segs[] holds contiguous epochs, the last is the one written to; every group before
 * `synced` is durable; `low` is what the newest group says, and segments below it are reused only
 * after that group was synced.
 */
#ifndef VARVE_STORAGE_WAL_INTERNAL_H
#define VARVE_STORAGE_WAL_INTERNAL_H

#include "base/assert.h"
#include "base/env/thread.h"
#include "storage/wal/wal_format.h"

/* u64 -> u64, open addressing; nothing is ever removed. */
struct wal__map {
    struct wal__slot {
        uint64_t key, val;
        bool used;
    } * slots;
    size_t cap, n;
};
uint64_t *wal__map_find(const struct wal__map *m, uint64_t key);
uint64_t *wal__map_put(struct wal__map *m,
                       uint64_t key); /* finds, or adds with value 0; NULL: no memory */
void wal__map_deinit(struct wal__map *m);

/* Where entries of a range begin to follow one another in the log: at `index`, in record `at` of the
 * group at `group`. From there they come one by one, with others' between, up to the next mark. */
struct wal__sample {
    uint64_t index, epoch, group; /* epoch 0: none */
    uint32_t at;                  /* bytes into the group's records; its length: the next group */
};
enum { WAL__CURSORS = 4, WAL__SAMPLE_BYTES = 256 * 1024 };
/* What decides whether the next entry gets a sample. */
struct wal__track {
    uint64_t next;  /* behind the last entry; 0 = none yet */
    uint64_t since; /* bytes of entries since the last sample */
    uint64_t epoch; /* of that sample; 0: the next entry gets one */
};

struct wal__seg {
    struct env_file *file;
    struct wal_seg_header h; /* as on disk */
    uint32_t slot;
    uint64_t end;        /* behind its last group */
    struct wal__map top; /* range -> highest entry index here + 1 */
    unsigned readers;    /* it is not recycled meanwhile; under `state` */
};

struct wal__range {
    uint64_t range;
    uint64_t released; /* highest released index + 1; 0 = nothing; UINT64_MAX = the range is gone */
    uint64_t written;  /* the same, as the log's newest WAL_RELEASE says */
    uint64_t written_epoch;               /* where that one lies */
    uint64_t hs_epoch, hs_term, hs_index; /* newest hard state; epoch 0 = none */
    bool hs_rotten;                       /* while opening: its payload is not there */
    struct buf hs;
    /* wal_index.c: by index, and by place too. No entry lies between the first sample and
     * track.next that is not reached from a sample. */
    struct wal__sample *samples;
    size_t n_samples, cap_samples;
    struct wal__track track, plan; /* plan: as it will be once the group `plan_of` is noted */
    uint64_t plan_of;
    size_t planned;                          /* samples that group needs */
    uint64_t voids;                          /* rises whenever entries become void */
    struct wal__sample cursor[WAL__CURSORS]; /* where readers went on to */
    unsigned turn;
};

struct wal__segs {
    struct wal__seg **v;
    size_t n, cap;
};

/* A spare that is being made: of its file the first `at` bytes are zeros. seg NULL: none is. */
struct wal__making {
    struct wal__seg *seg;
    uint64_t at;
};

/* Groups above WAL__PIECE bytes are written in pieces; two are at hand at a time (wal_write.c). */
enum { WAL__PIECE = 512 * 1024, WAL__PARTS = 1030 };

struct wal {
    struct env *env;
    char *dir;
    struct wal_options o; /* defaults filled in */
    struct env_mutex append_mutex, sync_mutex, verify_mutex, state;
    atomic_bool poisoned;

    struct env_mutex make_mutex;
    struct wal__making making; /* under it */

    /* Under `append_mutex`. */
    uint32_t incarnation;
    struct wal__seg *current; /* the last of segs[]; changes under `state` too */
    struct wal__seg *half; /* its header may name the next epoch: undo that before anything else */
    bool erase; /* a failed group may lie at the end of the log: erase it before anything else */
    struct wal_pos mark;            /* in the newest group */
    struct wal_pos behind;          /* so far the system was told to begin writing */
    struct wal_pos data_end;        /* behind the newest group that has records */
    struct buf scratch;             /* headers and small payloads of the pieces being written */
    struct bytes parts[WAL__PARTS]; /* what is handed to pwritev */
    size_t piece_bytes;             /* WAL__PIECE, or less in a test */

    /* Under `state`. */
    struct wal__segs segs, spares;
    size_t keep_spares;        /* so many at most are kept; more than options.spare_segments while
                           releases free several at once */
    unsigned smaller_releases; /* in a row: keep_spares is more than they freed */
    struct wal__range *ranges;
    size_t n_ranges, cap_ranges;
    struct wal__map range_at; /* range -> place in ranges[] + 1 */
    uint64_t plans;           /* calls of wal__note_reserve */
    struct wal_pos end, synced;
    uint64_t low;         /* oldest epoch the log needs, as groups say */
    uint64_t low_synced;  /* the same, as a synced group says: what a segment header may claim */
    uint64_t pinned;      /* wal_verify_open reads this epoch and above; UINT64_MAX = none */
    uint64_t total_bytes; /* of all files */
    uint32_t next_slot;
    uint64_t appends, records, appended_bytes, syncs, sync_ns, dropped_tail_bytes;
};

/* Space at the end of each segment that only housekeeping may use, so that a full disk can still be
 * recycled. */
static inline uint64_t wal__reserve(uint64_t segment_bytes)
{
    uint64_t r = segment_bytes / 16;
    return r > 65536 ? 65536 : wal__align(r);
}
enum status wal__poisoned(struct wal *w, struct err *err); /* OK, or POISONED */
enum status wal__poison(struct wal *w, enum status st, struct err *err);

/* wal_segment.c: segment files. */
bool wal__segs_reserve(struct wal__segs *s, size_t extra);
void wal__segs_deinit(struct wal__segs *s); /* closes and frees what is in it */
void wal__segs_remove(struct wal__segs *s, size_t at, size_t n); /* forgets, does not free */
/* Slots are below WAL__SLOTS, which a name has digits for. */
enum { WAL__SLOTS = 100 * 1000 * 1000 };
char *wal__seg_path(const char *dir, uint32_t slot); /* mem_free; NULL: no memory */
bool wal__seg_slot(const char *name, uint32_t *ret); /* false: not a segment's name */
void wal__seg_free(struct wal__seg *s);
bool wal__seg_fits(uint64_t segment_bytes, uint64_t need); /* a group's bytes, and the reserve */
enum status wal__seg_write_header(struct wal__seg *s, const struct wal_seg_header *h,
                                  struct err *err);
enum status wal__seg_unlink(struct env *env, const char *dir, uint32_t slot, struct err *err);
uint64_t wal__next_size(const struct wal *w);
/* Goes on in a new segment with room for `need` bytes. `house`: may pass max_bytes. append_mutex
 * held. */
enum status wal__roll(struct wal *w, uint64_t need, bool house, struct err *err);

/* Takes back the header of `half`, if there is one, and makes it a spare again. */
enum status wal__unstamp(struct wal *w, struct err *err);

/* The next slot to try: there may be a file of that name. Under `state`, or while opening. */
uint32_t wal__next_slot(struct wal *w);

/* wal_ranges.c: which range needs what. All under `state`. */
struct wal__range *wal__range_find(struct wal *w, uint64_t range);
struct wal__range *wal__range_get(struct wal *w, uint64_t range); /* adds; NULL: no memory */
/* Makes room so that wal__note cannot fail for these records in that segment. */
enum status wal__note_reserve(struct wal *w, struct wal__seg *seg, const struct wal_record *r,
                              size_t n, struct err *err);
/* The records lie back to back from `at` on in the group at offset `group`. */
void wal__note(struct wal *w, struct wal__seg *seg, uint64_t group, uint32_t at,
               const struct wal_record *r, size_t n);
bool wal__seg_needed(struct wal *w, const struct wal__seg *seg);
void wal__ranges_deinit(struct wal *w);

/* wal_index.c: where entries lie. All under `state`. */
enum status wal__index_reserve(struct wal__range *r, uint64_t plan, uint64_t epoch,
                               const struct wal_record *rec) WARN_UNUSED; /* NO_MEMORY */
void wal__index_note(struct wal__range *r, uint64_t epoch, uint64_t group, uint32_t at,
                     const struct wal_record *rec);
/* Where to begin looking for `index`, and before which index that run ends. false: not there. */
bool wal__index_find(const struct wal__range *r, uint64_t index, struct wal__sample *ret,
                     uint64_t *ret_until);
/* A reader that came from `from` went on to `to`. */
void wal__index_went(struct wal__range *r, const struct wal__sample *from,
                     const struct wal__sample *to);
/* Segments below this epoch are gone. */
void wal__index_trim(struct wal *w, uint64_t epoch);

/* wal_append.c: one group. append_mutex held; `low` is what the group says. */
enum status wal__append_group(struct wal *w, const struct wal_record *records, size_t n, bool house,
                              uint64_t low, struct err *err);
enum status wal__erase(struct wal *w, struct err *err);
/* wal_write.c. Reserves what writing a group takes, whose records have this length. NO_MEMORY. */
enum status wal__write_reserve(struct wal *w, uint64_t length, struct err *err);
/* Writes the group `g` (but for its records_crc, which is filled in) to the end of `seg`. On failure
 * some of it may be there. `*ret_several`: it went in pieces. */
enum status wal__write_group(struct wal *w, struct wal__seg *seg, const struct wal_record *r,
                             size_t n, struct wal_group_header *g, bool *ret_several,
                             struct err *err);
/* Writes and syncs the idle marker when everything is synced and none follows it yet. */
enum status wal__idle_marker(struct wal *w, struct err *err);
/* wal_spare.c. Makes a zero-filled spare (epoch 0), durable with its name. On failure nothing is left. */
enum status wal__seg_make(struct wal *w, uint64_t bytes, struct wal__seg **ret, struct err *err);
/* The spare that is being made, finished at once; *ret NULL: there is none with room for `need` bytes. On
 * failure it is given up. */
enum status wal__spare_finish(struct wal *w, uint64_t need, struct wal__seg **ret, struct err *err);
void wal__spare_give_up(struct wal *w);
/* wal_maintain.c: gives up all spares above options.spare_segments, as far as that goes. */
void wal__spares_trim(struct wal *w);

/* wal_scan.c: reading a log front to back; recovery and verification are its two callers. */
struct wal__window {
    struct env_file *file;
    uint8_t *buf;
    size_t cap, len;
    uint64_t start;
};
/* `len` bytes at `off`, zeros behind the end of the file; borrowed until the next call. Reads ahead
 * up to `limit`. */
enum status wal__window_get(struct wal__window *win, struct env_file *file, uint64_t off,
                            size_t len, uint64_t limit, const uint8_t **ret, struct err *err);
void wal__window_deinit(struct wal__window *win);
static inline bool wal__window_has(const struct wal__window *win, const struct env_file *file,
                                   uint64_t off, size_t len)
{
    return win->file == file && off >= win->start && off + len <= win->start + win->len;
}

struct wal__scan {
    struct wal__seg *const *segs; /* contiguous epochs */
    size_t n;
    struct wal_pos until; /* nothing at or behind it is looked at; epoch UINT64_MAX: all */
    /* A good group, in log order. */
    enum status (*on_group)(void *arg, struct wal__seg *seg, const struct wal_group_header *g,
                            const uint8_t *body, struct err *err);
    /* A flaw below the mark. OK: go on behind it. */
    enum status (*on_rot)(void *arg, struct wal__seg *seg, const struct wal_flaw *f,
                          struct err *err);
    /* The same for a group with sound headers all through; NULL: as any other flaw. OK: the group
     * counts as one of the log. */
    enum status (*on_rotten_payload)(void *arg, struct wal__seg *seg,
                                     const struct wal_group_header *g, const uint8_t *body,
                                     const struct wal_flaw *f, struct err *err);
    void *arg;
    /* What was found. */
    struct wal_pos mark; /* the highest seen anywhere */
    uint64_t low;        /* the highest seen in the chain */
    uint32_t incarnation,
        top_incarnation; /* of the chain's last group; the highest seen anywhere */
    size_t end_seg;
    uint64_t end;     /* of the log, in segs[end_seg] */
    uint64_t dropped; /* bytes of groups behind it */
    bool looked_ahead;
    struct wal__window win;
};
enum status wal__scan_run(struct wal__scan *s, struct err *err);
/* The next offset at or after `from` with a sound group header of that segment, or, when seg is
 * NULL, with one that vouches for something synced in an epoch above `above`; `limit` when there is
 * none. */
enum status wal__find_group(struct wal__window *win, struct env_file *file,
                            const struct wal_seg_header *seg, uint64_t above, uint64_t from,
                            uint64_t limit, uint64_t *ret_off, struct wal_group_header *ret,
                            struct err *err);

/* wal_recover.c */
struct wal__load {
    struct wal__segs
        live; /* contiguous epochs; which of the first are still needed only the groups tell */
    struct wal__segs spare; /* good header, not in the run */
    struct wal__segs bad;   /* no good header */
    uint64_t bytes;
    uint32_t next_slot;
};
enum status wal__load_dir(struct env *env, const char *dir, bool read_only, struct wal__load *l,
                          struct err *err);
void wal__load_deinit(struct wal__load *l);
/* After a scan: are the segments that must exist there? `low` from the scan. CORRUPT names what is
 * missing. */
enum status wal__load_check(const char *dir, const struct wal__load *l, uint64_t low,
                            struct err *err);
/* Does a segment with a damaged header, or one that calls itself a spare (its new header was written
 * elsewhere by a disk that lies, or never), hold groups that vouch for something synced beyond all
 * live segments? CORRUPT. Groups that vouch for nothing there are a tail, or were dropped once
 * before. */
enum status wal__load_check_hidden(const char *dir, const struct wal__load *l, struct err *err);
enum status wal__recover(struct wal *w, wal_replay_fn replay, void *arg, struct err *err);

#endif
