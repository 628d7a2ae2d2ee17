/* bench_peer.h - Varve and its peers behind the same few calls, so that a workload is written once.
 *
 * Varve: libvarve as it is installed. RocksDB: its C library with its own WAL. SQLite: WAL mode,
 * one connection a thread, synchronous=FULL, WITHOUT ROWID. Each database lies in a folder of its
 * own that bench_scratch made on the disk that $BENCH_DIR (default: the working directory) names.
 *
 * Owns: the open databases. Never: part of the product. Threads: as each peer allows; sessions
 * belong to one thread.
 */
#ifndef VARVE_BENCH_PEER_H
#define VARVE_BENCH_PEER_H

#include "bench/bench_util.h"
#include "varve/varve.h"
#include <stdbool.h>

enum peer_sync { PEER_ALWAYS, PEER_INTERVAL, PEER_OFF };
struct peer_config {
    enum peer_sync sync;
    size_t
        cache_bytes;   /* block cache of RocksDB; of Varve: hot cache, and another as block cache */
    bool cache_shared; /* of Varve: half of it for each of the two */
    size_t table_bytes; /* write buffer; 0 = 64 MiB of RocksDB, 128 MiB of Varve: their defaults */
    bool read_tuned;    /* tables compacted, bloom filter (on in any case) */
};
struct peer;
struct session;

struct peer *peer_varve(const char *dir, const struct peer_config *c);
struct peer *peer_rocks(const char *dir, const struct peer_config *c);
struct peer *peer_sqlite(const char *dir, const struct peer_config *c); /* durable puts only */
void peer_close(struct peer *p);
const char *peer_name(const struct peer *p);
void peer_settle(struct peer *p);   /* all of it on disk and compacted */
varve *peer_handle(struct peer *p); /* Varve's own; NULL for others */

struct session *peer_session(struct peer *p);
void session_close(struct session *s);
void session_put(struct session *s, struct bytes key, struct bytes value);
/* n puts as one atomic batch: keys[i] of BENCH_KEY bytes, one value for all with its first 8 bytes
 * made different. */
void session_batch(struct session *s, const uint8_t (*keys)[BENCH_KEY], size_t n,
                   struct bytes value);
/* The length of the value and its first bytes mixed, for a checksum; 0: absent. */
uint64_t session_get(struct session *s, struct bytes key);
/* Reads up to n rows from `from` on; returns a mix of keys and lengths, and how many in *ret_n. */
uint64_t session_scan(struct session *s, struct bytes from, size_t n, size_t *ret_n);

static inline uint64_t bench_mix(uint64_t h, uint64_t v)
{
    return (h ^ v) * 0x9e3779b97f4a7c15u;
}

#endif
