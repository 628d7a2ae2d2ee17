/* A group under everything at once, from one seed: lost, doubled and reordered messages, partitions
 * of both kinds, crashes that lose exactly what was not synced, slow disks, changes of members,
 * transfers, snapshots, reads, rot. All invariants are held after every step; at the end it
 * heals and must make progress and agree.
 */
#include "sim/raft/weather.h"
#include "sim/raft/group_internal.h"

#include "base/hash.h"
#include "base/list.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

struct mix { /* weights of what may happen, drawn for each seed */
    uint32_t update, sync, apply, slow, deliver, drop, tick, propose, read, crash, restart, cut,
        heal, checkpoint, transfer, change, wipe, deposed, campaign;
};

static struct node *any(struct group *c)
{
    return &c->nodes[1 + dice_below(&c->dice, c->n)];
}

/* Often the leader: it is where things happen. */
static struct node *busy_one(struct group *c)
{
    struct node *n = dice_chance(&c->dice, 3, 4) ? group_leader(c) : NULL;
    return n ? n : any(c);
}

/* One that believes it leads, perhaps wrongly. */
static struct node *any_leader(struct group *c)
{
    unsigned first = (unsigned)dice_below(&c->dice, c->n);
    for (unsigned i = 0; i < c->n; i++) {
        struct node *n = &c->nodes[1 + (first + i) % c->n];
        if (n->up && status_of(n).role == RAFT_LEADER)
            return n;
    }
    return any(c);
}

static void read_some(struct group *c)
{
    struct node *n = dice_chance(&c->dice, 1, 2) ? any_leader(c) : any(c);
    for (uint64_t k = dice_below(&c->dice, 4) + 1; k > 0; k--)
        (void)node_read(n);
    /* What is asked leaves, and what it meets is older than itself. */
    if (dice_chance(&c->dice, 1, 2))
        (void)node_update(n);
}

static bool one_rotten(const struct group *c)
{
    for (unsigned s = 1; s <= c->n; s++)
        for (uint64_t i = c->nodes[s].d.compacted + 1; i <= c->nodes[s].d.last; i++)
            if (c->nodes[s].d.e[i].bad)
                return true;
    return false;
}

/* Whom a disk knows when one of its entries cannot be read. */
static struct raft_conf known_without(const struct disk *d, uint64_t index)
{
    struct raft_conf conf;
    for (uint64_t i = d->last; i > d->compacted; i--)
        if (i != index && d->e[i].kind == RAFT_ENTRY_CONF &&
            raft_conf_decode(BYTES(d->e[i].data, d->e[i].len), &conf, NULL) == ST_OK)
            return conf;
    return d->ckpt.conf;
}

/* The fault atlas: one copy at a time, of an entry that is committed and of which a good copy is
 * elsewhere, with somebody whom its holder knows to ask; nobody compacts it away meanwhile. (An entry that
 * only its rotten holder ever had, or that is only in states, or that alone names those who have it,
 * blocks elections that need the holder's vote: README.md of consensus/raft.) */
static void rot(struct group *c, struct node *n)
{
    const struct disk *d = &n->d;
    if (d->last == d->compacted || one_rotten(c) || !in_conf(&c->conf_at_max, n->replica))
        return;
    uint64_t i = d->compacted + 1 + dice_below(&c->dice, d->last - d->compacted);
    if (i > c->commit_max || d->e[i].term != c->applied_term[i])
        return;
    struct raft_conf known = known_without(d, i);
    for (unsigned s = 1; s <= c->n; s++) {
        const struct node *o = &c->nodes[s];
        if (s != n->store && in_conf(&c->conf_at_max, o->replica) && in_conf(&known, o->replica) &&
            i > o->d.compacted && i <= o->d.last && o->d.e[i].term == d->e[i].term) {
            c->rots += group_rot(c, n, i);
            return;
        }
    }
}

static void crash(struct group *c, bool rots)
{
    struct node *n = busy_one(c);
    if (!n->up)
        return;
    node_crash(n, dice_below(&c->dice, n->d.n_ops + 1));
    c->crashes++;
    if (dice_chance(&c->dice, 1, 4)) { /* back before anybody noticed */
        node_restart(n);
        return;
    }
    if (rots && dice_chance(&c->dice, 1, 2))
        rot(c, n);
}

static void cut(struct group *c)
{
    c->cuts++;
    unsigned a = (unsigned)dice_between(&c->dice, 1, c->n);
    unsigned b = (unsigned)dice_between(&c->dice, 1, c->n);
    switch (dice_below(&c->dice, 3)) {
    case 0:
        group_isolate(c, a, true);
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

static void change(struct group *c)
{
    struct node *n = group_leader(c);
    if (!n || one_rotten(c)) /* who has the sound copy must not be removed */
        return;
    uint64_t voters[STORES_MAX], learners[STORES_MAX], index;
    size_t nv = 0, nl = 0;
    for (unsigned s = 1; s <= c->n; s++)
        switch (dice_below(&c->dice, 4)) {
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
    if (raft_change(n->r, &t, dice_chance(&c->dice, 5, 8), &index, NULL) != ST_OK) {
        tried(raft_leave(n->r, &index));
        return;
    }
    /* The moment when two configurations are about is the one to fail in. */
    for (uint64_t k = dice_below(&c->dice, 4); k > 0; k--)
        (void)node_update(n);
    switch (dice_below(&c->dice, 6)) {
    case 0:
        cut(c);
        break;
    case 1:
        group_isolate(c, n->store, true);
        break;
    case 2:
        node_crash(n, dice_below(&c->dice, n->d.n_ops + 1));
        break;
    default:
        break;
    }
}

/* A store whose replica belongs to nobody any more gets a new one with an empty disk. */
static void wipe(struct group *c)
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

static void transfer(struct group *c)
{
    struct node *n = group_leader(c);
    if (n)
        tried(raft_transfer(n->r, any(c)->replica));
}

static void draw_mix(struct dice *r, struct mix *m)
{
    uint32_t *w = (uint32_t *)m;
    for (size_t i = 0; i < sizeof *m / sizeof *w; i++)
        w[i] = (uint32_t)dice_below(r, 4);
    m->update += 300;
    m->sync += 120 + 60 * (uint32_t)dice_below(r, 3);
    m->apply += 60;
    m->slow += 60;
    m->deliver += 500;
    m->drop *= 3;
    m->tick += 60 + 30 * (uint32_t)dice_below(r, 3);
    m->propose += 10 + 20 * (uint32_t)dice_below(r, 4);
    m->read += 5 + 10 * (uint32_t)dice_below(r, 4);
    m->restart += m->crash + 1;
    m->cut = m->cut > 1 ? m->cut - 1 : 0;
    m->heal += 1;
    m->checkpoint *= 3;
    m->deposed = m->deposed >= 2; /* a step of a thousand steps */
}

/* Lazy: the newest first, so that some messages arrive long after their time. */
static void deliver(struct group *c, bool lazy)
{
    if (c->n_net == 0) {
        (void)node_update(any(c));
        return;
    }
    uint64_t from = lazy && c->n_net > 6 && dice_chance(&c->dice, 19, 20) ? c->n_net - 6 : 0;
    net_deliver(c, from + dice_below(&c->dice, c->n_net - from));
}

static bool deliver_one(struct group *c, uint64_t store, bool to_it)
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
static void replace(struct group *c, const struct node *l)
{
    for (unsigned k = 0; k < 600; k++) {
        struct node *n = any(c);
        if (n == l)
            continue;
        if (k % 4 == 0)
            node_tick(n, 15);
        work(n);
        (void)deliver_one(c, l->store, false);
        if (n->up && status_of(n).role == RAFT_LEADER && dice_chance(&c->dice, 1, 8))
            (void)node_propose(n, NULL);
        group_check(c);
    }
}

/* Who was replaced comes back while its successor is away, with a log that is longer than the others'
 * and older, and wants their votes. */
static void come_back(struct group *c, struct node *l)
{
    struct node *successor = group_leader(c);
    if (!successor || successor == l || !l->up)
        return;
    group_isolate(c, l->store, false);
    group_isolate(c, successor->store, true);
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
        group_check(c);
    }
    if (dice_chance(&c->dice, 1, 2))
        group_isolate(c, successor->store, false);
}

/* A leader asks who follows it, is cut off, perhaps while its clients go on writing, is replaced without
 * knowing it, is asked for a read, and only then hears the answers from before. */
static void deposed(struct group *c)
{
    struct node *l = any_leader(c);
    if (!l->up || status_of(l).role != RAFT_LEADER || !node_read(l))
        return;
    (void)node_update(l);
    for (unsigned k = 0; k < 40 && deliver_one(c, l->store, false); k++)
        for (unsigned s = 1; s <= c->n; s++)
            if (s != l->store)
                (void)node_update(&c->nodes[s]);
    group_isolate(c, l->store, true);
    bool writes = dice_chance(&c->dice, 1, 2);
    for (uint64_t k = writes ? dice_below(&c->dice, 100) : 0; k > 0; k--)
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
    else if (dice_chance(&c->dice, 1, 2))
        group_isolate(c, l->store, false);
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

static void step(struct group *c, const struct mix *m, uint32_t total, const struct how *how)
{
    uint32_t x = (uint32_t)dice_below(&c->dice, total);
    struct node *n = any(c);
    if (turn(&x, m->update))
        (void)node_update(n);
    else if (turn(&x, m->sync))
        node_sync(n, 1 + dice_below(&c->dice, 3));
    else if (turn(&x, m->apply))
        node_apply(n);
    else if (turn(&x, m->slow))
        node_slow(n);
    else if (turn(&x, m->deliver))
        deliver(c, how->lazy);
    else if (turn(&x, m->drop))
        c->n_net ? net_drop(c, dice_below(&c->dice, c->n_net)) : (void)0;
    else if (turn(&x, m->tick))
        node_tick(n, dice_below(&c->dice, 20));
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
        n->up ? node_checkpoint(n, dice_chance(&c->dice, 1, 2) && !one_rotten(c)) : (void)0;
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
        net_drop(c, dice_below(&c->dice, c->n_net));
}

/* --- a run --- */

enum { STEPS = 20000 };

struct run {
    struct group group;
    jmp_buf failed;
    struct weather_result *result;
};

static void on_failure(struct group *c, const char *what)
{
    struct run *r = container_of(c, struct run, group);
    (void)snprintf(r->result->failure, sizeof r->result->failure, "%s", what);
    longjmp(r->failed, 1);
}

static void draw_group(struct group *c, struct dice *d, uint64_t seed, struct how *ret)
{
    unsigned n = (unsigned)dice_between(d, 3, 7);
    struct raft_options o = {
        .no_quiesce = dice_chance(d, 1, 2),
        .max_inflight_msgs = (uint32_t)dice_between(d, 1, 8),
        .max_append_bytes = dice_chance(d, 1, 2) ? 100 : 0,
        .max_apply_bytes = dice_chance(d, 1, 2) ? 100 : 0,
        .max_tickets = (uint32_t)dice_between(d, 1, 6),
        .max_chunk_bytes = 1 + dice_below(d, 200),
        .cache_bytes = dice_chance(d, 1, 3) ? 10000 : 0,
        .apply_unsynced = false,
    };
    group_init(c, seed, n, (unsigned)dice_between(d, 1, n), &o);
    c->failed = on_failure;
    c->loss = (uint32_t)dice_below(d, 3) * 30;
    c->dup = (uint32_t)dice_below(d, 3) * 40;
    c->no_fetch = dice_chance(d, 1, 4);
    *ret = (struct how){.rots = !c->no_fetch && dice_chance(d, 1, 3), .lazy = dice_chance(d, 1, 2)};
}

static void live(struct group *c, uint64_t seed)
{
    struct dice d = dice_fork(seed, 'w');
    struct mix m;
    struct how how;
    draw_mix(&d, &m);
    draw_group(c, &d, seed, &how);
    uint32_t total = 0;
    for (size_t i = 0; i < sizeof m / sizeof(uint32_t); i++)
        total += ((const uint32_t *)&m)[i];
    for (unsigned i = 0; i < STEPS; i++) {
        c->steps++;
        step(c, &m, total, &how);
        group_check(c);
    }
    group_agree(c);
}

static void sum_up(const struct group *c, struct weather_result *ret)
{
    const uint64_t was[] = {ret->digest, c->hash_at[c->applied_max], c->steps, c->elections,
                            c->reads_ok};
    ret->digest = hash_xxh64(was, sizeof was, 0);
    ret->commits += c->commits;
    ret->elections += c->elections;
    ret->reads_ok += c->reads_ok;
    ret->reads_failed += c->reads_failed;
    ret->snapshots += c->snapshots;
    ret->changes += c->changes;
    ret->repaired += c->repaired;
    ret->slept += c->slept;
    ret->crashes += c->crashes;
    ret->cuts += c->cuts;
    ret->rots += c->rots;
}

bool weather_run(uint64_t seed, struct weather_result *ret)
{
    struct run *r = must(calloc(1, sizeof *r));
    r->result = ret;
    if (setjmp(r->failed) != 0)
        return false;
    live(&r->group, seed);
    sum_up(&r->group, ret);
    group_deinit(&r->group);
    free(r);
    return true;
}
