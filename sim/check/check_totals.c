/* check_totals.c - accounts that keep their sum, and numbers that only operations change. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "sim/check/check_internal.h"

/* --- bank --- */

static bool reads_all(const struct history_op *op)
{
    for (uint32_t i = 0; i < op->n; i++)
        if (op->steps[i].verb != HISTORY_GET)
            return false;
    return op->family == HISTORY_BANK && op->outcome == HISTORY_OK && op->n > 0;
}

enum status check_bank(const struct history *h, const struct check_options *o,
                       struct check_report *r)
{
    size_t n;
    const struct history_op *ops = history_ops(h, &n);
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        if (!reads_all(&ops[i]))
            continue;
        int64_t sum = 0;
        for (uint32_t j = 0; j < ops[i].n && st == ST_OK; j++) {
            const struct history_step *s = &ops[i].steps[j];
            int64_t balance = s->found ? s->number : 0;
            /* What overflows is no total either. */
            if (__builtin_add_overflow(sum, balance, &sum))
                sum = INT64_MIN;
            if (balance < 0 && !o->bank_overdraft)
                st = check__tell(r, h, "bank", "overdraft", &(uint32_t){ops[i].id}, 1,
                                 "Account %s was read with %" PRId64 ".", check__text(s->key).s,
                                 balance);
        }
        if (st == ST_OK && sum != o->bank_total)
            st = check__tell(r, h, "bank", "wrong total", &(uint32_t){ops[i].id}, 1,
                             "The accounts have %" PRId64 " together, and should have %" PRId64 ".",
                             sum, o->bank_total);
    }
    return st;
}

/* --- counter --- */

struct change {
    uint64_t place;
    uint32_t key, op;
    int64_t up, down; /* sums of what is positive and negative up to here, for this key */
};

struct counter_read {
    const struct history_op *op;
    const struct history_step *step;
};

struct counters {
    const struct history *h;
    struct check_report *r;
    struct change *begun, *over; /* by key, then place */
    size_t begun_n, over_n;
    struct counter_read *reads; /* by key, then place of completion */
    size_t reads_n;
    bool *falls; /* by key: somebody may have taken from it */
};

static int by_key_place(const void *a, const void *b)
{
    const struct change *x = a, *y = b;
    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

static int by_key_completion(const void *a, const void *b)
{
    const struct counter_read *x = a, *y = b;
    if (x->step->key_id != y->step->key_id)
        return x->step->key_id < y->step->key_id ? -1 : 1;
    return (x->op->completed > y->op->completed) - (x->op->completed < y->op->completed);
}

static void sum_up(struct change *c, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (c[i].key == c[i - 1].key) {
            c[i].up += c[i - 1].up;
            c[i].down += c[i - 1].down;
        }
}

static void gather(struct counters *c, const struct history_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct history_op *op = &ops[i];
        bool gone = op->outcome == HISTORY_FAILED || op->outcome == HISTORY_UNMET;
        if (op->family != HISTORY_COUNTER || gone)
            continue;
        for (uint32_t j = 0; j < op->n; j++) {
            const struct history_step *s = &op->steps[j];
            struct change x = {op->invoked, s->key_id, op->id, 0, 0};
            x.up = s->number > 0 ? s->number : 0;
            x.down = s->number < 0 ? s->number : 0;
            if (s->verb == HISTORY_GET && op->outcome == HISTORY_OK && !op->weak && !op->at)
                c->reads[c->reads_n++] = (struct counter_read){op, s};
            if (s->verb != HISTORY_ADD)
                continue;
            c->falls[s->key_id] |= s->number < 0;
            c->begun[c->begun_n++] = x;
            x.place = op->completed;
            if (op->outcome == HISTORY_OK)
                c->over[c->over_n++] = x;
        }
    }
    qsort(c->begun, c->begun_n, sizeof *c->begun, by_key_place);
    qsort(c->over, c->over_n, sizeof *c->over, by_key_place);
    qsort(c->reads, c->reads_n, sizeof *c->reads, by_key_completion);
    sum_up(c->begun, c->begun_n);
    sum_up(c->over, c->over_n);
}

/* The last change of the key before `place`; NULL: none. */
static const struct change *last_before(const struct change *c, size_t n, uint32_t key,
                                        uint64_t place)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (c[mid].key < key || (c[mid].key == key && c[mid].place < place))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo && c[lo - 1].key == key ? &c[lo - 1] : NULL;
}

static enum status check_bounds(struct counters *c, const struct counter_read *p)
{
    uint32_t key = p->step->key_id;
    const struct change *must = last_before(c->over, c->over_n, key, p->op->invoked);
    const struct change *may = last_before(c->begun, c->begun_n, key, p->op->completed);
    /* At least: what was surely added before, and all that may have been taken by then. */
    int64_t low = (must ? must->up : 0) + (may ? may->down : 0);
    int64_t high = (may ? may->up : 0) + (must ? must->down : 0);
    int64_t got = p->step->found ? p->step->number : 0;
    if (got >= low && got <= high)
        return ST_OK;
    uint32_t ids[3] = {p->op->id, must ? must->op : p->op->id, may ? may->op : p->op->id};
    return check__tell(c->r, c->h, "counter", got < low ? "lost add" : "added twice", ids, 3,
                       "Counter %s was read as %" PRId64 ", and can have been %" PRId64
                       " to %" PRId64 " (the last sure and the last possible add are shown).",
                       check__text(p->step->key).s, got, low, high);
}

/* Where nothing is taken, a read that began after another was over is not below it. */
static enum status check_rising(struct counters *c)
{
    size_t over = 0;
    const struct counter_read *top = NULL;
    struct counter_read *by_start = mem_alloc((c->reads_n + 1) * sizeof *by_start);
    if (!by_start)
        return ST_NO_MEMORY;
    size_t n = c->reads_n;
    enum status st = ST_OK;
    memcpy(by_start, c->reads, n * sizeof *by_start);
    for (size_t i = 1; i < n; i++) /* nearly sorted: a client has one read under way */
        for (size_t j = i; j > 0 && by_start[j].step->key_id == by_start[j - 1].step->key_id &&
                           by_start[j].op->invoked < by_start[j - 1].op->invoked;
             j--) {
            struct counter_read t = by_start[j];
            by_start[j] = by_start[j - 1];
            by_start[j - 1] = t;
        }
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        const struct counter_read *p = &by_start[i];
        if (i == 0 || p[-1].step->key_id != p->step->key_id) {
            top = NULL;
            over = i;
        }
        for (; over < n && c->reads[over].step->key_id == p->step->key_id &&
               c->reads[over].op->completed < p->op->invoked;
             over++)
            if (!top || c->reads[over].step->number > top->step->number)
                top = &c->reads[over];
        if (!c->falls[p->step->key_id] && top && top->step->number > p->step->number)
            st = check__tell(
                c->r, c->h, "counter", "went back", (uint32_t[]){top->op->id, p->op->id}, 2,
                "Counter %s only rises, and was read as %" PRId64 " after %" PRId64 ".",
                check__text(p->step->key).s, p->step->number, top->step->number);
    }
    mem_free(by_start);
    return st;
}

enum status check_counter(const struct history *h, struct check_report *r)
{
    size_t n, steps = 0;
    const struct history_op *ops = history_ops(h, &n);
    struct counters c = {.h = h, .r = r};
    for (size_t i = 0; i < n; i++)
        steps += ops[i].family == HISTORY_COUNTER ? ops[i].n : 0;
    c.begun = mem_alloc((steps + 1) * sizeof *c.begun);
    c.over = mem_alloc((steps + 1) * sizeof *c.over);
    c.reads = mem_alloc((steps + 1) * sizeof *c.reads);
    c.falls = mem_zalloc(history_key_count(h) + 1);
    enum status st = c.begun && c.over && c.reads && c.falls ? ST_OK : ST_NO_MEMORY;
    if (st == ST_OK)
        gather(&c, ops, n);
    for (size_t i = 0; i < c.reads_n && st == ST_OK; i++)
        st = check_bounds(&c, &c.reads[i]);
    if (st == ST_OK)
        st = check_rising(&c);
    mem_free(c.begun);
    mem_free(c.over);
    mem_free(c.reads);
    mem_free(c.falls);
    return st;
}
