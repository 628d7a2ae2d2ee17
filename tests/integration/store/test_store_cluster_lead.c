/* Who leads a cluster, when who does is to stop or has no room. */
#include "base/log.h"
#include "cluster_world.h"
#include "consensus/raft/raft.h"
#include "support/cmocka.h"
#include "tight_engine.h"

#include <stdio.h>

static struct cluster_world w; /* too large for a stack */

struct handing {
    struct cw_node *n;
    uint64_t patience_ms;
    enum status st;
    struct err err;
};

static void hand_over(void *arg)
{
    struct handing *a = arg;
    a->st = store_hand_over(a->n->s, a->patience_ms, &a->err);
}

static enum status hand_over_within(uint64_t node, uint64_t ms)
{
    struct handing a = {.n = &w.node[node], .patience_ms = ms};
    err_init(&a.err);
    cw_call(&w, hand_over, &a);
    return a.st;
}

/* A leader that is to stop: another one leads before an election timeout has passed, and nothing that
 * clients wrote meanwhile is lost; only a write on its way from another node may be unknown. */
static void test_a_leader_hands_over(void **state)
{
    (void)state;
    cw_init(&w, 4, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    for (int i = 0; i < 4; i++)
        cw_client_start(&w);
    cw_run(&w, 1000);
    uint64_t old = cw_leader(&w), begun = w.now_ms;
    assert_int_equal(hand_over_within(old % 3 + 1, 400), ST_OK); /* it does not lead */
    assert_int_equal(cw_leader(&w), old);
    assert_int_equal(hand_over_within(old, 400), ST_OK);
    assert_true(w.now_ms - begun < w.node[old].cluster.election_ms);
    cw_until(&w, cw_has_leader, 100, "the next leader");
    assert_int_not_equal(cw_leader(&w), old);
    cw_run(&w, 1000);
    assert_true(w.unknown <= w.clients);
    /* Nobody hears of it: it says so. */
    old = cw_leader(&w);
    for (uint64_t i = 1; i <= 3; i++)
        w.cut[old][i] = w.cut[i][old] = i != old;
    assert_int_equal(hand_over_within(old, 100), ST_UNAVAILABLE);
    cw_judge(&w);
    cw_deinit(&w);
}

static void test_the_only_node_has_nobody_to_hand_over_to(void **state)
{
    (void)state;
    cw_init(&w, 5, 1);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    uint64_t begun = w.now_ms;
    assert_int_equal(hand_over_within(1, 400), ST_OK);
    assert_true(w.now_ms - begun < 10);
    assert_int_equal(cw_leader(&w), 1);
    cw_deinit(&w);
}

/* The others of a group that has slept for long are there, though nobody has heard of them. */
static void test_a_leader_that_sleeps_hands_over(void **state)
{
    (void)state;
    cw_init(&w, 6, 3);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_run(&w, 15000);
    const uint64_t old = cw_leader(&w), begun = w.now_ms;
    struct raft_status r;
    raft_status(store_raft(w.node[old].s), &r);
    assert_true(r.asleep);
    assert_int_equal(hand_over_within(old, 400), ST_OK);
    assert_true(w.now_ms - begun < w.node[old].cluster.election_ms);
    cw_until(&w, cw_has_leader, 100, "the next leader");
    assert_int_not_equal(cw_leader(&w), old);
    cw_deinit(&w);
}

static bool another_leads(struct cluster_world *world)
{
    const uint64_t leader = cw_leader(world);
    return leader != 0 && leader != 1;
}

static void hand_over_to_the_first(void)
{
    for (unsigned i = 0; i < 40 && cw_leader(&w) != 1; i++) {
        (void)hand_over_within(cw_leader(&w), 400);
        cw_until(&w, cw_has_leader, 5000, "a leader");
    }
    assert_int_equal(cw_leader(&w), 1);
}

/* May be refused until the lead is given away. */
static void fill_once(void *arg)
{
    struct version v;
    struct err err;
    char key[32];
    (void)snprintf(key, sizeof key, "filling %u", *(unsigned *)arg);
    enum status st = cw_put(&w, &w.node[1], key, &v, &err);
    assert_true(st == ST_OK || st == ST_DISK_FULL || st == ST_UNKNOWN_OUTCOME);
}

static void fill_until_another_leads(void)
{
    for (unsigned i = 0; i < 4000 && !another_leads(&w); i++) {
        cw_call(&w, fill_once, &i);
        cw_run(&w, 20);
    }
    assert_true(another_leads(&w));
}

static void write_at_each(void *arg)
{
    struct version v;
    struct err err;
    (void)arg;
    for (uint64_t id = 1; id <= 3; id++)
        assert_int_equal(cw_put(&w, &w.node[id], "after", &v, &err), ST_OK);
}

/* It could lead for as long as its disk is full, and refuse all writes. */
static void test_a_leader_without_room_gives_the_lead_away(void **state)
{
    (void)state;
    struct err err;
    err_init(&err);
    cw_init_on(&w, 8, 3, 1);
    w.node[1].o.engine_open = tight_open;
    w.node[1].o.table_bytes = 8 * 1024;
    tight.full = false;
    cw_open(&w, 1);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
    hand_over_to_the_first();
    tight.full = true;
    fill_until_another_leads();
    const uint64_t gave = w.now_ms;
    cw_call(&w, write_at_each, NULL);
    /* Asked to lead again, by one that stops, it does for a while: where none has room the lead goes
     * round slowly. */
    hand_over_to_the_first();
    fill_until_another_leads();
    const uint64_t beats = (w.now_ms - gave) / w.node[1].cluster.heartbeat_ms;
    assert_true(beats > 90 && beats < 150);
    cw_call(&w, write_at_each, NULL);
    tight.full = false;
    cw_until(&w, cw_converged, 20000, "the first has caught up");
    hand_over_to_the_first();
    cw_call(&w, write_at_each, NULL);
    assert_int_equal(store_log_takes(w.node[1].s, &err), ST_OK);
    cw_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_leader_hands_over),
        cmocka_unit_test(test_the_only_node_has_nobody_to_hand_over_to),
        cmocka_unit_test(test_a_leader_that_sleeps_hands_over),
        cmocka_unit_test(test_a_leader_without_room_gives_the_lead_away),
    };
    log_configure(LOG_OFF, LOG_HUMAN); /* drains fail, and it says so */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
