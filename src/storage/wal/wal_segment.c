#include "storage/wal/wal_internal.h"

#include "base/alloc.h"
#include <stdio.h>

bool wal__segs_reserve(struct wal__segs *s, size_t extra)
{
    if (s->n + extra <= s->cap)
        return true;
    size_t cap = s->cap ? s->cap * 2 : 8;
    while (cap < s->n + extra)
        cap *= 2;
    struct wal__seg **v = mem_realloc(s->v, cap * sizeof *v);
    if (!v)
        return false;
    s->v = v;
    s->cap = cap;
    return true;
}

void wal__segs_deinit(struct wal__segs *s)
{
    for (size_t i = 0; i < s->n; i++)
        wal__seg_free(s->v[i]);
    mem_free(s->v);
    *s = (struct wal__segs){0};
}

void wal__segs_remove(struct wal__segs *s, size_t at, size_t n)
{
    ASSERT(at + n <= s->n);
    memmove(s->v + at, s->v + at + n, (s->n - at - n) * sizeof *s->v);
    s->n -= n;
}

char *wal__seg_path(const char *dir, uint32_t slot)
{
    size_t len = strlen(dir) + 24;
    char *path = mem_alloc(len);
    if (path)
        snprintf(path, len, "%s/%08u.seg", dir, slot);
    return path;
}

bool wal__seg_slot(const char *name, uint32_t *ret)
{
    uint32_t slot = 0;
    for (int i = 0; i < 8; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        slot = slot * 10 + (uint32_t)(name[i] - '0');
    }
    if (strcmp(name + 8, ".seg") != 0)
        return false;
    *ret = slot;
    return true;
}

uint32_t wal__next_slot(struct wal *w)
{
    uint32_t slot = w->next_slot % WAL__SLOTS;
    w->next_slot = slot + 1;
    return slot;
}

void wal__seg_free(struct wal__seg *s)
{
    if (!s)
        return;
    env_close(s->file);
    wal__map_deinit(&s->top);
    mem_free(s);
}

enum status wal__seg_unlink(struct env *env, const char *dir, uint32_t slot, struct err *err)
{
    char *path = wal__seg_path(dir, slot);
    if (!path)
        return err_set(err, ST_NO_MEMORY, "log: file name");
    enum status st = env_unlink(env, path, err);
    mem_free(path);
    return st == ST_NOT_FOUND ? ST_OK : st;
}

enum status wal__seg_write_header(struct wal__seg *s, const struct wal_seg_header *h,
                                  struct err *err)
{
    uint8_t page[WAL_SEG_HEADER];
    wal__seg_encode(h, page);
    enum status st = env_pwrite(s->file, 0, page, sizeof page, err);
    if (st == ST_OK)
        s->h = *h;
    return st;
}

uint64_t wal__next_size(const struct wal *w)
{
    uint64_t size = w->segs.n ? w->segs.v[w->segs.n - 1]->h.bytes * 2 : w->o.first_segment_bytes;
    return size > w->o.segment_bytes ? w->o.segment_bytes : size;
}

static uint64_t room_for(uint64_t need)
{
    uint64_t bytes = WAL_SEG_PAGE + need + 65536;
    return (bytes + WAL_SEG_PAGE - 1) / WAL_SEG_PAGE * WAL_SEG_PAGE;
}

bool wal__seg_fits(uint64_t segment_bytes, uint64_t need)
{
    return segment_bytes >= WAL_SEG_PAGE + need + wal__reserve(segment_bytes);
}

static struct wal__seg *take_spare(struct wal *w, uint64_t need)
{
    struct wal__seg *found = NULL;
    env_mutex_lock(&w->state);
    for (size_t i = w->spares.n; i-- > 0 && !found;) {
        if (wal__seg_fits(w->spares.v[i]->h.bytes, need)) {
            found = w->spares.v[i];
            wal__segs_remove(&w->spares, i, 1);
        }
    }
    env_mutex_unlock(&w->state);
    return found;
}

static void give_back(struct wal *w, struct wal__seg *s)
{
    env_mutex_lock(&w->state);
    bool room = wal__segs_reserve(&w->spares, 1);
    if (room)
        w->spares.v[w->spares.n++] = s;
    else
        w->total_bytes -= s->h.bytes;
    env_mutex_unlock(&w->state);
    if (!room) {
        (void)wal__seg_unlink(w->env, w->dir, s->slot, NULL); /* a spare: no harm if it stays */
        wal__seg_free(s);
    }
}

enum status wal__unstamp(struct wal *w, struct err *err)
{
    struct wal__seg *s = w->half;
    if (!s)
        return ST_OK;
    struct wal_seg_header h = {.slot = s->slot, .bytes = s->h.bytes};
    enum status st = wal__seg_write_header(s, &h, err);
    if (st != ST_OK)
        return st;
    st = env_sync(s->file, err);
    if (st != ST_OK)
        return wal__poison(w, st, err);
    w->half = NULL;
    give_back(w, s);
    return ST_OK;
}

static enum status stamp_spare(struct wal *w, struct wal__seg *s, struct wal_seg_header *h,
                               struct err *err)
{
    h->slot = s->slot;
    h->bytes = s->h.bytes;
    enum status st = wal__seg_write_header(s, h, err);
    if (st != ST_OK) {
        w->half = s;
        enum status undone = wal__unstamp(w, NULL);
        return undone == ST_POISONED ? wal__poisoned(w, err) : st;
    }
    st = env_sync(s->file, err);
    if (st != ST_OK) {
        wal__seg_free(s);
        return wal__poison(w, st, err);
    }
    s->end = WAL_SEG_PAGE;
    return ST_OK;
}

/* Made as a spare and stamped afterwards: should making it fail, what is left carries no epoch. */
static enum status make_next(struct wal *w, uint64_t need, bool house, struct wal__seg **ret,
                             struct err *err)
{
    enum status st = wal__spare_finish(w, need, ret, err);
    if (st != ST_OK || *ret)
        return st;
    env_mutex_lock(&w->state);
    uint64_t bytes = wal__next_size(w), total = w->total_bytes;
    if (!wal__seg_fits(bytes, need))
        bytes = room_for(need);
    bool over = w->o.max_bytes && !house && total + bytes > w->o.max_bytes;
    env_mutex_unlock(&w->state);
    if (over)
        return err_set(err, ST_OVERLOADED,
                       "log: max_bytes is %llu, %llu are in use and the next segment takes %llu",
                       (unsigned long long)w->o.max_bytes, (unsigned long long)total,
                       (unsigned long long)bytes);
    st = wal__seg_make(w, bytes, ret, err);
    if (st == ST_OK) {
        env_mutex_lock(&w->state);
        w->total_bytes += bytes;
        env_mutex_unlock(&w->state);
    }
    return st;
}

enum status wal__roll(struct wal *w, uint64_t need, bool house, struct err *err)
{
    struct wal_seg_header h = {.epoch = 1, .low = 1};
    env_random(w->env, &h.stamp, sizeof h.stamp);
    env_mutex_lock(&w->state);
    bool room = wal__segs_reserve(&w->segs, 1);
    struct wal__seg *last = w->current;
    if (last) {
        h.epoch = last->h.epoch + 1;
        h.low = w->low_synced; /* this header may become durable before the newest groups do */
        h.mark = w->synced;
        h.prev_end = last->end;
    }
    env_mutex_unlock(&w->state);
    if (!room)
        return err_set(err, ST_NO_MEMORY, "log: segment list");
    struct wal__seg *next = take_spare(w, need);
    enum status st = next ? ST_OK : make_next(w, need, house, &next, err);
    if (st == ST_OK)
        st = stamp_spare(w, next, &h, err);
    if (st != ST_OK)
        return st;
    env_mutex_lock(&w->state);
    wal__map_deinit(&next->top);
    w->segs.v[w->segs.n++] = w->current = next;
    w->end = (struct wal_pos){next->h.epoch, next->end};
    if (!last) {
        w->synced = w->end;
        w->low = w->low_synced = 1;
    }
    env_mutex_unlock(&w->state);
    return ST_OK;
}
