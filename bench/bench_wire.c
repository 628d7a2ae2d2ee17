/* bench_wire.c - gRPC calls between a client's and a server's connection in memory, one thread:
 * bench_wire [calls] [message bytes]
 *
 * Each unary call is echoed. The time is taken apart by whose work it is: all between giving a side
 * its bytes and taking its output is that side's. HTTP/1.1 follows, server only.
 */
#include "base/alloc.h"
#include "bench/bench_util.h"
#include "wire/grpc/grpc.h"
#include "wire/http1/http1.h"

#include <stdio.h>

enum { INFLIGHT_MAX = 1024, MESSAGE_BYTES_MAX = 65536, IDLE = 2000 };

struct slot {
    struct grpc_call call;
    bool used;
};

struct bench {
    struct h2_conn *client, *server;
    struct slot out[INFLIGHT_MAX]; /* the client's */
    struct slot in[INFLIGHT_MAX];  /* the server's */
    size_t free_in[INFLIGHT_MAX], free_in_n;
    size_t free_out[INFLIGHT_MAX], free_out_n;
    uint64_t started, finished, calls, sum;
    uint64_t client_ns, server_ns;
    size_t len;
};

static uint8_t message[MESSAGE_BYTES_MAX];

static void check(enum status st, const char *what)
{
    if (st != ST_OK)
        bench_die("%s: %s", what, status_text(st));
}

static void server_headers(void *arg, struct h2_stream *s, bool end)
{
    struct bench *b = arg;
    struct err err;
    (void)end;
    struct slot *slot = &b->in[b->free_in[--b->free_in_n]];
    h2_set_user(s, slot);
    check(grpc_accept(&slot->call, s, NULL, &err), "accept");
}

static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    struct slot *slot = h2_user(s);
    (void)arg;
    grpc_on_data(&slot->call, data);
}

static void server_end(void *arg, struct h2_stream *s)
{
    struct slot *slot = h2_user(s);
    struct bytes m;
    struct err err;
    (void)arg;
    grpc_on_end(&slot->call);
    if (grpc_next(&slot->call, &m, &err) != GRPC_MESSAGE)
        bench_die("no message");
    check(grpc_send(&slot->call, m, false), "send");
    check(grpc_finish_status(&slot->call, ST_OK, NULL), "finish");
}

static void server_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct bench *b = arg;
    struct slot *slot = h2_user(s);
    grpc_on_closed(&slot->call, code);
    grpc_deinit(&slot->call);
    b->free_in[b->free_in_n++] = (size_t)(slot - b->in);
}

static void client_headers(void *arg, struct h2_stream *s, bool end)
{
    struct slot *slot = h2_user(s);
    (void)arg;
    grpc_on_headers(&slot->call, end);
}

static void client_end(void *arg, struct h2_stream *s)
{
    struct slot *slot = h2_user(s);
    (void)arg;
    grpc_on_end(&slot->call);
}

static void client_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct bench *b = arg;
    struct slot *slot = h2_user(s);
    struct bytes m;
    struct err err;
    struct grpc_result r;
    grpc_on_closed(&slot->call, code);
    if (grpc_next(&slot->call, &m, &err) != GRPC_MESSAGE || m.len != b->len)
        bench_die("no answer");
    b->sum += m.data[m.len - 1];
    check(grpc_result(&slot->call, &r), "result");
    if (r.code != GRPC_OK)
        bench_die("code %d", (int)r.code);
    grpc_result_deinit(&r);
    grpc_deinit(&slot->call);
    b->finished++;
    b->free_out[b->free_out_n++] = (size_t)(slot - b->out);
}

static const struct h2_events on_server = {
    .headers = server_headers, .data = on_data, .end = server_end, .closed = server_closed};
static const struct h2_events on_client = {
    .headers = client_headers, .data = on_data, .end = client_end, .closed = client_closed};

static void start_calls(struct bench *b)
{
    static const struct grpc_start start = {.path = BYTES_LIT("/varve.v1.KV/Get"),
                                            .authority = BYTES_LIT("localhost:7878"),
                                            .user_agent = BYTES_LIT("varve-bench/0.1")};
    while (b->free_out_n && b->started < b->calls) {
        struct slot *slot = &b->out[b->free_out[b->free_out_n - 1]];
        check(grpc_start(&slot->call, b->client, &start, NULL, slot, NULL), "start");
        check(grpc_send(&slot->call, BYTES(message, b->len), true), "send");
        b->free_out_n--;
        b->started++;
    }
}

/* Gives `to` what `from` has to say; false: nothing. The clock goes on with whoever works. */
static bool pass(struct h2_conn *from, struct h2_conn *to, uint64_t *from_ns, uint64_t *to_ns)
{
    struct bytes out;
    struct err err;
    uint64_t t0 = bench_ns();
    check(h2_output(from, &out), "output");
    uint64_t t1 = bench_ns();
    *from_ns += t1 - t0;
    if (out.len == 0)
        return false;
    if (h2_recv(to, out, 0, &err) != ST_OK)
        bench_die("%s", err.detail);
    *to_ns += bench_ns() - t1;
    h2_output_done(from, out.len);
    return true;
}

static void rpc(uint64_t calls, size_t len, size_t inflight)
{
    static struct bench room;
    struct bench *b = &room;
    const struct h2_options o = {.max_streams = INFLIGHT_MAX, .conn_window = 16 * 1024 * 1024};
    char what[80];
    *b = (struct bench){.calls = calls, .len = len};
    for (size_t i = 0; i < INFLIGHT_MAX; i++)
        b->free_in[b->free_in_n++] = i;
    for (size_t i = 0; i < inflight; i++)
        b->free_out[b->free_out_n++] = i;
    check(h2_server_new(&o, &on_server, b, 0, &b->server), "server");
    check(h2_client_new(&o, &on_client, b, 0, &b->client), "client");
    while (pass(b->client, b->server, &b->client_ns, &b->server_ns) ||
           pass(b->server, b->client, &b->server_ns, &b->client_ns))
        ; /* SETTINGS, so that all streams may be opened */
    b->client_ns = b->server_ns = 0;
    uint64_t t0 = bench_ns();
    while (b->finished < calls) {
        uint64_t t1 = bench_ns();
        start_calls(b);
        b->client_ns += bench_ns() - t1;
        while (pass(b->client, b->server, &b->client_ns, &b->server_ns))
            ;
        while (pass(b->server, b->client, &b->server_ns, &b->client_ns))
            ;
    }
    uint64_t ns = bench_ns() - t0;
    struct h2_stats st;
    h2_conn_stats(b->server, &st);
    (void)snprintf(what, sizeof what, "gRPC echo of %zu B, %zu in flight, both sides", len,
                   inflight);
    bench_rate(what, calls, ns);
    bench_rate("  the server's part", calls, b->server_ns);
    bench_rate("  the client's part", calls, b->client_ns);
    printf("%-52s %10.1f in, %.1f out\n", "  bytes on the wire for each",
           (double)st.bytes_in / (double)calls, (double)st.bytes_out / (double)calls);
    bench_checksum(b->sum);
    h2_conn_free(b->client);
    h2_conn_free(b->server);
}

static void h1_ignore(void *arg, struct h1_conn *c)
{
    (void)arg;
    (void)c;
}

static void h1_body(void *arg, struct h1_conn *c, struct bytes data)
{
    (void)arg;
    (void)c;
    (void)data;
}

static void h1_answer(void *arg, struct h1_conn *c)
{
    size_t len = *(size_t *)arg;
    struct wire_header h[] = {
        WIRE_HEADER(BYTES_LIT("Content-Type"), BYTES_LIT("application/octet-stream")),
        WIRE_HEADER(BYTES_LIT("ETag"), BYTES_LIT("\"17a2b3c4d5e6f708\""))};
    check(h1_respond(c, 200, h, 2, (int64_t)len), "respond");
    check(h1_write(c, BYTES(message, len)), "write");
    check(h1_end(c), "end");
}

static void http1(uint64_t calls, size_t len)
{
    static const struct h1_events events = {
        .headers = h1_ignore, .data = h1_body, .end = h1_answer};
    struct bytes request = BYTES_LIT("GET /v1/users/0123456789abcdef HTTP/1.1\r\n"
                                     "Host: localhost:7878\r\nUser-Agent: curl/7.88.1\r\n"
                                     "Accept: */*\r\n\r\n");
    struct h1_conn *c;
    uint64_t sum = 0;
    check(h1_server_new(NULL, &events, &len, 0, &c), "server");
    uint64_t t0 = bench_ns();
    for (uint64_t i = 0; i < calls; i++) {
        size_t used;
        check(h1_recv(c, request, i, &used, NULL), "recv");
        struct bytes out = h1_output(c);
        sum += out.data[out.len - 1] + used;
        h1_output_done(c, out.len);
    }
    bench_rate("HTTP/1.1 GET, one after the other, server only", calls, bench_ns() - t0);
    bench_checksum(sum);
    h1_conn_free(c);
}

static uint64_t resident_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*u %lu", &pages) != 1)
        bench_die("/proc/self/statm cannot be read");
    (void)fclose(f);
    return (uint64_t)pages * 4096;
}

/* Server connections that have served one call and then nothing for a while. */
static void idle(size_t len)
{
    static struct h2_conn *servers[IDLE];
    static struct bench room;
    struct h2_stats st;
    uint64_t before = resident_bytes();
    for (size_t i = 0; i < IDLE; i++) {
        room = (struct bench){.calls = 1, .len = len, .free_in_n = 1, .free_out_n = 1};
        check(h2_server_new(NULL, &on_server, &room, 0, &room.server), "server");
        check(h2_client_new(NULL, &on_client, &room, 0, &room.client), "client");
        start_calls(&room);
        while (pass(room.client, room.server, &room.client_ns, &room.server_ns) ||
               pass(room.server, room.client, &room.server_ns, &room.client_ns))
            ;
        h2_conn_free(room.client);
        servers[i] = room.server;
        (void)h2_tick(servers[i], 100000);
    }
    h2_conn_stats(servers[0], &st);
    printf("%-52s %10zu B of heap, %.0f B resident\n", "an idle server connection", st.memory,
           (double)(resident_bytes() - before) / IDLE);
    for (size_t i = 0; i < IDLE; i++)
        h2_conn_free(servers[i]);
}

int main(int argc, char **argv)
{
    uint64_t calls = bench_arg(argc, argv, 1, 1000000);
    size_t len = (size_t)bench_arg(argc, argv, 2, 100);
    if (len == 0 || len > MESSAGE_BYTES_MAX)
        bench_die("usage: bench_wire [calls] [message bytes 1..65536]");
    bench_machine("bench_wire");
    bench_value(1, message, len);
    rpc(calls, len, 256);
    rpc(calls, len, 256);
    rpc(calls, len, 64);
    rpc(calls / 4, len, 1);
    http1(calls, len);
    idle(len);
    return 0;
}
