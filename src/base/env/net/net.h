/* net.h - addresses of the network: parsing, printing, names.
 *
 * Owns:     nothing; an address is a plain value.
 * Promises: IPv4 and IPv6; a host and port as people write them, "127.0.0.1:7878", "[::1]:7878",
 *           "localhost:7878", ":7878" and "*:7878" (every address).
 * Never:    asks a name server except in net_resolve.
 * Threads:  pure functions; net_resolve blocks and belongs on the pool.
 */
#ifndef VARVE_BASE_ENV_NET_NET_H
#define VARVE_BASE_ENV_NET_NET_H

#include "base/bytes.h"
#include "base/status.h"

enum net_family { NET_NONE, NET_IP4, NET_IP6 };

struct net_addr {
    enum net_family family;
    uint16_t port;
    uint32_t scope; /* of a link-local IPv6 address, else 0 */
    uint8_t ip[16]; /* network order; IPv4 has the first 4 */
};

enum { NET_ADDR_TEXT = 80 }; /* "[ffff:...%4294967295]:65535" and its NUL */

/* Takes numbers only: "1.2.3.4:80", "[::1]:80", "localhost:80" (127.0.0.1), ":80" and "*:80" (every
 * IPv6 and IPv4 address, "[::]"). Port 0: the system picks one. INVALID_ARGUMENT names the text. */
enum status net_addr_parse(const char *text, struct net_addr *ret, struct err *err) WARN_UNUSED;
/* As above, and names too: appends at most `max` addresses in the system's order of preference;
 * *ret_n is at least 1 on success. INVALID_ARGUMENT: the form; NOT_FOUND: no such name; IO_ERROR:
 * the name server gave no answer; NO_MEMORY. Blocks. */
enum status net_resolve(const char *text, struct net_addr *ret, size_t max, size_t *ret_n,
                        struct err *err) WARN_UNUSED;
/* Writes the form that net_addr_parse takes; returns `out`. */
const char *net_addr_text(const struct net_addr *a, char out[NET_ADDR_TEXT]);
bool net_addr_is_loopback(const struct net_addr *a); /* 127/8, ::1, also mapped into IPv6 */
bool net_addr_eq(const struct net_addr *a, const struct net_addr *b);

#endif
