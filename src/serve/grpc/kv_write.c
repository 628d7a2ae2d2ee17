/* kv_write.c - Put, Delete, CompareAndSet, Restore; and the table of the service.
 *
 * Small writes are made on the reactor's thread: the first of a round's writers syncs for all of
 * them, and waking another thread would cost as much as the sync. Large ones go to the pool.
 */
#include "serve/grpc/kv.h"

/* What is there where a precondition did not hold. The verb counts its requirements; here is one. */
static enum status failed_by(struct call *c, enum status st, struct version present)
{
    static const char counted[] = "requirement 0: ";
    enum { COUNTED = sizeof counted - 1 };
    if (st == ST_PRECONDITION_FAILED) {
        if (strncmp(c->err.detail, counted, COUNTED) == 0)
            memmove(c->err.detail, c->err.detail + COUNTED, strlen(c->err.detail) + 1 - COUNTED);
        c->present = version_is_none(present) ? DOOR_PRESENT_ABSENT : DOOR_PRESENT_VERSION;
        c->version = present;
    }
    return st;
}

struct put_job {
    struct call *c;
    struct command_put put;
    struct version version;
    enum status st;
};

static void put_now(void *arg)
{
    struct put_job *j = arg;
    j->st = command_put(&j->c->db, &j->put, &j->version, &j->c->err);
}

static enum status put(struct put_job *j)
{
    struct call *c = j->c;
    enum status st = ST_OK;
    if (j->put.require.what)
        kv_warm(c, j->put.collection, j->put.key);
    if ((st = call_alive(c)) != ST_OK)
        return st;
    if (j->put.value.data.len > DOOR_IN_PLACE)
        st = call_work(c, WORK_READ, put_now, j);
    else
        put_now(j);
    if (st == ST_OK)
        st = failed_by(c, j->st, j->version);
    return st == ST_OK ? call_respond_version(c, j->version) : st;
}

enum status kv_put(struct call *c, const void *request)
{
    const Varve__V1__PutRequest *m = request;
    struct put_job j = {.c = c,
                        .put = {.collection = text_bytes(m->collection), .key = pb_bytes(m->key)}};
    enum status st = call_allow(c, j.put.collection);
    if (st == ST_OK)
        st = args_value(c, m->value, "value", &j.put.value);
    if (st == ST_OK)
        st = args_precondition(c, m->precondition, "precondition", &j.put.require);
    if (st == ST_OK)
        st = args_options(c, m->options, &j.put.options);
    return st == ST_OK ? put(&j) : st;
}

/* A Value of one kind that needs no look at its bytes here: raw or bson. */
static bool parse_value(struct bytes message, struct command_value *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    if (!reader_left(&r) || !pb_next(&r, &f) || f.wire != PB_BYTES || reader_left(&r))
        return false;
    if (f.number != VARVE__V1__VALUE__KIND_RAW && f.number != VARVE__V1__VALUE__KIND_BSON)
        return false;
    bool raw = f.number == VARVE__V1__VALUE__KIND_RAW;
    *ret = (struct command_value){raw ? COMMAND_RAW : COMMAND_DOC,
                                  f.bytes.len ? f.bytes : BYTES_EMPTY};
    return true;
}

/* Each of the three once; what lacks, or comes again, is the descriptors' affair. */
static bool parse_plain(struct bytes message, struct command_put *ret)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    unsigned seen = 0;
    while (reader_left(&r)) {
        if (!pb_next(&r, &f) || f.wire != PB_BYTES || f.number < 1 || f.number > 3 ||
            (seen & 1u << f.number))
            return false;
        seen |= 1u << f.number;
        if (f.number == 1)
            ret->collection = f.bytes;
        else if (f.number == 2)
            ret->key = f.bytes;
        else if (!parse_value(f.bytes, &ret->value))
            return false;
    }
    return seen == (1u << 1 | 1u << 2 | 1u << 3) && ret->collection.len && ret->key.len &&
           kv_plain_text(ret->collection);
}

bool kv_put_plain(struct call *c, struct bytes message, enum status *ret)
{
    struct put_job j = {.c = c, .put = {.options = {.sync = STORE_SYNC_DEFAULT}}};
    if (!parse_plain(message, &j.put))
        return false;
    *ret = call_allow(c, j.put.collection);
    if (*ret == ST_OK)
        *ret = put(&j);
    return true;
}

enum status kv_compare_and_set(struct call *c, const void *request)
{
    const Varve__V1__CompareAndSetRequest *m = request;
    struct put_job j = {.c = c,
                        .put = {.collection = text_bytes(m->collection), .key = pb_bytes(m->key)}};
    enum status st = call_allow(c, j.put.collection);
    if (st == ST_OK)
        st = args_value(c, m->value, "value", &j.put.value);
    if (st == ST_OK)
        st = args_options(c, m->options, &j.put.options);
    j.put.require = command_expect(args_version(m->expected));
    c->required = args_required(&j.put.require);
    c->subject = "expected";
    return st == ST_OK ? put(&j) : st;
}

enum status kv_delete(struct call *c, const void *request)
{
    const Varve__V1__DeleteRequest *m = request;
    struct command_delete d = {.collection = text_bytes(m->collection), .key = pb_bytes(m->key)};
    struct version version = VERSION_NONE;
    enum status st = call_allow(c, d.collection);
    if (st == ST_OK)
        st = args_precondition(c, m->precondition, "precondition", &d.require);
    if (st == ST_OK && d.require.what && d.require.what != STORE_REQUIRE_VERSION)
        st = err_set(&c->err, ST_INVALID_ARGUMENT,
                     "precondition: a delete can only require a version");
    if (st == ST_OK)
        st = args_options(c, m->options, &d.options);
    if (st == ST_OK) {
        kv_warm(c, d.collection, d.key);
        st = call_alive(c);
    }
    if (st == ST_OK)
        st = failed_by(c, command_delete(&c->db, &d, &version, &c->err), version);
    return st == ST_OK ? call_respond_version(c, version) : st;
}

struct restore_job {
    struct call *c;
    struct command_restore restore;
    struct version version;
    enum status st;
};

static void restore_on_pool(void *arg)
{
    struct restore_job *j = arg;
    j->st = command_restore(&j->c->db, &j->restore, &j->version, &j->c->err);
}

enum status kv_restore(struct call *c, const void *request)
{
    const Varve__V1__RestoreRequest *m = request;
    struct restore_job j = {
        .c = c, .restore = {.collection = text_bytes(m->collection), .key = pb_bytes(m->key)}};
    enum status st = call_allow(c, j.restore.collection);
    if (st == ST_OK)
        st = args_at(c, m->at, "at", &j.restore.at);
    if (st == ST_OK)
        st = args_options(c, m->options, &j.restore.options);
    if (st == ST_OK)
        st = call_work(c, WORK_READ, restore_on_pool, &j);
    if (st == ST_OK)
        st = j.st;
    return st == ST_OK ? call_respond_version(c, j.version) : st;
}

#define KV "varve.v1.KV"
static const struct method methods[] = {
    {"Get", KV "/Get", &varve__v1__get_request__descriptor, kv_get, COMMAND_GET, true,
     kv_get_plain},
    {"Put", KV "/Put", &varve__v1__put_request__descriptor, kv_put, COMMAND_PUT, true,
     kv_put_plain},
    METHOD(KV, Delete, delete, kv_delete, DELETE),
    METHOD(KV, BatchGet, batch_get, kv_batch_get, GET_MANY),
    METHOD(KV, BatchWrite, batch_write, kv_batch_write, COMMIT),
    METHOD(KV, CompareAndSet, compare_and_set, kv_compare_and_set, COMPARE_AND_SET),
    METHOD(KV, Scan, scan, kv_scan, SCAN),
    METHOD(KV, History, history, kv_history, HISTORY),
    METHOD(KV, Diff, diff, kv_diff, DIFF),
    METHOD(KV, Restore, restore, kv_restore, RESTORE),
};
const struct service door__kv = {KV, methods, sizeof methods / sizeof methods[0]};
