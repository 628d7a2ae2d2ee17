/* Nodes that send each other bundles over real sockets, with stores that only remember: order, loss,
 * refusals, back-pressure, restarts, certificates. */
#include "base/alloc.h"
#include "base/log.h"
#include "serve/peer/peer_internal.h"
#include "serve/tls/tls.h"
#include "support/cmocka.h"
#include "support/rng.h"
#include "support/tempdir.h"
#include "unit/serve/tls_certificate.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NODES = 3, UNTIL_S = 20 };

/* --- a node --- */

struct heard {
    _Atomic uint64_t bundles, bytes, next, gaps, batches;
};

struct node {
    uint64_t id, cluster_id;
    struct net_addr addr;
    struct reactors *g;
    struct peers *peers;
    struct tls_context *server, *client;
    struct heard from[NODES + 1];
    _Atomic unsigned ups, downs;
    _Atomic bool hold, held, echo, refuse;
};

struct cluster {
    struct node at[NODES];
    size_t n;
    const char *name[NODES];     /* NULL: "test" */
    uint64_t told[NODES][NODES]; /* ids of the nodes as each was told; 0: as they are */
    bool turned;                 /* the second was told of them in another order */
    struct peer_options options; /* what is not about who is who */
    struct files *files;         /* certificates; NULL: plain */
};

static void until(bool (*is)(void *arg), void *arg, const char *what)
{
    for (unsigned i = 0; i < UNTIL_S * 1000; i++) {
        if (is(arg))
            return;
        struct timespec ms = {.tv_nsec = 1000000};
        (void)nanosleep(&ms, NULL);
    }
    fail_msg("%s: not within %d s", what, (int)UNTIL_S);
}

/* A bundle is its number (8 bytes), then bytes that follow from it. */
static uint64_t number_of(struct bytes bundle)
{
    uint64_t v;
    assert_true(bundle.len >= sizeof v);
    memcpy(&v, bundle.data, sizeof v);
    for (size_t i = sizeof v; i < bundle.len; i += 97)
        assert_int_equal(bundle.data[i], (uint8_t)(v + i));
    return v;
}

static struct bytes bundle_of(uint8_t *room, uint64_t number, size_t len)
{
    for (size_t i = 0; i < len; i++)
        room[i] = (uint8_t)(number + i);
    memcpy(room, &number, sizeof number);
    return BYTES(room, len);
}

static enum status receive(void *arg, uint64_t from, const struct bytes *bundles, size_t n,
                           size_t *ret_taken, struct err *err)
{
    struct node *node = arg;
    struct heard *h = &node->from[from];
    assert_non_null(fiber_current());
    assert_in_range(n, 1, PEER_BATCH_MAX);
    while (atomic_load(&node->hold)) {
        atomic_store(&node->held, true);
        reactor_yield(reactors_at(node->g, 0));
    }
    if (atomic_load(&node->refuse))
        return err_set(err, ST_OVERLOADED, "the inbox is full");
    for (size_t i = 0; i < n; i++) {
        uint64_t v = number_of(bundles[i]);
        if (v != atomic_load(&h->next))
            atomic_fetch_add(&h->gaps, 1);
        assert_true(v >= atomic_load(&h->next)); /* never twice, never backwards */
        atomic_store(&h->next, v + 1);
        atomic_fetch_add(&h->bytes, bundles[i].len);
        if (atomic_load(&node->echo))
            assert_true(peers_send(node->peers, from, bundles[i]));
    }
    atomic_fetch_add(&h->batches, 1);
    atomic_fetch_add(&h->bundles, n);
    *ret_taken = n;
    return ST_OK;
}

static void changed(void *arg, uint64_t other, bool up)
{
    (void)other;
    struct node *node = arg;
    atomic_fetch_add(up ? &node->ups : &node->downs, 1);
}

struct files {
    char dir[TEMP_DIR_MAX], ca[TEMP_DIR_MAX + 16], cert[TEMP_DIR_MAX + 16], key[TEMP_DIR_MAX + 16];
};

static void with_tls(struct cluster *c, struct node *node)
{
    struct err err;
    const struct tls_options o = {.cert_file = c->files->cert,
                                  .key_file = c->files->key,
                                  .ca_file = c->files->ca,
                                  .client_certificate = TLS_CLIENT_REQUIRED};
    if (tls_server_new(env_linux(), &o, &node->server, &err) ||
        tls_client_new(env_linux(), &o, NULL, &node->client, &err))
        fail_msg("TLS: %s", err.detail);
}

static void node_up(struct cluster *c, size_t i)
{
    struct node *node = &c->at[i];
    struct peer_node nodes[NODES];
    struct err err;
    err_init(&err);
    for (size_t j = 0; j < c->n; j++)
        nodes[j] = (struct peer_node){c->told[i][j] ? c->told[i][j] : c->at[j].id, c->at[j].addr};
    if (c->files)
        with_tls(c, node);
    struct reactor_options ro = {.idle_timeout_ms = UINT64_MAX, .linger_ms = 100};
    if (reactors_start(env_linux(), 1, &ro, &node->g, &err))
        fail_msg("reactors_start: %s", err.detail);
    struct peer_options o = c->options;
    o.cluster = c->name[i] ? c->name[i] : "test";
    o.version = "9.9.9";
    o.client_address = "here:1";
    o.node = nodes[i].id;
    if (c->turned && i == 1) {
        struct peer_node first = nodes[0];
        nodes[0] = nodes[1];
        nodes[1] = first;
    }
    o.nodes = nodes;
    o.n_nodes = c->n;
    o.receive = receive;
    o.changed = changed;
    o.arg = node;
    o.filter = node->client ? tls_filter(node->client) : NULL;
    if (peers_new(env_linux(), node->g, &o, &node->peers, &err))
        fail_msg("peers_new: %s", err.detail);
    if (peers_listen(node->peers, &node->addr, node->server ? tls_filter(node->server) : NULL, NULL,
                     &err))
        fail_msg("peers_listen: %s", err.detail);
    if (peers_start(node->peers, &err))
        fail_msg("peers_start: %s", err.detail);
}

static void node_down(struct node *node)
{
    if (!node->peers)
        return;
    atomic_store(&node->hold, false);
    peers_stop(node->peers);
    (void)reactors_stop(node->g, 0);
    reactors_free(node->g);
    peers_free(node->peers);
    tls_free(node->server);
    tls_free(node->client);
    node->peers = NULL;
    node->server = node->client = NULL;
}

/* A port that nobody listened on a moment ago. */
static struct net_addr free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return (struct net_addr){.family = NET_IP4, .port = ntohs(a.sin_port), .ip = {127, 0, 0, 1}};
}

static void cluster_init(struct cluster *c, size_t n)
{
    memset(c, 0, sizeof *c);
    c->n = n;
    for (size_t i = 0; i < n; i++) {
        c->at[i].id = i + 1;
        c->at[i].addr = free_port();
    }
}

static void cluster_up(struct cluster *c)
{
    for (size_t i = 0; i < c->n; i++)
        node_up(c, i);
}

static void cluster_down(struct cluster *c)
{
    for (size_t i = 0; i < c->n; i++)
        node_down(&c->at[i]);
}

static struct peer_stats stats_of(struct node *node, uint64_t other)
{
    struct peer_stats s;
    for (size_t i = 0; i < peers_count(node->peers); i++) {
        peers_stats(node->peers, i, &s);
        if (s.node == other)
            return s;
    }
    fail_msg("no node %" PRIu64, other);
    return s;
}

static bool all_up(void *arg)
{
    struct cluster *c = arg;
    for (size_t i = 0; i < c->n; i++)
        for (size_t j = 0; j < c->n; j++)
            if (i != j && stats_of(&c->at[i], j + 1).state != PEER_UP)
                return false;
    return true;
}

struct count_wait {
    const _Atomic uint64_t *count;
    uint64_t want;
};

static bool counted(void *arg)
{
    const struct count_wait *w = arg;
    return atomic_load(w->count) >= w->want;
}

static void until_count(const _Atomic uint64_t *count, uint64_t want, const char *what)
{
    until(counted, &(struct count_wait){count, want}, what);
}

/* --- what they say --- */

static void bundles_arrive_in_order(void **state)
{
    (void)state;
    struct cluster c;
    enum { EACH = 2000, LEN_MAX = 20000 };
    uint8_t *room = malloc(LEN_MAX);
    struct test_rng rng;
    uint64_t bytes[NODES + 1][NODES + 1] = {0};
    test_rng_init(&rng, 1);
    cluster_init(&c, NODES);
    cluster_up(&c);
    until(all_up, &c, "all links up");
    for (uint64_t k = 0; k < EACH; k++)
        for (size_t i = 0; i < NODES; i++)
            for (size_t j = 0; j < NODES; j++) {
                if (i == j)
                    continue;
                size_t len =
                    8 + test_rng_below(&rng, test_rng_chance(&rng, 1, 20) ? LEN_MAX - 8 : 200);
                while (!peers_send(c.at[i].peers, j + 1, bundle_of(room, k, len)))
                    usleep(100); /* its outbox is full: a slow machine */
                bytes[i + 1][j + 1] += len;
            }
    for (size_t i = 0; i < NODES; i++)
        for (size_t j = 0; j < NODES; j++) {
            if (i == j)
                continue;
            struct heard *h = &c.at[j].from[i + 1];
            until_count(&h->bundles, EACH, "all bundles");
            assert_int_equal(atomic_load(&h->gaps), 0);
            assert_int_equal(atomic_load(&h->bytes), bytes[i + 1][j + 1]);
            assert_true(atomic_load(&h->batches) <= EACH);
            struct peer_stats s = stats_of(&c.at[i], j + 1);
            assert_int_equal(s.sent_bundles, EACH);
            assert_int_equal(s.sent_bytes, bytes[i + 1][j + 1]);
            assert_int_equal(s.connects, 1);
            assert_int_equal(s.refusals, 0);
            assert_string_equal(s.client_address, "here:1");
            assert_int_equal(s.outbox_bundles, 0);
            assert_int_equal(stats_of(&c.at[j], i + 1).received_bundles, EACH);
            assert_int_equal(stats_of(&c.at[j], i + 1).dropped_in, 0);
        }
    cluster_down(&c);
    free(room);
}

static void a_bundle_of_the_largest_size_gets_through(void **state)
{
    (void)state;
    struct cluster c;
    uint8_t *room = malloc(PEER_BUNDLE_MAX + 1);
    cluster_init(&c, 2);
    cluster_up(&c);
    until(all_up, &c, "all links up");
    assert_false(peers_send(c.at[0].peers, 2, bundle_of(room, 0, PEER_BUNDLE_MAX + 1)));
    assert_false(peers_send(c.at[0].peers, 2, BYTES_EMPTY));
    assert_false(peers_send(c.at[0].peers, 1, bundle_of(room, 0, 8))); /* to itself */
    assert_false(peers_send(c.at[0].peers, 7, bundle_of(room, 0, 8)));
    assert_true(peers_send(c.at[0].peers, 2, bundle_of(room, 0, PEER_BUNDLE_MAX)));
    until_count(&c.at[1].from[1].bundles, 1, "the bundle");
    assert_int_equal(atomic_load(&c.at[1].from[1].bytes), PEER_BUNDLE_MAX);
    assert_int_equal(stats_of(&c.at[0], 2).dropped_out, 2);
    cluster_down(&c);
    free(room);
}

/* Sent by the fiber that received: the answer does not wait for the fiber's end. */
static void an_answer_leaves_while_its_fiber_goes_on(void **state)
{
    (void)state;
    struct cluster c;
    uint8_t room[64];
    cluster_init(&c, 2);
    cluster_up(&c);
    until(all_up, &c, "all links up");
    atomic_store(&c.at[1].echo, true);
    for (uint64_t k = 0; k < 100; k++) {
        assert_true(peers_send(c.at[0].peers, 2, bundle_of(room, k, sizeof room)));
        until_count(&c.at[0].from[2].bundles, k + 1, "the echo");
    }
    assert_int_equal(atomic_load(&c.at[0].from[2].gaps), 0);
    cluster_down(&c);
}

static bool is_held(void *arg)
{
    return atomic_load(&((struct node *)arg)->held);
}

/* A node that takes nothing costs its outbox and no more; what is small gets in longer than what is
 * large; the third node notices nothing; what was taken arrives in order. */
static void who_does_not_take_holds_up_nobody(void **state)
{
    (void)state;
    struct cluster c;
    enum { LARGE = 100000, SMALL = 100, MOST = 4 << 20 };
    uint8_t *room = malloc(LARGE);
    cluster_init(&c, NODES);
    c.options.outbox_bytes = MOST;
    c.options.keepalive_ms = 200;
    cluster_up(&c);
    until(all_up, &c, "all links up");
    atomic_store(&c.at[1].hold, true);
    uint64_t sent = 0, refused = 0;
    assert_true(peers_send(c.at[0].peers, 2, bundle_of(room, sent++, SMALL)));
    until(is_held, &c.at[1], "the receiver waits");
    while (refused < 20) { /* queues, windows and buffers of sockets fill up as well */
        if (peers_send(c.at[0].peers, 2, bundle_of(room, sent, LARGE))) {
            sent++;
            assert_true(sent < 2000);
            continue;
        }
        refused++;
        usleep(20000);
    }
    struct peer_stats s = stats_of(&c.at[0], 2);
    assert_true(s.outbox_bytes <= MOST - MOST / 8);
    assert_int_equal(s.state, PEER_UP);
    for (unsigned i = 0; i < 1000; i++)
        assert_true(peers_send(c.at[0].peers, 2, bundle_of(room, sent++, SMALL)));
    for (uint64_t k = 0; k < 100; k++)
        assert_true(peers_send(c.at[0].peers, 3, bundle_of(room, k, SMALL)));
    until_count(&c.at[2].from[1].bundles, 100, "the third node's");
    atomic_store(&c.at[1].hold, false);
    until_count(&c.at[1].from[1].bundles, sent, "all that was taken");
    assert_int_equal(atomic_load(&c.at[1].from[1].gaps), 0);
    assert_true(atomic_load(&c.at[1].from[1].batches) < sent); /* several at a time */
    cluster_down(&c);
    free(room);
}

static void what_is_refused_counts_as_lost(void **state)
{
    (void)state;
    struct cluster c;
    uint8_t room[64];
    cluster_init(&c, 2);
    cluster_up(&c);
    until(all_up, &c, "all links up");
    atomic_store(&c.at[1].refuse, true);
    for (uint64_t k = 0; k < 10; k++)
        assert_true(peers_send(c.at[0].peers, 2, bundle_of(room, k, sizeof room)));
    for (unsigned i = 0; i < UNTIL_S * 1000 && stats_of(&c.at[1], 1).dropped_in < 10; i++)
        usleep(1000);
    assert_int_equal(stats_of(&c.at[1], 1).dropped_in, 10);
    assert_int_equal(stats_of(&c.at[0], 2).state, PEER_UP);
    cluster_down(&c);
}

/* --- who goes and comes back --- */

static bool second_is_down(void *arg)
{
    struct cluster *c = arg;
    return stats_of(&c->at[0], 2).state != PEER_UP;
}

static void a_node_goes_and_comes_back(void **state)
{
    (void)state;
    struct cluster c;
    uint8_t room[64];
    uint64_t sent = 0, lost = 0;
    cluster_init(&c, 2);
    cluster_up(&c);
    for (unsigned turn = 0; turn < 5; turn++) {
        until(all_up, &c, "all links up");
        uint64_t before = atomic_load(&c.at[1].from[1].bundles);
        assert_true(peers_send(c.at[0].peers, 2, bundle_of(room, sent++, sizeof room)));
        until_count(&c.at[1].from[1].bundles, before + 1, "a bundle after the return");
        node_down(&c.at[1]);
        until(second_is_down, &c, "the loss is noticed");
        for (unsigned i = 0; i < 50; i++) { /* mostly refused: nobody is there */
            if (!peers_send(c.at[0].peers, 2, bundle_of(room, sent, sizeof room)))
                lost++;
            sent++;
            usleep(200);
        }
        node_up(&c, 1);
    }
    until(all_up, &c, "all links up");
    assert_true(lost > 0);
    struct peer_stats s = stats_of(&c.at[0], 2);
    assert_int_equal(s.connects, 6);
    assert_true(s.reason[0]);
    assert_int_equal(atomic_load(&c.at[0].ups), 6);
    assert_int_equal(atomic_load(&c.at[0].downs), 5);
    cluster_down(&c);
}

static void stopping_amid_traffic_is_clean(void **state)
{
    (void)state;
    uint8_t room[1000];
    for (unsigned turn = 0; turn < 10; turn++) {
        struct cluster c;
        cluster_init(&c, NODES);
        cluster_up(&c);
        for (uint64_t k = 0; k < 100 * turn; k++)
            for (size_t i = 0; i < NODES; i++)
                (void)peers_send(c.at[i].peers, (i + 1) % NODES + 1,
                                 bundle_of(room, k, sizeof room));
        cluster_down(&c);
    }
}

/* --- who is refused --- */

static bool first_has_been_refused(void *arg)
{
    struct cluster *c = arg;
    return stats_of(&c->at[0], c->told[0][1] ? c->told[0][1] : 2).refusals > 0;
}

static uint64_t own_cluster(void *arg)
{
    const struct node *n = arg;
    return n->cluster_id;
}

static enum status meet(void *arg, uint64_t id, struct err *err)
{
    struct node *n = arg;
    if (id == 0 || n->cluster_id == 0 || n->cluster_id == id)
        return ST_OK;
    return err_set(err, ST_PRECONDITION_FAILED, "not mine");
}

static void expect_refusal(struct cluster *c, const char *reason)
{
    uint64_t other = c->told[0][1] ? c->told[0][1] : 2;
    uint8_t room[64];
    cluster_up(c);
    until(first_has_been_refused, c, reason);
    struct peer_stats s = stats_of(&c->at[0], other);
    if (strncmp(s.reason, reason, strlen(reason)) != 0)
        fail_msg("refused for %s, not %s", s.reason, reason);
    for (unsigned i = 0; i < 20; i++) {
        (void)peers_send(c->at[0].peers, other, bundle_of(room, i, sizeof room));
        usleep(1000);
    }
    s = stats_of(&c->at[0], other);
    assert_int_equal(s.connects, 0);
    assert_int_equal(s.sent_bundles, 0);
    assert_int_equal(atomic_load(&c->at[1].from[1].bundles), 0);
    cluster_down(c);
}

static void strangers_are_refused_by_name(void **state)
{
    (void)state;
    struct cluster c;
    cluster_init(&c, 2);
    c.options.backoff_max_ms = 100;
    c.name[1] = "another";
    expect_refusal(&c, "WRONG_CLUSTER");

    cluster_init(&c, 2); /* the same name, and data of another one */
    c.options.cluster_id = own_cluster;
    c.options.meet = meet;
    c.at[0].cluster_id = 7;
    c.at[1].cluster_id = 8;
    expect_refusal(&c, "WRONG_CLUSTER");

    cluster_init(&c, 2); /* the second's address stands beside another id */
    c.told[0][1] = 3;
    expect_refusal(&c, "WRONG_NODE");

    cluster_init(&c, 2); /* the first calls itself what the second does not know */
    c.told[0][0] = 3;
    c.told[0][1] = 2;
    expect_refusal(&c, "UNKNOWN_NODE");

    cluster_init(&c, 3);
    c.told[1][2] = 9;
    expect_refusal(&c, "OTHER_NODES");

    cluster_init(&c, 3);
    c.turned = true;
    expect_refusal(&c, "OTHER_NODES");
}

/* What a hello of another protocol gets, and what is none. */
static void hellos_are_judged(void **state)
{
    (void)state;
    struct cluster c;
    struct buf hello, own;
    struct err err;
    struct hello_heard heard;
    cluster_init(&c, 2);
    cluster_up(&c);
    struct peers *p1 = c.at[0].peers, *p2 = c.at[1].peers;
    buf_init(&hello, 0);
    buf_init(&own, 0);
    for (int answer = 0; answer < 2; answer++) {
        buf_clear(&hello);
        assert_int_equal(message__hello(p1, 2, answer, &hello), ST_OK);
        assert_int_equal(message__judge(p2, buf_bytes(&hello), answer, 1, &heard, &err), ST_OK);
        assert_int_equal(heard.from, 1);
        assert_string_equal(heard.version, "9.9.9");
        assert_string_equal(heard.client_address, "here:1");
        /* Not the node that was meant; itself. */
        assert_int_equal(message__judge(p2, buf_bytes(&hello), answer, 3, &heard, &err),
                         ST_PRECONDITION_FAILED);
        assert_int_equal(message__judge(p1, buf_bytes(&hello), answer, 0, &heard, &err),
                         ST_PRECONDITION_FAILED);
        assert_non_null(strstr(err.detail, "WRONG_NODE"));
        buf_clear(&own);
        assert_int_equal(message__hello(p2, 2, answer, &own), ST_OK);
        assert_int_equal(message__judge(p2, buf_bytes(&own), answer, 0, &heard, &err),
                         ST_PRECONDITION_FAILED);
        assert_non_null(strstr(err.detail, "UNKNOWN_NODE"));
        /* Cut anywhere it is malformed, or says too little. */
        for (size_t n = 0; n < hello.len; n++)
            assert_int_not_equal(message__judge(p2, BYTES(hello.data, n), answer, 1, &heard, &err),
                                 ST_OK);
        /* The version is the hello's first field: tag, length, tag, 1. */
        assert_int_equal(hello.data[3], 1);
        hello.data[3] = 2;
        assert_int_equal(message__judge(p2, buf_bytes(&hello), answer, 1, &heard, &err),
                         ST_PRECONDITION_FAILED);
        assert_non_null(strstr(err.detail, "WRONG_PROTOCOL"));
    }
    struct blob *b = message__bundle(BYTES_LIT("abc"));
    struct bytes got;
    assert_int_equal(message__read_bundle(BYTES(b->data, b->len), &got, &err), ST_OK);
    assert_true(bytes_eq(got, BYTES_LIT("abc")));
    assert_int_equal(message__judge(p2, BYTES(b->data, b->len), false, 1, &heard, &err),
                     ST_INVALID_ARGUMENT);
    assert_int_equal(message__read_bundle(BYTES(b->data, b->len - 1), &got, &err),
                     ST_INVALID_ARGUMENT);
    assert_int_equal(message__read_bundle(buf_bytes(&hello), &got, &err), ST_INVALID_ARGUMENT);
    assert_int_equal(message__read_bundle(BYTES_EMPTY, &got, &err), ST_INVALID_ARGUMENT);
    blob_unref(b);
    buf_deinit(&hello);
    buf_deinit(&own);
    cluster_down(&c);
}

static void options_are_checked(void **state)
{
    (void)state;
    struct reactors *g;
    struct peers *p = NULL;
    struct err err;
    char name[PEER_CLUSTER_MAX + 2];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    const struct peer_node nodes[] = {{1, {0}}, {2, {0}}, {2, {0}}, {0, {0}}};
    const struct {
        const char *cluster;
        uint64_t node;
        size_t from, n;
    } bad[] = {{"", 1, 0, 0}, {"", 3, 0, 2}, {"", 1, 0, 3},
               {"", 2, 1, 3}, {"", 2, 2, 2}, {name, 1, 0, 2}};
    struct reactor_options ro = {0};
    assert_int_equal(reactors_start(env_linux(), 1, &ro, &g, &err), ST_OK);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct peer_options o = {.cluster = bad[i].cluster,
                                 .node = bad[i].node,
                                 .nodes = nodes + bad[i].from,
                                 .n_nodes = bad[i].n,
                                 .receive = receive};
        assert_int_equal(peers_new(env_linux(), g, &o, &p, &err), ST_INVALID_ARGUMENT);
        assert_null(p);
    }
    /* Every allocation fails once. */
    struct peer_options o = {
        .cluster = "", .node = 1, .nodes = nodes, .n_nodes = 2, .receive = receive};
    enum status st = ST_NO_MEMORY;
    for (uint64_t nth = 1; st && nth < 100; nth++) {
        mem_fail_at(nth, 0);
        st = peers_new(env_linux(), g, &o, &p, &err);
        mem_fail_at(0, 0);
        assert_true(st == ST_OK || (st == ST_NO_MEMORY && !p));
    }
    assert_int_equal(st, ST_OK);
    mem_fail_at(1, 1);
    assert_false(peers_send(p, 2, BYTES_LIT("x"))); /* not started: closed */
    assert_null(message__bundle(BYTES_LIT("x")));
    mem_fail_at(0, 0);
    (void)reactors_stop(g, 0);
    reactors_free(g);
    peers_free(p);
}

/* --- certificates --- */

static void files_init(struct files *f, const struct test_certificate *root, const char *tag)
{
    assert_true(temp_dir_make(f->dir, tag));
    snprintf(f->ca, sizeof f->ca, "%s/ca.pem", f->dir);
    snprintf(f->cert, sizeof f->cert, "%s/cert.pem", f->dir);
    snprintf(f->key, sizeof f->key, "%s/key.pem", f->dir);
    test_certificate_write(root, f->ca, NULL);
    struct test_certificate c = test_certificate_new("node", root);
    test_certificate_write(&c, f->cert, f->key);
    test_certificate_free(&c);
}

static bool first_has_a_reason(void *arg)
{
    struct cluster *c = arg;
    return stats_of(&c->at[0], 2).reason[0] != '\0';
}

static void certificates_are_asked_for(void **state)
{
    (void)state;
    struct cluster c;
    struct files good, bad;
    uint8_t room[5000];
    struct test_certificate root = test_certificate_new("a root", NULL),
                            other = test_certificate_new("another root", NULL);
    files_init(&good, &root, "peer-good");
    files_init(&bad, &other, "peer-bad");
    cluster_init(&c, 2);
    c.files = &good;
    cluster_up(&c);
    until(all_up, &c, "links over TLS");
    for (uint64_t k = 0; k < 200; k++)
        assert_true(peers_send(c.at[0].peers, 2, bundle_of(room, k, sizeof room)));
    until_count(&c.at[1].from[1].bundles, 200, "bundles over TLS");
    cluster_down(&c);

    cluster_init(&c, 2); /* each believes only its own root */
    c.options.backoff_max_ms = 100;
    c.files = &good;
    node_up(&c, 0);
    c.files = &bad;
    node_up(&c, 1);
    until(first_has_a_reason, &c, "a handshake that fails");
    usleep(200000);
    assert_int_equal(stats_of(&c.at[0], 2).connects, 0);
    assert_int_equal(stats_of(&c.at[1], 1).connects, 0);
    cluster_down(&c);

    cluster_init(&c, 2); /* TLS on one side only */
    c.options.backoff_max_ms = 100;
    c.files = &good;
    node_up(&c, 0);
    c.files = NULL;
    node_up(&c, 1);
    usleep(300000);
    assert_int_equal(stats_of(&c.at[0], 2).connects, 0);
    assert_int_equal(stats_of(&c.at[1], 1).connects, 0);
    cluster_down(&c);
    assert_true(temp_dir_remove(good.dir));
    assert_true(temp_dir_remove(bad.dir));
    test_certificate_free(&root);
    test_certificate_free(&other);
}

/* --- figures, and the outbox alone --- */

static void figures_are_printed(void **state)
{
    (void)state;
    struct cluster c;
    struct buf text;
    cluster_init(&c, NODES);
    cluster_up(&c);
    until(all_up, &c, "all links up");
    buf_init(&text, 0);
    assert_int_equal(peers_metrics(c.at[1].peers, &text), ST_OK);
    assert_non_null(buf_cstr(&text));
    assert_non_null(strstr(buf_cstr(&text), "varve_peer_up{node=\"1\"} 1\n"));
    assert_non_null(strstr(buf_cstr(&text), "varve_peer_up{node=\"3\"} 1\n"));
    assert_null(strstr(buf_cstr(&text), "node=\"2\""));
    buf_deinit(&text);
    assert_string_equal(peer_state_name(PEER_CONNECTING), "connecting");
    cluster_down(&c);
}

/* Against a plain array of lengths. */
static void an_outbox_is_a_bounded_queue(void **state)
{
    (void)state;
    enum { STEPS = 20000, MOST = 1 << 20 };
    struct test_rng rng;
    struct outbox o;
    static size_t lens[STEPS];
    size_t first = 0, last = 0, bytes = 0;
    test_rng_init(&rng, 7);
    assert_int_equal(outbox__init(&o, MOST), ST_OK);
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned burst = step / 2000 % 2 ? 1 : 3; /* it fills and empties again */
        if (test_rng_below(&rng, 4) < burst) {
            size_t len = 1 + test_rng_below(&rng, test_rng_chance(&rng, 1, 10) ? MOST : 5000);
            struct blob *b = blob_new(len);
            size_t most = len > SMALL_BUNDLE ? MOST - MOST / 8 : MOST;
            size_t slots = len > SMALL_BUNDLE ? OUTBOX_SLOTS - OUTBOX_SLOTS / 8 : OUTBOX_SLOTS;
            bool fits = first == last || (bytes + len <= most && last - first < slots);
            assert_int_equal(outbox__push(&o, b), fits);
            if (fits) {
                lens[last++] = len;
                bytes += len;
            } else {
                blob_unref(b);
            }
        } else {
            struct blob *b = outbox__pop(&o);
            assert_int_equal(b != NULL, first != last);
            if (b) {
                assert_int_equal(b->len, lens[first]);
                bytes -= lens[first++];
                blob_unref(b);
            }
        }
        assert_int_equal(o.bytes, bytes);
        assert_int_equal(o.n, last - first);
    }
    assert_int_equal(outbox__clear(&o), last - first);
    outbox__deinit(&o);
    memset(&o, 0, sizeof o);
    outbox__deinit(&o);
    mem_fail_at(1, 0);
    assert_int_equal(outbox__init(&o, MOST), ST_NO_MEMORY);
    mem_fail_at(0, 0);
}

int main(void)
{
    log_configure(LOG_OFF, LOG_HUMAN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bundles_arrive_in_order),
        cmocka_unit_test(a_bundle_of_the_largest_size_gets_through),
        cmocka_unit_test(an_answer_leaves_while_its_fiber_goes_on),
        cmocka_unit_test(who_does_not_take_holds_up_nobody),
        cmocka_unit_test(what_is_refused_counts_as_lost),
        cmocka_unit_test(a_node_goes_and_comes_back),
        cmocka_unit_test(stopping_amid_traffic_is_clean),
        cmocka_unit_test(strangers_are_refused_by_name),
        cmocka_unit_test(hellos_are_judged),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(certificates_are_asked_for),
        cmocka_unit_test(figures_are_printed),
        cmocka_unit_test(an_outbox_is_a_bounded_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
