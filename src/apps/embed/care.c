/* care.c - collections, snapshots, retention, and what keeps a folder healthy. */
#include "apps/embed/embed_internal.h"

varve_status varve_collection_drop(varve *db, const char *collection, const varve_write_options *o)
{
    struct err *err = embed__err();
    struct command_options options;
    if (!db)
        return embed__done(embed__null("db", err));
    enum status st = embed__options(o, &options, err);
    if (st == ST_OK)
        st = command_collection_drop(&db->on, embed__name(collection), &options, err);
    return embed__done(st);
}

/* ---- snapshots ---- */

varve_status varve_snapshot_create(varve *db, const char *name, const varve_at *at,
                                   varve_version *ret)
{
    struct err *err = embed__err();
    struct version v;
    if (!db)
        return embed__done(embed__null("db", err));
    struct command_at when = embed__at(at);
    enum status st = command_snapshot_create(&db->on, embed__name(name), &when, &v, err);
    if (st == ST_OK && ret)
        *ret = embed__public(v);
    return embed__done(st);
}

varve_status varve_snapshot_delete(varve *db, const char *name)
{
    struct err *err = embed__err();
    return embed__done(db ? command_snapshot_delete(&db->on, embed__name(name), err)
                          : embed__null("db", err));
}

/* ---- retention ---- */

varve_status varve_retention_set(varve *db, const char *collection, const varve_retention *r)
{
    struct err *err = embed__err();
    if (!db || !r)
        return embed__done(embed__null(db ? "r" : "db", err));
    struct collection_settings settings = {.max_age_ms = r->max_age_ms, .max_count = r->max_count};
    return embed__done(command_retention_set(&db->on, embed__name(collection), &settings, err));
}

varve_status varve_retention_get(varve *db, const char *collection, varve_retention *ret)
{
    struct err *err = embed__err();
    struct collection_settings settings;
    if (!db || !ret)
        return embed__done(embed__null(db ? "ret" : "db", err));
    enum status st = command_retention_get(&db->on, embed__name(collection), &settings, err);
    if (st == ST_OK)
        *ret =
            (varve_retention){.max_age_ms = settings.max_age_ms, .max_count = settings.max_count};
    return embed__done(st);
}

varve_status varve_vacuum(varve *db, const char *collection, varve_progress_fn progress, void *arg,
                          varve_vacuum_result *ret)
{
    struct err *err = embed__err();
    struct store_vacuum_result r;
    if (!db)
        return embed__done(embed__null("db", err));
    enum status st = command_vacuum(&db->on, embed__name(collection), progress, arg, &r, err);
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
    return embed__done(db ? store_verify(db->on.store, on_finding, on_progress, &v, err)
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
    return embed__done(db ? store_checkpoint(db->on.store, err) : embed__null("db", err));
}

varve_status varve_compact(varve *db)
{
    struct err *err = embed__err();
    return embed__done(db ? store_compact(db->on.store, err) : embed__null("db", err));
}
