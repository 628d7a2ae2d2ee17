/* Stories of a cluster whose members change. */
#include "story.h"

static void learners_receive_and_do_not_count(void **state)
{
    (void)state;
    begin(4, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t index, v[] = {1, 2, 3}, le[] = {4};
    struct raft_conf t = conf_of(c, v, 3, le, 1);
    assert_int_equal(raft_change(l->r, &t, true, &index, NULL), ST_OK);
    group_run(c, 50);
    assert_true(at(4)->applied >= index);
    struct node *a = other(l, NULL), *b = other(l, a);
    group_isolate(c, a->store, true);
    group_isolate(c, b->store, true);
    uint64_t i = put(l);
    group_settle(c);
    assert_true(status_of(l).commit < i); /* the learner has it, but does not count */
    assert_true(status_of(at(4)).last >= i);
    group_run(c, 500);
    assert_int_equal(status_of(at(4)).role, RAFT_FOLLOWER); /* and never campaigns */
    end();
}

static void members_change_through_a_joint_configuration(void **state)
{
    (void)state;
    begin(6, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t index, v[] = {4, 5, 6};
    struct raft_conf t = conf_of(c, v, 3, NULL, 0);
    assert_int_equal(raft_change(l->r, &t, true, &index, NULL), ST_OK);
    assert_true(raft_conf_joint(raft_configuration(l->r)));
    struct err err;
    assert_int_equal(raft_change(l->r, &t, true, &index, &err), ST_PRECONDITION_FAILED);
    group_run(c, 300);
    struct node *now = group_elect(c);
    assert_true(now->store >= 4); /* the old leader led until it was committed, and went */
    assert_false(raft_conf_joint(raft_configuration(now->r)));
    assert_int_equal(raft_configuration(now->r)->n, 3);
    uint64_t i = put(now);
    group_run(c, 100);
    assert_true(at(4)->applied >= i && at(5)->applied >= i && at(6)->applied >= i);
    /* The removed ones wake up, know nothing, and disturb nobody. */
    uint64_t term = status_of(now).term;
    group_run(c, 1000);
    assert_ptr_equal(group_leader(c), now);
    assert_int_equal(status_of(now).term, term);
    end();
}

static void a_joint_configuration_needs_both_majorities(void **state)
{
    (void)state;
    begin(6, 3, NULL);
    struct node *l = group_elect(c);
    for (unsigned s = 4; s <= 6; s++)
        group_isolate(c, s, true);
    uint64_t index, v[] = {4, 5, 6};
    struct raft_conf t = conf_of(c, v, 3, NULL, 0);
    assert_int_equal(raft_change(l->r, &t, true, &index, NULL), ST_OK);
    group_settle(c);
    assert_true(status_of(l).commit < index); /* all of the old, none of the new */
    group_heal(c);
    group_run(c, 500);
    struct node *now = group_elect(c);
    assert_true(status_of(now).commit > index);
    end();
}

static void neither_half_of_a_joint_configuration_elects_alone(void **state)
{
    (void)state;
    begin(6, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t index, v[] = {4, 5, 6};
    struct raft_conf t = conf_of(c, v, 3, NULL, 0);
    assert_int_equal(raft_change(l->r, &t, false, &index, NULL), ST_OK);
    group_run(c, 50);
    for (unsigned a = 1; a <= 3; a++)
        for (unsigned b = 4; b <= 6; b++)
            c->cut[a][b] = c->cut[b][a] = true;
    uint64_t elections = c->elections;
    group_run(c, 2000);
    assert_null(group_leader(c));
    assert_int_equal(c->elections, elections); /* not even for a moment */
    group_heal(c);
    put(group_elect(c));
    end();
}

static void an_explicit_joint_configuration_is_left_on_request(void **state)
{
    (void)state;
    begin(4, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t index, v[] = {1, 2, 3, 4};
    struct raft_conf t = conf_of(c, v, 4, NULL, 0);
    assert_int_equal(raft_change(l->r, &t, false, &index, NULL), ST_OK);
    group_run(c, 100);
    assert_true(raft_conf_joint(raft_configuration(l->r)));
    assert_int_equal(raft_change(l->r, &t, false, &index, NULL), ST_PRECONDITION_FAILED);
    assert_int_equal(raft_leave(l->r, &index), ST_OK);
    group_run(c, 100);
    assert_false(raft_conf_joint(raft_configuration(l->r)));
    assert_int_equal(raft_leave(l->r, &index), ST_PRECONDITION_FAILED);
    end();
}

/* The erratum of single-server changes (raft-dev, 2015), applied here: two leaders must not change
 * from the same configuration. */
static void no_change_before_the_terms_first_commit(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    struct node *a = other(l, NULL);
    c->delay = true;
    assert_int_equal(raft_transfer(l->r, a->replica), ST_OK);
    for (int i = 0; i < 10 && status_of(a).role != RAFT_LEADER; i++) {
        group_settle(c);
        for (unsigned s = 1; s <= 3; s++)
            node_sync(at(s), SIZE_MAX);
    }
    assert_int_equal(status_of(a).role, RAFT_LEADER);
    assert_true(status_of(a).commit < status_of(a).last);
    uint64_t index, v[] = {1, 2};
    struct raft_conf t = conf_of(c, v, 2, NULL, 0);
    assert_int_equal(raft_change(a->r, &t, true, &index, NULL), ST_PRECONDITION_FAILED);
    end();
}

static void a_change_that_is_truncated_is_forgotten(void **state)
{
    (void)state;
    begin(5, 3, NULL);
    struct node *l = group_elect(c);
    group_isolate(c, l->store, true);
    uint64_t index, v[] = {l->store, 4, 5};
    struct raft_conf t = conf_of(c, v, 3, NULL, 0);
    assert_int_equal(raft_change(l->r, &t, true, &index, NULL), ST_OK);
    group_run(c, 600);
    assert_true(raft_conf_joint(raft_configuration(l->r)));
    struct node *l2 = group_leader(c);
    assert_true(l2 && l2 != l);
    put(l2);
    group_heal(c);
    group_run(c, 300);
    assert_false(raft_conf_joint(raft_configuration(l->r)));
    assert_int_equal(raft_configuration(l->r)->n, 3);
    assert_int_equal(status_of(l).conf_index, 0);
    end();
}

static void messages_of_and_for_replaced_replicas_are_refused(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *b = other(l, NULL);
    struct raft_msg m = {.type = RAFT_MSG_HEARTBEAT,
                         .group = 7,
                         .from = l->replica,
                         .to = b->replica + 10, /* for another replica of this store */
                         .from_store = l->store,
                         .to_store = b->store,
                         .term = status_of(l).term};
    assert_int_equal(raft_step(b->r, &m), ST_PRECONDITION_FAILED);
    m.to = b->replica;
    m.group = 8;
    assert_int_equal(raft_step(b->r, &m), ST_PRECONDITION_FAILED);
    m.group = 7;
    m.from_store = b->store; /* the leader does not live there */
    assert_int_equal(raft_step(b->r, &m), ST_PRECONDITION_FAILED);
    m.from_store = l->store;
    assert_int_equal(raft_step(b->r, &m), ST_OK);
    m.type = 0;
    assert_int_equal(raft_step(b->r, &m), ST_INVALID_ARGUMENT);
    /* Replace the third one by a new replica of the same store. */
    struct node *gone = other(l, b);
    uint64_t index, two[] = {l->store, b->store};
    struct raft_conf t = conf_of(c, two, 2, NULL, 0), none = {0};
    assert_int_equal(raft_change(l->r, &t, true, &index, NULL), ST_OK);
    group_run(c, 100);
    uint64_t old = gone->replica;
    node_crash(gone, 0);
    node_start_new(gone, 10, &none);
    uint64_t three[] = {1, 2, 3};
    t = conf_of(c, three, 3, NULL, 0);
    assert_int_equal(raft_change(l->r, &t, true, &index, NULL), ST_OK);
    group_run(c, 100);
    everyone_has(index);
    m = (struct raft_msg){.type = RAFT_MSG_VOTE,
                          .group = 7,
                          .from = old,
                          .to = b->replica,
                          .from_store = gone->store,
                          .to_store = b->store,
                          .flags = RAFT_MSG_FORCE,
                          .term = 1000,
                          .index = 100000,
                          .log_term = 999};
    uint64_t term = status_of(b).term;
    assert_int_equal(raft_step(b->r, &m), ST_PRECONDITION_FAILED);
    assert_int_equal(status_of(b).term, term);
    /* And its id cannot come back. */
    struct raft_conf back = {.n = 1};
    back.member[0] = (struct raft_member){old, gone->store, RAFT_VOTER};
    assert_int_equal(raft_change(l->r, &back, true, &index, NULL), ST_INVALID_ARGUMENT);
    end();
}

/* Whose votes it would need is in the entry that it cannot read: by the configuration before, it could
 * lead without what has been committed since. It does not campaign, so nothing is broken. */
static void a_rotten_change_of_members_is_no_way_to_lead(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *a = other(l, NULL), *b = other(l, a);
    group_isolate(c, b->store, true);
    uint64_t joint, left;
    struct raft_conf alone = conf_of(c, &l->store, 1, NULL, 0);
    assert_int_equal(raft_change(l->r, &alone, false, &joint, NULL), ST_OK);
    group_settle(c);
    assert_true(status_of(l).commit >= joint);
    node_crash(a, 0);
    assert_true(group_rot(c, a, joint));
    assert_int_equal(raft_leave(l->r, &left), ST_OK);
    uint64_t i = put(l);
    group_settle(c);
    assert_true(status_of(l).commit >= i);
    node_crash(l, 0);
    node_restart(a);
    assert_int_equal(status_of(a).bad, 1);
    group_isolate(c, b->store, false);
    group_check(c);
    group_run(c, 1000);
    assert_int_not_equal(status_of(a).role, RAFT_LEADER);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(learners_receive_and_do_not_count),
        cmocka_unit_test(members_change_through_a_joint_configuration),
        cmocka_unit_test(a_joint_configuration_needs_both_majorities),
        cmocka_unit_test(neither_half_of_a_joint_configuration_elects_alone),
        cmocka_unit_test(an_explicit_joint_configuration_is_left_on_request),
        cmocka_unit_test(no_change_before_the_terms_first_commit),
        cmocka_unit_test(a_change_that_is_truncated_is_forgotten),
        cmocka_unit_test(messages_of_and_for_replaced_replicas_are_refused),
        cmocka_unit_test(a_rotten_change_of_members_is_no_way_to_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
