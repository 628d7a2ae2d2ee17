/* target.c - paths and queries.
 *
 * 1. A raw '/' separates, "%2F" is data: paths are split before they are decoded, so a key that has
 *    slashes is never mistaken for a key and a sub-resource.
 * 2. Words of the routes are compared as they came, before decoding. A collection whose name is such a
 *    word, or begins with '=', is written with '=' before it: "/v1/=batch/key". ('=' is left alone by
 *    those who normalise addresses; "%62atch" would not be.) */
#include "serve/http/http_internal.h"

static int hex(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum status http_percent_decode(struct bytes in, struct arena *arena, struct bytes *ret,
                                struct err *err)
{
    if (in.len == 0 || !memchr(in.data, '%', in.len)) {
        *ret = in;
        return ST_OK;
    }
    uint8_t *out = arena_alloc(arena, in.len);
    size_t n = 0;
    if (!out)
        return err_set(err, ST_NO_MEMORY, "no memory for the request");
    for (size_t i = 0; i < in.len; i++) {
        if (in.data[i] != '%') {
            out[n++] = in.data[i];
            continue;
        }
        int high = in.len - i > 2 ? hex(in.data[i + 1]) : -1;
        int low = in.len - i > 2 ? hex(in.data[i + 2]) : -1;
        if (high < 0 || low < 0)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "the percent sign at byte %zu is not followed by two hex digits", i);
        out[n++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *ret = BYTES(out, n);
    return ST_OK;
}

enum status http_percent_encode(struct buf *out, struct bytes b)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < b.len; i++) {
        uint8_t c = b.data[i];
        bool plain = c > 0x20 && c < 0x7f && c != '%' && c != '"' && c != ',' && c != ';';
        st = plain ? buf_append_u8(out, c) : buf_printf(out, "%%%02X", c);
    }
    return st;
}

enum status http_target_parse(struct bytes path, struct arena *arena, struct http_target *ret,
                              struct err *err)
{
    struct http_target t = {0};
    if (path.len == 0 || path.data[0] != '/')
        return err_set(err, ST_INVALID_ARGUMENT, "the path does not begin with '/'");
    /* No part of a target (RFC 9112, 3.2): others on the way cut it off, and it is another key. */
    if (memchr(path.data, '#', path.len))
        return err_set(err, ST_INVALID_ARGUMENT, "path: '#' in a key is written as %%23");
    if (path.len == 1) {
        *ret = t;
        return ST_OK;
    }
    for (size_t from = 1; from <= path.len;) {
        const uint8_t *slash =
            from < path.len ? memchr(path.data + from, '/', path.len - from) : NULL;
        size_t end = slash ? (size_t)(slash - path.data) : path.len;
        if (end == from)
            return err_set(err, ST_NOT_FOUND, "the path has an empty part");
        if (t.n == HTTP_SEGMENTS_MAX)
            return err_set(err, ST_NOT_FOUND,
                           "the path has more parts than any route; write '/' in a key as %%2F");
        struct http_segment *s = &t.at[t.n++];
        s->raw = BYTES(path.data + from, end - from);
        enum status st = http_percent_decode(s->raw, arena, &s->data, err);
        if (st != ST_OK) {
            err_prefix(err, "path");
            return st;
        }
        from = end + 1;
        if (slash && from == path.len) /* a slash at the end */
            return err_set(err, ST_NOT_FOUND, "the path ends with '/'");
    }
    *ret = t;
    return ST_OK;
}

/* ---- routes ---- */

static bool next_part(const char **template, struct bytes *ret)
{
    const char *p = *template;
    if (*p != '/' || !p[1])
        return false;
    const char *end = strchr(p + 1, '/');
    *ret = BYTES(p + 1, end ? (size_t)(end - p - 1) : strlen(p + 1));
    *template = end ? end : p + 1 + ret->len;
    return true;
}

/* What may stand behind "/v1/" other than a collection: the words of the table itself. */
static bool is_reserved(struct bytes raw)
{
    for (size_t i = 0; i < http_route_count; i++) {
        const char *p = http_routes[i].path;
        struct bytes part;
        if (next_part(&p, &part) && bytes_eq(part, BYTES_LIT("v1")) && next_part(&p, &part) &&
            part.data[0] != '{' && bytes_eq(part, raw))
            return true;
    }
    return false;
}

static struct bytes name_of(const struct http_segment *s)
{
    struct bytes b = s->data;
    return b.len > 0 && s->raw.data[0] == '=' ? BYTES(b.data + 1, b.len - 1) : b;
}

bool http_route_matches(const struct http_route *r, const struct http_target *t,
                        struct http_names *ret)
{
    const char *p = r->path;
    struct http_names names = {BYTES_EMPTY, BYTES_EMPTY, BYTES_EMPTY};
    struct bytes part;
    size_t i = 0;
    for (; next_part(&p, &part); i++) {
        if (i >= t->n)
            return false;
        if (bytes_eq(part, BYTES_LIT("{key}"))) {
            names.key = t->at[i].data;
        } else if (bytes_eq(part, BYTES_LIT("{name}"))) {
            names.name = t->at[i].data;
        } else if (bytes_eq(part, BYTES_LIT("{collection}"))) {
            if (i == 1 && is_reserved(t->at[i].raw))
                return false;
            names.collection = i == 1 ? name_of(&t->at[i]) : t->at[i].data;
        } else if (!bytes_eq(part, t->at[i].raw)) {
            return false;
        }
    }
    if (i != t->n)
        return false;
    *ret = names;
    return true;
}

static const char *const methods[] = {"GET", "PUT", "POST", "DELETE"};

const struct http_route *http_route_find(struct bytes method, const struct http_target *t,
                                         struct http_names *ret, unsigned *ret_allow)
{
    unsigned allow = 0;
    for (size_t i = 0; i < http_route_count; i++) {
        const struct http_route *r = &http_routes[i];
        struct http_names names;
        if (!http_route_matches(r, t, &names))
            continue;
        if (bytes_eq(method, BYTES_STR(methods[r->method])) ||
            (r->method == METHOD_GET && bytes_eq(method, BYTES_LIT("HEAD")))) {
            *ret = names;
            return r;
        }
        allow |= 1U << r->method;
    }
    *ret_allow = allow;
    return NULL;
}

/* ---- queries ---- */

const char *http_param_name(enum http_param p)
{
    static const char *const names[] = {
#define X(id, name, schema, text) name,
        HTTP_PARAM_TABLE(X)
#undef X
    };
    return names[p];
}

static enum status one_param(struct bytes pair, uint32_t allowed, struct arena *arena,
                             struct http_query *q, struct err *err)
{
    const uint8_t *eq = memchr(pair.data, '=', pair.len);
    struct bytes name = BYTES(pair.data, eq ? (size_t)(eq - pair.data) : pair.len), value;
    struct bytes raw = eq ? BYTES(eq + 1, pair.len - name.len - 1) : BYTES_EMPTY;
    enum status st = http_percent_decode(name, arena, &name, err);
    if (st == ST_OK)
        st = http_percent_decode(raw, arena, &value, err);
    if (st != ST_OK) {
        err_prefix(err, "query");
        return st;
    }
    for (int i = 0; i < PARAM_COUNT; i++) {
        if (!bytes_eq(name, BYTES_STR(http_param_name((enum http_param)i))) ||
            !((allowed >> i) & 1))
            continue;
        if ((q->set >> i) & 1)
            return err_set(err, ST_INVALID_ARGUMENT, "%s: it is given twice",
                           http_param_name((enum http_param)i));
        q->set |= UINT32_C(1) << i;
        q->value[i] = value;
        return ST_OK;
    }
    return err_set(err, ST_INVALID_ARGUMENT, "query: there is no parameter '%.*s' here",
                   (int)(name.len < 64 ? name.len : 64), (const char *)name.data);
}

enum status http_query_parse(struct bytes query, uint32_t allowed, struct arena *arena,
                             struct http_query *ret, struct err *err)
{
    struct http_query q = {0};
    if (query.len && memchr(query.data, '#', query.len))
        return err_set(err, ST_INVALID_ARGUMENT, "query: '#' is written as %%23");
    for (size_t from = 0; from < query.len;) {
        const uint8_t *amp = memchr(query.data + from, '&', query.len - from);
        size_t end = amp ? (size_t)(amp - query.data) : query.len;
        if (end > from) {
            enum status st =
                one_param(BYTES(query.data + from, end - from), allowed, arena, &q, err);
            if (st != ST_OK)
                return st;
        }
        from = end + 1;
    }
    *ret = q;
    return ST_OK;
}
