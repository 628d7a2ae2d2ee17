#include "storage/wal/wal_internal.h"

#include "base/alloc.h"
#include <stdio.h>

enum { ZERO_STEP = 1024 * 1024, ZERO_BLOCK = 65536, ZERO_SYNC = 8 * 1024 * 1024 };
static const uint8_t zeros[ZERO_BLOCK];

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

/* Real zeros, so that the blocks are allocated and a later fdatasync finds no metadata to journal.
 */
static enum status fill(struct env_file *f, uint64_t from, uint64_t to, struct err *err)
{
    struct bytes parts[ZERO_STEP / ZERO_BLOCK];
    uint64_t since = 0;
    enum status st = ST_OK;
    while (from < to && st == ST_OK) {
        size_t n = 0;
        uint64_t at = from;
        for (; n < sizeof parts / sizeof *parts && at < to; n++) {
            parts[n] = BYTES(zeros, to - at < ZERO_BLOCK ? (size_t)(to - at) : ZERO_BLOCK);
            at += parts[n].len;
        }
        st = env_pwritev(f, from, parts, n, err);
        since += at - from;
        from = at;
        /* A long fill is synced piece by piece, so that other syncs do not queue behind all of it.
         */
        if (st == ST_OK && since >= ZERO_SYNC && from < to) {
            st = env_sync(f, err);
            since = 0;
        }
    }
    return st;
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

static enum status check_space(struct wal *w, uint64_t bytes, struct err *err)
{
    uint64_t space;
    /* Only to refuse early instead of filling the disk to the brim; when it cannot be told, writing
     * will. */
    if (env_free_space(w->env, w->dir, &space, NULL) == ST_OK && space < bytes)
        return err_set(err, ST_DISK_FULL, "log: %llu bytes free in %s, the next segment takes %llu",
                       (unsigned long long)space, w->dir, (unsigned long long)bytes);
    return ST_OK;
}

static enum status create_file(struct wal *w, struct wal__seg *s, char **ret_path, struct err *err)
{
    enum status st;
    char *path;
    do {
        env_mutex_lock(&w->state);
        s->slot = w->next_slot++;
        env_mutex_unlock(&w->state);
        path = wal__seg_path(w->dir, s->slot);
        if (!path)
            return err_set(err, ST_NO_MEMORY, "log: file name");
        st = env_open(w->env, path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_EXCL, &s->file, err);
        if (st != ST_OK)
            mem_free(path);
    } while (st == ST_ALREADY_EXISTS);
    if (st == ST_OK)
        *ret_path = path;
    return st;
}

enum status wal__seg_make(struct wal *w, uint64_t bytes, struct wal__seg **ret, struct err *err)
{
    char *path = NULL;
    struct wal__seg *s = NULL;
    enum status st = check_space(w, bytes, err);
    if (st != ST_OK)
        return st;
    s = mem_zalloc(sizeof *s);
    if (!s)
        return err_set(err, ST_NO_MEMORY, "log: segment");
    st = create_file(w, s, &path, err);
    if (st != ST_OK)
        goto out;
    struct wal_seg_header h = {.slot = s->slot, .bytes = bytes};
    st = fill(s->file, WAL_SEG_HEADER, h.bytes, err);
    if (st == ST_OK && h.bytes > ZERO_SYNC)
        st = env_sync(s->file, err);
    if (st == ST_OK)
        st = wal__seg_write_header(s, &h, err);
    if (st == ST_OK)
        st = env_sync(s->file, err);
    if (st == ST_OK)
        st = env_sync_dir(w->env, w->dir, err);
    if (st == ST_OK) {
        s->end = WAL_SEG_PAGE;
        *ret = s;
    }
out:
    if (st != ST_OK) {
        wal__seg_free(s);
        /* Nobody refers to it; should it stay, the next opening finds a file without groups and
         * removes it. */
        if (path)
            (void)env_unlink(w->env, path, NULL);
    }
    mem_free(path);
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

static bool fits(uint64_t segment_bytes, uint64_t need)
{
    return segment_bytes >= WAL_SEG_PAGE + need + wal__reserve(segment_bytes);
}

static struct wal__seg *take_spare(struct wal *w, uint64_t need)
{
    struct wal__seg *found = NULL;
    env_mutex_lock(&w->state);
    for (size_t i = w->spares.n; i-- > 0 && !found;) {
        if (fits(w->spares.v[i]->h.bytes, need)) {
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
    env_mutex_lock(&w->state);
    uint64_t bytes = wal__next_size(w), total = w->total_bytes;
    if (!fits(bytes, need))
        bytes = room_for(need);
    bool over = w->o.max_bytes && !house && total + bytes > w->o.max_bytes;
    env_mutex_unlock(&w->state);
    if (over)
        return err_set(err, ST_OVERLOADED,
                       "log: max_bytes is %llu, %llu are in use and the next segment takes %llu",
                       (unsigned long long)w->o.max_bytes, (unsigned long long)total,
                       (unsigned long long)bytes);
    enum status st = wal__seg_make(w, bytes, ret, err);
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
