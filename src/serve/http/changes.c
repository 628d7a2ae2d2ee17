/* changes.c - GET /v1/changes: a page as JSON or NDJSON, or Server-Sent Events without end.
 *
 * An idle listener is a parked fiber and a place in the changes. What ends its wait: something new is
 * visible of what it listens to, the heartbeat, or the request's end. */
#include "serve/http/http_internal.h"

#include "base/env/fiber.h"

enum {
    NS_PER_MS = 1000000,
    HEARTBEAT_MIN_MS = 100,
    HEARTBEAT_MAX_MS = 3600000,
    COME_AGAIN_NS = 20 * NS_PER_MS,
};

struct changes_job {
    struct http_call *c;
    struct command_changes changes;
    struct command_watch *watch;
    struct command_page page;
    struct command_page_end end;
    enum http_media media;
    unsigned what; /* ROW_ */
    bool any;
    bool paged; /* the page was made */
    struct buf out, row, token;
    uint64_t heartbeat_ns, spoke_ns;
    enum status st;
};

enum status sse_event(struct buf *out, struct bytes id, const char *event, struct bytes data)
{
    enum status st = ST_OK;
    if (id.len) {
        st = json_put(out, "id: ");
        if (st == ST_OK)
            st = buf_append(out, id.data, id.len);
        if (st == ST_OK)
            st = buf_append_u8(out, '\n');
    }
    if (st == ST_OK)
        st = buf_printf(out, "event: %s\n", event);
    for (size_t from = 0; st == ST_OK && from <= data.len;) {
        size_t end = from;
        while (end < data.len && data.data[end] != '\n' && data.data[end] != '\r')
            end++;
        st = json_put(out, "data: ");
        if (st == ST_OK)
            st = buf_append(out, data.data + from, end - from);
        if (st == ST_OK)
            st = buf_append_u8(out, '\n');
        from = end + 1;
        if (end + 1 < data.len && data.data[end] == '\r' && data.data[end + 1] == '\n')
            from++;
    }
    return st == ST_OK ? buf_append_u8(out, '\n') : st;
}

static int take(void *arg, const struct command_row *row, struct err *err)
{
    struct changes_job *j = arg;
    enum status st = ST_OK;
    if (j->media == MEDIA_EVENTS) {
        buf_clear(&j->row);
        st = row_json(&j->row, row, j->what, err);
        if (st == ST_OK)
            st = sse_event(&j->out, row->token, row->rec.kind == RECORD_PUT ? "put" : "delete",
                           buf_bytes(&j->row));
    } else {
        if (j->media == MEDIA_JSON && j->any)
            st = json_put(&j->out, ",\n");
        if (st == ST_OK)
            st = row_json(&j->out, row, j->what, err);
        if (st == ST_OK && j->media == MEDIA_NDJSON)
            st = buf_append_u8(&j->out, '\n');
    }
    j->any = true;
    if (st == ST_NO_MEMORY)
        st = err_set(err, st, "no memory for the answer");
    return st == ST_OK ? 1 : -(int)st;
}

/* ---- a page ---- */

static void page_on_pool(void *arg)
{
    struct changes_job *j = arg;
    struct http_call *c = j->c;
    enum status st = j->media == MEDIA_JSON ? json_put(&j->out, "{\"items\":[") : ST_OK;
    if (st == ST_OK)
        st = command_changes_page(&c->db, &j->changes, &j->page, true, take, j, &j->end, &j->token,
                                  &c->err);
    if (st == ST_OK)
        st = json_put(&j->out, j->media == MEDIA_JSON ? "],\"next\":" : "{\"next\":");
    if (st == ST_OK)
        st = json_text(&j->out, buf_bytes(&j->token));
    if (st == ST_OK)
        st = buf_printf(&j->out, ",\"more\":%s}\n", j->end.more ? "true" : "false");
    j->st = st;
}

static enum status one_answer(struct changes_job *j)
{
    struct http_call *c = j->c;
    enum status st = request_charge(&c->x->req, COMMAND_PAGE_BYTES, &c->err);
    if (st == ST_OK)
        st = http__work(c, WORK_READ, page_on_pool, j);
    if (st == ST_OK)
        st = j->st;
    if (st != ST_OK)
        return st;
    call_cache(c, false);
    return http__respond(c, 200, j->media, buf_bytes(&j->out));
}

/* ---- the stream ---- */

static void open_on_pool(void *arg)
{
    struct changes_job *j = arg;
    j->st = command_watch_open(&j->c->db, &j->changes, &j->watch, &j->c->err);
}

static void events_on_pool(void *arg)
{
    struct changes_job *j = arg;
    buf_clear(&j->out);
    j->st = command_watch_page(j->watch, &j->page, true, take, j, &j->end, &j->c->err);
}

static void wake_watchers(void *arg)
{
    store_wake_watchers(arg);
}

static bool stopping(struct changes_job *j)
{
    const struct request *q = &j->c->x->req;
    return atomic_load_explicit(&j->c->door->stop, memory_order_relaxed) ||
           atomic_load_explicit(request_stop_flag(q), memory_order_relaxed) ||
           request_stop(q) != ST_OK;
}

/* Where the listener stands, so that it comes back there even when nothing passed its filter. An id
 * without data is remembered and dispatches no event. */
static enum status heartbeat(struct changes_job *j)
{
    return buf_printf(&j->out, "id: %s\n: heartbeat\n\n", command_watch_token(j->watch));
}

/* `first`: who listens from now on knows the place at once, and loses nothing when the connection breaks
 * before anything came. */
static enum status send_page(struct changes_job *j, bool first)
{
    struct http_call *c = j->c;
    j->paged = false;
    enum status st = request_charge(&c->x->req, HTTP_PAGE_STREAM, &c->err);
    if (st != ST_OK)
        return st;
    st = http__work(c, WORK_READ, events_on_pool, j);
    if (st == ST_OK)
        st = j->st;
    j->paged = st == ST_OK;
    if (st == ST_OK && j->end.rows == 0 &&
        (first || fiber_now_ns() - j->spoke_ns >= j->heartbeat_ns))
        st = heartbeat(j);
    if (st == ST_OK && j->out.len) {
        st = call_write(c, buf_bytes(&j->out));
        c->x->req.deadline_ns = UINT64_MAX;
        j->spoke_ns = fiber_now_ns();
    }
    request_uncharge(&c->x->req, HTTP_PAGE_STREAM);
    return st;
}

/* One write wakes all who listen, and there may be more of them than the pool queues or memory allows
 * pages at once. Those that find no room come again: a listener may hear late, but is not cut off. */
static enum status patient_page(struct changes_job *j, bool first)
{
    struct http_call *c = j->c;
    enum status st;
    while ((st = send_page(j, first)) == ST_OVERLOADED && !j->paged) {
        err_init(&c->err);
        if (request_sleep(&c->x->req, COME_AGAIN_NS) != ST_OK || stopping(j))
            return ST_OK; /* and the loop sees why */
    }
    return st;
}

static void wait_for_more(struct changes_job *j)
{
    uint64_t silent = fiber_now_ns() - j->spoke_ns;
    uint64_t ns = silent < j->heartbeat_ns ? j->heartbeat_ns - silent : 0;
    buf_deinit(&j->out); /* an idle listener keeps no page */
    buf_deinit(&j->row);
    (void)command_watch_wait(j->watch, ns / NS_PER_MS + 1, request_stop_flag(&j->c->x->req));
}

static enum status listen(struct changes_job *j)
{
    struct http_call *c = j->c;
    enum status st = http__work(c, WORK_READ, open_on_pool, j);
    if (st == ST_OK)
        st = j->st;
    if (st != ST_OK)
        return st;
    call_header(c, "cache-control", BYTES_LIT("no-store"));
    call_header(c, "x-accel-buffering", BYTES_LIT("no")); /* proxies are not to gather it */
    st = call_begin(c, 200, MEDIA_EVENTS);
    if (st == ST_OK && c->x->head) /* its answer is whole: nothing is to be listened for */
        return exchange_end(c->x);
    if (st == ST_OK)
        st = exchange_write(c->x, BYTES_LIT("retry: 1000\n\n"));
    j->spoke_ns = fiber_now_ns();
    c->x->req.deadline_ns = UINT64_MAX;
    request_on_stop(&c->x->req, wake_watchers, c->db.store);
    for (bool first = true; st == ST_OK && !stopping(j); first = false) {
        st = patient_page(j, first);
        if (st != ST_OK || stopping(j) || command_watch_done(j->watch))
            break;
        if (!j->end.more)
            wait_for_more(j);
    }
    request_on_stop(&c->x->req, NULL, NULL);
    return st == ST_OK ? exchange_end(c->x) : st;
}

static enum status stream(struct changes_job *j)
{
    struct http_door *d = j->c->door;
    enum status st;
    if (atomic_fetch_add_explicit(&d->streams, 1, memory_order_relaxed) >= d->o.max_streams)
        st = err_set(&j->c->err, ST_OVERLOADED, "there are as many streams as the limit of %u",
                     (unsigned)d->o.max_streams);
    else
        st = listen(j);
    atomic_fetch_sub_explicit(&d->streams, 1, memory_order_relaxed);
    return st;
}

static enum status args(struct changes_job *j)
{
    struct http_call *c = j->c;
    struct command_changes_options *o = &j->changes.options;
    uint64_t limit = 0, beat = c->door->o.heartbeat_ms;
    bool values = true, canonical = false;
    struct bytes last;
    enum status st = call_negotiate(c, MEDIA(JSON) | MEDIA(NDJSON) | MEDIA(EVENTS), &j->media);
    o->collection = call_has(c, PARAM_COLLECTION) ? c->query.value[PARAM_COLLECTION] : BYTES_EMPTY;
    o->prefix = call_has(c, PARAM_PREFIX) ? c->query.value[PARAM_PREFIX] : BYTES_EMPTY;
    if (st == ST_OK)
        st = http__allow(c, j->media == MEDIA_EVENTS ? COMMAND_WATCH : COMMAND_CHANGES,
                         o->collection);
    if (st == ST_OK)
        st = arg_number(c, PARAM_LIMIT, COMMAND_PAGE_ROWS_MAX, &limit);
    if (st == ST_OK)
        st = arg_bool(c, PARAM_VALUES, &values);
    if (st == ST_OK)
        st = arg_bool(c, PARAM_CANONICAL, &canonical);
    if (st == ST_OK)
        st = arg_duration(c, PARAM_HEARTBEAT, &beat);
    if (st == ST_OK && (beat < HEARTBEAT_MIN_MS || beat > HEARTBEAT_MAX_MS))
        st = call_refuse(c, 400, "heartbeat", "it is not within 100ms and 1h");
    if (st != ST_OK)
        return st;
    j->heartbeat_ns = beat * NS_PER_MS;
    o->values = values;
    j->what = ROW_COLLECTION | ROW_KEY | ROW_KIND | (values ? (unsigned)ROW_VALUE : 0U) |
              (canonical ? (unsigned)ROW_CANONICAL : 0U) |
              (j->media == MEDIA_EVENTS ? 0U : (unsigned)ROW_TOKEN);
    j->changes.token = call_has(c, PARAM_SINCE) ? c->query.value[PARAM_SINCE] : BYTES_EMPTY;
    if (j->media == MEDIA_EVENTS) {
        o->limit = limit;
        j->page.max_bytes = HTTP_PAGE_STREAM;
        if (!call_has(c, PARAM_SINCE))
            j->changes.token = BYTES_LIT("now");
        /* A browser that comes back says where it was; that counts before the address. */
        if (request_header(&c->x->req, BYTES_LIT("last-event-id"), &last) && last.len)
            j->changes.token = last;
    } else {
        j->page.max_rows = (uint32_t)limit;
    }
    return ST_OK;
}

enum status http_changes(struct http_call *c)
{
    struct changes_job j = {.c = c};
    enum status st = args(&j);
    if (st == ST_OK)
        st = j.media == MEDIA_EVENTS ? stream(&j) : one_answer(&j);
    command_watch_close(j.watch);
    buf_deinit(&j.out);
    buf_deinit(&j.row);
    buf_deinit(&j.token);
    return st;
}
