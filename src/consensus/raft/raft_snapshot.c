/* raft_snapshot.c - bringing up a peer whose next entry is not in the log any more.
 *
 * One snapshot is sent at a time in a group, in chunks, one under way; the receiver says how far it
 * has got, so a transfer goes on where it stopped as long as the snapshot's id is the same. One that
 * reaches back behind the receiver's commit is never installed; one whose last entry the receiver
 * already has only moves its commit, and newer entries stay.
 */
#include "consensus/raft/raft_internal.h"

#include "base/buggify.h"
#include "base/planted.h"

/* ---- sending ---- */

void raft__snap_start(struct raft *r, struct raft__peer *p)
{
    uint64_t next = p->next;
    raft__peer_probe(r, p, next);
    p->state = RAFT_SNAPSHOT;
    if (r->out)
        return; /* its turn comes */
    r->out = mem_zalloc(sizeof *r->out);
    if (!r->out)
        return; /* tried again with the next update */
    r->out->peer = p->replica;
    r->out->want_made = true;
    r->out->at = r->store->now;
    raft__touch(r);
}

void raft__snap_stop(struct raft *r)
{
    if (!r->out)
        return;
    /* One that is still being made has none, and another may wait to be told. */
    if (r->out->meta.id)
        r->drop_snapshot = r->out->meta.id;
    raft__block_put(r->store, r->out->chunk);
    mem_free(r->out);
    r->out = NULL;
    raft__touch(r);
}

/* Gives up for now; the peer's answer to a heartbeat begins anew. */
static void pause_peer(struct raft *r)
{
    struct raft__peer *p = raft__peer(r, r->out->peer);
    raft__snap_stop(r);
    if (p) {
        raft__peer_probe(r, p, p->next);
        p->probe_sent = true;
    }
}

/* From where on a snapshot helps: what the log has no more, or cannot read, must lie below it. One that ends
 * before a rotten entry would bring its peer to that entry again and again. */
static uint64_t snap_floor(const struct raft *r)
{
    uint64_t floor = r->log.compacted ? r->log.compacted : 1;
    for (unsigned i = 0; i < r->n_bad; i++)
        if (r->bad[i].index > floor && r->bad[i].index <= r->applied)
            floor = r->bad[i].index;
    return floor;
}

void raft_snapshot_made(struct raft *r, enum status st, const struct raft_snapshot *snap)
{
    struct raft__snap_out *o = r->out;
    if (!o || !o->asked_made || !o->want_made) {
        if (st == ST_OK)
            r->drop_snapshot = snap->id;
        raft__touch(r);
        return;
    }
    if (st != ST_OK || snap->id == 0 || snap->index < snap_floor(r) || snap->index > r->applied ||
        raft__conf_check(&snap->conf, NULL) != ST_OK) {
        pause_peer(r);
        if (st == ST_OK)
            r->drop_snapshot = snap->id; /* made, and of no use */
        return;
    }
    o->meta = *snap;
    o->want_made = false;
    o->want_chunk = true;
    raft__touch(r);
}

void raft_snapshot_chunk(struct raft *r, uint64_t id, enum status st, uint64_t offset,
                         struct bytes data, bool last)
{
    struct raft__snap_out *o = r->out;
    if (!o || o->meta.id != id || !o->asked_chunk || !o->want_chunk || offset != o->offset)
        return;
    struct raft__block *b = NULL;
    if (st == ST_OK && data.len <= r->store->o.max_chunk_bytes && (data.len || last))
        b = raft__block_copy(r->store, data, true);
    if (!b) {
        pause_peer(r);
        return;
    }
    o->chunk = b;
    o->len = data.len;
    o->last = last;
    o->want_chunk = o->asked_chunk = o->sent = false;
    raft__touch(r);
}

bool raft__snap_message(struct raft *r, struct raft_msg *m)
{
    struct raft__snap_out *o = r->out;
    struct raft__peer *p = o ? raft__peer(r, o->peer) : NULL;
    if (!p || !o->chunk || o->sent)
        return false;
    raft__fill(r, m, RAFT_MSG_SNAPSHOT, p->replica, p->store);
    m->flags = o->last ? RAFT_MSG_LAST : 0;
    m->index = o->meta.index;
    m->log_term = o->meta.term;
    m->snapshot = &o->meta;
    m->offset = o->offset;
    m->data = BYTES(o->chunk->data, o->len);
    o->sent = true;
    o->at = r->store->now;
    return true;
}

enum status raft__on_snapshot_resp(struct raft *r, const struct raft_msg *m)
{
    struct raft__snap_out *o = r->out;
    struct raft__peer *p = raft__peer(r, m->from);
    if (r->role != RAFT_LEADER || !p)
        return ST_OK;
    raft__peer_heard(r, p);
    if (!o || o->peer != m->from || !o->meta.id || m->hint != o->meta.id)
        return ST_OK;
    if (m->flags & RAFT_MSG_REJECT) {
        pause_peer(r);
        return ST_OK;
    }
    /* DAMAGED: the receiver is elsewhere, back too. Else only forward; the last chunk is kept, and
     * sent again until the acknowledgement of its index comes. */
    bool resync = m->flags & RAFT_MSG_DAMAGED;
    if (m->offset == o->offset || (!resync && m->offset < o->offset) ||
        (o->last && m->offset >= o->offset + o->len))
        return ST_OK;
    raft__block_put(r->store, o->chunk);
    o->chunk = NULL;
    o->offset = m->offset;
    o->want_chunk = true;
    o->asked_chunk = o->sent = o->last = false;
    raft__touch(r);
    return ST_OK;
}

/* ---- receiving ---- */

void raft__snap_in_drop(struct raft *r)
{
    if (!r->in)
        return;
    ASSERT(!r->in->install_shown);
    r->drop_snapshot = r->in->meta.id;
    raft__block_put(r->store, r->in->chunk);
    mem_free(r->in);
    r->in = NULL;
    raft__touch(r);
}

static void answer(struct raft *r, const struct raft__snap_in *in, uint8_t flags)
{
    struct raft_msg *a =
        raft__send(r, RAFT_MSG_SNAPSHOT_RESP, in->from, in->from_store, !raft__hard_durable(r));
    if (!a)
        return;
    a->flags = flags;
    a->hint = in->meta.id;
    a->offset = in->offset;
}

/* True: there is nothing to gain from it. A log that reaches as far but is rotten on the way may
 * gain, as long as what was applied is not taken back. */
static bool have_it(struct raft *r, const struct raft_snapshot *s)
{
    if (s->index <= r->apply_sent)
        return !PLANTED(SNAPSHOT_OVER_NEWER);
    bool reaches = s->index <= r->commit || raft__term_at(&r->log, s->index) == s->term;
    return reaches && raft__first_bad(r) > s->index;
}

static void fast_forward(struct raft *r, const struct raft_snapshot *s)
{
    PROBE("raft: a snapshot tells nothing new");
    /* What a snapshot covers is committed, and equal terms at an index mean equal logs up to it. */
    raft__set_commit(r, s->index);
    if (r->verified < r->commit)
        r->verified = r->commit;
    raft__ack(r, r->leader, r->leader_store, r->commit, 0);
}

static enum status begin(struct raft *r, const struct raft_msg *m)
{
    enum status st = raft__conf_check(&m->snapshot->conf, NULL);
    if (st == ST_OK)
        st = raft__peers_reserve(r, m->snapshot->conf.n);
    if (st != ST_OK)
        return st;
    raft__snap_in_drop(r);
    r->in = mem_zalloc(sizeof *r->in);
    if (!r->in)
        return ST_NO_MEMORY;
    r->in->meta = *m->snapshot;
    PROBE("raft: a snapshot begins to come in");
    return ST_OK;
}

enum status raft__on_snapshot(struct raft *r, const struct raft_msg *m)
{
    if (r->in && r->in->install)
        return ST_OK;
    if (have_it(r, m->snapshot)) {
        fast_forward(r, m->snapshot);
        return ST_OK;
    }
    if (!r->in || r->in->meta.id != m->snapshot->id || r->in->meta.index != m->snapshot->index ||
        r->in->meta.term != m->snapshot->term) {
        enum status st = begin(r, m);
        if (st != ST_OK)
            return st;
    }
    struct raft__snap_in *in = r->in;
    in->from = m->from;
    in->from_store = m->from_store;
    if (in->busy)
        return ST_OK; /* it is being stored: the answer comes by itself */
    if (m->offset != in->offset) {
        answer(r, in, RAFT_MSG_DAMAGED);
        return ST_OK;
    }
    in->chunk = raft__block_copy(r->store, m->data, true);
    if (!in->chunk)
        return ST_NO_MEMORY;
    in->len = m->data.len;
    in->last = m->flags & RAFT_MSG_LAST;
    in->busy = true;
    in->shown = false;
    raft__touch(r);
    return ST_OK;
}

void raft_chunk_written(struct raft *r, uint64_t id, enum status st)
{
    struct raft__snap_in *in = r->in;
    if (!in || in->meta.id != id || !in->busy || !in->shown)
        return;
    raft__block_put(r->store, in->chunk);
    in->chunk = NULL;
    in->busy = false;
    if (st != ST_OK) {
        answer(r, in, RAFT_MSG_REJECT);
        raft__snap_in_drop(r);
        return;
    }
    in->offset += in->len;
    answer(r, in, 0);
    if (!in->last)
        return;
    if (r->role != RAFT_FOLLOWER) {
        raft__snap_in_drop(r);          /* an election began meanwhile */
    } else if (have_it(r, &in->meta)) { /* entries overtook it */
        struct raft_snapshot s = in->meta;
        raft__snap_in_drop(r);
        fast_forward(r, &s);
    } else if (raft__term_at(&r->log, in->meta.index) == in->meta.term &&
               in->meta.index > r->log.durable) {
        /* Entries that reach over it are on their way to the disk, and some may be committed: they must
         * stay, and cannot before they are durable. The leader begins again, if it is still needed. */
        answer(r, in, RAFT_MSG_REJECT);
        raft__snap_in_drop(r);
    } else {
        in->install = true; /* from now on nothing is appended, committed or applied */
        in->keep = raft__term_at(&r->log, in->meta.index) == in->meta.term;
        raft__touch(r);
    }
}

static void install_conf(struct raft *r, const struct raft_snapshot *s, bool keep)
{
    if (!keep || r->prev_index <= s->index) {
        r->prev = s->conf;
        r->prev_index = s->index;
    }
    if (keep && r->conf_index > s->index)
        return; /* a newer one is in the log that goes on behind */
    r->conf = s->conf;
    r->conf_index = s->index;
    raft__use_conf(r, &r->conf); /* room was made when it began */
}

void raft_installed(struct raft *r, uint64_t id, enum status st)
{
    struct raft__snap_in *in = r->in;
    if (!in || in->meta.id != id || !in->install_shown)
        return;
    in->install_shown = false;
    if (st != ST_OK) {
        answer(r, in, RAFT_MSG_REJECT);
        raft__snap_in_drop(r);
        return;
    }
    struct raft_snapshot s = in->meta;
    PROBE("raft: a snapshot is installed");
    ASSERT(s.index > r->apply_sent);
    if (in->keep) {
        raft__log_compact(r, s.index);
    } else {
        raft__drop_bad(r, 0, UINT64_MAX);
        raft__log_reset(r, s.index, s.term);
    }
    if (r->commit < s.index)
        r->commit = s.index;
    r->applied = r->apply_sent = s.index;
    install_conf(r, &s, in->keep);
    if (r->verified < s.index)
        r->verified = s.index;
    uint64_t to = in->from, to_store = in->from_store;
    mem_free(in);
    r->in = NULL;
    raft__reads_applied(r);
    raft__ack(r, to, to_store, r->commit, 0);
    raft__touch(r);
}

void raft__tick_snapshot(struct raft *r)
{
    struct raft__snap_out *o = r->out;
    uint64_t now = r->store->now;
    if (r->in && !r->in->install && !r->in->busy && have_it(r, &r->in->meta))
        raft__snap_in_drop(r);
    if (!o)
        return;
    const struct raft__peer *p = raft__peer(r, o->peer);
    if (!p || now - p->active_at >= r->store->o.election_ms) {
        pause_peer(r); /* others may have their turn */
    } else if (o->sent && now - o->at >= r->store->o.election_ms / 2) {
        o->sent = false; /* again */
        raft__touch(r);
    }
}

void raft__snap_update(struct raft *r, struct raft_update *u)
{
    struct raft__snap_out *o = r->out;
    struct raft__snap_in *in = r->in;
    u->drop_snapshot = r->drop_snapshot;
    r->drop_snapshot = 0;
    if (o && o->want_made && !o->asked_made) {
        o->asked_made = true;
        u->want_snapshot = snap_floor(r);
    }
    if (o && o->want_chunk && !o->asked_chunk) {
        o->asked_chunk = true;
        u->want_chunk.id = o->meta.id;
        u->want_chunk.offset = o->offset;
        u->want_chunk.max_bytes = r->store->o.max_chunk_bytes;
        if (BUGGIFY("raft: a chunk is small"))
            u->want_chunk.max_bytes = u->want_chunk.max_bytes / 64 + 1;
    }
    if (in && in->busy && !in->shown) {
        in->shown = true;
        u->chunk.snapshot = &in->meta;
        u->chunk.offset = in->offset;
        u->chunk.data = BYTES(in->chunk->data, in->len);
        u->chunk.last = in->last;
    }
    if (in && in->install && !in->install_shown) {
        ASSERT(in->meta.index > r->apply_sent); /* what was applied is never taken back */
        in->install_shown = true;
        u->install = &in->meta;
        u->install_keeps_log = in->keep;
    }
}
