/* server_internal.h - what the files of the server share.
 *
 * Owns:     as server.h. Never: used beyond this folder.
 * Threads:  the atomics are read on the reactors' threads.
 */
#ifndef VARVE_APPS_SERVER_INTERNAL_H
#define VARVE_APPS_SERVER_INTERNAL_H

#include "apps/server/server.h"
#include "serve/command/command.h"
#include "serve/command/topology.h"
#include "serve/port/port.h"
#include "serve/tls/tls.h"
#include "serve/work/work.h"

struct server_cluster;
struct server_doors;
struct server {
    struct env *env;
    struct settings now; /* what runs; its texts are the caller's */
    struct command_db db;
    struct work *work;
    struct server_cluster *cluster; /* NULL: alone */
    struct server_doors *doors;
    struct tls_context *tls;
    struct reactors *reactors;
    struct port *port;
    struct net_addr listening[SETTINGS_LISTEN_MAX];
    unsigned n_listening;
    char address[NET_ADDR_TEXT]; /* the first */
    _Atomic bool ready;
    _Atomic bool log_access;
    _Atomic uint64_t slow_us; /* 0: none is slow */
};

/* --- server_doors.c --- */
enum status doors__new(struct server *s, struct server_doors **ret, struct err *err);
void doors__handlers(struct server_doors *d, struct port_handlers *ret);
void doors__stop(struct server_doors *d); /* streams without end; takes NULL */
void doors__free(struct server_doors *d); /* takes NULL */

typedef enum status server_certificate_fn(struct tls_context *t, struct err *err);

/* --- server_cluster.c: nothing to do where the node is alone --- */
/* Before the store is opened; cluster__free is due whatever it answers. */
enum status cluster__new(struct server *s, struct err *err);
void cluster__store_options(const struct server *s, struct store_cluster *ret); /* not alone */
enum status cluster__start(struct server *s, struct err *err); /* once all else is ready */
/* Does it with each of the certificates that nodes show each other. */
enum status cluster__certificates(struct server *s, server_certificate_fn *each, struct err *err);
void cluster__hand_over(
    struct server *s);                /* a leader asks another node to lead; says when none does */
void cluster__stop(struct server *s); /* before the store is closed: it hears nothing more */
void cluster__free(struct server *s); /* after */
bool cluster__ready(struct server *s, struct err *err);
void cluster__topology(void *server, struct topology *ret); /* not alone */
enum status cluster__metrics(struct server *s, struct buf *out);

/* --- server_log.c --- */
void server__request_done(void *server, const struct port_done *d);
enum status server__metrics(void *server, struct buf *out);

#endif
