/* raft_internal.h - one replica and what the replicas of a store share.
 *
 * Invariants of a replica:
 *   compacted <= applied <= apply_sent <= commit <= last;  durable <= emitted <= last
 *   the cache holds a suffix of the log: [last - count + 1, last]; all that is not durable is in it
 *   nothing at or below commit is ever truncated
 *   a leader's term is durable (vote requests wait for their ticket, its own vote counts after it)
 *   conf is the newest configuration in the log, prev the one before: at most one is not committed
 *   asleep: nothing is in flight, all that is reachable has everything, and knows it
 */
#ifndef VARVE_CONSENSUS_RAFT_INTERNAL_H
#define VARVE_CONSENSUS_RAFT_INTERNAL_H

#include "base/alloc.h"
#include "base/assert.h"
#include "base/list.h"
#include "consensus/raft/raft.h"

/* ---- raft_pool.c: memory that is used again ---- */
enum { RAFT__CLASSES = 5, RAFT__BLOCK = 4096 }; /* 4 KiB .. 64 KiB are kept; larger ones are not */
struct raft__block {
    struct raft__block *next; /* while free */
    uint32_t live;            /* entries in it */
    uint32_t used;
    size_t size; /* of data[] */
    uint8_t data[];
};
struct raft__node { /* a message that waits for the next update */
    struct raft__node *next;
    bool after;
    struct raft_msg m;
};
struct raft__scratch { /* what updates point to; begun anew when none is out */
    uint8_t **chunk;
    size_t n, cap, at, used;
};
/* Another store that this one shares sleeping groups with. */
struct raft__link {
    uint64_t store, heard_at, beat_at, incarnation, generation;
    size_t refs; /* groups that sleep on its being alive */
};

struct raft_store {
    struct raft_options o;
    uint64_t real_now; /* as the caller says */
    uint64_t now;      /* without the jumps: a pause is not taken for the silence of others */
    uint64_t rng;
    uint64_t generation;
    struct list awake, asleep, ready;
    struct list cached; /* groups with cached entries, the one to evict from first */
    size_t n_groups, n_awake;
    struct raft__block *free_blocks[RAFT__CLASSES];
    size_t cache_used, pool_free;
    struct raft__node *free_nodes;
    struct raft__scratch scratch;
    size_t updates_out;
    struct raft__link *links;
    size_t n_links, cap_links;
    uint64_t dropped_msgs, evicted;
};

/* Errors: OVERLOADED (the budget, unless `force`), NO_MEMORY. */
enum status raft__block_get(struct raft_store *s, size_t size, bool force,
                            struct raft__block **ret) WARN_UNUSED;
void raft__block_put(struct raft_store *s, struct raft__block *b);
/* Evicts until `size` bytes more are within the budget; false: nothing more can go. */
bool raft__make_room(struct raft_store *s, size_t size);
struct raft__node *raft__node_get(struct raft_store *s);
void raft__node_put(struct raft_store *s, struct raft__node *n);
void *raft__scratch_get(struct raft_store *s, size_t size); /* NULL: no memory; at most 64 KiB */
/* Gives back what lies behind `end` in the run that was got last. */
void raft__scratch_trim(struct raft_store *s, const void *end);
void raft__pool_deinit(struct raft_store *s);
uint64_t raft__random(struct raft_store *s);

/* ---- raft_log.c ---- */
struct raft__run { /* entries from `first` on have this term, up to the next run */
    uint64_t first, term;
};
struct raft__log {
    uint64_t compacted, compacted_term;
    uint64_t last;
    uint64_t emitted; /* handed out to be written */
    uint64_t durable;
    struct raft__run *runs;
    size_t n_runs, cap_runs;
    /* The cache: a suffix, entries[head .. head + count). */
    struct raft_entry *entries;
    struct raft__block **blocks; /* where each payload lies; NULL: nowhere */
    size_t head, count, cap;
    struct raft__block *tail; /* being filled */
};
struct raft__ticket {
    uint64_t id, index; /* durable up to index when id is done */
};

struct raft__peer {
    uint64_t replica, store;
    uint8_t flags; /* of the member */
    uint8_t vote;  /* 0 none, 1 yes, 2 no */
    bool probe_sent, hb_due, asleep_ack;
    bool away;   /* silent: the group sleeps without it */
    bool relied; /* asleep: its store is to be alive (a link counts it) */
    enum raft_peer_state state;
    uint64_t match, next, commit_told, round;
    uint64_t active_at;   /* last heard of */
    uint64_t progress_at; /* match rose, or something was sent to an idle peer */
    size_t in_bytes;
    uint16_t in_head, in_n;
    uint64_t in_end[RAFT_INFLIGHT_MAX]; /* last index of each message under way */
    uint32_t in_size[RAFT_INFLIGHT_MAX];
};

struct raft__ask {
    uint64_t id;    /* the caller's, or the asking replica's */
    uint64_t from;  /* replica that asked; 0: here */
    uint64_t store; /* where it is */
    uint64_t
        round; /* leader: 0 = waits for the term's first commit; follower: number of the asking */
    uint64_t index;
    uint64_t at; /* when */
};
struct raft__fifo { /* of reads */
    struct raft__ask *v;
    size_t head, n, cap;
};

struct raft__bad {
    uint64_t index, term;
};

/* A snapshot under way; made only while there is one. */
struct raft__snap_out {
    struct raft_snapshot meta; /* id 0: being made */
    uint64_t peer;
    uint64_t offset; /* of the chunk to be sent, or under way */
    uint64_t at;     /* last sent */
    bool want_made, asked_made, want_chunk, asked_chunk, sent, last;
    size_t len;
    struct raft__block *chunk;
};
struct raft__snap_in {
    struct raft_snapshot meta;
    uint64_t from, from_store;
    uint64_t offset; /* bytes stored */
    size_t len;      /* of the chunk being stored; with `busy` */
    bool busy, shown, last, install, install_shown;
    bool keep; /* the log goes on behind it */
    struct raft__block *chunk;
};

struct raft {
    struct raft_store *store;
    void *user;
    uint64_t group, id;
    struct list ready_link, life_link, cache_link;
    bool started, is_ready, is_cached, busy, asleep;
    bool alone, waits; /* as raft_init says */
    bool more;         /* the update out does not hold all */
    bool retry;        /* with the next tick */

    uint64_t term, vote;
    bool hs_dirty;
    uint64_t hs_ticket; /* the newest that carries term or vote */
    uint64_t last_ticket, done_ticket;
    struct raft__ticket *tickets; /* ring of o.max_tickets */
    uint32_t t_head, t_n;

    enum raft_role role;
    bool role_dirty, resign, force; /* force: this election was asked for by the leader */
    uint64_t leader, leader_store;
    uint64_t heard_at, election_at, timeout; /* timeout: drawn, in ms */
    uint64_t commit, applied, apply_sent;
    uint64_t verified; /* follower: equal to the leader's log up to here */

    struct raft__log log;
    struct raft_conf conf, prev;
    uint64_t conf_index, prev_index;
    struct raft__peer *peers; /* of conf, self included */
    size_t n_peers, cap_peers;

    /* leader */
    uint64_t term_start; /* index of the term's first entry */
    uint64_t quota_from; /* entries behind it count */
    size_t uncommitted;  /* bytes */
    uint64_t hb_at, idle_at;
    uint64_t transfer_to, transfer_at; /* replica, deadline */
    bool transfer_sent, sleeping;      /* sleeping: peers were asked to sleep */
    uint64_t round, round_done;
    struct raft__fifo rounds, asked, waiting; /* leader's; asked the leader; index known */
    uint64_t ask_no, ask_first; /* newest number; numbers up to ask_first are of another life */
    uint64_t ask_at;
    size_t own_reads; /* in the three, from here: done_reads has room for them */
    bool ask_due;
    struct raft_read_done *done_reads; /* to be given out */
    size_t n_done, cap_done;

    struct raft_fetch fetch; /* id 0: none */
    bool fetch_shown;
    uint64_t fetch_no, fetch_at; /* not before */
    const struct raft_entry *fetched;
    size_t n_fetched;
    struct raft__snap_out *out;
    struct raft__snap_in *in;
    uint64_t drop_snapshot;

    struct raft__bad bad[RAFT_BAD_MAX];
    uint8_t n_bad, n_repaired;
    struct raft_entry repaired;         /* n_repaired 1: to be written again, in repaired_block; */
    struct raft__block *repaired_block; /* 2: handed out with mending_ticket */
    uint64_t mending_ticket;
    uint64_t repair_at;

    struct raft__node *out_first, **out_last;
    size_t n_out;
};

/* The log. Entries that are there are [compacted + 1, last]. */
uint64_t raft__term_at(const struct raft__log *l, uint64_t index);
static inline uint64_t raft__last_term(const struct raft__log *l)
{
    return raft__term_at(l, l->last);
}
static inline uint64_t raft__cached_from(const struct raft__log *l)
{
    return l->last - l->count + 1;
}
/* Cached entries from `index` on, and how many; NULL: not cached. */
const struct raft_entry *raft__cached(const struct raft__log *l, uint64_t index, size_t *ret_n);
/* The largest index <= `index` whose term is <= `term`; `compacted` when there is none. */
uint64_t raft__hint(const struct raft__log *l, uint64_t index, uint64_t term);
/* Appends at last + 1. `keep` false: only its term is kept (an entry that lies on disk already).
 * `force`: past the budget. Errors: OVERLOADED, NO_MEMORY. */
enum status raft__log_append(struct raft *r, uint64_t term, uint8_t kind, struct bytes payload,
                             bool keep, bool force) WARN_UNUSED;
/* Voids entries from `index` on. */
void raft__log_truncate(struct raft *r, uint64_t index);
void raft__log_reset(struct raft *r, uint64_t index, uint64_t term); /* after a snapshot */
/* Drops the cache's front up to and including `to`, nothing that is not durable. */
size_t raft__log_evict(struct raft *r, uint64_t to, size_t max_blocks);
void raft__log_compact(struct raft *r, uint64_t index);
void raft__log_shrink(struct raft *r);
void raft__log_deinit(struct raft *r);
/* Puts the payload of a cached or repaired entry in a block of its own. */
struct raft__block *raft__block_copy(struct raft_store *s, struct bytes payload, bool force);

/* ---- raft_config.c ---- */
enum status raft__set_conf(struct raft *r, const struct raft_conf *c, uint64_t index) WARN_UNUSED;
enum status raft__peers_reserve(struct raft *r, size_t n) WARN_UNUSED;
void raft__use_conf(struct raft *r, const struct raft_conf *c); /* peers_reserve came before */
void raft__conf_rollback(struct raft *r, uint64_t index);       /* entries from index on are void */
struct raft__peer *raft__peer(struct raft *r, uint64_t replica);
static inline struct raft__peer *raft__self(struct raft *r)
{
    return raft__peer(r, r->id);
}
static inline bool raft__votes(uint8_t flags)
{
    return flags & (RAFT_VOTER | RAFT_VOTER_OLD);
}
bool raft__may_vote(struct raft *r); /* self is a voter */
bool raft__may_campaign(struct raft *r);
/* The value that a majority (of both configurations) has reached. */
uint64_t raft__quorum_match(struct raft *r);
uint64_t raft__quorum_round(struct raft *r);
bool raft__quorum_active(struct raft *r);
enum status raft__conf_check(const struct raft_conf *c, struct err *err) WARN_UNUSED;
/* 1 won, -1 lost, 0 open. */
int raft__quorum_votes(struct raft *r);
void raft__conf_committed(struct raft *r); /* commit rose past conf_index: leave, resign */

/* ---- raft_election.c ---- */
void raft__become_follower(struct raft *r, uint64_t term, uint64_t leader, uint64_t leader_store);
void raft__leader_lost(struct raft *r); /* somebody says so; it may yet be heard again */
void raft__become_leader(struct raft *r);
void raft__lead_alone(struct raft *r); /* at the start, without an election */
void raft__start_election(struct raft *r, bool force);
void raft__count_own_vote(struct raft *r); /* its ticket is done */
void raft__reset_timer(struct raft *r);
void raft__draw_timeout(struct raft *r);
bool raft__sticky(struct raft *r);
enum status raft__on_prevote(struct raft *r, const struct raft_msg *m);
enum status raft__on_vote(struct raft *r, const struct raft_msg *m);
enum status raft__on_vote_resp(struct raft *r, const struct raft_msg *m);
void raft__tick_election(struct raft *r);

/* ---- raft_step.c: messages in and out ---- */
/* Adds a message with group, from, to, term filled in; NULL: dropped, as if lost. */
struct raft_msg *raft__send(struct raft *r, uint8_t type, uint64_t to, uint64_t to_store,
                            bool after);
bool raft__hard_durable(const struct raft *r);
void raft__touch(struct raft *r); /* has something to say */
void raft__fill(const struct raft *r, struct raft_msg *m, uint8_t type, uint64_t to,
                uint64_t to_store);

/* ---- raft_append.c ---- */
enum status raft__on_append(struct raft *r, const struct raft_msg *m);
enum status raft__on_append_resp(struct raft *r, const struct raft_msg *m);
enum status raft__on_heartbeat(struct raft *r, const struct raft_msg *m);
enum status raft__on_heartbeat_resp(struct raft *r, const struct raft_msg *m);
void raft__ack(struct raft *r, uint64_t to, uint64_t to_store, uint64_t index, uint64_t round);
void raft__set_commit(struct raft *r, uint64_t commit);
void raft__maybe_commit(struct raft *r);
void raft__peer_probe(struct raft *r, struct raft__peer *p, uint64_t next);
void raft__peer_heard(struct raft *r, struct raft__peer *p);
void raft__tick_leader(struct raft *r);
/* Leader: appends and heartbeats due, written to `out`; at most `max`. `*more`: not all fitted. */
size_t raft__gather(struct raft *r, struct raft_msg *out, size_t max, bool *more);
void raft__want_fetch(struct raft *r, uint64_t from, uint64_t to);
/* Entries from `index` on in memory, cached or just fetched, and how many; NULL: neither. */
const struct raft_entry *raft__readable(const struct raft *r, uint64_t index, size_t *ret_n);
uint64_t raft__own_match(const struct raft *r);

/* ---- raft_read.c ---- */
enum status raft__on_read(struct raft *r, const struct raft_msg *m);
enum status raft__on_read_resp(struct raft *r, const struct raft_msg *m);
void raft__reads_term_committed(struct raft *r);
void raft__reads_check(struct raft *r);   /* rounds may be complete */
void raft__reads_applied(struct raft *r); /* indexes may be applied */
void raft__reads_fail(struct raft *r);    /* leadership lost, or the leader changed */
void raft__reads_ask(struct raft *r);     /* at update: one message for all that wait */
void raft__tick_reads(struct raft *r);
void raft__reads_deinit(struct raft *r);

/* ---- raft_snapshot.c ---- */
enum status raft__on_snapshot(struct raft *r, const struct raft_msg *m);
enum status raft__on_snapshot_resp(struct raft *r, const struct raft_msg *m);
void raft__snap_start(struct raft *r, struct raft__peer *p);
void raft__snap_stop(struct raft *r); /* sending */
void raft__snap_in_drop(struct raft *r);
void raft__tick_snapshot(struct raft *r);
void raft__snap_update(struct raft *r, struct raft_update *u);
bool raft__snap_message(struct raft *r, struct raft_msg *m); /* a chunk to send */

/* ---- raft_transfer.c ---- */
void raft__transfer_progress(struct raft *r);
void raft__transfer_stop(struct raft *r);
enum status raft__on_timeout_now(struct raft *r, const struct raft_msg *m);

/* ---- raft_quota.c ---- */
void raft__quota_committed(struct raft *r, uint64_t from, uint64_t to);
/* A leader's entry, whatever the quota. */
enum status raft__lead_append(struct raft *r, uint8_t kind, struct bytes payload,
                              bool force) WARN_UNUSED;

/* ---- raft_repair.c ---- */
enum status raft__on_repair(struct raft *r, const struct raft_msg *m);
enum status raft__on_repair_resp(struct raft *r, const struct raft_msg *m);
bool raft__is_bad(const struct raft *r, uint64_t index);
uint64_t raft__first_bad(const struct raft *r); /* above applied; UINT64_MAX: none */
enum status raft__add_bad(struct raft *r, uint64_t term, uint64_t index);
void raft__drop_bad(struct raft *r, uint64_t from, uint64_t to);
/* The sound payload of a quarantined entry came. */
enum status raft__mend(struct raft *r, const struct raft_entry *e) WARN_UNUSED;
void raft__mended(struct raft *r);
void raft__tick_repair(struct raft *r);

/* ---- raft_update.c ---- */
void raft__fetched_drop(struct raft *r);
void raft__drop_sent(struct raft *r); /* leader: nobody needs these entries from memory any more */

/* ---- raft_sleep.c ---- */
void raft__wake(struct raft *r);
void raft__tick_sleep(struct raft *r);
bool raft__try_sleep_follower(struct raft *r, const struct raft_msg *m);
void raft__sleep_answer(struct raft *r, struct raft__peer *p, bool asleep);
void raft__links_tick(struct raft_store *s);
void raft__sleep_deinit(struct raft *r); /* the group goes away */
void raft__links_heard(struct raft_store *s, struct raft__link *k, uint64_t incarnation,
                       uint64_t generation);

#endif
