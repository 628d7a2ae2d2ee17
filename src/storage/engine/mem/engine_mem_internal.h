/* engine_mem_internal.h - the parts of the `mem` engine among themselves. States and rows never
 * change once shared. */
#ifndef VARVE_STORAGE_ENGINE_MEM_ENGINE_MEM_INTERNAL_H
#define VARVE_STORAGE_ENGINE_MEM_ENGINE_MEM_INTERNAL_H

#include "base/env/thread.h"
#include "storage/engine/engine_write.h"

#include <stddef.h>

struct mem_row {
    _Atomic uint64_t refs;
    size_t key_len, value_len;
    uint8_t data[]; /* key, value */
};
static inline struct bytes mem_row_key(const struct mem_row *r)
{
    return (struct bytes){r->data, r->key_len};
}
static inline struct bytes mem_row_value(const struct mem_row *r)
{
    return (struct bytes){r->data + r->key_len, r->value_len};
}

/* Rows in the order of their keys, in runs that states share: a commit copies only those runs in
 * which something changes. */
enum { MEM_RUN = 64 };
struct mem_run {
    _Atomic uint64_t refs;
    size_t n; /* > 0 */
    struct mem_row *row[MEM_RUN];
};
struct mem_rows {
    struct mem_run **run;
    size_t n_runs, cap, n; /* n: rows in all */
};
struct mem_at { /* the end: {n_runs, 0} */
    size_t run, i;
};
static inline struct mem_row *mem_row_at(const struct mem_rows *l, struct mem_at at)
{
    return l->run[at.run]->row[at.i];
}
static inline bool mem_at_before(struct mem_at a, struct mem_at b)
{
    return a.run != b.run ? a.run < b.run : a.i < b.i;
}
static inline struct mem_at mem_at_end(const struct mem_rows *l)
{
    return (struct mem_at){l->n_runs, 0};
}

/* What a commit puts and removes: rows of one family, in key order. */
struct mem_change {
    struct mem_row **row;
    size_t n, cap;
    struct buf removes; /* one byte a row: 1 = remove it */
};

/* A state is a view with its rows, shared by count; what the contract calls a snapshot. */
struct engine_snapshot {
    struct engine_view view;
    _Atomic uint64_t refs;
    struct mem_rows rows[ENGINE_FAMILIES];
    struct engine_mark_row *marks, *halves;
    uint32_t changes; /* files beside the whole one, when it was written */
};

_Static_assert(offsetof(struct engine_snapshot, view) == 0, "engine_snapshot_view asks for it");

/* Which file: the whole state of an epoch (change 0), or the nth change after it. */
struct mem_file_id {
    uint64_t epoch;
    uint32_t change;
};
struct mem_files {
    struct mem_file_id last;          /* the last one written */
    size_t whole_bytes, change_bytes; /* of the whole one, of all changes after it */
};

struct mem_engine {
    struct engine base;
    struct env *env;
    char *path, *dir; /* DIR/mem.dump, DIR */
    bool read_only;
    struct mem_files files; /* whoever commits */
    bool whole_next; /* a write failed, or there is nothing yet: what lies there is not built on */
    struct env_mutex lock; /* `current` */
    struct engine_snapshot *current;
};

struct mem_row *mem__row_new(struct bytes key,
                             struct bytes value); /* NULL: no memory; one reference */
struct mem_row *mem__row_ref(struct mem_row *r);
void mem__row_unref(struct mem_row *r);
void mem__rows_deinit(struct mem_rows *l);
/* The first row with a key >= `key`. */
struct mem_at mem__rows_find(const struct mem_rows *l, struct bytes key);
/* `old` with the change. *ret is to be deinitialised, also on failure. */
enum status mem__rows_merge(const struct mem_rows *old, const struct mem_change *change,
                            struct mem_rows *ret) WARN_UNUSED;
/* Takes over the reference, also on failure. */
enum status mem__change_add(struct mem_change *c, struct mem_row *r, bool remove) WARN_UNUSED;
void mem__change_clear(struct mem_change *c);
void mem__change_deinit(struct mem_change *c);

struct engine_snapshot *mem__state_new(void); /* NULL: no memory */
struct engine_snapshot *mem__state_ref(struct engine_snapshot *s);
void mem__state_unref(struct engine_snapshot *s);
/* Once its rows are there: reads marks and the rest out of them. */
enum status mem__state_finish(struct engine_snapshot *s, struct err *err) WARN_UNUSED;
struct engine_snapshot *mem__current(struct mem_engine *e); /* with a reference */

struct engine_sink *mem__sink_new(struct mem_engine *e); /* NULL: no memory */
void mem__sink_free(struct engine_sink *s);

/* The whole state to PATH; `about`: how long it will be, as far as that is known. */
enum status mem__dump(struct env *env, const char *path, struct mem_file_id id,
                      const struct engine_snapshot *s, size_t about, size_t *ret_bytes,
                      struct err *err) WARN_UNUSED;
/* What a commit changed (each family's part) to DIR/mem.N. */
enum status mem__dump_change(struct env *env, const char *dir, struct mem_file_id id,
                             const struct mem_change *given, size_t *ret_bytes,
                             struct err *err) WARN_UNUSED;
/* Removes changes that a newer whole state made void. One that stays is void all the same: its epoch is
 * over. */
void mem__forget_changes(struct env *env, const char *dir);
/* The whole state and the changes after it; `s` is new. */
enum status mem__load(struct env *env, const char *path, const char *dir, struct engine_snapshot *s,
                      struct mem_files *ret, struct err *err) WARN_UNUSED;

/* Writes `s` whole as the first of a new epoch. */
enum status mem__write_whole(struct mem_engine *e, const struct engine_snapshot *s,
                             struct err *err) WARN_UNUSED;

#endif
