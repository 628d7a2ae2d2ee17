#include "node/store/store_internal.h"

#include "base/alloc.h"

enum status snap_new(struct home *h, struct snap **ret, struct err *err)
{
    struct snap *n = mem_zalloc(sizeof(*n));
    if (!n)
        return err_set(err, ST_NO_MEMORY, "no memory for a view");
    enum status st = h->engine->ops->snapshot(h->engine, &n->snapshot, err);
    if (st != ST_OK) {
        mem_free(n);
        return st;
    }
    n->refs = 1;
    n->home = home_ref(h);
    n->engine = h->engine;
    *ret = n;
    return ST_OK;
}

enum status store__snap_new(struct store *s, struct snap **ret, struct err *err)
{
    return snap_new(s->home, ret, err);
}

struct snap *snap_ref(struct snap *n)
{
    atomic_fetch_add_explicit(&n->refs, 1, memory_order_relaxed);
    return n;
}

void snap_unref(struct snap *n)
{
    if (!n || atomic_fetch_sub_explicit(&n->refs, 1, memory_order_acq_rel) != 1)
        return;
    n->engine->ops->snapshot_release(n->engine, n->snapshot);
    home_unref(n->home);
    mem_free(n);
}

struct view *view_new(struct table *active, struct table *frozen, struct snap *snap)
{
    struct view *v = mem_aligned(64, sizeof(*v));
    if (!v)
        return NULL;
    memset(v, 0, sizeof(*v));
    v->refs = 1;
    v->active = table_ref(active);
    v->frozen = frozen ? table_ref(frozen) : NULL;
    v->snap = snap_ref(snap);
    return v;
}

void view_unref(struct view *v)
{
    if (!v || atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
        return;
    table_unref(v->active);
    table_unref(v->frozen);
    snap_unref(v->snap);
    mem_free(v);
}

size_t view_bytes(const struct view *v)
{
    size_t n = table_bytes(v->active);
    for (const struct table *t = v->frozen; t; t = table_below(t))
        n += table_bytes(t);
    return n;
}

uint64_t view_versions(const struct view *v)
{
    uint64_t n = table_count(v->active);
    for (const struct table *t = v->frozen; t; t = table_below(t))
        n += table_count(t);
    return n;
}

uint64_t view_keys(const struct view *v)
{
    uint64_t n = table_keys(v->active);
    for (const struct table *t = v->frozen; t; t = table_below(t))
        n += table_keys(t);
    return n;
}

bool view_frozen_get(const struct view *v, struct bytes key, struct version at, struct record *ret)
{
    for (const struct table *t = v->frozen; t; t = table_below(t)) {
        if (table_get(t, key, at, ret))
            return true;
    }
    return false;
}

static unsigned my_stripe(void)
{
    static _Atomic unsigned next;
    static _Thread_local unsigned mine;
    if (__builtin_expect(mine == 0, 0))
        mine = 1 + atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) % VIEW_STRIPES;
    return mine - 1;
}

struct view *store__view_pin(struct store *s, unsigned *ret_stripe)
{
    unsigned i = my_stripe();
    env_spin_lock(&s->views[i].lock);
    struct view *v = s->views[i].view;
    atomic_fetch_add_explicit(&v->stripe[i].refs, 1, memory_order_relaxed);
    env_spin_unlock(&s->views[i].lock);
    *ret_stripe = i;
    return v;
}

void view_unpin(struct view *v, unsigned stripe)
{
    if (v && atomic_fetch_sub_explicit(&v->stripe[stripe].refs, 1, memory_order_acq_rel) == 1)
        view_unref(v);
}

struct view *store__view(struct store *s)
{
    unsigned i = my_stripe();
    env_spin_lock(&s->views[i].lock);
    struct view *v = s->views[i].view;
    atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
    env_spin_unlock(&s->views[i].lock);
    return v;
}

void store__install_view(struct store *s, struct view *v)
{
    /* Each stripe holds itself up with one of its own, and all of those the view with one each. */
    if (v)
        atomic_fetch_add_explicit(&v->refs, VIEW_STRIPES, memory_order_relaxed);
    for (unsigned i = 0; i < VIEW_STRIPES; i++) {
        if (v)
            atomic_fetch_add_explicit(&v->stripe[i].refs, 1, memory_order_relaxed);
        env_spin_lock(&s->views[i].lock);
        struct view *old = s->views[i].view;
        s->views[i].view = v;
        env_spin_unlock(&s->views[i].lock);
        view_unpin(old, i);
    }
    view_unref(v);
}
