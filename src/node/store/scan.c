#include "node/store/store_internal.h"

#include "base/alloc.h"
#include <inttypes.h>

/* A scan merges sorted sources: the active table, the frozen ones from the newest, the engine. For one
 * key the first of them that knows it at `at` has the newest version. */

enum { TABLES_MAX = STORE_TABLES_MAX, ENGINE = TABLES_MAX };

struct scan_iter {
    struct store_iter base;
    struct store *s;
    struct view *view;
    int n_tables;
    struct table_iter tables[TABLES_MAX];
    struct engine_iter *engine;
    struct engine_row engine_row;
    const struct table_entry *found[TABLES_MAX];
    bool has[TABLES_MAX + 1];
    bool used[TABLES_MAX + 1]; /* stood on the key returned last: moves before the next */
    bool reverse;
    struct version at;
    bool with_expired;
    uint64_t at_ms, left;
    struct buf lower, upper;
};

/* The source stands on a key inside the interval with a version at or below `at`, or has none left.
 */
static void settle_table(struct scan_iter *it, int i)
{
    struct table_iter *t = &it->tables[i];
    for (; table_iter_valid(t); it->reverse ? table_iter_prev(t) : table_iter_next(t)) {
        struct bytes key = table_iter_key(t);
        if (it->reverse ? bytes_cmp(key, buf_bytes(&it->lower)) < 0
                        : it->upper.len && bytes_cmp(key, buf_bytes(&it->upper)) >= 0)
            break;
        it->found[i] = table_iter_find(t, it->at);
        if (it->found[i]) {
            it->has[i] = true;
            return;
        }
    }
    it->has[i] = false;
}

static void start_table(struct scan_iter *it, const struct table *t)
{
    ASSERT(it->n_tables < TABLES_MAX);
    int i = it->n_tables++;
    table_iter_init(&it->tables[i], t);
    if (!it->reverse)
        table_iter_seek(&it->tables[i], buf_bytes(&it->lower));
    else if (it->upper.len)
        table_iter_seek_before(&it->tables[i], buf_bytes(&it->upper));
    else
        table_iter_last(&it->tables[i]);
    settle_table(it, i);
}

static int advance(struct scan_iter *it, struct err *err)
{
    for (int i = 0; i < it->n_tables; i++)
        if (it->used[i]) {
            it->reverse ? table_iter_prev(&it->tables[i]) : table_iter_next(&it->tables[i]);
            settle_table(it, i);
            it->used[i] = false;
        }
    if (it->used[ENGINE]) {
        int rc = engine_iter_next(it->engine, &it->engine_row, err);
        it->has[ENGINE] = rc > 0;
        it->used[ENGINE] = false;
        if (rc < 0)
            return rc;
    }
    return 0;
}

static struct bytes key_of(const struct scan_iter *it, int i)
{
    return i == ENGINE ? it->engine_row.key : table_iter_key(&it->tables[i]);
}

/* The source with the next key, marking all that stand on it; -1: none left. */
static int pick(struct scan_iter *it)
{
    bool any = false;
    for (int i = 0; i < it->n_tables; i++)
        any |= it->has[i];
    if (!any) {
        it->used[ENGINE] = it->has[ENGINE];
        return it->has[ENGINE] ? ENGINE : -1;
    }
    int best = -1;
    for (int i = 0; i <= ENGINE; i = i + 1 == it->n_tables ? ENGINE : i + 1) {
        if (!it->has[i])
            continue;
        int c = best < 0 ? -1 : bytes_cmp(key_of(it, i), key_of(it, best));
        if (best >= 0 && it->reverse)
            c = -c;
        if (c < 0) {
            for (int j = 0; j < i; j++)
                it->used[j] = false;
            best = i;
        }
        it->used[i] = c <= 0;
    }
    return best;
}

static int scan_next(struct store_iter *base, struct store_row *ret, struct err *err)
{
    struct scan_iter *it = (struct scan_iter *)base;
    if (it->left == 0)
        return 0;
    for (;;) {
        int rc = advance(it, err);
        if (rc < 0)
            return rc;
        int i = pick(it);
        if (i < 0)
            return 0;
        struct store_row row = {.key = key_of(it, i)};
        if (i == ENGINE)
            row.rec = it->engine_row.rec;
        else
            table_entry_record(it->found[i], &row.rec);
        if (row.rec.kind != RECORD_PUT || (!it->with_expired && !record_alive(&row.rec, it->at_ms)))
            continue;
        it->left--;
        *ret = row;
        return 1;
    }
}

static void scan_close(struct store_iter *base)
{
    struct scan_iter *it = (struct scan_iter *)base;
    engine_iter_close(it->engine);
    view_unref(it->view);
    buf_deinit(&it->lower);
    buf_deinit(&it->upper);
    mem_free(it);
}

enum status store_scan(struct store *s, const struct store_scan *q, struct store_iter **ret,
                       struct err *err)
{
    static const struct store_iter_ops ops = {scan_next, scan_close};
    struct scan_iter *it = mem_zalloc(sizeof(*it));
    if (!it)
        return err_set(err, ST_NO_MEMORY, "no memory for a scan");
    it->base.ops = &ops;
    it->s = s;
    it->reverse = q->reverse;
    it->with_expired = q->with_expired;
    it->left = q->limit ? q->limit : UINT64_MAX;
    /* The moment first, the view after: a view only ever gains. */
    it->at = store__at_or_now(s, q->at);
    it->at_ms = version_is_none(q->at) ? env_now_ms(s->env) : version_ms(q->at);
    it->view = store__view(s);
    if (version_is_none(q->at))
        it->at = view_present(it->view, it->at);
    enum status st = ST_OK;
    if (buf_append(&it->lower, q->in.lower.data, q->in.lower.len) != ST_OK ||
        buf_append(&it->upper, q->in.upper.data, q->in.upper.len) != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory for a scan");
    struct engine *e = it->view->snap->engine;
    struct engine_scan eq = {.in = {buf_bytes(&it->lower), buf_bytes(&it->upper)},
                             .at = it->at,
                             .reverse = q->reverse,
                             .keys_only = q->keys_only};
    if (st == ST_OK)
        st = e->ops->scan(e, it->view->snap->snapshot, &eq, &it->engine, err);
    if (st == ST_OK && !version_is_none(q->at) && q->in.lower.len >= STORE_ROUTE_BYTES)
        st = store__check_horizon(s, q->in.lower, q->at, err);
    if (st == ST_OK) {
        it->used[ENGINE] = true;
        start_table(it, it->view->active);
        for (const struct table *t = it->view->frozen; t; t = table_below(t))
            start_table(it, t);
        int rc = advance(it, err);
        st = rc < 0 ? (enum status) - rc : ST_OK;
    }
    if (st != ST_OK) {
        scan_close(&it->base);
        return st;
    }
    *ret = &it->base;
    return ST_OK;
}

int store_iter_next(struct store_iter *it, struct store_row *ret, struct err *err)
{
    return it->ops->next(it, ret, err);
}

void store_iter_close(struct store_iter *it)
{
    if (it)
        it->ops->close(it);
}
