/* care.c - collections, snapshots, retention, and what keeps a folder healthy. */
#include "apps/embed/embed_internal.h"

varve_status varve_collection_drop(varve *db, const char *collection, const varve_write_options *o)
{
    struct err *err = embed__err();
    struct write_settings s;
    if (!db)
        return embed__done(embed__null("db", err));
    enum status st = embed__check_name(collection, "collection", err);
    if (st == ST_OK)
        st = embed__settings(db, o, &s, err);
    if (st == ST_OK && s.ttl_ms)
        st = err_set(err, ST_INVALID_ARGUMENT, "options.ttl_ms: a drop does not expire");
    if (st == ST_OK)
        st = store_collection_drop(db->store, BYTES_STR(collection), s.writer, err);
    return embed__done(st);
}

/* ---- snapshots ---- */

static enum status snapshot_create(struct varve *db, const char *name, const varve_at *at,
                                   varve_version *ret, struct err *err)
{
    struct version when;
    if (!db)
        return embed__null("db", err);
    enum status st = embed__check_name(name, "snapshot", err);
    if (st == ST_OK)
        st = embed__moment(db, at, &when, err);
    if (st == ST_OK && version_is_none(when)) {
        when = store_visible(db->store);
        if (version_is_none(when)) /* nothing was ever written: the moment before everything */
            when.hlc = 1;
        st = store_fix_moment(db->store, when, err);
    }
    /* "All of a millisecond" is a millisecond's last version of any region; what is shown and kept
     * is that version alone, and it sees as much while there is one region. */
    if (when.origin == UINT32_MAX)
        when.origin = 0;
    if (st == ST_OK)
        st = store_snapshot_create(db->store, BYTES_STR(name), when, err);
    if (st == ST_OK && ret)
        *ret = embed__public(when);
    return st;
}

varve_status varve_snapshot_create(varve *db, const char *name, const varve_at *at,
                                   varve_version *ret)
{
    return embed__done(snapshot_create(db, name, at, ret, embed__err()));
}

varve_status varve_snapshot_delete(varve *db, const char *name)
{
    struct err *err = embed__err();
    if (!db)
        return embed__done(embed__null("db", err));
    enum status st = embed__check_name(name, "snapshot", err);
    if (st == ST_OK)
        st = store_snapshot_delete(db->store, BYTES_STR(name), err);
    return embed__done(st);
}

/* ---- retention ---- */

varve_status varve_retention_set(varve *db, const char *collection, const varve_retention *r)
{
    struct err *err = embed__err();
    if (!db || !r)
        return embed__done(embed__null(db ? "r" : "db", err));
    enum status st = embed__check_name(collection, "collection", err);
    struct collection_settings settings = {.max_age_ms = r->max_age_ms, .max_count = r->max_count};
    if (st == ST_OK)
        st = store_settings_set(db->store, BYTES_STR(collection), &settings, err);
    return embed__done(st);
}

varve_status varve_retention_get(varve *db, const char *collection, varve_retention *ret)
{
    struct err *err = embed__err();
    struct collection_settings settings;
    if (!db || !ret)
        return embed__done(embed__null(db ? "ret" : "db", err));
    enum status st = embed__check_name(collection, "collection", err);
    if (st == ST_OK)
        st = store_settings_get(db->store, BYTES_STR(collection), &settings, err);
    if (st == ST_OK)
        *ret =
            (varve_retention){.max_age_ms = settings.max_age_ms, .max_count = settings.max_count};
    return embed__done(st);
}

varve_status varve_vacuum(varve *db, const char *collection, varve_progress_fn progress, void *arg,
                          varve_vacuum_result *ret)
{
    struct err *err = embed__err();
    struct store_vacuum_result r = {0};
    if (!db)
        return embed__done(embed__null("db", err));
    enum status st = collection ? embed__check_name(collection, "collection", err) : ST_OK;
    if (st == ST_OK)
        st = store_vacuum(db->store, collection ? BYTES_STR(collection) : BYTES_EMPTY, progress,
                          arg, &r, err);
    if (st == ST_OK && ret)
        *ret = (varve_vacuum_result){r.rows_seen, r.versions_removed, r.bytes_removed, r.expired};
    return embed__done(st);
}

/* ---- verify ---- */

struct verifying {
    void (*report)(void *arg, const varve_finding *f);
    varve_progress_fn progress;
    void *arg;
};

static void on_finding(void *arg, const struct store_finding *f)
{
    const struct verifying *v = arg;
    if (v->report)
        v->report(v->arg, &(varve_finding){f->file ? f->file : "", f->offset, f->range, f->text});
}

static bool on_progress(void *arg, uint64_t done, uint64_t total)
{
    const struct verifying *v = arg;
    return !v->progress || v->progress(v->arg, done, total);
}

varve_status varve_verify(varve *db, void (*report)(void *arg, const varve_finding *f),
                          varve_progress_fn progress, void *arg)
{
    struct err *err = embed__err();
    struct verifying v = {report, progress, arg};
    return embed__done(db ? store_verify(db->store, on_finding, on_progress, &v, err)
                          : embed__null("db", err));
}

varve_status varve_verify_dir(const char *dir, void (*report)(void *arg, const varve_finding *f),
                              varve_progress_fn progress, void *arg)
{
    struct err *err = embed__err();
    struct verifying v = {report, progress, arg};
    struct store_options o = {.engine_open = engine_rocks_open, .engine_name = "rocks"};
    if (!dir)
        return embed__done(embed__null("dir", err));
    return embed__done(store_verify_dir(env_linux(), dir, &o, on_finding, on_progress, &v, err));
}

varve_status varve_checkpoint(varve *db)
{
    struct err *err = embed__err();
    return embed__done(db ? store_checkpoint(db->store, err) : embed__null("db", err));
}

varve_status varve_compact(varve *db)
{
    struct err *err = embed__err();
    return embed__done(db ? store_compact(db->store, err) : embed__null("db", err));
}
