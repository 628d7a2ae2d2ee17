/* raft_log.c - the log as raft sees it: terms of all entries as runs, the newest entries in memory.
 *
 * The cache is a suffix of the log in one flat array that slides, so that any part of it can be
 * handed out as one slice without copying. Payloads lie in blocks of the store's pool, packed in
 * order; a block goes back when the last entry in it has gone.
 */
#include "consensus/raft/raft_internal.h"

#include "base/planted.h"

enum { FIRST_CAP = 16, PACK_MAX = 2000 };
/* What one slot of the arrays costs the budget. */
static const size_t slot_bytes = sizeof(struct raft_entry) + sizeof(struct raft__block *);

uint64_t raft__term_at(const struct raft__log *l, uint64_t index)
{
    if (index <= l->compacted || index > l->last)
        return index == l->compacted ? l->compacted_term : 0;
    if (index >= raft__cached_from(l))
        return l->entries[l->head + (size_t)(index - raft__cached_from(l))].term;
    size_t lo = 0, hi = l->n_runs;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (l->runs[mid].first <= index)
            lo = mid;
        else
            hi = mid;
    }
    ASSERT(lo < l->n_runs && l->runs[lo].first <= index);
    return l->runs[lo].term;
}

const struct raft_entry *raft__cached(const struct raft__log *l, uint64_t index, size_t *ret_n)
{
    uint64_t from = raft__cached_from(l);
    if (index < from || index > l->last)
        return NULL;
    size_t at = (size_t)(index - from);
    *ret_n = l->count - at;
    return &l->entries[l->head + at];
}

uint64_t raft__hint(const struct raft__log *l, uint64_t index, uint64_t term)
{
    if (index > l->last)
        index = l->last;
    uint64_t end = l->last;
    for (size_t i = l->n_runs; i-- > 0; end = l->runs[i].first - 1)
        if (l->runs[i].first <= index && l->runs[i].term <= term) {
            uint64_t top = end < index ? end : index;
            return top > l->compacted ? top : l->compacted;
        }
    return l->compacted;
}

static enum status reserve_run(struct raft__log *l)
{
    if (l->n_runs < l->cap_runs)
        return ST_OK;
    size_t cap = l->cap_runs ? l->cap_runs * 2 : 4;
    struct raft__run *v = mem_realloc(l->runs, cap * sizeof *v);
    if (!v)
        return ST_NO_MEMORY;
    l->runs = v;
    l->cap_runs = cap;
    return ST_OK;
}

static enum status grow_slots(struct raft_store *s, struct raft__log *l, bool force)
{
    size_t cap = l->cap ? l->cap * 2 : FIRST_CAP, more = (cap - l->cap) * slot_bytes;
    if (s->cache_used + more > s->o.cache_bytes && !raft__make_room(s, more) && !force)
        return ST_OVERLOADED;
    /* Making room may have emptied this very log. */
    if (l->head > 0 && l->count <= l->cap / 2)
        return ST_OK;
    struct raft_entry *e = mem_alloc(cap * sizeof *e);
    struct raft__block **b = mem_alloc(cap * sizeof(struct raft__block *));
    if (!e || !b) {
        mem_free(e);
        mem_free(b);
        return ST_NO_MEMORY;
    }
    if (l->count) {
        memcpy(e, l->entries + l->head, l->count * sizeof *e);
        memcpy(b, l->blocks + l->head, l->count * sizeof *b);
    }
    mem_free(l->entries);
    mem_free(l->blocks);
    s->cache_used += more;
    l->entries = e;
    l->blocks = b;
    l->cap = cap;
    l->head = 0;
    return ST_OK;
}

static enum status reserve_slot(struct raft_store *s, struct raft__log *l, bool force)
{
    if (l->head + l->count < l->cap)
        return ST_OK;
    if (l->count > l->cap / 2 || l->cap == 0) {
        enum status st = grow_slots(s, l, force);
        if (st != ST_OK || l->head + l->count < l->cap)
            return st;
    }
    memmove(l->entries, l->entries + l->head, l->count * sizeof *l->entries);
    memmove(l->blocks, l->blocks + l->head, l->count * sizeof(struct raft__block *));
    l->head = 0;
    return ST_OK;
}

/* Where the payload goes; a new block when it does not fit behind the last one's. */
static enum status reserve_bytes(struct raft *r, size_t len, bool force, struct raft__block **ret)
{
    struct raft__log *l = &r->log;
    if (len == 0) {
        *ret = NULL;
        return ST_OK;
    }
    if (l->tail && l->tail->size - l->tail->used >= len) {
        *ret = l->tail;
        return ST_OK;
    }
    bool pack = len <= PACK_MAX;
    return raft__block_get(r->store, pack ? RAFT__BLOCK - sizeof(struct raft__block) : len, force,
                           ret);
}

static void drop_block(struct raft *r, struct raft__block *b)
{
    if (!b || --b->live > 0)
        return;
    if (r->log.tail == b)
        r->log.tail = NULL;
    raft__block_put(r->store, b);
}

static void note_run(struct raft__log *l, uint64_t term)
{
    if (l->n_runs == 0 || l->runs[l->n_runs - 1].term != term)
        l->runs[l->n_runs++] = (struct raft__run){l->last, term};
}

static void note_cached(struct raft *r)
{
    if (r->log.count && !r->is_cached) {
        r->is_cached = true;
        list_push_back(&r->store->cached, &r->cache_link);
    } else if (!r->log.count && r->is_cached) {
        r->is_cached = false;
        list_remove(&r->cache_link);
    }
}

enum status raft__log_append(struct raft *r, uint64_t term, uint8_t kind, struct bytes payload,
                             bool keep, bool force)
{
    struct raft__log *l = &r->log;
    enum status st = reserve_run(l);
    if (st != ST_OK)
        return st;
    if (!keep) { /* the cache is a suffix: what lies before a hole goes */
        ASSERT(l->durable == l->last);
        (void)raft__log_evict(r, UINT64_MAX, SIZE_MAX);
        ASSERT(l->count == 0);
        l->last = l->durable = l->emitted = l->last + 1;
        note_run(l, term);
        return ST_OK;
    }
    struct raft__block *b;
    st = reserve_bytes(r, payload.len, force, &b);
    if (st != ST_OK)
        return st;
    if (b)
        b->live++; /* so that making room for the slot cannot take it */
    if (b && b != l->tail && b->used == 0 && payload.len <= PACK_MAX)
        l->tail = b;
    st = reserve_slot(r->store, l, force);
    if (st != ST_OK) {
        drop_block(r, b);
        return st;
    }
    l->last++;
    uint8_t *to = b ? b->data + b->used : NULL;
    if (b) {
        memcpy(to, payload.data, payload.len);
        b->used += (uint32_t)payload.len;
    }
    l->entries[l->head + l->count] =
        (struct raft_entry){.term = term,
                            .index = l->last,
                            .payload = b ? BYTES(to, payload.len) : BYTES_EMPTY,
                            .kind = kind};
    l->blocks[l->head + l->count] = b;
    l->count++;
    note_run(l, term);
    note_cached(r);
    return ST_OK;
}

void raft__log_truncate(struct raft *r, uint64_t index)
{
    struct raft__log *l = &r->log;
    ASSERT(index > r->commit && index > l->compacted);
    if (index > l->last)
        return;
    while (l->count > 0 && l->last >= index) {
        l->count--;
        l->last--;
        drop_block(r, l->blocks[l->head + l->count]);
    }
    l->last = index - 1;
    while (l->n_runs > 0 && l->runs[l->n_runs - 1].first >= index)
        l->n_runs--;
    if (l->durable > l->last)
        l->durable = l->last;
    if (l->emitted > l->last)
        l->emitted = l->last;
    /* Tickets under way no longer vouch for what is void now, even if they are done later. */
    for (uint32_t i = 0; i < r->t_n; i++) {
        struct raft__ticket *t = &r->tickets[(r->t_head + i) % r->store->o.max_tickets];
        if (t->index > l->last)
            t->index = l->last;
    }
    if (r->verified > l->last)
        r->verified = l->last;
    r->fetched = NULL;
    r->n_fetched = 0;
    raft__drop_bad(r, index, UINT64_MAX);
    raft__conf_rollback(r, index);
    note_cached(r);
}

void raft__log_reset(struct raft *r, uint64_t index, uint64_t term)
{
    struct raft__log *l = &r->log;
    while (l->count > 0)
        drop_block(r, l->blocks[l->head + --l->count]);
    l->head = 0;
    l->n_runs = 0;
    l->compacted = l->last = l->emitted = l->durable = index;
    l->compacted_term = term;
    for (uint32_t i = 0; i < r->t_n; i++)
        r->tickets[(r->t_head + i) % r->store->o.max_tickets].index = index;
    r->fetched = NULL;
    r->n_fetched = 0;
    note_cached(r);
}

size_t raft__log_evict(struct raft *r, uint64_t to, size_t max_blocks)
{
    struct raft__log *l = &r->log;
    if (to > l->durable)
        to = l->durable;
    size_t n = 0, freed = 0;
    const struct raft__block *at = NULL;
    while (l->count > 0 && l->entries[l->head].index <= to) {
        struct raft__block *b = l->blocks[l->head];
        if (b && b != at) {
            if (freed++ == max_blocks)
                break;
            at = b;
        }
        drop_block(r, b);
        l->head++;
        l->count--;
        n++;
    }
    if (l->count == 0)
        l->head = 0;
    r->store->evicted += n;
    note_cached(r);
    return n;
}

void raft__log_shrink(struct raft *r)
{
    struct raft__log *l = &r->log;
    (void)raft__log_evict(r, r->apply_sent, SIZE_MAX);
    if (l->count > 0 || l->cap == 0)
        return;
    r->store->cache_used -= l->cap * slot_bytes;
    mem_free(l->entries);
    mem_free(l->blocks);
    l->entries = NULL;
    l->blocks = NULL;
    l->cap = l->head = 0;
}

void raft__log_deinit(struct raft *r)
{
    struct raft__log *l = &r->log;
    while (l->count > 0)
        drop_block(r, l->blocks[l->head + --l->count]);
    note_cached(r);
    r->store->cache_used -= l->cap * slot_bytes;
    mem_free(l->entries);
    mem_free(l->blocks);
    mem_free(l->runs);
}

void raft__log_compact(struct raft *r, uint64_t index)
{
    struct raft__log *l = &r->log;
    ASSERT(index > l->compacted && index <= l->durable);
    uint64_t term = raft__term_at(l, index);
    (void)raft__log_evict(r, index, SIZE_MAX);
    size_t gone = 0;
    while (gone + 1 < l->n_runs && l->runs[gone + 1].first <= index + 1)
        gone++;
    if (gone) {
        memmove(l->runs, l->runs + gone, (l->n_runs - gone) * sizeof *l->runs);
        l->n_runs -= gone;
    }
    l->compacted = index;
    if (!PLANTED(COMPACTED_ONE_TOO_FAR))
        l->compacted_term = term;
    if (index == l->last)
        l->n_runs = 0;
    raft__drop_bad(r, 0, index);
    r->fetched = NULL;
    r->n_fetched = 0;
    raft__touch(r); /* peers that wanted what has gone need a snapshot now */
}

void raft_compact(struct raft *r, uint64_t index)
{
    if (index > r->applied)
        index = r->applied;
    if (index > r->log.durable)
        index = r->log.durable;
    if (index > r->log.compacted)
        raft__log_compact(r, index);
}
