/* check_versions.c - a register's operations in the order of its versions.
 *
 * The writes w1 < w2 < ... by version leave gaps: gap 0 before all of them, gap i after the i-th. A
 * read that tells its version lies in one gap. The register is linearizable if and only if
 *  - each read shows what the write before its gap wrote, and each condition fits it, and
 *  - nothing that comes later in that order was over before something earlier in it began.
 * Reads that tell no version (of nothing, most often) may lie in several gaps. Taken in order of
 * invocation, each takes the first gap that agrees with all of the others and with the earlier of
 * its kind that were over by then; a lower gap never hinders a later read, so this finds a place
 * for all of them if there is one.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/check/check_internal.h"

enum { NONE = UINT32_MAX };
enum loose { FIXED, LOOSE_ABSENT, LOOSE_PRESENT, LOOSE_OTHER };

struct placed {
    uint32_t entry;
    enum loose how;
    uint32_t gap; /* FIXED: its gap; LOOSE_OTHER: the one gap that it is not in */
};

struct order {
    const struct check_registers *all;
    const struct check_register *g;
    struct check_reason *why;
    enum check_verdict verdict;
    uint32_t *writes; /* entries, by version */
    uint32_t m;
    struct check_map by_version, by_value; /* -> gap after the write; by_value: NONE for several */
    struct placed *reads;
    size_t reads_n;
    uint32_t *latest;   /* by rank: the entry called last among those of this rank or less */
    uint32_t *earliest; /* by rank: the entry over first among those of this rank or more */
    uint32_t *absent, *present; /* by gap: the first gap from here on that is so; NONE */
};

/* Ranks: gap i has 2i, the write that leads into it 2i - 1. */
static uint32_t ranks(const struct order *o)
{
    return 2 * o->m + 1;
}

static const struct check_entry *entry(const struct order *o, uint32_t i)
{
    return &o->g->e[i];
}

static const struct check_entry *write_before(const struct order *o, uint32_t gap)
{
    return gap ? entry(o, o->writes[gap - 1]) : NULL;
}

static bool gap_absent(const struct order *o, uint32_t gap)
{
    return gap == 0 || write_before(o, gap)->value == CHECK_ABSENT;
}

static void blame(struct order *o, const char *anomaly, const struct check_entry *a,
                  const struct check_entry *b, const struct check_entry *c, const char *words)
{
    if (o->verdict == CHECK_WRONG)
        return; /* the first is told */
    o->verdict = CHECK_WRONG;
    struct check_reason *w = o->why;
    *w = (struct check_reason){.anomaly = anomaly, .held = CHECK_ANY_VALUE};
    const struct check_entry *of[] = {a, b, c};
    for (size_t i = 0; i < 3; i++)
        if (of[i])
            w->ops[w->n++] = of[i]->op;
    snprintf(w->words, sizeof w->words, "%s", words);
}

/* Wrong, unless a write that no version is known of explains it. */
static void blame_or_open(struct order *o, const char *anomaly, const struct check_entry *a,
                          const struct check_entry *b, const struct check_entry *c,
                          const char *words)
{
    if (!o->g->open)
        blame(o, anomaly, a, b, c, words);
    else if (o->verdict == CHECK_RIGHT)
        o->verdict = CHECK_OPEN;
}

/* --- the writes --- */

static enum status order_writes(struct order *o)
{
    o->writes = mem_alloc((o->g->n + 1) * sizeof *o->writes);
    if (!o->writes || check__writes_by_version(o->g, o->writes, &o->m) != ST_OK)
        return ST_NO_MEMORY;
    if (o->m && entry(o, o->writes[0])->version == 0)
        o->verdict = CHECK_OPEN; /* only a search can place it */
    return ST_OK;
}

/* A value that an uncertain write may have brought tells nobody's version. */
static enum status map_uncertain(struct order *o)
{
    for (uint32_t i = 0; i < o->g->n; i++) {
        const struct check_entry *e = entry(o, i);
        if (e->kind != CHECK_WRITE || e->certain)
            continue;
        if (!check__map_put(&o->by_value, e->value, 0, 0, NONE))
            return ST_NO_MEMORY;
    }
    return ST_OK;
}

static enum status map_writes(struct order *o)
{
    if (map_uncertain(o) != ST_OK)
        return ST_NO_MEMORY;
    for (uint32_t gap = 1; gap <= o->m; gap++) {
        const struct check_entry *e = write_before(o, gap), *p = write_before(o, gap - 1);
        if (p && p->version == e->version)
            blame(o, "one version twice", p, e, NULL, "Two writes were told the same version.");
        if (!check__map_put(&o->by_version, e->version, 0, 0, gap))
            return ST_NO_MEMORY;
        if (e->value == CHECK_ABSENT)
            continue;
        uint32_t *v = check__map_put(&o->by_value, e->value, 0, 0, gap);
        if (!v)
            return ST_NO_MEMORY;
        if (*v != gap)
            *v = NONE;
    }
    return ST_OK;
}

/* What a write required must be what the write before it left. */
static void check_condition(struct order *o, uint32_t gap)
{
    const struct check_entry *e = write_before(o, gap), *p = write_before(o, gap - 1);
    bool absent = gap_absent(o, gap - 1);
    switch (e->require) {
    case HISTORY_ANY:
    case HISTORY_REQUIRES:
        return;
    case HISTORY_ABSENT:
        if (!absent)
            blame_or_open(o, "insert over a value", p, e, NULL,
                          "A write that required an absent key followed one that left a value.");
        return;
    case HISTORY_PRESENT:
        if (absent)
            blame_or_open(o, "update of nothing", p, e, NULL,
                          "A write that required a present key found none in the order of "
                          "versions.");
        return;
    case HISTORY_AT_VERSION:
        break;
    }
    const uint32_t *want = check__map_get(&o->by_version, e->want, 0, 0);
    const struct check_entry *w = want ? write_before(o, *want) : NULL;
    if (!absent && p->version == e->want)
        return;
    if (p && p->version > e->want) /* nothing uncertain can undo that one */
        blame(o, "lost update", w, p, e,
              "A write at a version went through although another write had come between.");
    else
        blame_or_open(o, "lost update", w, p, e,
                      "A write went through at a version that the key did not have.");
}

/* --- the reads --- */

static const struct check_entry *writer_of_value(const struct order *o, const struct check_entry *e)
{
    const uint32_t *gap = check__map_get(&o->by_value, e->value, 0, 0);
    return gap && *gap != NONE ? write_before(o, *gap) : NULL;
}

static void blame_unwritten(struct order *o, const struct check_entry *e)
{
    const uint32_t *failed = check__map_get(&o->all->failed, o->g->key, e->value, 0);
    const struct check_entry *writer = writer_of_value(o, e);
    if (e->kind == CHECK_READ && e->value < CHECK_ANY_VALUE && writer && e->version) {
        blame_or_open(o, "write applied twice", writer, e, NULL,
                      "A value was read under another version than its one write was told.");
    } else if (failed && !writer) {
        blame_or_open(o, "dirty read", e, NULL, NULL,
                      "A value was read whose write had failed for certain.");
        if (o->verdict == CHECK_WRONG && o->why->n < 8 && o->why->ops[0] == e->op)
            o->why->ops[o->why->n++] = *failed;
    } else {
        blame_or_open(o, "phantom", e, NULL, NULL,
                      "Something was seen that no operation can have written.");
    }
}

/* The gap of what tells a version, or a value that was written once; NONE after blaming. */
static uint32_t fixed_gap(struct order *o, const struct check_entry *e, uint64_t version)
{
    const uint32_t *gap =
        check__map_get(version ? &o->by_version : &o->by_value, version ? version : e->value, 0, 0);
    if (gap && *gap != NONE)
        return *gap;
    if (gap && o->verdict == CHECK_RIGHT) /* the value was written several times */
        o->verdict = CHECK_OPEN;
    if (!gap)
        blame_unwritten(o, e);
    return NONE;
}

static void check_seen(struct order *o, const struct check_entry *e, uint32_t gap)
{
    const struct check_entry *w = write_before(o, gap);
    bool wrong = false;
    switch (e->kind) {
    case CHECK_READ:
        wrong = w->value != e->value;
        break;
    case CHECK_HELD:
        wrong = w->value == CHECK_ABSENT;
        break;
    case CHECK_REFUSED:
        wrong = e->require == HISTORY_ABSENT    ? w->value == CHECK_ABSENT
                : e->require == HISTORY_PRESENT ? w->value != CHECK_ABSENT
                                                : w->version == e->want && w->value != CHECK_ABSENT;
        break;
    case CHECK_WRITE:
        break;
    }
    if (wrong)
        blame(o, e->kind == CHECK_REFUSED ? "refused without reason" : "wrong value", w, e, NULL,
              e->kind == CHECK_REFUSED
                  ? "A requirement was refused that the version it was told of fulfils."
                  : "A version was read with something else than was written under it.");
}

static void place_loose(struct order *o, uint32_t i, enum loose how, uint32_t gap)
{
    o->reads[o->reads_n++] = (struct placed){i, how, gap};
}

static void place_fixed(struct order *o, uint32_t i, uint64_t version)
{
    uint32_t gap = fixed_gap(o, entry(o, i), version);
    if (gap == NONE)
        return;
    check_seen(o, entry(o, i), gap);
    place_loose(o, i, FIXED, gap);
}

static void place_refused(struct order *o, uint32_t i)
{
    const struct check_entry *e = entry(o, i);
    if (e->version) {
        place_fixed(o, i, e->version);
    } else if (e->require == HISTORY_ABSENT) {
        place_loose(o, i, LOOSE_PRESENT, 0);
    } else if (e->require == HISTORY_PRESENT) {
        place_loose(o, i, LOOSE_ABSENT, 0);
    } else if (e->require == HISTORY_AT_VERSION) {
        const uint32_t *gap = check__map_get(&o->by_version, e->want, 0, 0);
        place_loose(o, i, LOOSE_OTHER, gap && !gap_absent(o, *gap) ? *gap : NONE);
    }
}

static void place(struct order *o, uint32_t i)
{
    const struct check_entry *e = entry(o, i);
    switch (e->kind) {
    case CHECK_WRITE:
        break;
    case CHECK_READ:
        if (e->value == CHECK_ABSENT && e->version == 0)
            place_loose(o, i, LOOSE_ABSENT, 0);
        else
            place_fixed(o, i, e->version);
        break;
    case CHECK_HELD:
        if (e->require == HISTORY_AT_VERSION)
            place_fixed(o, i, e->want);
        else if (e->require != HISTORY_ANY)
            place_loose(o, i, e->require == HISTORY_ABSENT ? LOOSE_ABSENT : LOOSE_PRESENT, 0);
        break;
    case CHECK_REFUSED:
        place_refused(o, i);
        break;
    }
}

/* --- real time --- */

static void note_latest(struct order *o, uint32_t rank, uint32_t i)
{
    if (i != NONE &&
        (o->latest[rank] == NONE || entry(o, o->latest[rank])->call < entry(o, i)->call))
        o->latest[rank] = i;
}

static void note_earliest(struct order *o, uint32_t rank, uint32_t i)
{
    if (i != NONE &&
        (o->earliest[rank] == NONE || entry(o, o->earliest[rank])->ret > entry(o, i)->ret))
        o->earliest[rank] = i;
}

static void note_ranks(struct order *o)
{
    for (uint32_t rank = 0; rank < ranks(o); rank++)
        o->latest[rank] = o->earliest[rank] = NONE;
    for (uint32_t gap = 1; gap <= o->m; gap++) {
        note_latest(o, 2 * gap - 1, o->writes[gap - 1]);
        note_earliest(o, 2 * gap - 1, o->writes[gap - 1]);
    }
    for (size_t i = 0; i < o->reads_n; i++)
        if (o->reads[i].how == FIXED) {
            note_latest(o, 2 * o->reads[i].gap, o->reads[i].entry);
            note_earliest(o, 2 * o->reads[i].gap, o->reads[i].entry);
        }
    for (uint32_t rank = 1; rank < ranks(o); rank++)
        note_latest(o, rank, o->latest[rank - 1]);
    for (uint32_t rank = ranks(o) - 1; rank-- > 0;)
        note_earliest(o, rank, o->earliest[rank + 1]);
}

/* `e` has the higher rank, and yet was over before an entry of a lower rank began. */
static void check_time(struct order *o, uint32_t rank, uint32_t i)
{
    const struct check_entry *e = entry(o, i);
    const struct check_entry *a =
        rank && o->latest[rank - 1] != NONE ? entry(o, o->latest[rank - 1]) : NULL;
    if (!a || a->call < e->ret)
        return;
    const struct check_entry *w = write_before(o, (rank + 1) / 2);
    if (a->kind != CHECK_WRITE)
        blame(o, "stale read", w, e, a,
              "An old state was seen after a newer one had been acknowledged or seen.");
    else if (e->kind == CHECK_WRITE)
        blame(o, "reordered writes", e, a, NULL,
              "A write got a lower version than one that was over before it began.");
    else
        blame(o, "read ahead of its write", w, e, a,
              "What was read has a version at or above that of a write that began only later.");
}

static void check_times(struct order *o)
{
    for (uint32_t gap = 1; gap <= o->m; gap++)
        check_time(o, 2 * gap - 1, o->writes[gap - 1]);
    for (size_t i = 0; i < o->reads_n; i++)
        if (o->reads[i].how == FIXED)
            check_time(o, 2 * o->reads[i].gap, o->reads[i].entry);
}

/* --- reads that may lie in several gaps --- */

static void find_gaps(struct order *o)
{
    o->absent[o->m + 1] = o->present[o->m + 1] = NONE;
    for (uint32_t gap = o->m + 1; gap-- > 0;) {
        bool absent = gap_absent(o, gap);
        o->absent[gap] = absent ? gap : o->absent[gap + 1];
        o->present[gap] = absent ? o->present[gap + 1] : gap;
    }
}

static uint32_t next_gap(const struct order *o, const struct placed *p, uint32_t from)
{
    if (from > o->m)
        return NONE;
    if (p->how == LOOSE_ABSENT)
        return o->absent[from];
    if (p->how == LOOSE_PRESENT)
        return o->present[from];
    if (from == p->gap)
        from++;
    return from > o->m ? NONE : from;
}

/* The first gap with nothing after it that was over before `call`. */
static uint32_t lowest_gap(const struct order *o, uint64_t call)
{
    uint32_t lo = 0, hi = o->m;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2, i = o->earliest[2 * mid + 1];
        if (i == NONE || entry(o, i)->ret > call)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Whether nothing before this gap began after `ret`. */
static bool gap_low_enough(const struct order *o, uint32_t gap, uint64_t ret)
{
    uint32_t i = gap ? o->latest[2 * gap - 1] : NONE;
    return i == NONE || entry(o, i)->call < ret;
}

static int by_ret(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (x[0] > y[0]) - (x[0] < y[0]);
}

static void place_one(struct order *o, struct placed *p, uint32_t from)
{
    const struct check_entry *e = entry(o, p->entry);
    uint32_t lo = lowest_gap(o, e->call), gap = next_gap(o, p, lo > from ? lo : from);
    if (gap != NONE && gap_low_enough(o, gap, e->ret)) {
        p->gap = gap;
        return;
    }
    const struct check_entry *w = write_before(o, lo);
    blame_or_open(o, e->kind == CHECK_READ ? "stale read" : "refused without reason", w, e, NULL,
                  e->kind == CHECK_READ
                      ? "Nothing was found, although at no moment of the read there was nothing."
                      : "A requirement was refused, or held, that at no moment of the operation "
                        "was so.");
    p->gap = from;
}

/* `ends`: pairs of (ret, gap) of those placed, to be sorted; the gap is known by then, because all
 * that is over before `call` began before it too. */
static enum status place_all_loose(struct order *o)
{
    size_t n = 0;
    uint64_t(*ends)[2] = mem_alloc((o->reads_n + 1) * sizeof *ends);
    if (!ends)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < o->reads_n; i++)
        if (o->reads[i].how != FIXED) {
            ends[n][0] = entry(o, o->reads[i].entry)->ret;
            ends[n++][1] = i;
        }
    qsort(ends, n, sizeof *ends, by_ret);
    uint32_t from = 0;
    size_t over = 0;
    for (size_t i = 0; i < o->reads_n; i++) { /* reads are in order of invocation */
        struct placed *p = &o->reads[i];
        if (p->how == FIXED)
            continue;
        for (; over < n && ends[over][0] < entry(o, p->entry)->call; over++)
            if (o->reads[ends[over][1]].gap > from)
                from = o->reads[ends[over][1]].gap;
        place_one(o, p, from);
    }
    mem_free(ends);
    return ST_OK;
}

static enum status order_reads(struct order *o)
{
    size_t n = o->m + 2, r = ranks(o);
    o->reads = mem_alloc((o->g->n + 1) * sizeof *o->reads);
    o->latest = mem_alloc(r * sizeof *o->latest);
    o->earliest = mem_alloc((r + 1) * sizeof *o->earliest);
    o->absent = mem_alloc(n * sizeof *o->absent);
    o->present = mem_alloc(n * sizeof *o->present);
    if (!o->reads || !o->latest || !o->earliest || !o->absent || !o->present)
        return ST_NO_MEMORY;
    for (uint32_t i = 0; i < o->g->n; i++)
        place(o, i);
    note_ranks(o);
    check_times(o);
    o->earliest[r] = NONE; /* beyond the last gap nothing is over */
    find_gaps(o);
    return place_all_loose(o);
}

enum status check__by_versions(const struct check_registers *all, const struct check_register *g,
                               enum check_verdict *ret, struct check_reason *why)
{
    struct order o = {.all = all, .g = g, .why = why, .verdict = CHECK_RIGHT};
    enum status st = order_writes(&o);
    if (st == ST_OK && o.verdict == CHECK_RIGHT) {
        st = map_writes(&o);
        for (uint32_t gap = 1; gap <= o.m && st == ST_OK; gap++)
            check_condition(&o, gap);
        if (st == ST_OK)
            st = order_reads(&o);
    }
    if (st == ST_OK)
        *ret = o.verdict;
    mem_free(o.writes);
    mem_free(o.reads);
    mem_free(o.latest);
    mem_free(o.earliest);
    mem_free(o.absent);
    mem_free(o.present);
    check__map_deinit(&o.by_version);
    check__map_deinit(&o.by_value);
    return st;
}
