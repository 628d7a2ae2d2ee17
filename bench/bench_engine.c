/* bench_engine.c - an engine alone: bench_engine [mem|rocks] [folder] [keys] [value bytes] [keys a
 * drain] */
#include "base/env/env.h"
#include "bench/bench_util.h"
#include "storage/engine/engine.h"
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    RANGE = 1,
    VERSIONS = 10000,
    DOCS = 100,
    DOC_VERSIONS = 1000,
    DOC_BYTES = 2048,
    DOC_CHANGE = 20
};

static struct engine *e;
static struct err err;
static uint64_t clock_now = 1 << 20, mark_index;
static uint8_t value[1 << 20];

static void must(enum status st, const char *what)
{
    if (st != ST_OK)
        bench_die("%s: %s: %s", what, status_name(st), err.detail);
}

/* Of this thread alone: what a rate would be on a machine with nothing else to do. */
static uint64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void rate(const char *what, uint64_t ops, uint64_t wall, uint64_t cpu)
{
    bench_rate(what, ops, wall);
    printf("    processor time of the calling thread: %.0f ns each\n",
           (double)cpu / (double)(ops ? ops : 1));
}

static uint64_t drain_cpu; /* of all drains since it was cleared */

static uint64_t drain(struct table *t)
{
    struct engine_mark mark = {.index = ++mark_index, .term = 1, .version = {clock_now, 0}};
    uint64_t t0 = bench_ns(), c0 = cpu_ns();
    must(e->ops->drain(e, RANGE, t, &mark, &err), "drain");
    uint64_t ns = bench_ns() - t0;
    drain_cpu += cpu_ns() - c0;
    table_unref(t);
    return ns;
}

static void put(struct table *t, const void *key, size_t key_len, const void *v, size_t len)
{
    struct record rec = {.version = {++clock_now, 0},
                         .kind = RECORD_PUT,
                         .writer = BYTES_EMPTY,
                         .value = BYTES(v, len)};
    if (table_put(t, BYTES(key, key_len), &rec, NULL) != ST_OK)
        bench_die("no memory");
}

/* Scattered keys 0 .. n-1, `each` to a drain; only the drains are timed. */
static void drains(const char *what, uint64_t n, uint64_t each, size_t len)
{
    uint64_t ns = 0, table_size = 0;
    drain_cpu = 0;
    for (uint64_t i = 0; i < n;) {
        struct table *t = table_new();
        for (uint64_t end = i + each < n ? i + each : n; i < end; i++) {
            uint8_t key[BENCH_KEY];
            bench_key(i, key);
            put(t, key, sizeof(key), value + i % 4096, len);
        }
        table_size = table_bytes(t);
        ns += drain(t);
    }
    printf("table of %.1f MB a drain\n", (double)table_size / 1e6);
    rate(what, n, ns, drain_cpu);
}

static uint64_t sum;

static void gets(struct engine_snapshot *s, const char *what, uint64_t n, uint64_t keys,
                 struct version at, bool absent)
{
    uint64_t rnd = 7, t0 = bench_ns(), c0 = cpu_ns(), found = 0;
    for (uint64_t i = 0; i < n; i++) {
        uint8_t key[BENCH_KEY];
        struct record rec;
        struct engine_pin pin = {0};
        bench_key(bench_rnd(&rnd) % keys + (absent ? keys : 0), key);
        enum status st = e->ops->get(e, s, BYTES(key, sizeof(key)), at, false, &rec, &pin, &err);
        if (st != ST_NOT_FOUND)
            must(st, "get");
        if (st == ST_OK)
            sum += rec.version.hlc + rec.value.len, found++;
        engine_pin_release(&pin);
    }
    rate(what, n, bench_ns() - t0, cpu_ns() - c0);
    if (found != (absent ? 0 : n))
        bench_die("get: %" PRIu64 " of %" PRIu64 " found", found, n);
}

static void scan(struct engine_snapshot *s, const char *what, struct version at, bool reverse)
{
    struct engine_scan q = {.at = at, .reverse = reverse};
    struct engine_iter *it;
    struct engine_row row;
    uint64_t n = 0, t0 = bench_ns(), c0 = cpu_ns();
    int got;
    must(e->ops->scan(e, s, &q, &it, &err), "scan");
    while ((got = engine_iter_next(it, &row, &err)) == 1)
        sum += row.rec.value.len, n++;
    if (got < 0)
        bench_die("scan: %s", err.detail);
    engine_iter_close(it);
    rate(what, n, bench_ns() - t0, cpu_ns() - c0);
}

/* One key with many versions among the others. */
static void long_key(void)
{
    struct table *t = table_new();
    uint64_t first = clock_now, rnd = 3;
    for (uint64_t i = 0; i < VERSIONS; i++)
        put(t, "\0\0\0\2long", 8, value + i % 4096, 100);
    drain(t);
    must(e->ops->compact(e, &err), "compact");
    struct engine_snapshot *s;
    must(e->ops->snapshot(e, &s, &err), "snapshot");
    uint64_t n = 100000, t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        struct record rec;
        struct engine_pin pin = {0};
        struct version at = {first + 1 + bench_rnd(&rnd) % VERSIONS, 0};
        must(e->ops->get(e, s, BYTES("\0\0\0\2long", 8), at, false, &rec, &pin, &err), "get at");
        if (rec.version.hlc != at.hlc)
            bench_die("get at: wrong version");
        engine_pin_release(&pin);
    }
    bench_rate("get_at, one key of 10,000 versions", n, bench_ns() - t0);
    t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        struct record rec;
        struct engine_pin pin = {0};
        must(e->ops->get(e, s, BYTES("\0\0\0\2long", 8), VERSION_MAX, false, &rec, &pin, &err),
             "get");
        sum += rec.version.hlc;
        engine_pin_release(&pin);
    }
    bench_rate("get, the newest of 10,000 versions", n, bench_ns() - t0);
    e->ops->snapshot_release(e, s);
}

static void print_stats(const char *what)
{
    struct engine_stats s;
    e->ops->stats(e, &s);
    printf("%s: live %" PRIu64 " rows %.1f MB, past %" PRIu64 " rows %.1f MB, when %" PRIu64
           " rows %.1f MB, cache %.1f MB, memory %.1f MB, %" PRIu64 " files\n",
           what, s.live_rows, (double)s.live_bytes / 1e6, s.past_rows, (double)s.past_bytes / 1e6,
           s.when_rows, (double)s.when_bytes / 1e6, (double)s.cache_bytes / 1e6,
           (double)s.memory_bytes / 1e6, s.files);
}

/* Documents of random bytes, 20 of them changed from one version to the next. */
static void disk_use(void)
{
    static uint8_t docs[DOCS][DOC_BYTES];
    struct engine_stats before, after;
    uint64_t rnd = 5, ns = 0;
    e->ops->stats(e, &before);
    for (size_t i = 0; i < sizeof(docs); i++)
        docs[i / DOC_BYTES][i % DOC_BYTES] = (uint8_t)bench_rnd(&rnd);
    for (int v = 0; v < DOC_VERSIONS;) {
        struct table *t = table_new();
        for (int end = v + 250; v < end && v < DOC_VERSIONS; v++) {
            for (int d = 0; d < DOCS; d++) {
                char key[16];
                uint8_t *at = &docs[d][bench_rnd(&rnd) % (DOC_BYTES - DOC_CHANGE)];
                for (int i = 0; i < DOC_CHANGE; i++)
                    at[i] = (uint8_t)bench_rnd(&rnd);
                int n = snprintf(key, sizeof(key), "doc%05d", d);
                put(t, key, (size_t)n, docs[d], DOC_BYTES);
            }
        }
        ns += drain(t);
    }
    bench_rate("drain, versions of documents of 2 KiB", (uint64_t)DOCS * DOC_VERSIONS, ns);
    must(e->ops->compact(e, &err), "compact");
    e->ops->stats(e, &after);
    uint64_t used = after.live_bytes + after.past_bytes + after.when_bytes - before.live_bytes -
                    before.past_bytes - before.when_bytes;
    bench_ratio("disk of documents against the sum of versions",
                (double)used / ((double)DOCS * DOC_VERSIONS * DOC_BYTES), 0);
}

static long rss_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    }
    if (f)
        fclose(f);
    return kb;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "rocks";
    char made[] = "/tmp/varve-bench-engine-XXXXXX";
    const char *dir = argc > 2 ? argv[2] : mkdtemp(made);
    uint64_t keys = bench_arg(argc, argv, 3, 1000000), each = bench_arg(argc, argv, 5, 250000);
    size_t len = (size_t)bench_arg(argc, argv, 4, 100);
    struct engine_options options = {.cache_bytes = (size_t)bench_arg(argc, argv, 6, 0) << 20};
    bench_machine("bench_engine");
    if (!dir || len > sizeof(value) / 2)
        bench_die("no folder, or a value above 512 KiB");
    bench_value(1, value, sizeof(value));
    printf("%s in %s, %" PRIu64 " keys of %d B with values of %zu B\n", kind, dir, keys, BENCH_KEY,
           len);
    long rss = rss_kb();
    uint64_t t0 = bench_ns();
    bool mem = strcmp(kind, "mem") == 0;
    must((mem ? engine_mem_open : engine_rocks_open)(env_linux(), dir, &options, &e, &err), "open");
    printf("made in %.1f ms, %ld KiB more resident\n", (double)(bench_ns() - t0) / 1e6,
           rss_kb() - rss);
    e->ops->close(e);
    t0 = bench_ns();
    must((mem ? engine_mem_open : engine_rocks_open)(env_linux(), dir, &options, &e, &err), "open");
    printf("opened in %.1f ms, %ld KiB more resident\n", (double)(bench_ns() - t0) / 1e6,
           rss_kb() - rss);

    drains("drain, new keys", keys, each, len);
    struct version then = {clock_now, 0};
    drains("drain, overwriting", keys, each, len);
    print_stats("before compaction");
    struct engine_snapshot *s;
    must(e->ops->snapshot(e, &s, &err), "snapshot");
    gets(s, "get, before compaction", keys / 4 + 1, keys, VERSION_MAX, false);
    e->ops->snapshot_release(e, s);
    t0 = bench_ns();
    must(e->ops->compact(e, &err), "compact");
    printf("compacted in %.1f s\n", (double)(bench_ns() - t0) / 1e9);
    print_stats("after compaction");
    must(e->ops->snapshot(e, &s, &err), "snapshot");
    gets(s, "get", keys / 2 + 1, keys, VERSION_MAX, false);
    gets(s, "get, absent keys", keys / 2 + 1, keys, VERSION_MAX, true);
    gets(s, "get_at, the older of two", keys / 8 + 1, keys, then, false);
    scan(s, "scan", VERSION_MAX, false);
    scan(s, "scan, reverse", VERSION_MAX, true);
    scan(s, "scan_at, the older of two", then, false);
    e->ops->snapshot_release(e, s);
    long_key();
    disk_use();
    e->ops->close(e);
    bench_checksum(sum);
    if (dir == made)
        nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    return 0;
}
