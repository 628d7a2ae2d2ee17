/* check_cycle.c - which kind of cycle, and in words.
 *
 * The names are those of Adya (1999) as Elle (Kingsbury and Alvaro, 2020) uses them:
 *   G0        writes only (ww)
 *   G1c       writes and reads of what was written (ww, wr)
 *   G-single  exactly one anti-dependency (rw): read skew, a lost update, a stale read
 *   G2        several: write skew
 * each "in real time" when it needs an operation that was over before another began. A component is
 * told once, by the first kind in this order of which a cycle was found, and a short one of that.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/check/check_internal.h"

enum { NONE = UINT32_MAX, STARTS_MAX = 256 };
enum { WW = 1 << CHECK_WW, WR = 1 << CHECK_WR, RW = 1 << CHECK_RW, TIME = 1 << CHECK_TIME };

/* A cycle of this kind has an edge of `one`, and goes back over edges of `rest`. */
static const struct kind {
    const char *name;
    unsigned one, rest;
} KINDS[] = {
    {"G0", WW, WW},
    {"G1c", WR, WW | WR},
    {"G-single", RW, WW | WR},
    {"G2", RW, WW | WR | RW},
    {"G0 in real time", WW, WW | TIME},
    {"G1c in real time", WR, WW | WR | TIME},
    {"G-single in real time", RW, WW | WR | TIME},
    {"G2 in real time", RW, WW | WR | RW | TIME},
};

struct finder {
    const struct check_graph *g;
    const struct history *h;
    const char *checker;
    bool several_keys;
    struct check_report *r;
    uint32_t *of;           /* component of each node */
    uint32_t *queue, *came; /* breadth first: the edge by which a node was met, NONE */
    uint32_t *cycle;        /* edges, in order */
    size_t cycle_n;
};

/* The shortest way from `from` to `to` inside their component; false: none. */
static bool way(struct finder *f, uint32_t from, uint32_t to, unsigned mask)
{
    const struct check_graph *g = f->g;
    uint32_t head = 0, tail = 0;
    bool found = false;
    f->queue[tail++] = from;
    f->came[from] = (uint32_t)g->n; /* no edge, but met */
    while (head < tail && !found) {
        uint32_t v = f->queue[head++];
        for (uint32_t i = g->first[v]; i < g->first[v + 1] && !found; i++) {
            const struct check_edge *e = &g->edges[i];
            if (!(mask & 1u << e->kind) || f->of[e->to] != f->of[from] || f->came[e->to] != NONE)
                continue;
            f->came[e->to] = i;
            f->queue[tail++] = e->to;
            found = e->to == to;
        }
    }
    f->cycle_n = 0;
    for (uint32_t v = to; found && v != from; v = g->edges[f->came[v]].from)
        f->cycle[f->cycle_n++] = f->came[v];
    while (tail > 0)
        f->came[f->queue[--tail]] = NONE;
    return found;
}

static void reverse(uint32_t *a, size_t n)
{
    for (size_t i = 0; i < n / 2; i++) {
        uint32_t t = a[i];
        a[i] = a[n - 1 - i];
        a[n - 1 - i] = t;
    }
}

/* A short cycle of the kind in the component of these nodes, into f->cycle. */
static enum status find_kind(struct finder *f, const struct kind *k, const uint32_t *nodes,
                             size_t n, bool *ret)
{
    const struct check_graph *g = f->g;
    size_t best_n = 0, starts = 0;
    uint32_t *best = mem_alloc((g->nodes + 1) * sizeof *best);
    if (!best)
        return ST_NO_MEMORY;
    for (size_t j = 0; j < n && starts < STARTS_MAX; j++)
        for (uint32_t i = g->first[nodes[j]]; i < g->first[nodes[j] + 1]; i++) {
            const struct check_edge *e = &g->edges[i];
            if (!(k->one & 1u << e->kind) || f->of[e->to] != f->of[e->from])
                continue;
            starts++;
            if (!way(f, e->to, e->from, k->rest) || (best_n && f->cycle_n + 1 >= best_n))
                continue;
            reverse(f->cycle, f->cycle_n);
            best[0] = i;
            memcpy(best + 1, f->cycle, f->cycle_n * sizeof *best);
            best_n = f->cycle_n + 1;
        }
    if (best_n) {
        memcpy(f->cycle, best, best_n * sizeof *best);
        f->cycle_n = best_n;
    }
    *ret = best_n > 0;
    mem_free(best);
    return ST_OK;
}

/* --- in words --- */

/* Joins the edges from one operation to the next; what they stand for together. */
struct hop {
    uint32_t from, to;
    enum check_edge_kind kind;
    uint32_t key;
};

static size_t hops_of(const struct finder *f, struct hop *out, size_t max)
{
    size_t start = 0, n = 0;
    while (f->g->edges[f->cycle[start]].from >= f->g->ops)
        start++; /* begin at an operation: every cycle has one */
    for (size_t i = 0; i < f->cycle_n; i++) {
        const struct check_edge *e = &f->g->edges[f->cycle[(start + i) % f->cycle_n]];
        if (e->from < f->g->ops) {
            if (n == max)
                return n;
            out[n++] = (struct hop){e->from, NONE, e->kind, e->key};
        } else if (out[n - 1].kind == CHECK_TIME && e->kind != CHECK_TIME) {
            out[n - 1].kind = e->kind;
            out[n - 1].key = e->key;
        }
        out[n - 1].to = e->to;
    }
    return n;
}

static enum status tell_hop(struct buf *out, const struct history *h, const struct hop *p)
{
    struct check_text key =
        p->key == NONE ? (struct check_text){{0}} : check__text(history_key(h, p->key));
    switch (p->kind) {
    case CHECK_WW:
        return buf_printf(out, "  %u wrote %s before %u did\n", p->from, key.s, p->to);
    case CHECK_WR:
        return buf_printf(out, "  %u wrote of %s what %u read\n", p->from, key.s, p->to);
    case CHECK_RW:
        return buf_printf(out, "  %u read %s as it was before %u wrote it\n", p->from, key.s,
                          p->to);
    case CHECK_TIME:
        return buf_printf(out, "  %u was over before %u began\n", p->from, p->to);
    case CHECK_EDGE_KINDS:
        break;
    }
    return ST_OK;
}

/* A name that says more than its class, where there is one. */
static const char *name_of(const struct kind *k, const struct hop *hops, size_t n)
{
    bool two_rw = n == 2 && hops[0].kind == CHECK_RW && hops[1].kind == CHECK_RW;
    bool rw_ww = n == 2 && ((hops[0].kind == CHECK_RW && hops[1].kind == CHECK_WW) ||
                            (hops[0].kind == CHECK_WW && hops[1].kind == CHECK_RW));
    if ((two_rw || rw_ww) && hops[0].key == hops[1].key)
        return "lost update";
    if (two_rw)
        return "write skew";
    return k->name;
}

static enum status tell_cycle(struct finder *f, const struct kind *k)
{
    enum { HOPS_MAX = 24 };
    struct hop hops[HOPS_MAX];
    uint32_t ids[2 * HOPS_MAX];
    size_t n = hops_of(f, hops, HOPS_MAX), keys = 0;
    uint32_t key = NONE;
    for (size_t i = 0; i < n; i++) {
        ids[i] = hops[i].from;
        if (hops[i].key != NONE && hops[i].key != key) {
            key = hops[i].key;
            keys++;
        }
    }
    if (f->several_keys && keys < 2)
        return ST_OK;
    const char *name = name_of(k, hops, n);
    if (!check__found(f->r, f->checker, name))
        return ST_OK;
    struct buf story = BUF_INIT;
    enum status st =
        buf_printf(&story, "  No order of these operations explains them (%s):\n", k->name);
    for (size_t i = 0; i < n && st == ST_OK; i++)
        st = tell_hop(&story, f->h, &hops[i]);
    if (st == ST_OK)
        st = check__tell_ops(&story, f->h, ids, n);
    st = check__told(f->r, f->checker, name, &story, st);
    buf_deinit(&story);
    return st;
}

static enum status explain(struct finder *f, const uint32_t *nodes, size_t n)
{
    bool found = false;
    enum status st = ST_OK;
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS && st == ST_OK && !found; i++) {
        st = find_kind(f, &KINDS[i], nodes, n, &found);
        if (st == ST_OK && found)
            st = tell_cycle(f, &KINDS[i]);
    }
    return st;
}

/* Nodes by component (counting), then each that has more than one. */
static enum status each_component(struct finder *f)
{
    uint32_t n = f->g->nodes, *first = mem_zalloc((n + 2) * sizeof *first);
    uint32_t *nodes = mem_alloc((n + 1) * sizeof *nodes);
    enum status st = first && nodes ? ST_OK : ST_NO_MEMORY;
    for (uint32_t v = 0; v < n && st == ST_OK; v++)
        first[f->of[v] + 1]++;
    for (uint32_t c = 0; c < n && st == ST_OK; c++)
        first[c + 1] += first[c];
    for (uint32_t v = n; v-- > 0 && st == ST_OK;)
        nodes[--first[f->of[v] + 1]] = v; /* afterwards first[c + 1] is where c begins */
    for (uint32_t c = 0; c < n && st == ST_OK; c++) {
        uint32_t from = first[c + 1], to = c + 1 < n ? first[c + 2] : n;
        if (to - from > 1)
            st = explain(f, nodes + from, to - from);
    }
    mem_free(first);
    mem_free(nodes);
    return st;
}

enum status check__cycles(const struct check_graph *g, const struct history *h, const char *checker,
                          bool several_keys, struct check_report *r)
{
    size_t n = g->nodes;
    uint32_t *room = mem_alloc((4 * n + 2) * sizeof *room);
    if (!room)
        return ST_NO_MEMORY;
    struct finder f = {.g = g, .h = h, .checker = checker, .several_keys = several_keys, .r = r};
    f.of = room;
    f.queue = room + n;
    f.came = room + 2 * n;
    f.cycle = room + 3 * n;
    for (size_t v = 0; v < n; v++)
        f.came[v] = NONE;
    enum status st = check__components(g, WW | WR | RW | TIME, f.of);
    if (st == ST_OK)
        st = each_component(&f);
    mem_free(room);
    return st;
}
