#include "door_world.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

struct client {
    int fd;
    struct h2_conn *h2;
    struct list calls;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the server ---- */

void door_start(struct door_world *w, const struct grpc_gate *gate)
{
    door_start_with(w, gate, &(struct work_options){0});
}

void door_start_with(struct door_world *w, const struct grpc_gate *gate,
                     const struct work_options *work)
{
    struct net_addr any;
    *w = (struct door_world){.db = {.env = env_linux(), .writer = BYTES_LIT("server")}};
    assert_true(temp_dir_make(w->dir, "door"));
    (void)snprintf(w->folder, sizeof w->folder, "%s/db", w->dir);
    arena_init(&w->arena, 0);
    w->store = (struct store_options){.engine_name = "mem",
                                      .engine_open = engine_mem_open,
                                      .sync = STORE_SYNC_OFF,
                                      .wal.segment_bytes = 1 << 20,
                                      .cache_bytes = 1 << 20};
    if (store_open(w->db.env, w->folder, &w->store, &w->db.store, &w->err) != ST_OK)
        fail_msg("store_open: %s", w->err.detail);
    assert_int_equal(work_new(work, &w->work, &w->err), ST_OK);
    struct grpc_door_options o = {
        .db = &w->db, .work = w->work, .gate = gate, .address = "test:7878", .version = "1.2.3"};
    assert_int_equal(grpc_door_new(&o, &w->door, &w->err), ST_OK);
    struct reactor_options ro = {.linger_ms = 100};
    if (reactors_start(w->db.env, 1, &ro, &w->reactors, &w->err) != ST_OK)
        fail_msg("reactors_start: %s", w->err.detail);
    struct port_handlers handlers = {.grpc = grpc_door_handle,
                                     .arg = w->door,
                                     .grpc_takes_one = grpc_door_takes_one,
                                     .grpc_ahead = grpc_door_ahead};
    assert_int_equal(port_new(w->reactors, &(struct port_options){0}, &handlers, &w->port, &w->err),
                     ST_OK);
    assert_int_equal(net_addr_parse("127.0.0.1:0", &any, NULL), ST_OK);
    if (port_listen(w->port, &any, REACTORS_REUSEPORT, NULL, &w->addr, &w->err) != ST_OK)
        fail_msg("port_listen: %s", w->err.detail);
}

void door_stop_server(struct door_world *w)
{
    if (w->reactors) {
        struct reactor_stats st;
        assert_int_equal(reactors_stop(w->reactors, 10000), 0);
        reactor_stats_of(reactors_at(w->reactors, 0), &st);
        assert_int_equal(st.fibers, 0);
        assert_int_equal(st.request_bytes, 0);
        assert_int_equal(st.output_bytes, 0);
    }
    port_free(w->port);
    reactors_free(w->reactors);
    grpc_door_free(w->door);
    work_free(w->work);
    w->port = NULL;
    w->reactors = NULL;
    w->door = NULL;
    w->work = NULL;
}

static void client_deinit(struct client *c)
{
    if (!c->h2)
        return;
    h2_conn_free(c->h2);
    close(c->fd);
    c->h2 = NULL;
}

void door_stop(struct door_world *w)
{
    if (w->client) {
        assert_true(list_empty(&w->client->calls));
        client_deinit(w->client);
        free(w->client);
    }
    door_stop_server(w);
    assert_int_equal(store_close(w->db.store, &w->err), ST_OK);
    arena_deinit(&w->arena);
    assert_true(temp_dir_remove(w->dir));
}

/* ---- the client ---- */

static void on_headers(void *arg, struct h2_stream *s, bool end)
{
    (void)arg;
    grpc_on_headers(&((struct tcall *)h2_user(s))->call, end);
}
static void on_data(void *arg, struct h2_stream *s, struct bytes data)
{
    (void)arg;
    grpc_on_data(&((struct tcall *)h2_user(s))->call, data);
}
static void on_end(void *arg, struct h2_stream *s)
{
    (void)arg;
    grpc_on_end(&((struct tcall *)h2_user(s))->call);
}
static void on_closed(void *arg, struct h2_stream *s, uint32_t code)
{
    struct tcall *t = h2_user(s);
    (void)arg;
    t->closed = true;
    grpc_on_closed(&t->call, code);
}
static const struct h2_events events = {
    .headers = on_headers, .data = on_data, .end = on_end, .closed = on_closed};

static struct client *client_of(struct door_world *w)
{
    struct client *c = w->client ? w->client : calloc(1, sizeof *c);
    if (c && c->h2)
        return c;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(w->addr.port)};
    assert_non_null(c);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (!w->client)
        list_init(&c->calls);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(c->fd >= 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
    assert_int_equal(h2_client_new(NULL, &events, c, now_ms(), &c->h2), ST_OK);
    return w->client = c;
}

static void flush(struct client *c)
{
    struct bytes out;
    while (h2_output(c->h2, &out) == ST_OK && out.len) {
        ssize_t n = send(c->fd, out.data, out.len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        h2_output_done(c->h2, (size_t)n);
    }
}

/* One read; false: the connection has ended. */
static bool turn(struct client *c)
{
    static uint8_t in[65536];
    flush(c);
    struct pollfd p = {.fd = c->fd, .events = POLLIN};
    if (poll(&p, 1, PATIENCE_MS) <= 0)
        fail_msg("the server says nothing");
    ssize_t n = recv(c->fd, in, sizeof in, 0);
    if (n <= 0)
        return false;
    bool good = h2_recv(c->h2, BYTES(in, (size_t)n), now_ms(), NULL) == ST_OK;
    flush(c);
    return good;
}

void tcall_start(struct tcall *t, struct door_world *w, const char *method, uint64_t timeout_ms,
                 const ProtobufCMessageDescriptor *answer)
{
    struct client *c = client_of(w);
    char path[120];
    (void)snprintf(path, sizeof path, "/%s", method);
    *t = (struct tcall){.w = w, .answer = answer};
    struct grpc_start s = {.path = BYTES_STR(path),
                           .authority = BYTES_LIT("test"),
                           .timeout_ns = timeout_ms * 1000000,
                           .gzip = w->gzip};
    assert_int_equal(grpc_start(&t->call, c->h2, &s, NULL, t, &w->err), ST_OK);
    list_push_back(&c->calls, &t->node);
}

void tcall_say(struct tcall *t, const ProtobufCMessage *m, bool last)
{
    struct buf out = BUF_INIT;
    assert_int_equal(pb_encode(m, &out), ST_OK);
    assert_int_equal(grpc_send(&t->call, buf_bytes(&out), last), ST_OK);
    flush(t->w->client);
    buf_deinit(&out);
}

void *tcall_hear(struct tcall *t)
{
    for (;;) {
        struct bytes m;
        struct err err;
        void *ret = NULL;
        err_init(&err);
        enum grpc_next next = grpc_next(&t->call, &m, &err);
        if (next == GRPC_MESSAGE) {
            m.data = arena_memdup(&t->w->arena, m.data, m.len);
            if (pb_decode(t->answer, m, &t->w->arena, &ret, NULL, &err) != ST_OK)
                fail_msg("%s: %s", t->answer->name, err.detail);
            return ret;
        }
        if (next != GRPC_WAIT)
            return NULL;
        if (turn(t->w->client))
            continue;
        if (!t->w->may_cut)
            fail_msg("the connection has ended");
        t->w->cut = true;
        client_deinit(t->w->client);
    }
}

/* ---- how it ended ---- */

static void *detail_of(struct door_world *w, Google__Protobuf__Any *any, const char *type,
                       const ProtobufCMessageDescriptor *d)
{
    void *ret = NULL;
    assert_true(strncmp(any->type_url, "type.googleapis.com/", 20) == 0);
    if (strcmp(any->type_url + 20, type) != 0)
        return NULL;
    assert_int_equal(pb_decode(d, pb_bytes(any->value), &w->arena, &ret, NULL, NULL), ST_OK);
    return ret;
}

static void read_detail(struct door_world *w, Google__Protobuf__Any *any, struct ended *e)
{
    Google__Rpc__ErrorInfo *info =
        detail_of(w, any, "google.rpc.ErrorInfo", &google__rpc__error_info__descriptor);
    Google__Rpc__BadRequest *bad =
        detail_of(w, any, "google.rpc.BadRequest", &google__rpc__bad_request__descriptor);
    Google__Rpc__PreconditionFailure *failure = detail_of(
        w, any, "google.rpc.PreconditionFailure", &google__rpc__precondition_failure__descriptor);
    Google__Rpc__RetryInfo *retry =
        detail_of(w, any, "google.rpc.RetryInfo", &google__rpc__retry_info__descriptor);
    assert_true(info || bad || failure || retry);
    if (info) {
        assert_string_equal(info->domain, "varve");
        e->reason = info->reason;
        if (info->n_metadata) {
            assert_string_equal(info->metadata[0]->key, "present_version");
            e->present = info->metadata[0]->value;
        }
    }
    if (bad)
        e->field = bad->field_violations[0]->field;
    if (failure) {
        e->required = failure->violations[0]->type;
        e->subject = failure->violations[0]->subject;
    }
    if (retry)
        e->retry_ms = (unsigned)retry->retry_delay->seconds * 1000 +
                      (unsigned)retry->retry_delay->nanos / 1000000;
}

static void read_details(struct door_world *w, struct bytes details, struct ended *e)
{
    void *m = NULL;
    details.data = arena_memdup(&w->arena, details.data, details.len);
    assert_int_equal(
        pb_decode(&google__rpc__status__descriptor, details, &w->arena, &m, NULL, NULL), ST_OK);
    Google__Rpc__Status *status = m;
    assert_int_equal(status->code, e->code);
    assert_string_equal(status->message, e->message);
    for (size_t i = 0; i < status->n_details; i++)
        read_detail(w, status->details[i], e);
}

struct ended tcall_end(struct tcall *t)
{
    struct ended e = {.code = GRPC_UNKNOWN,
                      .reason = "",
                      .field = "",
                      .present = "(none)",
                      .required = "",
                      .subject = ""};
    struct grpc_result r;
    while (tcall_hear(t))
        ;
    assert_int_equal(grpc_result(&t->call, &r), ST_OK);
    e.code = r.code;
    e.message = arena_strdup(&t->w->arena, r.message.len ? buf_cstr(&r.message) : "");
    if (r.details.len)
        read_details(t->w, buf_bytes(&r.details), &e);
    grpc_result_deinit(&r);
    grpc_deinit(&t->call);
    list_remove(&t->node);
    return e;
}

void tcall_cancel(struct tcall *t)
{
    grpc_cancel(&t->call);
    grpc_deinit(&t->call);
    list_remove(&t->node);
    flush(t->w->client);
}

struct ended ask_bytes(struct door_world *w, const char *method, struct bytes m,
                       const ProtobufCMessageDescriptor *answer, void **ret)
{
    struct tcall t;
    tcall_start(&t, w, method, 0, answer);
    assert_int_equal(grpc_send(&t.call, m, true), ST_OK);
    void *got = tcall_hear(&t);
    struct ended e = tcall_end(&t);
    assert_true((e.code == GRPC_OK) == (got != NULL));
    if (ret)
        *ret = got;
    return e;
}

struct ended ask(struct door_world *w, const char *method, const ProtobufCMessage *m,
                 const ProtobufCMessageDescriptor *answer, void **ret)
{
    struct buf out = BUF_INIT;
    assert_int_equal(pb_encode(m, &out), ST_OK);
    struct ended e = ask_bytes(w, method, buf_bytes(&out), answer, ret);
    buf_deinit(&out);
    return e;
}

/* ---- shorthand ---- */

ProtobufCBinaryData data_of(const char *text)
{
    return (ProtobufCBinaryData){.len = strlen(text), .data = (uint8_t *)(uintptr_t)text};
}

static Varve__V1__Version *put(struct door_world *w, const char *collection, const char *key,
                               Varve__V1__Value *value)
{
    Varve__V1__PutRequest m = VARVE__V1__PUT_REQUEST__INIT;
    void *ret = NULL;
    m.collection = (char *)(uintptr_t)collection;
    m.key = data_of(key);
    m.value = value;
    assert_code(ask(w, "varve.v1.KV/Put", &m.base, &varve__v1__put_response__descriptor, &ret),
                GRPC_OK);
    assert_non_null(((Varve__V1__PutResponse *)ret)->version);
    return ((Varve__V1__PutResponse *)ret)->version;
}

Varve__V1__Version *put_raw(struct door_world *w, const char *collection, const char *key,
                            const char *value)
{
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    v.kind_case = VARVE__V1__VALUE__KIND_RAW;
    v.raw = data_of(value);
    return put(w, collection, key, &v);
}

Varve__V1__Version *put_json(struct door_world *w, const char *collection, const char *key,
                             const char *json)
{
    Varve__V1__Value v = VARVE__V1__VALUE__INIT;
    v.kind_case = VARVE__V1__VALUE__KIND_JSON;
    v.json = (char *)(uintptr_t)json;
    return put(w, collection, key, &v);
}
