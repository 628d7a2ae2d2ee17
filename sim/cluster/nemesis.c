/* Trouble: each kind of fault strikes now and then, lasts a while and ends.
 *
 * The atlas: faults that take away what a node had made durable (rot, a disk that is gone) strike a
 * minority of the nodes at most in one run, so that a good copy of everything acknowledged stays.
 * The others strike whom they will.
 */
#include "sim/cluster/run.h"

#include "base/planted.h"

#include <stdio.h>
#include <string.h>

struct striker {
    struct nemesis *nemesis;
    enum plan_fault fault;
    struct sim_event next;
};

/* A fault under way, and how it ends. */
struct trouble {
    struct list node;
    struct nemesis *nemesis;
    struct sim_event end;
    void (*over)(struct nemesis *m, const struct trouble *t);
    unsigned a, b;
    uint64_t mask;
};

/* Leaders that fall one after the other, soon after each was elected: what was under way meets the
 * next election, and who comes back has a log that others went on without. Afterwards, now and then,
 * a calm: all is well for a moment, and then everybody must follow one leader and keep up. */
struct storm {
    struct sim_event next;
    struct dice dice;
    bool on, calm;
    unsigned ways;         /* in which its leaders fall: bits of enum storm_way */
    unsigned left;         /* strikes */
    uint64_t mask;         /* of those that are cut off by it; 0: nobody */
    uint64_t term;         /* of the leader seen last, */
    unsigned leader;       /* which is struck */
    struct dice hush;      /* luck of its own, so that older seeds stay what they were */
    bool hushes;           /* some fall before they have said that they lead */
    bool strikes;          /* next; else it has waited long enough for a leader */
    uint64_t until, index; /* a calm: what was committed when it began is everywhere by then */
};

struct nemesis {
    struct run *run;
    struct dice dice, stops;
    struct striker strikers[FAULT_KINDS];
    struct list troubles;
    struct storm storm;
    /* How many troubles cut each direction, or weigh on each node. */
    unsigned cuts[PLAN_NODES_MAX + 1][PLAN_NODES_MAX + 1];
    bool stopped;
};

/* --- beginnings and ends --- */

static void trouble_over(struct trouble *t)
{
    list_remove(&t->node);
    sim_queue_drop(sim_world_queue(t->nemesis->run->world), &t->end);
    t->over(t->nemesis, t);
    sim_free(t);
}

static void trouble_ends(void *trouble)
{
    trouble_over(trouble);
}

static struct trouble *trouble_begin(struct nemesis *m, uint64_t ns,
                                     void (*over)(struct nemesis *m, const struct trouble *t))
{
    struct trouble *t = sim_zalloc(sizeof *t);
    *t = (struct trouble){.nemesis = m, .over = over};
    t->end = (struct sim_event){.fn = trouble_ends, .arg = t};
    list_push_back(&m->troubles, &t->node);
    sim_queue_add(sim_world_queue(m->run->world), &t->end, run_now(m->run) + ns);
    return t;
}

static uint64_t lasts(struct nemesis *m)
{
    return (1 + dice_tail(&m->dice, m->run->plan.outage_ms * 2)) * MS;
}

static void struck(struct nemesis *m, enum plan_fault f)
{
    m->run->result->faults[f]++;
    run_digest(m->run, 'f', f);
}

/* --- whom --- */

static unsigned count_state(const struct run *r, bool without_process)
{
    unsigned n = 0;
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        n += without_process ? !sim_machine_runs(r->nodes[i].machine) || r->nodes[i].stopping
                             : r->nodes[i].rotten;
    return n;
}

static struct node *any_node(struct nemesis *m)
{
    return &m->run->nodes[1 + dice_below(&m->dice, m->run->plan.nodes)];
}

static struct node *leader_or_any(struct nemesis *m)
{
    struct run *r = m->run;
    if (r->leader_node && dice_below(&m->dice, 3) > 0)
        return &r->nodes[r->leader_node];
    return any_node(m);
}

static bool may_go_down(struct nemesis *m, const struct node *n)
{
    return sim_machine_runs(n->machine) && !n->stopping &&
           count_state(m->run, true) < m->run->plan.down_max;
}

/* --- processes --- */

static void kill_one(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    if (!may_go_down(m, n))
        return;
    bool power = f == FAULT_POWER;
    uint64_t ns = dice_one_in(&m->dice, 3) ? 5 * MS : lasts(m);
    struck(m, f);
    run_say(m->run, node_name(n), power ? "loses power" : "is killed");
    node_kill(n, power ? SIM_CRASH_POWER : SIM_CRASH_PROCESS_ONLY);
    node_start_after(n, ns);
}

/* As whoever watches over processes does to make one anew: SIGTERM, and back. */
static void stop_one(struct nemesis *m, enum plan_fault f)
{
    struct run *r = m->run;
    unsigned id = 1 + (unsigned)dice_below(&m->stops, r->plan.nodes);
    if (r->leader_node && dice_one_in(&m->stops, 2))
        id = r->leader_node;
    struct node *n = &r->nodes[id];
    uint64_t ns = (1 + dice_tail(&m->stops, r->plan.outage_ms)) * MS;
    if (!may_go_down(m, n) || !node_stop(n, ns))
        return;
    struck(m, f);
    run_say(r, node_name(n), "is told to stop");
}

/* The whole room goes dark. */
static void power_all(struct nemesis *m)
{
    struct run *r = m->run;
    run_say(r, "everybody", "loses power");
    for (unsigned i = 1; i <= r->plan.nodes; i++) {
        if (!sim_machine_runs(r->nodes[i].machine))
            continue;
        struck(m, FAULT_POWER);
        node_kill(&r->nodes[i], SIM_CRASH_POWER);
        node_start_after(&r->nodes[i], dice_below(&m->dice, 500 * MS) + MS);
    }
}

static void power(struct nemesis *m, enum plan_fault f)
{
    if (m->run->plan.down_max == m->run->plan.nodes && dice_one_in(&m->dice, 4))
        power_all(m);
    else
        kill_one(m, f);
}

static void resume(struct nemesis *m, const struct trouble *t)
{
    run_say(m->run, node_name(&m->run->nodes[t->a]), "runs on");
}

static void pause_one(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    if (!sim_machine_runs(n->machine))
        return;
    uint64_t ns = m->run->plan.election_ms * MS + lasts(m);
    struck(m, f);
    run_say(m->run, node_name(n), "is paused for %llu ms", (unsigned long long)(ns / MS));
    sim_machine_pause(n->machine, run_now(m->run) + ns);
    trouble_begin(m, ns, resume)->a = n->id;
}

/* --- the network --- */

static void set_cut(struct nemesis *m, unsigned from, unsigned to, int delta)
{
    m->cuts[from][to] = (unsigned)((int)m->cuts[from][to] + delta);
    sim_net_link(sim_world_net(m->run->world), from, to)->cut = m->cuts[from][to] > 0;
}

static void cut_groups(struct nemesis *m, uint64_t mask, int delta)
{
    for (unsigned i = 1; i <= m->run->plan.nodes; i++)
        for (unsigned j = 1; j <= m->run->plan.nodes; j++)
            if ((mask >> i & 1) != (mask >> j & 1))
                set_cut(m, i, j, delta);
}

static void join_groups(struct nemesis *m, const struct trouble *t)
{
    run_say(m->run, "network", "heals");
    cut_groups(m, t->mask, -1);
}

static void split(struct nemesis *m, enum plan_fault f, uint64_t mask)
{
    struct run *r = m->run;
    char side[64] = "";
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        if (mask >> i & 1)
            (void)snprintf(side + strlen(side), sizeof side - strlen(side), " %u", i);
    struck(m, f);
    run_say(r, "network", "parts:%s on one side", side);
    cut_groups(m, mask, 1);
    trouble_begin(m, lasts(m), join_groups)->mask = mask;
}

static void partition(struct nemesis *m, enum plan_fault f)
{
    uint64_t all = (UINT64_C(1) << m->run->plan.nodes) - 1;
    split(m, f, (1 + dice_below(&m->dice, all - 1)) << 1);
}

static void isolate(struct nemesis *m, enum plan_fault f)
{
    split(m, f, UINT64_C(1) << leader_or_any(m)->id);
}

static void hears_again(struct nemesis *m, const struct trouble *t)
{
    set_cut(m, t->a, t->b, -1);
}

static void one_way(struct nemesis *m, enum plan_fault f)
{
    unsigned a = leader_or_any(m)->id, n = m->run->plan.nodes;
    unsigned b = 1 + (a + (unsigned)dice_below(&m->dice, n - 1)) % n;
    struck(m, f);
    if (dice_one_in(&m->dice, 2)) {
        unsigned other = a;
        a = b;
        b = other;
    }
    run_say(m->run, "network", "node %u does not reach node %u", a, b);
    set_cut(m, a, b, 1);
    struct trouble *t = trouble_begin(m, lasts(m), hears_again);
    t->a = a;
    t->b = b;
}

static void clog_one(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    uint64_t until = run_now(m->run) + lasts(m);
    bool out = dice_one_in(&m->dice, 2);
    struck(m, f);
    run_say(m->run, "network", "is clogged %s node %u", out ? "from" : "to", n->id);
    for (unsigned i = 1; i <= m->run->plan.nodes; i++)
        if (i != n->id)
            sim_net_link(sim_world_net(m->run->world), out ? n->id : i, out ? i : n->id)
                ->clogged_until_ns = until;
}

static void set_links(struct nemesis *m, bool bad)
{
    for (unsigned i = 1; i <= m->run->plan.nodes; i++)
        for (unsigned j = 1; j <= m->run->plan.nodes; j++) {
            struct sim_link *l = sim_net_link(sim_world_net(m->run->world), i, j);
            const struct sim_link *good = &m->run->plan.link;
            l->loss_ppm = bad ? 200000 : good->loss_ppm;
            l->twice_ppm = bad ? 50000 : good->twice_ppm;
            l->late_ppm = bad ? 100000 : good->late_ppm;
            l->late_ns = bad ? 300 * MS : good->late_ns;
        }
}

static void loss_over(struct nemesis *m, const struct trouble *t)
{
    (void)t;
    set_links(m, false);
}

static void loss(struct nemesis *m, enum plan_fault f)
{
    struck(m, f);
    run_say(m->run, "network", "loses, delays and doubles");
    set_links(m, true);
    (void)trouble_begin(m, lasts(m), loss_over);
}

/* --- clocks --- */

static void clock_jump(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    struct env *env = sim_machine_env(n->machine);
    uint64_t by = dice_one_in(&m->dice, 4) ? 3600000 : 20000;
    uint64_t ms = 1 + dice_below(&m->dice, by), now = env_now_ms(env);
    bool back = dice_one_in(&m->dice, 2);
    struck(m, f);
    run_say(m->run, node_name(n), "its clock leaps %llu ms %s", (unsigned long long)ms,
            back ? "back" : "ahead");
    keeper_clock(m->run, n);
    sim_set_wall_ms(env, back ? now - ms : now + ms);
    keeper_clock(m->run, n);
}

static void drift_over(struct nemesis *m, const struct trouble *t)
{
    sim_machine_drift(m->run->nodes[t->a].machine, 0);
}

static void drift(struct nemesis *m, enum plan_fault f)
{
    struct node *n = any_node(m);
    int32_t ppm = (int32_t)dice_between(&m->dice, 0, 200000) - 100000;
    struck(m, f);
    run_say(m->run, node_name(n), "its clock drifts by %d ppm", (int)ppm);
    sim_machine_drift(n->machine, ppm);
    trouble_begin(m, 3 * lasts(m), drift_over)->a = n->id;
}

/* --- disks --- */

static void mood(struct node *n)
{
    sim_set_faults(sim_machine_env(n->machine), &n->faults);
}

static void disk_well(struct nemesis *m, const struct trouble *t)
{
    struct node *n = &m->run->nodes[t->a];
    run_say(m->run, node_name(n), "its disk is well again");
    n->faults = (struct sim_faults){.sync_ns = (uint64_t)m->run->plan.sync_us * 1000};
    mood(n);
    sim_set_disk_bytes(sim_machine_env(n->machine), 0);
}

static void disk(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    struct sim_faults *to = &n->faults;
    uint32_t often = (uint32_t)dice_between(&m->dice, 1000, 200000);
    struck(m, f);
    run_say(m->run, node_name(n), "its disk: %s", plan_fault_name(f));
    switch ((int)f) {
    case FAULT_WRITE_ERROR:
        to->write_eio_ppm = often;
        to->partial_on_error = true;
        break;
    case FAULT_SYNC_ERROR:
        to->sync_eio_ppm = often;
        break;
    case FAULT_READ_ERROR:
        to->read_eio_ppm = often;
        break;
    case FAULT_DISK_FULL:
        to->write_enospc_ppm = dice_one_in(&m->dice, 2) ? 1000000 : often;
        to->partial_on_error = true;
        break;
    default:
        to->slow_ppm = often;
        to->slow_ns = (1 + dice_below(&m->dice, 100)) * MS;
    }
    mood(n);
    trouble_begin(m, lasts(m), disk_well)->a = n->id;
}

/* --- what takes away good copies --- */

static bool may_damage(struct nemesis *m, const struct node *n)
{
    struct run *r = m->run;
    if (n->state == NODE_LOST)
        return false;
    return n->rotten || count_state(r, false) < (r->plan.nodes - 1) / 2;
}

/* A bit of some log segment flips, while the process is down. */
static void rot(struct nemesis *m, enum plan_fault f)
{
    struct node *n = any_node(m);
    struct env *env = sim_machine_env(n->machine);
    struct buf names = BUF_INIT;
    if (!may_damage(m, n) || !may_go_down(m, n))
        return;
    node_kill(n, SIM_CRASH_PROCESS_ONLY);
    node_start_after(n, 5 * MS + dice_below(&m->dice, 500 * MS));
    if (env_list(env, "/data/log", &names, NULL) == ST_OK && names.len) {
        size_t count = 0;
        for (size_t i = 0; i < names.len; i++)
            count += names.data[i] == 0;
        size_t which = (size_t)dice_below(&m->dice, count);
        const char *name = (const char *)names.data;
        while (which-- > 0)
            name += strlen(name) + 1;
        char path[300];
        struct bytes content;
        (void)snprintf(path, sizeof path, "/data/log/%s", name);
        if (sim_file(env, path, &content) && content.len) {
            uint64_t at = dice_below(&m->dice, content.len);
            struck(m, f);
            n->rotten = true;
            run_say(m->run, node_name(n), "stops; a bit of %s rots at %llu", path,
                    (unsigned long long)at);
            (void)sim_flip_bit(env, path, at, (unsigned)dice_below(&m->dice, 8));
        }
    }
    buf_deinit(&names);
}

static void wipe(struct nemesis *m, enum plan_fault f)
{
    struct node *n = any_node(m);
    if (!may_damage(m, n) || m->run->plan.nodes < 3)
        return;
    struck(m, f);
    if (PLANTED(WIPED_DISK_WITH_OLD_ID)) {
        node_wipe(n);
        return;
    }
    struct history_note note = {.fact = HISTORY_WIPED, .node = n->id, .group = 1};
    enum status st = history_note(m->run->history, run_now(m->run), &note);
    ASSERT(st == ST_OK);
    node_lose(n, "its disk is gone");
}

/* Writes land elsewhere for a while. What follows them in the log tells; of the last thing that was
 * written nothing can, and a node that dies so is given up (node_kill). */
static void misdirect(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    if (!may_damage(m, n) || !node_usable(n))
        return;
    struck(m, f);
    n->rotten = true;
    n->faults.misdirect_ppm = (uint32_t)dice_between(&m->dice, 1000, 50000);
    run_say(m->run, node_name(n), "its disk puts writes in other places");
    mood(n);
    trouble_begin(m, lasts(m), disk_well)->a = n->id;
}

/* Reads of a process that runs; nothing is lost by it, so it may strike anybody. What a process
 * reads when it begins is believed (node_kill ends it). */
static void stale_read(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    if (!node_usable(n))
        return;
    struck(m, f);
    n->faults.stale_read_ppm = (uint32_t)dice_between(&m->dice, 10000, 500000);
    run_say(m->run, node_name(n), "its disk shows what was there before");
    mood(n);
    trouble_begin(m, 3 * lasts(m), disk_well)->a = n->id;
}

/* --- storms --- */

enum storm_way { STORM_ALONE, STORM_WITH_OTHERS, STORM_KILL, STORM_POWER, STORM_NAP, STORM_WAYS };
enum { STORM_PATIENCE = 5 /* election timeouts */, CALM_MS = 30000, CALM_LOOK_MS = 20 };

static void storm_cut(struct nemesis *m, uint64_t mask)
{
    struct storm *s = &m->storm;
    if (s->mask)
        cut_groups(m, s->mask, -1);
    if (mask)
        cut_groups(m, mask, 1);
    s->mask = mask;
}

static void storm_over(struct nemesis *m)
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
    struck(m, FAULT_STORM);
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
        trouble_begin(m, ns, resume)->a = n->id;
    } else if (way != STORM_NAP && may_go_down(m, n)) {
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
        if (n->state == NODE_LOST || (n->rotten && !node_usable(n)))
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
    storm_over(m);
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
    if (!m->storm.on || !may_go_down(m, n))
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
    struck(m, FAULT_STORM);
    run_say(m->run, "storm", "hushes node %u as it begins to lead", node);
    storm_cut(m, UINT64_C(1) << node);
    if (dice_one_in(&s->hush, 2))
        trouble_begin(m, dice_below(&s->hush, m->run->plan.election_ms * MS), storm_fells)->a =
            node;
    s->strikes = false;
    if (--s->left > 0)
        storm_event(m, storm_turn, STORM_PATIENCE * m->run->plan.election_ms * MS);
    else
        storm_event(m, storm_ends, dice_below(&s->hush, 4 * m->run->plan.election_ms * MS));
}

/* It falls from at once, over when its first entry may be committed, to after many. */
static void storm_aims(struct nemesis *m, unsigned node, uint64_t term)
{
    struct storm *s = &m->storm;
    s->term = term;
    s->leader = node;
    s->strikes = true;
    storm_event(m, storm_turn, dice_below(&s->dice, UINT64_C(50000) << dice_below(&s->dice, 13)));
}

void nemesis_sees_leader(struct run *r, unsigned node, uint64_t term)
{
    struct nemesis *m = r->nemesis;
    if (!m || !m->storm.on || m->storm.left == 0 || term <= m->storm.term)
        return;
    m->storm.term = term;
    if (m->storm.hushes && dice_one_in(&m->storm.hush, 2))
        storm_hush(m, node);
    else
        storm_aims(m, node, term);
}

static void storm(struct nemesis *m, enum plan_fault f)
{
    struct storm *s = &m->storm;
    (void)f; /* each strike counts */
    if (s->on || s->calm)
        return;
    s->on = true;
    s->left = 3 + (unsigned)dice_below(&s->dice, 10);
    s->ways = 1 + (unsigned)dice_below(&s->dice, (1u << STORM_WAYS) - 1);
    s->hushes = dice_one_in(&s->hush, 2);
    run_say(m->run, "storm", "begins: %u strikes", s->left);
    storm_aims(m, m->run->leader_node ? m->run->leader_node : 1, m->run->leader_term);
}

/* --- when --- */

static void strike(void *striker)
{
    static void (*const how[FAULT_KINDS])(struct nemesis *, enum plan_fault) = {
        [FAULT_KILL] = kill_one,
        [FAULT_POWER] = power,
        [FAULT_PAUSE] = pause_one,
        [FAULT_PARTITION] = partition,
        [FAULT_ISOLATE] = isolate,
        [FAULT_ONE_WAY] = one_way,
        [FAULT_CLOG] = clog_one,
        [FAULT_LOSS] = loss,
        [FAULT_CLOCK_JUMP] = clock_jump,
        [FAULT_DRIFT] = drift,
        [FAULT_WRITE_ERROR] = disk,
        [FAULT_SYNC_ERROR] = disk,
        [FAULT_READ_ERROR] = disk,
        [FAULT_DISK_FULL] = disk,
        [FAULT_SLOW_DISK] = disk,
        [FAULT_ROT] = rot,
        [FAULT_WIPE] = wipe,
        [FAULT_STORM] = storm,
        [FAULT_MISDIRECT] = misdirect,
        [FAULT_STALE_READ] = stale_read,
        [FAULT_STOP] = stop_one,
    };
    struct striker *s = striker;
    struct nemesis *m = s->nemesis;
    if (m->stopped)
        return;
    if (!m->storm.calm)
        how[s->fault](m, s->fault);
    uint64_t every = m->run->plan.every_ms[s->fault];
    uint64_t in_ms = every / 4 + dice_below(&m->dice, every * 3 / 2 + 1);
    sim_queue_add(sim_world_queue(m->run->world), &s->next, run_now(m->run) + in_ms * MS);
}

void nemesis_start(struct run *r)
{
    struct nemesis *m = sim_zalloc(sizeof *m);
    *m = (struct nemesis){.run = r, .dice = dice_fork(r->plan.seed, 'x')};
    m->stops = dice_fork(r->plan.seed, 'h' << 8);
    m->storm.dice = dice_fork(r->plan.seed, 'y' << 8);
    m->storm.hush = dice_fork(r->plan.seed, ('y' << 8) + 1);
    list_init(&m->troubles);
    r->nemesis = m;
    for (unsigned f = 0; f < FAULT_KINDS; f++) {
        struct striker *s = &m->strikers[f];
        *s = (struct striker){.nemesis = m, .fault = (enum plan_fault)f};
        s->next = (struct sim_event){.fn = strike, .arg = s};
        if (r->plan.every_ms[f])
            sim_queue_add(sim_world_queue(r->world), &s->next,
                          run_now(r) + (100 + dice_below(&m->dice, r->plan.every_ms[f])) * MS);
    }
}

void nemesis_stop(struct run *r)
{
    r->nemesis->stopped = true;
}

static void end_troubles(struct nemesis *m)
{
    storm_over(m);
    sim_queue_drop(sim_world_queue(m->run->world), &m->storm.next);
    m->storm.calm = false;
    while (!list_empty(&m->troubles))
        trouble_over(container_of(m->troubles.next, struct trouble, node));
}

/* Who stays out: never so many that no majority is left. */
static void leave_out(struct nemesis *m)
{
    struct run *r = m->run;
    unsigned lost = 0, most = (r->plan.nodes - 1) / 2;
    /* A rotten one may yet find, when it opens its folder, that it cannot. */
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        lost += r->nodes[i].state == NODE_LOST || r->nodes[i].rotten;
    for (unsigned i = 1; i <= r->plan.nodes && lost < most; i++) {
        struct node *n = &r->nodes[i];
        if (n->state == NODE_LOST || n->rotten || !dice_one_in(&m->dice, 2))
            continue;
        n->cut_off = true;
        lost++;
        run_say(r, node_name(n), "is left out");
        cut_groups(m, UINT64_C(1) << i, 1);
    }
}

/* Raft promises progress where messages take less than an election's time. The tail of the delays may
 * be longer than that, and where every node left is needed, one late message is a lost leader. */
static struct sim_link in_time(const struct plan *p)
{
    struct sim_link l = p->link;
    uint64_t room = p->election_ms * MS / 2;
    l.loss_ppm = l.twice_ppm = l.late_ppm = 0;
    if (l.delay_ns > room / 2)
        l.delay_ns = room / 2;
    if (l.spread_ns > (room - l.delay_ns) / DICE_TAIL_MOST)
        l.spread_ns = (room - l.delay_ns) / DICE_TAIL_MOST;
    return l;
}

void nemesis_heal(struct run *r, bool majority)
{
    struct nemesis *m = r->nemesis;
    const struct sim_link healed = in_time(&r->plan);
    end_troubles(m);
    memset(m->cuts, 0, sizeof m->cuts);
    for (unsigned i = 1; i <= r->plan.nodes; i++) {
        struct node *n = &r->nodes[i];
        n->cut_off = false;
        for (unsigned j = 1; j <= r->plan.nodes; j++)
            *sim_net_link(sim_world_net(r->world), i, j) = healed;
        sim_machine_pause(n->machine, 0);
        sim_machine_drift(n->machine, 0);
        if (sim_machine_runs(n->machine))
            sim_machine_poke(n->machine);
        else if (n->state == NODE_DOWN)
            node_start_after(n, 1 * MS);
        if (n->stopping)
            n->away_ns = 1 * MS; /* it is back as soon as it has stopped */
    }
    run_say(r, "world", "heals");
    if (majority)
        leave_out(m);
}

void nemesis_free(struct run *r)
{
    struct nemesis *m = r->nemesis;
    if (!m)
        return;
    struct sim_queue *q = sim_world_queue(r->world);
    for (unsigned f = 0; f < FAULT_KINDS; f++)
        sim_queue_drop(q, &m->strikers[f].next);
    sim_queue_drop(q, &m->storm.next);
    while (!list_empty(&m->troubles)) {
        struct trouble *t = container_of(m->troubles.next, struct trouble, node);
        list_remove(&t->node);
        sim_queue_drop(q, &t->end);
        sim_free(t);
    }
    sim_free(m);
}
