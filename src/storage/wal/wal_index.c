/* wal_index.c - where the entries of a range lie in the log: a sample now and then, by index.
 *
 * Each run of entries that follow one another begins with a sample: where a range's entries begin in
 * a segment, where an entry voids earlier ones, behind a truncation or a gap; and within a run one
 * every WAL__SAMPLE_BYTES. So samples cost at most one per range and segment, one per voiding and
 * one per WAL__SAMPLE_BYTES of live log. Whoever reads on keeps a cursor, and does not walk twice.
 */
#include "storage/wal/wal_internal.h"

#include "base/alloc.h"

/* Does this record get a sample? Moves `t` on. */
static inline bool track_step(struct wal__track *t, uint64_t epoch, const struct wal_record *r)
{
    if (r->kind == WAL_TRUNCATE && r->index < t->next) {
        t->next = r->index;
        t->epoch = 0;
    }
    if (r->kind == WAL_RELEASE && r->index == WAL_RELEASE_ALL)
        *t = (struct wal__track){0};
    if (r->kind != WAL_ENTRY)
        return false;
    bool due = r->index != t->next || t->epoch != epoch || t->since >= WAL__SAMPLE_BYTES;
    if (due) {
        t->since = 0;
        t->epoch = epoch;
    }
    t->since += WAL_RECORD_HEADER + r->payload.len;
    t->next = r->index + 1;
    return due;
}

enum status wal__index_reserve(struct wal__range *r, uint64_t plan, uint64_t epoch,
                               const struct wal_record *rec)
{
    if (r->plan_of != plan) {
        r->plan_of = plan;
        r->plan = r->track;
        r->planned = 0;
    }
    if (!track_step(&r->plan, epoch, rec) || r->n_samples + ++r->planned <= r->cap_samples)
        return ST_OK;
    size_t cap = r->cap_samples ? r->cap_samples * 2 : 4;
    struct wal__sample *v = mem_realloc(r->samples, cap * sizeof *v);
    if (!v)
        return ST_NO_MEMORY;
    r->samples = v;
    r->cap_samples = cap;
    return ST_OK;
}

static void drop_from(struct wal__range *r, uint64_t index)
{
    while (r->n_samples && r->samples[r->n_samples - 1].index >= index)
        r->n_samples--;
    /* A cursor on `index` itself lies before what is void now. */
    for (size_t i = 0; i < WAL__CURSORS && r->turn; i++) { /* turn 0: nobody ever read here */
        if (r->cursor[i].index >= index)
            r->cursor[i] = (struct wal__sample){0};
    }
    r->voids++;
}

void wal__index_note(struct wal__range *r, uint64_t epoch, uint64_t group, uint32_t at,
                     const struct wal_record *rec)
{
    uint64_t next = r->track.next;
    bool due = track_step(&r->track, epoch, rec);
    if (rec->kind == WAL_RELEASE && rec->index == WAL_RELEASE_ALL)
        drop_from(r, 0);
    if ((rec->kind == WAL_TRUNCATE || rec->kind == WAL_ENTRY) && rec->index < next)
        drop_from(r, rec->index);
    /* Behind a gap (a state came from elsewhere) what was there is of no use to anybody. */
    if (rec->kind == WAL_ENTRY && rec->index > next && r->n_samples)
        drop_from(r, 0);
    if (!due)
        return;
    ASSERT(r->n_samples < r->cap_samples); /* reserved */
    r->samples[r->n_samples++] = (struct wal__sample){rec->index, epoch, group, at};
}

bool wal__index_find(const struct wal__range *r, uint64_t index, struct wal__sample *ret,
                     uint64_t *ret_until)
{
    if (r->n_samples == 0 || index < r->samples[0].index || index >= r->track.next)
        return false;
    size_t lo = 0, hi = r->n_samples;
    while (hi - lo > 1) {
        size_t mid = (lo + hi) / 2;
        if (r->samples[mid].index <= index)
            lo = mid;
        else
            hi = mid;
    }
    *ret = r->samples[lo];
    *ret_until = hi < r->n_samples ? r->samples[hi].index : r->track.next;
    for (size_t i = 0; i < WAL__CURSORS; i++) {
        const struct wal__sample *c = &r->cursor[i];
        if (c->epoch && c->index <= index && c->index > ret->index)
            *ret = *c;
    }
    return true;
}

void wal__index_went(struct wal__range *r, const struct wal__sample *from,
                     const struct wal__sample *to)
{
    for (size_t i = 0; i < WAL__CURSORS; i++) {
        const struct wal__sample *c = &r->cursor[i];
        if (c->epoch && c->index == from->index) {
            r->cursor[i] = *to;
            return;
        }
    }
    r->cursor[r->turn++ % WAL__CURSORS] = *to;
}

void wal__index_trim(struct wal *w, uint64_t epoch)
{
    for (size_t i = 0; i < w->n_ranges; i++) {
        struct wal__range *r = &w->ranges[i];
        size_t n = 0;
        while (n < r->n_samples && r->samples[n].epoch < epoch)
            n++;
        r->n_samples -= n;
        if (n && r->n_samples)
            memmove(r->samples, r->samples + n, r->n_samples * sizeof *r->samples);
        for (size_t k = 0; k < WAL__CURSORS; k++) {
            if (r->cursor[k].epoch < epoch)
                r->cursor[k] = (struct wal__sample){0};
        }
    }
}
