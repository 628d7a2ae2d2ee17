/* Scans of 1,000 keys from random places among 1 M keys of 16 B + 100 B, beside RocksDB bare;
 * everything cached. Usage: bench_scan [million keys] [scans] */
#include "bench/bench_peer.h"

#include <inttypes.h>
#include <stdio.h>

enum { VALUE = 100, BATCH = 1000, ROWS = 1000, ROUNDS = 7 };

struct side {
    char *dir;
    struct peer *p;
    struct session *s;
    uint64_t sum, rows;
    double rates[ROUNDS];
};

static void load(struct side *side, uint64_t keys)
{
    static uint8_t batch[BATCH][BENCH_KEY];
    uint8_t value[VALUE];
    for (uint64_t n = 0; n < keys; n += BATCH) {
        for (uint64_t j = 0; j < BATCH; j++)
            bench_key(n + j, batch[j]);
        bench_value(n, value, sizeof(value));
        session_batch(side->s, (const uint8_t(*)[BENCH_KEY])batch, BATCH,
                      BYTES(value, sizeof(value)));
    }
    peer_settle(side->p);
}

/* One scan through everything, which also brings it into the caches. */
static void warm(struct side *side, uint64_t keys)
{
    static const uint8_t zero[BENCH_KEY] = {0};
    size_t got;
    side->sum = session_scan(side->s, BYTES(zero, 1), keys, &got);
    if (got != keys)
        bench_die("%s: %zu rows of %" PRIu64, peer_name(side->p), got, keys);
}

static void round_of(struct side *side, int round, uint64_t keys, uint64_t scans)
{
    uint8_t key[BENCH_KEY];
    uint64_t state = 1 + (uint64_t)round, rows = 0, t0 = bench_ns();
    for (uint64_t n = 0; n < scans; n++) {
        size_t got;
        bench_key(bench_rnd(&state) % keys, key);
        side->sum += session_scan(side->s, BYTES(key, sizeof(key)), ROWS, &got);
        rows += got;
    }
    side->rates[round] = (double)rows * 1e9 / (double)(bench_ns() - t0);
    side->rows += rows;
}

int main(int argc, char **argv)
{
    uint64_t keys = bench_arg(argc, argv, 1, 1) * 1000000, scans = bench_arg(argc, argv, 2, 2000);
    bench_machine("bench_scan: scans of 1,000 rows of 16 B + 100 B");
    struct peer_config c = {.sync = PEER_OFF, .cache_bytes = 512u << 20};
    struct side sides[2] = {{.dir = bench_scratch("varve")}, {.dir = bench_scratch("rocks")}};
    for (int i = 0; i < 2; i++) {
        struct side *side = &sides[i];
        side->p = i ? peer_rocks(side->dir, &c) : peer_varve(side->dir, &c);
        side->s = peer_session(side->p);
        load(side, keys);
        warm(side, keys);
    }
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < 2; i++)
            round_of(&sides[i], round, keys, scans);
    double rate[2];
    for (int i = 0; i < 2; i++) {
        rate[i] = bench_median(sides[i].rates, ROUNDS);
        printf("%-8s median of %d rounds in turn: %.3f M rows/s, %.0f ns each (%" PRIu64
               " rows read)\n",
               peer_name(sides[i].p), ROUNDS, rate[i] / 1e6, 1e9 / rate[i], sides[i].rows);
    }
    bench_ratio("varve / RocksDB", rate[0] / rate[1], 0.7);
    if (sides[0].sum != sides[1].sum || sides[0].rows != sides[1].rows)
        bench_die("the two databases do not answer the same");
    bench_checksum(sides[0].sum);
    for (int i = 0; i < 2; i++) {
        session_close(sides[i].s);
        peer_close(sides[i].p);
        bench_scratch_remove(sides[i].dir);
    }
    return 0;
}
