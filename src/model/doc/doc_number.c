/* doc_number.c - numbers and dates to text and back, exactly and whatever the locale. */
#include "model/doc/doc_internal.h"

#include "base/assert.h"

#include <bson/bson.h>
#include <langinfo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double POWERS_OF_TEN[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                       1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
enum { EXACT_POWERS = 22 }; /* 10^22 is the last that a double holds exactly */
static const uint64_t EXACT_INTEGERS = 1ULL << 53; /* every integer up to here is a double */

static size_t u64_text(uint64_t v, char *out)
{
    char rev[20];
    size_t n = 0;
    do {
        rev[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    for (size_t i = 0; i < n; i++)
        out[i] = rev[n - 1 - i];
    out[n] = 0;
    return n;
}

size_t doc__i64_text(int64_t v, char ret[DOC__NUMBER_MAX])
{
    size_t sign = v < 0;
    if (sign)
        ret[0] = '-';
    return sign + u64_text(v < 0 ? 0 - (uint64_t)v : (uint64_t)v, ret + sign);
}

/* snprintf and strtod use the locale's decimal point, which may be several bytes long. */
static size_t put_point(char *text)
{
    size_t n = 0;
    bool in_point = false;
    for (const char *p = text; *p; p++) {
        bool plain = (*p >= '0' && *p <= '9') || *p == '-' || *p == '+' || *p == 'e';
        if (plain)
            text[n++] = *p;
        else if (!in_point)
            text[n++] = '.';
        in_point = !plain;
    }
    text[n] = 0;
    return n;
}

/* Up to six decimals, as most numbers people write have: v = r / 10^k with both exact, so that the
 * division is the correctly rounded value of the decimal text, and k is the least that does it. */
static size_t few_decimals(double v, char *out)
{
    if (!(v < 1e9))
        return 0;
    for (unsigned k = 0; k <= 6; k++) {
        double scaled = v * POWERS_OF_TEN[k];
        uint64_t r = (uint64_t)(scaled + 0.5);
        if (r > EXACT_INTEGERS)
            return 0;
        if ((double)r / POWERS_OF_TEN[k] != v)
            continue;
        uint64_t unit = (uint64_t)POWERS_OF_TEN[k];
        size_t n = u64_text(r / unit, out);
        out[n++] = '.';
        uint64_t rest = r % unit;
        for (unsigned i = k; i > 0; i--) {
            out[n + i - 1] = (char)('0' + rest % 10);
            rest /= 10;
        }
        n += k;
        if (k == 0)
            out[n++] = '0';
        out[n] = 0;
        return n;
    }
    return 0;
}

size_t doc__double_text(double v, char ret[DOC__NUMBER_MAX])
{
    if (!isfinite(v)) {
        const char *text = isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity";
        size_t n = strlen(text);
        memcpy(ret, text, n + 1);
        return n;
    }
    size_t sign = signbit(v) != 0;
    double size = fabs(v);
    if (sign)
        ret[0] = '-';
    size_t n = few_decimals(size, ret + sign);
    if (n)
        return sign + n;
    for (int digits = 15; digits <= 17; digits++) {
        int len = snprintf(ret + sign, DOC__NUMBER_MAX - 1, "%.*g", digits, size);
        ASSERT(len > 0 && len < DOC__NUMBER_MAX - 4);
        if (digits == 17 || strtod(ret + sign, NULL) == size)
            break;
    }
    n = sign + put_point(ret + sign);
    if (!strpbrk(ret, ".e")) {
        memcpy(ret + n, ".0", 3);
        n += 2;
    }
    return n;
}

static bool is_digit(const uint8_t *p, const uint8_t *end)
{
    return p < end && *p >= '0' && *p <= '9';
}

size_t doc__number_span(struct bytes s, bool *ret_integer)
{
    const uint8_t *p = s.data, *end = s.data + s.len;
    bool integer = true;
    if (p < end && *p == '-')
        p++;
    if (!is_digit(p, end))
        return 0;
    if (*p++ != '0')
        while (is_digit(p, end))
            p++;
    if (p < end && *p == '.') {
        integer = false;
        if (!is_digit(++p, end))
            return 0;
        while (is_digit(p, end))
            p++;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        integer = false;
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        if (!is_digit(p, end))
            return 0;
        while (is_digit(p, end))
            p++;
    }
    *ret_integer = integer;
    return (size_t)(p - s.data);
}

bool doc__parse_i64(struct bytes s, int64_t *ret)
{
    bool integer;
    if (s.len == 0 || doc__number_span(s, &integer) != s.len || !integer)
        return false;
    bool negative = s.data[0] == '-';
    uint64_t v = 0;
    for (size_t i = negative; i < s.len; i++) {
        unsigned digit = s.data[i] - (unsigned)'0';
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, digit, &v))
            return false;
    }
    if (v > (uint64_t)INT64_MAX + negative)
        return false;
    *ret = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* Digits and power of ten both exact in a double: one correctly rounded operation gives the result
 * (Clinger, 1990). */
static bool parse_exact(struct bytes s, double *ret)
{
    uint64_t mantissa = 0;
    int power = 0;
    size_t i = s.data[0] == '-';
    bool after_point = false;
    for (; i < s.len && s.data[i] != 'e' && s.data[i] != 'E'; i++) {
        if (s.data[i] == '.') {
            after_point = true;
            continue;
        }
        mantissa = mantissa * 10 + (s.data[i] - (unsigned)'0');
        power -= after_point;
        if (mantissa > EXACT_INTEGERS)
            return false;
    }
    if (i < s.len || power < -EXACT_POWERS)
        return false; /* with an exponent: left to strtod */
    double v = (double)mantissa / POWERS_OF_TEN[-power];
    *ret = s.data[0] == '-' ? -v : v;
    return true;
}

bool doc__parse_double(struct bytes s, double *ret)
{
    bool integer;
    char text[512];
    if (s.len == 0 || doc__number_span(s, &integer) != s.len)
        return false;
    if (parse_exact(s, ret))
        return true;
    const char *point = nl_langinfo(RADIXCHAR);
    size_t point_len = strlen(point), n = 0;
    if (s.len + point_len >= sizeof(text))
        return false; /* the caller says what is refused: no double needs this many digits */
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '.') {
            memcpy(text + n, point, point_len);
            n += point_len;
        } else {
            text[n++] = (char)s.data[i];
        }
    }
    text[n] = 0;
    double v = strtod(text, NULL);
    if (!isfinite(v))
        return false;
    *ret = v;
    return true;
}

/* IEEE 754-2008 3.5.2: a coefficient above 10^34 - 1 is not canonical and means 0; libbson prints
 * it with 35 digits. */
size_t doc__decimal_text(const uint8_t *le, char ret[DOC__DECIMAL_MAX])
{
    _Static_assert(DOC__DECIMAL_MAX >= BSON_DECIMAL128_STRING, "room for the text");
    static const uint64_t COEFFICIENT = 0x1ffffffffffff; /* the part of it in the high word */
    static const uint64_t MOST_HIGH = 0x1ed09bead87c0, MOST_LOW = 0x378d8e63ffffffff;
    bson_decimal128_t d = {.low = doc__le64(le), .high = doc__le64(le + 8)};
    bool plain =
        (d.high >> 61 & 3) != 3; /* else infinite, NaN, or an encoding that is never canonical */
    uint64_t high = d.high & COEFFICIENT;
    if (plain && (high > MOST_HIGH || (high == MOST_HIGH && d.low > MOST_LOW))) {
        d.high &= ~COEFFICIENT;
        d.low = 0;
    }
    bson_decimal128_to_string(&d, ret);
    return strlen(ret);
}

/* --- dates: the proleptic Gregorian calendar, by eras of 400 years that begin on 1 March --- */

static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t year_of_era = year - era * 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * 146097 + day_of_era - 719468;
}

static void date_of(int64_t days, int64_t *ret_year, int *ret_month, int *ret_day)
{
    days += 719468;
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int64_t day_of_era = days - era * 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153;
    *ret_day = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (int)(month < 10 ? month + 3 : month - 9);
    *ret_year = year_of_era + era * 400 + (*ret_month <= 2);
}

enum { DAY_MS = 86400000 };

size_t doc__iso_text(int64_t ms, char ret[DOC__ISO_MAX])
{
    int64_t days = ms / DAY_MS, rest = ms % DAY_MS;
    if (rest < 0) {
        rest += DAY_MS;
        days--;
    }
    int64_t year;
    int month, day;
    date_of(days, &year, &month, &day);
    ASSERT(year >= 0 && year <= 9999);
    int n = snprintf(ret, DOC__ISO_MAX, "%04d-%02d-%02dT%02d:%02d:%02d", (int)year, month, day,
                     (int)(rest / 3600000), (int)(rest / 60000 % 60), (int)(rest / 1000 % 60));
    ASSERT(n == 19);
    if (rest % 1000)
        n += snprintf(ret + n, DOC__ISO_MAX - (size_t)n, ".%03d", (int)(rest % 1000));
    ret[n++] = 'Z';
    ret[n] = 0;
    return (size_t)n;
}

static bool read_digits(struct bytes *s, size_t count, int64_t max, int64_t *ret)
{
    int64_t v = 0;
    if (s->len < count)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (s->data[i] < '0' || s->data[i] > '9')
            return false;
        v = v * 10 + (s->data[i] - '0');
    }
    *s = BYTES(s->data + count, s->len - count);
    *ret = v;
    return v <= max;
}

static bool read_char(struct bytes *s, char c)
{
    if (s->len == 0 || s->data[0] != (uint8_t)c)
        return false;
    *s = BYTES(s->data + 1, s->len - 1);
    return true;
}

/* ".123": at most nine digits, and those past milliseconds must be 0, as a BSON date cannot hold
 * them. */
static bool read_fraction(struct bytes *s, int64_t *ret_ms)
{
    int64_t digit, ms = 0;
    int n = 0;
    while (s->len && s->data[0] >= '0' && s->data[0] <= '9') {
        if (!read_digits(s, 1, 9, &digit) || n == 9 || (n >= 3 && digit != 0))
            return false;
        if (n < 3)
            ms = ms * 10 + digit;
        n++;
    }
    for (int i = n; i < 3; i++)
        ms *= 10;
    *ret_ms = ms;
    return n > 0;
}

static bool read_zone(struct bytes *s, int64_t *ret_minutes)
{
    int64_t hours, minutes;
    *ret_minutes = 0;
    if (read_char(s, 'Z'))
        return s->len == 0;
    bool west = s->len && s->data[0] == '-';
    if (!read_char(s, west ? '-' : '+') || !read_digits(s, 2, 23, &hours))
        return false;
    (void)read_char(s, ':'); /* +01:00 and +0100 are both in use */
    if (!read_digits(s, 2, 59, &minutes))
        return false;
    *ret_minutes = (west ? -1 : 1) * (hours * 60 + minutes);
    return s->len == 0;
}

bool doc__parse_iso(struct bytes s, int64_t *ret_ms)
{
    static const uint8_t MONTH_DAYS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t year, month, day, hour, minute, second, ms = 0, zone;
    if (!read_digits(&s, 4, 9999, &year) || !read_char(&s, '-') ||
        !read_digits(&s, 2, 12, &month) || !read_char(&s, '-') || !read_digits(&s, 2, 31, &day) ||
        !read_char(&s, 'T') || !read_digits(&s, 2, 23, &hour) || !read_char(&s, ':') ||
        !read_digits(&s, 2, 59, &minute) || !read_char(&s, ':') || !read_digits(&s, 2, 59, &second))
        return false;
    if (read_char(&s, '.') && !read_fraction(&s, &ms))
        return false;
    if (!read_zone(&s, &zone) || month < 1 || day < 1)
        return false;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (day > MONTH_DAYS[month - 1] + (month == 2 && leap))
        return false;
    int64_t minutes = (days_of(year, month, day) * 24 + hour) * 60 + minute - zone;
    *ret_ms = minutes * 60000 + second * 1000 + ms;
    return true;
}
