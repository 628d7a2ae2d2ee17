/* http_door.h - the database over HTTP: JSON, NDJSON and Server-Sent Events, alike over HTTP/1.1 and
 * HTTP/2.
 *
 * routes.c has the table of routes, from which /openapi.json, 405 with Allow and this dispatch all
 * come. docs/http.md tells it to users.
 *
 * Owns:     nothing beyond one exchange; the door itself belongs to the app.
 * Promises: every failure is one problem+json (RFC 9457) with the request's id; no iterator of the
 *           engine is held while a client is slow (pages); what may block runs on the pool.
 * Never:    frames, sockets, TLS (port/, wire/); who may do what (security/).
 * Threads:  http_door_handle runs on a fiber of a reactor, for many exchanges at once. The door is
 *           read only once made, but for its counters.
 */
#ifndef VARVE_SERVE_HTTP_HTTP_DOOR_H
#define VARVE_SERVE_HTTP_HTTP_DOOR_H

#include "serve/command/command.h"
#include "serve/command/topology.h"
#include "serve/security/security.h"
#include "serve/work/work.h"

struct exchange;
struct http_door;

struct http_door_options {
    const struct command_db *db; /* the caller's, as are gate and work, until http_door_free */
    struct security *gate;
    struct work *work;
    /* Origins that pages of other sites may call from: "https://app.example" exactly, or "*".
     * NULL-terminated; NULL or empty: CORS is off. */
    const char *const *cors_origins;
    /* Nobody is asked who they are, since only this machine reaches the port. So does any page that a
     * browser has open, under a name of its own that is made to mean 127.0.0.1 (DNS rebinding): requests
     * must name localhost or an address. */
    bool of_this_machine;
    uint32_t heartbeat_ms;                     /* of /v1/changes; 0 = 15,000 */
    uint32_t wait_ms;                          /* for a slow reader, call_write; 0 = 60,000 */
    size_t max_body_bytes;                     /* of a request; 0 = 32 MiB */
    uint32_t max_batch;                        /* writes, or keys of a batch get; 0 = 10,000 */
    uint32_t max_streams;                      /* /v1/changes at once; 0 = 1,024. Beyond: 429 */
    bool (*ready)(void *arg, struct err *err); /* of /readyz; NULL: yes. false: `err` says why */
    void *ready_arg;
    struct topology_source topology;
    const char *address; /* host:port that the topology tells; NULL: "" */
    const char *version; /* of the program; NULL: "" */
    /* Appends more metrics (Prometheus text) than the store's. May be NULL. */
    enum status (*metrics)(void *arg, struct buf *out);
    void *metrics_arg;
};

/* NO_MEMORY. The options are copied, what they point to is not. */
enum status http_door_new(const struct http_door_options *o, struct http_door **ret,
                          struct err *err) WARN_UNUSED;
/* Ends the streams of changes; to be called before the reactors are stopped. Any thread. */
void http_door_stop(struct http_door *d);
void http_door_free(struct http_door *d); /* no exchange is at work; takes NULL */
/* Serves one exchange. `arg` is the struct http_door. */
void http_door_handle(struct exchange *x, void *arg);

#endif
