/* test_arena.c - pieces never overlap, never move, and come back all at once. */
#include "base/alloc.h"
#include "base/arena.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <string.h>

enum { PIECES = 400 };

static void pieces_keep_their_bytes(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 100)
    {
        struct test_rng rng;
        struct arena a;
        struct {
            uint8_t *p;
            size_t len;
        } piece[PIECES];
        test_rng_init(&rng, seed);
        arena_init(&a, (size_t)test_rng_between(&rng, 1, 3000));
        for (size_t round = 0; round < 3; round++) {
            for (size_t i = 0; i < PIECES; i++) {
                size_t align = (size_t)1 << test_rng_below(&rng, 9);
                piece[i].len =
                    (size_t)test_rng_below(&rng, test_rng_chance(&rng, 1, 20) ? 5000 : 100);
                piece[i].p = arena_alloc_align(&a, piece[i].len, align);
                assert_non_null(piece[i].p);
                assert_int_equal((uintptr_t)piece[i].p % align, 0);
                memset(piece[i].p, (int)(i & 0xff), piece[i].len);
            }
            for (size_t i = 0; i < PIECES; i++)
                for (size_t k = 0; k < piece[i].len; k++)
                    assert_int_equal(piece[i].p[k], i & 0xff);
            arena_reset(&a);
        }
        arena_deinit(&a);
    }
}

static void default_alignment_is_eight(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 0);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal((uintptr_t)arena_alloc(&a, i) % 8, 0);
    assert_string_equal(arena_strdup(&a, "varve"), "varve");
    assert_memory_equal(arena_memdup(&a, "a\0b", 3), "a\0b", 3);
    assert_non_null(arena_memdup(&a, NULL, 0));
    arena_deinit(&a);
    arena_deinit(&a);
    arena_deinit(NULL);
}

static void reset_reuses_the_newest_chunk(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    assert_int_equal(a.total_bytes, 0);
    for (int i = 0; i < 100; i++)
        assert_non_null(arena_alloc(&a, 1000));
    size_t full = a.total_bytes;
    arena_reset(&a);
    size_t kept = a.total_bytes;
    assert_true(kept > 0 && kept < full);
    mem_fail_at(1, 1);
    assert_non_null(arena_alloc(&a, 1000)); /* from the kept chunk: no heap needed */
    mem_fail_at(0, 0);
    assert_int_equal(mem_fail_hits(), 0);
    assert_int_equal(a.total_bytes, kept);
    arena_deinit(&a);
}

static void reset_gives_an_oversized_chunk_back(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    assert_non_null(arena_alloc(&a, 1 << 20));
    arena_reset(&a);
    assert_int_equal(a.total_bytes, 0);
    assert_non_null(arena_alloc(&a, 10));
    assert_true(a.total_bytes < 10000);
    arena_deinit(&a);
}

static void a_large_piece_leaves_the_open_chunk_in_use(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    uint8_t *first = arena_alloc(&a, 16);
    assert_non_null(arena_alloc(&a, 100000));
    uint8_t *second = arena_alloc(&a, 16);
    assert_ptr_equal(second, first + 16);
    arena_deinit(&a);
}

static void failures_answer_null_and_leave_the_arena_usable(void **state)
{
    (void)state;
    bool done = false;
    uint64_t n;
    for (n = 1; !done; n++) {
        struct arena a;
        arena_init(&a, 256);
        uint64_t nulls = 0;
        mem_fail_at(n, n % 2);
        for (size_t i = 0; i < 200; i++) {
            uint8_t *p = arena_alloc(&a, i * 3);
            nulls += p == NULL;
            if (p)
                memset(p, 1, i * 3);
        }
        mem_fail_at(0, 0);
        assert_int_equal(mem_fail_hits(), nulls);
        done = nulls == 0;
        assert_non_null(arena_alloc(&a, 5000));
        assert_null(arena_alloc(&a, SIZE_MAX));
        assert_null(arena_alloc_align(&a, SIZE_MAX - 64, 64));
        assert_null(arena_alloc(&a, (size_t)PTRDIFF_MAX));
        arena_deinit(&a);
    }
    assert_true(n > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_keep_their_bytes),
        cmocka_unit_test(default_alignment_is_eight),
        cmocka_unit_test(reset_reuses_the_newest_chunk),
        cmocka_unit_test(reset_gives_an_oversized_chunk_back),
        cmocka_unit_test(a_large_piece_leaves_the_open_chunk_in_use),
        cmocka_unit_test(failures_answer_null_and_leave_the_arena_usable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
