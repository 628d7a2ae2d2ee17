/* raft_step.c - messages in: who may speak, what their term means; and the way out for answers. */
#include "consensus/raft/raft_internal.h"

#include "base/buggify.h"
#include "base/planted.h"

enum { OUT_MAX = 1024 };

const char *raft_msg_name(uint8_t type)
{
    static const char *const names[RAFT_MSG_TYPES] = {
        "none",        "prevote",   "prevote-resp",   "vote",       "vote-resp",     "append",
        "append-resp", "heartbeat", "heartbeat-resp", "snapshot",   "snapshot-resp", "timeout-now",
        "read",        "read-resp", "repair",         "repair-resp"};
    return type < RAFT_MSG_TYPES ? names[type] : "unknown";
}

void raft__touch(struct raft *r)
{
    if (r->is_ready || !r->started || r->busy)
        return;
    r->is_ready = true;
    list_push_back(&r->store->ready, &r->ready_link);
}

bool raft__hard_durable(const struct raft *r)
{
    return !r->hs_dirty && r->done_ticket >= r->hs_ticket;
}

void raft__fill(const struct raft *r, struct raft_msg *m, uint8_t type, uint64_t to,
                uint64_t to_store)
{
    memset(m, 0, sizeof *m);
    m->type = type;
    m->group = r->group;
    m->from = r->id;
    m->from_store = r->store->o.store;
    m->to = to;
    m->to_store = to_store;
    m->term = r->term;
    m->data = BYTES_EMPTY;
}

struct raft_msg *raft__send(struct raft *r, uint8_t type, uint64_t to, uint64_t to_store,
                            bool after)
{
    struct raft__node *n = r->n_out < OUT_MAX ? raft__node_get(r->store) : NULL;
    if (!n) {
        r->store->dropped_msgs++;
        return NULL;
    }
    raft__fill(r, &n->m, type, to, to_store);
    n->after = after;
    *r->out_last = n;
    r->out_last = &n->next;
    r->n_out++;
    raft__touch(r);
    return &n->m;
}

/* Entries must follow `index` one by one, with terms that rise from log_term to the sender's. */
static bool entries_valid(const struct raft_msg *m)
{
    uint64_t term = m->log_term, index = m->index;
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        if (e->index != ++index || e->term < term || e->term == 0 || e->term > m->term ||
            e->payload.len > RAFT_ENTRY_MAX || e->kind < RAFT_ENTRY_DATA ||
            e->kind > RAFT_ENTRY_CONF)
            return false;
        term = e->term;
    }
    return true;
}

static bool well_formed(const struct raft_msg *m)
{
    if (m->type == 0 || m->type >= RAFT_MSG_TYPES || m->from == 0 || m->from_store == 0)
        return false;
    if (m->term == 0 && m->type != RAFT_MSG_REPAIR && m->type != RAFT_MSG_REPAIR_RESP)
        return false;
    if (m->index > UINT64_MAX / 2 || m->term > UINT64_MAX / 2 || m->log_term > UINT64_MAX / 2)
        return false;
    if (m->type == RAFT_MSG_APPEND)
        return m->log_term <= m->term && (m->index == 0) == (m->log_term == 0) && entries_valid(m);
    if (m->type == RAFT_MSG_SNAPSHOT)
        return m->snapshot && m->snapshot->id && m->snapshot->index && m->snapshot->term &&
               m->snapshot->term <= m->term && m->snapshot->conf.n <= RAFT_MEMBERS_MAX;
    if (m->type == RAFT_MSG_REPAIR_RESP && !(m->flags & RAFT_MSG_REJECT))
        return m->n_entries == 1 && m->entries[0].payload.len <= RAFT_ENTRY_MAX;
    return m->n_entries == 0;
}

/* Replica ids are never reused: a message is for exactly this one, and from one that no newer
 * replica of its store has taken the place of. */
static bool known_sender(const struct raft *r, const struct raft_msg *m)
{
    if (m->group != r->group || m->to != r->id || m->to_store != r->store->o.store ||
        m->from == r->id)
        return false;
    bool newer = false;
    for (unsigned i = 0; i < r->conf.n; i++) {
        const struct raft_member *x = &r->conf.member[i];
        if (x->replica == m->from)
            return x->store == m->from_store;
        newer = newer || (x->store == m->from_store && x->replica > m->from);
    }
    return !newer;
}

static bool from_leader(uint8_t type)
{
    return type == RAFT_MSG_APPEND || type == RAFT_MSG_HEARTBEAT || type == RAFT_MSG_SNAPSHOT;
}

static void refuse_old_term(struct raft *r, const struct raft_msg *m)
{
    uint8_t answer = 0;
    if (from_leader(m->type))
        answer = RAFT_MSG_APPEND_RESP; /* so that a leader of the past steps down */
    else if (m->type == RAFT_MSG_PREVOTE)
        answer = RAFT_MSG_PREVOTE_RESP;
    else if (m->type == RAFT_MSG_VOTE)
        answer = RAFT_MSG_VOTE_RESP;
    if (!answer)
        return;
    struct raft_msg *a = raft__send(r, answer, m->from, m->from_store, !raft__hard_durable(r));
    if (a)
        a->flags = RAFT_MSG_REJECT;
}

/* True: the message is done with. */
static bool settle_term(struct raft *r, const struct raft_msg *m)
{
    bool granted = m->type == RAFT_MSG_PREVOTE_RESP && !(m->flags & RAFT_MSG_REJECT);
    if (m->type == RAFT_MSG_PREVOTE || granted) {
        if (m->term < r->term && m->type == RAFT_MSG_PREVOTE)
            refuse_old_term(r, m);
        return m->term < r->term; /* the term of a pre-vote is only what would be */
    }
    if (m->term < r->term) {
        refuse_old_term(r, m);
        return true;
    }
    if (m->term == r->term)
        return false;
    if (PLANTED(HIGHER_TERM_IGNORED) && r->role == RAFT_LEADER && (m->flags & RAFT_MSG_REJECT))
        return true;
    if (m->type == RAFT_MSG_VOTE && !(m->flags & RAFT_MSG_FORCE) && raft__sticky(r) &&
        m->from != r->leader)
        return true; /* a leader is alive: disruption is not even answered */
    bool leads = from_leader(m->type);
    raft__become_follower(r, m->term, leads ? m->from : 0, leads ? m->from_store : 0);
    return false;
}

static bool wakes(const struct raft_msg *m)
{
    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_HEARTBEAT:
        return !(m->flags & RAFT_MSG_QUIESCE);
    case RAFT_MSG_HEARTBEAT_RESP:
        return false;
    case RAFT_MSG_APPEND_RESP:
        return m->flags & RAFT_MSG_REJECT;
    case RAFT_MSG_PREVOTE: /* looks at whether it sleeps first */
    case RAFT_MSG_VOTE:
        return false;
    case RAFT_MSG_PREVOTE_RESP:
    case RAFT_MSG_VOTE_RESP:
    case RAFT_MSG_APPEND:
    case RAFT_MSG_SNAPSHOT:
    case RAFT_MSG_SNAPSHOT_RESP:
    case RAFT_MSG_TIMEOUT_NOW:
    case RAFT_MSG_READ:
    case RAFT_MSG_READ_RESP:
    case RAFT_MSG_REPAIR:
    case RAFT_MSG_REPAIR_RESP:
    case RAFT_MSG_TYPES:
        break;
    }
    return true;
}

static enum status dispatch(struct raft *r, const struct raft_msg *m)
{
    switch ((enum raft_msg_type)m->type) {
    case RAFT_MSG_PREVOTE:
        return raft__on_prevote(r, m);
    case RAFT_MSG_VOTE:
        return raft__on_vote(r, m);
    case RAFT_MSG_PREVOTE_RESP:
    case RAFT_MSG_VOTE_RESP:
        return raft__on_vote_resp(r, m);
    case RAFT_MSG_APPEND:
        return raft__on_append(r, m);
    case RAFT_MSG_APPEND_RESP:
        return raft__on_append_resp(r, m);
    case RAFT_MSG_HEARTBEAT:
        return raft__on_heartbeat(r, m);
    case RAFT_MSG_HEARTBEAT_RESP:
        return raft__on_heartbeat_resp(r, m);
    case RAFT_MSG_SNAPSHOT:
        return raft__on_snapshot(r, m);
    case RAFT_MSG_SNAPSHOT_RESP:
        return raft__on_snapshot_resp(r, m);
    case RAFT_MSG_TIMEOUT_NOW:
        return raft__on_timeout_now(r, m);
    case RAFT_MSG_READ:
        return raft__on_read(r, m);
    case RAFT_MSG_READ_RESP:
        return raft__on_read_resp(r, m);
    case RAFT_MSG_REPAIR:
        return raft__on_repair(r, m);
    case RAFT_MSG_REPAIR_RESP:
        return raft__on_repair_resp(r, m);
    case RAFT_MSG_TYPES:
        break;
    }
    return ST_INVALID_ARGUMENT;
}

/* The leader of this term speaks. False: there is another one, which a correct peer cannot be. */
static bool hear_leader(struct raft *r, const struct raft_msg *m)
{
    if (r->role == RAFT_LEADER || (r->leader && r->leader != m->from))
        return false;
    if (r->role != RAFT_FOLLOWER || r->leader == 0)
        raft__become_follower(r, r->term, m->from, m->from_store);
    r->heard_at = r->store->now;
    raft__reset_timer(r);
    return true;
}

/* A new replica that has heard nothing yet knows its peers as they were when the group began, and asks a
 * replica of this store that is gone. That counts for nothing, but whoever sleeps without it hears that it is there. */
static void hear_of_life(struct raft *r, const struct raft_msg *m)
{
    const struct raft__peer *p = raft__peer(r, m->from);
    if (m->type != RAFT_MSG_PREVOTE || m->group != r->group || m->to_store != r->store->o.store ||
        m->to == r->id || !p || p->store != m->from_store || p->replica == r->id)
        return;
    PROBE("raft: a new replica asks one that is gone");
    raft__wake(r);
}

enum status raft_step(struct raft *r, const struct raft_msg *m)
{
    ASSERT(r->started && !r->busy);
    if (!well_formed(m))
        return ST_INVALID_ARGUMENT;
    if (!known_sender(r, m)) {
        hear_of_life(r, m);
        return ST_PRECONDITION_FAILED;
    }
    if (wakes(m))
        raft__wake(r);
    if (m->type == RAFT_MSG_REPAIR || m->type == RAFT_MSG_REPAIR_RESP)
        return dispatch(r, m); /* an entry of a term and index is the same whoever leads */
    if (settle_term(r, m))
        return ST_OK;
    if (from_leader(m->type) && !hear_leader(r, m))
        return ST_INVALID_ARGUMENT;
    return dispatch(r, m);
}
