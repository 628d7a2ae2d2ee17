/* check_serial.c - operations over several keys, by the versions of each key.
 *
 * What a single key shows is check_linear's; here an operation is one node with all of its keys, so
 * that half a batch, or a snapshot that is none, closes a cycle. Reads of the past and weak reads
 * take part without real time: they may be old, but must be of one moment.
 */
#include "base/alloc.h"
#include "sim/check/check_internal.h"

static const char NAME[] = "serial";
enum { NONE = UINT32_MAX };

struct serial {
    struct check_graph graph;
    const struct check_register *g; /* the key at hand */
    uint32_t *writes, m;
    bool deletes;              /* an absent read may lie in more gaps than the first */
    struct check_map gap_of;   /* (key, version) -> gap after that write */
    struct check_map value_of; /* (key, value) -> gap, or NONE for several */
    struct check_map writer;   /* (key, gap) -> the operation whose write leads into it */
    struct check_map first;    /* key -> 1 where gap 0 is the only absent one, and writes follow */
};

static enum status see(struct serial *s, uint32_t op, uint32_t key, uint32_t gap)
{
    const uint32_t *before = gap ? check__map_get(&s->writer, key, gap, 0) : NULL;
    const uint32_t *after = check__map_get(&s->writer, key, gap + 1, 0);
    enum status st = ST_OK;
    if (before)
        st = check__graph_edge(&s->graph, *before, op, CHECK_WR, key);
    if (st == ST_OK && after)
        st = check__graph_edge(&s->graph, op, *after, CHECK_RW, key);
    return st;
}

/* NONE: not known. */
static uint32_t gap_seen(const struct serial *s, uint32_t key, uint64_t version, uint32_t value)
{
    const uint32_t *gap = NULL;
    if (version)
        gap = check__map_get(&s->gap_of, key, version, 0);
    else if (value == CHECK_ABSENT)
        return check__map_get(&s->first, key, 0, 0) ? 0 : NONE;
    else if (value != CHECK_ANY_VALUE)
        gap = check__map_get(&s->value_of, key, value, 0);
    return gap ? *gap : NONE;
}

static enum status add_write(struct serial *s, uint32_t gap)
{
    uint32_t key = s->g->key;
    const struct check_entry *e = &s->g->e[s->writes[gap - 1]];
    if (!check__map_put(&s->gap_of, key, e->version, 0, gap) ||
        !check__map_put(&s->writer, key, gap, 0, e->op))
        return ST_NO_MEMORY;
    uint32_t *v = check__map_put(&s->value_of, key, e->value, 0, gap);
    if (!v)
        return ST_NO_MEMORY;
    if (*v != gap)
        *v = NONE;
    if (gap == 1)
        return ST_OK;
    const struct check_entry *p = &s->g->e[s->writes[gap - 2]];
    return check__graph_edge(&s->graph, p->op, e->op, CHECK_WW, key);
}

static enum status add_key(struct serial *s, const struct check_register *g)
{
    s->g = g;
    s->m = 0;
    s->writes = mem_alloc((g->n + 1) * sizeof *s->writes);
    enum status st = s->writes ? check__writes_by_version(g, s->writes, &s->m) : ST_NO_MEMORY;
    uint32_t skip = 0; /* without a version there is no place for it */
    while (skip < s->m && g->e[s->writes[skip]].version == 0)
        skip++;
    for (size_t i = 0; i < g->n && st == ST_OK; i++) /* such a value tells nobody's version */
        if (g->e[i].kind == CHECK_WRITE && !g->e[i].certain &&
            !check__map_put(&s->value_of, g->key, g->e[i].value, 0, NONE))
            st = ST_NO_MEMORY;
    bool deletes = skip > 0 || g->open;
    for (uint32_t i = skip; i < s->m && st == ST_OK; i++) {
        s->writes[i - skip] = s->writes[i];
        deletes |= g->e[s->writes[i]].value == CHECK_ABSENT;
    }
    s->m -= skip;
    for (uint32_t gap = 1; gap <= s->m && st == ST_OK; gap++)
        st = add_write(s, gap);
    if (st == ST_OK && !deletes && !check__map_put(&s->first, g->key, 0, 0, 1))
        st = ST_NO_MEMORY;
    mem_free(s->writes);
    for (size_t i = 0; i < g->n && st == ST_OK; i++) {
        const struct check_entry *e = &g->e[i];
        if (e->kind == CHECK_WRITE)
            continue;
        uint64_t version = e->kind == CHECK_HELD ? e->want : e->version;
        uint32_t gap = gap_seen(s, g->key, version, e->value);
        if (gap != NONE)
            st = see(s, e->op, g->key, gap);
    }
    return st;
}

static enum status add_old_reads(struct serial *s, const struct history_op *op)
{
    enum status st = ST_OK;
    for (uint32_t i = 0; i < op->n && st == ST_OK; i++) {
        const struct history_step *p = &op->steps[i];
        if (p->verb != HISTORY_GET)
            continue;
        uint32_t gap = gap_seen(s, p->key_id, p->version, p->found ? p->value_id : CHECK_ABSENT);
        if (gap != NONE)
            st = see(s, op->id, p->key_id, gap);
    }
    return st;
}

static enum status add_all(struct serial *s, const struct history *h,
                           const struct check_registers *all)
{
    size_t n;
    const struct history_op *ops = history_ops(h, &n);
    bool *in = mem_zalloc(n + 1);
    enum status st = in ? ST_OK : ST_NO_MEMORY;
    for (size_t k = 0; k < all->n && st == ST_OK; k++) {
        for (size_t i = 0; i < all->of[k].n; i++)
            in[all->of[k].e[i].op] |= all->of[k].e[i].certain;
        if (all->of[k].n)
            st = add_key(s, &all->of[k]);
    }
    for (size_t i = 0; i < n && st == ST_OK; i++)
        if (ops[i].family == HISTORY_REGISTER && ops[i].outcome == HISTORY_OK &&
            (ops[i].at || ops[i].weak))
            st = add_old_reads(s, &ops[i]);
    if (st == ST_OK)
        st = check__graph_time(&s->graph, h, in);
    mem_free(in);
    return st;
}

enum status check_serial(const struct history *h, struct check_report *r)
{
    size_t n;
    history_ops(h, &n);
    struct serial s = {0};
    struct check_registers all;
    enum status st = check__registers(h, &all);
    if (st != ST_OK)
        return st;
    check__graph_init(&s.graph, (uint32_t)n);
    st = add_all(&s, h, &all);
    if (st == ST_OK)
        st = check__graph_close(&s.graph);
    if (st == ST_OK)
        st = check__cycles(&s.graph, h, NAME, true, r);
    check__graph_deinit(&s.graph);
    check__map_deinit(&s.gap_of);
    check__map_deinit(&s.value_of);
    check__map_deinit(&s.writer);
    check__map_deinit(&s.first);
    check__registers_deinit(&all);
    return st;
}
