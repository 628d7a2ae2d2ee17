/* Echo of 100 bytes over loopback by one loop thread, epoll and io_uring in turn: requests a second and
 * the loop thread's processor time for each, at 1, 64 and 1,000 connections with one request each
 * under way. A second thread plays all clients, on an epoll loop of its own.
 *
 * bench_loop [seconds per run = 2] [rounds = 3]
 */
#include "base/env/net/loop.h"
#include "base/env/thread.h"
#include "bench/bench_util.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { MESSAGE = 100, CONNS_MAX = 1000 };

struct side {
    struct loop *l;
    struct loop_listener *li;
    struct net_addr addr;
    _Atomic bool stop;
    uint64_t requests, sum, cpu_ns;
};

struct end {
    struct side *side;
    struct loop_conn *c;
    size_t got;
};

static uint64_t thread_cpu_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void on_eof(void *ctx)
{
    loop_conn_close(((struct end *)ctx)->c);
}

static void on_close(void *ctx, enum status why, int errno_value)
{
    (void)why;
    (void)errno_value;
    free(ctx);
}

static size_t serve(void *ctx, struct bytes data)
{
    struct end *e = ctx;
    if (loop_conn_send(e->c, data))
        bench_die("the server cannot send");
    e->got += data.len;
    e->side->requests += e->got / MESSAGE;
    e->got %= MESSAGE;
    return data.len;
}

static void ask(struct end *e)
{
    static const uint8_t message[MESSAGE] = {7};
    if (loop_conn_send(e->c, BYTES(message, MESSAGE)))
        bench_die("the client cannot send");
}

static size_t hear(void *ctx, struct bytes data)
{
    struct end *e = ctx;
    e->side->sum += data.data[0];
    e->got += data.len;
    for (; e->got >= MESSAGE; e->got -= MESSAGE)
        ask(e);
    return data.len;
}

static void on_connect(void *ctx)
{
    ask(ctx);
}

static const struct loop_conn_ops server_ops = {
    .on_recv = serve, .on_eof = on_eof, .on_close = on_close};
static const struct loop_conn_ops client_ops = {
    .on_connect = on_connect, .on_recv = hear, .on_eof = on_eof, .on_close = on_close};

static struct end *end_new(struct side *s)
{
    struct end *e = calloc(1, sizeof *e);
    if (!e)
        bench_die("no memory");
    e->side = s;
    return e;
}

static void on_accept(void *arg, int sock, const struct net_addr *peer)
{
    (void)peer;
    struct end *e = end_new(arg);
    if (loop_adopt(e->side->l, sock, &server_ops, e, NULL, &e->c, NULL))
        bench_die("the server cannot take a connection");
}

static void run_server(void *arg)
{
    struct side *s = arg;
    uint64_t from = 0;
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        loop_poll(s->l, UINT64_MAX);
        if (from == 0 && s->requests > 0)
            from = thread_cpu_ns();
    }
    s->cpu_ns = thread_cpu_ns() - from;
    loop_listener_close(s->li);
    while (loop_conns(s->l) > 0 || loop_listeners(s->l) > 0)
        loop_poll(s->l, loop_clock_ns(s->l) + 1000000u);
}

static void close_all(struct end **ends, size_t n)
{
    for (size_t i = 0; i < n; i++)
        loop_conn_close(ends[i]->c);
}

static struct side make_side(enum loop_kind kind)
{
    struct side s = {0};
    struct loop_options o = {.kind = kind};
    struct err err;
    err_init(&err);
    if (loop_new(env_linux(), &o, &s.l, &err))
        bench_die("%s: %s", loop_kind_name(kind), err.detail);
    return s;
}

static void measure(enum loop_kind kind, size_t conns, uint64_t seconds)
{
    struct side server = make_side(kind), client = make_side(LOOP_EPOLL);
    struct loop_listen_options lo = {.on_accept = on_accept, .arg = &server};
    struct err err;
    err_init(&err);
    if (net_addr_parse("127.0.0.1:0", &lo.addr, &err) ||
        loop_listen(server.l, &lo, &server.li, &err))
        bench_die("%s", err.detail);
    loop_listener_addr(server.li, &server.addr);
    struct env_thread thread;
    if (env_thread_start(&thread, "server", run_server, &server, &err))
        bench_die("%s", err.detail);
    static struct end *ends[CONNS_MAX];
    for (size_t i = 0; i < conns; i++) {
        ends[i] = end_new(&client);
        if (loop_connect(client.l, &server.addr, &client_ops, ends[i], NULL, &ends[i]->c, &err))
            bench_die("%s", err.detail);
    }
    uint64_t start = bench_ns(), end = start + seconds * 1000000000u;
    while (bench_ns() < end)
        loop_poll(client.l, end);
    uint64_t ns = bench_ns() - start;
    close_all(ends, conns);
    while (loop_conns(client.l) > 0)
        loop_poll(client.l, loop_clock_ns(client.l) + 1000000u);
    loop_free(client.l);
    atomic_store(&server.stop, true);
    loop_wake(server.l);
    env_thread_join(&thread);
    loop_free(server.l);
    char what[64];
    snprintf(what, sizeof what, "%s, %zu connections", loop_kind_name(kind), conns);
    bench_rate(what, server.requests, ns);
    printf("    %" PRIu64 " ns of the loop's processor each\n",
           server.requests ? server.cpu_ns / server.requests : 0);
    bench_checksum(client.sum);
}

int main(int argc, char **argv)
{
    uint64_t seconds = bench_arg(argc, argv, 1, 2), rounds = bench_arg(argc, argv, 2, 3);
    bench_machine("bench_loop");
    struct rlimit lim;
    if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur < 4096 && lim.rlim_max >= 4096) {
        lim.rlim_cur = 4096;
        (void)setrlimit(RLIMIT_NOFILE, &lim);
    }
    struct loop *l = NULL;
    struct err err;
    err_init(&err);
    bool uring =
        loop_new(env_linux(), &(struct loop_options){.kind = LOOP_URING}, &l, &err) == ST_OK;
    loop_free(l);
    if (!uring)
        printf("io_uring is left out: %s\n", err.detail);
    static const size_t conns[] = {1, 64, CONNS_MAX};
    for (size_t i = 0; i < sizeof conns / sizeof *conns; i++)
        for (uint64_t r = 0; r < rounds; r++) {
            measure(LOOP_EPOLL, conns[i], seconds);
            if (uring)
                measure(LOOP_URING, conns[i], seconds);
        }
    return 0;
}
