/* Stories of a small cluster: each tells one feature, or one known mistake that is not made. */
#include "sim/raft/group.h"
#include "support/cmocka.h"

#include <stdlib.h>

static struct group *c;

static void begin(unsigned n, unsigned voters, const struct raft_options *o)
{
    c = calloc(1, sizeof *c);
    assert_non_null(c);
    group_init(c, 42, n, voters, o);
}

static void end(void)
{
    group_deinit(c);
    free(c);
}

static struct node *at(unsigned store)
{
    return &c->nodes[store];
}

static struct node *other(const struct node *not_this, const struct node *nor_this)
{
    for (unsigned s = 1; s <= c->n; s++)
        if (at(s) != not_this && at(s) != nor_this)
            return at(s);
    return NULL;
}

static uint64_t put(struct node *n)
{
    uint64_t index = 0;
    assert_true(node_propose(n, &index));
    return index;
}

static void everyone_has(uint64_t index)
{
    for (unsigned s = 1; s <= c->n; s++)
        assert_true(at(s)->applied >= index);
}

static void one_leader_and_entries_reach_everyone(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    for (int i = 0; i < 20; i++)
        put(l);
    uint64_t last = put(l);
    group_run(c, 50);
    everyone_has(last);
    end();
}

static void one_replica_is_a_cluster(void **state)
{
    (void)state;
    begin(1, 1, NULL);
    group_settle(c); /* no time passes: there is nobody to wait for */
    assert_int_equal(status_of(at(1)).role, RAFT_LEADER);
    uint64_t i = put(at(1));
    assert_true(node_read(at(1)));
    group_settle(c);
    assert_true(at(1)->applied >= i);
    assert_int_equal(c->reads_ok, 1);
    end();
}

static void the_leader_does_not_count_its_own_unsynced_entry(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    struct node *a = other(l, NULL), *b = other(l, a);
    group_isolate(c, b->store, true);
    uint64_t i = put(l);
    c->delay = true; /* disks stand still */
    group_settle(c);
    node_sync(a, SIZE_MAX); /* one of three is durable */
    group_settle(c);
    assert_true(status_of(l).commit < i);
    node_sync(l, SIZE_MAX);
    assert_true(status_of(l).commit >= i);
    end();
}

static void entries_commit_without_the_leaders_own_disk(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t i = put(l);
    c->delay = true;
    group_settle(c);
    node_sync(other(l, NULL), SIZE_MAX);
    node_sync(other(l, other(l, NULL)), SIZE_MAX);
    group_settle(c);
    assert_int_equal(status_of(l).commit, i);
    assert_true(status_of(l).durable < i);
    assert_true(l->applied < i); /* but it is applied here only when it is durable here */
    node_sync(l, SIZE_MAX);
    group_settle(c);
    assert_int_equal(l->applied, i);
    end();
}

static void a_vote_does_not_leave_before_it_is_durable(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    c->delay = true;
    while (c->msgs[RAFT_MSG_PREVOTE_RESP] == 0)
        group_run(c, 5);
    group_settle(c);
    assert_int_equal(c->msgs[RAFT_MSG_VOTE], 0); /* the candidate's own term is not durable */
    for (unsigned s = 1; s <= 3; s++)
        node_sync(at(s), SIZE_MAX);
    group_settle(c);
    assert_true(c->msgs[RAFT_MSG_VOTE] > 0);
    assert_int_equal(c->msgs[RAFT_MSG_VOTE_RESP], 0);
    for (unsigned s = 1; s <= 3; s++)
        node_sync(at(s), SIZE_MAX);
    assert_true(c->msgs[RAFT_MSG_VOTE_RESP] > 0); /* net_send looked at the disks */
    end();
}

/* Figure 8 of the Raft paper: a leader finds an entry of an earlier term on a majority. */
static void an_old_term_is_not_committed_by_counting(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    struct node *a = other(l, NULL), *b = other(l, a);
    group_isolate(c, b->store, true);
    group_isolate(c, l->store, true);
    uint64_t old = put(l); /* only here */
    group_settle(c);
    node_crash(l, 0);
    node_restart(l);
    group_heal(c);
    group_isolate(c, b->store, true);
    c->cut[a->store][l->store] = false;
    /* The old one leads again, with a's vote, and replicates; its new entry's sync is held back. */
    for (int i = 0; i < 200 && status_of(l).role != RAFT_LEADER; i++)
        group_run(c, 5);
    assert_int_equal(status_of(l).role, RAFT_LEADER);
    assert_true(status_of(l).term > raft_term_at(l->r, old));
    /* The cluster holds every commit against the leader's term and the disks. */
    group_heal(c);
    group_run(c, 100);
    everyone_has(old);
    end();
}

static void a_rejoining_replica_does_not_depose_the_leader(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t term = status_of(l).term;
    struct node *b = other(l, NULL);
    for (int i = 0; i < 10; i++) {
        group_isolate(c, b->store, true);
        group_run(c, 1000); /* it campaigns, in vain */
        put(l);
        group_heal(c);
        group_run(c, 300);
    }
    assert_ptr_equal(group_leader(c), l);
    assert_int_equal(status_of(l).term, term);
    assert_int_equal(status_of(b).term, term);
    end();
}

static void a_leader_that_is_known_to_be_gone_is_replaced_sooner(void **state)
{
    (void)state;
    unsigned soon = 0;
    for (unsigned turn = 0; turn < 20; turn++) {
        begin(3, 3, NULL);
        group_run(c, turn * 7);
        struct node *l = group_elect(c);
        group_run(c, 20);
        group_isolate(c, l->store, true);
        struct node *a = other(l, NULL), *b = other(l, a);
        raft_unreachable(a->r, l->replica);
        raft_unreachable(b->r, l->replica);
        /* At most 2 heartbeats and half an election timeout, and the votes. */
        group_run(c, 2 * c->o.heartbeat_ms + c->o.election_ms / 2 + 3 * c->o.heartbeat_ms);
        struct node *now = group_leader(c);
        soon += now == a || now == b;
        group_run(c, 4 * c->o.election_ms); /* where votes were split: as ever */
        assert_true(group_leader(c) == a || group_leader(c) == b);
        end();
    }
    assert_true(soon >= 15);
}

/* Awake or asleep: a majority has to say so. */
static void who_is_wrong_about_its_leader_changes_nothing(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t term = status_of(l).term;
    for (unsigned i = 0; i < 50; i++) {
        raft_unreachable(other(l, NULL)->r, l->replica);
        group_run(c, i * 5);
        put(l);
        group_run(c, 100);
    }
    assert_ptr_equal(group_leader(c), l);
    assert_int_equal(status_of(l).term, term);
    everyone_has(status_of(l).commit);
    end();
}

static void a_leader_without_its_majority_steps_down(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    group_isolate(c, l->store, true);
    group_run(c, 150);
    assert_int_not_equal(status_of(l).role, RAFT_LEADER);
    uint64_t i, t;
    assert_int_equal(raft_propose(l->r, BYTES_LIT("x"), &i, &t), ST_PRECONDITION_FAILED);
    group_run(c, 500);
    assert_non_null(group_leader(c));
    assert_ptr_not_equal(group_leader(c), l);
    end();
}

static void a_pause_of_the_process_is_not_taken_for_silence(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t term = status_of(l).term;
    for (unsigned s = 1; s <= 3; s++)
        node_tick(at(s), 60 * 1000); /* all stood still */
    group_run(c, 200);
    assert_ptr_equal(group_leader(c), l);
    assert_int_equal(status_of(l).term, term);
    end();
}

static void a_conflicting_tail_is_overwritten(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    group_isolate(c, l->store, true);
    for (int i = 0; i < 30; i++)
        put(l); /* of no avail */
    group_run(c, 600);
    struct node *l2 = group_leader(c);
    assert_true(l2 && l2 != l);
    uint64_t last = 0;
    for (int i = 0; i < 5; i++)
        last = put(l2);
    group_run(c, 50);
    assert_true(status_of(l).last > last);
    group_heal(c);
    group_run(c, 300);
    everyone_has(last);
    assert_int_equal(status_of(l).last, status_of(l2).last);
    end();
}

static void leadership_is_handed_over(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    struct node *a = other(l, NULL);
    put(l);
    assert_int_equal(raft_transfer(l->r, 99), ST_PRECONDITION_FAILED);
    assert_int_equal(raft_transfer(l->r, a->replica), ST_OK);
    uint64_t i, t;
    assert_int_equal(raft_propose(l->r, BYTES_LIT("x"), &i, &t), ST_PRECONDITION_FAILED);
    group_settle(c); /* no timeout is needed */
    assert_ptr_equal(group_leader(c), a);
    end();
}

static void a_transfer_to_a_lagging_or_dead_replica_is_given_up(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    struct node *a = other(l, NULL);
    group_isolate(c, a->store, true);
    put(l);
    group_settle(c);
    assert_int_equal(raft_transfer(l->r, a->replica), ST_OK);
    group_settle(c);
    assert_int_equal(c->msgs[RAFT_MSG_TIMEOUT_NOW], 0); /* it has not got the log */
    group_run(c, 150);
    assert_ptr_equal(group_leader(c), l);
    assert_false(status_of(l).transferring);
    put(l);
    end();
}

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

static void a_replica_that_was_away_gets_a_snapshot_in_chunks(void **state)
{
    (void)state;
    struct raft_options o = {.max_chunk_bytes = 20};
    begin(3, 3, &o);
    struct node *l = group_elect(c), *b = other(l, NULL);
    node_crash(b, 0);
    for (int i = 0; i < 50; i++)
        put(l);
    group_run(c, 50);
    node_checkpoint(l, false);
    node_checkpoint(l, true);
    while (status_of(l).compacted == 0)
        node_checkpoint(l, true);
    uint64_t last = put(l);
    node_restart(b);
    group_run(c, 300);
    assert_true(c->snapshots >= 1);
    assert_true(c->msgs[RAFT_MSG_SNAPSHOT] >= 2);
    assert_true(b->applied >= last);
    assert_true(status_of(b).compacted > 0);
    end();
}

static void a_snapshot_goes_on_where_it_stopped(void **state)
{
    (void)state;
    struct raft_options o = {.max_chunk_bytes = 1};
    begin(3, 3, &o);
    struct node *l = group_elect(c), *b = other(l, NULL);
    node_crash(b, 0);
    for (int i = 0; i < 50; i++)
        put(l);
    group_run(c, 50);
    while (status_of(l).compacted == 0)
        node_checkpoint(l, true);
    node_restart(b);
    uint64_t guard = 0;
    while (b->in_len < 8 && guard++ < 5000) { /* a few chunks by hand */
        for (unsigned s = 1; s <= 3; s++) {
            if (guard % 20 == 0)
                node_tick(at(s), 5);
            while (node_update(at(s)))
                ;
            node_sync(at(s), SIZE_MAX);
            if (b->in_len < 8)
                node_slow(at(s));
        }
        if (c->n_net && b->in_len < 8)
            net_deliver(c, 0);
    }
    size_t had = b->in_len;
    assert_true(had >= 8);
    group_isolate(c, b->store, true);
    group_run(c, 50); /* shorter than an election timeout */
    uint64_t before = c->msgs[RAFT_MSG_SNAPSHOT];
    group_heal(c);
    group_run(c, 1500);
    /* Chunks of one byte: what was there already was not sent again. */
    assert_true(c->msgs[RAFT_MSG_SNAPSHOT] - before <= l->out_len - had + 4);
    assert_true(c->snapshots >= 1);
    assert_true(b->applied >= 50);
    end();
}

/* The leader cannot read an entry that its peer needs and that nobody else's log has any more: only a
 * state that reaches over it helps, though the last one that was drained reaches as far as the leader's
 * log begins. */
static void a_snapshot_reaches_over_what_is_rotten(void **state)
{
    (void)state;
    struct raft_options o = {.cache_bytes = 2048};
    begin(3, 3, &o);
    c->drained = true;
    struct node *l = group_elect(c), *b = other(l, NULL), *a = other(l, b);
    for (int i = 0; i < 10; i++)
        put(l);
    group_run(c, 50);
    node_crash(b, 0);
    while (status_of(l).compacted == 0)
        node_checkpoint(l, true);
    uint64_t last = 0, rotten = status_of(l).compacted + 1;
    for (int i = 0; i < 60; i++) {
        last = put(l);
        group_run(c, 5);
    }
    while (status_of(a).compacted < rotten)
        node_checkpoint(a, true);
    assert_null(raft_entry_at(l->r, rotten));
    assert_true(group_rot(c, l, rotten));
    node_restart(b);
    group_run(c, 2000);
    assert_true(c->snapshots >= 1);
    everyone_has(last);
    end();
}

/* A peer whose log reaches as far as the leader's, and knows it to be committed, but is rotten where nobody
 * else's log goes back to: the state is behind its commit, and yet the only help, however many chunks it
 * takes. */
static void a_snapshot_behind_the_commit_helps_over_what_is_rotten(void **state)
{
    (void)state;
    struct raft_options o = {.max_chunk_bytes = 20};
    enum { ROTTEN = 20, DRAINED = 40, LAST = 60 };
    uint64_t last = 0;
    begin(3, 3, &o);
    c->drained = true;
    struct node *l = group_elect(c), *b = other(l, NULL), *a = other(l, b);
    for (int i = 0; i < LAST; i++) {
        last = put(l);
        group_run(c, 5);
        while (i == DRAINED &&
               (status_of(l).compacted <= ROTTEN || status_of(a).compacted <= ROTTEN)) {
            node_checkpoint(l, true);
            node_checkpoint(a, true);
        }
    }
    uint64_t drained = status_of(l).compacted > status_of(a).compacted ? status_of(l).compacted
                                                                       : status_of(a).compacted;
    assert_int_equal(raft_transfer(l->r, a->replica), ST_OK);
    group_run(c, 100); /* the new term is written down, and the commit along with it */
    node_crash(b, 0);
    assert_true(group_rot(c, b, ROTTEN));
    node_restart(b);
    assert_true(status_of(b).commit >= drained);
    for (int i = 0; i < 2000 && b->applied < last; i++) { /* time goes by between two chunks */
        for (unsigned s = 1; s <= 3; s++) {
            node_tick(at(s), 5);
            while (node_update(at(s)))
                ;
            node_sync(at(s), SIZE_MAX);
            node_apply(at(s));
            node_slow(at(s));
        }
        while (c->n_net)
            net_deliver(c, 0);
    }
    assert_true(c->snapshots >= 1);
    assert_true(c->msgs[RAFT_MSG_SNAPSHOT] >= 2);
    everyone_has(last);
    end();
}

static void a_snapshot_does_not_replace_newer_entries(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *b = other(l, NULL);
    for (int i = 0; i < 20; i++)
        put(l);
    group_run(c, 50);
    struct raft_status before = status_of(b);
    struct raft_snapshot s = {
        .id = 5, .index = 5, .term = raft_term_at(l->r, 5), .conf = *raft_configuration(l->r)};
    struct raft_msg m = {.type = RAFT_MSG_SNAPSHOT,
                         .flags = RAFT_MSG_LAST,
                         .group = 7,
                         .from = l->replica,
                         .to = b->replica,
                         .from_store = l->store,
                         .to_store = b->store,
                         .term = before.term,
                         .snapshot = &s,
                         .data = BYTES_LIT("old state")};
    assert_int_equal(raft_step(b->r, &m), ST_OK);
    group_settle(c);
    assert_int_equal(c->snapshots, 0);
    assert_int_equal(status_of(b).last, before.last);
    assert_int_equal(status_of(b).commit, before.commit);
    end();
}

static void a_snapshot_of_what_the_log_has_only_moves_the_commit(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *b = other(l, NULL);
    group_run(c, 50);
    for (int i = 0; i < 5; i++)
        put(l);
    while (node_update(l))
        ;
    while (c->n_net)
        net_deliver(c, 0);
    while (node_update(b))
        ;
    node_sync(b, SIZE_MAX); /* durable and acknowledged, not known here to be committed */
    node_sync(l, SIZE_MAX);
    while (c->n_net)
        net_deliver(c, 0);
    assert_int_equal(status_of(l).commit, status_of(l).last);
    struct raft_status before = status_of(b);
    assert_true(before.durable == before.last && before.commit + 5 == before.last);
    struct raft_snapshot s = {.id = before.last - 2,
                              .index = before.last - 2,
                              .term = before.last_term,
                              .conf = *raft_configuration(l->r)};
    struct raft_msg m = {.type = RAFT_MSG_SNAPSHOT,
                         .flags = RAFT_MSG_LAST,
                         .group = 7,
                         .from = l->replica,
                         .to = b->replica,
                         .from_store = l->store,
                         .to_store = b->store,
                         .term = before.term,
                         .snapshot = &s,
                         .data = BYTES_LIT("a state that is not needed")};
    assert_int_equal(raft_step(b->r, &m), ST_OK);
    assert_int_equal(status_of(b).commit, s.index);
    while (node_update(b))
        ;
    node_slow(b);
    node_slow(b);
    assert_int_equal(c->snapshots, 0);
    assert_int_equal(status_of(b).last, before.last); /* what was acknowledged stays */
    assert_int_equal(status_of(b).compacted, 0);
    while (c->n_net)
        net_drop(c, 0);
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

static void proposals_are_held_back(void **state)
{
    (void)state;
    struct raft_options o = {.max_uncommitted_bytes = 500};
    begin(3, 3, &o);
    struct node *l = group_elect(c);
    for (unsigned s = 1; s <= 3; s++)
        if (at(s) != l)
            group_isolate(c, s, true);
    unsigned taken = 0;
    while (taken < 1000 && node_propose(l, NULL))
        taken++;
    assert_in_range(taken, 5, 70);
    assert_true(status_of(l).uncommitted_bytes <= 500);
    uint64_t i, t;
    assert_int_equal(
        raft_propose(l->r,
                     BYTES_LIT("0123456789012345678901234567890123456789012345678901234567890123"),
                     &i, &t),
        ST_OVERLOADED);
    group_heal(c);
    group_run(c, 60);
    l = group_elect(c);
    assert_int_equal(status_of(l).uncommitted_bytes, 0);
    /* One entry always goes, however large. */
    static uint8_t big[5000];
    assert_int_equal(raft_propose(l->r, BYTES(big, sizeof big), &i, &t), ST_OK);
    assert_int_equal(raft_propose(l->r, BYTES(big, sizeof big), &i, &t), ST_OVERLOADED);
    group_run(c, 60);
    everyone_has(i);
    end();
}

static void rotten_entries_come_back_from_peers(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    for (int i = 0; i < 20; i++)
        put(l);
    group_run(c, 50);
    /* Each of the three has another rotten entry: none is sound, and yet all is there. */
    for (unsigned s = 1; s <= 3; s++) {
        node_crash(at(s), 0);
        assert_true(group_rot(c, at(s), 5 + s));
    }
    for (unsigned s = 1; s <= 3; s++)
        node_restart(at(s));
    for (unsigned s = 1; s <= 3; s++) {
        assert_int_equal(status_of(at(s)).bad, 1);
        assert_int_equal(raft_campaign(at(s)->r), ST_PRECONDITION_FAILED);
    }
    group_run(c, 500);
    assert_int_equal(c->repaired, 3);
    l = group_elect(c);
    uint64_t i = put(l);
    group_run(c, 100);
    everyone_has(i);
    for (unsigned s = 1; s <= 3; s++)
        assert_int_equal(status_of(at(s)).bad, 0);
    end();
}

static void idle_groups_sleep_and_one_beat_keeps_them(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t i = put(l);
    group_run(c, 300);
    for (unsigned s = 1; s <= 3; s++)
        assert_true(status_of(at(s)).asleep);
    uint64_t hb = c->msgs[RAFT_MSG_HEARTBEAT], votes = c->msgs[RAFT_MSG_PREVOTE];
    uint64_t term = status_of(l).term;
    group_run(c, 2000); /* beats between the stores go on */
    assert_int_equal(c->msgs[RAFT_MSG_HEARTBEAT], hb);
    assert_int_equal(c->msgs[RAFT_MSG_PREVOTE], votes);
    i = put(l);
    group_run(c, 50);
    everyone_has(i);
    assert_int_equal(status_of(l).term, term);
    group_run(c, 300);
    assert_true(status_of(l).asleep);
    /* The leader's store dies: its silence wakes the others. */
    node_crash(l, 0);
    group_run(c, 600);
    struct node *l2 = group_leader(c);
    assert_true(l2 && l2 != l);
    /* And it sleeps without the dead one, which wakes it when it is back. */
    group_run(c, 500);
    assert_true(status_of(l2).asleep);
    node_restart(l);
    group_run(c, 700);
    i = put(group_elect(c));
    group_run(c, 100);
    everyone_has(i);
    end();
}

/* Nor is it campaigning that wakes a leader: who may not do that has to be missed as well. */
static void a_sleeping_leader_hears_of_who_may_not_campaign(void **state)
{
    (void)state;
    begin(4, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t index, v[] = {1, 2, 3}, le[] = {4};
    struct raft_conf t = conf_of(c, v, 3, le, 1), without = conf_of(c, v, 3, NULL, 0);
    assert_int_equal(raft_change(l->r, &t, true, &index, NULL), ST_OK);
    group_run(c, 300);
    assert_true(status_of(l).asleep);
    node_crash(at(4), 0);
    group_run(c, 200);
    index = put(l);
    group_run(c, 600);
    assert_true(status_of(l).asleep && status_of(at(1)).asleep);
    node_restart(at(4));
    group_run(c, 500);
    everyone_has(index);
    /* One that is out, and does not know, lets the others sleep. */
    node_crash(at(4), 0);
    group_run(c, 200);
    assert_int_equal(raft_change(l->r, &without, true, &index, NULL), ST_OK);
    group_run(c, 600);
    assert_true(status_of(l).asleep);
    node_restart(at(4));
    uint64_t asked = c->msgs[RAFT_MSG_PREVOTE];
    for (int i = 0; i < 50; i++) {
        group_run(c, 10);
        assert_true(status_of(l).asleep);
    }
    assert_true(c->msgs[RAFT_MSG_PREVOTE] > asked);
    end();
}

static void a_restarted_leaders_store_wakes_its_followers(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    group_run(c, 300);
    assert_true(status_of(l).asleep);
    node_crash(l, 0); /* back at once: the beats hardly stop, but are of another incarnation */
    node_restart(l);
    group_run(c, 600);
    put(group_elect(c));
    end();
}

static void slow_peers_are_pipelined_within_limits(void **state)
{
    (void)state;
    struct raft_options o = {.max_inflight_msgs = 3, .max_append_bytes = 1};
    begin(3, 3, &o);
    struct node *l = group_elect(c);
    group_run(c, 20);
    uint64_t before = c->msgs[RAFT_MSG_APPEND];
    for (int i = 0; i < 20; i++)
        put(l);
    while (node_update(l))
        ;
    assert_int_equal(c->msgs[RAFT_MSG_APPEND] - before, 2 * 3); /* one entry each, three a peer */
    group_run(c, 50);
    everyone_has(20);
    end();
}

/* ---- one replica without a cluster around it ---- */

static struct raft *solo(struct raft_store **ret_store, const struct raft_init *init)
{
    struct raft_options o = {.store = 1, .incarnation = 1, .seed = 3};
    struct raft *r;
    assert_int_equal(raft_store_new(&o, ret_store, NULL), ST_OK);
    assert_int_equal(raft_new(*ret_store, init, &r, NULL), ST_OK);
    assert_int_equal(raft_start(r, NULL), ST_OK);
    return r;
}

static struct raft_init solo_init(uint64_t last, uint64_t term)
{
    return (struct raft_init){.group = 1,
                              .replica = 1,
                              .hard = {.term = term, .vote = 1, .commit = last},
                              .compacted = last,
                              .compacted_term = last ? term : 0,
                              .applied = last,
                              .conf = {.n = 1, .member = {{1, 1, RAFT_VOTER}}},
                              .alone = true};
}

/* The only voter goes on in its term: nothing is written before the first proposal. */
static void the_only_voter_goes_on_without_an_election(void **state)
{
    (void)state;
    struct raft_store *s;
    struct raft_init i = solo_init(7, 3);
    struct raft *r = solo(&s, &i);
    struct raft_update u;
    struct raft_status a;
    uint64_t index, term;
    while (raft_update(r, &u)) {
        assert_int_equal(u.ticket, 0);
        assert_int_equal(u.n_entries, 0);
        raft_done(r);
    }
    raft_status(r, &a);
    assert_true(a.role == RAFT_LEADER && a.term == 3 && a.last == 7 && a.commit == 7);
    assert_int_equal(raft_propose(r, BYTES_LIT("x"), &index, &term), ST_OK);
    assert_true(index == 8 && term == 3);
    assert_true(raft_update(r, &u));
    assert_false(u.hard_changed);
    assert_true(u.n_entries == 1 && u.n_committed == 0);
    uint64_t ticket = u.ticket;
    raft_done(r);
    raft_appended(r, ticket);
    assert_true(raft_update(r, &u));
    assert_true(u.n_committed == 1 && u.committed[0].index == 8);
    raft_done(r);
    raft_applied(r, 8);
    raft_free(r);
    raft_store_free(s);
    /* It is not for others. */
    i.conf.n = 2;
    i.conf.member[1] = (struct raft_member){2, 2, RAFT_VOTER};
    struct raft_options o = {.store = 1, .incarnation = 1};
    assert_int_equal(raft_store_new(&o, &s, NULL), ST_OK);
    assert_int_equal(raft_new(s, &i, &r, NULL), ST_INVALID_ARGUMENT);
    raft_store_free(s);
}

static void what_the_only_voter_could_not_log_is_withdrawn(void **state)
{
    (void)state;
    struct raft_store *s;
    struct raft_init i = solo_init(0, 1);
    struct raft *r = solo(&s, &i);
    struct raft_update u;
    struct raft_status a;
    uint64_t index, term;
    assert_int_equal(raft_propose(r, BYTES_LIT("lost"), &index, &term), ST_OK);
    assert_true(raft_update(r, &u));
    assert_int_equal(u.n_entries, 1);
    raft_done(r);
    assert_int_equal(raft_withdraw(r), ST_OK);
    raft_status(r, &a);
    assert_true(a.last == 0 && a.commit == 0 && a.uncommitted_bytes == 0 && a.role == RAFT_LEADER);
    assert_int_equal(raft_propose(r, BYTES_LIT("kept"), &index, &term), ST_OK);
    assert_int_equal(index, 1);
    assert_true(raft_update(r, &u));
    assert_true(u.n_entries == 1 && memcmp(u.entries[0].payload.data, "kept", 4) == 0);
    uint64_t ticket = u.ticket;
    raft_done(r);
    raft_appended(r, ticket);
    assert_true(raft_update(r, &u));
    assert_true(u.n_committed == 1 && memcmp(u.committed[0].payload.data, "kept", 4) == 0);
    raft_done(r);
    raft_applied(r, 1);
    raft_free(r);
    raft_store_free(s);
}

/* A group whose first log is elsewhere must not begin without it. */
static void who_waits_does_not_campaign_over_an_empty_log(void **state)
{
    (void)state;
    struct raft_store *s;
    struct raft_init i = {
        .group = 1,
        .replica = 1,
        .conf = {.n = 3, .member = {{1, 1, RAFT_VOTER}, {2, 2, RAFT_VOTER}, {3, 3, RAFT_VOTER}}},
        .waits = true};
    struct raft *r = solo(&s, &i);
    struct raft_status a;
    for (uint64_t now = 1; now < 100000; now += 100) {
        struct raft_update u;
        raft_store_tick(s, now);
        while (raft_update(r, &u)) {
            for (size_t k = 0; k < u.n_now; k++) /* for a leader that sleeps */
                assert_int_equal(u.now[k].type, RAFT_MSG_PREVOTE);
            assert_int_equal(u.n_after, 0);
            raft_done(r);
        }
    }
    raft_status(r, &a);
    assert_true(a.role == RAFT_FOLLOWER && a.term == 0);
    assert_int_equal(raft_campaign(r), ST_PRECONDITION_FAILED);
    raft_free(r);
    raft_store_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_leader_and_entries_reach_everyone),
        cmocka_unit_test(one_replica_is_a_cluster),
        cmocka_unit_test(the_only_voter_goes_on_without_an_election),
        cmocka_unit_test(what_the_only_voter_could_not_log_is_withdrawn),
        cmocka_unit_test(who_waits_does_not_campaign_over_an_empty_log),
        cmocka_unit_test(the_leader_does_not_count_its_own_unsynced_entry),
        cmocka_unit_test(entries_commit_without_the_leaders_own_disk),
        cmocka_unit_test(a_vote_does_not_leave_before_it_is_durable),
        cmocka_unit_test(an_old_term_is_not_committed_by_counting),
        cmocka_unit_test(a_rejoining_replica_does_not_depose_the_leader),
        cmocka_unit_test(a_leader_that_is_known_to_be_gone_is_replaced_sooner),
        cmocka_unit_test(who_is_wrong_about_its_leader_changes_nothing),
        cmocka_unit_test(a_leader_without_its_majority_steps_down),
        cmocka_unit_test(a_pause_of_the_process_is_not_taken_for_silence),
        cmocka_unit_test(a_conflicting_tail_is_overwritten),
        cmocka_unit_test(leadership_is_handed_over),
        cmocka_unit_test(a_transfer_to_a_lagging_or_dead_replica_is_given_up),
        cmocka_unit_test(learners_receive_and_do_not_count),
        cmocka_unit_test(members_change_through_a_joint_configuration),
        cmocka_unit_test(a_joint_configuration_needs_both_majorities),
        cmocka_unit_test(neither_half_of_a_joint_configuration_elects_alone),
        cmocka_unit_test(an_explicit_joint_configuration_is_left_on_request),
        cmocka_unit_test(no_change_before_the_terms_first_commit),
        cmocka_unit_test(a_change_that_is_truncated_is_forgotten),
        cmocka_unit_test(reads_need_a_round_that_began_after_them),
        cmocka_unit_test(a_follower_reads_through_its_leader),
        cmocka_unit_test(an_answer_to_an_earlier_life_confirms_no_read),
        cmocka_unit_test(a_read_does_not_share_the_round_under_way),
        cmocka_unit_test(no_read_before_the_terms_first_commit),
        cmocka_unit_test(a_replica_that_was_away_gets_a_snapshot_in_chunks),
        cmocka_unit_test(a_snapshot_goes_on_where_it_stopped),
        cmocka_unit_test(a_snapshot_reaches_over_what_is_rotten),
        cmocka_unit_test(a_snapshot_behind_the_commit_helps_over_what_is_rotten),
        cmocka_unit_test(a_snapshot_does_not_replace_newer_entries),
        cmocka_unit_test(a_snapshot_of_what_the_log_has_only_moves_the_commit),
        cmocka_unit_test(messages_of_and_for_replaced_replicas_are_refused),
        cmocka_unit_test(proposals_are_held_back),
        cmocka_unit_test(rotten_entries_come_back_from_peers),
        cmocka_unit_test(idle_groups_sleep_and_one_beat_keeps_them),
        cmocka_unit_test(a_sleeping_leader_hears_of_who_may_not_campaign),
        cmocka_unit_test(a_restarted_leaders_store_wakes_its_followers),
        cmocka_unit_test(slow_peers_are_pipelined_within_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
