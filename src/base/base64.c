#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum status base64_encode(struct buf *out, struct bytes b)
{
    enum status st = buf_reserve(out, (b.len + 2) / 3 * 4);
    for (size_t i = 0; st == ST_OK && i < b.len; i += 3) {
        size_t n = b.len - i;
        uint32_t v = (uint32_t)b.data[i] << 16;
        if (n > 1)
            v |= (uint32_t)b.data[i + 1] << 8;
        if (n > 2)
            v |= b.data[i + 2];
        const char quad[4] = {digits[v >> 18], digits[(v >> 12) & 63],
                              n > 1 ? digits[(v >> 6) & 63] : '=', n > 2 ? digits[v & 63] : '='};
        st = buf_append(out, quad, sizeof quad);
    }
    return st;
}

/* 64: none. */
static uint32_t digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return (uint32_t)c - 'A';
    if (c >= 'a' && c <= 'z')
        return (uint32_t)c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return (uint32_t)c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

enum status base64_decode(struct bytes text, struct buf *out)
{
    size_t before = out->len, pad = 0;
    if (text.len % 4)
        return ST_INVALID_ARGUMENT;
    while (pad < 2 && pad < text.len && text.data[text.len - 1 - pad] == '=')
        pad++;
    enum status st = buf_reserve(out, text.len / 4 * 3);
    for (size_t i = 0; st == ST_OK && i < text.len; i += 4) {
        uint32_t v = 0;
        size_t here = i + 4 == text.len ? pad : 0;
        for (size_t j = 0; j < 4; j++) {
            uint32_t d = j < 4 - here ? digit(text.data[i + j]) : 0;
            if (d == 64)
                st = ST_INVALID_ARGUMENT;
            v = v << 6 | (d & 63);
        }
        if (here && (v & (here == 1 ? 0xffU : 0xffffU))) /* bits that would be lost */
            st = ST_INVALID_ARGUMENT;
        const uint8_t triple[3] = {(uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
        if (st == ST_OK)
            st = buf_append(out, triple, 3 - here);
    }
    if (st != ST_OK)
        out->len = before;
    return st;
}
