/* The keeper: one client that does what whoever keeps house does - names for moments, retention, vacuum,
 * records that expire, verify - at whatever node it comes to, over a collection that is its own. So it
 * knows what has to be there: at or above the oldest moment that it has a name for everything reads as
 * it was written; what may be below a horizon reads so or is refused, and is refused for sure once a
 * vacuum has answered. It never writes again to a key of which it does not know what became.
 */
#include "sim/cluster/door.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    SLOTS = 6,
    NAMES = 3,
    KEY_BYTES = STORE_ROUTE_BYTES + 24,
    REST_MS = 80,
    BARRIER_MS = 2000,
    HERE = WORKS /* of node.collections */
};
static const char own[] = "kept";

struct kept_write {
    struct version version;
    bool removes;
    uint64_t expires_ms; /* 0: never */
    uint64_t value;
};

struct slot {
    uint64_t key;
    bool doubt; /* something was written, perhaps */
    struct kept_write *writes;
    size_t n, cap;
};

enum name_state { NAME_NONE, NAME_HELD, NAME_DOUBT /* there, perhaps: it is to go */ };
struct name {
    enum name_state state;
    uint64_t number;
    struct version at;
};

struct keeper {
    struct run *run;
    struct node *node;
    bool running;
    struct dice dice;
    struct sim_event hop;
    uint64_t serial;
    struct slot slots[SLOTS];
    struct name names[NAMES];
    struct version *moments; /* of its writes */
    size_t n_moments, cap_moments;

    uint64_t age_ms;        /* what the collection says; UINT64_MAX: not known */
    uint64_t least_age_ms;  /* that it may ever have said; 0: none */
    bool by_count;          /* it may ever have said something of counts */
    struct node *vacuum_at; /* one is under way, or its end was not seen */
    uint64_t vacuum_ms;     /* the latest clock that any vacuum can have seen */
    uint64_t may_lack;      /* below it (hlc) reads may be refused, */
    uint64_t must_lack;     /* and below this one they are */
};

/* --- what is known --- */

static void slot_renew(struct keeper *k, struct slot *s)
{
    s->key = ++k->serial;
    s->doubt = false;
    s->n = 0;
}

static uint64_t clock_of(const struct node *n)
{
    return env_now_ms(sim_machine_env(n->machine));
}

void keeper_clock(struct run *r, const struct node *n)
{
    struct keeper *k = r->keeper;
    if (k && k->vacuum_at == n && clock_of(n) > k->vacuum_ms)
        k->vacuum_ms = clock_of(n);
}

/* `visible`: at least what the vacuum can have seen. */
static void vacuum_over(struct keeper *k, struct version visible)
{
    if (!k->vacuum_at)
        return;
    keeper_clock(k->run, k->vacuum_at);
    k->vacuum_at = NULL;
    uint64_t horizon = 0;
    if (k->least_age_ms && k->least_age_ms < k->vacuum_ms)
        horizon = version_at_ms(k->vacuum_ms - k->least_age_ms).hlc;
    if (k->by_count && visible.hlc > horizon)
        horizon = visible.hlc;
    if (horizon > k->may_lack)
        k->may_lack = horizon;
}

static bool held(const struct keeper *k, struct version at)
{
    for (int i = 0; i < NAMES; i++)
        if (k->names[i].state == NAME_HELD && version_cmp(k->names[i].at, at) <= 0)
            return true;
    return false;
}

static bool nothing_named(const struct keeper *k)
{
    for (int i = 0; i < NAMES; i++)
        if (k->names[i].state != NAME_NONE)
            return false;
    return true;
}

static void wrong(struct keeper *k, const char *what, uint64_t key, struct version at,
                  enum status st, const struct err *err)
{
    run_fail(k->run,
             "keeper at %s: %s: key %" PRIu64 " at %" PRIx64 " answers %s %s (may lack %" PRIx64
             ", must lack %" PRIx64 ")",
             node_name(k->node), what, key, at.hlc, status_name(st), err->detail, k->may_lack,
             k->must_lack);
}

static bool disks_lie(const struct plan *p)
{
    return p->every_ms[FAULT_ROT] || p->every_ms[FAULT_MISDIRECT] || p->every_ms[FAULT_STALE_READ];
}

/* An answer that may come in trouble; the others are wrong. */
static void tell(struct keeper *k, const char *what, uint64_t key, struct version at,
                 enum status st)
{
    if (k->run->o.wants_ops)
        run_say(k->run, "keeper", "%s at %s: %" PRIu64 " %" PRIx64 ": %s", what, node_name(k->node),
                key, at.hlc, status_name(st));
}

static void may_fail(struct keeper *k, const char *what, enum status st, const struct err *err)
{
    if (st == ST_PRECONDITION_FAILED || st == ST_INVALID_ARGUMENT || st == ST_ALREADY_EXISTS ||
        (st == ST_CORRUPT && !disks_lie(&k->run->plan)))
        run_fail(k->run, "keeper at %s: %s answers %s: %s", node_name(k->node), what,
                 status_name(st), err->detail);
    run_digest(k->run, 'q' << 8 | k->node->id, st);
}

/* --- what it does --- */

static struct bytes route(const struct collection *col, const struct slot *s,
                          uint8_t out[KEY_BYTES])
{
    uint32_t id = collection_id(col);
    for (int i = 0; i < STORE_ROUTE_BYTES; i++)
        out[i] = (uint8_t)(id >> (24 - 8 * i));
    int n = snprintf((char *)out + STORE_ROUTE_BYTES, KEY_BYTES - STORE_ROUTE_BYTES, "k%" PRIu64,
                     s->key);
    return BYTES(out, STORE_ROUTE_BYTES + (size_t)n);
}

static struct slot *some_slot(struct keeper *k)
{
    return &k->slots[dice_below(&k->dice, SLOTS)];
}

static void put(struct keeper *k, struct collection *col)
{
    uint8_t key[KEY_BYTES];
    struct err err;
    struct slot *s = some_slot(k);
    struct kept_write w = {.removes = dice_one_in(&k->dice, 6), .value = ++k->serial};
    err_init(&err);
    if (!w.removes && dice_one_in(&k->dice, 3))
        w.expires_ms = clock_of(k->node) + 1 + dice_below(&k->dice, 4000);
    struct entry_op op = {.key = route(col, s, key),
                          .kind = w.removes ? RECORD_DELETE : RECORD_PUT,
                          .expires_ms = w.expires_ms};
    if (!w.removes)
        op.value = BYTES((const uint8_t *)&w.value, sizeof w.value);
    struct store_write sw = {.collections = &col, .n_collections = 1};
    s->doubt = true;
    enum status st = entry_encode(&op, 1, BYTES_EMPTY, &sw.entry, &err);
    if (st == ST_OK)
        st = store_propose(k->node->store, &sw, &err);
    blob_unref(sw.entry);
    tell(k,
         w.removes      ? "deletes"
         : w.expires_ms ? "writes for a while"
                        : "writes",
         s->key, sw.version, st);
    may_fail(k, "a write", st, &err);
    if (st == ST_UNKNOWN_OUTCOME || st == ST_POISONED)
        return;
    s->doubt = false;
    if (st != ST_OK)
        return;
    w.version = sw.version;
    s->writes = sim_grow(s->writes, &s->cap, s->n + 1, sizeof *s->writes);
    s->writes[s->n++] = w;
    k->moments = sim_grow(k->moments, &k->cap_moments, k->n_moments + 1, sizeof *k->moments);
    k->moments[k->n_moments++] = w.version;
}

static const struct kept_write *written(const struct slot *s, struct version at)
{
    const struct kept_write *w = NULL;
    for (size_t i = 0; i < s->n; i++)
        if (version_is_none(at) || version_cmp(s->writes[i].version, at) <= 0)
            w = &s->writes[i];
    return w;
}

/* Whether what a read showed is what was written last; [from, to] is when, by the clock that says what
 * has expired. */
static void judge(struct keeper *k, const struct slot *s, struct version at, enum status st,
                  const struct record *rec, uint64_t from_ms, uint64_t to_ms, const struct err *err)
{
    const struct kept_write *w = written(s, at);
    bool there = w && !w->removes && (!w->expires_ms || w->expires_ms > to_ms);
    bool gone = !w || w->removes ||
                (w->expires_ms && (w->expires_ms <= from_ms || w->expires_ms <= k->vacuum_ms));
    uint64_t value = 0;
    if (st == ST_OK && rec->value.len == sizeof value)
        memcpy(&value, rec->value.data, sizeof value);
    if (st == ST_OK && gone && !there)
        wrong(k, "what is gone is shown", s->key, at, st, err);
    else if (st == ST_OK && (!w || value != w->value || version_cmp(rec->version, w->version) != 0))
        wrong(k, "another value than was written is shown", s->key, at, st, err);
    else if (st == ST_NOT_FOUND && there && !gone)
        wrong(k, "what is there is not shown", s->key, at, st, err);
}

static void look(struct keeper *k, struct collection *col, struct version at)
{
    uint8_t key[KEY_BYTES];
    struct err err;
    struct buf buf = BUF_INIT;
    struct record rec = {0};
    const struct slot *s = some_slot(k);
    err_init(&err);
    uint64_t a = clock_of(k->node);
    enum status st = store_get(k->node->store, route(col, s, key), at, &buf, &rec, &err);
    uint64_t b = clock_of(k->node);
    bool past = !version_is_none(at);
    tell(k, "reads", s->key, at, st);
    if (past)
        a = b = version_ms(at);
    if (st == ST_BELOW_HORIZON) {
        if (!past || at.hlc >= k->may_lack || held(k, at))
            wrong(k, "what is kept is refused", s->key, at, st, &err);
    } else if (st == ST_OK || st == ST_NOT_FOUND) {
        if (past && at.hlc < k->must_lack)
            wrong(k, "what a vacuum removed is not refused", s->key, at, st, &err);
        else
            judge(k, s, at, st, &rec, a < b ? a : b, a < b ? b : a, &err);
    }
    may_fail(k, "a read", st, &err);
    buf_deinit(&buf);
}

static struct version some_moment(struct keeper *k)
{
    struct version at = VERSION_NONE;
    if (k->n_moments)
        at = k->moments[k->n_moments - 1 -
                        dice_below(&k->dice, k->n_moments < 60 ? k->n_moments : 60)];
    at.origin = version_is_none(at) ? 0 : UINT32_MAX;
    int i = (int)dice_below(&k->dice, NAMES);
    return k->names[i].state == NAME_HELD && dice_one_in(&k->dice, 2) ? k->names[i].at : at;
}

/* A name is one of all collections, and those who misbehave have one with a retention of its own. */
static bool refused_for_another(const struct err *err)
{
    static const char about[] = "collection " ROGUES_COLLECTION " ";
    return strncmp(err->detail, about, strlen(about)) == 0;
}

static void name_moment(struct keeper *k)
{
    struct err err;
    char text[32];
    struct name *n = &k->names[dice_below(&k->dice, NAMES)];
    struct version at = some_moment(k), found;
    struct store *store = k->node->store;
    enum status st;
    err_init(&err);
    if (n->state == NAME_NONE) {
        if (version_is_none(at))
            return;
        *n = (struct name){NAME_DOUBT, ++k->serial, at};
        (void)snprintf(text, sizeof text, "s%" PRIu64, n->number);
        st = store_snapshot_create(store, BYTES_STR(text), at, &err);
        if (st == ST_OK)
            n->state = NAME_HELD;
        else if (st != ST_UNKNOWN_OUTCOME && st != ST_POISONED)
            n->state = NAME_NONE;
        if (st == ST_BELOW_HORIZON && at.hlc >= k->may_lack && !refused_for_another(&err))
            wrong(k, "a name of a kept moment is refused", 0, at, st, &err);
        tell(k, "names", n->number, at, st);
        may_fail(k, "the making of a name", st, &err);
        return;
    }
    (void)snprintf(text, sizeof text, "s%" PRIu64, n->number);
    if (n->state == NAME_HELD) {
        st = store_snapshot_find(store, BYTES_STR(text), &found, &err);
        if (st == ST_NOT_FOUND || (st == ST_OK && version_cmp(found, n->at) != 0))
            wrong(k, "a name is gone", 0, n->at, st, &err);
    }
    n->state = NAME_DOUBT;
    st = store_snapshot_delete(store, BYTES_STR(text), &err);
    if (st == ST_OK || st == ST_NOT_FOUND)
        n->state = NAME_NONE;
    may_fail(k, "the end of a name", st, &err);
}

static void retain(struct keeper *k)
{
    struct err err;
    struct collection_settings v = {0}, is;
    err_init(&err);
    if (!dice_one_in(&k->dice, 4))
        v.max_age_ms = 300 + dice_below(&k->dice, 5000);
    if (dice_one_in(&k->dice, 3))
        v.max_count = 1 + dice_below(&k->dice, 3);
    if (v.max_age_ms && (!k->least_age_ms || v.max_age_ms < k->least_age_ms))
        k->least_age_ms = v.max_age_ms;
    k->by_count |= v.max_count != 0;
    k->age_ms = UINT64_MAX;
    enum status st = store_settings_set(k->node->store, BYTES_STR(own), &v, &err);
    may_fail(k, "a setting", st, &err);
    if (st != ST_OK)
        return;
    k->age_ms = v.max_age_ms;
    if (store_settings_get(k->node->store, BYTES_STR(own), &is, &err) == ST_OK &&
        (is.max_age_ms != v.max_age_ms || is.max_count != v.max_count))
        run_fail(k->run, "keeper at %s: a setting is not what was set", node_name(k->node));
}

static void vacuum(struct keeper *k)
{
    struct err err;
    struct store_vacuum_result got = {0};
    err_init(&err);
    uint64_t began_ms = clock_of(k->node);
    k->vacuum_at = k->node;
    keeper_clock(k->run, k->node);
    enum status st = store_vacuum(k->node->store, BYTES_STR(own), NULL, NULL, &got, &err);
    may_fail(k, "vacuum", st, &err);
    vacuum_over(k, store_visible(k->node->store));
    run_say(k->run, "keeper", "vacuum at %s: %s: %" PRIu64 " expired, %" PRIu64 " versions went",
            node_name(k->node), status_name(st), got.expired, got.versions_removed);
    if (clock_of(k->node) < began_ms)
        began_ms = clock_of(k->node); /* it leapt */
    if (st == ST_OK && k->age_ms && k->age_ms < began_ms && nothing_named(k)) {
        uint64_t horizon = version_at_ms(began_ms - k->age_ms).hlc;
        k->must_lack = horizon > k->must_lack ? horizon : k->must_lack;
    }
}

static void on_finding(void *keeper, const struct store_finding *f)
{
    struct keeper *k = keeper;
    if (!disks_lie(&k->run->plan))
        run_fail(k->run, "keeper at %s: verify finds in %s at %" PRIu64 ": %s", node_name(k->node),
                 f->file, f->offset, f->text);
}

static void verify(struct keeper *k)
{
    struct err err;
    err_init(&err);
    may_fail(k, "verify", store_verify(k->node->store, on_finding, NULL, k, &err), &err);
}

/* --- its fiber --- */

static void one_thing(struct keeper *k, struct collection *col)
{
    uint64_t what = dice_below(&k->dice, 100);
    for (int i = 0; i < SLOTS; i++)
        if (k->slots[i].doubt)
            slot_renew(k, &k->slots[i]);
    if (what < 40)
        put(k, col);
    else if (what < 66)
        look(k, col, some_moment(k));
    else if (what < 76)
        look(k, col, VERSION_NONE);
    else if (what < 86)
        name_moment(k);
    else if (what < 93)
        vacuum(k);
    else if (what < 97)
        retain(k);
    else
        verify(k);
}

static void plan_hop(struct keeper *k, uint64_t ns)
{
    struct sim_queue *q = sim_world_queue(k->run->world);
    sim_queue_add(q, &k->hop, run_now(k->run) + ns);
}

static void keeper_fiber(void *keeper)
{
    struct keeper *k = keeper;
    struct node *n = k->node;
    struct env_event never;
    struct err err;
    uint64_t things = 1 + dice_below(&k->dice, 20);
    while (things-- > 0 && !k->run->stop_clients && node_serves(n)) {
        err_init(&err);
        enum status st = ST_OK;
        if (!n->collections[HERE])
            st = store_collection_open(n->store, BYTES_STR(own), BYTES_EMPTY, &n->collections[HERE],
                                       &err);
        if (st == ST_OK)
            st = store_barrier(n->store, BARRIER_MS, &err);
        if (st != ST_OK)
            break;
        vacuum_over(k, store_visible(n->store)); /* one whose node died */
        one_thing(k, n->collections[HERE]);
        env_event_init(&never);
        (void)env_wait(&never, dice_tail(&k->dice, REST_MS * MS));
    }
    k->running = false;
    plan_hop(k, 5 * MS);
}

static void hop(void *keeper)
{
    struct keeper *k = keeper;
    struct run *r = k->run;
    if (k->running || r->stop_clients)
        return;
    k->node = &r->nodes[1 + dice_below(&k->dice, r->plan.nodes)];
    if (!node_serves(k->node) || !sim_machine_spawn(k->node->machine, keeper_fiber, k)) {
        plan_hop(k, 20 * MS);
        return;
    }
    k->running = true;
}

void keeper_start(struct run *r)
{
    if (!r->plan.keeper)
        return;
    struct keeper *k = r->keeper = sim_zalloc(sizeof *k);
    k->run = r;
    k->dice = dice_fork(r->plan.seed, 30000);
    k->hop = (struct sim_event){.fn = hop, .arg = k};
    for (int i = 0; i < SLOTS; i++)
        slot_renew(k, &k->slots[i]);
    plan_hop(k, 200 * MS);
}

void keeper_free(struct run *r)
{
    struct keeper *k = r->keeper;
    if (!k)
        return;
    sim_queue_drop(sim_world_queue(r->world), &k->hop);
    for (int i = 0; i < SLOTS; i++)
        sim_free(k->slots[i].writes);
    sim_free(k->moments);
    sim_free(k);
}

void keeper_node_died(struct run *r, const struct node *n)
{
    struct keeper *k = r->keeper;
    if (!k || !k->running || k->node != n)
        return;
    keeper_clock(r, n);
    k->running = false;
    plan_hop(k, dice_below(&k->dice, 200 * MS));
}

bool keeper_at(const struct run *r, const struct node *n)
{
    return r->keeper && r->keeper->running && (!n || r->keeper->node == n);
}
