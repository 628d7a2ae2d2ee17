/* write.c - one record at a time. */
#include "apps/embed/embed_internal.h"

static enum status check(struct varve *db, const char *collection, const varve_write_options *o,
                         struct command_options *ret, struct err *err)
{
    if (!db || !collection)
        return embed__null(db ? "collection" : "db", err);
    return embed__options(o, ret, err);
}

static void tell(struct version v, varve_version *ret)
{
    if (ret)
        *ret = embed__public(v);
}

varve_status varve_put(varve *db, const char *collection, const void *key, size_t key_len,
                       varve_type type, const void *data, size_t len, const varve_write_options *o,
                       varve_version *ret_version)
{
    struct err *err = embed__err();
    struct version v;
    struct command_put c = {.collection = embed__name(collection),
                            .key = BYTES(key, key_len),
                            .value = embed__value(type, data, len)};
    enum status st = check(db, collection, o, &c.options, err);
    if (st == ST_OK)
        st = command_put(&db->on, &c, &v, err);
    if (st == ST_OK)
        tell(v, ret_version);
    return embed__done(st);
}

varve_status varve_compare_and_set(varve *db, const char *collection, const void *key,
                                   size_t key_len, varve_version expected, varve_type type,
                                   const void *data, size_t len, const varve_write_options *o,
                                   varve_version *ret_version)
{
    struct err *err = embed__err();
    struct version v;
    struct command_put c = {.collection = embed__name(collection),
                            .key = BYTES(key, key_len),
                            .value = embed__value(type, data, len),
                            .require = command_expect(embed__version(expected))};
    enum status st = check(db, collection, o, &c.options, err);
    if (st == ST_OK)
        st = command_put(&db->on, &c, &v, err);
    if (st == ST_OK || st == ST_PRECONDITION_FAILED)
        tell(v, ret_version);
    return embed__done(st);
}

varve_status varve_delete(varve *db, const char *collection, const void *key, size_t key_len,
                          const varve_write_options *o, varve_version *ret_version)
{
    struct err *err = embed__err();
    struct version v;
    struct command_delete c = {.collection = embed__name(collection), .key = BYTES(key, key_len)};
    enum status st = check(db, collection, o, &c.options, err);
    if (st == ST_OK)
        st = command_delete(&db->on, &c, &v, err);
    if (st == ST_OK)
        tell(v, ret_version);
    return embed__done(st);
}

varve_status varve_restore(varve *db, const char *collection, const void *key, size_t key_len,
                           const varve_at *at, const varve_write_options *o,
                           varve_version *ret_version)
{
    struct err *err = embed__err();
    struct version v;
    struct command_restore c = {
        .collection = embed__name(collection), .key = BYTES(key, key_len), .at = embed__at(at)};
    enum status st = check(db, collection, o, &c.options, err);
    if (st == ST_OK)
        st = command_restore(&db->on, &c, &v, err);
    if (st == ST_OK)
        tell(v, ret_version);
    return embed__done(st);
}

varve_status varve_sync_now(varve *db)
{
    struct err *err = embed__err();
    return embed__done(db ? store_sync_now(db->on.store, err) : embed__null("db", err));
}
