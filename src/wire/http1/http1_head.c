/* http1_head.c - the head of a message: gathered whole, looked at, then parsed by llhttp.
 *
 * What is looked for is what another parser might read differently: RFC 9112, 2.2 (bare CR, bare
 * LF), 5.1 (space before the colon), 5.2 (folded lines), 6.1 and 6.3 (lengths), 3.2 (Host).
 */
#include "wire/http1/http1_internal.h"

#include "base/alloc.h"

#include <llhttp.h>

enum { HEADERS_FIRST = 16, LENGTH_DIGITS = 18 };

/* The place behind the CRLF CRLF that ends the head, from `scanned` on; 0: it is not there yet. */
static size_t find_end(struct h1_conn *c)
{
    const uint8_t *p = c->head.data;
    size_t n = c->head.len, at = c->scanned;
    while (at < n) {
        const uint8_t *lf = memchr(p + at, '\n', n - at);
        if (!lf)
            break;
        at = (size_t)(lf - p) + 1;
        if (at >= 4 && p[at - 2] == '\r' && p[at - 3] == '\n' && p[at - 4] == '\r')
            return at;
        /* Two bare LFs end a head for some: looked at now, they are refused. */
        if (at >= 2 && p[at - 2] != '\r')
            return at;
    }
    c->scanned = n;
    return 0;
}

static enum status check_size(struct h1_conn *c)
{
    const uint8_t *lf = memchr(c->head.data, '\n', c->head.len);
    size_t line = lf ? (size_t)(lf - c->head.data) + 1 : c->head.len;
    if (line > (size_t)c->o.request_line + 2)
        return h1__refuse(c, ST_TOO_LARGE, 414, "request_line: over the limit of %u bytes",
                          c->o.request_line);
    if (c->head.len > c->o.header_bytes)
        return h1__refuse(c, ST_TOO_LARGE, 431, "header_bytes: over the limit of %u",
                          c->o.header_bytes);
    return ST_OK;
}

/* A client may send an empty line before a request (RFC 9112, 2.2): one is passed over. */
static void skip_empty_line(struct h1_conn *c)
{
    if (!c->server || c->skipped_empty_line || c->head.len < 2 ||
        memcmp(c->head.data, "\r\n", 2) != 0)
        return;
    c->skipped_empty_line = true;
    memmove(c->head.data, c->head.data + 2, c->head.len - 2);
    c->head.len -= 2;
    c->scanned = 0;
}

enum status h1__head_add(struct h1_conn *c, struct bytes in, size_t *ret_used, bool *ret_whole)
{
    const size_t had = c->head.len;
    /* Never more than one byte over the limit, however much comes at once. */
    size_t room = (size_t)c->o.header_bytes + 1 - had, n = in.len < room ? in.len : room;
    const uint8_t *last = memmem(in.data, n, "\r\n\r\n", 4); /* the body need not come along */
    if (last)
        n = (size_t)(last - in.data) + 4;
    if (buf_append(&c->head, in.data, n) != ST_OK)
        return h1__refuse(c, ST_NO_MEMORY, 503, "no memory for a head");
    skip_empty_line(c);
    size_t end = find_end(c);
    *ret_used = n;
    *ret_whole = end != 0;
    if (end) {
        *ret_used = n - (c->head.len - end);
        c->head.len = end;
    }
    return check_size(c);
}

static bool is_tchar(uint8_t b)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    return (b >= '0' && b <= '9') || ((b | 0x20) >= 'a' && (b | 0x20) <= 'z') ||
           (b && strchr(others, b));
}

static enum status bad(struct h1_conn *c, const char *what)
{
    return h1__refuse(c, ST_INVALID_ARGUMENT, 400, "%s", what);
}

static enum status scan_first_line(struct h1_conn *c, struct bytes line)
{
    size_t spaces = 0;
    for (size_t i = 0; i < line.len; i++) {
        uint8_t b = line.data[i];
        spaces += b == ' ';
        if (b < 0x20 || b == 0x7f || (c->server && b > 0x7e))
            return bad(c, "a control or non-ASCII byte in the first line");
    }
    if (c->server && spaces != 2)
        return bad(c, "the request line is not METHOD SP TARGET SP VERSION");
    return ST_OK;
}

static enum status scan_field(struct h1_conn *c, struct bytes line)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return bad(c, "a folded header line");
    if (!colon || colon == line.data)
        return bad(c, "a header line without a name");
    for (const uint8_t *p = line.data; p < colon; p++)
        if (!is_tchar(*p))
            return bad(c, "a byte that no header name may have");
    for (const uint8_t *p = colon + 1; p < line.data + line.len; p++)
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f)
            return bad(c, "a control byte in a header value");
    return ST_OK;
}

/* Every line, its end, and how many there are. */
static enum status scan(struct h1_conn *c)
{
    size_t at = 0, lines = 0;
    while (at < c->head.len) {
        const uint8_t *p = c->head.data + at;
        const uint8_t *lf = memchr(p, '\n', c->head.len - at);
        size_t len = lf ? (size_t)(lf - p) : 0;
        if (!lf || len == 0 || p[len - 1] != '\r')
            return bad(c, "a line that does not end with CRLF");
        struct bytes line = BYTES(p, len - 1);
        at += len + 1;
        if (line.len == 0) {
            if (at == c->head.len && lines)
                break;
            return bad(c, "an empty line in the head");
        }
        if (line.len && memchr(line.data, '\r', line.len))
            return bad(c, "a bare CR");
        enum status st = lines++ ? scan_field(c, line) : scan_first_line(c, line);
        if (st != ST_OK)
            return st;
    }
    if (lines - 1 > c->o.header_count)
        return h1__refuse(c, ST_TOO_LARGE, 431, "header_count: over the limit of %u",
                          c->o.header_count);
    return ST_OK;
}

static int on_target(llhttp_t *p, const char *at, size_t len)
{
    struct h1_conn *c = p->data;
    c->target = BYTES(at, len);
    return 0;
}

static int on_method(llhttp_t *p, const char *at, size_t len)
{
    struct h1_conn *c = p->data;
    c->method = BYTES(at, len);
    return 0;
}

static bool more_headers(struct h1_conn *c)
{
    size_t cap = c->headers_cap ? 2 * c->headers_cap : HEADERS_FIRST;
    struct wire_header *v = mem_realloc(c->headers, cap * sizeof *v);
    if (!v)
        return false;
    c->headers = v;
    c->headers_cap = cap;
    return true;
}

static int on_field(llhttp_t *p, const char *at, size_t len)
{
    struct h1_conn *c = p->data;
    if (c->headers_n == c->headers_cap && !more_headers(c)) {
        (void)h1__refuse(c, ST_NO_MEMORY, 503, "no memory for headers");
        return -1;
    }
    c->headers[c->headers_n++] = WIRE_HEADER(BYTES(at, len), BYTES_EMPTY);
    return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
    struct h1_conn *c = p->data;
    while (len && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    c->headers[c->headers_n - 1].value = BYTES(at, len);
    return 0;
}

/* The body is ours: a paused parser has parsed the head and nothing else. */
static int on_complete(llhttp_t *p)
{
    struct h1_conn *c = p->data;
    c->minor = p->http_minor;
    c->code = p->status_code;
    c->keep_alive = llhttp_should_keep_alive(p);
    return HPE_PAUSED;
}

static enum status refuse_llhttp(struct h1_conn *c, llhttp_t *p, llhttp_errno_t e)
{
    unsigned http = 400;
    if (c->status != ST_OK)
        return c->status;
    if (e == HPE_INVALID_METHOD)
        http = 501;
    else if (e == HPE_INVALID_VERSION)
        http = 505;
    const char *reason = llhttp_get_error_reason(p);
    return h1__refuse(c, http == 501 ? ST_UNIMPLEMENTED : ST_INVALID_ARGUMENT, http, "%s",
                      reason && *reason ? reason : llhttp_errno_name(e));
}

static enum status parse(struct h1_conn *c)
{
    static const llhttp_settings_t settings = {.on_url = on_target,
                                               .on_method = on_method,
                                               .on_header_field = on_field,
                                               .on_header_value = on_value,
                                               .on_headers_complete = on_complete};
    llhttp_t p;
    llhttp_init(&p, c->server ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    p.data = c;
    c->headers_n = 0;
    c->method = c->target = BYTES_EMPTY;
    llhttp_errno_t e = llhttp_execute(&p, (const char *)c->head.data, c->head.len);
    if (e != HPE_PAUSED)
        return refuse_llhttp(c, &p, e);
    if (p.http_major != 1)
        return h1__refuse(c, ST_INVALID_ARGUMENT, 505, "not HTTP/1.0 or HTTP/1.1");
    if (c->minor > 1)
        c->minor = 1; /* RFC 9110, 2.5: a higher one of the same kind may be answered as ours */
    return ST_OK;
}

static size_t count(const struct h1_conn *c, struct bytes name, struct bytes *ret)
{
    size_t n = 0;
    for (size_t i = 0; i < c->headers_n; i++)
        if (wire_eq_nocase(c->headers[i].name, name)) {
            *ret = c->headers[i].value;
            n++;
        }
    return n;
}

static bool parse_length(struct bytes v, uint64_t *ret)
{
    uint64_t n = 0;
    if (v.len == 0 || v.len > LENGTH_DIGITS)
        return false;
    for (size_t i = 0; i < v.len; i++) {
        if (v.data[i] < '0' || v.data[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(v.data[i] - '0');
    }
    *ret = n;
    return true;
}

enum status h1__body_begin(struct h1_conn *c)
{
    struct bytes length, coding;
    size_t lengths = count(c, BYTES_LIT("content-length"), &length);
    size_t codings = count(c, BYTES_LIT("transfer-encoding"), &coding);
    c->left = c->body = 0;
    if (lengths && codings)
        return bad(c, "Content-Length beside Transfer-Encoding");
    if (lengths > 1 || (lengths && !parse_length(length, &c->left)))
        return bad(c, "Content-Length is not one number");
    if (codings && c->minor == 0)
        return bad(c, "Transfer-Encoding in HTTP/1.0");
    if (codings > 1 || (codings && !wire_eq_nocase(coding, BYTES_LIT("chunked"))))
        return h1__refuse(c, ST_UNIMPLEMENTED, 501, "a Transfer-Encoding other than chunked");
    if (c->left > c->o.body_bytes)
        return h1__refuse(c, ST_TOO_LARGE, 413, "body_bytes: over the limit of %llu",
                          (unsigned long long)c->o.body_bytes);
    bool bodiless = !c->server && (c->is_head || c->code == 204 || c->code == 304);
    if (bodiless || (!codings && lengths && c->left == 0) || (c->server && !codings && !lengths))
        c->reading = H1_READ;
    else if (codings)
        c->reading = H1_BODY_CHUNK_SIZE;
    else
        c->reading = lengths ? H1_BODY_LENGTH : H1_BODY_CLOSE;
    c->chunk_digits = 0;
    c->chunk_cr = false;
    c->trailer_len = c->line_len = 0;
    return ST_OK;
}

/* The letters of uri-host [":" port] (RFC 9110, 7.2). It may be empty, where the target has no
 * authority. */
static bool is_host(struct bytes v)
{
    return wire_is_of(v, "-._~%!$&'()*+,;=[]:");
}

static enum status check_request(struct h1_conn *c)
{
    struct bytes host, expect;
    size_t hosts = count(c, BYTES_LIT("host"), &host);
    if (hosts > 1 || (hosts == 0 && c->minor == 1))
        return bad(c, "not one Host");
    if (hosts && !is_host(host))
        return bad(c, "a byte that no Host may have");
    if (bytes_eq(c->method, BYTES_LIT("CONNECT")))
        return h1__refuse(c, ST_UNIMPLEMENTED, 501, "CONNECT is not served");
    c->is_head = bytes_eq(c->method, BYTES_LIT("HEAD"));
    c->expects_continue = false;
    c->continued = false;
    if (c->minor == 1 && count(c, BYTES_LIT("expect"), &expect)) {
        if (!wire_eq_nocase(expect, BYTES_LIT("100-continue")))
            return h1__refuse(c, ST_INVALID_ARGUMENT, 417, "an Expect other than 100-continue");
        c->expects_continue = true;
    }
    return ST_OK;
}

enum status h1__head_parse(struct h1_conn *c)
{
    enum status st = scan(c);
    if (st == ST_OK)
        st = parse(c);
    if (st == ST_OK && c->server)
        st = check_request(c);
    if (st == ST_OK && !c->server && c->code == 101)
        st = bad(c, "101 to a request that asked for nothing like it");
    return st;
}
