/* doc_diff.c - equality, and the difference as dotted paths.
 *
 * Fields are matched by name, array elements by position. Values that hold no document differ as a
 * whole.
 */
#include "model/doc/doc_internal.h"

#include <math.h>

/* --- equality: a walk with its own stack, which needs no memory to be right --- */

struct pair {
    struct doc__iter a;
    struct doc__finder b; /* of an array only the cursor is used */
    bool array;
};

struct equality {
    size_t depth;
    struct pair pairs[DOC_MAX_DEPTH];
};

static bool count_elements(struct bytes bson, size_t *ret)
{
    struct doc__iter it;
    struct doc__el el;
    int rc;
    *ret = 0;
    if (!doc__iter_init(&it, bson))
        return false;
    while ((rc = doc__next(&it, &el)) == 1)
        ++*ret;
    return rc == 0;
}

/* Of the same size, they are equal when each field of one is in the other, as no name repeats. */
static bool enter(struct equality *e, bool array, struct bytes a, struct bytes b)
{
    size_t na, nb;
    if (e->depth == DOC_MAX_DEPTH || !count_elements(a, &na) || !count_elements(b, &nb) || na != nb)
        return false;
    struct pair *p = &e->pairs[e->depth];
    if (!doc__iter_init(&p->a, a) || !doc__finder_init(&p->b, b))
        return false;
    p->array = array;
    e->depth++;
    return true;
}

static bool decimal_is_nan(const uint8_t *p)
{
    return (p[15] & 0x7c) == 0x7c;
}

/* Bytes decide, but for documents and NaN: 0.0 and -0.0 differ, 1.0 and the integer 1 differ, NaN
 * is NaN. What holds a document is entered, and equal as far as is known. */
static bool compare(struct equality *e, uint8_t type, struct bytes a, struct bytes b)
{
    if (bytes_eq(a, b))
        return true;
    switch (type) {
    case DOC__DOUBLE:
        return isnan(doc__le_double(a.data)) && isnan(doc__le_double(b.data));
    case DOC__DECIMAL128:
        return decimal_is_nan(a.data) && decimal_is_nan(b.data);
    case DOC__DOCUMENT:
    case DOC__ARRAY:
        return enter(e, type == DOC__ARRAY, a, b);
    case DOC__CODEWSCOPE: {
        struct doc__code ca = doc__code_of(a), cb = doc__code_of(b);
        return bytes_eq(ca.code, cb.code) && enter(e, false, ca.scope, cb.scope);
    }
    default:
        return false;
    }
}

static bool finish(struct equality *e, bool equal)
{
    struct doc__el ea, eb;
    while (equal && e->depth > 0) {
        struct pair *p = &e->pairs[e->depth - 1];
        if (doc__next(&p->a, &ea) != 1) { /* it was counted, so this is its end */
            doc__finder_deinit(&p->b);
            e->depth--;
            continue;
        }
        bool found = p->array ? doc__next(&p->b.cursor, &eb) == 1 : doc__find(&p->b, ea.name, &eb);
        equal = found && ea.type == eb.type && compare(e, ea.type, ea.val, eb.val);
    }
    while (e->depth > 0)
        doc__finder_deinit(&e->pairs[--e->depth].b);
    return equal;
}

bool doc__value_equal(const struct doc__el *a, const struct doc__el *b)
{
    struct equality e;
    e.depth = 0;
    return a->type == b->type && finish(&e, compare(&e, a->type, a->val, b->val));
}

bool doc_equal(struct bytes a, struct bytes b)
{
    struct equality e;
    e.depth = 0;
    return finish(&e, enter(&e, false, a, b));
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
static __attribute__((noinline)) bool unnameable_missing(struct bytes a, struct bytes b)
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

/* At d->path. */
static enum status paths_values(struct paths *d, const struct doc__el *a, const struct doc__el *b,
                                int depth)
{
    size_t na, nb;
    if (a->type == b->type && bytes_eq(a->val, b->val))
        return ST_OK;
    if (depth >= DOC_MAX_DEPTH && doc__is_container(a->type) && a->type == b->type)
        return err_set(d->err, ST_TOO_LARGE,
                       "document is nested deeper than the limit of %d levels", DOC_MAX_DEPTH);
    if (a->type == DOC__DOCUMENT && b->type == DOC__DOCUMENT &&
        !unnameable_missing(a->val, b->val) && !unnameable_missing(b->val, a->val))
        return paths_documents(d, a->val, b->val, depth + 1);
    if (a->type == DOC__ARRAY && b->type == DOC__ARRAY && count_elements(a->val, &na) &&
        count_elements(b->val, &nb) && na == nb)
        return paths_arrays(d, a->val, b->val, depth + 1);
    return doc__value_equal(a, b) ? ST_OK : emit_set(d, b->type, b->val);
}

static __attribute__((noinline)) enum status push_index(struct paths *d, size_t i, size_t *ret_back)
{
    char index[DOC__NUMBER_MAX];
    return push_step(d, BYTES(index, doc__i64_text((int64_t)i, index)), ret_back);
}

static enum status bad_sides(struct paths *d, enum status st)
{
    return err_set(d->err, st, "comparing two documents");
}

static enum status paths_arrays(struct paths *d, struct bytes a, struct bytes b, int depth)
{
    struct doc__sides *s = NULL;
    enum status st = doc__sides_new(a, b, &s);
    if (st)
        return bad_sides(d, st);
    size_t back = d->path.len;
    for (size_t i = 0; !st && doc__next(&s->ia, &s->ea) == 1 && doc__next(&s->ib, &s->eb) == 1;
         i++) {
        st = push_index(d, i, &back);
        if (!st)
            st = paths_values(d, &s->ea, &s->eb, depth);
        d->path.len = back;
    }
    doc__sides_free(s);
    return st;
}

static enum status paths_documents(struct paths *d, struct bytes a, struct bytes b, int depth)
{
    struct doc__sides *s = NULL;
    size_t back = d->path.len;
    int rc = 0;
    enum status st = doc__sides_new(a, b, &s);
    if (st)
        return bad_sides(d, st);
    while (!st && (rc = doc__next(&s->ia, &s->ea)) == 1) {
        bool in_both = doc__find(&s->in_b, s->ea.name, &s->eb);
        if (in_both && !nameable(s->ea.name))
            continue; /* equal, or the whole document would have been set */
        st = push_step(d, s->ea.name, &back);
        if (!st)
            st = in_both ? paths_values(d, &s->ea, &s->eb, depth) : emit_unset(d);
        d->path.len = back;
    }
    while (!st && rc == 0 && (rc = doc__next(&s->ib, &s->eb)) == 1) {
        rc = 0;
        if (doc__find(&s->in_a, s->eb.name, &s->ea))
            continue;
        st = push_step(d, s->eb.name, &back);
        if (!st)
            st = emit_set(d, s->eb.type, s->eb.val);
        d->path.len = back;
    }
    doc__sides_free(s);
    return !st && rc < 0 ? bad_sides(d, ST_INVALID_ARGUMENT) : st;
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
