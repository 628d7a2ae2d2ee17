#include "base/zipf.h"
#include "storage/cache/cache.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct bytes key_of(uint64_t k, uint8_t out[16])
{
    memset(out, 'k', 16);
    memcpy(out + 4, &k, 8);
    return BYTES(out, 16);
}

static bool get_or_fill(struct cache *c, uint64_t k, size_t len)
{
    static uint8_t value[4096];
    static struct buf out;
    uint8_t keybuf[16];
    struct bytes key = key_of(k, keybuf);
    uint64_t h = cache_hash(key);
    struct record rec;
    if (cache_get(c, h, key, &out, &rec)) {
        assert_true(rec.version.hlc == k + 1 && rec.value.len == len);
        return true;
    }
    rec = (struct record){.version = {k + 1, 0}, .kind = RECORD_PUT, .value = BYTES(value, len)};
    cache_fill(c, h, cache_begin_fill(c, h), key, &rec);
    return false;
}

static void test_cache_limit_holds(void **state)
{
    (void)state;
    static const size_t limits[] = {128 << 10, 300000, 1 << 20, 9 << 20};
    for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++) {
        struct cache *c = cache_new(limits[l]);
        struct cache_stats st;
        assert_non_null(c);
        uint64_t n = limits[l] / 192 * 2;
        for (uint64_t k = 0; k < n; k++)
            get_or_fill(c, k, 100);
        cache_stats(c, &st);
        assert_true(st.bytes <= limits[l]);
        assert_true(st.fills == n && st.misses == n && st.hits == 0);
        assert_true(st.entries + st.evictions == n);
        assert_true(st.entries * 192 * 10 > limits[l] * 7); /* and most of it holds records */
        cache_free(c);
    }
}

/* Memory must follow when the sizes asked for change. */
static void test_cache_follows_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {100, 3000, 20, 700};
    struct cache *c = cache_new(2 << 20);
    assert_non_null(c);
    uint64_t k = 0;
    for (size_t i = 0; i < 4; i++) {
        struct cache_stats st;
        size_t fit = (2 << 20) / (sizes[i] + 100);
        for (size_t j = 0; j < fit * 6; j++)
            get_or_fill(c, k++, sizes[i]);
        uint64_t held = 0;
        for (uint64_t old = k - fit / 2; old < k; old++)
            held += get_or_fill(c, old, sizes[i]);
        assert_true(held * 100 > fit / 2 * 20);
        cache_stats(c, &st);
        assert_true(st.bytes <= 2 << 20);
    }
    cache_free(c);
}

/* The naive rival: a plain FIFO of as many entries. */
static double fifo_ratio(const uint64_t *keys, size_t n, uint64_t universe, size_t room)
{
    uint64_t *ring = calloc(room, sizeof(*ring));
    bool *in = calloc(universe, sizeof(*in));
    size_t at = 0, used = 0, hits = 0;
    assert_non_null(ring);
    assert_non_null(in);
    for (size_t i = 0; i < n; i++) {
        if (in[keys[i]]) {
            hits++;
            continue;
        }
        if (used == room)
            in[ring[at]] = false;
        else
            used++;
        ring[at] = keys[i];
        at = (at + 1) % room;
        in[keys[i]] = true;
    }
    free(ring);
    free(in);
    return (double)hits / (double)n;
}

static void test_cache_beats_fifo(void **state)
{
    (void)state;
    enum { UNIVERSE = 100000, N = 600000, LIMIT = 2 << 20 };
    struct zipf z;
    uint64_t *keys = calloc(N, sizeof(*keys));
    struct cache *c = cache_new(LIMIT);
    struct cache_stats st;
    assert_non_null(keys);
    assert_non_null(c);
    zipf_init(&z, UNIVERSE, ZIPF_THETA, 3);
    for (size_t i = 0; i < N; i++) /* a scan over cold keys runs through the skewed gets */
        keys[i] = i % 10 == 9 ? (i / 10) % UNIVERSE : zipf_next(&z);
    size_t hits = 0;
    for (size_t i = 0; i < N; i++)
        hits += get_or_fill(c, keys[i], 100);
    cache_stats(c, &st);
    double ours = (double)hits / N, fifo = fifo_ratio(keys, N, UNIVERSE, (size_t)st.entries);
    print_message("hit ratio %.3f, plain FIFO of the same %llu entries %.3f\n", ours,
                  (unsigned long long)st.entries, fifo);
    assert_true(ours > fifo + 0.02);
    cache_free(c);
    free(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache_limit_holds),
        cmocka_unit_test(test_cache_follows_sizes),
        cmocka_unit_test(test_cache_beats_fifo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
