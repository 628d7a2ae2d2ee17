/* error.c - the last failure of each thread, statuses and versions as text. */
#include "apps/embed/embed_internal.h"

#define X(name, number, text, grpc, http, retry)                                                   \
    _Static_assert((int)ST_##name == (int)VARVE_##name,                                            \
                   "the public header repeats the numbers of the table");
STATUS_TABLE(X)
#undef X
_Static_assert((int)VERSION_TEXT_MAX == (int)VARVE_VERSION_TEXT_MAX,
               "texts of versions have one size");
_Static_assert((int)RECORD_RAW == (int)VARVE_RAW && (int)RECORD_DOC == (int)VARVE_DOC,
               "types have one number");

static _Thread_local struct err last;

struct err *embed__err(void)
{
    return &last;
}

varve_status embed__failed(enum status st)
{
    if (last.status != st) /* whoever failed had nothing to add */
        err_set(&last, st, "%s", status_text(st));
    return (varve_status)st;
}

enum status embed__null(const char *what, struct err *err)
{
    return err_set(err, ST_INVALID_ARGUMENT, "%s: it is NULL", what);
}

const char *varve_last_error(void)
{
    return last.detail;
}

const char *varve_status_name(varve_status st)
{
    return status_name((enum status)st);
}

const char *varve_status_text(varve_status st)
{
    return status_text((enum status)st);
}

const char *varve_version_string(void)
{
    return VARVE_VERSION_STRING;
}

void varve_free(void *p)
{
    mem_free(p);
}

int varve_version_compare(varve_version a, varve_version b)
{
    return version_cmp(embed__version(a), embed__version(b));
}

uint64_t varve_version_time_ms(varve_version v)
{
    return version_ms(embed__version(v));
}

void varve_version_format(varve_version v, char out[VARVE_VERSION_TEXT_MAX])
{
    version_format(embed__version(v), out);
}

varve_status varve_version_parse(const char *text, varve_version *ret)
{
    struct version v;
    if (!text || !ret)
        return embed__done(embed__null(text ? "ret" : "text", embed__err()));
    if (!version_parse(BYTES_STR(text), &v))
        return embed__done(
            err_set(embed__err(), ST_INVALID_ARGUMENT,
                    "version: \"%.40s\" is none (16 hex digits, then perhaps -ORIGIN)", text));
    *ret = embed__public(v);
    return VARVE_OK;
}
