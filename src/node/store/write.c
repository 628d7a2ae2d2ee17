#include "node/store/cluster.h"
#include "node/store/forward_codec.h"
#include "node/store/request.h"

#include "base/buggify.h"
#include "base/planted.h"

#include <inttypes.h>

/* What becomes of proposals in a cluster. All of it is done by who drives. */

/* ---- outcomes ---- */

void cluster_answer(struct store *s, struct proposal *p, enum status st)
{
    list_remove(&p->node);
    p->st = st;
    if (p->remote) {
        cluster_tell(s, p);
        remote_free(p);
    } else {
        env_event_set(&p->done); /* it is its waiter's from here on */
    }
}

static void no_leader(struct store *s, struct proposal *p)
{
    err_set(&p->err, ST_UNAVAILABLE,
            s->cluster->now.role == RAFT_LEADER
                ? "node %" PRIu64 " leads, but could not begin with the write in time"
            : replica_belongs(s->replica)
                ? "no leader of the cluster could be reached from node %" PRIu64 " in time"
                : "node %" PRIu64 " does not belong to the cluster now",
            s->cluster->o.node);
    cluster_answer(s, p, ST_UNAVAILABLE);
}

/* Whether an answer is one for every copy that was sent. A requirement that does not hold is looked at
 * after the request's id was, and so after what became of copies before; why nothing is taken (a disk
 * is full, there is no memory) says something of the last copy only. */
static bool final_for_all(enum status st)
{
    return st == ST_OK || st == ST_PRECONDITION_FAILED || st == ST_INVALID_ARGUMENT;
}

void cluster_not_done(struct store *s, struct proposal *p, enum status st)
{
    if (p->sent_before && !final_for_all(st)) {
        PROBE("store: the second copy of a forward is refused, the first may be done");
        struct err why = p->err;
        cluster_unknown(s, p, why.detail);
        return;
    }
    cluster_answer(s, p, st);
}

void cluster_unknown(struct store *s, struct proposal *p, const char *why)
{
    err_set(&p->err, ST_UNKNOWN_OUTCOME, "%s: the write may or may not be done", why);
    cluster_answer(s, p, ST_UNKNOWN_OUTCOME);
}

void cluster_lost(struct store *s, struct proposal *p)
{
    if (p->remote) {
        err_set(&p->err, ST_UNAVAILABLE, "the leader was deposed before the write was committed");
        cluster_answer(s, p, ST_UNAVAILABLE);
        return;
    }
    PROBE("store: a write is proposed again after its leader fell");
    list_remove(&p->node); /* it may be tried again: it is surely not done */
    list_push_back(&s->cluster->queued, &p->node);
}

void cluster_complete(struct store *s, struct list *done)
{
    env_spin_lock(&s->clock_lock);
    if (s->range.newest.hlc > s->clock.last && !PLANTED(CLOCK_NOT_CARRIED_OVER))
        hlc_observe(&s->clock, s->range.newest.hlc);
    env_spin_unlock(&s->clock_lock);
    while (!list_empty(done))
        cluster_answer(s, container_of(done->next, struct proposal, node), ST_OK);
    list_foreach_safe (it, &s->cluster->awaiting) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (p->index <= s->range.applied)
            cluster_answer(s, p, ST_OK);
    }
    cluster_changes_look(s);
}

void cluster_applied(struct store *s, const struct raft_entry *e)
{
    struct latches *l = s->cluster->latches;
    if (e->kind == RAFT_ENTRY_DATA && e->term == latches_term(l))
        latches_give(l, e->payload);
}

static bool past(const struct proposal *p, uint64_t now_ns)
{
    return p->deadline_ns <= now_ns;
}

/* An answer that has not come for so long is taken for lost. */
static uint64_t again_ns(const struct cluster *c)
{
    return c->o.propose_timeout_ms * UINT64_C(1000000) / 5;
}

/* With a request id it may be sent again: it is done once. */
static void send_again(struct store *s, struct proposal *p)
{
    list_remove(&p->node);
    list_push_back(&s->cluster->queued, &p->node);
}

/* One that was sent before, for the sake of its request id, may have been done then. */
static void give_up(struct store *s, struct proposal *p)
{
    if (p->number != 0)
        cluster_unknown(s, p, "the leader did not answer in time");
    else
        no_leader(s, p);
}

void cluster_expire(struct store *s, uint64_t now_ns)
{
    struct cluster *c = s->cluster;
    list_foreach_safe (it, &c->queued) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (past(p, now_ns))
            give_up(s, p);
    }
    list_foreach_safe (it, &c->refused) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (past(p, now_ns))
            give_up(s, p);
    }
    list_foreach_safe (it, &c->sent) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (past(p, now_ns))
            cluster_unknown(s, p, "the leader did not answer in time");
        else if (p->w->request_id.len && p->n_older < FORWARD_OLDER_MAX &&
                 p->sent_ns + again_ns(c) <= now_ns)
            send_again(s, p);
    }
    list_foreach_safe (it, &c->awaiting) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (past(p, now_ns))
            cluster_unknown(s, p, "it did not come back to this node in time");
    }
    list_foreach_safe (it, &s->in_log) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (past(p, now_ns))
            cluster_unknown(s, p, "no majority of the nodes took it in time");
    }
    list_foreach_safe (it, &c->reading) {
        struct barrier *b = container_of(it, struct barrier, node);
        if (b->deadline_ns > now_ns)
            continue;
        list_remove(&b->node);
        b->st = ST_UNAVAILABLE;
        env_event_set(&b->done);
    }
    cluster_changes_expire(s, now_ns);
}

static void fail_list(struct store *s, struct list *l, enum status st, const char *why)
{
    list_foreach_safe (it, l) {
        struct proposal *p = container_of(it, struct proposal, node);
        err_set(&p->err, st, "%s", why);
        cluster_answer(s, p, st);
    }
}

void cluster_fail_all(struct store *s, enum status st, const char *why)
{
    struct cluster *c = s->cluster;
    fail_list(s, &c->queued, st, why);
    fail_list(s, &c->refused, st, why);
    fail_list(s, &s->in_log, st, why);
    fail_list(s, &c->sent, st, why);
    fail_list(s, &c->awaiting, st, why);
    list_foreach_safe (it, &c->reading) {
        struct barrier *b = container_of(it, struct barrier, node);
        list_remove(&b->node);
        b->st = st;
        env_event_set(&b->done);
    }
    cluster_changes_fail(s, st);
}

/* Whether it is to be refused is to be seen again, here or elsewhere. */
static void judge_again(struct store *s, struct proposal *p)
{
    list_remove(&p->node);
    list_push_back(&s->cluster->queued, &p->node);
}

void cluster_refused(struct store *s, uint64_t id, bool ok)
{
    list_foreach_safe (it, &s->cluster->refused) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (p->read != id)
            continue;
        if (ok)
            cluster_answer(s, p, p->refused);
        else
            judge_again(s, p);
    }
}

void cluster_new_leader(struct store *s)
{
    struct cluster *c = s->cluster;
    list_foreach_safe (it, &c->refused)
        judge_again(s, container_of(it, struct proposal, node));
    list_foreach_safe (it, &c->sent) {
        struct proposal *p = container_of(it, struct proposal, node);
        const struct cluster_peer *to = cluster_peer(s, p->to_node);
        if (p->to_node == c->now.leader_store && p->term == c->now.term &&
            p->to_incarnation == to->incarnation)
            continue;
        if (p->w->request_id.len || PLANTED(UNKNOWN_TRIED_AGAIN))
            send_again(s, p);
        else
            cluster_unknown(s, p, "the leader was lost while it had the write");
    }
}

/* ---- a leader's part ---- */

/* A key that an entry under way writes, or a collection that one makes or drops: what holds of it is
 * not known before that is applied. */
static bool latched(struct store *s, const struct proposal *p)
{
    const struct latches *l = s->cluster->latches;
    const struct store_write *w = p->w;
    if (PLANTED(LATCHES_FORGOTTEN))
        return false;
    uint8_t id[STORE_ROUTE_BYTES + STORE_REQUEST_ID_MAX];
    if (w->request_id.len && w->request_id.len <= STORE_REQUEST_ID_MAX &&
        latches_has(l, request_key(w->request_id, id)))
        return true;
    for (size_t i = 0; i < w->n_requires; i++)
        if (latches_has(l, w->requires[i].key))
            return true;
    for (size_t i = 0; i < w->n_collections; i++) {
        const struct collection *c = w->collections[i];
        uint8_t key[STORE_ROUTE_BYTES + 2 + STORE_NAME_MAX];
        route_put(key, STORE_CATALOG_ID);
        struct bytes head = BYTES_LIT(CATALOG_COLLECTION);
        memcpy(key + STORE_ROUTE_BYTES, head.data, head.len);
        memcpy(key + STORE_ROUTE_BYTES + head.len, c->name, c->name_len);
        if (latches_has(l, BYTES(key, STORE_ROUTE_BYTES + head.len + c->name_len)))
            return true;
    }
    return false;
}

/* Of a wish for a moment: one to come is refused by the leader's clock, as by a store alone. */
static enum status check_moment(struct store *s, struct proposal *p, uint64_t now_ms)
{
    if (p->at_least == 0)
        return ST_OK;
    env_spin_lock(&s->clock_lock);
    bool future = p->at_least >> HLC_LOGICAL_BITS > now_ms && p->at_least > s->clock.last;
    env_spin_unlock(&s->clock_lock);
    return future ? store__in_future(p->at_least, now_ms, &p->err) : ST_OK;
}

/* It waits for a read that shows whether this still leads. */
static void refuse(struct store *s, struct proposal *p, enum status st)
{
    p->refused = st;
    p->read = 0;
    list_remove(&p->node);
    list_push_back(&s->cluster->refused, &p->node);
}

/* false: nothing more can be taken now. */
static bool take(struct store *s, struct view *v, struct proposal *p)
{
    struct cluster *c = s->cluster;
    uint64_t now_ms = env_now_ms(s->env);
    if (p->remote && !remote_is_of_term(p, c->now.term)) {
        cluster_lost(s, p);
        return true;
    }
    struct bytes gone = BYTES_EMPTY;
    bool there = !p->remote || remote_find_collections(s, p, &gone);
    if (latched(s, p))
        return true; /* it stays where it is */
    enum request_seen seen = store__request_seen(v, NULL, p, now_ms);
    if (seen != REQUEST_NEW) {
        p->index = s->range.applied; /* where it is, or behind */
        if (seen == REQUEST_DONE)
            cluster_answer(s, p, ST_OK);
        else
            cluster_not_done(s, p, p->st);
        return true;
    }
    enum status st = check_moment(s, p, now_ms);
    if (st == ST_OK && !there)
        st = err_set(&p->err, ST_CANCELLED, "collection %.*s was dropped meanwhile", (int)gone.len,
                     (const char *)gone.data);
    if (st == ST_OK && (p->w->n_requires || p->w->n_collections) &&
        !(PLANTED(FORWARDED_UNCHECKED) && p->remote))
        st = store__check_requires(v, NULL, p, now_ms);
    if (st == ST_PRECONDITION_FAILED || st == ST_CANCELLED) {
        refuse(s, p, st);
        return true;
    }
    if (st != ST_OK) {
        cluster_answer(s, p, st);
        return true;
    }
    struct version version = store__next_version(s, p->at_least, now_ms);
    struct bytes payload = BYTES(p->w->entry->data, p->w->entry->len);
    entry_stamp(p->w->entry, version);
    st = replica_propose(s->replica, payload, &p->index, &p->term);
    if (st == ST_OK) {
        p->w->version = version;
        latches_take(c->latches, payload);
        if (PLANTED(ANSWER_BEFORE_COMMIT) && !p->remote) {
            cluster_answer(s, p, ST_OK);
            return true;
        }
        list_remove(&p->node);
        list_push_back(&s->in_log, &p->node);
        return true;
    }
    if (st == ST_OVERLOADED || st == ST_PRECONDITION_FAILED)
        return false; /* until entries have been committed, or another one leads */
    err_set(&p->err, st, "the write cannot be proposed");
    cluster_answer(s, p, st);
    return true;
}

static void refuse_one(struct store *s, struct proposal *p, const struct err *why)
{
    if (p->number != 0) {
        cluster_unknown(s, p, why->detail);
        return;
    }
    p->err = *why;
    cluster_answer(s, p, why->status);
}

/* While the log takes nothing, or no table can be drained, neither does the leader take anything. */
static void refuse_all(struct store *s, const struct err *why)
{
    list_foreach_safe (it, &s->cluster->queued)
        refuse_one(s, container_of(it, struct proposal, node), why);
}

void cluster_drained(struct store *s, enum status st, const struct err *err)
{
    struct cluster *c = s->cluster;
    env_mutex_lock(&s->state_lock);
    if (st == ST_OK)
        err_init(&c->undrained);
    else
        c->undrained = *err;
    env_mutex_unlock(&s->state_lock);
}

/* Nobody waits in the drain itself, which would get no processor where there is none to spare. What
 * drains for room (checkpoint.c) ends a hurry, so it is told again. */
static void hurry(struct store *s, bool wanted)
{
    struct cluster *c = s->cluster;
    if (wanted || c->hurries)
        atomic_store_explicit(&s->hurry, wanted, memory_order_relaxed);
    c->hurries = wanted;
}

/* The tables are full: until one is drained writes wait, unless that has just failed. */
static void lack_room(struct store *s)
{
    env_mutex_lock(&s->state_lock);
    struct err why = s->cluster->undrained;
    env_mutex_unlock(&s->state_lock);
    if (why.status != ST_OK)
        refuse_all(s, &why);
    else
        hurry(s, true);
}

static void lead(struct store *s)
{
    struct cluster *c = s->cluster;
    if (c->stall.status != ST_OK) {
        refuse_all(s, &c->stall);
        return;
    }
    /* All that earlier leaders committed is applied once an entry of this term is. */
    if (s->range.term != c->now.term && !PLANTED(LEADS_BEFORE_APPLIED))
        return;
    if (latches_term(c->latches) != c->now.term)
        latches_reset(c->latches, c->now.term);
    if (!store__has_room(s)) {
        lack_room(s);
        return;
    }
    struct view *v = store__view(s);
    list_foreach_safe (it, &c->queued) {
        if (!take(s, v, container_of(it, struct proposal, node)))
            break;
    }
    view_unref(v);
}

static void follow(struct store *s)
{
    struct cluster *c = s->cluster;
    /* A node that is out would not see what became of its write. */
    bool may_send = c->now.leader != 0 && replica_belongs(s->replica);
    list_foreach_safe (it, &c->queued) {
        struct proposal *p = container_of(it, struct proposal, node);
        if (p->remote) {
            cluster_lost(s, p);
            continue;
        }
        if (c->stall.status != ST_OK) { /* nor would one whose log takes nothing */
            refuse_one(s, p, &c->stall);
            continue;
        }
        if (!may_send)
            continue;
        enum status st = cluster_forward(s, p);
        if (st == ST_UNAVAILABLE)
            continue;
        if (st != ST_OK) {
            err_set(&p->err, st,
                    st == ST_TOO_LARGE
                        ? "the write is over the limit of %d bytes with its conditions"
                        : "no memory to forward a write of at most %d bytes",
                    REPLICA_BUNDLE_MAX);
            cluster_not_done(s, p, st);
            continue;
        }
        list_remove(&p->node);
        list_push_back(&c->sent, &p->node);
    }
}

void cluster_write(struct store *s)
{
    struct cluster *c = s->cluster;
    raft_status(replica_raft(s->replica), &c->now);
    atomic_store(&c->term, c->now.term);
    atomic_store(&c->leader, c->now.leader_store);
    atomic_store(&c->commit, c->now.commit);
    bool leads = c->now.role == RAFT_LEADER;
    if (leads && !c->led)
        counter_add(c->m_elections, 1);
    c->led = leads;
    atomic_store(&c->uncommitted, leads ? c->now.last - c->now.commit : 0);
    if (c->role_dirty) {
        c->role_dirty = false;
        cluster_new_leader(s);
    }
    if (list_empty(&c->queued) || !leads || store__has_room(s))
        hurry(s, false);
    if (list_empty(&c->queued))
        return;
    if (leads)
        lead(s);
    else
        follow(s);
}
