/* settings_cluster.c - who belongs to the cluster, and whether that may be. */
#include "apps/server/settings_internal.h"

#include <inttypes.h>

static enum status bad(const char *one, size_t len, const char *what, struct err *err)
{
    return err_set(err, ST_INVALID_ARGUMENT, "cluster.nodes: '%.*s' %s", (int)(len < 80 ? len : 80),
                   one, what);
}

/* "2@10.0.0.2:7879" */
static enum status parse_node(const char *one, size_t len, struct settings_node *ret,
                              struct err *err)
{
    char addr[NET_ADDR_TEXT];
    uint64_t id = 0;
    size_t at = 0;
    for (; at < len && one[at] >= '0' && one[at] <= '9' && at < 19; at++)
        id = id * 10 + (uint64_t)(one[at] - '0');
    if (at == len || one[at] != '@' || id == 0)
        return bad(one, len, "does not begin with an id from 1 on and @", err);
    size_t rest = len - at - 1;
    if (rest >= sizeof addr)
        return bad(one, len, "is too long", err);
    memcpy(addr, one + at + 1, rest);
    addr[rest] = '\0';
    enum status st = net_addr_parse(addr, &ret->addr, err);
    if (st)
        err_prefix(err, "cluster.nodes: node %" PRIu64 " (names of hosts are not looked up)", id);
    else if (ret->addr.port == 0)
        st = bad(one, len, "has no port", err);
    ret->id = id;
    return st;
}

static enum status check_new(const struct settings_node *nodes, size_t n, struct err *err)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (nodes[i].id == nodes[n - 1].id)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "cluster.nodes: node %" PRIu64 " is there twice", nodes[i].id);
        if (net_addr_eq(&nodes[i].addr, &nodes[n - 1].addr))
            return err_set(err, ST_INVALID_ARGUMENT,
                           "cluster.nodes: nodes %" PRIu64 " and %" PRIu64 " have one address",
                           nodes[i].id, nodes[n - 1].id);
    }
    return ST_OK;
}

enum status settings_nodes(const struct settings *s, struct settings_node ret[SETTINGS_NODES_MAX],
                           size_t *ret_n, struct err *err)
{
    struct settings_node nodes[SETTINGS_NODES_MAX];
    size_t n = 0;
    bool own = false;
    for (const char *p = s->nodes; *p;) {
        size_t len = strcspn(p, ",");
        if (n == SETTINGS_NODES_MAX)
            return err_set(err, ST_INVALID_ARGUMENT, "cluster.nodes: over %d nodes",
                           (int)SETTINGS_NODES_MAX);
        enum status st = parse_node(p, len, &nodes[n], err);
        if (!st)
            st = check_new(nodes, ++n, err);
        if (st)
            return st;
        own = own || nodes[n - 1].id == s->node_id;
        p += len + (p[len] == ',');
    }
    if (n && !own)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "cluster.node_id: %" PRIu64 " is not among cluster.nodes", s->node_id);
    memcpy(ret, nodes, n * sizeof nodes[0]);
    *ret_n = n;
    return ST_OK;
}

enum status settings_peer_listen(const struct settings *s, struct net_addr *ret, struct err *err)
{
    struct settings_node nodes[SETTINGS_NODES_MAX];
    size_t n;
    if (*s->peer_listen) {
        enum status st = net_addr_parse(s->peer_listen, ret, err);
        if (st)
            err_prefix(err, "cluster.peer_listen");
        return st;
    }
    enum status st = settings_nodes(s, nodes, &n, err);
    if (st)
        return st;
    for (size_t i = 0; i < n; i++)
        if (nodes[i].id == s->node_id)
            *ret = nodes[i].addr;
    return ST_OK;
}

static enum status check_safe(const struct settings *s, const struct net_addr *a, struct err *err)
{
    char text[NET_ADDR_TEXT];
    if (s->insecure || *s->peer_cert || net_addr_is_loopback(a))
        return ST_OK;
    return err_set(err, ST_PERMISSION_DENIED,
                   "cluster.nodes: %s lies outside of this machine: give the nodes certificates "
                   "(--cluster-peer-tls-cert, --cluster-peer-tls-key, --cluster-peer-tls-ca), or "
                   "say --insecure",
                   net_addr_text(a, text));
}

static enum status check_times(const struct settings *s, struct err *err)
{
    if (s->heartbeat == 0 || s->election < 2 * s->heartbeat || s->election > 60 * 60 * 1000)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "cluster.election: at least twice cluster.heartbeat, at most an hour");
    if (s->patience == 0 || s->patience > 60 * 60 * 1000)
        return err_set(err, ST_INVALID_ARGUMENT, "cluster.timeout: 1ms to an hour");
    return ST_OK;
}

enum status settings__check_cluster(const struct settings *s, struct err *err)
{
    struct settings_node nodes[SETTINGS_NODES_MAX];
    struct net_addr listen;
    size_t n;
    enum status st = settings_nodes(s, nodes, &n, err);
    if (!st)
        st = check_times(s, err);
    if (st || n == 0)
        return st;
    if (!*s->peer_cert != !*s->peer_key || !*s->peer_cert != !*s->peer_ca)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "cluster: peer_tls_cert, peer_tls_key and peer_tls_ca go together");
    if (n > 1 && s->sync != 0)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "store.sync: the nodes of a cluster answer for what they have said: always");
    st = settings_peer_listen(s, &listen, err);
    if (!st)
        st = check_safe(s, &listen, err);
    for (size_t i = 0; i < n && !st; i++)
        st = check_safe(s, &nodes[i].addr, err);
    return st;
}
