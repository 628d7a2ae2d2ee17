#include "sim/raft/group_internal.h"

#include "base/hash.h"

#include <stdlib.h>

static uint64_t mix(uint64_t hash, const struct raft_entry *e)
{
    uint64_t key[3] = {hash, e->index, e->term};
    return hash_xxh64(e->payload.data, e->payload.len, hash_xxh64(key, sizeof key, e->kind));
}

static void note_applied(struct node *n, uint64_t term)
{
    struct group *c = n->c;
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
    struct group *c = n->c;
    DEMAND(c, e->index == n->applied + 1, "replica %llu: %llu to apply after %llu", (ull)n->replica,
           (ull)e->index, (ull)n->applied);
    bool first = e->index > c->applied_max;
    DEMAND(c, e->index <= c->commit_max, "replica %llu: applies %llu, which no leader committed",
           (ull)n->replica, (ull)e->index);
    n->hash = mix(n->hash, e);
    n->applied = e->index;
    n->to_apply = e->index;
    if (e->kind == RAFT_ENTRY_CONF) {
        DEMAND(c, raft_conf_decode(e->payload, &n->conf, NULL) == ST_OK,
               "replica %llu: a configuration does not decode", (ull)n->replica);
        c->changes += first;
    }
    note_applied(n, e->term);
}

static void start_raft(struct node *n)
{
    struct group *c = n->c;
    struct disk *d = &n->d;
    struct raft_options o = c->o;
    o.store = n->store;
    o.incarnation = ++n->incarnation;
    o.seed = dice_next(&c->dice);
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
    ASSERT(!n->up);
    struct disk *d = &n->d;
    disk_forget(d, 0);
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
    ASSERT(n->up);
    disk_sync(n, ops_that_survive);
    disk_forget(&n->d, 0);
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
    ASSERT(!n->up);
    start_raft(n);
}

static void take_reads(struct node *n, const struct raft_update *u)
{
    struct group *c = n->c;
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
        group_check_commits(n->c, n);
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
        DEMAND(n->c,
               u.after[i].n_entries == 0 && u.after[i].data.len == 0 && u.after[i].snapshot == NULL,
               "what waits for a sync carries borrowed bytes");
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
    group_check_commits(n->c, n);
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
    size_t k = 0, most = 1 + dice_below(&n->c->dice, FETCH_MAX);
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
        snapshot_install(n);
        raft_installed(n->r, id, ST_OK);
    } else if (n->chunk_id) {
        uint64_t id = n->chunk_id;
        n->chunk_id = 0;
        raft_chunk_written(n->r, id, ST_OK);
    } else if (n->want_made) {
        snapshot_make(n);
    } else if (n->want_chunk_id) {
        snapshot_give_chunk(n);
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
    struct group *c = n->c;
    for (size_t i = 0; i < k; i++) {
        if (net_lost(c, n->store, beats[i].to_store))
            continue;
        c->net = room(c->net, &c->cap_net, c->n_net + 1, sizeof *c->net);
        c->net[c->n_net++] = (struct packet){.is_beat = true, .beat = beats[i]};
    }
    c->slept += status_of(n).asleep;
}

bool node_propose(struct node *n, uint64_t *ret_index)
{
    uint8_t b[64];
    uint64_t id = ++n->c->next_payload, index, term;
    size_t len = 8 + dice_below(&n->c->dice, sizeof b - 8);
    dice_bytes(&n->c->dice, b, len);
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
