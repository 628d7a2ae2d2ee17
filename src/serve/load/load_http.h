/* load_http.h - load over HTTP/1.1: GET and PUT of raw values, scans as NDJSON.
 *
 * Owns:     nothing; load_http_protocol's argument is a struct load_http of the caller's.
 * Promises: one request at a time on a connection, kept alive.
 * Never:    pipelines; carries batches (their JSON would measure base64 more than the server).
 * Threads:  load_run's.
 */
#ifndef VARVE_SERVE_LOAD_LOAD_HTTP_H
#define VARVE_SERVE_LOAD_LOAD_HTTP_H

#include "serve/load/load_protocol.h"

struct load_http {
    struct bytes host;          /* host:port */
    struct bytes authorization; /* empty: none */
    struct bytes path;          /* "/v1/COLLECTION", encoded (load_http_path) */
    struct bytes query;         /* of writes: "?sync=off", or empty */
};
extern const struct load_protocol load_http_protocol;

enum { LOAD_HTTP_PATH_MAX = 512 };
/* "/v1/" and the collection, percent-encoded, NUL-terminated. INVALID_ARGUMENT: it does not fit. */
enum status load_http_path(const char *collection, char out[LOAD_HTTP_PATH_MAX],
                           struct err *err) WARN_UNUSED;

#endif
