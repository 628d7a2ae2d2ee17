#include "node/store/cluster.h"
#include "node/store/request.h"

/* The write path of a store alone: the leader of a group stamps and checks its proposals, puts them
 * into the replica's log with one append and at most one sync, and applies them; with one voter what
 * is logged is committed. A cluster's is in drive.c. */

enum { GROUP_BYTES_MAX = 64 * 1024 * 1024 };

void store__poison(struct store *s, enum status why)
{
    int fine = 0;
    atomic_compare_exchange_strong(&s->poisoned, &fine, (int)why);
}

enum status store__refuse(struct store *s, struct err *err)
{
    if (s->o.read_only)
        return err_set(err, ST_READ_ONLY, "%s was opened read-only", s->dir);
    if (atomic_load(&s->poisoned))
        return err_set(err, ST_POISONED,
                       "%s refuses writes since a %s: what reached the disk is unknown; open it "
                       "anew in a new process",
                       s->dir,
                       atomic_load(&s->poisoned) == ST_NO_MEMORY
                           ? "write could not be applied for lack of memory"
                           : "sync failed");
    return ST_OK;
}

struct version store__next_version(struct store *s, uint64_t at_least, uint64_t now_ms)
{
    env_spin_lock(&s->clock_lock);
    if (at_least > s->clock.last)
        hlc_observe(&s->clock, at_least);
    struct version v = {hlc_next(&s->clock, now_ms), 0};
    s->assigned = v;
    env_spin_unlock(&s->clock_lock);
    return v;
}

static void fail_rest(struct proposal *from, struct proposal *to, enum status st,
                      const struct err *err)
{
    for (struct proposal *p = from; p != to; p = p->next) {
        /* A refusal for what a failed one would have written is none. */
        if ((p->st != ST_OK && !p->by_group) || !p->w->entry)
            continue;
        p->st = st;
        p->err = *err;
    }
}

static void forget(struct store *s)
{
    while (!list_empty(&s->in_log))
        list_remove(s->in_log.next);
}

/* Applying may have taken so long that the log's keeper, which the append had woken, rests again. */
static void promise_sync(struct store *s)
{
    atomic_store(&s->unsynced, true);
    if (atomic_exchange(&s->log_idle, false))
        store__poke(s);
}

/* One append and at most one sync for proposals [from, to), all of which are in the replica or have
 * failed already. */
static void commit(struct store *s, struct proposal *from, struct proposal *to,
                   enum store_sync sync)
{
    struct err err;
    err_init(&err);
    bool any = true;
    enum status st = ST_OK;
    while (st == ST_OK && any)
        st = replicas_round(s->replicas, sync == STORE_SYNC_ALWAYS, &any, &err);
    if (st == ST_OK && !list_empty(&s->in_log)) {
        replica_withdraw(s->replica);
        st = err_set(&err, ST_NO_MEMORY, "no memory to log an entry");
    }
    if (st == ST_OK) {
        if (sync == STORE_SYNC_INTERVAL)
            promise_sync(s);
        return;
    }
    if (replicas_broken(s->replicas) && !atomic_load(&s->poisoned))
        store__poison(s, ST_POISONED);
    /* What was applied before it went wrong has its outcome. */
    if (!list_empty(&s->in_log))
        from = container_of(s->in_log.next, struct proposal, node);
    forget(s);
    fail_rest(from, to, atomic_load(&s->poisoned) == ST_NO_MEMORY ? ST_POISONED : st, &err);
}

static enum store_sync sync_of(const struct store *s, const struct store_write *w)
{
    return w->sync != STORE_SYNC_DEFAULT ? w->sync : s->o.sync;
}

/* All memory that comes after the log is taken before it: what is logged must be applied. */
static enum status propose(struct store *s, struct view *v, struct proposal *p,
                           struct version version, struct range_need *need)
{
    struct bytes payload = BYTES(p->w->entry->data, p->w->entry->len);
    enum status st = ST_OK;
    entry_stamp(p->w->entry, version); /* without one it does not decode */
    if (catalog_reserve(&s->catalog, payload) != ST_OK ||
        range_prepare(need, payload, v->active, &s->scratch) != ST_OK)
        st = ST_NO_MEMORY;
    if (st == ST_OK)
        st = replica_propose(s->replica, payload, &p->index, &p->term);
    if (st == ST_NO_MEMORY)
        return err_set(&p->err, st, "no memory for a log record");
    if (st != ST_OK)
        return st;
    p->w->version = version;
    list_push_back(&s->in_log, &p->node);
    return ST_OK;
}

/* Stamps, checks and proposes from `from` until the group is big enough; returns where it stopped.
 * *ret_again: some had been done before. */
static struct proposal *collect(struct store *s, struct view *v, struct proposal *from,
                                size_t *ret_n, enum store_sync *ret_sync, bool *ret_again)
{
    uint64_t now_ms = env_now_ms(s->env);
    size_t n = 0, bytes = 0;
    struct range_need need = {0};
    *ret_sync = STORE_SYNC_OFF;
    *ret_again = false;
    struct proposal *p = from;
    for (; p && bytes < GROUP_BYTES_MAX; p = p->next) {
        if (p->st != ST_OK || !p->w->entry)
            continue;
        enum request_seen seen = store__request_seen(v, from, p, now_ms);
        if (seen == REQUEST_DONE)
            *ret_again = true;
        if (seen != REQUEST_NEW)
            continue;
        struct version version = store__next_version(s, 0, now_ms);
        if ((p->w->n_requires || p->w->n_collections) &&
            (p->st = store__check_requires(v, from, p, version_ms(version))) != ST_OK)
            continue;
        size_t promised = s->catalog.promised;
        enum status st = propose(s, v, p, version, &need);
        if (st == ST_OVERLOADED && n > 0)
            break; /* the rest comes with the next append */
        p->st = st;
        if (st != ST_OK)
            continue;
        n++;
        if (sync_of(s, p->w) < *ret_sync)
            *ret_sync = sync_of(s, p->w); /* the strongest asked for */
        bytes += p->w->entry->len;
        if (s->catalog.promised > promised) {
            /* Whether collections are there is seen when this one is applied. */
            p = p->next;
            break;
        }
    }
    *ret_n = n;
    return p;
}

/* What had been done before may have been so with less durability than is asked for now. */
static void sync_again(struct store *s, struct proposal *from, struct proposal *to)
{
    struct err err;
    enum status st = ST_OK;
    bool synced = false;
    err_init(&err);
    for (struct proposal *p = from; p != to; p = p->next) {
        if (p->st != ST_OK || !p->w->duplicate || sync_of(s, p->w) != STORE_SYNC_ALWAYS)
            continue;
        if (!synced)
            st = store_sync_now(s, &err);
        synced = true;
        if (st != ST_OK) {
            p->st = st;
            p->err = err;
        }
    }
}

static void lead(struct store *s, struct proposal *list)
{
    struct err err;
    err_init(&err);
    for (struct proposal *from = list; from;) {
        enum status st = store__refuse(s, &err);
        if (st == ST_OK)
            st = store__make_room(s, &err);
        if (st != ST_OK) {
            fail_rest(from, NULL, st, &err);
            return;
        }
        size_t n;
        enum store_sync sync;
        bool again;
        size_t promised = s->catalog.promised;
        struct view *v = store__view(s);
        struct proposal *to = collect(s, v, from, &n, &sync, &again);
        view_unref(v);
        if (n > 0)
            commit(s, from, to, sync);
        if (s->catalog.promised > promised) /* of entries that were not logged */
            catalog_unreserve(&s->catalog, s->catalog.promised - promised);
        if (again)
            sync_again(s, from, to);
        from = to;
    }
}

enum status store_propose(struct store *s, struct store_write *w, struct err *err)
{
    ASSERT(w->entry && w->entry->len <= ENTRY_MAX);
    w->duplicate = false;
    struct proposal p;
    memset(&p, 0, offsetof(struct proposal, err));
    p.w = w;
    err_init(&p.err);
    if (s->cluster) {
        cluster_propose(s, &p);
    } else {
        struct group *g;
        struct proposal *list;
        if (store__queue_enter(s, &p, &g, &list) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "no memory to queue a write");
        if (list) {
            lead(s, list);
            store__queue_leave(s, g);
        }
    }
    if (p.st != ST_OK && err)
        *err = p.err;
    return p.st;
}

enum status store__lead_begin(struct store *s, struct err *err)
{
    if (s->cluster) {
        cluster_lead_begin(s);
        return ST_OK;
    }
    /* A proposal without an entry: whoever leads its group skips it, so only its own leadership
     * counts. */
    for (;;) {
        struct store_write none = {0};
        struct proposal p = {.w = &none};
        struct group *g;
        struct proposal *list;
        if (store__queue_enter(s, &p, &g, &list) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "no memory to queue behind a write");
        if (!list)
            continue;
        /* Those who joined this group want their writes done first. */
        lead(s, list);
        if (g)
            store__group_done(g);
        return ST_OK;
    }
}

void store__lead_end(struct store *s)
{
    if (s->cluster)
        cluster_lead_end(s);
    else
        store__queue_leave(s, NULL);
}

enum status store_sync_now(struct store *s, struct err *err)
{
    if (s->o.read_only)
        return ST_OK;
    atomic_store(&s->unsynced, false);
    enum status st = wal_sync(s->wal, err);
    if (st != ST_OK)
        store__poison(s, ST_POISONED);
    return st;
}
