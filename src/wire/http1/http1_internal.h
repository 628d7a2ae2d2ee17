/* http1_internal.h - what a connection is made of.
 *
 * An exchange is one request and its response. Reading and writing run beside one another:
 *   reading: IDLE -> HEAD -> (BODY...) -> READ; a server takes no input in READ
 *   writing: nothing -> head (responded) -> body -> ended
 * When both have come to their end, both begin again, if the connection is kept.
 *
 * The head lies in `head` from its first byte to the end of the exchange; names and values point
 * into it. llhttp sees it once it is whole and h1__head_scan has found nothing wrong.
 */
#ifndef VARVE_WIRE_HTTP1_HTTP1_INTERNAL_H
#define VARVE_WIRE_HTTP1_HTTP1_INTERNAL_H

#include "wire/http1/http1.h"

#include "base/buf.h"

enum h1_reading {
    H1_IDLE,
    H1_HEAD,
    H1_BODY_LENGTH, /* `left` bytes */
    H1_BODY_CHUNK_SIZE,
    H1_BODY_CHUNK_DATA, /* `left` bytes */
    H1_BODY_CHUNK_END,  /* the CRLF behind them */
    H1_BODY_TRAILERS,
    H1_BODY_CLOSE, /* until the peer closes */
    H1_READ,
};

struct h1_conn {
    const struct h1_events *events;
    void *arg, *user;
    struct h1_options o;
    bool server, paused, in_recv;
    enum status status;
    unsigned error_status;
    char detail[160];

    enum h1_reading reading;
    uint64_t exchange; /* counts them */
    struct buf head;
    size_t scanned; /* of head */
    bool skipped_empty_line;
    struct wire_header *headers;
    size_t headers_n, headers_cap;
    struct bytes method, target;
    unsigned code, minor;
    bool keep_alive, expects_continue, continued, is_head;
    uint64_t left, body; /* body: bytes of it so far */
    unsigned chunk_digits;
    bool chunk_cr;      /* a CR has been seen, its LF must follow */
    size_t trailer_len; /* bytes of trailers so far; line_len of the current line */
    size_t line_len;

    bool responded, ended; /* a client: the request's head, its end */
    bool chunked, close_delimited, body_dropped;
    bool closing, close_after;
    uint64_t to_write; /* of a body of known length */
    struct buf out;
    size_t out_off;
    bool wants_writable;

    uint64_t now_ms, since_ms; /* since: the reading state, or the last byte of a body */
};

/* http1_head.c. Both answer what is wrong, with the HTTP status in c->error_status. */
enum status h1__head_add(struct h1_conn *c, struct bytes in, size_t *ret_used,
                         bool *ret_whole) WARN_UNUSED;
enum status h1__head_parse(struct h1_conn *c) WARN_UNUSED;
/* http1_body.c: takes what it can of `in`; moves c->reading on. */
enum status h1__body(struct h1_conn *c, struct bytes in, size_t *ret_used) WARN_UNUSED;
/* How the body of the head that was parsed ends. */
enum status h1__body_begin(struct h1_conn *c) WARN_UNUSED;
/* http1.c */
enum status h1__refuse(struct h1_conn *c, enum status st, unsigned http, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void h1__read_done(struct h1_conn *c);
void h1__exchange_done(struct h1_conn *c); /* if both sides are */

#endif
