#include "node/store/catalog.h"

#include "base/alloc.h"

/* Vacuum of a collection: turn what has expired into ordinary deletes, raise the horizons by a log
 * entry, drain, and only then let the engine remove what lies below. A read takes its snapshot first
 * and looks at the horizon after, so it either still sees everything or is refused. An engine that has
 * removed something has the horizon too: a node that does not know yet what of its log is committed,
 * or that was sent the engine's state, would else read wrong below it. */

enum { EXPIRE_AT_ONCE = 256 };

struct vacuuming {
    struct store *s;
    bool (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    struct store_vacuum_result total;
};

static bool on_progress(void *arg, uint64_t done, uint64_t estimate)
{
    struct vacuuming *v = arg;
    return !v->progress || v->progress(v->arg, done, estimate);
}

/* ---- expiry ---- */

static enum status delete_expired(struct vacuuming *v, struct bytes key, struct version version,
                                  struct err *err)
{
    struct entry_op op = {.key = key, .kind = RECORD_DELETE, .value = BYTES_EMPTY};
    struct store_require same = {.key = key, .what = STORE_REQUIRE_EXACT, .version = version};
    struct store_write w = {.requires = &same, .n_requires = 1, .sync = STORE_SYNC_OFF};
    enum status st = entry_encode(&op, 1, BYTES_LIT("ttl"), &w.entry, err);
    if (st == ST_OK)
        st = store_propose(v->s, &w, err);
    blob_unref(w.entry);
    if (st == ST_OK)
        v->total.expired++;
    return st == ST_PRECONDITION_FAILED ? ST_OK : st; /* written anew meanwhile */
}

/* A look for expired records, some at a time: what it found, and where it is. */
struct expiry {
    struct vacuuming *v;
    struct store_iter *it;
    uint64_t now_ms, seen;
    struct buf keys;
    struct {
        size_t end; /* of its key, which begins where the last one ended */
        struct version version;
    } found[EXPIRE_AT_ONCE];
    size_t n;
    int rc; /* of the iterator */
    struct err *err;
};

static bool keep(struct expiry *e, const struct store_row *row)
{
    if (buf_append(&e->keys, row->key.data, row->key.len) != ST_OK)
        return false;
    e->found[e->n].end = e->keys.len;
    e->found[e->n++].version = row->rec.version;
    return true;
}

static void look(void *arg)
{
    struct expiry *e = arg;
    struct store_row row;
    e->n = 0;
    buf_clear(&e->keys);
    while (e->n < EXPIRE_AT_ONCE && (e->rc = store_iter_next(e->it, &row, e->err)) > 0) {
        if ((++e->seen & 0xfff) == 0 && !on_progress(e->v, e->seen, 0))
            e->rc = -(int)err_set(e->err, ST_CANCELLED, "vacuum was stopped");
        else if (row.rec.expires_ms != 0 && row.rec.expires_ms <= e->now_ms && !keep(e, &row))
            e->rc = -(int)err_set(e->err, ST_NO_MEMORY, "no memory for expired keys");
        if (e->rc < 0)
            return;
    }
}

/* Looking is done behind the others; writing is not, for who leads holds up all writers. */
static enum status expire(struct vacuuming *v, const struct engine_interval *in, struct err *err)
{
    struct store_scan q = {.in = *in, .keys_only = true, .with_expired = true};
    struct expiry *e = mem_zalloc(sizeof(*e));
    if (!e)
        return err_set(err, ST_NO_MEMORY, "no memory to look for expired records");
    *e = (struct expiry){.v = v, .now_ms = env_now_ms(v->s->env), .rc = 1, .err = err};
    enum status st = store_scan(v->s, &q, &e->it, err);
    while (st == ST_OK && e->rc > 0) {
        if (v->s->o.engine.behind)
            env_run_behind("varve-expire", NULL, look, e);
        else
            look(e);
        if (e->rc < 0)
            st = (enum status) - e->rc;
        size_t at = 0;
        for (size_t i = 0; st == ST_OK && i < e->n; at = e->found[i++].end)
            st = delete_expired(v, BYTES(e->keys.data + at, e->found[i].end - at),
                                e->found[i].version, err);
    }
    store_iter_close(e->it);
    buf_deinit(&e->keys);
    mem_free(e);
    return st;
}

/* ---- horizons ---- */

/* The oldest moment that a named snapshot holds; none: there is none. */
static enum status oldest_snapshot(struct store *s, struct version *ret, struct err *err)
{
    struct store_iter *it;
    struct store_row row;
    enum status st = store_snapshots(s, &it, err);
    if (st != ST_OK)
        return st;
    *ret = VERSION_NONE;
    int rc;
    while ((rc = store_iter_next(it, &row, err)) > 0)
        if (version_is_none(*ret) || version_cmp(row.rec.version, *ret) < 0)
            *ret = row.rec.version;
    store_iter_close(it);
    return rc < 0 ? (enum status) - rc : ST_OK;
}

/* At or above all that was written to a collection at or below `horizon`. */
static enum status newest_write(struct store *s, struct collection *c, struct version horizon,
                                struct version *ret, struct err *err)
{
    enum status st = ST_OK;
    if (horizon.hlc > store_visible(s).hlc)
        st = store_fix_moment(s, horizon, err);
    if (st == ST_FUTURE_TIME) { /* to the leader's clock: it may write at or below it yet */
        *ret = VERSION_MAX;
        return ST_OK;
    }
    if (st == ST_OK)
        *ret = store_written(s, BYTES(c->name, c->name_len));
    return st;
}

/* Decides what may go and says so in the log. The catalog is held meanwhile: a snapshot made between
 * the two would find its moment gone. */
static enum status try_raise(struct store *s, struct collection *c, struct engine_vacuum *ev,
                             bool *ret_nothing, struct err *err)
{
    struct guard g;
    uint64_t max_age = atomic_load(&c->max_age_ms), max_count = atomic_load(&c->max_count);
    uint64_t now_ms = env_now_ms(s->env);
    struct version held, written = VERSION_NONE;
    enum status st = store__guard_take(s, &g, err);
    if (st == ST_OK)
        st = oldest_snapshot(s, &held, err);
    struct version horizon = VERSION_NONE;
    if (max_age && max_age < now_ms)
        horizon = (struct version){version_at_ms(now_ms - max_age).hlc, 0};
    if (st != ST_OK)
        goto out;
    if (!version_is_none(held) && version_cmp(held, horizon) < 0)
        horizon = held;
    *ret_nothing = version_is_none(horizon) && max_count == 0;
    /* By count versions may go that are younger than the horizon: who follows changes from before
     * now may miss some. But nobody misses what was never written: who has seen all that there is may
     * be idle for as long as he likes. */
    struct horizons h = {horizon.hlc, horizon.hlc};
    struct version visible = store_visible(s); /* before the newest write, which is not below it */
    if (max_count && visible.hlc > h.feed_hlc)
        h.feed_hlc = visible.hlc;
    if (!*ret_nothing)
        st = newest_write(s, c, horizon, &written, err);
    if (h.feed_hlc > written.hlc)
        h.feed_hlc = written.hlc + 1;
    if (st == ST_OK && !*ret_nothing)
        st = store__raise_horizons(s, c, &h, &g, err);
    ev->horizon = horizon;
    ev->keep_count = max_count;
    /* A snapshot may be made from here on, of any moment since: nothing that is written later goes
     * by count, nor what it replaces. */
    ev->hold = version_is_none(held) || version_cmp(visible, held) < 0 ? visible : held;
out:
    buf_deinit(&g.key);
    return st;
}

static enum status raise_horizons(struct store *s, struct collection *c, struct engine_vacuum *ev,
                                  bool *ret_nothing, struct err *err)
{
    enum status st = store__catalog_enter(s, err);
    if (st != ST_OK)
        return st;
    while ((st = try_raise(s, c, ev, ret_nothing, err)) == ST_PRECONDITION_FAILED) {
        /* Another node made a snapshot, or raised a horizon. What it did is seen here after: */
        st = store_barrier(s, STORE_PROPOSE_TIMEOUT_MS, err);
        if (st != ST_OK)
            break;
    }
    env_lock_give(&s->catalog.lock);
    return st;
}

static enum status vacuum_engine(struct vacuuming *v, const struct engine_vacuum *ev,
                                 struct err *err)
{
    struct store *s = v->s;
    struct engine_vacuum_result r = {0};
    struct snap *snap = NULL;
    env_mutex_lock(&s->checkpoint_lock);
    enum status st = s->engine->ops->vacuum(s->engine, s->range.id, ev, &r, err);
    if (st == ST_OK)
        st = store__snap_new(s, &snap, err);
    if (st == ST_OK) /* or the old snapshot would hold on to what went */
        st = store__install_snap(s, snap, false, err);
    snap_unref(snap);
    env_mutex_unlock(&s->checkpoint_lock);
    v->total.rows_seen += r.rows_seen;
    v->total.versions_removed += r.versions_removed;
    v->total.bytes_removed += r.bytes_removed;
    return st;
}

static enum status vacuum_one(struct vacuuming *v, struct collection *c, struct err *err)
{
    struct store *s = v->s;
    uint8_t lower[STORE_ROUTE_BYTES], upper[STORE_ROUTE_BYTES];
    bool nothing;
    route_put(lower, c->id);
    route_put(upper, c->id + 1);
    struct engine_vacuum ev = {.in = {BYTES(lower, sizeof(lower)), BYTES(upper, sizeof(upper))},
                               .progress = on_progress,
                               .arg = v};
    enum status st = expire(v, &ev.in, err);
    if (st != ST_OK || (atomic_load(&c->max_age_ms) == 0 && atomic_load(&c->max_count) == 0))
        return st;
    st = raise_horizons(s, c, &ev, &nothing, err);
    if (st != ST_OK || nothing)
        return st;
    st = store_checkpoint(s, err);
    return st == ST_OK ? vacuum_engine(v, &ev, err) : st;
}

/* Requests that are known no longer: nobody reads their past, so all of it goes. */
static enum status vacuum_requests(struct vacuuming *v, struct err *err)
{
    struct store *s = v->s;
    uint8_t lower[STORE_ROUTE_BYTES], upper[STORE_ROUTE_BYTES];
    route_put(lower, STORE_REQUEST_COLLECTION);
    route_put(upper, STORE_REQUEST_COLLECTION + 1);
    struct engine_vacuum ev = {.in = {BYTES(lower, sizeof(lower)), BYTES(upper, sizeof(upper))},
                               .progress = on_progress,
                               .arg = v};
    uint64_t before = v->total.expired;
    enum status st = expire(v, &ev.in, err);
    if (st != ST_OK || v->total.expired == before)
        return st;
    ev.horizon = store_visible(s);
    st = store_checkpoint(s, err);
    if (st == ST_OK)
        st = store_sync_now(s, err);
    return st == ST_OK ? vacuum_engine(v, &ev, err) : st;
}

enum status store_vacuum(struct store *s, struct bytes name,
                         bool (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                         struct store_vacuum_result *ret, struct err *err)
{
    struct vacuuming v = {.s = s, .progress = progress, .arg = arg};
    enum status st = ST_OK;
    if (s->o.read_only)
        return err_set(err, ST_READ_ONLY, "%s was opened read-only", s->dir);
    if (name.len) {
        struct collection *c;
        st = store_collection_find(s, name, &c, err);
        if (st == ST_OK)
            st = vacuum_one(&v, c, err);
    }
    for (uint32_t id = STORE_FIRST_ID;
         !name.len && st == ST_OK && id <= atomic_load(&s->catalog.last_id); id++) {
        struct collection *c = store__collection_by_id(s, id);
        if (c && !atomic_load(&c->dropped) && c->name_len)
            st = vacuum_one(&v, c, err);
    }
    if (!name.len && st == ST_OK)
        st = vacuum_requests(&v, err);
    if (ret)
        *ret = v.total;
    return st;
}
