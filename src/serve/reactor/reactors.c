/* The group of reactors: starting, listening, handing out, stopping. */
#include "base/alloc.h"
#include "base/assert.h"
#include "serve/reactor/reactor_internal.h"

#include <stdio.h>

/* --- a call on a reactor's thread that waits for its end --- */

struct call {
    void (*fn)(struct reactor *r, void *arg);
    struct reactor *r;
    void *arg;
    struct env_event done;
};

static void run_call(void *arg)
{
    struct call *call = arg;
    call->fn(call->r, call->arg);
    env_event_set(&call->done);
}

static void call_on(struct reactor *r, void (*fn)(struct reactor *r, void *arg), void *arg)
{
    if (r->group->by_hand) {
        fn(r, arg);
        return;
    }
    struct call call = {.fn = fn, .r = r, .arg = arg};
    env_event_init(&call.done);
    while (reactor_post(r, run_call, &call) != ST_OK)
        env_sleep_ms(r->env, 1); /* its queue is full of others' messages */
    (void)env_wait(&call.done, UINT64_MAX);
}

/* --- starting --- */

enum status reactors_start(struct env *env, unsigned n, const struct reactor_options *options,
                           struct reactors **ret, struct err *err)
{
    ASSERT(n > 0);
    struct reactors *g = mem_zalloc(sizeof *g + n * sizeof g->at[0]);
    if (!g)
        return err_set(err, ST_NO_MEMORY, "reactors: no memory");
    g->env = env;
    g->n = n;
    enum status st = ST_OK;
    for (unsigned i = 0; i < n && !st; i++)
        st = reactor__new(env, g, i, options, &g->at[i], err);
    for (unsigned i = 0; i < n && !st; i++) {
        char name[16];
        snprintf(name, sizeof name, "%.10s %u", options->name ? options->name : "reactor",
                 i % 10000);
        st = env_thread_start(&g->at[i]->thread, name, reactor__run, g->at[i], err);
        g->at[i]->started = st == ST_OK;
    }
    if (st) {
        reactors_free(g);
        return st;
    }
    *ret = g;
    return ST_OK;
}

enum status reactors_by_hand(struct env *env, const struct reactor_options *options,
                             struct reactors **ret, struct err *err)
{
    struct reactors *g = mem_zalloc(sizeof *g + sizeof g->at[0]);
    if (!g)
        return err_set(err, ST_NO_MEMORY, "reactors: no memory");
    g->env = env;
    g->n = 1;
    g->by_hand = true;
    enum status st = reactor__new(env, g, 0, options, &g->at[0], err);
    if (st) {
        mem_free(g);
        return st;
    }
    *ret = g;
    return ST_OK;
}

unsigned reactors_count(const struct reactors *g)
{
    return g->n;
}

struct env *reactors_env(const struct reactors *g)
{
    return g->env;
}

struct reactor *reactors_at(struct reactors *g, unsigned i)
{
    ASSERT(i < g->n);
    return g->at[i];
}

static void set_ctx(struct reactor *r, void *ctx)
{
    r->ctx = ctx;
}

void reactors_set_ctx(struct reactors *g, unsigned i, void *ctx)
{
    ASSERT(i < g->n);
    call_on(g->at[i], set_ctx, ctx);
}

/* --- listening --- */

struct handed {
    struct reactor *r;
    const struct acceptor *from;
    int sock;
};

static void take_handed(void *arg)
{
    struct handed h = *(struct handed *)arg;
    mem_free(arg);
    atomic_fetch_sub_explicit(&h.r->handed_out, 1, memory_order_relaxed);
    conn__accept(h.r, h.from, h.sock);
}

static uint64_t load_of(struct reactor *r)
{
    return atomic_load_explicit(&r->count.conns, memory_order_relaxed) +
           atomic_load_explicit(&r->handed_out, memory_order_relaxed);
}

static struct reactor *least_loaded(struct reactors *g)
{
    struct reactor *best = g->at[0];
    uint64_t least = loop_conns(best->loop);
    for (unsigned i = 1; i < g->n; i++) {
        uint64_t load = load_of(g->at[i]);
        if (load < least) {
            least = load;
            best = g->at[i];
        }
    }
    return best;
}

static void on_accept(void *arg, int sock, const struct net_addr *peer)
{
    (void)peer;
    const struct acceptor *a = arg;
    struct reactor *to = a->spread == REACTORS_HAND_OUT ? least_loaded(a->group) : a->r;
    struct handed *h = to != a->r ? mem_alloc(sizeof *h) : NULL;
    if (h) {
        *h = (struct handed){to, a, sock};
        atomic_fetch_add_explicit(&to->handed_out, 1, memory_order_relaxed);
        if (reactor_post(to, take_handed, h) == ST_OK)
            return;
        atomic_fetch_sub_explicit(&to->handed_out, 1, memory_order_relaxed);
        mem_free(h);
    }
    conn__accept(a->r, a, sock); /* also when the other has no ear now */
}

struct listen {
    struct acceptor *a; /* NULL when it was taken over */
    struct loop_listen_options options;
    struct err err;
    enum status st;
    struct net_addr addr;
};

static void listen_here(struct reactor *r, void *arg)
{
    struct listen *l = arg;
    if (r->stopping) {
        l->st = err_set(&l->err, ST_CLOSED, "listen: the reactor stops");
        return;
    }
    l->a->r = r;
    l->st = loop_listen(r->loop, &l->options, &l->a->li, &l->err);
    if (l->st)
        return;
    loop_listener_addr(l->a->li, &l->addr);
    l->a->next = r->acceptors;
    r->acceptors = l->a;
    l->a = NULL;
}

/* Ends the newest listener: the one of the group call that failed further on. */
static void unlisten_here(struct reactor *r, void *unused)
{
    (void)unused;
    struct acceptor *a = r->acceptors;
    loop_listener_close(a->li);
    a->li = NULL; /* its memory stays with the reactor: connections may have come from it */
}

enum status reactors_listen(struct reactors *g, const struct net_addr *addr,
                            enum reactors_spread spread, const struct conn_proto *proto, void *arg,
                            const struct conn_filter_maker *filter, struct net_addr *ret_addr,
                            struct err *err)
{
    ASSERT(proto->on_open && proto->on_data && proto->on_closed);
    unsigned n = spread == REACTORS_HAND_OUT ? 1 : g->n;
    struct net_addr real = *addr;
    for (unsigned i = 0; i < n; i++) {
        struct listen l = {.a = mem_zalloc(sizeof *l.a), .st = ST_NO_MEMORY};
        err_init(&l.err);
        err_set(&l.err, ST_NO_MEMORY, "listen: no memory");
        if (l.a) {
            *l.a = (struct acceptor){
                .group = g, .spread = spread, .proto = proto, .arg = arg, .filter = filter};
            /* The first finds a port; the others join it there. */
            l.options = (struct loop_listen_options){
                .addr = real, .reuseport = n > 1, .on_accept = on_accept, .arg = l.a};
            call_on(g->at[i], listen_here, &l);
        }
        if (l.st) {
            mem_free(l.a);
            while (i-- > 0)
                call_on(g->at[i], unlisten_here, NULL);
            return err_set(err, l.st, "%s", l.err.detail);
        }
        real = l.addr;
    }
    if (ret_addr)
        *ret_addr = real;
    return ST_OK;
}

/* --- stopping --- */

static void stop_accepting(struct reactor *r, void *unused)
{
    (void)unused;
    reactor__stop_accepting(r);
}

static void drain(struct reactor *r, void *drain_ms)
{
    reactor__drain(r, *(uint64_t *)drain_ms);
}

void reactors_stop_begin(struct reactors *g, uint64_t drain_ms)
{
    ASSERT(g->by_hand);
    g->stopped = true;
    reactor__drain(g->at[0], drain_ms);
}

bool reactors_is_over(const struct reactors *g)
{
    return g->stopped && reactor__is_over(g->at[0]);
}

size_t reactors_stop(struct reactors *g, uint64_t drain_ms)
{
    if (g->stopped)
        return 0;
    ASSERT(!g->by_hand); /* its rounds are the owner's: reactors_stop_begin */
    g->stopped = true;
    /* First nobody hands out any more; what was handed out stands in the queues before `drain`. */
    for (unsigned i = 0; i < g->n; i++)
        if (g->at[i] && g->at[i]->started)
            call_on(g->at[i], stop_accepting, NULL);
    for (unsigned i = 0; i < g->n; i++)
        if (g->at[i] && g->at[i]->started)
            call_on(g->at[i], drain, &drain_ms);
    size_t cut = 0;
    for (unsigned i = 0; i < g->n; i++) {
        if (!g->at[i] || !g->at[i]->started)
            continue;
        env_thread_join(&g->at[i]->thread);
        cut += g->at[i]->cut;
    }
    return cut;
}

void reactors_free(struct reactors *g)
{
    if (!g)
        return;
    if (g->by_hand)
        ASSERT(reactors_is_over(g));
    else
        (void)reactors_stop(g, 0);
    for (unsigned i = 0; i < g->n; i++)
        reactor__free(g->at[i]);
    mem_free(g);
}
