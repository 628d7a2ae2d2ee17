/* One reactor: its rounds. */
#include "serve/reactor/reactor.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "serve/reactor/reactor_internal.h"

static _Thread_local struct reactor *t_reactor;

struct yielded {
    struct list node;
    struct env_event go;
};

/* --- making --- */

static void set_default(size_t *v, size_t otherwise)
{
    *v = *v ? *v : otherwise;
}

static void set_default_ms(uint64_t *v, uint64_t otherwise)
{
    *v = *v ? *v : otherwise;
}

static void resolve(struct reactor_options *o)
{
    set_default(&o->max_conns, 16384);
    set_default(&o->max_fibers, 4096);
    set_default(&o->fiber_stack_bytes, FIBER_STACK_DEFAULT);
    set_default(&o->request_conn_bytes, (size_t)64 << 20);
    set_default(&o->request_bytes, (size_t)256 << 20);
    set_default(&o->output_bytes, (size_t)256 << 20);
    set_default(&o->kept_bytes, (size_t)64 << 20);
    set_default_ms(&o->idle_timeout_ms, 5 * 60 * 1000);
    set_default_ms(&o->send_timeout_ms, 30 * 1000);
    set_default_ms(&o->setup_timeout_ms, 10 * 1000);
    set_default_ms(&o->linger_ms, 2 * 1000);
    /* More than a request may have (17 MiB), so that who sent a little too much reads why. */
    set_default(&o->linger_bytes, (size_t)24 << 20);
}

static uint64_t clock_of(void *loop)
{
    return loop_clock_ns(loop);
}

/* From a callback on its own thread no system call is needed: the fibers run later in the round. */
static void wake(void *reactor)
{
    struct reactor *r = reactor;
    if (t_reactor == r)
        r->rerun = true;
    else
        loop_wake(r->loop);
}

static void cut_all(void *reactor)
{
    struct reactor *r = reactor;
    list_foreach_safe (it, &r->conns) {
        struct conn *c = container_of(it, struct conn, node);
        if (conn__alive(c)) {
            r->cut++;
            conn_abort(c, ST_CANCELLED);
        }
    }
}

enum status reactor__new(struct env *env, struct reactors *g, unsigned index,
                         const struct reactor_options *o, struct reactor **ret, struct err *err)
{
    struct reactor *r = mem_zalloc(sizeof *r);
    if (!r)
        return err_set(err, ST_NO_MEMORY, "reactor %u: no memory", index);
    r->env = env;
    r->group = g;
    r->index = index;
    r->options = *o;
    resolve(&r->options);
    list_init(&r->conns);
    list_init(&r->attention);
    list_init(&r->output);
    list_init(&r->behind);
    list_init(&r->yielded);
    loop_timer_init(&r->drain_end, cut_all, r);
    struct loop_options lo = {.kind = o->loop,
                              .backend = o->backend,
                              .backend_arg = o->backend_arg,
                              .max_conns = r->options.max_conns,
                              .kept_max_bytes = r->options.kept_bytes,
                              .send_total_bytes = r->options.output_bytes,
                              .look_ns = r->options.look_ns};
    enum status st = loop_new(env, &lo, &r->loop, err);
    if (!st) {
        r->fibers = fiber_sched_new(r->options.max_fibers, r->options.fiber_stack_bytes, err);
        r->clear = mem_alloc(CLEAR_BYTES);
        if (!r->fibers || !r->clear)
            st = err_set(err, ST_NO_MEMORY, "reactor %u: no memory", index);
    }
    if (st) {
        reactor__free(r);
        return st;
    }
    fiber_sched_clock(r->fibers, clock_of, r->loop);
    fiber_sched_on_wake(r->fibers, wake, r);
    *ret = r;
    return ST_OK;
}

void reactor__free(struct reactor *r)
{
    if (!r)
        return;
    for (struct acceptor *a = r->acceptors, *next; a; a = next) {
        next = a->next;
        mem_free(a);
    }
    fiber_sched_free(r->fibers);
    loop_free(r->loop);
    mem_free(r->clear);
    buf_deinit(&r->out);
    mem_free(r);
}

/* --- rounds --- */

static void publish(struct reactor *r)
{
    struct reactor_counters *n = &r->count;
    atomic_store_explicit(&n->conns, loop_conns(r->loop), memory_order_relaxed);
    atomic_store_explicit(&n->fibers, fiber_sched_alive(r->fibers), memory_order_relaxed);
    atomic_store_explicit(&n->request_bytes, r->request_bytes, memory_order_relaxed);
    atomic_store_explicit(&n->output_bytes, loop_queued_bytes(r->loop), memory_order_relaxed);
    atomic_store_explicit(&n->kept_bytes, r->kept_bytes + loop_kept_bytes(r->loop),
                          memory_order_relaxed);
    conn__count(&n->rounds, 1);
}

static void wake_yielded(struct reactor *r)
{
    while (!list_empty(&r->yielded)) {
        struct yielded *y = container_of(r->yielded.next, struct yielded, node);
        list_remove(&y->node);
        env_event_set(&y->go);
    }
}

bool reactor__is_over(const struct reactor *r)
{
    return r->stopping && loop_conns(r->loop) == 0 && fiber_sched_alive(r->fibers) == 0 &&
           loop_listeners(r->loop) == 0;
}

/* rerun: making output woke a fiber (room to write). */
static bool has_more(const struct reactor *r)
{
    return r->rerun || !list_empty(&r->yielded) || !list_empty(&r->attention) ||
           !list_empty(&r->output);
}

static void one_round(struct reactor *r, uint64_t deadline_ns)
{
    loop_poll(r->loop, has_more(r) ? 0 : deadline_ns);
    conn__serve_rest(r);
    conn__attend(r);
    wake_yielded(r);
    fiber_sched_run(r->fibers);
    r->rerun = false;
    conn__make_output(r);
    loop_flush(r->loop);
    publish(r);
}

void reactor__run(void *reactor)
{
    struct reactor *r = reactor;
    t_reactor = r;
    while (!reactor__is_over(r))
        one_round(r, fiber_sched_deadline(r->fibers));
    loop_timer_stop(r->loop, &r->drain_end);
    t_reactor = NULL;
}

uint64_t reactor_round(struct reactor *r)
{
    ASSERT(r->group->by_hand && !t_reactor);
    t_reactor = r;
    one_round(r, 0);
    if (reactor__is_over(r))
        loop_timer_stop(r->loop, &r->drain_end);
    t_reactor = NULL;
    if (has_more(r))
        return 0;
    uint64_t loop = loop_due_ns(r->loop), fibers = fiber_sched_deadline(r->fibers);
    return loop < fibers ? loop : fibers;
}

void reactor_yield(struct reactor *r)
{
    ASSERT(fiber_current());
    struct yielded y;
    env_event_init(&y.go);
    list_push_back(&r->yielded, &y.node);
    (void)env_wait(&y.go, UINT64_MAX);
}

/* --- stopping --- */

void reactor__stop_accepting(struct reactor *r)
{
    for (struct acceptor *a = r->acceptors; a; a = a->next) {
        loop_listener_close(a->li);
        a->li = NULL;
    }
}

void reactor__drain(struct reactor *r, uint64_t drain_ms)
{
    reactor__stop_accepting(r);
    r->stopping = true;
    list_foreach_safe (it, &r->conns)
        conn__drain(container_of(it, struct conn, node));
    uint64_t now = loop_clock_ns(r->loop);
    loop_timer_start(r->loop, &r->drain_end, conn__after_ms(now, drain_ms));
}

/* --- plain facts --- */

struct loop *reactor_loop(struct reactor *r)
{
    return r->loop;
}

struct fiber_sched *reactor_fibers(struct reactor *r)
{
    return r->fibers;
}

unsigned reactor_index(const struct reactor *r)
{
    return r->index;
}

void *reactor_ctx(const struct reactor *r)
{
    return r->ctx;
}

struct reactor *reactor_current(void)
{
    return t_reactor;
}

bool reactor_stopping(const struct reactor *r)
{
    return r->stopping;
}

enum status reactor_spawn(struct reactor *r, void (*fn)(void *arg), void *arg, struct err *err)
{
    r->rerun = true;
    return fiber_spawn(r->fibers, fn, arg, err);
}

enum status reactor_post(struct reactor *r, void (*fn)(void *arg), void *arg)
{
    return loop_post(r->loop, fn, arg);
}

static uint64_t get(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

void reactor_stats_of(const struct reactor *r, struct reactor_stats *ret)
{
    const struct reactor_counters *n = &r->count;
    *ret = (struct reactor_stats){
        .conns = get(&n->conns),
        .fibers = get(&n->fibers),
        .request_bytes = get(&n->request_bytes),
        .output_bytes = get(&n->output_bytes),
        .kept_bytes = get(&n->kept_bytes),
        .accepted = get(&n->accepted),
        .refused_full = get(&n->refused_full),
        .timed_out = get(&n->timed_out),
        .cut_slow = get(&n->cut_slow),
        .rounds = get(&n->rounds),
        .bytes_in = get(&n->bytes_in),
        .bytes_out = get(&n->bytes_out),
    };
}

enum status reactor_connect(struct reactor *r, const struct net_addr *to,
                            const struct conn_proto *proto, void *arg,
                            const struct conn_filter_maker *filter, struct conn **ret,
                            struct err *err)
{
    ASSERT(proto->on_open && proto->on_data && proto->on_closed);
    struct conn *c = conn__new(r, proto, arg, filter, true);
    if (!c)
        return err_set(err, ST_NO_MEMORY, "connection: no memory");
    enum status st = loop_connect(r->loop, to, &conn__loop_ops, c, &r->options.output, &c->lc, err);
    if (st) {
        conn__free(c);
        return st;
    }
    list_push_back(&r->conns, &c->node);
    conn__watch(c, conn__after_ms(c->born_ns, r->options.setup_timeout_ms));
    *ret = c;
    return ST_OK;
}
