/* raft_store.c - what the groups of a store share: options, time, turns. */
#include "consensus/raft/raft_internal.h"

static uint32_t or32(uint32_t v, uint32_t otherwise)
{
    return v ? v : otherwise;
}

static size_t or_size(size_t v, size_t otherwise)
{
    return v ? v : otherwise;
}

static enum status fill_options(struct raft_options *o, struct err *err)
{
    if (o->store == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "raft: store is 0");
    if ((uint32_t)o->incarnation == 0)
        return err_set(err, ST_INVALID_ARGUMENT, "raft: the lower half of incarnation is 0");
    if (o->max_inflight_msgs > RAFT_INFLIGHT_MAX)
        return err_set(err, ST_INVALID_ARGUMENT, "raft: max_inflight_msgs is above %d",
                       RAFT_INFLIGHT_MAX);
    o->heartbeat_ms = or32(o->heartbeat_ms, 100);
    o->election_ms = or32(o->election_ms, 1000);
    if (o->election_ms < 3 * o->heartbeat_ms)
        return err_set(err, ST_INVALID_ARGUMENT, "raft: election_ms is below 3 * heartbeat_ms");
    o->quiesce_ms = or32(o->quiesce_ms, 3 * o->heartbeat_ms);
    o->cache_bytes = or_size(o->cache_bytes, 64 * 1024 * 1024);
    o->max_append_bytes = or_size(o->max_append_bytes, 1024 * 1024);
    o->max_append_entries = or32(o->max_append_entries, 65536);
    o->max_inflight_msgs = or32(o->max_inflight_msgs, RAFT_INFLIGHT_MAX);
    o->max_inflight_bytes = or_size(o->max_inflight_bytes, 16 * 1024 * 1024);
    o->max_uncommitted_bytes = or_size(o->max_uncommitted_bytes, 32 * 1024 * 1024);
    o->max_apply_bytes = or_size(o->max_apply_bytes, 4 * 1024 * 1024);
    o->max_chunk_bytes = or_size(o->max_chunk_bytes, 256 * 1024);
    o->max_reads = or32(o->max_reads, 4096);
    o->max_tickets = or32(o->max_tickets, 32);
    return ST_OK;
}

enum status raft_store_new(const struct raft_options *o, struct raft_store **ret, struct err *err)
{
    struct raft_options filled = *o;
    enum status st = fill_options(&filled, err);
    if (st != ST_OK)
        return st;
    struct raft_store *s = mem_zalloc(sizeof *s);
    if (!s)
        return err_set(err, ST_NO_MEMORY, "raft: store");
    s->o = filled;
    s->rng = filled.seed;
    s->now = 1; /* internal time; 0 is "never" */
    list_init(&s->awake);
    list_init(&s->asleep);
    list_init(&s->ready);
    list_init(&s->cached);
    *ret = s;
    return ST_OK;
}

void raft_store_free(struct raft_store *s)
{
    if (!s)
        return;
    ASSERT(s->n_groups == 0 && s->cache_used == 0);
    raft__pool_deinit(s);
    mem_free(s->links);
    mem_free(s);
}

static void tick_group(struct raft *r)
{
    if (r->role == RAFT_LEADER)
        raft__tick_leader(r);
    else
        raft__tick_election(r);
    raft__tick_reads(r);
    raft__tick_snapshot(r);
    raft__tick_repair(r);
    raft__tick_sleep(r);
    if (r->retry) { /* something waited for memory, or for its time */
        r->retry = false;
        raft__touch(r);
    }
}

void raft_store_tick(struct raft_store *s, uint64_t now_ms)
{
    ASSERT(s->updates_out == 0);
    uint64_t step = now_ms > s->real_now ? now_ms - s->real_now : 0;
    if (s->real_now == 0)
        step = 0; /* the first tick only says what time it is */
    if (now_ms > s->real_now)
        s->real_now = now_ms;
    if (step > s->o.election_ms / 2)
        step = s->o.election_ms / 2; /* we were stopped: that says nothing about the others */
    s->now += step;
    raft__links_tick(s);
    list_foreach_safe (it, &s->awake) {
        tick_group(container_of(it, struct raft, life_link));
    }
}

struct raft *raft_store_ready(struct raft_store *s)
{
    return list_empty(&s->ready) ? NULL : container_of(s->ready.next, struct raft, ready_link);
}

void raft_store_stats(const struct raft_store *s, struct raft_store_stats *ret)
{
    *ret = (struct raft_store_stats){
        .groups = s->n_groups,
        .awake = s->n_awake,
        .cache_bytes = s->cache_used,
        .pool_bytes = s->pool_free,
        .dropped_msgs = s->dropped_msgs,
        .evicted_entries = s->evicted,
    };
}
