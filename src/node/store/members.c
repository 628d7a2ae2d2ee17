#include "node/store/members.h"
#include "node/store/cluster.h"

#include "base/alloc.h"
#include "base/planted.h"
#include <inttypes.h>
#include <stdlib.h>

_Static_assert((int)ENGINE_NOTE_MAX >= (int)RAFT_CONF_BYTES_MAX,
               "a configuration fits beside a mark");

/* ---- what is in force at what is applied ---- */

static int by_id(const void *a, const void *b)
{
    const struct raft_member *x = a, *y = b;
    return (x->replica > y->replica) - (x->replica < y->replica);
}

/* The members' of a new group. A replica that took another one's place later was not among them. */
struct raft_conf cluster_first_conf(const struct store *s)
{
    const struct store_cluster *o = &s->cluster->o;
    struct raft_conf conf = {.n = (uint8_t)o->n};
    for (size_t i = 0; i < o->n; i++)
        conf.member[i] = (struct raft_member){o->nodes[i], o->nodes[i], RAFT_VOTER};
    qsort(conf.member, conf.n, sizeof conf.member[0], by_id);
    return conf;
}

struct raft_conf cluster_conf(const struct store *s)
{
    return s->cluster->conf.n ? s->cluster->conf : cluster_first_conf(s);
}

void cluster_conf_note(const struct store *s, struct engine_mark *mark)
{
    const struct cluster *c = s->cluster;
    mark->note_len = 0;
    if (c && c->conf.n && !PLANTED(MEMBERS_FORGOTTEN))
        mark->note_len = (uint16_t)raft_conf_encode(&c->conf, mark->note);
}

enum status cluster_conf_of(const struct store *s, const struct engine_mark *mark,
                            struct raft_conf *ret, struct err *err)
{
    *ret = (struct raft_conf){0};
    if (mark->note_len == 0)
        return ST_OK;
    enum status st = raft_conf_decode(BYTES(mark->note, mark->note_len), ret, err);
    if (st == ST_OK)
        return ST_OK;
    return err_set(err, ST_CORRUPT, "%s: the engine's mark names no members that can be read",
                   s->dir);
}

/* ---- one change ---- */

static void settled(struct member_change *m, enum status st)
{
    list_remove(&m->node);
    m->st = st;
    env_event_set(&m->done); /* it is its waiter's from here on */
}

enum status cluster_conf_applied(struct store *s, const struct raft_entry *e, struct bytes payload,
                                 struct err *err)
{
    struct cluster *c = s->cluster;
    if (!c)
        return ST_OK;
    enum status st = raft_conf_decode(payload, &c->conf, err);
    if (st != ST_OK)
        return st;
    list_foreach (it, &c->changes) {
        struct member_change *m = container_of(it, struct member_change, node);
        m->taken = m->taken || (e->index == m->index && e->term == m->term);
    }
    return ST_OK;
}

void cluster_conf_installed(struct store *s, const struct raft_conf *conf)
{
    struct cluster *c = s->cluster;
    c->conf = *conf;
    list_foreach_safe (it, &c->changes) {
        struct member_change *m = container_of(it, struct member_change, node);
        if (!m->taken && m->index <= s->range.applied)
            settled(m, ST_UNKNOWN_OUTCOME); /* nobody can tell what was there */
    }
}

void cluster_changes_look(struct store *s)
{
    struct cluster *c = s->cluster;
    list_foreach_safe (it, &c->changes) {
        struct member_change *m = container_of(it, struct member_change, node);
        if (m->taken && !raft_conf_joint(&c->conf))
            settled(m, ST_OK);
        else if (!m->taken && m->index <= s->range.applied)
            settled(m, ST_UNAVAILABLE); /* another entry is where it was to be */
    }
}

void cluster_changes_expire(struct store *s, uint64_t now_ns)
{
    list_foreach_safe (it, &s->cluster->changes) {
        struct member_change *m = container_of(it, struct member_change, node);
        if (m->deadline_ns <= now_ns)
            settled(m, ST_UNKNOWN_OUTCOME);
    }
}

void cluster_changes_fail(struct store *s, enum status st)
{
    list_foreach_safe (it, &s->cluster->changes)
        settled(container_of(it, struct member_change, node), st);
}

static uint64_t newest_replica(const struct raft_conf *conf, uint64_t node)
{
    uint64_t replica = node;
    for (unsigned i = 0; i < conf->n; i++)
        if (conf->member[i].store == node && conf->member[i].replica > replica)
            replica = conf->member[i].replica;
    return replica;
}

static enum status make_target(struct store *s, const struct store_member *members, size_t n,
                               struct raft_conf *ret, struct err *err)
{
    const struct raft_conf *now = raft_configuration(replica_raft(s->replica));
    struct raft_conf t = {.n = (uint8_t)n};
    if (n == 0 || n > RAFT_MEMBERS_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "%zu members; there may be 1 to %d", n,
                       RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct store_member *m = &members[i];
        if (!cluster_peer(s, m->node))
            return err_set(err, ST_INVALID_ARGUMENT, "node %" PRIu64 " is not one of the cluster's",
                           m->node);
        t.member[i] =
            (struct raft_member){.replica = m->replica ? m->replica : newest_replica(now, m->node),
                                 .store = m->node,
                                 .flags = m->learner ? RAFT_LEARNER : RAFT_VOTER};
    }
    qsort(t.member, t.n, sizeof t.member[0], by_id);
    *ret = t;
    return ST_OK;
}

enum status store_members_change(struct store *s, const struct store_member *members, size_t n,
                                 uint64_t timeout_ms, struct err *err)
{
    struct cluster *c = s->cluster;
    struct member_change m = {0};
    struct raft_conf target;
    if (!c)
        return err_set(err, ST_INVALID_ARGUMENT, "%s is not a node of a cluster", s->dir);
    uint64_t max_ms = UINT64_MAX / 4000000, now = env_mono_ns(s->env);
    m.deadline_ns = now + (timeout_ms < max_ms ? timeout_ms : max_ms) * UINT64_C(1000000);
    env_event_init(&m.done);
    cluster_lead_begin(s);
    enum status st = store__refuse(s, err);
    if (st == ST_OK)
        st = make_target(s, members, n, &target, err);
    if (st == ST_OK)
        st = replica_change(s->replica, &target, &m.index, &m.term, err);
    if (st == ST_OK)
        list_push_back(&c->changes, &m.node);
    cluster_lead_end(s);
    if (st != ST_OK)
        return st;
    env_wait(&m.done, UINT64_MAX);
    if (m.st == ST_OK)
        return ST_OK;
    st = m.st == ST_UNAVAILABLE || m.st == ST_UNKNOWN_OUTCOME ? ST_OK : store__refuse(s, err);
    return st != ST_OK ? st
                       : err_set(err, m.st,
                                 m.st == ST_UNAVAILABLE
                                     ? "the leader was deposed before the change was committed"
                                     : "the change of members may or may not come about");
}
