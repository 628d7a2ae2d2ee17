/* args.c - from the contracts' messages to the verbs' arguments. */
#include "serve/grpc/door_internal.h"

struct version args_version(const Varve__V1__Version *m)
{
    return m ? (struct version){m->hlc, m->origin} : VERSION_NONE;
}

enum status args_at(struct call *c, const Varve__V1__At *m, const char *field,
                    struct command_at *ret)
{
    *ret = (struct command_at){.kind = COMMAND_AT_NOW};
    if (!m)
        return ST_OK;
    switch (m->moment_case) {
    case VARVE__V1__AT__MOMENT_VERSION:
        ret->kind = COMMAND_AT_VERSION;
        ret->version = args_version(m->version);
        if (version_is_none(ret->version))
            return err_set(&c->err, ST_INVALID_ARGUMENT, "%s.version: it is none", field);
        break;
    case VARVE__V1__AT__MOMENT_TIME_UNIX_MS:
        ret->kind = COMMAND_AT_TIME;
        ret->time_ms = m->time_unix_ms;
        break;
    case VARVE__V1__AT__MOMENT_SNAPSHOT:
        ret->kind = COMMAND_AT_SNAPSHOT;
        ret->snapshot = text_bytes(m->snapshot);
        break;
    case VARVE__V1__AT__MOMENT__NOT_SET:
    case _VARVE__V1__AT__MOMENT__CASE_IS_INT_SIZE:
        break;
    }
    return ST_OK;
}

enum status args_consistency(struct call *c, Varve__V1__Consistency m)
{
    switch (m) {
    case VARVE__V1__CONSISTENCY__CONSISTENCY_UNSPECIFIED:
    case VARVE__V1__CONSISTENCY__CONSISTENCY_LINEARIZABLE:
        return ST_OK;
    case VARVE__V1__CONSISTENCY__CONSISTENCY_LOCAL:
        c->db.consistency = COMMAND_LOCAL;
        return ST_OK;
    case _VARVE__V1__CONSISTENCY_IS_INT_SIZE:
        break;
    }
    return err_set(&c->err, ST_INVALID_ARGUMENT, "consistency: %d is none", (int)m);
}

enum status args_value(struct call *c, const Varve__V1__Value *m, const char *field,
                       struct command_value *ret)
{
    if (m)
        switch (m->kind_case) {
        case VARVE__V1__VALUE__KIND_RAW:
            *ret = (struct command_value){COMMAND_RAW, pb_bytes(m->raw)};
            return ST_OK;
        case VARVE__V1__VALUE__KIND_BSON:
            *ret = (struct command_value){COMMAND_DOC, pb_bytes(m->bson)};
            return ST_OK;
        case VARVE__V1__VALUE__KIND_JSON:
            *ret = (struct command_value){COMMAND_JSON, text_bytes(m->json)};
            return ST_OK;
        case VARVE__V1__VALUE__KIND__NOT_SET:
        case _VARVE__V1__VALUE__KIND__CASE_IS_INT_SIZE:
            break;
        }
    return err_set(&c->err, ST_INVALID_ARGUMENT, "%s: one of raw, bson and json must be set",
                   field);
}

static bool sync_of(Varve__V1__Sync m, enum store_sync *ret)
{
    switch (m) {
    case VARVE__V1__SYNC__SYNC_UNSPECIFIED:
        *ret = STORE_SYNC_DEFAULT;
        return true;
    case VARVE__V1__SYNC__SYNC_ALWAYS:
        *ret = STORE_SYNC_ALWAYS;
        return true;
    case VARVE__V1__SYNC__SYNC_INTERVAL:
        *ret = STORE_SYNC_INTERVAL;
        return true;
    case VARVE__V1__SYNC__SYNC_OFF:
        *ret = STORE_SYNC_OFF;
        return true;
    case _VARVE__V1__SYNC_IS_INT_SIZE:
        break;
    }
    return false; /* of a newer client: a weaker promise must not be taken for it */
}

enum status args_options(struct call *c, const Varve__V1__WriteOptions *m,
                         struct command_options *ret)
{
    *ret = (struct command_options){.sync = STORE_SYNC_DEFAULT};
    if (!m)
        return ST_OK;
    if (!sync_of(m->sync, &ret->sync))
        return err_set(&c->err, ST_INVALID_ARGUMENT, "options.sync: %d is no sync mode",
                       (int)m->sync);
    ret->ttl_ms = m->ttl_ms;
    if (m->writer[0])
        ret->writer = text_bytes(m->writer);
    if (m->request_id[0])
        ret->request_id = text_bytes(m->request_id);
    return ST_OK;
}

const char *args_required(const struct command_require *r)
{
    switch (r->what) {
    case STORE_REQUIRE_ABSENT:
        return "ABSENT";
    case STORE_REQUIRE_PRESENT:
        return "PRESENT";
    case STORE_REQUIRE_VERSION:
    case STORE_REQUIRE_EXACT:
        break;
    }
    return "VERSION";
}

enum status args_precondition(struct call *c, const Varve__V1__Precondition *m, const char *field,
                              struct command_require *ret)
{
    *ret = (struct command_require){0};
    if (!m)
        return ST_OK;
    switch (m->what_case) {
    case VARVE__V1__PRECONDITION__WHAT_ABSENT:
        ret->what = STORE_REQUIRE_ABSENT;
        break;
    case VARVE__V1__PRECONDITION__WHAT_PRESENT:
        ret->what = STORE_REQUIRE_PRESENT;
        break;
    case VARVE__V1__PRECONDITION__WHAT_VERSION:
        *ret = (struct command_require){STORE_REQUIRE_VERSION, args_version(m->version)};
        break;
    case VARVE__V1__PRECONDITION__WHAT__NOT_SET:
    case _VARVE__V1__PRECONDITION__WHAT__CASE_IS_INT_SIZE:
        /* Perhaps a kind that a newer client knows: to write without it would be wrong. */
        return err_set(&c->err, ST_INVALID_ARGUMENT,
                       "%s: one of absent, present and version must be set", field);
    }
    if ((ret->what == STORE_REQUIRE_ABSENT && !m->absent) ||
        (ret->what == STORE_REQUIRE_PRESENT && !m->present))
        return err_set(&c->err, ST_INVALID_ARGUMENT, "%s: it must be true, or not set", field);
    if (ret->what == STORE_REQUIRE_VERSION && version_is_none(ret->version))
        return err_set(&c->err, ST_INVALID_ARGUMENT,
                       "%s.version: it is none; to require absence, say so", field);
    c->required = args_required(ret);
    c->subject = field;
    return ST_OK;
}

enum status args_format(struct call *c, Varve__V1__DocumentFormat f, enum doc_out *ret)
{
    switch (f) {
    case VARVE__V1__DOCUMENT_FORMAT__DOCUMENT_FORMAT_UNSPECIFIED:
    case VARVE__V1__DOCUMENT_FORMAT__DOCUMENT_FORMAT_BSON:
        *ret = DOC_OUT_BSON;
        return ST_OK;
    case VARVE__V1__DOCUMENT_FORMAT__DOCUMENT_FORMAT_JSON:
        *ret = DOC_OUT_JSON;
        return ST_OK;
    case VARVE__V1__DOCUMENT_FORMAT__DOCUMENT_FORMAT_CANONICAL_JSON:
        *ret = DOC_OUT_CANONICAL;
        return ST_OK;
    case _VARVE__V1__DOCUMENT_FORMAT_IS_INT_SIZE:
        break;
    }
    return err_set(&c->err, ST_INVALID_ARGUMENT, "document_format: %d is no format", (int)f);
}
