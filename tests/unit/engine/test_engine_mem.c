#include "support/cmocka.h"
#include "unit/engine/suite_engine.h"

const struct backend suite_backend = {"mem", 30, engine_mem_open, engine_mem_test_raw, NULL};

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suite_random),         cmocka_unit_test(suite_changes_order),
        cmocka_unit_test(suite_long_history),   cmocka_unit_test(suite_large),
        cmocka_unit_test(suite_move),           cmocka_unit_test(suite_copy),
        cmocka_unit_test(suite_refusals),       cmocka_unit_test(suite_no_memory),
        cmocka_unit_test(suite_verify_planted), cmocka_unit_test(suite_verify_random),
    };
    return cmocka_run_group_tests_name("engine_mem", tests, suite_setup, NULL);
}
