/* test_alloc.c - the door to the heap, and the switch that closes it. */
#include "base/alloc.h"
#include "support/cmocka.h"

#include <string.h>

static void all_doors_open(void **state)
{
    (void)state;
    char *s = mem_strdup("varve");
    uint8_t *zeros = mem_zalloc(100), *copy = mem_memdup("abc", 3);
    assert_string_equal(s, "varve");
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(zeros[i], 0);
    assert_memory_equal(copy, "abc", 3);
    copy = mem_realloc(copy, 1000);
    assert_memory_equal(copy, "abc", 3);
    mem_free(s);
    mem_free(zeros);
    mem_free(copy);
    mem_free(NULL);
}

static void zero_bytes_are_not_a_failure(void **state)
{
    (void)state;
    void *p[] = {mem_alloc(0), mem_zalloc(0), mem_aligned(64, 0), mem_realloc(NULL, 0),
                 mem_memdup(NULL, 0)};
    for (size_t i = 0; i < sizeof p / sizeof p[0]; i++) {
        assert_non_null(p[i]);
        mem_free(p[i]);
    }
}

static void impossible_sizes_answer_null(void **state)
{
    (void)state;
    assert_null(mem_alloc(SIZE_MAX));
    assert_null(mem_zalloc((size_t)PTRDIFF_MAX + 1));
    assert_null(mem_aligned(64, SIZE_MAX));
    assert_null(mem_realloc(NULL, SIZE_MAX - 1));
}

static void aligned_memory_is_aligned(void **state)
{
    (void)state;
    for (size_t align = 1; align <= 4096; align *= 2) {
        uint8_t *p = mem_aligned(align, 100);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % align, 0);
        memset(p, 1, 100);
        mem_free(p);
    }
}

static void pages_are_whole_and_aligned(void **state)
{
    (void)state;
    const size_t sizes[] = {64 << 10, 192 << 10, 2 << 20}, aligns[] = {4096, 64 << 10, 2 << 20};
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 3; j++) {
            uint8_t *p = mem_pages(aligns[j], sizes[i]), *q = mem_pages(aligns[j], sizes[i]);
            assert_true(p && q);
            assert_int_equal((uintptr_t)p % aligns[j], 0);
            memset(p, 1, sizes[i]);
            memset(q, 2, sizes[i]);
            assert_true(p[0] == 1 && p[sizes[i] - 1] == 1);
            mem_pages_free(p, sizes[i]);
            assert_true(q[0] == 2 && q[sizes[i] - 1] == 2);
            mem_pages_free(q, sizes[i]);
        }
    }
    mem_pages_free(NULL, 64 << 10);
    assert_null(mem_pages(4096, SIZE_MAX - 65535));
    mem_fail_at(1, 0);
    assert_null(mem_pages(4096, 64 << 10));
    mem_fail_at(0, 0);
    assert_int_equal(mem_fail_hits(), 1);
}

static void the_nth_fails_once(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 5; n++) {
        mem_fail_at(n, 0);
        for (uint64_t i = 1; i <= 8; i++) {
            void *p = mem_alloc(8);
            assert_int_equal(p == NULL, i == n);
            mem_free(p);
        }
        assert_int_equal(mem_fail_hits(), 1);
        assert_int_equal(mem_fail_hits(), 0);
    }
    mem_fail_at(0, 0);
}

static void sticky_fails_from_the_nth_on(void **state)
{
    (void)state;
    mem_fail_at(3, 1);
    for (uint64_t i = 1; i <= 8; i++) {
        void *p = mem_alloc(8);
        assert_int_equal(p == NULL, i >= 3);
        mem_free(p);
    }
    assert_int_equal(mem_fail_hits(), 6);
    mem_fail_at(0, 1);
    void *p = mem_alloc(8);
    assert_non_null(p);
    mem_free(p);
    assert_int_equal(mem_fail_hits(), 0);
}

static void every_door_can_fail(void **state)
{
    (void)state;
    char *kept = mem_strdup("kept");
    mem_fail_at(1, 1);
    assert_null(mem_alloc(1));
    assert_null(mem_zalloc(1));
    assert_null(mem_aligned(8, 1));
    assert_null(mem_strdup("x"));
    assert_null(mem_memdup("x", 1));
    assert_null(mem_realloc(kept, 100));
    mem_fail_at(0, 0);
    assert_int_equal(mem_fail_hits(), 6);
    assert_string_equal(kept, "kept");
    mem_free(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_doors_open),
        cmocka_unit_test(zero_bytes_are_not_a_failure),
        cmocka_unit_test(impossible_sizes_answer_null),
        cmocka_unit_test(aligned_memory_is_aligned),
        cmocka_unit_test(pages_are_whole_and_aligned),
        cmocka_unit_test(the_nth_fails_once),
        cmocka_unit_test(sticky_fails_from_the_nth_on),
        cmocka_unit_test(every_door_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
