/* raft_update.c - all that follows from the inputs, as one value; and the completions.
 *
 * The order that makes it safe: a ticket covers everything handed out up to it; messages that tell of
 * term, vote or stored entries wait for it; a leader's appends do not, because the leader counts its
 * own copy only when its ticket is done.
 */
#include "consensus/raft/raft_internal.h"

#include "base/buggify.h"
#include "base/planted.h"

enum { GATHER_MAX = 64, NODES_MAX = 256 };

/* ---- the parts of an update ---- */

/* An answer to a peer's repair gets its entry now. False: not yet. */
static bool fill_repair(struct raft *r, struct raft_msg *m, struct raft_entry *room)
{
    size_t n;
    const struct raft_entry *e = raft__readable(r, m->index, &n);
    if (e && e->term == m->log_term) {
        *room = *e;
        m->entries = room;
        m->n_entries = 1;
        return true;
    }
    bool tried = m->offset != 0;
    if (r->fetch.id ||
        (!tried && raft__term_at(&r->log, m->index) == m->log_term && !raft__is_bad(r, m->index))) {
        if (!r->fetch.id)
            raft__want_fetch(r, m->index, m->index);
        m->offset = 1;
        return false;
    }
    m->flags = RAFT_MSG_REJECT;
    m->offset = 0;
    return true;
}

/* Moves queued messages: those that may leave at once to `now`, the others to `after`. */
struct sorted {
    struct raft_msg *now, *after;
    struct raft_entry *room; /* for repairs that are sent */
    size_t n_room;
    size_t n_now, n_after, max;
    bool take_after, after_is_now, more;
};

static bool take_node(struct raft *r, struct sorted *o, struct raft__node *n)
{
    if (n->after && n->m.term < r->term)
        return true; /* an answer of the past; nobody misses it */
    if (n->after && !o->take_after)
        return false;
    bool now = !n->after || o->after_is_now;
    if ((now ? o->n_now : o->n_after) == o->max)
        return false;
    if (n->m.type == RAFT_MSG_REPAIR_RESP && !(n->m.flags & RAFT_MSG_REJECT)) {
        if (!fill_repair(r, &n->m, &o->room[o->n_room]))
            return false;
        o->n_room += n->m.n_entries;
    }
    if (now)
        o->now[o->n_now++] = n->m;
    else
        o->after[o->n_after++] = n->m;
    return true;
}

static void sort_nodes(struct raft *r, struct sorted *o)
{
    struct raft__node **at = &r->out_first;
    while (*at) {
        struct raft__node *n = *at;
        if (!take_node(r, o, n)) {
            o->more = o->more || n->m.type != RAFT_MSG_REPAIR_RESP;
            at = &n->next;
            continue;
        }
        *at = n->next;
        r->n_out--;
        raft__node_put(r->store, n);
    }
    r->out_last = at;
}

static bool prepare(struct raft *r, struct sorted *o)
{
    size_t max = r->n_out < NODES_MAX ? r->n_out : NODES_MAX;
    size_t lead = r->role == RAFT_LEADER ? GATHER_MAX : 0;
    o->max = max;
    /* Two runs of the largest message: 64 KiB holds them. */
    o->after = max ? raft__scratch_get(r->store, max * sizeof *o->after) : NULL;
    o->room = max ? raft__scratch_get(r->store, max * sizeof *o->room) : NULL;
    o->now = max + lead ? raft__scratch_get(r->store, (max + lead) * sizeof *o->now) : NULL;
    return (o->now || max + lead == 0) && ((o->after && o->room) || max == 0);
}

static void emit_durable(struct raft *r, struct raft_update *u, const struct sorted *o)
{
    struct raft__log *l = &r->log;
    size_t n = 0;
    if (l->emitted < l->last) {
        u->entries = raft__cached(l, l->emitted + 1, &n);
        ASSERT(u->entries && u->entries[n - 1].index == l->last);
        u->n_entries = n;
        l->emitted = l->last;
    }
    if (r->n_repaired == 1) {
        u->repaired = &r->repaired;
        u->n_repaired = 1;
        r->n_repaired = 2;
        r->mending_ticket = r->last_ticket + 1;
    }
    if (!r->hs_dirty && !u->n_entries && !u->n_repaired && o->n_after == 0)
        return;
    u->ticket = ++r->last_ticket;
    if (r->hs_dirty) {
        u->hard_changed = true;
        r->hs_dirty = false;
        r->hs_ticket = u->ticket;
    }
    ASSERT(r->t_n < r->store->o.max_tickets);
    r->tickets[(r->t_head + r->t_n++) % r->store->o.max_tickets] =
        (struct raft__ticket){u->ticket, l->emitted};
}

static void emit_committed(struct raft *r, struct raft_update *u, bool *more)
{
    const struct raft__log *l = &r->log;
    uint64_t to = r->commit;
    if (!r->store->o.apply_unsynced && to > l->durable)
        to = l->durable;
    if (r->apply_sent >= to || (r->in && r->in->install) || raft__is_bad(r, r->apply_sent + 1))
        return;
    size_t n, bytes = 0, i = 0;
    const struct raft_entry *e = raft__readable(r, r->apply_sent + 1, &n);
    if (!e) {
        raft__want_fetch(r, r->apply_sent + 1, to);
        return;
    }
    if (n > to - r->apply_sent)
        n = (size_t)(to - r->apply_sent);
    while (i < n && (i == 0 || bytes + e[i].payload.len <= r->store->o.max_apply_bytes))
        bytes += e[i++].payload.len;
    if (i > 1 && BUGGIFY("raft: one entry is applied at a time"))
        i = 1;
    u->committed = e;
    u->n_committed = i;
    r->apply_sent += i;
    *more = *more || r->apply_sent < to;
}

static void describe(struct raft *r, struct raft_update *u)
{
    u->hard =
        (struct raft_hard_state){r->term, PLANTED(VOTE_NOT_PERSISTED) ? 0 : r->vote, r->commit};
    u->role_changed = r->role_dirty;
    r->role_dirty = false;
    u->role = r->role;
    u->term = r->term;
    u->leader = r->leader;
    u->commit = r->commit;
    u->reads = r->done_reads;
    u->n_reads = r->n_done;
    if (r->fetch.id && !r->fetch_shown) {
        u->fetch = r->fetch;
        r->fetch_shown = true;
    }
}

static bool says_something(const struct raft_update *u)
{
    return u->ticket || u->n_now || u->n_after || u->n_committed || u->n_reads || u->role_changed ||
           u->fetch.id || u->want_snapshot || u->drop_snapshot || u->want_chunk.id ||
           u->chunk.snapshot || u->install;
}

bool raft_update(struct raft *r, struct raft_update *ret)
{
    ASSERT(!r->busy && r->started);
    struct raft_update u = {0};
    struct sorted o = {.take_after = r->t_n < r->store->o.max_tickets};
    bool gather_more = false;
    if (r->is_ready) {
        list_remove(&r->ready_link);
        r->is_ready = false;
    }
    r->busy = true; /* nothing of it is evicted, and it is not queued again, until raft_done */
    raft__reads_check(r);
    raft__reads_ask(r);
    if (!prepare(r, &o)) { /* the next tick tries again */
        r->busy = false;
        r->retry = true;
        return false;
    }
    /* With everything durable that was ever handed out, and nothing new, there is nothing to wait
     * for. */
    o.after_is_now =
        raft__hard_durable(r) && r->t_n == 0 && r->log.emitted == r->log.last && r->n_repaired == 0;
    sort_nodes(r, &o);
    if (o.take_after)
        emit_durable(r, &u, &o);
    size_t extra = o.now ? raft__gather(r, o.now + o.n_now, GATHER_MAX, &gather_more) : 0;
    if (o.now)
        raft__scratch_trim(r->store, o.now + o.n_now + extra);
    u.now = o.now;
    u.n_now = o.n_now + extra;
    u.after = o.after;
    u.n_after = o.n_after;
    bool more = gather_more || (o.more && o.take_after);
    emit_committed(r, &u, &more);
    raft__snap_update(r, &u);
    describe(r, &u);
    r->more = more;
    r->busy = false;
    if (!says_something(&u)) {
        raft__fetched_drop(r);
        return false;
    }
    r->busy = true;
    r->store->updates_out++;
    *ret = u;
    return true;
}

void raft_done(struct raft *r)
{
    struct raft_store *s = r->store;
    ASSERT(r->busy && s->updates_out > 0);
    r->busy = false;
    if (--s->updates_out == 0)
        s->scratch.at = s->scratch.used = 0;
    r->n_done = 0;
    raft__fetched_drop(r);
    if (r->resign && r->role == RAFT_LEADER && !r->more)
        raft__become_follower(r, r->term, 0, 0);
    if (r->role == RAFT_LEADER)
        raft__drop_sent(r);
    if (r->more)
        raft__touch(r);
}

/* ---- completions ---- */

void raft_appended(struct raft *r, uint64_t ticket)
{
    ASSERT(ticket <= r->last_ticket && !r->busy);
    if (ticket <= r->done_ticket)
        return;
    r->done_ticket = ticket;
    while (r->t_n && r->tickets[r->t_head].id <= ticket) {
        uint64_t index = r->tickets[r->t_head].index;
        if (index > r->log.durable)
            r->log.durable = index;
        r->t_head = (r->t_head + 1) % r->store->o.max_tickets;
        r->t_n--;
    }
    ASSERT(r->log.durable <= r->log.emitted);
    raft__mended(r);
    raft__count_own_vote(r);
    raft__maybe_commit(r);
    raft__touch(r);
}

enum status raft_withdraw(struct raft *r)
{
    ASSERT(!r->busy);
    if (r->n_peers != 1 || r->conf.n != 1)
        return ST_PRECONDITION_FAILED;
    if (r->hs_ticket > r->done_ticket)
        r->hs_dirty = true;
    r->done_ticket = r->last_ticket; /* nobody answers them any more */
    r->t_head = r->t_n = 0;
    if (r->log.last > r->log.durable)
        raft__log_truncate(r, r->log.durable + 1);
    r->uncommitted = 0;
    return ST_OK;
}

void raft_applied(struct raft *r, uint64_t index)
{
    if (index > r->apply_sent)
        index = r->apply_sent;
    if (index <= r->applied)
        return;
    r->applied = index;
    raft__reads_applied(r);
}

void raft__fetched_drop(struct raft *r)
{
    r->fetched = NULL;
    r->n_fetched = 0;
}

static bool fetched_valid(const struct raft *r, const struct raft_entry *e, size_t n, uint64_t from)
{
    for (size_t i = 0; i < n; i++)
        if (e[i].index != from + i || e[i].index > r->log.last ||
            raft__term_at(&r->log, e[i].index) != e[i].term || e[i].kind < RAFT_ENTRY_DATA ||
            e[i].kind > RAFT_ENTRY_CONF)
            return false;
    return true;
}

/* Peers that need what cannot be read get a snapshot; what is to be applied comes from peers. */
static void unreadable(struct raft *r, uint64_t from)
{
    for (size_t i = 0; r->role == RAFT_LEADER && i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        if (p->replica != r->id && p->state == RAFT_REPLICATE && p->next >= from &&
            p->next < raft__cached_from(&r->log) && from <= r->applied)
            raft__snap_start(r, p);
    }
    if (from > r->apply_sent && raft__term_at(&r->log, from))
        (void)raft__add_bad(r, raft__term_at(&r->log, from), from);
}

void raft_fetched(struct raft *r, uint64_t id, enum status st, const struct raft_entry *entries,
                  size_t n)
{
    ASSERT(!r->busy);
    if (id == 0 || id != r->fetch.id)
        return;
    uint64_t from = r->fetch.from;
    r->fetch = (struct raft_fetch){0};
    raft__touch(r);
    r->retry = true;
    if (from <= r->log.compacted)
        return; /* compacted meanwhile */
    if ((st == ST_OK || st == ST_CORRUPT) && !fetched_valid(r, entries, n, from)) {
        r->fetch_at = r->store->now + r->store->o.heartbeat_ms; /* truncated meanwhile, or wrong */
        return;
    }
    if ((st == ST_OK || st == ST_CORRUPT) && n > 0) {
        r->fetched = entries;
        r->n_fetched = n;
    }
    if (st == ST_CORRUPT && raft__term_at(&r->log, from + n)) {
        if (raft__add_bad(r, raft__term_at(&r->log, from + n), from + n) != ST_OK)
            r->fetch_at = r->store->now + r->store->o.heartbeat_ms;
    } else if (st == ST_NOT_FOUND || (st == ST_OK && n == 0)) {
        unreadable(r, from);
        r->fetch_at = r->store->now + r->store->o.heartbeat_ms;
    } else if (st != ST_OK) {
        r->fetch_at = r->store->now + r->store->o.heartbeat_ms;
    }
}

void raft__drop_sent(struct raft *r)
{
    uint64_t low = r->apply_sent;
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].replica != r->id && r->peers[i].match < low)
            low = r->peers[i].match;
    if (r->log.count && r->log.entries[r->log.head].index <= low)
        (void)raft__log_evict(r, low, SIZE_MAX);
}
