/* Blocks by size class: what one holds no other touches, whatever is given back and taken again. */
#include "sim/core/blocks.h"
#include "sim/core/dice.h"
#include "sim/core/heap.h"
#include "support/cmocka.h"

#include <string.h>

enum { BLOCKS = 200, STEPS = 50000 };

static size_t draw_size(struct dice *d)
{
    static const uint64_t most[] = {16, 300, 1100, 5000, 70000, 3 << 20};
    return (size_t)dice_below(d, most[dice_below(d, dice_below(d, 40) ? 4 : 6)] + 1);
}

static bool is_full_of(const uint8_t *p, size_t len, uint8_t byte)
{
    return len == 0 || (p[0] == byte && memcmp(p, p + 1, len - 1) == 0);
}

static void test_blocks_are_apart(void **state)
{
    (void)state;
    struct dice d = {3};
    uint8_t *at[BLOCKS] = {NULL};
    size_t size[BLOCKS] = {0};
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)dice_below(&d, BLOCKS);
        if (at[i])
            assert_true(is_full_of(at[i], size[i], (uint8_t)i));
        blocks_give(at[i], size[i]);
        size[i] = draw_size(&d);
        at[i] = blocks_take(size[i]);
        assert_non_null(at[i]);
        assert_int_equal((uintptr_t)at[i] % 16, 0);
        memset(at[i], (int)i, size[i]);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        blocks_give(at[i], size[i]);
}

static void test_room_is_there(void **state)
{
    (void)state;
    for (size_t size = 0; size < 9000; size++) {
        size_t room = blocks_room(size);
        assert_true(room >= size && room <= size + 16 + size / 4);
        assert_int_equal(blocks_room(room), room);
    }
}

/* The heap of a process counts what stands in it, however blocks grow and shrink. */
static void test_a_heap_counts_its_bytes(void **state)
{
    (void)state;
    struct dice d = {5};
    struct sim_heap h;
    uint8_t *at[BLOCKS] = {NULL};
    size_t size[BLOCKS] = {0}, sum = 0;
    sim_heap_init(&h);
    struct sim_heap *before = sim_heap_enter(&h);
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)dice_below(&d, BLOCKS), to = draw_size(&d);
        if (at[i] && dice_one_in(&d, 4)) {
            sim_heap_free(at[i]);
            at[i] = NULL;
            sum -= size[i];
            size[i] = 0;
            continue;
        }
        size_t kept = size[i] < to ? size[i] : to;
        at[i] = sim_heap_realloc(at[i], to);
        assert_true(is_full_of(at[i], kept, (uint8_t)i));
        memset(at[i], (int)i, to);
        sum += to - size[i];
        size[i] = to;
        assert_int_equal(sim_heap_size(at[i]), to);
        assert_int_equal(h.bytes, sum);
    }
    sim_heap_enter(before);
    sim_heap_drop(&h);
    assert_int_equal(h.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks_are_apart),
        cmocka_unit_test(test_room_is_there),
        cmocka_unit_test(test_a_heap_counts_its_bytes),
    };
    return cmocka_run_group_tests_name("sim_blocks", tests, NULL, NULL);
}
