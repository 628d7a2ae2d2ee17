/* topology.h - which nodes there are, as one of them sees it; for the doors.
 *
 * Owns:     nothing. Promises: a plain value, filled in at once. Never: asks another node.
 * Threads:  any.
 */
#ifndef VARVE_SERVE_COMMAND_TOPOLOGY_H
#define VARVE_SERVE_COMMAND_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TOPOLOGY_NODES_MAX = 16, TOPOLOGY_TEXT_MAX = 128 };

struct topology_node {
    uint64_t id;
    char address[TOPOLOGY_TEXT_MAX];      /* for clients, as the node said; "" not known */
    char peer_address[TOPOLOGY_TEXT_MAX]; /* for other nodes; "" alone */
    char version[32];                     /* of its software; "" not known */
    bool answering;                       /* the node that says all this */
    bool leader;                          /* as far as the answering node knows */
    bool reachable;                       /* from the answering node */
};
struct topology {
    const char *cluster;      /* its name; "" alone */
    uint64_t leader, term;    /* 0: none, or alone */
    uint64_t commit, applied; /* of the answering node's log */
    size_t n;
    struct topology_node nodes[TOPOLOGY_NODES_MAX];
};
struct topology_source {
    void (*look)(void *arg, struct topology *ret); /* NULL: one node, alone */
    void *arg;
};

#endif
