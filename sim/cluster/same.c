/* Replicas are equal at equal applied index, all along the run: the first to apply an index says what
 * was applied there, and every other, and every replay after a restart, is held against it. What
 * became of it in tables and engines is compared at the end (judge.c). */
#include "sim/cluster/members.h"

#include "base/hash.h"

#include <string.h>

struct applied {
    uint64_t digest; /* 0: nobody yet */
    unsigned node;
    bool opening; /* by one that was reading its log */
};

/* A node alone applies what it finds in its log before it has made that durable again, since what a
 * failed sync left there may be lost yet; nobody sees it before the store is open. And it applies what
 * a vacuum writes of expired records before that is durable: nobody misses it when it is lost. What
 * somebody was told of and is lost, the histories of clients and keeper tell. */
void same_opening(struct node *n)
{
    const struct run *r = n->run;
    n->replays = r->plan.nodes == 1;
    for (size_t i = 0; n->replays && i < r->cap_applied; i++)
        if (r->applied[i].opening)
            r->applied[i] = (struct applied){0};
}

void same_opened(struct node *n)
{
    const struct run *r = n->run;
    struct raft_status now = {0};
    if (n->replays && node_raft(n))
        raft_status(node_raft(n), &now);
    for (size_t i = 0; n->replays && i < r->cap_applied; i++)
        r->applied[i] = i <= now.applied
                            ? (struct applied){r->applied[i].digest, r->applied[i].node, false}
                            : (struct applied){0};
    n->replays = false;
}

static uint64_t digest_of(const struct raft_entry *e)
{
    uint64_t fixed[3] = {e->index, e->term, e->kind};
    uint64_t d = hash_xxh64(fixed, sizeof fixed, e->payload.len);
    return hash_xxh64(e->payload.data, e->payload.len, d) | 1;
}

void same_applied(void *node, const struct raft_entry *e)
{
    const struct node *n = node;
    struct run *r = n->run;
    size_t had = r->cap_applied;
    r->applied = sim_grow(r->applied, &r->cap_applied, (size_t)e->index + 1, sizeof *r->applied);
    if (r->cap_applied > had)
        memset(r->applied + had, 0, (r->cap_applied - had) * sizeof *r->applied);
    struct applied *first = &r->applied[e->index];
    uint64_t digest = digest_of(e);
    if (e->kind == RAFT_ENTRY_CONF)
        members_applied(r, e);
    if (first->digest == 0)
        *first = (struct applied){digest, n->id, n->replays};
    else if (first->digest != digest)
        run_fail(r, "%s applies something else at index %llu than %s did", node_name(n),
                 (unsigned long long)e->index, node_name(&r->nodes[first->node]));
}
