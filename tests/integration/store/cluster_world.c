#include "cluster_world.h"

#include "base/hash.h"
#include "support/cmocka.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define CW_FAIL(w, ...)                                                                            \
    do {                                                                                           \
        print_error("seed %" PRIu64 ", at %" PRIu64 " ms: ", (w)->seed, (w)->now_ms);              \
        print_error(__VA_ARGS__);                                                                  \
        print_error("\n");                                                                         \
        fail();                                                                                    \
    } while (0)

static uint64_t clock_of(void *arg)
{
    struct cluster_world *w = arg;
    return w->now_ms * 1000000;
}

/* ---- network ---- */

static bool on_send(void *arg, uint64_t to, struct bytes bundle)
{
    struct cw_node *n = arg;
    struct cluster_world *w = n->w;
    if (to == 0 || to > w->n || n->dying)
        return false;
    if (w->cut[n->id][to])
        return test_rng_chance(&w->rng, 1, 2); /* some transports notice, others do not */
    unsigned copies = 1 + test_rng_chance(&w->rng, w->dup, 1000);
    for (unsigned i = 0; i < copies; i++) {
        if (test_rng_chance(&w->rng, w->loss, 1000)) {
            w->lost_packets++;
            continue;
        }
        if (w->n_net == w->cap_net) {
            w->cap_net = w->cap_net ? w->cap_net * 2 : 64;
            w->net = realloc(w->net, w->cap_net * sizeof *w->net);
            assert_non_null(w->net);
        }
        uint8_t *data = malloc(bundle.len);
        assert_non_null(data);
        memcpy(data, bundle.data, bundle.len);
        w->net[w->n_net++] =
            (struct cw_packet){.from = n->id,
                               .to = to,
                               .due_ms = w->now_ms + 1 + test_rng_below(&w->rng, w->delay_ms),
                               .len = bundle.len,
                               .data = data};
    }
    return true;
}

static void deliver(struct cluster_world *w)
{
    /* Only what is due now: what an arrival causes comes later. */
    size_t n = w->n_net;
    for (size_t i = 0; i < n && i < w->n_net;) {
        if (w->net[i].due_ms > w->now_ms) {
            i++;
            continue;
        }
        struct cw_packet p = w->net[i];
        w->net[i] = w->net[--w->n_net];
        n = n < w->n_net ? n : w->n_net;
        struct cw_node *to = &w->node[p.to];
        struct err err;
        err_init(&err);
        if (to->s && !to->dying) {
            enum status st = store_receive(to->s, p.from, BYTES(p.data, p.len), &err);
            if (st != ST_OK && st != ST_OVERLOADED)
                CW_FAIL(w, "node %" PRIu64 " refused a bundle: %s: %s", to->id, status_name(st),
                        err.detail);
        }
        free(p.data);
    }
}

/* ---- nodes ---- */

void cw_open(struct cluster_world *w, uint64_t id)
{
    struct cw_node *n = &w->node[id];
    struct err err;
    err_init(&err);
    n->dying = false;
    n->o.cluster = &n->cluster;
    enum status st = store_open(n->env, "/db", &n->o, &n->s, &err);
    if (st != ST_OK)
        CW_FAIL(w, "node %" PRIu64 " does not open: %s: %s", id, status_name(st), err.detail);
    n->tick_at_ms = w->now_ms;
    n->up_at_ms = 0;
    raft_check_restarted(w->checker, n->cluster.replica ? n->cluster.replica : id, 0);
}

void cw_init(struct cluster_world *w, uint64_t seed, size_t n)
{
    cw_init_on(w, seed, n, 0);
}

void cw_init_on(struct cluster_world *w, uint64_t seed, size_t n, uint64_t not_open)
{
    struct err err;
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->n = n;
    w->now_ms = 1;
    test_rng_init(&w->rng, seed);
    w->fibers = fiber_sched_new(256, 128 * 1024, &err);
    assert_non_null(w->fibers);
    fiber_sched_clock(w->fibers, clock_of, w);
    assert_int_equal(raft_checker_new(&w->checker), ST_OK);
    w->delay_ms = 1 + (unsigned)test_rng_below(&w->rng, 20);
    bool small = test_rng_chance(&w->rng, 1, 2), short_log = test_rng_chance(&w->rng, 1, 2);
    for (uint64_t id = 1; id <= n; id++) {
        struct cw_node *x = &w->node[id];
        x->w = w;
        x->id = id;
        x->env = sim_env_new(&(struct sim_options){.seed = seed * 10 + id});
        assert_non_null(x->env);
        x->o = (struct store_options){
            .engine_name = "mem",
            .engine_open = engine_mem_open,
            .cache_bytes = test_rng_chance(&w->rng, 1, 2) ? 1 << 20 : 0,
            .table_bytes = small ? 32 * 1024 : 1 << 20,
            .wal = {.segment_bytes = short_log ? 64 * 1024 : 256 * 1024,
                    .first_segment_bytes = 64 * 1024},
            .checkpoint_interval_ms = UINT32_MAX,
            .log_bytes = short_log ? 256 * 1024 : 0,
            .no_thread = true,
        };
        x->cluster = (struct store_cluster){.node = id,
                                            .n = n,
                                            .transport = {on_send, x},
                                            .heartbeat_ms = 30,
                                            .election_ms = 300,
                                            .seed = seed * 100 + id,
                                            .propose_timeout_ms = 2000};
        for (uint64_t k = 1; k <= n; k++)
            x->cluster.nodes[k - 1] = k;
        if (id != not_open)
            cw_open(w, id);
    }
}

static void bury(struct cw_node *n)
{
    if (!n->dying || n->in_calls > 0)
        return;
    store_abandon(n->s);
    n->s = NULL;
    n->dying = false;
}

void cw_deinit(struct cluster_world *w)
{
    for (uint64_t id = 1; id <= w->n; id++) {
        struct cw_node *n = &w->node[id];
        struct err err;
        err_init(&err);
        if (n->s && store_close(n->s, &err) != ST_OK)
            CW_FAIL(w, "closing node %" PRIu64 ": %s", id, err.detail);
        sim_env_free(n->env);
    }
    for (size_t i = 0; i < w->n_net; i++)
        free(w->net[i].data);
    free(w->net);
    raft_checker_free(w->checker);
    fiber_sched_free(w->fibers);
}

void cw_crash(struct cluster_world *w, uint64_t id, enum sim_crash how, uint64_t down_ms)
{
    struct cw_node *n = &w->node[id];
    if (!n->s || n->dying)
        return;
    w->crashes++;
    n->dying = true;
    sim_crash(n->env, how, test_rng_chance(&w->rng, 1, 2) ? 512 : 4096);
    store_halt(n->s);
    while (n->in_calls > 0) {
        if (fiber_sched_run(w->fibers) == 0)
            CW_FAIL(w, "%u calls of node %" PRIu64 " do not end", n->in_calls, id);
    }
    bury(n);
    n->up_at_ms = w->now_ms + 1 + down_ms;
}

/* ---- time ---- */

static void check_invariants(struct cluster_world *w)
{
    struct raft *replicas[CW_NODES_MAX] = {0};
    struct err err;
    err_init(&err);
    for (uint64_t id = 1; id <= w->n; id++) {
        struct cw_node *n = &w->node[id];
        replicas[id - 1] = n->s && !n->dying ? (struct raft *)(uintptr_t)store_raft(n->s) : NULL;
    }
    if (raft_check(w->checker, replicas, w->n, &err) != ST_OK)
        CW_FAIL(w, "%s", err.detail);
}

uint64_t cw_leader(struct cluster_world *w)
{
    uint64_t leader = 0, term = 0;
    for (uint64_t id = 1; id <= w->n; id++) {
        struct store_role r;
        if (!w->node[id].s || w->node[id].dying)
            continue;
        store_role(w->node[id].s, &r);
        if (r.is_leader && r.term > term) {
            leader = id;
            term = r.term;
        }
    }
    if (term > w->last_term) {
        w->last_term = term;
        w->leaders++;
    }
    return leader;
}

void cw_step(struct cluster_world *w, uint64_t ms)
{
    w->now_ms += ms;
    for (uint64_t id = 1; id <= w->n; id++)
        sim_advance_ms(w->node[id].env, ms);
    deliver(w);
    for (uint64_t id = 1; id <= w->n; id++) {
        struct cw_node *n = &w->node[id];
        if (!n->s && n->up_at_ms && n->up_at_ms <= w->now_ms)
            cw_open(w, id);
        if (n->s && !n->dying && n->tick_at_ms <= w->now_ms) {
            uint64_t wait = store_tick(n->s);
            n->tick_at_ms = w->now_ms + (wait < 10 ? wait : 10);
        }
    }
    fiber_sched_run(w->fibers);
    (void)cw_leader(w);
    check_invariants(w);
}

void cw_run(struct cluster_world *w, uint64_t ms)
{
    for (uint64_t end = w->now_ms + ms; w->now_ms < end;)
        cw_step(w, 1 + test_rng_below(&w->rng, 5));
}

void cw_heal(struct cluster_world *w)
{
    memset(w->cut, 0, sizeof w->cut);
    w->loss = w->dup = 0;
    for (uint64_t id = 1; id <= w->n; id++)
        if (!w->node[id].s)
            w->node[id].up_at_ms = w->now_ms + 1;
}

/* For whoever looks at a failure. */
static void tell(struct cluster_world *w)
{
    for (uint64_t id = 1; id <= w->n; id++) {
        struct raft_peer_status p[CW_NODES_MAX];
        struct raft_status r;
        const struct raft *raft = w->node[id].s ? store_raft(w->node[id].s) : NULL;
        if (!raft) {
            print_error("node %" PRIu64 " is down\n", id);
            continue;
        }
        raft_status(raft, &r);
        print_error("node %" PRIu64 ": %s of term %" PRIu64 ", leader %" PRIu64 ", commit %" PRIu64
                    " applied %" PRIu64 " compacted %" PRIu64 " last %" PRIu64 " durable %" PRIu64
                    " bad %" PRIu64 "%s, in calls %u\n",
                    id, raft_role_name(r.role), r.term, r.leader, r.commit, r.applied, r.compacted,
                    r.last, r.durable, r.bad, r.asleep ? ", asleep" : "", w->node[id].in_calls);
        size_t n = raft_peers(raft, p, CW_NODES_MAX);
        for (size_t i = 0; i < n; i++)
            print_error("    peer %" PRIu64 ": state %d match %" PRIu64 " next %" PRIu64 "\n",
                        p[i].replica, (int)p[i].state, p[i].match, p[i].next);
    }
}

void cw_until(struct cluster_world *w, bool (*done)(struct cluster_world *w), uint64_t limit_ms,
              const char *what)
{
    for (uint64_t end = w->now_ms + limit_ms; !done(w);) {
        if (w->now_ms > end)
            tell(w);
        if (w->now_ms > end)
            CW_FAIL(w, "not within %" PRIu64 " ms: %s", limit_ms, what);
        cw_step(w, 1 + test_rng_below(&w->rng, 5));
    }
}

bool cw_has_leader(struct cluster_world *w)
{
    return cw_leader(w) != 0;
}

bool cw_converged(struct cluster_world *w)
{
    struct raft_status first, r;
    uint64_t leader = cw_leader(w);
    if (!leader)
        return false;
    raft_status(store_raft(w->node[leader].s), &first);
    for (uint64_t id = 1; id <= w->n; id++) {
        if (!w->node[id].s)
            return false;
        raft_status(store_raft(w->node[id].s), &r);
        if (r.leader_store != leader || r.term != first.term || r.applied != first.last ||
            r.last != first.last || r.last_term != r.term)
            return false;
    }
    return true;
}

/* ---- clients ---- */

static size_t key_of(const struct cluster_world *w, unsigned key, uint8_t out[64])
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(w->collection >> (24 - 8 * i));
    return 4 + (size_t)snprintf((char *)out + 4, 60, "key %u", key);
}

struct maker {
    struct cluster_world *w;
    uint64_t node;
    char name[16];
    bool done;
};

static void make(void *arg)
{
    struct maker *m = arg;
    struct cw_node *n = &m->w->node[m->node];
    struct collection *c;
    struct err err;
    err_init(&err);
    n->in_calls++;
    enum status st = n->s && !n->dying
                         ? store_collection_open(n->s, BYTES_STR(m->name), BYTES_EMPTY, &c, &err)
                         : ST_UNAVAILABLE;
    n->in_calls--;
    if (st == ST_OK) {
        m->w->collection = collection_id(c);
        m->done = true;
    } else if (st != ST_UNAVAILABLE && st != ST_UNKNOWN_OUTCOME && st != ST_POISONED) {
        CW_FAIL(m->w, "collection at node %" PRIu64 ": %s: %s", m->node, status_name(st),
                err.detail);
    }
}

struct call {
    void (*fn)(void *arg);
    void *arg;
    bool done;
};

static void call(void *arg)
{
    struct call *c = arg;
    c->fn(c->arg);
    c->done = true;
}

void cw_call(struct cluster_world *w, void (*fn)(void *arg), void *arg)
{
    struct call c = {.fn = fn, .arg = arg};
    struct err err;
    assert_int_equal(fiber_spawn(w->fibers, call, &c, &err), ST_OK);
    for (uint64_t end = w->now_ms + 60000; !c.done; cw_step(w, 2))
        if (w->now_ms > end)
            CW_FAIL(w, "a call does not return");
}

void cw_collection(struct cluster_world *w)
{
    struct maker m = {.w = w, .name = "things"};
    struct err err;
    for (unsigned tries = 0; !m.done; tries++) {
        if (tries > 200)
            CW_FAIL(w, "no collection could be made");
        m.node = 1 + test_rng_below(&w->rng, w->n);
        assert_int_equal(fiber_spawn(w->fibers, make, &m, &err), ST_OK);
        size_t alive = fiber_sched_alive(w->fibers);
        while (fiber_sched_alive(w->fibers) >= alive)
            cw_step(w, 2);
    }
}

static struct cw_node *pick_up(struct cluster_world *w)
{
    for (unsigned tries = 0; tries < 20; tries++) {
        struct cw_node *n = &w->node[1 + test_rng_below(&w->rng, w->n)];
        if (n->s && !n->dying)
            return n;
    }
    return NULL;
}

static enum status get(struct cw_node *n, unsigned key, struct version *ret, struct err *err)
{
    struct buf b = BUF_INIT;
    struct record rec;
    uint8_t k[64];
    size_t len = key_of(n->w, key, k);
    enum status st = store_get(n->s, BYTES(k, len), VERSION_NONE, &b, &rec, err);
    *ret = st == ST_OK ? rec.version : VERSION_NONE;
    buf_deinit(&b);
    return st == ST_NOT_FOUND ? ST_OK : st;
}

/* A read of the present after a barrier sees what anybody had been told before it began. */
static void read_one(struct cluster_world *w, struct cw_node *n)
{
    struct err err;
    struct version seen, before[CW_KEYS];
    err_init(&err);
    memcpy(before, w->acked, sizeof before);
    enum status st = store_barrier(n->s, 500 + test_rng_below(&w->rng, 2000), &err);
    if (st != ST_OK) {
        if (st != ST_UNAVAILABLE && st != ST_POISONED)
            CW_FAIL(w, "barrier: %s: %s", status_name(st), err.detail);
        return;
    }
    if (n->dying)
        return;
    w->reads++;
    for (unsigned k = 0; k < CW_KEYS; k++) {
        if (get(n, k, &seen, &err) != ST_OK)
            CW_FAIL(w, "get: %s", err.detail);
        if (version_cmp(seen, before[k]) < 0)
            CW_FAIL(w,
                    "node %" PRIu64 " read key %u of %" PRIx64 ", %" PRIx64
                    " had been acknowledged before",
                    n->id, k, seen.hlc, before[k].hlc);
    }
}

static void settle(struct cluster_world *w, struct cw_node *n, struct cw_op *op, enum status st,
                   const struct store_write *sw, struct version floor, struct err *err)
{
    if (st == ST_UNAVAILABLE || st == ST_PRECONDITION_FAILED || st == ST_OVERLOADED ||
        st == ST_CANCELLED) {
        op->outcome = CW_NOT_DONE;
        w->not_done++;
        return;
    }
    if (st == ST_POISONED || st == ST_UNKNOWN_OUTCOME) {
        op->outcome = CW_UNKNOWN;
        w->unknown++;
        return;
    }
    if (st != ST_OK)
        CW_FAIL(w, "write: %s: %s", status_name(st), err->detail);
    op->outcome = CW_DONE;
    op->version = sw->version;
    w->done++;
    if (version_cmp(sw->version, floor) <= 0 && !sw->duplicate)
        CW_FAIL(w, "a write got version %" PRIx64 ", %" PRIx64 " had been acknowledged before it",
                sw->version.hlc, floor.hlc);
    if (version_cmp(sw->version, w->acked[op->key]) > 0)
        w->acked[op->key] = sw->version;
    if (version_cmp(sw->version, w->acked_max) > 0)
        w->acked_max = sw->version;
    struct version seen;
    if (n && n->s && !n->dying && get(n, op->key, &seen, err) == ST_OK &&
        version_cmp(seen, sw->version) < 0)
        CW_FAIL(w, "node %" PRIu64 " does not read its own write", n->id);
}

/* A write of a client, as far as it has come. */
struct writing {
    struct cw_node *n; /* whom it went to, the last one that may know of it */
    size_t number;
    struct cw_op *op;
    struct store_require req;
    struct collection *c;
    struct store_request request;
    struct store_write sw;
    bool once, fresh;     /* with an id; n has not begun anew since it was asked */
    struct version floor; /* a version that is acknowledged lies above */
    enum status st;
    struct err err;
};

static void draw_conditions(struct cluster_world *w, struct writing *v, struct bytes key)
{
    v->once = test_rng_chance(&w->rng, 1, 3);
    if (test_rng_chance(&w->rng, 1, 3)) {
        v->op->is_cas = true;
        if (get(v->n, v->op->key, &v->op->required, &v->err) != ST_OK)
            CW_FAIL(w, "get: %s", v->err.detail);
        v->req = (struct store_require){
            .key = key,
            .what = version_is_none(v->op->required) ? STORE_REQUIRE_ABSENT : STORE_REQUIRE_VERSION,
            .version = v->op->required};
        v->sw.requires = &v->req;
        v->sw.n_requires = 1;
    }
    if (store_collection_find(v->n->s, BYTES_LIT("things"), &v->c, &v->err) == ST_OK &&
        test_rng_chance(&w->rng, 1, 2)) {
        v->sw.collections = &v->c;
        v->sw.n_collections = 1;
    }
}

static void encode(struct writing *v, struct bytes key, size_t len)
{
    static uint8_t value[20000];
    memcpy(value, &v->number, sizeof v->number);
    struct entry_op ops[2] = {{.kind = RECORD_PUT, .key = key, .value = BYTES(value, len)}};
    if (v->once) {
        uint8_t digest[STORE_DIGEST_BYTES] = {0};
        memcpy(digest, &v->number, sizeof v->number);
        (void)snprintf(v->op->request_id, sizeof v->op->request_id, "r%zu", v->number);
        v->sw.request_id = BYTES_STR(v->op->request_id);
        store_request_op(v->sw.request_id, digest, env_now_ms(v->n->env), &v->request);
        ops[1] = v->request.op;
    }
    enum status st = entry_encode(ops, v->once ? 2 : 1, BYTES_LIT("client"), &v->sw.entry, &v->err);
    assert_int_equal(st, ST_OK);
}

/* Sends it to `to` once more. false: nobody can tell what would come of that, the first answer stands. */
static bool send_to(struct cluster_world *w, struct writing *v, struct cw_node *to)
{
    bool known = v->st == ST_OK;
    struct version first = v->sw.version;
    v->sw.collections = NULL; /* of another node's process */
    v->sw.n_collections = 0;
    to->in_calls++;
    enum status again = store_propose(to->s, &v->sw, &v->err);
    to->in_calls--;
    if (known && again == ST_OK && (!v->sw.duplicate || version_cmp(first, v->sw.version) != 0))
        CW_FAIL(w, "write %zu was done, and again as %" PRIx64, v->number, v->sw.version.hlc);
    if (known && again != ST_OK) {
        if (again != ST_UNKNOWN_OUTCOME && again != ST_POISONED && again != ST_UNAVAILABLE)
            CW_FAIL(w, "write %zu sent again: %s: %s", v->number, status_name(again),
                    v->err.detail);
        v->sw.version = first;
        v->fresh = false;
        return false;
    }
    v->n = to;
    w->duplicates += v->sw.duplicate;
    /* A refusal of the second says nothing of the first, unless it was looked up. */
    v->st = again == ST_UNAVAILABLE ? ST_UNKNOWN_OUTCOME : again;
    v->floor = VERSION_NONE;
    return true;
}

/* Who does not know sends it again, anywhere, with its id; some do who know. */
static void send_again(struct cluster_world *w, struct writing *v)
{
    for (unsigned tries = 0; tries < 5; tries++) {
        if (v->st != ST_UNKNOWN_OUTCOME && v->st != ST_POISONED &&
            (v->st != ST_OK || !test_rng_chance(&w->rng, 1, 10)))
            return;
        struct blob *copy = blob_new(v->sw.entry->len);
        assert_non_null(copy);
        memcpy(copy->data, v->sw.entry->data, copy->len);
        blob_unref(v->sw.entry);
        v->sw.entry = copy;
        if (w->stop && v->st != ST_OK)
            return;
        fiber_park_until(fiber_now_ns() + 1 + test_rng_below(&w->rng, 1000) * 1000000);
        struct cw_node *other = pick_up(w);
        if (other && !send_to(w, v, other))
            return;
    }
}

static void write_one(struct cluster_world *w, struct cw_node *n)
{
    uint8_t room[64];
    if (w->n_ops == CW_OPS_MAX)
        return;
    struct writing v = {.n = n, .number = w->n_ops++, .fresh = true};
    err_init(&v.err);
    v.op = &w->ops[v.number];
    *v.op = (struct cw_op){.key = (unsigned)test_rng_below(&w->rng, CW_KEYS)};
    size_t len = 8 + (test_rng_chance(&w->rng, 1, 20) ? test_rng_below(&w->rng, 19000)
                                                      : test_rng_below(&w->rng, 60));
    struct bytes key = BYTES(room, key_of(w, v.op->key, room));
    draw_conditions(w, &v, key);
    v.floor = w->acked_max;
    encode(&v, key, len);
    n->in_calls++;
    v.st = store_propose(n->s, &v.sw, &v.err);
    n->in_calls--;
    if (v.once)
        send_again(w, &v);
    blob_unref(v.sw.entry);
    settle(w, v.fresh ? v.n : NULL, v.op, v.st, &v.sw, v.floor, &v.err);
}

static void client(void *arg)
{
    struct cluster_world *w = arg;
    while (!w->stop) {
        struct cw_node *n = pick_up(w);
        if (n) {
            if (test_rng_chance(&w->rng, 1, 5)) {
                n->in_calls++;
                read_one(w, n);
                n->in_calls--;
            } else {
                write_one(w, n);
            }
        }
        if (!w->stop)
            fiber_park_until(fiber_now_ns() + test_rng_below(&w->rng, 30) * 1000000 + 1);
    }
    w->clients--;
}

void cw_client_start(struct cluster_world *w)
{
    struct err err;
    w->clients++;
    assert_int_equal(fiber_spawn(w->fibers, client, w, &err), ST_OK);
}

enum status cw_put(struct cluster_world *w, struct cw_node *n, const char *key, struct version *ret,
                   struct err *err)
{
    uint8_t route[64];
    size_t len = strlen(key);
    assert_true(4 + len <= sizeof route);
    for (int i = 0; i < 4; i++)
        route[i] = (uint8_t)(w->collection >> (24 - 8 * i));
    memcpy(route + 4, key, len);
    struct entry_op op = {
        .key = BYTES(route, 4 + len), .kind = RECORD_PUT, .value = BYTES_STR("value")};
    struct store_write sw = {0};
    assert_int_equal(entry_encode(&op, 1, BYTES_EMPTY, &sw.entry, err), ST_OK);
    n->in_calls++;
    enum status st = store_propose(n->s, &sw, err);
    n->in_calls--;
    blob_unref(sw.entry);
    *ret = sw.version;
    return st;
}

bool cw_clients_gone(struct cluster_world *w)
{
    return w->clients == 0;
}

/* ---- the end ---- */

struct found {
    unsigned times;
    struct version version, parent;
};

static uint64_t look_at(struct cluster_world *w, struct cw_node *n, struct found *found)
{
    uint64_t hash = 0;
    struct err err;
    err_init(&err);
    for (unsigned k = 0; k < CW_KEYS; k++) {
        struct store_iter *it;
        struct store_row row;
        uint8_t key[64];
        int rc;
        if (store_history(n->s, BYTES(key, key_of(w, k, key)), 0, &it, &err) != ST_OK)
            CW_FAIL(w, "history: %s", err.detail);
        while ((rc = store_iter_next(it, &row, &err)) > 0) {
            uint64_t number;
            assert_true(row.rec.value.len >= 8);
            memcpy(&number, row.rec.value.data, 8);
            assert_true(number < w->n_ops);
            if (w->ops[number].key != k)
                CW_FAIL(w, "write %" PRIu64 " is at key %u", number, k);
            found[number].times++;
            found[number].version = row.rec.version;
            found[number].parent = row.rec.parent;
            hash = hash_xxh64(row.rec.value.data, row.rec.value.len, hash ^ row.rec.version.hlc);
            hash = hash_xxh64(row.key.data, row.key.len, hash ^ row.rec.parent.hlc);
        }
        if (rc < 0)
            CW_FAIL(w, "history: %s", err.detail);
        store_iter_close(it);
    }
    return hash;
}

void cw_judge(struct cluster_world *w)
{
    w->stop = true;
    cw_heal(w);
    cw_until(w, cw_clients_gone, 60000, "clients end");
    cw_until(w, cw_converged, 60000, "all nodes have the same");
    struct found *found = calloc(w->n_ops + 1, sizeof *found);
    assert_non_null(found);
    uint64_t first = 0;
    for (uint64_t id = 1; id <= w->n; id++) {
        memset(found, 0, (w->n_ops + 1) * sizeof *found);
        uint64_t hash = look_at(w, &w->node[id], found);
        if (id == 1)
            first = hash;
        if (hash != first)
            CW_FAIL(w, "nodes 1 and %" PRIu64 " differ", id);
        for (size_t i = 0; i < w->n_ops; i++) {
            const struct cw_op *op = &w->ops[i];
            const struct found *f = &found[i];
            if (op->outcome == CW_DONE &&
                (f->times != 1 || version_cmp(f->version, op->version) != 0))
                CW_FAIL(w,
                        "write %zu to key %u was acknowledged as %" PRIx64
                        " and is there %u times at node %" PRIu64,
                        i, op->key, op->version.hlc, f->times, id);
            if (op->outcome == CW_NOT_DONE && f->times != 0)
                CW_FAIL(w, "write %zu was not done, and is there", i);
            if (f->times > 1)
                CW_FAIL(w, "write %zu was done %u times", i, f->times);
            if (f->times && op->is_cas && version_cmp(f->parent, op->required) != 0)
                CW_FAIL(w, "write %zu required %" PRIx64 " and followed %" PRIx64, i,
                        op->required.hlc, f->parent.hlc);
        }
    }
    free(found);
}
