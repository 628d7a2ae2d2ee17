/* exchange.h - one HTTP request and its answer, alike over HTTP/1 and HTTP/2, as a handler sees it.
 *
 *     exchange_body(x, max, &body, &err)
 *     exchange_respond(x, 200, headers, n, body)                    in one go, or
 *     exchange_begin(x, 200, headers, n); exchange_write(x, ...) ...; exchange_end(x)
 *
 * Owns:     the request's bytes: what is borrowed here lives until the handler returns.
 * Promises: what can wait says so. Content-Length, Transfer-Encoding, Connection, Date and
 *           x-request-id of the answer are the port's: `headers` must not have them. To HEAD no body
 *           is sent, whatever is written; `content-length` is that of exchange_respond. Names in
 *           `headers` are in lower case; there are at most 64.
 * Never:    decodes percent signs, splits queries, compresses.
 * Threads:  the request's fiber.
 */
#ifndef VARVE_SERVE_PORT_EXCHANGE_H
#define VARVE_SERVE_PORT_EXCHANGE_H

#include "base/blob.h"
#include "serve/port/request.h"
#include "wire/wire.h"

struct exchange {
    struct request req; /* &x->req for request.h */
    /* Readable; as they came. */
    struct bytes method;
    struct bytes path;      /* of the target, without the query: "/v1/users/a%20b" */
    struct bytes query;     /* what follows '?', which is left out; empty when there is none */
    struct bytes authority; /* Host or :authority */
    const struct wire_header *headers; /* HTTP/2: names in lower case; without pseudo-headers */
    size_t n_headers;
    bool has_body; /* one was announced (it may be empty) */
    bool head;     /* method is HEAD */
};

/* --- the request's body --- */

/* Announced by Content-Length; UINT64_MAX: not known. */
uint64_t exchange_length(const struct exchange *x);
/* The whole body; waits for it. TOO_LARGE: over `max` or port_options.body_bytes (answer 413);
 * OVERLOADED (503); CANCELLED; TIMED_OUT; INVALID_ARGUMENT (after exchange_read); NO_MEMORY. */
enum status exchange_body(struct exchange *x, size_t max, struct bytes *ret,
                          struct err *err) WARN_UNUSED;
/* Some bytes of it, lent until the next call; waits until there are any. Empty: the end. While none
 * are taken the peer is held back. Errors as exchange_body. */
enum status exchange_read(struct exchange *x, struct bytes *ret, struct err *err) WARN_UNUSED;

/* What a problem's type ends in (RFC 9457, "urn:varve:problem:..."), of its title: "not found" becomes
 * "not-found". */
enum { EXCHANGE_SLUG = 64 };
void exchange_problem_slug(const char *title, char out[EXCHANGE_SLUG]);
/* The number behind "limit of", where the detail of a TOO_LARGE has one: the problem's "limit". */
bool exchange_problem_limit(const char *detail, uint64_t *ret);

/* --- the answer. Errors: CLOSED (the peer is gone, or the answer has ended), TIMED_OUT,
 * INVALID_ARGUMENT (a header; twice), OVERLOADED (memory), NO_MEMORY. --- */

/* All of it. Does not wait: the body is copied; of the blob a reference is kept. */
enum status exchange_respond(struct exchange *x, unsigned status, const struct wire_header *headers,
                             size_t n, struct bytes body) WARN_UNUSED;
/* `body` lies in `blob`, which is not copied where that can be. */
enum status exchange_respond_blob(struct exchange *x, unsigned status,
                                  const struct wire_header *headers, size_t n, struct bytes body,
                                  struct blob *blob) WARN_UNUSED;
/* The head of an answer whose body follows in pieces. */
enum status exchange_begin(struct exchange *x, unsigned status, const struct wire_header *headers,
                           size_t n) WARN_UNUSED;
/* A piece, copied. Waits while the peer is slow, until the deadline. Pieces of some 16 to 64 KiB are
 * best. It leaves with the end of the reactor's round. */
enum status exchange_write(struct exchange *x, struct bytes data) WARN_UNUSED;
enum status exchange_end(struct exchange *x) WARN_UNUSED;
/* The answer cannot be finished: the peer sees it break off. */
void exchange_abort(struct exchange *x);
bool exchange_begun(const struct exchange *x); /* a head has been queued */

#endif
