#include "unit/raft/cluster.h"

#include "base/hash.h"
#include "consensus/raft/raft_internal.h"
#include "support/cmocka.h"

#include <stdlib.h>

typedef unsigned long long ull;

#define DEMAND(c, cond, ...)                                                                       \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            print_error("step %llu: ", (ull)(c)->steps);                                           \
            print_error(__VA_ARGS__);                                                              \
            print_error("\n");                                                                     \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

static void *must(void *p)
{
    assert_non_null(p);
    return p;
}

static void *room(void *v, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return v;
    *cap = *cap ? *cap * 2 : 16;
    return must(realloc(v, *cap * size));
}

static uint8_t *copied(struct bytes b)
{
    uint8_t *p = must(malloc(b.len ? b.len : 1));
    if (b.len)
        memcpy(p, b.data, b.len);
    return p;
}

/* ---- disk ---- */

static void ops_free(struct disk *d, size_t from)
{
    for (size_t i = from; i < d->n_ops; i++) {
        for (size_t j = 0; j < d->ops[i].n; j++)
            free(d->ops[i].e[j].data);
        free(d->ops[i].e);
    }
    d->n_ops = from;
}

static void disk_void(struct disk *d, uint64_t from)
{
    for (uint64_t i = from; i <= d->last; i++) {
        free(d->e[i].data);
        d->e[i] = (struct d_entry){0};
    }
    if (from <= d->last)
        d->last = from - 1;
}

static void disk_do(struct cluster *c, struct disk *d, struct d_op *op)
{
    if (op->hard)
        d->hs = op->hs;
    if (op->from && !op->in_place)
        disk_void(d, op->from);
    for (size_t i = 0; i < op->n; i++) {
        uint64_t at = op->from + i;
        DEMAND(c, at < LOG_MAX, "log too long for the test");
        if (at <= d->compacted) {
            free(op->e[i].data);
            continue;
        }
        free(d->e[at].data);
        d->e[at] = op->e[i];
        if (at > d->last)
            d->last = at;
    }
    free(op->e);
}

static void disk_sync(struct node *n, size_t ops)
{
    struct disk *d = &n->d;
    if (ops > d->n_ops)
        ops = d->n_ops;
    for (size_t i = 0; i < ops; i++)
        disk_do(n->c, d, &d->ops[i]);
    if (ops == 0)
        return;
    memmove(d->ops, d->ops + ops, (d->n_ops - ops) * sizeof *d->ops);
    d->n_ops -= ops;
}

static void disk_write(struct node *n, const struct raft_update *u)
{
    struct disk *d = &n->d;
    d->ops = room(d->ops, &d->cap_ops, d->n_ops + 1, sizeof *d->ops);
    bool both = u->n_entries && u->n_repaired;
    for (unsigned k = 0; k < 2; k++) {
        const struct raft_entry *e = k ? u->entries : u->repaired;
        size_t count = k ? u->n_entries : u->n_repaired;
        if (!k && !count)
            continue;
        d->ops = room(d->ops, &d->cap_ops, d->n_ops + 1, sizeof *d->ops);
        struct d_op *op = &d->ops[d->n_ops++];
        *op = (struct d_op){.ticket = u->ticket, .in_place = !k, .n = count};
        op->hard = k && u->hard_changed;
        op->hs = u->hard;
        op->from = count ? e[0].index : 0;
        op->e = must(calloc(count + 1, sizeof *op->e));
        for (size_t i = 0; i < count; i++)
            op->e[i] = (struct d_entry){.term = e[i].term,
                                        .kind = e[i].kind,
                                        .len = (uint32_t)e[i].payload.len,
                                        .data = copied(e[i].payload)};
        if (!k && !both)
            continue;
    }
}

/* Is the entry on disk, or in the durable state? It may have rotted since it was acknowledged. */
static bool disk_has(const struct node *n, uint64_t index, uint64_t term)
{
    const struct disk *d = &n->d;
    if (index <= d->compacted)
        return true;
    return index <= d->last && d->e[index].term == term;
}

static void check_commits(struct cluster *c, struct node *n);

/* ---- network ---- */

static void packet_free(struct packet *p)
{
    free(p->entries);
    free(p->bytes);
}

void net_drop(struct cluster *c, size_t at)
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

static bool lost(struct cluster *c, uint64_t from, uint64_t to)
{
    return to == 0 || to > c->n || c->cut[from][to] || test_rng_chance(&c->rng, c->loss, 1000);
}

/* What leaves must already be true on disk. */
static void check_leaving(struct node *n, const struct raft_msg *m)
{
    struct cluster *c = n->c;
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
    struct cluster *c = n->c;
    const struct node *to = &c->nodes[m->to_store];
    if (m->type != RAFT_MSG_TIMEOUT_NOW || n->r->transfer_to != m->to || !n->r->transfer_sent ||
        to->replica != m->to || to->d.hs.term > m->term)
        return;
    struct raft_status a = status_of(n);
    DEMAND(c, disk_has(to, a.last, a.last_term),
           "replica %llu: leadership goes to %llu, which lacks entry %llu", (ull)n->replica,
           (ull)m->to, (ull)a.last);
}

static void net_send(struct node *n, const struct raft_msg *m)
{
    struct cluster *c = n->c;
    check_leaving(n, m);
    check_transfer(n, m);
    c->msgs[m->type]++;
    unsigned copies = 1 + test_rng_chance(&c->rng, c->dup, 1000);
    for (unsigned k = 0; k < copies; k++) {
        if (lost(c, n->store, m->to_store))
            continue;
        c->net = room(c->net, &c->cap_net, c->n_net + 1, sizeof *c->net);
        packet_copy(&c->net[c->n_net++], m);
    }
}

void net_deliver(struct cluster *c, size_t at)
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
        /* Whoever is answered from a later term is not of an earlier one any more (3.3). */
        DEMAND(c,
               st != ST_OK || p.is_beat || p.m.type != RAFT_MSG_APPEND_RESP ||
                   status_of(n).term >= p.m.term,
               "replica %llu: stays in term %llu, and was answered in %llu", (ull)n->replica,
               (ull)status_of(n).term, (ull)p.m.term);
        DEMAND(c,
               st == ST_OK || st == ST_PRECONDITION_FAILED || st == ST_OVERLOADED ||
                   st == ST_NO_MEMORY,
               "%s from %llu to %llu answered %s", raft_msg_name(p.m.type), (ull)from, (ull)to,
               status_name(st));
        check_commits(c, n);
        /* The bytes were borrowed for the call: nobody may look at them now. */
        if (!p.is_beat && p.m.n_entries)
            memset(p.bytes, 0xee, p.entries[p.m.n_entries - 1].payload.len);
    }
    packet_free(&p);
}

/* ---- the state machine ---- */

static uint64_t mix(uint64_t hash, const struct raft_entry *e)
{
    uint64_t key[3] = {hash, e->index, e->term};
    return hash_xxh64(e->payload.data, e->payload.len, hash_xxh64(key, sizeof key, e->kind));
}

static void note_applied(struct node *n, uint64_t term)
{
    struct cluster *c = n->c;
    uint64_t i = n->applied;
    DEMAND(c, i < LOG_MAX, "log too long for the test");
    if (i > c->applied_max) {
        DEMAND(c, i == c->applied_max + 1, "replica %llu applied %llu out of turn", (ull)n->replica,
               (ull)i);
        c->applied_max = i;
        c->hash_at[i] = n->hash;
        c->applied_term[i] = term;
        c->conf_at_max = n->conf;
        c->commits++;
    }
    DEMAND(c, c->hash_at[i] == n->hash, "replica %llu: state differs at %llu", (ull)n->replica,
           (ull)i);
}

static void apply(struct node *n, const struct raft_entry *e)
{
    struct cluster *c = n->c;
    DEMAND(c, e->index == n->applied + 1, "replica %llu: %llu to apply after %llu", (ull)n->replica,
           (ull)e->index, (ull)n->applied);
    bool first = e->index > c->applied_max;
    DEMAND(c, e->index <= c->commit_max, "replica %llu: applies %llu, which no leader committed",
           (ull)n->replica, (ull)e->index);
    n->hash = mix(n->hash, e);
    n->applied = e->index;
    n->to_apply = e->index;
    if (e->kind == RAFT_ENTRY_CONF) {
        assert_int_equal(raft_conf_decode(e->payload, &n->conf, NULL), ST_OK);
        c->changes += first;
    }
    note_applied(n, e->term);
}

/* ---- snapshots: the bytes say which state they are ---- */

static void snap_bytes(uint64_t index, uint64_t hash, uint8_t **ret, size_t *ret_len)
{
    struct test_rng r;
    test_rng_init(&r, hash ^ index);
    size_t len = 16 + test_rng_below(&r, 400);
    uint8_t *b = must(malloc(len));
    test_rng_bytes(&r, b, len);
    memcpy(b, &index, 8);
    memcpy(b + 8, &hash, 8);
    *ret = b;
    *ret_len = len;
}

static void make_snapshot(struct node *n)
{
    n->want_made = 0;
    free(n->out_bytes);
    /* The state in memory, or the last one that is durable. */
    struct ckpt k = n->d.ckpt;
    struct raft_status s = status_of(n);
    if (k.index < s.compacted || test_rng_chance(&n->c->rng, 1, 2))
        k = (struct ckpt){n->applied, n->c->applied_term[n->applied], n->hash, n->conf};
    if (k.index > s.applied) /* raft has not been told yet */
        node_apply(n);
    snap_bytes(k.index, k.hash, &n->out_bytes, &n->out_len);
    n->out = (struct raft_snapshot){
        .id = k.index, .index = k.index, .term = k.term, .bytes = n->out_len, .conf = k.conf};
    raft_snapshot_made(n->r, k.index ? ST_OK : ST_NOT_FOUND, &n->out);
}

static void give_chunk(struct node *n)
{
    size_t off = (size_t)n->want_chunk_offset, len = n->want_chunk_max;
    uint64_t id = n->want_chunk_id;
    n->want_chunk_id = 0;
    if (!n->out_bytes || id != n->out.id || off > n->out_len) {
        raft_snapshot_chunk(n->r, id, ST_NOT_FOUND, off, BYTES_EMPTY, false);
        return;
    }
    if (len > n->out_len - off)
        len = n->out_len - off;
    raft_snapshot_chunk(n->r, id, ST_OK, off, BYTES(n->out_bytes + off, len),
                        off + len == n->out_len);
}

static void do_install(struct node *n)
{
    struct cluster *c = n->c;
    const struct raft_snapshot *s = &n->install;
    struct disk *d = &n->d;
    uint64_t index, hash;
    DEMAND(c, n->in_len >= 16, "replica %llu: a snapshot of %zu bytes", (ull)n->replica, n->in_len);
    memcpy(&index, n->in_bytes, 8);
    memcpy(&hash, n->in_bytes + 8, 8);
    uint8_t *want;
    size_t len;
    snap_bytes(index, hash, &want, &len);
    DEMAND(c, index == s->index && len == n->in_len && memcmp(want, n->in_bytes, len) == 0,
           "replica %llu: snapshot %llu arrived damaged", (ull)n->replica, (ull)s->index);
    free(want);
    DEMAND(c, c->hash_at[index] == hash && c->applied_term[index] == s->term,
           "replica %llu: snapshot %llu is of another history", (ull)n->replica, (ull)index);
    DEMAND(c, index > n->applied, "replica %llu: snapshot %llu over applied %llu", (ull)n->replica,
           (ull)index, (ull)n->applied);
    /* In order with what was written before. */
    node_sync(n, SIZE_MAX);
    for (uint64_t i = d->compacted + 1; i <= d->last && i <= index; i++) {
        free(d->e[i].data);
        d->e[i] = (struct d_entry){0};
    }
    if (!n->install_keeps)
        disk_void(d, index + 1);
    if (d->last < index)
        d->last = index;
    d->compacted = index;
    d->compacted_term = s->term;
    d->ckpt = d->older = (struct ckpt){index, s->term, hash, s->conf};
    n->applied = n->to_apply = index;
    n->hash = hash;
    n->conf = s->conf;
    c->snapshots++;
}

/* ---- a node ---- */

static void start_raft(struct node *n)
{
    struct cluster *c = n->c;
    struct disk *d = &n->d;
    struct raft_options o = c->o;
    o.store = n->store;
    o.incarnation = ++n->incarnation;
    o.seed = test_rng_u64(&c->rng);
    struct err err;
    DEMAND(c, raft_store_new(&o, &n->rs, &err) == ST_OK, "%s", err.detail);
    raft_store_tick(n->rs, n->now ? n->now : 1);
    struct raft_init i = {.group = 7,
                          .replica = n->replica,
                          .user = n,
                          .hard = d->hs,
                          .compacted = d->compacted,
                          .compacted_term = d->compacted_term,
                          .conf = d->ckpt.conf,
                          .applied = d->ckpt.index};
    DEMAND(c, raft_new(n->rs, &i, &n->r, &err) == ST_OK, "%s", err.detail);
    for (uint64_t k = d->compacted + 1; k <= d->last; k++) {
        const struct d_entry *e = &d->e[k];
        struct raft_entry x = {
            .term = e->term, .index = k, .kind = e->kind, .payload = BYTES(e->data, e->len)};
        enum status st = e->bad ? raft_load_bad(n->r, e->term, k, &err) : raft_load(n->r, &x, &err);
        DEMAND(c, st == ST_OK, "%s", err.detail);
    }
    n->applied = n->to_apply = d->ckpt.index;
    n->hash = d->ckpt.hash;
    n->conf = d->ckpt.conf;
    DEMAND(c, raft_start(n->r, &err) == ST_OK, "%s", err.detail);
    raft_check_restarted(c->checker, n->replica, d->hs.term);
    n->up = true;
    n->role = RAFT_FOLLOWER;
}

void node_start_new(struct node *n, uint64_t replica, const struct raft_conf *conf)
{
    assert_false(n->up);
    struct disk *d = &n->d;
    ops_free(d, 0);
    disk_void(d, 1);
    d->last = d->compacted = d->compacted_term = 0;
    d->hs = (struct raft_hard_state){0};
    d->ckpt = d->older = (struct ckpt){.conf = *conf};
    n->replica = replica;
    n->exists = true;
    start_raft(n);
}

void node_crash(struct node *n, size_t ops_that_survive)
{
    assert_true(n->up);
    disk_sync(n, ops_that_survive);
    ops_free(&n->d, 0);
    raft_free(n->r);
    raft_store_free(n->rs);
    n->r = NULL;
    n->rs = NULL;
    n->up = false;
    n->n_held = n->n_asks = 0;
    n->in_len = 0;
    n->chunk_id = n->install_id = n->fetch_id = n->want_made = n->want_chunk_id = 0;
    free(n->fetched);
    n->fetched = NULL;
}

void node_restart(struct node *n)
{
    assert_false(n->up);
    start_raft(n);
}

static void take_reads(struct node *n, const struct raft_update *u)
{
    struct cluster *c = n->c;
    for (size_t i = 0; i < u->n_reads; i++) {
        const struct raft_read_done *d = &u->reads[i];
        size_t k = 0;
        while (k < n->n_asks && n->asks[k].id != d->id)
            k++;
        DEMAND(c, k < n->n_asks, "replica %llu: read %llu answered, not asked", (ull)n->replica,
               (ull)d->id);
        if (d->ok) {
            DEMAND(c, d->index >= n->asks[k].floor,
                   "replica %llu: stale read: at %llu, %llu was applied before it began",
                   (ull)n->replica, (ull)d->index, (ull)n->asks[k].floor);
            DEMAND(c, n->applied >= d->index, "replica %llu: read answered before it was applied",
                   (ull)n->replica);
            c->reads_ok++;
        } else {
            c->reads_failed++;
        }
        n->asks[k] = n->asks[--n->n_asks];
    }
}

static void take_snapshot_parts(struct node *n, const struct raft_update *u)
{
    if (u->want_snapshot)
        n->want_made = u->want_snapshot;
    if (u->want_chunk.id) {
        n->want_chunk_id = u->want_chunk.id;
        n->want_chunk_offset = u->want_chunk.offset;
        n->want_chunk_max = u->want_chunk.max_bytes;
    }
    if (u->chunk.snapshot) {
        if (u->chunk.offset == 0)
            n->in_len = 0;
        DEMAND(n->c, u->chunk.offset == n->in_len, "replica %llu: a chunk at %llu behind %zu",
               (ull)n->replica, (ull)u->chunk.offset, n->in_len);
        n->in_bytes = must(realloc(n->in_bytes, n->in_len + u->chunk.data.len + 1));
        if (u->chunk.data.len)
            memcpy(n->in_bytes + n->in_len, u->chunk.data.data, u->chunk.data.len);
        n->in_len += u->chunk.data.len;
        n->chunk_id = u->chunk.snapshot->id;
    }
    if (u->install) {
        n->install = *u->install;
        n->install_id = u->install->id;
        n->install_keeps = u->install_keeps_log;
    }
}

static void take_role(struct node *n, const struct raft_update *u)
{
    if (u->role == RAFT_LEADER && n->role != RAFT_LEADER)
        n->c->elections++;
    n->role = u->role;
    n->term = u->term;
}

bool node_update(struct node *n)
{
    struct raft *r = n->up ? raft_store_ready(n->rs) : NULL;
    struct raft_update u;
    if (n->up)
        check_commits(n->c, n);
    if (!r || !raft_update(r, &u))
        return false;
    take_role(n, &u);
    for (size_t i = 0; i < u.n_now; i++)
        net_send(n, &u.now[i]);
    if (u.ticket)
        disk_write(n, &u);
    DEMAND(n->c, u.ticket || (!u.n_entries && !u.hard_changed && !u.n_after && !u.n_repaired),
           "an update without a ticket has something to write");
    for (size_t i = 0; i < u.n_after; i++) {
        n->held = room(n->held, &n->cap_held, n->n_held + 1, sizeof *n->held);
        n->held[n->n_held++] = (struct held){u.ticket, u.after[i]};
        assert_true(u.after[i].n_entries == 0 && u.after[i].data.len == 0 &&
                    u.after[i].snapshot == NULL);
    }
    for (size_t i = 0; i < u.n_committed; i++)
        apply(n, &u.committed[i]);
    take_reads(n, &u);
    take_snapshot_parts(n, &u);
    if (u.fetch.id) {
        n->fetch_id = u.fetch.id;
        n->fetch_from = u.fetch.from;
        n->fetch_to = u.fetch.to;
    }
    n->c->repaired += u.n_repaired;
    raft_done(r);
    free(n->fetched);
    n->fetched = NULL;
    return true;
}

void node_sync(struct node *n, size_t ops)
{
    if (!n->up || n->d.n_ops == 0)
        return;
    if (ops > n->d.n_ops)
        ops = n->d.n_ops;
    /* The two halves of one ticket go together. */
    while (ops < n->d.n_ops && n->d.ops[ops].ticket == n->d.ops[ops - 1].ticket)
        ops++;
    uint64_t ticket = n->d.ops[ops - 1].ticket;
    disk_sync(n, ops);
    size_t kept = 0;
    for (size_t i = 0; i < n->n_held; i++)
        if (n->held[i].ticket <= ticket)
            net_send(n, &n->held[i].m);
        else
            n->held[kept++] = n->held[i];
    n->n_held = kept;
    raft_appended(n->r, ticket);
    check_commits(n->c, n);
}

void node_apply(struct node *n)
{
    if (n->up)
        raft_applied(n->r, n->to_apply);
}

static void do_fetch(struct node *n)
{
    uint64_t id = n->fetch_id;
    const struct disk *d = &n->d;
    n->fetch_id = 0;
    if (n->c->no_fetch && n->fetch_from <= n->applied) {
        raft_fetched(n->r, id, ST_NOT_FOUND, NULL, 0);
        return;
    }
    free(n->fetched);
    n->fetched = must(calloc(FETCH_MAX, sizeof *n->fetched));
    enum status st = ST_OK;
    size_t k = 0, most = 1 + test_rng_below(&n->c->rng, FETCH_MAX);
    for (uint64_t i = n->fetch_from; i <= n->fetch_to && k < most; i++) {
        if (i <= d->compacted || i > d->last) {
            st = k ? ST_OK : ST_NOT_FOUND;
            break;
        }
        if (d->e[i].bad) {
            st = ST_CORRUPT;
            break;
        }
        n->fetched[k++] = (struct raft_entry){.term = d->e[i].term,
                                              .index = i,
                                              .kind = d->e[i].kind,
                                              .payload = BYTES(d->e[i].data, d->e[i].len)};
    }
    raft_fetched(n->r, id, st, n->fetched, k);
}

void node_slow(struct node *n)
{
    if (!n->up)
        return;
    if (n->install_id) {
        uint64_t id = n->install_id;
        n->install_id = 0;
        node_apply(n);
        do_install(n);
        raft_installed(n->r, id, ST_OK);
    } else if (n->chunk_id) {
        uint64_t id = n->chunk_id;
        n->chunk_id = 0;
        raft_chunk_written(n->r, id, ST_OK);
    } else if (n->want_made) {
        make_snapshot(n);
    } else if (n->want_chunk_id) {
        give_chunk(n);
    } else if (n->fetch_id) {
        /* What was fetched is borrowed until the next raft_done: nothing may change the disk
         * below it. */
        do_fetch(n);
        while (node_update(n))
            ;
    }
}

void node_tick(struct node *n, uint64_t ms)
{
    n->now += ms;
    if (!n->up)
        return;
    raft_store_tick(n->rs, n->now);
    struct raft_beat beats[STORES_MAX];
    size_t k = raft_store_beats(n->rs, beats, STORES_MAX);
    struct cluster *c = n->c;
    for (size_t i = 0; i < k; i++) {
        if (lost(c, n->store, beats[i].to_store))
            continue;
        c->net = room(c->net, &c->cap_net, c->n_net + 1, sizeof *c->net);
        c->net[c->n_net++] = (struct packet){.is_beat = true, .beat = beats[i]};
    }
    c->slept += status_of(n).asleep;
}

void node_checkpoint(struct node *n, bool compact)
{
    struct disk *d = &n->d;
    /* Only what is durable in the log may be durable in the state. */
    struct raft_status s = status_of(n);
    if (n->applied > d->ckpt.index && n->applied <= d->last && n->d.n_ops == 0 &&
        n->applied <= s.durable && !n->install_id) {
        d->older = d->ckpt;
        d->ckpt = (struct ckpt){n->applied, n->c->applied_term[n->applied], n->hash, n->conf};
    }
    if (!compact || n->install_id || n->fetched)
        return;
    struct ckpt *k = test_rng_chance(&n->c->rng, 1, 2) ? &d->ckpt : &d->older;
    node_apply(n);
    if (k->index <= d->compacted || k->index > status_of(n).applied || k->index > d->last)
        return;
    raft_compact(n->r, k->index);
    if (status_of(n).compacted != k->index)
        return;
    for (uint64_t i = d->compacted + 1; i <= k->index; i++) {
        free(d->e[i].data);
        d->e[i] = (struct d_entry){0};
    }
    d->compacted = k->index;
    d->compacted_term = k->term;
}

bool node_propose(struct node *n, uint64_t *ret_index)
{
    uint8_t b[64];
    uint64_t id = ++n->c->next_payload, index, term;
    size_t len = 8 + test_rng_below(&n->c->rng, sizeof b - 8);
    test_rng_bytes(&n->c->rng, b, len);
    memcpy(b, &id, 8);
    if (!n->up || raft_propose(n->r, BYTES(b, len), &index, &term) != ST_OK)
        return false;
    if (ret_index)
        *ret_index = index;
    return true;
}

bool node_read(struct node *n)
{
    uint64_t id = ++n->c->next_read;
    if (!n->up || raft_read(n->r, id) != ST_OK)
        return false;
    n->asks = room(n->asks, &n->cap_asks, n->n_asks + 1, sizeof *n->asks);
    n->asks[n->n_asks++] = (struct ask){id, n->c->applied_max};
    return true;
}

bool cluster_rot(struct cluster *c, struct node *n, uint64_t index)
{
    (void)c;
    if (index <= n->d.compacted || index > n->d.last)
        return false;
    n->d.e[index].bad = 1;
    return true;
}

/* A majority of each half of the configuration has it durably. */
static bool majority_has(struct cluster *c, const struct raft_conf *conf, uint64_t index,
                         uint64_t term)
{
    for (unsigned half = 0; half < 2; half++) {
        uint8_t flag = half ? RAFT_VOTER_OLD : RAFT_VOTER;
        unsigned n = 0, have = 0;
        for (unsigned i = 0; i < conf->n; i++) {
            const struct raft_member *m = &conf->member[i];
            if (!(m->flags & flag))
                continue;
            n++;
            have += c->nodes[m->store].replica == m->replica &&
                    disk_has(&c->nodes[m->store], index, term);
        }
        if (n && have <= n / 2)
            return false;
    }
    return true;
}

/* What a leader takes for committed is on the disks, now, of a majority of the configuration that is
 * in force, or was until this very step. */
static void check_commits(struct cluster *c, struct node *n)
{
    struct raft_status a = status_of(n);
    if (a.role != RAFT_LEADER)
        return;
    for (uint64_t i = c->commit_max + 1; i <= a.commit; i++) {
        uint64_t term = raft_term_at(n->r, i);
        DEMAND(c,
               i <= a.compacted || majority_has(c, &n->r->conf, i, term) ||
                   majority_has(c, &n->r->prev, i, term),
               "replica %llu: %llu of term %llu is committed without a durable majority",
               (ull)n->replica, (ull)i, (ull)term);
        DEMAND(c, raft_term_at(n->r, a.commit) == a.term || i <= c->commit_max,
               "replica %llu: %llu of term %llu is committed by counting in term %llu",
               (ull)n->replica, (ull)i, (ull)term, (ull)a.term);
    }
    if (a.commit > c->commit_max)
        c->commit_max = a.commit;
}

void cluster_check(struct cluster *c)
{
    struct raft *v[STORES_MAX + 1];
    size_t k = 0;
    struct err err;
    for (unsigned s = 1; s <= c->n; s++) {
        v[k++] = c->nodes[s].up ? c->nodes[s].r : NULL;
        if (c->nodes[s].up)
            check_commits(c, &c->nodes[s]);
    }
    enum status st = raft_check(c->checker, v, k, &err);
    if (st == ST_OK)
        st = raft_check_electable(c->checker, v, k, &err);
    DEMAND(c, st == ST_OK, "%s", err.detail);
}

/* ---- the cluster ---- */

struct raft_status status_of(const struct node *n)
{
    struct raft_status s;
    raft_status(n->r, &s);
    return s;
}

bool in_conf(const struct raft_conf *conf, uint64_t replica)
{
    for (unsigned i = 0; i < conf->n; i++)
        if (conf->member[i].replica == replica)
            return true;
    return false;
}

static void conf_add(const struct cluster *c, struct raft_conf *conf, uint64_t store, uint8_t flags)
{
    struct raft_member m = {c->nodes[store].replica, store, flags};
    unsigned at = conf->n++;
    for (; at > 0 && conf->member[at - 1].replica > m.replica; at--)
        conf->member[at] = conf->member[at - 1];
    conf->member[at] = m;
}

struct raft_conf conf_of(const struct cluster *c, const uint64_t *voters, size_t n,
                         const uint64_t *learners, size_t n_learners)
{
    struct raft_conf conf = {0};
    for (size_t i = 0; i < n; i++)
        conf_add(c, &conf, voters[i], RAFT_VOTER);
    for (size_t i = 0; i < n_learners; i++)
        conf_add(c, &conf, learners[i], RAFT_LEARNER);
    return conf;
}

void cluster_init(struct cluster *c, uint64_t seed, unsigned n, unsigned voters,
                  const struct raft_options *o)
{
    memset(c, 0, sizeof *c);
    test_rng_init(&c->rng, seed);
    if (o)
        c->o = *o;
    if (!c->o.heartbeat_ms)
        c->o.heartbeat_ms = 10;
    if (!c->o.election_ms)
        c->o.election_ms = 100;
    c->n = n;
    c->next_replica = n + 1;
    assert_int_equal(raft_checker_new(&c->checker), ST_OK);
    struct raft_conf conf = {0}, none = {0};
    for (unsigned s = 1; s <= n; s++) {
        c->nodes[s].c = c;
        c->nodes[s].store = c->nodes[s].replica = s;
        c->nodes[s].d.e = must(calloc(LOG_MAX, sizeof(struct d_entry)));
        if (s <= voters)
            conf_add(c, &conf, s, RAFT_VOTER);
    }
    c->conf_at_max = conf;
    for (unsigned s = 1; s <= n; s++)
        node_start_new(&c->nodes[s], s, s <= voters ? &conf : &none);
}

void cluster_deinit(struct cluster *c)
{
    for (unsigned s = 1; s <= c->n; s++) {
        struct node *n = &c->nodes[s];
        if (n->up)
            node_crash(n, 0);
        disk_void(&n->d, 1);
        free(n->d.e);
        free(n->d.ops);
        free(n->held);
        free(n->asks);
        free(n->out_bytes);
        free(n->in_bytes);
    }
    while (c->n_net)
        net_drop(c, 0);
    free(c->net);
    free(c->grants);
    raft_checker_free(c->checker);
}

void cluster_settle(struct cluster *c)
{
    bool busy = true;
    for (unsigned guard = 0; busy; guard++) {
        busy = c->n_net > 0;
        DEMAND(c, guard < 100000, "the cluster does not come to rest");
        while (c->n_net)
            net_deliver(c, 0);
        for (unsigned s = 1; s <= c->n; s++) {
            struct node *n = &c->nodes[s];
            while (node_update(n))
                busy = true;
            if (c->delay)
                continue;
            busy = busy || (n->up && n->d.n_ops);
            node_sync(n, SIZE_MAX);
            node_apply(n);
            busy = busy || (n->up && (n->install_id || n->chunk_id || n->want_made ||
                                      n->want_chunk_id || n->fetch_id));
            node_slow(n);
            busy = busy || (n->up && raft_store_ready(n->rs));
        }
        c->steps++;
        cluster_check(c);
    }
}

void cluster_run(struct cluster *c, uint64_t ms)
{
    for (uint64_t t = 0; t < ms; t += 5) {
        for (unsigned s = 1; s <= c->n; s++)
            node_tick(&c->nodes[s], 5);
        cluster_settle(c);
    }
}

struct node *cluster_leader(struct cluster *c)
{
    struct node *best = NULL;
    for (unsigned s = 1; s <= c->n; s++) {
        struct node *n = &c->nodes[s];
        if (!n->up)
            continue;
        struct raft_status a = status_of(n);
        if (a.role == RAFT_LEADER && (!best || a.term > status_of(best).term))
            best = n;
    }
    return best;
}

struct node *cluster_elect(struct cluster *c)
{
    for (unsigned i = 0; i < 400; i++) {
        struct node *n = cluster_leader(c);
        struct raft_status s;
        if (n) {
            s = status_of(n);
            if (s.commit == s.last)
                return n;
        }
        cluster_run(c, 10);
    }
    DEMAND(c, false, "no leader within 4 s");
    return NULL;
}

void cluster_isolate(struct cluster *c, uint64_t store, bool on)
{
    for (unsigned s = 1; s <= c->n; s++)
        if (s != store)
            c->cut[s][store] = c->cut[store][s] = on;
}

void cluster_heal(struct cluster *c)
{
    memset(c->cut, 0, sizeof c->cut);
    c->loss = c->dup = 0;
}
