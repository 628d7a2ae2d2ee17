#include "unit/env/loop_world.h"

#include "base/alloc.h"
#include "support/cmocka.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_S = 20 };

static enum loop_kind kind_now = LOOP_EPOLL;

bool world_has(enum loop_kind kind)
{
    struct loop_options o = {.kind = kind};
    struct loop *l = NULL;
    struct err err;
    err_init(&err);
    enum status st = loop_new(env_linux(), &o, &l, &err);
    if (st) {
        assert_int_equal(kind, LOOP_URING);
        assert_true(st == ST_UNIMPLEMENTED || st == ST_PERMISSION_DENIED);
        assert_true(strlen(err.detail) > 0);
        printf("[ skipped  ] io_uring: %s\n", err.detail);
        return false;
    }
    assert_int_equal(loop_kind_of(l), kind);
    loop_free(l);
    return true;
}

void world_use(enum loop_kind kind)
{
    kind_now = kind;
}

static void on_connect(void *ctx)
{
    struct peer *p = ctx;
    assert_false(p->connected);
    p->connected = true;
}

static size_t on_recv(void *ctx, struct bytes data)
{
    struct peer *p = ctx;
    assert_false(p->eof || p->closed);
    assert_true(data.len > 0);
    size_t take = p->take_max && p->take_max < data.len ? p->take_max : data.len;
    p->received += take;
    if (p->records)
        assert_int_equal(buf_append(&p->got, data.data, take), ST_OK);
    if (p->echo)
        assert_int_equal(loop_conn_send(p->c, BYTES(data.data, take)), ST_OK);
    if (p->on_recv)
        p->on_recv(p, BYTES(data.data, take));
    return take;
}

static void on_eof(void *ctx)
{
    struct peer *p = ctx;
    assert_false(p->eof || p->closed);
    p->eof = true;
    if (p->on_eof)
        p->on_eof(p);
    if (p->finish_at_eof)
        loop_conn_finish(p->c);
}

static void on_drained(void *ctx)
{
    struct peer *p = ctx;
    p->drained++;
    if (p->on_drained)
        p->on_drained(p);
}

static void on_close(void *ctx, enum status why, int errno_value)
{
    struct peer *p = ctx;
    assert_false(p->closed);
    p->closed = true;
    p->why = why;
    p->error = errno_value;
    p->c = NULL;
    p->w->alive--;
}

const struct loop_conn_ops world_ops = {on_connect, on_recv, on_eof, on_drained, on_close};

struct peer *world_peer(struct world *w)
{
    struct peer *p = mem_alloc(sizeof *p);
    assert_non_null(p);
    *p = w->model;
    p->w = w;
    p->got = BUF_INIT;
    return p;
}

static void on_accept(void *arg, int sock, const struct net_addr *peer)
{
    struct world *w = arg;
    assert_true(peer->family != NET_NONE && peer->port != 0);
    if (w->close_accepted) {
        loop_socket_close(w->l, sock);
        return;
    }
    assert_true(w->n_accepted < WORLD_PEERS);
    struct peer *p = world_peer(w);
    assert_int_equal(loop_adopt(w->l, sock, &world_ops, p, &w->limits, &p->c, NULL), ST_OK);
    p->connected = true;
    w->alive++;
    w->accepted[w->n_accepted++] = p;
}

void world_open(struct world *w, const struct loop_options *options)
{
    *w = (struct world){0};
    struct loop_options o = {0};
    if (options)
        o = *options;
    o.kind = kind_now;
    struct err err;
    err_init(&err);
    enum status st = loop_new(env_linux(), &o, &w->l, &err);
    if (st)
        fail_msg("loop_new: %s", err.detail);
    struct loop_listen_options lo = {.on_accept = on_accept, .arg = w};
    assert_int_equal(net_addr_parse("127.0.0.1:0", &lo.addr, NULL), ST_OK);
    assert_int_equal(loop_listen(w->l, &lo, &w->li, NULL), ST_OK);
    loop_listener_addr(w->li, &w->addr);
    assert_int_not_equal(w->addr.port, 0);
}

void world_drop(struct peer *p)
{
    assert_true(p->closed);
    buf_deinit(&p->got);
    mem_free(p);
}

static bool none_alive(void *arg)
{
    struct world *w = arg;
    return loop_conns(w->l) == 0;
}

void world_close(struct world *w)
{
    loop_listener_close(w->li);
    for (size_t i = 0; i < w->n_accepted; i++)
        if (w->accepted[i]->c)
            loop_conn_close(w->accepted[i]->c);
    world_until(w, none_alive, w);
    world_rounds(w, 5); /* the listener's end */
    assert_int_equal(w->alive, 0);
    assert_int_equal(loop_queued_bytes(w->l), 0);
    assert_int_equal(loop_kept_bytes(w->l), 0);
    for (size_t i = 0; i < w->n_accepted; i++)
        world_drop(w->accepted[i]);
    loop_free(w->l);
}

struct peer *world_connect(struct world *w)
{
    struct peer model = w->model, *p;
    w->model = (struct peer){0};
    p = world_peer(w);
    w->model = model;
    assert_int_equal(loop_connect(w->l, &w->addr, &world_ops, p, &w->limits, &p->c, NULL), ST_OK);
    w->alive++;
    return p;
}

int world_raw(const struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(w->addr.port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&in, sizeof in), 0);
    return fd;
}

void world_until(struct world *w, bool (*done)(void *arg), void *arg)
{
    uint64_t limit = loop_clock_ns(w->l) + (uint64_t)PATIENCE_S * 1000000000u;
    while (!done(arg)) {
        uint64_t now = loop_clock_ns(w->l);
        if (now > limit)
            fail_msg("nothing came of it in %d s", (int)PATIENCE_S);
        loop_poll(w->l, now + 100000000u);
    }
}

void world_rounds(struct world *w, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        loop_poll(w->l, loop_clock_ns(w->l) + 1000000u);
        loop_flush(w->l);
    }
}

struct count {
    struct world *w;
    size_t n;
};

static bool enough_accepted(void *arg)
{
    struct count *c = arg;
    return c->w->n_accepted >= c->n;
}

void world_accepts(struct world *w, size_t n)
{
    struct count c = {w, n};
    world_until(w, enough_accepted, &c);
}

static bool is_closed(void *arg)
{
    return ((struct peer *)arg)->closed;
}

void world_close_peer(struct peer *p)
{
    struct world *w = p->w;
    if (p->c)
        loop_conn_close(p->c);
    world_until(w, is_closed, p);
}
