/* status.h - the one table of outcomes, and the error context that carries the human detail.
 *
 * Owns:     nothing. `struct err` lives with the caller, usually on its stack.
 * Promises: every status has a text, a gRPC code, an HTTP code and a retry hint, here and nowhere
 *           else.
 * Never:    allocates, prints or exits.
 * Threads:  pure functions; one `struct err` belongs to one operation.
 */
#ifndef VARVE_BASE_STATUS_H
#define VARVE_BASE_STATUS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/* X(name, number, text, gRPC code, HTTP code, retryable). Numbers are ABI: include/varve/varve.h
 * repeats them. */
#define STATUS_TABLE(X)                                                                            \
    X(OK, 0, "ok", 0, 200, false)                                                                  \
    X(NOT_FOUND, 1, "not found", 5, 404, false)                                                    \
    X(INVALID_ARGUMENT, 2, "invalid argument", 3, 400, false)                                      \
    X(TOO_LARGE, 3, "over a named limit", 3, 413, false)                                           \
    X(ALREADY_EXISTS, 4, "already exists", 6, 409, false)                                          \
    X(PRECONDITION_FAILED, 5, "precondition failed", 9, 412, false)                                \
    X(BELOW_HORIZON, 6, "below the retention horizon", 11, 410, false)                             \
    X(FUTURE_TIME, 7, "time lies in the future", 11, 400, false)                                   \
    X(LOCKED, 8, "in use by another process", 14, 503, true)                                       \
    X(READ_ONLY, 9, "read-only", 9, 403, false)                                                    \
    X(DISK_FULL, 10, "disk full", 8, 507, true)                                                    \
    X(IO_ERROR, 11, "input/output error", 14, 503, false)                                          \
    X(POISONED, 12, "refused after a failed sync", 14, 503, false)                                 \
    X(CORRUPT, 13, "data is corrupt", 15, 500, false)                                              \
    X(NO_MEMORY, 14, "out of memory", 8, 503, true)                                                \
    X(TOO_MANY_FILES, 15, "out of file descriptors", 8, 503, true)                                 \
    X(FORMAT_NEWER, 16, "written by a newer format version", 9, 500, false)                        \
    X(UNIMPLEMENTED, 17, "not implemented", 12, 501, false)                                        \
    X(CANCELLED, 18, "cancelled", 1, 499, false)                                                   \
    X(TIMED_OUT, 19, "timed out", 4, 504, true)                                                    \
    X(CLOSED, 20, "handle is closed", 9, 410, false)                                               \
    X(OVERLOADED, 21, "a bounded queue is full", 8, 429, true)                                     \
    X(PERMISSION_DENIED, 22, "permission denied", 7, 403, false)                                   \
    X(INTERNAL, 23, "internal error", 13, 500, false)                                              \
    X(UNAUTHENTICATED, 24, "not authenticated", 16, 401, false)                                    \
    X(UNAVAILABLE, 25, "no leader can be reached", 14, 503, true)                                  \
    X(UNKNOWN_OUTCOME, 26, "may or may not have been done", 4, 504, false)

enum status {
#define X(name, num, text, grpc, http, retry) ST_##name = (num),
    STATUS_TABLE(X)
#undef X
};

#define WARN_UNUSED __attribute__((warn_unused_result))

const char *status_name(enum status st); /* "NOT_FOUND"; "UNKNOWN" for a number outside the table */
const char *status_text(enum status st); /* "not found" */
int status_grpc(enum status st);         /* google.rpc.Code */
int status_http(enum status st);         /* RFC 9110 status code */
bool status_retryable(enum status st);
/* ENOSPC, EDQUOT -> DISK_FULL; EMFILE, ENFILE -> TOO_MANY_FILES; ENOMEM -> NO_MEMORY; EACCES, EPERM
 * -> PERMISSION_DENIED; EROFS -> READ_ONLY; all others, 0 too, -> IO_ERROR. */
enum status status_from_errno(int err);

/* The detail of one failed operation: what, where, which limit. Always NUL-terminated; too long is
 * cut with "...". */
enum { ERR_DETAIL_MAX = 512 };
struct err {
    enum status status;
    char detail[ERR_DETAIL_MAX];
};

void err_init(struct err *err);
/* Sets status and detail; `err` may be NULL. Returns `st`, so `return err_set(err, ST_X, ...)`.
 * NO_MEMORY: the detail ends with that, unless it says it already. */
enum status err_set(struct err *err, enum status st, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
/* As err_set, from errno: appends ": " and strerror(errno_value). */
enum status err_errno(struct err *err, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), cold));
/* Puts "context: " before the detail; each layer adds its part. Does nothing when err is NULL. */
void err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3), cold));

#endif
