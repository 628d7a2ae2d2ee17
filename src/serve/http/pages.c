/* pages.c - scans and histories: a page as JSON, or all of it as NDJSON, page by page. */
#include "serve/http/http_internal.h"

#include <inttypes.h>

struct rows_job {
    struct http_call *c;
    struct command_scan scan;
    struct command_history history;
    bool is_history;
    struct command_at at;
    struct command_page page;
    struct command_page_end end;
    unsigned what; /* ROW_ */
    bool lines;    /* NDJSON */
    struct buf out, token;
    enum status st;
};

static int take(void *arg, const struct command_row *row, struct err *err)
{
    struct rows_job *j = arg;
    enum status st = ST_OK;
    if (!j->lines && j->out.len && j->out.data[j->out.len - 1] == '}')
        st = json_put(&j->out, ",\n");
    if (st == ST_OK)
        st = row_json(&j->out, row, j->what, err);
    if (st == ST_OK && j->lines)
        st = buf_append_u8(&j->out, '\n');
    if (st == ST_NO_MEMORY)
        st = err_set(err, st, "no memory for the answer");
    return st == ST_OK ? 1 : -(int)st;
}

static void page_on_pool(void *arg)
{
    struct rows_job *j = arg;
    struct http_call *c = j->c;
    struct buf token = BUF_INIT;
    buf_clear(&j->out);
    if (!j->lines && json_put(&j->out, "{\"items\":[") != ST_OK)
        j->st = err_set(&c->err, ST_NO_MEMORY, "no memory for the answer");
    else if (j->is_history)
        j->st =
            command_history_page(&c->db, &j->history, &j->page, take, j, &j->end, &token, &c->err);
    else
        j->st = command_scan_page(&c->db, &j->scan, &j->page, take, j, &j->end, &token, &c->err);
    buf_deinit(&j->token);
    j->token = token;
}

static enum status one_page(struct rows_job *j)
{
    struct http_call *c = j->c;
    size_t charge = j->page.max_bytes ? j->page.max_bytes : COMMAND_PAGE_BYTES;
    enum status st = request_charge(&c->x->req, charge, &c->err);
    if (st == ST_OK)
        st = http__work(c, WORK_READ, page_on_pool, j);
    return st == ST_OK ? j->st : st;
}

static enum status finish_json(struct rows_job *j)
{
    enum status st = json_put(&j->out, "],\"next\":");
    if (st == ST_OK)
        st = j->end.more ? json_text(&j->out, buf_bytes(&j->token)) : json_put(&j->out, "null");
    if (st == ST_OK)
        st = json_put(&j->out, ",");
    if (st == ST_OK)
        st = version_json(&j->out, "at", j->end.at);
    return st == ST_OK ? json_put(&j->out, "}\n") : st;
}

static enum status as_json(struct rows_job *j, bool fixed)
{
    struct http_call *c = j->c;
    enum status st = one_page(j);
    if (st == ST_OK)
        st = finish_json(j);
    if (st != ST_OK)
        return st;
    call_cache(c, fixed);
    return http__respond(c, 200, MEDIA_JSON, buf_bytes(&j->out));
}

/* The first page is read before the answer begins, so that its failure has a status of its own; a
 * later failure breaks the stream off. */
static enum status as_lines(struct rows_job *j, bool fixed)
{
    struct http_call *c = j->c;
    enum status st = ST_OK;
    j->lines = true;
    j->page.max_bytes = HTTP_PAGE_STREAM;
    j->page.max_rows = 0;
    for (bool first = true; st == ST_OK; first = false) {
        c->x->req.deadline_ns = call_wait_until(c);
        st = one_page(j);
        if (st == ST_OK && first) {
            call_cache(c, fixed);
            st = call_begin(c, 200, MEDIA_NDJSON);
        }
        if (st == ST_OK && j->out.len)
            st = call_write(c, buf_bytes(&j->out));
        request_uncharge(&c->x->req, HTTP_PAGE_STREAM);
        j->page.token = buf_bytes(&j->token);
        if (st != ST_OK || !j->end.more || c->x->head)
            break;
        /* The token lies in the buf that the next page replaces: page_on_pool keeps it until then. */
    }
    return st == ST_OK ? exchange_end(c->x) : st;
}

static enum status common_args(struct rows_job *j, enum http_media *ret)
{
    struct http_call *c = j->c;
    uint64_t limit = 0;
    bool canonical = false;
    enum status st = call_negotiate(c, MEDIA(JSON) | MEDIA(NDJSON), ret);
    if (st == ST_OK)
        st = arg_number(c, PARAM_LIMIT,
                        *ret == MEDIA_NDJSON ? UINT64_MAX / 32 : COMMAND_PAGE_ROWS_MAX, &limit);
    if (st == ST_OK)
        st = arg_bool(c, PARAM_CANONICAL, &canonical);
    if (st != ST_OK)
        return st;
    if (call_has(c, PARAM_PAGE))
        j->page.token = c->query.value[PARAM_PAGE];
    if (*ret == MEDIA_NDJSON)
        j->scan.options.limit = j->history.limit = limit;
    else
        j->page.max_rows = (uint32_t)limit;
    j->what |= canonical ? (unsigned)ROW_CANONICAL : 0U;
    return ST_OK;
}

static enum status run(struct rows_job *j, enum http_media m, bool fixed)
{
    enum status st = m == MEDIA_NDJSON ? as_lines(j, fixed) : as_json(j, fixed);
    buf_deinit(&j->out);
    buf_deinit(&j->token);
    return st;
}

enum status http_scan(struct http_call *c)
{
    struct rows_job j = {.c = c, .what = ROW_KEY};
    struct command_scan_options *o = &j.scan.options;
    enum http_media m;
    bool fixed;
    enum status st = http__allow(c, COMMAND_SCAN, c->names.collection);
    j.scan.collection = c->names.collection;
    o->prefix = call_has(c, PARAM_PREFIX) ? c->query.value[PARAM_PREFIX] : BYTES_EMPTY;
    o->from = call_has(c, PARAM_FROM) ? c->query.value[PARAM_FROM] : BYTES_EMPTY;
    o->to = call_has(c, PARAM_TO) ? c->query.value[PARAM_TO] : BYTES_EMPTY;
    if (st == ST_OK)
        st = arg_moment(c, PARAM_AT, &j.at, &fixed);
    if (st == ST_OK)
        st = arg_bool(c, PARAM_REVERSE, &o->reverse);
    if (st == ST_OK)
        st = arg_bool(c, PARAM_KEYS_ONLY, &o->keys_only);
    if (st == ST_OK)
        st = common_args(&j, &m);
    if (st != ST_OK)
        return st;
    j.scan.at = &j.at;
    if (!o->keys_only)
        j.what |= ROW_VALUE;
    return run(&j, m, fixed);
}

enum status http_history(struct http_call *c)
{
    struct rows_job j = {.c = c, .is_history = true, .what = ROW_KIND};
    enum http_media m;
    bool values = true;
    enum status st = http__allow(c, COMMAND_HISTORY, c->names.collection);
    j.history.collection = c->names.collection;
    j.history.key = c->names.key;
    if (st == ST_OK)
        st = arg_bool(c, PARAM_VALUES, &values);
    if (st == ST_OK)
        st = common_args(&j, &m);
    if (st != ST_OK)
        return st;
    if (values)
        j.what |= ROW_VALUE;
    return run(&j, m, false);
}
