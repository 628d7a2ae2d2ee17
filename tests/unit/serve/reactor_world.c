#include "unit/serve/reactor_world.h"

#include "support/cmocka.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum loop_kind kind_now;

/* --- clients --- */

int dial(const struct net_addr *a)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(a->port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    int rc = connect(fd, (const struct sockaddr *)(const void *)&in, sizeof in);
    if (rc < 0 && errno == EINTR) { /* see get: it goes on by itself */
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        while (poll(&p, 1, 20000) < 0 && errno == EINTR)
            ;
        rc = p.revents == POLLOUT ? 0 : -1;
    }
    assert_int_equal(rc, 0);
    return fd;
}

/* The end of an io_uring interrupts the thread that made it (task work of its last reference), and a
 * recv with a timeout is not begun again by the kernel. */
ssize_t raw_recv(int fd, void *to, size_t len)
{
    ssize_t n;
    do
        n = recv(fd, to, len, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

void hear(int fd, const char *text)
{
    char got[4096];
    size_t want = strlen(text), n = 0;
    while (n < want) {
        ssize_t r = raw_recv(fd, got + n, want - n);
        if (r <= 0)
            fail_msg("heard \"%.*s\", then %s; wanted \"%s\"", (int)n, got,
                     r ? strerror(errno) : "the end", text);
        n += (size_t)r;
    }
    assert_memory_equal(got, text, want);
}

/* The connection ends, politely or not. */
void hear_end(int fd)
{
    char c[1000];
    ssize_t r;
    while ((r = raw_recv(fd, c, sizeof c)) > 0)
        ;
    if (r < 0 && errno != ECONNRESET)
        fail_msg("the connection does not end: %s", strerror(errno));
    close(fd);
}

/* --- a server: lines, each answered by a fiber --- */

struct session {
    struct server *sv;
    char line[64];
    size_t len;
    bool draining;
    unsigned working;
};

struct request {
    struct conn *c;
    char line[64];
};

static unsigned waiting_group; /* one reactor's thread only */
struct conn *victim;           /* of "kill"; as above */

static void finish_if_drained(struct conn *c)
{
    struct session *s = conn_state(c);
    if (s->draining && s->working == 0)
        conn_finish(c);
}

static void stream(struct conn *c, struct server *sv)
{
    static const char block[10000];
    for (size_t n = 0; n < sv->stream_bytes; n += sizeof block) {
        if (conn_wait_writable(c, UINT64_MAX) || conn_send(c, BYTES(block, sizeof block)))
            return;
        size_t queued = conn_queued(c);
        if (queued > atomic_load(&sv->most_queued))
            atomic_store(&sv->most_queued, queued);
    }
}

static void answer(void *arg)
{
    struct request *q = arg;
    struct conn *c = q->c;
    struct reactor *r = conn_reactor(c);
    struct server *sv = reactor_ctx(r);
    assert_ptr_equal(r, reactor_current());
    if (!strcmp(q->line, "group")) {
        bool leads = waiting_group++ == 0;
        if (leads) {
            fiber_yield();
            atomic_store(&sv->group, waiting_group);
            waiting_group = 0;
        }
    } else if (!strcmp(q->line, "wait")) {
        while (!atomic_load(&sv->gate))
            reactor_yield(r);
    } else if (!strcmp(q->line, "stream")) {
        stream(c, sv);
    } else if (!strcmp(q->line, "victim")) {
        victim = c;
    } else if (!strcmp(q->line, "kill")) {
        conn_abort(victim, ST_CANCELLED);
    }
    char out[80];
    int n = snprintf(out, sizeof out, "<%s>", q->line);
    if (conn_is_open(c)) {
        enum status st = conn_send(c, BYTES(out, (size_t)n));
        assert_true(st == ST_OK || st == ST_OVERLOADED);
    }
    atomic_fetch_add(&sv->fibers_done, 1);
    conn_uncharge(c, 100);
    conn_busy(c, -1);
    if (conn_is_open(c)) {
        struct session *s = conn_state(c);
        s->working--;
        finish_if_drained(c);
    }
    conn_unref(c);
    free(q);
}

static enum status on_open(struct conn *c, void *arg)
{
    struct server *sv = arg;
    assert_non_null(sv);
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return ST_NO_MEMORY;
    s->sv = sv;
    conn_set_state(c, s);
    atomic_fetch_add(&sv->opened, 1);
    return ST_OK;
}

static size_t other_data(struct conn *c, struct bytes data)
{
    enum status st = conn_send(c, BYTES_LIT("other:"));
    assert_int_equal(st ? st : conn_send(c, data), ST_OK);
    return data.len;
}

static void on_closed(struct conn *c, enum status why)
{
    struct session *s = conn_state(c);
    assert_false(conn_is_open(c));
    assert_int_equal(conn_send(c, BYTES_LIT("x")), ST_CLOSED);
    atomic_store(&s->sv->last_why, (int)why);
    atomic_fetch_add(&s->sv->closed, 1);
    free(s);
}

static void on_drain(struct conn *c)
{
    struct session *s = conn_state(c);
    s->draining = true;
    atomic_fetch_add(&s->sv->drained, 1);
    finish_if_drained(c);
}

static const struct conn_proto other = {
    .name = "other", .on_open = on_open, .on_data = other_data, .on_closed = on_closed};

static void line(struct conn *c, struct session *s)
{
    struct request *q = calloc(1, sizeof *q);
    assert_non_null(q);
    q->c = c;
    memcpy(q->line, s->line, s->len);
    s->len = 0;
    conn_settled(c);
    if (!strcmp(q->line, "other")) {
        conn_set_proto(c, &other, s);
    } else if (!strcmp(q->line, "abort")) {
        conn_abort(c, ST_CORRUPT);
    } else if (!strcmp(q->line, "bye")) {
        assert_int_equal(conn_send(c, BYTES_LIT("<bye>")), ST_OK);
        conn_finish(c);
        assert_int_equal(conn_send(c, BYTES_LIT("more")), ST_CLOSED);
    } else if (q->line[0] == 'q' && q->line[1] == 'q') {
        assert_int_equal(conn_send(c, BYTES(q->line, 32)), ST_OK); /* without a fiber */
    } else if (conn_charge(c, 100, NULL)) {
        assert_int_equal(conn_send(c, BYTES_LIT("<full>")), ST_OK);
    } else {
        enum status st = reactor_spawn(conn_reactor(c), answer, q, NULL);
        if (st) {
            assert_int_equal(st, ST_OVERLOADED);
            assert_int_equal(conn_send(c, BYTES_LIT("<busy>")), ST_OK);
            conn_uncharge(c, 100);
            free(q);
            return;
        }
        conn_ref(c);
        conn_busy(c, 1);
        s->working++;
        return;
    }
    free(q);
}

/* Stops after a line that makes something else of the connection. */
static size_t on_data(struct conn *c, struct bytes data)
{
    struct session *s = conn_state(c);
    for (size_t i = 0; i < data.len; i++) {
        if (data.data[i] != '\n') {
            assert_true(s->len < sizeof s->line);
            s->line[s->len++] = (char)data.data[i];
            continue;
        }
        line(c, s);
        if (conn_proto_of(c) == &other || !conn_is_open(c))
            return i + 1;
    }
    return data.len;
}

const struct conn_proto lines = {.name = "lines",
                                 .on_open = on_open,
                                 .on_data = on_data,
                                 .on_drain = on_drain,
                                 .on_closed = on_closed};

void up_with(struct server *sv, unsigned n, enum reactors_spread spread,
             const struct conn_proto *proto, struct reactor_options o)
{
    struct err err;
    err_init(&err);
    o.loop = kind_now;
    if (reactors_start(env_linux(), n, &o, &sv->g, &err))
        fail_msg("reactors_start: %s", err.detail);
    for (unsigned i = 0; i < n; i++)
        reactors_set_ctx(sv->g, i, sv);
    struct net_addr any;
    assert_int_equal(net_addr_parse("127.0.0.1:0", &any, NULL), ST_OK);
    if (reactors_listen(sv->g, &any, spread, proto, sv, NULL, &sv->addr, &err))
        fail_msg("reactors_listen: %s", err.detail);
}

void up(struct server *sv, struct reactor_options o)
{
    *sv = (struct server){0};
    up_with(sv, 1, REACTORS_REUSEPORT, &lines, o);
}

struct reactor_stats stats(struct server *sv, unsigned i)
{
    struct reactor_stats st;
    reactor_stats_of(reactors_at(sv->g, i), &st);
    return st;
}

void down(struct server *sv)
{
    (void)reactors_stop(sv->g, 0);
    for (unsigned i = 0; i < reactors_count(sv->g); i++) {
        struct reactor_stats st = stats(sv, i);
        assert_int_equal(st.conns, 0);
        assert_int_equal(st.fibers, 0);
        assert_int_equal(st.request_bytes, 0);
        assert_int_equal(st.output_bytes, 0);
        assert_int_equal(st.kept_bytes, 0);
    }
    assert_int_equal(atomic_load(&sv->opened), atomic_load(&sv->closed));
    reactors_free(sv->g);
}

void until(_Atomic unsigned *v, unsigned n)
{
    for (unsigned ms = 0; atomic_load(v) < n; ms++) {
        if (ms > 20000)
            fail_msg("%u of %u in 20 s", atomic_load(v), n);
        env_sleep_ms(env_linux(), 1);
    }
}
