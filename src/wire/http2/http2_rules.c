/* http2_rules.c - which messages are malformed (RFC 9113, 8.1 to 8.3); their streams are reset.
 *
 * nghttp2 has these rules too, but looks at every letter of every header again; here what comes by
 * reference to the same buffers (http2_known.c) is judged once. A rule is two sets of flags: what must
 * not have been seen yet, and what is seen from then on. test_http2_rules.c compares both.
 * One more: nghttp2 takes a :status below 100.
 *
 *   name    tokens in lower case
 *   value   no control characters, no space at its ends; of :method, :scheme, :path, :authority and
 *           host only what they may hold
 *   pseudo  known ones only, once, not empty, before all others, not in trailers
 *   others  connection, keep-alive, proxy-connection, transfer-encoding, upgrade: none; te: only
 *           "trailers"; host: once, not empty; content-length: once, a number
 *   request :method, :scheme, :path, and :authority or host; the path of http(s) begins with "/", or
 *           is "*" of OPTIONS; CONNECT: :authority, neither :scheme nor :path
 *   response :status from 100 on, of three digits, not 101; no body before a final one
 *   trailers end the stream
 *   body    as long as content-length says; responses to HEAD, 204 and 304 have none
 */
#include "wire/http2/http2_internal.h"

enum {
    REGULAR = 1 << 0, /* a header that is no pseudo-header */
    METHOD = 1 << 1,
    SCHEME = 1 << 2,
    PATH = 1 << 3,
    AUTHORITY = 1 << 4,
    STATUS = 1 << 5,
    HOST = 1 << 6,
    LENGTH = 1 << 7,
    HEAD = 1 << 8, /* :method is, of a client's request */
    CONNECT = 1 << 9,
    OPTIONS = 1 << 10,
    SLASH = 1 << 11,    /* :path begins with it */
    ASTERISK = 1 << 12, /* :path is it */
    HTTP = 1 << 13,     /* :scheme is http or https */
    TRAILERS = 1 << 14, /* these are received */
};

static const struct h2_rule malformed = {.refuses = H2_ALWAYS};

static bool is(struct bytes b, const char *text, size_t len)
{
    return b.len == len && memcmp(b.data, text, len) == 0;
}
#define IS(b, literal) is(b, literal, sizeof(literal) - 1)

static bool is_scheme(struct bytes v)
{
    for (size_t i = 0; i < v.len; i++) {
        const uint8_t ch = v.data[i], low = ch | 0x20;
        if (low >= 'a' && low <= 'z')
            continue;
        if (i == 0 || !((ch >= '0' && ch <= '9') || ch == '+' || ch == '-' || ch == '.'))
            return false;
    }
    return v.len > 0;
}

static struct h2_rule once(uint16_t what, size_t field)
{
    return (struct h2_rule){
        .refuses = what | REGULAR | TRAILERS, .sets = what, .field = (uint16_t)field};
}

static struct h2_rule rule_of_method(struct bytes v)
{
    if (!nghttp2_check_method(v.data, v.len))
        return malformed;
    struct h2_rule r = once(METHOD, offsetof(struct h2_stream, method));
    r.sets |= IS(v, "CONNECT") ? CONNECT : IS(v, "OPTIONS") ? OPTIONS : 0;
    return r;
}

static struct h2_rule rule_of_path(struct bytes v)
{
    if (v.len == 0 || !nghttp2_check_path(v.data, v.len))
        return malformed;
    struct h2_rule r = once(PATH, offsetof(struct h2_stream, path));
    r.sets |= v.data[0] == '/' ? SLASH : IS(v, "*") ? ASTERISK : 0;
    return r;
}

static struct h2_rule rule_of_scheme(struct bytes v)
{
    if (!is_scheme(v))
        return malformed;
    struct h2_rule r = once(SCHEME, offsetof(struct h2_stream, scheme));
    if (wire_eq_nocase(v, BYTES_LIT("http")) || wire_eq_nocase(v, BYTES_LIT("https")))
        r.sets |= HTTP;
    return r;
}

static struct h2_rule rule_of_authority(struct bytes v)
{
    if (v.len == 0 || !nghttp2_check_authority(v.data, v.len))
        return malformed;
    return once(AUTHORITY, offsetof(struct h2_stream, authority));
}

static struct h2_rule rule_of_status(struct bytes v)
{
    for (size_t i = 0; i < v.len; i++)
        if (v.data[i] < '0' || v.data[i] > '9')
            return malformed;
    if (v.len != 3 || v.data[0] == '0' || IS(v, "101"))
        return malformed;
    struct h2_rule r = once(STATUS, 0);
    r.status = (uint16_t)((v.data[0] - '0') * 100 + (v.data[1] - '0') * 10 + (v.data[2] - '0'));
    return r;
}

static struct h2_rule rule_of_pseudo(bool server, struct bytes name, struct bytes v)
{
    if (!server)
        return IS(name, ":status") ? rule_of_status(v) : malformed;
    if (IS(name, ":path"))
        return rule_of_path(v);
    if (IS(name, ":method"))
        return rule_of_method(v);
    if (IS(name, ":scheme"))
        return rule_of_scheme(v);
    return IS(name, ":authority") ? rule_of_authority(v) : malformed;
}

static struct h2_rule rule_of_host(struct bytes v)
{
    if (v.len == 0 || !nghttp2_check_authority(v.data, v.len))
        return malformed;
    return (struct h2_rule){.refuses = HOST, .sets = HOST | REGULAR};
}

static struct h2_rule rule_of_others(bool server, struct bytes name, struct bytes v)
{
    static const struct bytes of_connections[] = {
        BYTES_LIT("connection"), BYTES_LIT("keep-alive"), BYTES_LIT("proxy-connection"),
        BYTES_LIT("transfer-encoding"), BYTES_LIT("upgrade")};
    if (server && IS(name, "host"))
        return rule_of_host(v);
    if (!nghttp2_check_header_value_rfc9113(v.data, v.len))
        return malformed;
    for (size_t i = 0; i < sizeof of_connections / sizeof of_connections[0]; i++)
        if (bytes_eq(name, of_connections[i]))
            return malformed;
    if (IS(name, "te") && !wire_eq_nocase(v, BYTES_LIT("trailers")))
        return malformed;
    if (IS(name, "content-length"))
        return (struct h2_rule){.sets = REGULAR, .length = true};
    return (struct h2_rule){.sets = REGULAR};
}

struct h2_rule h2__rule_of(bool server, struct bytes name, struct bytes value)
{
    const bool pseudo = name.len && name.data[0] == ':';
    if (pseudo) /* only known ones are let through, so their letters need no look */
        return rule_of_pseudo(server, name, value);
    if (!nghttp2_check_header_name(name.data, name.len))
        return malformed;
    return rule_of_others(server, name, value);
}

static bool number(struct bytes v, uint64_t *ret)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v.len; i++) {
        if (v.data[i] < '0' || v.data[i] > '9' || n > INT64_MAX / 10)
            return false;
        n = n * 10 + (uint64_t)(v.data[i] - '0');
    }
    *ret = n;
    return v.len > 0 && n <= INT64_MAX;
}

/* A response that may have no body: its length is passed over, if it may be said at all. */
enum h2_verdict h2__rule_length(struct h2_stream *s, struct bytes v)
{
    if (s->message & LENGTH)
        return H2_MALFORMED;
    if (s->message & STATUS && s->status == 204) {
        if (!IS(v, "0"))
            return H2_MALFORMED;
        s->length = 0;
        s->message |= LENGTH;
        return H2_PASSED_OVER;
    }
    if (s->message & STATUS && s->status < 200)
        return H2_MALFORMED;
    if (s->message & STATUS && s->message & CONNECT && s->status < 300)
        return H2_PASSED_OVER;
    if (!number(v, &s->length))
        return H2_MALFORMED;
    s->message |= LENGTH;
    return H2_TAKEN;
}

void h2__message_begin_trailers(struct h2_stream *s)
{
    s->message |= TRAILERS;
}

static bool request_headers(struct h2_stream *s)
{
    const uint16_t m = s->message, needed = METHOD | SCHEME | PATH;
    if (m & CONNECT) {
        s->message &= (uint16_t)~LENGTH;
        return m & AUTHORITY && !(m & (SCHEME | PATH));
    }
    if ((m & needed) != needed || !(m & (AUTHORITY | HOST)))
        return false;
    return !(m & HTTP) || m & SLASH || (m & OPTIONS && m & ASTERISK);
}

static bool response_headers(struct h2_stream *s)
{
    if (!(s->message & STATUS))
        return false;
    if (s->status < 200) {
        s->message &= HEAD | CONNECT;
        return true;
    }
    if (s->message & HEAD || s->status == 304 || s->status == 204) {
        s->message |= LENGTH;
        s->length = 0;
    } else if (s->message & CONNECT) {
        s->message &= (uint16_t)~LENGTH;
    }
    return true;
}

bool h2__message_headers(struct h2_stream *s, bool end)
{
    bool ok;
    if (s->in_trailers)
        ok = end;
    else
        ok = s->conn->server ? request_headers(s) : response_headers(s);
    return ok && (!end || h2__message_end(s));
}

/* A client's stream without STATUS has had a 1xx at most. */
static bool may_have_body(const struct h2_stream *s)
{
    return s->conn->server || s->message & STATUS;
}

bool h2__message_data(struct h2_stream *s, size_t n)
{
    s->body_bytes += n;
    return may_have_body(s) && !(s->message & LENGTH && s->body_bytes > s->length);
}

bool h2__message_end(const struct h2_stream *s)
{
    return may_have_body(s) && !(s->message & LENGTH && s->body_bytes != s->length);
}

void h2__message_asks(struct h2_stream *s, const struct wire_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (IS(headers[i].name, ":method")) {
            s->message |= IS(headers[i].value, "HEAD")      ? HEAD
                          : IS(headers[i].value, "CONNECT") ? CONNECT
                                                            : 0;
            return;
        }
}
