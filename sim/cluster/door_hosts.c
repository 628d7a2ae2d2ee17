/* The clients' machine, the ways from it to the nodes and what goes wrong on them, and what every
 * client that goes through doors does, whatever its protocol. */
#include "sim/cluster/door.h"

#include "base/env/fiber.h"

#include <stdio.h>
#include <string.h>

enum { CONNECT_MS = 2000, PATIENCE_MS = 5000, TRIES = 2 };

struct door_host {
    struct run *run;
    struct sim_machine *machine;
    struct dice dice;
    struct sim_event next, ends;
    struct sim_link *out, *in; /* that are in trouble; NULL: none */
};

/* --- trouble: the way to one node breaks, in one direction or both, or is held up --- */

static void calm(void *host)
{
    struct door_host *h = host;
    if (!h->out)
        return;
    h->out->cut = h->in->cut = false;
    h->out = h->in = NULL;
}

static void strike(void *host)
{
    struct door_host *h = host;
    struct run *r = h->run;
    struct sim_queue *q = sim_world_queue(r->world);
    struct sim_net *net = sim_world_net(r->world);
    unsigned id = 1 + (unsigned)dice_below(&h->dice, r->plan.nodes);
    uint64_t ns = (1 + dice_tail(&h->dice, r->plan.outage_ms * 2)) * MS;
    calm(h);
    sim_queue_drop(q, &h->ends);
    h->out = sim_net_link(net, DOOR_HOST, id);
    h->in = sim_net_link(net, id, DOOR_HOST);
    unsigned how = (unsigned)dice_below(&h->dice, 4);
    if (how == 3) {
        h->out->clogged_until_ns = h->in->clogged_until_ns = run_now(r) + ns;
    } else {
        h->out->cut = how != 1;
        h->in->cut = how != 0;
    }
    run_say(r, "clients", "%s node %u for %llu ms",
            how == 0   ? "do not reach"
            : how == 1 ? "do not hear"
            : how == 2 ? "are cut off from"
                       : "have a clogged way to",
            id, (unsigned long long)(ns / MS));
    sim_queue_add(q, &h->ends, run_now(r) + ns);
    sim_queue_add(q, &h->next, run_now(r) + ns + dice_below(&h->dice, 6000) * MS);
}

void door_heal(struct run *r)
{
    struct door_host *h = r->door_host;
    if (!h)
        return;
    calm(h);
    sim_queue_drop(sim_world_queue(r->world), &h->ends);
    sim_queue_drop(sim_world_queue(r->world), &h->next);
    for (unsigned id = 1; id <= r->plan.nodes; id++) {
        sim_net_link(sim_world_net(r->world), DOOR_HOST, id)->clogged_until_ns = 0;
        sim_net_link(sim_world_net(r->world), id, DOOR_HOST)->clogged_until_ns = 0;
    }
}

/* --- the machine --- */

static void nothing(void *run)
{
    (void)run;
}

void door_start(struct run *r)
{
    static const struct reactor_options o = {
        .fiber_stack_bytes = 256 * 1024, .max_fibers = 256, .linger_ms = 200};
    if (!r->plan.doors)
        return;
    struct door_host *h = sim_zalloc(sizeof *h);
    *h = (struct door_host){.run = r, .dice = dice_fork(r->plan.seed, 'd')};
    h->next = (struct sim_event){.fn = strike, .arg = h};
    h->ends = (struct sim_event){.fn = calm, .arg = h};
    h->machine = sim_machine_new(r->world, DOOR_HOST, &(struct sim_options){.op_ns = 2000});
    r->door_host = h;
    sim_machine_start(h->machine, &o, nothing, r);
    rogues_start(r);
    if (dice_below(&h->dice, 4))
        sim_queue_add(sim_world_queue(r->world), &h->next,
                      run_now(r) + 1000 * MS + dice_below(&h->dice, 6000) * MS);
}

void door_free(struct run *r)
{
    struct door_host *h = r->door_host;
    if (!h)
        return;
    sim_queue_drop(sim_world_queue(r->world), &h->ends);
    sim_queue_drop(sim_world_queue(r->world), &h->next);
    sim_machine_kill(h->machine, SIM_CRASH_PROCESS_ONLY, 0);
    rogues_free(r);
    sim_free(h);
    r->door_host = NULL;
}

struct sim_machine *door_machine(const struct run *r)
{
    return r->door_host->machine;
}

void door_addr(const struct node *n, struct net_addr *ret)
{
    sim_host_addr(sim_machine_host(n->machine), DOOR_PORT, ret);
}

/* --- a client --- */

void door_draw(struct client *c)
{
    struct run *r = c->run;
    struct dice d = dice_fork(r->plan.seed, 70000 + c->number);
    if (!r->plan.doors || !dice_one_in(&d, 2))
        return;
    c->door = sim_zalloc(sizeof *c->door);
    *c->door = (struct door){
        .way = (enum door_way)dice_below(&d, DOOR_WAYS), .gzip = dice_one_in(&d, 3), .dice = d};
}

void door_client_free(struct client *c)
{
    sim_free(c->door); /* its line lay in the heap of the machine, which is gone */
    c->door = NULL;
}

void door_leave(struct client *c)
{
    line_close(c->door->line, !dice_one_in(&c->door->dice, 4));
    c->door->line = NULL;
}

/* Small windows now and then, so that bodies come in many pieces. */
static void draw_line(struct client *c, struct line_options *o)
{
    struct dice *d = &c->door->dice;
    *o = (struct line_options){.kind = c->door->way == DOOR_HTTP1 ? LINE_HTTP1 : LINE_HTTP2};
    door_addr(c->node, &o->to);
    if (dice_one_in(d, 4))
        o->h2.stream_window = o->h2.conn_window = 4096;
    if (dice_one_in(d, 4))
        o->h2.keepalive_ms = 200;
    if (dice_one_in(d, 8))
        o->h2.idle_timeout_ms = 50;
}

struct line *door_line(struct client *c)
{
    struct door *d = c->door;
    struct line_options o;
    if (d->line && !line_usable(d->line)) {
        line_close(d->line, true);
        d->line = NULL;
    }
    if (!d->line) {
        draw_line(c, &o);
        d->line = line_open(&o);
    }
    return line_wait(d->line, CONNECT_MS * MS) ? d->line : NULL;
}

uint64_t door_patience(struct client *c)
{
    struct dice *d = &c->door->dice;
    uint64_t ms = dice_one_in(d, 40) ? 1 + dice_below(d, 100) : PATIENCE_MS;
    return fiber_now_ns() + ms * MS;
}

/* --- operations --- */

static bool by_http(const struct client *c)
{
    return c->door->way != DOOR_GRPC;
}

/* Part of the story: why an operation did not go well. */
static enum status told(const struct client *c, enum status st, const struct err *err)
{
    static const char *const ways[DOOR_WAYS] = {"gRPC", "HTTP/1", "HTTP/2"};
    if (st != ST_OK && st != ST_PRECONDITION_FAILED && c->run->o.wants_ops)
        run_say(c->run, "a door", "by %s at %s: %s: %s", ways[c->door->way], node_name(c->node),
                status_name(st), err->detail);
    return st;
}

static enum status write_once(struct client *c, struct door_write *w, struct err *err)
{
    return told(c, by_http(c) ? door_http_write(c, w, err) : door_grpc_write(c, w, err), err);
}

enum status door_barrier(struct client *c, struct version *ret_at, struct err *err)
{
    return told(
        c, by_http(c) ? door_http_barrier(c, ret_at, err) : door_grpc_barrier(c, ret_at, err), err);
}

enum status door_get(struct client *c, struct history_step *s, struct version at, struct err *err)
{
    if (c->door->empty && version_is_none(at)) {
        s->found = false;
        s->version = 0;
        return ST_OK;
    }
    return told(c, by_http(c) ? door_http_get(c, s, at, err) : door_grpc_get(c, s, at, err), err);
}

/* Again and again while its outcome is not known, for its id makes that safe; and now and then once
 * more when it is. */
static enum status write_with_id(struct client *c, struct door_write *w, struct err *err)
{
    char id[40];
    int len = snprintf(id, sizeof id, "door %u.%llu", c->number, (unsigned long long)c->serial++);
    w->id = BYTES(id, (size_t)len);
    enum status st = write_once(c, w, err);
    bool unknown = st == ST_UNKNOWN_OUTCOME;
    for (int i = 0; i < TRIES && st == ST_UNKNOWN_OUTCOME; i++)
        st = write_once(c, w, err);
    if (unknown && st != ST_OK)
        return ST_UNKNOWN_OUTCOME; /* that it was not done now says nothing of before */
    if (st == ST_OK && dice_one_in(&c->dice, 8)) {
        struct door_write again = *w;
        if (write_once(c, &again, err) == ST_OK && again.version != w->version)
            run_fail(c->run, "request %s was done twice: as %llx and as %llx", id,
                     (unsigned long long)w->version, (unsigned long long)again.version);
    }
    return st;
}

enum status door_propose(struct client *c, const struct work_write *w, size_t n,
                         uint64_t *ret_version, size_t *ret_failed, uint64_t *ret_present,
                         struct err *err)
{
    struct door_write d = {.w = w, .n = n, .id = BYTES_EMPTY};
    enum status st = dice_one_in(&c->dice, 4) ? write_with_id(c, &d, err) : write_once(c, &d, err);
    if (st == ST_INVALID_ARGUMENT)
        run_fail(c->run, "a write is refused: %s", err->detail);
    *ret_version = d.version;
    *ret_failed = d.failed;
    *ret_present = d.present;
    return st;
}

/* --- the same moment by other ways, as looks.c has them --- */

void door_look_again(struct client *c, struct version at)
{
    uint64_t shown[STEPS_MAX] = {0};
    bool all = false;
    if (c->door->empty) /* that moment has no name */
        return;
    if (c->serial % 2) {
        for (size_t i = 0; i < c->n; i++)
            if (by_http(c))
                door_http_history(c, &c->steps[i], at);
            else
                door_grpc_history(c, &c->steps[i], at);
        return;
    }
    if (by_http(c))
        door_http_scan(c, at, shown, &all);
    else
        door_grpc_scan(c, at, shown, &all);
    for (size_t i = 0; all && i < c->n; i++)
        if (shown[i] != (c->steps[i].found ? c->steps[i].version : 0))
            run_fail(c->run,
                     "%s: a scan through its door shows %s at %llx, where a get of the same "
                     "moment showed %llx",
                     node_name(c->node), c->memory[i].key, (unsigned long long)shown[i],
                     (unsigned long long)c->steps[i].version);
}
