/* kv_stream.c - Scan and History: one page of the verbs after the other, each a message.
 *
 * Between two pages nothing of the engine is held: the token knows where to go on. A page is made
 * when the one before has been taken by the stream, and pages grow only while the client keeps up.
 */
#include "serve/grpc/kv.h"

#include "base/env/fiber.h"

enum { KEEPS_UP_NS = 5 * 1000 * 1000 };

struct stream_job {
    struct call *c;
    struct command_scan scan;
    struct command_history history;
    bool is_history;
    unsigned what; /* of records: RECORD_OUT_... */
    enum doc_out format;
    struct command_page page;
    struct command_page_end end;
    struct buf out, json, token, next;
    enum status st;
};

/* { repeated Record records = 1 } */
static int take_row(void *arg, const struct command_row *row, struct err *err)
{
    struct stream_job *j = arg;
    struct record_out o;
    enum status st = record_out_of(&o, &row->rec, row->key, j->what, j->format, &j->json, err);
    if (st == ST_OK)
        st = record_out_append(&o, 1, &j->out);
    return st == ST_OK ? 1 : -(int)st;
}

static void page_on_pool(void *arg)
{
    struct stream_job *j = arg;
    struct call *c = j->c;
    buf_clear(&j->out);
    j->st = j->is_history ? command_history_page(&c->db, &j->history, &j->page, take_row, j,
                                                 &j->end, &j->next, &c->err)
                          : command_scan_page(&c->db, &j->scan, &j->page, take_row, j, &j->end,
                                              &j->next, &c->err);
}

/* Behind the records: ScanResponse { at = 2, resume_token = 3 }, HistoryResponse { resume_token = 2 }. */
static enum status end_message(struct stream_job *j)
{
    struct bytes token = j->end.more ? text_bytes((const char *)j->next.data) : BYTES_EMPTY;
    enum status st = buf_reserve(&j->out, 2 * (1 + PB_VARINT_MAX) + VERSION_OUT_MAX + token.len);
    if (st != ST_OK)
        return st;
    uint8_t *begin = j->out.data + j->out.len, *p = begin;
    if (!j->is_history)
        p = version_out(j->end.at, pb_w_head(p, 2, version_out_size(j->end.at)));
    if (token.len)
        p = pb_w_bytes(p, j->is_history ? 2 : 3, token);
    j->out.len += (size_t)(p - begin);
    return ST_OK;
}

/* One page, made and sent. Its memory counts while it waits for the client. */
static enum status one_page(struct stream_job *j)
{
    struct call *c = j->c;
    size_t charge = j->page.max_bytes;
    enum status st = call_alive(c);
    if (st == ST_OK)
        st = request_charge(call_request(c), charge, &c->err);
    if (st != ST_OK)
        return st;
    st = call_work(c, WORK_READ, page_on_pool, j);
    if (st == ST_OK)
        st = j->st;
    if (st == ST_OK)
        st = end_message(j);
    if (st == ST_OK) {
        uint64_t before = fiber_now_ns();
        st = rpc_send(c->rpc, buf_bytes(&j->out));
        if (fiber_now_ns() - before > KEEPS_UP_NS)
            j->page.max_bytes = DOOR_PAGE_FIRST;
        else if (j->page.max_bytes < DOOR_PAGE_MAX)
            j->page.max_bytes *= 2;
    }
    request_uncharge(call_request(c), charge);
    return st;
}

static enum status all_pages(struct stream_job *j)
{
    enum status st;
    j->page.max_bytes = DOOR_PAGE_FIRST;
    do {
        st = one_page(j);
        /* The token of the page before is read while the next one is made. */
        struct buf spare = j->token;
        j->token = j->next;
        j->next = spare;
        if (j->end.more && st == ST_OK)
            j->page.token = text_bytes((const char *)j->token.data);
    } while (st == ST_OK && j->end.more);
    if (st == ST_OK)
        st = call_end(j->c);
    buf_deinit(&j->out);
    buf_deinit(&j->json);
    buf_deinit(&j->token);
    buf_deinit(&j->next);
    return st;
}

enum status kv_scan(struct call *c, const void *request)
{
    const Varve__V1__ScanRequest *m = request;
    struct command_at at;
    struct stream_job j = {
        .c = c,
        .scan = {.collection = text_bytes(m->collection),
                 .at = &at,
                 .options = {.prefix = pb_bytes(m->prefix),
                             .from = pb_bytes(m->start_key),
                             .to = pb_bytes(m->end_key),
                             .reverse = m->reverse,
                             .keys_only = m->keys_only,
                             .limit = m->limit}},
        .what = RECORD_OUT_KEY | (m->keys_only ? 0U : RECORD_OUT_VALUE),
        .page = {.max_rows = m->page_rows, .token = text_bytes(m->resume_token)}};
    enum status st = call_allow(c, j.scan.collection);
    if (st == ST_OK)
        st = args_at(c, m->at, "at", &at);
    if (st == ST_OK)
        st = args_consistency(c, m->consistency);
    if (st == ST_OK)
        st = args_format(c, m->document_format, &j.format);
    return st == ST_OK ? all_pages(&j) : st;
}

enum status kv_history(struct call *c, const void *request)
{
    const Varve__V1__HistoryRequest *m = request;
    struct stream_job j = {
        .c = c,
        .is_history = true,
        .history = {.collection = text_bytes(m->collection),
                    .key = pb_bytes(m->key),
                    .limit = m->limit},
        .what = RECORD_OUT_VALUE | RECORD_OUT_PAST,
        .page = {.max_rows = m->page_rows, .token = text_bytes(m->resume_token)}};
    enum status st = call_allow(c, j.history.collection);
    if (st == ST_OK)
        st = args_consistency(c, m->consistency);
    if (st == ST_OK)
        st = args_format(c, m->document_format, &j.format);
    return st == ST_OK ? all_pages(&j) : st;
}
