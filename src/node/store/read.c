#include "node/store/cluster.h"

#include "base/planted.h"

#include <inttypes.h>

static enum status find(struct view *v, struct bytes key, struct version at, bool cached,
                        struct record *ret, struct engine_pin *pin, struct err *err)
{
    if (PLANTED(FROZEN_BEFORE_ACTIVE) && view_frozen_get(v, key, at, ret))
        return ST_OK;
    if (table_count(v->active) != 0 && table_get(v->active, key, at, ret))
        return ST_OK;
    if (v->frozen && view_frozen_get(v, key, at, ret))
        return ST_OK;
    struct engine *e = v->snap->engine;
    return e->ops->get(e, v->snap->snapshot, key, at, cached, ret, pin, err);
}

enum status store__find(struct view *v, struct bytes key, struct version at, struct record *ret,
                        struct engine_pin *pin, struct err *err)
{
    return find(v, key, at, false, ret, pin, err);
}

enum status store__check_horizon(struct store *s, struct bytes key, struct version at,
                                 struct err *err)
{
    struct collection *c = store__collection_by_id(s, route_collection(key));
    if (!c)
        return ST_OK;
    uint64_t horizon = atomic_load_explicit(&c->horizon_hlc, memory_order_acquire);
    if (at.hlc >= horizon)
        return ST_OK;
    char text[VERSION_TEXT_MAX], time[TIME_TEXT_MAX];
    version_format((struct version){horizon, 0}, text);
    time_format(horizon >> HLC_LOGICAL_BITS, time);
    return err_set(err, ST_BELOW_HORIZON,
                   "collection %s keeps nothing before %s (%s; its retention has removed it)",
                   c->name, text, time);
}

static enum status copy_out(const struct record *rec, struct buf *buf, struct record *ret,
                            struct err *err)
{
    buf_clear(buf);
    if (buf_reserve(buf, rec->value.len + rec->writer.len) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "no memory for a value of %zu bytes", rec->value.len);
    /* Reserved above: neither append can fail. */
    if (buf_append(buf, rec->value.data, rec->value.len) != ST_OK ||
        buf_append(buf, rec->writer.data, rec->writer.len) != ST_OK)
        return err_set(err, ST_INTERNAL, "a reserved buffer refused its bytes");
    *ret = *rec;
    ret->value = BYTES(buf->data, rec->value.len);
    ret->writer = BYTES(buf->data + rec->value.len, rec->writer.len);
    return ST_OK;
}

static bool alive(struct store *s, const struct record *rec, struct version at)
{
    if (rec->expires_ms == 0)
        return rec->kind == RECORD_PUT;
    return record_alive(rec, version_is_none(at) ? env_now_ms(s->env) : version_ms(at));
}

static enum status absent(struct err *err)
{
    if (err)
        err_set(err, ST_NOT_FOUND, "no such key");
    return ST_NOT_FOUND;
}

/* The present, past the cache. The ticket is taken first and the newest version of all is looked
 * at, published or not: only what is newest may be filled, and a writer that comes between voids
 * the ticket. */
static enum status get_present(struct store *s, struct bytes key, uint64_t hash, bool cached,
                               struct buf *buf, struct record *ret, struct err *err)
{
    uint64_t ticket = s->cache ? cache_begin_fill(s->cache, hash) : 0;
    struct version at = store__at_or_now(s, VERSION_NONE);
    unsigned stripe;
    struct view *v = store__view_pin(s, &stripe);
    struct engine_pin pin = {0};
    struct record rec;
    at = view_present(v, at);
    enum status st = find(v, key, VERSION_MAX, cached, &rec, &pin, err);
    bool newest = true;
    if (st == ST_NOT_FOUND)
        absent__count(s, stripe);
    if (st == ST_OK && rec.version.hlc > at.hlc) {
        engine_pin_release(&pin);
        newest = false;
        st = find(v, key, at, cached, &rec, &pin, err);
    }
    if (st == ST_OK && !alive(s, &rec, VERSION_NONE))
        st = absent(err);
    if (st == ST_OK)
        st = copy_out(&rec, buf, ret, err);
    if (st == ST_OK && newest && s->cache)
        cache_fill(s->cache, hash, ticket, key, &rec);
    engine_pin_release(&pin);
    view_unpin(v, stripe);
    return st;
}

static inline enum status get(struct store *s, struct bytes key, struct version at, bool cached,
                              struct buf *buf, struct record *ret, struct err *err)
{
    ASSERT(key.len > STORE_ROUTE_BYTES);
    if (version_is_none(at)) {
        uint64_t hash = cache_hash(key);
        uint64_t visible = atomic_load_explicit(&s->visible_hlc, memory_order_acquire);
        struct record rec;
        if (absent_surely(s, hash))
            return absent(err);
        if (s->cache && cache_get(s->cache, hash, key, buf, &rec) && rec.version.hlc <= visible) {
            if (!alive(s, &rec, VERSION_NONE))
                return absent(err);
            *ret = rec;
            return ST_OK;
        }
        return get_present(s, key, hash, cached, buf, ret, err);
    }

    unsigned stripe;
    struct view *v = store__view_pin(s, &stripe);
    struct engine_pin pin = {0};
    struct record rec;
    enum status st = find(v, key, at, cached, &rec, &pin, err);
    enum status horizon = store__check_horizon(s, key, at, err);
    if (horizon != ST_OK)
        st = horizon;
    else if (st == ST_OK && !alive(s, &rec, at))
        st = absent(err);
    if (st == ST_OK)
        st = copy_out(&rec, buf, ret, err);
    engine_pin_release(&pin);
    view_unpin(v, stripe);
    return st;
}

enum status store_get(struct store *s, struct bytes key, struct version at, struct buf *buf,
                      struct record *ret, struct err *err)
{
    return get(s, key, at, false, buf, ret, err);
}

void store_ahead(struct store *s, struct bytes key)
{
    if (s->cache)
        cache_ahead(s->cache, cache_hash(key));
}

enum status store_get_cached(struct store *s, struct bytes key, struct version at, struct buf *buf,
                             struct record *ret, struct err *err)
{
    return get(s, key, at, true, buf, ret, err);
}

enum status store__in_future(uint64_t hlc, uint64_t now_ms, struct err *err)
{
    uint64_t ms = hlc >> HLC_LOGICAL_BITS, ahead_ms = ms - now_ms;
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"day", 86400000}, {"hour", 3600000}, {"minute", 60000}, {"second", 1000}};
    char time[TIME_TEXT_MAX];
    time_format(ms, time);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        uint64_t n = ahead_ms / units[i].ms;
        if (n > 0)
            return err_set(err, ST_FUTURE_TIME, "%s lies %" PRIu64 " %s%s in the future", time, n,
                           units[i].name, n == 1 ? "" : "s");
    }
    return err_set(err, ST_FUTURE_TIME, "%s lies %" PRIu64 " ms in the future", time, ahead_ms);
}

/* Versions rise along the log, so what is visible is fixed. For a moment above, an entry that says
 * that it has passed goes through the log: without it a later leader could hand out a version below. */
static enum status fix_in_cluster(struct store *s, struct version at, struct err *err)
{
    if (at.hlc <= store_visible(s).hlc)
        return ST_OK;
    struct store_write w = {0};
    struct proposal p = {.w = &w, .at_least = at.hlc};
    enum status st = entry_moment(&w.entry, err);
    if (st != ST_OK)
        return st;
    err_init(&p.err);
    cluster_propose(s, &p);
    blob_unref(w.entry);
    if (p.st == ST_UNKNOWN_OUTCOME) /* of nothing that anybody wrote: a read can be asked again */
        return err_set(err, ST_UNAVAILABLE,
                       "the leader was lost before it was known that the moment has passed");
    if (p.st != ST_OK && err)
        *err = p.err;
    return p.st;
}

enum status store_fix_moment(struct store *s, struct version at, struct err *err)
{
    if (s->cluster)
        return fix_in_cluster(s, at, err);
    uint64_t now_ms = env_now_ms(s->env);
    env_spin_lock(&s->clock_lock);
    struct version assigned = s->assigned;
    bool future = version_ms(at) > now_ms && at.hlc > assigned.hlc && at.hlc > s->clock.last;
    if (!future && at.hlc > s->clock.last)
        hlc_observe(&s->clock, at.hlc);
    env_spin_unlock(&s->clock_lock);
    if (future)
        return store__in_future(at.hlc, now_ms, err);
    /* What was assigned and is not published yet may be at or below `at`: leading once waits for
     * it. */
    if (assigned.hlc > store_visible(s).hlc) {
        enum status st = store__lead_begin(s, err);
        if (st != ST_OK)
            return st;
        store__lead_end(s);
    }
    return ST_OK;
}
