#include "storage/wal/wal_internal.h"

#include "base/alloc.h"
#include <stdio.h>

struct verify {
    struct env *env;
    const char *dir;
    void (*report)(void *arg, const struct wal_finding *f);
    void (*progress)(void *arg, uint64_t done, uint64_t total);
    void *arg;
    uint64_t done, total, found;
    bool newer;
};

static enum status found(struct verify *v, uint32_t slot, uint64_t offset, uint64_t range,
                         const char *text)
{
    char *path = wal__seg_path(v->dir, slot);
    if (!path)
        return ST_NO_MEMORY;
    v->found++;
    if (v->report)
        v->report(v->arg, &(struct wal_finding){
                              .file = path, .offset = offset, .range = range, .text = text});
    mem_free(path);
    return ST_OK;
}

static void went(struct verify *v, uint64_t bytes)
{
    v->done += bytes;
    if (v->progress)
        v->progress(v->arg, v->done, v->total);
}

static enum status good_group(void *arg, struct wal__seg *seg, const struct wal_group_header *g,
                              const uint8_t *body, struct err *err)
{
    (void)seg;
    (void)body;
    (void)err;
    went(arg, wal__group_bytes(g));
    return ST_OK;
}

static enum status rotten(void *arg, struct wal__seg *seg, const struct wal_flaw *f,
                          struct err *err)
{
    struct verify *v = arg;
    v->newer = v->newer || f->newer;
    enum status st = found(v, seg->slot, f->offset, f->range, f->text);
    return st == ST_OK ? st : err_set(err, st, "log: file name");
}

/* The rest of a header page means nothing, but should be as it was written. */
static enum status check_page(struct verify *v, struct wal__seg *seg, struct err *err)
{
    uint8_t page[WAL_SEG_PAGE];
    size_t got;
    enum status st = env_pread(seg->file, 0, page, sizeof page, &got, err);
    if (st != ST_OK)
        return st;
    struct wal_seg_header h;
    if (got < WAL_SEG_HEADER || wal__seg_decode(page, &h) != WAL_HEAD_OK)
        return found(v, seg->slot, 0, 0, "segment header checksum");
    for (size_t i = WAL_SEG_HEADER; i < got; i++) {
        if (page[i] != 0)
            return found(v, seg->slot, i, 0, "the header page is not zero behind the header");
    }
    return ST_OK;
}

static enum status verify_run(struct verify *v, struct wal__seg *const *segs, size_t n,
                              struct wal_pos until, struct wal__scan *s, struct err *err)
{
    *s = (struct wal__scan){.segs = segs,
                            .n = n,
                            .until = until,
                            .on_group = good_group,
                            .on_rot = rotten,
                            .arg = v,
                            .mark = until};
    if (until.epoch == UINT64_MAX)
        s->mark = (struct wal_pos){0, 0};
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < n; i++)
        st = check_page(v, segs[i], err);
    if (st == ST_OK)
        st = wal__scan_run(s, err);
    wal__window_deinit(&s->win);
    return st;
}

static enum status verdict(struct verify *v, enum status st, struct err *err)
{
    if (st != ST_OK || v->found == 0)
        return st;
    return err_set(err, ST_CORRUPT, "log %s: %llu finding(s)", v->dir,
                   (unsigned long long)v->found);
}

/* A damaged header: rot, unless it is the blank one of a segment whose making was cut short. */
static enum status check_bad(struct verify *v, const struct wal__load *l, struct err *err)
{
    enum status st = ST_OK;
    for (size_t i = 0; st == ST_OK && i < l->bad.n; i++) {
        uint8_t head[WAL_SEG_HEADER] = {0}, any = 0;
        size_t got;
        st = env_pread(l->bad.v[i]->file, 0, head, sizeof head, &got, err);
        for (size_t k = 0; st == ST_OK && k < got; k++)
            any |= head[k];
        if (st == ST_OK && any)
            st = found(v, l->bad.v[i]->slot, 0, 0, "segment header checksum");
    }
    return st;
}

/* What wal_open would refuse for want of a segment. */
static enum status check_missing(struct verify *v, const struct wal__load *l, uint64_t low,
                                 struct err *err)
{
    struct err why;
    err_init(&why);
    enum status st = wal__load_check(v->dir, l, low, &why);
    if (st == ST_OK)
        st = wal__load_check_hidden(v->dir, l, &why);
    if (st == ST_CORRUPT) {
        uint32_t slot = l->bad.n ? l->bad.v[0]->slot : l->live.n ? l->live.v[0]->slot : 0;
        return found(v, slot, 0, 0, why.detail);
    }
    return st == ST_OK ? st : err_set(err, st, "%s", why.detail);
}

enum status wal_verify(struct env *env, const char *dir,
                       void (*report)(void *arg, const struct wal_finding *f),
                       void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                       struct err *err)
{
    struct verify v = {.env = env, .dir = dir, .report = report, .progress = progress, .arg = arg};
    struct wal__load l;
    struct wal__scan s;
    enum status st = wal__load_dir(env, dir, true, &l, err);
    if (st == ST_OK) {
        for (size_t i = 0; i < l.live.n; i++)
            v.total += l.live.v[i]->h.bytes - WAL_SEG_PAGE;
        st = check_bad(&v, &l, err);
    }
    if (st == ST_OK)
        st = verify_run(&v, l.live.v, l.live.n, (struct wal_pos){UINT64_MAX, 0}, &s, err);
    if (st == ST_OK)
        st = check_missing(&v, &l, s.low, err);
    wal__load_deinit(&l);
    return verdict(&v, st, err);
}

enum status wal_verify_open(struct wal *w, void (*report)(void *arg, const struct wal_finding *f),
                            void (*progress)(void *arg, uint64_t done, uint64_t total), void *arg,
                            struct err *err)
{
    struct verify v = {
        .env = w->env, .dir = w->dir, .report = report, .progress = progress, .arg = arg};
    struct wal__segs mine = {0};
    struct wal__scan s;
    env_mutex_lock(&w->verify_mutex);
    env_mutex_lock(&w->state);
    struct wal_pos until = w->synced;
    bool room = wal__segs_reserve(&mine, w->segs.n);
    for (size_t i = 0; room && i < w->segs.n && w->segs.v[i]->h.epoch <= until.epoch; i++) {
        mine.v[mine.n++] = w->segs.v[i];
        v.total += w->segs.v[i]->end - WAL_SEG_PAGE;
    }
    /* Pinned segments are not recycled; the headers of the rest do not change while they are live.
     */
    if (room && mine.n)
        w->pinned = mine.v[0]->h.epoch;
    env_mutex_unlock(&w->state);
    enum status st = room ? ST_OK : err_set(err, ST_NO_MEMORY, "log: segment list");
    if (st == ST_OK)
        st = verify_run(&v, mine.v, mine.n, until, &s, err);
    env_mutex_lock(&w->state);
    w->pinned = UINT64_MAX;
    env_mutex_unlock(&w->state);
    mem_free(mine.v);
    env_mutex_unlock(&w->verify_mutex);
    return verdict(&v, st, err);
}
