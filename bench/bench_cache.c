/* bench_cache.c - the hot cache alone: bench_cache [keys] [value bytes] [gets] [limit MiB]
 *
 * The keys to ask for are drawn before the clock starts, so that only cache_hash and cache_get are
 * measured. */
#include "base/alloc.h"
#include "base/zipf.h"
#include "bench/bench_util.h"
#include "storage/cache/cache.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS_MAX = 8 };

struct bench {
    struct cache *c;
    uint8_t (*keys)[BENCH_KEY]; /* by thread, `gets` each */
    uint64_t gets, n;
    size_t len;
    struct {
        _Alignas(64) uint64_t sum, hits;
    } of[THREADS_MAX];
};

static uint8_t value[4096];

static bool fill(struct cache *c, struct bytes key, uint64_t version, size_t len)
{
    uint64_t h = cache_hash(key), ticket = cache_begin_fill(c, h);
    struct record rec = {.version = {version, 0}, .kind = RECORD_PUT, .value = BYTES(value, len)};
    cache_fill(c, h, ticket, key, &rec);
    return true;
}

static void gets(void *arg, unsigned thread)
{
    struct bench *b = arg;
    struct buf out = BUF_INIT;
    uint64_t sum = 0, hits = 0;
    for (uint64_t i = 0; i < b->gets; i++) {
        struct bytes key = BYTES(b->keys[thread * b->gets + i], BENCH_KEY);
        struct record rec;
        if (!cache_get(b->c, cache_hash(key), key, &out, &rec))
            continue;
        hits++;
        sum += rec.version.hlc + (rec.value.len ? rec.value.data[rec.value.len - 1] : 0);
    }
    b->of[thread].sum = sum;
    b->of[thread].hits = hits;
    buf_deinit(&out);
}

static void draw(struct bench *b, unsigned threads, const struct zipf *zipf)
{
    for (unsigned t = 0; t < threads; t++) {
        struct zipf z = {0};
        uint64_t s = t + 100;
        if (zipf)
            zipf_fork(zipf, &z, t + 1);
        for (uint64_t i = 0; i < b->gets; i++)
            bench_key(zipf ? zipf_next(&z) : bench_rnd(&s) % b->n, b->keys[t * b->gets + i]);
    }
}

static double run(struct bench *b, const char *what, unsigned threads, uint64_t *sum)
{
    char line[128];
    uint64_t hits = 0, ns = bench_threads(threads, gets, b);
    for (unsigned i = 0; i < threads; i++) {
        hits += b->of[i].hits;
        *sum += b->of[i].sum;
    }
    snprintf(line, sizeof(line), "get, %s, %u thread%s, %.1f %% hits", what, threads,
             threads > 1 ? "s" : "", 100.0 * (double)hits / (double)(b->gets * threads));
    bench_rate(line, b->gets * threads, ns);
    return (double)(b->gets * threads) / (double)ns;
}

static void updates(struct bench *b, const char *what, uint64_t first)
{
    uint8_t key[BENCH_KEY];
    uint64_t t0 = bench_ns(), s = 5;
    for (uint64_t i = 0; i < b->gets; i++) {
        bench_key(first + bench_rnd(&s) % b->n, key);
        struct bytes k = BYTES(key, BENCH_KEY);
        struct record rec = {
            .version = {b->n + i, 0}, .kind = RECORD_PUT, .value = BYTES(value, b->len)};
        cache_update(b->c, cache_hash(k), k, &rec);
    }
    bench_rate(what, b->gets, bench_ns() - t0);
}

/* Gets that fill on a miss, with room for a tenth of the keys. */
static void pressed(struct bench *b, const struct zipf *zipf, size_t limit, uint64_t *sum)
{
    struct cache *c = cache_new(limit);
    struct buf out = BUF_INIT;
    uint64_t hits = 0;
    if (!c)
        bench_die("no memory");
    draw(b, 1, zipf);
    uint64_t t0 = bench_ns();
    for (uint64_t i = 0; i < b->gets; i++) {
        struct bytes key = BYTES(b->keys[i], BENCH_KEY);
        struct record rec;
        if (cache_get(c, cache_hash(key), key, &out, &rec)) {
            hits++;
            *sum += rec.version.hlc;
        } else {
            fill(c, key, i + 1, b->len);
        }
    }
    char line[128];
    snprintf(line, sizeof(line), "get or fill, Zipf, a tenth of the room, %.1f %% hits",
             100.0 * (double)hits / (double)b->gets);
    bench_rate(line, b->gets, bench_ns() - t0);
    buf_deinit(&out);
    cache_free(c);
}

int main(int argc, char **argv)
{
    uint64_t n = bench_arg(argc, argv, 1, 1000000), limit = bench_arg(argc, argv, 4, 300) << 20,
             sum = 0;
    struct bench b = {.n = n,
                      .len = (size_t)bench_arg(argc, argv, 2, 100),
                      .gets = bench_arg(argc, argv, 3, 4000000)};
    if (n < 2 || b.gets == 0 || b.len > sizeof(value))
        bench_die("usage: bench_cache [keys] [value bytes up to 4096] [gets] [limit MiB]");
    bench_machine("bench_cache");
    printf("# %" PRIu64 " keys of 16 B, values of %zu B, limit %" PRIu64 " MiB\n", n, b.len,
           limit >> 20);
    bench_value(1, value, b.len);
    b.keys = malloc(2 * b.gets * BENCH_KEY);
    b.c = cache_new(limit);
    if (!b.keys || !b.c)
        bench_die("no memory");

    uint64_t t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        uint8_t key[BENCH_KEY];
        bench_key(i, key);
        fill(b.c, BYTES(key, BENCH_KEY), i + 1, b.len);
    }
    bench_rate("fill", n, bench_ns() - t0);
    struct cache_stats st;
    cache_stats(b.c, &st);
    printf("%-52s %" PRIu64 " of %" PRIu64 ", %.1f B each, %" PRIu64 " evicted\n", "held",
           st.entries, n, (double)st.bytes / (double)st.entries, st.evictions);

    struct zipf zipf;
    zipf_init(&zipf, n, ZIPF_THETA, 1);
    draw(&b, 2, &zipf);
    run(&b, "Zipf 0.99 (first pass)", 1, &sum);
    double one = run(&b, "Zipf 0.99", 1, &sum), two = run(&b, "Zipf 0.99", 2, &sum);
    bench_ratio("two threads over one", two / one, 1.8);
    bench_ratio("one thread over 4 M/s", one * 1e3 / 4, 1);
    draw(&b, 1, NULL);
    run(&b, "uniform", 1, &sum);
    updates(&b, "update, keys that are cached, uniform", 0);
    updates(&b, "update, keys that are not cached", n);
    pressed(&b, &zipf, (size_t)limit / 10, &sum);
    cache_stats(b.c, &st);
    bench_checksum(sum);
    cache_free(b.c);
    free(b.keys);
    return 0;
}
