/* http1.h - one HTTP/1.1 connection, the server's or the client's side: bytes in, bytes out (RFC
 * 9112).
 *
 * One message at a time: after a request has ended, input is not taken until its response has been
 * ended (h1_end), so pipelined requests are answered in order and cost no memory. llhttp parses
 * heads; what it lets pass is looked at before it sees them (docs/decisions/0013).
 *
 *     used = h1_recv(c, bytes, now)  -> events; the rest is given again later
 *     h1_respond / h1_write / h1_end -> queued
 *     while (h1_output(c, &out), out.len)  n = send(out); h1_output_done(c, n);
 *     h1_finished(c) -> close the socket, h1_conn_free(c)
 *
 * Owns:     the head of the message being read, and what waits to be sent.
 * Promises: refuses what two parsers could read differently: Content-Length beside
 *           Transfer-Encoding, several or malformed Content-Lengths, a coding other than chunked,
 *           folded lines, bare CR or LF, space before a colon, NUL, chunk extensions, malformed
 *           chunk sizes, no, several or malformed Hosts. Memory is bounded by struct h1_options.
 *           Events are called only from h1_recv and h1_output_done; they may call anything but
 *           these and h1_conn_free.
 * Never:    touches a socket or a clock; blocks; guesses. After an error a connection is over.
 * Threads:  one owner.
 */
#ifndef VARVE_WIRE_HTTP1_HTTP1_H
#define VARVE_WIRE_HTTP1_HTTP1_H

#include "base/blob.h"
#include "wire/wire.h"

struct h1_conn;

/* A field that is 0 has the default said beside it; past a limit the message is refused with the
 * HTTP status said. */
struct h1_options {
    uint32_t request_line; /* bytes of a request or status line: 8 KiB; 414 */
    uint32_t header_bytes; /* of a head, its first line too, and of trailers: 32 KiB; 431 */
    uint32_t header_count; /* 128; 431 */
    uint64_t body_bytes;   /* 64 MiB; 413 */
    uint32_t output_bytes; /* 64 KiB: from there on h1_write answers OVERLOADED; one may go over */
    /* Milliseconds: from a message's first byte to the end of its head (10 s; 408); between
     * requests (60 s; closed without a word); without a byte of a body that is awaited (30 s;
     * 408). */
    uint32_t headers_timeout_ms, idle_timeout_ms, body_timeout_ms;
};

/* NULL where nothing is to be done; headers, data and end must be there. */
struct h1_events {
    void (*headers)(void *arg, struct h1_conn *c); /* the head is complete */
    void (*data)(void *arg, struct h1_conn *c,
                 struct bytes data); /* body, unchunked; never empty */
    void (*end)(void *arg, struct h1_conn *c);
    void (*writable)(void *arg, struct h1_conn *c); /* half drained after an OVERLOADED */
};

/* `options` may be NULL. `events` must outlive the connection. Error: NO_MEMORY. */
enum status h1_server_new(const struct h1_options *options, const struct h1_events *events,
                          void *arg, uint64_t now_ms, struct h1_conn **ret) WARN_UNUSED;
enum status h1_client_new(const struct h1_options *options, const struct h1_events *events,
                          void *arg, uint64_t now_ms, struct h1_conn **ret) WARN_UNUSED;
void h1_conn_free(struct h1_conn *c); /* takes NULL; calls no event */

/* Takes *ret_used bytes of `in`: fewer when it waits for the response, or is paused. Not OK: the
 * connection is over; h1_error_status is what to answer with h1_respond, if nothing has been
 * answered yet (nothing else may be read). Errors: INVALID_ARGUMENT, TOO_LARGE, UNIMPLEMENTED,
 * NO_MEMORY, CLOSED. */
enum status h1_recv(struct h1_conn *c, struct bytes in, uint64_t now_ms, size_t *ret_used,
                    struct err *err) WARN_UNUSED;
/* The peer has closed its side. A response without length ends here (`end`); in the middle of
 * anything else: INVALID_ARGUMENT. */
enum status h1_recv_eof(struct h1_conn *c, struct err *err) WARN_UNUSED;
bool h1_wants_input(const struct h1_conn *c);      /* h1_recv would take bytes */
void h1_pause(struct h1_conn *c, bool paused);     /* the body is not wanted yet */
unsigned h1_error_status(const struct h1_conn *c); /* 0: no error */

struct bytes h1_output(struct h1_conn *c); /* lent until the next call; empty: nothing to send */
void h1_output_done(struct h1_conn *c, size_t n);
bool h1_finished(const struct h1_conn *c); /* close the socket */
/* Deadlines: TIMED_OUT when one has passed (h1_error_status is 408 or, between requests, 0).
 * *ret_next: when to be called next, UINT64_MAX: never. */
enum status h1_tick(struct h1_conn *c, uint64_t now_ms, uint64_t *ret_next,
                    struct err *err) WARN_UNUSED;
void h1_set_user(struct h1_conn *c, void *user);
void *h1_user(const struct h1_conn *c);

/* The message being read; lent until the exchange ends. */
struct bytes h1_method(const struct h1_conn *c); /* server */
struct bytes h1_target(const struct h1_conn *c); /* server; as it came */
unsigned h1_status(const struct h1_conn *c);     /* client */
unsigned h1_minor(const struct h1_conn *c);      /* HTTP/1.x */
const struct wire_header *h1_headers(const struct h1_conn *c, size_t *ret_n);
bool h1_header(const struct h1_conn *c, struct bytes name, struct bytes *ret); /* any case */
bool h1_expects_continue(const struct h1_conn *c); /* the client waits for h1_continue */
bool h1_keep_alive(const struct h1_conn *c);       /* another exchange may follow */

enum {
    H1_CHUNKED = -1,    /* length not known beforehand */
    H1_NO_CONTENT = -2, /* no body and no length: 204, 304, or a response to HEAD */
};
/* Server: the head of the response. length: of the body, or one of the above (chunked to a 1.0 client
 * ends with the connection). Adds Content-Length or Transfer-Encoding, and Connection where needed;
 * `headers` must not have them. Errors: INVALID_ARGUMENT (no request, twice, a header with CR, LF,
 * NUL or a bad name), NO_MEMORY, CLOSED. */
enum status h1_respond(struct h1_conn *c, unsigned status, const struct wire_header *headers,
                       size_t n, int64_t length) WARN_UNUSED;
enum status h1_continue(struct h1_conn *c) WARN_UNUSED; /* 100 Continue, once, if awaited */
void h1_close_after(struct h1_conn *c);                 /* no further exchange: Connection: close */
/* Client: the head of a request; H1_NO_CONTENT: without body. Error CLOSED: not reusable;
 * INVALID_ARGUMENT: the previous exchange has not ended. */
enum status h1_request(struct h1_conn *c, struct bytes method, struct bytes target,
                       const struct wire_header *headers, size_t n, int64_t length) WARN_UNUSED;
/* Body bytes, all or none. Errors: OVERLOADED (wait for `writable`), INVALID_ARGUMENT (more than the
 * length, no head yet), NO_MEMORY, CLOSED. */
enum status h1_write(struct h1_conn *c, struct bytes data) WARN_UNUSED;
enum status h1_end(struct h1_conn *c) WARN_UNUSED; /* INVALID_ARGUMENT: less than the length */
bool h1_writable(const struct h1_conn *c);

#endif
