/* bench_server_start.h - servers as processes: Varve, etcd, Redis, each on loopback with its data in a
 * folder of its own on the same disk.
 *
 * Owns:     the process and its folder, until server_stop. Promises: a server that was started answers
 * connections; it ends with the bench, also when that is killed. Never: part of the product; installs
 * anything. Threads: one owner.
 */
#ifndef VARVE_BENCH_SERVER_START_H
#define VARVE_BENCH_SERVER_START_H

#include "base/env/net/net.h"
#include <sys/types.h>

enum server_kind { SERVER_VARVE, SERVER_ETCD, SERVER_REDIS_ALWAYS, SERVER_REDIS_EVERYSEC };
const char *server_name(enum server_kind kind);

struct server {
    enum server_kind kind;
    pid_t pid;
    char *dir;
    struct net_addr addr;
    char text[NET_ADDR_TEXT];
    unsigned node;       /* of a cluster, from 1; 0: alone */
    const char *cluster; /* as the program wants it said */
    char peer[NET_ADDR_TEXT];
};
/* Whether its program is there: $PATH, or beside the bench for Varve. */
bool server_is_there(enum server_kind kind);
void server_start(struct server *s, enum server_kind kind);
/* n of them as one cluster: Varve or etcd. */
enum { SERVERS_MAX = 7 };
void servers_start(struct server *s, unsigned n, enum server_kind kind);
void server_stop(struct server *s);
void server_restart(struct server *s); /* stops it well and starts it on the same data */

uint64_t server_cpu_us(const struct server *s); /* user and system, of all its threads */
double server_rss_mib(const struct server *s);

#endif
