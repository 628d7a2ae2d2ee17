/* The histogram against exact quantiles and a naive correction; keys, choices and values. */
#include "serve/load/load.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <stdlib.h>

enum { VALUES_MAX = 5000 };

static struct load_hist a, b, c; /* too large for a stack */
static uint64_t values[VALUES_MAX * 40];

static int by_value(const void *x, const void *y)
{
    uint64_t p = *(const uint64_t *)x, q = *(const uint64_t *)y;
    return (p > q) - (p < q);
}

/* The smallest value that at least q of all do not exceed. */
static uint64_t exact_quantile(size_t n, double q)
{
    size_t rank = (size_t)(q * (double)n);
    rank += (double)rank < q * (double)n;
    return values[rank < 1 ? 0 : rank > n ? n - 1 : rank - 1];
}

static void holds_against(const struct load_hist *h, size_t n)
{
    static const double qs[] = {0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 0.9999, 1};
    uint64_t sum = 0;
    qsort(values, n, sizeof values[0], by_value);
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    assert_int_equal(h->count, n);
    assert_int_equal(h->sum, sum);
    assert_int_equal(h->low, n ? values[0] : 0);
    assert_int_equal(h->high, n ? values[n - 1] : 0);
    for (size_t i = 0; n && i < sizeof qs / sizeof qs[0]; i++) {
        uint64_t exact = exact_quantile(n, qs[i]), got = load_hist_quantile(h, qs[i]);
        assert_true(got >= exact);
        assert_true(got - exact <= exact / 256);
    }
}

static void quantiles(uint64_t seed)
{
    struct test_rng r;
    test_rng_init(&r, seed);
    size_t n = (size_t)test_rng_below(&r, VALUES_MAX);
    load_hist_clear(&a);
    load_hist_clear(&b);
    load_hist_clear(&c);
    for (size_t i = 0; i < n; i++) {
        values[i] = test_rng_u64(&r) >> (22 + test_rng_below(&r, 42)); /* all sizes up to 2^42 */
        load_hist_add(i % 2 ? &a : &b, values[i]);
    }
    load_hist_merge(&c, &a);
    load_hist_merge(&c, &b);
    holds_against(&c, n);
}

static void test_quantiles_are_near_the_exact_ones(void **state)
{
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 40)
    quantiles(seed);
}

static void test_edges(void **state)
{
    (void)state;
    static const uint64_t edges[] = {0, 1, 255, 256, 511, 512, 513, 1023, 1024, LOAD_HIST_MAX};
    load_hist_clear(&a);
    assert_int_equal(load_hist_quantile(&a, 0.5), 0);
    assert_true(load_hist_mean(&a) == 0);
    for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
        load_hist_add(&a, edges[i]);
        values[i] = edges[i];
    }
    holds_against(&a, sizeof edges / sizeof edges[0]);
    load_hist_add_many(&a, UINT64_MAX, 1); /* beyond: the last bucket, and exact as the highest */
    assert_int_equal(a.high, UINT64_MAX);
    assert_true(load_hist_quantile(&a, 1) == UINT64_MAX);
    load_hist_add_many(&a, 7, 0);
    assert_int_equal(a.count, sizeof edges / sizeof edges[0] + 1);
}

/* One value of 1000 among those of 10, asked for every 100: 900, 800, ... were left out. Values below
 * 512 are exact in the histogram, those here within its error. */
static void test_correction_adds_what_was_left_out(void **state)
{
    (void)state;
    size_t n = 0;
    load_hist_clear(&a);
    load_hist_clear(&b);
    for (int i = 0; i < 100; i++)
        load_hist_add(&a, values[n++] = 10);
    load_hist_add(&a, values[n++] = 1000);
    load_hist_correct(&b, &a, 100);
    for (uint64_t v = 900; v >= 100; v -= 100)
        values[n++] = v;
    holds_against(&b, n);
    load_hist_clear(&b);
    load_hist_correct(&b, &a, 0);
    assert_int_equal(b.count, a.count);
    assert_int_equal(b.sum, a.sum);
}

static void test_keys_differ_and_scatter(void **state)
{
    (void)state;
    enum { N = 100000 };
    uint8_t key[LOAD_KEY];
    size_t first[16] = {0};
    for (uint64_t i = 0; i < N; i++) {
        load_key_text(i, key);
        values[i] = 0;
        for (int d = 0; d < LOAD_KEY; d++) {
            int digit = key[d] <= '9' ? key[d] - '0' : key[d] - 'a' + 10;
            assert_in_range(digit, 0, 15);
            values[i] = values[i] << 4 | (uint64_t)digit;
        }
        first[values[i] >> 60]++;
    }
    for (int d = 0; d < 16; d++)
        assert_in_range(first[d], N / 16 - N / 100, N / 16 + N / 100);
    qsort(values, N, sizeof values[0], by_value);
    for (uint64_t i = 1; i < N; i++)
        assert_true(values[i - 1] < values[i]);
}

static void test_choices(void **state)
{
    (void)state;
    enum { N = 1000, DRAWS = 100000 };
    static const char *const names[LOAD_CHOICES] = {"uniform", "zipf", "latest", "sequence"};
    for (int choice = 0; choice < LOAD_CHOICES; choice++) {
        struct load_keys k, again;
        size_t hits[N] = {0}, most = 0, newest = 0;
        load_keys_init(&k, (enum load_choice)choice, N, ZIPF_THETA, 7);
        load_keys_init(&again, (enum load_choice)choice, N, ZIPF_THETA, 7);
        for (int i = 0; i < DRAWS; i++) {
            uint64_t n = load_keys_next(&k);
            assert_true(n < N);
            assert_int_equal(n, load_keys_next(&again));
            hits[n]++;
            most = hits[n] > most ? hits[n] : most;
            newest += n >= N - 10;
        }
        if (choice == LOAD_SEQUENCE)
            assert_int_equal(most, DRAWS / N); /* every one as often */
        else if (choice == LOAD_UNIFORM)
            assert_true(most < 2 * DRAWS / N);
        else
            assert_true(most > DRAWS / 20); /* the first of 1000 by 0.99: 13 % */
        if (choice == LOAD_LATEST)
            assert_true(newest > DRAWS / 3);
        assert_string_equal(load_choice_name((enum load_choice)choice), names[choice]);
    }
    struct load_keys k;
    load_keys_init(&k, LOAD_LATEST, N, ZIPF_THETA, 7);
    k.n = 2 * N; /* what was inserted meanwhile is asked for, and what lies N back no more */
    for (int i = 0; i < DRAWS; i++)
        assert_in_range(load_keys_next(&k), N, 2 * N - 1);
}

static void test_values_tell_their_key(void **state)
{
    (void)state;
    enum { SIZE = 100, POOL = 4096 };
    static uint8_t pool[POOL];
    struct load_values v;
    struct load_value first, second;
    uint8_t whole[SIZE];
    load_values_init(&v, pool, POOL, SIZE);
    load_value_make(&v, 42, 1, &first);
    load_value_make(&v, 42, 2, &second);
    assert_int_equal(first.body.len, SIZE - LOAD_VALUE_MIN);
    assert_true(first.body.data >= pool && first.body.data + first.body.len <= pool + POOL);
    assert_false(bytes_eq(first.body, second.body));
    memcpy(whole, first.head, LOAD_VALUE_MIN);
    memcpy(whole + LOAD_VALUE_MIN, first.body.data, first.body.len);
    assert_true(load_value_is_of(BYTES(whole, SIZE), 42));
    assert_false(load_value_is_of(BYTES(whole, SIZE), 43));
    assert_false(load_value_is_of(BYTES(whole, LOAD_VALUE_MIN - 1), 42));
}

static void test_mixes(void **state)
{
    (void)state;
    for (size_t i = 0; i < load_mix_count; i++) {
        unsigned sum = 0;
        for (int k = 0; k < LOAD_KINDS; k++)
            sum += load_mixes[i].percent[k];
        assert_int_equal(sum, 100);
        assert_ptr_equal(load_mix_find(load_mixes[i].name), &load_mixes[i]);
    }
    assert_ptr_equal(load_mix_find("a"), load_mix_find("A"));
    assert_null(load_mix_find("G"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantiles_are_near_the_exact_ones),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_correction_adds_what_was_left_out),
        cmocka_unit_test(test_keys_differ_and_scatter),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_values_tell_their_key),
        cmocka_unit_test(test_mixes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
