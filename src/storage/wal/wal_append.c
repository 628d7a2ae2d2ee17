#include "storage/wal/wal_internal.h"

#include "base/alloc.h"
#include "base/buggify.h"
#include "base/hash.h"

/* Payloads up to this many bytes are copied beside their headers: one long write beats many short
 * pieces. */
enum { COPY_MAX = 2048, SCRATCH_KEEP = 4 * 1024 * 1024 };
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
    st = env_sync(seg->file, err);
    if (st != ST_OK)
        return wal__poison(w, st, err);
    w->erase = false;
    return ST_OK;
}

static enum status check_records(const struct wal_record *r, size_t n, uint64_t *ret_copied,
                                 size_t *ret_parts, uint64_t *ret_length, struct err *err)
{
    uint64_t copied = WAL_GROUP_HEADER, length = 0;
    size_t parts = 2;
    for (size_t i = 0; i < n; i++) {
        size_t len = r[i].payload.len;
        if (len > WAL_PAYLOAD_MAX)
            return err_set(err, ST_TOO_LARGE, "log: a payload of %zu bytes, the limit is %d", len,
                           WAL_PAYLOAD_MAX);
        if (r[i].kind < WAL_ENTRY || r[i].kind > WAL_RELEASE)
            return err_set(err, ST_INVALID_ARGUMENT, "log: record kind %u", r[i].kind);
        length += WAL_RECORD_HEADER + len;
        copied += WAL_RECORD_HEADER + (len <= COPY_MAX ? len : 0);
        parts += len <= COPY_MAX ? 0 : 2;
        if (length > WAL_GROUP_MAX)
            return err_set(err, ST_TOO_LARGE, "log: a group of more than %d bytes", WAL_GROUP_MAX);
    }
    *ret_copied = copied;
    *ret_parts = parts;
    *ret_length = length;
    return ST_OK;
}

static enum status reserve_scratch(struct wal *w, uint64_t copied, size_t parts, struct err *err)
{
    buf_clear(&w->scratch);
    if (w->scratch.cap > SCRATCH_KEEP && copied < SCRATCH_KEEP)
        buf_deinit(&w->scratch);
    if (buf_reserve(&w->scratch, copied + WAL_ALIGN) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "log: buffer for a group");
    if (parts > w->parts_cap) {
        struct bytes *v = mem_realloc(w->parts, parts * sizeof *v);
        if (!v)
            return err_set(err, ST_NO_MEMORY, "log: parts of a group");
        w->parts = v;
        w->parts_cap = parts;
    }
    return ST_OK;
}

/* Lays the group out in scratch and parts; both have room. Returns the number of parts. */
static size_t lay_out(struct wal *w, const struct wal_record *r, size_t n,
                      struct wal_group_header *g)
{
    uint8_t *base = w->scratch.data, *p = base + WAL_GROUP_HEADER, *from = base;
    uint32_t headers_crc = 0;
    size_t parts = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = r[i].payload.len;
        wal__record_encode(&r[i], crc32c(0, r[i].payload.data, len), p);
        headers_crc = crc32c(headers_crc, p, WAL_RECORD_HEADER);
        p += WAL_RECORD_HEADER;
        if (len > COPY_MAX) {
            w->parts[parts++] = BYTES(from, (size_t)(p - from));
            w->parts[parts++] = r[i].payload;
            from = p;
        } else if (len > 0) {
            memcpy(p, r[i].payload.data, len);
            p += len;
        }
    }
    size_t pad = (size_t)(wal__align(g->length) - g->length);
    memset(p, 0, pad);
    p += pad;
    if (p != from)
        w->parts[parts++] = BYTES(from, (size_t)(p - from));
    ASSERT((size_t)(p - base) <= w->scratch.cap && parts <= w->parts_cap);
    g->records_crc = headers_crc;
    wal__group_encode(g, base);
    return parts;
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

static void write_behind(struct wal *w, const struct wal__seg *seg, struct wal_pos synced)
{
    uint64_t from = w->behind.epoch == seg->h.epoch ? w->behind.offset : 0;
    if (synced.epoch == seg->h.epoch && synced.offset > from)
        from = synced.offset;
    if (seg->end - from < WRITE_BEHIND)
        return;
    env_write_behind(seg->file, from, seg->end - from);
    w->behind = (struct wal_pos){seg->h.epoch, seg->end};
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
    uint64_t copied = 0, length = 0;
    size_t parts = 0;
    enum status st = check_records(records, n, &copied, &parts, &length, err);
    if (st == ST_OK)
        st = reserve_scratch(w, copied, parts, err);
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
    env_mutex_lock(&w->state);
    g.mark = w->synced;
    g.low = low > w->low ? low : w->low;
    st = wal__note_reserve(w, seg, records, n, err);
    env_mutex_unlock(&w->state);
    if (st != ST_OK)
        return st;
    parts = lay_out(w, records, n, &g);
    st = env_pwritev(seg->file, seg->end, w->parts, parts, err);
    if (st != ST_OK) {
        w->erase = true;
        enum status gone = wal__erase(w, NULL);
        return gone == ST_POISONED ? wal__poisoned(w, err) : st;
    }
    env_mutex_lock(&w->state);
    account(w, seg, records, n, &g);
    env_mutex_unlock(&w->state);
    write_behind(w, seg, g.mark);
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
