/* raft_repair.c - rotten entries: quarantined, asked for, written anew (after PAR, FAST '18).
 *
 * The header of a quarantined entry is sound, so the log's shape is known and votes are judged as
 * ever. But a copy that cannot be read does not count: acknowledgements stop before it, and its
 * holder does not campaign. The payload comes back from any peer that has an entry of that index and
 * term, leader or not (equal index and term mean equal entries), or with the leader's appends.
 */
#include "consensus/raft/raft_internal.h"

#include "base/buggify.h"

enum { ASK_AT_ONCE = 4 };

bool raft__is_bad(const struct raft *r, uint64_t index)
{
    for (unsigned i = 0; i < r->n_bad; i++)
        if (r->bad[i].index == index)
            return true;
    return false;
}

uint64_t raft__first_bad(const struct raft *r)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < r->n_bad; i++) {
        const struct raft__bad *b = &r->bad[i];
        /* What is applied is in the state machine. */
        if (b->index < first && b->index > r->applied)
            first = b->index;
    }
    return first;
}

enum status raft__add_bad(struct raft *r, uint64_t term, uint64_t index)
{
    if (raft__is_bad(r, index))
        return ST_OK;
    if (r->n_bad == RAFT_BAD_MAX)
        return ST_TOO_LARGE;
    r->bad[r->n_bad++] = (struct raft__bad){index, term};
    r->repair_at = r->store->now;
    return ST_OK;
}

static void drop_repaired(struct raft *r)
{
    raft__block_put(r->store, r->repaired_block);
    r->repaired_block = NULL;
    r->n_repaired = 0;
}

void raft__drop_bad(struct raft *r, uint64_t from, uint64_t to)
{
    uint8_t n = 0;
    for (unsigned i = 0; i < r->n_bad; i++)
        if (r->bad[i].index < from || r->bad[i].index > to)
            r->bad[n++] = r->bad[i];
    r->n_bad = n;
    if (r->n_repaired && r->repaired.index >= from && r->repaired.index <= to)
        drop_repaired(r);
}

enum status raft__mend(struct raft *r, const struct raft_entry *e)
{
    if (raft__term_at(&r->log, e->index) != e->term)
        return ST_OK; /* another entry: the log's business, not ours */
    if (r->n_repaired)
        return ST_OVERLOADED;
    struct raft_conf c;
    if (e->kind == RAFT_ENTRY_CONF) {
        enum status st = raft_conf_decode(e->payload, &c, NULL);
        if (st == ST_OK)
            st = raft__peers_reserve(r, c.n);
        if (st != ST_OK)
            return st;
    }
    struct raft__block *b = raft__block_copy(r->store, e->payload, true);
    if (!b)
        return ST_NO_MEMORY;
    r->repaired = *e;
    r->repaired.payload = BYTES(b->data, e->payload.len);
    r->repaired_block = b;
    r->n_repaired = 1;
    if (e->kind == RAFT_ENTRY_CONF && e->index > r->conf_index) {
        enum status st = raft__set_conf(r, &c, e->index);
        ASSERT(st == ST_OK); /* room was made */
    } else if (e->kind == RAFT_ENTRY_CONF && e->index > r->prev_index && e->index < r->conf_index) {
        r->prev = c;
        r->prev_index = e->index;
    }
    raft__touch(r);
    return ST_OK;
}

/* A ticket is done: is the mended entry durable? */
void raft__mended(struct raft *r)
{
    if (r->n_repaired != 2 || r->done_ticket < r->mending_ticket)
        return;
    PROBE("raft: a rotten entry is mended");
    uint64_t index = r->repaired.index;
    drop_repaired(r);
    raft__drop_bad(r, index, index);
    r->repair_at = r->store->now; /* the next one */
    if (r->role == RAFT_FOLLOWER && r->leader && r->verified)
        raft__ack(r, r->leader, r->leader_store, r->verified, 0);
    raft__touch(r);
}

static bool listed(const struct raft_conf *c, uint64_t replica)
{
    for (unsigned i = 0; c && i < c->n; i++)
        if (c->member[i].replica == replica)
            return true;
    return false;
}

static void ask_members(struct raft *r, const struct raft_conf *c, const struct raft_conf *but)
{
    for (unsigned b = 0; b < r->n_bad && b < ASK_AT_ONCE; b++)
        for (unsigned i = 0; i < c->n; i++) {
            const struct raft_member *p = &c->member[i];
            if (p->replica == r->id || listed(but, p->replica))
                continue;
            struct raft_msg *m = raft__send(r, RAFT_MSG_REPAIR, p->replica, p->store, false);
            if (!m)
                return;
            m->index = r->bad[b].index;
            m->log_term = r->bad[b].term;
        }
}

void raft__tick_repair(struct raft *r)
{
    if (r->n_bad == 0 || r->n_repaired || r->store->now < r->repair_at)
        return;
    r->repair_at = r->store->now + 2 * r->store->o.heartbeat_ms;
    ask_members(r, &r->conf, NULL);
    ask_members(r, &r->prev, &r->conf); /* who is on the way out may have the only copy */
}

enum status raft__on_repair(struct raft *r, const struct raft_msg *m)
{
    bool have = m->index > r->log.compacted && m->log_term &&
                raft__term_at(&r->log, m->index) == m->log_term && !raft__is_bad(r, m->index);
    struct raft_msg *a = raft__send(r, RAFT_MSG_REPAIR_RESP, m->from, m->from_store, false);
    if (!a)
        return ST_OVERLOADED;
    a->index = m->index;
    a->log_term = m->log_term;
    if (!have)
        a->flags = RAFT_MSG_REJECT;
    return ST_OK; /* the entry is put in with the update */
}

enum status raft__on_repair_resp(struct raft *r, const struct raft_msg *m)
{
    if ((m->flags & RAFT_MSG_REJECT) || !raft__is_bad(r, m->entries[0].index))
        return ST_OK;
    return raft__mend(r, &m->entries[0]);
}
