/* raft_append.c - replication: what the leader sends, and how a follower's log comes to be equal
 * (dissertation 3.5, 10.2; states and conflict hints as in etcd-io/raft).
 *
 * Appends are built when an update is asked for, so everything proposed since goes in one message. A
 * peer is probed (one message at a time) until its log is known to match, then pipelined within
 * limits of messages and bytes; it falls back to probing when something is refused or stalls.
 */
#include "consensus/raft/raft_internal.h"

#include "base/buggify.h"
#include "base/planted.h"

uint64_t raft__own_match(const struct raft *r)
{
    uint64_t bad = raft__first_bad(r);
    uint64_t own = PLANTED(LEADER_COUNTS_UNSYNCED) ? r->log.last : r->log.durable;
    return own < bad ? own : bad - 1;
}

void raft__set_commit(struct raft *r, uint64_t commit)
{
    if (commit <= r->commit || (r->in && r->in->install))
        return;
    ASSERT(commit <= r->log.last);
    r->commit = commit;
    raft__touch(r);
}

void raft__maybe_commit(struct raft *r)
{
    if (r->role != RAFT_LEADER)
        return;
    uint64_t q = raft__quorum_match(r);
    /* An entry of an earlier term is committed by one of this term behind it, never by counting
     * (3.6.2). */
    if (q > r->log.last || q <= r->commit)
        return;
    if (raft__term_at(&r->log, q) != r->term && !PLANTED(OLD_TERM_BY_COUNTING)) {
        PROBE("raft: an entry of an earlier term waits for one behind it");
        return;
    }
    bool first = r->commit < r->term_start;
    raft__quota_committed(r, r->commit + 1, q);
    raft__set_commit(r, q);
    if (first)
        raft__reads_term_committed(r);
    raft__conf_committed(r);
}

/* ---- the leader's view of a peer ---- */

static void inflight_clear(struct raft__peer *p)
{
    p->in_head = p->in_n = 0;
    p->in_bytes = 0;
}

void raft__peer_probe(struct raft *r, struct raft__peer *p, uint64_t next)
{
    (void)r;
    p->state = RAFT_PROBE;
    p->next = next;
    p->probe_sent = false;
    inflight_clear(p);
}

void raft__peer_heard(struct raft *r, struct raft__peer *p)
{
    p->active_at = r->store->now;
    p->away = false;
}

static void inflight_free(struct raft__peer *p, uint64_t match)
{
    while (p->in_n && p->in_end[p->in_head] <= match) {
        p->in_bytes -= p->in_size[p->in_head];
        p->in_head = (uint16_t)((p->in_head + 1) % RAFT_INFLIGHT_MAX);
        p->in_n--;
    }
}

static void inflight_add(struct raft *r, struct raft__peer *p, uint64_t end, size_t bytes)
{
    if (p->in_n == 0)
        p->progress_at = r->store->now;
    size_t at = (size_t)(p->in_head + p->in_n++) % RAFT_INFLIGHT_MAX;
    p->in_end[at] = end;
    p->in_size[at] = (uint32_t)bytes;
    p->in_bytes += (uint32_t)bytes;
}

static bool inflight_full(const struct raft *r, const struct raft__peer *p)
{
    return p->in_n >= r->store->o.max_inflight_msgs ||
           p->in_bytes >= r->store->o.max_inflight_bytes;
}

/* ---- sending ---- */

void raft__want_fetch(struct raft *r, uint64_t from, uint64_t to)
{
    if (r->fetch.id)
        return;
    if (r->store->now < r->fetch_at) {
        r->retry = true;
        return;
    }
    PROBE("raft: entries are read from the log again");
    r->fetch = (struct raft_fetch){++r->fetch_no, from, to, r->store->o.max_append_bytes};
    r->fetch_shown = false;
}

const struct raft_entry *raft__readable(const struct raft *r, uint64_t index, size_t *ret_n)
{
    const struct raft_entry *e = raft__cached(&r->log, index, ret_n);
    if (e || !r->n_fetched)
        return e;
    uint64_t first = r->fetched[0].index;
    if (index < first || index - first >= r->n_fetched)
        return NULL;
    *ret_n = r->n_fetched - (size_t)(index - first);
    return r->fetched + (index - first);
}

/* The part of the slice that one message may carry. */
static size_t cut(const struct raft *r, const struct raft_entry *e, size_t n, size_t *ret_bytes)
{
    const struct raft_options *o = &r->store->o;
    size_t bytes = 0, i = 0;
    if (n > o->max_append_entries)
        n = o->max_append_entries;
    if (n > 1 && BUGGIFY("raft: one entry a message"))
        n = 1;
    for (; i < n; i++) {
        if (i > 0 && bytes + e[i].payload.len > o->max_append_bytes)
            break;
        bytes += e[i].payload.len;
    }
    *ret_bytes = bytes;
    return i;
}

static bool build_append(struct raft *r, struct raft__peer *p, struct raft_msg *m)
{
    if (p->state == RAFT_SNAPSHOT && !r->out)
        raft__snap_start(r, p); /* its turn has come */
    if (p->state == RAFT_SNAPSHOT || (p->state == RAFT_PROBE && p->probe_sent) ||
        (p->state == RAFT_REPLICATE && (inflight_full(r, p) || p->next > r->log.last)))
        return false;
    if (p->next <= r->log.compacted) {
        raft__snap_start(r, p);
        return false;
    }
    size_t n = 0, bytes = 0;
    const struct raft_entry *e = NULL;
    if (p->next <= r->log.last) {
        e = raft__readable(r, p->next, &n);
        if (e) {
            n = cut(r, e, n, &bytes);
        } else if (raft__is_bad(r, p->next) && p->state == RAFT_REPLICATE) {
            raft__snap_start(r, p);
            return false;
        } else if (p->state == RAFT_REPLICATE) {
            raft__want_fetch(r, p->next, r->log.last);
            return false;
        } /* a probe without entries tells as much */
    }
    raft__fill(r, m, RAFT_MSG_APPEND, p->replica, p->store);
    m->index = p->next - 1;
    m->log_term = raft__term_at(&r->log, m->index);
    m->commit = r->commit;
    m->round = r->round;
    m->entries = e;
    m->n_entries = n;
    if (p->state == RAFT_PROBE) {
        p->probe_sent = true;
    } else {
        p->next += n;
        inflight_add(r, p, p->next - 1, bytes);
    }
    p->commit_told = r->commit;
    p->hb_due = false;
    return true;
}

static void build_heartbeat(struct raft *r, struct raft__peer *p, struct raft_msg *m)
{
    raft__fill(r, m, RAFT_MSG_HEARTBEAT, p->replica, p->store);
    m->commit = r->commit;
    m->round = r->round;
    m->index = r->log.last;
    if (r->sleeping) {
        m->flags = RAFT_MSG_QUIESCE;
        m->hint = r->store->o.incarnation;
        m->offset = r->store->generation;
    }
    p->commit_told = r->commit;
    p->hb_due = false;
}

size_t raft__gather(struct raft *r, struct raft_msg *out, size_t max, bool *more)
{
    size_t n = 0;
    if (r->role != RAFT_LEADER)
        return 0;
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        if (p->replica == r->id)
            continue;
        while (n < max && build_append(r, p, &out[n]))
            n++;
        if (n < max && p->hb_due)
            build_heartbeat(r, p, &out[n++]);
    }
    if (n < max && raft__snap_message(r, &out[n]))
        n++;
    *more = n == max;
    return n;
}

void raft_unreachable(struct raft *r, uint64_t replica)
{
    struct raft__peer *p = raft__peer(r, replica);
    if (r->role == RAFT_LEADER && p && p->state == RAFT_REPLICATE) {
        raft__peer_probe(r, p, p->match + 1);
        p->probe_sent = true; /* until it answers a heartbeat */
    }
    if (r->role == RAFT_FOLLOWER && replica == r->leader && r->leader != 0)
        raft__leader_lost(r);
}

void raft_tell(struct raft *r, uint64_t replica)
{
    struct raft__peer *p = raft__peer(r, replica);
    if (r->role != RAFT_LEADER || !p || p->commit_told >= r->commit)
        return;
    p->hb_due = true;
    raft__touch(r);
}

/* ---- a follower takes entries ---- */

void raft__ack(struct raft *r, uint64_t to, uint64_t to_store, uint64_t index, uint64_t round)
{
    uint64_t bad = raft__first_bad(r);
    if (index >= bad)
        index = bad - 1;
    bool after = index > r->log.durable || !raft__hard_durable(r);
    if (PLANTED(ACK_BEFORE_SYNC))
        after = false;
    struct raft_msg *a = raft__send(r, RAFT_MSG_APPEND_RESP, to, to_store, after);
    if (!a)
        return;
    a->index = index;
    a->commit = r->commit;
    a->round = round;
}

static void refuse_append(struct raft *r, const struct raft_msg *m, uint64_t hint, uint8_t flags)
{
    struct raft_msg *a =
        raft__send(r, RAFT_MSG_APPEND_RESP, m->from, m->from_store, !raft__hard_durable(r));
    if (!a)
        return;
    PROBE("raft: an append is refused");
    a->flags = (uint8_t)(RAFT_MSG_REJECT | flags);
    a->index = m->index;
    a->hint = hint;
    a->log_term = raft__term_at(&r->log, hint);
    a->commit = r->commit;
    a->round = m->round;
}

static enum status take_entry(struct raft *r, const struct raft_entry *e)
{
    struct raft_conf c;
    enum status st = ST_OK;
    if (e->kind == RAFT_ENTRY_CONF) {
        st = raft_conf_decode(e->payload, &c, NULL);
        if (st == ST_OK)
            st = raft__peers_reserve(r, c.n);
    }
    /* With nothing under way, one entry always fits: no limit may stop a group for good. */
    if (st == ST_OK)
        st = raft__log_append(r, e->term, e->kind, e->payload, true, r->log.durable == r->log.last);
    if (st == ST_OK && e->kind == RAFT_ENTRY_CONF)
        st = raft__set_conf(r, &c, e->index);
    return st;
}

/* Appends what is new; `*ret_last`: the log equals the leader's up to there. */
static enum status take_entries(struct raft *r, const struct raft_msg *m, uint64_t *ret_last)
{
    uint64_t last = m->index;
    enum status st = ST_OK;
    for (size_t i = 0; i < m->n_entries; i++) {
        const struct raft_entry *e = &m->entries[i];
        uint64_t mine = raft__term_at(&r->log, e->index);
        if (e->index <= r->commit) { /* equal already, however far the message reaches back */
            if (mine && mine != e->term && !raft__is_bad(r, e->index)) {
                st = ST_INVALID_ARGUMENT; /* contradicts what is committed */
                break;
            }
            last = e->index;
            continue;
        }
        if (mine != e->term) {
            if (e->index <= r->conf_index && e->index <= r->prev_index) {
                st = ST_INVALID_ARGUMENT; /* contradicts a change that was committed */
                break;
            }
            if (e->index <= r->log.last)
                raft__log_truncate(r, e->index);
            st = take_entry(r, e);
            if (st != ST_OK)
                break;
        }
        last = e->index;
    }
    *ret_last = last;
    return st;
}

static void mend_from(struct raft *r, const struct raft_msg *m)
{
    for (size_t i = 0; i < m->n_entries && r->n_bad; i++)
        if (raft__is_bad(r, m->entries[i].index) && raft__mend(r, &m->entries[i]) != ST_OK)
            break; /* the next append tries again */
}

enum status raft__on_append(struct raft *r, const struct raft_msg *m)
{
    if (r->in && r->in->install)
        return ST_OK; /* the state is being replaced: as if lost */
    mend_from(r, m);
    uint64_t bad = raft__first_bad(r);
    if (m->index >= bad) {
        refuse_append(r, m, bad - 1, RAFT_MSG_DAMAGED);
        return ST_OK;
    }
    if (m->index >= r->commit &&
        (m->index > r->log.last || raft__term_at(&r->log, m->index) != m->log_term)) {
        if (m->index == r->commit && m->index <= r->log.last)
            return ST_INVALID_ARGUMENT; /* contradicts what is committed */
        refuse_append(r, m, raft__hint(&r->log, m->index, m->log_term), 0);
        return ST_OK;
    }
    uint64_t last;
    enum status st = take_entries(r, m, &last);
    if (last < r->commit)
        last = r->commit;
    if (PLANTED(STALE_APPEND_TRUNCATES) && m->n_entries > 0 && last >= r->commit &&
        last < r->log.last)
        raft__log_truncate(r, last + 1);
    if (last > r->verified)
        r->verified = last;
    raft__set_commit(r, m->commit < r->verified ? m->commit : r->verified);
    raft__ack(r, m->from, m->from_store, last, m->round);
    return st;
}

/* ---- the leader hears answers ---- */

static void on_refused(struct raft *r, struct raft__peer *p, const struct raft_msg *m)
{
    if (m->hint > r->log.last || p->state == RAFT_SNAPSHOT)
        return;
    if (m->flags & RAFT_MSG_DAMAGED) { /* it lost what it had: its copy does not count any more */
        if (m->hint < p->match)
            p->match = m->hint;
        raft__peer_probe(r, p, m->hint + 1);
        return;
    }
    if (p->state == RAFT_REPLICATE) {
        if (m->index > p->match) /* else it speaks of the past */
            raft__peer_probe(r, p, p->match + 1);
        return;
    }
    if (p->state != RAFT_PROBE || m->index != p->next - 1 || m->index <= p->match)
        return;
    uint64_t next = raft__hint(&r->log, m->hint, m->log_term) + 1;
    if (next > m->index)
        next = m->index;
    raft__peer_probe(r, p, next > p->match ? next : p->match + 1);
}

static void on_accepted(struct raft *r, struct raft__peer *p, uint64_t match)
{
    if (match > p->match) {
        p->match = match;
        p->progress_at = r->store->now;
    }
    if (p->next <= p->match)
        p->next = p->match + 1;
    inflight_free(p, p->match);
    if (p->state == RAFT_SNAPSHOT) {
        bool mine = r->out && r->out->peer == p->replica;
        bool arrived = mine && r->out->meta.id && p->match >= r->out->meta.index;
        if (p->match < r->log.compacted && !arrived)
            return;
        if (mine)
            raft__snap_stop(r);
        p->state = RAFT_PROBE; /* compacted further meanwhile: another one follows */
    }
    if (p->state == RAFT_PROBE) {
        raft__peer_probe(r, p, p->match + 1);
        p->state = RAFT_REPLICATE;
    }
    raft__maybe_commit(r);
    raft__transfer_progress(r);
}

enum status raft__on_append_resp(struct raft *r, const struct raft_msg *m)
{
    struct raft__peer *p = raft__peer(r, m->from);
    if (r->role != RAFT_LEADER || !p)
        return ST_OK;
    raft__peer_heard(r, p);
    if (m->round > p->round && m->round <= r->round)
        p->round = m->round;
    if (m->flags & RAFT_MSG_REJECT)
        on_refused(r, p, m);
    else if (m->index <= r->log.last)
        on_accepted(r, p, m->index);
    raft__reads_check(r);
    raft__touch(r);
    return ST_OK;
}

enum status raft__on_heartbeat(struct raft *r, const struct raft_msg *m)
{
    uint64_t known = PLANTED(COMMIT_UNVERIFIED) ? r->log.last : r->verified;
    raft__set_commit(r, m->commit < known ? m->commit : known);
    bool slept = raft__try_sleep_follower(r, m);
    struct raft_msg *a =
        raft__send(r, RAFT_MSG_HEARTBEAT_RESP, m->from, m->from_store, !raft__hard_durable(r));
    if (!a)
        return ST_OVERLOADED;
    a->round = m->round;
    a->commit = r->commit;
    a->index = r->verified;
    if (slept) {
        a->flags = RAFT_MSG_QUIESCE;
        a->hint = r->store->o.incarnation;
        a->offset = r->store->generation;
    }
    return ST_OK;
}

enum status raft__on_heartbeat_resp(struct raft *r, const struct raft_msg *m)
{
    struct raft__peer *p = raft__peer(r, m->from);
    if (r->role != RAFT_LEADER || !p || r->asleep)
        return ST_OK;
    raft__peer_heard(r, p);
    if (m->round > p->round && m->round <= r->round)
        p->round = m->round;
    if (p->state == RAFT_PROBE)
        p->probe_sent = false;
    /* It began anew, and does not know yet that its log equals ours: without being told it would not
     * take what is committed for committed until the next entry comes. */
    if (p->state == RAFT_REPLICATE && p->in_n == 0 && m->index < p->match)
        raft__peer_probe(r, p, p->match + 1);
    raft__sleep_answer(r, p, m->flags & RAFT_MSG_QUIESCE);
    raft__reads_check(r);
    raft__touch(r);
    return ST_OK;
}

void raft__tick_leader(struct raft *r)
{
    struct raft_store *s = r->store;
    if (!raft__quorum_active(r)) {
        PROBE("raft: a leader hears no quorum and steps down");
        raft__become_follower(r, r->term, 0, 0);
        return;
    }
    bool beat = s->now >= r->hb_at;
    if (beat)
        r->hb_at = s->now + s->o.heartbeat_ms;
    for (size_t i = 0; i < r->n_peers; i++) {
        struct raft__peer *p = &r->peers[i];
        if (p->replica == r->id)
            continue;
        if (p->state == RAFT_REPLICATE && p->in_n &&
            s->now - p->progress_at > 2 * s->o.heartbeat_ms)
            raft__peer_probe(r, p, p->match + 1); /* the last of a burst was lost */
        p->hb_due = p->hb_due || beat || (p->commit_told < r->commit && p->in_n == 0);
        if (p->hb_due)
            raft__touch(r);
    }
    if (r->transfer_to && s->now >= r->transfer_at)
        raft__transfer_stop(r);
    if (raft_conf_joint(&r->conf))
        raft__conf_committed(r); /* there may have been no memory to leave it */
}
