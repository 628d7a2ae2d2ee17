/* port.c - the port itself, and how a connection finds its protocol. */
#include "serve/port/port_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

enum { NS_PER_MS = 1000000 };

/* --- shared by both protocols --- */

void port__count(_Atomic uint64_t *n, int64_t delta)
{
    /* One thread writes, others read. */
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + (uint64_t)delta,
                          memory_order_relaxed);
}

uint64_t port__now_ms(const struct port_conn *pc)
{
    return loop_now_ns(reactor_loop(pc->pr->reactor)) / NS_PER_MS;
}

void port__greeted(struct port_conn *pc)
{
    if (pc->pr->port->o.idle_timeout_ms != UINT32_MAX)
        conn_settled(pc->c);
}

void port__arm(struct port_conn *pc, uint64_t at_ms)
{
    if (at_ms >= pc->tick_ms || pc->closed)
        return;
    pc->tick_ms = at_ms;
    conn_set_tick(pc->c, at_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : at_ms * NS_PER_MS);
}

void port__budget_before(struct port_conn *pc)
{
    const struct port_options *o = &pc->pr->port->o;
    size_t others = pc->pr->body_used - pc->budget_seen;
    size_t room = others < o->reactor_body_bytes ? o->reactor_body_bytes - others : 0;
    size_t limit = room < o->conn_body_bytes ? room : o->conn_body_bytes;
    pc->budget.limit = limit > pc->budget.used ? limit : pc->budget.used;
}

void port__budget_after(struct port_conn *pc)
{
    pc->pr->body_used += pc->budget.used - pc->budget_seen;
    pc->budget_seen = pc->budget.used;
}

enum status port__send(struct port_conn *pc, struct bytes out)
{
    enum status st = conn_send(pc->c, out);
    if (st == ST_OVERLOADED) /* the bound of all connections; others will have sent by then */
        port__arm(pc, port__now_ms(pc) + PORT_STALL_MS);
    else if (st != ST_OK && st != ST_CLOSED)
        conn_abort(pc->c, st);
    return st;
}

void port__conn_release(struct port_conn *pc)
{
    if (!pc->over || !list_empty(&pc->slots) || pc->h2)
        return;
    h1_conn_free(pc->h1);
    port__budget_after(pc);
    ASSERT(pc->budget.used == 0);
    conn_unref(pc->c);
    mem_free(pc);
}

/* --- which protocol --- */

static enum status begin(struct port_conn *pc, enum port_kind kind)
{
    struct port_counters *n = &pc->pr->count;
    enum status st = kind == PORT_H2 ? h2__begin(pc) : h1__begin(pc);
    if (st)
        return st;
    pc->kind = kind;
    port__count(kind == PORT_H2 ? &n->http2_conns : &n->http1_conns, 1);
    conn_set_proto(pc->c, kind == PORT_H2 ? &port__h2_proto : &port__h1_proto, pc);
    return ST_OK;
}

static enum status on_open(struct conn *c, void *arg)
{
    struct port *p = arg;
    struct port_conn *pc = mem_zalloc(sizeof *pc);
    if (!pc)
        return ST_NO_MEMORY;
    pc->c = c;
    pc->pr = &p->at[reactor_index(conn_reactor(c))];
    pc->tick_ms = UINT64_MAX;
    list_init(&pc->slots);
    conn_peer(c, &pc->peer);
    conn_ref(c);
    conn_set_state(c, pc);
    const char *alpn = conn_alpn(c);
    enum status st = ST_OK;
    if (strcmp(alpn, "h2") == 0)
        st = begin(pc, PORT_H2);
    else if (strcmp(alpn, "http/1.1") == 0)
        st = begin(pc, PORT_H1);
    if (st) {
        conn_unref(c);
        mem_free(pc);
    }
    return st;
}

/* Keeps what could yet be HTTP/2's preface; the first bytes go to the protocol that is found. */
static size_t on_first(struct conn *c, struct bytes data)
{
    struct port_conn *pc = conn_state(c);
    uint8_t first[WIRE_PREFACE];
    size_t kept = pc->first_len, more = WIRE_PREFACE - kept;
    if (more > data.len)
        more = data.len;
    memcpy(first, pc->first, kept);
    memcpy(first + kept, data.data, more);
    enum wire_protocol is = wire_detect(BYTES(first, kept + more));
    if (is == WIRE_UNDECIDED) {
        memcpy(pc->first, first, kept + more);
        pc->first_len = (uint8_t)(kept + more);
        return more;
    }
    enum status st = begin(pc, is == WIRE_HTTP2 ? PORT_H2 : PORT_H1);
    if (st) {
        conn_abort(c, st);
        return data.len;
    }
    if (kept) {
        /* Never more than a part of a head: it is all taken. */
        size_t taken = conn_proto_of(c)->on_data(c, BYTES(pc->first, kept));
        ASSERT(taken == kept || !conn_is_open(c) || pc->h1_refused);
    }
    return 0; /* what came now goes to the new protocol */
}

static void on_first_closed(struct conn *c, enum status why)
{
    (void)why;
    struct port_conn *pc = conn_state(c);
    pc->closed = pc->over = true;
    port__conn_release(pc);
}

static const struct conn_proto first_proto = {
    .name = "port", .on_open = on_open, .on_data = on_first, .on_closed = on_first_closed};

/* --- the port --- */

static void or32(uint32_t *v, uint32_t otherwise)
{
    *v = *v ? *v : otherwise;
}

static void or64(uint64_t *v, uint64_t otherwise)
{
    *v = *v ? *v : otherwise;
}

static void or_size(size_t *v, size_t otherwise)
{
    *v = *v ? *v : otherwise;
}

static void resolve(struct port *p)
{
    struct port_options *o = &p->o;
    or32(&o->streams, 256);
    or32(&o->send_queue_bytes, 64 * 1024);
    or32(&o->stream_window, 256 * 1024);
    or32(&o->conn_window, 1024 * 1024);
    or32(&o->header_bytes, 32 * 1024);
    or32(&o->header_count, 128);
    or64(&o->body_bytes, 64 << 20);
    or_size(&o->message_bytes, GRPC_MESSAGE_MAX);
    or_size(&o->conn_body_bytes, 64 << 20);
    or_size(&o->reactor_body_bytes, 256 << 20);
    or_size(&o->conn_request_bytes, 64 << 20);
    or64(&o->http_timeout_ms, 60 * 1000);
    or32(&o->head_timeout_ms, 10 * 1000);
    or32(&o->body_timeout_ms, 30 * 1000);
    or32(&o->keepalive_ms, 60 * 1000);
    or32(&o->idle_timeout_ms, 4 * 60 * 1000);
    p->h2 = (struct h2_options){
        .max_streams = o->streams,
        .stream_window = o->stream_window,
        .conn_window = o->conn_window,
        .send_queue_bytes = o->send_queue_bytes,
        .header_list_bytes = o->header_bytes,
        .header_count = o->header_count,
        .headers_timeout_ms = o->head_timeout_ms,
        .keepalive_ms = o->keepalive_ms == UINT32_MAX ? 0 : o->keepalive_ms,
        .idle_timeout_ms = o->idle_timeout_ms == UINT32_MAX ? 0 : o->idle_timeout_ms,
    };
    p->h1 = (struct h1_options){
        .request_line = o->header_bytes, /* over HTTP/2 a path has no limit of its own either */
        .header_bytes = o->header_bytes,
        .header_count = o->header_count,
        .body_bytes = o->body_bytes,
        .headers_timeout_ms = o->head_timeout_ms,
        .idle_timeout_ms = o->idle_timeout_ms,
        .body_timeout_ms = o->body_timeout_ms,
    };
}

enum status port_new(struct reactors *reactors, const struct port_options *options,
                     const struct port_handlers *handlers, struct port **ret, struct err *err)
{
    unsigned n = reactors_count(reactors);
    bool no_memory = false;
    struct port *p = mem_zalloc(sizeof *p + n * sizeof p->at[0]);
    if (!p)
        return err_set(err, ST_NO_MEMORY, "port: no memory");
    p->reactors = reactors;
    p->handlers = *handlers;
    p->env = reactors_env(reactors);
    p->n = n;
    if (options)
        p->o = *options;
    resolve(p);
    for (unsigned i = 0; i < n; i++) {
        struct port_reactor *pr = &p->at[i];
        pr->port = p;
        pr->reactor = reactors_at(reactors, i);
        list_init(&pr->spare);
        env_random(p->env, &pr->id_base, sizeof pr->id_base);
        pr->date_s = UINT64_MAX;
        pr->h2_pool = h2_pool_new();
        no_memory = no_memory || !pr->h2_pool;
    }
    if (no_memory) {
        port_free(p);
        return err_set(err, ST_NO_MEMORY, "port: no memory");
    }
    enum status st = p->o.metrics ? port__metrics(p, p->o.metrics) : ST_OK;
    if (st) {
        port_free(p);
        return err_set(err, st, "port: metrics cannot be registered");
    }
    *ret = p;
    return ST_OK;
}

enum status port_listen(struct port *p, const struct net_addr *addr, enum reactors_spread spread,
                        const struct conn_filter_maker *filter, struct net_addr *ret_addr,
                        struct err *err)
{
    return reactors_listen(p->reactors, addr, spread, &first_proto, p, filter, ret_addr, err);
}

void port_free(struct port *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->n; i++) {
        struct port_reactor *pr = &p->at[i];
        while (!list_empty(&pr->spare)) {
            struct slot *s = container_of(pr->spare.next, struct slot, node);
            list_remove(&s->node);
            arena_deinit(&s->arena);
            buf_deinit(&s->body);
            buf_deinit(&s->lent);
            mem_free(s);
        }
        h2_pool_free(pr->h2_pool);
    }
    mem_free(p);
}

static uint64_t get(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

void port_stats_of(const struct port *p, struct port_stats *ret)
{
    struct port_stats sum = {0};
    for (unsigned i = 0; i < p->n; i++) {
        const struct port_counters *n = &p->at[i].count;
        sum.http1_conns += get(&n->http1_conns);
        sum.http2_conns += get(&n->http2_conns);
        sum.requests_active += get(&n->active);
        sum.http_requests += get(&n->http);
        sum.grpc_requests += get(&n->grpc);
        sum.refused += get(&n->refused);
    }
    *ret = sum;
}
