/* changes.c - the change feed as iterator and as watch. */
#include "apps/embed/embed_internal.h"

static enum status feed_for(struct varve *db, const char *token, const varve_changes_options *given,
                            struct feed **ret, struct err *err)
{
    varve_changes_options o;
    enum status st = embed__sized(&o, sizeof(o), given, "options", err);
    if (st == ST_OK && o.collection && !*o.collection)
        st = err_set(err, ST_INVALID_ARGUMENT, "options.collection: the name is empty");
    if (st != ST_OK)
        return st;
    struct command_changes c = {.token = embed__name(token),
                                .options = {.collection = embed__name(o.collection),
                                            .prefix = BYTES(o.prefix.data, o.prefix.len),
                                            .limit = o.limit,
                                            .values = o.values}};
    return command_changes(&db->on, &c, ret, err);
}

static enum status iter_for(struct varve *db, const char *token, const varve_changes_options *o,
                            varve_iter **ret, struct err *err)
{
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    varve_iter *it = embed__iter_new(db, err);
    if (!it)
        return ST_NO_MEMORY;
    enum status st = feed_for(db, token, o, &it->feed, err);
    if (st != ST_OK) {
        varve_iter_close(it);
        return st;
    }
    *ret = it;
    return ST_OK;
}

varve_status varve_changes(varve *db, const char *token, const varve_changes_options *o,
                           varve_iter **ret)
{
    return embed__done(iter_for(db, token, o, ret, embed__err()));
}

/* ---- watching ---- */

struct varve_watch {
    varve_iter *row;
    _Atomic bool cancelled;
};

varve_status varve_watch_open(varve *db, const char *token, const varve_changes_options *o,
                              varve_watch **ret)
{
    struct err *err = embed__err();
    if (!ret)
        return embed__done(embed__null("ret", err));
    struct varve_watch *w = mem_zalloc(sizeof(*w));
    if (!w)
        return embed__done(err_set(err, ST_NO_MEMORY, "no memory for a watch"));
    enum status st = iter_for(db, token, o, &w->row, err);
    if (st != ST_OK) {
        mem_free(w);
        return embed__done(st);
    }
    feed_rest(w->row->feed);
    store_watchers_add(db->on.store, 1);
    *ret = w;
    return VARVE_OK;
}

void varve_watch_close(varve_watch *w)
{
    if (!w)
        return;
    store_watchers_add(w->row->db->on.store, -1);
    varve_iter_close(w->row);
    mem_free(w);
}

void varve_watch_cancel(varve_watch *w)
{
    if (!w)
        return;
    atomic_store(&w->cancelled, true);
    store_wake_watchers(w->row->db->on.store);
}

const char *varve_watch_token(const varve_watch *w)
{
    return w ? feed_token(w->row->feed) : "";
}

/* Milliseconds that are left, rounded up so that a wait never ends before its time; UINT64_MAX:
 * without limit. */
static uint64_t left_ms(struct env *env, int64_t timeout_ms, uint64_t start_ns)
{
    if (timeout_ms < 0)
        return UINT64_MAX;
    uint64_t passed_ms = (env_mono_ns(env) - start_ns) / 1000000;
    return passed_ms >= (uint64_t)timeout_ms ? 0 : (uint64_t)timeout_ms - passed_ms;
}

int varve_watch_next(varve_watch *w, int64_t timeout_ms, const varve_iter **ret_row)
{
    struct err *err = embed__err();
    if (!w || !ret_row)
        return -(int)embed__done(embed__null(w ? "ret_row" : "w", err));
    varve_iter *it = w->row;
    uint64_t start = timeout_ms > 0 ? env_mono_ns(it->db->on.env) : 0;
    for (;;) {
        struct feed_row row;
        it->has_row = false;
        if (atomic_load(&w->cancelled))
            return 0;
        int rc = feed_next(it->feed, &row, err);
        /* The rows that have ended may have been of a moment that is over: what came since is there. */
        if (rc == 0 && !feed_limit_reached(it->feed))
            rc = feed_next(it->feed, &row, err);
        if (rc < 0)
            return -(int)embed__done((enum status) - rc);
        if (rc > 0) {
            it->collection = row.collection;
            it->key = row.key;
            it->rec = row.rec;
            it->has_row = true;
            *ret_row = it;
            return 1;
        }
        uint64_t left = timeout_ms == 0 || feed_limit_reached(it->feed)
                            ? 0
                            : left_ms(it->db->on.env, timeout_ms, start);
        if (left == 0)
            return 0;
        if (!feed_wait(it->feed, left, &w->cancelled) && timeout_ms >= 0 &&
            left_ms(it->db->on.env, timeout_ms, start) == 0)
            return 0;
    }
}
