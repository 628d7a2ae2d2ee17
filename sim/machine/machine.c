#include "sim/machine/machine.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/core/memory.h"

enum { MACHINES_MAX = 64 };

struct sim_world {
    struct sim_world_options o;
    struct sim_queue *queue;
    struct sim_net *net;
    struct sim_machine *at[MACHINES_MAX];
    size_t n;
    struct sim_machine *turn; /* whose round it is */
};

struct sim_machine {
    struct sim_world *world;
    unsigned id;
    struct env *env;
    struct sim_host *host;
    struct sim_heap heap;
    struct sim_event round;
    uint64_t round_at_ns; /* UINT64_MAX: none is planned */
    uint64_t life;
    void *user;

    struct reactors *reactors; /* NULL: no process */
    uint64_t busy_until_ns, paused_until_ns;
    /* Its clock showed clock_ns at the world's world_ns, and gains drift_ppm. */
    uint64_t world_ns, clock_ns;
    int32_t drift_ppm;
};

/* --- the world --- */

static struct sim_machine *machine_of(struct sim_world *w, const struct sim_host *h)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->at[i]->host == h)
            return w->at[i];
    ASSERT(!"a host without a machine");
    return NULL;
}

static void on_message(void *arg, struct sim_host *to, unsigned from, struct bytes bytes)
{
    struct sim_world *w = arg;
    struct sim_machine *m = machine_of(w, to);
    if (m->reactors && w->o.on_message)
        w->o.on_message(w->o.arg, m, from, bytes);
}

static uint64_t now_of(void *world)
{
    return sim_world_now(world);
}

struct sim_world *sim_world_new(const struct sim_world_options *o)
{
    struct sim_world *w = sim_zalloc(sizeof *w);
    w->o = *o;
    w->queue = sim_queue_new();
    w->net = sim_net_new(&(struct sim_net_options){
        .seed = o->seed, .queue = w->queue, .now_ns = now_of, .on_message = on_message, .arg = w});
    return w;
}

void sim_world_free(struct sim_world *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->n; i++) {
        struct sim_machine *m = w->at[i];
        if (m->reactors)
            sim_machine_kill(m, SIM_CRASH_PROCESS_ONLY, 0);
        sim_env_free(m->env);
        sim_free(m);
    }
    sim_net_free(w->net);
    sim_queue_free(w->queue);
    sim_free(w);
}

struct sim_queue *sim_world_queue(struct sim_world *w)
{
    return w->queue;
}

struct sim_net *sim_world_net(struct sim_world *w)
{
    return w->net;
}

void sim_world_run(struct sim_world *w, uint64_t until_ns)
{
    while (sim_queue_step(w->queue, until_ns))
        ;
}

/* --- clocks --- */

static uint64_t clock_at(const struct sim_machine *m, uint64_t world_ns)
{
    uint64_t passed = world_ns - m->world_ns;
    int64_t gained = (int64_t)(passed / 1000000) * m->drift_ppm +
                     (int64_t)(passed % 1000000) * m->drift_ppm / 1000000;
    return m->clock_ns + passed + (uint64_t)gained;
}

/* The world's time at which the clock shows that. */
static uint64_t world_at(const struct sim_machine *m, uint64_t clock_ns)
{
    if (clock_ns == UINT64_MAX)
        return UINT64_MAX;
    if (clock_ns <= m->clock_ns)
        return m->world_ns;
    uint64_t shown = clock_ns - m->clock_ns;
    int64_t scale = 1000000 + m->drift_ppm;
    /* In two parts, or it would overflow after hours; a nanosecond more, never less. */
    uint64_t whole = shown / (uint64_t)scale, rest = shown % (uint64_t)scale;
    return m->world_ns + whole * 1000000 + rest * 1000000 / (uint64_t)scale + 1;
}

static void clock_anchor(struct sim_machine *m, uint64_t world_ns)
{
    uint64_t shown = clock_at(m, world_ns);
    m->clock_ns = shown;
    m->world_ns = world_ns;
}

uint64_t sim_world_now(const struct sim_world *w)
{
    if (!w->turn)
        return sim_queue_now(w->queue);
    return world_at(w->turn, env_mono_ns(w->turn->env));
}

void sim_machine_drift(struct sim_machine *m, int32_t ppm)
{
    clock_anchor(m, sim_queue_now(m->world->queue));
    m->drift_ppm = ppm;
}

/* --- rounds --- */

static void plan(struct sim_machine *m, uint64_t at_ns)
{
    uint64_t at = at_ns;
    at = at > m->busy_until_ns ? at : m->busy_until_ns;
    at = at > m->paused_until_ns ? at : m->paused_until_ns;
    if (!m->reactors || at == UINT64_MAX || (m->round.place && m->round_at_ns <= at))
        return;
    m->round_at_ns = at;
    sim_queue_add(m->world->queue, &m->round, at);
}

static void run_round(void *machine)
{
    struct sim_machine *m = machine;
    struct sim_world *w = m->world;
    uint64_t now = sim_queue_now(w->queue);
    if (now < m->paused_until_ns || now < m->busy_until_ns) {
        plan(m, now);
        return;
    }
    clock_anchor(m, now);
    sim_advance_to_ns(m->env, m->clock_ns);
    ASSERT(!w->turn);
    w->turn = m;
    struct sim_heap *before = sim_heap_enter(&m->heap);
    uint64_t due = reactor_round(reactors_at(m->reactors, 0));
    sim_heap_enter(before);
    uint64_t end = sim_world_now(w);
    w->turn = NULL;
    m->busy_until_ns = end;
    plan(m, due == 0 ? end : world_at(m, due));
}

static void on_ready(void *machine)
{
    struct sim_machine *m = machine;
    sim_machine_poke(m);
}

void sim_machine_poke(struct sim_machine *m)
{
    plan(m, sim_world_now(m->world));
}

/* --- a machine --- */

struct sim_machine *sim_machine_new(struct sim_world *w, unsigned id,
                                    const struct sim_options *disk)
{
    ASSERT(w->n < MACHINES_MAX);
    struct sim_machine *m = sim_zalloc(sizeof *m);
    struct sim_options o = *disk;
    o.seed = dice_fork(w->o.seed, 1000 + id).state;
    m->world = w;
    m->id = id;
    m->env = sim_env_new(&o);
    m->host = sim_host_new(w->net, id, on_ready, m);
    m->round = (struct sim_event){.fn = run_round, .arg = m};
    m->world_ns = sim_queue_now(w->queue);
    sim_heap_init(&m->heap);
    w->at[w->n++] = m;
    return m;
}

unsigned sim_machine_id(const struct sim_machine *m)
{
    return m->id;
}

struct env *sim_machine_env(struct sim_machine *m)
{
    return m->env;
}

struct sim_host *sim_machine_host(struct sim_machine *m)
{
    return m->host;
}

void *sim_machine_user(const struct sim_machine *m)
{
    return m->user;
}

bool sim_machine_runs(const struct sim_machine *m)
{
    return m->reactors;
}

struct reactor *sim_machine_reactor(struct sim_machine *m)
{
    return m->reactors ? reactors_at(m->reactors, 0) : NULL;
}

struct reactors *sim_machine_reactors(struct sim_machine *m)
{
    return m->reactors;
}

uint64_t sim_machine_life(const struct sim_machine *m)
{
    return m->life;
}

size_t sim_machine_memory(const struct sim_machine *m)
{
    return m->heap.bytes;
}

bool sim_machine_spawn(struct sim_machine *m, void (*fn)(void *arg), void *arg)
{
    ASSERT(m->reactors);
    struct sim_heap *before = sim_heap_enter(&m->heap);
    enum status st = reactor_spawn(reactors_at(m->reactors, 0), fn, arg, NULL);
    sim_heap_enter(before);
    sim_machine_poke(m);
    return st == ST_OK;
}

void sim_machine_start(struct sim_machine *m, const struct reactor_options *o,
                       void (*main_fn)(void *user), void *user)
{
    ASSERT(!m->reactors && m->world->turn != m);
    struct reactor_options with = *o;
    with.loop = LOOP_GIVEN;
    with.backend = sim_net_backend();
    with.backend_arg = m->host;
    sim_host_power(m->host, true);
    m->life++;
    m->user = user;
    m->busy_until_ns = m->paused_until_ns = 0;
    clock_anchor(m, sim_queue_now(m->world->queue));
    sim_advance_to_ns(m->env, m->clock_ns);
    struct sim_heap *before = sim_heap_enter(&m->heap);
    enum status st = reactors_by_hand(m->env, &with, &m->reactors, NULL);
    sim_heap_enter(before);
    ASSERT(st == ST_OK);
    bool begun = sim_machine_spawn(m, main_fn, user);
    ASSERT(begun);
}

void sim_machine_kill(struct sim_machine *m, enum sim_crash how, uint32_t torn_bytes)
{
    ASSERT(m->reactors && m->world->turn != m);
    sim_queue_drop(m->world->queue, &m->round);
    fiber_sched_abandon(reactor_fibers(reactors_at(m->reactors, 0)));
    sim_host_kill(m->host, how == SIM_CRASH_POWER ? SIM_HOST_POWER : SIM_HOST_PROCESS);
    if (how == SIM_CRASH_POWER)
        sim_host_power(m->host, false);
    sim_crash(m->env, how, torn_bytes);
    sim_forget_handles(m->env);
    m->reactors = NULL;
    m->user = NULL;
    sim_heap_drop(&m->heap);
}

void sim_machine_pause(struct sim_machine *m, uint64_t until_ns)
{
    m->paused_until_ns = until_ns;
}
