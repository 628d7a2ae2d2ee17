#include "node/store/cluster.h"

#include "base/alloc.h"
#include "base/buggify.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/planted.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* The file CLUSTER says whose folder it is. Text, as VARVE is:
 *     cluster
 *     format 1                  2 where there is a line for the replica, 3 where the id is known
 *     node 1
 *     replica 101               from format 2 on: the one whose disk this is
 *     id 4be0c1d2a3948576       of format 3: the cluster's
 *     incarnation 1790000000    of the newest process; each opening writes a higher one
 *     nodes 1 2 3
 *     crc 1a2b3c4d              CRC32C of all lines before it */

enum { CLUSTER_FILE_MAX = 4096, CLUSTER_FORMAT = 3, HEARTBEAT_MS = 100 };
/* An incarnation has 32 bits (above them is the replica's part), a million of them for openings that come
 * after a clock at its latest. */
static const uint64_t clock_max_s = UINT32_MAX - (1U << 20);

/* ---- life ---- */

static enum status check_options(const struct store *s, struct err *err)
{
    const struct store_cluster *o = s->o.cluster;
    bool own = false;
    if (o->n == 0 || o->n > RAFT_MEMBERS_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "option cluster: %zu nodes; there may be 1 to %d",
                       o->n, RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < o->n; i++) {
        own = own || o->nodes[i] == o->node;
        for (size_t k = 0; k < i; k++)
            if (o->nodes[k] == o->nodes[i] || o->nodes[i] == 0)
                return err_set(err, ST_INVALID_ARGUMENT,
                               "option cluster: node id %" PRIu64 " is there twice, or 0",
                               o->nodes[i]);
    }
    if (!own || o->node == 0)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option cluster: node %" PRIu64 " is not one of the cluster's", o->node);
    if (o->replica != 0 && (o->replica < o->node || o->replica - o->node > UINT32_MAX))
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option cluster: replica %" PRIu64 " is not above node %" PRIu64
                       "'s first, which is called as the node, by less than 2^32",
                       o->replica, o->node);
    for (size_t i = 0; i < o->n; i++)
        if (o->replica == o->nodes[i] && o->replica != o->node)
            return err_set(err, ST_INVALID_ARGUMENT,
                           "option cluster: replica %" PRIu64 " is another node's", o->replica);
    if (o->n > 1 && !o->transport.send)
        return err_set(err, ST_INVALID_ARGUMENT, "option cluster: no transport");
    if (s->o.read_only)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option cluster: a node cannot be opened read-only");
    if (s->o.sync != STORE_SYNC_ALWAYS)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option sync: a node of a cluster syncs always: its vote depends on it");
    return ST_OK;
}

static void set_defaults(struct store *s, struct cluster *c)
{
    if (!c->o.seed)
        env_random(s->env, &c->o.seed, sizeof c->o.seed);
    if (!c->o.replica)
        c->o.replica = c->o.node;
    if (!c->o.propose_timeout_ms)
        c->o.propose_timeout_ms = STORE_PROPOSE_TIMEOUT_MS;
    if (!c->o.heartbeat_ms)
        c->o.heartbeat_ms = HEARTBEAT_MS;
    c->tick_ns = (c->o.heartbeat_ms > 3 ? c->o.heartbeat_ms / 3 : 1) * UINT64_C(1000000);
    for (size_t i = 0; i < c->o.n; i++)
        c->peers[i].node = c->o.nodes[i];
}

enum status cluster_new(struct store *s, struct err *err)
{
    enum status st = check_options(s, err);
    if (st != ST_OK)
        return st;
    struct cluster *c = mem_zalloc(sizeof *c);
    struct latches *l = latches_new();
    if (!c || !l) {
        mem_free(c);
        latches_free(l);
        return err_set(err, ST_NO_MEMORY, "no memory for a cluster");
    }
    c->o = *s->o.cluster;
    c->latches = l;
    env_cond_init(&c->poke);
    buf_init(&c->scratch, STORE_BUNDLE_MAX);
    err_init(&c->stall);
    err_init(&c->undrained);
    struct list *const lists[] = {&c->came, &c->barriers, &c->inbox,   &c->leads,   &c->queued,
                                  &c->sent, &c->awaiting, &c->reading, &c->refused, &c->changes};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        list_init(lists[i]);
    set_defaults(s, c);
    s->cluster = c;
    return ST_OK;
}

enum status cluster_metrics(struct store *s, struct err *err)
{
    struct cluster *c = s->cluster;
    struct metrics *m = s->metrics;
    c->m_term = metrics_gauge(m, "varve_raft_term", NULL, "Term of this node.");
    c->m_leader = metrics_gauge(m, "varve_raft_leader", NULL, "Node that leads, 0: none known.");
    c->m_commit = metrics_gauge(m, "varve_raft_commit_index", NULL,
                                "Index up to which log entries are known to be committed.");
    c->m_waiting = metrics_gauge(m, "varve_raft_uncommitted_entries", NULL,
                                 "Entries in the log of this leader and not committed yet.");
    c->m_elections =
        metrics_counter(m, "varve_raft_elections_total", NULL, "Elections that this node has won.");
    c->m_forwarded = metrics_counter(m, "varve_raft_forwarded_writes_total", NULL,
                                     "Writes sent on to the leader.");
    c->m_snapshots_sent = metrics_counter(m, "varve_raft_snapshots_sent_total", NULL,
                                          "States made for nodes that were too far behind.");
    c->m_snapshots_installed =
        metrics_counter(m, "varve_raft_snapshots_installed_total", NULL,
                        "States of other nodes that took the place of this one's.");
    if (!c->m_term || !c->m_leader || !c->m_commit || !c->m_waiting || !c->m_elections ||
        !c->m_forwarded || !c->m_snapshots_sent || !c->m_snapshots_installed)
        return err_set(err, ST_NO_MEMORY, "no memory for metrics");
    return ST_OK;
}

void cluster_gauges(struct store *s)
{
    struct cluster *c = s->cluster;
    gauge_set(c->m_term, (int64_t)atomic_load(&c->term));
    gauge_set(c->m_leader, (int64_t)atomic_load(&c->leader));
    gauge_set(c->m_commit, (int64_t)atomic_load(&c->commit));
    gauge_set(c->m_waiting, (int64_t)atomic_load(&c->uncommitted));
}

static void drop_all(struct list *l)
{
    list_foreach_safe (it, l) {
        struct proposal *p = container_of(it, struct proposal, node);
        list_remove(&p->node);
        if (p->remote)
            remote_free(p);
    }
}

void cluster_free(struct store *s)
{
    struct cluster *c = s->cluster;
    if (!c)
        return;
    struct list *const lists[] = {&c->came, &c->queued,   &c->refused,
                                  &c->sent, &c->awaiting, &s->in_log};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        drop_all(lists[i]);
    list_foreach_safe (it, &c->inbox) {
        mem_free(container_of(it, struct inbox_item, node));
    }
    buf_deinit(&c->scratch);
    latches_free(c->latches);
    env_cond_deinit(&c->poke);
    mem_free(c);
    s->cluster = NULL;
}

enum status cluster_start(struct store *s, struct err *err)
{
    struct cluster *c = s->cluster;
    if (s->o.no_thread)
        return ST_OK;
    enum status st = env_thread_start(&c->thread, "varve-raft", cluster_keep, s, err);
    c->thread_runs = st == ST_OK;
    return st;
}

void cluster_stop(struct store *s)
{
    struct cluster *c = s->cluster;
    if (c && c->thread_runs) {
        env_thread_join(&c->thread);
        c->thread_runs = false;
    }
}

/* ---- the file ---- */

static enum status damaged(const struct store *s, const char *what, struct err *err)
{
    return err_set(err, ST_CORRUPT, "%s/CLUSTER: offset 0: %s", s->dir, what);
}

static enum status put_nodes(struct buf *out, const struct store_cluster *o)
{
    enum status st = buf_printf(out, "nodes");
    for (size_t i = 0; st == ST_OK && i < o->n; i++)
        st = buf_printf(out, " %" PRIu64, o->nodes[i]);
    return st == ST_OK ? buf_printf(out, "\n") : st;
}

static enum status put_who(struct buf *out, const struct cluster *c)
{
    const struct store_cluster *o = &c->o;
    int format = c->id ? 3 : o->replica != o->node ? 2 : 1;
    enum status st = buf_printf(out, "cluster\nformat %d\nnode %" PRIu64 "\n", format, o->node);
    if (st == ST_OK && format >= 2)
        st = buf_printf(out, "replica %" PRIu64 "\n", o->replica);
    return st == ST_OK && format >= 3 ? buf_printf(out, "id %016" PRIx64 "\n", c->id) : st;
}

/* The same node of the same cluster? */
static enum status check_file(const struct store *s, const char *text, uint64_t *ret_incarnation,
                              uint64_t *ret_id, struct err *err)
{
    const struct cluster *c = s->cluster;
    unsigned format, crc;
    uint64_t node, replica, incarnation, id = 0;
    char extra;
    int at = 0, head = 0;
    struct buf nodes = BUF_INIT;
    if (sscanf(text, "cluster\nformat %u\n", &format) != 1)
        return damaged(s, "not the file of a cluster's node", err);
    if (format > CLUSTER_FORMAT)
        return err_set(err, ST_FORMAT_NEWER,
                       "%s/CLUSTER: format version %u; this program reads up to %d", s->dir, format,
                       CLUSTER_FORMAT);
    const char *crc_line = strstr(text, "crc ");
    if (!crc_line || sscanf(crc_line, "crc %8x\n%c", &crc, &extra) != 1 ||
        crc != crc32c(0, text, (size_t)(crc_line - text)))
        return damaged(s, "the checksum does not hold", err);
    if (sscanf(text, "cluster\nformat %*u\nnode %" SCNu64 "\n%n", &node, &head) != 1 || head == 0)
        return damaged(s, "a line is missing or unknown", err);
    replica = node;
    if (format >= 2 &&
        (sscanf(text + head, "replica %" SCNu64 "\n%n", &replica, &at) != 1 || at == 0))
        return damaged(s, "the line of the replica is missing", err);
    head += at;
    at = 0;
    if (format >= 3 && (sscanf(text + head, "id %" SCNx64 "\n%n", &id, &at) != 1 || at == 0))
        return damaged(s, "the line of the cluster's id is missing", err);
    head += at;
    at = 0;
    if (sscanf(text + head, "incarnation %" SCNu64 "\n%n", &incarnation, &at) != 1 || at == 0)
        return damaged(s, "a line is missing or unknown", err);
    at += head;
    if (node != c->o.node)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option cluster: %s is the folder of node %" PRIu64 ", not of node %" PRIu64,
                       s->dir, node, c->o.node);
    if (replica != c->o.replica)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "option cluster: %s is the folder of replica %" PRIu64
                       ", not of replica %" PRIu64,
                       s->dir, replica, c->o.replica);
    if (put_nodes(&nodes, &c->o) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to read %s/CLUSTER", s->dir);
    bool same =
        bytes_eq(BYTES(text + at, (size_t)(crc_line - text) - (size_t)at), buf_bytes(&nodes));
    buf_deinit(&nodes);
    if (!same)
        return err_set(
            err, ST_INVALID_ARGUMENT,
            "option cluster: %s belongs to a cluster of other nodes, or in another order", s->dir);
    *ret_incarnation = incarnation;
    *ret_id = id;
    return ST_OK;
}

enum status cluster_file_write(struct store *s, struct err *err)
{
    const struct cluster *c = s->cluster;
    struct buf path = BUF_INIT, content = BUF_INIT;
    enum status st = store__path(s, "CLUSTER", &path, err);
    if (st == ST_OK &&
        (put_who(&content, c) != ST_OK ||
         buf_printf(&content, "incarnation %" PRIu64 "\n", c->incarnation & UINT32_MAX) != ST_OK ||
         put_nodes(&content, &c->o) != ST_OK ||
         buf_printf(&content, "crc %08" PRIx32 "\n", crc32c(0, content.data, content.len)) !=
             ST_OK))
        st = err_set(err, ST_NO_MEMORY, "no memory to write %s", buf_cstr(&path));
    if (st == ST_OK)
        st = env_write_file(s->env, buf_cstr(&path), buf_bytes(&content), err);
    buf_deinit(&content);
    buf_deinit(&path);
    return st;
}

enum status cluster_none(struct store *s, struct err *err)
{
    struct buf path = BUF_INIT, content = BUF_INIT;
    enum status st = store__path(s, "CLUSTER", &path, err);
    if (st == ST_OK)
        st = env_read_file(s->env, buf_cstr(&path), CLUSTER_FILE_MAX, &content, err);
    if (st == ST_OK || st == ST_TOO_LARGE)
        st =
            err_set(err, ST_INVALID_ARGUMENT,
                    "%s is the folder of a cluster's node, and cannot be opened without the others",
                    s->dir);
    else if (st == ST_NOT_FOUND)
        st = ST_OK;
    buf_deinit(&content);
    buf_deinit(&path);
    return st;
}

enum status cluster_file_check(struct store *s, struct err *err)
{
    struct cluster *c = s->cluster;
    struct buf path = BUF_INIT, content = BUF_INIT;
    uint64_t last = 0;
    enum status st = store__path(s, "CLUSTER", &path, err);
    if (st != ST_OK)
        goto out;
    st = env_read_file(s->env, buf_cstr(&path), CLUSTER_FILE_MAX, &content, err);
    if (st == ST_NOT_FOUND) {
        c->fresh = true;
        st = ST_OK;
    } else if (st == ST_OK) {
        const char *text = buf_cstr(&content);
        st = !text ? err_set(err, ST_NO_MEMORY, "no memory to read %s", buf_cstr(&path))
             : strlen(text) != content.len ? damaged(s, "it holds a zero byte", err)
                                           : check_file(s, text, &last, &c->id, err);
    }
    if (st == ST_OK && c->id == 0 && c->o.nodes[0] == c->o.node)
        c->id = c->o.new_id;
    uint64_t now_s = env_now_ms(s->env) / 1000;
    if (now_s > clock_max_s) /* of another century: the last incarnation alone counts */
        now_s = 0;
    uint64_t wanted = c->o.incarnation ? c->o.incarnation : now_s;
    /* A new disk knows of none before it: whatever the clock says, it is above those of the old one. */
    if (st == ST_OK)
        c->incarnation = (wanted > last ? wanted : last + 1) | (c->o.replica - c->o.node) << 32;
out:
    buf_deinit(&content);
    buf_deinit(&path);
    return st;
}

uint64_t store_cluster_id(const struct store *s)
{
    return s->cluster->id;
}

enum status store_cluster_meet(struct store *s, uint64_t id, struct err *err)
{
    struct cluster *c = s->cluster;
    if (id == 0 || id == c->id)
        return ST_OK;
    if (c->id != 0)
        return err_set(err, ST_PRECONDITION_FAILED,
                       "%s is a folder of cluster %016" PRIx64 ", not of %016" PRIx64, s->dir,
                       c->id, id);
    c->id = id;
    struct err why;
    err_init(&why);
    if (cluster_file_write(s, &why) != ST_OK) /* the next process meets the others again */
        log_at(LOG_WARN, "store", "the cluster's id could not be written down",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", why.detail));
    return ST_OK;
}

/* ---- peers ---- */

struct cluster_peer *cluster_peer(struct store *s, uint64_t node)
{
    struct cluster *c = s->cluster;
    for (size_t i = 0; i < c->o.n; i++)
        if (c->o.nodes[i] == node)
            return &c->peers[i];
    return NULL;
}

bool cluster_heard(struct store *s, uint64_t node, uint64_t incarnation)
{
    struct cluster_peer *peer = cluster_peer(s, node);
    ASSERT(peer); /* store_receive has looked */
    if (incarnation > peer->incarnation) {
        /* What was sent to the process before has an unknown outcome. */
        s->cluster->role_dirty = s->cluster->role_dirty || peer->incarnation != 0;
        *peer = (struct cluster_peer){.node = node, .incarnation = incarnation};
    }
    return incarnation == peer->incarnation;
}

/* For an append, a segment ahead or a drain. */
static bool disk_full(struct store *s)
{
    struct cluster *c = s->cluster;
    env_mutex_lock(&s->state_lock);
    bool full = c->undrained.status == ST_DISK_FULL;
    env_mutex_unlock(&s->state_lock);
    return full || c->stall.status == ST_DISK_FULL || atomic_load(&s->no_spare);
}

/* Peers that are a bit behind get entries and no snapshots: the log is given up only where it has
 * grown large, in whole segments, first what no live peer wants, then all that is in the engine. Or where the disk is
 * full: also while the replica waits for room and cannot be told; whoever asks it for such an entry gets a state. */
void cluster_compact(struct store *s)
{
    struct cluster *c = s->cluster;
    struct wal_stats w;
    uint64_t mark = atomic_load(&s->persisted_index), before = c->let_go;
    bool full = disk_full(s);
    wal_stats(s->wal, &w);
    replica_compact(s->replica, before);
    if ((w.live_bytes <= s->o.log_bytes / 2 && !full) || atomic_load(&s->keep_log))
        return;
    uint64_t hint = raft_compact_hint(replica_raft(s->replica));
    uint64_t to = w.live_bytes <= s->o.log_bytes && hint < mark ? hint : mark;
    if (PLANTED(LOG_GIVEN_UP_EARLY))
        to = s->range.applied;
    to = wal_worth_releasing(s->wal, RANGE_FIRST, to);
    if (full && to <= before)
        to = wal_worth_releasing(s->wal, RANGE_FIRST, mark);
    c->let_go = to > before ? to : before;
    replica_compact(s->replica, c->let_go);
    struct raft_status now;
    raft_status(replica_raft(s->replica), &now);
    wal_release(s->wal, RANGE_FIRST, full ? c->let_go : now.compacted);
    if (!full || to <= before)
        return;
    PROBE("store: a full disk is freed of entries that are drained");
    atomic_store(&s->dirty, true);
    store__poke(s);
}

/* ---- looking ---- */

enum status store_log_takes(struct store *s, struct err *err)
{
    struct cluster *c = s->cluster;
    if (!c)
        return ST_OK;
    env_mutex_lock(&s->state_lock);
    struct err why = c->stall;
    env_mutex_unlock(&s->state_lock);
    return why.status == ST_OK ? ST_OK : err_set(err, why.status, "%s", why.detail);
}

void store_role(struct store *s, struct store_role *ret)
{
    const struct cluster *c = s->cluster;
    uint64_t applied = atomic_load(&s->applied_index);
    if (!c) {
        *ret = (struct store_role){.commit = applied, .applied = applied, .is_leader = true};
        return;
    }
    uint64_t leader = atomic_load(&c->leader);
    *ret = (struct store_role){.node = c->o.node,
                               .leader = leader,
                               .term = atomic_load(&c->term),
                               .commit = atomic_load(&c->commit),
                               .applied = applied,
                               .is_leader = leader == c->o.node};
}

const struct raft *store_raft(struct store *s)
{
    return s->replica && s->cluster ? replica_raft(s->replica) : NULL;
}
