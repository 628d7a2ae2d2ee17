#include "node/store/store_internal.h"

#include "base/alloc.h"
#include "base/env/fiber.h"
#include <inttypes.h>

/* ---- who leads ---- */

static struct group *group_new(void)
{
    struct group *g = mem_zalloc(sizeof(*g));
    if (g) {
        g->tail = &g->head;
        env_event_init(&g->turn);
        env_event_init(&g->done);
    }
    return g;
}

static void group_unref(struct group *g)
{
    if (atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1)
        mem_free(g);
}

static void join(struct group *g, struct proposal *p)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    *g->tail = p;
    g->tail = &p->next;
}

/* Closes the group that the caller leads. On a fiber the others of the reactor's round run first, so
 * that their proposals are in it: one group and one sync for all of them, where the leader alone
 * would block their thread with a sync of its own. */
static void take(struct store *s, struct group *g, struct group **ret_group,
                 struct proposal **ret_list)
{
    if (fiber_current())
        fiber_yield();
    env_mutex_lock(&s->queue_lock);
    ASSERT(s->waiting == g && s->leading);
    s->waiting = NULL; /* who comes now waits for the next group */
    env_mutex_unlock(&s->queue_lock);
    *ret_group = g;
    *ret_list = g->head;
}

/* Joins the queue. *ret_list is what the caller has to lead (with its group in *ret_group, or NULL
 * when nobody waits with it); NULL when another led it and p has its outcome. NO_MEMORY: p is in no
 * queue. */
static enum status enter(struct store *s, struct proposal *p, struct group **ret_group,
                         struct proposal **ret_list)
{
    *ret_group = NULL;
    *ret_list = p;
    env_mutex_lock(&s->queue_lock);
    if (!s->leading) {
        s->leading = true;
        ASSERT(!s->waiting);
        struct group *round = fiber_current() ? group_new() : NULL;
        if (!round) { /* a thread; or no memory to let others join */
            env_mutex_unlock(&s->queue_lock);
            return ST_OK;
        }
        join(round, p);
        s->waiting = round;
        env_mutex_unlock(&s->queue_lock);
        take(s, round, ret_group, ret_list);
        return ST_OK;
    }
    if (!s->waiting && !(s->waiting = group_new())) {
        env_mutex_unlock(&s->queue_lock);
        return ST_NO_MEMORY;
    }
    struct group *g = s->waiting;
    bool first = g->head == NULL;
    join(g, p);
    env_mutex_unlock(&s->queue_lock);

    if (!first) {
        env_wait(&g->done, UINT64_MAX);
        group_unref(g);
        *ret_list = NULL;
        return ST_OK;
    }
    env_wait(&g->turn, UINT64_MAX);
    take(s, g, ret_group, ret_list);
    return ST_OK;
}

/* Hands the lead to the next group first: its leader has work, this one's followers only answers.
 */
static void leave(struct store *s, struct group *mine)
{
    env_mutex_lock(&s->queue_lock);
    struct group *next = s->waiting;
    if (!next)
        s->leading = false;
    env_mutex_unlock(&s->queue_lock);
    if (next)
        env_event_set(&next->turn);
    if (mine) {
        env_event_set(&mine->done);
        group_unref(mine);
    }
}

/* ---- checking requirements ---- */

/* Whether an earlier proposal of the same group writes the key: then its op is the newest. */
static bool in_group(struct proposal *list, struct proposal *upto, struct bytes key,
                     struct record *ret)
{
    bool found = false;
    for (struct proposal *p = list; p != upto; p = p->next) {
        struct entry_reader e;
        struct entry_op op;
        if (p->st != ST_OK || !p->w->entry ||
            !entry_open(BYTES(p->w->entry->data, p->w->entry->len), &e))
            continue;
        while (entry_next(&e, &op) > 0) {
            if (!bytes_eq(op.key, key))
                continue;
            *ret = (struct record){.version = p->w->version,
                                   .kind = op.kind,
                                   .type = op.type,
                                   .expires_ms = op.expires_ms};
            found = true;
            break;
        }
    }
    return found;
}

static enum status check_requires(struct store *s, struct view *v, struct proposal *list,
                                  struct proposal *p, uint64_t now_ms)
{
    for (size_t i = 0; i < p->w->n_requires; i++) {
        const struct store_require *r = &p->w->requires[i];
        struct record rec = {0};
        struct engine_pin pin = {0};
        enum status st = ST_OK;
        if (!in_group(list, p, r->key, &rec))
            st = store__find(v, r->key, VERSION_MAX, &rec, &pin, &p->err);
        if (st != ST_OK && st != ST_NOT_FOUND)
            return st;
        bool present = st == ST_OK && record_alive(&rec, now_ms);
        engine_pin_release(&pin);
        bool same =
            st == ST_OK && rec.kind == RECORD_PUT && version_cmp(rec.version, r->version) == 0;
        bool holds = r->what == STORE_REQUIRE_ABSENT    ? !present
                     : r->what == STORE_REQUIRE_PRESENT ? present
                     : r->what == STORE_REQUIRE_EXACT   ? same
                                                        : present && same;
        if (holds)
            continue;
        static const char *const wanted[] = {"", "absent", "present", "at the version asked for",
                                             "at the version asked for"};
        p->w->failed = i;
        p->w->version = present ? rec.version : VERSION_NONE;
        return err_set(&p->err, ST_PRECONDITION_FAILED, "requirement %zu: the key is not %s", i,
                       wanted[r->what]);
    }
    for (size_t i = 0; i < p->w->n_collections; i++)
        if (atomic_load(&p->w->collections[i]->dropped))
            return err_set(&p->err, ST_CANCELLED, "collection %s was dropped meanwhile",
                           p->w->collections[i]->name);
    (void)s;
    return ST_OK;
}

/* ---- leading ---- */

enum { GROUP_BYTES_MAX = 64 * 1024 * 1024 };

static enum status reserve_records(struct store *s, size_t n)
{
    if (n <= s->records_cap)
        return ST_OK;
    size_t cap = s->records_cap ? s->records_cap : 64;
    while (cap < n)
        cap *= 2;
    struct wal_record *r = mem_realloc(s->records, cap * sizeof(*r));
    if (!r)
        return ST_NO_MEMORY;
    s->records = r;
    s->records_cap = cap;
    return ST_OK;
}

void store__poison(struct store *s, enum status why)
{
    int fine = 0;
    atomic_compare_exchange_strong(&s->poisoned, &fine, (int)why);
}

static enum status refuse(struct store *s, struct err *err)
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

static void fail_rest(struct proposal *from, struct proposal *to, enum status st,
                      const struct err *err)
{
    for (struct proposal *p = from; p != to; p = p->next) {
        if (p->st != ST_OK || !p->w->entry)
            continue;
        p->st = st;
        p->err = *err;
    }
}

/* One append and at most one sync for proposals [from, to), all of which passed their checks or
 * have failed already. */
static void log_and_apply(struct store *s, struct proposal *from, struct proposal *to, size_t n,
                          enum store_sync sync)
{
    struct err err;
    struct wal_pos end;
    err_init(&err);
    uint64_t first = s->range.last + 1;
    enum status st = wal_append(s->wal, s->records, n, &end, &err);
    if (st != ST_OK) {
        if (st == ST_POISONED)
            store__poison(s, ST_POISONED);
        fail_rest(from, to, st, &err);
        return;
    }
    s->range.last += n;
    if (!atomic_exchange_explicit(&s->dirty, true, memory_order_relaxed))
        store__poke(s);
    if (sync == STORE_SYNC_ALWAYS) {
        uint64_t t0 = env_mono_ns(s->env);
        st = wal_sync(s->wal, &err);
        histogram_add(s->m_sync_ns, env_mono_ns(s->env) - t0);
        if (st != ST_OK) {
            store__poison(s, ST_POISONED);
            fail_rest(from, to, st, &err);
            return;
        }
    } else if (sync == STORE_SYNC_INTERVAL) {
        atomic_store(&s->unsynced, true);
    }

    struct view *v = store__view(s); /* only a leader changes which table is active */
    struct version newest = VERSION_NONE;
    uint64_t index = first;
    for (struct proposal *p = from; p != to; p = p->next) {
        if (p->st != ST_OK || !p->w->entry)
            continue;
        st = store__apply(s, index++, BYTES(p->w->entry->data, p->w->entry->len), p->w->entry,
                          v->active, &err);
        if (st != ST_OK) {
            /* It is in the log and must not be skipped: only a replay can put it right. */
            store__poison(s, ST_NO_MEMORY);
            fail_rest(p, to, ST_POISONED, &err);
            break;
        }
        newest = p->w->version;
    }
    view_unref(v);
    if (!version_is_none(newest))
        store__publish(s, newest);
    counter_add(s->m_commits, n);
    counter_add(s->m_groups, 1);
}

static enum store_sync sync_of(const struct store *s, const struct store_write *w)
{
    return w->sync != STORE_SYNC_DEFAULT ? w->sync : s->o.sync;
}

/* Stamps, checks and collects proposals from `from` until the group is big enough; returns where it
 * stopped. */
static struct proposal *collect(struct store *s, struct view *v, struct proposal *from,
                                size_t *ret_n, enum store_sync *ret_sync)
{
    uint64_t now_ms = env_now_ms(s->env);
    size_t n = 0, bytes = 0;
    struct range_need need = {0};
    *ret_sync = STORE_SYNC_OFF;
    struct proposal *p = from;
    for (; p && bytes < GROUP_BYTES_MAX; p = p->next) {
        if (p->st != ST_OK || !p->w->entry)
            continue;
        env_spin_lock(&s->clock_lock);
        struct version version = {hlc_next(&s->clock, now_ms), 0};
        s->assigned = version;
        env_spin_unlock(&s->clock_lock);
        if ((p->w->n_requires || p->w->n_collections) &&
            (p->st = check_requires(s, v, from, p, version_ms(version))) != ST_OK)
            continue;
        struct bytes payload = BYTES(p->w->entry->data, p->w->entry->len);
        entry_stamp(p->w->entry, version); /* without one it does not decode */
        /* All memory that comes after the log is taken before it: what is logged must be applied.
         */
        if (reserve_records(s, n + 1) != ST_OK || catalog_reserve(&s->catalog, payload) != ST_OK ||
            range_prepare(&need, payload, v->active, &s->scratch) != ST_OK) {
            p->st = err_set(&p->err, ST_NO_MEMORY, "no memory for a log record");
            continue;
        }
        p->w->version = version;
        s->records[n] = (struct wal_record){.range = s->range.id,
                                            .term = s->range.term,
                                            .index = s->range.last + 1 + n,
                                            .kind = WAL_ENTRY,
                                            .payload = payload};
        n++;
        if (sync_of(s, p->w) < *ret_sync)
            *ret_sync = sync_of(s, p->w); /* the strongest asked for */
        bytes += p->w->entry->len;
    }
    *ret_n = n;
    return p;
}

static void lead(struct store *s, struct proposal *list)
{
    struct err err;
    err_init(&err);
    for (struct proposal *from = list; from;) {
        enum status st = refuse(s, &err);
        if (st == ST_OK)
            st = store__make_room(s, &err);
        if (st != ST_OK) {
            fail_rest(from, NULL, st, &err);
            return;
        }
        size_t n;
        enum store_sync sync;
        struct view *v = store__view(s);
        struct proposal *to = collect(s, v, from, &n, &sync);
        view_unref(v);
        if (n > 0)
            log_and_apply(s, from, to, n, sync);
        from = to;
    }
}

enum status store_propose(struct store *s, struct store_write *w, struct err *err)
{
    ASSERT(w->entry && w->entry->len <= ENTRY_MAX);
    w->duplicate = false;
    if (w->request_id.len)
        return err_set(err, ST_UNIMPLEMENTED,
                       "request_id: writes cannot be told apart by their requests yet");
    struct proposal p = {.w = w, .st = ST_OK};
    struct group *g;
    struct proposal *list;
    err_init(&p.err);
    if (enter(s, &p, &g, &list) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to queue a write");
    if (list) {
        lead(s, list);
        leave(s, g);
    }
    if (p.st != ST_OK && err)
        *err = p.err;
    return p.st;
}

enum status store__lead_begin(struct store *s, struct err *err)
{
    /* A proposal without an entry: whoever leads its group skips it, so only its own leadership
     * counts. */
    for (;;) {
        struct store_write none = {0};
        struct proposal p = {.w = &none};
        struct group *g;
        struct proposal *list;
        if (enter(s, &p, &g, &list) != ST_OK)
            return err_set(err, ST_NO_MEMORY, "no memory to queue behind a write");
        if (!list)
            continue;
        /* Those who joined this group want their writes done first. */
        lead(s, list);
        if (g) {
            env_event_set(&g->done);
            group_unref(g);
        }
        return ST_OK;
    }
}

void store__lead_end(struct store *s)
{
    leave(s, NULL);
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
