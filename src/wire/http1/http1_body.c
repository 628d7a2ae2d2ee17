/* http1_body.c - bodies: of known length, chunked (RFC 9112, 7.1), or until the peer closes.
 *
 * Chunks are read strictly: hexadecimal digits, CRLF, the bytes, CRLF. No extensions, no white
 * space, no bare LF: what is lax here is how requests are smuggled past a proxy. Trailers are
 * checked line by line and dropped.
 */
#include "wire/http1/http1_internal.h"

enum { CHUNK_DIGITS = 8 };

static enum status bad(struct h1_conn *c, const char *what)
{
    return h1__refuse(c, ST_INVALID_ARGUMENT, 400, "%s", what);
}

static enum status hand_out(struct h1_conn *c, struct bytes data)
{
    c->body += data.len;
    if (c->body > c->o.body_bytes)
        return h1__refuse(c, ST_TOO_LARGE, 413, "body_bytes: over the limit of %llu",
                          (unsigned long long)c->o.body_bytes);
    c->events->data(c->arg, c, data);
    return ST_OK;
}

/* Bytes of which `left` says how many there are. */
static enum status counted(struct h1_conn *c, struct bytes in, size_t *used)
{
    size_t n = in.len < c->left ? in.len : (size_t)c->left;
    c->left -= n;
    *used = n;
    if (c->left == 0)
        c->reading = c->reading == H1_BODY_LENGTH ? H1_READ : H1_BODY_CHUNK_END;
    return hand_out(c, BYTES(in.data, n));
}

static int hex_digit(uint8_t b)
{
    if (b >= '0' && b <= '9')
        return b - '0';
    b |= 0x20;
    return b >= 'a' && b <= 'f' ? b - 'a' + 10 : -1;
}

static enum status size_byte(struct h1_conn *c, uint8_t b)
{
    if (c->chunk_cr) {
        if (b != '\n')
            return bad(c, "a chunk's size does not end with CRLF");
        c->chunk_cr = false;
        c->reading = c->left ? H1_BODY_CHUNK_DATA : H1_BODY_TRAILERS;
        c->chunk_digits = 0;
        return ST_OK;
    }
    if (b == '\r' && c->chunk_digits) {
        c->chunk_cr = true;
        return ST_OK;
    }
    int digit = hex_digit(b);
    if (digit < 0)
        return bad(c, b == ';' ? "a chunk extension" : "a chunk's size is no hexadecimal number");
    if (++c->chunk_digits > CHUNK_DIGITS)
        return bad(c, "a chunk's size has too many digits");
    c->left = c->left << 4 | (uint64_t)digit;
    return ST_OK;
}

static enum status end_byte(struct h1_conn *c, uint8_t b)
{
    if (b != (c->chunk_cr ? '\n' : '\r'))
        return bad(c, "a chunk does not end with CRLF");
    if (c->chunk_cr)
        c->reading = H1_BODY_CHUNK_SIZE;
    c->chunk_cr = !c->chunk_cr;
    return ST_OK;
}

static enum status trailer_byte(struct h1_conn *c, uint8_t b)
{
    if (++c->trailer_len > c->o.header_bytes)
        return h1__refuse(c, ST_TOO_LARGE, 431, "header_bytes: trailers over the limit of %u",
                          c->o.header_bytes);
    if (c->chunk_cr) {
        if (b != '\n')
            return bad(c, "a bare CR in trailers");
        c->chunk_cr = false;
        if (c->line_len == 0)
            c->reading = H1_READ;
        c->line_len = 0;
        return ST_OK;
    }
    if (b == '\r') {
        c->chunk_cr = true;
        return ST_OK;
    }
    if ((b < 0x20 && b != '\t') || b == 0x7f)
        return bad(c, "a control byte in trailers");
    if (c->line_len++ == 0 && (b == ' ' || b == '\t'))
        return bad(c, "a folded line in trailers");
    return ST_OK;
}

enum status h1__body(struct h1_conn *c, struct bytes in, size_t *ret_used)
{
    *ret_used = 1;
    switch (c->reading) {
    case H1_BODY_LENGTH:
    case H1_BODY_CHUNK_DATA:
        return counted(c, in, ret_used);
    case H1_BODY_CHUNK_SIZE:
        return size_byte(c, in.data[0]);
    case H1_BODY_CHUNK_END:
        return end_byte(c, in.data[0]);
    case H1_BODY_TRAILERS:
        return trailer_byte(c, in.data[0]);
    case H1_BODY_CLOSE:
        *ret_used = in.len;
        return hand_out(c, in);
    case H1_IDLE:
    case H1_HEAD:
    case H1_READ:
        break;
    }
    return h1__refuse(c, ST_INTERNAL, 500, "a body is read in the wrong state");
}
