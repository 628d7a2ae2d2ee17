/* kv_read.c - Get, BatchGet, Diff. */
#include "serve/grpc/kv.h"

#include "base/alloc.h"

/* ---- Get: in place when memory can tell, else on the pool ---- */

struct get_job {
    struct call *c;
    const struct command_get *get;
    struct buf *buf;
    struct record *rec;
    enum status st;
};

static void get_on_pool(void *arg)
{
    struct get_job *j = arg;
    j->st = command_get(&j->c->db, j->get, j->buf, j->rec, &j->c->err);
}

/* grpc_door_joins chose it: it asks for the present, which the join has waited for. */
static enum status after_join(struct call *c)
{
    const struct request *q = call_request(c);
    if (q->join_failed)
        return err_set(&c->err, q->join_failed->status, "%s", q->join_failed->detail);
    c->db.consistency = COMMAND_LOCAL;
    return ST_OK;
}

static enum status get(struct call *c, const struct command_get *g, struct buf *buf,
                       struct record *ret)
{
    enum status st = command_get_cached(&c->db, g, buf, ret, &c->err);
    if (st != ST_TIMED_OUT)
        return st;
    struct get_job j = {.c = c, .get = g, .buf = buf, .rec = ret};
    err_init(&c->err);
    if (g->at->kind == COMMAND_AT_NOW)
        c->db.consistency = COMMAND_LOCAL; /* it has waited for the present */
    st = call_work(c, WORK_READ, get_on_pool, &j);
    return st == ST_OK ? j.st : st;
}

/* GetResponse { record = 1 }, the value where it lies. */
static enum status respond_record(struct call *c, const struct record_out *o)
{
    uint8_t head[RECORD_OUT_HEAD_MAX], tail[RECORD_OUT_TAIL_MAX];
    uint8_t *p = record_out_head(o, pb_w_head(head, 1, o->size));
    uint8_t *q = record_out_tail(o, tail);
    struct h2_part parts[3] = {{.bytes = BYTES(head, (size_t)(p - head))},
                               {.bytes = o->value},
                               {.bytes = BYTES(tail, (size_t)(q - tail))}};
    return rpc_respond_parts(c->rpc, parts, 3);
}

/* What a GetRequest has beside the collection and the key; all zero when it has no more. */
struct get_more {
    const Varve__V1__At *at;
    Varve__V1__Consistency consistency;
    Varve__V1__DocumentFormat format;
};

static enum status get_and_respond(struct call *c, struct bytes collection, struct bytes key,
                                   const struct get_more *m)
{
    struct command_at at;
    struct command_get g = {.collection = collection, .key = key, .at = &at};
    struct buf buf = BUF_INIT, json = BUF_INIT;
    struct record rec;
    struct record_out out;
    enum doc_out format;
    enum status st = call_allow(c, g.collection);
    if (st == ST_OK)
        st = args_at(c, m->at, "at", &at);
    if (st == ST_OK)
        st = args_consistency(c, m->consistency);
    if (st == ST_OK)
        st = args_format(c, m->format, &format);
    if (st == ST_OK && call_request(c)->joined)
        st = after_join(c);
    if (st == ST_OK)
        st = get(c, &g, &buf, &rec);
    if (st == ST_OK)
        st = record_out_of(&out, &rec, BYTES_EMPTY, RECORD_OUT_VALUE, format, &json, &c->err);
    if (st == ST_OK)
        st = respond_record(c, &out);
    buf_deinit(&buf);
    buf_deinit(&json);
    return st;
}

enum status kv_get(struct call *c, const void *request)
{
    const Varve__V1__GetRequest *m = request;
    const struct get_more more = {
        .at = m->at, .consistency = m->consistency, .format = m->document_format};
    return get_and_respond(c, text_bytes(m->collection), pb_bytes(m->key), &more);
}

bool kv_plain_text(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] == 0 || b.data[i] >= 0x80)
            return false;
    return true;
}

static bool parse_plain(struct bytes message, struct bytes *ret_collection, struct bytes *ret_key)
{
    struct reader r = reader_of(message);
    struct pb_field f;
    *ret_collection = *ret_key = BYTES_EMPTY;
    while (reader_left(&r)) {
        if (!pb_next(&r, &f) || f.wire != PB_BYTES || f.number < 1 || f.number > 2)
            return false;
        *(f.number == 1 ? ret_collection : ret_key) = f.bytes;
        if (f.number == 1 && !kv_plain_text(f.bytes))
            return false;
    }
    return true;
}

bool kv_get_is_plain(struct bytes message)
{
    struct bytes collection, key;
    return parse_plain(message, &collection, &key);
}

bool kv_get_plain(struct call *c, struct bytes message, enum status *ret)
{
    static const struct get_more none;
    struct bytes collection, key;
    if (!parse_plain(message, &collection, &key))
        return false;
    *ret = get_and_respond(c, collection, key, &none);
    return true;
}

void kv_get_ahead(const struct command_db *db, struct bytes message)
{
    struct bytes collection, key;
    if (parse_plain(message, &collection, &key))
        command_ahead(db, collection, key);
}

/* A write's condition is judged under the store's lock: its record is brought to memory before, so
 * that no reactor waits for a disk there. What this read answers does not count. */
void kv_warm(struct call *c, struct bytes collection, struct bytes key)
{
    static const struct command_at now = {.kind = COMMAND_AT_NOW};
    struct command_get g = {.collection = collection, .key = key, .at = &now};
    struct buf buf = BUF_INIT;
    struct record rec;
    enum command_consistency before = c->db.consistency;
    c->db.consistency = COMMAND_LOCAL;
    (void)!get(c, &g, &buf, &rec);
    c->db.consistency = before;
    err_init(&c->err);
    buf_deinit(&buf);
}

/* ---- BatchGet ---- */

struct batch_get_job {
    struct call *c;
    const Varve__V1__BatchGetRequest *m;
    struct command_at at;
    enum doc_out format;
    struct command_key *keys;
    struct command_got *got; /* zeroed */
    struct buf out;          /* a BatchGetResponse */
    enum status st;
};

/* BatchGetResponse { repeated Result results = 1; Result { record = 1 } }. */
static enum status append_result(struct batch_get_job *j, const struct command_got *got,
                                 struct buf *json)
{
    struct record_out o;
    if (got->st != ST_OK)
        return buf_append(&j->out, "\x0a\0", 2);
    enum status st =
        record_out_of(&o, &got->rec, BYTES_EMPTY, RECORD_OUT_VALUE, j->format, json, &j->c->err);
    if (st == ST_OK)
        st = buf_reserve(&j->out, 1 + PB_VARINT_MAX);
    if (st != ST_OK)
        return st;
    uint8_t *p = j->out.data + j->out.len;
    j->out.len += (size_t)(pb_w_head(p, 1, pb_field_size(o.size)) - p);
    return record_out_append(&o, 1, &j->out);
}

static void batch_get_on_pool(void *arg)
{
    struct batch_get_job *j = arg;
    struct buf json = BUF_INIT;
    struct command_get_many g = {
        .keys = j->keys, .n = j->m->n_keys, .at = &j->at, .max_bytes = DOOR_ANSWER_MAX};
    j->st = command_get_many(&j->c->db, &g, j->got, &j->c->err);
    for (size_t i = 0; j->st == ST_OK && i < g.n; i++)
        j->st = append_result(j, &j->got[i], &json);
    if (j->st == ST_TOO_LARGE && !j->c->err.detail[0])
        j->st = err_set(&j->c->err, ST_TOO_LARGE, "keys: the answer is over the limit of 32 MiB");
    buf_deinit(&json);
}

static enum status batch_get_args(struct batch_get_job *j)
{
    struct call *c = j->c;
    size_t n = j->m->n_keys;
    if (n > DOOR_KEYS_MAX)
        return err_set(&c->err, ST_TOO_LARGE, "keys: %zu are over the limit of %d", n,
                       DOOR_KEYS_MAX);
    j->keys = call_alloc(c, (n + 1) * sizeof *j->keys);
    j->got = call_alloc(c, (n + 1) * sizeof *j->got);
    if (!j->keys || !j->got)
        return ST_NO_MEMORY;
    memset(j->got, 0, n * sizeof *j->got);
    for (size_t i = 0; i < n; i++) {
        j->keys[i] = (struct command_key){text_bytes(j->m->keys[i]->collection),
                                          pb_bytes(j->m->keys[i]->key)};
        enum status st = i && bytes_eq(j->keys[i].collection, j->keys[i - 1].collection)
                             ? ST_OK
                             : call_allow(c, j->keys[i].collection);
        if (st != ST_OK)
            return st;
    }
    enum status st = args_at(c, j->m->at, "at", &j->at);
    if (st == ST_OK)
        st = args_consistency(c, j->m->consistency);
    return st == ST_OK ? args_format(c, j->m->document_format, &j->format) : st;
}

enum status kv_batch_get(struct call *c, const void *request)
{
    struct batch_get_job j = {.c = c, .m = request};
    /* JSON may be larger than the BSON that it is made of; so may the lengths around many records. */
    buf_init(&j.out, 2 * (size_t)DOOR_ANSWER_MAX);
    enum status st = batch_get_args(&j);
    if (st == ST_OK)
        st = call_work(c, WORK_READ, batch_get_on_pool, &j);
    if (st == ST_OK)
        st = j.st;
    if (st == ST_OK)
        st = rpc_respond(c->rpc, buf_bytes(&j.out));
    for (size_t i = 0; j.got && i < j.m->n_keys; i++)
        buf_deinit(&j.got[i].buf);
    buf_deinit(&j.out);
    return st;
}

/* ---- Diff ---- */

struct diff_job {
    struct call *c;
    struct command_at older, newer;
    struct command_diff diff;
    struct buf out;
    enum status st;
};

/* Which of the two moments was refused. */
static void older_or_newer(struct call *c, const char *whole, const char *time,
                           const char *snapshot)
{
    door__rename(&c->err, "at.time_ms", time);
    door__rename(&c->err, "at.snapshot", snapshot);
    if (c->err.status == ST_FUTURE_TIME && command_field(&c->err).len == 0)
        err_prefix(&c->err, "%s", whole);
}

static void diff_on_pool(void *arg)
{
    struct diff_job *j = arg;
    struct call *c = j->c;
    j->st = command_moment(&c->db, &j->older, &j->diff.a, &c->err);
    if (j->st != ST_OK)
        older_or_newer(c, "older", "older.time_unix_ms", "older.snapshot");
    else if ((j->st = command_moment(&c->db, &j->newer, &j->diff.b, &c->err)) != ST_OK)
        older_or_newer(c, "newer", "newer.time_unix_ms", "newer.snapshot");
    if (j->st == ST_OK)
        j->st = command_diff(&c->db, &j->diff, &j->out, &c->err);
}

static enum status diff_args(struct diff_job *j, const Varve__V1__DiffRequest *m)
{
    struct call *c = j->c;
    enum status st = args_at(c, m->older, "older", &j->older);
    if (st == ST_OK)
        st = args_at(c, m->newer, "newer", &j->newer);
    if (st == ST_OK)
        st = args_consistency(c, m->consistency);
    if (st == ST_OK && j->older.kind == COMMAND_AT_NOW)
        st = err_set(&c->err, ST_INVALID_ARGUMENT, "older: it must be set");
    switch ((int)m->format) {
    case VARVE__V1__DIFF_REQUEST__FORMAT__FORMAT_UNSPECIFIED:
    case VARVE__V1__DIFF_REQUEST__FORMAT__FORMAT_PATHS:
        j->diff.format = DOC_DIFF_PATHS;
        break;
    case VARVE__V1__DIFF_REQUEST__FORMAT__FORMAT_JSON_PATCH:
        j->diff.format = DOC_DIFF_JSON_PATCH;
        break;
    default:
        return err_set(&c->err, ST_INVALID_ARGUMENT, "format: %d is no format of a difference",
                       (int)m->format);
    }
    return st;
}

enum status kv_diff(struct call *c, const void *request)
{
    const Varve__V1__DiffRequest *m = request;
    struct diff_job j = {
        .c = c, .diff = {.collection = text_bytes(m->collection), .key = pb_bytes(m->key)}};
    enum status st = call_allow(c, j.diff.collection);
    if (st == ST_OK)
        st = diff_args(&j, m);
    if (st == ST_OK)
        st = call_work(c, WORK_READ, diff_on_pool, &j);
    if (st == ST_OK)
        st = j.st;
    if (st == ST_OK) {
        uint8_t head[1 + PB_VARINT_MAX];
        uint8_t *p = pb_w_head(head, 1, j.out.len);
        struct h2_part parts[2] = {{.bytes = BYTES(head, (size_t)(p - head))},
                                   {.bytes = buf_bytes(&j.out)}};
        st = rpc_respond_parts(c->rpc, parts, 2);
    }
    buf_deinit(&j.out);
    return st;
}
