/* Writes with a request id: done once, across copies in one group, kills, power cuts and a day; known
 * no longer after it. */
#include "store_world.h"
#include "support/cmocka.h"

#include <stdio.h>

static enum status once(struct world *w, const char *id, uint8_t digest, const char *value,
                        enum store_sync sync, struct store_write *ret, struct err *err)
{
    uint8_t space[256], d[STORE_DIGEST_BYTES] = {digest};
    struct store_request request;
    *ret = (struct store_write){.request_id = BYTES_STR(id), .sync = sync};
    store_request_op(ret->request_id, d, env_now_ms(w->env), &request);
    struct entry_op ops[] = {
        {.key = model_key(&w->m, 1, space), .kind = RECORD_PUT, .value = BYTES_STR(value)},
        request.op};
    enum status st = entry_encode(ops, 2, BYTES_EMPTY, &ret->entry, err);
    if (st == ST_OK)
        st = store_propose(w->s, ret, err);
    blob_unref(ret->entry);
    ret->entry = NULL;
    return st;
}

static void reopen(struct world *w, enum sim_crash how)
{
    world_abandon(w);
    sim_crash(w->env, how, 512);
    world_open(w);
}

static void test_copies_are_done_once(void **state)
{
    struct world w;
    struct err err;
    struct store_write a, b;
    (void)state;
    err_init(&err);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        world_init(&w, seed);
        assert_int_equal(once(&w, "one", 1, "x", STORE_SYNC_ALWAYS, &a, &err), ST_OK);
        assert_false(a.duplicate);
        assert_int_equal(once(&w, "one", 1, "x", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
        assert_true(b.duplicate);
        assert_int_equal(version_cmp(a.version, b.version), 0);
        assert_int_equal(once(&w, "one", 2, "y", STORE_SYNC_ALWAYS, &b, &err), ST_INVALID_ARGUMENT);
        reopen(&w, seed % 2 ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
        assert_int_equal(once(&w, "one", 1, "x", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
        assert_true(b.duplicate);
        assert_int_equal(version_cmp(a.version, b.version), 0);
        world_checkpoint(&w);
        reopen(&w, SIM_CRASH_POWER);
        assert_int_equal(once(&w, "one", 1, "x", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
        assert_true(b.duplicate);
        assert_int_equal(once(&w, "two", 1, "x", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
        assert_false(b.duplicate);
        assert_true(version_cmp(b.version, a.version) > 0);
        world_deinit(&w);
    }
}

/* A copy that asks for more durability than the first got gets it. */
static void test_a_copy_is_as_durable_as_it_asks(void **state)
{
    struct world w;
    struct err err;
    struct store_write a, b;
    (void)state;
    err_init(&err);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        world_init(&w, seed);
        assert_int_equal(once(&w, "one", 1, "x", STORE_SYNC_OFF, &a, &err), ST_OK);
        assert_int_equal(once(&w, "one", 1, "x", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
        assert_true(b.duplicate);
        reopen(&w, SIM_CRASH_POWER);
        assert_int_equal(once(&w, "one", 1, "x", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
        assert_true(b.duplicate);
        assert_int_equal(version_cmp(a.version, b.version), 0);
        world_deinit(&w);
    }
}

static void test_after_a_day_an_id_is_new(void **state)
{
    struct world w;
    struct err err;
    struct store_write a, b;
    struct store_vacuum_result r;
    struct store_stats before, after;
    (void)state;
    err_init(&err);
    world_init(&w, 1);
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "id %d", i);
        assert_int_equal(once(&w, id, 1, "x", STORE_SYNC_ALWAYS, &a, &err), ST_OK);
    }
    sim_advance_ms(w.env, STORE_REQUEST_KEPT_MS - 60000);
    assert_int_equal(once(&w, "id 0", 1, "x", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
    assert_true(b.duplicate);
    sim_advance_ms(w.env, 120000);
    assert_int_equal(once(&w, "id 0", 2, "y", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
    assert_false(b.duplicate);
    world_checkpoint(&w);
    store_stats(w.s, &before);
    assert_int_equal(store_vacuum(w.s, BYTES_EMPTY, NULL, NULL, &r, &err), ST_OK);
    assert_int_equal(r.expired, 49);
    store_stats(w.s, &after);
    assert_true(r.versions_removed >= 49);
    assert_int_equal(once(&w, "id 0", 2, "y", STORE_SYNC_ALWAYS, &b, &err), ST_OK);
    assert_true(b.duplicate);
    /* Nothing of it is a user's. */
    struct store_iter *it;
    struct store_row row;
    assert_int_equal(store_changes(w.s, BYTES_EMPTY, VERSION_NONE, BYTES_EMPTY, &it, &err), ST_OK);
    int n = 0;
    while (store_iter_next(it, &row, &err) > 0)
        n++;
    store_iter_close(it);
    assert_int_equal(n, 51);
    world_deinit(&w);
}

static void test_malformed_requests_are_refused(void **state)
{
    struct world w;
    struct err err;
    uint8_t space[256], long_id[STORE_REQUEST_ID_MAX + 1] = {0};
    (void)state;
    err_init(&err);
    world_init(&w, 1);
    struct entry_op op = {
        .key = model_key(&w.m, 1, space), .kind = RECORD_PUT, .value = BYTES_EMPTY};
    struct store_write sw = {.request_id = BYTES_LIT("not in the entry")};
    assert_int_equal(entry_encode(&op, 1, BYTES_EMPTY, &sw.entry, &err), ST_OK);
    assert_int_equal(store_propose(w.s, &sw, &err), ST_INVALID_ARGUMENT);
    sw.request_id = BYTES(long_id, sizeof long_id);
    assert_int_equal(store_propose(w.s, &sw, &err), ST_TOO_LARGE);
    blob_unref(sw.entry);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_are_done_once),
        cmocka_unit_test(test_a_copy_is_as_durable_as_it_asks),
        cmocka_unit_test(test_after_a_day_an_id_is_new),
        cmocka_unit_test(test_malformed_requests_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
