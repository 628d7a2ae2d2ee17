/* Batches of 1,000 puts of 16 B + 100 B, sync=off and sync=1s, new keys and then overwriting all of
 * them, beside RocksDB's WriteBatch with its own WAL. For data larger than memory run it in a
 * memory cgroup, with tables that fit into it:
 * tools/in-memory-limit 174M bench_batch 6 24. Usage: bench_batch [million keys] [MiB of a table] */
#include "bench/bench_peer.h"

#include <stdio.h>
#include <stdlib.h>

enum { VALUE = 100, BATCH = 1000 };

static double load(struct peer *p, uint64_t keys, uint64_t salt, const char *what)
{
    struct session *s = peer_session(p);
    static uint8_t batch[BATCH][BENCH_KEY];
    uint8_t value[VALUE];
    uint64_t t0 = bench_ns();
    for (uint64_t n = 0; n < keys; n += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++)
            bench_key((n + i) * 7919 % keys,
                      batch[i]); /* each key once a pass: 7919 does not divide keys */
        bench_value(n ^ salt, value, sizeof(value));
        session_batch(s, (const uint8_t(*)[BENCH_KEY])batch, BATCH, BYTES(value, sizeof(value)));
    }
    uint64_t ns = bench_ns() - t0;
    char line[96];
    snprintf(line, sizeof(line), "%s, %s", peer_name(p), what);
    bench_rate(line, keys, ns);
    session_close(s);
    return (double)keys * 1e9 / (double)ns;
}

static uint64_t sum_of(struct peer *p, uint64_t keys)
{
    struct session *s = peer_session(p);
    uint8_t key[BENCH_KEY];
    uint64_t sum = 0;
    for (uint64_t n = 0; n < 1000; n++) {
        bench_key(n * 7919 % keys, key);
        uint64_t v = session_get(s, BYTES(key, sizeof(key)));
        if (!v)
            bench_die("%s: key %lu is gone", peer_name(p), (unsigned long)n);
        sum = bench_mix(sum, v);
    }
    session_close(s);
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t keys = bench_arg(argc, argv, 1, 2) * 1000000, table = bench_arg(argc, argv, 2, 0);
    bench_machine("bench_batch: batches of 1,000 x (16 B + 100 B)");
    printf("keys %lu, %lu MB of keys and values\n", (unsigned long)keys,
           (unsigned long)(keys * 116 / 1000000));
    const enum peer_sync modes[] = {PEER_OFF, PEER_INTERVAL};
    const char *const names[] = {"sync=off", "sync=1s"};
    for (int m = 0; m < 2; m++) {
        char *dirs[] = {bench_scratch("varve"), bench_scratch("rocks")};
        struct peer_config c = {.sync = modes[m],
                                .cache_bytes = table ? 16u << 20 : 64u << 20,
                                .table_bytes = table << 20};
        char what[2][64], line[160];
        snprintf(what[0], 64, "new keys, %s", names[m]);
        snprintf(what[1], 64, "overwriting, %s", names[m]);
        double rate[2][2];
        uint64_t sums[2];
        for (int i = 0; i < 2; i++) {
            struct peer *p = i ? peer_rocks(dirs[i], &c) : peer_varve(dirs[i], &c);
            rate[i][0] = load(p, keys, 1, what[0]);
            rate[i][1] = load(p, keys, 2, what[1]);
            sums[i] = sum_of(p, keys);
            peer_close(p);
        }
        for (int j = 0; j < 2; j++) {
            snprintf(line, sizeof(line), "%s: varve / RocksDB", what[j]);
            bench_ratio(line, rate[0][j] / rate[1][j], j ? 0.5 : 0.8);
        }
        if (sums[0] != sums[1])
            bench_die("the two databases do not hold the same");
        bench_checksum(sums[0]);
        bench_scratch_remove(dirs[0]);
        bench_scratch_remove(dirs[1]);
    }
    return 0;
}
