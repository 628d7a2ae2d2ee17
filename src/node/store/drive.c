#include "node/store/cluster.h"

#include "base/alloc.h"
#include "base/buggify.h"
#include "base/env/fiber.h"
#include "base/log.h"
#include "base/planted.h"

enum { GUEST_ROUNDS = 8 }; /* that one does who only brought something */

/* ---- inputs ---- */

static bool anything_came(const struct cluster *c)
{
    return !list_empty(&c->came) || !list_empty(&c->barriers) || !list_empty(&c->inbox);
}

static void receive(struct store *s, const struct inbox_item *m)
{
    struct bytes bundle = {m->data, m->len};
    struct reader in = reader_of(bundle);
    struct err err;
    uint64_t incarnation;
    err_init(&err);
    if (replica_bundle_open(&in, &incarnation) && !cluster_heard(s, m->from, incarnation))
        return; /* of a process there that is no more */
    if (replicas_receive(s->replicas, m->from, bundle, cluster_item, s, &err) != ST_OK)
        log_at(LOG_WARN, "cluster", "a bundle does not decode", LOG_FSTR("dir", s->dir),
               LOG_FSTR("detail", err.detail));
}

static void take_inputs(struct store *s)
{
    struct cluster *c = s->cluster;
    struct list inbox;
    uint64_t gone[RAFT_MEMBERS_MAX];
    list_init(&inbox);
    env_mutex_lock(&s->queue_lock);
    list_move_all(&c->came, &c->queued);
    list_move_all(&c->barriers, &c->reading);
    list_move_all(&c->inbox, &inbox);
    c->inbox_bytes = 0;
    size_t n = c->n_unreachable;
    memcpy(gone, c->unreachable, sizeof gone);
    c->n_unreachable = 0;
    env_mutex_unlock(&s->queue_lock);
    for (size_t i = 0; i < n; i++)
        replica_unreachable(s->replica, gone[i]);
    list_foreach_safe (it, &inbox) {
        struct inbox_item *m = container_of(it, struct inbox_item, node);
        if (!atomic_load(&s->poisoned))
            receive(s, m);
        mem_free(m);
    }
}

/* Who forwarded a write waits until it is applied there, which no beat should delay. */
static void tell_who_waits(struct store *s)
{
    struct cluster *c = s->cluster;
    for (size_t i = 0; i < c->o.n; i++) {
        if (c->peers[i].waits)
            replica_tell(s->replica, c->peers[i].node);
        c->peers[i].waits = false;
    }
}

/* ---- reads ---- */

/* All that wait and have not asked share one asking. */
static void ask(struct store *s)
{
    struct cluster *c = s->cluster;
    uint64_t id = c->read_no + 1;
    bool any = false;
    list_foreach (it, &c->reading) {
        struct barrier *b = container_of(it, struct barrier, node);
        any = any || b->read == 0;
    }
    list_foreach (it, &c->refused)
        any = any || container_of(it, struct proposal, node)->read == 0;
    if (!any || replica_read(s->replica, id) != ST_OK)
        return; /* no leader is known: with the next tick */
    c->read_no = id;
    list_foreach (it, &c->reading) {
        struct barrier *b = container_of(it, struct barrier, node);
        if (b->read == 0)
            b->read = id;
    }
    list_foreach (it, &c->refused) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (p->read == 0)
            p->read = id;
    }
}

void cluster_read_done(void *arg, struct replica *r, uint64_t id, bool ok)
{
    struct store *s = arg;
    (void)r;
    cluster_refused(s, id, ok);
    list_foreach_safe (it, &s->cluster->reading) {
        struct barrier *b = container_of(it, struct barrier, node);
        if (b->read != id)
            continue;
        b->read = 0; /* asks again, when it was not answered */
        if (!ok)
            continue;
        list_remove(&b->node);
        b->st = ST_OK;
        env_event_set(&b->done);
    }
}

/* ---- driving ---- */

static void tick(struct store *s)
{
    struct cluster *c = s->cluster;
    uint64_t now = env_mono_ns(s->env);
    if (c->ticked_ns != 0 && now - c->ticked_ns < c->tick_ns)
        return;
    c->ticked_ns = now;
    replicas_tick(s->replicas, now / 1000000);
    cluster_expire(s, now);
    cluster_compact(s);
    cluster_give_lead_away(s, now);
}

static void set_stall(struct store *s, const struct err *why)
{
    env_mutex_lock(&s->state_lock);
    s->cluster->stall = *why;
    env_mutex_unlock(&s->state_lock);
}

static void note_failure(struct store *s, enum status st, const struct err *err)
{
    struct cluster *c = s->cluster;
    if (st == ST_OK) {
        if (c->stall.status == ST_OK)
            return;
        PROBE("store: the log takes something again");
        struct err none;
        err_init(&none);
        set_stall(s, &none);
        return;
    }
    if (replicas_broken(s->replicas)) {
        store__poison(s, ST_POISONED);
        return;
    }
    if (c->stall.status == ST_OK)
        log_at(LOG_WARN, "cluster", "the log takes nothing: this node is silent until it does",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err->detail));
    set_stall(s, err);
}

/* One look at all that came, and one round. true: look again. */
static bool drive_once(struct store *s)
{
    struct err err;
    bool any = false;
    err_init(&err);
    take_inputs(s);
    enum status st = store__refuse(s, &err);
    if (st != ST_OK) {
        cluster_fail_all(s, st, err.detail);
        return false;
    }
    tick(s);
    tell_who_waits(s);
    cluster_write(s);
    ask(s); /* after it: for what was refused, too */
    store__make_room_beside(s);
    note_failure(s, replicas_round(s->replicas, true, &any, &err), &err);
    return any || s->cluster->role_dirty;
}

/* With driving taken: until nothing is left, or another one goes on. */
static void drive_on(struct store *s, struct proposal *mine)
{
    struct cluster *c = s->cluster;
    for (unsigned rounds = 0;; rounds++) {
        bool again = drive_once(s);
        struct lead_waiter *next = NULL;
        bool leave, poke = false;
        env_mutex_lock(&s->queue_lock);
        if (!list_empty(&c->leads)) {
            next = container_of(c->leads.next, struct lead_waiter, node);
            list_remove(&next->node); /* driving is its now */
        }
        again = again || anything_came(c);
        bool enough = mine ? env_event_is_set(&mine->done) : rounds >= GUEST_ROUNDS;
        poke = again && !next && enough && c->thread_runs;
        leave = next || !again || poke;
        if (leave && !next)
            c->driving = false;
        env_mutex_unlock(&s->queue_lock);
        if (next)
            env_event_set(&next->turn);
        if (poke)
            cluster_poke(s);
        if (leave)
            return;
    }
}

void cluster_drive(struct store *s, struct proposal *mine)
{
    struct cluster *c = s->cluster;
    env_mutex_lock(&s->queue_lock);
    bool free = !c->driving;
    c->driving = true;
    env_mutex_unlock(&s->queue_lock);
    if (!free)
        return; /* whoever drives looks at what came before it leaves */
    /* The others of the reactor's turn first, so that what they bring is in the same round. */
    if (fiber_current())
        fiber_yield();
    drive_on(s, mine);
}

void cluster_propose(struct store *s, struct proposal *p)
{
    struct cluster *c = s->cluster;
    env_event_init(&p->done);
    p->deadline_ns = env_mono_ns(s->env) + c->o.propose_timeout_ms * UINT64_C(1000000);
    env_mutex_lock(&s->queue_lock);
    list_push_back(&c->came, &p->node);
    env_mutex_unlock(&s->queue_lock);
    cluster_drive(s, p);
    env_wait(&p->done, UINT64_MAX);
}

void cluster_lead_begin(struct store *s)
{
    struct cluster *c = s->cluster;
    struct lead_waiter w;
    env_event_init(&w.turn);
    env_mutex_lock(&s->queue_lock);
    bool free = !c->driving;
    c->driving = true;
    if (!free)
        list_push_back(&c->leads, &w.node);
    env_mutex_unlock(&s->queue_lock);
    if (!free)
        env_wait(&w.turn, UINT64_MAX);
}

void cluster_lead_end(struct store *s)
{
    drive_on(s, NULL);
}

static enum status queue_bundle(struct store *s, uint64_t from_node, struct bytes bundle,
                                struct err *err)
{
    struct cluster *c = s->cluster;
    if (bundle.len > STORE_BUNDLE_MAX)
        return err_set(err, ST_TOO_LARGE, "a bundle of %zu bytes, over the limit of %d", bundle.len,
                       STORE_BUNDLE_MAX);
    struct inbox_item *m = mem_alloc(sizeof *m + bundle.len);
    if (!m)
        return err_set(err, ST_NO_MEMORY, "no memory for a bundle");
    m->from = from_node;
    m->len = bundle.len;
    if (bundle.len)
        memcpy(m->data, bundle.data, bundle.len);
    env_mutex_lock(&s->queue_lock);
    bool full = c->inbox_bytes > 0 && (c->inbox_bytes + m->len > STORE_INBOX_BYTES ||
                                       BUGGIFY("store: the inbox is full"));
    if (!full) {
        c->inbox_bytes += m->len;
        list_push_back(&c->inbox, &m->node);
    }
    env_mutex_unlock(&s->queue_lock);
    if (!full)
        return ST_OK;
    mem_free(m);
    return err_set(err, ST_OVERLOADED, "bundles of more than %d bytes wait already",
                   STORE_INBOX_BYTES);
}

enum status store_receive_all(struct store *s, uint64_t from_node, const struct bytes *bundles,
                              size_t n, size_t *ret_taken, struct err *err)
{
    const struct cluster *c = s->cluster;
    enum status first = ST_OK;
    size_t taken = 0;
    if (!c || from_node == c->o.node || !cluster_peer(s, from_node))
        return err_set(err, ST_INVALID_ARGUMENT, "%s has no peer of id %llu", s->dir,
                       (unsigned long long)from_node);
    for (size_t i = 0; i < n; i++) {
        enum status st = queue_bundle(s, from_node, bundles[i], first ? NULL : err);
        first = first ? first : st;
        taken += st == ST_OK;
    }
    if (taken)
        cluster_drive(s, NULL);
    if (ret_taken)
        *ret_taken = taken;
    return first;
}

enum status store_receive(struct store *s, uint64_t from_node, struct bytes bundle, struct err *err)
{
    return store_receive_all(s, from_node, &bundle, 1, NULL, err);
}

enum status store_barrier(struct store *s, uint64_t timeout_ms, struct err *err)
{
    struct cluster *c = s->cluster;
    if (!c || (PLANTED(LEADER_SKIPS_BARRIER) && atomic_load(&c->leader) == c->o.node))
        return ST_OK;
    uint64_t max_ms = UINT64_MAX / 4000000, now = env_mono_ns(s->env);
    struct barrier b = {.deadline_ns =
                            now + (timeout_ms < max_ms ? timeout_ms : max_ms) * UINT64_C(1000000)};
    env_event_init(&b.done);
    env_mutex_lock(&s->queue_lock);
    list_push_back(&c->barriers, &b.node);
    env_mutex_unlock(&s->queue_lock);
    cluster_drive(s, NULL);
    env_wait(&b.done, UINT64_MAX);
    if (b.st == ST_OK)
        return ST_OK;
    enum status st = store__refuse(s, err);
    return st != ST_OK
               ? st
               : err_set(err, b.st, "no leader of the cluster answered node %llu in %llu ms",
                         (unsigned long long)c->o.node, (unsigned long long)timeout_ms);
}

void store_unreachable(struct store *s, uint64_t node)
{
    struct cluster *c = s->cluster;
    if (!c)
        return;
    env_mutex_lock(&s->queue_lock);
    if (c->n_unreachable < RAFT_MEMBERS_MAX)
        c->unreachable[c->n_unreachable++] = node;
    env_mutex_unlock(&s->queue_lock);
}

/* ---- time ---- */

uint64_t cluster_tick(struct store *s)
{
    cluster_drive(s, NULL);
    return s->cluster->tick_ns / 1000000;
}

void cluster_poke(struct store *s)
{
    env_mutex_lock(&s->state_lock);
    s->cluster->poked = true;
    env_cond_signal(&s->cluster->poke);
    env_mutex_unlock(&s->state_lock);
}

void cluster_keep(void *arg)
{
    struct store *s = arg;
    struct cluster *c = s->cluster;
    env_mutex_lock(&s->state_lock);
    while (!s->stopping) {
        bool poked = c->poked;
        c->poked = false;
        if (!poked)
            (void)env_cond_wait_ms(&c->poke, &s->state_lock, c->tick_ns / 1000000);
        c->poked = false;
        if (s->stopping)
            break;
        env_mutex_unlock(&s->state_lock);
        cluster_drive(s, NULL);
        env_mutex_lock(&s->state_lock);
    }
    env_mutex_unlock(&s->state_lock);
}
