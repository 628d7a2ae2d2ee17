/* bench_table.c - the table alone: bench_table [keys] [value bytes] */
#include "base/zipf.h"
#include "bench/bench_util.h"
#include "storage/table/table.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 1000 };

static uint64_t clock_now = 1;
static uint8_t value[65536];

static struct record next_record(size_t len)
{
    return (struct record){
        .version = {clock_now++, 0}, .kind = RECORD_PUT, .value = BYTES(value, len)};
}

static struct table *new_table(void)
{
    struct table *t = table_new();
    if (!t)
        bench_die("no memory");
    return t;
}

static void put(struct table *t, const uint8_t key[BENCH_KEY], size_t len)
{
    struct record rec = next_record(len);
    if (table_put(t, BYTES(key, BENCH_KEY), &rec, NULL) != ST_OK)
        bench_die("no memory");
}

static void fill(struct table *t, const char *what, uint64_t n, size_t len,
                 void (*key_of)(uint64_t, uint8_t *))
{
    uint8_t key[BENCH_KEY];
    uint64_t t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        key_of(i, key);
        put(t, key, len);
    }
    bench_rate(what, n, bench_ns() - t0);
}

static int by_key(const void *a, const void *b)
{
    const struct table_item *x = a, *y = b;
    return bytes_cmp(x->key, y->key);
}

/* Batches of scattered keys, sorted before each call, as apply does it. */
static void fill_batches(struct table *t, uint64_t n, size_t len, bool sort)
{
    static uint8_t keys[BATCH][BENCH_KEY];
    static struct table_item items[BATCH];
    uint64_t t0 = bench_ns();
    for (uint64_t i = 0; i + BATCH <= n; i += BATCH) {
        for (size_t j = 0; j < BATCH; j++) {
            bench_key(i + j, keys[j]);
            items[j] = (struct table_item){BYTES(keys[j], BENCH_KEY), next_record(len)};
            items[j].rec.version.hlc = clock_now - 1 - j; /* a batch shares one version */
        }
        if (sort)
            qsort(items, BATCH, sizeof(items[0]), by_key);
        if (table_put_many(t, items, BATCH, NULL) != ST_OK)
            bench_die("no memory");
    }
    bench_rate(sort ? "put_many, batches of 1000, sorted here"
                    : "put_many, batches of 1000, unsorted",
               n / BATCH * BATCH, bench_ns() - t0);
}

static uint64_t gets(const struct table *t, const char *what, uint64_t n, struct zipf *zipf)
{
    uint64_t sum = 0, s = 42, t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        uint8_t key[BENCH_KEY];
        struct record rec;
        bench_key(zipf ? zipf_next(zipf) : bench_rnd(&s) % n, key);
        if (!table_get(t, BYTES(key, BENCH_KEY), VERSION_MAX, &rec))
            bench_die("a key is missing");
        sum += rec.value.data[rec.value.len - 1] + rec.version.hlc;
    }
    bench_rate(what, n, bench_ns() - t0);
    return sum;
}

static uint64_t scan(const struct table *t)
{
    struct table_iter it;
    uint64_t sum = 0, n = 0, t0 = bench_ns();
    table_iter_init(&it, t);
    for (bool on = table_iter_first(&it); on; on = table_iter_next(&it), n++) {
        struct record rec;
        table_entry_record(table_iter_find(&it, VERSION_MAX), &rec);
        sum += rec.version.hlc;
    }
    bench_rate("scan forward, newest versions", n, bench_ns() - t0);
    return sum;
}

static uint64_t versions(uint64_t n, size_t len)
{
    struct table *t = new_table();
    struct bytes key = BYTES_LIT("\0\0\0\1one key only");
    uint64_t first = clock_now, sum = 0, s = 7, t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        struct record rec = next_record(len);
        if (table_put(t, key, &rec, NULL) != ST_OK)
            bench_die("no memory");
    }
    bench_rate("put versions of one key", n, bench_ns() - t0);
    t0 = bench_ns();
    for (uint64_t i = 0; i < n; i++) {
        struct record rec;
        if (!table_get(t, key, (struct version){first + bench_rnd(&s) % n, 0}, &rec))
            bench_die("a version is missing");
        sum += rec.version.hlc;
    }
    bench_rate("get one key at a random time", n, bench_ns() - t0);
    table_unref(t);
    return sum;
}

int main(int argc, char **argv)
{
    uint64_t n = bench_arg(argc, argv, 1, 1000000);
    size_t len = (size_t)bench_arg(argc, argv, 2, 100);
    if (n < BATCH || len == 0 || len > sizeof(value))
        bench_die("usage: bench_table [keys >= 1000] [value bytes 1..65536]");
    bench_machine("bench_table");
    printf("# %" PRIu64 " keys of 16 B, values of %zu B, one thread\n", n, len);
    bench_value(1, value, len);

    struct table *t = new_table();
    fill(t, "put, scattered keys", n, len, bench_key);
    printf("%-52s %10.1f B\n", "memory for each", (double)table_bytes(t) / (double)n);
    struct zipf zipf;
    zipf_init(&zipf, n, ZIPF_THETA, 1);
    uint64_t sum = gets(t, "get, uniform", n, NULL);
    sum += gets(t, "get, Zipf 0.99", n, &zipf);
    sum += scan(t);
    fill(t, "put again, scattered (a second version)", n, len, bench_key);
    table_unref(t);

    t = new_table();
    fill(t, "put, rising keys", n, len, bench_key_rising);
    table_unref(t);
    t = new_table();
    fill_batches(t, n, len, false);
    table_unref(t);
    t = new_table();
    fill_batches(t, n, len, true);
    sum += scan(t);
    table_unref(t);
    sum += versions(n, len);
    bench_checksum(sum);
    return 0;
}
