/* Operations of clients as calls of varve.v1.KV. */
#include "sim/cluster/door.h"

#include "base/env/fiber.h"
#include "wire/proto/pb.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const collections[WORKS] = {"register", "list", "bank", "set", "counter"};

/* A call from its beginning to its end. */
struct call {
    struct client *c;
    struct ask ask;
    struct arena arena;
    uint64_t until;
    bool writes;
    enum status st;
    struct bytes details; /* of a failure; lies in the arena */
};

/* Strings of generated structs are not const, though packing only reads them. */
static char *lend(const char *s)
{
    return (char *)(uintptr_t)s;
}

static char *collection_of(const struct client *c)
{
    return lend(collections[c->work]);
}

static void begin(struct call *k, struct client *c, const char *method, const ProtobufCMessage *m,
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
static void *detail(struct call *k, const ProtobufCMessageDescriptor *type)
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
    const Google__Rpc__ErrorInfo *info = detail(k, &google__rpc__error_info__descriptor);
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

static void over(struct call *k)
{
    arena_deinit(&k->arena);
}

/* The one answer; it lies in the call's arena, until `over`. */
static enum status answer(struct call *k, const ProtobufCMessageDescriptor *type, void **ret,
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

static ProtobufCBinaryData key_of(const char *key)
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
    key.collection = collection_of(c);
    key.key = key_of(c->memory[s - c->steps].key);
    q.keys = keys;
    q.n_keys = 1;
    q.at = at_of(&a, at);
    begin(&k, c, "/varve.v1.KV/BatchGet", &q.base, err);
    enum status st = answer(&k, &varve__v1__batch_get_response__descriptor, &m, err);
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
    over(&k);
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
    q.collection = collection_of(c);
    q.key = key_of(c->memory[s - c->steps].key);
    q.at = at_of(&a, at);
    if (c->weak)
        q.consistency = VARVE__V1__CONSISTENCY__CONSISTENCY_LOCAL;
    begin(&k, c, "/varve.v1.KV/Get", &q.base, err);
    enum status st = answer(&k, &varve__v1__get_response__descriptor, &m, err);
    if (st == ST_OK && ((Varve__V1__GetResponse *)m)->record) {
        take_record(c, s, ((Varve__V1__GetResponse *)m)->record);
    } else if (st == ST_NOT_FOUND) {
        s->found = false;
        s->version = 0;
        st = ST_OK;
    }
    over(&k);
    return st;
}

/* A scan for one row tells the moment that it read. */
enum status door_grpc_barrier(struct client *c, struct version *ret_at, struct err *err)
{
    struct call k = {0};
    void *m;
    Varve__V1__ScanRequest q = VARVE__V1__SCAN_REQUEST__INIT;
    q.collection = collection_of(c);
    q.limit = 1;
    begin(&k, c, "/varve.v1.KV/Scan", &q.base, err);
    enum status st = answer(&k, &varve__v1__scan_response__descriptor, &m, err);
    if (st == ST_OK) {
        const Varve__V1__ScanResponse *r = m;
        c->door->empty = !r->at || !r->at->hlc;
        *ret_at = c->door->empty ? VERSION_NONE : (struct version){r->at->hlc, r->at->origin};
        if (c->door->empty && r->n_records)
            run_fail(c->run, "%s scans at no moment", node_name(c->node));
    }
    over(&k);
    return st;
}

/* --- writes --- */

struct parts { /* of the messages of one write */
    Varve__V1__WriteOptions options;
    Varve__V1__Precondition conditions[BATCH_MAX];
    Varve__V1__Version versions[BATCH_MAX];
    Varve__V1__Value values[BATCH_MAX];
    char id[STORE_REQUEST_ID_MAX + 1];
};

static Varve__V1__WriteOptions *options_of(struct parts *p, const struct door_write *w)
{
    varve__v1__write_options__init(&p->options);
    if (w->id.len == 0)
        return NULL;
    (void)snprintf(p->id, sizeof p->id, "%.*s", (int)w->id.len, (const char *)w->id.data);
    p->options.request_id = p->id;
    return &p->options;
}

static Varve__V1__Precondition *condition_of(struct parts *p, size_t i, const struct work_write *w)
{
    Varve__V1__Precondition *q = &p->conditions[i];
    varve__v1__precondition__init(q);
    varve__v1__version__init(&p->versions[i]);
    switch (w->require) {
    case HISTORY_ABSENT:
        q->what_case = VARVE__V1__PRECONDITION__WHAT_ABSENT;
        q->absent = true;
        return q;
    case HISTORY_PRESENT:
        q->what_case = VARVE__V1__PRECONDITION__WHAT_PRESENT;
        q->present = true;
        return q;
    case HISTORY_AT_VERSION:
        q->what_case = VARVE__V1__PRECONDITION__WHAT_VERSION;
        p->versions[i].hlc = w->want;
        q->version = &p->versions[i];
        return q;
    case HISTORY_ANY:
    case HISTORY_REQUIRES:
        break;
    }
    return NULL;
}

static Varve__V1__Value *value_of(struct parts *p, size_t i, const struct work_write *w)
{
    varve__v1__value__init(&p->values[i]);
    p->values[i].kind_case = VARVE__V1__VALUE__KIND_RAW;
    p->values[i].raw = pb_data(w->value);
    return &p->values[i];
}

/* All responses of writes are alike: { Version version = 1 }. */
static enum status written(struct call *k, struct door_write *w, struct err *err)
{
    void *m;
    enum status st = answer(k, &varve__v1__put_response__descriptor, &m, err);
    if (st == ST_OK) {
        const Varve__V1__PutResponse *r = m;
        w->version = r->version ? r->version->hlc : 0;
        if (!w->version)
            run_fail(k->c->run, "%s writes at no version", node_name(k->c->node));
    }
    if (st == ST_PRECONDITION_FAILED) {
        const Google__Rpc__ErrorInfo *info = detail(k, &google__rpc__error_info__descriptor);
        const Google__Rpc__PreconditionFailure *f =
            detail(k, &google__rpc__precondition_failure__descriptor);
        struct version present = VERSION_NONE;
        for (size_t i = 0; info && i < info->n_metadata; i++)
            if (!strcmp(info->metadata[i]->key, "present_version") && info->metadata[i]->value[0] &&
                !version_parse(BYTES_STR(info->metadata[i]->value), &present))
                run_fail(k->c->run, "%s tells a version that is none", node_name(k->c->node));
        w->present = present.hlc;
        const char *subject = f && f->n_violations ? f->violations[0]->subject : "";
        const char *number = strchr(subject, '[');
        w->failed = number ? strtoul(number + 1, NULL, 10) : 0;
        if (!strncmp(subject, "conditions", 10))
            w->failed += w->n; /* put right by who made the batch */
    }
    over(k);
    return st;
}

static enum status put_one(struct client *c, struct door_write *w, struct err *err)
{
    struct call k = {.writes = true};
    struct parts p;
    Varve__V1__PutRequest q = VARVE__V1__PUT_REQUEST__INIT;
    q.collection = collection_of(c);
    q.key = key_of(w->w->key);
    q.value = value_of(&p, 0, w->w);
    q.precondition = condition_of(&p, 0, w->w);
    q.options = options_of(&p, w);
    begin(&k, c, "/varve.v1.KV/Put", &q.base, err);
    return written(&k, w, err);
}

static enum status cas_one(struct client *c, struct door_write *w, struct err *err)
{
    struct call k = {.writes = true};
    struct parts p;
    Varve__V1__CompareAndSetRequest q = VARVE__V1__COMPARE_AND_SET_REQUEST__INIT;
    q.collection = collection_of(c);
    q.key = key_of(w->w->key);
    q.value = value_of(&p, 0, w->w);
    (void)condition_of(&p, 0, w->w);
    q.expected = w->w->require == HISTORY_AT_VERSION ? &p.versions[0] : NULL;
    q.options = options_of(&p, w);
    begin(&k, c, "/varve.v1.KV/CompareAndSet", &q.base, err);
    return written(&k, w, err);
}

static enum status delete_one(struct client *c, struct door_write *w, struct err *err)
{
    struct call k = {.writes = true};
    struct parts p;
    Varve__V1__DeleteRequest q = VARVE__V1__DELETE_REQUEST__INIT;
    q.collection = collection_of(c);
    q.key = key_of(w->w->key);
    q.precondition = condition_of(&p, 0, w->w);
    q.options = options_of(&p, w);
    begin(&k, c, "/varve.v1.KV/Delete", &q.base, err);
    return written(&k, w, err);
}

static enum status write_batch(struct client *c, struct door_write *w, struct err *err)
{
    struct call k = {.writes = true};
    struct parts p;
    size_t op_at[BATCH_MAX], condition_at[BATCH_MAX];
    Varve__V1__BatchWriteRequest q = VARVE__V1__BATCH_WRITE_REQUEST__INIT;
    Varve__V1__BatchWriteRequest__Operation ops[BATCH_MAX], *op_list[BATCH_MAX];
    Varve__V1__BatchWriteRequest__Condition conditions[BATCH_MAX], *condition_list[BATCH_MAX];
    q.operations = op_list;
    q.conditions = condition_list;
    q.options = options_of(&p, w);
    for (size_t i = 0; i < w->n; i++) {
        const struct work_write *one = &w->w[i];
        Varve__V1__Precondition *need = condition_of(&p, i, one);
        if (one->remove || one->value.data) {
            Varve__V1__BatchWriteRequest__Operation *o = &ops[q.n_operations];
            varve__v1__batch_write_request__operation__init(o);
            o->collection = collection_of(c);
            o->key = key_of(one->key);
            o->precondition = need;
            o->action_case = one->remove ? VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_DELETE
                                         : VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_PUT;
            if (one->remove)
                o->delete_ = true;
            else
                o->put = value_of(&p, i, one);
            op_at[q.n_operations] = i;
            op_list[q.n_operations++] = o;
        } else if (need) {
            Varve__V1__BatchWriteRequest__Condition *o = &conditions[q.n_conditions];
            varve__v1__batch_write_request__condition__init(o);
            o->collection = collection_of(c);
            o->key = key_of(one->key);
            o->precondition = need;
            condition_at[q.n_conditions] = i;
            condition_list[q.n_conditions++] = o;
        }
    }
    begin(&k, c, "/varve.v1.KV/BatchWrite", &q.base, err);
    enum status st = written(&k, w, err);
    if (st == ST_PRECONDITION_FAILED)
        w->failed = w->failed >= w->n ? condition_at[w->failed - w->n] : op_at[w->failed];
    return st;
}

enum status door_grpc_write(struct client *c, struct door_write *w, struct err *err)
{
    const struct work_write *one = w->w;
    if (w->n > 1 || dice_one_in(&c->door->dice, 5))
        return write_batch(c, w, err);
    if (one->remove)
        return one->require == HISTORY_AT_VERSION ? delete_one(c, w, err) : write_batch(c, w, err);
    if ((one->require == HISTORY_AT_VERSION || one->require == HISTORY_ABSENT) &&
        dice_one_in(&c->door->dice, 2))
        return cas_one(c, w, err);
    return put_one(c, w, err);
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
    q.collection = collection_of(c);
    q.at = at_of(&a, at);
    q.reverse = c->serial % 3 == 0;
    q.keys_only = c->serial % 5 == 0;
    q.page_rows = 1 + (uint32_t)(c->serial % 7);
    begin(&k, c, "/varve.v1.KV/Scan", &q.base, &err);
    while ((m = row_message(&k, &varve__v1__scan_response__descriptor, ret_all)))
        for (size_t r = 0; r < m->n_records; r++)
            for (size_t i = 0; i < c->n; i++)
                if (m->records[r]->version &&
                    bytes_eq(pb_bytes(m->records[r]->key), c->steps[i].key))
                    shown[i] = m->records[r]->version->hlc;
    if (k.st != ST_OK)
        (void)end(&k, true, &err);
    over(&k);
}

/* The newest version at or before the moment is the one that the get showed. */
void door_grpc_history(struct client *c, struct history_step *s, struct version at)
{
    struct call k = {0};
    struct err err;
    bool all, seen = false;
    const char *key = c->memory[s - c->steps].key;
    const Varve__V1__HistoryResponse *m;
    uint64_t shown = 0;
    err_init(&err);
    Varve__V1__HistoryRequest q = VARVE__V1__HISTORY_REQUEST__INIT;
    q.collection = collection_of(c);
    q.key = key_of(key);
    q.page_rows = 1 + (uint32_t)(c->serial % 5);
    begin(&k, c, "/varve.v1.KV/History", &q.base, &err);
    while (!seen && (m = row_message(&k, &varve__v1__history_response__descriptor, &all)))
        for (size_t r = 0; r < m->n_records && !seen; r++)
            if (m->records[r]->version && m->records[r]->version->hlc <= at.hlc) {
                seen = true;
                shown = m->records[r]->deleted ? 0 : m->records[r]->version->hlc;
            }
    if (seen && shown != (s->found ? s->version : 0))
        run_fail(c->run,
                 "%s: the history through its door shows %s at %llx, a get of the same "
                 "moment %llx",
                 node_name(c->node), key, (unsigned long long)shown,
                 (unsigned long long)(s->found ? s->version : 0));
    if (k.ask.line)
        (void)end(&k, false, &err); /* what is left of it is not wanted */
    over(&k);
}
