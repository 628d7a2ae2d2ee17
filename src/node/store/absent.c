#include "node/store/store_internal.h"

#include "base/alloc.h"
#include "base/log.h"

/* Gets of keys that are not there. Each that reached the engine is counted; when such gets have
 * cost about as much as walking over all live keys would, the housekeeping thread walks over them,
 * a slice at a time, and makes a filter of them, which from then on answers most such gets. So a
 * program that never asks for absent keys pays nothing, nor does one that opens the folder for a
 * moment.
 *
 * While the filter is being made every applied write is added to it too (by the leader, before the
 * write is visible), so that when the walk ends it holds every key that is live or was since. Keys
 * deleted later stay in it as a needless "maybe"; when it holds far more than it was made for, it
 * is left and made anew. A filter that was left is kept until the store closes, for readers take no
 * reference; all of them together stay within a fixed part of the cache's budget. */

enum {
    KEYS_PER_MISS = 2, /* what a walk passes in the time of one such get */
    BUDGET_SHARE = 8,  /* of cache_bytes, for filters */
    ROOM_MIN = 1024,   /* made for 3/2 of the keys there are, and these */
    OVERFULL = 3,      /* times what it was made for: answers "maybe" too often */
};

struct filter_made {
    struct filter *filter;
    struct filter_made *older;
};

void absent__deinit(struct store *s)
{
    struct absent *a = &s->absent;
    store_iter_close(a->walk);
    a->walk = NULL;
    while (a->made) {
        struct filter_made *m = a->made;
        a->made = m->older;
        filter_free(m->filter);
        mem_free(m);
    }
}

void absent__count(struct store *s, unsigned stripe)
{
    _Atomic uint64_t *n = &s->views[stripe].misses;
    uint64_t now = atomic_fetch_add_explicit(n, 1, memory_order_relaxed) + 1;
    if (now % s->o.absent_misses == 0 &&
        !atomic_load_explicit(&s->absent.asked, memory_order_relaxed))
        store__poke(s);
}

static uint64_t misses(struct store *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < VIEW_STRIPES; i++)
        n += atomic_load_explicit(&s->views[i].misses, memory_order_relaxed);
    return n;
}

static uint64_t keys_now(struct store *s)
{
    struct engine_stats e;
    struct home *h = store__home(s);
    h->engine->ops->stats(h->engine, &e);
    home_unref(h);
    struct view *v = store__view(s);
    uint64_t n = e.live_rows + view_keys(v);
    view_unref(v);
    return n;
}

/* Only once misses have cost what the walk would: then at worst twice the least possible is paid. */
static bool worth_it(struct store *s, uint64_t *ret_keys)
{
    struct absent *a = &s->absent;
    uint64_t since = misses(s) - a->misses_then;
    if (s->o.cache_bytes == 0 || since < s->o.absent_misses)
        return false;
    *ret_keys = keys_now(s);
    return since >= *ret_keys / KEYS_PER_MISS;
}

static void begin(struct store *s, uint64_t keys)
{
    struct absent *a = &s->absent;
    struct err err;
    uint64_t room = keys + keys / 2 + ROOM_MIN;
    a->misses_then = misses(s); /* whatever comes of it, not again at once */
    if (a->bytes + filter_bytes(room) > s->o.cache_bytes / BUDGET_SHARE)
        return;
    struct filter_made *m = mem_zalloc(sizeof(*m));
    struct filter *f = m ? filter_new(room) : NULL;
    if (!f || store__lead_begin(s, &err) != ST_OK) {
        filter_free(f);
        mem_free(m);
        return;
    }
    m->filter = f;
    m->older = a->made;
    a->made = m;
    a->bytes += filter_bytes(room);
    a->room = room;
    a->added = 0;
    /* From here on writes go into it; all before are visible, and the walk sees those. */
    atomic_store_explicit(&a->adding, f, memory_order_relaxed);
    a->walk_state = atomic_load_explicit(&a->states, memory_order_relaxed);
    store__lead_end(s);

    struct store_scan q = {.keys_only = true, .with_expired = true};
    if (store_scan(s, &q, &a->walk, &err) != ST_OK) {
        log_at(LOG_WARN, "store", "no filter of absent keys: cannot walk over the keys",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err.detail));
        a->walk = NULL;
    }
}

static void leave(struct store *s)
{
    struct absent *a = &s->absent;
    atomic_store_explicit(&a->asked, NULL, memory_order_relaxed);
    atomic_store_explicit(&a->adding, NULL, memory_order_relaxed);
    a->misses_then = misses(s);
}

/* Whether readers may believe the filter. Another state may take over at any time: then it does not
 * hold the keys that there are now. */
static bool believe(struct store *s, struct filter *f)
{
    struct absent *a = &s->absent;
    env_mutex_lock(&s->view_change);
    bool same = atomic_load_explicit(&a->states, memory_order_relaxed) == a->walk_state;
    if (same) /* release: who sees it sees all that was added */
        atomic_store_explicit(&a->asked, f, memory_order_release);
    env_mutex_unlock(&s->view_change);
    return same;
}

/* By whoever leads, with view_change: all keys are other ones from now on. */
void absent__forget(struct store *s)
{
    struct absent *a = &s->absent;
    atomic_store_explicit(&a->asked, NULL, memory_order_release);
    atomic_store_explicit(&a->adding, NULL, memory_order_relaxed);
    atomic_fetch_add_explicit(&a->states, 1, memory_order_relaxed);
}

static bool walk_slice(struct store *s)
{
    struct absent *a = &s->absent;
    struct filter *f = a->made->filter;
    struct store_row row;
    struct err err;
    int rc = 1;
    for (uint32_t n = 0; n < s->o.absent_slice && (rc = store_iter_next(a->walk, &row, &err)) > 0;
         n++) {
        filter_add(f, cache_hash(row.key));
        atomic_fetch_add_explicit(&a->added, 1, memory_order_relaxed);
    }
    if (rc > 0)
        return true;
    store_iter_close(a->walk);
    a->walk = NULL;
    if (rc < 0) {
        log_at(LOG_WARN, "store", "no filter of absent keys: the walk over the keys failed",
               LOG_FSTR("dir", s->dir), LOG_FSTR("detail", err.detail));
        leave(s);
        return false;
    }
    (void)believe(s, f);
    return false;
}

bool absent__tick(struct store *s)
{
    struct absent *a = &s->absent;
    uint64_t keys;
    if (atomic_load(&s->replaying) || s->o.read_only)
        return false;
    if (a->walk && atomic_load_explicit(&a->states, memory_order_relaxed) != a->walk_state) {
        store_iter_close(a->walk);
        a->walk = NULL;
    }
    if (a->walk)
        return walk_slice(s);
    if (atomic_load_explicit(&a->adding, memory_order_relaxed)) {
        if (atomic_load_explicit(&a->added, memory_order_relaxed) > OVERFULL * a->room)
            leave(s);
        return false;
    }
    if (!worth_it(s, &keys))
        return false;
    begin(s, keys);
    return a->walk != NULL;
}
