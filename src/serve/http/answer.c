/* answer.c - headers, bodies, what the client would rather have, and problems (RFC 9457). */
#include "serve/http/http_internal.h"

#include "base/env/fiber.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const media[] = {
    [MEDIA_JSON] = "application/json",
    [MEDIA_BYTES] = "application/octet-stream",
    [MEDIA_BSON] = "application/bson",
    [MEDIA_NDJSON] = "application/x-ndjson",
    [MEDIA_EVENTS] = "text/event-stream",
    [MEDIA_PATCH] = "application/json-patch+json",
    [MEDIA_TEXT] = "text/plain; charset=utf-8",
    [MEDIA_METRICS] = "text/plain; version=0.0.4; charset=utf-8",
    [MEDIA_NONE] = "",
};

const char *http_media_type(enum http_media m)
{
    return media[m];
}

/* ---- headers ---- */

void call_header(struct http_call *c, const char *name, struct bytes value)
{
    void *copy = value.len ? arena_memdup(call_arena(c), value.data, value.len) : NULL;
    /* Without memory the header is left out; there is none that an answer would be wrong without, but
     * for content-type, which is static. */
    if ((copy || !value.len) && c->n_headers < HTTP_HEADERS_MAX)
        c->headers[c->n_headers++] = WIRE_HEADER(BYTES_STR(name), BYTES(copy, value.len));
}

void call_cache(struct http_call *c, bool fixed)
{
    bool shared = !security_required(c->door->o.gate);
    const char *text = fixed ? shared ? "public, max-age=31536000, immutable"
                                      : "private, max-age=31536000, immutable"
                             : "private, no-cache";
    call_header(c, "cache-control", BYTES_STR(text));
    call_header(c, "vary", BYTES_LIT("accept"));
}

enum status call_etag(struct http_call *c, struct version v)
{
    static const char *const days[] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    char tag[VERSION_TEXT_MAX], text[TIME_TEXT_MAX], date[48], quoted[VERSION_TEXT_MAX + 2];
    version_format(v, tag);
    snprintf(quoted, sizeof quoted, "\"%s\"", tag);
    call_header(c, "etag", BYTES_STR(quoted));
    time_format(version_ms(v), text);
    if (strlen(text) < 19 || text[4] != '-') /* past the year 9999 */
        return ST_OK;
    unsigned month = (unsigned)atoi(text + 5);
    int n =
        snprintf(date, sizeof date, "%s, %.2s %s %.4s %.8s GMT", days[version_ms(v) / 86400000 % 7],
                 text + 8, months[(month + 11) % 12], text, text + 11);
    ASSERT(n > 0 && (size_t)n < sizeof date);
    call_header(c, "last-modified", BYTES(date, (size_t)n));
    return ST_OK;
}

static void with_type(struct http_call *c, enum http_media m)
{
    bool cached = false;
    for (size_t i = 0; i < c->n_headers; i++)
        if (bytes_eq(c->headers[i].name, BYTES_LIT("cache-control")))
            cached = true;
    if (!cached)
        call_header(c, "cache-control", BYTES_LIT("no-store"));
    if (m != MEDIA_NONE && c->n_headers < HTTP_HEADERS_MAX)
        c->headers[c->n_headers++] = WIRE_HEADER(BYTES_LIT("content-type"), BYTES_STR(media[m]));
    if (c->n_headers < HTTP_HEADERS_MAX)
        c->headers[c->n_headers++] =
            WIRE_HEADER(BYTES_LIT("x-content-type-options"), BYTES_LIT("nosniff"));
}

enum status http__respond(struct http_call *c, unsigned status, enum http_media m,
                          struct bytes body)
{
    with_type(c, m);
    return exchange_respond(c->x, status, c->headers, c->n_headers, body);
}

enum status call_begin(struct http_call *c, unsigned status, enum http_media m)
{
    with_type(c, m);
    return exchange_begin(c->x, status, c->headers, c->n_headers);
}

uint64_t call_wait_until(const struct http_call *c)
{
    return fiber_now_ns() + (uint64_t)c->door->o.wait_ms * 1000000;
}

enum status call_write(struct http_call *c, struct bytes data)
{
    /* Its page is charged already, but one long row may be more than a page. */
    size_t over = data.len > HTTP_PAGE_STREAM ? data.len - HTTP_PAGE_STREAM : 0;
    enum status st = request_charge(&c->x->req, over, &c->err);
    if (st != ST_OK)
        return st;
    while (st == ST_OK && data.len) {
        size_t n = data.len < HTTP_PAGE_STREAM ? data.len : HTTP_PAGE_STREAM;
        c->x->req.deadline_ns = call_wait_until(c);
        st = exchange_write(c->x, BYTES(data.data, n));
        data = BYTES(data.data + n, data.len - n);
    }
    request_uncharge(&c->x->req, over);
    return st;
}

enum status http__respond_version(struct http_call *c, unsigned status, struct version v)
{
    struct buf b = BUF_INIT;
    enum status st = buf_append_u8(&b, '{');
    if (st == ST_OK)
        st = version_json(&b, "version", v);
    if (st == ST_OK)
        st = json_put(&b, "}\n");
    if (st == ST_OK)
        st = call_etag(c, v);
    if (st == ST_OK)
        st = http__respond(c, status, MEDIA_JSON, buf_bytes(&b));
    buf_deinit(&b);
    return st;
}

/* ---- what the client would rather have (RFC 9110, section 12.5.1) ---- */

static struct bytes token(struct bytes *rest, uint8_t until)
{
    const uint8_t *p = memchr(rest->data, until, rest->len);
    struct bytes b = BYTES(rest->data, p ? (size_t)(p - rest->data) : rest->len);
    size_t used = b.len + (p ? 1 : 0);
    *rest = BYTES(rest->data + used, rest->len - used);
    while (b.len && (b.data[0] == ' ' || b.data[0] == '\t'))
        b = BYTES(b.data + 1, b.len - 1);
    while (b.len && (b.data[b.len - 1] == ' ' || b.data[b.len - 1] == '\t'))
        b.len--;
    return b;
}

/* "0.75" as 750; what cannot be read counts as 1. */
static unsigned quality(struct bytes v)
{
    unsigned q = 0, place = 1000;
    for (size_t i = 0; i < v.len; i++) {
        if (v.data[i] == '.' && i == 1)
            continue;
        if (v.data[i] < '0' || v.data[i] > '9')
            return 1000;
        q += (unsigned)(v.data[i] - '0') * place;
        place /= 10;
    }
    return q < 1000 ? q : 1000;
}

/* How closely a range fits: 0 not, 1 all, 2 the type, 3 exactly. */
static int fits(struct bytes range, enum http_media m)
{
    struct bytes whole = BYTES_STR(media[m]), type = token(&whole, ';'), main = type;
    struct bytes slash = token(&main, '/');
    if (bytes_eq(range, BYTES_LIT("*/*")) || bytes_eq(range, BYTES_LIT("*")))
        return 1;
    if (range.len == slash.len + 2 && range.data[range.len - 1] == '*' &&
        wire_eq_nocase(BYTES(range.data, slash.len), slash))
        return 2;
    return wire_eq_nocase(range, type) ? 3 : 0;
}

bool http_accepts(struct bytes accept, enum http_media m, unsigned *ret_q)
{
    int best = 0;
    *ret_q = 0;
    if (accept.len == 0) {
        *ret_q = 1000;
        return true;
    }
    while (accept.len) {
        struct bytes one = token(&accept, ','), range = token(&one, ';');
        unsigned q = 1000;
        while (one.len) {
            struct bytes param = token(&one, ';');
            if (param.len > 2 && (param.data[0] | 0x20) == 'q' && param.data[1] == '=')
                q = quality(BYTES(param.data + 2, param.len - 2));
        }
        int fit = range.len ? fits(range, m) : 0;
        if (fit > best) {
            best = fit;
            *ret_q = q;
        }
    }
    return *ret_q > 0;
}

static enum status join_header(struct http_call *c, const char *name, struct buf *out)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < c->x->n_headers; i++) {
        if (!wire_eq_nocase(c->x->headers[i].name, BYTES_STR(name)))
            continue;
        if (out->len)
            st = buf_append_u8(out, ',');
        if (st == ST_OK)
            st = buf_append(out, c->x->headers[i].value.data, c->x->headers[i].value.len);
    }
    return st;
}

static enum status list_media(unsigned which, char *out, size_t cap)
{
    size_t n = 0;
    for (int m = 0; m < MEDIA_NONE; m++)
        if ((which >> m) & 1 && n < cap) {
            int k = snprintf(out + n, cap - n, "%s%s", n ? ", " : "", media[m]);
            n += (size_t)k;
        }
    return ST_OK;
}

enum status call_negotiate(struct http_call *c, unsigned offered, enum http_media *ret)
{
    struct buf accept = BUF_INIT;
    enum http_media best = MEDIA_NONE;
    unsigned best_q = 0, q;
    char names[256] = "";
    enum status st = join_header(c, "accept", &accept);
    for (int m = 0; st == ST_OK && m < MEDIA_NONE; m++)
        if ((offered >> m) & 1 && http_accepts(buf_bytes(&accept), (enum http_media)m, &q) &&
            q > best_q) {
            best = (enum http_media)m;
            best_q = q;
        }
    buf_deinit(&accept);
    if (st != ST_OK)
        return err_set(&c->err, st, "no memory for the request");
    if (best == MEDIA_NONE) {
        (void)list_media(offered, names, sizeof names);
        return call_refuse(c, 406, "accept", "there is only %s", names);
    }
    *ret = best;
    return ST_OK;
}

/* A body that is not the value itself: stored as it came, it would be another one. */
static enum status check_whole(struct http_call *c)
{
    struct bytes value;
    if (request_header(&c->x->req, BYTES_LIT("content-range"), &value))
        return call_refuse(c, 400, "content-range", "a part of a value cannot be written");
    for (size_t i = 0; i < c->x->n_headers; i++) {
        const struct wire_header *h = &c->x->headers[i];
        if (wire_eq_nocase(h->name, BYTES_LIT("content-encoding")) && h->value.len &&
            !wire_eq_nocase(h->value, BYTES_LIT("identity")))
            return call_refuse(c, 415, "content-encoding",
                               "bodies are taken as they are, not encoded");
    }
    return ST_OK;
}

enum status call_content(struct http_call *c, enum http_media *ret)
{
    struct bytes value, rest;
    char names[256] = "";
    enum status st = check_whole(c);
    if (st != ST_OK)
        return st;
    if (!request_header(&c->x->req, BYTES_LIT("content-type"), &value) || value.len == 0) {
        if (c->route->body & MEDIA(BYTES)) {
            *ret = MEDIA_BYTES;
            return ST_OK;
        }
        value = BYTES_EMPTY;
    }
    rest = value;
    struct bytes type = token(&rest, ';');
    for (int m = 0; m < MEDIA_NONE; m++)
        if ((c->route->body >> m) & 1 && wire_eq_nocase(type, BYTES_STR(media[m]))) {
            *ret = (enum http_media)m;
            return ST_OK;
        }
    (void)list_media(c->route->body, names, sizeof names);
    return call_refuse(c, 415, "content-type", "'%.*s' is not one of %s",
                       (int)(type.len < 80 ? type.len : 80), (const char *)type.data, names);
}

/* ---- problems ---- */

enum status call_refuse(struct http_call *c, unsigned http_status, const char *field,
                        const char *fmt, ...)
{
    char text[ERR_DETAIL_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->http_status = http_status;
    c->field = field;
    return err_set(&c->err, ST_INVALID_ARGUMENT, "%s: %s", field, text);
}

/* The verbs name the fields of their structs; what a client of HTTP wrote has other names. */
static struct bytes public_field(struct bytes f)
{
    static const char *const names[][2] = {
        {"options.ttl_ms", "ttl"},
        {"ttl_ms", "ttl"},
        {"options.sync", "sync"},
        {"options.prefix", "prefix"},
        {"options.from", "from"},
        {"options.to", "to"},
        {"options.collection", "collection"},
        {"page.max_rows", "limit"},
        {"page.token", "page"},
        {"token", "since"},
        {"at.version", "at"},
        {"at.time_ms", "at"},
        {"at.snapshot", "at"},
        {"at.kind", "at"},
        {"writer", "x-varve-writer"},
        {"options.request_id", "idempotency-key"},
        {"request_id", "idempotency-key"},
        {"snapshot", "name"},
        {"value", "body"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (bytes_eq(f, BYTES_STR(names[i][0])))
            return BYTES_STR(names[i][1]);
    return f;
}

/* A moment to come is refused by the store, which does not know what it was named by: of whatever reads
 * the past here that is "at"; the two of a diff say so themselves. */
static struct bytes field_of(const struct http_call *c, enum status st)
{
    struct bytes field = c->field ? BYTES_STR(c->field) : public_field(command_field(&c->err));
    return field.len == 0 && st == ST_FUTURE_TIME ? BYTES_LIT("at") : field;
}

static enum status member(struct buf *b, const char *name, struct bytes text)
{
    enum status st = buf_printf(b, ",\"%s\":", name);
    return st == ST_OK ? json_text(b, text) : st;
}

static const char *reason(unsigned code)
{
    switch (code) {
    case 405:
        return "method not allowed";
    case 406:
        return "not acceptable";
    case 415:
        return "unsupported media type";
    case 428:
        return "precondition required";
    default:
        return NULL;
    }
}

enum status http_problem_json(const struct http_call *c, enum status st, unsigned code,
                              const char *request_id, struct buf *out)
{
    const char *title = reason(code) ? reason(code) : status_text(st);
    struct bytes field = field_of(c, st);
    char slug[EXCHANGE_SLUG];
    uint64_t limit;
    exchange_problem_slug(title, slug);
    enum status out_st =
        buf_printf(out, "{\"type\":\"urn:varve:problem:%s\",\"title\":\"%s\",\"status\":%u", slug,
                   title, code);
    if (out_st == ST_OK && c->err.detail[0])
        out_st = member(out, "detail", BYTES_STR(c->err.detail));
    if (out_st == ST_OK && field.len)
        out_st = member(out, "field", field);
    if (out_st == ST_OK && (code == 413 || st == ST_TOO_LARGE) &&
        exchange_problem_limit(c->err.detail, &limit))
        out_st = buf_printf(out, ",\"limit\":%" PRIu64, limit);
    if (out_st == ST_OK && c->know_present && !version_is_none(c->present)) {
        out_st = buf_append_u8(out, ',');
        if (out_st == ST_OK)
            out_st = version_json(out, "version", c->present);
    }
    if (out_st == ST_OK)
        out_st = member(out, "request_id", BYTES_STR(request_id));
    return out_st == ST_OK ? json_put(out, "}\n") : out_st;
}

/* A part of the path, the query or the headers; one of a body is told with its place there, as in
 * "writes[0]". */
static bool of_head(const struct http_call *c)
{
    static const char *const names[] = {"collection",      "key", "name", "x-varve-writer",
                                        "idempotency-key", "ttl"};
    struct bytes field = public_field(command_field(&c->err));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (bytes_eq(field, BYTES_STR(names[i])))
            return true;
    return false;
}

static unsigned code_of(const struct http_call *c, enum status st)
{
    if (c->http_status)
        return c->http_status;
    if (st == ST_CLOSED) /* the server stops */
        return 503;
    if (st == ST_TOO_LARGE && c->route && (!c->route->body || of_head(c))) /* 413 is of bodies */
        return 400;
    return (unsigned)status_http(st);
}

static void call_allow(struct http_call *c)
{
    static const char *const methods[] = {"GET, HEAD", "PUT", "POST", "DELETE"};
    char text[64];
    size_t n = 0;
    for (int m = 0; m < METHODS; m++)
        if ((c->allow >> m) & 1)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", n ? ", " : "", methods[m]);
    call_header(c, "allow", BYTES(text, n));
}

static void problem_headers(struct http_call *c, enum status st, unsigned code)
{
    char text[64];
    c->n_headers = 0;
    http_cors(c);
    if (code == 405)
        call_allow(c);
    if (code == 401) {
        call_header(c, "www-authenticate",
                    BYTES_LIT("Basic realm=\"varve\", charset=\"UTF-8\", Bearer realm=\"varve\""));
    }
    if (status_retryable(st) || st == ST_CLOSED || code == 503) {
        uint64_t wait = c->x->req.retry_ms, s = wait ? (wait + 999) / 1000 : 1;
        int k = snprintf(text, sizeof text, "%" PRIu64, s);
        call_header(c, "retry-after", BYTES(text, (size_t)k));
    }
    if (code == 412 && c->know_present && !version_is_none(c->present)) {
        char tag[VERSION_TEXT_MAX], quoted[VERSION_TEXT_MAX + 2];
        version_format(c->present, tag);
        int k = snprintf(quoted, sizeof quoted, "\"%s\"", tag);
        call_header(c, "etag", BYTES(quoted, (size_t)k));
    }
    call_header(c, "cache-control", BYTES_LIT("no-store"));
    c->headers[c->n_headers++] =
        WIRE_HEADER(BYTES_LIT("content-type"), BYTES_LIT("application/problem+json"));
}

void http_problem(struct http_call *c, enum status st)
{
    struct request *q = &c->x->req;
    struct buf b = BUF_INIT;
    unsigned code = code_of(c, st);
    if (c->err.detail[0] == '\0' || c->err.status == ST_OK)
        (void)err_set(&c->err, st, "%s", status_text(st));
    if (c->err.detail[0])
        q->note = arena_strdup(q->arena, c->err.detail);
    if (exchange_begun(
            c->x)) { /* too late to say so: it breaks off, so that nobody takes it for whole */
        exchange_abort(c->x);
        return;
    }
    problem_headers(c, st, code);
    struct bytes body = http_problem_json(c, st, code, request_id(q), &b) == ST_OK
                            ? buf_bytes(&b)
                            : BYTES_LIT("{\"title\":\"out of memory\",\"status\":503}\n");
    if (exchange_respond(c->x, code, c->headers, c->n_headers, body) != ST_OK)
        exchange_abort(c->x);
    buf_deinit(&b);
}

/* ---- cross-origin requests (the Fetch standard): off unless the origin is listed ---- */

bool http__origin_allowed(const struct http_call *c, struct bytes origin)
{
    const char *const *p = c->door->o.cors_origins;
    for (; p && *p; p++)
        if (strcmp(*p, "*") == 0 || bytes_eq(BYTES_STR(*p), origin))
            return true;
    return false;
}

void http_cors(struct http_call *c)
{
    struct bytes origin;
    if (!c->door->o.cors_origins || !c->door->o.cors_origins[0])
        return;
    call_header(c, "vary", BYTES_LIT("origin"));
    if (!request_header(&c->x->req, BYTES_LIT("origin"), &origin) ||
        !http__origin_allowed(c, origin))
        return;
    call_header(c, "access-control-allow-origin", origin);
    call_header(c, "access-control-expose-headers",
                BYTES_LIT("etag, x-request-id, x-varve-writer, x-varve-expires, retry-after"));
}

enum status http_preflight(struct http_call *c)
{
    struct bytes origin;
    if (request_header(&c->x->req, BYTES_LIT("origin"), &origin) &&
        http__origin_allowed(c, origin)) {
        call_header(c, "access-control-allow-methods", BYTES_LIT("GET, HEAD, PUT, POST, DELETE"));
        call_header(c, "access-control-allow-headers",
                    BYTES_LIT("authorization, content-type, idempotency-key, if-match, "
                              "if-none-match, last-event-id, x-request-id, x-varve-writer"));
        call_header(c, "access-control-max-age", BYTES_LIT("600"));
    }
    call_allow(c);
    return http__respond(c, 204, MEDIA_NONE, BYTES_EMPTY);
}
