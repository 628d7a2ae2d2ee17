/* Scans of 1,000 keys from random places among 1 M keys of 16 B + 100 B, beside RocksDB bare;
 * everything cached. Usage: bench_scan [million keys] [scans] */
#include "bench/bench_peer.h"

#include <stdio.h>

enum { VALUE = 100, BATCH = 1000, ROWS = 1000 };

int main(int argc, char **argv)
{
    uint64_t keys = bench_arg(argc, argv, 1, 1) * 1000000, scans = bench_arg(argc, argv, 2, 2000);
    bench_machine("bench_scan: scans of 1,000 rows of 16 B + 100 B");
    char *dirs[] = {bench_scratch("varve"), bench_scratch("rocks")};
    struct peer_config c = {.sync = PEER_OFF, .cache_bytes = 512u << 20};
    double rate[2];
    uint64_t sums[2] = {0};
    for (int i = 0; i < 2; i++) {
        struct peer *p = i ? peer_rocks(dirs[i], &c) : peer_varve(dirs[i], &c);
        struct session *s = peer_session(p);
        static uint8_t batch[BATCH][BENCH_KEY];
        uint8_t value[VALUE], key[BENCH_KEY];
        for (uint64_t n = 0; n < keys; n += BATCH) {
            for (uint64_t j = 0; j < BATCH; j++)
                bench_key(n + j, batch[j]);
            bench_value(n, value, sizeof(value));
            session_batch(s, (const uint8_t(*)[BENCH_KEY])batch, BATCH,
                          BYTES(value, sizeof(value)));
        }
        peer_settle(p);
        for (int round = 0; round < 2; round++) { /* the first warms the caches */
            uint64_t state = 1, rows = 0, t0 = bench_ns();
            sums[i] = 0;
            for (uint64_t n = 0; n < scans; n++) {
                size_t got;
                bench_key(bench_rnd(&state) % keys, key);
                sums[i] += session_scan(s, BYTES(key, sizeof(key)), ROWS, &got);
                rows += got;
            }
            uint64_t ns = bench_ns() - t0;
            char what[64];
            snprintf(what, sizeof(what), "%s, rows%s", peer_name(p), round ? "" : " (warming)");
            bench_rate(what, rows, ns);
            rate[i] = (double)rows * 1e9 / (double)ns;
        }
        session_close(s);
        peer_close(p);
    }
    bench_ratio("varve / RocksDB", rate[0] / rate[1], 0.7);
    if (sums[0] != sums[1])
        bench_die("the two databases do not answer the same");
    bench_checksum(sums[0]);
    bench_scratch_remove(dirs[0]);
    bench_scratch_remove(dirs[1]);
    return 0;
}
