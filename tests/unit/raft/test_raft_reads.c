/* Stories of reads that no entry is written for. */
#include "story.h"

static void reads_need_a_round_that_began_after_them(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    put(l);
    group_run(c, 50);
    for (unsigned s = 1; s <= 3; s++)
        if (at(s) != l)
            group_isolate(c, s, true);
    assert_true(node_read(l));
    group_settle(c);
    assert_int_equal(c->reads_ok, 0); /* nobody answers: no stale read */
    group_run(c, 300);
    assert_int_equal(c->reads_failed, 1); /* stepped down */
    group_heal(c);
    l = group_elect(c);
    uint64_t before = c->msgs[RAFT_MSG_HEARTBEAT];
    for (int i = 0; i < 100; i++)
        assert_true(node_read(l));
    group_settle(c);
    assert_int_equal(c->reads_ok, 100);
    assert_in_range(c->msgs[RAFT_MSG_HEARTBEAT] - before, 1, 4); /* one round for all */
    end();
}

static void a_follower_reads_through_its_leader(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    put(l);
    group_run(c, 50);
    struct node *a = other(l, NULL);
    for (int i = 0; i < 10; i++)
        assert_true(node_read(a));
    group_run(c, 30);
    assert_int_equal(c->reads_ok, 10);
    assert_int_equal(c->msgs[RAFT_MSG_READ], 1);
    /* An answer to what another life of it asked confirms nothing. */
    group_isolate(c, l->store, true);
    assert_true(node_read(a));
    while (node_update(a))
        ;
    struct raft_msg stale = {.type = RAFT_MSG_READ_RESP,
                             .group = 7,
                             .from = l->replica,
                             .to = a->replica,
                             .from_store = l->store,
                             .to_store = a->store,
                             .term = status_of(a).term,
                             .round = 1,
                             .index = 1};
    assert_int_equal(raft_step(a->r, &stale), ST_OK);
    group_settle(c);
    assert_int_equal(c->reads_ok, 10);
    end();
}

static void an_answer_to_an_earlier_life_confirms_no_read(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *a = other(l, NULL);
    uint64_t index = put(l), asked = 0;
    group_run(c, 50);
    assert_true(node_read(a));
    while (node_update(a))
        ;
    for (size_t i = 0; i < c->n_net; i++)
        if (c->net[i].m.type == RAFT_MSG_READ)
            asked = c->net[i].m.round;
    assert_true(asked > 0);
    group_settle(c);
    assert_int_equal(c->reads_ok, 1);
    node_crash(a, 0);
    put(l);
    node_restart(a);
    group_run(c, 50);
    group_isolate(c, l->store, true);
    assert_true(node_read(a));
    while (node_update(a))
        ;
    struct raft_msg late = {.type = RAFT_MSG_READ_RESP,
                            .group = 7,
                            .from = l->replica,
                            .to = a->replica,
                            .from_store = l->store,
                            .to_store = a->store,
                            .term = status_of(a).term,
                            .round = asked,
                            .index = index};
    assert_int_equal(raft_step(a->r, &late), ST_OK);
    group_settle(c);
    assert_int_equal(c->reads_ok, 1);
    end();
}

/* Answers to a round that began before the read say nothing about who leads now. */
static void a_read_does_not_share_the_round_under_way(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *a = other(l, NULL), *b = other(l, a);
    put(l);
    group_run(c, 50);
    assert_true(node_read(l));
    while (node_update(l))
        ;
    uint64_t round = 0;
    for (size_t i = 0; i < c->n_net; i++)
        if (c->net[i].m.type == RAFT_MSG_HEARTBEAT && c->net[i].m.round > round)
            round = c->net[i].m.round;
    while (c->n_net)
        net_drop(c, 0);
    group_isolate(c, l->store, true);
    assert_true(node_read(l)); /* the second, with the first one's round on its way */
    struct raft_msg m = {.type = RAFT_MSG_HEARTBEAT_RESP,
                         .group = 7,
                         .from = a->replica,
                         .to = l->replica,
                         .from_store = a->store,
                         .to_store = l->store,
                         .term = status_of(l).term,
                         .round = round};
    assert_int_equal(raft_step(l->r, &m), ST_OK);
    while (node_update(l))
        ;
    assert_int_equal(c->reads_ok, 1); /* only the first */
    m.from = b->replica;              /* nor does the other one's answer to that round help */
    m.from_store = b->store;
    assert_int_equal(raft_step(l->r, &m), ST_OK);
    while (node_update(l))
        ;
    assert_int_equal(c->reads_ok, 1);
    end();
}

static void no_read_before_the_terms_first_commit(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *a = other(l, NULL);
    put(l);
    group_settle(c);
    c->delay = true;
    assert_int_equal(raft_transfer(l->r, a->replica), ST_OK);
    for (int i = 0; i < 10 && status_of(a).role != RAFT_LEADER; i++) {
        group_settle(c);
        for (unsigned s = 1; s <= 3; s++)
            node_sync(at(s), SIZE_MAX);
    }
    assert_int_equal(status_of(a).role, RAFT_LEADER);
    assert_true(node_read(a));
    group_settle(c);
    assert_int_equal(c->reads_ok, 0);
    c->delay = false;
    group_settle(c);
    assert_int_equal(c->reads_ok, 1);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_need_a_round_that_began_after_them),
        cmocka_unit_test(a_follower_reads_through_its_leader),
        cmocka_unit_test(an_answer_to_an_earlier_life_confirms_no_read),
        cmocka_unit_test(a_read_does_not_share_the_round_under_way),
        cmocka_unit_test(no_read_before_the_terms_first_commit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
