/* doc_ext.c - reading the $-forms of Extended JSON v2, and of v1 where it is not ambiguous.
 *
 * A form is strict: exactly its names, with the types the specification gives. {"$regex":...} is
 * not a form but the query operator of that name (v2 writes $regularExpression), so it stays a
 * document. Of v1 we read $binary with $type, and $date with a number.
 */
#include "model/doc/doc_internal.h"

#include "base/assert.h"

#include <bson/bson.h>
#include <math.h>
#include <strings.h>

typedef bool (*read_form_fn)(struct doc__parser *p, uint8_t *ret_type);

static bool bad(struct doc__parser *p, const uint8_t *at, const char *what)
{
    return doc__fail(p, at, ST_INVALID_ARGUMENT, "%s", what);
}

static const uint8_t *place(struct doc__parser *p)
{
    doc__skip_space(p);
    return p->p;
}

static bool at_char(struct doc__parser *p, char c)
{
    return place(p) < p->end && *p->p == (uint8_t)c;
}

static bool put_u8(struct doc__parser *p, uint8_t v)
{
    return doc__put(p, &v, 1);
}

static bool put_u32(struct doc__parser *p, uint32_t v)
{
    uint8_t le[4];
    doc__set_le32(le, v);
    return doc__put(p, le, sizeof(le));
}

static bool put_u64(struct doc__parser *p, uint64_t v)
{
    return put_u32(p, (uint32_t)v) && put_u32(p, (uint32_t)(v >> 32));
}

/* Length, text and NUL of what is in p->text. */
static bool put_text(struct doc__parser *p)
{
    return put_u32(p, (uint32_t)p->text.len + 1) &&
           doc__put(p, buf_bytes(&p->text).data, p->text.len) && put_u8(p, 0);
}

static bool put_cstring(struct doc__parser *p)
{
    return doc__put(p, buf_bytes(&p->text).data, p->text.len) && put_u8(p, 0);
}

/* The name `name` and its colon. */
static bool expect_name(struct doc__parser *p, const char *name, const char *what)
{
    const uint8_t *at = place(p);
    if (!doc__read_text(p, what))
        return false;
    if (!bytes_eq(buf_bytes(&p->text), BYTES_STR(name)))
        return bad(p, at, what);
    return doc__expect(p, ':', "after a name");
}

/* One of two names that may come in either order; which of them (0, 1), or -1. */
static int one_of(struct doc__parser *p, const char *first, const char *second, const char *what)
{
    const uint8_t *at = place(p);
    if (!doc__read_text(p, what))
        return -1;
    bool is_first = bytes_eq(buf_bytes(&p->text), BYTES_STR(first));
    if (!is_first && !bytes_eq(buf_bytes(&p->text), BYTES_STR(second))) {
        bad(p, at, what);
        return -1;
    }
    return doc__expect(p, ':', "after a name") ? !is_first : -1;
}

/* A plain JSON integer between the limits. */
static bool read_integer(struct doc__parser *p, int64_t min, int64_t max, int64_t *ret,
                         const char *what)
{
    const uint8_t *at = place(p);
    bool integer = false;
    int64_t v;
    size_t n = doc__number_span(BYTES(at, (size_t)(p->end - at)), &integer);
    if (!doc__parse_i64(BYTES(at, n), &v) || v < min || v > max)
        return bad(p, at, what);
    p->p += n;
    *ret = v;
    return true;
}

static int hex_digit(uint8_t c)
{
    uint8_t lower = c | 0x20;
    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool read_hex(struct bytes text, uint8_t *ret, size_t len)
{
    if (text.len != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(text.data[2 * i]), low = hex_digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool read_oid(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] = "$oid must be a string of 24 hexadecimal digits";
    uint8_t oid[12];
    const uint8_t *at = place(p);
    *ret_type = DOC__OID;
    if (!doc__read_text(p, WHAT))
        return false;
    if (!read_hex(buf_bytes(&p->text), oid, sizeof(oid)))
        return bad(p, at, WHAT);
    return doc__put(p, oid, sizeof(oid));
}

static bool read_symbol(struct doc__parser *p, uint8_t *ret_type)
{
    *ret_type = DOC__SYMBOL;
    return doc__read_text(p, "the string of $symbol") && put_text(p);
}

static bool read_long_text(struct doc__parser *p, int64_t min, int64_t max, int64_t *ret,
                           const char *what)
{
    const uint8_t *at = place(p);
    if (!doc__read_text(p, what))
        return false;
    if (!doc__parse_i64(buf_bytes(&p->text), ret) || *ret < min || *ret > max)
        return bad(p, at, what);
    return true;
}

static bool read_int(struct doc__parser *p, uint8_t *ret_type)
{
    int64_t v;
    *ret_type = DOC__INT32;
    return read_long_text(p, INT32_MIN, INT32_MAX, &v,
                          "$numberInt must be a string with a 32-bit integer") &&
           put_u32(p, (uint32_t)v);
}

static bool read_long(struct doc__parser *p, uint8_t *ret_type)
{
    int64_t v;
    *ret_type = DOC__INT64;
    return read_long_text(p, INT64_MIN, INT64_MAX, &v,
                          "$numberLong must be a string with a 64-bit integer") &&
           put_u64(p, (uint64_t)v);
}

static bool read_double(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] =
        "$numberDouble must be a string with a number, \"NaN\", \"Infinity\" or \"-Infinity\"";
    const uint8_t *at = place(p);
    double v;
    *ret_type = DOC__DOUBLE;
    if (!doc__read_text(p, WHAT))
        return false;
    struct bytes text = buf_bytes(&p->text);
    if (bytes_eq(text, BYTES_LIT("NaN")))
        v = (double)NAN;
    else if (bytes_eq(text, BYTES_LIT("Infinity")))
        v = (double)INFINITY;
    else if (bytes_eq(text, BYTES_LIT("-Infinity")))
        v = -(double)INFINITY;
    else if (!doc__parse_double(text, &v))
        return bad(p, at, WHAT);
    uint64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    return put_u64(p, bits);
}

/* libbson reads an exponent by sscanf, which passes over spaces and wraps around where an int ends. */
static bool exponent_fits(struct bytes text)
{
    enum { DIGITS_MAX = 6 };
    size_t at = 0;
    while (at < text.len && (text.data[at] | 0x20) != 'e')
        at++;
    if (at++ == text.len)
        return true;
    at += at < text.len && (text.data[at] == '+' || text.data[at] == '-');
    while (at < text.len && text.data[at] == '0')
        at++;
    if (text.len > at + DIGITS_MAX)
        return false;
    while (at < text.len && text.data[at] >= '0' && text.data[at] <= '9')
        at++;
    return at >= text.len;
}

/* libbson takes what it cannot read for NaN, so a NaN counts only when the text says so. */
static bool read_decimal(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] = "$numberDecimal must be a string with a decimal of at most 34 "
                               "digits, and 6 of its exponent";
    enum { NAN_BITS_SHIFT = 58, NAN_BITS = 0x1f };
    const uint8_t *at = place(p);
    bson_decimal128_t d;
    *ret_type = DOC__DECIMAL128;
    if (!doc__read_text(p, WHAT))
        return false;
    const char *text = buf_cstr(&p->text);
    if (!text)
        return doc__no_room(p, ST_NO_MEMORY);
    if (strlen(text) != p->text.len || p->text.len > 512 || !exponent_fits(buf_bytes(&p->text)) ||
        !bson_decimal128_from_string(text, &d))
        return bad(p, at, WHAT);
    bool nan = (d.high >> NAN_BITS_SHIFT & NAN_BITS) == NAN_BITS;
    if (nan && strcasecmp(text + (text[0] == '-' || text[0] == '+'), "nan") != 0)
        return bad(p, at, WHAT);
    return put_u64(p, d.low) && put_u64(p, d.high);
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes p->text in place: whole quads, padded, no spare bits, so that one binary has one text. */
static bool decode_base64(struct doc__parser *p, const uint8_t *at)
{
    static const char WHAT[] = "base64 of $binary is malformed";
    struct buf *t = &p->text;
    size_t pad = 0, n = 0;
    while (pad < 2 && pad < t->len && t->data[t->len - 1 - pad] == '=')
        pad++;
    if (t->len % 4 != 0)
        return bad(p, at, WHAT);
    for (size_t i = 0; i < t->len; i += 4) {
        bool last = i + 4 == t->len;
        uint32_t w = 0;
        for (size_t j = 0; j < 4; j++) {
            bool padding = last && j >= 4 - pad;
            int digit = padding ? 0 : base64_digit(t->data[i + j]);
            if (digit < 0)
                return bad(p, at, WHAT);
            w = w << 6 | (uint32_t)digit;
        }
        size_t bytes = last ? 3 - pad : 3;
        if (bytes < 3 && (w & ((1u << (24 - 8 * bytes)) - 1)) != 0)
            return bad(p, at, WHAT);
        for (size_t j = 0; j < bytes; j++)
            t->data[n++] = (uint8_t)(w >> (16 - 8 * j));
    }
    t->len = n;
    return true;
}

/* The subtype is known only after the data when the names come in that order, so its byte is filled
 * in late. */
struct binary {
    size_t at; /* of the data in the output */
    bool has_data, has_subtype;
    uint8_t subtype;
};

static bool read_base64(struct doc__parser *p, struct binary *b)
{
    const uint8_t *at = place(p);
    b->has_data = true;
    return doc__read_text(p, "the base64 string of $binary") && decode_base64(p, at) &&
           doc__put(p, buf_bytes(&p->text).data, p->text.len);
}

static bool read_subtype(struct doc__parser *p, struct binary *b)
{
    static const char WHAT[] =
        "subType of $binary must be a string of one or two hexadecimal digits";
    const uint8_t *at = place(p);
    b->has_subtype = true;
    if (!doc__read_text(p, WHAT))
        return false;
    struct bytes t = buf_bytes(&p->text);
    int high = t.len == 2 ? hex_digit(t.data[0]) : 0;
    int low = t.len == 1 || t.len == 2 ? hex_digit(t.data[t.len - 1]) : -1;
    if (high < 0 || low < 0)
        return bad(p, at, WHAT);
    b->subtype = (uint8_t)(high << 4 | low);
    return true;
}

static bool finish_binary(struct doc__parser *p, const struct binary *b)
{
    size_t len = p->out->len - b->at;
    if (b->subtype == DOC__BINARY_OLD) { /* this subtype says its length once more inside */
        if (!put_u32(p, 0))
            return false;
        memmove(p->out->data + b->at + 4, p->out->data + b->at, len);
        doc__set_le32(p->out->data + b->at, (uint32_t)len);
        len += 4;
    }
    doc__set_le32(p->out->data + b->at - 5, (uint32_t)len);
    p->out->data[b->at - 1] = b->subtype;
    return true;
}

static bool read_binary(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] = "$binary must have base64 and subType, once each";
    struct binary b = {.at = p->out->len + 5};
    *ret_type = DOC__BINARY;
    if (!put_u32(p, 0) || !put_u8(p, 0))
        return false;
    if (at_char(p, '"')) { /* v1: {"$binary":"...","$type":"00"} */
        return read_base64(p, &b) && doc__expect(p, ',', "and $type after $binary") &&
               expect_name(p, "$type", "$type must follow $binary") && read_subtype(p, &b) &&
               finish_binary(p, &b);
    }
    if (!doc__expect(p, '{', "after $binary"))
        return false;
    while (!b.has_data || !b.has_subtype) {
        const uint8_t *at = place(p);
        if ((b.has_data || b.has_subtype) && !doc__expect(p, ',', "in $binary"))
            return false;
        int which = one_of(p, "base64", "subType", WHAT);
        if (which < 0)
            return false;
        if (which == 0 ? b.has_data : b.has_subtype)
            return bad(p, at, WHAT);
        if (which == 0 ? !read_base64(p, &b) : !read_subtype(p, &b))
            return false;
    }
    return doc__expect(p, '}', "after $binary") && finish_binary(p, &b);
}

static bool read_uuid(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] = "$uuid must be a string like 73ffd264-44b3-4c69-90e8-e7d1dfc035d4";
    static const uint8_t DASHES[] = {8, 13, 18, 23};
    uint8_t hex[32], uuid[16];
    const uint8_t *at = place(p);
    *ret_type = DOC__BINARY;
    if (!doc__read_text(p, WHAT))
        return false;
    if (p->text.len != 36)
        return bad(p, at, WHAT);
    size_t n = 0, dash = 0;
    for (size_t i = 0; i < 36; i++) {
        if (dash < sizeof(DASHES) && i == DASHES[dash]) {
            dash++;
            if (p->text.data[i] != '-')
                return bad(p, at, WHAT);
        } else {
            hex[n++] = p->text.data[i];
        }
    }
    ASSERT(n == sizeof(hex));
    if (!read_hex(BYTES(hex, n), uuid, sizeof(uuid)))
        return bad(p, at, WHAT);
    return put_u32(p, sizeof(uuid)) && put_u8(p, DOC__BINARY_UUID) &&
           doc__put(p, uuid, sizeof(uuid));
}

static bool read_timestamp(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] = "$timestamp must have t and i, once each, from 0 to 4294967295";
    int64_t parts[2] = {-1, -1};
    *ret_type = DOC__TIMESTAMP;
    if (!doc__expect(p, '{', "after $timestamp"))
        return false;
    for (int k = 0; k < 2; k++) {
        if (k && !doc__expect(p, ',', "in $timestamp"))
            return false;
        const uint8_t *at = place(p);
        int which = one_of(p, "t", "i", WHAT);
        if (which < 0)
            return false;
        if (parts[which] >= 0)
            return bad(p, at, WHAT);
        if (!read_integer(p, 0, UINT32_MAX, &parts[which], WHAT))
            return false;
    }
    return doc__expect(p, '}', "after $timestamp") && put_u32(p, (uint32_t)parts[1]) &&
           put_u32(p, (uint32_t)parts[0]);
}

/* Pattern and options in either order; the pattern comes first in BSON. */
static bool read_regex(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] = "$regularExpression must have pattern and options, once each";
    size_t start = p->out->len;
    bool seen[2] = {false, false};
    *ret_type = DOC__REGEX;
    if (!doc__expect(p, '{', "after $regularExpression"))
        return false;
    for (int k = 0; k < 2; k++) {
        if (k && !doc__expect(p, ',', "in $regularExpression"))
            return false;
        const uint8_t *at = place(p);
        int which = one_of(p, "pattern", "options", WHAT);
        if (which < 0)
            return false;
        if (seen[which])
            return bad(p, at, WHAT);
        seen[which] = true;
        size_t len = p->out->len - start;
        buf_clear(&p->text);
        if (!doc__read_string(p, &p->text, true, "a regular expression") || !put_cstring(p))
            return false;
        if (which == 0 && k == 1) { /* options came first: put them behind */
            size_t pattern = p->out->len - start - len;
            enum status st = buf_reserve(p->out, len);
            if (st)
                return doc__no_room(p, st);
            uint8_t *base = p->out->data + start;
            memmove(base + len + pattern, base, len);
            memmove(base, base + len, pattern + len);
        }
    }
    return doc__expect(p, '}', "after $regularExpression");
}

static bool read_dbpointer(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] = "$dbPointer must have $ref and then $id";
    uint8_t oid_type;
    bool ok = doc__expect(p, '{', "after $dbPointer") && expect_name(p, "$ref", WHAT) &&
              doc__read_text(p, "the string of $ref") && put_text(p) &&
              doc__expect(p, ',', "after $ref") && expect_name(p, "$id", WHAT) &&
              doc__expect(p, '{', "of $oid after $id") && expect_name(p, "$oid", WHAT) &&
              read_oid(p, &oid_type) && doc__expect(p, '}', "after $oid") &&
              doc__expect(p, '}', "after $dbPointer");
    *ret_type = DOC__DBPOINTER;
    return ok;
}

static bool read_date(struct doc__parser *p, uint8_t *ret_type)
{
    static const char WHAT[] =
        "$date must be an ISO 8601 string (years 0000 to 9999, milliseconds at most, with Z or "
        "an offset), {\"$numberLong\":\"...\"} or an integer";
    const uint8_t *at = place(p);
    int64_t ms = 0;
    *ret_type = DOC__DATE;
    if (at_char(p, '"')) {
        if (!doc__read_text(p, WHAT))
            return false;
        if (!doc__parse_iso(buf_bytes(&p->text), &ms))
            return bad(p, at, WHAT);
    } else if (at_char(p, '{')) {
        p->p++;
        if (!expect_name(p, "$numberLong", WHAT) ||
            !read_long_text(p, INT64_MIN, INT64_MAX, &ms, WHAT) ||
            !doc__expect(p, '}', "after $numberLong"))
            return false;
    } else if (!read_integer(p, INT64_MIN, INT64_MAX, &ms, WHAT)) {
        return false;
    }
    return put_u64(p, (uint64_t)ms);
}

/* 1, or {"$numberInt":"1"} as a printer writes that knows no exception from canonical numbers. */
static bool read_one(struct doc__parser *p, const char *what)
{
    int64_t one;
    if (!at_char(p, '{'))
        return read_integer(p, 1, 1, &one, what);
    p->p++;
    return expect_name(p, "$numberInt", what) && read_long_text(p, 1, 1, &one, what) &&
           doc__expect(p, '}', "after $numberInt");
}

static bool read_min_key(struct doc__parser *p, uint8_t *ret_type)
{
    *ret_type = DOC__MINKEY;
    return read_one(p, "$minKey must be 1");
}

static bool read_max_key(struct doc__parser *p, uint8_t *ret_type)
{
    *ret_type = DOC__MAXKEY;
    return read_one(p, "$maxKey must be 1");
}

static bool read_undefined(struct doc__parser *p, uint8_t *ret_type)
{
    const uint8_t *at = place(p);
    *ret_type = DOC__UNDEFINED;
    if (!bytes_has_prefix(BYTES(at, (size_t)(p->end - at)), BYTES_LIT("true")))
        return bad(p, at, "$undefined must be true");
    p->p += 4;
    return true;
}

/* Code alone, or with a scope that the caller reads: then a place is left for the length of both.
 */
static bool read_code(struct doc__parser *p, uint8_t *ret_type, bool *ret_scope)
{
    size_t at = p->out->len;
    if (!doc__read_text(p, "the string of $code"))
        return false;
    *ret_scope = at_char(p, ',');
    *ret_type = *ret_scope ? DOC__CODEWSCOPE : DOC__CODE;
    if (!*ret_scope)
        return put_text(p);
    ASSERT(p->out->len == at);
    if (!put_u32(p, 0) || !put_text(p))
        return false;
    p->p++;
    return expect_name(p, "$scope", "only $scope may follow $code");
}

static const struct {
    const char *name;
    read_form_fn read; /* NULL: code */
} FORMS[] = {
    {"$oid", read_oid},
    {"$numberInt", read_int},
    {"$numberLong", read_long},
    {"$numberDouble", read_double},
    {"$numberDecimal", read_decimal},
    {"$date", read_date},
    {"$binary", read_binary},
    {"$uuid", read_uuid},
    {"$timestamp", read_timestamp},
    {"$regularExpression", read_regex},
    {"$symbol", read_symbol},
    {"$code", NULL},
    {"$dbPointer", read_dbpointer},
    {"$minKey", read_min_key},
    {"$maxKey", read_max_key},
    {"$undefined", read_undefined},
};

int doc__form_of(struct bytes name)
{
    for (size_t i = 0; i < sizeof(FORMS) / sizeof(*FORMS); i++) {
        if (bytes_eq(name, BYTES_STR(FORMS[i].name)))
            return (int)i;
    }
    return -1;
}

bool doc__read_form(struct doc__parser *p, int form, uint8_t *ret_type, bool *ret_scope)
{
    *ret_scope = false;
    if (!doc__expect(p, ':', "after a field's name"))
        return false;
    if (!FORMS[form].read) {
        if (!read_code(p, ret_type, ret_scope))
            return false;
        if (*ret_scope)
            return true;
    } else if (!FORMS[form].read(p, ret_type)) {
        return false;
    }
    if (at_char(p, ','))
        return doc__fail(p, p->p, ST_INVALID_ARGUMENT, "%s must be the only name of its object",
                         FORMS[form].name);
    return doc__expect(p, '}', "after the value of a $-form");
}
