/* Writes of clients as calls of varve.v1.KV. */
#include "sim/cluster/door_grpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    enum status st = grpc__answer(k, &varve__v1__put_response__descriptor, &m, err);
    if (st == ST_OK) {
        const Varve__V1__PutResponse *r = m;
        w->version = r->version ? r->version->hlc : 0;
        if (!w->version)
            run_fail(k->c->run, "%s writes at no version", node_name(k->c->node));
    }
    if (st == ST_PRECONDITION_FAILED) {
        const Google__Rpc__ErrorInfo *info = grpc__detail(k, &google__rpc__error_info__descriptor);
        const Google__Rpc__PreconditionFailure *f =
            grpc__detail(k, &google__rpc__precondition_failure__descriptor);
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
    grpc__over(k);
    return st;
}

static enum status put_one(struct client *c, struct door_write *w, struct err *err)
{
    struct call k = {.writes = true};
    struct parts p;
    Varve__V1__PutRequest q = VARVE__V1__PUT_REQUEST__INIT;
    q.collection = grpc__collection(c);
    q.key = grpc__key(w->w->key);
    q.value = value_of(&p, 0, w->w);
    q.precondition = condition_of(&p, 0, w->w);
    q.options = options_of(&p, w);
    grpc__begin(&k, c, "/varve.v1.KV/Put", &q.base, err);
    return written(&k, w, err);
}

static enum status cas_one(struct client *c, struct door_write *w, struct err *err)
{
    struct call k = {.writes = true};
    struct parts p;
    Varve__V1__CompareAndSetRequest q = VARVE__V1__COMPARE_AND_SET_REQUEST__INIT;
    q.collection = grpc__collection(c);
    q.key = grpc__key(w->w->key);
    q.value = value_of(&p, 0, w->w);
    (void)condition_of(&p, 0, w->w);
    q.expected = w->w->require == HISTORY_AT_VERSION ? &p.versions[0] : NULL;
    q.options = options_of(&p, w);
    grpc__begin(&k, c, "/varve.v1.KV/CompareAndSet", &q.base, err);
    return written(&k, w, err);
}

static enum status delete_one(struct client *c, struct door_write *w, struct err *err)
{
    struct call k = {.writes = true};
    struct parts p;
    Varve__V1__DeleteRequest q = VARVE__V1__DELETE_REQUEST__INIT;
    q.collection = grpc__collection(c);
    q.key = grpc__key(w->w->key);
    q.precondition = condition_of(&p, 0, w->w);
    q.options = options_of(&p, w);
    grpc__begin(&k, c, "/varve.v1.KV/Delete", &q.base, err);
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
            o->collection = grpc__collection(c);
            o->key = grpc__key(one->key);
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
            o->collection = grpc__collection(c);
            o->key = grpc__key(one->key);
            o->precondition = need;
            condition_at[q.n_conditions] = i;
            condition_list[q.n_conditions++] = o;
        }
    }
    grpc__begin(&k, c, "/varve.v1.KV/BatchWrite", &q.base, err);
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
