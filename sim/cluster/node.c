/* A node: the process that opens a store on its disk, keeps house, and takes bundles in. */
#include "sim/cluster/door.h"
#include "sim/cluster/members.h"

#include "serve/peer/peer.h"

#include <stdio.h>
#include <string.h>

enum { INBOX_BYTES_MAX = 8 << 20, TICK_MAX_MS = 100 };

const char *node_name(const struct node *n)
{
    static const char *const names[] = {"node 0", "node 1", "node 2", "node 3", "node 4", "node 5"};
    return names[n->id];
}

bool node_usable(const struct node *n)
{
    return n->state == NODE_UP;
}

bool node_serves(const struct node *n)
{
    return node_usable(n) && !n->stopping && !n->cut_off && !(n->run->healing && members_out(n));
}

/* A misdirected write is found by a mark behind it: the next group's, once that is synced. */
bool node_lied(const struct node *n)
{
    enum { SYNCS = 8 }; /* a roll and the making of a spare among them */
    return sim_syncs_since_lie(sim_machine_env(n->machine)) < SYNCS;
}

/* --- what runs in the process --- */

static bool send_bundle(void *arg, uint64_t to_node, struct bytes bundle)
{
    struct node *n = arg;
    run_digest(n->run, 's' << 8 | n->id, bundle.len);
    node_speaks(n);
    promises_note(n, to_node, bundle);
    sim_net_send(sim_world_net(n->run->world), n->id, (unsigned)to_node, bundle);
    return true;
}

static enum status open_store(struct node *n, struct err *err)
{
    const struct plan *p = &n->run->plan;
    struct store_cluster cluster = {.node = n->id,
                                    .n = p->nodes,
                                    .transport = {send_bundle, n},
                                    .replica = n->replica,
                                    .heartbeat_ms = p->heartbeat_ms,
                                    .election_ms = p->election_ms,
                                    .propose_timeout_ms = p->propose_timeout_ms,
                                    .append_bytes = p->append_bytes,
                                    .append_messages = p->append_messages};
    cluster.seed = dice_fork(p->seed, 5000 + n->id * 1000 + sim_machine_life(n->machine)).state | 1;
    for (unsigned i = 0; i < p->nodes; i++)
        cluster.nodes[i] = i + 1;
    if (p->streams && p->nodes > 1) {
        enum status st = streams_open(n, &cluster.transport, err);
        if (st)
            return st;
    }
    struct store_options o = {
        .engine_name = "mem",
        .engine_open = engine_mem_open,
        .wal = {.segment_bytes = p->segment_bytes, .first_segment_bytes = p->first_segment_bytes},
        .cache_bytes = p->cache_bytes,
        .table_bytes = p->table_bytes,
        .log_bytes = p->log_bytes,
        .checkpoint_interval_ms = p->checkpoint_ms,
        .absent_misses = 50,
        .absent_slice = 20,
        .no_thread = true,
        .applied = same_applied,
        .applied_arg = n,
        .stepped = promises_heard,
        .stepped_arg = n,
        .cluster = p->nodes > 1 ? &cluster : NULL,
    };
    return store_open(sim_machine_env(n->machine), "/data", &o, &n->store, err);
}

static void take_in(void *node)
{
    struct node *n = node;
    struct err err;
    n->fibers++;
    while (!n->closing) {
        while (!list_empty(&n->inbox)) {
            struct parcel *p = container_of(n->inbox.next, struct parcel, node);
            list_remove(&p->node);
            n->inbox_bytes -= p->len;
            list_push_back(&n->taking, &p->node); /* the process may die in the call */
            err_init(&err);
            enum status st = store_receive(n->store, p->from, BYTES(p->data, p->len), &err);
            list_remove(&p->node);
            sim_free(p);
            if (st == ST_INVALID_ARGUMENT || st == ST_TOO_LARGE)
                run_fail(n->run, "%s refuses a bundle: %s", node_name(n), err.detail);
        }
        env_event_init(&n->wake_inbox);
        (void)env_wait(&n->wake_inbox, n->closing ? 0 : UINT64_MAX);
    }
    n->fibers--;
}

/* Costly: asked only when the store has nothing to do. */
static bool is_poisoned(struct store *s)
{
    struct store_stats stats;
    store_stats(s, &stats);
    return stats.poisoned;
}

static void live(void *node)
{
    struct node *n = node;
    struct err err;
    err_init(&err);
    same_opening(n);
    enum status st = open_store(n, &err);
    if (st) {
        char why[600];
        (void)snprintf(why, sizeof why, "cannot open its folder: %s: %s", status_name(st),
                       err.detail);
        n->failed_opens++;
        if (st == ST_CORRUPT && !n->rotten)
            run_fail(n->run, "%s: %s, though nothing of its disk was damaged", node_name(n), why);
        if (st == ST_CORRUPT && n->rotten)
            n->state = NODE_LOST; /* told by node_die_soon */
        node_die_soon(n, why);
        return;
    }
    same_opened(n);
    if (n->run->plan.doors && door_open(n, &err) != ST_OK)
        run_fail(n->run, "%s cannot open its doors: %s", node_name(n), err.detail);
    n->state = NODE_UP;
    n->failed_opens = 0;
    n->fibers++;
    run_say(n->run, node_name(n), "is up");
    if (!sim_machine_spawn(n->machine, take_in, n))
        run_fail(n->run, "%s has no fiber for its inbox", node_name(n));
    while (!n->closing) {
        uint64_t ms = store_tick(n->store);
        if (ms == UINT64_MAX && is_poisoned(n->store)) {
            if (!plan_disks_fail(&n->run->plan))
                run_fail(n->run, "%s is poisoned, though no disk fails", node_name(n));
            node_die_soon(n, "is poisoned");
            return;
        }
        ms = ms < TICK_MAX_MS ? ms : TICK_MAX_MS;
        env_event_init(&n->wake_tick);
        (void)env_wait(&n->wake_tick, (ms ? ms : 1) * MS);
    }
    n->fibers--;
}

/* --- a clean stop, as by SIGTERM: those who ask are let go, then the lead is, then the folder --- */

enum { STOP_LOOK_MS = 1, STOP_MS = 5000 };

static void sleep_ms(uint64_t ms)
{
    struct env_event never;
    env_event_init(&never);
    (void)env_wait(&never, ms * MS);
}

static void let_go(struct node *n)
{
    n->closing = true;
    n->state = NODE_OPENING; /* nobody looks at its store any more */
    env_event_set(&n->wake_inbox);
    env_event_set(&n->wake_tick);
    if (n->peers)
        peers_stop(n->peers);
    while (n->fibers)
        sleep_ms(STOP_LOOK_MS);
}

static void stop(void *node)
{
    struct node *n = node;
    struct err err;
    err_init(&err);
    for (int i = 0;
         clients_at(n) || watchers_at(n) || keeper_at(n->run, n) || members_at(n->run, n); i++) {
        if (i > STOP_MS / STOP_LOOK_MS) {
            node_die_soon(n, "is not let go in time");
            return;
        }
        sleep_ms(STOP_LOOK_MS);
    }
    enum status st = store_hand_over(n->store, 2 * (uint64_t)n->run->plan.election_ms, &err);
    run_say(n->run, node_name(n), "stops: hands over: %s", status_name(st));
    if (!door_let_go(n)) {
        node_die_soon(n, "has requests that do not end");
        return;
    }
    let_go(n);
    struct store *s = n->store;
    n->store = NULL;
    st = store_close(s, &err);
    if (st != ST_OK && !plan_disks_fail(&n->run->plan))
        run_fail(n->run, "%s does not close well: %s: %s", node_name(n), status_name(st),
                 err.detail);
    node_die_soon(n, st ? "closed its folder badly" : "closed its folder");
}

bool node_stop(struct node *n, uint64_t away_ns)
{
    if (!node_serves(n) || !sim_machine_spawn(n->machine, stop, n))
        return false;
    n->stopping = true;
    n->away_ns = away_ns;
    return true;
}

/* --- its life, from outside --- */

static void on_start(void *node)
{
    node_start(node);
}

static void on_dies(void *node)
{
    struct node *n = node;
    bool lost = n->state == NODE_LOST;
    if (sim_machine_runs(n->machine))
        node_kill(n, SIM_CRASH_PROCESS_ONLY);
    if (lost) {
        n->state = NODE_LOST;
        return;
    }
    if (n->away_ns) { /* it was asked to stop */
        node_start_after(n, n->away_ns);
        return;
    }
    /* Whoever watches over processes tries again, later each time. */
    uint64_t wait_ms = 100u << (n->failed_opens < 5 ? n->failed_opens : 5);
    node_start_after(n, wait_ms * MS);
}

void node_init(struct run *r, unsigned id)
{
    struct node *n = &r->nodes[id];
    *n = (struct node){.run = r, .id = id, .replica = id, .state = NODE_DOWN};
    n->machine = sim_machine_new(
        r->world, id,
        &(struct sim_options){.op_ns = 2000, .keeps_older = r->plan.every_ms[FAULT_STALE_READ]});
    n->start = (struct sim_event){.fn = on_start, .arg = n};
    n->dies = (struct sim_event){.fn = on_dies, .arg = n};
    n->faults.sync_ns = (uint64_t)r->plan.sync_us * 1000;
    sim_set_faults(sim_machine_env(n->machine), &n->faults);
    list_init(&n->inbox);
    list_init(&n->taking);
}

void node_start(struct node *n)
{
    if (n->state != NODE_DOWN)
        return;
    sim_queue_drop(sim_world_queue(n->run->world), &n->start);
    n->state = NODE_OPENING;
    n->store = NULL;
    n->peers = NULL;
    n->door = NULL;
    n->fibers = 0;
    n->stopping = n->closing = false;
    n->away_ns = 0;
    memset(n->collections, 0, sizeof n->collections);
    env_event_init(&n->wake_tick);
    env_event_init(&n->wake_inbox);
    n->run->result->starts++;
    run_say(n->run, node_name(n), "starts");
    static const struct reactor_options o = {.fiber_stack_bytes = 256 * 1024, .max_fibers = 512};
    sim_machine_start(n->machine, &o, live, n);
}

void node_start_after(struct node *n, uint64_t ns)
{
    struct sim_queue *q = sim_world_queue(n->run->world);
    sim_queue_add(q, &n->start, sim_queue_now(q) + ns);
}

static void drop_parcels(struct list *from)
{
    list_foreach_safe (it, from) {
        list_remove(it);
        sim_free(container_of(it, struct parcel, node));
    }
}

static void drop_inbox(struct node *n)
{
    drop_parcels(&n->inbox);
    drop_parcels(&n->taking);
    n->inbox_bytes = 0;
}

/* Its disk lied about the last that was written, which nobody can know: an empty end of a log looks
 * as it must. It would forget what it acknowledged, so the atlas counts the disk as gone. */
static void give_up(struct node *n)
{
    run_say(n->run, node_name(n), "its disk lied at the end: it never comes back");
    sim_host_power(sim_machine_host(n->machine), false);
    n->state = NODE_LOST;
    n->rotten = true;
    struct history_note note = {.fact = HISTORY_WIPED, .node = (uint32_t)n->replica, .group = 1};
    enum status st = history_note(n->run->history, run_now(n->run), &note);
    ASSERT(st == ST_OK);
}

void node_kill(struct node *n, enum sim_crash how)
{
    struct run *r = n->run;
    ASSERT(sim_machine_runs(n->machine));
    run_digest(r, 'k' << 8 | n->id, how);
    if ((n->store || n->closing) && r->raft_checker && r->plan.nodes > 1)
        raft_check_restarted(r->raft_checker, n->replica, 0);
    n->state = NODE_DOWN;
    n->store = NULL;
    n->door = NULL;
    sim_queue_drop(sim_world_queue(r->world), &n->dies);
    sim_machine_kill(n->machine, how, r->plan.torn_bytes);
    drop_inbox(n);
    clients_node_died(r, n);
    watchers_node_died(r, n);
    keeper_node_died(r, n);
    members_node_died(r, n);
    n->faults.stale_read_ppm = 0;
    sim_set_faults(sim_machine_env(n->machine), &n->faults);
    if (node_lied(n))
        give_up(n);
}

void node_die_soon(struct node *n, const char *why)
{
    run_say(n->run, node_name(n), "%s; its process ends", why);
    if (n->state == NODE_UP)
        n->state = NODE_OPENING; /* no clients any more */
    struct sim_queue *q = sim_world_queue(n->run->world);
    sim_queue_add(q, &n->dies, run_now(n->run));
}

void node_lose(struct node *n, const char *why)
{
    run_say(n->run, node_name(n), "%s: it never comes back", why);
    if (sim_machine_runs(n->machine))
        node_kill(n, SIM_CRASH_POWER);
    sim_queue_drop(sim_world_queue(n->run->world), &n->start);
    sim_queue_drop(sim_world_queue(n->run->world), &n->dies);
    sim_host_power(sim_machine_host(n->machine), false);
    n->state = NODE_LOST;
    n->rotten = true;
}

/* The folder and all in it, for good. */
static void erase(struct env *e, const char *path)
{
    struct buf names = BUF_INIT;
    if (env_list(e, path, &names, NULL) != ST_OK) {
        (void)env_unlink(e, path, NULL);
    } else {
        for (size_t at = 0; at < names.len; at += strlen((const char *)names.data + at) + 1) {
            char inside[300];
            (void)snprintf(inside, sizeof inside, "%s/%s", path, (const char *)names.data + at);
            erase(e, inside);
        }
        (void)env_sync_dir(e, path, NULL);
        (void)env_rmdir(e, path, NULL);
    }
    buf_deinit(&names);
}

static void empty_disk(struct node *n)
{
    struct env *disk = sim_machine_env(n->machine);
    static const struct sim_faults none;
    run_say(n->run, node_name(n), "gets an empty disk");
    if (sim_machine_runs(n->machine))
        node_kill(n, SIM_CRASH_POWER);
    sim_set_faults(disk, &none);
    erase(disk, "/data");
    (void)env_sync_dir(disk, "/", NULL);
    sim_set_faults(disk, &n->faults);
}

void node_wipe(struct node *n)
{
    empty_disk(n);
    node_start_after(n, 100 * MS);
}

void node_renew(struct node *n, uint64_t ns)
{
    struct run *r = n->run;
    struct history_note note = {.fact = HISTORY_WIPED, .node = (uint32_t)n->replica, .group = 1};
    enum status st = history_note(r->history, run_now(r), &note);
    ASSERT(st == ST_OK && n->state != NODE_LOST);
    empty_disk(n);
    n->replica += REPLICA_STEP;
    n->rotten = n->state == NODE_LOST; /* it lied before it went */
    n->failed_opens = 0;
    run_say(r, node_name(n), "is to be replica %llu", (unsigned long long)n->replica);
    if (n->state != NODE_LOST)
        node_start_after(n, ns);
}

void node_receive(struct node *n, unsigned from, struct bytes bundle)
{
    if (n->state != NODE_UP || n->inbox_bytes + bundle.len > INBOX_BYTES_MAX)
        return; /* as a full socket buffer loses it */
    struct parcel *p = sim_zalloc(sizeof *p + bundle.len);
    p->from = from;
    p->len = bundle.len;
    if (bundle.len)
        memcpy(p->data, bundle.data, bundle.len);
    list_push_back(&n->inbox, &p->node);
    n->inbox_bytes += bundle.len;
    env_event_set(&n->wake_inbox);
}

/* --- who leads --- */

static void watch_role(struct node *n)
{
    struct run *r = n->run;
    struct store_role role;
    store_role(n->store, &role);
    if (!role.is_leader || role.term == n->led_term)
        return;
    n->led_term = role.term;
    run_say(r, node_name(n), "leads in term %llu", (unsigned long long)role.term);
    run_digest(r, 'l' << 8 | n->id, role.term);
    if (role.term > r->leader_term) {
        if (r->leader_node != 0 && r->leader_node != n->id)
            r->result->leader_changes++;
        r->leader_term = role.term;
        r->leader_node = n->id;
    }
    struct history_note note = {
        .fact = HISTORY_LEADER, .node = (uint32_t)n->replica, .group = 1, .term = role.term};
    enum status st = history_note(r->history, run_now(r), &note);
    ASSERT(st == ST_OK);
}

struct raft *node_raft(const struct node *n)
{
    union {
        const struct raft *in;
        struct raft *out;
    } raft = {.in = node_usable(n) ? store_raft(n->store) : NULL};
    return raft.out; /* only looked at */
}

/* Raft's own invariants over replicas, against all that was seen before; then whether what is
 * committed is safe among those whose disks were not tampered with. */
static void check_raft(struct run *r, struct raft *const *replicas, size_t n)
{
    struct raft *sound[PLAN_NODES_MAX];
    struct err err;
    size_t k = 0;
    err_init(&err);
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        sound[k++] = r->nodes[i].rotten ? NULL : node_raft(&r->nodes[i]);
    enum status st = raft_check(r->raft_checker, replicas, n, &err);
    if (st == ST_OK)
        st = raft_check_electable(r->raft_checker, sound, k, &err);
    if (st != ST_OK)
        run_fail(r, "raft: %s", err.detail);
}

void node_speaks(struct node *n)
{
    struct raft *raft = node_raft(n);
    struct raft_status now;
    if (!raft)
        return;
    raft_status(raft, &now);
    if (now.role == RAFT_LEADER && now.term != n->spoke_as_leader) {
        n->spoke_as_leader = now.term;
        nemesis_sees_leader(n->run, n->id, now.term);
    }
    if (now.commit == n->seen_commit && now.term == n->seen_term)
        return;
    n->seen_commit = now.commit;
    n->seen_term = now.term;
    struct sim_heap *heap = sim_heap_enter(NULL); /* what the checker remembers is no process's */
    check_raft(n->run, &raft, 1);
    sim_heap_enter(heap);
}

void node_watch(struct run *r)
{
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        if (node_usable(&r->nodes[i])) {
            watch_role(&r->nodes[i]);
            members_check(&r->nodes[i]);
        }
    struct raft *replicas[PLAN_NODES_MAX];
    for (unsigned i = 0; i < r->plan.nodes; i++)
        replicas[i] = node_raft(&r->nodes[i + 1]);
    check_raft(r, replicas, r->plan.nodes);
}
