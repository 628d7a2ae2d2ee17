/* load_grpc.h - load over gRPC: Varve's KV service, or any whose calls a codec knows.
 *
 * Owns:     nothing; load_grpc_protocol's argument is a struct load_grpc of the caller's.
 * Promises: one HTTP/2 stream a request, as many at once as the server allows; above that requests
 *           wait. Messages are written and read by hand: the client should cost little.
 * Never:    checks more of an answer than its key, its length and its status.
 * Threads:  load_run's.
 */
#ifndef VARVE_SERVE_LOAD_LOAD_GRPC_H
#define VARVE_SERVE_LOAD_LOAD_GRPC_H

#include "base/buf.h"
#include "serve/load/load_protocol.h"

/* Says requests as messages and reads the answers. */
struct load_codec {
    struct bytes (*path)(const struct load_op *op); /* "/package.Service/Method" */
    /* Appends the request's message. NO_MEMORY. */
    enum status (*encode)(const void *arg, const struct load_context *c, const struct load_op *op,
                          struct buf *out);
    /* One message of the answer: adds to *rows and *sum. Answers NULL or a kind of error. */
    const char *(*decode)(const void *arg, const struct load_op *op, struct bytes message,
                          uint64_t *rows, uint64_t *sum);
};

struct load_grpc {
    struct bytes authority;     /* host:port */
    struct bytes authorization; /* "Bearer ..."; empty: none */
    const struct load_codec *codec;
    const void *codec_arg;
};
extern const struct load_protocol load_grpc_protocol;

enum load_sync { LOAD_SYNC_DEFAULT, LOAD_SYNC_ALWAYS, LOAD_SYNC_INTERVAL, LOAD_SYNC_OFF };

/* The codec of varve.v1.KV. */
struct load_varve {
    struct bytes collection;
    enum load_sync sync;
    uint32_t page_rows; /* rows of one message of a scan; 0: the server chooses */
};
extern const struct load_codec load_varve_codec;

#endif
