/* keep.c - what was in memory stays there: the newest records of a table that has been drained are
 * offered to the cache before the table goes.
 *
 * A get that has to ask the engine costs ten times one that finds its record in memory. Only where
 * there were gets that found nothing in the cache, and only into room that nobody uses: who only
 * writes pays nothing, and nothing is evicted for it. */
#include "node/store/store_internal.h"

#include "storage/cache/cache.h"

enum { LOOK_EVERY = 256, ROWS_A_GET = 64 };

static bool asked_for(struct store *s, uint64_t keys)
{
    struct cache_stats st;
    cache_stats(s->cache, &st);
    uint64_t misses = st.misses - s->misses_kept;
    s->misses_kept = st.misses;
    return misses > keys / ROWS_A_GET;
}

static bool has_room(struct store *s)
{
    struct cache_stats st;
    cache_stats(s->cache, &st);
    return st.bytes < st.max_bytes - st.max_bytes / 8 &&
           !atomic_load_explicit(&s->hurry, memory_order_relaxed);
}

/* As every fill: the ticket first, so that a write which comes between voids it. */
static void keep_one(struct store *s, const struct view *v, const struct table_iter *it)
{
    struct bytes key = table_iter_key(it);
    uint64_t hash = cache_hash(key), ticket = cache_begin_fill(s->cache, hash);
    const struct table_entry *e = table_iter_find(it, VERSION_MAX);
    struct record rec;
    if (!e || (table_count(v->active) != 0 && table_find(v->active, key, VERSION_MAX)))
        return;
    table_entry_record(e, &rec);
    cache_fill(s->cache, hash, ticket, key, &rec);
}

void store__keep(struct store *s)
{
    struct view *v = store__view(s);
    struct table_iter it;
    size_t n = 0;
    if (v->frozen && s->cache && asked_for(s, table_keys(v->frozen))) {
        table_iter_init(&it, v->frozen);
        for (bool any = table_iter_first(&it); any; any = table_iter_next(&it)) {
            if (n++ % LOOK_EVERY == 0 && !has_room(s))
                break;
            keep_one(s, v, &it);
        }
    }
    view_unref(v);
}
