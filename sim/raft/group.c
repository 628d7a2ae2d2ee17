#include "sim/raft/group_internal.h"

#include "consensus/raft/raft_internal.h"

#include <stdarg.h>
#include <stdio.h>

void group_fail(struct group *c, const char *format, ...)
{
    char text[700], *at = text;
    va_list args;
    at += snprintf(text, 50, "step %llu: ", (ull)c->steps);
    va_start(args, format);
    (void)vsnprintf(at, (size_t)(text + sizeof text - at), format, args);
    va_end(args);
    if (c->failed)
        c->failed(c, text);
    (void)fprintf(stderr, "%s\n", text);
    abort();
}

/* A majority of each half of the configuration has it durably. */
static bool majority_has(struct group *c, const struct raft_conf *conf, uint64_t index,
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

void group_check_commits(struct group *c, struct node *n)
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
    }
    if (a.commit > c->commit_max)
        c->commit_max = a.commit;
}

void group_check(struct group *c)
{
    struct raft *v[STORES_MAX + 1];
    size_t k = 0;
    struct err err;
    for (unsigned s = 1; s <= c->n; s++) {
        v[k++] = c->nodes[s].up ? c->nodes[s].r : NULL;
        if (c->nodes[s].up)
            group_check_commits(c, &c->nodes[s]);
    }
    enum status st = raft_check(c->checker, v, k, &err);
    if (st == ST_OK)
        st = raft_check_electable(c->checker, v, k, &err);
    DEMAND(c, st == ST_OK, "%s", err.detail);
}

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

static void conf_add(const struct group *c, struct raft_conf *conf, uint64_t store, uint8_t flags)
{
    struct raft_member m = {c->nodes[store].replica, store, flags};
    unsigned at = conf->n++;
    for (; at > 0 && conf->member[at - 1].replica > m.replica; at--)
        conf->member[at] = conf->member[at - 1];
    conf->member[at] = m;
}

struct raft_conf conf_of(const struct group *c, const uint64_t *voters, size_t n,
                         const uint64_t *learners, size_t n_learners)
{
    struct raft_conf conf = {0};
    for (size_t i = 0; i < n; i++)
        conf_add(c, &conf, voters[i], RAFT_VOTER);
    for (size_t i = 0; i < n_learners; i++)
        conf_add(c, &conf, learners[i], RAFT_LEARNER);
    return conf;
}

void group_init(struct group *c, uint64_t seed, unsigned n, unsigned voters,
                const struct raft_options *o)
{
    memset(c, 0, sizeof *c);
    c->dice = dice_fork(seed, 'g');
    if (o)
        c->o = *o;
    if (!c->o.heartbeat_ms)
        c->o.heartbeat_ms = 10;
    if (!c->o.election_ms)
        c->o.election_ms = 100;
    c->n = n;
    c->next_replica = n + 1;
    enum status st = raft_checker_new(&c->checker);
    ASSERT(st == ST_OK);
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

void group_deinit(struct group *c)
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

void group_settle(struct group *c)
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
        group_check(c);
    }
}

void group_run(struct group *c, uint64_t ms)
{
    for (uint64_t t = 0; t < ms; t += 5) {
        for (unsigned s = 1; s <= c->n; s++)
            node_tick(&c->nodes[s], 5);
        group_settle(c);
    }
}

struct node *group_leader(struct group *c)
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

struct node *group_elect(struct group *c)
{
    for (unsigned i = 0; i < 400; i++) {
        struct node *n = group_leader(c);
        struct raft_status s;
        if (n) {
            s = status_of(n);
            if (s.commit == s.last)
                return n;
        }
        group_run(c, 10);
    }
    DEMAND(c, false, "no leader within 4 s");
    return NULL;
}

void group_isolate(struct group *c, uint64_t store, bool on)
{
    for (unsigned s = 1; s <= c->n; s++)
        if (s != store)
            c->cut[s][store] = c->cut[store][s] = on;
}

void group_heal(struct group *c)
{
    memset(c->cut, 0, sizeof c->cut);
    c->loss = c->dup = 0;
}
