/* doc_patch.c - the difference as a JSON Patch (RFC 6902), with JSON Pointers (RFC 6901).
 *
 * Operations stand in the order in which they apply. In arrays of different length the common
 * beginning and end are left alone; of what lies between, pairs are compared, and then surplus
 * elements removed from the last on or added from the first on, so that no index names an element
 * that an earlier operation moved.
 */
#include "model/doc/doc_internal.h"

#include "base/alloc.h"

struct patch {
    struct buf *out;
    struct buf path;
    bool any;
    struct err *err;
};

static enum status failed(struct patch *d, enum status st)
{
    return err_set(d->err, st, "writing a difference");
}

/* `value` is NULL for remove. */
static enum status emit(struct patch *d, const char *op, const struct doc__el *value)
{
    enum status st = buf_printf(d->out, "%s{\"op\":\"%s\",\"path\":", d->any ? "," : "", op);
    d->any = true;
    if (!st)
        st = doc__print_string(d->out, buf_bytes(&d->path));
    if (!st && value)
        st = buf_append(d->out, ",\"value\":", 9);
    if (st)
        return failed(d, st);
    if (value) {
        st = doc__print_value(d->out, value->type, value->val, DOC__PRINT_EXACT, d->err);
        if (st)
            return st;
    }
    st = buf_append_u8(d->out, '}');
    return st ? failed(d, st) : ST_OK;
}

static enum status push_name(struct patch *d, struct bytes name)
{
    enum status st = buf_append_u8(&d->path, '/');
    for (size_t i = 0; !st && i < name.len; i++) {
        uint8_t c = name.data[i];
        if (c == '~' || c == '/')
            st = buf_append(&d->path, c == '~' ? "~0" : "~1", 2);
        else
            st = buf_append_u8(&d->path, c);
    }
    return st ? failed(d, st) : ST_OK;
}

static __attribute__((noinline)) enum status push_index(struct patch *d, size_t i)
{
    char text[DOC__NUMBER_MAX];
    return push_name(d, BYTES(text, doc__i64_text((int64_t)i, text)));
}

static enum status patch_documents(struct patch *d, struct bytes a, struct bytes b, int depth);
static enum status patch_arrays(struct patch *d, struct bytes a, struct bytes b, int depth);

/* At d->path. */
static enum status patch_values(struct patch *d, const struct doc__el *a, const struct doc__el *b,
                                int depth)
{
    if (a->type == b->type && bytes_eq(a->val, b->val))
        return ST_OK;
    if (depth >= DOC_MAX_DEPTH && doc__is_container(a->type) && a->type == b->type)
        return err_set(d->err, ST_TOO_LARGE,
                       "document is nested deeper than the limit of %d levels", DOC_MAX_DEPTH);
    if (a->type == DOC__DOCUMENT && b->type == DOC__DOCUMENT)
        return patch_documents(d, a->val, b->val, depth + 1);
    if (a->type == DOC__ARRAY && b->type == DOC__ARRAY)
        return patch_arrays(d, a->val, b->val, depth + 1);
    return doc__value_equal(a, b) ? ST_OK : emit(d, "replace", b);
}

static enum status bad_sides(struct patch *d, enum status st)
{
    return err_set(d->err, st, "comparing two documents");
}

static enum status patch_documents(struct patch *d, struct bytes a, struct bytes b, int depth)
{
    struct doc__sides *s = NULL;
    size_t back = d->path.len;
    int rc = 0;
    enum status st = doc__sides_new(a, b, &s);
    if (st)
        return bad_sides(d, st);
    while (!st && (rc = doc__next(&s->ia, &s->ea)) == 1) {
        bool in_both = doc__find(&s->in_b, s->ea.name, &s->eb);
        st = push_name(d, s->ea.name);
        if (!st)
            st = in_both ? patch_values(d, &s->ea, &s->eb, depth) : emit(d, "remove", NULL);
        d->path.len = back;
    }
    while (!st && rc == 0 && (rc = doc__next(&s->ib, &s->eb)) == 1) {
        rc = 0;
        if (doc__find(&s->in_a, s->eb.name, &s->ea))
            continue;
        st = push_name(d, s->eb.name);
        if (!st)
            st = emit(d, "add", &s->eb);
        d->path.len = back;
    }
    doc__sides_free(s);
    return !st && rc < 0 ? bad_sides(d, ST_INVALID_ARGUMENT) : st;
}

/* --- arrays --- */

/* Where the elements of an array begin. */
struct places {
    struct doc__iter it;
    size_t len;
    uint32_t *at;
};

static __attribute__((noinline)) enum status places_init(struct places *p, struct bytes array)
{
    struct doc__iter it;
    struct doc__el el;
    int rc;
    *p = (struct places){0};
    if (!doc__iter_init(&it, array))
        return ST_INVALID_ARGUMENT;
    p->it = it;
    while ((rc = doc__next(&it, &el)) == 1)
        p->len++;
    if (rc < 0)
        return ST_INVALID_ARGUMENT;
    p->at = mem_alloc(p->len * sizeof(*p->at) + 1);
    if (!p->at)
        return ST_NO_MEMORY;
    it = p->it;
    for (size_t i = 0; i < p->len; i++) {
        p->at[i] = (uint32_t)(it.p - it.base);
        if (doc__next(&it, &el) != 1)
            return ST_INVALID_ARGUMENT;
    }
    return ST_OK;
}

/* On the heap, as doc__sides is. */
struct arrays {
    struct places a, b;
    struct doc__el ea, eb;
};

static bool element(const struct places *p, size_t i, struct doc__el *ret)
{
    struct doc__iter it = p->it;
    it.p = it.base + p->at[i];
    return doc__next(&it, ret) == 1;
}

static __attribute__((noinline)) bool elements_equal(const struct places *a, size_t i,
                                                     const struct places *b, size_t j)
{
    struct doc__el ea, eb;
    return element(a, i, &ea) && element(b, j, &eb) && doc__value_equal(&ea, &eb);
}

/* Elements of the same index, from `from` up to but not including `to`. */
static enum status patch_pairs(struct patch *d, struct arrays *s, size_t from, size_t to, int depth)
{
    size_t back = d->path.len;
    enum status st = ST_OK;
    for (size_t i = from; !st && i < to; i++) {
        if (!element(&s->a, i, &s->ea) || !element(&s->b, i, &s->eb))
            return bad_sides(d, ST_INVALID_ARGUMENT);
        st = push_index(d, i);
        if (!st)
            st = patch_values(d, &s->ea, &s->eb, depth);
        d->path.len = back;
    }
    return st;
}

static enum status remove_down(struct patch *d, size_t end, size_t to)
{
    size_t back = d->path.len;
    enum status st = ST_OK;
    for (size_t i = end; !st && i > to; i--) {
        st = push_index(d, i - 1);
        if (!st)
            st = emit(d, "remove", NULL);
        d->path.len = back;
    }
    return st;
}

static __attribute__((noinline)) enum status add_up(struct patch *d, const struct places *b,
                                                    size_t from, size_t end)
{
    struct doc__el el;
    size_t back = d->path.len;
    enum status st = ST_OK;
    for (size_t i = from; !st && i < end; i++) {
        if (!element(b, i, &el))
            return bad_sides(d, ST_INVALID_ARGUMENT);
        st = push_index(d, i);
        if (!st)
            st = emit(d, "add", &el);
        d->path.len = back;
    }
    return st;
}

static enum status patch_places(struct patch *d, struct arrays *s, int depth)
{
    const struct places *a = &s->a, *b = &s->b;
    size_t least = a->len < b->len ? a->len : b->len, front = 0, tail = 0;
    if (a->len == b->len)
        return patch_pairs(d, s, 0, a->len, depth);
    while (front < least && elements_equal(a, front, b, front))
        front++;
    while (tail < least - front && elements_equal(a, a->len - 1 - tail, b, b->len - 1 - tail))
        tail++;
    enum status st = patch_pairs(d, s, front, least - tail, depth);
    if (!st)
        st = remove_down(d, a->len - tail, least - tail);
    return st ? st : add_up(d, b, least - tail, b->len - tail);
}

static enum status patch_arrays(struct patch *d, struct bytes a, struct bytes b, int depth)
{
    struct arrays *s = mem_zalloc(sizeof(*s));
    if (!s)
        return bad_sides(d, ST_NO_MEMORY);
    enum status st = places_init(&s->a, a);
    if (!st)
        st = places_init(&s->b, b);
    if (st)
        bad_sides(d, st);
    else
        st = patch_places(d, s, depth);
    mem_free(s->a.at);
    mem_free(s->b.at);
    mem_free(s);
    return st;
}

enum status doc__patch(struct bytes a, struct bytes b, struct buf *out, struct err *err)
{
    struct patch d = {.out = out, .err = err};
    enum status st = buf_append_u8(out, '[');
    if (st)
        return failed(&d, st);
    st = patch_documents(&d, a, b, 1);
    if (!st) {
        st = buf_append_u8(out, ']');
        if (st)
            failed(&d, st);
    }
    buf_deinit(&d.path);
    return st;
}
