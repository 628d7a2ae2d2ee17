/* http1_out.c - heads and bodies that are sent. */
#include "wire/http1/http1_internal.h"

#include "base/assert.h"

#include <stdio.h>

static const char *reason_of(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {422, "Unprocessable Content"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
        {507, "Insufficient Storage"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return ""; /* allowed (RFC 9112, 4), and nobody reads it */
}

static size_t waiting(const struct h1_conn *c)
{
    return c->out.len - c->out_off;
}

struct bytes h1_output(struct h1_conn *c)
{
    return BYTES(buf_bytes(&c->out).data + c->out_off, waiting(c));
}

void h1_output_done(struct h1_conn *c, size_t n)
{
    enum { KEEP = 4096 };
    ASSERT(n <= waiting(c));
    c->out_off += n;
    if (c->out_off == c->out.len) {
        c->out_off = c->out.len = 0;
        if (c->out.cap > KEEP && c->ended)
            buf_deinit(&c->out);
    } else if (c->out_off > c->out.len / 2) { /* so that what has gone does not pile up */
        memmove(c->out.data, c->out.data + c->out_off, waiting(c));
        c->out.len = waiting(c);
        c->out_off = 0;
    }
    if (c->wants_writable && waiting(c) <= c->o.output_bytes / 2) {
        c->wants_writable = false;
        if (c->events->writable)
            c->events->writable(c->arg, c);
    }
}

static bool is_token(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] <= ' ' || b.data[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", b.data[i]))
            return false;
    return b.len != 0;
}

static bool is_text(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if ((b.data[i] < 0x20 && b.data[i] != '\t') || b.data[i] == 0x7f)
            return false;
    return true;
}

/* What says how long a message is, is ours to say. */
static bool ours(struct bytes name)
{
    return wire_eq_nocase(name, BYTES_LIT("content-length")) ||
           wire_eq_nocase(name, BYTES_LIT("transfer-encoding")) ||
           wire_eq_nocase(name, BYTES_LIT("connection"));
}

static bool sendable(const struct wire_header *headers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!is_token(headers[i].name) || !is_text(headers[i].value) || ours(headers[i].name))
            return false;
    return true;
}

static enum status put(struct buf *out, struct bytes b)
{
    return buf_append(out, b.data, b.len);
}

static enum status put_fields(struct buf *out, const struct wire_header *headers, size_t n)
{
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        st = put(out, headers[i].name);
        if (st == ST_OK)
            st = put(out, BYTES_LIT(": "));
        if (st == ST_OK)
            st = put(out, headers[i].value);
        if (st == ST_OK)
            st = put(out, BYTES_LIT("\r\n"));
    }
    return st;
}

static enum status put_framing(struct h1_conn *c, int64_t length)
{
    enum status st = ST_OK;
    if (length >= 0)
        st = buf_printf(&c->out, "Content-Length: %lld\r\n", (long long)length);
    else if (length == H1_CHUNKED && !c->close_delimited)
        st = put(&c->out, BYTES_LIT("Transfer-Encoding: chunked\r\n"));
    if (st == ST_OK && (!h1_keep_alive(c) || c->close_delimited))
        st = put(&c->out, BYTES_LIT("Connection: close\r\n"));
    else if (st == ST_OK && c->server && c->minor == 0)
        st = put(&c->out, BYTES_LIT("Connection: keep-alive\r\n"));
    return st == ST_OK ? put(&c->out, BYTES_LIT("\r\n")) : st;
}

static void head_said(struct h1_conn *c, int64_t length)
{
    c->responded = true;
    c->chunked = length == H1_CHUNKED && !c->close_delimited;
    c->to_write = length > 0 ? (uint64_t)length : 0;
}

/* Whether a response may be begun: to a request, or to one that was refused. */
static bool may_respond(const struct h1_conn *c)
{
    if (!c->server || c->responded)
        return false;
    return c->status != ST_OK ? c->error_status != 0 : c->reading > H1_HEAD;
}

enum status h1_respond(struct h1_conn *c, unsigned status, const struct wire_header *headers,
                       size_t n, int64_t length)
{
    const size_t before = c->out.len;
    const bool no_body_ever = status == 204 || status == 304 || c->is_head;
    if (!may_respond(c) || status < 200 || status > 599 || length < H1_NO_CONTENT ||
        (length == H1_NO_CONTENT && !no_body_ever) || (status == 204 && length != H1_NO_CONTENT) ||
        !sendable(headers, n))
        return ST_INVALID_ARGUMENT;
    c->close_delimited = length == H1_CHUNKED && c->status == ST_OK && c->minor == 0;
    c->body_dropped = no_body_ever;
    enum status st = buf_printf(&c->out, "HTTP/1.1 %u %s\r\n", status, reason_of(status));
    if (st == ST_OK)
        st = put_fields(&c->out, headers, n);
    if (st == ST_OK)
        st = put_framing(c, length);
    if (st != ST_OK) {
        c->out.len = before;
        c->close_delimited = c->body_dropped = false;
        return st;
    }
    if (c->close_delimited)
        c->keep_alive = false;
    head_said(c, length);
    return ST_OK;
}

enum status h1_continue(struct h1_conn *c)
{
    if (!h1_expects_continue(c))
        return ST_OK;
    enum status st = put(&c->out, BYTES_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
    if (st == ST_OK) {
        c->continued = true;
        c->since_ms = c->now_ms;
    }
    return st;
}

void h1_close_after(struct h1_conn *c)
{
    c->close_after = true;
    if (c->reading == H1_IDLE && !c->responded)
        c->closing = true;
}

enum status h1_request(struct h1_conn *c, struct bytes method, struct bytes target,
                       const struct wire_header *headers, size_t n, int64_t length)
{
    const size_t before = c->out.len;
    if (c->server || c->responded)
        return ST_INVALID_ARGUMENT;
    if (c->status != ST_OK || c->closing || !c->keep_alive || c->reading != H1_IDLE)
        return ST_CLOSED;
    if (!is_token(method) || target.len == 0 || !is_text(target) ||
        memchr(target.data, ' ', target.len) || length < H1_NO_CONTENT || !sendable(headers, n))
        return ST_INVALID_ARGUMENT;
    enum status st = put(&c->out, method);
    if (st == ST_OK)
        st = put(&c->out, BYTES_LIT(" "));
    if (st == ST_OK)
        st = put(&c->out, target);
    if (st == ST_OK)
        st = put(&c->out, BYTES_LIT(" HTTP/1.1\r\n"));
    if (st == ST_OK)
        st = put_fields(&c->out, headers, n);
    if (st == ST_OK)
        st = put_framing(c, length);
    if (st != ST_OK) {
        c->out.len = before;
        return st;
    }
    c->is_head = bytes_eq(method, BYTES_LIT("HEAD"));
    head_said(c, length);
    c->ended = length == H1_NO_CONTENT;
    return ST_OK;
}

static enum status put_chunk(struct h1_conn *c, struct bytes data)
{
    const size_t before = c->out.len;
    enum status st = buf_printf(&c->out, "%zx\r\n", data.len);
    if (st == ST_OK)
        st = put(&c->out, data);
    if (st == ST_OK)
        st = put(&c->out, BYTES_LIT("\r\n"));
    if (st != ST_OK)
        c->out.len = before;
    return st;
}

enum status h1_write(struct h1_conn *c, struct bytes data)
{
    const bool counted = !c->chunked && !c->close_delimited;
    if (!c->responded)
        return c->status == ST_OK ? ST_INVALID_ARGUMENT : ST_CLOSED;
    if (c->ended)
        return ST_CLOSED;
    if (counted && !c->body_dropped && data.len > c->to_write)
        return ST_INVALID_ARGUMENT;
    if (data.len == 0 || c->body_dropped)
        return ST_OK;
    if (waiting(c) >= c->o.output_bytes) {
        c->wants_writable = true;
        return ST_OVERLOADED;
    }
    enum status st = c->chunked ? put_chunk(c, data) : put(&c->out, data);
    if (st == ST_OK && counted)
        c->to_write -= data.len;
    return st;
}

enum status h1_end(struct h1_conn *c)
{
    if (!c->responded)
        return c->status == ST_OK ? ST_INVALID_ARGUMENT : ST_CLOSED;
    if (c->ended)
        return ST_CLOSED;
    if (!c->body_dropped && c->to_write)
        return ST_INVALID_ARGUMENT;
    if (c->chunked && !c->body_dropped) {
        enum status st = put(&c->out, BYTES_LIT("0\r\n\r\n"));
        if (st != ST_OK)
            return st;
    }
    c->ended = true;
    /* Answered before the request was read: what is still to come cannot be told from the next. */
    if (c->server && c->reading != H1_READ)
        c->closing = true;
    else
        h1__exchange_done(c);
    return ST_OK;
}

bool h1_writable(const struct h1_conn *c)
{
    return c->responded && !c->ended && waiting(c) < c->o.output_bytes;
}
