/* What protocols and fibers do with a connection. */
#include "serve/reactor/conn.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "serve/reactor/reactor_internal.h"

enum { NS_PER_MS = 1000000 };

void conn__count(_Atomic uint64_t *counter, uint64_t n)
{
    /* One thread writes, others read: no locked instruction is needed. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

uint64_t conn__after_ms(uint64_t from_ns, uint64_t ms)
{
    return ms > (UINT64_MAX - from_ns) / NS_PER_MS ? UINT64_MAX : from_ns + ms * NS_PER_MS;
}

/* --- plain facts --- */

void *conn_state(const struct conn *c)
{
    return c->state;
}

void conn_set_state(struct conn *c, void *state)
{
    c->state = state;
}

const struct conn_proto *conn_proto_of(const struct conn *c)
{
    return c->proto;
}

void conn_set_proto(struct conn *c, const struct conn_proto *proto, void *state)
{
    ASSERT(proto->on_data && proto->on_closed);
    c->proto = proto;
    c->state = state;
}

struct reactor *conn_reactor(const struct conn *c)
{
    return c->r;
}

uint64_t conn_id(const struct conn *c)
{
    return c->id;
}

void conn_ref(struct conn *c)
{
    ASSERT(c->refs > 0);
    c->refs++;
}

void conn_unref(struct conn *c)
{
    if (!c)
        return;
    ASSERT(c->refs > 0);
    if (--c->refs == 0)
        conn__free(c);
}

bool conn__alive(const struct conn *c)
{
    return c->lc && !c->aborted;
}

bool conn_is_open(const struct conn *c)
{
    return conn__alive(c) && !c->finishing;
}

void conn_peer(const struct conn *c, struct net_addr *ret)
{
    if (c->lc)
        loop_conn_peer(c->lc, ret);
    else
        *ret = (struct net_addr){0};
}

bool conn_is_secure(const struct conn *c)
{
    return c->maker != NULL;
}

void *conn_filter(const struct conn *c, const struct conn_filter_ops *ops)
{
    return c->maker && c->maker->ops == ops ? c->filter : NULL;
}

const char *conn_alpn(const struct conn *c)
{
    return c->filter ? c->maker->ops->alpn(c->filter) : "";
}

const char *conn_failure(const struct conn *c)
{
    return c->failure ? c->failure : "";
}

const char *conn_peer_name(const struct conn *c)
{
    return c->filter ? c->maker->ops->peer_name(c->filter) : "";
}

/* --- output --- */

void conn__wake_writer(struct conn *c)
{
    if (c->writable_waiter)
        env_event_set(c->writable_waiter);
    c->writable_waiter = NULL;
}

/* Bytes are queued: reading pauses above the mark, and somebody looks whether they leave. */
static void after_send(struct conn *c, size_t len)
{
    struct reactor *r = c->r;
    uint64_t now = loop_now_ns(r->loop);
    c->active_ns = now;
    conn__count(&r->count.bytes_out, len);
    conn__watch(c, conn__after_ms(now, r->options.send_timeout_ms));
    if (!loop_conn_writable(c->lc) && !c->finishing) {
        c->paused |= PAUSED_BY_OUTPUT;
        conn__apply_reading(c);
    }
}

enum status conn__send_raw(struct conn *c, struct bytes data)
{
    enum status st = loop_conn_send(c->lc, data);
    if (!st)
        after_send(c, data.len);
    return st;
}

static enum status seal_slice(struct conn *c, struct bytes clear)
{
    struct buf *out = &c->r->out;
    struct err err;
    err_init(&err);
    enum status st = c->maker->ops->seal(c->filter, clear, out, &err);
    if (!st)
        st = conn__send_raw(c, buf_bytes(out));
    buf_clear(out);
    if (out->cap > OUT_KEEP_BYTES)
        buf_deinit(out);
    return st;
}

/* All or nothing: room for the sealed form is made sure of first. A failure after that leaves a gap
 * in what the peer gets, so the connection ends. */
static enum status send_sealed(struct conn *c, struct bytes clear)
{
    if (clear.len > SIZE_MAX / 2)
        return ST_OVERLOADED;
    size_t records = clear.len / SEAL_RECORD + 1;
    uint8_t *at;
    size_t room;
    enum status st =
        loop_conn_reserve(c->lc, clear.len + records * SEAL_RECORD_EXTRA + SEAL_SLACK, &at, &room);
    if (st)
        return st;
    while (clear.len > 0) {
        size_t n = clear.len < SEAL_SLICE ? clear.len : SEAL_SLICE;
        st = seal_slice(c, BYTES(clear.data, n));
        if (st) {
            conn_abort(c, st);
            return st;
        }
        clear = BYTES(clear.data + n, clear.len - n);
    }
    return ST_OK;
}

static bool takes_output(const struct conn *c)
{
    return conn_is_open(c) && (!c->maker || c->opened);
}

enum status conn_send(struct conn *c, struct bytes data)
{
    if (!takes_output(c))
        return ST_CLOSED;
    if (data.len == 0)
        return ST_OK;
    return c->maker ? send_sealed(c, data) : conn__send_raw(c, data);
}

enum status conn_send_ref(struct conn *c, struct bytes data, void (*release)(void *arg), void *arg)
{
    if (!takes_output(c) || c->maker) {
        enum status st = conn_send(c, data);
        release(arg);
        return st;
    }
    enum status st = loop_conn_send_ref(c->lc, data, release, arg);
    if (!st)
        after_send(c, data.len);
    return st;
}

void conn_want_output(struct conn *c)
{
    if (conn__alive(c) && list_empty(&c->output))
        list_push_back(&c->r->output, &c->output);
}

bool conn_writable(const struct conn *c)
{
    return takes_output(c) && loop_conn_writable(c->lc);
}

size_t conn_queued(const struct conn *c)
{
    return c->lc ? loop_conn_queued(c->lc) : 0;
}

enum status conn_wait_writable(struct conn *c, uint64_t deadline_ns)
{
    ASSERT(fiber_current() && !c->writable_waiter);
    while (!conn_writable(c)) {
        if (!takes_output(c))
            return ST_CLOSED;
        uint64_t now = loop_clock_ns(c->r->loop);
        if (deadline_ns <= now)
            return ST_TIMED_OUT;
        struct env_event event;
        env_event_init(&event);
        c->writable_waiter = &event;
        (void)env_wait(&event, deadline_ns == UINT64_MAX ? UINT64_MAX : deadline_ns - now);
        c->writable_waiter = NULL;
    }
    return ST_OK;
}

/* --- input --- */

void conn__apply_reading(struct conn *c)
{
    if (!conn__alive(c))
        return;
    if (c->paused && !c->finishing) {
        loop_conn_read(c->lc, false);
        return;
    }
    if (!c->finishing && (c->kept || c->held > 0)) { /* what came earlier goes first */
        loop_conn_read(c->lc, false);
        if (list_empty(&c->attention))
            list_push_back(&c->r->attention, &c->attention);
        return;
    }
    loop_conn_read(c->lc, true);
}

void conn_pause(struct conn *c)
{
    c->paused |= PAUSED_BY_PROTO;
    conn__apply_reading(c);
}

void conn_resume(struct conn *c)
{
    c->paused &= ~(unsigned)PAUSED_BY_PROTO;
    conn__apply_reading(c);
}

enum status conn_charge(struct conn *c, size_t bytes, struct err *err)
{
    struct reactor *r = c->r;
    if (bytes > r->options.request_bytes - r->request_bytes)
        return err_set(err, ST_OVERLOADED,
                       "requests in flight hold %zu bytes of at most %zu (request_bytes)",
                       r->request_bytes, r->options.request_bytes);
    r->request_bytes += bytes;
    c->charged += bytes;
    if (c->charged > r->options.request_conn_bytes) {
        c->paused |= PAUSED_BY_BYTES;
        conn__apply_reading(c);
    }
    return ST_OK;
}

void conn_uncharge(struct conn *c, size_t bytes)
{
    ASSERT(bytes <= c->charged && bytes <= c->r->request_bytes);
    c->charged -= bytes;
    c->r->request_bytes -= bytes;
    if (c->paused & PAUSED_BY_BYTES && c->charged <= c->r->options.request_conn_bytes) {
        c->paused &= ~(unsigned)PAUSED_BY_BYTES;
        conn__apply_reading(c);
    }
}

/* --- life --- */

void conn_settled(struct conn *c)
{
    if (c->settled || !conn__alive(c))
        return;
    c->settled = true;
    conn__watch(c, conn__after_ms(loop_now_ns(c->r->loop), c->r->options.idle_timeout_ms));
}

void conn_busy(struct conn *c, int delta)
{
    c->busy += delta;
    ASSERT(c->busy >= 0);
    c->active_ns = loop_now_ns(c->r->loop);
    if (c->busy == 0 && c->settled)
        conn__watch(c, conn__after_ms(c->active_ns, c->r->options.idle_timeout_ms));
}

void conn_set_tick(struct conn *c, uint64_t at_ns)
{
    if (!c->lc || at_ns == UINT64_MAX)
        loop_timer_stop(c->r->loop, &c->tick);
    else
        loop_timer_start(c->r->loop, &c->tick, at_ns);
}

void conn__on_tick(void *conn)
{
    struct conn *c = conn;
    if (conn__alive(c) && !c->finishing && c->opened && c->proto->on_tick)
        c->proto->on_tick(c, loop_now_ns(c->r->loop));
}

void conn__start_finish(struct conn *c)
{
    if (c->finishing || !conn__alive(c))
        return;
    c->finishing = true;
    c->finish_ns = loop_now_ns(c->r->loop);
    loop_conn_finish(c->lc);
    conn__apply_reading(c); /* to the end, so that the peer's close is seen */
    conn__wake_writer(c);
    conn__watch(c, conn__after_ms(c->finish_ns, c->r->options.linger_ms));
}

void conn_finish(struct conn *c)
{
    if (!conn_is_open(c))
        return;
    if (c->filter && c->opened) {
        enum status st = c->maker->ops->finish(c->filter, &c->r->out);
        if (!st && c->r->out.len)
            st = conn__send_raw(c, buf_bytes(&c->r->out));
        buf_clear(&c->r->out);
        if (st) { /* no room even for a goodbye */
            conn_abort(c, st);
            return;
        }
    }
    conn__start_finish(c);
}

void conn_abort(struct conn *c, enum status why)
{
    if (!conn__alive(c))
        return;
    c->aborted = true;
    c->why = c->why ? c->why : why;
    conn__wake_writer(c);
    if (loop_conn_queued(c->lc) > 0)
        loop_conn_reset(c->lc); /* so that the kernel does not go on with what it has */
    else
        loop_conn_close(c->lc);
}

void conn__drain(struct conn *c)
{
    if (c->drain_told || !conn_is_open(c))
        return;
    c->drain_told = true;
    if (!c->opened)
        conn_abort(c, ST_CANCELLED);
    else if (c->proto->on_drain)
        c->proto->on_drain(c);
    else
        conn_finish(c);
}

/* --- timeouts: one timer, looked at now and then rather than moved with every byte --- */

void conn__watch(struct conn *c, uint64_t at_ns)
{
    uint64_t at_ms = at_ns / NS_PER_MS;
    if (!c->lc || at_ns == UINT64_MAX || (c->watch.active && c->watch.at_ms <= at_ms + 1))
        return;
    loop_timer_start(c->r->loop, &c->watch, at_ns);
}

static void time_out(struct conn *c, bool slow)
{
    conn__count(slow ? &c->r->count.cut_slow : &c->r->count.timed_out, 1);
    conn_abort(c, ST_TIMED_OUT);
}

/* When the next timeout could strike, as things are now; 0: it has. */
static uint64_t next_look(struct conn *c, uint64_t now, bool *ret_slow)
{
    const struct reactor_options *o = &c->r->options;
    uint64_t next = UINT64_MAX;
    size_t queued = loop_conn_queued(c->lc);
    if (queued > 0) {
        uint64_t sent = loop_conn_sent(c->lc);
        if (sent != c->sent_seen || c->sent_ns == 0) {
            c->sent_seen = sent;
            c->sent_ns = now;
        }
        next = conn__after_ms(c->sent_ns, o->send_timeout_ms);
        *ret_slow = next <= now;
    } else {
        c->sent_ns = 0;
        if (c->finishing)
            next = conn__after_ms(c->finish_ns, o->linger_ms);
        else if (c->settled && c->busy == 0)
            next = conn__after_ms(c->active_ns, o->idle_timeout_ms);
    }
    if (!c->settled && !c->finishing) {
        uint64_t setup = conn__after_ms(c->born_ns, o->setup_timeout_ms);
        next = setup < next ? setup : next;
    }
    return next <= now ? 0 : next;
}

void conn__on_watch(void *conn)
{
    struct conn *c = conn;
    if (!conn__alive(c))
        return;
    bool slow = false;
    uint64_t next = next_look(c, loop_now_ns(c->r->loop), &slow);
    if (next == 0)
        time_out(c, slow);
    else
        conn__watch(c, next);
}
