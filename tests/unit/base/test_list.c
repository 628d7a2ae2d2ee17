/* test_list.c - the intrusive list against an array. */
#include "base/list.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/seeds.h"

#include <string.h>

struct item {
    int id;
    struct list node;
};
enum { ITEMS = 20 };

static void check_same(struct list *head, const int *model, size_t count)
{
    size_t i = 0;
    list_foreach (it, head) {
        assert_true(i < count);
        assert_int_equal(container_of(it, struct item, node)->id, model[i]);
        assert_ptr_equal(it->next->prev, it);
        i++;
    }
    assert_int_equal(i, count);
    assert_int_equal(list_empty(head), count == 0);
}

static void a_list_is_an_array(void **state)
{
    (void)state;
    uint64_t seed;
    FOR_EACH_SEED(seed, 200)
    {
        struct test_rng rng;
        struct item item[ITEMS];
        struct list head;
        int model[ITEMS];
        size_t count = 0;
        test_rng_init(&rng, seed);
        list_init(&head);
        for (int i = 0; i < ITEMS; i++) {
            item[i].id = i;
            list_init(&item[i].node);
        }
        for (int step = 0; step < 200; step++) {
            int id = (int)test_rng_below(&rng, ITEMS);
            size_t at = 0;
            while (at < count && model[at] != id)
                at++;
            if (at < count) {
                list_remove(&item[id].node);
                assert_true(list_empty(&item[id].node));
                memmove(model + at, model + at + 1, (count - at - 1) * sizeof *model);
                count--;
            } else if (test_rng_chance(&rng, 1, 2)) {
                list_push_back(&head, &item[id].node);
                model[count++] = id;
            } else {
                list_push_front(&head, &item[id].node);
                memmove(model + 1, model, count * sizeof *model);
                model[0] = id;
                count++;
            }
            check_same(&head, model, count);
        }
        list_foreach_safe (it, &head)
            list_remove(it);
        assert_true(list_empty(&head));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_list_is_an_array)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
