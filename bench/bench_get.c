/* Gets of 1 M keys of 16 B + 100 B by Zipf 0.99: all cached (1 and 2 threads), a cache of 10 % of
 * the data, missing keys, beside RocksDB reading from its block cache (cold gets: bench_cold).
 * Usage: bench_get [cached|tenth|missing|all] [million keys] [million gets] */
#include "base/zipf.h"
#include "bench/bench_peer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE = 100, BATCH = 1000, DRAWN = 1 << 22, ROUNDS = 7 };

static void fill(struct peer *p, uint64_t keys)
{
    struct session *s = peer_session(p);
    static uint8_t batch[BATCH][BENCH_KEY];
    uint8_t value[VALUE];
    for (uint64_t n = 0; n < keys; n += BATCH) {
        for (uint64_t i = 0; i < BATCH; i++)
            bench_key(n + i, batch[i]);
        bench_value(n, value, sizeof(value));
        session_batch(s, (const uint8_t(*)[BENCH_KEY])batch, BATCH, BYTES(value, sizeof(value)));
    }
    session_close(s);
    peer_settle(p);
}

enum how { ZIPF, UNIFORM, MISSING };
struct load {
    struct peer *p;
    uint64_t gets;
    uint32_t *drawn[2]; /* numbers of keys, for each thread */
    _Atomic uint64_t sum, absent;
};

/* Drawn ahead: one draw from Zipf's law costs a third of a cached get. */
static void draw(struct load *l, const struct zipf *from, uint64_t keys, enum how how,
                 unsigned threads)
{
    for (unsigned i = 0; i < threads; i++) {
        struct zipf z;
        uint64_t state = i + 1;
        l->drawn[i] = malloc(DRAWN * sizeof(uint32_t));
        if (!l->drawn[i])
            bench_die("no memory");
        zipf_fork(from, &z, i + 1);
        for (uint64_t n = 0; n < DRAWN; n++) {
            uint64_t k = how == ZIPF ? zipf_next(&z) : bench_rnd(&state) % keys;
            l->drawn[i][n] = (uint32_t)(how == MISSING ? k + keys * 10 : k);
        }
    }
}

static void run(void *arg, unsigned i)
{
    struct load *l = arg;
    struct session *s = peer_session(l->p);
    uint8_t key[BENCH_KEY];
    uint64_t sum = 0, absent = 0;
    for (uint64_t n = 0; n < l->gets; n++) {
        bench_key(l->drawn[i][n % DRAWN], key);
        uint64_t v = session_get(s, BYTES(key, sizeof(key)));
        absent += v == 0;
        sum += v;
    }
    atomic_fetch_add(&l->sum, sum);
    atomic_fetch_add(&l->absent, absent);
    session_close(s);
}

static double measure(struct peer *p, const struct zipf *z, uint64_t keys, uint64_t gets,
                      enum how how, unsigned threads, uint64_t *ret_sum)
{
    struct load l = {.p = p, .gets = gets};
    draw(&l, z, keys, how, threads);
    uint64_t ns = bench_threads(threads, run, &l);
    for (unsigned i = 0; i < threads; i++)
        free(l.drawn[i]);
    if (l.absent != (how == MISSING ? gets * threads : 0))
        bench_die("%lu gets found nothing", (unsigned long)l.absent);
    *ret_sum = l.sum;
    return (double)(gets * threads) * 1e9 / (double)ns;
}

/* Rounds in turn, and medians: this machine's speed wanders by tens of percent from second to
 * second. */
static void compare(const char *title, uint64_t keys, uint64_t gets, size_t cache, enum how how,
                    double goal)
{
    char *dirs[] = {bench_scratch("varve"), bench_scratch("rocks")};
    struct peer_config c = {.sync = PEER_OFF, .cache_bytes = cache};
    struct zipf z;
    struct peer *p[2] = {NULL, NULL};
    double one[2][ROUNDS], two[2][ROUNDS];
    uint64_t sums[2], warm;
    printf("\n%s (cache %zu MiB)\n", title, cache >> 20);
    zipf_init(&z, keys, ZIPF_THETA, 1);
    for (int i = 0; i < 2; i++) {
        p[i] = i ? peer_rocks(dirs[i], &c) : peer_varve(dirs[i], &c);
        fill(p[i], keys);
        (void)measure(p[i], &z, keys, gets, how, 1, &warm); /* warms caches; not counted */
    }
    for (int r = 0; r < ROUNDS; r++) {
        for (int i = 0; i < 2; i++)
            one[i][r] = measure(p[i], &z, keys, gets / ROUNDS, how, 1, &sums[i]);
        for (int i = 0; i < 2; i++)
            two[i][r] = measure(p[i], &z, keys, gets / ROUNDS, how, 2, &warm);
    }
    peer_close(p[0]);
    peer_close(p[1]);
    double ratio[2] = {bench_median(one[0], ROUNDS), bench_median(one[1], ROUNDS)};
    printf("median of %d rounds in turn, M/s: varve %.3f and with 2 threads %.3f, RocksDB %.3f and "
           "%.3f\n",
           ROUNDS, ratio[0] / 1e6, bench_median(two[0], ROUNDS) / 1e6, ratio[1] / 1e6,
           bench_median(two[1], ROUNDS) / 1e6);
    bench_ratio("1 thread: varve / RocksDB", ratio[0] / ratio[1], goal);
    bench_ratio("varve: 2 threads / 1 thread", bench_median(two[0], ROUNDS) / ratio[0],
                how == ZIPF && goal >= 3 ? 1.7 : 0);
    if (sums[0] != sums[1])
        bench_die("the two databases do not answer the same");
    bench_checksum(sums[0]);
    bench_scratch_remove(dirs[0]);
    bench_scratch_remove(dirs[1]);
}

int main(int argc, char **argv)
{
    const char *which = argc > 1 ? argv[1] : "all";
    uint64_t keys = bench_arg(argc, argv, 2, 1) * 1000000,
             gets = bench_arg(argc, argv, 3, 4) * 1000000;
    bool all = strcmp(which, "all") == 0;
    bench_machine("bench_get: gets of 16 B + 100 B");
    size_t data = (size_t)keys * 116;
    if (all || !strcmp(which, "cached"))
        compare("all cached, Zipf 0.99", keys, gets, data * 4, ZIPF, 3);
    if (all || !strcmp(which, "tenth"))
        compare("a cache of 10 % of the data, Zipf 0.99", keys, gets / 4, data / 10, ZIPF, 0);
    if (all || !strcmp(which, "missing"))
        compare("missing keys", keys, gets / 4, data * 4, MISSING, 0.8);
    if (!all && strcmp(which, "cached") && strcmp(which, "tenth") && strcmp(which, "missing"))
        bench_die("%s: give cached, tenth, missing or all (cold gets are bench_cold)", which);
    return 0;
}
