/* status.c - the accessors of the one table, and the error context. */
#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct status_row {
    const char *name, *text;
    int grpc, http;
    bool retryable;
} rows[] = {
#define X(name, num, text, grpc, http, retry) [num] = {#name, text, grpc, http, retry},
    STATUS_TABLE(X)
#undef X
};

/* A number may come off disk or from a caller, so one outside the table gets a row too. gRPC 2 is
 * UNKNOWN. */
static const struct status_row unknown_row = {"UNKNOWN", "unknown status", 2, 500, false};

static const struct status_row *row_of(enum status st)
{
    size_t i = (size_t)st;
    return i < sizeof rows / sizeof rows[0] && rows[i].name ? &rows[i] : &unknown_row;
}

const char *status_name(enum status st)
{
    return row_of(st)->name;
}

const char *status_text(enum status st)
{
    return row_of(st)->text;
}

int status_grpc(enum status st)
{
    return row_of(st)->grpc;
}

int status_http(enum status st)
{
    return row_of(st)->http;
}

bool status_retryable(enum status st)
{
    return row_of(st)->retryable;
}

enum status status_from_errno(int err)
{
    switch (err) {
    case ENOSPC:
    case EDQUOT:
        return ST_DISK_FULL;
    case EMFILE:
    case ENFILE:
        return ST_TOO_MANY_FILES;
    case ENOMEM:
        return ST_NO_MEMORY;
    case EACCES:
    case EPERM:
        return ST_PERMISSION_DENIED;
    case EROFS:
        return ST_READ_ONLY;
    default:
        return ST_IO_ERROR;
    }
}

void err_init(struct err *err)
{
    err->status = ST_OK;
    err->detail[0] = '\0';
}

/* Ends `text` with "..." where it would not fit, never inside a UTF-8 sequence. `wanted` is its
 * untruncated length. */
static void mark_cut(char text[ERR_DETAIL_MAX], size_t wanted)
{
    if (wanted < ERR_DETAIL_MAX)
        return;
    size_t at = ERR_DETAIL_MAX - 4;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80)
        at--;
    memcpy(text + at, "...", 4);
}

/* Formats into a separate buffer first, because an argument may be the old detail itself. */
static size_t format_detail(char text[ERR_DETAIL_MAX], const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
static size_t format_detail(char text[ERR_DETAIL_MAX], const char *fmt, va_list ap)
{
    int n = vsnprintf(text, ERR_DETAIL_MAX, fmt, ap);
    if (n < 0) {
        text[0] = '\0';
        n = 0;
    }
    return (size_t)n;
}

/* text + separator + tail, cut at the maximum. `wanted` is the untruncated length of text. */
static void join_detail(char text[ERR_DETAIL_MAX], size_t wanted, const char *separator,
                        const char *tail)
{
    size_t len = strlen(text);
    (void)snprintf(text + len, ERR_DETAIL_MAX - len, "%s%s", separator, tail);
    mark_cut(text, wanted + strlen(separator) + strlen(tail));
}

enum status err_set(struct err *err, enum status st, const char *fmt, ...)
{
    if (!err)
        return st;
    char text[ERR_DETAIL_MAX];
    va_list ap;
    va_start(ap, fmt);
    size_t wanted = format_detail(text, fmt, ap);
    va_end(ap);
    /* Callers name what the memory was for; that there was none is said here. */
    if (st == ST_NO_MEMORY && !strstr(text, "memory"))
        join_detail(text, wanted, wanted ? ": " : "", "out of memory");
    else
        mark_cut(text, wanted);
    err->status = st;
    memcpy(err->detail, text, strlen(text) + 1);
    return st;
}

enum status err_errno(struct err *err, int errno_value, const char *fmt, ...)
{
    enum status st = status_from_errno(errno_value);
    if (!err)
        return st;
    char text[ERR_DETAIL_MAX], reason[128];
    va_list ap;
    va_start(ap, fmt);
    size_t wanted = format_detail(text, fmt, ap);
    va_end(ap);
    join_detail(text, wanted, ": ", strerror_r(errno_value, reason, sizeof reason));
    err->status = st;
    memcpy(err->detail, text, strlen(text) + 1);
    return st;
}

void err_prefix(struct err *err, const char *fmt, ...)
{
    if (!err)
        return;
    char text[ERR_DETAIL_MAX];
    va_list ap;
    va_start(ap, fmt);
    size_t wanted = format_detail(text, fmt, ap);
    va_end(ap);
    join_detail(text, wanted, ": ", err->detail);
    memcpy(err->detail, text, strlen(text) + 1);
}
