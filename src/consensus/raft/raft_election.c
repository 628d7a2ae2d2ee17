/* raft_election.c - terms, votes and who leads (dissertation 3.4, 9.6 pre-vote, 6.2 check-quorum).
 *
 * Vote requests and answers wait for the ticket that makes term and vote durable, and with it the log
 * they speak of: a candidate that forgot its newest entries in a crash must not be elected by an
 * answer to what it claimed before. The own vote counts when that ticket is done.
 */
#include "consensus/raft/raft_internal.h"

#include "base/planted.h"

void raft__draw_timeout(struct raft *r)
{
    uint64_t e = r->store->o.election_ms;
    r->timeout = e + raft__random(r->store) % e;
}

void raft__reset_timer(struct raft *r)
{
    r->election_at = r->store->now + r->timeout;
}

bool raft__sticky(struct raft *r)
{
    if (r->role == RAFT_LEADER)
        return true;
    return r->leader && (r->asleep || r->store->now - r->heard_at < r->store->o.election_ms);
}

static void set_role(struct raft *r, enum raft_role role)
{
    r->role = role;
    r->role_dirty = true;
    raft__touch(r);
}

static void leave_leadership(struct raft *r)
{
    raft__transfer_stop(r);
    raft__snap_stop(r);
    r->resign = r->sleeping = false;
    r->uncommitted = 0;
}

static void set_term(struct raft *r, uint64_t term)
{
    ASSERT(term > r->term);
    r->term = term;
    r->vote = 0;
    r->hs_dirty = true;
    r->verified = 0;
}

void raft__become_follower(struct raft *r, uint64_t term, uint64_t leader, uint64_t leader_store)
{
    raft__wake(r);
    bool leader_changed = term != r->term || leader != r->leader;
    if (r->role == RAFT_LEADER)
        leave_leadership(r);
    if (term > r->term)
        set_term(r, term);
    if (r->role != RAFT_FOLLOWER || leader_changed)
        set_role(r, RAFT_FOLLOWER);
    if (leader_changed)
        raft__reads_fail(r);
    r->leader = leader;
    r->leader_store = leader_store;
    r->force = false;
    raft__draw_timeout(r);
    raft__reset_timer(r);
    if (leader)
        r->heard_at = r->store->now;
}

static bool up_to_date(const struct raft *r, const struct raft_msg *m)
{
    uint64_t mine = raft__last_term(&r->log);
    if (PLANTED(LOG_NOT_JUDGED) || (PLANTED(LOG_JUDGED_BY_LENGTH) && m->index >= r->log.last))
        return true;
    return m->log_term > mine || (m->log_term == mine && m->index >= r->log.last);
}

static void ask_votes(struct raft *r, uint8_t type, uint64_t term)
{
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        p->vote = 0;
        /* Learners are asked before a vote, too: what they answer counts for nothing, but one of them may
         * lead by now, and sleep. */
        if (p->replica == r->id || (type == RAFT_MSG_VOTE && !raft__votes(p->flags)))
            continue;
        /* What a pre-vote claims binds nobody; a vote waits for term, vote and log. */
        struct raft_msg *m = raft__send(r, type, p->replica, p->store, type == RAFT_MSG_VOTE);
        if (!m)
            continue;
        m->term = term;
        m->index = r->log.last;
        m->log_term = raft__last_term(&r->log);
        m->flags = r->force ? RAFT_MSG_FORCE : 0;
    }
}

static void become_candidate(struct raft *r)
{
    set_term(r, r->term + 1);
    r->vote = r->id;
    set_role(r, RAFT_CANDIDATE);
    r->leader = 0;
    raft__draw_timeout(r);
    raft__reset_timer(r);
    ask_votes(r, RAFT_MSG_VOTE, r->term);
}

static void become_precandidate(struct raft *r)
{
    set_role(r, RAFT_PRECANDIDATE);
    r->leader = 0;
    raft__draw_timeout(r);
    raft__reset_timer(r);
    ask_votes(r, RAFT_MSG_PREVOTE, r->term + 1);
    struct raft__peer *self = raft__self(r);
    if (self)
        self->vote = 1; /* binds nobody: needs no ticket */
    if (raft__quorum_votes(r) > 0)
        become_candidate(r);
}

void raft__start_election(struct raft *r, bool force)
{
    ASSERT(r->role != RAFT_LEADER);
    raft__wake(r);
    raft__reads_fail(r);
    r->force = force;
    if (force)
        become_candidate(r);
    else
        become_precandidate(r);
}

void raft__leader_lost(struct raft *r)
{
    const struct raft_options *o = &r->store->o;
    ASSERT(r->role == RAFT_FOLLOWER);
    raft__become_follower(r, r->term, 0, 0);
    r->timeout = 2 * (uint64_t)o->heartbeat_ms + raft__random(r->store) % (o->election_ms / 2 + 1);
    raft__reset_timer(r);
}

void raft__become_leader(struct raft *r)
{
    uint64_t now = r->store->now;
    ASSERT(r->role == RAFT_CANDIDATE && raft__hard_durable(r));
    set_role(r, RAFT_LEADER);
    r->leader = r->id;
    r->leader_store = r->store->o.store;
    r->hb_at = now; /* at once */
    r->idle_at = now;
    r->uncommitted = 0;
    r->quota_from = r->log.last;
    r->fetched = NULL;
    r->n_fetched = 0;
    raft__snap_in_drop(r);
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        p->match = p->commit_told = p->round = 0;
        p->active_at = p->progress_at = now;
        p->asleep_ack = p->away = p->hb_due = false;
        raft__peer_probe(r, p, r->log.last + 1);
    }
    enum status st = raft__lead_append(r, RAFT_ENTRY_EMPTY, BYTES_EMPTY, true);
    if (st != ST_OK) { /* cannot lead without memory for one entry: leave it to another */
        raft__become_follower(r, r->term, 0, 0);
        return;
    }
    r->term_start = r->log.last;
}

void raft__lead_alone(struct raft *r)
{
    uint64_t now = r->store->now;
    struct raft__peer *self = raft__self(r);
    ASSERT(self && r->n_peers == 1 && r->commit == r->log.last);
    set_role(r, RAFT_LEADER);
    r->vote = r->leader = r->id;
    r->leader_store = r->store->o.store;
    r->hb_at = r->idle_at = now;
    r->quota_from = r->term_start = r->log.last;
    raft__peer_probe(r, self, r->log.last + 1);
}

static void check_votes(struct raft *r)
{
    int won = raft__quorum_votes(r);
    if (won < 0) { /* wait out the timeout as a follower */
        set_role(r, RAFT_FOLLOWER);
        r->force = false;
    } else if (won > 0 && r->role == RAFT_PRECANDIDATE) {
        become_candidate(r);
    } else if (won > 0 && raft__hard_durable(r)) { /* else when the ticket is done */
        raft__become_leader(r);
    }
}

void raft__count_own_vote(struct raft *r)
{
    struct raft__peer *p = raft__self(r);
    if (r->role != RAFT_CANDIDATE || !raft__hard_durable(r))
        return;
    if (p)
        p->vote = 1;
    check_votes(r);
}

enum status raft__on_prevote(struct raft *r, const struct raft_msg *m)
{
    if (r->leader && m->from == r->leader && r->role == RAFT_FOLLOWER)
        r->leader = 0; /* who asks for votes does not lead */
    bool sticky = raft__sticky(r);
    /* A sleeping leader shows itself; a sleeping follower begins to listen. Not for one who is out: all
     * who belong to a group that sleeps have the configuration that says so. */
    if (raft__peer(r, m->from))
        raft__wake(r);
    bool free_vote = m->term > r->term || r->vote == m->from || (r->vote == 0 && r->leader == 0);
    bool grant = !sticky && free_vote && m->term >= r->term && up_to_date(r, m);
    struct raft_msg *a = raft__send(r, RAFT_MSG_PREVOTE_RESP, m->from, m->from_store,
                                    !grant && !raft__hard_durable(r));
    if (!a)
        return ST_OVERLOADED;
    if (grant)
        a->term = m->term;
    else
        a->flags = RAFT_MSG_REJECT;
    return ST_OK;
}

enum status raft__on_vote(struct raft *r, const struct raft_msg *m)
{
    ASSERT(m->term == r->term);
    bool free_vote = r->vote == m->from || (r->vote == 0 && r->leader == 0) || PLANTED(VOTES_TWICE);
    struct raft_msg *a =
        raft__send(r, RAFT_MSG_VOTE_RESP, m->from, m->from_store, !PLANTED(VOTE_BEFORE_SYNC));
    if (!a)
        return ST_OVERLOADED;
    if (!free_vote || !up_to_date(r, m)) {
        a->flags = RAFT_MSG_REJECT;
        return ST_OK;
    }
    if (r->vote == 0) {
        r->vote = m->from;
        r->hs_dirty = true;
    }
    raft__reset_timer(r);
    raft__touch(r);
    return ST_OK;
}

enum status raft__on_vote_resp(struct raft *r, const struct raft_msg *m)
{
    bool pre = m->type == RAFT_MSG_PREVOTE_RESP, yes = !(m->flags & RAFT_MSG_REJECT);
    if (r->role != (pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE))
        return ST_OK;
    if (yes && m->term != (pre ? r->term + 1 : r->term))
        return ST_OK;
    struct raft__peer *p = raft__peer(r, m->from);
    if (!p || p->vote || p->replica == r->id)
        return ST_OK;
    p->vote = yes ? 1 : 2;
    check_votes(r);
    return ST_OK;
}

enum status raft_campaign(struct raft *r)
{
    if (r->role == RAFT_LEADER || !r->started || !raft__may_campaign(r) ||
        (r->in && r->in->install) || raft__first_bad(r) != UINT64_MAX ||
        (r->waits && r->log.last == 0))
        return ST_PRECONDITION_FAILED;
    raft__start_election(r, false);
    return ST_OK;
}

void raft__tick_election(struct raft *r)
{
    if (r->store->now < r->election_at)
        return;
    raft__reset_timer(r);
    /* Whoever has rotten entries could not hand them on; its vote still counts. */
    if (!raft__may_campaign(r) || raft__first_bad(r) != UINT64_MAX || (r->in && r->in->install) ||
        (r->waits && r->log.last == 0)) {
        if (r->role != RAFT_FOLLOWER || r->leader)
            raft__become_follower(r, r->term, 0, 0);
        /* A leader that sleeps does not know that it is back. Whatever is answered counts for nothing. */
        ask_votes(r, RAFT_MSG_PREVOTE, r->term + 1);
        return;
    }
    raft__start_election(r, false);
}
