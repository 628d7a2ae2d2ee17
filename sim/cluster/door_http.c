/* Operations of clients as requests of HTTP, by either version of it. */
#include "sim/cluster/door.h"

#include "base/base64.h"
#include "base/env/fiber.h"

#include <stdio.h>
#include <string.h>

enum { HEADERS_MAX = 6, SLOW_MS = 60 };

static const char *const collections[WORKS] = {"register", "list", "bank", "set", "counter"};

/* A request from its beginning to its end. */
struct talk {
    struct client *c;
    struct ask ask;
    struct wire_header headers[HEADERS_MAX];
    size_t n;
    bool writes;
};

static void header(struct talk *t, const char *name, struct bytes value)
{
    ASSERT(t->n < HEADERS_MAX);
    t->headers[t->n++] = WIRE_HEADER(BYTES_STR(name), value);
}

/* --- how it went --- */

/* The kind that a problem names, in the words of the table of statuses. */
static enum status kind_of(struct bytes body)
{
    static const char urn[] = "{\"type\":\"urn:varve:problem:";
    char name[64];
    size_t n = 0;
    if (!bytes_has_prefix(body, BYTES_LIT(urn)))
        return ST_OK;
    for (size_t i = sizeof urn - 1; i < body.len && body.data[i] != '"' && n < sizeof name - 1; i++)
        name[n++] = (char)body.data[i];
    name[n] = 0;
#define X(id, number, text, grpc, http, retry)                                                     \
    {                                                                                              \
        char slug[64];                                                                             \
        (void)snprintf(slug, sizeof slug, "%s", text);                                             \
        for (char *p = slug; *p; p++)                                                              \
            *p = *p == ' ' || *p == '/' ? '-' : *p;                                                \
        if (!strcmp(slug, name))                                                                   \
            return ST_##id;                                                                        \
    }
    STATUS_TABLE(X)
#undef X
    return ST_OK;
}

static enum status failure(struct talk *t, struct err *err)
{
    enum status st = kind_of(buf_bytes(&t->ask.body));
    (void)err_set(err, st ? st : ST_IO_ERROR, "%u %.*s", t->ask.status,
                  (int)(t->ask.body.len < 300 ? t->ask.body.len : 300),
                  t->ask.body.len ? (const char *)t->ask.body.data : "");
    if (st == ST_OK)
        return t->writes ? ST_UNKNOWN_OUTCOME : ST_IO_ERROR;
    if (t->writes &&
        (st == ST_POISONED || st == ST_TIMED_OUT || st == ST_CLOSED || st == ST_CANCELLED))
        return ST_UNKNOWN_OUTCOME;
    return st;
}

/* Takes what comes only now and then, so that the node has to wait. */
static bool wait_slowly(struct ask *q, uint64_t until)
{
    while (!q->done && fiber_now_ns() < until) {
        (void)ask_wait(q, fiber_now_ns() + SLOW_MS * MS);
        ask_take(q);
    }
    return q->done;
}

/* Asks and waits; OK: some 2xx, and the body is in t->ask. `talk_over` follows in any case. */
static enum status talk(struct talk *t, const char *method, const char *target, struct bytes body,
                        struct err *err)
{
    struct client *c = t->c;
    uint64_t until = door_patience(c);
    struct line *l = door_line(c);
    if (!l)
        return err_set(err, ST_CLOSED, "%s cannot be reached", node_name(c->node));
    struct ask_http o = {.method = method,
                         .target = target,
                         .headers = t->headers,
                         .n_headers = t->n,
                         .body = body,
                         .chunked = dice_one_in(&c->door->dice, 4)};
    t->ask.slow = dice_one_in(&c->door->dice, 16);
    enum status st = ask_http(&t->ask, l, &o, err);
    if (st)
        return t->writes && t->ask.began ? ST_UNKNOWN_OUTCOME : st;
    bool in_time = t->ask.slow ? wait_slowly(&t->ask, until) : ask_wait(&t->ask, until);
    if (t->ask.refused)
        return err_set(err, ST_CLOSED, "the stream was refused");
    if (!in_time || t->ask.broken || t->ask.status == 0)
        return err_set(err, t->writes ? ST_UNKNOWN_OUTCOME : ST_IO_ERROR, "no answer%s",
                       in_time ? ": the connection broke" : " in time");
    return t->ask.status / 100 == 2 ? ST_OK : failure(t, err);
}

static void talk_over(struct talk *t)
{
    ask_end(&t->ask);
}

/* --- reading JSON of the door: what is in a string is quoted, so these names stand for themselves --- */

/* The text behind `"name":"`, from *at on; moves *at. Empty: there is none. */
static struct bytes member(struct bytes json, const char *name, size_t *at)
{
    char words[40];
    int n = snprintf(words, sizeof words, "\"%s\":\"", name);
    const uint8_t *found =
        *at < json.len ? memmem(json.data + *at, json.len - *at, words, (size_t)n) : NULL;
    if (!found)
        return BYTES_EMPTY;
    size_t from = (size_t)(found - json.data) + (size_t)n, to = from;
    while (to < json.len && json.data[to] != '"')
        to++;
    *at = to;
    return BYTES(json.data + from, to - from);
}

static uint64_t version_at(struct client *c, struct bytes text)
{
    struct version v;
    if (version_parse(text, &v))
        return v.hlc;
    run_fail(c->run, "%s tells a version that is none: %.*s", node_name(c->node), (int)text.len,
             (const char *)text.data);
    return 0;
}

static uint64_t etag_version(struct client *c, const struct ask *q)
{
    size_t n = strlen(q->etag);
    if (n < 2)
        return 0;
    return version_at(c, BYTES(q->etag + 1, n - 2));
}

/* --- reads --- */

enum status door_http_get(struct client *c, struct history_step *s, struct version at,
                          struct err *err)
{
    struct talk t = {.c = c};
    char target[200], version[VERSION_TEXT_MAX];
    const char *key = c->memory[s - c->steps].key;
    int n = snprintf(target, sizeof target, "/v1/%s/%s", collections[c->work], key);
    if (!version_is_none(at)) {
        (void)version_format(at, version);
        (void)snprintf(target + n, sizeof target - (size_t)n, "?at=%s", version);
    } else if (c->weak) {
        (void)snprintf(target + n, sizeof target - (size_t)n, "?consistency=local");
    }
    header(&t, "accept", BYTES_LIT("application/octet-stream"));
    enum status st = talk(&t, "GET", target, BYTES_EMPTY, err);
    if (st == ST_OK) {
        s->found = true;
        s->version = etag_version(c, &t.ask);
        op_value(c, s, t.ask.body.data, t.ask.body.len);
    } else if (st == ST_NOT_FOUND) {
        s->found = false;
        s->version = 0;
        st = ST_OK;
    }
    talk_over(&t);
    return st;
}

/* A page of one row tells the moment that it read. */
enum status door_http_barrier(struct client *c, struct version *ret_at, struct err *err)
{
    struct talk t = {.c = c};
    char target[100];
    size_t at = 0;
    (void)snprintf(target, sizeof target, "/v1/%s?limit=1", collections[c->work]);
    enum status st = talk(&t, "GET", target, BYTES_EMPTY, err);
    if (st == ST_OK) {
        struct bytes moment = member(buf_bytes(&t.ask.body), "at", &at);
        c->door->empty = moment.len == 0;
        *ret_at = VERSION_NONE;
        if (!c->door->empty && !version_parse(moment, ret_at))
            run_fail(c->run, "%s scans at no moment", node_name(c->node));
        c->door->empty = version_is_none(*ret_at);
    }
    talk_over(&t);
    return st;
}

/* --- writes --- */

static void name_request(struct talk *t, const struct door_write *w)
{
    if (w->id.len)
        header(t, "idempotency-key", w->id);
}

/* OK or not: what the answer tells of the version. */
static enum status written(struct talk *t, struct door_write *w, enum status st)
{
    size_t at = 0;
    if (st == ST_OK) {
        struct bytes v = member(buf_bytes(&t->ask.body), "version", &at);
        w->version = version_at(t->c, v);
    } else if (st == ST_PRECONDITION_FAILED) {
        w->present = etag_version(t->c, &t->ask);
    }
    talk_over(t);
    return st;
}

static enum status write_one(struct client *c, struct door_write *w, struct err *err)
{
    struct talk t = {.c = c, .writes = true};
    const struct work_write *one = w->w;
    char target[100], version[VERSION_TEXT_MAX], quoted[VERSION_TEXT_MAX + 2];
    (void)snprintf(target, sizeof target, "/v1/%s/%s", collections[c->work], one->key);
    if (one->require == HISTORY_AT_VERSION) {
        (void)version_format((struct version){one->want, 0}, version);
        (void)snprintf(quoted, sizeof quoted, "\"%s\"", version);
        header(&t, "if-match", BYTES_STR(quoted));
    } else if (one->require == HISTORY_PRESENT) {
        header(&t, "if-match", BYTES_LIT("*"));
    } else if (one->require == HISTORY_ABSENT) {
        header(&t, "if-none-match", BYTES_LIT("*"));
    }
    name_request(&t, w);
    if (!one->remove)
        header(&t, "content-type", BYTES_LIT("application/octet-stream"));
    enum status st = talk(&t, one->remove ? "DELETE" : "PUT", target,
                          one->remove ? BYTES_EMPTY : one->value, err);
    return written(&t, w, st);
}

static void put(struct buf *out, const char *text)
{
    enum status st = buf_append(out, text, strlen(text));
    ASSERT(st == ST_OK);
}

/* {"collection":C,"key":K and what has to hold, without its end. */
static void begin_row(struct buf *out, const struct client *c, const struct work_write *w,
                      bool condition)
{
    char text[200], version[VERSION_TEXT_MAX];
    const char *prefix = condition ? "" : "if_";
    (void)snprintf(text, sizeof text, "{\"collection\":\"%s\",\"key\":\"%s\"", collections[c->work],
                   w->key);
    put(out, text);
    text[0] = 0;
    if (w->require == HISTORY_AT_VERSION) {
        (void)version_format((struct version){w->want, 0}, version);
        (void)snprintf(text, sizeof text, ",\"%sversion\":\"%s\"", prefix, version);
    } else if (w->require == HISTORY_ABSENT || w->require == HISTORY_PRESENT) {
        (void)snprintf(text, sizeof text, ",\"%s%s\":true", prefix,
                       w->require == HISTORY_ABSENT ? "absent" : "present");
    }
    put(out, text);
}

static void batch_body(struct client *c, const struct door_write *w, struct buf *out)
{
    struct buf require = BUF_INIT;
    bool any = false;
    put(out, "{\"writes\":[");
    for (size_t i = 0; i < w->n; i++) {
        const struct work_write *one = &w->w[i];
        bool writes = one->remove || one->value.data;
        if (!writes && one->require == HISTORY_ANY)
            continue;
        struct buf *to = writes ? out : &require;
        if (writes ? any : require.len > 0)
            put(to, ",");
        any |= writes;
        begin_row(to, c, one, !writes);
        if (one->remove) {
            put(to, ",\"delete\":true");
        } else if (writes) {
            put(to, ",\"value\":{\"$binary\":{\"base64\":\"");
            enum status st = base64_encode(to, one->value);
            ASSERT(st == ST_OK);
            put(to, "\",\"subType\":\"00\"}}");
        }
        put(to, "}");
    }
    put(out, "]");
    if (require.len) {
        put(out, ",\"require\":[");
        enum status st = buf_append(out, require.data, require.len);
        ASSERT(st == ST_OK);
        put(out, "]");
    }
    put(out, "}");
    buf_deinit(&require);
}

/* Which condition did not hold is told by its key, and not by more than that. */
static size_t which_failed(const struct door_write *w, const struct err *err)
{
    for (size_t i = 0; i < w->n; i++) {
        char name[KEY_MAX + 8];
        (void)snprintf(name, sizeof name, "/%s: ", w->w[i].key);
        if (w->w[i].require != HISTORY_ANY && strstr(err->detail, name))
            return i;
    }
    return w->n;
}

static enum status write_batch(struct client *c, struct door_write *w, struct err *err)
{
    struct talk t = {.c = c, .writes = true};
    struct buf body = BUF_INIT;
    batch_body(c, w, &body);
    header(&t, "content-type", BYTES_LIT("application/json"));
    name_request(&t, w);
    enum status st = talk(&t, "POST", "/v1/batch", buf_bytes(&body), err);
    buf_deinit(&body);
    bool unmet = st == ST_PRECONDITION_FAILED;
    if (unmet) {
        w->failed = which_failed(w, err);
        if (w->failed == w->n)
            run_fail(c->run, "%s does not say which condition failed: %s", node_name(c->node),
                     err->detail);
        w->failed %= w->n;
    }
    st = written(&t, w, st);
    w->present = unmet ? WORK_NOT_TOLD : w->present;
    return st;
}

enum status door_http_write(struct client *c, struct door_write *w, struct err *err)
{
    const struct work_write *one = w->w;
    bool plain = w->n == 1 && (!one->remove || one->require == HISTORY_AT_VERSION);
    return plain && !dice_one_in(&c->door->dice, 5) ? write_one(c, w, err) : write_batch(c, w, err);
}

/* --- many rows --- */

static void take_rows(struct client *c, struct bytes json, uint64_t shown[STEPS_MAX])
{
    size_t at = 0;
    struct bytes key;
    while ((key = member(json, "key", &at)).len)
        for (size_t i = 0; i < c->n; i++)
            if (bytes_eq(key, c->steps[i].key)) {
                size_t here = at;
                shown[i] = version_at(c, member(json, "version", &here));
            }
}

/* All at once as lines, or page by page. */
void door_http_scan(struct client *c, struct version at, uint64_t shown[STEPS_MAX], bool *ret_all)
{
    char version[VERSION_TEXT_MAX], target[4096], next[3072] = "";
    struct err err;
    err_init(&err);
    bool lines = c->serial % 4 == 0, more = true;
    (void)version_format(at, version);
    *ret_all = false;
    while (more) {
        struct talk t = {.c = c};
        size_t from = 0;
        (void)snprintf(target, sizeof target, "/v1/%s?at=%s&reverse=%s&keys_only=%s%s%s%s",
                       collections[c->work], version, c->serial % 3 == 0 ? "true" : "false",
                       c->serial % 5 == 0 ? "true" : "false", lines ? "" : "&limit=3",
                       next[0] ? "&page=" : "", next);
        header(&t, "accept",
               lines ? BYTES_LIT("application/x-ndjson") : BYTES_LIT("application/json"));
        enum status st = talk(&t, "GET", target, BYTES_EMPTY, &err);
        more = false;
        if (st == ST_INVALID_ARGUMENT)
            run_fail(c->run, "a scan is refused: %s", err.detail);
        if (st == ST_OK) {
            take_rows(c, buf_bytes(&t.ask.body), shown);
            struct bytes token = member(buf_bytes(&t.ask.body), "next", &from);
            more = !lines && token.len > 0 && token.len < sizeof next;
            (void)snprintf(next, sizeof next, "%.*s", (int)token.len, (const char *)token.data);
            *ret_all = !more;
        }
        talk_over(&t);
    }
}

/* The newest version at or before the moment is the one that the get showed. */
void door_http_history(struct client *c, struct history_step *s, struct version at)
{
    struct talk t = {.c = c};
    char target[100];
    struct err err;
    struct bytes text;
    size_t from = 0;
    err_init(&err);
    (void)snprintf(target, sizeof target, "/v1/%s/%s/history?limit=1000&values=false",
                   collections[c->work], c->memory[s - c->steps].key);
    enum status st = talk(&t, "GET", target, BYTES_EMPTY, &err);
    struct bytes json = buf_bytes(&t.ask.body);
    if (st == ST_INVALID_ARGUMENT)
        run_fail(c->run, "a history is refused: %s", err.detail);
    uint64_t shown = 0;
    while (st == ST_OK && (text = member(json, "version", &from)).len) {
        uint64_t version = version_at(c, text);
        if (version > at.hlc)
            continue;
        struct bytes kind = member(json, "kind", &from);
        shown = bytes_eq(kind, BYTES_LIT("put")) ? version : 0;
        break;
    }
    if (st == ST_OK && shown != (s->found ? s->version : 0))
        run_fail(c->run,
                 "%s: the history through its door shows %s at %llx, a get of the same "
                 "moment %llx",
                 node_name(c->node), c->memory[s - c->steps].key, (unsigned long long)shown,
                 (unsigned long long)(s->found ? s->version : 0));
    talk_over(&t);
}
