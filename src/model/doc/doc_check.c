/* doc_check.c - the gate through which BSON from outside passes. */
#include "model/doc/doc_internal.h"

#include "base/assert.h"

#include <stdio.h>

struct level {
    struct doc__iter it;
    struct doc__el el; /* where we are in it, for the path of an error */
    struct bytes bson;
    size_t count;
    bool array; /* names in an array carry no meaning: only the order counts */
};

struct check {
    const uint8_t *base;
    size_t depth;
    struct err *err;
    struct level levels[DOC_MAX_DEPTH];
};

/* Dotted names from the outside in, as far as they are text; long ones are cut. */
static void path_text(const struct check *c, size_t depth, char *out, size_t size)
{
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < depth && n < size; i++) {
        const struct doc__el *el = &c->levels[i].el;
        if (!el->name.data || !doc__utf8_ok(el->name))
            break;
        int len = el->name.len > 64 ? 64 : (int)el->name.len;
        while (len > 0 && (size_t)len < el->name.len && (el->name.data[len] & 0xc0) == 0x80)
            len--; /* do not cut inside a character */
        int rc = snprintf(out + n, size - n, "%s%.*s%s", i ? "." : "", len,
                          (const char *)el->name.data, (size_t)len < el->name.len ? "..." : "");
        if (rc < 0)
            break;
        n += (size_t)rc;
    }
}

static enum status refuse(const struct check *c, const uint8_t *at, size_t named, const char *why)
{
    char path[DOC__PATH_SHOWN];
    path_text(c, named, path, sizeof(path));
    return err_set(c->err, ST_INVALID_ARGUMENT, "%s at byte %zu%s%s%s", why, (size_t)(at - c->base),
                   path[0] ? ", field \"" : "", path, path[0] ? "\"" : "");
}

static enum status enter(struct check *c, struct bytes bson, bool array)
{
    if (c->depth == DOC_MAX_DEPTH) {
        char path[DOC__PATH_SHOWN];
        path_text(c, c->depth, path, sizeof(path));
        return err_set(c->err, ST_TOO_LARGE,
                       "document is nested deeper than the limit of %d levels at byte %zu, "
                       "field \"%s\"",
                       DOC_MAX_DEPTH, (size_t)(bson.data - c->base), path);
    }
    struct level *l = &c->levels[c->depth];
    if (!doc__iter_init(&l->it, bson))
        return refuse(c, bson.data, c->depth, "bad length or terminator of a document");
    l->el = (struct doc__el){0};
    l->bson = bson;
    l->count = 0;
    l->array = array;
    c->depth++;
    return ST_OK;
}

static enum status leave(struct check *c)
{
    ASSERT(c->depth > 0);
    const struct level *l = &c->levels[--c->depth];
    size_t second;
    struct bytes name;
    if (l->array)
        return ST_OK;
    enum status st = doc__duplicate(l->bson, l->count, &second, &name);
    if (st)
        return err_set(c->err, st, "checking a document of %zu fields", l->count);
    if (second == SIZE_MAX)
        return ST_OK;
    c->levels[c->depth].el.name = name;
    return refuse(c, name.data - 1, c->depth + 1, "duplicate name");
}

/* What the walk itself does not see: text, booleans and what lies inside. */
static enum status check_value(struct check *c, const struct doc__el *el)
{
    const char *why = NULL;
    switch (el->type) {
    case DOC__STRING:
    case DOC__CODE:
    case DOC__SYMBOL:
        if (!doc__utf8_ok(doc__text(el->val)))
            why = "text is not UTF-8";
        break;
    case DOC__DBPOINTER:
        if (!doc__utf8_ok(BYTES(el->val.data + 4, el->val.len - 12 - 5)))
            why = "DBPointer's namespace is not UTF-8";
        break;
    case DOC__REGEX: {
        struct doc__regex re = doc__regex_of(el->val);
        if (!doc__utf8_ok(re.pattern) || !doc__utf8_ok(re.options))
            why = "regular expression is not UTF-8";
        break;
    }
    case DOC__BOOL:
        if (el->val.data[0] > 1)
            why = "boolean is neither 0 nor 1";
        break;
    case DOC__DOCUMENT:
    case DOC__ARRAY:
        return enter(c, el->val, el->type == DOC__ARRAY);
    case DOC__CODEWSCOPE: {
        struct doc__code code = doc__code_of(el->val);
        if (doc__utf8_ok(code.code))
            return enter(c, code.scope, false);
        why = "code is not UTF-8";
        break;
    }
    default:
        break;
    }
    return why ? refuse(c, el->val.data, c->depth, why) : ST_OK;
}

enum status doc_check(struct bytes bson, struct err *err)
{
    struct check c;
    c.base = bson.data;
    c.depth = 0;
    c.err = err;
    if (bson.len > DOC_MAX_BYTES)
        return err_set(err, ST_TOO_LARGE, "a document of %zu bytes, over the limit of %d bytes",
                       bson.len, DOC_MAX_BYTES);
    enum status st = enter(&c, bson, false);
    while (!st && c.depth > 0) {
        struct level *l = &c.levels[c.depth - 1];
        const uint8_t *at = l->it.p;
        int rc = doc__next(&l->it, &l->el);
        if (rc < 0) {
            st = refuse(&c, at, c.depth - 1, l->it.why);
        } else if (rc == 0) {
            st = leave(&c);
        } else if (!doc__utf8_ok(l->el.name)) {
            st = refuse(&c, at + 1, c.depth - 1, "name is not UTF-8");
        } else {
            l->count++;
            st = check_value(&c, &l->el);
        }
    }
    return st;
}
