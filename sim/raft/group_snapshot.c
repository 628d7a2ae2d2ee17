#include "sim/raft/group_internal.h"

#include <stdlib.h>

static void snap_bytes(uint64_t index, uint64_t hash, uint8_t **ret, size_t *ret_len)
{
    struct dice r = dice_fork(hash, index);
    size_t len = 16 + dice_below(&r, 400);
    uint8_t *b = must(malloc(len));
    dice_bytes(&r, b, len);
    memcpy(b, &index, 8);
    memcpy(b + 8, &hash, 8);
    *ret = b;
    *ret_len = len;
}

void snapshot_make(struct node *n)
{
    uint64_t want = n->want_made;
    n->want_made = 0;
    free(n->out_bytes);
    /* The state in memory, or the last one that is durable. */
    struct ckpt k = n->d.ckpt;
    struct raft_status s = status_of(n);
    if (k.index < want || k.index < s.compacted ||
        (!n->c->drained && dice_chance(&n->c->dice, 1, 2)))
        k = (struct ckpt){n->applied, n->c->applied_term[n->applied], n->hash, n->conf};
    if (k.index > s.applied) /* raft has not been told yet */
        node_apply(n);
    snap_bytes(k.index, k.hash, &n->out_bytes, &n->out_len);
    n->out = (struct raft_snapshot){
        .id = k.index, .index = k.index, .term = k.term, .bytes = n->out_len, .conf = k.conf};
    raft_snapshot_made(n->r, k.index ? ST_OK : ST_NOT_FOUND, &n->out);
}

void snapshot_give_chunk(struct node *n)
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

void snapshot_install(struct node *n)
{
    struct group *c = n->c;
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
    struct ckpt *k = dice_chance(&n->c->dice, 1, 2) ? &d->ckpt : &d->older;
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
