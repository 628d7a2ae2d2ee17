/* raft_config.c - who belongs to the group, and what a majority is (dissertation, 4.3).
 *
 * A configuration is in force from the moment it is in the log, committed or not. Changes go one at a
 * time, so at most the newest is not committed, and remembering the one before it is enough to
 * fall back when it is truncated. A change also waits for an entry of the leader's own term to be
 * committed: without that two leaders could change from different configurations (the erratum of
 * single-server changes, raft-dev 2015).
 */
#include "consensus/raft/raft_internal.h"

#include "base/le.h"
#include "base/planted.h"

enum { CONF_HEAD = 8, CONF_MEMBER = 17, CONF_AUTO_LEAVE = 1 };

bool raft_conf_joint(const struct raft_conf *c)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->member[i].flags & RAFT_VOTER_OLD)
            return true;
    return false;
}

size_t raft_conf_encode(const struct raft_conf *c, uint8_t out[RAFT_CONF_BYTES_MAX])
{
    ASSERT(c->n <= RAFT_MEMBERS_MAX);
    memset(out, 0, CONF_HEAD);
    out[0] = c->n;
    out[1] = c->auto_leave ? CONF_AUTO_LEAVE : 0;
    uint8_t *p = out + CONF_HEAD;
    for (unsigned i = 0; i < c->n; i++, p += CONF_MEMBER) {
        put_le64(p, c->member[i].replica);
        put_le64(p + 8, c->member[i].store);
        p[16] = c->member[i].flags;
    }
    return (size_t)(p - out);
}

static bool flags_valid(uint8_t f)
{
    switch (f) {
    case RAFT_VOTER:
    case RAFT_VOTER_OLD:
    case RAFT_VOTER | RAFT_VOTER_OLD:
    case RAFT_LEARNER:
    case RAFT_LEARNER | RAFT_VOTER_OLD: /* becomes a learner when the joint one is left */
        return true;
    default:
        return false;
    }
}

enum status raft__conf_check(const struct raft_conf *c, struct err *err)
{
    unsigned voters = 0;
    if (c->n > RAFT_MEMBERS_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "configuration: %u members, the limit is %d", c->n,
                       RAFT_MEMBERS_MAX);
    for (unsigned i = 0; i < c->n; i++) {
        const struct raft_member *m = &c->member[i];
        if (m->replica == 0 || m->store == 0 || !flags_valid(m->flags))
            return err_set(err, ST_INVALID_ARGUMENT, "configuration: member %u is malformed", i);
        if (i > 0 && m->replica <= c->member[i - 1].replica)
            return err_set(err, ST_INVALID_ARGUMENT, "configuration: replicas are not in order");
        voters += m->flags & RAFT_VOTER;
    }
    if (c->n > 0 && voters == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "configuration: no voter");
    return ST_OK;
}

enum status raft_conf_decode(struct bytes in, struct raft_conf *ret, struct err *err)
{
    struct raft_conf c = {0};
    if (in.len < CONF_HEAD || in.data[0] > RAFT_MEMBERS_MAX || in.data[1] > CONF_AUTO_LEAVE ||
        in.len != CONF_HEAD + (size_t)in.data[0] * CONF_MEMBER)
        return err_set(err, ST_INVALID_ARGUMENT, "configuration: malformed");
    for (unsigned i = 2; i < CONF_HEAD; i++)
        if (in.data[i] != 0)
            return err_set(err, ST_INVALID_ARGUMENT, "configuration: reserved bytes are not zero");
    c.n = in.data[0];
    c.auto_leave = in.data[1] & CONF_AUTO_LEAVE;
    const uint8_t *p = in.data + CONF_HEAD;
    for (unsigned i = 0; i < c.n; i++, p += CONF_MEMBER)
        c.member[i] =
            (struct raft_member){.replica = get_le64(p), .store = get_le64(p + 8), .flags = p[16]};
    enum status st = raft__conf_check(&c, err);
    if (st == ST_OK)
        *ret = c;
    return st;
}

struct raft__peer *raft__peer(struct raft *r, uint64_t replica)
{
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].replica == replica)
            return &r->peers[i];
    return NULL;
}

bool raft__may_vote(struct raft *r)
{
    struct raft__peer *p = raft__self(r);
    return p && raft__votes(p->flags);
}

bool raft__may_campaign(struct raft *r)
{
    if (raft__may_vote(r))
        return true;
    if (r->conf_index <= r->commit)
        return false;
    /* On its way out, but perhaps the only one that has the entry that says so: it must be able to
     * lead until that is committed (4.2.2). Its own vote does not count. */
    for (unsigned i = 0; i < r->prev.n; i++)
        if (r->prev.member[i].replica == r->id)
            return raft__votes(r->prev.member[i].flags);
    return false;
}

enum status raft__peers_reserve(struct raft *r, size_t n)
{
    if (n <= r->cap_peers)
        return ST_OK;
    struct raft__peer *v = mem_realloc(r->peers, n * sizeof *v);
    if (!v)
        return ST_NO_MEMORY;
    r->peers = v;
    r->cap_peers = n;
    return ST_OK;
}

static void peer_new(struct raft *r, struct raft__peer *p)
{
    memset(p, 0, sizeof *p);
    p->next = r->log.last + 1;
    p->state = RAFT_PROBE;
    p->active_at = p->progress_at = r->store->now;
}

void raft__use_conf(struct raft *r, const struct raft_conf *c)
{
    struct raft__peer old[RAFT_MEMBERS_MAX];
    size_t n_old = r->n_peers;
    ASSERT(c->n <= r->cap_peers || c->n == 0);
    if (n_old)
        memcpy(old, r->peers, n_old * sizeof *old);
    r->n_peers = c->n;
    for (size_t i = 0; i < c->n; i++) {
        struct raft__peer *p = &r->peers[i];
        peer_new(r, p);
        for (size_t j = 0; j < n_old; j++)
            if (old[j].replica == c->member[i].replica)
                *p = old[j];
        p->replica = c->member[i].replica;
        p->store = c->member[i].store;
        p->flags = c->member[i].flags;
    }
    if (r->out && !raft__peer(r, r->out->peer))
        raft__snap_stop(r);
    struct raft__peer *t = r->transfer_to ? raft__peer(r, r->transfer_to) : NULL;
    if (r->transfer_to && (!t || !raft__votes(t->flags)))
        raft__transfer_stop(r);
}

enum status raft__set_conf(struct raft *r, const struct raft_conf *c, uint64_t index)
{
    enum status st = raft__peers_reserve(r, c->n);
    if (st != ST_OK)
        return st;
    r->prev = r->conf;
    r->prev_index = r->conf_index;
    r->conf = *c;
    r->conf_index = index;
    raft__use_conf(r, &r->conf);
    return ST_OK;
}

void raft__conf_rollback(struct raft *r, uint64_t index)
{
    if (r->conf_index < index)
        return;
    /* The one before is committed, or this would not have been proposed: it is never truncated. */
    ASSERT(r->prev_index < index);
    r->conf = r->prev;
    r->conf_index = r->prev_index;
    raft__use_conf(r, &r->conf); /* fits: it did before */
}

/* The highest value that a majority of the members with `flag` have reached. */
static uint64_t majority_of(struct raft *r, uint8_t flag, bool rounds)
{
    uint64_t v[RAFT_MEMBERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct raft__peer *p = &r->peers[i];
        if (!(p->flags & flag) && !(PLANTED(LEARNER_COUNTED) && p->flags & RAFT_LEARNER))
            continue;
        uint64_t x = rounds ? p->round : p->match;
        if (p->replica == r->id)
            x = rounds ? r->round : raft__own_match(r);
        size_t at = n++;
        for (; at > 0 && v[at - 1] < x; at--)
            v[at] = v[at - 1];
        v[at] = x;
    }
    if (n == 0)
        return flag == RAFT_VOTER_OLD ? UINT64_MAX : 0;
    return PLANTED(HALF_COMMITS) && n > 1 ? v[n / 2 - 1] : v[n / 2];
}

static uint64_t both(struct raft *r, bool rounds)
{
    uint64_t a = majority_of(r, RAFT_VOTER, rounds), b = majority_of(r, RAFT_VOTER_OLD, rounds);
    if (PLANTED(JOINT_LEFT_EARLY))
        return a;
    return a < b ? a : b;
}

uint64_t raft__quorum_match(struct raft *r)
{
    return both(r, false);
}

uint64_t raft__quorum_round(struct raft *r)
{
    return both(r, true);
}

static bool active_in(struct raft *r, uint8_t flag)
{
    size_t n = 0, yes = 0;
    for (size_t i = 0; i < r->n_peers; i++) {
        const struct raft__peer *p = &r->peers[i];
        if (!(p->flags & flag))
            continue;
        n++;
        yes += p->replica == r->id || r->store->now - p->active_at < r->store->o.election_ms;
    }
    return n == 0 || yes > n / 2;
}

bool raft__quorum_active(struct raft *r)
{
    return active_in(r, RAFT_VOTER) && active_in(r, RAFT_VOTER_OLD);
}

static int votes_in(struct raft *r, uint8_t flag)
{
    size_t n = 0, yes = 0, no = 0;
    for (size_t i = 0; i < r->n_peers; i++)
        if (r->peers[i].flags & flag) {
            n++;
            yes += r->peers[i].vote == 1;
            no += r->peers[i].vote == 2;
        }
    if (n == 0)
        return flag == RAFT_VOTER_OLD ? 1 : -1;
    if (PLANTED(HALF_ELECTS) && yes >= n - n / 2 - n % 2)
        return 1;
    return yes > n / 2 ? 1 : n - no <= n / 2 ? -1 : 0;
}

int raft__quorum_votes(struct raft *r)
{
    int a = votes_in(r, RAFT_VOTER), b = votes_in(r, RAFT_VOTER_OLD);
    if (a < 0 || b < 0)
        return -1;
    return a > 0 && b > 0;
}

static enum status append_conf(struct raft *r, const struct raft_conf *c)
{
    uint8_t out[RAFT_CONF_BYTES_MAX];
    enum status st = raft__peers_reserve(r, c->n);
    if (st == ST_OK)
        st = raft__lead_append(r, RAFT_ENTRY_CONF, BYTES(out, raft_conf_encode(c, out)), true);
    if (st == ST_OK)
        st = raft__set_conf(r, c, r->log.last);
    return st;
}

static enum status leave_joint(struct raft *r)
{
    struct raft_conf c = {0};
    for (unsigned i = 0; i < r->conf.n; i++) {
        struct raft_member m = r->conf.member[i];
        m.flags &= (uint8_t)~RAFT_VOTER_OLD;
        if (m.flags)
            c.member[c.n++] = m;
    }
    return append_conf(r, &c);
}

/* Leads no more, once the others were told what is committed (raft_done); the one that has most is
 * asked to take over at once. */
static void resign(struct raft *r)
{
    const struct raft__peer *best = NULL;
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        p->hb_due = true;
        if ((p->flags & RAFT_VOTER) && (!best || p->match > best->match))
            best = p;
    }
    if (best)
        (void)raft__send(r, RAFT_MSG_TIMEOUT_NOW, best->replica, best->store, false);
    r->resign = true;
    raft__touch(r);
}

void raft__conf_committed(struct raft *r)
{
    if (r->role != RAFT_LEADER || r->conf_index > r->commit || r->commit < r->term_start)
        return;
    if (raft_conf_joint(&r->conf)) {
        /* Without memory now, the next tick tries again; and while leadership is handed over nothing is
         * appended that the next leader would not have: it leaves as well. */
        if (r->conf.auto_leave && !r->transfer_to && leave_joint(r) == ST_OK)
            raft__touch(r);
        return;
    }
    if (!raft__may_vote(r) && !r->resign)
        resign(r);
}

static enum status may_change(struct raft *r, struct err *err)
{
    if (r->role != RAFT_LEADER || r->transfer_to || r->resign)
        return err_set(err, ST_PRECONDITION_FAILED, "group %llu: not leading",
                       (unsigned long long)r->group);
    if (r->commit < r->term_start)
        return err_set(err, ST_PRECONDITION_FAILED,
                       "group %llu: nothing of this term is committed yet",
                       (unsigned long long)r->group);
    if (r->conf_index > r->commit && !PLANTED(CHANGE_WHILE_CHANGING))
        return err_set(err, ST_PRECONDITION_FAILED, "group %llu: a change is under way",
                       (unsigned long long)r->group);
    return ST_OK;
}

static int find(const struct raft_conf *c, uint64_t replica)
{
    for (unsigned i = 0; i < c->n; i++)
        if (c->member[i].replica == replica)
            return (int)i;
    return -1;
}

static enum status check_target(const struct raft *r, const struct raft_conf *t, struct err *err)
{
    enum status st = raft__conf_check(t, err);
    if (st != ST_OK)
        return st;
    if (t->n == 0 || raft_conf_joint(t))
        return err_set(err, ST_INVALID_ARGUMENT, "configuration: empty, or joint");
    for (unsigned i = 0; i < t->n; i++)
        for (unsigned j = 0; j < r->conf.n; j++) {
            const struct raft_member *a = &t->member[i], *b = &r->conf.member[j];
            if (a->replica == b->replica ? a->store != b->store
                                         : a->store == b->store && a->replica < b->replica &&
                                               find(&r->conf, a->replica) < 0)
                return err_set(err, ST_INVALID_ARGUMENT,
                               "configuration: replica %llu is used again, or moved",
                               (unsigned long long)a->replica);
        }
    return ST_OK;
}

/* The target with the voters of now as RAFT_VOTER_OLD, in order; false: too many. */
static bool make_joint(const struct raft_conf *now, const struct raft_conf *target,
                       struct raft_conf *ret)
{
    struct raft_conf c = {0};
    bool same = true;
    unsigned i = 0, j = 0;
    while (i < now->n || j < target->n) {
        struct raft_member m = {0};
        bool take_now =
            i < now->n && (j == target->n || now->member[i].replica <= target->member[j].replica);
        bool take_new =
            j < target->n && (i == now->n || target->member[j].replica <= now->member[i].replica);
        if (take_new)
            m = target->member[j++];
        if (take_now) {
            const struct raft_member *o = &now->member[i++];
            m.replica = o->replica;
            m.store = o->store;
            m.flags |= o->flags & RAFT_VOTER ? RAFT_VOTER_OLD : 0;
        }
        same = same && !(m.flags & RAFT_VOTER) == !(m.flags & RAFT_VOTER_OLD);
        if (m.flags == 0)
            continue; /* a learner that goes */
        if (c.n == RAFT_MEMBERS_MAX)
            return false;
        c.member[c.n++] = m;
    }
    *ret = same ? *target : c;
    return true;
}

enum status raft_change(struct raft *r, const struct raft_conf *target, bool auto_leave,
                        uint64_t *ret_index, struct err *err)
{
    raft__wake(r);
    enum status st = may_change(r, err);
    if (st == ST_OK)
        st = check_target(r, target, err);
    if (st != ST_OK)
        return st;
    if (raft_conf_joint(&r->conf))
        return err_set(err, ST_PRECONDITION_FAILED, "group %llu: the last change is not left yet",
                       (unsigned long long)r->group);
    struct raft_conf c;
    if (!make_joint(&r->conf, target, &c))
        return err_set(err, ST_TOO_LARGE, "configuration: old and new together exceed %d members",
                       RAFT_MEMBERS_MAX);
    c.auto_leave = auto_leave && raft_conf_joint(&c);
    st = append_conf(r, &c);
    if (st != ST_OK)
        return err_set(err, st, "group %llu: configuration", (unsigned long long)r->group);
    *ret_index = r->conf_index;
    return ST_OK;
}

enum status raft_leave(struct raft *r, uint64_t *ret_index)
{
    raft__wake(r);
    enum status st = may_change(r, NULL);
    if (st == ST_OK && !raft_conf_joint(&r->conf))
        st = ST_PRECONDITION_FAILED;
    if (st == ST_OK)
        st = leave_joint(r);
    if (st == ST_OK)
        *ret_index = r->conf_index;
    return st;
}

const struct raft_conf *raft_configuration(const struct raft *r)
{
    return &r->conf;
}
