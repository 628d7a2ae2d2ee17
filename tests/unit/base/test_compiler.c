/* The compiler itself: a case that Debian's gcc 12.2 gets wrong at -O1, and at -O2 where it does
 * not vectorize, unless it is kept from it (cmake/VarveOptions.cmake). Whoever changes the flags or
 * the compiler learns of it here. */
#include "support/cmocka.h"

enum { N = 128 };
struct rows {
    uint32_t from[N], to[N][8];
    unsigned count[N];
};
static struct rows rows[3];

static __attribute__((noinline)) void fill(struct rows *r)
{
    for (size_t i = 0; i < N; i++) {
        r->to[i][0] = r->from[i];
        r->count[i] = 1;
    }
}

static void test_stores_through_a_loop_are_not_deleted(void **state)
{
    (void)state;
    fill(&rows[1]);
    assert_int_equal(rows[1].count[5], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stores_through_a_loop_are_not_deleted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
