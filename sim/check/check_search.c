/* check_search.c - is there any order? The search of Wing and Gong (1993), with the memo of Lowe
 * (2017) that Porcupine (Athalye) uses too.
 *
 * An order is built from its front. What may come next began before anything that is left was over;
 * if none of these fits the state, the last choice is taken back. What was tried is remembered as
 * (set of operations already in the order, state): meeting it again is in vain. The set is known by
 * 128 bits, the exclusive or of two random numbers an operation; that two sets of one search share
 * them is less likely than 1 in 10^25, and would show as a violation that check__by_versions denies.
 *
 * What makes it fast without changing its verdict:
 *  - a read that fits the state now is taken now, and never taken back: it changes nothing, and in
 *    any order that has it later it may as well stand here;
 *  - a write whose answer was lost is tried last, and only what can notice it may follow it: if an
 *    unconditional write follows, leaving it out is as good;
 *  - candidates are tried by version, then by invocation.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/check/check_internal.h"

enum { NONE = UINT32_MAX };

/* What the key holds. Its version is exact, or, after a write that was told none, above `version`.
 */
struct state {
    uint32_t value;
    bool exact;
    bool uncertain; /* the last one was: only what notices it may follow */
    uint64_t version;
    uint64_t
        other_than; /* while inexact: a version that it is not, for somebody was refused at it */
};

struct frame {
    uint32_t entry;       /* that was taken to get here; NONE at the start */
    bool settled;         /* it need not be taken back */
    bool last;            /* the uncertain ones were listed too */
    struct state state;   /* after it */
    size_t from, at, end; /* its candidates, and the next to try */
    uint64_t limit;       /* the end of the first that is left */
};

struct search {
    const struct check_register *g;
    uint32_t *next, *prev; /* entries left, in order of invocation; number n is the head */
    uint32_t left;         /* certain ones */
    uint32_t *candidates;
    size_t candidates_cap;
    struct frame *frames;
    size_t depth, depth_cap;
    uint64_t set[2];
    uint64_t (*memo)[2]; /* open addressing; 0,0 is free */
    size_t memo_n, memo_size;
    uint64_t steps, steps_max;
    size_t deepest;
    struct state deepest_state;
    struct check_reason *why;
};

/* --- the register as a state machine --- */

/* The state's version is `version`, if it can be. */
static bool pin(struct state *s, uint64_t version)
{
    if (version == 0)
        return true;
    if (s->exact)
        return s->version == version;
    if (version <= s->version || version == s->other_than)
        return false;
    s->version = version;
    s->exact = true;
    s->other_than = 0;
    return true;
}

static bool holds(struct state *s, enum history_require require, uint64_t want)
{
    bool present = s->value != CHECK_ABSENT;
    switch (require) {
    case HISTORY_ABSENT:
        return !present;
    case HISTORY_PRESENT:
        return present;
    case HISTORY_AT_VERSION:
        return present && pin(s, want);
    case HISTORY_ANY:
    case HISTORY_REQUIRES:
        break;
    }
    return true;
}

static bool refused(struct state *s, const struct check_entry *e)
{
    bool present = s->value != CHECK_ABSENT;
    if (!pin(s, e->version))
        return false;
    switch (e->require) {
    case HISTORY_ABSENT:
        return present;
    case HISTORY_PRESENT:
        return !present;
    case HISTORY_AT_VERSION:
        if (present && !s->exact)
            s->other_than = e->want;
        return !present || !s->exact || s->version != e->want;
    case HISTORY_ANY:
    case HISTORY_REQUIRES:
        break;
    }
    return true;
}

static bool model_step(struct state s, const struct check_entry *e, struct state *ret)
{
    if (s.uncertain && e->kind == CHECK_WRITE && e->require == HISTORY_ANY)
        return false;
    s.uncertain = false;
    switch (e->kind) {
    case CHECK_READ:
        if (s.value != e->value || !pin(&s, e->version))
            return false;
        break;
    case CHECK_HELD:
        if (!holds(&s, e->require, e->want))
            return false;
        break;
    case CHECK_REFUSED:
        if (!refused(&s, e))
            return false;
        break;
    case CHECK_WRITE:
        if (!holds(&s, e->require, e->want) || (e->version && e->version <= s.version))
            return false;
        s.value = e->value;
        s.exact = e->version != 0;
        s.uncertain = !e->certain;
        s.other_than = 0;
        if (e->version)
            s.version = e->version;
        break;
    }
    *ret = s;
    return true;
}

/* --- the set and the memo --- */

static uint64_t random_of(uint32_t entry, unsigned which)
{
    return check__mix(((uint64_t)entry * 2 + which + 1) * 0x9e3779b97f4a7c15u);
}

static void take(struct search *s, uint32_t i)
{
    s->next[s->prev[i]] = s->next[i];
    s->prev[s->next[i]] = s->prev[i];
    s->left -= s->g->e[i].certain;
    s->set[0] ^= random_of(i, 0);
    s->set[1] ^= random_of(i, 1);
}

static void put_back(struct search *s, uint32_t i)
{
    s->next[s->prev[i]] = i;
    s->prev[s->next[i]] = i;
    s->left += s->g->e[i].certain;
    s->set[0] ^= random_of(i, 0);
    s->set[1] ^= random_of(i, 1);
}

static enum status memo_double(struct search *s)
{
    size_t size = s->memo_size ? s->memo_size * 2 : 1024;
    uint64_t(*memo)[2] = mem_zalloc(size * sizeof *memo);
    if (!memo)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < s->memo_size; i++) {
        if (s->memo[i][0] == 0)
            continue;
        size_t at = s->memo[i][0] & (size - 1);
        while (memo[at][0])
            at = (at + 1) & (size - 1);
        memcpy(memo[at], s->memo[i], sizeof memo[at]);
    }
    mem_free(s->memo);
    s->memo = memo;
    s->memo_size = size;
    return ST_OK;
}

/* Remembers (set, state); *ret_new: it had not been met. */
static enum status memo_add(struct search *s, const struct state *st, bool *ret_new)
{
    if (s->memo_n * 2 >= s->memo_size && memo_double(s) != ST_OK)
        return ST_NO_MEMORY;
    uint64_t of = check__mix(st->version + 1) ^ check__mix(st->other_than + 0x9e37) ^
                  (((uint64_t)st->value << 2) | (uint64_t)st->exact << 1 | st->uncertain);
    uint64_t a = check__mix(s->set[0] ^ check__mix(of)) | 1, b = s->set[1] + check__mix(of + 1);
    size_t i = a & ~(uint64_t)1 & (s->memo_size - 1);
    for (; s->memo[i][0]; i = (i + 1) & (s->memo_size - 1))
        if (s->memo[i][0] == a && s->memo[i][1] == b) {
            *ret_new = false;
            return ST_OK;
        }
    s->memo[i][0] = a;
    s->memo[i][1] = b;
    s->memo_n++;
    *ret_new = true;
    return ST_OK;
}

/* --- candidates --- */

static enum status add_candidate(struct search *s, struct frame *f, uint32_t i)
{
    if (f->end == s->candidates_cap) {
        size_t cap = s->candidates_cap ? s->candidates_cap * 2 : 256;
        uint32_t *more = mem_realloc(s->candidates, cap * sizeof *more);
        if (!more)
            return ST_NO_MEMORY;
        s->candidates = more;
        s->candidates_cap = cap;
    }
    s->candidates[f->end++] = i;
    return ST_OK;
}

static bool before(const struct search *s, uint32_t a, uint32_t b)
{
    const struct check_entry *x = &s->g->e[a], *y = &s->g->e[b];
    bool xw = x->kind == CHECK_WRITE, yw = y->kind == CHECK_WRITE;
    if (xw != yw)
        return yw; /* what only looks goes first */
    uint64_t xv = xw && x->version ? x->version : UINT64_MAX;
    uint64_t yv = yw && y->version ? y->version : UINT64_MAX;
    return xv != yv ? xv < yv : a < b;
}

/* They are few: insertion sort. */
static void sort_candidates(struct search *s, struct frame *f)
{
    uint32_t *c = s->candidates + f->from;
    size_t n = f->end - f->from;
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && before(s, c[j], c[j - 1]); j--) {
            uint32_t t = c[j];
            c[j] = c[j - 1];
            c[j - 1] = t;
        }
}

/* Those left that began before any of them was over. */
static enum status list_candidates(struct search *s, struct frame *f, bool certain)
{
    uint32_t head = (uint32_t)s->g->n;
    f->limit = certain ? UINT64_MAX : f->limit;
    for (uint32_t i = s->next[head]; i != head; i = s->next[i]) {
        const struct check_entry *e = &s->g->e[i];
        if (e->call > f->limit)
            break;
        if (certain && e->certain && e->ret < f->limit)
            f->limit = e->ret;
        if (e->certain == certain && add_candidate(s, f, i) != ST_OK)
            return ST_NO_MEMORY;
    }
    if (certain)
        sort_candidates(s, f);
    return ST_OK;
}

/* --- the search --- */

static enum status push(struct search *s, uint32_t entry, bool settled, struct state state)
{
    if (s->depth == s->depth_cap) {
        size_t cap = s->depth_cap ? s->depth_cap * 2 : 256;
        struct frame *more = mem_realloc(s->frames, cap * sizeof *more);
        if (!more)
            return ST_NO_MEMORY;
        s->frames = more;
        s->depth_cap = cap;
    }
    size_t from = s->depth ? s->frames[s->depth - 1].end : 0;
    struct frame *f = &s->frames[s->depth++];
    *f = (struct frame){entry, settled, false, state, from, from, from, 0};
    if (entry != NONE)
        take(s, entry);
    return list_candidates(s, f, true);
}

static void pop(struct search *s)
{
    bool settled;
    do {
        const struct frame *f = &s->frames[--s->depth];
        settled = f->settled;
        if (f->entry != NONE)
            put_back(s, f->entry);
    } while (settled && s->depth);
}

/* The furthest that any order got: the last of it, and what could not follow. */
static void note_deepest(struct search *s)
{
    if (s->depth <= s->deepest)
        return;
    s->deepest = s->depth;
    const struct frame *f = &s->frames[s->depth - 1];
    struct check_reason *w = s->why;
    *w = (struct check_reason){.anomaly = "not linearizable", .held = CHECK_ANY_VALUE};
    for (size_t i = s->depth; i-- > 1 && w->n < 3;)
        w->ops[w->n++] = s->g->e[s->frames[i].entry].op;
    for (size_t i = f->from; i < f->end && w->n < sizeof w->ops / sizeof w->ops[0]; i++)
        w->ops[w->n++] = s->g->e[s->candidates[i]].op;
    s->deepest_state = f->state;
}

static void tell_deepest(struct search *s)
{
    s->why->held = s->deepest_state.value;
    snprintf(s->why->words, sizeof s->why->words,
             "The longest order that fits has %zu of %zu operations, and nothing fits after it. "
             "The key's version is then %s%" PRIu64 ".",
             s->deepest - 1, s->g->n, s->deepest_state.exact ? "" : "above ",
             s->deepest_state.version);
}

/* One choice: goes deeper, or stays for the next candidate. */
static enum status try_candidate(struct search *s, struct frame *f)
{
    uint32_t i = s->candidates[f->at++];
    const struct check_entry *e = &s->g->e[i];
    struct state next;
    s->steps++;
    if (!model_step(f->state, e, &next))
        return ST_OK;
    bool settled = e->kind != CHECK_WRITE && f->state.exact && !f->state.uncertain;
    if (settled)
        f->at = f->end, f->last = true; /* nothing else need be tried here */
    take(s, i);
    bool fresh = true;
    enum status st = memo_add(s, &next, &fresh);
    put_back(s, i);
    return st == ST_OK && fresh ? push(s, i, settled, next) : st;
}

static enum status run(struct search *s, enum check_verdict *ret)
{
    enum status st = push(s, NONE, false, (struct state){.value = CHECK_ABSENT, .exact = true});
    while (st == ST_OK) {
        struct frame *f = &s->frames[s->depth - 1];
        if (s->left == 0 || s->steps >= s->steps_max) {
            *ret = s->left == 0 ? CHECK_RIGHT : CHECK_OPEN;
            return ST_OK;
        }
        note_deepest(s);
        if (f->at < f->end) {
            st = try_candidate(s, f);
        } else if (!f->last) {
            f->last = true;
            st = list_candidates(s, f, false);
        } else {
            pop(s);
            if (s->depth == 0) {
                tell_deepest(s);
                *ret = CHECK_WRONG;
                return ST_OK;
            }
        }
    }
    return st;
}

enum status check__by_search(const struct check_register *g, uint64_t steps,
                             enum check_verdict *ret, struct check_reason *why)
{
    struct search s = {.g = g, .steps_max = steps, .why = why};
    size_t n = g->n;
    s.next = mem_alloc((n + 1) * sizeof *s.next);
    s.prev = mem_alloc((n + 1) * sizeof *s.prev);
    enum status st = s.next && s.prev ? ST_OK : ST_NO_MEMORY;
    for (uint32_t i = 0; i <= n && st == ST_OK; i++) { /* a ring through the head */
        s.next[i] = i < n ? i + 1 : 0;
        s.prev[i] = i ? i - 1 : (uint32_t)n;
        s.left += i < n && g->e[i].certain;
    }
    if (st == ST_OK)
        st = run(&s, ret);
    mem_free(s.next);
    mem_free(s.prev);
    mem_free(s.candidates);
    mem_free(s.frames);
    mem_free(s.memo);
    return st;
}
