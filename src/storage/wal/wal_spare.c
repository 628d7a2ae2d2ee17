/* wal_spare.c - segments made ahead, with real zeros, so that the blocks are allocated and a later
 * fdatasync finds no metadata to journal.
 *
 * On a disk that writes 400 MB/s a segment of 64 MiB takes 150 ms, and each sync of the log beside it waits
 * for what is being written then. So it goes step by step, each synced, with pauses in which others find the
 * disk free; as long as the log will not need it before it is done. */
#include "storage/wal/wal_internal.h"

#include "base/alloc.h"
#include "base/buggify.h"

enum {
    STEP = 1024 * 1024,
    BLOCK = 65536,
    PAUSES = 3, /* for each part of time that a step took */
    PAUSE_MS_MAX = 250,
    NS_PER_MS = 1000000,
};
static const uint8_t zeros[BLOCK];

static enum status fill(struct env_file *f, uint64_t from, uint64_t to, struct err *err)
{
    struct bytes parts[STEP / BLOCK];
    size_t n = 0;
    ASSERT(to - from <= STEP);
    for (uint64_t at = from; at < to; at += parts[n++].len)
        parts[n] = BYTES(zeros, to - at < BLOCK ? (size_t)(to - at) : BLOCK);
    return env_pwritev(f, from, parts, n, err);
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

static enum status create_file(struct wal *w, struct wal__seg *s, struct err *err)
{
    enum status st;
    do {
        env_mutex_lock(&w->state);
        s->slot = wal__next_slot(w);
        env_mutex_unlock(&w->state);
        char *path = wal__seg_path(w->dir, s->slot);
        if (!path)
            return err_set(err, ST_NO_MEMORY, "log: file name");
        st = env_open(w->env, path, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_EXCL, &s->file, err);
        mem_free(path);
    } while (st == ST_ALREADY_EXISTS);
    return st;
}

static enum status begin(struct wal *w, uint64_t bytes, struct wal__making *m, struct err *err)
{
    enum status st = check_space(w, bytes, err);
    if (st != ST_OK)
        return st;
    struct wal__seg *s = mem_zalloc(sizeof *s);
    if (!s)
        return err_set(err, ST_NO_MEMORY, "log: segment");
    st = create_file(w, s, err);
    if (st != ST_OK) {
        wal__seg_free(s);
        return st;
    }
    s->h = (struct wal_seg_header){.slot = s->slot, .bytes = bytes};
    *m = (struct wal__making){.seg = s, .at = WAL_SEG_HEADER};
    return ST_OK;
}

/* Nobody refers to it; should its file stay, the next opening finds one without groups and removes it. */
static void discard(struct wal *w, struct wal__making *m)
{
    (void)wal__seg_unlink(w->env, w->dir, m->seg->slot, NULL);
    wal__seg_free(m->seg);
    *m = (struct wal__making){0};
}

/* The header is the last that is written, and the name synced behind it. */
static enum status finish(struct wal *w, struct wal__seg *s, struct err *err)
{
    struct wal_seg_header h = s->h;
    enum status st = wal__seg_write_header(s, &h, err);
    if (st == ST_OK)
        st = env_sync(s->file, err);
    if (st == ST_OK)
        st = env_sync_dir(w->env, w->dir, err);
    if (st == ST_OK)
        s->end = WAL_SEG_PAGE;
    return st;
}

/* A step of at most `len` bytes; after the last one the segment is finished (is_made). */
static enum status step(struct wal *w, struct wal__making *m, uint64_t len, struct err *err)
{
    struct wal__seg *s = m->seg;
    uint64_t to = s->h.bytes - m->at < len ? s->h.bytes : m->at + len;
    enum status st = fill(s->file, m->at, to, err);
    bool several = s->h.bytes > WAL_SEG_HEADER + len;
    if (st == ST_OK && several)
        st = env_sync(s->file, err);
    if (st == ST_OK && to == s->h.bytes)
        st = finish(w, s, err);
    if (st == ST_OK)
        m->at = to;
    return st;
}

static bool is_made(const struct wal__making *m)
{
    return m->seg->end != 0;
}

static enum status finish_all(struct wal *w, struct wal__making *m, struct wal__seg **ret,
                              struct err *err)
{
    enum status st = ST_OK;
    while (st == ST_OK && !is_made(m))
        st = step(w, m, STEP, err);
    if (st != ST_OK) {
        discard(w, m);
        return st;
    }
    *ret = m->seg;
    *m = (struct wal__making){0};
    return ST_OK;
}

enum status wal__seg_make(struct wal *w, uint64_t bytes, struct wal__seg **ret, struct err *err)
{
    struct wal__making m;
    enum status st = begin(w, bytes, &m, err);
    return st == ST_OK ? finish_all(w, &m, ret, err) : st;
}

/* ---- the spare that is being made, a step a call ---- */

static void count_bytes(struct wal *w, int64_t more)
{
    env_mutex_lock(&w->state);
    w->total_bytes += (uint64_t)more;
    env_mutex_unlock(&w->state);
}

static void give_up(struct wal *w)
{
    count_bytes(w, -(int64_t)w->making.seg->h.bytes);
    discard(w, &w->making);
}

void wal__spare_give_up(struct wal *w)
{
    env_mutex_lock(&w->make_mutex);
    if (w->making.seg)
        give_up(w);
    env_mutex_unlock(&w->make_mutex);
}

enum status wal__spare_finish(struct wal *w, uint64_t need, struct wal__seg **ret, struct err *err)
{
    enum status st = ST_OK;
    *ret = NULL;
    env_mutex_lock(&w->make_mutex);
    if (w->making.seg && wal__seg_fits(w->making.seg->h.bytes, need)) {
        PROBE("wal: an append finishes the spare that is being made");
        int64_t bytes = (int64_t)w->making.seg->h.bytes;
        st = finish_all(w, &w->making, ret, err);
        if (st != ST_OK)
            count_bytes(w, -bytes);
    }
    env_mutex_unlock(&w->make_mutex);
    return st;
}

/* Whether a spare is missing, and its size. One that is made counts against max_bytes from its beginning. */
static bool wanted(struct wal *w, uint64_t *ret_bytes)
{
    env_mutex_lock(&w->state);
    uint64_t bytes = wal__next_size(w);
    bool missing = w->spares.n < w->o.spare_segments;
    bool room = w->making.seg || !w->o.max_bytes || w->total_bytes + bytes <= w->o.max_bytes;
    env_mutex_unlock(&w->state);
    *ret_bytes = bytes;
    return missing && room;
}

static enum status add_spare(struct wal *w, struct err *err)
{
    env_mutex_lock(&w->state);
    bool room = wal__segs_reserve(&w->spares, 1);
    if (room)
        w->spares.v[w->spares.n++] = w->making.seg;
    env_mutex_unlock(&w->state);
    if (!room)
        return err_set(err, ST_NO_MEMORY, "log: spare list");
    w->making = (struct wal__making){0};
    return ST_OK;
}

/* None when the log fills its segment so fast that the spare would be done in its last half. */
static uint64_t pause_ms(struct wal *w, uint64_t took_ns)
{
    const struct wal__making *m = &w->making;
    env_mutex_lock(&w->state);
    const struct wal__seg *last = w->segs.v[w->segs.n - 1];
    double used = (double)w->end.offset / (double)last->h.bytes;
    env_mutex_unlock(&w->state);
    if (used * 2 >= (double)m->at / (double)m->seg->h.bytes)
        return 0;
    uint64_t ms = took_ns * PAUSES / NS_PER_MS + 1;
    return ms < PAUSE_MS_MAX ? ms : PAUSE_MS_MAX;
}

static enum status make_step(struct wal *w, uint64_t *ret_pause_ms, struct err *err)
{
    uint64_t bytes, from_ns = env_mono_ns(w->env);
    bool want = wanted(w, &bytes);
    *ret_pause_ms = UINT64_MAX;
    if (!want) {
        if (w->making.seg)
            give_up(w); /* others were recycled meanwhile */
        return ST_OK;
    }
    enum status st = ST_OK;
    if (!w->making.seg) {
        st = begin(w, bytes, &w->making, err);
        if (st != ST_OK)
            return st;
        count_bytes(w, (int64_t)bytes);
    }
    uint64_t len = STEP, small = w->making.seg->h.bytes / 8;
    if (small < STEP && BUGGIFY("wal: a spare is made in small steps"))
        len = small;
    st = step(w, &w->making, len, err);
    if (st == ST_OK && is_made(&w->making))
        st = add_spare(w, err);
    if (st != ST_OK)
        give_up(w);
    else if (w->making.seg)
        *ret_pause_ms = pause_ms(w, env_mono_ns(w->env) - from_ns);
    else
        *ret_pause_ms = wanted(w, &bytes) ? 0 : UINT64_MAX;
    return st;
}

enum status wal_make_spare(struct wal *w, uint64_t *ret_pause_ms, struct err *err)
{
    *ret_pause_ms = UINT64_MAX;
    if (w->o.read_only)
        return ST_OK;
    env_mutex_lock(&w->make_mutex);
    enum status st = make_step(w, ret_pause_ms, err);
    env_mutex_unlock(&w->make_mutex);
    return st;
}
