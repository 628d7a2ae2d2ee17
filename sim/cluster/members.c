/* Changes of members under load: voters become learners, leave, come back, some while another change is
 * under way, some at a leader that nobody hears. In half of the runs disks go now and then, and their
 * nodes come back as new replicas, which are taken in beside the old ones or in their place.
 *
 * A replica has a slot, a bit of a mask: node 3's first is bit 3, and each new disk's is 8 further. */
#include "sim/cluster/members.h"
#include "sim/cluster/nemesis_internal.h"

#include "node/store/members.h"

#include <stdio.h>
#include <string.h>

enum { CALLS_MAX = 4, WISHES_MAX = 64, WISHES_MANY = 48 };

enum { SLOT_STEP = 8, SLOTS = 64, DISKS_MAX = SLOTS / SLOT_STEP };

struct roles { /* slots */
    uint64_t voters, learners;
};

/* One that was asked for, and may be in a log. */
struct wish {
    struct roles roles;
    uint64_t number; /* of the call */
    bool unknown;    /* what became of it: only what is committed later tells */
};

struct call {
    struct members *members;
    struct node *node;
    struct store_member list[RAFT_MEMBERS_MAX];
    size_t n;
    uint64_t timeout_ms, number;
    enum status st;
    bool running;
};

struct members {
    struct run *run;
    struct dice dice;
    struct sim_event next;
    uint64_t index; /* of the newest configuration that was applied anywhere */
    struct roles roles;
    uint64_t old; /* joint: who voted before */
    bool renews;  /* disks go, too */
    struct wish wishes[WISHES_MAX];
    size_t n_wishes;
    struct call calls[CALLS_MAX];
    uint64_t numbers;
};

static unsigned count(uint64_t mask)
{
    return (unsigned)__builtin_popcountll(mask);
}

uint64_t members_slot(const struct node *n)
{
    return UINT64_C(1) << (n->id + (n->replica - n->id) / REPLICA_STEP * SLOT_STEP);
}

/* Of all nodes the present disk. */
static uint64_t all_nodes(const struct run *r)
{
    uint64_t mask = 0;
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        mask |= members_slot(&r->nodes[i]);
    return mask;
}

/* Those whose disks are gone, for which others came. */
static uint64_t gone(const struct run *r)
{
    uint64_t mask = 0;
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        for (uint64_t slot = UINT64_C(1) << i; slot != members_slot(&r->nodes[i]);
             slot <<= SLOT_STEP)
            mask |= slot;
    return mask;
}

/* --- what is known --- */

static struct roles roles_of(const struct raft_conf *c, uint64_t *ret_old)
{
    struct roles x = {0};
    *ret_old = 0;
    for (unsigned i = 0; i < c->n; i++) {
        uint64_t node = c->member[i].store;
        uint64_t bit = UINT64_C(1)
                       << (node + (c->member[i].replica - node) / REPLICA_STEP * SLOT_STEP);
        x.voters |= c->member[i].flags & RAFT_VOTER ? bit : 0;
        x.learners |= c->member[i].flags & RAFT_LEARNER ? bit : 0;
        *ret_old |= c->member[i].flags & RAFT_VOTER_OLD ? bit : 0;
    }
    return x;
}

static bool same_roles(struct roles a, struct roles b)
{
    return a.voters == b.voters && a.learners == b.learners;
}

/* What was asked for before one that is committed can never be: a log that has both has it first, or
 * was void before that one was proposed. */
static void drop_wishes(struct members *m, size_t n)
{
    memmove(m->wishes, m->wishes + n, (m->n_wishes - n) * sizeof *m->wishes);
    m->n_wishes -= n;
}

void members_applied(struct run *r, const struct raft_entry *e)
{
    struct members *m = r->members;
    struct raft_conf c;
    if (!m || e->index <= m->index || raft_conf_decode(e->payload, &c, NULL) != ST_OK)
        return;
    m->index = e->index;
    m->roles = roles_of(&c, &m->old);
    size_t i = 0;
    while (i < m->n_wishes && !same_roles(m->wishes[i].roles, m->roles))
        i++;
    if (i < m->n_wishes)
        drop_wishes(m, i);
}

static bool spares(uint64_t voters, uint64_t mask)
{
    return count(voters & mask) <= (count(voters) - 1) / 2;
}

bool members_spare(const struct run *r, uint64_t mask)
{
    const struct members *m = r->members;
    if (!m)
        return spares(all_nodes(r), mask);
    mask |= gone(r);
    if (!spares(m->roles.voters, mask) || (m->old && !spares(m->old, mask)))
        return false;
    /* Whom it would make a voter may not know, hold what a leader that fell told nobody else, and so
     * neither vote nor campaign (raft's README, known limits). */
    uint64_t vote = m->roles.voters | m->old;
    for (size_t i = 0; i < m->n_wishes; i++)
        if (!spares(m->wishes[i].roles.voters, mask | (m->wishes[i].roles.voters & ~vote)))
            return false;
    return true;
}

bool members_out(const struct node *n)
{
    const struct members *m = n->run->members;
    return m && !((m->roles.voters | m->roles.learners | m->old) & members_slot(n));
}

/* Behind a restart the place of a configuration is where the replica began. */
void members_check(const struct node *n)
{
    const struct members *m = n->run->members;
    const struct raft *raft = node_raft(n);
    struct raft_status now;
    uint64_t old;
    if (!m || !raft)
        return;
    raft_status(raft, &now);
    if (now.applied < m->index || now.conf_index > now.applied)
        return;
    struct roles has = roles_of(raft_configuration(raft), &old);
    if (!same_roles(has, m->roles) || old != m->old)
        run_fail(n->run,
                 "%s has applied entry %llu, and does not follow the configuration of entry %llu",
                 node_name(n), (unsigned long long)now.applied, (unsigned long long)m->index);
}

/* --- one call, on a fiber of its node --- */

static void forget(struct members *m, uint64_t number)
{
    size_t k = 0;
    for (size_t i = 0; i < m->n_wishes; i++)
        if (m->wishes[i].number != number)
            m->wishes[k++] = m->wishes[i];
    m->n_wishes = k;
}

static void not_known(struct members *m, uint64_t number)
{
    for (size_t i = 0; i < m->n_wishes; i++)
        m->wishes[i].unknown = m->wishes[i].unknown || m->wishes[i].number == number;
}

static void call_fiber(void *call)
{
    struct call *c = call;
    struct members *m = c->members;
    struct err err;
    err_init(&err);
    enum status st = store_members_change(c->node->store, c->list, c->n, c->timeout_ms, &err);
    c->running = false;
    c->st = st;
    if (st != ST_OK && st != ST_UNKNOWN_OUTCOME && st != ST_POISONED)
        forget(m, c->number); /* surely not done */
    else
        not_known(m, c->number);
    /* One whose place another has taken meanwhile is refused. */
    if (st == ST_INVALID_ARGUMENT && !m->renews)
        run_fail(m->run, "a change of members is refused: %s", err.detail);
    run_digest(m->run, 'm' << 8 | c->node->id, (uint64_t)st);
    run_say(m->run, "admin", "at %s: %s%s%s", node_name(c->node), status_name(st), st ? ": " : "",
            st ? err.detail : "");
}

static void tell(struct members *m, const struct node *n, struct roles to)
{
    char text[160] = "";
    size_t len = 0;
    for (unsigned i = 1; i < SLOTS && len < sizeof text - 20; i++)
        if ((to.voters | to.learners) >> i & 1)
            len += (size_t)snprintf(text + len, sizeof text - len, " %u%s",
                                    i % SLOT_STEP + i / SLOT_STEP * REPLICA_STEP,
                                    to.learners >> i & 1 ? " (learner)" : "");
    run_say(m->run, "admin", "at %s: members are to be%s", node_name(n), text);
}

/* One of the same roles that may be in a log already says as much, unless another one came between: when that is
 * committed, what was asked for before is dropped. */
static void note_wish(struct members *m, struct roles to, uint64_t number)
{
    const struct wish *last = m->n_wishes ? &m->wishes[m->n_wishes - 1] : NULL;
    if (last && last->unknown && same_roles(last->roles, to))
        return;
    m->wishes[m->n_wishes++] = (struct wish){.roles = to, .number = number};
}

static struct call *ask(struct members *m, struct node *n, struct roles to, uint64_t timeout_ms)
{
    struct call *c = NULL;
    for (size_t i = 0; i < CALLS_MAX; i++)
        c = m->calls[i].running ? c : &m->calls[i];
    if (!c || m->n_wishes == WISHES_MAX || !node_usable(n))
        return NULL;
    *c = (struct call){.members = m, .node = n, .timeout_ms = timeout_ms, .number = ++m->numbers};
    for (unsigned i = 1; i < SLOTS && c->n < RAFT_MEMBERS_MAX; i++)
        if ((to.voters | to.learners) >> i & 1)
            c->list[c->n++] =
                (struct store_member){.node = i % SLOT_STEP,
                                      .replica = i % SLOT_STEP + i / SLOT_STEP * REPLICA_STEP,
                                      .learner = to.learners >> i & 1};
    c->st = ST_UNKNOWN_OUTCOME;
    c->running = sim_machine_spawn(n->machine, call_fiber, c);
    if (!c->running)
        return NULL;
    note_wish(m, to, c->number);
    tell(m, n, to);
    return c;
}

void members_node_died(struct run *r, const struct node *n)
{
    struct members *m = r->members;
    for (size_t i = 0; m && i < CALLS_MAX; i++)
        if (m->calls[i].running && m->calls[i].node == n) {
            m->calls[i].running = false;
            not_known(m, m->calls[i].number); /* its wish may come true */
        }
}

bool members_at(const struct run *r, const struct node *n)
{
    const struct members *m = r->members;
    for (size_t i = 0; m && i < CALLS_MAX; i++)
        if (m->calls[i].running && (!n || m->calls[i].node == n))
            return true;
    return false;
}

/* --- what is asked for --- */

static uint64_t damaged(const struct run *r)
{
    uint64_t mask = 0;
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        if (r->nodes[i].rotten || r->nodes[i].state == NODE_LOST)
            mask |= members_slot(&r->nodes[i]);
    return mask | gone(r);
}

static void give_role(struct roles *to, uint64_t bit, uint64_t luck)
{
    to->voters &= ~bit;
    to->learners &= ~bit;
    to->voters |= luck < 5 ? bit : 0;
    to->learners |= luck >= 5 && luck < 8 ? bit : 0;
}

static uint64_t some_node(struct members *m)
{
    const struct run *r = m->run;
    return members_slot(&r->nodes[1 + dice_below(&m->dice, r->plan.nodes)]);
}

/* From what it has now, as the one who is asked sees it: some change, or only those who do not vote. */
static bool draw(struct members *m, const struct node *n, bool voters_stay, struct roles *ret)
{
    const struct run *r = m->run;
    const struct raft *raft = node_raft(n);
    uint64_t old, nodes = r->plan.nodes, dead = gone(r);
    if (!raft)
        return false;
    struct roles is = roles_of(raft_configuration(raft), &old), to = is;
    if (voters_stay) {
        uint64_t bit = some_node(m);
        if (is.voters & bit)
            return false;
        to.learners ^= bit;
    } else if (nodes > 3 && dice_one_in(&m->dice, 3)) {
        to = (struct roles){.voters = all_nodes(r)}; /* three vote, two learn */
        while (count(to.voters) > 3)
            to.voters &= ~some_node(m);
        to.learners = all_nodes(r) & ~to.voters;
    } else {
        for (uint64_t k = 1 + dice_below(&m->dice, 3); k > 0; k--)
            give_role(&to, some_node(m), dice_below(&m->dice, 10));
    }
    if (!voters_stay && dead && dice_one_in(&m->dice, 2)) { /* those who will not come back go */
        to.voters &= ~dead;
        to.learners &= ~dead;
    }
    *ret = to;
    return to.voters && !same_roles(is, to) && spares(to.voters, damaged(r));
}

static bool ask_one(struct members *m, struct node *n, bool voters_stay)
{
    struct roles to;
    for (int tries = 0; tries < 8; tries++)
        if (draw(m, n, voters_stay, &to))
            return ask(m, n, to, 1 + dice_below(&m->dice, m->run->plan.propose_timeout_ms));
    return false;
}

static void heard_again(struct nemesis *x, const struct trouble *t)
{
    run_say(x->run, "admin", "its node is heard again");
    nemesis__cut_groups(x, t->mask, -1);
}

/* One change, or some at once; now and then of a leader whom nobody hears, and who does not know that. */
static void strike(struct members *m)
{
    struct run *r = m->run;
    unsigned id = 1 + (unsigned)dice_below(&m->dice, r->plan.nodes);
    if (r->leader_node && !dice_one_in(&m->dice, 8))
        id = r->leader_node;
    struct node *n = &r->nodes[id];
    bool voters_stay = dice_one_in(&m->dice, 3), alone = dice_one_in(&m->dice, 4);
    uint64_t many = dice_one_in(&m->dice, 3) || alone ? 2 + dice_below(&m->dice, 2) : 1;
    unsigned asked = 0;
    if (!node_serves(n) || m->n_wishes >= WISHES_MANY)
        return;
    for (uint64_t k = 0; k < many; k++)
        asked += ask_one(m, n, voters_stay);
    if (!asked)
        return;
    nemesis__struck(r->nemesis, FAULT_MEMBERS);
    if (!alone)
        return;
    uint64_t mask = UINT64_C(1) << id, ns = r->plan.election_ms * MS * dice_between(&m->dice, 1, 6);
    run_say(r, "admin", "nobody hears node %u", id);
    nemesis__cut_groups(r->nemesis, mask, 1);
    nemesis__begin(r->nemesis, ns, heard_again)->mask = mask;
}

/* A disk is gone, and another one in its place. */
static void renew(struct members *m)
{
    struct run *r = m->run;
    struct node *n = &r->nodes[1 + dice_below(&m->dice, r->plan.nodes)];
    uint64_t disks = (n->replica - n->id) / REPLICA_STEP + 1;
    uint64_t ns = (1 + dice_tail(&m->dice, r->plan.outage_ms)) * MS;
    if (disks == DISKS_MAX || n->rotten || !nemesis__may_damage(r->nemesis, n) ||
        !nemesis__may_go_down(r->nemesis, n))
        return;
    nemesis__struck(r->nemesis, FAULT_WIPE);
    node_renew(n, ns);
}

static void next(void *members)
{
    struct members *m = members;
    const struct nemesis *x = m->run->nemesis;
    uint64_t every = m->run->plan.every_ms[FAULT_MEMBERS];
    if (x->stopped)
        return;
    if (!x->storm.calm && m->renews && dice_one_in(&m->dice, 6))
        renew(m);
    else if (!x->storm.calm)
        strike(m);
    sim_queue_add(sim_world_queue(m->run->world), &m->next,
                  run_now(m->run) + (every / 4 + dice_below(&m->dice, every * 3 / 2 + 1)) * MS);
}

void members_start(struct run *r)
{
    if (!r->plan.every_ms[FAULT_MEMBERS])
        return;
    struct members *m = r->members = sim_zalloc(sizeof *m);
    *m = (struct members){.run = r, .dice = dice_fork(r->plan.seed, 'm' << 8)};
    m->roles.voters = all_nodes(r);
    m->renews = dice_one_in(&m->dice, 2);
    m->next = (struct sim_event){.fn = next, .arg = m};
    sim_queue_add(sim_world_queue(r->world), &m->next,
                  run_now(r) + dice_below(&m->dice, r->plan.every_ms[FAULT_MEMBERS]) * MS);
}

void members_free(struct run *r)
{
    if (!r->members)
        return;
    sim_queue_drop(sim_world_queue(r->world), &r->members->next);
    sim_free(r->members);
    r->members = NULL;
}

/* --- the end --- */

static bool settled(const struct members *m, struct roles to)
{
    return same_roles(m->roles, to) && !m->old;
}

/* Those who had voted last go on to; the others learn, or vote too where enough of them are sound. */
bool members_settle(struct run *r)
{
    struct members *m = r->members;
    uint64_t lost = 0, until = run_now(r) + r->plan.heal_ms * MS;
    if (!m)
        return true;
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        lost |= r->nodes[i].state == NODE_LOST ? members_slot(&r->nodes[i]) : 0;
    struct roles to = {.voters = all_nodes(r) & ~lost};
    if (!spares(to.voters, damaged(r)) || dice_one_in(&m->dice, 2))
        to.voters = m->roles.voters & ~gone(r);
    to.learners = all_nodes(r) & ~lost & ~to.voters;
    while (!settled(m, to) && run_now(r) < until && !run_failed(r)) {
        struct node *n = &r->nodes[r->leader_node ? r->leader_node : 1];
        if (!members_at(r, NULL))
            (void)ask(m, n, to, 2000);
        sim_world_run(r->world, run_now(r) + 20 * MS);
        node_watch(r);
    }
    if (!settled(m, to) && !run_failed(r))
        run_fail(r, "who belongs to the cluster cannot be changed within %llu ms of health",
                 (unsigned long long)r->plan.heal_ms);
    return !run_failed(r);
}
