#include "base/json.h"

#include "base/base64.h"

size_t utf8_len(struct bytes b)
{
    if (b.len == 0)
        return 0;
    uint8_t c = b.data[0], low = 0x80, high = 0xbf;
    size_t n = c < 0x80                ? 1
               : c >= 0xc2 && c < 0xe0 ? 2
               : (c & 0xf0) == 0xe0    ? 3
               : c >= 0xf0 && c < 0xf5 ? 4
                                       : 0;
    if (n == 0 || b.len < n)
        return 0;
    if (c == 0xe0)
        low = 0xa0; /* overlong below */
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xed)
        high = 0x9f; /* surrogates above */
    else if (c == 0xf4)
        high = 0x8f; /* past the last code point */
    for (size_t i = 1; i < n; i++) {
        if (b.data[i] < low || b.data[i] > high)
            return 0;
        low = 0x80;
        high = 0xbf;
    }
    return n;
}

bool utf8_valid(struct bytes b)
{
    while (b.len) {
        size_t n = utf8_len(b);
        if (n == 0)
            return false;
        b = BYTES(b.data + n, b.len - n);
    }
    return true;
}

static bool plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static enum status special(struct buf *out, uint8_t c)
{
    switch (c) {
    case '"':
        return json_put(out, "\\\"");
    case '\\':
        return json_put(out, "\\\\");
    case '\n':
        return json_put(out, "\\n");
    case '\r':
        return json_put(out, "\\r");
    case '\t':
        return json_put(out, "\\t");
    default:
        return buf_printf(out, "\\u%04x", c);
    }
}

enum status json_text(struct buf *out, struct bytes text)
{
    enum status st = buf_append_u8(out, '"');
    for (size_t i = 0, n; st == ST_OK && i < text.len; i += n) {
        for (n = 0; i + n < text.len && plain(text.data[i + n]);)
            n++;
        if (n) {
            st = buf_append(out, text.data + i, n);
            continue;
        }
        n = utf8_len(BYTES(text.data + i, text.len - i));
        if (n > 1) {
            st = buf_append(out, text.data + i, n);
        } else if (n == 1) {
            st = special(out, text.data[i]);
        } else {
            n = 1;
            st = json_put(out, "\xef\xbf\xbd");
        }
    }
    return st == ST_OK ? buf_append_u8(out, '"') : st;
}

enum status json_bytes(struct buf *out, struct bytes b)
{
    if (utf8_valid(b))
        return json_text(out, b);
    enum status st = json_put(out, "{\"$binary\":{\"base64\":\"");
    if (st == ST_OK)
        st = base64_encode(out, b);
    return st == ST_OK ? json_put(out, "\",\"subType\":\"00\"}}") : st;
}
