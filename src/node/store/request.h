/* request.h - writes that are done once however often they are sent.
 *
 * An entry whose write has a request id carries one more op: a row of the system's collection of
 * requests, its key the id, its value which request that was. So that the row is there exactly where
 * the write is, on every node and after any crash, and its version is the write's. Whoever leads looks
 * the id up before it proposes.
 * Value: u8 format (1) | u8[16] digest of the request.
 *
 * Owns: nothing. Promises: a decoder takes any bytes. Threads: pure functions.
 */
#ifndef VARVE_NODE_STORE_REQUEST_H
#define VARVE_NODE_STORE_REQUEST_H

#include "node/store/store_internal.h"

/* The id's routing key in `out`. */
struct bytes request_key(struct bytes id, uint8_t out[STORE_ROUTE_BYTES + STORE_REQUEST_ID_MAX]);
enum request_seen {
    REQUEST_NEW,
    REQUEST_DONE,  /* the same request: p->w->version is the version it got */
    REQUEST_OTHER, /* its id, and another request: p->err says so */
    REQUEST_FAILED /* p->err */
};
/* Looks a proposal's id up in what is applied and, of `list`, in what goes before it. */
enum request_seen store__request_seen(struct view *v, struct proposal *list, struct proposal *p,
                                      uint64_t now_ms);

#endif
