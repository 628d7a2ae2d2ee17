/* engine.h - the versioned engine contract: what keeps drained tables for good.
 *
 * An engine holds three kinds of rows: live (key -> newest version and value), past (key, version
 * -> superseded version or tombstone), when (range, version, key -> kind, parent). So the present
 * costs the same with 1 version a key or 10,000. Everything comes in by `drain`, a whole frozen
 * table at a time; a drain that a crash cut short is repeated with the same table and ends in the
 * same state.
 *
 * Owns:     its folder. Promises: a snapshot sees exactly the drains that finished before it, for
 *           all three kinds of rows; the persisted mark rises only when everything at or below it
 *           is durable and complete. Conformance of every engine is held by one suite
 *           (tests/unit/engine) against a naive model.
 * Never:    mints versions; reads a clock; deletes anything but through `vacuum` and what vacuum's
 *           floors allow.
 * Threads:  drain, vacuum, ingest, close: one caller at a time. Everything else from any thread
 *           beside them. A snapshot may be shared by threads; an iterator belongs to one.
 */
#ifndef VARVE_STORAGE_ENGINE_ENGINE_H
#define VARVE_STORAGE_ENGINE_ENGINE_H

#include "base/env/env.h"
#include "storage/table/table.h"

struct engine;
struct engine_snapshot;
struct engine_iter;
struct engine_export;

/* How far a range has come. */
enum { ENGINE_NOTE_MAX = 320 };
struct engine_mark {
    uint64_t index, term;   /* of the last applied entry */
    struct version version; /* the newest version in it */
    /* Bytes of the owner's that are durable with it and come back with it; nothing here reads them.
     * They do not travel with exported rows. */
    uint16_t note_len; /* at most ENGINE_NOTE_MAX */
    uint8_t note[ENGINE_NOTE_MAX];
};

/* When a drain brings one key for so many live rows, several of its keys lie in each block that is read
 * for them; when it brings fewer, a block is read for nearly each. */
enum { ENGINE_DENSE = 8 };

struct engine_options {
    size_t cache_bytes; /* block cache; 0 = 32 MiB */
    int max_open_files; /* 0 = 256 */
    bool read_only;
    unsigned background_threads; /* 0 = 1 */
    size_t drain_bytes;          /* how large drains will be, about; 0 = 128 MiB */
    /* Drains, vacuum and merges come after all other threads (env_run_behind): for a process that
     * serves. */
    bool behind;
    const _Atomic bool *hurry; /* set while a write waits for them (NULL: never) */
};

/* Half-open interval of routing keys. upper.len == 0 means no upper bound. */
struct engine_interval {
    struct bytes lower, upper;
};

/* A record with what keeps its bytes in place; engine_pin_release when done (takes a zeroed one).
 * */
struct engine_pin {
    void (*release)(void *handle);
    void *handle;
};
static inline void engine_pin_release(struct engine_pin *p)
{
    if (p->release)
        p->release(p->handle);
    p->release = NULL;
}

struct engine_row {
    struct bytes key;
    struct record rec; /* with parent; `value` empty where not asked for (changes, keys only) */
};

struct engine_scan {
    struct engine_interval in;
    struct version at; /* newest version at or below; VERSION_MAX = the present of the snapshot */
    bool reverse;
    bool keys_only; /* value may come empty */
};

/* Vacuum of one interval: removes every version that no read at or above `horizon` needs (the
 * newest at or below it stays, unless it is a tombstone), and, when keep_count > 0, all but the
 * newest keep_count versions of a key, leaving a floor below which reads of that key answer
 * BELOW_HORIZON. `when` rows of removed versions go too. */
struct engine_vacuum {
    struct engine_interval in;
    struct version horizon; /* none = nothing by age */
    uint64_t keep_count;    /* 0 = unlimited */
    /* reads at or above it must stay whole by count too; none = no such wish */
    struct version hold;
    /* Called now and then; false stops early with CANCELLED (what was done stays done). */
    bool (*progress)(void *arg, uint64_t rows_done, uint64_t rows_estimate);
    void *arg;
};
struct engine_vacuum_result {
    /* bytes: keys and values before compression */
    uint64_t rows_seen, versions_removed, bytes_removed;
};

struct engine_finding {
    const char *file; /* may be "" when the finding is between rows */
    uint64_t offset;
    const char *text;
};
struct engine_stats {
    /* As counted by drains, vacuums and ingests, so live is exact and the others nearly; a guess in
     * folders that an older program made. */
    uint64_t live_rows, past_rows, when_rows;
    uint64_t live_bytes, past_bytes, when_bytes; /* on disk */
    uint64_t cache_bytes, memory_bytes;
    uint64_t files;
};

/* One row of an exported interval, in no promised order but the same on every call for the same
 * snapshot. */
typedef enum status (*engine_export_fn)(void *arg, uint8_t family, struct bytes key,
                                        struct bytes value, struct err *err);

struct engine_ops {
    const char *name;
    void (*close)(struct engine *e);
    /* What is durable for the range; all zero when nothing is. */
    enum status (*persisted)(struct engine *e, uint64_t range, struct engine_mark *ret,
                             struct err *err);
    /* Takes a frozen table of the range, and those below it. Durable when it answers OK, with `mark`. DISK_FULL:
     * nothing of it can be seen, call again later. Rows it writes: see the head of this file. */
    enum status (*drain)(struct engine *e, uint64_t range, const struct table *t,
                         const struct engine_mark *mark, struct err *err);
    enum status (*snapshot)(struct engine *e, struct engine_snapshot **ret, struct err *err);
    void (*snapshot_release)(struct engine *e, struct engine_snapshot *s);
    /* The newest version at or below `at`, deletes included (rec.kind). NOT_FOUND: there was none
     * at that time.
     * BELOW_HORIZON: the key's floor lies above. With cache_only: TIMED_OUT when it would have to
     *                read the disk. */
    enum status (*get)(struct engine *e, struct engine_snapshot *s, struct bytes key,
                       struct version at, bool cache_only, struct record *ret,
                       struct engine_pin *ret_pin, struct err *err);
    /* Rows in key order, one a key, without deletes; expiry is the caller's. */
    enum status (*scan)(struct engine *e, struct engine_snapshot *s, const struct engine_scan *q,
                        struct engine_iter **ret, struct err *err);
    /* Every version of the key, newest first, starting at the newest at or below `from`. Ends with
     * a RECORD_FLOOR row when older ones were vacuumed by count. */
    enum status (*history)(struct engine *e, struct engine_snapshot *s, struct bytes key,
                           struct version from, struct engine_iter **ret, struct err *err);
    /* `when` rows of the range strictly after (version, key), oldest first, up to the snapshot's
     * mark; values empty. */
    enum status (*changes)(struct engine *e, struct engine_snapshot *s, uint64_t range,
                           struct version after, struct bytes after_key, struct engine_iter **ret,
                           struct err *err);
    enum status (*vacuum)(struct engine *e, uint64_t range, const struct engine_vacuum *v,
                          struct engine_vacuum_result *ret, struct err *err);
    enum status (*export_rows)(struct engine *e, struct engine_snapshot *s, uint64_t range,
                               const struct engine_interval *in, engine_export_fn fn, void *arg,
                               struct err *err);
    /* The same, to be asked row by row: engine_export_next. The interval is copied; the snapshot must
     * outlive it. */
    enum status (*export_open)(struct engine *e, struct engine_snapshot *s, uint64_t range,
                               const struct engine_interval *in, struct engine_export **ret,
                               struct err *err);
    /* Takes rows as exported, into an interval that is empty here; durable with `mark` at
     * ingest_end. */
    enum status (*ingest)(struct engine *e, uint64_t range, const struct engine_interval *in,
                          enum status (*next)(void *arg, uint8_t *family, struct bytes *key,
                                              struct bytes *value, bool *end, struct err *err),
                          void *arg, const struct engine_mark *mark, struct err *err);
    /* A copy that opens as an engine, in a new folder, by hard links where it can. */
    enum status (*copy)(struct engine *e, const char *dir, struct err *err);
    /* Checks checksums of everything, and the rows against each other: every version has its
     * when row (past ones while no vacuum was cut), every retained when row resolves to a live or
     * past version, parents chain. Answers
     * CORRUPT when there was a finding. */
    enum status (*verify)(struct engine *e, uint64_t range,
                          void (*report)(void *arg, const struct engine_finding *f),
                          bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                          struct err *err);
    void (*stats)(struct engine *e, struct engine_stats *ret);
    /* Merges files in the background's stead, all of it; for maintenance and measurements. */
    enum status (*compact)(struct engine *e, struct err *err);
};
/* Of the keys that a drain brought, how many had a live row. */
struct engine_drained {
    uint64_t keys, found;
};
struct engine {
    const struct engine_ops *ops;
    /* Of the last drain that wrote; for who drains. Zero: there was none, or nobody counts. */
    struct engine_drained drained;
    /* Set by open: `persisted` tells what can be read, which a power cut may take back, for the disk was too
     * full to make it durable. The log is not let go for its sake before a drain has answered OK. */
    bool unsure;
};

/* A walk over the rows of an interval, for one thread at a time. */
struct engine_export_row {
    uint8_t family;
    struct bytes key, value; /* borrowed until the next call */
};
/* 1: *ret is the next row; 0: the end; < 0: minus an enum status, err is set. */
int engine_export_next(struct engine_export *x, struct engine_export_row *ret,
                       struct err *err) WARN_UNUSED;
/* Goes on with the first row at or behind this one, back or forth. */
enum status engine_export_seek(struct engine_export *x, uint8_t family, struct bytes key,
                               struct err *err) WARN_UNUSED;
/* How far the range had come in the snapshot; all zero: it has no rows. */
struct engine_mark engine_export_mark(const struct engine_export *x);
void engine_export_rewind(struct engine_export *x);
void engine_export_close(struct engine_export *x); /* takes NULL */

/* Iterators, of scan, history and changes alike. 1: *ret is the next row, borrowed until the next
 * call; 0: the end; < 0: minus an enum status, err is set. */
struct engine_iter_ops {
    int (*next)(struct engine_iter *it, struct engine_row *ret, struct err *err);
    void (*close)(struct engine_iter *it);
};
struct engine_iter {
    const struct engine_iter_ops *ops;
};
static inline int engine_iter_next(struct engine_iter *it, struct engine_row *ret, struct err *err)
{
    return it->ops->next(it, ret, err);
}
static inline void engine_iter_close(struct engine_iter *it)
{
    if (it)
        it->ops->close(it);
}

/* `mem`: rows in memory, written to DIR/mem.dump and the changes beside it at each drain, for tests and
 * the simulator. */
enum status engine_mem_open(struct env *env, const char *dir, const struct engine_options *o,
                            struct engine **ret, struct err *err) WARN_UNUSED;
/* `rocks`: RocksDB. DIR is made when absent. Errors: CORRUPT names the file; FORMAT_NEWER;
 * IO_ERROR; ... It reaches the disk by itself, so `env` only serves for the folder. UNIMPLEMENTED
 * where the build left it out: engine_rocks_built says so before anything is made. */
bool engine_rocks_built(void);
enum status engine_rocks_open(struct env *env, const char *dir, const struct engine_options *o,
                              struct engine **ret, struct err *err) WARN_UNUSED;

#endif
