/* Ten million keys (a fiftieth of them by default): each readable, in order, counted, verified, and
 * in memory that the options bound, not the data. */
#include "limits_util.h"

#include <stdio.h>

enum { BATCH = 1000, SAMPLE = 97, PEAK_MIB = 640 };
static const uint64_t spread = 6700417; /* a prime: keys come in no order */

static void key_of(uint64_t i, uint8_t out[16])
{
    for (int b = 0; b < 8; b++)
        out[b] = (uint8_t)(i >> (56 - 8 * b));
    uint64_t h = i * UINT64_C(0x9e3779b97f4a7c15);
    memcpy(out + 8, &h, 8);
}

static void value_of(uint64_t i, uint8_t out[16])
{
    uint64_t h = (i ^ 0x5bd1e995) * UINT64_C(0xd6e8feb86659fd93);
    memcpy(out, &h, 8);
    memcpy(out + 8, &i, 8);
}

static void write_all(struct world *w, uint64_t n)
{
    varve_batch *b = varve_batch_new();
    assert_non_null(b);
    uint8_t key[16], value[16];
    for (uint64_t i = 0; i < n; i++) {
        uint64_t k = i * spread % n;
        key_of(k, key);
        value_of(k, value);
        assert_ok(varve_batch_put(b, "keys", key, 16, VARVE_RAW, value, 16, 0));
        if (varve_batch_count(b) == BATCH || i + 1 == n) {
            assert_ok(varve_commit(w->db, b, NULL, NULL, NULL));
            varve_batch_clear(b);
        }
    }
    varve_batch_free(b);
}

static void sample_all(struct world *w, uint64_t n)
{
    uint8_t key[16], value[16];
    for (uint64_t i = 0; i < n; i += SAMPLE) {
        key_of(i, key);
        value_of(i, value);
        varve_status st = varve_get(w->db, "keys", key, 16, NULL, w->v);
        if (st != VARVE_OK)
            fail_msg("key %llu: %s: %s", (unsigned long long)i, varve_status_name(st),
                     varve_last_error());
        assert_int_equal(varve_value_bytes(w->v).len, 16);
        assert_memory_equal(varve_value_bytes(w->v).data, value, 16);
        key[15] ^= 1; /* a neighbour that is not there */
        assert_int_equal(varve_get(w->db, "keys", key, 16, NULL, w->v), VARVE_NOT_FOUND);
    }
}

static void scan_all(struct world *w, uint64_t n, bool reverse)
{
    varve_scan_options o = {.size = sizeof(o), .reverse = reverse};
    varve_iter *it;
    uint8_t key[16], value[16];
    uint64_t i = 0;
    int rc;
    assert_ok(varve_scan(w->db, "keys", &o, &it));
    while ((rc = varve_iter_next(it)) == 1) {
        uint64_t k = reverse ? n - 1 - i : i;
        key_of(k, key);
        value_of(k, value);
        varve_bytes got_key = varve_iter_key(it), got = varve_iter_value(it);
        if (i >= n || got_key.len != 16 || memcmp(got_key.data, key, 16) != 0 || got.len != 16 ||
            memcmp(got.data, value, 16) != 0)
            fail_msg("row %llu of the scan is not what was written", (unsigned long long)i);
        i++;
    }
    assert_int_equal(rc, 0);
    varve_iter_close(it);
    assert_int_equal(i, n);
}

static void many_keys(void **state)
{
    struct world *w = *state;
    uint64_t n = limits_full ? 10000000 : 100000;
    w->o.cache_bytes = 16 << 20;
    w->o.block_cache_bytes = 32 << 20;
    w->o.table_bytes = limits_full ? 64 << 20 : 4 << 20;
    w->o.segment_bytes = 0;
    db_open(w);
    write_all(w, n);
    fact(w, "keys written");
    sample_all(w, n);
    fact(w, "sampled");
    scan_all(w, n, false);
    fact(w, "scanned");
    db_reopen(w);
    fact(w, "reopened");
    sample_all(w, n);
    fact(w, "sampled again");
    scan_all(w, n, true);
    fact(w, "scanned backwards");
    db_verify(w);
    fact(w, "verified");
    if (limits_full && peak_rss_mib() > PEAK_MIB)
        fail_msg("peak memory was %llu MiB, more than %d MiB for a table of 64 MiB and caches of "
                 "48 MiB",
                 (unsigned long long)peak_rss_mib(), PEAK_MIB);
    db_close(w); /* verified already, and that takes its time */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {WORLD_TEST(many_keys)};
    limits_begin(argc, argv);
    return RUN_ON(tests, "rocks");
}
