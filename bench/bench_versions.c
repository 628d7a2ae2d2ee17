/* What many versions of a key cost: get and scan of the present with 10,000 versions a key against
 * 1 version; get_at into 10,000 versions against a present get, both cold (run `cold` in a memory
 * cgroup or after dropping the page cache; here the database is opened anew with the smallest
 * caches for it). Usage: bench_versions [versions] [keys] */
#include "bench/bench_peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALUE = 100, GETS = 200000, SCANS = 2000, COLD = 2000 };

static void must(varve_status st, const char *what)
{
    if (st != VARVE_OK)
        bench_die("%s: %s: %s", what, varve_status_name(st), varve_last_error());
}

static varve *open_with(const char *dir, size_t cache)
{
    varve_options o = {.size = sizeof(o),
                       .sync = VARVE_SYNC_OFF,
                       .cache_bytes = SIZE_MAX,
                       .block_cache_bytes = cache};
    varve *db;
    must(varve_open(dir, &o, &db), "open");
    return db;
}

/* Every key gets `versions` versions, round by round; *ret_middle is one in the middle of them. */
static void fill(varve *db, uint64_t keys, uint64_t versions, varve_version *ret_middle)
{
    varve_batch *b = varve_batch_new();
    uint8_t key[BENCH_KEY], value[VALUE];
    varve_version v;
    for (uint64_t r = 0; r < versions; r++) {
        varve_batch_clear(b);
        for (uint64_t k = 0; k < keys; k++) {
            bench_key(k, key);
            bench_value(r * keys + k, value, sizeof(value));
            must(varve_batch_put(b, "bench", key, sizeof(key), VARVE_RAW, value, sizeof(value), 0),
                 "batch");
        }
        must(varve_commit(db, b, NULL, &v, NULL), "commit");
        if (r == versions / 2)
            *ret_middle = v;
    }
    varve_batch_free(b);
    must(varve_checkpoint(db), "checkpoint");
    must(varve_compact(db), "compact");
}

static double gets(varve *db, uint64_t keys, uint64_t n, const varve_at *at, const char *what,
                   uint64_t *sum)
{
    varve_value *v = varve_value_new();
    uint8_t key[BENCH_KEY];
    uint64_t state = 7, t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        bench_key(bench_rnd(&state) % keys, key);
        must(varve_get(db, "bench", key, sizeof(key), at, v), "get");
        *sum = bench_mix(*sum, varve_value_version(v).hlc != 0 ? varve_value_bytes(v).len : 0);
    }
    uint64_t ns = bench_ns() - t0;
    bench_rate(what, n, ns);
    varve_value_free(v);
    return (double)ns / (double)n;
}

static double scans(varve *db, uint64_t keys, const char *what, uint64_t *sum)
{
    uint64_t rows = 0, t0 = bench_ns();
    for (uint64_t i = 0; i < SCANS; i++) {
        varve_iter *it;
        int rc;
        must(varve_scan(db, "bench", NULL, &it), "scan");
        while ((rc = varve_iter_next(it)) > 0) {
            rows++;
            *sum = bench_mix(*sum, varve_iter_value(it).len);
        }
        varve_iter_close(it);
    }
    uint64_t ns = bench_ns() - t0;
    if (rows != SCANS * keys)
        bench_die("a scan saw %lu rows, not %lu", (unsigned long)rows,
                  (unsigned long)(SCANS * keys));
    bench_rate(what, rows, ns);
    return (double)ns / (double)rows;
}

/* Asks the system to forget what it has read of the folder's files. */
static void drop_pages(const char *dir)
{
    char *cmd;
    if (asprintf(&cmd,
                 "sync; find '%s' -type f -exec dd of={} oflag=nocache conv=notrunc,fdatasync "
                 "count=0 status=none ';'",
                 dir) < 0 ||
        system(cmd) != 0)
        bench_die("cannot drop the page cache of %s", dir);
    free(cmd);
}

int main(int argc, char **argv)
{
    uint64_t versions = bench_arg(argc, argv, 1, 10000), keys = bench_arg(argc, argv, 2, 100),
             sum = 0;
    bench_machine("bench_versions: 16 B + 100 B");
    printf("%lu keys with 1 version each, then with %lu\n", (unsigned long)keys,
           (unsigned long)versions);
    char *dirs[] = {bench_scratch("one"), bench_scratch("many")};
    varve_version middle[2];
    double get_ns[2], scan_ns[2], cold_ns[2];
    const char *const names[] = {"1 version", "many versions"};
    varve *db[2];
    for (int i = 0; i < 2; i++) {
        db[i] = open_with(dirs[i], 64u << 20);
        fill(db[i], keys, i ? versions : 1, &middle[i]);
    }
    for (int i = 0; i < 2; i++) {
        char what[64];
        snprintf(what, sizeof(what), "get, %s", names[i]);
        (void)gets(db[i], keys, GETS / 4, NULL, "(warming)", &sum);
        get_ns[i] = gets(db[i], keys, GETS, NULL, what, &sum);
        snprintf(what, sizeof(what), "scan, %s", names[i]);
        scan_ns[i] = scans(db[i], keys, what, &sum);
    }
    bench_ratio("get of the present: time with many / with 1", get_ns[1] / get_ns[0], 0);
    bench_ratio("scan of the present: time with many / with 1", scan_ns[1] / scan_ns[0], 0);
    printf("(goal of both: at most 1.1)\n");
    must(varve_close(db[0]), "close");
    must(varve_close(db[1]), "close");

    varve_at at = {.kind = VARVE_AT_VERSION, .version = middle[1]};
    const varve_at *when[] = {NULL, &at};
    for (int i = 0; i < 2; i++) {
        double total = 0;
        for (int round = 0; round < 20;
             round++) { /* a cold read is one's first: open, read a few, forget */
            drop_pages(dirs[1]);
            varve *cold = open_with(dirs[1], 1u << 20);
            total += gets(cold, keys, COLD / 20 < keys ? COLD / 20 : keys, when[i],
                          i ? "get_at, cold" : "present get, cold", &sum);
            must(varve_close(cold), "close");
        }
        cold_ns[i] = total / 20;
    }
    bench_ratio("cold: time of get_at into many versions / of a present get",
                cold_ns[1] / cold_ns[0], 0);
    printf("(goal: at most 3)\n");
    bench_checksum(sum);
    bench_scratch_remove(dirs[0]);
    bench_scratch_remove(dirs[1]);
    return 0;
}
