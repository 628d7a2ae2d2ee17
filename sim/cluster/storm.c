/* Leaders that fall one after the other, and the calms after. */
#include "sim/cluster/members.h"
#include "sim/cluster/nemesis_internal.h"

enum storm_way { STORM_ALONE, STORM_WITH_OTHERS, STORM_KILL, STORM_POWER, STORM_NAP, STORM_WAYS };
enum { STORM_PATIENCE = 5 /* election timeouts */, CALM_MS = 30000, CALM_LOOK_MS = 20 };

static void storm_cut(struct nemesis *m, uint64_t mask)
{
    struct storm *s = &m->storm;
    if (s->mask)
        nemesis__cut_groups(m, s->mask, -1);
    if (mask)
        nemesis__cut_groups(m, mask, 1);
    s->mask = mask;
}

void storm__over(struct nemesis *m)
{
    if (!m->storm.on)
        return;
    run_say(m->run, "storm", "is over");
    sim_queue_drop(sim_world_queue(m->run->world), &m->storm.next);
    storm_cut(m, 0);
    m->storm.on = false;
}

/* It alone, or with others, as long as they are no majority. */
static uint64_t storm_side(struct storm *s, const struct run *r, unsigned leader, bool others)
{
    uint64_t mask = UINT64_C(1) << leader;
    for (unsigned k = 1; others && k < (r->plan.nodes + 1) / 2; k++)
        mask |= UINT64_C(1) << (1 + dice_below(&s->dice, r->plan.nodes));
    return mask;
}

static void storm_strike(struct nemesis *m)
{
    struct storm *s = &m->storm;
    struct run *r = m->run;
    struct node *n = &r->nodes[s->leader];
    uint64_t election = r->plan.election_ms * MS, ns;
    unsigned way;
    do
        way = (unsigned)dice_below(&s->dice, STORM_WAYS);
    while (!(s->ways >> way & 1));
    nemesis__struck(m, FAULT_STORM);
    if (way == STORM_ALONE || way == STORM_WITH_OTHERS) {
        uint64_t mask = storm_side(s, r, s->leader, way == STORM_WITH_OTHERS);
        run_say(r, "storm", "cuts off node %u%s; who was before comes back", s->leader,
                mask & (mask - 1) ? " and others" : "");
        storm_cut(m, mask);
        return;
    }
    if (dice_one_in(&s->dice, 2))
        storm_cut(m, 0);
    if (way == STORM_NAP && sim_machine_runs(n->machine)) {
        ns = election * dice_between(&s->dice, 80, 250) / 100;
        run_say(r, "storm", "node %u sleeps %llu ms", s->leader, (unsigned long long)(ns / MS));
        sim_machine_pause(n->machine, run_now(r) + ns);
        nemesis__begin(m, ns, nemesis__resume)->a = n->id;
    } else if (way != STORM_NAP && nemesis__may_go_down(m, n)) {
        run_say(r, "storm", "node %u %s", s->leader,
                way == STORM_POWER ? "loses power" : "is killed");
        node_kill(n, way == STORM_POWER ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
        node_start_after(n, 1 * MS + dice_below(&s->dice, 2 * election));
    }
}

static void storm_event(struct nemesis *m, void (*fn)(void *nemesis), uint64_t ns)
{
    m->storm.next.fn = fn;
    m->storm.next.arg = m;
    sim_queue_add(sim_world_queue(m->run->world), &m->storm.next, run_now(m->run) + ns);
}

/* --- calms --- */

/* Of those that can: everybody follows one leader in one term, and has applied up to `index`. */
static bool all_keep_up(const struct run *r, uint64_t index)
{
    struct store_role first = {0}, role;
    for (unsigned i = 1; i <= r->plan.nodes; i++) {
        const struct node *n = &r->nodes[i];
        if (n->state == NODE_LOST || (n->rotten && !node_usable(n)) || members_out(n))
            continue;
        if (!node_usable(n))
            return false;
        store_role(n->store, &role);
        if (!first.term)
            first = role;
        if (role.leader == 0 || role.leader != first.leader || role.term != first.term ||
            role.applied < index)
            return false;
    }
    return true;
}

static void calm_look(void *nemesis)
{
    struct nemesis *m = nemesis;
    struct run *r = m->run;
    struct store_role role;
    if (all_keep_up(r, m->storm.index)) {
        run_say(r, "calm", "is over: everybody keeps up");
        m->storm.calm = false;
        return;
    }
    if (run_now(r) < m->storm.until) {
        storm_event(m, calm_look, CALM_LOOK_MS * MS);
        return;
    }
    m->storm.calm = false;
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        if (node_usable(&r->nodes[i])) {
            store_role(r->nodes[i].store, &role);
            run_say(r, node_name(&r->nodes[i]), "term %llu leader %llu commit %llu applied %llu",
                    (unsigned long long)role.term, (unsigned long long)role.leader,
                    (unsigned long long)role.commit, (unsigned long long)role.applied);
        }
    run_fail(r, "not everybody follows one leader and has applied entry %llu after %d ms of calm",
             (unsigned long long)m->storm.index, CALM_MS);
}

static void calm(struct nemesis *m)
{
    struct run *r = m->run;
    struct store_role role;
    nemesis_heal(r, false);
    m->storm.calm = true;
    m->storm.index = 0;
    m->storm.until = run_now(r) + CALM_MS * MS;
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        if (node_usable(&r->nodes[i])) {
            store_role(r->nodes[i].store, &role);
            if (role.commit > m->storm.index)
                m->storm.index = role.commit;
        }
    storm_event(m, calm_look, CALM_LOOK_MS * MS);
}

static void storm_ends(void *nemesis)
{
    struct nemesis *m = nemesis;
    storm__over(m);
    if (dice_one_in(&m->storm.dice, 2))
        calm(m);
}

static void storm_turn(void *nemesis)
{
    struct nemesis *m = nemesis;
    struct storm *s = &m->storm;
    uint64_t election = m->run->plan.election_ms * MS;
    if (s->strikes)
        storm_strike(m);
    else
        storm_cut(m, 0);
    s->strikes = !s->strikes; /* nobody new in all that time: the same falls once more */
    if (--s->left > 0)
        storm_event(m, storm_turn, STORM_PATIENCE * election);
    else
        storm_event(m, storm_ends, dice_below(&s->dice, 4 * election));
}

static void storm_fells(struct nemesis *m, const struct trouble *t)
{
    struct node *n = &m->run->nodes[t->a];
    if (!m->storm.on || !nemesis__may_go_down(m, n))
        return;
    run_say(m->run, "storm", "node %u is killed", t->a);
    node_kill(n, SIM_CRASH_PROCESS_ONLY);
    node_start_after(n, 1 * MS);
}

/* It falls before a word of it leaves: what it has appended lies on its own disk alone, and it may lead
 * again when another has done the same (the paper's figure 8). Some come back from their disk. */
static void storm_hush(struct nemesis *m, unsigned node)
{
    struct storm *s = &m->storm;
    nemesis__struck(m, FAULT_STORM);
    run_say(m->run, "storm", "hushes node %u as it begins to lead", node);
    storm_cut(m, UINT64_C(1) << node);
    if (dice_one_in(&s->hush, 2))
        nemesis__begin(m, dice_below(&s->hush, m->run->plan.election_ms * MS), storm_fells)->a =
            node;
    s->strikes = false;
    s->hushed = true;
    if (--s->left > 0)
        storm_event(m, storm_turn, STORM_PATIENCE * m->run->plan.election_ms * MS);
    else
        storm_event(m, storm_ends, dice_below(&s->hush, 4 * m->run->plan.election_ms * MS));
}

/* It falls from at once, over when its first entry may be committed, to after many. Behind one that was
 * hushed it is mostly let say what it has: with the entries of those terms it began elsewhere. */
static void storm_aims(struct nemesis *m, unsigned node, uint64_t term)
{
    struct storm *s = &m->storm;
    uint64_t ns = dice_below(&s->dice, UINT64_C(50000) << dice_below(&s->dice, 13));
    if (s->hushed && !dice_one_in(&s->hush, 4))
        ns = dice_below(&s->hush, m->run->plan.election_ms * MS);
    s->term = term;
    s->leader = node;
    s->strikes = true;
    s->hushed = false;
    storm_event(m, storm_turn, ns);
}

void nemesis_sees_leader(struct run *r, unsigned node, uint64_t term)
{
    struct nemesis *m = r->nemesis;
    if (!m || !m->storm.on || m->storm.left == 0 || term <= m->storm.term)
        return;
    m->storm.term = term;
    if (m->storm.hushes && !dice_one_in(&m->storm.hush, 3))
        storm_hush(m, node);
    else
        storm_aims(m, node, term);
}

void storm__begin(struct nemesis *m, enum plan_fault f)
{
    struct storm *s = &m->storm;
    (void)f; /* each strike counts */
    if (s->on || s->calm)
        return;
    s->on = true;
    s->left = 3 + (unsigned)dice_below(&s->dice, 10);
    s->ways = 1 + (unsigned)dice_below(&s->dice, (1u << STORM_WAYS) - 1);
    s->hushes = !dice_one_in(&s->hush, 3);
    s->hushed = false;
    run_say(m->run, "storm", "begins: %u strikes", s->left);
    storm_aims(m, m->run->leader_node ? m->run->leader_node : 1, m->run->leader_term);
}
