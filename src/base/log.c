/* log.c - builds one line on the stack and hands it to the sink in one piece.
 *
 * A line has a maximum. A text over TEXT_MAX is cut with "..."; a field that no longer fits is left
 * out as a whole and the line ends with "truncated", so that a JSON line stays valid JSON whatever
 * it is given.
 */
#include "base/log.h"

#include <errno.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 8192, TEXT_MAX = 1024, TAIL_RESERVED = 32 };

static _Atomic int log_level_now = LOG_INFO;
static _Atomic int log_format_now = LOG_HUMAN;

/* The pairs below change together, and rarely; the flag is held for the copy only. */
static atomic_flag outlets_busy = ATOMIC_FLAG_INIT;
static struct outlets {
    log_sink_fn sink;
    void *sink_arg;
    uint64_t (*clock)(void *arg);
    void *clock_arg;
} outlets;

static void outlets_lock(void)
{
    while (atomic_flag_test_and_set_explicit(&outlets_busy, memory_order_acquire))
        ;
}

static void outlets_unlock(void)
{
    atomic_flag_clear_explicit(&outlets_busy, memory_order_release);
}

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
    atomic_store_explicit(&log_format_now, (int)format, memory_order_relaxed);
}

void log_set_sink(log_sink_fn fn, void *arg)
{
    outlets_lock();
    outlets.sink = fn;
    outlets.sink_arg = arg;
    outlets_unlock();
}

void log_set_clock(uint64_t (*now_ms)(void *arg), void *arg)
{
    outlets_lock();
    outlets.clock = now_ms;
    outlets.clock_arg = arg;
    outlets_unlock();
}

int log_enabled(enum log_level level)
{
    return level < LOG_OFF &&
           (int)level >= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

struct line {
    size_t len;
    size_t limit; /* where `overflow` begins */
    bool overflow;
    char text[LINE_MAX_BYTES];
};

static void put(struct line *l, const char *s, size_t len)
{
    if (len > l->limit - l->len) {
        l->overflow = true;
        return;
    }
    memcpy(l->text + l->len, s, len);
    l->len += len;
}

static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* The length of the well-formed UTF-8 sequence at s (RFC 3629: no surrogates, nothing overlong), or
 * 0. */
static size_t utf8_len(const unsigned char *s)
{
    if (s[0] < 0x80)
        return 1;
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

/* JSON's escapes (RFC 8259, section 7). They serve the human format too, since they keep a line one
 * line. */
static void put_escaped(struct line *l, const char *s, bool quotes)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t begin = l->len;
    while (*p) {
        char hex[8];
        size_t n = utf8_len(p);
        if (l->len - begin > TEXT_MAX) {
            put_str(l, "...");
            return;
        }
        if (n == 0) {
            put_str(l, "\xef\xbf\xbd"); /* U+FFFD, the replacement character */
            n = 1;
        } else if (quotes && (*p == '"' || *p == '\\')) {
            put(l, (char[]){'\\', (char)*p}, 2);
        } else if (*p == '\n') {
            put_str(l, "\\n");
        } else if (*p == '\t') {
            put_str(l, "\\t");
        } else if (*p < 0x20 || *p == 0x7f) {
            (void)snprintf(hex, sizeof hex, "\\u%04x", *p);
            put_str(l, hex);
        } else {
            put(l, (const char *)p, n);
        }
        p += n;
    }
}

static void put_quoted(struct line *l, const char *s)
{
    put_str(l, "\"");
    put_escaped(l, s, true);
    put_str(l, "\"");
}

/* Unix milliseconds as RFC 3339 in UTC. Days to date after Howard Hinnant, "chrono-Compatible
 * Low-Level Date Algorithms": years begin in March, so that the leap day comes last. */
static void put_time(struct line *l, uint64_t ms)
{
    char text[64];
    uint64_t day = ms / 86400000, in_day = ms % 86400000;
    uint64_t z = day + 719468;
    uint64_t era = z / 146097, doe = z % 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    uint64_t mp = (5 * doy + 2) / 153;
    uint64_t month = mp < 10 ? mp + 3 : mp - 9;
    uint64_t year = yoe + era * 400 + (month <= 2);
    (void)snprintf(text, sizeof text, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)year,
                   (unsigned)month, (unsigned)(doy - (153 * mp + 2) / 5 + 1),
                   (unsigned)(in_day / 3600000), (unsigned)(in_day / 60000 % 60),
                   (unsigned)(in_day / 1000 % 60), (unsigned)(in_day % 1000));
    put_str(l, text);
}

/* A number in JSON's grammar. The program around us may have set a locale whose decimal point is
 * something else. */
static void put_f64(struct line *l, double v)
{
    char text[40], clean[40];
    size_t n = 0;
    if (!isfinite(v)) {
        put_str(l, "null");
        return;
    }
    (void)snprintf(text, sizeof text, "%.17g", v);
    for (const char *p = text; *p; p++) {
        bool known = (*p >= '0' && *p <= '9') || *p == '-' || *p == '+' || *p == 'e' || *p == '.';
        if (known)
            clean[n++] = *p;
        else if (n == 0 || clean[n - 1] != '.')
            clean[n++] = '.';
    }
    put(l, clean, n);
}

static bool needs_quotes(const char *s)
{
    if (!*s)
        return true;
    for (; *s; s++)
        if ((unsigned char)*s <= ' ' || *s == '"' || *s == '=' || *s == '\\' || *s == 0x7f)
            return true;
    return false;
}

static void put_value(struct line *l, const struct log_field *f, enum log_format format)
{
    char number[32];
    switch (f->kind) {
    case LOG_STR:
        if (!f->v.str)
            put_str(l, "null");
        else if (format == LOG_JSON || needs_quotes(f->v.str))
            put_quoted(l, f->v.str);
        else
            put_escaped(l, f->v.str, false);
        break;
    case LOG_U64:
        (void)snprintf(number, sizeof number, "%llu", (unsigned long long)f->v.u64);
        put_str(l, number);
        break;
    case LOG_I64:
        (void)snprintf(number, sizeof number, "%lld", (long long)f->v.i64);
        put_str(l, number);
        break;
    case LOG_F64:
        put_f64(l, f->v.f64);
        break;
    case LOG_BOOL:
        put_str(l, f->v.u64 ? "true" : "false");
        break;
    case LOG_END:
        break;
    }
}

static void put_fields(struct line *l, const struct log_field *fields, enum log_format format)
{
    for (const struct log_field *f = fields; f && f->kind != LOG_END; f++) {
        size_t before = l->len;
        if (format == LOG_JSON) {
            put_str(l, ",");
            put_quoted(l, f->name);
            put_str(l, ":");
        } else {
            put_str(l, " ");
            put_escaped(l, f->name, false);
            put_str(l, "=");
        }
        put_value(l, f, format);
        if (l->overflow) {
            l->len = before;
            break;
        }
    }
}

static void put_json(struct line *l, const char *level, const char *module, const char *message,
                     const struct log_field *fields)
{
    put_str(l, "\"level\":");
    put_quoted(l, level);
    put_str(l, ",\"module\":");
    put_quoted(l, module);
    put_str(l, ",\"msg\":");
    put_quoted(l, message);
    put_fields(l, fields, LOG_JSON);
    l->limit = sizeof l->text;
    put_str(l, l->overflow ? ",\"truncated\":true}\n" : "}\n");
}

static void put_human(struct line *l, const char *level, const char *module, const char *message,
                      const struct log_field *fields)
{
    char padded[8];
    (void)snprintf(padded, sizeof padded, "%-5s ", level);
    put_str(l, padded);
    put_escaped(l, module, false);
    put_str(l, ": ");
    put_escaped(l, message, false);
    put_fields(l, fields, LOG_HUMAN);
    l->limit = sizeof l->text;
    put_str(l, l->overflow ? " (truncated)\n" : "\n");
}

static void write_stderr(const char *text, size_t len)
{
    ssize_t n;
    do
        n = write(STDERR_FILENO, text, len);
    while (n < 0 && errno == EINTR);
    /* Any other failure is the end of the road: there is no place left to report it. */
}

void log_write(enum log_level level, const char *module, const char *message,
               const struct log_field *fields)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if (!log_enabled(level))
        return;
    int saved_errno = errno;
    bool json = atomic_load_explicit(&log_format_now, memory_order_relaxed) == LOG_JSON;
    struct line l;
    l.len = 0;
    l.limit = sizeof l.text - TAIL_RESERVED;
    l.overflow = false;

    outlets_lock();
    struct outlets to = outlets;
    outlets_unlock();

    put_str(&l, json ? "{" : "");
    if (to.clock) {
        put_str(&l, json ? "\"ts\":\"" : "");
        put_time(&l, to.clock(to.clock_arg));
        put_str(&l, json ? "\"," : " ");
    }
    if (json)
        put_json(&l, names[level], module, message, fields);
    else
        put_human(&l, names[level], module, message, fields);

    if (to.sink)
        to.sink(to.sink_arg, l.text, l.len);
    else
        write_stderr(l.text, l.len);
    errno = saved_errno;
}
