/* The loop on io_uring: multishot accept and receive, buffers provided to the kernel, sends of a
 * round submitted with the wait for the next one.
 *
 * Each request under way carries the address of its connection or listener and, in the low bits,
 * what it is. `pending` counts them; the object goes when none is left. A multishot request is one
 * until a completion comes without IORING_CQE_F_MORE.
 *
 * The ring is made disabled and switched on by the first loop_poll, so that the thread that runs the
 * loop, not the one that made it, is its single issuer. When the submission queue has no room (the
 * kernel being out of room for completions), what was to be submitted is tried again next round.
 */
#include "base/env/net/loop_internal.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <unistd.h>

enum {
    SQ_ENTRIES = 256,
    CQ_ENTRIES = 8192,
    BUF_GROUP = 1,
    SEND_IOV = 16,
};
enum {
    OP_RECV,
    OP_SEND,
    OP_CONNECT,
    OP_CANCEL, /* of a connection */
    OP_ACCEPT,
    OP_CANCEL_ACCEPT,
    OP_WAKE,
    OP_BITS = 7
};

struct send_parts {
    struct msghdr msg;
    struct iovec iov[SEND_IOV];
};

struct uring_loop {
    struct io_uring ring;
    bool ring_made, enabled, wake_armed;
    struct io_uring_buf_ring *buf_ring;
    size_t buf_ring_bytes;
    uint8_t *bufs;
    unsigned recycled; /* buffers added to the ring but not yet shown to the kernel */
    /* What sends point to until they are submitted; one for each submission slot. */
    struct send_parts *parts;
    unsigned parts_used;
};

static struct uring_loop *of(const struct loop *l)
{
    return l->impl;
}

static void show_recycled(struct uring_loop *u)
{
    if (u->recycled == 0)
        return;
    io_uring_buf_ring_advance(u->buf_ring, (int)u->recycled);
    u->recycled = 0;
}

/* NULL: no room even after submitting. */
static struct io_uring_sqe *get_sqe(struct loop *l)
{
    struct uring_loop *u = of(l);
    struct io_uring_sqe *sqe = u->enabled ? io_uring_get_sqe(&u->ring) : NULL;
    if (sqe || !u->enabled)
        return sqe;
    show_recycled(u);
    if (io_uring_submit(&u->ring) < 0)
        return NULL;
    if (io_uring_sq_ready(&u->ring) == 0)
        u->parts_used = 0;
    return io_uring_get_sqe(&u->ring);
}

static void tag(struct io_uring_sqe *sqe, const void *what, unsigned op)
{
    io_uring_sqe_set_data64(sqe, (uint64_t)(uintptr_t)what | op);
}

/* --- opening --- */

static void uring_close(struct loop *l)
{
    struct uring_loop *u = of(l);
    if (!u)
        return;
    if (u->ring_made)
        io_uring_queue_exit(&u->ring);
    mem_free(u->buf_ring);
    mem_free(u->bufs);
    mem_free(u->parts);
    mem_free(u);
    l->impl = NULL;
}

static enum status refused(struct err *err, int error, const char *what)
{
    if (error == ENOSYS || error == EINVAL)
        return err_set(err, ST_UNIMPLEMENTED, "io_uring: %s: the kernel is older than 6.1", what);
    if (error == EPERM || error == EACCES)
        return err_set(err, ST_PERMISSION_DENIED,
                       "io_uring: %s: the kernel or a sandbox forbids it", what);
    return err_errno(err, error, "io_uring: %s", what);
}

static enum status provide_buffers(struct loop *l, struct err *err)
{
    struct uring_loop *u = of(l);
    size_t n = l->options.recv_bufs, each = l->options.recv_buf_bytes;
    u->buf_ring_bytes = n * sizeof(struct io_uring_buf);
    u->buf_ring = mem_aligned(4096, u->buf_ring_bytes < 4096 ? 4096 : u->buf_ring_bytes);
    u->bufs = mem_aligned(4096, n * each);
    u->parts = mem_alloc(SQ_ENTRIES * sizeof *u->parts);
    if (!u->buf_ring || !u->bufs || !u->parts)
        return err_set(err, ST_NO_MEMORY, "io_uring: no memory for %zu buffers of %zu bytes", n,
                       each);
    memset(u->buf_ring, 0, u->buf_ring_bytes);
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)u->buf_ring,
                                   .ring_entries = (uint32_t)n,
                                   .bgid = BUF_GROUP};
    int rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (rc < 0)
        return refused(err, -rc, "provided buffers");
    for (size_t i = 0; i < n; i++)
        io_uring_buf_ring_add(u->buf_ring, u->bufs + i * each, (unsigned)each, (unsigned short)i,
                              io_uring_buf_ring_mask((uint32_t)n), (int)i);
    io_uring_buf_ring_advance(u->buf_ring, (int)n);
    return ST_OK;
}

static enum status uring_open(struct loop *l, struct err *err)
{
    struct uring_loop *u = mem_zalloc(sizeof *u);
    if (!u)
        return err_set(err, ST_NO_MEMORY, "io_uring: no memory");
    l->impl = u;
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                         IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE,
                                .cq_entries = CQ_ENTRIES};
    int rc = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &p);
    u->ring_made = rc == 0;
    enum status st = rc < 0 ? refused(err, -rc, "setup") : provide_buffers(l, err);
    if (st)
        uring_close(l);
    return st;
}

/* --- receiving --- */

static void arm_recv(struct loop_conn *c)
{
    if (c->recv_armed)
        return;
    struct io_uring_sqe *sqe = get_sqe(c->loop);
    if (!sqe) {
        loop__attend(c);
        return;
    }
    io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUF_GROUP;
    tag(sqe, c, OP_RECV);
    c->recv_armed = true;
    c->recv_cancelled = false;
    c->pending++;
}

/* Pausing is lazy: only bytes that come although nobody wants them end the request. */
static void cancel_recv(struct loop_conn *c)
{
    if (!c->recv_armed || c->recv_cancelled)
        return;
    struct io_uring_sqe *sqe = get_sqe(c->loop);
    if (!sqe)
        return; /* tried again with the next bytes */
    io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)c | OP_RECV, 0);
    tag(sqe, c, OP_CANCEL);
    c->recv_cancelled = true;
    c->pending++;
}

static void recycle(struct loop *l, unsigned id)
{
    struct uring_loop *u = of(l);
    size_t each = l->options.recv_buf_bytes;
    io_uring_buf_ring_add(u->buf_ring, u->bufs + id * each, (unsigned)each, (unsigned short)id,
                          io_uring_buf_ring_mask((uint32_t)l->options.recv_bufs), (int)u->recycled);
    u->recycled++;
}

static void recv_done(struct loop_conn *c, int res, unsigned flags)
{
    struct loop *l = c->loop;
    if (!(flags & IORING_CQE_F_MORE)) {
        c->recv_armed = false;
        c->pending--;
    }
    if (flags & IORING_CQE_F_BUFFER) {
        unsigned id = flags >> IORING_CQE_BUFFER_SHIFT;
        if (res > 0)
            loop__received(c, of(l)->bufs + id * l->options.recv_buf_bytes, (size_t)res);
        recycle(l, id);
    }
    if (res == 0 && !c->closing)
        loop__eof(c);
    else if (res < 0 && res != -ENOBUFS && res != -ECANCELED && res != -EINTR && res != -EAGAIN)
        loop__failed(c, -res);
    if (loop__wants_bytes(c))
        arm_recv(c);
    else if (res > 0 && !c->closing)
        cancel_recv(c);
}

/* --- sending --- */

static void uring_conn_flush(struct loop_conn *c)
{
    struct uring_loop *u = of(c->loop);
    if (c->send_armed)
        return;
    if (c->queued == 0) {
        loop__send_end(c);
        return;
    }
    struct io_uring_sqe *sqe = get_sqe(c->loop);
    if (!sqe) {
        loop__mark_dirty(c);
        return;
    }
    struct send_parts *p = u->parts_used < SQ_ENTRIES ? &u->parts[u->parts_used] : NULL;
    struct iovec one;
    size_t bytes;
    int n = loop__gather(c, p ? p->iov : &one, p ? SEND_IOV : 1, &bytes);
    if (n == 1) {
        one = p ? p->iov[0] : one;
        io_uring_prep_send(sqe, c->fd, one.iov_base, one.iov_len, MSG_NOSIGNAL | MSG_WAITALL);
    } else {
        u->parts_used++;
        p->msg = (struct msghdr){.msg_iov = p->iov, .msg_iovlen = (size_t)n};
        io_uring_prep_sendmsg(sqe, c->fd, &p->msg, MSG_NOSIGNAL | MSG_WAITALL);
    }
    tag(sqe, c, OP_SEND);
    c->send_armed = true;
    c->pending++;
}

static void send_done(struct loop_conn *c, int res)
{
    c->send_armed = false;
    c->pending--;
    if (res > 0)
        loop__sent(c, (size_t)res);
    else if (res < 0 && res != -EINTR && res != -EAGAIN && res != -ECANCELED)
        loop__failed(c, -res);
    if (!c->closing && loop__has_output(c))
        loop__mark_dirty(c);
}

/* --- connections --- */

/* The first request goes with the others of the round, once the ring is on. */
static enum status uring_conn_add(struct loop_conn *c, struct err *err)
{
    (void)err;
    loop__attend(c);
    return ST_OK;
}

static void arm_connect(struct loop_conn *c)
{
    if (c->connect_armed)
        return;
    struct io_uring_sqe *sqe = get_sqe(c->loop);
    if (!sqe) {
        loop__attend(c);
        return;
    }
    io_uring_prep_poll_add(sqe, c->fd, POLLOUT);
    tag(sqe, c, OP_CONNECT);
    c->connect_armed = true;
    c->pending++;
}

static void uring_conn_read(struct loop_conn *c)
{
    if (c->connecting)
        arm_connect(c);
    else
        arm_recv(c);
}

static void uring_conn_drop(struct loop_conn *c)
{
    if (c->pending == 0) {
        loop__conn_gone(c);
        return;
    }
    struct io_uring_sqe *sqe = get_sqe(c->loop);
    if (!sqe) {
        c->dropped = false;
        loop__attend(c);
        return;
    }
    io_uring_prep_cancel_fd(sqe, c->fd, IORING_ASYNC_CANCEL_ALL);
    tag(sqe, c, OP_CANCEL);
    c->pending++;
}

static void conn_done(struct loop_conn *c, unsigned op, int res, unsigned flags)
{
    switch (op) {
    case OP_RECV:
        recv_done(c, res, flags);
        break;
    case OP_SEND:
        send_done(c, res);
        break;
    case OP_CONNECT:
        c->pending--;
        c->connect_armed = false;
        loop__connected(c, res < 0 ? -res : socket__error(c->fd));
        break;
    default: /* OP_CANCEL: what it ended says so itself */
        c->pending--;
    }
    if (c->closing && c->dropped && c->pending == 0)
        loop__conn_gone(c);
}

/* --- listeners --- */

static void uring_listener_resume(struct loop_listener *li)
{
    if (li->armed || li->closing)
        return;
    struct io_uring_sqe *sqe = get_sqe(li->loop);
    if (!sqe) {
        list_remove(&li->attention);
        list_push_back(&li->loop->listener_attention, &li->attention);
        return;
    }
    io_uring_prep_multishot_accept(sqe, li->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    tag(sqe, li, OP_ACCEPT);
    li->armed = true;
    li->pending++;
}

static enum status uring_listener_add(struct loop_listener *li, struct err *err)
{
    (void)err;
    list_push_back(&li->loop->listener_attention, &li->attention);
    return ST_OK;
}

static void uring_listener_pause(struct loop_listener *li)
{
    (void)li; /* the error that made it pause has ended the request */
}

static void uring_listener_drop(struct loop_listener *li)
{
    if (li->pending == 0) {
        loop__listener_gone(li);
        return;
    }
    struct io_uring_sqe *sqe = get_sqe(li->loop);
    if (!sqe) {
        li->dropped = false;
        list_push_back(&li->loop->listener_attention, &li->attention);
        return;
    }
    io_uring_prep_cancel_fd(sqe, li->fd, IORING_ASYNC_CANCEL_ALL);
    tag(sqe, li, OP_CANCEL_ACCEPT);
    li->pending++;
}

static void listener_done(struct loop_listener *li, unsigned op, int res, unsigned flags)
{
    if (op == OP_ACCEPT && !(flags & IORING_CQE_F_MORE)) {
        li->armed = false;
        li->pending--;
    }
    if (op == OP_CANCEL_ACCEPT) {
        li->pending--;
    } else if (res >= 0) {
        struct net_addr peer;
        socket__peer(res, &peer);
        loop__accepted(li, res, &peer);
    } else if (res != -ECANCELED && res != -EAGAIN) {
        loop__accept_failed(li, -res);
    }
    if (!li->closing && !li->paused)
        uring_listener_resume(li);
    if (li->closing && li->dropped && li->pending == 0)
        loop__listener_gone(li);
}

/* --- rounds --- */

static void arm_wake(struct loop *l)
{
    struct uring_loop *u = of(l);
    if (u->wake_armed)
        return;
    struct io_uring_sqe *sqe = get_sqe(l);
    if (!sqe)
        return; /* tried again before the next wait */
    io_uring_prep_poll_multishot(sqe, l->wake_fd, POLLIN);
    tag(sqe, l, OP_WAKE);
    u->wake_armed = true;
}

static void handle(struct loop *l, uint64_t data, int res, unsigned flags)
{
    unsigned op = (unsigned)(data & OP_BITS);
    union {
        uintptr_t number;
        void *what;
    } u = {.number = (uintptr_t)(data & ~(uint64_t)OP_BITS)};
    switch (op) {
    case OP_ACCEPT:
    case OP_CANCEL_ACCEPT:
        listener_done(u.what, op, res, flags);
        break;
    case OP_WAKE:
        if (!(flags & IORING_CQE_F_MORE))
            of(l)->wake_armed = false;
        loop__woken(l);
        break;
    default:
        conn_done(u.what, op, res, flags);
    }
}

static void submit_and_wait(struct uring_loop *u, uint64_t timeout_ns)
{
    struct io_uring_cqe *cqe;
    show_recycled(u);
    int rc;
    if (timeout_ns == 0) {
        rc = io_uring_submit_and_get_events(&u->ring);
    } else {
        struct __kernel_timespec ts = {(int64_t)(timeout_ns / 1000000000u),
                                       (int64_t)(timeout_ns % 1000000000u)};
        rc = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1,
                                              timeout_ns == UINT64_MAX ? NULL : &ts, NULL);
    }
    /* EBUSY, EAGAIN: completions must be taken first; what was not submitted stays queued. */
    ASSERT(rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EBUSY || rc == -EAGAIN);
    if (io_uring_sq_ready(&u->ring) == 0)
        u->parts_used = 0;
}

static void uring_poll(struct loop *l, uint64_t timeout_ns)
{
    struct uring_loop *u = of(l);
    if (!u->enabled) {
        /* io_uring_enable_rings is missing in the library of liburing 2.3. */
        int rc =
            io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
        ASSERT(rc == 0); /* it was made disabled, and by this process */
        u->enabled = true;
    }
    arm_wake(l);
    submit_and_wait(u, u->wake_armed ? timeout_ns : 0);
    loop__awake(l);
    /* Not more than there are now, so that timers and messages have their turn. */
    for (unsigned n = io_uring_cq_ready(&u->ring); n > 0; n--) {
        unsigned head;
        struct io_uring_cqe *cqe, *first = NULL;
        io_uring_for_each_cqe(&u->ring, head, cqe)
        {
            first = cqe;
            break;
        }
        if (!first)
            break;
        uint64_t data = first->user_data;
        int res = first->res;
        unsigned flags = first->flags;
        io_uring_cq_advance(&u->ring, 1);
        l->events++;
        handle(l, data, res, flags);
    }
}

const struct loop_backend loop__uring = {
    .kind = LOOP_URING,
    .sockets = &loop__sockets,
    .recv_buf_bytes = 4096,
    .recv_bufs = 512,
    .open = uring_open,
    .close = uring_close,
    .poll = uring_poll,
    .conn_add = uring_conn_add,
    .conn_read = uring_conn_read,
    .conn_flush = uring_conn_flush,
    .conn_drop = uring_conn_drop,
    .listener_add = uring_listener_add,
    .listener_pause = uring_listener_pause,
    .listener_resume = uring_listener_resume,
    .listener_drop = uring_listener_drop,
};
