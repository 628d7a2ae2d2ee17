/* Reading at a server. */
#include "apps/cli/cli_remote.h"
#include "apps/cli/cli_time.h"
#include "base/alloc.h"
#include <string.h>

/* ---- single records ---- */

static varve_status remote_get(struct db *db, const char *collection, struct bytes key,
                               const varve_at *at, const struct db_row **ret)
{
    static const struct remote_method how = {"varve.v1.KV/Get",
                                             &varve__v1__get_response__descriptor, CLIENT_READ, 0};
    struct remote *r = remote__of(db);
    Varve__V1__GetRequest m = VARVE__V1__GET_REQUEST__INIT;
    const Varve__V1__GetResponse *answer;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    m.key = pb_data(key);
    m.at = remote__at(&r->arena, at);
    if (!m.collection || !m.at)
        return remote__no_memory(r);
    varve_status st = remote__call(r, &how, &m.base, &answer);
    if (st != VARVE_OK)
        return st;
    remote__row_of(answer->record ? answer->record : &(Varve__V1__Record)VARVE__V1__RECORD__INIT,
                   &r->row);
    *ret = &r->row;
    return VARVE_OK;
}

static varve_status get_some(struct remote *r, const char *collection, const struct bytes *keys,
                             size_t n, const Varve__V1__BatchGetResponse **ret)
{
    static const struct remote_method how = {
        "varve.v1.KV/BatchGet", &varve__v1__batch_get_response__descriptor, CLIENT_READ, 0};
    Varve__V1__BatchGetRequest m = VARVE__V1__BATCH_GET_REQUEST__INIT;
    (void)remote__begin(r);
    char *name = remote__text(&r->arena, collection);
    Varve__V1__BatchGetRequest__Key *named = arena_alloc(&r->arena, n * sizeof *named);
    m.keys = arena_alloc(&r->arena, n * sizeof(Varve__V1__BatchGetRequest__Key *));
    if (!name || !named || !m.keys)
        return remote__no_memory(r);
    m.n_keys = n;
    for (size_t i = 0; i < n; i++) {
        varve__v1__batch_get_request__key__init(&named[i]);
        named[i].collection = name;
        named[i].key = pb_data(keys[i]);
        m.keys[i] = &named[i];
    }
    varve_status st = remote__call(r, &how, &m.base, ret);
    if (st == VARVE_OK && (*ret)->n_results != n)
        st = (varve_status)err_set(&r->failure.err, ST_INTERNAL,
                                   "the answer has %zu results for %zu keys", (*ret)->n_results, n);
    return st;
}

/* An answer that would be too large is asked for in halves. */
static varve_status remote_get_many(struct db *db, const char *collection, const struct bytes *keys,
                                    size_t n,
                                    void (*tell)(void *arg, size_t i, const struct db_row *row),
                                    void *arg)
{
    struct remote *r = remote__of(db);
    const Varve__V1__BatchGetResponse *answer;
    for (size_t from = 0, many = n; from < n;) {
        many = many < n - from ? many : n - from;
        varve_status st = get_some(r, collection, keys + from, many, &answer);
        if (st == VARVE_TOO_LARGE && many > 1) {
            many /= 2;
            continue;
        }
        if (st != VARVE_OK)
            return st;
        for (size_t i = 0; i < many; i++) {
            const Varve__V1__Record *record = answer->results[i]->record;
            if (record)
                remote__row_of(record, &r->row);
            tell(arg, from + i, record ? &r->row : NULL);
        }
        from += many;
    }
    return VARVE_OK;
}

static varve_status remote_diff(struct db *db, const char *collection, struct bytes key,
                                const varve_at *a, const varve_at *b, varve_diff_format format,
                                char **ret)
{
    static const struct remote_method how = {"varve.v1.KV/Diff",
                                             &varve__v1__diff_response__descriptor, CLIENT_READ, 0};
    struct remote *r = remote__of(db);
    Varve__V1__DiffRequest m = VARVE__V1__DIFF_REQUEST__INIT;
    const Varve__V1__DiffResponse *answer;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    m.key = pb_data(key);
    m.older = remote__at(&r->arena, a);
    m.newer = remote__at(&r->arena, b);
    m.format = format == VARVE_DIFF_JSON_PATCH ? VARVE__V1__DIFF_REQUEST__FORMAT__FORMAT_JSON_PATCH
                                               : VARVE__V1__DIFF_REQUEST__FORMAT__FORMAT_PATHS;
    if (!m.collection || !m.older || !m.newer)
        return remote__no_memory(r);
    varve_status st = remote__call(r, &how, &m.base, &answer);
    if (st != VARVE_OK)
        return st;
    char *json = mem_strdup(answer->json); /* as varve_free wants it */
    if (!json)
        return remote__no_memory(r);
    *ret = json;
    return VARVE_OK;
}

/* ---- scan ---- */

static size_t scan_count(const void *answer)
{
    return ((const Varve__V1__ScanResponse *)answer)->n_records;
}
static void scan_row(const void *answer, size_t i, struct db_row *ret)
{
    remote__row_of(((const Varve__V1__ScanResponse *)answer)->records[i], ret);
}
static const char *scan_token(const void *answer)
{
    return ((const Varve__V1__ScanResponse *)answer)->resume_token;
}
static void scan_resume(void *request, char *token)
{
    ((Varve__V1__ScanRequest *)request)->resume_token = token;
}
static const struct remote_source scan_source = {
    .method = "varve.v1.KV/Scan",
    .request = &varve__v1__scan_request__descriptor,
    .answer = &varve__v1__scan_response__descriptor,
    .count = scan_count,
    .row = scan_row,
    .token = scan_token,
    .resume = scan_resume,
    .ends_with_token = true,
};

static varve_status remote_scan(struct db *db, const char *collection, const varve_scan_options *o,
                                struct db_rows **ret)
{
    struct remote *r = remote__of(db);
    Varve__V1__ScanRequest m = VARVE__V1__SCAN_REQUEST__INIT;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    m.prefix = pb_data(BYTES(o->prefix.data, o->prefix.len));
    m.start_key = pb_data(BYTES(o->from.data, o->from.len));
    m.end_key = pb_data(BYTES(o->to.data, o->to.len));
    m.reverse = o->reverse;
    m.keys_only = o->keys_only;
    m.limit = o->limit;
    m.at = remote__at(&r->arena, &o->at);
    if (!m.collection || !m.at)
        return remote__no_memory(r);
    return remote__rows(r, &scan_source, &m.base, false, ret);
}

/* The moment that a scan reads, which comes with every page: of the present the newest version. */
static size_t moment_count(const void *answer)
{
    return ((const Varve__V1__ScanResponse *)answer)->at ? 1 : 0;
}
static void moment_row(const void *answer, size_t i, struct db_row *ret)
{
    (void)i;
    *ret = (struct db_row){.version =
                               remote__version_of(((const Varve__V1__ScanResponse *)answer)->at)};
}
static const struct remote_source moment_source = {
    .method = "varve.v1.KV/Scan",
    .request = &varve__v1__scan_request__descriptor,
    .answer = &varve__v1__scan_response__descriptor,
    .count = moment_count,
    .row = moment_row,
    .token = scan_token,
    .resume = scan_resume,
    .ends_with_token = true,
};

/* Untouched where nothing was ever written. */
static varve_status read_moment(struct remote *r, const char *collection, const varve_at *at,
                                varve_version *ret)
{
    Varve__V1__ScanRequest m = VARVE__V1__SCAN_REQUEST__INIT;
    struct db_rows *rows = NULL;
    const struct db_row *row;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    m.keys_only = true;
    m.limit = 1;
    m.at = remote__at(&r->arena, at);
    if (!m.collection || !m.at)
        return remote__no_memory(r);
    varve_status st = remote__rows(r, &moment_source, &m.base, false, &rows);
    int got = st == VARVE_OK ? db_next(rows, &row) : 0;
    if (got < 0)
        st = (varve_status)-got;
    if (got == 1)
        *ret = row->version;
    db_rows_close(rows);
    return st;
}

static varve_status remote_newest(struct db *db, const char *collection, uint64_t now_ms,
                                  varve_version *ret)
{
    struct remote *r = remote__of(db);
    varve_at at = {.kind = VARVE_AT_NOW};
    varve_version newest = {0, 0}, now;
    varve_status st = read_moment(r, collection, &at, &newest);
    if (st != VARVE_OK)
        return st;
    at = (varve_at){.kind = VARVE_AT_VERSION, .version = cli_version_at(now_ms)};
    bool later = newest.hlc && varve_version_compare(at.version, newest) > 0;
    *ret = later && read_moment(r, collection, &at, &now) == VARVE_OK ? at.version : newest;
    return VARVE_OK;
}

/* ---- history ---- */

static size_t history_count(const void *answer)
{
    return ((const Varve__V1__HistoryResponse *)answer)->n_records;
}
static void history_row(const void *answer, size_t i, struct db_row *ret)
{
    remote__row_of(((const Varve__V1__HistoryResponse *)answer)->records[i], ret);
}
static const char *history_token(const void *answer)
{
    return ((const Varve__V1__HistoryResponse *)answer)->resume_token;
}
static void history_resume(void *request, char *token)
{
    ((Varve__V1__HistoryRequest *)request)->resume_token = token;
}
static const struct remote_source history_source = {
    .method = "varve.v1.KV/History",
    .request = &varve__v1__history_request__descriptor,
    .answer = &varve__v1__history_response__descriptor,
    .count = history_count,
    .row = history_row,
    .token = history_token,
    .resume = history_resume,
    .ends_with_token = true,
};

static varve_status remote_history(struct db *db, const char *collection, struct bytes key,
                                   uint64_t limit, struct db_rows **ret)
{
    struct remote *r = remote__of(db);
    Varve__V1__HistoryRequest m = VARVE__V1__HISTORY_REQUEST__INIT;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    m.key = pb_data(key);
    m.limit = limit;
    if (!m.collection)
        return remote__no_memory(r);
    return remote__rows(r, &history_source, &m.base, false, ret);
}

/* ---- changes ---- */

static size_t change_count(const void *answer)
{
    return ((const Varve__V1__WatchResponse *)answer)->n_changes;
}
static void change_row(const void *answer, size_t i, struct db_row *ret)
{
    const Varve__V1__WatchResponse *m = answer;
    const Varve__V1__Change *c = m->changes[i];
    if (c->record)
        remote__row_of(c->record, ret);
    else
        *ret = (struct db_row){.value = BYTES_EMPTY};
    ret->collection = c->collection;
    ret->token = c->resume_token;
}
static const char *change_token(const void *answer)
{
    return ((const Varve__V1__WatchResponse *)answer)->resume_token;
}
static void change_resume(void *request, char *token)
{
    Varve__V1__WatchRequest *m = request;
    m->resume_token = token;
}
static const struct remote_source change_source = {
    .method = "varve.v1.Changes/Watch",
    .request = &varve__v1__watch_request__descriptor,
    .answer = &varve__v1__watch_response__descriptor,
    .count = change_count,
    .row = change_row,
    .token = change_token,
    .resume = change_resume,
};

static varve_status remote_changes(struct db *db, const struct db_changes *o, struct db_rows **ret)
{
    struct remote *r = remote__of(db);
    Varve__V1__WatchRequest m = VARVE__V1__WATCH_REQUEST__INIT;
    bool now = strcmp(o->token, "now") == 0;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, o->o.collection);
    m.prefix = pb_data(BYTES(o->o.prefix.data, o->o.prefix.len));
    m.values = o->o.values;
    m.start = now ? VARVE__V1__WATCH_REQUEST__START__START_NOW
                  : VARVE__V1__WATCH_REQUEST__START__START_BEGINNING;
    m.resume_token = remote__text(&r->arena, now ? "" : o->token);
    m.until_now = !o->follow;
    if (!m.collection || !m.resume_token)
        return remote__no_memory(r);
    return remote__rows(r, &change_source, &m.base, o->follow, ret);
}

const struct db_read_ops remote__read = {
    .get = remote_get,
    .get_many = remote_get_many,
    .scan = remote_scan,
    .history = remote_history,
    .diff = remote_diff,
    .changes = remote_changes,
    .collections = remote__collections,
    .snapshots = remote__snapshots,
    .newest = remote_newest,
};
