/* slot.c - a request's life: from the pool, onto a fiber, waiting, its early end, back. */
#include "serve/port/port_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

enum { ARENA_CHUNK = 4096, NS_PER_MS = 1000000 };

static struct slot *take(struct port_reactor *pr)
{
    struct slot *s;
    if (!list_empty(&pr->spare)) {
        s = container_of(pr->spare.next, struct slot, node);
        list_remove(&s->node);
        pr->n_spare--;
    } else {
        s = mem_alloc(sizeof *s);
        if (!s)
            return NULL;
        arena_init(&s->arena, ARENA_CHUNK);
        buf_init(&s->body, 0);
        buf_init(&s->lent, 0);
    }
    memset(s, 0, offsetof(struct slot, stop));
    return s;
}

struct slot *slot__new(struct port_conn *pc, enum request_door door)
{
    struct port_reactor *pr = pc->pr;
    struct slot *s = take(pr);
    if (!s)
        return NULL;
    atomic_store_explicit(&s->stop, false, memory_order_relaxed);
    s->id[0] = '\0';
    s->pc = pc;
    s->state = SLOT_WAITING;
    s->gather = true;
    s->body_length = UINT64_MAX;
    s->gather_max = SIZE_MAX;
    s->grpc_code = -1;
    s->seen_ms = port__now_ms(pc);
    s->as.q.arena = &s->arena;
    s->as.q.door = door;
    s->as.q.secure = conn_is_secure(pc->c);
    s->as.q.deadline_ns = UINT64_MAX;
    list_push_back(&pc->slots, &s->node);
    pc->waiting++;
    port__count(&pr->count.active, 1);
    return s;
}

static void uncharge(struct slot *s, size_t *from, size_t n)
{
    ASSERT(n <= *from && n <= s->pc->charged);
    if (n == 0)
        return;
    *from -= n;
    s->pc->charged -= n;
    conn_uncharge(s->pc->c, n);
}

static enum status charge(struct slot *s, size_t *to, size_t n, struct err *err)
{
    struct port_conn *pc = s->pc;
    size_t most = pc->pr->port->o.conn_request_bytes;
    if (n > most - pc->charged)
        return err_set(err, ST_OVERLOADED,
                       "this connection's requests hold %zu bytes of at most %zu "
                       "(conn_request_bytes)",
                       pc->charged, most);
    enum status st = conn_charge(pc->c, n, err);
    if (st)
        return st;
    pc->charged += n;
    *to += n;
    return ST_OK;
}

static void empty(struct buf *b)
{
    if (b->cap > PORT_BODY_KEEP)
        buf_deinit(b);
    else
        buf_clear(b);
}

static void to_pool(struct port_reactor *pr, struct slot *s)
{
    if (pr->n_spare < PORT_SPARE) {
        arena_reset(&s->arena);
        empty(&s->body);
        empty(&s->lent);
        list_push_front(&pr->spare, &s->node);
        pr->n_spare++;
        return;
    }
    arena_deinit(&s->arena);
    buf_deinit(&s->body);
    buf_deinit(&s->lent);
    mem_free(s);
}

void slot__free(struct slot *s)
{
    struct port_conn *pc = s->pc;
    ASSERT(!s->waiter);
    if (s->state == SLOT_WAITING)
        pc->waiting--;
    if (s->as.q.door == REQUEST_GRPC)
        grpc_deinit(&s->call);
    else
        h2_release(s->stream);
    wire_budget_give(&pc->budget, s->budgeted);
    port__budget_after(pc);
    uncharge(s, &s->charged, s->charged);
    uncharge(s, &s->answer_charged, s->answer_charged);
    if (s->busy)
        conn_busy(pc->c, -1);
    if (pc->turn == s)
        pc->turn = NULL;
    list_remove(&s->node);
    port__count(&pc->pr->count.active, -1);
    conn_want_output(pc->c);
    to_pool(pc->pr, s);
    port__conn_release(pc);
}

/* --- the fiber --- */

static void run(void *arg)
{
    struct slot *s = arg;
    const struct port_handlers *h = &s->pc->pr->port->handlers;
    if (s->as.q.door == REQUEST_GRPC) {
        h->grpc(&s->as.r, h->arg);
        rpc__finish(s);
    } else {
        h->http(&s->as.x, h->arg);
        exchange__finish(s);
    }
}

void slot__refuse(struct slot *s, const struct err *err)
{
    port__count(&s->pc->pr->count.refused, 1);
    if (s->pc->pr->port->refused)
        counter_add(s->pc->pr->port->refused, 1);
    if (s->as.q.door == REQUEST_GRPC) {
        if (rpc_finish_status(&s->as.r, err->status, err) != ST_OK)
            s->grpc_code = status_grpc(err->status); /* the release resets the stream */
        rpc__finish(s);
    } else {
        exchange__refuse(s, 503, err->status, err->detail);
    }
}

void slot__start(struct slot *s)
{
    struct err err;
    err_init(&err);
    if (reactor_spawn(s->pc->pr->reactor, run, s, &err) != ST_OK)
        slot__refuse(s, &err);
}

void slot__dispatch(struct slot *s)
{
    struct port_conn *pc = s->pc;
    struct err err;
    ASSERT(s->state == SLOT_WAITING);
    s->state = SLOT_RUNNING;
    pc->waiting--;
    uint64_t now = loop_now_ns(reactor_loop(pc->pr->reactor));
    s->as.q.start_ns = now;
    uint64_t ms = pc->pr->port->o.http_timeout_ms;
    if (s->as.q.door != REQUEST_GRPC && ms < (UINT64_MAX - now) / NS_PER_MS)
        s->as.q.deadline_ns = now + ms * NS_PER_MS;
    conn_settled(pc->c);
    conn_busy(pc->c, 1);
    s->busy = true;
    enum status st = ST_OK;
    err_init(&err);
    if (s->bytes_in >= PORT_CHARGE_MIN)
        st = charge(s, &s->charged, (size_t)s->bytes_in, &err);
    if (s->as.q.door != REQUEST_GRPC && !pc->pr->port->handlers.http)
        exchange__refuse(s, 404, ST_NOT_FOUND, "there is only gRPC at this port");
    else if (st)
        slot__refuse(s, &err);
    else if (!join__add(s))
        slot__start(s);
}

/* --- waiting and ending early --- */

void slot__wake(struct slot *s)
{
    if (s->waiter)
        env_event_set(s->waiter);
    s->waiter = NULL;
}

enum status slot__gone_status(struct slot *s, struct err *err)
{
    (void)s;
    return err_set(err, ST_CANCELLED, "the client has gone or has cancelled");
}

static void park(struct slot *s, uint64_t ns)
{
    struct env_event event;
    ASSERT(fiber_current() && !s->waiter);
    env_event_init(&event);
    s->waiter = &event;
    (void)env_wait(&event, ns);
    s->waiter = NULL;
}

enum status slot__wait(struct slot *s, struct err *err)
{
    if (s->gone)
        return slot__gone_status(s, err);
    uint64_t left = request_left_ns(&s->as.q);
    if (left == 0)
        return err_set(err, ST_TIMED_OUT, "the request's deadline has passed");
    conn_want_output(s->pc->c); /* room for the peer, or what was written */
    park(s, left);
    return s->gone ? slot__gone_status(s, err) : ST_OK;
}

void slot__stop(struct slot *s)
{
    slot__wake(s);
    if (atomic_exchange_explicit(&s->stop, true, memory_order_acq_rel))
        return;
    if (s->on_stop)
        s->on_stop(s->on_stop_arg);
}

void slot__gone(struct slot *s)
{
    s->gone = true;
    if (s->state == SLOT_RUNNING)
        slot__stop(s);
    else
        slot__free(s);
}

enum status slot__charge_answer(struct slot *s, size_t bytes)
{
    return bytes < PORT_BIG ? ST_OK : charge(s, &s->answer_charged, bytes, NULL);
}

void slot__answer_gone(struct slot *s)
{
    uncharge(s, &s->answer_charged, s->answer_charged);
}

/* --- request.h --- */

enum status request_stop(const struct request *q)
{
    const struct slot *s = slot_of(q);
    if (s->gone)
        return ST_CANCELLED;
    if (request_left_ns(q) == 0)
        return ST_TIMED_OUT;
    return s->pc->draining ? ST_CLOSED : ST_OK;
}

const _Atomic bool *request_stop_flag(const struct request *q)
{
    return &slot_of(q)->stop;
}

void request_on_stop(struct request *q, void (*fn)(void *arg), void *arg)
{
    struct slot *s = slot_of(q);
    s->on_stop = fn;
    s->on_stop_arg = arg;
    if (fn && atomic_load_explicit(&s->stop, memory_order_relaxed))
        fn(arg);
}

uint64_t request_left_ns(const struct request *q)
{
    if (q->deadline_ns == UINT64_MAX)
        return UINT64_MAX;
    uint64_t now = loop_clock_ns(reactor_loop(slot_of(q)->pc->pr->reactor));
    return now < q->deadline_ns ? q->deadline_ns - now : 0;
}

enum status request_sleep(struct request *q, uint64_t ns)
{
    struct slot *s = slot_of(q);
    struct loop *l = reactor_loop(s->pc->pr->reactor);
    uint64_t now = loop_clock_ns(l), until = ns > UINT64_MAX - now ? UINT64_MAX : now + ns;
    conn_want_output(s->pc->c);
    for (;;) {
        enum status st = s->half_closed ? ST_CANCELLED : request_stop(q);
        if (st || now >= until)
            return st;
        uint64_t left = request_left_ns(q), rest = until == UINT64_MAX ? until : until - now;
        park(s, left < rest ? left : rest);
        now = loop_clock_ns(l);
    }
}

enum status request_charge(struct request *q, size_t bytes, struct err *err)
{
    return charge(slot_of(q), &slot_of(q)->charged, bytes, err);
}

void request_uncharge(struct request *q, size_t bytes)
{
    uncharge(slot_of(q), &slot_of(q)->charged, bytes);
}
