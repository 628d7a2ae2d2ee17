/* Durable puts, one by one: 1 thread beside a bare fdatasync loop into a pre-written file, 64
 * threads beside SQLite (WAL, synchronous=FULL) and RocksDB (sync writes). Peers take turns, so
 * that all see the same disk. Usage: bench_put [seconds a round] [rounds] */
#include "bench/bench_peer.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALUE = 100, THREADS = 64, FLOOR_FILE = 64 << 20 };

struct load {
    struct peer *p;
    uint64_t deadline, base;
    _Atomic uint64_t done;
};

static void run(void *arg, unsigned i)
{
    struct load *l = arg;
    struct session *s = peer_session(l->p);
    uint8_t key[BENCH_KEY], value[VALUE];
    uint64_t n = 0;
    bench_value(i, value, sizeof(value));
    while (bench_ns() < l->deadline) {
        bench_key(l->base + (uint64_t)i * 100000000 + n++, key);
        session_put(s, BYTES(key, sizeof(key)), BYTES(value, sizeof(value)));
    }
    atomic_fetch_add(&l->done, n);
    session_close(s);
}

static double puts_a_second(struct peer *p, unsigned threads, uint64_t seconds, uint64_t round)
{
    struct load l = {.p = p, .deadline = bench_ns() + seconds * 1000000000u, .base = round << 40};
    uint64_t ns = bench_threads(threads, run, &l);
    char what[64];
    snprintf(what, sizeof(what), "%s, %u thread%s", peer_name(p), threads, threads == 1 ? "" : "s");
    bench_rate(what, l.done, ns);
    return (double)l.done * 1e9 / (double)ns;
}

/* The floor: writes of the same size, each synced, into a file whose blocks are there already. */
static double floor_a_second(const char *dir, uint64_t seconds)
{
    char path[4096];
    static uint8_t zeros[1 << 20], record[192];
    snprintf(path, sizeof(path), "%s/floor", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    for (int i = 0; fd >= 0 && i < FLOOR_FILE >> 20; i++)
        if (write(fd, zeros, sizeof(zeros)) != sizeof(zeros))
            bench_die("cannot fill %s", path);
    if (fd < 0 || fsync(fd) != 0)
        bench_die("cannot make %s", path);
    memset(record, 7, sizeof(record));
    uint64_t t0 = bench_ns(), deadline = t0 + seconds * 1000000000u, n = 0;
    for (off_t at = 0; bench_ns() < deadline;
         n++, at = (at + (off_t)sizeof(record)) % (FLOOR_FILE - 4096))
        if (pwrite(fd, record, sizeof(record), at) != sizeof(record) || fdatasync(fd) != 0)
            bench_die("cannot write %s", path);
    uint64_t ns = bench_ns() - t0;
    close(fd);
    bench_rate("bare pwrite + fdatasync, 1 thread", n, ns);
    return (double)n * 1e9 / (double)ns;
}

static uint64_t verify(struct peer *p, uint64_t round)
{
    struct session *s = peer_session(p);
    uint8_t key[BENCH_KEY];
    uint64_t sum = 0, found = 0;
    for (uint64_t n = 0; n < 100; n++) {
        bench_key((round << 40) + n, key);
        uint64_t v = session_get(s, BYTES(key, sizeof(key)));
        found += v != 0;
        sum = bench_mix(sum, v);
    }
    session_close(s);
    if (found != 100)
        bench_die("only %lu of the first 100 keys are there", (unsigned long)found);
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t seconds = bench_arg(argc, argv, 1, 3), rounds = bench_arg(argc, argv, 2, 3);
    bench_machine("bench_put: durable puts of 16 B + 100 B, sync=always");
    char *dirs[] = {bench_scratch("varve"), bench_scratch("rocks"), bench_scratch("sqlite")};
    struct peer_config c = {.sync = PEER_ALWAYS, .cache_bytes = 64u << 20};
    struct peer *v = peer_varve(dirs[0], &c), *r = peer_rocks(dirs[1], &c),
                *q = peer_sqlite(dirs[2], &c);
    double best[5] = {0};
    uint64_t sum = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        double got[5] = {floor_a_second(dirs[0], seconds), puts_a_second(v, 1, seconds, 2 * i + 1),
                         puts_a_second(v, THREADS, seconds, 2 * i + 2),
                         puts_a_second(r, THREADS, seconds, 2 * i + 2),
                         puts_a_second(q, THREADS, seconds, 2 * i + 2)};
        for (int j = 0; j < 5; j++)
            best[j] += got[j] / (double)rounds;
        sum = bench_mix(sum, verify(v, 2 * i + 1));
    }
    bench_ratio("1 thread: varve / bare fdatasync", best[1] / best[0], 0.7);
    bench_ratio("64 threads: varve / SQLite", best[2] / best[4], 20);
    bench_ratio("64 threads: varve / RocksDB", best[2] / best[3], 1.2);
    bench_checksum(sum);
    peer_close(v);
    peer_close(r);
    peer_close(q);
    for (int i = 0; i < 3; i++)
        bench_scratch_remove(dirs[i]);
    return 0;
}
