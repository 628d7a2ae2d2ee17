/* What many versions of a key cost: get and scan of the present with 10,000 versions a key against
 * 1 version; get_at into 10,000 versions against a present get of the same keys, both cold: the
 * database is opened anew with the smallest caches after the system forgot its files, and each key
 * is read once. For that part other keys with one version each are put between, so that no two of
 * the keys read lie in one block. Usage: bench_versions [versions] [keys] [thousands between] */
#include "bench/bench_peer.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { VALUE = 100, GETS = 100000, SCANS = 2000, ROUNDS = 7, COLD_ROUNDS = 10, BATCH = 1000 };

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

static void fill_between(varve *db, uint64_t thousands)
{
    varve_batch *b = varve_batch_new();
    uint8_t key[BENCH_KEY], value[VALUE];
    for (uint64_t n = 0; n < thousands * BATCH; n++) {
        bench_key(UINT64_C(1) << 40 | n, key);
        bench_value(n, value, sizeof(value));
        must(varve_batch_put(b, "bench", key, sizeof(key), VARVE_RAW, value, sizeof(value), 0),
             "batch");
        if (n % BATCH == BATCH - 1) {
            must(varve_commit(db, b, NULL, NULL, NULL), "commit");
            varve_batch_clear(b);
        }
    }
    varve_batch_free(b);
    must(varve_checkpoint(db), "checkpoint");
    must(varve_compact(db), "compact");
}

static double gets(varve *db, uint64_t keys, uint64_t n, uint64_t *sum)
{
    varve_value *v = varve_value_new();
    uint8_t key[BENCH_KEY];
    uint64_t state = 7, t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        bench_key(bench_rnd(&state) % keys, key);
        must(varve_get(db, "bench", key, sizeof(key), NULL, v), "get");
        *sum = bench_mix(*sum, varve_value_bytes(v).len);
    }
    uint64_t ns = bench_ns() - t0;
    varve_value_free(v);
    return (double)ns / (double)n;
}

static double scans(varve *db, uint64_t keys, uint64_t *sum)
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

/* Each key once, in a database just opened, whose files the system has forgotten. */
static double cold_gets(const char *dir, uint64_t keys, const varve_at *at, uint64_t *sum)
{
    uint8_t key[BENCH_KEY];
    drop_pages(dir);
    varve *db = open_with(dir, 1u << 20);
    varve_value *v = varve_value_new();
    uint64_t t0 = bench_ns();
    for (uint64_t k = 0; k < keys; k++) {
        bench_key(k, key);
        must(varve_get(db, "bench", key, sizeof(key), at, v), "get");
        *sum = bench_mix(*sum, varve_value_bytes(v).len);
    }
    uint64_t ns = bench_ns() - t0;
    varve_value_free(v);
    must(varve_close(db), "close");
    return (double)ns / (double)keys;
}

int main(int argc, char **argv)
{
    uint64_t versions = bench_arg(argc, argv, 1, 10000), keys = bench_arg(argc, argv, 2, 100),
             between = bench_arg(argc, argv, 3, 500), sum = 0;
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
    double turns[2][2][ROUNDS];
    for (int r = -1; r < ROUNDS; r++) /* the first warms */
        for (int i = 0; i < 2; i++) {
            double get = gets(db[i], keys, GETS, &sum), scan = scans(db[i], keys, &sum);
            if (r >= 0) {
                turns[0][i][r] = get;
                turns[1][i][r] = scan;
            }
        }
    for (int i = 0; i < 2; i++) {
        get_ns[i] = bench_median(turns[0][i], ROUNDS);
        scan_ns[i] = bench_median(turns[1][i], ROUNDS);
        printf("%-14s medians of %d rounds in turn: get %.0f ns, scan %.0f ns a row\n", names[i],
               ROUNDS, get_ns[i], scan_ns[i]);
    }
    bench_ratio("get of the present: time with many / with 1", get_ns[1] / get_ns[0], 0);
    bench_ratio("scan of the present: time with many / with 1", scan_ns[1] / scan_ns[0], 0);
    printf("(goal of both: at most 1.1)\n");
    must(varve_close(db[0]), "close");
    fill_between(db[1], between);
    must(varve_close(db[1]), "close");

    varve_at at = {.kind = VARVE_AT_VERSION, .version = middle[1]};
    double cold[2][COLD_ROUNDS];
    for (int round = 0; round < COLD_ROUNDS; round++) {
        cold[0][round] = cold_gets(dirs[1], keys, NULL, &sum);
        cold[1][round] = cold_gets(dirs[1], keys, &at, &sum);
    }
    for (int i = 0; i < 2; i++)
        cold_ns[i] = bench_median(cold[i], COLD_ROUNDS);
    printf("cold, medians of %d rounds in turn: present get %.0f us, get_at into %lu versions %.0f "
           "us\n",
           COLD_ROUNDS, cold_ns[0] / 1e3, (unsigned long)versions, cold_ns[1] / 1e3);
    bench_ratio("cold: time of get_at into many versions / of a present get",
                cold_ns[1] / cold_ns[0], 0);
    printf("(goal: at most 3)\n");
    bench_checksum(sum);
    bench_scratch_remove(dirs[0]);
    bench_scratch_remove(dirs[1]);
    return 0;
}
