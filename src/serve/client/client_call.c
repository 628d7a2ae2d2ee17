/* client_call.c - one request and its answer, as often as it takes. */
#include "serve/client/client_internal.h"

#include "base/alloc.h"

#include <stdio.h>

enum { PAUSE_MS = 50, PAUSE_MAX_MS = 2000, METHOD_MAX = 100 };

/* ---- one try ---- */

static void on_event(struct link_call *call)
{
    (void)call; /* who waits looks at the call itself */
}

bool client__try(struct client *c, const struct client_request *q, uint64_t deadline_ns,
                 struct client_try *t, struct client_failure *f)
{
    char path[METHOD_MAX];
    struct link_start s = {.authorization = buf_bytes(&c->authorization),
                           .limits = {.message_max = c->o.message_max}};
    *t = (struct client_try){.call = {.on_event = on_event}};
    if (!client__connect(c, deadline_ns, f))
        return false;
    *f = (struct client_failure){0};
    int n = snprintf(path, sizeof path, "/%s", q->method);
    s.path = BYTES(path, (size_t)n);
    if (deadline_ns != UINT64_MAX) {
        uint64_t now = client__now_ns(c);
        if (now >= deadline_ns) {
            client__timed_out(q, f);
            f->undone = true;
            return false;
        }
        s.timeout_ns = deadline_ns - now;
    }
    t->link = c->link;
    enum status st = link_start(t->link->link, &t->call, &s, &f->err);
    if (st == ST_OK)
        st = grpc_send(&t->call.grpc, q->message, true);
    if (st != ST_OK) {
        client__try_end(t);
        if (!f->err.detail[0])
            (void)err_set(&f->err, st, "cannot send the request: %s", status_text(st));
        f->err.status = st == ST_CLOSED ? ST_IO_ERROR : st;
        f->undone = true;
        f->repeatable = st == ST_CLOSED || st == ST_OVERLOADED;
        return false;
    }
    link_flush(t->link->link);
    loop_flush(c->loop);
    return true;
}

void client__try_end(struct client_try *t)
{
    if (t->link && link_heard(t->link->link))
        t->link->client->met = true;
    link_end(&t->call);
}

/* Takes the message and waits for the end. */
static enum status answer(struct client *c, const struct client_request *q, uint64_t deadline_ns,
                          struct client_try *t, struct buf *out, struct client_failure *f)
{
    size_t before = out->len;
    struct bytes m;
    bool any = false;
    for (;;) {
        enum grpc_next next = grpc_next(&t->call.grpc, &m, &f->err);
        if (next == GRPC_MESSAGE && !any) {
            any = true;
            if (buf_append(out, m.data, m.len) != ST_OK)
                return client__no_memory(f);
            continue;
        }
        if (next == GRPC_END || next == GRPC_FAILED) {
            if (!client__failed(t, f) && any)
                return ST_OK;
            out->len = before;
            if (f->err.status == ST_OK)
                (void)err_set(&f->err, ST_INTERNAL, "%s: the answer is missing", q->method);
            return f->err.status;
        }
        if (client__stopped(c) || client__now_ns(c) >= deadline_ns) {
            out->len = before;
            if (client__stopped(c))
                client__cancelled(f);
            else
                client__timed_out(q, f);
            return f->err.status;
        }
        link_flush(t->link->link);
        client__wait(c, deadline_ns);
    }
}

/* ---- trying again ---- */

/* Between the half and the whole of a pause that doubles, so that many do not come at once. */
static uint64_t pause_ms(struct client *c, unsigned n, uint64_t wish_ms)
{
    uint32_t chance;
    uint64_t ms = n < 6 ? (uint64_t)PAUSE_MS << n : PAUSE_MAX_MS;
    env_random(c->env, &chance, sizeof chance);
    ms = ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : ms;
    ms = ms / 2 + chance % (ms / 2 + 1);
    return ms > wish_ms ? ms : wish_ms;
}

static bool may_repeat(const struct client *c, enum client_repeat repeat,
                       const struct client_failure *f)
{
    if (!c->met)
        return false; /* most likely the address is wrong */
    if (f->undone)
        return f->repeatable;
    return repeat != CLIENT_WRITE && f->repeatable;
}

/* A failure of a write must not read as if nothing had been written. */
static enum status give_up(struct client_tries *t, enum client_repeat repeat,
                           struct client_failure *f)
{
    static const char unknown[] = " (whether it was written is not known)";
    size_t len = strlen(f->err.detail);
    f->unsure = t->unsure;
    if (t->unsure && repeat != CLIENT_READ && len + sizeof unknown <= sizeof f->err.detail)
        memcpy(f->err.detail + len, unknown, sizeof unknown);
    return f->err.status;
}

enum status client_again(struct client *c, struct client_tries *t, enum client_repeat repeat,
                         struct client_failure *f)
{
    uint64_t now = client__now_ns(c);
    if (t->begun_ns == 0)
        t->begun_ns = now;
    if (f->lost && !f->undone)
        t->unsure = true;
    uint64_t until = now + pause_ms(c, t->n, f->retry_ms) * CLIENT_NS_PER_MS;
    uint64_t end = t->begun_ns + c->o.patience_ms * CLIENT_NS_PER_MS;
    if (!may_repeat(c, repeat, f) || until > end || (t->deadline_ns && until > t->deadline_ns))
        return give_up(t, repeat, f);
    t->n++;
    if (!f->unreachable && c->n > 1)
        client__next_server(c);
    while (client__now_ns(c) < until) {
        if (client__stopped(c)) {
            client__cancelled(f);
            return give_up(t, repeat, f);
        }
        client__wait(c, until);
    }
    return ST_OK;
}

/* ---- calls ---- */

struct client_pending {
    struct client *client;
    struct client_request q;
    struct client_tries tries;
    struct client_try now;
    struct client_failure failure; /* of a try that did not begin */
    uint64_t deadline_ns;
    bool begun;
};

static void begin(struct client_pending *p)
{
    p->begun = client__try(p->client, &p->q, p->deadline_ns, &p->now, &p->failure);
}

struct client_pending *client_begin(struct client *c, const struct client_request *q)
{
    struct client_pending *p = mem_zalloc(sizeof *p);
    if (!p)
        return NULL;
    p->client = c;
    p->q = *q;
    p->deadline_ns = client__deadline_ns(c, q);
    p->tries.begun_ns = client__now_ns(c);
    p->tries.deadline_ns = p->deadline_ns == UINT64_MAX ? 0 : p->deadline_ns;
    begin(p);
    return p;
}

enum status client_finish(struct client_pending *p, struct buf *out, struct client_failure *f)
{
    enum status st;
    for (;;) {
        *f = p->failure;
        st = f->err.status;
        if (p->begun) {
            *f = (struct client_failure){0};
            st = answer(p->client, &p->q, p->deadline_ns, &p->now, out, f);
            client__try_end(&p->now);
            p->begun = false;
        }
        if (st == ST_OK)
            break;
        if ((st = client_again(p->client, &p->tries, p->q.repeat, f)) != ST_OK)
            break;
        begin(p);
    }
    mem_free(p);
    return st;
}

enum status client_call(struct client *c, const struct client_request *q, struct buf *out,
                        struct client_failure *f)
{
    struct client_pending *p = client_begin(c, q);
    if (!p) {
        *f = (struct client_failure){0};
        return client__no_memory(f);
    }
    return client_finish(p, out, f);
}
