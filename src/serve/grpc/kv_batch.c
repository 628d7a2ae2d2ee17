/* kv_batch.c - BatchWrite: operations and conditions into a batch of the verbs. */
#include "serve/grpc/kv.h"

#include <stdio.h>

struct batch_job {
    struct call *c;
    const Varve__V1__BatchWriteRequest *m;
    struct command_batch *b;
    struct command_options options;
    struct command_require *requires; /* as they were added, with whose they are */
    const char **subjects;
    size_t n_requires;
    struct version version;
    size_t failed;
    enum status st;
};

/* "operations[3]" before the verb's own field: its message begins with it, or is of the key's. */
static enum status in_item(struct batch_job *j, const char *list, size_t i, enum status st)
{
    struct err *err = &j->c->err;
    char detail[ERR_DETAIL_MAX];
    if (st == ST_OK || st == ST_NO_MEMORY)
        return st;
    err->status = st;
    struct bytes field = command_field(err);
    size_t skip = bytes_eq(field, BYTES_LIT("value")) ? field.len : 0;
    memcpy(detail, err->detail, sizeof detail);
    return err_set(err, st, "%s[%zu]%s%s%s", list, i, field.len ? "." : ": ", skip ? "put" : "",
                   detail + skip);
}

static enum status add_require(struct batch_job *j, const char *list, size_t i,
                               const char *collection, ProtobufCBinaryData key,
                               const Varve__V1__Precondition *m)
{
    struct call *c = j->c;
    struct command_require *require = &j->requires[j->n_requires];
    enum status st = args_precondition(c, m, "precondition", require);
    if (st != ST_OK || !require->what)
        return st;
    char *subject = call_alloc(c, 48);
    if (!subject)
        return ST_NO_MEMORY;
    (void)snprintf(subject, 48, "%s[%zu].precondition", list, i);
    j->subjects[j->n_requires++] = subject;
    return command_batch_require(j->b, text_bytes(collection), pb_bytes(key), *require, &c->err);
}

static enum status add_operation(struct batch_job *j,
                                 const Varve__V1__BatchWriteRequest__Operation *o)
{
    struct call *c = j->c;
    struct bytes collection = text_bytes(o->collection), key = pb_bytes(o->key);
    struct command_value value;
    enum status st;
    switch (o->action_case) {
    case VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_PUT:
        st = args_value(c, o->put, "put", &value);
        return st == ST_OK ? command_batch_put(j->b, collection, key, value, o->ttl_ms, &c->err)
                           : st;
    case VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_DELETE:
        if (!o->delete_)
            return err_set(&c->err, ST_INVALID_ARGUMENT, "delete: it must be true, or not set");
        if (o->ttl_ms)
            return err_set(&c->err, ST_INVALID_ARGUMENT, "ttl_ms: a delete does not expire");
        return command_batch_delete(j->b, collection, key, &c->err);
    case VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION__NOT_SET:
    case _VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION__CASE_IS_INT_SIZE:
        break;
    }
    return err_set(&c->err, ST_INVALID_ARGUMENT, "action: one of put and delete must be set");
}

static enum status add_all(struct batch_job *j)
{
    const Varve__V1__BatchWriteRequest *m = j->m;
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < m->n_operations; i++) {
        const Varve__V1__BatchWriteRequest__Operation *o = m->operations[i];
        st = add_operation(j, o);
        if (st == ST_OK)
            st = add_require(j, "operations", i, o->collection, o->key, o->precondition);
        st = in_item(j, "operations", i, st);
    }
    for (size_t i = 0; st == ST_OK && i < m->n_conditions; i++) {
        const Varve__V1__BatchWriteRequest__Condition *o = m->conditions[i];
        st = o->precondition
                 ? add_require(j, "conditions", i, o->collection, o->key, o->precondition)
                 : err_set(&j->c->err, ST_INVALID_ARGUMENT, "precondition: it must be set");
        st = in_item(j, "conditions", i, st);
    }
    return st;
}

static enum status prepare(struct batch_job *j)
{
    struct call *c = j->c;
    size_t n = j->m->n_operations + j->m->n_conditions;
    j->requires = call_alloc(c, (n + 1) * sizeof *j->requires);
    j->subjects = call_alloc(c, (n + 1) * sizeof *j->subjects);
    if (!j->requires || !j->subjects)
        return ST_NO_MEMORY;
    enum status st = args_options(c, j->m->options, &j->options);
    if (st == ST_OK && n == 0)
        st = err_set(&c->err, ST_INVALID_ARGUMENT, "operations: there is none");
    return st == ST_OK ? add_all(j) : st;
}

static void prepare_now(void *arg)
{
    struct batch_job *j = arg;
    j->st = prepare(j);
}

static void commit_now(void *arg)
{
    struct batch_job *j = arg;
    j->st = command_commit(&j->c->db, j->b, &j->options, &j->version, &j->failed, &j->c->err);
}

/* With conditions on the pool too: whose records may have to be read from the disk. */
static enum status step(struct batch_job *j, bool in_place, void (*fn)(void *arg))
{
    enum status st = ST_OK;
    if (in_place)
        fn(j);
    else
        st = call_work(j->c, WORK_READ, fn, j);
    return st == ST_OK ? j->st : st;
}

static enum status why_not(struct batch_job *j, enum status st)
{
    struct call *c = j->c;
    c->required = c->subject = NULL;
    if (st == ST_PRECONDITION_FAILED && j->failed < j->n_requires) {
        c->required = args_required(&j->requires[j->failed]);
        c->subject = j->subjects[j->failed];
    }
    return st;
}

static bool is_small(const Varve__V1__BatchWriteRequest *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->n_operations && bytes <= DOOR_IN_PLACE; i++) {
        const Varve__V1__BatchWriteRequest__Operation *o = m->operations[i];
        bytes += 64 + o->key.len;
        if (o->action_case == VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_PUT)
            switch ((int)o->put->kind_case) {
            case VARVE__V1__VALUE__KIND_RAW:
                bytes += o->put->raw.len;
                break;
            case VARVE__V1__VALUE__KIND_BSON:
                bytes += o->put->bson.len;
                break;
            case VARVE__V1__VALUE__KIND_JSON:
                bytes += strlen(o->put->json);
                break;
            default:
                break;
            }
    }
    return bytes <= DOOR_IN_PLACE && m->n_conditions <= 64;
}

enum status kv_batch_write(struct call *c, const void *request)
{
    const struct grpc_gate *g = &c->door->gate;
    struct batch_job j = {.c = c, .m = request, .b = command_batch_new(), .failed = SIZE_MAX};
    if (!j.b)
        return err_set(&c->err, ST_NO_MEMORY, "no memory for a batch");
    bool small = is_small(j.m);
    enum status st = step(&j, small, prepare_now);
    if (st == ST_OK && g->check_batch)
        st = g->check_batch(g->arg, c->who, call_request(c), j.b, &c->err);
    size_t bytes = command_batch_bytes(j.b);
    if (st == ST_OK && bytes > DOOR_IN_PLACE)
        st = request_charge(call_request(c), bytes, &c->err);
    if (st == ST_OK)
        st = call_alive(c);
    if (st == ST_OK)
        st = why_not(&j, step(&j, small && j.n_requires == 0, commit_now));
    if (st == ST_OK)
        st = call_respond_version(c, j.version);
    command_batch_free(j.b);
    return st;
}
