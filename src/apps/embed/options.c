/* options.c - the checks of arguments; each refusal names the argument and the limit. */
#include "apps/embed/embed_internal.h"

#include <inttypes.h>

enum status embed__sized(void *dst, size_t size, const void *src, const char *what, struct err *err)
{
    memset(dst, 0, size);
    if (!src)
        return ST_OK;
    size_t given;
    memcpy(&given, src, sizeof(given));
    if (given < sizeof(given))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "%s.size: it is %zu; set it to sizeof the structure", what, given);
    const uint8_t *bytes = src;
    for (size_t i = size; i < given; i++)
        if (bytes[i] != 0)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "%s: byte %zu is set, which this version of the library does not know",
                           what, i);
    memcpy(dst, src, given < size ? given : size);
    return ST_OK;
}

enum status embed__check_name(const char *name, const char *what, struct err *err)
{
    if (!name)
        return embed__null(what, err);
    size_t len = strlen(name);
    if (len == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "%s: the name is empty", what);
    if (len > STORE_NAME_MAX)
        return err_set(err, ST_TOO_LARGE, "%s: the name has %zu bytes, over the limit of %d", what,
                       len, STORE_NAME_MAX);
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)name[i] < 0x20 || name[i] == '/' || name[i] == 0x7f)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "%s: the name has a control character or '/' at byte %zu", what, i);
    return ST_OK;
}

enum status embed__check_key(const void *key, size_t len, struct err *err)
{
    if (__builtin_expect(key && len > 0 && len <= STORE_KEY_MAX, 1))
        return ST_OK;
    if (len == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "key: it is empty; a key has 1 to %d bytes",
                       STORE_KEY_MAX);
    if (!key)
        return embed__null("key", err);
    return err_set(err, ST_TOO_LARGE, "key: it has %zu bytes, over the limit of %d (64 KiB)", len,
                   STORE_KEY_MAX);
}

enum status embed__check_sync(varve_sync sync, const char *what, struct err *err)
{
    if ((unsigned)sync <= (unsigned)VARVE_SYNC_OFF)
        return ST_OK;
    return err_set(err, ST_INVALID_ARGUMENT, "%s: %d is no sync mode", what, (int)sync);
}

enum status embed__check_writer(const char *writer, struct bytes *ret, struct err *err)
{
    size_t len = strlen(writer);
    if (len > RECORD_WRITER_MAX)
        return err_set(err, ST_TOO_LARGE, "writer: it has %zu bytes, over the limit of %d", len,
                       RECORD_WRITER_MAX);
    *ret = BYTES(writer, len);
    return ST_OK;
}

enum status embed__check_value(varve_type type, const void *data, size_t len, struct buf *scratch,
                               uint8_t *ret_type, struct bytes *ret, struct err *err)
{
    struct bytes value = BYTES(data, len);
    enum status st = ST_OK;
    if (!data && len > 0)
        return embed__null("value", err);
    if (type != VARVE_RAW && type != VARVE_DOC && type != VARVE_JSON)
        return err_set(err, ST_INVALID_ARGUMENT, "type: %d is no type of a value", (int)type);
    if (type == VARVE_JSON) {
        buf_clear(scratch);
        st = doc_from_json(value, scratch, err);
        value = buf_bytes(scratch);
    }
    if (st == ST_OK && value.len > RECORD_VALUE_MAX)
        return err_set(err, ST_TOO_LARGE, "value: it has %zu bytes, over the limit of %d (16 MiB)",
                       value.len, RECORD_VALUE_MAX);
    if (st == ST_OK && type == VARVE_DOC)
        st = doc_check(value, err);
    if (st != ST_OK) {
        err_prefix(err, "value");
        return st;
    }
    *ret_type = type == VARVE_RAW ? RECORD_RAW : RECORD_DOC;
    *ret = value;
    return ST_OK;
}

enum status embed__expiry(struct varve *db, uint64_t ttl_ms, uint64_t *ret_ms, struct err *err)
{
    uint64_t last = (UINT64_C(1) << EMBED_TIME_BITS) - 1;
    uint64_t now = db ? env_now_ms(db->env) : 0;
    if (ttl_ms > last - now)
        return err_set(err, ST_TOO_LARGE,
                       "ttl_ms: %" PRIu64 " reaches over the limit of time, %" PRIu64
                       " ms (48 bits)",
                       ttl_ms, last);
    *ret_ms = ttl_ms ? now + ttl_ms : 0;
    return ST_OK;
}
