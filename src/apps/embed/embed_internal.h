/* embed_internal.h - what the files of the library share. Read include/varve/varve.h first.
 *
 * Owns:     the handle: a store and the name its writes carry.
 * Promises: public calls turn public types into those of serve/command, pass the thread's own error
 * context down, and turn the answer into the public status, whose numbers are the same. Never:
 * touches error text on success; holds a lock; decides what a verb means. Threads:  a handle is for
 * any; iterators, batches and values belong to one thread at a time.
 */
#ifndef VARVE_APPS_EMBED_INTERNAL_H
#define VARVE_APPS_EMBED_INTERNAL_H

#include "base/alloc.h"
#include "base/assert.h"
#include "serve/command/command.h"
#include "varve/varve.h"

struct varve {
    struct command_db on;
    _Atomic int open; /* iterators and watchers; none may be left at varve_close */
};

/* Two buffers: a read fills the one that is not shown, so that a failed read leaves the value as it
 * was. */
struct varve_value {
    struct buf bufs[2];
    unsigned shown;
    bool lent; /* the buffer that is not shown, to a read of many */
    struct record rec;
    struct buf json;
};

/* ---- error.c ---- */

/* This thread's, to hand down. It may be written to by calls that go well. */
struct err *embed__err(void);
/* Makes what was written there the last error that the user sees. */
varve_status embed__failed(enum status st);
static inline varve_status embed__done(enum status st)
{
    return __builtin_expect(st == ST_OK, 1) ? VARVE_OK : embed__failed(st);
}
enum status embed__null(const char *what, struct err *err); /* INVALID_ARGUMENT */

/* ---- options.c ---- */

/* Copies a public structure that begins with its size; what the caller's header did not know yet
 * stays zero, and what ours does not know must be zero. `src` may be NULL. INVALID_ARGUMENT. */
enum status embed__sized(void *dst, size_t size, const void *src, const char *what,
                         struct err *err) WARN_UNUSED;
/* Of writes; `o` may be NULL. INVALID_ARGUMENT. */
enum status embed__options(const varve_write_options *o, struct command_options *ret,
                           struct err *err) WARN_UNUSED;

/* ---- public types and those below ---- */

static inline struct version embed__version(varve_version v)
{
    return (struct version){v.hlc, v.origin};
}
static inline varve_version embed__public(struct version v)
{
    return (varve_version){v.hlc, v.origin};
}
/* Callers may hand what they get to memcpy, which wants no NULL even for nothing. */
static inline varve_bytes embed__bytes(struct bytes b)
{
    return (varve_bytes){b.data ? b.data : (const uint8_t *)"", b.len};
}
/* NULL stays NULL: the verbs tell which name is missing. */
static inline struct bytes embed__name(const char *name)
{
    return name ? BYTES_STR(name) : (struct bytes){0};
}
static inline struct command_at embed__at(const varve_at *at)
{
    if (!at)
        return (struct command_at){0};
    return (struct command_at){.kind = (enum command_at_kind)at->kind,
                               .version = embed__version(at->version),
                               .time_ms = at->time_ms,
                               .snapshot = at->kind == VARVE_AT_SNAPSHOT ? embed__name(at->snapshot)
                                                                         : (struct bytes){0}};
}
static inline struct command_value embed__value(varve_type type, const void *data, size_t len)
{
    return (struct command_value){.type = (enum command_type)type, .data = BYTES(data, len)};
}

/* ---- scan.c ---- */

struct varve_iter {
    struct varve *db;
    struct store_iter *rows; /* one of these two, or neither: no rows */
    struct feed *feed;
    size_t skip; /* routing bytes before the key in rows->key */
    bool keys_only, has_row, ended;
    enum status failed;            /* answered again once it was answered */
    char name[STORE_NAME_MAX + 1]; /* the collection of all rows; empty where rows differ */
    const char *collection;
    struct bytes key;
    struct record rec;
};

struct varve_iter *embed__iter_new(struct varve *db, struct err *err);

#endif
