/* Verbs at a server: calls, and the contracts' messages from and into the structures of varve.h. */
#include "apps/cli/cli_remote.h"
#include "base/alloc.h"
#include <string.h>

enum { ARENA_BYTES = 64 * 1024, REQUEST_KEPT = 1024 * 1024 };

/* ---- calls ---- */

varve_status remote__begin(struct remote *r)
{
    r->failure = (struct client_failure){0};
    arena_reset(&r->arena);
    buf_clear(&r->answer);
    if (r->request.cap > REQUEST_KEPT)
        buf_deinit(&r->request);
    buf_clear(&r->request);
    return VARVE_OK;
}

varve_status remote__no_memory(struct remote *r)
{
    return (varve_status)err_set(&r->failure.err, ST_NO_MEMORY, "out of memory");
}

varve_status remote__broken(struct remote *r, const struct err *e)
{
    enum status st = e->status == ST_NO_MEMORY ? ST_NO_MEMORY : ST_INTERNAL;
    return (varve_status)err_set(&r->failure.err, st, "the answer cannot be read: %s", e->detail);
}

varve_status remote__call(struct remote *r, const struct remote_method *how,
                          const ProtobufCMessage *m, void *ret)
{
    struct client_request q = {
        .method = how->name, .repeat = how->repeat, .deadline_ms = how->deadline_ms};
    struct err e;
    void *answer = NULL;
    err_init(&e);
    buf_clear(&r->request);
    buf_clear(&r->answer);
    if (pb_encode(m, &r->request) != ST_OK)
        return remote__no_memory(r);
    q.message = buf_bytes(&r->request);
    enum status st = client_call(r->client, &q, &r->answer, &r->failure);
    if (st != ST_OK)
        return (varve_status)st;
    if (pb_decode(how->answer, buf_bytes(&r->answer), &r->arena, &answer, NULL, &e) != ST_OK)
        return remote__broken(r, &e);
    *(void **)ret = answer;
    return VARVE_OK;
}

/* ---- into messages ---- */

char *remote__text(struct arena *a, const char *s)
{
    return arena_strdup(a, s ? s : "");
}

Varve__V1__Version *remote__version(struct arena *a, varve_version v)
{
    Varve__V1__Version *m = arena_alloc(a, sizeof *m);
    if (!m)
        return NULL;
    varve__v1__version__init(m);
    m->hlc = v.hlc;
    m->origin = v.origin;
    return m;
}

Varve__V1__At *remote__at(struct arena *a, const varve_at *at)
{
    Varve__V1__At *m = arena_alloc(a, sizeof *m);
    bool ok = m != NULL;
    if (!ok)
        return NULL;
    varve__v1__at__init(m);
    switch (at ? at->kind : VARVE_AT_NOW) {
    case VARVE_AT_NOW:
        break;
    case VARVE_AT_VERSION:
        m->moment_case = VARVE__V1__AT__MOMENT_VERSION;
        ok = (m->version = remote__version(a, at->version)) != NULL;
        break;
    case VARVE_AT_TIME:
        m->moment_case = VARVE__V1__AT__MOMENT_TIME_UNIX_MS;
        m->time_unix_ms = at->time_ms;
        break;
    case VARVE_AT_SNAPSHOT:
        m->moment_case = VARVE__V1__AT__MOMENT_SNAPSHOT;
        ok = (m->snapshot = remote__text(a, at->snapshot)) != NULL;
        break;
    }
    return ok ? m : NULL;
}

Varve__V1__WriteOptions *remote__options(struct arena *a, const varve_write_options *o)
{
    static const Varve__V1__Sync modes[] = {
        [VARVE_SYNC_DEFAULT] = VARVE__V1__SYNC__SYNC_UNSPECIFIED,
        [VARVE_SYNC_ALWAYS] = VARVE__V1__SYNC__SYNC_ALWAYS,
        [VARVE_SYNC_INTERVAL] = VARVE__V1__SYNC__SYNC_INTERVAL,
        [VARVE_SYNC_OFF] = VARVE__V1__SYNC__SYNC_OFF,
    };
    Varve__V1__WriteOptions *m = arena_alloc(a, sizeof *m);
    if (!m)
        return NULL;
    varve__v1__write_options__init(m);
    m->sync = modes[o->sync];
    m->ttl_ms = o->ttl_ms;
    m->writer = remote__text(a, o->writer);
    if (o->request_id)
        m->request_id = remote__text(a, o->request_id);
    return m->writer && m->request_id ? m : NULL;
}

varve_status remote__value(struct remote *r, struct arena *a, const struct db_put *p,
                           Varve__V1__Value **ret)
{
    Varve__V1__Value *m = arena_alloc(a, sizeof *m);
    struct bytes data = p->data;
    if (!m)
        return remote__no_memory(r);
    varve__v1__value__init(m);
    if (p->type == VARVE_JSON) {
        void *bson = NULL;
        size_t len;
        varve_status st = varve_json_to_bson((const char *)p->data.data, p->data.len, &bson, &len);
        if (st != VARVE_OK)
            return (varve_status)err_set(&r->failure.err, (enum status)st, "%s",
                                         varve_last_error());
        data = BYTES(arena_memdup(a, bson, len), len);
        varve_free(bson);
        if (!data.data)
            return remote__no_memory(r);
    }
    m->kind_case = p->type == VARVE_RAW ? VARVE__V1__VALUE__KIND_RAW : VARVE__V1__VALUE__KIND_BSON;
    m->raw = pb_data(data); /* raw and bson share their place */
    *ret = m;
    return VARVE_OK;
}

/* ---- out of messages ---- */

varve_version remote__version_of(const Varve__V1__Version *m)
{
    return m ? (varve_version){m->hlc, m->origin} : (varve_version){0, 0};
}

void remote__row_of(const Varve__V1__Record *m, struct db_row *row)
{
    *row = (struct db_row){.key = pb_bytes(m->key),
                           .value = BYTES_EMPTY,
                           .writer = BYTES_STR(m->writer),
                           .version = remote__version_of(m->version),
                           .parent = remote__version_of(m->parent),
                           .deleted = m->deleted,
                           .expires_ms = m->expires_unix_ms};
    if (m->value && m->value->kind_case == VARVE__V1__VALUE__KIND_RAW)
        row->value = pb_bytes(m->value->raw);
    if (m->value && m->value->kind_case == VARVE__V1__VALUE__KIND_BSON) {
        row->type = VARVE_DOC;
        row->value = pb_bytes(m->value->bson);
    }
}

/* ---- life ---- */

static const char *remote_error(struct db *db)
{
    return remote__of(db)->failure.err.detail;
}

static varve_status remote_close(struct db *db)
{
    struct remote *r = remote__of(db);
    if (r->pending)
        (void)r->db.write->settle(db);
    client_close(r->client);
    arena_deinit(&r->arena);
    arena_deinit(&r->commit_arena);
    buf_deinit(&r->request);
    buf_deinit(&r->answer);
    buf_deinit(&r->commit_request);
    mem_free(r);
    return VARVE_OK;
}

struct db *db_remote_new(struct client *client)
{
    struct remote *r = mem_zalloc(sizeof *r);
    if (!r)
        return NULL;
    r->db = (struct db){.read = &remote__read,
                        .write = &remote__write,
                        .care = &remote__care,
                        .error = remote_error,
                        .close = remote_close};
    r->client = client;
    arena_init(&r->arena, ARENA_BYTES);
    arena_init(&r->commit_arena, ARENA_BYTES);
    return &r->db;
}
