/* No vote and no acknowledgement without durable state: what leaves a node is held against what its
 * disk would have after a power cut at that very moment. Every vote is; of acknowledgements, which
 * are many, one in a while, for looking means reading the log. */
#include "sim/cluster/run.h"

#include "consensus/raft/raft_codec.h"
#include "node/range/range.h"
#include "node/range/replica_codec.h"
#include "storage/engine/engine.h"

#include <string.h>

enum { ACKS_BETWEEN = 300 };

struct durable {
    struct raft_hard_state hard;
    uint64_t last, released; /* the highest entry in the log; what the log gave up to the engine */
};

static enum status on_record(void *arg, const struct wal_record *rec, struct wal_pos pos,
                             struct err *err)
{
    struct durable *d = arg;
    (void)pos;
    (void)err;
    switch ((enum wal_kind)rec->kind) {
    case WAL_ENTRY: /* one at an index that is there voids what follows */
        d->last = rec->index;
        break;
    case WAL_HARD_STATE:
        if (!rec->rotten && !replica_hard_decode(rec->payload, &d->hard))
            d->hard = (struct raft_hard_state){0};
        break;
    case WAL_TRUNCATE:
        d->last = rec->index < d->last ? rec->index - (rec->index > 0) : d->last;
        break;
    case WAL_RELEASE:
        if (rec->index > d->released)
            d->released = rec->index;
        break;
    }
    return ST_OK;
}

/* What the engine has that the format file names: after a snapshot from another node that is all
 * there is. */
static uint64_t engine_mark(struct env *disk)
{
    struct engine_options o = {.read_only = true};
    struct engine_mark mark = {0};
    struct engine *e = NULL;
    struct buf varve = BUF_INIT;
    const char *dir = "/data/engine";
    if (env_read_file(disk, "/data/VARVE", 4096, &varve, NULL) == ST_OK && buf_cstr(&varve) &&
        strstr(buf_cstr(&varve), "folder engine.2"))
        dir = "/data/engine.2";
    buf_deinit(&varve);
    if (engine_mem_open(disk, dir, &o, &e, NULL) != ST_OK)
        return 0;
    if (e->ops->persisted(e, RANGE_FIRST, &mark, NULL) != ST_OK)
        mark.index = 0;
    e->ops->close(e);
    return mark.index;
}

/* false: the disk is damaged, and says nothing. The engine is read, which is all that was ever written,
 * only if the log alone does not keep what is promised: an entry up to `index`. */
static bool read_durable(struct node *n, uint64_t index, struct durable *ret)
{
    struct durable d = {0};
    struct wal_options o = {.read_only = true, .keep_rotten = true};
    struct wal *wal = NULL;
    struct env *disk = sim_env_durable(sim_machine_env(n->machine));
    enum status st = wal_open(disk, "/data/log", &o, on_record, &d, &wal, NULL);
    if (st == ST_OK)
        wal_abandon(wal);
    if (st != ST_OK || (d.last < index && d.released < index)) {
        uint64_t mark = engine_mark(disk);
        d.released = mark > d.released ? mark : d.released;
    }
    sim_env_free(disk);
    *ret = d;
    return st == ST_OK || st == ST_NOT_FOUND;
}

static void note(struct node *n, struct history_note note)
{
    struct run *r = n->run;
    note.node = (uint32_t)n->replica;
    enum status st = history_note(r->history, run_now(r), &note);
    ASSERT(st == ST_OK);
}

static void look(struct node *n, const struct raft_msg *m, bool vote)
{
    struct durable d;
    if (node_lied(n) || !read_durable(n, vote ? 0 : m->index, &d))
        return;
    note(n, (struct history_note){.fact = HISTORY_DURABLE,
                                  .group = m->group,
                                  .term = d.hard.term,
                                  .vote = d.hard.vote,
                                  .index = d.last > d.released ? d.last : d.released});
    note(n, (struct history_note){.fact = vote ? HISTORY_VOTED : HISTORY_ACKED,
                                  .group = m->group,
                                  .term = m->term,
                                  .vote = vote ? m->to : 0,
                                  .index = vote ? 0 : m->index});
}

/* It gives its lead away: to one that may be gone already, and another one in its place. Or it gave it
 * away, and follows another leader by the time the message leaves. */
static void look_at_heir(struct node *n, uint64_t to_node, const struct raft_msg *m)
{
    const struct raft *leader = node_raft(n), *heir = node_raft(&n->run->nodes[to_node]);
    struct raft_status here = {0}, there = {0};
    struct err err;
    err_init(&err);
    if (leader)
        raft_status(leader, &here);
    if (heir)
        raft_status(heir, &there);
    if (here.term == m->term && there.replica == m->to &&
        raft_check_hand_over(leader, heir, &err) != ST_OK)
        run_fail(n->run, "raft: %s", err.detail);
}

void promises_heard(void *node, const struct raft *r, const struct raft_msg *m)
{
    struct node *n = node;
    struct err err;
    err_init(&err);
    if (raft_check_heard(r, m, &err) != ST_OK)
        run_fail(n->run, "raft: %s", err.detail);
}

static void look_at(struct node *n, uint64_t to_node, const struct raft_msg *m)
{
    if (m->type == RAFT_MSG_TIMEOUT_NOW)
        look_at_heir(n, to_node, m);
    if (m->flags & RAFT_MSG_REJECT)
        return;
    if (m->type == RAFT_MSG_VOTE_RESP) {
        look(n, m, true);
    } else if (m->type == RAFT_MSG_APPEND_RESP && n->acks_left-- == 0) {
        n->acks_left = ACKS_BETWEEN;
        look(n, m, false);
    }
}

void promises_note(struct node *n, uint64_t to_node, struct bytes bundle)
{
    struct reader in = reader_of(bundle);
    struct raft_decoded d = {0};
    uint64_t incarnation;
    /* Nothing of this is the process's: not its memory, and not its luck. */
    struct sim_heap *heap = sim_heap_enter(NULL);
    bool open = replica_bundle_open(&in, &incarnation);
    while (open && reader_left(&in)) {
        uint8_t kind = replica_item_kind(&in);
        struct bytes body;
        if (kind >= REPLICA_ITEM_OWN ? !replica_item_next(&in, &kind, &body)
                                     : raft_decode(&in, n->id, to_node, &d, NULL) != ST_OK)
            break;
        if (kind < REPLICA_ITEM_OWN && d.kind == RAFT_ITEM_MSG)
            look_at(n, to_node, &d.msg);
    }
    raft_decoded_deinit(&d);
    sim_heap_enter(heap);
}
