/* engine_export.c - the rows of an interval, one by one: when, past, live, each in key order.
 *
 * A position is a family and a key, so a walk can be taken up again at any row of the same snapshot.
 */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/engine_view.h"

void engine_past_walk_deinit(struct engine_past_walk *w)
{
    buf_deinit(&w->prefix);
    buf_deinit(&w->key);
}

enum status engine_past_counts(struct engine_view *v, struct engine_past_walk *w,
                               const struct engine_cursor *c, bool *ret, struct err *err)
{
    struct bytes prefix;
    struct version version;
    bool leftover = false;
    enum status st = ST_OK;
    if (!engine_past_split(c->key, &prefix, &version))
        return err_set(err, ST_CORRUPT, "past: a key of %zu bytes cannot be decoded", c->key.len);
    if (!w->any || !bytes_eq(prefix, buf_bytes(&w->prefix))) {
        buf_clear(&w->prefix);
        w->any = false;
        st = buf_append(&w->prefix, prefix.data, prefix.len);
        if (st == ST_OK)
            st = engine_past_unprefix(prefix, &w->key);
        if (st != ST_OK)
            return err_set(err, st, "past: a key of %zu bytes", prefix.len);
        st = engine_view_live_version(v, buf_bytes(&w->key), &w->live, err);
        w->any = st == ST_OK;
    }
    if (st == ST_OK && !version_is_none(w->live))
        leftover = version_cmp(version, w->live) >= 0;
    else if (st == ST_OK)
        st = engine_view_leftover(v, buf_bytes(&w->key), version, &leftover, err);
    *ret = !leftover;
    return st;
}

enum status engine_past_bounds(const struct engine_interval *in, struct buf *lower,
                               struct buf *upper)
{
    enum status st = engine_past_prefix(lower, in->lower.data ? in->lower : BYTES_EMPTY);
    return st != ST_OK ? st
                       : engine_past_prefix(upper, in->upper.len ? in->upper
                                                                 : BYTES_LIT("\xff\xff\xff\xff"));
}

enum { RANGE_BYTES = 8 }; /* of a when key, which exported ones go without */

struct engine_export {
    struct engine_view *v;
    uint64_t range;
    struct buf in_lower, in_upper; /* the interval */
    struct buf lower, upper;       /* of the family at hand, which the cursor borrows */
    struct engine_past_walk walk;
    struct engine_cursor *c;
    size_t at; /* in `order` */
    bool on_row;
};

static const enum engine_family order[ENGINE_FAMILIES] = {ENGINE_WHEN, ENGINE_PAST, ENGINE_LIVE};

static struct engine_interval interval_of(const struct engine_export *x)
{
    return (struct engine_interval){buf_bytes(&x->in_lower), buf_bytes(&x->in_upper)};
}

static enum status copy(struct buf *to, struct bytes from)
{
    buf_clear(to);
    return buf_append(to, from.data, from.len);
}

/* The family's own keys. *ret_none: it has nothing to give. */
static enum status bounds(struct engine_export *x, enum engine_family f, bool *ret_none)
{
    struct engine_interval in = interval_of(x);
    const struct engine_mark_row *m = engine_view_mark(x->v, x->range);
    enum status st = ST_OK;
    *ret_none = in.upper.len && bytes_cmp(in.lower, in.upper) >= 0;
    buf_clear(&x->lower);
    buf_clear(&x->upper);
    switch (f) {
    case ENGINE_WHEN:
        *ret_none |= !m;
        if (*ret_none)
            break;
        st = engine_when_key(&x->lower, x->range, VERSION_NONE, BYTES_EMPTY);
        if (st == ST_OK)
            st = engine_when_key(&x->upper, x->range, engine_version_next(m->mark.version),
                                 BYTES_EMPTY);
        break;
    case ENGINE_PAST:
        st = engine_past_bounds(&in, &x->lower, &x->upper);
        break;
    case ENGINE_LIVE:
        st = copy(&x->lower, in.lower);
        if (st == ST_OK)
            st = copy(&x->upper, in.upper.len ? in.upper : BYTES_LIT("\xff\xff\xff\xff"));
        break;
    }
    return st;
}

/* Opens the family at hand at its beginning, or at `key` as exported, if that is further. */
static enum status open_family(struct engine_export *x, struct bytes key, struct err *err)
{
    bool none;
    struct buf seek = BUF_INIT;
    enum status st = bounds(x, order[x->at], &none);
    if (st != ST_OK)
        err_set(err, st, "export");
    if (st != ST_OK || none)
        goto out;
    struct engine_interval rows = {buf_bytes(&x->lower), buf_bytes(&x->upper)};
    if (order[x->at] == ENGINE_WHEN)
        st = buf_append_be64(&seek, x->range);
    if (st == ST_OK)
        st = buf_append(&seek, key.data, key.len);
    if (st != ST_OK)
        err_set(err, st, "export");
    struct bytes from = buf_bytes(&seek);
    if (bytes_cmp(from, rows.lower) < 0)
        from = rows.lower;
    if (st == ST_OK)
        st = x->v->ops->cursor(x->v, order[x->at], ENGINE_BULK, &rows, &x->c, err);
    if (st == ST_OK)
        st = x->c->ops->seek(x->c, from, err);
    x->on_row = false;
out:
    buf_deinit(&seek);
    return st;
}

static void close_family(struct engine_export *x)
{
    engine_cursor_close(x->c);
    x->c = NULL;
    x->on_row = false;
}

/* Is the row under the cursor one to give out? */
static enum status counts(struct engine_export *x, bool *ret, struct err *err)
{
    struct engine_interval in = interval_of(x);
    uint64_t range;
    struct version version;
    struct bytes key;
    *ret = true;
    if (order[x->at] == ENGINE_PAST)
        return engine_past_counts(x->v, &x->walk, x->c, ret, err);
    if (order[x->at] != ENGINE_WHEN)
        return ST_OK;
    if (!engine_when_split(x->c->key, &range, &version, &key))
        return err_set(err, ST_CORRUPT, "when: a key of %zu bytes cannot be decoded",
                       x->c->key.len);
    *ret = engine_interval_has(&in, key);
    return ST_OK;
}

int engine_export_next(struct engine_export *x, struct engine_export_row *ret, struct err *err)
{
    enum status st = ST_OK;
    while (st == ST_OK && x->at < ENGINE_FAMILIES) {
        bool give = false;
        if (!x->c) {
            st = open_family(x, BYTES_EMPTY, err);
        } else if (x->on_row) {
            x->on_row = false;
            st = x->c->ops->next(x->c, err);
        }
        if (st == ST_OK && (!x->c || !x->c->valid)) {
            close_family(x);
            x->at++;
            continue;
        }
        if (st == ST_OK)
            st = counts(x, &give, err);
        if (st != ST_OK)
            break;
        x->on_row = true;
        if (!give)
            continue;
        size_t cut = order[x->at] == ENGINE_WHEN ? RANGE_BYTES : 0;
        *ret = (struct engine_export_row){.family = (uint8_t)order[x->at],
                                          .key = {x->c->key.data + cut, x->c->key.len - cut},
                                          .value = x->c->value};
        return 1;
    }
    return st == ST_OK ? 0 : -(int)st;
}

enum status engine_export_seek(struct engine_export *x, uint8_t family, struct bytes key,
                               struct err *err)
{
    ASSERT(family < ENGINE_FAMILIES);
    close_family(x);
    for (x->at = 0; order[x->at] != family;)
        x->at++;
    return open_family(x, key, err);
}

void engine_export_rewind(struct engine_export *x)
{
    close_family(x);
    x->at = 0;
}

struct engine_mark engine_export_mark(const struct engine_export *x)
{
    const struct engine_mark_row *m = engine_view_mark(x->v, x->range);
    return m ? m->mark : (struct engine_mark){0};
}

void engine_export_close(struct engine_export *x)
{
    if (!x)
        return;
    close_family(x);
    engine_past_walk_deinit(&x->walk);
    buf_deinit(&x->in_lower);
    buf_deinit(&x->in_upper);
    buf_deinit(&x->lower);
    buf_deinit(&x->upper);
    mem_free(x);
}

enum status engine_view_export_open(struct engine_view *v, uint64_t range,
                                    const struct engine_interval *in, struct engine_export **ret,
                                    struct err *err)
{
    struct engine_export *x = mem_zalloc(sizeof(*x));
    if (!x)
        return err_set(err, ST_NO_MEMORY, "export");
    x->v = v;
    x->range = range;
    if (copy(&x->in_lower, in->lower) != ST_OK || copy(&x->in_upper, in->upper) != ST_OK) {
        engine_export_close(x);
        return err_set(err, ST_NO_MEMORY, "export");
    }
    *ret = x;
    return ST_OK;
}

enum status engine_view_export(struct engine_view *v, uint64_t range,
                               const struct engine_interval *in, engine_export_fn fn, void *arg,
                               struct err *err)
{
    struct engine_export *x;
    struct engine_export_row row;
    enum status st = engine_view_export_open(v, range, in, &x, err);
    if (st != ST_OK)
        return st;
    int rc;
    while (st == ST_OK && (rc = engine_export_next(x, &row, err)) != 0)
        st = rc > 0 ? fn(arg, row.family, row.key, row.value, err) : (enum status) - rc;
    engine_export_close(x);
    return st;
}
