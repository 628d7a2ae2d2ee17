/* How much of the log is kept: what is not drained is held against log_bytes, not the segment that is being
 * filled; and a cluster gives up entries only where that frees a segment. By name it looks for checkpoints at
 * every look, and for states sent to nodes that were an entry behind. */
#include "base/log.h"
#include "cluster_world.h"
#include "node/store/cluster.h"
#include "support/cmocka.h"

static struct cluster_world w; /* too large for a stack */

enum { SEGMENT = 1 << 20, LOG = 64 * 1024 };

static struct store_options options(void)
{
    return (struct store_options){.engine_name = "mem",
                                  .engine_open = engine_mem_open,
                                  .table_bytes = 16 << 20,
                                  .wal = {.segment_bytes = SEGMENT, .first_segment_bytes = SEGMENT},
                                  .checkpoint_interval_ms = UINT32_MAX,
                                  .log_bytes = LOG,
                                  .no_thread = true};
}

static enum status try_put(struct store *s, uint32_t collection)
{
    static const uint8_t value[1000];
    uint8_t key[5] = {[4] = 'k'};
    for (int i = 0; i < 4; i++)
        key[i] = (uint8_t)(collection >> (24 - 8 * i));
    struct entry_op op = {
        .key = BYTES(key, 5), .kind = RECORD_PUT, .value = BYTES(value, sizeof value)};
    struct store_write sw = {0};
    struct err err;
    err_init(&err);
    assert_int_equal(entry_encode(&op, 1, BYTES_EMPTY, &sw.entry, &err), ST_OK);
    enum status st = store_propose(s, &sw, &err);
    blob_unref(sw.entry);
    return st;
}

static void put(struct store *s, uint32_t collection)
{
    assert_int_equal(try_put(s, collection), ST_OK);
}

static struct store_stats stats(struct store *s)
{
    struct store_stats st;
    store_stats(s, &st);
    return st;
}

static struct store *open_alone(struct env *env, uint32_t *ret_collection)
{
    struct store_options o = options();
    struct store *s;
    struct collection *c;
    struct err err;
    err_init(&err);
    if (store_open(env, "/db", &o, &s, &err) != ST_OK)
        fail_msg("%s", err.detail);
    assert_int_equal(store_collection_open(s, BYTES_LIT("t"), BYTES_EMPTY, &c, &err), ST_OK);
    *ret_collection = collection_id(c);
    return s;
}

static void test_what_is_not_drained_forces_checkpoints(void **state)
{
    (void)state;
    struct env *env = sim_env_new(&(struct sim_options){.seed = 1});
    uint32_t collection;
    struct store *s = open_alone(env, &collection);
    for (int i = 0; i < 512; i++) { /* half of a segment, eight times what may wait */
        put(s, collection);
        store_tick(s);
    }
    assert_in_range(stats(s).checkpoints, 7, 10);
    assert_true(stats(s).wal.live_bytes > 8 * LOG);

    /* What an opening has replayed is not drained either. */
    for (int i = 0; i < 40; i++)
        put(s, collection);
    uint64_t persisted = stats(s).persisted_index;
    assert_true(persisted < stats(s).applied_index);
    sim_set_faults(env,
                   &(struct sim_faults){.fail_after_ops = 1}); /* it dies: no drain at its end */
    (void)!store_close(s, &(struct err){0});
    sim_set_faults(env, &(struct sim_faults){0});
    s = open_alone(env, &collection);
    store_tick(s);
    assert_true(stats(s).persisted_index > persisted);
    assert_int_equal(stats(s).checkpoints, 1);
    put(s, collection);
    store_tick(s);
    assert_int_equal(stats(s).checkpoints, 1);
    assert_int_equal(store_close(s, NULL), ST_OK);
    sim_env_free(env);
}

static uint64_t states(void)
{
    uint64_t n = 0;
    for (uint64_t id = 1; id <= w.n; id++)
        n += atomic_load(&w.node[id].s->cluster->m_snapshots_installed->value);
    return n;
}

static void test_who_is_a_bit_behind_gets_entries(void **state)
{
    (void)state;
    cw_init(&w, 3, 3);
    w.delay_ms = 20;
    for (uint64_t id = 1; id <= 3; id++) {
        struct cw_node *n = &w.node[id];
        assert_int_equal(store_close(n->s, NULL), ST_OK);
        n->o = options();
        n->o.log_bytes = 4096;
        n->s = NULL;
        cw_open(&w, id);
    }
    cw_until(&w, cw_has_leader, 10000, "a leader");
    cw_collection(&w);
    for (int i = 0; i < 8; i++)
        cw_client_start(&w);
    w.loss = 50; /* then a node is asked anew from the last entry that it is known to have */
    uint64_t checkpoints = 0;
    while (checkpoints < 100) {
        assert_true(w.now_ms < 600000);
        cw_run(&w, 500);
        checkpoints = UINT64_MAX;
        for (uint64_t id = 1; id <= 3; id++)
            if (stats(w.node[id].s).checkpoints < checkpoints)
                checkpoints = stats(w.node[id].s).checkpoints;
    }
    assert_int_equal(states(), 0);
    cw_judge(&w);
    cw_deinit(&w);
}

struct writing {
    struct store *s;
    enum status st;
    struct err err;
};

static void write_some(void *arg)
{
    struct writing *x = arg;
    for (int i = 0; i < 100 && x->st == ST_OK; i++)
        x->st = try_put(x->s, w.collection);
}

static void keep_one_version(void *arg)
{
    static const struct collection_settings one = {.max_count = 1};
    struct writing *x = arg;
    x->st = store_settings_set(x->s, BYTES_LIT("things"), &one, NULL);
}

static void vacuum(void *arg)
{
    struct writing *x = arg;
    x->st = store_vacuum(x->s, BYTES_LIT("things"), NULL, NULL, NULL, &x->err);
}

/* The disk is full of a log that nobody needs: what it says is drained, and its limit is far. */
static void test_a_full_disk_is_freed_of_what_is_drained(void **state)
{
    (void)state;
    cw_init(&w, 7, 3);
    for (uint64_t id = 1; id <= 3; id++) {
        struct cw_node *n = &w.node[id];
        assert_int_equal(store_close(n->s, NULL), ST_OK);
        n->o = options();
        n->o.log_bytes = 0;
        n->o.wal = (struct wal_options){.segment_bytes = SEGMENT / 4};
        n->o.checkpoint_interval_ms = 100;
        n->s = NULL;
        cw_open(&w, id);
        sim_set_disk_bytes(n->env, 6 * SEGMENT);
    }
    cw_until(&w, cw_has_leader, 10000, "a leader");
    cw_collection(&w);
    struct writing x = {.s = w.node[1].s};
    cw_call(&w, keep_one_version, &x);
    assert_int_equal(x.st, ST_OK);
    unsigned refused = 0;
    for (unsigned i = 0; i < 300; i++) { /* 30 MB: five times the disk */
        x = (struct writing){.s = w.node[1].s};
        cw_call(&w, write_some, &x);
        cw_run(&w, 10);
        refused += x.st == ST_DISK_FULL;
        if (x.st != ST_OK && (x.st != ST_DISK_FULL || refused > 30))
            fail_msg("after %u MB: %s", i / 10, status_name(x.st));
        for (uint64_t id = 1; i % 5 == 0 && id <= 3; id++) {
            x.s = w.node[id].s;
            cw_call(&w, vacuum, &x); /* or the next time */
            refused += x.st == ST_DISK_FULL;
        }
    }
    cw_until(&w, cw_converged, 20000, "all have it");
    cw_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_not_drained_forces_checkpoints),
        cmocka_unit_test(test_a_full_disk_is_freed_of_what_is_drained),
        cmocka_unit_test(test_who_is_a_bit_behind_gets_entries),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
