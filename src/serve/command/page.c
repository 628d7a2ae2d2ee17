/* page.c - reads that end after a page and go on at a token.
 *
 * 1. All pages of a scan read at the token's `at`, which is fixed: at or below what is visible, or
 *    passed through store_fix_moment. So they are one read, whatever is written between them.
 * 2. Expiry is judged at one clock time too: that of the first page, or of the moment that the
 *    request names. So rows are read with those that have expired, and passed over here.
 * 3. A token only narrows what the request beside it asks for. */
#include "base/hash.h"
#include "serve/command/command_internal.h"
#include "serve/command/page_token.h"

struct paging {
    const struct command_db *db;
    struct page_limits limits;
    command_row_fn row;
    void *arg;
    struct page_token t; /* where the page begins, then where the next one does */
    struct buf scratch;  /* of the token that came */
    struct buf place;    /* the key of `t`, once rows were looked at */
    uint64_t looked;
    bool fresh; /* there was no token */
    struct command_page_end end;
};

/* ---- the request that a token belongs to ---- */

static uint64_t mix_number(uint64_t hash, uint64_t v)
{
    uint8_t le[8];
    for (int i = 0; i < 8; i++)
        le[i] = (uint8_t)(v >> (8 * i));
    return hash_xxh64(le, sizeof(le), hash);
}

static uint64_t mix(uint64_t hash, struct bytes b)
{
    return hash_xxh64(b.len ? b.data : (const uint8_t *)"", b.len, mix_number(hash, b.len));
}

static uint64_t mix_at(uint64_t hash, const struct command_at *at)
{
    hash = mix_number(hash, at ? (uint64_t)at->kind : COMMAND_AT_NOW);
    if (!at || at->kind == COMMAND_AT_NOW)
        return hash;
    if (at->kind == COMMAND_AT_SNAPSHOT)
        return mix(hash, at->snapshot);
    if (at->kind == COMMAND_AT_TIME)
        return mix_number(hash, at->time_ms);
    return mix_number(mix_number(hash, at->version.hlc), at->version.origin);
}

static uint64_t scan_query(const struct command_scan *c)
{
    uint64_t hash = mix(mix(mix(mix(PAGE_SCAN, c->collection), c->options.prefix), c->options.from),
                        c->options.to);
    return mix_at(mix_number(mix_number(hash, c->options.reverse), c->options.limit), c->at);
}

static uint64_t history_query(const struct command_history *c)
{
    return mix_number(mix(mix(PAGE_HISTORY, c->collection), c->key), c->limit);
}

/* ---- beginning and end of a page ---- */

enum status command__limits(const struct command_page *p, struct page_limits *ret, struct err *err)
{
    if (p->max_rows > COMMAND_PAGE_ROWS_MAX)
        return err_set(err, ST_TOO_LARGE, "page.max_rows: %u is over the limit of %d",
                       (unsigned)p->max_rows, COMMAND_PAGE_ROWS_MAX);
    if (p->max_bytes > COMMAND_PAGE_BYTES_MAX)
        return err_set(err, ST_TOO_LARGE, "page.max_bytes: %zu is over the limit of %d (64 MiB)",
                       p->max_bytes, COMMAND_PAGE_BYTES_MAX);
    ret->rows = p->max_rows ? p->max_rows : COMMAND_PAGE_ROWS;
    ret->bytes = p->max_bytes ? p->max_bytes : COMMAND_PAGE_BYTES;
    return ST_OK;
}

static enum status begin(struct paging *p, const struct command_page *page, enum page_kind kind,
                         uint64_t query, uint64_t limit, struct err *err)
{
    enum status st = command__limits(page, &p->limits, err);
    if (st != ST_OK)
        return st;
    p->fresh = page->token.len == 0;
    if (p->fresh) {
        p->t = (struct page_token){.kind = kind, .query = query, .left = limit, .key = BYTES_EMPTY};
        return ST_OK;
    }
    st = page_token_decode(page->token, &p->scratch, &p->t, err);
    if (st == ST_OK && (p->t.kind != kind || p->t.query != query || (limit > 0) != (p->t.left > 0)))
        st = err_set(err, ST_INVALID_ARGUMENT,
                     "page.token: it is of another request; only the page's size may change");
    return st;
}

static void end(struct paging *p)
{
    buf_deinit(&p->scratch);
    buf_deinit(&p->place);
}

/* The page went well: tells the caller, all or nothing. */
static enum status hand_over(struct paging *p, struct command_page_end *ret, struct buf *ret_token,
                             struct err *err)
{
    if (p->end.more) {
        if (p->looked > 0)
            p->t.key = buf_bytes(&p->place);
        enum status st = page_token_encode(&p->t, ret_token);
        if (st != ST_OK)
            return err_set(err, st, "no memory for a token");
    } else {
        buf_clear(ret_token);
    }
    *ret = p->end;
    /* "All of a millisecond" or "all so far" ends with any region's last version; what is told is the
     * version alone, which sees as much while there is one region. */
    if (ret->at.origin == UINT32_MAX)
        ret->at.origin = 0;
    return ST_OK;
}

/* 1: the row was taken; 0: the page ends before it; < 0: minus a status. */
static int offer(struct paging *p, const struct command_row *row, struct err *err)
{
    size_t n = row_bytes(row);
    p->end.more =
        p->end.rows == p->limits.rows || (p->end.rows > 0 && n > p->limits.bytes - p->end.bytes);
    if (p->end.more)
        return 0;
    int rc = p->row(p->arg, row, err);
    if (rc <= 0) {
        p->end.more = rc == 0;
        return rc;
    }
    p->end.rows++;
    /* One row alone may be larger than all that a page may have. */
    p->end.bytes += n;
    if (p->end.bytes > p->limits.bytes)
        p->limits.bytes = p->end.bytes;
    return 1;
}

/* `key` and all before it are behind the page. */
static enum status pass(struct paging *p, struct bytes key, struct err *err)
{
    p->looked++;
    buf_clear(&p->place);
    if (buf_append(&p->place, key.data, key.len) == ST_OK)
        return ST_OK;
    return err_set(err, ST_NO_MEMORY, "no memory for a page");
}

/* A row was taken: false when it was the last that the request wants. */
static bool wants_more(struct paging *p)
{
    return p->t.left == 0 || --p->t.left > 0;
}

/* ---- moments ---- */

static struct version present(const struct command_db *db)
{
    return (struct version){store_visible(db->store).hlc, UINT32_MAX};
}

/* The moment of a token stands, unless it was forged or its writes were lost with an unsynced log. */
static enum status fix_again(struct paging *p, struct err *err)
{
    enum status st = ST_OK;
    if (p->t.at.hlc > store_visible(p->db->store).hlc)
        st = store_fix_moment(p->db->store, p->t.at, err);
    if (st == ST_FUTURE_TIME)
        st = err_set(err, ST_INVALID_ARGUMENT,
                     "page.token: it is of a moment that this folder has not seen");
    return st;
}

static enum status scan_moment(struct paging *p, const struct command_at *at, struct err *err)
{
    if (!p->fresh)
        return fix_again(p, err);
    enum status st = command_moment(p->db, at, &p->t.at, err);
    if (st != ST_OK)
        return st;
    p->t.at_ms = version_ms(p->t.at);
    if (version_is_none(p->t.at)) {
        p->t.at_ms = env_now_ms(p->db->env);
        p->t.at = present(p->db);
    }
    return ST_OK;
}

/* ---- scan ---- */

static enum status scan_rows(struct paging *p, const struct command_scan *c, struct store_iter *it,
                             struct err *err)
{
    struct store_row row;
    int rc;
    while ((rc = store_iter_next(it, &row, err)) > 0) {
        struct command_row out = {.collection = c->collection,
                                  .key = route_user(row.key),
                                  .rec = row.rec,
                                  .token = BYTES_EMPTY};
        if (p->looked == COMMAND_PAGE_LOOKED) {
            p->end.more = true;
            return ST_OK;
        }
        bool alive = record_alive(&row.rec, p->t.at_ms);
        if (c->options.keys_only)
            out.rec.value = BYTES_EMPTY;
        if (alive && (rc = offer(p, &out, err)) <= 0)
            break;
        enum status st = pass(p, out.key, err);
        if (st != ST_OK)
            return st;
        if (alive && !wants_more(p))
            return ST_OK;
    }
    return rc < 0 ? (enum status) - rc : ST_OK;
}

static enum status scan_once(struct paging *p, const struct command_scan *c, struct err *err)
{
    struct bounds b = {0};
    struct store_iter *it = NULL;
    uint32_t id;
    enum status st = command__collection(p->db, c->collection, p->t.at, &id, err);
    if (st == ST_NOT_FOUND)
        return ST_OK; /* no rows */
    if (st == ST_OK)
        st = bounds_make(&c->options, p->t.key, id, &b, err);
    struct store_scan q = {.in = {buf_bytes(&b.lower), buf_bytes(&b.upper)},
                           .at = p->t.at,
                           .reverse = c->options.reverse,
                           .keys_only = c->options.keys_only,
                           .with_expired = true};
    if (st == ST_OK && !b.empty)
        st = store_scan(p->db->store, &q, &it, err);
    if (st == ST_OK && it)
        st = scan_rows(p, c, it, err);
    store_iter_close(it);
    bounds_deinit(&b);
    return st;
}

enum status command_scan_page(const struct command_db *db, const struct command_scan *c,
                              const struct command_page *page, command_row_fn row, void *arg,
                              struct command_page_end *ret, struct buf *ret_token, struct err *err)
{
    struct paging p = {.db = db, .row = row, .arg = arg};
    bool now = !c->at || c->at->kind == COMMAND_AT_NOW;
    enum status st = command__check_scan(db, c, err);
    if (st == ST_OK)
        st = begin(&p, page, PAGE_SCAN, scan_query(c), c->options.limit, err);
    if (st == ST_OK)
        st = scan_moment(&p, c->at, err);
    if (st == ST_OK)
        st = scan_once(&p, c, err);
    /* A vacuum may have overtaken the present between its moment and its view: once its writes are
     * through, a later present is as good. */
    for (int i = 0; i < COMMAND_TRIES && st == ST_BELOW_HORIZON && p.fresh && now; i++) {
        if (p.looked > 0 || p.end.rows > 0)
            break;
        st = store_fix_moment(db->store, p.t.at, err);
        p.t.at = present(db);
        if (st == ST_OK)
            st = scan_once(&p, c, err);
    }
    p.end.at = p.t.at;
    if (st == ST_OK)
        st = hand_over(&p, ret, ret_token, err);
    end(&p);
    return st;
}

/* ---- history ---- */

static enum status history_rows(struct paging *p, const struct command_history *c,
                                struct store_iter *it, struct err *err)
{
    struct store_row row;
    struct version behind = p->t.below;
    int rc;
    while ((rc = store_iter_next(it, &row, err)) > 0) {
        struct command_row out = {.collection = c->collection,
                                  .key = route_user(row.key),
                                  .rec = row.rec,
                                  .token = BYTES_EMPTY};
        if (!version_is_none(behind) && version_cmp(row.rec.version, behind) >= 0)
            continue; /* the last page had it */
        if ((rc = offer(p, &out, err)) <= 0)
            break;
        p->t.below = row.rec.version;
        if (!wants_more(p))
            return ST_OK;
    }
    return rc < 0 ? (enum status) - rc : ST_OK;
}

static enum status history_once(struct paging *p, const struct command_history *c, struct err *err)
{
    struct store_iter *it = NULL;
    struct route r;
    uint32_t id;
    enum status st = command__collection(p->db, c->collection, p->t.at, &id, err);
    if (st == ST_NOT_FOUND)
        return ST_OK; /* no rows */
    if (st == ST_OK)
        st = route_init(&r, id, c->key, err);
    if (st != ST_OK)
        return st;
    struct version from = version_is_none(p->t.below) ? p->t.at : p->t.below;
    st = store_history_from(p->db->store, r.key, from, 0, &it, err);
    if (st == ST_OK)
        st = history_rows(p, c, it, err);
    store_iter_close(it);
    route_deinit(&r);
    return st;
}

enum status command_history_page(const struct command_db *db, const struct command_history *c,
                                 const struct command_page *page, command_row_fn row, void *arg,
                                 struct command_page_end *ret, struct buf *ret_token,
                                 struct err *err)
{
    struct paging p = {.db = db, .row = row, .arg = arg};
    enum status st = command__check_key(c->key, err);
    if (st == ST_OK)
        st = command__check_collection(db, c->collection, "collection", err);
    if (st == ST_OK)
        st = begin(&p, page, PAGE_HISTORY, history_query(c), c->limit, err);
    bool fresh = st == ST_OK && p.fresh;
    if (fresh)
        st = command__present(db, err);
    if (fresh && st == ST_OK)
        p.t.at = present(db);
    else if (st == ST_OK)
        st = fix_again(&p, err);
    if (st == ST_OK)
        st = history_once(&p, c, err);
    p.end.at = p.t.at;
    if (st == ST_OK)
        st = hand_over(&p, ret, ret_token, err);
    end(&p);
    return st;
}

/* ---- lists of names ---- */

typedef enum status (*list_fn)(struct store *s, struct bytes name, struct store_iter **ret,
                               struct err *err);

static enum status list_rows(struct paging *p, struct store_iter *it, struct err *err)
{
    struct store_row row;
    int rc;
    while ((rc = store_iter_next(it, &row, err)) > 0) {
        struct command_row out = {.collection = BYTES_EMPTY, .key = row.key, .rec = row.rec};
        out.token = out.rec.value = BYTES_EMPTY;
        bool shown = p->t.kind != PAGE_COLLECTIONS || !command__is_hidden(p->db, row.key);
        if (shown && (rc = offer(p, &out, err)) <= 0)
            break;
        enum status st = pass(p, row.key, err);
        if (st != ST_OK)
            return st;
    }
    return rc < 0 ? (enum status) - rc : ST_OK;
}

static enum status list_page(const struct command_db *db, enum page_kind kind, list_fn rows_after,
                             const struct command_page *page, command_row_fn row, void *arg,
                             struct command_page_end *ret, struct buf *ret_token, struct err *err)
{
    struct paging p = {.db = db, .row = row, .arg = arg};
    struct store_iter *it = NULL;
    enum status st = begin(&p, page, kind, 0, 0, err);
    if (st == ST_OK)
        st = command__present(db, err);
    p.end.at = store_visible(db->store);
    if (st == ST_OK)
        st = rows_after(db->store, p.t.key, &it, err);
    if (st == ST_OK)
        st = list_rows(&p, it, err);
    store_iter_close(it);
    if (st == ST_OK)
        st = hand_over(&p, ret, ret_token, err);
    end(&p);
    return st;
}

enum status command_collections_page(const struct command_db *db, const struct command_page *page,
                                     command_row_fn row, void *arg, struct command_page_end *ret,
                                     struct buf *ret_token, struct err *err)
{
    return list_page(db, PAGE_COLLECTIONS, store_collections_after, page, row, arg, ret, ret_token,
                     err);
}

enum status command_snapshots_page(const struct command_db *db, const struct command_page *page,
                                   command_row_fn row, void *arg, struct command_page_end *ret,
                                   struct buf *ret_token, struct err *err)
{
    return list_page(db, PAGE_SNAPSHOTS, store_snapshots_after, page, row, arg, ret, ret_token,
                     err);
}
