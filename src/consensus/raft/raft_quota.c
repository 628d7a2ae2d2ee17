/* raft_quota.c - proposals, and how many bytes of them may wait for a majority.
 *
 * Back-pressure comes from two places: a group's own uncommitted bytes, and the cache all groups
 * share (what is not durable cannot leave it). A group with nothing under way may always add one
 * entry, so that no limit can stop it for good.
 */
#include "consensus/raft/raft_internal.h"

#include "base/planted.h"

enum status raft__lead_append(struct raft *r, uint8_t kind, struct bytes payload, bool force)
{
    ASSERT(r->role == RAFT_LEADER);
    enum status st = raft__log_append(r, r->term, kind, payload, true, force);
    if (st != ST_OK)
        return st;
    if (r->log.last > r->quota_from)
        r->uncommitted += payload.len;
    r->idle_at = r->store->now;
    raft__touch(r);
    return ST_OK;
}

void raft__quota_committed(struct raft *r, uint64_t from, uint64_t to)
{
    if (from <= r->quota_from)
        from = r->quota_from + 1;
    if (from > to)
        return;
    if (to >= r->log.last &&
        !PLANTED(QUOTA_LEAKS)) { /* the common case under load and at its end */
        r->uncommitted = 0;
        return;
    }
    size_t n;
    const struct raft_entry *e = raft__cached(&r->log, from, &n);
    /* Evicted before it was committed, under pressure of others: counted when all is committed. */
    for (uint64_t i = from; e && i <= to; i++, e++) {
        size_t len = PLANTED(QUOTA_LEAKS) && i == to ? 0 : e->payload.len;
        r->uncommitted -= len < r->uncommitted ? len : r->uncommitted;
    }
}

enum status raft_propose(struct raft *r, struct bytes payload, uint64_t *ret_index,
                         uint64_t *ret_term)
{
    struct raft_store *s = r->store;
    if (payload.len > RAFT_ENTRY_MAX)
        return ST_TOO_LARGE;
    if (r->role != RAFT_LEADER || r->transfer_to || r->resign)
        return ST_PRECONDITION_FAILED;
    raft__wake(r);
    bool idle = r->commit == r->log.last;
    if (!idle && r->uncommitted + payload.len > s->o.max_uncommitted_bytes)
        return ST_OVERLOADED;
    enum status st = raft__lead_append(r, RAFT_ENTRY_DATA, payload, idle);
    if (st != ST_OK)
        return st;
    *ret_index = r->log.last;
    *ret_term = r->term;
    return ST_OK;
}
