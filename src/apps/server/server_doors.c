/* server_doors.c - which handlers the port calls, and the gate before them. */
#include "apps/server/server_internal.h"

#include "base/alloc.h"

#ifdef SERVER_GATE
#include "serve/gate/gate.h"
#endif
#ifdef SERVER_HTTP_DOOR
#include "serve/http/http_door.h"
#endif
#ifdef SERVER_GRPC_DOOR
#include "serve/grpc/grpc_door.h"
#endif

enum { ORIGINS_MAX = 64 };

struct server_doors {
    struct server *server;
#ifdef SERVER_GATE
    struct gate gate;
#endif
#ifdef SERVER_HTTP_DOOR
    struct http_door *http;
    char *cors;
    const char *origins[ORIGINS_MAX + 1];
#endif
#ifdef SERVER_GRPC_DOOR
    struct grpc_door *grpc;
#ifdef SERVER_GATE
    struct grpc_gate grpc_gate;
#endif
#endif
};

/* --- the gate --- */

#ifdef SERVER_GATE
static enum status make_gate(struct server_doors *d, struct err *err)
{
    struct server *s = d->server;
    struct security_options o = {.required = s->now.auth};
    d->gate.work = s->work;
    return security_new(&s->db, &o, &d->gate.security, err);
}

static void free_gate(struct server_doors *d)
{
    security_free(d->gate.security);
}
#else
static enum status make_gate(struct server_doors *d, struct err *err)
{
    return d->server->now.auth
               ? err_set(err, ST_UNIMPLEMENTED, "auth: this build has no authentication")
               : ST_OK;
}

static void free_gate(struct server_doors *d)
{
    (void)d;
}
#endif

/* --- HTTP --- */

#ifdef SERVER_HTTP_DOOR
static bool http_ready(void *arg, struct err *err)
{
    struct server *s = arg;
    if (!atomic_load(&s->ready)) {
        err_set(err, ST_CLOSED, "the server is starting or stopping");
        return false;
    }
    if (server_poisoned(s)) {
        err_set(err, ST_POISONED, "a sync has failed: writes are refused");
        return false;
    }
    return cluster__ready(s, err);
}

static enum status split_origins(struct server_doors *d, struct err *err)
{
    size_t n = 0;
    d->cors = mem_strdup(d->server->now.cors);
    if (!d->cors)
        return err_set(err, ST_NO_MEMORY, "http.cors: no memory");
    for (char *p = d->cors; *p;) {
        size_t len = strcspn(p, ",");
        bool more = p[len] == ',';
        p[len] = '\0';
        if (n == ORIGINS_MAX)
            return err_set(err, ST_INVALID_ARGUMENT, "http.cors: over %d origins", ORIGINS_MAX);
        if (len)
            d->origins[n++] = p;
        p += len + more;
    }
    d->origins[n] = NULL;
    return ST_OK;
}

static enum status make_http(struct server_doors *d, struct err *err)
{
    struct server *s = d->server;
    enum status st = split_origins(d, err);
    if (st)
        return st;
    struct http_door_options o = {
        .db = &s->db,
        .gate = d->gate.security,
        .work = s->work,
        .cors_origins = d->origins,
        .of_this_machine = !s->now.auth && !s->now.insecure && !*s->now.tls_cert,
        .max_body_bytes = s->now.body,
        .address = s->address,
        .version = VARVE_VERSION,
        .ready = http_ready,
        .ready_arg = s,
        .topology = {s->cluster ? cluster__topology : NULL, s},
        .metrics = server__metrics,
        .metrics_arg = s,
    };
    return http_door_new(&o, &d->http, err);
}

static void on_http(struct exchange *x, void *arg)
{
    struct server_doors *d = arg;
    http_door_handle(x, d->http);
}

static void stop_http(struct server_doors *d)
{
    http_door_stop(d->http);
}

static void free_http(struct server_doors *d)
{
    http_door_free(d->http);
    mem_free(d->cors);
}
#else
static enum status make_http(struct server_doors *d, struct err *err)
{
    (void)d, (void)err;
    return ST_OK;
}

static void on_http(struct exchange *x, void *arg)
{
    (void)arg;
    struct wire_header type =
        WIRE_HEADER(BYTES_LIT("content-type"), BYTES_LIT("application/problem+json"));
    if (exchange_respond(x, 501, &type, 1,
                         BYTES_LIT("{\"status\":501,\"title\":\"this build has no HTTP door\"}\n")))
        exchange_abort(x);
}

static void stop_http(struct server_doors *d)
{
    (void)d;
}

static void free_http(struct server_doors *d)
{
    (void)d;
}
#endif

/* --- gRPC --- */

#ifdef SERVER_GRPC_DOOR
static bool grpc_ready(void *arg)
{
    struct server *s = arg;
    return atomic_load(&s->ready) && !server_poisoned(s) && cluster__ready(s, NULL);
}

static enum status make_grpc(struct server_doors *d, struct err *err)
{
    struct server *s = d->server;
    struct grpc_door_options o = {
        .db = &s->db,
        .work = s->work,
        .address = s->address,
        .version = VARVE_VERSION,
        .topology = {s->cluster ? cluster__topology : NULL, s},
        .ready = grpc_ready,
        .ready_arg = s,
    };
#ifdef SERVER_GATE
    d->grpc_gate = (struct grpc_gate){.arg = &d->gate,
                                      .open = gate_open,
                                      .check = gate_check,
                                      .check_batch = gate_check_batch,
                                      .writer = gate_writer,
                                      .close = gate_close};
    o.gate = &d->grpc_gate;
#endif
    return grpc_door_new(&o, &d->grpc, err);
}

static void on_grpc(struct rpc *r, void *arg)
{
    struct server_doors *d = arg;
    grpc_door_handle(r, d->grpc);
}

static void on_grpc_ahead(const struct rpc *r, struct bytes first, void *arg)
{
    const struct server_doors *d = arg;
    grpc_door_ahead(r, first, d->grpc);
}

static bool grpc_joins(const struct rpc *r, struct bytes first, void *arg)
{
    const struct server_doors *d = arg;
    return grpc_door_joins(r, first, d->grpc);
}

static enum status join(void *arg, struct err *err)
{
    const struct server_doors *d = arg;
    return grpc_door_join(d->grpc, err);
}

static void free_grpc(struct server_doors *d)
{
    grpc_door_free(d->grpc);
}
#else
static enum status make_grpc(struct server_doors *d, struct err *err)
{
    (void)d, (void)err;
    return ST_OK;
}

static void on_grpc(struct rpc *r, void *arg)
{
    (void)arg;
    struct err err;
    err_init(&err);
    err_set(&err, ST_UNIMPLEMENTED, "this build has no gRPC door");
    if (rpc_finish_status(r, ST_UNIMPLEMENTED, &err) != ST_OK)
        return; /* the client has gone */
}

static void on_grpc_ahead(const struct rpc *r, struct bytes first, void *arg)
{
    (void)r, (void)first, (void)arg;
}

static void free_grpc(struct server_doors *d)
{
    (void)d;
}
#endif

/* --- all of them --- */

enum status doors__new(struct server *s, struct server_doors **ret, struct err *err)
{
    struct server_doors *d = mem_zalloc(sizeof *d);
    if (!d)
        return err_set(err, ST_NO_MEMORY, "doors: no memory");
    d->server = s;
    enum status st = make_gate(d, err);
    if (!st)
        st = make_http(d, err);
    if (!st)
        st = make_grpc(d, err);
    if (st)
        doors__free(d);
    else
        *ret = d;
    return st;
}

void doors__handlers(struct server_doors *d, struct port_handlers *ret)
{
    *ret = (struct port_handlers){
        .http = on_http, .grpc = on_grpc, .arg = d, .grpc_ahead = on_grpc_ahead};
#ifdef SERVER_GRPC_DOOR
    ret->grpc_takes_one = grpc_door_takes_one;
    ret->grpc_joins = grpc_joins;
    ret->join = join;
#endif
}

void doors__stop(struct server_doors *d)
{
    if (d)
        stop_http(d);
}

void doors__free(struct server_doors *d)
{
    if (!d)
        return;
    free_grpc(d);
    free_http(d);
    free_gate(d);
    mem_free(d);
}
