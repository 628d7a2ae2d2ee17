/* bench_server_peers.h - what etcd and Redis are asked, for the load that Varve is put under too.
 *
 * etcd: its KV service over gRPC (Range, Put, Txn), spoken by serve/load's client with the few fields
 * that are needed. Redis: RESP over TCP, as many commands in flight as asked for (its pipelining).
 *
 * Owns:     nothing. Promises: what Varve's own protocols promise: every answer is looked at.
 * Never:    part of the product. Threads: load_run's.
 */
#ifndef VARVE_BENCH_SERVER_PEERS_H
#define VARVE_BENCH_SERVER_PEERS_H

#include "serve/load/load_grpc.h"

struct bench_etcd {
    bool serializable; /* reads need no round with a quorum */
};
extern const struct load_codec bench_etcd_codec;        /* for struct load_grpc */
extern const struct load_protocol bench_redis_protocol; /* no argument */
/* Calls without fields: bench_call says which on this thread ("/varve.v1.Admin/Checkpoint"). */
extern const struct load_codec bench_call_codec;
void bench_call(const struct bytes *path);

enum { BENCH_ETCD_TXN_MAX = 128 }; /* etcd's own limit of operations in a transaction */

#endif
