/* Trouble: each kind of fault strikes now and then, lasts a while and ends.
 *
 * The atlas: faults that take away what a node had made durable (rot, a disk that is gone) strike a
 * minority of the nodes at most in one run, and of the voters of every configuration that may be in
 * force (members.h), so that a good copy of everything acknowledged stays.
 * The others strike whom they will.
 */
#include "sim/cluster/members.h"
#include "sim/cluster/nemesis_internal.h"

#include "base/planted.h"

#include <stdio.h>
#include <string.h>

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

struct trouble *nemesis__begin(struct nemesis *m, uint64_t ns,
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

void nemesis__struck(struct nemesis *m, enum plan_fault f)
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

bool nemesis__may_go_down(struct nemesis *m, const struct node *n)
{
    return sim_machine_runs(n->machine) && !n->stopping &&
           count_state(m->run, true) < m->run->plan.down_max;
}

/* --- processes --- */

static void kill_one(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    if (!nemesis__may_go_down(m, n))
        return;
    bool power = f == FAULT_POWER;
    uint64_t ns = dice_one_in(&m->dice, 3) ? 5 * MS : lasts(m);
    nemesis__struck(m, f);
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
    if (!nemesis__may_go_down(m, n) || !node_stop(n, ns))
        return;
    nemesis__struck(m, f);
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
        nemesis__struck(m, FAULT_POWER);
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

void nemesis__resume(struct nemesis *m, const struct trouble *t)
{
    run_say(m->run, node_name(&m->run->nodes[t->a]), "runs on");
}

static void pause_one(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    if (!sim_machine_runs(n->machine))
        return;
    uint64_t ns = m->run->plan.election_ms * MS + lasts(m);
    nemesis__struck(m, f);
    run_say(m->run, node_name(n), "is paused for %llu ms", (unsigned long long)(ns / MS));
    sim_machine_pause(n->machine, run_now(m->run) + ns);
    nemesis__begin(m, ns, nemesis__resume)->a = n->id;
}

/* --- the network --- */

static void set_cut(struct nemesis *m, unsigned from, unsigned to, int delta)
{
    m->cuts[from][to] = (unsigned)((int)m->cuts[from][to] + delta);
    sim_net_link(sim_world_net(m->run->world), from, to)->cut = m->cuts[from][to] > 0;
}

void nemesis__cut_groups(struct nemesis *m, uint64_t mask, int delta)
{
    for (unsigned i = 1; i <= m->run->plan.nodes; i++)
        for (unsigned j = 1; j <= m->run->plan.nodes; j++)
            if ((mask >> i & 1) != (mask >> j & 1))
                set_cut(m, i, j, delta);
}

static void join_groups(struct nemesis *m, const struct trouble *t)
{
    run_say(m->run, "network", "heals");
    nemesis__cut_groups(m, t->mask, -1);
}

static void split(struct nemesis *m, enum plan_fault f, uint64_t mask)
{
    struct run *r = m->run;
    char side[64] = "";
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        if (mask >> i & 1)
            (void)snprintf(side + strlen(side), sizeof side - strlen(side), " %u", i);
    nemesis__struck(m, f);
    run_say(r, "network", "parts:%s on one side", side);
    nemesis__cut_groups(m, mask, 1);
    nemesis__begin(m, lasts(m), join_groups)->mask = mask;
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
    nemesis__struck(m, f);
    if (dice_one_in(&m->dice, 2)) {
        unsigned other = a;
        a = b;
        b = other;
    }
    run_say(m->run, "network", "node %u does not reach node %u", a, b);
    set_cut(m, a, b, 1);
    struct trouble *t = nemesis__begin(m, lasts(m), hears_again);
    t->a = a;
    t->b = b;
}

static void clog_one(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    uint64_t until = run_now(m->run) + lasts(m);
    bool out = dice_one_in(&m->dice, 2);
    nemesis__struck(m, f);
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
    nemesis__struck(m, f);
    run_say(m->run, "network", "loses, delays and doubles");
    set_links(m, true);
    (void)nemesis__begin(m, lasts(m), loss_over);
}

/* --- clocks --- */

static void clock_jump(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    struct env *env = sim_machine_env(n->machine);
    uint64_t by = dice_one_in(&m->dice, 4) ? 3600000 : 20000;
    uint64_t ms = 1 + dice_below(&m->dice, by), now = env_now_ms(env);
    bool back = dice_one_in(&m->dice, 2);
    nemesis__struck(m, f);
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
    nemesis__struck(m, f);
    run_say(m->run, node_name(n), "its clock drifts by %d ppm", (int)ppm);
    sim_machine_drift(n->machine, ppm);
    nemesis__begin(m, 3 * lasts(m), drift_over)->a = n->id;
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
    nemesis__struck(m, f);
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
    nemesis__begin(m, lasts(m), disk_well)->a = n->id;
}

/* --- what takes away good copies --- */

bool nemesis__may_damage(struct nemesis *m, const struct node *n)
{
    struct run *r = m->run;
    if (n->state == NODE_LOST)
        return false;
    uint64_t mask = members_slot(n);
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        mask |= r->nodes[i].rotten ? members_slot(&r->nodes[i]) : 0;
    return n->rotten || (count_state(r, false) < (r->plan.nodes - 1) / 2 && members_spare(r, mask));
}

/* A bit of some log segment flips, while the process is down. */
static void rot(struct nemesis *m, enum plan_fault f)
{
    struct node *n = any_node(m);
    struct env *env = sim_machine_env(n->machine);
    struct buf names = BUF_INIT;
    if (!nemesis__may_damage(m, n) || !nemesis__may_go_down(m, n))
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
            nemesis__struck(m, f);
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
    if (!nemesis__may_damage(m, n) || m->run->plan.nodes < 3)
        return;
    nemesis__struck(m, f);
    if (PLANTED(WIPED_DISK_WITH_OLD_ID)) {
        node_wipe(n);
        return;
    }
    struct history_note note = {.fact = HISTORY_WIPED, .node = (uint32_t)n->replica, .group = 1};
    enum status st = history_note(m->run->history, run_now(m->run), &note);
    ASSERT(st == ST_OK);
    node_lose(n, "its disk is gone");
}

/* Writes land elsewhere for a while. What follows them in the log tells; of the last thing that was
 * written nothing can, and a node that dies so is given up (node_kill). */
static void misdirect(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    if (!nemesis__may_damage(m, n) || !node_usable(n))
        return;
    nemesis__struck(m, f);
    n->rotten = true;
    n->faults.misdirect_ppm = (uint32_t)dice_between(&m->dice, 1000, 50000);
    run_say(m->run, node_name(n), "its disk puts writes in other places");
    mood(n);
    nemesis__begin(m, lasts(m), disk_well)->a = n->id;
}

/* Reads of a process that runs; nothing is lost by it, so it may strike anybody. What a process
 * reads when it begins is believed (node_kill ends it). */
static void stale_read(struct nemesis *m, enum plan_fault f)
{
    struct node *n = leader_or_any(m);
    if (!node_usable(n))
        return;
    nemesis__struck(m, f);
    n->faults.stale_read_ppm = (uint32_t)dice_between(&m->dice, 10000, 500000);
    run_say(m->run, node_name(n), "its disk shows what was there before");
    mood(n);
    nemesis__begin(m, 3 * lasts(m), disk_well)->a = n->id;
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
        [FAULT_STORM] = storm__begin,
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
        if (f == FAULT_MEMBERS)
            continue; /* the admin's: members.c */
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
    storm__over(m);
    sim_queue_drop(sim_world_queue(m->run->world), &m->storm.next);
    m->storm.calm = false;
    while (!list_empty(&m->troubles))
        trouble_over(container_of(m->troubles.next, struct trouble, node));
}

/* Who stays out: never so many that no majority is left, of whoever may have to decide. */
static void leave_out(struct nemesis *m)
{
    struct run *r = m->run;
    unsigned lost = 0, most = (r->plan.nodes - 1) / 2;
    uint64_t mask = 0;
    /* A rotten one may yet find, when it opens its folder, that it cannot. */
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        if (r->nodes[i].state == NODE_LOST || r->nodes[i].rotten) {
            lost++;
            mask |= members_slot(&r->nodes[i]);
        }
    for (unsigned i = 1; i <= r->plan.nodes && lost < most; i++) {
        struct node *n = &r->nodes[i];
        if (n->state == NODE_LOST || n->rotten || !dice_one_in(&m->dice, 2) ||
            !members_spare(r, mask | members_slot(n)))
            continue;
        mask |= members_slot(n);
        n->cut_off = true;
        lost++;
        run_say(r, node_name(n), "is left out");
        nemesis__cut_groups(m, UINT64_C(1) << i, 1);
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
