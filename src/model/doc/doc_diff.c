/* doc_diff.c - equality, and the difference as dotted paths.
 *
 * Fields are matched by name, array elements by position. Values that hold no document differ as a
 * whole.
 */
#include "model/doc/doc_internal.h"

#include "base/assert.h"

#include <math.h>

/* --- equality --- */

static bool equal_at(uint8_t type, struct bytes a, struct bytes b, int depth);

static bool arrays_equal(struct bytes a, struct bytes b, int depth)
{
    struct doc__iter ia, ib;
    struct doc__el ea, eb;
    if (!doc__iter_init(&ia, a) || !doc__iter_init(&ib, b))
        return false;
    for (;;) {
        int ra = doc__next(&ia, &ea), rb = doc__next(&ib, &eb);
        if (ra != 1 || rb != 1)
            return ra == 0 && rb == 0;
        if (ea.type != eb.type || !equal_at(ea.type, ea.val, eb.val, depth))
            return false;
    }
}

static bool documents_equal(struct bytes a, struct bytes b, int depth)
{
    struct doc__iter ia, ib;
    struct doc__finder in_b;
    struct doc__el ea, eb;
    size_t na = 0, nb = 0;
    int rc;
    if (!doc__iter_init(&ia, a) || !doc__iter_init(&ib, b) || !doc__finder_init(&in_b, b))
        return false;
    bool equal = true;
    while (equal && (rc = doc__next(&ia, &ea)) != 0) {
        equal = rc == 1 && doc__find(&in_b, ea.name, &eb) && ea.type == eb.type &&
                equal_at(ea.type, ea.val, eb.val, depth);
        na++;
    }
    doc__finder_deinit(&in_b);
    if (!equal)
        return false;
    while ((rc = doc__next(&ib, &eb)) == 1)
        nb++;
    return rc == 0 && na == nb; /* no name repeats, so every field of b was found */
}

static bool decimal_is_nan(const uint8_t *p)
{
    return (p[15] & 0x7c) == 0x7c;
}

/* Bytes decide, but for documents and NaN: 0.0 and -0.0 differ, 1.0 and the integer 1 differ, NaN
 * is NaN. */
static bool equal_at(uint8_t type, struct bytes a, struct bytes b, int depth)
{
    if (bytes_eq(a, b))
        return true;
    switch (type) {
    case DOC__DOUBLE:
        return isnan(doc__le_double(a.data)) && isnan(doc__le_double(b.data));
    case DOC__DECIMAL128:
        return decimal_is_nan(a.data) && decimal_is_nan(b.data);
    case DOC__DOCUMENT:
        return depth < DOC_MAX_DEPTH && documents_equal(a, b, depth + 1);
    case DOC__ARRAY:
        return depth < DOC_MAX_DEPTH && arrays_equal(a, b, depth + 1);
    case DOC__CODEWSCOPE: {
        struct doc__code ca = doc__code_of(a), cb = doc__code_of(b);
        return bytes_eq(ca.code, cb.code) && depth < DOC_MAX_DEPTH &&
               documents_equal(ca.scope, cb.scope, depth + 1);
    }
    default:
        return false;
    }
}

bool doc__value_equal(const struct doc__el *a, const struct doc__el *b)
{
    return a->type == b->type && equal_at(a->type, a->val, b->val, 1);
}

bool doc_equal(struct bytes a, struct bytes b)
{
    return documents_equal(a, b, 1);
}

/* --- dotted paths --- */

struct paths {
    struct buf *set;        /* the caller's: {"set":{ and what follows */
    struct buf unset, path; /* names to unset, as JSON; where we are */
    bool any_set, any_unset;
    struct err *err;
};

static bool nameable(struct bytes name)
{
    return name.len > 0 && name.data[0] != '$' && !memchr(name.data, '.', name.len);
}

/* Whether something differs here that a dotted path cannot name. */
static bool unnameable_missing(struct bytes a, struct bytes b)
{
    struct doc__iter ia;
    struct doc__finder in_b;
    struct doc__el ea, eb;
    if (!doc__iter_init(&ia, a) || !doc__finder_init(&in_b, b))
        return true;
    bool missing = false;
    while (!missing && doc__next(&ia, &ea) == 1)
        missing =
            !nameable(ea.name) && !(doc__find(&in_b, ea.name, &eb) && doc__value_equal(&ea, &eb));
    doc__finder_deinit(&in_b);
    return missing;
}

static enum status failed(struct paths *d, enum status st)
{
    return err_set(d->err, st, "writing a difference");
}

static enum status emit_set(struct paths *d, uint8_t type, struct bytes val)
{
    enum status st = d->any_set ? buf_append_u8(d->set, ',') : ST_OK;
    d->any_set = true;
    if (!st)
        st = doc__print_string(d->set, buf_bytes(&d->path));
    if (!st)
        st = buf_append_u8(d->set, ':');
    if (st)
        return failed(d, st);
    return doc__print_value(d->set, type, val, DOC__PRINT_RELAXED, d->err);
}

static enum status emit_unset(struct paths *d)
{
    enum status st = d->any_unset ? buf_append_u8(&d->unset, ',') : ST_OK;
    d->any_unset = true;
    if (!st)
        st = doc__print_string(&d->unset, buf_bytes(&d->path));
    return st ? failed(d, st) : ST_OK;
}

/* Appends a step and returns the length to go back to. */
static enum status push_step(struct paths *d, struct bytes name, size_t *ret_back)
{
    *ret_back = d->path.len;
    enum status st = d->path.len ? buf_append_u8(&d->path, '.') : ST_OK;
    if (!st)
        st = buf_append(&d->path, name.data, name.len);
    return st ? failed(d, st) : ST_OK;
}

static enum status paths_documents(struct paths *d, struct bytes a, struct bytes b, int depth);
static enum status paths_arrays(struct paths *d, struct bytes a, struct bytes b, int depth);

static bool count_elements(struct bytes array, size_t *ret)
{
    struct doc__iter it;
    struct doc__el el;
    int rc;
    *ret = 0;
    if (!doc__iter_init(&it, array))
        return false;
    while ((rc = doc__next(&it, &el)) == 1)
        ++*ret;
    return rc == 0;
}

/* At d->path. */
static enum status paths_values(struct paths *d, const struct doc__el *a, const struct doc__el *b,
                                int depth)
{
    size_t na, nb;
    if (a->type == b->type && bytes_eq(a->val, b->val))
        return ST_OK;
    if (depth >= DOC_MAX_DEPTH && doc__is_container(a->type) && a->type == b->type)
        return err_set(d->err, ST_TOO_LARGE,
                       "document is nested more than %d levels deep (DOC_MAX_DEPTH)",
                       DOC_MAX_DEPTH);
    if (a->type == DOC__DOCUMENT && b->type == DOC__DOCUMENT &&
        !unnameable_missing(a->val, b->val) && !unnameable_missing(b->val, a->val))
        return paths_documents(d, a->val, b->val, depth + 1);
    if (a->type == DOC__ARRAY && b->type == DOC__ARRAY && count_elements(a->val, &na) &&
        count_elements(b->val, &nb) && na == nb)
        return paths_arrays(d, a->val, b->val, depth + 1);
    return doc__value_equal(a, b) ? ST_OK : emit_set(d, b->type, b->val);
}

static enum status paths_arrays(struct paths *d, struct bytes a, struct bytes b, int depth)
{
    struct doc__iter ia, ib;
    struct doc__el ea, eb;
    bool ok = doc__iter_init(&ia, a) && doc__iter_init(&ib, b);
    ASSERT(ok); /* they were counted */
    enum status st = ST_OK;
    for (int64_t i = 0; !st && doc__next(&ia, &ea) == 1 && doc__next(&ib, &eb) == 1; i++) {
        char index[DOC__NUMBER_MAX];
        size_t back;
        st = push_step(d, BYTES(index, doc__i64_text(i, index)), &back);
        if (!st)
            st = paths_values(d, &ea, &eb, depth);
        d->path.len = back;
    }
    return st;
}

static enum status malformed(struct paths *d)
{
    return err_set(d->err, ST_INVALID_ARGUMENT, "malformed document in a difference");
}

static enum status paths_documents(struct paths *d, struct bytes a, struct bytes b, int depth)
{
    struct doc__iter ia, ib;
    struct doc__finder other;
    struct doc__el ea, eb;
    size_t back;
    enum status st = ST_OK;
    int rc = 0;
    if (!doc__iter_init(&ia, a) || !doc__iter_init(&ib, b) || !doc__finder_init(&other, b))
        return malformed(d);
    while (!st && (rc = doc__next(&ia, &ea)) == 1) {
        bool in_both = doc__find(&other, ea.name, &eb);
        if (in_both && !nameable(ea.name))
            continue; /* equal, or the whole document would have been set */
        st = push_step(d, ea.name, &back);
        if (!st)
            st = in_both ? paths_values(d, &ea, &eb, depth) : emit_unset(d);
        d->path.len = back;
    }
    doc__finder_deinit(&other);
    if (st || rc < 0)
        return st ? st : malformed(d);
    if (!doc__finder_init(&other, a))
        return malformed(d);
    while (!st && (rc = doc__next(&ib, &eb)) == 1) {
        if (doc__find(&other, eb.name, &ea))
            continue;
        st = push_step(d, eb.name, &back);
        if (!st)
            st = emit_set(d, eb.type, eb.val);
        d->path.len = back;
    }
    doc__finder_deinit(&other);
    return st || rc == 0 ? st : malformed(d);
}

enum status doc__paths(struct bytes a, struct bytes b, struct buf *out, struct err *err)
{
    struct paths d = {.set = out, .err = err};
    enum status st = buf_append(out, "{\"set\":{", 8);
    if (st)
        return failed(&d, st);
    if (unnameable_missing(a, b) || unnameable_missing(b, a))
        st = emit_set(&d, DOC__DOCUMENT, b); /* under "", the path of the whole document */
    else
        st = paths_documents(&d, a, b, 1);
    if (!st) {
        st = buf_append(out, "},\"unset\":[", 11);
        if (!st)
            st = buf_append(out, buf_bytes(&d.unset).data, d.unset.len);
        if (!st)
            st = buf_append(out, "]}", 2);
        if (st)
            failed(&d, st);
    }
    buf_deinit(&d.unset);
    buf_deinit(&d.path);
    return st;
}

enum status doc_diff(struct bytes a, struct bytes b, enum doc_diff format, struct buf *out,
                     struct err *err)
{
    struct doc__iter it;
    size_t start = out->len;
    if (!doc__iter_init(&it, a) || !doc__iter_init(&it, b))
        return err_set(err, ST_INVALID_ARGUMENT, "bad length or terminator of a document");
    enum status st =
        format == DOC_DIFF_PATHS ? doc__paths(a, b, out, err) : doc__patch(a, b, out, err);
    if (st)
        out->len = start;
    return st;
}
