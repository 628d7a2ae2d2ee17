/* raft_read.c - linearizable reads without writing (ReadIndex, dissertation 6.4).
 *
 * A read at the leader waits for a round of answers that began after it came: rounds are numbered,
 * every number is used once, and all reads that come while a round is under way share the next one.
 * Before the first commit of its term the leader does not know what is committed, so reads wait
 * for that too. A follower asks the leader, one message for all reads since the last update; the
 * numbers of its askings begin where no earlier life of this replica can have been.
 */
#include "consensus/raft/raft_internal.h"

#include "base/planted.h"

static struct raft__ask *front(struct raft__fifo *f)
{
    return f->n ? &f->v[f->head] : NULL;
}

static void pop(struct raft__fifo *f)
{
    f->head++;
    if (--f->n == 0)
        f->head = 0;
}

static enum status push(struct raft *r, struct raft__fifo *f, struct raft__ask a)
{
    if (f->n >= r->store->o.max_reads)
        return ST_OVERLOADED;
    if (f->head + f->n == f->cap) {
        if (f->head > f->cap / 2) {
            memmove(f->v, f->v + f->head, f->n * sizeof *f->v);
        } else {
            size_t cap = f->cap ? f->cap * 2 : 8;
            struct raft__ask *v = mem_alloc(cap * sizeof *v);
            if (!v)
                return ST_NO_MEMORY;
            if (f->n)
                memcpy(v, f->v + f->head, f->n * sizeof *v);
            mem_free(f->v);
            f->v = v;
            f->cap = cap;
        }
        f->head = 0;
    }
    f->v[f->head + f->n++] = a;
    return ST_OK;
}

/* So that no read of this replica can get lost for want of memory later. */
static enum status reserve_done(struct raft *r)
{
    size_t need = r->n_done + r->own_reads + 1;
    if (need <= r->cap_done)
        return ST_OK;
    size_t cap = r->cap_done ? r->cap_done * 2 : 8;
    struct raft_read_done *v = mem_realloc(r->done_reads, cap * sizeof *v);
    if (!v)
        return ST_NO_MEMORY;
    r->done_reads = v;
    r->cap_done = cap;
    return ST_OK;
}

static void finish(struct raft *r, const struct raft__ask *a, bool ok)
{
    ASSERT(r->own_reads > 0 && r->n_done < r->cap_done);
    r->own_reads--;
    r->done_reads[r->n_done++] = (struct raft_read_done){a->id, a->index, ok};
    raft__touch(r);
}

void raft__reads_applied(struct raft *r)
{
    for (struct raft__ask *a; (a = front(&r->waiting)) && a->index <= r->applied;) {
        finish(r, a, true);
        pop(&r->waiting);
    }
}

/* The index is known: wait for it to be applied. */
static void settle(struct raft *r, struct raft__ask a)
{
    if (a.index <= r->applied || PLANTED(READ_BEFORE_APPLIED))
        finish(r, &a, true);
    else if (push(r, &r->waiting, a) != ST_OK)
        finish(r, &a, false);
}

static void answer(struct raft *r, const struct raft__ask *a)
{
    struct raft_msg *m = raft__send(r, RAFT_MSG_READ_RESP, a->from, a->store, false);
    if (!m)
        return;
    m->round = a->id;
    m->index = a->index;
    m->commit = r->commit;
}

static void start_round(struct raft *r)
{
    r->round++;
    r->idle_at = r->store->now;
    for (size_t i = 0; i < r->n_peers; i++)
        if (raft__votes(r->peers[i].flags))
            r->peers[i].hb_due = true;
    raft__touch(r);
}

void raft__reads_check(struct raft *r)
{
    if (r->role != RAFT_LEADER || r->rounds.n == 0 ||
        (r->commit < r->term_start && !PLANTED(READ_BEFORE_TERM_COMMIT)))
        return;
    for (;;) {
        uint64_t done = raft__quorum_round(r);
        if (PLANTED(READ_WITHOUT_QUORUM) || (PLANTED(READ_AFTER_PAUSE) && raft__quorum_active(r)))
            done = r->round;
        if (done > r->round_done)
            r->round_done = done;
        struct raft__ask *a;
        while ((a = front(&r->rounds)) && a->round <= r->round_done) {
            struct raft__ask copy = *a;
            pop(&r->rounds);
            if (copy.from)
                answer(r, &copy);
            else
                settle(r, copy);
        }
        if (!a || a->round <= r->round)
            return;
        start_round(r);
    }
}

static enum status lead_read(struct raft *r, struct raft__ask a)
{
    raft__wake(r);
    if (r->commit >= r->term_start || PLANTED(READ_BEFORE_TERM_COMMIT)) {
        a.index = r->commit;
        a.round = r->round + (PLANTED(READ_SHARES_OLD_ROUND) ? 0 : 1); /* the next to begin */
    }
    enum status st = push(r, &r->rounds, a);
    if (st != ST_OK)
        return st;
    r->own_reads += a.from == 0;
    r->idle_at = r->store->now;
    raft__touch(r); /* the round begins with the update, so that all reads until then share it */
    return ST_OK;
}

void raft__reads_term_committed(struct raft *r)
{
    for (size_t i = 0; i < r->rounds.n; i++) {
        struct raft__ask *a = &r->rounds.v[r->rounds.head + i];
        if (a->round == 0) {
            a->index = r->commit;
            a->round = r->round + 1;
        }
    }
    raft__reads_check(r);
}

enum status raft_read(struct raft *r, uint64_t id)
{
    enum status st = reserve_done(r);
    if (st != ST_OK)
        return st;
    struct raft__ask a = {.id = id, .at = r->store->now};
    if (r->role == RAFT_LEADER)
        return lead_read(r, a);
    if (!r->leader)
        return ST_PRECONDITION_FAILED;
    raft__wake(r);
    st = push(r, &r->asked, a);
    if (st != ST_OK)
        return st;
    r->own_reads++;
    r->ask_due = true;
    raft__touch(r);
    return ST_OK;
}

void raft__reads_ask(struct raft *r)
{
    if (!r->ask_due || r->role == RAFT_LEADER || !r->leader || r->asked.n == 0)
        return;
    struct raft_msg *m =
        raft__send(r, RAFT_MSG_READ, r->leader, r->leader_store, !raft__hard_durable(r));
    if (!m)
        return;
    if (!PLANTED(READ_ID_REUSED) || r->ask_no == r->ask_first)
        r->ask_no++;
    m->round = r->ask_no;
    for (size_t i = 0; i < r->asked.n; i++) {
        struct raft__ask *a = &r->asked.v[r->asked.head + i];
        if (a->round == 0)
            a->round = r->ask_no;
    }
    r->ask_due = false;
    r->ask_at = r->store->now;
}

enum status raft__on_read(struct raft *r, const struct raft_msg *m)
{
    struct raft__ask a = {
        .id = m->round, .from = m->from, .store = m->from_store, .at = r->store->now};
    enum status st = r->role == RAFT_LEADER ? lead_read(r, a) : ST_PRECONDITION_FAILED;
    if (st == ST_OK)
        return ST_OK;
    struct raft_msg *no =
        raft__send(r, RAFT_MSG_READ_RESP, m->from, m->from_store, !raft__hard_durable(r));
    if (no) {
        no->flags = RAFT_MSG_REJECT;
        no->round = m->round;
    }
    return st == ST_PRECONDITION_FAILED ? ST_OK : st;
}

enum status raft__on_read_resp(struct raft *r, const struct raft_msg *m)
{
    if (r->role == RAFT_LEADER || m->from != r->leader)
        return ST_OK;
    if (m->round > r->ask_no || m->round <= r->ask_first)
        return ST_OK; /* not asked in this life */
    bool ok = !(m->flags & RAFT_MSG_REJECT);
    for (struct raft__ask *a; (a = front(&r->asked)) && a->round != 0 && a->round <= m->round;) {
        struct raft__ask copy = *a;
        pop(&r->asked);
        copy.index = m->index;
        if (ok)
            settle(r, copy);
        else
            finish(r, &copy, false);
    }
    if (ok)
        raft__set_commit(r, m->commit < r->verified ? m->commit : r->verified);
    return ST_OK;
}

void raft__reads_fail(struct raft *r)
{
    for (struct raft__ask *a; (a = front(&r->rounds)); pop(&r->rounds))
        if (a->from == 0)
            finish(r, a, false);
    for (struct raft__ask *a; (a = front(&r->asked)); pop(&r->asked))
        finish(r, a, false);
    r->ask_due = false;
}

void raft__tick_reads(struct raft *r)
{
    const struct raft_options *o = &r->store->o;
    uint64_t now = r->store->now;
    for (struct raft__ask *a; (a = front(&r->asked)) && now - a->at >= o->election_ms;
         pop(&r->asked))
        finish(r, a, false);
    if (r->asked.n && now - r->ask_at > 2 * o->heartbeat_ms && !r->ask_due) {
        r->ask_due = true; /* a later asking answers the earlier ones too */
        raft__touch(r);
    }
}

void raft__reads_deinit(struct raft *r)
{
    mem_free(r->rounds.v);
    mem_free(r->asked.v);
    mem_free(r->waiting.v);
    mem_free(r->done_reads);
}
