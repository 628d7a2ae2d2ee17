/* check.c - the checks of arguments; each refusal names the field and the limit. */
#include "serve/command/command_internal.h"

#include <inttypes.h>

enum status command__null(const char *what, struct err *err)
{
    return err_set(err, ST_INVALID_ARGUMENT, "%s: it is NULL", what);
}

enum status command__check_name(struct bytes name, const char *what, struct err *err)
{
    if (!name.data)
        return command__null(what, err);
    if (name.len == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "%s: the name is empty", what);
    if (name.len > STORE_NAME_MAX)
        return err_set(err, ST_TOO_LARGE, "%s: the name has %zu bytes, over the limit of %d", what,
                       name.len, STORE_NAME_MAX);
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] < 0x20 || name.data[i] == '/' || name.data[i] == 0x7f)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "%s: the name has a control character or '/' at byte %zu", what, i);
    return ST_OK;
}

bool command_is_system(struct bytes collection)
{
    return bytes_has_prefix(collection, BYTES_LIT(COMMAND_SYSTEM)) &&
           !bytes_eq(collection, BYTES_LIT(COMMAND_IMPORTS));
}

enum status command__refuse_system(const char *what, struct err *err)
{
    return err_set(err, ST_PERMISSION_DENIED,
                   "%s: names that begin with " COMMAND_SYSTEM " are the database's own", what);
}

enum status command__check_collection(const struct command_db *db, struct bytes name,
                                      const char *what, struct err *err)
{
    enum status st = command__check_name(name, what, err);
    return st == ST_OK && command__is_refused(db, name) ? command__refuse_system(what, err) : st;
}

enum status command__bad_key(struct bytes key, struct err *err)
{
    if (key.len == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "key: it is empty; a key has 1 to %d bytes",
                       STORE_KEY_MAX);
    if (!key.data)
        return command__null("key", err);
    return err_set(err, ST_TOO_LARGE, "key: it has %zu bytes, over the limit of %d (64 KiB)",
                   key.len, STORE_KEY_MAX);
}

/* One more than a key may have, so that "behind this key" can always be said: the key with a zero
 * byte after it. */
enum status command__check_bound(struct bytes b, const char *what, struct err *err)
{
    if (b.len > STORE_KEY_MAX + 1)
        return err_set(err, ST_TOO_LARGE, "%s: it has %zu bytes, over the limit of %d (64 KiB)",
                       what, b.len, STORE_KEY_MAX);
    return b.data || !b.len ? ST_OK : command__null(what, err);
}

enum status command__check_require(const struct command_require *r, struct err *err)
{
    if (r->what != STORE_REQUIRE_ABSENT && r->what != STORE_REQUIRE_PRESENT &&
        r->what != STORE_REQUIRE_VERSION)
        return err_set(err, ST_INVALID_ARGUMENT, "what: %d is no requirement", (int)r->what);
    if (r->what == STORE_REQUIRE_VERSION && version_is_none(r->version))
        return err_set(err, ST_INVALID_ARGUMENT, "version: it is none; to require absence, say so");
    return ST_OK;
}

enum status command__check_value(struct command_value value, struct buf *scratch, uint8_t *ret_type,
                                 struct bytes *ret, struct err *err)
{
    struct bytes kept = value.data;
    enum status st = ST_OK;
    if (!kept.data && kept.len > 0)
        return command__null("value", err);
    if (value.type != COMMAND_RAW && value.type != COMMAND_DOC && value.type != COMMAND_JSON)
        return err_set(err, ST_INVALID_ARGUMENT, "type: %d is no type of a value", (int)value.type);
    if (value.type == COMMAND_JSON) {
        buf_clear(scratch);
        st = doc_from_json(kept, scratch, err);
        kept = buf_bytes(scratch);
    }
    if (st == ST_OK && kept.len > RECORD_VALUE_MAX)
        return err_set(err, ST_TOO_LARGE, "value: it has %zu bytes, over the limit of %d (16 MiB)",
                       kept.len, RECORD_VALUE_MAX);
    if (st == ST_OK && value.type == COMMAND_DOC)
        st = doc_check(kept, err);
    if (st != ST_OK) {
        err_prefix(err, "value");
        return st;
    }
    *ret_type = value.type == COMMAND_RAW ? RECORD_RAW : RECORD_DOC;
    *ret = kept;
    return ST_OK;
}

enum status command__expiry(uint64_t now_ms, uint64_t ttl_ms, uint64_t *ret_ms, struct err *err)
{
    if (now_ms > COMMAND_EXPIRES_MAX || ttl_ms > COMMAND_EXPIRES_MAX - now_ms)
        return err_set(err, ST_TOO_LARGE,
                       "ttl_ms: with %" PRIu64 " ms the record would expire after the year 9999",
                       ttl_ms);
    *ret_ms = ttl_ms ? now_ms + ttl_ms : 0;
    return ST_OK;
}

enum status command__options(const struct command_db *db, const struct command_options *o,
                             struct command_options *ret, struct err *err)
{
    if (!o) {
        *ret = (struct command_options){.writer = db->writer};
        return ST_OK;
    }
    if ((unsigned)o->sync > (unsigned)STORE_SYNC_OFF)
        return err_set(err, ST_INVALID_ARGUMENT, "options.sync: %d is no sync mode", (int)o->sync);
    if (o->writer.len > RECORD_WRITER_MAX)
        return err_set(err, ST_TOO_LARGE, "writer: it has %zu bytes, over the limit of %d",
                       o->writer.len, RECORD_WRITER_MAX);
    if (o->request_id.len > STORE_REQUEST_ID_MAX)
        return err_set(err, ST_TOO_LARGE,
                       "options.request_id: it has %zu bytes, over the limit of %d",
                       o->request_id.len, STORE_REQUEST_ID_MAX);
    *ret = *o;
    if (!o->writer.data)
        ret->writer = db->writer;
    return ST_OK;
}
