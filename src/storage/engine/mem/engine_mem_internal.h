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

struct mem_rows {
    struct mem_row **list;
    size_t n, cap;
};

/* A state is a view with its rows, shared by count; what the contract calls a snapshot. */
struct engine_snapshot {
    struct engine_view view;
    _Atomic uint64_t refs;
    struct mem_rows rows[ENGINE_FAMILIES];
    struct engine_mark_row *marks, *halves;
};

_Static_assert(offsetof(struct engine_snapshot, view) == 0, "engine_snapshot_view asks for it");

struct mem_engine {
    struct engine base;
    struct env *env;
    char *path, *dir; /* DIR/mem.dump, DIR */
    bool read_only;
    struct env_mutex lock; /* `current` */
    struct engine_snapshot *current;
};

struct mem_row *mem__row_new(struct bytes key,
                             struct bytes value); /* NULL: no memory; one reference */
struct mem_row *mem__row_ref(struct mem_row *r);
void mem__row_unref(struct mem_row *r);
/* Takes over the reference, also on failure. */
enum status mem__rows_add(struct mem_rows *l, struct mem_row *r) WARN_UNUSED;
void mem__rows_deinit(struct mem_rows *l);
/* The first row with a key >= `key`. */
size_t mem__rows_find(const struct mem_rows *l, struct bytes key);

struct engine_snapshot *mem__state_new(void); /* NULL: no memory */
struct engine_snapshot *mem__state_ref(struct engine_snapshot *s);
void mem__state_unref(struct engine_snapshot *s);
/* Once its rows are there: reads marks and the rest out of them. */
enum status mem__state_finish(struct engine_snapshot *s, struct err *err) WARN_UNUSED;
struct engine_snapshot *mem__current(struct mem_engine *e); /* with a reference */

struct engine_sink *mem__sink_new(struct mem_engine *e); /* NULL: no memory */
void mem__sink_free(struct engine_sink *s);

enum status mem__dump(struct env *env, const char *path, const struct engine_snapshot *s,
                      struct err *err) WARN_UNUSED;
enum status mem__load(struct env *env, const char *path, struct engine_snapshot *s,
                      struct err *err) WARN_UNUSED;

#endif
