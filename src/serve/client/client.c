/* client.c - opening and closing; addresses and credentials. */
#include "serve/client/client_internal.h"

#include "base/alloc.h"
#include "base/base64.h"

#include <string.h>

enum { MESSAGE_MAX = 64 * 1024 * 1024, CLOSING_MS = 1000, HOST_MAX = 255 };

/* Does the text name a port? "[::1]:7878" does, "::1" and "[::1]" do not. */
static bool has_port(const char *text, size_t len)
{
    const char *colon = memrchr(text, ':', len), *bracket = memrchr(text, ']', len);
    if (!colon)
        return false;
    return bracket ? colon > bracket : memchr(text, ':', len) == colon;
}

/* The host alone, without port and brackets: whom a certificate must name. */
static void host_of(const char *text, char out[HOST_MAX + 1])
{
    size_t len = strlen(text);
    if (has_port(text, len))
        len = (size_t)(strrchr(text, ':') - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    memcpy(out, text, len);
    out[len] = '\0';
}

static enum status add_server(struct client *c, const char *text, size_t len, struct err *err)
{
    char host[HOST_MAX + 1];
    struct buf b = BUF_INIT;
    size_t ignored;
    if (len == 0 || len > HOST_MAX - 8)
        return err_set(err, ST_INVALID_ARGUMENT, "server: \"%s\" is not HOST:PORT", c->o.servers);
    if (c->n == CLIENT_SERVERS_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "server: more than %d addresses",
                       CLIENT_SERVERS_MAX);
    enum status st = has_port(text, len) ? buf_printf(&b, "%.*s", (int)len, text)
                                         : buf_printf(&b, "%.*s:%d", (int)len, text, CLIENT_PORT);
    if (st != ST_OK || !buf_cstr(&b)) {
        buf_deinit(&b);
        return err_set(err, ST_NO_MEMORY, "no memory for the client");
    }
    struct client_server *s = &c->servers[c->n++];
    s->text = (char *)buf_steal(&b, &ignored);
    if (!c->o.tls)
        return ST_OK;
    static const char *const alpn[] = {"h2", NULL};
    struct tls_options o = {.cert_file = c->o.cert_file,
                            .key_file = c->o.key_file,
                            .ca_file = c->o.ca_file,
                            .alpn = alpn};
    host_of(s->text, host);
    return tls_client_new(c->env, &o, host, &s->tls, err);
}

static enum status add_servers(struct client *c, struct err *err)
{
    const char *p = c->o.servers ? c->o.servers : "";
    enum status st;
    for (;;) {
        size_t len = strcspn(p, ",");
        if ((st = add_server(c, p, len, err)) != ST_OK || !p[len])
            return st;
        p += len + 1;
    }
}

static enum status take_credentials(struct client *c, struct err *err)
{
    const struct client_options *o = &c->o;
    struct buf pair = BUF_INIT;
    enum status st = ST_OK;
    if (o->token && o->user)
        return err_set(err, ST_INVALID_ARGUMENT, "a token and a user: one of both is enough");
    if (o->user && (!o->password || strchr(o->user, ':')))
        return err_set(err, ST_INVALID_ARGUMENT, "user: %s",
                       o->password ? "its name has a colon" : "the password is missing");
    if (o->token) {
        st = buf_printf(&c->authorization, "Bearer %s", o->token);
    } else if (o->user) {
        st = buf_printf(&pair, "%s:%s", o->user, o->password);
        if (st == ST_OK)
            st = buf_printf(&c->authorization, "Basic ");
        if (st == ST_OK)
            st = base64_encode(&c->authorization, buf_bytes(&pair));
        if (pair.data)
            explicit_bzero(pair.data, pair.cap);
    }
    buf_deinit(&pair);
    return st == ST_OK ? ST_OK : err_set(err, ST_NO_MEMORY, "no memory for the client");
}

enum status client_open(struct env *env, const struct client_options *o, struct client **ret,
                        struct err *err)
{
    struct loop_options lo = {.kind = LOOP_EPOLL, .max_conns = 2 * CLIENT_SERVERS_MAX};
    struct client *c = mem_zalloc(sizeof *c);
    if (!c)
        return err_set(err, ST_NO_MEMORY, "no memory for the client");
    c->env = env;
    c->o = *o;
    if (c->o.message_max == 0)
        c->o.message_max = MESSAGE_MAX;
    if (c->o.patience_ms == 0)
        c->o.patience_ms = CLIENT_PATIENCE_MS;
    if (!c->o.tls && (o->ca_file || o->cert_file || o->key_file))
        c->o.tls = true;
    enum status st = loop_new(env, &lo, &c->loop, err);
    if (st == ST_OK)
        st = add_servers(c, err);
    if (st == ST_OK)
        st = take_credentials(c, err);
    if (st != ST_OK) {
        client_close(c);
        return st;
    }
    *ret = c;
    return ST_OK;
}

void client_close(struct client *c)
{
    if (!c)
        return;
    client__retire(c);
    client__free_links(c);
    if (c->loop) {
        uint64_t until = loop_clock_ns(c->loop) + (uint64_t)CLOSING_MS * CLIENT_NS_PER_MS;
        while (loop_conns(c->loop) > 0 && loop_clock_ns(c->loop) < until)
            loop_poll(c->loop, until);
        loop_free(c->loop);
    }
    for (size_t i = 0; i < c->n; i++) {
        mem_free(c->servers[i].text);
        tls_free(c->servers[i].tls);
    }
    if (c->authorization.data)
        explicit_bzero(c->authorization.data, c->authorization.cap);
    buf_deinit(&c->authorization);
    mem_free(c);
}

const char *client_server(const struct client *c)
{
    return c->servers[c->at].text;
}

bool client__stopped(const struct client *c)
{
    return c->o.stopped && c->o.stopped(c->o.stopped_arg);
}

uint64_t client__now_ns(const struct client *c)
{
    return loop_clock_ns(c->loop);
}

void client__wait(struct client *c, uint64_t deadline_ns)
{
    uint64_t slice = client__now_ns(c) + (uint64_t)CLIENT_SLICE_MS * CLIENT_NS_PER_MS;
    loop_poll(c->loop, deadline_ns < slice ? deadline_ns : slice);
}

uint64_t client__deadline_ns(const struct client *c, const struct client_request *q)
{
    uint64_t ms = q->deadline_ms ? q->deadline_ms : c->o.deadline_ms;
    if (ms == 0 || ms > UINT64_MAX / CLIENT_NS_PER_MS / 2)
        return UINT64_MAX;
    return client__now_ns(c) + ms * CLIENT_NS_PER_MS;
}

void client_step(struct client *c)
{
    loop_poll(c->loop, 0);
}
