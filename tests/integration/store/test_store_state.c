/* A whole store's state moved into another store, on two simulated machines: the same answers to
 * every question, the same bytes when it is moved on. What goes wrong: test_store_state_faults.c. */
#include "base/log.h"
#include "node/store/store_internal.h"
#include "state_world.h"
#include "support/cmocka.h"
#include "support/seeds.h"

static void a_state_moves_whole(void **state)
{
    (void)state;
    uint64_t seed, bytes = 0;
    FOR_EACH_SEED(seed, 40)
    {
        struct world a, b;
        struct buf one = BUF_INIT, two = BUF_INIT;
        world_init(&a, seed);
        world_init(&b, seed + 1000);
        live(&a, 40);
        struct engine_mark mark = take_state(&a, &one);
        struct collection *before;
        struct err err;
        err_init(&err);
        must(store_collection_find(b.s, BYTES_LIT("things"), &before, &err), &err);
        same_model(&b, &a);
        receive(&b, &one);
        assert_int_equal(b.s->range.applied, mark.index);
        assert_int_equal(version_cmp(store_visible(b.s), mark.version), 0);
        check_catalog(&b);
        check(&b);
        /* Moved on, it is the same to the byte. */
        take_state(&b, &two);
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        /* The handle from before is the same collection still. */
        struct collection *after;
        must(store_collection_find(b.s, BYTES_LIT("things"), &after, &err), &err);
        assert_ptr_equal(before, after);
        again(&b);
        check(&b);
        write_n(&b, 10);
        world_crash(&b, SIM_CRASH_POWER);
        check(&b);
        check_catalog(&b);
        /* What follows moves too, into a store that is not empty, and back over there. */
        sim_set_wall_ms(a.env, env_now_ms(b.env) + 1000);
        live(&a, 20);
        assert_int_equal(try_receive(&b, buf_bytes(&one), false, &err), ST_PRECONDITION_FAILED);
        check(&b);
        take_state(&a, &one);
        bytes += one.len;
        same_model(&b, &a);
        receive(&b, &one);
        check(&b);
        check_catalog(&b);
        assert_int_equal(b.s->folder, 0); /* the other way round */
        world_crash(&b, seed % 2 ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
        check(&b);
        write_n(&b, 10);
        world_checkpoint(&b);
        assert_int_equal(store_verify(b.s, NULL, NULL, NULL, &err), ST_OK);
        buf_deinit(&one);
        buf_deinit(&two);
        world_deinit(&a);
        world_deinit(&b);
    }
    print_message("%llu bytes moved\n", (unsigned long long)bytes);
}

/* The receiver had a life of its own, with the same ids for other names: none of it is left, and who
 * held a collection of it holds a dropped one. */
static void another_life_is_replaced(void **state)
{
    (void)state;
    struct world a, b;
    struct buf one = BUF_INIT;
    struct collection *others[3], *c;
    struct err err;
    err_init(&err);
    world_init(&b, 2);
    must(store_collection_open(b.s, BYTES_LIT("mine"), BYTES_EMPTY, &others[0], &err), &err);
    must(store_collection_open(b.s, BYTES_LIT("dropped"), BYTES_EMPTY, &others[1], &err), &err);
    must(store_collection_open(b.s, BYTES_LIT("mine too"), BYTES_EMPTY, &others[2], &err), &err);
    write_n(&b, 15);
    world_init(&a, 1);
    live(&a, 60);
    take_state(&a, &one);
    same_model(&b, &a);
    receive(&b, &one);
    check(&b);
    check_catalog(&b);
    for (int i = 0; i < 3; i++)
        assert_true(atomic_load(&others[i]->dropped));
    assert_int_equal(store_collection_find(b.s, BYTES_LIT("mine"), &c, &err), ST_NOT_FOUND);
    again(&b);
    must(store_collection_open(b.s, BYTES_LIT("mine"), BYTES_EMPTY, &c, &err), &err);
    world_crash(&b, SIM_CRASH_POWER);
    check(&b);
    buf_deinit(&one);
    world_deinit(&a);
    world_deinit(&b);
}

/* Iterators that were begun go on with what they began with; the old engine's files go when the last
 * of them is closed. */
static void old_readers_finish(void **state)
{
    (void)state;
    struct world a, b;
    struct buf one = BUF_INIT;
    struct store_iter *it, *history;
    struct store_row row;
    struct bytes file;
    struct err err;
    uint8_t space[256], upper[4];
    err_init(&err);
    world_init(&a, 3);
    live(&a, 30);
    world_init(&b, 4);
    take_state(&a, &one);
    same_model(&b, &a);
    receive(&b, &one);
    struct bytes lower = model_key(&b.m, 0, space);
    memcpy(upper, lower.data, 4);
    upper[3]++;
    struct store_scan q = {.in = {BYTES(lower.data, 4), BYTES(upper, 4)}};
    must(store_scan(b.s, &q, &it, &err), &err);
    must(store_history(b.s, lower, 0, &history, &err), &err);
    size_t live_keys = 0, seen = 0;
    uint64_t now = env_now_ms(b.env);
    for (uint8_t k = 0; k < MODEL_KEYS; k++) {
        const struct model_op *op = model_find(&b.m, k, VERSION_MAX, NULL);
        live_keys += op && op->kind == RECORD_PUT && (!op->expires_ms || op->expires_ms > now);
    }
    live(&a, 30);
    take_state(&a, &one);
    same_model(&b, &a);
    receive(&b, &one);
    assert_true(sim_file(b.env, "/db/engine.2/mem.dump", &file)); /* somebody reads it */
    assert_int_equal(try_receive(&b, buf_bytes(&one), false, &err), ST_OVERLOADED);
    check(&b);
    int rc;
    while ((rc = store_iter_next(it, &row, &err)) > 0)
        seen++;
    assert_int_equal(rc, 0);
    assert_int_equal(seen, live_keys);
    while ((rc = store_iter_next(history, &row, &err)) > 0)
        continue;
    assert_int_equal(rc, 0);
    store_iter_close(it);
    store_iter_close(history);
    (void)store_tick(b.s);
    assert_false(sim_file(b.env, "/db/engine.2/mem.dump", &file));
    assert_int_equal(try_receive(&b, buf_bytes(&one), false, &err), ST_PRECONDITION_FAILED);
    check(&b);
    buf_deinit(&one);
    world_deinit(&a);
    world_deinit(&b);
}

/* What the log has behind the mark: void, or kept. */
static void the_log_behind_is_void_or_kept(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        struct world a, b;
        struct buf one = BUF_INIT;
        struct wal_entries more = {0};
        struct err err;
        err_init(&err);
        world_init(&a, 5);
        live(&a, 30);
        struct engine_mark mark = take_state(&a, &one);
        world_init(&b, 6);
        same_model(&b, &a);
        write_n(&a, 8); /* behind the state, in the log */
        must(wal_read_entries(a.s->wal, RANGE_FIRST, mark.index + 1, UINT64_MAX, 1 << 20, &more,
                              &err),
             &err);
        assert_int_equal(more.n, 8);
        must(wal_append(b.s->wal, more.v, more.n, NULL, &err), &err);
        must(wal_sync(b.s->wal, &err), &err);
        must(try_receive(&b, buf_bytes(&one), keep, &err), &err);
        check(&b);
        if (keep) {
            same_model(&b, &a); /* the next opening applies them */
            world_crash(&b, SIM_CRASH_POWER);
            assert_int_equal(b.s->range.applied, mark.index + 8);
        } else {
            world_crash(&b, SIM_CRASH_POWER);
            assert_int_equal(b.s->range.applied, mark.index);
            check(&b);
            write_n(&b, 5); /* at the same indexes */
            world_crash(&b, SIM_CRASH_PROCESS_ONLY);
            assert_int_equal(b.s->range.applied, mark.index + 5);
        }
        check(&b);
        wal_entries_deinit(&more);
        buf_deinit(&one);
        world_deinit(&a);
        world_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_state_moves_whole),
        cmocka_unit_test(another_life_is_replaced),
        cmocka_unit_test(old_readers_finish),
        cmocka_unit_test(the_log_behind_is_void_or_kept),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
