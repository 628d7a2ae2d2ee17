/* hand_over.c - a leader that is to stop asks another node to lead (dissertation, 3.10). */
#include "node/store/cluster.h"

enum { LOOK_MS = 2 };

enum status store_hand_over(struct store *s, uint64_t timeout_ms, struct err *err)
{
    struct cluster *c = s->cluster;
    if (!c || c->o.n == 1)
        return ST_OK; /* there is nobody to take over, nor anybody who would wait for it */
    for (uint64_t waited = 0; atomic_load(&c->leader) == c->o.node; waited += LOOK_MS) {
        enum status st = store__refuse(s, err);
        if (st != ST_OK)
            return st;
        if (waited >= timeout_ms)
            return err_set(err, ST_UNAVAILABLE,
                           "no other node of the cluster took over from node %llu in %llu ms",
                           (unsigned long long)c->o.node, (unsigned long long)timeout_ms);
        /* One attempt lasts an election timeout; while it does this one is refused. */
        cluster_lead_begin(s);
        st = replica_hand_over(s->replica);
        cluster_lead_end(s);
        if (st == ST_NOT_FOUND)
            return ST_OK; /* as above: others are learners at most */
        if (st != ST_OK && st != ST_PRECONDITION_FAILED)
            return err_set(err, st, "leadership cannot be handed over");
        env_sleep_ms(s->env, LOOK_MS);
    }
    return ST_OK;
}
