#include "node/store/store_internal.h"

#include "base/alloc.h"

/* A key's versions lie in the active table, then the frozen ones, then the engine, each newest first
 * and each wholly newer than the next. A version's parent is the one below it; a table does not
 * know that of its oldest, so the next source is asked before that row is returned. */

struct history_iter {
    struct store_iter base;
    struct view *view;
    struct buf key;
    struct version at;
    const struct table *table;      /* of `next`; NULL: the engine's stage */
    const struct table_entry *next; /* of a table stage */
    struct engine_iter *engine;
    struct engine_row row; /* of the engine stage */
    bool has_row, returned_row;
    uint64_t left;
};

static int fetch(struct history_iter *it, struct err *err)
{
    int rc = engine_iter_next(it->engine, &it->row, err);
    it->has_row = rc > 0;
    return rc < 0 ? rc : 0;
}

/* Moves to the next source that has a version. */
static int next_stage(struct history_iter *it, struct err *err)
{
    while (!it->next && it->table) {
        it->table = it->table == it->view->active ? it->view->frozen : table_below(it->table);
        if (!it->table)
            return fetch(it, err);
        it->next = table_find(it->table, buf_bytes(&it->key), it->at);
    }
    return 0;
}

static int history_next(struct store_iter *base, struct store_row *ret, struct err *err)
{
    struct history_iter *it = (struct history_iter *)base;
    struct store_row out = {.key = buf_bytes(&it->key)};
    if (it->left == 0)
        return 0;
    if (it->next) {
        table_entry_record(it->next, &out.rec);
        it->next = table_entry_older(it->next);
        if (!it->next) {
            int rc = next_stage(it, err);
            if (rc < 0)
                return rc;
        }
        out.rec.parent = VERSION_NONE;
        if (it->next) {
            struct record older;
            table_entry_record(it->next, &older);
            out.rec.parent = older.version;
        } else if (it->has_row) {
            out.rec.parent = it->row.rec.version;
        }
    } else if (!it->table && it->has_row) {
        if (it->returned_row) {
            int rc = fetch(it, err);
            if (rc < 0)
                return rc;
            it->returned_row = false;
        }
        if (!it->has_row || it->row.rec.kind == RECORD_FLOOR)
            return 0;
        out.rec = it->row.rec;
        it->returned_row = true;
    } else {
        return 0;
    }
    it->left--;
    *ret = out;
    return 1;
}

static void history_close(struct store_iter *base)
{
    struct history_iter *it = (struct history_iter *)base;
    engine_iter_close(it->engine);
    view_unref(it->view);
    buf_deinit(&it->key);
    mem_free(it);
}

enum status store_history_from(struct store *s, struct bytes key, struct version from,
                               uint64_t limit, struct store_iter **ret, struct err *err)
{
    static const struct store_iter_ops ops = {history_next, history_close};
    struct history_iter *it = mem_zalloc(sizeof(*it));
    if (!it)
        return err_set(err, ST_NO_MEMORY, "no memory for a history");
    it->base.ops = &ops;
    it->left = limit ? limit : UINT64_MAX;
    it->at = store__at_or_now(s, from);
    it->view = store__view(s);
    if (version_is_none(from))
        it->at = view_present(it->view, it->at);
    struct engine *e = it->view->snap->engine;
    enum status st = buf_append(&it->key, key.data, key.len);
    if (st != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory for a history");
    else
        st = e->ops->history(e, it->view->snap->snapshot, buf_bytes(&it->key), it->at, &it->engine,
                             err);
    if (st == ST_OK) {
        it->table = it->view->active;
        it->next = table_find(it->table, buf_bytes(&it->key), it->at);
        int rc = next_stage(it, err);
        st = rc < 0 ? (enum status) - rc : ST_OK;
    }
    if (st != ST_OK) {
        history_close(&it->base);
        return st;
    }
    *ret = &it->base;
    return ST_OK;
}

enum status store_history(struct store *s, struct bytes key, uint64_t limit,
                          struct store_iter **ret, struct err *err)
{
    return store_history_from(s, key, VERSION_NONE, limit, ret, err);
}
