/* Production reactors over the simulated network: streams keep their bytes whatever the network does,
 * ends are told as TCP tells them, and one seed has one history. */
#include "base/alloc.h"
#include "base/hash.h"
#include "serve/port/port.h"
#include "serve/reactor/conn.h"
#include "sim/machine/machine.h"
#include "support/cmocka.h"

#include <stdio.h>
#include <string.h>

enum { SERVER = 1, CLIENT = 2, PORT = 7000 };
#define MS UINT64_C(1000000)

struct end; /* one side of the conversation */
struct world {
    struct sim_world *w;
    struct sim_machine *m[3];
    struct net_addr addr;
    uint64_t digest;
    /* what the client saw */
    bool opened, closed, eof;
    enum status why;
    size_t got, sent, want;
    uint64_t closed_at;
    struct conn *conn;
    struct dice dice;
    bool server_mute; /* takes bytes and says nothing */
};

static void note(struct world *w, uint64_t what)
{
    uint64_t v[2] = {sim_world_now(w->w), what};
    w->digest = hash_xxh64(v, sizeof v, w->digest);
}

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 31 + (i >> 8) * 17);
}

/* --- the server echoes --- */

static enum status echo_open(struct conn *c, void *arg)
{
    conn_set_state(c, arg);
    conn_settled(c);
    return ST_OK;
}

static size_t echo_data(struct conn *c, struct bytes data)
{
    struct world *w = conn_state(c);
    note(w, data.len);
    if (!w->server_mute && conn_send(c, data) != ST_OK)
        conn_abort(c, ST_OVERLOADED);
    return data.len;
}

static void echo_closed(struct conn *c, enum status why)
{
    (void)c;
    (void)why;
}

static const struct conn_proto echo_proto = {
    .name = "echo", .on_open = echo_open, .on_data = echo_data, .on_closed = echo_closed};

static void server_main(void *arg)
{
    struct world *w = arg;
    struct net_addr at = {.family = NET_IP4, .port = PORT};
    enum status st = reactors_listen(sim_machine_reactors(w->m[SERVER]), &at, REACTORS_HAND_OUT,
                                     &echo_proto, w, NULL, &w->addr, NULL);
    assert_int_equal(st, ST_OK);
}

/* --- the client says `want` bytes in pieces and expects them back --- */

/* No more than both ends may hold: each stops reading while its own output waits. */
static void say_more(struct world *w)
{
    while (w->sent < w->want && w->sent - w->got < 200000 && conn_is_open(w->conn) &&
           conn_writable(w->conn)) {
        uint8_t piece[3000];
        size_t n = 1 + (size_t)dice_below(&w->dice, sizeof piece);
        n = n < w->want - w->sent ? n : w->want - w->sent;
        for (size_t i = 0; i < n; i++)
            piece[i] = byte_at(w->sent + i);
        assert_int_equal(conn_send(w->conn, BYTES(piece, n)), ST_OK);
        w->sent += n;
    }
}

static enum status client_open(struct conn *c, void *arg)
{
    struct world *w = arg;
    conn_set_state(c, w);
    conn_settled(c);
    w->opened = true;
    w->conn = c;
    note(w, 1);
    say_more(w);
    return ST_OK;
}

static size_t client_data(struct conn *c, struct bytes data)
{
    struct world *w = conn_state(c);
    for (size_t i = 0; i < data.len; i++)
        assert_int_equal(data.data[i], byte_at(w->got + i));
    w->got += data.len;
    note(w, data.len);
    say_more(w);
    return data.len;
}

static void client_writable(struct conn *c)
{
    say_more(conn_state(c));
}

static void client_eof(struct conn *c)
{
    struct world *w = conn_state(c);
    w->eof = true;
    conn_finish(c);
}

static void client_closed(struct conn *c, enum status why)
{
    struct world *w = conn_state(c);
    w->closed = true;
    w->conn = NULL;
    w->why = why;
    w->closed_at = sim_world_now(w->w);
    note(w, (uint64_t)why);
}

static struct world *dialling; /* whose connection never opened */

static void never_opened(struct conn *c, enum status why)
{
    if (conn_state(c)) {
        client_closed(c, why);
        return;
    }
    dialling->closed = true;
    dialling->why = why;
    dialling->closed_at = sim_world_now(dialling->w);
}

static const struct conn_proto client_proto = {.name = "client",
                                               .on_open = client_open,
                                               .on_data = client_data,
                                               .on_eof = client_eof,
                                               .on_writable = client_writable,
                                               .on_closed = never_opened};

static void client_main(void *arg)
{
    struct world *w = arg;
    struct conn *c;
    struct net_addr to;
    sim_host_addr(sim_machine_host(w->m[SERVER]), PORT, &to);
    dialling = w;
    enum status st =
        reactor_connect(sim_machine_reactor(w->m[CLIENT]), &to, &client_proto, w, NULL, &c, NULL);
    assert_int_equal(st, ST_OK);
}

static void finish_main(void *arg)
{
    struct world *w = arg;
    conn_finish(w->conn);
}

/* --- the world --- */

static const struct reactor_options plain = {.setup_timeout_ms = 60000};

static void world_open(struct world *w, uint64_t seed, size_t want)
{
    *w = (struct world){.want = want, .dice = {seed}};
    w->w = sim_world_new(&(struct sim_world_options){.seed = seed});
    for (unsigned i = SERVER; i <= CLIENT; i++)
        w->m[i] = sim_machine_new(w->w, i, &(struct sim_options){0});
}

static void start(struct world *w, unsigned id)
{
    sim_machine_start(w->m[id], &plain, id == SERVER ? server_main : client_main, w);
}

static void run_ms(struct world *w, uint64_t ms)
{
    sim_world_run(w->w, sim_world_now(w->w) + ms * MS);
}

static void world_close(struct world *w)
{
    sim_world_free(w->w);
}

static void bad_network(struct world *w)
{
    struct sim_link bad = {.delay_ns = 1 * MS, .spread_ns = 5 * MS, .loss_ppm = 20000};
    sim_net_default_link(sim_world_net(w->w), &bad);
}

static uint64_t conversation(uint64_t seed)
{
    struct world w;
    world_open(&w, seed, 2000000);
    bad_network(&w);
    start(&w, SERVER);
    start(&w, CLIENT);
    run_ms(&w, 120000);
    assert_true(w.opened && !w.closed);
    assert_int_equal(w.got, w.want);
    assert_true(sim_machine_spawn(w.m[CLIENT], finish_main, &w));
    run_ms(&w, 10000);
    assert_true(w.closed);
    assert_int_equal(w.why, ST_OK);
    uint64_t digest = w.digest;
    world_close(&w);
    return digest;
}

static void test_echo(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        uint64_t digest = conversation(seed);
        assert_true(conversation(seed) == digest);
        assert_true(conversation(seed + 100) != digest);
    }
}

static void test_refused(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1, 10);
    start(&w, CLIENT); /* the machine is on, and nobody listens */
    run_ms(&w, 5000);
    assert_true(w.closed && !w.opened);
    assert_int_equal(w.why, ST_IO_ERROR);
    assert_true(w.closed_at < 100 * MS);
    world_close(&w);
}

static void test_nobody_there(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1, 10);
    sim_host_power(sim_machine_host(w.m[SERVER]), false);
    start(&w, CLIENT);
    run_ms(&w, 60000);
    assert_true(w.closed && !w.opened);
    assert_in_range(w.closed_at / MS, 20000, 25000); /* give_up_ms */
    world_close(&w);
}

static void test_partition_heals(void **state)
{
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct world w;
        world_open(&w, 3, 1000000);
        start(&w, SERVER);
        start(&w, CLIENT);
        sim_net_link(sim_world_net(w.w), SERVER, CLIENT)->cut = way != 1;
        sim_net_link(sim_world_net(w.w), CLIENT, SERVER)->cut = way != 0;
        run_ms(&w, 6000);
        assert_int_equal(w.got, 0);
        sim_net_link(sim_world_net(w.w), SERVER, CLIENT)->cut = false;
        sim_net_link(sim_world_net(w.w), CLIENT, SERVER)->cut = false;
        run_ms(&w, 10000);
        assert_false(w.closed);
        assert_int_equal(w.got, w.want);
        world_close(&w);
    }
}

/* The plug is pulled: nothing is heard, until the machine is back and knows nothing of the stream. */
static void test_half_open(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 4, 1000);
    w.server_mute = true;
    start(&w, SERVER);
    start(&w, CLIENT);
    run_ms(&w, 1000);
    assert_true(w.opened);
    sim_machine_kill(w.m[SERVER], SIM_CRASH_POWER, 512);
    run_ms(&w, 5000);
    assert_false(w.closed);
    start(&w, SERVER);
    run_ms(&w, 5000);
    assert_false(w.closed); /* it has nothing to say, so it does not learn */
    assert_int_equal(conn_send(w.conn, BYTES_LIT("x")), ST_OK);
    sim_machine_poke(w.m[CLIENT]);
    run_ms(&w, 1000);
    assert_true(w.closed);
    assert_int_equal(w.why, ST_IO_ERROR);
    world_close(&w);
}

/* kill -9: the machine says goodbye for the process. */
static void test_process_dies(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 5, 1000);
    start(&w, SERVER);
    start(&w, CLIENT);
    run_ms(&w, 1000);
    assert_int_equal(w.got, 1000);
    assert_true(sim_machine_memory(w.m[SERVER]) > 0);
    sim_machine_kill(w.m[SERVER], SIM_CRASH_PROCESS_ONLY, 0);
    assert_int_equal(sim_machine_memory(w.m[SERVER]), 0);
    run_ms(&w, 1000);
    assert_true(w.closed && w.eof);
    assert_int_equal(w.why, ST_OK);
    world_close(&w);
}

/* A reader that is paused costs its sender the window and its own bounds, and loses nothing. */
static void test_pause(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 6, 3000000);
    start(&w, SERVER);
    start(&w, CLIENT);
    run_ms(&w, 1);
    sim_machine_pause(w.m[SERVER], sim_world_now(w.w) + 3000 * MS);
    run_ms(&w, 2900);
    assert_true(w.got < w.want);
    run_ms(&w, 10000);
    assert_int_equal(w.got, w.want);
    world_close(&w);
}

/* --- the clients' port, with its fibers, unchanged --- */

static void hello(struct exchange *x, void *arg)
{
    struct world *w = arg;
    note(w, 9);
    enum status st =
        request_sleep(&x->req, loop_clock_ns(reactor_loop(reactor_current())) + 5 * MS);
    (void)st;
    st = exchange_respond(x, 200, NULL, 0, BYTES_LIT("hello"));
    (void)st;
}

static void port_main(void *arg)
{
    struct world *w = arg;
    struct port *port;
    struct port_handlers h = {.http = hello, .arg = w};
    struct net_addr at = {.family = NET_IP4, .port = PORT};
    struct reactors *g = sim_machine_reactors(w->m[SERVER]);
    assert_int_equal(port_new(g, &(struct port_options){0}, &h, &port, NULL), ST_OK);
    assert_int_equal(port_listen(port, &at, REACTORS_HAND_OUT, NULL, NULL, NULL), ST_OK);
}

static char answer[1000];

static enum status ask(struct conn *c, void *arg)
{
    conn_set_state(c, arg);
    conn_settled(c);
    return conn_send(c, BYTES_LIT("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
}

static size_t hear(struct conn *c, struct bytes data)
{
    struct world *w = conn_state(c);
    assert_true(w->got + data.len < sizeof answer);
    memcpy(answer + w->got, data.data, data.len);
    w->got += data.len;
    answer[w->got] = 0;
    return data.len;
}

static const struct conn_proto asking = {
    .name = "asking", .on_open = ask, .on_data = hear, .on_closed = echo_closed};

static void ask_main(void *arg)
{
    struct world *w = arg;
    struct conn *c;
    struct net_addr to;
    sim_host_addr(sim_machine_host(w->m[SERVER]), PORT, &to);
    assert_int_equal(
        reactor_connect(sim_machine_reactor(w->m[CLIENT]), &to, &asking, w, NULL, &c, NULL), ST_OK);
}

static void test_port(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 7, 0);
    bad_network(&w);
    sim_machine_start(w.m[SERVER], &plain, port_main, &w);
    sim_machine_start(w.m[CLIENT], &plain, ask_main, &w);
    run_ms(&w, 5000);
    assert_non_null(strstr(answer, "HTTP/1.1 200"));
    assert_non_null(strstr(answer, "hello"));
    world_close(&w);
}

/* --- clocks --- */

static void clock_main(void *arg)
{
    (void)arg;
}

static void test_drift(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 8, 0);
    sim_machine_start(w.m[SERVER], &plain, clock_main, &w);
    run_ms(&w, 1);
    uint64_t before = env_mono_ns(sim_machine_env(w.m[SERVER]));
    sim_machine_drift(w.m[SERVER], 500000); /* half as fast again */
    run_ms(&w, 1000);
    sim_machine_poke(w.m[SERVER]);
    run_ms(&w, 1);
    uint64_t shown = env_mono_ns(sim_machine_env(w.m[SERVER])) - before;
    assert_in_range(shown / MS, 1500, 1502);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),         cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nobody_there), cmocka_unit_test(test_partition_heals),
        cmocka_unit_test(test_half_open),    cmocka_unit_test(test_process_dies),
        cmocka_unit_test(test_pause),        cmocka_unit_test(test_port),
        cmocka_unit_test(test_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
