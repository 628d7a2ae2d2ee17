/* embed_internal.h - what the files of the library share. Read include/varve/varve.h first.
 *
 * Owns:     the handle: a store and the name its writes carry.
 * Promises: public calls check their arguments, pass the thread's own error context down, and turn
 * the answer into the public status, whose numbers are the same. Never:    touches error text on
 * success; holds a lock. Threads:  a handle is for any; iterators, batches and values belong to one
 * thread at a time.
 */
#ifndef VARVE_APPS_EMBED_INTERNAL_H
#define VARVE_APPS_EMBED_INTERNAL_H

#include "base/alloc.h"
#include "base/arena.h"
#include "base/assert.h"
#include "model/doc/doc.h"
#include "node/feed/feed.h"
#include "node/store/store.h"
#include "varve/varve.h"

struct varve {
    struct env *env;
    struct store *store;
    struct bytes writer; /* ours */
    _Atomic int open;    /* iterators and watchers; none may be left at varve_close */
};

/* Two buffers: a read fills the one that is not shown, so that a failed read leaves the value as it
 * was. */
struct varve_value {
    struct buf bufs[2];
    unsigned shown;
    struct record rec;
    struct buf json;
};

/* ---- error.c ---- */

struct err *embed__err(void); /* this thread's */
varve_status embed__failed(enum status st);
static inline varve_status embed__done(enum status st)
{
    return __builtin_expect(st == ST_OK, 1) ? VARVE_OK : embed__failed(st);
}
enum status embed__null(const char *what, struct err *err); /* INVALID_ARGUMENT */

/* ---- options.c: arguments ---- */

/* Copies a public structure that begins with its size; what the caller's header did not know yet
 * stays zero, and what ours does not know must be zero. `src` may be NULL. INVALID_ARGUMENT. */
enum status embed__sized(void *dst, size_t size, const void *src, const char *what,
                         struct err *err) WARN_UNUSED;
/* INVALID_ARGUMENT (missing, empty, a control character or '/'), TOO_LARGE. */
enum status embed__check_name(const char *name, const char *what, struct err *err) WARN_UNUSED;
enum status embed__check_key(const void *key, size_t len, struct err *err) WARN_UNUSED;
enum status embed__check_sync(varve_sync sync, const char *what, struct err *err) WARN_UNUSED;
enum status embed__check_writer(const char *writer, struct bytes *ret,
                                struct err *err) WARN_UNUSED; /* not NULL */
/* What is stored for a value as given: as it is, or the BSON of its JSON, which goes to `scratch`
 * (cleared). */
enum status embed__check_value(varve_type type, const void *data, size_t len, struct buf *scratch,
                               uint8_t *ret_type, struct bytes *ret, struct err *err) WARN_UNUSED;
/* 0 for a ttl of 0. TOO_LARGE when it reaches past what a version's clock can hold. */
enum status embed__expiry(struct varve *db, uint64_t ttl_ms, uint64_t *ret_ms,
                          struct err *err) WARN_UNUSED;
enum { EMBED_TIME_BITS = 48 };

/* ---- routing keys ---- */

enum { ROUTE_SMALL = 512 };
struct route {
    struct bytes key;
    uint8_t *heap; /* NULL: it lies in `small` */
    uint8_t small[STORE_ROUTE_BYTES + ROUTE_SMALL];
};

static inline void embed__put_id(uint8_t out[STORE_ROUTE_BYTES], uint32_t id)
{
    id = __builtin_bswap32(id);
    memcpy(out, &id, STORE_ROUTE_BYTES);
}

/* The key was checked. NO_MEMORY; otherwise route_deinit is due. */
static inline enum status route_init(struct route *r, uint32_t id, const void *key, size_t len,
                                     struct err *err)
{
    uint8_t *p = r->small;
    r->heap = NULL;
    if (__builtin_expect(len > ROUTE_SMALL, 0)) {
        p = r->heap = mem_alloc(STORE_ROUTE_BYTES + len);
        if (!p)
            return err_set(err, ST_NO_MEMORY, "no memory for a key of %zu bytes", len);
    }
    embed__put_id(p, id);
    memcpy(p + STORE_ROUTE_BYTES, key, len);
    r->key = BYTES(p, STORE_ROUTE_BYTES + len);
    return ST_OK;
}
static inline void route_deinit(struct route *r)
{
    mem_free(r->heap);
}

/* ---- read.c ---- */

static inline struct version embed__version(varve_version v)
{
    return (struct version){v.hlc, v.origin};
}
/* Callers may hand what they get to memcpy, which wants no NULL even for nothing. */
static inline varve_bytes embed__bytes(struct bytes b)
{
    return (varve_bytes){b.data ? b.data : (const uint8_t *)"", b.len};
}
static inline varve_version embed__public(struct version v)
{
    return (varve_version){v.hlc, v.origin};
}

/* The moment that `at` (may be NULL) names, fixed so that reads at it repeat; none = the present.
 * INVALID_ARGUMENT, NOT_FOUND (snapshot), FUTURE_TIME. */
enum status embed__moment(struct varve *db, const varve_at *at, struct version *ret,
                          struct err *err) WARN_UNUSED;
/* The id that a collection has (had, at a moment). NOT_FOUND; the name's own faults. */
enum status embed__collection(struct varve *db, const char *name, struct version at,
                              uint32_t *ret_id, struct err *err) WARN_UNUSED;
/* store_get into a value, which changes on success only. */
enum status embed__read(struct varve *db, struct bytes route, struct version at,
                        struct varve_value *v, struct err *err) WARN_UNUSED;
/* Both of the above for one key. */
enum status embed__read_key(struct varve *db, const char *collection, const void *key,
                            size_t key_len, struct version at, struct varve_value *v,
                            struct err *err) WARN_UNUSED;

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

/* ---- write.c ---- */

enum {
    WRITE_TRIES = 16
}; /* against collections that are dropped or made while a write is on its way */

struct write_settings {
    struct bytes writer;
    enum store_sync sync;
    uint64_t ttl_ms;
};
enum status embed__settings(struct varve *db, const varve_write_options *o,
                            struct write_settings *ret, struct err *err) WARN_UNUSED;

#endif
