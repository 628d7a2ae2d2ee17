/* doc_print.c - BSON to Extended JSON v2.
 *
 * Compact is {"a":1}; pretty is one field to a line, two spaces a level. A $-form ({"$oid":"..."})
 * is always kept on one line. The walk keeps its own stack, so that depth costs no C stack.
 */
#include "model/doc/doc_internal.h"

#include "base/assert.h"

#include <math.h>
#include <stdio.h>

struct printer {
    struct buf *out;
    enum doc__print mode;
    bool pretty;
    enum status st; /* the first failed append */
};

static void put(struct printer *pr, const char *text, size_t len)
{
    if (!pr->st)
        pr->st = buf_append(pr->out, text, len);
}

static void put_str(struct printer *pr, const char *text)
{
    put(pr, text, strlen(text));
}

static enum status put_escape(struct buf *out, uint8_t c)
{
    static const char SHORT[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (const char *p = SHORT; *p; p += 2) {
        if ((uint8_t)p[0] == c)
            return buf_append(out, (char[]){'\\', p[1]}, 2);
    }
    static const char HEX[] = "0123456789abcdef";
    char text[] = {'\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15]};
    return buf_append(out, text, sizeof(text));
}

/* U+0080 to U+009F, which some terminals obey as they do ESC. */
static bool is_c1(const uint8_t *p, const uint8_t *end)
{
    return *p == 0xc2 && end - p > 1 && p[1] >= 0x80 && p[1] < 0xa0;
}

enum status doc__print_string(struct buf *out, struct bytes text)
{
    const uint8_t *p = text.data, *end = text.data + text.len;
    enum status st = buf_append_u8(out, '"');
    while (!st && p < end) {
        const uint8_t *run = p;
        while (p < end && *p >= 0x20 && *p != '"' && *p != '\\' && *p != 0x7f && !is_c1(p, end))
            p++;
        st = buf_append(out, run, (size_t)(p - run));
        if (!st && p < end) {
            p += *p == 0xc2; /* its second byte is the number of the character */
            st = put_escape(out, *p++);
        }
    }
    return st ? st : buf_append_u8(out, '"');
}

static void put_json_string(struct printer *pr, struct bytes text)
{
    if (!pr->st)
        pr->st = doc__print_string(pr->out, text);
}

static void put_i64(struct printer *pr, int64_t v)
{
    char text[DOC__NUMBER_MAX];
    put(pr, text, doc__i64_text(v, text));
}

static void put_wrapped_i64(struct printer *pr, const char *before, int64_t v, const char *after)
{
    put_str(pr, before);
    put_i64(pr, v);
    put_str(pr, after);
}

static void put_int64(struct printer *pr, int64_t v)
{
    bool reads_as_int32 = v >= INT32_MIN && v <= INT32_MAX;
    if (pr->mode == DOC__PRINT_CANONICAL || (pr->mode == DOC__PRINT_EXACT && reads_as_int32))
        put_wrapped_i64(pr, "{\"$numberLong\":\"", v, "\"}");
    else
        put_i64(pr, v);
}

static void put_int32(struct printer *pr, int32_t v)
{
    if (pr->mode == DOC__PRINT_CANONICAL)
        put_wrapped_i64(pr, "{\"$numberInt\":\"", v, "\"}");
    else
        put_i64(pr, v);
}

static void put_double(struct printer *pr, double v)
{
    char text[DOC__NUMBER_MAX];
    size_t n = doc__double_text(v, text);
    bool wrap = pr->mode == DOC__PRINT_CANONICAL || !isfinite(v);
    if (wrap)
        put_str(pr, "{\"$numberDouble\":\"");
    put(pr, text, n);
    if (wrap)
        put_str(pr, "\"}");
}

/* Extended JSON v2 shows years 1970 to 9999 as ISO 8601 in relaxed mode, the rest as milliseconds.
 */
static void put_date(struct printer *pr, int64_t ms)
{
    static const int64_t END_OF_9999 = 253402300800000;
    if (pr->mode == DOC__PRINT_CANONICAL || ms < 0 || ms >= END_OF_9999) {
        put_wrapped_i64(pr, "{\"$date\":{\"$numberLong\":\"", ms, "\"}}");
        return;
    }
    char text[DOC__ISO_MAX];
    size_t n = doc__iso_text(ms, text);
    put_str(pr, "{\"$date\":\"");
    put(pr, text, n);
    put_str(pr, "\"}");
}

static void put_hex(struct printer *pr, const uint8_t *p, size_t len)
{
    static const char HEX[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++)
        put(pr, (char[]){HEX[p[i] >> 4], HEX[p[i] & 15]}, 2);
}

static void put_oid(struct printer *pr, const uint8_t *oid)
{
    put_str(pr, "{\"$oid\":\"");
    put_hex(pr, oid, 12);
    put_str(pr, "\"}");
}

static void put_base64(struct printer *pr, struct bytes b)
{
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < b.len; i += 3) {
        size_t n = b.len - i < 3 ? b.len - i : 3;
        uint32_t w = (uint32_t)b.data[i] << 16;
        w |= n > 1 ? (uint32_t)b.data[i + 1] << 8 : 0;
        w |= n > 2 ? b.data[i + 2] : 0;
        char quad[] = {DIGITS[w >> 18], DIGITS[w >> 12 & 63], n > 1 ? DIGITS[w >> 6 & 63] : '=',
                       n > 2 ? DIGITS[w & 63] : '='};
        put(pr, quad, sizeof(quad));
    }
}

static void put_binary(struct printer *pr, struct bytes val)
{
    uint8_t subtype = val.data[4];
    size_t skip = subtype == DOC__BINARY_OLD ? 9 : 5;
    put_str(pr, "{\"$binary\":{\"base64\":\"");
    put_base64(pr, BYTES(val.data + skip, val.len - skip));
    put_str(pr, "\",\"subType\":\"");
    put_hex(pr, &subtype, 1);
    put_str(pr, "\"}}");
}

static void put_timestamp(struct printer *pr, const uint8_t *p)
{
    put_wrapped_i64(pr, "{\"$timestamp\":{\"t\":", doc__le32(p + 4), ",\"i\":");
    put_wrapped_i64(pr, "", doc__le32(p), "}}");
}

static void put_decimal(struct printer *pr, const uint8_t *p)
{
    char text[DOC__DECIMAL_MAX];
    size_t n = doc__decimal_text(p, text);
    put_str(pr, "{\"$numberDecimal\":\"");
    put(pr, text, n);
    put_str(pr, "\"}");
}

static void put_regex(struct printer *pr, struct bytes val)
{
    struct doc__regex re = doc__regex_of(val);
    put_str(pr, "{\"$regularExpression\":{\"pattern\":");
    put_json_string(pr, re.pattern);
    put_str(pr, ",\"options\":");
    put_json_string(pr, re.options);
    put_str(pr, "}}");
}

static void put_dbpointer(struct printer *pr, struct bytes val)
{
    put_str(pr, "{\"$dbPointer\":{\"$ref\":");
    put_json_string(pr, BYTES(val.data + 4, val.len - 12 - 5));
    put_str(pr, ",\"$id\":");
    put_oid(pr, val.data + val.len - 12);
    put_str(pr, "}}");
}

static void put_text_form(struct printer *pr, const char *form, struct bytes val)
{
    put_str(pr, form);
    put_json_string(pr, doc__text(val));
    put_str(pr, "}");
}

/* Any value that holds no document. */
static void put_scalar(struct printer *pr, uint8_t type, struct bytes val)
{
    switch (type) {
    case DOC__DOUBLE:
        put_double(pr, doc__le_double(val.data));
        break;
    case DOC__STRING:
        put_json_string(pr, doc__text(val));
        break;
    case DOC__BINARY:
        put_binary(pr, val);
        break;
    case DOC__UNDEFINED:
        put_str(pr, "{\"$undefined\":true}");
        break;
    case DOC__OID:
        put_oid(pr, val.data);
        break;
    case DOC__BOOL:
        put_str(pr, val.data[0] ? "true" : "false");
        break;
    case DOC__DATE:
        put_date(pr, (int64_t)doc__le64(val.data));
        break;
    case DOC__NULL:
        put_str(pr, "null");
        break;
    case DOC__REGEX:
        put_regex(pr, val);
        break;
    case DOC__DBPOINTER:
        put_dbpointer(pr, val);
        break;
    case DOC__CODE:
        put_text_form(pr, "{\"$code\":", val);
        break;
    case DOC__SYMBOL:
        put_text_form(pr, "{\"$symbol\":", val);
        break;
    case DOC__INT32:
        put_int32(pr, (int32_t)doc__le32(val.data));
        break;
    case DOC__TIMESTAMP:
        put_timestamp(pr, val.data);
        break;
    case DOC__INT64:
        put_int64(pr, (int64_t)doc__le64(val.data));
        break;
    case DOC__DECIMAL128:
        put_decimal(pr, val.data);
        break;
    case DOC__MAXKEY:
        put_str(pr, "{\"$maxKey\":1}");
        break;
    default:
        ASSERT(type == DOC__MINKEY);
        put_str(pr, "{\"$minKey\":1}");
        break;
    }
}

/* --- documents --- */

struct open {
    struct doc__iter it;
    const char *close;
    bool array, empty;
};

struct stack {
    size_t depth;
    struct open open[DOC_MAX_DEPTH];
};

static void new_line(struct printer *pr, size_t depth)
{
    if (!pr->pretty)
        return;
    put_str(pr, "\n");
    for (size_t i = 0; i < depth; i++)
        put_str(pr, "  ");
}

/* Opens what a value begins with and leaves its inside to the loop; a scalar is done at once. */
static enum status begin_value(struct printer *pr, struct stack *s, uint8_t type, struct bytes val,
                               struct err *err)
{
    bool array = type == DOC__ARRAY;
    if (type == DOC__CODEWSCOPE) {
        struct doc__code code = doc__code_of(val);
        put_str(pr, "{\"$code\":");
        put_json_string(pr, code.code);
        put_str(pr, ",\"$scope\":");
        val = code.scope;
    } else if (!doc__is_container(type)) {
        put_scalar(pr, type, val);
        return ST_OK;
    }
    if (s->depth == DOC_MAX_DEPTH)
        return err_set(err, ST_TOO_LARGE, "document is nested deeper than the limit of %d levels",
                       DOC_MAX_DEPTH);
    struct open *o = &s->open[s->depth];
    if (!doc__iter_init(&o->it, val))
        return err_set(err, ST_INVALID_ARGUMENT, "bad length or terminator of a document");
    o->array = array;
    o->close = array ? "]" : type == DOC__CODEWSCOPE ? "}}" : "}";
    o->empty = true;
    s->depth++;
    put_str(pr, array ? "[" : "{");
    return ST_OK;
}

static enum status print_tree(struct printer *pr, uint8_t type, struct bytes val, struct err *err)
{
    struct stack s;
    struct doc__el el;
    s.depth = 0;
    enum status st = begin_value(pr, &s, type, val, err);
    while (!st && !pr->st && s.depth > 0) {
        struct open *o = &s.open[s.depth - 1];
        int rc = doc__next(&o->it, &el);
        if (rc < 0)
            return err_set(err, ST_INVALID_ARGUMENT, "%s", o->it.why);
        if (rc == 0) {
            s.depth--;
            if (!o->empty)
                new_line(pr, s.depth);
            put_str(pr, o->close);
            continue;
        }
        if (!o->empty)
            put_str(pr, ",");
        o->empty = false;
        new_line(pr, s.depth);
        if (!o->array) {
            put_json_string(pr, el.name);
            put_str(pr, pr->pretty ? ": " : ":");
        }
        st = begin_value(pr, &s, el.type, el.val, err);
    }
    if (!st && pr->st)
        st = err_set(err, pr->st, "writing JSON after %zu bytes", pr->out->len);
    return st;
}

enum status doc__print_value(struct buf *out, uint8_t type, struct bytes val, enum doc__print mode,
                             struct err *err)
{
    struct printer pr = {.out = out, .mode = mode};
    return print_tree(&pr, type, val, err);
}

enum status doc_to_json(struct bytes bson, enum doc_json mode, bool pretty, struct buf *out,
                        struct err *err)
{
    struct printer pr = {.out = out,
                         .mode =
                             mode == DOC_JSON_CANONICAL ? DOC__PRINT_CANONICAL : DOC__PRINT_RELAXED,
                         .pretty = pretty};
    size_t start = out->len;
    enum status st = print_tree(&pr, DOC__DOCUMENT, bson, err);
    if (st)
        out->len = start;
    return st;
}
