#include "storage/wal/wal_internal.h"

#include "base/alloc.h"

/* A release that frees several segments at once (a checkpoint does) will be followed by as much new
 * log: giving them up would be to write everything twice, as zeros first. Releases are not all alike:
 * only after so many smaller ones in a row is one less kept. */
enum { KEEP_SPARES_MAX = 4, KEEP_FOR = 8 };

/* The oldest epoch still needed: what lies below is released by all its ranges and not being
 * verified. */
static uint64_t wanted_low(struct wal *w)
{
    size_t i = 0;
    while (i + 1 < w->segs.n) {
        const struct wal__seg *s = w->segs.v[i];
        if (s->h.epoch >= w->pinned || s->readers || wal__seg_needed(w, s))
            break;
        i++;
    }
    return w->segs.v[i]->h.epoch;
}

static bool in_log(struct wal *w, uint64_t range, uint64_t low)
{
    for (size_t i = 0; i < w->segs.n; i++) {
        if (w->segs.v[i]->h.epoch >= low && wal__map_find(&w->segs.v[i]->top, range))
            return true;
    }
    return false;
}

static size_t add_range(struct wal *w, const struct wal__range *r, uint64_t low,
                        struct wal_record *out)
{
    size_t n = 0;
    bool gone = r->released == UINT64_MAX;
    if (r->hs_epoch && r->hs_epoch < low && !gone)
        out[n++] = (struct wal_record){.range = r->range,
                                       .term = r->hs_term,
                                       .index = r->hs_index,
                                       .kind = WAL_HARD_STATE,
                                       .payload = buf_bytes(&r->hs)};
    bool stale = r->written != r->released || r->written_epoch < low;
    if (r->released && stale && (!gone || in_log(w, r->range, low)))
        out[n++] = (struct wal_record){
            .range = r->range, .index = gone ? UINT64_MAX : r->released - 1, .kind = WAL_RELEASE};
    return n;
}

/* One group that carries what must outlive the segments below `low`: the newest hard states, and
 * releases. */
static enum status write_carry(struct wal *w, uint64_t *ret_low, bool *ret_wrote, struct err *err)
{
    struct wal_record *records = NULL;
    size_t n = 0;
    env_mutex_lock(&w->append_mutex);
    enum status st = wal__poisoned(w, err);
    if (st != ST_OK)
        goto out;
    env_mutex_lock(&w->state);
    uint64_t low = wanted_low(w);
    bool raise = low > w->low;
    records = mem_alloc((w->n_ranges * 2 + 1) * sizeof *records);
    for (size_t i = 0; records && i < w->n_ranges; i++)
        n += add_range(w, &w->ranges[i], low, records + n);
    env_mutex_unlock(&w->state);
    if (!records) {
        st = err_set(err, ST_NO_MEMORY, "log: releases");
        goto out;
    }
    if (raise || n > 0)
        st = wal__append_group(w, records, n, true, low, err);
    if (st == ST_OK) {
        *ret_low = low;
        *ret_wrote = raise || n > 0;
    }
out:
    env_mutex_unlock(&w->append_mutex);
    mem_free(records);
    return st;
}

/* How many spares stay, after a release that freed n segments: those, as they will be wanted before
 * the next release, and still what is to lie ready when they are used up. Without the latter one would
 * be made at the end of every round and given up after the next release. */
static void settle_spares(struct wal *w, size_t n)
{
    size_t keep = (n < KEEP_SPARES_MAX ? n : KEEP_SPARES_MAX) + w->o.spare_segments;
    if (keep < w->keep_spares && ++w->smaller_releases < KEEP_FOR)
        return;
    if (keep < w->keep_spares)
        keep = w->keep_spares - 1;
    w->keep_spares = keep;
    w->smaller_releases = 0;
}

/* Takes the segments below `low` out of the log. The group that says so is synced. */
static enum status recycle(struct wal *w, uint64_t low, struct err *err)
{
    size_t n = 0;
    env_mutex_lock(&w->state);
    ASSERT(w->low >= low);
    /* A verification or a read may have begun since `low` was settled: what it reads waits for the
     * next time. */
    while (n + 1 < w->segs.n && w->segs.v[n]->h.epoch < low && w->segs.v[n]->h.epoch < w->pinned &&
           !w->segs.v[n]->readers)
        n++;
    if (w->low_synced < low)
        w->low_synced = low;
    bool room = wal__segs_reserve(&w->spares, n);
    if (room) {
        settle_spares(w, n);
        memcpy(w->spares.v + w->spares.n, w->segs.v, n * sizeof *w->segs.v);
        w->spares.n += n;
        wal__segs_remove(&w->segs, 0, n);
        wal__index_trim(w, w->segs.v[0]->h.epoch);
    }
    env_mutex_unlock(&w->state);
    return room ? ST_OK : err_set(err, ST_NO_MEMORY, "log: segment list");
}

/* The spare to give up, if there are too many; those too small for what is asked now go first. */
static struct wal__seg *surplus(struct wal *w)
{
    struct wal__seg *found = NULL;
    env_mutex_lock(&w->state);
    uint64_t want = wal__next_size(w);
    for (size_t i = 0; i < w->spares.n && !found; i++) {
        uint64_t bytes = w->spares.v[i]->h.bytes;
        if (bytes < want || bytes > w->o.segment_bytes || w->spares.n > w->keep_spares) {
            found = w->spares.v[i];
            wal__segs_remove(&w->spares, i, 1);
            w->total_bytes -= bytes;
        }
    }
    env_mutex_unlock(&w->state);
    return found;
}

static enum status shrink(struct wal *w, struct err *err)
{
    enum status st = ST_OK;
    for (struct wal__seg *s; st == ST_OK && (s = surplus(w)) != NULL;) {
        st = wal__seg_unlink(w->env, w->dir, s->slot, err);
        wal__seg_free(s);
    }
    return st;
}

void wal__spares_trim(struct wal *w)
{
    struct err ignored; /* what stays is found by the next opening */
    env_mutex_lock(&w->state);
    w->keep_spares = w->o.spare_segments;
    env_mutex_unlock(&w->state);
    enum status st = shrink(w, &ignored);
    (void)st;
}

enum status wal_tidy(struct wal *w, struct err *err)
{
    if (w->o.read_only)
        return ST_OK;
    uint64_t low = 0;
    bool wrote = false;
    env_mutex_lock(&w->state);
    bool was_synced = wal_pos_cmp(w->synced, w->end) == 0;
    uint64_t low_before = w->segs.v[0]->h.epoch;
    env_mutex_unlock(&w->state);
    enum status st = write_carry(w, &low, &wrote, err);
    /* A log that syncs only now and then (interval, off) is not made to sync for a mere note of
     * releases. */
    if (st == ST_OK && (low > low_before || (wrote && was_synced)))
        st = wal_sync(w, err);
    if (st == ST_OK && low > low_before)
        st = recycle(w, low, err);
    if (st == ST_OK)
        st = wal__idle_marker(w, err);
    if (st == ST_OK)
        st = shrink(w, err);
    return st;
}

enum status wal_maintain(struct wal *w, struct err *err)
{
    enum status st = wal_tidy(w, err);
    for (uint64_t pause_ms = 0; st == ST_OK && pause_ms != UINT64_MAX;)
        st = wal_make_spare(w, &pause_ms, err);
    return st;
}
