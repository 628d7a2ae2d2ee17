/* engine_mem_rows.c - rows, runs of them, and what a commit makes of them. */
#include "base/alloc.h"
#include "base/assert.h"
#include "storage/engine/mem/engine_mem_internal.h"

struct mem_row *mem__row_new(struct bytes key, struct bytes value)
{
    struct mem_row *r = mem_alloc(sizeof(*r) + key.len + value.len);
    if (!r)
        return NULL;
    r->refs = 1;
    r->key_len = key.len;
    r->value_len = value.len;
    if (key.len)
        memcpy(r->data, key.data, key.len);
    if (value.len)
        memcpy(r->data + key.len, value.data, value.len);
    return r;
}

struct mem_row *mem__row_ref(struct mem_row *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void mem__row_unref(struct mem_row *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        mem_free(r);
}

/* --- runs --- */

static void run_unref(struct mem_run *run)
{
    if (atomic_fetch_sub_explicit(&run->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < run->n; i++)
        mem__row_unref(run->row[i]);
    mem_free(run);
}

void mem__rows_deinit(struct mem_rows *l)
{
    for (size_t i = 0; i < l->n_runs; i++)
        run_unref(l->run[i]);
    mem_free(l->run);
    *l = (struct mem_rows){0};
}

/* The last run that begins at or before `key`; 0 when none does. */
static size_t find_run(const struct mem_rows *l, struct bytes key)
{
    size_t lo = 0, hi = l->n_runs;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (bytes_cmp(mem_row_key(l->run[mid]->row[0]), key) <= 0)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

struct mem_at mem__rows_find(const struct mem_rows *l, struct bytes key)
{
    if (l->n_runs == 0)
        return mem_at_end(l);
    size_t r = find_run(l, key), lo = 0, hi = l->run[r]->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (bytes_cmp(mem_row_key(l->run[r]->row[mid]), key) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < l->run[r]->n ? (struct mem_at){r, lo} : (struct mem_at){r + 1, 0};
}

/* Takes over the reference, also on failure. */
static enum status add_run(struct mem_rows *l, struct mem_run *run)
{
    if (l->n_runs == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 16;
        struct mem_run **list = mem_realloc(l->run, cap * sizeof(struct mem_run *));
        if (!list) {
            run_unref(run);
            return ST_NO_MEMORY;
        }
        l->run = list;
        l->cap = cap;
    }
    l->run[l->n_runs++] = run;
    l->n += run->n;
    return ST_OK;
}

/* --- merging --- */

/* Rows that wait to become runs: never so many that more than two come of them, so that a small
 * rest is joined to what comes next and no run stays much smaller than the others. */
enum { SMALL = MEM_RUN / 4 };
struct merge {
    struct mem_rows *to;
    struct mem_row *row[2 * MEM_RUN];
    size_t n;
};

static enum status emit(struct merge *m, size_t n)
{
    struct mem_run *run = mem_alloc(sizeof(*run));
    if (!run)
        return ST_NO_MEMORY;
    run->refs = 1;
    run->n = n;
    for (size_t i = 0; i < n; i++)
        run->row[i] = mem__row_ref(m->row[i]);
    m->n -= n;
    memmove(m->row, m->row + n, m->n * sizeof(struct mem_row *));
    return add_run(m->to, run);
}

static enum status flush(struct merge *m)
{
    enum status st = m->n > MEM_RUN ? emit(m, m->n / 2) : ST_OK;
    return st == ST_OK && m->n ? emit(m, m->n) : st;
}

static enum status keep(struct merge *m, struct mem_row *row)
{
    enum status st = m->n == 2 * MEM_RUN ? emit(m, MEM_RUN) : ST_OK;
    if (st == ST_OK)
        m->row[m->n++] = row;
    return st;
}

/* The run's rows, and those of change [*j, end). */
static enum status merge_run(struct merge *m, const struct mem_run *run,
                             const struct mem_change *change, size_t *j, size_t end)
{
    size_t i = 0, n = run ? run->n : 0;
    enum status st = ST_OK;
    while (st == ST_OK && (i < n || *j < end)) {
        int c = i == n      ? 1
                : *j == end ? -1
                            : bytes_cmp(mem_row_key(run->row[i]), mem_row_key(change->row[*j]));
        struct mem_row *row = c < 0 ? run->row[i] : change->row[*j];
        bool kept = c < 0 || !change->removes.data[*j];
        i += c <= 0;
        *j += c >= 0;
        if (kept)
            st = keep(m, row);
    }
    return st;
}

enum status mem__rows_merge(const struct mem_rows *old, const struct mem_change *change,
                            struct mem_rows *ret)
{
    struct merge m = {.to = ret};
    enum status st = ST_OK;
    size_t j = 0;
    for (size_t r = 0; st == ST_OK && r < old->n_runs; r++) {
        size_t end = j;
        bool last = r + 1 == old->n_runs;
        struct bytes next = last ? BYTES_EMPTY : mem_row_key(old->run[r + 1]->row[0]);
        while (end < change->n && (last || bytes_cmp(mem_row_key(change->row[end]), next) < 0))
            end++;
        if (end > j || (m.n && m.n < SMALL)) {
            st = merge_run(&m, old->run[r], change, &j, end);
            continue;
        }
        st = flush(&m);
        if (st == ST_OK) {
            atomic_fetch_add_explicit(&old->run[r]->refs, 1, memory_order_relaxed);
            st = add_run(ret, old->run[r]);
        }
    }
    if (st == ST_OK)
        st = merge_run(&m, NULL, change, &j, change->n);
    return st == ST_OK ? flush(&m) : st;
}

/* --- changes --- */

enum status mem__change_add(struct mem_change *c, struct mem_row *r, bool remove)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 64;
        struct mem_row **row = mem_realloc(c->row, cap * sizeof(struct mem_row *));
        if (!row) {
            mem__row_unref(r);
            return ST_NO_MEMORY;
        }
        c->row = row;
        c->cap = cap;
    }
    if (buf_append_u8(&c->removes, remove) != ST_OK) {
        mem__row_unref(r);
        return ST_NO_MEMORY;
    }
    c->row[c->n++] = r;
    return ST_OK;
}

void mem__change_clear(struct mem_change *c)
{
    for (size_t i = 0; i < c->n; i++)
        mem__row_unref(c->row[i]);
    c->n = 0;
    buf_clear(&c->removes);
}

void mem__change_deinit(struct mem_change *c)
{
    mem__change_clear(c);
    mem_free(c->row);
    buf_deinit(&c->removes);
    *c = (struct mem_change){0};
}
