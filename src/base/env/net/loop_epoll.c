/* The loop on epoll: every socket registered once, edge-triggered, for both directions.
 *
 * Edges are remembered (can_read, can_write) until a call says there is no more. One round receives
 * once from each connection; one that filled the whole buffer comes again in the next round, so that
 * a fast sender does not starve the others.
 */
#include "base/env/net/loop_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <errno.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256 };
/* What an event's pointer points to, in its low bits. */
enum { IS_CONN = 0, IS_LISTENER = 1, IS_WAKE = 2, KIND_BITS = 3 };

struct epoll_loop {
    int fd;
    uint8_t *buf;
    struct epoll_event events[EVENTS];
};

static struct epoll_loop *of(const struct loop *l)
{
    return l->impl;
}

static int control(const struct loop *l, int op, int fd, uint32_t events, void *what,
                   uintptr_t kind)
{
    struct epoll_event ev = {.events = events, .data.u64 = (uintptr_t)what | kind};
    return epoll_ctl(of(l)->fd, op, fd, &ev);
}

static void epoll_close(struct loop *l)
{
    struct epoll_loop *e = of(l);
    if (!e)
        return;
    if (e->fd >= 0)
        close(e->fd);
    mem_free(e->buf);
    mem_free(e);
    l->impl = NULL;
}

static enum status epoll_open(struct loop *l, struct err *err)
{
    struct epoll_loop *e = mem_zalloc(sizeof *e);
    if (!e)
        return err_set(err, ST_NO_MEMORY, "epoll: no memory");
    l->impl = e;
    e->fd = epoll_create1(EPOLL_CLOEXEC);
    enum status st = ST_OK;
    if (e->fd < 0 || control(l, EPOLL_CTL_ADD, l->wake_fd, EPOLLIN, l, IS_WAKE) < 0)
        st = err_errno(err, errno, "epoll");
    if (!st) {
        e->buf = mem_alloc(l->options.recv_buf_bytes);
        if (!e->buf)
            st = err_set(err, ST_NO_MEMORY, "epoll: no memory for a receive buffer of %zu bytes",
                         l->options.recv_buf_bytes);
    }
    if (st)
        epoll_close(l);
    return st;
}

/* --- connections --- */

static enum status epoll_conn_add(struct loop_conn *c, struct err *err)
{
    c->can_write = !c->connecting;
    if (control(c->loop, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c,
                IS_CONN) < 0)
        return err_errno(err, errno, "connection: epoll");
    return ST_OK;
}

static void epoll_conn_read(struct loop_conn *c)
{
    struct epoll_loop *e = of(c->loop);
    if (!c->can_read)
        return;
    ssize_t n;
    do
        n = recv(c->fd, e->buf, c->loop->options.recv_buf_bytes, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0) {
        c->can_read = false;
        if (errno != EAGAIN && errno != EWOULDBLOCK)
            loop__failed(c, errno);
        return;
    }
    if (n == 0) {
        c->can_read = false;
        loop__eof(c);
        return;
    }
    /* A short count empties a stream's buffer; what comes after makes a new edge. The end or an
     * error that was told with it makes none. */
    c->can_read = (size_t)n == c->loop->options.recv_buf_bytes || c->hung_up;
    loop__received(c, e->buf, (size_t)n);
    if (c->can_read && loop__wants_bytes(c))
        loop__attend(c);
}

static void epoll_conn_flush(struct loop_conn *c)
{
    while (c->can_write && c->queued > 0) {
        struct iovec iov[LOOP_IOV];
        size_t bytes;
        int parts = loop__gather(c, iov, LOOP_IOV, &bytes);
        ssize_t n;
        if (parts == 1) {
            n = send(c->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
        } else {
            struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)parts};
            n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            c->can_write = false;
            if (errno != EAGAIN && errno != EWOULDBLOCK)
                loop__failed(c, errno);
            return;
        }
        loop__sent(c, (size_t)n);
    }
    loop__send_end(c);
}

static void epoll_conn_drop(struct loop_conn *c)
{
    loop__conn_gone(c); /* closing the socket takes it out of the epoll set */
}

static void conn_event(struct loop_conn *c, uint32_t events)
{
    if (c->closing)
        return;
    if (c->connecting) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
            c->can_write = true;
            loop__connected(c, socket__error(c->fd));
        }
        if (c->connecting)
            return;
    }
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        c->hung_up = true;
    if (events & EPOLLOUT && !c->can_write) {
        c->can_write = true;
        if (loop__has_output(c) && !c->closing)
            loop__mark_dirty(c);
    }
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        c->can_read = true;
        if (loop__wants_bytes(c))
            epoll_conn_read(c);
    }
    /* A reader that wants nothing still learns that the connection broke. */
    if (!c->closing && (events & EPOLLERR) && c->can_read) {
        int error = socket__error(c->fd);
        if (error)
            loop__failed(c, error);
    }
}

/* --- listeners --- */

static enum status epoll_listener_add(struct loop_listener *li, struct err *err)
{
    if (control(li->loop, EPOLL_CTL_ADD, li->fd, EPOLLIN, li, IS_LISTENER) < 0)
        return err_errno(err, errno, "listen: epoll");
    return ST_OK;
}

static void epoll_listener_pause(struct loop_listener *li)
{
    int rc = control(li->loop, EPOLL_CTL_MOD, li->fd, 0, li, IS_LISTENER);
    ASSERT(rc == 0); /* it is there, and changing it takes no memory */
}

static void epoll_listener_resume(struct loop_listener *li)
{
    int rc = control(li->loop, EPOLL_CTL_MOD, li->fd, EPOLLIN, li, IS_LISTENER);
    ASSERT(rc == 0);
}

static void epoll_listener_drop(struct loop_listener *li)
{
    loop__listener_gone(li);
}

static void listener_event(struct loop_listener *li)
{
    for (unsigned n = 0; n < ACCEPTS_A_ROUND && !li->closing && !li->paused; n++) {
        struct sockaddr_storage sa = {0};
        socklen_t len = sizeof sa;
        int fd = accept4(li->fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            struct net_addr peer;
            socket__addr((const struct sockaddr *)&sa, &peer);
            loop__accepted(li, fd, &peer);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else {
            loop__accept_failed(li, errno);
        }
    }
}

/* --- waiting --- */

static int wait_events(struct epoll_loop *e, uint64_t timeout_ns)
{
    struct timespec ts = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
    int n = epoll_pwait2(e->fd, e->events, EVENTS, timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
    if (n < 0 && errno == ENOSYS) { /* before Linux 5.11 */
        uint64_t ms = timeout_ns / 1000000u + (timeout_ns % 1000000u != 0);
        n = epoll_wait(e->fd, e->events, EVENTS, ms > INT32_MAX ? -1 : (int)ms);
    }
    ASSERT(n >= 0 || errno == EINTR);
    return n;
}

static void epoll_poll(struct loop *l, uint64_t timeout_ns)
{
    struct epoll_loop *e = of(l);
    int n = wait_events(e, timeout_ns);
    loop__awake(l);
    l->events += n > 0 ? (uint64_t)n : 0;
    for (int i = 0; i < n; i++) {
        uintptr_t tagged = (uintptr_t)e->events[i].data.u64;
        union {
            uintptr_t number;
            void *what;
        } u = {.number = tagged & ~(uintptr_t)KIND_BITS};
        switch (tagged & KIND_BITS) {
        case IS_CONN:
            conn_event(u.what, e->events[i].events);
            break;
        case IS_LISTENER:
            listener_event(u.what);
            break;
        default:
            loop__woken(l);
        }
    }
}

const struct loop_backend loop__epoll = {
    .kind = LOOP_EPOLL,
    .sockets = &loop__sockets,
    .recv_buf_bytes = 64 * 1024,
    .recv_bufs = 1,
    .open = epoll_open,
    .close = epoll_close,
    .poll = epoll_poll,
    .conn_add = epoll_conn_add,
    .conn_read = epoll_conn_read,
    .conn_flush = epoll_conn_flush,
    .conn_drop = epoll_conn_drop,
    .listener_add = epoll_listener_add,
    .listener_pause = epoll_listener_pause,
    .listener_resume = epoll_listener_resume,
    .listener_drop = epoll_listener_drop,
};
