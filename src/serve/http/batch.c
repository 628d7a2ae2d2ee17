/* batch.c - POST /v1/batch and POST /v1/get. */
#include "serve/http/http_internal.h"

static enum status json_body(struct http_call *c, struct bytes *ret)
{
    enum http_media m;
    enum status st = call_content(c, &m);
    return st == ST_OK ? exchange_body(c->x, c->door->o.max_body_bytes, ret, &c->err) : st;
}

struct batch_job {
    struct http_call *c;
    struct command_batch *b;
    struct bytes body;
    struct batch_in in;
    struct version version;
    size_t failed;
    enum status st;
};

static void decode_on_pool(void *arg)
{
    struct batch_job *j = arg;
    j->st = batch_in_decode(j->body, j->c->door->o.max_batch, call_arena(j->c), j->b, &j->in,
                            &j->c->err);
}

static void commit_now(void *arg)
{
    struct batch_job *j = arg;
    j->st = command_commit(&j->c->db, j->b, &j->in.options, &j->version, &j->failed, &j->c->err);
}

/* Which of the requirements did not hold, said by key. */
static enum status told(struct batch_job *j)
{
    struct http_call *c = j->c;
    if (j->st != ST_PRECONDITION_FAILED || j->failed >= j->in.n_requires)
        return j->st;
    struct bytes key = j->in.require_keys[j->failed], name = j->in.require_collections[j->failed];
    char what[ERR_DETAIL_MAX];
    memcpy(what, c->err.detail, sizeof what);
    what[200] = '\0';
    return err_set(&c->err, j->st, "%.*s/%.*s: %s", (int)name.len, (const char *)name.data,
                   (int)(key.len < 100 ? key.len : 100), (const char *)key.data, what);
}

static enum status run(struct batch_job *j, void (*fn)(void *arg), bool in_place)
{
    if (in_place)
        fn(j);
    else {
        enum status st = http__work(j->c, WORK_READ, fn, j);
        if (st != ST_OK)
            return st;
    }
    return j->st;
}

enum status http_batch(struct http_call *c)
{
    struct batch_job j = {.c = c, .b = command_batch_new()};
    if (!j.b)
        return err_set(&c->err, ST_NO_MEMORY, "no memory for the batch");
    enum status st = json_body(c, &j.body);
    bool small = j.body.len <= HTTP_IN_PLACE, of_header = false;
    if (st == ST_OK)
        st = run(&j, decode_on_pool, small);
    if (st == ST_OK && !j.in.options.writer.data) {
        of_header = true;
        st = arg_writer(c, &j.in.options);
    }
    if (st == ST_OK)
        st = arg_request_id(c, &j.in.options);
    if (st == ST_OK)
        st = gate_check_batch(&c->door->gate, c->who, &c->x->req, j.b, &c->err);
    if (st == ST_OK && (st = request_stop(&c->x->req)) == ST_CLOSED)
        st = ST_OK;
    if (st == ST_OK && (st = run(&j, commit_now, small && j.in.n_requires == 0)) != ST_OK)
        st = told(&j);
    if (st == ST_OK)
        st = http__respond_version(c, 200, j.version);
    if (st != ST_OK && !of_header && bytes_eq(command_field(&c->err), BYTES_LIT("writer")))
        c->field = "writer"; /* the body's, where it is else the header's */
    command_batch_free(j.b);
    return st;
}

/* ---- get many ---- */

struct keys_job {
    struct http_call *c;
    struct bytes body;
    struct keys_in in;
    struct command_at at;
    struct command_got *got;
    struct buf out;
    enum status st;
};

static void decode_keys(void *arg)
{
    struct keys_job *j = arg;
    struct http_call *c = j->c;
    bool fixed;
    j->st = keys_in_decode(j->body, c->door->o.max_batch, call_arena(c), &j->in, &c->err);
    if (j->st == ST_OK && j->in.at) { /* as the parameter of that name */
        c->query.set |= PARAM(AT);
        c->query.value[PARAM_AT] = BYTES_STR(j->in.at);
    }
    if (j->st == ST_OK)
        j->st = arg_moment(c, PARAM_AT, &j->at, &fixed);
}

static enum status print_got(struct keys_job *j, size_t i)
{
    const struct command_key *k = &j->in.keys[i];
    struct command_row row = {.collection = k->collection, .key = k->key, .rec = j->got[i].rec};
    unsigned what =
        ROW_COLLECTION | ROW_KEY | ROW_VALUE | (j->in.canonical ? (unsigned)ROW_CANONICAL : 0U);
    enum status st = i ? json_put(&j->out, ",\n") : ST_OK;
    if (st == ST_OK && j->got[i].st == ST_OK)
        return row_json(&j->out, &row, what, &j->c->err);
    if (st == ST_OK)
        st = json_put(&j->out, "{\"collection\":");
    if (st == ST_OK)
        st = json_bytes(&j->out, k->collection);
    if (st == ST_OK)
        st = json_put(&j->out, ",\"key\":");
    if (st == ST_OK)
        st = json_bytes(&j->out, k->key);
    return st == ST_OK ? json_put(&j->out, ",\"version\":null}") : st;
}

static void get_keys(void *arg)
{
    struct keys_job *j = arg;
    struct http_call *c = j->c;
    struct command_get_many many = {
        .keys = j->in.keys, .n = j->in.n, .at = &j->at, .max_bytes = HTTP_ANSWER_MAX};
    enum status st = command_get_many(&c->db, &many, j->got, &c->err);
    if (st == ST_OK)
        st = json_put(&j->out, "{\"items\":[");
    for (size_t i = 0; st == ST_OK && i < j->in.n; i++)
        st = print_got(j, i);
    if (st == ST_OK)
        st = json_put(&j->out, "]}\n");
    for (size_t i = 0; i < j->in.n; i++)
        buf_deinit(&j->got[i].buf);
    j->st = st;
}

enum status http_get_many(struct http_call *c)
{
    struct keys_job j = {.c = c};
    enum status st = json_body(c, &j.body);
    if (st == ST_OK && j.body.len > HTTP_IN_PLACE)
        st = http__work(c, WORK_READ, decode_keys, &j);
    else if (st == ST_OK)
        decode_keys(&j);
    if (st == ST_OK)
        st = j.st;
    for (size_t i = 0; st == ST_OK && i < j.in.n; i++)
        st = http__allow(c, COMMAND_GET_MANY, j.in.keys[i].collection);
    if (st == ST_OK) {
        j.got = arena_alloc(call_arena(c), j.in.n * sizeof j.got[0]);
        if (!j.got)
            return err_set(&c->err, ST_NO_MEMORY, "no memory for the answer");
        memset(j.got, 0, j.in.n * sizeof j.got[0]);
        st = http__work(c, WORK_READ, get_keys, &j);
    }
    if (st == ST_OK)
        st = j.st;
    if (st == ST_OK)
        st = http__respond(c, 200, MEDIA_JSON, buf_bytes(&j.out));
    buf_deinit(&j.out);
    return st;
}
