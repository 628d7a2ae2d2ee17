/* history_json.c - a cursor over one line of JSON (RFC 8259). */
#include "sim/check/history_json.h"

#include "base/base64.h"
#include "base/json.h"

bool json_in_fail(struct json_in *j, const char *wrong)
{
    if (!j->wrong)
        j->wrong = wrong;
    return false;
}

static void blanks(struct json_in *j)
{
    while (j->p < j->end && (*j->p == ' ' || *j->p == '\t' || *j->p == '\r'))
        j->p++;
}

static bool peek(struct json_in *j, char c)
{
    blanks(j);
    return !j->wrong && j->p < j->end && *j->p == (uint8_t)c;
}

bool json_in_char(struct json_in *j, char c)
{
    if (!peek(j, c))
        return json_in_fail(j, "not the JSON that is expected here");
    j->p++;
    return true;
}

bool json_in_end(struct json_in *j)
{
    blanks(j);
    return j->p == j->end ? !j->wrong : json_in_fail(j, "more after the end of the object");
}

static bool word(struct json_in *j, const char *w)
{
    size_t n = strlen(w);
    blanks(j);
    if (j->wrong || (size_t)(j->end - j->p) < n || memcmp(j->p, w, n) != 0)
        return false;
    j->p += n;
    return true;
}

bool json_in_bool(struct json_in *j, bool *ret)
{
    bool yes = word(j, "true");
    if (!yes && !word(j, "false"))
        return json_in_fail(j, "neither true nor false");
    *ret = yes;
    return true;
}

bool json_in_u64(struct json_in *j, uint64_t *ret)
{
    blanks(j);
    uint64_t v = 0;
    const uint8_t *start = j->p;
    for (; !j->wrong && j->p < j->end && *j->p >= '0' && *j->p <= '9'; j->p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *j->p - '0', &v))
            return json_in_fail(j, "a number over 64 bits");
    if (j->p == start)
        return json_in_fail(j, "not a whole number");
    *ret = v;
    return true;
}

bool json_in_i64(struct json_in *j, int64_t *ret)
{
    bool minus = peek(j, '-');
    uint64_t v;
    if (minus)
        j->p++;
    if (!json_in_u64(j, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + minus)
        return json_in_fail(j, "a number over 63 bits");
    *ret = minus ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* --- strings --- */

static bool hex4(struct json_in *j, uint32_t *ret)
{
    uint32_t v = 0;
    if (j->end - j->p < 4)
        return json_in_fail(j, "a \\u without four digits");
    for (int i = 0; i < 4; i++) {
        uint8_t c = *j->p++;
        uint8_t low = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (low >= 'a' && low <= 'f')
            v = v << 4 | (uint32_t)(low - 'a' + 10);
        else
            return json_in_fail(j, "a \\u without four digits");
    }
    *ret = v;
    return true;
}

static uint8_t *put_utf8(uint8_t *out, uint32_t c)
{
    if (c < 0x80) {
        *out++ = (uint8_t)c;
        return out;
    }
    if (c < 0x800) {
        *out++ = (uint8_t)(0xc0 | c >> 6);
    } else {
        if (c < 0x10000) {
            *out++ = (uint8_t)(0xe0 | c >> 12);
        } else {
            *out++ = (uint8_t)(0xf0 | c >> 18);
            *out++ = (uint8_t)(0x80 | (c >> 12 & 0x3f));
        }
        *out++ = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    }
    *out++ = (uint8_t)(0x80 | (c & 0x3f));
    return out;
}

static bool unicode(struct json_in *j, uint8_t **out)
{
    uint32_t c, low;
    if (!hex4(j, &c))
        return false;
    if (c >= 0xd800 && c < 0xdc00) {
        if (j->end - j->p < 6 || j->p[0] != '\\' || j->p[1] != 'u')
            return json_in_fail(j, "half of a surrogate pair");
        j->p += 2;
        if (!hex4(j, &low))
            return false;
        if (low < 0xdc00 || low > 0xdfff)
            return json_in_fail(j, "half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c < 0xe000) {
        return json_in_fail(j, "half of a surrogate pair");
    }
    *out = put_utf8(*out, c);
    return true;
}

static bool escape(struct json_in *j, uint8_t **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (j->p == j->end)
        return json_in_fail(j, "a string without its end");
    uint8_t c = *j->p++;
    if (c == 'u')
        return unicode(j, out);
    const char *at = c ? strchr(from, c) : NULL;
    if (!at)
        return json_in_fail(j, "an escape that JSON does not have");
    *(*out)++ = (uint8_t)to[at - from];
    return true;
}

/* What an escape stands for is never longer than it. */
static bool string(struct json_in *j, struct bytes *ret)
{
    if (!json_in_char(j, '"'))
        return false;
    const uint8_t *close = j->p;
    while (close < j->end && *close != '"')
        close += *close == '\\' ? 2 : 1;
    if (close >= j->end)
        return json_in_fail(j, "a string without its end");
    uint8_t *start = arena_alloc(j->arena, (size_t)(close - j->p) + 1), *out = start;
    if (!start) {
        j->no_memory = true;
        return json_in_fail(j, "no memory");
    }
    while (j->p < close) {
        uint8_t c = *j->p;
        size_t n = utf8_len(BYTES(j->p, (size_t)(close - j->p)));
        if (c < 0x20 || n == 0)
            return json_in_fail(j, "a string that is not UTF-8, or has a bare control character");
        if (c != '\\') {
            memcpy(out, j->p, n);
            out += n;
            j->p += n;
            continue;
        }
        j->p++;
        if (!escape(j, &out))
            return false;
    }
    j->p = close + 1;
    *ret = BYTES(start, (size_t)(out - start));
    return true;
}

static bool wanted(struct json_in *j, const char *name)
{
    struct bytes s;
    if (!string(j, &s))
        return false;
    return bytes_eq(s, BYTES_STR(name)) || json_in_fail(j, "not a $binary of subtype 00");
}

static bool binary(struct json_in *j, struct bytes *ret)
{
    struct bytes text;
    struct buf raw = BUF_INIT;
    if (!json_in_char(j, '{') || !wanted(j, "$binary") || !json_in_char(j, ':') ||
        !json_in_char(j, '{') || !wanted(j, "base64") || !json_in_char(j, ':') ||
        !string(j, &text) || !json_in_char(j, ',') || !wanted(j, "subType") ||
        !json_in_char(j, ':') || !wanted(j, "00") || !json_in_char(j, '}') || !json_in_char(j, '}'))
        return false;
    enum status st = base64_decode(text, &raw);
    uint8_t *copy = st == ST_OK ? arena_alloc(j->arena, raw.len + 1) : NULL;
    if (copy && raw.len)
        memcpy(copy, raw.data, raw.len);
    if (copy)
        *ret = BYTES(copy, raw.len);
    buf_deinit(&raw);
    j->no_memory |= st == ST_NO_MEMORY || (st == ST_OK && !copy);
    return copy || json_in_fail(j, "not base64, or no memory");
}

bool json_in_bytes(struct json_in *j, struct bytes *ret)
{
    return peek(j, '{') ? binary(j, ret) : string(j, ret);
}

/* --- objects and arrays --- */

bool json_in_field(struct json_in *j, bool *first, struct bytes *ret_name)
{
    if (j->wrong)
        return false;
    if (peek(j, '}')) {
        j->p++;
        return false;
    }
    if (!*first && !json_in_char(j, ','))
        return false;
    *first = false;
    return string(j, ret_name) && json_in_char(j, ':');
}

bool json_in_element(struct json_in *j, bool *first)
{
    if (j->wrong)
        return false;
    if (peek(j, ']')) {
        j->p++;
        return false;
    }
    if (!*first && !json_in_char(j, ','))
        return false;
    *first = false;
    return true;
}
