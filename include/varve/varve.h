/* varve.h - libvarve: keys and documents in a folder, every version kept.
 *
 *     varve *db;
 *     if (varve_open("my-data", NULL, &db) != VARVE_OK)
 *         fprintf(stderr, "%s\n", varve_last_error());
 *     varve_put(db, "users", "alice", 5, VARVE_RAW, "hello", 5, NULL, NULL);
 *     varve_close(db);
 *
 * Caveats first
 * - One process owns a folder at a time; a second varve_open answers VARVE_LOCKED. The lock dies
 *   with its process.
 * - After fork(), the child must not use a handle of its parent.
 * - A failed sync poisons the handle: from then on writes answer VARVE_POISONED, reads go on. Open
 *   anew in a new process.
 * - Durability: with VARVE_SYNC_ALWAYS (the default) a write that answered VARVE_OK survives kill
 *   -9 and power cuts. With VARVE_SYNC_INTERVAL a power cut may lose the last interval (1 s by
 *   default), with VARVE_SYNC_OFF what the operating system had not written; kill -9 alone loses
 *   nothing in either. What is lost is always the newest; never a part of a batch.
 *
 * Conventions
 * - Every function that can fail returns a varve_status; varve_last_error() tells the detail, per
 *   thread.
 * - Outputs are untouched on failure. Destructors take NULL. Strings are NUL-terminated UTF-8; keys
 *   and values are bytes.
 * - Handles are safe to use from many threads, except that iterators, batches and values belong to
 *   one thread at a time.
 * - Structures passed in with a `size` field take sizeof(struct) there, so that they can grow
 *   without breaking the ABI; 0 there is VARVE_INVALID_ARGUMENT. So is NULL where a handle or an
 *   output is asked for, unless the call says otherwise.
 *
 * Limits (past one: VARVE_TOO_LARGE, and the message names it): key 1 B to 64 KiB; value 16 MiB;
 * batch 32 MiB; document 100 levels; collection name 1 to 120 bytes; writer 255 bytes; snapshot
 * name 1 to 120 bytes. An empty key or name, and a name with a control character or '/', are
 * VARVE_INVALID_ARGUMENT. Times end at 48 bits of milliseconds (the year 10889).
 */
#ifndef VARVE_H
#define VARVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VARVE_API         __attribute__((visibility("default")))
#define VARVE_WARN_UNUSED __attribute__((warn_unused_result))

#define VARVE_VERSION_STRING "0.1.0"

/* Outcomes. The numbers are stable. */
typedef enum varve_status {
    VARVE_OK = 0,
    VARVE_NOT_FOUND = 1,        /* no such key, version, collection or snapshot (at that time) */
    VARVE_INVALID_ARGUMENT = 2, /* the message names the argument */
    VARVE_TOO_LARGE = 3,        /* over a limit that the message names */
    VARVE_ALREADY_EXISTS = 4,
    /* a batch's or compare-and-set's condition did not hold; nothing was written */
    VARVE_PRECONDITION_FAILED = 5,
    VARVE_BELOW_HORIZON = 6, /* a read of a past that retention has given up */
    VARVE_FUTURE_TIME = 7,   /* a read at a time to come */
    VARVE_LOCKED = 8,        /* the folder is open in another process */
    VARVE_READ_ONLY = 9,
    /* nothing was written; reads go on; try again when there is room */
    VARVE_DISK_FULL = 10,
    VARVE_IO_ERROR = 11,
    VARVE_POISONED = 12, /* a sync failed earlier */
    /* a checksum does not hold; the message names file, offset and range */
    VARVE_CORRUPT = 13,
    VARVE_NO_MEMORY = 14,
    VARVE_TOO_MANY_FILES = 15,
    VARVE_FORMAT_NEWER = 16, /* the folder was written by a newer Varve */
    VARVE_UNIMPLEMENTED = 17,
    VARVE_CANCELLED = 18,
    VARVE_TIMED_OUT = 19,
    VARVE_CLOSED = 20,
    VARVE_OVERLOADED = 21,
    VARVE_PERMISSION_DENIED = 22,
    VARVE_INTERNAL = 23,
    VARVE_UNAUTHENTICATED = 24, /* who asks has not shown who they are */
    /* clusters: no leader could be reached in time; nothing was written; try again */
    VARVE_UNAVAILABLE = 25,
    /* clusters: the leader was lost while it had the write; only a write with a request id may be
     * tried again blindly */
    VARVE_UNKNOWN_OUTCOME = 26
} varve_status;

/* "NOT_FOUND" and "not found"; never NULL. */
VARVE_API const char *varve_status_name(varve_status st);
VARVE_API const char *varve_status_text(varve_status st);
/* The detail of the last failure on this thread; "" when there was none. Valid until this thread's
 * next call. */
VARVE_API const char *varve_last_error(void);
VARVE_API const char *varve_version_string(void);
/* Frees strings and memory that a function handed over ("to be freed with varve_free"). */
VARVE_API void varve_free(void *p);

typedef struct varve varve; /* an open folder */

/* Names one write: 48 bits of Unix milliseconds and 16 bits of counter, and the region that made
 * it. Later writes have higher versions, whatever the clock does. {0, 0} means "none". */
typedef struct varve_version {
    uint64_t hlc;
    uint32_t origin;
} varve_version;

enum { VARVE_VERSION_TEXT_MAX = 32 };
VARVE_API int varve_version_compare(varve_version a, varve_version b); /* < 0, 0, > 0 */
/* Unix milliseconds of the write */
VARVE_API uint64_t varve_version_time_ms(varve_version v);
/* "018f3a2b4c5d0001" (16 hex digits; "-N" follows for an origin other than 0). */
VARVE_API void varve_version_format(varve_version v, char out[VARVE_VERSION_TEXT_MAX]);
VARVE_API varve_status varve_version_parse(const char *text, varve_version *ret) VARVE_WARN_UNUSED;

typedef struct varve_bytes {
    const void *data;
    size_t len;
} varve_bytes;

typedef enum varve_type {
    VARVE_RAW = 0,  /* bytes */
    VARVE_DOC = 1,  /* BSON */
    VARVE_JSON = 64 /* only when writing: Extended JSON v2, kept as a document (VARVE_DOC) */
} varve_type;

/* ---- opening ---- */

typedef enum varve_sync {
    VARVE_SYNC_DEFAULT = 0, /* the handle's mode */
    VARVE_SYNC_ALWAYS = 1,
    VARVE_SYNC_INTERVAL = 2,
    VARVE_SYNC_OFF = 3
} varve_sync;

typedef struct varve_options {
    size_t size;               /* sizeof(varve_options) */
    varve_sync sync;           /* default ALWAYS */
    uint32_t sync_interval_ms; /* 0 = 1000 */
    /* nothing is written and nothing is made: the folder must be there, and not in use */
    bool read_only;
    bool must_exist;    /* NOT_FOUND instead of making the folder */
    size_t cache_bytes; /* hot cache of records, and up to an eighth more for a filter of absent
                                 keys; 0 = 64 MiB; SIZE_MAX = neither */
    size_t block_cache_bytes; /* the engine's; 0 = 32 MiB */
    /* writes kept in memory before a checkpoint drains them; 0 = 128 MiB; at least 64 KiB */
    size_t table_bytes;
    uint64_t log_bytes; /* log not yet drained that forces a checkpoint; 0 = 1 GiB */
    /* 0 = 300,000; UINT32_MAX = only by size, on call and on close */
    uint32_t checkpoint_interval_ms;
    size_t segment_bytes; /* of the log; 0 = 64 MiB; at least 64 KiB, below 32 GiB */
    const char *writer;   /* default writer of this handle's versions; NULL = "" */
    /* NULL or "rocks"; "mem" for tests. Fixed when the folder is made: another is INVALID_ARGUMENT
     * */
    const char *engine;
} varve_options;

/* Opens, or makes, the database in a folder. `o` may be NULL. Recovery replays what a crash left in
 * the log. A relative name is of the working folder at this call; the program may leave it then.
 * Errors: LOCKED, CORRUPT, FORMAT_NEWER, NOT_FOUND (must_exist), READ_ONLY or PERMISSION_DENIED
 * (folder), DISK_FULL, IO_ERROR, TOO_MANY_FILES, NO_MEMORY, INVALID_ARGUMENT (the message names the
 * option). */
VARVE_API varve_status varve_open(const char *dir, const varve_options *o,
                                  varve **ret) VARVE_WARN_UNUSED;
/* Syncs, checkpoints and closes. All iterators and watchers must be closed before. NULL is OK. The
 * handle is gone whatever the answer; after an error nothing acknowledged is lost, but the next
 * open may have to replay. */
VARVE_API varve_status varve_close(varve *db);

/* ---- values ---- */

/* Holds what a read returned. Reuse one for many reads: it keeps its memory. */
typedef struct varve_value varve_value;
VARVE_API varve_value *varve_value_new(void); /* NULL: no memory */
VARVE_API void varve_value_free(varve_value *v);
/* raw bytes or BSON; until the next read into v */
VARVE_API varve_bytes varve_value_bytes(const varve_value *v);
VARVE_API varve_type varve_value_type(const varve_value *v);
VARVE_API varve_version varve_value_version(const varve_value *v);
VARVE_API varve_bytes varve_value_writer(const varve_value *v);
VARVE_API uint64_t varve_value_expires_ms(const varve_value *v); /* 0 = never */
/* Relaxed (or canonical) Extended JSON of a document; INVALID_ARGUMENT when the value is raw bytes.
 * */
VARVE_API varve_status varve_value_json(varve_value *v, bool canonical,
                                        const char **ret) VARVE_WARN_UNUSED;

/* BSON to Extended JSON and back; the result is to be freed with varve_free. */
VARVE_API varve_status varve_bson_to_json(const void *bson, size_t len, bool canonical, bool pretty,
                                          char **ret) VARVE_WARN_UNUSED;
VARVE_API varve_status varve_json_to_bson(const char *json, size_t len, void **ret,
                                          size_t *ret_len) VARVE_WARN_UNUSED;

/* ---- reading ---- */

typedef enum varve_at_kind {
    VARVE_AT_NOW = 0,
    VARVE_AT_VERSION = 1,
    VARVE_AT_TIME = 2,
    VARVE_AT_SNAPSHOT = 3
} varve_at_kind;
/* When to read. A zeroed struct (or NULL) is the present. */
typedef struct varve_at {
    varve_at_kind kind;
    varve_version version; /* the state right after this write */
    uint64_t time_ms;      /* Unix milliseconds: the state at the end of that millisecond */
    const char *snapshot;  /* a named snapshot */
} varve_at;

/* The record of a key. Errors: NOT_FOUND (absent, deleted or expired at that time), BELOW_HORIZON,
 * FUTURE_TIME, NOT_FOUND (snapshot), CORRUPT, IO_ERROR. */
VARVE_API varve_status varve_get(varve *db, const char *collection, const void *key, size_t key_len,
                                 const varve_at *at, varve_value *ret) VARVE_WARN_UNUSED;

typedef struct varve_key {
    const char *collection;
    const void *key;
    size_t key_len;
} varve_key;
/* n records at one moment. ret_status[i] is OK or NOT_FOUND for each key, and ret[i] its value; any
 * other failure is the call's own, and then what is in ret and ret_status is not to be used. Each
 * key needs a varve_value of its own: the same one twice is INVALID_ARGUMENT. */
VARVE_API varve_status varve_get_many(varve *db, const varve_key *keys, size_t n,
                                      const varve_at *at, varve_value *const *ret,
                                      varve_status *ret_status) VARVE_WARN_UNUSED;

typedef struct varve_scan_options {
    size_t size;        /* sizeof(varve_scan_options) */
    varve_bytes prefix; /* only keys that start with it */
    varve_bytes from;   /* first key, inclusive (len 0: no bound) */
    varve_bytes to;     /* end, exclusive (len 0: no bound) */
    bool reverse;
    bool keys_only;
    uint64_t limit; /* 0 = none */
    varve_at at;
} varve_scan_options;

/* Iterates over rows; which accessors make sense is told at each opener. Belongs to one thread at a
 * time and keeps the moment it was opened at (those of varve_changes apart), however long it lives;
 * close it soon, it holds memory and disk space. */
typedef struct varve_iter varve_iter;
/* 1: there is a row; 0: the end; < 0: minus a varve_status. Rows' bytes live until the next call.
 * */
VARVE_API int varve_iter_next(varve_iter *it) VARVE_WARN_UNUSED;
VARVE_API void varve_iter_close(varve_iter *it);
VARVE_API const char *varve_iter_collection(const varve_iter *it);
VARVE_API varve_bytes varve_iter_key(const varve_iter *it);
VARVE_API varve_bytes varve_iter_value(const varve_iter *it);
VARVE_API varve_type varve_iter_type(const varve_iter *it);
VARVE_API varve_version varve_iter_version(const varve_iter *it);
/* The version it superseded; none: the first. Retention may have removed that version since. */
VARVE_API varve_version varve_iter_parent(const varve_iter *it);
VARVE_API varve_bytes varve_iter_writer(const varve_iter *it);
VARVE_API bool varve_iter_is_delete(const varve_iter *it);
VARVE_API uint64_t varve_iter_expires_ms(const varve_iter *it);
/* After a row of changes or watch: the position right behind it. After the end of changes: behind
 * all that was there, also what the filter left out (to be taken up with the same filter). Text,
 * borrowed until the next call. */
VARVE_API const char *varve_iter_token(const varve_iter *it);

/* Records of a collection in key order (bytes compared unsigned). `o` may be NULL. A collection
 * that does not exist has no rows. Rows: key, value (unless keys_only), type, version, writer,
 * expires. */
VARVE_API varve_status varve_scan(varve *db, const char *collection, const varve_scan_options *o,
                                  varve_iter **ret) VARVE_WARN_UNUSED;
/* Every version of a key, newest first, deletes included, as far back as retention has kept them.
 * limit 0 = all. A collection that does not exist has none; one made anew under an old name begins
 * anew. Rows: all but token. */
VARVE_API varve_status varve_history(varve *db, const char *collection, const void *key,
                                     size_t key_len, uint64_t limit,
                                     varve_iter **ret) VARVE_WARN_UNUSED;

typedef enum varve_diff_format {
    VARVE_DIFF_PATHS = 0,     /* {"set":{"path":value},"unset":["path"]} */
    VARVE_DIFF_JSON_PATCH = 1 /* RFC 6902 */
} varve_diff_format;
/* What changed from version a to version b of a document (each the state right after that write;
 * VARVE's {0,0} as `b` is the present). INVALID_ARGUMENT when one of them is raw bytes. *ret is to
 * be freed with varve_free. */
VARVE_API varve_status varve_diff(varve *db, const char *collection, const void *key,
                                  size_t key_len, varve_version a, varve_version b,
                                  varve_diff_format format, char **ret) VARVE_WARN_UNUSED;

/* ---- writing ---- */

typedef struct varve_write_options {
    size_t size; /* sizeof(varve_write_options) */
    varve_sync sync;
    uint64_t ttl_ms; /* the record expires after this, in the year 9999 at the latest (TOO_LARGE);
                         * 0 = never. Puts only. */
    const char *writer; /* NULL = the handle's */
    /* Writes of one id (at most 128 bytes) are done once, however often they are sent within 24
     * hours, also after a crash: the later ones answer the version of the first. INVALID_ARGUMENT
     * when the id was used for another write. NULL = none. Not for dropping a collection:
     * UNIMPLEMENTED. */
    const char *request_id;
} varve_write_options;

/* Writes one record; makes the collection when there is none. `o` and `ret_version` may be NULL.
 * Errors: TOO_LARGE, INVALID_ARGUMENT (bad BSON or JSON: where), DISK_FULL, POISONED, READ_ONLY,
 * IO_ERROR, NO_MEMORY. */
VARVE_API varve_status varve_put(varve *db, const char *collection, const void *key, size_t key_len,
                                 varve_type type, const void *data, size_t len,
                                 const varve_write_options *o,
                                 varve_version *ret_version) VARVE_WARN_UNUSED;
/* Deletes; the past stays readable. NOT_FOUND when there is nothing to delete (and nothing is
 * written). */
VARVE_API varve_status varve_delete(varve *db, const char *collection, const void *key,
                                    size_t key_len, const varve_write_options *o,
                                    varve_version *ret_version) VARVE_WARN_UNUSED;
/* Writes only if the key's present version is `expected` ({0,0}: only if the key is absent); else
 * PRECONDITION_FAILED, and *ret_version is the present version ({0,0} when absent). */
VARVE_API varve_status varve_compare_and_set(varve *db, const char *collection, const void *key,
                                             size_t key_len, varve_version expected,
                                             varve_type type, const void *data, size_t len,
                                             const varve_write_options *o,
                                             varve_version *ret_version) VARVE_WARN_UNUSED;
/* Writes what the key was at a past time as its newest version: a delete if it was absent then,
 * NOT_FOUND if it is absent now too (and nothing is written). The old expiry is not taken over;
 * o->ttl_ms gives a new one. Errors: those of varve_get and varve_put; INVALID_ARGUMENT when `at`
 * is the present. */
VARVE_API varve_status varve_restore(varve *db, const char *collection, const void *key,
                                     size_t key_len, const varve_at *at,
                                     const varve_write_options *o,
                                     varve_version *ret_version) VARVE_WARN_UNUSED;

/* Several writes as one: all or nothing, one version, one sync. A key may be written once in a
 * batch. Deleting an absent key is no error in a batch (a tombstone is written). */
typedef struct varve_batch varve_batch;
VARVE_API varve_batch *varve_batch_new(void); /* NULL: no memory */
VARVE_API void varve_batch_free(varve_batch *b);
VARVE_API void varve_batch_clear(varve_batch *b); /* keeps the memory */
VARVE_API size_t varve_batch_count(const varve_batch *b);
VARVE_API size_t varve_batch_bytes(const varve_batch *b);
VARVE_API varve_status varve_batch_put(varve_batch *b, const char *collection, const void *key,
                                       size_t key_len, varve_type type, const void *data,
                                       size_t len, uint64_t ttl_ms) VARVE_WARN_UNUSED;
VARVE_API varve_status varve_batch_delete(varve_batch *b, const char *collection, const void *key,
                                          size_t key_len) VARVE_WARN_UNUSED;
typedef enum varve_require {
    VARVE_REQUIRE_ABSENT = 1,
    VARVE_REQUIRE_PRESENT = 2,
    VARVE_REQUIRE_VERSION = 3
} varve_require;
/* The batch is written only if this holds when it is applied. The key need not be written by the
 * batch. */
VARVE_API varve_status varve_batch_require(varve_batch *b, const char *collection, const void *key,
                                           size_t key_len, varve_require what,
                                           varve_version version) VARVE_WARN_UNUSED;
/* Writes it; collections that it writes to are made when there are none. On PRECONDITION_FAILED
 * *ret_failed (may be NULL) is the number, from 0, of the first requirement that did not hold, in
 * the order they were added. The batch is unchanged and may be committed again; times to live begin
 * at the commit. INVALID_ARGUMENT: the batch writes nothing, writes a key twice, or `o` has a ttl.
 * UNAVAILABLE: a collection was dropped or made under it again and again. */
VARVE_API varve_status varve_commit(varve *db, const varve_batch *b, const varve_write_options *o,
                                    varve_version *ret_version,
                                    size_t *ret_failed) VARVE_WARN_UNUSED;
/* Makes everything written so far durable, whatever the sync mode. */
VARVE_API varve_status varve_sync_now(varve *db) VARVE_WARN_UNUSED;

/* ---- collections, snapshots, retention ---- */

/* Rows: key = name, version = when it was made. */
VARVE_API varve_status varve_collections(varve *db, varve_iter **ret) VARVE_WARN_UNUSED;
/* Removes the collection from the present; reads at earlier times still see it, and changes still
 * tell what was written to it (the drop itself is no change of a key). NOT_FOUND. */
VARVE_API varve_status varve_collection_drop(varve *db, const char *collection,
                                             const varve_write_options *o) VARVE_WARN_UNUSED;

/* Names a moment that vacuum respects while the name exists. `at` NULL = now. ALREADY_EXISTS,
 * FUTURE_TIME; BELOW_HORIZON where a vacuum may have removed what that moment saw of a collection
 * that was there then, also of one dropped since (by count: any moment before the vacuum). */
VARVE_API varve_status varve_snapshot_create(varve *db, const char *name, const varve_at *at,
                                             varve_version *ret) VARVE_WARN_UNUSED;
/* NOT_FOUND */
VARVE_API varve_status varve_snapshot_delete(varve *db, const char *name) VARVE_WARN_UNUSED;
/* Rows: key = name, version = the moment it names. */
VARVE_API varve_status varve_snapshots(varve *db, varve_iter **ret) VARVE_WARN_UNUSED;

/* How long versions stay once superseded. Both 0 (the default): for ever. Takes effect at the next
 * vacuum. */
typedef struct varve_retention {
    uint64_t max_age_ms; /* superseded longer ago than this: may go */
    uint64_t max_count;  /* versions kept per key, the newest included */
} varve_retention;
/* NOT_FOUND */
VARVE_API varve_status varve_retention_set(varve *db, const char *collection,
                                           const varve_retention *r) VARVE_WARN_UNUSED;
/* NOT_FOUND */
VARVE_API varve_status varve_retention_get(varve *db, const char *collection,
                                           varve_retention *ret) VARVE_WARN_UNUSED;

/* ---- changes ---- */

typedef struct varve_changes_options {
    size_t size; /* sizeof(varve_changes_options) */
    /* NULL = all. By name: also what was written to dropped ones, and one that is yet to be made */
    const char *collection;
    varve_bytes prefix; /* of keys; needs a collection */
    uint64_t limit;     /* 0 = none */
    /* rows of puts carry value, type, writer and expiry of that version */
    bool values;
} varve_changes_options;

/* Every put and delete after the token, oldest first, no gap and no repeat. `token` NULL or "" =
 * from the beginning; "now" = from here on. Ends at the newest write. BELOW_HORIZON when retention
 * may have removed changes behind the token (by count: any from before the vacuum);
 * INVALID_ARGUMENT for a token that is none, or of a write that this folder has not seen. Rows:
 * collection, key, version, parent, is_delete, value on request, token. The token may be asked for
 * before the first row too: the place it began. Such an iterator does not hold its moment: next
 * answers BELOW_HORIZON where a vacuum has removed meanwhile what it had not come to. */
VARVE_API varve_status varve_changes(varve *db, const char *token, const varve_changes_options *o,
                                     varve_iter **ret) VARVE_WARN_UNUSED;

/* The same, but goes on: waits for what comes. Any number of watchers; an idle one costs no CPU. */
typedef struct varve_watch varve_watch;
VARVE_API varve_status varve_watch_open(varve *db, const char *token,
                                        const varve_changes_options *o,
                                        varve_watch **ret) VARVE_WARN_UNUSED;
/* 1: *ret_row stands on a change (borrowed until the next call; do not close it); 0: timeout_ms
 * passed (0: does not wait; -1: no limit), varve_watch_cancel was called or the limit is reached; <
 * 0: minus a varve_status. */
VARVE_API int varve_watch_next(varve_watch *w, int64_t timeout_ms,
                               const varve_iter **ret_row) VARVE_WARN_UNUSED;
/* from any thread: varve_watch_next answers 0 from now on, also a waiting one */
VARVE_API void varve_watch_cancel(varve_watch *w);
/* Behind the row that was delivered; after varve_watch_next answered 0 for want of rows: behind all
 * that was there, also what the filter left out. Borrowed until the next call. */
VARVE_API const char *varve_watch_token(const varve_watch *w);
VARVE_API void varve_watch_close(varve_watch *w);

/* ---- care ---- */

/* Called now and then by long work; false stops it (CANCELLED). */
typedef bool (*varve_progress_fn)(void *arg, uint64_t done, uint64_t total);
typedef struct varve_finding {
    const char *file; /* "" when the finding lies between rows */
    uint64_t offset;  /* in the file, bytes */
    uint64_t range;   /* 0 when it is not one range's */
    const char *text;
} varve_finding;

/* Checks every checksum of log and engine, and every row against the others. Reads and writes go on
 * beside it. CORRUPT when anything was found; `report` (may be NULL) hears each finding. */
VARVE_API varve_status varve_verify(varve *db, void (*report)(void *arg, const varve_finding *f),
                                    varve_progress_fn progress, void *arg) VARVE_WARN_UNUSED;
/* The same for a folder that nobody has open, also one that varve_open refuses as CORRUPT: the
 * format file, every record of the log, and the engine's files if they can be opened for reading.
 * Changes nothing. Errors: CORRUPT (`report` has heard why), LOCKED, NOT_FOUND, CANCELLED,
 * FORMAT_NEWER, IO_ERROR, NO_MEMORY. */
VARVE_API varve_status varve_verify_dir(const char *dir,
                                        void (*report)(void *arg, const varve_finding *f),
                                        varve_progress_fn progress, void *arg) VARVE_WARN_UNUSED;
typedef struct varve_vacuum_result {
    uint64_t rows_seen, versions_removed, bytes_removed, expired;
} varve_vacuum_result;
/* Applies retention: deletes expired records (as ordinary deletes by the writer "ttl") and removes
 * the versions that are past their retention, but never what a named snapshot sees. `collection`
 * NULL = all. */
VARVE_API varve_status varve_vacuum(varve *db, const char *collection, varve_progress_fn progress,
                                    void *arg, varve_vacuum_result *ret) VARVE_WARN_UNUSED;
/* Drains memory into the engine and recycles the log. */
VARVE_API varve_status varve_checkpoint(varve *db) VARVE_WARN_UNUSED;
/* Merges the engine's files now, all of them. */
VARVE_API varve_status varve_compact(varve *db) VARVE_WARN_UNUSED;

typedef struct varve_stats {
    size_t size; /* sizeof(varve_stats), set by the caller */
    /* of single records of the present; counted where there is a cache */
    uint64_t reads, cache_hits;
    uint64_t writes, commits, log_syncs;
    uint64_t cache_bytes, cache_entries, table_bytes, table_versions;
    uint64_t live_rows, past_rows, when_rows;    /* estimates, engine only */
    uint64_t live_bytes, past_bytes, when_bytes; /* on disk */
    uint64_t log_bytes, log_live_bytes, log_segments;
    uint64_t checkpoints, applied_index, persisted_index;
    uint64_t watchers, collections;
    varve_version newest;
    bool poisoned;
} varve_stats;
VARVE_API varve_status varve_get_stats(varve *db, varve_stats *ret) VARVE_WARN_UNUSED;
/* Metrics in the Prometheus text format; to be freed with varve_free. */
VARVE_API varve_status varve_metrics(varve *db, char **ret) VARVE_WARN_UNUSED;

#ifdef __cplusplus
}
#endif
#endif
