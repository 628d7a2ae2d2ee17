#include "node/store/store_internal.h"

#include "base/alloc.h"
#include "base/planted.h"
#include <inttypes.h>

/* Changes lie in version order in the engine's `when` rows, then in the frozen tables, then in the
 * active one, each wholly older than the next: what the feed reads is what the writes themselves
 * left, so no write can bypass it. */

struct changes_iter {
    struct store_iter base;
    struct store *s;
    struct view *view;
    struct version after, upto;
    struct buf after_key;
    const struct table *table; /* NULL: still the engine */
    bool end;
    struct engine_iter *engine;
    uint64_t nth;
    uint64_t read; /* rows given, counted at the end: not each for itself by many readers */
};

static struct version just_below(struct version v)
{
    if (v.origin > 0)
        return (struct version){v.hlc, v.origin - 1};
    return v.hlc > 0 ? (struct version){v.hlc - 1, UINT32_MAX} : VERSION_NONE;
}

/* The table of the next younger changes, after the engine the oldest frozen one; NULL: there is none. */
static const struct table *younger(const struct changes_iter *it)
{
    const struct table *t = it->view->frozen;
    if (it->table == it->view->active)
        return NULL;
    if (!t || t == it->table)
        return it->view->active;
    while (table_below(t) && table_below(t) != it->table)
        t = table_below(t);
    return t;
}

/* What a table does not know of its oldest version of a key: the version it supersedes in the
 * sources below. */
static int fill_parent(struct changes_iter *it, const struct table_entry *e, struct store_row *row,
                       struct err *err)
{
    const struct table_entry *older = table_entry_older(e);
    struct record rec;
    struct version at = just_below(row->rec.version);
    if (older) {
        table_entry_record(older, &rec);
        row->rec.parent = rec.version;
        return 0;
    }
    const struct table *t =
        it->table == it->view->active ? it->view->frozen : table_below(it->table);
    for (; t; t = table_below(t)) {
        if (table_get(t, row->key, at, &rec)) {
            row->rec.parent = rec.version;
            return 0;
        }
    }
    struct engine_pin pin = {0};
    struct engine *engine = it->view->snap->engine;
    enum status st =
        engine->ops->get(engine, it->view->snap->snapshot, row->key, at, false, &rec, &pin, err);
    row->rec.parent = st == ST_OK ? rec.version : VERSION_NONE;
    engine_pin_release(&pin);
    return st == ST_OK || st == ST_NOT_FOUND || st == ST_BELOW_HORIZON ? 0 : -(int)st;
}

static int next_of_table(struct changes_iter *it, struct store_row *ret, struct err *err)
{
    const struct table_entry *e;
    while ((e = table_entry_nth(it->table, it->nth)) != NULL) {
        it->nth++;
        struct store_row row = {.key = table_entry_key(e)};
        table_entry_record(e, &row.rec);
        if (row.rec.version.hlc > it->upto.hlc)
            return 0;
        int c = version_cmp(row.rec.version, it->after);
        if (c < 0 || (c == 0 && (bytes_cmp(row.key, buf_bytes(&it->after_key)) <= 0 ||
                                 PLANTED(WATCH_LOSES_REST_OF_BATCH))))
            continue;
        if (route_collection(row.key) < STORE_FIRST_ID)
            continue;
        int rc = fill_parent(it, e, &row, err);
        if (rc < 0)
            return rc;
        row.rec.value = BYTES_EMPTY;
        *ret = row;
        return 1;
    }
    return 0;
}

static int next_of_all(struct changes_iter *it, struct store_row *ret, struct err *err)
{
    for (;;) {
        if (it->end)
            return 0;
        if (!it->table) {
            struct engine_row row;
            int rc = engine_iter_next(it->engine, &row, err);
            if (rc < 0)
                return rc;
            if (rc > 0 && route_collection(row.key) < STORE_FIRST_ID)
                continue;
            if (rc > 0) {
                *ret = (struct store_row){row.key, row.rec};
                return 1;
            }
        } else {
            int rc = next_of_table(it, ret, err);
            if (rc != 0)
                return rc;
        }
        const struct table *t = younger(it);
        it->end = !t;
        if (!t)
            return 0;
        it->table = t;
        it->nth = table_entry_after(t, just_below(it->after));
    }
}

static int changes_next(struct store_iter *base, struct store_row *ret, struct err *err)
{
    struct changes_iter *it = (struct changes_iter *)base;
    int rc = next_of_all(it, ret, err);
    it->read += rc > 0;
    return rc;
}

static void changes_close(struct store_iter *base)
{
    struct changes_iter *it = (struct changes_iter *)base;
    if (it->read)
        counter_add(it->s->m_changes_read, it->read);
    engine_iter_close(it->engine);
    view_unref(it->view);
    buf_deinit(&it->after_key);
    mem_free(it);
}

/* Of the collections that have or had that name: what was removed elsewhere is no gap here. */
static enum status check_feed_horizons(struct store *s, struct bytes name, struct version after,
                                       struct err *err)
{
    for (uint32_t id = STORE_FIRST_ID; id <= atomic_load(&s->catalog.last_id); id++) {
        struct collection *c = store__collection_by_id(s, id);
        uint64_t horizon = c ? atomic_load_explicit(&c->feed_horizon_hlc, memory_order_acquire) : 0;
        if (after.hlc >= horizon || (name.len && !bytes_eq(BYTES_STR(c->name), name)))
            continue;
        char text[VERSION_TEXT_MAX], time[TIME_TEXT_MAX];
        version_format((struct version){horizon, 0}, text);
        time_format(horizon >> HLC_LOGICAL_BITS, time);
        return err_set(err, ST_BELOW_HORIZON,
                       "changes of collection %s up to version %s (%s) may have been removed by "
                       "retention; scan, then follow from there",
                       c->name, text, time);
    }
    return ST_OK;
}

enum status store_changes(struct store *s, struct bytes name, struct version after,
                          struct bytes after_key, struct store_iter **ret, struct err *err)
{
    static const struct store_iter_ops ops = {changes_next, changes_close};
    struct changes_iter *it = mem_zalloc(sizeof(*it));
    if (!it)
        return err_set(err, ST_NO_MEMORY, "no memory for a change feed");
    it->base.ops = &ops;
    it->s = s;
    it->after = after;
    it->upto = store_visible(s);
    it->view = store__view(s);
    if (it->upto.hlc < it->view->base_hlc)
        it->upto.hlc = it->view->base_hlc;
    struct engine *e = it->view->snap->engine;
    enum status st = buf_append(&it->after_key, after_key.data, after_key.len);
    if (st != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory for a change feed");
    else
        st = e->ops->changes(e, it->view->snap->snapshot, s->range.id, after,
                             buf_bytes(&it->after_key), &it->engine, err);
    if (st == ST_OK)
        st = check_feed_horizons(s, name, after, err);
    if (st != ST_OK) {
        changes_close(&it->base);
        return st;
    }
    *ret = &it->base;
    return ST_OK;
}
