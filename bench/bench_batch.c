/* Batches of 1,000 puts of 16 B + 100 B, sync=off and sync=1s, new keys and then overwriting all of
 * them, beside RocksDB's WriteBatch with its own WAL. For data larger than memory run it in a
 * memory cgroup, with tables that fit into it:
 * tools/in-memory-limit 116M bench_batch 4 16. Each database runs in a process of its own, so that
 * neither has less memory for what the other left behind.
 * Usage: bench_batch [million keys] [MiB of a table] [both|varve|rocksdb] [both|off|1s] */
#include "bench/bench_peer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

struct result {
    double rate[2]; /* new keys, overwriting */
    uint64_t sum;
};

static struct result run(bool ours, const char *dir, const struct peer_config *c, uint64_t keys,
                         const char *sync)
{
    struct peer *p = ours ? peer_varve(dir, c) : peer_rocks(dir, c);
    struct result r;
    char what[64];
    snprintf(what, sizeof(what), "new keys, %s", sync);
    r.rate[0] = load(p, keys, 1, what);
    snprintf(what, sizeof(what), "overwriting, %s", sync);
    r.rate[1] = load(p, keys, 2, what);
    r.sum = sum_of(p, keys);
    peer_close(p);
    return r;
}

static struct result run_apart(bool ours, const struct peer_config *c, uint64_t keys,
                               const char *sync)
{
    char *dir = bench_scratch(ours ? "varve" : "rocks");
    struct result r;
    int ends[2], status;
    fflush(stdout);
    if (pipe(ends) != 0)
        bench_die("cannot make a pipe");
    pid_t child = fork();
    if (child == 0) {
        r = run(ours, dir, c, keys, sync);
        fflush(stdout);
        _exit(write(ends[1], &r, sizeof(r)) == (ssize_t)sizeof(r) ? 0 : 1);
    }
    close(ends[1]);
    if (child < 0 || read(ends[0], &r, sizeof(r)) != (ssize_t)sizeof(r) ||
        waitpid(child, &status, 0) != child || status != 0)
        bench_die("%s did not come to its end", ours ? "varve" : "RocksDB");
    close(ends[0]);
    bench_scratch_remove(dir);
    return r;
}

static bool wanted(int argc, char **argv, int i, const char *name)
{
    return argc <= i || strcmp(argv[i], "both") == 0 || strcmp(argv[i], name) == 0;
}

int main(int argc, char **argv)
{
    static const enum peer_sync modes[] = {PEER_OFF, PEER_INTERVAL};
    static const char *const names[] = {"off", "1s"};
    uint64_t keys = bench_arg(argc, argv, 1, 2) * 1000000, table = bench_arg(argc, argv, 2, 0);
    bench_machine("bench_batch: batches of 1,000 x (16 B + 100 B)");
    printf("keys %lu, %lu MB of keys and values\n", (unsigned long)keys,
           (unsigned long)(keys * 116 / 1000000));
    for (int m = 0; m < 2; m++) {
        struct peer_config c = {.sync = modes[m],
                                .cache_bytes = table ? 16u << 20 : 64u << 20,
                                .cache_shared = true,
                                .table_bytes = table << 20};
        bool ours = wanted(argc, argv, 3, "varve"), rocks = wanted(argc, argv, 3, "rocksdb");
        char sync[16], line[160];
        struct result v = {{0}, 0}, r = {{0}, 0};
        if (!wanted(argc, argv, 4, names[m]))
            continue;
        snprintf(sync, sizeof(sync), "sync=%s", names[m]);
        if (ours)
            v = run_apart(true, &c, keys, sync);
        if (rocks)
            r = run_apart(false, &c, keys, sync);
        for (int j = 0; j < 2 && ours && rocks; j++) {
            snprintf(line, sizeof(line), "%s, %s: varve / RocksDB", j ? "overwriting" : "new keys",
                     sync);
            bench_ratio(line, v.rate[j] / r.rate[j], j ? 0.5 : 0.8);
        }
        if (ours && rocks && v.sum != r.sum)
            bench_die("the two databases do not hold the same");
        bench_checksum(ours ? v.sum : r.sum);
    }
    return 0;
}
