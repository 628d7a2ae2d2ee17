/* exchange.c - answers of HTTP requests. */
#include "serve/port/port_internal.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>

enum { LENGTH_TEXT = 20, OWN_HEADERS = 3 };

static bool bodyless(unsigned status)
{
    return status == 204 || status == 304;
}

/* Whether the peer can still be answered; over HTTP/1 the connection itself counts. */
static bool answerable(const struct slot *s)
{
    return !s->gone && !s->ended;
}

static size_t put_length(uint64_t v, char out[LENGTH_TEXT])
{
    char back[LENGTH_TEXT];
    size_t n = 0;
    do
        back[n++] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    for (size_t i = 0; i < n; i++)
        out[i] = back[n - 1 - i];
    return n;
}

/* length as in http1.h; over HTTP/2 without one nothing is said. */
static enum status send_head(struct slot *s, unsigned status, const struct wire_header *headers,
                             size_t n, int64_t length, bool end)
{
    struct wire_header all[PORT_HEADERS_MAX + OWN_HEADERS];
    char text[LENGTH_TEXT];
    if (!answerable(s))
        return ST_CLOSED;
    if (s->begun || n > PORT_HEADERS_MAX)
        return ST_INVALID_ARGUMENT;
    if (n)
        memcpy(all, headers, n * sizeof *headers);
    all[n++] = WIRE_HEADER(BYTES_LIT("date"), port__date(s->pc->pr));
    all[n++] = WIRE_HEADER(BYTES_LIT("x-request-id"), BYTES_STR(request_id(&s->as.q)));
    enum status st;
    if (s->stream) {
        if (length >= 0)
            all[n++] = WIRE_HEADER(BYTES_LIT("content-length"),
                                   BYTES(text, put_length((uint64_t)length, text)));
        st = h2_respond(s->stream, status, all, n, end);
    } else {
        st = h1_respond(s->pc->h1, status, all, n, length);
    }
    if (st)
        return st;
    s->begun = true;
    s->http_status = status;
    conn_want_output(s->pc->c);
    return ST_OK;
}

static enum status send_body(struct slot *s, struct bytes body, struct blob *blob, bool end)
{
    if (s->stream) {
        struct h2_part part = {.bytes = body, .blob = blob};
        return h2_write_parts(s->stream, &part, 1, end);
    }
    return h1_write(s->pc->h1, body);
}

enum status exchange_respond_blob(struct exchange *x, unsigned status,
                                  const struct wire_header *headers, size_t n, struct bytes body,
                                  struct blob *blob)
{
    struct slot *s = slot_of(&x->req);
    bool none = bodyless(status), silent = none || x->head || body.len == 0;
    if (!answerable(s))
        return ST_CLOSED;
    if (s->begun)
        return ST_INVALID_ARGUMENT;
    enum status st = silent ? ST_OK : slot__charge_answer(s, body.len);
    if (!st)
        st = send_head(s, status, headers, n, none ? H1_NO_CONTENT : (int64_t)body.len, silent);
    if (!st && !silent) {
        st = send_body(s, body, blob, true);
        if (st) { /* the head has promised it */
            exchange_abort(x);
            return st;
        }
        s->bytes_out += body.len;
    }
    if (st)
        slot__answer_gone(s);
    else
        s->ended = true;
    return st;
}

enum status exchange_respond(struct exchange *x, unsigned status, const struct wire_header *headers,
                             size_t n, struct bytes body)
{
    return exchange_respond_blob(x, status, headers, n, body, NULL);
}

enum status exchange_begin(struct exchange *x, unsigned status, const struct wire_header *headers,
                           size_t n)
{
    struct slot *s = slot_of(&x->req);
    int64_t length = bodyless(status) ? H1_NO_CONTENT : H1_CHUNKED;
    return send_head(s, status, headers, n, length, s->stream && (x->head || bodyless(status)));
}

static bool writable(const struct slot *s)
{
    return s->stream ? h2_writable(s->stream) : h1_writable(s->pc->h1);
}

enum status exchange_write(struct exchange *x, struct bytes data)
{
    struct slot *s = slot_of(&x->req);
    if (!answerable(s))
        return ST_CLOSED;
    if (!s->begun)
        return ST_INVALID_ARGUMENT;
    if (x->head || bodyless(s->http_status) || data.len == 0)
        return ST_OK;
    for (;;) {
        if (writable(s))
            slot__answer_gone(s); /* what was written before has gone, but for a rest */
        size_t before = s->answer_charged;
        enum status st = slot__charge_answer(s, data.len);
        if (st)
            return st;
        st = send_body(s, data, NULL, false);
        if (st == ST_OK)
            break;
        if (s->answer_charged > before)
            slot__answer_gone(s);
        if (st != ST_OVERLOADED)
            return st;
        st = slot__wait(s, NULL);
        if (st)
            return st == ST_CANCELLED ? ST_CLOSED : st;
        if (!answerable(s))
            return ST_CLOSED;
    }
    s->bytes_out += data.len;
    conn_want_output(s->pc->c);
    return ST_OK;
}

enum status exchange_end(struct exchange *x)
{
    struct slot *s = slot_of(&x->req);
    if (!answerable(s))
        return ST_CLOSED;
    if (!s->begun)
        return ST_INVALID_ARGUMENT;
    /* HTTP/1 ends when the handler returns: with it the request's bytes go. */
    enum status st = ST_OK;
    if (s->stream && !x->head && !bodyless(s->http_status))
        st = h2_write(s->stream, BYTES_EMPTY, true);
    if (st)
        return st;
    s->ended = true;
    conn_want_output(s->pc->c);
    return ST_OK;
}

void exchange_abort(struct exchange *x)
{
    struct slot *s = slot_of(&x->req);
    s->ended = true;
    if (s->gone)
        return;
    if (s->stream)
        h2_reset(s->stream, H2_INTERNAL_ERROR);
    else
        conn_abort(s->pc->c, ST_CANCELLED);
    conn_want_output(s->pc->c);
}

bool exchange_begun(const struct exchange *x)
{
    return slot_of(&x->req)->begun;
}

/* --- after the handler --- */

void exchange_problem_slug(const char *title, char out[EXCHANGE_SLUG])
{
    (void)snprintf(out, EXCHANGE_SLUG, "%s", title);
    for (char *p = out; *p; p++)
        if (*p == ' ' || *p == '/')
            *p = '-';
}

bool exchange_problem_limit(const char *detail, uint64_t *ret)
{
    static const char words[] = "limit of ";
    const char *p = strstr(detail, words);
    if (!p)
        return false;
    p += sizeof words - 1;
    uint64_t n = 0;
    bool any = false;
    for (; *p >= '0' && *p <= '9'; p++, any = true)
        n = n * 10 + (uint64_t)(*p - '0');
    *ret = n;
    return any;
}

/* What stands in JSON as it is; the rest of a detail is not worth memory that may be short. */
static void plain(const char *text, char *out, size_t cap)
{
    size_t n = 0;
    for (; text[n] && n + 1 < cap; n++)
        out[n] = text[n] == '"' || text[n] == '\\' || (uint8_t)text[n] < ' ' ? ' ' : text[n];
    out[n] = '\0';
}

/* Made as the HTTP door makes its own: type and title by kind (RFC 9457). */
static void answer_problem(struct slot *s, unsigned status, enum status kind, const char *detail)
{
    char text[ERR_DETAIL_MAX + REQUEST_ID_MAX + 256], said[ERR_DETAIL_MAX], slug[EXCHANGE_SLUG];
    char limit[32] = "";
    uint64_t over;
    struct wire_header h[3] = {
        WIRE_HEADER(BYTES_LIT("content-type"), BYTES_LIT("application/problem+json")),
        WIRE_HEADER(BYTES_LIT("cache-control"), BYTES_LIT("no-store")),
        WIRE_HEADER(BYTES_LIT("retry-after"), BYTES_LIT("1"))};
    plain(detail, said, sizeof said);
    exchange_problem_slug(status_text(kind), slug);
    if (kind == ST_TOO_LARGE && exchange_problem_limit(detail, &over))
        (void)snprintf(limit, sizeof limit, "\"limit\":%" PRIu64 ",", over);
    int n = snprintf(text, sizeof text,
                     "{\"type\":\"urn:varve:problem:%s\",\"title\":\"%s\",\"status\":%u,"
                     "\"detail\":\"%s\",%s\"request_id\":\"%s\"}\n",
                     slug, status_text(kind), status, said, limit, request_id(&s->as.q));
    ASSERT(n > 0 && (size_t)n < sizeof text);
    if (exchange_respond(&s->as.x, status, h, status == 503 ? 3 : 2, BYTES(text, (size_t)n)) !=
        ST_OK)
        exchange_abort(&s->as.x);
}

/* HTTP/1: the parser forgets the request here. */
static void end_turn(struct slot *s)
{
    struct port_conn *pc = s->pc;
    struct err err;
    uint64_t next;
    if (!pc->closed && s->begun) {
        err_init(&err);
        /* Its clock stood still meanwhile; no deadline runs while an exchange is at work. */
        if (h1_tick(pc->h1, port__now_ms(pc), &next, &err) != ST_OK || h1_end(pc->h1) != ST_OK)
            conn_abort(pc->c, ST_CANCELLED);
    }
    h1__turn_done(s);
}

void exchange__finish(struct slot *s)
{
    if (!s->begun && answerable(s))
        answer_problem(s, 500, ST_INTERNAL, "the request was not answered");
    else if (!s->ended)
        exchange_abort(&s->as.x);
    port__done(s);
    if (!s->stream)
        end_turn(s);
    else if (s->answer_charged && !s->gone)
        s->state = SLOT_LINGERING;
    else
        slot__free(s);
}

void exchange__refuse(struct slot *s, unsigned status, enum status kind, const char *detail)
{
    answer_problem(s, status, kind, detail);
    exchange__finish(s);
}
