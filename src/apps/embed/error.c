/* error.c - the last failure of each thread, statuses and versions as text. */
#include "apps/embed/embed_internal.h"

#define X(name, number, text, grpc, http, retry)                                                   \
    _Static_assert((int)ST_##name == (int)VARVE_##name,                                            \
                   "the public header repeats the numbers of the table");
STATUS_TABLE(X)
#undef X
_Static_assert((int)VERSION_TEXT_MAX == (int)VARVE_VERSION_TEXT_MAX,
               "texts of versions have one size");
_Static_assert((int)RECORD_RAW == (int)VARVE_RAW && (int)RECORD_DOC == (int)VARVE_DOC &&
                   (int)COMMAND_RAW == (int)VARVE_RAW && (int)COMMAND_DOC == (int)VARVE_DOC &&
                   (int)COMMAND_JSON == (int)VARVE_JSON,
               "types have one number");
_Static_assert((int)COMMAND_AT_NOW == (int)VARVE_AT_NOW &&
                   (int)COMMAND_AT_VERSION == (int)VARVE_AT_VERSION &&
                   (int)COMMAND_AT_TIME == (int)VARVE_AT_TIME &&
                   (int)COMMAND_AT_SNAPSHOT == (int)VARVE_AT_SNAPSHOT,
               "moments have one number");
_Static_assert((int)STORE_SYNC_DEFAULT == (int)VARVE_SYNC_DEFAULT &&
                   (int)STORE_SYNC_ALWAYS == (int)VARVE_SYNC_ALWAYS &&
                   (int)STORE_SYNC_INTERVAL == (int)VARVE_SYNC_INTERVAL &&
                   (int)STORE_SYNC_OFF == (int)VARVE_SYNC_OFF,
               "sync modes have one number");
_Static_assert((int)STORE_REQUIRE_ABSENT == (int)VARVE_REQUIRE_ABSENT &&
                   (int)STORE_REQUIRE_PRESENT == (int)VARVE_REQUIRE_PRESENT &&
                   (int)STORE_REQUIRE_VERSION == (int)VARVE_REQUIRE_VERSION,
               "requirements have one number");
_Static_assert((int)DOC_DIFF_PATHS == (int)VARVE_DIFF_PATHS &&
                   (int)DOC_DIFF_JSON_PATCH == (int)VARVE_DIFF_JSON_PATCH,
               "formats of differences have one number");

/* Those below also write into what they are given when a failure is theirs to handle, as a missing
 * file is at an opening. So it becomes the last error only when the call has failed. */
static _Thread_local struct err given, last;

struct err *embed__err(void)
{
    return &given;
}

varve_status embed__failed(enum status st)
{
    if (given.status != st) /* whoever failed had nothing to add */
        err_set(&given, st, "%s", status_text(st));
    last.status = st;
    memcpy(last.detail, given.detail, strlen(given.detail) + 1);
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
