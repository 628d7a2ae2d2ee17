/* engine_view.h - what an engine offers of its rows, and the reading that is the same for all
 * engines.
 *
 * An engine gives a view (one consistent state of the three families) with cursors and point reads;
 * get, scan, history, changes, export and verify are written once over it.
 *
 * Half drains. A drain that was cut short leaves when rows, and maybe past rows, above its range's
 * mark; `live` and the mark always change together, last. A past row is such a leftover when its
 * key has no live row and a when row above its range's mark names it, or when it is not below its
 * key's live version. Readers skip both. Views list the ranges that have rows above their mark
 * (normally none), so the check costs nothing in peace.
 *
 * Owns:     cursors belong to whoever opened them. Promises: readers see nothing above the marks.
 * Never:    writes. Threads: a view is for any thread; a cursor or iterator for one.
 */
#ifndef VARVE_STORAGE_ENGINE_ENGINE_VIEW_H
#define VARVE_STORAGE_ENGINE_ENGINE_VIEW_H

#include "storage/engine/engine_rows.h"

/* A place in one family. Moving sets valid, key and value (borrowed until the next move). */
struct engine_cursor {
    const struct engine_cursor_ops *ops;
    bool valid;
    struct bytes key, value;
};
struct engine_cursor_ops {
    /* OK with valid = false at the end. Errors: CORRUPT, IO_ERROR, TIMED_OUT (cache only). */
    enum status (*seek)(struct engine_cursor *c, struct bytes key,
                        struct err *err); /* first row >= key */
    enum status (*seek_before)(struct engine_cursor *c, struct bytes key,
                               struct err *err); /* last < key; "": last */
    enum status (*next)(struct engine_cursor *c, struct err *err);
    enum status (*prev)(struct engine_cursor *c, struct err *err);
    void (*close)(struct engine_cursor *c);
};
static inline void engine_cursor_close(struct engine_cursor *c)
{
    if (c)
        c->ops->close(c);
}

/* Live rows of many keys, for a drain. */
struct engine_lookup {
    const struct engine_lookup_ops *ops;
};
enum { ENGINE_LOOKUP_MAX = 256 };
struct engine_lookup_ops {
    /* Of the next *ret_n keys, 1 to ENGINE_LOOKUP_MAX of them, in ret[0] onwards. ret[i].data == NULL:
     * absent. Values are borrowed until the next call. Not called once all keys are answered, nor
     * after an error. */
    enum status (*rows)(struct engine_lookup *l, struct bytes *ret, size_t *ret_n, struct err *err);
    void (*close)(struct engine_lookup *l);
};

enum engine_cursor_flags {
    ENGINE_CACHE_ONLY = 1,
    ENGINE_ONE_KEY = 2, /* past only: after a seek, rows of other routing keys need not come */
    ENGINE_BULK = 4,    /* a long walk: checksums are verified, caches are left alone */
};

struct engine_view {
    const struct engine_view_ops *ops;
    const struct engine_mark_row *marks; /* ascending ranges */
    size_t n_marks;
    const struct engine_mark_row
        *halves; /* ranges with rows above their mark; mark zero where there is none */
    size_t n_halves;
    uint64_t rows[ENGINE_FAMILIES]; /* estimates, or engine_view_counts */
    bool deletes;                   /* a key without a live row may have versions */
};
struct engine_view_ops {
    /* `in` bounds the rows seen, in the family's own keys; NULL: all. Its bytes must outlive the
     * cursor. */
    enum status (*cursor)(struct engine_view *v, enum engine_family f, unsigned flags,
                          const struct engine_interval *in, struct engine_cursor **ret,
                          struct err *err);
    /* NOT_FOUND; the row's bytes live until the pin is released. */
    enum status (*row)(struct engine_view *v, enum engine_family f, struct bytes key,
                       unsigned flags, struct bytes *ret, struct engine_pin *ret_pin,
                       struct err *err);
    /* Ascending keys, which stay where they are until the lookup is closed: it may be ahead of what
     * it was asked for. They are a part of `all` that will be asked for in turn, n at least. */
    enum status (*lookup)(struct engine_view *v, const struct bytes *keys, size_t n, uint64_t all,
                          struct engine_lookup **ret, struct err *err);
};

/* The range's mark; NULL when it has none. */
const struct engine_mark_row *engine_view_mark(const struct engine_view *v, uint64_t range);
/* The rows of all ranges together; not known when one of them does not know. */
struct engine_counts engine_view_counts(const struct engine_view *v);
/* Reads the marks (ascending) and which ranges are half drained, for an engine that builds a view;
 * both with mem_free. v->marks and v->halves are what it is to find, so they may still be unset.
 * Errors: CORRUPT, IO_ERROR, NO_MEMORY. */
enum status engine_view_load(struct engine_view *v, struct engine_mark_row **ret_marks,
                             size_t *ret_n, struct engine_mark_row **ret_halves,
                             size_t *ret_n_halves, struct err *err) WARN_UNUSED;

/* Is this past row of a key without a live row the leftover of a half drain or ingest? A floor
 * (version none) is one when its key has no version that counts. Asks nothing while no range is
 * half drained. */
enum status engine_view_leftover(struct engine_view *v, struct bytes key, struct version version,
                                 bool *ret, struct err *err) WARN_UNUSED;
/* The version of the key's live row; none when there is no such row. */
enum status engine_view_live_version(struct engine_view *v, struct bytes key, struct version *ret,
                                     struct err *err) WARN_UNUSED;
/* The newest past version of a key without a live row, through a cursor opened with ENGINE_ONE_KEY;
 * `scratch` is for the row key. *ret none: there is none. */
enum status engine_view_newest_past(struct engine_view *v, struct engine_cursor *past,
                                    struct bytes key, struct buf *scratch, struct version *ret,
                                    struct err *err) WARN_UNUSED;

/* As in engine_ops. */
enum status engine_view_get(struct engine_view *v, struct bytes key, struct version at,
                            bool cache_only, struct record *ret, struct engine_pin *ret_pin,
                            struct err *err) WARN_UNUSED;
enum status engine_view_scan(struct engine_view *v, const struct engine_scan *q,
                             struct engine_iter **ret, struct err *err) WARN_UNUSED;
enum status engine_view_history(struct engine_view *v, struct bytes key, struct version from,
                                struct engine_iter **ret, struct err *err) WARN_UNUSED;
enum status engine_view_changes(struct engine_view *v, uint64_t range, struct version after,
                                struct bytes after_key, struct engine_iter **ret,
                                struct err *err) WARN_UNUSED;
/* When rows first (their keys without the range), then past, then live, each in key order. */
enum status engine_view_export_open(struct engine_view *v, uint64_t range,
                                    const struct engine_interval *in, struct engine_export **ret,
                                    struct err *err) WARN_UNUSED;
enum status engine_view_export(struct engine_view *v, uint64_t range,
                               const struct engine_interval *in, engine_export_fn fn, void *arg,
                               struct err *err) WARN_UNUSED;

/* Along past rows in order of key: does each belong to the state, or is it a leftover? Zeroed at the
 * start. */
struct engine_past_walk {
    bool any;
    struct buf prefix, key; /* of the row looked at last; `key` is its routing key */
    struct version live;
};
enum status engine_past_counts(struct engine_view *v, struct engine_past_walk *w,
                               const struct engine_cursor *c, bool *ret,
                               struct err *err) WARN_UNUSED;
void engine_past_walk_deinit(struct engine_past_walk *w);
/* An interval in keys of past. NO_MEMORY. */
enum status engine_past_bounds(const struct engine_interval *in, struct buf *lower,
                               struct buf *upper) WARN_UNUSED;

/* The same as operations of an engine whose engine_snapshot begins with its view. */
static inline struct engine_view *engine_snapshot_view(struct engine_snapshot *s)
{
    return (struct engine_view *)(void *)s;
}
enum status engine_snapshot_get(struct engine *e, struct engine_snapshot *s, struct bytes key,
                                struct version at, bool cache_only, struct record *ret,
                                struct engine_pin *ret_pin, struct err *err) WARN_UNUSED;
enum status engine_snapshot_scan(struct engine *e, struct engine_snapshot *s,
                                 const struct engine_scan *q, struct engine_iter **ret,
                                 struct err *err) WARN_UNUSED;
enum status engine_snapshot_history(struct engine *e, struct engine_snapshot *s, struct bytes key,
                                    struct version from, struct engine_iter **ret,
                                    struct err *err) WARN_UNUSED;
enum status engine_snapshot_changes(struct engine *e, struct engine_snapshot *s, uint64_t range,
                                    struct version after, struct bytes after_key,
                                    struct engine_iter **ret, struct err *err) WARN_UNUSED;
enum status engine_snapshot_export_open(struct engine *e, struct engine_snapshot *s, uint64_t range,
                                        const struct engine_interval *in,
                                        struct engine_export **ret, struct err *err) WARN_UNUSED;
enum status engine_snapshot_export(struct engine *e, struct engine_snapshot *s, uint64_t range,
                                   const struct engine_interval *in, engine_export_fn fn, void *arg,
                                   struct err *err) WARN_UNUSED;

struct engine_verify {
    uint64_t range;
    void (*report)(void *arg, const struct engine_finding *f);
    bool (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    uint64_t total;    /* rows, an estimate */
    uint64_t findings; /* counted up */
    uint64_t done;     /* counted up */
};
/* Whether the rows fit each other, of all ranges, with every row of all families read once and none
 * looked up: *ret false says that engine_view_verify must judge, not that there is a finding. Errors
 * as there; rows that cannot be read are no error. */
enum status engine_view_sound(struct engine_view *v, struct engine_verify *q, bool *ret,
                              struct err *err) WARN_UNUSED;
/* The rows against each other: live and past of all keys, when of the range. Answers OK also with
 * findings; errors only where it could not go on: CANCELLED, NO_MEMORY, IO_ERROR. */
enum status engine_view_verify(struct engine_view *v, struct engine_verify *q,
                               struct err *err) WARN_UNUSED;
void engine_verify_finding(struct engine_verify *q, const char *file, uint64_t offset,
                           const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif
