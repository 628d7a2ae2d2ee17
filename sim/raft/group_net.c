#include "sim/raft/group_internal.h"

#include "consensus/raft/raft_internal.h"

#include <stdlib.h>

static void packet_free(struct packet *p)
{
    free(p->entries);
    free(p->bytes);
}

void net_drop(struct group *c, size_t at)
{
    packet_free(&c->net[at]);
    c->net[at] = c->net[--c->n_net];
}

static void packet_copy(struct packet *p, const struct raft_msg *m)
{
    size_t bytes = m->data.len, used = 0;
    *p = (struct packet){.m = *m};
    for (size_t i = 0; i < m->n_entries; i++)
        bytes += m->entries[i].payload.len;
    p->bytes = must(malloc(bytes + 1));
    p->entries = must(calloc(m->n_entries + 1, sizeof *p->entries));
    for (size_t i = 0; i < m->n_entries; i++) {
        p->entries[i] = m->entries[i];
        if (m->entries[i].payload.len)
            memcpy(p->bytes + used, m->entries[i].payload.data, m->entries[i].payload.len);
        p->entries[i].payload.data = p->bytes + used;
        used += m->entries[i].payload.len;
    }
    if (m->data.len)
        memcpy(p->bytes + used, m->data.data, m->data.len);
    p->m.data.data = p->bytes + used;
    p->m.entries = p->entries;
    if (m->snapshot)
        p->snap = *m->snapshot;
}

bool net_lost(struct group *c, uint64_t from, uint64_t to)
{
    return to == 0 || to > c->n || c->cut[from][to] || dice_chance(&c->dice, c->loss, 1000);
}

/* What leaves must already be true on disk. */
static void check_leaving(struct node *n, const struct raft_msg *m)
{
    struct group *c = n->c;
    if (m->type == RAFT_MSG_VOTE ||
        (m->type == RAFT_MSG_VOTE_RESP && !(m->flags & RAFT_MSG_REJECT)) ||
        m->type == RAFT_MSG_APPEND || m->type == RAFT_MSG_APPEND_RESP)
        DEMAND(c, n->d.hs.term >= m->term, "replica %llu: %s of term %llu left, durable is %llu",
               (ull)n->replica, raft_msg_name(m->type), (ull)m->term, (ull)n->d.hs.term);
    if (m->type == RAFT_MSG_APPEND_RESP && !(m->flags & RAFT_MSG_REJECT) &&
        n->d.hs.term == m->term) {
        uint64_t i = m->index;
        DEMAND(c, i <= n->d.compacted || (i <= n->d.last && n->d.e[i].term != 0),
               "replica %llu: acknowledges %llu, durable is %llu", (ull)n->replica, (ull)i,
               (ull)n->d.last);
        for (uint64_t k = n->d.ckpt.index + 1; k <= i; k++)
            DEMAND(c, k <= n->d.compacted || !n->d.e[k].bad,
                   "replica %llu: acknowledges %llu over rotten %llu", (ull)n->replica, (ull)i,
                   (ull)k);
    }
    if (m->type != RAFT_MSG_VOTE_RESP || (m->flags & RAFT_MSG_REJECT))
        return;
    if (n->d.hs.term == m->term)
        DEMAND(c, n->d.hs.vote == m->to, "replica %llu: a vote that is not durable left",
               (ull)n->replica);
    for (size_t i = 0; i < c->n_grants; i++)
        if (c->grants[i].replica == n->replica && c->grants[i].term == m->term)
            DEMAND(c, c->grants[i].to == m->to, "replica %llu voted twice in term %llu",
                   (ull)n->replica, (ull)m->term);
    c->grants = room(c->grants, &c->cap_grants, c->n_grants + 1, sizeof *c->grants);
    c->grants[c->n_grants++] = (struct grant){n->replica, m->term, m->to};
}

/* Who is handed the leadership has the whole log, durably, unless a later leader has taken some of it
 * away by now. (One that resigns asks whoever has most; a hand-over that was given up before its
 * message could leave does not count.) */
static void check_transfer(const struct node *n, const struct raft_msg *m)
{
    struct group *c = n->c;
    const struct node *to = &c->nodes[m->to_store];
    if (m->type != RAFT_MSG_TIMEOUT_NOW || n->r->transfer_to != m->to || !n->r->transfer_sent ||
        to->replica != m->to || to->d.hs.term > m->term)
        return;
    struct raft_status a = status_of(n);
    DEMAND(c, disk_has(to, a.last, a.last_term),
           "replica %llu: leadership goes to %llu, which lacks entry %llu", (ull)n->replica,
           (ull)m->to, (ull)a.last);
}

void net_send(struct node *n, const struct raft_msg *m)
{
    struct group *c = n->c;
    check_leaving(n, m);
    check_transfer(n, m);
    c->msgs[m->type]++;
    unsigned copies = 1 + dice_chance(&c->dice, c->dup, 1000);
    for (unsigned k = 0; k < copies; k++) {
        if (net_lost(c, n->store, m->to_store))
            continue;
        c->net = room(c->net, &c->cap_net, c->n_net + 1, sizeof *c->net);
        packet_copy(&c->net[c->n_net++], m);
    }
}

void net_deliver(struct group *c, size_t at)
{
    struct packet p = c->net[at];
    c->net[at] = c->net[--c->n_net];
    uint64_t to = p.is_beat ? p.beat.to_store : p.m.to_store;
    uint64_t from = p.is_beat ? p.beat.from_store : p.m.from_store;
    struct node *n = &c->nodes[to];
    if (n->up) { /* what was on its way when the line was cut still arrives */
        enum status st;
        if (p.m.snapshot)
            p.m.snapshot = &p.snap;
        if (p.is_beat)
            st = raft_store_beat(n->rs, &p.beat);
        else
            st = raft_step(n->r, &p.m);
        if (st == ST_OK && !p.is_beat) {
            struct err err;
            err_init(&err);
            DEMAND(c, raft_check_heard(n->r, &p.m, &err) == ST_OK, "%s", err.detail);
        }
        DEMAND(c,
               st == ST_OK || st == ST_PRECONDITION_FAILED || st == ST_OVERLOADED ||
                   st == ST_NO_MEMORY,
               "%s from %llu to %llu answered %s", raft_msg_name(p.m.type), (ull)from, (ull)to,
               status_name(st));
        group_check_commits(c, n);
        /* The bytes were borrowed for the call: nobody may look at them now. */
        if (!p.is_beat && p.m.n_entries)
            memset(p.bytes, 0xee, p.entries[p.m.n_entries - 1].payload.len);
    }
    packet_free(&p);
}
