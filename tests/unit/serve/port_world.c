#include "port_world.h"

#include "base/alloc.h"
#include "support/cmocka.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* --- handlers --- */

static bool path_is(const struct exchange *x, const char *path)
{
    return bytes_eq(x->path, BYTES_STR(path));
}

static void text(struct exchange *x, unsigned status, const char *body)
{
    struct wire_header type = WIRE_HEADER(BYTES_LIT("content-type"), BYTES_LIT("text/plain"));
    enum status st = exchange_respond(x, status, &type, 1, BYTES_STR(body));
    (void)st;
}

static void note_end(struct world *w, enum status st)
{
    if (st == ST_CANCELLED)
        atomic_fetch_add(&w->cancelled, 1);
    else if (st == ST_TIMED_OUT)
        atomic_fetch_add(&w->timed_out, 1);
    else if (st == ST_CLOSED)
        atomic_fetch_add(&w->closed, 1);
}

static void hook(void *arg)
{
    struct world *w = arg;
    atomic_fetch_add(&w->stop_hooks, 1);
}

static enum status wait_for_stop(struct world *w, struct request *q)
{
    request_on_stop(q, hook, w);
    atomic_fetch_add(&w->running, 1);
    enum status st = request_sleep(q, UINT64_MAX);
    note_end(w, st);
    return st;
}

static void echo(struct exchange *x)
{
    struct bytes body;
    struct err err;
    enum status st = exchange_body(x, 1 << 20, &body, &err);
    if (st)
        text(x, (unsigned)status_http(st), err.detail);
    else
        st = exchange_respond(x, 200, NULL, 0, body);
}

static void pieces(struct world *w, struct exchange *x)
{
    struct bytes piece;
    struct err err;
    char out[64];
    uint64_t n = 0, sum = 0;
    enum status st;
    atomic_fetch_add(&w->running, 1);
    while ((st = exchange_read(x, &piece, &err)) == ST_OK && piece.len) {
        n += piece.len;
        for (size_t i = 0; i < piece.len; i++)
            sum += piece.data[i];
    }
    note_end(w, st);
    (void)snprintf(out, sizeof out, "%llu %llu", (unsigned long long)n, (unsigned long long)sum);
    text(x, st ? (unsigned)status_http(st) : 200, st ? err.detail : out);
}

static void stream(struct world *w, struct exchange *x)
{
    static uint8_t block[16 * 1024];
    char number[32] = "";
    memcpy(number, x->query.data, x->query.len < 31 ? x->query.len : 31);
    uint64_t left = strtoull(number, NULL, 10);
    x->req.deadline_ns = UINT64_MAX;
    enum status st = exchange_begin(x, 200, NULL, 0);
    while (st == ST_OK && left > 0) {
        size_t n = left < sizeof block ? (size_t)left : sizeof block;
        memset(block, 'x', n);
        st = exchange_write(x, BYTES(block, n));
        left -= n;
        if (!st)
            atomic_fetch_add(&w->streamed, n);
    }
    if (!st)
        st = exchange_end(x);
    if (st == ST_CLOSED)
        atomic_fetch_add(&w->write_closed, 1);
    atomic_fetch_add(&w->running, 1);
}

static void headers(struct exchange *x)
{
    struct bytes v = BYTES_EMPTY;
    char out[600];
    if (!request_header(&x->req, BYTES_LIT("X-Thing"), &v))
        v = BYTES_LIT("none");
    int n = snprintf(out, sizeof out, "%.*s|%.*s|%.*s|%.*s|%.*s|%s|%s", (int)x->method.len,
                     (const char *)x->method.data, (int)x->path.len, (const char *)x->path.data,
                     (int)x->query.len, (const char *)x->query.data, (int)x->authority.len,
                     (const char *)x->authority.data, (int)v.len, (const char *)v.data,
                     request_id(&x->req), request_traceparent(&x->req));
    assert_true(n > 0 && (size_t)n < sizeof out);
    text(x, 200, out);
}

static unsigned group; /* the reactor's thread */

static void together(struct world *w, struct exchange *x)
{
    if (group++ == 0) {
        fiber_yield();
        atomic_store(&w->group, group);
        group = 0;
    }
    text(x, 200, "together");
}

static void on_http(struct exchange *x, void *arg)
{
    struct world *w = arg;
    if (path_is(x, "/hello")) {
        text(x, 200, "hello");
    } else if (path_is(x, "/echo")) {
        echo(x);
    } else if (path_is(x, "/pieces")) {
        pieces(w, x);
    } else if (path_is(x, "/stream")) {
        stream(w, x);
    } else if (path_is(x, "/wait")) {
        x->req.deadline_ns = UINT64_MAX;
        (void)wait_for_stop(w, &x->req);
        text(x, 200, "stopped");
    } else if (path_is(x, "/half")) {
        enum status st = exchange_begin(x, 200, NULL, 0);
        if (!st)
            st = exchange_write(x, BYTES_LIT("half of"));
    } else if (path_is(x, "/headers")) {
        headers(x);
    } else if (path_is(x, "/late")) {
        x->req.deadline_ns = fiber_now_ns() + 30 * 1000000;
        pieces(w, x);
    } else if (path_is(x, "/group")) {
        together(w, x);
    } else if (!path_is(x, "/none")) {
        text(x, 404, "no such path");
    }
}

static enum status finish(struct rpc *r, enum status st, const struct err *err)
{
    return rpc_finish_status(r, st, err);
}

static void rpc_stream(struct world *w, struct rpc *r, struct bytes m)
{
    static const uint8_t block[16 * 1024];
    char number[32] = "";
    memcpy(number, m.data, m.len < 31 ? m.len : 31);
    uint64_t left = strtoull(number, NULL, 10);
    enum status st = ST_OK;
    while (st == ST_OK && left > 0) {
        size_t n = left < sizeof block ? (size_t)left : sizeof block;
        st = rpc_send(r, BYTES(block, n));
        left -= n;
        if (!st)
            atomic_fetch_add(&w->streamed, n);
    }
    note_end(w, st);
    if (st == ST_OK || st == ST_TIMED_OUT)
        st = finish(r, st, NULL);
}

static void rpc_sum(struct rpc *r)
{
    struct bytes m;
    struct err err;
    bool end = false;
    char out[32];
    uint64_t n = 0;
    enum status st;
    while ((st = rpc_recv(r, &m, &end, &err)) == ST_OK && !end)
        n += m.len;
    if (st) {
        st = finish(r, st, &err);
        return;
    }
    (void)snprintf(out, sizeof out, "%llu", (unsigned long long)n);
    st = rpc_respond(r, BYTES_STR(out));
    assert_true(st == ST_OK || st == ST_CANCELLED);
}

static bool grpc_takes_one(const struct rpc *r, void *arg)
{
    (void)arg;
    return bytes_eq(r->method, BYTES_LIT("One"));
}

static bool grpc_joins(const struct rpc *r, struct bytes first, void *arg)
{
    (void)arg;
    return bytes_eq(r->method, BYTES_LIT("Joined")) && !bytes_eq(first, BYTES_LIT("alone"));
}

static enum status join(void *arg, struct err *err)
{
    struct world *w = arg;
    unsigned number = atomic_fetch_add(&w->joins, 1) + 1;
    while (atomic_load(&w->joins_may_end) < number)
        (void)fiber_park_until(fiber_now_ns() + 1000000);
    return atomic_load(&w->joins_fail) ? err_set(err, ST_UNAVAILABLE, "nobody leads") : ST_OK;
}

static enum status rpc_joined(struct world *w, struct rpc *r, struct bytes m)
{
    atomic_fetch_add(&w->running, 1);
    assert_int_equal(r->req.joined, !bytes_eq(m, BYTES_LIT("alone")));
    if (r->req.join_failed)
        return finish(r, r->req.join_failed->status, r->req.join_failed);
    return rpc_respond(r, m);
}

static void on_grpc(struct rpc *r, void *arg)
{
    struct world *w = arg;
    struct bytes m;
    struct err err;
    enum status st;
    err_init(&err);
    if (bytes_eq(r->method, BYTES_LIT("Sum"))) {
        rpc_sum(r);
        return;
    }
    if (bytes_eq(r->method, BYTES_LIT("None")))
        return;
    st = rpc_recv_one(r, &m, &err);
    if (st) {
        note_end(w, st);
        st = finish(r, st, &err);
    } else if (bytes_eq(r->method, BYTES_LIT("Echo")) || bytes_eq(r->method, BYTES_LIT("One"))) {
        st = rpc_respond(r, m);
    } else if (bytes_eq(r->method, BYTES_LIT("Joined"))) {
        st = rpc_joined(w, r, m);
    } else if (bytes_eq(r->method, BYTES_LIT("Stream"))) {
        rpc_stream(w, r, m);
    } else if (bytes_eq(r->method, BYTES_LIT("Wait"))) {
        st = wait_for_stop(w, &r->req);
        st = finish(r, st, NULL);
    } else {
        st = finish(r, ST_UNIMPLEMENTED, NULL);
    }
}

static void on_done(void *arg, const struct port_done *d)
{
    struct world *w = arg;
    atomic_store(&w->last_http, d->http_status);
    if (d->grpc_code >= 0)
        atomic_store(&w->last_grpc, (unsigned)d->grpc_code);
    atomic_store(&w->bytes_in, d->bytes_in);
    atomic_store(&w->last_bytes_out, d->bytes_out);
    atomic_fetch_add(&w->done, 1);
}

/* --- the server --- */

void world_start(struct world *w, const struct world_options *o)
{
    struct err err;
    struct net_addr any;
    struct world_options own = {0};
    memset(w, 0, sizeof *w);
    if (o)
        own = *o;
    err_init(&err);
    w->metrics = metrics_new();
    assert_non_null(w->metrics);
    own.port.metrics = w->metrics;
    own.port.done = on_done;
    own.port.done_arg = w;
    assert_int_equal(net_addr_parse("127.0.0.1:0", &any, &err), ST_OK);
    assert_int_equal(reactors_start(env_linux(), 1, &own.reactor, &w->g, &err), ST_OK);
    struct port_handlers h = {.http = on_http,
                              .grpc = on_grpc,
                              .arg = w,
                              .grpc_takes_one = grpc_takes_one,
                              .grpc_joins = grpc_joins,
                              .join = join};
    if (own.no_http)
        h.http = NULL;
    assert_int_equal(port_new(w->g, &own.port, &h, &w->port, &err), ST_OK);
    enum status st = port_listen(w->port, &any, REACTORS_REUSEPORT, NULL, &w->addr, &err);
    if (st)
        fail_msg("%s", err.detail);
}

size_t world_stop(struct world *w, uint64_t drain_ms)
{
    size_t cut = reactors_stop(w->g, drain_ms);
    struct port_stats s;
    port_stats_of(w->port, &s);
    assert_int_equal(s.requests_active, 0);
    assert_int_equal(s.http1_conns + s.http2_conns, 0);
    struct reactor_stats r = world_reactor(w);
    assert_int_equal(r.request_bytes, 0);
    reactors_free(w->g);
    port_free(w->port);
    metrics_free(w->metrics);
    return cut;
}

struct reactor_stats world_reactor(struct world *w)
{
    struct reactor_stats s;
    reactor_stats_of(reactors_at(w->g, 0), &s);
    return s;
}

void world_until(const _Atomic unsigned *counter, unsigned n)
{
    for (int i = 0; i < 20000; i++) {
        if (atomic_load(counter) >= n)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("waited for %u, there are %u", n, atomic_load(counter));
}

/* --- raw bytes --- */

int dial(const struct world *w)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    assert_true(fd >= 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(w->addr.port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval patience = {.tv_sec = 20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    assert_int_equal(connect(fd, (const struct sockaddr *)(const void *)&in, sizeof in), 0);
    return fd;
}

static ssize_t get(int fd, void *to, size_t len)
{
    ssize_t n;
    do
        n = recv(fd, to, len, 0);
    while (n < 0 && errno == EINTR);
    return n;
}

void say_bytes(int fd, const void *data, size_t len)
{
    const char *p = data;
    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
        if (n <= 0)
            return; /* the server may have ended; what it said is looked at */
        p += n;
        len -= (size_t)n;
    }
}

void say(int fd, const char *t)
{
    say_bytes(fd, t, strlen(t));
}

static char *hear(int fd, const char *until, size_t *ret_len)
{
    size_t cap = 4096, n = 0;
    char *out = malloc(cap);
    assert_non_null(out);
    for (;;) {
        out[n] = '\0';
        if (until && strstr(out, until))
            break;
        if (n + 1 == cap) {
            out = realloc(out, cap *= 2);
            assert_non_null(out);
        }
        ssize_t r = get(fd, out + n, cap - n - 1);
        if (r < 0 && errno != ECONNRESET)
            fail_msg("heard \"%s\", then %s", out, strerror(errno));
        if (r <= 0) {
            if (until)
                fail_msg("heard \"%s\", then the end; wanted \"%s\"", out, until);
            break;
        }
        n += (size_t)r;
    }
    if (ret_len)
        *ret_len = n;
    return out;
}

char *hear_all(int fd, size_t *ret_len)
{
    return hear(fd, NULL, ret_len);
}

char *hear_until(int fd, const char *t)
{
    return hear(fd, t, NULL);
}

/* --- HTTP/2 --- */

struct peer {
    int fd;
    struct h2_conn *h2;
};

static void take_messages(struct answer *a)
{
    struct bytes m;
    struct err err;
    while (!a->hold && grpc_next(&a->call, &m, &err) == GRPC_MESSAGE) {
        a->messages++;
        assert_int_equal(buf_append(&a->body, m.data, m.len), ST_OK);
    }
}

static void ev_headers(void *arg, struct h2_stream *s, bool end)
{
    (void)arg;
    struct answer *a = h2_user(s);
    a->headers = true;
    a->status = h2_status(s);
    if (a->grpc)
        grpc_on_headers(&a->call, end);
}

static void ev_data(void *arg, struct h2_stream *s, struct bytes data)
{
    (void)arg;
    struct answer *a = h2_user(s);
    if (a->grpc) {
        grpc_on_data(&a->call, data);
        take_messages(a);
        return;
    }
    assert_int_equal(buf_append(&a->body, data.data, data.len), ST_OK);
    if (!a->hold)
        h2_consume(s, data.len);
}

static void ev_end(void *arg, struct h2_stream *s)
{
    (void)arg;
    struct answer *a = h2_user(s);
    a->end = true;
    if (a->grpc)
        grpc_on_end(&a->call);
}

static void ev_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    (void)arg;
    struct answer *a = h2_user(s);
    a->closed = true;
    a->code = code;
    if (a->grpc) {
        grpc_on_closed(&a->call, code);
        take_messages(a);
        assert_int_equal(grpc_result(&a->call, &a->result), ST_OK);
    }
}

static const struct h2_events events = {
    .headers = ev_headers, .data = ev_data, .end = ev_end, .closed = ev_closed};

struct peer *peer_dial(const struct world *w, const struct h2_options *o)
{
    struct peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->fd = dial(w);
    assert_int_equal(h2_client_new(o, &events, p, 0, &p->h2), ST_OK);
    assert_true(peer_turn(p)); /* the server's limits */
    return p;
}

int peer_fd(const struct peer *p)
{
    return p->fd;
}

struct h2_conn *peer_h2(const struct peer *p)
{
    return p->h2;
}

void peer_close(struct peer *p)
{
    h2_conn_free(p->h2);
    close(p->fd);
    free(p);
}

static void request(struct h2_conn *c, struct answer *a, const char *method, const char *path,
                    struct bytes body, bool end)
{
    struct wire_header h[] = {
        WIRE_HEADER(BYTES_LIT(":method"), BYTES_STR(method)),
        WIRE_HEADER(BYTES_LIT(":scheme"), BYTES_LIT("http")),
        WIRE_HEADER(BYTES_LIT(":authority"), BYTES_LIT("here")),
        WIRE_HEADER(BYTES_LIT(":path"), BYTES_STR(path)),
        WIRE_HEADER(BYTES_LIT("x-thing"), BYTES_LIT("some thing")),
    };
    memset(a, 0, sizeof *a);
    assert_int_equal(h2_request(c, h, 5, end && body.len == 0, a, &a->stream), ST_OK);
    if (body.len)
        assert_int_equal(h2_write(a->stream, body, end), ST_OK);
}

void peer_request(struct peer *p, struct answer *a, const char *method, const char *path,
                  struct bytes body, bool end)
{
    request(p->h2, a, method, path, body, end);
}

struct h2_conn *peer_alone(void)
{
    struct h2_conn *c;
    assert_int_equal(h2_client_new(NULL, &events, NULL, 0, &c), ST_OK);
    return c;
}

void alone_request(struct h2_conn *c, struct answer *a, const char *path, struct bytes body)
{
    request(c, a, "POST", path, body, true);
}

void peer_call(struct peer *p, struct answer *a, const char *method, uint64_t timeout_ns)
{
    char path[64];
    struct err err;
    memset(a, 0, sizeof *a);
    a->grpc = true;
    (void)snprintf(path, sizeof path, "/test.T/%s", method);
    struct grpc_start start = {
        .path = BYTES_STR(path), .authority = BYTES_LIT("here"), .timeout_ns = timeout_ns};
    assert_int_equal(grpc_start(&a->call, p->h2, &start, NULL, a, &err), ST_OK);
}

void peer_send(struct peer *p)
{
    struct bytes out;
    while (h2_output(p->h2, &out) == ST_OK && out.len) {
        say_bytes(p->fd, out.data, out.len);
        h2_output_done(p->h2, out.len);
    }
}

bool peer_turn(struct peer *p)
{
    uint8_t in[65536];
    struct err err;
    peer_send(p);
    ssize_t n = get(p->fd, in, sizeof in);
    if (n < 0 && errno != ECONNRESET)
        fail_msg("the server says nothing: %s", strerror(errno));
    if (n <= 0)
        return false;
    enum status st = h2_recv(p->h2, BYTES(in, (size_t)n), 0, &err);
    peer_send(p);
    return st == ST_OK;
}

void peer_until(struct peer *p, const bool *done)
{
    while (!*done)
        if (!peer_turn(p) && !*done)
            fail_msg("the connection has ended too early");
}

void answer_free(struct answer *a)
{
    if (a->grpc) {
        grpc_result_deinit(&a->result);
        grpc_deinit(&a->call);
    } else {
        h2_release(a->stream);
    }
    buf_deinit(&a->body);
}
