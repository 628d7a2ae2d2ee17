#include "sim/raft/group_internal.h"

#include <stdlib.h>

static uint8_t *copied(struct bytes b)
{
    uint8_t *p = must(malloc(b.len ? b.len : 1));
    if (b.len)
        memcpy(p, b.data, b.len);
    return p;
}

void disk_forget(struct disk *d, size_t from)
{
    for (size_t i = from; i < d->n_ops; i++) {
        for (size_t j = 0; j < d->ops[i].n; j++)
            free(d->ops[i].e[j].data);
        free(d->ops[i].e);
    }
    d->n_ops = from;
}

void disk_void(struct disk *d, uint64_t from)
{
    for (uint64_t i = from; i <= d->last; i++) {
        free(d->e[i].data);
        d->e[i] = (struct d_entry){0};
    }
    if (from <= d->last)
        d->last = from - 1;
}

static void disk_do(struct group *c, struct disk *d, struct d_op *op)
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

void disk_sync(struct node *n, size_t ops)
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

void disk_write(struct node *n, const struct raft_update *u)
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

bool disk_has(const struct node *n, uint64_t index, uint64_t term)
{
    const struct disk *d = &n->d;
    if (index <= d->compacted)
        return true;
    return index <= d->last && d->e[index].term == term;
}

bool group_rot(struct group *c, struct node *n, uint64_t index)
{
    (void)c;
    if (index <= n->d.compacted || index > n->d.last)
        return false;
    n->d.e[index].bad = 1;
    return true;
}
