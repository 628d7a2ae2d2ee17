#include "base/moment.h"

#include <string.h>

enum { DAY_MS = 86400000 };
static const uint64_t YEAR_10000_MS = UINT64_C(253402300800000);

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Exactly `n` digits at *p. */
static bool digits(const char **p, int n, unsigned *ret)
{
    unsigned v = 0;
    for (int i = 0; i < n; i++) {
        if (!is_digit((*p)[i]))
            return false;
        v = v * 10 + (unsigned)((*p)[i] - '0');
    }
    *p += n;
    *ret = v;
    return true;
}

static bool accept(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

static unsigned days_in_month(unsigned year, unsigned month)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar: years counted from March, so leap days
 * come last. */
static int64_t days_from_civil(unsigned year, unsigned month, unsigned day)
{
    int64_t y = (int64_t)year - (month <= 2);
    int64_t shifted = month > 2 ? (int64_t)month - 3 : (int64_t)month + 9;
    int64_t day_of_year = (153 * shifted + 2) / 5 + (int64_t)day - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

/* HH:MM[:SS[.fraction]] as milliseconds of the day. */
static bool time_of_day(const char **p, int64_t *ret)
{
    unsigned h, m, s = 0, ms = 0;
    if (!digits(p, 2, &h) || !accept(p, ':') || !digits(p, 2, &m) || h > 23 || m > 59)
        return false;
    if (accept(p, ':')) {
        if (!digits(p, 2, &s) || s > 60)
            return false;
        if (accept(p, '.')) {
            if (!is_digit(**p))
                return false;
            for (unsigned place = 100; is_digit(**p); (*p)++, place /= 10)
                ms += place * (unsigned)(**p - '0');
        }
    }
    if (s == 60) { /* a leap second, which Unix time does not have */
        s = 59;
        ms = 999;
    }
    *ret = ((int64_t)h * 3600 + m * 60 + s) * 1000 + ms;
    return true;
}

/* Nothing (UTC), Z, or +HH:MM. */
static bool offset_of(const char **p, int64_t *ret)
{
    *ret = 0;
    if (accept(p, 'Z') || accept(p, 'z') || **p == '\0')
        return true;
    int64_t sign = **p == '-' ? -1 : 1;
    unsigned h, m;
    if (!accept(p, '+') && !accept(p, '-'))
        return false;
    if (!digits(p, 2, &h) || !accept(p, ':') || !digits(p, 2, &m) || h > 23 || m > 59)
        return false;
    *ret = sign * ((int64_t)h * 60 + m) * 60000;
    return true;
}

static enum status rfc3339(const char *text, uint64_t *ret_ms, struct err *err)
{
    const char *p = text;
    unsigned year, month, day;
    int64_t in_day = 0, offset = 0;
    if (!digits(&p, 4, &year) || !accept(&p, '-') || !digits(&p, 2, &month) || !accept(&p, '-') ||
        !digits(&p, 2, &day))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "'%s' is no moment; write 2026-02-01T00:00:00Z, 2026-02-01, -5m, a VERSION "
                       "or @SNAPSHOT",
                       text);
    if (month < 1 || month > 12 || day < 1 || day > days_in_month(year, month))
        return err_set(err, ST_INVALID_ARGUMENT, "'%s': there is no such day", text);
    if (*p) {
        if (!accept(&p, 'T') && !accept(&p, 't') && !accept(&p, ' '))
            return err_set(err, ST_INVALID_ARGUMENT,
                           "'%s': after the date comes T and a time, as in 2026-02-01T12:00:00Z",
                           text);
        if (!time_of_day(&p, &in_day))
            return err_set(err, ST_INVALID_ARGUMENT,
                           "'%s': the time is not HH:MM, HH:MM:SS or HH:MM:SS.mmm", text);
        if (!offset_of(&p, &offset) || *p)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "'%s': after the time comes Z, +HH:MM, -HH:MM or nothing (UTC)", text);
    }
    int64_t ms = days_from_civil(year, month, day) * DAY_MS + in_day - offset;
    if (ms < 0 || (uint64_t)ms >= YEAR_10000_MS)
        return err_set(err, ST_INVALID_ARGUMENT, "'%s' is not in the years 1970 to 9999", text);
    *ret_ms = (uint64_t)ms;
    return ST_OK;
}

struct unit {
    const char *name;
    uint64_t ms;
};
/* "ms" before "m". */
static const struct unit units[] = {{"ms", 1},      {"s", 1000},   {"m", 60000},
                                    {"h", 3600000}, {"d", DAY_MS}, {"w", UINT64_C(7) * DAY_MS}};

static const struct unit *unit_at(const char *p)
{
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strncmp(p, units[i].name, strlen(units[i].name)) == 0)
            return &units[i];
    return NULL;
}

enum status duration_parse(const char *text, uint64_t *ret_ms, struct err *err)
{
    uint64_t total = 0;
    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return ST_OK;
    }
    const char *p = text;
    do {
        uint64_t n = 0;
        if (!is_digit(*p))
            return err_set(err, ST_INVALID_ARGUMENT,
                           "'%s' is no duration; write 500ms, 30s, 10m, 2h, 7d or 1h30m", text);
        for (; is_digit(*p); p++) {
            n = n * 10 + (uint64_t)(*p - '0');
            if (n > YEAR_10000_MS)
                return err_set(err, ST_INVALID_ARGUMENT, "'%s' is too long (limit: 8,000 years)",
                               text);
        }
        const struct unit *u = unit_at(p);
        if (!u)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "'%s' lacks a unit: ms, s, m, h, d or w, as in 30s", text);
        p += strlen(u->name);
        if (n > YEAR_10000_MS / u->ms || (total += n * u->ms) > YEAR_10000_MS)
            return err_set(err, ST_INVALID_ARGUMENT, "'%s' is too long (limit: 8,000 years)", text);
    } while (*p);
    *ret_ms = total;
    return ST_OK;
}

enum status moment_parse(const char *text, uint64_t now_ms, struct moment *ret, struct err *err)
{
    struct version v;
    uint64_t ms;
    enum status st = ST_OK;
    if (strcmp(text, "now") == 0) {
        *ret = (struct moment){.kind = MOMENT_NOW};
    } else if (text[0] == '@') {
        if (!text[1])
            return err_set(err, ST_INVALID_ARGUMENT, "'@' lacks the snapshot's name");
        *ret = (struct moment){.kind = MOMENT_SNAPSHOT, .snapshot = text + 1};
    } else if (text[0] == '-') {
        if ((st = duration_parse(text + 1, &ms, err)) != ST_OK)
            return st;
        if (ms > now_ms)
            return err_set(err, ST_INVALID_ARGUMENT, "'%s' lies before 1970", text);
        *ret = (struct moment){.kind = MOMENT_TIME, .relative = true, .time_ms = now_ms - ms};
    } else if (version_parse(BYTES_STR(text), &v)) {
        *ret = (struct moment){.kind = MOMENT_VERSION, .version = v};
    } else if ((st = rfc3339(text, &ms, err)) == ST_OK) {
        *ret = (struct moment){.kind = MOMENT_TIME, .time_ms = ms};
    }
    return st;
}
