/* test_support.c - the tests' own tools. */
#include "support/cmocka.h"
#include "support/hexdump.h"
#include "support/rng.h"
#include "support/seeds.h"
#include "support/tempdir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void the_same_seed_gives_the_same_numbers(void **state)
{
    (void)state;
    struct test_rng a, b, c;
    test_rng_init(&a, 7);
    test_rng_init(&b, 7);
    test_rng_init(&c, 8);
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        uint64_t v = test_rng_u64(&a);
        assert_true(v == test_rng_u64(&b));
        differs |= v != test_rng_u64(&c);
    }
    assert_true(differs);
}

static void numbers_stay_in_their_range_and_reach_its_ends(void **state)
{
    (void)state;
    struct test_rng r;
    unsigned seen[10] = {0}, wide = 0, narrow = 0;
    test_rng_init(&r, 1);
    for (int i = 0; i < 10000; i++) {
        uint64_t v = test_rng_below(&r, 10);
        assert_true(v < 10);
        seen[v]++;
        v = test_rng_between(&r, 5, 7);
        assert_in_range(v, 5, 7);
        v = test_rng_any_width(&r);
        wide += v >> 60 != 0;
        narrow += v < 16;
        assert_true(test_rng_chance(&r, 3, 3));
        assert_false(test_rng_chance(&r, 0, 3));
    }
    for (int i = 0; i < 10; i++)
        assert_in_range(seen[i], 800, 1200);
    assert_true(wide > 300 && narrow > 300);
    assert_true(test_rng_below(&r, 1) == 0);
    (void)test_rng_between(&r, 0, UINT64_MAX);
}

static void seed_loops_count_scale_and_narrow(void **state)
{
    (void)state;
    uint64_t seed, sum = 0, count = 0;
    unsetenv("VARVE_SEED");
    setenv("VARVE_SEEDS", "2", 1);
    FOR_EACH_SEED(seed, 5)
    {
        sum += seed;
        count++;
    }
    assert_true(count == 10 && sum == 45);
    setenv("VARVE_SEEDS", "0.01", 1);
    assert_true(seeds_scaled(5) == 1);
    setenv("VARVE_SEED", "77", 1);
    count = 0;
    FOR_EACH_SEED(seed, 5)
    {
        assert_true(seed == 77);
        count++;
    }
    assert_true(count == 1);
    unsetenv("VARVE_SEED");
    unsetenv("VARVE_SEEDS");
}

static void a_temporary_folder_comes_and_goes(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], other[TEMP_DIR_MAX], path[TEMP_DIR_MAX + 64];
    struct stat info;
    assert_true(temp_dir_make(dir, "support"));
    assert_true(temp_dir_make(other, "support"));
    assert_string_not_equal(dir, other);
    snprintf(path, sizeof path, "%s/sub", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/sub/file", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
    /* A link out of the folder is removed, what it points to is not. */
    snprintf(path, sizeof path, "%s/sub/link", dir);
    assert_int_equal(symlink(other, path), 0);
    assert_true(temp_dir_remove(dir));
    assert_int_equal(stat(dir, &info), -1);
    assert_int_equal(stat(other, &info), 0);
    assert_true(temp_dir_remove(other));
}

static void a_hex_dump_shows_offset_hex_and_text(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    hex_dump(f, "key", "ABCDEFGHIJKLMNOP\x01z", 18);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(
        text, "key (18 bytes)\n"
              "00000000  41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50  ABCDEFGHIJKLMNOP\n"
              "00000010  01 7a                                            .z\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_numbers),
        cmocka_unit_test(numbers_stay_in_their_range_and_reach_its_ends),
        cmocka_unit_test(seed_loops_count_scale_and_narrow),
        cmocka_unit_test(a_temporary_folder_comes_and_goes),
        cmocka_unit_test(a_hex_dump_shows_offset_hex_and_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
