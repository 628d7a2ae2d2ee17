/* A cluster under everything at once, from one seed: lost, doubled and reordered messages, partitions
 * of both kinds, crashes that lose exactly what was not synced, slow disks, changes of members,
 * transfers, snapshots, reads, rot. All invariants are held after every step; at the end the cluster
 * heals and must make progress and agree.
 */
#include "support/cmocka.h"
#include "support/seeds.h"
#include "unit/raft/cluster.h"

#include <stdlib.h>

typedef unsigned long long ull;

struct mix { /* weights of what may happen, drawn for each seed */
    uint32_t update, sync, apply, slow, deliver, drop, tick, propose, read, crash, restart, cut,
        heal, checkpoint, transfer, change, wipe, deposed, campaign;
};

static struct node *any(struct cluster *c)
{
    return &c->nodes[1 + test_rng_below(&c->rng, c->n)];
}

/* Often the leader: it is where things happen. */
static struct node *busy_one(struct cluster *c)
{
    struct node *n = test_rng_chance(&c->rng, 3, 4) ? cluster_leader(c) : NULL;
    return n ? n : any(c);
}

/* One that believes it leads, perhaps wrongly. */
static struct node *any_leader(struct cluster *c)
{
    unsigned first = (unsigned)test_rng_below(&c->rng, c->n);
    for (unsigned i = 0; i < c->n; i++) {
        struct node *n = &c->nodes[1 + (first + i) % c->n];
        if (n->up && status_of(n).role == RAFT_LEADER)
            return n;
    }
    return any(c);
}

static void read_some(struct cluster *c)
{
    struct node *n = test_rng_chance(&c->rng, 1, 2) ? any_leader(c) : any(c);
    for (uint64_t k = test_rng_below(&c->rng, 4) + 1; k > 0; k--)
        (void)node_read(n);
    /* What is asked leaves, and what it meets is older than itself. */
    if (test_rng_chance(&c->rng, 1, 2))
        (void)node_update(n);
}

static bool one_rotten(const struct cluster *c)
{
    for (unsigned s = 1; s <= c->n; s++)
        for (uint64_t i = c->nodes[s].d.compacted + 1; i <= c->nodes[s].d.last; i++)
            if (c->nodes[s].d.e[i].bad)
                return true;
    return false;
}

/* The fault atlas: one copy at a time, of an entry that is committed and of which a good copy is
 * elsewhere; nobody compacts it away meanwhile. (An entry that only its rotten holder ever had, or
 * that is only in states, blocks elections that need the holder's vote: README.md.) */
static void rot(struct cluster *c, struct node *n)
{
    const struct disk *d = &n->d;
    if (d->last == d->compacted || one_rotten(c) || !in_conf(&c->conf_at_max, n->replica))
        return;
    uint64_t i = d->compacted + 1 + test_rng_below(&c->rng, d->last - d->compacted);
    if (i > c->commit_max || d->e[i].term != c->applied_term[i])
        return;
    for (unsigned s = 1; s <= c->n; s++) {
        const struct disk *o = &c->nodes[s].d;
        if (s != n->store && in_conf(&c->conf_at_max, c->nodes[s].replica) && i > o->compacted &&
            i <= o->last && o->e[i].term == d->e[i].term) {
            cluster_rot(c, n, i);
            return;
        }
    }
}

static void crash(struct cluster *c, bool rots)
{
    struct node *n = busy_one(c);
    if (!n->up)
        return;
    node_crash(n, test_rng_below(&c->rng, n->d.n_ops + 1));
    if (test_rng_chance(&c->rng, 1, 4)) { /* back before anybody noticed */
        node_restart(n);
        return;
    }
    if (rots && test_rng_chance(&c->rng, 1, 2))
        rot(c, n);
}

static void cut(struct cluster *c)
{
    unsigned a = (unsigned)test_rng_between(&c->rng, 1, c->n);
    unsigned b = (unsigned)test_rng_between(&c->rng, 1, c->n);
    switch (test_rng_below(&c->rng, 3)) {
    case 0:
        cluster_isolate(c, a, true);
        break;
    case 1: /* one way */
        if (a != b)
            c->cut[a][b] = true;
        break;
    default: /* two halves */
        for (unsigned i = 1; i <= c->n; i++)
            for (unsigned j = 1; j <= c->n; j++)
                if ((i <= a) != (j <= a))
                    c->cut[i][j] = true;
        break;
    }
}

static void change(struct cluster *c)
{
    struct node *n = cluster_leader(c);
    if (!n || one_rotten(c)) /* who has the sound copy must not be removed */
        return;
    uint64_t voters[STORES_MAX], learners[STORES_MAX], index;
    size_t nv = 0, nl = 0;
    for (unsigned s = 1; s <= c->n; s++)
        switch (test_rng_below(&c->rng, 4)) {
        case 0:
            break;
        case 1:
            learners[nl++] = s;
            break;
        default:
            if (c->nodes[s].exists)
                voters[nv++] = s;
            break;
        }
    if (nv == 0)
        return;
    struct raft_conf t = conf_of(c, voters, nv, learners, nl);
    if (raft_change(n->r, &t, test_rng_chance(&c->rng, 5, 8), &index, NULL) != ST_OK) {
        tried(raft_leave(n->r, &index));
        return;
    }
    /* The moment when two configurations are about is the one to fail in. */
    for (uint64_t k = test_rng_below(&c->rng, 4); k > 0; k--)
        (void)node_update(n);
    switch (test_rng_below(&c->rng, 6)) {
    case 0:
        cut(c);
        break;
    case 1:
        cluster_isolate(c, n->store, true);
        break;
    case 2:
        node_crash(n, test_rng_below(&c->rng, n->d.n_ops + 1));
        break;
    default:
        break;
    }
}

/* A store whose replica belongs to nobody any more gets a new one with an empty disk. */
static void wipe(struct cluster *c)
{
    struct node *n = any(c);
    for (unsigned s = 1; s <= c->n; s++) {
        const struct node *o = &c->nodes[s];
        if (o->up && (in_conf(raft_configuration(o->r), n->replica)))
            return;
        if (in_conf(&o->d.ckpt.conf, n->replica) || (!o->up && o->exists))
            return;
    }
    if (in_conf(&c->conf_at_max, n->replica))
        return;
    struct raft_conf none = {0};
    if (n->up)
        node_crash(n, 0);
    node_start_new(n, c->next_replica++, &none);
}

static void transfer(struct cluster *c)
{
    struct node *n = cluster_leader(c);
    if (n)
        tried(raft_transfer(n->r, any(c)->replica));
}

static void draw_mix(struct test_rng *r, struct mix *m)
{
    uint32_t *w = (uint32_t *)m;
    for (size_t i = 0; i < sizeof *m / sizeof *w; i++)
        w[i] = (uint32_t)test_rng_below(r, 4);
    m->update += 300;
    m->sync += 120 + 60 * (uint32_t)test_rng_below(r, 3);
    m->apply += 60;
    m->slow += 60;
    m->deliver += 500;
    m->drop *= 3;
    m->tick += 60 + 30 * (uint32_t)test_rng_below(r, 3);
    m->propose += 10 + 20 * (uint32_t)test_rng_below(r, 4);
    m->read += 5 + 10 * (uint32_t)test_rng_below(r, 4);
    m->restart += m->crash + 1;
    m->cut = m->cut > 1 ? m->cut - 1 : 0;
    m->heal += 1;
    m->checkpoint *= 3;
    m->deposed = m->deposed >= 2; /* a step of a thousand steps */
}

/* Lazy: the newest first, so that some messages arrive long after their time. */
static void deliver(struct cluster *c, bool lazy)
{
    if (c->n_net == 0) {
        (void)node_update(any(c));
        return;
    }
    uint64_t from = lazy && c->n_net > 6 && test_rng_chance(&c->rng, 19, 20) ? c->n_net - 6 : 0;
    net_deliver(c, from + test_rng_below(&c->rng, c->n_net - from));
}

static bool deliver_one(struct cluster *c, uint64_t store, bool to_it)
{
    for (size_t i = 0; i < c->n_net; i++) {
        const struct packet *p = &c->net[i];
        if (((p->is_beat ? p->beat.to_store : p->m.to_store) == store) == to_it) {
            net_deliver(c, i);
            return true;
        }
    }
    return false;
}

static void work(struct node *n)
{
    while (node_update(n))
        ;
    node_sync(n, SIZE_MAX);
    node_apply(n);
}

/* The others replace a leader that is cut off and does not know it. */
static void replace(struct cluster *c, const struct node *l)
{
    for (unsigned k = 0; k < 600; k++) {
        struct node *n = any(c);
        if (n == l)
            continue;
        if (k % 4 == 0)
            node_tick(n, 15);
        work(n);
        (void)deliver_one(c, l->store, false);
        if (n->up && status_of(n).role == RAFT_LEADER && test_rng_chance(&c->rng, 1, 8))
            (void)node_propose(n, NULL);
        cluster_check(c);
    }
}

/* Who was replaced comes back while its successor is away, with a log that is longer than the others'
 * and older, and wants their votes. */
static void come_back(struct cluster *c, struct node *l)
{
    struct node *successor = cluster_leader(c);
    if (!successor || successor == l || !l->up)
        return;
    cluster_isolate(c, l->store, false);
    cluster_isolate(c, successor->store, true);
    /* Nobody sticks to the successor or hears of it any more. (A step of more than half an election
     * timeout would count as a pause of the node itself.) */
    for (unsigned k = 0; k < 2; k++)
        for (unsigned s = 1; s <= c->n; s++)
            if (s != successor->store)
                node_tick(&c->nodes[s], c->o.election_ms / 2);
    while (c->n_net)
        net_drop(c, c->n_net - 1);
    for (unsigned k = 0; k < 12; k++) {
        if (status_of(l).role == RAFT_FOLLOWER)
            tried(raft_campaign(l->r));
        work(l);
        for (unsigned i = 0; i < 20 && deliver_one(c, successor->store, false); i++)
            work(any(c));
        for (unsigned s = 1; s <= c->n; s++)
            if (s != successor->store)
                work(&c->nodes[s]);
        node_tick(l, 5);
        cluster_check(c);
    }
    if (test_rng_chance(&c->rng, 1, 2))
        cluster_isolate(c, successor->store, false);
}

/* A leader asks who follows it, is cut off, perhaps while its clients go on writing, is replaced without
 * knowing it, is asked for a read, and only then hears the answers from before. */
static void deposed(struct cluster *c)
{
    struct node *l = any_leader(c);
    if (!l->up || status_of(l).role != RAFT_LEADER || !node_read(l))
        return;
    (void)node_update(l);
    for (unsigned k = 0; k < 40 && deliver_one(c, l->store, false); k++)
        for (unsigned s = 1; s <= c->n; s++)
            if (s != l->store)
                (void)node_update(&c->nodes[s]);
    cluster_isolate(c, l->store, true);
    bool writes = test_rng_chance(&c->rng, 1, 2);
    for (uint64_t k = writes ? test_rng_below(&c->rng, 100) : 0; k > 0; k--)
        (void)node_propose(l, NULL);
    work(l);
    replace(c, l);
    (void)node_read(l);
    (void)node_update(l);
    while (deliver_one(c, l->store, true))
        ;
    work(l);
    if (writes)
        come_back(c, l);
    else if (test_rng_chance(&c->rng, 1, 2))
        cluster_isolate(c, l->store, false);
}

static bool turn(uint32_t *left, uint32_t weight)
{
    if (*left < weight)
        return true;
    *left -= weight;
    return false;
}

struct how {
    bool rots, lazy;
};

static void step(struct cluster *c, const struct mix *m, uint32_t total, const struct how *how)
{
    uint32_t x = (uint32_t)test_rng_below(&c->rng, total);
    struct node *n = any(c);
    if (turn(&x, m->update))
        (void)node_update(n);
    else if (turn(&x, m->sync))
        node_sync(n, 1 + test_rng_below(&c->rng, 3));
    else if (turn(&x, m->apply))
        node_apply(n);
    else if (turn(&x, m->slow))
        node_slow(n);
    else if (turn(&x, m->deliver))
        deliver(c, how->lazy);
    else if (turn(&x, m->drop))
        c->n_net ? net_drop(c, test_rng_below(&c->rng, c->n_net)) : (void)0;
    else if (turn(&x, m->tick))
        node_tick(n, test_rng_below(&c->rng, 20));
    else if (turn(&x, m->propose))
        (void)node_propose(busy_one(c), NULL);
    else if (turn(&x, m->read))
        read_some(c);
    else if (turn(&x, m->crash))
        crash(c, how->rots);
    else if (turn(&x, m->restart))
        !n->up && n->exists ? node_restart(n) : (void)0;
    else if (turn(&x, m->cut))
        cut(c);
    else if (turn(&x, m->heal))
        memset(c->cut, 0, sizeof c->cut);
    else if (turn(&x, m->checkpoint))
        n->up ? node_checkpoint(n, test_rng_chance(&c->rng, 1, 2) && !one_rotten(c)) : (void)0;
    else if (turn(&x, m->transfer))
        transfer(c);
    else if (turn(&x, m->change))
        change(c);
    else if (turn(&x, m->wipe))
        wipe(c);
    else if (turn(&x, m->deposed))
        deposed(c);
    else if (n->up)
        tried(raft_campaign(n->r));
    /* A network that is never emptied only ages its messages. */
    if (c->n_net > 400)
        net_drop(c, test_rng_below(&c->rng, c->n_net));
}

static bool agreed(struct cluster *c, uint64_t index)
{
    struct node *l = cluster_leader(c);
    if (!l || l->applied < index)
        return false;
    const struct raft_conf *conf = raft_configuration(l->r);
    if (raft_conf_joint(conf))
        return false;
    for (unsigned i = 0; i < conf->n; i++) {
        const struct node *n = &c->nodes[conf->member[i].store];
        if (n->replica == conf->member[i].replica && n->applied < index)
            return false;
    }
    return true;
}

static void heal_and_agree(struct cluster *c)
{
    cluster_heal(c);
    for (unsigned s = 1; s <= c->n; s++)
        if (!c->nodes[s].up && c->nodes[s].exists)
            node_restart(&c->nodes[s]);
    uint64_t index = 0;
    for (unsigned i = 0; i < 600; i++) {
        cluster_run(c, 10);
        struct node *l = cluster_leader(c);
        uint64_t left;
        if (l && raft_conf_joint(raft_configuration(l->r)))
            tried(raft_leave(l->r, &left)); /* those that do not leave by themselves */
        if (index && agreed(c, index))
            return;
        if (l && (!index || i % 50 == 0))
            (void)node_propose(l, &index);
    }
    for (unsigned s = 1; s <= c->n; s++) {
        struct raft_status a = status_of(&c->nodes[s]);
        print_error("replica %llu: %s term %llu leader %llu commit %llu last %llu durable %llu "
                    "compacted %llu applied %llu bad %llu conf@%llu n=%u%s\n",
                    (ull)a.replica, raft_role_name(a.role), (ull)a.term, (ull)a.leader,
                    (ull)a.commit, (ull)a.last, (ull)a.durable, (ull)a.compacted, (ull)a.applied,
                    (ull)a.bad, (ull)a.conf_index, raft_configuration(c->nodes[s].r)->n,
                    a.asleep ? " asleep" : "");
        for (unsigned k = 0; k < raft_configuration(c->nodes[s].r)->n; k++)
            print_error("    member %llu flags %u\n",
                        (ull)raft_configuration(c->nodes[s].r)->member[k].replica,
                        raft_configuration(c->nodes[s].r)->member[k].flags);
        for (uint64_t k = c->nodes[s].d.compacted + 1; k <= c->nodes[s].d.last; k++)
            if (c->nodes[s].d.e[k].bad)
                print_error("    rotten: %llu\n", (ull)k);
        struct raft_peer_status ps[16];
        size_t np = raft_peers(c->nodes[s].r, ps, 16);
        for (size_t k = 0; k < np; k++)
            print_error("    peer %llu match %llu next %llu state %d active %d\n",
                        (ull)ps[k].replica, (ull)ps[k].match, (ull)ps[k].next, ps[k].state,
                        ps[k].active);
    }
    fail_msg("healed, but index %llu was not agreed on", (ull)index);
}

static void run_seed(uint64_t seed, unsigned steps, struct cluster *sum)
{
    struct test_rng r;
    struct mix m;
    test_rng_init(&r, seed);
    draw_mix(&r, &m);
    unsigned n = (unsigned)test_rng_between(&r, 3, 7);
    struct raft_options o = {
        .no_quiesce = test_rng_chance(&r, 1, 2),
        .max_inflight_msgs = (uint32_t)test_rng_between(&r, 1, 8),
        .max_append_bytes = test_rng_chance(&r, 1, 2) ? 100 : 0,
        .max_apply_bytes = test_rng_chance(&r, 1, 2) ? 100 : 0,
        .max_tickets = (uint32_t)test_rng_between(&r, 1, 6),
        .max_chunk_bytes = 1 + test_rng_below(&r, 200),
        .cache_bytes = test_rng_chance(&r, 1, 3) ? 10000 : 0,
        .apply_unsynced = false,
    };
    struct cluster *c = calloc(1, sizeof *c);
    assert_non_null(c);
    cluster_init(c, seed, n, (unsigned)test_rng_between(&r, 1, n), &o);
    c->loss = (uint32_t)test_rng_below(&r, 3) * 30;
    c->dup = (uint32_t)test_rng_below(&r, 3) * 40;
    c->no_fetch = test_rng_chance(&r, 1, 4);
    struct how how = {.rots = !c->no_fetch && test_rng_chance(&r, 1, 3),
                      .lazy = test_rng_chance(&r, 1, 2)};
    uint32_t total = 0;
    for (size_t i = 0; i < sizeof m / sizeof(uint32_t); i++)
        total += ((const uint32_t *)&m)[i];
    for (unsigned i = 0; i < steps; i++) {
        c->steps++;
        step(c, &m, total, &how);
        cluster_check(c);
    }
    heal_and_agree(c);
    sum->commits += c->commits;
    sum->elections += c->elections;
    sum->reads_ok += c->reads_ok;
    sum->reads_failed += c->reads_failed;
    sum->snapshots += c->snapshots;
    sum->changes += c->changes;
    sum->repaired += c->repaired;
    sum->slept += c->slept;
    cluster_deinit(c);
    free(c);
}

static void everything_at_once(void **state)
{
    (void)state;
    static struct cluster sum;
    uint64_t seed;
    FOR_EACH_SEED(seed, 300)
    run_seed(seed, 20000, &sum);
    print_message("%llu commits, %llu elections, %llu reads (%llu failed), %llu snapshots, %llu "
                  "changes, %llu repairs, %llu ticks asleep\n",
                  (ull)sum.commits, (ull)sum.elections, (ull)sum.reads_ok, (ull)sum.reads_failed,
                  (ull)sum.snapshots, (ull)sum.changes, (ull)sum.repaired, (ull)sum.slept);
    assert_true(sum.commits > 0 && sum.elections > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
