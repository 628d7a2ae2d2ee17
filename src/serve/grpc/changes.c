/* changes.c - Watch: a page of changes, then waiting, and again.
 *
 * An idle watcher is a parked fiber and a place in the changes. What ends the wait: something new is
 * visible of what it watches, the heartbeat, the deadline, or the end of the request.
 */
#include "serve/grpc/door_internal.h"

#include "base/env/fiber.h"

enum {
    HEARTBEAT_MS = 15000,
    HEARTBEAT_MIN_MS = 100,
    HEARTBEAT_MAX_MS = 3600000,
    NS_PER_MS = 1000000,
    KEEPS_UP_NS = 5 * NS_PER_MS,
    COME_AGAIN_NS = 20 * NS_PER_MS,
};

struct watch_job {
    struct call *c;
    struct command_changes changes;
    struct command_watch *watch;
    enum doc_out format;
    struct command_page page;
    struct command_page_end end;
    struct buf out, json;
    enum status st;
    bool until_now;
    bool paged; /* the page was made */
    uint64_t heartbeat_ns, spoke_ns;
};

static void open_on_pool(void *arg)
{
    struct watch_job *j = arg;
    j->st = command_watch_open(&j->c->db, &j->changes, &j->watch, &j->c->err);
}

/* Change { collection = 1, record = 2, resume_token = 3 } as field 1 of WatchResponse. */
static enum status append_change(struct watch_job *j, struct bytes collection, struct bytes token,
                                 const struct record_out *o)
{
    uint8_t name[STORE_NAME_MAX];
    bool good = pb_is_utf8(collection);
    size_t len = collection.len < sizeof name ? collection.len : sizeof name;
    for (size_t i = 0; i < len; i++)
        name[i] = !good && (collection.data[i] & 0x80) ? '?' : collection.data[i];
    size_t size =
        (len ? pb_field_size(len) : 0) + pb_field_size(o->size) + pb_field_size(token.len);
    enum status st = buf_reserve(&j->out, 1 + PB_VARINT_MAX + 2 + len);
    if (st != ST_OK)
        return st;
    uint8_t *begin = j->out.data + j->out.len, *p = pb_w_head(begin, 1, size);
    if (len)
        p = pb_w_bytes(p, 1, BYTES(name, len));
    j->out.len += (size_t)(p - begin);
    st = record_out_append(o, 2, &j->out);
    if (st == ST_OK)
        st = buf_reserve(&j->out, 1 + PB_VARINT_MAX + token.len);
    if (st != ST_OK)
        return st;
    begin = j->out.data + j->out.len;
    j->out.len += (size_t)(pb_w_bytes(begin, 3, token) - begin);
    return ST_OK;
}

static int take_change(void *arg, const struct command_row *row, struct err *err)
{
    struct watch_job *j = arg;
    struct record_out o;
    unsigned what = RECORD_OUT_KEY | RECORD_OUT_PAST |
                    (j->changes.options.values ? (unsigned)RECORD_OUT_VALUE : 0U);
    struct record rec = row->rec;
    if (!j->changes.options.values) { /* rows still in memory have them, those in the engine not */
        rec.writer = BYTES_EMPTY;
        rec.expires_ms = 0;
    }
    enum status st = record_out_of(&o, &rec, row->key, what, j->format, &j->json, err);
    if (st == ST_OK)
        st = append_change(j, row->collection, row->token, &o);
    return st == ST_OK ? 1 : -(int)st;
}

static void page_on_pool(void *arg)
{
    struct watch_job *j = arg;
    buf_clear(&j->out);
    j->st = command_watch_page(j->watch, &j->page, true, take_change, j, &j->end, &j->c->err);
}

static void wake_watchers(void *arg)
{
    store_wake_watchers(arg);
}

/* { resume_token = 2 } behind the changes. */
static enum status send(struct watch_job *j)
{
    struct bytes token = text_bytes(command_watch_token(j->watch));
    enum status st = buf_reserve(&j->out, 1 + PB_VARINT_MAX + token.len);
    if (st != ST_OK)
        return st;
    uint8_t *begin = j->out.data + j->out.len;
    j->out.len += (size_t)(pb_w_bytes(begin, 2, token) - begin);
    uint64_t before = fiber_now_ns();
    st = rpc_send(j->c->rpc, buf_bytes(&j->out));
    j->spoke_ns = fiber_now_ns();
    if (j->spoke_ns - before > KEEPS_UP_NS)
        j->page.max_bytes = DOOR_PAGE_FIRST;
    else if (j->page.max_bytes < DOOR_PAGE_MAX)
        j->page.max_bytes *= 2;
    return st;
}

static enum status one_page(struct watch_job *j, bool first)
{
    struct call *c = j->c;
    size_t charge = j->page.max_bytes;
    enum status st = request_charge(call_request(c), charge, &c->err);
    if (st != ST_OK)
        return st;
    j->paged = false;
    st = call_work(c, WORK_READ, page_on_pool, j);
    if (st == ST_OK)
        st = j->st;
    j->paged = st == ST_OK;
    bool last = j->until_now && !j->end.more;
    if (st == ST_OK &&
        (j->end.rows > 0 || first || last || fiber_now_ns() - j->spoke_ns >= j->heartbeat_ns))
        st = send(j);
    request_uncharge(call_request(c), charge);
    return st;
}

/* One write wakes all who watch its collection, and there may be more of them than the pool queues or
 * memory allows pages at once. Those that find no room come again: a watch may be late, but is not cut off. */
static enum status patient_page(struct watch_job *j, bool first)
{
    struct call *c = j->c;
    enum status st;
    while ((st = one_page(j, first)) == ST_OVERLOADED && !j->paged) {
        err_init(&c->err);
        if ((st = request_sleep(call_request(c), COME_AGAIN_NS)) != ST_OK)
            break;
    }
    return st;
}

/* Until something new is visible, the heartbeat is due, or the request ends. */
static void wait_for_more(struct watch_job *j)
{
    struct request *q = call_request(j->c);
    uint64_t silent = fiber_now_ns() - j->spoke_ns, left = request_left_ns(q);
    uint64_t beat = silent < j->heartbeat_ns ? j->heartbeat_ns - silent : 0;
    uint64_t ns = left < beat ? left : beat;
    buf_deinit(&j->out); /* an idle watcher keeps no page */
    buf_deinit(&j->json);
    (void)command_watch_wait(j->watch, ns / NS_PER_MS + 1, request_stop_flag(q));
}

static enum status watch(struct watch_job *j)
{
    struct call *c = j->c;
    enum status st;
    for (bool first = true;; first = false) {
        if ((st = request_stop(call_request(c))) != ST_OK) /* a watch has no end of its own */
            return st;
        if ((st = patient_page(j, first)) != ST_OK)
            return st;
        if (command_watch_done(j->watch) || (j->until_now && !j->end.more))
            return call_end(c);
        if (!j->end.more)
            wait_for_more(j);
    }
}

static enum status watch_args(struct watch_job *j, const Varve__V1__WatchRequest *m)
{
    struct call *c = j->c;
    uint32_t beat = m->heartbeat_ms ? m->heartbeat_ms : HEARTBEAT_MS;
    if (beat < HEARTBEAT_MIN_MS || beat > HEARTBEAT_MAX_MS)
        return err_set(&c->err, ST_INVALID_ARGUMENT, "heartbeat_ms: %u is not within %d and %d",
                       beat, HEARTBEAT_MIN_MS, HEARTBEAT_MAX_MS);
    j->heartbeat_ns = (uint64_t)beat * NS_PER_MS;
    j->changes.token = text_bytes(m->resume_token);
    switch ((int)m->start) {
    case VARVE__V1__WATCH_REQUEST__START__START_UNSPECIFIED:
    case VARVE__V1__WATCH_REQUEST__START__START_NOW:
        if (j->changes.token.len == 0)
            j->changes.token = BYTES_LIT("now");
        break;
    case VARVE__V1__WATCH_REQUEST__START__START_BEGINNING:
        break;
    default:
        return err_set(&c->err, ST_INVALID_ARGUMENT, "start: %d is no start", (int)m->start);
    }
    enum status st = args_consistency(c, m->consistency);
    return st == ST_OK ? args_format(c, m->document_format, &j->format) : st;
}

static enum status changes_watch(struct call *c, const void *request)
{
    const Varve__V1__WatchRequest *m = request;
    struct watch_job j = {.c = c,
                          .changes = {.options = {.collection = text_bytes(m->collection),
                                                  .prefix = pb_bytes(m->prefix),
                                                  .limit = m->limit,
                                                  .values = m->values}},
                          .page = {.max_rows = m->page_rows, .max_bytes = DOOR_PAGE_FIRST},
                          .until_now = m->until_now};
    enum status st = call_allow(c, j.changes.options.collection);
    if (st == ST_OK)
        st = watch_args(&j, m);
    if (st == ST_OK)
        st = call_work(c, WORK_READ, open_on_pool, &j);
    if (st == ST_OK)
        st = j.st;
    if (st == ST_OK) {
        request_on_stop(call_request(c), wake_watchers, c->db.store);
        st = watch(&j);
        request_on_stop(call_request(c), NULL, NULL);
    }
    command_watch_close(j.watch);
    buf_deinit(&j.out);
    buf_deinit(&j.json);
    return st;
}

#define CHANGES "varve.v1.Changes"
static const struct method methods[] = {
    METHOD(CHANGES, Watch, watch, changes_watch, WATCH),
};
const struct service door__changes = {CHANGES, methods, sizeof methods / sizeof methods[0]};
