/* care.c - collections, snapshots, retention, and what keeps a folder healthy. */
#include "serve/command/command_internal.h"

enum status command_collection_drop(const struct command_db *db, struct bytes collection,
                                    const struct command_options *given, struct err *err)
{
    struct command_options o;
    enum status st = command__check_collection(db, collection, "collection", err);
    if (st == ST_OK)
        st = command__options(db, given, &o, err);
    if (st == ST_OK && o.ttl_ms)
        st = err_set(err, ST_INVALID_ARGUMENT, "options.ttl_ms: a drop does not expire");
    if (st == ST_OK && o.request_id.len)
        st = err_set(err, ST_UNIMPLEMENTED,
                     "options.request_id: drops cannot be told apart by their requests yet");
    return st == ST_OK ? store_collection_drop(db->store, collection, o.writer, err) : st;
}

/* ---- snapshots ---- */

/* What a read of the present sees: the newest version, and of what expires what has not by now. */
static enum status this_moment(const struct command_db *db, struct version *ret, struct err *err)
{
    struct version now = version_at_ms(env_now_ms(db->env)), visible = store_visible(db->store);
    enum status st = ST_FUTURE_TIME;
    if (now.hlc > visible.hlc)
        st = store_fix_moment(db->store, now, err);
    if (st == ST_OK)
        *ret = now;
    if (st != ST_FUTURE_TIME)
        return st;
    /* Versions are ahead of the clock, or this node's clock of the leader's. */
    *ret = version_is_none(visible) ? (struct version){1, 0} : visible;
    return store_fix_moment(db->store, *ret, err);
}

enum status command_snapshot_create(const struct command_db *db, struct bytes name,
                                    const struct command_at *at, struct version *ret,
                                    struct err *err)
{
    struct version when;
    enum status st = command__check_name(name, "snapshot", err);
    if (st == ST_OK)
        st = command_moment(db, at, &when, err);
    if (st == ST_OK && version_is_none(when))
        st = this_moment(db, &when, err);
    if (st != ST_OK)
        return st;
    /* "All of a millisecond" is a millisecond's last version of any region; what is shown and kept
     * is that version alone, and it sees as much while there is one region. */
    if (when.origin == UINT32_MAX)
        when.origin = 0;
    st = store_snapshot_create(db->store, name, when, err);
    if (st == ST_OK && ret)
        *ret = when;
    return st;
}

enum status command_snapshot_delete(const struct command_db *db, struct bytes name, struct err *err)
{
    enum status st = command__check_name(name, "snapshot", err);
    return st == ST_OK ? store_snapshot_delete(db->store, name, err) : st;
}

/* ---- retention ---- */

enum status command_retention_get(const struct command_db *db, struct bytes collection,
                                  struct collection_settings *ret, struct err *err)
{
    enum status st = command__check_collection(db, collection, "collection", err);
    if (st == ST_OK)
        st = command__present(db, err);
    return st == ST_OK ? store_settings_get(db->store, collection, ret, err) : st;
}

enum status command_retention_set(const struct command_db *db, struct bytes collection,
                                  const struct collection_settings *v, struct err *err)
{
    enum status st = command__check_collection(db, collection, "collection", err);
    return st == ST_OK ? store_settings_set(db->store, collection, v, err) : st;
}

enum status command_vacuum(const struct command_db *db, struct bytes collection,
                           command_progress_fn progress, void *arg, struct store_vacuum_result *ret,
                           struct err *err)
{
    struct store_vacuum_result r = {0};
    enum status st =
        collection.data ? command__check_collection(db, collection, "collection", err) : ST_OK;
    if (st == ST_OK)
        st = store_vacuum(db->store, collection.data ? collection : BYTES_EMPTY, progress, arg, &r,
                          err);
    if (st == ST_OK && ret)
        *ret = r;
    return st;
}

/* ---- figures ---- */

enum status command_metrics(const struct command_db *db, struct buf *ret, struct err *err)
{
    struct store_stats s;
    store_stats(db->store, &s); /* brings the gauges up to date */
    enum status st = metrics_print(store_metrics(db->store), ret);
    return st == ST_OK ? st : err_set(err, st, "no memory for the metrics");
}
