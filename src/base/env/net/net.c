/* Addresses as text. */
#include "base/env/net/net.h"

#include "base/assert.h"
#include "base/env/net/loop_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>

enum { HOST_MAX = 255 };

/* Splits "host:port"; the host without its brackets. */
static enum status split(const char *text, char host[HOST_MAX + 1], bool *ret_brackets,
                         uint16_t *ret_port, struct err *err)
{
    const char *colon = strrchr(text, ':');
    if (!colon)
        return err_set(err, ST_INVALID_ARGUMENT, "address \"%s\": want HOST:PORT", text);
    uint32_t port = 0;
    const char *p = colon + 1;
    for (; *p >= '0' && *p <= '9' && port <= UINT16_MAX; p++)
        port = port * 10 + (uint32_t)(*p - '0');
    if (*p || p == colon + 1 || port > UINT16_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "address \"%s\": the port is a number up to 65535",
                       text);
    size_t len = (size_t)(colon - text);
    *ret_brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (*ret_brackets) {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return err_set(err, ST_INVALID_ARGUMENT,
                       "address \"%s\": an IPv6 host stands in [brackets]", text);
    }
    if (len > HOST_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "address: a host of %zu bytes, at most %d", len,
                       (int)HOST_MAX);
    memcpy(host, text, len);
    host[len] = '\0';
    *ret_port = (uint16_t)port;
    return ST_OK;
}

static bool ip6_of(const char *host, struct net_addr *ret)
{
    char digits[HOST_MAX + 1];
    const char *percent = strchr(host, '%');
    size_t len = percent ? (size_t)(percent - host) : strlen(host);
    memcpy(digits, host, len);
    digits[len] = '\0';
    if (inet_pton(AF_INET6, digits, ret->ip) != 1)
        return false;
    if (percent) {
        uint64_t scope = 0;
        const char *p = percent + 1;
        for (; *p >= '0' && *p <= '9' && scope <= UINT32_MAX; p++)
            scope = scope * 10 + (uint64_t)(*p - '0');
        if (*p || p == percent + 1 || scope > UINT32_MAX)
            return false;
        ret->scope = (uint32_t)scope;
    }
    ret->family = NET_IP6;
    return true;
}

static bool numeric(const char *host, bool brackets, struct net_addr *ret)
{
    if (brackets)
        return ip6_of(host, ret);
    if (!*host || !strcmp(host, "*")) {
        ret->family = NET_IP6; /* "[::]", which also takes IPv4 */
        return true;
    }
    if (inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", ret->ip) != 1)
        return false;
    ret->family = NET_IP4;
    return true;
}

enum status net_addr_parse(const char *text, struct net_addr *ret, struct err *err)
{
    char host[HOST_MAX + 1];
    bool brackets;
    struct net_addr a = {0};
    enum status st = split(text, host, &brackets, &a.port, err);
    if (st)
        return st;
    if (!numeric(host, brackets, &a))
        return err_set(err, ST_INVALID_ARGUMENT, "address \"%s\": the host is no number", text);
    *ret = a;
    return ST_OK;
}

static enum status of_gai(int rc, const char *text, struct err *err)
{
    if (rc == EAI_MEMORY)
        return err_set(err, ST_NO_MEMORY, "address \"%s\": no memory to look it up", text);
    bool absent = rc == EAI_NONAME || rc == EAI_NODATA || rc == EAI_ADDRFAMILY;
    return err_set(err, absent ? ST_NOT_FOUND : ST_IO_ERROR, "address \"%s\": %s", text,
                   gai_strerror(rc));
}

enum status net_resolve(const char *text, struct net_addr *ret, size_t max, size_t *ret_n,
                        struct err *err)
{
    ASSERT(max > 0);
    char host[HOST_MAX + 1];
    bool brackets;
    struct net_addr a = {0};
    enum status st = split(text, host, &brackets, &a.port, err);
    if (st)
        return st;
    if (numeric(host, brackets, &a)) {
        ret[0] = a;
        *ret_n = 1;
        return ST_OK;
    }
    if (brackets)
        return err_set(err, ST_INVALID_ARGUMENT, "address \"%s\": no IPv6 number in brackets",
                       text);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC}, *found = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc != 0)
        return of_gai(rc, text, err);
    size_t n = 0;
    for (const struct addrinfo *i = found; i && n < max; i = i->ai_next) {
        struct net_addr one = {0};
        socket__addr(i->ai_addr, &one);
        one.port = a.port;
        if (one.family != NET_NONE)
            ret[n++] = one;
    }
    freeaddrinfo(found);
    if (n == 0)
        return err_set(err, ST_NOT_FOUND, "address \"%s\": has no IPv4 or IPv6 address", text);
    *ret_n = n;
    return ST_OK;
}

const char *net_addr_text(const struct net_addr *a, char out[NET_ADDR_TEXT])
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (a->family == NET_NONE) {
        snprintf(out, NET_ADDR_TEXT, "unknown");
    } else if (a->family == NET_IP4) {
        inet_ntop(AF_INET, a->ip, ip, sizeof ip);
        snprintf(out, NET_ADDR_TEXT, "%s:%u", ip, (unsigned)a->port);
    } else {
        char scope[16] = "";
        inet_ntop(AF_INET6, a->ip, ip, sizeof ip);
        if (a->scope)
            snprintf(scope, sizeof scope, "%%%u", (unsigned)a->scope);
        snprintf(out, NET_ADDR_TEXT, "[%s%s]:%u", ip, scope, (unsigned)a->port);
    }
    return out;
}

static bool is_mapped(const struct net_addr *a)
{
    static const uint8_t prefix[12] = {[10] = 0xff, [11] = 0xff};
    return a->family == NET_IP6 && !memcmp(a->ip, prefix, sizeof prefix);
}

bool net_addr_is_loopback(const struct net_addr *a)
{
    static const uint8_t one[16] = {[15] = 1};
    if (a->family == NET_IP4)
        return a->ip[0] == 127;
    if (is_mapped(a))
        return a->ip[12] == 127;
    return a->family == NET_IP6 && !memcmp(a->ip, one, sizeof one);
}

bool net_addr_eq(const struct net_addr *a, const struct net_addr *b)
{
    if (a->family != b->family || a->port != b->port || a->scope != b->scope)
        return false;
    return !memcmp(a->ip, b->ip, a->family == NET_IP4 ? 4 : 16);
}
