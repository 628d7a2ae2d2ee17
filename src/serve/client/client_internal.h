/* client_internal.h - what the parts of the client share.
 *
 * Threads:  the client's one.
 */
#ifndef VARVE_SERVE_CLIENT_INTERNAL_H
#define VARVE_SERVE_CLIENT_INTERNAL_H

#include "serve/client/client.h"
#include "serve/client/link.h"

enum { CLIENT_ADDRS_MAX = 8, CLIENT_NS_PER_MS = 1000000 };

struct client_server {
    char *text; /* host:port */
    struct tls_context *tls;
};

/* A connection, as long as calls are on it. */
struct client_link {
    struct client_link *next; /* of the retired ones */
    struct client *client;
    struct link *link;
    struct err why; /* once it has closed */
    const struct client_server *server;
};

struct client {
    struct env *env;
    struct loop *loop;
    struct client_options o; /* its texts are not looked at after client_open */
    struct client_server servers[CLIENT_SERVERS_MAX];
    size_t n, at;
    struct buf authorization;
    struct client_link *link, *retired;
    bool met; /* some server has spoken before */
};

/* A call on its way. */
struct client_try {
    struct link_call call; /* first */
    struct client_link *link;
};

bool client__stopped(const struct client *c);
uint64_t client__now_ns(const struct client *c);
/* One round of the loop, at most until `deadline_ns` and at most for CLIENT_SLICE_MS. */
void client__wait(struct client *c, uint64_t deadline_ns);
/* Absolute from a request's; UINT64_MAX: none. */
uint64_t client__deadline_ns(const struct client *c, const struct client_request *q);

/* Makes c->link ready. False: *f says why. */
bool client__connect(struct client *c, uint64_t deadline_ns, struct client_failure *f);
void client__retire(struct client *c); /* the link in use: the next call makes another */
void client__next_server(struct client *c);
void client__free_links(struct client *c);

/* Starts one try; false: *f says why. */
bool client__try(struct client *c, const struct client_request *q, uint64_t deadline_ns,
                 struct client_try *t, struct client_failure *f);
void client__try_end(struct client_try *t);

/* How a try ended whose stream has ended; false: well. */
bool client__failed(struct client_try *t, struct client_failure *f);
void client__timed_out(const struct client_request *q, struct client_failure *f);
void client__cancelled(struct client_failure *f);
enum status client__no_memory(struct client_failure *f);

#endif
