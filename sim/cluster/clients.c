/* Clients: their fibers, their wandering, and what they record. */
#include "sim/cluster/door.h"
#include "sim/cluster/members.h"

#include "base/hash.h"

#include <stdio.h>
#include <string.h>

enum { BURST = 20, BARRIER_MS = 2000 };

static const char *const collections[WORKS] = {"register", "list", "bank", "set", "counter"};
static const enum history_family families[WORKS] = {HISTORY_REGISTER, HISTORY_LIST, HISTORY_BANK,
                                                    HISTORY_SET, HISTORY_COUNTER};

/* --- recording --- */

struct history_step *op_step(struct client *c, enum history_verb verb, char letter, uint64_t key)
{
    ASSERT(c->n < STEPS_MAX);
    struct step_memory *m = &c->memory[c->n];
    struct history_step *s = &c->steps[c->n++];
    (void)snprintf(m->key, sizeof m->key, "%c%llu", letter, (unsigned long long)key);
    *s = (struct history_step){.verb = verb, .key = BYTES_STR(m->key)};
    return s;
}

void op_value(struct client *c, struct history_step *s, const void *data, size_t len)
{
    struct step_memory *m = &c->memory[s - c->steps];
    sim_free(m->value);
    m->value = sim_memdup(data, len);
    m->len = len;
    s->value = BYTES(m->value, len);
}

static void op_clear(struct client *c)
{
    for (size_t i = 0; i < STEPS_MAX; i++) {
        sim_free(c->memory[i].value);
        c->memory[i].value = NULL;
    }
    c->n = 0;
    c->beaten = false;
    c->at = 0;
    c->weak = false;
    c->op = NONE;
    if (c->door)
        c->door->empty = false;
}

static bool writes(const struct client *c)
{
    bool any = false;
    for (size_t i = 0; i < c->n; i++)
        any |= c->steps[i].verb != HISTORY_GET && c->steps[i].verb != HISTORY_CHECK;
    return any;
}

static void tell(struct client *c, const char *what)
{
    struct run *r = c->run;
    if (!r->o.wants_ops || !run_tells(r))
        return;
    char who[32], text[400];
    size_t len = 0;
    (void)snprintf(who, sizeof who, "client %u", c->name);
    for (size_t i = 0; i < c->n && len < sizeof text - 80; i++) {
        const struct history_step *s = &c->steps[i];
        len += (size_t)snprintf(text + len, sizeof text - len, " %s %s", history_verb_name(s->verb),
                                c->memory[i].key);
        if (s->verb == HISTORY_ADD)
            len += (size_t)snprintf(text + len, sizeof text - len, " %lld", (long long)s->number);
        if (s->version)
            len += (size_t)snprintf(text + len, sizeof text - len, " @%llx",
                                    (unsigned long long)s->version);
    }
    text[len] = 0;
    run_say(r, who, "%s at %s:%s", what, c->node ? node_name(c->node) : "no node", text);
}

void op_invoke(struct client *c)
{
    struct run *r = c->run;
    struct history_call call = {.client = c->name,
                                .node = c->node->id,
                                .family = families[c->work],
                                .at = c->at,
                                .weak = c->weak,
                                .steps = c->steps,
                                .n = c->n};
    struct sim_heap *heap = sim_heap_enter(NULL); /* the history is no process's */
    enum status st = history_invoke(r->history, run_now(r), &call, &c->op);
    sim_heap_enter(heap);
    ASSERT(st == ST_OK);
    tell(c, "asks");
}

/* What the client may believe. Where nothing is known the operation may still happen. */
static enum history_outcome outcome_of(enum status st)
{
    switch ((int)st) {
    case ST_OK:
        return HISTORY_OK;
    case ST_PRECONDITION_FAILED:
        return HISTORY_UNMET;
    case ST_UNKNOWN_OUTCOME:
    case ST_POISONED:
        return HISTORY_UNKNOWN;
    default:
        return HISTORY_FAILED;
    }
}

/* Whether the trouble of this run may bring such an answer. What is refused for any other reason never
 * happened, so no history shows that there was no reason. */
static bool explained(const struct client *c, enum status st)
{
    const struct plan *p = &c->run->plan;
    switch ((int)st) {
    case ST_OK:
    case ST_PRECONDITION_FAILED:
    case ST_UNKNOWN_OUTCOME:
    case ST_UNAVAILABLE:
    case ST_OVERLOADED:
    case ST_TIMED_OUT:
    case ST_CANCELLED:
    case ST_CLOSED: /* the node stops */
        return true;
    case ST_FUTURE_TIME: /* of a moment that another node's clock had */
        return p->every_ms[FAULT_CLOCK_JUMP] || p->every_ms[FAULT_DRIFT];
    case ST_NOT_FOUND: /* only where there was nothing to delete */
        return c->beaten;
    case ST_IO_ERROR: /* a door's client has no answer */
        return c->door || plan_disks_fail(p);
    case ST_POISONED:
    case ST_DISK_FULL:
    case ST_CORRUPT:
        return plan_disks_fail(p);
    default:
        return false;
    }
}

void op_outcome(struct client *c, enum history_outcome outcome)
{
    struct run *r = c->run;
    ASSERT(c->op != NONE);
    struct sim_heap *heap = sim_heap_enter(NULL);
    enum status st = history_complete(r->history, run_now(r), c->op, outcome, c->steps, c->n);
    sim_heap_enter(heap);
    ASSERT(st == ST_OK);
    tell(c, history_outcome_name(outcome));
    run_digest(r, 'o' << 8 | c->number, (uint64_t)outcome << 32 | c->op);
    if (outcome == HISTORY_OK || outcome == HISTORY_UNMET) {
        r->result->operations++;
        c->done_ns = run_now(r);
        c->wrote_ns = outcome == HISTORY_OK && writes(c) ? c->done_ns : c->wrote_ns;
    } else if (outcome == HISTORY_FAILED) {
        r->result->operations += c->beaten; /* that is an answer too */
        r->result->failed += !c->beaten;
        c->done_ns = c->beaten ? run_now(r) : c->done_ns;
    } else {
        r->result->unknown++;
        c->name = r->next_history_client++;
    }
    op_clear(c);
}

void op_done(struct client *c, enum status st, const struct err *err)
{
    if (!explained(c, st))
        run_fail(c->run, "%s answers a client %s, which nothing explains: %s", node_name(c->node),
                 status_name(st), err->detail);
    op_outcome(c, outcome_of(st));
}

/* --- the store, as clients ask it --- */

enum status work_collection(struct client *c, struct collection **ret, struct err *err)
{
    if (c->door) { /* it knows names alone */
        *ret = NULL;
        return ST_OK;
    }
    struct collection **known = &c->node->collections[c->work];
    if (!*known) {
        struct collection *col;
        enum status st = store_collection_open(c->node->store, BYTES_STR(collections[c->work]),
                                               BYTES_EMPTY, &col, err);
        if (st)
            return st;
        *known = col;
    }
    *ret = *known;
    return ST_OK;
}

struct bytes work_route(const struct collection *col, const char *key,
                        uint8_t out[STORE_ROUTE_BYTES + KEY_MAX])
{
    uint32_t id = collection_id(col);
    for (int i = 0; i < STORE_ROUTE_BYTES; i++)
        out[i] = (uint8_t)(id >> (24 - 8 * i));
    struct bytes tail = BYTES_STR(key);
    memcpy(out + STORE_ROUTE_BYTES, tail.data, tail.len);
    return BYTES(out, STORE_ROUTE_BYTES + tail.len);
}

enum status work_barrier(struct client *c, struct version *ret_at, struct err *err)
{
    if (c->door)
        return door_barrier(c, ret_at, err);
    enum status st = store_barrier(c->node->store, BARRIER_MS, err);
    if (!st)
        *ret_at = store_visible(c->node->store);
    return st;
}

enum status work_get(struct client *c, struct collection *col, struct history_step *s,
                     struct version at, struct err *err)
{
    uint8_t route[STORE_ROUTE_BYTES + KEY_MAX];
    struct buf buf = BUF_INIT;
    struct record rec;
    if (c->door)
        return door_get(c, s, at, err);
    struct bytes key = work_route(col, c->memory[s - c->steps].key, route);
    enum status st = store_get(c->node->store, key, at, &buf, &rec, err);
    if (st == ST_OK) {
        s->found = true;
        s->version = rec.version.hlc;
        op_value(c, s, rec.value.data, rec.value.len);
    } else if (st == ST_NOT_FOUND) {
        s->found = false;
        s->version = 0;
        st = ST_OK;
    }
    buf_deinit(&buf);
    return st;
}

static enum store_require_what require_of(enum history_require r)
{
    switch (r) {
    case HISTORY_ABSENT:
        return STORE_REQUIRE_ABSENT;
    case HISTORY_PRESENT:
        return STORE_REQUIRE_PRESENT;
    case HISTORY_AT_VERSION:
    case HISTORY_ANY:
    case HISTORY_REQUIRES:
        break;
    }
    return STORE_REQUIRE_VERSION;
}

struct request {
    char id[40];
    struct bytes name; /* empty: none */
    struct store_request made;
};

static void remember_version(struct run *r, uint64_t version)
{
    r->versions = sim_grow(r->versions, &r->cap_versions, r->n_versions + 1, sizeof *r->versions);
    r->versions[r->n_versions++] = version;
}

/* Some writes carry a request id: an op of their own that says which request they are. */
static void name_request(struct client *c, struct request *q, const struct entry_op *ops, size_t n)
{
    uint8_t digest[STORE_DIGEST_BYTES] = {0};
    uint64_t h = c->number;
    int len =
        snprintf(q->id, sizeof q->id, "client %u.%llu", c->number, (unsigned long long)c->serial++);
    q->name = BYTES(q->id, (size_t)len);
    for (size_t i = 0; i < n; i++)
        h = hash_xxh64(ops[i].value.data, ops[i].value.len, h + ops[i].kind);
    memcpy(digest, &h, sizeof h);
    store_request_op(q->name, digest, env_now_ms(sim_machine_env(c->node->machine)), &q->made);
}

/* Proposes; a write with a request id whose outcome is unknown is sent again and again, and one
 * that was done is now and then sent once more, for nothing. */
static enum status propose(struct client *c, struct store_write *w, struct err *err)
{
    enum status st = store_propose(c->node->store, w, err);
    if (st == ST_INVALID_ARGUMENT)
        run_fail(c->run, "a write is refused: %s", err->detail);
    if (w->request_id.len == 0)
        return st;
    bool unknown = st == ST_UNKNOWN_OUTCOME;
    for (int i = 0; i < 5 && st == ST_UNKNOWN_OUTCOME; i++)
        st = store_propose(c->node->store, w, err);
    if (unknown && st != ST_OK)
        return ST_UNKNOWN_OUTCOME; /* that it was not done now says nothing of before */
    if (st == ST_OK && dice_one_in(&c->dice, 8)) {
        struct version first = w->version;
        enum status again = store_propose(c->node->store, w, err);
        if (again == ST_OK && (!w->duplicate || version_cmp(w->version, first) != 0))
            run_fail(c->run, "request %.*s was done twice: as %llx and as %llx",
                     (int)w->request_id.len, (const char *)w->request_id.data,
                     (unsigned long long)first.hlc, (unsigned long long)w->version.hlc);
        w->version = first;
    }
    return st;
}

enum status work_propose(struct client *c, struct collection *col, const struct work_write *w,
                         size_t n, uint64_t *ret_version, size_t *ret_failed, uint64_t *ret_present,
                         struct err *err)
{
    struct entry_op ops[BATCH_MAX + 1];
    struct request request = {.name = BYTES_EMPTY};
    struct store_require requires[BATCH_MAX];
    uint8_t routes[BATCH_MAX][STORE_ROUTE_BYTES + KEY_MAX];
    size_t which[BATCH_MAX], n_requires = 0, n_ops = 0;
    ASSERT(n <= BATCH_MAX);
    if (c->door) {
        enum status st = door_propose(c, w, n, ret_version, ret_failed, ret_present, err);
        if (st == ST_OK)
            remember_version(c->run, *ret_version);
        return st;
    }
    for (size_t i = 0; i < n; i++) {
        struct bytes key = work_route(col, w[i].key, routes[i]);
        if (w[i].require != HISTORY_ANY) {
            which[n_requires] = i;
            requires[n_requires++] = (struct store_require){
                .key = key, .what = require_of(w[i].require), .version = {w[i].want, 0}};
        }
        if (w[i].value.data || w[i].remove)
            ops[n_ops++] = (struct entry_op){
                .key = key, .kind = w[i].remove ? RECORD_DELETE : RECORD_PUT, .value = w[i].value};
    }
    if (n_ops > 0 && dice_one_in(&c->dice, 4)) {
        name_request(c, &request, ops, n_ops);
        ops[n_ops++] = request.made.op;
    }
    struct store_write sw = {.request_id = request.name,
                             .requires = requires,
                             .n_requires = n_requires,
                             .collections = &col,
                             .n_collections = 1};
    enum status st = entry_encode(ops, n_ops, BYTES_EMPTY, &sw.entry, err);
    if (st == ST_OK)
        st = propose(c, &sw, err);
    blob_unref(sw.entry);
    if (st == ST_OK) {
        *ret_version = sw.version.hlc;
        remember_version(c->run, sw.version.hlc);
    } else if (st == ST_PRECONDITION_FAILED) {
        *ret_failed = which[sw.failed];
        *ret_present = sw.version.hlc;
    }
    return st;
}

/* --- fibers --- */

static void one_operation(struct client *c)
{
    static void (*const works[WORKS])(struct client *) = {work_register, work_list, work_bank,
                                                          work_set, work_counter};
    const struct plan *p = &c->run->plan;
    unsigned total = 0;
    for (unsigned i = 0; i < WORKS; i++)
        total += p->weight[i];
    unsigned at = (unsigned)dice_below(&c->dice, total), w = 0;
    while (at >= p->weight[w])
        at -= p->weight[w++];
    c->work = (enum workload)w;
    if (p->vain)
        work_ask_in_vain(c);
    works[w](c);
    ASSERT(c->op == NONE);
}

static void rest(uint64_t ns)
{
    struct env_event never;
    env_event_init(&never);
    (void)env_wait(&never, ns);
}

static void plan_hop(struct client *c, uint64_t ns)
{
    struct sim_queue *q = sim_world_queue(c->run->world);
    sim_queue_add(q, &c->hop, run_now(c->run) + ns);
}

static void client_fiber(void *client)
{
    struct client *c = client;
    uint64_t bursts = 1 + dice_below(&c->dice, 2 * BURST);
    for (uint64_t i = 0; i < bursts && !c->run->stop_clients && node_serves(c->node); i++) {
        uint64_t failed = c->run->result->failed;
        one_operation(c);
        if (failed != c->run->result->failed)
            break; /* elsewhere it may go better */
        rest(dice_tail(&c->dice, (uint64_t)c->run->plan.think_us * 1000));
    }
    c->running = false;
    if (c->door)
        door_leave(c);
    plan_hop(c, 1 * MS);
}

/* Goes to a node that runs. */
static void hop(void *client)
{
    struct client *c = client;
    struct run *r = c->run;
    if (c->running || r->stop_clients)
        return;
    c->node = &r->nodes[1 + dice_below(&c->dice, r->plan.nodes)];
    if (members_out(c->node) && !dice_one_in(&c->dice, 4)) {
        plan_hop(c, 20 * MS); /* as who looks at its readiness */
        return;
    }
    struct sim_machine *on = c->door ? door_machine(r) : c->node->machine;
    if (!node_serves(c->node) || !sim_machine_spawn(on, client_fiber, c)) {
        plan_hop(c, 20 * MS);
        return;
    }
    c->running = true;
}

void clients_start(struct run *r)
{
    r->clients = sim_zalloc(r->plan.clients * sizeof *r->clients);
    for (unsigned i = 0; i < r->plan.clients; i++) {
        struct client *c = &r->clients[i];
        *c = (struct client){.run = r,
                             .number = i,
                             .name = r->next_history_client++,
                             .op = NONE,
                             .dice = dice_fork(r->plan.seed, 10000 + i)};
        c->seen = sim_zalloc(r->plan.keys * sizeof *c->seen);
        c->hop = (struct sim_event){.fn = hop, .arg = c};
        door_draw(c);
        plan_hop(c, dice_below(&c->dice, 100 * MS));
    }
}

void clients_free(struct run *r)
{
    for (unsigned i = 0; r->clients && i < r->plan.clients; i++) {
        op_clear(&r->clients[i]);
        sim_queue_drop(sim_world_queue(r->world), &r->clients[i].hop);
        sim_free(r->clients[i].seen);
        door_client_free(&r->clients[i]);
    }
    sim_free(r->clients);
}

void clients_node_died(struct run *r, const struct node *n)
{
    for (unsigned i = 0; r->clients && i < r->plan.clients; i++) {
        struct client *c = &r->clients[i];
        if (!c->running || c->node != n || c->door) /* a door's client hears of it */
            continue;
        c->running = false;
        if (c->op != NONE) {
            tell(c, "loses its node");
            r->result->unknown++;
            op_clear(c); /* unknown for ever */
            c->name = r->next_history_client++;
        }
        plan_hop(c, dice_below(&c->dice, 200 * MS));
    }
}

bool clients_idle(const struct run *r)
{
    for (unsigned i = 0; i < r->plan.clients; i++)
        if (r->clients[i].running)
            return false;
    return true;
}

bool clients_at(const struct node *n)
{
    const struct run *r = n->run;
    for (unsigned i = 0; i < r->plan.clients; i++)
        if (r->clients[i].running && r->clients[i].node == n)
            return true;
    return false;
}

unsigned clients_active_since(const struct run *r, uint64_t ns)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->plan.clients; i++)
        n += r->clients[i].done_ns > ns && r->clients[i].wrote_ns > ns;
    return n;
}
