#include "serve/security/grant.h"

bool grant_glob(struct bytes pattern, struct bytes name)
{
    size_t p = 0, n = 0, star = SIZE_MAX, from = 0;
    while (n < name.len) {
        if (p < pattern.len && pattern.data[p] == '*') {
            star = p++;
            from = n;
            continue;
        }
        size_t escaped = p + 1 < pattern.len && pattern.data[p] == '\\' ? 1 : 0;
        if (p < pattern.len &&
            ((!escaped && pattern.data[p] == '?') || pattern.data[p + escaped] == name.data[n])) {
            p += 1 + escaped;
            n++;
            continue;
        }
        if (star == SIZE_MAX)
            return false;
        p = star + 1; /* the last star takes one byte more */
        n = ++from;
    }
    while (p < pattern.len && pattern.data[p] == '*')
        p++;
    return p == pattern.len;
}

static const struct {
    const char *name;
    enum command_access role;
} roles[] = {{"read", COMMAND_READ}, {"write", COMMAND_WRITE}, {"admin", COMMAND_ADMIN}};

const char *grant_role_name(enum command_access role)
{
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (roles[i].role == role)
            return roles[i].name;
    return "?";
}

static enum status check_pattern(struct bytes p, struct err *err)
{
    if (p.len == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "grant: the pattern is empty; \"*\" is for all");
    if (p.len > GRANT_PATTERN_MAX)
        return err_set(err, ST_TOO_LARGE, "grant: the pattern has %zu bytes, over the limit of %d",
                       p.len, GRANT_PATTERN_MAX);
    for (size_t i = 0; i < p.len; i++)
        if (p.data[i] < 0x20 || p.data[i] == 0x7f || p.data[i] == '/')
            return err_set(err, ST_INVALID_ARGUMENT,
                           "grant: the pattern has a control character or '/' at byte %zu", i);
    return ST_OK;
}

enum status grant_parse(struct bytes text, struct grant *ret, struct err *err)
{
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        size_t n = strlen(roles[i].name);
        if (text.len <= n || memcmp(text.data, roles[i].name, n) != 0 || text.data[n] != ':')
            continue;
        struct grant g = {roles[i].role, BYTES(text.data + n + 1, text.len - n - 1)};
        enum status st = check_pattern(g.pattern, err);
        if (st == ST_OK)
            *ret = g;
        return st;
    }
    return err_set(err, ST_INVALID_ARGUMENT,
                   "grant: \"%.*s\" is not read:, write: or admin: and a pattern of names",
                   (int)(text.len < 100 ? text.len : 100), (const char *)text.data);
}

enum status grants_add(struct grants *g, struct grant grant, struct err *err)
{
    for (size_t i = 0; i < g->n; i++)
        if (bytes_eq(g->at[i].pattern, grant.pattern)) {
            g->at[i] = grant;
            return ST_OK;
        }
    if (g->n == GRANTS_MAX)
        return err_set(err, ST_TOO_LARGE, "grant: there are %d already, which is the limit",
                       GRANTS_MAX);
    g->at[g->n++] = grant;
    return ST_OK;
}

bool grants_remove(struct grants *g, struct bytes pattern)
{
    for (size_t i = 0; i < g->n; i++)
        if (bytes_eq(g->at[i].pattern, pattern)) {
            memmove(&g->at[i], &g->at[i + 1], (--g->n - i) * sizeof g->at[0]);
            return true;
        }
    return false;
}

bool grants_allow(const struct grants *g, enum command_access access, struct bytes name)
{
    for (size_t i = 0; i < g->n; i++) {
        bool fits = name.len ? grant_glob(g->at[i].pattern, name)
                             : bytes_eq(g->at[i].pattern, BYTES_LIT("*"));
        if (g->at[i].role >= access && fits)
            return true;
    }
    return false;
}

enum status grants_encode(struct buf *out, const struct grants *g)
{
    enum status st = buf_append_varint(out, g->n);
    for (size_t i = 0; st == ST_OK && i < g->n; i++) {
        st = buf_append_u8(out, (uint8_t)g->at[i].role);
        if (st == ST_OK)
            st = buf_append_varint(out, g->at[i].pattern.len);
        if (st == ST_OK)
            st = buf_append(out, g->at[i].pattern.data, g->at[i].pattern.len);
    }
    return st;
}

bool grants_decode(struct reader *r, struct grants *ret)
{
    uint64_t n, len;
    uint8_t role;
    struct grants g = {0};
    if (!read_varint(r, &n) || n > GRANTS_MAX)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        struct grant one;
        if (!read_u8(r, &role) || role < COMMAND_READ || role > COMMAND_ADMIN ||
            !read_varint(r, &len) || len > GRANT_PATTERN_MAX ||
            !read_bytes(r, (size_t)len, &one.pattern) || check_pattern(one.pattern, NULL) != ST_OK)
            return false;
        one.role = (enum command_access)role;
        size_t before = g.n;
        if (grants_add(&g, one, NULL) != ST_OK || g.n == before) /* a pattern stands once */
            return false;
    }
    *ret = g;
    return true;
}
