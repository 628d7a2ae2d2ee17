/* Operations of clients as calls of varve.v1.KV. */
#include "sim/cluster/door_grpc.h"

#include "base/env/fiber.h"
#include "wire/proto/pb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const collections[WORKS] = {"register", "list", "bank", "set", "counter"};

/* Strings of generated structs are not const, though packing only reads them. */
static char *lend(const char *s)
{
    return (char *)(uintptr_t)s;
}

char *grpc__collection(const struct client *c)
{
    return lend(collections[c->work]);
}

void grpc__begin(struct call *k, struct client *c, const char *method, const ProtobufCMessage *m,
                 struct err *err)
{
    struct buf message = BUF_INIT;
    arena_init(&k->arena, 4096);
    k->c = c;
    k->until = door_patience(c);
    struct line *l = door_line(c);
    if (!l) {
        k->st = err_set(err, ST_CLOSED, "%s cannot be reached", node_name(c->node));
        return;
    }
    struct ask_grpc o = {.path = BYTES_STR(method), .gzip = c->door->gzip};
    if (dice_one_in(&c->door->dice, 2) && k->until > fiber_now_ns())
        o.timeout_ns = k->until - fiber_now_ns();
    k->st = pb_encode(m, &message);
    ASSERT(k->st == ST_OK);
    k->st = ask_grpc(&k->ask, l, &o, buf_bytes(&message), err);
    buf_deinit(&message);
}

/* --- how it failed --- */

static enum status status_of(const char *reason)
{
#define X(name, number, text, grpc, http, retry)                                                   \
    if (!strcmp(reason, #name))                                                                    \
        return ST_##name;
    STATUS_TABLE(X)
#undef X
    return ST_OK;
}

/* A detail of google.rpc.Status of this type; NULL: it has none. */
void *grpc__detail(struct call *k, const ProtobufCMessageDescriptor *type)
{
    void *m = NULL;
    if (k->details.len == 0 ||
        pb_decode(&google__rpc__status__descriptor, k->details, &k->arena, &m, NULL, NULL) != ST_OK)
        return NULL;
    const Google__Rpc__Status *s = m;
    for (size_t i = 0; i < s->n_details; i++) {
        const char *name = strrchr(s->details[i]->type_url, '/');
        if (name && !strcmp(name + 1, type->name) &&
            pb_decode(type, pb_bytes(s->details[i]->value), &k->arena, &m, NULL, NULL) == ST_OK)
            return m;
    }
    return NULL;
}

/* What a write may have done that ended so. */
static bool open_ended(enum status st)
{
    return st == ST_UNKNOWN_OUTCOME || st == ST_POISONED || st == ST_TIMED_OUT || st == ST_CLOSED ||
           st == ST_CANCELLED;
}

static enum status told_failure(struct call *k, const struct grpc_result *r, struct err *err)
{
    k->details = BYTES_EMPTY;
    if (r->details.len) {
        uint8_t *copy = arena_alloc(&k->arena, r->details.len);
        ASSERT(copy);
        memcpy(copy, r->details.data, r->details.len);
        k->details = BYTES(copy, r->details.len);
    }
    const Google__Rpc__ErrorInfo *info = grpc__detail(k, &google__rpc__error_info__descriptor);
    enum status st = info ? status_of(info->reason) : ST_OK;
    bool told = st != ST_OK;
    (void)err_set(err, told ? st : grpc_status_of(r->code), "%.*s", (int)r->message.len,
                  r->message.len ? (const char *)r->message.data : "");
    /* A stop is told as UNAVAILABLE (docs/grpc.md); of all else the status says which code it is. */
    if (told && st != ST_CLOSED && (int)r->code != status_grpc(st))
        run_fail(k->c->run, "%s tells %s with code %d", node_name(k->c->node), status_name(st),
                 (int)r->code);
    if (r->not_processed)
        return ST_CLOSED;
    if (k->writes && (!told || open_ended(st)))
        return ST_UNKNOWN_OUTCOME;
    return told ? st : ST_IO_ERROR;
}

/* The call is over, or given up: how it went. */
static enum status end(struct call *k, bool in_time, struct err *err)
{
    struct grpc_result r;
    enum status st = k->st;
    if (st == ST_OK && !in_time)
        st = err_set(err, k->writes ? ST_UNKNOWN_OUTCOME : ST_TIMED_OUT, "no answer in time");
    else if (st == ST_OK && grpc_result(&k->ask.call, &r) == ST_OK) {
        if (r.code != GRPC_OK)
            st = told_failure(k, &r, err);
        grpc_result_deinit(&r);
    } else if (st != ST_OK && k->ask.began && k->writes) {
        st = ST_UNKNOWN_OUTCOME;
    }
    ask_end(&k->ask);
    return st;
}

void grpc__over(struct call *k)
{
    arena_deinit(&k->arena);
}

/* The one answer; it lies in the call's arena, until `over`. */
enum status grpc__answer(struct call *k, const ProtobufCMessageDescriptor *type, void **ret,
                         struct err *err)
{
    struct bytes message;
    bool in_time = true;
    *ret = NULL;
    while (k->st == ST_OK) {
        enum grpc_next next = ask_next(&k->ask, k->until, &message, err);
        in_time = next != GRPC_WAIT;
        if (next != GRPC_MESSAGE)
            break;
        uint8_t *copy = arena_alloc(&k->arena, message.len + 1); /* `bytes` stay in the input */
        ASSERT(copy);
        memcpy(copy, message.data, message.len);
        enum status st = pb_decode(type, BYTES(copy, message.len), &k->arena, ret, NULL, err);
        if (st)
            run_fail(k->c->run, "%s answers what cannot be read: %s", node_name(k->c->node),
                     err->detail);
    }
    enum status st = end(k, in_time, err);
    if (st == ST_OK && !*ret)
        run_fail(k->c->run, "%s says OK, and nothing else", node_name(k->c->node));
    return st == ST_OK && !*ret ? ST_CORRUPT : st;
}

/* --- reads --- */

struct at {
    Varve__V1__At at;
    Varve__V1__Version version;
};

static Varve__V1__At *at_of(struct at *a, struct version v)
{
    if (version_is_none(v))
        return NULL;
    varve__v1__at__init(&a->at);
    varve__v1__version__init(&a->version);
    a->version.hlc = v.hlc;
    a->version.origin = v.origin;
    a->at.moment_case = VARVE__V1__AT__MOMENT_VERSION;
    a->at.version = &a->version;
    return &a->at;
}

static void take_record(struct client *c, struct history_step *s, const Varve__V1__Record *r)
{
    s->found = true;
    s->version = r->version ? r->version->hlc : 0;
    if (!r->value || r->value->kind_case != VARVE__V1__VALUE__KIND_RAW)
        run_fail(c->run, "%s: the value of %s is no bytes", node_name(c->node),
                 c->memory[s - c->steps].key);
    else
        op_value(c, s, r->value->raw.data, r->value->raw.len);
}

ProtobufCBinaryData grpc__key(const char *key)
{
    return pb_data(BYTES_STR(key));
}

/* The same record by the call for many, which asks otherwise. */
static enum status get_by_batch(struct client *c, struct history_step *s, struct version at,
                                struct err *err)
{
    struct call k = {0};
    struct at a;
    void *m;
    Varve__V1__BatchGetRequest q = VARVE__V1__BATCH_GET_REQUEST__INIT;
    Varve__V1__BatchGetRequest__Key key = VARVE__V1__BATCH_GET_REQUEST__KEY__INIT, *keys[] = {&key};
    key.collection = grpc__collection(c);
    key.key = grpc__key(c->memory[s - c->steps].key);
    q.keys = keys;
    q.n_keys = 1;
    q.at = at_of(&a, at);
    grpc__begin(&k, c, "/varve.v1.KV/BatchGet", &q.base, err);
    enum status st = grpc__answer(&k, &varve__v1__batch_get_response__descriptor, &m, err);
    if (st == ST_OK) {
        const Varve__V1__BatchGetResponse *r = m;
        s->found = false;
        s->version = 0;
        if (r->n_results != 1)
            run_fail(c->run, "%s answers %zu records for one key", node_name(c->node),
                     r->n_results);
        else if (r->results[0]->record)
            take_record(c, s, r->results[0]->record);
    }
    grpc__over(&k);
    return st;
}

enum status door_grpc_get(struct client *c, struct history_step *s, struct version at,
                          struct err *err)
{
    struct call k = {0};
    struct at a;
    void *m;
    if (!c->weak && dice_one_in(&c->door->dice, 4))
        return get_by_batch(c, s, at, err);
    Varve__V1__GetRequest q = VARVE__V1__GET_REQUEST__INIT;
    q.collection = grpc__collection(c);
    q.key = grpc__key(c->memory[s - c->steps].key);
    q.at = at_of(&a, at);
    if (c->weak)
        q.consistency = VARVE__V1__CONSISTENCY__CONSISTENCY_LOCAL;
    grpc__begin(&k, c, "/varve.v1.KV/Get", &q.base, err);
    enum status st = grpc__answer(&k, &varve__v1__get_response__descriptor, &m, err);
    if (st == ST_OK && ((Varve__V1__GetResponse *)m)->record) {
        take_record(c, s, ((Varve__V1__GetResponse *)m)->record);
    } else if (st == ST_NOT_FOUND) {
        s->found = false;
        s->version = 0;
        st = ST_OK;
    }
    grpc__over(&k);
    return st;
}

/* A scan for one row tells the moment that it read. */
enum status door_grpc_barrier(struct client *c, struct version *ret_at, struct err *err)
{
    struct call k = {0};
    void *m;
    Varve__V1__ScanRequest q = VARVE__V1__SCAN_REQUEST__INIT;
    q.collection = grpc__collection(c);
    q.limit = 1;
    grpc__begin(&k, c, "/varve.v1.KV/Scan", &q.base, err);
    enum status st = grpc__answer(&k, &varve__v1__scan_response__descriptor, &m, err);
    if (st == ST_OK) {
        const Varve__V1__ScanResponse *r = m;
        c->door->empty = !r->at || !r->at->hlc;
        *ret_at = c->door->empty ? VERSION_NONE : (struct version){r->at->hlc, r->at->origin};
        if (c->door->empty && r->n_records)
            run_fail(c->run, "%s scans at no moment", node_name(c->node));
    }
    grpc__over(&k);
    return st;
}

/* --- many rows --- */

/* The next message of many; NULL: that was all, or no more comes. */
static void *row_message(struct call *k, const ProtobufCMessageDescriptor *type, bool *ret_end)
{
    struct bytes message;
    void *m = NULL;
    struct err err;
    err_init(&err);
    *ret_end = false;
    if (k->st != ST_OK)
        return NULL;
    enum grpc_next next = ask_next(&k->ask, k->until, &message, &err);
    if (next == GRPC_MESSAGE) {
        arena_deinit(&k->arena); /* the one before has been looked at */
        arena_init(&k->arena, 4096);
        enum status st = pb_decode(type, message, &k->arena, &m, NULL, &err);
        if (st)
            run_fail(k->c->run, "%s answers what cannot be read: %s", node_name(k->c->node),
                     err.detail);
        return m;
    }
    *ret_end = end(k, next != GRPC_WAIT, &err) == ST_OK;
    return NULL;
}

void door_grpc_scan(struct client *c, struct version at, uint64_t shown[STEPS_MAX], bool *ret_all)
{
    struct call k = {0};
    struct at a;
    struct err err;
    const Varve__V1__ScanResponse *m;
    err_init(&err);
    Varve__V1__ScanRequest q = VARVE__V1__SCAN_REQUEST__INIT;
    q.collection = grpc__collection(c);
    q.at = at_of(&a, at);
    q.reverse = c->serial % 3 == 0;
    q.keys_only = c->serial % 5 == 0;
    q.page_rows = 1 + (uint32_t)(c->serial % 7);
    grpc__begin(&k, c, "/varve.v1.KV/Scan", &q.base, &err);
    while ((m = row_message(&k, &varve__v1__scan_response__descriptor, ret_all)))
        for (size_t r = 0; r < m->n_records; r++)
            for (size_t i = 0; i < c->n; i++)
                if (m->records[r]->version &&
                    bytes_eq(pb_bytes(m->records[r]->key), c->steps[i].key))
                    shown[i] = m->records[r]->version->hlc;
    if (k.st != ST_OK)
        (void)end(&k, true, &err);
    grpc__over(&k);
}

/* The newest version at or before the moment is the one that the get showed. */
void door_grpc_history(struct client *c, struct history_step *s, struct version at)
{
    struct call k = {0};
    struct err err;
    bool all = false, seen = false;
    const char *key = c->memory[s - c->steps].key;
    const Varve__V1__HistoryResponse *m;
    uint64_t shown = 0;
    err_init(&err);
    Varve__V1__HistoryRequest q = VARVE__V1__HISTORY_REQUEST__INIT;
    q.collection = grpc__collection(c);
    q.key = grpc__key(key);
    q.page_rows = 1 + (uint32_t)(c->serial % 5);
    grpc__begin(&k, c, "/varve.v1.KV/History", &q.base, &err);
    while (!seen && (m = row_message(&k, &varve__v1__history_response__descriptor, &all)))
        for (size_t r = 0; r < m->n_records && !seen; r++)
            if (m->records[r]->version && m->records[r]->version->hlc <= at.hlc) {
                seen = true;
                shown = m->records[r]->deleted ? 0 : m->records[r]->version->hlc;
            }
    if ((seen || all) && shown != (s->found ? s->version : 0))
        run_fail(c->run,
                 "%s: the history through its door shows %s at %llx, a get of the same "
                 "moment %llx",
                 node_name(c->node), key, (unsigned long long)shown,
                 (unsigned long long)(s->found ? s->version : 0));
    if (k.ask.line)
        (void)end(&k, false, &err); /* what is left of it is not wanted */
    grpc__over(&k);
}
