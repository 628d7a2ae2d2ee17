#include "node/store/cluster.h"

#include "base/log.h"
#include "base/planted.h"

/* Every op passes here between the table and publication: the cache must have it, or must not have
 * the old one, before any reader can be told of the new version. */
static void on_applied(void *arg, const struct entry_op *op, const struct record *rec)
{
    struct store *s = arg;
    counter_add(s->m_writes, 1);
    uint64_t hash = cache_hash(op->key);
    if (rec->kind == RECORD_PUT)
        absent_no_more(s, hash);
    if (s->cache && !(PLANTED(CACHE_KEEPS_DELETED) && rec->kind == RECORD_DELETE))
        cache_update(s->cache, hash, op->key, rec);
    if (route_is_catalog(op->key))
        store__catalog_applied(s, op, rec->version);
    store__wrote(s, route_collection(op->key));
}

static void note_applied(struct store *s, const struct raft_entry *e, size_t n)
{
    s->range.term = e[n - 1].term;
    atomic_store_explicit(&s->applied_index, e[n - 1].index, memory_order_relaxed);
    for (size_t i = 0; s->o.applied && i < n; i++)
        s->o.applied(s->o.applied_arg, &e[i]);
}

enum status store__apply(struct store *s, const struct raft_entry *e, struct bytes payload,
                         struct blob *owner, struct table *table, struct err *err)
{
    enum status st = e->kind == RAFT_ENTRY_DATA
                         ? range_gather(&s->range, e->index, payload, &s->scratch, err)
                         : range_skip(&s->range, e->index, err);
    if (st == ST_OK)
        st = range_put(&s->range, owner, table, &s->scratch, on_applied, s, err);
    if (st == ST_OK && e->kind == RAFT_ENTRY_CONF)
        st = cluster_conf_applied(s, e, payload, err);
    if (st == ST_OK)
        note_applied(s, e, 1);
    return st;
}

enum status store__apply_foreign(struct store *s, const struct raft_entry *e, struct table *table,
                                 struct err *err)
{
    struct blob *copy = NULL;
    struct bytes payload = e->payload;
    if (payload.len > RECORD_BY_REF) {
        /* Large values are kept by reference, so the payload must outlive the log's buffer. */
        if (!(copy = blob_new(payload.len)))
            return err_set(err, ST_NO_MEMORY, "no memory to apply an entry of %zu bytes",
                           payload.len);
        memcpy(copy->data, payload.data, payload.len);
        payload = BYTES(copy->data, copy->len);
    }
    enum status st = ST_OK;
    if (e->kind == RAFT_ENTRY_DATA && catalog_reserve(&s->catalog, payload) != ST_OK)
        st = err_set(err, ST_NO_MEMORY, "no memory to apply an entry");
    if (st == ST_OK)
        st = store__apply(s, e, payload, copy, table, err);
    blob_unref(copy);
    return st;
}

/* The proposal that waits for this entry; NULL: it is another node's, or nobody waits any more. */
static struct proposal *whose(struct store *s, const struct raft_entry *e)
{
    while (!list_empty(&s->in_log)) {
        struct proposal *p = container_of(s->in_log.next, struct proposal, node);
        if (p->term == e->term)
            return p->index == e->index ? p : NULL;
        if (p->term > e->term)
            return NULL; /* an entry of before */
        /* Terms rise along the log: what this node proposed in an earlier one and has not come by now
         * never will. */
        cluster_lost(s, p);
    }
    return NULL;
}

/* Entries on their way into the table. */
struct run {
    struct store *s;
    struct table *table;
    const struct raft_entry *next; /* the first that is not in the table */
    size_t n;                      /* gathered from there on; small ones */
    struct list gathered, done;    /* whose they are */
};

static void went_in(struct run *u, size_t n)
{
    for (size_t i = 0; u->s->cluster && i < n; i++)
        cluster_applied(u->s, &u->next[i]);
    u->next += n;
}

static enum status put_gathered(struct run *u, struct err *err)
{
    struct store *s = u->s;
    size_t n = u->n;
    if (n == 0)
        return ST_OK;
    u->n = 0;
    enum status st = range_put(&s->range, NULL, u->table, &s->scratch, on_applied, s, err);
    if (st != ST_OK) {
        while (!list_empty(&u->gathered)) {
            struct list *last = u->gathered.prev;
            list_remove(last);
            list_push_front(&s->in_log, last);
        }
        return st;
    }
    note_applied(s, u->next, n);
    list_move_all(&u->gathered, &u->done);
    went_in(u, n);
    return ST_OK;
}

/* Of a proposal that waits here the payload lies in its entry, and may be kept by reference. */
static enum status apply_alone(struct run *u, const struct raft_entry *e, struct proposal *p,
                               struct err *err)
{
    enum status st = put_gathered(u, err);
    if (st != ST_OK)
        return st;
    const struct blob *b = p ? p->w->entry : NULL;
    st = p ? store__apply(u->s, e, BYTES(b->data, b->len), p->w->entry, u->table, err)
           : store__apply_foreign(u->s, e, u->table, err);
    if (st != ST_OK)
        return st;
    if (p) {
        list_remove(&p->node);
        list_push_back(&u->done, &p->node);
    }
    went_in(u, 1);
    return ST_OK;
}

static enum status apply_one(struct run *u, const struct raft_entry *e, struct err *err)
{
    struct store *s = u->s;
    struct proposal *p = whose(s, e);
    bool small = e->kind == RAFT_ENTRY_DATA && e->payload.len <= RECORD_BY_REF;
    if (!small && !p)
        return apply_alone(u, e, p, err);
    /* In a store alone the leader has made sure of it before it logged the entry. */
    if ((s->cluster || !p) && catalog_reserve(&s->catalog, e->payload) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory to apply an entry");
    if (!small)
        return apply_alone(u, e, p, err);
    enum status st = range_gather(&s->range, e->index, e->payload, &s->scratch, err);
    if (st != ST_OK)
        return st;
    u->n++;
    if (p) {
        list_remove(&p->node);
        list_push_back(&u->gathered, &p->node);
    }
    return s->scratch.n < RANGE_GATHERED_MAX ? ST_OK : put_gathered(u, err);
}

enum status store__apply_committed(void *arg, struct replica *r, const struct raft_entry *entries,
                                   size_t n)
{
    struct store *s = arg;
    struct view *v = store__view(s); /* only who leads, or drives, changes which table is active */
    struct version before = s->range.newest;
    uint64_t begun_ns = env_mono_ns(s->env);
    struct run u = {.s = s, .table = v->active, .next = entries};
    struct err err;
    enum status st = ST_OK;
    (void)r;
    list_init(&u.gathered);
    list_init(&u.done);
    err_init(&err);
    for (size_t i = 0; st == ST_OK && i < n; i++)
        st = apply_one(&u, &entries[i], &err);
    enum status put = put_gathered(&u, st == ST_OK ? &err : NULL);
    st = st == ST_OK ? put : st;
    view_unref(v);
    if (version_cmp(s->range.newest, before) > 0)
        store__publish(s, s->range.newest);
    counter_add(s->m_commits, (uint64_t)(u.next - entries));
    histogram_add(s->m_apply_ns, env_mono_ns(s->env) - begun_ns);
    if (s->cluster)
        cluster_complete(s, &u.done);
    while (!list_empty(&u.done)) /* alone, whoever leads the group tells them */
        list_remove(u.done.next);
    if (st == ST_OK)
        return ST_OK;
    /* It is committed and must not be skipped: only a replay can put it right. */
    log_at(LOG_ERROR, "store", "a committed entry cannot be applied", LOG_FSTR("dir", s->dir),
           LOG_FSTR("detail", err.detail));
    store__poison(s, ST_NO_MEMORY);
    return st;
}
