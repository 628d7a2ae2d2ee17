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

enum { VALUE = 100, THREADS = 64, FLOOR_FILE = 64 << 20, TURNS = 10, ROUNDS_MAX = 100 };

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

static double puts_a_second(struct peer *p, unsigned threads, double seconds, uint64_t base)
{
    struct load l = {
        .p = p, .deadline = bench_ns() + (uint64_t)(seconds * 1e9), .base = base << 40};
    uint64_t ns = bench_threads(threads, run, &l);
    if (threads > 1) {
        char what[64];
        snprintf(what, sizeof(what), "%s, %u threads", peer_name(p), threads);
        bench_rate(what, l.done, ns);
    }
    return (double)l.done * 1e9 / (double)ns;
}

/* The floor: writes of the same size, each synced, into a file whose blocks are there already. */
static int floor_open(const char *dir)
{
    char path[4096];
    static const uint8_t zeros[1 << 20];
    snprintf(path, sizeof(path), "%s/floor", dir);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    for (int i = 0; fd >= 0 && i < FLOOR_FILE >> 20; i++)
        if (write(fd, zeros, sizeof(zeros)) != sizeof(zeros))
            bench_die("cannot fill %s", path);
    if (fd < 0 || fsync(fd) != 0)
        bench_die("cannot make %s", path);
    return fd;
}

static double floor_a_second(int fd, double seconds)
{
    static uint8_t record[192];
    static off_t at;
    memset(record, 7, sizeof(record));
    uint64_t t0 = bench_ns(), deadline = t0 + (uint64_t)(seconds * 1e9), n = 0;
    for (; bench_ns() < deadline; n++, at = (at + (off_t)sizeof(record)) % (FLOOR_FILE - 4096))
        if (pwrite(fd, record, sizeof(record), at) != sizeof(record) || fdatasync(fd) != 0)
            bench_die("cannot write the floor's file");
    return (double)n * 1e9 / (double)(bench_ns() - t0);
}

/* The disk's speed moves by half within seconds, so these two take short turns. */
static void one_thread(struct peer *v, int fd, uint64_t seconds, uint64_t round, double *ret_floor,
                       double *ret_varve)
{
    double floors[TURNS], puts[TURNS], each = (double)seconds / TURNS;
    for (uint64_t i = 0; i < TURNS; i++) {
        floors[i] = floor_a_second(fd, each);
        puts[i] = puts_a_second(v, 1, each, round * TURNS + i);
    }
    *ret_floor = bench_median(floors, TURNS);
    *ret_varve = bench_median(puts, TURNS);
    printf("1 thread, medians of %d turns: bare pwrite + fdatasync %.0f/s (%.0f us), varve %.0f/s "
           "(%.0f us)\n",
           TURNS, *ret_floor, 1e6 / *ret_floor, *ret_varve, 1e6 / *ret_varve);
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
    if (rounds > ROUNDS_MAX)
        bench_die("at most %d rounds", ROUNDS_MAX);
    bench_machine("bench_put: durable puts of 16 B + 100 B, sync=always");
    char *dirs[] = {bench_scratch("varve"), bench_scratch("rocks"), bench_scratch("sqlite")};
    struct peer_config c = {.sync = PEER_ALWAYS, .cache_bytes = 64u << 20};
    struct peer *v = peer_varve(dirs[0], &c), *r = peer_rocks(dirs[1], &c),
                *q = peer_sqlite(dirs[2], &c);
    int floor_fd = floor_open(dirs[0]);
    double rates[5][ROUNDS_MAX], mid[5];
    uint64_t sum = 0;
    for (uint64_t i = 0; i < rounds; i++) {
        double got[5];
        one_thread(v, floor_fd, seconds, 2 * i + 1, &got[0], &got[1]);
        got[2] = puts_a_second(v, THREADS, (double)seconds, (2 * i + 2) * TURNS);
        got[3] = puts_a_second(r, THREADS, (double)seconds, (2 * i + 2) * TURNS);
        got[4] = puts_a_second(q, THREADS, (double)seconds, (2 * i + 2) * TURNS);
        for (int j = 0; j < 5; j++)
            rates[j][i] = got[j];
        sum = bench_mix(sum, verify(v, (2 * i + 1) * TURNS));
    }
    for (int j = 0; j < 5; j++)
        mid[j] = bench_median(rates[j], rounds);
    bench_ratio("1 thread: varve / bare fdatasync", mid[1] / mid[0], 0.7);
    bench_ratio("64 threads: varve / SQLite", mid[2] / mid[4], 20);
    bench_ratio("64 threads: varve / RocksDB", mid[2] / mid[3], 1.2);
    bench_checksum(sum);
    close(floor_fd);
    peer_close(v);
    peer_close(r);
    peer_close(q);
    for (int i = 0; i < 3; i++)
        bench_scratch_remove(dirs[i]);
    return 0;
}
