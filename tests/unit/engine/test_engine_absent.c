/* test_engine_absent.c - the engine `rocks` in a build without RocksDB: it says so, and makes nothing. */
#include "storage/engine/engine.h"
#include "support/cmocka.h"
#include "support/tempdir.h"

#include <stdio.h>

static void says_so(void **state)
{
    (void)state;
    char dir[TEMP_DIR_MAX], own[TEMP_DIR_MAX + 16];
    struct engine *e = NULL;
    struct err err;
    assert_true(temp_dir_make(dir, "absent"));
    snprintf(own, sizeof(own), "%s/engine", dir);
    assert_false(engine_rocks_built());
    assert_int_equal(engine_rocks_open(env_linux(), own, NULL, &e, &err), ST_UNIMPLEMENTED);
    assert_non_null(strstr(err.detail, "VARVE_ROCKS"));
    assert_null(e);
    assert_false(env_exists(env_linux(), own));
    assert_true(temp_dir_remove(dir));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(says_so)};
    return cmocka_run_group_tests_name("engine_absent", tests, NULL, NULL);
}
