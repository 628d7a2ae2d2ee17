/* check_graph.c - dependencies between operations, and their strongly connected components. */
#include "base/alloc.h"
#include "base/assert.h"
#include "sim/check/check_internal.h"

#include <stdlib.h>

enum { NONE = UINT32_MAX };

void check__graph_init(struct check_graph *g, uint32_t ops)
{
    *g = (struct check_graph){.ops = ops, .nodes = ops};
}

void check__graph_deinit(struct check_graph *g)
{
    mem_free(g->edges);
    mem_free(g->first);
    *g = (struct check_graph){0};
}

enum status check__graph_edge(struct check_graph *g, uint32_t from, uint32_t to,
                              enum check_edge_kind kind, uint32_t key)
{
    ASSERT(from < g->nodes && to < g->nodes && !g->first);
    if (from == to)
        return ST_OK;
    if (g->n == g->cap) {
        size_t cap = g->cap ? g->cap * 2 : 1024;
        struct check_edge *more = mem_realloc(g->edges, cap * sizeof *more);
        if (!more)
            return ST_NO_MEMORY;
        g->edges = more;
        g->cap = cap;
    }
    g->edges[g->n++] = (struct check_edge){from, to, kind, key};
    return ST_OK;
}

uint32_t check__graph_node(struct check_graph *g)
{
    return g->nodes++;
}

/* --- real time --- */

struct ending {
    uint64_t place;
    uint32_t op;
};

static int by_place(const void *a, const void *b)
{
    const struct ending *x = a, *y = b;
    return (x->place > y->place) - (x->place < y->place);
}

/* Each ending is a node of a chain; an operation hangs on the last ending before it began. */
static enum status chain(struct check_graph *g, const struct history_op *ops, size_t n,
                         const bool *in, const struct ending *ends, size_t ends_n)
{
    uint32_t last = NONE;
    size_t e = 0;
    enum status st = ST_OK;
    for (size_t i = 0; i < n && st == ST_OK; i++) {
        if (!in[i])
            continue;
        for (; e < ends_n && ends[e].place < ops[i].invoked && st == ST_OK; e++) {
            uint32_t node = check__graph_node(g);
            if (last != NONE)
                st = check__graph_edge(g, last, node, CHECK_TIME, NONE);
            if (st == ST_OK)
                st = check__graph_edge(g, ends[e].op, node, CHECK_TIME, NONE);
            last = node;
        }
        if (last != NONE && st == ST_OK)
            st = check__graph_edge(g, last, (uint32_t)i, CHECK_TIME, NONE);
    }
    return st;
}

enum status check__graph_time(struct check_graph *g, const struct history *h, const bool *in)
{
    size_t n, ends_n = 0;
    const struct history_op *ops = history_ops(h, &n);
    struct ending *ends = mem_alloc((n + 1) * sizeof *ends);
    if (!ends)
        return ST_NO_MEMORY;
    for (size_t i = 0; i < n; i++)
        if (in[i] && ops[i].completed != UINT64_MAX)
            ends[ends_n++] = (struct ending){ops[i].completed, (uint32_t)i};
    qsort(ends, ends_n, sizeof *ends, by_place);
    enum status st = chain(g, ops, n, in, ends, ends_n);
    mem_free(ends);
    return st;
}

/* Sorted by where they start, stably, by counting. */
enum status check__graph_close(struct check_graph *g)
{
    uint32_t *first = mem_zalloc((g->nodes + 2) * sizeof *first);
    struct check_edge *sorted = mem_alloc((g->n + 1) * sizeof *sorted);
    if (!first || !sorted) {
        mem_free(first);
        mem_free(sorted);
        return ST_NO_MEMORY;
    }
    for (size_t i = 0; i < g->n; i++)
        first[g->edges[i].from + 2]++;
    for (uint32_t v = 2; v < g->nodes + 2; v++)
        first[v] += first[v - 1];
    for (size_t i = 0; i < g->n; i++)
        sorted[first[g->edges[i].from + 1]++] = g->edges[i];
    mem_free(g->edges);
    g->edges = sorted;
    g->cap = g->n + 1;
    g->first = first;
    return ST_OK;
}

/* --- components: Tarjan (1972), with a stack of our own --- */

struct tarjan {
    const struct check_graph *g;
    unsigned mask;
    uint32_t *of;           /* component, NONE while open */
    uint32_t *index, *low;  /* index 0: not met */
    uint32_t *stack, *path; /* open nodes; the nodes being walked */
    uint32_t *at;           /* next edge of each */
    size_t stack_n, path_n;
    uint32_t met, components;
};

static void enter(struct tarjan *t, uint32_t v)
{
    t->index[v] = t->low[v] = ++t->met;
    t->at[v] = t->g->first[v];
    t->stack[t->stack_n++] = v;
    t->path[t->path_n++] = v;
}

static void leave(struct tarjan *t, uint32_t v)
{
    t->path_n--;
    if (t->path_n) {
        uint32_t up = t->path[t->path_n - 1];
        if (t->low[v] < t->low[up])
            t->low[up] = t->low[v];
    }
    if (t->low[v] != t->index[v])
        return;
    uint32_t w;
    do {
        w = t->stack[--t->stack_n];
        t->of[w] = t->components;
    } while (w != v);
    t->components++;
}

static void walk(struct tarjan *t, uint32_t root)
{
    enter(t, root);
    while (t->path_n) {
        uint32_t v = t->path[t->path_n - 1];
        if (t->at[v] == t->g->first[v + 1]) {
            leave(t, v);
            continue;
        }
        const struct check_edge *e = &t->g->edges[t->at[v]++];
        if (!(t->mask & 1u << e->kind))
            continue;
        if (t->index[e->to] == 0)
            enter(t, e->to);
        else if (t->of[e->to] == NONE && t->index[e->to] < t->low[v])
            t->low[v] = t->index[e->to];
    }
}

enum status check__components(const struct check_graph *g, unsigned mask, uint32_t *ret_of)
{
    size_t n = g->nodes;
    uint32_t *room = mem_zalloc((5 * n + 1) * sizeof *room);
    if (!room)
        return ST_NO_MEMORY;
    struct tarjan t = {.g = g, .mask = mask, .of = ret_of};
    t.index = room;
    t.low = room + n;
    t.stack = room + 2 * n;
    t.path = room + 3 * n;
    t.at = room + 4 * n;
    for (size_t v = 0; v < n; v++)
        ret_of[v] = NONE;
    for (uint32_t v = 0; v < n; v++)
        if (t.index[v] == 0)
            walk(&t, v);
    mem_free(room);
    return ST_OK;
}
