/* store.h - the unit a reactor owns and the library opens: one log, one engine, a table, a cache,
 * and the ranges in them.
 *
 * Writing: propose -> log -> sync -> commit -> apply -> publish. A writer that finds the store free
 * leads: it takes every proposal that waits behind it as one group, with one append and at most one
 * sync (leader/follower group commit, as in Gray & Reuter and LevelDB). Reading takes no lock that
 * is held across a sync.
 *
 * Owns:     a folder: VARVE (format), LOCK, log/, engine/. Promises: what store_propose
 * acknowledged under ALWAYS is there after any crash; a version is visible only once table and
 * cache both have it; a read at t never changes. Never:    knows documents or JSON; reads or writes
 * but through env and the engine. Threads:  any, for all but store_close. Iterators belong to one
 * thread at a time.
 */
#ifndef VARVE_NODE_STORE_STORE_H
#define VARVE_NODE_STORE_STORE_H

#include "base/env/env.h"
#include "base/metrics.h"
#include "consensus/raft/raft.h"
#include "node/range/entry.h"
#include "storage/cache/cache.h"
#include "storage/engine/engine.h"
#include "storage/wal/wal.h"

struct store;
struct collection; /* stays valid until store_close, also after a drop */

enum store_sync {
    STORE_SYNC_DEFAULT = 0,
    STORE_SYNC_ALWAYS = 1,
    STORE_SYNC_INTERVAL = 2,
    STORE_SYNC_OFF = 3
};

enum {
    STORE_FORMAT_VERSION = 2,
    STORE_NAME_MAX = 120,         /* collection and snapshot names, bytes */
    STORE_KEY_MAX = 64 * 1024,    /* user keys, bytes */
    STORE_CATALOG_ID = 1,         /* the collection that holds the catalog itself */
    STORE_REQUEST_COLLECTION = 2, /* the one of requests that are done once */
    STORE_FIRST_ID = 16,          /* the first id of a user's collection */
    STORE_ROUTE_BYTES = 4,        /* routing key = collection id, big-endian | key */
};

/* How an engine is opened; the app picks, so that the store links no particular one. */
typedef enum status (*store_engine_open_fn)(struct env *env, const char *dir,
                                            const struct engine_options *o, struct engine **ret,
                                            struct err *err);

/* ---- clusters: the same store on several nodes, one of which leads ---- */

enum {
    STORE_REQUEST_ID_MAX = 128,           /* bytes */
    STORE_BUNDLE_MAX = 40 * 1024 * 1024,  /* what send gets and store_receive takes, bytes */
    STORE_INBOX_BYTES = 64 * 1024 * 1024, /* bundles that wait to be looked at, together */
    STORE_PROPOSE_TIMEOUT_MS = 10000,
};
/* How bundles leave: given by whoever connects the nodes; used until store_close has returned. */
struct store_transport {
    /* Copies or drops `bundle`; never blocks, never calls back into the store. false: dropped
     * (unreachable, or its queue is full). Bundles may get lost, doubled and overtake one another. */
    bool (*send)(void *arg, uint64_t to_node, struct bytes bundle);
    void *arg;
};
/* The same on all nodes but for `node`. All nodes begin with it; it is kept in the folder's file
 * CLUSTER and another one later is refused. */
struct store_cluster {
    uint64_t node;                    /* this one's id, not 0, never used again for another */
    uint64_t nodes[RAFT_MEMBERS_MAX]; /* all of them. Only the first may bring data along */
    size_t n;
    struct store_transport transport;
    uint32_t heartbeat_ms, election_ms; /* 0 = raft.h's */
    uint64_t seed;                      /* of the jitter of elections; 0 = random */
    uint64_t incarnation;               /* 0 = above the last one in the folder */
    /* What the node's replica is called; 0: as the node. A node whose disk is gone comes back with a
     * higher id that nobody has had, and takes no part until members.h has made it a member. */
    uint64_t replica;
    /* Of a cluster that has no id yet, by its first node, drawn by lot; 0: it gets none. */
    uint64_t new_id;
    uint32_t propose_timeout_ms; /* a write gives up; 0 = STORE_PROPOSE_TIMEOUT_MS */
    size_t append_bytes;         /* of entries in one message; 0 = raft.h's, */
    uint32_t append_messages;    /* and with how many of them to one node under way */
};

struct store_options {
    const char *engine_name; /* kept in the folder's VARVE file; another name later is refused */
    store_engine_open_fn engine_open;
    struct engine_options engine;
    struct wal_options wal;
    enum store_sync sync;            /* DEFAULT = ALWAYS */
    uint32_t sync_interval_ms;       /* 0 = 1000 */
    size_t cache_bytes;              /* 0 = none */
    size_t table_bytes;              /* 0 = 128 MiB */
    uint64_t log_bytes;              /* log not drained that forces a checkpoint; 0 = 1 GiB */
    uint32_t checkpoint_interval_ms; /* 0 = 300,000; UINT32_MAX = never by time */
    /* Gets of absent keys before a filter for them is thought of, and how many keys are walked in
     * one go while it is made; 0 = 20,000 and 50,000. */
    uint32_t absent_misses, absent_slice;
    bool spill_always; /* for tests: every frozen table is spilled, as long as there is room */
    bool read_only, must_exist;
    bool no_thread; /* no housekeeping threads (the simulator calls store_tick) */
    /* For checkers: told of each entry that has been applied, also while the log is replayed; by who
     * applies, who must not be held up. NULL: nobody. */
    void (*applied)(void *arg, const struct raft_entry *e);
    void *applied_arg;
    /* And of each message that raft has taken in, by who takes it. */
    void (*stepped)(void *arg, const struct raft *r, const struct raft_msg *m);
    void *stepped_arg;
    /* Copied; NULL: alone. With one, `sync` must be ALWAYS, and read_only must not be set. */
    const struct store_cluster *cluster;
};

enum status store_open(struct env *env, const char *dir, const struct store_options *o,
                       struct store **ret, struct err *err) WARN_UNUSED;
/* Syncs, checkpoints, closes. The handle is gone whatever it answers. A checkpoint without room on
 * the disk is a warning in the log and no failure: the writes are in the log, which is synced. */
enum status store_close(struct store *s, struct err *err);
/* What the housekeeping threads do; returns milliseconds until it has something to do again,
 * UINT64_MAX = when poked. */
uint64_t store_tick(struct store *s);

/* The process dies, for the simulator. From store_halt on no input or output is done, and whoever
 * waits in a call gets POISONED as soon as it runs: what it asked for may have happened or not.
 * When nobody is in a call any more, store_abandon gives the memory back. */
void store_halt(struct store *s);
void store_abandon(struct store *s);

/* A bundle from another node came in: any thread or fiber. It is copied. Whoever brings it drives the
 * replica if nobody does, and so may sync the disk. Errors: OVERLOADED (the inbox is full), NO_MEMORY:
 * as if lost; TOO_LARGE (STORE_BUNDLE_MAX), INVALID_ARGUMENT (malformed, not of this cluster, no
 * cluster). */
enum status store_receive(struct store *s, uint64_t from_node, struct bytes bundle,
                          struct err *err) WARN_UNUSED;
/* The same for several at once, which are looked at together. The first error; the others of them may
 * have been taken all the same: *ret_taken (may be NULL), untouched by INVALID_ARGUMENT. */
enum status store_receive_all(struct store *s, uint64_t from_node, const struct bytes *bundles,
                              size_t n, size_t *ret_taken, struct err *err) WARN_UNUSED;
/* After it has answered OK, reads of the present here see every write that was acknowledged anywhere
 * before the call. At once where there is one voter. Errors: UNAVAILABLE (no leader in time),
 * NO_MEMORY, POISONED. */
enum status store_barrier(struct store *s, uint64_t timeout_ms, struct err *err) WARN_UNUSED;
/* The cluster that this folder belongs to, whatever others are called: an id that its first node drew,
 * kept in the file CLUSTER; 0: not known here yet. These two are for one thread, the one that meets the
 * other nodes. */
uint64_t store_cluster_id(const struct store *s);
/* Another node says that it belongs to `id` (0: it does not know). Who does not know takes it over, and
 * down if the disk lets it. PRECONDITION_FAILED: this is another cluster. */
enum status store_cluster_meet(struct store *s, uint64_t id, struct err *err) WARN_UNUSED;
struct store_role {
    uint64_t node, leader; /* 0: none; alone both are 0 */
    uint64_t term, commit, applied;
    bool is_leader;
};
void store_role(struct store *s, struct store_role *ret);
/* In a cluster: whether the log of this node takes entries. While it does not, the node neither leads nor
 * sees what is committed, so that only local reads are answered; it goes on by itself. Else the reason
 * (DISK_FULL, IO_ERROR, ...), which its writes are refused with. Alone: OK. */
enum status store_log_takes(struct store *s, struct err *err);
/* If this node leads, another one is to: before it stops, so that the others need not wait for an
 * election timeout. Writes that come meanwhile wait, and go to who leads then. OK also when it did not
 * lead, or is the only node. Errors: UNAVAILABLE (nobody took over in time; it may still happen), POISONED. */
enum status store_hand_over(struct store *s, uint64_t timeout_ms, struct err *err) WARN_UNUSED;
/* A node has become unreachable: do not fill its queue. A hint, from any thread. */
void store_unreachable(struct store *s, uint64_t node);
/* For checkers that hold invariants over all nodes: NULL while there is none. Only while nobody is in
 * a call. */
const struct raft *store_raft(struct store *s);

/* ---- catalog: names and settings, kept as versioned records of collection 1 ---- */

struct collection_settings {
    uint64_t max_age_ms, max_count; /* retention; 0 = no bound */
};
enum status store_collection_find(struct store *s, struct bytes name, struct collection **ret,
                                  struct err *err) WARN_UNUSED;
/* Finds or makes. */
enum status store_collection_open(struct store *s, struct bytes name, struct bytes writer,
                                  struct collection **ret, struct err *err) WARN_UNUSED;
/* The id a name had at a time. NOT_FOUND: none. */
enum status store_collection_at(struct store *s, struct bytes name, struct version at,
                                uint32_t *ret_id, struct err *err) WARN_UNUSED;
/* The same where memory can tell: of a collection of the present that was there at `at`, which is a
 * moment fixed by store_fix_moment. false: ask store_collection_at. */
bool store_collection_known_at(struct store *s, struct bytes name, struct version at,
                               uint32_t *ret_id);
enum status store_collection_drop(struct store *s, struct bytes name, struct bytes writer,
                                  struct err *err) WARN_UNUSED;
uint32_t collection_id(const struct collection *c);
/* Appends the routing key that is in the catalog while a collection of that name is: what a write
 * requires to be absent that stands on there being none. NO_MEMORY. */
enum status store_collection_key(struct bytes name, struct buf *ret_key) WARN_UNUSED;
enum status store_settings_get(struct store *s, struct bytes name, struct collection_settings *ret,
                               struct err *err) WARN_UNUSED;
enum status store_settings_set(struct store *s, struct bytes name,
                               const struct collection_settings *v, struct err *err) WARN_UNUSED;
uint64_t store_collection_count(struct store *s);
/* The name of an id, also of a dropped collection; borrowed until store_close; NULL: unknown. */
const char *store_collection_name(struct store *s, uint32_t id);

/* ALREADY_EXISTS; BELOW_HORIZON when retention may have removed what was to be seen at `at`. */
enum status store_snapshot_create(struct store *s, struct bytes name, struct version at,
                                  struct err *err) WARN_UNUSED;
enum status store_snapshot_delete(struct store *s, struct bytes name, struct err *err) WARN_UNUSED;
enum status store_snapshot_find(struct store *s, struct bytes name, struct version *ret,
                                struct err *err) WARN_UNUSED;
/* Rows of the catalog of one kind, in name order: key = name; `version` is when it was made or, of
 * snapshots, the moment. */
struct store_iter;
enum status store_collections(struct store *s, struct store_iter **ret,
                              struct err *err) WARN_UNUSED;
enum status store_snapshots(struct store *s, struct store_iter **ret, struct err *err) WARN_UNUSED;
/* The same behind a name. */
enum status store_collections_after(struct store *s, struct bytes name, struct store_iter **ret,
                                    struct err *err) WARN_UNUSED;
enum status store_snapshots_after(struct store *s, struct bytes name, struct store_iter **ret,
                                  struct err *err) WARN_UNUSED;

/* ---- moments ---- */

struct version store_visible(struct store *s); /* the newest published version */
/* Makes `at` readable for ever alike: waits for writes at or below it that are under way, makes
 * later ones get higher versions. FUTURE_TIME when it lies after the clock and after every version;
 * in a cluster UNAVAILABLE when that could not be known in time: it may be asked again.
 * Returns when reads at it are repeatable. */
enum status store_fix_moment(struct store *s, struct version at, struct err *err) WARN_UNUSED;

/* ---- reading. Keys are routing keys. `at` none = the present. ---- */

/* The live record; bytes are copied into buf (cleared first). NOT_FOUND: absent, deleted or
 * expired. */
enum status store_get(struct store *s, struct bytes key, struct version at, struct buf *buf,
                      struct record *ret, struct err *err) WARN_UNUSED;
/* The same from memory alone, for threads that must not wait for a disk: cache, tables, and what the
 * engine has in its block cache. TIMED_OUT, as in engine.h: the disk would have to be asked. (After
 * a drain that a crash cut short the engine may read a row beside all the same.) */
enum status store_get_cached(struct store *s, struct bytes key, struct version at, struct buf *buf,
                             struct record *ret, struct err *err) WARN_UNUSED;

/* A read of the present follows on this thread, after some others (cache_ahead). */
void store_ahead(struct store *s, struct bytes key);

struct store_scan {
    struct engine_interval in;
    struct version at;
    bool reverse, keys_only;
    bool with_expired; /* expired records too (vacuum) */
    uint64_t limit;
};
struct store_row {
    struct bytes key;  /* routing key (catalog rows: the name) */
    struct record rec; /* borrowed until the next call */
};
enum status store_scan(struct store *s, const struct store_scan *q, struct store_iter **ret,
                       struct err *err) WARN_UNUSED;
/* Every version, newest first, parents filled in. BELOW_HORIZON never: it ends where retention cut.
 */
enum status store_history(struct store *s, struct bytes key, uint64_t limit,
                          struct store_iter **ret, struct err *err) WARN_UNUSED;
/* The same from the newest version at or below `from` on; none = the present. */
enum status store_history_from(struct store *s, struct bytes key, struct version from,
                               uint64_t limit, struct store_iter **ret,
                               struct err *err) WARN_UNUSED;
/* 1, 0 = end, < 0 = minus a status. */
int store_iter_next(struct store_iter *it, struct store_row *ret, struct err *err) WARN_UNUSED;
void store_iter_close(struct store_iter *it);

/* Changes of all user collections strictly after (after, after_key), oldest first, up to what is
 * visible now. Rows carry version, kind, parent (where known) and no value. BELOW_HORIZON when
 * vacuum has removed changes behind `after` of a collection called `name` (len 0: of any). The rows
 * are of all collections whatever the name: who asks for one passes over the rest, and over the
 * gaps in it. */
enum status store_changes(struct store *s, struct bytes name, struct version after,
                          struct bytes after_key, struct store_iter **ret,
                          struct err *err) WARN_UNUSED;
/* Nothing of the collection of this name (len 0: of any) that is above it was visible when
 * store_visible, asked before, said what is: whoever has seen all up to there has nothing to look for.
 * What is at or below it may be of others. */
struct version store_written(struct store *s, struct bytes name);
/* Waits until something above `after` is visible that may be of the collection of this name (len 0: of
 * any), the timeout passes (UINT64_MAX = none) or *cancel is set and then store_wake_watchers called.
 * false: nothing new. Commits to other collections do not wake it; those to the catalog do. */
bool store_wait_changes(struct store *s, struct bytes name, struct version after,
                        uint64_t timeout_ms, const _Atomic bool *cancel);
void store_wake_watchers(struct store *s);       /* those whose *cancel is set */
void store_watchers_add(struct store *s, int n); /* for statistics */

/* ---- writing ---- */

enum store_require_what {
    STORE_REQUIRE_ABSENT = 1,
    STORE_REQUIRE_PRESENT = 2,
    STORE_REQUIRE_VERSION = 3,
    STORE_REQUIRE_EXACT = 4 /* as VERSION, but the record may have expired */
};
struct store_require {
    struct bytes key; /* routing key */
    enum store_require_what what;
    struct version version;
};
struct store_write {
    struct blob *entry; /* from entry_encode; the caller keeps its reference */
    const struct store_require *requires;
    size_t n_requires;
    struct collection *const *collections; /* those the entry writes; each must still be there: else
                                              CANCELLED, try again */
    size_t n_collections;
    enum store_sync sync; /* in a cluster: ALWAYS whatever it says */
    /* Writes of one id (at most STORE_REQUEST_ID_MAX bytes) are done once, however often they come,
     * within STORE_REQUEST_KEPT_MS; len 0: no id. The entry has the op of store_request_op. */
    struct bytes request_id;
    /* results */
    bool duplicate; /* it had been done before: `version` is of that */
    struct version
        version;   /* of the write; on PRECONDITION_FAILED the present version of the failed key */
    size_t failed; /* on PRECONDITION_FAILED: which requirement */
};
/* What an entry carries for a write with a request id, beside its own ops. */
enum {
    STORE_REQUEST_KEPT_MS = 24 * 60 * 60 * 1000, /* so long an id is known */
    STORE_DIGEST_BYTES = 16,
};
struct store_request {
    struct entry_op op; /* its bytes lie in the other two */
    uint8_t key[STORE_ROUTE_BYTES + STORE_REQUEST_ID_MAX];
    uint8_t value[1 + STORE_DIGEST_BYTES];
};
/* `digest`: of what the request asks for; the same id with another one is refused. The id has 1 to
 * STORE_REQUEST_ID_MAX bytes. */
void store_request_op(struct bytes id, const uint8_t digest[STORE_DIGEST_BYTES], uint64_t now_ms,
                      struct store_request *ret);
/* Whether the request was done already, by what is visible here; it is as durable as asked then. Errors:
 * NOT_FOUND (it was not), INVALID_ARGUMENT (its id was used for another write), those of reads and
 * syncs. For who would have to make or refuse something before the write can be proposed. */
enum status store_request_find(struct store *s, const struct store_request *r, enum store_sync sync,
                               struct version *ret, struct err *err) WARN_UNUSED;
/* Returns when the write is visible and as durable as asked. Errors: PRECONDITION_FAILED,
 * DISK_FULL, POISONED, READ_ONLY, IO_ERROR, NO_MEMORY, CANCELLED (a collection was dropped
 * meanwhile), OVERLOADED, UNAVAILABLE (a cluster without a leader), INVALID_ARGUMENT (the request id
 * was used for another write). Nothing was written then, but after POISONED the write may turn up
 * when the folder is opened again. UNKNOWN_OUTCOME: the leader was lost while it had the write. */
enum status store_propose(struct store *s, struct store_write *w, struct err *err) WARN_UNUSED;
enum status store_sync_now(struct store *s, struct err *err) WARN_UNUSED;

/* ---- care ---- */

enum status store_checkpoint(struct store *s, struct err *err) WARN_UNUSED;
enum status store_compact(struct store *s, struct err *err) WARN_UNUSED;
struct store_vacuum_result {
    uint64_t rows_seen, versions_removed, bytes_removed, expired;
};
/* name.len 0: all collections. */
enum status store_vacuum(struct store *s, struct bytes name,
                         bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                         struct store_vacuum_result *ret, struct err *err) WARN_UNUSED;
struct store_finding {
    const char *file;
    uint64_t offset, range;
    const char *text;
};
enum status store_verify(struct store *s, void (*report)(void *arg, const struct store_finding *f),
                         bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                         struct err *err) WARN_UNUSED;

/* The same for a folder that nobody has open, also one that store_open refuses: the format file,
 * every record of the log, and the engine if it opens read-only. Takes the lock while it works.
 * Errors: CORRUPT (something was reported), LOCKED, NOT_FOUND, CANCELLED, those of store_open. */
enum status store_verify_dir(struct env *env, const char *dir, const struct store_options *o,
                             void (*report)(void *arg, const struct store_finding *f),
                             bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                             struct err *err) WARN_UNUSED;

struct store_stats {
    struct cache_stats cache;
    struct engine_stats engine;
    struct wal_stats wal;
    uint64_t writes, commits, groups, table_bytes, table_versions, checkpoints;
    uint64_t applied_index, persisted_index, watchers, collections;
    uint64_t wakes;        /* of those who wait for changes, by commits */
    uint64_t changes_read; /* by store_changes */
    uint64_t filter_bytes; /* memory of the filters of absent keys */
    struct version newest;
    bool poisoned;
};
void store_stats(struct store *s, struct store_stats *ret);
struct metrics *store_metrics(struct store *s); /* gauges are brought up to date by store_stats */

#endif
