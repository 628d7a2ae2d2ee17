#include "storage/wal/wal_internal.h"

#include "base/buggify.h"

/* Where syncs are rare the disk is kept busy meanwhile, or the sync at a segment's end would hold up
 * its writer for the whole of it. */
enum { WRITE_BEHIND = 4 * 1024 * 1024 };
static const uint8_t zeros[WAL_GROUP_HEADER];

enum status wal__erase(struct wal *w, struct err *err)
{
    enum status st = wal__unstamp(w, err);
    if (st != ST_OK || !w->erase)
        return st;
    struct wal__seg *seg = w->current;
    uint64_t room = seg->h.bytes - seg->end;
    size_t len = room < sizeof zeros ? (size_t)room : sizeof zeros;
    st = len ? env_pwrite(seg->file, seg->end, zeros, len, err) : ST_OK;
    if (st != ST_OK)
        return st;
    /* Durable before anything else is written there: else a power cut could lose the erasure and
     * its successor, and keep the failed group. */
    env_mutex_lock(&w->sync_mutex);
    st = wal__poisoned(w, err);
    if (st == ST_OK) {
        st = env_sync(seg->file, err);
        if (st != ST_OK)
            st = wal__poison(w, st, err);
    }
    env_mutex_unlock(&w->sync_mutex);
    w->erase = st != ST_OK;
    return st;
}

static enum status check_records(const struct wal_record *r, size_t n, uint64_t *ret_length,
                                 struct err *err)
{
    uint64_t length = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = r[i].payload.len;
        if (len > WAL_PAYLOAD_MAX)
            return err_set(err, ST_TOO_LARGE, "log: a payload of %zu bytes, the limit is %d", len,
                           WAL_PAYLOAD_MAX);
        if (r[i].kind < WAL_ENTRY || r[i].kind > WAL_RELEASE)
            return err_set(err, ST_INVALID_ARGUMENT, "log: record kind %u", r[i].kind);
        length += WAL_RECORD_HEADER + len;
        if (length > WAL_GROUP_MAX)
            return err_set(err, ST_TOO_LARGE, "log: a group of more than %d bytes", WAL_GROUP_MAX);
    }
    *ret_length = length;
    return ST_OK;
}

/* Room in the current segment, or in a new one. */
static enum status find_room(struct wal *w, uint64_t need, bool house, struct err *err)
{
    const struct wal__seg *seg = w->current;
    uint64_t keep = house ? 0 : wal__reserve(seg->h.bytes);
    bool early = !house && seg->end > seg->h.bytes / 4 && BUGGIFY("wal: a segment ends early");
    if (seg->end + need + keep <= seg->h.bytes && !early)
        return ST_OK;
    return wal__roll(w, need, house, err);
}

static void write_behind(struct wal *w, const struct wal__seg *seg, struct wal_pos synced,
                         bool several)
{
    uint64_t from = w->behind.epoch == seg->h.epoch ? w->behind.offset : 0;
    if (synced.epoch == seg->h.epoch && synced.offset > from)
        from = synced.offset;
    /* Of a group in pieces it has the middle already; its last page is the next group's first. */
    uint64_t to = seg->end / WAL_SEG_PAGE * WAL_SEG_PAGE;
    if (to <= from || (to - from < WRITE_BEHIND && !several))
        return;
    env_write_behind(seg->file, from, to - from);
    w->behind = (struct wal_pos){seg->h.epoch, to};
}

static void account(struct wal *w, struct wal__seg *seg, const struct wal_record *r, size_t n,
                    const struct wal_group_header *g)
{
    uint64_t bytes = wal__group_bytes(g);
    seg->end += bytes;
    w->end = (struct wal_pos){seg->h.epoch, seg->end};
    w->mark = g->mark;
    w->low = g->low;
    if (n > 0)
        w->data_end = w->end;
    w->appends++;
    w->records += n;
    w->appended_bytes += bytes;
    wal__note(w, seg, g->offset, 0, r, n);
}

enum status wal__append_group(struct wal *w, const struct wal_record *records, size_t n, bool house,
                              uint64_t low, struct err *err)
{
    uint64_t length = 0;
    enum status st = check_records(records, n, &length, err);
    if (st == ST_OK)
        st = wal__write_reserve(w, length, err);
    if (st == ST_OK)
        st = wal__erase(w, err);
    if (st == ST_OK)
        st = find_room(w, WAL_GROUP_HEADER + wal__align(length), house, err);
    if (st != ST_OK)
        return st;
    struct wal__seg *seg = w->current;
    struct wal_group_header g = {
        .epoch = seg->h.epoch,
        .stamp = seg->h.stamp,
        .offset = seg->end,
        .length = (uint32_t)length,
        .count = (uint32_t)n,
        .incarnation = w->incarnation,
    };
    bool several = false;
    env_mutex_lock(&w->state);
    g.mark = w->synced;
    g.low = low > w->low ? low : w->low;
    st = wal__note_reserve(w, seg, records, n, err);
    env_mutex_unlock(&w->state);
    if (st != ST_OK)
        return st;
    st = wal__write_group(w, seg, records, n, &g, &several, err);
    if (st != ST_OK) {
        w->erase = true;
        enum status gone = wal__erase(w, NULL);
        return gone == ST_POISONED ? wal__poisoned(w, err) : st;
    }
    env_mutex_lock(&w->state);
    account(w, seg, records, n, &g);
    env_mutex_unlock(&w->state);
    write_behind(w, seg, g.mark, several);
    return ST_OK;
}

enum status wal_append(struct wal *w, const struct wal_record *records, size_t n,
                       struct wal_pos *ret_end, struct err *err)
{
    if (w->o.read_only)
        return err_set(err, ST_READ_ONLY, "log: opened read-only");
    env_mutex_lock(&w->append_mutex);
    enum status st = wal__poisoned(w, err);
    if (st == ST_OK && n > 0)
        st = wal__append_group(w, records, n, false, 0, err);
    if (st == ST_OK && ret_end)
        *ret_end = w->end; /* written only under append_mutex */
    env_mutex_unlock(&w->append_mutex);
    return st;
}

enum status wal__idle_marker(struct wal *w, struct err *err)
{
    env_mutex_lock(&w->append_mutex);
    enum status st = wal__poisoned(w, err);
    env_mutex_lock(&w->state);
    bool wanted = wal_pos_cmp(w->synced, w->end) == 0 && wal_pos_cmp(w->mark, w->data_end) < 0;
    env_mutex_unlock(&w->state);
    if (st == ST_OK && wanted)
        st = wal__append_group(w, NULL, 0, true, 0, err);
    env_mutex_unlock(&w->append_mutex);
    if (st == ST_OK && wanted)
        st = wal_sync(w, err);
    return st;
}
