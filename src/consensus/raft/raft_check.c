/* raft_check.c - the invariants of Raft (dissertation, figure 3.2), held over a set of replicas.
 *
 * Log matching is checked by what it comes down to: an entry of a given index and term has one
 * content and one predecessor wherever it is seen. Each step only looks at what changed since.
 */
#include "base/hash.h"
#include "consensus/raft/raft_internal.h"

struct seen_entry { /* slot of a hash map; term 0: empty */
    uint64_t index, term, prev_term, hash;
};
struct seen_replica {
    uint64_t replica, term, vote, commit, base, last; /* terms[] holds (base, last] */
    uint64_t leads;                                   /* in which term, 0: it does not */
    uint64_t *terms;
    size_t cap;
};
struct seen_leader {
    uint64_t term, replica;
};
struct seen_commit {
    uint64_t term;    /* of the entry; 0: not seen */
    uint64_t by_term; /* in which it was committed at the latest: every later leader has it */
};

struct raft_checker {
    struct seen_entry *map;
    size_t n_map, cap_map;
    struct seen_commit *committed; /* by index, from 0 */
    size_t n_committed, cap_committed;
    struct seen_replica *replicas;
    size_t n_replicas, cap_replicas;
    struct seen_leader *leaders;
    size_t n_leaders, cap_leaders;
};

enum status raft_checker_new(struct raft_checker **ret)
{
    struct raft_checker *c = mem_zalloc(sizeof *c);
    if (!c)
        return ST_NO_MEMORY;
    *ret = c;
    return ST_OK;
}

void raft_checker_free(struct raft_checker *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n_replicas; i++)
        mem_free(c->replicas[i].terms);
    mem_free(c->map);
    mem_free(c->committed);
    mem_free(c->replicas);
    mem_free(c->leaders);
    mem_free(c);
}

static void *grown(void *v, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap)
        return v;
    size_t n = *cap ? *cap : 16;
    while (n < need)
        n *= 2;
    void *p = mem_realloc(v, n * size);
    if (p)
        *cap = n;
    return p;
}

static struct seen_entry *slot_of(struct seen_entry *map, size_t cap, uint64_t index, uint64_t term)
{
    uint64_t key[2] = {index, term};
    size_t at = (size_t)hash_xxh64(key, sizeof key, 0) & (cap - 1);
    while (map[at].term && (map[at].index != index || map[at].term != term))
        at = (at + 1) & (cap - 1);
    return &map[at];
}

static enum status grow_map(struct raft_checker *c)
{
    if ((c->n_map + 1) * 2 <= c->cap_map)
        return ST_OK;
    size_t cap = c->cap_map ? c->cap_map * 2 : 256;
    struct seen_entry *map = mem_zalloc(cap * sizeof *map);
    if (!map)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < c->cap_map; i++)
        if (c->map[i].term)
            *slot_of(map, cap, c->map[i].index, c->map[i].term) = c->map[i];
    mem_free(c->map);
    c->map = map;
    c->cap_map = cap;
    return ST_OK;
}

#define BROKEN(err, r, what, ...)                                                                  \
    err_set(err, ST_INTERNAL, "group %llu replica %llu: " what, (unsigned long long)(r)->group,    \
            (unsigned long long)(r)->id, __VA_ARGS__)
typedef unsigned long long ull;

/* 0 stands for a payload that is not in memory. */
static uint64_t hash_of(const struct raft *r, uint64_t index)
{
    const struct raft_entry *e = raft_entry_at(r, index);
    return e ? hash_xxh64(e->payload.data, e->payload.len, e->kind) | 1 : 0;
}

static enum status check_entry(struct raft_checker *c, const struct raft *r, uint64_t index,
                               struct err *err)
{
    uint64_t term = raft_term_at(r, index), prev = raft_term_at(r, index - 1);
    enum status st = grow_map(c);
    if (st != ST_OK)
        return st;
    uint64_t hash = hash_of(r, index);
    const struct raft_entry *e = raft_entry_at(r, index);
    if (e && e->kind == RAFT_ENTRY_CONF && index > r->conf_index)
        return BROKEN(err, r, "the configuration at %llu is not in force", (ull)index);
    struct seen_entry *s = slot_of(c->map, c->cap_map, index, term);
    if (term < prev || term == 0)
        return BROKEN(err, r, "terms fall at index %llu", (ull)index);
    if (!s->term) {
        *s = (struct seen_entry){index, term, prev, hash};
        c->n_map++;
        return ST_OK;
    }
    if (s->prev_term != prev || (s->hash && hash && s->hash != hash))
        return BROKEN(err, r, "log matching: entry %llu of term %llu is another elsewhere",
                      (ull)index, (ull)term);
    if (!s->hash)
        s->hash = hash;
    return ST_OK;
}

static struct seen_replica *replica_of(struct raft_checker *c, uint64_t replica)
{
    for (size_t i = 0; i < c->n_replicas; i++)
        if (c->replicas[i].replica == replica)
            return &c->replicas[i];
    void *v = grown(c->replicas, &c->cap_replicas, c->n_replicas + 1, sizeof *c->replicas);
    if (!v)
        return NULL;
    c->replicas = v;
    c->replicas[c->n_replicas] = (struct seen_replica){.replica = replica};
    return &c->replicas[c->n_replicas++];
}

static enum status check_log(struct raft_checker *c, struct seen_replica *s, const struct raft *r,
                             struct err *err)
{
    uint64_t from = r->log.compacted, to = r->log.last < s->last ? r->log.last : s->last;
    /* Equal at an index: equal up to it, or an earlier step was wrong already. */
    while (to > from && to > s->base && s->terms[to - s->base - 1] != raft_term_at(r, to))
        to--;
    if (to < from || to < s->base)
        to = from;
    for (uint64_t i = to + 1; i <= r->log.last; i++) {
        enum status st = check_entry(c, r, i, err);
        if (st != ST_OK)
            return st;
    }
    size_t n = (size_t)(r->log.last - from);
    void *v = grown(s->terms, &s->cap, n ? n : 1, sizeof *s->terms);
    if (!v)
        return ST_NO_MEMORY;
    s->terms = v;
    if (from != s->base || to == from) {
        to = from; /* it slid: fill anew */
    }
    for (uint64_t i = to + 1; i <= r->log.last; i++)
        s->terms[i - from - 1] = raft_term_at(r, i);
    s->base = from;
    s->last = r->log.last;
    return ST_OK;
}

static enum status check_commit(struct raft_checker *c, struct seen_replica *s,
                                const struct raft *r, struct err *err)
{
    if (r->commit < s->commit)
        return BROKEN(err, r, "commit fell from %llu to %llu", (ull)s->commit, (ull)r->commit);
    /* What a leader commits is of its term, and what lies before with it (3.6.2). */
    if (r->role == RAFT_LEADER && s->leads == r->term && r->commit > s->commit &&
        raft_term_at(r, r->commit) != r->term)
        return BROKEN(err, r, "%llu of term %llu is committed by counting in term %llu",
                      (ull)r->commit, (ull)raft_term_at(r, r->commit), (ull)r->term);
    s->leads = r->role == RAFT_LEADER ? r->term : 0;
    void *v = grown(c->committed, &c->cap_committed, (size_t)r->commit + 1, sizeof *c->committed);
    if (!v)
        return ST_NO_MEMORY;
    c->committed = v;
    while (c->n_committed <= r->commit)
        c->committed[c->n_committed++] = (struct seen_commit){0};
    uint64_t from = s->commit > r->log.compacted ? s->commit + 1 : r->log.compacted;
    for (uint64_t i = from ? from : 1; i <= r->commit; i++) {
        uint64_t term = raft_term_at(r, i);
        struct seen_commit *seen = &c->committed[i];
        if (seen->term && seen->term != term)
            return BROKEN(err, r,
                          "state machine safety: %llu was committed of term %llu, here %llu",
                          (ull)i, (ull)seen->term, (ull)term);
        if (!seen->term || r->term < seen->by_term)
            *seen = (struct seen_commit){.term = term, .by_term = r->term};
    }
    s->commit = r->commit;
    return ST_OK;
}

static enum status check_leader(struct raft_checker *c, const struct raft *r, struct err *err)
{
    for (size_t i = c->n_leaders; i-- > 0;)
        if (c->leaders[i].term == r->term) {
            if (c->leaders[i].replica == r->id)
                return ST_OK;
            return BROKEN(err, r, "election safety: replica %llu leads term %llu too",
                          (ull)c->leaders[i].replica, (ull)r->term);
        }
    void *v = grown(c->leaders, &c->cap_leaders, c->n_leaders + 1, sizeof *c->leaders);
    if (!v)
        return ST_NO_MEMORY;
    c->leaders = v;
    c->leaders[c->n_leaders++] = (struct seen_leader){r->term, r->id};
    /* One whose term was over when an entry of before was committed need not have it. */
    for (size_t i = (size_t)r->log.compacted + 1; i < c->n_committed; i++) {
        const struct seen_commit *seen = &c->committed[i];
        if (seen->term && seen->by_term < r->term && raft_term_at(r, i) != seen->term)
            return BROKEN(err, r, "leader completeness: %llu of term %llu is missing at term %llu",
                          (ull)i, (ull)seen->term, (ull)r->term);
    }
    return ST_OK;
}

/* The configuration in force is the newest in the log. */
static enum status check_conf(const struct raft *r, struct err *err)
{
    uint8_t out[RAFT_CONF_BYTES_MAX];
    const struct raft_entry *e = raft_entry_at(r, r->conf_index);
    if (r->conf_index > r->log.last)
        return BROKEN(err, r, "the configuration at %llu is void", (ull)r->conf_index);
    /* Where a replica begins, the configuration is not from an entry. */
    if (!e || e->kind != RAFT_ENTRY_CONF)
        return r->conf_index == r->prev_index || !e
                   ? ST_OK
                   : BROKEN(err, r, "no configuration at %llu", (ull)r->conf_index);
    if (!bytes_eq(e->payload, BYTES(out, raft_conf_encode(&r->conf, out))))
        return BROKEN(err, r, "another configuration at %llu", (ull)r->conf_index);
    return ST_OK;
}

/* Of proposals that wait for a majority, at most. What was evicted before it was committed is given
 * back later, and all of it when nothing waits any more. */
static uint64_t bytes_under_way(const struct raft *r)
{
    uint64_t from = r->commit > r->quota_from ? r->commit : r->quota_from, bytes = 0;
    if (r->store->evicted && r->commit < r->log.last)
        return UINT64_MAX;
    for (uint64_t i = from + 1; i <= r->log.last; i++) {
        const struct raft_entry *e = raft_entry_at(r, i);
        bytes += e ? e->payload.len : RAFT_ENTRY_MAX;
    }
    return bytes;
}

static enum status check_inside(const struct raft *r, struct err *err)
{
    const struct raft__log *l = &r->log;
    if (l->compacted > r->applied || r->applied > r->apply_sent || r->apply_sent > r->commit ||
        r->commit > l->last || l->durable > l->emitted || l->emitted > l->last)
        return BROKEN(err, r,
                      "compacted %llu, applied %llu, sent %llu, commit %llu, last %llu, durable "
                      "%llu, emitted %llu are out of order",
                      (ull)l->compacted, (ull)r->applied, (ull)r->apply_sent, (ull)r->commit,
                      (ull)l->last, (ull)l->durable, (ull)l->emitted);
    if (raft__cached_from(l) > l->durable + 1)
        return BROKEN(err, r, "entry %llu is neither durable nor in memory", (ull)l->durable + 1);
    if (raft__last_term(l) > r->term)
        return BROKEN(err, r, "the log is of a later term than %llu", (ull)r->term);
    if (r->role == RAFT_LEADER && r->uncommitted > bytes_under_way(r))
        return BROKEN(err, r, "%llu bytes of quota are in use for %llu that are under way",
                      (ull)r->uncommitted, (ull)bytes_under_way(r));
    if (r->role == RAFT_LEADER && !raft__hard_durable(r))
        return BROKEN(err, r, "leads term %llu, which is not durable", (ull)r->term);
    return check_conf(r, err);
}

static enum status check_one(struct raft_checker *c, const struct raft *r, struct err *err)
{
    struct seen_replica *s = replica_of(c, r->id);
    if (!s)
        return ST_NO_MEMORY;
    enum status st = check_inside(r, err);
    if (st != ST_OK)
        return st;
    if (r->term < s->term)
        return BROKEN(err, r, "term fell from %llu to %llu", (ull)s->term, (ull)r->term);
    if (r->term == s->term && s->vote && r->vote != s->vote)
        return BROKEN(err, r, "two votes in term %llu: %llu and %llu", (ull)r->term, (ull)s->vote,
                      (ull)r->vote);
    s->term = r->term;
    s->vote = r->vote;
    st = check_log(c, s, r, err);
    if (st == ST_OK)
        st = check_commit(c, s, r, err);
    if (st == ST_OK && r->role == RAFT_LEADER)
        st = check_leader(c, r, err);
    return st;
}

enum status raft_check(struct raft_checker *c, struct raft *const *replicas, size_t n,
                       struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        enum status st = replicas[i] ? check_one(c, replicas[i], err) : ST_OK;
        if (st == ST_NO_MEMORY)
            return err_set(err, st, "raft_check: no memory");
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

/* ---- who could lead ---- */

/* A vote for it would be given by its log (3.6.1), whatever the terms are by now. */
static bool grants(const struct raft *voter, const struct raft *to)
{
    uint64_t mine = raft__last_term(&voter->log), its = raft__last_term(&to->log);
    return its > mine || (its == mine && to->log.last >= voter->log.last);
}

/* Who has a rotten entry does not campaign, and does not know yet whose votes it would need: the entry
 * may be the configuration in force. */
static bool could_win(const struct raft *r, uint8_t flag, struct raft *const *replicas, size_t n)
{
    if (raft__first_bad(r) != UINT64_MAX)
        return false;
    size_t voters = 0, yes = 0;
    for (unsigned i = 0; i < r->conf.n; i++) {
        if (!(r->conf.member[i].flags & flag))
            continue;
        voters++;
        for (size_t k = 0; k < n; k++)
            yes += replicas[k] && replicas[k]->id == r->conf.member[i].replica &&
                   grants(replicas[k], r);
    }
    return voters == 0 ? flag == RAFT_VOTER_OLD : yes > voters / 2;
}

enum status raft_check_electable(struct raft_checker *c, struct raft *const *replicas, size_t n,
                                 struct err *err)
{
    uint64_t last = c->n_committed ? c->n_committed - 1 : 0;
    if (last == 0 || c->committed[last].term == 0)
        return ST_OK;
    for (size_t i = 0; i < n; i++) {
        const struct raft *r = replicas[i];
        if (!r || last <= r->log.compacted || raft_term_at(r, last) == c->committed[last].term)
            continue;
        if (could_win(r, RAFT_VOTER, replicas, n) && could_win(r, RAFT_VOTER_OLD, replicas, n))
            return BROKEN(err, r,
                          "%llu of term %llu is committed, and this one could lead without it",
                          (ull)last, (ull)c->committed[last].term);
    }
    return ST_OK;
}

/* ---- messages ---- */

/* Its term binds whoever takes it in. */
static bool binds(const struct raft *r, const struct raft_msg *m)
{
    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_REPAIR:
    case RAFT_MSG_REPAIR_RESP:
        return false;
    case RAFT_MSG_PREVOTE_RESP:
        return m->flags & RAFT_MSG_REJECT;
    case RAFT_MSG_VOTE:
        return m->flags & RAFT_MSG_FORCE || r->leader == 0;
    case RAFT_MSG_VOTE_RESP:
    case RAFT_MSG_APPEND:
    case RAFT_MSG_APPEND_RESP:
    case RAFT_MSG_HEARTBEAT:
    case RAFT_MSG_HEARTBEAT_RESP:
    case RAFT_MSG_SNAPSHOT:
    case RAFT_MSG_SNAPSHOT_RESP:
    case RAFT_MSG_TIMEOUT_NOW:
    case RAFT_MSG_READ:
    case RAFT_MSG_READ_RESP:
    case RAFT_MSG_TYPES:
        break;
    }
    return true;
}

enum status raft_check_heard(const struct raft *r, const struct raft_msg *m, struct err *err)
{
    if (m->term <= r->term || !binds(r, m))
        return ST_OK;
    return BROKEN(err, r, "stays in term %llu after a %s of term %llu", (ull)r->term,
                  raft_msg_name(m->type), (ull)m->term);
}

enum status raft_check_hand_over(const struct raft *leader, const struct raft *target,
                                 struct err *err)
{
    /* One who is out, and so leads no more, waits for nobody: what is committed it has told of. */
    uint64_t to = leader->resign ? leader->commit : leader->log.last;
    if (target->term > leader->term || raft_term_at(target, to) == raft_term_at(leader, to) ||
        target->log.compacted >= to)
        return ST_OK;
    return BROKEN(err, target, "is to lead, and has entries up to %llu and not to %llu",
                  (ull)target->log.last, (ull)to);
}

void raft_check_restarted(struct raft_checker *c, uint64_t replica, uint64_t durable_term)
{
    for (size_t i = 0; i < c->n_replicas; i++) {
        struct seen_replica *s = &c->replicas[i];
        if (s->replica != replica)
            continue;
        s->term = durable_term;
        s->vote = 0;
        s->commit = s->base = s->last = s->leads = 0;
    }
}
