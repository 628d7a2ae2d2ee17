/* Stories of states that are sent, and of entries that are rotten. */
#include "story.h"

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

/* While it was made the log was given up further: it is of no use, and whoever made it is told. */
static void a_state_that_comes_too_late_is_given_back(void **state)
{
    (void)state;
    begin(3, 3, NULL);
    struct node *l = group_elect(c), *b = other(l, NULL);
    node_crash(b, 0);
    for (int i = 0; i < 50; i++)
        put(l);
    group_run(c, 50);
    while (status_of(l).compacted == 0)
        node_checkpoint(l, true);
    node_restart(b);
    for (int i = 0; i < 500 && !l->want_made; i++) {
        for (unsigned s = 1; s <= 3; s++) {
            node_tick(at(s), 5);
            while (node_update(at(s)))
                ;
            node_sync(at(s), SIZE_MAX);
        }
        while (c->n_net)
            net_deliver(c, 0);
    }
    assert_int_not_equal(l->want_made, 0);
    l->want_made = 0;
    struct raft_snapshot late = {.id = 77,
                                 .index = status_of(l).compacted - 1,
                                 .term = 1,
                                 .conf = *raft_configuration(l->r)};
    struct raft_update u;
    raft_snapshot_made(l->r, ST_OK, &late);
    assert_true(raft_update(l->r, &u));
    assert_int_equal(u.drop_snapshot, late.id);
    raft_done(l->r);
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

/* A replica alone with what it is told: entries 1 to 4 are applied, 5 is rotten. */
static struct raft *a_rotten_one(struct raft_store **ret_store)
{
    struct raft_options o = {.store = 2, .incarnation = 1, .seed = 1};
    struct raft_init i = {.group = 7, .replica = 2, .hard = {1, 1, 4}, .applied = 4};
    struct raft *r;
    i.conf.n = 3;
    for (uint64_t k = 1; k <= 3; k++)
        i.conf.member[k - 1] = (struct raft_member){k, k, RAFT_VOTER};
    assert_int_equal(raft_store_new(&o, ret_store, NULL), ST_OK);
    assert_int_equal(raft_new(*ret_store, &i, &r, NULL), ST_OK);
    for (uint64_t k = 1; k <= 4; k++)
        assert_int_equal(raft_load_term(r, 1, k, NULL), ST_OK);
    assert_int_equal(raft_load_bad(r, 1, 5, NULL), ST_OK);
    assert_int_equal(raft_start(r, NULL), ST_OK);
    return r;
}

static struct raft_msg from(uint64_t leader, uint64_t term, uint8_t type)
{
    return (struct raft_msg){.type = type,
                             .group = 7,
                             .from = leader,
                             .from_store = leader,
                             .to = 2,
                             .to_store = 2,
                             .term = term,
                             .data = BYTES_EMPTY};
}

/* Entries of another leader come while the last part of a state is stored, mend what is rotten and reach
 * further than the state; they are not durable yet when it is stored. They must not go: some of them are
 * known to be committed, and would be skipped when they come again. */
static void a_state_does_not_take_back_what_is_committed(void **state)
{
    (void)state;
    struct raft_store *store;
    struct raft *r = a_rotten_one(&store);
    struct raft_update u;
    struct raft_status now;
    struct raft_snapshot snap = {.id = 9, .index = 8, .term = 1, .conf = *raft_configuration(r)};
    struct raft_entry e[6];
    for (uint64_t k = 5; k <= 10; k++)
        e[k - 5] = (struct raft_entry){1, k, BYTES_LIT("x"), RAFT_ENTRY_DATA};
    struct raft_msg part = from(1, 1, RAFT_MSG_SNAPSHOT), more = from(3, 2, RAFT_MSG_APPEND);
    part.flags = RAFT_MSG_LAST;
    part.snapshot = &snap;
    part.data = BYTES_LIT("state");
    more.index = 4;
    more.log_term = 1;
    more.commit = 10;
    more.entries = e;
    more.n_entries = 6;
    assert_int_equal(raft_step(r, &part), ST_OK);
    assert_true(raft_update(r, &u) && u.chunk.last);
    raft_done(r);
    assert_int_equal(raft_step(r, &more), ST_OK);
    raft_chunk_written(r, snap.id, ST_OK);
    uint64_t ticket = 0;
    bool installs = false;
    while (raft_update(r, &u)) {
        ticket = u.ticket ? u.ticket : ticket;
        installs = installs || u.install;
        raft_done(r);
    }
    if (installs)
        raft_installed(r, snap.id, ST_OK);
    raft_appended(r, ticket);
    raft_status(r, &now);
    assert_int_equal(now.commit, 10);
    assert_int_equal(now.last, 10);
    assert_int_equal(now.bad, 0);
    raft_free(r);
    raft_store_free(store);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replica_that_was_away_gets_a_snapshot_in_chunks),
        cmocka_unit_test(a_snapshot_goes_on_where_it_stopped),
        cmocka_unit_test(a_snapshot_reaches_over_what_is_rotten),
        cmocka_unit_test(a_snapshot_behind_the_commit_helps_over_what_is_rotten),
        cmocka_unit_test(a_state_that_comes_too_late_is_given_back),
        cmocka_unit_test(a_snapshot_does_not_replace_newer_entries),
        cmocka_unit_test(a_snapshot_of_what_the_log_has_only_moves_the_commit),
        cmocka_unit_test(a_state_does_not_take_back_what_is_committed),
        cmocka_unit_test(rotten_entries_come_back_from_peers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
