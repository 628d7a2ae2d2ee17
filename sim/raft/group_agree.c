/* A group that is healed must make progress and agree. */
#include "sim/raft/group_internal.h"

#include <stdio.h>

static bool agreed(struct group *c, uint64_t index)
{
    struct node *l = group_leader(c);
    if (!l || l->applied < index)
        return false;
    const struct raft_conf *conf = raft_configuration(l->r);
    if (raft_conf_joint(conf))
        return false;
    for (unsigned i = 0; i < conf->n; i++) {
        const struct node *n = &c->nodes[conf->member[i].store];
        if (n->replica == conf->member[i].replica && n->applied < index)
            return false;
    }
    return true;
}

static void tell(struct group *c)
{
    for (unsigned s = 1; s <= c->n; s++) {
        struct raft_status a = status_of(&c->nodes[s]);
        struct raft_peer_status ps[RAFT_MEMBERS_MAX];
        size_t np = raft_peers(c->nodes[s].r, ps, RAFT_MEMBERS_MAX);
        (void)fprintf(stderr,
                      "replica %llu: %s term %llu leader %llu commit %llu last %llu durable %llu "
                      "compacted %llu applied %llu bad %llu conf@%llu n=%u%s\n",
                      (ull)a.replica, raft_role_name(a.role), (ull)a.term, (ull)a.leader,
                      (ull)a.commit, (ull)a.last, (ull)a.durable, (ull)a.compacted, (ull)a.applied,
                      (ull)a.bad, (ull)a.conf_index, raft_configuration(c->nodes[s].r)->n,
                      a.asleep ? " asleep" : "");
        const struct raft_conf *conf = raft_configuration(c->nodes[s].r);
        for (unsigned k = 0; k < conf->n; k++)
            (void)fprintf(stderr, "    member %llu flags %u\n", (ull)conf->member[k].replica,
                          conf->member[k].flags);
        for (uint64_t k = c->nodes[s].d.compacted + 1; k <= c->nodes[s].d.last; k++)
            if (c->nodes[s].d.e[k].bad)
                (void)fprintf(stderr, "    rotten: %llu\n", (ull)k);
        for (size_t k = 0; k < np; k++)
            (void)fprintf(stderr, "    peer %llu match %llu next %llu state %d active %d\n",
                          (ull)ps[k].replica, (ull)ps[k].match, (ull)ps[k].next, ps[k].state,
                          ps[k].active);
    }
}

void group_agree(struct group *c)
{
    group_heal(c);
    for (unsigned s = 1; s <= c->n; s++)
        if (!c->nodes[s].up && c->nodes[s].exists)
            node_restart(&c->nodes[s]);
    uint64_t index = 0;
    for (unsigned i = 0; i < 600; i++) {
        group_run(c, 10);
        struct node *l = group_leader(c);
        uint64_t left;
        if (l && raft_conf_joint(raft_configuration(l->r)))
            tried(raft_leave(l->r, &left)); /* those that do not leave by themselves */
        if (index && agreed(c, index))
            return;
        if (l && (!index || i % 50 == 0))
            (void)node_propose(l, &index);
    }
    tell(c);
    DEMAND(c, false, "healed, but index %llu was not agreed on", (ull)index);
}
