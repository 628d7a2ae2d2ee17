/* A node of a cluster whose log takes writes while its engine takes none. */
#include "base/log.h"
#include "cluster_world.h"
#include "support/cmocka.h"
#include "tight_engine.h"

#include <stdio.h>

static struct cluster_world w; /* too large for a stack */

struct filling {
    enum status st;
    uint64_t begun_ms;
    struct err err;
};

static void fill_tables(void *arg)
{
    struct filling *f = arg;
    struct version v;
    char key[32];
    for (unsigned i = 0; i < 2000 && f->st == ST_OK; i++) {
        (void)snprintf(key, sizeof key, "filling %u", i);
        f->begun_ms = w.now_ms;
        f->st = cw_put(&w, &w.node[1], key, &v, &f->err);
    }
}

/* Its log has room, its tables have not: whoever writes is told at once, and why; and it goes on by
 * itself. */
static void test_a_leader_whose_tables_are_full_says_so(void **state)
{
    (void)state;
    struct filling f = {.st = ST_OK};
    err_init(&f.err);
    cw_init_on(&w, 5, 1, 1);
    w.node[1].o.engine_open = tight_open;
    w.node[1].o.table_bytes = 64 * 1024;
    cw_open(&w, 1);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    tight.full = true;
    cw_call(&w, fill_tables, &f);
    assert_int_equal(f.st, ST_DISK_FULL);
    assert_non_null(strstr(f.err.detail, "no room for a table"));
    assert_true(w.now_ms - f.begun_ms < 1500);
    tight.full = false;
    cw_run(&w, 3000);
    f.st = ST_OK;
    cw_call(&w, fill_tables, &f);
    assert_int_equal(f.st, ST_OK);
    cw_deinit(&w);
}

/* A drain gives way to others on the processor (env_run_behind), but not when writes wait for it. */
static void test_a_drain_that_writes_wait_for_is_in_a_hurry(void **state)
{
    (void)state;
    struct filling f = {.st = ST_OK};
    err_init(&f.err);
    cw_init_on(&w, 6, 1, 1);
    w.node[1].o.engine_open = tight_open;
    w.node[1].o.table_bytes = 64 * 1024;
    cw_open(&w, 1);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    tight.full = false;
    tight.hurried = 0;
    cw_call(&w, fill_tables, &f);
    assert_int_equal(f.st, ST_OK);
    assert_true(tight.hurried > 0);
    cw_run(&w, 1000);
    assert_false(atomic_load(tight.hurry));
    cw_deinit(&w);
}

struct follower {
    struct cw_node *full, *leader;
    enum status st;
    struct err err;
    uint64_t took_ms;
};

/* More than the follower has room for, and then a write there. */
static void write_past_the_end(void *arg)
{
    struct follower *f = arg;
    struct version v;
    struct err err;
    char key[60];
    for (unsigned i = 0; i < 3500; i++) {
        (void)snprintf(key, sizeof key, "%050u", i);
        assert_int_equal(cw_put(&w, f->leader, key, &v, &err), ST_OK);
    }
    uint64_t begun = w.now_ms;
    f->st = cw_put(&w, f->full, "there", &v, &f->err);
    f->took_ms = w.now_ms - begun;
}

/* It would not see what it passed on come back: its client would wait for long, and never know. */
static void test_a_follower_whose_disk_is_full_passes_nothing_on(void **state)
{
    (void)state;
    struct follower f = {.st = ST_OK};
    err_init(&f.err);
    cw_init(&w, 7, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    uint64_t leader = cw_leader(&w);
    f.leader = &w.node[leader];
    f.full = &w.node[leader % 3 + 1];
    sim_set_disk_bytes(f.full->env, 1);
    cw_call(&w, write_past_the_end, &f);
    assert_int_equal(f.st, ST_DISK_FULL);
    assert_true(f.took_ms < 1000);
    assert_int_equal(store_log_takes(f.leader->s, &f.err), ST_OK);
    assert_int_equal(store_log_takes(f.full->s, &f.err), ST_DISK_FULL);
    assert_true(f.err.detail[0] != '\0');
    sim_set_disk_bytes(f.full->env, 0);
    cw_until(&w, cw_converged, 20000, "the follower has caught up");
    assert_int_equal(store_log_takes(f.full->s, &f.err), ST_OK);
    cw_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_leader_whose_tables_are_full_says_so),
        cmocka_unit_test(test_a_drain_that_writes_wait_for_is_in_a_hurry),
        cmocka_unit_test(test_a_follower_whose_disk_is_full_passes_nothing_on),
    };
    log_configure(LOG_OFF, LOG_HUMAN); /* drains fail, and it says so */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
