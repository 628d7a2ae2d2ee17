/* batch.c - several writes as one. A public batch is a batch of the verbs under another name. */
#include "apps/embed/embed_internal.h"

static struct command_batch *inner(const varve_batch *b)
{
    return (struct command_batch *)(uintptr_t)b;
}

varve_batch *varve_batch_new(void)
{
    return (varve_batch *)command_batch_new();
}

void varve_batch_free(varve_batch *b)
{
    command_batch_free(inner(b));
}

void varve_batch_clear(varve_batch *b)
{
    command_batch_clear(inner(b));
}

size_t varve_batch_count(const varve_batch *b)
{
    return command_batch_count(inner(b));
}

size_t varve_batch_bytes(const varve_batch *b)
{
    return command_batch_bytes(inner(b));
}

varve_status varve_batch_put(varve_batch *b, const char *collection, const void *key,
                             size_t key_len, varve_type type, const void *data, size_t len,
                             uint64_t ttl_ms)
{
    struct err *err = embed__err();
    if (!b)
        return embed__done(embed__null("b", err));
    return embed__done(command_batch_put(inner(b), embed__name(collection), BYTES(key, key_len),
                                         embed__value(type, data, len), ttl_ms, err));
}

varve_status varve_batch_delete(varve_batch *b, const char *collection, const void *key,
                                size_t key_len)
{
    struct err *err = embed__err();
    if (!b)
        return embed__done(embed__null("b", err));
    return embed__done(
        command_batch_delete(inner(b), embed__name(collection), BYTES(key, key_len), err));
}

varve_status varve_batch_require(varve_batch *b, const char *collection, const void *key,
                                 size_t key_len, varve_require what, varve_version version)
{
    struct err *err = embed__err();
    struct command_require require = {.what = (enum store_require_what)what,
                                      .version = embed__version(version)};
    if (!b)
        return embed__done(embed__null("b", err));
    return embed__done(command_batch_require(inner(b), embed__name(collection), BYTES(key, key_len),
                                             require, err));
}

varve_status varve_commit(varve *db, const varve_batch *b, const varve_write_options *o,
                          varve_version *ret_version, size_t *ret_failed)
{
    struct err *err = embed__err();
    struct command_options options;
    struct version v;
    if (!db || !b)
        return embed__done(embed__null(db ? "b" : "db", err));
    enum status st = embed__options(o, &options, err);
    /* To its owner a batch is unchanged by a commit; its scratch is not part of what it says. */
    if (st == ST_OK)
        st = command_commit(&db->on, inner(b), &options, &v, ret_failed, err);
    if (st == ST_OK && ret_version)
        *ret_version = embed__public(v);
    return embed__done(st);
}
