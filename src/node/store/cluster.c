#include "node/store/store_internal.h"

/* Several nodes: not built yet. Alone a store has nobody to wait for. */

enum status store_receive(struct store *s, uint64_t from_node, struct bytes bundle, struct err *err)
{
    (void)from_node;
    (void)bundle;
    return err_set(err, ST_INVALID_ARGUMENT, "%s is not part of a cluster", s->dir);
}

enum status store_barrier(struct store *s, uint64_t timeout_ms, struct err *err)
{
    (void)s;
    (void)timeout_ms;
    (void)err;
    return ST_OK;
}

void store_role(struct store *s, struct store_role *ret)
{
    uint64_t applied = atomic_load(&s->applied_index);
    *ret = (struct store_role){.commit = applied, .applied = applied, .is_leader = true};
}

void store_unreachable(struct store *s, uint64_t node)
{
    (void)s;
    (void)node;
}

const struct raft *store_raft(struct store *s)
{
    (void)s;
    return NULL;
}
