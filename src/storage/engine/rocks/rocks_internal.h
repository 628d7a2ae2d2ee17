/* rocks_internal.h - the parts of the `rocks` engine among themselves.
 *
 * DIR/engine.format   "varve-rocks 2\n" (1: marks without counts), written before the rest (a copy: after it)
 * DIR/rocks/          RocksDB; column families default (live), past, when
 * DIR/incoming/       sorted files being made; emptied at open
 * DIR/manifest.end    up to where RocksDB's manifest is sure (see rocks_manifest.c)
 *
 * 1. Rows come in as sorted files only (see rocks_sink.c): no memtable, no RocksDB log, nothing to
 * flush.
 * 2. Readers share the one snapshot that was published last; drain, vacuum and ingest publish a new
 * one when they end. So a reader never sees a drain's first files without its last, and taking a
 * snapshot costs a lock and a count. After one that failed half way the next write publishes what there
 * is before it begins, as an opening does: rows are made from what the DB holds.
 * 3. That a snapshot is always held makes RocksDB number each ingested file, so older snapshots do
 * not see it.
 */
#ifndef VARVE_STORAGE_ENGINE_ROCKS_INTERNAL_H
#define VARVE_STORAGE_ENGINE_ROCKS_INTERNAL_H

#include "base/env/thread.h"
#include "storage/engine/engine_write.h"

#include <stddef.h>

/* Only the .c files of this folder include RocksDB's header. */
typedef struct rocksdb_t rocksdb_t;
typedef struct rocksdb_cache_t rocksdb_cache_t;
typedef struct rocksdb_column_family_handle_t rocksdb_column_family_handle_t;
typedef struct rocksdb_options_t rocksdb_options_t;
typedef struct rocksdb_envoptions_t rocksdb_envoptions_t;
typedef struct rocksdb_readoptions_t rocksdb_readoptions_t;
typedef struct rocksdb_snapshot_t rocksdb_snapshot_t;
typedef struct rocksdb_livefiles_t rocksdb_livefiles_t;

enum { ROCKS_DIR_MAX = 4096, ROCKS_PATH_MAX = ROCKS_DIR_MAX + 300, ROCKS_MANIFEST_NAME = 32 };
enum { ROCKS_CACHE_DEFAULT = 32 << 20, ROCKS_FILES_DEFAULT = 256 };

struct rocks {
    struct engine base;
    struct env *env;
    char *dir;
    struct engine_options options; /* defaults filled in */
    rocksdb_cache_t *cache;
    rocksdb_options_t *db_options, *cf_options[ENGINE_FAMILIES];
    rocksdb_options_t *file_options[ENGINE_FAMILIES]; /* of the sorted files that we make */
    rocksdb_envoptions_t *env_options;
    rocksdb_t *db;
    rocksdb_column_family_handle_t *cf[ENGINE_FAMILIES];
    struct env_mutex lock;           /* current, handles, refs of snapshots */
    struct engine_snapshot *current; /* never NULL while open */
    uint64_t handles; /* cursors and pins that hold on to the DB, snapshots that are out */
    uint64_t next_file;
    bool suspect;       /* a write failed on the disk; RocksDB may have stopped taking writes */
    bool stopped;       /* it has; only opening it anew helps */
    bool unseen;        /* files were linked in that `current` does not see */
    int test_fail_step; /* tests: the nth step of a commit fails; 0 = none */
};

/* Read options by use. */
enum rocks_read {
    ROCKS_READ,
    ROCKS_READ_CACHE,
    ROCKS_READ_ONE,
    ROCKS_READ_ONE_CACHE,
    ROCKS_READ_BULK,
    ROCKS_READ_MANY, /* point reads that nobody is going to repeat */
    ROCKS_READS
};

struct engine_snapshot {
    struct engine_view view;
    struct rocks *e;
    uint64_t refs;
    const rocksdb_snapshot_t *at; /* NULL when read-only: nothing changes */
    rocksdb_readoptions_t *read[ROCKS_READS];
    struct engine_mark_row *marks, *halves; /* owned; the view borrows */
};

_Static_assert(offsetof(struct engine_snapshot, view) == 0, "engine_snapshot_view asks for it");

/* rocks_error.c: the status of RocksDB's message, which is kept in err and freed. `message` not
 * NULL. */
enum status rocks__error(char *message, const char *doing, struct err *err) WARN_UNUSED;
bool rocks__disk_error(enum status st);
enum status rocks__stopped(const struct rocks *e, const char *why, struct err *err);

/* rocks_options.c */
bool rocks__tiered(const struct rocks *e); /* runs are merged with their like, not into levels */
int rocks__files_to_merge(const struct rocks *e, enum engine_family f); /* in level 0 */
void rocks__options_make(struct rocks *e);
void rocks__options_free(struct rocks *e);
rocksdb_readoptions_t *rocks__read_options(const struct engine_snapshot *s, enum rocks_read use);

/* rocks_open.c: the DB alone, without the snapshot. */
enum status rocks__db_open(struct rocks *e, struct err *err) WARN_UNUSED;
void rocks__db_close(struct rocks *e);
/* After a write failed on the disk: closes and opens the DB when nobody holds on to it. */
void rocks__try_reopen(struct rocks *e);
void rocks__close(struct engine *e);

/* rocks_logs.c: removes the empty logs of earlier opens, when the DB has just been opened. */
void rocks__logs_clear(struct rocks *e);

/* rocks_manifest.c: how far the manifest is sure, and what to do about the rest of it. */
struct rocks_cut {
    char path[ROCKS_PATH_MAX];
    uint64_t bound, end; /* nothing below `bound` is taken off; the file ends at `end` now */
    bool begun;
    struct buf tail; /* what lay behind the bound */
};
/* Syncs the manifest in `dir` (the engine's folder or a copy's) and notes up to where it is sure. A
 * commit that was noted so is never taken off. */
enum status rocks__manifest_note(struct rocks *e, const char *dir, struct err *err) WARN_UNUSED;
/* CORRUPT: what was sure is damaged. */
enum status rocks__manifest_check(struct rocks *e, struct err *err) WARN_UNUSED;
/* Opening failed with RocksDB's `message`: takes a change off the manifest's end. false: that would
 * not explain it. `c`: zero at first. */
bool rocks__manifest_cut(struct rocks *e, struct rocks_cut *c, const char *message);
/* Afterwards: puts the manifest back when opening failed all the same. */
void rocks__manifest_settle(struct rocks *e, struct rocks_cut *c, bool opened);

/* rocks_snapshot.c */
enum status rocks__publish(struct rocks *e, struct err *err) WARN_UNUSED;
/* Until the next publish, snapshots are refused. false: somebody holds on to the DB, nothing
 * changed. */
bool rocks__unpublish(struct rocks *e) WARN_UNUSED;
enum status rocks__snapshot(struct engine *e, struct engine_snapshot **ret,
                            struct err *err) WARN_UNUSED;
void rocks__snapshot_release(struct engine *e, struct engine_snapshot *s);
void rocks__hold(struct rocks *e);
void rocks__let_go(struct rocks *e);

/* rocks_view.c */
extern const struct engine_view_ops rocks__view_ops;
uint64_t rocks__property(const struct rocks *e, enum engine_family f,
                         const char *name); /* 0 when unknown */

/* rocks_lookup.c */
enum status rocks__lookup(struct engine_view *v, const struct bytes *keys, size_t n, uint64_t all,
                          struct engine_lookup **ret, struct err *err) WARN_UNUSED;

/* rocks_sink.c */
struct engine_sink *rocks__sink_new(struct rocks *e); /* NULL: no memory */
void rocks__sink_free(struct engine_sink *s);
/* Whether RocksDB still takes writes, asked by one that writes nothing: a merge may have failed on
 * the disk too. Once 7.8 has stopped it is not safe to hand files to: when it has found room again
 * it still counts as stopped, and then runs into an assertion (Debian builds them in). */
enum status rocks__still_writes(struct rocks *e, struct err *err) WARN_UNUSED;
/* DIR/incoming emptied, made when absent. */
enum status rocks__incoming_clear(struct rocks *e, struct err *err) WARN_UNUSED;

/* rocks_verify.c */
enum status rocks__verify(struct engine *e, uint64_t range,
                          void (*report)(void *arg, const struct engine_finding *f),
                          bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                          struct err *err) WARN_UNUSED;

/* rocks_filters.c: findings go to q. */
enum status rocks__verify_filters(struct rocks *e, const rocksdb_livefiles_t *files,
                                  struct engine_verify *q, struct err *err) WARN_UNUSED;

/* rocks_engine.c */
extern const struct engine_ops rocks__ops;

#endif
