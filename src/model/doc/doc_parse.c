/* doc_parse.c - JSON (RFC 8259) to BSON in one pass; the $-forms are in doc_ext.c.
 *
 * BSON is written as the text is read: a type byte and length are left open and filled in when
 * known. An object is taken for a $-form when its first name is one; then what was begun is taken
 * back and the form's value written. The reader keeps its own stack, so that depth costs no C
 * stack. On any failure `out` is cut back to where it was.
 */
#include "model/doc/doc_internal.h"

#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>

struct open {
    const uint8_t *src; /* the opening bracket */
    size_t type_at;     /* where our type byte is; of no use for the outermost */
    size_t at;          /* where our length is */
    uint32_t count;
    bool array, scope;
};

struct reading {
    struct doc__parser p;
    size_t depth, max_depth, max_bytes;
    struct open open[DOC_MAX_DEPTH + 2]; /* one more, until we know whether it is a $-form; and what
                                            may be around a document */
};

/* --- failures --- */

bool doc__fail(struct doc__parser *p, const uint8_t *at, enum status st, const char *fmt, ...)
{
    char why[ERR_DETAIL_MAX];
    size_t line = 1, column = 1; /* both from 1; columns count characters */
    va_list args;
    if (p->st)
        return false;
    va_start(args, fmt);
    if (vsnprintf(why, sizeof(why), fmt, args) < 0)
        why[0] = 0;
    va_end(args);
    for (const uint8_t *c = p->base; c < at; c++) {
        if (*c == '\n') {
            line++;
            column = 1;
        } else {
            column += (*c & 0xc0) != 0x80;
        }
    }
    p->st = err_set(p->err, st, "line %zu column %zu: %s", line, column, why);
    return false;
}

bool doc__no_room(struct doc__parser *p, enum status st)
{
    if (!p->st)
        p->st =
            err_set(p->err, st, "reading JSON, after %zu bytes of it", (size_t)(p->p - p->base));
    return false;
}

bool doc__put(struct doc__parser *p, const void *data, size_t len)
{
    enum status st = buf_append(p->out, data, len);
    return st ? doc__no_room(p, st) : true;
}

/* --- tokens --- */

void doc__skip_space(struct doc__parser *p)
{
    while (p->p < p->end && (*p->p == ' ' || *p->p == '\n' || *p->p == '\t' || *p->p == '\r'))
        p->p++;
}

static bool unexpected(struct doc__parser *p, const char *wanted)
{
    if (p->p == p->end)
        return doc__fail(p, p->p, ST_INVALID_ARGUMENT, "the text ends where %s should be", wanted);
    if (*p->p > 0x20 && *p->p < 0x7f)
        return doc__fail(p, p->p, ST_INVALID_ARGUMENT, "'%c' where %s should be", *p->p, wanted);
    return doc__fail(p, p->p, ST_INVALID_ARGUMENT, "byte 0x%02x where %s should be", *p->p, wanted);
}

bool doc__expect(struct doc__parser *p, char c, const char *where)
{
    doc__skip_space(p);
    if (p->p == p->end || *p->p != (uint8_t)c) {
        char wanted[80];
        int rc = snprintf(wanted, sizeof(wanted), "'%c' %s", c, where);
        return unexpected(p, rc < 0 ? "another character" : wanted);
    }
    p->p++;
    return true;
}

static bool read_hex4(struct doc__parser *p, const uint8_t *at, uint32_t *ret)
{
    uint32_t v = 0;
    if (p->end - at < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        uint8_t c = at[i];
        uint8_t lower = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if (lower >= 'a' && lower <= 'f')
            v = v << 4 | (uint32_t)(lower - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

/* At the "u" of an escape; a pair of surrogates is one character, a lone one is none. */
static bool read_unicode(struct doc__parser *p, uint32_t *ret)
{
    const uint8_t *at = p->p - 1;
    uint32_t c = 0, low = 0;
    if (!read_hex4(p, p->p + 1, &c))
        return doc__fail(p, at, ST_INVALID_ARGUMENT, "\\u needs four hexadecimal digits");
    p->p += 5;
    if (c >= 0xd800 && c <= 0xdfff) {
        if (c >= 0xdc00 || p->end - p->p < 6 || p->p[0] != '\\' || p->p[1] != 'u' ||
            !read_hex4(p, p->p + 2, &low) || low < 0xdc00 || low > 0xdfff)
            return doc__fail(p, at, ST_INVALID_ARGUMENT, "lone surrogate \\u%04x", c);
        p->p += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    *ret = c;
    return true;
}

static size_t encode_utf8(uint32_t c, uint8_t ret[4])
{
    if (c < 0x80) {
        ret[0] = (uint8_t)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t LEAD[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--) {
        ret[i] = (uint8_t)(0x80 | (c & 0x3f));
        c >>= 6;
    }
    ret[0] = (uint8_t)(LEAD[n] | c);
    return n;
}

static bool read_escape(struct doc__parser *p, struct buf *dst, bool cstring, const char *what)
{
    static const char PAIRS[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
    const uint8_t *at = p->p++;
    uint8_t text[4];
    size_t n = 0;
    if (p->p < p->end && *p->p == 'u') {
        uint32_t c = 0;
        if (!read_unicode(p, &c))
            return false;
        if (c == 0 && cstring)
            return doc__fail(p, at, ST_INVALID_ARGUMENT, "%s cannot hold a NUL", what);
        n = encode_utf8(c, text);
    } else {
        for (const char *pair = PAIRS; *pair && p->p < p->end; pair += 2) {
            if ((uint8_t)pair[0] == *p->p) {
                text[0] = (uint8_t)pair[1];
                n = 1;
                p->p++;
                break;
            }
        }
        if (n == 0)
            return doc__fail(p, at, ST_INVALID_ARGUMENT, "unknown escape in a string");
    }
    enum status st = buf_append(dst, text, n);
    return st ? doc__no_room(p, st) : true;
}

/* Where the UTF-8 of a run first breaks, for the error only. */
static const uint8_t *utf8_break(const uint8_t *run, const uint8_t *end)
{
    const uint8_t *at = run;
    for (const uint8_t *p = run; p < end; p++) {
        if ((*p & 0xc0) == 0x80)
            continue;
        if (!doc__utf8_ok(BYTES(run, (size_t)(p - run))))
            break;
        at = p;
        run = p;
    }
    return at;
}

static bool read_run(struct doc__parser *p, struct buf *dst)
{
    const uint8_t *run = p->p;
    uint8_t high = 0;
    while (p->p < p->end && *p->p >= 0x20 && *p->p != '"' && *p->p != '\\')
        high |= *p->p++;
    size_t len = (size_t)(p->p - run);
    if (high >= 0x80 && !doc__utf8_ok(BYTES(run, len)))
        return doc__fail(p, utf8_break(run, p->p), ST_INVALID_ARGUMENT, "text is not UTF-8");
    enum status st = buf_append(dst, run, len);
    return st ? doc__no_room(p, st) : true;
}

bool doc__read_string(struct doc__parser *p, struct buf *dst, bool cstring, const char *what)
{
    doc__skip_space(p);
    if (p->p == p->end || *p->p != '"')
        return unexpected(p, what);
    const uint8_t *at = p->p++;
    for (;;) {
        if (!read_run(p, dst))
            return false;
        if (p->p == p->end)
            return doc__fail(p, at, ST_INVALID_ARGUMENT, "this string has no end");
        if (*p->p == '"')
            break;
        if (*p->p == '\\') {
            if (!read_escape(p, dst, cstring, what))
                return false;
        } else {
            return doc__fail(p, p->p, ST_INVALID_ARGUMENT,
                             "control character 0x%02x in a string must be escaped", *p->p);
        }
    }
    p->p++;
    return true;
}

bool doc__read_text(struct doc__parser *p, const char *what)
{
    buf_clear(&p->text);
    return doc__read_string(p, &p->text, false, what);
}

/* --- scalars --- */

static bool put_le64(struct doc__parser *p, uint64_t v)
{
    enum status st = buf_append_le64(p->out, v);
    return st ? doc__no_room(p, st) : true;
}

static bool put_le32(struct doc__parser *p, uint32_t v)
{
    enum status st = buf_append_le32(p->out, v);
    return st ? doc__no_room(p, st) : true;
}

/* The smallest of int32 and int64 that holds an integer; larger ones, and all with point or
 * exponent, are doubles. */
static bool read_number(struct doc__parser *p, uint8_t *ret_type)
{
    bool integer;
    int64_t i;
    double d;
    size_t n = doc__number_span(BYTES(p->p, (size_t)(p->end - p->p)), &integer);
    struct bytes text = BYTES(p->p, n);
    if (n == 0)
        return doc__fail(p, p->p, ST_INVALID_ARGUMENT, "malformed number");
    if (p->p + n < p->end && p->p[n] >= '0' && p->p[n] <= '9')
        return doc__fail(p, p->p, ST_INVALID_ARGUMENT, "a number must not begin with a zero");
    if (integer && doc__parse_i64(text, &i)) {
        p->p += n;
        bool small = i >= INT32_MIN && i <= INT32_MAX;
        *ret_type = small ? DOC__INT32 : DOC__INT64;
        return small ? put_le32(p, (uint32_t)i) : put_le64(p, (uint64_t)i);
    }
    if (!doc__parse_double(text, &d))
        return doc__fail(p, p->p, ST_INVALID_ARGUMENT,
                         "number is beyond the range of a double or longer than 500 characters");
    p->p += n;
    uint64_t bits;
    memcpy(&bits, &d, sizeof(bits));
    *ret_type = DOC__DOUBLE;
    return put_le64(p, bits);
}

static bool read_string_value(struct doc__parser *p, uint8_t *ret_type)
{
    size_t at = p->out->len;
    *ret_type = DOC__STRING;
    if (!put_le32(p, 0) || !doc__read_string(p, p->out, false, "a string") || !doc__put(p, "", 1))
        return false;
    doc__set_le32(p->out->data + at, (uint32_t)(p->out->len - at - 4));
    return true;
}

static bool read_word(struct doc__parser *p, uint8_t *ret_type)
{
    static const struct {
        struct bytes word;
        uint8_t type, value;
    } WORDS[] = {{{(const uint8_t *)"true", 4}, DOC__BOOL, 1},
                 {{(const uint8_t *)"false", 5}, DOC__BOOL, 0},
                 {{(const uint8_t *)"null", 4}, DOC__NULL, 0}};
    for (size_t i = 0; i < 3; i++) {
        if (!bytes_has_prefix(BYTES(p->p, (size_t)(p->end - p->p)), WORDS[i].word))
            continue;
        p->p += WORDS[i].word.len;
        *ret_type = WORDS[i].type;
        return *ret_type != DOC__BOOL || doc__put(p, &WORDS[i].value, 1);
    }
    return unexpected(p, "a value");
}

static bool read_scalar(struct doc__parser *p, uint8_t *ret_type)
{
    if (p->p < p->end && *p->p == '"')
        return read_string_value(p, ret_type);
    if (p->p < p->end && (*p->p == '-' || (*p->p >= '0' && *p->p <= '9')))
        return read_number(p, ret_type);
    return read_word(p, ret_type);
}

/* --- objects and arrays --- */

/* The place of the name of field `index` in an object that was read without error, for the report
 * of a duplicate. */
static const uint8_t *name_place(const uint8_t *src, const uint8_t *end, size_t index)
{
    size_t depth = 0, seen = 0;
    bool name_next = false;
    for (const uint8_t *p = src; p < end; p++) {
        if (*p == '"') {
            if (depth == 1 && name_next && seen++ == index)
                return p;
            name_next = false;
            for (p++; p < end && *p != '"'; p++)
                p += *p == '\\';
        } else if (*p == '{' || *p == '[') {
            name_next = ++depth == 1;
        } else if (*p == '}' || *p == ']') {
            depth--;
        } else if (*p == ',' && depth == 1) {
            name_next = true;
        }
    }
    return src;
}

static bool open_value(struct reading *r, const uint8_t *src, size_t type_at, bool array,
                       bool scope)
{
    ASSERT(r->depth <= r->max_depth);
    r->open[r->depth++] = (struct open){
        .src = src, .type_at = type_at, .at = r->p.out->len, .array = array, .scope = scope};
    return put_le32(&r->p, 0);
}

static bool check_depth(struct reading *r)
{
    if (r->depth <= r->max_depth)
        return true;
    return doc__fail(&r->p, r->open[r->depth - 1].src, ST_TOO_LARGE,
                     "nested deeper than the limit of %d levels", DOC_MAX_DEPTH);
}

static bool check_size(struct reading *r)
{
    if (r->p.out->len - r->p.out_start <= r->max_bytes)
        return true;
    return doc__fail(&r->p, r->p.p, ST_TOO_LARGE,
                     "the document is over the limit of %d bytes as BSON", DOC_MAX_BYTES);
}

static bool check_duplicates(struct reading *r, const struct open *o)
{
    struct doc__parser *p = &r->p;
    size_t second;
    struct bytes name;
    enum status st =
        doc__duplicate(BYTES(p->out->data + o->at, p->out->len - o->at), o->count, &second, &name);
    if (st)
        return doc__no_room(p, st);
    if (second == SIZE_MAX)
        return true;
    return doc__fail(p, name_place(o->src, p->p, second), ST_INVALID_ARGUMENT,
                     "duplicate name \"%.*s\"", name.len > 64 ? 64 : (int)name.len,
                     (const char *)name.data);
}

static bool close_value(struct reading *r)
{
    struct doc__parser *p = &r->p;
    const struct open *o = &r->open[--r->depth];
    p->p++; /* the bracket */
    if (!doc__put(p, "", 1) || !check_size(r))
        return false;
    doc__set_le32(p->out->data + o->at, (uint32_t)(p->out->len - o->at));
    if (!o->array && !check_duplicates(r, o))
        return false;
    if (o->scope) { /* the code's own length lies after its type byte and name */
        ASSERT(r->depth > 0);
        size_t total_at = o->type_at + 1 + strlen((char *)p->out->data + o->type_at + 1) + 1;
        doc__set_le32(p->out->data + total_at, (uint32_t)(p->out->len - total_at));
        return doc__expect(p, '}', "after the $scope of $code");
    }
    return true;
}

/* The object's first name says that it is no document: takes back what was written of one. */
static bool become_form(struct reading *r, int form)
{
    struct doc__parser *p = &r->p;
    struct open o = r->open[--r->depth];
    uint8_t type = 0;
    bool scope = false;
    if (r->depth == 0)
        return doc__fail(p, o.src, ST_INVALID_ARGUMENT,
                         "the outermost value must be a document, not a single value");
    if (o.scope)
        return doc__fail(p, o.src, ST_INVALID_ARGUMENT, "$scope must be a document");
    p->out->len = o.at;
    if (!doc__read_form(p, form, &type, &scope))
        return false;
    p->out->data[o.type_at] = type;
    if (!scope)
        return true;
    doc__skip_space(p);
    if (p->p == p->end || *p->p != '{')
        return unexpected(p, "the document of $scope");
    const uint8_t *src = p->p++;
    return open_value(r, src, o.type_at, false, true);
}

/* $code and $scope make one value, in this order; the other way round it would be taken for a
 * document. */
static bool check_scope_order(struct reading *r, const struct open *o, struct bytes name,
                              const uint8_t *at)
{
    if (o->count != 1 || !bytes_eq(name, BYTES_LIT("$code")) ||
        strcmp((char *)r->p.out->data + o->at + 5, "$scope") != 0)
        return true;
    return doc__fail(&r->p, at, ST_INVALID_ARGUMENT, "$code must come before its $scope");
}

/* Reads a name and its colon. `ret_form`: the $-form that it begins, or -1. */
static bool read_name(struct reading *r, struct open *o, int *ret_form)
{
    struct doc__parser *p = &r->p;
    doc__skip_space(p);
    const uint8_t *src = p->p;
    size_t at = p->out->len;
    *ret_form = -1;
    if (!doc__read_string(p, p->out, true, "a field's name"))
        return false;
    struct bytes name = BYTES(p->out->data + at, p->out->len - at);
    if (name.len && name.data[0] == '$') {
        if (o->count == 0)
            *ret_form = doc__form_of(name);
        if (!check_scope_order(r, o, name, src))
            return false;
    }
    return doc__put(p, "", 1) && (*ret_form >= 0 || doc__expect(p, ':', "after a field's name"));
}

static bool read_field(struct reading *r)
{
    struct doc__parser *p = &r->p;
    struct open *o = &r->open[r->depth - 1];
    size_t type_at = p->out->len;
    int form = -1;
    if (!doc__put(p, "", 1))
        return false;
    if (o->array) {
        char name[DOC__NUMBER_MAX];
        if (!doc__put(p, name, doc__i64_text(o->count, name) + 1))
            return false;
    } else if (!read_name(r, o, &form)) {
        return false;
    }
    if (form >= 0)
        return become_form(r, form);
    if (o->count++ == 0 && !check_depth(r))
        return false;
    doc__skip_space(p);
    if (p->p < p->end && (*p->p == '{' || *p->p == '[')) {
        bool array = *p->p == '[';
        p->out->data[type_at] = array ? DOC__ARRAY : DOC__DOCUMENT;
        const uint8_t *src = p->p++;
        return open_value(r, src, type_at, array, false);
    }
    uint8_t type = 0;
    if (!read_scalar(p, &type))
        return false;
    p->out->data[type_at] = type;
    return check_size(r);
}

static bool read_all(struct reading *r)
{
    struct doc__parser *p = &r->p;
    doc__skip_space(p);
    if (p->p == p->end || *p->p != '{')
        return unexpected(p, "'{' of a document");
    const uint8_t *src = p->p++;
    if (!open_value(r, src, 0, false, false))
        return false;
    while (r->depth > 0) {
        struct open *o = &r->open[r->depth - 1];
        doc__skip_space(p);
        bool closing = p->p < p->end && *p->p == (o->array ? ']' : '}');
        if (closing) {
            if ((o->count == 0 && !check_depth(r)) || !close_value(r))
                return false;
            continue;
        }
        if (o->count > 0) {
            if (p->p == p->end || *p->p != ',')
                return unexpected(p, o->array ? "',' or ']'" : "',' or '}'");
            p->p++;
        }
        if (!read_field(r))
            return false;
    }
    doc__skip_space(p);
    if (p->p != p->end)
        return doc__fail(p, p->p, ST_INVALID_ARGUMENT, "text after the end of the document");
    return true;
}

static enum status from_json(struct bytes json, bool around, struct buf *out, struct err *err)
{
    struct reading r;
    r.max_depth = DOC_MAX_DEPTH + (around ? 1 : 0);
    r.max_bytes = DOC_MAX_BYTES + (around ? DOC_AROUND_BYTES : 0);
    r.p = (struct doc__parser){.base = json.data,
                               .p = json.data,
                               .end = json.data + json.len,
                               .out = out,
                               .out_start = out->len,
                               .text = BUF_INIT,
                               .err = err};
    r.depth = 0;
    if (!read_all(&r)) {
        ASSERT(r.p.st);
        out->len = r.p.out_start;
    }
    buf_deinit(&r.p.text);
    return r.p.st;
}

enum status doc_from_json(struct bytes json, struct buf *out, struct err *err)
{
    return from_json(json, false, out, err);
}

enum status doc_from_json_around(struct bytes json, struct buf *out, struct err *err)
{
    return from_json(json, true, out, err);
}
