/* store_internal.h - what the files of this module share. Read store.h first.
 *
 * Locks, each held for a short while and in this order: lead (the write path: who leads a group of
 * writers, or in a cluster who drives; a queue, not a mutex) > checkpoint_lock (one drain, vacuum or
 * verify at a time; held across I/O, by maintenance and by a leader whose table is full) >
 * queue_lock, view_change > state_lock, view_lock, clock_lock. So
 * nobody waits to lead while holding checkpoint_lock, and no leader waits for the thread.
 */
#ifndef VARVE_NODE_STORE_INTERNAL_H
#define VARVE_NODE_STORE_INTERNAL_H

#include "base/assert.h"
#include "base/env/thread.h"
#include "base/list.h"
#include "node/range/range.h"
#include "node/range/replica.h"
#include "node/store/store.h"
#include "storage/filter/filter.h"

/* An open engine and the folder it is in. The store holds the present one; each snapshot holds its
 * own, so that readers finish on an engine that was replaced (home.c). */
struct home {
    _Atomic uint32_t refs;
    struct store *s;
    struct engine *engine;
    unsigned folder; /* of store__folder_name */
    bool replaced;   /* another one has taken over: its files go when it is closed */
    struct home *next;
};

/* What a reader reads from: frozen in composition, so that one reference pins everything. */
struct snap {
    _Atomic uint32_t refs;
    struct home *home;
    struct engine *engine; /* the home's */
    struct engine_snapshot *snapshot;
};
enum { VIEW_STRIPES = 8 };
#define STORE_SPILLED "spilled" /* the file of a spilled table, as long as it has a name */
enum { STORE_SPILLS_MAX = 12, STORE_TABLES_MAX = STORE_SPILLS_MAX + 2 }; /* of one view */
struct view {
    _Atomic uint32_t
        refs; /* one for each stripe that is in use or installed, and for each holder */
    struct table *active;
    struct table *frozen; /* and those below it; NULL: none */
    bool resting; /* all of `frozen` is spilled, and not being drained: one more may be frozen */
    struct snap *snap;
    /* Reads of the present are of this moment at least: what `snap` knows of earlier ones may have
     * been vacuumed, here or where the state that was installed last comes from. */
    uint64_t base_hlc;
    /* Point reads count on their thread's stripe, or two threads would pass one line to and fro. */
    struct {
        _Alignas(64) _Atomic uint32_t refs;
    } stripe[VIEW_STRIPES];
};

struct proposal;
/* Those who wait together: the first leads when its turn comes, the rest sleep until it is done. */
struct group {
    _Atomic uint32_t refs;
    struct proposal *head, **tail;
    struct env_event turn, done;
};
struct proposal {
    struct store_write *w;
    struct proposal *next; /* in its group */
    enum status st;
    bool by_group; /* refused for what one before it in its group writes, which may fail yet */
    uint64_t index, term; /* where it is in the log */
    struct list node;     /* in store.in_log, or a list of the cluster's */
    /* Clusters (cluster.h). */
    uint64_t at_least; /* a moment: its version is to be above this hlc */
    uint64_t deadline_ns;
    uint64_t read;       /* its refusal stands once this read is done; 0: not asked yet */
    enum status refused; /* how */
    uint64_t number, to_node, to_incarnation; /* as it was forwarded last; number 0: never */
    uint64_t sent_ns;
    uint64_t n_older, older[8]; /* numbers before, to the same leader */
    bool sent_before;           /* a copy under an earlier number, which may have been done */
    struct remote *remote;      /* it is another node's; NULL: it waits here */
    struct env_event done;
    struct err err; /* last: its text is long, and needs no zeroes */
};

struct collection {
    uint32_t id;
    char name[STORE_NAME_MAX + 1]; /* empty: dropped, and only its horizon is known so far */
    size_t name_len;
    _Atomic bool dropped;
    _Atomic uint64_t horizon_hlc;      /* reads below are refused; 0 = none */
    _Atomic uint64_t feed_horizon_hlc; /* changes from below are refused */
    _Atomic uint64_t max_age_ms, max_count;
    struct version created;
    uint64_t seen;                /* the last state that had it alive; the leader's */
    _Atomic uint64_t written_hlc; /* watch.c */
    struct list watching;         /* who waits for changes of it; under store.watch_lock */
    struct collection *next_spare;
};
struct collection_map {
    size_t cap; /* power of two */
    _Atomic(struct collection *) slots[];
};
struct catalog {
    _Atomic(struct collection_map *) by_name; /* open addressing; old maps live until close */
    _Atomic(struct collection_map *) by_id;   /* slot = id - STORE_FIRST_ID */
    struct collection_map **retired;
    size_t n_retired, cap_retired, n_names;
    struct collection *spare; /* taken before an entry is logged, so that applying it cannot fail */
    size_t n_spare, promised;
    struct collection *parted; /* their id belongs to another one since a state was installed */
    uint64_t states;
    struct env_lock lock; /* one change of the catalog at a time; held across its propose */
    _Atomic uint64_t live;
    _Atomic uint32_t last_id;
};

/* absent.c: a filter that knows which keys are certainly absent. All but `asked`, `adding` and
 * `added` are the housekeeping thread's. */
struct filter_made;
struct absent {
    _Atomic(struct filter *) asked;  /* complete: readers believe it; NULL: none */
    _Atomic(struct filter *) adding; /* applied writes go into it: the same, or one being made */
    _Atomic uint64_t added;          /* about how many keys it holds */
    uint64_t room;                   /* for how many it was made */
    struct filter_made *made;        /* all there ever were */
    _Atomic size_t bytes;            /* theirs */
    struct store_iter *walk;         /* over the keys, while one is being made */
    uint64_t walk_state;             /* `states` when that began */
    _Atomic uint64_t states;         /* how often another state was installed */
    uint64_t misses_then;            /* when it was last tried */
};

/* watch.c: which collections were written to. */
enum { WRITTEN_MAX = 16 };
struct written {
    struct collection *of[WRITTEN_MAX];
    size_t n;
    uint32_t last_id; /* seen last; 0: none */
    bool all;         /* perhaps others too */
};

/* What store_stats brings up to date: X(NAME, name, help). */
#define STORE_GAUGE_TABLE(X)                                                                       \
    X(TABLE_BYTES, "varve_table_bytes", "Memory of the tables not yet drained.")                   \
    X(LOG_BYTES, "varve_log_bytes", "Disk space of the log.")                                      \
    X(LOG_LIVE_BYTES, "varve_log_live_bytes", "Log that is not in the engine yet.")                \
    X(APPLIED, "varve_applied_index", "Index of the last applied log entry.")                      \
    X(RANGES, "varve_ranges", "Ranges of keys that this store holds.")                             \
    X(COLLECTIONS, "varve_collections", "Collections of the present.")                             \
    X(CACHE_BYTES, "varve_cache_bytes", "Memory of the hot cache.")                                \
    X(CACHE_RECORDS, "varve_cache_records", "Records in the hot cache.")                           \
    X(FILTER_BYTES, "varve_filter_bytes", "Memory of the filters of absent keys.")                 \
    X(ENGINE_BYTES, "varve_engine_bytes", "Disk space of the engine's rows.")                      \
    X(ENGINE_FILES, "varve_engine_files", "Files of the engine.")                                  \
    X(ENGINE_MEMORY, "varve_engine_memory_bytes", "Memory of the engine, its block cache included.")
enum store_gauge {
#define X(name, text, help) STORE_GAUGE_##name,
    STORE_GAUGE_TABLE(X)
#undef X
        STORE_GAUGES
};

struct store {
    struct env *env;
    char *dir;
    struct store_options o;
    struct env_file *lock_file;
    struct wal *wal;
    struct home *home;     /* changes under lead and checkpoint_lock */
    struct engine *engine; /* the home's */
    /* What the file VARVE says beyond the options: where the engine is, and that entries of the log
     * count for nothing that lie before this place (epoch 0: none does). */
    unsigned folder;
    struct wal_pos void_before;
    struct home *homeless;      /* nobody uses them any more: to be closed; under state_lock */
    _Atomic uint32_t old_homes; /* replaced, and still open or still on the disk */
    bool receiving;             /* there is a store_incoming; under state_lock */
    struct cache *cache;
    struct range range;
    struct range_scratch scratch;
    struct catalog catalog;
    struct absent absent;

    struct {
        _Alignas(64) struct env_spin lock;
        struct view *view;       /* the same in every stripe, but while one is being installed */
        _Atomic uint64_t misses; /* gets that the engine answered with "absent" */
    } views[VIEW_STRIPES];
    _Atomic bool hurry;           /* a leader, or its writes, wait for a drain */
    struct table_pages *pages;    /* of drained tables, for the next ones */
    struct env_mutex view_change; /* whoever makes a new view from the present one */
    _Atomic uint64_t visible_hlc; /* origin is 0 while there is one region */

    struct env_spin clock_lock;
    struct hlc clock;

    /* the write path */
    struct env_mutex queue_lock;
    bool leading;
    struct group *waiting;
    struct version assigned; /* highest given to a proposal; under clock_lock */
    struct replicas *replicas;
    struct replica *replica;
    struct list in_log; /* proposals that are in the log and not applied yet, by rising index */
    struct cluster *cluster;                         /* NULL: alone */
    _Atomic uint64_t applied_index, persisted_index; /* for statistics */
    atomic_bool keep_log;                            /* until a drain is done: engine.unsure */
    _Atomic int poisoned;                            /* enum status; 0 = fine */

    /* checkpoints and housekeeping */
    struct env_mutex checkpoint_lock;
    struct env_mutex maintain_lock; /* one wal_tidy at a time */
    struct env_mutex state_lock;
    struct env_cond state_cond; /* pokes the thread */
    bool stopping, log_poked, drain_poked;
    _Atomic uint64_t complained_ns;
    _Atomic bool unsynced; /* something was appended that an interval sync was promised for */
    _Atomic bool dirty;    /* something was appended since the last tick */
    /* The keeper of log or engine sleeps until it is poked: so the next append has to. While they look
     * by themselves anyway no append wakes them. */
    _Atomic bool log_idle, drain_idle;
    _Atomic bool drain_rests; /* nothing was appended since a look that found nothing to drain */
    _Atomic bool no_spare;    /* the disk has no room for a segment of the log ahead */
    bool replay_grows;        /* the replay found no room on disk to drain into */
    _Atomic bool replaying;   /* there is no log to sync or release yet */
    _Atomic uint64_t last_checkpoint_ns;
    uint64_t last_sync_ns; /* the log thread's, and the next two */
    uint64_t tidy_ns;      /* not before it is the log tidied again */
    uint64_t spare_ns; /* when the next step of a spare is due; UINT64_MAX: none is being made */
    /* By the engine thread: what was applied when it looked last, and since when. */
    uint64_t quiet_index, quiet_ns;
    uint64_t misses_kept; /* of the cache, at the last store__keep; under checkpoint_lock */
    bool mark_due;
    struct engine_mark frozen_mark;
    /* Bytes, as store__log_end counts: live at the opening; when the frozen table was frozen, under
     * view_change; at the last drain. */
    uint64_t log_opened, log_frozen;
    _Atomic uint64_t log_drained;
    struct engine_mark persisted;
    struct env_thread log_thread, engine_thread;
    bool log_thread_runs, engine_thread_runs;

    struct written written; /* since the last publication; who applies */
    _Atomic uint64_t written_floor;
    struct env_mutex watch_lock;
    struct list watching,
        watching_all; /* struct watcher of watch.c: all that wait; of any collection */
    _Atomic int watchers_waiting;
    _Atomic int watchers;

    struct metrics *metrics;
    struct counter *m_writes, *m_commits, *m_groups, *m_checkpoints, *m_hits, *m_misses, *m_wakes,
        *m_changes_read;
    struct histogram *m_sync_ns, *m_apply_ns, *m_drain_ns;
    struct gauge *m_gauges[STORE_GAUGES];
};

struct store_iter_ops {
    int (*next)(struct store_iter *it, struct store_row *ret, struct err *err);
    void (*close)(struct store_iter *it);
};
struct store_iter {
    const struct store_iter_ops *ops;
};

/* view.c */
struct view *store__view(struct store *s); /* a reference */
/* The same for a read that ends on the thread it began on: *ret_stripe goes back with it. */
struct view *store__view_pin(struct store *s, unsigned *ret_stripe);
void view_unpin(struct view *v, unsigned stripe);
void view_unref(struct view *v); /* takes NULL */
struct snap *snap_ref(struct snap *n);
void snap_unref(struct snap *n); /* takes NULL */
/* Of any home, and of the present one. */
enum status snap_new(struct home *h, struct snap **ret, struct err *err) WARN_UNUSED;
enum status store__snap_new(struct store *s, struct snap **ret, struct err *err) WARN_UNUSED;
/* A view of these parts (one more reference to each), not yet seen by anyone. NULL: no memory. */
struct view *view_new(struct table *active, struct table *frozen, struct snap *snap);
/* A frozen table that must go before another one can be frozen. */
static inline bool view_frozen(const struct view *v)
{
    return v->frozen && !v->resting;
}
/* Of its tables together. */
size_t view_bytes(const struct view *v);
uint64_t view_versions(const struct view *v);
uint64_t view_keys(const struct view *v); /* the same key in two tables counts twice */
bool view_frozen_get(const struct view *v, struct bytes key, struct version at, struct record *ret);
/* Readers get this one from now on; takes over the reference. */
void store__install_view(struct store *s, struct view *v);

/* queue.c: writers alone take turns at leading groups of them */
/* Joins the queue. *ret_list is what the caller has to lead (with its group in *ret_group, or NULL
 * when nobody waits with it); NULL when another led it and p has its outcome. NO_MEMORY: p is in no
 * queue. */
enum status store__queue_enter(struct store *s, struct proposal *p, struct group **ret_group,
                               struct proposal **ret_list) WARN_UNUSED;
/* Hands the lead on; `mine` (may be NULL) is done. */
void store__queue_leave(struct store *s, struct group *mine);
/* Those of a group that was led have their outcomes; the lead is kept. */
void store__group_done(struct group *g);

/* check.c */
/* Whether a proposal of the same group before `upto` writes the key: then its op is the newest. */
bool store__in_group(struct proposal *list, struct proposal *upto, struct bytes key,
                     struct record *ret);
/* Whether all that a write requires holds. `list`: proposals of this group before `p`, which will be
 * applied before it if it is; NULL: none. */
enum status store__check_requires(struct view *v, struct proposal *list, struct proposal *p,
                                  uint64_t now_ms) WARN_UNUSED;

/* keep.c: offers what the frozen table holds to the cache; by who drained it, before it goes. */
void store__keep(struct store *s);

/* home.c */
enum { STORE_FOLDERS = 2 };
#define STORE_INCOMING "incoming" /* in DIR: a state as it comes in */
const char *store__folder_name(unsigned folder);
/* Opens or makes the engine in that folder; one reference. */
enum status home_open(struct store *s, unsigned folder, struct home **ret,
                      struct err *err) WARN_UNUSED;
struct home *home_ref(struct home *h);
void home_unref(struct home *h);           /* takes NULL; the last one leaves it to store__tidy */
struct home *store__home(struct store *s); /* the present one, from any thread; a reference */
/* Closes engines that nobody uses any more; with `files`, removes those of the replaced ones too. */
void store__tidy(struct store *s, bool files);
/* Removes an engine's folder with all that is in it; OK also when there is none. */
enum status store__folder_clear(struct store *s, unsigned folder, struct err *err) WARN_UNUSED;
/* When the folder is opened, not read-only: makes what VARVE says durable where it may not be, and then
 * removes what an install that was cut, or replaced engines, left behind. Errors are those of the
 * former (DISK_FULL too: nothing is removed then); what cannot be removed is a warning. `fresh`: VARVE
 * was written just now. */
enum status store__folder_settle(struct store *s, bool fresh, struct err *err) WARN_UNUSED;

/* propose.c */
enum status store__lead_begin(struct store *s, struct err *err)
    WARN_UNUSED; /* becomes the only writer, without a write */
void store__lead_end(struct store *s);
/* From now on writes are refused; the first reason stays. */
void store__poison(struct store *s, enum status why);
enum status store__refuse(struct store *s, struct err *err) WARN_UNUSED; /* read-only, poisoned */
/* The version of the next entry, above `at_least`. */
struct version store__next_version(struct store *s, uint64_t at_least, uint64_t now_ms);

/* apply.c */
enum status store__apply(struct store *s, const struct raft_entry *e, struct bytes payload,
                         struct blob *owner, struct table *table, struct err *err) WARN_UNUSED;
/* Applies what is committed; of replicas_calls. */
enum status store__apply_committed(void *arg, struct replica *r, const struct raft_entry *entries,
                                   size_t n);
/* Applies an entry of which no proposal waits here: large values are copied. */
enum status store__apply_foreign(struct store *s, const struct raft_entry *e, struct table *table,
                                 struct err *err) WARN_UNUSED;

/* watch.c, by who applies */
void store__wrote(struct store *s, uint32_t id); /* a collection's, before the next publication */
void store__wrote_anything(struct store *s);
/* Everything up to v is visible from now on. */
void store__publish(struct store *s, struct version v);

/* read.c */
/* The newest version at or below `at`, deletes and expired included; what it borrows is pinned by
 * view and pin. */
enum status store__find(struct view *v, struct bytes key, struct version at, struct record *ret,
                        struct engine_pin *pin, struct err *err) WARN_UNUSED;
enum status store__in_future(uint64_t hlc, uint64_t now_ms, struct err *err); /* FUTURE_TIME */
enum status store__check_horizon(struct store *s, struct bytes key, struct version at,
                                 struct err *err) WARN_UNUSED;

/* checkpoint.c */
/* Readers get this engine snapshot; with `drained` the frozen table goes. */
/* How much log there was up to now, in bytes; what was live at the opening counts whole. */
uint64_t store__log_end(struct store *s);
enum status store__install_snap(struct store *s, struct snap *snap, bool drained,
                                struct err *err) WARN_UNUSED;
enum status store__make_room(struct store *s,
                             struct err *err) WARN_UNUSED; /* by the leader, before it applies */
/* The same for who drives and must not wait for a drain: the table may grow to twice its size. */
void store__make_room_beside(struct store *s);
bool store__has_room(struct store *s); /* for more than what is in the log */
/* checkpoint_lock held. `all`: what rests, too. */
enum status store__drain(struct store *s, bool all, struct err *err) WARN_UNUSED;
/* checkpoint_lock held. Whether the frozen table was spilled instead of being to be drained. */
bool store__spill(struct store *s, struct table *frozen);
/* Drains all that was applied before the call. */
enum status store__drain_all(struct store *s, struct err *err) WARN_UNUSED;
void store__poke(struct store *s);
/* The two housekeeping threads: a sync that was promised within a second cannot wait for a drain. */
void store__keep_log(void *arg);
void store__keep_engine(void *arg);

/* absent.c */
void absent__deinit(struct store *s);
void absent__forget(struct store *s);
/* A get of the present found nothing in tables and engine. */
void absent__count(struct store *s, unsigned stripe);
/* By the housekeeping thread: true when there is more to do at once. */
bool absent__tick(struct store *s);
/* Certainly no version of the key is live. */
static inline bool absent_surely(const struct store *s, uint64_t hash)
{
    const struct filter *f = atomic_load_explicit(&s->absent.asked, memory_order_acquire);
    return f && !filter_may_have(f, hash);
}
/* By the leader, of a key that is put, before that is visible. */
static inline void absent_no_more(struct store *s, uint64_t hash)
{
    struct filter *f = atomic_load_explicit(&s->absent.adding, memory_order_relaxed);
    if (f && !filter_may_have(f, hash)) {
        filter_add(f, hash);
        atomic_fetch_add_explicit(&s->absent.added, 1, memory_order_relaxed);
    }
}

/* catalog.c */
enum status store__catalog_load(struct store *s, struct err *err) WARN_UNUSED;
/* Brings the maps up to date with an op of collection 1. Memory was made sure of by
 * catalog_reserve. */
void store__catalog_applied(struct store *s, const struct entry_op *op, struct version v);
struct collection *store__collection_by_id(struct store *s, uint32_t id);
enum status catalog_reserve(struct catalog *c, struct bytes entry_payload) WARN_UNUSED;
/* Another state's catalog takes over, by whoever leads: begin; for each row with an id part and then
 * store__catalog_applied; end, which drops what was not among the rows. */
void store__catalog_replace_begin(struct store *s);
/* A collection that is not the one of this id, name and life goes, so that there is room for it. */
void store__catalog_part(struct store *s, uint32_t id, struct bytes name, bool live);
void store__catalog_replace_end(struct store *s, uint32_t last_id);
/* For `n` ops whose ids reach up to `last_id`. catalog_unreserve: they will not come after all. */
enum status catalog_reserve_ops(struct catalog *c, size_t n, uint32_t last_id) WARN_UNUSED;
void catalog_unreserve(struct catalog *c, size_t n);

/* recover.c */
/* Opens the log, applies what is committed in it and makes the replica. */
enum status store__recover(struct store *s, struct err *err) WARN_UNUSED;

/* store.c */
/* dir/name, in `out`. */
enum status store__path(const struct store *s, const char *name, struct buf *out,
                        struct err *err) WARN_UNUSED;
/* The lock and the format file; makes the folder where the options allow. */
enum status store__take_folder(struct store *s, bool *ret_fresh, struct err *err) WARN_UNUSED;

/* format.c */
enum status store__format_check(struct store *s, bool *ret_fresh, struct err *err) WARN_UNUSED;
enum status store__format_write(struct store *s, struct err *err) WARN_UNUSED;
/* Does an entry that lies there count for nothing, since a state was installed over it? */
static inline bool store__is_void(const struct store *s, struct wal_pos pos)
{
    return wal_pos_cmp(pos, s->void_before) < 0;
}

/* The moment of a read of the present that took `at` before it took the view. */
static inline struct version view_present(const struct view *v, struct version at)
{
    return at.hlc < v->base_hlc ? (struct version){v->base_hlc, UINT32_MAX} : at;
}
static inline struct version store__at_or_now(struct store *s, struct version at)
{
    if (!version_is_none(at))
        return at;
    return (struct version){atomic_load_explicit(&s->visible_hlc, memory_order_acquire),
                            UINT32_MAX};
}
static inline uint32_t route_collection(struct bytes key)
{
    return ((uint32_t)key.data[0] << 24) | ((uint32_t)key.data[1] << 16) |
           ((uint32_t)key.data[2] << 8) | key.data[3];
}
static inline void route_put(uint8_t out[STORE_ROUTE_BYTES], uint32_t id)
{
    out[0] = (uint8_t)(id >> 24);
    out[1] = (uint8_t)(id >> 16);
    out[2] = (uint8_t)(id >> 8);
    out[3] = (uint8_t)id;
}
static inline bool route_is_catalog(struct bytes key)
{
    return key.len > STORE_ROUTE_BYTES && route_collection(key) == STORE_CATALOG_ID;
}

#endif
