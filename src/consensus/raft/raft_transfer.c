/* raft_transfer.c - handing leadership over (dissertation, 3.10).
 *
 * The leader takes no proposals until the target has its whole log, then tells it to campaign at
 * once. The election skips pre-vote and says so, and stickiness gives way to it. After an election
 * timeout without a new leader the old one goes on.
 */
#include "consensus/raft/raft_internal.h"

#include "base/planted.h"

void raft__transfer_stop(struct raft *r)
{
    r->transfer_to = 0;
    r->transfer_sent = false;
}

void raft__transfer_progress(struct raft *r)
{
    if (r->role != RAFT_LEADER || !r->transfer_to || r->transfer_sent)
        return;
    struct raft__peer *p = raft__peer(r, r->transfer_to);
    if (!p || (p->match != r->log.last && !PLANTED(TRANSFER_TO_LAGGING)))
        return;
    r->transfer_sent = raft__send(r, RAFT_MSG_TIMEOUT_NOW, p->replica, p->store, false) != NULL;
}

enum status raft_transfer(struct raft *r, uint64_t to_replica)
{
    struct raft__peer *p = raft__peer(r, to_replica);
    if (r->role != RAFT_LEADER || r->transfer_to || r->resign || !p || to_replica == r->id ||
        !(p->flags & RAFT_VOTER))
        return ST_PRECONDITION_FAILED;
    raft__wake(r);
    r->transfer_to = to_replica;
    r->transfer_sent = false;
    r->transfer_at = r->store->now + r->store->o.election_ms;
    raft__transfer_progress(r);
    raft__touch(r);
    return ST_OK;
}

enum status raft__on_timeout_now(struct raft *r, const struct raft_msg *m)
{
    if (r->role != RAFT_FOLLOWER || m->from != r->leader || !raft__may_campaign(r) ||
        raft__first_bad(r) != UINT64_MAX || (r->in && r->in->install))
        return ST_OK;
    raft__start_election(r, true);
    return ST_OK;
}
