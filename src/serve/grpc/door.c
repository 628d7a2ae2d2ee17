/* door.c - one call: which method, who asks, what is asked; then the method runs. */
#include "serve/grpc/door_internal.h"

#include "base/alloc.h"
#include "base/env/env.h"
#include "base/env/fiber.h"
#include "serve/grpc/kv.h"

enum { CHARGED_FROM = 64 * 1024 };

static const struct service *const services[] = {
    &door__kv,     &door__changes,    &door__admin,
    &door__health, &door__reflection, &door__reflection_alpha,
};

static bool is(struct bytes b, const char *name)
{
    return bytes_eq(b, BYTES_STR(name));
}

static const struct service *service_of(const struct rpc *r)
{
    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++)
        if (is(r->service, services[i]->name))
            return services[i];
    return NULL;
}

static const struct method *method_of(const struct service *s, const struct rpc *r)
{
    for (size_t i = 0; s && i < s->n; i++)
        if (is(r->method, s->methods[i].name))
            return &s->methods[i];
    return NULL;
}

static enum status find(struct call *c)
{
    const struct service *s = service_of(c->rpc);
    c->method = method_of(s, c->rpc);
    if (!s)
        return err_set(&c->err, ST_UNIMPLEMENTED, "there is no service %.*s",
                       (int)c->rpc->service.len, (const char *)c->rpc->service.data);
    if (!c->method)
        return err_set(&c->err, ST_UNIMPLEMENTED, "the service %s has no method %.*s", s->name,
                       (int)c->rpc->method.len, (const char *)c->rpc->method.data);
    call_request(c)->route = c->method->route;
    return ST_OK;
}

static enum status open_gate(struct call *c)
{
    const struct grpc_gate *g = &c->door->gate;
    if (!c->method->gated || !g->open)
        return ST_OK;
    enum status st = g->open(g->arg, call_request(c), &c->who, &c->err);
    if (st == ST_OK && g->writer) {
        struct bytes writer = g->writer(g->arg, c->who);
        if (writer.len)
            c->db.writer = writer;
    }
    return st;
}

enum status call_allow(struct call *c, struct bytes collection)
{
    const struct grpc_gate *g = &c->door->gate;
    return g->check
               ? g->check(g->arg, c->who, call_request(c), c->method->verb, collection, &c->err)
               : ST_OK;
}

enum status call_work(struct call *c, enum work_kind kind, void (*fn)(void *arg), void *arg)
{
    return work_run(c->door->work, kind, fn, arg, &c->err);
}

enum status call_alive(struct call *c)
{
    enum status st = request_stop(call_request(c));
    return st == ST_CLOSED ? ST_OK : st;
}

void *call_alloc(struct call *c, size_t n)
{
    void *p = arena_alloc(call_request(c)->arena, n);
    if (!p)
        (void)err_set(&c->err, ST_NO_MEMORY, "no memory for the call");
    return p;
}

enum status call_respond(struct call *c, const ProtobufCMessage *m)
{
    struct buf out = BUF_INIT;
    enum status st = pb_encode(m, &out);
    if (st == ST_OK)
        st = rpc_respond(c->rpc, buf_bytes(&out));
    buf_deinit(&out);
    return st;
}

enum status call_respond_version(struct call *c, struct version v)
{
    uint8_t out[2 + VERSION_OUT_MAX];
    uint8_t *p = version_out(v, pb_w_head(out, 1, version_out_size(v)));
    return rpc_respond(c->rpc, BYTES(out, (size_t)(p - out)));
}

enum status call_send(struct call *c, const ProtobufCMessage *m)
{
    struct buf out = BUF_INIT;
    enum status st = pb_encode(m, &out);
    if (st == ST_OK)
        st = rpc_send(c->rpc, buf_bytes(&out));
    buf_deinit(&out);
    return st;
}

enum status call_end(struct call *c)
{
    return rpc_finish(c->rpc, &(struct grpc_finish){.code = GRPC_OK});
}

/* Nearly every client says that it takes gzip; who sends it wants it. */
static void choose_encoding(struct call *c)
{
    if (rpc_sends_gzip(c->rpc))
        rpc_use_gzip(c->rpc);
}

static enum status run(struct call *c)
{
    struct bytes message;
    void *request = NULL;
    size_t memory = 0;
    enum status st = find(c);
    if (st == ST_OK)
        st = open_gate(c);
    if (st != ST_OK)
        return st;
    choose_encoding(c);
    if (!c->method->request)
        return c->method->run(c, NULL);
    st = rpc_recv_one(c->rpc, &message, &c->err);
    if (st == ST_OK)
        st = call_alive(c);
    if (st == ST_OK && c->method->plain && c->method->plain(c, message, &st))
        return st;
    if (st == ST_OK)
        st = pb_decode(c->method->request, message, call_request(c)->arena, &request, &memory,
                       &c->err);
    if (st == ST_OK && memory > CHARGED_FROM)
        st = request_charge(call_request(c), memory, &c->err);
    return st == ST_OK ? c->method->run(c, request) : st;
}

void grpc_door_handle(struct rpc *r, void *arg)
{
    struct grpc_door *d = arg;
    struct call c; /* its error's text is long, and needs no zeroes */
    memset(&c, 0, offsetof(struct call, err));
    memset((char *)&c + offsetof(struct call, required), 0,
           sizeof c - offsetof(struct call, required));
    c.door = d;
    c.rpc = r;
    c.db = d->db;
    err_init(&c.err);
    enum status st = run(&c);
    if (st != ST_OK)
        door__fail(&c, st);
    if (c.who && d->gate.close)
        d->gate.close(d->gate.arg, c.who);
}

bool grpc_door_takes_one(const struct rpc *r, void *arg)
{
    (void)arg;
    const struct method *m = method_of(service_of(r), r);
    return m && m->request;
}

void grpc_door_ahead(const struct rpc *r, struct bytes message, void *arg)
{
    const struct grpc_door *d = arg;
    if (bytes_eq(r->method, BYTES_LIT("Get")) && is(r->service, door__kv.name))
        kv_get_ahead(&d->db, message);
}

bool grpc_door_joins(const struct rpc *r, struct bytes first, void *arg)
{
    const struct grpc_door *d = arg;
    return d->db.cluster && is(r->method, "Get") && is(r->service, door__kv.name) &&
           kv_get_is_plain(first);
}

enum status grpc_door_join(void *arg, struct err *err)
{
    const struct grpc_door *d = arg;
    return command_present(&d->db, err);
}

enum status grpc_door_new(const struct grpc_door_options *o, struct grpc_door **ret,
                          struct err *err)
{
    struct grpc_door *d = mem_zalloc(sizeof *d);
    if (!d)
        return err_set(err, ST_NO_MEMORY, "no memory for the gRPC door");
    if (!descriptors_load(&d->descriptors, proto_descriptors())) {
        mem_free(d);
        return err_set(err, ST_INTERNAL, "the descriptors in the binary are not whole");
    }
    d->db = *o->db;
    d->work = o->work;
    if (o->gate)
        d->gate = *o->gate;
    d->address = o->address ? o->address : "";
    d->version = o->version ? o->version : "";
    d->topology = o->topology;
    d->ready = o->ready;
    d->ready_arg = o->ready_arg;
    d->started_ns = env_mono_ns(d->db.env);
    *ret = d;
    return ST_OK;
}

void grpc_door_free(struct grpc_door *d)
{
    mem_free(d);
}
