#include "node/store/store_internal.h"

/* Every op passes here between the table and publication: the cache must have it, or must not have
 * the old one, before any reader can be told of the new version. */
static void on_applied(void *arg, const struct entry_op *op, const struct record *rec)
{
    struct store *s = arg;
    counter_add(s->m_writes, 1);
    uint64_t hash = cache_hash(op->key);
    if (rec->kind == RECORD_PUT)
        absent_no_more(s, hash);
    if (s->cache)
        cache_update(s->cache, hash, op->key, rec);
    if (route_is_catalog(op->key))
        store__catalog_applied(s, op, rec->version);
}

enum status store__apply(struct store *s, uint64_t index, struct bytes payload, struct blob *owner,
                         struct table *table, struct err *err)
{
    enum status st =
        range_apply(&s->range, index, payload, owner, table, &s->scratch, on_applied, s, err);
    if (st == ST_OK)
        atomic_store_explicit(&s->applied_index, index, memory_order_relaxed);
    return st;
}

/* One that waits in store_wait_visible, on its stack: a thread, or a fiber that is parked. */
struct watcher {
    struct list node; /* of store.watching, under watch_lock; taken out by who wakes it */
    struct env_event woken;
};

void store_wake_watchers(struct store *s)
{
    env_mutex_lock(&s->watch_lock);
    while (!list_empty(&s->watching)) {
        struct watcher *w = container_of(s->watching.next, struct watcher, node);
        list_remove(&w->node);
        env_event_set(&w->woken); /* it stays until it has had the lock */
    }
    env_mutex_unlock(&s->watch_lock);
}

void store__publish(struct store *s, struct version v)
{
    atomic_store_explicit(&s->visible_hlc, v.hlc, memory_order_release);
    /* Pairs with the fence-like increment in store_wait_visible: either it sees the new version or
     * we see the waiter. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&s->watchers_waiting, memory_order_relaxed) > 0)
        store_wake_watchers(s);
}

/* Until it is woken or `deadline`; called and left with the lock. */
static void wait_once(struct store *s, uint64_t deadline)
{
    struct watcher w;
    uint64_t now = env_mono_ns(s->env), left = deadline > now ? deadline - now : 0;
    env_event_init(&w.woken);
    list_push_back(&s->watching, &w.node);
    env_mutex_unlock(&s->watch_lock);
    (void)env_wait(&w.woken, deadline == UINT64_MAX ? UINT64_MAX : left);
    env_mutex_lock(&s->watch_lock);
    list_remove(&w.node);
}

bool store_wait_visible(struct store *s, struct version after, uint64_t timeout_ms,
                        const _Atomic bool *cancel)
{
    uint64_t deadline =
        timeout_ms == UINT64_MAX ? UINT64_MAX : env_mono_ns(s->env) + timeout_ms * 1000000;
    env_mutex_lock(&s->watch_lock);
    atomic_fetch_add(&s->watchers_waiting, 1);
    atomic_thread_fence(memory_order_seq_cst);
    bool found;
    for (;;) {
        found = store_visible(s).hlc > after.hlc;
        if (found || (cancel && atomic_load(cancel)))
            break;
        if (deadline != UINT64_MAX && env_mono_ns(s->env) >= deadline)
            break;
        wait_once(s, deadline);
    }
    atomic_fetch_sub(&s->watchers_waiting, 1);
    env_mutex_unlock(&s->watch_lock);
    return found;
}

void store_watchers_add(struct store *s, int n)
{
    atomic_fetch_add(&s->watchers, n);
}

struct version store_visible(struct store *s)
{
    return (struct version){atomic_load_explicit(&s->visible_hlc, memory_order_acquire), 0};
}
