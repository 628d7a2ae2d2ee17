#include "node/feed/feed.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/buggify.h"
#include "node/feed/token.h"
#include "node/range/range.h"

#include <inttypes.h>

/* The place that the token says is behind the last row delivered, until everything visible has been
 * looked at: then it is behind all of that, over rows that the filter held back, so that they are not
 * read again each time something is written nor by one who comes back with the token, and so that
 * vacuum may overtake them. In the middle of what is visible it does not move over them.
 *
 * A place (v, key) is behind that one row of v; (v, "") is behind everything below v. Versions rise
 * along the log, and what is visible is a beginning of the log: nothing at or below what was visible
 * once is to come, here or on any other node, so (visible + 1, "") hides nothing. */

struct feed {
    struct store *store;
    struct version told;
    struct buf told_key;
    struct version before; /* where it was told to be before the last row, for feed_unread */
    struct buf before_key;
    bool may_unread;
    struct store_iter *rows; /* NULL: at the end of what was visible */
    struct version seen;     /* at the end of `rows` everything up to here was looked at */
    bool asked;              /* the store has been asked from here on at least once */
    struct buf collection, prefix, value, token;
    struct bytes hidden;
    bool all, values;
    uint64_t left;
    uint32_t last_id; /* the collection of the last row, and whether it passes */
    bool last_passes;
    const char *last_name;
};

static uint32_t id_of(struct bytes key)
{
    ASSERT(key.len >= STORE_ROUTE_BYTES);
    return (uint32_t)key.data[0] << 24 | (uint32_t)key.data[1] << 16 | (uint32_t)key.data[2] << 8 |
           key.data[3];
}

/* Unchanged without memory. */
static enum status tell(struct feed *f, struct version v, struct bytes key)
{
    struct buf fresh = f->before_key;
    buf_clear(&fresh);
    enum status st = buf_append(&fresh, key.data, key.len);
    if (st == ST_OK && buf_reserve(&f->token, token_text_max(key.len)) != ST_OK)
        st = ST_NO_MEMORY;
    f->before_key = fresh; /* it may have moved */
    if (st != ST_OK) {
        f->may_unread = false;
        return st;
    }
    f->before_key = f->told_key;
    f->told_key = fresh;
    f->before = f->told;
    f->told = v;
    return ST_OK;
}

/* Needs no memory: the token's was reserved for the first place. */
static void tell_all_below(struct feed *f, uint64_t hlc)
{
    f->told = (struct version){hlc, 0};
    buf_clear(&f->told_key);
    f->may_unread = false;
}

/* ---- opening ---- */

static enum status start_at(struct feed *f, struct bytes text, struct err *err)
{
    struct version visible = store_visible(f->store);
    struct token t = {.range = RANGE_FIRST, .key = BYTES_EMPTY};
    enum status st = ST_OK;
    if (bytes_eq(text, BYTES_LIT("now")))
        t.version.hlc = visible.hlc + 1;
    else if (text.len > 0)
        st = token_decode(text, &f->value, &t, err);
    if (st != ST_OK)
        return st;
    if (t.range != RANGE_FIRST)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "token: it is of range %" PRIu64 ", which this folder does not have",
                       t.range);
    /* What it claims to have seen may be ahead of what is visible here: of a node that is behind, or
     * after the loss of an unsynced log. That is fine while every write to come is above it; ahead of
     * the clock it would hide writes. */
    struct version upto = t.version;
    if (t.key.len == 0 && upto.origin == 0 && upto.hlc > 0)
        upto.hlc--;
    if (upto.hlc > visible.hlc) {
        st = store_fix_moment(f->store, upto, err);
        if (st == ST_FUTURE_TIME)
            return err_set(
                err, ST_INVALID_ARGUMENT,
                "token: it is of a write that this folder has not seen (another folder's?)");
        if (st != ST_OK)
            return st;
    }
    if (tell(f, t.version, t.key) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a change feed");
    return ST_OK;
}

/* The name of its collection; len 0: all. */
static struct bytes followed(const struct feed *f)
{
    return f->all ? BYTES_EMPTY : buf_bytes(&f->collection);
}

static enum status ask(struct feed *f, struct err *err)
{
    f->seen = store_visible(f->store);
    enum status st =
        store_changes(f->store, followed(f), f->told, buf_bytes(&f->told_key), &f->rows, err);
    if (st == ST_OK)
        f->asked = true;
    return st;
}

enum status feed_open(struct store *s, struct bytes token, const struct feed_options *o,
                      struct feed **ret, struct err *err)
{
    struct feed *f = mem_zalloc(sizeof(*f));
    if (!f)
        return err_set(err, ST_NO_MEMORY, "no memory for a change feed");
    f->store = s;
    f->all = o->collection.len == 0;
    f->values = o->values;
    f->hidden = o->hidden;
    f->left = o->limit ? o->limit : UINT64_MAX;
    enum status st = ST_OK;
    if (buf_append(&f->collection, o->collection.data, o->collection.len) != ST_OK ||
        buf_append(&f->prefix, o->prefix.data, o->prefix.len) != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory for a change feed");
    if (st == ST_OK)
        st = start_at(f, token, err);
    if (st == ST_OK)
        st = ask(f, err);
    if (st != ST_OK) {
        feed_close(f);
        return st;
    }
    *ret = f;
    return ST_OK;
}

static void let_go(struct feed *f)
{
    store_iter_close(f->rows);
    f->rows = NULL;
}

void feed_close(struct feed *f)
{
    if (!f)
        return;
    let_go(f);
    buf_deinit(&f->told_key);
    buf_deinit(&f->before_key);
    buf_deinit(&f->collection);
    buf_deinit(&f->prefix);
    buf_deinit(&f->value);
    buf_deinit(&f->token);
    mem_free(f);
}

/* ---- rows ---- */

static bool passes(struct feed *f, struct bytes key)
{
    uint32_t id = id_of(key);
    if (id != f->last_id) {
        const char *name = store_collection_name(f->store, id);
        f->last_name = name ? name : "";
        struct bytes whole = BYTES_STR(f->last_name);
        f->last_passes = f->all ? f->hidden.len == 0 || !bytes_has_prefix(whole, f->hidden)
                                : bytes_eq(whole, buf_bytes(&f->collection));
        f->last_id = id;
    }
    struct bytes user = {key.data + STORE_ROUTE_BYTES, key.len - STORE_ROUTE_BYTES};
    return f->last_passes && bytes_has_prefix(user, buf_bytes(&f->prefix));
}

/* By way of the history, which judges no expiry: for a record that had expired by the time of its
 * own version. */
static enum status value_from_history(struct feed *f, struct bytes key, struct version v,
                                      struct record *ret, struct err *err)
{
    struct store_iter *it;
    struct store_row row;
    enum status st = store_history(f->store, key, 0, &it, err);
    if (st != ST_OK)
        return st;
    int rc;
    while ((rc = store_iter_next(it, &row, err)) > 0 && version_cmp(row.rec.version, v) > 0)
        ;
    if (rc < 0)
        st = (enum status) - rc;
    else if (rc == 0 || version_cmp(row.rec.version, v) != 0)
        st =
            err_set(err, ST_BELOW_HORIZON, "retention has removed the value of a change meanwhile");
    buf_clear(&f->value);
    if (st == ST_OK && (buf_append(&f->value, row.rec.value.data, row.rec.value.len) != ST_OK ||
                        buf_append(&f->value, row.rec.writer.data, row.rec.writer.len) != ST_OK))
        st = err_set(err, ST_NO_MEMORY, "no memory for a value of %zu bytes", row.rec.value.len);
    if (st == ST_OK) {
        *ret = row.rec;
        ret->value = BYTES(buf_bytes(&f->value).data, row.rec.value.len);
        ret->writer = BYTES(buf_bytes(&f->value).data + row.rec.value.len, row.rec.writer.len);
    }
    store_iter_close(it);
    return st;
}

static enum status add_value(struct feed *f, struct store_row *row, struct err *err)
{
    struct record rec;
    enum status st = store_get(f->store, row->key, row->rec.version, &f->value, &rec, err);
    if (st == ST_NOT_FOUND || (st == ST_OK && version_cmp(rec.version, row->rec.version) != 0)) {
        PROBE("feed: a value is read by way of the history");
        st = value_from_history(f, row->key, row->rec.version, &rec, err);
    }
    if (st != ST_OK)
        return st;
    rec.parent = row->rec.parent;
    row->rec = rec;
    return ST_OK;
}

/* Everything visible has been looked at: goes on behind it. */
static void at_end(struct feed *f)
{
    let_go(f);
    if (f->told.hlc <= f->seen.hlc)
        tell_all_below(f, f->seen.hlc + 1);
}

/* Without asking for rows: what came since is of other collections, if anything came. */
static bool nothing_new(struct feed *f)
{
    struct version visible = store_visible(f->store);
    if (visible.hlc < f->told.hlc)
        return true;
    if (store_written(f->store, followed(f)).hlc >= f->told.hlc)
        return false;
    f->seen = visible;
    at_end(f);
    return true;
}

/* What was held back since the place is read again next time: a repeat for the filter, not for the
 * caller. */
static int failed(struct feed *f, enum status st)
{
    feed_rest(f);
    return -(int)st;
}

static enum status deliver(struct feed *f, struct store_row *row, struct feed_row *ret,
                           struct err *err)
{
    if (f->values && row->rec.kind == RECORD_PUT) {
        enum status st = add_value(f, row, err);
        if (st != ST_OK)
            return st;
    }
    if (tell(f, row->rec.version, row->key) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a change feed");
    f->may_unread = true;
    ret->collection = f->last_name;
    ret->key = BYTES(row->key.data + STORE_ROUTE_BYTES, row->key.len - STORE_ROUTE_BYTES);
    ret->rec = row->rec;
    return ST_OK;
}

int feed_next(struct feed *f, struct feed_row *ret, struct err *err)
{
    if (f->left == 0) {
        let_go(f);
        return 0;
    }
    if (f->rows && BUGGIFY("feed: its place is looked up again"))
        feed_rest(f);
    if (!f->rows) {
        if (f->asked && nothing_new(f))
            return 0;
        enum status st = ask(f, err);
        if (st != ST_OK)
            return failed(f, st);
    }
    struct store_row row;
    int rc;
    while ((rc = store_iter_next(f->rows, &row, err)) > 0) {
        if (row.rec.version.hlc > f->seen.hlc)
            f->seen = row.rec.version;
        if (!passes(f, row.key))
            continue;
        enum status st = deliver(f, &row, ret, err);
        if (st != ST_OK)
            return failed(f, st);
        f->left--;
        return 1;
    }
    if (rc < 0)
        return failed(f, (enum status) - rc);
    at_end(f);
    return 0;
}

bool feed_wait(struct feed *f, uint64_t timeout_ms, const _Atomic bool *cancel)
{
    struct version after = f->told;
    if (f->told_key.len == 0 && after.hlc > 0)
        after.hlc--; /* behind everything below it: a write at that very version is new */
    return store_wait_changes(f->store, followed(f), after, timeout_ms, cancel);
}

void feed_unread(struct feed *f)
{
    ASSERT(f->may_unread);
    struct buf key = f->told_key;
    f->told_key = f->before_key;
    f->told = f->before;
    f->before_key = key;
    f->may_unread = false;
    f->left++;
    feed_rest(f);
}

void feed_rest(struct feed *f)
{
    let_go(f);
    f->asked = false;
}

bool feed_limit_reached(const struct feed *f)
{
    return f->left == 0;
}

const char *feed_token(struct feed *f)
{
    struct token t = {.range = RANGE_FIRST, .version = f->told, .key = buf_bytes(&f->told_key)};
    enum status st = token_encode(&t, &f->token);
    ASSERT(st == ST_OK); /* its memory was reserved when the place was set */
    return (const char *)f->token.data;
}
