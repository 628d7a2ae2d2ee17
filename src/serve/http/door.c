/* door.c - one exchange: which route, who asks, what is asked; then the handler runs. */
#include "serve/http/http_internal.h"

#include "base/env/env.h"

enum status http_door_new(const struct http_door_options *o, struct http_door **ret,
                          struct err *err)
{
    struct http_door *d = mem_zalloc(sizeof *d);
    if (!d)
        return err_set(err, ST_NO_MEMORY, "no memory for the HTTP door");
    d->o = *o;
    d->gate = (struct gate){.security = o->gate, .work = o->work};
    if (!d->o.address)
        d->o.address = "";
    if (!d->o.version)
        d->o.version = "";
    if (!d->o.heartbeat_ms)
        d->o.heartbeat_ms = HTTP_HEARTBEAT_MS;
    if (!d->o.max_body_bytes)
        d->o.max_body_bytes = HTTP_MAX_BODY;
    if (!d->o.max_batch)
        d->o.max_batch = HTTP_MAX_BATCH;
    if (!d->o.wait_ms)
        d->o.wait_ms = HTTP_WAIT_MS;
    if (!d->o.max_streams)
        d->o.max_streams = HTTP_MAX_STREAMS;
    if (http_openapi(&d->openapi) != ST_OK) {
        http_door_free(d);
        return err_set(err, ST_NO_MEMORY, "no memory for the HTTP door");
    }
    *ret = d;
    return ST_OK;
}

void http_door_stop(struct http_door *d)
{
    atomic_store_explicit(&d->stop, true, memory_order_relaxed);
    store_wake_watchers(d->o.db->store);
}

void http_door_free(struct http_door *d)
{
    if (!d)
        return;
    buf_deinit(&d->openapi);
    mem_free(d);
}

enum status http__work(struct http_call *c, enum work_kind kind, void (*fn)(void *arg), void *arg)
{
    return work_run(c->door->o.work, kind, fn, arg, &c->err);
}

enum status http__allow(struct http_call *c, enum command_verb verb, struct bytes collection)
{
    return gate_check(&c->door->gate, c->who, &c->x->req, verb, collection, &c->err);
}

/* Fields that may be there once (RFC 9110, 5.3): which of two is meant, others on the way may have
 * decided otherwise. Lists (conditions, Accept) are read as such. */
static enum status check_repeats(struct http_call *c)
{
    static const char *const names[] = {"authorization",   "content-type",   "content-range",
                                        "idempotency-key", "x-varve-writer", "last-event-id",
                                        "origin",          "sec-fetch-site"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (request_header_repeats(&c->x->req, BYTES_STR(names[i])))
            return call_refuse(c, 400, names[i], "it is there more than once");
    return ST_OK;
}

/* A condition that no route heeds must not be passed over. */
static enum status check_conditions(struct http_call *c)
{
    static const char *const names[] = {"if-match", "if-none-match", "if-unmodified-since"};
    struct bytes value;
    for (size_t i = 0; i < 3; i++) {
        if (!request_header(&c->x->req, BYTES_STR(names[i]), &value))
            continue;
        bool heeded = i < 2 && c->route->condition == CONDITION_WRITE;
        bool harmless = c->route->method == METHOD_GET && i == 1;
        if (!heeded && !harmless)
            return call_refuse(c, 400, names[i], "it is not heeded here, so it is refused");
    }
    return ST_OK;
}

/* What somebody wrote into a body (the collection of a vacuum, the condition of a delete) must not be
 * passed over either. One that is announced and empty says nothing. */
static enum status check_body(struct http_call *c)
{
    struct bytes body;
    if (c->route->body || !c->x->has_body)
        return ST_OK;
    enum status st = exchange_body(c->x, 0, &body, &c->err);
    return st == ST_TOO_LARGE ? call_refuse(c, 400, "body", "this path takes none") : st;
}

static enum status open_gate(struct http_call *c)
{
    if (c->route->verb < 0)
        return ST_OK;
    enum status st = gate_open(&c->door->gate, &c->x->req, &c->who, &c->err);
    if (st != ST_OK)
        return st;
    struct bytes writer = gate_writer(&c->door->gate, c->who);
    if (writer.len)
        c->db.writer = writer;
    return ST_OK;
}

static enum status find(struct http_call *c)
{
    struct http_target t;
    struct exchange *x = c->x;
    enum status st = http_target_parse(x->path, call_arena(c), &t, &c->err);
    if (st != ST_OK)
        return st;
    c->route = http_route_find(x->method, &t, &c->names, &c->allow);
    if (c->route) {
        x->req.route = c->route->path;
        return ST_OK;
    }
    if (c->allow == 0)
        return err_set(&c->err, ST_NOT_FOUND, "there is no such path; /openapi.json has them all");
    if (bytes_eq(x->method, BYTES_LIT("OPTIONS")))
        return ST_OK; /* without a route */
    return call_refuse(c, 405, "method", "this path has no %.*s",
                       (int)(x->method.len < 20 ? x->method.len : 20),
                       (const char *)x->method.data);
}

static enum status run(struct http_call *c)
{
    enum status st = find(c);
    http_cors(c);
    if (st == ST_OK && !c->route)
        return http_preflight(c);
    if (st == ST_OK)
        st = check_repeats(c);
    if (st == ST_OK)
        st = http_check_host(c);
    if (st == ST_OK)
        st = http_check_site(c);
    if (st == ST_OK)
        st = open_gate(c);
    if (st == ST_OK)
        st = http_query_parse(c->x->query, c->route->params, call_arena(c), &c->query, &c->err);
    if (st == ST_OK)
        st = arg_consistency(c);
    if (st == ST_OK)
        st = check_conditions(c);
    if (st == ST_OK)
        st = check_body(c);
    if (st == ST_OK && (st = request_stop(&c->x->req)) == ST_CLOSED)
        st = ST_OK;
    return st == ST_OK ? c->route->fn(c) : st;
}

void http_door_handle(struct exchange *x, void *arg)
{
    struct http_door *d = arg;
    struct http_call c = {.door = d, .x = x, .db = *d->o.db};
    err_init(&c.err);
    enum status st = run(&c);
    if (st != ST_OK)
        http_problem(&c, st);
    gate_close(&d->gate, c.who);
}
