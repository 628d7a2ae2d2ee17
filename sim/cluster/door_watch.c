/* Watchers that come through doors: Watch of gRPC, pages and events of HTTP. */
#include "sim/cluster/door.h"

#include "base/env/fiber.h"
#include "wire/proto/pb.h"

#include <stdio.h>
#include <string.h>

enum { VISIT_MS = 4000, LOOK_MS = 100, CONNECT_MS = 2000, TOKEN_MAX = 512 };

static const char watched[] = "register";

struct visit {
    const struct door_visit *v;
    struct line *line;
    struct ask ask;
    uint64_t until;
    uint64_t known; /* acknowledged before it was asked: what it is told includes that */
    bool opened, to_now, slow;
};

/* The newest write that some client was told of by now. */
static uint64_t acknowledged(const struct run *r)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < r->n_versions; i++)
        newest = r->versions[i] > newest ? r->versions[i] : newest;
    return newest;
}

static void opened(struct visit *t)
{
    if (!t->opened)
        t->v->opened(t->v->arg);
    t->opened = true;
}

static bool enough(const struct visit *t)
{
    const struct door_visit *v = t->v;
    return fiber_now_ns() >= t->until || !node_serves(v->node) ||
           (v->run->stop_watchers && !t->to_now);
}

static void rest(uint64_t ns)
{
    struct env_event never;
    env_event_init(&never);
    (void)env_wait(&never, ns);
}

/* One that does not read for a while: the node must wait, and hold little meanwhile. */
static void be_slow(const struct visit *t)
{
    if (t->slow && dice_one_in(t->v->dice, 3))
        rest(dice_below(t->v->dice, 300) * MS);
}

static bool begin(struct visit *t, const struct door_visit *v, bool h1)
{
    struct line_options o = {.kind = h1 ? LINE_HTTP1 : LINE_HTTP2};
    *t = (struct visit){.v = v,
                        .until = fiber_now_ns() + VISIT_MS * MS,
                        .slow = dice_one_in(v->dice, 3),
                        .to_now = v->run->stop_watchers || dice_one_in(v->dice, 2),
                        .known = acknowledged(v->run)};
    if (t->slow)
        o.h2.stream_window = o.h2.conn_window = 1024;
    door_addr(v->node, &o.to);
    t->line = line_open(&o);
    return line_wait(t->line, CONNECT_MS * MS);
}

/* --- gRPC --- */

static void take_change(const struct visit *t, const Varve__V1__Change *m)
{
    const Varve__V1__Record *r = m->record;
    if (!r || !r->version || (m->collection[0] && strcmp(m->collection, watched) != 0))
        return;
    struct history_watch h = {.kind = HISTORY_WATCH_EVENT,
                              .verb = r->deleted ? HISTORY_DELETE : HISTORY_PUT,
                              .version = r->version->hlc,
                              .key = pb_bytes(r->key)};
    if (!r->deleted && r->value)
        h.value = pb_bytes(r->value->raw);
    t->v->row(t->v->arg, BYTES_STR(m->resume_token), &h);
}

static void take_message(struct visit *t, struct bytes message)
{
    struct arena arena;
    void *m = NULL;
    struct err err;
    err_init(&err);
    arena_init(&arena, 4096);
    if (pb_decode(&varve__v1__watch_response__descriptor, message, &arena, &m, NULL, &err) != ST_OK)
        run_fail(t->v->run, "%s shows changes that cannot be read: %s", node_name(t->v->node),
                 err.detail);
    const Varve__V1__WatchResponse *w = m;
    opened(t);
    for (size_t i = 0; w && i < w->n_changes; i++)
        take_change(t, w->changes[i]);
    if (w)
        t->v->place(t->v->arg, BYTES_STR(w->resume_token));
    arena_deinit(&arena);
}

static void follow_grpc(struct visit *t)
{
    struct bytes message;
    struct grpc_result r;
    for (;;) {
        be_slow(t);
        enum grpc_next next = ask_next(&t->ask, fiber_now_ns() + LOOK_MS * MS, &message, NULL);
        if (next == GRPC_MESSAGE)
            take_message(t, message);
        if (next == GRPC_END || next == GRPC_FAILED)
            break;
        if (enough(t))
            return;
    }
    if (grpc_result(&t->ask.call, &r) != ST_OK)
        return;
    if (r.code == GRPC_OK && t->to_now && t->opened)
        t->v->progress(t->v->arg, t->known);
    grpc_result_deinit(&r);
}

static bool visit_grpc(const struct door_visit *v)
{
    struct visit t;
    struct buf message = BUF_INIT;
    Varve__V1__WatchRequest q = VARVE__V1__WATCH_REQUEST__INIT;
    bool there = begin(&t, v, false);
    q.collection = (char *)(uintptr_t)(v->all ? "" : watched);
    q.prefix = pb_data(v->all ? BYTES_EMPTY : v->prefix);
    q.values = true;
    q.start = VARVE__V1__WATCH_REQUEST__START__START_BEGINNING;
    q.resume_token = (char *)(uintptr_t)v->token;
    q.until_now = t.to_now;
    q.heartbeat_ms = 100 + (uint32_t)dice_below(v->dice, 400);
    q.page_rows = dice_one_in(v->dice, 2) ? 1 + (uint32_t)dice_below(v->dice, 20) : 0;
    if (!t.to_now && dice_one_in(v->dice, 4))
        q.limit = 1 + dice_below(v->dice, 50);
    enum status st = pb_encode(&q.base, &message);
    ASSERT(st == ST_OK);
    struct ask_grpc o = {.path = BYTES_LIT("/varve.v1.Changes/Watch"),
                         .gzip = dice_one_in(v->dice, 3)};
    if (there && ask_grpc(&t.ask, t.line, &o, buf_bytes(&message), NULL) == ST_OK)
        follow_grpc(&t);
    buf_deinit(&message);
    ask_end(&t.ask);
    line_close(t.line, !dice_one_in(v->dice, 3));
    return t.opened;
}

/* --- HTTP --- */

/* The text behind `name` in `in`, up to `end`. Empty: it is not there. */
static struct bytes between(struct bytes in, const char *name, char end)
{
    size_t n = strlen(name);
    const uint8_t *at = in.len ? memmem(in.data, in.len, name, n) : NULL;
    if (!at)
        return BYTES_EMPTY;
    at += n;
    const uint8_t *to = memchr(at, end, (size_t)(in.data + in.len - at));
    return to ? BYTES(at, (size_t)(to - at)) : BYTES_EMPTY;
}

/* One change as a line of JSON. Registers' values are plain text, so nothing is quoted in it. */
static void take_line(const struct visit *t, struct bytes line, struct bytes token)
{
    struct version version;
    const struct door_visit *v = t->v;
    if (!bytes_eq(between(line, "\"collection\":\"", '"'), BYTES_LIT(watched)))
        return;
    struct history_watch h = {.kind = HISTORY_WATCH_EVENT,
                              .verb = HISTORY_PUT,
                              .key = between(line, "\"key\":\"", '"'),
                              .value = between(line, "\"value\":\"", '"')};
    if (bytes_eq(between(line, "\"kind\":\"", '"'), BYTES_LIT("delete")))
        h.verb = HISTORY_DELETE;
    if (!version_parse(between(line, "\"version\":\"", '"'), &version) || token.len == 0)
        run_fail(v->run, "%s shows a change without a version or a token: %.*s", node_name(v->node),
                 (int)(line.len < 300 ? line.len : 300), (const char *)line.data);
    h.version = version.hlc;
    v->row(v->arg, token, &h);
}

/* The next whole line of the body from *at on; false: none is there yet. */
static bool next_line(struct bytes body, size_t *at, struct bytes *ret)
{
    const uint8_t *end = *at < body.len ? memchr(body.data + *at, '\n', body.len - *at) : NULL;
    if (!end)
        return false;
    *ret = BYTES(body.data + *at, (size_t)(end - body.data) - *at);
    *at += ret->len + 1;
    return true;
}

/* A page of NDJSON: rows, each with its token, and an end that says whether there is more. */
static void take_page(struct visit *t)
{
    struct bytes line, body = buf_bytes(&t->ask.body);
    size_t at = 0;
    bool all = false;
    opened(t);
    while (next_line(body, &at, &line)) {
        if (bytes_has_prefix(line, BYTES_LIT("{\"next\":"))) {
            all = bytes_eq(between(line, "\"more\":", '}'), BYTES_LIT("false"));
            t->v->place(t->v->arg, between(line, "\"next\":\"", '"'));
        } else {
            take_line(t, line, between(line, "\"token\":\"", '"'));
        }
    }
    if (all)
        t->v->progress(t->v->arg, t->known);
}

static void visit_pages(struct visit *t)
{
    if (ask_wait(&t->ask, t->until) && !t->ask.broken && t->ask.status == 200)
        take_page(t);
}

/* Events: "id: TOKEN", "event: put", "data: {...}", an empty line; in a heartbeat the id is followed by a
 * comment. */
static void visit_events(struct visit *t)
{
    struct bytes line, token = BYTES_EMPTY;
    size_t at = 0;
    char id[TOKEN_MAX];
    while (!enough(t)) {
        bool over = ask_wait(&t->ask, fiber_now_ns() + LOOK_MS * MS);
        if (t->ask.status == 200)
            opened(t);
        while (t->opened && next_line(buf_bytes(&t->ask.body), &at, &line)) {
            if (bytes_has_prefix(line, BYTES_LIT("id: ")) && line.len < TOKEN_MAX) {
                token = BYTES(id, line.len - 4);
                memcpy(id, line.data + 4, token.len);
            } else if (bytes_has_prefix(line, BYTES_LIT("data: "))) {
                take_line(t, line, token);
            } else if (bytes_has_prefix(line, BYTES_LIT(":"))) {
                t->v->place(t->v->arg, token);
            }
        }
        if (over)
            return;
        be_slow(t);
        ask_take(&t->ask);
    }
}

static bool visit_http(const struct door_visit *v)
{
    struct visit t;
    char target[TOKEN_MAX + 200];
    bool there = begin(&t, v, dice_one_in(v->dice, 2));
    bool events = !t.to_now;
    int n = snprintf(target, sizeof target, "/v1/changes?since=%s", v->token);
    if (!v->all)
        n += snprintf(target + n, sizeof target - (size_t)n, "&collection=%s&prefix=%.*s", watched,
                      (int)v->prefix.len, v->prefix.len ? (const char *)v->prefix.data : "");
    (void)snprintf(target + n, sizeof target - (size_t)n, events ? "&heartbeat=%ums" : "&limit=%u",
                   100 + (unsigned)dice_below(v->dice, 400));
    struct wire_header accept =
        WIRE_HEADER(BYTES_LIT("accept"),
                    events ? BYTES_LIT("text/event-stream") : BYTES_LIT("application/x-ndjson"));
    struct ask_http o = {.method = "GET", .target = target, .headers = &accept, .n_headers = 1};
    t.ask.slow = events && t.slow;
    if (there && ask_http(&t.ask, t.line, &o, NULL) == ST_OK) {
        if (events)
            visit_events(&t);
        else
            visit_pages(&t);
    }
    ask_end(&t.ask);
    line_close(t.line, !dice_one_in(v->dice, 3));
    return t.opened;
}

bool door_visit(const struct door_visit *v)
{
    return v->by_http ? visit_http(v) : visit_grpc(v);
}
