#include "node/store/catalog.h"

/* Waiting for changes. A collection knows the newest version that may have been written to it, and who
 * waits for more of it; a commit raises the first before what it wrote becomes visible, and wakes the
 * second after. So a commit costs those nothing who watch something else.
 *
 *  1. What is visible of a collection is at or below its `written_hlc`, or at or below the store's
 *     `written_floor`: that stands for all collections, and is raised where it is not known which of them
 *     a commit concerns: the catalog's own writes, states from elsewhere, the opening.
 *  2. Who waits looks at both after it has said that it waits, and a commit looks for who waits after it
 *     has made its writes visible: one of the two sees the other. */

/* One that waits in store_wait_changes, on its stack: a thread, or a fiber that is parked. */
struct watcher {
    struct list node; /* of store.watching, under watch_lock; taken out by who wakes it */
    struct list same; /* of the collection's, or of store.watching_all; so too */
    const _Atomic bool *cancel;
    struct env_event woken;
};

/* ---- what is written ---- */

void store__wrote(struct store *s, uint32_t id)
{
    struct written *w = &s->written;
    if (id == w->last_id)
        return;
    w->last_id = id;
    if (id == STORE_CATALOG_ID) {
        w->all = true;
        return;
    }
    struct collection *c = store__collection_by_id(s, id);
    if (!c) /* the system's own rows: nobody watches those */
        return;
    for (size_t i = 0; i < w->n; i++)
        if (w->of[i] == c)
            return;
    if (w->n == WRITTEN_MAX)
        w->all = true;
    else
        w->of[w->n++] = c;
}

void store__wrote_anything(struct store *s)
{
    s->written.all = true;
}

struct version store_written(struct store *s, struct bytes name)
{
    if (name.len == 0)
        return store_visible(s);
    uint64_t hlc = atomic_load_explicit(&s->written_floor, memory_order_acquire);
    struct collection *c = catalog_find(&s->catalog, name);
    uint64_t own = c ? atomic_load_explicit(&c->written_hlc, memory_order_acquire) : 0;
    return (struct version){own > hlc ? own : hlc, 0};
}

struct version store_visible(struct store *s)
{
    return (struct version){atomic_load_explicit(&s->visible_hlc, memory_order_acquire), 0};
}

/* ---- waking ---- */

static void wake(struct watcher *w)
{
    list_remove(&w->node);
    list_remove(&w->same);
    env_event_set(&w->woken); /* it stays until it has had the lock */
}

static size_t wake_same(struct list *same)
{
    size_t n = 0;
    for (; !list_empty(same); n++)
        wake(container_of(same->next, struct watcher, same));
    return n;
}

static size_t wake_for(struct store *s, const struct written *w)
{
    size_t n = wake_same(&s->watching_all);
    for (size_t i = 0; i < w->n; i++)
        n += wake_same(&w->of[i]->watching);
    for (; w->all && !list_empty(&s->watching); n++)
        wake(container_of(s->watching.next, struct watcher, node));
    return n;
}

void store_wake_watchers(struct store *s)
{
    env_mutex_lock(&s->watch_lock);
    for (struct list *at = s->watching.next, *next; at != &s->watching; at = next) {
        struct watcher *w = container_of(at, struct watcher, node);
        next = at->next;
        if (w->cancel && atomic_load(w->cancel))
            wake(w);
    }
    env_mutex_unlock(&s->watch_lock);
}

void store__publish(struct store *s, struct version v)
{
    struct written w = s->written;
    s->written = (struct written){0};
    if (w.all)
        atomic_store_explicit(&s->written_floor, v.hlc, memory_order_release);
    for (size_t i = 0; i < w.n; i++)
        atomic_store_explicit(&w.of[i]->written_hlc, v.hlc, memory_order_release);
    atomic_store_explicit(&s->visible_hlc, v.hlc, memory_order_release);
    /* Pairs with the fence in store_wait_changes: either it sees the new version or we see the
     * waiter. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&s->watchers_waiting, memory_order_relaxed) == 0)
        return;
    env_mutex_lock(&s->watch_lock);
    size_t woken = wake_for(s, &w);
    env_mutex_unlock(&s->watch_lock);
    if (woken)
        counter_add(s->m_wakes, woken);
}

/* ---- waiting ---- */

/* Where who waits for this name is to be found. One of a name that is not there waits for the catalog
 * alone. */
static struct list *same_of(struct store *s, struct bytes name)
{
    struct collection *c = name.len ? catalog_find(&s->catalog, name) : NULL;
    return name.len == 0 ? &s->watching_all : c ? &c->watching : NULL;
}

/* Until it is woken or `deadline`; called and left with the lock. */
static void wait_once(struct store *s, struct list *same, uint64_t deadline,
                      const _Atomic bool *cancel)
{
    struct watcher w = {.cancel = cancel};
    uint64_t now = env_mono_ns(s->env), left = deadline > now ? deadline - now : 0;
    env_event_init(&w.woken);
    list_init(&w.same);
    list_push_back(&s->watching, &w.node);
    if (same)
        list_push_back(same, &w.same);
    env_mutex_unlock(&s->watch_lock);
    (void)env_wait(&w.woken, deadline == UINT64_MAX ? UINT64_MAX : left);
    env_mutex_lock(&s->watch_lock);
    list_remove(&w.node);
    list_remove(&w.same);
}

bool store_wait_changes(struct store *s, struct bytes name, struct version after,
                        uint64_t timeout_ms, const _Atomic bool *cancel)
{
    uint64_t max_ms = UINT64_MAX / 4000000;
    uint64_t deadline = timeout_ms > max_ms ? UINT64_MAX /* some hundred years */
                                            : env_mono_ns(s->env) + timeout_ms * 1000000;
    env_mutex_lock(&s->watch_lock);
    atomic_fetch_add(&s->watchers_waiting, 1);
    atomic_thread_fence(memory_order_seq_cst);
    bool found;
    for (;;) {
        /* The name is looked up before what was written to it: a collection of that name that comes
         * between the two raises the floor. */
        struct list *same = same_of(s, name);
        found = store_visible(s).hlc > after.hlc && store_written(s, name).hlc > after.hlc;
        if (found || (cancel && atomic_load(cancel)))
            break;
        if (deadline != UINT64_MAX && env_mono_ns(s->env) >= deadline)
            break;
        wait_once(s, same, deadline, cancel);
    }
    atomic_fetch_sub(&s->watchers_waiting, 1);
    env_mutex_unlock(&s->watch_lock);
    return found;
}

void store_watchers_add(struct store *s, int n)
{
    atomic_fetch_add(&s->watchers, n);
}
