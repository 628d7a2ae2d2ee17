/* stats.c - figures. */
#include "apps/embed/embed_internal.h"

static enum status get_stats(struct varve *db, varve_stats *ret, struct err *err)
{
    struct store_stats s;
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    if (ret->size < sizeof(ret->size))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "ret.size: it is %zu; set it to sizeof the structure", ret->size);
    store_stats(db->on.store, &s);
    varve_stats out = {
        .size = ret->size,
        .reads = s.cache.hits + s.cache.misses,
        .cache_hits = s.cache.hits,
        .writes = s.writes,
        .commits = s.commits,
        .log_syncs = s.wal.syncs,
        .cache_bytes = s.cache.bytes,
        .cache_entries = s.cache.entries,
        .table_bytes = s.table_bytes,
        .table_versions = s.table_versions,
        .live_rows = s.engine.live_rows,
        .past_rows = s.engine.past_rows,
        .when_rows = s.engine.when_rows,
        .live_bytes = s.engine.live_bytes,
        .past_bytes = s.engine.past_bytes,
        .when_bytes = s.engine.when_bytes,
        .log_bytes = s.wal.bytes,
        .log_live_bytes = s.wal.live_bytes,
        .log_segments = s.wal.segments,
        .checkpoints = s.checkpoints,
        .applied_index = s.applied_index,
        .persisted_index = s.persisted_index,
        .watchers = s.watchers,
        .collections = s.collections,
        .newest = embed__public(s.newest),
        .poisoned = s.poisoned,
    };
    /* A caller built with an older header has room for its part only; of a newer one the rest is
     * zero. */
    size_t n = ret->size < sizeof(out) ? ret->size : sizeof(out);
    memset(ret, 0, ret->size);
    memcpy(ret, &out, n);
    return ST_OK;
}

varve_status varve_get_stats(varve *db, varve_stats *ret)
{
    return embed__done(get_stats(db, ret, embed__err()));
}

static enum status print_metrics(struct varve *db, char **ret, struct err *err)
{
    struct buf out = BUF_INIT;
    size_t len;
    if (!db || !ret)
        return embed__null(db ? "ret" : "db", err);
    enum status st = command_metrics(&db->on, &out, err);
    if (st == ST_OK && !buf_cstr(&out))
        st = err_set(err, ST_NO_MEMORY, "no memory for the metrics");
    if (st == ST_OK)
        *ret = (char *)buf_steal(&out, &len);
    buf_deinit(&out);
    return st;
}

varve_status varve_metrics(varve *db, char **ret)
{
    return embed__done(print_metrics(db, ret, embed__err()));
}
