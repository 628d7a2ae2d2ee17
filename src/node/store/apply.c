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

enum status store__apply(struct store *s, const struct raft_entry *e, struct bytes payload,
                         struct blob *owner, struct table *table, struct err *err)
{
    enum status st = e->kind == RAFT_ENTRY_DATA
                         ? range_apply(&s->range, e->index, payload, owner, table, &s->scratch,
                                       on_applied, s, err)
                         : range_skip(&s->range, e->index, err);
    if (st == ST_OK) {
        s->range.term = e->term;
        atomic_store_explicit(&s->applied_index, e->index, memory_order_relaxed);
    }
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

enum status store__apply_committed(void *arg, struct replica *r, const struct raft_entry *entries,
                                   size_t n)
{
    struct store *s = arg;
    struct view *v = store__view(s); /* only who leads, or drives, changes which table is active */
    struct version before = s->range.newest;
    uint64_t begun_ns = env_mono_ns(s->env);
    struct list done;
    struct err err;
    enum status st = ST_OK;
    (void)r;
    list_init(&done);
    err_init(&err);
    size_t i = 0;
    for (; i < n; i++) {
        struct proposal *p = whose(s, &entries[i]);
        const struct blob *b = p ? p->w->entry : NULL;
        if (p && s->cluster && catalog_reserve(&s->catalog, BYTES(b->data, b->len)) != ST_OK)
            st = err_set(&err, ST_NO_MEMORY, "no memory to apply an entry");
        else if (p)
            st = store__apply(s, &entries[i], BYTES(b->data, b->len), p->w->entry, v->active, &err);
        else
            st = store__apply_foreign(s, &entries[i], v->active, &err);
        if (st != ST_OK)
            break;
        if (p) {
            list_remove(&p->node);
            list_push_back(&done, &p->node);
        }
        if (s->cluster)
            cluster_applied(s, &entries[i]);
    }
    view_unref(v);
    if (version_cmp(s->range.newest, before) > 0)
        store__publish(s, s->range.newest);
    counter_add(s->m_commits, i);
    histogram_add(s->m_apply_ns, env_mono_ns(s->env) - begun_ns);
    if (s->cluster)
        cluster_complete(s, &done);
    while (!list_empty(&done)) /* alone, whoever leads the group tells them */
        list_remove(done.next);
    if (st == ST_OK)
        return ST_OK;
    /* It is committed and must not be skipped: only a replay can put it right. */
    log_at(LOG_ERROR, "store", "a committed entry cannot be applied", LOG_FSTR("dir", s->dir),
           LOG_FSTR("detail", err.detail));
    store__poison(s, ST_NO_MEMORY);
    return st;
}
