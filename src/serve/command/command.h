/* command.h - the verbs, whatever the door: library, gRPC, HTTP.
 *
 * A verb takes a struct of arguments and answers a status; what it found is written to what the
 * caller gave. Arguments are checked here, and the message of a refusal begins with the name of the
 * field as it stands in the struct: "options.ttl_ms: ...", "key: ..." (command_field finds it).
 * An optional field that is zero is not given.
 *
 * Owns:     nothing but the handles it hands out (batch, watch).
 * Promises: a verb is checked whole before anything is written or made. Outputs are untouched on
 *           failure unless the call says otherwise; a buf given for results is scratch meanwhile.
 * Never:    knows a protocol, a socket or the public header; decides who may do what (it only says
 *           what a verb needs, command_access); reads a clock or a file but through env and store.
 * Threads:  any thread or fiber, at the same time, for all but iterators, batches and watches, which
 *           have one owner. What waits for other writers waits through env, so a fiber parks; what
 *           enters the engine or the disk holds up its thread: every verb but command_get_cached may.
 */
#ifndef VARVE_SERVE_COMMAND_COMMAND_H
#define VARVE_SERVE_COMMAND_COMMAND_H

#include "model/doc/doc.h"
#include "node/feed/feed.h"
#include "node/store/store.h"

/* Which present a read of the present sees, where there are several nodes. */
enum command_consistency {
    COMMAND_LINEARIZABLE =
        0,             /* every write that was acknowledged anywhere before; asks the leader */
    COMMAND_LOCAL = 1, /* what this node has: maybe an old present, but without asking anybody */
};
enum { COMMAND_BARRIER_MS = 5000 }; /* how long a read looks for a leader; then UNAVAILABLE */

/* Where verbs run. Made by the app, kept by the caller, read only here. */
struct command_db {
    struct env *env;
    struct store *store;
    /* Whether the store is one of several. Then reads of the present (of records, histories, changes,
     * lists, settings, names of snapshots) first wait as `consistency` says; reads at a version or a
     * time need not: store_fix_moment sees to them. UNAVAILABLE: no leader in time. */
    bool cluster;
    enum command_consistency consistency;
    struct bytes writer; /* of versions whose request names none; at most RECORD_WRITER_MAX */
    /* Whether collections whose name begins with COMMAND_SYSTEM may be reached: by who has the folder
     * in hand (the library) and by serve/security, never by what comes in through a door. Without it
     * they are PERMISSION_DENIED by name, and in no list and no feed. COMMAND_IMPORTS alone may be
     * reached by name through a door too. */
    bool system;
};

enum { COMMAND_TIME_BITS = 48 }; /* of Unix milliseconds */
/* When a record may expire at the latest: the last time that RFC 3339 can write, which doors tell it in. */
#define COMMAND_EXPIRES_MAX UINT64_C(253402300799999)
#define COMMAND_SYSTEM      "_varve."
/* How far imports are (apps/cli): written with their rows as one, so whoever imports must reach it. */
#define COMMAND_IMPORTS "_varve.imports"
/* May no door reach it? */
bool command_is_system(struct bytes collection);

/* ---- what a verb needs, for the gate (serve/security) ---- */

enum command_access { COMMAND_READ = 1, COMMAND_WRITE = 2, COMMAND_ADMIN = 3 };

/* X(NAME, name for logs and metrics, access). Access is to the collection that the verb names; where
 * it names none (changes and vacuum of all, lists, checkpoint, ...) to all of them. */
#define COMMAND_TABLE(X)                                                                           \
    X(GET, "get", READ)                                                                            \
    X(GET_MANY, "get_many", READ) /* each key's collection */                                      \
    X(SCAN, "scan", READ)                                                                          \
    X(HISTORY, "history", READ)                                                                    \
    X(DIFF, "diff", READ)                                                                          \
    X(CHANGES, "changes", READ)                                                                    \
    X(WATCH, "watch", READ)                                                                        \
    X(PUT, "put", WRITE)                                                                           \
    X(DELETE, "delete", WRITE)                                                                     \
    X(COMPARE_AND_SET, "compare_and_set", WRITE)                                                   \
    X(RESTORE, "restore", WRITE)                                                                   \
    X(COMMIT, "commit", WRITE) /* command_batch_name: WRITE those written, READ the others */      \
    X(SYNC, "sync", WRITE)                                                                         \
    X(COLLECTIONS, "collections", READ)                                                            \
    X(COLLECTION_DROP, "collection_drop", ADMIN)                                                   \
    X(SNAPSHOTS, "snapshots", READ)                                                                \
    X(SNAPSHOT_CREATE, "snapshot_create", ADMIN)                                                   \
    X(SNAPSHOT_DELETE, "snapshot_delete", ADMIN)                                                   \
    X(RETENTION_GET, "retention_get", READ)                                                        \
    X(RETENTION_SET, "retention_set", ADMIN)                                                       \
    X(VACUUM, "vacuum", ADMIN)                                                                     \
    X(VERIFY, "verify", ADMIN)                                                                     \
    X(CHECKPOINT, "checkpoint", ADMIN)                                                             \
    X(COMPACT, "compact", ADMIN)                                                                   \
    X(STATS, "stats", ADMIN)

enum command_verb {
#define X(name, text, access) COMMAND_##name,
    COMMAND_TABLE(X)
#undef X
        COMMAND_VERBS
};
const char *command_verb_name(enum command_verb v); /* "get"; "?" for none */
enum command_access command_verb_access(enum command_verb v);

/* The field that a refusal is about: the start of its message up to ": ", when it has the form of
 * one ("options.ttl_ms", "keys[3]"); empty when there is none. Borrowed from `err`. */
struct bytes command_field(const struct err *err);

/* ---- parts of arguments ---- */

/* When to read. Zeroed: the present. */
enum command_at_kind {
    COMMAND_AT_NOW = 0,
    COMMAND_AT_VERSION = 1, /* right after this write */
    COMMAND_AT_TIME = 2,    /* at the end of this Unix millisecond */
    COMMAND_AT_SNAPSHOT = 3
};
struct command_at {
    enum command_at_kind kind;
    struct version version;
    uint64_t time_ms;
    struct bytes snapshot;
};
/* The moment that `at` names, fixed so that reads at it repeat; none = the present. INVALID_ARGUMENT,
 * NOT_FOUND (snapshot), FUTURE_TIME. */
enum status command_moment(const struct command_db *db, const struct command_at *at,
                           struct version *ret, struct err *err) WARN_UNUSED;
/* Waits as a read of the present does: one that came before this was called and begins after it has
 * returned may read with COMMAND_LOCAL. For many at once. UNAVAILABLE: no leader in time. */
enum status command_present(const struct command_db *db, struct err *err) WARN_UNUSED;

enum command_type { COMMAND_RAW = 0, COMMAND_DOC = 1 /* BSON */, COMMAND_JSON = 64 /* to BSON */ };
struct command_value {
    enum command_type type;
    struct bytes data;
};

struct command_options { /* of writes */
    enum store_sync sync;
    uint64_t ttl_ms;     /* 0 = never expires; puts only */
    struct bytes writer; /* data NULL = the db's */
    /* Writes of one id, at most STORE_REQUEST_ID_MAX bytes, are done once however often they are sent
     * within 24 hours: the later ones answer the version of the first. The same id for another write
     * is INVALID_ARGUMENT. Empty: none. Not for drops of collections: UNIMPLEMENTED. */
    struct bytes request_id;
};

/* What must hold of the key as it is when the write is applied; zeroed: nothing. */
struct command_require {
    enum store_require_what what; /* ABSENT, PRESENT or VERSION */
    struct version version;
};

/* ---- one record ---- */

struct command_get {
    struct bytes collection, key;
    const struct command_at *at; /* NULL = the present */
};
/* The record; its bytes lie in `buf` (cleared first). NOT_FOUND (absent, deleted or expired at that
 * time; no such collection), BELOW_HORIZON, those of command_moment, CORRUPT, IO_ERROR, NO_MEMORY. */
enum status command_get(const struct command_db *db, const struct command_get *c, struct buf *buf,
                        struct record *ret, struct err *err) WARN_UNUSED;
/* The same from memory alone (hot cache, tables, the engine's block cache): does not hold up its
 * thread, though a read at a past moment may park its fiber behind writes under way. TIMED_OUT: the
 * disk would have to be asked (or, at a snapshot or before the collection was made, the catalog):
 * ask command_get from a thread that may wait. The one exception, told honestly: after a drain that
 * a crash cut short the engine may read a row beside. */
enum status command_get_cached(const struct command_db *db, const struct command_get *c,
                               struct buf *buf, struct record *ret, struct err *err) WARN_UNUSED;
/* A command_get_cached of the present follows on this thread, after some others: what it will read in
 * memory is asked for. Says nothing of the key, and waits for nothing. */
void command_ahead(const struct command_db *db, struct bytes collection, struct bytes key);

struct command_key {
    struct bytes collection, key;
};
struct command_got {
    struct buf buf;    /* the caller's: zeroed, or from an earlier call; to be deinitialised */
    struct record rec; /* lies in buf; meaningful when st is OK */
    enum status st;    /* OK or NOT_FOUND */
};
struct command_get_many {
    const struct command_key *keys;
    size_t n;
    const struct command_at *at;
    size_t max_bytes; /* of values and writers together; 0 = no bound */
};
/* n records at one moment. Any failure but NOT_FOUND is the call's own, and then what is in `ret` is
 * not to be used. TOO_LARGE: over max_bytes. */
enum status command_get_many(const struct command_db *db, const struct command_get_many *c,
                             struct command_got *ret, struct err *err) WARN_UNUSED;

struct command_diff {
    struct bytes collection, key;
    struct version a, b; /* version_at_ms serves for a time; b none = the present */
    enum doc_diff format;
};
/* Appends what changed from a to b. INVALID_ARGUMENT when one of them is raw bytes; those of
 * command_get, with "version a ..." before. */
enum status command_diff(const struct command_db *db, const struct command_diff *c, struct buf *ret,
                         struct err *err) WARN_UNUSED;

struct command_put {
    struct bytes collection, key;
    struct command_value value;
    struct command_require require;
    struct command_options options;
};
/* Writes, and makes the collection when there is none (not under a requirement that needs the key
 * to be there). PRECONDITION_FAILED: nothing was written, and *ret is the key's present version,
 * none when absent. INVALID_ARGUMENT, TOO_LARGE, UNIMPLEMENTED, those of store_propose; UNAVAILABLE:
 * the collection was dropped again and again meanwhile. */
enum status command_put(const struct command_db *db, const struct command_put *c,
                        struct version *ret, struct err *err) WARN_UNUSED;
/* A put under the requirement that the key's version is `expected`; none: that it is absent. */
static inline struct command_require command_expect(struct version expected)
{
    return (struct command_require){.what = version_is_none(expected) ? STORE_REQUIRE_ABSENT
                                                                      : STORE_REQUIRE_VERSION,
                                    .version = expected};
}

struct command_delete {
    struct bytes collection, key;
    struct command_require require; /* VERSION, or nothing */
    struct command_options options; /* no ttl */
};
/* NOT_FOUND when there is nothing to delete, and nothing is written; with a required version that is
 * PRECONDITION_FAILED, and *ret as in command_put. */
enum status command_delete(const struct command_db *db, const struct command_delete *c,
                           struct version *ret, struct err *err) WARN_UNUSED;

struct command_restore {
    struct bytes collection, key;
    struct command_at at; /* not the present */
    struct command_options options;
};
/* Writes what the key was then: a delete if it was absent, NOT_FOUND if it is absent now too. */
enum status command_restore(const struct command_db *db, const struct command_restore *c,
                            struct version *ret, struct err *err) WARN_UNUSED;

/* ---- batches: several writes as one ---- */

struct command_batch;
struct command_batch *command_batch_new(void); /* NULL: no memory */
void command_batch_free(struct command_batch *b);
void command_batch_clear(struct command_batch *b); /* keeps the memory */
size_t command_batch_count(const struct command_batch *b);
size_t command_batch_bytes(const struct command_batch *b); /* of the log entry, at most */
/* Keys and values are copied. A key may be written once. Deleting an absent key writes a tombstone. */
enum status command_batch_put(struct command_batch *b, struct bytes collection, struct bytes key,
                              struct command_value value, uint64_t ttl_ms,
                              struct err *err) WARN_UNUSED;
enum status command_batch_delete(struct command_batch *b, struct bytes collection, struct bytes key,
                                 struct err *err) WARN_UNUSED;
enum status command_batch_require(struct command_batch *b, struct bytes collection,
                                  struct bytes key, struct command_require require,
                                  struct err *err) WARN_UNUSED;
/* The collections that it names, for the gate: i from 0; false: no more. */
bool command_batch_name(const struct command_batch *b, size_t i, struct bytes *ret_name,
                        bool *ret_written);
/* PRECONDITION_FAILED: *ret_failed is the first requirement that did not hold, in the order they
 * were added. The batch may be committed again; times to live begin at the commit. INVALID_ARGUMENT:
 * it writes nothing or a key twice, or the options have a ttl. UNAVAILABLE as in command_put. */
enum status command_commit(const struct command_db *db, struct command_batch *b,
                           const struct command_options *o, struct version *ret_version,
                           size_t *ret_failed, struct err *err) WARN_UNUSED;

/* ---- many rows, by iterator: for who does not wait between them ---- */

struct command_scan_options {
    struct bytes prefix;   /* only keys that start with it */
    struct bytes from, to; /* inclusive, exclusive; empty: no bound */
    bool reverse, keys_only;
    uint64_t limit; /* 0 = none; of all pages together */
};
struct command_scan {
    struct bytes collection;
    const struct command_at *at; /* NULL = the present */
    struct command_scan_options options;
};
/* The rows' keys have STORE_ROUTE_BYTES before the user's. *ret NULL: there is no such collection,
 * or nothing can lie between the bounds: no rows. */
enum status command_scan(const struct command_db *db, const struct command_scan *c,
                         struct store_iter **ret, struct err *err) WARN_UNUSED;

struct command_history {
    struct bytes collection, key;
    uint64_t limit; /* 0 = none; of all pages together */
};
/* As command_scan; newest version first, deletes included, as far back as retention has kept. */
enum status command_history(const struct command_db *db, const struct command_history *c,
                            struct store_iter **ret, struct err *err) WARN_UNUSED;

struct command_changes_options {
    struct bytes collection; /* by name, of whatever ids it had and will have; empty = all */
    struct bytes prefix;     /* of keys; needs a collection */
    uint64_t limit;          /* rows, 0 = none; a token does not remember it */
    bool values;             /* puts carry value, type, writer and expiry */
};
struct command_changes {
    struct bytes token; /* empty: from the beginning; "now": from here on */
    struct command_changes_options options;
};
/* A feed (node/feed/feed.h). It holds the engine while it has rows at hand: feed_rest. */
enum status command_changes(const struct command_db *db, const struct command_changes *c,
                            struct feed **ret, struct err *err) WARN_UNUSED;

/* ---- many rows, by pages: for who sends them over a network ----
 *
 * A page opens its iterator, hands its rows over and closes it again before it returns, so nothing
 * of the engine is held while a client is slow. All pages of a scan or history are one read at the
 * moment `at` of the first: what is written between pages is not seen, what expires or is deleted
 * between them still is. When retention overtakes that moment the next page of a scan answers
 * BELOW_HORIZON, and a history ends where it was cut. A page of the first kind (no token) that names
 * no moment reads the present.
 *
 * Tokens are text (base64url) and opaque, with a format number and a checksum. They name place and
 * moment and carry no right: the request beside one says collection, bounds and direction again, is
 * checked as ever, and must be the one the token came from; only the page's own bounds and keys_only
 * may change. At most COMMAND_TOKEN_MAX characters. They outlive the process, not their moment. */

enum {
    COMMAND_PAGE_ROWS = 1000,       /* when nothing is said */
    COMMAND_PAGE_ROWS_MAX = 100000, /* more is TOO_LARGE */
    COMMAND_PAGE_BYTES = 1024 * 1024,
    COMMAND_PAGE_BYTES_MAX = 64 * 1024 * 1024,
    COMMAND_PAGE_LOOKED = 200000, /* rows looked at, expired ones too: a page may come out empty */
    COMMAND_TOKEN_MAX = 88 * 1024,
};
struct command_page {
    uint32_t max_rows; /* 0 = COMMAND_PAGE_ROWS */
    /* of key, value and writer of all rows; 0 = COMMAND_PAGE_BYTES. A page ends before the row that
     * would pass it, but always takes one. */
    size_t max_bytes;
    struct bytes token; /* where to go on; empty: the beginning. May lie in the buf for the next. */
};
struct command_row {
    struct bytes collection, key; /* the user's key */
    struct record rec;  /* value empty with keys_only; kind and parent for history and changes */
    struct bytes token; /* changes and watch, where asked for: the place behind this row */
};
/* Takes a row, borrowed until it returns. 1: taken; 0: not taken, the page ends before it; < 0: minus
 * a status, which the call answers. A page whose first row is not taken does not move. Must not wait:
 * the engine is held. */
typedef int (*command_row_fn)(void *arg, const struct command_row *row, struct err *err);
struct command_page_end {
    uint32_t rows;
    size_t bytes;
    bool more;         /* there may be more: go on with the token */
    struct version at; /* the moment that was read */
};
/* ret_token is cleared, and has the NUL-terminated token when ret->more says so. Rows that were taken
 * before a failure are to be thrown away: nothing says where they end. Errors: those of
 * command_scan; INVALID_ARGUMENT (a token that is none or of another request), BELOW_HORIZON,
 * TOO_LARGE (page.max_rows, page.max_bytes), what `row` answers. */
enum status command_scan_page(const struct command_db *db, const struct command_scan *c,
                              const struct command_page *page, command_row_fn row, void *arg,
                              struct command_page_end *ret, struct buf *ret_token,
                              struct err *err) WARN_UNUSED;
enum status command_history_page(const struct command_db *db, const struct command_history *c,
                                 const struct command_page *page, command_row_fn row, void *arg,
                                 struct command_page_end *ret, struct buf *ret_token,
                                 struct err *err) WARN_UNUSED;

/* ---- changes and watching, by pages ---- */

/* A place in the changes that holds nothing of the engine between calls. */
struct command_watch;
/* c->options.limit is of all its pages. Counts as a watcher in the statistics. */
enum status command_watch_open(const struct command_db *db, const struct command_changes *c,
                               struct command_watch **ret, struct err *err) WARN_UNUSED;
void command_watch_close(struct command_watch *w); /* takes NULL */
/* The rows that are visible now, oldest first, up to the page's bounds (page.token is not used).
 * ret->more: more are visible; else wait. row_tokens: each row with its token. After a failure the
 * watch stands behind the last row taken and may be asked again. */
enum status command_watch_page(struct command_watch *w, const struct command_page *page,
                               bool row_tokens, command_row_fn row, void *arg,
                               struct command_page_end *ret, struct err *err) WARN_UNUSED;
/* Waits until something new is visible (it need not pass the filter), for timeout_ms (UINT64_MAX:
 * without limit), or until *cancel is set and store_wake_watchers called. false: nothing new. */
bool command_watch_wait(struct command_watch *w, uint64_t timeout_ms, const _Atomic bool *cancel);
bool command_watch_done(const struct command_watch *w); /* the limit is reached */
/* Behind what was taken; after a page that ended for want of rows behind all that was visible, also what the filter
 * held back. Text, borrowed until the next call. */
const char *command_watch_token(struct command_watch *w);
/* The three in one, for who asks now and then. The token is page.token, else c->token; ret_token is
 * always set: the place behind the rows. */
enum status command_changes_page(const struct command_db *db, const struct command_changes *c,
                                 const struct command_page *page, bool row_tokens,
                                 command_row_fn row, void *arg, struct command_page_end *ret,
                                 struct buf *ret_token, struct err *err) WARN_UNUSED;

/* ---- collections, snapshots, retention ---- */

/* store_collections and store_snapshots list them by iterator. By page, in the order of names: row
 * key = name, rec.version = when it was made, or the moment that it names. Each page is of the
 * present; a name made or dropped between pages may be missed or not. */
enum status command_collections_page(const struct command_db *db, const struct command_page *page,
                                     command_row_fn row, void *arg, struct command_page_end *ret,
                                     struct buf *ret_token, struct err *err) WARN_UNUSED;
enum status command_snapshots_page(const struct command_db *db, const struct command_page *page,
                                   command_row_fn row, void *arg, struct command_page_end *ret,
                                   struct buf *ret_token, struct err *err) WARN_UNUSED;
/* NOT_FOUND. `o` may be NULL; no ttl. */
enum status command_collection_drop(const struct command_db *db, struct bytes collection,
                                    const struct command_options *o, struct err *err) WARN_UNUSED;
/* at NULL = now. ALREADY_EXISTS, BELOW_HORIZON, those of command_moment. */
enum status command_snapshot_create(const struct command_db *db, struct bytes name,
                                    const struct command_at *at, struct version *ret,
                                    struct err *err) WARN_UNUSED;
enum status command_snapshot_delete(const struct command_db *db, struct bytes name,
                                    struct err *err) WARN_UNUSED; /* NOT_FOUND */
enum status command_retention_get(const struct command_db *db, struct bytes collection,
                                  struct collection_settings *ret,
                                  struct err *err) WARN_UNUSED; /* NOT_FOUND */
enum status command_retention_set(const struct command_db *db, struct bytes collection,
                                  const struct collection_settings *v,
                                  struct err *err) WARN_UNUSED; /* NOT_FOUND */

/* ---- care. All but the figures may take long: not on a reactor's thread. ---- */

typedef bool (*command_progress_fn)(void *arg, uint64_t done,
                                    uint64_t total); /* false: CANCELLED */
/* collection.data NULL: all. progress may be NULL. */
enum status command_vacuum(const struct command_db *db, struct bytes collection,
                           command_progress_fn progress, void *arg, struct store_vacuum_result *ret,
                           struct err *err) WARN_UNUSED;
/* The metrics as Prometheus text, appended. Verify, checkpoint, compact, sync_now and stats are the
 * store's own calls: there is nothing to check or to add. */
enum status command_metrics(const struct command_db *db, struct buf *ret,
                            struct err *err) WARN_UNUSED;

#endif
