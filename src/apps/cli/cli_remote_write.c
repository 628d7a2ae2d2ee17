/* Writing at a server.
 *
 * A plain put carries an id of its own, by which the server does it once however often it is sent. A
 * plain delete is sent once. A write with a condition may be sent again: if the first of two was done,
 * the second fails by its condition. So may a commit with a mark, which holds only while the
 * mark has the version that it had before; a commit that was done but not answered is known by the
 * mark that is there. */
#include "apps/cli/cli_remote.h"
#include <stdio.h>
#include <string.h>

static varve_version present_of(const struct remote *r)
{
    varve_version v = {0, 0};
    if (r->failure.has_present && *r->failure.present &&
        varve_version_parse(r->failure.present, &v) != VARVE_OK)
        return (varve_version){0, 0};
    return v;
}

/* A condition that failed after a try that was lost tells nothing about whether that one was done. */
static varve_status not_known(struct remote *r, varve_status st)
{
    if (st != VARVE_PRECONDITION_FAILED || !r->failure.unsure)
        return st;
    return (varve_status)err_set(&r->failure.err, ST_IO_ERROR,
                                 "the connection was lost while it was written, and now the "
                                 "condition does not hold: it may have been written then");
}

static enum client_repeat repeat_of(const varve_version *expected)
{
    return expected ? CLIENT_CONDITIONAL : CLIENT_WRITE;
}

/* 128 random bits as text; NULL: no memory. */
static char *fresh_id(struct arena *a)
{
    uint8_t bits[16];
    char *id = arena_alloc(a, 2 * sizeof bits + 1);
    if (!id)
        return NULL;
    env_random(env_linux(), bits, sizeof bits);
    for (size_t i = 0; i < sizeof bits; i++)
        (void)snprintf(id + 2 * i, 3, "%02x", bits[i]);
    return id;
}

static varve_status remote_put(struct db *db, const struct db_put *p, const varve_version *expected,
                               const varve_write_options *o, varve_version *ret)
{
    static const struct remote_method how = {
        "varve.v1.KV/Put", &varve__v1__put_response__descriptor, CLIENT_CONDITIONAL, 0};
    struct remote *r = remote__of(db);
    Varve__V1__PutRequest m = VARVE__V1__PUT_REQUEST__INIT;
    Varve__V1__Precondition precondition = VARVE__V1__PRECONDITION__INIT;
    const Varve__V1__PutResponse *answer;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, p->collection);
    m.key = pb_data(p->key);
    m.options = remote__options(&r->arena, o);
    if (m.options && !expected && !o->request_id)
        m.options->request_id = fresh_id(&r->arena);
    if (!m.collection || !m.options || !m.options->request_id)
        return remote__no_memory(r);
    varve_status st = remote__value(r, &r->arena, p, &m.value);
    if (st != VARVE_OK)
        return st;
    if (expected && (expected->hlc || expected->origin)) {
        precondition.what_case = VARVE__V1__PRECONDITION__WHAT_VERSION;
        precondition.version = remote__version(&r->arena, *expected);
        if (!precondition.version)
            return remote__no_memory(r);
    } else if (expected) {
        precondition.what_case = VARVE__V1__PRECONDITION__WHAT_ABSENT;
        precondition.absent = true;
    }
    m.precondition = expected ? &precondition : NULL;
    st = not_known(r, remote__call(r, &how, &m.base, &answer));
    if (st == VARVE_PRECONDITION_FAILED && ret)
        *ret = present_of(r);
    if (st == VARVE_OK && ret)
        *ret = remote__version_of(answer->version);
    return st;
}

static varve_status remote_erase(struct db *db, const char *collection, struct bytes key,
                                 const varve_version *expected, const varve_write_options *o,
                                 varve_version *ret)
{
    const struct remote_method how = {"varve.v1.KV/Delete", &varve__v1__delete_response__descriptor,
                                      repeat_of(expected), 0};
    struct remote *r = remote__of(db);
    Varve__V1__DeleteRequest m = VARVE__V1__DELETE_REQUEST__INIT;
    Varve__V1__Precondition precondition = VARVE__V1__PRECONDITION__INIT;
    const Varve__V1__DeleteResponse *answer;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    m.key = pb_data(key);
    m.options = remote__options(&r->arena, o);
    if (expected) {
        precondition.what_case = VARVE__V1__PRECONDITION__WHAT_VERSION;
        precondition.version = remote__version(&r->arena, *expected);
        m.precondition = &precondition;
    }
    if (!m.collection || !m.options || (expected && !precondition.version))
        return remote__no_memory(r);
    varve_status st = not_known(r, remote__call(r, &how, &m.base, &answer));
    if (st == VARVE_OK && ret)
        *ret = remote__version_of(answer->version);
    return st;
}

static varve_status remote_restore(struct db *db, const char *collection, struct bytes key,
                                   const varve_at *at, const varve_write_options *o,
                                   varve_version *ret)
{
    static const struct remote_method how = {
        "varve.v1.KV/Restore", &varve__v1__restore_response__descriptor, CLIENT_WRITE, 0};
    struct remote *r = remote__of(db);
    Varve__V1__RestoreRequest m = VARVE__V1__RESTORE_REQUEST__INIT;
    const Varve__V1__RestoreResponse *answer;
    (void)remote__begin(r);
    m.collection = remote__text(&r->arena, collection);
    m.key = pb_data(key);
    m.at = remote__at(&r->arena, at);
    m.options = remote__options(&r->arena, o);
    if (!m.collection || !m.at || !m.options)
        return remote__no_memory(r);
    varve_status st = remote__call(r, &how, &m.base, &answer);
    if (st == VARVE_OK && ret)
        *ret = remote__version_of(answer->version);
    return st;
}

/* ---- commits ---- */

struct batch {
    Varve__V1__BatchWriteRequest m;
    Varve__V1__BatchWriteRequest__Operation *operations;
    Varve__V1__BatchWriteRequest__Condition condition, *conditions[1];
    Varve__V1__Precondition precondition;
};

static varve_status add_operation(struct remote *r, struct batch *b, const struct db_put *p)
{
    Varve__V1__BatchWriteRequest__Operation *op = &b->operations[b->m.n_operations];
    varve__v1__batch_write_request__operation__init(op);
    op->collection = (char *)(uintptr_t)p->collection; /* packing only reads */
    op->key = pb_data(p->key);
    op->action_case = VARVE__V1__BATCH_WRITE_REQUEST__OPERATION__ACTION_PUT;
    b->m.operations[b->m.n_operations++] = op;
    return remote__value(r, &r->commit_arena, p, &op->put);
}

/* The mark is as it was when this commit was thought of. */
static varve_status add_condition(struct remote *r, struct batch *b)
{
    varve__v1__precondition__init(&b->precondition);
    if (r->mark_version->hlc || r->mark_version->origin) {
        b->precondition.what_case = VARVE__V1__PRECONDITION__WHAT_VERSION;
        b->precondition.version = remote__version(&r->commit_arena, *r->mark_version);
        if (!b->precondition.version)
            return remote__no_memory(r);
    } else {
        b->precondition.what_case = VARVE__V1__PRECONDITION__WHAT_ABSENT;
        b->precondition.absent = true;
    }
    varve__v1__batch_write_request__condition__init(&b->condition);
    b->condition.collection = (char *)(uintptr_t)r->mark->collection;
    b->condition.key = pb_data(r->mark->key);
    b->condition.precondition = &b->precondition;
    b->conditions[0] = &b->condition;
    b->m.conditions = b->conditions;
    b->m.n_conditions = 1;
    return VARVE_OK;
}

static varve_status encode_commit(struct remote *r, const struct db_put *puts, size_t n,
                                  const varve_write_options *o)
{
    struct batch b = {.m = VARVE__V1__BATCH_WRITE_REQUEST__INIT};
    struct arena *a = &r->commit_arena;
    arena_reset(a);
    b.operations = arena_alloc(a, (n + 1) * sizeof *b.operations);
    b.m.operations = arena_alloc(a, (n + 1) * sizeof(Varve__V1__BatchWriteRequest__Operation *));
    b.m.options = remote__options(a, o);
    if (!b.operations || !b.m.operations || !b.m.options)
        return remote__no_memory(r);
    varve_status st = VARVE_OK;
    for (size_t i = 0; st == VARVE_OK && i < n; i++)
        st = add_operation(r, &b, &puts[i]);
    if (st == VARVE_OK && r->mark)
        st = add_operation(r, &b, r->mark);
    if (st == VARVE_OK && r->mark)
        st = add_condition(r, &b);
    if (st != VARVE_OK)
        return st;
    buf_clear(&r->commit_request);
    return pb_encode(&b.m.base, &r->commit_request) == ST_OK ? VARVE_OK : remote__no_memory(r);
}

static varve_status remote_commit(struct db *db, const struct db_put *puts, size_t n,
                                  const struct db_put *mark, varve_version *mark_version,
                                  const varve_write_options *o)
{
    struct remote *r = remote__of(db);
    struct client_request q = {.method = "varve.v1.KV/BatchWrite",
                               .repeat = mark ? CLIENT_CONDITIONAL : CLIENT_WRITE};
    (void)remote__begin(r);
    r->mark = mark;
    r->mark_version = mark_version;
    varve_status st = encode_commit(r, puts, n, o);
    if (st != VARVE_OK)
        return st;
    q.message = buf_bytes(&r->commit_request);
    r->pending = client_begin(r->client, &q);
    return r->pending ? VARVE_OK : remote__no_memory(r);
}

/* The condition did not hold: was it because this very commit was done by an earlier try? */
static varve_status find_mark(struct remote *r)
{
    const struct db_row *row;
    struct client_failure failure = r->failure;
    varve_status st = r->db.read->get(&r->db, r->mark->collection, r->mark->key, NULL, &row);
    if (st == VARVE_OK && failure.unsure && bytes_eq(row->value, r->mark->data)) {
        *r->mark_version = row->version;
        return VARVE_OK;
    }
    if (st != VARVE_OK && st != VARVE_NOT_FOUND)
        return st;
    r->failure = failure;
    return (varve_status)err_set(&r->failure.err, ST_PRECONDITION_FAILED,
                                 "somebody else imports this file at the same time");
}

static varve_status remote_settle(struct db *db)
{
    struct remote *r = remote__of(db);
    struct client_pending *p = r->pending;
    struct err e;
    void *answer = NULL;
    err_init(&e);
    if (!p)
        return VARVE_OK;
    r->pending = NULL;
    (void)remote__begin(r);
    varve_status st = (varve_status)client_finish(p, &r->answer, &r->failure);
    if (st == VARVE_PRECONDITION_FAILED && r->mark)
        return find_mark(r);
    if (st != VARVE_OK)
        return st;
    if (pb_decode(&varve__v1__batch_write_response__descriptor, buf_bytes(&r->answer), &r->arena,
                  &answer, NULL, &e) != ST_OK)
        return remote__broken(r, &e);
    if (r->mark)
        *r->mark_version =
            remote__version_of(((const Varve__V1__BatchWriteResponse *)answer)->version);
    return VARVE_OK;
}

static void remote_step(struct db *db)
{
    client_step(remote__of(db)->client);
}

const struct db_write_ops remote__write = {
    .put = remote_put,
    .erase = remote_erase,
    .restore = remote_restore,
    .commit = remote_commit,
    .settle = remote_settle,
    .step = remote_step,
};
