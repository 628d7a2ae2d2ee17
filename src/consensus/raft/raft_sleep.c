/* raft_sleep.c - groups with nothing to do cost nothing.
 *
 * When a group has been idle, everybody reachable has everything and knows that it is committed, the
 * leader asks its peers to sleep, and sleeps itself when all agree. A sleeping replica has no timers;
 * what it relies on instead is that the other store lives, which one beat per pair of stores and
 * interval says for all groups. Silence, or a new incarnation or generation of the store, wakes
 * every group that relies on it; any message that says something wakes one.
 */
#include "consensus/raft/raft_internal.h"

static struct raft__link *link_find(struct raft_store *s, uint64_t store)
{
    for (size_t i = 0; i < s->n_links; i++)
        if (s->links[i].store == store)
            return &s->links[i];
    return NULL;
}

static struct raft__link *link_get(struct raft_store *s, uint64_t store)
{
    struct raft__link *k = link_find(s, store);
    if (k)
        return k;
    for (size_t i = 0; i < s->n_links && !k; i++)
        if (s->links[i].refs == 0)
            k = &s->links[i]; /* nobody needs what it knows */
    if (!k && s->n_links == s->cap_links) {
        size_t cap = s->cap_links ? s->cap_links * 2 : 8;
        struct raft__link *v = mem_realloc(s->links, cap * sizeof *v);
        if (!v)
            return NULL;
        s->links = v;
        s->cap_links = cap;
    }
    if (!k)
        k = &s->links[s->n_links++];
    *k = (struct raft__link){.store = store};
    return k;
}

static void unlink_peers(struct raft *r)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        if (!r->peers[i].relied)
            continue;
        struct raft__link *k = link_find(r->store, r->peers[i].store);
        ASSERT(k && k->refs > 0);
        k->refs--;
        r->peers[i].relied = false;
    }
}

static void fall_asleep(struct raft *r)
{
    r->asleep = true;
    r->sleeping = false;
    list_remove(&r->life_link);
    list_push_back(&r->store->asleep, &r->life_link);
    r->store->n_awake--;
    raft__log_shrink(r);
}

static void rise(struct raft *r)
{
    unlink_peers(r);
    r->asleep = false;
    list_remove(&r->life_link);
    list_push_back(&r->store->awake, &r->life_link);
    r->store->n_awake++;
}

void raft__wake(struct raft *r)
{
    r->sleeping = false;
    if (!r->asleep)
        return;
    rise(r);
    uint64_t now = r->store->now;
    r->idle_at = now;
    if (r->role == RAFT_LEADER) {
        r->hb_at = now;
        for (size_t i = 0; i < r->n_peers; i++) {
            struct raft__peer *p = &r->peers[i];
            p->active_at = p->progress_at = now;
            p->away = p->asleep_ack = false;
            p->hb_due = true;
        }
        raft__touch(r);
    } else {
        r->heard_at = now;
        raft__reset_timer(r);
    }
}

void raft__sleep_deinit(struct raft *r)
{
    if (!r->asleep)
        return;
    if (r->role == RAFT_LEADER)
        r->store->generation++; /* those who rely on it must not sleep on */
    rise(r);
}

/* The other store is silent, or another: whoever relied on it looks for itself. */
static void wake_all(struct raft_store *s, uint64_t store)
{
    list_foreach_safe (it, &s->asleep) {
        struct raft *r = container_of(it, struct raft, life_link);
        bool relies = false;
        for (size_t i = 0; i < r->n_peers; i++)
            relies = relies || (r->peers[i].store == store && r->peers[i].relied);
        if (!relies)
            continue;
        raft__wake(r);
        if (r->role == RAFT_LEADER)
            continue;
        /* Its time is over already; spread, so that a thousand groups do not rise as one. */
        r->heard_at = s->now > s->o.election_ms ? s->now - s->o.election_ms : 0;
        r->election_at = s->now + raft__random(s) % s->o.election_ms;
    }
}

void raft__links_heard(struct raft_store *s, struct raft__link *k, uint64_t incarnation,
                       uint64_t generation)
{
    bool newer = incarnation > k->incarnation ||
                 (incarnation == k->incarnation && generation > k->generation);
    if (incarnation < k->incarnation ||
        (incarnation == k->incarnation && generation < k->generation))
        return; /* from its past */
    k->heard_at = s->now;
    if (!newer)
        return;
    bool first = k->incarnation == 0; /* it was not known yet what to compare with */
    uint64_t store = k->store;
    k->incarnation = incarnation;
    k->generation = generation;
    if (k->refs && !first)
        wake_all(s, store);
}

/* The peer's store as it was when it said so; NULL: no memory, or that is past already. */
static struct raft__link *rely(struct raft_store *s, uint64_t store, uint64_t incarnation,
                               uint64_t generation)
{
    struct raft__link *k = link_get(s, store);
    if (!k)
        return NULL;
    raft__links_heard(s, k, incarnation, generation);
    return k->incarnation == incarnation && k->generation == generation ? k : NULL;
}

bool raft__try_sleep_follower(struct raft *r, const struct raft_msg *m)
{
    if (!(m->flags & RAFT_MSG_QUIESCE) || r->store->o.no_quiesce)
        return false;
    struct raft__peer *p = raft__peer(r, m->from);
    if (!p || p->store != m->from_store || r->verified != r->log.last || r->commit != r->log.last ||
        m->index != r->log.last || r->log.durable != r->log.last || r->apply_sent != r->commit ||
        r->in || r->n_bad || r->asked.n || r->waiting.n || !raft__hard_durable(r))
        return false;
    struct raft__link *k = rely(r->store, m->from_store, m->hint, m->offset);
    if (!k)
        return false;
    if (r->asleep)
        return true;
    k->refs++;
    p->relied = true;
    fall_asleep(r);
    return true;
}

static bool idle(struct raft *r)
{
    const struct raft_store *s = r->store;
    if (s->o.no_quiesce || s->now - r->idle_at < s->o.quiesce_ms || r->commit != r->log.last ||
        r->applied != r->commit || r->log.durable != r->log.last || r->rounds.n || r->waiting.n ||
        r->transfer_to || r->resign || r->out || r->n_bad || r->conf_index > r->commit ||
        raft_conf_joint(&r->conf) || r->commit < r->term_start)
        return false;
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        if (p->replica == r->id)
            continue;
        p->away = s->now - p->active_at >= s->o.election_ms;
        if (!p->away && (p->match != r->log.last || p->state != RAFT_REPLICATE))
            return false;
    }
    return true;
}

void raft__sleep_answer(struct raft *r, struct raft__peer *p, bool asleep)
{
    p->asleep_ack = asleep && r->sleeping;
}

static bool rely_on_peers(struct raft *r)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        if (p->replica == r->id || p->away)
            continue;
        struct raft__link *k = link_get(r->store, p->store);
        if (!k) { /* no memory: stay awake */
            unlink_peers(r);
            return false;
        }
        if (k->refs++ == 0)
            k->heard_at = r->store->now;
        p->relied = true;
    }
    return true;
}

void raft__tick_sleep(struct raft *r)
{
    if (r->role != RAFT_LEADER || !idle(r)) {
        r->sleeping = false;
        return;
    }
    bool all = r->sleeping || r->n_peers == 1;
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        if (p->replica == r->id)
            continue;
        if (!r->sleeping) {
            p->asleep_ack = false;
            p->hb_due = true;
            raft__touch(r);
        }
        all = all && (p->asleep_ack || p->away);
    }
    r->sleeping = true;
    if (all && !r->is_ready && rely_on_peers(r))
        fall_asleep(r);
}

void raft__links_tick(struct raft_store *s)
{
    for (size_t i = 0; i < s->n_links; i++) {
        struct raft__link *k = &s->links[i];
        if (k->refs && s->now - k->heard_at >= s->o.election_ms)
            wake_all(s, k->store);
    }
}

size_t raft_store_beats(struct raft_store *s, struct raft_beat *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_links && n < max; i++) {
        struct raft__link *k = &s->links[i];
        if (k->refs == 0 || s->now < k->beat_at)
            continue;
        k->beat_at = s->now + s->o.heartbeat_ms;
        out[n++] = (struct raft_beat){s->o.store, k->store, s->o.incarnation, s->generation};
    }
    return n;
}

enum status raft_store_beat(struct raft_store *s, const struct raft_beat *b)
{
    if (b->to_store != s->o.store || b->from_store == s->o.store)
        return ST_PRECONDITION_FAILED;
    struct raft__link *k = link_find(s, b->from_store);
    if (k)
        raft__links_heard(s, k, b->incarnation, b->generation);
    return ST_OK;
}
