/* grpc_text.c - what travels in headers: timeouts, percent-encoded messages, base64. */
#include "wire/grpc/grpc_codec.h"

enum { TIMEOUT_DIGITS = 8, TIMEOUT_MOST = 99999999 };

static const struct {
    char unit;
    uint64_t ns;
} units[] = {
    {'n', 1},
    {'u', 1000},
    {'m', 1000000},
    {'S', UINT64_C(1000000000)},
    {'M', UINT64_C(60000000000)},
    {'H', UINT64_C(3600000000000)},
};
enum { UNITS = sizeof units / sizeof units[0] };

bool grpc_timeout_parse(struct bytes text, uint64_t *ret_ns)
{
    uint64_t n = 0, ns;
    if (text.len < 2 || text.len > TIMEOUT_DIGITS + 1)
        return false;
    for (size_t i = 0; i + 1 < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    }
    for (size_t i = 0; i < UNITS; i++)
        if (text.data[text.len - 1] == (uint8_t)units[i].unit) {
            if (__builtin_mul_overflow(n, units[i].ns, &ns) || ns > INT64_MAX)
                ns = INT64_MAX;
            *ret_ns = ns;
            return true;
        }
    return false;
}

size_t grpc_timeout_format(uint64_t ns, char out[GRPC_TIMEOUT_TEXT])
{
    size_t u = 0;
    /* Rounded up, so that a server never gives up before its client. */
    while (u + 1 < UNITS && ns / units[u].ns + (ns % units[u].ns != 0) > TIMEOUT_MOST)
        u++;
    uint64_t n = ns / units[u].ns + (ns % units[u].ns != 0);
    char digits[TIMEOUT_DIGITS];
    size_t count = 0;
    if (n > TIMEOUT_MOST)
        n = TIMEOUT_MOST;
    do {
        digits[count++] = (char)('0' + n % 10);
        n /= 10;
    } while (n);
    for (size_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    out[count] = units[u].unit;
    return count + 1;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum status undo(struct buf *out, size_t len, enum status st)
{
    out->len = len;
    return st;
}

enum status grpc_percent_encode(struct bytes in, struct buf *out)
{
    static const char hex[] = "0123456789ABCDEF";
    const size_t before = out->len;
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i];
        uint8_t escaped[3] = {'%', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]};
        bool plain = c >= 0x20 && c <= 0x7e && c != '%';
        enum status st = plain ? buf_append_u8(out, c) : buf_append(out, escaped, 3);
        if (st != ST_OK)
            return undo(out, before, st);
    }
    return ST_OK;
}

enum status grpc_percent_decode(struct bytes in, struct buf *out)
{
    const size_t before = out->len;
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.data[i];
        if (c == '%' && in.len - i > 2) {
            int high = hex_digit(in.data[i + 1]), low = hex_digit(in.data[i + 2]);
            if (high >= 0 && low >= 0) {
                c = (uint8_t)(high << 4 | low);
                i += 2;
            }
        }
        enum status st = buf_append_u8(out, c);
        if (st != ST_OK)
            return undo(out, before, st);
    }
    return ST_OK;
}

enum status grpc_base64_encode(struct bytes in, struct buf *out)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    enum status st = buf_reserve(out, in.len / 3 * 4 + 4);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i < 3 ? in.len - i : 3;
        uint32_t v = (uint32_t)in.data[i] << 16;
        v |= n > 1 ? (uint32_t)in.data[i + 1] << 8 : 0;
        v |= n > 2 ? in.data[i + 2] : 0;
        for (size_t k = 0; k <= n; k++)
            out->data[out->len++] = (uint8_t)alphabet[v >> (18 - 6 * k) & 63];
    }
    return ST_OK;
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

enum status grpc_base64_decode(struct bytes in, struct buf *out)
{
    const size_t before = out->len;
    uint32_t v = 0;
    unsigned bits = 0;
    if (in.len && in.len % 4 == 0) /* only then can there be padding */
        for (int i = 0; i < 2 && in.data[in.len - 1] == '='; i++)
            in.len--;
    if (in.len % 4 == 1)
        return ST_INVALID_ARGUMENT;
    enum status st = buf_reserve(out, in.len / 4 * 3 + 3);
    if (st != ST_OK)
        return st;
    for (size_t i = 0; i < in.len; i++) {
        int digit = base64_digit(in.data[i]);
        if (digit < 0)
            return undo(out, before, ST_INVALID_ARGUMENT);
        v = v << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out->data[out->len++] = (uint8_t)(v >> bits);
        }
    }
    return ST_OK;
}
