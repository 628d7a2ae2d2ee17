/* pb_text.c - what a protobuf string may be. */
#include "wire/proto/pb.h"

/* The length of the sequence that begins at p, 0: none does. The second byte's bounds keep out what
 * is over-long, the surrogates, and what lies above U+10FFFF (RFC 3629, 4). */
static size_t sequence(const uint8_t *p, size_t left)
{
    uint8_t c = p[0], low = 0x80, high = 0xbf;
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || n > left)
        return 0;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

bool pb_is_utf8(struct bytes b)
{
    size_t at = 0;
    while (at < b.len) {
        uint64_t eight;
        if (b.len - at >= sizeof eight) {
            memcpy(&eight, b.data + at, sizeof eight);
            if (!(eight & 0x8080808080808080u)) {
                at += sizeof eight;
                continue;
            }
        }
        size_t n = sequence(b.data + at, b.len - at);
        if (n == 0)
            return false;
        at += n;
    }
    return true;
}

char *pb_text(struct bytes b, struct arena *arena)
{
    char *text = arena_alloc_align(arena, b.len + 1, 1);
    if (!text)
        return NULL;
    if (b.len)
        memcpy(text, b.data, b.len);
    text[b.len] = '\0';
    bool good = pb_is_utf8(b);
    for (size_t i = 0; i < b.len; i++)
        if (text[i] == '\0' || (!good && (text[i] & 0x80)))
            text[i] = '?';
    return text;
}
