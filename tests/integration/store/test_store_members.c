/* Members of a cluster change: learners, nodes that are out and come back, a new replica in the place of
 * one whose disk is gone. By name it looks for: a learner that counts; a configuration that a restart, a
 * drain, a log given up or a state of another node forgets; a change that is answered wrongly; two
 * changes at once; writes that are lost or done twice meanwhile. */
#include "base/log.h"
#include "cluster_world.h"
#include "node/store/members.h"
#include "support/cmocka.h"
#include "support/seeds.h"

#include <stdlib.h>

static struct cluster_world w; /* too large for a stack */

/* ---- calls, as fibers ---- */

struct ask {
    struct cw_node *n;
    const char *key;
    struct store_member members[CW_NODES_MAX];
    size_t n_members;
    uint64_t patience_ms;
    enum status st;
    struct err err;
    bool done;
};

static void put(void *arg)
{
    struct ask *a = arg;
    struct version at;
    a->st = cw_put(&w, a->n, a->key, &at, &a->err);
    a->done = true;
}

static void bar(void *arg)
{
    struct ask *a = arg;
    a->st = store_barrier(a->n->s, 700, &a->err);
}

static void hand_over(void *arg)
{
    struct ask *a = arg;
    a->st = store_hand_over(a->n->s, 900, &a->err);
}

static void change(void *arg)
{
    struct ask *a = arg;
    a->n->in_calls++;
    a->st = store_members_change(a->n->s, a->members, a->n_members, a->patience_ms, &a->err);
    a->n->in_calls--;
    a->done = true;
}

static struct ask ask(void (*fn)(void *arg), uint64_t node, const char *key)
{
    struct ask a = {.n = &w.node[node], .key = key};
    err_init(&a.err);
    cw_call(&w, fn, &a);
    return a;
}

static void must_at(int line, struct ask a, enum status st)
{
    if (a.st != st)
        fail_msg("line %d: %s instead of %s: %s", line, status_name(a.st), status_name(st),
                 a.err.detail);
}
#define must(...) must_at(__LINE__, __VA_ARGS__)

/* Members as text, node by node: 'v', 'l' or '-'. */
static struct ask wish(uint64_t at, const char *roles)
{
    struct ask a = {.n = &w.node[at], .patience_ms = 3000};
    err_init(&a.err);
    for (uint64_t id = 1; roles[id - 1]; id++)
        if (roles[id - 1] != '-')
            a.members[a.n_members++] =
                (struct store_member){.node = id, .learner = roles[id - 1] == 'l'};
    return a;
}

static struct ask change_at(uint64_t at, const char *roles)
{
    struct ask a = wish(at, roles);
    cw_call(&w, change, &a);
    return a;
}

/* Until it is done, by whoever leads. */
static void change_to(const char *roles)
{
    enum status st = ST_UNAVAILABLE;
    for (unsigned tries = 0; st != ST_OK; tries++) {
        cw_until(&w, cw_has_leader, 20000, "a leader");
        struct ask a = change_at(cw_leader(&w), roles);
        st = a.st;
        if (tries > 50)
            fail_msg("%s: %s", status_name(st), a.err.detail);
        if (st != ST_OK)
            cw_run(&w, 100);
    }
    cw_run(&w, 500); /* one that is out now leads no more */
    cw_until(&w, cw_has_leader, 20000, "a leader");
}

/* ---- looking ---- */

static char role_of(const struct raft_conf *c, uint64_t node)
{
    char role = '-';
    for (unsigned i = 0; i < c->n; i++)
        if (c->member[i].store == node)
            role = raft_conf_joint(c) ? '?' : c->member[i].flags & RAFT_VOTER ? 'v' : 'l';
    return role;
}

static bool says(uint64_t node, const char *roles)
{
    const struct raft *r = w.node[node].s ? store_raft(w.node[node].s) : NULL;
    for (uint64_t id = 1; id <= w.n; id++)
        if (!r || role_of(raft_configuration(r), id) != roles[id - 1])
            return false;
    return true;
}

static const char *wanted;
static uint64_t wanted_of;

static bool it_says_so(struct cluster_world *x)
{
    (void)x;
    return says(wanted_of, wanted);
}

static void until_says(uint64_t node, const char *roles)
{
    wanted = roles;
    wanted_of = node;
    cw_until(&w, it_says_so, 20000, roles);
}

static void begin(uint64_t seed, size_t n)
{
    cw_init(&w, seed, n);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    cw_collection(&w);
}

static void cut_off(uint64_t node, bool cut)
{
    for (uint64_t k = 1; k <= w.n; k++)
        if (k != node)
            w.cut[node][k] = w.cut[k][node] = cut;
}

static uint64_t other_than(uint64_t a, uint64_t b)
{
    for (uint64_t id = 1;; id++)
        if (id != a && id != b)
            return id;
}

static void roles_with(char out[CW_NODES_MAX + 1], uint64_t node, char role)
{
    memset(out, 'v', w.n);
    out[w.n] = 0;
    out[node - 1] = role;
}

/* ---- tests ---- */

static void test_a_learner_gets_everything_and_counts_for_nothing(void **state)
{
    char roles[CW_NODES_MAX + 1];
    (void)state;
    begin(11, 3);
    uint64_t leader = cw_leader(&w), learner = leader % 3 + 1, voter = other_than(leader, learner);
    roles_with(roles, learner, 'l');
    must(change_at(leader, roles), ST_OK);
    until_says(learner, roles);
    must(ask(put, learner, "through the learner"), ST_OK);
    must(ask(bar, learner, NULL), ST_OK);
    cw_until(&w, cw_converged, 5000, "the learner has it all");
    /* One voter of two is no majority, whatever the learner has. */
    cw_crash(&w, voter, SIM_CRASH_POWER, 1000000);
    must(ask(put, leader, "lost?"), ST_UNKNOWN_OUTCOME);
    cw_heal(&w);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    /* Nor is it elected, or handed the lead. */
    cw_until(&w, cw_converged, 5000, "all have it all");
    leader = cw_leader(&w);
    voter = other_than(leader, learner);
    must(ask(hand_over, leader, NULL), ST_OK);
    cw_until(&w, cw_has_leader, 5000, "a leader");
    assert_int_equal(cw_leader(&w), voter);
    cw_crash(&w, voter, SIM_CRASH_POWER, 3000);
    cw_crash(&w, leader, SIM_CRASH_POWER, 3000);
    cw_run(&w, 2500);
    assert_int_equal(cw_leader(&w), 0);
    must(ask(bar, learner, NULL), ST_UNAVAILABLE);
    cw_until(&w, cw_has_leader, 10000, "a leader");
    change_to("vvv");
    cw_judge(&w);
    cw_deinit(&w);
}

static void test_a_voter_goes_under_load_and_comes_back(void **state)
{
    char roles[CW_NODES_MAX + 1];
    uint64_t seed;
    (void)state;
    FOR_EACH_SEED(seed, 6)
    {
        begin(seed, seed % 2 ? 3 : 5);
        for (int i = 0; i < 6; i++)
            cw_client_start(&w);
        cw_run(&w, 500);
        uint64_t leader = cw_leader(&w), gone = leader % w.n + 1, done = w.done;
        roles_with(roles, gone, '-');
        change_to(roles);
        cw_run(&w, 1000);
        assert_true(w.done > done);
        until_says(cw_leader(&w), roles);
        /* It is told nothing any more, and its writes are surely not done. */
        struct ask a = ask(put, gone, "out");
        must(a, says(gone, roles) ? ST_UNAVAILABLE : a.st);
        assert_int_not_equal(a.st, ST_OK);
        must(ask(bar, gone, NULL), ST_UNAVAILABLE);
        roles_with(roles, gone, 'l');
        change_to(roles);
        must(ask(put, gone, "in"), ST_OK);
        change_to(w.n == 3 ? "vvv" : "vvvvv");
        cw_judge(&w);
        cw_deinit(&w);
    }
}

static void test_a_leader_leaves(void **state)
{
    char roles[CW_NODES_MAX + 1];
    (void)state;
    begin(13, 3);
    uint64_t old = cw_leader(&w);
    roles_with(roles, old, '-');
    must(change_at(old, roles), ST_OK);
    cw_until(&w, cw_has_leader, 5000, "another leader");
    cw_run(&w, 1000);
    assert_int_not_equal(cw_leader(&w), old);
    struct store_role r;
    store_role(w.node[old].s, &r);
    assert_false(r.is_leader);
    must(ask(put, cw_leader(&w), "k"), ST_OK);
    struct ask a = ask(put, old, "k");
    must(a, ST_UNAVAILABLE);
    assert_non_null(strstr(a.err.detail, "does not belong"));
    change_to("vvv");
    must(ask(put, old, "k"), ST_OK);
    /* The only voter there is has nobody to hand over to. */
    uint64_t leader = cw_leader(&w);
    memset(roles, 'l', 3);
    roles[leader - 1] = 'v';
    must(change_at(leader, roles), ST_OK);
    must(ask(hand_over, leader, NULL), ST_OK);
    assert_int_equal(cw_leader(&w), leader);
    cw_crash(&w, leader, SIM_CRASH_POWER, 100);
    cw_until(&w, cw_has_leader, 5000, "it leads again");
    assert_int_equal(cw_leader(&w), leader);
    cw_run(&w, 500); /* the others have heard of it */
    must(ask(put, leader % 3 + 1, "k"), ST_OK);
    change_to("vvv");
    cw_judge(&w);
    cw_deinit(&w);
}

static void write_much(uint64_t node)
{
    for (int i = 0; i < 60; i++)
        must(ask(put, node, "much"), ST_OK);
}

static void drain(void *arg)
{
    struct ask *a = arg;
    a->st = store_checkpoint(a->n->s, &a->err);
}

static void reopen(uint64_t id)
{
    struct err err;
    err_init(&err);
    if (store_close(w.node[id].s, &err) != ST_OK)
        fail_msg("%s", err.detail);
    w.node[id].s = NULL;
    cw_open(&w, id);
}

/* Wherever the entry is by then: in the log, beside a drain's mark, in a state that came. */
static void test_members_outlive_restarts(void **state)
{
    (void)state;
    for (int drained = 0; drained < 3; drained++) {
        begin(17 + (uint64_t)drained, 5);
        change_to("vvvl-");
        write_much(cw_leader(&w));
        for (uint64_t id = 1; id <= 4; id++) {
            until_says(id, "vvvl-");
            if (drained)
                must(ask(drain, id, NULL), ST_OK);
        }
        if (drained == 2)
            write_much(cw_leader(&w)); /* something behind the mark */
        for (uint64_t id = 1; id <= 4; id++) {
            if (drained)
                reopen(id);
            else
                cw_crash(&w, id, SIM_CRASH_POWER, 0);
        }
        cw_run(&w, 10);
        for (uint64_t id = 1; id <= 4; id++)
            if (!says(id, "vvvl-"))
                fail_msg("node %d forgot who belongs to the cluster", (int)id);
        cw_until(&w, cw_has_leader, 10000, "a leader");
        must(ask(put, cw_leader(&w), "k"), ST_OK);
        change_to("vvvvv");
        cw_judge(&w);
        cw_deinit(&w);
    }
}

static bool got_a_state(struct cluster_world *x)
{
    struct raft_status r, lead;
    uint64_t leader = cw_leader(x);
    if (!leader || !x->node[5].s)
        return false;
    raft_status(store_raft(x->node[5].s), &r);
    raft_status(store_raft(x->node[leader].s), &lead);
    return r.applied >= lead.compacted && r.compacted > 0 && r.leader_store == leader;
}

static void test_a_state_brings_the_members_along(void **state)
{
    (void)state;
    begin(23, 5);
    for (uint64_t id = 1; id <= 5; id++)
        w.node[id].o.log_bytes = 1; /* the log is given up as soon as it is drained */
    for (uint64_t id = 1; id <= 5; id++)
        reopen(id);
    cw_until(&w, cw_has_leader, 10000, "a leader");
    cw_crash(&w, 5, SIM_CRASH_POWER, 10000000);
    change_to("vv-lv");
    struct raft_status lead = {0};
    for (int i = 0; i < 100 && lead.compacted <= lead.conf_index; i++) { /* a segment and more */
        write_much(cw_leader(&w));
        for (uint64_t id = 1; id <= 4; id++)
            must(ask(drain, id, NULL), ST_OK);
        write_much(cw_leader(&w));
        cw_run(&w, 500);
        raft_status(store_raft(w.node[cw_leader(&w)].s), &lead);
    }
    assert_true(lead.compacted > lead.conf_index);
    w.node[5].up_at_ms = w.now_ms;
    cw_until(&w, got_a_state, 20000, "a state came");
    assert_true(says(5, "vv-lv"));
    cw_run(&w, 500);
    cw_crash(&w, 5, SIM_CRASH_POWER, 0);
    cut_off(5, true); /* nobody tells it again */
    cw_run(&w, 50);
    assert_true(says(5, "vv-lv"));
    reopen(5);
    assert_true(says(5, "vv-lv"));
    cut_off(5, false);
    change_to("vvvvv");
    cw_judge(&w);
    cw_deinit(&w);
}

static void test_one_change_at_a_time(void **state)
{
    (void)state;
    begin(29, 3);
    uint64_t leader = cw_leader(&w), follower = leader % 3 + 1;
    must(change_at(follower, "vvl"), ST_PRECONDITION_FAILED);
    must(change_at(leader, "---"), ST_INVALID_ARGUMENT);
    must(change_at(leader, "lll"), ST_INVALID_ARGUMENT);
    must(change_at(leader, "vvvv"), ST_INVALID_ARGUMENT);
    struct ask twice = wish(leader, "vvv");
    twice.members[1] = twice.members[0];
    cw_call(&w, change, &twice);
    must(twice, ST_INVALID_ARGUMENT);
    /* Nobody hears of the first. */
    struct ask first = wish(leader, "vvl");
    struct err err;
    first.patience_ms = 10000;
    cut_off(leader, true);
    assert_int_equal(fiber_spawn(w.fibers, change, &first, &err), ST_OK);
    cw_run(&w, 10);
    assert_false(first.done);
    must(change_at(leader, "lvv"), ST_PRECONDITION_FAILED);
    /* Another one leads: the first is surely not done, when the old one hears what is there instead. */
    cw_run(&w, 1500);
    uint64_t next = cw_leader(&w);
    assert_int_not_equal(next, leader);
    must(ask(put, next, "k"), ST_OK);
    cut_off(leader, false);
    cw_run(&w, 1500);
    assert_true(first.done);
    must(first, ST_UNAVAILABLE);
    /* Nobody knows what becomes of this one, in time. */
    cw_until(&w, cw_has_leader, 5000, "a leader");
    leader = cw_leader(&w);
    first = wish(leader, "vvl");
    first.patience_ms = 50;
    cut_off(leader, true);
    cw_call(&w, change, &first);
    must(first, ST_UNKNOWN_OUTCOME);
    cut_off(leader, false);
    cw_run(&w, 1000);
    change_to("vvv");
    cw_judge(&w);
    cw_deinit(&w);
}

/* A node whose disk is gone comes back as another replica: it forgot what it had voted for. */
static void test_a_new_replica_takes_the_place_of_one(void **state)
{
    (void)state;
    for (uint64_t lost = 1; lost <= 3; lost += 2) {
        begin(31 + lost, 3);
        struct cw_node *n = &w.node[lost];
        write_much(lost % 3 + 1);
        cw_crash(&w, lost, SIM_CRASH_POWER, 10000000);
        sim_env_free(n->env);
        n->env = sim_env_new(&(struct sim_options){.seed = 77});
        assert_non_null(n->env);
        sim_advance_ms(n->env, w.now_ms);
        n->cluster.replica = 100 + lost;
        sim_set_wall_ms(n->env,
                        env_now_ms(n->env) - 86400000); /* nobody takes it for an older process */
        cw_open(&w, lost);
        cw_run(&w, 2000);
        struct raft_status r;
        raft_status(store_raft(n->s), &r);
        assert_int_equal(r.vote, 0); /* it is told of terms, and votes for nobody */
        assert_int_equal(r.applied, 0);
        must(ask(put, lost, "out"), ST_UNAVAILABLE);
        /* Beside the old one, as a learner; then in its place. */
        cw_until(&w, cw_has_leader, 5000, "a leader");
        struct ask a = wish(cw_leader(&w), "vvv");
        for (size_t i = 0; i < 3; i++)
            a.members[i].replica = a.members[i].node;
        a.members[a.n_members++] =
            (struct store_member){.node = lost, .replica = 100 + lost, .learner = true};
        cw_call(&w, change, &a);
        must(a, ST_OK);
        must(ask(bar, lost, NULL), ST_OK);
        change_to("vvv"); /* of each node the newest */
        must(ask(put, lost, "in"), ST_OK);
        reopen(lost);
        cw_until(&w, cw_converged, 10000, "all have it all");
        cw_crash(&w, lost % 3 + 1, SIM_CRASH_POWER, 10000000);
        cw_until(&w, cw_has_leader, 10000, "it counts");
        must(ask(put, lost, "counts"), ST_OK);
        /* The folder is that replica's. */
        struct err err;
        err_init(&err);
        assert_int_equal(store_close(n->s, &err), ST_OK);
        n->s = NULL;
        n->cluster.replica = 0;
        assert_int_equal(store_open(n->env, "/db", &n->o, &n->s, &err), ST_INVALID_ARGUMENT);
        assert_non_null(strstr(err.detail, "replica"));
        n->cluster.replica = 100 + lost;
        cw_open(&w, lost);
        cw_judge(&w);
        cw_deinit(&w);
    }
}

/* ---- from seeds ---- */

struct admin {
    bool stop, gone;
    uint64_t done, refused, unknown;
};

static void admin(void *arg)
{
    struct admin *ad = arg;
    while (!ad->stop) {
        char roles[CW_NODES_MAX + 1] = {0};
        for (uint64_t i = 0; i < w.n; i++)
            roles[i] = "vvvl-"[test_rng_below(&w.rng, 5)];
        uint64_t at = test_rng_chance(&w.rng, 4, 5) ? cw_leader(&w) : 0;
        at = at ? at : 1 + test_rng_below(&w.rng, w.n);
        if (w.node[at].s && !w.node[at].dying) {
            struct ask a = wish(at, roles);
            a.patience_ms = 1 + test_rng_below(&w.rng, 2000);
            change(&a);
            ad->done += a.st == ST_OK;
            ad->unknown += a.st == ST_UNKNOWN_OUTCOME;
            ad->refused += a.st == ST_PRECONDITION_FAILED;
        }
        fiber_park_until(fiber_now_ns() + 1 + test_rng_below(&w.rng, 400) * 1000000);
    }
    ad->gone = true;
}

static void disturb(void)
{
    uint64_t id = 1 + test_rng_below(&w.rng, w.n);
    switch (test_rng_below(&w.rng, 8)) {
    case 0:
        cw_crash(&w, id, SIM_CRASH_POWER, test_rng_below(&w.rng, 1000));
        break;
    case 1:
        if (cw_leader(&w))
            cw_crash(&w, cw_leader(&w), SIM_CRASH_POWER, test_rng_below(&w.rng, 1000));
        break;
    case 2:
        cut_off(id, true);
        break;
    case 3:
        w.loss = (unsigned)test_rng_below(&w.rng, 200);
        break;
    case 4:
        for (uint64_t k = 1; k <= w.n; k++)
            cw_crash(&w, k, SIM_CRASH_POWER, test_rng_below(&w.rng, 300));
        break;
    default:
        memset(w.cut, 0, sizeof w.cut);
        w.loss = 0;
    }
}

static void test_random_changes(void **state)
{
    uint64_t seed, done = 0, refused = 0, unknown = 0, writes = 0;
    struct err err;
    (void)state;
    FOR_EACH_SEED(seed, 30)
    {
        struct admin a = {0};
        begin(seed, seed % 3 == 2 ? 5 : 3);
        for (int i = 0; i < 6; i++)
            cw_client_start(&w);
        assert_int_equal(fiber_spawn(w.fibers, admin, &a, &err), ST_OK);
        for (int i = 0; i < 20; i++) {
            cw_run(&w, 50 + test_rng_below(&w.rng, 400));
            disturb();
        }
        a.stop = true;
        cw_heal(&w);
        for (int i = 0; i < 1000 && !a.gone; i++)
            cw_run(&w, 10);
        assert_true(a.gone);
        change_to(w.n == 3 ? "vvv" : "vvvvv");
        cw_judge(&w);
        done += a.done;
        refused += a.refused;
        unknown += a.unknown;
        writes += w.done;
        cw_deinit(&w);
    }
    print_message("%llu changes done, %llu refused, %llu unknown; %llu writes\n",
                  (unsigned long long)done, (unsigned long long)refused,
                  (unsigned long long)unknown, (unsigned long long)writes);
    assert_true(done > 0 && refused > 0 && unknown > 0 && writes > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_learner_gets_everything_and_counts_for_nothing),
        cmocka_unit_test(test_a_voter_goes_under_load_and_comes_back),
        cmocka_unit_test(test_a_leader_leaves),
        cmocka_unit_test(test_members_outlive_restarts),
        cmocka_unit_test(test_a_state_brings_the_members_along),
        cmocka_unit_test(test_one_change_at_a_time),
        cmocka_unit_test(test_a_new_replica_takes_the_place_of_one),
        cmocka_unit_test(test_random_changes),
    };
    log_configure(LOG_OFF, LOG_HUMAN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
