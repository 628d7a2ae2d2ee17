/* message.c - the messages of varve.peer.v1, and what a hello must say. */
#include "serve/peer/peer_internal.h"

#include "base/assert.h"
#include "wire/proto/pb.h"

#include <inttypes.h>
#include <stdio.h>

enum { FIELD_HELLO = 1, FIELD_BUNDLE = 2 };

struct blob *message__bundle(struct bytes bundle)
{
    struct blob *b = blob_new(pb_field_size(bundle.len));
    if (b)
        (void)pb_w_bytes(b->data, FIELD_BUNDLE, bundle);
    return b;
}

size_t message__bundle_len(const struct blob *b)
{
    struct reader r = reader_of(BYTES(b->data, b->len));
    struct pb_field f;
    bool whole = pb_next(&r, &f);
    ASSERT(whole && f.number == FIELD_BUNDLE);
    return f.bytes.len;
}

enum status message__read_bundle(struct bytes message, struct bytes *ret, struct err *err)
{
    struct reader r = reader_of(message);
    struct bytes found = BYTES_EMPTY;
    while (reader_left(&r)) {
        struct pb_field f;
        if (!pb_next(&r, &f))
            return err_set(err, ST_INVALID_ARGUMENT, "link: a message is malformed");
        if (f.number == FIELD_BUNDLE && f.wire == PB_BYTES)
            found = f.bytes;
    }
    if (found.len == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "link: a message without a bundle");
    *ret = found;
    return ST_OK;
}

enum status message__hello(const struct peers *p, uint64_t to, bool answer, struct buf *out)
{
    uint64_t ids[PEER_NODES_MAX];
    for (size_t i = 0; i < p->o.n_nodes; i++)
        ids[i] = p->nodes[i].id;
    Varve__Peer__V1__Hello hello = VARVE__PEER__V1__HELLO__INIT;
    hello.protocol = PEER_PROTOCOL;
    hello.cluster = (char *)(uintptr_t)p->cluster;
    hello.from_node = p->o.node;
    hello.to_node = to;
    hello.n_nodes = p->o.n_nodes;
    hello.nodes = ids;
    hello.software_version = (char *)(uintptr_t)p->version;
    hello.client_address = (char *)(uintptr_t)(p->o.client_address ? p->o.client_address : "");
    hello.cluster_id = p->o.cluster_id ? p->o.cluster_id(p->o.arg) : 0;
    if (answer) {
        Varve__Peer__V1__LinkResponse m = VARVE__PEER__V1__LINK_RESPONSE__INIT;
        m.what_case = VARVE__PEER__V1__LINK_RESPONSE__WHAT_HELLO;
        m.hello = &hello;
        return pb_encode(&m.base, out);
    }
    Varve__Peer__V1__LinkRequest m = VARVE__PEER__V1__LINK_REQUEST__INIT;
    m.what_case = VARVE__PEER__V1__LINK_REQUEST__WHAT_HELLO;
    m.hello = &hello;
    return pb_encode(&m.base, out);
}

/* In the same order too: the first may bring data along (store.h), and two nodes that each took themselves
 * for it would go on with logs of their own. */
static bool same_nodes(const struct peers *p, const Varve__Peer__V1__Hello *h)
{
    if (h->n_nodes != p->o.n_nodes)
        return false;
    for (size_t i = 0; i < h->n_nodes; i++)
        if (h->nodes[i] != p->nodes[i].id)
            return false;
    return true;
}

static bool is_other_node(const struct peers *p, uint64_t id)
{
    for (size_t i = 0; i < p->o.n_nodes; i++)
        if (p->nodes[i].id == id)
            return id != p->o.node;
    return false;
}

static enum status judge(const struct peers *p, const Varve__Peer__V1__Hello *h, uint64_t from,
                         struct err *err)
{
    const enum status no = ST_PRECONDITION_FAILED;
    if (h->protocol != PEER_PROTOCOL)
        return err_set(err, no, "WRONG_PROTOCOL: node %" PRIu64 " speaks %d, the other %u",
                       p->o.node, (int)PEER_PROTOCOL, h->protocol);
    if (strcmp(h->cluster, p->cluster) != 0)
        return err_set(err, no,
                       "WRONG_CLUSTER: node %" PRIu64 " is of \"%s\", the other of \"%.*s\"",
                       p->o.node, p->cluster, (int)PEER_CLUSTER_MAX, h->cluster);
    if (h->to_node != p->o.node || (from && h->from_node != from))
        return err_set(err, no,
                       "WRONG_NODE: here is node %" PRIu64 ", the other is node %" PRIu64
                       " and means node %" PRIu64,
                       p->o.node, h->from_node, h->to_node);
    if (!is_other_node(p, h->from_node))
        return err_set(err, no,
                       "UNKNOWN_NODE: node %" PRIu64 " knows no other node %" PRIu64
                       " in its cluster",
                       p->o.node, h->from_node);
    if (!same_nodes(p, h))
        return err_set(err, no,
                       "OTHER_NODES: nodes %" PRIu64 " and %" PRIu64
                       " were told different lists of nodes, or in another order",
                       p->o.node, h->from_node);
    struct err why;
    err_init(&why);
    if (p->o.meet && p->o.meet(p->o.arg, h->cluster_id, &why) != ST_OK)
        return err_set(err, no, "WRONG_CLUSTER: node %" PRIu64 " says to node %" PRIu64 ": %s",
                       p->o.node, h->from_node, why.detail);
    return ST_OK;
}

enum status message__judge(const struct peers *p, struct bytes message, bool answer, uint64_t from,
                           struct hello_heard *ret, struct err *err)
{
    struct arena arena;
    void *m = NULL;
    const Varve__Peer__V1__Hello *hello = NULL;
    if (message.len > HELLO_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "hello: %zu bytes, at most %d", message.len,
                       (int)HELLO_MAX);
    arena_init(&arena, 1024);
    enum status st = pb_decode(answer ? &varve__peer__v1__link_response__descriptor
                                      : &varve__peer__v1__link_request__descriptor,
                               message, &arena, &m, NULL, err);
    if (!st && answer) {
        const Varve__Peer__V1__LinkResponse *r = m;
        hello = r->what_case == VARVE__PEER__V1__LINK_RESPONSE__WHAT_HELLO ? r->hello : NULL;
    } else if (!st) {
        const Varve__Peer__V1__LinkRequest *r = m;
        hello = r->what_case == VARVE__PEER__V1__LINK_REQUEST__WHAT_HELLO ? r->hello : NULL;
    }
    if (!st && !hello)
        st = err_set(err, ST_INVALID_ARGUMENT, "hello: the first message is none");
    if (!st)
        st = judge(p, hello, from, err);
    if (!st) {
        ret->from = hello->from_node;
        (void)snprintf(ret->version, sizeof ret->version, "%s", hello->software_version);
        (void)snprintf(ret->client_address, sizeof ret->client_address, "%s",
                       hello->client_address);
    }
    arena_deinit(&arena);
    return st;
}
