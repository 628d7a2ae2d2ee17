/* Stories of a small cluster: each tells one feature, or one known mistake that is not made. Here the log,
 * elections, and who leads. */
#include "story.h"

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

/* Both work, and nobody else: what is under way between them arrives. */
static void only_these(struct node *x, struct node *y)
{
    node_update(x);
    node_update(y);
    node_sync(x, SIZE_MAX);
    node_sync(y, SIZE_MAX);
    node_apply(x);
    node_apply(y);
    if (c->n_net)
        net_deliver(c, 0);
}

/* A leader of a term that was over when an entry of before was committed has no need of it. Seed 90004841: it was first
 * looked at when it was over. */
static void a_leader_of_the_past_lacks_what_was_committed_since(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *x = other(l, NULL), *y = other(l, x);
    group_isolate(c, l->store, true);
    uint64_t old = put(l); /* only here */
    group_settle(c);
    while (status_of(x).role == RAFT_FOLLOWER && status_of(y).role == RAFT_FOLLOWER) {
        node_tick(x, 1);
        node_tick(y, 1);
    }
    if (status_of(x).role == RAFT_FOLLOWER) {
        x = y;
        y = other(l, x);
    }
    for (int i = 0; i < 1000 && status_of(x).role != RAFT_LEADER; i++)
        only_these(x, y);
    group_heal(c); /* it leads, and nobody hears of it; no time passes there */
    group_isolate(c, x->store, true);
    for (int i = 0; i < 4000 && status_of(l).commit < old; i++) {
        node_tick(l, i % 4 == 0);
        node_tick(y, i % 4 == 0);
        only_these(l, y);
    }
    assert_true(status_of(l).commit >= old);
    assert_int_equal(status_of(x).role, RAFT_LEADER);
    assert_true(status_of(x).term > raft_term_at(l->r, old));
    assert_true(status_of(l).term > status_of(x).term);
    struct raft_checker *fresh;
    struct raft *all[] = {l->r, y->r, x->r};
    struct err err;
    err_init(&err);
    assert_int_equal(raft_checker_new(&fresh), ST_OK);
    if (raft_check(fresh, all, 3, &err) != ST_OK)
        fail_msg("%s", err.detail);
    raft_checker_free(fresh);
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

/* Those that sleep are there, though nobody has heard of them; one that was away is not. */
static void a_sleeping_leader_knows_who_is_there(void **state)
{
    (void)state;
    struct raft_peer_status peers[3];
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    put(l);
    group_run(c, 2000);
    assert_true(status_of(l).asleep);
    assert_int_equal(raft_peers(l->r, peers, 3), 2);
    assert_true(peers[0].active && peers[1].active);
    struct node *gone = other(l, NULL);
    node_crash(gone, 0);
    group_run(c, 2000);
    assert_true(status_of(l).asleep);
    assert_int_equal(raft_peers(l->r, peers, 3), 2);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(peers[i].active, peers[i].replica != gone->replica);
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

/* Another replica in the place of what the store has, to begin with a configuration that is long over. */
static void renew(struct node *n, const struct raft_conf *begun)
{
    uint64_t index, v[] = {1, 2, 3};
    node_crash(n, 0);
    n->replica = 10 + at(1)->replica + at(2)->replica + at(3)->replica;
    struct raft_conf t = conf_of(c, v, 3, NULL, 0);
    assert_int_equal(raft_change(group_elect(c)->r, &t, true, &index, NULL), ST_OK);
    group_run(c, 600);
    assert_true(status_of(group_leader(c)).asleep);
    node_start_new(n, n->replica, begun);
}

/* One that knows the others by the names of replicas that are gone is heard all the same. Seed 110005677. */
static void a_sleeping_leader_hears_of_who_knows_nobody(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    uint64_t v[] = {1, 2, 3};
    struct node *l = group_elect(c);
    struct raft_conf begun = conf_of(c, v, 3, NULL, 0);
    for (int round = 0; round < 2;
         round++) /* in the second one nobody has the name of the beginning */
        for (unsigned s = 1; s <= 3; s++) {
            if (at(s) == l) {
                assert_int_equal(raft_transfer(l->r, other(l, NULL)->replica), ST_OK);
                group_run(c, 100);
            }
            renew(at(s), &begun);
            group_run(c, 500);
            l = group_leader(c);
            everyone_has(status_of(l).commit);
        }
    end();
}

/* Who was away while leading went over to one that it knows as a learner asks that one too. */
static void a_sleeping_leader_hears_of_who_knows_it_as_a_learner(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c);
    uint64_t index, one[] = {1}, two[] = {2}, both[] = {1, 2}, rest[] = {2, 3}, three[] = {3};
    struct raft_conf old = conf_of(c, one, 1, rest, 2), between = conf_of(c, both, 2, three, 1),
                     now = conf_of(c, two, 1, three, 1);
    if (l != at(1)) {
        assert_int_equal(raft_transfer(l->r, 1), ST_OK);
        group_run(c, 100);
    }
    assert_int_equal(raft_change(at(1)->r, &old, true, &index, NULL), ST_OK);
    group_run(c, 300);
    everyone_has(index);
    node_crash(at(3), 0);
    group_run(c, 200);
    assert_int_equal(raft_change(at(1)->r, &between, true, &index, NULL), ST_OK);
    group_run(c, 200);
    assert_int_equal(raft_transfer(at(1)->r, 2), ST_OK);
    group_run(c, 100);
    assert_ptr_equal(group_leader(c), at(2));
    assert_int_equal(raft_change(at(2)->r, &now, true, &index, NULL), ST_OK);
    group_run(c, 100);
    node_crash(at(1), 0);
    group_run(c, 600);
    assert_true(status_of(at(2)).asleep);
    node_restart(at(3));
    group_run(c, 500);
    assert_true(status_of(at(3)).applied >= index);
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

/* A sleeper has no time to try a read of its log again: it does not sleep before all is handed out. */
static void who_has_something_to_apply_does_not_sleep(void **state)
{
    (void)state;
    struct raft_options o = {.cache_bytes = 2048};
    begin(3, 3, &o);
    struct node *l = group_elect(c), *b = other(l, NULL);
    uint64_t last = 0;
    group_run(c, 50);
    for (int i = 0; i < 150; i++) { /* `b` waits for its log */
        if (i < 50)
            last = put(l);
        for (unsigned s = 1; s <= 3; s++) {
            node_tick(at(s), 5);
            while (node_update(at(s)))
                ;
            node_sync(at(s), SIZE_MAX);
            node_apply(at(s));
            if (at(s) != b)
                node_slow(at(s));
        }
        while (c->n_net)
            net_deliver(c, 0);
    }
    assert_int_equal(status_of(b).commit, last);
    assert_true(status_of(b).applied < last && b->fetch_id != 0);
    raft_fetched(b->r, b->fetch_id, ST_IO_ERROR, NULL, 0);
    b->fetch_id = 0;
    group_run(c, 1000);
    everyone_has(last);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_something_to_apply_does_not_sleep),
        cmocka_unit_test(one_leader_and_entries_reach_everyone),
        cmocka_unit_test(one_replica_is_a_cluster),
        cmocka_unit_test(the_leader_does_not_count_its_own_unsynced_entry),
        cmocka_unit_test(entries_commit_without_the_leaders_own_disk),
        cmocka_unit_test(a_vote_does_not_leave_before_it_is_durable),
        cmocka_unit_test(an_old_term_is_not_committed_by_counting),
        cmocka_unit_test(a_leader_of_the_past_lacks_what_was_committed_since),
        cmocka_unit_test(a_rejoining_replica_does_not_depose_the_leader),
        cmocka_unit_test(a_leader_that_is_known_to_be_gone_is_replaced_sooner),
        cmocka_unit_test(who_is_wrong_about_its_leader_changes_nothing),
        cmocka_unit_test(a_leader_without_its_majority_steps_down),
        cmocka_unit_test(a_pause_of_the_process_is_not_taken_for_silence),
        cmocka_unit_test(a_conflicting_tail_is_overwritten),
        cmocka_unit_test(leadership_is_handed_over),
        cmocka_unit_test(a_transfer_to_a_lagging_or_dead_replica_is_given_up),
        cmocka_unit_test(proposals_are_held_back),
        cmocka_unit_test(idle_groups_sleep_and_one_beat_keeps_them),
        cmocka_unit_test(a_sleeping_leader_knows_who_is_there),
        cmocka_unit_test(a_sleeping_leader_hears_of_who_may_not_campaign),
        cmocka_unit_test(a_sleeping_leader_knows_who_is_there),
        cmocka_unit_test(a_sleeping_leader_hears_of_who_knows_nobody),
        cmocka_unit_test(a_sleeping_leader_knows_who_is_there),
        cmocka_unit_test(a_sleeping_leader_hears_of_who_knows_it_as_a_learner),
        cmocka_unit_test(a_restarted_leaders_store_wakes_its_followers),
        cmocka_unit_test(slow_peers_are_pipelined_within_limits),
        cmocka_unit_test(the_only_voter_goes_on_without_an_election),
        cmocka_unit_test(what_the_only_voter_could_not_log_is_withdrawn),
        cmocka_unit_test(who_waits_does_not_campaign_over_an_empty_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
