/* options.c - structures that grow with the library's versions. */
#include "apps/embed/embed_internal.h"

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

enum status embed__options(const varve_write_options *given, struct command_options *ret,
                           struct err *err)
{
    varve_write_options o;
    enum status st = embed__sized(&o, sizeof(o), given, "options", err);
    if (st == ST_OK)
        *ret = (struct command_options){.sync = (enum store_sync)o.sync,
                                        .ttl_ms = o.ttl_ms,
                                        .writer = embed__name(o.writer),
                                        .request_id =
                                            o.request_id ? embed__name(o.request_id) : BYTES_EMPTY};
    return st;
}
