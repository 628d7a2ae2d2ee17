/* doc_fields.c - single fields as text: keys by dotted path, and CSV. */
#include "model/doc/doc_internal.h"

static const char *type_name(uint8_t type)
{
    static const char *const NAMES[] = {
        [DOC__DOUBLE] = "a double",
        [DOC__STRING] = "a string",
        [DOC__DOCUMENT] = "a document",
        [DOC__ARRAY] = "an array",
        [DOC__BINARY] = "binary",
        [DOC__UNDEFINED] = "undefined",
        [DOC__OID] = "an ObjectId",
        [DOC__BOOL] = "a boolean",
        [DOC__DATE] = "a date",
        [DOC__NULL] = "null",
        [DOC__REGEX] = "a regular expression",
        [DOC__DBPOINTER] = "a DBPointer",
        [DOC__CODE] = "code",
        [DOC__SYMBOL] = "a symbol",
        [DOC__CODEWSCOPE] = "code with scope",
        [DOC__INT32] = "an int32",
        [DOC__TIMESTAMP] = "a timestamp",
        [DOC__INT64] = "an int64",
        [DOC__DECIMAL128] = "a decimal",
    };
    return type < sizeof(NAMES) / sizeof(*NAMES) && NAMES[type] ? NAMES[type] : "MinKey or MaxKey";
}

/* An array's elements are counted, whatever their names are; "01" names none. */
static bool is_index(struct bytes step, size_t i)
{
    char text[DOC__NUMBER_MAX];
    return bytes_eq(step, BYTES(text, doc__i64_text((int64_t)i, text)));
}

/* 1: found; 0: not there; -1: malformed. */
static int find_step(struct bytes bson, bool array, struct bytes step, struct doc__el *ret)
{
    struct doc__iter it;
    int rc;
    if (!doc__iter_init(&it, bson))
        return -1;
    for (size_t i = 0; (rc = doc__next(&it, ret)) == 1; i++) {
        if (array ? is_index(step, i) : bytes_eq(ret->name, step))
            return 1;
    }
    return rc;
}

static int find_path(struct bytes bson, struct bytes path, struct doc__el *ret)
{
    struct doc__el at = {.type = DOC__DOCUMENT, .val = bson};
    for (;;) {
        const uint8_t *dot = path.len ? memchr(path.data, '.', path.len) : NULL;
        struct bytes step = BYTES(path.data, dot ? (size_t)(dot - path.data) : path.len);
        struct doc__el next;
        if (!doc__is_container(at.type))
            return 0;
        int rc = find_step(at.val, at.type == DOC__ARRAY, step, &next);
        if (rc != 1)
            return rc;
        at = next;
        if (!dot)
            break;
        path = BYTES(dot + 1, path.len - step.len - 1);
    }
    *ret = at;
    return 1;
}

enum status doc_key_text(struct bytes bson, struct bytes path, struct buf *out, struct err *err)
{
    int shown = path.len > DOC__PATH_SHOWN ? DOC__PATH_SHOWN : (int)path.len;
    const char *name = path.len ? (const char *)path.data : "";
    char text[DOC__NUMBER_MAX];
    struct doc__el el = {0};
    enum status st;
    int rc = find_step(bson, false, path, &el);
    if (rc == 0)
        rc = find_path(bson, path, &el);
    if (rc < 0)
        return err_set(err, ST_INVALID_ARGUMENT, "malformed document around field \"%.*s\"", shown,
                       name);
    if (rc == 0)
        return err_set(err, ST_NOT_FOUND, "no field \"%.*s\"", shown, name);
    switch (el.type) {
    case DOC__STRING: {
        struct bytes s = doc__text(el.val);
        st = buf_append(out, s.data, s.len);
        break;
    }
    case DOC__INT32:
        st = buf_append(out, text, doc__i64_text((int32_t)doc__le32(el.val.data), text));
        break;
    case DOC__INT64:
        st = buf_append(out, text, doc__i64_text((int64_t)doc__le64(el.val.data), text));
        break;
    case DOC__OID: {
        for (size_t i = 0; i < 12; i++) {
            text[2 * i] = "0123456789abcdef"[el.val.data[i] >> 4];
            text[2 * i + 1] = "0123456789abcdef"[el.val.data[i] & 15];
        }
        st = buf_append(out, text, 24);
        break;
    }
    default:
        return err_set(err, ST_INVALID_ARGUMENT,
                       "field \"%.*s\" is %s; a key is made of a string, an integer or an ObjectId",
                       shown, name, type_name(el.type));
    }
    return st ? err_set(err, st, "key from field \"%.*s\"", shown, name) : ST_OK;
}

static enum status field_text(const struct doc__el *el, struct buf *out, struct err *err)
{
    char text[DOC__DECIMAL_MAX + DOC__NUMBER_MAX];
    const uint8_t *v = el->val.data;
    struct bytes s;
    switch (el->type) {
    case DOC__STRING:
        s = doc__text(el->val);
        break;
    case DOC__DOUBLE:
        s = BYTES(text, doc__double_text(doc__le_double(v), text));
        break;
    case DOC__INT32:
        s = BYTES(text, doc__i64_text((int32_t)doc__le32(v), text));
        break;
    case DOC__INT64:
        s = BYTES(text, doc__i64_text((int64_t)doc__le64(v), text));
        break;
    case DOC__DECIMAL128:
        s = BYTES(text, doc__decimal_text(v, text));
        break;
    case DOC__BOOL:
        s = v[0] ? BYTES_LIT("true") : BYTES_LIT("false");
        break;
    case DOC__NULL:
        return ST_OK;
    default:
        return doc__print_value(out, el->type, el->val, DOC__PRINT_RELAXED, err);
    }
    enum status st = buf_append(out, s.data, s.len);
    return st ? err_set(err, st, "text of a field of %zu bytes", s.len) : ST_OK;
}

int doc_next_field(struct bytes bson, size_t *pos, struct bytes *ret_name, struct buf *ret_text,
                   struct err *err)
{
    struct doc__iter it;
    struct doc__el el = {0};
    if (!doc__iter_init(&it, bson) || (*pos != 0 && (*pos < 4 || *pos >= bson.len)))
        return -(int)err_set(err, ST_INVALID_ARGUMENT, "bad document, or position %zu not of it",
                             *pos);
    if (*pos)
        it.p = it.base + *pos;
    int rc = doc__next(&it, &el);
    if (rc < 0)
        return -(int)err_set(err, ST_INVALID_ARGUMENT, "%s at byte %zu", it.why,
                             (size_t)(it.p - it.base));
    buf_clear(ret_text);
    if (rc == 0)
        return 0;
    enum status st = field_text(&el, ret_text, err);
    if (st) {
        buf_clear(ret_text);
        return -(int)st;
    }
    *ret_name = el.name;
    *pos = (size_t)(it.p - it.base);
    return 1;
}
