#include "node/range/replica_internal.h"

#include "base/buggify.h"

/* ---- taking updates ---- */

static void take_updates(struct replicas *rs)
{
    struct raft *raft;
    while (rs->n_open < REPLICA__ROUND_MAX && (raft = raft_store_ready(rs->store)) != NULL) {
        struct replica__open *o = &rs->open[rs->n_open];
        o->r = raft_user(raft);
        if (raft_update(raft, &o->u))
            rs->n_open++;
    }
}

/* ---- messages ---- */

static void send_one(struct replicas *rs, const struct raft_msg *m)
{
    if (m->to_store == rs->o.node)
        return; /* to a replica whose place another one has taken here */
    struct buf *b = replicas__out(rs, m->to_store);
    if (!b)
        return; /* as if lost */
    if (raft_encode(b, m) == ST_TOO_LARGE && b->len > REPLICA_BUNDLE_HEAD) {
        replicas_flush(rs);
        b = replicas__out(rs, m->to_store);
        if (b)
            (void)!raft_encode(b, m);
    }
    replicas__out_full(rs, m->to_store);
}

static void send_beats(struct replicas *rs)
{
    struct raft_beat beats[RAFT_MEMBERS_MAX];
    size_t n = raft_store_beats(rs->store, beats, RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < n; i++) {
        struct buf *b = replicas__out(rs, beats[i].to_store);
        if (b)
            (void)!raft_encode_beat(b, &beats[i]);
    }
}

static void send_now(struct replicas *rs)
{
    for (size_t i = 0; i < rs->n_open; i++)
        for (size_t k = 0; k < rs->open[i].u.n_now; k++)
            send_one(rs, &rs->open[i].u.now[k]);
    send_beats(rs);
    replicas_flush(rs);
}

static void send_after(struct replicas *rs)
{
    for (size_t i = 0; i < rs->n_open; i++)
        for (size_t k = 0; k < rs->open[i].u.n_after; k++)
            send_one(rs, &rs->open[i].u.after[k]);
    replicas_flush(rs);
}

/* ---- the owner's part ---- */

static enum status tell_owner(struct replicas *rs, struct replica__open *o)
{
    const struct replicas_calls *c = &rs->o.calls;
    const struct raft_update *u = &o->u;
    if (u->role_changed)
        c->role_changed(c->arg, o->r);
    if (u->drop_snapshot)
        c->snapshot_drop(c->arg, o->r, u->drop_snapshot);
    if (u->chunk.snapshot)
        o->chunk_written = c->snapshot_write(c->arg, o->r, &u->chunk);
    if (u->n_committed == 0)
        return ST_OK;
    o->r->applied_term = u->committed[u->n_committed - 1].term;
    return c->apply(c->arg, o->r, u->committed, u->n_committed);
}

static void answer_reads(struct replicas *rs, struct replica__open *o)
{
    const struct replicas_calls *c = &rs->o.calls;
    for (size_t i = 0; i < o->u.n_reads; i++)
        c->read_done(c->arg, o->r, o->u.reads[i].id, o->u.reads[i].ok);
}

/* ---- telling raft ---- */

/* Old entries, for peers that are behind or to be applied. */
static void fetch(struct replica *r, const struct raft_fetch *f)
{
    size_t max = BUGGIFY("range: old entries are read one by one") ? 1 : f->max_bytes;
    enum status st = wal_read_entries(r->owner->wal, r->range, f->from, f->to, max, &r->read, NULL);
    size_t n = st == ST_OK || st == ST_CORRUPT ? r->read.n : 0;
    if (n > r->cap_fetched) {
        struct raft_entry *v = mem_realloc(r->fetched, n * sizeof *v);
        if (!v) {
            raft_fetched(r->raft, f->id, ST_NO_MEMORY, NULL, 0);
            return;
        }
        r->fetched = v;
        r->cap_fetched = n;
    }
    for (size_t i = 0; i < n; i++)
        if (!replica_entry_of(&r->read.v[i], &r->fetched[i])) {
            n = i;
            st = ST_CORRUPT;
        }
    raft_fetched(r->raft, f->id, st, r->fetched, n);
}

static void read_chunk(struct replica *r, const struct raft_want_chunk *w)
{
    const struct replicas_calls *c = &r->owner->o.calls;
    struct bytes data = BYTES_EMPTY;
    bool last = false;
    enum status st = c->snapshot_read(c->arg, r, w->id, w->offset, w->max_bytes, &data, &last);
    raft_snapshot_chunk(r->raft, w->id, st, w->offset, data, last);
}

/* What raft asked for in the update that is done. */
static void answer_requests(struct replica *r, const struct replica__open *o, uint64_t chunk_of,
                            const struct raft_snapshot *install)
{
    const struct replicas_calls *c = &r->owner->o.calls;
    const struct raft_update *u = &o->u;
    if (u->fetch.id)
        fetch(r, &u->fetch);
    if (chunk_of)
        raft_chunk_written(r->raft, chunk_of, o->chunk_written);
    if (u->want_chunk.id)
        read_chunk(r, &u->want_chunk);
    if (u->want_snapshot)
        c->snapshot_wanted(c->arg, r, u->want_snapshot);
    if (install->id)
        c->snapshot_install(c->arg, r, install, u->install_keeps_log);
}

static void finish(struct replicas *rs, struct replica__open *o, bool logged)
{
    struct raft *raft = o->r->raft;
    const struct raft_update *u = &o->u;
    uint64_t applied = u->n_committed ? u->committed[u->n_committed - 1].index : 0;
    uint64_t chunk_of = u->chunk.snapshot ? u->chunk.snapshot->id : 0;
    struct raft_snapshot install = u->install ? *u->install : (struct raft_snapshot){0};
    if (logged)
        answer_reads(rs, o);
    raft_done(raft);
    if (logged && u->ticket)
        raft_appended(raft, u->ticket);
    if (applied)
        raft_applied(raft, applied);
    answer_requests(o->r, o, chunk_of, &install);
}

static void close_all(struct replicas *rs, bool logged)
{
    size_t n = rs->n_open;
    rs->n_open = 0;
    for (size_t i = 0; i < n; i++)
        finish(rs, &rs->open[i], logged);
}

/* An append failed, and left nothing in the log. */
static void not_logged(struct replicas *rs)
{
    for (size_t i = 0; i < rs->n_open; i++)
        if (!rs->open[i].r->alone) {
            PROBE("range: a round waits for the log");
            rs->stalled = true;
            return;
        }
    size_t n = rs->n_open;
    close_all(rs, false);
    for (size_t i = 0; i < n; i++)
        replica_withdraw(rs->open[i].r);
}

void replica_compact(struct replica *r, uint64_t index)
{
    if (!r->owner->broken && !r->owner->stalled)
        raft_compact(r->raft, index);
}

enum status replicas_round(struct replicas *rs, bool sync, bool *ret_any, struct err *err)
{
    enum status st = ST_OK;
    *ret_any = false;
    if (rs->broken)
        return err_set(err, rs->broken, "the replica has stopped after a failure");
    if (!rs->stalled) {
        take_updates(rs);
        send_now(rs);
        for (size_t i = 0; st == ST_OK && i < rs->n_open; i++)
            st = tell_owner(rs, &rs->open[i]);
        if (st != ST_OK) {
            rs->broken = ST_POISONED;
            return err_set(err, st, "a committed entry cannot be applied");
        }
    }
    if (rs->n_open == 0) {
        replicas__tell_refused(rs);
        return ST_OK;
    }
    st = replicas__log(rs, sync, err);
    if (rs->broken) /* no vote and no acknowledgement leaves from here on */
        return st;
    if (st != ST_OK) {
        not_logged(rs);
        return st;
    }
    rs->stalled = false;
    *ret_any = true;
    send_after(rs);
    close_all(rs, true);
    replicas__tell_refused(rs);
    return ST_OK;
}
