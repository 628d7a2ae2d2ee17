/* The network as a loop's backend: sockets by number, and readiness as epoll would tell it. */
#include "base/alloc.h"
#include "sim/net/sim_net_internal.h"

#include <errno.h>

struct sim_loop {
    struct sim_host *host;
    uint8_t *buf;
};

static struct sim_loop *of(const struct loop *l)
{
    return l->impl;
}

static struct sim_net *net_of(const struct loop *l)
{
    struct sim_host *h = l->options.backend_arg;
    return h->net;
}

static struct sock *sock_of(const struct loop *l, int fd)
{
    return sock__at(net_of(l), fd);
}

/* --- sockets --- */

static enum status sockets_open(struct loop *l, struct err *err)
{
    (void)err;
    ASSERT(l->options.backend_arg);
    return ST_OK;
}

static void sockets_close(struct loop *l)
{
    (void)l;
}

static void sockets_wake(struct loop *l)
{
    struct sim_host *h = l->options.backend_arg;
    h->on_ready(h->arg);
}

static enum status sockets_listen(struct loop *l, const struct loop_listen_options *o, int *ret_fd,
                                  struct net_addr *ret_addr, struct err *err)
{
    struct sim_host *h = l->options.backend_arg;
    uint16_t port = o->addr.port;
    while (port == 0 || (o->addr.port == 0 && sock__listener(h, port)))
        port = h->next_port++;
    if (sock__listener(h, port)) {
        char text[NET_ADDR_TEXT];
        return err_errno(err, EADDRINUSE, "listen on %s", net_addr_text(&o->addr, text));
    }
    struct sock *k = sock__new(h, SOCK_LISTEN);
    sim_host_addr(h, port, &k->local);
    *ret_addr = k->local;
    *ret_fd = k->fd;
    return ST_OK;
}

static enum status sockets_connect(struct loop *l, const struct net_addr *to, int *ret_fd,
                                   struct err *err)
{
    (void)err;
    struct sim_host *h = l->options.backend_arg;
    struct sock *k = sock__new(h, SOCK_CONNECTING);
    sim_host_addr(h, h->next_port++, &k->local);
    k->peer = *to;
    if (to->ip[0] == 127) /* the machine itself */
        sim_host_addr(h, to->port, &k->peer);
    sock__connect(k);
    *ret_fd = k->fd;
    return ST_OK;
}

static void sockets_peer(struct loop *l, int fd, struct net_addr *ret)
{
    *ret = sock_of(l, fd)->peer;
}

static void sockets_local(struct loop *l, int fd, struct net_addr *ret)
{
    *ret = sock_of(l, fd)->local;
}

static void sockets_finish(struct loop *l, int fd)
{
    sock__finish(sock_of(l, fd));
}

static void sockets_reset_on_close(struct loop *l, int fd)
{
    sock_of(l, fd)->reset_wanted = true;
}

static void sockets_close_socket(struct loop *l, int fd)
{
    sock__disown(sock_of(l, fd));
}

static const struct loop_sockets sockets = {
    .open = sockets_open,
    .close = sockets_close,
    .wake = sockets_wake,
    .listen = sockets_listen,
    .connect = sockets_connect,
    .peer = sockets_peer,
    .local = sockets_local,
    .finish = sockets_finish,
    .reset_on_close = sockets_reset_on_close,
    .close_socket = sockets_close_socket,
};

/* --- the loop --- */

static enum status backend_open(struct loop *l, struct err *err)
{
    struct sim_loop *s = mem_zalloc(sizeof *s); /* the simulated process's, as epoll's is */
    if (!s || !(s->buf = mem_alloc(l->options.recv_buf_bytes))) {
        mem_free(s);
        return err_set(err, ST_NO_MEMORY, "loop: no memory for a receive buffer");
    }
    s->host = l->options.backend_arg;
    l->impl = s;
    return ST_OK;
}

static void backend_close(struct loop *l)
{
    struct sim_loop *s = of(l);
    mem_free(s->buf);
    mem_free(s);
    l->impl = NULL;
}

static enum status conn_add(struct loop_conn *c, struct err *err)
{
    (void)err;
    struct sock *k = sock_of(c->loop, c->fd);
    k->user = c;
    c->can_write = !c->connecting;
    if (!c->connecting)
        sock__mark_ready(k); /* what came before anyone accepted it */
    return ST_OK;
}

/* Now and then a piece comes in two: whoever reads must not take reads for messages. */
static size_t bite(struct sim_net *n, size_t cap)
{
    if (!dice_one_in(&n->dice, 16))
        return cap;
    return 1 + (size_t)dice_below(&n->dice, cap < 64 ? cap : 64);
}

static void conn_read(struct loop_conn *c)
{
    struct sim_loop *s = of(c->loop);
    struct sock *k = sock_of(c->loop, c->fd);
    if (c->connecting)
        return;
    if (k->in_bytes > 0) {
        size_t n = sock__read(k, s->buf, bite(k->net, c->loop->options.recv_buf_bytes));
        loop__received(c, s->buf, n);
        if (loop__wants_bytes(c) && (k->in_bytes > 0 || k->eof || k->error))
            loop__attend(c);
        return;
    }
    if (k->error)
        loop__failed(c, k->error);
    else if (k->eof)
        loop__eof(c);
}

static void conn_flush(struct loop_conn *c)
{
    struct sock *k = sock_of(c->loop, c->fd);
    while (c->can_write && c->queued > 0) {
        struct iovec iov[LOOP_IOV];
        size_t bytes, room = k->error ? 0 : sock__room(k);
        if (room == 0) {
            c->can_write = false;
            if (k->error)
                loop__failed(c, k->error);
            return;
        }
        int parts = loop__gather(c, iov, LOOP_IOV, &bytes);
        size_t n = bytes < room ? bytes : room;
        sock__write(k, iov, parts, n);
        loop__sent(c, n);
    }
    loop__send_end(c);
}

static void conn_drop(struct loop_conn *c)
{
    loop__conn_gone(c);
}

static enum status listener_add(struct loop_listener *li, struct err *err)
{
    (void)err;
    sock_of(li->loop, li->fd)->user = li;
    return ST_OK;
}

static void listener_pause(struct loop_listener *li)
{
    (void)li; /* poll looks at `paused` */
}

static void listener_resume(struct loop_listener *li)
{
    sock__mark_ready(sock_of(li->loop, li->fd));
}

static void listener_drop(struct loop_listener *li)
{
    loop__listener_gone(li);
}

static void accept_all(struct sock *li, struct loop_listener *user)
{
    while (!list_empty(&li->backlog) && !user->closing && !user->paused) {
        struct sock *k = container_of(li->backlog.next, struct sock, backlog);
        sock__leave_backlog(k);
        loop__accepted(user, k->fd, &k->peer);
    }
}

static void conn_event(struct sock *k, struct loop_conn *c)
{
    if (c->closing)
        return;
    if (c->connecting) {
        if (!k->connected && !k->error)
            return;
        c->can_write = true;
        loop__connected(c, k->error);
        return;
    }
    if (!c->can_write && sock__room(k) > 0) {
        c->can_write = true;
        if (loop__has_output(c))
            loop__mark_dirty(c);
    }
    if (loop__wants_bytes(c))
        conn_read(c);
    else if (k->error) /* a reader that wants nothing still learns that the connection broke */
        loop__failed(c, k->error);
}

static void backend_poll(struct loop *l, uint64_t timeout_ns)
{
    (void)timeout_ns; /* time does not pass here; see sim_net_backend */
    struct sim_host *h = of(l)->host;
    struct list end;
    loop__awake(l);
    list_push_back(&h->ready, &end);
    while (h->ready.next != &end) {
        struct sock *k = container_of(h->ready.next, struct sock, ready);
        list_remove(&k->ready);
        if (k->state == SOCK_LISTEN)
            accept_all(k, k->user);
        else
            conn_event(k, k->user);
    }
    list_remove(&end);
}

const struct loop_backend *sim_net_backend(void)
{
    static const struct loop_backend backend = {
        .kind = LOOP_GIVEN,
        .sockets = &sockets,
        .recv_buf_bytes = 64 * 1024,
        .recv_bufs = 1,
        .open = backend_open,
        .close = backend_close,
        .poll = backend_poll,
        .conn_add = conn_add,
        .conn_read = conn_read,
        .conn_flush = conn_flush,
        .conn_drop = conn_drop,
        .listener_add = listener_add,
        .listener_pause = listener_pause,
        .listener_resume = listener_resume,
        .listener_drop = listener_drop,
    };
    return &backend;
}
