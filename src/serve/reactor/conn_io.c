/* What comes from the loop: bytes through the filter to the protocol, and how a connection begins
 * and ends. */
#include "serve/reactor/reactor_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

static _Atomic uint64_t next_id = 1;

/* --- beginning and end --- */

struct conn *conn__new(struct reactor *r, const struct conn_proto *proto, void *arg,
                       const struct conn_filter_maker *filter, bool client)
{
    struct conn *c = mem_zalloc(sizeof *c);
    if (!c)
        return NULL;
    c->r = r;
    c->proto = proto;
    c->open_arg = arg;
    c->maker = filter;
    c->client = client;
    c->refs = 1;
    c->id = atomic_fetch_add_explicit(&next_id, 1, memory_order_relaxed);
    c->born_ns = c->active_ns = loop_now_ns(r->loop);
    list_init(&c->node);
    list_init(&c->attention);
    list_init(&c->output);
    list_init(&c->behind);
    loop_timer_init(&c->watch, conn__on_watch, c);
    loop_timer_init(&c->tick, conn__on_tick, c);
    return c;
}

void conn__free(struct conn *c)
{
    if (c->filter)
        c->maker->ops->free(c->filter);
    mem_free(c->kept);
    mem_free(c->failure);
    mem_free(c);
}

static void open_proto(struct conn *c)
{
    c->opened = true;
    enum status st = c->proto->on_open(c, c->open_arg);
    if (st) {
        c->open_failed = true;
        conn_abort(c, st);
    } else if (c->r->stopping) {
        conn__drain(c);
    }
}

/* Sends what the filter wants sent and empties the scratch. */
static enum status send_out(struct conn *c)
{
    struct buf *out = &c->r->out;
    enum status st = out->len ? conn__send_raw(c, buf_bytes(out)) : ST_OK;
    buf_clear(out);
    if (out->cap > OUT_KEEP_BYTES)
        buf_deinit(out);
    return st;
}

static void fail_filter(struct conn *c, enum status st, const struct err *err)
{
    if (log_enabled(LOG_DEBUG))
        log_at(LOG_DEBUG, "reactor", "the filter ends a connection", LOG_FU64("conn", c->id),
               LOG_FSTR("because", err->detail));
    c->why = st;
    if (!c->failure) /* without memory nobody hears it */
        c->failure = mem_memdup(err->detail, strlen(err->detail) + 1);
    if (send_out(c)) { /* the alert */
        conn_abort(c, st);
        return;
    }
    conn__start_finish(c);
}

/* The connection is there: the filter says hello, or without one the protocol begins. */
static void begin(struct conn *c)
{
    if (!c->maker) {
        open_proto(c);
        return;
    }
    struct err err;
    err_init(&err);
    enum status st = c->maker->make(c->maker->arg, &c->r->out, &c->filter, &err);
    if (st)
        fail_filter(c, st, &err);
    else if ((st = send_out(c)) != ST_OK)
        conn_abort(c, st);
}

static void refuse(struct reactor *r, int sock, const char *because)
{
    loop_socket_close(r->loop, sock);
    uint64_t n = atomic_load_explicit(&r->count.refused_full, memory_order_relaxed) + 1;
    conn__count(&r->count.refused_full, 1);
    if ((n & (n - 1)) == 0) /* the 1st, 2nd, 4th, ... */
        log_at(LOG_WARN, "reactor", "connections are refused", LOG_FSTR("because", because),
               LOG_FU64("reactor", r->index), LOG_FU64("so_far", n));
}

void conn__accept(struct reactor *r, const struct acceptor *a, int sock)
{
    if (r->stopping) {
        loop_socket_close(r->loop, sock);
        return;
    }
    struct err err;
    err_init(&err);
    struct conn *c = conn__new(r, a->proto, a->arg, a->filter, false);
    if (!c) {
        refuse(r, sock, "no memory");
        return;
    }
    enum status st =
        loop_adopt(r->loop, sock, &conn__loop_ops, c, &r->options.output, &c->lc, &err);
    if (st) {
        conn__free(c);
        refuse(r, sock, err.detail);
        return;
    }
    list_push_back(&r->conns, &c->node);
    conn__count(&r->count.accepted, 1);
    conn__watch(c, conn__after_ms(c->born_ns, r->options.setup_timeout_ms));
    begin(c);
}

static void on_connect(void *ctx)
{
    struct conn *c = ctx;
    c->active_ns = loop_now_ns(c->r->loop);
    if (!c->finishing && !c->aborted)
        begin(c);
}

static void on_close(void *ctx, enum status why, int errno_value)
{
    (void)errno_value;
    struct conn *c = ctx;
    struct reactor *r = c->r;
    c->lc = NULL;
    why = c->why ? c->why : why;
    loop_timer_stop(r->loop, &c->watch);
    loop_timer_stop(r->loop, &c->tick);
    list_remove(&c->node);
    list_remove(&c->attention);
    list_remove(&c->output);
    r->n_behind -= !list_empty(&c->behind);
    list_remove(&c->behind);
    r->kept_bytes -= c->kept_end - c->kept_at + c->held;
    c->kept_at = c->kept_end = c->held = 0;
    conn__wake_writer(c);
    bool tell = c->opened ? !c->open_failed : c->client;
    if (tell)
        c->proto->on_closed(c, why);
    conn_unref(c);
}

static void make_output(struct conn *c)
{
    if (conn__alive(c) && !c->finishing && c->opened && c->proto->on_output)
        c->proto->on_output(c);
}

/* --- input --- */

/* Hands bytes to the protocol, and on to another that it installs; returns how many were taken. */
static size_t deliver(struct conn *c, const uint8_t *data, size_t len)
{
    size_t taken = 0;
    while (taken < len) {
        const struct conn_proto *proto = c->proto;
        size_t n = proto->on_data(c, BYTES(data + taken, len - taken));
        ASSERT(n <= len - taken);
        taken += n;
        if (!conn__alive(c) || c->finishing)
            return len;
        if (c->proto == proto || c->paused & PAUSED_BY_PROTO)
            break;
    }
    if (taken < len)
        c->paused |= PAUSED_BY_PROTO;
    return taken;
}

static bool keep_account(struct conn *c, size_t len)
{
    struct reactor *r = c->r;
    if (len > r->options.kept_bytes - r->kept_bytes) {
        conn_abort(c, ST_OVERLOADED);
        return false;
    }
    r->kept_bytes += len;
    return true;
}

static void keep_clear(struct conn *c, const uint8_t *data, size_t len)
{
    if (!keep_account(c, len))
        return;
    c->kept = mem_memdup(data, len);
    if (!c->kept) {
        c->r->kept_bytes -= len;
        conn_abort(c, ST_NO_MEMORY);
        return;
    }
    c->kept_at = 0;
    c->kept_end = len;
}

static void deliver_kept(struct conn *c)
{
    size_t taken = deliver(c, c->kept + c->kept_at, c->kept_end - c->kept_at);
    c->kept_at += taken;
    c->r->kept_bytes -= taken;
    if (c->kept_at < c->kept_end)
        return;
    mem_free(c->kept);
    c->kept = NULL;
    c->kept_at = c->kept_end = 0;
}

static void tell_eof(struct conn *c)
{
    if (c->eof_told || c->finishing || !conn__alive(c))
        return;
    c->eof_told = true;
    if (!c->opened)
        conn_abort(c, ST_CLOSED); /* in the midst of the handshake */
    else if (c->proto->on_eof)
        c->proto->on_eof(c);
    else
        conn_finish(c);
}

/* Draws clear bytes from the filter while they are wanted. */
static void pump(struct conn *c)
{
    const struct conn_filter_ops *f = c->maker->ops;
    struct err err;
    err_init(&err);
    while (conn__alive(c) && !c->finishing && !c->paused) {
        if (c->kept) {
            deliver_kept(c);
            continue;
        }
        size_t n = 0;
        bool eof = false;
        enum status st = f->read(c->filter, c->r->clear, CLEAR_BYTES, &n, &eof, &c->r->out, &err);
        if (st) {
            fail_filter(c, st, &err);
            return;
        }
        st = send_out(c);
        if (st) {
            conn_abort(c, st);
            return;
        }
        if (n == 0) {
            c->r->kept_bytes -= c->held;
            c->held = 0;
            if (eof)
                tell_eof(c);
            return;
        }
        size_t taken = deliver(c, c->r->clear, n);
        if (taken < n && conn__alive(c))
            keep_clear(c, c->r->clear + taken, n - taken);
    }
}

/* What the filter has not read when reading pauses it must keep, for the input is only borrowed. */
static void hold_rest(struct conn *c)
{
    if (!conn__alive(c) || c->finishing || !c->paused)
        return;
    size_t len = 0;
    enum status st = c->maker->ops->keep(c->filter, &len);
    if (st)
        conn_abort(c, st);
    else if (keep_account(c, len))
        c->held += len;
}

static void through_filter(struct conn *c, struct bytes data)
{
    const struct conn_filter_ops *f = c->maker->ops;
    struct err err;
    err_init(&err);
    enum status st = f->feed(c->filter, data, &c->r->out, &err);
    if (st) {
        fail_filter(c, st, &err);
        return;
    }
    st = send_out(c);
    if (st) {
        conn_abort(c, st);
        return;
    }
    if (!c->opened && f->ready(c->filter))
        open_proto(c);
    if (c->opened)
        pump(c);
    hold_rest(c);
}

/* --- requests --- */

/* Starts the requests of those that were read first, until `leave` connections are left, and makes
 * bytes of what they have to say. */
static void serve_behind(struct reactor *r, size_t leave)
{
    while (r->n_behind > leave) {
        struct conn *c = container_of(r->behind.next, struct conn, behind);
        list_remove(&c->behind);
        r->n_behind--;
        (void)fiber_sched_run_fresh(r->fibers, c->began);
        if (list_empty(&c->output))
            continue;
        list_remove(&c->output);
        make_output(c);
    }
}

/* Requests start while all they need is in the processor's cache: many at once with the return, a few
 * when BEHIND more connections were read, for by then the memory that was asked for ahead has come.
 * What waits goes on when the whole input of the round was looked at: so the leader of a group commit
 * finds the writes of every connection. */
static void serve(struct conn *c, size_t began)
{
    struct reactor *r = c->r;
    if (began == 0)
        return;
    if (!list_empty(&c->behind))
        serve_behind(r, 0);
    c->began = began;
    list_push_back(&r->behind, &c->behind);
    r->n_behind++;
    serve_behind(r, began <= BEHIND ? BEHIND : 0);
}

void conn__serve_rest(struct reactor *r)
{
    serve_behind(r, 0);
}

static size_t on_recv(void *ctx, struct bytes data)
{
    struct conn *c = ctx;
    c->active_ns = loop_now_ns(c->r->loop);
    conn__count(&c->r->count.bytes_in, data.len);
    size_t taken = data.len, fresh = fiber_sched_fresh(c->r->fibers);
    if (c->finishing || c->aborted) {
        /* A peer that does not stop would have the reactor read on for nothing. */
        c->thrown_away += data.len;
        if (c->thrown_away > c->r->options.linger_bytes && !c->aborted)
            conn_abort(c, ST_CANCELLED);
        return taken;
    }
    if (c->maker) {
        if (!c->filter)
            return taken; /* it could not be made; the end is near */
        through_filter(c, data);
    } else {
        taken = deliver(c, data.data, data.len);
    }
    if (taken == data.len) /* else a request must not resume what only pauses with the return */
        serve(c, fiber_sched_fresh(c->r->fibers) - fresh);
    if (conn__alive(c) && !c->finishing)
        conn__apply_reading(c);
    return taken;
}

static void on_eof(void *ctx)
{
    tell_eof(ctx);
}

static void on_drained(void *ctx)
{
    struct conn *c = ctx;
    c->paused &= ~(unsigned)PAUSED_BY_OUTPUT;
    if (!conn__alive(c) || c->finishing)
        return;
    conn__apply_reading(c);
    conn__wake_writer(c);
    if (c->opened && c->proto->on_writable)
        c->proto->on_writable(c);
}

const struct loop_conn_ops conn__loop_ops = {on_connect, on_recv, on_eof, on_drained, on_close};

/* --- between the loop's round and the fibers --- */

void conn__attend(struct reactor *r)
{
    struct list now;
    list_init(&now);
    list_move_all(&r->attention, &now);
    while (!list_empty(&now)) {
        struct conn *c = container_of(now.next, struct conn, attention);
        list_remove(&c->attention);
        if (c->opened)
            pump(c);
        if (conn__alive(c) && !c->finishing)
            conn__apply_reading(c);
    }
}

void conn__make_output(struct reactor *r)
{
    struct list now;
    list_init(&now);
    list_move_all(&r->output, &now);
    while (!list_empty(&now)) {
        struct conn *c = container_of(now.next, struct conn, output);
        list_remove(&c->output);
        make_output(c);
    }
}
