#include "echo_world.h"

#include "support/cmocka.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 16, BUFFER = 64 * 1024 };

/* --- the server --- */

struct peer {
    int fd;
    size_t held;
    uint8_t buf[BUFFER];
};

static void stall(uint64_t ms)
{
    struct timespec t = {(time_t)(ms / 1000), (long)(ms % 1000 * 1000000)};
    nanosleep(&t, NULL);
}

/* Answers whole requests; false: the connection is over. */
static bool answer(struct echo_world *w, struct peer *p)
{
    ssize_t n = recv(p->fd, p->buf + p->held, BUFFER - p->held, 0);
    if (n <= 0)
        return false;
    p->held += (size_t)n;
    size_t whole = p->held / REQUEST;
    for (size_t i = 0; i < whole; i++) {
        uint64_t number = ++w->requests;
        if (w->stall_after && number == w->stall_after)
            stall(w->stall_ms);
        if (w->cut_after && number % w->cut_after == 0)
            return false;
    }
    if (!w->silent && send(p->fd, p->buf, whole * REQUEST, MSG_NOSIGNAL) < 0)
        return false;
    memmove(p->buf, p->buf + whole * REQUEST, p->held - whole * REQUEST);
    p->held -= whole * REQUEST;
    return true;
}

static void serve(void *arg)
{
    static struct peer peers[ECHO_CONNS_MAX];
    struct echo_world *w = arg;
    struct pollfd fds[ECHO_CONNS_MAX + 2];
    size_t n = 0;
    for (;;) {
        fds[0] = (struct pollfd){w->stop[0], POLLIN, 0};
        fds[1] = (struct pollfd){w->listener, POLLIN, 0};
        for (size_t i = 0; i < n; i++)
            fds[2 + i] = (struct pollfd){peers[i].fd, POLLIN, 0};
        if (poll(fds, (nfds_t)(2 + n), -1) < 0 || fds[0].revents)
            break;
        for (size_t i = n; i-- > 0;)
            if (fds[2 + i].revents && !answer(w, &peers[i])) {
                close(peers[i].fd);
                peers[i] = peers[--n];
            }
        if (fds[1].revents && n < ECHO_CONNS_MAX)
            peers[n++] = (struct peer){.fd = accept(w->listener, NULL, NULL)};
    }
    while (n > 0)
        close(peers[--n].fd);
}

void echo_start(struct echo_world *w)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    struct err err;
    w->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(w->listener >= 0);
    assert_int_equal(bind(w->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(w->listener, 64), 0);
    assert_int_equal(getsockname(w->listener, (struct sockaddr *)&at, &len), 0);
    assert_int_equal(pipe(w->stop), 0);
    assert_int_equal(net_addr_parse("127.0.0.1:0", &w->addr, NULL), ST_OK);
    w->addr.port = ntohs(at.sin_port);
    assert_int_equal(env_thread_start(&w->thread, "echo", serve, w, &err), ST_OK);
}

void echo_stop(struct echo_world *w)
{
    assert_int_equal(write(w->stop[1], "x", 1), 1);
    env_thread_join(&w->thread);
    close(w->stop[0]);
    close(w->stop[1]);
    close(w->listener);
}

/* --- the protocol: a request is the slot's address and the key --- */

struct conn {
    struct buf out, in;
};

static enum status echo_open(void *state, const struct load_context *c, uint64_t now_ms,
                             struct err *err)
{
    (void)state;
    (void)c;
    (void)now_ms;
    (void)err;
    return ST_OK;
}

static void echo_close(void *state)
{
    struct conn *c = state;
    buf_deinit(&c->out);
    buf_deinit(&c->in);
}

static enum status echo_send(void *state, struct load_slot *slot, struct err *err)
{
    struct conn *c = state;
    uint64_t words[2] = {(uint64_t)(uintptr_t)slot, slot->op.key};
    (void)err;
    return buf_append(&c->out, words, sizeof words);
}

static enum status echo_recv(void *state, struct bytes in, uint64_t now_ms, struct err *err)
{
    struct conn *c = state;
    size_t at = 0;
    (void)now_ms;
    enum status st = buf_append(&c->in, in.data, in.len);
    if (st != ST_OK)
        return err_set(err, st, "no memory for an answer");
    for (; at + REQUEST <= c->in.len; at += REQUEST) {
        uint64_t words[2];
        memcpy(words, c->in.data + at, sizeof words);
        struct load_slot *slot = (struct load_slot *)(uintptr_t)words[0];
        load_answered(slot, words[1] == slot->op.key ? NULL : load_wrong_value, BYTES_EMPTY, 1,
                      words[1]);
    }
    memmove(c->in.data, c->in.data + at, c->in.len - at);
    c->in.len -= at;
    return ST_OK;
}

static enum status echo_output(void *state, struct bytes *ret, struct err *err)
{
    (void)err;
    *ret = buf_bytes(&((struct conn *)state)->out);
    return ST_OK;
}

static void echo_output_done(void *state, size_t n)
{
    struct conn *c = state;
    memmove(c->out.data, c->out.data + n, c->out.len - n);
    c->out.len -= n;
}

const struct load_protocol echo_protocol = {.name = "echo",
                                            .conn_bytes = sizeof(struct conn),
                                            .slot_bytes = 1,
                                            .kinds = (1u << LOAD_KINDS) - 1,
                                            .open = echo_open,
                                            .close = echo_close,
                                            .send = echo_send,
                                            .recv = echo_recv,
                                            .output = echo_output,
                                            .output_done = echo_output_done};
