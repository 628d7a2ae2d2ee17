/* host.c - under which name a request came (RFC 9110, 7.2), and from the page of which site. */
#include "serve/http/http_internal.h"

#include "base/env/net/net.h"

#include <stdio.h>

/* ---- the name ---- */

static bool all_digits(struct bytes b)
{
    for (size_t i = 0; i < b.len; i++)
        if (b.data[i] < '0' || b.data[i] > '9')
            return false;
    return true;
}

/* unreserved, sub-delims and percent-encoded bytes (RFC 3986, 3.2.2). */
static bool is_name(struct bytes b)
{
    return wire_is_of(b, "-._~!$&'()*+,;=%");
}

/* "[::1]". A zone ("%eth0") means nothing but where it was written, and is not sent (RFC 9844). */
static bool is_ip6(struct bytes b)
{
    char text[NET_ADDR_TEXT];
    struct net_addr a;
    if (b.len > sizeof "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]" - 1 ||
        memchr(b.data, '%', b.len))
        return false;
    (void)snprintf(text, sizeof text, "%.*s:0", (int)b.len, (const char *)b.data);
    return net_addr_parse(text, &a, NULL) == ST_OK;
}

bool http_host_parse(struct bytes authority, struct bytes *ret)
{
    const uint8_t *end = authority.len && authority.data[0] == '['
                             ? memchr(authority.data, ']', authority.len)
                             : memchr(authority.data, ':', authority.len);
    bool ip6 = authority.len && authority.data[0] == '[';
    struct bytes host = authority;
    if (ip6 && !end)
        return false;
    if (end)
        host.len = (size_t)(end - authority.data) + ip6;
    struct bytes port = BYTES(authority.data + host.len, authority.len - host.len);
    if (port.len && (port.data[0] != ':' || !all_digits(BYTES(port.data + 1, port.len - 1))))
        return false;
    if (ip6 ? !is_ip6(host) : !is_name(host))
        return false;
    *ret = host;
    return true;
}

/* "localhost", "db.localhost", "localhost." (RFC 6761, 6.3), "127.0.0.1", "[::1]". What has but digits
 * and dots is an address for every browser. */
static bool names_this_machine(struct bytes host)
{
    static const char local[] = "localhost";
    enum { LOCAL = sizeof local - 1 };
    bool number = host.len && host.data[0] != '.';
    if (host.len && host.data[0] == '[')
        return true;
    for (size_t i = 0; i < host.len; i++)
        number = number && (host.data[i] == '.' || (host.data[i] >= '0' && host.data[i] <= '9'));
    if (host.len && host.data[host.len - 1] == '.')
        host.len--;
    if (number || host.len < LOCAL)
        return number;
    size_t before = host.len - LOCAL;
    return wire_eq_nocase(BYTES(host.data + before, LOCAL), BYTES_STR(local)) &&
           (before == 0 || host.data[before - 1] == '.');
}

enum status http_check_host(struct http_call *c)
{
    struct bytes authority = c->x->authority, host, beside;
    if (!http_host_parse(authority, &host))
        return call_refuse(c, 400, "host", "it is no name or address with or without a port");
    if (c->x->req.door == REQUEST_HTTP2 && request_header(&c->x->req, BYTES_LIT("host"), &beside) &&
        !wire_eq_nocase(beside, authority))
        return call_refuse(c, 400, "host", "it is another one than :authority");
    if (!c->door->o.of_this_machine || c->route->verb < 0 || names_this_machine(host))
        return ST_OK;
    return err_set(&c->err, ST_PERMISSION_DENIED,
                   "'%.*s' is not taken for a name of this machine, which alone is served without "
                   "--auth: say localhost or an address, or serve with --insecure",
                   (int)(host.len < 80 ? host.len : 80), (const char *)host.data);
}

/* ---- the site ---- */

/* "https://app.example:8443" is of the host that the request names. Whether a proxy before us speaks TLS
 * is not known here, so the scheme does not count. */
static bool origin_is_ours(const struct http_call *c, struct bytes origin)
{
    const uint8_t *p = memmem(origin.data, origin.len, "://", 3);
    return p && wire_eq_nocase(BYTES(p + 3, origin.len - (size_t)(p + 3 - origin.data)),
                               c->x->authority);
}

enum status http_check_site(struct http_call *c)
{
    struct bytes origin, site;
    bool from_page = request_header(&c->x->req, BYTES_LIT("origin"), &origin);
    if (c->route->method == METHOD_GET || (from_page && http__origin_allowed(c, origin)))
        return ST_OK;
    if (request_header(&c->x->req, BYTES_LIT("sec-fetch-site"), &site)) {
        if (bytes_eq(site, BYTES_LIT("same-origin")) || bytes_eq(site, BYTES_LIT("none")))
            return ST_OK;
    } else if (!from_page || origin_is_ours(c, origin)) {
        return ST_OK;
    }
    return err_set(&c->err, ST_PERMISSION_DENIED,
                   "a page of another site may change nothing unless http.cors lists its origin");
}
