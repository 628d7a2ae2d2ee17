#include "sim/env/sim_env.h"
#include "storage/table/table.h"
#include "support/cmocka.h"
#include "unit/engine/suite_engine.h"

const struct backend suite_backend = {"mem", 30, engine_mem_open, engine_mem_test_raw, NULL};

static enum status drain_one(struct engine *e, uint64_t index, struct err *err)
{
    struct table *t = table_new();
    struct record r = {.version = {index, 0},
                       .kind = RECORD_PUT,
                       .writer = BYTES_EMPTY,
                       .value = BYTES_LIT("value")};
    struct engine_mark mark = {index, 1, {index, 0}};
    assert_int_equal(table_put(t, BYTES_LIT("key"), &r, NULL), ST_OK);
    enum status st = e->ops->drain(e, 1, t, &mark, err);
    table_unref(t);
    return st;
}

static uint64_t mark_of(struct engine *e)
{
    struct engine_mark mark = {0};
    struct err err;
    assert_int_equal(e->ops->persisted(e, 1, &mark, &err), ST_OK);
    return mark.index;
}

/* A drain whose nth disk operation and all later ones fail; the engine is opened anew, as by a process that
 * takes over, and says how far it is; then the power goes. It must be as far still. */
static void what_it_opened_with_stays(void **state)
{
    (void)state;
    bool newer = false;
    for (uint64_t seed = 1; seed <= 12; seed++)
        for (uint64_t n = 1; n <= 12; n++) {
            struct env *env = sim_env_new(&(struct sim_options){.seed = seed});
            struct engine *e;
            struct err err;
            assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
            assert_int_equal(drain_one(e, 1, &err), ST_OK);
            sim_set_faults(env, &(struct sim_faults){.fail_after_ops = n});
            (void)drain_one(e, 2, &err);
            sim_set_faults(env, &(struct sim_faults){0});
            e->ops->close(e);
            assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
            uint64_t mark = mark_of(e);
            newer = newer || mark == 2;
            sim_crash(env, SIM_CRASH_POWER, 512);
            e->ops->close(e);
            assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
            if (mark_of(e) < mark)
                fail_msg("seed %lu, operation %lu: the mark went back", (unsigned long)seed,
                         (unsigned long)n);
            e->ops->close(e);
            sim_env_free(env);
        }
    assert_true(newer);
}

/* On a full disk it opens all the same, and says that it could not make sure. */
static void a_full_disk_leaves_it_unsure(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct engine *e;
    struct err err;
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    assert_int_equal(drain_one(e, 1, &err), ST_OK);
    assert_false(e->unsure);
    e->ops->close(e);
    sim_set_disk_bytes(env, 1);
    assert_int_equal(engine_mem_open(env, "/e", NULL, &e, &err), ST_OK);
    assert_true(e->unsure);
    assert_int_equal(mark_of(e), 1);
    e->ops->close(e);
    sim_env_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suite_random),
        cmocka_unit_test(suite_changes_order),
        cmocka_unit_test(suite_long_history),
        cmocka_unit_test(suite_large),
        cmocka_unit_test(suite_move),
        cmocka_unit_test(suite_copy),
        cmocka_unit_test(suite_refusals),
        cmocka_unit_test(suite_no_memory),
        cmocka_unit_test(suite_verify_planted),
        cmocka_unit_test(suite_verify_random),
        cmocka_unit_test(what_it_opened_with_stays),
        cmocka_unit_test(a_full_disk_leaves_it_unsure),
    };
    return cmocka_run_group_tests_name("engine_mem", tests, suite_setup, NULL);
}
