#include "node/range/replica_internal.h"

enum { BUNDLE_FULL = 4 * 1024 * 1024, BUNDLE_KEEP = 256 * 1024 };

/* ---- life ---- */

enum status replicas_new(const struct replicas_options *o, struct replicas **ret, struct err *err)
{
    struct replicas *rs = mem_zalloc(sizeof *rs);
    if (!rs)
        return err_set(err, ST_NO_MEMORY, "no memory for replicas");
    rs->o = *o;
    struct raft_options ro = {.store = o->node,
                              .incarnation = o->incarnation,
                              .seed = o->seed,
                              .heartbeat_ms = o->heartbeat_ms,
                              .election_ms = o->election_ms,
                              .max_append_bytes = o->append_bytes,
                              .max_inflight_msgs = o->append_messages};
    enum status st = raft_store_new(&ro, &rs->store, err);
    if (st != ST_OK) {
        mem_free(rs);
        return st;
    }
    *ret = rs;
    return ST_OK;
}

void replicas_free(struct replicas *rs)
{
    if (!rs)
        return;
    for (size_t i = 0; i < rs->n_open; i++)
        raft_done(rs->open[i].r->raft);
    for (size_t i = 0; i < rs->n; i++) {
        raft_free(rs->v[i]->raft);
        wal_entries_deinit(&rs->v[i]->read);
        mem_free(rs->v[i]->fetched);
        mem_free(rs->v[i]);
    }
    raft_store_free(rs->store);
    for (size_t i = 0; i < rs->n_out; i++)
        buf_deinit(&rs->out[i].bundle);
    raft_decoded_deinit(&rs->decoded);
    mem_free(rs->conf_room);
    mem_free(rs->records);
    mem_free(rs->v);
    mem_free(rs);
}

void replicas_use_log(struct replicas *rs, struct wal *wal)
{
    rs->wal = wal;
}

static enum status reserve(struct replicas *rs)
{
    if (rs->n < rs->cap)
        return ST_OK;
    size_t cap = rs->cap ? rs->cap * 2 : 4;
    struct replica **v = mem_realloc(rs->v, cap * sizeof(struct replica *));
    if (!v)
        return ST_NO_MEMORY;
    rs->v = v;
    rs->cap = cap;
    return ST_OK;
}

enum status replica_new(struct replicas *rs, const struct raft_init *init, struct replica **ret,
                        struct err *err)
{
    struct replica *r = mem_zalloc(sizeof *r);
    if (!r || reserve(rs) != ST_OK) {
        mem_free(r);
        return err_set(err, ST_NO_MEMORY, "no memory for a replica");
    }
    struct raft_init i = *init;
    i.user = r;
    enum status st = raft_new(rs->store, &i, &r->raft, err);
    if (st != ST_OK) {
        mem_free(r);
        return st;
    }
    r->owner = rs;
    r->range = init->group;
    r->alone = init->alone;
    r->applied_term = init->hard.term;
    rs->v[rs->n++] = r;
    *ret = r;
    return ST_OK;
}

enum status replica_start(struct replica *r, struct err *err)
{
    enum status st = raft_start(r->raft, err);
    if (st != ST_OK)
        return st;
    struct raft_status s;
    raft_status(r->raft, &s);
    r->applied_term = raft_term_at(r->raft, s.applied);
    return ST_OK;
}

struct raft *replica_raft(struct replica *r)
{
    return r->raft;
}

uint64_t replica_applied_term(const struct replica *r)
{
    return r->applied_term;
}

bool replicas_broken(const struct replicas *rs)
{
    return rs->broken != ST_OK;
}

bool replicas_stalled(const struct replicas *rs)
{
    return rs->stalled;
}

/* ---- bundles ---- */

struct buf *replicas__out(struct replicas *rs, uint64_t node)
{
    struct replica__out *o = NULL;
    for (size_t i = 0; i < rs->n_out && !o; i++)
        if (rs->out[i].node == node)
            o = &rs->out[i];
    if (!o) {
        if (rs->n_out == RAFT_MEMBERS_MAX)
            return NULL; /* of no configuration there can be */
        o = &rs->out[rs->n_out++];
        *o = (struct replica__out){.node = node};
        buf_init(&o->bundle, REPLICA_BUNDLE_MAX);
    }
    if (o->bundle.len == 0 && replica_bundle_begin(&o->bundle, rs->o.incarnation) != ST_OK)
        return NULL;
    return &o->bundle;
}

static void leave(struct replicas *rs, struct replica__out *o)
{
    if (o->bundle.len <= REPLICA_BUNDLE_HEAD)
        return;
    if (!rs->o.calls.send(rs->o.calls.arg, o->node, buf_bytes(&o->bundle)))
        o->refused = true;
    if (o->bundle.cap > BUNDLE_KEEP) {
        buf_deinit(&o->bundle);
        buf_init(&o->bundle, REPLICA_BUNDLE_MAX);
    } else {
        buf_clear(&o->bundle);
    }
}

void replicas__out_full(struct replicas *rs, uint64_t node)
{
    for (size_t i = 0; i < rs->n_out; i++)
        if (rs->out[i].node == node && rs->out[i].bundle.len > BUNDLE_FULL)
            leave(rs, &rs->out[i]);
}

void replicas_flush(struct replicas *rs)
{
    for (size_t i = 0; i < rs->n_out; i++)
        leave(rs, &rs->out[i]);
}

/* There may be two of them while one takes the place of the other. */
static void for_members_at(struct replica *r, uint64_t node,
                           void (*fn)(struct raft *raft, uint64_t replica))
{
    struct raft_conf conf = *raft_configuration(r->raft);
    for (unsigned i = 0; i < conf.n; i++)
        if (conf.member[i].store == node)
            fn(r->raft, conf.member[i].replica);
}

void replicas__tell_refused(struct replicas *rs)
{
    for (size_t i = 0; i < rs->n_out; i++) {
        if (!rs->out[i].refused)
            continue;
        rs->out[i].refused = false;
        for (size_t k = 0; k < rs->n; k++)
            for_members_at(rs->v[k], rs->out[i].node, raft_unreachable);
    }
}

enum status replicas_say(struct replicas *rs, uint64_t to_node, uint8_t kind, struct bytes body)
{
    ASSERT(kind >= REPLICA_ITEM_OWN);
    struct buf *b = replicas__out(rs, to_node);
    if (!b)
        return ST_NO_MEMORY;
    enum status st = replica_item_encode(b, kind, body);
    if (st == ST_TOO_LARGE && b->len > REPLICA_BUNDLE_HEAD) { /* with what is there; not alone */
        replicas_flush(rs);
        b = replicas__out(rs, to_node);
        st = b ? replica_item_encode(b, kind, body) : ST_NO_MEMORY;
    }
    replicas__out_full(rs, to_node);
    return st;
}

/* ---- input ---- */

static struct replica *find(struct replicas *rs, uint64_t range)
{
    for (size_t i = 0; i < rs->n; i++)
        if (rs->v[i]->range == range)
            return rs->v[i];
    return NULL;
}

/* Whatever raft answers, a message that is not taken is as good as lost. */
static void step(struct replicas *rs, const struct raft_decoded *d)
{
    if (d->kind == RAFT_ITEM_BEAT) {
        (void)!raft_store_beat(rs->store, &d->beat);
        return;
    }
    struct replica *r = find(rs, d->msg.group);
    if (r && raft_step(r->raft, &d->msg) == ST_OK && rs->o.stepped)
        rs->o.stepped(rs->o.stepped_arg, r->raft, &d->msg);
}

enum status replicas_receive(struct replicas *rs, uint64_t from_node, struct bytes bundle,
                             void (*other)(void *arg, uint64_t from_node, uint64_t incarnation,
                                           uint8_t kind, struct bytes body),
                             void *arg, struct err *err)
{
    struct reader in = reader_of(bundle);
    uint64_t incarnation;
    if (rs->broken || rs->stalled)
        return ST_OK; /* as if lost */
    if (!replica_bundle_open(&in, &incarnation))
        return err_set(err, ST_INVALID_ARGUMENT, "a bundle of node %llu has no head",
                       (unsigned long long)from_node);
    for (uint8_t kind; (kind = replica_item_kind(&in)) != 0;) {
        if (kind >= REPLICA_ITEM_OWN) {
            struct bytes body;
            if (!replica_item_next(&in, &kind, &body))
                return err_set(err, ST_INVALID_ARGUMENT,
                               "a bundle of node %llu: item of kind %u is malformed",
                               (unsigned long long)from_node, kind);
            other(arg, from_node, incarnation, kind, body);
            continue;
        }
        enum status st = raft_decode(&in, from_node, rs->o.node, &rs->decoded, err);
        if (st == ST_NO_MEMORY)
            return ST_OK; /* the rest is as if lost */
        if (st != ST_OK)
            return st;
        step(rs, &rs->decoded);
    }
    if (reader_left(&in))
        return err_set(err, ST_INVALID_ARGUMENT, "a bundle of node %llu: an item of kind 0",
                       (unsigned long long)from_node);
    return ST_OK;
}

void replicas_tick(struct replicas *rs, uint64_t now_ms)
{
    if (!rs->broken && !rs->stalled)
        raft_store_tick(rs->store, now_ms);
}

enum status replica_propose(struct replica *r, struct bytes payload, uint64_t *ret_index,
                            uint64_t *ret_term)
{
    ASSERT(payload.len > 0 && payload.data[0] < REPLICA_CONF_MARK);
    if (r->owner->broken)
        return r->owner->broken;
    if (r->owner->stalled)
        return ST_OVERLOADED;
    return raft_propose(r->raft, payload, ret_index, ret_term);
}

enum status replica_read(struct replica *r, uint64_t id)
{
    if (r->owner->broken)
        return r->owner->broken;
    return r->owner->stalled ? ST_OVERLOADED : raft_read(r->raft, id);
}

void replica_unreachable(struct replica *r, uint64_t node)
{
    if (!r->owner->broken && !r->owner->stalled)
        for_members_at(r, node, raft_unreachable);
}

void replica_tell(struct replica *r, uint64_t node)
{
    if (!r->owner->broken && !r->owner->stalled)
        for_members_at(r, node, raft_tell);
}

enum status replica_hand_over(struct replica *r)
{
    struct raft_peer_status peers[RAFT_MEMBERS_MAX];
    const struct raft_peer_status *best = NULL;
    const uint64_t own = r->owner->o.node;
    if (r->owner->broken || r->owner->stalled)
        return ST_PRECONDITION_FAILED;
    if (!replica_leads(r))
        return ST_PRECONDITION_FAILED;
    size_t n = raft_peers(r->raft, peers, RAFT_MEMBERS_MAX), voters = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(peers[i].flags & RAFT_VOTER))
            continue;
        voters++;
        if (peers[i].active &&
            (!best || peers[i].match > best->match ||
             (peers[i].match == best->match && peers[i].store - own < best->store - own)))
            best = &peers[i];
    }
    if (voters == 0)
        return ST_NOT_FOUND;
    return best ? raft_transfer(r->raft, best->replica) : ST_PRECONDITION_FAILED;
}

enum status replica_change(struct replica *r, const struct raft_conf *target, uint64_t *ret_index,
                           uint64_t *ret_term, struct err *err)
{
    struct raft_status now;
    if (r->owner->broken)
        return err_set(err, r->owner->broken, "the replica has stopped after a failure");
    if (r->owner->stalled)
        return err_set(err, ST_OVERLOADED, "the log takes nothing now");
    raft_status(r->raft, &now);
    *ret_term = now.term;
    return raft_change(r->raft, target, true, ret_index, err);
}

bool replica_belongs(struct replica *r)
{
    const struct raft_conf *c = raft_configuration(r->raft);
    struct raft_status now;
    raft_status(r->raft, &now);
    for (unsigned i = 0; i < c->n; i++)
        if (c->member[i].replica == now.replica)
            return true;
    return false;
}

static bool answerable(const struct replica *r)
{
    return !r->owner->stalled || r->owner->broken;
}

bool replica_snapshot_made(struct replica *r, enum status st, const struct raft_snapshot *snap)
{
    if (answerable(r) && !r->owner->broken)
        raft_snapshot_made(r->raft, st, snap);
    return answerable(r);
}

bool replica_installed(struct replica *r, uint64_t id, uint64_t term, enum status st)
{
    if (!answerable(r))
        return false;
    if (r->owner->broken)
        return true;
    if (st == ST_OK)
        r->applied_term = term;
    raft_installed(r->raft, id, st);
    return true;
}

void replica_withdraw(struct replica *r)
{
    enum status st = raft_withdraw(r->raft);
    ASSERT(st == ST_OK);
}
