#include "base/base64url.h"

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t base64url_put(const uint8_t *in, size_t n, uint8_t *out)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                     (left > 2 ? in[i + 2] : 0);
        *p++ = (uint8_t)ALPHABET[v >> 18];
        *p++ = (uint8_t)ALPHABET[(v >> 12) & 63];
        if (left > 1)
            *p++ = (uint8_t)ALPHABET[(v >> 6) & 63];
        if (left > 2)
            *p++ = (uint8_t)ALPHABET[v & 63];
    }
    return (size_t)(p - out);
}

static int value_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

bool base64url_get(struct bytes text, uint8_t *out)
{
    if (text.len % 4 == 1)
        return false;
    uint32_t v = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < text.len; i++) {
        int six = value_of(text.data[i]);
        if (six < 0)
            return false;
        v = v << 6 | (uint32_t)six;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *out++ = (uint8_t)(v >> bits);
            v &= (1u << bits) - 1;
        }
    }
    return v == 0;
}
