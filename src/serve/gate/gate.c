#include "serve/gate/gate.h"

#include <stdlib.h>

/* Without the port: a limit on failures by connection would be none. */
static struct security_peer peer_of(struct request *q)
{
    struct bytes address = BYTES_STR(request_peer_text(q));
    for (size_t n = address.len; n-- > 0;)
        if (address.data[n] == ':') {
            address.len = n;
            break;
        }
    return (struct security_peer){.address = address,
                                  .certificate = BYTES_STR(request_tls_name(q)),
                                  .request_id = BYTES_STR(request_id(q))};
}

size_t gate_network(const struct net_addr *a, uint8_t out[GATE_NETWORK])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    const uint8_t *ip = a->ip;
    size_t n = a->family == NET_NONE ? 0 : a->family == NET_IP4 ? 4 : GATE_NETWORK;
    if (a->family == NET_IP6 && memcmp(ip, mapped, sizeof mapped) == 0) {
        ip += sizeof mapped;
        n = 4;
    }
    memcpy(out, ip, n);
    return n;
}

struct login {
    struct gate *gate;
    struct security_peer peer;
    uint8_t network[GATE_NETWORK]; /* the peer's */
    struct bytes authorization;
    struct security_principal *who;
    struct err *err;
    enum status st;
};

static void login_on_pool(void *arg)
{
    struct login *l = arg;
    l->st = security_gate_open(l->gate->security, &l->peer, l->authorization, &l->who, l->err);
}

static enum status let_everyone_in(struct login *l, void **ret_who)
{
    enum status st =
        security_gate_open_cached(l->gate->security, &l->peer, l->authorization, &l->who, l->err);
    if (st == ST_OK)
        *ret_who = l->who;
    return st;
}

/* "too many failed logins: wait 3000 ms"; a full pool says nothing of the kind. */
static uint64_t wait_told(const struct err *err)
{
    const char *p = strstr(err->detail, "wait ");
    return p ? strtoull(p + 5, NULL, 10) : 0;
}

enum status gate_open(void *arg, struct request *q, void **ret_who, struct err *err)
{
    struct gate *g = arg;
    struct login l = {.gate = g, .authorization = BYTES_EMPTY, .err = err};
    if (!security_required(g->security)) /* who asks plays no part */
        return let_everyone_in(&l, ret_who);
    struct net_addr from;
    request_peer(q, &from);
    l.peer = peer_of(q);
    l.peer.network = BYTES(l.network, gate_network(&from, l.network));
    (void)request_header(q, BYTES_LIT("authorization"), &l.authorization);
    if (request_header_repeats(q, BYTES_LIT("authorization"))) /* a proxy may have seen the other */
        return err_set(err, ST_INVALID_ARGUMENT, "authorization: it is there more than once");
    enum status st = security_gate_open_cached(g->security, &l.peer, l.authorization, &l.who, err);
    if (st == ST_TIMED_OUT) {
        st = work_run(g->work, WORK_READ, login_on_pool, &l, err);
        if (st == ST_OK)
            st = l.st;
    }
    if (st == ST_OVERLOADED)
        q->retry_ms = wait_told(err);
    if (st != ST_OK)
        return st;
    struct bytes name = security_principal_name(l.who);
    char *user = name.len ? arena_alloc(q->arena, name.len + 1) : NULL;
    if (user) { /* for the log only: without memory it goes without */
        memcpy(user, name.data, name.len);
        user[name.len] = '\0';
        q->user = user;
    }
    *ret_who = l.who;
    return ST_OK;
}

enum status gate_check(void *arg, void *who, struct request *q, enum command_verb verb,
                       struct bytes collection, struct err *err)
{
    struct gate *g = arg;
    if (security_gate_passes(who, verb, collection))
        return ST_OK;
    struct security_peer peer = peer_of(q);
    return security_gate_check(g->security, who, &peer, verb, collection, err);
}

enum status gate_check_batch(void *arg, void *who, struct request *q, const struct command_batch *b,
                             struct err *err)
{
    struct gate *g = arg;
    struct security_peer peer = peer_of(q);
    return security_gate_check_batch(g->security, who, &peer, b, err);
}

struct bytes gate_writer(void *arg, void *who)
{
    (void)arg;
    return security_principal_name(who);
}

void gate_close(void *arg, void *who)
{
    (void)arg;
    security_gate_close(who);
}
