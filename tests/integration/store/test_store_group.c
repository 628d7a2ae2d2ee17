/* What a write of a group is told when another one of the group fails. */
#include "base/env/fiber.h"
#include "node/store/store_internal.h"
#include "sim/env/sim_env.h"
#include "support/cmocka.h"

struct fixture {
    struct env *env;
    struct store *s;
    struct collection *c;
    struct fiber_sched *fibers;
    enum status first, second;
};

static enum status put(struct fixture *f, bool if_absent)
{
    uint8_t key[5] = {[4] = 'k'};
    uint32_t id = collection_id(f->c);
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(id >> (24 - 8 * i));
    struct entry_op op = {.key = BYTES(key, 5), .kind = RECORD_PUT, .value = BYTES_LIT("v")};
    struct store_require absent = {.key = op.key, .what = STORE_REQUIRE_ABSENT};
    struct store_write w = {
        .requires = &absent, .n_requires = if_absent, .collections = &f->c, .n_collections = 1};
    struct err err;
    err_init(&err);
    assert_int_equal(entry_encode(&op, 1, BYTES_EMPTY, &w.entry, &err), ST_OK);
    enum status st = store_propose(f->s, &w, &err);
    blob_unref(w.entry);
    return st;
}

static void put_first(void *arg)
{
    struct fixture *f = arg;
    f->first = put(f, false);
}

static void put_second(void *arg)
{
    struct fixture *f = arg;
    f->second = put(f, true);
}

static void drop_first(void *arg)
{
    struct fixture *f = arg;
    f->first = store_collection_drop(f->s, BYTES_LIT("t"), BYTES_EMPTY, NULL);
}

static void put_plainly(void *arg)
{
    struct fixture *f = arg;
    f->second = put(f, false);
}

static void run_two(struct fixture *f, const struct sim_faults *faults, void (*first)(void *),
                    void (*second)(void *))
{
    struct err err;
    err_init(&err);
    f->env = sim_env_new(&(struct sim_options){.seed = 1});
    struct store_options o = {
        .engine_name = "mem", .engine_open = engine_mem_open, .no_thread = true};
    assert_int_equal(store_open(f->env, "/db", &o, &f->s, &err), ST_OK);
    assert_int_equal(store_collection_open(f->s, BYTES_LIT("t"), BYTES_EMPTY, &f->c, &err), ST_OK);
    f->fibers = fiber_sched_new(4, FIBER_STACK_DEFAULT, &err);
    sim_set_faults(f->env, faults);
    assert_int_equal(fiber_spawn(f->fibers, first, f, &err), ST_OK);
    assert_int_equal(fiber_spawn(f->fibers, second, f, &err), ST_OK);
    fiber_sched_run(f->fibers);
    fiber_sched_free(f->fibers);
    sim_set_faults(f->env, &(struct sim_faults){0});
    (void)store_close(f->s, &err); /* poisoned or not */
    sim_env_free(f->env);
}

static void run(struct fixture *f, const struct sim_faults *faults)
{
    run_two(f, faults, put_first, put_second);
}

static void test_store_group_meets_its_own(void **state)
{
    (void)state;
    struct fixture f = {0};
    run(&f, &(struct sim_faults){0});
    assert_int_equal(f.first, ST_OK);
    assert_int_equal(f.second, ST_PRECONDITION_FAILED);
}

/* Refused for what the first one writes: when that is not sure, neither is the refusal. (Found by
 * varve-sim: a key that somebody was told of was gone after the restart.) */
static void test_store_group_failed_sync(void **state)
{
    (void)state;
    struct fixture f = {0};
    run(&f, &(struct sim_faults){.sync_eio_ppm = 1000000});
    assert_int_equal(f.first, ST_POISONED);
    assert_int_equal(f.second, ST_POISONED);
}

static void test_store_group_full_disk(void **state)
{
    (void)state;
    struct fixture f = {0};
    run(&f, &(struct sim_faults){.write_enospc_ppm = 1000000});
    assert_int_equal(f.first, ST_DISK_FULL);
    assert_int_equal(f.second, ST_DISK_FULL);
}

/* What is written behind the drop would be in a collection that nobody finds any more. */
static void test_store_group_drops_a_collection(void **state)
{
    (void)state;
    struct fixture f = {0};
    run_two(&f, &(struct sim_faults){0}, drop_first, put_plainly);
    assert_int_equal(f.first, ST_OK);
    assert_int_equal(f.second, ST_CANCELLED);
}

/* What was taken for collections that are not made in the end serves the next ones. */
static void test_store_group_takes_no_memory_in_vain(void **state)
{
    (void)state;
    struct err err;
    struct store *s;
    struct collection *c;
    err_init(&err);
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    struct store_options o = {
        .engine_name = "mem", .engine_open = engine_mem_open, .no_thread = true};
    assert_int_equal(store_open(env, "/db", &o, &s, &err), ST_OK);
    sim_set_faults(env, &(struct sim_faults){.write_enospc_ppm = 1000000});
    for (int i = 0; i < 100; i++)
        assert_int_equal(store_collection_open(s, BYTES_LIT("t"), BYTES_EMPTY, &c, &err),
                         ST_DISK_FULL);
    assert_true(s->catalog.n_spare < 10);
    sim_set_faults(env, &(struct sim_faults){0});
    assert_int_equal(store_collection_open(s, BYTES_LIT("t"), BYTES_EMPTY, &c, &err), ST_OK);
    assert_int_equal(store_close(s, &err), ST_OK);
    sim_env_free(env);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store_group_meets_its_own),
        cmocka_unit_test(test_store_group_failed_sync),
        cmocka_unit_test(test_store_group_full_disk),
        cmocka_unit_test(test_store_group_drops_a_collection),
        cmocka_unit_test(test_store_group_takes_no_memory_in_vain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
