/* test_metrics.c - the text format, the registration rules, the histogram against a sorted list. */
#include "base/alloc.h"
#include "base/metrics.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void families_print_as_documented(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct counter *always = metrics_counter(m, "varve_syncs_total", "mode=\"always\"", "Syncs.");
    struct gauge *size = metrics_gauge(m, "varve_table_bytes", NULL, "A \\ and a\nline");
    struct counter *off = metrics_counter(m, "varve_syncs_total", "mode=\"off\",q=\"a\\\"b\"", "x");
    struct buf out = BUF_INIT;
    assert_true(always && size && off);
    counter_add(always, 3);
    counter_add(always, 4);
    gauge_set(size, -5);
    assert_int_equal(metrics_print(m, &out), ST_OK);
    /* A family's lines stay together, with one HELP and one TYPE, in whatever order they were
     * registered. */
    assert_string_equal(buf_cstr(&out), "# HELP varve_syncs_total Syncs.\n"
                                        "# TYPE varve_syncs_total counter\n"
                                        "varve_syncs_total{mode=\"always\"} 7\n"
                                        "varve_syncs_total{mode=\"off\",q=\"a\\\"b\"} 0\n"
                                        "# HELP varve_table_bytes A \\\\ and a\\nline\n"
                                        "# TYPE varve_table_bytes gauge\n"
                                        "varve_table_bytes -5\n");
    buf_deinit(&out);
    metrics_free(m);
    metrics_free(NULL);
}

static void bad_names_and_labels_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"",          "9lives",      "with space",
                                        "with-dash", "caf\xc3\xa9", "a{b}"};
    static const char *const labels[] = {
        "mode",           "mode=",     "mode=always",    "mode=\"x", "=\"x\"",
        "9=\"x\"",        "a=\"x\",",  "a=\"x\"b=\"y\"", "le=\"1\"", "a:b=\"x\"",
        "__name__=\"x\"", "a=\"\\x\"", "a=\"x\ny\"",     "a=\"x\\",  ",a=\"x\""};
    struct metrics *m = metrics_new();
    struct buf out = BUF_INIT;
    assert_null(metrics_counter(m, NULL, NULL, "h"));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_null(metrics_gauge(m, names[i], NULL, "h"));
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++)
        assert_null(metrics_counter(m, "ok", labels[i], "h"));
    assert_int_equal(metrics_print(m, &out), ST_OK);
    assert_int_equal(out.len, 0);
    assert_non_null(metrics_counter(m, "ok:_9", "a=\"\",b9=\"\\\\\\n\\\"\"", NULL));
    buf_deinit(&out);
    metrics_free(m);
}

static void taken_names_are_refused(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    assert_non_null(metrics_counter(m, "a", NULL, "h"));
    assert_null(metrics_counter(m, "a", NULL, "h"));
    assert_null(metrics_counter(m, "a", "", "h"));
    assert_null(metrics_gauge(m, "a", "x=\"1\"", "h")); /* a family has one type */
    assert_non_null(metrics_counter(m, "a", "x=\"1\"", "h"));
    assert_null(metrics_counter(m, "a", "x=\"1\"", "h"));
    assert_non_null(metrics_histogram(m, "lat", NULL, "h"));
    assert_null(metrics_counter(m, "lat_count", NULL, "h"));
    assert_null(metrics_counter(m, "lat_bucket", NULL, "h"));
    assert_non_null(metrics_counter(m, "lat_counts", NULL, "h"));
    assert_non_null(metrics_counter(m, "io_sum", NULL, "h"));
    assert_null(metrics_histogram(m, "io", NULL, "h"));
    metrics_free(m);
}

/* Reads "name_bucket{...le="X"} N" lines and checks that they are cumulative and end with +Inf =
 * count. */
static uint64_t check_histogram_text(const char *text, uint64_t ret_at_1023[1])
{
    uint64_t last_le = 0, last_n = 0, buckets = 0;
    bool inf = false;
    unsigned long long n = 0, le;
    const char *p = text;
    while ((p = strstr(p, "_bucket{")) != NULL) {
        const char *le_text = strstr(p, "le=\"");
        assert_non_null(le_text);
        assert_false(inf); /* +Inf is the last */
        if (sscanf(le_text, "le=\"%llu\"} %llu", &le, &n) == 2) {
            assert_true(buckets == 0 || le > last_le);
            last_le = le;
            if (le == 1023)
                ret_at_1023[0] = n;
        } else {
            assert_int_equal(sscanf(le_text, "le=\"+Inf\"} %llu", &n), 1);
            inf = true;
        }
        assert_true(n >= last_n);
        last_n = n;
        buckets++;
        p = le_text;
    }
    assert_true(inf && buckets > 10);
    return last_n;
}

static void histograms_print_cumulative_buckets(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct histogram *h = metrics_histogram(m, "lat", "op=\"get\"", "Latency.");
    struct buf out = BUF_INIT;
    uint64_t at_1023 = 99;
    static const uint64_t values[] = {0, 1, 5, 1000, 1023, 1024, UINT64_C(1) << 50, 100000};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        histogram_add(h, values[i]);
        sum += values[i];
    }
    assert_int_equal(metrics_print(m, &out), ST_OK);
    const char *text = buf_cstr(&out);
    char want[100];
    assert_int_equal(check_histogram_text(text, &at_1023), 8);
    assert_int_equal(at_1023, 5);
    assert_memory_equal(
        text, "# HELP lat Latency.\n# TYPE lat histogram\nlat_bucket{op=\"get\",le=\"0\"} 1\n",
        strlen("# HELP lat Latency.\n# TYPE lat histogram\nlat_bucket{op=\"get\",le=\"0\"} 1\n"));
    snprintf(want, sizeof want, "lat_sum{op=\"get\"} %llu\nlat_count{op=\"get\"} 8\n",
             (unsigned long long)sum);
    assert_string_equal(strstr(text, "lat_sum"), want);
    buf_deinit(&out);
    metrics_free(m);
}

static void times_are_printed_in_seconds(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct buf out = BUF_INIT;
    struct histogram *h = metrics_histogram(m, "lat_seconds", "op=\"get\"", "h");
    histogram_add(h, 0);
    histogram_add(h, 1023);
    histogram_add(h, 1024);
    histogram_add(h, 3000000000);
    histogram_add(h, UINT64_C(1) << 50);
    assert_int_equal(metrics_print(m, &out), ST_OK);
    const char *text = buf_cstr(&out);
    assert_non_null(strstr(
        text, "# TYPE lat_seconds histogram\nlat_seconds_bucket{op=\"get\",le=\"0.000001023\"} 2\n"
              "lat_seconds_bucket{op=\"get\",le=\"0.000002047\"} 3\n"));
    assert_non_null(strstr(text, "lat_seconds_bucket{op=\"get\",le=\"4.294967295\"} 4\n"));
    assert_non_null(strstr(text, "lat_seconds_bucket{op=\"get\",le=\"+Inf\"} 5\n"
                                 "lat_seconds_sum{op=\"get\"} 1125902.906844671\n"
                                 "lat_seconds_count{op=\"get\"} 5\n"));
    buf_deinit(&out);
    metrics_free(m);
}

static void an_empty_histogram_without_labels(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct histogram *h = metrics_histogram(m, "lat", NULL, "h");
    struct buf out = BUF_INIT;
    uint64_t at_1023 = 99;
    assert_true(histogram_quantile(h, 0.5) == 0);
    assert_int_equal(metrics_print(m, &out), ST_OK);
    assert_int_equal(check_histogram_text(buf_cstr(&out), &at_1023), 0);
    assert_int_equal(at_1023, 0);
    assert_non_null(strstr(buf_cstr(&out), "lat_bucket{le=\"+Inf\"} 0\nlat_sum 0\nlat_count 0\n"));
    buf_deinit(&out);
    metrics_free(m);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles_are_within_a_quarter(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 200)
    {
        enum { N = 500 };
        struct test_rng rng;
        struct metrics *m = metrics_new();
        struct histogram *h = metrics_histogram(m, "x", NULL, NULL);
        uint64_t v[N];
        test_rng_init(&rng, seed);
        for (size_t i = 0; i < N; i++) {
            v[i] = test_rng_any_width(&rng);
            histogram_add(h, v[i]);
        }
        qsort(v, N, sizeof v[0], by_value);
        for (size_t rank = 1; rank <= N; rank += 7) {
            uint64_t got = histogram_quantile(h, (double)rank / N - 0.0001);
            uint64_t exact = v[rank - 1];
            assert_true(got >= exact);
            assert_true(got - exact <= exact / 4);
        }
        assert_true(histogram_quantile(h, 1) >= v[N - 1]);
        assert_true(histogram_quantile(h, 7) == histogram_quantile(h, 1));
        assert_true(histogram_quantile(h, -1) >= v[0]);
        metrics_free(m);
    }
}

static void every_power_of_two_has_its_bucket(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    for (unsigned bit = 0; bit < 64; bit++) {
        char name[16];
        snprintf(name, sizeof name, "h%u", bit);
        struct histogram *h = metrics_histogram(m, name, NULL, NULL);
        uint64_t v = UINT64_C(1) << bit;
        histogram_add(h, v);
        assert_true(histogram_quantile(h, 0.5) >= v);
        assert_true(histogram_quantile(h, 0.5) - v <= v / 4);
        histogram_add(h, 2 * v - 1);
        assert_true(histogram_quantile(h, 1) >= 2 * v - 1);
    }
    struct histogram *h = metrics_histogram(m, "top", NULL, NULL);
    histogram_add(h, UINT64_MAX);
    assert_true(histogram_quantile(h, 1) == UINT64_MAX);
    metrics_free(m);
}

/* Registers and prints; false when an allocation failed. `out` is as before after a failed print.
 */
static bool build_and_print(struct buf *out)
{
    struct metrics *m = metrics_new();
    if (!m)
        return false;
    bool ok = metrics_counter(m, "a", NULL, "h") && metrics_gauge(m, "b", "x=\"1\"", "h") &&
              metrics_gauge(m, "b", "x=\"2\"", "h") && metrics_histogram(m, "c", NULL, "h");
    size_t before = out->len;
    enum status st = metrics_print(m, out); /* what did get registered must print */
    if (st != ST_OK) {
        assert_int_equal(st, ST_NO_MEMORY);
        assert_int_equal(out->len, before);
    }
    metrics_free(m);
    return ok && st == ST_OK;
}

static void every_failed_allocation_is_answered(void **state)
{
    (void)state;
    bool done = false;
    uint64_t n;
    for (n = 1; !done; n++) {
        struct buf out = BUF_INIT;
        assert_int_equal(buf_append(&out, "kept", 4), ST_OK);
        mem_fail_at(n, n % 2);
        done = build_and_print(&out);
        uint64_t hits = mem_fail_hits();
        mem_fail_at(0, 0);
        assert_int_equal(done, hits == 0);
        assert_memory_equal(out.data, "kept", 4);
        buf_deinit(&out);
        assert_true(n < 1000);
    }
    assert_true(n > 10);
}

static void a_full_buf_is_an_error_and_left_alone(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct buf out;
    assert_non_null(metrics_histogram(m, "c", NULL, "h"));
    buf_init(&out, 200);
    assert_int_equal(buf_append(&out, "kept", 4), ST_OK);
    assert_int_equal(metrics_print(m, &out), ST_TOO_LARGE);
    assert_int_equal(out.len, 4);
    buf_deinit(&out);
    metrics_free(m);
}

struct shared {
    struct counter *c;
    struct histogram *h;
};

static void *add_many(void *arg)
{
    struct shared *s = arg;
    for (uint64_t i = 0; i < 20000; i++) {
        counter_add(s->c, 1);
        histogram_add(s->h, i);
    }
    return NULL;
}

static void threads_add_while_one_prints(void **state)
{
    (void)state;
    struct metrics *m = metrics_new();
    struct shared s = {metrics_counter(m, "a", NULL, "h"), metrics_histogram(m, "b", NULL, "h")};
    pthread_t thread[3];
    struct buf out = BUF_INIT;
    uint64_t at_1023 = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, add_many, &s), 0);
    for (int i = 0; i < 20; i++) {
        buf_clear(&out);
        assert_int_equal(metrics_print(m, &out), ST_OK);
        check_histogram_text(buf_cstr(&out), &at_1023);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_true(s.c->value == 60000 && s.h->count == 60000);
    buf_deinit(&out);
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_print_as_documented),
        cmocka_unit_test(bad_names_and_labels_are_refused),
        cmocka_unit_test(taken_names_are_refused),
        cmocka_unit_test(histograms_print_cumulative_buckets),
        cmocka_unit_test(times_are_printed_in_seconds),
        cmocka_unit_test(an_empty_histogram_without_labels),
        cmocka_unit_test(quantiles_are_within_a_quarter),
        cmocka_unit_test(every_power_of_two_has_its_bucket),
        cmocka_unit_test(every_failed_allocation_is_answered),
        cmocka_unit_test(a_full_buf_is_an_error_and_left_alone),
        cmocka_unit_test(threads_add_while_one_prints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
