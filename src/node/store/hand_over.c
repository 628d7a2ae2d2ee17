/* hand_over.c - a leader asks another node to lead (dissertation, 3.10): when it is to stop, and when it
 * has no room for what it would have to take. */
#include "node/store/cluster.h"

#include "base/buggify.h"
#include "base/log.h"

enum {
    LOOK_MS = 2,
    APART_HEARTBEATS = 100, /* where no node has room the lead goes round no faster */
};

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

/* Its tables are full and the engine takes none: its writes are all refused, while another node's disk
 * may have room. */
static bool lacks_room(struct store *s, struct err *ret_why)
{
    struct cluster *c = s->cluster;
    env_mutex_lock(&s->state_lock);
    *ret_why = c->undrained;
    env_mutex_unlock(&s->state_lock);
    return ret_why->status != ST_OK && !store__has_room(s);
}

void cluster_give_lead_away(struct store *s, uint64_t now_ns)
{
    struct cluster *c = s->cluster;
    const uint64_t apart = APART_HEARTBEATS * c->o.heartbeat_ms * UINT64_C(1000000);
    struct err why;
    if (!c->led || c->o.n == 1 || (c->gave_ns != 0 && now_ns - c->gave_ns < apart))
        return;
    if (!lacks_room(s, &why) || replica_hand_over(s->replica) != ST_OK)
        return;
    PROBE("store: a leader without room gives the lead away");
    c->gave_ns = now_ns;
    log_at(LOG_WARN, "cluster", "this node leads and has no room: another one is asked to lead",
           LOG_FSTR("dir", s->dir), LOG_FSTR("detail", why.detail));
}
