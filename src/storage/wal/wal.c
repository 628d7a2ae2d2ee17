#include "storage/wal/wal_internal.h"

#include "base/alloc.h"

enum { SEGMENT_DEFAULT = 64 * 1024 * 1024, SEGMENT_MIN = 64 * 1024, FIRST_DEFAULT = 256 * 1024 };

enum status wal__poisoned(struct wal *w, struct err *err)
{
    if (!atomic_load(&w->poisoned))
        return ST_OK;
    return err_set(err, ST_POISONED, "log %s: a sync failed earlier; what it lost is unknown",
                   w->dir);
}

enum status wal__poison(struct wal *w, enum status st, struct err *err)
{
    atomic_store(&w->poisoned, true);
    if (err)
        err_prefix(err, "log poisoned (%s)", status_text(st));
    if (err)
        err->status = ST_POISONED;
    return ST_POISONED;
}

static enum status fill_options(struct wal *w, const struct wal_options *o, struct err *err)
{
    w->o = o ? *o : (struct wal_options){0};
    if (w->o.segment_bytes == 0)
        w->o.segment_bytes = SEGMENT_DEFAULT;
    if (w->o.segment_bytes < SEGMENT_MIN || w->o.segment_bytes > WAL_SEG_BYTES_MAX)
        return err_set(err, ST_INVALID_ARGUMENT,
                       "log: segment_bytes is %zu, not from %d to below 32 GiB", w->o.segment_bytes,
                       SEGMENT_MIN);
    if (w->o.max_bytes && w->o.segment_bytes > w->o.max_bytes / 4)
        w->o.segment_bytes =
            w->o.max_bytes / 4 > SEGMENT_MIN ? (size_t)(w->o.max_bytes / 4) : SEGMENT_MIN;
    w->o.segment_bytes = w->o.segment_bytes / WAL_SEG_PAGE * WAL_SEG_PAGE;
    if (w->o.first_segment_bytes == 0)
        w->o.first_segment_bytes = FIRST_DEFAULT;
    if (w->o.first_segment_bytes < SEGMENT_MIN)
        w->o.first_segment_bytes = SEGMENT_MIN;
    if (w->o.first_segment_bytes > w->o.segment_bytes)
        w->o.first_segment_bytes = w->o.segment_bytes;
    w->o.first_segment_bytes = w->o.first_segment_bytes / WAL_SEG_PAGE * WAL_SEG_PAGE;
    if (w->o.spare_segments == 0)
        w->o.spare_segments = 1;
    w->keep_spares = w->o.spare_segments;
    return ST_OK;
}

static void wal_free(struct wal *w)
{
    wal__segs_deinit(&w->segs);
    wal__segs_deinit(&w->spares);
    wal__seg_free(w->half);
    wal__seg_free(w->making.seg);
    wal__ranges_deinit(w);
    buf_deinit(&w->scratch);
    mem_free(w->dir);
    env_mutex_deinit(&w->append_mutex);
    env_mutex_deinit(&w->sync_mutex);
    env_mutex_deinit(&w->verify_mutex);
    env_mutex_deinit(&w->make_mutex);
    env_mutex_deinit(&w->state);
    mem_free(w);
}

enum status wal_open(struct env *env, const char *dir, const struct wal_options *o,
                     wal_replay_fn replay, void *arg, struct wal **ret, struct err *err)
{
    struct wal *w = mem_zalloc(sizeof *w);
    if (!w)
        return err_set(err, ST_NO_MEMORY, "log: handle");
    env_mutex_init(&w->append_mutex);
    env_mutex_init(&w->sync_mutex);
    env_mutex_init(&w->verify_mutex);
    env_mutex_init(&w->make_mutex);
    env_mutex_init(&w->state);
    w->env = env;
    w->pinned = UINT64_MAX;
    w->piece_bytes = WAL__PIECE;
    w->dir = mem_strdup(dir);
    enum status st =
        w->dir ? fill_options(w, o, err) : err_set(err, ST_NO_MEMORY, "log: folder name");
    if (st == ST_OK && !w->o.read_only)
        st = env_mkdirs(env, dir, err);
    if (st == ST_OK)
        st = wal__recover(w, replay, arg, err);
    if (st != ST_OK) {
        wal_free(w);
        if (st != ST_POISONED)
            return st;
        /* There is no handle that could be poisoned: a sync failed, and the caller learns just
         * that. */
        if (err)
            err->status = ST_IO_ERROR;
        return ST_IO_ERROR;
    }
    *ret = w;
    return ST_OK;
}

enum status wal_close(struct wal *w, struct err *err)
{
    if (!w)
        return ST_OK;
    enum status st = ST_OK;
    if (!w->o.read_only) {
        /* What cannot be erased may come back, so it is told; the rest is synced all the same. */
        st = wal__poisoned(w, err);
        if (st == ST_OK)
            st = wal__erase(w, err);
        enum status synced = wal_sync(w, st == ST_OK ? err : NULL);
        if (st == ST_OK)
            st = synced;
        if (st == ST_OK) {
            st = wal__idle_marker(w, err);
            /* Without room for it the window of wal_format.h stays open, and nothing is lost. */
            if (st == ST_DISK_FULL)
                st = ST_OK;
        }
        wal__spare_give_up(w);
        wal__spares_trim(w);
    }
    wal_free(w);
    return st;
}

void wal_abandon(struct wal *w)
{
    if (w)
        wal_free(w);
}

/* The next segment with something unsynced before `target`, and how far it reaches. */
static struct wal__seg *next_unsynced(struct wal *w, struct wal_pos target,
                                      struct wal_pos *ret_reach)
{
    struct wal__seg *found = NULL;
    env_mutex_lock(&w->state);
    if (wal_pos_cmp(w->synced, target) < 0) {
        for (size_t i = 0; i < w->segs.n && !found; i++) {
            struct wal__seg *s = w->segs.v[i];
            struct wal_pos reach = {s->h.epoch, s->end};
            if (wal_pos_cmp(w->synced, reach) < 0) {
                found = s;
                *ret_reach = reach;
            }
        }
        ASSERT(found);
    }
    env_mutex_unlock(&w->state);
    return found;
}

enum status wal_sync(struct wal *w, struct err *err)
{
    if (w->o.read_only)
        return ST_OK;
    enum status st = wal__poisoned(w, err);
    if (st != ST_OK)
        return st;
    env_mutex_lock(&w->state);
    struct wal_pos target = w->end;
    bool done = wal_pos_cmp(w->synced, target) >= 0;
    env_mutex_unlock(&w->state);
    if (done)
        return ST_OK;
    env_mutex_lock(&w->sync_mutex);
    st = wal__poisoned(w, err);
    struct wal_pos reach;
    for (struct wal__seg *s; st == ST_OK && (s = next_unsynced(w, target, &reach)) != NULL;) {
        uint64_t t0 = env_mono_ns(w->env);
        st = env_sync(s->file, err);
        uint64_t took = env_mono_ns(w->env) - t0;
        if (st != ST_OK) {
            st = wal__poison(w, st, err);
            break;
        }
        env_mutex_lock(&w->state);
        w->synced = reach;
        w->syncs++;
        w->sync_ns += took;
        env_mutex_unlock(&w->state);
    }
    env_mutex_unlock(&w->sync_mutex);
    return st;
}

struct wal_pos wal_synced(struct wal *w)
{
    env_mutex_lock(&w->state);
    struct wal_pos at = w->synced;
    env_mutex_unlock(&w->state);
    return at;
}

bool wal_poisoned(struct wal *w)
{
    return atomic_load(&w->poisoned);
}

void wal_release(struct wal *w, uint64_t range, uint64_t index)
{
    env_mutex_lock(&w->state);
    struct wal__range *r = wal__range_get(w, range);
    uint64_t released = index == UINT64_MAX ? index : index + 1;
    if (r && r->released < released)
        r->released = released;
    env_mutex_unlock(&w->state);
}

uint64_t wal_worth_releasing(struct wal *w, uint64_t range, uint64_t index)
{
    uint64_t ret = 0;
    env_mutex_lock(&w->state);
    for (size_t i = 0; i < w->segs.n; i++) {
        const uint64_t *top = wal__map_find(&w->segs.v[i]->top, range);
        bool closed = w->segs.v[i] != w->current;
        if (top && *top != 0 && closed && *top - 1 <= index && *top - 1 > ret)
            ret = *top - 1;
    }
    env_mutex_unlock(&w->state);
    return ret;
}

void wal_stats(struct wal *w, struct wal_stats *ret)
{
    env_mutex_lock(&w->state);
    *ret = (struct wal_stats){
        .segments = w->segs.n,
        .spare_segments = w->spares.n,
        .bytes = w->total_bytes,
        .appends = w->appends,
        .records = w->records,
        .appended_bytes = w->appended_bytes,
        .syncs = w->syncs,
        .sync_ns = w->sync_ns,
        .end = w->end,
        .synced = w->synced,
        .dropped_tail_bytes = w->dropped_tail_bytes,
    };
    bool live = false;
    for (size_t i = 0; i < w->segs.n; i++) {
        const struct wal__seg *s = w->segs.v[i];
        live = live || wal__seg_needed(w, s);
        if (live)
            ret->live_bytes += s->end - WAL_SEG_PAGE;
    }
    if (w->segs.n)
        ret->first = (struct wal_pos){w->segs.v[0]->h.epoch, WAL_SEG_PAGE};
    env_mutex_unlock(&w->state);
}
