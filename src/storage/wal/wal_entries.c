/* wal_entries.c - old entries out of an open log, and mending one whose payload is rotten.
 *
 * A walk goes along the headers of groups and records from the nearest sample or cursor, with the
 * segment pinned, and takes the lock only between runs of entries. Each header is checked by its own
 * checksum; the payloads of others are stepped over.
 */
#include "storage/wal/wal_internal.h"

#include "base/alloc.h"
#include "base/hash.h"

enum { LOOK_BACK = 64 * 1024, DIRECT_MIN = 64 * 1024 };

struct walk {
    struct wal *w;
    uint64_t range;
    struct wal__seg *seg; /* pinned */
    uint64_t end;         /* of the segment's groups, as of the call */
    size_t ahead;         /* worth reading in one go */
    struct wal__window win;
    struct wal_group_header g;
    bool in_group;
    uint64_t group; /* offset */
    uint32_t at;
};

static enum status rotten(const struct walk *k, uint64_t offset, const char *text, struct err *err)
{
    return err_set(err, ST_CORRUPT, "log %s/%08u.seg, offset %llu, range %llu: %s", k->w->dir,
                   k->seg->slot, (unsigned long long)offset, (unsigned long long)k->range, text);
}

static enum status look(struct walk *k, uint64_t off, size_t len, const uint8_t **ret,
                        struct err *err)
{
    uint64_t limit = off + len + k->ahead < k->end ? off + len + k->ahead : k->end;
    return wal__window_get(&k->win, k->seg->file, off, len, limit, ret, err);
}

static enum status enter_group(struct walk *k, struct err *err)
{
    const uint8_t *p;
    if (k->group + WAL_GROUP_HEADER > k->end)
        return rotten(k, k->group, "the entry that should follow is not there", err);
    enum status st = look(k, k->group, WAL_GROUP_HEADER, &p, err);
    if (st != ST_OK)
        return st;
    if (!wal__group_decode(p, &k->g) || !wal__group_is_live(&k->g, &k->seg->h, k->group))
        return rotten(k, k->group, "group header", err);
    k->in_group = true;
    return ST_OK;
}

/* The next record, and where its header is; `at` goes behind it. */
static enum status next_record(struct walk *k, struct wal_record_header *ret, uint64_t *ret_off,
                               struct err *err)
{
    enum status st = ST_OK;
    while (st == ST_OK && (!k->in_group || k->at >= k->g.length)) {
        if (k->in_group) {
            k->group += wal__group_bytes(&k->g);
            k->at = 0;
        }
        k->in_group = false;
        st = enter_group(k, err);
    }
    const uint8_t *p;
    uint64_t off = k->group + WAL_GROUP_HEADER + k->at;
    if (st == ST_OK && k->g.length - k->at < WAL_RECORD_HEADER)
        st = rotten(k, off, "the group ends inside a record header", err);
    if (st == ST_OK)
        st = look(k, off, WAL_RECORD_HEADER, &p, err);
    if (st != ST_OK)
        return st;
    if (!wal__record_decode(p, ret))
        return rotten(k, off, "record header checksum", err);
    if (ret->length > k->g.length - k->at - WAL_RECORD_HEADER)
        return rotten(k, off, "the record is longer than its group", err);
    k->at += WAL_RECORD_HEADER + ret->length;
    *ret_off = off;
    return ST_OK;
}

/* On to the entry at `index`, which lies somewhere ahead in this run. */
static enum status seek(struct walk *k, uint64_t index, struct wal_record_header *ret,
                        uint64_t *ret_off, struct err *err)
{
    for (;;) {
        enum status st = next_record(k, ret, ret_off, err);
        if (st != ST_OK)
            return st;
        if (ret->range != k->range || ret->kind != WAL_ENTRY || ret->index < index)
            continue;
        if (ret->index > index)
            return rotten(k, *ret_off, "entries do not follow one another", err);
        return ST_OK;
    }
}

/* Under `state`. What was read ahead is worth something only as long as the segment is pinned. */
static void pin(struct walk *k, struct wal__seg *seg)
{
    if (k->seg == seg)
        return;
    if (k->seg)
        k->seg->readers--;
    if (seg)
        seg->readers++;
    k->seg = seg;
    k->win.file = NULL;
}

/* Pins the place of `index`. NOT_FOUND; or the entries are not those any more that they were
 * (`voids`). */
static enum status begin_run(struct walk *k, uint64_t index, const uint64_t *voids,
                             struct wal__sample *ret_from, uint64_t *ret_until, uint64_t *ret_voids,
                             struct err *err)
{
    struct wal *w = k->w;
    enum status st = ST_NOT_FOUND;
    env_mutex_lock(&w->state);
    const struct wal__range *r = wal__range_find(w, k->range);
    if (r && (!voids || *voids == r->voids) && wal__index_find(r, index, ret_from, ret_until)) {
        uint64_t first = w->segs.v[0]->h.epoch;
        ASSERT(ret_from->epoch >= first && ret_from->epoch - first < w->segs.n);
        pin(k, w->segs.v[ret_from->epoch - first]);
        k->end = k->seg->end;
        k->group = ret_from->group;
        k->at = ret_from->at;
        k->in_group = false;
        *ret_voids = r->voids;
        st = ST_OK;
    }
    env_mutex_unlock(&w->state);
    if (st == ST_OK && k->at > 0)
        st = enter_group(k, err);
    else if (st != ST_OK)
        err_set(err, st, "log %s, range %llu: no entry %llu", w->dir, (unsigned long long)k->range,
                (unsigned long long)index);
    return st;
}

/* Everything before `next` was read: the next one goes on from here. */
static void keep_place(struct walk *k, const struct wal__sample *from, uint64_t voids,
                       uint64_t next)
{
    env_mutex_lock(&k->w->state);
    struct wal__range *r = wal__range_find(k->w, k->range);
    if (r && r->voids == voids && next > from->index)
        wal__index_went(r, from, &(struct wal__sample){next, k->seg->h.epoch, k->group, k->at});
    env_mutex_unlock(&k->w->state);
}

static void end_walk(struct walk *k)
{
    env_mutex_lock(&k->w->state);
    pin(k, NULL);
    env_mutex_unlock(&k->w->state);
    wal__window_deinit(&k->win);
}

static enum status add_room(struct wal_entries *e, size_t len, struct err *err)
{
    if (e->n == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : 16;
        struct wal_record *v = mem_realloc(e->v, cap * sizeof *v);
        if (!v)
            return err_set(err, ST_NO_MEMORY, "log: list of entries");
        e->v = v;
        e->cap = cap;
    }
    if (buf_reserve(&e->bytes, len) != ST_OK)
        return err_set(err, ST_NO_MEMORY, "log: %zu bytes of an entry", len);
    return ST_OK;
}

static enum status take_entry(struct walk *k, const struct wal_record_header *h, uint64_t off,
                              struct wal_entries *e, struct err *err)
{
    uint64_t at = off + WAL_RECORD_HEADER;
    enum status st = add_room(e, h->length, err);
    if (st != ST_OK)
        return st;
    uint8_t *to = e->bytes.data + e->bytes.len;
    const uint8_t *p;
    if (h->length >= DIRECT_MIN && !wal__window_has(&k->win, k->seg->file, at, h->length)) {
        size_t got;
        st = env_pread(k->seg->file, at, to, h->length, &got, err);
        if (st == ST_OK && got < h->length)
            memset(to + got, 0, h->length - got);
    } else if (h->length > 0) {
        st = look(k, at, h->length, &p, err);
        if (st == ST_OK)
            memcpy(to, p, h->length);
    }
    if (st != ST_OK)
        return st;
    if (crc32c(0, to, h->length) != h->payload_crc)
        return rotten(k, off, "payload checksum", err);
    e->bytes.len += h->length;
    e->v[e->n++] = (struct wal_record){.range = h->range,
                                       .term = h->term,
                                       .index = h->index,
                                       .kind = h->kind,
                                       .payload = {.len = h->length}};
    return ST_OK;
}

/* The buffer does not move any more. */
static void point(struct wal_entries *e)
{
    const uint8_t *p = e->bytes.data;
    for (size_t i = 0; i < e->n; i++) {
        size_t len = e->v[i].payload.len;
        e->v[i].payload = len ? BYTES(p, len) : BYTES_EMPTY;
        p = len ? p + len : p;
    }
}

/* Entries of one run: up to `until`, or when the budget is used up (then *ret_full). */
static enum status read_run(struct walk *k, uint64_t next, uint64_t until, size_t max_bytes,
                            struct wal_entries *e, bool *ret_full, struct err *err)
{
    for (; next < until; next++) {
        struct wal_record_header h;
        uint64_t off;
        uint64_t group = k->group;
        uint32_t at = k->at;
        enum status st = seek(k, next, &h, &off, err);
        if (st != ST_OK)
            return st;
        size_t used = e->bytes.len + e->n * WAL_RECORD_HEADER;
        if (e->n > 0 && used + WAL_RECORD_HEADER + h.length > max_bytes) {
            k->group = group; /* back before what was not taken */
            k->at = at;
            *ret_full = true;
            return ST_OK;
        }
        st = take_entry(k, &h, off, e, err);
        if (st != ST_OK)
            return st;
    }
    return ST_OK;
}

enum status wal_read_entries(struct wal *w, uint64_t range, uint64_t from, uint64_t to,
                             size_t max_bytes, struct wal_entries *ret, struct err *err)
{
    struct walk k = {.w = w, .range = range};
    struct wal__sample place;
    uint64_t until, voids = 0;
    bool full = false;
    enum status st = ST_OK;
    if (to < from)
        return err_set(err, ST_INVALID_ARGUMENT, "log: entries from %llu to %llu",
                       (unsigned long long)from, (unsigned long long)to);
    ret->n = 0;
    buf_clear(&ret->bytes);
    k.ahead = max_bytes < 1024 * 1024 ? max_bytes + LOOK_BACK : 1024 * 1024;
    for (uint64_t next = from; st == ST_OK && !full && next <= to && next >= from;
         next = from + ret->n) {
        st = begin_run(&k, next, ret->n ? &voids : NULL, &place, &until, &voids, err);
        if (st == ST_OK)
            st = read_run(&k, next, until > to ? to + 1 : until, max_bytes, ret, &full, err);
        if (st == ST_OK)
            keep_place(&k, &place, voids, from + ret->n);
        /* What follows is not in the log any more, or was made void meanwhile. */
        if (st == ST_NOT_FOUND && ret->n > 0) {
            st = ST_OK;
            break;
        }
    }
    end_walk(&k);
    if (st != ST_OK && st != ST_CORRUPT)
        ret->n = 0;
    point(ret);
    return st;
}

void wal_entries_deinit(struct wal_entries *e)
{
    mem_free(e->v);
    buf_deinit(&e->bytes);
    *e = (struct wal_entries){0};
}

static enum status write_payload(struct walk *k, const struct wal_record *e,
                                 const struct wal_record_header *h, uint64_t off, struct err *err)
{
    struct wal *w = k->w;
    if (h->term != e->term || h->length != e->payload.len ||
        h->payload_crc != crc32c(0, e->payload.data, e->payload.len))
        return err_set(err, ST_PRECONDITION_FAILED,
                       "log %s/%08u.seg, offset %llu, range %llu: entry %llu is another one",
                       w->dir, k->seg->slot, (unsigned long long)off, (unsigned long long)e->range,
                       (unsigned long long)e->index);
    enum status st = ST_OK;
    if (e->payload.len)
        st =
            env_pwrite(k->seg->file, off + WAL_RECORD_HEADER, e->payload.data, e->payload.len, err);
    if (st != ST_OK)
        return st;
    env_mutex_lock(&w->sync_mutex);
    st = wal__poisoned(w, err);
    if (st == ST_OK) {
        st = env_sync(k->seg->file, err);
        if (st != ST_OK)
            st = wal__poison(w, st, err);
    }
    env_mutex_unlock(&w->sync_mutex);
    return st;
}

enum status wal_repair(struct wal *w, const struct wal_record *e, struct err *err)
{
    struct walk k = {.w = w, .range = e->range, .ahead = LOOK_BACK};
    struct wal__sample place;
    struct wal_record_header h;
    uint64_t until, voids, off;
    if (w->o.read_only)
        return err_set(err, ST_READ_ONLY, "log: opened read-only");
    enum status st = wal__poisoned(w, err);
    if (st != ST_OK)
        return st;
    st = begin_run(&k, e->index, NULL, &place, &until, &voids, err);
    if (st == ST_OK)
        st = seek(&k, e->index, &h, &off, err);
    if (st == ST_OK)
        st = write_payload(&k, e, &h, off, err);
    end_walk(&k);
    return st;
}
