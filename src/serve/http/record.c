/* record.c - one record: GET and HEAD, PUT, DELETE. */
#include "serve/http/http_internal.h"

/* ---- GET ---- */

struct get_job {
    struct http_call *c;
    struct command_get get;
    struct buf buf;
    struct record rec;
    enum status st;
};

static void get_on_pool(void *arg)
{
    struct get_job *j = arg;
    j->st = command_get(&j->c->db, &j->get, &j->buf, &j->rec, &j->c->err);
}

static enum status get(struct get_job *j)
{
    struct http_call *c = j->c;
    enum status st = command_get_cached(&c->db, &j->get, &j->buf, &j->rec, &c->err);
    if (st != ST_TIMED_OUT)
        return st;
    err_init(&c->err);
    if (!j->get.at || j->get.at->kind == COMMAND_AT_NOW)
        c->db.consistency = COMMAND_LOCAL; /* it has waited for the present */
    st = http__work(c, WORK_READ, get_on_pool, j);
    return st == ST_OK ? j->st : st;
}

static void about(struct http_call *c, const struct record *r)
{
    char time[TIME_TEXT_MAX];
    struct buf writer = BUF_INIT;
    if (r->writer.len && http_percent_encode(&writer, r->writer) == ST_OK)
        call_header(c, "x-varve-writer", buf_bytes(&writer));
    buf_deinit(&writer);
    if (r->expires_ms) {
        time_format(r->expires_ms, time);
        call_header(c, "x-varve-expires", BYTES_STR(time));
    }
}

static enum status respond_document(struct http_call *c, struct get_job *j, bool canonical)
{
    struct buf json = BUF_INIT;
    enum status st = doc_to_json(j->rec.value, canonical ? DOC_JSON_CANONICAL : DOC_JSON_RELAXED,
                                 false, &json, &c->err);
    if (st == ST_OK)
        st = json_put(&json, "\n");
    if (st == ST_OK)
        st = http__respond(c, 200, MEDIA_JSON, buf_bytes(&json));
    buf_deinit(&json);
    return st;
}

static enum status respond_record(struct http_call *c, struct get_job *j, bool fixed)
{
    bool document = j->rec.type == RECORD_DOC, canonical = false;
    enum http_media m;
    enum status st = arg_bool(c, PARAM_CANONICAL, &canonical);
    if (st == ST_OK)
        st = call_negotiate(c, document ? MEDIA(JSON) | MEDIA(BSON) : MEDIA(BYTES), &m);
    if (st == ST_OK)
        st = call_etag(c, j->rec.version);
    if (st != ST_OK)
        return st;
    about(c, &j->rec);
    call_cache(c, fixed);
    if (etag_known(c, j->rec.version))
        return http__respond(c, 304, MEDIA_NONE, BYTES_EMPTY);
    return m == MEDIA_JSON ? respond_document(c, j, canonical)
                           : http__respond(c, 200, m, j->rec.value);
}

enum status http_record_get(struct http_call *c)
{
    struct command_at at;
    bool fixed;
    struct get_job j = {.c = c,
                        .get = {.collection = c->names.collection, .key = c->names.key, .at = &at}};
    enum status st = http__allow(c, COMMAND_GET, c->names.collection);
    if (st == ST_OK)
        st = arg_moment(c, PARAM_AT, &at, &fixed);
    if (st == ST_OK)
        st = get(&j);
    if (st == ST_OK)
        st = respond_record(c, &j, fixed);
    buf_deinit(&j.buf);
    return st;
}

/* A write's condition is judged under the store's lock: its record is brought to memory before, so
 * that no reactor waits for a disk there. What this read answers does not count. */
static void warm(struct http_call *c, bool conditional)
{
    struct get_job j = {.c = c, .get = {.collection = c->names.collection, .key = c->names.key}};
    enum command_consistency before = c->db.consistency;
    if (!conditional)
        return;
    c->db.consistency = COMMAND_LOCAL;
    (void)!get(&j);
    c->db.consistency = before;
    err_init(&c->err);
    buf_deinit(&j.buf);
}

/* A write has one condition, its own key's: said without counting requirements. */
static enum status failed_by(struct http_call *c, enum status st, struct version present)
{
    if (st != ST_PRECONDITION_FAILED)
        return st;
    c->present = present;
    c->know_present = true;
    return err_set(&c->err, st, "%s",
                   version_is_none(present)
                       ? "the condition does not hold: the key is absent"
                       : "the condition does not hold: the key is there, at \"version\"");
}

/* ---- PUT ---- */

struct put_job {
    struct http_call *c;
    struct command_put put;
    struct version version;
    enum status st;
};

static void put_now(void *arg)
{
    struct put_job *j = arg;
    j->st = command_put(&j->c->db, &j->put, &j->version, &j->c->err);
}

static enum status value_of_body(struct http_call *c, struct command_value *ret)
{
    static const enum command_type types[] = {
        [MEDIA_JSON] = COMMAND_JSON, [MEDIA_BYTES] = COMMAND_RAW, [MEDIA_BSON] = COMMAND_DOC};
    enum http_media m;
    enum status st = call_content(c, &m);
    if (st == ST_OK)
        st = exchange_body(c->x, c->door->o.max_body_bytes, &ret->data, &c->err);
    if (st == ST_OK) {
        ret->type = types[m];
        if (ret->data.len == 0)
            ret->data = BYTES_EMPTY;
    }
    return st;
}

enum status http_record_put(struct http_call *c)
{
    struct put_job j = {.c = c, .put = {.collection = c->names.collection, .key = c->names.key}};
    enum status st = http__allow(c, COMMAND_PUT, c->names.collection);
    if (st == ST_OK)
        st = arg_condition(c, &j.put.require);
    if (st == ST_OK)
        st = arg_write(c, &j.put.options);
    if (st == ST_OK)
        st = value_of_body(c, &j.put.value);
    if (st != ST_OK)
        return st;
    warm(c, j.put.require.what != 0);
    if ((st = request_stop(&c->x->req)) != ST_OK && st != ST_CLOSED)
        return st;
    st = ST_OK;
    if (j.put.value.data.len > HTTP_IN_PLACE)
        st = http__work(c, WORK_READ, put_now, &j);
    else
        put_now(&j);
    if (st == ST_OK)
        st = failed_by(c, j.st, j.version);
    if (st != ST_OK)
        return st;
    /* Whether the key was there before is known only where it was asked. */
    return http__respond_version(c, j.put.require.what == STORE_REQUIRE_ABSENT ? 201 : 200,
                                 j.version);
}

/* ---- DELETE ---- */

enum status http_record_delete(struct http_call *c)
{
    struct command_delete d = {.collection = c->names.collection, .key = c->names.key};
    struct version version = VERSION_NONE;
    enum status st = http__allow(c, COMMAND_DELETE, c->names.collection);
    if (st == ST_OK)
        st = arg_condition(c, &d.require);
    if (st == ST_OK && d.require.what == STORE_REQUIRE_ABSENT)
        st = call_refuse(c, 400, "if-none-match", "what is to be deleted cannot be absent");
    if (st == ST_OK)
        st = arg_write(c, &d.options);
    if (st != ST_OK)
        return st;
    bool present = d.require.what == STORE_REQUIRE_PRESENT; /* a delete requires that anyway */
    if (present)
        d.require = (struct command_require){0};
    warm(c, true);
    if ((st = request_stop(&c->x->req)) != ST_OK && st != ST_CLOSED)
        return st;
    st = failed_by(c, command_delete(&c->db, &d, &version, &c->err), version);
    if (st == ST_NOT_FOUND && present) {
        c->http_status = 412;
        st = err_set(&c->err, ST_PRECONDITION_FAILED, "the key is absent");
    }
    return st == ST_OK ? http__respond_version(c, 200, version) : st;
}
