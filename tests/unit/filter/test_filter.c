/* A filter never denies what was added, seldom takes what was not, and may be filled by many
 * threads at once. */
#include "base/env/thread.h"
#include "base/hash.h"
#include "storage/filter/filter.h"
#include "tests/support/cmocka.h"

static uint64_t hash_of(uint64_t n)
{
    return hash_xxh64(&n, sizeof(n), 0);
}

static void test_an_empty_one_has_nothing(void **state)
{
    (void)state;
    struct filter *f = filter_new(0);
    assert_non_null(f);
    for (uint64_t n = 0; n < 1000; n++)
        assert_false(filter_may_have(f, hash_of(n)));
    filter_free(f);
    filter_free(NULL);
}

static void test_what_was_added_is_never_denied(void **state)
{
    (void)state;
    enum { KEYS = 100000 };
    struct filter *f = filter_new(KEYS);
    assert_non_null(f);
    for (uint64_t n = 0; n < KEYS; n++)
        filter_add(f, hash_of(n));
    for (uint64_t n = 0; n < KEYS; n++)
        assert_true(filter_may_have(f, hash_of(n)));
    uint64_t wrong = 0;
    for (uint64_t n = KEYS; n < (uint64_t)11 * KEYS; n++)
        wrong += filter_may_have(f, hash_of(n));
    assert_in_range(wrong, 1, 10 * KEYS / 50); /* under two in a hundred */
    assert_in_range(filter_bytes(KEYS), KEYS * 12 / 8, KEYS * 13 / 8);
    filter_free(f);
}

static void test_overfull_it_is_wrong_more_often_but_never_denies(void **state)
{
    (void)state;
    struct filter *f = filter_new(100);
    assert_non_null(f);
    for (uint64_t n = 0; n < 10000; n++)
        filter_add(f, hash_of(n));
    for (uint64_t n = 0; n < 10000; n++)
        assert_true(filter_may_have(f, hash_of(n)));
    filter_free(f);
}

enum { THREADS = 4, EACH = 20000 };
struct adder {
    struct filter *f;
    uint64_t from, denied;
};

static void add_all(void *arg)
{
    struct adder *a = arg;
    for (uint64_t n = a->from; n < a->from + EACH; n++) {
        filter_add(a->f, hash_of(n));
        a->denied += !filter_may_have(a->f, hash_of(n));
    }
}

static void test_threads_add_side_by_side(void **state)
{
    (void)state;
    struct filter *f = filter_new(THREADS * EACH);
    struct env_thread threads[THREADS];
    struct adder adders[THREADS];
    struct err err;
    assert_non_null(f);
    for (size_t i = 0; i < THREADS; i++) {
        adders[i] = (struct adder){f, i * EACH, 0};
        assert_int_equal(env_thread_start(&threads[i], "adder", add_all, &adders[i], &err), ST_OK);
    }
    for (size_t i = 0; i < THREADS; i++)
        env_thread_join(&threads[i]);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(adders[i].denied, 0);
    for (uint64_t n = 0; n < THREADS * EACH; n++)
        assert_true(filter_may_have(f, hash_of(n)));
    filter_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_one_has_nothing),
        cmocka_unit_test(test_what_was_added_is_never_denied),
        cmocka_unit_test(test_overfull_it_is_wrong_more_often_but_never_denies),
        cmocka_unit_test(test_threads_add_side_by_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
