/* table.h - the ordered in-memory table that takes every write, several versions of a key beside
 *           one another.
 *
 * A skip list of keys with a hash index beside it; each key holds its versions newest first.
 * Versions are immutable once linked and carry jump pointers (Myers, "An applicative random-access
 * stack", 1983), so that finding the newest version at or below t takes O(log n) steps also with a
 * million versions of one key. Besides, every version is kept in the order it was put, which is
 * what the engine's `when` rows and the change feed read.
 *
 * Owns:     its memory, and a reference to each blob it was given. Shared by reference count.
 * Promises: readers need no lock and see whole versions only; keys and records read from it live as
 *           long as the table. The version put is above all versions of that key already in the
 *           table, and not below any version put before (the caller's duty, asserted).
 * Never:    removes anything; sees an engine. `parent` of a key's oldest version in the table is
 *           none: what it supersedes lies in an older table or the engine, and whoever merges
 *           knows.
 * Threads:  one writer at a time, any number of readers beside it.
 */
#ifndef VARVE_STORAGE_TABLE_TABLE_H
#define VARVE_STORAGE_TABLE_TABLE_H

#include "base/arena.h"
#include "base/blob.h"
#include "base/env/env.h"
#include "storage/record.h"

struct table;
struct table_key;   /* a key's node */
struct table_entry; /* one version */
struct table_iter;

struct table *table_new(void); /* NULL: no memory; one reference */

/* Pages that tables gave back, for the next ones: fresh ones are zeroed by the system while the writer
 * waits, and in a virtual machine may have to be found by its host first (5 ms for 2 MiB were seen).
 * From any thread. */
struct table_pages;
struct table_pages *table_pages_new(size_t max_bytes); /* keeps that much; NULL: no memory */
struct table_pages *table_pages_ref(struct table_pages *p);
void table_pages_unref(struct table_pages *p);         /* takes NULL */
void table_pages_trim(struct table_pages *p);          /* to the system with what is kept */
size_t table_pages_bytes(const struct table_pages *p); /* kept now */
struct table *table_new_on(struct table_pages *p);     /* the table holds a reference; takes NULL */
struct table *table_ref(struct table *t);
void table_unref(struct table *t); /* takes NULL */

/* Tables upon one another, the newest on top, each wholly older than the one upon it: `t` takes a
 * reference to the one below (NULL: none). Once, before readers are shown that there is one below. */
void table_put_on(struct table *t, struct table *below);
struct table *table_below(const struct table *t); /* NULL: none */

/* A copy of a table that takes no more puts, packed in key order in a file, which the system reads and
 * drops as it needs the memory; what stays in memory is the index, some 17 bytes a key. The file is
 * made at `path`, loses its name at once and goes with the table. Where the world has no such memory,
 * or without a path, the copy lies in memory whole. The new table has none below it.
 * Errors: DISK_FULL, IO_ERROR, NO_MEMORY and others of env; nothing is left then. */
enum status table_spill(const struct table *t, struct env *env, const char *path,
                        struct table **ret, struct err *err) WARN_UNUSED;
bool table_spilled(const struct table *t);
/* Versions of a spilled table in the order of (version, key), which is its put order too, without a look
 * at where they lie: a walk along a list of its own. */
struct table_brief {
    struct version version;
    struct bytes key; /* borrowed until the next step */
    uint8_t kind;
};
struct table_reading { /* what was read last of a spilled table */
    uint8_t *mem;
    size_t cap, at, len; /* `len` bytes of the file from `at` on */
};
struct table_briefs {
    const struct table *t;
    size_t at, pieces; /* still to be read */
    struct table_reading read;
};
void table_briefs_init(struct table_briefs *b, const struct table *t);
void table_briefs_deinit(struct table_briefs *b);
/* *ret_any false: there is no further one. Errors: CORRUPT (it is not as it was written), IO_ERROR,
 * NO_MEMORY. */
enum status table_briefs_next(struct table_briefs *b, bool *ret_any, struct table_brief *ret,
                              struct err *err) WARN_UNUSED;
/* Which one of them this version of a spilled table is. */
uint32_t table_entry_rank(const struct table_entry *e);

/* Up through all keys of a table that takes no more puts, for who drains it: from a spilled one is read
 * by calls, once, and only what is as it was written is given out. Stands on a key, or at the end
 * (table_walk_valid). table_walk_take gives the newest version of that key, which leads to the others,
 * and goes on to the next; those of a spilled table are copies in the arena, of others the table's own.
 * Errors: CORRUPT, IO_ERROR, NO_MEMORY; then it is only to be deinited. */
struct table_walk {
    const struct table *t;
    const struct table_key *node; /* where readers see it; NULL: the end */
    size_t pieces;                /* still to be read */
    struct table_reading read;
};
enum status table_walk_first(struct table_walk *w, const struct table *t,
                             struct err *err) WARN_UNUSED;
void table_walk_deinit(struct table_walk *w);
static inline bool table_walk_valid(const struct table_walk *w)
{
    return w->node != NULL;
}
struct bytes table_walk_key(const struct table_walk *w); /* borrowed until the next step */
enum status table_walk_take(struct table_walk *w, struct arena *arena,
                            const struct table_entry **ret, struct err *err) WARN_UNUSED;
void table_walk_ahead(const struct table_walk *w); /* what comes next is wanted soon; only faster */

/* Adds a version. Key, writer and value are copied, but a value above RECORD_BY_REF bytes with a
 * non-NULL `owner` is kept by reference: it must lie inside owner->data. `rec->parent` is ignored:
 * the previous version in the table is the parent. On NO_MEMORY nothing changed. */
enum status table_put(struct table *t, struct bytes key, const struct record *rec,
                      struct blob *owner) WARN_UNUSED;
/* n puts that share one call: the keys are given in any order; sorted is fastest. All or nothing on
 * NO_MEMORY: entries become visible to readers one by one, but memory for all is taken first. */
struct table_item {
    struct bytes key;
    struct record rec;
};
enum status table_put_many(struct table *t, const struct table_item *items, size_t n,
                           struct blob *owner) WARN_UNUSED;

/* Takes the memory that puts of n versions in all will need, with keys, writers and values kept by
 * copy of `bytes` bytes in all, in whatever calls they come: until then none of them answers
 * NO_MEMORY. For a writer that must not fail once its log entry is written. */
enum status table_reserve(struct table *t, size_t n, size_t bytes) WARN_UNUSED;

size_t table_bytes(const struct table *t);          /* memory used, blobs included */
uint64_t table_keys(const struct table *t);         /* distinct keys */
uint64_t table_count(const struct table *t);        /* versions */
struct version table_newest(const struct table *t); /* the highest version put; none when empty */

/* The newest version of the key at or below `at`. false: none in this table. Deletes are found too
 * (rec->kind). */
bool table_get(const struct table *t, struct bytes key, struct version at, struct record *ret);

/* Walks keys in order. A new iterator stands nowhere; seek first. Sees keys put while it runs, or
 * not. */
struct table_iter {
    const struct table *t;
    const struct table_key *node;
};
void table_iter_init(struct table_iter *it, const struct table *t);
bool table_iter_seek(struct table_iter *it, struct bytes key);        /* first key >= `key` */
bool table_iter_seek_before(struct table_iter *it, struct bytes key); /* last key < `key` */
bool table_iter_first(struct table_iter *it);
bool table_iter_last(struct table_iter *it);
bool table_iter_next(struct table_iter *it);
bool table_iter_prev(struct table_iter *it); /* O(log n) */
bool table_iter_valid(const struct table_iter *it);
struct bytes table_iter_key(const struct table_iter *it);
/* The newest version of the current key at or below `at`; NULL: none. */
const struct table_entry *table_iter_find(const struct table_iter *it, struct version at);
const struct table_entry *table_find(const struct table *t, struct bytes key, struct version at);
/* The next older version of the same key in this table; NULL: none. */
const struct table_entry *table_entry_older(const struct table_entry *e);
void table_entry_record(const struct table_entry *e,
                        struct record *ret); /* borrowed from the table */
struct bytes table_entry_key(const struct table_entry *e);

/* Versions in the order they were put: 0 .. table_count-1. NULL past the end. Reading beside the
 * writer is safe. */
const struct table_entry *table_entry_nth(const struct table *t, uint64_t n);
/* The first n whose version is above `after` (versions rise in put order); table_count when none.
 */
uint64_t table_entry_after(const struct table *t, struct version after);

#endif
