/* client_link.c - the connection in use: making it, from one address to the next, and letting go. */
#include "serve/client/client_internal.h"

#include "base/alloc.h"

static void on_closed(void *ctx, const struct err *why)
{
    struct client_link *k = ctx;
    k->why = *why;
}

static const struct link_ops link_ops = {.on_closed = on_closed};

static void link_delete(struct client_link *k)
{
    link_free(k->link);
    mem_free(k);
}

void client__retire(struct client *c)
{
    struct client_link *k = c->link;
    c->link = NULL;
    if (k && link_calls(k->link) == 0) {
        link_delete(k);
    } else if (k) {
        k->next = c->retired;
        c->retired = k;
    }
    for (struct client_link **at = &c->retired; *at;) {
        k = *at;
        if (link_calls(k->link) > 0) {
            at = &k->next;
            continue;
        }
        *at = k->next;
        link_delete(k);
    }
}

void client__free_links(struct client *c)
{
    while (c->retired) {
        struct client_link *k = c->retired;
        c->retired = k->next;
        link_delete(k);
    }
}

void client__next_server(struct client *c)
{
    c->at = (c->at + 1) % c->n;
    client__retire(c);
}

/* Another try may help against anything but the wrong server. */
static void cannot_reach(struct client_failure *f, const struct client_server *s)
{
    f->undone = f->unreachable = true;
    f->repeatable = f->err.status != ST_UNAUTHENTICATED && f->err.status != ST_UNIMPLEMENTED;
    err_prefix(&f->err, "%s", s->text);
}

/* Waits until it is there or is not. */
static bool settle(struct client *c, struct client_link *k, uint64_t deadline_ns,
                   struct client_failure *f)
{
    uint64_t until = client__now_ns(c) + (uint64_t)CLIENT_CONNECT_MS * CLIENT_NS_PER_MS;
    if (deadline_ns < until)
        until = deadline_ns;
    while (!link_ready(k->link) && !link_closed(k->link)) {
        if (client__stopped(c)) {
            client__cancelled(f);
            return false;
        }
        if (client__now_ns(c) >= until) {
            (void)err_set(&f->err, ST_IO_ERROR, "no answer to the attempt to connect");
            return false;
        }
        client__wait(c, until);
    }
    if (link_ready(k->link))
        return true;
    f->err = k->why;
    return false;
}

static bool try_address(struct client *c, const struct net_addr *to, uint64_t deadline_ns,
                        struct client_failure *f)
{
    const struct client_server *s = &c->servers[c->at];
    struct client_link *k = mem_zalloc(sizeof *k);
    if (!k) {
        (void)client__no_memory(f);
        return false;
    }
    struct link_options o = {.to = *to, .authority = BYTES_STR(s->text), .tls = s->tls};
    k->client = c;
    k->server = s;
    enum status st = link_open(c->loop, c->env, &o, &link_ops, k, &k->link, &f->err);
    if (st == ST_OK && settle(c, k, deadline_ns, f)) {
        c->link = k;
        return true;
    }
    link_delete(k);
    return false;
}

static bool try_server(struct client *c, uint64_t deadline_ns, struct client_failure *f)
{
    struct net_addr addrs[CLIENT_ADDRS_MAX];
    const struct client_server *s = &c->servers[c->at];
    size_t n = 0;
    bool ok = false;
    if (net_resolve(s->text, addrs, CLIENT_ADDRS_MAX, &n, &f->err) != ST_OK) {
        f->undone = f->unreachable = true;
        f->repeatable = f->err.status == ST_IO_ERROR;
        if (f->err.status == ST_NOT_FOUND)
            f->err.status = ST_IO_ERROR;
        return false;
    }
    for (size_t i = 0; i < n && !ok && f->err.status != ST_CANCELLED; i++) {
        err_init(&f->err);
        ok = try_address(c, &addrs[i], deadline_ns, f);
    }
    if (!ok && f->err.status != ST_CANCELLED)
        cannot_reach(f, s);
    return ok;
}

bool client__connect(struct client *c, uint64_t deadline_ns, struct client_failure *f)
{
    if (c->link && link_ready(c->link->link))
        return true;
    client__retire(c);
    for (size_t i = 0; i < c->n; i++) {
        *f = (struct client_failure){0};
        if (try_server(c, deadline_ns, f))
            return true;
        if (f->err.status == ST_CANCELLED)
            return false;
        c->at = (c->at + 1) % c->n;
    }
    return false;
}
