/* raft.c - a replica's life: made from what was durable, started, looked at, freed. */
#include "consensus/raft/raft_internal.h"

static enum status check_init(const struct raft_init *i, struct err *err)
{
    const char *what = NULL;
    if (i->group == 0)
        what = "group is 0";
    else if (i->replica == 0)
        what = "replica is 0";
    else if (i->applied < i->compacted)
        what = "applied lies before compacted";
    else if ((i->compacted == 0) != (i->compacted_term == 0))
        what = "compacted_term does not fit compacted";
    else if (i->hard.term < i->compacted_term)
        what = "hard.term lies before compacted_term";
    else if (i->alone && (i->conf.n != 1 || i->conf.member[0].replica != i->replica ||
                          !(i->conf.member[0].flags & RAFT_VOTER) || i->hard.term == 0))
        what = "alone is not for this configuration or term";
    if (what)
        return err_set(err, ST_INVALID_ARGUMENT, "raft: %s", what);
    return raft__conf_check(&i->conf, err);
}

enum status raft_new(struct raft_store *s, const struct raft_init *init, struct raft **ret,
                     struct err *err)
{
    enum status st = check_init(init, err);
    if (st != ST_OK)
        return st;
    struct raft *r = mem_zalloc(sizeof *r);
    struct raft__ticket *t = mem_alloc(s->o.max_tickets * sizeof *t);
    if (!r || !t) {
        mem_free(r);
        mem_free(t);
        return err_set(err, ST_NO_MEMORY, "raft: group %llu", (unsigned long long)init->group);
    }
    r->store = s;
    r->user = init->user;
    r->group = init->group;
    r->id = init->replica;
    r->tickets = t;
    r->alone = init->alone;
    r->waits = init->waits;
    r->out_last = &r->out_first;
    r->term = init->hard.term;
    r->vote = init->hard.vote;
    r->commit = init->hard.commit > init->applied ? init->hard.commit : init->applied;
    r->applied = r->apply_sent = init->applied;
    r->log.compacted = r->log.last = r->log.emitted = r->log.durable = init->compacted;
    r->log.compacted_term = init->compacted_term;
    r->ask_no = r->ask_first = s->o.incarnation << 32; /* its lower half */
    r->round = r->round_done = s->o.incarnation << 32;
    if (raft__peers_reserve(r, init->conf.n) != ST_OK) {
        mem_free(r);
        mem_free(t);
        return err_set(err, ST_NO_MEMORY, "raft: peers of group %llu",
                       (unsigned long long)init->group);
    }
    r->conf = r->prev = init->conf;
    r->conf_index = r->prev_index = init->applied;
    raft__use_conf(r, &r->conf);
    list_init(&r->ready_link);
    list_init(&r->cache_link);
    list_push_back(&s->awake, &r->life_link);
    s->n_groups++;
    s->n_awake++;
    *ret = r;
    return ST_OK;
}

void raft_free(struct raft *r)
{
    if (!r)
        return;
    ASSERT(!r->busy);
    raft__sleep_deinit(r);
    while (r->out_first) {
        struct raft__node *n = r->out_first;
        r->out_first = n->next;
        raft__node_put(r->store, n);
    }
    if (r->out)
        raft__block_put(r->store, r->out->chunk);
    mem_free(r->out);
    if (r->in)
        raft__block_put(r->store, r->in->chunk);
    mem_free(r->in);
    raft__block_put(r->store, r->repaired_block);
    raft__log_deinit(r);
    raft__reads_deinit(r);
    list_remove(&r->ready_link);
    list_remove(&r->life_link);
    r->store->n_groups--;
    r->store->n_awake--;
    mem_free(r->tickets);
    mem_free(r->peers);
    mem_free(r);
}

void *raft_user(const struct raft *r)
{
    return r->user;
}

/* An entry at the end of the recovered log, after what it voids has gone. */
static enum status make_place(struct raft *r, uint64_t term, uint64_t index, struct err *err)
{
    const struct raft__log *l = &r->log;
    if (index <= l->last && (index <= r->applied || index <= r->prev_index))
        return err_set(
            err, ST_CORRUPT, "group %llu: entry %llu of term %llu contradicts what is applied",
            (unsigned long long)r->group, (unsigned long long)index, (unsigned long long)term);
    if (index > l->last + 1 || term == 0 ||
        (index > l->compacted + 1 && term < raft__term_at(l, index - 1)) ||
        (index == l->compacted + 1 && term < l->compacted_term))
        return err_set(err, ST_CORRUPT,
                       "group %llu: entry %llu of term %llu does not follow %llu of term %llu",
                       (unsigned long long)r->group, (unsigned long long)index,
                       (unsigned long long)term, (unsigned long long)l->last,
                       (unsigned long long)raft__last_term(l));
    if (index <= l->last) {
        /* The commit index on disk may be newer than the entry that is void: it is of what follows. */
        uint64_t commit = r->commit;
        r->commit = index - 1 < commit ? index - 1 : commit;
        raft__log_truncate(r, index);
        r->commit = commit;
    }
    return ST_OK;
}

static void loaded(struct raft *r)
{
    r->log.durable = r->log.emitted = r->log.last;
}

static enum status no_memory(const struct raft *r, enum status st, struct err *err)
{
    return err_set(err, st, "group %llu: loading its log", (unsigned long long)r->group);
}

enum status raft_load(struct raft *r, const struct raft_entry *e, struct err *err)
{
    ASSERT(!r->started);
    struct raft_conf c;
    if (e->index <= r->log.compacted)
        return ST_OK;
    if (e->kind < RAFT_ENTRY_DATA || e->kind > RAFT_ENTRY_CONF ||
        (e->kind == RAFT_ENTRY_CONF && raft_conf_decode(e->payload, &c, NULL) != ST_OK))
        return err_set(err, ST_CORRUPT, "group %llu: entry %llu is malformed",
                       (unsigned long long)r->group, (unsigned long long)e->index);
    if (raft__term_at(&r->log, e->index) == e->term && e->index <= r->log.last) {
        /* Written again in place: it was repaired. */
        raft__drop_bad(r, e->index, e->index);
        if (e->kind == RAFT_ENTRY_CONF && e->index > r->conf_index)
            return raft__set_conf(r, &c, e->index) == ST_OK ? ST_OK
                                                            : no_memory(r, ST_NO_MEMORY, err);
        return ST_OK;
    }
    enum status st = make_place(r, e->term, e->index, err);
    if (st != ST_OK)
        return st;
    if (e->kind == RAFT_ENTRY_CONF && raft__peers_reserve(r, c.n) != ST_OK)
        return no_memory(r, ST_NO_MEMORY, err);
    st = raft__log_append(r, e->term, e->kind, e->payload, true, false);
    if (st == ST_OVERLOADED)
        st = raft__log_append(r, e->term, e->kind, e->payload, false, false);
    if (st == ST_OK && e->kind == RAFT_ENTRY_CONF && e->index > r->applied)
        st = raft__set_conf(r, &c, e->index);
    if (st != ST_OK)
        return no_memory(r, st, err);
    loaded(r);
    return ST_OK;
}

enum status raft_load_term(struct raft *r, uint64_t term, uint64_t index, struct err *err)
{
    ASSERT(!r->started);
    if (index <= r->log.compacted)
        return ST_OK;
    enum status st = make_place(r, term, index, err);
    if (st != ST_OK)
        return st;
    st = raft__log_append(r, term, RAFT_ENTRY_DATA, BYTES_EMPTY, false, false);
    if (st != ST_OK)
        return no_memory(r, st, err);
    loaded(r);
    return ST_OK;
}

enum status raft_load_bad(struct raft *r, uint64_t term, uint64_t index, struct err *err)
{
    ASSERT(!r->started);
    if (index <= r->log.compacted)
        return ST_OK;
    enum status st = ST_OK;
    if (index > r->log.last || raft__term_at(&r->log, index) != term) {
        if (r->n_bad == RAFT_BAD_MAX)
            return err_set(err, ST_TOO_LARGE, "group %llu: more than %d rotten entries",
                           (unsigned long long)r->group, RAFT_BAD_MAX);
        st = make_place(r, term, index, err);
        if (st != ST_OK)
            return st;
        st = raft__log_append(r, term, RAFT_ENTRY_DATA, BYTES_EMPTY, false, false);
        if (st != ST_OK)
            return no_memory(r, st, err);
        loaded(r);
    }
    if (raft__add_bad(r, term, index) != ST_OK)
        return err_set(err, ST_TOO_LARGE, "group %llu: more than %d rotten entries",
                       (unsigned long long)r->group, RAFT_BAD_MAX);
    return ST_OK;
}

enum status raft_start(struct raft *r, struct err *err)
{
    ASSERT(!r->started);
    if (r->commit > r->log.last)
        return err_set(err, ST_CORRUPT,
                       "group %llu: the log ends at %llu, %llu is known to be committed",
                       (unsigned long long)r->group, (unsigned long long)r->log.last,
                       (unsigned long long)r->commit);
    if (r->term < raft__last_term(&r->log))
        return err_set(err, ST_CORRUPT, "group %llu: term %llu lies before that of the log, %llu",
                       (unsigned long long)r->group, (unsigned long long)r->term,
                       (unsigned long long)raft__last_term(&r->log));
    if (r->alone && (r->applied != r->log.last || r->conf.n != 1))
        return err_set(err, ST_CORRUPT, "group %llu: alone, and its log goes on behind %llu",
                       (unsigned long long)r->group, (unsigned long long)r->applied);
    r->started = true;
    r->role_dirty = true;
    raft__draw_timeout(r);
    raft__reset_timer(r);
    /* Nobody to wait for. */
    if (r->alone)
        raft__lead_alone(r);
    else if (r->conf.n == 1 && raft__may_vote(r) && raft__first_bad(r) == UINT64_MAX)
        raft__start_election(r, false);
    raft__touch(r);
    return ST_OK;
}

const char *raft_role_name(enum raft_role role)
{
    switch (role) {
    case RAFT_FOLLOWER:
        return "follower";
    case RAFT_PRECANDIDATE:
        return "precandidate";
    case RAFT_CANDIDATE:
        return "candidate";
    case RAFT_LEADER:
        return "leader";
    }
    return "unknown";
}

uint64_t raft_term_at(const struct raft *r, uint64_t index)
{
    return raft__term_at(&r->log, index);
}

const struct raft_entry *raft_entry_at(const struct raft *r, uint64_t index)
{
    size_t n;
    return raft__cached(&r->log, index, &n);
}

size_t raft_memory_bytes(const struct raft *r)
{
    size_t n = sizeof *r + r->store->o.max_tickets * sizeof *r->tickets +
               r->cap_peers * sizeof *r->peers + r->log.cap_runs * sizeof *r->log.runs +
               r->log.cap * (sizeof *r->log.entries + sizeof(struct raft__block *)) +
               (r->rounds.cap + r->asked.cap + r->waiting.cap) * sizeof(struct raft__ask) +
               r->cap_done * sizeof *r->done_reads;
    const struct raft__block *last = NULL;
    for (size_t i = 0; i < r->log.count; i++) {
        const struct raft__block *b = r->log.blocks[r->log.head + i];
        if (b && b != last)
            n += sizeof *b + b->size;
        last = b ? b : last;
    }
    return n + (r->out ? sizeof *r->out : 0) + (r->in ? sizeof *r->in : 0);
}

void raft_status(const struct raft *r, struct raft_status *ret)
{
    *ret = (struct raft_status){
        .group = r->group,
        .replica = r->id,
        .term = r->term,
        .vote = r->vote,
        .leader = r->leader,
        .leader_store = r->leader ? r->leader_store : 0,
        .commit = r->commit,
        .applied = r->applied,
        .compacted = r->log.compacted,
        .last = r->log.last,
        .last_term = raft__last_term(&r->log),
        .durable = r->log.durable,
        .uncommitted_bytes = r->uncommitted,
        .bad = r->n_bad,
        .role = r->role,
        .asleep = r->asleep,
        .transferring = r->transfer_to != 0,
        .conf_index = r->conf_index,
    };
}

/* While the group sleeps nobody is heard of: its store's beats stand for a peer that sleeps too. */
static bool is_active(const struct raft *r, const struct raft__peer *p)
{
    return r->asleep ? !p->away : r->store->now - p->active_at < r->store->o.election_ms;
}

size_t raft_peers(const struct raft *r, struct raft_peer_status *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; r->role == RAFT_LEADER && i < r->n_peers && n < max; i++) {
        const struct raft__peer *p = &r->peers[i];
        if (p->replica != r->id)
            out[n++] = (struct raft_peer_status){
                .replica = p->replica,
                .store = p->store,
                .match = p->match,
                .next = p->next,
                .flags = p->flags,
                .state = p->state,
                .active = is_active(r, p),
            };
    }
    return n;
}

uint64_t raft_compact_hint(const struct raft *r)
{
    uint64_t low = r->applied;
    for (size_t i = 0; r->role == RAFT_LEADER && i < r->n_peers; i++) {
        const struct raft__peer *p = &r->peers[i];
        if (p->replica != r->id && is_active(r, p) && p->state != RAFT_SNAPSHOT && p->match < low)
            low = p->match;
    }
    return low;
}
