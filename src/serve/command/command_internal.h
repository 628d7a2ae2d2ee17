/* command_internal.h - what the files of this module share. Read command.h first.
 *
 * Owns:     nothing. Promises: a check that fails names the field. Never: holds a lock.
 * Threads:  pure functions, but for what the store does.
 */
#ifndef VARVE_SERVE_COMMAND_INTERNAL_H
#define VARVE_SERVE_COMMAND_INTERNAL_H

#include "base/alloc.h"
#include "base/arena.h"
#include "base/assert.h"
#include "serve/command/command.h"

enum {
    /* against collections that are dropped or made while a write is on its way, and moments that a
     * vacuum overtakes */
    COMMAND_TRIES = 16
};

/* ---- check.c ---- */

enum status command__null(const char *what, struct err *err); /* INVALID_ARGUMENT */
/* INVALID_ARGUMENT (data NULL, empty, a control character or '/'), TOO_LARGE. */
enum status command__check_name(struct bytes name, const char *what, struct err *err) WARN_UNUSED;
/* Whether it is a name that only db->system may say; then PERMISSION_DENIED. */
static inline bool command__is_refused(const struct command_db *db, struct bytes name)
{
    return !db->system && name.len > 0 && name.data[0] == '_' && command_is_system(name);
}
/* Whether it is left out of lists for who may not say it, or need not. */
static inline bool command__is_hidden(const struct command_db *db, struct bytes name)
{
    return !db->system && bytes_has_prefix(name, BYTES_LIT(COMMAND_SYSTEM));
}
enum status command__refuse_system(const char *what, struct err *err);
enum status command__check_collection(const struct command_db *db, struct bytes name,
                                      const char *what, struct err *err) WARN_UNUSED;
enum status command__bad_key(struct bytes key, struct err *err);
static inline enum status command__check_key(struct bytes key, struct err *err)
{
    if (__builtin_expect(key.data && key.len > 0 && key.len <= STORE_KEY_MAX, 1))
        return ST_OK;
    return command__bad_key(key, err);
}
enum status command__check_bound(struct bytes b, const char *what, struct err *err) WARN_UNUSED;
enum status command__check_require(const struct command_require *r, struct err *err) WARN_UNUSED;
/* What is stored for a value as given: as it is, or the BSON of its JSON, which goes to `scratch`
 * (cleared). */
enum status command__check_value(struct command_value value, struct buf *scratch, uint8_t *ret_type,
                                 struct bytes *ret, struct err *err) WARN_UNUSED;
/* 0 for a ttl of 0. TOO_LARGE when it reaches past what a version's clock can hold. */
enum status command__expiry(uint64_t now_ms, uint64_t ttl_ms, uint64_t *ret_ms,
                            struct err *err) WARN_UNUSED;
/* `o` (may be NULL) as it is to be used: with a writer. */
enum status command__options(const struct command_db *db, const struct command_options *o,
                             struct command_options *ret, struct err *err) WARN_UNUSED;

/* ---- routing keys ---- */

enum { ROUTE_SMALL = 512 };
struct route {
    struct bytes key;
    uint8_t *heap; /* NULL: it lies in `small` */
    uint8_t small[STORE_ROUTE_BYTES + ROUTE_SMALL];
};

static inline void command__put_id(uint8_t out[STORE_ROUTE_BYTES], uint32_t id)
{
    id = __builtin_bswap32(id);
    memcpy(out, &id, STORE_ROUTE_BYTES);
}

/* The key was checked. NO_MEMORY; otherwise route_deinit is due. */
static inline enum status route_init(struct route *r, uint32_t id, struct bytes key,
                                     struct err *err)
{
    uint8_t *p = r->small;
    r->heap = NULL;
    if (__builtin_expect(key.len > ROUTE_SMALL, 0)) {
        p = r->heap = mem_alloc(STORE_ROUTE_BYTES + key.len);
        if (!p)
            return err_set(err, ST_NO_MEMORY, "no memory for a key of %zu bytes", key.len);
    }
    command__put_id(p, id);
    memcpy(p + STORE_ROUTE_BYTES, key.data, key.len);
    r->key = BYTES(p, STORE_ROUTE_BYTES + key.len);
    return ST_OK;
}
static inline void route_deinit(struct route *r)
{
    mem_free(r->heap);
}
static inline struct bytes route_user(struct bytes key)
{
    return BYTES(key.data + STORE_ROUTE_BYTES, key.len - STORE_ROUTE_BYTES);
}

/* ---- the present of a cluster ---- */

/* A read of the present comes next. */
static inline enum status command__present(const struct command_db *db, struct err *err)
{
    if (__builtin_expect(!db->cluster || db->consistency == COMMAND_LOCAL, 1))
        return ST_OK;
    return store_barrier(db->store, COMMAND_BARRIER_MS, err);
}
/* A write was refused for what this node had not heard of yet, as that its collection was dropped:
 * what it finds after this counts. */
static inline enum status command__catch_up(const struct command_db *db, struct err *err)
{
    return db->cluster ? store_barrier(db->store, COMMAND_BARRIER_MS, err) : ST_OK;
}
/* A write found a name missing, which another node may have made. false: it may not look again. */
static inline bool command__look_again(const struct command_db *db, struct err *err,
                                       enum status *ret)
{
    *ret = command__catch_up(db, err);
    return db->cluster && *ret == ST_OK;
}

/* ---- request.c ---- */

struct request_digest {
    uint64_t h[2];
};
void request_begin(struct request_digest *d);
/* One op, without its key and expiry; one requirement, without its key. In a fixed order. */
void request_add_op(struct request_digest *d, struct bytes collection, struct bytes key,
                    const struct entry_op *op, uint64_t ttl_ms);
void request_add_require(struct request_digest *d, struct bytes collection, struct bytes key,
                         const struct store_require *r);
/* The op that an entry carries for it. The id was checked. */
void request_end(const struct command_db *db, const struct request_digest *d, struct bytes id,
                 struct store_request *ret);

/* ---- read.c ---- */

/* The id that a collection has (had, at a fixed moment). NOT_FOUND; the name's own faults. */
enum status command__collection(const struct command_db *db, struct bytes name, struct version at,
                                uint32_t *ret_id, struct err *err) WARN_UNUSED;
/* One record at a fixed moment. */
enum status command__read(const struct command_db *db, struct bytes collection, struct bytes key,
                          struct version at, struct buf *buf, struct record *ret,
                          struct err *err) WARN_UNUSED;

/* ---- scan.c ---- */

struct bounds {
    struct buf lower, upper; /* routing keys */
    bool empty;
};
void bounds_deinit(struct bounds *b); /* takes a zeroed one */
enum status command__check_scan(const struct command_db *db, const struct command_scan *c,
                                struct err *err) WARN_UNUSED;
/* `b` is zeroed; bounds_deinit is due whatever it answers. Of `after` (len 0: none) only what lies
 * behind it is left. */
enum status bounds_make(const struct command_scan_options *o, struct bytes after, uint32_t id,
                        struct bounds *b, struct err *err) WARN_UNUSED;

/* ---- page.c ---- */

struct page_limits {
    uint32_t rows;
    size_t bytes;
};
enum status command__limits(const struct command_page *p, struct page_limits *ret,
                            struct err *err) WARN_UNUSED;
static inline size_t row_bytes(const struct command_row *row)
{
    return row->key.len + row->rec.value.len + row->rec.writer.len + row->token.len;
}

#endif
