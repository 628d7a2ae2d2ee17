/* The loop's common half: rounds, messages from other threads, and what happens to connections. */
#include "base/env/net/loop_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>

enum { NS_PER_MS = 1000000 };

const char *loop_kind_name(enum loop_kind kind)
{
    switch (kind) {
    case LOOP_EPOLL:
        return "epoll";
    case LOOP_URING:
        return "io_uring";
    case LOOP_AUTO:
        return "auto";
    case LOOP_GIVEN:
        return "given";
    }
    return "unknown";
}

enum loop_kind loop_kind_of(const struct loop *l)
{
    return l->backend->kind;
}

/* --- making and freeing --- */

static bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static enum status options_resolve(const struct loop_options *given, struct loop_options *o,
                                   const struct loop_backend *backend, struct err *err)
{
    *o = *given;
    o->max_conns = o->max_conns ? o->max_conns : 16384;
    o->recv_buf_bytes = o->recv_buf_bytes ? o->recv_buf_bytes : backend->recv_buf_bytes;
    o->recv_bufs = o->recv_bufs ? o->recv_bufs : backend->recv_bufs;
    o->kept_max_bytes = o->kept_max_bytes ? o->kept_max_bytes : (size_t)64 << 20;
    o->send_total_bytes = o->send_total_bytes ? o->send_total_bytes : (size_t)256 << 20;
    o->post_slots = o->post_slots ? o->post_slots : 1024;
    if (backend->kind == LOOP_GIVEN)
        o->look_ns = 0; /* its clock may stand while it looks */
    if (!is_power_of_two(o->post_slots))
        return err_set(err, ST_INVALID_ARGUMENT, "loop: post_slots %zu is no power of two",
                       o->post_slots);
    if (!is_power_of_two(o->recv_bufs) || o->recv_bufs > 32768)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "loop: recv_bufs %zu is no power of two up to 32768", o->recv_bufs);
    if (o->recv_buf_bytes > (size_t)1 << 30)
        return err_set(err, ST_INVALID_ARGUMENT, "loop: recv_buf_bytes %zu, at most 1 GiB",
                       o->recv_buf_bytes);
    return ST_OK;
}

static enum status posts_init(struct loop *l, struct err *err)
{
    l->posts = mem_alloc(l->options.post_slots * sizeof *l->posts);
    if (!l->posts)
        return err_set(err, ST_NO_MEMORY, "loop: no memory for %zu messages",
                       l->options.post_slots);
    for (size_t i = 0; i < l->options.post_slots; i++)
        atomic_init(&l->posts[i].seq, i);
    return ST_OK;
}

static enum status open_with(struct env *env, const struct loop_options *options,
                             const struct loop_backend *backend, struct loop **ret, struct err *err)
{
    struct loop *l = mem_zalloc(sizeof *l);
    if (!l)
        return err_set(err, ST_NO_MEMORY, "loop: no memory");
    l->backend = backend;
    l->env = env;
    l->wake_fd = -1;
    list_init(&l->conns);
    list_init(&l->listeners);
    list_init(&l->dirty);
    list_init(&l->attention);
    list_init(&l->listener_attention);
    l->now_ns = env_mono_ns(env);
    wheel__init(&l->wheel, l->now_ns / NS_PER_MS);
    enum status st = options_resolve(options, &l->options, backend, err);
    if (!st)
        st = posts_init(l, err);
    if (!st)
        st = backend->sockets->open(l, err);
    if (!st)
        st = backend->open(l, err);
    if (st) {
        backend->sockets->close(l);
        mem_free(l->posts);
        mem_free(l);
        return st;
    }
    *ret = l;
    return ST_OK;
}

static enum status open_uring(struct env *env, const struct loop_options *options,
                              struct loop **ret, struct err *err)
{
#ifdef VARVE_URING
    return open_with(env, options, &loop__uring, ret, err);
#else
    (void)env;
    (void)options;
    (void)ret;
    return err_set(err, ST_UNIMPLEMENTED, "io_uring: this build was made without liburing");
#endif
}

enum status loop_new(struct env *env, const struct loop_options *options, struct loop **ret,
                     struct err *err)
{
    if (options->kind == LOOP_EPOLL)
        return open_with(env, options, &loop__epoll, ret, err);
    if (options->kind == LOOP_URING)
        return open_uring(env, options, ret, err);
    if (options->kind == LOOP_GIVEN) {
        ASSERT(options->backend);
        return open_with(env, options, options->backend, ret, err);
    }
    struct err why;
    err_init(&why);
    if (!open_uring(env, options, ret, &why))
        return ST_OK;
    log_at(LOG_INFO, "loop", "epoll instead of io_uring", LOG_FSTR("because", why.detail));
    return open_with(env, options, &loop__epoll, ret, err);
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    ASSERT(list_empty(&l->conns) && list_empty(&l->listeners));
    l->backend->close(l);
    l->backend->sockets->close(l);
    loop__free_spares(l);
    mem_free(l->posts);
    mem_free(l);
}

uint64_t loop_now_ns(const struct loop *l)
{
    return l->now_ns;
}

uint64_t loop_clock_ns(const struct loop *l)
{
    return env_mono_ns(l->env);
}

size_t loop_conns(const struct loop *l)
{
    return l->n_conns;
}

size_t loop_listeners(const struct loop *l)
{
    size_t n = 0;
    list_foreach (it, &l->listeners) {
        (void)it;
        n++;
    }
    return n;
}

size_t loop_queued_bytes(const struct loop *l)
{
    return l->queued;
}

size_t loop_kept_bytes(const struct loop *l)
{
    return l->kept;
}

/* --- messages: Vyukov's bounded queue, many fill it and one empties it --- */

/* The order that makes a wake-up safe: the loop says `sleeping`, then looks at `woken` and the
 * messages; a waker says `woken` (or fills a cell), then looks at `sleeping`. One of them sees the
 * other. */
void loop_wake(struct loop *l)
{
    atomic_store(&l->woken, true);
    if (atomic_exchange(&l->sleeping, false) || l->backend->kind == LOOP_GIVEN)
        l->backend->sockets->wake(l);
}

enum status loop_post(struct loop *l, void (*fn)(void *arg), void *arg)
{
    size_t mask = l->options.post_slots - 1;
    size_t at = atomic_load_explicit(&l->post_head, memory_order_relaxed);
    struct post_cell *cell;
    for (;;) {
        cell = &l->posts[at & mask];
        size_t seq = atomic_load_explicit(&cell->seq, memory_order_acquire);
        if (seq == at) {
            if (atomic_compare_exchange_weak_explicit(&l->post_head, &at, at + 1,
                                                      memory_order_relaxed, memory_order_relaxed))
                break;
        } else if ((ptrdiff_t)(seq - at) < 0) {
            return ST_OVERLOADED; /* the message of a round before is still there */
        } else {
            at = atomic_load_explicit(&l->post_head, memory_order_relaxed);
        }
    }
    cell->fn = fn;
    cell->arg = arg;
    atomic_store_explicit(&cell->seq, at + 1, memory_order_release);
    loop_wake(l);
    return ST_OK;
}

static void run_posts(struct loop *l)
{
    size_t mask = l->options.post_slots - 1;
    for (size_t n = 0; n < l->options.post_slots; n++) {
        size_t at = l->post_tail;
        struct post_cell *cell = &l->posts[at & mask];
        if (atomic_load_explicit(&cell->seq, memory_order_acquire) != at + 1)
            return;
        void (*fn)(void *arg) = cell->fn;
        void *arg = cell->arg;
        l->post_tail = at + 1;
        atomic_store_explicit(&cell->seq, at + l->options.post_slots, memory_order_release);
        fn(arg);
        l->callbacks++;
    }
    atomic_store(&l->woken, true); /* there may be more: no sleep before they ran */
}

/* --- rounds --- */

static uint64_t next_due(const struct loop *l)
{
    if (!list_empty(&l->attention) || !list_empty(&l->listener_attention))
        return 0;
    uint64_t next_ms = wheel__next_ms(&l->wheel);
    return next_ms > UINT64_MAX / NS_PER_MS ? UINT64_MAX : next_ms * NS_PER_MS;
}

uint64_t loop_due_ns(const struct loop *l)
{
    return atomic_load(&l->woken) || !list_empty(&l->dirty) ? 0 : next_due(l);
}

static uint64_t time_to_wait(const struct loop *l, uint64_t deadline_ns)
{
    uint64_t until = next_due(l);
    until = deadline_ns < until ? deadline_ns : until;
    if (until == 0 || until == UINT64_MAX)
        return until;
    uint64_t now = loop_clock_ns(l);
    return until > now ? until - now : 0;
}

/* What came is handled at the time of now, not at that of going to sleep. */
void loop__awake(struct loop *l)
{
    atomic_store_explicit(&l->sleeping, false, memory_order_relaxed); /* busy with what came */
    l->now_ns = loop_clock_ns(l);
}

/* Looks for events without sleeping: false when none came. Any ends it, also one that no callback
 * tells of: room to write, say, which the round's end uses. After a look in vain it sleeps at once the
 * next time, and twice as often with each further one: what that costs stays small whatever comes how
 * often. */
static bool look(struct loop *l, uint64_t most_ns)
{
    enum { DOUBLINGS_MAX = 6 };
    const uint64_t before = l->events;
    if (l->options.look_ns == 0)
        return false;
    if (l->sleep_at_once > 0) {
        l->sleep_at_once--;
        return false;
    }
    if (most_ns > l->options.look_ns)
        most_ns = l->options.look_ns;
    const uint64_t began = loop_clock_ns(l);
    do {
        l->backend->poll(l, 0);
        if (l->events != before || atomic_load(&l->woken)) {
            l->looked_in_vain = 0;
            return true;
        }
    } while (l->now_ns - began < most_ns);
    if (l->looked_in_vain < DOUBLINGS_MAX)
        l->looked_in_vain++;
    l->sleep_at_once = (1u << l->looked_in_vain) - 1;
    return false;
}

static void sleep_and_handle(struct loop *l, uint64_t wait)
{
    atomic_store(&l->sleeping, true);
    if (atomic_load(&l->woken)) {
        atomic_store(&l->sleeping, false);
        wait = 0;
    }
    l->backend->poll(l, wait);
    atomic_store(&l->sleeping, false);
}

static void wait_and_handle(struct loop *l, uint64_t deadline_ns)
{
    uint64_t wait = time_to_wait(l, deadline_ns);
    if (wait == 0)
        l->backend->poll(l, 0);
    else if (!look(l, wait))
        sleep_and_handle(l, wait);
    /* Reading it makes visible what came with the wake-up; one that comes later finds the next wait
     * cut short. */
    (void)atomic_exchange(&l->woken, false);
}

static void attend(struct loop_conn *c)
{
    struct loop *l = c->loop;
    if (c->closing) {
        if (!c->dropped) {
            c->dropped = true;
            l->callbacks++;
            l->backend->conn_drop(c);
        }
        return;
    }
    if (c->drained_due) {
        c->drained_due = false;
        if (c->ops->on_drained) {
            l->callbacks++;
            c->ops->on_drained(c->ctx);
        }
    }
    if (!c->closing && c->want_read && c->kept_end > c->kept_at)
        loop__received(c, NULL, 0);
    if (!c->closing && c->want_read && c->eof_seen && c->kept_at == c->kept_end)
        loop__eof(c);
    if (loop__wants_bytes(c) || (c->connecting && !c->closing))
        l->backend->conn_read(c);
}

/* What is put on the lists meanwhile waits for the next round. */
static void attend_all(struct loop *l)
{
    struct list *last = &l->attended; /* marks where this round ends */
    list_push_back(&l->attention, last);
    while (l->attention.next != last) {
        struct loop_conn *c = container_of(l->attention.next, struct loop_conn, attention);
        list_remove(&c->attention);
        attend(c);
    }
    list_remove(last);
    list_push_back(&l->listener_attention, last);
    while (l->listener_attention.next != last) {
        struct loop_listener *li =
            container_of(l->listener_attention.next, struct loop_listener, attention);
        list_remove(&li->attention);
        if (li->closing && !li->dropped) {
            li->dropped = true;
            l->backend->listener_drop(li);
        } else if (!li->closing && !li->paused) {
            l->backend->listener_resume(li);
        }
    }
    list_remove(last);
}

size_t loop_poll(struct loop *l, uint64_t deadline_ns)
{
    l->callbacks = 0;
    loop_flush(l);
    wait_and_handle(l, deadline_ns);
    l->now_ns = loop_clock_ns(l);
    run_posts(l);
    l->callbacks += wheel__run(&l->wheel, l->now_ns / NS_PER_MS);
    attend_all(l);
    return l->callbacks;
}

void loop_flush(struct loop *l)
{
    struct list *last = &l->flushed;
    list_push_back(&l->dirty, last);
    while (l->dirty.next != last) {
        struct loop_conn *c = container_of(l->dirty.next, struct loop_conn, dirty);
        list_remove(&c->dirty);
        if (!c->connecting && !c->closing)
            l->backend->conn_flush(c);
    }
    list_remove(last);
}

/* --- listeners --- */

static void resume_accepting(void *arg)
{
    struct loop_listener *li = arg;
    li->paused = false;
    li->loop->backend->listener_resume(li);
}

enum status loop_listen(struct loop *l, const struct loop_listen_options *options,
                        struct loop_listener **ret, struct err *err)
{
    ASSERT(options->on_accept);
    struct loop_listener *li = mem_zalloc(sizeof *li);
    if (!li)
        return err_set(err, ST_NO_MEMORY, "listen: no memory");
    li->loop = l;
    li->options = *options;
    list_init(&li->attention);
    loop_timer_init(&li->resume, resume_accepting, li);
    enum status st = l->backend->sockets->listen(l, options, &li->fd, &li->addr, err);
    if (st) {
        mem_free(li);
        return st;
    }
    st = l->backend->listener_add(li, err);
    if (st) {
        loop_socket_close(l, li->fd);
        mem_free(li);
        return st;
    }
    list_push_back(&l->listeners, &li->all);
    *ret = li;
    return ST_OK;
}

void loop_listener_addr(const struct loop_listener *li, struct net_addr *ret)
{
    *ret = li->addr;
}

void loop_listener_close(struct loop_listener *li)
{
    if (!li || li->closing)
        return;
    li->closing = true;
    loop_timer_stop(li->loop, &li->resume);
    list_remove(&li->attention);
    list_push_back(&li->loop->listener_attention, &li->attention);
}

void loop__accepted(struct loop_listener *li, int fd, const struct net_addr *peer)
{
    if (li->closing) {
        loop_socket_close(li->loop, fd);
        return;
    }
    li->loop->callbacks++;
    li->options.on_accept(li->options.arg, fd, peer);
}

void loop__accept_failed(struct loop_listener *li, int error)
{
    if (li->closing || li->paused || socket__error_is_passing(error))
        return;
    char text[NET_ADDR_TEXT];
    struct err why;
    err_init(&why);
    err_errno(&why, error, "accept on %s", net_addr_text(&li->addr, text));
    log_at(LOG_WARN, "loop", "accepting pauses", LOG_FSTR("because", why.detail),
           LOG_FU64("pause_ms", LOOP_ACCEPT_PAUSE_MS));
    li->paused = true;
    li->loop->backend->listener_pause(li);
    loop_timer_start(li->loop, &li->resume,
                     loop_clock_ns(li->loop) + (uint64_t)LOOP_ACCEPT_PAUSE_MS * NS_PER_MS);
}

void loop__listener_gone(struct loop_listener *li)
{
    loop_socket_close(li->loop, li->fd);
    list_remove(&li->all);
    list_remove(&li->attention);
    mem_free(li);
}

void loop_socket_close(struct loop *l, int sock)
{
    l->backend->sockets->close_socket(l, sock);
}
