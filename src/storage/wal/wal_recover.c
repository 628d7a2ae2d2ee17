#include "storage/wal/wal_internal.h"

#include "base/alloc.h"
#include "base/hash.h"
#include <stdlib.h>

enum { SPARE_LOOK_BYTES = 1 << 20 }; /* of each, at every opening */

static enum status read_header(struct wal__seg *s, const char *path, enum wal_head *ret,
                               struct err *err)
{
    uint8_t page[WAL_SEG_HEADER];
    size_t got;
    enum status st = env_pread(s->file, 0, page, sizeof page, &got, err);
    if (st != ST_OK)
        return st;
    *ret = got == sizeof page ? wal__seg_decode(page, &s->h) : WAL_HEAD_BAD;
    if (*ret == WAL_HEAD_NEWER)
        return err_set(err, ST_FORMAT_NEWER,
                       "log %s: format version %u, this program knows up to %d", path, s->h.version,
                       WAL_FORMAT_VERSION);
    if (*ret == WAL_HEAD_OK && s->h.epoch != 0 && s->h.slot != s->slot)
        *ret = WAL_HEAD_BAD; /* another segment's file under this name */
    return ST_OK;
}

static enum status add_file(struct env *env, const char *dir, uint32_t slot, bool read_only,
                            struct wal__load *l, struct err *err)
{
    struct wal__seg *s = mem_zalloc(sizeof *s);
    char *path = wal__seg_path(dir, slot);
    enum wal_head head = WAL_HEAD_BAD;
    enum status st = ST_NO_MEMORY;
    if (!s || !path || !wal__segs_reserve(&l->live, 1) || !wal__segs_reserve(&l->spare, 1) ||
        !wal__segs_reserve(&l->bad, 1)) {
        err_set(err, st, "log: segment list");
        goto out;
    }
    s->slot = slot;
    st = env_open(env, path, read_only ? ENV_READ : ENV_READ | ENV_WRITE, &s->file, err);
    if (st == ST_OK)
        st = read_header(s, path, &head, err);
    uint64_t size = 0;
    if (st == ST_OK && head == WAL_HEAD_BAD)
        st = env_size(s->file, &size, err);
    if (st != ST_OK)
        goto out;
    struct wal__segs *to = head == WAL_HEAD_BAD ? &l->bad : s->h.epoch == 0 ? &l->spare : &l->live;
    if (head == WAL_HEAD_BAD)
        s->h = (struct wal_seg_header){.bytes = size};
    else
        l->bytes += s->h.bytes;
    if (slot >= l->next_slot)
        l->next_slot = slot + 1;
    s->end = WAL_SEG_PAGE;
    to->v[to->n++] = s;
    s = NULL;
out:
    wal__seg_free(s);
    mem_free(path);
    return st;
}

static int by_epoch(const void *a, const void *b)
{
    const struct wal__seg *x = *(struct wal__seg *const *)a, *y = *(struct wal__seg *const *)b;
    return (x->h.epoch > y->h.epoch) - (x->h.epoch < y->h.epoch);
}

/* Keeps the newest contiguous run of epochs in `live`; what lies below is spare, or something is
 * missing (wal__load_check). */
static enum status arrange(const char *dir, struct wal__load *l, struct err *err)
{
    struct wal__segs *live = &l->live;
    if (live->n == 0)
        return ST_OK;
    qsort(live->v, live->n, sizeof *live->v, by_epoch);
    for (size_t i = 1; i < live->n; i++) {
        if (live->v[i]->h.epoch == live->v[i - 1]->h.epoch)
            return err_set(err, ST_CORRUPT,
                           "log %s/%08u.seg, offset 24: the epoch is also that of %08u.seg", dir,
                           live->v[i]->slot, live->v[i - 1]->slot);
    }
    size_t first = live->n - 1;
    uint64_t low = live->v[first]->h.low;
    while (first > 0 && live->v[first - 1]->h.epoch + 1 == live->v[first]->h.epoch &&
           live->v[first - 1]->h.epoch >= low)
        first--;
    if (!wal__segs_reserve(&l->spare, first))
        return err_set(err, ST_NO_MEMORY, "log: segment list");
    memcpy(l->spare.v + l->spare.n, live->v, first * sizeof *live->v);
    l->spare.n += first;
    wal__segs_remove(live, 0, first);
    return ST_OK;
}

enum status wal__load_dir(struct env *env, const char *dir, bool read_only, struct wal__load *l,
                          struct err *err)
{
    struct buf names = BUF_INIT;
    *l = (struct wal__load){0};
    enum status st = env_list(env, dir, &names, err);
    for (size_t at = 0; st == ST_OK && at < names.len;) {
        const char *name = (const char *)names.data + at;
        uint32_t slot;
        if (wal__seg_slot(name, &slot))
            st = add_file(env, dir, slot, read_only, l, err);
        at += strlen(name) + 1;
    }
    if (st == ST_OK)
        st = arrange(dir, l, err);
    buf_deinit(&names);
    return st;
}

void wal__load_deinit(struct wal__load *l)
{
    wal__segs_deinit(&l->live);
    wal__segs_deinit(&l->spare);
    wal__segs_deinit(&l->bad);
}

enum status wal__load_check(const char *dir, const struct wal__load *l, uint64_t low,
                            struct err *err)
{
    if (l->live.n == 0 || l->live.v[0]->h.epoch <= low)
        return ST_OK;
    unsigned long long missing = l->live.v[0]->h.epoch - 1;
    if (l->bad.n)
        return err_set(
            err, ST_CORRUPT,
            "log %s/%08u.seg, offset 0, range 0: the header is damaged; epoch %llu is missing", dir,
            l->bad.v[0]->slot, missing);
    return err_set(
        err, ST_CORRUPT,
        "log %s: the segment of epoch %llu is missing (before %08u.seg, offset 0, range 0)", dir,
        missing, l->live.v[0]->slot);
}

/* Up to `limit`. */
static enum status check_hidden(struct wal__window *win, const char *dir, const struct wal__seg *s,
                                uint64_t newest, uint64_t limit, const char *header,
                                struct err *err)
{
    struct wal_group_header g;
    uint64_t off;
    enum status st =
        wal__find_group(win, s->file, NULL, newest, WAL_SEG_PAGE, limit, &off, &g, err);
    if (st == ST_OK && off < limit)
        st = err_set(err, ST_CORRUPT,
                     "log %s/%08u.seg, offset 0, range 0: the header %s, groups of epoch %llu lie "
                     "behind it",
                     dir, s->slot, header, (unsigned long long)g.epoch);
    return st;
}

/* A spare whose first group is of a newer epoch than the log is worth reading to its end: its header may
 * have been written and never have arrived. The group may not have arrived either, so the beginning of
 * every spare is read for others. */
static enum status spare_limit(const struct wal__seg *s, uint64_t newest, uint64_t *ret,
                               struct err *err)
{
    uint8_t first[WAL_GROUP_HEADER];
    struct wal_group_header g;
    size_t got;
    enum status st = env_pread(s->file, WAL_SEG_PAGE, first, sizeof first, &got, err);
    bool newer = st == ST_OK && got == sizeof first && wal__group_decode(first, &g) &&
                 g.epoch > newest && g.offset == WAL_SEG_PAGE;
    *ret = newer || s->h.bytes < SPARE_LOOK_BYTES ? s->h.bytes : SPARE_LOOK_BYTES;
    return st;
}

enum status wal__load_check_hidden(const char *dir, const struct wal__load *l, struct err *err)
{
    uint64_t newest = l->live.n ? l->live.v[l->live.n - 1]->h.epoch : 0, limit;
    struct wal__window win = {0};
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < l->bad.n; i++) {
        const struct wal__seg *s = l->bad.v[i];
        st = check_hidden(&win, dir, s, newest, s->h.bytes, "is damaged", err);
    }
    for (size_t i = 0; st == ST_OK && i < l->spare.n; i++) {
        const struct wal__seg *s = l->spare.v[i];
        st = spare_limit(s, newest, &limit, err);
        if (st == ST_OK)
            st = check_hidden(&win, dir, s, newest, limit, "calls it a spare", err);
    }
    wal__window_deinit(&win);
    return st;
}

struct replay {
    struct wal *w;
    wal_replay_fn fn;
    void *arg;
    struct wal_pos data_end;
};

static enum status stop_at_rot(void *arg, struct wal__seg *seg, const struct wal_flaw *f,
                               struct err *err)
{
    struct replay *rp = arg;
    if (f->newer)
        return err_set(err, ST_FORMAT_NEWER,
                       "log %s/%08u.seg, offset %llu: %s; format version %d is known here",
                       rp->w->dir, seg->slot, (unsigned long long)f->offset, f->text,
                       WAL_FORMAT_VERSION);
    return err_set(err, ST_CORRUPT,
                   "log %s/%08u.seg, offset %llu, range %llu: %s, and the log was synced beyond it",
                   rp->w->dir, seg->slot, (unsigned long long)f->offset,
                   (unsigned long long)f->range, f->text);
}

static enum status replay_record(struct replay *rp, struct wal__seg *seg,
                                 const struct wal_group_header *g, uint64_t place,
                                 const struct wal_record *r, struct err *err)
{
    enum status st = wal__note_reserve(rp->w, seg, r, 1, err);
    if (st != ST_OK)
        return st;
    wal__note(rp->w, seg, g->offset, (uint32_t)place, r, 1);
    struct wal_pos pos = {g->epoch, g->offset + WAL_GROUP_HEADER + place};
    return rp->fn ? rp->fn(rp->arg, r, pos, err) : ST_OK;
}

static void replayed(struct replay *rp, struct wal__seg *seg, const struct wal_group_header *g)
{
    seg->end = g->offset + wal__group_bytes(g);
    if (g->count)
        rp->data_end = (struct wal_pos){g->epoch, seg->end};
}

static enum status replay_group(void *arg, struct wal__seg *seg, const struct wal_group_header *g,
                                const uint8_t *body, struct err *err)
{
    struct replay *rp = arg;
    struct wal_record r;
    uint64_t at = 0, place;
    while (wal__group_next(g, body, &at, &r, &place)) {
        enum status st = replay_record(rp, seg, g, place, &r, err);
        if (st != ST_OK)
            return st;
    }
    replayed(rp, seg, g);
    return ST_OK;
}

/* keep_rotten: what is sound of the group is replayed, of the rest what its header says. */
static enum status replay_damaged(void *arg, struct wal__seg *seg, const struct wal_group_header *g,
                                  const uint8_t *body, const struct wal_flaw *f, struct err *err)
{
    struct replay *rp = arg;
    struct wal_record r;
    struct wal_record_header h;
    uint64_t at = 0, place;
    while (wal__group_next(g, body, &at, &r, &place)) {
        bool sound = wal__record_decode(body + place, &h) &&
                     crc32c(0, r.payload.data, r.payload.len) == h.payload_crc;
        if (!sound && r.kind != WAL_ENTRY && r.kind != WAL_HARD_STATE)
            return stop_at_rot(arg, seg, f, err);
        if (!sound) {
            r.rotten = true;
            r.payload = BYTES_EMPTY;
        }
        enum status st = replay_record(rp, seg, g, place, &r, err);
        if (st != ST_OK)
            return st;
    }
    replayed(rp, seg, g);
    return ST_OK;
}

/* A vote that nobody can read any more must not be forgotten. */
static enum status check_hard_states(const struct wal *w, struct err *err)
{
    for (size_t i = 0; i < w->n_ranges; i++) {
        const struct wal__range *r = &w->ranges[i];
        if (r->hs_rotten && r->released != UINT64_MAX)
            return err_set(err, ST_CORRUPT,
                           "log %s, epoch %llu, range %llu: the newest hard state is rotten",
                           w->dir, (unsigned long long)r->hs_epoch, (unsigned long long)r->range);
    }
    return ST_OK;
}

/* Segments behind the end hold only groups that a hole parts from the log. From the newest back,
 * each for good before the next, so that a crash in between leaves no gap in the epochs. */
static enum status drop_behind(struct wal__load *l, size_t keep, bool read_only, struct err *err)
{
    if (!wal__segs_reserve(&l->spare, l->live.n))
        return err_set(err, ST_NO_MEMORY, "log: segment list");
    while (l->live.n > keep) {
        struct wal__seg *s = l->live.v[l->live.n - 1];
        struct wal_seg_header h = {.slot = s->slot, .bytes = s->h.bytes};
        enum status st = read_only ? ST_OK : wal__seg_write_header(s, &h, err);
        if (st == ST_OK && !read_only)
            st = env_sync(s->file, err);
        if (st != ST_OK)
            return st;
        l->live.n--;
        l->spare.v[l->spare.n++] = s;
    }
    return ST_OK;
}

static enum status rewrite(struct wal__seg *s, uint64_t from, struct wal__window *win,
                           struct err *err)
{
    enum { STEP = 256 * 1024 };
    enum status st = ST_OK;
    win->len = 0;
    while (st == ST_OK && from < s->end) {
        size_t len = s->end - from < STEP ? (size_t)(s->end - from) : STEP;
        const uint8_t *p;
        st = wal__window_get(win, s->file, from, len, s->end, &p, err);
        if (st == ST_OK)
            st = env_pwrite(s->file, from, p, len, err);
        from += len;
    }
    return st;
}

/* What was replayed counts as durable from now on, so it is made so. A process that died of a
 * failed sync leaves pages that look clean but never reached the disk: writing them anew is the
 * only way to be sure. */
static enum status settle(struct wal__scan *s, const struct wal__load *l, struct err *err)
{
    static const uint8_t zeros[WAL_GROUP_HEADER];
    struct wal__seg *last = l->live.v[l->live.n - 1];
    enum status st = ST_OK;
    /* Right behind the end too: a torn group, or one whose erasure we see but the disk does not. */
    uint64_t room = last->h.bytes - last->end;
    if (room)
        st = env_pwrite(last->file, last->end, zeros, room < sizeof zeros ? room : sizeof zeros,
                        err);
    for (size_t i = 0; st == ST_OK && i < l->live.n; i++) {
        struct wal__seg *seg = l->live.v[i];
        if (seg->h.epoch < s->mark.epoch)
            continue;
        uint64_t from = seg->h.epoch == s->mark.epoch ? s->mark.offset : WAL_SEG_PAGE;
        if (seg->h.epoch > s->mark.epoch) {
            struct wal_seg_header h = seg->h;
            st = wal__seg_write_header(seg, &h, err);
        }
        if (st == ST_OK)
            st = rewrite(seg, from, &s->win, err);
        if (st == ST_OK)
            st = env_sync(seg->file, err);
    }
    return st;
}

static enum status remove_all(struct wal *w, struct wal__segs *segs, struct err *err)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < segs->n; i++)
        st = wal__seg_unlink(w->env, w->dir, segs->v[i]->slot, err);
    return st;
}

static bool has_slot(const struct wal__segs *segs, uint32_t slot)
{
    for (size_t i = 0; i < segs->n; i++) {
        if (segs->v[i]->slot == slot)
            return true;
    }
    return false;
}

/* To the next name that no file has; those in `bad` are gone. */
static enum status rename_spare(struct wal *w, const struct wal__load *l, struct wal__seg *s,
                                struct err *err)
{
    uint32_t slot;
    do
        slot = wal__next_slot(w);
    while (has_slot(&l->live, slot) || has_slot(&l->spare, slot));
    char *from = wal__seg_path(w->dir, s->slot), *to = wal__seg_path(w->dir, slot);
    enum status st = ST_NO_MEMORY;
    if (from && to)
        st = env_rename(w->env, from, to, err);
    else
        err_set(err, st, "log: file name");
    if (st == ST_OK)
        s->slot = slot;
    mem_free(from);
    mem_free(to);
    return st;
}

/* The name of a file whose making failed at the sync of the folder can be lost even after a later
 * good one, as pages can. Only files that never held a group can be such: they get new names. The
 * segment of a log without a single group becomes a spare first. */
static enum status renew_names(struct wal *w, struct wal__load *l, const struct wal__scan *s,
                               struct err *err)
{
    enum status st = remove_all(w, &l->bad, err);
    if (st == ST_OK && s->mark.epoch == 0)
        st = drop_behind(l, 0, false, err);
    for (size_t i = 0; st == ST_OK && i < l->spare.n; i++) {
        if (l->spare.v[i]->h.epoch == 0)
            st = rename_spare(w, l, l->spare.v[i], err);
    }
    return st == ST_OK ? env_sync_dir(w->env, w->dir, err) : st;
}

static void adopt(struct wal *w, struct wal__load *l, const struct wal__scan *s,
                  const struct replay *rp)
{
    struct wal__seg *last = l->live.v[l->live.n - 1];
    w->spares = l->spare;
    w->segs = l->live;
    w->current = last;
    l->spare = l->live = (struct wal__segs){0};
    w->incarnation = s->top_incarnation + 1;
    w->low = w->low_synced = s->low;
    w->mark = s->mark;
    w->data_end = rp->data_end;
    w->end = w->synced = (struct wal_pos){last->h.epoch, last->end};
    w->dropped_tail_bytes = s->dropped;
}

enum status wal__recover(struct wal *w, wal_replay_fn replay, void *arg, struct err *err)
{
    struct wal__load l;
    struct replay rp = {.w = w, .fn = replay, .arg = arg};
    struct wal__scan s = {
        .until = {UINT64_MAX, 0}, .on_group = replay_group, .on_rot = stop_at_rot, .arg = &rp};
    enum status st = wal__load_dir(w->env, w->dir, w->o.read_only, &l, err);
    if (st == ST_OK)
        st = wal__load_check_hidden(w->dir, &l, err);
    if (st != ST_OK)
        goto out;
    /* Truncations reach back into the segments read so far, and wal__note looks for those in the
     * handle. */
    w->segs = l.live;
    s.segs = l.live.v;
    s.n = l.live.n;
    if (w->o.keep_rotten)
        s.on_rotten_payload = replay_damaged;
    st = wal__scan_run(&s, err);
    w->segs = (struct wal__segs){0};
    if (st == ST_OK)
        st = check_hard_states(w, err);
    if (st == ST_OK)
        st = wal__load_check(w->dir, &l, s.low, err);
    if (st != ST_OK)
        goto out;
    w->total_bytes = l.bytes;
    w->next_slot = l.next_slot;
    if (!w->o.read_only)
        st = renew_names(w, &l, &s, err);
    if (st == ST_OK && l.live.n) {
        st = drop_behind(&l, s.end_seg + 1, w->o.read_only, err);
        ASSERT(st != ST_OK || l.live.v[l.live.n - 1]->end == s.end);
        if (st == ST_OK && !w->o.read_only)
            st = settle(&s, &l, err);
    }
    if (st != ST_OK)
        goto out;
    if (l.live.n) {
        adopt(w, &l, &s, &rp);
    } else if (!w->o.read_only) {
        w->spares = l.spare;
        l.spare = (struct wal__segs){0};
        st = wal__roll(w, 0, true, err);
        w->dropped_tail_bytes = s.dropped;
    }
out:
    wal__window_deinit(&s.win);
    wal__load_deinit(&l);
    return st;
}
