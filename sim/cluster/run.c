/* A run from its beginning to its end. */
#include "sim/cluster/door.h"
#include "sim/cluster/members.h"

#include "base/hash.h"
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SLICE_MS = 20, PROGRESS_MS = 30000, OPERATIONS_THAT_COUNT = 1000 };

/* --- the story --- */

bool run_tells(const struct run *r)
{
    return r->o.story;
}

static void say(struct run *r, const char *who, const char *text)
{
    char line[2000];
    uint64_t us = run_now(r) / 1000;
    int n = snprintf(line, sizeof line, "%6llu.%06llu  %-9s %s\n", (unsigned long long)us / 1000000,
                     (unsigned long long)us % 1000000, who, text);
    size_t len = (size_t)n < sizeof line ? (size_t)n : sizeof line - 1;
    line[len - 1] = '\n';
    r->o.story(r->o.arg, line, len);
}

void run_say(struct run *r, const char *who, const char *format, ...)
{
    char text[1800];
    va_list args;
    if (!r->o.story)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    say(r, who, text);
}

void run_digest(struct run *r, uint64_t a, uint64_t b)
{
    uint64_t v[3] = {run_now(r), a, b};
    r->result->digest = hash_xxh64(v, sizeof v, r->result->digest);
}

void run_fail(struct run *r, const char *format, ...)
{
    va_list args;
    if (run_failed(r))
        return;
    va_start(args, format);
    (void)vsnprintf(r->result->failure, sizeof r->result->failure, format, args);
    va_end(args);
    run_say(r, "verdict", "%s", r->result->failure);
}

bool run_failed(const struct run *r)
{
    return r->result->failure[0];
}

/* What production code logs belongs to the story. */
static void on_log(void *arg, const char *line, unsigned long len)
{
    struct run *r = arg;
    run_say(r, "log", "%.*s", (int)(len && line[len - 1] == '\n' ? len - 1 : len), line);
}

/* --- making and unmaking --- */

static void on_message(void *arg, struct sim_machine *to, unsigned from, struct bytes bytes)
{
    struct run *r = arg;
    node_receive(&r->nodes[sim_machine_id(to)], from, bytes);
}

static void run_init(struct run *r, const struct plan *p, const struct run_options *o,
                     struct run_result *result)
{
    *r = (struct run){.plan = *p, .o = *o, .result = result, .dice = dice_fork(p->seed, 'r')};
    *result = (struct run_result){0};
    points_begin(p->seed, p->buggify);
    r->world = sim_world_new(
        &(struct sim_world_options){.seed = p->seed, .on_message = on_message, .arg = r});
    r->history = history_new();
    enum status st = raft_checker_new(&r->raft_checker);
    ASSERT(r->history && st == ST_OK);
    r->next_history_client = 1;
    struct sim_link link = p->link;
    sim_net_default_link(sim_world_net(r->world), &link);
    r->nodes = sim_zalloc((p->nodes + 1) * sizeof *r->nodes);
    log_set_clock(NULL, NULL); /* the story has the time */
    log_set_sink(on_log, r);
    log_configure(o->story ? LOG_INFO : LOG_OFF, LOG_HUMAN);
    for (unsigned i = 1; i <= p->nodes; i++)
        node_init(r, i);
    log_set_clock(NULL, NULL);
}

static void run_deinit(struct run *r, struct history **ret_history)
{
    nemesis_free(r);
    door_free(r);
    for (unsigned i = 1; i <= r->plan.nodes; i++)
        if (sim_machine_runs(r->nodes[i].machine))
            node_kill(&r->nodes[i], SIM_CRASH_PROCESS_ONLY);
    clients_free(r);
    watchers_free(r);
    keeper_free(r);
    members_free(r);
    raft_checker_free(r->raft_checker);
    sim_world_free(r->world);
    sim_free(r->nodes);
    sim_free(r->versions);
    sim_free(r->applied);
    log_set_sink(NULL, NULL);
    log_configure(LOG_INFO, LOG_HUMAN);
    if (ret_history)
        *ret_history = r->history;
    else
        history_free(r->history);
}

/* --- phases --- */

/* Lets time pass until `until_ns`, looking at the nodes on the way. */
static void pass(struct run *r, uint64_t until_ns)
{
    while (run_now(r) < until_ns && !run_failed(r)) {
        uint64_t next = run_now(r) + SLICE_MS * MS;
        sim_world_run(r->world, next < until_ns ? next : until_ns);
        node_watch(r);
    }
}

/* A door answers a weak read of what nobody has written yet without asking anybody. */
static bool has_begun(const struct run *r)
{
    return r->plan.doors ? r->n_versions > 0 : r->result->operations > 0;
}

static void pass_until_begun(struct run *r)
{
    uint64_t until = run_now(r) + PROGRESS_MS * MS;
    while (!has_begun(r) && run_now(r) < until && !run_failed(r))
        pass(r, run_now(r) + SLICE_MS * MS);
}

/* A new cluster's first leader is its first node, which alone may bring data along; before that has
 * replicated something the others wait for it. So trouble begins when somebody was answered. Where every
 * other forward is refused and every other answer to one is lost, that may be nobody for long by luck
 * alone: only without rare paths must it come. */
static void phase_begin(struct run *r)
{
    pass_until_begun(r);
    if (!has_begun(r) && !run_failed(r)) {
        points_rest();
        pass_until_begun(r);
    }
    if (!has_begun(r))
        run_fail(r, "a new cluster answered nobody within %d ms", PROGRESS_MS);
}

/* Where trouble leaves little room it lasts longer, for a run of which little can be said is in vain. */
static void phase_busy(struct run *r)
{
    uint64_t until = run_now(r) + r->plan.busy_ms * MS;
    uint64_t latest = until + r->plan.more_ms * MS;
    while (!run_failed(r) && r->result->operations < r->plan.ops_max &&
           run_now(r) < (r->result->operations < OPERATIONS_THAT_COUNT ? latest : until))
        pass(r, run_now(r) + SLICE_MS * MS);
}

/* Every client gets answers, and one of them to a write, in bounded time: what was written before can
 * be read where nothing can be written any more. */
static void phase_progress(struct run *r)
{
    uint64_t since = run_now(r), until = since + PROGRESS_MS * MS;
    while (run_now(r) < until && clients_active_since(r, since) < r->plan.clients && !run_failed(r))
        pass(r, run_now(r) + SLICE_MS * MS);
    unsigned active = clients_active_since(r, since);
    if (active < r->plan.clients)
        run_fail(r,
                 "no progress: %u of %u clients were answered, and wrote, within %d ms of health",
                 active, r->plan.clients, PROGRESS_MS);
    else
        run_say(r, "world", "every client was answered, and wrote, within %llu ms",
                (unsigned long long)(run_now(r) - since) / MS);
}

static void stop_clients(struct run *r)
{
    uint64_t until = run_now(r) + PROGRESS_MS * MS;
    r->stop_clients = true;
    while ((!clients_idle(r) || keeper_at(r, NULL)) && run_now(r) < until && !run_failed(r))
        pass(r, run_now(r) + SLICE_MS * MS);
    if (!clients_idle(r) || keeper_at(r, NULL))
        run_fail(r, "an operation has no end: a client waits for more than %d ms", PROGRESS_MS);
}

/* Whoever follows the changes comes to their end, too: what was shown is judged, and who is shown
 * nothing would be right for ever. */
static void phase_watchers(struct run *r)
{
    uint64_t last = 0, horizon, until = run_now(r) + PROGRESS_MS * MS;
    size_t n;
    bool complete;
    unsigned behind = 0;
    const struct history_row *rows = history_rows(r->history, &n, &complete, &horizon);
    for (size_t i = 0; i < n; i++)
        last = rows[i].version > last ? rows[i].version : last;
    while (!watchers_reached(r, last, &behind) && run_now(r) < until && !run_failed(r))
        pass(r, run_now(r) + SLICE_MS * MS);
    if (!watchers_reached(r, last, &behind))
        run_fail(r, "watcher %u did not come to the last change within %d ms of quiet", behind,
                 PROGRESS_MS);
    r->stop_watchers = true;
    pass(r, run_now(r) + 1000 * MS);
}

static void sum_up(struct run_result *res)
{
    for (unsigned f = 0; f < FAULT_KINDS; f++)
        res->fault_kinds += res->faults[f] > 0;
    res->counts = res->operations >= OPERATIONS_THAT_COUNT && res->fault_kinds >= 3 &&
                  res->leader_changes >= 1;
    for (size_t i = 0; i < points_count(); i++)
        res->points[i] = points_is_probe(i) ? points_passed(i) : points_fired(i);
}

static void verdict(struct run *r)
{
    r->result->virtual_ns = run_now(r);
    r->result->events = sim_queue_ran(sim_world_queue(r->world));
    run_digest(r, 'z', r->result->operations);
    sum_up(r->result);
}

void run_whole(const struct plan *p, const struct run_options *o, struct run_result *ret,
               struct history **ret_history)
{
    static const struct run_options none;
    struct run r;
    if (p->alone) {
        run_alone(p, ret);
        sum_up(ret);
        if (ret_history)
            *ret_history = history_new();
        return;
    }
    run_init(&r, p, o ? o : &none, ret);
    for (unsigned i = 1; i <= p->nodes; i++)
        node_start_after(&r.nodes[i], dice_below(&r.dice, 50 * MS));
    door_start(&r);
    clients_start(&r);
    watchers_start(&r);
    keeper_start(&r);
    phase_begin(&r);
    nemesis_start(&r);
    members_start(&r);
    phase_busy(&r);
    nemesis_stop(&r);
    points_rest();
    r.healing = true;
    door_heal(&r);
    if (!run_failed(&r)) {
        nemesis_heal(&r, true);
        phase_progress(&r);
    }
    if (!run_failed(&r)) {
        nemesis_heal(&r, false); /* those who were left out come back */
        (void)members_settle(&r);
    }
    if (!run_failed(&r))
        stop_clients(&r);
    bool same = !run_failed(&r) && judge_replicas(&r);
    if (same)
        phase_watchers(&r);
    if (!run_failed(&r))
        judge_history(&r);
    verdict(&r);
    run_deinit(&r, ret_history);
}
